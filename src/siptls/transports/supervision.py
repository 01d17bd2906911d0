"""Supervision: when a connection that is to stay is opened again (RFC 5626 §4.5).

How it thinks. A connection that has lived is opened again at once. One that never came about, or
ended soon after, has failed, and each failure doubles the time until the next try. A peer that the
policy has refused is not connected to again, whatever the time, until something has changed: other
addresses in DNS, or what the application tells with `Kept.retry`.

Nothing here reads a clock or touches a connection: both worlds follow the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from siptls.arguments import Kind
from siptls.errors import Attempt, ConfigurationError, SIPTLSError
from siptls.trust.decision import PeerRefusedError
from siptls.wire.telling import Address

__all__ = ["IS_BACKOFF", "Backoff", "KeepChange", "KeepState", "Supervision"]


def _seconds(_: object, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigurationError(
            f"Backoff.{attribute.name} is a positive number of seconds, not {value!r}"
        )


@frozen
class Backoff:
    """How long to wait between tries, in seconds (RFC 5626 §4.5).

    After ``n`` failures in a row it is a random time between a half and the whole of ``base`` times
    2 to the ``n``, and never more than ``longest``.

    Attributes:
        base: Also how long a connection has to live for its end to be no failure.
        longest: The upper bound.
    """

    base: float = field(default=30.0, validator=_seconds)
    longest: float = field(default=1800.0, validator=_seconds)


IS_BACKOFF = Kind(Backoff, "write Backoff(base=30), or leave it out", optional=True)


class KeepState(StrEnum):
    """How a connection that is to stay is getting on.

    Attributes:
        CONNECTING: It is being opened.
        UP: It is there.
        WAITING: It was lost, or could not be opened, and will be tried again.
        REFUSED: The policy has refused every address. None of them is connected to again until
            something changes.
        CLOSED: The application has closed it.
    """

    CONNECTING = "connecting"
    UP = "up"
    WAITING = "waiting"
    REFUSED = "refused"
    CLOSED = "closed"


@frozen
class KeepChange:
    """A change of state.

    Attributes:
        state: The new one.
        error: Why, if it is no good one.
        retry_in: Seconds until the next try, or until addresses are looked for again; None if none
            is planned.
    """

    state: KeepState
    error: SIPTLSError | None = None
    retry_in: float | None = None


class Supervision:
    """Says how long to wait, and whom not to try.

    Args:
        backoff: How long.
        random: Gives numbers from 0 to 1.
    """

    def __init__(self, backoff: Backoff, random: Callable[[], float]) -> None:
        self._backoff = backoff
        self._random = random
        self._failures = 0
        self._since: float | None = None
        self.refused: dict[Address, PeerRefusedError] = {}
        """The addresses whose peers the policy has refused, each with its error."""

    def connected(self, now: float, attempts: Iterable[Attempt]) -> KeepChange:
        """A connection is there; ``attempts`` were in vain before."""
        self._since = now
        self._note(attempts)
        return KeepChange(KeepState.UP)

    def lost(self, now: float, error: SIPTLSError | None) -> KeepChange:
        """The connection is over."""
        lived = 0.0 if self._since is None else now - self._since
        self._since = None
        if lived >= self._backoff.base:
            self._failures = 0
            return KeepChange(KeepState.WAITING, error, 0.0)
        return KeepChange(KeepState.WAITING, error, self._wait())

    def failed(self, error: SIPTLSError) -> KeepChange:
        """No connection came about."""
        self._note(error.attempts)
        refused = [isinstance(attempt.error, PeerRefusedError) for attempt in error.attempts]
        all_refused = isinstance(error, PeerRefusedError) and all(refused)
        state = KeepState.REFUSED if all_refused else KeepState.WAITING
        return KeepChange(state, error, self._wait())

    def changed(self) -> None:
        """Something is different now: everybody may be tried again, and at once."""
        self._failures = 0
        self.refused.clear()

    def _note(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            if isinstance(attempt.error, PeerRefusedError):
                self.refused[attempt.address] = attempt.error

    def _wait(self) -> float:
        self._failures += 1
        # A large power would be no float any more.
        longest = self._backoff.base * 2.0 ** min(self._failures, 64)
        return min(longest, self._backoff.longest) * (1 + self._random()) / 2
