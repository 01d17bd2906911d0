"""The trust map: who may vouch for whom, read off a policy.

A policy answers about one peer; the map tells about all of them. It decides nothing. What a policy
of your own believes cannot be read off it, and is told as what the map does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from attrs import asdict, evolve, field, frozen
from cryptography import x509

from siptls.trust.account import TrafficLimits
from siptls.trust.authority import Authority
from siptls.trust.believed import Verification
from siptls.trust.blocked import Blocked
from siptls.trust.discovery import Discovery
from siptls.trust.enterprise import Enterprise, TrustedServers
from siptls.trust.federation import Federation, Partner
from siptls.trust.names import listed, printable
from siptls.trust.pins import Pinned
from siptls.trust.plain import certificate_dict
from siptls.trust.policy import AllOf, AnyOf, Condition, Restricted, TrustPolicy
from siptls.trust.public import AnyDomain
from siptls.trust.revocation import Revocation
from siptls.trust.rules import NameRules
from siptls.trust.scope import Scope
from siptls.trust.shadow import Shadow

__all__ = ["MappedCA", "Party", "PartyKind", "TrustMap"]


class PartyKind(StrEnum):
    """Who is believed.

    Attributes:
        OURS: Our own domains (`Enterprise`).
        PARTNER: A federation partner (`Partner`).
        STRANGERS: Whoever proves a domain that is not listed (`Discovery`).
        ANYBODY: Whoever proves any domain (`AnyDomain`).
        PINNED: Whose certificate is known beforehand (`Pinned`).
    """

    OURS = "ours"
    PARTNER = "partner"
    STRANGERS = "strangers"
    ANYBODY = "anybody"
    PINNED = "pinned"


_TITLES = {
    PartyKind.OURS: "our domains",
    PartyKind.PARTNER: "partner",
    PartyKind.STRANGERS: "strangers: any domain but ours and the listed ones",
    PartyKind.ANYBODY: "any domain",
    PartyKind.PINNED: "pinned",
}


@frozen(kw_only=True)
class Party:
    """Somebody who is believed, and on whose word.

    Attributes:
        kind: Who it is.
        domains: Canonical, sorted; each stands for all that is below it. Of `STRANGERS` they are
            our own, of which no stranger is believed.
        authority: Who vouches; None where none does.
        rules: Which presented names count.
        servers: The names of which a peer must prove one, sorted; None if any will do.
        relays: For each server that relays messages of others, their domains; both sorted.
        edge: The host that stands for all of the domains, if it is fixed.
        verification: How far its users count as verified.
        limits: What each of its peers may send; None for no limits.
        blocked: Domains of which nobody is believed all the same, sorted.
        conditions: What else must hold, as the names of conditions that the map does not know.
    """

    kind: PartyKind
    domains: tuple[str, ...] = ()
    authority: Authority | None = None
    rules: NameRules = NameRules.RFC5922
    servers: tuple[str, ...] | None = None
    relays: tuple[tuple[str, tuple[str, ...]], ...] = ()
    edge: str | None = None
    verification: Verification | None = None
    limits: TrafficLimits | None = None
    blocked: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Who it is, in a line."""
        title = _TITLES[self.kind]
        if self.kind in {PartyKind.STRANGERS, PartyKind.ANYBODY}:
            return title
        return f"{title} {listed(self.domains)}"

    @property
    def blocked_names(self) -> tuple[str, ...]:
        """Those of its domains, and its edge, that are blocked: so nobody of them is believed."""
        if not self.blocked or self.kind is PartyKind.STRANGERS:
            return ()
        scope = Scope(self.blocked)
        names = (*self.domains, *(() if self.edge is None else (self.edge,)))
        return tuple(name for name in names if scope.covers(name))


@frozen
class MappedCA:
    """A CA as the map has it: one set of anchors, whoever uses it and under whatever name.

    Attributes:
        key: Stable within the map: ``ca1``, ``ca2``.
        name: As its first user calls it.
        anchors: Its trust anchors.
        is_public: An anchor of it is one of the public CAs, which issue to anybody.
        is_bundle: Most public CAs are among its anchors: it is a list such as browsers have.
    """

    key: str
    name: str
    anchors: tuple[x509.Certificate, ...] = field(repr=False)
    is_public: bool = False
    is_bundle: bool = False


@frozen
class TrustMap:
    """Who may vouch for whom.

    Attributes:
        parties: Who is believed: ours first, then the others in the order of the policy.
        cas: Who vouches, in the order of the parties.
        unknown: Policies that the map cannot read, by the names of their classes.
    """

    parties: tuple[Party, ...]
    cas: tuple[MappedCA, ...]
    unknown: tuple[str, ...] = ()
    _by_authority: dict[Authority, MappedCA] = field(init=False, repr=False, eq=False)
    _parties_by_ca: dict[str, tuple[Party, ...]] = field(init=False, repr=False, eq=False)

    @_by_authority.default
    def _index_authorities(self) -> dict[Authority, MappedCA]:
        cas = {frozenset(ca.anchors): ca for ca in self.cas}
        known = (one.authority for one in self.parties if one.authority is not None)
        return {authority: cas[frozenset(authority.anchors)] for authority in known}

    @_parties_by_ca.default
    def _index_parties(self) -> dict[str, tuple[Party, ...]]:
        index: dict[str, list[Party]] = {}
        for one in self.parties:
            if one.authority is not None:
                index.setdefault(self._by_authority[one.authority].key, []).append(one)
        return {key: tuple(parties) for key, parties in index.items()}

    @classmethod
    def of(cls, policy: TrustPolicy, *, public: Iterable[x509.Certificate] = ()) -> TrustMap:
        """Read the map off a policy.

        Args:
            policy: Any; of a `Shadow` its policy in force.
            public: The anchors of the public CAs: those of ``Authority.public()``.
        """
        found = list(_parts(policy, _Around()))
        parties = [one for one in found if isinstance(one, Party)]
        parties.sort(key=lambda one: one.kind is not PartyKind.OURS)  # stable: no other is moved
        known = frozenset(public)
        cas: dict[frozenset[x509.Certificate], MappedCA] = {}
        for authority in (one.authority for one in parties):
            if authority is None:
                continue
            anchors = frozenset(authority.anchors)
            if anchors not in cas:
                cas[anchors] = MappedCA(
                    f"ca{len(cas) + 1}",
                    printable(authority.name),
                    authority.anchors,
                    is_public=not known.isdisjoint(anchors),
                    is_bundle=2 * len(known & anchors) > len(known),
                )
        unknown = tuple(one for one in found if isinstance(one, str))
        return cls(tuple(parties), tuple(cas.values()), unknown)

    def ca_of(self, party: Party) -> MappedCA | None:
        """Give the CA that vouches for a party of the map; None if none does."""
        return None if party.authority is None else self._by_authority[party.authority]

    def parties_of(self, ca: MappedCA) -> tuple[Party, ...]:
        """Give those for whom a CA of the map may vouch."""
        return self._parties_by_ca[ca.key]

    def of_kind(self, kind: PartyKind) -> tuple[Party, ...]:
        """Give the parties of a kind."""
        return tuple(one for one in self.parties if one.kind is kind)

    @property
    def own(self) -> tuple[str, ...]:
        """Our own domains, sorted: those that our CA vouches for, and that strangers may not."""
        ours = (*self.of_kind(PartyKind.OURS), *self.of_kind(PartyKind.STRANGERS))
        return tuple(sorted({domain for one in ours for domain in one.domains}))

    @property
    def blocked(self) -> tuple[str, ...]:
        """All domains that are blocked, sorted."""
        return tuple(sorted({domain for one in self.parties for domain in one.blocked}))

    @property
    def mode(self) -> str:
        """How federated: ``closed``, ``discovering``, ``open``, or ``none`` without federation."""
        has_partners = bool(self.of_kind(PartyKind.PARTNER))
        if self.of_kind(PartyKind.STRANGERS):
            return "discovering" if has_partners else "open"
        return "closed" if has_partners else "none"

    def to_dict(self) -> dict[str, Any]:
        """Give the map as plain data; ``docs/reference/lint.md`` has the form."""
        return {
            "mode": self.mode,
            "own": list(self.own),
            "blocked": list(self.blocked),
            "cas": [_ca_dict(ca) for ca in self.cas],
            "parties": [_party_dict(one, self.ca_of(one)) for one in self.parties],
            "unknown": list(self.unknown),
        }


# ---------------------------------------------------------------- reading a policy


@frozen
class _Around:
    """What narrows a policy from outside."""

    blocked: frozenset[str] = frozenset()
    servers: frozenset[str] | None = None
    relays: Mapping[str, frozenset[str]] = field(factory=dict)
    conditions: tuple[str, ...] = ()

    def within(self, condition: Condition) -> _Around:
        """Give this with one condition more."""
        around = self
        if isinstance(condition, AllOf):
            for part in condition.parts:
                around = around.within(part)
        elif isinstance(condition, Blocked):
            around = evolve(self, blocked=self.blocked | condition.domains.domains)
        elif isinstance(condition, TrustedServers) and self.servers is None:
            around = evolve(self, servers=condition.names, relays=condition.relays)
        else:
            name = type(condition).__name__
            around = evolve(self, conditions=(*self.conditions, name))
        return around

    def party(self, **what: Any) -> Party:
        """Make a party that is narrowed so."""
        relays = ((server, tuple(sorted(domains))) for server, domains in self.relays.items())
        return Party(
            servers=None if self.servers is None else tuple(sorted(self.servers)),
            relays=tuple(sorted(relays)),
            blocked=tuple(sorted(self.blocked)),
            conditions=self.conditions,
            **what,
        )


def _parts(policy: TrustPolicy, around: _Around) -> Iterator[Party | str]:
    """Give who is believed; of a policy that is not known, the name of its class.

    A subclass may decide otherwise than what it inherits from, so that it is not known either.
    """
    kind = type(policy)
    if isinstance(policy, AnyOf) and kind is AnyOf:
        for part in policy.parts:
            yield from _parts(part, around)
    elif isinstance(policy, Restricted) and kind is Restricted:
        yield from _parts(policy.policy, around.within(policy.condition))
    elif isinstance(policy, Shadow) and kind is Shadow:
        yield from _parts(policy.current, around)
    elif isinstance(policy, Federation) and kind is Federation:
        if policy.blocked is not None:
            around = evolve(around, blocked=around.blocked | policy.blocked.domains)
        others = () if policy.discovery is None else (policy.discovery,)
        for one in (*policy.partners, *others):
            yield from _parts(one, around)
    else:
        yield from _party(policy, kind, around)


def _party(policy: TrustPolicy, kind: type, around: _Around) -> Iterator[Party | str]:
    if isinstance(policy, Enterprise) and kind is Enterprise:
        domains = tuple(sorted(policy.domains.domains))
        yield around.party(
            kind=PartyKind.OURS, domains=domains, authority=policy.authority, rules=policy.names
        )
    elif isinstance(policy, Partner) and kind is Partner:
        yield around.party(
            kind=PartyKind.PARTNER,
            domains=tuple(sorted(policy.domains.domains)),
            authority=policy.authority,
            rules=policy.names,
            edge=policy.edge,
            verification=policy.verification,
            limits=policy.limits,
        )
    elif isinstance(policy, Discovery) and kind is Discovery:
        for authority in sorted(policy.authorities, key=lambda one: one.name):
            yield around.party(
                kind=PartyKind.STRANGERS,
                domains=tuple(sorted(policy.own.domains)),
                authority=authority,
                rules=policy.names,
                limits=policy.limits,
            )
    elif isinstance(policy, AnyDomain) and kind is AnyDomain:
        yield around.party(kind=PartyKind.ANYBODY, authority=policy.authority, rules=policy.names)
    elif isinstance(policy, Pinned) and kind is Pinned:
        yield around.party(kind=PartyKind.PINNED, domains=tuple(sorted(policy.pins)))
    else:
        yield printable(kind.__name__)


# ---------------------------------------------------------------- as plain data


def _ca_dict(ca: MappedCA) -> dict[str, Any]:
    anchors = () if ca.is_bundle else ca.anchors  # else more than a hundred, in each report
    return {
        "id": ca.key,
        "name": ca.name,
        "public": ca.is_public,
        "anchor_count": len(ca.anchors),
        "anchors": [certificate_dict(anchor) for anchor in anchors],
    }


def _party_dict(party: Party, ca: MappedCA | None) -> dict[str, Any]:
    authority = party.authority
    purposes = None if authority is None else authority.purposes
    revocation = None if authority is None else authority.revocation
    return {
        "kind": str(party.kind),
        "domains": list(party.domains),
        "ca": None if ca is None else ca.key,
        "names": printable(party.rules.name),
        "purposes": None if purposes is None else printable(purposes.name),
        "servers": None if party.servers is None else list(party.servers),
        "relays": {server: list(domains) for server, domains in party.relays},
        "edge": party.edge,
        "verification": None if party.verification is None else str(party.verification),
        "limits": None if party.limits is None else asdict(party.limits),
        "revocation": None if revocation is None else _revocation_dict(revocation),
        "blocked": list(party.blocked_names),
        "conditions": list(party.conditions),
    }


def _revocation_dict(revocation: Revocation) -> dict[str, Any]:
    return {
        "mode": str(revocation.mode),
        "scope": str(revocation.scope),
        "crls": [crl.name for crl in revocation.crls],
        "ocsp": [response.name for response in revocation.ocsp],
    }
