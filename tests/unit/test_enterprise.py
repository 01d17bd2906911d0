"""Enterprise and TrustedServers: our own CA, our own domains, our own servers."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from certificates import NOW, SECOND, YEAR, Made, make_ca, make_leaf, show
from hypothesis import given
from hypothesis import strategies as st

from siptls import (
    Authority,
    BelievedName,
    Blocked,
    Code,
    Combinable,
    ConfigurationError,
    Decision,
    Enterprise,
    Evidence,
    Federation,
    NameKind,
    NameRules,
    Partner,
    Peer,
    ReferenceIdentity,
    Role,
    Trust,
    TrustedServers,
)
from siptls.trust.fault import Fault
from siptls.trust.policy import judge
from siptls.trust.scope import Scope

STRANGER, IMPOSTOR, PARTNERS = make_ca("Stranger CA"), make_ca("Contoso CA"), make_ca("Theirs")


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Contoso CA")


@pytest.fixture(scope="module")
def authority(root: Made) -> Authority:
    return Authority("Contoso CA", [root.certificate])


@pytest.fixture(scope="module")
def enterprise(authority: Authority) -> Enterprise:
    return Enterprise(["contoso.com", "contoso.net"], authority)


# ---------------------------------------------------------------- Enterprise


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    "name", ["sip:contoso.com", "sip:eu.contoso.com", "sip.contoso.net", "sip:CONTOSO.com"]
)
def test_one_of_ours(enterprise: Enterprise, root: Made, role: Role, name: str) -> None:
    """Our CA is valid for all of our clients and servers, in both roles."""
    decision = enterprise.evaluate(show(make_leaf(root, name), role=role))
    assert decision.peer is not None
    assert decision.peer.domains == {name.removeprefix("sip:").lower()}
    assert decision.peer.trust is Trust.ENTERPRISE
    assert decision.by == "Enterprise contoso.com, contoso.net"


@pytest.mark.parametrize("name", ["sip:fabrikam.com", "sip:evilcontoso.com", "com"])
def test_our_ca_does_not_vouch_for_others(enterprise: Enterprise, root: Made, name: str) -> None:
    decision = enterprise.evaluate(show(make_leaf(root, name)))
    assert decision.code == Code.NAME_OUT_OF_SCOPE
    assert decision.peer is None


def test_others_do_not_vouch_for_us(enterprise: Enterprise) -> None:
    """Not even one whose CA has the name of ours."""
    stranger, forger = make_ca("Stranger CA"), make_ca("Contoso CA")
    by_stranger = enterprise.evaluate(show(make_leaf(stranger, "sip:contoso.com")))
    assert (by_stranger.code, by_stranger.concerned) == (Code.PATH_UNKNOWN_CA, True)
    by_forger = enterprise.evaluate(show(make_leaf(forger, "sip:contoso.com")))
    assert by_forger.code == Code.PATH_SIGNATURE


def test_an_enterprise_asks_its_own_ca(enterprise: Enterprise, authority: Authority) -> None:
    assert enterprise.authorities == {authority}


@given(names=st.sets(st.sampled_from(["sip:contoso.com", "contoso.net", "sip:a.example"])))
def test_an_unknown_ca_is_never_believed(
    enterprise: Enterprise, root: Made, names: set[str]
) -> None:
    """Whatever it signs, whoever is expected, and with our own root sent along."""
    leaf = make_leaf(make_ca("Stranger CA"), *sorted(names))
    for reference in (None, "contoso.com", "contoso.net", "a.example"):
        role = "client" if reference is None else "server"
        for chain in ((leaf,), (leaf, root)):
            decision = enterprise.evaluate(show(*chain, role=role, reference=reference))
            assert decision.code == Code.PATH_UNKNOWN_CA
            assert decision.peer is None


PRESENTED = st.builds(
    str.__add__,
    st.sampled_from(["", "sip:", "sips:", "sip:bob@", "*.", "x_"]),
    st.sampled_from(["contoso.com", "eu.contoso.com", "fabrikam.com", "com", "a.example"]),
)


@given(
    names=st.sets(PRESENTED, max_size=6),
    subject=st.sampled_from(["leaf", "contoso.com", "fabrikam.com"]),
    reference=st.sampled_from([None, "contoso.com", "fabrikam.com", "eu.contoso.com"]),
    rules=st.sampled_from([NameRules.RFC5922, NameRules.OCS, NameRules.RFC9525, NameRules.TEAMS]),
    sent_along=st.booleans(),
)
def test_an_unknown_ca_is_never_believed_by_any_combination(  # noqa: PLR0917  all of it is drawn
    root: Made,
    names: set[str],
    subject: str,
    reference: str | None,
    rules: NameRules,
    sent_along: bool,
) -> None:
    """By nobody, under no rules, whoever is expected; not even one that has the name of ours."""
    ours = Enterprise(["contoso.com"], Authority("ours", [root.certificate]), names=rules)
    partner = Partner(["fabrikam.com"], Authority("theirs", [PARTNERS.certificate]), names=rules)
    theirs = Federation([partner])
    servers = TrustedServers(["contoso.com", "fabrikam.com"])
    blocked = Blocked(["a.example"])
    policies = [
        ours,
        theirs,
        ours | theirs,
        ours & servers,
        (ours & servers | theirs) & blocked,
        (ours | theirs) & (servers & blocked),
    ]
    for stranger in (STRANGER, IMPOSTOR):
        leaf = make_leaf(stranger, *sorted(names), subject=subject)
        chain = (leaf, stranger, root, PARTNERS) if sent_along else (leaf,)
        role = "client" if reference is None else "server"
        for policy in policies:
            decision = judge(policy, show(*chain, role=role, reference=reference))
            assert not decision.accepted
            assert decision.peer is None


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        ("contoso.com", Code.ACCEPTED),
        ("sip:alice@Contoso.com;transport=tls", Code.ACCEPTED),
        ("contoso.net", Code.NAME_MISMATCH),
        ("eu.contoso.com", Code.NAME_MISMATCH),
        ("fabrikam.com", Code.NAME_MISMATCH),
    ],
)
def test_outbound_the_expected_name_is_proven(
    enterprise: Enterprise, root: Made, expected: str, code: Code
) -> None:
    """That a server is one of ours does not make it the one that was asked for."""
    leaf = make_leaf(root, "sip:contoso.com")
    assert enterprise.evaluate(show(leaf, role="server", reference=expected)).code == code


def test_an_expired_certificate_of_ours(enterprise: Enterprise, root: Made) -> None:
    leaf = make_leaf(root, "sip:contoso.com", not_after=NOW)
    assert enterprise.evaluate(show(leaf)).accepted
    assert enterprise.evaluate(show(leaf, now=NOW + SECOND)).code == Code.PATH_EXPIRED


def test_the_name_rules_are_chosen(authority: Authority, root: Made) -> None:
    """An old server with a common name only is known under the rules of its time."""
    old_server = show(make_leaf(root, subject="sip.contoso.com"))
    ocs = Enterprise(["contoso.com"], authority, names=NameRules.OCS)
    assert ocs.evaluate(old_server).accepted
    assert Enterprise(["contoso.com"], authority).evaluate(old_server).code == Code.NAME_NONE


@pytest.mark.parametrize("domains", [[], "contoso.com", ["*.contoso.com"], ["192.0.2.1"], [""]])
def test_faulty_domains_are_refused_when_built(authority: Authority, domains: Any) -> None:
    with pytest.raises(ConfigurationError):
        Enterprise(domains, authority)


def test_an_enterprise_is_a_value(authority: Authority, enterprise: Enterprise) -> None:
    assert enterprise == Enterprise(["Contoso.net", "contoso.com"], authority)
    assert enterprise != Enterprise(["contoso.com"], authority)
    assert enterprise.domains == Scope(["contoso.com", "contoso.net"])
    assert isinstance(enterprise, Combinable)


def test_an_enterprise_evolves(authority: Authority, enterprise: Enterprise) -> None:
    """``attrs.evolve`` is what a user changes one field of a frozen value with."""
    changed = evolve(enterprise, names=NameRules.OCS)
    assert changed == Enterprise(["contoso.com", "contoso.net"], authority, names=NameRules.OCS)


# ---------------------------------------------------------------- TrustedServers

EVIDENCE = Evidence((), "client", now=NOW)


def known(*names: BelievedName) -> Peer:
    return Peer(names, (), NOW + YEAR)


def domain(name: str) -> BelievedName:
    return BelievedName(name)


def host(name: str) -> BelievedName:
    return BelievedName(name, domain=False, host=True)


@pytest.mark.parametrize(
    ("believed", "good"),
    [
        ([domain("sip.contoso.com")], True),
        ([host("sip.contoso.com")], True),
        ([domain("contoso.com"), host("sip.contoso.com")], True),
        ([domain("contoso.com"), domain("pc.contoso.com"), host("edge.contoso.com")], True),
        ([domain("contoso.com")], False),
        ([domain("a.sip.contoso.com")], False),
        ([domain("xsip.contoso.com")], False),
        ([domain("contoso.com"), host("pc.contoso.com")], False),
    ],
)
def test_a_believed_name_is_on_the_list(believed: list[BelievedName], good: bool) -> None:
    """Equality, neither above nor below: the list names machines."""
    listed = TrustedServers(["sip.contoso.com", "edge.contoso.com"])
    peer = known(*believed)
    decision = listed.check(peer, EVIDENCE)
    assert decision.accepted is good
    assert decision.by == "TrustedServers"
    assert decision.evidence is EVIDENCE
    assert decision.peer == (evolve(peer, trusted_server=True) if good else None)
    if not good:
        assert decision.code == Code.SERVER_NOT_LISTED


def test_the_answer_tells_the_name_that_was_found_and_the_list() -> None:
    listed = TrustedServers(["sip.contoso.com", "edge.contoso.com"])
    on_it = listed.check(known(domain("contoso.com"), host("sip.contoso.com")), EVIDENCE)
    assert on_it.reason == "sip.contoso.com is on the list"
    off_it = listed.check(known(domain("contoso.com"), host("pc.contoso.com")), EVIDENCE)
    assert off_it.fault == Fault(
        Code.SERVER_NOT_LISTED,
        "the peer",
        "has proven contoso.com, pc.contoso.com",
        "one of the trusted servers: edge.contoso.com, sip.contoso.com",
        "TrustedServers",
    )


def test_who_is_known_by_an_address_only_is_on_no_list() -> None:
    """The list is of names; the answer tells that there is none."""
    address = BelievedName("192.0.2.1", NameKind.IP, domain=False)
    decision = TrustedServers(["sip.contoso.com"]).check(known(address), EVIDENCE)
    assert decision.reason == (
        "the peer has proven no name; expected one of the trusted servers: sip.contoso.com"
    )


def test_a_dns_name_beside_a_uri_counts(enterprise: Enterprise, root: Made) -> None:
    """RFC 5922 says that it is no SIP identity; here it names the machine, which is the point."""
    policy = enterprise & TrustedServers(["sip.contoso.com"])
    server = make_leaf(root, "sip:contoso.com", "sip.contoso.com")
    desktop = make_leaf(root, "sip:contoso.com", "pc.contoso.com")
    assert policy.evaluate(show(server)).accepted
    assert policy.evaluate(show(desktop)).code == Code.SERVER_NOT_LISTED
    # It is still no identity to ask for.
    asked = show(server, role="server", reference="sip.contoso.com")
    assert policy.evaluate(asked).code == Code.NAME_MISMATCH


def test_only_believed_names_are_held_against_the_list(authority: Authority, root: Made) -> None:
    """A name that stands in the certificate, but is not believed, opens nothing."""
    policy = Enterprise(["contoso.com"], authority) & TrustedServers(
        ["sip.fabrikam.com", "sip.contoso.com"]
    )
    out_of_scope = make_leaf(root, "sip:contoso.com", "sip.fabrikam.com")
    assert policy.evaluate(show(out_of_scope)).code == Code.SERVER_NOT_LISTED
    common_name = make_leaf(root, "sip:contoso.com", subject="sip.contoso.com")
    assert policy.evaluate(show(common_name)).code == Code.SERVER_NOT_LISTED
    user = make_leaf(root, "sip:contoso.com", "sip:bob@sip.contoso.com")
    assert policy.evaluate(show(user)).code == Code.SERVER_NOT_LISTED
    stranger = make_leaf(make_ca("Stranger CA"), "sip.contoso.com")
    assert policy.evaluate(show(stranger)).code == Code.PATH_UNKNOWN_CA


def test_the_list_does_not_replace_the_expected_name(enterprise: Enterprise, root: Made) -> None:
    policy = enterprise & TrustedServers(["sip.contoso.com"])
    leaf = make_leaf(root, "sip.contoso.com")
    expected = ReferenceIdentity.parse("contoso.net", host="sip.contoso.com")
    assert policy.evaluate(show(leaf, role="server", reference=expected)).accepted
    decision = policy.evaluate(show(leaf, role="server", reference="contoso.net"))
    assert decision.code == Code.NAME_MISMATCH


@pytest.mark.parametrize("names", [["192.0.2.1"], ["sip.contoso.com", "127.1"], ["2001:db8::1"]])
def test_an_ip_address_is_no_trusted_server(names: list[str]) -> None:
    """Whoever holds an address is not proven by it."""
    with pytest.raises(ConfigurationError, match="is no domain"):
        TrustedServers(names)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="TrustedServers of nothing"):
        TrustedServers([])


@pytest.mark.parametrize("names", ["sip.contoso.com", ["*.contoso.com"], [None]])
def test_a_faulty_list_is_refused(names: Any) -> None:
    with pytest.raises(ConfigurationError):
        TrustedServers(names)


def test_a_bare_string_is_no_list_of_servers() -> None:
    with pytest.raises(ConfigurationError, match=r"write \['sip.contoso.com'\]"):
        TrustedServers("sip.contoso.com")


def test_the_list_is_canonical_and_evolves() -> None:
    listed = TrustedServers(["SIP.Contoso.com"])
    assert listed.names == {"sip.contoso.com"}
    assert evolve(listed) == listed == TrustedServers({"sip.contoso.com"})


def test_the_explanation_of_a_server_that_is_not_listed(enterprise: Enterprise, root: Made) -> None:
    """It shows that the enterprise believed the peer, and that the list did not have it."""
    policy = enterprise & TrustedServers(["sip.contoso.com"])
    decision = policy.evaluate(show(make_leaf(root, "pc.contoso.com")))
    assert [(part.by, part.accepted) for part in decision.parts] == [
        ("Enterprise contoso.com, contoso.net", True),
        ("TrustedServers", False),
    ]
    text = decision.explain()
    assert text.startswith("refused: server.not-listed")
    assert "add its FQDN to TrustedServers" in text
    assert isinstance(decision, Decision)


def test_an_enterprise_tells_whom_it_asks(enterprise: Enterprise) -> None:
    assert enterprise.authorities == {enterprise.authority}


# ---------------------------------------------------------------- in whose name a server speaks

RELAYS: Any = {"Edge.contoso.com": ["fabrikam.com"], "open.contoso.com": ["*", "Litware.example"]}
RELAYING = TrustedServers(
    ["sip.contoso.com", "edge.contoso.com", "open.contoso.com"], relays=RELAYS
)


@pytest.mark.parametrize(
    ("name", "relays"),
    [
        ("sip.contoso.com", set()),
        ("edge.contoso.com", {"fabrikam.com"}),
        ("open.contoso.com", {"*", "litware.example"}),
    ],
)
def test_a_server_of_ours_relays_what_it_is_said_to(
    enterprise: Enterprise, root: Made, name: str, relays: set[str]
) -> None:
    """And all of our own domains; in whatever form its name is presented."""
    for names in ([name], ["sip:contoso.com", name]):
        peer = (enterprise & RELAYING).evaluate(show(make_leaf(root, *names))).peer
        assert peer is not None
        assert peer.trusted_server
        assert peer.relays == {"contoso.com", "contoso.net"} | relays


def test_a_machine_of_two_names_relays_what_both_do(enterprise: Enterprise, root: Made) -> None:
    leaf = make_leaf(root, "edge.contoso.com", "open.contoso.com")
    peer = (enterprise & RELAYING).evaluate(show(leaf)).peer
    assert peer is not None
    assert peer.relays == {"contoso.com", "contoso.net", "fabrikam.com", "*", "litware.example"}


def test_who_is_ours_and_on_no_list_has_no_rights(enterprise: Enterprise, root: Made) -> None:
    peer = enterprise.evaluate(show(make_leaf(root, "edge.contoso.com"))).peer
    assert peer is not None
    assert peer.enterprise == {"contoso.com", "contoso.net"}
    assert (peer.trusted_server, peer.relays) == (False, frozenset())


@pytest.mark.parametrize("trust", [trust for trust in Trust if trust is not Trust.ENTERPRISE])
def test_whoever_is_not_known_by_our_own_ca_relays_nothing(trust: Trust) -> None:
    """Even if another of its names is, and if it says of itself that it is one of ours."""
    ours = BelievedName("contoso.com", trust=Trust.ENTERPRISE)
    listed = BelievedName("open.contoso.com", trust=trust)
    peer = evolve(known(ours, listed), enterprise={"contoso.com"})
    decision = RELAYING.check(peer, EVIDENCE)
    assert decision.peer is not None
    assert decision.peer.trusted_server
    assert decision.peer.relays == frozenset()
    firm = evolve(peer, names=[evolve(listed, trust=Trust.ENTERPRISE)])
    checked = RELAYING.check(firm, EVIDENCE).peer
    assert checked is not None
    assert checked.relays == {"contoso.com", "*", "litware.example"}


def test_what_another_condition_lets_relay_is_kept(enterprise: Enterprise, root: Made) -> None:
    twice = TrustedServers(["edge.contoso.com"], relays={"edge.contoso.com": ["a.example"]})
    leaf = make_leaf(root, "edge.contoso.com")
    peer = (enterprise & RELAYING & twice).evaluate(show(leaf)).peer
    assert peer is not None
    assert peer.relays == {"contoso.com", "contoso.net", "fabrikam.com", "a.example"}


def test_each_of_two_enterprises_is_relayed_by_its_own(root: Made, authority: Authority) -> None:
    """A server that only one of our CAs knows says nothing in the name of the other's domains."""
    second = Enterprise(["contoso.example"], Authority("second", [STRANGER.certificate]))
    policy = (Enterprise(["contoso.com"], authority) | second) & RELAYING
    peer = policy.evaluate(show(make_leaf(root, "sip.contoso.com"))).peer
    assert peer is not None
    assert peer.relays == {"contoso.com"}


@pytest.mark.parametrize(
    ("relays", "match"),
    [
        (["edge.contoso.com"], "relays= is by server.*not a list"),
        ({"edge.contoso.com": "fabrikam.com"}, r"relayed domains are a list: write \['fabrikam"),
        ({"edge.contoso.com": None}, "relayed domains are a list, not None"),
        ({"edge.contoso.com": ["*.fabrikam.com"]}, "is no domain"),
        ({"*": ["fabrikam.com"]}, "is no domain"),
        ({"pc.contoso.com": ["fabrikam.com"]}, "pc.contoso.com, which is none of the trusted"),
    ],
)
def test_faulty_relays_are_refused_when_built(relays: Any, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        TrustedServers(["edge.contoso.com"], relays=relays)


def test_relays_are_canonical_and_a_value() -> None:
    assert RELAYING.relays == {
        "edge.contoso.com": {"fabrikam.com"},
        "open.contoso.com": {"*", "litware.example"},
    }
    assert evolve(RELAYING) == RELAYING
    assert hash(evolve(RELAYING)) == hash(RELAYING)
    assert evolve(RELAYING, relays={}) != RELAYING


def test_a_server_that_stands_twice_in_relays_is_told() -> None:
    """In capitals, say: one of the lists would be lost."""
    relays = {"edge.contoso.com": ["a.example"], "Edge.contoso.com": ["b.example"]}
    with pytest.raises(ConfigurationError, match="twice"):
        TrustedServers(["edge.contoso.com"], relays=relays)
