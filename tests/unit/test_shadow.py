"""Shadow: the current policy decides, and nothing of the candidate does."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

import pytest
from attrs import Factory, frozen
from certificates import NOW, make_ca, make_leaf, show
from hypothesis import given
from hypothesis import strategies as st

from siptls import (
    Authority,
    BelievedName,
    Code,
    ConfigurationError,
    Decision,
    Difference,
    DifferenceKind,
    Enterprise,
    Evidence,
    Peer,
    Shadow,
    TrustedServers,
    TrustPolicy,
)
from siptls.trust import shadow as module
from siptls.trust.evidence import MAX_SEARCHES
from siptls.trust.policy import AnyOf, Restricted, authorities_of, judge

ROOT, OTHER = make_ca("Contoso CA"), make_ca("Other CA")
OURS = Enterprise(["contoso.com"], Authority("Contoso CA", [ROOT.certificate]))
THEIRS = Enterprise(["contoso.com"], Authority("Other CA", [OTHER.certificate]))
LEAF = make_leaf(ROOT, "sip:contoso.com")


@frozen
class Believes:
    """A policy by protocol alone, which tells no authorities."""

    name: str = "contoso.com"

    def evaluate(self, evidence: Evidence, /) -> Decision:
        name = BelievedName(self.name, authority="test")
        return Decision.accept(Peer([name], (), NOW + dt.timedelta(days=1)), "believed")


@frozen
class Refuses:
    code: str = "acme.closed"

    def evaluate(self, evidence: Evidence, /) -> Decision:
        return Decision.refuse(self.code, "closed")


@frozen
class Raises:
    def evaluate(self, evidence: Evidence, /) -> Decision:
        raise ZeroDivisionError("by nothing")


@frozen
class Returns:
    value: Any = None

    def evaluate(self, evidence: Evidence, /) -> Decision:
        return self.value  # type: ignore[no-any-return]


@frozen
class Noting:
    """A policy that notes when it is asked."""

    name: str
    asked: list[str] = Factory(list)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        self.asked.append(self.name)
        evidence.memo[self.name] = "concluded"
        return Decision.refuse("acme.closed", "closed")


# ---------------------------------------------------------------- who decides


POLICIES: list[TrustPolicy] = [
    OURS,
    THEIRS,
    OURS | THEIRS,
    OURS & TrustedServers(["edge.contoso.com"]),
    Believes(),
    Believes("evil.example"),
    Refuses(),
    Raises(),
    Returns(),
    Shadow(THEIRS, OURS),
]


@given(
    current=st.sampled_from(POLICIES),
    candidate=st.sampled_from(POLICIES),
    issuer=st.sampled_from([ROOT, OTHER]),
    reference=st.sampled_from([None, "contoso.com", "fabrikam.com"]),
)
def test_a_shadow_decides_as_the_current_policy_whatever_the_candidate_says(
    current: TrustPolicy, candidate: TrustPolicy, issuer: Any, reference: str | None
) -> None:
    leaf = make_leaf(issuer, "sip:contoso.com")
    alone = judge(current, show(leaf, reference=reference))
    evidence = show(leaf, reference=reference)
    told: list[Difference] = []
    assert judge(Shadow(current, candidate, told.append), evidence) == alone
    for difference in told:
        assert difference
        assert difference.evidence is evidence
        assert difference.current == alone
        assert difference.candidate == judge(candidate, show(leaf, reference=reference))


def test_the_candidate_is_asked_last_and_its_conclusions_are_its_own() -> None:
    asked: list[str] = []
    evidence = show(LEAF)
    Shadow(Noting("current", asked), Noting("candidate", asked)).evaluate(evidence)
    assert asked == ["current", "candidate"]
    assert evidence.memo == {"current": "concluded"}


def test_a_candidate_uses_up_nothing_that_others_need() -> None:
    """How many searches a handshake may cost is counted in the evidence."""
    crowd = [make_ca("Contoso CA").certificate for _ in range(MAX_SEARCHES)]
    greedy = AnyOf(Enterprise(["contoso.com"], Authority("one of many", [one])) for one in crowd)
    assert not (greedy | OURS).evaluate(show(LEAF)).accepted
    assert (Shadow(Refuses(), greedy) | OURS).evaluate(show(LEAF)).accepted


def test_a_candidate_that_raises_is_a_refusal_of_the_candidate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Difference] = []
    assert Shadow(OURS, Raises(), told.append).evaluate(show(LEAF)).accepted
    (difference,) = told
    assert difference.kind is DifferenceKind.WOULD_REFUSE
    assert difference.candidate.code == Code.POLICY_ERROR
    (record,) = caplog.records
    assert record.getMessage() == (
        "policy Raises failed, which counts as its refusal: ZeroDivisionError: by nothing"
    )


@pytest.mark.parametrize(("current", "accepted"), [(OURS, True), (THEIRS, False)])
def test_a_callback_that_raises_changes_nothing_but_the_log(
    current: TrustPolicy, accepted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def on_difference(difference: Difference) -> None:
        raise ValueError("a line\nof a peer")

    shadow = Shadow(current, Refuses(), on_difference)
    assert shadow.evaluate(show(LEAF)).accepted is accepted
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.ERROR,
        "on_difference failed, and the decision stands: ValueError: a line\\u000aof a peer",
    )


def test_each_difference_is_told_and_nothing_else() -> None:
    told: list[Difference] = []
    shadow = Shadow(OURS, OURS & TrustedServers(["edge.contoso.com"]), told.append)
    edge = make_leaf(ROOT, "sip:contoso.com", "sip:edge.contoso.com")
    for leaf in (LEAF, edge, LEAF):
        assert shadow.evaluate(show(leaf)).accepted
    assert [difference.kind for difference in told] == ["would-refuse", "would-refuse"]
    assert [difference.candidate.code for difference in told] == ["server.not-listed"] * 2


def test_a_callback_may_be_an_object_that_is_empty() -> None:
    class Collected(list[Difference]):
        def __call__(self, difference: Difference) -> None:
            self.append(difference)

    told = Collected()
    Shadow(OURS, THEIRS, told).evaluate(show(LEAF))
    assert len(told) == 1


# ---------------------------------------------------------------- the log


def test_without_a_callback_each_difference_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shadow = Shadow(OURS, THEIRS)
    other = make_leaf(ROOT, "sip:edge.contoso.com")
    theirs = make_leaf(OTHER, "sip:contoso.com")
    for leaf in (LEAF, LEAF, make_leaf(ROOT, "sip:contoso.com"), other, theirs, LEAF, theirs):
        shadow.evaluate(show(leaf))
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(", and")[0] for line in said] == [
        f"a candidate would decide otherwise: a client that presents {what}"
        for what in (
            "sip:contoso.com, CN:leaf is accepted now",
            "sip:edge.contoso.com, CN:leaf is accepted now",
            "sip:contoso.com, CN:leaf is refused now (path.unknown-ca)",
        )
    ]


def test_at_debug_the_log_has_the_explanation(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "siptls"):
        Shadow(OURS, THEIRS).evaluate(show(LEAF))
    warning, debug = caplog.records
    assert (warning.levelno, debug.levelno) == (logging.WARNING, logging.DEBUG)
    assert "  candidate\n    refused: path.unknown-ca" in debug.getMessage()


def test_strangers_with_ever_new_names_fill_no_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest is forgotten, and told again; nobody is silenced."""
    monkeypatch.setattr(module, "MAX_TOLD", 2)
    shadow = Shadow(OURS, THEIRS)
    first, second, third = (make_leaf(ROOT, f"sip:{n}.contoso.com") for n in "abc")
    for leaf in (first, second, third, third, second, first):
        shadow.evaluate(show(leaf))
        assert len(shadow._told) <= 2
    assert len(caplog.records) == 4


# ---------------------------------------------------------------- a value


def test_a_shadow_is_a_policy_like_any_other() -> None:
    shadow = Shadow(OURS, THEIRS)
    assert isinstance(shadow, TrustPolicy)
    assert shadow | THEIRS == AnyOf([shadow, THEIRS])
    condition = TrustedServers(["edge.contoso.com"])
    assert shadow & condition == Restricted(shadow, condition)
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(shadow)


def test_what_was_logged_is_no_part_of_the_value() -> None:
    shadow = Shadow(OURS, THEIRS)
    shadow.evaluate(show(LEAF))
    assert shadow == Shadow(OURS, THEIRS)
    assert hash(shadow) == hash(Shadow(OURS, THEIRS))
    assert repr(shadow) == f"Shadow(current={OURS!r}, candidate={THEIRS!r}, on_difference=None)"


def test_openssl_is_told_the_anchors_of_the_current_policy_alone() -> None:
    assert authorities_of(Shadow(OURS, THEIRS)) == OURS.authorities
    assert authorities_of(Shadow(OURS, Refuses())) == OURS.authorities
    assert authorities_of(Shadow(Refuses(), OURS)) is None


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((OURS, Enterprise), "Enterprise is a class"),
        ((TrustedServers(["a.example"]), OURS), "a TrustPolicy is needed"),
        ((OURS, OURS, "log"), "on_difference= is a plain function, not a str"),
    ],
)
def test_a_shadow_is_made_of_two_policies_and_a_function(arguments: Any, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        Shadow(*arguments)


def test_a_coroutine_function_is_no_callback() -> None:
    async def on_difference(difference: Difference) -> None:
        pass

    with pytest.raises(ConfigurationError, match="nobody would await it"):
        Shadow(OURS, THEIRS, on_difference)
