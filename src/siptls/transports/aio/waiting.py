"""Flag and Inbox: what tasks wait for; small, for each connection has them and few are waited for.

They are `asyncio.Event` and `asyncio.Queue` without what nobody uses here, which is 5 KiB for each
connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Flag", "Inbox"]

_T = TypeVar("_T")


class Flag:
    """Something that holds or not, and tasks that wait until it does."""

    __slots__ = ("_holds", "_waiting")

    def __init__(self, *, holds: bool) -> None:
        self._holds = holds
        self._waiting: list[asyncio.Future[None]] | None = None

    def __bool__(self) -> bool:
        return self._holds

    def set(self) -> None:
        """It holds: wake whoever waits."""
        self._holds = True
        waiting, self._waiting = self._waiting, None
        for one in waiting or ():
            if not one.done():
                one.set_result(None)

    def clear(self) -> None:
        """It holds no more."""
        self._holds = False

    async def wait(self) -> None:
        """Wait until it holds, be it for a moment."""
        if self._holds:
            return
        if self._waiting is None:
            self._waiting = []
        waiting, one = self._waiting, asyncio.get_running_loop().create_future()
        waiting.append(one)
        try:
            await one
        finally:
            waiting.remove(one)


class Inbox(Generic[_T]):
    """Items in their order, and tasks that wait for the next one."""

    __slots__ = ("_items", "_waiting")

    def __init__(self) -> None:
        self._items: deque[_T] | None = None
        self._waiting: deque[asyncio.Future[None]] | None = None

    def __len__(self) -> int:
        return len(self._items) if self._items is not None else 0

    def put(self, item: _T) -> None:
        """Add an item."""
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        self._wake()

    def take(self) -> _T:
        """Take the first item; there is one."""
        assert self._items is not None  # noqa: S101  see above
        return self._items.popleft()

    def clear(self) -> None:
        """Drop all items."""
        self._items = None

    async def get(self) -> _T:
        """Take the first item, waiting for it."""
        while not self._items:
            if self._waiting is None:
                self._waiting = deque()
            one = asyncio.get_running_loop().create_future()
            self._waiting.append(one)
            try:
                await one
            except asyncio.CancelledError:
                if one in self._waiting:
                    self._waiting.remove(one)
                elif self._items:  # it was for us, and is for the next one now
                    self._wake()
                raise
        return self._items.popleft()

    def _wake(self) -> None:
        """Wake one task; it may find that another one was faster, and waits again."""
        while self._waiting:
            one = self._waiting.popleft()
            if not one.done():
                one.set_result(None)
                return
