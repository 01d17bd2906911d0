"""A connection that stays, on blocking sockets; the rules are those of `test_keep.py`."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import Queue
from typing import Any

import pytest
from front_ends import OURS, POLICY
from network import swallowing
from sip import request

from siptls import (
    Backoff,
    ConfigurationError,
    ConnectionClosedError,
    KeepChange,
    KeepState,
    Limits,
    OperationTimeout,
    PeerRefusedError,
    StaticResolver,
    Target,
    sync,
)
from siptls.testing import CertificateAuthority

QUICK = Backoff(base=0.01, longest=0.02)
STRANGER = CertificateAuthority("Stranger CA", seed="keep threads")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    threads = threading.active_count()
    yield
    assert threading.active_count() <= threads, threading.enumerate()


class Server:
    """A server of contoso.com, and its connections as they come."""

    def __init__(self, credential: Any = OURS) -> None:
        self.came: Queue[sync.Connection] = Queue()
        self.refused: Queue[object] = Queue()
        self.transport = sync.MTLSServerTransport(credential, POLICY, self.handle)

    def handle(self, connection: sync.Connection) -> None:
        self.came.put(connection)
        for message in connection:
            connection.send(message.reply(200, "OK"))

    @property
    def place(self) -> dict[str, Any]:
        return dict(zip(("host", "port"), self.transport.addresses[0], strict=True))


@contextmanager
def serving(credential: Any = OURS) -> Iterator[Server]:
    server = Server(credential)
    with server.transport:
        server.transport.listen("127.0.0.1", 0)
        yield server


def client(**options: Any) -> sync.TLSClientTransport:
    return sync.TLSClientTransport(POLICY, credential=OURS, **options)


class Seen:
    """The changes, as they come."""

    def __init__(self) -> None:
        self.changes: Queue[KeepChange] = Queue()

    def reached(self, state: KeepState) -> KeepChange:
        """Wait for a state, whatever is before it."""
        while True:
            change = self.changes.get(timeout=20)
            if change.state is state:
                return change


def test_a_connection_is_opened_and_opened_again_when_it_is_lost() -> None:
    seen = Seen()
    with serving() as server, client() as transport:
        kept = transport.keep(
            "contoso.com", **server.place, backoff=QUICK, on_change=seen.changes.put
        )
        first = kept.connected(timeout=20)
        first.send(request())
        assert first.receive(timeout=20).status == 200
        seen.reached(KeepState.UP)
        server.came.get(timeout=20).close()
        assert seen.reached(KeepState.WAITING).error is first.closed
        seen.reached(KeepState.UP)
        second = kept.connected(timeout=20)
        assert second is not first
        second.send(request())
        assert second.receive(timeout=20).status == 200
    assert seen.reached(KeepState.CLOSED).error is None
    assert repr(kept) == "<Kept contoso.com: closed>"
    with pytest.raises(ConnectionClosedError, match=r"contoso\.com is kept no more"):
        kept.connected()


def test_nobody_has_to_receive_for_pings_to_be_answered() -> None:
    """Its thread reads, so that the peer sees a live flow."""
    with serving() as server, client() as transport:
        transport.keep("contoso.com", **server.place)
        assert server.came.get(timeout=20).ping(timeout=20) > 0


def test_what_came_while_nobody_received_is_kept() -> None:
    with serving() as server, client() as transport:
        kept = transport.keep("contoso.com", **server.place)
        theirs = server.came.get(timeout=20)
        for number in range(3):
            theirs.send(request(body=str(number).encode()))
        theirs.ping(timeout=20)  # all is read over there
        ours = kept.connected(timeout=20)
        assert [ours.receive(timeout=20).body for _ in range(3)] == [b"0", b"1", b"2"]


def test_a_full_inbox_is_read_no_more_until_somebody_receives() -> None:
    with serving() as server, client(limits=Limits(read_buffer=1)) as transport:
        kept = transport.keep("contoso.com", **server.place)
        theirs = server.came.get(timeout=20)
        ours = kept.connected(timeout=20)
        theirs.send(request())
        while not ours._stored:
            pass
        with pytest.raises(OperationTimeout):
            theirs.ping(timeout=0.2)
        with pytest.raises(OperationTimeout, match="messages that nobody receives"):
            ours.ping(timeout=0.2)
        assert ours.receive(timeout=20).method
        theirs.ping(timeout=20)


class Asked(StaticResolver):
    """A resolver that counts how often it was asked for contoso.com."""

    count = 0

    def __init__(self, *places: tuple[str, int]) -> None:
        super().__init__({"contoso.com": places})

    def resolve_blocking(self, *args: Any, **options: Any) -> list[Target]:
        Asked.count += 1
        return super().resolve_blocking(*args, **options)


def test_a_peer_that_was_refused_is_left_alone_until_something_changes() -> None:
    seen = Seen()
    refusals: Queue[object] = Queue()
    with serving(STRANGER.issue("sip:contoso.com")) as server:
        resolver = Asked(server.transport.addresses[0])
        told = {"on_refused": lambda decision, _: refusals.put(decision)}
        with client(resolver=resolver, **told) as transport:
            kept = transport.keep("contoso.com", backoff=QUICK, on_change=seen.changes.put)
            error = seen.reached(KeepState.REFUSED).error
            assert isinstance(error, PeerRefusedError)
            assert refusals.get(timeout=20) is error.decision
            while resolver.count < 4:
                pass
            assert refusals.empty()
            assert seen.changes.empty()
            kept.retry()
            assert refusals.get(timeout=20) is not error.decision


def test_a_server_that_is_away_is_tried_until_it_is_back() -> None:
    seen = Seen()
    with socket.create_server(("127.0.0.1", 0)) as free:
        host, port = free.getsockname()
    with client() as transport:
        kept = transport.keep(
            "contoso.com", host=host, port=port, backoff=QUICK, on_change=seen.changes.put
        )
        assert seen.reached(KeepState.WAITING).retry_in
        with pytest.raises(OperationTimeout, match=r"contoso\.com did not come"):
            kept.connected(timeout=0.01)
        with sync.MTLSServerTransport(
            OURS, POLICY, lambda connection: connection.wait_closed()
        ) as back:
            back.listen(host, port)
            assert kept.connected(timeout=20).usable


@pytest.mark.parametrize("what", ["race", "handshake", "pause"])
def test_closing_ends_whatever_its_thread_waits_for(what: str) -> None:
    """An address that does not answer, a peer that says nothing, or the back-off."""
    seen = Seen()
    backoff = Backoff(base=1000)
    with (
        swallowing("127.0.0.1") as nobody,
        socket.create_server(("127.0.0.1", 0)) as mute,
        ExitStack() as begun,
        client() as transport,
    ):
        with socket.create_server(("127.0.0.1", 0)) as free:
            refusing = free.getsockname()[1]
        port = {"race": nobody, "handshake": mute.getsockname()[1], "pause": refusing}[what]
        kept = transport.keep(
            "contoso.com", host="127.0.0.1", port=port, backoff=backoff, on_change=seen.changes.put
        )
        if what == "pause":
            seen.reached(KeepState.WAITING)
        elif what == "handshake":
            said_hello = mute.accept()[0]
            assert said_hello.recv(1)
            begun.callback(said_hello.close)
        else:
            seen.reached(KeepState.CONNECTING)
        kept.close()
        assert seen.reached(KeepState.CLOSED)


def test_closing_the_transport_ends_a_connect_of_another_thread() -> None:
    with swallowing("127.0.0.1") as nobody:
        transport = client()
        errors: Queue[BaseException] = Queue()

        def work() -> None:
            try:
                transport.connect("contoso.com", host="127.0.0.1", port=nobody)
            except ConnectionClosedError as error:
                errors.put(error)

        thread = threading.Thread(target=work)
        thread.start()
        while not transport._stops:
            pass
        transport.close()
        thread.join(20)
        assert "closed by us during connect()" in str(errors.get(timeout=20))


def test_what_the_application_does_wrong_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def tell(_: KeepChange) -> None:
        raise RuntimeError("no")

    with serving() as server, client() as transport:
        kept = transport.keep("contoso.com", **server.place, on_change=tell)
        assert kept.connected(timeout=20)
        kept.close()
        kept.close()
    assert "on_change failed" in caplog.text


def test_it_may_be_closed_by_whom_it_tells() -> None:
    closed = threading.Event()

    def tell(change: KeepChange) -> None:
        if change.state is KeepState.UP:
            ready.wait(20)
            kept.close()
            closed.set()

    ready = threading.Event()
    with serving() as server, client() as transport:
        kept = transport.keep("contoso.com", **server.place, on_change=tell)
        ready.set()
        assert closed.wait(20)


def test_what_should_never_happen_leaves_nobody_waiting(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen()
    caplog.set_level(logging.ERROR)
    with serving() as server, client() as transport:
        monkeypatch.setattr(transport.pool, "add", lambda *_: 1 / 0)
        kept = transport.keep("contoso.com", **server.place, on_change=seen.changes.put)
        with pytest.raises(ConnectionClosedError):
            kept.connected(timeout=20)
        assert "ZeroDivisionError" in str(seen.reached(KeepState.CLOSED).error)
    assert "is kept no more" in caplog.text


def test_faulty_arguments_are_told_at_once() -> None:
    with client() as transport:
        for wrong, said in (
            ({"backoff": 30}, "backoff is a Backoff"),
            ({"on_change": 1}, "on_change= is a"),
            ({"port": 99999}, "a port is a number"),
        ):
            options: Any = wrong
            with pytest.raises(ConfigurationError, match=said):
                transport.keep("contoso.com", **options)
    with pytest.raises(ConnectionClosedError, match="the transport is closed"):
        transport.keep("contoso.com")
