"""Examination: what was found out about a peer on the network, step by step, as values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import asdict, frozen

from siptls.cli.facts import Facts
from siptls.cli.judged import Judged
from siptls.errors import Alert, ConnectionClosedError, RefusedByPeerError, SIPTLSError
from siptls.transports.resolution import Target
from siptls.trust.names import ReferenceIdentity, printable
from siptls.trust.refusal import PeerRefusedError, TrustLostError
from siptls.wire.credential import Credential
from siptls.wire.tls import TLSInfo

__all__ = ["Examination", "Reply", "Step", "Visit"]

# Characters of an error, and of a start line, that are told.
_MAX_ERROR, _MAX_LINE = 2000, 200


@frozen
class Step:
    """One step, and what came of it.

    Attributes:
        name: ``"resolve"``, ``"connect"``, ``"handshake"`` or ``"options"``.
        seconds: How long it took.
        told: What came of it, in a few words, if it went well.
        error: Why it did not go well, or None.
    """

    name: str
    seconds: float
    told: str = ""
    error: SIPTLSError | None = None

    @property
    def text(self) -> str:
        """What came of it, in one line."""
        if isinstance(self.error, PeerRefusedError):  # the decision is told at length
            return f"we refuse it: {printable(self.error.decision.code, _MAX_ERROR)}"
        if isinstance(self.error, RefusedByPeerError):  # what that means, the last line tells
            return f"it refuses us with TLS alert {self.error.alert}"
        return self.told if self.error is None else printable(str(self.error), _MAX_ERROR)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {
            "name": self.name,
            "seconds": round(self.seconds, 6),
            "ok": self.error is None,
            "text": self.text,
        }


@frozen
class Reply:
    """The peer's answer to our OPTIONS.

    Attributes:
        status: Its status code.
        line: Its start line, as it came.
    """

    status: int
    line: str

    def __str__(self) -> str:
        return printable(self.line, _MAX_LINE)


@frozen
class Visit:
    """One address that was tried, and what came of it.

    Attributes:
        target: Where.
        steps: What was done there, in order.
        tls: What was negotiated; None if the handshake did not come so far.
        judged: What the peer has shown, and our decision; None if it has shown nothing.
        error: Why it ended before we had what we wanted; None if nothing went wrong.
        reply: The answer to OPTIONS; None if there was none.
        in_clear: What it said in place of TLS; empty if it did not.
    """

    target: Target
    steps: tuple[Step, ...]
    tls: TLSInfo | None = None
    judged: Judged | None = None
    error: SIPTLSError | None = None
    reply: Reply | None = None
    in_clear: bytes = b""

    @property
    def where(self) -> str:
        """The address, for people."""
        host = "" if self.target.host is None else f" ({printable(self.target.host)})"
        return f"{printable(self.target.address)} port {self.target.port}{host}"

    @property
    def believed(self) -> bool:
        """Whether we have accepted the peer."""
        return self.judged is not None and self.judged.decision.accepted

    @property
    def alert(self) -> Alert | None:
        """The TLS alert with which the peer has refused us, or None."""
        return self.error.alert if isinstance(self.error, RefusedByPeerError) else None

    @property
    def proves_us(self) -> bool:
        """Whether it is sure that the peer takes us, too.

        In TLS 1.2 its handshake ends only then. In TLS 1.3 nothing but an answer shows it: it
        judges our certificate when our own handshake has ended already.
        """
        return self.tls is not None and (self.reply is not None or self.tls.version == "TLSv1.2")

    @property
    def is_trusted(self) -> bool:
        """Whether each side takes the other, as far as can be known.

        A peer that is sure to take us may close without an answer; one that may not, may not.
        """
        if self.error is None or not self.believed:
            return self.believed
        is_end = isinstance(self.error, ConnectionClosedError)
        return is_end and not isinstance(self.error, TrustLostError) and self.proves_us

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        alert = self.alert
        return {
            "address": self.target.address,
            "port": self.target.port,
            "host": self.target.host,
            "steps": [step.to_dict() for step in self.steps],
            "tls": None if self.tls is None else asdict(self.tls),
            "alert": None
            if alert is None
            else {"code": alert.code, "name": alert.name, "advice": alert.advice},
            "error": None if self.error is None else printable(str(self.error), _MAX_ERROR),
            "reply": None if self.reply is None else str(self.reply),
            "proves_us": self.proves_us,
            "judged": None if self.judged is None else self.judged.to_dict(),
        }


@frozen
class Examination:
    """All that was found out about a peer.

    Attributes:
        target: Whom, as it was asked for.
        expected: Whom we expect.
        policy: Which policy has judged, in words.
        credential: Our own, or None.
        resolver: Who was asked for the addresses, in words.
        now: When it began; aware.
        timeout: Seconds for each step.
        asked: Whether the peer was to be asked for its OPTIONS.
        resolution: How the addresses were found.
        visits: The addresses that were tried, in order; the last is the one that was trusted, if
            one was.
    """

    target: str
    expected: ReferenceIdentity
    policy: str
    credential: Credential | None
    resolver: str
    now: datetime
    timeout: float
    asked: bool
    resolution: Step
    visits: tuple[Visit, ...] = ()

    @property
    def ours(self) -> tuple[Facts, ...]:
        """What stands in the certificates of our credential."""
        chain = () if self.credential is None else self.credential.chain
        return tuple(Facts(one, self.now) for one in chain)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data; see ``docs/reference/check-schema.md``."""
        return {
            "target": printable(self.target, _MAX_LINE),
            "expected": str(self.expected),
            "policy": printable(self.policy, _MAX_LINE),
            "credential": [one.to_dict() for one in self.ours],
            "resolver": printable(self.resolver, _MAX_ERROR),
            "now": self.now.isoformat(),
            "resolution": self.resolution.to_dict(),
            "visits": [visit.to_dict() for visit in self.visits],
        }
