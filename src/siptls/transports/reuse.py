"""Reuse: which live connection may carry a request (RFC 5923).

A connection is taken for the name that its peer has proven, under the same policy and with the same
credential of ours. Where it leads to is no reason: two domains behind one address are two peers,
and what is meant for one never goes to the other. So requests may also go back over a connection
that the peer has opened, if it has shown a certificate.

What a peer has proven for one name, or as a client, need not do for another, or as a server. So the
policy is asked again, about the same certificates and the new name, and its answer remembered: a
connection is given for a name only where a new one would be accepted.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Sequence
from typing import Generic, TypeVar

from attrs import define, evolve, field, frozen

from siptls.arguments import Kind
from siptls.transports.attempts import port_of
from siptls.transports.known import Known
from siptls.transports.resolution import (
    Target,
    check_host,
    check_port,
    check_service,
    check_where,
)
from siptls.trust.decision import Decision
from siptls.trust.dnstrust import DNSTrust
from siptls.trust.evidence import Evidence, Role
from siptls.trust.names import ReferenceIdentity
from siptls.wire.credential import Credential
from siptls.wire.inforce import InForce
from siptls.wire.memory import Memory
from siptls.wire.telling import Address
from siptls.wire.tls import utc_now
from siptls.wire.verdict import Clock

__all__ = ["IS_POOL", "ConnectionPool", "Held", "Terms", "Wanted"]

Held = TypeVar("Held", bound=Known)

# Names for which a connection's answer is remembered; more are asked about anew.
_MOST_JUDGED = 64


@frozen(eq=False)
class Terms:
    """On what terms a connection was made, and a request may be sent.

    Attributes:
        in_force: Who judges the peer now: the same policy, for another one may judge otherwise.
        credential: Whom we have shown ourselves as.
        world: Where it can be used: an event loop, or None for threads.
    """

    in_force: InForce
    credential: Credential | None
    world: object

    def match(self, other: Terms) -> bool:
        """Whether a connection on these terms will do for a request on those."""
        return (
            self.in_force.policy is other.in_force.policy
            and self.credential is other.credential
            and self.world is other.world
        )


@define(eq=False)
class _Entry(Generic[Held]):
    """A connection, its terms, and what the policy says of its peer as each name that was asked.

    Attributes:
        names: Those by which it is found: what its peer had proven when it came.
        judged: By which version of what is in force, and what it said.
    """

    connection: Held
    terms: Terms
    names: frozenset[str]
    version: int = -1
    judged: dict[ReferenceIdentity, Decision] = field(factory=dict)

    def admits(self, expected: ReferenceIdentity, now: dt.datetime) -> bool:
        """Whether the policy accepts the peer as the one that is expected, and still does."""
        in_force, core = self.terms.in_force, self.connection.core
        version = in_force.version  # before it is asked: another thread may replace the policy
        if not core.is_judged:
            return False  # it will be, and may not stay
        decision = self._known(version).get(expected)
        if decision is None:
            decision = self._decide(in_force.memory, core.evidence, expected, now)
            if decision is None:
                return False
            self._known(version)[expected] = decision
        if version != in_force.version:
            return False
        peer = decision.peer
        return peer is not None and peer.proves(expected) and now < peer.expires

    def _known(self, version: int) -> dict[ReferenceIdentity, Decision]:
        """Give the answers of one version; those of others are forgotten."""
        if self.version != version or len(self.judged) >= _MOST_JUDGED:
            self.version, self.judged = version, {}
        return self.judged

    def _decide(
        self,
        memory: Memory | None,
        shown: Evidence | None,
        expected: ReferenceIdentity,
        now: dt.datetime,
    ) -> Decision | None:
        if memory is None or shown is None:
            return None
        if shown.role is Role.SERVER and shown.reference == expected:
            return self.connection.decision  # it was asked for the very same
        return memory.judge(evolve(shown, role=Role.SERVER, reference=expected, now=now))


class ConnectionPool(Generic[Held]):
    """Live connections, by the names that their peers have proven.

    Each transport has one of its own. Give one to a server and to a client, and requests go back
    over the connections that others have opened to us::

        pool = ConnectionPool()
        server = MTLSServerTransport(credential, policy, handler, pool=pool)
        client = TLSClientTransport(policy, credential=credential, pool=pool)

    Both need the same policy and the same credential: the same objects. What comes over a
    connection that the server has accepted still goes to the server's handler. A connection is only
    given where it can be used: in its own event loop, or in ``siptls.sync`` if it is of there.
    """

    def __init__(self, *, clock: Clock = utc_now) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._held: dict[object, _Entry[Held]] = {}
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
            names = peer.domains | peer.hosts | peer.addresses
            self._held[key] = _Entry(connection, terms, names)
            for name in names:
                self._by_name.setdefault(name, {})[key] = None
        if not connection.usable:  # it has ended before, so that nobody else will discard it
            self.discard(key)

    def discard(self, core: object) -> None:
        """Forget a connection that is over. Transports call it."""
        with self._lock:
            entry = self._held.pop(core, None)
            for name in () if entry is None else entry.names:
                keys = self._by_name[name]
                del keys[core]
                if not keys:
                    del self._by_name[name]

    def find(
        self, expected: ReferenceIdentity, terms: Terms, place: Address | None = None
    ) -> Held | None:
        """Give a live connection whose peer would be accepted as the expected one, or None.

        Args:
            expected: Whom the request is meant for.
            terms: Ours.
            place: Only one that was opened to this address and port.
        """
        names = expected.names if expected.address is None else {expected.address}
        with self._lock:
            keys = [key for name in sorted(names) for key in self._by_name.get(name, ())]
            found = [self._held[key] for key in keys]
        now = self._clock()
        for entry in found:
            connection = entry.connection
            if not terms.match(entry.terms):
                continue
            if place is not None and connection.remote_address != place:
                continue
            if entry.admits(expected, now) and connection.usable:
                return connection
        return None


@frozen
class Wanted:
    """Whom a connect() is for, and where it may go: the rules that both worlds follow.

    Attributes:
        reference: The name that was asked for.
        dns_trust: Whether a host that DNS names for it is expected, too.
        host: Where the application says that the peer is; no word of DNS about who.
        port: The only port, if one was given.
        service: The service, if it is another than SIP over TLS.
        reuse: Whether a live connection will do.
    """

    reference: ReferenceIdentity
    dns_trust: DNSTrust
    host: str | None
    port: int | None
    service: str | None
    reuse: bool

    @classmethod
    def of(  # noqa: PLR0913  what `connect` is given
        cls,
        target: str | ReferenceIdentity,
        dns_trust: DNSTrust,
        *,
        host: str | None,
        port: int | None,
        service: str | None,
        reuse: bool,
    ) -> Wanted:
        """Give what a connect() is for.

        Raises:
            ConfigurationError: An argument cannot be meant.
        """
        reference = ReferenceIdentity.parse(target)
        check_host(host)
        check_service(service)
        check_where(host, service)
        port = port_of(target) if port is None else port
        if port is not None:
            check_port(port)
        return cls(reference, dns_trust, host, port, service, reuse)

    @property
    def shared(self) -> bool:
        """Whether a live connection is looked for; one to a host of the application's is new."""
        return self.reuse and self.host is None

    def expected(self, target: Target) -> ReferenceIdentity:
        """Give the name that the peer at a target must prove."""
        if self.host is not None:
            return self.reference
        return self.dns_trust.expected(self.reference, target.host)

    def distinct(self, targets: Sequence[Target]) -> list[Target]:
        """Leave out what would be the same again: an address that many hosts are said to have."""
        found: dict[object, Target] = {}
        for target in targets:
            found.setdefault((target.address, target.port, self.expected(target)), target)
        return list(found.values())

    def held(self, pool: ConnectionPool[Held], terms: Terms) -> Held | None:
        """Give a live connection that will do wherever it leads; before anybody is asked where."""
        if not self.shared or self._placed:
            return None
        return pool.find(self.reference, terms)

    def held_at(
        self, pool: ConnectionPool[Held], terms: Terms, targets: Sequence[Target]
    ) -> Held | None:
        """Give a live connection that will do for one of the targets."""
        for target in targets if self.shared else ():
            place = (target.address, target.port) if self._placed else None
            held = pool.find(self.expected(target), terms, place)
            if held is not None:
                return held
        return None

    @property
    def _placed(self) -> bool:
        """Whether it has to lead to one of the targets."""
        return self.port is not None or self.service is not None


IS_POOL = Kind(ConnectionPool, "write ConnectionPool(), or leave it out", optional=True)
