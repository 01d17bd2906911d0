"""Blocked: domains of which nobody is believed, whoever vouches."""

from __future__ import annotations

from collections.abc import Hashable

from attrs import evolve, field, frozen

from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault
from siptls.trust.names import listed, printable
from siptls.trust.policy import CombinableCondition
from siptls.trust.presented import written_hosts
from siptls.trust.scope import Scope, as_scope

__all__ = ["Blocked", "blocked_fault"]


def blocked_fault(blocked: Scope, evidence: Evidence, peer: Peer | None = None) -> Fault | None:
    """Say which of the names are blocked, expected and believed ones included; None if none is.

    A blocked domain counts in whatever form it is mentioned: as a user's, in a ``sips:`` URI, in a
    wildcard, as the name that we expect, or as one that a policy believes without it (`Pinned`).
    It need not be well-formed: ``x_y.evil.example`` is no domain, and still one of evil.example.
    """
    names = evidence.presented.mentioned | evidence.presented.written
    if evidence.reference is not None:
        names |= evidence.reference.names
    if peer is not None:
        names |= {h for name in peer.names for h in written_hosts(name.name)}
        names |= {h for user in peer.users for h in written_hosts(user.rpartition("@")[2])}
    found = listed(printable(name) for name in sorted(names) if blocked.covers(name))
    if not found:
        return None
    expected = "no name of a blocked domain"
    return Fault(Code.PARTNER_BLOCKED, "the peer", f"has to do with {found}", expected, "Blocked")


@frozen
class Blocked(CombinableCondition):
    """Holds if no name of the peer is in a blocked domain: presented, expected or believed.

    A name that is malformed counts, too. Nor may any peer speak in the name of a blocked domain
    (`Peer.authorize`).

    ``(enterprise | federation) & Blocked(["evil.example"])`` stands above all of them; a
    `Federation` has ``blocked=`` of its own.

    Args:
        domains: Blocked, with all that is below them.

    Raises:
        ConfigurationError: No domain, or something that is none.
    """

    domains: Scope = field(converter=as_scope)

    @property
    def remembered_under(self) -> Hashable | None:
        """Under what its decisions may be remembered: see `TrustPolicy`."""
        return ()

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        """Decide whether the peer has to do with a blocked domain."""
        fault = evidence.fault or blocked_fault(self.domains, evidence, peer)
        if fault is not None:
            return Decision.refuse_for(fault, by="Blocked", evidence=evidence)
        reason = "none of its names is blocked"
        peer = evolve(peer, blocked=peer.blocked | self.domains.domains)
        return Decision.accept(peer, reason, by="Blocked", evidence=evidence)
