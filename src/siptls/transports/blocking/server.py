"""TLSServerTransport and MTLSServerTransport on blocking sockets: a thread per connection."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence

from siptls.arguments import check_callback
from siptls.errors import (
    ConfigurationError,
    ConnectionClosedError,
    SIPTLSError,
)
from siptls.journal import log as _log
from siptls.keylog import open_keylog
from siptls.metrics import Recorder
from siptls.transports.admission import Admit, ask_blocking, check_admit
from siptls.transports.blocking.connection import Closing, Connection, close_all
from siptls.transports.blocking.timeouts import end_of, left
from siptls.transports.crowd import Crowd
from siptls.transports.known import whom
from siptls.transports.listening import (
    FULL,
    LOST,
    TOO_MANY,
    cannot_accept,
    cannot_listen,
    check_reuse_port,
    listeners,
    listening,
    turn_away,
)
from siptls.transports.resolution import (
    SIPS_PORT,
    check_port,
)
from siptls.transports.reuse import IS_POOL, ConnectionPool
from siptls.transports.service import Service, require_one_handler
from siptls.trust.decision import Peer
from siptls.trust.policy import TrustPolicy
from siptls.wire.connection import ServerConnection
from siptls.wire.credential import Credential
from siptls.wire.gate import IS_TRAFFIC
from siptls.wire.hello import ALPN
from siptls.wire.inforce import InForce
from siptls.wire.limits import Limits, as_limits
from siptls.wire.measures import as_measures
from siptls.wire.message import Message
from siptls.wire.telling import Address, OnRefused, address_of, shown
from siptls.wire.traffic import Traffic

__all__ = ["MTLSServerTransport", "TLSServerTransport"]


# After an accept that failed, most often because there are no more file descriptors.
_ACCEPT_PAUSE = 0.2


class _ServerTransport(Closing):
    """What both have in common: they differ in whether the client is judged."""

    def __init__(  # noqa: PLR0913  a server's whole configuration
        self,
        credential: Credential | Sequence[Credential],
        policy: TrustPolicy | None,
        handler: Callable[[Connection], object] | None,
        *,
        mutual: bool,
        on_message: Callable[[Connection, Message], object] | None,
        on_refused: OnRefused | None,
        limits: Limits | None,
        alpn: ALPN,
        keep_alive: float | None,
        resume: bool,
        pool: ConnectionPool[Connection] | None = None,
        authorize: bool = False,
        traffic: Traffic | None = None,
        admit: Admit | None = None,
        metrics: Recorder | None,
        keylog: str | os.PathLike[str] | None,
    ) -> None:
        require_one_handler(handler, on_message, "function")
        for name, callback in (
            ("handler", handler),
            ("on_message", on_message),
            ("on_refused", on_refused),
        ):
            check_callback(name, callback)
        IS_POOL.check("pool", pool)
        IS_TRAFFIC.check("traffic", traffic)
        check_admit(admit)
        self._limits = as_limits(limits)
        self.traffic = Traffic() if traffic is None else traffic
        """What federated peers have sent."""
        self.pool: ConnectionPool[Connection] = ConnectionPool() if pool is None else pool
        """The live connections whose clients have proven a name."""
        self._service = Service(
            credential,
            InForce(policy),
            mutual,
            self._limits,
            alpn,
            keep_alive,
            resume,
            self.traffic,
            authorize,
            as_measures(metrics),
            open_keylog(keylog),
        )
        self._handler = handler
        self._on_message = on_message
        self._teller = self._service.teller(on_refused)
        self._admit = admit
        self._lock = threading.Lock()
        self._listeners: dict[socket.socket, threading.Thread] = {}
        self._connections: set[Connection] = set()
        self._threads: set[threading.Thread] = set()
        self._ending: list[threading.Thread] = []  # done, but for the last of their steps
        slots, self._least = min(
            (self._limits.max_threads, "max_threads"),
            (self._limits.max_connections, "max_connections"),
        )
        self._slots = threading.Semaphore(slots)
        self._most = slots
        self._crowd = Crowd(self._limits.max_per_address)
        self._handshakes = threading.Semaphore(self._limits.max_handshakes)
        self._closed = threading.Event()
        self._waker, self._woken = socket.socketpair()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The ``(address, port)`` of each listening socket."""
        return tuple(listener.getsockname()[:2] for listener in self._listeners)

    def listen(
        self,
        host: str | None = None,
        port: int = SIPS_PORT,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Begin to accept connections, each in a thread. It may be called several times.

        Args:
            host: An address or a name of this machine; None for all of its addresses.
            port: 0 for any that is free; see `addresses`.
            sock: A bound stream socket to use instead. It belongs to the server from now on.
            reuse_port: Whether other processes may listen on the same address and port, too
                (SO_REUSEPORT); Linux spreads the connections among them. All have to say so: one
                that does not is refused, and so is, on Linux, one of another user. All else, such
                as `pool` and `traffic`, each has for itself.

        Raises:
            ConfigurationError: The address cannot be listened on; or the port cannot be shared.
            ConnectionClosedError: The server is closed.
        """
        self._check_open()
        check_reuse_port(reuse_port, sock)
        if sock is not None:
            sockets = [listening(sock)]
        else:
            sockets = _bind(host, check_port(port, lowest=0), reuse_port=reuse_port)
        for number, one in enumerate(sockets):
            thread = threading.Thread(target=self._accept, args=[one], daemon=True)
            try:
                with self._lock:
                    self._check_open()  # again: looking up a name takes its time
                    with cannot_listen(host, port):
                        thread.start()
                    self._listeners[one] = thread
            except (ConfigurationError, ConnectionClosedError):
                for unused in sockets[number:]:
                    unused.close()
                raise

    def serve_forever(self, *, timeout: float | None = None) -> None:
        """Wait until the server is closed, or the timeout is over.

        Raises:
            ConfigurationError: It does not listen, or the timeout is no number of seconds.
        """
        end = end_of(timeout)
        if not self._listeners and not self._closed.is_set():
            raise ConfigurationError("the server does not listen: call listen(host, port) first")
        self._closed.wait(left(end))

    def update(
        self,
        *,
        credential: Credential | Sequence[Credential] | None = None,
        policy: TrustPolicy | None = None,
    ) -> None:
        """Use another credential or policy from now on; None leaves either as it is.

        New connections use the new ones. The live ones are judged again, before it returns: one
        whose peer is trusted no more delivers nothing more, and is closed in order with
        `TrustLostError`; the others notice nothing. Without arguments, all are judged again by the
        same policy. It may be called from any thread.

        Args:
            credential: Our own; or several, as for the constructor.
            policy: Judges each client.

        Raises:
            ConfigurationError: One of them is none, or nobody is judged; nothing has changed then.
            CertificateError: OpenSSL does not take the credential; nothing has changed then.
            ConnectionClosedError: The transport is closed.
        """
        with self._lock:
            self._check_open()
            self._service = self._service.renewed(credential, policy)
            self._service.in_force.replace(policy)
            connections = list(self._connections)
        for connection in connections:
            connection.judge_again()

    def peers(self) -> list[Peer]:
        """Give who the clients of the live connections have proven to be."""
        with self._lock:
            connections = list(self._connections)
        return [one.peer for one in connections if one.peer is not None]

    def close(self) -> None:
        """Stop accepting, close every connection in order, and wait for the handlers.

        A handler learns of it from its connection. One that has not ended ``Limits.close_timeout``
        after that is left alone: a thread cannot be stopped from outside.
        """
        with self._lock:
            first = not self._closed.is_set()
            self._closed.set()
        if first:
            self._waker.send(b"x")
            self._slots.release()  # for the accepting thread, if it waits for a slot
        for one, thread in self._listeners.items():
            thread.join()
            one.close()
        self._listeners = {}
        with self._lock:
            connections, threads = list(self._connections), [*self._threads, *self._ending]
            self._ending = []
        close_all(connections)
        end = time.monotonic() + self._limits.close_timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0, end - time.monotonic()))
                if thread.is_alive():
                    _log.error("a handler did not end: thread %s is left alone", thread.name)
        if first:
            self._waker.close()
            self._woken.close()
            self._teller.sum_up()

    # ------------------------------------------------------------ inside

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ConnectionClosedError("the server is closed: make a new one")

    def _accept(self, listener: socket.socket) -> None:
        """Accept until the server is closed; while every slot is taken, the next one waits."""
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            poll.poll()
            if not self._slots.acquire(blocking=False):
                self._teller.limit_reached(FULL, self._least, self._most, limit=self._least)
                self._slots.acquire()
            if self._closed.is_set():
                self._slots.release()
                return
            try:
                sock, name = listener.accept()
            except BlockingIOError:
                self._slots.release()
                continue
            except OSError as error:
                self._slots.release()
                self._teller.error("%s", cannot_accept(error))
                self._closed.wait(_ACCEPT_PAUSE)
                continue
            address = address_of(name)
            with self._lock:
                is_one_more = self._crowd.enter(address)
            if not is_one_more:
                self._teller.limit_reached(
                    TOO_MANY,
                    shown(address),
                    self._limits.max_per_address,
                    limit="max_per_address",
                    address=address,
                )
                turn_away(sock)
                self._slots.release()
                continue
            thread = threading.Thread(target=self._serve, args=[sock, address], daemon=True)
            try:
                with self._lock:  # nobody joins one that has not started
                    thread.start()
                    self._threads.add(thread)
                    ended, self._ending = self._ending, []
                for one in ended:
                    one.join()
            except RuntimeError as error:
                sock.close()
                with self._lock:
                    self._crowd.leave(address)
                self._slots.release()
                self._teller.error(
                    "no thread for a connection from %s: %s",
                    shown(address),
                    error,
                    address=address,
                )
                self._closed.wait(_ACCEPT_PAUSE)

    def _serve(self, sock: socket.socket, address: Address | None) -> None:
        try:
            connection = Connection(
                sock,
                self._service.connection(address),
                self._limits,
                teller=self._teller,
                address=address,
                on_released=self._forget,
            )
            with self._lock:
                self._connections.add(connection)
            try:
                if not self._closed.is_set():  # else nobody else would close it
                    self._handle(connection)
            finally:
                connection.close()
        except (OSError, SIPTLSError) as error:
            sock.close()
            self._teller.lost(LOST, address, error)
        finally:
            with self._lock:
                self._crowd.leave(address)
                self._threads.discard(threading.current_thread())
                self._ending.append(threading.current_thread())
            self._slots.release()

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)
        self.pool.discard(connection.core)

    def _handle(self, connection: Connection) -> None:
        try:
            with self._handshakes:
                connection.handshake()
        except SIPTLSError:
            return  # told already
        if self._closed.is_set() or not self._is_admitted(connection):
            return
        if self._admit is not None and (self._closed.is_set() or not connection.usable):
            return  # meanwhile
        self._service.share(connection, self.pool)
        try:
            if self._handler is not None:
                self._handler(connection)
            else:
                self._deliver(connection)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the application's
            if error is not connection.closed and not _is_end(connection, error):
                _log.exception(
                    "the handler of %r failed",
                    connection,
                    extra=whom(connection).about("handler_failed"),
                )

    def _is_admitted(self, connection: Connection) -> bool:
        """Ask the application about the peer; what comes meanwhile waits."""
        if self._admit is None:
            return True
        assert isinstance(connection.core, ServerConnection)  # noqa: S101  we have made it
        decision = ask_blocking(self._admit, connection.core, self._limits.handshake_timeout)
        if not decision.accepted:
            connection.refuse(decision)
        return decision.accepted

    def _deliver(self, connection: Connection) -> None:
        assert self._on_message is not None  # noqa: S101  else there is a handler
        for message in connection:
            try:
                self._on_message(connection, message)
            except Exception as error:  # noqa: BLE001  whatever it is, it is the application's
                if not _is_end(connection, error):
                    _log.exception(
                        "on_message of %r failed",
                        connection,
                        extra=whom(connection).about("callback_failed"),
                    )


class TLSServerTransport(_ServerTransport):
    """Accepts clients over TLS. They show no certificate, so that ``connection.peer`` is None.

    Args:
        credential: Our own certificate and key; or several of them, of which the client's SNI
            selects one. The first is for clients that ask for no name, or for one nobody has.
        handler: ``def handler(connection)``: called for each accepted connection in a thread of its
            own; the connection is closed when it returns.
        on_message: ``def on_message(connection, message)``: called for each message instead.
        limits: Bounds; ``max_threads`` is that of the connections served at once.
        alpn: Whether ``sip/2`` is agreed on as the application protocol; see `ALPN`.
        keep_alive: Sends a ping each time that so many seconds, less a random fifth, have passed
            (RFC 5626 §4.4.1), such as 120; a peer that does not answer is given up. None sends
            none. Those of a peer are always answered.
        resume: Whether a client that was here before may do with the short handshake of TLS 1.3.
            What it has shown is judged again each time, and only sessions made under the policy
            that is in force are resumed.
        metrics: Records what happens: a `siptls.metrics.Recorder`, such as
            ``siptls.metrics.Metrics()``. None records nothing.
        keylog: A file to which the keys of all connections are appended (the SSLKEYLOGFILE format),
            for Wireshark. Whoever reads it can read all that passes: leave it out, but to find a
            fault. It is made with mode 600, and refused if others can read it.

    Raises:
        ConfigurationError: Neither a handler nor on_message, or both.
        CertificateError: OpenSSL does not take the credential.
    """

    def __init__(  # noqa: PLR0913  a server's whole configuration
        self,
        credential: Credential | Sequence[Credential],
        handler: Callable[[Connection], object] | None = None,
        *,
        on_message: Callable[[Connection, Message], object] | None = None,
        limits: Limits | None = None,
        alpn: ALPN = ALPN.OFFER,
        keep_alive: float | None = None,
        resume: bool = False,
        metrics: Recorder | None = None,
        keylog: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            credential,
            None,
            handler,
            mutual=False,
            on_message=on_message,
            on_refused=None,
            limits=limits,
            alpn=alpn,
            keep_alive=keep_alive,
            resume=resume,
            metrics=metrics,
            keylog=keylog,
        )


class MTLSServerTransport(_ServerTransport):
    """Accepts clients whose certificate the policy believes, each in a thread of its own.

    ::

        with MTLSServerTransport(credential, policy, handler) as server:
            server.listen("192.0.2.1", 5061)
            server.serve_forever()

    Args:
        credential: Our own certificate and key; or several of them, of which the client's SNI
            selects one. The first is for clients that ask for no name, or for one nobody has.
        policy: Judges each client.
        handler: ``def handler(connection)``: called for each accepted connection in a thread of its
            own; the connection is closed when it returns.
        on_message: ``def on_message(connection, message)``: called for each message instead.
        on_refused: ``def on_refused(decision, address)``: called for each refusal, also by
            `update`; the address is None for a Unix socket. Called in the threads of
            the connections, several at once.
        limits: Bounds; ``max_threads`` is that of the connections served at once.
        pool: Where the accepted connections are kept, so that a client transport with the same pool
            sends its requests back over them; see `ConnectionPool`.
        alpn: Whether ``sip/2`` is agreed on as the application protocol; see `ALPN`.
        keep_alive: Sends a ping each time that so many seconds, less a random fifth, have passed
            (RFC 5626 §4.4.1), such as 120; a peer that does not answer is given up. None sends
            none. Those of a peer are always answered.
        resume: Whether a client that was here before may do with the short handshake of TLS 1.3.
            What it has shown is judged again each time, and only sessions made under the policy
            that is in force are resumed.
        authorize: Whether each message comes with a decision about its sender, as
            ``message.decision``: see `Peer.authorize`. Nothing is answered for the application.
        traffic: Counts what federated peers send, and holds those with limits to them; see
            `Traffic`. By default the transport has one of its own.
        admit: Asked about each peer whom the policy has accepted, before the application hears of
            it: a function, or a coroutine function, that gets the `Peer` and gives a `Decision`,
            such as `EdgeDiscovery`. It has ``Limits.handshake_timeout``.
        metrics: Records what happens: a `siptls.metrics.Recorder`, such as
            ``siptls.metrics.Metrics()``. None records nothing.
        keylog: A file to which the keys of all connections are appended (the SSLKEYLOGFILE format),
            for Wireshark. Whoever reads it can read all that passes: leave it out, but to find a
            fault. It is made with mode 600, and refused if others can read it.

    Raises:
        ConfigurationError: No policy; or neither a handler nor on_message, or both.
        CertificateError: OpenSSL does not take the credential.
    """

    def __init__(  # noqa: PLR0913  a server's whole configuration
        self,
        credential: Credential | Sequence[Credential],
        policy: TrustPolicy,
        handler: Callable[[Connection], object] | None = None,
        *,
        on_message: Callable[[Connection, Message], object] | None = None,
        on_refused: OnRefused | None = None,
        limits: Limits | None = None,
        alpn: ALPN = ALPN.OFFER,
        keep_alive: float | None = None,
        resume: bool = False,
        pool: ConnectionPool[Connection] | None = None,
        authorize: bool = False,
        traffic: Traffic | None = None,
        admit: Admit | None = None,
        metrics: Recorder | None = None,
        keylog: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            credential,
            policy,
            handler,
            mutual=True,
            on_message=on_message,
            on_refused=on_refused,
            limits=limits,
            alpn=alpn,
            keep_alive=keep_alive,
            resume=resume,
            pool=pool,
            authorize=authorize,
            traffic=traffic,
            admit=admit,
            metrics=metrics,
            keylog=keylog,
        )


def _bind(host: str | None, port: int, *, reuse_port: bool) -> list[socket.socket]:
    with cannot_listen(host, port):
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    return listeners(found, host, port, reuse_port=reuse_port)


def _is_end(connection: Connection, error: Exception) -> bool:
    """Whether an error only tells that the connection is over, which is told already."""
    return connection.closed is not None and isinstance(error, SIPTLSError)
