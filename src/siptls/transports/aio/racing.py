"""Races to the addresses of a host, in asyncio; the rules are in ``transports/racing.py``."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from siptls.errors import SIPTLSError
from siptls.transports.attempts import not_reached
from siptls.transports.racing import Race, dial
from siptls.transports.resolution import Target

__all__ = ["Racing"]


class Racing:
    """Runs a race. Whatever becomes of it, no task and no socket is left, but that which won."""

    def __init__(self, race: Race) -> None:
        self._loop = asyncio.get_running_loop()
        self._race = race
        self._tasks: dict[asyncio.Task[socket.socket], Target] = {}
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def first(self) -> socket.socket | None:
        """Give the socket that connected first; None if all addresses have failed.

        Raises:
            ConnectionClosedError: The race was stopped.
        """
        won: socket.socket | None = None
        try:
            won = await self._run()
        finally:
            await self._clear(won)
        return won

    def stop(self) -> None:
        """Have the race end now."""
        if not self._stopped.done():
            self._stopped.set_result(None)

    async def wait_ended(self) -> None:
        """Wait until everything is closed."""
        await asyncio.shield(self._ended)

    async def _run(self) -> socket.socket | None:
        race = self._race
        while not race.over:
            if self._stopped.done():
                raise race.stopped()
            now = self._loop.time()
            while (target := race.begin(now)) is not None:
                self._tasks[self._loop.create_task(_connect(target))] = target
            waited: set[asyncio.Future[Any]] = {*self._tasks, self._stopped}
            await asyncio.wait(
                waited,
                timeout=max(0.0, race.wakes - now),
                return_when=asyncio.FIRST_COMPLETED,
            )
            won = self._look()
            if won is not None:
                return won
        return None

    def _look(self) -> socket.socket | None:
        """See who has failed, who is late, and who has won."""
        for task, target in list(self._tasks.items()):
            if not task.done():
                continue
            del self._tasks[task]
            if task.cancelled():
                continue
            try:
                won = task.result()
            except SIPTLSError as error:
                self._race.fail(target, error)
            else:
                self._race.win(target)
                return won
        late = self._race.late(self._loop.time())
        for task, target in self._tasks.items():
            if target in late:
                task.cancel()
        return None

    async def _clear(self, won: socket.socket | None) -> None:
        """Close all others, and wait until they are."""
        for task in self._tasks:
            if task.done():
                _close(task)
            else:
                task.add_done_callback(_close)
                task.cancel()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            if won is not None:
                won.close()
            raise
        finally:
            self._ended.set_result(None)


async def _connect(target: Target) -> socket.socket:
    loop = asyncio.get_running_loop()
    sock: socket.socket | None = None
    try:
        sock, _ = dial(target)
        # The text, and not what the system made of it: uvloop would lose the scope.
        await loop.sock_connect(sock, (target.address, target.port))
    except BaseException as error:
        if sock is not None:
            sock.close()
        if isinstance(error, OSError):
            raise not_reached(target, error) from error
        raise
    return sock


def _close(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket of one that connected too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
