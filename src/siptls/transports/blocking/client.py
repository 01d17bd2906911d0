"""TLSClientTransport on blocking sockets, and `wrap_socket` for those of the application."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from siptls.arguments import check_callback, kind_of
from siptls.errors import (
    Attempt,
    ConfigurationError,
    ConnectionClosedError,
    HandshakeError,
    OperationTimeout,
    SIPTLSError,
)
from siptls.transports.attempts import port_of
from siptls.transports.blocking.connection import Closing, Connection, close_all
from siptls.transports.blocking.racing import first
from siptls.transports.blocking.timeouts import earlier, end_of, left, timed_out
from siptls.transports.known import Core
from siptls.transports.racing import Reach, no_handshake
from siptls.transports.resolution import (
    Resolver,
    SystemResolver,
    Target,
    check_port,
    check_resolver,
    find_blocking,
)
from siptls.transports.reuse import IS_POOL, ConnectionPool, Terms, Wanted
from siptls.trust.dnstrust import IS_DNS_TRUST, DNSTrust
from siptls.trust.names import ReferenceIdentity
from siptls.trust.policy import TrustPolicy, require_policy
from siptls.wire.connection import ClientConnection, ServerConnection
from siptls.wire.credential import IS_CREDENTIAL, Credential
from siptls.wire.deadlines import check_keep_alive
from siptls.wire.hello import ALPN, IS_ALPN
from siptls.wire.limits import Limits, as_limits
from siptls.wire.telling import Address, OnRefused, address_of

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

    Raises:
        ConfigurationError: The arguments contradict each other, or the socket is not connected.
        PeerRefusedError: The policy refused the peer; ``.decision`` tells why.
        HandshakeError: The handshake failed for another reason.
        ConnectionClosedError: The peer closed instead.
    """
    bounds = as_limits(limits)
    check_callback("on_refused", on_refused)
    _require_connected(sock)
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
        )
    return Connection(sock, core, bounds, on_refused=on_refused).handshake()


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
        pool: ConnectionPool[Connection] | None = None,
    ) -> None:
        require_policy(policy)
        IS_CREDENTIAL.check("credential", credential)
        check_callback("on_refused", on_refused)
        IS_ALPN.check("alpn", alpn)
        check_keep_alive(keep_alive)
        IS_POOL.check("pool", pool)
        check_resolver(resolver)
        IS_DNS_TRUST.check("dns_trust", dns_trust)
        self._policy = policy
        self._credential = credential
        self._resolver = resolver or SystemResolver()
        self._dns_trust = dns_trust
        self._on_refused = on_refused
        self._limits = as_limits(limits)
        self._alpn = alpn
        self._keep_alive = keep_alive
        self._terms = Terms(policy, credential)
        self.pool: ConnectionPool[Connection] = ConnectionPool() if pool is None else pool
        """The live connections that may be used again."""
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
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
        if self._closed:
            raise ConnectionClosedError("the transport is closed: make a new one")
        if sock is not None:
            if host is not None or port is not None or service is not None:
                raise ConfigurationError(
                    "pass sock=, or host= and port=, but not both; service= asks, too"
                )
            _require_connected(sock)
            return self._on_socket(sock, ReferenceIdentity.parse(target), timeout)
        reference = ReferenceIdentity.parse(target)
        port = port_of(target) if port is None else check_port(port)
        wanted = Wanted(reference, self._dns_trust, host, port, service, reuse)
        held = wanted.held(self.pool, self._terms)
        if held is not None:
            return held
        reach = Reach(reference, self._limits)
        end = self._end_of(timeout)
        try:
            targets = find_blocking(
                self._resolver,
                reference,
                service=service,
                host=host,
                port=port,
                timeout=left(end),
            )
            held = wanted.held_at(self.pool, self._terms, targets)
            if held is not None:
                return held
            connection = self._connect_targets(targets, wanted, reach, end)
        except SIPTLSError:
            raise
        except TimeoutError:
            error = reach.cut_short(self._seconds(timeout))
            raise self._cut_short(error, timeout) from None
        if reuse:
            self.pool.add(connection, self._terms)
        return connection

    def close(self) -> None:
        """Close every connection in order, and refuse to open more."""
        with self._lock:
            self._closed = True
            connections = list(self._connections)
        close_all(connections)

    # ------------------------------------------------------------ inside

    def _connect_targets(
        self,
        targets: Sequence[Target],
        wanted: Wanted,
        reach: Reach,
        end: float | None,
    ) -> Connection:
        for race in reach.races(targets):
            self._check_open(reach)
            sock = first(race, end)
            if sock is None:
                continue
            address = race.winner.address, race.winner.port
            expected = wanted.expected(race.winner)
            try:
                return self._establish(sock, expected, address, reach.attempts, end)
            except OperationTimeout:
                raise TimeoutError from None  # as `first`: all of the time is over
            except (HandshakeError, ConnectionClosedError) as error:
                race.fail(race.winner, error)
        raise reach.failure()

    def _on_socket(
        self, sock: socket.socket, reference: ReferenceIdentity, timeout: float | None
    ) -> Connection:
        try:
            return self._establish(sock, reference, None, [], self._end_of(timeout))
        except OperationTimeout:
            error = no_handshake(self._seconds(timeout))
            raise self._cut_short(error, timeout) from None

    def _check_open(self, reach: Reach) -> None:
        if self._closed:
            error = ConnectionClosedError("the transport was closed by us during connect()")
            error.attempts = reach.attempts
            raise error

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
        end: float | None,
    ) -> Connection:
        core = ClientConnection(
            self._policy,
            reference,
            credential=self._credential,
            limits=self._limits,
            address=address,
            alpn=self._alpn,
            keep_alive=self._keep_alive,
        )
        connection = Connection(
            sock,
            core,
            self._limits,
            on_refused=self._on_refused,
            attempts=attempts,
            on_released=self._forget,
        )
        with self._lock:
            self._connections.add(connection)
        if self._closed:
            connection.close()
        return connection.handshake(timeout=left(end))

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)
        self.pool.discard(connection.core)
