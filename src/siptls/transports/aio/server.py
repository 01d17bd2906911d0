"""TLSServerTransport and MTLSServerTransport: connections that others open to us."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

from siptls.arguments import check_callback, check_handler
from siptls.errors import ConfigurationError, ConnectionClosedError, SIPTLSError
from siptls.journal import log as _log
from siptls.keylog import open_keylog
from siptls.metrics import Recorder
from siptls.transports.admission import Admit, ask, check_admit
from siptls.transports.aio.closing import Closing
from siptls.transports.aio.connection import Connection
from siptls.transports.aio.door import Door
from siptls.transports.aio.driver import Driver
from siptls.transports.aio.judging import Judging
from siptls.transports.aio.turns import Turns
from siptls.transports.crowd import Crowd
from siptls.transports.known import whom
from siptls.transports.listening import (
    LOST,
    TOO_MANY,
    cannot_listen,
    check_reuse_port,
    listeners,
    listening,
    turn_away,
)
from siptls.transports.resolution import SIPS_PORT, check_port
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


Handler: TypeAlias = Callable[[Connection], Coroutine[Any, Any, object]]
OnMessage: TypeAlias = Callable[[Connection, Message], object]


class _ServerTransport(Closing):
    """What both have in common: they differ in whether the client is judged."""

    def __init__(  # noqa: PLR0913  a server's whole configuration
        self,
        credential: Credential | Sequence[Credential],
        policy: TrustPolicy | None,
        handler: Handler | None,
        *,
        mutual: bool,
        on_message: OnMessage | None,
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
        require_one_handler(handler, on_message, "coroutine function")
        check_handler(handler)
        check_callback("on_message", on_message)
        check_callback("on_refused", on_refused)
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
        self._doors: list[Door] = []
        self._drivers: dict[Driver, Address | None] = {}
        self._crowd = Crowd(self._limits.max_per_address)
        self._updating = threading.Lock()
        self._judging = Judging(lambda: self._drivers)
        self._handlers: set[asyncio.Task[Any]] = set()
        self._turns = Turns(self._limits.handshake_workers or 0)
        self._shaking: set[Driver] = set()
        self._closed = asyncio.Event()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The ``(address, port)`` of each listening socket."""
        return tuple(door.name[:2] for door in self._doors)

    async def listen(
        self,
        host: str | None = None,
        port: int = SIPS_PORT,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Begin to accept connections. It may be called several times.

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
            sockets = await _bind(host, check_port(port, lowest=0), reuse_port=reuse_port)
        if self._closed.is_set():  # meanwhile
            for listener in sockets:
                listener.close()
        self._check_open()
        self._doors += [Door(one, self._reached, self._take, self._teller) for one in sockets]
        self._judging.enter()

    async def serve_forever(self) -> None:
        """Wait until the server is closed, or the task is cancelled.

        Raises:
            ConfigurationError: It does not listen.
        """
        if not self._doors and not self._closed.is_set():
            raise ConfigurationError("the server does not listen: await listen(host, port) first")
        await self._closed.wait()

    def update(
        self,
        *,
        credential: Credential | Sequence[Credential] | None = None,
        policy: TrustPolicy | None = None,
    ) -> None:
        """Use another credential or policy from now on; None leaves either as it is.

        New connections use the new ones. The live ones are judged again: one
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
        with self._updating:
            self._check_open()
            self._service = self._service.renewed(credential, policy)
            self._service.in_force.replace(policy)
        self._judging.begin()

    def peers(self) -> list[Peer]:
        """Give who the clients of the live connections have proven to be."""
        return [driver.core.peer for driver in list(self._drivers) if driver.core.peer is not None]

    async def aclose(self) -> None:
        """Stop accepting, close every connection in order, and end every handler.

        A handler learns of it from its connection; one that has not ended
        ``Limits.close_timeout`` after its connection is cancelled.
        """
        self._closed.set()
        await self._judging.stop()
        doors, self._doors = self._doors, []
        for door in doors:
            door.close()
        drivers = list(self._drivers)
        for driver in drivers:
            driver.close()
        await asyncio.gather(*(driver.wait_lost() for driver in drivers))
        self._turns.close()
        current = asyncio.current_task()
        handlers = {task for task in self._handlers if task is not current}
        if handlers:
            _, late = await asyncio.wait(handlers, timeout=self._limits.close_timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._teller.sum_up()

    # ------------------------------------------------------------ inside

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ConnectionClosedError("the server is closed: make a new one")

    def _reached(self) -> tuple[str, int] | None:
        """Which limit is reached, and how high it is, so that whoever comes waits."""
        if len(self._drivers) >= self._limits.max_connections:
            return "max_connections", self._limits.max_connections
        if len(self._shaking) >= self._limits.max_handshakes:
            return "max_handshakes", self._limits.max_handshakes
        return None

    def _take(self, sock: socket.socket, name: object) -> None:
        address = address_of(name)
        if not self._crowd.enter(address):
            self._teller.limit_reached(
                TOO_MANY,
                shown(address),
                self._limits.max_per_address,
                limit="max_per_address",
                address=address,
            )
            turn_away(sock)
            return
        try:
            driver = Driver(
                self._service.connection(address, asyncio.get_running_loop().time),
                self._limits,
                self._turns,
                teller=self._teller,
                on_accepted=self._begin,
                on_lost=self._forget,
            )
            driver.address = address  # who has reset has no name any more
        except (OSError, SIPTLSError) as error:
            sock.close()
            self._crowd.leave(address)
            self._teller.lost(LOST, address, error)
            return
        except BaseException:
            sock.close()
            self._crowd.leave(address)
            raise
        self._drivers[driver] = address
        self._shaking.add(driver)
        self._spawn(self._serve(driver, sock, address))

    async def _serve(self, driver: Driver, sock: socket.socket, address: Address | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            await driver.begin(lambda: loop.connect_accepted_socket(lambda: driver, sock))
        except OSError as error:
            sock.close()
            self._teller.lost(LOST, address, error)

    def _end_handshake(self, driver: Driver) -> None:
        if driver in self._shaking:
            self._shaking.remove(driver)
            self._open_doors()

    def _open_doors(self) -> None:
        for door in self._doors:
            door.open()

    def _forget(self, driver: Driver) -> None:
        self._end_handshake(driver)
        if driver in self._drivers:
            self._crowd.leave(self._drivers.pop(driver))
            self._open_doors()
            self.pool.discard(driver.core)

    def _begin(self, driver: Driver) -> None:
        """The peer is accepted: this is the first time that the application hears of it."""
        self._end_handshake(driver)
        if self._admit is None:
            self._start(driver)
        else:
            self._spawn(self._ask(driver, self._admit))

    async def _ask(self, driver: Driver, admit: Admit) -> None:
        """The application is asked about the peer; what comes meanwhile waits."""
        assert isinstance(driver.core, ServerConnection)  # noqa: S101  we have made it
        timeout = self._limits.handshake_timeout
        question = asyncio.ensure_future(ask(admit, driver.core, timeout))
        self._handlers.add(question)
        question.add_done_callback(self._handlers.discard)
        either: set[asyncio.Future[Any]] = {question, driver.lost}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            question.cancel()  # nobody wants to know any more; if it is done, that does nothing
        if driver.over:
            return
        decision = await question
        if decision.accepted:
            self._start(driver)
        else:
            driver.refuse(decision)

    def _start(self, driver: Driver) -> None:
        connection = Connection(driver)
        self._service.share(connection, self.pool)
        if self._on_message is None:
            self._spawn(self._handle(driver, connection))
            return
        on_message = self._on_message
        driver.deliver_to(partial(_deliver, on_message, driver, connection))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _handle(self, driver: Driver, connection: Connection) -> None:
        assert self._handler is not None  # noqa: S101  else on_message is set
        try:
            handling = self._handler(connection)
            if inspect.isawaitable(handling):
                await handling
            else:  # a lambda may give a coroutine, so that only now it is known
                _log.error("the handler is no coroutine function: write async def handler(...)")
        except Exception as error:  # noqa: BLE001  whatever it is, it is the application's
            if not _is_end(driver, error):
                _log.exception(
                    "the handler of %r failed",
                    connection,
                    extra=whom(connection).about("handler_failed"),
                )
        finally:
            await connection.aclose()


def _deliver(
    on_message: OnMessage, driver: Driver, connection: Connection, message: Message
) -> None:
    try:
        on_message(connection, message)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  whatever it is, it is the application's
        if not _is_end(driver, error):
            _log.exception(
                "on_message of %r failed",
                connection,
                extra=whom(connection).about("callback_failed"),
            )


def _is_end(driver: Driver, error: BaseException) -> bool:
    """Whether an error only tells that the connection is over, which is told already."""
    return error is driver.core.closed or (driver.over and isinstance(error, ConnectionClosedError))


async def _bind(host: str | None, port: int, *, reuse_port: bool) -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    with cannot_listen(host, port):
        found = await loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    return listeners(found, host, port, reuse_port=reuse_port)


class TLSServerTransport(_ServerTransport):
    """Accepts clients over TLS. They show no certificate, so that ``connection.peer`` is None.

    Args:
        credential: Our own certificate and key; or several of them, of which the client's SNI
            selects one. The first is for clients that ask for no name, or for one nobody has.
        handler: ``async def handler(connection)``: called for each connection, which is closed
            when it returns.
        on_message: ``def on_message(connection, message)``: called in the read path instead, for
            speed. What it sends with ``send_nowait`` goes out with one write after each read. If
            it raises, that is logged, and the connection goes on: the fault is in one message.
        limits: Bounds.
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
        handler: Handler | None = None,
        *,
        on_message: OnMessage | None = None,
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
    """Accepts clients, most often servers of others, whose certificate the policy believes.

    ::

        async with MTLSServerTransport(credential, policy, handler) as server:
            await server.listen("192.0.2.1", 5061)
            await server.serve_forever()

    A client that is refused, or that shows no certificate, gets a TLS alert; the application gets
    ``on_refused``, and a warning is logged. No handler ever sees its connection.

    Args:
        credential: Our own certificate and key; or several of them, of which the client's SNI
            selects one. The first is for clients that ask for no name, or for one nobody has.
        policy: Judges each client.
        handler: ``async def handler(connection)``: called for each accepted connection, which is
            closed when it returns.
        on_message: ``def on_message(connection, message)``: called in the read path instead, for
            speed. What it sends with ``send_nowait`` goes out with one write after each read. If
            it raises, that is logged, and the connection goes on: the fault is in one message.
        on_refused: ``def on_refused(decision, address)``: called for each refusal, also by
            `update`; the address is None for a Unix socket. A plain function, in the event
            loop: what takes time belongs into a queue.
        limits: Bounds.
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
        handler: Handler | None = None,
        *,
        on_message: OnMessage | None = None,
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
