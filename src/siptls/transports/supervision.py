"""Supervision: when a connection that is to stay is opened again (RFC 5626 §4.5).

How it thinks. A connection that has lived is opened again at once. One that never came about, or
ended soon after, has failed, and each failure doubles the time until the next try. A peer that the
policy has refused is not connected to again, whatever the time, until something has changed: other
addresses in DNS, or what the application tells with `Kept.retry`.

Nothing here reads a clock or touches a connection: both worlds follow the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, TypeAlias

from attrs import field, frozen

from siptls.arguments import Kind
from siptls.errors import Attempt, ConfigurationError, ConnectionClosedError, SIPTLSError
from siptls.journal import about
from siptls.journal import log as _log
from siptls.trust.refusal import PeerRefusedError
from siptls.wire.telling import Address

__all__ = [
    "IS_BACKOFF",
    "Backoff",
    "KeepChange",
    "KeepState",
    "OnChange",
    "Supervision",
    "given_up",
    "kept_no_more",
    "tell_change",
]


# Addresses that are remembered as refused: a DNS that names ever new ones does not fill memory.
_MOST_REFUSED = 128


def _seconds(_: object, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
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

    def __attrs_post_init__(self) -> None:
        if self.longest < self.base:
            raise ConfigurationError(
                f"Backoff.longest is no less than base, which is {self.base:g} s: not"
                f" {self.longest:g}"
            )


IS_BACKOFF = Kind(Backoff, "write Backoff(base=30), or leave it out", optional=True)


class KeepState(StrEnum):
    """How a connection that is to stay is getting on.

    Attributes:
        CONNECTING: It is being opened.
        UP: It is there.
        WAITING: It was lost, or could not be opened, and will be tried again.
        REFUSED: The policy has refused every address. None of them is connected to again until
            something changes.
        CLOSED: The application has closed it; or, if there is an error with it, something that
            should never happen has ended it.
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
        retry_in: Seconds until the next try, or until addresses are looked for again, which is
            told only if something comes of it; None if none is planned.
    """

    state: KeepState
    error: SIPTLSError | None = None
    retry_in: float | None = None


_NEXT = {
    KeepState.WAITING: "next try",
    KeepState.REFUSED: "other addresses are looked for",
}

OnChange: TypeAlias = Callable[[KeepChange], object]


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
        self._told: KeepChange | None = None
        self.refused: dict[Address, PeerRefusedError] = {}
        """The addresses whose peers the policy has refused, each with its error."""

    @property
    def state(self) -> KeepState:
        """The last one that was told."""
        return KeepState.CONNECTING if self._told is None else self._told.state

    def is_news(self, change: KeepChange) -> bool:
        """Note a change, and say whether to tell it.

        While every address is refused, they are looked for in silence: nobody connects, and who was
        refused stays refused for the same reason.
        """
        told = self._told
        if told is not None and told.state is KeepState.REFUSED and self.refused:
            if change.state is KeepState.CONNECTING:
                return False
            if change.state is KeepState.REFUSED and change.error is told.error:
                return False
        self._told = change
        return True

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
        for oldest in list(self.refused)[:-_MOST_REFUSED]:
            del self.refused[oldest]

    def _wait(self) -> float:
        self._failures += 1
        # A large power would be no float any more.
        longest = self._backoff.base * 2.0 ** min(self._failures, 64)
        return min(longest, self._backoff.longest) * (1 + self._random()) / 2


def given_up(name: str, error: Exception) -> KeepChange:
    """Give the end that a fault of ours, or of a resolver's, is."""
    closed = ConnectionClosedError(f"the connection to {name} is kept no more: {error!r:.200}")
    closed.__cause__ = error
    _log.error("%s", closed, exc_info=error, extra=about("keep_closed", expected=name, error=error))
    return KeepChange(KeepState.CLOSED, closed)


def kept_no_more(name: str) -> ConnectionClosedError:
    """Give the error for whoever waits for a connection that is kept no more."""
    return ConnectionClosedError(f"the connection to {name} is kept no more; keep it anew")


def tell_change(name: str, change: KeepChange, on_change: OnChange | None) -> None:
    """Tell, in the log and to the application, how the connection to somebody is getting on."""
    if change.error is not None and change.state in _NEXT:
        _log.warning(
            "the connection to %s is %s: %s; %s in %.0f s",
            *(name, change.state, change.error, _NEXT[change.state], change.retry_in or 0),
            extra=about(f"keep_{change.state}", role="server", expected=name, error=change.error),
        )
    if on_change is None:
        return
    try:
        on_change(change)
    except Exception:  # noqa: BLE001  whatever it is, it is the application's
        _log.exception(
            "on_change failed; the connection to %s is kept all the same",
            name,
            extra=about("callback_failed", role="server", expected=name),
        )
