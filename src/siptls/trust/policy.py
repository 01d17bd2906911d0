"""TrustPolicy and Condition: what a policy is, and how policies combine.

Policies combine like sets. ``a | b`` believes what either believes. ``policy & condition``
believes what the policy believes, if the condition holds. Every part is evaluated, so that the
explanation is whole; a part that raises has refused.

Combinations are flat: ``(a | b) | c`` and ``a | (b | c)`` are the same `AnyOf`. ``and``, ``or`` and
``not`` raise TypeError, since Python would throw one of the policies away.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Hashable, Iterable
from typing import NoReturn, Protocol, overload, runtime_checkable

from attrs import evolve, field, frozen

from siptls.arguments import check_list, kind_of
from siptls.errors import ConfigurationError
from siptls.journal import about
from siptls.journal import log as _log
from siptls.trust.authority import Authority
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer, most_telling
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault
from siptls.trust.names import listed, printable

__all__ = [
    "AllOf",
    "AnyOf",
    "Combinable",
    "CombinableCondition",
    "Condition",
    "Restricted",
    "TrustPolicy",
    "all_remembered_under",
    "authorities_of",
    "judge",
    "log_failure",
    "no_decision",
    "raised",
    "remembered_under",
    "require_policy",
]


_DECIDING = frozenset({"evaluate", "check", "verify"})


@runtime_checkable
class TrustPolicy(Protocol):
    """Decides whom to believe: any object with this method is a policy.

    It may have two attributes besides. ``authorities`` are those that it asks, which
    `PolicySSLContext.server` needs. ``remembered_under`` is a hashable that is another one as soon
    as the same evidence might be judged otherwise; transports remember acceptances under it, and
    those of a policy without it never.
    """

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide about a peer from the evidence alone: no clock, no network, no files."""
        ...


@runtime_checkable
class Condition(Protocol):
    """Narrows a policy: any object with this method is a condition."""

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        """Decide whether a peer that a policy believes may pass this condition, too."""
        ...


def authorities_of(policy: TrustPolicy) -> frozenset[Authority] | None:
    """Give the authorities that a policy asks; None if it does not tell.

    The policies of siptls have an attribute ``authorities``; one of yours may have it, too. It is
    needed only where OpenSSL must know the anchors beforehand: in `PolicySSLContext.server`.
    """
    known = getattr(policy, "authorities", None)
    return None if known is None else frozenset(known)


def remembered_under(part: object) -> Hashable | None:
    """Say under what, beside the evidence, decisions of a policy may be remembered; None: never.

    It is what a policy, a condition or an authority has as ``remembered_under``: a hashable that is
    another one as soon as the same evidence might be judged otherwise; ``()`` if that never
    happens before `Peer.expires`. Those of siptls have it; one of yours may have it, too, which
    saves it work. A class that inherits it and decides by a method of its own has none, until it
    says so itself.
    """
    for kind in type(part).__mro__:
        if "remembered_under" in vars(kind):
            try:
                return _as_key(part.remembered_under)  # type: ignore[attr-defined]  # as was seen
            except Exception as error:  # noqa: BLE001  it may refuse by itself
                log_failure(f"remembered_under of {kind.__name__} is of no use", error)
                return None
        if not _DECIDING.isdisjoint(vars(kind)):
            break
    return None


def _as_key(value: object) -> Hashable | None:
    """Take what decisions are remembered under. What cannot tell two states apart is none."""
    if callable(value):
        raise TypeError("it is a method: make it a property")
    if isinstance(value, bool):
        raise TypeError("it is no yes or no: None is never, and () is until Peer.expires")
    hash(value)  # what is not hashable may change in place
    return value


def all_remembered_under(parts: Iterable[object]) -> Hashable | None:
    """Say it of what is made of parts; None if it is None of one of them."""
    under = tuple(remembered_under(part) for part in parts)
    return None if None in under else under


def _no_class(value: object) -> None:
    """A class has the method as well; it is its instances that are meant."""
    if isinstance(value, type):
        raise ConfigurationError(f"{value.__name__} is a class: write {value.__name__}(...)")


def require_policy(policy: object) -> None:
    """Check that a policy was passed.

    Raises:
        ConfigurationError: It is none.
    """
    _no_class(policy)
    if not isinstance(policy, TrustPolicy):
        raise ConfigurationError(
            f"a TrustPolicy is needed to judge the peer, not {kind_of(policy)}: pass an Enterprise,"
            " a Federation, or any object with evaluate(evidence)"
        )


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
        return raised("policy", by, error, evidence)
    if not isinstance(decision, Decision):
        return no_decision(by, decision, evidence)
    decision = decision if decision.by else evolve(decision, by=by)
    expected = evidence.reference
    if decision.peer is not None and expected is not None and not decision.peer.proves(expected):
        believed = listed(sorted({name.name for name in decision.peer.names}))
        found = f"has proven {believed} to {by}"
        fault = Fault(Code.NAME_MISMATCH, "the peer", found, str(expected), by)
        return Decision.refuse_for(fault, by=by, parts=[decision], evidence=evidence)
    return decision


def _check(condition: Condition, peer: Peer, evidence: Evidence) -> Decision:
    by = type(condition).__name__
    try:
        decision = condition.check(peer, evidence)
    except Exception as error:  # noqa: BLE001  whatever it is, it is a refusal
        return raised("condition", by, error, evidence)
    if not isinstance(decision, Decision):
        return no_decision(by, decision, evidence)
    return decision if decision.by else evolve(decision, by=by)


def _with_rights(peer: Peer, checked: Decision) -> Peer:
    """Give a peer with what a condition says that it may do."""
    return (
        peer if checked.peer is None or checked.peer is peer else peer.with_rights_of(checked.peer)
    )


def raised(kind: str, by: str, error: Exception, evidence: Evidence) -> Decision:
    """Give the refusal for what has raised instead of deciding."""
    words = log_failure(f"{kind} {by} failed, which counts as its refusal", error, evidence)
    fault = Fault(Code.POLICY_ERROR, by, f"raised {words}", "a Decision")
    return Decision.refuse_for(fault, by=by, evidence=evidence)


def log_failure(what: str, error: Exception, evidence: Evidence | None = None) -> str:
    """Log that code of somebody else has raised; give the error's words, fit for one line."""
    try:
        words = printable(f"{type(error).__name__}: {error}", 500)
    except Exception:  # noqa: BLE001  an error that cannot even be told
        words = type(error).__name__
    # The traceback repeats the error's text as it is, and a peer may have written it.
    trace = error if _log.isEnabledFor(logging.DEBUG) else None
    fields = about(
        "policy_failed",
        address=None if evidence is None else evidence.address,
        role=None if evidence is None else evidence.role,
        expected=None if evidence is None else evidence.reference,
        code=Code.POLICY_ERROR,
        error=error,
    )
    _log.error("%s: %s", what, words, exc_info=trace, extra=fields)
    return words


def no_decision(by: str, answer: object, evidence: Evidence) -> Decision:
    """Give the refusal for an answer that is no decision."""
    if isinstance(answer, Coroutine):
        answer.close()  # it was never awaited, and never will be: a policy does no I/O
    fault = Fault(Code.POLICY_ERROR, by, f"returned {kind_of(answer)}", "a Decision")
    return Decision.refuse_for(fault, by=by, evidence=evidence)


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
            _explain_or(other)
            return NotImplemented
        return AnyOf((self, other))

    def __ror__(self: TrustPolicy, other: TrustPolicy) -> AnyOf:
        if not isinstance(other, TrustPolicy):
            return NotImplemented
        return AnyOf((other, self))

    def __and__(self: TrustPolicy, other: Condition) -> Restricted:
        if not isinstance(other, Condition):
            if isinstance(other, TrustPolicy):
                raise TypeError(
                    "& narrows a policy by a condition, such as TrustedServers; to believe what"
                    " either of two policies believes, write policy | policy"
                )
            return NotImplemented
        return Restricted(self, other)


class CombinableCondition(_NoTruth):
    """Gives a condition ``&``; inherit from it in a condition of your own, or do without."""

    __slots__ = ()

    def __and__(self: Condition, other: Condition) -> AllOf:
        if not isinstance(other, Condition):
            if isinstance(other, TrustPolicy):
                raise TypeError("write the policy first: policy & condition")
            return NotImplemented
        return AllOf((self, other))

    @overload
    def __rand__(self: Condition, other: TrustPolicy) -> Restricted: ...

    @overload
    def __rand__(self: Condition, other: Condition) -> AllOf: ...

    def __rand__(self: Condition, other: TrustPolicy | Condition) -> AllOf | Restricted:
        if isinstance(other, TrustPolicy):
            return Restricted(other, self)
        if isinstance(other, Condition):
            return AllOf((other, self))
        return NotImplemented


def _explain_or(other: object) -> None:
    if isinstance(other, Condition):
        raise TypeError(
            "a condition believes nobody by itself, so that it cannot stand beside a policy:"
            " narrow a policy by it, with policy & condition"
        )


def _flat_policies(parts: Iterable[TrustPolicy]) -> tuple[TrustPolicy, ...]:
    check_list("the parts of AnyOf", parts)
    return tuple(
        flat for part in parts for flat in (part.parts if isinstance(part, AnyOf) else (part,))
    )


def _flat_conditions(parts: Iterable[Condition]) -> tuple[Condition, ...]:
    check_list("the parts of AllOf", parts)
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
            _no_class(part)
            if not isinstance(part, TrustPolicy):
                raise ConfigurationError(f"{kind_of(part)} is no policy: it has no evaluate(...)")

    @property
    def authorities(self) -> frozenset[Authority] | None:
        """Who vouches in any part; None if one of them does not tell."""
        known = [authorities_of(part) for part in self.parts]
        told = [authorities for authorities in known if authorities is not None]
        return frozenset().union(*told) if len(told) == len(known) else None

    @property
    def remembered_under(self) -> Hashable | None:
        """See the function of this name."""
        return all_remembered_under(self.parts)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Evaluate every part; the union of what they believe, or the most telling refusal."""
        decisions = [judge(part, evidence) for part in self.parts]
        peers = [decision.peer for decision in decisions if decision.peer is not None]
        if not peers:
            telling = most_telling(decisions)
            return telling.told_by("any of", parts=decisions, evidence=evidence)
        union = Peer.union(peers)
        names = listed(sorted({name.name for name in union.names}))
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
            _no_class(part)
            if not isinstance(part, Condition):
                raise ConfigurationError(
                    f"{kind_of(part)} is no condition: it has no check(peer, evidence)"
                )

    @property
    def remembered_under(self) -> Hashable | None:
        """See the function of this name."""
        return all_remembered_under(self.parts)

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        """Check every part; accepted if all accept, else the most telling refusal."""
        decisions = []
        for part in self.parts:
            decisions.append(_check(part, peer, evidence))
            peer = _with_rights(peer, decisions[-1])
        refusals = [decision for decision in decisions if not decision.accepted]
        if refusals:
            telling = most_telling(refusals)
            return telling.told_by("all of", parts=decisions, evidence=evidence)
        return Decision.accept(
            peer, "every condition holds", by="all of", parts=decisions, evidence=evidence
        )


@frozen
class Restricted(Combinable):
    """Believes what a policy believes, if a condition holds: ``policy & condition``.

    A condition never adds a name, or time: who is believed is the policy's answer. Of what it makes
    of the peer only the rights are taken: ``trusted_server``, ``relays``, ``blocked``, ``limits``.

    Attributes:
        policy: Who is believed at all.
        condition: What must hold besides.
    """

    policy: TrustPolicy = field()
    condition: Condition = field()

    @policy.validator
    def _is_policy(self, _: object, policy: TrustPolicy) -> None:
        _no_class(policy)
        if not isinstance(policy, TrustPolicy):
            raise ConfigurationError(f"{kind_of(policy)} is no policy: it has no evaluate(...)")

    @condition.validator
    def _is_condition(self, _: object, condition: Condition) -> None:
        _no_class(condition)
        if not isinstance(condition, Condition):
            raise ConfigurationError(f"{kind_of(condition)} is no condition: it has no check(...)")

    @property
    def authorities(self) -> frozenset[Authority] | None:
        """Who vouches; None if the policy does not tell."""
        return authorities_of(self.policy)

    @property
    def remembered_under(self) -> Hashable | None:
        """See the function of this name."""
        return all_remembered_under((self.policy, self.condition))

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Evaluate the policy, then the condition on the peer that it believes."""
        decision = judge(self.policy, evidence)
        if decision.peer is None:
            return decision
        checked = _check(self.condition, decision.peer, evidence)
        parts = [decision, checked]
        if not checked.accepted:
            return checked.told_by("restricted", parts=parts, evidence=evidence)
        peer = _with_rights(decision.peer, checked)
        return Decision.accept(
            peer, decision.reason, by="restricted", parts=parts, evidence=evidence
        )
