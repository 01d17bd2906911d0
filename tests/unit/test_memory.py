"""Memory: an acceptance is remembered under all that it depends on, and under nothing less."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import pytest
from attrs import define, evolve, field, frozen
from certificates import NOW, SECOND, YEAR, Made, make_ca, make_leaf, show
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls import (
    AnyDomain,
    Authority,
    Blocked,
    Code,
    Combinable,
    CombinableCondition,
    Decision,
    Discovery,
    Enterprise,
    Evidence,
    Federation,
    Partner,
    Peer,
    Pinned,
    ReferenceIdentity,
    Revocation,
    Role,
    Shadow,
    TrustedServers,
    TrustPolicy,
)
from siptls.trust.policy import AllOf, AnyOf, Restricted, state_of, states_of
from siptls.wire import memory as memories
from siptls.wire.memory import Memory

HOUR = dt.timedelta(hours=1)


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Contoso CA")


@pytest.fixture(scope="module")
def leaf(root: Made) -> Made:
    return make_leaf(root, "sip:contoso.com", "home.contoso.com")


def authority_of(root: Made, **more: Any) -> Authority:
    return Authority("Contoso CA", [root.certificate], **more)


def again(evidence: Evidence) -> Evidence:
    """What a later handshake of the same peer shows: equal certificates, and no memo."""
    chain = [
        x509.load_der_x509_certificate(one.public_bytes(Encoding.DER)) for one in evidence.chain
    ]
    return evolve(evidence, chain=chain)


@define
class Counting(Combinable):
    """Decides as another policy, and counts how often it is asked; its state is what it is."""

    policy: TrustPolicy
    state: Hashable | None = ()
    asked: int = 0

    def evaluate(self, evidence: Evidence, /) -> Decision:
        self.asked += 1
        return self.policy.evaluate(evidence)


@pytest.fixture
def counting(root: Made) -> Counting:
    return Counting(Enterprise(["contoso.com"], authority_of(root)))


# ---------------------------------------------------------------- what is remembered


def test_a_chain_that_was_accepted_is_not_judged_again(counting: Counting, leaf: Made) -> None:
    memory, shown = Memory(counting), show(leaf)
    first, second = memory.judge(shown), memory.judge(again(shown))
    assert (first.accepted, counting.asked) == (True, 1)
    assert second == first


def test_what_it_says_is_about_the_peer_that_is_here_now(counting: Counting, leaf: Made) -> None:
    memory, shown = Memory(counting | counting), show(leaf)
    memory.judge(shown)
    later = evolve(again(shown), now=NOW + SECOND, address=("192.0.2.7", 5061))
    decision = memory.judge(later)
    assert decision.evidence == later
    assert [part.evidence for part in decision.parts] == [later, later]
    assert "192.0.2.7" in decision.explain()
    assert counting.asked == 2


def test_connections_of_one_peer_share_its_certificates(counting: Counting, leaf: Made) -> None:
    memory, shown = Memory(counting), show(leaf)
    first, second = memory.judge(shown), memory.judge(again(shown))
    assert first.evidence is not None
    assert second.evidence is not None
    assert second.evidence.chain[0] is first.evidence.chain[0]
    assert second.peer is first.peer


def test_a_refusal_is_never_remembered(root: Made) -> None:
    counting = Counting(Enterprise(["contoso.com"], authority_of(root)))
    memory, shown = Memory(counting), show(make_leaf(root, "sip:fabrikam.com"))
    refusals = [memory.judge(shown), memory.judge(again(shown))]
    assert [refusal.code for refusal in refusals] == [Code.NAME_OUT_OF_SCOPE] * 2
    assert counting.asked == 2


# ---------------------------------------------------------------- what ends it


@pytest.mark.parametrize(
    "otherwise",
    [
        lambda shown, root: evolve(shown, role=Role.SERVER),
        lambda shown, root: evolve(shown, reference=ReferenceIdentity("contoso.com")),
        lambda shown, root: evolve(shown, staple=b"staple"),
        lambda shown, root: evolve(shown, max_certificates=7),
        lambda shown, root: evolve(shown, max_chain=60_000),
        lambda shown, root: evolve(shown, chain=[*shown.chain, root.certificate]),
        lambda shown, root: show(make_leaf(root, "sip:contoso.com", "home.contoso.com")),
    ],
    ids=["role", "expected name", "staple", "certificates", "bytes", "longer chain", "other leaf"],
)
def test_it_is_asked_again_about_anything_else(
    counting: Counting,
    root: Made,
    leaf: Made,
    otherwise: Callable[[Evidence, Made], Evidence],
) -> None:
    memory, shown = Memory(counting), evolve(show(leaf), role=Role.CLIENT)
    memory.judge(shown)
    memory.judge(otherwise(shown, root))
    assert counting.asked == 2


@pytest.mark.parametrize(
    ("lasts", "since", "is_known"),
    [
        (YEAR, HOUR - SECOND, True),
        (YEAR, HOUR, False),
        (YEAR, -SECOND, False),
        (60 * SECOND, 59 * SECOND, True),
        (60 * SECOND, 60 * SECOND, False),
        (60 * SECOND, YEAR, False),
    ],
)
def test_it_is_forgotten_when_a_date_comes(
    counting: Counting, root: Made, lasts: dt.timedelta, since: dt.timedelta, is_known: bool
) -> None:
    memory = Memory(counting)
    shown = show(make_leaf(root, "sip:contoso.com", not_after=NOW + lasts))
    assert memory.judge(shown).accepted
    later = memory.judge(evolve(again(shown), now=NOW + since))
    assert counting.asked == (1 if is_known else 2)
    assert later.accepted is (NOW + since <= NOW + lasts)


def test_it_is_forgotten_with_the_status_that_it_rests_on(leaf: Made) -> None:
    @frozen
    class UntilSoon:
        state = ()
        policy: TrustPolicy

        def evaluate(self, evidence: Evidence, /) -> Decision:
            decision = self.policy.evaluate(evidence)
            assert decision.peer is not None
            return evolve(decision, peer=evolve(decision.peer, expires=NOW + 5 * SECOND))

    counting = Counting(UntilSoon(Pinned({"contoso.com": [Pinned.key_pin(leaf.certificate)]})))
    memory, shown = Memory(counting), show(leaf)
    for seconds in (0, 4, 5):
        memory.judge(evolve(again(shown), now=NOW + seconds * SECOND))
    assert counting.asked == 2


def test_it_is_forgotten_when_the_state_is_another(counting: Counting, leaf: Made) -> None:
    memory, shown = Memory(counting), show(leaf)
    memory.judge(shown)
    counting.state = "something new is known"
    memory.judge(again(shown))
    memory.judge(again(shown))
    assert counting.asked == 2


def test_what_is_learned_while_it_decides_counts(root: Made, leaf: Made) -> None:
    class Learning(Counting):
        """Its state changes between its reading of it and its answer."""

        state = property(lambda self: self.asked)

        def evaluate(self, evidence: Evidence, /) -> Decision:
            return super().evaluate(evidence)

    learning = Learning.__new__(Learning)
    learning.policy, learning.asked = Enterprise(["contoso.com"], authority_of(root)), 0
    memory, shown = Memory(learning), show(leaf)
    for _ in range(3):
        memory.judge(again(shown))
    assert learning.asked == 3


def test_a_policy_that_does_not_tell_its_state_is_asked_each_time(
    counting: Counting, leaf: Made
) -> None:
    counting.state = None
    memory, shown = Memory(counting), show(leaf)
    for _ in range(3):
        assert memory.judge(again(shown)).accepted
    assert counting.asked == 3


# ---------------------------------------------------------------- bounds


def test_it_keeps_so_many_and_the_oldest_makes_room(counting: Counting, root: Made) -> None:
    memory = Memory(counting, size=2)
    shown = [show(make_leaf(root, "sip:contoso.com")) for _ in range(3)]
    for one in shown:
        memory.judge(one)
    memory.judge(again(shown[2]))
    memory.judge(again(shown[1]))
    assert counting.asked == 3
    memory.judge(again(shown[0]))
    assert counting.asked == 4


def test_a_long_chain_is_not_kept(
    counting: Counting, leaf: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = show(leaf)
    monkeypatch.setattr(memories, "_MAX_CHAIN", shown.size - 1)
    memory = Memory(counting)
    for _ in range(2):
        assert memory.judge(again(shown)).accepted
    assert counting.asked == 2


def test_the_limits_are_kept_before_the_policy_is_asked(counting: Counting, leaf: Made) -> None:
    decision = Memory(counting).judge(evolve(show(leaf), max_chain=10))
    assert (decision.code, decision.by, counting.asked) == (Code.PATH_LIMIT, "TLS", 0)


# ---------------------------------------------------------------- states


class Source:
    """A source of revocation without a state."""

    def known(self, *_: Any) -> Iterable[bytes]:
        return []


class Learned(Source):
    """One with a state."""

    def __init__(self, state: int) -> None:
        self.state = state


@frozen
class Asks(CombinableCondition):
    """A condition of somebody else."""

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        return Decision.accept(peer, "yes", evidence=evidence)


@define
class Noted(Enterprise):
    """One that decides by itself, and inherits what it does not look at."""

    noted: list[str] = field(factory=list, hash=False)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        return super().evaluate(evidence)


def test_policies_tell_the_state_of_what_they_ask(root: Made) -> None:
    still = authority_of(root)
    silent = authority_of(root, revocation=Revocation(source=Source()))
    learned = Learned(1)
    moving = authority_of(root, revocation=Revocation(source=learned))
    for make in (
        lambda authority: Enterprise(["contoso.com"], authority),
        lambda authority: Partner(["contoso.com"], authority),
        AnyDomain,
        lambda authority: Federation([Partner(["contoso.com"], authority)]),
        lambda authority: Federation.open(authority, own=["example.com"]),
        lambda authority: Discovery(authority, own=["example.com"]),
        lambda authority: Enterprise(["a.example"], still) | Enterprise(["b.example"], authority),
        lambda authority: Enterprise(["contoso.com"], authority) & Blocked(["evil.example"]),
    ):
        assert state_of(make(still)) is not None
        assert state_of(make(silent)) is None
        before = state_of(make(moving))
        learned.state += 1
        assert state_of(make(moving)) != before is not None


def test_conditions_and_pins_have_none_that_changes() -> None:
    pinned = Pinned({"contoso.com": ["sha256:" + "0" * 64]})
    for part in (Blocked(["evil.example"]), TrustedServers(["home.contoso.com"]), pinned):
        assert state_of(part) == ()
    with pytest.raises(TypeError):
        pinned.pins["contoso.com"] = frozenset()  # type: ignore[index]  # it must not change
    servers = TrustedServers(["home.contoso.com"], relays={"home.contoso.com": ["a.example"]})
    with pytest.raises(TypeError):
        servers.relays["home.contoso.com"] = frozenset()  # type: ignore[index]  # nor may this


def test_who_does_not_tell_makes_all_of_it_silent(root: Made) -> None:
    still = Enterprise(["contoso.com"], authority_of(root))
    listed = TrustedServers(["home.contoso.com"])
    assert state_of(Asks()) is None
    assert state_of(AllOf([listed, Asks()])) is None
    assert state_of(Restricted(still, Asks())) is None
    assert state_of(AnyOf([still, Shadow(still, still)])) is None
    assert state_of(AllOf([listed, listed])) is not None
    assert states_of([still, object()]) is None


def test_who_decides_by_himself_does_not_inherit_a_state(root: Made) -> None:
    noted = Noted(["contoso.com"], authority_of(root))
    assert state_of(noted) is None

    class Plain(Enterprise):
        """Adds nothing that decides."""

    assert state_of(Plain(["contoso.com"], authority_of(root))) == ()
