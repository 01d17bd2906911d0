"""AnyDomain: an authority that may vouch for anybody."""

from __future__ import annotations

import ipaddress

import pytest
from attrs import evolve
from certificates import NOW, YEAR, Made, make, make_ca, make_leaf, show
from cryptography import x509

from siptls import (
    AnyDomain,
    Authority,
    Code,
    NameRules,
    ReferenceIdentity,
    Role,
    Trust,
    TrustedServers,
)


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Public CA")


@pytest.fixture(scope="module")
def policy(root: Made) -> AnyDomain:
    return AnyDomain(Authority("public CAs", [root.certificate]))


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", ["sip:provider.example", "sip:contoso.com", "sip.example.net"])
def test_any_name_that_is_vouched_for_is_believed(
    policy: AnyDomain, root: Made, role: Role, name: str
) -> None:
    decision = policy.evaluate(show(make_leaf(root, name), role=role))
    assert decision.peer is not None
    assert decision.peer.domains == {name.removeprefix("sip:")}
    assert decision.peer.trust is Trust.PUBLIC
    assert decision.by == "AnyDomain"


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        ("provider.example", Code.ACCEPTED),
        ("sip:alice@provider.example", Code.ACCEPTED),
        ("other.example", Code.NAME_MISMATCH),
        ("sip.provider.example", Code.NAME_MISMATCH),
        ("example", Code.NAME_MISMATCH),
    ],
)
def test_the_expected_name_does_the_work(
    policy: AnyDomain, root: Made, expected: str, code: Code
) -> None:
    """There is no scope: only the name that was asked for keeps others out."""
    evidence = show(make_leaf(root, "sip:provider.example"), role="server", reference=expected)
    assert policy.evaluate(evidence).code == code


def test_who_is_not_vouched_for_is_refused(policy: AnyDomain) -> None:
    decision = policy.evaluate(show(make_leaf(make_ca("Stranger"), "sip:provider.example")))
    assert decision.code == Code.PATH_UNKNOWN_CA
    # Any name is its business, so the refusal is told as it is.
    assert decision.concerned


def test_an_expired_certificate_is_refused(policy: AnyDomain, root: Made) -> None:
    leaf = make_leaf(root, "sip:provider.example")
    assert policy.evaluate(show(leaf, now=NOW + 2 * YEAR)).code == Code.PATH_EXPIRED


def test_a_wildcard_names_nobody(policy: AnyDomain, root: Made) -> None:
    """RFC 5922 §7.2: what the web takes for a.provider.example is no SIP identity."""
    evidence = show(
        make_leaf(root, "*.provider.example"), role="server", reference="a.provider.example"
    )
    assert policy.evaluate(evidence).code == Code.NAME_NONE


@pytest.mark.parametrize("rules", [NameRules.RFC9525, NameRules.TEAMS])
@pytest.mark.parametrize(
    ("expected", "code"),
    [
        ("a.provider.example", Code.ACCEPTED),
        ("provider.example", Code.NAME_MISMATCH),
        ("b.a.provider.example", Code.NAME_MISMATCH),
        (None, Code.NAME_NONE),
    ],
)
def test_a_wildcard_names_whom_the_web_lets_it(
    policy: AnyDomain, root: Made, rules: NameRules, expected: str | None, code: Code
) -> None:
    evidence = show(make_leaf(root, "*.provider.example"), role="server", reference=expected)
    decision = evolve(policy, names=rules).evaluate(evidence)
    assert decision.code == code
    if decision.peer is not None:
        assert decision.peer.domains == {expected}


@pytest.mark.parametrize(
    ("rules", "expected", "code"),
    [
        (NameRules.RFC9525, ReferenceIdentity.for_address("192.0.2.1"), Code.ACCEPTED),
        (NameRules.RFC9525, ReferenceIdentity.for_address("192.0.2.2"), Code.NAME_MISMATCH),
        (NameRules.RFC9525, ReferenceIdentity("provider.example"), Code.NAME_MISMATCH),
        (NameRules.RFC9525, None, Code.NAME_NONE),
        (NameRules.TEAMS, ReferenceIdentity.for_address("192.0.2.1"), Code.NAME_NONE),
        (NameRules.RFC5922, ReferenceIdentity.for_address("192.0.2.1"), Code.NAME_NONE),
    ],
)
def test_an_address_is_believed_where_it_is_expected(
    policy: AnyDomain, root: Made, rules: NameRules, expected: ReferenceIdentity | None, code: Code
) -> None:
    san = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))])
    evidence = show(make("trunk", root, (san, False)), role="server", reference=expected)
    decision = evolve(policy, names=rules).evaluate(evidence)
    assert decision.code == code
    if decision.peer is not None:
        assert (decision.peer.addresses, decision.peer.domains) == ({"192.0.2.1"}, frozenset())


def test_the_name_rules_are_chosen(policy: AnyDomain, root: Made) -> None:
    leaf = show(make_leaf(root, subject="sip.provider.example"))
    assert policy.names is NameRules.RFC5922
    assert policy.evaluate(leaf).code == Code.NAME_NONE
    assert evolve(policy, names=NameRules.OCS).evaluate(leaf).accepted


def test_who_vouches_is_told(policy: AnyDomain) -> None:
    assert policy.authorities == {policy.authority}


def test_it_combines(policy: AnyDomain, root: Made) -> None:
    """A list of providers narrows it."""
    narrowed = policy & TrustedServers(["provider.example"])
    assert narrowed.evaluate(show(make_leaf(root, "sip:provider.example"))).accepted
    refused = narrowed.evaluate(show(make_leaf(root, "sip:other.example")))
    assert refused.code == Code.SERVER_NOT_LISTED
