"""Believed names: on what ground, how firmly, and how they are told."""

from __future__ import annotations

import pytest
from attrs import evolve

from siptls.trust.believed import FIRMNESS, BelievedName, Trust, Verification
from siptls.trust.presented import NameKind

URI = BelievedName("contoso.com", authority="Contoso CA", trust=Trust.ENTERPRISE)
HOST = BelievedName(
    "sip.contoso.com", NameKind.DNS, domain=False, host=True, authority="Contoso CA"
)


def test_a_believed_name_tells_what_it_is_and_who_says_so() -> None:
    assert str(URI) == "domain contoso.com (URI, by Contoso CA)"
    assert str(HOST) == "host sip.contoso.com (DNS, by Contoso CA)"


def test_a_believed_name_is_believed_as_little_as_possible_by_default() -> None:
    name = BelievedName("contoso.com")
    assert (name.kind, name.domain, name.host) == (NameKind.URI, True, False)
    assert name.trust is Trust.PUBLIC
    assert name.via == ""
    assert name.verification is Verification.ALWAYS_VERIFIABLE


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (BelievedName("192.0.2.1", NameKind.IP, domain=False, authority="CA"), "address"),
        (BelievedName("a.example", NameKind.DNS, domain=False, host=True, authority="CA"), "host"),
        (BelievedName("a.example", NameKind.DNS, host=True, authority="CA"), "domain"),
    ],
)
def test_a_name_is_told_as_the_most_that_it_is(name: BelievedName, told: str) -> None:
    assert str(name) == f"{told} {name.name} ({name.kind}, by CA)"


def test_a_domain_that_an_edge_stands_for_is_told_with_its_edge() -> None:
    """An operator looks for it in the certificate otherwise, and it is not there."""
    name = evolve(URI, kind=NameKind.DNS, via="edge.hoster.example")
    assert str(name) == "domain contoso.com (of its edge edge.hoster.example, DNS, by Contoso CA)"
    assert name != evolve(name, via="")


def test_the_grounds_are_these_and_the_firmest_is_first() -> None:
    """Alarms and reports hold the texts; a discovered name is less than a listed partner's."""
    told = ["enterprise", "pinned", "federated", "discovered", "public"]
    assert [str(trust) for trust in sorted(FIRMNESS, key=FIRMNESS.__getitem__)] == told
    assert set(FIRMNESS) == set(Trust)


def test_the_levels_are_those_of_office_communications_server() -> None:
    assert {str(level) for level in Verification} == {
        "always-verifiable",
        "always-unverifiable",
        "use-source",
    }


def test_believed_names_have_an_order() -> None:
    assert sorted([HOST, URI]) == [URI, HOST]
