"""Gate: what a message passes between the wire and the application.

It says whether the peer may speak for the message's sender, and it holds a peer with limits to
them. What is too much is held back, in the order in which it came, and nothing more is read
meanwhile: TCP then tells the peer to slow down. So no message is lost, and what waits is never more
than one read has brought.

When the connection ends with messages that wait, they are delivered at once: nobody could deliver
them later. They are owed: the certificate gets no other connection before they are made up for.
"""

from __future__ import annotations

from collections import deque

from attrs import evolve

from siptls.arguments import Kind
from siptls.trust.believed import Trust
from siptls.trust.decision import Decision, Peer
from siptls.trust.fault import Fault
from siptls.trust.senders import Claims
from siptls.wire.message import Message
from siptls.wire.traffic import Meter, Traffic

__all__ = ["IS_TRAFFIC", "Gate", "gate_for"]

IS_TRAFFIC = Kind(Traffic, "write Traffic(), or leave it out", optional=True)

# Whose traffic is counted: those from outside. Our own servers and clients are not watched.
_COUNTED = frozenset({Trust.FEDERATED, Trust.DISCOVERED})
_FINAL = 200


class Gate:
    """Lets the messages of one connection pass.

    Args:
        peer: Who sends them.
        meter: Counts them, and says when the next one may pass; None where nobody counts.
        authorize: Whether each message gets a decision about its sender.
    """

    __slots__ = ("_authorize", "_meter", "_peer", "_waiting")

    def __init__(self, peer: Peer, meter: Meter | None, *, authorize: bool) -> None:
        self._peer = peer
        self._meter = meter
        self._authorize = authorize
        self._waiting: deque[Message] = deque()

    @property
    def holds(self) -> bool:
        """Whether messages wait, so that nothing is to be read."""
        return bool(self._waiting)

    @property
    def counts(self) -> bool:
        """Whether messages are counted."""
        return self._meter is not None

    def up_to_date(self, message: Message) -> Message:
        """Decide again about a message whose peer has been judged again since."""
        decision = message.decision
        if decision is None or not decision.accepted or decision.peer is self._peer:
            return message
        return evolve(message, decision=self._peer.authorize(message))

    @property
    def limited(self) -> bool:
        """Whether messages may have to wait: then little is to be read at a time."""
        return self._meter is not None and self._meter.limited

    def due(self, now: float) -> float:
        """Give when the next of those that wait may pass, by the connection's timer."""
        if self._meter is None or not self._waiting:
            return now
        return self._meter.due(now, answer=not self._waiting[0].is_request)

    def take(self, message: Message) -> None:
        """Take a message that has come."""
        self._waiting.append(message)

    def give(self, now: float, *, at_once: bool = False) -> Message | None:
        """Give the next message that may pass now; None if none may.

        ``at_once``: the connection is over.
        """
        if not self._waiting or not (at_once or self.due(now) <= now):
            return None
        message = self._waiting.popleft()
        if self._meter is not None:
            self._meter.take(now, answer=not message.is_request)
        return self._judged(message)

    def drop(self) -> None:
        """Forget what waits: the peer is trusted no more, or we have closed."""
        self._waiting.clear()

    def sent(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Take notice of what we have sent: an answer tells how the peer fares."""
        if self._meter is None:
            return
        start = bytes(data[:16]).lstrip(b"\r\n")
        if not start.startswith(b"SIP/2.0 "):
            if start:
                self._meter.asked()
        elif start[8:11].isdigit() and int(start[8:11]) >= _FINAL:
            self._meter.answered(int(start[8:11]), now)

    def follow(self, peer: Peer) -> None:
        """The peer was judged again."""
        self._peer = peer
        if self._meter is not None:
            self._meter.follow(peer)

    def leave(self) -> None:
        """The connection is over."""
        if self._meter is not None:
            self._meter.leave()

    def _judged(self, message: Message) -> Message:
        """Give the message with its decision, if there is to be one."""
        meter = self._meter
        if not self._authorize:
            if meter is not None and message.is_request:
                meter.uri_fault(message.uri)
            return message
        claims = Claims.of(message)
        decision = self._peer.authorize_claims(claims)
        if meter is not None:
            decision = self._counted(message, claims, decision, meter)
        return evolve(message, decision=decision)

    def _counted(
        self, message: Message, claims: Claims, decision: Decision, meter: Meter
    ) -> Decision:
        fault = meter.uri_fault(message.uri) if message.is_request else None
        if decision.accepted and fault is not None:
            decision = Decision.refuse_for(fault, by="peer")
        if decision.accepted:
            for domain in claims.domains:
                meter.spoke_for(domain)
        else:
            meter.refused(decision.code)
        return decision


def gate_for(
    peer: Peer | None, traffic: Traffic | None, now: float, *, authorize: bool
) -> Gate | Fault | None:
    """Give the gate of a connection; the fault that forbids it; None if nothing is to be passed.

    Args:
        peer: Who was accepted; None for a client of a server that asks for no certificate.
        traffic: Where it is counted. A peer with limits is counted in any case.
        now: By the connection's timer.
        authorize: Whether each message gets a decision about its sender.
    """
    if peer is None:
        return None
    meter = None
    if peer.limits is not None or (traffic is not None and peer.trust in _COUNTED):
        entered = (Traffic() if traffic is None else traffic).enter(peer, now)
        if isinstance(entered, Fault):
            return entered
        meter = entered
    if meter is None and not authorize:
        return None
    return Gate(peer, meter, authorize=authorize)
