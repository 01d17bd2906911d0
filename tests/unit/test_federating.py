"""siptls.transports.federating: where the edge of a federated domain is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve
from federated import FABRIKAM, PUBLIC

from siptls import (
    AnyDomain,
    Code,
    ConfigurationError,
    Discovery,
    EdgeDiscovery,
    Federation,
    FederationResolver,
    Partner,
    Peer,
    ReferenceIdentity,
    ResolutionError,
    StaticResolver,
    Target,
    TLSClientTransport,
)
from siptls.testing import evidence

FEDERATION = Federation(
    [
        Partner(["fabrikam.com"], FABRIKAM.authority()),
        Partner(["litware.com", "litware.org"], PUBLIC.authority(), edge="edge.hoster.net"),
    ],
    discovery=Discovery(PUBLIC.authority(), own=["contoso.com"]),
)
PLACES = {
    "_sipfederationtls._tcp.fabrikam.com": [("192.0.2.1", 5061)],
    "_sipfederationtls._tcp.stranger.org": [("192.0.2.2", 5269)],
    "fabrikam.com": ["192.0.2.9"],
    "stranger.org": ["192.0.2.9"],
    "hidden.org": ["192.0.2.9"],
    "contoso.com": ["192.0.2.3"],
    "_sipfederationtls._tcp.contoso.com": ["192.0.2.9"],
    "edge.hoster.net": ["192.0.2.4", "192.0.2.5"],
    "_sipfederationtls._tcp.litware.com": ["192.0.2.9"],
    "_sips._tcp.fabrikam.com": ["192.0.2.8"],
}
RESOLVER = FederationResolver(FEDERATION, StaticResolver(PLACES))


def resolve(
    resolver: FederationResolver, domain: str, **options: Any
) -> list[tuple[str, int, str | None]]:
    reference = ReferenceIdentity.parse(domain)
    targets = asyncio.run(resolver.resolve(reference, **options))
    assert all(target.reference == reference for target in targets)
    return [(target.address, target.port, target.host) for target in targets]


@pytest.mark.parametrize(
    ("domain", "places"),
    [
        ("fabrikam.com", [("192.0.2.1", 5061, None)]),
        ("stranger.org", [("192.0.2.2", 5269, None)]),
        ("contoso.com", [("192.0.2.3", 5061, None)]),
        (
            "litware.org",
            [("192.0.2.4", 5061, "edge.hoster.net"), ("192.0.2.5", 5061, "edge.hoster.net")],
        ),
    ],
)
def test_each_domain_is_found_where_it_is_looked_for(domain: str, places: list[Any]) -> None:
    assert resolve(RESOLVER, domain) == places


def test_a_port_and_a_service_are_passed_on() -> None:
    assert resolve(RESOLVER, "litware.com", port=5099)[0][1] == 5099
    assert resolve(RESOLVER, "fabrikam.com", service="_sips._tcp") == [("192.0.2.8", 5061, None)]


def test_a_listed_partner_without_the_record_is_found_as_any_server() -> None:
    places = {"fabrikam.com": ["192.0.2.9"]}
    resolver = FederationResolver(FEDERATION, StaticResolver(places))
    assert resolve(resolver, "fabrikam.com") == [("192.0.2.9", 5061, None)]


def test_a_stranger_without_the_record_is_not_there() -> None:
    with pytest.raises(ResolutionError) as caught:
        resolve(RESOLVER, "hidden.org")
    assert caught.value.negative is True


class Silent:
    """A DNS server that gives no answer."""

    async def resolve(self, *_: Any, **__: Any) -> list[Target]:
        raise ResolutionError("no answer")


def test_no_answer_is_not_taken_for_no_record() -> None:
    """Else whoever keeps DNS from answering chooses where we look."""
    with pytest.raises(ResolutionError, match="no answer"):
        resolve(FederationResolver(FEDERATION, Silent()), "fabrikam.com")


def test_without_discovery_all_that_is_listed_is_found() -> None:
    closed = evolve(FEDERATION, discovery=None)
    resolver = FederationResolver(closed, StaticResolver(PLACES))
    assert resolve(resolver, "fabrikam.com") == [("192.0.2.1", 5061, None)]


def test_an_expected_address_is_no_domain() -> None:
    resolver = FederationResolver(FEDERATION, StaticResolver({"a.example": ["192.0.2.1"]}))
    reference = ReferenceIdentity.for_address("192.0.2.7")
    (target,) = asyncio.run(resolver.resolve(reference))
    assert target.address == "192.0.2.7"


@pytest.mark.parametrize(
    "wrong", [(FEDERATION, 5), (AnyDomain(PUBLIC.authority()), StaticResolver({})), (None, None)]
)
def test_what_cannot_be_meant_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError):
        FederationResolver(*wrong)


def test_it_is_a_resolver() -> None:
    TLSClientTransport(FEDERATION, resolver=RESOLVER)


# ---------------------------------------------------------------- EdgeDiscovery


def peer(*names: str, policy: Any = FEDERATION, ca: Any = PUBLIC) -> Peer:
    found = policy.evaluate(evidence(ca.issue(*names), role="client")).peer
    assert isinstance(found, Peer)
    return found


def admit(resolver: Any, who: Peer) -> Any:
    return asyncio.run(EdgeDiscovery(resolver)(who))


def test_one_of_the_proven_domains_is_enough() -> None:
    decision = admit(StaticResolver(PLACES), peer("sip:hidden.org", "sip:stranger.org"))
    assert decision.accepted
    assert decision.reason == "DNS names an edge for stranger.org"


@pytest.mark.parametrize(
    ("resolver", "says"), [(StaticResolver({}), "no edge;"), (Silent(), "as far as it answers")]
)
def test_without_an_edge_he_is_refused(resolver: Any, says: str) -> None:
    decision = admit(resolver, peer("sip:hidden.org"))
    assert decision.code == Code.PARTNER_UNDISCOVERED
    assert says in decision.reason


def test_only_strangers_are_looked_for() -> None:
    assert admit(Silent(), peer("sip:fabrikam.com", ca=FABRIKAM)).accepted


def test_a_hoster_with_a_thousand_names_is_not_asked_for_each() -> None:
    """Whoever presents many names must not have us ask for all of them."""
    asked: list[str] = []

    class Counting:
        async def resolve(self, reference: ReferenceIdentity, **_: Any) -> list[Target]:
            asked.append(reference.domain)
            raise ResolutionError("none", negative=True)

    names = [f"sip:d{number:03}.example" for number in range(100)]
    assert not admit(Counting(), peer(*names)).accepted
    assert asked == [f"d{number:03}.example" for number in range(8)]


def test_edge_discovery_needs_a_resolver() -> None:
    with pytest.raises(ConfigurationError):
        EdgeDiscovery(5)  # type: ignore[arg-type]
