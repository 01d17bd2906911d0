"""The errors that carry a decision: a peer that is refused, and one that is trusted no more."""

from __future__ import annotations

import ssl

from siptls.errors import ConnectionClosedError, HandshakeError
from siptls.trust.decision import Decision

__all__ = ["PeerRefusedError", "TrustLostError"]


class PeerRefusedError(HandshakeError, ssl.SSLCertVerificationError):
    """Our policy refused the peer. ``decision`` says why; ``decision.explain()`` tells all of it.

    It is an `ssl.SSLCertVerificationError` as well, so that code written for `ssl` treats it as
    what it is.
    """

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        text = f"{decision.code}: {decision.reason}"
        super().__init__(f"{text}; {decision.advice}" if decision.advice else text)

    def __str__(self) -> str:
        return str(self.args[0])  # SSLError would show the tuple

    def __reduce__(self) -> tuple[type[PeerRefusedError], tuple[Decision]]:
        return type(self), (self.decision,)  # the text is made from it anew


class TrustLostError(ConnectionClosedError):
    """Our policy has accepted the peer before, and does so no more: the connection was closed.

    Something that its trust rested on has ended: a certificate has expired or was revoked, or
    another policy is in force. ``decision`` says why, as of `PeerRefusedError`.
    """

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(
            f"the peer is trusted no more, so that we have closed the connection:"
            f" {decision.code}: {decision.reason}"
        )

    def __reduce__(self) -> tuple[type[TrustLostError], tuple[Decision]]:
        return type(self), (self.decision,)  # the text is made from it anew
