"""What a picture of a trust map says."""

from __future__ import annotations

import pytest
from policies import ALL, CONTOSO, FABRIKAM, OURS, SHARED, with_partners

from siptls import (
    AnyDomain,
    Enterprise,
    Federation,
    KeyPurposes,
    NameRules,
    Pinned,
    Revocation,
    TrustPolicy,
)
from siptls.cli.mapboxes import Look, MapBoxes
from siptls.trust.trustmap import TrustMap


def boxes(policy: TrustPolicy) -> MapBoxes:
    return MapBoxes.of(TrustMap.of(policy, public=[SHARED.certificate]))


def test_our_side_has_our_domains_servers_and_what_they_relay() -> None:
    (group,) = boxes(OURS).ours
    assert group.ca is not None
    assert (group.ca.names, group.ca.details) == (("Contoso CA",), ("until 2036-01-01",))
    (ours,) = group.parties
    assert ours.names == ("contoso.com", "contoso.net")
    assert ours.details == (
        "trusted servers:",
        "• edge.contoso.com",
        "   relays fabrikam.com, litware.com",
        "• pool.contoso.com",
    )


def test_partners_stand_by_their_cas_in_the_order_of_the_policy() -> None:
    found = boxes(with_partners(10)).others
    assert [group.ca.names[0] for group in found if group.ca][3:6] == [
        "Partner 3 CA",
        "Shared CA",
        "Partner 5 CA",
    ]
    assert [box.names for box in found[4].parties] == [
        ("partner04.example",),
        ("partner09.example", "second9.example"),
    ]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("0 partners", ""),
        ("1 partners", "we federate with these, and nobody else"),
        ("open", "we federate with whoever proves his domain"),
        ("discovering", "we federate with these, and whoever proves his domain"),
    ],
)
def test_the_mode_is_told(name: str, mode: str) -> None:
    assert boxes(ALL[name]).mode == mode


def test_what_is_not_as_it_usually_is_is_told() -> None:
    authority = CONTOSO.authority(purposes=KeyPurposes.ROLE, revocation=Revocation(mode="soft"))
    policy = Enterprise(["contoso.com"], authority, names=NameRules.OCS)
    (ours,) = boxes(policy & Pinned({"contoso.com": ["sha256:" + "00" * 32]})).ours[0].parties
    assert ours.details == (
        "any server with its certificate",
        "names OCS, purposes ROLE, revocation soft",
        "and Pinned",
    )
    (partner,) = boxes(ALL["discovering"]).others[0].parties
    assert partner.details == ("users use-source", "at most 20 messages/s, 4 connections")


def test_strangers_are_told_from_partners_and_public_cas_from_others() -> None:
    (group,) = boxes(ALL["open"]).others
    assert group.ca is not None
    assert group.ca.details == ("they issue to anybody",)
    (box,) = group.parties
    assert (box.look, box.names) == (Look.STRANGERS, ("any other domain",))
    (group,) = boxes(ALL["open"]).ours
    assert (group.ca, group.parties[0].names) == (None, ("contoso.com",))


def test_one_public_ca_among_many_is_told_to_be_public() -> None:
    public = [SHARED.certificate, FABRIKAM.certificate, CONTOSO.certificate]
    trust_map = TrustMap.of(AnyDomain(SHARED.authority()), public=public)
    (group,) = MapBoxes.of(trust_map).others
    assert group.ca is not None
    assert group.ca.details == ("until 2036-01-01", "a public CA: it issues to anybody")


def test_what_is_blocked_is_told_and_a_partner_of_it() -> None:
    found = boxes(ALL["blocked"])
    assert found.blocked is not None
    assert len(found.blocked.names) == 12
    assert found.blocked.names[-1] == "and 20 more"
    assert [box.is_blocked for group in found.others for box in group.parties] == [
        False,
        True,
        False,
    ]


def test_our_own_ca_beside_a_partner_is_told() -> None:
    (group,) = boxes(ALL["our CA again"]).others
    assert group.ca is not None
    assert group.ca.details[-1] == "our own CA"


def test_pins_have_no_ca_and_what_is_unknown_is_told() -> None:
    class Own:
        def evaluate(self, evidence: object, /) -> object:
            raise NotImplementedError

    pins = Pinned({"trunk.example": ["sha256:" + "00" * 32]})
    found = boxes(AnyDomain(SHARED.authority()) | pins | Own())
    assert [group.ca is None for group in found.others] == [False, True]
    assert found.others[1].parties[0].details == ("pinned: no CA is asked",)
    assert found.unknown == ("Own",)


def test_a_long_list_is_cut_and_counted() -> None:
    policy = Enterprise([f"d{number}.example" for number in range(20)], CONTOSO.authority())
    (group,) = boxes(policy).ours
    assert len(group.parties[0].names) == 8
    assert group.parties[0].names[-1] == "and 13 more"


def test_a_federation_alone_has_a_side_of_ours() -> None:
    policy = Federation(ALL["partners only"].partners)  # type: ignore[attr-defined]
    assert boxes(policy).ours[0].parties[0].names == ("we",)
