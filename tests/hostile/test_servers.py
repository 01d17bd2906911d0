"""Servers that do what they should not to our clients, who have other servers to ask meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from front_ends import OURS, POLICY, in_loop
from hostility import TIMEOUT, read_to_end
from OpenSSL import SSL
from peers import context_of
from sip import request

import siptls
from siptls import Limits, SIPTLSError, sync

REQUEST = request()
REPLY = bytes(siptls.Message(REQUEST).reply(200, "OK").data)
LIMITS = Limits(handshake_timeout=0.5, gone_timeout=1, message_timeout=0.5, close_timeout=0.1)

Does = Callable[[socket.socket], None]


@contextmanager
def serving(does: Does) -> Iterator[int]:
    """Do something with each client that comes, until the block ends."""
    threads: list[threading.Thread] = []
    clients: list[socket.socket] = []

    def handle(tcp: socket.socket) -> None:
        with tcp, contextlib.suppress(OSError, SSL.Error):
            does(tcp)
            tcp.shutdown(socket.SHUT_WR)
            read_to_end(tcp)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                tcp, _ = listener.accept()
                clients.append(tcp)
                threads.append(threading.Thread(target=handle, args=[tcp]))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=serve)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for tcp in clients:
                with contextlib.suppress(OSError):
                    tcp.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(TIMEOUT)
                assert not thread.is_alive()


def ask_asyncio(port: int, good: int) -> tuple[str, str]:
    """Ask both with one client at once; give what came of either."""

    async def ask(transport: siptls.TLSClientTransport, port: int) -> str:
        try:
            connection = await transport.connect("contoso.com", host="127.0.0.1", port=port)
            await connection.send(REQUEST)
            return (await connection.receive()).start_line
        except SIPTLSError as error:
            return type(error).__name__

    async def both() -> tuple[str, str]:
        async with siptls.TLSClientTransport(POLICY, credential=OURS, limits=LIMITS) as transport:
            bad = asyncio.create_task(ask(transport, port))
            answer = await ask(transport, good)
            return await bad, answer

    with in_loop() as run:
        got: tuple[str, str] = run(both())
        return got


def ask_threads(port: int, good: int) -> tuple[str, str]:
    """As `ask_asyncio`, with siptls.sync."""
    answers: dict[int, str] = {}

    def ask(transport: sync.TLSClientTransport, port: int) -> None:
        try:
            connection = transport.connect("contoso.com", host="127.0.0.1", port=port)
            connection.send(REQUEST)
            answers[port] = connection.receive(timeout=TIMEOUT).start_line
        except SIPTLSError as error:
            answers[port] = type(error).__name__

    with sync.TLSClientTransport(POLICY, credential=OURS, limits=LIMITS) as transport:
        bad = threading.Thread(target=ask, args=[transport, port])
        bad.start()
        ask(transport, good)
        bad.join(TIMEOUT)
        assert not bad.is_alive()
    return answers[port], answers[good]


def shaken(version: str, tcp: socket.socket) -> SSL.Connection:
    tls = SSL.Connection(context_of(version, OURS), tcp)
    tls.set_accept_state()
    tls.do_handshake()
    return tls


def answering(tcp: socket.socket) -> None:
    tls = shaken("TLSv1.3", tcp)
    tls.recv(65536)
    tls.sendall(REPLY)
    with contextlib.suppress(SSL.Error):
        tls.recv(65536)


def silent(tcp: socket.socket) -> None:
    read_to_end(tcp)


def saying(data: bytes, times: int = 1) -> Does:
    """Say something that is no TLS, and wait for the end."""

    def does(tcp: socket.socket) -> None:
        for _ in range(times):
            tcp.sendall(data)
        read_to_end(tcp)

    return does


def dripping(tcp: socket.socket) -> None:
    """Answer the ClientHello byte by byte, more slowly than anybody waits."""
    tls = SSL.Connection(context_of("TLSv1.3", OURS), None)
    tls.set_accept_state()
    tls.bio_write(tcp.recv(65536))
    with contextlib.suppress(SSL.WantReadError):
        tls.do_handshake()
    tcp.settimeout(0.05)
    for byte in tls.bio_read(65536):
        tcp.send(bytes([byte]))
        with contextlib.suppress(TimeoutError):
            if not tcp.recv(1):
                return


BEFORE: dict[str, tuple[Does, set[str]]] = {
    "says nothing": (silent, {"HandshakeTimeout"}),
    "drips": (dripping, {"HandshakeTimeout"}),
    "is no TLS": (saying(REPLY), {"HandshakeError"}),
    "is noise": (saying(random.Random(2).randbytes(5000)), {"HandshakeError"}),
    "is zeros": (saying(bytes(65536), 1600), {"HandshakeError"}),
    "hangs up": (lambda _: None, {"ConnectionClosedError", "HandshakeError"}),
    "sends an alert": (saying(b"\x15\x03\x03\x00\x02\x02\x28"), {"RefusedByPeerError"}),
    "sends data first": (saying(b"\x17\x03\x03\x00\x05hello"), {"HandshakeError"}),
    "says hello without end": (
        saying(b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + bytes(16380)),
        {"HandshakeError"},
    ),
}


@pytest.mark.parametrize(("does", "ends"), BEFORE.values(), ids=BEFORE.keys())
@pytest.mark.parametrize("ask", [ask_asyncio, ask_threads], ids=["asyncio", "threads"])
def test_a_server_that_shakes_no_hands_holds_nobody(
    ask: Callable[[int, int], tuple[str, str]], does: Does, ends: set[str]
) -> None:
    with serving(does) as port, serving(answering) as good:
        bad, answer = ask(port, good)
    assert bad in ends
    assert answer == "SIP/2.0 200 OK"


def then(*data: bytes, times: int = 1) -> Callable[[str], Does]:
    """Shake hands, take a request, and say something; give that for a version of TLS."""

    def for_version(version: str) -> Does:
        def does(tcp: socket.socket) -> None:
            tls = shaken(version, tcp)
            tls.recv(65536)
            for piece in data:
                for _ in range(times):
                    tls.sendall(piece)
            with contextlib.suppress(SSL.Error):
                while tls.recv(65536):
                    pass

        return does

    return for_version


def hanging_up(version: str) -> Does:
    def does(tcp: socket.socket) -> None:
        tls = shaken(version, tcp)
        tls.recv(65536)
        tls.sendall(REPLY[:-3])

    return does


HEAD = b"SIP/2.0 200 OK\r\n"
AFTER: dict[str, tuple[Callable[[str], Does], str]] = {
    "noise": (then(b"\xff\x00\xff" * 99), "FramingError"),
    "HTTP": (then(b"HTTP/1.1 200 OK\r\n\r\n"), "FramingError"),
    "no length": (then(HEAD + b"\r\n"), "FramingError"),
    "a negative length": (then(HEAD + b"l: -1\r\n\r\n"), "FramingError"),
    "two lengths": (then(HEAD + b"l: 1\r\nl: 2\r\n\r\n"), "FramingError"),
    "a giant length": (then(HEAD + b"l: 999999999\r\n\r\n"), "FramingError"),
    "a head without end": (then(HEAD, b"a: b\r\n" * 9000, times=1900), "FramingError"),
    "a message without end": (then(HEAD + b"l: 9\r\n\r\nabc"), "FramingError"),
    "half an answer": (hanging_up, "ConnectionClosedError"),
}


@pytest.mark.parametrize(("does", "end"), AFTER.values(), ids=AFTER.keys())
@pytest.mark.parametrize("ask", [ask_asyncio, ask_threads], ids=["asyncio", "threads"])
def test_a_server_that_speaks_no_sip_holds_nobody(
    ask: Callable[[int, int], tuple[str, str]],
    version: str,
    does: Callable[[str], Does],
    end: str,
) -> None:
    with serving(does(version)) as port, serving(answering) as good:
        assert ask(port, good) == (end, "SIP/2.0 200 OK")
