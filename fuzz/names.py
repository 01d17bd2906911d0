"""Any text as a domain, a URI, an expected name or a presented one; and who matches whom."""

from __future__ import annotations

import contextlib
import ipaddress
from types import SimpleNamespace

from attrs import evolve
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID, ObjectIdentifier

from siptls import Blocked, ConfigurationError, NameRules, ReferenceIdentity, TrustedServers
from siptls.trust.names import SIPURI, parse_domain, presented_domain, printable
from siptls.trust.presented import PresentedNames, presented_names, written_hosts
from siptls.trust.rules import CountedName
from siptls.trust.scope import Scope

LENGTH = 300
_RULES = (
    NameRules.RFC5922,
    NameRules.OCS,
    NameRules.RFC9525,
    NameRules.TEAMS,
    NameRules("mine", common_name=True, services=NameRules.SIP_SERVICES),
    evolve(NameRules.RFC9525, services={"_sips"}, dns_beside_uri=True, common_name=True),
)
_SRV = ObjectIdentifier("1.3.6.1.5.5.7.8.7")
_NAMES = 6


def target(data: bytes) -> None:
    """The first byte says what is done; then comes one text, or a line for each name."""
    if not data:
        return
    match data[0] % 4:
        case 0:
            check_domain(data[1:].decode("utf-8", "surrogateescape"))
        case 1:
            check_uri(data[1:].decode("utf-8", "surrogateescape"))
        case _:  # a certificate that has been read has text without surrogates
            first, *names = data[1:].decode("utf-8", "replace").split("\n")[: 1 + _NAMES]
            check_match(first, names, _RULES[(data[0] >> 2) % len(_RULES)])


def check_domain(text: str) -> None:
    """Assert that a domain is canonical, and read again as itself."""
    shown = printable(text)
    assert shown.isprintable()
    for host in written_hosts(text):
        assert host
        assert len(host) <= 254
    with contextlib.suppress(ConfigurationError):
        (service,) = NameRules(services=[text]).services
        assert service.startswith("_")
    check_lists(text)
    presented = presented_domain(text)
    assert presented in (None, text.lower())
    try:
        domain = parse_domain(text)
    except ConfigurationError:
        assert presented is None
        return
    assert presented in (None, domain)
    assert domain.isascii()
    assert domain == domain.lower()
    assert 0 < len(domain) <= 253
    assert all(0 < len(label) <= 63 for label in domain.split("."))
    assert not set(domain) & set("*:/@%_ \0[]")
    assert parse_domain(domain) == presented_domain(domain) == domain
    for other in (f"a.{domain}", f"x{domain}", domain.partition(".")[2], f"{domain}.x"):
        with contextlib.suppress(ConfigurationError):
            name = parse_domain(other)
            assert Scope([domain]).covers(name) is (f".{name}".endswith(f".{domain}"))
    with contextlib.suppress(ConfigurationError):
        assert parse_domain(f"a.{domain}".upper()) == f"a.{domain}"


def check_lists(text: str) -> None:
    """Assert that whatever has a list of domains takes the same, in the same form."""
    found: list[frozenset[str] | None] = []
    for read in (
        lambda: frozenset({parse_domain(text)}),
        lambda: Scope([text]).domains,
        lambda: TrustedServers([text]).names,
        lambda: Blocked([text]).domains.domains,
    ):
        try:
            found.append(read())
        except ConfigurationError:
            found.append(None)
    assert len(set(found)) == 1


def check_uri(text: str) -> None:
    """Assert that a URI, and an expected name, is read again as itself."""
    uri = SIPURI.match(text)
    if uri is not None:
        user = "" if uri.user is None else f"{uri.user}@"
        port = "" if uri.port is None else f":{uri.port}"
        assert SIPURI.match(f"{uri.scheme}:{user}{uri.host}{port}") == uri
        assert text.isprintable()
        assert "@" not in uri.host
        assert uri.port is None or 0 < uri.port < 65536
    for read in (ReferenceIdentity.parse, ReferenceIdentity.for_address):
        with contextlib.suppress(ConfigurationError):
            expected = read(text)
            assert expected.address is not None or expected.names == {expected.domain}
            again = expected.address or str(expected)
            assert read(again) == expected
            assert str(expected).isprintable()
            if expected.domain:
                assert expected.domain == parse_domain(expected.domain)
                if text.isascii():  # else it was mapped
                    assert expected.domain in text.lower()
                if uri is not None:
                    assert ReferenceIdentity.parse(f"sips:{text.partition(':')[2]}") == expected


# ---------------------------------------------------------------- matching


def check_match(first: str, names: list[str], rules: NameRules) -> None:
    """Assert that nobody is taken for the expected name whom the plain rules do not name."""
    try:
        expected = _expected(first)
    except ConfigurationError:
        return
    certificate = _certificate(names)
    presented = presented_names(certificate)  # type: ignore[arg-type]  # it has what is read
    counted = rules.count(presented, expected)
    assert str(presented).isprintable()
    for one in counted:
        assert one.why
        assert not one.name or one.address or presented_domain(one.name) == one.name
        assert bool(one.name) is (one.domain or one.host or one.address)
    if rules.answers(expected, counted):
        assert any(_may_be(expected, names, name, rules) for name in names)
    _check_nobody_expected(presented, rules, counted)


def _check_nobody_expected(
    presented: PresentedNames, rules: NameRules, counted: tuple[CountedName, ...]
) -> None:
    """Where nobody is expected, no wildcard and no address proves a thing."""
    alone = {one.name for one in rules.count(presented) if one.name}
    assert alone <= {one.name for one in counted} | presented.domains
    assert alone <= presented.domains


def _expected(first: str) -> ReferenceIdentity:
    with contextlib.suppress(ConfigurationError):
        return ReferenceIdentity.for_address(first)
    domain, _, host = first.partition(" ")
    return ReferenceIdentity.parse(domain, host=host or None)


def _certificate(names: list[str]) -> SimpleNamespace:
    """Give what `presented_names` reads of a certificate: ``CN=``, ``SRV=``, a URI, or a DNS name.

    The text is taken as a certificate that has been read would have it: unchecked.
    """
    general: list[x509.GeneralName] = []
    common = []
    for name in names:
        if name.startswith("CN="):
            common.append(SimpleNamespace(value=name[3:]))
        elif name.startswith("SRV="):
            value = name[4:].encode()
            general.append(x509.OtherName(_SRV, b"\x16" + bytes([len(value) % 128]) + value))
        elif address := _address(name):
            general.append(x509.IPAddress(address))
        elif ":" in name:
            general.append(x509.UniformResourceIdentifier._init_without_validation(name))
        else:
            general.append(x509.DNSName._init_without_validation(name))
    extensions = []
    if general:
        san = x509.SubjectAlternativeName(general)
        extensions.append(x509.Extension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, False, san))
    subject = SimpleNamespace(get_attributes_for_oid={NameOID.COMMON_NAME: common}.__getitem__)
    return SimpleNamespace(extensions=x509.Extensions(extensions), subject=subject)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if "%" in name:  # a scope, of which an address in a certificate has none
        return None
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name)
    return None


def _may_be(expected: ReferenceIdentity, names: list[str], name: str, rules: NameRules) -> bool:
    """Say whether RFC 5922 §7.2, or what the rules add, lets a name be the expected one.

    It is plain, and wider than siptls is: by a string that is equal, in any ASCII case.
    """
    shown = _ascii_lower(name)
    wanted = {expected.domain, expected.host} - {None, ""}
    if expected.address is not None:
        return rules.addresses and str(_address(name)) == expected.address
    if shown.startswith("cn="):
        has_san = any(not other.startswith("CN=") for other in names)
        return rules.common_name and not has_san and shown[3:] in wanted
    if shown.startswith("srv="):
        service, _, domain = shown[4:].partition(".")
        return service in rules.services and domain in wanted
    if ":" in shown:
        host = shown.removeprefix("sip:").partition(";")[0].partition("?")[0].partition(":")[0]
        return shown.startswith("sip:") and host in wanted
    beside = any(_is_identity(other) for other in names)
    if beside and not rules.dns_always:
        wanted &= {expected.host} if rules.dns_beside_uri else set()
    if shown in wanted:
        return True
    label, _, above = shown.partition(".")
    below = {one.partition(".")[2] for one in wanted}
    return rules.wildcard and label == "*" and "." in above and above in below


def _is_identity(name: str) -> bool:
    """Whether a name is a sip: URI of a domain."""
    host = _ascii_lower(name).removeprefix("sip:").partition(";")[0].partition("?")[0]
    return (
        _ascii_lower(name).startswith("sip:")
        and "@" not in name
        and presented_domain(host.partition(":")[0]) is not None
        and SIPURI.match(name) is not None
    )


def _ascii_lower(text: str) -> str:
    return "".join(one.lower() if one.isascii() else one for one in text)
