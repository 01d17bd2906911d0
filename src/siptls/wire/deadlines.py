"""Deadlines: what has to happen on a connection, and until when.

Nothing that waits for a peer waits for ever. Each wait has its limit in `Limits`, and each limit
its sentence here; the connection asks after every read when to look again, and whoever owns the
clock calls it then. The pings of RFC 5626 are a deadline of our own: when one is due, it is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

from siptls.errors import (
    ConfigurationError,
    ConnectionClosedError,
    FramingError,
    HandshakeTimeout,
    SIPTLSError,
)
from siptls.wire.limits import Limits

__all__ = ["Deadlines", "check_keep_alive"]

# RFC 5626 §4.4.1: each interval is a random one between this part of it and the whole, so that
# clients that were connected together do not ping together.
_LEAST_PART = 0.8
# Seconds after which the clock is looked at again: it may be set, and timers do not notice.
_LONGEST_TRUST = 7200.0
# And at least: a policy that accepts what has ended by its own word is not asked without a pause.
_SHORTEST_TRUST = 0.05


def check_keep_alive(seconds: object) -> None:
    """Check the longest time between two pings; None is no fault, and means none.

    Raises:
        ConfigurationError: It is no number of seconds.
    """
    if seconds is None:
        return
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (is_number and 0 < cast("float", seconds) < math.inf):
        raise ConfigurationError(
            "keep_alive= is the longest time between two pings, a positive number of seconds such"
            f" as 120, or None for no pings; not {seconds!r}"
        )


class Deadlines:
    """The deadlines of one connection. Times are seconds of its timer.

    Args:
        limits: The durations.
        now: When the connection begins.
        keep_alive: The longest time between two pings of ours; None for none.
        random: Gives numbers from 0 to 1.
        awaits_message: Whether the peer has to speak first, as whoever has connected to us has.
    """

    __slots__ = (
        "_awaits_message",
        "_close",
        "_fixed",
        "_handshake",
        "_heard",
        "_keep_alive",
        "_limits",
        "_message",
        "_ping",
        "_pongs",
        "_random",
        "_silence",
        "_trust",
    )

    def __init__(
        self,
        limits: Limits,
        now: float,
        *,
        keep_alive: float | None,
        random: Callable[[], float],
        awaits_message: bool,
    ) -> None:
        self._limits = limits
        self._keep_alive = keep_alive
        self._random = random
        self._awaits_message = awaits_message
        self._handshake: float | None = now + limits.handshake_timeout
        self._message: float | None = None
        self._close: float | None = None
        self._ping: float | None = None
        self._trust: float | None = None  # when to look whether the peer is trusted still
        self._pongs: list[tuple[float, bool]] = []
        self._heard = now
        self._silence: float | None = None  # seconds that the peer may be silent from now on
        self._fixed: float | None = self._handshake  # the earliest, but for the peer's silence

    @property
    def next(self) -> float | None:
        """When to look again; None if nothing is waited for."""
        if self._silence is None:
            return self._fixed
        silent = self._heard + self._silence
        return silent if self._fixed is None or silent < self._fixed else self._fixed

    # ------------------------------------------------------------ what happens

    def accepted(self, now: float) -> None:
        """The handshake is done: messages may flow."""
        self._handshake = None
        self._heard = now
        if self._awaits_message:
            self._silence = self._limits.first_message_timeout
        else:
            self._silence = self._limits.idle_timeout
        self._plan_ping(now)
        self._settle()

    def heard(self, now: float) -> None:
        """Something has come from the peer."""
        self._heard = now
        if self._awaits_message:
            self._awaits_message = False
            self._silence = self._limits.idle_timeout

    def message_begun(self, now: float) -> None:
        """A message has begun, and is not whole."""
        self._message = now + self._limits.message_timeout
        self._settle()

    def message_ended(self) -> None:
        """No message is half here."""
        if self._message is not None:
            self._message = None
            self._settle()

    def pinged(self, now: float, *, asked: bool) -> None:
        """A ping was sent; ``asked`` by the application, which is told of the pong."""
        self._pongs.append((now + self._limits.pong_timeout, asked))
        self._settle()

    def ponged(self) -> bool:
        """A pong has come; whether the application has asked for it."""
        _, asked = self._pongs.pop(0)
        self._settle()
        return asked

    def trusted(self, now: float, seconds: float) -> float:
        """The peer's trust ends in so many seconds, by a clock that may be set meanwhile.

        Returns:
            When to look.
        """
        self._trust = now + min(max(seconds, _SHORTEST_TRUST), _LONGEST_TRUST)
        self._settle()
        return self._trust

    def closing(self, now: float) -> None:
        """We close: all that is waited for is the peer's part in it."""
        self._close = now + self._limits.close_timeout
        self._message = self._ping = self._silence = self._trust = None
        self._pongs.clear()
        self._settle()

    def resumed(self, now: float) -> None:
        """Nobody was reading until now: whatever may have come since has its whole time again."""
        if self._close is not None or self._handshake is not None:
            return
        self._heard = now
        if self._message is not None:
            self._message = now + self._limits.message_timeout
        late = now + self._limits.pong_timeout
        self._pongs = [(max(due, late), asked) for due, asked in self._pongs]
        self._settle()

    # ------------------------------------------------------------ what is due

    def is_ping_due(self, now: float) -> bool:
        """Whether a ping is to be sent; then the next one is planned."""
        if self._ping is None or now < self._ping:
            return False
        self._plan_ping(now)
        self._settle()
        return True

    def overdue(self, now: float) -> SIPTLSError | None:
        """Give the error for what has taken too long; None if nothing has."""
        limits = self._limits
        if self._close is not None:
            if now < self._close:
                return None
            return ConnectionClosedError("closed by us; the peer did not close its side in time")
        if self._handshake is not None:
            if now < self._handshake:
                return None
            return HandshakeTimeout(
                f"the TLS handshake took more than {limits.handshake_timeout:g} s; is the peer"
                " speaking TLS at all, or is the network losing bytes?"
            )
        if self._message is not None and now >= self._message:
            return FramingError(
                f"a message took more than {limits.message_timeout:g} s to arrive; the peer is"
                " stuck, or keeps the connection busy on purpose"
            )
        if self._pongs and now >= self._pongs[0][0]:
            return ConnectionClosedError(
                f"no pong within {limits.pong_timeout:g} s of a ping, so that the flow has failed"
                " (RFC 5626 §4.4.1); connect again"
            )
        if self._silence is not None and now >= self._heard + self._silence:
            if self._awaits_message:
                return ConnectionClosedError(
                    f"the peer has said nothing within {self._silence:g} s of the handshake; raise"
                    " Limits.first_message_timeout if it means well, or have it send keep-alives"
                )
            return ConnectionClosedError(
                f"nothing has come for {self._silence:g} s; raise Limits.idle_timeout if the peer"
                " means well, or turn keep-alives on"
            )
        return None

    # ------------------------------------------------------------ inside

    def _plan_ping(self, now: float) -> None:
        if self._keep_alive is not None:
            part = _LEAST_PART + (1 - _LEAST_PART) * self._random()
            self._ping = now + part * self._keep_alive

    def _settle(self) -> None:
        times = [self._handshake, self._message, self._close, self._ping, self._trust]
        if self._pongs:
            times.append(self._pongs[0][0])
        self._fixed = min((time for time in times if time is not None), default=None)
