"""Telling: what is said, in the log and to the application, of who was refused and what ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import frozen

from siptls.errors import ConnectionClosedError, RefusedByPeerError, SIPTLSError
from siptls.journal import about
from siptls.journal import log as _log
from siptls.trust.believed import Trust
from siptls.trust.decision import Decision, Peer
from siptls.trust.evidence import Role
from siptls.trust.names import ReferenceIdentity, printable
from siptls.trust.plain import shown_names
from siptls.trust.refusal import PeerRefusedError
from siptls.wire.measures import Measures

__all__ = ["Address", "OnRefused", "Teller", "Whom", "address_of", "is_known", "shown"]

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


@frozen
class Whom:
    """Whom a line of the log is about.

    Attributes:
        address: Its own.
        role: What it is.
        peer: Who it has proven to be; None before, or for nobody.
        reference: Whom we expected.
    """

    address: Address | None = None
    role: Role | None = None
    peer: Peer | None = None
    reference: ReferenceIdentity | None = None

    def about(self, event: str, **more: Any) -> dict[str, object]:
        """Give the attributes of a record."""
        peer = self.peer
        return about(
            event,
            address=self.address,
            role=self.role,
            expected=self.reference,
            trust=None if peer is None else peer.trust,
            names=() if peer is None else peer.domains | peer.hosts,
            **more,
        )


class Teller:
    """Tells of the peers of one transport. It may be called from any thread.

    What strangers can have logged is bounded: else whoever comes often enough fills a disk. Nothing
    is kept from the application. A stranger is who has proven nothing, or is only discovered.

    Args:
        on_refused: Called for each peer that our policy has refused.
        rate: Lines in a second, on average, about strangers; ten seconds' worth may come at once.
            None for any number.
        timer: Gives monotonic seconds.
        measures: Where limits that are reached are counted.
    """

    def __init__(
        self,
        on_refused: OnRefused | None = None,
        *,
        rate: float | None = None,
        timer: Callable[[], float] = time.monotonic,
        measures: Measures | None = None,
    ) -> None:
        self._on_refused = on_refused
        self._rate = rate
        self._timer = timer
        self._measures = measures
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
            fields = _about_refusal(decision, address, known=known)
            _log.warning("refused %s: %s: %s", where, decision.code, decision.reason, extra=fields)
            if _log.isEnabledFor(logging.DEBUG):
                fields["siptls_decision"] = decision.to_dict()
                _log.debug("refused %s: %s", where, decision.explain(), extra=fields)
        if self._on_refused is None:
            return
        try:
            self._on_refused(decision, address)
        except Exception:  # noqa: BLE001  whatever it is, it is the application's
            if self._may_log(logging.ERROR):
                _log.exception(
                    "on_refused failed; the peer is refused all the same",
                    extra=about("callback_failed", address=address, code=decision.code),
                )

    def ended(  # noqa: PLR0913  what is known of it
        self,
        reason: SIPTLSError,
        address: Address | None,
        *,
        known: bool,
        accepted: bool,
        silent: bool = False,
        whom: Whom | None = None,
    ) -> None:
        """Tell that a connection is over; a refusal of ours is told already.

        Args:
            reason: Why.
            address: The peer's.
            known: Whether the peer is no stranger.
            accepted: Whether the handshake had been done: whoever has the ends of connections
                logged wants all of them, but not those of a port scan.
            silent: Whether it is a client that has sent nothing at all, as a health check does.
            whom: Who it was; by default nobody but an address.
        """
        if isinstance(reason, PeerRefusedError):
            return
        level = logging.INFO if isinstance(reason, ConnectionClosedError) else logging.WARNING
        if silent and level == logging.INFO:
            level = logging.DEBUG
        is_free = known or (accepted and level == logging.INFO)
        if is_free or self._may_log(level):
            whom = Whom(address) if whom is None else whom
            event = "connection_ended" if accepted else "handshake_failed"
            code = reason.alert.name if isinstance(reason, RefusedByPeerError) else None
            fields = whom.about(event, error=reason, code=code)
            _log.log(
                level, "the connection with %s is over: %s", shown(address), reason, extra=fields
            )

    def warn(
        self,
        message: str,
        *words: object,
        known: bool = False,
        event: str | None = None,
        whom: Whom | None = None,
    ) -> None:
        """Write a line: one that a stranger may cause unless there were too many."""
        if known or self._may_log(logging.WARNING):
            fields = (Whom() if whom is None else whom).about(event) if event else None
            _log.warning(message, *words, extra=fields)

    def lost(self, message: str, address: Address | None, error: Exception) -> None:
        """As `warn`, of a connection that a client has opened, and that could not be begun."""
        if self._may_log(logging.WARNING):
            fields = about("connection_lost", address=address, role=Role.CLIENT, error=error)
            _log.warning(message, shown(address), error, extra=fields)

    def error(self, message: str, *words: object, address: Address | None = None) -> None:
        """As `warn`, of what is wrong with this machine, and a stranger may bring about."""
        if self._may_log(logging.ERROR):
            _log.error(message, *words, extra=about("accept_failed", address=address))

    def limit_reached(
        self, message: str, *words: object, limit: str, address: Address | None = None
    ) -> None:
        """As `warn`, of a server that has no room; it is counted each time.

        Args:
            message: What is said.
            words: What stands in it.
            limit: The name of the limit.
            address: Of whom is turned away; None if who comes has to wait.
        """
        if self._measures is not None:
            self._measures.limit_reached(limit)
        if self._may_log(logging.WARNING):
            fields = about("limit_reached", address=address, role=Role.CLIENT, limit=limit)
            _log.warning(message, *words, extra=fields)

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
                extra=about("lines_left_out", left_out=left_out),
            )


def _about_refusal(
    decision: Decision, address: Address | None, *, known: bool
) -> dict[str, object]:
    """The attributes of a refusal. None of the names is believed."""
    evidence = decision.evidence
    presented = () if evidence is None else (printable(name) for name in shown_names(evidence))
    return about(
        "trust_lost" if known else "peer_refused",
        address=address,
        role=None if evidence is None else evidence.role,
        expected=None if evidence is None else evidence.reference,
        presented=presented,
        code=decision.code,
        reason=decision.reason,
    )
