"""Comparison: where two policies decide otherwise about the same peers, and how.

What matters is what a peer or an application would notice: who is accepted, which names are
believed, on what ground, and with which code a refusal is told. When a trust ends, which path was
proven, and what the authority is called are no differences.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from typing import Any

from attrs import evolve, field, frozen

from siptls.arguments import check_list, kind_of
from siptls.errors import ConfigurationError
from siptls.trust.decision import Decision
from siptls.trust.evidence import Evidence
from siptls.trust.names import listed, printable
from siptls.trust.plain import evidence_dict, shown_names
from siptls.trust.policy import TrustPolicy, judge, require_policy

__all__ = ["Comparison", "Difference", "DifferenceKind", "compare", "judge_apart"]

# Characters of a summary, and of one cell of the table: a peer has chosen its names.
_MAX_SUMMARY, _MAX_CELL = 1000, 60


class DifferenceKind(StrEnum):
    """What a candidate would change for a peer."""

    NONE = "none"
    WOULD_REFUSE = "would-refuse"
    WOULD_ACCEPT = "would-accept"
    OTHER_NAMES = "other-names"
    OTHER_TRUST = "other-trust"
    OTHER_REASON = "other-reason"


@frozen
class Difference:
    """What two policies decided about one peer. True if that differs.

    Attributes:
        evidence: What was judged.
        current: What the policy in force decided.
        candidate: What the other one would have decided.
    """

    evidence: Evidence
    current: Decision
    candidate: Decision

    def __bool__(self) -> bool:
        return self.kind is not DifferenceKind.NONE

    @cached_property
    def kind(self) -> DifferenceKind:
        """What would change."""
        if self.current.accepted is not self.candidate.accepted:
            accepted = self.candidate.accepted
            return DifferenceKind.WOULD_ACCEPT if accepted else DifferenceKind.WOULD_REFUSE
        if self.current.code != self.candidate.code:
            return DifferenceKind.OTHER_REASON
        if self.gained or self.lost:
            return DifferenceKind.OTHER_NAMES
        if _grounds(self.current) != _grounds(self.candidate):
            return DifferenceKind.OTHER_TRUST
        return DifferenceKind.NONE

    @property
    def gained(self) -> tuple[str, ...]:
        """What the candidate alone believes, such as ``"domain contoso.com"``; sorted."""
        return tuple(sorted(_proven(self.candidate) - _proven(self.current)))

    @property
    def lost(self) -> tuple[str, ...]:
        """What the candidate believes no longer; sorted."""
        return tuple(sorted(_proven(self.current) - _proven(self.candidate)))

    @property
    def summary(self) -> str:
        """One sentence: who, and what would change."""
        names = listed(shown_names(self.evidence)) or "no name"
        expected = self.evidence.reference
        meant = "" if expected is None else f", where {expected} is expected,"
        return printable(
            f"a {self.evidence.role} that presents {names}{meant} {self._change()}", _MAX_SUMMARY
        )

    def _change(self) -> str:
        now, then = self.current, self.candidate
        match self.kind:
            case DifferenceKind.WOULD_REFUSE:
                return f"is accepted now, and would be refused: {then.code}: {then.reason}"
            case DifferenceKind.WOULD_ACCEPT:
                believed = listed(self.gained)
                return f"is refused now ({now.code}), and would be accepted as {believed}"
            case DifferenceKind.OTHER_NAMES:
                changes = (("gain", self.gained), ("lose", self.lost))
                told = [f"{verb} {listed(names)}" for verb, names in changes if names]
                return f"would {' and '.join(told)}"
            case DifferenceKind.OTHER_TRUST:
                grounds = [listed(sorted(_grounds(decision))) for decision in (now, then)]
                return f"is believed as {grounds[0]} now, and would be as {grounds[1]}"
            case DifferenceKind.OTHER_REASON:
                return f"is refused now ({now.code}), and would be for another reason: {then.code}"
            case _:
                return f"is decided alike: {now.code}"

    def explain(self) -> str:
        """Tell an operator, in a few lines of text, what would change, and both reasonings."""
        lines = [f"{self.kind}: {self.summary}"]
        if self.gained:
            lines.append(f"  gained     {printable(listed(self.gained), _MAX_SUMMARY)}")
        if self.lost:
            lines.append(f"  lost       {printable(listed(self.lost), _MAX_SUMMARY)}")
        for label, decision in (("current", self.current), ("candidate", self.candidate)):
            lines += [f"  {label}", *(f"    {line}" for line in decision.explain().splitlines())]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give the difference as plain data: str, int, bool, None, list and dict only.

        The form is stable, and documented in ``docs/reference/difference-schema.md``.
        """
        return {
            "kind": str(self.kind),
            "summary": self.summary,
            "gained": list(self.gained),
            "lost": list(self.lost),
            "evidence": evidence_dict(self.evidence),
            "current": self.current.to_dict(),
            "candidate": self.candidate.to_dict(),
        }

    def _row(self) -> tuple[str, ...]:
        names = listed(shown_names(self.evidence), 3) or "no name"
        expected = self.evidence.reference
        peer = f"{self.evidence.role} {names}" + ("" if expected is None else f" as {expected}")
        cells = [
            peer,
            self.current.code,
            self.candidate.code,
            str(self.kind) if self else "",
            listed(self.gained, 3),
            listed(self.lost, 3),
        ]
        return tuple(printable(cell, _MAX_CELL) for cell in cells)


def _proven(decision: Decision) -> frozenset[str]:
    """What an application may rely on, by what it is: a host's name proves no domain."""
    peer = decision.peer
    if peer is None:
        return frozenset()
    kinds = (
        ("domain", peer.domains),
        ("host", peer.hosts),
        ("address", peer.addresses),
        ("user", peer.users),
    )
    return frozenset(f"{kind} {name}" for kind, names in kinds for name in names)


def _grounds(decision: Decision) -> frozenset[str]:
    names = () if decision.peer is None else decision.peer.names
    return frozenset(f"{name.trust} {name.name}" for name in names)


def _as_rows(value: Iterable[Difference]) -> tuple[Difference, ...]:
    check_list("the rows of a Comparison", value)
    return tuple(value)


_HEAD = ("peer", "current", "candidate", "change", "gained", "lost")


@frozen
class Comparison:
    """What two policies decided about each of several peers. True if they differ about any.

    ``str()`` gives a table.

    Attributes:
        rows: One for each evidence, in order; those without a difference, too.
    """

    rows: tuple[Difference, ...] = field(converter=_as_rows)

    def __bool__(self) -> bool:
        return bool(self.differences)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The rows that differ."""
        return tuple(row for row in self.rows if row)

    def __str__(self) -> str:
        table = [_HEAD, *(row._row() for row in self.rows)]  # noqa: SLF001  its own rows
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [f"{len(self.differences)} of {len(self.rows)} would be decided otherwise"]
        for cells in table:
            padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give all rows as plain data, each as `Difference.to_dict` does."""
        return {
            "differences": len(self.differences),
            "rows": [row.to_dict() for row in self.rows],
        }


def judge_apart(policy: TrustPolicy, evidence: Evidence) -> Decision:
    """Ask a policy as if nobody else had been asked.

    The searches that one handshake may cost are counted in the evidence. If two policies shared
    it, what one of them has used up would be a refusal of the other.
    """
    return judge(policy, evolve(evidence))  # the same value, with nothing concluded from it


def compare(
    policy_a: TrustPolicy, policy_b: TrustPolicy, evidences: Iterable[Evidence]
) -> Comparison:
    """Ask two policies about the same peers.

    Args:
        policy_a: The policy in force: ``current`` in what comes out.
        policy_b: The policy that is to replace it: ``candidate``.
        evidences: What the peers showed: ``connection.decision.evidence`` is what one of them did,
            and `siptls.testing.evidence` makes it from certificates.

    Raises:
        ConfigurationError: One of the policies is none, or one of the evidences, or there is no
            evidence at all.
    """
    require_policy(policy_a)
    require_policy(policy_b)
    check_list("the evidences to compare policies by", evidences)
    asked: tuple[Any, ...] = tuple(evidences)  # whatever was passed
    faults = [
        f"number {number} is {kind_of(one)}"
        for number, one in enumerate(asked, start=1)
        if not isinstance(one, Evidence)
    ]
    if faults:
        raise ConfigurationError(
            f"policies are compared by Evidence, and {listed(faults)}: siptls.testing.evidence"
            " makes it from a credential or from certificates"
        )
    if not asked:
        raise ConfigurationError("policies never differ about nobody: give some evidence")
    return Comparison(
        Difference(one, judge_apart(policy_a, one), judge_apart(policy_b, one)) for one in asked
    )
