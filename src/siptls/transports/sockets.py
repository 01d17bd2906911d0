"""Sockets: what the kernel is told, and asked, about the peer's machine."""

from __future__ import annotations

import errno
import math
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from siptls.wire.limits import Limits

__all__ = ["Outflow", "acknowledged", "closing_if_it_fails", "watch_peer"]

# Of gone_timeout, what passes before the first probe, and how many probes share the rest.
_QUIET_PART = 2 / 3
_PROBES = 3
_LONGEST = 32767.0  # seconds: Linux takes no more for a probe


# Where tcpi_bytes_acked stands in Linux's struct tcp_info, since 4.1; it never moves.
_ACKNOWLEDGED = struct.Struct("=120xQ")


def acknowledged(sock: socket.socket | None) -> int | None:
    """Give how many bytes the peer's machine has acknowledged; None if the system does not tell.

    What counts is the difference of two answers: the first has what was sent before.
    """
    if sock is None or not sys.platform.startswith("linux"):
        return None
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
    except (OSError, ValueError):  # ValueError: uvloop's, of one that is closed
        return None
    if len(told) < _ACKNOWLEDGED.size:
        return None
    return int(_ACKNOWLEDGED.unpack(told)[0])


def watch_peer(sock: socket.socket, limits: Limits) -> None:
    """Have the socket fail with ETIMEDOUT when the peer's machine answers no more.

    An idle one is probed (RFC 9293 §3.8.4); what was sent has to be acknowledged, and what waits
    has to be taken (RFC 5482). Where the system, or the socket, knows no such option, it has to do
    without: keep-alives find the rest.
    """
    seconds = min(limits.gone_timeout, _LONGEST)
    quiet = max(1, math.floor(seconds * _QUIET_PART))
    between = max(1, math.floor((seconds - quiet) / _PROBES))
    with suppress(OSError, ValueError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", quiet),
        ("TCP_KEEPINTVL", between),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", math.ceil(seconds * 1000)),
    ):
        with suppress(OSError, ValueError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Outflow:
    """Tells whether a peer takes what is sent to it, and not only a byte now and then.

    In each ``Limits.gone_timeout`` it has to take ``Limits.write_buffer`` bytes, or all there are.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._goal = 0
        self.until = 0.0
        """When to look."""

    def begin(self, now: float, taken: int, waiting: int) -> None:
        """Bytes wait, of all that were written; so many were taken before."""
        self._goal = taken + min(self._limits.write_buffer, waiting)
        self.until = now + self._limits.gone_timeout

    def error(self, now: float, taken: int, waiting: int) -> OSError | None:
        """Give the system's error for a peer that is gone, if it has taken too little."""
        if now < self.until:
            return None
        if taken < self._goal:
            return OSError(errno.ETIMEDOUT, "the peer has taken too little")
        self.begin(now, taken, waiting)
        return None


@contextmanager
def closing_if_it_fails(sock: object) -> Iterator[None]:
    """Close a socket that was passed to us, if nothing comes of it before another one owns it."""
    try:
        yield
    except Exception:
        if isinstance(sock, socket.socket):
            sock.close()
        raise
