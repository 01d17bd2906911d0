"""Examinations for tests: what might have been found, without a network."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from certificates import NOW

from siptls import (
    Credential,
    Enterprise,
    ReferenceIdentity,
    Role,
    SIPTLSError,
    Target,
    TLSInfo,
    TrustPolicy,
)
from siptls.cli.examination import Examination, Reply, Step, Visit
from siptls.cli.judged import Judged
from siptls.testing import CertificateAuthority, evidence

VALID: dict[str, Any] = {
    "not_before": NOW - dt.timedelta(days=10),
    "not_after": NOW + dt.timedelta(days=10),
}
CONTOSO = CertificateAuthority("Contoso CA", seed="examinations", **VALID)
ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())
EXPECTED = ReferenceIdentity.parse("contoso.com")
TLS12 = TLSInfo("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", "x25519", "sip/2")
TLS13 = TLSInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", None)
OK = Reply(200, "SIP/2.0 200 OK")


def judged(
    *names: str, policy: TrustPolicy = ENTERPRISE, shown: Credential | None = None, **options: Any
) -> Judged:
    """Give what a policy makes of a server that shows a certificate of Contoso's CA."""
    leaf = CONTOSO.issue(*names, **{**VALID, **options}) if shown is None else shown
    seen = evidence(leaf, Role.SERVER, EXPECTED, NOW)
    return Judged.by(policy, policy.evaluate(seen), seen)


def visit(
    error: SIPTLSError | None = None, *, last: str = "options", number: int = 1, **found: Any
) -> Visit:
    """Give a visit that has ended in a step, with an error or without."""
    names = ("connect", "handshake", "options")
    done = names[: names.index(last) + 1]
    steps = [Step(name, 0.001, "done") for name in done[:-1]]
    steps.append(Step(done[-1], 0.002, "done", error))
    target = Target(f"192.0.2.{number}", 5061, host="sip1.contoso.com", reference=EXPECTED)
    return Visit(target, tuple(steps), error=error, **found)


def trusted(**found: Any) -> Visit:
    """Give a visit to a server that we believe, and that answers."""
    return visit(**{"tls": TLS13, "judged": judged("sip:contoso.com"), "reply": OK, **found})


def examination(visits: Sequence[Visit] = (), **found: Any) -> Examination:
    """Give an examination of contoso.com."""
    values: dict[str, Any] = {
        "target": "sip:contoso.com",
        "expected": EXPECTED,
        "policy": "policy.toml",
        "credential": None,
        "resolver": "by the test",
        "now": NOW,
        "timeout": 5.0,
        "asked": True,
        "resolution": Step("resolve", 0.003, "1 address"),
        "visits": tuple(visits),
    }
    return Examination(**{**values, **found})
