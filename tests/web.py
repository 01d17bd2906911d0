"""A web server on loopback: responders and distribution points, and those that misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

from attrs import field, frozen
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from siptls.testing.statements import Extension

Reply: TypeAlias = Callable[[BaseHTTPRequestHandler], None]


@frozen
class Request:
    """What somebody has asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@frozen
class Web:
    """What it says at each path, and what it was asked.

    Attributes:
        place: ``host:port``.
        replies: What it does at a path.
        requests: All, in their order.
        gate: Who waits for it answers when it is set; it is at the end.
    """

    place: str
    replies: dict[str, Reply] = field(factory=dict)
    requests: list[Request] = field(factory=list)
    gate: threading.Event = field(factory=threading.Event)

    def url(self, path: str) -> str:
        return f"http://{self.place}{path}"

    def says(self, path: str, body: bytes | None, status: int = 200, **headers: str) -> None:
        """Answer at a path; without a body the connection is closed after the headers."""

        def reply(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                handler.send_header("Content-Length", str(len(body or b"")))
            handler.end_headers()
            handler.wfile.write(body or b"")

        self.replies[path] = reply

    def asked(self, path: str) -> int:
        """Count the requests for a path."""
        return sum(1 for request in self.requests if request.path == path)


@contextmanager
def web() -> Iterator[Web]:
    """Run one on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 20

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            found.requests.append(Request(self.command, self.path, dict(self.headers), body))
            with suppress(OSError):  # who asks may go away
                found.replies.get(self.path, lambda one: one.send_error(404))(self)

        do_GET = do_POST = answer  # noqa: N815  the names that the library calls

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        found = Web(f"127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield found
        finally:
            found.gate.set()
            server.shutdown()
            thread.join()


def drips(before: bytes) -> Reply:
    """Say something, and then one byte after the other for as long as somebody listens."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(before)
        while True:
            handler.wfile.write(b"x")

    return reply


def ocsp_at(*urls: str) -> Extension:
    """Name responders (RFC 5280 §4.2.2.1)."""
    method = AuthorityInformationAccessOID.OCSP
    named = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for url in urls]
    return x509.AuthorityInformationAccess(named), False


def crl_at(*urls: str) -> Extension:
    """Name distribution points (RFC 5280 §4.2.1.13)."""
    points = [
        x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
        for url in urls
    ]
    return x509.CRLDistributionPoints(points), False
