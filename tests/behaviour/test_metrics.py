"""What is counted is the same over asyncio and over threads, in TLS 1.2 and 1.3."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from impostors import CONTOSO, STRANGER
from network import raw_tls, until
from network import serving as serving_in_loop
from sip import request

from siptls import (
    Connection,
    ConnectionClosedError,
    Credential,
    Enterprise,
    HandshakeTimeout,
    Limits,
    OperationTimeout,
    PeerRefusedError,
    RefusedByPeerError,
    ResolutionError,
    SIPTLSError,
    StaticResolver,
    TLSClientTransport,
    sync,
)
from siptls.metrics import Metrics

OURS = CONTOSO.issue("sip:contoso.com")
IMPOSTOR = STRANGER.issue("sip:contoso.com")
POLICY = Enterprise(["contoso.com"], CONTOSO.authority())
HANDSHAKES, OPEN = "siptls_handshakes_total", "siptls_connections"
ENDED, MESSAGES = "siptls_connections_ended_total", "siptls_messages_total"
FAILURES, REACHED = "siptls_connect_failures_total", "siptls_limits_reached_total"


class World:
    """A server and clients of one world, each side with its metrics."""

    name = ""

    def __init__(self) -> None:
        self.ours, self.theirs = Metrics(), Metrics()

    @contextmanager
    def serving(self, credential: Credential = OURS, **options: Any) -> Iterator[int]:
        """Run a server that answers; give its port."""
        raise NotImplementedError

    def visit(self, port: int, credential: Credential | None = OURS, **options: Any) -> None:
        """Connect, ask once, and close."""
        raise NotImplementedError

    def connect(self, host: str, port: int, **options: Any) -> None:
        """Connect in vain."""
        raise NotImplementedError


class Threads(World):
    name = "threads"

    @contextmanager
    def serving(self, credential: Credential = OURS, **options: Any) -> Iterator[int]:
        def answer(connection: sync.Connection) -> None:
            for message in connection:
                connection.send(message.reply(200, "OK"))

        with sync.MTLSServerTransport(
            credential, POLICY, answer, metrics=self.ours, **options
        ) as server:
            server.listen("127.0.0.1", 0)
            yield server.addresses[0][1]

    def visit(self, port: int, credential: Credential | None = OURS, **options: Any) -> None:
        with sync.TLSClientTransport(
            POLICY, credential=credential, metrics=self.theirs, **options
        ) as transport:
            connection = transport.connect("contoso.com", host="127.0.0.1", port=port)
            connection.send(request())
            assert connection.receive(timeout=20).status == 200

    def connect(self, host: str | None, port: int | None, **options: Any) -> None:
        with sync.TLSClientTransport(POLICY, metrics=self.theirs, **options) as transport:
            transport.connect("contoso.com", host=host, port=port)


class Loop(World):
    name = "asyncio"

    @contextmanager
    def serving(self, credential: Credential = OURS, **options: Any) -> Iterator[int]:
        """In a thread of its own."""
        ready: list[int] = []
        began, over = threading.Event(), asyncio.Event()
        loop = asyncio.new_event_loop()

        async def serve() -> None:
            try:
                async with serving_in_loop(
                    credential=credential, policy=POLICY, metrics=self.ours, **options
                ) as server:
                    ready.append(server.place["port"])
                    began.set()
                    await over.wait()
            finally:
                began.set()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
        thread.start()
        try:
            assert began.wait(20)
            yield ready[0]
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join()
            loop.close()

    def visit(self, port: int, credential: Credential | None = OURS, **options: Any) -> None:
        async def go() -> None:
            async with TLSClientTransport(
                POLICY, credential=credential, metrics=self.theirs, **options
            ) as transport:
                connection = await transport.connect("contoso.com", host="127.0.0.1", port=port)
                await connection.send(request())
                assert (await connection.receive()).status == 200

        asyncio.run(go())

    def connect(self, host: str | None, port: int | None, **options: Any) -> None:
        async def go() -> None:
            async with TLSClientTransport(POLICY, metrics=self.theirs, **options) as transport:
                await transport.connect("contoso.com", host=host, port=port)

        asyncio.run(go())


@pytest.fixture(params=[Threads, Loop], ids=lambda kind: kind.name)
def world(request: pytest.FixtureRequest) -> World:
    return request.param()  # type: ignore[no-any-return]


def counted(metrics: Metrics, name: str = HANDSHAKES) -> list[tuple[str, ...]]:
    """Each label set with its number; a handshake's code and outcome come first."""
    return [
        (*one.labels.values(), str(one.value))
        for one in metrics.snapshot()
        if one.metric.name == name
    ]


def is_balanced(metrics: Metrics) -> bool:
    """Every handshake once, with its duration; and nothing is open any more."""
    accepted = metrics.total(HANDSHAKES, outcome="accepted")
    same = metrics.total(HANDSHAKES) == metrics.total("siptls_handshake_duration_seconds")
    return same and metrics.total(OPEN) == 0 and metrics.total(ENDED) == accepted


# ---------------------------------------------------------------- handshakes


@pytest.mark.usefixtures("tls_version")
def test_accepted_connections_and_their_messages(world: World) -> None:
    with world.serving() as port:
        for _ in range(3):
            world.visit(port)
    who = "client", "enterprise"
    assert counted(world.ours) == [("accepted", "accepted", *who, "no", "3")]
    assert counted(world.ours, ENDED) == [("orderly", "by_peer", *who, "3")]
    assert counted(world.ours, MESSAGES) == [("received", *who, "3"), ("sent", *who, "3")]
    who = "server", "enterprise"
    assert counted(world.theirs) == [("accepted", "accepted", *who, "no", "3")]
    assert counted(world.theirs, ENDED) == [("orderly", "by_us", *who, "3")]
    assert counted(world.theirs, MESSAGES) == [("received", *who, "3"), ("sent", *who, "3")]
    assert is_balanced(world.ours)
    assert is_balanced(world.theirs)


def test_a_client_that_the_server_refuses(world: World, tls_version: str) -> None:
    with world.serving() as port:
        for credential in (IMPOSTOR, None):
            with pytest.raises(SIPTLSError) as caught:
                world.visit(port, credential)
            assert isinstance(caught.value, RefusedByPeerError | ConnectionClosedError)
    assert counted(world.ours) == [
        ("refused", "certificate.missing", "client", "none", "no", "1"),
        ("refused", "path.unknown-ca", "client", "none", "no", "1"),
    ]
    assert counted(world.ours, ENDED) == []
    by_peer = "how" if tls_version == "TLSv1.3" else "outcome"
    name = ENDED if tls_version == "TLSv1.3" else HANDSHAKES
    assert world.theirs.total(name, **{by_peer: "refused_by_peer"}) == 2
    assert is_balanced(world.ours)
    assert is_balanced(world.theirs)


@pytest.mark.usefixtures("tls_version")
def test_a_server_that_the_client_refuses(world: World) -> None:
    with world.serving(IMPOSTOR) as port, pytest.raises(PeerRefusedError):
        world.visit(port)
    assert counted(world.theirs) == [("refused", "path.unknown-ca", "server", "none", "no", "1")]
    assert counted(world.ours) == [("refused_by_peer", "unknown_ca", "client", "none", "no", "1")]
    assert counted(world.theirs, FAILURES) == []
    assert is_balanced(world.ours)
    assert is_balanced(world.theirs)


def test_a_client_that_says_nothing(world: World) -> None:
    limits = Limits(handshake_timeout=0.1)
    with world.serving(limits=limits) as port, socket.create_connection(("127.0.0.1", port)) as one:
        one.settimeout(20)
        assert closes(one)
    assert counted(world.ours) == [("timeout", "none", "client", "none", "no", "1")]
    assert is_balanced(world.ours)


def closes(sock: socket.socket) -> bool:
    """Read until the other side closes, in whatever way."""
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass
    return True


def test_a_server_that_says_nothing(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with pytest.raises(HandshakeTimeout):
            world.connect(*mute.getsockname(), limits=Limits(handshake_timeout=0.1))
    assert counted(world.theirs) == [("timeout", "none", "server", "none", "no", "1")]
    assert counted(world.theirs, FAILURES) == []


def test_a_handshake_that_nobody_waits_for_any_more(world: World) -> None:
    """The whole of connect() has less time than the handshake: it is we who close."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with pytest.raises(HandshakeTimeout):
            world.connect(*mute.getsockname(), limits=Limits(reach_timeout=0.1))
    assert counted(world.theirs) == [("closed", "by_us", "server", "none", "no", "1")]
    assert is_balanced(world.theirs)


async def test_so_is_one_whose_connect_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """The transport lives on; the log does not blame the server either."""
    metrics = Metrics()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.setblocking(False)
        async with TLSClientTransport(POLICY, metrics=metrics) as transport:
            host, port = mute.getsockname()
            task = asyncio.create_task(transport.connect("contoso.com", host=host, port=port))
            its, _ = await asyncio.get_running_loop().sock_accept(mute)
            await asyncio.get_running_loop().sock_recv(its, 1)  # the handshake has begun
            with caplog.at_level(logging.INFO, "siptls"):
                task.cancel()
                await until(lambda: metrics.total(HANDSHAKES) == 1)
            its.close()
    assert counted(metrics) == [("closed", "by_us", "server", "none", "no", "1")]
    assert "closed by us during the handshake" in caplog.text


def test_a_callers_timeout_is_our_close_too() -> None:
    metrics = Metrics()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host, port = mute.getsockname()
        with (
            sync.TLSClientTransport(POLICY, metrics=metrics) as transport,
            pytest.raises(OperationTimeout),
        ):
            transport.connect("contoso.com", host=host, port=port, timeout=0.1)
    assert counted(metrics) == [("closed", "by_us", "server", "none", "no", "1")]


def test_a_health_check_is_closed_by_the_peer_and_told_to_who_debugs(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "siptls"), world.serving() as port:
        with socket.create_connection(("127.0.0.1", port)) as one:
            one.shutdown(socket.SHUT_WR)
            assert closes(one)
        with socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(b"\x16\x03\x01")  # who speaks is told of as before
            one.shutdown(socket.SHUT_WR)
            assert closes(one)
    assert counted(world.ours) == [("closed", "by_peer", "client", "none", "no", "2")]
    over = [record for record in caplog.records if "is over" in record.message]
    assert [record.levelname for record in over] == ["DEBUG", "INFO"]
    events = {record.siptls_event for record in over}  # type: ignore[attr-defined]
    assert events == {"handshake_failed"}


def test_plain_sip_on_a_tls_port(world: World) -> None:
    with world.serving() as port, socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(request())
        assert closes(one)
    assert counted(world.ours) == [("failed", "not_tls", "client", "none", "no", "1")]


@pytest.mark.usefixtures("tls_version")
def test_a_connection_that_is_cut(world: World) -> None:
    """By a reset: no close_notify."""
    with world.serving() as port:
        peer = raw_tls({"host": "127.0.0.1", "port": port})
        peer.do_handshake()
        peer.sendall(request())
        assert peer.recv(65536).startswith(b"SIP/2.0 200")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer._socket.close()
        wait_for(lambda: world.ours.total(ENDED) == 1)
    assert counted(world.ours, ENDED) == [("broken", "none", "client", "enterprise", "1")]
    assert is_balanced(world.ours)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until another thread has done its part."""
    ticks = threading.Event()
    for _ in range(2000):
        if condition():
            return
        ticks.wait(0.01)
    raise AssertionError("it never came to be")


async def test_a_resumed_session_is_told_from_a_whole_handshake() -> None:
    metrics = Metrics()
    async with serving_in_loop(resume=True, metrics=metrics) as server:
        async with TLSClientTransport(POLICY, credential=OURS, resume=True) as transport:
            for _ in range(2):
                connection = await transport.connect("contoso.com", reuse=False, **server.place)
                await connection.send(request())
                await connection.receive()
                await connection.aclose()
        await until(lambda: metrics.total(ENDED) == 2)
    assert metrics.total(HANDSHAKES, resumed="yes", outcome="accepted") == 1
    assert metrics.total(HANDSHAKES, resumed="no", outcome="accepted") == 1
    assert is_balanced(metrics)


# ---------------------------------------------------------------- what never began


def test_an_address_where_nobody_listens(world: World) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionClosedError):
            world.connect(*unused.getsockname())
    assert counted(world.theirs, FAILURES) == [("refused", "1")]
    assert counted(world.theirs) == []


def test_a_name_without_an_address(world: World) -> None:
    with pytest.raises(ResolutionError):
        world.connect(None, None, resolver=StaticResolver({"other.example": ["127.0.0.1"]}))  # type: ignore[arg-type]
    assert counted(world.theirs, FAILURES) == [("resolution", "1")]


class Silent:
    """A resolver that does not answer before it is let go."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(self, *_: object, **__: object) -> list[Any]:
        self.asked += 1
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nobody has answered")


async def test_a_resolver_that_does_not_answer() -> None:
    metrics = Metrics()
    async with TLSClientTransport(
        POLICY, resolver=Silent(), limits=Limits(reach_timeout=0.1), metrics=metrics
    ) as transport:
        with pytest.raises(ResolutionError):
            await transport.connect("contoso.com")
    assert counted(metrics, FAILURES) == [("resolution", "1")]


# ---------------------------------------------------------------- limits


def test_who_is_turned_away(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with world.serving(limits=Limits(max_per_address=1)) as port:
        with socket.create_connection(("127.0.0.1", port)):
            with socket.create_connection(("127.0.0.1", port)) as one:
                assert closes(one)
    assert counted(world.ours, REACHED) == [("max_per_address", "1")]
    (record,) = (one for one in caplog.records if "turned away" in one.message)
    assert vars(record)["siptls_limit"] == "max_per_address"
    assert vars(record)["siptls_address"] == "127.0.0.1"


def test_a_server_that_is_full(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with world.serving(limits=Limits(max_connections=1)) as port:
        first = socket.create_connection(("127.0.0.1", port))
        second = socket.create_connection(("127.0.0.1", port))
        wait_for(lambda: world.ours.total(REACHED) >= 1)
        first.close()
        second.close()
    assert world.ours.total(REACHED, limit="max_connections") >= 1
    assert "Limits.max_connections, 1, is reached: whoever comes now waits" in caplog.text


# ---------------------------------------------------------------- what fails


class Broken:
    """A recorder on a full disk."""

    def count(self, *_: object) -> None:
        raise OSError("full")

    change = observe = count


@pytest.mark.usefixtures("tls_version")
def test_a_recorder_that_fails_is_told_once_for_a_transport(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.ours = Broken()  # type: ignore[assignment]
    with world.serving() as port:
        for _ in range(3):
            world.visit(port)
    assert world.theirs.total(HANDSHAKES, outcome="accepted") == 3
    assert sum("metrics= failed" in record.message for record in caplog.records) == 1


async def test_a_failing_handler_says_with_whom(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(connection: Connection) -> None:
        raise RuntimeError("ours")

    async with serving_in_loop(fail) as server:
        async with TLSClientTransport(POLICY, credential=OURS) as transport:
            connection = await transport.connect("contoso.com", **server.place)
            await connection.wait_closed()
    (record,) = (one for one in caplog.records if "the handler of" in one.message)
    assert vars(record)["siptls_event"] == "handler_failed"
    assert vars(record)["siptls_names"] == ["contoso.com"]
    assert vars(record)["siptls_trust"] == "enterprise"
