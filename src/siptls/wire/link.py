"""Link: what both sides of a connection share.

It joins what each byte passes: the TLS engine, the framer, the gate; and the deadlines. Client and
server differ in who begins and in what they are built from: see ``connection.py``, which also says
how such a connection is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from siptls.arguments import Kind, kind_of
from siptls.errors import (
    ConfigurationError,
    ConnectionClosedError,
    FramingError,
    HandshakeError,
    RefusedByPeerError,
    SIPTLSError,
)
from siptls.trust.decision import Decision, Peer
from siptls.trust.evidence import Evidence, Role
from siptls.trust.fault import Fault
from siptls.trust.policy import TrustPolicy, require_policy
from siptls.trust.refusal import PeerRefusedError, TrustLostError
from siptls.wire.credential import Credential
from siptls.wire.deadlines import Deadlines, check_keep_alive
from siptls.wire.events import (
    ConnectionClosed,
    Event,
    MessageReceived,
    PeerAccepted,
    PeerRefused,
    Ping,
    Pong,
    RefusedByPeer,
)
from siptls.wire.framing import KEEPALIVE_PING, KEEPALIVE_PONG, Framed, MessageFramer
from siptls.wire.gate import IS_TRAFFIC, Gate, gate_for
from siptls.wire.inforce import InForce
from siptls.wire.limits import Limits
from siptls.wire.measures import Measures
from siptls.wire.message import Message
from siptls.wire.tls import TLSEngine, TLSInfo
from siptls.wire.traffic import Traffic

__all__ = ["Link", "Random", "Timer", "begins_tls"]


_IS_FLAG = Kind(bool, "write authorize=True")

_PING = b"\r\n\r\n"
_PONG = b"\r\n"
# The first byte of a TLS record in a handshake: alert or handshake (RFC 8446 §5.1).
_TLS_FIRST_BYTES = frozenset({0x15, 0x16})

Timer = Callable[[], float]
Random = Callable[[], float]


class Link:
    """One connection, without any I/O: bytes in, events and bytes out."""

    __slots__ = (
        "__weakref__",
        "_announced",
        "_authorize",
        "_closed",
        "_closing",
        "_deadlines",
        "_engine",
        "_events",
        "_framer",
        "_gate",
        "_in_force",
        "_pongs_owed",
        "_received_any",
        "_tally",
        "_timer",
        "_tls",
        "_traffic",
        "_trusted_by",
        "_trusted_until",
        "_unanswered",
        "holding",
        "limited",
    )

    def __init__(  # noqa: PLR0913  what both sides are given
        self,
        engine: TLSEngine,
        policy: TrustPolicy | None,
        limits: Limits,
        timer: Timer,
        *,
        keep_alive: float | None,
        random: Random,
        awaits_message: bool,
        traffic: Traffic | None,
        authorize: bool,
        measures: Measures | None = None,
    ) -> None:
        check_keep_alive(keep_alive)
        IS_TRAFFIC.check("traffic", traffic)
        _IS_FLAG.check("authorize", authorize)
        self._engine = engine
        self._timer = timer
        self._framer = MessageFramer(limits)
        self._events: list[Event] = []
        self._closing = False
        self._closed: SIPTLSError | None = None
        self._received_any = False
        self._pongs_owed = 0
        self._unanswered = False  # nothing has come since something was sent
        now = timer()
        self._tally = None if measures is None else measures.tally(engine.role, now)
        self._deadlines = Deadlines(
            limits,
            now,
            keep_alive=keep_alive,
            random=random,
            awaits_message=awaits_message,
        )
        self._tls: TLSInfo | None = None
        self._announced = False  # it was told that the peer is accepted
        self._trusted_by: int | None = None  # a version of what is in force
        self._trusted_until = math.inf  # by the timer
        self._in_force = InForce(policy)
        self._traffic = traffic
        self._authorize = authorize
        self._gate: Gate | None = None
        self.holding = False
        """Whether messages wait until the peer may send more: nothing is to be read meanwhile."""
        self.limited = False
        """Whether they may have to: read little at a time, for what was read cannot be left."""
        self._step()

    # ------------------------------------------------------------ what is known

    @property
    def peer(self) -> Peer | None:
        """Who the peer has proven to be; None before, or if it was not asked."""
        decision = self.decision
        return decision.peer if decision is not None and self._engine.established else None

    @property
    def role(self) -> Role:
        """What the peer is."""
        return self._engine.role

    @property
    def heard(self) -> bool:
        """Whether anything has come from the peer, be it only its first byte."""
        return self._received_any

    @property
    def decision(self) -> Decision | None:
        """What the policy decided; None before it was asked, or if nobody is judged."""
        return self._engine.decision

    @property
    def evidence(self) -> Evidence | None:
        """What the peer has shown, and when it was judged last; None before, or for nobody."""
        return self._engine.evidence

    @property
    def credential(self) -> Credential | None:
        """Our own that is in use; on a server the default until the client asks for another."""
        return self._engine.credential

    @property
    def tls(self) -> TLSInfo | None:
        """What was negotiated; None before `PeerAccepted`."""
        return self._tls

    @property
    def established(self) -> bool:
        """Whether messages may flow now."""
        return self._engine.established and self._closed is None and not self._closing

    @property
    def closed(self) -> SIPTLSError | None:
        """Why the connection is over; None while it is not."""
        return self._closed

    @property
    def deadline(self) -> float | None:
        """When `handle_deadline` wants to be called, by the connection's timer; None if never."""
        if self._closed is not None:
            return None
        if self._gate is not None and self.holding:
            return self._gate.due(self._timer())
        if self._tally is not None and self._tally.due is not None:
            following = self._deadlines.next
            return self._tally.due if following is None else min(self._tally.due, following)
        return self._deadlines.next

    # ------------------------------------------------------------ input

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes that came from the network. After the end they are dropped."""
        if self._closed is not None or not data:
            return
        if not self._received_any:
            self._received_any = True
            if not begins_tls(data[0]):
                if self._tally is not None:
                    self._tally.not_tls = True
                self._fail(_no_tls(data[0]))
                return
        self.ensure_trust()
        if self._closed is not None:
            return
        try:
            for plain in self._engine.decrypt(memoryview(data)):
                self._announce()
                if self._closed is not None:
                    return
                self._deliver(plain)
            self._announce()
            self._answer_pings()
        except SIPTLSError as error:
            self._announce()
            self._fail(error)

    def receive_eof(self, error: OSError | None = None) -> None:
        """Take notice that the network has no more bytes.

        Args:
            error: What the system said, if it was no end in order.
        """
        if self._closed is None:
            self._fail(self._engine.end(error))
            if self._closed is not None:
                self._closed.__cause__ = error

    def handle_deadline(self, now: float) -> None:
        """Do what is due: give up what has taken too long, or send a ping.

        Args:
            now: The time by the connection's timer.
        """
        if self._closed is not None:
            return
        if self._tally is not None:
            self._tally.tell_if_due(now)
        self.ensure_trust()
        if self._closed is not None:
            return
        if self.holding:
            self._let_pass(now)
            return
        overdue = self._deadlines.overdue(now)
        if overdue is None:
            if self._deadlines.is_ping_due(now) and not self._closing:
                self._ping(asked=False)
            return
        if self._tally is not None:
            self._tally.overdue = True
        if self._closing:
            self._end(overdue)
        else:
            self._fail(overdue)

    # ------------------------------------------------------------ trust over time

    def update(self, policy: TrustPolicy) -> None:
        """Judge the peer by another policy from now on, and at once if it was judged before.

        If it is refused, the connection ends in order with `TrustLostError`: look at `events`, and
        send what `data_to_send` gives.
        """
        require_policy(policy)
        if not self._engine.judged:
            raise ConfigurationError("nobody is judged here: the server asks for no certificate")
        self._in_force.replace(policy)
        self.judge_again()

    def follow(self, in_force: InForce) -> None:
        """Share what is in force with others. Transports call it, before the first read."""
        self._in_force = in_force
        self._adopt()

    def judge_again(self) -> None:
        """Ask the policy in force about the peer, at the time that it is now."""
        if self._closed is not None or self._closing:
            return
        self._adopt()
        if not self._engine.established:
            return  # the handshake asks it, or `_announce` does
        decision = self._engine.judge_again()
        if decision is None:
            return
        if decision.accepted:
            self._plan_trust(self._timer())
            self._follow(decision.peer)
        elif self._announced:
            self._end(TrustLostError(decision))
        else:
            self._end(PeerRefusedError(decision))

    def ensure_trust(self) -> None:
        """Judge the peer again if it has to be; nothing of it is to be used before."""
        if self._is_trusted():
            return  # as nearly always
        if not self._engine.established:
            self._adopt()
        elif not self.is_judged:
            self.judge_again()
        elif self._closed is None and self._timer() >= self._trusted_until:
            self._look_at_trust(self._timer())
        if self._announced and self.is_judged:
            decided = self._engine.decided  # None where nobody is judged
            self._trusted_by = self._in_force.version if decided is None else decided

    def _is_trusted(self) -> bool:
        """Whether the peer was judged by what is in force, and is trusted still."""
        return self._trusted_by == self._in_force.version and self._timer() < self._trusted_until

    @property
    def is_judged(self) -> bool:
        """Whether the peer was judged by what is in force now, or is judged by nobody."""
        return not self._engine.judged or self._engine.decided == self._in_force.version

    def _adopt(self) -> None:
        version = self._in_force.version  # before the policy: see `InForce.replace`
        self._engine.adopt(self._in_force.memory, version)

    def _follow(self, peer: Peer | None) -> None:
        """Hold the peer to what it may do now."""
        if peer is None or not self._announced:
            return
        if self._gate is None or not self._gate.counts:  # nothing waits in one that does not count
            self._open_gate(self._timer())
            return
        self._gate.follow(peer)
        self.limited = self._gate.limited
        self._let_pass(self._timer())  # it may be more than before

    def _open_gate(self, now: float) -> None:
        gate = gate_for(self.peer, self._traffic, now, authorize=self._authorize)
        if isinstance(gate, Fault):
            decision = Decision.refuse_for(gate, by="traffic", evidence=self.evidence)
            ends = TrustLostError if self._announced else PeerRefusedError
            self._end(ends(decision))
            return
        self._gate = gate
        self.limited = gate is not None and gate.limited

    def up_to_date(self, message: Message) -> Message:
        """Give a message that was kept: its decision is that about the peer as it is now."""
        return message if self._gate is None else self._gate.up_to_date(message)

    def refuse(self, decision: Decision) -> None:
        """End the connection for what was decided about the peer beside the policy."""
        if self._closed is None and not self._closing:
            self._leave_gate()
            self._end(PeerRefusedError(decision))

    def restart_deadline(self) -> None:
        """Give what may have come its whole time again: nobody was reading until now."""
        self._deadlines.resumed(self._timer())

    # ------------------------------------------------------------ output

    def events(self) -> list[Event]:
        """Give what has happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> bytes:
        """Give the bytes that are to go to the network now; empty if there are none."""
        return self._engine.outgoing()

    def send(self, message: bytes | bytearray | memoryview | Message) -> None:
        """Send one message, or several in one piece of bytes. They come out of `data_to_send`.

        Args:
            message: Bytes go out as they are: whole messages with Content-Length are wanted.

        Raises:
            ConfigurationError: It is neither bytes nor a message.
            HandshakeError: The handshake is not done.
            ConnectionClosedError: The connection is over.
        """
        is_sure = self._announced and self._closed is None and not self._closing
        if not (is_sure and self._is_trusted()):  # else as nearly always
            self._check_sendable()
        data = message.data if type(message) is Message else _bytes_of(message)
        self._encrypt(data)
        self._unanswered = data[:8] != b"SIP/2.0 "  # a response has no answer
        if self._gate is not None:
            self._gate.sent(data, self._timer())
        if self._tally is not None:
            self._tally.send(self._timer())

    def ping(self) -> None:
        """Ask the peer whether it is alive; a `Pong` event is the answer (RFC 5626 §3.5.1)."""
        self._check_sendable()
        self._ping(asked=True)

    def close(self) -> None:
        """Close in order: nothing more is sent or delivered. Send what `data_to_send` gives."""
        if self._closed is not None or self._closing:
            return
        if self._tally is not None:
            self._tally.by_us = True
        if not self._engine.established:
            self._fail(ConnectionClosedError("closed by us during the handshake"))
            return
        self._closing = True
        self._leave_gate()
        self._deadlines.closing(self._timer())
        self._engine.close()

    # ------------------------------------------------------------ inside

    def _step(self) -> None:
        """A client's first flight."""
        try:
            self._engine.handshake()
        except SIPTLSError as error:
            self._fail(error)

    def _check_sendable(self) -> None:
        self.ensure_trust()
        if self._closed is not None:
            raise _afterwards(self._closed)
        if self._closing:
            raise ConnectionClosedError("the connection is being closed by us", orderly=True)
        if not self._engine.established:
            raise HandshakeError("nothing can be sent before the peer is accepted")

    def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._engine.encrypt(data)
        except SIPTLSError as error:
            self._fail(error)
            raise

    def _announce(self) -> None:
        if self._tls is None and self._engine.established:
            self._tls = self._engine.info
            now = self._timer()
            self._deadlines.accepted(now)
            if not self.is_judged:  # what is in force has changed since the policy was asked
                self.judge_again()
                if self._closed is not None:
                    return
            self._open_gate(now)
            if self._closed is not None:
                return
            self._announced = True
            if self._tally is not None:
                self._tally.accepted(self.peer, now, resumed=self._tls.resumed)
            self._plan_trust(now)
            self._events.append(PeerAccepted(self.peer, self.decision))

    def _plan_trust(self, now: float) -> None:
        peer = self.peer
        if peer is not None:
            seconds = (peer.expires - self._engine.now()).total_seconds()
            self._trusted_until = self._deadlines.trusted(now, seconds)

    def _look_at_trust(self, now: float) -> None:
        """See whether the peer's trust has ended; the clock may have been set meanwhile."""
        peer = self.peer
        if peer is not None and self._engine.now() >= peer.expires:
            self.judge_again()
        if self._closed is None:
            self._plan_trust(now)

    def _deliver(self, plain: bytes) -> None:
        if self._closing:
            return
        self._unanswered = False
        now = self._timer()
        self._deadlines.heard(now)
        was_partial = self._framer.partial
        for item in self._framer.feed(plain):
            was_partial = False
            self._take(item)
        if self._framer.broken is not None:
            raise FramingError(self._framer.broken)
        if not self._framer.partial:
            self._deadlines.message_ended()
        elif not was_partial:
            self._deadlines.message_begun(now)
        if self._tally is not None:
            self._tally.tell_if_due(now)

    def _ping(self, *, asked: bool) -> None:
        self._framer.expect_pong()
        self._deadlines.pinged(self._timer(), asked=asked)
        self._encrypt(_PING)

    def _answer_pings(self) -> None:
        """Answer the pings of one read in one piece: a record costs more than the pong in it."""
        if self._pongs_owed and not self._closing:
            self._encrypt(_PONG * self._pongs_owed)
        self._pongs_owed = 0

    def _take(self, item: Framed) -> None:
        if item is KEEPALIVE_PING:
            self._pongs_owed += 1
            self._events.append(Ping())
        elif item is not KEEPALIVE_PONG:
            if self._tally is not None:
                self._tally.receive()
            if self._gate is None:
                self._events.append(MessageReceived(item))
            else:
                self._gate.take(item)
                self._let_pass(self._timer())
                if self.holding and self._tally is not None:
                    self._tally.hold()
        elif self._deadlines.ponged():
            self._events.append(Pong())

    def _let_pass(self, now: float, *, at_once: bool = False) -> None:
        """Give out the messages that may pass now."""
        gate = self._gate
        if gate is None:
            return
        while (message := gate.give(now, at_once=at_once)) is not None:
            self._events.append(MessageReceived(message))
        if self.holding and not gate.holds:
            self._deadlines.resumed(now)
        self.holding = gate.holds

    def _leave_gate(self) -> None:
        """Let nothing more pass: the connection is over, or its peer is trusted no more."""
        if self._gate is not None:
            self._gate.drop()
            self._gate.leave()
        self.holding = False

    def _fail(self, error: SIPTLSError) -> None:
        """End the connection, once."""
        if self._closed is not None:
            return
        if self._closing:
            error = ConnectionClosedError("closed by us", orderly=True)
        elif isinstance(error, ConnectionClosedError) and self._framer.partial:
            error = ConnectionClosedError(
                f"{error}; the connection ended in the middle of a message, which is lost"
            )
        elif isinstance(error, ConnectionClosedError) and error.orderly and self._unanswered:
            error = ConnectionClosedError(
                f"{error}, without an answer to what was sent last; if that was no SIP message that"
                " it can read, or it trusts us no more, its log says so",
                orderly=True,
            )
        self._end(error)

    def _end(self, error: SIPTLSError) -> None:
        # Its frames hold this connection: without them, it is freed when nobody uses it any more.
        error.__traceback__ = error.__context__ = None
        if self.holding and not isinstance(error, TrustLostError):
            self._let_pass(self._timer(), at_once=True)
        self._leave_gate()
        self._closed = error
        if self._tally is not None:
            self._tally.alert = self._engine.alert
            self._tally.ended(error, self._timer())
        if isinstance(error, TrustLostError):
            # What it has sent before, and nobody has seen yet, is delivered no more.
            kept = [event for event in self._events if not isinstance(event, MessageReceived)]
            self._events = [*kept, PeerRefused(error.decision)]
            self._engine.close()
        elif isinstance(error, PeerRefusedError):
            self._events.append(PeerRefused(error.decision))
            if self._engine.established:  # it is too late for another alert
                self._engine.close()
        elif isinstance(error, RefusedByPeerError):
            self._events.append(RefusedByPeer(error.alert))
        elif self._engine.established:
            self._engine.close()
        self._events.append(ConnectionClosed(error))


def _bytes_of(
    message: bytes | bytearray | memoryview | Message,
) -> bytes | bytearray | memoryview:
    if isinstance(message, Message):
        return message.data
    if not isinstance(message, bytes | bytearray | memoryview):  # a str, mostly
        raise ConfigurationError(f"what is sent is bytes or a Message, not {kind_of(message)}")
    return message


def begins_tls(first: int) -> bool:
    """Whether the first byte of a peer may begin a handshake of TLS."""
    return first in _TLS_FIRST_BYTES


def _no_tls(first: int) -> HandshakeError:
    shown = f"{chr(first)!r} ({first:#04x})" if 0x20 < first < 0x7F else f"{first:#04x}"  # noqa: PLR2004
    return HandshakeError(
        f"the peer does not speak TLS: its first byte is {shown}; does it send plain SIP, which"
        " belongs to port 5060, or is a proxy in between?"
    )


def _afterwards(error: SIPTLSError) -> SIPTLSError:
    """The error for whoever uses a connection after another error has ended it."""
    if isinstance(error, HandshakeError | ConnectionClosedError):
        return error.with_traceback(None)
    closed = ConnectionClosedError(f"the connection is over: {error}")
    closed.__cause__ = error
    return closed
