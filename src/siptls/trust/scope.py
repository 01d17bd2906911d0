"""Scope: the domains for which an authority may vouch.

This is the heart of siptls. A CA that we know is not trusted for whatever it signs, but for the
domains that are written beside it, and for names below them. `Voucher.judge` is the one function
that turns a proven path into believed names; `Enterprise`, `Partner` and `AnyDomain` only say who
vouches, and for what.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, field, frozen

from siptls.arguments import Kind, kind_of
from siptls.errors import ConfigurationError
from siptls.trust.account import TrafficLimits
from siptls.trust.authority import Authority
from siptls.trust.believed import BelievedName, Trust, Verification
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault, describe
from siptls.trust.names import ReferenceIdentity, listed, parents, parse_domain
from siptls.trust.rules import CountedName, NameRules

_SIP = NameRules.RFC5922
# Names that are told one by one to be of no use: a hoster's certificate has a thousand.
_MAX_NOTES = 16

__all__ = ["IS_AUTHORITY", "IS_RULES", "Scope", "Voucher", "as_scope"]


IS_AUTHORITY = Kind(Authority, "Authority.from_pem(name, path) reads one from its CA's certificate")
IS_RULES = Kind(NameRules, "take a preset such as NameRules.RFC5922, or build your own")


def _as_domains(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise ConfigurationError(f"domains are a list: write [{value!r}], not {value!r}")
    if not isinstance(value, Iterable):
        raise ConfigurationError(f"domains are a list of names, not {kind_of(value)}")
    return frozenset(parse_domain(domain) for domain in value)


@frozen
class Scope:
    """A set of domains, each with all that is below it, label by label.

    Attributes:
        domains: Canonical; at least one.
    """

    domains: frozenset[str] = field(converter=_as_domains)

    @domains.validator
    def _not_empty(self, _: object, value: frozenset[str]) -> None:
        if not value:
            raise ConfigurationError("no domains: name those for which the authority may vouch")

    def covers(self, domain: str) -> bool:
        """Whether a canonical domain is one of these, or below one."""
        return any(parent in self.domains for parent in parents(domain))

    def __str__(self) -> str:
        return listed(sorted(self.domains))


def as_scope(value: Scope | Iterable[str]) -> Scope:
    """Take domains as an application writes them; or a scope, as ``attrs.evolve`` gives it."""
    return value if isinstance(value, Scope) else Scope(value)


@frozen
class _Names:
    """The names of a certificate under some rules, sorted once for all who are asked about them.

    Attributes:
        counted: All of them.
        useless: Those that count as nothing.
        below: For each domain the places in ``counted`` of the names that are it, or below it.
        claimed: All domains that a presented name is, or is below, proven or not.
    """

    counted: tuple[CountedName, ...]
    useless: tuple[CountedName, ...]
    below: dict[str, list[int]]
    claimed: frozenset[str]

    @classmethod
    def of(cls, evidence: Evidence, rules: NameRules, expected: ReferenceIdentity | None) -> _Names:
        """Give the names of the evidence under the rules, where somebody is expected, or nobody."""
        known: dict[object, _Names] = evidence.memo.setdefault(cls, {})
        key = (rules, expected)
        if key not in known:
            counted = rules.count(evidence.presented, expected)
            below: dict[str, list[int]] = {}
            for place, one in enumerate(counted):
                for domain in parents(one.name) if one.name else ():
                    below.setdefault(domain, []).append(place)
            provable = evidence.presented.provable(expected)
            claimed = frozenset(above for domain in provable for above in parents(domain))
            useless = tuple(one for one in counted if not one.name)
            known[key] = cls(counted, useless, below, claimed)
        return known[key]


@frozen
class Voucher:
    """An authority, and the domains for which it may vouch.

    Attributes:
        by: Who decides, for the explanation.
        authority: Who vouches.
        scope: For what; None for any domain at all.
        rules: Which presented names count.
        trust: The ground that the believed names get.
        excluded: Domains for which it may not vouch, with all that is below them: they are
            somebody else's.
        edge: A host that the peer must prove to be, whatever domain it is in. It stands for all of
            the domains in scope.
        verification: How far the users of the believed names count as verified.
        limits: What the peer may send.
    """

    by: str
    authority: Authority
    scope: Scope | None
    rules: NameRules
    trust: Trust
    excluded: Scope | None = None
    edge: str | None = None
    verification: Verification = Verification.ALWAYS_VERIFIABLE
    limits: TrafficLimits | None = None

    def judge(self, evidence: Evidence) -> Decision:
        """Believe the names that are proven by the authority, count by the rules, and in scope.

        If the evidence holds a reference identity, that must be among them.
        """
        path = self.authority.verify(evidence)
        if isinstance(path, Decision):
            concerned = self._is_concerned(evidence)
            return path.told_by(self.by, concerned=concerned, evidence=evidence)
        inside, outside, notes = self._sort(evidence)
        fault = self._name_fault(evidence, inside, outside)
        if fault is not None:
            return Decision.refuse_for(fault, by=self.by, notes=notes, evidence=evidence)
        names = [self._believed(counted) for counted in inside]
        names += self._represented(names)
        peer = Peer(
            names,
            path.chain,
            path.expires,
            self._users(evidence, names),
            enterprise=self._own_domains,
            limits=self.limits,
        )
        reason = f"{self.authority.name} vouches for {_list(c.name for c in inside)}"
        told = (*notes, *path.notes)
        return Decision.accept(peer, reason, by=self.by, notes=told, evidence=evidence)

    @property
    def _own_domains(self) -> frozenset[str]:
        if self.trust is not Trust.ENTERPRISE or self.scope is None:
            return frozenset()
        return self.scope.domains

    def _names(self, evidence: Evidence) -> _Names:
        """The names of the evidence; a wildcard may cover the edge, which is expected as well."""
        expected = evidence.reference
        if self.edge is not None and (expected is None or expected.address is None):
            domain = self.edge if expected is None else expected.domain
            expected = ReferenceIdentity(domain, host=self.edge)
        return _Names.of(evidence, self.rules, expected)

    def _is_concerned(self, evidence: Evidence) -> bool:
        """Whether any presented name would be in scope, if it were proven."""
        if evidence.fault is not None or self.scope is None:
            return True
        claimed = self._names(evidence).claimed
        return not self.scope.domains.isdisjoint(claimed) or self.edge in claimed

    def _sort(
        self, evidence: Evidence
    ) -> tuple[list[CountedName], list[CountedName], tuple[str, ...]]:
        """Part the names that count into those in scope and those out of it; note them."""
        names = self._names(evidence)
        within = set(range(len(names.counted)))
        if self.scope is not None:
            within = {i for d in self.scope.domains for i in names.below.get(d, ())}
        if self.edge is not None:
            within |= {i for i, one in enumerate(names.counted) if one.name == self.edge}
        if self.excluded is not None:
            counted = enumerate(names.counted)
            within -= {i for i, one in counted if one.name and self.excluded.covers(one.name)}
        inside = [names.counted[i] for i in sorted(within) if names.counted[i].name]
        outside = [c for i, c in enumerate(names.counted) if c.name and i not in within]
        notes = [f"{c.presented}: counts, {c.why}" for c in inside]
        others = [f"{c.presented}: dropped, {self._may_vouch}" for c in outside[:_MAX_NOTES]]
        others += [f"{c.presented}: does not count, {c.why}" for c in names.useless[:_MAX_NOTES]]
        left = len(names.counted) - len(inside) - len(others)
        if left:
            others.append(f"and {left} names more that are of no use here")
        return inside, outside, (*notes, *others)

    @property
    def _may_vouch(self) -> str:
        if self.scope is None:
            return f"{self.authority.name} may not vouch for it: it is ours, or a listed partner's"
        return f"{self.authority.name} may vouch for {self.scope} only"

    def _name_fault(
        self, evidence: Evidence, inside: list[CountedName], outside: list[CountedName]
    ) -> Fault | None:
        """Say for which reason the names are not enough; None if they are."""
        rules, expected = self.rules, evidence.reference
        is_edge = any(c.name == self.edge for c in inside)
        if self.edge is not None and inside and not is_edge:
            found, rule = f"proves {_list(c.name for c in inside)}", f"edge= of {self.by}"
            return Fault(Code.NAME_MISMATCH, _leaf(evidence), found, f"the edge {self.edge}", rule)
        if not is_edge and not any(rules.identifies(c) for c in inside):
            if outside:
                return self._out_of_scope(evidence, _list(c.name for c in outside))
            if not any(c.elsewhere for c in self._names(evidence).counted):
                return self._no_name(evidence)
        if expected is None:
            return None
        if rules.answers(expected, inside) and not self._is_elsewhere(expected.domain):
            return None
        if is_edge and self.scope is not None and expected.domain in self.scope.domains:
            return None  # the edge stands for it
        if rules.answers(expected, outside):
            return self._out_of_scope(evidence, str(expected))
        proven = _list(c.name for c in inside if c.domain) or "no domain"
        if machine := _list(c.name for c in inside if c.host and not c.domain):
            proven += f", and {machine} only as the name of the machine"
        rule = f"NameRules {rules.name}" + (", RFC 5922 §7.2" if rules == _SIP else "")
        about = _leaf(evidence)
        return Fault(Code.NAME_MISMATCH, about, f"proves {proven}", str(expected), rule)

    def _is_elsewhere(self, domain: str) -> bool:
        """Whether an expected domain is somebody else's, whatever host is expected beside it."""
        if self.excluded is not None and self.excluded.covers(domain):
            return True
        return domain == self.edge and self.scope is not None and not self.scope.covers(domain)

    def _represented(self, names: Iterable[BelievedName]) -> list[BelievedName]:
        """The domains for which the edge, which is proven, stands; they are not in its names."""
        if self.edge is None or self.scope is None:
            return []
        known = {name.name for name in names if name.domain}
        edge = next(name for name in names if name.name == self.edge)
        missing = sorted(self.scope.domains - known)
        return [evolve(edge, name=d, domain=True, host=False, via=self.edge) for d in missing]

    def _out_of_scope(self, evidence: Evidence, shown: str) -> Fault:
        return Fault(
            Code.NAME_OUT_OF_SCOPE,
            _leaf(evidence),
            f"vouches for {shown}",
            self._in_scope,
            self.by,
        )

    @property
    def _in_scope(self) -> str:
        if self.scope is None:
            return "a domain that is neither ours nor a listed partner's"
        return f"{self.scope} or what is below: {self.authority.name} may vouch for nothing else"

    def _no_name(self, evidence: Evidence) -> Fault:
        return Fault(
            Code.NAME_NONE,
            _leaf(evidence),
            f"presents {evidence.presented}",
            f"a name that identifies a SIP domain under {self.rules.name}",
            f"NameRules {self.rules.name}" + (", RFC 5922 §7.1" if self.rules == _SIP else ""),
        )

    def _believed(self, counted: CountedName) -> BelievedName:
        # An edge elsewhere is a machine that the partner uses, and no domain of his.
        ours = self.edge != counted.name or self.scope is None or self.scope.covers(counted.name)
        return BelievedName(
            name=counted.name,
            kind=counted.presented.kind,
            domain=counted.domain and ours,
            host=counted.host or not ours,
            authority=self.authority.name,
            trust=self.trust,
            verification=self.verification,
        )

    def _users(self, evidence: Evidence, names: Iterable[BelievedName]) -> Iterable[str]:
        """Users in the certificate whose domain, or one above it, is believed.

        A stranger who has proven example.com has no users in corp.example.com, if that is ours.
        """
        domains = {name.name for name in names if name.domain}
        for presented in evidence.presented.names:
            host = presented.host or ""
            if presented.user is None or domains.isdisjoint(parents(host)):
                continue
            if self.excluded is None or not self.excluded.covers(host):
                yield presented.user


def _leaf(evidence: Evidence) -> str:
    return describe(evidence.chain[0])


def _list(names: Iterable[str]) -> str:
    return listed(sorted(set(names)))
