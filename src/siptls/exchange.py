"""Exchange: one question over HTTP, and its answer, within a time and a size.

``http.client`` follows no redirect and knows no proxy. What it lacks is a deadline for the whole:
its timeout begins anew with each byte, so who sends one byte a second is never done.
"""

from __future__ import annotations

import http.client
import re
import socket
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

__all__ = ["Place", "exchange", "read_host", "read_url"]

# The characters of RFC 3986. A backslash or a space is read in one way here and in another there.
_URL = re.compile(r"[A-Za-z0-9:/?#\[\]@!$&'()*+,;=\-._~%]{1,2048}")
_HTTP_PORT = 80
_OK = 200


@frozen
class Place:
    """Whom to connect to.

    Attributes:
        host: Lower case, or an IP address.
        port: 80 unless it is told.
    """

    host: str
    port: int


def read_url(url: str) -> tuple[Place, str]:
    """Give the place and the request target of a URL.

    Raises:
        ValueError: It is none of ``http``, or one with a user.
    """
    if not _URL.fullmatch(url):
        raise ValueError("it is no URL")
    parts = urlsplit(url)
    if parts.scheme != "http":
        raise ValueError("it is no http URL")
    target = parts.path or "/"
    return _place(parts), f"{target}?{parts.query}" if parts.query else target


def read_host(text: str) -> Place:
    """Give the place that ``host`` or ``host:port`` names.

    Raises:
        ValueError: It names none.
    """
    parts = urlsplit(f"//{text}")
    if not _URL.fullmatch(text) or parts.netloc != text:
        raise ValueError("it is no host")
    return _place(parts)


def _place(parts: Any) -> Place:
    if not parts.hostname or "@" in parts.netloc:
        raise ValueError("it has no host, or a user before it")
    return Place(parts.hostname, _HTTP_PORT if parts.port is None else parts.port)


def exchange(  # noqa: PLR0913  whom, what, and within which limits
    place: Place,
    target: str,
    *,
    body: bytes | None,
    headers: dict[str, str],
    timeout: float,
    max_size: int,
) -> bytes:
    """Ask, and give the body of the answer. It blocks; POST if there is a body, else GET.

    Args:
        place: Whom to ask.
        target: The path and the query.
        body: What to send.
        headers: What to send before it.
        timeout: Seconds for the whole, but for the look-up of the host's addresses, which the
            system bounds.
        max_size: Bytes of the answer that are read at most.

    Raises:
        OSError: Nobody answers, or not in time.
        ValueError: The answer is of no use.
    """
    connection = _Connection(place, timeout)
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, target, body, {**headers, "Connection": "close"})
        with connection.getresponse() as response:
            return _read(response, max_size)
    except http.client.HTTPException as error:
        if isinstance(error, OSError):  # it has closed without a word
            raise
        raise ValueError(f"it does not speak HTTP ({type(error).__name__})") from error
    finally:
        connection.close()


def _read(response: http.client.HTTPResponse, max_size: int) -> bytes:
    if response.status != _OK:
        raise ValueError(f"it answers {response.status}; only 200 counts, and no redirect")
    if (response.length or 0) <= max_size:
        data = response.read(max_size + 1)
        if len(data) <= max_size:
            if response.length:
                raise ValueError(f"its answer lacks {response.length} bytes that it has promised")
            return data
    raise ValueError(f"its answer has more than {max_size} bytes")


class _Connection(http.client.HTTPConnection):
    """An HTTP connection whose whole life has one deadline."""

    def __init__(self, place: Place, timeout: float) -> None:
        super().__init__(place.host, place.port)
        self._deadline = monotonic() + timeout

    def connect(self) -> None:
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        failure: OSError = OSError("the host has no address")
        for family, kind, protocol, _, address in found:
            sock = _Socket(family, kind, protocol)
            try:
                sock.deadline = self._deadline
                sock.hurry()
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                self.sock = sock
                return
        raise failure


class _Socket(socket.socket):
    deadline = 0.0

    def hurry(self) -> None:
        """Let the next call take what is left of the time, and no more."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        self.settimeout(left)

    def recv_into(self, *arguments: Any) -> int:
        self.hurry()
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self.hurry()
        super().sendall(*arguments)
