"""Decision: what a policy concluded, about whom, and why.

A `Decision` is a tree: a combined policy keeps the decision of each of its parts, so that
`Decision.explain` can show the whole reasoning, and `Decision.to_dict` can log it.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.arguments import check_list, kind_of
from siptls.errors import ConfigurationError, ConnectionClosedError, HandshakeError
from siptls.trust.codes import Code
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault, describe, serial_number
from siptls.trust.names import ReferenceIdentity, listed, parents, printable
from siptls.trust.presented import NameKind

__all__ = [
    "BelievedName",
    "Decision",
    "Peer",
    "PeerRefusedError",
    "Trust",
    "TrustLostError",
    "evidence_dict",
    "most_telling",
    "shown_names",
]


# Characters of a reason or a note. Ours are shorter; a user's policy may say more.
_MAX_LINE = 2000
# Parts of a combination that an explanation shows: a certificate may be that of many partners.
_MAX_PARTS = 16


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
        authority: The name of the `Authority` that vouches for it; ``"pin"`` if a pin does.
        trust: On what ground.
    """

    name: str
    kind: NameKind = NameKind.URI
    domain: bool = True
    host: bool = False
    authority: str = ""
    trust: Trust = Trust.PUBLIC

    def __str__(self) -> str:
        what = "domain" if self.domain else "host" if self.host else "address"
        return f"{what} {self.name} ({self.kind}, by {self.authority})"


def _sorted(names: Iterable[BelievedName]) -> tuple[BelievedName, ...]:
    check_list("believed names", names)
    return tuple(sorted(set(names)))


def _as_path(chain: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    check_list("the certificates of a chain", chain)
    return tuple(chain)


def _as_users(users: Iterable[str]) -> frozenset[str]:
    check_list("users", users)
    return frozenset(users)


@frozen
class Peer:
    """Who a connection's other end has proven to be.

    Attributes:
        names: The believed names, sorted.
        trust: The firmest ground on which any of them is believed.
        chain: The proven path, leaf first, trust anchor last; a pinned certificate alone.
        expires: The earliest end of anything that this trust rests on; aware.
        users: Users whom the certificate names (``sip:alice@contoso.com`` gives
            ``"alice@contoso.com"``), each below a domain that is believed. A user is no domain.
    """

    names: tuple[BelievedName, ...] = field(converter=_sorted)
    chain: tuple[x509.Certificate, ...] = field(converter=_as_path)
    expires: datetime = field()
    users: frozenset[str] = field(default=frozenset(), converter=_as_users)

    @names.validator
    def _not_empty(self, _: object, value: tuple[BelievedName, ...]) -> None:
        if not value:
            raise ConfigurationError("a Peer has at least one believed name: else refuse it")

    @users.validator
    def _below_a_domain(self, _: object, value: frozenset[str]) -> None:
        for user in value:
            name, _, host = user.rpartition("@")
            if not name or self.domains.isdisjoint(parents(host)):
                raise ConfigurationError(
                    f"the user {printable(user)!r} is below none of the believed domains"
                )

    @cached_property
    def domains(self) -> frozenset[str]:
        """The believed SIP domains."""
        return frozenset(name.name for name in self.names if name.domain)

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The believed names of the machine."""
        return frozenset(name.name for name in self.names if name.host)

    @cached_property
    def addresses(self) -> frozenset[str]:
        """The believed IP addresses; there are some only where one was expected."""
        kinds = (name for name in self.names if name.kind is NameKind.IP)
        return frozenset(name.name for name in kinds if not name.domain and not name.host)

    @property
    def trust(self) -> Trust:
        """The firmest ground on which any name is believed."""
        return min((name.trust for name in self.names), key=_FIRMNESS.__getitem__)

    def proves(self, expected: ReferenceIdentity) -> bool:
        """Whether the expected domain, the expected host, or the expected address is believed."""
        if expected.address is not None:
            return expected.address in self.addresses
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
        fault = Fault(Code.NAME_MISMATCH, "the peer", f"has proven {proven}", wanted)
        advice = "answer 403 to what it says in the name of another domain (RFC 3261 §26.3.2.2)"
        return Decision.refuse_for(fault, by="peer", advice=advice)

    @expires.validator
    def _is_aware(self, _: object, value: datetime) -> None:
        if value.utcoffset() is None:
            raise ConfigurationError(f"expires= is an aware datetime, not {value!r}")

    def __or__(self, other: Peer) -> Peer:
        """Believe what either believes; the path shown is that of the firmer trust."""
        if not isinstance(other, Peer):
            return NotImplemented
        return Peer.union([self, other])

    @classmethod
    def union(cls, peers: Sequence[Peer]) -> Peer:
        """Believe what any of them believes, at least one; see ``|``."""
        firmest = min(peers, key=_peer_order)
        return cls(
            [name for peer in peers for name in peer.names],
            firmest.chain,
            min(peer.expires for peer in peers),
            frozenset().union(*(peer.users for peer in peers)),
        )


def _peer_order(peer: Peer) -> tuple[int, list[bytes]]:
    """Order peers by ground and path, so that the order of a union's parts does not matter."""
    der = [certificate.public_bytes(Encoding.DER) for certificate in peer.chain]
    return _FIRMNESS[peer.trust], der


def _as_parts(value: Iterable[Decision]) -> tuple[Decision, ...]:
    check_list("the parts of a decision", value)
    return tuple(value)


def _as_notes(value: Iterable[str]) -> tuple[str, ...]:
    check_list("notes", value)
    return tuple(_as_line(note) for note in value)


def _as_line(text: str) -> str:
    """Take text for logs: an exception's words may hold what a peer sent."""
    return printable(str(text), _MAX_LINE)


def _as_code(code: str) -> str:
    return code if isinstance(code, Code) else _as_line(code)


# What says nothing if the names are nobody's business here.
_SAYS_LITTLE = frozenset({Code.PATH_UNKNOWN_CA, Code.PIN_MISMATCH})


@frozen
class Decision:
    """Accepted, with the proven `Peer`; or refused, with a code and a reason. True if accepted.

    Build one with `accept` or `refuse`.

    Attributes:
        accepted: Whether the peer is believed.
        code: A reason code; `Code` lists those of siptls, a user's policy may have its own.
        reason: One sentence: what was found, what was expected.
        by: Who decided, such as ``"Enterprise contoso.com"``.
        peer: Who the peer is; None if refused.
        parts: The decisions that this one was made from.
        notes: Facts beside the reason: which presented name counted as what.
        fault: The reason taken apart: rule, certificate, found, expected. None if accepted; a
            user's policy may leave it out.
        concerned: False if none of the names was the business of who decided: that such a policy
            does not know the CA says nothing.
        evidence: What was judged; kept for the explanation, no part of equality.
    """

    accepted: bool
    code: str = field(converter=_as_code)
    reason: str = field(converter=_as_line)
    by: str = field(default="", converter=_as_line)
    peer: Peer | None = None
    parts: tuple[Decision, ...] = field(default=(), converter=_as_parts)
    notes: tuple[str, ...] = field(default=(), converter=_as_notes)
    fault: Fault | None = None
    _advice: str = field(default="", converter=_as_line)
    concerned: bool = field(default=True, eq=False, repr=False)
    evidence: Evidence | None = field(default=None, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.accepted is not (self.code == Code.ACCEPTED):
            what = "an acceptance" if self.accepted else "a refusal"
            raise ConfigurationError(
                f"{what} cannot have the code {self.code!r}: 'accepted' is the code of all"
                " acceptances, and of no refusal"
            )
        if self.accepted is not isinstance(self.peer, Peer):
            raise ConfigurationError(
                f"an acceptance has a Peer, and a refusal has none: not {kind_of(self.peer)}"
            )
        if self.accepted and (self.fault is not None or self._advice):
            raise ConfigurationError(
                "an acceptance has no fault and no advice: what an operator should know of it is a"
                " note"
            )

    @classmethod
    def accept(cls, peer: Peer, reason: str, **more: Any) -> Decision:
        """Believe the peer's names. ``more``: ``by``, ``parts``, ``notes``, ``evidence``."""
        return cls(True, Code.ACCEPTED, reason, peer=peer, **more)

    @classmethod
    def refuse(cls, code: str, reason: str, **more: Any) -> Decision:
        """Believe nothing.

        ``more``: as in `accept`, and ``fault``, ``concerned`` and ``advice``: what an operator can
        do, for a code of your own.
        """
        return cls(False, code, reason, **more)

    @classmethod
    def refuse_for(cls, fault: Fault, **more: Any) -> Decision:
        """Believe nothing because of a fault. ``more``: as in `refuse`."""
        return cls(False, fault.code, fault.reason, fault=fault, **more)

    def told_by(self, by: str, **more: Any) -> Decision:
        """Refuse as this decision does, in the name of what it was a part of.

        It keeps the code, the reason, the fault, the advice, and whether anybody was concerned.
        ``more``: as in `refuse`.
        """
        kept = {"fault": self.fault, "advice": self._advice, "concerned": self.concerned}
        return Decision.refuse(self.code, self.reason, by=by, **{**kept, **more})

    def __bool__(self) -> bool:
        return self.accepted

    @property
    def advice(self) -> str:
        """What an operator can do; empty if accepted, or if nothing is known about the code."""
        if self._advice:
            return self._advice
        return Code(self.code).advice if self.code in set(Code) else ""

    @property
    def rank(self) -> int:
        """How telling a refusal is; a code that siptls does not know is the most telling."""
        if self.code in _SAYS_LITTLE and not self.concerned:
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
                facts.append(("presents", listed(shown_names(evidence)) or "no name at all"))
            if evidence.reference is not None:
                facts.append(("expected", str(evidence.reference)))
            facts.append(("judged at", evidence.now.isoformat(timespec="seconds")))
        if self.peer is not None:
            facts.append(("believed", listed(self.peer.names)))
            if self.peer.users:
                facts.append(("users", listed(sorted(self.peer.users))))
            facts.append(("until", self.peer.expires.isoformat(timespec="seconds")))
        if self.advice:
            facts.append(("to do", self.advice))
        lines += [f"  {label:<10} {_as_line(text)}" for label, text in facts]
        lines += ["  decided by", *self._tree("    ")]
        return "\n".join(lines)

    def _tree(self, indent: str) -> list[str]:
        verdict = "accepted" if self.accepted else f"refused, {self.code}"
        lines = [f"{indent}{self.by or 'a policy'}: {verdict}"]
        # The reason of a combination is that of one of its parts, which follows.
        if not self.parts:
            if self.fault is None:
                lines[0] += f": {self.reason}"
            else:
                facts = _fault_dict(self.fault).items()
                lines += [f"{indent}    {label:<8} {text}" for label, text in facts if text]
        lines += [f"{indent}  · {note}" for note in self.notes]
        for part in self.parts[:_MAX_PARTS]:
            lines += part._tree(indent + "    ")  # noqa: SLF001  its own kind
        if len(self.parts) > _MAX_PARTS:
            lines.append(f"{indent}    and {len(self.parts) - _MAX_PARTS} more, in to_dict()")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Give the decision as plain data: str, int, bool, None, list and dict only.

        The form is stable, and documented in ``docs/reference/decision-schema.md``.
        """
        return {
            "accepted": self.accepted,
            "code": str(self.code),
            "reason": self.reason,
            "fault": None if self.fault is None else _fault_dict(self.fault),
            "advice": self.advice,
            "by": self.by,
            "notes": list(self.notes),
            "peer": None if self.peer is None else _peer_dict(self.peer),
            "evidence": None if self.evidence is None else evidence_dict(self.evidence),
            "parts": [part.to_dict() for part in self.parts],
        }


def most_telling(decisions: Iterable[Decision]) -> Decision:
    """Of several refusals, give the one that says most, whatever their order."""
    return max(decisions, key=lambda d: (d.rank, d.code, d.by, d.reason))


def _fault_dict(fault: Fault) -> dict[str, str]:
    return {
        "about": _as_line(fault.about),
        "rule": _as_line(fault.rule),
        "found": _as_line(fault.found),
        "expected": _as_line(fault.expected),
    }


def _at(address: tuple[str, int] | None) -> str:
    return "" if address is None else f" at {printable(address[0])} port {address[1]}"


def shown_names(evidence: Evidence) -> list[str]:
    """Give the names that the leaf presents, as text; what stands there if they are broken."""
    try:
        return [str(name) for name in evidence.presented.names]
    except ValueError as error:
        return [f"names that cannot be decoded ({printable(str(error))})"]


def _certificate_dict(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "description": describe(certificate),
        "serial": f"{serial_number(certificate):x}",
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
        "users": sorted(peer.users),
        "trust": str(peer.trust),
        "expires": peer.expires.isoformat(),
        "chain": [_certificate_dict(certificate) for certificate in peer.chain],
    }


def evidence_dict(evidence: Evidence) -> dict[str, Any]:
    """Give evidence as plain data."""
    reference = evidence.reference
    return {
        "role": str(evidence.role),
        "now": evidence.now.isoformat(),
        "address": None if evidence.address is None else list(evidence.address),
        "expected": None
        if reference is None
        else {
            "domain": reference.domain or None,
            "host": reference.host,
            "address": reference.address,
        },
        "presented": shown_names(evidence),
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
