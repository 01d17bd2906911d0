"""Blocked: domains of which nobody is believed, whoever vouches."""

from __future__ import annotations

import time
from typing import Any

import pytest
from attrs import evolve
from certificates import NOW, Made, general_names, make, make_ca, make_leaf, raw, show
from cryptography import x509

from siptls import (
    AnyDomain,
    Authority,
    BelievedName,
    Blocked,
    Code,
    ConfigurationError,
    Decision,
    NameRules,
    Partner,
    Peer,
    Pinned,
    ReferenceIdentity,
    TrustedServers,
)
from siptls.trust.blocked import blocked_fault
from siptls.trust.scope import Scope

OURS = "sip:contoso.com"
BLOCKED = Blocked(["evil.example", "Old.contoso.com"])


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Public CA")


@pytest.fixture(scope="module")
def everybody(root: Made) -> AnyDomain:
    return AnyDomain(Authority("public CAs", [root.certificate]))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sip:evil.example", "evil.example"),
        ("SIP:Evil.Example:5061", "evil.example"),
        ("sip:a.b.evil.example", "a.b.evil.example"),
        ("sip:evil.example.", "evil.example"),
        ("sip:alice@evil.example", "evil.example"),
        ("sip:alice:secret@x.evil.example", "x.evil.example"),
        ("sips:evil.example", "evil.example"),
        ("sips:alice@evil.example", "evil.example"),
        ("sip:*.evil.example", "evil.example"),
        ("evil.example", "evil.example"),
        ("evil.example.", "evil.example"),
        ("x.evil.example", "x.evil.example"),
        ("*.evil.example", "evil.example"),
        ("*.x.evil.example", "x.evil.example"),
        ("sip.old.contoso.com", "sip.old.contoso.com"),
        ("contoso.com", ""),
        ("new.contoso.com", ""),
        ("sip:example", ""),
        ("devil.example", ""),
        ("not-evil.example", ""),
        ("evil.example.com", ""),
        ("sip:evil.example@contoso.com", ""),  # a user of that name, at home with us
        ("http://evil.example", ""),
    ],
)
def test_a_blocked_domain_spoils_a_certificate_in_whatever_form_it_is_mentioned(
    everybody: AnyDomain, root: Made, name: str, found: str
) -> None:
    evidence = show(make_leaf(root, OURS, name))
    assert everybody.evaluate(evidence).accepted
    decision = (everybody & BLOCKED).evaluate(evidence)
    assert decision.accepted is (not found)
    assert decision.parts[-1].evidence is evidence
    if found:
        assert decision.code == Code.PARTNER_BLOCKED
        assert decision.fault is not None
        assert decision.fault.found == f"has to do with {found}"
        assert decision.fault.rule == "Blocked"


@pytest.mark.parametrize("subject", ["evil.example", "Sip.Evil.example", "*.evil.example"])
def test_a_common_name_spoils_it_even_where_it_counts_for_nothing(
    everybody: AnyDomain, root: Made, subject: str
) -> None:
    evidence = show(make_leaf(root, OURS, subject=subject))
    assert (everybody & BLOCKED).evaluate(evidence).code == Code.PARTNER_BLOCKED
    ocs = evolve(everybody, names=NameRules.OCS) & BLOCKED
    assert not ocs.evaluate(show(make_leaf(root, subject=subject))).accepted


def test_a_service_of_a_blocked_domain_spoils_it(everybody: AnyDomain, root: Made) -> None:
    service = x509.OtherName(
        x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), b"\x16\x12_sips.evil.example"
    )
    san = x509.SubjectAlternativeName([*general_names([OURS]), service])
    evidence = show(make("leaf", root, (san, False)))
    assert everybody.evaluate(evidence).accepted
    assert (everybody & BLOCKED).evaluate(evidence).code == Code.PARTNER_BLOCKED


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (ReferenceIdentity("evil.example"), "evil.example"),
        (ReferenceIdentity("a.evil.example"), "a.evil.example"),
        (ReferenceIdentity("contoso.com", "sip.evil.example"), "sip.evil.example"),
        (ReferenceIdentity("contoso.com"), ""),
        (ReferenceIdentity("contoso.com", "sip.contoso.com"), ""),
        (ReferenceIdentity.for_address("192.0.2.1"), ""),
        (None, ""),
    ],
)
def test_a_blocked_name_is_not_expected(
    root: Made, expected: ReferenceIdentity | None, found: str
) -> None:
    """Whatever the peer presents."""
    fault = blocked_fault(BLOCKED.domains, show(make_leaf(root, OURS), reference=expected))
    assert (fault.found if fault else "") == (f"has to do with {found}" if found else "")


def test_a_name_under_a_wildcard_is_not_expected(everybody: AnyDomain, root: Made) -> None:
    web = evolve(everybody, names=NameRules.RFC9525)
    leaf = make_leaf(root, "*.contoso.com")
    for name, accepted in (("old.contoso.com", False), ("new.contoso.com", True)):
        evidence = show(leaf, role="server", reference=name)
        assert web.evaluate(evidence).accepted
        assert (web & BLOCKED).evaluate(evidence).accepted is accepted


def test_all_that_is_blocked_is_told(everybody: AnyDomain, root: Made) -> None:
    evidence = show(make_leaf(root, OURS, "x.evil.example", "sip:a@evil.example"))
    decision = (everybody & BLOCKED).evaluate(evidence)
    assert decision.reason == (
        "the peer has to do with evil.example, x.evil.example; expected no name of a blocked domain"
    )
    assert decision.parts[-1].by == "Blocked"


def test_a_condition_that_holds_changes_nobodys_names(everybody: AnyDomain, root: Made) -> None:
    evidence = show(make_leaf(root, OURS))
    free = everybody.evaluate(evidence)
    assert free.peer is not None
    decision: Decision = BLOCKED.check(free.peer, evidence)
    bound = evolve(free.peer, blocked=BLOCKED.domains.domains)
    assert (decision.peer, decision.reason) == (bound, "none of its names is blocked")
    assert (everybody & BLOCKED).evaluate(evidence).peer == bound
    assert (everybody & (BLOCKED & TrustedServers(["contoso.com"]))).evaluate(evidence).accepted


@pytest.mark.parametrize("wrong", [[], "evil.example", ["*.evil.example"], ["192.0.2.1"], None])
def test_a_faulty_block_list_is_refused(wrong: Any) -> None:
    """A typing error in it must not leave a domain open."""
    with pytest.raises(ConfigurationError):
        Blocked(wrong)


def test_block_lists_are_values() -> None:
    assert Blocked(["old.contoso.com", "EVIL.example"]) == evolve(BLOCKED) == BLOCKED
    assert hash(evolve(BLOCKED)) == hash(BLOCKED)
    assert Blocked(Scope(["evil.example"])) == Blocked(["evil.example"]) != BLOCKED


# ---------------------------------------------------------------- names that are no domains

LONG = ".".join(["a" * 60] * 3)


@pytest.mark.parametrize(
    "name",
    [
        "host_1.evil.example",
        "_sip._tls.evil.example",
        "f*.evil.example",
        "*.*.evil.example",
        ".evil.example",
        "evil.example..",
        "-x.evil.example",
        "xn--a.evil.example",
        f"{LONG}.evil.example.",
        f"{LONG}.{LONG}.evil.example",
        f"sip:{LONG}.{LONG}.evil.example",
        "sip:x_y.evil.example",
        "sip:evil.example:99999",
        "sip:evil.example:",
        "sip:@evil.example",
        "sip:al ice@evil.example",
        "sip:a@b@evil.example",
        "sip:a@evil.example@contoso.com",
        " sip:evil.example",
        "sip:evil.example ;x",
        "sip:[evil.example]",
        "sip:contoso.com\0.evil.example",
    ],
)
def test_a_blocked_domain_need_not_be_well_formed(
    everybody: AnyDomain, root: Made, name: str
) -> None:
    evidence = show(make_leaf(root, OURS, name))
    assert everybody.evaluate(evidence).accepted
    assert (everybody & BLOCKED).evaluate(evidence).code == Code.PARTNER_BLOCKED


@pytest.mark.parametrize(
    "subject",
    [
        "sip:evil.example",
        "x_y.evil.example",
        "evil.example ",
        "https://evil.example",
        "evil.example:1",
    ],
)
def test_a_common_name_need_not_be_well_formed(
    everybody: AnyDomain, root: Made, subject: str
) -> None:
    evidence = show(make_leaf(root, OURS, subject=subject))
    assert everybody.evaluate(evidence).accepted
    assert (everybody & BLOCKED).evaluate(evidence).code == Code.PARTNER_BLOCKED


def test_a_service_need_not_be_well_formed(everybody: AnyDomain, root: Made) -> None:
    for der in (b"\x16\x12sips_.evil.example", b"\x0c\x12_sips.evil.example"):
        service = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), der)
        san = x509.SubjectAlternativeName([*general_names([OURS]), service])
        evidence = show(make("leaf", root, (san, False)))
        assert (everybody & BLOCKED).evaluate(evidence).code == Code.PARTNER_BLOCKED


@pytest.mark.parametrize(
    "name",
    [
        "notevil.example",
        "x_evil.example",
        "sip:x-evil.example:99999",
        "evil.example_",
        "sip:evil.example@contoso.com:99999",
        f"{LONG}.notevil.example.",
        "urn:evil.example",
    ],
)
def test_what_only_looks_like_a_blocked_domain_is_none(
    everybody: AnyDomain, root: Made, name: str
) -> None:
    assert (everybody & BLOCKED).evaluate(show(make_leaf(root, OURS, name))).accepted


def test_a_thousand_names_and_ten_thousand_blocked_domains_take_no_time(
    everybody: AnyDomain, root: Made
) -> None:
    """Nor does a single name that is as long as a certificate may be."""
    blocked = Scope([f"evil{number}.example" for number in range(10_000)])
    for names in ([f"x_{number}.contoso.com" for number in range(1000)], ["a." * 30_000 + "com"]):
        evidence = show(make_leaf(root, OURS, *names))
        assert evidence.presented.has_san
        start = time.perf_counter()
        assert blocked_fault(blocked, evidence) is None
        assert time.perf_counter() - start < 0.5


# ---------------------------------------------------------------- names that are believed


def test_a_pin_does_not_make_a_blocked_name_believed(root: Made) -> None:
    """The certificate does not mention it."""
    leaf = make_leaf(root, "sip:contoso.com")
    pinned = Pinned({"evil.example": [Pinned.certificate_pin(leaf.certificate)]})
    assert pinned.evaluate(show(leaf)).accepted
    decision = (pinned & BLOCKED).evaluate(show(leaf))
    assert decision.code == Code.PARTNER_BLOCKED
    assert decision.fault is not None
    assert decision.fault.found == "has to do with evil.example"


@pytest.mark.parametrize("name", ["evil.example", "x.evil.example", "Evil.Example."])
def test_whatever_a_policy_believes_is_looked_at(root: Made, name: str) -> None:
    evidence = show(make_leaf(root, OURS))
    peer = Peer([BelievedName("contoso.com"), BelievedName(name)], (), NOW)
    assert BLOCKED.check(peer, evidence).code == Code.PARTNER_BLOCKED
    above = Peer([BelievedName("example")], (), NOW, ["bob@evil.example"])
    assert BLOCKED.check(above, evidence).code == Code.PARTNER_BLOCKED
    ours = Peer([BelievedName("contoso.com")], (), NOW, ["evil.example@contoso.com"])
    assert BLOCKED.check(ours, evidence).accepted


def test_as_a_condition_it_tells_what_it_cannot_read() -> None:
    """A policy of a user's own may believe who showed nothing; that is no fault in the code."""
    broken = make("device", None, raw("2.5.29.17", b"\x05\x00", critical=False))
    peer = Peer([BelievedName("contoso.com")], (), NOW)
    for evidence, code in (
        (show(), Code.CERTIFICATE_MISSING),
        (show(broken), Code.CERTIFICATE_MALFORMED),
    ):
        decision = BLOCKED.check(peer, evidence)
        assert (decision.code, decision.by, decision.evidence) == (code, "Blocked", evidence)


# ---------------------------------------------------------------- in whose name nobody speaks


def test_what_is_blocked_stands_on_whoever_passes(everybody: AnyDomain, root: Made) -> None:
    """Two lists, one after the other or together, are one."""
    evidence = show(make_leaf(root, OURS))
    more = Blocked(["a.example"])
    both = BLOCKED.domains.domains | {"a.example"}
    before = Peer([BelievedName("contoso.com")], (), NOW, blocked=frozenset({"a.example"}))
    after = BLOCKED.check(before, evidence).peer
    assert after is not None
    assert after.blocked == both
    for policy in (everybody & BLOCKED & more, everybody & (more & BLOCKED)):
        peer = policy.evaluate(evidence).peer
        assert peer is not None
        assert peer.blocked == both


def test_a_domain_of_a_fixed_edge_may_be_blocked(root: Made) -> None:
    """The certificate does not mention it."""
    authority = Authority("public CAs", [root.certificate])
    partner = Partner(["fabrikam.com", "evil.example"], authority, edge="edge.hoster.example")
    evidence = show(make_leaf(root, "edge.hoster.example"))
    assert partner.evaluate(evidence).accepted
    decision = (partner & BLOCKED).evaluate(evidence)
    assert decision.code == Code.PARTNER_BLOCKED
    assert decision.fault is not None
    assert decision.fault.found == "has to do with evil.example"
