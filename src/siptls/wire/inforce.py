"""InForce: the policy by which the connections of a transport are judged, now and later on.

A connection may live for weeks, and what its peer was believed for may end before. So each one
looks here before it delivers what has come: if another policy is in force, the peer is judged by
it, from the evidence that was kept.
"""

from __future__ import annotations

from siptls.trust.policy import TrustPolicy
from siptls.wire.memory import Memory

__all__ = ["InForce"]


class InForce:
    """A policy that may be replaced, from any thread.

    Attributes:
        memory: The one in force, and whom it has accepted lately; None where nobody is judged.
        version: Another one each time that all have to be judged again.
    """

    __slots__ = ("memory", "version")

    def __init__(self, policy: TrustPolicy | None) -> None:
        self.memory = None if policy is None else Memory(policy)
        self.version = 0

    @property
    def policy(self) -> TrustPolicy | None:
        """The one in force; None where nobody is judged."""
        return None if self.memory is None else self.memory.policy

    def replace(self, policy: TrustPolicy | None) -> None:
        """Put a policy in force; None leaves it. All are judged again in any case."""
        if policy is not None:
            self.memory = Memory(policy)
        elif self.memory is not None:  # nobody is accepted for what was known before
            self.memory = Memory(self.memory.policy)
        self.version += 1  # last: who reads it before reads the policy after it
