"""A connection that stays: lost, and opened again; refused, and left alone."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest
from impostors import STRANGER
from network import ENTERPRISE, OURS, answer, client, serving, until
from sip import request

from siptls import (
    Backoff,
    ConfigurationError,
    Connection,
    ConnectionClosedError,
    KeepChange,
    KeepState,
    MTLSServerTransport,
    StaticResolver,
    Target,
)

QUICK = Backoff(base=0.01, longest=0.02)


async def reached(seen: list[KeepChange], *states: KeepState) -> None:
    """Wait until these have come, in this order, whatever was between them."""

    def found() -> bool:
        rest = iter(change.state for change in seen)
        return all(state in rest for state in states)

    await until(found)


async def test_a_connection_is_opened_and_opened_again_when_it_is_lost() -> None:
    seen: list[KeepChange] = []
    async with serving() as server, client() as transport:
        kept = transport.keep("contoso.com", **server.place, backoff=QUICK, on_change=seen.append)
        first = await kept.connected()
        await first.send(request())
        assert (await first.receive()).status == 200
        await server.connections[0].aclose()
        await reached(seen, KeepState.UP, KeepState.WAITING, KeepState.UP)
        second = await kept.connected()
        assert second is not first
        await second.send(request())
        assert (await second.receive()).status == 200
        assert [change.error for change in seen if change.state is KeepState.WAITING] == [
            first.closed
        ]
    assert kept.state is KeepState.CLOSED
    with pytest.raises(ConnectionClosedError, match=r"contoso\.com is kept no more"):
        await kept.connected()


async def test_a_server_that_is_away_is_tried_until_it_is_back() -> None:
    seen: list[KeepChange] = []
    listener = socket.create_server(("127.0.0.1", 0))
    place: dict[str, Any] = dict(zip(("host", "port"), listener.getsockname(), strict=True))
    listener.close()
    async with client() as transport:
        kept = transport.keep("contoso.com", **place, backoff=QUICK, on_change=seen.append)
        await reached(seen, *[KeepState.WAITING] * 3)
        assert all(change.retry_in for change in seen if change.state is KeepState.WAITING)
        server = MTLSServerTransport(OURS, ENTERPRISE, answer)
        async with server:
            await server.listen(place["host"], place["port"])
            connection = await kept.connected()
            await connection.send(request())
            assert (await connection.receive()).status == 200


async def test_a_peer_that_was_refused_is_left_alone_until_something_changes() -> None:
    """However often addresses are looked for, nobody connects to it."""
    seen: list[KeepChange] = []
    stranger = STRANGER.issue("sip:contoso.com")
    async with serving(credential=stranger) as server:
        knocks = 0
        connection_of = server.transport._service.connection

        def counted(*args: Any, **options: Any) -> Any:
            nonlocal knocks
            knocks += 1
            return connection_of(*args, **options)

        object.__setattr__(server.transport, "_service", Counting(counted))
        resolver = Asked(server.transport.addresses[0])
        async with client(resolver=resolver) as transport:
            kept = transport.keep("contoso.com", backoff=QUICK, on_change=seen.append)
            await until(lambda: resolver.count == 4)
            assert knocks == 1
            assert [change.state for change in seen] == [KeepState.CONNECTING, KeepState.REFUSED]
            kept.retry()
            await until(lambda: knocks == 2)
            await until(lambda: resolver.count == 8)
            assert knocks == 2
            assert [change.state for change in seen[2:]] == [change.state for change in seen[:2]]


class Asked(StaticResolver):
    """A resolver that counts how often it was asked for contoso.com."""

    count = 0

    def __init__(self, *places: tuple[str, int]) -> None:
        super().__init__({"contoso.com": places})

    async def resolve(self, *args: Any, **options: Any) -> list[Target]:
        Asked.count += 1
        return await super().resolve(*args, **options)


class Counting:
    """A server's service that counts its connections."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def share(self, *_: object) -> None:
        """Nobody is accepted."""


async def test_another_address_in_dns_is_tried_and_the_refused_one_is_not() -> None:
    seen: list[KeepChange] = []
    async with (
        serving(credential=STRANGER.issue("sip:contoso.com")) as bad,
        serving() as good,
    ):
        places: list[Any] = [bad.transport.addresses[0]]

        class Changing:
            async def resolve(self, reference: Any, **_: object) -> list[Target]:
                return [Target(a, p, host=None, reference=reference) for a, p in places]

        async with client(resolver=Changing()) as transport:
            kept = transport.keep("contoso.com", backoff=QUICK, on_change=seen.append)
            await reached(seen, KeepState.REFUSED)
            places.append(good.transport.addresses[0])
            connection = await kept.connected()
            assert connection.attempts == ()
            assert connection.remote_address == good.transport.addresses[0]


async def test_a_refusal_by_the_peer_is_no_busy_loop(tls_version: str) -> None:
    """With TLS 1.3 the connection looks made before the peer has refused us."""
    seen: list[KeepChange] = []
    async with serving() as server, client(credential=None) as transport:
        transport.keep(
            "contoso.com",
            **server.place,
            backoff=Backoff(base=1000),
            on_change=seen.append,
        )
        await reached(seen, KeepState.WAITING)
        assert len(server.refusals) == 1
        assert (seen[-1].retry_in or 0) >= 900, "half of the longest"


async def test_what_the_application_does_wrong_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def tell(_: KeepChange) -> None:
        raise RuntimeError("no")

    async with serving() as server, client() as transport:
        kept = transport.keep("contoso.com", **server.place, on_change=tell)
        assert await kept.connected()
        await kept.aclose()
        await kept.aclose()
        assert repr(kept) == "<Kept contoso.com: closed>"
    assert "on_change failed" in caplog.text


async def test_what_should_never_happen_leaves_nobody_waiting(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[KeepChange] = []
    caplog.set_level(logging.ERROR)
    async with serving() as server, client() as transport:
        monkeypatch.setattr(transport.pool, "add", lambda *_: 1 / 0)
        kept = transport.keep("contoso.com", **server.place, on_change=seen.append)
        with pytest.raises(ConnectionClosedError):
            await kept.connected()
        assert "ZeroDivisionError" in str(seen[-1].error)
        assert kept.state is KeepState.CLOSED
    assert "is kept no more" in caplog.text


async def test_who_closes_may_be_cancelled_and_it_ends_all_the_same() -> None:
    """The peer takes its time to close; whoever waited for that goes, and nothing is left."""
    opened = asyncio.Event()

    async def stay(_: Connection) -> None:
        await opened.wait()

    async with serving(stay) as server, client() as transport:
        kept = transport.keep("contoso.com", **server.place)
        connection = await kept.connected()
        closing = asyncio.create_task(kept.aclose())
        await until(lambda: connection.closed is not None or closing.done())
        closing.cancel()
        await asyncio.wait([closing])
        opened.set()
        await kept.aclose()
        assert kept.state is KeepState.CLOSED
        assert connection.closed is not None


async def test_faulty_arguments_are_told_at_once() -> None:
    async with client() as transport:
        for wrong, said in (
            ({"backoff": 30}, "backoff is a Backoff"),
            ({"on_change": asyncio.sleep}, "on_change= is a plain function"),
            ({"port": 99999}, "a port is a number"),
            ({"host": ("127.0.0.1", 5061)}, "host= is a host name or an IP address as text"),
            ({"service": 5}, "a service is a str"),
        ):
            options: Any = wrong
            with pytest.raises(ConfigurationError, match=said):
                transport.keep("contoso.com", **options)
    with pytest.raises(ConnectionClosedError, match="the transport is closed"):
        transport.keep("contoso.com")
