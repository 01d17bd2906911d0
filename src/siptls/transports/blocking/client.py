"""TLSClientTransport on blocking sockets, and `wrap_socket` for those of the application."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from weakref import WeakSet

from siptls.arguments import check_callback, kind_of
from siptls.errors import (
    Attempt,
    ConfigurationError,
    ConnectionClosedError,
    HandshakeError,
    OperationTimeout,
    SIPTLSError,
)
from siptls.keylog import open_keylog
from siptls.metrics import Recorder, check_recorder
from siptls.transports.attempts import without
from siptls.transports.blocking.connection import Closing, Connection, close_all
from siptls.transports.blocking.keeping import Kept
from siptls.transports.blocking.racing import first
from siptls.transports.blocking.stopping import Stop, Until
from siptls.transports.blocking.timeouts import earlier, end_of, left, timed_out
from siptls.transports.known import Core
from siptls.transports.openings import Openings, of_outcome
from siptls.transports.outgoing import Outgoing
from siptls.transports.racing import Reach, no_handshake
from siptls.transports.resolution import (
    Resolver,
    SystemResolver,
    Target,
    check_alone,
    find_blocking,
)
from siptls.transports.reuse import IS_POOL, ConnectionPool, Terms, Wanted
from siptls.transports.sockets import closing_if_it_fails
from siptls.transports.supervision import IS_BACKOFF, Backoff, OnChange
from siptls.trust.decision import Peer
from siptls.trust.dnstrust import DNSTrust
from siptls.trust.names import ReferenceIdentity
from siptls.trust.policy import TrustPolicy, require_policy
from siptls.trust.refusal import PeerRefusedError
from siptls.wire.connection import ClientConnection, ServerConnection
from siptls.wire.credential import Credential
from siptls.wire.gate import IS_TRAFFIC
from siptls.wire.hello import ALPN
from siptls.wire.inforce import InForce
from siptls.wire.limits import Limits, as_limits
from siptls.wire.measures import as_measures
from siptls.wire.telling import Address, OnRefused, Teller, address_of
from siptls.wire.traffic import Traffic

__all__ = ["TLSClientTransport", "wrap_socket"]


def wrap_socket(  # noqa: PLR0913  a connection's whole configuration
    sock: socket.socket,
    policy: TrustPolicy | None,
    target: str | ReferenceIdentity | None = None,
    *,
    credential: Credential | Sequence[Credential] | None = None,
    server_side: bool = False,
    mutual: bool = True,
    on_refused: OnRefused | None = None,
    limits: Limits | None = None,
    alpn: ALPN = ALPN.OFFER,
    keep_alive: float | None = None,
    metrics: Recorder | None = None,
    keylog: str | os.PathLike[str] | None = None,
) -> Connection:
    """Do a handshake on a connected socket of yours.

    Args:
        sock: A connected stream socket: TCP, Unix, or one of a pair. It belongs to the connection
            from the handshake on, and is closed with it, or if the handshake fails.
        policy: Judges the peer. May be None only on a server that is not ``mutual``.
        target: Whom we expect, for a client: a SIP URI, a domain, or a `ReferenceIdentity`.
        credential: Our own certificate and key; a server needs one, and may have several, of
            which the client's SNI selects one, or else the first.
        server_side: Whether we are the server.
        mutual: For a server: whether the client must show a certificate.
        on_refused: Called with the decision and the address when the policy refuses.
        limits: Bounds.
        alpn: Whether ``sip/2`` is agreed on as the application protocol; see `ALPN`.
        keep_alive: Sends a ping each time that so many seconds, less a random fifth, have passed
            (RFC 5626 §4.4.1), such as 120; a peer that does not answer is given up. None sends
            none. Those of a peer are always answered.
        metrics: Records what happens: a `siptls.metrics.Recorder`, such as
            ``siptls.metrics.Metrics()``. None records nothing.
        keylog: A file to which the keys of the connection are appended (the SSLKEYLOGFILE format),
            for Wireshark. Whoever reads it can read all that passes: leave it out, but to find a
            fault. It is made with mode 600, and refused if others can read it.

    Raises:
        ConfigurationError: The arguments contradict each other, or the socket is not connected.
        PeerRefusedError: The policy refused the peer; ``.decision`` tells why.
        HandshakeError: The handshake failed for another reason.
        ConnectionClosedError: The peer closed instead.
    """
    bounds = as_limits(limits)
    check_callback("on_refused", on_refused)
    _require_connected(sock)
    check_recorder(metrics)
    keys = open_keylog(keylog)
    address = address_of(sock.getpeername())
    core: Core
    if server_side:
        if target is not None:
            raise ConfigurationError("a server expects nobody in particular: leave target out")
        core = ServerConnection(
            credential,  # type: ignore[arg-type]  # None is refused there
            policy,
            mutual=mutual,
            limits=bounds,
            address=address,
            alpn=alpn,
            keep_alive=keep_alive,
            metrics=metrics,
            keylog=keys,
        )
    else:
        if target is None:
            raise ConfigurationError("a client expects somebody: pass target=, such as 'sip:a.com'")
        require_policy(policy)
        assert policy is not None  # noqa: S101  it is a policy
        core = ClientConnection(
            policy,
            target,
            credential=credential,  # type: ignore[arg-type]  # several are refused there
            limits=bounds,
            address=address,
            alpn=alpn,
            keep_alive=keep_alive,
            metrics=metrics,
            keylog=keys,
        )
    return Connection(sock, core, bounds, teller=Teller(on_refused)).handshake()


def _require_connected(sock: socket.socket) -> None:
    if not isinstance(sock, socket.socket):
        raise ConfigurationError(f"sock is a connected stream socket, not {kind_of(sock)}")
    try:
        sock.getpeername()
    except OSError as error:
        raise ConfigurationError(f"sock is no connected stream socket: {error.strerror}") from error


class TLSClientTransport(Closing):
    """Opens connections to servers, over TLS, or over MTLS if it has a credential.

    ::

        with TLSClientTransport(policy) as transport:
            connection = transport.connect("sip:contoso.com")

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
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._openings: Openings[Connection] = Openings()
        self._stops: set[Stop] = set()
        self._kept: WeakSet[Kept] = WeakSet()  # its thread holds each until it is closed
        self._closed = False

    def connect(  # noqa: PLR0913  the asyncio transport's, and a timeout
        self,
        target: str | ReferenceIdentity,
        *,
        host: str | None = None,
        port: int | None = None,
        service: str | None = None,
        sock: socket.socket | None = None,
        reuse: bool = True,
        timeout: float | None = None,
    ) -> Connection:
        """Open a connection to whoever proves the target's name.

        Args and errors are those of the asyncio transport's ``connect``, and one of each more. A
        question to the operating system for an address cannot be interrupted: if it takes longer
        than there is time, that is told when it has come back.

        Args:
            target: As there.
            host: As there.
            port: As there.
            service: Asks the resolver for another service of the domain than SIP over TLS.
            sock: As there.
            reuse: As there.
            timeout: Seconds for all of it; None, or more than ``Limits.reach_timeout``, leaves it
                at that.

        Raises:
            OperationTimeout: The ``timeout`` was over; ``.attempts`` tells what was tried.
        """
        if sock is not None:
            with closing_if_it_fails(sock):
                check_alone(host, port, service)
                _require_connected(sock)
                reference = ReferenceIdentity.parse(target)
                with self._stoppable() as stop:
                    return self._on_socket(sock, reference, timeout, stop)
        end = self._end_of(timeout)
        with self._stoppable() as stop:
            until = Until(end, stop)
            wanted = self._ours.wanted(target, host=host, port=port, service=service, reuse=reuse)
            reach = Reach(wanted.reference, self._limits, self._ours.measures)
            try:
                return self._reach(wanted, reach, until)
            except SIPTLSError:
                raise
            except TimeoutError:
                error = reach.cut_short(self._seconds(timeout))
                raise self._cut_short(error, timeout) from None

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
            connection = kept.connected(timeout=30)

        Args and errors are those of the asyncio transport's ``keep``. A thread connects, and reads
        the connection while nobody receives.

        Args:
            target: As there.
            host: As there.
            port: As there.
            service: As there.
            backoff: As there.
            on_change: As there; it is called in that thread.
        """
        IS_BACKOFF.check("backoff", backoff)
        check_callback("on_change", on_change)
        wanted = self._ours.wanted(target, host=host, port=port, service=service, reuse=True)

        def open_one(avoid: dict[Address, PeerRefusedError], stop: Stop) -> Connection:
            reach = Reach(wanted.reference, self._limits, self._ours.measures)
            try:
                return self._reach(wanted, reach, Until(self._end_of(None), stop), avoid)
            except SIPTLSError:
                raise
            except TimeoutError:
                raise reach.cut_short(self._limits.reach_timeout) from None

        with self._lock:
            self._check_open()
            kept = Kept(str(wanted.reference), open_one, backoff or Backoff(), on_change)
            self._kept.add(kept)
        return kept

    def update(
        self, *, credential: Credential | None = None, policy: TrustPolicy | None = None
    ) -> None:
        """Use another credential or policy from now on; None leaves either as it is.

        New connections use the new ones. The live ones are judged again, before it returns: one
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
        with self._lock:
            self._check_open()
            self._ours = self._ours.renewed(credential, policy)
            self._ours.in_force.replace(policy)
            connections, kept = list(self._connections), list(self._kept)
        for connection in connections:
            connection.judge_again()
        for one in kept:
            one.retry()  # who was refused may be accepted now

    def peers(self) -> list[Peer]:
        """Give who the servers of the live connections have proven to be."""
        with self._lock:
            connections = list(self._connections)
        return [one.peer for one in connections if one.peer is not None]

    def close(self) -> None:
        """Close every connection in order, and refuse to open more.

        A question to a resolver that is under way has to come to its end before.
        """
        with self._lock:
            self._closed = True
            connections, stops = list(self._connections), list(self._stops)
            kept = list(self._kept)
        for one in kept:
            one.close_soon()
        for stop in stops:
            stop.stop()
        close_all(connections)
        for one in kept:
            one.close()

    # ------------------------------------------------------------ inside

    @property
    def _terms(self) -> Terms:
        return self._ours.terms(None)

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionClosedError("the transport is closed: make a new one")

    @contextmanager
    def _stoppable(self) -> Iterator[Stop]:
        """Give what `close` ends a connect() with."""
        stop = Stop()
        with self._lock:
            self._check_open()
            self._stops.add(stop)
        try:
            yield stop
        finally:
            with self._lock:
                self._stops.discard(stop)

    def _reach(
        self,
        wanted: Wanted,
        reach: Reach,
        until: Until,
        avoid: Mapping[Address, PeerRefusedError] = MappingProxyType({}),
    ) -> Connection:
        """Give a live connection, or open one; to none of the addresses that are avoided."""
        held = wanted.held(self.pool, self._terms)
        if held is not None:
            return held
        if avoid or not wanted.shared:
            return self._find_and_open(wanted, reach, until, avoid)
        key = wanted, self._ours.credential
        while (outcome := self._openings.join(key)) is not None:
            joined = of_outcome(outcome.result(timeout=left(until.end)))
            if joined is not None:
                return joined
        with self._openings.lead(key) as opened:
            connection = self._find_and_open(wanted, reach, until, avoid)
            opened(connection)
            return connection

    def _find_and_open(
        self,
        wanted: Wanted,
        reach: Reach,
        until: Until,
        avoid: Mapping[Address, PeerRefusedError],
    ) -> Connection:
        held = wanted.held(self.pool, self._terms)  # it may be there by now
        if held is not None:
            return held
        with reach.resolving():
            targets = find_blocking(
                self._ours.resolver,
                wanted.reference,
                service=wanted.service,
                host=wanted.host,
                port=wanted.port,
                timeout=left(until.end),
            )
        held = wanted.held_at(self.pool, self._terms, targets)
        if held is not None:
            return held
        targets = without(wanted.distinct(targets), avoid)
        connection = self._connect_targets(targets, wanted, reach, until)
        if wanted.reuse:
            self.pool.add(
                connection, Terms(self._ours.in_force, connection.credential, connection.world)
            )
        return connection

    def _connect_targets(
        self,
        targets: Sequence[Target],
        wanted: Wanted,
        reach: Reach,
        until: Until,
    ) -> Connection:
        for race in reach.races(targets):
            sock = first(race, until)
            if sock is None:
                continue
            address = race.winner.address, race.winner.port
            expected = wanted.expected(race.winner)
            try:
                return self._establish(sock, expected, address, reach.attempts, until)
            except OperationTimeout:
                raise TimeoutError from None  # as `first`: all of the time is over
            except (HandshakeError, ConnectionClosedError) as error:
                race.fail(race.winner, error)
        raise reach.failure()

    def _on_socket(
        self, sock: socket.socket, reference: ReferenceIdentity, timeout: float | None, stop: Stop
    ) -> Connection:
        until = Until(self._end_of(timeout), stop)
        try:
            return self._establish(sock, reference, None, [], until)
        except OperationTimeout:
            error = no_handshake(self._seconds(timeout))
            raise self._cut_short(error, timeout) from None

    def _end_of(self, timeout: float | None) -> float | None:
        return earlier(end_of(timeout), end_of(self._limits.reach_timeout))

    def _seconds(self, timeout: float | None) -> float:
        """How long a connect() may take."""
        whole = self._limits.reach_timeout
        return whole if timeout is None else min(timeout, whole)

    def _cut_short(self, error: SIPTLSError, timeout: float | None) -> SIPTLSError:
        """Give the error for a connect() that took too long: the caller's bound, or ours."""
        if timeout is None or timeout > self._limits.reach_timeout:
            return error
        late = timed_out("connect", timeout)
        late.attempts = error.attempts
        return late

    def _establish(
        self,
        sock: socket.socket,
        reference: ReferenceIdentity,
        address: Address | None,
        attempts: list[Attempt],
        until: Until,
    ) -> Connection:
        core = self._ours.connection(reference, address)
        connection = Connection(
            sock,
            core,
            self._limits,
            teller=self._teller,
            attempts=attempts,
            on_released=self._forget,
        )
        with self._lock:
            self._connections.add(connection)
        with until.stop.by(connection.close_soon):
            return connection.handshake(timeout=left(until.end))

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)
        self.pool.discard(connection.core)
