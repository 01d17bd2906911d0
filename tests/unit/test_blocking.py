"""siptls.sync: timeouts, threads, and the end of a socket; the rest is in `test_front_ends.py`."""

from __future__ import annotations

import datetime as dt
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from front_ends import OURS, POLICY
from network import Addresses, Mute, swallowing
from peers import server as peer_server
from sip import request

from siptls import (
    ConfigurationError,
    ConnectionClosedError,
    Decision,
    FramingError,
    HandshakeTimeout,
    Limits,
    Message,
    OperationTimeout,
    PeerRefusedError,
    ReferenceIdentity,
    RefusedByPeerError,
    ResolutionError,
    ServerConnection,
    StaticResolver,
    SystemResolver,
    Target,
    sync,
)
from siptls.testing import CertificateAuthority
from siptls.transports.sockets import Outflow
from siptls.wire.connection import ClientConnection

STRANGER = CertificateAuthority("Stranger CA", seed="front ends")
BIG = request("MESSAGE", body=b"x" * 60_000)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No thread and no socket is left behind."""
    threads, files = threading.active_count(), open_files()
    yield
    assert threading.active_count() <= threads, threading.enumerate()  # others' may have ended
    assert open_files() == files


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def echo(connection: sync.Connection) -> None:
    for message in connection:
        connection.send(message.reply(200, "OK"))


@contextmanager
def serving(
    handler: Callable[[sync.Connection], object] | None = echo, **options: Any
) -> Iterator[sync.MTLSServerTransport]:
    with sync.MTLSServerTransport(OURS, POLICY, handler, **options) as server:
        server.listen("127.0.0.1", 0)
        yield server


@contextmanager
def connected(
    server: sync.MTLSServerTransport | sync.TLSServerTransport, **options: Any
) -> Iterator[sync.Connection]:
    with sync.TLSClientTransport(POLICY, credential=OURS, **options) as transport:
        yield transport.connect("contoso.com", **place(server))


def place(server: Any) -> dict[str, Any]:
    host, port = server.addresses[0]
    return {"host": host, "port": port}


@contextmanager
def running(*works: Callable[[], object]) -> Iterator[None]:
    """Run each in a thread, and wait for all."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


# ---------------------------------------------------------------- timeouts


def test_a_receive_that_times_out_loses_nothing() -> None:
    with serving() as server, connected(server) as connection:
        with pytest.raises(OperationTimeout, match=r"receive did not come to its end within 0\.01"):
            connection.receive(timeout=0.01)
        connection.send(request())
        assert connection.receive(timeout=20).status == 200
        assert issubclass(OperationTimeout, TimeoutError)


def test_a_ping_is_measured_and_may_time_out() -> None:
    with serving() as server, connected(server) as connection:
        assert 0 < connection.ping(timeout=20) < 20
    with peer_server("TLSv1.3", OURS, "answer") as port:
        with sync.TLSClientTransport(POLICY) as transport:
            connection = transport.connect("contoso.com", host="127.0.0.1", port=port)
            with pytest.raises(OperationTimeout):
                connection.ping(timeout=0.01)


def test_a_send_that_times_out_closes_the_connection() -> None:
    """A record may be cut: what would follow it is of no use."""
    waiting = threading.Event()

    def reads_nothing(_: sync.Connection) -> None:
        waiting.wait(20)

    with serving(reads_nothing) as server, connected(server) as connection:

        def flood() -> None:
            for _ in range(1000):
                connection.send(BIG, timeout=0.01)

        with pytest.raises(OperationTimeout):
            flood()
        with pytest.raises(OperationTimeout):
            connection.send(request())
        assert isinstance(connection.closed, OperationTimeout)
        waiting.set()


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True, dt.timedelta(seconds=1)])
def test_a_timeout_is_seconds(timeout: Any) -> None:
    with serving() as server, connected(server) as connection:
        for act in (
            lambda: connection.receive(timeout=timeout),
            lambda: connection.ping(timeout=timeout),
            lambda: connection.send(request(), timeout=timeout),
        ):
            with pytest.raises(ConfigurationError, match="timeout= is seconds, or None for ever"):
                act()


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e12, 20])
def test_a_timeout_may_be_for_ever(timeout: float | None) -> None:
    with serving() as server, connected(server) as connection:
        connection.send(request(), timeout=timeout)
        assert connection.receive(timeout=timeout).status == 200


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        limits = Limits(handshake_timeout=0.05, close_timeout=60)  # which it does not add
        with (
            sync.TLSClientTransport(POLICY, limits=limits) as transport,
            pytest.raises(HandshakeTimeout) as caught,
        ):
            transport.connect("contoso.com", host="127.0.0.1", port=port)
        assert [attempt.address for attempt in caught.value.attempts] == [("127.0.0.1", port)]


# ---------------------------------------------------------------- threads


def test_closing_from_another_thread_wakes_the_receiver() -> None:
    with serving() as server, connected(server) as connection:
        began = threading.Event()
        ended: list[Exception] = []

        def receive() -> None:
            began.set()
            with pytest.raises(ConnectionClosedError) as caught:
                connection.receive()
            ended.append(caught.value)

        with running(receive):
            began.wait()
            connection.close()
        (error,) = ended
        assert isinstance(error, ConnectionClosedError)
        assert error.orderly


def test_several_threads_may_wait_at_once() -> None:
    """One reads for all: each gets its message, and a ping its pong."""
    with serving() as server, connected(server) as connection:
        got: list[str | None] = []
        pings: list[float] = []

        def receive() -> None:
            got.append(connection.receive(timeout=20).header("CSeq"))

        with running(*[receive] * 8, lambda: pings.append(connection.ping(timeout=20))):
            for number in range(8):
                connection.send(request(number=number))
        assert sorted(got) == [f"{number} OPTIONS" for number in range(8)]  # type: ignore[type-var]
        assert len(pings) == 1


def test_several_threads_may_send_while_one_receives() -> None:
    with serving() as server, connected(server) as connection:
        got: list[str | None] = []

        def receive() -> None:
            got.extend(connection.receive(timeout=20).header("CSeq") for _ in range(400))

        def send(first: int) -> Callable[[], None]:
            return lambda: [connection.send(request(number=n)) for n in range(first, first + 100)]  # type: ignore[func-returns-value,return-value]

        with running(receive, *[send(first) for first in range(0, 400, 100)]):
            pass
        numbers = [int(str(value).split()[0]) for value in got]
        assert sorted(numbers) == list(range(400))
        for first in range(0, 400, 100):  # in the order in which each thread has sent
            mine = [n for n in numbers if first <= n < first + 100]
            assert mine == sorted(mine)


def test_both_sides_may_flood_each_other() -> None:
    """A receiver never waits for a sender: else two full buffers would wait for each other."""
    count = 60

    def flood(connection: sync.Connection) -> None:
        def send() -> None:
            for _ in range(count):
                connection.send(BIG, timeout=30)

        with running(send):
            for _ in range(count):
                connection.receive(timeout=30)

    done = threading.Event()

    def handler(connection: sync.Connection) -> None:
        flood(connection)
        done.set()

    with serving(handler) as server, connected(server) as connection:
        flood(connection)
        assert done.wait(20)


def test_closing_twice_and_from_several_threads_is_no_error() -> None:
    with serving() as server, connected(server) as connection:
        with running(*[connection.close] * 5):
            pass
        connection.close()
        with pytest.raises(ConnectionClosedError):
            connection.send(request())
        with pytest.raises(ConnectionClosedError):
            connection.receive()


# ---------------------------------------------------------------- servers


def test_on_message_is_called_for_each_message(caplog: pytest.LogCaptureFixture) -> None:
    def on_message(connection: sync.Connection, message: Message) -> None:
        if message.header("CSeq") == "1 OPTIONS":
            raise RuntimeError("a fault in the application")
        connection.send(message.reply(200, "OK"))

    with serving(None, on_message=on_message) as server, connected(server) as connection:
        connection.send(request(number=1) + request(number=2))
        assert connection.receive(timeout=20).header("CSeq") == "2 OPTIONS"
    assert [r.levelname for r in caplog.records] == ["ERROR"]


def test_a_handler_that_fails_closes_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    def handler(_: sync.Connection) -> None:
        raise RuntimeError("a fault in the application")

    with serving(handler) as server, connected(server) as connection:
        with pytest.raises(ConnectionClosedError):
            connection.receive(timeout=20)
    assert "RuntimeError" in caplog.text


def test_closing_a_server_ends_its_handlers_and_its_clients() -> None:
    ended = threading.Event()

    def handler(connection: sync.Connection) -> None:
        for _ in connection:
            pass
        ended.set()

    with serving(handler) as server, connected(server) as connection:
        connection.ping(timeout=20)
        server.close()
        with pytest.raises(ConnectionClosedError):
            connection.receive(timeout=20)
        with pytest.raises(ConnectionClosedError, match="the server is closed"):
            server.listen("127.0.0.1", 0)
        server.close()


def test_no_more_connections_than_the_limit_are_served_and_the_others_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(limits=Limits(max_threads=1)) as server:
        with connected(server) as first:
            first.send(request())
            assert first.receive(timeout=20).status == 200
            limits = Limits(handshake_timeout=0.1, close_timeout=0.1)
            with pytest.raises(HandshakeTimeout), connected(server, limits=limits):
                pass
            while "Limits.max_threads, 1, is reached" not in caplog.text:
                time.sleep(0)
        with connected(server) as next_one:
            next_one.send(request())
            assert next_one.receive(timeout=20).status == 200


def test_from_one_address_come_so_many_and_one_more_is_turned_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(limits=Limits(max_per_address=1)) as server:
        with connected(server) as first:
            first.send(request())
            assert first.receive(timeout=20).status == 200
            with pytest.raises(ConnectionClosedError), connected(server):
                pass
            assert "there are 1 from there already" in caplog.text
            elsewhere = {"source_address": ("127.0.0.2", 0), "timeout": 20}
            with socket.create_connection(server.addresses[0], **elsewhere):
                while len(server._connections) < 2:
                    time.sleep(0)
        while server._crowd._counts:  # whoever has closed has not left yet
            time.sleep(0)
        with connected(server) as next_one:
            next_one.send(request())
            assert next_one.receive(timeout=20).status == 200


def test_so_many_handshakes_at_once_and_the_rest_waits() -> None:
    with serving(limits=Limits(max_handshakes=1)) as server:
        with socket.create_connection(server.addresses[0]):
            while not server._connections:
                time.sleep(0)
            limits = Limits(handshake_timeout=0.1, close_timeout=0.1)
            with pytest.raises(HandshakeTimeout), connected(server, limits=limits):
                pass
        with connected(server) as first, connected(server) as second:  # of those that are over
            for connection in (first, second):
                connection.send(request())
                assert connection.receive(timeout=20).status == 200


def test_closing_ends_those_who_wait_for_a_handshake() -> None:
    with serving(limits=Limits(max_handshakes=1)) as server:
        silent = [socket.create_connection(server.addresses[0]) for _ in range(3)]
        while len(server._connections) < len(silent):
            time.sleep(0)
        server.close()
        for sock in silent:
            assert sock.recv(1) == b""
            sock.close()


def test_a_server_may_be_closed_while_a_handshake_hangs() -> None:
    with serving() as server, socket.create_connection(server.addresses[0]) as idle:
        while not server._connections:
            time.sleep(0)
        server.close()
        assert idle.recv(1) == b""


def test_a_client_is_served_without_a_certificate() -> None:
    with sync.TLSServerTransport(OURS, echo) as server:
        server.listen("127.0.0.1", 0)
        assert server.serve_forever(timeout=0) is None
        with sync.TLSClientTransport(POLICY) as transport:
            connection = transport.connect("sip:contoso.com", **place(server))
            connection.send(Message(request()))
            assert connection.receive(timeout=20).status == 200
            assert repr(connection).startswith("<Connection with contoso.com at 127.0.0.1 port ")


def test_what_is_wrong_with_a_server_is_told() -> None:
    server = sync.MTLSServerTransport(OURS, POLICY, echo)
    with pytest.raises(ConfigurationError, match="the server does not listen"):
        server.serve_forever()
    with pytest.raises(ConfigurationError, match=r"cannot listen on nowhere\.invalid"):
        server.listen("nowhere.invalid", 0)
    server.close()
    with pytest.raises(ConfigurationError, match="either a handler"):
        sync.MTLSServerTransport(OURS, POLICY)


def test_several_share_a_port_if_all_of_them_say_so() -> None:
    """As several processes do; the kernel gives each its share of the connections."""
    with (
        sync.MTLSServerTransport(OURS, POLICY, echo) as one,
        sync.TLSServerTransport(OURS, echo) as other,
        sync.TLSClientTransport(POLICY, credential=OURS) as transport,
    ):
        one.listen("127.0.0.1", 0, reuse_port=True)
        [(host, port)] = one.addresses
        other.listen(host, port, reuse_port=True)
        assert other.addresses == one.addresses
        for _ in range(200):  # that one of them gets all is as likely as 200 heads in a row
            transport.connect("contoso.com", host=host, port=port, reuse=False).ping(timeout=20)
            if one._connections and other._connections:
                break
        assert one._connections
        assert other._connections


@pytest.mark.parametrize("first", [True, False])
def test_a_port_is_shared_with_nobody_who_does_not_say_so(first: bool) -> None:
    with (
        sync.MTLSServerTransport(OURS, POLICY, echo) as one,
        sync.MTLSServerTransport(OURS, POLICY, echo) as other,
    ):
        one.listen("127.0.0.1", 0, reuse_port=first)
        [(host, port)] = one.addresses
        with pytest.raises(ConfigurationError, match=rf"port {port} .*in use.*; is"):
            other.listen(host, port, reuse_port=not first)
        assert other.addresses == ()


def test_a_port_that_cannot_be_shared_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with sync.MTLSServerTransport(OURS, POLICY, echo) as server:
        with pytest.raises(ConfigurationError, match="reuse_port is a bool, not an int"):
            server.listen("127.0.0.1", 0, reuse_port=1)  # type: ignore[arg-type]
        with socket.socket() as sock, pytest.raises(ConfigurationError, match="sock= is bound"):
            server.listen(sock=sock, reuse_port=True)
        monkeypatch.delattr(socket, "SO_REUSEPORT")
        with pytest.raises(ConfigurationError, match="this system does not have"):
            server.listen("127.0.0.1", 0, reuse_port=True)
        assert server.addresses == ()


def test_a_failing_accept_is_logged_and_tried_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siptls.transports.blocking.server._ACCEPT_PAUSE", 0.001)

    class Failing(socket.socket):
        failures = 1

        def accept(self) -> Any:
            if Failing.failures:
                Failing.failures = 0
                raise OSError(24, "Too many open files")
            return super().accept()

    listener = Failing()
    listener.bind(("127.0.0.1", 0))
    with sync.MTLSServerTransport(OURS, POLICY, echo) as server:
        server.listen(sock=listener)
        with connected(server) as connection:
            assert connection.ping(timeout=20)
    assert "cannot accept a connection" in caplog.text


# ---------------------------------------------------------------- clients


def test_the_server_is_refused_with_the_attempts_and_told() -> None:
    told: list[Decision] = []
    with serving() as server:
        with (
            sync.TLSClientTransport(
                POLICY, credential=OURS, on_refused=lambda decision, _: told.append(decision)
            ) as transport,
            pytest.raises(PeerRefusedError) as caught,
        ):
            transport.connect("eu.contoso.com", **place(server))
        assert told == [caught.value.decision]
        (attempt,) = caught.value.attempts
        assert attempt.address == server.addresses[0]


def test_an_unreachable_port_is_one_error_that_tells_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with sync.TLSClientTransport(POLICY) as transport:
        with pytest.raises(ConnectionClosedError, match="is the server running there"):
            transport.connect("contoso.com", host="127.0.0.1", port=port)
        with pytest.raises(ResolutionError, match=r"no address for 'nowhere\.invalid'"):
            transport.connect("contoso.com", host="nowhere.invalid")
        with pytest.raises(ConfigurationError, match="or host= and port=, but not both"):
            transport.connect("contoso.com", host="127.0.0.1", sock=socket.socket)  # type: ignore[arg-type]
    with pytest.raises(ConnectionClosedError, match="the transport is closed"):
        transport.connect("contoso.com")


def test_a_resolver_of_your_own_is_asked() -> None:
    with serving() as server:
        host, port = server.addresses[0]

        class Fixed:
            async def resolve(self, reference: ReferenceIdentity, **_: object) -> list[Target]:
                return [Target(host, port, host=None, reference=reference)]

        with sync.TLSClientTransport(POLICY, credential=OURS, resolver=Fixed()) as transport:
            assert transport.connect("contoso.com").remote_address == (host, port)
    with pytest.raises(ConfigurationError, match="is no Resolver"):
        sync.TLSClientTransport(POLICY, resolver="dns")  # type: ignore[arg-type]
    assert SystemResolver()


# ---------------------------------------------------------------- sockets of the application


def pair(kind: str, folder: Path) -> tuple[socket.socket, socket.socket]:
    if kind == "pair":
        return socket.socketpair()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "sip"))
        listener.listen()
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(folder / "sip"))
        return one, listener.accept()[0]


@pytest.mark.parametrize("kind", ["pair", "unix"])
@pytest.mark.parametrize("timeout", [None, 20.0, 0.0])
def test_a_connected_socket_is_wrapped(kind: str, timeout: float | None, tmp_path: Path) -> None:
    one, other = pair(kind, tmp_path)
    one.settimeout(timeout)
    got: list[sync.Connection] = []

    def serve() -> None:
        connection = sync.wrap_socket(other, POLICY, credential=OURS, server_side=True)
        got.append(connection)
        echo(connection)
        connection.close()

    with running(serve):
        with sync.wrap_socket(one, POLICY, "sip:contoso.com", credential=OURS) as connection:
            assert connection.remote_address is None
            connection.send(request())
            assert connection.receive(timeout=20).status == 200
    assert got[0].peer is not None
    assert got[0].peer.domains == {"contoso.com"}


def test_a_wrapped_socket_whose_peer_is_refused_is_closed() -> None:
    one, other = socket.socketpair()

    def serve() -> None:
        with pytest.raises(RefusedByPeerError):
            sync.wrap_socket(
                other, POLICY, credential=STRANGER.issue("sip:contoso.com"), server_side=True
            ).receive(timeout=20)

    with running(serve), pytest.raises(PeerRefusedError):
        sync.wrap_socket(one, POLICY, "contoso.com")
    assert one.fileno() == other.fileno() == -1


def test_what_cannot_be_wrapped_is_told_and_stays_yours() -> None:
    one, other = socket.socketpair()
    with one, other, socket.socket() as lonely:
        for build, why in (
            (lambda: sync.wrap_socket(one, POLICY), "a client expects somebody"),
            (lambda: sync.wrap_socket(one, POLICY, "a.com", server_side=True), "leave target out"),
            (lambda: sync.wrap_socket(one, None, "a.com"), "a TrustPolicy is needed"),  # type: ignore[arg-type]
            (lambda: sync.wrap_socket(lonely, POLICY, "a.com"), "no connected stream socket"),
            (lambda: sync.wrap_socket("sock", POLICY, "a.com"), "not a str"),  # type: ignore[arg-type]
        ):
            with pytest.raises(ConfigurationError, match=why):
                build()
        assert one.fileno() >= 0


def test_a_peer_that_speaks_no_sip_is_told_to_the_handler() -> None:
    errors: list[Exception] = []

    def handler(connection: sync.Connection) -> None:
        with pytest.raises(FramingError) as caught:
            connection.receive(timeout=20)
        errors.append(caught.value)

    with serving(handler) as server, connected(server) as connection:
        connection.send(b"\x00 no SIP")
        with pytest.raises(ConnectionClosedError):
            connection.receive(timeout=20)
    assert len(errors) == 1


def test_a_reply_cut_off_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="siptls")
    with peer_server("TLSv1.3", OURS, "vanish") as port:
        with sync.TLSClientTransport(POLICY) as transport:
            connection = transport.connect("contoso.com", host="127.0.0.1", port=port)
            connection.send(request())
            with pytest.raises(ConnectionClosedError, match="in the middle of a message"):
                connection.receive(timeout=20)
    assert "is over" in caplog.text


# ---------------------------------------------------------------- peers that mean no good


@contextmanager
def paired(limits: Limits | None = None) -> Iterator[tuple[sync.Connection, sync.Connection]]:
    """Two connections with each other: a client's and a server's."""
    ours, theirs = socket.socketpair()
    accepted: list[sync.Connection] = []

    def accept() -> None:
        options: dict[str, Any] = {"credential": OURS, "server_side": True, "limits": limits}
        accepted.append(sync.wrap_socket(theirs, POLICY, **options))

    with running(accept):
        client = sync.wrap_socket(ours, POLICY, "contoso.com", credential=OURS, limits=limits)
    with client, accepted[0]:
        yield client, accepted[0]


def test_a_peer_that_pings_and_reads_no_answer_holds_nobody() -> None:
    ours, theirs = socket.socketpair()
    served: list[float] = []
    flooding = threading.Event()

    def serve() -> None:
        limits = Limits(close_timeout=0.1)
        options: dict[str, Any] = {"credential": OURS, "server_side": True, "limits": limits}
        with sync.wrap_socket(theirs, POLICY, **options) as connection:
            flooding.wait(20)
            begin = time.monotonic()
            with pytest.raises(OperationTimeout):
                connection.receive(timeout=0.5)
            served.append(time.monotonic() - begin)
            assert len(connection._unsent) < 10 * connection._limits.write_buffer

    core = ClientConnection(POLICY, "contoso.com", credential=OURS)
    with running(serve), ours:
        while not core.established:
            ours.sendall(core.data_to_send())
            core.receive_data(ours.recv(65536))
            core.events()
        ours.sendall(core.data_to_send())
        flooding.set()
        with suppress(OSError):  # the end of it
            while True:
                for _ in range(1000):
                    core.ping()
                ours.sendall(core.data_to_send())
    assert served[0] < 10


def test_pings_that_time_out_cut_no_record() -> None:
    """What the kernel did not take of them goes out before what is sent next."""
    with paired() as (client, server):
        timed_out = 0
        while not client._unsent:
            try:
                client.ping(timeout=0)
            except OperationTimeout:
                timed_out += 1
        assert timed_out > 100
        with running(lambda: client.send(request(), timeout=20)):
            assert server.receive(timeout=20).data == request()


def test_a_ping_behind_messages_that_nobody_receives_is_told_so() -> None:
    """Else they would fill the memory while it waits."""
    bounds = Limits(read_buffer=1000, pong_timeout=0.5)
    with paired(bounds) as (client, server):
        sent = [BIG] * 2 + [request()] * 18
        for message in sent:
            server.send(message, timeout=20)
        with pytest.raises(OperationTimeout, match=r"the pong is behind \d+ bytes of messages"):
            client.ping(timeout=20)
        assert client._stored < 200_000
        assert [client.receive(timeout=20).data for _ in sent] == sent


def test_a_ping_goes_on_when_somebody_receives() -> None:
    with paired(Limits(read_buffer=1000)) as (client, server):
        for _ in range(20):
            server.send(request(), timeout=20)

        def receive() -> None:
            for _ in range(20):
                client.receive(timeout=20)

        def answer() -> None:
            with suppress(ConnectionClosedError):
                server.receive(timeout=20)

        with running(answer):
            with running(receive):
                assert client.ping(timeout=20)
            client.close()


def test_who_closes_second_waits_for_the_first() -> None:
    with paired(Limits(close_timeout=0.3)) as (client, _):
        alone = threading.Event()

        def close() -> None:
            alone.set()
            client.close()

        with running(close):
            alone.wait(20)
            client.close()
            assert client._sock.fileno() == -1


def test_on_refused_may_close_the_server() -> None:
    closed = threading.Event()

    def refused(decision: Decision, address: object) -> None:
        server.close()
        closed.set()

    with serving(on_refused=refused, limits=Limits(close_timeout=0.3)) as server:
        stranger = STRANGER.issue("sip:contoso.com")
        with sync.TLSClientTransport(POLICY, credential=stranger) as transport:
            with suppress(ConnectionClosedError, RefusedByPeerError):
                transport.connect("contoso.com", **place(server)).receive(timeout=20)
        assert closed.wait(20)


def test_many_silent_peers_are_closed_in_the_time_of_one() -> None:
    bounds = Limits(close_timeout=0.5)
    accepted = threading.Semaphore(0)

    def waits(connection: sync.Connection) -> None:
        accepted.release()
        with suppress(ConnectionClosedError):
            connection.receive()

    with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
        server = sync.MTLSServerTransport(OURS, POLICY, waits, limits=bounds)
        server.listen("127.0.0.1", 0)
        for _ in range(20):
            transport.connect("contoso.com", **place(server))
        for _ in range(20):
            assert accepted.acquire(timeout=20)
        begin = time.monotonic()
        server.close()
        assert time.monotonic() - begin < 20 * bounds.close_timeout / 2


def test_a_thread_that_cannot_start_costs_one_connection(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siptls.transports.blocking.server._ACCEPT_PAUSE", 0.001)
    start = threading.Thread.start

    def fails_once(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        raise RuntimeError("can't start new thread")

    with serving(limits=Limits(max_threads=1)) as server:
        monkeypatch.setattr(threading.Thread, "start", fails_once)
        with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
            with pytest.raises(ConnectionClosedError):
                transport.connect("contoso.com", **place(server))
            assert transport.connect("contoso.com", **place(server)).ping(timeout=20)
    assert server._crowd._counts == {}
    assert "no thread for a connection from" in caplog.text


def test_each_listener_serves_though_there_is_one_slot() -> None:
    with serving(limits=Limits(max_threads=1)) as server:
        server.listen("127.0.0.1", 0)
        for host, port in reversed(server.addresses):
            with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
                assert transport.connect("contoso.com", host=host, port=port).ping(timeout=20)


def test_a_socket_that_cannot_be_watched_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()

    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", none_left)
    with theirs, pytest.raises(ConnectionClosedError, match="Too many open files"):
        sync.wrap_socket(ours, POLICY, "contoso.com")
    assert ours.fileno() == -1


# ---------------------------------------------------------------- races


def reaching(port: int, *addresses: str, **limits: float) -> sync.TLSClientTransport:
    """Give a client whose resolver gives addresses of one host."""
    places = Addresses(port, *addresses)
    return sync.TLSClientTransport(
        POLICY,
        credential=OURS,
        resolver=places,
        limits=Limits(**limits),  # type: ignore[arg-type]
    )


def test_an_address_that_swallows_packets_does_not_hold_up_the_next() -> None:
    with serving() as server:
        port = place(server)["port"]
        addresses = "127.0.0.2", "127.0.0.1"
        with (
            swallowing("127.0.0.2", port),
            reaching(port, *addresses, connect_timeout=50) as transport,
        ):
            connection = transport.connect("contoso.com", timeout=20)
            assert connection.remote_address == ("127.0.0.1", port)
            assert connection.attempts == ()


def test_an_address_that_refuses_is_followed_at_once() -> None:
    with serving() as server:
        port = place(server)["port"]
        with reaching(port, "127.0.0.3", "127.0.0.1", attempt_delay=1000) as transport:
            (attempt,) = transport.connect("contoso.com", timeout=20).attempts
            assert attempt.address == ("127.0.0.3", port)
            assert "Connection refused" in str(attempt.error)


def test_an_impostor_that_wins_the_race_is_told_and_the_others_are_tried() -> None:
    with serving() as server:
        port = place(server)["port"]
        with sync.TLSServerTransport(STRANGER.issue("sip:contoso.com"), echo) as bad:
            bad.listen("127.0.0.2", port)
            with reaching(port, "127.0.0.2", "127.0.0.1") as transport:
                (attempt,) = transport.connect("contoso.com", timeout=20).attempts
                assert isinstance(attempt.error, PeerRefusedError)
                assert attempt.address == ("127.0.0.2", port)


def test_when_all_addresses_fail_each_is_told() -> None:
    with swallowing("127.0.0.1") as port:
        addresses = "127.0.0.1", "127.0.0.3"
        limits = {"connect_timeout": 0.1, "attempt_delay": 0.01}
        with (
            reaching(port, *addresses, **limits) as transport,
            pytest.raises(ConnectionClosedError, match=r"did not answer within 0\.1 s") as caught,
        ):
            transport.connect("contoso.com")
    assert [a.address[0] for a in caught.value.attempts] == ["127.0.0.3", "127.0.0.1"]


@pytest.mark.parametrize(
    ("bound", "kind"), [(None, ConnectionClosedError), (0.1, OperationTimeout)]
)
def test_a_connect_that_is_over_tells_what_it_tried(
    bound: float | None, kind: type[Exception]
) -> None:
    with (
        swallowing("127.0.0.1") as port,
        reaching(port, "127.0.0.1", reach_timeout=0.2) as transport,
        pytest.raises(kind, match=r"within 0\.1 s|0\.2 s that connect") as caught,
    ):
        transport.connect("contoso.com", timeout=bound)
    (attempt,) = caught.value.attempts  # type: ignore[attr-defined]
    assert isinstance(attempt.error, ConnectionClosedError)


@pytest.mark.parametrize(("bound", "kind"), [(None, HandshakeTimeout), (0.1, OperationTimeout)])
def test_a_handshake_is_over_when_the_connect_is(
    bound: float | None, kind: type[Exception]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with reaching(port, "127.0.0.1", reach_timeout=0.2) as transport:
            with pytest.raises(kind) as caught:
                transport.connect("contoso.com", timeout=bound)
            (attempt,) = caught.value.attempts  # type: ignore[attr-defined]
            assert isinstance(attempt.error, HandshakeTimeout)
            sock = socket.create_connection(("127.0.0.1", port))
            with pytest.raises(kind):
                transport.connect("contoso.com", sock=sock, timeout=bound)
            assert sock.fileno() == -1


@pytest.mark.parametrize(("bound", "kind"), [(None, ResolutionError), (0.05, OperationTimeout)])
def test_a_resolver_that_does_not_answer_is_given_up(
    bound: float | None, kind: type[Exception]
) -> None:
    limits = Limits(reach_timeout=0.1)
    with (
        sync.TLSClientTransport(POLICY, resolver=Mute(), limits=limits) as transport,
        pytest.raises(kind),
    ):
        transport.connect("contoso.com", timeout=bound)


def test_limits_that_never_end_are_limits() -> None:
    with serving() as server:
        port = place(server)["port"]
        endless = dict.fromkeys(["connect_timeout", "reach_timeout", "attempt_delay"], float("inf"))
        with reaching(port, "127.0.0.1", **endless) as transport:
            assert transport.connect("contoso.com").ping(timeout=20) > 0


# ---------------------------------------------------------------- who is gone


def test_a_connection_that_has_ended_keeps_nothing_open() -> None:
    """Nobody closes it: a pool that is asked a hundred times must not hold a hundred sockets."""
    with serving(lambda connection: connection.close()) as server:
        host, port = server.addresses[0]
        resolver = StaticResolver({"contoso.com": [(host, port)]})
        with sync.TLSClientTransport(POLICY, credential=OURS, resolver=resolver) as transport:
            for _ in range(5):
                connection = transport.connect("contoso.com")
                with pytest.raises(ConnectionClosedError):
                    connection.receive(timeout=20)
                assert connection._released
                assert len(transport.pool) == 0
                assert not transport._connections


class Past:
    """A clock that may say how late it was so many seconds ago."""

    ago = 0.0

    def __call__(self) -> float:
        return time.monotonic() - self.ago


@contextmanager
def pinged_a_minute_ago(*, pongs: int) -> Iterator[sync.Connection]:
    """Give a connection that nobody has read since, to a peer that has answered so often."""
    one, other = socket.socketpair()
    theirs = ServerConnection(OURS, POLICY)

    def answer() -> None:
        theirs.receive_data(other.recv(65536))
        other.sendall(theirs.data_to_send())

    def serve() -> None:
        while not theirs.established:
            answer()

    clock = Past()
    core = ClientConnection(POLICY, "contoso.com", credential=OURS, timer=clock)
    with other, sync.Connection(one, core, Limits(close_timeout=0.1)) as connection:
        with running(serve):
            connection.handshake()
        clock.ago = 60
        core.ping()
        clock.ago = 0
        one.sendall(core.data_to_send())
        for _ in range(pongs):
            answer()
        connection._last_read -= 60
        yield connection


def test_who_reads_seldom_finds_a_frozen_peer_all_the_same() -> None:
    with pinged_a_minute_ago(pongs=0) as connection:
        with pytest.raises(ConnectionClosedError, match="no pong within"):
            connection.receive(timeout=20)


def test_who_reads_seldom_does_not_call_late_what_has_come() -> None:
    with pinged_a_minute_ago(pongs=1) as connection:
        with pytest.raises(OperationTimeout):
            connection.receive(timeout=0.01)
        assert connection.usable


def test_a_peer_that_takes_a_byte_now_and_then_is_held_to_be_gone() -> None:
    outflow = Outflow(Limits(write_buffer=100, gone_timeout=10))
    outflow.begin(0, 0, 250)
    assert outflow.until == 10
    assert outflow.error(9.9, 0, 250) is None
    assert outflow.error(10, 100, 150) is None, "it takes enough"
    assert outflow.until == 20
    assert outflow.error(20, 199, 51) is not None
    outflow.begin(30, 200, 5)
    assert outflow.error(40, 205, 0) is None, "there was no more"


def test_a_server_that_is_closed_while_it_looks_for_an_address_listens_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bound: list[socket.socket] = []

    def bind(*_: object, **__: object) -> list[socket.socket]:
        bound.append(socket.create_server(("127.0.0.1", 0)))
        server.close()
        return bound

    monkeypatch.setattr("siptls.transports.blocking.server._bind", bind)
    server = sync.TLSServerTransport(OURS, lambda _: None)
    with pytest.raises(ConnectionClosedError, match="the server is closed"):
        server.listen("127.0.0.1", 0)
    assert [one.fileno() for one in bound] == [-1]
    assert server.addresses == ()
