"""Name constraints: the names for which a CA may issue certificates (RFC 5280 §4.2.1.10).

The path builder applies them to dNSNames. It does not apply them to the hosts of SIP URIs, to the
domains of SRV names, or to a common name that stands in for a missing subjectAltName: a CA limited
to ``example.com`` could still issue ``URI:sip:evil.example``. Here they hold for all of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from cryptography import x509

from siptls.trust.codes import Code
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault, describe
from siptls.trust.names import MAX_DOMAIN, parents, presented_domain, printable
from siptls.trust.presented import NameKind, PresentedName

__all__ = ["HeldNames", "held_names", "outside"]

HeldNames: TypeAlias = tuple[tuple[PresentedName, str], ...]
"""Names that constraints hold for, each with the host that they are held against."""


def held_names(evidence: Evidence) -> HeldNames:
    """Give the leaf's names to which dNSName constraints must be applied by us."""
    presented = evidence.presented
    hosts = (
        (
            name,
            name.host
            if name.kind is not NameKind.CN
            else None
            if presented.has_san
            else name.domain,
        )
        for name in presented.names
    )
    return tuple((name, host) for name, host in hosts if host)


def outside(
    constraints: x509.NameConstraints, held: HeldNames, ca: x509.Certificate
) -> Fault | None:
    """Say which name a CA's constraints forbid; None if none."""
    permitted = _dns_subtrees(constraints.permitted_subtrees)
    excluded = _dns_subtrees(constraints.excluded_subtrees)
    if held and (odd := sorted(tree for tree in permitted | excluded if not _is_subtree(tree))):
        rule = "RFC 5280 §4.2.1.10"
        found = f"has nameConstraints on {printable(odd[0])!r}"
        return Fault(Code.PATH_CONSTRAINT, describe(ca), found, "a domain", rule)
    for name, host in held:
        if permitted and not _within(host, permitted):
            return _forbidden(name, f"a name for which {describe(ca)} may vouch")
        if _within(host, excluded):
            return _forbidden(name, f"no name that is excluded for {describe(ca)}")
    return None


def _forbidden(name: PresentedName, expected: str) -> Fault:
    rule = "RFC 5280 §4.2.1.10"
    return Fault(Code.PATH_CONSTRAINT, "the certificate", f"presents {name}", expected, rule)


def _dns_subtrees(subtrees: Iterable[x509.GeneralName] | None) -> frozenset[str]:
    return frozenset(t.value.lower() for t in subtrees or () if isinstance(t, x509.DNSName))


def _is_subtree(tree: str) -> bool:
    """Whether it is a domain, one with a leading dot, or empty, which stands for all names."""
    return not tree or presented_domain(tree.removeprefix(".")) is not None


def _within(host: str, subtrees: frozenset[str]) -> bool:
    """Whether a host is in a subtree; a leading dot leaves the domain itself out.

    It looks each parent up, since a stranger may send a thousand names and as many subtrees.
    """
    if "" in subtrees:
        return True
    return len(host) <= MAX_DOMAIN and any(
        parent in subtrees or (parent != host and f".{parent}" in subtrees)
        for parent in parents(host)
    )
