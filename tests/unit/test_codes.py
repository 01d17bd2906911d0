"""The reason codes: stable, ordered from the vaguest to the most telling, each with advice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from certificates import (
    NOW,
    SECOND,
    constraints,
    make,
    make_ca,
    make_leaf,
    purposes,
    raw,
    show,
)
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from siptls import EdgeDiscovery, Message, StaticResolver, TrafficLimits, TrustPolicy
from siptls.testing import CertificateAuthority
from siptls.trust.authority import Authority
from siptls.trust.believed import Verification
from siptls.trust.blocked import Blocked
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, most_telling
from siptls.trust.discovery import Discovery
from siptls.trust.enterprise import Enterprise, TrustedServers
from siptls.trust.fault import Fault
from siptls.trust.federation import Federation, Partner
from siptls.trust.pins import Pinned
from siptls.trust.policy import judge
from siptls.trust.revocation import Revocation
from siptls.wire.traffic import Meter, Traffic

STABLE = [
    ("CERTIFICATE_MISSING", "certificate.missing"),
    ("CERTIFICATE_MALFORMED", "certificate.malformed"),
    ("PATH_LIMIT", "path.limit"),
    ("PARTNER_UNKNOWN", "partner.unknown"),
    ("PARTNER_UNDISCOVERED", "partner.undiscovered"),
    ("PIN_MISMATCH", "pin.mismatch"),
    ("PATH_UNKNOWN_CA", "path.unknown-ca"),
    ("PATH_SIGNATURE", "path.signature"),
    ("PATH_CONSTRAINT", "path.constraint"),
    ("PATH_NOT_YET_VALID", "path.not-yet-valid"),
    ("PATH_EXPIRED", "path.expired"),
    ("PATH_WEAK_KEY", "path.weak-key"),
    ("PURPOSE_UNACCEPTABLE", "purpose.unacceptable"),
    ("PATH_REVOCATION_UNKNOWN", "path.revocation-unknown"),
    ("NAME_NONE", "name.none"),
    ("NAME_OUT_OF_SCOPE", "name.out-of-scope"),
    ("NAME_MISMATCH", "name.mismatch"),
    ("SENDER_UNVERIFIABLE", "sender.unverifiable"),
    ("SENDER_NOT_AUTHORIZED", "sender.not-authorized"),
    ("SENDER_MALFORMED", "sender.malformed"),
    ("SERVER_NOT_LISTED", "server.not-listed"),
    ("PARTNER_LIMIT", "partner.limit"),
    ("PATH_REVOKED", "path.revoked"),
    ("PARTNER_BLOCKED", "partner.blocked"),
    ("POLICY_ERROR", "policy.error"),
    ("ACCEPTED", "accepted"),
]

codes = st.sampled_from(list(Code))
refusals = st.sampled_from([code for code in Code if code is not Code.ACCEPTED])


@pytest.mark.parametrize(("name", "value"), STABLE)
def test_a_code_is_stable(name: str, value: str) -> None:
    """Alarms are built on them: neither the name nor the text may change."""
    assert Code[name] == value
    assert Code(value).name == name


def test_there_are_no_other_codes() -> None:
    assert {(code.name, code.value) for code in Code} == set(STABLE)


@given(codes)
def test_a_code_is_a_plain_string_wherever_it_is_written(code: Code) -> None:
    assert str(code) == f"{code}" == code.value
    assert json.loads(json.dumps(code)) == code.value


@given(refusals)
def test_every_refusal_has_advice_in_one_line(code: Code) -> None:
    """It ends a sentence of ours, so it brings no full stop."""
    assert len(code.advice) > 20
    assert code.advice.isprintable()
    assert code.advice == code.advice.strip()
    assert not code.advice.endswith(".")


def test_no_two_refusals_have_the_same_advice() -> None:
    advice = [code.advice for code in Code]
    assert len(set(advice)) == len(advice)


def test_an_acceptance_needs_no_advice() -> None:
    assert Code.ACCEPTED.advice == ""


def test_ranks_count_from_zero_in_the_order_of_the_codes() -> None:
    assert [code.rank for code in Code] == list(range(len(Code)))


@pytest.mark.parametrize(
    ("vaguer", "more_telling"),
    [
        (Code.CERTIFICATE_MISSING, Code.CERTIFICATE_MALFORMED),
        (Code.PARTNER_UNKNOWN, Code.PIN_MISMATCH),
        (Code.PIN_MISMATCH, Code.PATH_UNKNOWN_CA),
        (Code.PATH_UNKNOWN_CA, Code.PATH_SIGNATURE),
        (Code.PATH_UNKNOWN_CA, Code.PATH_EXPIRED),
        (Code.PATH_EXPIRED, Code.NAME_NONE),
        (Code.NAME_NONE, Code.NAME_OUT_OF_SCOPE),
        (Code.NAME_OUT_OF_SCOPE, Code.NAME_MISMATCH),
        (Code.PATH_REVOCATION_UNKNOWN, Code.PATH_REVOKED),
        (Code.NAME_MISMATCH, Code.PATH_REVOKED),
        (Code.NAME_MISMATCH, Code.PARTNER_BLOCKED),
        (Code.PARTNER_BLOCKED, Code.POLICY_ERROR),
    ],
)
def test_who_knows_more_ranks_higher(vaguer: Code, more_telling: Code) -> None:
    """That a CA is unknown says less than what one that knows it found."""
    assert vaguer.rank < more_telling.rank


@given(st.lists(refusals, min_size=1))
def test_of_several_refusals_the_highest_rank_is_told(given_codes: list[Code]) -> None:
    decisions = [Decision.refuse(code, "no") for code in given_codes]
    assert most_telling(decisions).code == max(given_codes, key=lambda code: code.rank)


def test_what_is_no_code_is_refused() -> None:
    with pytest.raises(ValueError, match=r"path\.weather"):
        Code("path.weather")


# ---------------------------------------------------------------- one case of each

ROOT = make_ca("Contoso CA")
LIMITED = make_ca("Limited CA", ROOT, constraints(excluded=["contoso.com"]))
STRANGER = make_ca("Stranger CA")
OURS = Enterprise(["contoso.com"], Authority("Contoso CA", [ROOT.certificate]))
THEIRS = Federation([Partner(["fabrikam.com"], Authority("CA", [STRANGER.certificate]))])
NAME = "sip:contoso.com"


def ours(*names: str, **options: Any) -> Any:
    return show(make_leaf(ROOT, *names, **options))


CA = CertificateAuthority("Revoking CA", not_after=NOW + SECOND)
LEAF = CA.issue(NAME, not_before=NOW - SECOND, not_after=NOW + SECOND).chain[0]
PERIOD: dict[str, Any] = {"this_update": NOW - SECOND, "next_update": NOW + SECOND}


def looking_up(*crls: bytes) -> Enterprise:
    """Ask for the status of what the root, or the revoking CA, has issued."""
    anchors = [ROOT.certificate, CA.certificate]
    return Enterprise(["contoso.com"], Authority("CA", anchors, revocation=Revocation(crls)))


UNVERIFIED = Partner(["contoso.com"], OURS.authority, verification=Verification.ALWAYS_UNVERIFIABLE)


def said_by(policy: TrustPolicy, sender: str) -> Decision:
    """What is decided about a message of a peer that has proven our name."""
    peer = judge(policy, ours(NAME)).peer
    assert peer is not None
    return peer.authorize(Message(f"OPTIONS sip:a SIP/2.0\r\nFrom: <{sender}>\r\n\r\n".encode()))


def undiscovered() -> Decision:
    stranger = Discovery(OURS.authority, own=["fabrikam.com"]).evaluate(ours(NAME)).peer
    assert stranger is not None
    return asyncio.run(EdgeDiscovery(StaticResolver({}))(stranger))


def once_too_often() -> Decision:
    limits = TrafficLimits(connections=1)
    peer = Discovery(OURS.authority, own=["fabrikam.com"], limits=limits).evaluate(ours(NAME)).peer
    assert peer is not None
    traffic = Traffic()
    assert isinstance(traffic.enter(peer, 0), Meter)
    fault = traffic.enter(peer, 0)
    assert isinstance(fault, Fault)
    return Decision.refuse_for(fault)


CASES: dict[Code, Callable[[], Decision]] = {
    Code.CERTIFICATE_MISSING: lambda: judge(OURS, show()),
    Code.CERTIFICATE_MALFORMED: lambda: judge(
        OURS, show(make("leaf", ROOT, raw("2.5.29.17", b"\x30\x03bad", critical=False)))
    ),
    Code.PATH_LIMIT: lambda: judge(
        OURS, show(make_leaf(ROOT, NAME), ROOT, ROOT, max_certificates=2)
    ),
    Code.PARTNER_UNKNOWN: lambda: judge(THEIRS, ours(NAME)),
    Code.PARTNER_UNDISCOVERED: undiscovered,
    Code.PARTNER_LIMIT: once_too_often,
    Code.SENDER_UNVERIFIABLE: lambda: said_by(UNVERIFIED, "sip:anna@contoso.com"),
    Code.SENDER_NOT_AUTHORIZED: lambda: said_by(OURS, "sip:anna@fabrikam.com"),
    Code.SENDER_MALFORMED: lambda: said_by(OURS, "sip:anna@contoso.com@fabrikam.com"),
    Code.PIN_MISMATCH: lambda: judge(Pinned({"contoso.com": ["sha256:" + "00" * 32]}), ours(NAME)),
    Code.PATH_UNKNOWN_CA: lambda: judge(OURS, show(make_leaf(STRANGER, NAME))),
    Code.PATH_SIGNATURE: lambda: judge(OURS, show(make_leaf(make_ca("Contoso CA"), NAME))),
    Code.PATH_CONSTRAINT: lambda: judge(OURS, show(make_leaf(LIMITED, NAME), LIMITED)),
    Code.PATH_NOT_YET_VALID: lambda: judge(OURS, ours(NAME, not_before=NOW + SECOND)),
    Code.PATH_EXPIRED: lambda: judge(OURS, ours(NAME, not_after=NOW - SECOND)),
    Code.PATH_WEAK_KEY: lambda: judge(
        OURS,
        ours(NAME, key=rsa.generate_private_key(65537, 1024)),
    ),
    Code.PURPOSE_UNACCEPTABLE: lambda: judge(
        OURS, ours(NAME, more=[purposes(ExtendedKeyUsageOID.CODE_SIGNING)])
    ),
    Code.PATH_REVOCATION_UNKNOWN: lambda: judge(looking_up(), ours(NAME)),
    Code.PATH_REVOKED: lambda: judge(looking_up(CA.crl([LEAF], **PERIOD)), show(LEAF)),
    Code.NAME_NONE: lambda: judge(OURS, ours()),
    Code.NAME_OUT_OF_SCOPE: lambda: judge(OURS, ours("sip:fabrikam.com")),
    Code.NAME_MISMATCH: lambda: judge(
        OURS, show(make_leaf(ROOT, NAME), role="server", reference="eu.contoso.com")
    ),
    Code.SERVER_NOT_LISTED: lambda: judge(OURS & TrustedServers(["edge.contoso.com"]), ours(NAME)),
    Code.PARTNER_BLOCKED: lambda: judge(
        OURS & Blocked(["evil.example"]), ours(NAME, "evil.example")
    ),
    Code.POLICY_ERROR: lambda: judge(Failing(), ours(NAME)),
    Code.ACCEPTED: lambda: judge(OURS, ours(NAME)),
}


class Failing:
    """A policy with a fault in its code."""

    def evaluate(self, evidence: Any, /) -> Decision:
        raise LookupError(evidence)


def test_every_code_has_its_case() -> None:
    """A code that nothing produces would be an alarm that never rings."""
    assert set(CASES) == set(Code)


@pytest.mark.parametrize("code", CASES)
def test_a_code_is_produced(code: Code) -> None:
    decision = CASES[code]()
    assert decision.code is code
    assert decision.accepted is (code is Code.ACCEPTED)
