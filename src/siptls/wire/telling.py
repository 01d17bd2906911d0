"""Telling: what is said, in the log and to the application, of who was refused and what ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from siptls.errors import ConnectionClosedError, SIPTLSError
from siptls.trust.decision import Decision
from siptls.trust.refusal import PeerRefusedError

__all__ = ["Address", "OnRefused", "address_of", "shown", "tell_end", "tell_refused"]

_log = logging.getLogger("siptls")

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


def tell_refused(decision: Decision, address: Address | None, on_refused: OnRefused | None) -> None:
    """Tell that our policy has refused a peer; whatever the callback does, it is refused."""
    where = shown(address)
    _log.warning("refused %s: %s: %s", where, decision.code, decision.reason)
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug("refused %s: %s", where, decision.explain())
    if on_refused is None:
        return
    try:
        on_refused(decision, address)
    except Exception:  # noqa: BLE001  whatever it is, it is the application's
        _log.exception("on_refused failed; the peer is refused all the same")


def tell_end(reason: SIPTLSError, address: Address | None) -> None:
    """Tell that a connection is over; a refusal of ours is told already."""
    if isinstance(reason, PeerRefusedError):
        return
    level = logging.INFO if isinstance(reason, ConnectionClosedError) else logging.WARNING
    _log.log(level, "the connection with %s is over: %s", shown(address), reason)
