"""Judged: what a peer has shown, and what a policy has made of it, piece by piece.

The decision is the policy's. What stands here is taken from it, or is asked of the same rules.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from siptls.cli.facts import Facts, days_until
from siptls.trust.decision import Decision
from siptls.trust.evidence import Evidence
from siptls.trust.policy import TrustPolicy
from siptls.trust.rules import CountedName, NameRules
from siptls.trust.trustmap import TrustMap

__all__ = ["Judged", "NameRow", "rules_of"]


def rules_of(policy: TrustPolicy) -> tuple[NameRules, ...]:
    """Give the rules by which a policy counts names, each once.

    Returns:
        Those of the parties of its trust map, ours first; `NameRules.RFC5922` alone if none can be
        read off it.
    """
    parties = TrustMap.of(policy).parties
    return tuple(dict.fromkeys(party.rules for party in parties)) or (NameRules.RFC5922,)


@frozen
class NameRow:
    """One presented name under some rules.

    Attributes:
        counted: What the rules make of it, and why.
        rules: The names of the rules that say so.
        believed: Whether the policy believes it of this peer.
    """

    counted: CountedName
    rules: tuple[str, ...]
    believed: bool

    @property
    def counts_as(self) -> str:
        """``"domain"``, ``"host"`` or ``"address"``; empty if it does not count."""
        if self.counted.domain:
            return "domain"
        if self.counted.host:
            return "host"
        return "address" if self.counted.address else ""

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {
            "presented": str(self.counted.presented),
            "kind": str(self.counted.presented.kind),
            "counts_as": self.counts_as or None,
            "name": self.counted.name or None,
            "why": self.counted.why,
            "rules": list(self.rules),
            "believed": self.believed,
        }


@frozen
class Judged:
    """What was shown, and the decision about it.

    Attributes:
        decision: The policy's.
        evidence: What was shown; None if nothing was.
        rules: Those by which the policy counts names.
    """

    decision: Decision
    evidence: Evidence | None
    rules: tuple[NameRules, ...]

    @classmethod
    def by(cls, policy: TrustPolicy, decision: Decision, evidence: Evidence | None) -> Judged:
        """Give what a policy has decided about what was shown."""
        shown = decision.evidence if evidence is None else evidence
        return cls(decision, shown, rules_of(policy))

    @property
    def chain(self) -> tuple[Facts, ...]:
        """The certificates as presented."""
        if self.evidence is None:
            return ()
        return tuple(Facts(one, self.evidence.now) for one in self.evidence.chain)

    @property
    def anchor(self) -> Facts | None:
        """The trust anchor, if the policy has found a path to one that was not sent."""
        peer = self.decision.peer
        if peer is None or self.evidence is None or not peer.chain:
            return None
        last = peer.chain[-1]
        return None if last in self.evidence.chain else Facts(last, self.evidence.now)

    @property
    def names(self) -> tuple[NameRow, ...]:
        """Every presented name, and what the rules make of it; none if they cannot be decoded."""
        evidence = self.evidence
        if evidence is None or evidence.fault is not None:
            return ()
        by: dict[CountedName, list[str]] = {}
        for rules in self.rules:
            for counted in rules.count(evidence.presented, evidence.reference):
                by.setdefault(counted, []).append(rules.name)
        peer = self.decision.peer
        believed = frozenset() if peer is None else {name.name for name in peer.names}
        return tuple(
            NameRow(counted, tuple(said), counted.name in believed) for counted, said in by.items()
        )

    @property
    def days(self) -> int | None:
        """Whole days until the trust ends, or, of who is refused, until his certificate does."""
        if self.evidence is None or self.evidence.leaf is None:
            return None
        peer = self.decision.peer
        if peer is None:
            return Facts(self.evidence.leaf, self.evidence.now).days
        return days_until(peer.expires, self.evidence.now)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data; see ``docs/reference/check-schema.md``."""
        return {
            "days": self.days,
            "chain": [one.to_dict() for one in self.chain],
            "anchor": None if self.anchor is None else self.anchor.to_dict(),
            "names": [row.to_dict() for row in self.names],
            "decision": self.decision.to_dict(),
        }
