"""Openings: the connects that are under way, so that those for one peer become one connection.

Of all who want the same peer at the same time, the first one leads: it connects, and the others
wait for what comes of it. If it gives up without an outcome, because it was cancelled or had less
time than the others, the next one leads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeAlias, TypeVar

from siptls.errors import OperationTimeout, SIPTLSError
from siptls.transports.known import Known

__all__ = ["Openings", "Outcome", "of_outcome"]

Held = TypeVar("Held", bound=Known)

Outcome: TypeAlias = Future["Held | SIPTLSError | None"]


class Openings(Generic[Held]):
    """What a transport is opening at the moment, by whom it is for and as whom we come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, Outcome[Held]] = {}

    def join(self, wanted: Hashable) -> Outcome[Held] | None:
        """Give what another one's connect will come to; None if the caller is to `lead` now."""
        with self._lock:
            running = self._running.get(wanted)
            if running is None:
                self._running[wanted] = Future()
            return running

    @contextmanager
    def lead(self, wanted: Hashable) -> Iterator[Callable[[Held], None]]:
        """Tell those who have joined what comes of it.

        Gives:
            What is called with the connection when it is there.
        """
        outcome: Held | SIPTLSError | None = None

        def opened(connection: Held) -> None:
            nonlocal outcome
            outcome = connection

        try:
            yield opened
        except OperationTimeout:  # of the caller's own, which says nothing about the peer
            raise
        except SIPTLSError as error:
            outcome = error
            raise
        finally:
            with self._lock:
                running = self._running.pop(wanted)
            running.set_result(outcome)


def of_outcome(outcome: Held | SIPTLSError | None) -> Held | None:
    """Give the connection, if it is still of use; None if the caller has to see for itself.

    Raises:
        SIPTLSError: There was none to be had.
    """
    if isinstance(outcome, SIPTLSError):
        raise outcome
    return outcome if outcome is not None and outcome.usable else None
