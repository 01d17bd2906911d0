"""The load: clients on OpenSSL itself, so that they cost little, and the same for every server."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from OpenSSL import SSL

from siptls import Credential
from siptls.testing import CertificateAuthority, pem

__all__ = ["MESSAGE", "OPTIONS", "Client", "context_of", "make_certificates", "message", "storm"]

BOTH = ("serverAuth", "clientAuth")  # Python's ssl takes no others


def message(size: int) -> bytes:
    """Give a SIP message of so many bytes."""
    head = (
        "MESSAGE sip:bob@contoso.com SIP/2.0\r\n"
        "Via: SIP/2.0/TLS home.contoso.com:5061;branch=z9hG4bK776asdhds\r\n"
        "Max-Forwards: 70\r\n"
        "From: Alice <sip:alice@contoso.com>;tag=1928301774\r\n"
        "To: Bob <sip:bob@contoso.com>\r\n"
        "Call-ID: a84b4c76e66710@home.contoso.com\r\n"
        "CSeq: 314159 MESSAGE\r\n"
        "Content-Type: text/plain\r\n"
        "Content-Length: {}\r\n\r\n"
    )
    body = size - len(head.format(100))
    return head.format(body).encode() + b"x" * body


MESSAGE = message(600)
OPTIONS = (
    b"OPTIONS sip:contoso.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS home.contoso.com:5061;branch=z9hG4bK776asdhds\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: Alice <sip:alice@contoso.com>;tag=1928301774\r\n"
    b"To: Bob <sip:bob@contoso.com>\r\n"
    b"Call-ID: a84b4c76e66710@home.contoso.com\r\n"
    b"CSeq: 314159 OPTIONS\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def make_certificates(
    folder: Path, count: int = 1, *, intermediate: bool = True
) -> list[Credential]:
    """Write what the servers need, and give so many clients' credentials.

    Each is a chain of two, or of one without the intermediate CA.
    """
    ca = CertificateAuthority("Benchmark CA", seed="bench")
    middle = ca.intermediate("Benchmark Issuing CA") if intermediate else ca
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "server.pem").write_bytes(pem(middle.issue("sip:contoso.com", purposes=BOTH)))
    return [
        middle.issue("sip:contoso.com", f"client{number}.contoso.com", purposes=BOTH)
        for number in range(count)
    ]


def context_of(credential: Credential) -> SSL.Context:
    """A client's context; it believes every server, for it is the server that is measured."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    context.use_certificate(credential.chain[0])
    for certificate in credential.chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(credential.key)
    return context


class Client:
    """A client whose messages are a record each, as those of different users are.

    All that is sent at once leaves in one write, so that the server may read many at a time.
    """

    def __init__(self, port: int, context: SSL.Context) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = SSL.Connection(context)
        self.tls.set_connect_state()
        while not self._shake():
            self.tls.bio_write(self.sock.recv(65536))

    def _shake(self) -> bool:
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return False
        self._flush()
        return True

    def _flush(self) -> None:
        with suppress(SSL.WantReadError):
            while True:
                self.sock.sendall(self.tls.bio_read(1 << 20))

    def send(self, message: bytes, count: int) -> None:
        """Send a message so many times."""
        for _ in range(count):
            self.tls.sendall(message)
        self._flush()

    def receive(self) -> int:
        """Wait for bytes, and give how many there were."""
        got = 0
        while not got:
            self.tls.bio_write(self.sock.recv(262144))
            with suppress(SSL.WantReadError):
                while True:
                    got += len(self.tls.recv(65536))
        return got

    def echo(self, count: int, window: int, sent: bytes, answer: int = 0) -> None:
        """Send messages, so many at a time, and wait for an answer to each.

        Args:
            count: Messages in all.
            window: Messages that are sent and not yet answered.
            sent: Each of them.
            answer: Bytes of each answer; 0 if it is the message itself.
        """
        size = answer or len(sent)
        left, missing = count, 0
        while left or missing > 0:
            batch = min(left, window - -(-missing // size))
            if batch:
                self.send(sent, batch)
                left -= batch
                missing += batch * size
            missing -= self.receive()

    def answer_size(self, sent: bytes) -> int:
        """How many bytes answer a message: of one and the same server it is always as many."""
        self.send(sent, 1)
        return self.receive()

    def close(self) -> None:
        """Close in order."""
        with suppress(SSL.Error):
            self.tls.shutdown()
        self._flush()
        self.sock.close()


def storm(port: int, contexts: Sequence[SSL.Context]) -> None:
    """Have many clients do their handshakes at once, and one echo each."""
    selector = selectors.DefaultSelector()
    waiting: dict[SSL.Connection, bool] = {}
    for context in contexts:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        connection = SSL.Connection(context, sock)
        connection.set_connect_state()
        waiting[connection] = False
        selector.register(sock, selectors.EVENT_READ, connection)
        _step(connection, waiting)
    while waiting:
        for key, _ in selector.select():
            if key.data in waiting and _step(key.data, waiting):
                selector.unregister(key.fileobj)
                key.data.close()
    selector.close()


def _step(connection: SSL.Connection, waiting: dict[SSL.Connection, bool]) -> bool:
    """Go on with a client; whether it is done."""
    try:
        if not waiting[connection]:
            connection.do_handshake()
            connection.send(MESSAGE)
            waiting[connection] = True
        connection.recv(65536)
    except SSL.WantReadError:
        return False
    del waiting[connection]
    return True
