"""How one thread ends what another one is waiting for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from attrs import frozen

from siptls.errors import ConnectionClosedError

__all__ = ["Stop", "Until", "Waker"]


class Waker:
    """A socket to wait for beside others, that any thread makes readable.

    Raises:
        ConnectionClosedError: The system has no more sockets.
    """

    def __init__(self) -> None:
        try:
            self._waker, self._woken = socket.socketpair()
        except OSError as error:
            raise ConnectionClosedError(f"cannot watch a socket: {error.strerror}") from error
        self._waker.setblocking(False)
        self._woken.setblocking(False)

    def fileno(self) -> int:
        """Give what `poll` waits for."""
        return self._woken.fileno()

    def wake(self) -> None:
        """End the wait."""
        with suppress(OSError):  # it is readable already, or closed
            self._waker.send(b"x")

    def clear(self) -> None:
        """Begin anew."""
        with suppress(BlockingIOError):
            self._woken.recv(1024)

    def close(self) -> None:
        """Free both sockets."""
        self._waker.close()
        self._woken.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stop:
    """Whoever waits says how the wait is ended, and whoever stops does that; once, and for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: Callable[[], object] | None = None
        self.stopped = False
        """Whether it is time to end."""

    def stop(self) -> None:
        """End the wait that is going on, and each one that would begin."""
        with self._lock:
            self.stopped = True
            if self._end is not None:
                self._end()

    @contextmanager
    def by(self, end: Callable[[], object]) -> Iterator[None]:
        """Say how the wait in this block is ended; at once, if it is time already.

        Args:
            end: Called from any thread, at most once. It waits for nothing.
        """
        with self._lock:
            self._end = end
            if self.stopped:
                end()
        try:
            yield
        finally:
            with self._lock:
                self._end = None


@frozen
class Until:
    """How long something may go on.

    Attributes:
        end: When all of its time is over, by the monotonic clock; None for never.
        stop: Ends it before.
    """

    end: float | None
    stop: Stop
