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

from collections.abc import Iterable
from functools import cached_property
from itertools import islice

from attrs import field, frozen
from cryptography import x509

from siptls.arguments import check_list, kind_of
from siptls.errors import ConfigurationError
from siptls.trust.authority import Authority
from siptls.trust.blocked import blocked_fault
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Trust, most_telling
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault
from siptls.trust.names import parents
from siptls.trust.policy import AnyOf, Combinable, judge
from siptls.trust.rules import NameRules
from siptls.trust.scope import IS_AUTHORITY, IS_RULES, Scope, Voucher, as_scope

__all__ = ["Federation", "Partner"]

# CAs of one and the same subject that a refusal is traced to: "CN=Root CA" is a popular name, and
# each costs a signature.
_MAX_ISSUING = 8


@frozen
class Partner(Combinable):
    """Believes the names of a partner's domains if the partner's CA vouches for them.

    Args:
        domains: The partner's SIP domains; names below one of them are the partner's, too, even
            if another partner has been given one of those.
        authority: The CA that the partner uses. It is trusted for these domains and no others.
        names: Which presented names count.

    Raises:
        ConfigurationError: No domain, or something that is none.
    """

    domains: Scope = field(converter=as_scope)
    authority: Authority = field(validator=IS_AUTHORITY)
    names: NameRules = field(default=NameRules.RFC5922, kw_only=True, validator=IS_RULES)

    @property
    def authorities(self) -> frozenset[Authority]:
        """Who vouches."""
        return frozenset({self.authority})

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide about a peer: is it this partner?"""
        by = f"Partner {self.domains}"
        voucher = Voucher(by, self.authority, self.domains, self.names, Trust.FEDERATED)
        return voucher.judge(evidence)


def _as_partners(value: Iterable[Partner]) -> tuple[Partner, ...]:
    """Take the partners. All must be such before they are indexed."""
    if isinstance(value, Partner):
        raise ConfigurationError("partners are a list: write Federation([Partner(...)])")
    check_list("partners", value)
    partners = tuple(value)
    if not partners:
        raise ConfigurationError("a Federation without partners could believe nobody: add one")
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

    Args:
        partners: Any number; none believes nobody, and is refused when it is built.
        blocked: Domains of which nobody is believed, whoever vouches: neither a certificate that
            mentions such a name (or one below it) in a SIP URI, a dNSName, an SRV name or a common
            name, nor a connection to one. See `Blocked`, which stands above other policies, too.

    Raises:
        ConfigurationError: No partner, or a domain that two partners claim.
    """

    partners: tuple[Partner, ...] = field(converter=_as_partners)
    blocked: Scope | None = field(default=(), kw_only=True, converter=_as_blocked)  # type: ignore[assignment]  # the converter's argument
    _by_domain: dict[str, Partner] = field(init=False, repr=False, eq=False)
    _by_issuer: dict[x509.Name, tuple[Partner, ...]] = field(init=False, repr=False, eq=False)

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
        """Who vouches: the partners' authorities."""
        return frozenset(partner.authority for partner in self.partners)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide about a peer: which partner is it?"""
        fault = evidence.fault
        if fault is None and self.blocked is not None:
            fault = blocked_fault(self.blocked, evidence)
        if fault is not None:
            return Decision.refuse_for(fault, by="Federation", evidence=evidence)
        provable = evidence.presented.provable(evidence.reference)
        meant = self._meant(provable)
        union = AnyOf(meant).evaluate(evidence) if meant else None
        if union is not None and union.peer is not None:
            return Decision.accept(
                union.peer, union.reason, by="Federation", parts=union.parts, evidence=evidence
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

    def _meant(self, provable: frozenset[str]) -> tuple[Partner, ...]:
        """The partners that own any of the names: work for each name, not for each partner."""
        owners = (
            self._by_domain[parent]
            for domain in sorted(provable)
            for parent in parents(domain)
            if parent in self._by_domain
        )
        return tuple(dict.fromkeys(owners))

    def _issuing(self, evidence: Evidence) -> tuple[Partner, ...]:
        """One partner for each authority that has an anchor of the name of a presented issuer."""
        issuers = dict.fromkeys(certificate.issuer for certificate in evidence.chain)
        found = (partner for issuer in issuers for partner in self._by_issuer.get(issuer, ()))
        return tuple(islice(dict.fromkeys(found), _MAX_ISSUING))
