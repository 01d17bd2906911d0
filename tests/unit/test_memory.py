"""Memory: an acceptance is remembered under all that it depends on, and under nothing less."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from attrs import define, evolve, frozen
from certificates import NOW, SECOND, YEAR, Made, make_ca, make_leaf, show
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls import (
    Authority,
    Code,
    Combinable,
    Decision,
    Enterprise,
    Evidence,
    Pinned,
    ReferenceIdentity,
    Role,
    TrustPolicy,
)
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
    """Decides as another policy, and counts how often it is asked; its answers are remembered."""

    policy: TrustPolicy
    remembered_under: Hashable | None = ()
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
        remembered_under = ()
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


def test_what_it_is_remembered_under_may_end_it(counting: Counting, leaf: Made) -> None:
    memory, shown = Memory(counting), show(leaf)
    memory.judge(shown)
    counting.remembered_under = "something new is known"
    memory.judge(again(shown))
    memory.judge(again(shown))
    assert counting.asked == 2


def test_what_is_learned_while_it_decides_counts(root: Made, leaf: Made) -> None:
    class Learning(Counting):
        """It learns something between saying so and its answer."""

        remembered_under = property(lambda self: self.asked)

        def evaluate(self, evidence: Evidence, /) -> Decision:
            return super().evaluate(evidence)

    learning = Learning.__new__(Learning)
    learning.policy, learning.asked = Enterprise(["contoso.com"], authority_of(root)), 0
    memory, shown = Memory(learning), show(leaf)
    for _ in range(3):
        memory.judge(again(shown))
    assert learning.asked == 3


def test_a_policy_that_does_not_say_so_is_asked_each_time(counting: Counting, leaf: Made) -> None:
    counting.remembered_under = None
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
