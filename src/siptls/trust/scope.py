"""Scope: the domains for which an authority may vouch.

This is the heart of siptls. A CA that we know is not trusted for whatever it signs, but for the
domains that are written beside it, and for names below them. `Voucher.judge` is the one function
that turns a proven path into believed names; `Enterprise`, `Partner` and `AnyDomain` only say who
vouches, and for what.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from siptls.arguments import Kind, kind_of
from siptls.errors import ConfigurationError
from siptls.trust.authority import Authority
from siptls.trust.codes import Code
from siptls.trust.decision import BelievedName, Decision, Peer, Trust
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault, describe
from siptls.trust.names import listed, parents, parse_domain
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
    def of(cls, evidence: Evidence, rules: NameRules) -> _Names:
        """Give the names of the evidence under the rules."""
        known: dict[NameRules, _Names] = evidence.memo.setdefault(cls, {})
        if rules not in known:
            counted = rules.count(evidence.presented, evidence.reference)
            below: dict[str, list[int]] = {}
            for place, one in enumerate(counted):
                for domain in parents(one.name) if one.name else ():
                    below.setdefault(domain, []).append(place)
            provable = evidence.presented.provable(evidence.reference)
            claimed = frozenset(above for domain in provable for above in parents(domain))
            useless = tuple(one for one in counted if not one.name)
            known[rules] = cls(counted, useless, below, claimed)
        return known[rules]


@frozen
class Voucher:
    """An authority, and the domains for which it may vouch.

    Attributes:
        by: Who decides, for the explanation.
        authority: Who vouches.
        scope: For what; None for any domain at all.
        rules: Which presented names count.
        trust: The ground that the believed names get.
    """

    by: str
    authority: Authority
    scope: Scope | None
    rules: NameRules
    trust: Trust

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
        peer = Peer(names, path.chain, path.expires, _users(evidence, names))
        reason = f"{self.authority.name} vouches for {_list(c.name for c in inside)}"
        told = (*notes, *path.notes)
        return Decision.accept(peer, reason, by=self.by, notes=told, evidence=evidence)

    def _is_concerned(self, evidence: Evidence) -> bool:
        """Whether any presented name would be in scope, if it were proven."""
        if evidence.fault is not None or self.scope is None:
            return True
        return not self.scope.domains.isdisjoint(_Names.of(evidence, self.rules).claimed)

    def _sort(
        self, evidence: Evidence
    ) -> tuple[list[CountedName], list[CountedName], tuple[str, ...]]:
        """Part the names that count into those in scope and those out of it; note them."""
        names = _Names.of(evidence, self.rules)
        within = set(range(len(names.counted)))
        if self.scope is not None:
            within = {i for d in self.scope.domains for i in names.below.get(d, ())}
        inside = [names.counted[i] for i in sorted(within) if names.counted[i].name]
        outside = [c for i, c in enumerate(names.counted) if c.name and i not in within]
        notes = [f"{c.presented}: counts, {c.why}" for c in inside]
        vouches = f"{self.authority.name} may vouch for {self.scope} only"
        others = [f"{c.presented}: dropped, {vouches}" for c in outside[:_MAX_NOTES]]
        others += [f"{c.presented}: does not count, {c.why}" for c in names.useless[:_MAX_NOTES]]
        left = len(names.counted) - len(inside) - len(others)
        if left:
            others.append(f"and {left} names more that are of no use here")
        return inside, outside, (*notes, *others)

    def _name_fault(
        self, evidence: Evidence, inside: list[CountedName], outside: list[CountedName]
    ) -> Fault | None:
        """Say for which reason the names are not enough; None if they are."""
        rules, expected = self.rules, evidence.reference
        if not any(rules.identifies(c) for c in inside):
            if outside:
                return self._out_of_scope(evidence, _list(c.name for c in outside))
            if not any(c.elsewhere for c in _Names.of(evidence, rules).counted):
                return self._no_name(evidence)
        if expected is None or rules.answers(expected, inside):
            return None
        if rules.answers(expected, outside):
            return self._out_of_scope(evidence, str(expected))
        proven = _list(c.name for c in inside if c.domain) or "no domain"
        if machine := _list(c.name for c in inside if c.host and not c.domain):
            proven += f", and {machine} only as the name of the machine"
        rule = f"NameRules {rules.name}" + (", RFC 5922 §7.2" if rules == _SIP else "")
        about = _leaf(evidence)
        return Fault(Code.NAME_MISMATCH, about, f"proves {proven}", str(expected), rule)

    def _out_of_scope(self, evidence: Evidence, shown: str) -> Fault:
        return Fault(
            Code.NAME_OUT_OF_SCOPE,
            _leaf(evidence),
            f"vouches for {shown}",
            f"{self.scope} or what is below: {self.authority.name} may vouch for nothing else",
            self.by,
        )

    def _no_name(self, evidence: Evidence) -> Fault:
        return Fault(
            Code.NAME_NONE,
            _leaf(evidence),
            f"presents {evidence.presented}",
            f"a name that identifies a SIP domain under {self.rules.name}",
            f"NameRules {self.rules.name}" + (", RFC 5922 §7.1" if self.rules == _SIP else ""),
        )

    def _believed(self, counted: CountedName) -> BelievedName:
        return BelievedName(
            name=counted.name,
            kind=counted.presented.kind,
            domain=counted.domain,
            host=counted.host,
            authority=self.authority.name,
            trust=self.trust,
        )


def _users(evidence: Evidence, names: Iterable[BelievedName]) -> Iterable[str]:
    """Users in the certificate whose domain, or one above it, is believed."""
    domains = {name.name for name in names if name.domain}
    for presented in evidence.presented.names:
        if presented.user is not None and not domains.isdisjoint(parents(presented.host or "")):
            yield presented.user


def _leaf(evidence: Evidence) -> str:
    return describe(evidence.chain[0])


def _list(names: Iterable[str]) -> str:
    return listed(sorted(set(names)))
