"""Enterprise: our own CA, valid for all of our own clients and servers; and the trusted servers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType

from attrs import evolve, field, frozen

from siptls.arguments import check_list, kind_of
from siptls.errors import ConfigurationError
from siptls.trust.authority import Authority
from siptls.trust.authorization import ANY_DOMAIN
from siptls.trust.believed import Trust
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault
from siptls.trust.names import listed, parse_domain
from siptls.trust.policy import Combinable, CombinableCondition, remembered_under
from siptls.trust.rules import NameRules
from siptls.trust.scope import IS_AUTHORITY, IS_RULES, Scope, Voucher, as_scope

__all__ = ["Enterprise", "TrustedServers"]


@frozen
class Enterprise(Combinable):
    """Believes the names of our own domains if our own CA vouches for them.

    Args:
        domains: Our SIP domains; names below one of them are ours, too.
        authority: Our CA.
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

    @property
    def remembered_under(self) -> Hashable | None:
        """Under what its decisions may be remembered: see `TrustPolicy`."""
        return remembered_under(self.authority)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide about a peer: is it one of ours?"""
        by = f"Enterprise {self.domains}"
        voucher = Voucher(by, self.authority, self.domains, self.names, Trust.ENTERPRISE)
        return voucher.judge(evidence)


def _as_fqdns(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise ConfigurationError(f"trusted servers are a list: write [{value!r}], not {value!r}")
    check_list("trusted servers", value)
    return frozenset(parse_domain(name) for name in value)


def _as_relays(value: Mapping[str, Iterable[str]]) -> Mapping[str, frozenset[str]]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            'relays= is by server, such as {"edge.contoso.com": ["fabrikam.com"]}, not'
            f" {kind_of(value)}"
        )
    relays: dict[str, frozenset[str]] = {}
    for written, domains in value.items():
        server = parse_domain(written)
        if server in relays:
            raise ConfigurationError(f"relays= names {server} twice: put its domains in one list")
        relays[server] = _as_relayed(domains)
    return MappingProxyType(relays)


def _as_relayed(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise ConfigurationError(f"relayed domains are a list: write [{value!r}], not {value!r}")
    check_list("relayed domains", value)
    return frozenset(one if one == ANY_DOMAIN else parse_domain(one) for one in value)


@frozen
class TrustedServers(CombinableCondition):
    """Holds if one of the peer's believed names is on the list.

    It is the trusted server list of Office Communications Server: a certificate of the enterprise
    CA makes a peer one of ours; this list says which of ours are servers that we take messages
    from without a challenge. A name beside a ``sip:`` URI, which names the machine, counts here.

    One of ours that is on the list may speak in the name of all of our own domains
    (`Peer.authorize`); of others only in the name of those that it is said to relay.

    Args:
        names: Fully qualified domain names. An IP address is none.
        relays: For each server on the list that relays messages of others, such as the edge, their
            domains, each with all that is below it; ``"*"`` is any, for an open federation.

    Raises:
        ConfigurationError: No name, or something that is none.
    """

    names: frozenset[str] = field(converter=_as_fqdns)
    relays: Mapping[str, frozenset[str]] = field(
        factory=dict, converter=_as_relays, kw_only=True, hash=False
    )

    @relays.validator
    def _are_on_the_list(self, _: object, value: Mapping[str, frozenset[str]]) -> None:
        if unlisted := sorted(set(value) - self.names):
            raise ConfigurationError(
                f"relays= names {listed(unlisted)}, which is none of the trusted servers: add it"
            )

    @names.validator
    def _not_empty(self, _: object, value: frozenset[str]) -> None:
        if not value:
            raise ConfigurationError("TrustedServers of nothing would trust no server: name one")

    @property
    def remembered_under(self) -> Hashable | None:
        """Under what its decisions may be remembered: see `TrustPolicy`."""
        return ()

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        """Decide whether the peer is on the list."""
        proven = peer.domains | peer.hosts
        on_it = sorted(proven & self.names)
        if on_it:
            reason = f"{listed(on_it)} is on the list"
            peer = evolve(peer, trusted_server=True, relays=peer.relays | self._relayed(peer))
            return Decision.accept(peer, reason, by="TrustedServers", evidence=evidence)
        fault = Fault(
            Code.SERVER_NOT_LISTED,
            "the peer",
            f"has proven {listed(sorted(proven)) or 'no name'}",
            f"one of the trusted servers: {listed(sorted(self.names))}",
            "TrustedServers",
        )
        return Decision.refuse_for(fault, by="TrustedServers", evidence=evidence)

    def _relayed(self, peer: Peer) -> frozenset[str]:
        """Domains in whose name it may speak: none, unless our own authority says who it is."""
        ours = {
            name.name
            for name in peer.names
            if name.name in self.names and name.trust is Trust.ENTERPRISE
        }
        if not ours:
            return frozenset()
        return peer.enterprise.union(*(self.relays.get(name, ()) for name in ours))
