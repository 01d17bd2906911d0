"""Connection: an accepted connection, as an application uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from siptls.errors import Attempt, ConnectionClosedError, SIPTLSError
from siptls.transports.aio.closing import Closing
from siptls.transports.aio.driver import Driver
from siptls.transports.known import Core, Known
from siptls.wire.message import Message
from siptls.wire.telling import Address

__all__ = ["Connection"]


class Connection(Known, Closing):
    """A connection whose peer the policy has accepted. Transports make it; you do not.

    It belongs to its event loop. Several tasks may send; one should receive.

    Iterating gives messages until the peer closes in order, and raises if it ends otherwise::

        async for message in connection:
            ...
    """

    def __init__(self, driver: Driver, attempts: Sequence[Attempt] = ()) -> None:
        self._driver = driver
        self.attempts = tuple(attempts)
        """The addresses that were tried in vain before this one, each with its error."""

    # ------------------------------------------------------------ what is known

    @property
    def _known(self) -> Core:
        return self._driver.core

    @property
    def world(self) -> object:
        """Its event loop."""
        return self._driver.loop

    @property
    def usable(self) -> bool:
        """Whether something can be sent, as far as can be told without sending it."""
        self._driver.judge_again()
        return super().usable

    @property
    def local_address(self) -> Address | None:
        """Our ``(address, port)``; None if the socket has no such thing."""
        return self._driver.local

    @property
    def remote_address(self) -> Address | None:
        """The peer's ``(address, port)``; None if the socket has no such thing."""
        return self._driver.address

    @property
    def closed(self) -> SIPTLSError | None:
        """Why the connection is over; None while it is not."""
        return self._driver.ended

    # ------------------------------------------------------------ what it does

    async def send(self, message: bytes | bytearray | memoryview | Message) -> None:
        """Send a message, or several in one piece of bytes; wait while the peer reads too slowly.

        When it returns, the kernel has taken the bytes; if it never did, it fails. Nothing tells
        that the peer has read them: that is what SIP responses are for. Of a connection that
        breaks later, ``ConnectionClosedError.unacknowledged`` tells what may be lost.

        Args:
            message: Bytes go out as they are: whole messages with Content-Length are wanted.

        Raises:
            ConnectionClosedError: The connection is over.
            RefusedByPeerError: The peer has refused us; with TLS 1.3 that may become known late.
        """
        await self._driver.send(message)

    def send_nowait(self, message: bytes | bytearray | memoryview | Message) -> None:
        """Send as `send` does, without waiting.

        Raises:
            LimitError: More than ``Limits.write_buffer`` bytes wait already; nothing was sent.
            ConnectionClosedError: The connection is over.
            RefusedByPeerError: The peer has refused us.
        """
        self._driver.send_nowait(message)

    async def receive(self) -> Message:
        """Give the next message, waiting for it.

        Raises:
            ConnectionClosedError: The connection is over, and every message was given.
            RefusedByPeerError: The peer has refused us; with TLS 1.3 a client learns it here.
            FramingError: What the peer sent is no stream of SIP messages.
        """
        return await self._driver.receive()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self._driver.receive()
        except ConnectionClosedError as error:
            if error.orderly:
                raise StopAsyncIteration from None
            raise

    async def ping(self) -> float:
        """Ask whether the peer is alive (RFC 5626 §4.4.1), and measure how long it takes.

        Returns:
            Seconds from ping to pong.

        Raises:
            ConnectionClosedError: The connection is over, or became so because no pong came
                within ``Limits.pong_timeout``.
        """
        return await self._driver.ping()

    async def wait_closed(self) -> None:
        """Wait until the connection is over; `closed` then tells why."""
        await self._driver.wait_lost()

    def close_soon(self) -> None:
        """Begin to close, and wait for nothing; `aclose` does the rest. Transports call it."""
        self._driver.close()

    async def aclose(self) -> None:
        """Close in order, and return when the socket is closed.

        The peer has ``Limits.close_timeout`` to do its part. Messages that come after this call
        are dropped. Closing twice is no error.
        """
        self.close_soon()
        await self._driver.wait_lost()
