"""Memory: whom a policy has accepted lately, so that a chain is not proven at each handshake.

A peer that connects again shows what it has shown before, and most of what a handshake costs beside
the key exchange is to prove that anew. What is remembered is an *acceptance*, under everything that
it depends on: the whole chain as shown, the role, the expected name, the staple, and the limits. It
is forgotten when anything could be otherwise:

* the earliest date on which it rests has come (`Peer.expires`), or the time is before that of the
  decision, or a certain while has passed;
* what the policy is `remembered_under` is another thing;
* there is another policy: whoever puts one in force has a new memory (see ``wire/inforce.py``).

A refusal is never remembered, for it costs the stranger more than us; nor the acceptance of a
policy of somebody else that does not say so, for it may look at the peer's address; nor one where
revocation is asked for, whose answers come and go with the time and with what is fetched.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime, timedelta
from threading import Lock

from attrs import evolve, frozen
from cryptography import x509

from siptls.trust.decision import Decision
from siptls.trust.evidence import Evidence
from siptls.trust.policy import TrustPolicy, judge, remembered_under

__all__ = ["MAX_REMEMBERED", "Memory"]

# Chains, each with its decision: together 10 KiB or so. The servers of a large federation.
MAX_REMEMBERED = 1024
# Bytes of a chain. Nobody with more is worth remembering: all of them together stay below 16 MiB.
_MAX_CHAIN = 16384
# Somebody may be believed for more once a certificate's time begins, which no date here tells.
_LONGEST = timedelta(hours=1)


@frozen
class _Accepted:
    """An acceptance, and when it holds."""

    decision: Decision
    chain: tuple[x509.Certificate, ...]
    under: Hashable
    begins: datetime
    ends: datetime


class Memory:
    """A policy, and whom it has accepted lately. It may be asked from several threads.

    Args:
        policy: Who decides.
        size: How many acceptances are kept; the oldest makes room.
    """

    def __init__(self, policy: TrustPolicy, size: int = MAX_REMEMBERED) -> None:
        self.policy = policy
        self._size = size
        self._accepted: dict[Hashable, _Accepted] = {}
        self._lock = Lock()

    def judge(self, evidence: Evidence) -> Decision:
        """Decide as the policy does, once the limits are kept.

        The decision tells of this evidence; of equal certificates, it holds those that are kept.
        """
        known = self._accepted.get(key := _key(evidence))
        under = remembered_under(self.policy)  # before it decides: it may learn something meanwhile
        if known is not None and known.under == under and known.begins <= evidence.now < known.ends:
            return known.decision.about(evolve(evidence, chain=known.chain))
        if evidence.fault is not None:
            return Decision.refuse_for(evidence.fault, by="TLS", evidence=evidence)
        decision = judge(self.policy, evidence)
        if decision.peer is not None and under is not None and evidence.size <= _MAX_CHAIN:
            ends = min(decision.peer.expires, evidence.now + _LONGEST)
            with self._lock:
                self._accepted.pop(key, None)
                while len(self._accepted) >= self._size:
                    del self._accepted[next(iter(self._accepted))]
                self._accepted[key] = _Accepted(decision, evidence.chain, under, evidence.now, ends)
        return decision


def _key(evidence: Evidence) -> Hashable:
    """All that a decision may depend on, beside the time and the policy."""
    return (
        evidence.chain,
        evidence.role,
        evidence.reference,
        evidence.staple,
        evidence.max_certificates,
        evidence.max_chain,
    )
