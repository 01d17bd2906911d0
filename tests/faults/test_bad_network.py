"""A network that loses, delays, swaps and doubles; and one that is away for a while."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from bad_network import BadNetwork, Weather, bad_network
from network import ENTERPRISE, OURS, Server, answer, client
from sip import request

from siptls import (
    Backoff,
    Connection,
    ConnectionClosedError,
    KeepState,
    Limits,
    Message,
    sync,
)

# What a test has made of namespaces is removed: a signal, and no os._exit.
pytestmark = pytest.mark.timeout(60, method="signal")

# Each packet that is lost costs TCP a fifth of a second or more.
PATIENT = Limits(handshake_timeout=40, connect_timeout=40, close_timeout=0.5)
WEATHERS = {
    "loss": Weather(loss=0.05, delay=0.005),
    "reordering": Weather(swapped=0.2, delay=0.002),
    "duplication": Weather(doubled=0.3, delay=0.002),
    "delay": Weather(delay=0.05),
    "all": Weather(loss=0.05, swapped=0.1, doubled=0.1, delay=0.005),
}
MESSAGES = 200


@pytest.fixture
def bad() -> Iterator[BadNetwork]:
    with bad_network() as network:
        yield network


async def shout_and_answer(connection: Connection) -> None:
    """Answer each request, and say as much unasked."""

    async def shout() -> None:
        for number in range(MESSAGES):
            await connection.send(request("MESSAGE", number=number, body=b"s" * (number * 7)))

    shouting = asyncio.create_task(shout())
    try:
        async for message in connection:
            await connection.send(message.reply(200, "OK"))
    finally:
        shouting.cancel()
        await asyncio.wait([shouting])


def is_whole(messages: list[Message]) -> None:
    """Every message has come, once and in order, as it was sent."""
    answers = [message for message in messages if not message.is_request]
    requests = [message for message in messages if message.is_request]
    assert [message.header("CSeq") for message in answers] == [
        f"{number} OPTIONS" for number in range(MESSAGES)
    ]
    assert [message.header("CSeq") for message in requests] == [
        f"{number} MESSAGE" for number in range(MESSAGES)
    ]
    assert [message.body for message in requests] == [b"s" * (n * 7) for n in range(MESSAGES)]


@contextlib.asynccontextmanager
async def serving_there(bad: BadNetwork, handler: Any, **options: Any) -> Any:
    """Run a server on the peer's machine; give where it listens, and the server."""
    server = Server(handler, **options)
    listener = bad.listen()
    async with server.transport:
        await server.transport.listen(sock=listener)
        yield listener, server


@pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS)
async def test_all_messages_come_once_and_in_order(
    bad: BadNetwork, weather: Weather, tls_version: str
) -> None:
    bad.weather = weather
    async with (
        serving_there(bad, shout_and_answer, limits=PATIENT) as (listener, _),
        client(limits=PATIENT) as transport,
    ):
        sock = await asyncio.to_thread(bad.connect, listener)
        connection = await transport.connect("sip:contoso.com", sock=sock)

        async def ask() -> None:
            for number in range(MESSAGES):
                await connection.send(request(number=number, body=b"c" * (number * 7)))

        asking = asyncio.create_task(ask())
        got = [await connection.receive() for _ in range(2 * MESSAGES)]
        await asking
        bad.weather = Weather()
        sock = await asyncio.to_thread(bad.connect, listener)
        again = await transport.connect("sip:contoso.com", sock=sock)
        assert (await again.receive()).is_request
    is_whole(got)
    badly = {"lost": weather.loss, "swapped": weather.swapped, "doubled": weather.doubled}
    assert {what for what, part in badly.items() if part} <= set(bad.done)


@pytest.mark.parametrize("weather", [WEATHERS["all"]], ids=["all"])
def test_and_so_they_do_on_blocking_sockets(
    bad: BadNetwork, weather: Weather, tls_version: str
) -> None:
    bad.weather = weather

    def handler(connection: sync.Connection) -> None:
        def shout() -> None:
            for number in range(MESSAGES):
                body = b"s" * (number * 7)
                connection.send(request("MESSAGE", number=number, body=body), timeout=50)

        shouting = threading.Thread(target=shout)
        shouting.start()
        for message in connection:
            connection.send(message.reply(200, "OK"), timeout=50)
        shouting.join()

    listener = bad.listen()
    with sync.MTLSServerTransport(OURS, ENTERPRISE, handler, limits=PATIENT) as server:
        server.listen(sock=listener)
        sock = bad.connect(listener)
        with sync.wrap_socket(
            sock, ENTERPRISE, "contoso.com", credential=OURS, limits=PATIENT
        ) as connection:
            got: list[Message] = []

            def receive() -> None:
                got.extend(connection.receive(timeout=50) for _ in range(2 * MESSAGES))

            receiving = threading.Thread(target=receive)
            receiving.start()
            for number in range(MESSAGES):
                connection.send(request(number=number, body=b"c" * (number * 7)), timeout=50)
            receiving.join()
    is_whole(got)


# ---------------------------------------------------------------- a link that is away

GONE = "is held to be gone"
AWAY = Limits(gone_timeout=2, close_timeout=0.2, connect_timeout=1, attempt_delay=0.1)
QUICK = Backoff(base=0.05, longest=0.1)


async def test_a_link_that_is_away_for_too_long_ends_the_connection(bad: BadNetwork) -> None:
    async with (
        serving_there(bad, answer, limits=AWAY) as (listener, server),
        client(limits=AWAY) as transport,
    ):
        sock = await asyncio.to_thread(bad.connect, listener)
        connection = await transport.connect("sip:contoso.com", sock=sock)
        await connection.ping()
        bad.cut()
        await connection.send(request())
        with pytest.raises(ConnectionClosedError, match=GONE) as raised:
            await connection.receive()
        assert isinstance(raised.value.__cause__, OSError)
        assert raised.value.__cause__.errno == errno.ETIMEDOUT
        assert raised.value.unacknowledged  # bytes that may be lost
        (theirs,) = server.connections
        await theirs.wait_closed()  # the server has seen it, too
        assert GONE in str(theirs.closed)
        bad.mend()
        sock = await asyncio.to_thread(bad.connect, listener)
        again = await transport.connect("sip:contoso.com", sock=sock)
        await again.send(request())
        assert (await again.receive()).status == 200


async def test_a_link_that_comes_back_in_time_loses_nothing(
    bad: BadNetwork, tls_version: str
) -> None:
    limits = Limits(gone_timeout=30, close_timeout=0.5)
    async with (
        serving_there(bad, answer, limits=limits) as (listener, _),
        client(limits=limits) as transport,
    ):
        sock = await asyncio.to_thread(bad.connect, listener)
        connection = await transport.connect("sip:contoso.com", sock=sock)
        bad.cut()
        for number in range(50):
            await connection.send(request(number=number))
        for _ in range(3):  # it was sent, and sent again
            assert await asyncio.to_thread(bad.cut_off.acquire, timeout=20)
        bad.mend()
        got = [(await connection.receive()).header("CSeq") for _ in range(50)]
    assert got == [f"{number} OPTIONS" for number in range(50)]


def test_a_blocking_connection_ends_likewise(bad: BadNetwork) -> None:
    def handler(connection: sync.Connection) -> None:
        for message in connection:
            connection.send(message.reply(200, "OK"), timeout=20)

    listener = bad.listen()
    with sync.MTLSServerTransport(OURS, ENTERPRISE, handler, limits=AWAY) as server:
        server.listen(sock=listener)

        def opened() -> sync.Connection:
            return sync.wrap_socket(
                bad.connect(listener), ENTERPRISE, "contoso.com", credential=OURS, limits=AWAY
            )

        with opened() as connection:
            connection.ping(timeout=20)
            bad.cut()
            connection.send(request(), timeout=20)
            with pytest.raises(ConnectionClosedError, match=GONE):
                connection.receive(timeout=20)
        bad.mend()
        with opened() as connection:
            connection.send(request(), timeout=20)
            assert connection.receive(timeout=20).status == 200


# ---------------------------------------------------------------- a connection that is kept


def test_a_kept_connection_comes_back_with_the_link(bad: BadNetwork) -> None:
    """The client lives on its machine: its loop runs in a thread that is in its namespace."""
    states: queue.Queue[KeepState] = queue.Queue()

    async def keep(place: dict[str, Any]) -> None:
        async with client(limits=AWAY) as transport:
            kept = transport.keep(
                "contoso.com",
                **place,
                backoff=QUICK,
                on_change=lambda change: states.put(change.state),
            )
            first = await kept.connected()
            await first.ping()
            bad.cut()
            with pytest.raises(ConnectionClosedError, match=GONE):
                await first.receive()
            down = 0
            while down < 2:  # and in vain while the link is away
                down += (await asyncio.to_thread(states.get, timeout=20)) is KeepState.WAITING
            bad.mend()
            second = await kept.connected()
            assert second is not first
            await second.send(request())
            assert (await second.receive()).status == 200

    with served(bad) as place:
        bad.run(lambda: asyncio.run(keep(place)))


def test_a_kept_blocking_connection_comes_back_with_the_link(bad: BadNetwork) -> None:
    states: queue.Queue[KeepState] = queue.Queue()

    def keep(place: dict[str, Any]) -> None:
        with sync.TLSClientTransport(ENTERPRISE, credential=OURS, limits=AWAY) as transport:
            kept = transport.keep(
                "contoso.com",
                **place,
                backoff=QUICK,
                on_change=lambda change: states.put(change.state),
            )
            first = kept.connected(timeout=20)
            first.ping(timeout=20)
            bad.cut()
            first.wait_closed(timeout=20)
            assert GONE in str(first.closed)
            down = 0
            while down < 2:
                down += states.get(timeout=20) is KeepState.WAITING
            bad.mend()
            second = kept.connected(timeout=20)
            assert second is not first
            second.send(request(), timeout=20)
            assert second.receive(timeout=20).status == 200

    with served(bad) as place:
        bad.run(lambda: keep(place))


@contextlib.contextmanager
def served(bad: BadNetwork) -> Iterator[dict[str, Any]]:
    """Run a server on the peer's machine; give where it is."""

    def handler(connection: sync.Connection) -> None:
        for message in connection:
            connection.send(message.reply(200, "OK"), timeout=20)

    with sync.MTLSServerTransport(OURS, ENTERPRISE, handler, limits=AWAY) as server:
        server.listen(sock=bad.listen())
        host, port = server.addresses[0]
        yield {"host": host, "port": port}
