"""Attempts: what went wrong with each address, and what of it is told."""

from __future__ import annotations

import os
from collections.abc import Sequence

from siptls.errors import (
    Attempt,
    ConnectionClosedError,
    HandshakeError,
    RefusedByPeerError,
    SIPTLSError,
)
from siptls.transports.resolution import Target
from siptls.trust.decision import PeerRefusedError
from siptls.trust.names import SIPURI, ReferenceIdentity

__all__ = ["failure", "no_answer", "not_reached", "port_of"]

# What says most comes first.
_TELLING = (PeerRefusedError, RefusedByPeerError, HandshakeError)


def port_of(target: str | ReferenceIdentity) -> int | None:
    """The port in a SIP URI, or None."""
    uri = SIPURI.match(target) if isinstance(target, str) else None
    return None if uri is None else uri.port


def no_answer(target: Target, seconds: float) -> ConnectionClosedError:
    """The address did not answer in time."""
    return ConnectionClosedError(
        f"{target.address} port {target.port} did not answer within {seconds:g} s; is the address"
        " right, and no firewall in between?"
    )


def not_reached(target: Target, error: OSError) -> ConnectionClosedError:
    """The system could not connect."""
    why = os.strerror(error.errno) if error.errno else str(error)
    return ConnectionClosedError(
        f"cannot connect to {target.address} port {target.port} ({why}); is the server running"
        " there?"
    )


def failure(reference: ReferenceIdentity, attempts: Sequence[Attempt]) -> SIPTLSError:
    """Of all that went wrong, give what says most; it has all attempts with it."""
    errors = [attempt.error for attempt in attempts]
    for kind in _TELLING:
        for error in errors:
            if isinstance(error, kind):
                error.attempts = attempts
                return error.with_traceback(None)
    told = "; ".join(str(error) for error in errors)
    closed = ConnectionClosedError(f"no connection to {reference}: {told}")
    closed.attempts = attempts
    return closed
