"""Policies and conditions: how they combine, and that no combination believes too much."""

from __future__ import annotations

import datetime as dt
import inspect
import itertools
import logging
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field, frozen
from certificates import NOW, YEAR, Made, make_ca, make_leaf, show
from hypothesis import given
from hypothesis import strategies as st

from siptls import (
    AnyDomain,
    Authority,
    BelievedName,
    Blocked,
    Code,
    Combinable,
    CombinableCondition,
    Condition,
    ConfigurationError,
    Decision,
    Discovery,
    Enterprise,
    Evidence,
    Federation,
    KeyPurposes,
    NameKind,
    NameRules,
    Partner,
    Peer,
    Pinned,
    ReferenceIdentity,
    Revocation,
    Role,
    Shadow,
    TrafficLimits,
    Trust,
    TrustedServers,
    TrustPolicy,
)
from siptls.arguments import kind_of
from siptls.testing import CertificateAuthority
from siptls.trust.fault import Fault
from siptls.trust.policy import (
    AllOf,
    AnyOf,
    Restricted,
    all_remembered_under,
    authorities_of,
    judge,
    remembered_under,
    require_policy,
)

# ---------------------------------------------------------------- policies of our own


@frozen
class Believes:
    """A policy by protocol alone: it inherits from nothing, and believes these names."""

    names: frozenset[str] = field(converter=frozenset)
    trust: Trust = Trust.PUBLIC
    days: int = 1

    def evaluate(self, evidence: Evidence, /) -> Decision:
        names = [BelievedName(name, authority="test", trust=self.trust) for name in self.names]
        peer = Peer(names, (), NOW + dt.timedelta(days=self.days))
        return Decision.accept(peer, "believed", by="Believes", evidence=evidence)


@frozen
class Refuses:
    """A policy that refuses, with this code."""

    code: str = Code.PATH_UNKNOWN_CA
    reason: str = "refused"

    def evaluate(self, evidence: Evidence, /) -> Decision:
        return Decision.refuse(self.code, self.reason, by="Refuses", evidence=evidence)


@frozen
class Raises:
    """A policy, and a condition, with a fault in its code."""

    error: Callable[[], BaseException] = lambda: ZeroDivisionError("by nothing")

    def evaluate(self, evidence: Evidence, /) -> Decision:
        raise self.error()


@frozen
class Returns:
    """A policy that returns something or other."""

    value: Any

    def evaluate(self, evidence: Evidence, /) -> Decision:
        return self.value  # type: ignore[no-any-return]


@frozen
class Holds:
    """A condition by protocol alone."""

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        return Decision.accept(peer, "it holds", by="Holds")


@frozen
class Fails:
    """A condition that does not hold."""

    code: str = Code.SERVER_NOT_LISTED

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        return Decision.refuse(self.code, "it does not hold", by="Fails")


@frozen
class ConditionReturns:
    value: Any

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        return self.value  # type: ignore[no-any-return]


@frozen
class ConditionRaises:
    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        raise ZeroDivisionError("by nothing")


class Own(Combinable):
    """A policy of a user who inherits: it gets the operators."""

    def evaluate(self, evidence: Evidence, /) -> Decision:
        return Believes({"own.example"}).evaluate(evidence)


class OwnCondition(CombinableCondition):
    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        return Decision.accept(peer, "it holds", by="OwnCondition")


# What is no Decision, though some of it is true, and some looks like one.
GARBAGE = [
    True,
    None,
    1,
    "accepted",
    Decision,
    SimpleNamespace(accepted=True, code=Code.ACCEPTED, reason="", peer=object(), parts=()),
]

EVIDENCE = Evidence((), "client", now=NOW)


def expecting(domain: str, host: str | None = None) -> Evidence:
    reference = ReferenceIdentity.parse(domain, host=host)
    return Evidence((), "server", now=NOW, reference=reference)


def believed(decision: Decision) -> frozenset[str]:
    """Give the names that a decision believes: none if it refuses."""
    return frozenset() if decision.peer is None else decision.peer.domains


def summary(decision: Decision) -> tuple[Any, ...]:
    """Give what must not depend on the order of parts."""
    peer = decision.peer
    facts = None if peer is None else (peer.names, peer.expires, peer.trust)
    return decision.accepted, decision.code, decision.reason, facts


# ---------------------------------------------------------------- the laws

DOMAINS = ["a.example", "b.example", "c.example", "d.example"]
REFUSAL_CODES = [code for code in Code if code is not Code.ACCEPTED]

believing = st.builds(
    Believes,
    st.sets(st.sampled_from(DOMAINS), min_size=1),
    st.sampled_from(Trust),
    st.integers(1, 5),
)
refusing = st.one_of(
    st.builds(Refuses, st.sampled_from([*REFUSAL_CODES, "custom.code"]), st.text(max_size=3)),
    st.just(Raises()),
    st.sampled_from(GARBAGE[:4]).map(Returns),
)
policies = st.one_of(believing, refusing)
conditions = st.sampled_from(
    [Holds(), OwnCondition(), Fails(), Fails("custom.code"), ConditionRaises(), ConditionReturns(1)]
)
evidences = st.one_of(st.just(EVIDENCE), st.sampled_from(DOMAINS).map(expecting))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the tracebacks of policies that raise on purpose out of the report."""
    caplog.set_level(logging.CRITICAL + 1, logger="siptls")


@given(st.lists(policies, min_size=1, max_size=5), evidences)
def test_an_any_of_believes_the_union(parts: list[TrustPolicy], evidence: Evidence) -> None:
    """Exactly what its parts believe, each judged by itself: no name more, none less."""
    alone = [believed(judge(part, evidence)) for part in parts]
    decision = AnyOf(parts).evaluate(evidence)
    assert believed(decision) == frozenset().union(*alone)
    assert decision.accepted is any(alone)


@given(st.lists(policies, min_size=1, max_size=4), evidences)
def test_the_order_of_parts_does_not_matter(parts: list[TrustPolicy], evidence: Evidence) -> None:
    """Neither for the names nor for the code and the sentence that are reported."""
    results = {summary(AnyOf(order).evaluate(evidence)) for order in itertools.permutations(parts)}
    assert len(results) == 1


@given(policies, policies, policies)
def test_the_grouping_of_parts_does_not_matter(
    a: TrustPolicy, b: TrustPolicy, c: TrustPolicy
) -> None:
    """Combinations are flat: the very same `AnyOf` comes out."""
    assert AnyOf([AnyOf([a, b]), c]) == AnyOf([a, AnyOf([b, c])]) == AnyOf([a, b, c])


@given(policies, evidences)
def test_a_policy_beside_itself_changes_nothing(policy: TrustPolicy, evidence: Evidence) -> None:
    once, twice = AnyOf([policy]).evaluate(evidence), AnyOf([policy, policy]).evaluate(evidence)
    assert summary(once) == summary(twice)


@given(policies, st.lists(conditions, min_size=1, max_size=3), evidences)
def test_a_condition_never_adds(
    policy: TrustPolicy, parts: list[Condition], evidence: Evidence
) -> None:
    """``policy & condition`` believes what the policy believes, or nothing."""
    alone = judge(policy, evidence)
    decision = Restricted(policy, AllOf(parts)).evaluate(evidence)
    holds = all(isinstance(part, Holds | OwnCondition) for part in parts)
    assert decision.accepted is (alone.accepted and holds)
    assert decision.peer == (alone.peer if holds else None)


@given(believing, st.lists(conditions, min_size=1, max_size=3))
def test_the_order_of_conditions_does_not_matter(
    policy: TrustPolicy, parts: list[Condition]
) -> None:
    results = {
        summary(Restricted(policy, AllOf(order)).evaluate(EVIDENCE))
        for order in itertools.permutations(parts)
    }
    assert len(results) == 1


@given(policies, policies, conditions, evidences)
def test_a_condition_distributes(
    a: TrustPolicy, b: TrustPolicy, condition: Condition, evidence: Evidence
) -> None:
    """``(a | b) & c`` believes the same names as ``a & c | b & c``, if c asks nothing of names."""
    left = Restricted(AnyOf([a, b]), condition)
    right = AnyOf([Restricted(a, condition), Restricted(b, condition)])
    assert believed(left.evaluate(evidence)) == believed(right.evaluate(evidence))


@given(st.lists(policies, min_size=1, max_size=4), st.sampled_from(DOMAINS))
def test_the_expected_name_is_believed_in_whatever_is_accepted(
    parts: list[TrustPolicy], domain: str
) -> None:
    """No combination accepts a peer that did not prove the name that was asked for."""
    decision = AnyOf(parts).evaluate(expecting(domain))
    assert not decision.accepted or domain in believed(decision)


@given(st.lists(believing, min_size=1, max_size=4))
def test_a_union_expires_with_the_first_and_has_the_firmest_trust(parts: list[Believes]) -> None:
    peer = AnyOf(parts).evaluate(EVIDENCE).peer
    assert peer is not None
    assert peer.expires == NOW + dt.timedelta(days=min(part.days for part in parts))
    firmness = list(Trust)
    assert peer.trust is min((part.trust for part in parts), key=firmness.index)


def test_the_path_that_a_union_shows_does_not_depend_on_the_order() -> None:
    """Of three peers on equal ground, the same path is shown whatever the order."""
    root = make_ca("Root")

    def peer(chain: Made, *names: str) -> Peer:
        return Peer([BelievedName(name) for name in names], [chain.certificate], NOW + YEAR)

    peers = [
        peer(make_leaf(root, "sip:b.example"), "b.example"),
        peer(make_leaf(root, "sip:c.example"), "b.example", "bb.example"),
        peer(make_leaf(root, "sip:d.example"), "c.example"),
    ]
    shown = {(a | b | c).chain for a, b, c in itertools.permutations(peers)}
    assert len(shown) == 1


# ---------------------------------------------------------------- judging


def test_a_sound_answer_is_given_as_it_is() -> None:
    """`judge` adds nothing to a decision that is in order."""
    accepted, refused = Believes({"a.example"}), Refuses(Code.PATH_EXPIRED)
    assert judge(accepted, EVIDENCE) == accepted.evaluate(EVIDENCE)
    assert judge(accepted, expecting("a.example")).accepted
    assert judge(refused, expecting("a.example")) == refused.evaluate(EVIDENCE)


def test_an_acceptance_without_the_expected_name_is_refused() -> None:
    """A user's policy may forget to look: the expected name is looked for once more."""
    decision = judge(Believes({"a.example"}), expecting("b.example"))
    assert decision.code == Code.NAME_MISMATCH
    assert decision.reason == "the peer has proven a.example to Believes; expected b.example"
    assert [part.accepted for part in decision.parts] == [True]


@pytest.mark.parametrize("believed_name", ["example", "x.a.example", "xa.example"])
def test_the_expected_name_is_not_proven_by_a_relative(believed_name: str) -> None:
    """RFC 5922 §7.2: equality, neither above nor below."""
    assert judge(Believes({believed_name}), expecting("a.example")).code == Code.NAME_MISMATCH


def test_the_expected_host_is_as_good_as_the_domain() -> None:
    policy = Believes({"sip.a.example"})
    assert judge(policy, expecting("a.example", host="sip.a.example")).accepted
    assert not judge(policy, expecting("a.example", host="other.a.example")).accepted


def test_a_policy_that_raises_has_refused(caplog: pytest.LogCaptureFixture) -> None:
    """With the code for it, and a line in the log."""
    caplog.set_level(logging.ERROR, logger="siptls")
    decision = judge(Raises(), EVIDENCE)
    assert decision.code == Code.POLICY_ERROR
    assert decision.reason == "Raises raised ZeroDivisionError: by nothing; expected a Decision"
    assert decision.by == "Raises"
    assert decision.evidence is EVIDENCE
    (record,) = caplog.records
    assert record.getMessage() == (
        "policy Raises failed, which counts as its refusal: ZeroDivisionError: by nothing"
    )
    assert not record.exc_info


def test_the_traceback_of_a_policy_is_for_who_debugs(caplog: pytest.LogCaptureFixture) -> None:
    """It repeats the text of the error as it is, and a peer may have written that."""
    caplog.set_level(logging.DEBUG, logger="siptls")
    judge(Raises(), EVIDENCE)
    (record,) = caplog.records
    assert record.exc_info


def test_what_a_policy_raises_forges_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Repeats(Combinable):
        def evaluate(self, evidence: Evidence, /) -> Decision:
            raise ValueError("a\nERROR forged\x1b[2J")

    caplog.set_level(logging.ERROR, logger="siptls")
    judge(Repeats(), EVIDENCE)
    assert caplog.records[0].getMessage().isprintable()


def test_a_policy_that_is_asynchronous_has_refused() -> None:
    """Its coroutine is closed: nobody awaits it, and nobody is warned of that later."""

    class Waits:
        async def evaluate(self, evidence: Evidence, /) -> Decision:
            raise AssertionError("it never runs")

    decision = judge(Waits(), EVIDENCE)  # type: ignore[arg-type]
    assert decision.code == Code.POLICY_ERROR
    assert decision.reason == "Waits returned a coroutine; expected a Decision"


@pytest.mark.parametrize(
    "policy",
    [
        Raises(),
        Returns(None),
        Believes({"b.example"}),
        AnyOf([Refuses()]),
        AnyOf([Believes({"a.example"})]),
        Restricted(Believes({"a.example"}), Holds()),
        Restricted(Believes({"a.example"}), Fails()),
    ],
    ids=repr,
)
def test_a_decision_holds_what_was_judged(policy: TrustPolicy) -> None:
    """Else the explanation could not say who it was."""
    evidence = expecting("a.example")
    assert judge(policy, evidence).evidence is evidence


@pytest.mark.parametrize("part", [Holds(), Fails()])
def test_a_decision_of_conditions_holds_what_was_judged(part: Condition) -> None:
    peer = Peer([BelievedName("a.example")], (), NOW)
    assert AllOf([part]).check(peer, EVIDENCE).evidence is EVIDENCE


def test_who_decided_is_filled_in() -> None:
    """A policy or a condition of a user's own need not say its name."""

    class Mine(Combinable):
        def evaluate(self, evidence: Evidence, /) -> Decision:
            return Decision.refuse("mine", "no")

    class MyCondition(CombinableCondition):
        def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
            return Decision.accept(peer, "it holds")

    assert judge(Mine(), EVIDENCE).by == "Mine"
    decision = Restricted(Believes({"a.example"}), MyCondition() & Holds()).evaluate(EVIDENCE)
    assert [part.by for part in decision.parts] == ["Believes", "all of"]
    assert [part.by for part in decision.parts[-1].parts] == ["MyCondition", "Holds"]


def test_a_raising_part_refuses_while_the_others_count() -> None:
    """The explanation holds all of them."""
    for parts in itertools.permutations([Raises(), Believes({"a.example"}), Refuses()]):
        decision = AnyOf(parts).evaluate(EVIDENCE)
        assert believed(decision) == {"a.example"}
        assert sorted(part.code for part in decision.parts) == sorted(
            [Code.POLICY_ERROR, Code.ACCEPTED, Code.PATH_UNKNOWN_CA]
        )
    decision = AnyOf([Raises(), Refuses()]).evaluate(EVIDENCE)
    assert decision.code == Code.POLICY_ERROR


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_not_swallowed(error: type[BaseException]) -> None:
    """What ends a program ends it; it is no acceptance either."""
    with pytest.raises(error):
        judge(Raises(error), EVIDENCE)


@pytest.mark.parametrize("value", GARBAGE, ids=repr)
def test_a_policy_that_returns_garbage_has_refused(value: object) -> None:
    decision = judge(Returns(value), EVIDENCE)
    assert decision.code == Code.POLICY_ERROR
    assert decision.reason.startswith("Returns returned ")
    assert decision.reason.endswith("; expected a Decision")
    assert decision.by == "Returns"
    assert AnyOf([Returns(value)]).evaluate(EVIDENCE).code == Code.POLICY_ERROR
    assert Restricted(Returns(value), Holds()).evaluate(EVIDENCE).code == Code.POLICY_ERROR


@pytest.mark.parametrize("value", GARBAGE, ids=repr)
def test_a_condition_that_returns_garbage_has_refused(value: object) -> None:
    policy = Believes({"a.example"})
    for condition in (ConditionReturns(value), AllOf([Holds(), ConditionReturns(value)])):
        decision = Restricted(policy, condition).evaluate(EVIDENCE)
        assert decision.code == Code.POLICY_ERROR
        assert "returned" in decision.reason
        assert decision.reason.endswith("; expected a Decision")


def test_a_condition_that_raises_has_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="siptls")
    decision = Restricted(Believes({"a.example"}), ConditionRaises()).evaluate(EVIDENCE)
    assert decision.code == Code.POLICY_ERROR
    assert decision.reason.startswith("ConditionRaises raised ZeroDivisionError: by nothing;")
    assert [part.by for part in decision.parts] == ["Believes", "ConditionRaises"]
    assert [record.getMessage() for record in caplog.records] == [
        "condition ConditionRaises failed, which counts as its refusal:"
        " ZeroDivisionError: by nothing"
    ]


def test_a_condition_cannot_smuggle_names_in() -> None:
    """The peer that a condition accepts is not the peer that is believed."""
    other = Believes({"evil.example"}).evaluate(EVIDENCE)
    decision = Restricted(Believes({"a.example"}), ConditionReturns(other)).evaluate(EVIDENCE)
    assert believed(decision) == {"a.example"}
    both = Restricted(Believes({"a.example"}), AllOf([ConditionReturns(other), Holds()]))
    assert believed(both.evaluate(EVIDENCE)) == {"a.example"}


def test_a_condition_is_not_asked_about_a_peer_that_nobody_believes() -> None:
    """There is no peer to ask about; the policy's refusal stands as it is."""
    refused = Refuses(Code.PATH_EXPIRED)
    assert Restricted(refused, ConditionRaises()).evaluate(EVIDENCE) == refused.evaluate(EVIDENCE)


def test_the_most_telling_refusal_is_reported() -> None:
    parts = [Refuses(Code.PATH_UNKNOWN_CA), Refuses(Code.NAME_MISMATCH, "the other"), Refuses()]
    decision = AnyOf(parts).evaluate(EVIDENCE)
    assert (decision.code, decision.reason) == (Code.NAME_MISMATCH, "the other")
    assert len(decision.parts) == 3
    conditions = AllOf([Fails(), Holds(), Fails(Code.POLICY_ERROR)])
    decision = Restricted(Believes({"a.example"}), conditions).evaluate(EVIDENCE)
    assert decision.code == Code.POLICY_ERROR
    assert [part.accepted for part in decision.parts[1].parts] == [False, True, False]


def test_an_acceptance_tells_what_it_was_made_from() -> None:
    """Every part is in the explanation, by its own name."""
    policy = AnyOf([Believes({"b.example"}), Refuses(), Believes({"a.example"})])
    decision = Restricted(policy, AllOf([Holds(), OwnCondition()])).evaluate(EVIDENCE)
    assert decision.by == "restricted"
    assert decision.reason == "believed: a.example, b.example"
    assert [part.by for part in decision.parts] == ["any of", "all of"]
    assert [part.by for part in decision.parts[0].parts] == ["Believes", "Refuses", "Believes"]
    assert [part.by for part in decision.parts[1].parts] == ["Holds", "OwnCondition"]
    assert decision.evidence is EVIDENCE


# ---------------------------------------------------------------- the operators


@pytest.fixture(scope="module")
def ours(contoso: CertificateAuthority) -> Enterprise:
    return Enterprise(["contoso.com"], contoso.authority())


LISTED = TrustedServers(["sip.contoso.com"])


def test_policies_combine_with_or(ours: Enterprise) -> None:
    """Ours with ours, ours with a stranger's, on either side, and with combinations."""
    own, foreign = Own(), Believes({"a.example"})
    assert (ours | own).parts == (ours, own)
    assert (ours | foreign).parts == (ours, foreign)
    assert (foreign | ours).parts == (foreign, ours)
    assert (ours | own | foreign).parts == (ours, own, foreign)
    assert (ours | (own | foreign)).parts == (ours, own, foreign)
    assert (foreign | (ours | own)).parts == (foreign, ours, own)
    restricted = ours & LISTED
    assert (restricted | foreign).parts == (restricted, foreign)
    assert believed((foreign | own).evaluate(EVIDENCE)) == {"a.example", "own.example"}


def test_conditions_combine_with_and(ours: Enterprise) -> None:
    """Ours with ours, ours with a stranger's, on either side, and with policies."""
    own, foreign = OwnCondition(), Holds()
    assert (LISTED & own).parts == (LISTED, own)
    assert (LISTED & foreign).parts == (LISTED, foreign)
    assert (foreign & LISTED).parts == (foreign, LISTED)
    assert (LISTED & (own & foreign)).parts == ((LISTED & own) & foreign).parts
    assert len((LISTED & own & foreign).parts) == 3
    assert (ours & foreign) == Restricted(ours, foreign)
    assert (Believes({"a.example"}) & own) == Restricted(Believes({"a.example"}), own)
    both = (ours | Own()) & (own & foreign)
    assert believed(both.evaluate(EVIDENCE)) == {"own.example"}
    assert believed((ours & LISTED & own).evaluate(EVIDENCE)) == frozenset()


def test_a_condition_after_another_narrows_further(ours: Enterprise) -> None:
    """``policy & c & d`` is `Restricted` twice; both must hold."""
    policy = Own() & Holds()
    assert (policy & OwnCondition()).evaluate(EVIDENCE).accepted
    assert (policy & Fails()).evaluate(EVIDENCE).code == Code.SERVER_NOT_LISTED


def test_or_binds_weaker_than_and(ours: Enterprise) -> None:
    """``a | b & c`` restricts b alone, as an operator reads it."""
    combined = ours | Own() & Fails()
    assert [type(part) for part in combined.parts] == [Enterprise, Restricted]


@pytest.mark.parametrize("other", [LISTED, OwnCondition(), Holds(), None, True, "contoso.com"])
def test_a_policy_or_anything_else_is_a_type_error(ours: Enterprise, other: object) -> None:
    why = "narrow a policy by it" if isinstance(other, Condition) else "unsupported operand"
    with pytest.raises(TypeError, match=why):
        ours | other
    with pytest.raises(TypeError, match="unsupported operand"):
        other | ours


@pytest.mark.parametrize("other", [Own(), Believes({"a.example"}), None, True])
def test_a_policy_and_anything_but_a_condition_is_a_type_error(
    ours: Enterprise, other: object
) -> None:
    """The intersection of two policies is not defined, on purpose."""
    why = r"write policy \| policy" if isinstance(other, TrustPolicy) else "unsupported operand"
    with pytest.raises(TypeError, match=why):
        ours & other


@pytest.mark.parametrize("other", [None, True, "sip.contoso.com"])
def test_a_condition_and_anything_else_is_a_type_error(other: object) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        LISTED & other
    with pytest.raises(TypeError, match="unsupported operand"):
        other & LISTED


def test_a_condition_stands_on_the_right(ours: Enterprise) -> None:
    """``condition & policy`` reads the wrong way round: it is refused, not guessed."""
    with pytest.raises(TypeError, match="write the policy first: policy & condition"):
        LISTED & ours


@pytest.mark.parametrize("make", [Own, OwnCondition, lambda: AnyOf([Own()]), lambda: LISTED])
@pytest.mark.parametrize(
    "use",
    [bool, lambda thing: thing and thing, lambda thing: thing or thing, lambda thing: not thing],
    ids=["bool", "and", "or", "not"],
)
def test_nothing_that_combines_has_a_truth_value(
    make: Callable[[], Any], use: Callable[[Any], object]
) -> None:
    """Python would drop one of two policies without a word."""
    with pytest.raises(TypeError, match=r"combine policies with \| and conditions with &"):
        use(make())


# ---------------------------------------------------------------- building


@pytest.mark.parametrize("empty", [(), [], iter(())])
def test_an_empty_combination_is_refused_when_built(empty: Iterable[Any]) -> None:
    """A list that is empty by mistake must not trust nobody in silence, nor everybody."""
    parts = list(empty)
    with pytest.raises(ConfigurationError, match="AnyOf of nothing could believe nobody"):
        AnyOf(parts)
    with pytest.raises(ConfigurationError, match="AllOf of nothing would let everyone pass"):
        AllOf(parts)


NAMED = BelievedName("contoso.com")


@pytest.mark.parametrize("wrong", [None, 5])
@pytest.mark.parametrize(
    ("build", "what"),
    [
        (AnyOf, "the parts of AnyOf"),
        (AllOf, "the parts of AllOf"),
        (TrustedServers, "trusted servers"),
        (Federation, "partners"),
        (lambda x: Authority("CA", x), "anchors"),
        (lambda x: NameRules("mine", services=x), "services"),
        (lambda x: KeyPurposes("mine", server=x, client=x), "purposes"),
        (lambda x: Evidence(x, Role.CLIENT, now=NOW), "the certificates of a chain"),
        (lambda x: Peer(x, (), NOW), "believed names"),
        (lambda x: Peer([NAMED], x, NOW), "the certificates of a chain"),
        (lambda x: Peer([NAMED], (), NOW, x), "users"),
        (lambda x: Decision.refuse("mine", "no", parts=x), "the parts of a decision"),
        (lambda x: Decision.refuse("mine", "no", notes=x), "notes"),
    ],
)
def test_what_is_no_list_is_refused_in_a_sentence(
    build: Callable[[Any], object], what: str, wrong: Any
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{what} are a list, not {kind_of(wrong)}$"):
        build(wrong)


@pytest.mark.parametrize("part", [LISTED, None, "policy", object()])
def test_only_policies_are_parts_of_an_any_of(part: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"no policy: it has no evaluate"):
        AnyOf([Own(), part])


@pytest.mark.parametrize("part", [Own(), None, "condition", object()])
def test_only_conditions_are_parts_of_an_all_of(part: Any) -> None:
    with pytest.raises(ConfigurationError, match="no condition: it has no check"):
        AllOf([LISTED, part])


def test_combinations_are_values(ours: Enterprise) -> None:
    """Equal parts make equal combinations, with one hash."""
    assert (ours | Refuses()) == (ours | Refuses())
    assert (ours & LISTED) == (ours & TrustedServers(["SIP.contoso.com"]))
    assert len({ours & LISTED, ours & LISTED}) == 1
    assert isinstance(ours | Refuses(), TrustPolicy)
    assert isinstance(ours & LISTED, TrustPolicy)
    assert isinstance(LISTED & Holds(), Condition)


def test_a_real_peer_goes_through_a_combination(
    ours: Enterprise, contoso: CertificateAuthority
) -> None:
    """The whole of it once, with certificates: the enterprise believes, the list narrows."""
    now = contoso.certificate.not_valid_before_utc + 10 * YEAR
    ca = Made(contoso.certificate, contoso.key)
    dates = {"not_before": now - YEAR, "not_after": now + YEAR}
    policy = (ours & LISTED) | Refuses()
    for name, code in [("sip.contoso.com", Code.ACCEPTED), ("pc.contoso.com", "server.not-listed")]:
        decision = judge(policy, show(make_leaf(ca, name, **dates), now=now))
        assert decision.code == code


# ---------------------------------------------------------------- parts that cannot be told


def test_an_error_that_cannot_be_told_is_a_refusal_all_the_same() -> None:
    class Mute(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise RuntimeError("no words")

    class Failing:
        def evaluate(self, evidence: Evidence, /) -> Decision:
            raise Mute

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no words")

    class Answering:
        def evaluate(self, evidence: Evidence, /) -> Decision:
            return Odd()  # type: ignore[return-value]

    evidence = Evidence([], "client", now=NOW)
    for policy, said in ((Failing(), "Mute"), (Answering(), "Odd")):
        decision = judge(policy, evidence)
        assert decision.code == Code.POLICY_ERROR
        assert said in decision.reason


@pytest.mark.parametrize("parts", [("x", "y"), (Enterprise, "y")])
def test_a_restriction_is_of_a_policy_by_a_condition(parts: Any) -> None:
    with pytest.raises(ConfigurationError):
        Restricted(*parts)


# ---------------------------------------------------------------- who vouches


def test_a_combination_tells_whom_it_asks_if_each_part_does(ours: Enterprise) -> None:
    assert authorities_of(ours | ours) == {ours.authority}
    assert authorities_of((ours | ours) & Holds()) == {ours.authority}
    assert authorities_of(Own()) is None
    assert authorities_of(ours | Own()) is None
    assert authorities_of(Own() & Holds()) is None


def test_what_is_no_policy_is_refused_with_what_to_pass() -> None:
    require_policy(Own())
    for nothing in (None, "contoso.com", [Own()]):
        with pytest.raises(ConfigurationError, match="pass an Enterprise, a Federation, or any"):
            require_policy(nothing)


def test_a_class_is_no_policy_and_no_condition(ours: Enterprise) -> None:
    """It has the method as well; who forgot the brackets is told so."""
    builds: list[Callable[[], object]] = [
        lambda: ours & OwnCondition,  # type: ignore[operator]
        lambda: ours | Own,  # type: ignore[operator]
        lambda: Restricted(Own, Holds()),  # type: ignore[arg-type]
        lambda: AllOf([OwnCondition]),  # type: ignore[list-item]
        lambda: require_policy(Own),
    ]
    for build in builds:
        with pytest.raises(ConfigurationError, match="is a class: write Own"):
            build()


def test_a_restriction_is_built_of_what_it_says(ours: Enterprise) -> None:
    with pytest.raises(ConfigurationError, match="is no condition: it has no check"):
        Restricted(ours, ours)  # type: ignore[arg-type]


@given(policies, policies, conditions, evidences)
def test_a_combination_of_any_kind_believes_no_more_than_its_policies(
    a: TrustPolicy, b: TrustPolicy, condition: Condition, evidence: Evidence
) -> None:
    """The operators themselves: ``a | b`` is the union, ``(a | b) & c`` never more than it."""
    union = believed(judge(a, evidence)) | believed(judge(b, evidence))
    either = AnyOf([a]) | b
    assert believed(judge(either, evidence)) == union
    assert believed(judge(either & condition, evidence)) in (union, frozenset())
    assert believed(judge(AnyOf([a]) & condition | b, evidence)) <= union


@given(refusing, evidences)
def test_a_part_that_fails_believes_nobody(policy: TrustPolicy, evidence: Evidence) -> None:
    """It refuses with a code, alone and as a part; nothing is raised."""
    for one in (policy, AnyOf([policy, policy]), Restricted(policy, Holds())):
        decision = judge(one, evidence)
        assert not decision
        assert decision.code != Code.ACCEPTED
        assert decision.reason or isinstance(policy, Refuses)


@given(st.lists(policies, min_size=1, max_size=3), st.lists(policies, min_size=1, max_size=3))
def test_the_reason_does_not_depend_on_the_grouping(
    first: list[TrustPolicy], second: list[TrustPolicy]
) -> None:
    """Not even where a condition stands in between, so that nothing can be made flat."""
    inner = Restricted(AnyOf(first), Holds())
    grouped, flat = AnyOf([inner, *second]), AnyOf([*first, *second])
    for evidence in (EVIDENCE, expecting("a.example")):
        one, other = grouped.evaluate(evidence), flat.evaluate(evidence)
        assert (one.code, believed(one)) == (other.code, believed(other))


def test_what_concerned_nobody_concerns_no_combination(
    contoso: CertificateAuthority, stranger: CertificateAuthority
) -> None:
    """That two CAs of ours do not know a stranger says less than that he is no partner."""
    made = Made(stranger.certificate, stranger.key)
    now = stranger.certificate.not_valid_before_utc + YEAR
    dates = {"not_before": now - YEAR, "not_after": now + YEAR}
    leaf = make_leaf(made, "sip:x.example", **dates)
    ours = [Enterprise([name], contoso.authority()) for name in ("contoso.com", "contoso.net")]
    either = Restricted(AnyOf(ours), Holds())
    assert not judge(either, show(leaf, now=now)).concerned
    combined = AnyOf([either, Refuses(Code.PARTNER_UNKNOWN)])
    assert judge(combined, show(leaf, now=now)).code == Code.PARTNER_UNKNOWN
    # The twin: if the name is ours, it is told that our CA does not know him.
    claim = show(make_leaf(made, "sip:contoso.com", **dates), now=now)
    assert judge(combined, claim).code == Code.PATH_UNKNOWN_CA


def test_a_name_that_is_believed_twice_is_told_once() -> None:
    """As a certificate has it: in a URI, and in a dNSName."""
    twice = [BelievedName("a.example"), BelievedName("a.example", NameKind.DNS, host=True)]
    policy = Returns(Decision.accept(Peer(twice, (), NOW), "believed"))
    assert judge(policy, expecting("b.example")).fault == Fault(
        Code.NAME_MISMATCH, "the peer", "has proven a.example to Returns", "b.example", "Returns"
    )
    assert AnyOf([policy]).evaluate(EVIDENCE).reason == "believed: a.example"


def test_who_is_known_by_an_address_is_told_by_it() -> None:
    """In the reason of a union, and to whom has asked for another name."""
    address = BelievedName("192.0.2.1", NameKind.IP, domain=False)
    policy = Returns(Decision.accept(Peer([address], (), NOW), "believed"))
    expected = ReferenceIdentity.for_address("192.0.2.1")
    decision = judge(AnyOf([policy]), Evidence((), "server", now=NOW, reference=expected))
    assert decision.reason == "believed: 192.0.2.1"
    assert "has proven 192.0.2.1 to" in judge(policy, expecting("b.example")).reason


@pytest.mark.parametrize(("level", "traced"), [(logging.DEBUG, True), (logging.INFO, False)])
def test_the_traceback_is_for_who_looks_for_a_fault(
    caplog: pytest.LogCaptureFixture, level: int, traced: bool
) -> None:
    """It repeats the error's words as they are, and a peer may have written them."""
    caplog.set_level(level, logger="siptls")
    judge(Raises(lambda: ValueError("forged\nline")), EVIDENCE)
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert bool(record.exc_info) is traced
    assert ("forged\nline" in caplog.text) is traced


def test_the_words_of_an_error_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="siptls")
    decision = judge(Raises(lambda: ValueError("x" * 100_000)), EVIDENCE)
    assert len(decision.reason) < 1000
    assert len(caplog.records[0].getMessage()) < 1000


async def decide(*_: Any) -> Decision:
    """Accept, if anybody awaits it."""
    return Believes({"a.example"}).evaluate(EVIDENCE)


@pytest.mark.parametrize("domain", [None, "a.example"])
def test_an_answer_that_must_be_awaited_is_a_refusal(domain: str | None) -> None:
    """A policy does no I/O. The coroutine is closed: no warning that nobody awaited it."""
    evidence = EVIDENCE if domain is None else expecting(domain)
    for make in (
        Returns,
        lambda answer: AnyOf([Returns(answer), Refuses()]),
        lambda answer: Restricted(Believes({"a.example"}), ConditionReturns(answer)),
    ):
        answer = decide()
        decision = judge(make(answer), evidence)
        assert decision.code == Code.POLICY_ERROR
        assert decision.reason.endswith("returned a coroutine; expected a Decision")
        assert inspect.getcoroutinestate(answer) == inspect.CORO_CLOSED


@pytest.mark.parametrize("other", [LISTED, OwnCondition(), Holds()])
def test_a_policy_or_a_condition_is_a_type_error(ours: Enterprise, other: Any) -> None:
    """The condition alone would believe nobody, or everybody: what is to be written is told."""
    for policy in (ours, Own(), ours | Own(), ours & LISTED):
        with pytest.raises(TypeError, match=r"a condition believes nobody .* policy & condition$"):
            policy | other
        with pytest.raises(TypeError, match="unsupported operand"):
            other | policy


@pytest.mark.parametrize("other", [Own(), Believes({"a.example"}), AnyOf([Own()])])
def test_a_policy_and_a_policy_is_a_type_error(ours: Enterprise, other: Any) -> None:
    """The intersection of two policies is not defined, on purpose."""
    with pytest.raises(
        TypeError, match=r"& narrows a policy by a condition.*write policy \| policy"
    ):
        ours & other


@pytest.mark.parametrize("other", [None, True])
def test_a_policy_and_anything_else_is_a_type_error(ours: Enterprise, other: Any) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        ours & other


def test_what_is_policy_and_condition_stands_on_either_side(ours: Enterprise) -> None:
    """Such as `Pinned`: beside a policy it is one, behind ``&`` it narrows."""

    class Both(Combinable):
        evaluate = Own.evaluate
        check = OwnCondition.check

    both: Any = Both()
    assert (ours | both).parts == (ours, both)
    assert (ours & both) == Restricted(ours, both)
    assert (LISTED & both).parts == (LISTED, both)


def test_a_combination_tells_whom_it_asks(
    ours: Enterprise, contoso: CertificateAuthority, fabrikam: CertificateAuthority
) -> None:
    """Nothing is told where one part does not tell: half a list would look like all of it."""
    partner = Partner(["fabrikam.com"], fabrikam.authority())
    both = {contoso.authority(), fabrikam.authority()}
    assert authorities_of(ours | partner) == both
    assert authorities_of((ours | partner) & LISTED) == both
    assert authorities_of(ours | Own()) is None
    assert authorities_of(Own() & LISTED) is None
    told = SimpleNamespace(evaluate=Own().evaluate, authorities=iter([contoso.authority()]))
    assert authorities_of(told) == {contoso.authority()}


def test_a_policy_is_asked_for_by_its_method() -> None:
    for policy in (Own(), Believes({"a.example"}), AnyOf([Own()])):
        require_policy(policy)


@pytest.mark.parametrize("value", [None, LISTED, "contoso.com", True])
def test_what_is_no_policy_is_refused_as_one(value: object) -> None:
    with pytest.raises(ConfigurationError, match="a TrustPolicy is needed") as refused:
        require_policy(value)
    assert f"not {kind_of(value)}:" in str(refused.value)


# ---------------------------------------------------------------- rights that conditions give

domains_of_rights = st.frozensets(st.sampled_from([*DOMAINS, "*"]), max_size=2)
rights = st.fixed_dictionaries(
    {
        "trusted_server": st.booleans(),
        "relays": domains_of_rights,
        "blocked": st.frozensets(st.sampled_from(DOMAINS), max_size=2),
        "limits": st.none() | st.builds(TrafficLimits, messages_per_second=st.integers(1, 9)),
        "enterprise": st.frozensets(st.sampled_from(DOMAINS), max_size=2),
    }
)


@frozen
class Gives:
    """A condition that makes another peer of the one it was given."""

    names: frozenset[str]
    trust: Trust
    rights: dict[str, Any]

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        names = [BelievedName(name, trust=self.trust) for name in sorted(self.names)]
        users = [f"eve@{name}" for name in self.names]
        return Decision.accept(Peer(names, (), NOW + 9 * YEAR, users, **self.rights), "so be it")


giving = st.builds(
    Gives, st.frozensets(st.sampled_from(DOMAINS), min_size=1), st.sampled_from(Trust), rights
)


@given(believing, rights, st.lists(giving, min_size=1, max_size=3), st.booleans(), evidences)
def test_a_condition_that_makes_another_peer_adds_no_name(
    policy: Believes,
    before: dict[str, Any],
    parts: list[Gives],
    together: bool,
    evidence: Evidence,
) -> None:
    """One after the other, or as one: who it is, on what ground, and until when, is the policy's.

    And what was blocked before, or by any of them, is blocked.
    """
    alone = judge(policy, evidence)
    first = Gives(frozenset({"a.example"}), Trust.PUBLIC, before)
    conditions: list[Condition] = [AllOf([first, *parts])] if together else [first, *parts]
    restricted: TrustPolicy = policy
    for condition in conditions:
        restricted = Restricted(restricted, condition)
    decision = judge(restricted, evidence)
    assert decision.accepted is alone.accepted
    if decision.peer is None or alone.peer is None:
        return
    peer = decision.peer
    kept = ("names", "trust", "chain", "expires", "users", "enterprise")
    assert all(getattr(peer, name) == getattr(alone.peer, name) for name in kept)
    given_rights = [before, *(part.rights for part in parts)]
    assert peer.blocked == frozenset().union(*(one["blocked"] for one in given_rights))
    assert (peer.trusted_server, peer.relays) == (
        parts[-1].rights["trusted_server"],
        parts[-1].rights["relays"],
    )
    limits = [one["limits"] for one in given_rights if one["limits"] is not None]
    assert peer.limits == (limits[-1] if limits else None)


def test_the_rights_of_a_condition_are_given_if_every_one_holds() -> None:
    """What one gives, the next one sees; and who is refused has none."""
    seen: list[Peer] = []

    class Looks:
        def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
            seen.append(peer)
            return Decision.accept(peer, "seen")

    gives = Gives(frozenset({"x.example"}), Trust.ENTERPRISE, {"trusted_server": True})
    policy = Believes({"a.example"})
    for condition in (AllOf([gives, Looks()]), AllOf([gives, Looks(), Fails()])):
        decision = Restricted(policy, condition).evaluate(EVIDENCE)
        assert decision.accepted is (len(condition.parts) == 2)
    assert [(peer.trusted_server, peer.domains) for peer in seen] == [(True, {"a.example"})] * 2
    peer = Restricted(Restricted(policy, gives), Looks()).evaluate(EVIDENCE).peer
    assert peer is not None
    assert peer.trusted_server


# ---------------------------------------------------------------- what else decisions depend on


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Contoso CA")


def contoso(root: Made, **more: Any) -> Authority:
    """Give an authority of a root."""
    return Authority("Contoso CA", [root.certificate], **more)


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


def test_acceptances_are_remembered_where_nobody_asks_for_revocation(root: Made) -> None:
    still = contoso(root)
    off = contoso(root, revocation=Revocation(mode="off"))
    asking = contoso(root, revocation=Revocation(mode="soft"))
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
        assert remembered_under(make(still)) == remembered_under(make(off)) is not None
        assert remembered_under(make(asking)) is None


def test_a_partner_of_ones_own_is_asked_each_time_what_it_is_remembered_under(root: Made) -> None:
    class Learning(Partner):
        """It says the same as a `Partner` at first."""

        known = ()

        @property
        def remembered_under(self) -> Any:
            return Learning.known

    federation = Federation([Learning(["contoso.com"], contoso(root))])
    before = remembered_under(federation)
    Learning.known = (1,)  # type: ignore[assignment]  # it has learned something
    assert remembered_under(federation) != before


def test_what_fails_to_say_so_is_not_remembered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="siptls")

    class Broken(Enterprise):
        """Its database is gone."""

        @property
        def remembered_under(self) -> Any:
            raise OSError("gone")

    broken = Broken(["contoso.com"], contoso(make_ca("Contoso CA")))
    assert remembered_under(broken) is None
    assert "remembered_under of Broken is of no use: OSError: gone" in caplog.text


@pytest.mark.parametrize("value", [lambda: 1, [1], True, False, ([],)])
def test_what_cannot_tell_two_states_apart_is_remembered_under_nothing(
    value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A method looks like an attribute, and is equal to itself for ever."""
    caplog.set_level(logging.ERROR, logger="siptls")

    class Mine(Asks):
        remembered_under = property(lambda _: value)

    assert remembered_under(Mine()) is None
    assert "remembered_under of Mine is of no use: TypeError" in caplog.text


def test_conditions_and_pins_never_change() -> None:
    pinned = Pinned({"contoso.com": ["sha256:" + "0" * 64]})
    for part in (Blocked(["evil.example"]), TrustedServers(["home.contoso.com"]), pinned):
        assert remembered_under(part) == ()
    with pytest.raises(TypeError):
        pinned.pins["contoso.com"] = frozenset()  # type: ignore[index]  # it must not change
    servers = TrustedServers(["home.contoso.com"], relays={"home.contoso.com": ["a.example"]})
    with pytest.raises(TypeError):
        servers.relays["home.contoso.com"] = frozenset()  # type: ignore[index]  # nor may this


def test_who_does_not_say_so_speaks_for_the_whole(root: Made) -> None:
    still = Enterprise(["contoso.com"], contoso(root))
    listed = TrustedServers(["home.contoso.com"])
    assert remembered_under(Asks()) is None
    assert remembered_under(AllOf([listed, Asks()])) is None
    assert remembered_under(Restricted(still, Asks())) is None
    assert remembered_under(AnyOf([still, Shadow(still, still)])) is None
    assert remembered_under(AllOf([listed, listed])) is not None
    assert all_remembered_under([still, object()]) is None


def test_who_decides_by_himself_does_not_inherit_it(root: Made) -> None:
    noted = Noted(["contoso.com"], contoso(root))
    assert remembered_under(noted) is None

    class Plain(Enterprise):
        """Adds nothing that decides."""

    assert remembered_under(Plain(["contoso.com"], contoso(root))) == ()
