"""Reuse: which live connection may carry a request (RFC 5923).

A connection is taken for the name that its peer has proven, under the same policy and with the same
credential of ours. Where it leads to is no reason: two domains behind one address are two peers,
and what is meant for one never goes to the other. So requests may also go back over a connection
that the peer has opened, if it has shown a certificate.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from attrs import frozen

from siptls.arguments import Kind
from siptls.transports.known import Known
from siptls.trust.names import ReferenceIdentity
from siptls.trust.policy import TrustPolicy
from siptls.wire.credential import Credential
from siptls.wire.telling import Address

__all__ = ["IS_POOL", "ConnectionPool", "Terms"]

Held = TypeVar("Held", bound=Known)


@frozen(eq=False)
class Terms:
    """On what terms a connection was made, and a request may be sent.

    Attributes:
        policy: Who has judged the peer: the same object, for another one may judge otherwise.
        credential: Whom we have shown ourselves as.
    """

    policy: TrustPolicy
    credential: Credential | None

    def match(self, other: Terms) -> bool:
        """Whether a connection on these terms will do for a request on those."""
        return self.policy is other.policy and self.credential is other.credential


class ConnectionPool(Generic[Held]):
    """Live connections, by the names that their peers have proven.

    Each transport has one of its own. Give one to a server and to a client, and requests go back
    over the connections that others have opened to us::

        pool = ConnectionPool()
        server = MTLSServerTransport(credential, policy, handler, pool=pool)
        client = TLSClientTransport(policy, credential=credential, pool=pool)

    Both need the same policy and the same credential: the same objects. What comes over a
    connection that the server has accepted still goes to the server's handler. The transports of
    asyncio and those of ``siptls.sync`` cannot share one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[object, tuple[Held, Terms]] = {}
        self._by_name: dict[str, dict[object, None]] = {}

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._held)

    def add(self, connection: Held, terms: Terms) -> None:
        """Keep a connection; one whose peer has proven nothing is not kept. Transports call it."""
        peer = connection.peer
        if peer is None:
            return
        with self._lock:
            key = connection.core
            self._held[key] = connection, terms
            for name in _names(connection):
                self._by_name.setdefault(name, {})[key] = None

    def discard(self, core: object) -> None:
        """Forget a connection that is over. Transports call it."""
        with self._lock:
            connection, _ = self._held.pop(core, (None, None))
            for name in () if connection is None else _names(connection):
                keys = self._by_name[name]
                del keys[core]
                if not keys:
                    del self._by_name[name]

    def find(
        self, expected: ReferenceIdentity, terms: Terms, place: Address | None = None
    ) -> Held | None:
        """Give a live connection whose peer has proven the expected name; None if there is none.

        Args:
            expected: Whom the request is meant for.
            terms: Ours.
            place: Only one that was opened to this address and port.
        """
        names = (expected.names if expected.address is None else {expected.address}) or ()
        with self._lock:
            keys = [key for name in sorted(names) for key in self._by_name.get(name, ())]
            found = [self._held[key] for key in keys]
        for connection, theirs in found:
            peer = connection.peer
            if peer is None or not peer.proves(expected) or not terms.match(theirs):
                continue
            if place is not None and connection.remote_address != place:
                continue
            if connection.usable:
                return connection
        return None


def _names(connection: Known) -> frozenset[str]:
    peer = connection.peer
    return frozenset() if peer is None else peer.domains | peer.hosts | peer.addresses


IS_POOL = Kind(ConnectionPool, "write ConnectionPool(), or leave it out", optional=True)
