"""The field's own suites of certificate paths: x509-limbo (with BetterTLS) and NIST PKITS.

Where siptls and a suite disagree, `disagreements.toml` has the case and the reason. One that is not
listed fails, and so does one that is listed and gone.

The suites are about paths on the web: so they are run with its rules (dNSName with wildcards,
addresses, EKU by role), and a second time with those of SIP, which must accept nothing more. Our
limits on the number of certificates are raised: they have tests of their own.
"""

from __future__ import annotations

import datetime as dt
import json
import lzma
import os
import tomllib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from siptls import (
    AnyDomain,
    Authority,
    ConfigurationError,
    Decision,
    Evidence,
    KeyPurposes,
    NameRules,
    ReferenceIdentity,
    Revocation,
    Role,
)

HERE = Path(__file__).parent
FOLDER = os.environ.get("SIPTLS_CONFORMANCE")
DISAGREEMENTS = tomllib.loads((HERE / "disagreements.toml").read_text(encoding="utf-8"))
# The longest path of x509-limbo has 36 certificates.
MOST = 40

WEB = NameRules.RFC9525, KeyPurposes.ROLE
SIP = NameRules.RFC5922, KeyPurposes.SIP


def cases(name: str) -> list[dict[str, Any]]:
    """Read a suite in the format of x509-limbo."""
    if FOLDER is None:
        pytest.skip("SIPTLS_CONFORMANCE does not name the folder with the conformance suites")
    data = (Path(FOLDER) / name).read_bytes()
    text = lzma.decompress(data) if name.endswith(".xz") else data
    return list(json.loads(text)["testcases"])


def certificates(pems: Iterable[str]) -> list[x509.Certificate]:
    """Read certificates, some of which are faulty on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return [x509.load_pem_x509_certificate(pem.encode()) for pem in pems]


def reference(case: dict[str, Any]) -> ReferenceIdentity | None:
    expected = case["expected_peer_name"]
    match expected:
        case {"kind": "DNS", "value": name}:
            return ReferenceIdentity.parse(name)
        case {"kind": "IP", "value": address}:
            return ReferenceIdentity.for_address(address)
        case _:
            return None


def accepts(case: dict[str, Any], rules: NameRules, purposes: KeyPurposes) -> bool:
    """Whether siptls accepts what the peer of a case shows."""
    try:
        crls = [crl.encode() for crl in case.get("crls", ())]
        authority = Authority(
            "the suite",
            certificates(case["trusted_certs"]),
            purposes=purposes,
            revocation=Revocation(crls) if crls else None,
        )
        chain = certificates([case["peer_certificate"], *case["untrusted_intermediates"]])
        expected = reference(case)
    except (ValueError, ConfigurationError):
        return False
    time = case["validation_time"]
    now = dt.datetime.now(dt.UTC) if time is None else dt.datetime.fromisoformat(time)
    depth = case["max_chain_depth"]
    evidence = Evidence(
        chain,
        Role(case["validation_kind"].lower()),
        now=now,
        reference=expected,
        max_certificates=MOST if depth is None else depth + 1,
        max_chain=10**6,
    )
    if expected is None:
        return not isinstance(authority.verify(evidence), Decision)
    return AnyDomain(authority, names=rules).evaluate(evidence).accepted


def disagreements(name: str, rules: NameRules, purposes: KeyPurposes) -> Iterator[tuple[str, str]]:
    for case in cases(name):
        good = case["expected_result"] == "SUCCESS"
        if accepts(case, rules, purposes) is not good:
            yield ("refused" if good else "accepted"), case["id"]


def listed(what: str, *suites: str) -> set[str]:
    return {i for i in DISAGREEMENTS[what] if i.startswith(suites)}


@pytest.mark.parametrize(
    ("name", "suites"),
    [
        ("limbo_core.json.xz", ("crl", "cve", "invalid", "online", "path", "rfc5280", "webpki")),
        ("limbo_core.json.xz", ("bettertls",)),
        ("pkits_path.json", ("pkits",)),
    ],
)
def test_a_suite_has_no_disagreement_that_is_not_listed(name: str, suites: tuple[str, ...]) -> None:
    found: dict[str, set[str]] = {"accepted": set(), "refused": set()}
    for what, case in disagreements(name, *WEB):
        if case.startswith(suites):
            found[what].add(case)
    assert found["accepted"] == listed("accepted", *suites)
    assert found["refused"] == listed("refused", *suites)


def test_the_rules_of_sip_accept_nothing_more_than_is_listed() -> None:
    """Fewer names count; and serverAuth or clientAuth are good in both roles, on purpose."""
    more = {case for what, case in disagreements("limbo_core.json.xz", *SIP) if what == "accepted"}
    assert more - set(DISAGREEMENTS["accepted"]) == {"rfc5280::eku::ee-wrong-eku"}


def test_no_wildcard_is_accepted_under_the_rules_of_sip() -> None:
    """RFC 5922 §7.2, where x509-limbo expects that of the web."""
    wild = [case for case in cases("limbo_core.json.xz") if "wildcard" in case["id"]]
    assert wild
    assert not any(accepts(case, *SIP) for case in wild)


def test_the_list_of_disagreements_is_short_and_has_a_reason_for_each() -> None:
    assert len(DISAGREEMENTS["refused"]) <= 30
    assert all(reason for what in DISAGREEMENTS.values() for reason in what.values())


# ---------------------------------------------------------------- PKITS, from the package


def pkits() -> Iterator[Any]:
    for line in (HERE / "pkits.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, outcome, *chain = line.split()
            yield pytest.param(outcome == "valid", chain, id=name)


@pytest.mark.parametrize(("valid", "chain"), list(pkits()))
def test_pkits(valid: bool, chain: list[str], request: pytest.FixtureRequest) -> None:
    package = pytest.importorskip("cryptography_vectors", reason="the test vectors are missing")
    folder = Path(package.__file__).parent / "x509" / "PKITS_data" / "certs"

    def read(name: str) -> x509.Certificate:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return x509.load_der_x509_certificate((folder / f"{name}.crt").read_bytes())

    authority = Authority("PKITS", [read("TrustAnchorRootCertificate")])
    now = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    path = authority.verify(Evidence([read(name) for name in chain], Role.CLIENT, now=now))
    name = f"pkits::{request.node.callspec.id}"
    assert isinstance(path, Decision) is not (valid and name not in DISAGREEMENTS["refused"])
