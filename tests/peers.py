"""Peers that do what a test wants: OpenSSL itself on blocking sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from OpenSSL import SSL
from sip import request

from siptls import Credential, Message

VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}
REPLY = bytes(Message(request()).reply(200, "OK").data)
GARBAGE = b"\x00\x01\x02 this is no SIP\r\n\r\n"
TIMEOUT = 20


def context_of(version: str, credential: Credential | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(VERSIONS[version])
    context.set_max_proto_version(VERSIONS[version])
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    if credential is not None:
        context.use_certificate(credential.chain[0])
        for certificate in credential.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(credential.key)
    return context


def _read_until(connection: SSL.Connection, end: bytes) -> bytes:
    got = b""
    while end not in got:
        got += connection.recv(65536)
    return got


@contextmanager
def closing_last(tcp: socket.socket) -> Iterator[None]:
    """Let the other side close first: a reset would overtake the alert."""
    yield
    with contextlib.suppress(OSError):
        tcp.shutdown(socket.SHUT_WR)
        while tcp.recv(65536):
            pass


@contextmanager
def server(version: str, credential: Credential, does: str, *, asks: bool = False) -> Iterator[int]:
    """Serve one client: ``answer`` it, ``vanish`` in the middle of the answer, or send ``garbage``.

    Args:
        version: The only version of TLS.
        credential: What it shows.
        does: What it does after the first request.
        asks: Whether it refuses whoever shows no certificate.
    """
    context = context_of(version, credential)
    if asks:
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            tcp, _ = listener.accept()
            with tcp, closing_last(tcp), contextlib.suppress(SSL.Error):
                connection = SSL.Connection(context, tcp)
                connection.set_accept_state()
                connection.do_handshake()
                _read_until(connection, b"\r\n\r\n")
                match does:
                    case "answer":
                        connection.sendall(REPLY)
                        _read_until(connection, b"never")
                    case "vanish":
                        connection.sendall(REPLY[:-10])
                    case "garbage":
                        connection.sendall(GARBAGE)
                        _read_until(connection, b"never")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield listener.getsockname()[1]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def visit(version: str, port: int, credential: Credential | None, does: str) -> str:
    """Visit a server: send a request, half of one (``vanish``), or ``garbage``; tell the answer.

    Returns:
        The reply's start line, or ``"refused"`` if the connection ended instead.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as tcp:
        tcp.settimeout(None)
        connection = SSL.Connection(context_of(version, credential), tcp)
        connection.set_connect_state()
        try:
            connection.do_handshake()
            match does:
                case "answer":
                    connection.sendall(request())
                case "vanish":
                    connection.sendall(request()[:-10])
                    return "gone"
                case "garbage":
                    connection.sendall(GARBAGE)
            reply = _read_until(connection, b"\r\n\r\n")
            connection.shutdown()
            return reply.split(b"\r\n")[0].decode("ascii")
        except SSL.Error:
            return "refused"
