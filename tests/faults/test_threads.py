"""No more threads: what needs one fails, or does without, and all others go on."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import network
import pytest
from front_ends import OURS, POLICY
from network import client, serving
from server_process import server_process, visit
from sip import request
from web import ocsp_at, web

from siptls import (
    Backoff,
    ConfigurationError,
    Connection,
    FetchingSource,
    KeepState,
    Limits,
    MTLSServerTransport,
    ResolutionError,
    SIPTLSError,
    sync,
    watch,
)
from siptls.testing import CertificateAuthority, pem

QUICK = Backoff(base=0.01, longest=0.02)
TOLD = "can't start new thread"


class Threads:
    """The threads of this process, and whether more of them can be started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: float = float("inf")
        self.failed = threading.Semaphore(0)
        start = threading.Thread.start

        def start_if_possible(thread: threading.Thread) -> None:
            if self.left <= 0:
                self.failed.release()
                raise RuntimeError(TOLD)
            self.left -= 1
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_if_possible)

    @contextmanager
    def only(self, number: int = 0) -> Iterator[None]:
        """No more than so many can be started in this block."""
        self.left = number
        try:
            yield
        finally:
            self.left = float("inf")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    return Threads(monkeypatch)


async def ask(connection: Connection) -> None:
    await connection.send(request())
    assert (await connection.receive()).status == 200


# ---------------------------------------------------------------- asyncio


async def test_a_name_that_no_thread_can_look_up_is_told(threads: Threads) -> None:
    async with serving() as server, client() as transport:
        with threads.only():
            with pytest.raises(ResolutionError, match=TOLD):
                await transport.connect("contoso.com", **server.place)
        await ask(await transport.connect("contoso.com", **server.place))


async def test_a_kept_connection_waits_for_a_thread_as_for_all_else(threads: Threads) -> None:
    seen: asyncio.Queue[KeepState] = asyncio.Queue()
    async with serving() as server, client() as transport:
        with threads.only():
            kept = transport.keep(
                "contoso.com",
                **server.place,
                backoff=QUICK,
                on_change=lambda change: seen.put_nowait(change.state),
            )
            while await asyncio.wait_for(seen.get(), 20) is not KeepState.WAITING:
                pass
        await ask(await asyncio.wait_for(kept.connected(), 20))


async def test_a_server_that_no_thread_can_look_up_listens_later(threads: Threads) -> None:
    async with MTLSServerTransport(OURS, POLICY, network.answer) as server:
        with threads.only():
            with pytest.raises(ConfigurationError, match=TOLD):
                await server.listen("127.0.0.1", 0)
        assert server.addresses == ()
        await server.listen("127.0.0.1", 0)
        assert server.addresses != ()


@pytest.mark.parametrize("left", [0, 1])
async def test_handshakes_without_workers_are_done_in_the_loop(
    threads: Threads, left: int, tls_version: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(handshake_workers=3)
    async with serving(limits=limits) as server, client() as transport:
        address = server.transport.addresses[0]
        with threads.only(left):
            connections = await asyncio.wait_for(
                asyncio.gather(
                    *(
                        transport.connect("contoso.com", sock=socket.create_connection(address))
                        for _ in range(8)
                    )
                ),
                30,
            )
            for connection in connections:
                await asyncio.wait_for(ask(connection), 20)
        await ask(await transport.connect("contoso.com", **server.place, reuse=False))
    told = [record for record in caplog.records if TOLD in record.getMessage()]
    assert {record.levelname for record in told} <= {"WARNING"}
    assert told or left  # one worker may have been idle whenever it was needed


# ---------------------------------------------------------------- siptls.sync


def answer(connection: sync.Connection) -> None:
    for message in connection:
        connection.send(message.reply(200, "OK"))


def test_a_blocking_server_that_cannot_start_listens_later(threads: Threads) -> None:
    with sync.MTLSServerTransport(OURS, POLICY, answer) as server:
        with threads.only():
            with pytest.raises(ConfigurationError, match=TOLD):
                server.listen("127.0.0.1", 0)
        assert server.addresses == ()
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        visit({"host": host, "port": port})


def test_a_blocking_server_that_never_started_is_closed_all_the_same(threads: Threads) -> None:
    with sync.MTLSServerTransport(OURS, POLICY, answer) as server, threads.only():
        with pytest.raises(ConfigurationError):
            server.listen("127.0.0.1", 0)


def test_visitors_without_a_thread_are_closed_and_the_others_go_on(threads: Threads) -> None:
    with (
        sync.MTLSServerTransport(OURS, POLICY, answer) as server,
        sync.TLSClientTransport(POLICY, credential=OURS) as transport,
    ):
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        before = transport.connect("contoso.com", host=host, port=port)
        with threads.only():
            for _ in range(2):
                with pytest.raises(SIPTLSError):
                    transport.connect("contoso.com", host=host, port=port, reuse=False)
                before.send(request(), timeout=20)
                assert before.receive(timeout=20).status == 200
        visit({"host": host, "port": port})


def test_a_connection_that_no_thread_can_keep_is_told(threads: Threads) -> None:
    with sync.MTLSServerTransport(OURS, POLICY, answer) as server:
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
            with threads.only():
                with pytest.raises(RuntimeError, match=TOLD):
                    transport.keep("contoso.com", host=host, port=port)
            with transport.keep("contoso.com", host=host, port=port) as kept:
                connection = kept.connected(timeout=20)
                connection.send(request(), timeout=20)
                assert connection.receive(timeout=20).status == 200


# ---------------------------------------------------------------- threads of the library's own


def test_a_watch_that_cannot_start_is_started_later(threads: Threads, tmp_path: Path) -> None:
    file = tmp_path / "ours.pem"
    file.write_bytes(pem(OURS))
    changed = threading.Event()
    files = watch(credential=file, interval=0.05, on_change=lambda _: changed.set())
    with threads.only():
        with pytest.raises(RuntimeError, match=TOLD):
            files.start()
        files.close()
    files = watch(credential=file, interval=0.05, on_change=lambda _: changed.set())
    with threads.only():
        with pytest.raises(RuntimeError, match=TOLD):
            files.start()
    with files:
        file.write_bytes(pem(CertificateAuthority("Watched CA").issue("sip:contoso.com")))
        assert changed.wait(20)


def test_a_status_that_no_thread_can_fetch_is_fetched_later(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    ca = CertificateAuthority("Fetched CA", seed="threads")
    with web() as site:
        shown = ca.issue("sip:contoso.com", extensions=[ocsp_at(site.url("/ocsp"))]).chain[0]
        site.says("/ocsp", ca.ocsp(shown))
        with FetchingSource(hosts=[site.place]) as source:
            with threads.only():
                assert source.known(shown, ca.certificate) == []  # as any that is not there yet
                assert not source.drain()  # though it might wait for ever
            assert TOLD in caplog.text
            assert source.known(shown, ca.certificate) == []
            assert source.drain(20)
            assert len(source.known(shown, ca.certificate)) == 1


# ---------------------------------------------------------------- for real


@pytest.mark.parametrize("kind", ["asyncio-workers", "sync"])
def test_a_server_whose_system_has_no_more_threads(kind: str) -> None:
    with server_process(kind) as server:
        with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
            before = transport.connect("contoso.com", **server.place)
            before.ping(timeout=20)
            server.say("starve NPROC 1", "starved")
            if kind == "sync":
                with pytest.raises(SIPTLSError):
                    transport.connect("contoso.com", **server.place, reuse=False)
                server.wait_for("log no thread for a connection")
            else:
                visit(server.place)
            before.ping(timeout=20)
            server.say("feed NPROC", "fed")
            visit(server.place)
