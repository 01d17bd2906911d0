"""Door: where connections come in, one in each turn of the event loop, while there is room."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from siptls.transports.listening import FULL, cannot_accept
from siptls.wire.telling import Teller

__all__ = ["Door"]


# Seconds after an accept that failed, most often because there are no more file descriptors.
_PAUSE = 0.2


class Door:
    """A listening socket. All of its methods belong to the thread of the event loop.

    ``loop.sock_accept`` would lose the connection that is accepted while it is cancelled.

    Args:
        listener: A socket that listens, without blocking.
        reached: Says which limit is reached, and how high it is; whoever comes then waits in the
            backlog. None if none is.
        take: Called with each socket that was accepted, and the name of its peer.
        teller: Tells of limits that are reached, and of faults.
    """

    def __init__(
        self,
        listener: socket.socket,
        reached: Callable[[], tuple[str, int] | None],
        take: Callable[[socket.socket, Any], None],
        teller: Teller,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._reached = reached
        self._teller = teller
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
        if (reached := self._reached()) is not None:
            self._shut()
            self._teller.limit_reached(FULL, *reached, limit=reached[0])
            return
        try:
            sock, name = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # it has gone, or somebody else has it
        except OSError as error:
            self._teller.error("%s", cannot_accept(error))
            self._shut()
            self._pause = self._loop.call_later(_PAUSE, self._end_pause)
            return
        sock.setblocking(False)
        self._take(sock, name)

    def _end_pause(self) -> None:
        self._pause = None
        self.open()
