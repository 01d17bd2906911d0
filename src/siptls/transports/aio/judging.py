"""Judging: the live connections of a transport are judged again, and messages go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from siptls.journal import log as _log
from siptls.transports.aio.driver import Driver

__all__ = ["Judging"]


# Connections that are judged between two turns of the event loop: a few milliseconds.
_AT_ONCE = 16
# Seconds from one round over all to the next: whoever sends is judged before that anyway.
_PAUSE = 0.2


class Judging:
    """Goes through the connections of a transport that were not judged by what is in force.

    Args:
        drivers: Gives all of them.
    """

    def __init__(self, drivers: Callable[[], Iterable[Driver]]) -> None:
        self._drivers = drivers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def enter(self) -> None:
        """Note the loop that the connections live in."""
        self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        """Have all judged soon; from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and its connections with it
                self._loop.call_soon_threadsafe(self._begin)

    async def stop(self) -> None:
        """End it, for good."""
        self._loop = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _begin(self) -> None:
        if self._loop is None:  # it was ended meanwhile
            return
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._again:
            self._again = False
            for number, driver in enumerate(list(self._drivers())):
                try:
                    driver.judge_again()
                except Exception:  # noqa: BLE001  who cannot be judged does not stay; the others are
                    _log.exception("judging a connection again failed: it is cut")
                    driver.abort()
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(_PAUSE)
