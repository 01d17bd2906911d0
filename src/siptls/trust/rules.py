"""NameRules: which presented names count, and as what.

RFC 5922 §7.1 is the default. The other presets are the worlds that SIP meets: Office
Communications Server, the web's rules (RFC 9525), and Microsoft Teams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from attrs import field, frozen

from siptls.arguments import check_list
from siptls.errors import ConfigurationError
from siptls.trust.names import ReferenceIdentity
from siptls.trust.presented import NameKind, PresentedName, PresentedNames

__all__ = ["CountedName", "NameRules"]


@frozen
class CountedName:
    """What `NameRules` make of a presented name.

    Attributes:
        presented: The name.
        name: The canonical name as which it counts; empty if it does not.
        domain: It identifies a SIP domain.
        host: It names the machine: what a list of trusted servers is held against.
        address: It is the address that is expected.
        why: Why it counts, or why not.
        elsewhere: It does not count, and would for another expected name.
    """

    presented: PresentedName
    name: str = ""
    domain: bool = field(default=False, kw_only=True)
    host: bool = field(default=False, kw_only=True)
    address: bool = field(default=False, kw_only=True)
    why: str = field(kw_only=True)
    elsewhere: bool = field(default=False, kw_only=True)


def _as_services(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise ConfigurationError(f"services are a list: write [{value!r}], not {value!r}")
    check_list("services", value)
    services = frozenset(str(service).lower() for service in value)
    for service in services:
        if not service.startswith("_") or "." in service:
            raise ConfigurationError(f"a service is written like '_sips', not {service!r}")
    return services


@frozen
class NameRules:
    """Which presented names count, and as what.

    Take a preset, or build your own from one: ``attrs.evolve(NameRules.RFC5922, name="mine",
    services=NameRules.SIP_SERVICES)``.

    Attributes:
        name: Shown in explanations and policy files.
        dns_beside_uri: A dNSName beside a ``sip:`` URI also answers for an expected *host*
            (`ReferenceIdentity.host`). Without it such a dNSName names the machine, for
            `TrustedServers`, and is never the identity that was asked for (RFC 5922 §7.1).
        dns_always: A dNSName identifies a domain even beside a ``sip:`` URI (RFC 9525).
        common_name: A common name counts as a dNSName if the certificate has no subjectAltName
            at all. RFC 9525 §2 forbids it; old enterprise CAs still need it.
        wildcard: A dNSName ``*.example.com`` counts for an *expected* name one label below it
            (RFC 9525 §6.3). Where no name is expected, it proves none.
        addresses: An iPAddress counts for an expected address (`ReferenceIdentity.for_address`).
        services: SRV names of these services (RFC 4985, RFC 9525 §6.5) identify a domain, such as
            ``{"_sips"}``; see `SIP_SERVICES`.
    """

    name: str = field(default="custom")
    dns_beside_uri: bool = field(default=False, kw_only=True)
    dns_always: bool = field(default=False, kw_only=True)
    common_name: bool = field(default=False, kw_only=True)
    wildcard: bool = field(default=False, kw_only=True)
    addresses: bool = field(default=False, kw_only=True)
    services: frozenset[str] = field(default=frozenset(), kw_only=True, converter=_as_services)

    RFC5922: ClassVar[NameRules]
    """URI ``sip:`` first; dNSName only if there is no such URI; no wildcard, no common name."""
    OCS: ClassVar[NameRules]
    """As Office Communications Server has it, for DNS that is trusted: a server's FQDN may be
    matched by a dNSName beside a URI, or by the common name of a certificate without SAN."""
    RFC9525: ClassVar[NameRules]
    """As the web has it: dNSName, with one whole left-most wildcard label; IP addresses where one
    is expected; a ``sip:`` URI beside them takes nothing away. No common name."""
    TEAMS: ClassVar[NameRules]
    """For the certificates of Microsoft Teams: RFC 9525 without IP addresses."""
    SIP_SERVICES: ClassVar[frozenset[str]] = frozenset({"_sips", "_sip", "_sipfederationtls"})
    """The services that stand for SIP, for ``services=``."""

    def count(
        self, presented: PresentedNames, expected: ReferenceIdentity | None = None
    ) -> tuple[CountedName, ...]:
        """Say of each presented name what it counts as, and why (RFC 5922 §7.1).

        Args:
            presented: All the names of a certificate.
            expected: Whom we expect: what a wildcard, or an address, is held against.
        """
        has_uri = any(n.kind is NameKind.URI and n.domain for n in presented.names)
        return tuple(
            counted
            for name in presented.names
            for counted in self._count(name, expected, has_uri, presented.has_san)
        )

    def _count(
        self,
        name: PresentedName,
        expected: ReferenceIdentity | None,
        has_uri: bool,
        has_san: bool,
    ) -> Iterator[CountedName]:
        if name.wildcard is not None and self.wildcard:
            yield from self._count_wildcard(name, expected, has_uri)
        elif name.kind is NameKind.IP and self.addresses and expected is not None:
            yield _count_address(name, expected)
        else:
            yield self._count_domain(name, has_uri, has_san)

    def _count_domain(self, name: PresentedName, has_uri: bool, has_san: bool) -> CountedName:
        if name.domain is None:
            return CountedName(name, why=name.fault)
        if name.kind is NameKind.URI:
            return CountedName(name, name.domain, domain=True, why="a sip: URI")
        if name.kind is NameKind.SRV:
            if name.service in self.services:
                return CountedName(name, name.domain, domain=True, why="a service of SIP")
            why = f"a name of the service {name.service} does not count under {self.name}"
            return CountedName(name, why=why)
        if name.kind is NameKind.CN and has_san:
            why = "a common name beside a subjectAltName never counts (RFC 5922 §7.1)"
            return CountedName(name, why=why)
        if name.kind is NameKind.CN and not self.common_name:
            why = f"a common name does not count under {self.name} (RFC 9525 §2)"
            return CountedName(name, why=why)
        return self._as_dns(name, name.domain, has_uri, f"a {name.kind} name")

    def _count_wildcard(
        self, name: PresentedName, expected: ReferenceIdentity | None, has_uri: bool
    ) -> Iterator[CountedName]:
        covered = () if expected is None else sorted(n for n in expected.names if name.covers(n))
        for match in covered:
            yield self._as_dns(name, match, has_uri, f"a wildcard for the expected {match}")
        if not covered:
            why = "a wildcard counts only for an expected name that it covers (RFC 9525 §6.3)"
            yield CountedName(name, why=why, elsewhere=expected is not None)

    def _as_dns(self, name: PresentedName, domain: str, has_uri: bool, what: str) -> CountedName:
        if not has_uri:
            return CountedName(name, domain, domain=True, host=True, why=f"{what} without sip: URI")
        if self.dns_always:
            return CountedName(
                name, domain, domain=True, host=True, why=f"{what}, which counts under {self.name}"
            )
        why = "names the machine only: a sip: URI stands beside it (RFC 5922 §7.1)"
        return CountedName(name, domain, host=True, why=why)

    def identifies(self, counted: CountedName) -> bool:
        """Whether a counted name is an identity under these rules, and no mere machine's name."""
        return counted.domain or counted.address or (self.dns_beside_uri and counted.host)

    def answers(self, expected: ReferenceIdentity, counted: Iterable[CountedName]) -> bool:
        """Whether names that count satisfy the expected one (RFC 5922 §7.2: equality)."""
        return any(
            (one.domain and one.name in expected.names)
            or (one.address and one.name == expected.address)
            or (one.host and self.dns_beside_uri and one.name == expected.host)
            for one in counted
        )


NameRules.RFC5922 = NameRules("RFC5922")
NameRules.OCS = NameRules("OCS", dns_beside_uri=True, common_name=True)
NameRules.RFC9525 = NameRules("RFC9525", dns_always=True, wildcard=True, addresses=True)
NameRules.TEAMS = NameRules("TEAMS", dns_always=True, wildcard=True)


def _count_address(name: PresentedName, expected: ReferenceIdentity) -> CountedName:
    if name.text == expected.address:
        why = "the expected address"
        return CountedName(name, name.text, address=True, why=why)
    why = "an IP address counts only where that very address is expected (RFC 9525 §6.4)"
    return CountedName(name, why=why, elsewhere=True)
