"""PolicySSLContext in the real frameworks: accepted, refused, wrong name; as client and as server.

Each framework echoes a line as a server, and has one echoed as a client. The other side is plain
blocking sockets of the standard library, so that it is the same for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import http.server
import queue
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from attrs import frozen

from siptls import Credential, Enterprise, KeyPurposes, PeerRefusedError, PolicySSLContext
from siptls.testing import CertificateAuthority

CA = CertificateAuthority("Contoso CA", seed="frameworks")
OURS = CA.issue("sip:contoso.com")
THEIRS = CA.issue("sip:fabrikam.com")  # of our CA, and out of its scope
POLICY = Enterprise(["contoso.com"], CA.authority(purposes=KeyPurposes.ROLE))
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(params=VERSIONS.values(), ids=VERSIONS)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return request.param  # type: ignore[no-any-return]


def client_context(version: ssl.TLSVersion, credential: Credential = OURS) -> PolicySSLContext:
    context = PolicySSLContext.client(POLICY, credential=credential)
    context.minimum_version = context.maximum_version = version
    return context


def server_context() -> PolicySSLContext:
    return PolicySSLContext.server(OURS, POLICY)


# ---------------------------------------------------------------- as clients

Client = Callable[[PolicySSLContext, int, str], bytes]


async def _streams(context: PolicySSLContext, port: int, name: str) -> bytes:
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name
        )
    except ssl.SSLError:
        for _ in range(3):  # asyncio closes the socket in its next turns
            await asyncio.sleep(0)
        raise
    try:
        assert writer.get_extra_info("ssl_object").decision.accepted
        writer.write(b"hello\n")
        return await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def by_asyncio(context: PolicySSLContext, port: int, name: str) -> bytes:
    return asyncio.run(_streams(context, port, name))


def by_uvloop(context: PolicySSLContext, port: int, name: str) -> bytes:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return bytes(runner.run(_streams(context, port, name)))


def by_trio(context: PolicySSLContext, port: int, name: str) -> bytes:
    trio = pytest.importorskip("trio", reason="trio is not installed")

    async def talk() -> bytes:
        tcp = await trio.open_tcp_stream("127.0.0.1", port)
        async with trio.SSLStream(tcp, context, server_hostname=name) as stream:
            await stream.do_handshake()
            await stream.send_all(b"hello\n")
            return bytes(await stream.receive_some(100))

    return bytes(trio.run(talk))


def by_anyio(context: PolicySSLContext, port: int, name: str) -> bytes:
    anyio = pytest.importorskip("anyio", reason="anyio is not installed")
    from anyio.streams.tls import TLSStream  # noqa: PLC0415  only where it is

    async def talk() -> bytes:
        async with await anyio.connect_tcp("127.0.0.1", port) as tcp:
            stream = await TLSStream.wrap(
                tcp, hostname=name, ssl_context=context, standard_compatible=False
            )
            await stream.send(b"hello\n")
            return bytes(await stream.receive(100))

    return bytes(anyio.run(talk))


def by_blocking(context: PolicySSLContext, port: int, name: str) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as tcp,
        context.wrap_socket(tcp, server_hostname=name) as wrapped,
    ):
        wrapped.sendall(b"hello\n")
        return wrapped.recv(100)


def by_twisted(context: PolicySSLContext, port: int, name: str) -> bytes:
    pytest.skip("Twisted's endpoints take OpenSSL.SSL contexts, and no ssl.SSLContext")


CLIENTS = [by_asyncio, by_uvloop, by_trio, by_anyio, by_blocking, by_twisted]


@contextmanager
def echoing(context: PolicySSLContext) -> Iterator[int]:
    """Echo lines on a blocking socket, for any number of clients in turn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    tcp, _ = listener.accept()
                except OSError:
                    return
                tcp.settimeout(5)
                with (
                    tcp,
                    contextlib.suppress(OSError),
                    context.wrap_socket(tcp, server_side=True) as wrapped,
                ):
                    while data := wrapped.recv(100):
                        wrapped.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("talk", CLIENTS)
def test_a_client_is_answered(talk: Client, version: ssl.TLSVersion) -> None:
    with echoing(server_context()) as port:
        assert talk(client_context(version), port, "contoso.com") == b"hello\n"


@pytest.mark.parametrize("talk", CLIENTS)
def test_a_client_refuses_a_server_of_another_name(talk: Client, version: ssl.TLSVersion) -> None:
    with echoing(server_context()) as port, pytest.raises(BaseException) as caught:
        talk(client_context(version), port, "eu.contoso.com")
    assert refusal_in(caught.value).decision.code == "name.mismatch"


@pytest.mark.parametrize("talk", CLIENTS)
def test_a_client_that_is_refused_gets_no_answer(talk: Client, version: ssl.TLSVersion) -> None:
    """With TLS 1.3 it may learn that only by the end of the connection."""
    with echoing(server_context()) as port:
        answer = b""
        with contextlib.suppress(Exception):  # each framework has its own
            answer = talk(client_context(version, THEIRS), port, "contoso.com")
        assert answer == b""


def refusal_in(error: BaseException) -> PeerRefusedError:
    """Find our error below what the framework has made of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PeerRefusedError):
            return seen
        seen = seen.__cause__ or seen.__context__
    raise error


# ---------------------------------------------------------------- as servers


@frozen
class Seen:
    """What a server's application has seen: who sent which line."""

    peers: queue.Queue[tuple[frozenset[str], bytes]]


Server = Callable[[PolicySSLContext, Seen], AbstractContextManager[int]]


@contextmanager
def _loop_in_thread(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[Any]:
    loop = new_loop()
    loop.set_exception_handler(lambda *_: None)  # it tells of failed handshakes
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@contextmanager
def _asyncio_server(
    new_loop: Callable[[], asyncio.AbstractEventLoop], context: PolicySSLContext, seen: Seen
) -> Iterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        peer = writer.get_extra_info("ssl_object").peer
        seen.peers.put((peer.domains, line))
        writer.write(line)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def close(server: asyncio.Server) -> None:
        server.close()
        await server.wait_closed()
        for _ in range(10):
            await asyncio.sleep(0)

    with _loop_in_thread(new_loop) as run:
        server = run(asyncio.start_server(handle, "127.0.0.1", 0, ssl=context))
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            run(close(server))


def asyncio_server(context: PolicySSLContext, seen: Seen) -> AbstractContextManager[int]:
    return _asyncio_server(asyncio.new_event_loop, context, seen)


def uvloop_server(context: PolicySSLContext, seen: Seen) -> AbstractContextManager[int]:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    return _asyncio_server(uvloop.new_event_loop, context, seen)


@contextmanager
def trio_server(context: PolicySSLContext, seen: Seen) -> Iterator[int]:
    trio = pytest.importorskip("trio", reason="trio is not installed")
    started: queue.Queue[Any] = queue.Queue()

    async def handle(tcp: Any) -> None:
        stream = trio.SSLStream(tcp, context, server_side=True)
        try:
            await stream.do_handshake()
            line = await stream.receive_some(100)
            # trio shows only the attributes that it knows.
            seen.peers.put((stream._ssl_object.peer.domains, bytes(line)))
            await stream.send_all(line)
        except (trio.BrokenResourceError, OSError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            started.put((trio.lowlevel.current_trio_token(), nursery.cancel_scope, listeners[0]))
            await trio.serve_listeners(handle, listeners)

    thread = threading.Thread(target=trio.run, args=[main])
    thread.start()
    token, scope, listener = started.get(timeout=20)
    try:
        yield listener.socket.getsockname()[1]
    finally:
        trio.from_thread.run_sync(scope.cancel, trio_token=token)
        thread.join()


@contextmanager
def socketserver_server(context: PolicySSLContext, seen: Seen) -> Iterator[int]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline()
            seen.peers.put((self.request.peer.domains, line))
            self.wfile.write(line)

    class Threading(socketserver.ThreadingMixIn, socketserver.TCPServer):
        daemon_threads = False

        def get_request(self) -> tuple[Any, Any]:
            """Wrap, and leave the handshake to the thread of the request."""
            tcp, address = super().get_request()
            wrapped = context.wrap_socket(tcp, server_side=True, do_handshake_on_connect=False)
            return wrapped, address

        def finish_request(self, request: Any, client_address: Any) -> None:
            request.do_handshake()
            super().finish_request(request, client_address)

        def handle_error(self, request: object, client_address: object) -> None:
            """A refusal is logged already."""

    with Threading(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


SERVERS = [asyncio_server, uvloop_server, trio_server, socketserver_server]


@pytest.mark.parametrize("serving", SERVERS)
def test_a_server_knows_whom_it_serves(serving: Server, version: ssl.TLSVersion) -> None:
    seen = Seen(queue.Queue())
    with serving(server_context(), seen) as port:
        assert by_blocking(client_context(version), port, "contoso.com") == b"hello\n"
    assert seen.peers.get(timeout=20) == ({"contoso.com"}, b"hello\n")


@pytest.mark.parametrize("serving", SERVERS)
def test_a_server_never_sees_a_refused_client(
    serving: Server, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """Its line came, with TLS 1.3 even before the verdict; nobody got to read it."""
    seen = Seen(queue.Queue())
    with serving(server_context(), seen) as port:
        with contextlib.suppress(OSError):
            assert by_blocking(client_context(version, THEIRS), port, "contoso.com") == b""
        # A good client is served meanwhile, and shows that the other is done with.
        assert by_blocking(client_context(version), port, "contoso.com") == b"hello\n"
    assert seen.peers.get(timeout=20) == ({"contoso.com"}, b"hello\n")
    assert seen.peers.empty()
    assert "name.out-of-scope" in caplog.text


# ---------------------------------------------------------------- http.client


@pytest.mark.parametrize(("name", "served"), [("contoso.com", True), ("eu.contoso.com", False)])
def test_http_client_takes_a_policy(
    name: str, served: bool, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it connects to is a name; here both are this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    original = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *rest, **more: original("127.0.0.1", *rest, **more)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = server_context().wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        connection = http.client.HTTPSConnection(
            name, server.server_port, context=client_context(version), timeout=10
        )
        try:
            if served:
                connection.request("GET", "/")
                assert connection.getresponse().status == 204
            else:
                with pytest.raises(PeerRefusedError):
                    connection.request("GET", "/")
        finally:
            connection.close()
            server.shutdown()
            thread.join()
