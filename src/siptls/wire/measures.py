"""Measures: what happens on connections, as numbers for a `siptls.metrics.Recorder`.

Each handshake is counted once, when it comes to its end, and each connection that came of one goes
up once and down once. Messages are counted as plain integers of their connection, and told at most
once a second: so a message costs no call of the application's code.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from siptls.errors import (
    Alert,
    ConnectionClosedError,
    FramingError,
    HandshakeTimeout,
    RefusedByPeerError,
    ResolutionError,
    SIPTLSError,
)
from siptls.journal import about
from siptls.journal import log as _log
from siptls.metrics import (
    CONNECTIONS,
    ENDED,
    HANDSHAKE_DURATION,
    HANDSHAKES,
    HELD_BACK,
    LIMITS_REACHED,
    MESSAGES,
    NOT_CONNECTED,
    Failure,
    How,
    Metric,
    Outcome,
    Recorder,
    check_recorder,
)
from siptls.trust.codes import Code
from siptls.trust.decision import Peer
from siptls.trust.evidence import Role
from siptls.trust.refusal import PeerRefusedError, TrustLostError

__all__ = ["Measures", "Tally", "as_measures"]

# Codes of the application's own policies that become labels. Prometheus advises to stay below ten
# values for a label; siptls itself has 26 codes.
_MOST_CODES = 32
_LONGEST_CODE = 64
_CODES = frozenset(map(str, Code))
# Seconds for which messages may be counted before they are told.
_PATIENCE = 1.0

_UNREACHABLE = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
)
_NONE = "none"


class Measures:
    """Tells a recorder what happens on the connections of those who share it.

    It may be called from any thread. Whatever the recorder raises is logged once.
    """

    __slots__ = ("__weakref__", "_codes", "_failed", "_recorder")

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._codes: set[str] = set()
        self._failed = False

    def tally(self, role: Role, now: float) -> Tally:
        """Begin to count one connection, whose handshake begins now."""
        return Tally(self, role, now)

    def not_connected(self, error: Exception) -> None:
        """A name had no address, or an address did not connect."""
        self.count(NOT_CONNECTED, 1, {"reason": str(_failure(error))})

    def limit_reached(self, limit: str) -> None:
        """A server has no room, because of this limit."""
        self.count(LIMITS_REACHED, 1, {"limit": limit})

    def count(self, metric: Metric, amount: int, labels: Mapping[str, str]) -> None:
        """Add to a counter."""
        self._tell(self._recorder.count, metric, amount, labels)

    def change(self, metric: Metric, amount: int, labels: Mapping[str, str]) -> None:
        """Add to a gauge."""
        self._tell(self._recorder.change, metric, amount, labels)

    def observe(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Take a value of a distribution."""
        self._tell(self._recorder.observe, metric, value, labels)

    def _tell(
        self,
        method: Callable[[str, Any, Mapping[str, str]], object],
        metric: Metric,
        value: float,
        labels: Mapping[str, str],
    ) -> None:
        try:
            method(metric.name, value, labels)
        except Exception:  # noqa: BLE001  whatever it is, it is the application's
            if not self._failed:
                self._failed = True
                _log.exception(
                    "metrics= failed for %s, which changes nothing else; this is told once",
                    metric.name,
                    extra=about("callback_failed"),
                )

    def code(self, code: str) -> str:
        """Give a reason code as a label: one of ours, or one of the first of the application's."""
        code = str(code)
        if code in _CODES or code in self._codes:
            return code
        if len(self._codes) >= _MOST_CODES or len(code) > _LONGEST_CODE:
            return "other"
        self._codes.add(code)
        return code


# Whoever passes the same recorder to several connections shares what is known of it.
_known: WeakValueDictionary[int, Measures] = WeakValueDictionary()


def as_measures(metrics: Recorder | Measures | None) -> Measures | None:
    """Give what tells a recorder; None where nothing is recorded.

    Raises:
        ConfigurationError: It is no recorder.
    """
    if metrics is None or isinstance(metrics, Measures):
        return metrics
    check_recorder(metrics)
    # While its measures are alive, they hold the recorder, so that nobody else has its number.
    return _known.setdefault(id(metrics), Measures(metrics))


class Tally:
    """What is counted of one connection. It belongs to whoever the connection belongs to.

    Attributes:
        by_us: It is we who have closed.
        overdue: It ends because something took too long.
        alert: The alert that we have sent in the handshake.
        not_tls: The first byte that came was none of TLS.
        due: When the messages are to be told, by the connection's timer; None if there are none.
    """

    __slots__ = (
        "_began",
        "_held",
        "_is_open",
        "_is_over",
        "_measures",
        "_received",
        "_role",
        "_sent",
        "_trust",
        "alert",
        "by_us",
        "due",
        "not_tls",
        "overdue",
    )

    def __init__(self, measures: Measures, role: Role, now: float) -> None:
        self._measures = measures
        self._role = str(role)
        self._trust = _NONE
        self._began = now
        self._received = self._sent = self._held = 0
        self._is_open = self._is_over = False
        self.by_us = self.overdue = self.not_tls = False
        self.alert: Alert | None = None
        self.due: float | None = None

    # ------------------------------------------------------------ the connection

    def accepted(self, peer: Peer | None, now: float, *, resumed: bool) -> None:
        """The handshake is done, and messages may flow."""
        self._is_open = True
        if peer is not None:
            self._trust = str(peer.trust)
        self._handshake(Outcome.ACCEPTED, str(Code.ACCEPTED), now, resumed=resumed)
        self._measures.change(CONNECTIONS, 1, self._whose)

    def ended(self, error: SIPTLSError, now: float) -> None:
        """The connection is over."""
        if self._is_over:
            return
        self._is_over = True
        if not self._is_open:
            outcome, code = self._outcome(error)
            self._handshake(outcome, code, now, resumed=False)
            return
        self._tell()
        how, code = self._how(error)
        self._measures.change(CONNECTIONS, -1, self._whose)
        self._measures.count(ENDED, 1, {"how": str(how), "code": code, **self._whose})

    @property
    def _whose(self) -> dict[str, str]:
        return {"role": self._role, "trust": self._trust}

    def _handshake(self, outcome: Outcome, code: str, now: float, *, resumed: bool) -> None:
        again = "yes" if resumed else "no"
        self._measures.count(
            HANDSHAKES,
            1,
            {"outcome": str(outcome), "code": code, **self._whose, "resumed": again},
        )
        self._measures.observe(
            HANDSHAKE_DURATION,
            max(0.0, now - self._began),
            {"outcome": str(outcome), "role": self._role, "resumed": again},
        )

    def _outcome(self, error: SIPTLSError) -> tuple[Outcome, str]:
        match error:
            case PeerRefusedError(decision=decision):
                return Outcome.REFUSED, self._measures.code(decision.code)
            case RefusedByPeerError(alert=alert):
                return Outcome.REFUSED_BY_PEER, _name(alert)
            case HandshakeTimeout():
                return Outcome.TIMEOUT, _NONE
            case ConnectionClosedError():
                return Outcome.CLOSED, self._closer
            case _:
                return Outcome.FAILED, "not_tls" if self.not_tls else _name(self.alert)

    def _how(self, error: SIPTLSError) -> tuple[How, str]:
        match error:
            case TrustLostError(decision=decision):
                return How.TRUST_LOST, self._measures.code(decision.code)
            case PeerRefusedError(decision=decision):
                return How.REFUSED, self._measures.code(decision.code)
            case RefusedByPeerError(alert=alert):
                return How.REFUSED_BY_PEER, _name(alert)
            case ConnectionClosedError() if self.by_us or error.orderly:
                return How.ORDERLY, self._closer
            case _ if self.overdue:
                return How.TIMEOUT, _NONE
            case ConnectionClosedError():
                return How.BROKEN, _NONE
            case FramingError():
                return How.FRAMING, _NONE
            case _:
                return How.FAILED, _NONE

    @property
    def _closer(self) -> str:
        return "by_us" if self.by_us else "by_peer"

    # ------------------------------------------------------------ messages

    def receive(self) -> None:
        """Count a message that has come; `tell_if_due` tells of it."""
        self._received += 1

    def hold(self) -> None:
        """Count a message that has to wait until its peer may send more."""
        self._held += 1

    def send(self, now: float) -> None:
        """Count what is sent in one piece."""
        self._sent += 1
        self.tell_if_due(now)

    def tell_if_due(self, now: float) -> None:
        """Tell what was counted, if it is time to."""
        if self.due is None:
            if self._received or self._sent or self._held:
                self.due = now + _PATIENCE
        elif now >= self.due:
            self._tell()

    def _tell(self) -> None:
        self.due = None
        for direction, amount in (("received", self._received), ("sent", self._sent)):
            if amount:
                self._measures.count(MESSAGES, amount, {"direction": direction, **self._whose})
        if self._held:
            self._measures.count(HELD_BACK, self._held, self._whose)
        self._received = self._sent = self._held = 0


def _name(alert: Alert | None) -> str:
    """An alert as a label: its name in RFC 8446 §6."""
    return _NONE if alert is None else alert.name.replace(" ", "_")


def _failure(error: Exception) -> Failure:
    if isinstance(error, ResolutionError):
        return Failure.RESOLUTION
    cause = error.__cause__
    if not isinstance(cause, OSError):
        return Failure.TIMEOUT  # nothing has come, not even an error
    if cause.errno == errno.ECONNREFUSED:
        return Failure.REFUSED
    if cause.errno == errno.ETIMEDOUT:
        return Failure.TIMEOUT
    return Failure.UNREACHABLE if cause.errno in _UNREACHABLE else Failure.OTHER
