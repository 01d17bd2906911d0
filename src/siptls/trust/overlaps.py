"""Overlaps: where two parties of a trust map meet, and where it believes more than it seems to.

None of this is a fault, so that a policy loads with it. Most of it is meant; the rest is how a
partner's CA comes to vouch for somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator

from siptls.trust.authorization import ANY_DOMAIN
from siptls.trust.findings import Finding, FindingCode, Severity
from siptls.trust.names import listed, parents
from siptls.trust.scope import Scope
from siptls.trust.trustmap import MappedCA, Party, PartyKind, TrustMap

__all__ = ["overlap_findings"]


def overlap_findings(trust_map: TrustMap) -> Iterator[Finding]:
    """Find what a policy believes beyond what its file seems to say."""
    for ca in trust_map.cas:
        yield from _of_ca(ca, trust_map.parties_of(ca))
    for party in trust_map.parties:
        yield from _of_names(party)
        yield from _of_limits(party)
        if party.kind is PartyKind.OURS:
            yield from _of_servers(party, trust_map)
        elif party.kind is PartyKind.PARTNER:
            yield from _of_blocked(party)
    yield from _of_domains(trust_map.of_kind(PartyKind.PARTNER))
    for name in trust_map.unknown:
        yield Finding(Severity.NOTE, FindingCode.POLICY_UNKNOWN, name, "is a policy of your own")
    conditions = {name for party in trust_map.parties for name in party.conditions}
    for name in sorted(conditions):
        found = "is a condition that the map does not know"
        yield Finding(Severity.NOTE, FindingCode.POLICY_UNKNOWN, name, found)


# ---------------------------------------------------------------- who shares a CA


def _of_ca(ca: MappedCA, parties: tuple[Party, ...]) -> Iterator[Finding]:
    ours = [one for one in parties if one.kind is PartyKind.OURS]
    partners = [one for one in parties if one.kind is PartyKind.PARTNER]
    for partner in partners:
        if ca.is_public:
            found = f"rests on {ca.name}, which may vouch for anybody"
            yield Finding(Severity.NOTE, FindingCode.PARTNER_PUBLIC_CA, partner.title, found)
        elif ours:
            found = f"rests on {ca.name}, which is our own CA"
            yield Finding(Severity.WARNING, FindingCode.PARTNER_OUR_CA, partner.title, found)
    if ca.is_public:
        for party in ours:
            if party.servers is None:
                found = (
                    f"rest on {ca.name}, which may vouch for anybody, and name no trusted servers"
                )
                yield Finding(Severity.WARNING, FindingCode.OURS_PUBLIC_CA, party.title, found)
    elif len(partners) > 1:
        found = f"vouches for {len(partners)} partners: {listed(_domains(p) for p in partners)}"
        yield Finding(Severity.NOTE, FindingCode.PARTNER_SHARED_CA, ca.name, found)


def _domains(party: Party) -> str:
    return listed(party.domains, 2)


# ---------------------------------------------------------------- whose domain it is


def _of_domains(partners: tuple[Party, ...]) -> Iterator[Finding]:
    """Find domains of a partner below another's; and edges that are not in their own."""
    owners = {domain: partner for partner in partners for domain in partner.domains}
    for partner in partners:
        for domain in partner.domains:
            above = next((one for one in parents(domain) if one != domain and one in owners), None)
            if above is not None and owners[above] is not partner:
                found = f"has {domain}, which is below {above} of another partner"
                yield Finding(Severity.WARNING, FindingCode.PARTNER_BELOW, partner.title, found)
        if partner.edge is not None and not Scope(partner.domains).covers(partner.edge):
            owner = next((owners[d] for d in parents(partner.edge) if d in owners), None)
            whose = "" if owner is None else f", but in those of {owner.title}"
            found = f"has its edge {partner.edge} in none of its domains{whose}"
            yield Finding(Severity.NOTE, FindingCode.EDGE_ELSEWHERE, partner.title, found)


def _of_blocked(party: Party) -> Iterator[Finding]:
    if names := party.blocked_names:
        all_of_it = set(names) >= set(party.domains) or party.edge in names
        found = f"is blocked: {listed(names)}" if all_of_it else f"has blocked {listed(names)}"
        yield Finding(Severity.WARNING, FindingCode.PARTNER_BLOCKED, party.title, found)


# ---------------------------------------------------------------- our servers


def _of_servers(party: Party, trust_map: TrustMap) -> Iterator[Finding]:
    if party.servers is None:
        code = FindingCode.OURS_ANY_SERVER
        found = "name no trusted servers: each certificate of our CA is believed"
        yield Finding(Severity.NOTE, code, party.title, found)
    if party.servers and party.blocked:
        blocked = Scope(party.blocked)
        for name in party.servers:
            if blocked.covers(name):
                found = f"have the trusted server {name}, which is blocked"
                yield Finding(Severity.WARNING, FindingCode.SERVER_BLOCKED, party.title, found)
    if trust_map.mode not in {"closed", "none"}:
        return  # there a relayed domain need not be listed
    known = {domain for one in trust_map.parties for domain in one.domains}
    above = {parent for domain in known for parent in parents(domain)}
    for server, relayed in party.relays:
        for domain in relayed:
            is_known = domain in above or not known.isdisjoint(parents(domain))
            if domain != ANY_DOMAIN and not is_known:
                found = f"relays {domain}, which is no partner's"
                about = f"the trusted server {server}"
                yield Finding(Severity.NOTE, FindingCode.RELAY_UNKNOWN, about, found)


# ---------------------------------------------------------------- what is generous


def _of_names(party: Party) -> Iterator[Finding]:
    verb = "take" if party.kind is PartyKind.OURS else "takes"
    name = party.rules.name
    if party.rules.wildcard:
        found = f"{verb} wildcards where a name is expected: its names are {name}"
        yield Finding(Severity.NOTE, FindingCode.NAMES_WILDCARD, party.title, found)
    if party.rules.common_name:
        found = f"{verb} the common name of a certificate without subjectAltName: names = {name}"
        yield Finding(Severity.NOTE, FindingCode.NAMES_COMMON_NAME, party.title, found)


def _of_limits(party: Party) -> Iterator[Finding]:
    if party.kind is PartyKind.STRANGERS and party.limits is None:
        found = "may send as much as they like"
        yield Finding(Severity.WARNING, FindingCode.STRANGERS_UNLIMITED, party.title, found)
