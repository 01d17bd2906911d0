"""Where parties of a trust map meet, and where it believes more than it seems to."""

from __future__ import annotations

from typing import Any

import pytest

from siptls import (
    Blocked,
    Enterprise,
    Federation,
    NameRules,
    Partner,
    Pinned,
    TrustedServers,
)
from siptls.testing import CertificateAuthority
from siptls.trust.overlaps import overlap_findings
from siptls.trust.trustmap import TrustMap

CONTOSO, FABRIKAM, LITWARE, PUBLIC = (
    CertificateAuthority(f"{name} CA", seed="overlaps")
    for name in ("Contoso", "Fabrikam", "Litware", "Public")
)
SERVERS = TrustedServers(["edge.contoso.com"])


def ours(ca: CertificateAuthority = CONTOSO, condition: Any = SERVERS, **options: Any) -> Any:
    enterprise = Enterprise(["contoso.com"], ca.authority(), **options)
    return enterprise if condition is None else enterprise & condition


def partner(domain: str, ca: CertificateAuthority = FABRIKAM, **options: Any) -> Partner:
    return Partner(domain.split(), ca.authority(), **options)


def relaying(*domains: str) -> Any:
    servers = TrustedServers(["edge.contoso.com"], relays={"edge.contoso.com": domains})
    return ours(condition=servers)


def strangers(*partners: Partner, **options: Any) -> Federation:
    return Federation.discovering(partners, PUBLIC.authority(), own=["contoso.com"], **options)


def told(policy: Any) -> list[str]:
    trust_map = TrustMap.of(policy, public=[PUBLIC.certificate])
    return [f"{one.severity} {one.code}" for one in overlap_findings(trust_map)]


FEDERATION = Federation([partner("fabrikam.com"), partner("litware.com", LITWARE)])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param(ours() | FEDERATION, [], id="good"),
        pytest.param(ours(condition=None), ["note ours.any-server"], id="any-server"),
        pytest.param(
            ours(PUBLIC, None),
            ["warning ours.public-ca", "note ours.any-server"],
            id="ours-public",
        ),
        pytest.param(ours(PUBLIC), [], id="ours-public-with-servers"),
        pytest.param(
            Federation([partner("fabrikam.com", PUBLIC)]), ["note partner.public-ca"], id="public"
        ),
        pytest.param(
            ours() | Federation([partner("fabrikam.com", CONTOSO)]),
            ["warning partner.our-ca"],
            id="our-ca",
        ),
        pytest.param(
            Federation([partner("fabrikam.com"), partner("litware.com")]),
            ["note partner.shared-ca"],
            id="shared-ca",
        ),
        pytest.param(
            Federation([partner("fabrikam.com"), partner("emea.fabrikam.com", LITWARE)]),
            ["warning partner.below"],
            id="below",
        ),
        pytest.param(
            Federation([partner("fabrikam.com emea.fabrikam.com")]), [], id="below-itself"
        ),
        pytest.param(
            FEDERATION & Blocked(["litware.com"]), ["warning partner.blocked"], id="blocked"
        ),
        pytest.param(FEDERATION & Blocked(["com"]), ["warning partner.blocked"] * 2, id="above"),
        pytest.param(FEDERATION & Blocked(["emea.litware.com"]), [], id="blocked-below"),
        pytest.param(
            Federation([partner("fabrikam.com", edge="sip.fabrikam.com")])
            & Blocked(["sip.fabrikam.com"]),
            ["warning partner.blocked"],
            id="edge-blocked",
        ),
        pytest.param(Federation([partner("fabrikam.com", edge="sip.fabrikam.com")]), [], id="edge"),
        pytest.param(
            Federation([partner("fabrikam.com", edge="sip.hoster.example")]),
            ["note edge.elsewhere"],
            id="edge-elsewhere",
        ),
        pytest.param(
            ours(condition=TrustedServers(["edge.contoso.com", "pool.contoso.com"]))
            & Blocked(["edge.contoso.com"]),
            ["warning server.blocked"],
            id="server-blocked",
        ),
        pytest.param(relaying("fabrikam.com") | FEDERATION, [], id="relay"),
        pytest.param(relaying("emea.fabrikam.com", "*") | FEDERATION, [], id="relay-below"),
        pytest.param(relaying("com") | FEDERATION, [], id="relay-above"),
        pytest.param(
            relaying("tailspin.example") | FEDERATION, ["note relay.unknown"], id="relay-unknown"
        ),
        pytest.param(relaying("tailspin.example") | strangers(), [], id="relay-of-strangers"),
        pytest.param(strangers(limits=None), ["warning strangers.unlimited"], id="unlimited"),
        pytest.param(ours(names=NameRules.TEAMS), ["note names.wildcard"], id="wildcard"),
        pytest.param(ours(names=NameRules.OCS), ["note names.common-name"], id="common-name"),
        pytest.param(
            ours() & Pinned({"contoso.com": ["sha256:" + "00" * 32]}),
            ["note policy.unknown"],
            id="condition",
        ),
    ],
)
def test_each_finding_and_nothing_beside_it(policy: Any, expected: list[str]) -> None:
    assert told(policy) == expected


def test_a_policy_of_your_own_is_told() -> None:
    class Own:
        def evaluate(self, evidence: Any, /) -> Any:
            raise NotImplementedError

    (found,) = overlap_findings(TrustMap.of(Own()))
    assert (found.code, found.about) == ("policy.unknown", "Own")


@pytest.mark.parametrize(
    ("blocked", "said"),
    [
        ("fabrikam.com", "has blocked fabrikam.com"),
        ("com", "is blocked: fabrikam.com, fabrikam.net.com"),
    ],
)
def test_it_is_told_whether_all_of_a_partner_is_blocked(blocked: str, said: str) -> None:
    policy = Federation([partner("fabrikam.com fabrikam.net.com")]) & Blocked([blocked])
    (found,) = overlap_findings(TrustMap.of(policy))
    assert found.found == said


def test_it_is_told_whose_domain_an_edge_is_in() -> None:
    policy = Federation(
        [partner("fabrikam.com", edge="sip.litware.com"), partner("litware.com", LITWARE)]
    )
    (found,) = overlap_findings(TrustMap.of(policy))
    assert "in none of its domains, but in those of partner litware.com" in found.found
