"""Federation: partners, each with a CA of its own, each believed for its own domains only.

How it thinks. A federation may have ten thousand partners, so it does not ask each of them. The
names that a certificate presents say which partners are meant, by a look-up of each name and of
the domains above it; only those are asked. Presented names may be lies: whether they are believed
is the partner's answer, from the partner's own authority.

If none of those believes it, the certificate is looked at from the other side, on the way to the
refusal: which partner's CA issued it? A CA that vouches for a name outside its partner's domains
is the attack that this library is for, and is reported as such.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

from attrs import evolve, field, frozen
from attrs.converters import optional
from cryptography import x509

from siptls.arguments import Kind, check_list, kind_of
from siptls.errors import ConfigurationError
from siptls.trust.account import IS_LIMITS, TrafficLimits
from siptls.trust.authority import Authority
from siptls.trust.believed import Trust, Verification
from siptls.trust.blocked import blocked_fault
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer, most_telling
from siptls.trust.discovery import Discovery
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault
from siptls.trust.names import ReferenceIdentity, listed, parents, parse_domain
from siptls.trust.policy import (
    AnyOf,
    Combinable,
    TrustPolicy,
    all_remembered_under,
    judge,
    remembered_under,
)
from siptls.trust.presented import PresentedNames
from siptls.trust.rules import NameRules
from siptls.trust.scope import IS_AUTHORITY, IS_RULES, Scope, Voucher, as_scope

__all__ = ["Federation", "Partner"]

# CAs of one and the same subject that a refusal is traced to: "CN=Root CA" is a popular name, and
# each costs a signature.
_MAX_ISSUING = 8
_OCS_LIMITS = TrafficLimits()


@frozen
class Partner(Combinable):
    """Believes the names of a partner's domains if the partner's CA vouches for them.

    Args:
        domains: The partner's SIP domains; names below one of them are the partner's, too, even
            if another partner has been given one of those.
        authority: The CA that the partner uses. It is trusted for these domains and no others.
        names: Which presented names count.
        edge: The host that is the partner's edge, if it is fixed, in whatever domain: one of his,
            or a hoster's. The peer must prove this name, and stands for all of the domains; they
            need not be in its certificate. `FederationResolver` looks for the partner there.
        verification: How far the partner's users count as verified.
        limits: What the partner may send; None for no limits.

    Raises:
        ConfigurationError: No domain, or something that is none.
    """

    domains: Scope = field(converter=as_scope)
    authority: Authority = field(validator=IS_AUTHORITY)
    names: NameRules = field(default=NameRules.RFC5922, kw_only=True, validator=IS_RULES)
    edge: str | None = field(default=None, kw_only=True, converter=optional(parse_domain))
    verification: Verification = field(
        default=Verification.ALWAYS_VERIFIABLE,
        kw_only=True,
        validator=Kind(Verification, "write Verification.USE_SOURCE, or another of them"),
    )
    limits: TrafficLimits | None = field(default=None, kw_only=True, validator=IS_LIMITS)

    @property
    def authorities(self) -> frozenset[Authority]:
        """Who vouches."""
        return frozenset({self.authority})

    @property
    def remembered_under(self) -> Hashable | None:
        """Under what its decisions may be remembered: see `TrustPolicy`."""
        return remembered_under(self.authority)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide about a peer: is it this partner?"""
        by = f"Partner {self.domains}"
        voucher = Voucher(
            by,
            self.authority,
            self.domains,
            self.names,
            Trust.FEDERATED,
            edge=self.edge,
            verification=self.verification,
            limits=self.limits,
        )
        return voucher.judge(evidence)


def _as_partners(value: Iterable[Partner]) -> tuple[Partner, ...]:
    """Take the partners. All must be such before they are indexed."""
    if isinstance(value, Partner):
        raise ConfigurationError("partners are a list: write Federation([Partner(...)])")
    check_list("partners", value)
    partners = tuple(value)
    for partner in partners:
        if not isinstance(partner, Partner):
            raise ConfigurationError(
                f"{kind_of(partner)} is no Partner; combine policies with |, as in"
                " Enterprise(...) | Federation([...])"
            )
    return partners


def _as_blocked(value: Scope | Iterable[str] | None) -> Scope | None:
    if value is None or isinstance(value, Scope):
        return value
    check_list("blocked domains", value)
    if isinstance(value, str):
        return Scope(value)  # which says what to write, be it empty or not
    domains = list(value)
    return Scope(domains) if domains else None


@frozen
class Federation(Combinable):
    """Believes each partner for its own domains.

    Its three modes are those of Office Communications Server: `closed`, where only listed partners
    are believed; `discovering`, where they are trusted and others may come, within limits; and
    `open`, where nobody is listed. Blocked domains stand above all of them.

    Args:
        partners: Any number; none believes nobody, and is refused when it is built, unless others
            are discovered.
        blocked: Domains of which nobody is believed, whoever vouches: neither a certificate that
            mentions such a name (or one below it) in a SIP URI, a dNSName, an SRV name or a common
            name, nor a connection to one. See `Blocked`, which stands above other policies, too.
        discovery: Who else is believed, and how far.

    Raises:
        ConfigurationError: No partner; or a domain that two partners claim, or that is our own.
    """

    partners: tuple[Partner, ...] = field(converter=_as_partners)
    blocked: Scope | None = field(default=(), kw_only=True, converter=_as_blocked)  # type: ignore[assignment]  # the converter's argument
    discovery: Discovery | None = field(
        default=None,
        kw_only=True,
        validator=Kind(Discovery, "write Discovery(Authority.public(), own=[...])", optional=True),
    )
    _by_domain: dict[str, Partner] = field(init=False, repr=False, eq=False)
    _by_edge: dict[str, tuple[Partner, ...]] = field(init=False, repr=False, eq=False)
    _by_issuer: dict[x509.Name, tuple[Partner, ...]] = field(init=False, repr=False, eq=False)

    @classmethod
    def closed(
        cls, partners: Iterable[Partner], *, blocked: Scope | Iterable[str] = ()
    ) -> Federation:
        """Believe listed partners, and nobody else: the same as the constructor."""
        return cls(partners, blocked=blocked)

    @classmethod
    def discovering(  # noqa: PLR0913  what `Discovery` is given, and the partners
        cls,
        partners: Iterable[Partner],
        authorities: Authority | Iterable[Authority],
        *,
        own: Scope | Iterable[str],
        names: NameRules = NameRules.RFC5922,
        limits: TrafficLimits | None = _OCS_LIMITS,
        blocked: Scope | Iterable[str] = (),
    ) -> Federation:
        """Trust listed partners, the allow list, in full; others within limits.

        Args:
            partners: Each with an authority of its own. Of a listed domain nobody is believed
                whom another authority vouches for.
            authorities: Who may vouch for those that are not listed.
            own: Our own domains.
            names: Which presented names of those that are not listed count.
            limits: What each of them may send.
            blocked: As for the constructor.
        """
        discovery = Discovery(authorities, own=own, names=names, limits=limits)
        return cls(partners, blocked=blocked, discovery=discovery)

    @classmethod
    def open(
        cls,
        authorities: Authority | Iterable[Authority],
        *,
        own: Scope | Iterable[str],
        names: NameRules = NameRules.RFC5922,
        limits: TrafficLimits | None = _OCS_LIMITS,
        blocked: Scope | Iterable[str] = (),
    ) -> Federation:
        """Believe every domain that proves itself, all of them within the same limits."""
        discovery = Discovery(authorities, own=own, names=names, limits=limits)
        return cls((), blocked=blocked, discovery=discovery)

    def __attrs_post_init__(self) -> None:
        if not self.partners and self.discovery is None:
            raise ConfigurationError("a Federation without partners could believe nobody: add one")
        own = frozenset() if self.discovery is None else self.discovery.own.domains
        above = {parent for domain in own for parent in parents(domain)}
        listed_names = {*self._by_domain, *(p.edge for p in self.partners if p.edge is not None)}
        if ours := sorted(n for n in listed_names if n in above or not own.isdisjoint(parents(n))):
            raise ConfigurationError(
                f"a partner has {listed(ours)}, which is a domain of ours, or stands above one: his"
                " CA would vouch for us"
            )

    @_by_domain.default
    def _index_domains(self) -> dict[str, Partner]:
        index: dict[str, Partner] = {}
        claims = [(domain, p) for p in self.partners for domain in p.domains.domains]
        faults = [d for d, partner in claims if index.setdefault(d, partner) is not partner]
        if faults:
            raise ConfigurationError(
                f"claimed by two partners: {', '.join(sorted(faults))}; a domain has one owner"
            )
        return index

    @_by_edge.default
    def _index_edges(self) -> dict[str, tuple[Partner, ...]]:
        index: dict[str, list[Partner]] = {}
        for partner in self.partners:
            if partner.edge is not None:  # by itself, and by the wildcard that would cover it
                for key in (partner.edge, f"*.{partner.edge.partition('.')[2]}"):
                    index.setdefault(key, []).append(partner)
        return {key: tuple(partners) for key, partners in index.items()}

    @_by_issuer.default
    def _index_issuers(self) -> dict[x509.Name, tuple[Partner, ...]]:
        one_each = {partner.authority: partner for partner in reversed(self.partners)}
        index: dict[x509.Name, list[Partner]] = {}
        for authority, partner in one_each.items():
            for subject in authority.subjects:
                index.setdefault(subject, []).append(partner)
        return {subject: tuple(partners) for subject, partners in index.items()}

    @cached_property
    def authorities(self) -> frozenset[Authority]:
        """Who vouches: the partners' authorities, and those of the discovery."""
        known = frozenset(partner.authority for partner in self.partners)
        return known if self.discovery is None else known | self.discovery.authorities

    @property
    def remembered_under(self) -> Hashable | None:
        """Under what its decisions may be remembered: see `TrustPolicy`."""
        return all_remembered_under(self._changing)

    @cached_property
    def _changing(self) -> tuple[Partner | Discovery, ...]:
        """Those of whom it may be another one, or None: of thousands of partners, few."""
        changing = [p for p in self.partners if type(p) is not Partner or remembered_under(p) != ()]
        return (*changing, *(() if self.discovery is None else (self.discovery,)))

    @cached_property
    def _unlisted(self) -> Discovery | None:
        """Who is believed of those that are not listed: nobody with a listed domain, or edge."""
        if self.discovery is None:
            return None
        edges = frozenset(partner.edge for partner in self.partners if partner.edge is not None)
        return self.discovery.without(edges.union(self._by_domain))

    def partner(self, domain: str) -> Partner | None:
        """Give the partner that has a domain, or one above it; None if it is nobody's.

        Args:
            domain: A SIP domain, in any form that `ReferenceIdentity.parse` reads.
        """
        owners = map(self._by_domain.get, parents(ReferenceIdentity.parse(domain).domain))
        return next((owner for owner in owners if owner is not None), None)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide about a peer: which partner is it?"""
        fault = evidence.fault
        if fault is None and self.blocked is not None:
            fault = blocked_fault(self.blocked, evidence)
        if fault is not None:
            return Decision.refuse_for(fault, by="Federation", evidence=evidence)
        meant = self._meant(evidence)
        unlisted = () if self._unlisted is None else (self._unlisted,)
        asked = (*meant, *unlisted)
        union = AnyOf(asked).evaluate(evidence) if asked else None
        if union is not None and union.peer is not None:
            fault = self._overruled(evidence, asked, union, union.peer)
            if fault is not None:
                return Decision.refuse_for(
                    fault, by="Federation", parts=union.parts, evidence=evidence
                )
            blocked = frozenset() if self.blocked is None else self.blocked.domains
            peer = evolve(union.peer, blocked=union.peer.blocked | blocked)
            return Decision.accept(
                peer, union.reason, by="Federation", parts=union.parts, evidence=evidence
            )
        # Refused. Which partner's CA issued it? For the explanation; it cannot accept any more.
        parts = [
            *(union.parts if union is not None else ()),
            *(judge(p, evidence) for p in self._issuing(evidence) if p not in meant),
        ]
        if not parts:
            found = f"presents {evidence.presented}, and no partner's CA issued its certificate"
            expected = f"a partner, of whom there are {len(self.partners)}"
            fault = Fault(Code.PARTNER_UNKNOWN, "the peer", found, expected, "Federation")
            return Decision.refuse_for(fault, by="Federation", evidence=evidence)
        return most_telling(parts).told_by("Federation", parts=parts, evidence=evidence)

    def _overruled(
        self, evidence: Evidence, asked: Sequence[TrustPolicy], union: Decision, peer: Peer
    ) -> Fault | None:
        """Say why it is not enough that somebody believes the peer; None if it is.

        An edge stands for domains that are not in its certificate, and one of them may be blocked.
        And where a host is expected beside a domain, another's certificate for that host answers:
        but a listed domain is its partner's, and only his authority says who that is.
        """
        if self.blocked is not None:
            fault = blocked_fault(self.blocked, evidence, peer)
            if fault is not None:
                return fault
        expected = evidence.reference
        if expected is None or self._by_domain.keys().isdisjoint(parents(expected.domain)):
            return None
        answers = zip(asked, union.parts, strict=True)
        if any(
            part.accepted and isinstance(one, Partner) and one.domains.covers(expected.domain)
            for one, part in answers
        ):
            return None
        about = "the peer"
        found = f"has proven {listed(sorted({n.name for n in peer.names}))}"
        return Fault(Code.NAME_MISMATCH, about, found, f"the partner of {expected}", "Federation")

    def _meant(self, evidence: Evidence) -> tuple[Partner, ...]:
        """The partners that own any of the names: work for each name, not for each partner."""
        expected = evidence.reference
        owners = [
            self._by_domain[parent]
            for domain in sorted(evidence.presented.provable(expected))
            for parent in parents(domain)
            if parent in self._by_domain
        ]
        if self._by_edge:
            owners += self._with_edge(evidence.presented)
            owner = self._by_domain.get(expected.domain) if expected is not None else None
            owners += [owner] if owner is not None and owner.edge is not None else []
        return tuple(dict.fromkeys(owners))

    def _with_edge(self, presented: PresentedNames) -> Iterator[Partner]:
        """The partners whose edge is among the names."""
        wildcards = (f"*.{name.wildcard}" for name in presented.names if name.wildcard)
        for name in sorted({*presented.domains, *wildcards}):
            yield from self._by_edge.get(name, ())

    def _issuing(self, evidence: Evidence) -> tuple[Partner, ...]:
        """One partner for each authority that has an anchor of the name of a presented issuer.

        None for a CA that vouches for everybody: that it has vouched says nothing of a partner.
        """
        issuers = dict.fromkeys(certificate.issuer for certificate in evidence.chain)
        found = (
            partner
            for issuer in issuers
            for partner in self._by_issuer.get(issuer, ())
            if self.discovery is None or partner.authority not in self.discovery.authorities
        )
        return tuple(islice(dict.fromkeys(found), _MAX_ISSUING))
