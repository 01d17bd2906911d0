"""Believed names: what a policy takes as proven, and on what ground."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from siptls.trust.presented import NameKind

__all__ = ["FIRMNESS", "BelievedName", "Trust", "Verification"]


class Trust(StrEnum):
    """On what ground a name is believed, the firmest first."""

    ENTERPRISE = "enterprise"
    PINNED = "pinned"
    FEDERATED = "federated"
    DISCOVERED = "discovered"
    PUBLIC = "public"


FIRMNESS = {trust: rank for rank, trust in enumerate(Trust)}


class Verification(StrEnum):
    """How far the users of a partner count as verified: who has looked at who they are.

    They are the verification levels of Office Communications Server. A domain that is proven says
    that a message came from the partner, and nothing of who wrote it there.
    """

    ALWAYS_VERIFIABLE = "always-verifiable"
    """The partner's server authenticates its users; what it sends counts as verified."""
    ALWAYS_UNVERIFIABLE = "always-unverifiable"
    """Whoever is there says who he is: a public network. Nobody of the partner is verified."""
    USE_SOURCE = "use-source"
    """The partner's server says it of each message: one whose user it has authenticated has a
    P-Asserted-Identity (RFC 3325)."""


@frozen(order=True)
class BelievedName:
    """A name that a policy takes as proven.

    Attributes:
        name: Canonical: A-labels, lower case.
        kind: Where it stood in the certificate.
        domain: It is a SIP domain identity (RFC 5922 §7.1).
        host: It names the machine.
        authority: The name of the `Authority` that vouches for it; ``"pin"`` if a pin does.
        trust: On what ground.
        via: The edge that has proven its own name, and is the edge of this domain because a
            `Partner` says so; empty if the certificate has the name itself.
        verification: How far the users of the domain count as verified.
    """

    name: str
    kind: NameKind = NameKind.URI
    domain: bool = True
    host: bool = False
    authority: str = ""
    trust: Trust = Trust.PUBLIC
    via: str = ""
    verification: Verification = Verification.ALWAYS_VERIFIABLE

    def __str__(self) -> str:
        what = "domain" if self.domain else "host" if self.host else "address"
        where = f"of its edge {self.via}, {self.kind}" if self.via else self.kind
        return f"{what} {self.name} ({where}, by {self.authority})"
