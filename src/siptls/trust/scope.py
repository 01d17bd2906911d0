"""Scope: the domains for which an authority may vouch.

This is the heart of siptls. A CA that we know is not trusted for whatever it signs, but for the
domains that are written beside it, and for names below them. `Voucher.judge` is the one function
that turns a proven path into believed names; `Enterprise`, `Partner` and `AnyDomain` only say who
vouches, and for what.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from siptls.errors import ConfigurationError
from siptls.trust.authority import Authority
from siptls.trust.codes import Code
from siptls.trust.decision import BelievedName, Decision, Peer, Trust
from siptls.trust.evidence import Evidence
from siptls.trust.names import CountedName, NameRules, listed, parents, parse_domain

__all__ = ["Scope", "Voucher", "as_scope"]


def _as_domains(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise ConfigurationError(f"domains are a list: write [{value!r}], not {value!r}")
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
            return Decision.refuse(
                path.code,
                path.reason,
                by=self.by,
                concerned=self._is_concerned(evidence),
                evidence=evidence,
            )
        inside, outside, notes = self._sort(evidence)
        refusal = self._name_fault(evidence, inside, outside)
        if refusal is not None:
            code, reason = refusal
            return Decision.refuse(code, reason, by=self.by, notes=notes, evidence=evidence)
        peer = Peer([self._believed(c) for c in inside], path.chain, path.expires)
        reason = f"{self.authority.name} vouches for {_list(peer.domains | peer.hosts)}"
        return Decision.accept(peer, reason, by=self.by, notes=notes, evidence=evidence)

    def _is_concerned(self, evidence: Evidence) -> bool:
        """Whether any presented name would be in scope, if it were proven."""
        if evidence.fault is not None or self.scope is None:
            return True
        return any(self.scope.covers(domain) for domain in evidence.presented.domains)

    def _sort(
        self, evidence: Evidence
    ) -> tuple[list[CountedName], list[CountedName], tuple[str, ...]]:
        """Part the names that count into those in scope and those out of it; note each name."""
        inside: list[CountedName] = []
        outside: list[CountedName] = []
        notes: list[str] = []
        for counted in self.rules.count(evidence.presented):
            if not counted.name:
                notes.append(f"{counted.presented}: does not count, {counted.why}")
            elif self.scope is None or self.scope.covers(counted.name):
                inside.append(counted)
                notes.append(f"{counted.presented}: counts, {counted.why}")
            else:
                outside.append(counted)
                vouches = f"{self.authority.name} may vouch for {self.scope} only"
                notes.append(f"{counted.presented}: dropped, {vouches}")
        return inside, outside, tuple(notes)

    def _name_fault(
        self, evidence: Evidence, inside: list[CountedName], outside: list[CountedName]
    ) -> tuple[Code, str] | None:
        """Give the code and the reason for which the names are not enough; None if they are."""
        expected = evidence.reference
        limit = f"but {self.authority.name} may do so for {self.scope} only"
        if not (_domains(inside) or (self.rules.dns_beside_uri and _hosts(inside))):
            if outside:
                shown = _list(_domains(outside) | _hosts(outside))
                return Code.NAME_OUT_OF_SCOPE, f"the certificate vouches for {shown}, {limit}"
            found = f"the certificate presents {evidence.presented}"
            return Code.NAME_NONE, f"{found}: none identifies a SIP domain under {self.rules.name}"
        if expected is None or self.rules.answers(expected, _domains(inside), _hosts(inside)):
            return None
        if self.rules.answers(expected, _domains(outside), _hosts(outside)):
            return Code.NAME_OUT_OF_SCOPE, f"the certificate vouches for {expected}, {limit}"
        proven = f"the certificate proves {_list(_domains(inside)) or 'no domain'}"
        if machine := _list(_hosts(inside) - _domains(inside)):
            proven += f", and {machine} only as the name of the machine"
        return Code.NAME_MISMATCH, f"expected {expected}; {proven}"

    def _believed(self, counted: CountedName) -> BelievedName:
        return BelievedName(
            name=counted.name,
            kind=counted.presented.kind,
            domain=counted.domain,
            host=counted.host,
            authority=self.authority.name,
            trust=self.trust,
        )


def _domains(counted: list[CountedName]) -> set[str]:
    return {c.name for c in counted if c.domain}


def _hosts(counted: list[CountedName]) -> set[str]:
    return {c.name for c in counted if c.host}


def _list(names: Iterable[str]) -> str:
    return listed(sorted(names))
