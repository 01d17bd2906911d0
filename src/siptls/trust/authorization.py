"""Authorization: in whose name a peer may speak (RFC 3261 §26.3.2.2).

A connection proves domains, and a message claims a sender. Whoever has proven ``fabrikam.com``
carries the messages of its users, and of nobody else. A server of our own may carry more: all of
our own domains, and those of partners that it is there to relay.

A sender who hides claims nothing (RFC 3323): then whoever is asserted in P-Asserted-Identity
(RFC 3325) stands for him. Every identity that is claimed is looked at, so that no asserted one is
less checked than the From beside it.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from siptls.trust.believed import BelievedName, Verification
from siptls.trust.codes import Code
from siptls.trust.fault import Fault
from siptls.trust.names import listed, parents
from siptls.trust.presented import NameKind
from siptls.trust.senders import Claims, Sender

__all__ = ["ANY_DOMAIN", "Voice"]

ANY_DOMAIN = "*"
"""In ``relays=``: whatever domain there is, for the edge of a federation that is open."""

_RULE = "RFC 3261 §26.3.2.2"


@frozen
class Voice:
    """In whose name a peer may speak.

    Attributes:
        names: The believed names.
        relays: Domains, each with all that is below it, for which it may speak besides.
        blocked: Domains, each with all that is below it, for which nobody may speak.
        relieved: Whether a sender who hides needs nobody who asserts him.
    """

    names: tuple[BelievedName, ...]
    relays: frozenset[str]
    blocked: frozenset[str]
    relieved: bool

    def fault(self, claims: Claims) -> Fault | None:
        """Say what forbids to believe a message's claims; None if nothing does."""
        if claims.fault is not None:
            return claims.fault
        asserted = [one for one in claims.asserted if not one.hidden]
        sender = claims.sender
        speakers = asserted if sender is None or sender.hidden else [sender, *asserted]
        for speaker in speakers:
            fault = self._blocked(speaker) or self._not_authorized(speaker)
            if fault is not None:
                return fault
        if sender is None:
            return None
        if not speakers and not self.relieved:
            found = f"has the sender {sender}, who hides, and nobody asserts who he is"
            expected = "a P-Asserted-Identity with a domain that the peer has proven"
            return Fault(Code.SENDER_UNVERIFIABLE, "the message", found, expected, "RFC 3325 §5")
        # A number is somebody, and anonymous.invalid is not: whoever asserts it asserts nobody.
        is_asserted = bool(asserted) or any(one.scheme == "tel" for one in claims.asserted)
        return self._unverifiable(speakers, asserted=is_asserted)

    def _blocked(self, speaker: Sender) -> Fault | None:
        domain = speaker.domain
        if domain is None or not _covers(self.blocked, domain):
            return None
        found, expected = f"speaks in the name of {speaker}", "no sender of a blocked domain"
        return Fault(Code.PARTNER_BLOCKED, "the message", found, expected, "Blocked")

    def _not_authorized(self, speaker: Sender) -> Fault | None:
        if speaker.domain is not None:
            if any(one.domain and one.name == speaker.domain for one in self.names):
                return None
            if ANY_DOMAIN in self.relays or _covers(self.relays, speaker.domain):
                return None
        elif any(_is_address(one) and one.name == speaker.address for one in self.names):
            return None
        proven = listed(one.name for one in self.names if one.domain) or "no domain"
        relayed = f", and may relay {listed(sorted(self.relays))}" if self.relays else ""
        expected = f"one for whom its peer may speak, who has proven {proven}{relayed}"
        return Fault(
            Code.SENDER_NOT_AUTHORIZED, "the message", f"has the sender {speaker}", expected, _RULE
        )

    def _unverifiable(self, speakers: Iterable[Sender], *, asserted: bool) -> Fault | None:
        """See whether anybody has looked at who the user is; a relay's partner is its business."""
        domains = {speaker.domain for speaker in speakers}
        levels = {one.verification for one in self.names if one.domain and one.name in domains}
        if Verification.ALWAYS_UNVERIFIABLE in levels:
            found = f"has the sender {listed(speakers)}, whose domain verifies nobody"
        elif Verification.USE_SOURCE in levels and not asserted:
            found = f"has the sender {listed(speakers)}, whom his server does not assert"
        else:
            return None
        expected = "a user whom somebody has authenticated"
        return Fault(Code.SENDER_UNVERIFIABLE, "the message", found, expected, "Verification")


def _covers(domains: frozenset[str], domain: str) -> bool:
    return not domains.isdisjoint(parents(domain)) if domains else False


def _is_address(name: BelievedName) -> bool:
    return name.kind is NameKind.IP and not name.domain and not name.host
