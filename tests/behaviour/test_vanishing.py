"""Peers that are there no more, or as good as: the connection ends in time, and tells why."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from attrs import frozen
from namespaces import Namespace, namespaces
from network import ENTERPRISE, OURS, client, raw_tls, serving
from OpenSSL import SSL
from sip import request

from siptls import (
    Connection,
    ConnectionClosedError,
    Limits,
    Message,
    ServerConnection,
    SIPTLSError,
    TLSServerTransport,
    sync,
)

# A signal, and no os._exit: what a test has made of namespaces is removed.
pytestmark = pytest.mark.timeout(30, method="signal")

SLACK = 3.0  # seconds that a slow machine may take beside a deadline
KEEP_ALIVE, PONG_TIMEOUT = 0.2, 0.5
GONE = "is held to be gone"
NO_PONG = f"no pong within {PONG_TIMEOUT:g} s"

# ---------------------------------------------------------------- peers


def loopback(*, receive_buffer: int | None = None) -> socket.socket:
    """Listen on 127.0.0.1; ``receive_buffer`` is what the kernel keeps for each connection."""
    listener = socket.socket()
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


@contextmanager
def silent_server(listener: socket.socket) -> Iterator[queue.Queue[SSL.Connection]]:
    """Do a handshake with one client, and then neither read nor write; give its connection."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(OURS.chain[0])
    context.use_privatekey(OURS.key)
    accepted: queue.Queue[SSL.Connection] = queue.Queue()
    open_sockets = ExitStack()

    def serve() -> None:
        with contextlib.suppress(OSError):
            tcp, _ = listener.accept()
            open_sockets.callback(cut, tcp)
            connection = SSL.Connection(context, tcp)
            connection.set_accept_state()
            connection.do_handshake()
            accepted.put(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield accepted
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)
        open_sockets.close()
        listener.close()


def cut(tcp: socket.socket) -> None:
    """Close with a reset, so that nothing of the connection stays."""
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    tcp.close()


def connected(listener: socket.socket) -> socket.socket:
    """Connect to a listener on loopback."""
    return socket.create_connection(listener.getsockname())


async def end_of(connection: Connection, within: float) -> tuple[SIPTLSError, float]:
    """Wait for what ends a connection; give it, and the seconds."""
    start = time.monotonic()
    async with asyncio.timeout(within + SLACK):
        with pytest.raises(ConnectionClosedError) as raised:
            await connection.receive()
    assert connection.closed is raised.value
    return raised.value, time.monotonic() - start


def end_of_blocking(connection: sync.Connection, within: float) -> tuple[SIPTLSError, float]:
    start = time.monotonic()
    with pytest.raises(ConnectionClosedError) as raised:
        connection.receive(timeout=within + SLACK)
    return raised.value, time.monotonic() - start


# ---------------------------------------------------------------- no pongs

PINGS = {"keep_alive": KEEP_ALIVE, "limits": Limits(pong_timeout=PONG_TIMEOUT, close_timeout=0.2)}


async def test_a_server_that_answers_no_pings_is_given_up() -> None:
    listener = loopback()
    with silent_server(listener):
        async with client(**PINGS) as transport:
            connection = await transport.connect("sip:contoso.com", sock=connected(listener))
            error, seconds = await end_of(connection, KEEP_ALIVE + PONG_TIMEOUT)
    assert NO_PONG in str(error)
    assert seconds >= PONG_TIMEOUT


async def test_a_client_that_answers_no_pings_is_given_up() -> None:
    ends: asyncio.Queue[tuple[SIPTLSError, float]] = asyncio.Queue()

    async def handler(connection: Connection) -> None:
        await ends.put(await end_of(connection, KEEP_ALIVE + PONG_TIMEOUT))

    async with serving(handler, **PINGS) as server:
        peer = raw_tls(server.place)
        await asyncio.to_thread(peer.do_handshake)
        error, seconds = await asyncio.wait_for(ends.get(), 10)
        cut(peer._socket)
    assert NO_PONG in str(error)
    assert seconds >= PONG_TIMEOUT


def test_a_server_that_answers_no_pings_is_given_up_by_whoever_receives() -> None:
    listener = loopback()
    with silent_server(listener):
        connection = sync.wrap_socket(connected(listener), ENTERPRISE, "contoso.com", **PINGS)
        with connection:
            error, seconds = end_of_blocking(connection, KEEP_ALIVE + PONG_TIMEOUT)
    assert NO_PONG in str(error)
    assert seconds >= PONG_TIMEOUT


# ---------------------------------------------------------------- a peer that reads nothing

STUCK = Limits(gone_timeout=2, write_buffer=65536, close_timeout=0.2)
SENDERS, PIECE = 8, request(body=b"x" * 8192)


def user_timeout() -> None:
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("this system has no TCP_USER_TIMEOUT")


async def test_every_send_to_a_peer_that_reads_nothing_ends_in_time() -> None:
    user_timeout()
    listener = loopback(receive_buffer=4096)
    sent = most = 0

    async def send_on(connection: Connection) -> None:
        nonlocal sent, most
        while True:
            await connection.send(PIECE)
            sent += 1
            most = max(most, waiting(connection))

    with silent_server(listener):
        sock = connected(listener)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        async with client(limits=STUCK) as transport:
            connection = await transport.connect("sip:contoso.com", sock=sock)
            senders = [asyncio.create_task(send_on(connection)) for _ in range(SENDERS)]
            error, seconds = await end_of(connection, STUCK.gone_timeout)
            ends = await asyncio.wait_for(asyncio.gather(*senders, return_exceptions=True), 5)
    assert GONE in str(error)
    assert seconds >= STUCK.gone_timeout / 2
    assert {type(end) for end in ends} == {ConnectionClosedError}
    assert all(GONE in str(end) for end in ends)
    # What is written is one record more than the mark, for each who was waiting.
    assert most <= STUCK.write_buffer + (SENDERS + 1) * (len(PIECE) + 100)


async def test_pongs_are_no_proof_that_anything_is_read() -> None:
    """The peer answers before it is asked, and reads nothing: what we send is what counts."""
    user_timeout()
    listener = loopback(receive_buffer=4096)
    over = threading.Event()

    def answer_unasked(peer: SSL.Connection) -> None:
        with contextlib.suppress(SSL.Error):
            while not over.wait(0.02):
                peer.send(b"\r\n")

    with silent_server(listener) as accepted:
        sock = connected(listener)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        async with client(limits=STUCK, keep_alive=KEEP_ALIVE) as transport:
            connection = await transport.connect("sip:contoso.com", sock=sock)
            peer = await asyncio.to_thread(accepted.get, timeout=20)
            answering = asyncio.create_task(asyncio.to_thread(answer_unasked, peer))
            sending = asyncio.create_task(send_one_by_one(connection))
            error, _ = await end_of(connection, STUCK.gone_timeout)
            over.set()
            await answering
            assert isinstance(await sending, ConnectionClosedError)
    assert GONE in str(error)


async def send_one_by_one(connection: Connection) -> SIPTLSError:
    while True:
        try:
            await connection.send(PIECE)
        except SIPTLSError as error:
            return error


@contextmanager
def freezing() -> Iterator[socket.socket]:
    """Give one end of a pair whose other end does a handshake, and then reads no more.

    No kernel times out on it, unlike on TCP: only siptls can.
    """
    one, other = socket.socketpair()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)

    def serve() -> None:
        core = ServerConnection(OURS, ENTERPRISE, mutual=False)
        while not core.established:
            core.receive_data(other.recv(65536))
            other.sendall(core.data_to_send())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield one
    finally:
        other.close()
        thread.join(20)


FROZEN = Limits(gone_timeout=0.3, close_timeout=0.1)


async def test_a_peer_that_takes_nothing_is_given_up_where_no_kernel_does_it() -> None:
    with freezing() as one:
        async with client(credential=None, limits=FROZEN) as transport:
            connection = await transport.connect("sip:contoso.com", sock=one)
            sending = asyncio.create_task(send_one_by_one(connection))
            error, seconds = await end_of(connection, FROZEN.gone_timeout)
            assert GONE in str(error)
            assert seconds >= FROZEN.gone_timeout / 2
            assert isinstance(await sending, ConnectionClosedError)


def test_a_blocking_send_gives_up_a_peer_that_takes_nothing() -> None:
    with freezing() as one:
        with sync.wrap_socket(one, ENTERPRISE, "contoso.com", limits=FROZEN) as connection:
            with pytest.raises(ConnectionClosedError, match=GONE):
                send_for_ever(connection)


def waiting(connection: Connection) -> int:
    """Bytes that the kernel has not taken."""
    transport = connection._driver._transport
    return transport.get_write_buffer_size() if transport is not None else 0


def send_for_ever(connection: sync.Connection) -> None:
    """Send; nothing waits after it, since a blocking send returns when the kernel has it all."""
    while True:
        connection.send(PIECE, timeout=STUCK.gone_timeout + SLACK)
        assert not connection._unsent


def test_a_blocking_send_to_a_peer_that_reads_nothing_ends_in_time() -> None:
    user_timeout()
    listener = loopback(receive_buffer=4096)
    with silent_server(listener):
        sock = connected(listener)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        with sync.wrap_socket(sock, ENTERPRISE, "contoso.com", limits=STUCK) as connection:
            start = time.monotonic()
            with pytest.raises(ConnectionClosedError, match=GONE):
                send_for_ever(connection)
            seconds = time.monotonic() - start
            assert connection.closed is not None
    assert seconds >= STUCK.gone_timeout / 2


# ---------------------------------------------------------------- a machine that is gone


@frozen
class Machines:
    """Two network namespaces, ours and the peer's, with one cable between them."""

    ours: Namespace
    peers: Namespace

    def our_socket(self, listener: socket.socket) -> socket.socket:
        """Connect from our machine to the peer's."""
        return self.ours.connected(*listener.getsockname())

    def peers_listener(self) -> socket.socket:
        return self.peers.listener("198.18.0.2")

    def unplug(self) -> None:
        """Have the peer's machine vanish: nothing tells ours."""
        self.peers.ip("link", "set", "cable", "down")


@pytest.fixture
def machines() -> Iterator[Machines]:
    with namespaces(2) as (ours, peers):
        cable = ("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns")
        ours.ip(*cable, peers.name)
        for one, address in ((ours, "198.18.0.1/30"), (peers, "198.18.0.2/30")):
            one.ip("address", "add", address, "dev", "cable")
            one.ip("link", "set", "cable", "up")
        yield Machines(ours, peers)


VANISHED = Limits(gone_timeout=3, close_timeout=0.2)


@pytest.mark.parametrize("in_flight", [False, True], ids=["idle", "in-flight"])
async def test_a_machine_that_vanishes_is_noticed(machines: Machines, in_flight: bool) -> None:
    user_timeout()
    listener = machines.peers_listener()
    with silent_server(listener):
        async with client(limits=VANISHED) as transport:
            sock = machines.our_socket(listener)
            connection = await transport.connect("sip:contoso.com", sock=sock)
            machines.unplug()
            if in_flight:
                await connection.send(request())
            error, seconds = await end_of(connection, VANISHED.gone_timeout)
    assert GONE in str(error)
    assert seconds >= 1
    assert isinstance(error.__cause__, OSError)


@pytest.mark.parametrize("in_flight", [False, True], ids=["idle", "in-flight"])
def test_a_machine_that_vanishes_is_noticed_by_whoever_receives(
    machines: Machines, in_flight: bool
) -> None:
    user_timeout()
    listener = machines.peers_listener()
    with silent_server(listener):
        sock = machines.our_socket(listener)
        with sync.wrap_socket(sock, ENTERPRISE, "contoso.com", limits=VANISHED) as connection:
            machines.unplug()
            if in_flight:
                connection.send(request())
            error, seconds = end_of_blocking(connection, VANISHED.gone_timeout)
    assert GONE in str(error)
    assert seconds >= 1


async def test_keep_alives_find_a_vanished_machine_sooner(machines: Machines) -> None:
    listener = machines.peers_listener()
    limits = Limits(gone_timeout=60, pong_timeout=PONG_TIMEOUT, close_timeout=0.2)
    with silent_server(listener):
        async with client(limits=limits, keep_alive=KEEP_ALIVE) as transport:
            sock = machines.our_socket(listener)
            connection = await transport.connect("sip:contoso.com", sock=sock)
            machines.unplug()
            error, _ = await end_of(connection, KEEP_ALIVE + PONG_TIMEOUT)
    assert NO_PONG in str(error)


# ---------------------------------------------------------------- strangers

FIRST = 0.5


def stranger(port: int) -> SSL.Connection:
    """Connect without a certificate, and say nothing."""
    connection = raw_tls({"host": "127.0.0.1", "port": port}, credential=None)
    connection.do_handshake()
    return connection


async def test_a_stranger_who_says_nothing_loses_his_place() -> None:
    ends: asyncio.Queue[tuple[SIPTLSError, float]] = asyncio.Queue()
    greeted: asyncio.Queue[Message] = asyncio.Queue()

    async def handler(connection: Connection) -> None:
        if ends.empty() and not first.done():
            first.set_result(None)
            await ends.put(await end_of(connection, FIRST))
        else:
            await greeted.put(await connection.receive())

    first = asyncio.get_running_loop().create_future()
    limits = Limits(first_message_timeout=FIRST, max_connections=1, close_timeout=0.2)
    async with TLSServerTransport(OURS, handler, limits=limits) as server:
        await server.listen("127.0.0.1", 0)
        port = server.addresses[0][1]
        silent = await asyncio.to_thread(stranger, port)
        # There is one place only: the second one's handshake waits until the first one is out.
        second = await asyncio.to_thread(stranger, port)
        error, seconds = ends.get_nowait()
        second.sendall(request())
        await asyncio.wait_for(greeted.get(), 10)
        for connection in (silent, second):
            cut(connection._socket)
    assert f"the peer has said nothing within {FIRST:g} s of the handshake" in str(error)
    assert seconds >= FIRST / 2


async def test_a_stranger_who_sends_keep_alives_stays() -> None:
    received: asyncio.Queue[tuple[Message, float]] = asyncio.Queue()

    async def handler(connection: Connection) -> None:
        start = time.monotonic()
        await received.put((await connection.receive(), time.monotonic() - start))

    def keep_alive_and_ask(port: int) -> None:
        connection = stranger(port)
        end = time.monotonic() + 3 * FIRST
        while time.monotonic() < end:
            connection.sendall(b"\r\n\r\n")
            assert connection.recv(2) == b"\r\n"
            threading.Event().wait(FIRST / 5)
        connection.sendall(request())
        with contextlib.suppress(SSL.Error):
            connection.recv(1)
        cut(connection._socket)

    limits = Limits(first_message_timeout=FIRST, max_connections=1, close_timeout=0.2)
    async with TLSServerTransport(OURS, handler, limits=limits) as server:
        await server.listen("127.0.0.1", 0)
        peer = asyncio.create_task(asyncio.to_thread(keep_alive_and_ask, server.addresses[0][1]))
        _, seconds = await asyncio.wait_for(received.get(), 10)
        await peer
    assert seconds > 2 * FIRST
