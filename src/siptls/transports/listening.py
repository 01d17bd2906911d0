"""Listening: the sockets that a server accepts on."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from siptls.errors import ConfigurationError

__all__ = ["cannot_listen", "listeners", "listening"]

# Connections that the kernel keeps for us while we are busy; it cuts this down to its somaxconn.
_BACKLOG = 1024


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


def listeners(found: Sequence[tuple[Any, ...]], host: str | None, port: int) -> list[socket.socket]:
    """Listen on each address that ``getaddrinfo`` has found.

    Raises:
        ConfigurationError: One of them cannot be listened on; then none is left open.
    """
    sockets: list[socket.socket] = []
    try:
        with cannot_listen(host, port):
            for family, _, _, _, name in dict.fromkeys(found):
                sockets.append(listening(socket.create_server(name, family=family)))
    except ConfigurationError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


@contextmanager
def cannot_listen(host: str | None, port: int) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        hint = "is another server running there, or the address not of this machine?"
        if isinstance(error, socket.gaierror | UnicodeError):
            hint = "write an address of this machine"
        raise ConfigurationError(
            f"cannot listen on {host or 'all addresses'} port {port} ({why}); {hint}"
        ) from error
