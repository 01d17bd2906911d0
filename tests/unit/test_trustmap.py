"""The trust map: who may vouch for whom, read off a policy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import frozen

from siptls import (
    AnyDomain,
    Authority,
    Blocked,
    Enterprise,
    Evidence,
    Federation,
    Partner,
    Pinned,
    Revocation,
    Shadow,
    TrafficLimits,
    TrustedServers,
)
from siptls.testing import CertificateAuthority
from siptls.trust.decision import Decision
from siptls.trust.trustmap import PartyKind, TrustMap

CONTOSO = CertificateAuthority("Contoso CA", seed="map")
FABRIKAM = CertificateAuthority("Fabrikam CA", seed="map")
PUBLIC = CertificateAuthority("Public CA", seed="map")
OURS = Enterprise(["contoso.com"], CONTOSO.authority())
FEDERATION = Federation([Partner(["fabrikam.com"], FABRIKAM.authority(), edge="sip.fabrikam.com")])


def kinds(policy: Any) -> list[str]:
    return [str(one.kind) for one in TrustMap.of(policy).parties]


@frozen
class OwnPolicy:
    """A policy that only answers."""

    def evaluate(self, evidence: Evidence, /) -> Decision:
        raise NotImplementedError


class OwnPartner(Partner):
    """It may decide otherwise than a partner."""


@pytest.mark.parametrize(
    ("policy", "expected", "mode"),
    [
        (OURS, ["ours"], "none"),
        (FEDERATION, ["partner"], "closed"),
        (FEDERATION | OURS, ["ours", "partner"], "closed"),
        (Federation.open(PUBLIC.authority(), own=["contoso.com"]), ["strangers"], "open"),
        (
            Federation.discovering(FEDERATION.partners, PUBLIC.authority(), own=["contoso.com"]),
            ["partner", "strangers"],
            "discovering",
        ),
        (AnyDomain(PUBLIC.authority()), ["anybody"], "none"),
        (Pinned({"a.example": ["sha256:" + "00" * 32]}), ["pinned"], "none"),
        (Shadow(OURS, FEDERATION), ["ours"], "none"),
        (Partner(["fabrikam.com"], FABRIKAM.authority()), ["partner"], "closed"),
    ],
)
def test_each_policy_has_its_parties(policy: Any, expected: list[str], mode: str) -> None:
    assert kinds(policy) == expected
    assert TrustMap.of(policy).mode == mode
    assert TrustMap.of(policy).unknown == ()


def test_a_policy_of_your_own_is_told_and_so_is_a_subclass_of_ours() -> None:
    own = Federation([OwnPartner(["fabrikam.com"], FABRIKAM.authority())])
    found = TrustMap.of(OURS | OwnPolicy() | own)
    assert [one.kind for one in found.parties] == [PartyKind.OURS]
    assert found.unknown == ("OwnPolicy", "OwnPartner")


def test_conditions_narrow_what_they_stand_around_and_nothing_else() -> None:
    servers = TrustedServers(["b.contoso.com", "a.contoso.com"], relays={"a.contoso.com": ["*"]})
    pins = Pinned({"contoso.com": ["sha256:" + "00" * 32]})
    ours, partner = TrustMap.of(
        ((OURS & servers & pins) | FEDERATION) & Blocked(["evil.example"])
    ).parties
    assert ours.servers == ("a.contoso.com", "b.contoso.com")
    assert ours.relays == (("a.contoso.com", ("*",)),)
    assert ours.conditions == ("Pinned",)
    assert ours.blocked == partner.blocked == ("evil.example",)
    assert (partner.servers, partner.relays, partner.conditions) == (None, (), ())


def test_conditions_that_are_joined_narrow_one_by_one() -> None:
    both = TrustedServers(["a.contoso.com"]) & Blocked(["evil.example"])
    (ours,) = TrustMap.of(OURS & both).parties
    assert (ours.servers, ours.blocked) == (("a.contoso.com",), ("evil.example",))
    (ours,) = TrustMap.of((OURS & both) & TrustedServers(["b.contoso.com"])).parties
    assert ours.conditions == ("TrustedServers",)  # two lists: the map knows one


def test_what_a_federation_blocks_does_not_concern_the_enterprise() -> None:
    federation = Federation(FEDERATION.partners, blocked=["fabrikam.com"])
    found = TrustMap.of(OURS | federation)
    ours, partner = found.parties
    assert (ours.blocked, partner.blocked_names) == ((), ("fabrikam.com", "sip.fabrikam.com"))
    assert found.blocked == ("fabrikam.com",)


def test_one_set_of_anchors_is_one_ca_whatever_it_is_called() -> None:
    policy = Federation(
        [
            Partner(["fabrikam.com"], FABRIKAM.authority("one")),
            Partner(["litware.com"], PUBLIC.authority()),
            Partner(["tailspin.example"], FABRIKAM.authority("two", revocation=Revocation())),
        ]
    )
    found = TrustMap.of(policy, public=[PUBLIC.certificate])
    first, second = found.cas
    assert [(ca.key, ca.name, ca.is_public, ca.is_bundle) for ca in found.cas] == [
        ("ca1", "one", False, False),
        ("ca2", "Public CA", True, True),
    ]
    assert [one.domains for one in found.parties_of(first)] == [
        ("fabrikam.com",),
        ("tailspin.example",),
    ]
    assert found.ca_of(found.parties[1]) is second


def test_the_map_is_plain_data() -> None:
    partner = Partner(["fabrikam.com"], FABRIKAM.authority(), limits=TrafficLimits())
    crls = Revocation([FABRIKAM.crl()], ocsp=[FABRIKAM.ocsp(FABRIKAM.issue("fabrikam.com"))])
    other = Partner(["litware.com"], FABRIKAM.authority(revocation=crls))
    found = TrustMap.of(OURS | Federation([partner, other])).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert [ca["id"] for ca in found["cas"]] == ["ca1", "ca2"]
    assert [one["ca"] for one in found["parties"]] == ["ca1", "ca2", "ca2"]
    assert found["parties"][1]["limits"]["burst"] == 20
    assert len(found["parties"][2]["revocation"]["crls"]) == 1


def test_most_of_the_public_cas_are_a_bundle_and_a_few_are_not() -> None:
    public = [one.certificate for one in (PUBLIC, FABRIKAM, CONTOSO)]
    for anchors, is_bundle in ((public[:1], False), (public[:2], True)):
        (ca,) = TrustMap.of(AnyDomain(Authority("some", anchors)), public=public).cas
        assert (ca.is_public, ca.is_bundle) == (True, is_bundle)


def test_of_the_public_cas_no_list_is_repeated() -> None:
    found = TrustMap.of(AnyDomain(PUBLIC.authority()), public=[PUBLIC.certificate]).to_dict()
    assert (found["cas"][0]["anchor_count"], found["cas"][0]["anchors"]) == (1, [])


def test_names_are_made_printable() -> None:
    found = TrustMap.of(Enterprise(["contoso.com"], CONTOSO.authority("a\x1b[31m\nb")))
    assert found.cas[0].name == "a\\u001b[31m\\u000ab"
