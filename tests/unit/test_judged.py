"""siptls.cli.judged: what was shown, piece by piece, by the policy's own rules."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from certificates import NOW

from siptls import (
    AnyDomain,
    Blocked,
    Decision,
    Discovery,
    Enterprise,
    Evidence,
    Federation,
    NameRules,
    Partner,
    Pinned,
    ReferenceIdentity,
    Role,
    Shadow,
)
from siptls.cli.judged import Judged, rules_of
from siptls.testing import CertificateAuthority, evidence

VALID: dict[str, Any] = {
    "not_before": NOW - dt.timedelta(days=10),
    "not_after": NOW + dt.timedelta(days=10),
}
CONTOSO = CertificateAuthority("Contoso CA", seed="judged", **VALID)
ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())
WEB = Partner(["fabrikam.com"], CONTOSO.authority(), names=NameRules.RFC9525)
OCS = AnyDomain(CONTOSO.authority(), names=NameRules.OCS)
R5922, R9525 = NameRules.RFC5922, NameRules.RFC9525


@pytest.mark.parametrize(
    ("policy", "rules"),
    [
        (ENTERPRISE, [R5922]),
        (WEB, [R9525]),
        (ENTERPRISE | Federation([WEB]), [R5922, R9525]),
        (Federation([WEB]) | ENTERPRISE | Federation([WEB]), [R5922, R9525]),
        ((ENTERPRISE | OCS) & Blocked(["evil.example"]), [R5922, NameRules.OCS]),
        (Shadow(WEB, candidate=OCS), [R9525]),
        (
            Federation(
                [WEB],
                discovery=Discovery(
                    [CONTOSO.authority()], own=["contoso.com"], names=NameRules.TEAMS
                ),
            ),
            [R9525, NameRules.TEAMS],
        ),
        (Pinned({"contoso.com": ["sha256:" + "0" * 64]}), [R5922]),
        (SimpleNamespace(names=R9525), [R5922]),
    ],
)
def test_the_rules_are_those_of_the_policy(policy: Any, rules: list[NameRules]) -> None:
    assert rules_of(policy) == tuple(rules)


def judge(policy: Any, *names: str, expected: str | None = None, **options: Any) -> Judged:
    shown = CONTOSO.issue(*names, **{**VALID, **options})
    seen = evidence(shown, Role.SERVER, expected, NOW)
    return Judged.by(policy, policy.evaluate(seen), seen)


def test_every_presented_name_is_told_with_why_it_counts_or_not() -> None:
    judged = judge(ENTERPRISE, "sip:contoso.com", "sip.contoso.com", "192.0.2.1")
    told = [(str(row.counted.presented), row.counts_as, row.believed) for row in judged.names]
    assert told == [
        ("sip:contoso.com", "domain", True),
        ("DNS:sip.contoso.com", "host", True),
        ("IP:192.0.2.1", "", False),
        ("CN:contoso.com", "", False),
    ]
    assert all(row.counted.why for row in judged.names)


def test_names_on_which_rules_agree_are_told_once() -> None:
    judged = judge(ENTERPRISE | WEB, "*.contoso.com", "contoso.com", expected="sip.contoso.com")
    told = [(str(row.counted.presented), row.counts_as, row.rules) for row in judged.names]
    assert ("DNS:contoso.com", "domain", ("RFC5922", "RFC9525")) in told
    assert ("DNS:*.contoso.com", "", ("RFC5922",)) in told
    assert ("DNS:*.contoso.com", "domain", ("RFC9525",)) in told


def test_an_expected_address_counts_as_one() -> None:
    rules = AnyDomain(CONTOSO.authority(), names=R9525)
    shown = CONTOSO.issue("192.0.2.1", **VALID)
    seen = evidence(shown, Role.SERVER, ReferenceIdentity.for_address("192.0.2.1"), NOW)
    judged = Judged.by(rules, rules.evaluate(seen), seen)
    assert judged.names[0].counts_as == "address"


def test_the_anchor_is_told_if_it_was_not_sent() -> None:
    judged = judge(ENTERPRISE, "sip:contoso.com")
    assert len(judged.chain) == 1
    assert judged.anchor is not None
    assert judged.anchor.certificate == CONTOSO.certificate
    leaf = CONTOSO.issue("sip:contoso.com", **VALID)
    seen = evidence([leaf.chain[0], CONTOSO.certificate], Role.SERVER, None, NOW)
    assert Judged.by(ENTERPRISE, ENTERPRISE.evaluate(seen), seen).anchor is None
    assert judge(ENTERPRISE, "sip:fabrikam.com").anchor is None


def test_days_are_those_of_the_trust_or_of_who_is_refused_of_his_certificate() -> None:
    ends = {"not_after": NOW + dt.timedelta(days=3)}
    assert judge(ENTERPRISE, "sip:contoso.com", **ends).days == 3
    assert judge(ENTERPRISE, "sip:fabrikam.com", **ends).days == 3
    longer = {"not_after": NOW + dt.timedelta(days=30)}
    assert judge(ENTERPRISE, "sip:contoso.com", **longer).days == 10  # the CA ends before
    assert judge(ENTERPRISE, "sip:fabrikam.com", **longer).days == 30


def test_of_who_has_shown_nothing_there_is_nothing_to_tell() -> None:
    empty = Evidence([], Role.CLIENT, now=NOW)
    for judged in (
        Judged.by(ENTERPRISE, ENTERPRISE.evaluate(empty), empty),
        Judged.by(ENTERPRISE, Decision.refuse("policy.error", "it failed"), None),
    ):
        assert (judged.chain, judged.names, judged.anchor, judged.days) == ((), (), None, None)
        told = judged.to_dict()
        assert (told["chain"], told["names"], told["anchor"], told["days"]) == ([], [], None, None)


def test_what_is_too_much_is_not_looked_at() -> None:
    judged = judge(ENTERPRISE, *[f"a{number}.contoso.com" for number in range(1001)])
    assert judged.decision.code == "path.limit"
    assert judged.names == ()
    assert len(judged.chain) == 1
