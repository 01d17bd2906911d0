"""TrustPolicy and Condition: what a policy is, and how policies combine.

Policies combine like sets. ``a | b`` believes what either believes. ``policy & condition``
believes what the policy believes, if the condition holds. Every part is evaluated, so that the
explanation is whole; a part that raises has refused.

Combinations are flat: ``(a | b) | c`` and ``a | (b | c)`` are the same `AnyOf`. ``and``, ``or`` and
``not`` raise TypeError, since Python would throw one of the policies away.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NoReturn, Protocol, runtime_checkable

from attrs import field, frozen

from siptls.errors import ConfigurationError
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer, most_telling
from siptls.trust.evidence import Evidence
from siptls.trust.names import listed

__all__ = [
    "AllOf",
    "AnyOf",
    "Combinable",
    "CombinableCondition",
    "Condition",
    "Restricted",
    "TrustPolicy",
    "judge",
]

_log = logging.getLogger("siptls")


@runtime_checkable
class TrustPolicy(Protocol):
    """Decides whom to believe: any object with this method is a policy."""

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide about a peer from the evidence alone: no clock, no network, no files."""
        ...


@runtime_checkable
class Condition(Protocol):
    """Narrows a policy: any object with this method is a condition."""

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        """Decide whether a peer that a policy believes may pass this condition, too."""
        ...


# ---------------------------------------------------------------- judging


def judge(policy: TrustPolicy, evidence: Evidence) -> Decision:
    """Ask a policy, and let nothing but a sound acceptance through.

    This is what the TLS engine calls. An exception, an answer that is no `Decision`, or an
    acceptance that does not believe the expected name, is a refusal.
    """
    by = type(policy).__name__
    try:
        decision = policy.evaluate(evidence)
    except Exception as error:  # noqa: BLE001  whatever it is, it is a refusal
        _log.exception("policy %s failed, so the peer is refused", by)
        return _raised(by, error, evidence)
    if not isinstance(decision, Decision):
        return _no_decision(by, decision, evidence)
    expected = evidence.reference
    if decision.peer is not None and expected is not None and not decision.peer.proves(expected):
        reason = f"expected {expected}, which is not among the names that {by} believes"
        return Decision.refuse(
            Code.NAME_MISMATCH, reason, by=by, parts=[decision], evidence=evidence
        )
    return decision


def _check(condition: Condition, peer: Peer, evidence: Evidence) -> Decision:
    by = type(condition).__name__
    try:
        decision = condition.check(peer, evidence)
    except Exception as error:  # noqa: BLE001  whatever it is, it is a refusal
        _log.exception("condition %s failed, so the peer is refused", by)
        return _raised(by, error, evidence)
    if not isinstance(decision, Decision):
        return _no_decision(by, decision, evidence)
    return decision


def _raised(by: str, error: Exception, evidence: Evidence) -> Decision:
    try:
        words = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  an error that cannot even be told
        words = type(error).__name__
    reason = f"it raised {words}"
    return Decision.refuse(Code.POLICY_ERROR, reason, by=by, evidence=evidence)


def _no_decision(by: str, answer: object, evidence: Evidence) -> Decision:
    reason = f"it returned a {type(answer).__name__}, which is no Decision"
    return Decision.refuse(Code.POLICY_ERROR, reason, by=by, evidence=evidence)


# ---------------------------------------------------------------- combining


class _NoTruth:
    """A policy has no truth value: ``a or b`` would silently drop ``b``."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a policy is neither true nor false: combine policies with | and conditions with &,"
            " not with 'or', 'and' or 'not'"
        )


class Combinable(_NoTruth):
    """Gives a policy ``|`` and ``&``.

    Inherit from it in a policy of your own, or do without: ``Enterprise(...) | yours`` works
    either way.
    """

    __slots__ = ()

    def __or__(self: TrustPolicy, other: TrustPolicy) -> AnyOf:
        if not isinstance(other, TrustPolicy):
            return NotImplemented
        return AnyOf((self, other))

    def __ror__(self: TrustPolicy, other: TrustPolicy) -> AnyOf:
        if not isinstance(other, TrustPolicy):
            return NotImplemented
        return AnyOf((other, self))

    def __and__(self: TrustPolicy, other: Condition) -> Restricted:
        if not isinstance(other, Condition):
            return NotImplemented
        return Restricted(self, other)


class CombinableCondition(_NoTruth):
    """Gives a condition ``&``; inherit from it in a condition of your own, or do without."""

    __slots__ = ()

    def __and__(self: Condition, other: Condition) -> AllOf:
        if not isinstance(other, Condition):
            return NotImplemented
        return AllOf((self, other))

    def __rand__(self: Condition, other: TrustPolicy | Condition) -> AllOf | Restricted:
        if isinstance(other, TrustPolicy):
            return Restricted(other, self)
        if isinstance(other, Condition):
            return AllOf((other, self))
        return NotImplemented


def _flat_policies(parts: Iterable[TrustPolicy]) -> tuple[TrustPolicy, ...]:
    return tuple(
        flat for part in parts for flat in (part.parts if isinstance(part, AnyOf) else (part,))
    )


def _flat_conditions(parts: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(
        flat for part in parts for flat in (part.parts if isinstance(part, AllOf) else (part,))
    )


@frozen
class AnyOf(Combinable):
    """Believes what any of its parts believes: ``a | b``.

    Attributes:
        parts: At least one policy.
    """

    parts: tuple[TrustPolicy, ...] = field(converter=_flat_policies)

    @parts.validator
    def _are_policies(self, _: object, parts: tuple[TrustPolicy, ...]) -> None:
        if not parts:
            raise ConfigurationError("AnyOf of nothing could believe nobody: give it a policy")
        for part in parts:
            if not isinstance(part, TrustPolicy):
                raise ConfigurationError(f"{part!r} is no policy: it has no evaluate(...)")

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Evaluate every part; the union of what they believe, or the most telling refusal."""
        decisions = [judge(part, evidence) for part in self.parts]
        peers = [decision.peer for decision in decisions if decision.peer is not None]
        if not peers:
            telling = most_telling(decisions)
            return Decision.refuse(
                telling.code, telling.reason, by="any of", parts=decisions, evidence=evidence
            )
        union = peers[0]
        for peer in peers[1:]:
            union = union | peer
        names = listed(sorted(union.domains | union.hosts))
        return Decision.accept(
            union, f"believed: {names}", by="any of", parts=decisions, evidence=evidence
        )


@frozen
class AllOf(CombinableCondition):
    """Holds if every one of its parts holds: ``condition & condition``.

    Attributes:
        parts: At least one condition.
    """

    parts: tuple[Condition, ...] = field(converter=_flat_conditions)

    @parts.validator
    def _are_conditions(self, _: object, parts: tuple[Condition, ...]) -> None:
        if not parts:
            raise ConfigurationError(
                "AllOf of nothing would let everyone pass: give it a condition"
            )
        for part in parts:
            if not isinstance(part, Condition):
                raise ConfigurationError(
                    f"{part!r} is no condition: it has no check(peer, evidence)"
                )

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        """Check every part; accepted if all accept, else the most telling refusal."""
        decisions = [_check(part, peer, evidence) for part in self.parts]
        refusals = [decision for decision in decisions if not decision.accepted]
        if refusals:
            telling = most_telling(refusals)
            return Decision.refuse(
                telling.code, telling.reason, by="all of", parts=decisions, evidence=evidence
            )
        return Decision.accept(
            peer, "every condition holds", by="all of", parts=decisions, evidence=evidence
        )


@frozen
class Restricted(Combinable):
    """Believes what a policy believes, if a condition holds: ``policy & condition``.

    A condition can only refuse. It never adds a name: who is believed is the policy's answer.

    Attributes:
        policy: Who is believed at all.
        condition: What must hold besides.
    """

    policy: TrustPolicy = field()
    condition: Condition = field()

    @policy.validator
    def _is_policy(self, _: object, policy: TrustPolicy) -> None:
        if not isinstance(policy, TrustPolicy):
            raise ConfigurationError(f"{policy!r} is no policy: it has no evaluate(...)")

    @condition.validator
    def _is_condition(self, _: object, condition: Condition) -> None:
        if not isinstance(condition, Condition):
            raise ConfigurationError(f"{condition!r} is no condition: it has no check(...)")

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Evaluate the policy, then the condition on the peer that it believes."""
        decision = judge(self.policy, evidence)
        if decision.peer is None:
            return decision
        checked = _check(self.condition, decision.peer, evidence)
        parts = [decision, checked]
        if not checked.accepted:
            return Decision.refuse(
                checked.code, checked.reason, by="restricted", parts=parts, evidence=evidence
            )
        return Decision.accept(
            decision.peer, decision.reason, by="restricted", parts=parts, evidence=evidence
        )
