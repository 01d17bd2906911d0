"""Timeouts as the times at which they end: seconds of the monotonic clock, or None for never."""

from __future__ import annotations

import math
import time
from typing import Any

from siptls.errors import ConfigurationError, OperationTimeout

__all__ = ["earlier", "end_of", "left", "milliseconds", "timed_out"]

# Seconds above which a timeout is for ever; ``poll`` takes 24 days.
_LONG = 1_000_000.0


def end_of(timeout: float | None) -> float | None:
    """Check a timeout, in seconds, and give its end; None if it has none.

    Raises:
        ConfigurationError: It is no number of seconds.
    """
    if timeout is None or timeout == math.inf:
        return None
    given: Any = timeout  # typed callers pass a number; the others deserve a sentence
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
        raise ConfigurationError(f"timeout= is seconds, or None for ever, not {timeout!r}")
    return time.monotonic() + min(timeout, _LONG)


def left(end: float | None) -> float | None:
    """Seconds until then, and 0 after it."""
    return None if end is None else max(0.0, end - time.monotonic())


def earlier(one: float | None, other: float | None) -> float | None:
    """Whichever comes first."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def milliseconds(end: float | None) -> int | None:
    """What ``poll`` takes: rounded up, so that it does not turn too early."""
    seconds = left(end)
    return None if seconds is None else math.ceil(min(seconds, _LONG) * 1000)


def timed_out(what: str, timeout: float | None) -> OperationTimeout:
    """Give the error for something that did not come to its end."""
    return OperationTimeout(f"{what} did not come to its end within {timeout} s")
