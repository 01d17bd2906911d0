"""Driver: what moves bytes between an asyncio socket and a sans-I/O connection.

It is an `asyncio.BufferedProtocol` that does TLS itself, because asyncio's own TLS sends no alert
when a server's handshake fails, and gives each connection a buffer of 256 KiB. After each read it
handles all events and writes once.

How a connection ends. Whoever ends it, the last bytes (an alert, a close_notify) must arrive. If a
socket is closed while bytes that it has received are unread, the kernel sends a reset, and the
reset overtakes them: the peer would read "connection reset" instead of the reason. So the driver
first closes its sending half, reads and drops what still comes until the peer has closed, too, and
only then closes the socket; or when ``Limits.close_timeout`` is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Coroutine
from typing import Any, cast

from siptls.errors import (
    ConnectionClosedError,
    HandshakeTimeout,
    LimitError,
    OperationTimeout,
    RefusedByPeerError,
    SIPTLSError,
)
from siptls.transports.aio.turns import Handshake, Turns
from siptls.transports.aio.waiting import Flag, Inbox
from siptls.transports.sockets import Outflow, acknowledged, watch_peer
from siptls.trust.decision import Decision
from siptls.trust.evidence import Role
from siptls.trust.refusal import TrustLostError
from siptls.wire.connection import ClientConnection, ServerConnection
from siptls.wire.events import (
    ConnectionClosed,
    Event,
    MessageReceived,
    PeerAccepted,
    PeerRefused,
    Pong,
)
from siptls.wire.limits import Limits
from siptls.wire.message import Message
from siptls.wire.telling import (
    Address,
    Teller,
    Whom,
    address_of,
    is_known,
    shown,
)

__all__ = ["Driver"]

_REST = 65536  # bytes, read once: it is the alert that matters

# One read buffer serves all connections of a thread: a read and what is made of it are one step of
# the event loop, and the bytes are copied out before it ends.
_READ_SIZE = 65536
# What is read at a time of a peer with limits: the rest waits in the kernel, and counts for him.
_LITTLE = 4096
# What a message costs in a queue beside its bytes: the smallest has 20, and three objects.
_OVERHEAD = 256
# Why nothing is read: the peer has sent more than it may.
_LIMIT = "the limit"
# Why nothing is read: more of the handshake has come than its next step needs.
_TURN = "its turn"


class _ReadBuffer(threading.local):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(_READ_SIZE))
        self.small = self.view[:_LITTLE]


_shared = _ReadBuffer()


class Driver(asyncio.BufferedProtocol):
    """Drives one connection. All of its methods belong to the thread of the event loop.

    Args:
        core: The sans-I/O connection.
        limits: Bounds.
        turns: Where the steps of the handshake stand in a queue; None takes each at once.
        teller: Tells what becomes of the peer; by default in the log alone.
        on_accepted: Called when messages may flow.
        on_lost: Called when the socket is closed.

    Attributes:
        loop: Its event loop.
        core: The sans-I/O connection.
        address: The peer's, or None if the socket has none.
        local: Our own, or None.
        on_message: If set, takes each message in the read path instead of the queue.
        accepted: Done when messages may flow, or failed with the reason why they never will.
        lost: Done when the socket is closed.
        ended: Why the connection is over; None while it is not.
    """

    __slots__ = (
        "__weakref__",
        "_counted",
        "_cut",
        "_drained",
        "_given_up",
        "_half_closed",
        "_handshake",
        "_limits",
        "_linger",
        "_messages",
        "_on_accepted",
        "_on_lost",
        "_outflow",
        "_paused",
        "_pings",
        "_queued",
        "_reading",
        "_teller",
        "_timer",
        "_timer_at",
        "_transport",
        "_unasked",
        "_watch",
        "_writable",
        "_written",
        "accepted",
        "address",
        "core",
        "ended",
        "local",
        "loop",
        "lost",
        "on_message",
    )

    def __init__(  # noqa: PLR0913  what it drives, within which bounds, and whom it tells
        self,
        core: ClientConnection | ServerConnection,
        limits: Limits,
        turns: Turns | None = None,
        *,
        teller: Teller | None = None,
        on_accepted: Callable[[Driver], None] | None = None,
        on_lost: Callable[[Driver], None] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.core = core
        self.address: Address | None = None
        self.local: Address | None = None
        self.on_message: Callable[[Message], None] | None = None
        self.accepted: asyncio.Future[None] = self.loop.create_future()
        self.lost: asyncio.Future[None] = self.loop.create_future()
        self.ended: SIPTLSError | None = None
        self._limits = limits
        self._teller = Teller() if teller is None else teller
        self._on_accepted = on_accepted
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # uvloop's timers do not tell it
        self._linger: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._outflow = Outflow(limits)
        self._messages: Inbox[Message | SIPTLSError] = Inbox()
        self._queued = 0  # bytes in _messages
        self._pings: list[asyncio.Future[None]] = []
        self._writable = Flag(holds=True)
        self._drained = Flag(holds=True)  # the kernel has taken all that was written
        self._cut = False  # the socket was closed before
        self._given_up = False  # by us, while the handshake was going on
        self._written = 0  # bytes, since the first that the kernel counts
        self._counted: int | None = None  # what the kernel counted before
        self._unasked = 0  # bytes that the peer made us write while it takes none
        self._reading = False  # inside a read: what is sent now goes out at its end
        self._paused: set[str] = set()  # what is waited for before more is read
        self._half_closed = False
        self._handshake = (
            None
            if turns is None
            else Handshake(
                turns,
                core,
                self._stepped,
                pause=lambda: self._pause_reading(_TURN),
                resume=lambda: self._resume_reading(_TURN),
            )
        )

    async def begin(self, give: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Have the loop give us our socket; whoever is cancelled meanwhile lets that end first.

        Args:
            give: Calls the loop's own method. If that were cancelled, uvloop would close the socket
                and never say that it is lost.

        Raises:
            OSError: The connection was reset at once.
        """
        begun: asyncio.Task[object] | None = None
        try:
            begun = self.loop.create_task(give())
            await asyncio.shield(begun)
        except asyncio.CancelledError:
            self._given_up = True
            if begun is not None:
                begun.add_done_callback(self._cut_off)
            raise
        except BaseException:
            self._cut_off()
            raise

    def _cut_off(self, begun: asyncio.Task[object] | None = None) -> None:
        if begun is not None and not begun.cancelled():
            begun.exception()  # nobody else asks for it
        if self._transport is not None:
            self.abort()
        elif not self.lost.done():  # it never began, so that the loop does not say that it is over
            self.connection_lost(None)

    # ------------------------------------------------------------ called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: a client's first flight goes out."""
        # uvloop's are of no class of asyncio's, but have its methods
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # what waits at all is to be known
        self._counted = acknowledged(transport.get_extra_info("socket"))
        watch_peer(transport.get_extra_info("socket"), self._limits)
        self.address = address_of(transport.get_extra_info("peername")) or self.address
        self.local = address_of(transport.get_extra_info("sockname"))
        self._process()
        if self.ended is not None:  # closed before it began
            # Inside of this method, uvloop would begin to read what is closed, and libuv end the
            # whole process for it.
            self.loop.call_soon(transport.abort)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give the loop a place to read into."""
        del sizehint
        return _shared.small if self.core.limited else _shared.view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        if self._handshake is not None:
            self._handshake.take(_shared.view[:nbytes])
            return
        self._reading = True
        try:
            self.core.receive_data(_shared.view[:nbytes])
            self._process()
        finally:
            self._reading = False

    def eof_received(self) -> bool:
        """Take notice that the peer has closed its sending half; we close ours ourselves."""
        if not self._has_to_wait(self.eof_received, behind=True):
            self.core.receive_eof()
            self._process()
            self._close_socket()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Take notice that the socket is closed."""
        if self._has_to_wait(lambda: self.connection_lost(exc), behind=True):
            return
        try:
            if isinstance(exc, OSError):
                self._read_the_rest()
            if self._given_up:
                self.core.close()
            self.core.receive_eof(exc if isinstance(exc, OSError) else None)
            self._process()
        finally:  # whatever the application does with what comes last
            self._cut = not self._drained
            self._drained.set()
            for handle in (self._timer, self._linger, self._watch):
                if handle is not None:
                    handle.cancel()
            self._handshake = None  # it knows us: what is over is freed at once, and not by the gc
            self._writable.set()
            _settle(self.lost)
            if self._on_lost is not None:
                self._on_lost(self)

    def _read_the_rest(self) -> None:
        """Take what had come when a write failed, which asyncio leaves unread.

        A TLS 1.3 server may refuse a client's certificate, and close, while the client sends its
        first request: the write fails, and its reason is an alert that waits to be read. A peer
        that has sent more than it may gains nothing by it.
        """
        sock = None if self._transport is None else self._transport.get_extra_info("socket")
        # That of uvloop may have been closed already, and its number be another one's.
        if isinstance(sock, TransportSocket) and not self.core.holding:
            with contextlib.suppress(OSError):
                size = _LITTLE if self.core.limited else _REST
                self.core.receive_data(os.read(sock.fileno(), size))

    def pause_writing(self) -> None:
        """The kernel has not taken all that was written."""
        self._drained.clear()
        self._outflow.begin(self.loop.time(), *self._taken())
        if self._watch is None:
            self._watch = self.loop.call_at(self._outflow.until, self._look_at_outflow)

    def resume_writing(self) -> None:
        """The kernel has taken all that was written."""
        self._unasked = 0
        self._drained.set()
        self._writable.set()
        self._resume_reading("the peer")

    # ------------------------------------------------------------ called by Connection

    async def send(self, message: bytes | bytearray | memoryview | Message) -> None:
        """Send, and wait until the kernel has taken it; before, while too much waits already."""
        while not self._writable and self.ended is None:
            await self._writable.wait()
        self._write(message)
        if not self._drained:
            await self._drained.wait()
            if self._cut and self.ended is not None:
                raise _not_sent(self.ended)
        elif self._transport is not None and self._transport.is_closing():
            await asyncio.sleep(0)  # the write has failed, or one before: now we learn why
            if isinstance(self.ended, RefusedByPeerError):
                raise self.ended.with_traceback(None)
            if self.ended is not None:
                raise _not_sent(self.ended)

    def send_nowait(self, message: bytes | bytearray | memoryview | Message) -> None:
        """Send, if the write buffer is not above its mark."""
        if not self._writable and self.ended is None:
            raise LimitError(
                f"more than {self._limits.write_buffer} bytes wait to be sent to"
                f" {shown(self.address)}, which reads too slowly: await send() instead, or drop"
                " the message"
            )
        self._write(message)

    async def receive(self) -> Message:
        """Give the next message; when all are given, raise why the connection is over.

        What was decided about its sender is decided again if the peer was judged again since.
        """
        if not self._messages:
            self.judge_again()
        message = await self._messages.get()
        self.judge_again()  # it may have come long before this task had its turn
        if isinstance(self.ended, TrustLostError):
            message = self.ended
        if isinstance(message, SIPTLSError):
            self._messages.put(message)  # for whoever asks again
            raise message.with_traceback(None)
        self._queued -= len(message.data) + _OVERHEAD
        if self._queued <= self._limits.read_buffer // 2:
            self._resume_reading("the application")
        return self.core.up_to_date(message)

    def deliver_to(self, on_message: Callable[[Message], None]) -> None:
        """Give each message to a function from now on, first those that wait already."""
        self.on_message = on_message
        for _ in range(len(self._messages)):
            message = self._messages.take()
            if isinstance(message, SIPTLSError):
                self._messages.put(message)
                continue
            self._queued -= len(message.data) + _OVERHEAD
            self._deliver(message)
        self._resume_reading("the application")

    def refuse(self, decision: Decision) -> None:
        """End it for what the application has decided about the peer."""
        self.core.refuse(decision)
        self._process()

    async def ping(self) -> float:
        """Ping, wait for the pong, and give the seconds between."""
        self.core.ping()
        start = self.loop.time()
        answered: asyncio.Future[None] = self.loop.create_future()
        self._pings.append(answered)
        self._process()
        while not answered.done():
            await asyncio.wait([answered], timeout=self._limits.pong_timeout)
            if not answered.done() and "the application" in self._paused:
                raise OperationTimeout(
                    f"the pong is behind {self._queued} bytes of messages that nobody receives:"
                    " receive in another task, or before"
                )
        answered.result()
        return self.loop.time() - start

    @property
    def over(self) -> bool:
        """Whether nothing can be sent any more, since one side has closed."""
        return self.core.closed is not None or self._half_closed

    def close(self) -> None:
        """Begin to close in order. `lost` tells when it is done."""
        if self._has_to_wait(self.close, next_step=True):  # who is nearly there, ends in order
            return
        self.core.close()
        self._resume_reading()
        self._process()
        self._half_close()

    def judge_again(self) -> None:
        """Judge the peer by the policy in force, unless it was; who is refused is let go."""
        if self._has_to_wait(self.judge_again):
            return
        self.core.ensure_trust()
        if (self.core.closed is not None and self.ended is None) or _LIMIT in self._paused:
            self._process()

    async def wait_lost(self) -> None:
        """Wait until the socket is closed."""
        await asyncio.shield(self.lost)

    def abort(self) -> None:
        """Close the socket now, whatever is lost."""
        if self._transport is not None:
            self._transport.abort()

    def give_up(self) -> None:
        """Close the socket of a handshake now, for nobody waits for it any more."""
        self._given_up = not self.accepted.done()
        self.abort()

    # ------------------------------------------------------------ inside

    def _has_to_wait(self, call: Callable[[], object], **which: bool) -> bool:
        """Whether a step of the handshake is to be waited for; if so, the call follows it."""
        return self._handshake is not None and self._handshake.defer(call, **which)

    def _stepped(self, error: BaseException | None) -> None:
        """A step of the handshake was taken."""
        if error is not None:
            self.abort()
            raise error
        self._reading = True
        try:
            self._process()
        finally:
            self._reading = False
            if self._handshake is not None and self._handshake.over:
                self._handshake = None

    def _process(self, *, unasked: bool = True) -> None:
        """Handle what has happened, write what is to be written, and set the timer."""
        while events := self.core.events():
            for event in events:
                if type(event) is MessageReceived:  # as nearly all are
                    self._deliver(event.message)
                else:
                    self._handle(event)
        self._flush(unasked=unasked)
        if self.core.holding is not (_LIMIT in self._paused):
            if self.core.holding:
                self._pause_reading(_LIMIT)
            else:
                self._resume_reading(_LIMIT)
        self._schedule()

    def _handle(self, event: Event) -> None:
        match event:
            case PeerAccepted():
                self._accept()
            case PeerRefused(decision=decision):
                known = isinstance(self.core.closed, TrustLostError)
                self._teller.refused(decision, self.address, known=known)
            case Pong():
                _settle(self._pings.pop(0))
            case ConnectionClosed(reason=reason):
                self._end(reason)

    def _accept(self) -> None:
        _settle(self.accepted)
        if self._on_accepted is not None:
            self._on_accepted(self)

    def _deliver(self, message: Message) -> None:
        if self.on_message is not None:
            self.core.ensure_trust()  # it may have changed what is in force
            if not isinstance(self.core.closed, TrustLostError):
                self.on_message(self.core.up_to_date(message))
            return
        self._messages.put(message)
        self._queued += len(message.data) + _OVERHEAD
        if self._queued > self._limits.read_buffer:
            self._pause_reading("the application")

    def _pause_reading(self, waits_for: str) -> None:
        if self._transport is not None and not self._paused:
            self._transport.pause_reading()
        self._paused.add(waits_for)

    def _resume_reading(self, *waited_for: str) -> None:
        """Read on, unless something else is waited for; without arguments in any case."""
        was_paused = bool(self._paused)
        self._paused.difference_update(waited_for or tuple(self._paused))
        if was_paused and not self._paused and self._transport is not None:
            self._transport.resume_reading()
            self.core.restart_deadline()
            self._schedule()

    def _end(self, reason: SIPTLSError) -> None:
        """The connection is over: wake whoever waits, and bring the socket to its end."""
        self.ended = reason
        if isinstance(reason, ConnectionClosedError) and not reason.orderly:
            reason.unacknowledged = self._unacknowledged()
        self._teller.ended(
            reason,
            self.address,
            known=is_known(self.core.peer),
            accepted=self.accepted.done(),
            silent=self.core.role is Role.CLIENT and not self.core.heard,
            whom=self._whom,
        )
        for waiting in (self.accepted, *self._pings):
            if not waiting.done():
                waiting.set_exception(reason)
                waiting.exception()  # whoever awaits it sees it; nobody must
        if isinstance(reason, TrustLostError):  # nothing more of what it has sent
            self._messages.clear()
        self._messages.put(reason)
        self._writable.set()
        self._resume_reading()
        self._flush(unasked=False)
        if isinstance(reason, HandshakeTimeout):  # whoever says nothing is not waited for again
            self.abort()
        elif self._half_closed or (isinstance(reason, ConnectionClosedError) and reason.orderly):
            self._close_socket()
        else:
            self._half_close()

    @property
    def _whom(self) -> Whom:
        return Whom(self.address, self.core.role, self.core.peer, self.core.reference)

    def _unacknowledged(self) -> int | None:
        if self._transport is None or self._counted is None:
            return None
        counted = acknowledged(self._transport.get_extra_info("socket"))
        return None if counted is None else max(0, self._written - (counted - self._counted))

    def _half_close(self) -> None:
        """Send what is left and a FIN; the peer's FIN, or the timer, does the rest."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._half_closed:
            return
        self._half_closed = True
        self._limit_close(transport)
        try:
            transport.write_eof()
        except OSError:  # the peer has reset the connection: there is no half left to close
            transport.abort()

    def _close_socket(self) -> None:
        """Close the socket once the write buffer is empty."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.close()
        self._limit_close(transport)

    def _limit_close(self, transport: asyncio.Transport) -> None:
        if self._linger is None:
            self._linger = self.loop.call_later(self._limits.close_timeout, transport.abort)

    def _write(self, message: bytes | bytearray | memoryview | Message) -> None:
        try:
            self.core.send(message)
        finally:
            if not self._reading:
                self._process(unasked=False)

    def _flush(self, *, unasked: bool) -> None:
        transport = self._transport
        if transport is None:
            return
        data = self.core.data_to_send()
        if not data or transport.is_closing() or self._half_closed:
            return
        if unasked and not self._writable:
            self._unasked += len(data)
            if self._unasked > self._limits.write_buffer:
                self._teller.warn(
                    "%s asks for answers and does not read them: the connection is cut",
                    shown(self.address),
                    known=is_known(self.core.peer),
                    event="connection_cut",
                    whom=self._whom,
                )
                transport.abort()
                return
        self._written += len(data)
        transport.write(data)
        if not self._drained:
            self._hold_back(transport)

    def _hold_back(self, transport: asyncio.Transport) -> None:
        """If too much waits to be sent, let nobody add to it."""
        if self._writable and transport.get_write_buffer_size() > self._limits.write_buffer:
            self._writable.clear()
            if self.on_message is not None:  # what it answers could not be sent
                self._pause_reading("the peer")

    # ------------------------------------------------------------ time

    def _taken(self) -> tuple[int, int]:
        """Bytes that the kernel has taken, and that wait for it."""
        transport = self._transport
        waiting = 0 if transport is None else transport.get_write_buffer_size()
        return self._written - waiting, waiting

    def _look_at_outflow(self) -> None:
        self._watch = None
        if self._has_to_wait(self._look_at_outflow):
            return
        if self._drained or self._transport is None:
            return
        error = self._outflow.error(self.loop.time(), *self._taken())
        if error is None:
            self._watch = self.loop.call_at(self._outflow.until, self._look_at_outflow)
            return
        self.core.receive_eof(error)
        self._process()
        self._transport.abort()

    def _schedule(self) -> None:
        """Have the timer set no later than the deadline; an early one sets itself anew."""
        deadline = self.core.deadline
        if deadline is None or deadline == math.inf or self.lost.done():
            return
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self.loop.call_at(deadline, self._handle_deadline), deadline

    def _handle_deadline(self) -> None:
        self._timer = None
        if self._has_to_wait(self._handle_deadline):
            return
        if self._paused and not self.core.holding:
            return  # it is we who read nothing; it is set again on resuming
        try:
            self.core.handle_deadline(self.loop.time())
            self._process()
        except BaseException:  # the application's; asyncio ends a connection that fails in a read
            self.abort()
            raise


def _settle(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _not_sent(reason: SIPTLSError) -> SIPTLSError:
    """The error for what never reached the socket: it is a closed connection, however it ended."""
    if isinstance(reason, ConnectionClosedError) and not reason.orderly:
        return reason.with_traceback(None)
    closed = ConnectionClosedError(f"not sent, for the connection has ended before: {reason}")
    closed.__cause__ = reason
    return closed
