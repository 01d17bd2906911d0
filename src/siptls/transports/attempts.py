"""Attempts: what went wrong with each address, and what of it is told."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence

from siptls.errors import (
    Attempt,
    ConnectionClosedError,
    HandshakeError,
    HandshakeTimeout,
    RefusedByPeerError,
    SIPTLSError,
)
from siptls.transports.resolution import Target
from siptls.trust.names import SIPURI, ReferenceIdentity
from siptls.trust.refusal import PeerRefusedError
from siptls.wire.telling import Address

__all__ = ["closed_by_us", "cut_short", "failure", "no_answer", "not_reached", "port_of", "without"]

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
    why = error.strerror or str(error)
    if error.errno and not isinstance(error, socket.gaierror):  # whose numbers are of another list
        why = os.strerror(error.errno)
    closed = ConnectionClosedError(
        f"cannot connect to {target.address} port {target.port} ({why}); is the server running"
        " there?"
    )
    closed.__cause__ = error
    return closed


def closed_by_us(attempts: Sequence[Attempt]) -> ConnectionClosedError:
    """The transport was closed while it connected."""
    error = ConnectionClosedError("the transport was closed by us during connect()")
    error.attempts = attempts
    return error


def cut_short(target: Target, seconds: float, *, connected: bool) -> SIPTLSError:
    """The time for all addresses was over while this one was tried."""
    where = f"{target.address} port {target.port}"
    if connected:
        return HandshakeTimeout(
            f"the handshake with {where} had not ended when the {seconds:g} s that connect() has"
            " were over; is it a TLS server, and not overloaded?"
        )
    return ConnectionClosedError(
        f"{where} had not answered when the {seconds:g} s that connect() has were over; is the"
        " address right, and no firewall in between?"
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


def without(targets: list[Target], avoid: Mapping[Address, PeerRefusedError]) -> list[Target]:
    """Leave out what was refused; if that is all, it is refused as it was."""
    left = [target for target in targets if (target.address, target.port) not in avoid]
    if not left:
        attempts = [
            Attempt(address, target.host, avoid[address])
            for target in targets
            for address in [(target.address, target.port)]
        ]
        raise failure(targets[0].reference, attempts)
    return left
