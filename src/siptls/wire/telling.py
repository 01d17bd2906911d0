"""Telling: what is said, in the log and to the application, of who was refused and what ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

from siptls.errors import ConnectionClosedError, SIPTLSError
from siptls.journal import log as _log
from siptls.trust.believed import Trust
from siptls.trust.decision import Decision, Peer
from siptls.trust.refusal import PeerRefusedError

__all__ = ["Address", "OnRefused", "Teller", "address_of", "is_known", "shown"]

# Seconds: how long nothing must have been logged for the most lines to be written at once.
_BURST = 10.0

Address: TypeAlias = tuple[str, int]
OnRefused: TypeAlias = Callable[[Decision, Address | None], object]


def address_of(name: object) -> Address | None:
    """The host and the port of a socket's name; a Unix socket has neither."""
    match name:
        case (str(host), int(port), *_):
            return host, port
        case _:
            return None


def shown(address: Address | None) -> str:
    """Give an address for a log."""
    return "an unknown address" if address is None else f"{address[0]} port {address[1]}"


def is_known(peer: Peer | None) -> bool:
    """Whether a peer is more than a stranger: a certificate for a name of his own anybody has."""
    return peer is not None and peer.trust not in {Trust.DISCOVERED, Trust.PUBLIC}


class Teller:
    """Tells of the peers of one transport. It may be called from any thread.

    What strangers can have logged is bounded: else whoever comes often enough fills a disk. Nothing
    is kept from the application. A stranger is who has proven nothing, or is only discovered.

    Args:
        on_refused: Called for each peer that our policy has refused.
        rate: Lines in a second, on average, about strangers; ten seconds' worth may come at once.
            None for any number.
        timer: Gives monotonic seconds.
    """

    def __init__(
        self,
        on_refused: OnRefused | None = None,
        *,
        rate: float | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_refused = on_refused
        self._rate = rate
        self._timer = timer
        self._lock = threading.Lock()
        self._most = 0.0 if rate is None else max(1.0, rate * _BURST)
        self._allowed = self._most  # lines that may be written at once
        self._since = timer()
        self._left_out = 0

    def refused(self, decision: Decision, address: Address | None, *, known: bool = False) -> None:
        """Tell that our policy has refused a peer; whatever the callback does, it is refused.

        Args:
            decision: Why.
            address: The peer's.
            known: Whether it was trusted before.
        """
        where = shown(address)
        if known or self._may_log(logging.WARNING):
            _log.warning("refused %s: %s: %s", where, decision.code, decision.reason)
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("refused %s: %s", where, decision.explain())
        if self._on_refused is None:
            return
        try:
            self._on_refused(decision, address)
        except Exception:  # noqa: BLE001  whatever it is, it is the application's
            if self._may_log(logging.ERROR):
                _log.exception("on_refused failed; the peer is refused all the same")

    def ended(
        self, reason: SIPTLSError, address: Address | None, *, known: bool, accepted: bool
    ) -> None:
        """Tell that a connection is over; a refusal of ours is told already.

        Args:
            reason: Why.
            address: The peer's.
            known: Whether the peer is no stranger.
            accepted: Whether the handshake had been done: whoever has the ends of connections
                logged wants all of them, but not those of a port scan.
        """
        if isinstance(reason, PeerRefusedError):
            return
        level = logging.INFO if isinstance(reason, ConnectionClosedError) else logging.WARNING
        is_free = known or (accepted and level == logging.INFO)
        if is_free or self._may_log(level):
            _log.log(level, "the connection with %s is over: %s", shown(address), reason)

    def warn(self, message: str, *words: object, known: bool = False) -> None:
        """Write a line: one that a stranger may cause unless there were too many."""
        if known or self._may_log(logging.WARNING):
            _log.warning(message, *words)

    def error(self, message: str, *words: object) -> None:
        """As `warn`, of what is wrong with this machine, and a stranger may bring about."""
        if self._may_log(logging.ERROR):
            _log.error(message, *words)

    def _may_log(self, level: int) -> bool:
        """Whether one more line may be written; tells before how many were not."""
        if self._rate is None or not _log.isEnabledFor(level):
            return True
        with self._lock:
            now = self._timer()
            self._allowed = min(self._most, self._allowed + (now - self._since) * self._rate)
            self._since = now
            if self._allowed < 1:
                self._left_out += 1
                return False
            self._allowed -= 1
        self.sum_up()
        return True

    def sum_up(self) -> None:
        """Tell how many lines were left out since it was told last."""
        with self._lock:
            left_out, self._left_out = self._left_out, 0
        if left_out:
            _log.warning(
                "%d lines about strangers were left out: Limits.log_rate is %g in a second",
                *(left_out, self._rate),
            )
