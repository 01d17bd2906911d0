"""TLSClientTransport: connections that we open."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Mapping
from types import MappingProxyType
from weakref import WeakSet

from siptls.arguments import check_callback
from siptls.errors import (
    Attempt,
    ConfigurationError,
    ConnectionClosedError,
    HandshakeError,
    SIPTLSError,
)
from siptls.keylog import open_keylog
from siptls.metrics import Recorder
from siptls.transports.aio.closing import Closing
from siptls.transports.aio.connection import Connection
from siptls.transports.aio.driver import Driver
from siptls.transports.aio.judging import Judging
from siptls.transports.aio.keeping import Kept
from siptls.transports.aio.racing import Racing
from siptls.transports.aio.turns import Turns
from siptls.transports.attempts import not_reached, without
from siptls.transports.openings import Openings, of_outcome
from siptls.transports.outgoing import Outgoing
from siptls.transports.racing import Race, Reach, no_handshake
from siptls.transports.resolution import (
    Resolver,
    SystemResolver,
    Target,
    check_alone,
    find,
)
from siptls.transports.reuse import IS_POOL, ConnectionPool, Terms, Wanted
from siptls.transports.sockets import closing_if_it_fails
from siptls.transports.supervision import IS_BACKOFF, Backoff, OnChange
from siptls.trust.decision import Peer
from siptls.trust.dnstrust import DNSTrust
from siptls.trust.names import ReferenceIdentity
from siptls.trust.policy import TrustPolicy
from siptls.trust.refusal import PeerRefusedError
from siptls.wire.credential import Credential
from siptls.wire.gate import IS_TRAFFIC
from siptls.wire.hello import ALPN
from siptls.wire.inforce import InForce
from siptls.wire.limits import Limits, as_limits
from siptls.wire.measures import as_measures
from siptls.wire.telling import Address, OnRefused, Teller
from siptls.wire.traffic import Traffic

__all__ = ["TLSClientTransport"]


class TLSClientTransport(Closing):
    """Opens connections to servers, over TLS, or over MTLS if it has a credential.

    ::

        async with TLSClientTransport(policy) as transport:
            connection = await transport.connect("sip:contoso.com")

    Args:
        policy: Judges each server.
        credential: Our own certificate and key, for servers that ask for one.
        resolver: Finds the addresses; `SystemResolver` by default.
        dns_trust: Whether the host that DNS names for a domain is expected beside it.
        on_refused: Called with the decision and the address when the policy refuses a server.
        limits: Bounds.
        pool: Where the connections are kept to be used again; see `ConnectionPool`. By default the
            transport has one of its own.
        alpn: Whether ``sip/2`` is agreed on as the application protocol; see `ALPN`.
        keep_alive: Sends a ping each time that so many seconds, less a random fifth, have passed
            (RFC 5626 §4.4.1), such as 120; a peer that does not answer is given up. None sends
            none. Those of a peer are always answered.
        resume: Whether a server that was here before may do with the short handshake of TLS 1.3.
            What it has shown is judged again each time, and only sessions made under the policy
            that is in force are resumed.
        authorize: Whether each message comes with a decision about its sender, as
            ``message.decision``: see `Peer.authorize`. Nothing is answered for the application.
        traffic: Counts what federated peers send, and holds those with limits to them; see
            `Traffic`. By default the transport has one of its own.
        metrics: Records what happens: a `siptls.metrics.Recorder`, such as
            ``siptls.metrics.Metrics()``. None records nothing.
        keylog: A file to which the keys of all connections are appended (the SSLKEYLOGFILE format),
            for Wireshark. Whoever reads it can read all that passes: leave it out, but to find a
            fault. It is made with mode 600, and refused if others can read it.

    Raises:
        ConfigurationError: The policy, or the resolver, is none.
    """

    def __init__(  # noqa: PLR0913  a client's whole configuration
        self,
        policy: TrustPolicy,
        *,
        credential: Credential | None = None,
        resolver: Resolver | None = None,
        dns_trust: DNSTrust = DNSTrust.UNTRUSTED,
        on_refused: OnRefused | None = None,
        limits: Limits | None = None,
        alpn: ALPN = ALPN.OFFER,
        keep_alive: float | None = None,
        resume: bool = False,
        pool: ConnectionPool[Connection] | None = None,
        authorize: bool = False,
        traffic: Traffic | None = None,
        metrics: Recorder | None = None,
        keylog: str | os.PathLike[str] | None = None,
    ) -> None:
        check_callback("on_refused", on_refused)
        IS_POOL.check("pool", pool)
        IS_TRAFFIC.check("traffic", traffic)
        self._limits = as_limits(limits)
        self.traffic = Traffic() if traffic is None else traffic
        """What federated peers have sent."""
        self._ours = Outgoing(
            InForce(policy),
            credential,
            SystemResolver() if resolver is None else resolver,
            dns_trust,
            self._limits,
            alpn,
            keep_alive,
            resume,
            self.traffic,
            authorize,
            as_measures(metrics),
            open_keylog(keylog),
        )
        self._teller = Teller(on_refused)
        self.pool: ConnectionPool[Connection] = ConnectionPool() if pool is None else pool
        """The live connections that may be used again."""
        self._openings: Openings[Connection] = Openings()
        self._drivers: set[Driver] = set()
        self._turns = Turns(self._limits.handshake_workers or 0)
        self._updating = threading.Lock()
        self._judging = Judging(lambda: self._drivers)
        self._racing: set[Racing] = set()
        self._kept: WeakSet[Kept] = WeakSet()  # its task holds each until it is closed
        self._closed = False

    async def connect(  # noqa: PLR0913  whom, and all ways to say where
        self,
        target: str | ReferenceIdentity,
        *,
        host: str | None = None,
        port: int | None = None,
        service: str | None = None,
        sock: socket.socket | None = None,
        reuse: bool = True,
    ) -> Connection:
        """Open a connection to whoever proves the target's name.

        The addresses of a host are raced (RFC 8305); if the handshake fails with the one that
        connects first, the others are tried. It all takes no longer than ``Limits.reach_timeout``.
        ``.attempts`` of an error has one entry for each address that was tried.

        Args:
            target: Whom we expect: ``"sip:alice@contoso.com"``, ``"contoso.com"``, or a
                `ReferenceIdentity`.
            host: Where to connect instead of where the resolver says; a name or an address. It
                never changes whom we expect.
            port: Which port; by default that of the URI, what the resolver says, or 5061.
            service: Asks the resolver for another service of the domain than SIP over TLS, such
                as ``"_sipfederationtls._tcp"``; see `Resolver`.
            reuse: Whether a live connection will do whose peer has proven the name (RFC 5923), and
                this one may be given to others. It is shared then: whoever closes it closes it for
                all, and one of them receives. What is connected to ``host`` is always a new one.
            sock: A connected stream socket to use. It belongs to the transport from now on, and
                is closed with the connection, or if no connection comes about.

        Raises:
            ConfigurationError: The target is no name, or the arguments contradict each other.
            PeerRefusedError: The policy refused the server; ``.decision`` tells why.
            RefusedByPeerError: The server refused us. With TLS 1.3 `Connection.receive` raises
                it instead.
            HandshakeTimeout: The handshake did not end in time.
            HandshakeError: The handshake failed for another reason.
            ConnectionClosedError: No address could be reached.
            ResolutionError: There is no address, or no answer in time.
        """
        if sock is not None:
            with closing_if_it_fails(sock):
                self._check_open()
                check_alone(host, port, service)
                driver = await self._take(ReferenceIdentity.parse(target), sock)
            return await self._connect_socket(driver)
        self._check_open()
        wanted = self._ours.wanted(target, host=host, port=port, service=service, reuse=reuse)
        return await self._reach(wanted)

    def keep(  # noqa: PLR0913  whom, where, and how long to wait
        self,
        target: str | ReferenceIdentity,
        *,
        host: str | None = None,
        port: int | None = None,
        service: str | None = None,
        backoff: Backoff | None = None,
        on_change: OnChange | None = None,
    ) -> Kept:
        """Open a connection, and open it again whenever it is lost (RFC 5626 §4.5).

        ::

            kept = transport.keep("fabrikam.com")
            connection = await kept.connected()

        It belongs to the transport, and ends with it. A peer that the policy has refused is not
        connected to again until DNS names other addresses, the peer itself connects to a server
        with the same pool, or the application calls ``retry``.

        Args:
            target: Whom we expect; this one, and what follows, as for `connect`.
            host: Where.
            port: Which port.
            service: Which service.
            backoff: How long to wait after failures.
            on_change: ``def on_change(change: KeepChange)``: a plain function, told of each state.

        Raises:
            ConfigurationError: An argument cannot be meant.
            ConnectionClosedError: The transport is closed.
        """
        self._check_open()
        IS_BACKOFF.check("backoff", backoff)
        check_callback("on_change", on_change)
        wanted = self._ours.wanted(target, host=host, port=port, service=service, reuse=True)

        async def open_one(avoid: dict[Address, PeerRefusedError]) -> Connection:
            return await self._reach(wanted, avoid)

        kept = Kept(str(wanted.reference), open_one, backoff or Backoff(), on_change)
        self._kept.add(kept)
        return kept

    def update(
        self, *, credential: Credential | None = None, policy: TrustPolicy | None = None
    ) -> None:
        """Use another credential or policy from now on; None leaves either as it is.

        New connections use the new ones. The live ones are judged again: one
        whose peer is trusted no more delivers nothing more, and is closed in order with
        `TrustLostError`; the others notice nothing. Without arguments, all are judged again by the
        same policy. It may be called from any thread.

        Args:
            credential: Our own.
            policy: Judges each server.

        Raises:
            ConfigurationError: One of them is none; nothing has changed then.
            CertificateError: OpenSSL does not take the credential; nothing has changed then.
            ConnectionClosedError: The transport is closed.
        """
        with self._updating:
            self._check_open()
            self._ours = self._ours.renewed(credential, policy)
            self._ours.in_force.replace(policy)
        self._judging.begin()
        for kept in list(self._kept):
            kept.reconsider()

    def peers(self) -> list[Peer]:
        """Give who the servers of the live connections have proven to be."""
        return [driver.core.peer for driver in list(self._drivers) if driver.core.peer is not None]

    async def aclose(self) -> None:
        """Close every connection in order, and refuse to open more."""
        self._closed = True
        await self._judging.stop()
        await asyncio.gather(*(kept.aclose() for kept in list(self._kept)))
        drivers, races = list(self._drivers), list(self._racing)
        for race in races:
            race.stop()
        for driver in drivers:
            driver.close()
        lost = (driver.wait_lost() for driver in drivers)
        await asyncio.gather(*lost, *(race.wait_ended() for race in races))
        self._turns.close()

    # ------------------------------------------------------------ inside

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionClosedError("the transport is closed: make a new one")

    @property
    def _terms(self) -> Terms:
        return self._ours.terms(asyncio.get_running_loop())

    async def _reach(
        self, wanted: Wanted, avoid: Mapping[Address, PeerRefusedError] = MappingProxyType({})
    ) -> Connection:
        """Give a live connection, or open one; to none of the addresses that are avoided."""
        held = wanted.held(self.pool, self._terms)
        if held is not None:
            return held
        reach = Reach(wanted.reference, self._limits, self._ours.measures)
        seconds = self._limits.reach_timeout
        try:
            async with asyncio.timeout(seconds):
                if avoid or not wanted.shared:
                    return await self._find_and_open(wanted, reach, avoid)
                return await self._share(wanted, reach)
        except SIPTLSError:
            raise
        except TimeoutError:
            raise reach.cut_short(seconds) from None

    async def _share(self, wanted: Wanted, reach: Reach) -> Connection:
        """Give the connection that another one is opening, or open one that others may have."""
        key = wanted, self._ours.credential
        while (outcome := self._openings.join(key)) is not None:
            # Whoever is cancelled here leaves the others alone.
            joined = of_outcome(await asyncio.shield(asyncio.wrap_future(outcome)))
            if joined is not None:
                return joined
        with self._openings.lead(key) as opened:
            connection = await self._find_and_open(wanted, reach, {})
            opened(connection)
            return connection

    async def _find_and_open(
        self, wanted: Wanted, reach: Reach, avoid: Mapping[Address, PeerRefusedError]
    ) -> Connection:
        held = wanted.held(self.pool, self._terms)  # it may be there by now
        if held is not None:
            return held
        with reach.resolving():
            targets = await find(
                self._ours.resolver,
                wanted.reference,
                service=wanted.service,
                host=wanted.host,
                port=wanted.port,
            )
        held = wanted.held_at(self.pool, self._terms, targets)
        if held is not None:
            return held
        targets = without(wanted.distinct(targets), avoid)
        connection = await self._connect_targets(targets, wanted, reach)
        if wanted.reuse:
            self.pool.add(
                connection, Terms(self._ours.in_force, connection.credential, connection.world)
            )
        return connection

    async def _take(self, reference: ReferenceIdentity, sock: socket.socket) -> Driver:
        """Take the application's socket; from then on it is the loop's, which closes it."""
        loop = asyncio.get_running_loop()
        try:
            sock.getpeername()
            driver = self._driver(reference, None)
            self._drivers.add(driver)
            await driver.begin(lambda: loop.create_connection(lambda: driver, sock=sock))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"sock= is no connected stream socket: {error}") from error
        return driver

    async def _connect_socket(self, driver: Driver) -> Connection:
        seconds = self._limits.reach_timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._establish(driver, [])
        except SIPTLSError:
            raise
        except TimeoutError:
            raise no_handshake(seconds) from None

    async def _connect_targets(
        self,
        targets: list[Target],
        wanted: Wanted,
        reach: Reach,
    ) -> Connection:
        for race in reach.races(targets):
            sock = await self._first(race)
            if sock is None:
                continue
            target = race.winner
            expected = wanted.expected(target)
            driver = self._driver(expected, (target.address, target.port))
            try:
                await self._open(driver, sock, target)
                return await self._establish(driver, reach.attempts)
            except (HandshakeError, ConnectionClosedError) as error:
                race.fail(target, error)
        raise reach.failure()

    async def _first(self, race: Race) -> socket.socket | None:
        racing = Racing(race)
        self._racing.add(racing)
        if self._closed:
            racing.stop()
        try:
            return await racing.first()
        finally:
            self._racing.discard(racing)

    def _driver(self, reference: ReferenceIdentity, address: tuple[str, int] | None) -> Driver:
        self._judging.enter()
        loop = asyncio.get_running_loop()
        core = self._ours.connection(reference, address, loop.time)
        return Driver(core, self._limits, self._turns, teller=self._teller, on_lost=self._forget)

    def _forget(self, driver: Driver) -> None:
        self._drivers.discard(driver)
        self.pool.discard(driver.core)

    async def _open(self, driver: Driver, sock: socket.socket, target: Target) -> None:
        loop = asyncio.get_running_loop()
        self._drivers.add(driver)
        try:
            await driver.begin(lambda: loop.create_connection(lambda: driver, sock=sock))
        except OSError as error:  # it was reset at once
            sock.close()
            raise not_reached(target, error) from error

    async def _establish(self, driver: Driver, attempts: list[Attempt]) -> Connection:
        try:
            if self._closed:  # meanwhile, so that nobody else waits for it
                driver.close()
                await driver.wait_lost()
            await driver.accepted
        except asyncio.CancelledError:
            driver.give_up()
            raise
        return Connection(driver, attempts)
