"""Decision: what a policy concluded, about whom, and why.

A `Decision` is a tree: a combined policy keeps the decision of each of its parts, so that
`Decision.explain` can show the whole reasoning, and `Decision.to_dict` can log it.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.errors import ConfigurationError, HandshakeError
from siptls.trust.codes import Code
from siptls.trust.evidence import Evidence, describe
from siptls.trust.names import NameKind, ReferenceIdentity, listed, printable

__all__ = ["BelievedName", "Decision", "Peer", "PeerRefusedError", "Trust", "most_telling"]


# Characters of a reason or a note. Ours are shorter; a user's policy may say more.
_MAX_LINE = 2000


class Trust(StrEnum):
    """On what ground a name is believed, the firmest first."""

    ENTERPRISE = "enterprise"
    PINNED = "pinned"
    FEDERATED = "federated"
    PUBLIC = "public"


_FIRMNESS = {trust: rank for rank, trust in enumerate(Trust)}


@frozen(order=True)
class BelievedName:
    """A name that a policy takes as proven.

    Attributes:
        name: Canonical: A-labels, lower case.
        kind: Where it stood in the certificate.
        domain: It is a SIP domain identity (RFC 5922 §7.1).
        host: It names the machine.
        authority: The name of the `Authority` that vouches for it.
        trust: On what ground.
    """

    name: str
    kind: NameKind = NameKind.URI
    domain: bool = True
    host: bool = False
    authority: str = ""
    trust: Trust = Trust.PUBLIC

    def __str__(self) -> str:
        what = "domain" if self.domain else "host"
        return f"{what} {self.name} ({self.kind}, by {self.authority})"


def _sorted(names: Iterable[BelievedName]) -> tuple[BelievedName, ...]:
    return tuple(sorted(set(names)))


def _as_path(chain: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    return tuple(chain)


@frozen
class Peer:
    """Who a connection's other end has proven to be.

    Attributes:
        names: The believed names, sorted.
        trust: The firmest ground on which any of them is believed.
        chain: The proven path, leaf first, trust anchor last.
        expires: The earliest end of anything that this trust rests on; aware.
    """

    names: tuple[BelievedName, ...] = field(converter=_sorted)
    chain: tuple[x509.Certificate, ...] = field(converter=_as_path)
    expires: datetime = field()

    @names.validator
    def _not_empty(self, _: object, value: tuple[BelievedName, ...]) -> None:
        if not value:
            raise ConfigurationError("a Peer has at least one believed name: else refuse it")

    @cached_property
    def domains(self) -> frozenset[str]:
        """The believed SIP domains."""
        return frozenset(name.name for name in self.names if name.domain)

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The believed names of the machine."""
        return frozenset(name.name for name in self.names if name.host)

    @property
    def trust(self) -> Trust:
        """The firmest ground on which any name is believed."""
        return min((name.trust for name in self.names), key=_FIRMNESS.__getitem__)

    def proves(self, expected: ReferenceIdentity) -> bool:
        """Whether the expected domain, or the expected host, is believed."""
        if expected.domain in self.domains:
            return True
        return expected.host is not None and expected.host in self.domains | self.hosts

    def speaks_for(self, domain: str) -> Decision:
        """Decide whether this peer has proven a domain: that one itself, not one below it.

        Args:
            domain: A SIP domain in any form that `ReferenceIdentity.parse` reads.
        """
        wanted = ReferenceIdentity.parse(domain).domain
        if wanted in self.domains:
            return Decision.accept(self, f"{wanted} is proven", by="peer")
        proven = listed(sorted(self.domains)) or "no domain"
        return Decision.refuse(
            Code.NAME_MISMATCH, f"expected {wanted}; this peer has proven {proven}", by="peer"
        )

    @expires.validator
    def _is_aware(self, _: object, value: datetime) -> None:
        if value.utcoffset() is None:
            raise ConfigurationError(f"expires= is an aware datetime, not {value!r}")

    def __or__(self, other: Peer) -> Peer:
        """Believe what either believes; the path shown is that of the firmer trust."""
        if not isinstance(other, Peer):
            return NotImplemented
        firmer = min(self, other, key=_peer_order)
        return Peer((*self.names, *other.names), firmer.chain, min(self.expires, other.expires))


def _peer_order(peer: Peer) -> tuple[int, list[bytes]]:
    """Order peers by ground and path, so that the order of a union's parts does not matter."""
    der = [certificate.public_bytes(Encoding.DER) for certificate in peer.chain]
    return _FIRMNESS[peer.trust], der


def _as_parts(value: Iterable[Decision]) -> tuple[Decision, ...]:
    return tuple(value)


def _as_notes(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(_as_line(note) for note in value)


def _as_line(text: str) -> str:
    """Take text for logs: an exception's words may hold what a peer sent."""
    return printable(str(text), _MAX_LINE)


def _as_code(code: str) -> str:
    return code if isinstance(code, Code) else _as_line(code)


@frozen
class Decision:
    """Accepted, with the proven `Peer`; or refused, with a code and a reason. True if accepted.

    Build one with `accept` or `refuse`.

    Attributes:
        accepted: Whether the peer is believed.
        code: A reason code; `Code` lists those of siptls, a user's policy may have its own.
        reason: One sentence: what was found, what was expected.
        by: Which rule decided, such as ``"Enterprise contoso.com"``.
        peer: Who the peer is; None if refused.
        parts: The decisions that this one was made from.
        notes: Facts beside the reason: which presented name counted as what.
        concerned: False if none of the names was the business of the rule that decided: that such
            a rule does not know the CA says nothing.
        evidence: What was judged; kept for the explanation, no part of equality.
    """

    accepted: bool
    code: str = field(converter=_as_code)
    reason: str = field(converter=_as_line)
    by: str = field(default="", converter=_as_line)
    peer: Peer | None = None
    parts: tuple[Decision, ...] = field(default=(), converter=_as_parts)
    notes: tuple[str, ...] = field(default=(), converter=_as_notes)
    concerned: bool = field(default=True, eq=False, repr=False)
    evidence: Evidence | None = field(default=None, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.accepted is not (self.code == Code.ACCEPTED):
            raise ConfigurationError(
                f"a decision is accepted exactly if its code is 'accepted', not {self.code!r}"
            )
        if self.accepted is not isinstance(self.peer, Peer):
            raise ConfigurationError("a decision has a peer exactly if it is accepted")

    @classmethod
    def accept(cls, peer: Peer, reason: str, **more: Any) -> Decision:
        """Believe the peer's names. ``more``: ``by``, ``parts``, ``notes``, ``evidence``."""
        return cls(True, Code.ACCEPTED, reason, peer=peer, **more)

    @classmethod
    def refuse(cls, code: str, reason: str, **more: Any) -> Decision:
        """Believe nothing. ``more``: as in `accept`, and ``concerned``."""
        return cls(False, code, reason, **more)

    def __bool__(self) -> bool:
        return self.accepted

    @property
    def advice(self) -> str:
        """What an operator can do; empty if accepted, or if the code is not one of siptls."""
        return Code(self.code).advice if self.code in set(Code) else ""

    @property
    def rank(self) -> int:
        """How telling a refusal is; a code that siptls does not know is the most telling."""
        if self.code == Code.PATH_UNKNOWN_CA and not self.concerned:
            return -1
        return Code(self.code).rank if self.code in set(Code) else len(Code)

    def explain(self) -> str:
        """Tell an operator, in a few lines of text, who was judged, how, and what to do."""
        lines = [f"{'accepted' if self.accepted else f'refused: {self.code}'}"]
        facts = [("because", self.reason)]
        evidence = self.evidence
        if evidence is not None:
            facts.append(("the peer", f"a {evidence.role}{_at(evidence.address)}"))
            facts.append(("showed", describe(evidence.leaf) if evidence.leaf else "no certificate"))
            if evidence.leaf is not None:
                facts.append(("presents", listed(_presented(evidence)) or "no name at all"))
            if evidence.reference is not None:
                facts.append(("expected", str(evidence.reference)))
            facts.append(("judged at", evidence.now.isoformat(timespec="seconds")))
        if self.peer is not None:
            facts.append(("believed", listed(self.peer.names)))
            facts.append(("until", self.peer.expires.isoformat(timespec="seconds")))
        if self.advice:
            facts.append(("to do", self.advice))
        lines += [f"  {label:<10} {text}" for label, text in facts]
        lines += ["  decided by", *self._tree("    ")]
        return "\n".join(lines)

    def _tree(self, indent: str) -> list[str]:
        verdict = "accepted" if self.accepted else f"refused, {self.code}"
        # The reason of a combination is that of one of its parts, which follows.
        reason = "" if self.parts else f": {self.reason}"
        lines = [f"{indent}{self.by or 'a policy'}: {verdict}{reason}"]
        lines += [f"{indent}  · {note}" for note in self.notes]
        for part in self.parts:
            lines += part._tree(indent + "    ")  # noqa: SLF001  its own kind
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Give the decision as plain data: str, int, bool, None, list and dict only."""
        return {
            "accepted": self.accepted,
            "code": str(self.code),
            "reason": self.reason,
            "advice": self.advice,
            "by": self.by,
            "notes": list(self.notes),
            "peer": None if self.peer is None else _peer_dict(self.peer),
            "evidence": None if self.evidence is None else _evidence_dict(self.evidence),
            "parts": [part.to_dict() for part in self.parts],
        }


def most_telling(decisions: Iterable[Decision]) -> Decision:
    """Of several refusals, give the one that says most, whatever their order."""
    return max(decisions, key=lambda d: (d.rank, d.code, d.by, d.reason))


def _at(address: tuple[str, int] | None) -> str:
    return "" if address is None else f" at {printable(address[0])} port {address[1]}"


def _presented(evidence: Evidence) -> list[str]:
    try:
        return [str(name) for name in evidence.presented.names]
    except ValueError as error:
        return [f"names that cannot be decoded ({printable(str(error))})"]


def _certificate_dict(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "description": describe(certificate),
        "serial": f"{certificate.serial_number:x}",
        "sha256": hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
    }


def _peer_dict(peer: Peer) -> dict[str, Any]:
    return {
        "names": [
            {
                "name": name.name,
                "kind": str(name.kind),
                "domain": name.domain,
                "host": name.host,
                "authority": name.authority,
                "trust": str(name.trust),
            }
            for name in peer.names
        ],
        "trust": str(peer.trust),
        "expires": peer.expires.isoformat(),
        "chain": [_certificate_dict(certificate) for certificate in peer.chain],
    }


def _evidence_dict(evidence: Evidence) -> dict[str, Any]:
    reference = evidence.reference
    return {
        "role": str(evidence.role),
        "now": evidence.now.isoformat(),
        "address": None if evidence.address is None else list(evidence.address),
        "expected": None
        if reference is None
        else {"domain": reference.domain, "host": reference.host},
        "presented": _presented(evidence),
        "chain": [_certificate_dict(certificate) for certificate in evidence.chain],
    }


class PeerRefusedError(HandshakeError, ssl.SSLCertVerificationError):
    """Our policy refused the peer. `decision` says why; ``decision.explain()`` tells all of it.

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
