"""Federating: where DNS says that the edge of a federated domain is, outbound and inbound.

Outbound it is where to connect. Inbound it is whether a stranger may be there at all: whoever
federates with everybody publishes ``_sipfederationtls._tcp`` of his domain. What DNS says is never
who a peer is: the certificate has proven that before.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve, field, frozen

from siptls.arguments import Kind
from siptls.errors import ResolutionError
from siptls.transports.resolution import Resolver, Target, check_resolver, find
from siptls.trust.believed import Trust
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer
from siptls.trust.discovery import SERVICE
from siptls.trust.fault import Fault
from siptls.trust.federation import Federation
from siptls.trust.names import ReferenceIdentity, listed

__all__ = ["EdgeDiscovery", "FederationResolver"]

# Domains of one certificate for which DNS is asked: a hoster's may have a thousand.
_MAX_ASKED = 8


def _is_resolver(_: Any, __: Any, value: Any) -> None:
    check_resolver(value)


@frozen
class FederationResolver:
    """Finds the edges of federated domains; a `Resolver`.

    A listed partner is looked for at its ``edge``, if it has one; else where
    ``_sipfederationtls._tcp`` of its domain says; else, as there is none, as any SIP server
    (RFC 3263). A domain that is not listed is found by ``_sipfederationtls._tcp`` alone, and one
    of our own as any SIP server.

    Args:
        federation: Who is listed.
        resolver: Is asked, such as a `DNSResolver`.
    """

    federation: Federation = field(
        validator=Kind(Federation, "pass the Federation itself, not what it is combined to")
    )
    resolver: Resolver = field(validator=_is_resolver)

    async def resolve(
        self,
        reference: ReferenceIdentity,
        *,
        service: str | None = None,
        port: int | None = None,
    ) -> list[Target]:
        """Give the targets for a domain; see `Resolver`.

        Raises:
            ResolutionError: There is none, or the answer could not be had.
        """
        if service is not None or reference.address is not None or self._is_own(reference.domain):
            return await find(self.resolver, reference, service=service, port=port)
        partner = self.federation.partner(reference.domain)
        if partner is not None and partner.edge is not None:
            edge = ReferenceIdentity(partner.edge)
            found = await find(self.resolver, edge, port=port)
            return [evolve(target, reference=reference, host=partner.edge) for target in found]
        try:
            return await find(self.resolver, reference, service=SERVICE, port=port)
        except ResolutionError as error:
            if partner is None or not error.negative:
                raise
        return await find(self.resolver, reference, port=port)

    def _is_own(self, domain: str) -> bool:
        discovery = self.federation.discovery
        return discovery is not None and discovery.own.covers(domain)


@frozen
class EdgeDiscovery:
    """Admits a stranger only if DNS names an edge for a domain that he has proven.

    It is for ``admit=`` of an `MTLSServerTransport`. Others than discovered peers are admitted
    without a question.

    Args:
        resolver: Is asked for ``_sipfederationtls._tcp``, such as a `DNSResolver`.
    """

    resolver: Resolver = field(validator=_is_resolver)

    async def __call__(self, peer: Peer) -> Decision:
        """Decide about a peer whom the policy has accepted."""
        if peer.trust is not Trust.DISCOVERED:
            return Decision.accept(peer, "it is no stranger", by="EdgeDiscovery")
        asked = sorted(peer.domains)[:_MAX_ASKED]
        failures = []
        for domain in asked:
            try:
                await find(self.resolver, ReferenceIdentity(domain), service=SERVICE)
            except ResolutionError as error:
                failures.append(error)
                continue
            reason = f"DNS names an edge for {domain}"
            return Decision.accept(peer, reason, by="EdgeDiscovery")
        unknown = "" if all(error.negative for error in failures) else ", as far as it answers"
        found = f"has proven {listed(asked) or 'no domain'}, for which DNS names no edge{unknown}"
        expected = f"an SRV record {SERVICE}.DOMAIN"
        fault = Fault(Code.PARTNER_UNDISCOVERED, "the peer", found, expected, "EdgeDiscovery")
        return Decision.refuse_for(fault, by="EdgeDiscovery")
