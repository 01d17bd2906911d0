"""Peers and decisions: laws, texts, and plain data."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import operator
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from certificates import NOW, SECOND, YEAR, Made, make, make_ca, make_leaf, raw, show
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from siptls.errors import ConfigurationError
from siptls.trust.account import TrafficLimits
from siptls.trust.believed import BelievedName, Trust
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer, most_telling
from siptls.trust.evidence import Evidence, Role
from siptls.trust.fault import Fault, describe
from siptls.trust.names import ReferenceIdentity
from siptls.trust.presented import NameKind
from siptls.trust.refusal import PeerRefusedError
from siptls.trust.senders import Claims
from siptls.wire.message import Message

ADDRESS = BelievedName("192.0.2.1", NameKind.IP, domain=False, authority="Contoso CA")
SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "decision-schema.md"

CA = make_ca("Contoso CA")
LEAF = make_leaf(CA, "sip:contoso.com", "sip.contoso.com", subject="")
OTHER = make_leaf(CA, "sip:fabrikam.com", subject="")
CHAINS = [
    (LEAF.certificate, CA.certificate),
    (LEAF.certificate,),
    (OTHER.certificate, CA.certificate),
    (),
]
HOSTILE = make_leaf(
    CA,
    "sip:contoso.com\0.evil.example",
    "sip:x\x1b[2J@contoso.com",
    "contoso.com\r\nfake: accepted",
    "*.contoso.com",
    subject="a\n\u202eb",
)
UNREADABLE = make("leaf", CA, raw("2.5.29.17", b"\x30\x03bad", critical=False))

URI = BelievedName("contoso.com", authority="Contoso CA", trust=Trust.ENTERPRISE)
HOST = BelievedName(
    "sip.contoso.com", NameKind.DNS, domain=False, host=True, authority="Contoso CA"
)


def peer(*names: BelievedName, **more: Any) -> Peer:
    return Peer(names, more.get("chain", CHAINS[0]), more.get("expires", NOW + YEAR))


believed = st.builds(
    BelievedName,
    st.sampled_from(["contoso.com", "sip.contoso.com", "fabrikam.com"]),
    st.sampled_from([NameKind.URI, NameKind.DNS, NameKind.CN]),
    domain=st.booleans(),
    host=st.booleans(),
    authority=st.sampled_from(["Contoso CA", "Fabrikam CA"]),
    trust=st.sampled_from(Trust),
)
peers = st.builds(
    Peer,
    st.lists(believed, min_size=1, max_size=4),
    st.sampled_from(CHAINS),
    st.integers(-3, 3).map(lambda days: NOW + dt.timedelta(days=days)),
)


# ---------------------------------------------------------------- peers


def test_a_peer_has_its_names_sorted_and_once() -> None:
    assert peer(HOST, URI, HOST, URI).names == (URI, HOST)
    assert peer(HOST, URI) == peer(URI, HOST)


def test_a_peer_of_whom_nothing_is_believed_is_none() -> None:
    with pytest.raises(ConfigurationError, match="at least one believed name"):
        peer()


def test_the_names_of_a_peer_are_told_apart() -> None:
    both = BelievedName("edge.contoso.com", NameKind.DNS, domain=True, host=True)
    one = peer(URI, HOST, both)
    assert one.domains == {"contoso.com", "edge.contoso.com"}
    assert one.hosts == {"sip.contoso.com", "edge.contoso.com"}


@pytest.mark.parametrize("firmest", range(5))
def test_the_trust_of_a_peer_is_its_firmest(firmest: int) -> None:
    grounds = list(Trust)
    names = [BelievedName("contoso.com", trust=trust) for trust in grounds[firmest:]]
    assert peer(*names).trust is grounds[firmest]


@pytest.mark.parametrize(
    ("domain", "host", "proven"),
    [
        ("contoso.com", None, True),
        ("sip.contoso.com", None, False),  # believed, but of the machine only
        ("eu.contoso.com", None, False),
        ("com", None, False),
        ("example.net", "sip.contoso.com", True),
        ("example.net", "contoso.com", True),
        ("example.net", "sip2.contoso.com", False),
        ("contoso.com", "sip2.contoso.com", True),
    ],
)
def test_a_peer_proves_the_expected_name_by_equality(
    domain: str, host: str | None, proven: bool
) -> None:
    assert peer(URI, HOST).proves(ReferenceIdentity(domain, host)) is proven


@pytest.mark.parametrize("domain", ["contoso.com", "Contoso.COM", "sip:alice@contoso.com:5061"])
def test_a_peer_speaks_for_its_domain_in_any_form(domain: str) -> None:
    one = peer(URI, HOST)
    decision = one.speaks_for(domain)
    assert decision
    assert decision.peer is one
    assert (decision.reason, decision.by) == ("contoso.com is proven", "peer")


@pytest.mark.parametrize(
    "domain", ["sip.contoso.com", "eu.contoso.com", "com", "fabrikam.com", "contoso.com.evil.com"]
)
def test_a_peer_speaks_for_no_other_domain(domain: str) -> None:
    """Not even for one below its own, or for the name of its machine."""
    decision = peer(URI, HOST).speaks_for(domain)
    assert not decision
    assert decision.code == Code.NAME_MISMATCH
    assert decision.reason == f"the peer has proven contoso.com; expected {domain}"
    assert decision.advice.startswith("answer 403")


def test_a_peer_that_is_a_machine_only_speaks_for_nobody() -> None:
    decision = peer(HOST).speaks_for("sip.contoso.com")
    assert decision.reason == "the peer has proven no domain; expected sip.contoso.com"


@pytest.mark.parametrize("domain", ["", "192.0.2.1", "*.contoso.com", "sip:[::1]"])
def test_nobody_can_be_asked_to_speak_for_what_is_no_domain(domain: str) -> None:
    with pytest.raises(ConfigurationError):
        peer(URI).speaks_for(domain)


# ---------------------------------------------------------------- unions of peers


@given(peers, peers)
def test_a_union_does_not_depend_on_the_order(first: Peer, second: Peer) -> None:
    assert first | second == second | first


@given(peers, peers, peers)
def test_a_union_does_not_depend_on_the_grouping(first: Peer, second: Peer, third: Peer) -> None:
    assert (first | second) | third == first | (second | third)


@given(peers)
def test_a_union_with_itself_changes_nothing(one: Peer) -> None:
    assert one | one == one


@given(peers, peers)
def test_a_union_believes_what_either_does_and_nothing_else(first: Peer, second: Peer) -> None:
    both = first | second
    assert set(both.names) == {*first.names, *second.names}
    assert both.domains == first.domains | second.domains
    assert both.hosts == first.hosts | second.hosts


@given(peers, peers)
def test_a_union_ends_with_the_first_and_shows_the_firmer_path(first: Peer, second: Peer) -> None:
    both = first | second
    firmness = list(Trust).index
    assert both.expires == min(first.expires, second.expires)
    assert firmness(both.trust) == min(firmness(first.trust), firmness(second.trust))
    firmest = [one for one in (first, second) if one.trust is both.trust]
    assert both.chain in [one.chain for one in firmest]


@given(peers, peers, st.sampled_from(["contoso.com", "sip.contoso.com", "fabrikam.com"]))
def test_a_union_proves_what_either_does_and_nothing_else(
    first: Peer, second: Peer, domain: str
) -> None:
    expected = ReferenceIdentity(domain)
    assert (first | second).proves(expected) is (first.proves(expected) or second.proves(expected))


# ---------------------------------------------------------------- decisions


def test_an_acceptance_is_true_and_has_a_peer() -> None:
    one = peer(URI)
    decision = Decision.accept(one, "well", by="me", notes=iter(["a"]), parts=iter([]))
    assert bool(decision) is decision.accepted is True
    assert (decision.code, decision.peer) == (Code.ACCEPTED, one)
    assert (decision.by, decision.notes, decision.parts) == ("me", ("a",), ())
    assert decision.advice == ""


def test_a_refusal_is_false_and_has_no_peer() -> None:
    part = Decision.refuse(Code.NAME_NONE, "none")
    decision = Decision.refuse(Code.PATH_EXPIRED, "over", parts=iter([part]), concerned=False)
    assert bool(decision) is decision.accepted is False
    assert decision.peer is None
    assert decision.parts == (part,)
    assert decision.concerned is False
    assert decision.advice == Code.PATH_EXPIRED.advice


@pytest.mark.parametrize(
    ("accepted", "code", "believed"),
    [
        (True, Code.PATH_EXPIRED, True),
        (True, "mine", True),
        (True, Code.ACCEPTED, False),
        (False, Code.ACCEPTED, False),
        (False, "accepted", False),
        (False, Code.PATH_EXPIRED, True),
        (1, Code.ACCEPTED, True),
        (None, Code.PATH_EXPIRED, False),
    ],
)
def test_a_decision_that_contradicts_itself_cannot_be_built(
    accepted: Any, code: str, believed: bool
) -> None:
    with pytest.raises(ConfigurationError):
        Decision(accepted, code, "?", peer=peer(URI) if believed else None)


@pytest.mark.parametrize(
    "more", [{"advice": "wait"}, {"fault": Fault(Code.PATH_EXPIRED, "it", "is old", "a new one")}]
)
def test_an_acceptance_has_no_fault_and_no_advice(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="an acceptance has no fault and no advice"):
        Decision.accept(peer(URI), "well", **more)


@pytest.mark.parametrize("who", ["contoso.com", True, URI])
def test_a_peer_is_a_peer_and_nothing_like_it(who: Any) -> None:
    with pytest.raises(
        ConfigurationError, match="an acceptance has a Peer, and a refusal has none: not a"
    ):
        Decision.accept(who, "well")


def test_evidence_and_concern_are_no_part_of_equality() -> None:
    """Two decisions that say the same are the same, whatever they were made of."""
    one = Decision.refuse("mine", "no", evidence=show(LEAF), concerned=False)
    assert one == Decision.refuse("mine", "no")
    assert one != Decision.refuse("mine", "no", by="me")
    assert one != Decision.refuse("mine", "no", notes=["a"])


def test_a_code_of_a_users_own_has_no_advice_and_the_highest_rank() -> None:
    decision = Decision.refuse("mine.weekend", "closed")
    assert decision.advice == ""
    assert decision.rank > max(code.rank for code in Code)


def test_a_plain_string_is_as_good_as_its_code() -> None:
    plain = Decision.refuse("path.expired", "over")
    assert plain == Decision.refuse(Code.PATH_EXPIRED, "over")
    assert Decision.refuse(Code.PATH_EXPIRED, "over").code is Code.PATH_EXPIRED
    assert (plain.rank, plain.advice) == (Code.PATH_EXPIRED.rank, Code.PATH_EXPIRED.advice)


def test_an_unknown_ca_is_the_vaguest_where_it_was_nobodys_business() -> None:
    unknown = Decision.refuse(Code.PATH_UNKNOWN_CA, "no", concerned=False)
    missing = Decision.refuse(Code.CERTIFICATE_MISSING, "no")
    assert unknown.rank < missing.rank
    assert Decision.refuse(Code.PATH_UNKNOWN_CA, "no").rank == Code.PATH_UNKNOWN_CA.rank
    expired = Decision.refuse(Code.PATH_EXPIRED, "no", concerned=False)
    assert expired.rank == Code.PATH_EXPIRED.rank


refusal_codes = st.sampled_from([*(c for c in Code if c is not Code.ACCEPTED), "mine", "other"])
text = st.text(max_size=12)
refusals = st.builds(
    Decision.refuse,
    refusal_codes,
    text,
    by=st.sampled_from(["", "a", "b"]),
    concerned=st.booleans(),
)


@given(st.lists(refusals, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_most_telling_refusal_does_not_depend_on_the_order(
    decisions: list[Decision], shuffle: Any
) -> None:
    told = most_telling(iter(decisions))
    assert told in decisions
    assert told.rank == max(decision.rank for decision in decisions)
    other = list(decisions)
    shuffle.shuffle(other)
    assert most_telling(other) == told


# ---------------------------------------------------------------- explanations

evidences = st.one_of(
    st.none(),
    st.builds(
        Evidence,
        st.sampled_from([*CHAINS, (HOSTILE.certificate,), (UNREADABLE.certificate,)]),
        st.sampled_from(Role),
        now=st.just(NOW),
        reference=st.none()
        | st.builds(
            ReferenceIdentity, st.just("contoso.com"), st.sampled_from([None, "sip.contoso.com"])
        ),
        address=st.sampled_from([None, ("192.0.2.1", 5061), ("2001:db8::1", 5061)]),
    ),
)
sentence = st.text(st.characters(exclude_categories=("C", "Z")), max_size=20)
notes = st.lists(sentence, max_size=2)


def tree(parts: st.SearchStrategy[list[Decision]]) -> st.SearchStrategy[Decision]:
    """Give decisions of any shape, made from these parts."""
    more = {"by": sentence, "notes": notes, "evidence": evidences, "parts": parts}
    return st.one_of(
        st.builds(Decision.accept, peers, sentence, **more),
        st.builds(Decision.refuse, refusal_codes, sentence, **more),
    )


decisions = st.recursive(
    tree(st.just([])), lambda parts: tree(st.lists(parts, max_size=3)), max_leaves=6
)


@given(decisions)
def test_an_explanation_of_any_shape_is_printable_lines(decision: Decision) -> None:
    """Nothing in a certificate can forge a line, or speak to a terminal."""
    lines = decision.explain().split("\n")
    assert all(line.isprintable() for line in lines)
    assert lines[0] == ("accepted" if decision else f"refused: {decision.code}")
    assert "  decided by" in lines
    assert sum(line.startswith("  judged at ") for line in lines) == (decision.evidence is not None)
    assert sum(line.startswith("  believed ") for line in lines) == decision.accepted


def count(decision: Decision) -> int:
    return 1 + len(decision.notes) + sum(count(part) for part in decision.parts)


@given(decisions)
def test_an_explanation_tells_of_every_part_and_note(decision: Decision) -> None:
    lines = decision.explain().split("\n")
    assert len(lines) - lines.index("  decided by") - 1 == count(decision)


def test_an_acceptance_is_explained() -> None:
    one = peer(URI, HOST, expires=NOW + SECOND)
    evidence = Evidence(
        [LEAF.certificate],
        Role.SERVER,
        now=NOW,
        reference=ReferenceIdentity("contoso.com", "sip.contoso.com"),
        address=("192.0.2.1", 5061),
    )
    decision = Decision.accept(one, "it is", by="Enterprise", notes=["as ever"], evidence=evidence)
    assert decision.explain().split("\n") == [
        "accepted",
        "  because    it is",
        "  the peer   a server at 192.0.2.1 port 5061",
        f"  showed     {describe(LEAF.certificate)}",
        "  presents   sip:contoso.com, DNS:sip.contoso.com",
        "  expected   contoso.com (or its host sip.contoso.com)",
        "  judged at  2030-06-01T12:00:00+00:00",
        "  believed   domain contoso.com (URI, by Contoso CA),"
        " host sip.contoso.com (DNS, by Contoso CA)",
        "  until      2030-06-01T12:00:01+00:00",
        "  decided by",
        "    Enterprise: accepted: it is",
        "      · as ever",
    ]


def test_a_refusal_is_explained_with_what_to_do() -> None:
    """A combination gives no reason of its own: it is that of a part, which follows."""
    part = Decision.refuse(Code.PATH_EXPIRED, "it is over", notes=["since June"])
    decision = Decision.refuse(
        Code.PATH_EXPIRED, "it is over", by="any of 1", parts=[part], evidence=show()
    )
    assert decision.explain().split("\n") == [
        "refused: path.expired",
        "  because    it is over",
        "  the peer   a client",
        "  showed     no certificate",
        "  judged at  2030-06-01T12:00:00+00:00",
        f"  to do      {Code.PATH_EXPIRED.advice}",
        "  decided by",
        "    any of 1: refused, path.expired",
        "        a policy: refused, path.expired: it is over",
        "          · since June",
    ]


def test_names_that_are_none_or_unreadable_are_explained_as_such() -> None:
    nameless = Decision.refuse("mine", "no", evidence=show(make("")))
    assert "\n  presents   no name at all\n" in nameless.explain()
    unreadable = Decision.refuse("mine", "no", evidence=show(UNREADABLE))
    assert "\n  presents   names that cannot be decoded (" in unreadable.explain()
    (presented,) = unreadable.to_dict()["evidence"]["presented"]
    assert presented.startswith("names that cannot be decoded (")


def test_a_thousand_names_make_a_short_explanation() -> None:
    many: Made = make_leaf(CA, *[f"sip{n}.contoso.com" for n in range(1000)], subject="")
    decision = Decision.refuse("mine", "no", evidence=show(many))
    assert len(decision.explain()) < 1000
    assert "and 992 more" in decision.explain()
    assert len(decision.to_dict()["evidence"]["presented"]) == 1000


# ---------------------------------------------------------------- plain data


@given(decisions)
def test_a_decision_of_any_shape_becomes_json_and_comes_back(decision: Decision) -> None:
    """Nothing but plain data: what JSON gives back is what was put in."""
    data = decision.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["accepted"] is decision.accepted
    assert data["code"] == decision.code
    assert type(data["code"]) is str
    assert (data["peer"] is None) is (not decision.accepted)
    assert (data["evidence"] is None) is (decision.evidence is None)
    assert data["parts"] == [part.to_dict() for part in decision.parts]


def test_plain_data_tells_all() -> None:
    evidence = Evidence(
        [LEAF.certificate],
        Role.CLIENT,
        now=NOW,
        reference=ReferenceIdentity("contoso.com"),
        address=("192.0.2.1", 5061),
    )
    decision = Decision.accept(peer(URI), "it is", by="me", notes=["a"], evidence=evidence)
    data = decision.to_dict()
    leaf, ca = data["peer"].pop("chain")
    assert data["evidence"].pop("chain") == [leaf]
    assert data == {
        "accepted": True,
        "code": "accepted",
        "reason": "it is",
        "fault": None,
        "advice": "",
        "by": "me",
        "notes": ["a"],
        "peer": {
            "names": [
                {
                    "name": "contoso.com",
                    "kind": "URI",
                    "domain": True,
                    "host": False,
                    "authority": "Contoso CA",
                    "trust": "enterprise",
                    "via": "",
                    "verification": "always-verifiable",
                }
            ],
            "users": [],
            "trust": "enterprise",
            "trusted_server": False,
            "relays": [],
            "blocked": [],
            "limits": None,
            "expires": "2031-06-01T12:00:00+00:00",
        },
        "evidence": {
            "role": "client",
            "now": "2030-06-01T12:00:00+00:00",
            "address": ["192.0.2.1", 5061],
            "expected": {"domain": "contoso.com", "host": None, "address": None},
            "presented": ["sip:contoso.com", "DNS:sip.contoso.com"],
        },
        "parts": [],
    }
    assert ca["description"] == describe(CA.certificate)
    assert leaf["serial"] == f"{LEAF.certificate.serial_number:x}"
    assert leaf["not_before"] == "2029-06-01T12:00:00+00:00"
    assert leaf["not_after"] == "2031-06-01T12:00:00+00:00"
    der = LEAF.certificate.public_bytes(Encoding.DER)
    assert leaf["sha256"] == hashlib.sha256(der).hexdigest()


# ---------------------------------------------------------------- what is told, and joined


def test_nothing_that_is_told_can_forge_a_line() -> None:
    """An exception's words, a peer's address: whatever comes from outside is one printable line."""
    decision = Decision.refuse(
        "x\x1b[2J",
        "r\nfake: accepted",
        by="b\u202e",
        notes=["n\x07"],
        evidence=Evidence([], "client", now=NOW, address=("h\x1b", 1)),
    )
    assert all(line.isprintable() for line in decision.explain().splitlines())
    assert "\n" not in decision.reason
    assert decision.code.isprintable()


def test_a_peer_has_an_end_that_is_aware() -> None:
    with pytest.raises(ConfigurationError, match="aware"):
        Peer([BelievedName("contoso.com")], [], NOW.replace(tzinfo=None))


def test_a_peer_joins_peers_only() -> None:
    with pytest.raises(TypeError):
        peer(BelievedName("contoso.com")) | None


# ---------------------------------------------------------------- users and addresses


def of(*users: str, names: Iterable[BelievedName] = (URI,)) -> Peer:
    return Peer(names, CHAINS[0], NOW + YEAR, users)


def test_a_user_is_below_a_domain_that_is_believed() -> None:
    assert of("alice@contoso.com", "bob@eu.contoso.com").users == {
        "alice@contoso.com",
        "bob@eu.contoso.com",
    }
    for stranger in ("alice@fabrikam.com", "alice@com", "contoso.com", "alice@", "@contoso.com"):
        with pytest.raises(ConfigurationError, match="below none of the believed domains"):
            of(stranger)
    with pytest.raises(ConfigurationError, match="below none"):
        of("alice@sip.contoso.com", names=[HOST])  # a machine is no domain


def test_a_user_is_never_a_domain() -> None:
    one = of("alice@contoso.com")
    assert one.domains == {"contoso.com"}
    assert not one.proves(ReferenceIdentity("alice.contoso.com"))


def test_a_union_has_the_users_of_both() -> None:
    both = of("alice@contoso.com") | of("bob@contoso.com")
    assert both.users == {"alice@contoso.com", "bob@contoso.com"}


def test_users_are_explained_and_told_as_data() -> None:
    decision = Decision.accept(of("bob@contoso.com", "alice@contoso.com"), "well")
    assert "  users      alice@contoso.com, bob@contoso.com\n" in decision.explain()
    assert decision.to_dict()["peer"]["users"] == ["alice@contoso.com", "bob@contoso.com"]


def test_an_address_is_proven_by_itself_only() -> None:
    ip = BelievedName("192.0.2.1", NameKind.IP, domain=False, authority="CA")
    expected = ReferenceIdentity.for_address("192.0.2.1")
    assert peer(ip).addresses == {"192.0.2.1"}
    assert peer(ip).domains == peer(ip).hosts == frozenset()
    assert peer(ip).proves(expected)
    assert str(ip) == "address 192.0.2.1 (IP, by CA)"
    assert not peer(ip).proves(ReferenceIdentity.for_address("192.0.2.2"))
    assert not peer(URI, HOST).proves(expected)


# ---------------------------------------------------------------- faults

FAULT = Fault(Code.PATH_WEAK_KEY, "CN=a", "has a short key", "a long one", "RFC 9325 §4.5")


def test_a_refusal_for_a_fault_has_its_sentence_and_its_parts() -> None:
    decision = Decision.refuse_for(FAULT, by="me")
    assert (decision.code, decision.reason) == (Code.PATH_WEAK_KEY, FAULT.reason)
    assert decision.to_dict()["fault"] == {
        "about": "CN=a",
        "rule": "RFC 9325 §4.5",
        "found": "has a short key",
        "expected": "a long one",
    }
    assert decision.explain().splitlines()[-5:] == [
        "    me: refused, path.weak-key",
        "        about    CN=a",
        "        rule     RFC 9325 §4.5",
        "        found    has a short key",
        "        expected a long one",
    ]


def test_a_part_that_is_empty_is_not_shown() -> None:
    fault = Fault(Code.CERTIFICATE_MISSING, "the client", "showed none", "one")
    assert "  rule  " not in Decision.refuse_for(fault).explain()


def test_a_combination_tells_the_fault_of_its_part() -> None:
    part = Decision.refuse_for(FAULT, by="me", notes=["a note"], advice="buy a longer one")
    whole = part.told_by("any of", parts=[part])
    assert (whole.code, whole.reason, whole.fault) == (part.code, part.reason, FAULT)
    assert (whole.by, whole.notes, whole.parts) == ("any of", (), (part,))
    assert whole.advice == "buy a longer one"


def test_a_code_of_your_own_may_bring_its_advice() -> None:
    decision = Decision.refuse("acme.closed", "the office is closed", advice="call\ntomorrow")
    assert decision.advice == "call\\u000atomorrow"
    assert "to do      call" in decision.explain()
    assert str(PeerRefusedError(decision)).endswith("; call\\u000atomorrow")


def test_an_explanation_of_a_thousand_parts_is_short() -> None:
    parts = [Decision.refuse("mine", "no", by=f"part {number}") for number in range(1000)]
    decision = Decision.refuse("mine", "no", parts=parts)
    assert "        and 984 more, in to_dict()" in decision.explain()
    assert "part 15" in decision.explain()
    assert "part 16" not in decision.explain()
    assert len(decision.to_dict()["parts"]) == 1000


def test_the_documented_form_is_this_one() -> None:
    """Monitoring is built on it: a key may be added, in the docs too, and none taken away."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "decision-schema.md"
    text = page.read_text(encoding="utf-8")
    data = Decision.accept(of("a@contoso.com"), "well", evidence=show(LEAF)).to_dict()
    assert re.findall(r"(?m)^\| `(\w+)` \|", text) == list(data)
    described = {
        "fault": Decision.refuse_for(FAULT).to_dict()["fault"],
        "peer": data["peer"],
        "evidence": data["evidence"],
    }
    for name, value in described.items():
        (paragraph,) = re.findall(rf"(?ms)^\*\*`{name}`\*\*: (.*?)\n\n", text)
        assert set(value) <= set(re.findall(r"`(\w+)`", paragraph))
    (paragraph,) = re.findall(r"(?ms)^\*\*A certificate\*\*: (.*)", text)
    assert set(data["evidence"]["chain"][0]) == set(re.findall(r"`(\w+)`", paragraph))


@st.composite
def any_peer(draw: st.DrawFn) -> Peer:
    """Give a peer of a few names, with users below some of its domains."""
    names = draw(st.lists(believed, min_size=1, max_size=4))
    domains = sorted({name.name for name in names if name.domain})
    users = [f"{user}@{domain}" for user in ("alice", "bob") for domain in domains]
    return Peer(
        names,
        draw(st.sampled_from(CHAINS)),
        NOW + dt.timedelta(days=draw(st.integers(-3, 3))),
        draw(st.sets(st.sampled_from(users))) if users else (),
    )


def test_an_expected_address_is_proven_by_that_address_and_no_name() -> None:
    one = peer(URI, HOST, ADDRESS)
    assert one.addresses == {"192.0.2.1"}
    assert one.domains | one.hosts == {"contoso.com", "sip.contoso.com"}
    assert one.proves(ReferenceIdentity.for_address("192.0.2.1"))
    assert not one.proves(ReferenceIdentity.for_address("192.0.2.2"))
    assert not peer(URI, HOST).proves(ReferenceIdentity.for_address("192.0.2.1"))
    assert not peer(ADDRESS).proves(ReferenceIdentity("contoso.com", "sip.contoso.com"))


@pytest.mark.parametrize("more", [{"domain": True}, {"host": True}, {"kind": NameKind.DNS}])
def test_an_address_is_believed_as_an_address_only(more: dict[str, Any]) -> None:
    """Whoever calls it a domain or a host does not get an address by the way."""
    name = BelievedName("192.0.2.1", **{"kind": NameKind.IP, "domain": False, **more})
    one = peer(name)
    assert one.addresses == frozenset()
    assert not one.proves(ReferenceIdentity.for_address("192.0.2.1"))


@given(st.lists(peers, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_a_union_of_several_is_that_of_each_with_the_next(some: list[Peer], shuffle: Any) -> None:
    """`Peer.union` is ``|`` at once, for as many as there are."""
    other = list(some)
    shuffle.shuffle(other)
    assert Peer.union(other) == functools.reduce(operator.or_, some)


def test_a_users_own_advice_is_told_before_ours() -> None:
    """For a code of his own, and for one of ours that he knows more about."""
    for code in ("mine.weekend", Code.PATH_EXPIRED):
        decision = Decision.refuse(code, "closed", advice="come back\non Monday")
        assert decision.advice == "come back\\u000aon Monday"
        assert f"  to do      {decision.advice}\n" in decision.explain()
        assert decision.to_dict()["advice"] == decision.advice
        assert str(PeerRefusedError(decision)).endswith(f": closed; {decision.advice}")
        assert decision != Decision.refuse(code, "closed")


@pytest.mark.parametrize("concerned", [True, False])
def test_a_refusal_is_told_by_what_it_was_a_part_of(concerned: bool) -> None:
    """Its code, its fault and its advice are kept; what it was made from is not."""
    part = Decision.refuse("mine", "no", by="me", notes=["a"], advice="wait", concerned=concerned)
    part = evolve(part, fault=FAULT, evidence=show())
    told = part.told_by("any of", parts=[part])
    assert (told.code, told.reason, told.by) == ("mine", "no", "any of")
    assert (told.fault, told.advice, told.concerned) == (FAULT, "wait", concerned)
    assert (told.parts, told.notes, told.evidence) == ((part,), (), None)
    assert part.told_by("me", concerned=not concerned).concerned is not concerned


def test_an_acceptance_cannot_be_told_as_a_refusal() -> None:
    with pytest.raises(ConfigurationError, match="a refusal cannot have the code"):
        Decision.accept(peer(URI), "well").told_by("any of")


@pytest.mark.parametrize(("size", "shown", "last"), [(16, 16, None), (17, 16, 1), (1000, 16, 984)])
def test_of_many_parts_the_first_are_explained_and_the_others_counted(
    size: int, shown: int, last: int | None
) -> None:
    """A federation may ask a thousand partners; plain data has all of them."""
    parts = [Decision.refuse("mine", "no", by=f"p{n}") for n in range(size)]
    decision = Decision.refuse("mine", "no", by="any of", parts=parts)
    lines = decision.explain().split("\n")
    tree = lines[lines.index("    any of: refused, mine") + 1 :]
    more = [] if last is None else [f"        and {last} more, in to_dict()"]
    assert tree == [*(f"        p{n}: refused, mine: no" for n in range(shown)), *more]
    assert len(decision.to_dict()["parts"]) == size


def documented() -> dict[str, list[str]]:
    """Read the keys of each object from the page: the table's, and those that stand in prose."""
    page = SCHEMA.read_text(encoding="utf-8")
    objects = {"decision": re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)}
    for title, text in re.findall(
        r"^\*\*(.+?)\*\*: (.+?)(?:\n\n|\Z)", page, re.MULTILINE | re.DOTALL
    ):
        name = title.strip("`")
        objects[name] = []
        # A key stands before its parenthesis, which may list the keys of an object below it.
        depth, below = 0, ""
        for before, key, bracket in re.findall(r"(objects? with)|`(\w+)`|([()])", text):
            depth += {"(": 1, ")": -1, "": 0}[bracket]
            if key and depth == 0:
                objects[name].append(key)
            below = f"{name}.{objects[name][-1]}" if before else "" if depth == 0 else below
            if key and below:
                objects.setdefault(below, []).append(key)
    return objects


def test_plain_data_has_the_documented_keys_and_no_others() -> None:
    """Programs are built on them: whoever changes one changes the page, and knows it."""
    evidence = show(LEAF, role="server", reference="contoso.com")
    accepted = Decision.accept(peer(URI), "well", evidence=evidence).to_dict()
    refused = Decision.refuse_for(FAULT).to_dict()
    (name,) = accepted["peer"]["names"]
    objects = {
        "decision": accepted,
        "fault": refused["fault"],
        "peer": accepted["peer"],
        "peer.names": name,
        "evidence": accepted["evidence"],
        "evidence.expected": accepted["evidence"]["expected"],
        "A certificate": accepted["evidence"]["chain"][0],
    }
    assert list(accepted) == list(refused)
    assert {name: set(keys) for name, keys in documented().items()} == {
        name: set(data) for name, data in objects.items()
    }


# ---------------------------------------------------------------- rights

some_domains = st.frozensets(st.sampled_from(["contoso.com", "fabrikam.com", "*"]), max_size=2)
limits = st.none() | st.builds(
    TrafficLimits, messages_per_second=st.integers(1, 3), burst=st.integers(1, 3)
)
with_rights = st.builds(
    evolve,
    peers,
    enterprise=some_domains,
    trusted_server=st.booleans(),
    relays=some_domains,
    blocked=some_domains,
    limits=limits,
)


@given(with_rights, with_rights)
def test_the_rights_of_another_change_nothing_of_who_it_is(one: Peer, other: Peer) -> None:
    """What is blocked stays so, and limits are given up for others only."""
    got = one.with_rights_of(other)
    kept = ("names", "trust", "chain", "expires", "users", "enterprise")
    assert all(getattr(got, name) == getattr(one, name) for name in kept)
    assert (got.trusted_server, got.relays) == (other.trusted_server, other.relays)
    assert got.blocked == one.blocked | other.blocked
    assert got.limits == (one.limits if other.limits is None else other.limits)
    assert one.with_rights_of(one) == one


@given(st.lists(with_rights, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_a_union_has_the_rights_of_all_and_is_blocked_as_any(
    some: list[Peer], shuffle: Any
) -> None:
    """In whatever order and grouping; its limits are the narrowest on the firmest ground."""
    both = Peer.union(some)
    assert both.trusted_server is any(one.trusted_server for one in some)
    for right in ("enterprise", "relays", "blocked"):
        assert getattr(both, right) == frozenset().union(*(getattr(one, right) for one in some))
    firmest = [one.limits for one in some if one.trust is both.trust]
    assert both.limits in firmest
    told = [one for one in firmest if one is not None]
    if told:
        assert both.limits is not None
        assert both.limits.messages_per_second == min(one.messages_per_second for one in told)
    other = list(some)
    shuffle.shuffle(other)
    assert Peer.union(other) == functools.reduce(operator.or_, some) == both


def test_a_stranger_beside_a_partner_does_not_narrow_him() -> None:
    tight = TrafficLimits(messages_per_second=1)
    partner = peer(BelievedName("fabrikam.com", trust=Trust.FEDERATED))
    stranger = evolve(peer(BelievedName("a.example", trust=Trust.DISCOVERED)), limits=tight)
    assert (partner | stranger).limits is None
    assert (evolve(partner, limits=tight) | partner).limits == tight


def test_what_a_peer_may_is_explained_and_told() -> None:
    tight = TrafficLimits(messages_per_second=1)
    one = evolve(
        peer(URI),
        trusted_server=True,
        relays=frozenset({"b.example", "*"}),
        blocked=frozenset({"c.example"}),
        limits=tight,
    )
    text = Decision.accept(one, "well").explain()
    assert "\n  is         a trusted server, may relay *, b.example\n" in text
    assert f"\n  may send   {tight}\n" in text
    bare = Decision.accept(evolve(one, relays=frozenset(), limits=None), "well").explain()
    assert "\n  is         a trusted server\n" in bare
    assert "may send" not in bare
    data = Decision.accept(one, "well").to_dict()["peer"]
    assert (data["trusted_server"], data["relays"], data["blocked"]) == (
        True,
        ["*", "b.example"],
        ["c.example"],
    )
    assert data["limits"]["messages_per_second"] == 1
    assert json.loads(json.dumps(data)) == data


def test_a_peer_authorizes_a_message_and_what_was_read_from_it() -> None:
    """The whole table is in ``test_authorization.py``."""
    one = peer(URI)
    for sender, code in (
        ("bob@contoso.com", Code.ACCEPTED),
        ("x@a.example", "sender.not-authorized"),
    ):
        head = f"MESSAGE sip:a@b.example SIP/2.0\r\nFrom: <sip:{sender}>\r\n\r\n"
        message = Message(head.encode())
        decision = one.authorize(message)
        assert (decision.code, decision.by) == (code, "peer")
        assert decision == one.authorize_claims(Claims.of(message))


def test_a_decision_is_about_what_is_shown_anew() -> None:
    shown = Evidence([], Role.CLIENT, now=NOW)
    later = evolve(shown, address=("192.0.2.7", 5061))
    part = Decision.refuse("mine", "no", by="part", evidence=shown, advice="wait")
    whole = Decision.refuse("mine", "no", by="whole", parts=[part], evidence=shown, advice="wait")
    again = whole.about(later)
    assert again == whole
    assert (again.evidence, again.parts[0].evidence) == (later, later)
    assert again.advice == "wait"
