"""Kept: a connection that is opened again when it is lost; see ``transports/supervision.py``.

It has a thread of its own, which connects, and while the connection is there reads it: so its pings
are sent and answered, and its end is noticed, whether or not the application waits in `receive`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

from siptls.errors import SIPTLSError
from siptls.transports.blocking.connection import Closing, Connection
from siptls.transports.blocking.stopping import Stop
from siptls.transports.blocking.timeouts import end_of, left, timed_out
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

Open: TypeAlias = Callable[[dict[Address, PeerRefusedError], Stop], Connection]


class Kept(Closing):
    """A connection that stays. `TLSClientTransport.keep` makes it; you do not.

    All of its methods may be called from any thread.

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
        self._stop = Stop()
        self._changed = threading.Condition()
        self._retry = False
        self._thread = threading.Thread(target=self._run, name=f"siptls keep {name}", daemon=True)
        self._thread.start()

    @property
    def state(self) -> KeepState:
        """How it is getting on."""
        return self._supervision.state

    def connected(self, *, timeout: float | None = None) -> Connection:
        """Give the live connection, waiting for it.

        Args:
            timeout: Seconds; None waits for ever.

        Raises:
            ConnectionClosedError: It was closed.
            OperationTimeout: There was none in time.
        """
        end = end_of(timeout)
        while True:
            with self._changed:
                connection, state = self.connection, self.state
            if connection is not None and connection.usable:
                return connection
            if state is KeepState.CLOSED:
                raise kept_no_more(self.name)
            with self._changed:
                if self.connection is connection and self.state is state:
                    self._changed.wait(left(end))
            if left(end) == 0:
                raise timed_out(f"the connection to {self.name}", timeout)

    def retry(self) -> None:
        """Try at once: something has changed, so that even who was refused may be accepted now."""
        with self._changed:
            self._retry = True
            self._changed.notify_all()

    def close(self) -> None:
        """Close the connection in order, and open it no more.

        A question to a resolver that is under way has to come to its end before.
        """
        self.close_soon()
        if threading.current_thread() is not self._thread:  # it may be called by `on_change`
            self._thread.join()

    def __repr__(self) -> str:
        return f"<Kept {self.name}: {self.state}>"

    def close_soon(self) -> None:
        """Say that it ends, and wait for nothing. The transport calls it."""
        self._stop.stop()
        with self._changed:
            self._changed.notify_all()

    # ------------------------------------------------------------ its thread

    def _run(self) -> None:
        try:
            while not self._stop.stopped:
                self._tell(KeepChange(KeepState.CONNECTING))
                change = self._once()
                if not self._stop.stopped:
                    self._tell(change)
                    self._pause(change.retry_in or 0.0)
        except Exception as error:  # noqa: BLE001  a fault of ours, or of a resolver
            # It would end in silence otherwise, and whoever waits would wait for ever.
            self._tell(given_up(self.name, error))
        else:
            self._tell(KeepChange(KeepState.CLOSED))

    def _once(self) -> KeepChange:
        """Open a connection, and wait for its end; or for what has come instead."""
        supervision = self._supervision
        try:
            connection = self._open(supervision.refused, self._stop)
        except SIPTLSError as error:
            return supervision.failed(error)
        self.connection = connection
        with self._changed:
            self._retry = False  # what was asked for before
        try:
            self._tell(supervision.connected(time.monotonic(), connection.attempts))
            with self._stop.by(connection.close_soon):
                connection.wait_closed()
        finally:
            self.connection = None
            connection.close()
        return supervision.lost(time.monotonic(), connection.closed)

    def _pause(self, seconds: float) -> None:
        with self._changed:
            again = self._changed.wait_for(lambda: self._retry or self._stop.stopped, seconds)
            self._retry = False
        if again:
            self._supervision.changed()

    def _tell(self, change: KeepChange) -> None:
        with self._changed:
            if not self._supervision.is_news(change):
                return
            self._changed.notify_all()
        tell_change(self.name, change, self._on_change)
