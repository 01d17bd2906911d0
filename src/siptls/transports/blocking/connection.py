"""Blocking transports, public as ``siptls.sync``: the same on sockets and threads.

How it thinks. There is no thread that works in the background. Whoever waits for something (a
message, a pong, room to write, the end) takes the part of the driver, if nobody has it: he waits
for the socket, reads what comes and writes what goes, and tells all who wait; then the next one
takes over. So a connection costs no thread of its own, and any number of threads may send, receive
and close it at once. One lock protects it all; it is never held while the network is waited for,
nor while the application is called.

While nobody waits for anything to come, nothing is read: pings are answered, and the end is
noticed, by whoever is in `Connection.receive`.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeAlias

from siptls.errors import (
    Attempt,
    ConnectionClosedError,
    HandshakeTimeout,
    OperationTimeout,
    SIPTLSError,
)
from siptls.transports.blocking.stopping import Waker
from siptls.transports.blocking.timeouts import earlier, end_of, left, milliseconds, timed_out
from siptls.transports.known import Core, Known, whom
from siptls.transports.sockets import Outflow, acknowledged, watch_peer
from siptls.trust.decision import Decision
from siptls.trust.evidence import Role
from siptls.trust.refusal import TrustLostError
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
    address_of,
    is_known,
)

__all__ = ["Closing", "Connection", "close_all"]

Sendable: TypeAlias = bytes | bytearray | memoryview | Message

_READ_SIZE = 65536
# What is read at a time of a peer with limits: the rest waits in the kernel, and counts for him.
_LITTLE = 4096
# Seconds without a read after which what has come is read before anything is called late.
_GAP = 1.0
# How often what has come is read before a socket is closed.
_DRAINS = 16
# Seconds after the close_timeout in which one who closes as well waits for the first.
_GRACE = 1.0


class Closing:
    """Closes when the ``with`` block ends."""

    def close(self) -> None:
        """Close; each kind says how."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


# ---------------------------------------------------------------- one connection


class Connection(Known, Closing):
    """A connection whose peer the policy has accepted. Transports and `wrap_socket` make it.

    All of its methods may be called from any thread, and from several at once. ``timeout`` is in
    seconds; None waits for ever.
    """

    def __init__(  # noqa: PLR0913  what its transport gives it
        self,
        sock: socket.socket,
        core: Core,
        limits: Limits,
        *,
        teller: Teller | None = None,
        address: Address | None = None,
        attempts: Sequence[Attempt] = (),
        on_released: Callable[[Connection], object] | None = None,
    ) -> None:
        # Whoever comes to wait while another one drives wakes him, if he has to look again.
        try:
            self._waker = Waker()
        except ConnectionClosedError:
            sock.close()
            raise
        sock.setblocking(False)
        watch_peer(sock, limits)
        self._counted = acknowledged(sock)  # what the kernel counted before
        self._on_released = on_released
        self._sock = sock
        self._core = core
        self._limits = limits
        self._teller = Teller() if teller is None else teller
        self.attempts = tuple(attempts)
        """The addresses that were tried in vain before this one, each with its error."""
        self.local_address = _name(sock.getsockname)
        """Our ``(address, port)``; None if the socket has no such thing."""
        # Who has reset has no name any more.
        self._remote_address = _name(sock.getpeername) or address
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._driving = False
        self._interest = 0  # what the driver waits for
        self._readers = 0  # threads that wait for something to come
        self._unsent = bytearray()  # records that the kernel has not taken yet
        self._queued = 0  # bytes that were ever to be written
        self._answers = 0  # bytes of them that answer pings, since the last time all was written
        self._inbox: deque[Message] = deque()
        self._stored = 0  # bytes in it
        self._untold: deque[PeerRefused | ConnectionClosed] = deque()
        self._pongs = 0
        self._pings = 0
        self._accepted = False
        self._ended: SIPTLSError | None = None
        self._failure: OSError | None = None  # what the system said of the end
        self._broken = False  # the socket takes no more bytes
        self._eof = False  # the peer has closed its half, or the socket is broken
        self._closing: float | None = None  # until when the peer has time for its part
        self._closer: int | None = None  # the thread that does it, the others wait
        self._releasing = False
        self._released = False
        self._last_read = time.monotonic()
        self._behind = False  # nobody has read for a while, and not all that has come is read

    # ------------------------------------------------------------ what is known

    @property
    def _known(self) -> Core:
        return self._core

    @property
    def world(self) -> object:
        """Threads: it can be used anywhere, but in no event loop."""
        return None

    @property
    def remote_address(self) -> Address | None:
        """The peer's ``(address, port)``; None if the socket has no such thing."""
        return self._remote_address

    @property
    def closed(self) -> SIPTLSError | None:
        """Why the connection is over; None while it is not, as far as anybody has looked."""
        return self._ended

    @property
    def usable(self) -> bool:
        """Whether something can be sent: what has come until now, such as the end, is looked at."""
        with self._lock:
            self._ensure_trust()
            if self._ended is None and not self._driving and self._closing is None:
                self._readers += 1
                try:
                    self._drive(time.monotonic())
                finally:
                    self._readers -= 1
            return self._ended is None and self._closing is None and self._core.established

    # ------------------------------------------------------------ what it does

    def send(self, message: Sendable, *, timeout: float | None = None) -> None:
        """Send a message, or several in one piece of bytes; wait while the peer reads too slowly.

        Args:
            message: Bytes go out as they are: whole messages with Content-Length are wanted.
            timeout: Seconds. If it passes, a record may be cut, so that the connection is closed.

        Raises:
            ConnectionClosedError: The connection is over.
            RefusedByPeerError: The peer has refused us; with TLS 1.3 that may become known late.
            OperationTimeout: The peer did not read in time; the connection is closed.
        """
        end = end_of(timeout)
        with self._lock:
            self._ensure_trust()
            self._check_open()
            self._core.send(message)
            if self._flush(end):
                return
            self._check_going_on()
        self._abort(timed_out("send", timeout))
        raise timed_out("send", timeout)

    def receive(self, *, timeout: float | None = None) -> Message:
        """Give the next message, waiting for it.

        Raises:
            ConnectionClosedError: The connection is over, and every message was given.
            RefusedByPeerError: The peer has refused us; with TLS 1.3 a client learns it here.
            FramingError: What the peer sent is no stream of SIP messages.
            OperationTimeout: None came in time. Nothing is lost: receive again.
        """
        with self._lock:
            self._ensure_trust()
            self._wait(lambda: bool(self._inbox), timeout, "receive")
            was_full = self._is_full
            message = self._inbox.popleft()
            self._stored -= len(message.data)
            if was_full:
                self._changed.notify_all()  # a ping waits for room
            return self._core.up_to_date(message)

    def __iter__(self) -> Iterator[Message]:
        """Give messages until the peer closes in order; raise if it ends otherwise."""
        while True:
            try:
                message = self.receive()
            except ConnectionClosedError as error:
                if error.orderly:
                    return
                raise
            yield message

    def ping(self, *, timeout: float | None = None) -> float:
        """Ask whether the peer is alive (RFC 5626 §4.4.1), and measure how long it takes.

        Returns:
            Seconds from ping to pong.

        Raises:
            ConnectionClosedError: The connection is over, or became so because no pong came
                within ``Limits.pong_timeout``.
            OperationTimeout: No pong came in time; or more messages than ``Limits.read_buffer``
                takes are before it, and nobody receives them.
        """
        start = time.monotonic()
        with self._lock:
            self._check_open()
            self._core.ping()
            self._pings += 1
            mine = self._pings
            self._wait(lambda: self._pongs >= mine, timeout, "ping")
        return time.monotonic() - start

    def wait_closed(self, *, timeout: float | None = None) -> None:
        """Wait until the connection is over; `closed` then tells why, and `close` frees the socket.

        What comes is read meanwhile, and kept for `receive`, as far as ``Limits.read_buffer`` goes.

        Raises:
            OperationTimeout: It is not over yet.
        """
        end = end_of(timeout)
        with self._lock:
            self._readers += 1
            try:
                self._push()
                while self._ended is None and self._closing is None:
                    if end is not None and time.monotonic() >= end:
                        raise timed_out("the connection", timeout)
                    if self._is_full:
                        self._changed.wait(left(end))
                    else:
                        self._drive(end)
            finally:
                self._readers -= 1

    def close(self) -> None:
        """Close in order, and return when the socket is closed.

        Whoever is in `receive` gets ConnectionClosedError at once. The peer has
        ``Limits.close_timeout`` to do its part. Closing twice is no error.
        """
        self.close_soon()
        with self._lock:
            mine = self._is_closer()
        if mine:
            self._finish()
            return
        with self._lock:  # another thread does it
            end = (self._closing or 0) + _GRACE
            while not self._released and time.monotonic() < end:
                self._changed.wait(left(end))

    def close_soon(self) -> None:
        """Say that we close, and wait for nothing; `close` does the rest. Transports call it."""
        with self._lock:
            if self._closing is None:
                self._closing = time.monotonic() + self._limits.close_timeout
                self._core.close()
                self._take_events()
                self._push()
                self._changed.notify_all()
        self._waker.wake()

    def judge_again(self) -> None:
        """Judge the peer by the policy in force, unless it was. Transports call it."""
        with self._lock:
            self._ensure_trust()
        self._waker.wake()

    def refuse(self, decision: Decision) -> None:
        """End it for what the application has decided about the peer. Transports call it."""
        with self._lock:
            self._core.refuse(decision)
            self._take_events()
            self._push()
            self._see_to_the_end()
            self._changed.notify_all()

    def _ensure_trust(self) -> None:
        """See whether the peer is trusted still; the lock is held."""
        if self._ended is None:
            self._core.ensure_trust()
            if self._core.closed is not None:
                self._take_events()
                self._push()
                self._see_to_the_end()
                self._changed.notify_all()

    # ------------------------------------------------------------ the handshake

    def handshake(self, *, timeout: float | None = None) -> Self:
        """Do the handshake. Transports call it; a failure closes the socket.

        Args:
            timeout: Seconds, for whom ``Limits.handshake_timeout`` would be too long.

        Raises:
            HandshakeError: Or one below it: there will be no connection.
            ConnectionClosedError: The peer has closed instead.
            OperationTimeout: The ``timeout`` is over.
        """
        end = end_of(timeout)
        try:
            with self._lock:
                self._take_events()
                self._wait(lambda: self._accepted, timeout, "handshake")
        except (HandshakeTimeout, OperationTimeout) as error:
            self._abort(error)  # who was silent until now is not waited for
            raise
        except BaseException:
            self._finish(end)
            raise
        return self

    # ------------------------------------------------------------ waiting

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._ended.with_traceback(None)

    def _check_going_on(self) -> None:
        self._check_open()
        if self._closing is not None:
            raise ConnectionClosedError("the connection is being closed by us", orderly=True)

    def _wait(self, ready: Callable[[], bool], timeout: float | None, what: str) -> None:
        """Wait, with the lock held, until something has come; drive if nobody else does."""
        end = end_of(timeout)
        self._readers += 1
        try:
            self._push()
            while not ready():
                self._check_going_on()
                if self._is_full:
                    self._wait_for_room(end)
                elif end is not None and time.monotonic() >= end:
                    raise timed_out(what, timeout)
                else:
                    self._drive(end)
        finally:
            self._readers -= 1

    @property
    def _is_full(self) -> bool:
        """Whether more messages wait for `receive` than may; what is behind them is not read."""
        return self._stored > self._limits.read_buffer and self._closing is None

    def _wait_for_room(self, end: float | None) -> None:
        """Wait until somebody receives. Only who waits for a pong comes here."""
        last = earlier(end, time.monotonic() + self._limits.pong_timeout)
        while self._is_full and self._ended is None:
            if not self._changed.wait(left(last)):
                raise OperationTimeout(
                    f"the pong is behind {self._stored} bytes of messages that nobody receives:"
                    " call receive() in another thread, or before"
                )

    def _flush(self, end: float | None, *, last: bool = False) -> bool:
        """Wait, with the lock held, until all that is queued now is written; False if it was not.

        ``last``: these are our last words, which go out though the connection is over.
        """
        self._push()
        mine = self._queued
        outflow = Outflow(self._limits)
        outflow.begin(time.monotonic(), self._taken, len(self._unsent))
        while self._taken < mine:
            until = earlier(end, self._closing)
            is_late = until is not None and time.monotonic() >= until
            if is_late or self._releasing or (self._ended is not None and not last):
                return False
            self._drive(earlier(until, outflow.until))
            stuck = outflow.error(time.monotonic(), self._taken, len(self._unsent))
            if stuck is not None and self._ended is None:
                self._core.receive_eof(stuck)
                self._take_events()
                self._see_to_the_end()
                return False
        if self._broken and not last:
            self._learn_end(end)
            return False
        return True

    @property
    def _taken(self) -> int:
        """Bytes that the kernel has taken."""
        return self._queued - len(self._unsent)

    def _learn_end(self, end: float | None) -> None:
        """Read what is left of a connection that takes no more bytes; the lock is held."""
        self._readers += 1
        while self._ended is None and self._closing is None and not self._is_full:
            if left(end) == 0 or self._core.holding:
                break
            self._drive(end)
        self._readers -= 1
        if self._ended is None:  # nobody receives what is before the end, or it may not pass yet
            self._core.receive_eof(self._failure)
            self._take_events()
            self._see_to_the_end()

    def _see_to_the_end(self) -> None:
        """Tell what is to be told, and free the sockets of what is over; the lock is held.

        A refused handshake is not over before its alert has arrived: `handshake` sees to that.
        """
        is_over = self._ended is not None and self._accepted and self._closing is None
        if is_over:
            self._closing = time.monotonic()
            self._is_closer()
        if not (is_over or self._untold):
            return
        self._lock.release()
        try:
            self._tell()
            if is_over:
                self._drain()
                self._release()
        finally:
            self._lock.acquire()

    def _drain(self) -> None:
        """Take what has come already: unread, it would have the kernel reset our last words."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            for _ in range(_DRAINS):
                if not self._sock.recv(_READ_SIZE):
                    break

    # ------------------------------------------------------------ driving

    def _drive(self, end: float | None) -> None:
        """Wait for the socket once, or for whoever does; the lock is held before and after."""
        wanted = self._readers > 0 and not self._is_full
        holding = wanted and self._core.holding  # the peer has sent more than it may
        listens = wanted and not holding
        # Who floods us with pings and does not read our answers is not read, either.
        held = min(self._answers, len(self._unsent)) > self._limits.write_buffer
        interest = select.POLLIN if listens and not held else 0
        interest |= select.POLLOUT if self._unsent else 0
        if self._driving:
            if interest & ~self._interest:
                self._waker.wake()
            self._changed.wait(left(end))
            return
        self._driving, self._interest = True, interest
        if listens:
            now = time.monotonic()
            self._behind = self._behind or now - self._last_read > _GAP
            end = now if self._behind else earlier(end, self._core.deadline)
        elif holding:
            end = earlier(end, self._core.deadline)
        self._lock.release()
        try:
            data = self._poll(interest, end)
        finally:
            self._lock.acquire()
            self._driving, self._interest = False, 0
            self._changed.notify_all()
        if data:
            self._core.receive_data(data)
        elif data is not None:
            self._eof = True
            self._core.receive_eof(self._failure)
        if listens:
            self._last_read = time.monotonic()
            self._behind = self._behind and bool(data)
            if not self._behind:  # else what is waited for may be there already
                self._core.handle_deadline(self._last_read)
        elif holding:
            self._last_read = time.monotonic()
            self._core.handle_deadline(self._last_read)
        self._take_events()
        self._push(answering=True)
        self._see_to_the_end()

    def _poll(self, interest: int, end: float | None) -> bytes | None:
        """Wait, and read; nothing at the end of the socket, None if it was not for reading."""
        poll = select.poll()
        if interest:  # else the peer's reset would be told again and again
            poll.register(self._sock, interest)
        poll.register(self._waker, select.POLLIN)
        ready = [number for number, _ in poll.poll(milliseconds(end))]
        try:
            if self._waker.fileno() in ready:
                self._waker.clear()
            if interest & select.POLLIN and self._sock.fileno() in ready:
                return self._sock.recv(_LITTLE if self._core.limited else _READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self._failure = error
            return b""  # an end that is not orderly: the core says so
        return None

    def _push(self, *, answering: bool = False) -> None:
        """Write what the kernel takes now. The lock is held, so that records keep their order."""
        data = self._core.data_to_send()
        self._queued += len(data)
        self._unsent += data
        if answering:
            self._answers += len(data)
        try:
            while self._unsent:
                del self._unsent[: self._sock.send(self._unsent)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._unsent.clear()  # whoever reads learns of the end, and why
            self._broken = True
            if not isinstance(error, BrokenPipeError):
                self._failure = error  # the system says it only once
        self._answers = 0

    def _take_events(self) -> None:
        """Handle what has happened. The lock is held."""
        for event in self._core.events():
            self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case MessageReceived(message=message):
                self._inbox.append(message)
                self._stored += len(message.data)
            case PeerAccepted():
                self._accepted = True
            case PeerRefused():
                self._untold.append(event)
            case Pong():
                self._pongs += 1
            case ConnectionClosed(reason=reason):
                self._ended = reason
                if isinstance(reason, TrustLostError):  # nothing more of what it has sent
                    self._inbox.clear()
                    self._stored = 0
                if isinstance(reason, ConnectionClosedError) and not reason.orderly:
                    reason.unacknowledged = self._unacknowledged()
                self._untold.append(event)

    def _unacknowledged(self) -> int | None:
        counted = acknowledged(self._sock)
        if counted is None or self._counted is None:
            return None
        return max(0, self._queued - (counted - self._counted))

    def _tell(self) -> None:
        """Tell the application; without the lock, for it may call us."""
        while self._untold:
            with suppress(IndexError):  # another thread has told it
                event = self._untold.popleft()
                if isinstance(event, PeerRefused):
                    known = isinstance(self._core.closed, TrustLostError)
                    self._teller.refused(event.decision, self.remote_address, known=known)
                else:
                    self._teller.ended(
                        event.reason,
                        self.remote_address,
                        known=is_known(self.peer),
                        accepted=self._accepted,
                        silent=self._core.role is Role.CLIENT and not self._core.heard,
                        whom=whom(self),
                    )

    # ------------------------------------------------------------ the end

    def _is_closer(self) -> bool:
        """Whether it is for this thread to close, as it is for the first that asks; locked."""
        if self._closer is None:
            self._closer = threading.get_ident()
        return self._closer == threading.get_ident()

    def _abort(self, error: SIPTLSError) -> None:
        with self._lock:
            if self._ended is None:
                self._ended = error
            if self._closing is None:
                self._closing = time.monotonic()
            self._is_closer()
            self._changed.notify_all()
        self._waker.wake()
        self._release()

    def _finish(self, end: float | None = None) -> None:
        """Send what is left and close our half; read until the peer has closed, too; release."""
        with self._lock:
            if self._closing is None:
                self._closing = earlier(end, time.monotonic() + self._limits.close_timeout)
            self._is_closer()
            if not self._releasing:
                self._flush(self._closing, last=True)
                self._unsent.clear()
                try:
                    self._sock.shutdown(socket.SHUT_WR)
                except OSError:
                    self._eof = True  # it is gone already
            self._readers += 1
            while not (self._eof or self._releasing) and left(self._closing):
                self._drive(self._closing)
            self._readers -= 1
        self._release()

    def _release(self) -> None:
        """Close the sockets, once, and when nobody waits for them any more."""
        with self._lock:
            if self._releasing:
                return
            self._releasing = True
            while self._driving:
                self._waker.wake()
                self._changed.wait(0.1)
            if self._core.closed is None:  # we have ended it without a word to it
                if not self._accepted:
                    self._core.close()  # nobody waits for the handshake any more
                self._core.receive_eof()
                if self._ended is None:
                    self._take_events()
            self._sock.close()
            self._waker.close()
            self._released = True
            self._changed.notify_all()
        self._tell()
        if self._on_released is not None:
            self._on_released(self)


def close_all(connections: Sequence[Connection]) -> None:
    """Close them all at once: together they take no longer than one."""
    for connection in connections:
        connection.close_soon()
    for connection in connections:
        connection.close()


def _name(ask: Callable[[], object]) -> Address | None:
    try:
        return address_of(ask())
    except OSError:
        return None
