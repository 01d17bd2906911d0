"""Decision: what a policy concluded, about whom, and why.

A `Decision` is a tree: a combined policy keeps the decision of each of its parts, so that
`Decision.explain` can show the whole reasoning, and `Decision.to_dict` can log it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import Any

from attrs import asdict, astuple, evolve, field, fields, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.arguments import check_list, kind_of
from siptls.errors import ConfigurationError
from siptls.trust.account import TrafficLimits
from siptls.trust.authorization import Voice
from siptls.trust.believed import FIRMNESS, BelievedName, Trust
from siptls.trust.codes import Code
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault, describe
from siptls.trust.names import ReferenceIdentity, listed, parents, printable
from siptls.trust.plain import as_line, certificate_dict, evidence_dict, fault_dict, shown_names
from siptls.trust.presented import NameKind
from siptls.trust.senders import Claims, HasHeaders

__all__ = ["Decision", "Peer", "most_telling"]


# Parts of a combination that an explanation shows: a certificate may be that of many partners.
_MAX_PARTS = 16


# As `BelievedName` itself compares, which costs ten times as much.
_IN_ORDER = attrgetter(*(one.name for one in fields(BelievedName)))


def _sorted(names: Iterable[BelievedName]) -> tuple[BelievedName, ...]:
    check_list("believed names", names)
    return tuple(sorted(set(names), key=_IN_ORDER))


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
        chain: The proven path, leaf first, trust anchor last; a pinned certificate alone.
        expires: The earliest end of anything that this trust rests on; aware.
        users: Users whom the certificate names (``sip:alice@contoso.com`` gives
            ``"alice@contoso.com"``), each below a domain that is believed. A user is no domain.
        enterprise: Our own domains, each with all that is below it, if it is one of ours.
        trusted_server: It is on the list of `TrustedServers`: whatever it sends is challenged no
            more.
        relays: Domains, each with all that is below it, in whose name a trusted server of ours may
            speak besides those that it has proven; ``"*"`` is any. See `authorize`.
        blocked: Domains, each with all that is below it, in whose name nobody may speak.
        limits: What it may send; None for no limit.
    """

    names: tuple[BelievedName, ...] = field(converter=_sorted)
    chain: tuple[x509.Certificate, ...] = field(converter=_as_path)
    expires: datetime = field()
    users: frozenset[str] = field(default=frozenset(), converter=_as_users)
    enterprise: frozenset[str] = field(default=frozenset(), kw_only=True)
    trusted_server: bool = field(default=False, kw_only=True)
    relays: frozenset[str] = field(default=frozenset(), kw_only=True)
    blocked: frozenset[str] = field(default=frozenset(), kw_only=True)
    limits: TrafficLimits | None = field(default=None, kw_only=True)

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
        return min((name.trust for name in self.names), key=FIRMNESS.__getitem__)

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

    def authorize(self, message: HasHeaders) -> Decision:
        """Decide whether this peer may send a message in the name of its sender.

        Of a request, its From, and each P-Asserted-Identity, must have a domain that the peer has
        proven (RFC 3261 §26.3.2.2); a trusted server of ours may speak for `relays` as well. Of a
        response, whose From is that of the request, only the asserted identities are looked at.

        Args:
            message: A `Message`, or whatever has its ``is_request`` and ``headers``.

        Returns:
            An acceptance; or a refusal with the code ``sender.not-authorized``,
            ``sender.unverifiable``, ``sender.malformed`` or ``partner.blocked``.
        """
        return self.authorize_claims(Claims.of(message))

    def authorize_claims(self, claims: Claims) -> Decision:
        """Decide as `authorize` does about what was read from a message already."""
        voice = Voice(self.names, self.relays, self.blocked, relieved=self.trusted_server)
        fault = voice.fault(claims)
        if fault is not None:
            return Decision.refuse_for(fault, by="peer")
        who = listed(sorted(claims.domains)) or "nobody by name"
        return Decision.accept(self, f"it may speak in the name of {who}", by="peer")

    def with_rights_of(self, other: Peer) -> Peer:
        """Take from what a condition has made of this peer whatever is no name, path or time.

        What is blocked stays so, and limits are given up for others only: a condition that makes a
        peer anew, and knows nothing of them, does not lift them.
        """
        return evolve(
            self,
            trusted_server=other.trusted_server,
            relays=other.relays,
            blocked=self.blocked | other.blocked,
            limits=self.limits if other.limits is None else other.limits,
        )

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
        """Believe what any of them believes, at least one; see ``|``.

        Its limits are those of the firmest ground, and the narrowest of these.
        """
        firmest = min(peers, key=_peer_order)
        narrowest = min(peers, key=lambda peer: (FIRMNESS[peer.trust], *_width(peer.limits)))
        return cls(
            [name for peer in peers for name in peer.names],
            firmest.chain,
            min(peer.expires for peer in peers),
            frozenset().union(*(peer.users for peer in peers)),
            enterprise=frozenset().union(*(peer.enterprise for peer in peers)),
            trusted_server=any(peer.trusted_server for peer in peers),
            relays=frozenset().union(*(peer.relays for peer in peers)),
            blocked=frozenset().union(*(peer.blocked for peer in peers)),
            limits=narrowest.limits,
        )


def _peer_order(peer: Peer) -> tuple[int, list[bytes]]:
    """Order peers by ground and path, so that the order of a union's parts does not matter."""
    der = [certificate.public_bytes(Encoding.DER) for certificate in peer.chain]
    return FIRMNESS[peer.trust], der


def _width(limits: TrafficLimits | None) -> tuple[bool, tuple[float, ...]]:
    """Order limits by what they let pass; whoever has none is the widest."""
    return limits is None, () if limits is None else astuple(limits)


def _as_parts(value: Iterable[Decision]) -> tuple[Decision, ...]:
    check_list("the parts of a decision", value)
    return tuple(value)


def _as_notes(value: Iterable[str]) -> tuple[str, ...]:
    check_list("notes", value)
    return tuple(as_line(note) for note in value)


def _as_code(code: str) -> str:
    return code if isinstance(code, Code) else as_line(code)


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
    reason: str = field(converter=as_line)
    by: str = field(default="", converter=as_line)
    peer: Peer | None = None
    parts: tuple[Decision, ...] = field(default=(), converter=_as_parts)
    notes: tuple[str, ...] = field(default=(), converter=_as_notes)
    fault: Fault | None = None
    _advice: str = field(default="", converter=as_line)
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

    def about(self, evidence: Evidence) -> Decision:
        """Give the same decision about a peer that has shown the same anew, when and wherever."""
        parts = [part.about(evidence) for part in self.parts]
        return evolve(self, parts=parts, evidence=evidence)

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
            if self.peer.trusted_server:
                relays = f", may relay {listed(sorted(self.peer.relays))}"
                facts.append(("is", f"a trusted server{relays if self.peer.relays else ''}"))
            if self.peer.limits is not None:
                facts.append(("may send", str(self.peer.limits)))
            facts.append(("until", self.peer.expires.isoformat(timespec="seconds")))
        if self.advice:
            facts.append(("to do", self.advice))
        lines += [f"  {label:<10} {as_line(text)}" for label, text in facts]
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
                facts = fault_dict(self.fault).items()
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
            "fault": None if self.fault is None else fault_dict(self.fault),
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


def _at(address: tuple[str, int] | None) -> str:
    return "" if address is None else f" at {printable(address[0])} port {address[1]}"


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
                "via": name.via,
                "verification": str(name.verification),
            }
            for name in peer.names
        ],
        "users": sorted(peer.users),
        "trust": str(peer.trust),
        "trusted_server": peer.trusted_server,
        "relays": sorted(peer.relays),
        "blocked": sorted(peer.blocked),
        "limits": None if peer.limits is None else asdict(peer.limits),
        "expires": peer.expires.isoformat(),
        "chain": [certificate_dict(certificate) for certificate in peer.chain],
    }
