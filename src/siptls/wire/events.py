"""Events: what happens on a connection, as values."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from siptls.errors import Alert, SIPTLSError
from siptls.trust.decision import Decision, Peer
from siptls.wire.message import Message

__all__ = [
    "ConnectionClosed",
    "Event",
    "MessageReceived",
    "PeerAccepted",
    "PeerRefused",
    "Ping",
    "Pong",
    "RefusedByPeer",
]


@frozen
class PeerAccepted:
    """The handshake is done and the policy has accepted: messages may flow.

    A TLS 1.3 client may still be refused by its server, which comes as `RefusedByPeer`.

    Attributes:
        peer: Who the peer has proven to be; None for a client of a server that asks for none.
        decision: The policy's decision; None in the same case.
    """

    peer: Peer | None
    decision: Decision | None


@frozen
class PeerRefused:
    """Our policy refused the peer: the connection is over, and an alert waits to be sent.

    Of a peer that was accepted before, and is trusted no more, it tells the same.
    """

    decision: Decision


@frozen
class RefusedByPeer:
    """The peer refused us. The connection is over."""

    alert: Alert


@frozen
class MessageReceived:
    """A whole message."""

    message: Message


@frozen
class Ping:
    """The peer asks whether we are alive (RFC 5626 §4.4.1). The pong is on its way already."""


@frozen
class Pong:
    """The answer to a ping of ours."""


@frozen
class ConnectionClosed:
    """The connection is over. It is always the last event, and comes once.

    Attributes:
        reason: Why. ``ConnectionClosedError`` with ``orderly`` True if both sides closed in order.
    """

    reason: SIPTLSError


Event: TypeAlias = (
    PeerAccepted | PeerRefused | RefusedByPeer | MessageReceived | Ping | Pong | ConnectionClosed
)
