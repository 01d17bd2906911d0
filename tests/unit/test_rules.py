"""NameRules: which presented names count, and as what."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from attrs import evolve
from certificates import general_names
from cryptography import x509
from domains import domain_names, present
from hypothesis import given
from hypothesis import strategies as st

from siptls.errors import ConfigurationError
from siptls.trust.names import ReferenceIdentity
from siptls.trust.presented import NameKind, PresentedName, PresentedNames
from siptls.trust.rules import CountedName, NameRules


def counted(rules: NameRules, presented: PresentedNames) -> list[tuple[str, bool, bool]]:
    return [(one.name, one.domain, one.host) for one in rules.count(presented)]


def test_a_uri_is_a_domain_and_a_dns_name_beside_it_a_machine() -> None:
    presented = present(*general_names(["sip.contoso.com", "sip:contoso.com"]))
    for rules in (NameRules.RFC5922, NameRules.OCS):
        assert counted(rules, presented) == [
            ("sip.contoso.com", False, True),
            ("contoso.com", True, False),
        ]
    assert [one.why for one in NameRules.RFC5922.count(presented)] == [
        "names the machine only: a sip: URI stands beside it (RFC 5922 §7.1)",
        "a sip: URI",
    ]


@pytest.mark.parametrize(
    "other", ["sips:contoso.com", "sip:alice@contoso.com", "sip:192.0.2.1", "http://contoso.com"]
)
def test_a_uri_that_identifies_no_domain_does_not_stand_in_the_way(other: str) -> None:
    """RFC 5922 §7.1: dNSNames count if no identity of the type "sip" URI was found."""
    presented = present(*general_names(["sip.contoso.com", other]))
    dns, uri = NameRules.RFC5922.count(presented)
    assert (dns.name, dns.domain, dns.host) == ("sip.contoso.com", True, True)
    assert dns.why == "a DNS name without sip: URI"
    assert (uri.name, uri.domain, uri.host) == ("", False, False)
    assert uri.why == uri.presented.fault != ""


@pytest.mark.parametrize(
    ("rules", "counts", "why"),
    [
        (NameRules.RFC5922, False, "a common name does not count under RFC5922"),
        (NameRules(), False, "a common name does not count under custom"),
        (NameRules.OCS, True, "a CN name without sip: URI"),
        (NameRules("mine", common_name=True), True, "a CN name without sip: URI"),
    ],
)
def test_a_lone_common_name_counts_under_rules_that_say_so(
    rules: NameRules, counts: bool, why: str
) -> None:
    (name,) = rules.count(present(subject="sip.contoso.com"))
    assert (name.domain, name.host, name.name) == (
        counts,
        counts,
        "sip.contoso.com" if counts else "",
    )
    assert name.why.startswith(why)


@pytest.mark.parametrize("rules", [NameRules.RFC5922, NameRules.OCS])
@pytest.mark.parametrize("other", ["sip:contoso.com", "*.contoso.com", "sip:alice@contoso.com"])
def test_a_common_name_beside_a_subject_alternative_name_never_counts(
    rules: NameRules, other: str
) -> None:
    presented = present(*general_names([other]), subject="sip.contoso.com")
    common = rules.count(presented)[-1]
    assert (common.name, common.domain, common.host) == ("", False, False)
    assert common.why == "a common name beside a subjectAltName never counts (RFC 5922 §7.1)"


@pytest.mark.parametrize("rules", [NameRules.RFC5922, NameRules.OCS])
def test_a_wildcard_never_counts_in_sip(rules: NameRules) -> None:
    """RFC 5922 §7.2: neither as a dNSName, nor as a URI, nor as a common name."""
    for presented in (
        present(*general_names(["*.contoso.com", "sip:*.contoso.com"])),
        present(subject="*.contoso.com"),
    ):
        for expected in (None, ReferenceIdentity("sip.contoso.com")):
            counted = rules.count(presented, expected)
            assert not any(one.name or one.domain or one.host for one in counted)
        assert presented.domains == frozenset()


kinds = st.sampled_from(NameKind)
presented_name = st.builds(
    lambda kind, domain: PresentedName(kind, domain or "x", domain, fault="" if domain else "no"),
    kinds,
    st.none() | st.sampled_from(["contoso.com", "fabrikam.com"]),
)


@given(
    st.lists(presented_name, max_size=5), st.booleans(), st.booleans(), st.booleans(), domain_names
)
def test_rules_judge_every_name_and_invent_none(
    names: list[PresentedName], has_san: bool, beside: bool, common: bool, name: str
) -> None:
    """Whatever the rules: a name that counts was presented, and has a reason."""
    rules = NameRules(name, dns_beside_uri=beside, common_name=common)
    presented = PresentedNames(tuple(names), has_san)
    verdicts = rules.count(presented)
    assert [one.presented for one in verdicts] == names
    assert all(one.why for one in verdicts)
    assert {one.name for one in verdicts if one.name} <= presented.domains
    assert all(bool(one.name) is (one.domain or one.host) for one in verdicts)


def counting(name: str, **what: bool) -> CountedName:
    return CountedName(PresentedName(NameKind.DNS, name), name, why="it does", **what)


@pytest.mark.parametrize(
    ("expected", "domains", "hosts", "strict", "ocs"),
    [
        (("contoso.com", None), ["contoso.com"], [], True, True),
        (("contoso.com", None), [], ["contoso.com"], False, False),
        (("contoso.com", None), ["sip.contoso.com", "com"], [], False, False),
        (("sip.contoso.com", None), ["contoso.com"], [], False, False),
        (("contoso.com", None), [], [], False, False),
        (("example.net", "sip.contoso.com"), ["sip.contoso.com"], [], True, True),
        (("example.net", "sip.contoso.com"), [], ["sip.contoso.com"], False, True),
        (("example.net", "sip.contoso.com"), ["contoso.com"], ["x.contoso.com"], False, False),
        (("example.net", "sip.contoso.com"), ["example.net"], [], True, True),
    ],
)
def test_names_answer_by_equality(
    expected: tuple[str, str | None], domains: list[str], hosts: list[str], strict: bool, ocs: bool
) -> None:
    """RFC 5922 §7.2; OCS lets a dNSName beside a URI answer for the expected host."""
    identity = ReferenceIdentity(*expected)
    counted = [counting(name, domain=True) for name in domains]
    counted += [counting(name, host=True) for name in hosts]
    assert NameRules.RFC5922.answers(identity, iter(counted)) is strict
    assert NameRules.OCS.answers(identity, iter(counted)) is ocs


def test_an_address_answers_for_an_address_and_for_no_name() -> None:
    address, domain = ReferenceIdentity.for_address("192.0.2.1"), ReferenceIdentity("contoso.com")
    for rules in (NameRules.RFC5922, NameRules.RFC9525):
        assert rules.answers(address, [counting("192.0.2.1", address=True)])
        assert not rules.answers(address, [counting("192.0.2.2", address=True)])
        assert not rules.answers(address, [counting("192.0.2.1", domain=True, host=True)])
        assert not rules.answers(domain, [counting("contoso.com", address=True)])


@pytest.mark.parametrize(
    ("what", "strict", "ocs"),
    [
        ({"domain": True}, True, True),
        ({"address": True}, True, True),
        ({"host": True}, False, True),
        ({}, False, False),
    ],
)
def test_a_name_of_the_machine_is_an_identity_only_beside_a_uri_that_lets_it(
    what: dict[str, bool], strict: bool, ocs: bool
) -> None:
    assert NameRules.RFC5922.identifies(counting("x", **what)) is strict
    assert NameRules.OCS.identifies(counting("x", **what)) is ocs


# ---------------------------------------------------------------- wildcards

WEB = [NameRules.RFC9525, NameRules.TEAMS, NameRules("mine", dns_always=True, wildcard=True)]


@pytest.mark.parametrize("rules", WEB)
@pytest.mark.parametrize("beside", [[], ["sip:example.net"], ["sip:contoso.com"]])
def test_a_wildcard_counts_for_an_expected_name_one_label_below(
    rules: NameRules, beside: list[str]
) -> None:
    """RFC 9525 §6.3; a sip: URI takes nothing away."""
    presented = present(*general_names(["*.contoso.com", *beside]))
    for name in ("sip.contoso.com", "eu.contoso.com"):
        first, *_ = rules.count(presented, ReferenceIdentity(name))
        assert (first.name, first.domain, first.host) == (name, True, True)
        assert first.why.startswith(f"a wildcard for the expected {name}")
        assert not first.elsewhere
    for name in ("contoso.com", "a.sip.contoso.com", "com", "sip.example.net"):
        first, *_ = rules.count(presented, ReferenceIdentity(name))
        assert (first.name, first.domain, first.host) == ("", False, False)
        assert first.why == (
            "a wildcard counts only for an expected name that it covers (RFC 9525 §6.3)"
        )
        # It would be believed for another name: so it is a mismatch, and not the lack of a name.
        assert first.elsewhere


@pytest.mark.parametrize("rules", WEB)
def test_a_wildcard_proves_nothing_where_nobody_is_expected(rules: NameRules) -> None:
    (one,) = rules.count(present(x509.DNSName("*.contoso.com")))
    assert (one.name, one.domain, one.host, one.elsewhere) == ("", False, False, False)
    address = ReferenceIdentity.for_address("192.0.2.1")
    (one,) = rules.count(present(x509.DNSName("*.contoso.com")), address)
    assert (one.name, one.domain, one.host) == ("", False, False)


def test_a_wildcard_counts_for_the_domain_and_for_the_host() -> None:
    expected = ReferenceIdentity("im.contoso.com", "edge.contoso.com")
    one, other = NameRules.TEAMS.count(present(x509.DNSName("*.contoso.com")), expected)
    assert (one.name, other.name) == ("edge.contoso.com", "im.contoso.com")
    assert one.presented is other.presented
    expected = ReferenceIdentity("example.net", "edge.contoso.com")
    (one,) = NameRules.TEAMS.count(present(x509.DNSName("*.contoso.com")), expected)
    assert NameRules.TEAMS.answers(expected, [one])


@pytest.mark.parametrize("rules", WEB)
@pytest.mark.parametrize("text", ["*.com", "*", "s*.contoso.com", "*.*.com", "*.contoso.com."])
def test_a_wildcard_for_everybody_or_in_a_label_never_counts(rules: NameRules, text: str) -> None:
    for name in ("contoso.com", "sip.contoso.com"):
        (one,) = rules.count(present(x509.DNSName(text)), ReferenceIdentity(name))
        assert (one.name, one.why) == ("", one.presented.fault)


@pytest.mark.parametrize("rules", WEB)
def test_a_wildcard_in_a_common_name_or_a_uri_never_counts(rules: NameRules) -> None:
    rules = evolve(rules, common_name=True)
    for presented in (present(*general_names(["sip:*.contoso.com"])), present(subject="*.a.com")):
        for name in ("sip.contoso.com", "sip.a.com"):
            (one,) = rules.count(presented, ReferenceIdentity(name))
            assert (one.name, one.domain, one.host) == ("", False, False)


def test_a_wildcard_beside_a_uri_names_the_machine_only_if_dns_names_do() -> None:
    expected = ReferenceIdentity("contoso.com", "sip.contoso.com")
    presented = present(*general_names(["*.contoso.com", "sip:example.net"]))
    for rules, answers in (
        (NameRules("mine", wildcard=True), False),
        (evolve(NameRules.OCS, wildcard=True), True),
    ):
        wildcard, uri = rules.count(presented, expected)
        assert (wildcard.name, wildcard.domain, wildcard.host) == ("sip.contoso.com", False, True)
        assert wildcard.why.startswith("names the machine only")
        assert rules.answers(expected, [wildcard, uri]) is answers


def test_a_dns_name_beside_a_uri_is_a_domain_as_the_web_has_it() -> None:
    presented = present(*general_names(["sip.contoso.com", "sip:contoso.com"]))
    for rules in (NameRules.RFC9525, NameRules.TEAMS):
        dns, uri = rules.count(presented)
        assert (dns.name, dns.domain, dns.host) == ("sip.contoso.com", True, True)
        assert dns.why == f"a DNS name, which counts under {rules.name}"
        assert (uri.name, uri.domain, uri.host) == ("contoso.com", True, False)


# ---------------------------------------------------------------- services


def service(text: str) -> x509.GeneralName:
    der = b"\x16" + bytes([len(text)]) + text.encode()
    return x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), der)


@pytest.mark.parametrize("name", sorted(NameRules.SIP_SERVICES))
@pytest.mark.parametrize("beside", [(), ("sip:example.net",)])
def test_a_service_of_sip_counts_if_the_rules_say_so(name: str, beside: tuple[str, ...]) -> None:
    presented = present(service(f"{name.upper()}.Contoso.com"), *general_names(beside))
    for services in (NameRules.SIP_SERVICES, {name}, [name.upper()]):
        rules = NameRules("mine", services=services)
        first, *_ = rules.count(presented)
        # It names no machine: which one the service is on, an SRV record says.
        assert (first.name, first.domain, first.host) == ("contoso.com", True, False)
        assert first.why == "a service of SIP"
        assert rules.answers(ReferenceIdentity("contoso.com"), [first])


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        (NameRules.RFC5922, "_sips"),
        (NameRules.OCS, "_sips"),
        (NameRules.RFC9525, "_sips"),
        (NameRules.TEAMS, "_sipfederationtls"),
        (NameRules("mine", services={"_sips"}), "_sip"),
        (NameRules("mine", services=NameRules.SIP_SERVICES), "_xmpp-server"),
    ],
)
def test_no_other_service_counts(rules: NameRules, name: str) -> None:
    (one,) = rules.count(present(service(f"{name}.contoso.com")), ReferenceIdentity("contoso.com"))
    assert (one.name, one.domain, one.host) == ("", False, False)
    assert one.why == f"a name of the service {name} does not count under {rules.name}"


def test_a_dns_name_beside_a_service_still_counts() -> None:
    """RFC 5922 §7.1 sets it back behind a sip: URI only."""
    rules = NameRules("mine", services=NameRules.SIP_SERVICES)
    presented = present(service("_sips.contoso.com"), x509.DNSName("sip.contoso.com"))
    assert counted(rules, presented) == [
        ("contoso.com", True, False),
        ("sip.contoso.com", True, True),
    ]


@pytest.mark.parametrize(
    ("services", "advice"),
    [
        ("_sips", r"services are a list: write \['_sips'\]"),
        (["sips"], "a service is written like '_sips', not 'sips'"),
        (["_sips._tcp"], "a service is written like '_sips', not '_sips._tcp'"),
        ([""], "a service is written like '_sips'"),
        ([None], "a service is written like '_sips'"),
    ],
)
def test_what_is_no_service_is_refused(services: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        NameRules("mine", services=services)


# ---------------------------------------------------------------- addresses


def address(text: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize("rules", [NameRules.RFC9525, NameRules("mine", addresses=True)])
def test_an_address_counts_where_that_very_address_is_expected(rules: NameRules, text: str) -> None:
    """RFC 9525 §6.4. It is neither a domain nor the name of a machine."""
    expected = ReferenceIdentity.for_address(text)
    presented = present(address(text), address("192.0.2.2"), *general_names(["sip:contoso.com"]))
    same, other, _ = rules.count(presented, expected)
    assert (same.name, same.domain, same.host, same.address) == (text, False, False, True)
    assert (same.why, same.elsewhere) == ("the expected address", False)
    assert (other.name, other.domain, other.host, other.address) == ("", False, False, False)
    assert other.why.startswith("an IP address counts only where that very address is expected")
    assert other.elsewhere
    assert rules.answers(expected, [same])
    assert not rules.answers(expected, [other])


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (NameRules.RFC9525, None),
        (NameRules.RFC9525, ReferenceIdentity("contoso.com", "sip.contoso.com")),
        (NameRules.RFC9525, ReferenceIdentity.for_address("192.0.2.2")),
        (NameRules.RFC5922, ReferenceIdentity.for_address("192.0.2.1")),
        (NameRules.OCS, ReferenceIdentity.for_address("192.0.2.1")),
        (NameRules.TEAMS, ReferenceIdentity.for_address("192.0.2.1")),
    ],
)
def test_an_address_never_counts_otherwise(
    rules: NameRules, expected: ReferenceIdentity | None
) -> None:
    (one,) = rules.count(present(address("192.0.2.1")), expected)
    assert (one.name, one.domain, one.host, one.address) == ("", False, False, False)


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("192.0.2.1"),
        x509.UniformResourceIdentifier("sip:192.0.2.1"),
        x509.IPAddress(ipaddress.ip_network("192.0.2.1/32")),
        x509.IPAddress(ipaddress.ip_network("192.0.2.0/24")),
    ],
)
def test_only_an_ip_address_proves_an_address(name: x509.GeneralName) -> None:
    expected = ReferenceIdentity.for_address("192.0.2.1")
    assert not NameRules.RFC9525.answers(
        expected, NameRules.RFC9525.count(present(name, subject="192.0.2.1"), expected)
    )


# ---------------------------------------------------------------- presets


@pytest.mark.parametrize(
    ("rules", "options"),
    [
        (NameRules.RFC5922, {}),
        (NameRules.OCS, {"dns_beside_uri": True, "common_name": True}),
        (NameRules.RFC9525, {"dns_always": True, "wildcard": True, "addresses": True}),
        (NameRules.TEAMS, {"dns_always": True, "wildcard": True}),
    ],
)
def test_the_presets_are_known_by_name(rules: NameRules, options: dict[str, bool]) -> None:
    assert getattr(NameRules, rules.name) is rules
    assert NameRules(rules.name, **options) == rules
    assert hash(NameRules(rules.name, **options)) == hash(rules)


def test_rules_of_your_own_are_built_from_a_preset_or_from_nothing() -> None:
    assert NameRules() == NameRules("custom", services=[])
    mine = evolve(NameRules.RFC5922, name="mine", services=NameRules.SIP_SERVICES)
    assert mine == NameRules("mine", services=["_sipfederationtls", "_SIPS", "_sip"])
    assert evolve(mine, name="RFC5922", services=()) == NameRules.RFC5922
