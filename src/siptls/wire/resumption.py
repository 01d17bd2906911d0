"""Resumption (RFC 8446 §2.2): a peer that was here before shows its certificate to OpenSSL no more.

It has to satisfy the policy all the same. What it showed is remembered, and judged again at the
time of each resumption. Nothing is resumed under another policy than the one under which the
session was made: OpenSSL ties a session to its context, and each version of what is in force has
contexts of its own.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable

from attrs import frozen
from OpenSSL import SSL

from siptls.trust.evidence import Evidence

__all__ = ["LIFETIME", "Remembered", "Sessions"]

# Seconds after which a session is resumed no more. A client that lost its connection is back
# before; RFC 8446 §4.6.1 allows a week.
LIFETIME = 3600
# Peers whose last session a client remembers. Each costs some kilobytes.
_MOST = 256


@frozen
class Remembered:
    """A session, and what its peer showed when it was made.

    Attributes:
        context: The only one in which it can be resumed.
        session: OpenSSL's.
        evidence: What was judged then.
    """

    context: SSL.Context
    session: SSL.Session
    evidence: Evidence


class Sessions:
    """The sessions of one transport, and the contexts that they belong to."""

    def __init__(self) -> None:
        self._version: object = None
        self._until = -math.inf
        self._contexts: dict[Hashable, SSL.Context] = {}
        self._remembered: OrderedDict[Hashable, Remembered] = OrderedDict()

    def enter(self, version: object, now: float) -> None:
        """Forget all that belongs to another version of what is in force, or is too old.

        Contexts live no longer than a session may: so nobody can go from one session to the next
        for ever without proving again that he has his key.

        Args:
            version: What is in force.
            now: Seconds of a monotonic clock.
        """
        if version != self._version or now >= self._until:
            self._version, self._until = version, now + LIFETIME
            self._contexts, self._remembered = {}, OrderedDict()

    def context(self, key: Hashable, make: Callable[[], SSL.Context]) -> SSL.Context:
        """Give the context for a credential and a kind of connection."""
        contexts = self._contexts
        context = contexts.get(key)
        if context is None:
            context = contexts.setdefault(key, make())
        return context

    def keep(self, key: Hashable, remembered: Remembered) -> None:
        """Remember the last session with a peer."""
        kept = self._remembered
        kept[key] = remembered
        if len(kept) > _MOST:
            kept.popitem(last=False)

    def take(self, key: Hashable, context: SSL.Context) -> Remembered | None:
        """Give a session once, for who sees it twice could link both (RFC 8446 Appendix C.4)."""
        remembered = self._remembered.pop(key, None)
        return remembered if remembered is not None and remembered.context is context else None
