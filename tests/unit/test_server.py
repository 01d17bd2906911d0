"""siptls.transports.aio.server: listening, accepting, and how many at once."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from typing import Any

import pytest
from network import ENTERPRISE, OURS, answer, client, opened, serving, until
from sip import request

from siptls import (
    CertificateError,
    ConfigurationError,
    Connection,
    ConnectionClosedError,
    Limits,
    MTLSServerTransport,
    TLSServerTransport,
)
from siptls.transports.aio.driver import Driver
from siptls.transports.service import Service


async def test_it_listens_on_several_addresses_and_says_where() -> None:
    async with MTLSServerTransport(OURS, ENTERPRISE, answer) as server:
        assert server.addresses == ()
        await server.listen("127.0.0.1", 0)
        await server.listen("127.0.0.1", 0)
        places = server.addresses
        assert len(set(places)) == 2
        async with client() as transport:
            for host, port in places:
                connection = await transport.connect("contoso.com", host=host, port=port)
                await connection.send(request())
                assert (await connection.receive()).status == 200
    assert server.addresses == ()


async def test_it_listens_on_all_addresses_of_the_machine() -> None:
    async with MTLSServerTransport(OURS, ENTERPRISE, answer) as server:
        await server.listen(None, 0)
        hosts = {host for host, _ in server.addresses}
        assert "0.0.0.0" in hosts


async def test_it_listens_on_a_socket_of_the_application() -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    host, port = sock.getsockname()
    async with MTLSServerTransport(OURS, ENTERPRISE, answer) as server, client() as transport:
        await server.listen(sock=sock)
        assert server.addresses == ((host, port),)
        connection = await transport.connect("contoso.com", host=host, port=port)
        assert await connection.ping() > 0
    assert sock.fileno() == -1


async def test_an_address_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
        async with MTLSServerTransport(OURS, ENTERPRISE, answer) as server:
            with pytest.raises(ConfigurationError, match=f"cannot listen on {host} port {port}"):
                await server.listen(host, port)


async def test_several_share_a_port_if_all_of_them_say_so() -> None:
    """As several processes do; the kernel gives each its share of the connections."""
    async with (
        MTLSServerTransport(OURS, ENTERPRISE, answer) as one,
        TLSServerTransport(OURS, answer) as other,
        client() as transport,
    ):
        await one.listen("127.0.0.1", 0, reuse_port=True)
        [(host, port)] = one.addresses
        await other.listen(host, port, reuse_port=True)
        assert other.addresses == one.addresses
        for _ in range(200):  # that one of them gets all is as likely as 200 heads in a row
            connection = await transport.connect("contoso.com", host=host, port=port, reuse=False)
            await connection.ping()
            if one._drivers and other._drivers:
                break
        assert one._drivers
        assert other._drivers


@pytest.mark.parametrize("first", [True, False])
async def test_a_port_is_shared_with_nobody_who_does_not_say_so(first: bool) -> None:
    async with (
        MTLSServerTransport(OURS, ENTERPRISE, answer) as one,
        MTLSServerTransport(OURS, ENTERPRISE, answer) as other,
    ):
        await one.listen("127.0.0.1", 0, reuse_port=first)
        [(host, port)] = one.addresses
        hint = "is another server running there" if first else "is another server there without"
        with pytest.raises(ConfigurationError, match=rf"port {port} .*in use.*; {hint}"):
            await other.listen(host, port, reuse_port=not first)
        assert other.addresses == ()


@pytest.mark.parametrize("choice", [1, None, "yes"])
async def test_whether_a_port_is_shared_is_yes_or_no(choice: Any) -> None:
    async with MTLSServerTransport(OURS, ENTERPRISE, answer) as server:
        with pytest.raises(ConfigurationError, match=r"reuse_port is a bool, not .*: write True"):
            await server.listen("127.0.0.1", 0, reuse_port=choice)


async def test_a_port_that_cannot_be_shared_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with MTLSServerTransport(OURS, ENTERPRISE, answer) as server:
        with socket.socket() as sock, pytest.raises(ConfigurationError, match="sock= is bound"):
            await server.listen(sock=sock, reuse_port=True)
        monkeypatch.delattr(socket, "SO_REUSEPORT")
        with pytest.raises(ConfigurationError, match="this system does not have"):
            await server.listen("127.0.0.1", 0, reuse_port=True)
        assert server.addresses == ()
        await server.listen("127.0.0.1", 0)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 99999), ("::g", 0)])
async def test_an_address_that_is_none_is_told(host: str, port: int) -> None:
    async with MTLSServerTransport(OURS, ENTERPRISE, answer) as server:
        with pytest.raises(ConfigurationError, match=r"cannot listen|a port is"):
            await server.listen(host, port)


async def test_a_socket_that_cannot_listen_is_told() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        async with MTLSServerTransport(OURS, ENTERPRISE, answer) as server:
            with pytest.raises(ConfigurationError, match="sock= cannot"):
                await server.listen(sock=datagrams)


async def test_when_one_of_a_names_addresses_fails_none_is_left_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[socket.socket] = []
    create = socket.create_server

    def second_fails(*arguments: Any, **options: Any) -> socket.socket:
        if made:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        made.append(create(*arguments, **options))
        return made[0]

    monkeypatch.setattr(socket, "create_server", second_fails)

    async def two(*_: object, **__: object) -> list[Any]:
        return [
            (socket.AF_INET, 0, 0, "", ("127.0.0.1", 0)),
            (socket.AF_INET, 0, 0, "", ("127.0.0.2", 0)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
    async with MTLSServerTransport(OURS, ENTERPRISE, answer) as server:
        with pytest.raises(ConfigurationError):
            await server.listen("localhost", 0)
    assert made[0].fileno() == -1


async def test_serving_for_ever_ends_when_the_server_is_closed() -> None:
    server = MTLSServerTransport(OURS, ENTERPRISE, answer)
    with pytest.raises(ConfigurationError, match="does not listen"):
        await server.serve_forever()
    await server.listen("127.0.0.1", 0)
    task = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    assert not task.done()
    await server.aclose()
    await task
    await server.serve_forever()
    with pytest.raises(ConnectionClosedError, match="make a new one"):
        await server.listen("127.0.0.1", 0)


async def test_serving_for_ever_may_be_cancelled() -> None:
    async with serving() as server:
        task = asyncio.create_task(server.transport.serve_forever())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_handler_may_close_the_server() -> None:
    servers: list[MTLSServerTransport] = []

    async def handler(connection: Connection) -> None:
        await connection.receive()
        await servers[0].aclose()

    async with serving(handler) as server, client() as transport:
        servers.append(server.transport)
        connection = await transport.connect("contoso.com", **server.place)
        await connection.send(request())
        with pytest.raises(ConnectionClosedError):
            await connection.receive()
        await server.transport.serve_forever()


async def test_no_more_connections_than_the_limit_are_held_and_the_others_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(limits=Limits(max_connections=2)) as server:
        first = await opened(server.place)
        second = await opened(server.place)
        await until(lambda: len(server.transport._drivers) == 2)
        async with client() as transport:
            waiting = asyncio.create_task(transport.connect("contoso.com", **server.place))
            reader, writer = first
            await until(lambda: "Limits.max_connections, 2, is reached" in caplog.text)
            assert len(server.transport._drivers) == 2
            writer.close()
            connection = await waiting
            assert await connection.ping() > 0
            assert len(server.transport._drivers) == 2
        second[1].close()
        assert await reader.read() == b""


async def test_from_one_address_come_so_many_and_one_more_is_turned_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(limits=Limits(max_per_address=2)) as server, client() as transport:
        strangers = [await opened(server.place) for _ in range(2)]
        await until(lambda: len(server.transport._drivers) == 2)
        with pytest.raises(ConnectionClosedError):
            await transport.connect("contoso.com", **server.place)
        assert "there are 2 from there already" in caplog.text
        place = server.transport.addresses[0]
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*place, local_addr=("127.0.0.2", 0))
        await until(lambda: len(server.transport._drivers) == 3)  # of another address
        strangers[0][1].close()
        await until(lambda: len(server.transport._drivers) == 2)
        connection = await transport.connect("contoso.com", **server.place)
        assert await connection.ping() > 0
        for one in (strangers[1][1], writer):
            one.close()
        assert await reader.read() == b""
    assert server.transport._crowd._counts == {}


async def test_a_closed_connection_makes_room() -> None:
    async with serving(limits=Limits(max_connections=1)) as server, client() as transport:
        for _ in range(5):
            connection = await transport.connect("contoso.com", **server.place)
            await connection.aclose()
        await until(lambda: not server.transport._drivers)
        assert server.transport._reached() is None
        assert server.transport._crowd._counts == {}


async def test_two_listeners_share_one_slot() -> None:
    async with serving(limits=Limits(max_connections=1)) as server, client() as transport:
        await server.transport.listen("127.0.0.1", 0)
        for host, port in server.transport.addresses:
            connection = await transport.connect("contoso.com", host=host, port=port)
            await connection.ping()
            await connection.aclose()


async def test_closing_a_full_server_closes_who_waits() -> None:
    async with serving(limits=Limits(max_connections=1)) as server:
        first = await opened(server.place)
        second = await opened(server.place)
        await until(lambda: not server.transport._doors[0]._is_open)
    assert await first[0].read() == b""
    with pytest.raises(ConnectionResetError):  # it was never accepted
        await second[0].read()
    for _, writer in (first, second):
        writer.close()


async def test_a_failing_accept_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process without file descriptors must not spin, and must come back."""
    monkeypatch.setattr("siptls.transports.aio.door._PAUSE", 0)
    accept = socket.socket.accept
    failures = [OSError(errno.EMFILE, os.strerror(errno.EMFILE))]

    def accept_or_fail(listener: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", accept_or_fail)
    async with serving() as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        assert await connection.ping() > 0
    assert "Too many open files; trying again; raise the limit of open files" in caplog.text


@pytest.mark.parametrize("when", ["early", "late", "after"])
async def test_a_connection_that_cannot_be_served_is_logged_and_makes_room(
    when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    failures = 1

    def fail(*_: object, **__: object) -> Any:
        nonlocal failures
        failures -= 1
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    async with serving(limits=Limits(max_connections=1)) as server:
        connect = loop.connect_accepted_socket

        async def fail_after(*arguments: Any) -> Any:
            await connect(*arguments)
            fail()

        if when == "early":
            monkeypatch.setattr(Service, "connection", fail)
        else:
            broken = fail if when == "late" else fail_after
            monkeypatch.setattr(loop, "connect_accepted_socket", broken)
        reader, writer = await opened(server.place)
        assert await reader.read() == b""
        writer.close()
        assert failures == 0
        await until(lambda: not server.transport._drivers)
        assert server.transport._reached() is None
        assert server.transport._crowd._counts == {}
        assert server.transport._doors[0]._is_open
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "No buffer space" in record.getMessage()


def test_what_is_wrong_with_a_server_is_told_when_it_is_built() -> None:
    with pytest.raises(ConfigurationError, match="TrustPolicy"):
        MTLSServerTransport(OURS, None, answer)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="either a handler"):
        TLSServerTransport(OURS)
    with pytest.raises(CertificateError, match="credential"):
        TLSServerTransport(None, answer)  # type: ignore[arg-type]


async def test_a_server_on_a_unix_socket_works() -> None:
    """A connection without an address is one all the same."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("\0siptls-test")
    async with MTLSServerTransport(OURS, ENTERPRISE, answer) as server, client() as transport:
        await server.listen(sock=sock)
        ours = socket.socket(socket.AF_UNIX)
        ours.connect("\0siptls-test")
        connection = await transport.connect("contoso.com", sock=ours)
        await connection.send(request())
        assert (await connection.receive()).status == 200
        assert connection.remote_address is None


async def test_a_server_that_is_closed_while_it_looks_for_an_address_listens_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as server:
        loop = asyncio.get_running_loop()
        look = loop.getaddrinfo

        async def close_meanwhile(*arguments: Any, **options: Any) -> Any:
            await server.transport.aclose()
            return await look(*arguments, **options)

        monkeypatch.setattr(loop, "getaddrinfo", close_meanwhile)
        with pytest.raises(ConnectionClosedError):
            await server.transport.listen("127.0.0.1", 0)
        assert server.transport.addresses == ()


async def test_one_that_cannot_be_judged_again_is_cut_and_the_others_are_judged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR, logger="siptls")
    async with serving() as server, client() as transport:
        for _ in range(3):
            await transport.connect("contoso.com", reuse=False, **server.place)
        await until(lambda: len(server.connections) == 3)
        broken = server.connections[0]._driver
        judge, judged = Driver.judge_again, []

        def judge_or_fail(driver: Driver) -> None:
            if driver is broken:
                raise ValueError("no")
            judge(driver)
            judged.append(driver)

        monkeypatch.setattr(Driver, "judge_again", judge_or_fail)
        server.transport.update()
        await until(lambda: broken not in server.transport._drivers and len(judged) == 2)
        assert len(server.transport._drivers) == 2
    assert "judging a connection again failed" in caplog.text
