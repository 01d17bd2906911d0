"""Authorization: in whose name a peer may speak, from its certificate to its message."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from certificates import NOW, YEAR, make_ca, make_leaf, show
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from siptls.trust.account import TrafficLimits
from siptls.trust.authority import Authority
from siptls.trust.authorization import ANY_DOMAIN, Voice
from siptls.trust.believed import BelievedName, Trust, Verification
from siptls.trust.blocked import Blocked
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer
from siptls.trust.enterprise import Enterprise, TrustedServers
from siptls.trust.federation import Federation, Partner
from siptls.trust.names import parents
from siptls.trust.policy import Restricted, TrustPolicy, judge
from siptls.trust.presented import NameKind
from siptls.trust.senders import Claims, Sender
from siptls.wire.message import Message

OURS, FABRIKAM, PUBLIC = make_ca("Contoso CA"), make_ca("Fabrikam CA"), make_ca("Public CA")


def ca(made: Any) -> Authority:
    return Authority(made.certificate.subject.rfc4514_string(), [made.certificate])


SERVERS = TrustedServers(
    ["edge.contoso.com", "open.contoso.com", "sip.contoso.com"],
    relays={"edge.contoso.com": ["fabrikam.com"], "open.contoso.com": [ANY_DOMAIN]},
)
ENTERPRISE = Enterprise(["contoso.com", "contoso.net"], ca(OURS))
PARTNER = Partner(["fabrikam.com", "fabrikam.net"], ca(FABRIKAM))
DISCOVERING = Federation.discovering(
    [PARTNER], ca(PUBLIC), own=["contoso.com"], blocked=["evil.example"]
)
POLICY = (ENTERPRISE & SERVERS | DISCOVERING) & Blocked(["evil.example"])


def peer_of(policy: TrustPolicy, made: Any, *names: str) -> Peer:
    """Give who it is that shows a certificate of this CA with these names."""
    peer = judge(policy, show(make_leaf(made, *names))).peer
    assert peer is not None
    return peer


PEERS = {
    "partner": peer_of(POLICY, FABRIKAM, "sip:fabrikam.com"),
    "hidden behind a machine": peer_of(POLICY, FABRIKAM, "sip:fabrikam.com", "sip.fabrikam.com"),
    "stranger": peer_of(POLICY, PUBLIC, "sip:woodgrove.example"),
    "edge": peer_of(POLICY, OURS, "sip:contoso.com", "edge.contoso.com"),
    "open edge": peer_of(POLICY, OURS, "open.contoso.com"),
    "server": peer_of(POLICY, OURS, "sip.contoso.com"),
    "desktop": peer_of(ENTERPRISE, OURS, "sip:contoso.com", "pc.contoso.com"),
}


def request(sender: str | None, *asserted: str) -> Message:
    """Give a request with this From (none if None), and these P-Asserted-Identity."""
    fields = [] if sender is None else [f"From: {sender};tag=1"]
    fields += [f"P-Asserted-Identity: {one}" for one in asserted]
    return Message("\r\n".join(["MESSAGE sip:a@b.example SIP/2.0", *fields, "", ""]).encode())


def response(sender: str, *asserted: str) -> Message:
    fields = [f"From: {sender};tag=1", *(f"P-Asserted-Identity: {one}" for one in asserted)]
    return Message("\r\n".join(["SIP/2.0 200 OK", *fields, "", ""]).encode())


YES, NO, BLOCKED = Code.ACCEPTED, Code.SENDER_NOT_AUTHORIZED, Code.PARTNER_BLOCKED
UNVERIFIABLE, MALFORMED = Code.SENDER_UNVERIFIABLE, Code.SENDER_MALFORMED
ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'


@pytest.mark.parametrize(
    ("who", "sender", "code"),
    [
        # A partner: for the domain that he has proven, by equality.
        ("partner", "<sip:bob@fabrikam.com>", YES),
        ("partner", "<sips:bob@Fabrikam.COM:5061>", YES),
        ("partner", "<sip:fabrikam.com>", YES),
        ("partner", "<sip:bob@eu.fabrikam.com>", NO),
        ("partner", "<sip:bob@com>", NO),
        ("partner", "<sip:bob@fabrikam.net>", NO),
        ("partner", "<sip:bob@contoso.com>", NO),
        ("partner", "<sip:bob@woodgrove.example>", NO),
        ("partner", "<sip:bob@fabrikam.com.evil.example>", BLOCKED),
        ("hidden behind a machine", "<sip:bob@sip.fabrikam.com>", NO),
        # A stranger.
        ("stranger", "<sip:bob@woodgrove.example>", YES),
        ("stranger", "<sip:bob@fabrikam.com>", NO),
        ("stranger", "<sip:bob@contoso.com>", NO),
        ("stranger", "<sip:bob@evil.example>", BLOCKED),
        # A server of ours that is on the list, and relays nobody: all of our own domains.
        ("server", "<sip:alice@contoso.com>", YES),
        ("server", "<sip:alice@eu.contoso.net>", YES),
        ("server", "<sip:bob@fabrikam.com>", NO),
        ("server", "<sip:alice@notcontoso.com>", NO),
        ("server", "<sip:alice@com>", NO),
        # One that relays a partner, and one that relays anybody.
        ("edge", "<sip:alice@contoso.net>", YES),
        ("edge", "<sip:bob@fabrikam.com>", YES),
        ("edge", "<sip:bob@eu.fabrikam.com>", YES),
        ("edge", "<sip:bob@fabrikam.net>", NO),
        ("edge", "<sip:bob@woodgrove.example>", NO),
        ("open edge", "<sip:bob@woodgrove.example>", YES),
        ("open edge", "<sip:alice@contoso.com>", YES),
        ("open edge", "<sip:bob@evil.example>", BLOCKED),
        ("open edge", "<sip:bob@x.evil.example>", BLOCKED),
        ("open edge", "<sip:bob@devil.example>", YES),
        # A machine of ours that is on no list.
        ("desktop", "<sip:alice@contoso.com>", YES),
        ("desktop", "<sip:alice@contoso.net>", NO),
        ("desktop", "<sip:alice@eu.contoso.com>", NO),
        # Addresses are nobody's, and "any domain" is of domains.
        ("partner", "<sip:bob@192.0.2.1>", NO),
        ("open edge", "<sip:bob@192.0.2.1>", NO),
        ("open edge", "<sip:bob@[2001:db8::1]>", NO),
        # Who hides is vouched for by nobody, unless a server of ours passes him on.
        ("partner", ANONYMOUS, UNVERIFIABLE),
        ("stranger", ANONYMOUS, UNVERIFIABLE),
        ("desktop", ANONYMOUS, UNVERIFIABLE),
        ("server", ANONYMOUS, YES),
        ("partner", "<tel:+15551234>", UNVERIFIABLE),
        ("edge", "<tel:+15551234>", YES),
        # What cannot be read is refused, whoever sends it.
        ("partner", "<sip:bob@fabrikam.com", MALFORMED),
        ("open edge", "<mailto:bob@fabrikam.com>", MALFORMED),
        ("server", "", MALFORMED),
        ("server", None, MALFORMED),
        ("partner", "<sip:bob@fabrikam.com>, <sip:alice@contoso.com>", MALFORMED),
    ],
)
def test_who_may_speak_for_whom(who: str, sender: str | None, code: Code) -> None:
    peer = PEERS[who]
    decision = peer.authorize(request(sender))
    assert decision.code == code
    assert decision.by == "peer"
    assert decision.peer is (peer if code is YES else None)


@pytest.mark.parametrize(
    ("who", "sender", "asserted", "code"),
    [
        ("partner", "<sip:bob@fabrikam.com>", ["<sip:bob@fabrikam.com>"], YES),
        ("partner", "<sip:bob@fabrikam.com>", ["<sip:carol@fabrikam.com>"], YES),
        ("partner", "<sip:bob@fabrikam.com>", ["<sip:alice@contoso.com>"], NO),
        ("partner", "<sip:bob@fabrikam.com>", ["<sip:bob@eu.fabrikam.com>"], NO),
        ("partner", "<sip:bob@fabrikam.com>", ["<sip:bob@evil.example>"], BLOCKED),
        ("partner", "<sip:alice@contoso.com>", ["<sip:bob@fabrikam.com>"], NO),
        ("partner", "<sip:bob@fabrikam.com>", ["<tel:+1555>"], YES),
        ("partner", "<sip:bob@fabrikam.com>", [ANONYMOUS], YES),
        ("partner", "<sip:bob@fabrikam.com>", ["<sip:bob@>"], MALFORMED),
        ("partner", ANONYMOUS, ["<sip:bob@fabrikam.com>"], YES),
        ("partner", ANONYMOUS, ["<sip:bob@fabrikam.com>, <tel:+1555>"], YES),
        ("partner", ANONYMOUS, ["<sip:bob@fabrikam.com>", "<tel:+1555>"], YES),
        ("partner", ANONYMOUS, ["<sip:bob@fabrikam.com>", "<sip:x@contoso.com>"], MALFORMED),
        ("partner", ANONYMOUS, ["<sip:bob@contoso.com>"], NO),
        ("partner", ANONYMOUS, ["<sip:bob@evil.example>"], BLOCKED),
        # A number, and nobody, are no domain that vouches for him.
        ("partner", ANONYMOUS, ["<tel:+1555>"], UNVERIFIABLE),
        ("partner", ANONYMOUS, [ANONYMOUS], UNVERIFIABLE),
        ("partner", "<tel:+1555>", ["<sip:bob@fabrikam.com>"], YES),
        ("partner", "<tel:+1555>", ["<tel:+1555>"], UNVERIFIABLE),
        # A server of ours needs no assertion; if there is one, it holds for it as well.
        ("edge", ANONYMOUS, ["<sip:bob@fabrikam.com>"], YES),
        ("edge", ANONYMOUS, ["<tel:+1555>"], YES),
        ("edge", ANONYMOUS, ["<sip:bob@woodgrove.example>"], NO),
        ("open edge", ANONYMOUS, ["<sip:bob@evil.example>"], BLOCKED),
        ("stranger", ANONYMOUS, ["<sip:bob@woodgrove.example>"], YES),
    ],
)
def test_each_identity_that_is_claimed_is_looked_at(
    who: str, sender: str, asserted: list[str], code: Code
) -> None:
    """The sender who hides is replaced by who is asserted; one who does not, is not."""
    assert PEERS[who].authorize(request(sender, *asserted)).code == code


@pytest.mark.parametrize(
    ("who", "asserted", "code"),
    [
        ("partner", [], YES),
        ("partner", ["<sip:bob@fabrikam.com>"], YES),
        ("partner", ["<sip:alice@contoso.com>"], NO),
        ("partner", ["<tel:+1555>"], YES),
        ("partner", ["nonsense"], MALFORMED),
        ("open edge", ["<sip:x@evil.example>"], BLOCKED),
    ],
)
@pytest.mark.parametrize("sender", ["<sip:alice@contoso.com>", ANONYMOUS, "broken <"])
def test_of_a_response_only_who_is_asserted_is_looked_at(
    who: str, sender: str, asserted: list[str], code: Code
) -> None:
    """Its From is ours: that of the request which it answers (RFC 3261 §8.2.6.2)."""
    assert PEERS[who].authorize(response(sender, *asserted)).code == code


ALWAYS, NEVER, SOURCE = (
    Verification.ALWAYS_VERIFIABLE,
    Verification.ALWAYS_UNVERIFIABLE,
    Verification.USE_SOURCE,
)
BOB = "<sip:bob@fabrikam.com>"


@pytest.mark.parametrize(
    ("sender", "asserted", "always", "never", "source"),
    [
        (BOB, [], YES, UNVERIFIABLE, UNVERIFIABLE),
        (BOB, [BOB], YES, UNVERIFIABLE, YES),
        (BOB, ["<tel:+1555>"], YES, UNVERIFIABLE, YES),
        (BOB, [ANONYMOUS], YES, UNVERIFIABLE, UNVERIFIABLE),
        (ANONYMOUS, [BOB], YES, UNVERIFIABLE, YES),
        (ANONYMOUS, [], UNVERIFIABLE, UNVERIFIABLE, UNVERIFIABLE),
        ("<sip:alice@contoso.com>", [BOB], NO, NO, NO),
    ],
)
def test_who_has_looked_at_the_user(
    sender: str, asserted: list[str], always: Code, never: Code, source: Code
) -> None:
    for level, code in ((ALWAYS, always), (NEVER, never), (SOURCE, source)):
        policy = Federation([evolve(PARTNER, verification=level)])
        peer = peer_of(policy, FABRIKAM, "sip:fabrikam.com")
        assert peer.authorize(request(sender, *asserted)).code == code
        # Of a response the sender is ours.
        assert peer.authorize(response(sender)).accepted


def test_the_level_is_that_of_the_domain_that_speaks() -> None:
    """A hoster's edge stands for two partners; only of one nobody is verified."""
    edge = {"edge": "edge.hoster.example"}
    partners = [
        Partner(["fabrikam.com"], ca(FABRIKAM), verification=NEVER, **edge),  # type: ignore[arg-type]
        Partner(["adatum.example"], ca(FABRIKAM), **edge),  # type: ignore[arg-type]
    ]
    peer = peer_of(Federation(partners), FABRIKAM, "edge.hoster.example")
    assert peer.authorize(request("<sip:bob@adatum.example>")).accepted
    assert peer.authorize(request(BOB)).code == UNVERIFIABLE
    # The edge's own name is none in which it may speak.
    assert peer.authorize(request("<sip:bob@edge.hoster.example>")).code == NO


def test_of_two_levels_the_stricter_holds() -> None:
    names = [BelievedName("fabrikam.com", verification=level) for level in (ALWAYS, NEVER)]
    assert Peer(names, (), NOW).authorize(request(BOB)).code == UNVERIFIABLE


def test_the_level_of_a_partner_is_no_business_of_whoever_relays_him() -> None:
    names = [BelievedName("contoso.com"), BelievedName("fabrikam.com", domain=False, host=True)]
    peer = Peer(names, (), NOW, relays={"fabrikam.com"})
    strict = [evolve(name, verification=NEVER) for name in names]
    assert peer.authorize(request(BOB)).accepted
    assert Peer(strict, (), NOW, relays={"fabrikam.com"}).authorize(request(BOB)).accepted


@pytest.mark.parametrize(
    ("name", "sender", "code"),
    [
        (BelievedName("192.0.2.1", NameKind.IP, domain=False), "192.0.2.1", YES),
        (BelievedName("192.0.2.1", NameKind.IP, domain=False), "192.0.2.2", NO),
        (BelievedName("2001:db8::1", NameKind.IP, domain=False), "[2001:DB8:0::1]", YES),
        (BelievedName("192.0.2.1", NameKind.IP, domain=False, host=True), "192.0.2.1", NO),
        (BelievedName("192.0.2.1", NameKind.IP), "192.0.2.1", NO),
        (BelievedName("192.0.2.1", NameKind.DNS, domain=False), "192.0.2.1", NO),
    ],
)
def test_an_address_speaks_for_itself_if_it_is_believed_as_one(
    name: BelievedName, sender: str, code: Code
) -> None:
    assert Peer([name], (), NOW).authorize(request(f"<sip:{sender}>")).code == code


def test_a_list_of_our_own_is_for_those_whom_our_own_ca_knows() -> None:
    """A partner's machine on the list is a trusted server, and relays nobody."""
    policy = (ENTERPRISE | PARTNER) & TrustedServers(
        ["sip.fabrikam.com"], relays={"sip.fabrikam.com": [ANY_DOMAIN]}
    )
    peer = peer_of(policy, FABRIKAM, "sip.fabrikam.com")
    assert peer.trusted_server
    assert peer.relays == frozenset()
    assert peer.authorize(request("<sip:alice@contoso.com>")).code == NO


def test_the_refusals_tell_what_was_said_and_what_may_be() -> None:
    told = PEERS["edge"].authorize(request("<sip:bob@woodgrove.example>"))
    assert told.reason == (
        "the message has the sender sip:bob@woodgrove.example; expected one for whom its peer may"
        " speak, who has proven contoso.com, and may relay contoso.com, contoso.net, fabrikam.com"
    )
    assert told.fault is not None
    assert told.fault.rule == "RFC 3261 §26.3.2.2"
    machine = Peer([BelievedName("a.example", domain=False, host=True)], (), NOW)
    assert machine.authorize(request(BOB)).reason.endswith("who has proven no domain")
    hidden = PEERS["partner"].authorize(request(ANONYMOUS))
    assert hidden.reason == (
        "the message has the sender sip:anonymous@anonymous.invalid, who hides, and nobody asserts"
        " who he is; expected a P-Asserted-Identity with a domain that the peer has proven"
    )
    blocked = PEERS["open edge"].authorize(request("<sip:bob@evil.example>"))
    assert blocked.reason.startswith("the message speaks in the name of sip:bob@evil.example;")
    levels = {NEVER: "whose domain verifies nobody", SOURCE: "whom his server does not assert"}
    for level, words in levels.items():
        name = BelievedName("fabrikam.com", verification=level)
        assert words in Peer([name], (), NOW).authorize(request(BOB)).reason


def test_an_acceptance_tells_in_whose_name() -> None:
    told = PEERS["partner"].authorize(request(BOB))
    assert told.reason == "it may speak in the name of fabrikam.com"
    nobody = PEERS["partner"].authorize(response(BOB))
    assert nobody.reason == "it may speak in the name of nobody by name"


def test_what_was_read_already_is_decided_as_the_message_is() -> None:
    for message in (request(BOB), request(None), request("<sip:alice@contoso.com>")):
        peer = PEERS["partner"]
        assert peer.authorize_claims(Claims.of(message)) == peer.authorize(message)


# ---------------------------------------------------------------- the law

DOMAINS = ["contoso.com", "eu.contoso.com", "fabrikam.com", "evil.example", "com", "a.example"]
domains = st.sampled_from(DOMAINS)
senders = st.one_of(
    st.builds(Sender, st.sampled_from(["sip", "sips"]), domains, st.none(), st.just("bob")),
    st.just(Sender("sip", "anonymous.invalid", None, "anonymous")),
    st.just(Sender("tel", None, None, "+1555")),
    st.just(Sender("sip", None, "192.0.2.1", None)),
)
names_of_a_peer = st.builds(
    BelievedName,
    domains,
    domain=st.booleans(),
    host=st.booleans(),
    verification=st.sampled_from(Verification),
)
voices = st.builds(
    Voice,
    st.lists(names_of_a_peer, max_size=3).map(tuple),
    st.frozensets(domains | st.just(ANY_DOMAIN), max_size=2),
    st.frozensets(domains, max_size=2),
    st.booleans(),
)
claims = st.builds(Claims, st.none() | senders, st.lists(senders, max_size=2).map(tuple), st.none())


@given(voices, claims)
def test_nobody_speaks_but_for_what_is_proven_or_relayed(voice: Voice, claimed: Claims) -> None:
    """Whatever is claimed, each domain in it is proven, or relayed, and none is blocked."""
    proven = {one.name for one in voice.names if one.domain}
    if voice.fault(claimed) is not None:
        return
    for domain in claimed.domains:
        above = set(parents(domain))
        assert domain in proven or ANY_DOMAIN in voice.relays or above & voice.relays
        assert not above & voice.blocked
    everybody = [claimed.sender, *claimed.asserted]
    assert not any(one is not None and one.address for one in everybody)


@given(voices, claims, domains)
def test_more_that_is_blocked_lets_nobody_speak_more(
    voice: Voice, claimed: Claims, domain: str
) -> None:
    if voice.fault(claimed) is not None:
        assert evolve(voice, blocked=voice.blocked | {domain}).fault(claimed) is not None
    elif not any(domain in parents(one) for one in claimed.domains):
        assert evolve(voice, blocked=voice.blocked | {domain}).fault(claimed) is None


# ---------------------------------------------------------------- rights of a user's making


class Anew:
    """A condition that makes the peer anew, with rights and a name that nobody has proven."""

    def check(self, peer: Peer, evidence: Any, /) -> Decision:
        name = BelievedName("bank.example", trust=Trust.ENTERPRISE)
        made = Peer([name], (), NOW + 9 * YEAR, enterprise={"bank.example"}, relays={"a.example"})
        return Decision.accept(made, "all is well")


def test_a_condition_gives_a_voice_and_no_name_and_lifts_nothing() -> None:
    """What others have blocked stays blocked, and a stranger keeps his limits."""
    policy = Restricted(Restricted(DISCOVERING, Blocked(["a.example"])), Anew())
    peer = peer_of(policy, PUBLIC, "sip:woodgrove.example")
    assert peer.domains == {"woodgrove.example"}
    assert peer.limits == TrafficLimits()
    assert peer.blocked == {"evil.example", "a.example"}
    assert peer.enterprise == frozenset()
    assert peer.expires == NOW + YEAR
    assert peer.authorize(request("<sip:x@bank.example>")).code == NO
    assert peer.authorize(request("<sip:x@a.example>")).code == BLOCKED
    lenient = peer_of(Restricted(DISCOVERING, Anew()), PUBLIC, "sip:woodgrove.example")
    assert lenient.authorize(request("<sip:x@a.example>")).accepted


def test_a_certificate_may_name_users_who_are_no_voice() -> None:
    """A user in the certificate is no domain, and speaks for nobody else there."""
    peer = peer_of(PARTNER, FABRIKAM, "sip:fabrikam.com", "sip:bob@eu.fabrikam.com")
    assert peer.users == {"bob@eu.fabrikam.com"}
    assert peer.authorize(request("<sip:bob@eu.fabrikam.com>")).code == NO
    assert isinstance(peer.chain[0], x509.Certificate)
