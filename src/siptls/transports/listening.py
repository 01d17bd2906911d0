"""Listening: the sockets that a server accepts on."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from siptls.arguments import Kind
from siptls.errors import ConfigurationError

__all__ = [
    "FULL",
    "LOST",
    "TOO_MANY",
    "cannot_accept",
    "cannot_listen",
    "check_reuse_port",
    "listeners",
    "listening",
    "turn_away",
]

# Connections that the kernel keeps for us while we are busy; it cuts this down to its somaxconn.
_BACKLOG = 1024

# What is logged of a connection that is not begun.
LOST: Final = "lost a connection from %s: %s"
TOO_MANY: Final = (
    "turned away a connection from %s: there are %d from there already; if they mean well, raise"
    " Limits.max_per_address"
)

FULL: Final = "Limits.%s, %d, is reached: whoever comes now waits until one leaves"

# For SO_LINGER: on, and 0 seconds.
_RESET = struct.pack("ii", 1, 0)

_IS_CHOICE = Kind(bool, "write True if several processes share the port")


def check_reuse_port(reuse_port: object, sock: socket.socket | None) -> None:
    """Check whether a port can be shared as it is asked for.

    Raises:
        ConfigurationError: It is no bool; or the system, or a socket that is bound already, cannot.
    """
    _IS_CHOICE.check("reuse_port", reuse_port)
    if not reuse_port:
        return
    if sock is not None:  # whose port is shared is settled when it is bound
        raise ConfigurationError(
            "reuse_port= is for a socket that is made here, and sock= is bound already: set"
            " SO_REUSEPORT on it before bind(), and leave reuse_port out"
        )
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigurationError(
            "reuse_port= needs SO_REUSEPORT, which this system does not have: give each process a"
            " port of its own"
        )


def listening(sock: socket.socket) -> socket.socket:
    """Make a bound socket listen, without blocking.

    Raises:
        ConfigurationError: It cannot.
    """
    try:
        sock.setblocking(False)
        sock.listen(_BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"sock= cannot be listened on: {error}") from error
    return sock


def listeners(
    found: Sequence[tuple[Any, ...]], host: str | None, port: int, *, reuse_port: bool
) -> list[socket.socket]:
    """Listen on each address that ``getaddrinfo`` has found.

    With ``reuse_port``, which is checked before, each has SO_REUSEPORT when it is bound.

    Raises:
        ConfigurationError: One of them cannot be listened on; then none is left open.
    """
    sockets: list[socket.socket] = []
    try:
        with cannot_listen(host, port, reuse_port=reuse_port):
            for family, _, _, _, name in dict.fromkeys(found):
                sock = socket.create_server(name, family=family, reuse_port=reuse_port)
                sockets.append(listening(sock))
    except ConfigurationError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


@contextmanager
def cannot_listen(host: str | None, port: int, *, reuse_port: bool = False) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except (OSError, UnicodeError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        hint = "is another server running there, or the address not of this machine?"
        if reuse_port:
            hint = (
                "is another server there without reuse_port, or of another user, or the address not"
                " of this machine?"
            )
        if isinstance(error, socket.gaierror | UnicodeError):
            hint = "write an address of this machine"
        if isinstance(error, RuntimeError):  # of the names, or of the connections
            hint = "a thread is needed, and the system gives none"
        raise ConfigurationError(
            f"cannot listen on {host or 'all addresses'} port {port} ({why}); {hint}"
        ) from error


def cannot_accept(error: OSError) -> str:
    """Say that a connection could not be accepted, and what to do."""
    hint = ""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = "; raise the limit of open files (ulimit -n) above Limits.max_connections"
    return f"cannot accept a connection: {error}; trying again{hint}"


def turn_away(sock: socket.socket) -> None:
    """Close what was accepted with a reset, which leaves nothing behind in our kernel either."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
