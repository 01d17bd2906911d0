"""Kept: a connection that is opened again when it is lost; see ``transports/supervision.py``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from siptls.errors import SIPTLSError
from siptls.transports.aio.closing import Closing
from siptls.transports.aio.connection import Connection
from siptls.transports.supervision import (
    Backoff,
    KeepChange,
    KeepState,
    OnChange,
    Supervision,
    given_up,
    kept_no_more,
    tell_change,
)
from siptls.trust.refusal import PeerRefusedError
from siptls.wire.telling import Address

__all__ = ["Kept"]

Open: TypeAlias = Callable[[dict[Address, PeerRefusedError]], Awaitable[Connection]]


class Kept(Closing):
    """A connection that stays. `TLSClientTransport.keep` makes it; you do not.

    Attributes:
        name: Whom it leads to, for logs.
        connection: The live connection, or None.
    """

    def __init__(
        self, name: str, open_one: Open, backoff: Backoff, on_change: OnChange | None
    ) -> None:
        self.name = name
        self.connection: Connection | None = None
        self._open = open_one
        self._on_change = on_change
        self._supervision = Supervision(backoff, random.random)
        self._changed = asyncio.Event()
        self._retry = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    @property
    def state(self) -> KeepState:
        """How it is getting on."""
        return self._supervision.state

    async def connected(self) -> Connection:
        """Give the live connection, waiting for it.

        Raises:
            ConnectionClosedError: It was closed.
        """
        while True:
            if self.connection is not None and self.connection.usable:
                return self.connection
            if self.state is KeepState.CLOSED:
                raise kept_no_more(self.name)
            self._changed.clear()
            await self._changed.wait()

    def retry(self) -> None:
        """Try at once: something has changed, so that even who was refused may be accepted now."""
        self._retry.set()

    def reconsider(self) -> None:
        """Try who was refused: the policy, or our credential, is another now. From any thread."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._retry.set)

    async def aclose(self) -> None:
        """Close the connection in order, and open it no more."""
        self._task.cancel()
        connection = self.connection
        if connection is not None:
            connection.close_soon()  # whoever waits here may be cancelled
        if self.state is not KeepState.CLOSED:
            self._tell(KeepChange(KeepState.CLOSED))
        await asyncio.wait([self._task])
        if connection is not None:
            await connection.aclose()

    def __repr__(self) -> str:
        return f"<Kept {self.name}: {self.state}>"

    async def _run(self) -> None:
        try:
            while True:
                self._tell(KeepChange(KeepState.CONNECTING))
                change = await self._once()
                self._tell(change)
                if change.retry_in:
                    await self._pause(change.retry_in)
        except Exception as error:  # noqa: BLE001  a fault of ours, or of a resolver
            # It would end in silence otherwise, and whoever waits would wait for ever.
            self._tell(given_up(self.name, error))

    async def _once(self) -> KeepChange:
        """Open a connection, and wait for its end; or for what has come instead."""
        supervision = self._supervision
        try:
            connection = await self._open(supervision.refused)
        except SIPTLSError as error:
            return supervision.failed(error)
        self.connection = connection
        self._retry.clear()  # what was asked for before
        self._tell(supervision.connected(self._loop.time(), connection.attempts))
        await connection.wait_closed()
        self.connection = None
        return supervision.lost(self._loop.time(), connection.closed)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._retry.wait()
                self._retry.clear()
                self._supervision.changed()

    def _tell(self, change: KeepChange) -> None:
        if not self._supervision.is_news(change):
            return
        self._changed.set()
        tell_change(self.name, change, self._on_change)
