"""siptls.transports.aio.driver: back-pressure both ways, and the end of a socket."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import struct
import threading
import weakref
from contextlib import suppress
from typing import Any

import pytest
from network import ENTERPRISE, OURS, answer, client, opened, raw_tls, serving, until
from OpenSSL import SSL
from sip import request

from siptls import (
    Connection,
    ConnectionClosedError,
    LimitError,
    Limits,
    Message,
    OperationTimeout,
    ServerConnection,
    SIPTLSError,
    TLSServerTransport,
)
from siptls.transports.aio.driver import Driver, _ReadBuffer
from siptls.wire.telling import Teller, shown

BIG = request("MESSAGE", body=b"x" * 50_000)


class Gate:
    """A handler that begins to read when it is told to."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.accepted = asyncio.Event()
        self.got = 0

    async def __call__(self, connection: Connection) -> None:
        self.accepted.set()
        await self.opened.wait()
        async for _ in connection:
            self.got += 1


# ---------------------------------------------------------------- back-pressure


async def test_send_waits_while_the_peer_does_not_read(tls_version: str) -> None:
    """The application that does not receive stops the socket, which stops the sender."""
    gate = Gate()
    async with serving(gate) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await connection.send(BIG)
                sent += 1

        task = asyncio.create_task(flood())
        await gate.accepted.wait()
        driver = server.connections[0]._driver
        await until(lambda: driver._paused and not connection._driver._drained)
        assert driver._queued <= 65536 + 2 * len(BIG)
        stuck = sent
        hurried = 0
        while connection._driver._writable:
            connection.send_nowait(BIG)
            hurried += 1
        with pytest.raises(LimitError, match="reads too slowly"):
            connection.send_nowait(BIG)
        gate.opened.set()
        await until(lambda: sent >= stuck + 200)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.aclose()
        await until(lambda: server.connections[0].closed is not None)
    # One may be in flight when the task is cancelled; nothing that was sent is lost.
    assert sent + hurried <= gate.got <= sent + hurried + 1


async def test_a_send_that_waits_learns_that_the_connection_is_over() -> None:
    gate = Gate()
    async with serving(gate) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)

        async def flood() -> None:
            while True:
                await connection.send(BIG)

        tasks = [asyncio.create_task(flood()) for _ in range(3)]
        await gate.accepted.wait()
        await until(lambda: not connection._driver._drained)
        server.connections[0]._driver.abort()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, ConnectionClosedError) for result in results)
        gate.opened.set()


async def test_what_did_not_reach_the_socket_was_not_sent(tls_version: str) -> None:
    """A send returns once the kernel has its bytes, and fails if it never had them."""
    gate = Gate()
    async with serving(gate) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await connection.send(BIG)
                sent += 1

        task = asyncio.create_task(flood())
        await gate.accepted.wait()
        await until(lambda: not connection._driver._drained)
        written, before = connection._driver._written, sent
        server.connections[0]._driver.abort()
        with pytest.raises(ConnectionClosedError) as caught:
            await task
        assert sent == before
        lost = caught.value.unacknowledged
        assert lost is not None
        assert 0 < lost < written
        assert f"the last {lost} bytes were not acknowledged" in str(caught.value)
        assert caught.value is connection.closed
        gate.opened.set()


async def test_an_end_in_order_has_lost_nothing() -> None:
    async with serving() as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await connection.send(request())
        await connection.receive()
        await server.connections[0].aclose()
        await until(lambda: connection.closed is not None)
        assert isinstance(connection.closed, ConnectionClosedError)
        assert connection.closed.unacknowledged is None
        assert "acknowledged" not in str(connection.closed)


async def test_all_that_was_acknowledged_is_not_counted_as_lost() -> None:
    async with serving() as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await connection.send(request())
        await connection.receive()
        server.connections[0]._driver.abort()
        await until(lambda: connection.closed is not None)
        assert isinstance(connection.closed, ConnectionClosedError)
        assert connection.closed.unacknowledged == 0


async def test_a_slow_application_is_no_slow_peer(tls_version: str) -> None:
    """While nobody receives, a message that has begun to arrive has no deadline."""
    gate = Gate()
    async with serving(gate, limits=Limits(read_buffer=1)) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await connection.send(BIG + BIG[:10])
        await gate.accepted.wait()
        driver = server.connections[0]._driver
        await until(lambda: driver._paused)
        assert driver.core._framer.partial
        driver.core._deadlines._message = 0.0  # long past
        driver.core._deadlines._settle()
        driver._handle_deadline()
        assert driver.ended is None
        await connection.send(BIG[10:])
        gate.opened.set()
        await until(lambda: gate.got == 2)


async def test_a_peer_that_pings_and_does_not_read_is_cut_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each ping costs us a pong: what a peer makes us write is bounded, too."""
    limits = Limits(write_buffer=1000)
    async with serving(limits=limits, send_buffer=4096) as server:
        peer = await asyncio.to_thread(raw_tls, server.place, receive_buffer=4096)
        await asyncio.to_thread(peer.do_handshake)

        def flood() -> None:
            try:
                while True:
                    peer.sendall(b"\r\n\r\n" * 4000)
            except (SSL.Error, OSError):
                pass

        await asyncio.to_thread(flood)
        await until(lambda: server.connections[0].closed is not None)
        peer.close()
    assert "does not read them" in caplog.text


# ---------------------------------------------------------------- receiving


async def test_receiving_may_be_cancelled_without_losing_a_message() -> None:
    async with serving() as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        waiting = asyncio.create_task(connection.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await connection.send(request(number=5))
        assert (await connection.receive()).header("CSeq") == "5 OPTIONS"


async def test_every_receiver_learns_of_the_end() -> None:
    async with serving() as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        waiting = [asyncio.create_task(connection.receive()) for _ in range(3)]
        await connection.ping()
        await connection.aclose()
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, ConnectionClosedError) for error in errors)
        with pytest.raises(ConnectionClosedError):
            await connection.receive()


async def test_messages_before_the_end_are_given_before_it_is_told() -> None:
    async def handler(connection: Connection) -> None:
        await connection.send(request(number=1) + request(number=2))

    async with serving(handler) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await until(lambda: connection.closed is not None)
        assert (await connection.receive()).header("CSeq") == "1 OPTIONS"
        assert (await connection.receive()).header("CSeq") == "2 OPTIONS"
        with pytest.raises(ConnectionClosedError):
            await connection.receive()


async def test_iterating_raises_if_the_end_is_not_orderly() -> None:
    async with serving() as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await connection.ping()
        server.connections[0]._driver.abort()
        with pytest.raises(ConnectionClosedError) as caught:
            async for _ in connection:
                pass
        assert not caught.value.orderly


# ---------------------------------------------------------------- pings


async def test_a_ping_is_measured(tls_version: str) -> None:
    async with serving() as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        first, second = await asyncio.gather(connection.ping(), connection.ping())
        assert first > 0
        assert second > 0


async def test_a_ping_that_was_given_up_takes_its_own_pong() -> None:
    async with serving() as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        given_up = asyncio.create_task(connection.ping())
        await asyncio.sleep(0)
        given_up.cancel()
        assert await connection.ping() > 0
        assert given_up.cancelled()


async def test_a_ping_behind_messages_that_nobody_receives_is_no_endless_wait() -> None:
    async def flood(connection: Connection) -> None:
        await connection.send(request(body=b"x" * 5000))
        await connection.wait_closed()

    limits = Limits(pong_timeout=0.05, read_buffer=1000)
    async with serving(flood) as server, client(limits=limits) as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await until(lambda: connection._driver._paused)
        with pytest.raises(OperationTimeout, match="messages that nobody receives"):
            await connection.ping()
        await connection.receive()
        assert await connection.ping() > 0


async def test_a_ping_fails_when_no_pong_comes() -> None:
    gate = Gate()
    limits = Limits(pong_timeout=0.05, close_timeout=0.05)
    async with serving(gate) as server, client(limits=limits) as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await gate.accepted.wait()
        transport_of_server = server.connections[0]._driver._transport
        assert transport_of_server is not None
        transport_of_server.pause_reading()
        with pytest.raises(ConnectionClosedError, match="no pong"):
            await connection.ping()
        transport_of_server.resume_reading()
        gate.opened.set()


# ---------------------------------------------------------------- the end of a socket


async def test_a_peer_that_never_closes_is_closed_in_time(tls_version: str) -> None:
    """Closing takes at most close_timeout, whatever the peer does."""
    limits = Limits(close_timeout=0.05)
    done = threading.Event()
    async with serving(limits=limits) as server:
        peer = await asyncio.to_thread(raw_tls, server.place)
        await asyncio.to_thread(peer.do_handshake)
        await until(lambda: server.connections)
        await server.connections[0].aclose()
        assert server.connections[0].closed is not None
        done.set()
        peer.close()


async def test_a_refused_peer_that_never_closes_is_closed_in_time() -> None:
    limits = Limits(close_timeout=0.05)
    async with serving(limits=limits) as server:
        peer = await asyncio.to_thread(raw_tls, server.place, None)

        def knock() -> bytes:
            try:
                peer.do_handshake()
                return peer.recv(1)
            except SSL.Error as error:
                return repr(error).encode()

        assert b"alert" in await asyncio.to_thread(knock)
        await until(lambda: not server.transport._drivers)
        peer.close()


async def test_closing_twice_and_from_several_tasks_is_no_error() -> None:
    async with serving() as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await asyncio.gather(connection.aclose(), connection.aclose())
        await connection.aclose()


async def test_a_reset_is_told_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        peer = await asyncio.to_thread(raw_tls, server.place)
        await asyncio.to_thread(peer.do_handshake)
        await until(lambda: server.connections)
        connection = server.connections[0]
        sock = socket.socket(fileno=socket.dup(peer.fileno()))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        peer._socket.close()  # type: ignore[union-attr]  # both ends of the file must go
        sock.close()
        await until(lambda: connection.closed is not None)
        assert isinstance(connection.closed, ConnectionClosedError)
        assert isinstance(connection.closed.__cause__, OSError)


async def test_a_driver_that_is_closed_before_it_begins_ends_its_socket() -> None:
    ours, theirs = socket.socketpair()
    driver = Driver(ServerConnection(OURS, ENTERPRISE), Limits())
    driver.abort()
    driver.close()
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: driver, ours)
    await driver.wait_lost()
    assert theirs.recv(1) == b""
    theirs.close()


async def test_a_callback_that_fails_changes_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault in the application")

    ours, theirs = socket.socketpair()
    driver = Driver(ServerConnection(OURS, ENTERPRISE), Limits(), teller=Teller(broken))
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: driver, ours)
    async with client(credential=None) as transport:
        connection = await transport.connect("contoso.com", sock=theirs)
        with pytest.raises(SIPTLSError):
            await connection.receive()
        assert connection.remote_address is None
    assert "on_refused failed" in caplog.text
    await driver.wait_lost()


# ---------------------------------------------------------------- on_message


async def test_a_peer_that_asks_and_does_not_read_is_read_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its requests stay with it until it has read, and none is lost."""
    seen: list[Message] = []

    def on_message(connection: Connection, message: Message) -> None:
        seen.append(message)
        connection.send_nowait(message.reply(200, "OK", body=b"x" * 10_000))

    answer = len(Message(request()).reply(200, "OK", body=b"x" * 10_000).data)
    limits = Limits(write_buffer=20_000)
    async with serving(on_message=on_message, send_buffer=4096, limits=limits) as server:
        peer = raw_tls(server.place, receive_buffer=4096)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, peer.do_handshake)
        for _ in range(400):
            await loop.run_in_executor(None, peer.sendall, request())
        (driver,) = server.transport._drivers
        await until(lambda: driver._paused)
        before = len(seen)
        assert before < 400

        def read() -> int:
            got = 0
            while got < 400 * answer:
                got += len(peer.recv(65536))
            return got

        await loop.run_in_executor(None, read)
        assert len(seen) == 400
        assert caplog.records == []
        peer.close()


async def test_a_peer_that_has_reset_the_connection_leaves_no_error_behind(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing our half of a socket that is gone fails, which is no news."""
    accepted = asyncio.Event()

    async def handler(connection: Connection) -> None:
        driver = connection._driver
        transport = driver._transport
        assert transport is not None

        def fail() -> None:
            raise OSError(107, "Transport endpoint is not connected")

        monkeypatch.setattr(transport, "write_eof", fail)
        accepted.set()
        with pytest.raises(ConnectionClosedError):
            await connection.receive()

    async with serving(handler) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await accepted.wait()
        connection._driver.abort()
        await until(lambda: not server.transport._drivers)
    assert "Traceback" not in caplog.text


async def test_tiny_messages_fill_the_queue_too() -> None:
    """A message costs more than its bytes: a thousand of the smallest are no 20 KB."""
    gate = Gate()
    async with serving(gate) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await gate.accepted.wait()
        (driver,) = server.transport._drivers
        for _ in range(30):
            await connection.send(b"X\r\nl:0\r\n\r\n" * 100)
            await asyncio.sleep(0)
        await until(lambda: driver._paused)
        assert len(driver._messages) < 3000
        gate.opened.set()
        await until(lambda: gate.got == 3000)


async def test_a_handler_that_is_no_coroutine_function_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as server, client() as transport:
        server.transport._handler = lambda _: None  # type: ignore[assignment,return-value]
        connection = await transport.connect("contoso.com", **server.place)
        with pytest.raises(ConnectionClosedError):
            await connection.receive()
    assert "the handler is no coroutine function: write async def" in caplog.text


async def test_on_message_is_called_in_the_read_path(tls_version: str) -> None:
    """What it sends goes out with one write after each read."""
    writes: list[int] = []
    watched: set[Connection] = set()

    def on_message(connection: Connection, message: Message) -> None:
        transport = connection._driver._transport
        assert transport is not None
        if connection not in watched:
            watched.add(connection)
            original = transport.write
            transport.write = lambda data: (writes.append(len(data)), original(data))  # type: ignore[method-assign,assignment,func-returns-value]
        connection.send_nowait(message.reply(200, "OK"))

    async with serving(on_message=on_message) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await connection.send(b"".join(request(number=number) for number in range(10)))
        got = [(await connection.receive()).header("CSeq") for _ in range(10)]
        assert got == [f"{number} OPTIONS" for number in range(10)]
        assert len(writes) == 1


async def test_on_message_that_fails_costs_its_message_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def on_message(connection: Connection, message: Message) -> None:
        if message.header("CSeq") == "1 OPTIONS":
            raise RuntimeError("a fault in the application")
        connection.send_nowait(message.reply(200, "OK"))

    async with serving(on_message=on_message) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await connection.send(request(number=1) + request(number=2))
        assert (await connection.receive()).header("CSeq") == "2 OPTIONS"
    assert [r.levelname for r in caplog.records if r.name == "siptls"] == ["ERROR"]


async def test_on_message_may_answer_a_peer_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    """A request and close_notify in one read: the answer has nowhere to go, which is no fault."""
    caplog.set_level(logging.ERROR)
    seen = asyncio.Event()

    def on_message(connection: Connection, message: Message) -> None:
        seen.set()
        connection.send_nowait(message.reply(200, "OK"))

    async with serving(on_message=on_message) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        connection._driver.core.send(request())
        await connection.aclose()
        await seen.wait()
    assert caplog.records == []


# ---------------------------------------------------------------- small things


def test_each_thread_reads_into_a_buffer_of_its_own() -> None:
    """A read releases the interpreter: two loops in two threads must not share it."""
    shared = _ReadBuffer()
    other: list[Any] = []
    thread = threading.Thread(target=lambda: other.append(shared.view))
    thread.start()
    thread.join()
    assert other[0] is not shared.view


def test_an_address_is_shown_in_words() -> None:
    assert shown(("192.0.2.1", 5061)) == "192.0.2.1 port 5061"
    assert shown(None) == "an unknown address"


async def test_a_connection_shows_who_it_is_with() -> None:
    async with serving(answer) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        port = server.place["port"]
        assert repr(connection) == f"<Connection with contoso.com at 127.0.0.1 port {port}>"
        assert connection.reference is not None
        assert connection.reference.domain == "contoso.com"
        async with connection:
            await connection.ping()
        assert repr(connection).endswith(", closed>")
        assert connection.decision is not None
        assert connection.decision.accepted


async def test_a_server_shows_a_client_without_a_certificate_as_such() -> None:
    seen: list[str] = []

    async def handler(connection: Connection) -> None:
        seen.append(repr(connection))

    async with TLSServerTransport(OURS, handler) as server, client(credential=None) as transport:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        connection = await transport.connect("contoso.com", host=host, port=port)
        with pytest.raises(ConnectionClosedError):
            await connection.receive()
    assert seen[0].startswith("<Connection with a client at 127.0.0.1 port")


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01", b"no TLS at all"])
async def test_a_stranger_that_is_let_go_leaves_nothing_for_the_garbage_collector(
    first: bytes,
) -> None:
    """Thousands come and go between two of its looks, and OpenSSL keeps 50 KiB for each."""
    gc.collect()
    gc.disable()
    try:
        async with serving(limits=Limits(handshake_timeout=0.1)) as server:
            reader, writer = await opened(server.place)
            writer.write(first)
            await until(lambda: server.transport._drivers)
            (driver,) = (weakref.ref(one) for one in server.transport._drivers)
            with suppress(ConnectionResetError):
                await reader.read()
            writer.close()
            await until(lambda: driver() is None)
    finally:
        gc.enable()


async def test_a_send_that_the_kernel_has_refused_fails() -> None:
    """And at once: who sends in a loop would else never let the loop learn of the end."""
    failed: asyncio.Queue[ConnectionClosedError] = asyncio.Queue()

    async def flood(connection: Connection) -> None:
        connection._driver._transport.pause_reading()  # type: ignore[union-attr]  # it learns late
        await gone.wait()
        for _ in range(1000):
            try:
                await connection.send(request())
            except ConnectionClosedError as error:
                failed.put_nowait(error)
                return

    gone = asyncio.Event()
    async with serving(flood) as server:
        peer = await asyncio.to_thread(raw_tls, server.place)
        await asyncio.to_thread(peer.do_handshake)
        await until(server.transport.peers)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        gone.set()
        assert not (await asyncio.wait_for(failed.get(), 5)).orderly
