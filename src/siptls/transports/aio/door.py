"""Door: where connections come in, one in each turn of the event loop, while there is room."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from siptls.journal import log as _log

__all__ = ["Door"]


# Seconds after an accept that failed, most often because there are no more file descriptors.
_PAUSE = 0.2


class Door:
    """A listening socket. All of its methods belong to the thread of the event loop.

    ``loop.sock_accept`` would lose the connection that is accepted while it is cancelled.

    Args:
        listener: A socket that listens, without blocking.
        has_room: Says whether one more is taken; those that are not wait in the backlog.
        take: Called with each socket that was accepted, and the name of its peer.
    """

    def __init__(
        self,
        listener: socket.socket,
        has_room: Callable[[], bool],
        take: Callable[[socket.socket, Any], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._has_room = has_room
        self._take = take
        self._is_open = False
        self._pause: asyncio.TimerHandle | None = None
        self.open()

    @property
    def name(self) -> Any:
        """Where it listens."""
        return self._listener.getsockname()

    def open(self) -> None:
        """Accept again, if there was no room."""
        if not self._is_open and self._pause is None:
            self._is_open = True
            self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accept no more, for ever: who waits in the backlog is reset."""
        self._shut()
        if self._pause is not None:
            self._pause.cancel()
        self._listener.close()

    def _shut(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        if not self._has_room():
            self._shut()
            return
        try:
            sock, name = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # it has gone, or somebody else has it
        except OSError as error:
            _log.error("cannot accept a connection: %s; trying again", error)
            self._shut()
            self._pause = self._loop.call_later(_PAUSE, self._end_pause)
            return
        sock.setblocking(False)
        self._take(sock, name)

    def _end_pause(self) -> None:
        self._pause = None
        self.open()
