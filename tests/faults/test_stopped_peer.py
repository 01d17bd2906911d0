"""A peer whose process is stopped, goes on, or is killed."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator

import pytest
from front_ends import OURS, POLICY
from network import answer, serving
from server_process import ServerProcess, server_process, visit
from sip import request

from siptls import (
    Connection,
    ConnectionClosedError,
    HandshakeTimeout,
    Limits,
    OperationTimeout,
    TLSClientTransport,
    sync,
)

GONE = "is held to be gone"
PIECE = request(body=b"x" * 8192)
# A kernel acknowledges for a process that is stopped, until its buffers are full.
LIMITS = Limits(gone_timeout=1, close_timeout=0.2, write_buffer=65536)
PINGING = Limits(pong_timeout=0.5, close_timeout=0.2)
MESSAGES = 100


@pytest.fixture
def peer() -> Iterator[ServerProcess]:
    with server_process("asyncio") as process:
        yield process


def small_socket(peer: ServerProcess) -> socket.socket:
    """Connect with little room in the kernel, so that it is full soon."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    sock.connect((peer.place["host"], peer.place["port"]))
    return sock


def client(limits: Limits, **options: float) -> TLSClientTransport:
    return TLSClientTransport(POLICY, credential=OURS, limits=limits, **options)


async def send_until_it_ends(connection: Connection) -> ConnectionClosedError:
    while True:
        try:
            await connection.send(PIECE)
        except ConnectionClosedError as error:
            return error


def send_for_ever(connection: sync.Connection) -> None:
    while True:
        connection.send(PIECE, timeout=20)


# ---------------------------------------------------------------- stopped


async def test_a_send_to_a_stopped_process_ends_and_nobody_else_waits(
    peer: ServerProcess, tls_version: str
) -> None:
    async with (
        client(LIMITS) as transport,
        serving(answer, credential=OURS, policy=POLICY) as healthy,
    ):
        stuck = await transport.connect("contoso.com", sock=small_socket(peer))
        other = await transport.connect("contoso.com", **healthy.place)
        await stuck.ping()
        peer.signal(signal.SIGSTOP)
        sending = asyncio.create_task(send_until_it_ends(stuck))
        served = 0
        while not sending.done():  # each has its answer, and none is behind the one that waits
            await other.send(request(number=served))
            assert (await other.receive()).header("CSeq") == f"{served} OPTIONS"
            served += 1
        assert served > 1
        error = await sending
        assert GONE in str(error)
        assert not error.orderly
        assert stuck.closed is not None
        peer.signal(signal.SIGCONT)
        await asyncio.to_thread(visit, peer.place)


def test_a_blocking_send_to_a_stopped_process_ends(peer: ServerProcess, tls_version: str) -> None:
    with sync.wrap_socket(
        small_socket(peer), POLICY, "contoso.com", credential=OURS, limits=LIMITS
    ) as connection:
        connection.ping(timeout=20)
        peer.signal(signal.SIGSTOP)
        with pytest.raises(ConnectionClosedError, match=GONE):
            send_for_ever(connection)
    peer.signal(signal.SIGCONT)
    visit(peer.place)


async def test_a_stopped_process_answers_no_pings(peer: ServerProcess) -> None:
    async with client(PINGING, keep_alive=0.1) as transport:
        connection = await transport.connect("contoso.com", **peer.place)
        await connection.ping()
        peer.signal(signal.SIGSTOP)
        with pytest.raises(ConnectionClosedError, match="no pong within"):
            await connection.receive()
        peer.signal(signal.SIGCONT)
        await asyncio.to_thread(visit, peer.place)


def test_a_stopped_process_answers_no_pings_of_a_blocking_connection(peer: ServerProcess) -> None:
    with sync.TLSClientTransport(
        POLICY, credential=OURS, limits=PINGING, keep_alive=0.1
    ) as transport:
        connection = transport.connect("contoso.com", **peer.place)
        connection.ping(timeout=20)
        peer.signal(signal.SIGSTOP)
        with pytest.raises(ConnectionClosedError, match="no pong within"):
            connection.receive(timeout=20)
    peer.signal(signal.SIGCONT)
    visit(peer.place)


async def test_who_connects_to_a_stopped_process_is_told(peer: ServerProcess) -> None:
    """Its kernel accepts for it, and nobody does the handshake."""
    peer.signal(signal.SIGSTOP)
    limits = Limits(handshake_timeout=0.3, close_timeout=0.1)
    async with client(limits) as transport:
        with pytest.raises(HandshakeTimeout, match="the TLS handshake took more than"):
            await transport.connect("contoso.com", **peer.place)
    peer.signal(signal.SIGCONT)
    await asyncio.to_thread(visit, peer.place)


# ---------------------------------------------------------------- and goes on


async def test_a_process_that_goes_on_in_time_has_lost_nothing(
    peer: ServerProcess, tls_version: str
) -> None:
    async with client(Limits(gone_timeout=60)) as transport:
        connection = await transport.connect("contoso.com", sock=small_socket(peer))
        await connection.ping()
        peer.signal(signal.SIGSTOP)
        body = b"x" * 60_000  # in all, more than the kernels take

        async def ask() -> None:
            for number in range(MESSAGES):
                await connection.send(request(number=number, body=body))

        asking = asyncio.create_task(ask())
        done, _ = await asyncio.wait([asking], timeout=0.2)
        assert not done
        peer.signal(signal.SIGCONT)
        got = [(await connection.receive()).header("CSeq") for _ in range(MESSAGES)]
        await asking
    assert got == [f"{number} OPTIONS" for number in range(MESSAGES)]


def test_on_blocking_sockets_as_well(peer: ServerProcess, tls_version: str) -> None:
    with sync.wrap_socket(
        small_socket(peer), POLICY, "contoso.com", credential=OURS, limits=Limits(gone_timeout=60)
    ) as connection:
        connection.ping(timeout=20)
        peer.signal(signal.SIGSTOP)
        body = b"x" * 60_000

        def ask() -> None:
            for number in range(MESSAGES):
                connection.send(request(number=number, body=body), timeout=20)

        asking = threading.Thread(target=ask)
        asking.start()
        with pytest.raises(OperationTimeout):  # nothing comes
            connection.receive(timeout=0.2)
        assert asking.is_alive()
        peer.signal(signal.SIGCONT)
        got = [connection.receive(timeout=20).header("CSeq") for _ in range(MESSAGES)]
        asking.join()
    assert got == [f"{number} OPTIONS" for number in range(MESSAGES)]


# ---------------------------------------------------------------- killed


@pytest.mark.parametrize("unread", [False, True], ids=["all-read", "unread"])
async def test_the_end_of_a_killed_process_is_told_at_once(
    peer: ServerProcess, tls_version: str, unread: bool
) -> None:
    """By an EOF without a close_notify; by a reset if it had not read all that we have sent."""
    async with (
        client(Limits()) as transport,  # no deadline of theirs is below a minute
        serving(answer, credential=OURS, policy=POLICY) as healthy,
    ):
        connection = await transport.connect("contoso.com", **peer.place)
        await connection.ping()
        if unread:
            peer.signal(signal.SIGSTOP)
            await connection.send(request())
        peer.signal(signal.SIGKILL)
        async with asyncio.timeout(20):
            with pytest.raises(ConnectionClosedError) as raised:
                await connection.receive()
        assert not raised.value.orderly
        assert ("Connection reset by peer" in str(raised.value)) is unread
        with pytest.raises(ConnectionClosedError):
            await connection.send(request())
        again = await transport.connect("contoso.com", **healthy.place)
        await again.send(request())
        assert (await again.receive()).status == 200


@pytest.mark.parametrize("unread", [False, True], ids=["all-read", "unread"])
def test_and_to_a_blocking_connection(peer: ServerProcess, tls_version: str, unread: bool) -> None:
    with (
        sync.TLSClientTransport(POLICY, credential=OURS) as transport,
        server_process("sync") as healthy,
    ):
        connection = transport.connect("contoso.com", **peer.place)
        connection.ping(timeout=20)
        if unread:
            peer.signal(signal.SIGSTOP)
            connection.send(request(), timeout=20)
        peer.signal(signal.SIGKILL)
        with pytest.raises(ConnectionClosedError) as raised:
            connection.receive(timeout=20)
        assert not raised.value.orderly
        assert ("Connection reset by peer" in str(raised.value)) is unread
        visit(healthy.place)
