"""Discovery: strangers whom a CA that everybody knows vouches for, and nobody whom we know."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from attrs import evolve
from certificates import Made, make_ca, make_leaf, show
from hypothesis import given
from hypothesis import strategies as st

from siptls.errors import ConfigurationError
from siptls.trust.account import TrafficLimits
from siptls.trust.authority import Authority
from siptls.trust.believed import Trust
from siptls.trust.codes import Code
from siptls.trust.discovery import SERVICE, Discovery
from siptls.trust.names import ReferenceIdentity
from siptls.trust.policy import judge
from siptls.trust.rules import NameRules
from siptls.trust.scope import Scope

PUBLIC, OTHER, UNKNOWN = make_ca("Public CA"), make_ca("Other CA"), make_ca("Unknown CA")


def ca(made: Made) -> Authority:
    return Authority(made.certificate.subject.rfc4514_string(), [made.certificate])


DISCOVERY = Discovery(ca(PUBLIC), own=["contoso.com"])
TWO = evolve(DISCOVERY, authorities=[ca(PUBLIC), ca(OTHER)])


@pytest.mark.parametrize("policy", [DISCOVERY, TWO])
def test_a_stranger_is_believed_within_limits(policy: Discovery) -> None:
    decision = policy.evaluate(show(make_leaf(PUBLIC, "sip:woodgrove.example")))
    assert decision.peer is not None
    assert decision.peer.domains == {"woodgrove.example"}
    assert decision.peer.trust is Trust.DISCOVERED
    assert decision.peer.limits == TrafficLimits()
    assert decision.peer.enterprise == frozenset()


def test_each_of_several_authorities_may_vouch() -> None:
    for made, code in (
        (PUBLIC, Code.ACCEPTED),
        (OTHER, Code.ACCEPTED),
        (UNKNOWN, Code.PATH_UNKNOWN_CA),
    ):
        leaf = make_leaf(made, "sip:woodgrove.example")
        assert TWO.evaluate(show(leaf)).code == code
    parts = TWO.evaluate(show(make_leaf(OTHER, "sip:a.example"))).parts
    assert [(part.by, part.accepted) for part in parts] == [
        ("Discovery", True),
        ("Discovery", False),
    ]


@pytest.mark.parametrize("name", ["sip:contoso.com", "sip.eu.contoso.com"])
def test_nobody_out_there_has_a_name_of_ours(name: str) -> None:
    decision = DISCOVERY.evaluate(show(make_leaf(PUBLIC, name)))
    domain = name.removeprefix("sip:")
    assert decision.code == Code.NAME_OUT_OF_SCOPE
    assert decision.reason.endswith(
        f" vouches for {domain}; expected a domain that is neither ours nor a listed partner's"
    )
    assert decision.notes[0].endswith(
        "dropped, CN=Public CA may not vouch for it: it is ours, or a listed partner's"
    )


def test_of_a_strangers_name_and_ours_the_strangers_is_believed() -> None:
    leaf = make_leaf(PUBLIC, "sip:woodgrove.example", "sip:contoso.com", "sip.contoso.com")
    peer = DISCOVERY.evaluate(show(leaf)).peer
    assert peer is not None
    assert peer.domains | peer.hosts == {"woodgrove.example"}


def test_a_domain_above_ours_has_no_users_among_us() -> None:
    """Whoever holds example.com may be a stranger, while corp.example.com is ours."""
    discovery = evolve(DISCOVERY, own=["corp.a.example"])
    names = [
        "sip:a.example",
        "sip:bob@a.example",
        "sip:eve@corp.a.example",
        "sip:x@b.corp.a.example",
    ]
    peer = discovery.evaluate(show(make_leaf(PUBLIC, *names))).peer
    assert peer is not None
    assert peer.users == {"bob@a.example"}


@pytest.mark.parametrize(
    ("domain", "code"),
    [
        ("contoso.com", Code.NAME_MISMATCH),
        ("eu.contoso.com", Code.NAME_MISMATCH),
        ("alpine.example", Code.ACCEPTED),
    ],
)
def test_a_host_out_there_is_not_expected_for_a_domain_of_ours(domain: str, code: Code) -> None:
    """Wherever DNS says that our own server is."""
    expected = ReferenceIdentity(domain, "sip.woodgrove.example")
    leaf = make_leaf(PUBLIC, "sip.woodgrove.example")
    assert DISCOVERY.evaluate(show(leaf, role="server", reference=expected)).code == code


def test_who_is_listed_is_nobody_whom_we_discover() -> None:
    narrower = DISCOVERY.without(frozenset({"fabrikam.com"}))
    assert narrower == evolve(DISCOVERY, own=["contoso.com", "fabrikam.com"])
    for name in ("sip:fabrikam.com", "sip:eu.fabrikam.com", "sip:contoso.com"):
        evidence = show(make_leaf(PUBLIC, name))
        assert narrower.evaluate(evidence).code == Code.NAME_OUT_OF_SCOPE
    assert DISCOVERY.evaluate(show(make_leaf(PUBLIC, "sip:fabrikam.com"))).accepted


def test_the_rules_and_the_limits_are_chosen() -> None:
    evidence = show(make_leaf(PUBLIC, subject="sip.woodgrove.example"))
    assert DISCOVERY.evaluate(evidence).code == Code.NAME_NONE
    free = Discovery(ca(PUBLIC), own=["contoso.com"], names=NameRules.OCS, limits=None)
    peer = free.evaluate(evidence).peer
    assert peer is not None
    assert peer.limits is None


NAMES = [
    *("contoso.com", "sip:contoso.com", "sip:eu.contoso.com", "sip.contoso.com", "*.contoso.com"),
    *("sip:alice@contoso.com", "fabrikam.com", "sip:fabrikam.com", "*.fabrikam.com", "sip:com"),
    *("sip:a.example", "sip.a.example", "*.a.example", "sip:bob@eu.fabrikam.com"),
]


@given(
    names=st.sets(st.sampled_from(NAMES), max_size=6),
    subject=st.sampled_from(["leaf", "contoso.com", "sip.fabrikam.com"]),
    rules=st.sampled_from([NameRules.RFC5922, NameRules.OCS, NameRules.RFC9525, NameRules.TEAMS]),
    expected=st.sampled_from(
        [None, "contoso.com", "x.contoso.com", "sip.fabrikam.com", "a.example"]
    ),
    host=st.sampled_from([None, "sip.contoso.com", "sip.a.example"]),
)
def test_no_certificate_makes_us_believe_a_name_of_somebody_whom_we_know(
    names: set[str], subject: str, rules: NameRules, expected: str | None, host: str | None
) -> None:
    """Neither a domain nor a host nor a user, and nobody answers for one whom we ask for."""
    policy = evolve(DISCOVERY, names=rules).without(frozenset({"fabrikam.com"}))
    known = Scope(["contoso.com", "fabrikam.com"])
    reference = None if expected is None else ReferenceIdentity(expected, host)
    role = "client" if reference is None else "server"
    leaf = make_leaf(PUBLIC, *sorted(names), subject=subject)
    peer = judge(policy, show(leaf, role=role, reference=reference)).peer
    if peer is None:
        return
    users = {user.rpartition("@")[2] for user in peer.users}
    assert not any(known.covers(name) for name in peer.domains | peer.hosts | users)
    assert expected is None or not known.covers(expected)
    assert peer.trust is Trust.DISCOVERED


@pytest.mark.parametrize(
    ("authorities", "more", "match"),
    [
        ([], {}, "Discovery without an authority would believe nobody"),
        (["public"], {}, r"an authority is an Authority.*not a str"),
        (None, {}, "authorities are a list, not None"),
        (ca(PUBLIC), {"own": []}, "no domains"),
        (ca(PUBLIC), {"own": "contoso.com"}, "domains are a list"),
        (ca(PUBLIC), {"limits": 20}, "TrafficLimits"),
        (ca(PUBLIC), {"names": "OCS"}, "NameRules"),
    ],
)
def test_a_faulty_discovery_is_refused_when_built(
    authorities: Any, more: dict[str, Any], match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match):
        Discovery(authorities, **{"own": ["contoso.com"], **more})


def test_a_discovery_is_a_value() -> None:
    assert Discovery([ca(PUBLIC)], own=Scope(["Contoso.com"])) == evolve(DISCOVERY) == DISCOVERY
    assert len({DISCOVERY, evolve(DISCOVERY), TWO}) == 2
    orders = itertools.permutations([ca(PUBLIC), ca(OTHER)])
    assert {evolve(DISCOVERY, authorities=order) for order in orders} == {TWO}
    assert SERVICE == "_sipfederationtls._tcp"
