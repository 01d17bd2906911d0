"""SIP domains: what is one, what a URI means, and whom we expect."""

from __future__ import annotations

import ipaddress
import string
from typing import Any

import pytest
from domains import A_LABEL, LONGEST, LONGEST_LABEL, NO_DOMAIN_ANYWHERE, domain_names
from hypothesis import example, given
from hypothesis import strategies as st

from siptls.errors import ConfigurationError
from siptls.trust.names import (
    SIPURI,
    ReferenceIdentity,
    listed,
    parents,
    parse_domain,
    presented_domain,
    printable,
)

KELVIN = "\u212a"

DOMAINS = [
    ("contoso.com", "contoso.com"),
    ("Contoso.COM", "contoso.com"),
    ("SIP.CONTOSO.COM", "sip.contoso.com"),
    ("localhost", "localhost"),
    ("k", "k"),
    ("K.example", "k.example"),
    ("a-b--c.example", "a-b--c.example"),
    ("3com.example", "3com.example"),
    ("4.3.2.1.example", "4.3.2.1.example"),
    ("0x7f.example", "0x7f.example"),
    ("contoso.c0m", "contoso.c0m"),
    (A_LABEL, A_LABEL),
    ("XN--BCHER-KVA.Example", A_LABEL),
    ("example.xn--p1ai", "example.xn--p1ai"),
    ("xn--zckzah.xn--zckzah", "xn--zckzah.xn--zckzah"),
    (LONGEST_LABEL + ".com", LONGEST_LABEL + ".com"),
    (LONGEST, LONGEST),
    (LONGEST.upper(), LONGEST),
]

MAPPED = [  # an operator's keyboard writes these; a certificate may not
    ("bücher.example", A_LABEL),
    ("BÜCHER.Example", A_LABEL),
    ("bu\u0308cher.example", A_LABEL),
    ("example.рф", "example.xn--p1ai"),
    ("straße.example", "xn--strae-oqa.example"),
    ("contoso\u3002com", "contoso.com"),  # ideographic full stop
    ("contoso\uff0ecom", "contoso.com"),  # full-width full stop
    ("ｃｏｎｔｏｓｏ.com", "contoso.com"),  # noqa: RUF001
    ("\uff13com.example", "3com.example"),  # full-width digit
    (f"{KELVIN}.example", "k.example"),
    ("\u017fip.example", "sip.example"),  # long s
    ("con\u00adtoso.com", "contoso.com"),  # soft hyphen
]

NO_U_LABEL = [
    "bücher..example",
    "bücher.example.",
    "bücher\0.example",
    "%bücher.example",
    "*.bücher.example",
    "bü_cher.example",
    "-bücher.example",
    "xn--bücher.example",
    "a\u200db.example",
    "a\u202eb.example",
    "bücher:5061",
    "\uff11.\uff12.\uff13.\uff14",
    "\uff11\uff12\uff17.\uff11",
    "contoso.com\u3002",
    "ü" * 64 + ".example",
    "bücher." + LONGEST,
    "😀.example",
    "\ud800.example",
]

hostile = st.lists(
    st.sampled_from([*"aZ0-._*%\0:@[]/;üß\uff11\u3002", KELVIN, "xn--", "\u200d", "com"])
).map("".join)
anything = st.one_of(st.text(), hostile, domain_names)


# ---------------------------------------------------------------- domains


@pytest.mark.parametrize("text", NO_DOMAIN_ANYWHERE)
def test_what_is_no_domain_is_none_for_a_certificate_and_for_an_application(text: str) -> None:
    assert presented_domain(text) is None
    with pytest.raises(ConfigurationError, match="is no domain: ") as caught:
        parse_domain(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("text", "canonical"), DOMAINS)
def test_a_domain_is_folded_to_one_form(text: str, canonical: str) -> None:
    assert presented_domain(text) == canonical
    assert parse_domain(text) == canonical


@pytest.mark.parametrize(("text", "canonical"), MAPPED)
def test_an_application_may_write_u_labels_and_a_certificate_may_not(
    text: str, canonical: str
) -> None:
    """What must be mended proves nothing: a Kelvin sign is no K (RFC 5280 §7.2)."""
    assert parse_domain(text) == canonical
    assert presented_domain(text) is None


@pytest.mark.parametrize("text", NO_U_LABEL)
def test_what_maps_to_no_domain_is_refused(text: str) -> None:
    assert presented_domain(text) is None
    with pytest.raises(ConfigurationError, match="is no ") as caught:
        parse_domain(text)
    assert str(caught.value).splitlines() == [str(caught.value)]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "it is empty"),
        ("sip:contoso.com", "write the bare name"),
        ("contoso.com:5061", "write the bare name"),
        ("alice@contoso.com", "write the bare name"),
        ("contoso.com/", "write the bare name"),
        ("contoso.com.", "without the dot at its end"),
        ("*.contoso.com", "a wildcard names no domain"),
        ("192.0.2.1", "an IP address is not a name"),
        ("127.1", "an IP address is not a name"),
        ("con_toso.com", "labels of letters, digits and hyphens"),
    ],
)
def test_the_message_says_what_to_write_instead(text: str, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        parse_domain(text)


@pytest.mark.parametrize("value", [None, 7, b"contoso.com", ["contoso.com"]])
def test_what_is_no_text_is_no_domain(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="a domain is a str"):
        parse_domain(value)


@given(anything)
@example("\ud800")
@example(f"{KELVIN}.com")
def test_a_presented_domain_is_canonical_or_none(text: str) -> None:
    """The law of `==`: of any text at all, nothing comes but ASCII case folding."""
    domain = presented_domain(text)
    if domain is None:
        return
    assert domain == text.lower()
    assert presented_domain(domain) == domain == parse_domain(domain)
    assert set(domain) <= set(string.ascii_lowercase + string.digits + "-.")
    assert len(domain) <= 253
    labels = domain.split(".")
    assert all(0 < len(one) <= 63 for one in labels)
    assert not any(one.startswith("-") or one.endswith("-") for one in labels)
    assert labels[-1][0] in string.ascii_lowercase


@given(domain_names, st.data())
def test_case_never_matters(domain: str, data: st.DataObject) -> None:
    flips = data.draw(st.lists(st.booleans(), min_size=len(domain), max_size=len(domain)))
    text = "".join(c.upper() if up else c for c, up in zip(domain, flips, strict=True))
    assert presented_domain(text) == parse_domain(text) == domain


@given(anything)
@example("Bücher.Example")
@example("contoso\u3002com")
def test_parsing_a_domain_twice_changes_nothing(text: str) -> None:
    """It gives a canonical domain or a ConfigurationError, and never anything else."""
    try:
        domain = parse_domain(text)
    except ConfigurationError:
        assert presented_domain(text) is None
    else:
        assert parse_domain(domain) == domain == presented_domain(domain)
        assert presented_domain(text) in (None, domain)


@given(anything)
def test_what_is_said_about_a_text_that_is_no_domain_is_one_line(text: str) -> None:
    """The text may hold what a terminal obeys, and the message quotes it."""
    with pytest.raises(ConfigurationError) as caught:
        parse_domain(f"{text}_")
    assert str(caught.value).isprintable()


@given(domain_names, st.sampled_from("\0%*_ \n/:@[];?,\\'\"\x7f"), st.data())
def test_no_forbidden_character_is_ever_in_a_domain(
    domain: str, character: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(domain)))
    text = domain[:at] + character + domain[at:]
    assert presented_domain(text) is None
    with pytest.raises(ConfigurationError):
        parse_domain(text)


@given(domain_names, domain_names)
def test_no_empty_label_is_ever_in_a_domain(first: str, second: str) -> None:
    for text in (f"{first}.", f".{first}", f"{first}..{second}"):
        assert presented_domain(text) is None
        with pytest.raises(ConfigurationError):
            parse_domain(text)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_no_ip_address_is_ever_a_domain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    for text in (str(address), f"[{address}]", f"[{address}]:5061", str(int(address))):
        assert presented_domain(text) is None
        with pytest.raises(ConfigurationError):
            parse_domain(text)
    with pytest.raises(ConfigurationError):
        ReferenceIdentity.parse(f"sip:{address}" if address.version == 4 else f"sip:[{address}]")


@given(st.text(alphabet=string.ascii_lowercase + string.digits + "-", max_size=20))
def test_an_a_label_is_a_domain_only_if_idna_gives_it_back(rest: str) -> None:
    """Whatever a stranger writes behind ``xn--``, nothing is raised and nothing is mended."""
    text = f"xn--{rest}.example"
    assert presented_domain(text) in (None, text)


def test_the_domains_above_a_domain_are_given_longest_first() -> None:
    assert list(parents("sip.eu.contoso.com")) == [
        "sip.eu.contoso.com",
        "eu.contoso.com",
        "contoso.com",
        "com",
    ]
    assert list(parents("localhost")) == ["localhost"]


@given(domain_names)
def test_a_domain_has_as_many_parents_as_labels(domain: str) -> None:
    above = list(parents(domain))
    assert len(above) == domain.count(".") + 1
    assert all(domain == one or domain.endswith("." + one) for one in above)


# ---------------------------------------------------------------- text for a log


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("contoso.com", "contoso.com"),
        ("bücher", "bücher"),
        ("a\0b", "a\\u0000b"),
        ("a\r\nb", "a\\u000d\\u000ab"),
        ("\x1b[2J", "\\u001b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        ("", ""),
    ],
)
def test_text_of_a_stranger_is_made_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(max_size=300), st.integers(0, 200))
def test_printable_text_is_one_line_and_bounded(text: str, limit: int) -> None:
    """An escape has eight characters at most, and one more says that text was cut."""
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= 8 * limit + 1
    assert printable(shown, len(shown)) == shown


def test_long_text_is_cut_visibly() -> None:
    assert printable("a" * 128) == "a" * 128
    assert printable("a" * 129) == "a" * 128 + "…"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more"), (9, "0, 1, 2 and 6 more")],
)
def test_a_list_for_a_log_is_bounded(count: int, text: str) -> None:
    assert listed(iter(range(count)), limit=3) == text


# ---------------------------------------------------------------- SIP URIs


@pytest.mark.parametrize(
    ("text", "scheme", "user", "host", "port"),
    [
        ("sip:contoso.com", "sip", None, "contoso.com", None),
        ("sips:contoso.com", "sips", None, "contoso.com", None),
        ("SIP:Contoso.COM", "sip", None, "Contoso.COM", None),
        ("SiPs:contoso.com:5061", "sips", None, "contoso.com", 5061),
        ("sip:contoso.com:1", "sip", None, "contoso.com", 1),
        ("sip:contoso.com:65535", "sip", None, "contoso.com", 65535),
        ("sip:alice@contoso.com", "sip", "alice", "contoso.com", None),
        ("sip:alice:secret@contoso.com:5061", "sip", "alice:secret", "contoso.com", 5061),
        ("sip:evil.example@contoso.com", "sip", "evil.example", "contoso.com", None),
        ("sip:contoso.com@evil.example", "sip", "contoso.com", "evil.example", None),
        ("sip:contoso.com;x@evil.example", "sip", "contoso.com;x", "evil.example", None),
        ("sip:contoso.com?x@evil.example", "sip", "contoso.com?x", "evil.example", None),
        ("sip:contoso.com:5061@evil.example", "sip", "contoso.com:5061", "evil.example", None),
        ("sip:evil%40contoso.com", "sip", None, "evil%40contoso.com", None),
        ("sip:contoso.com;maddr=evil.example", "sip", None, "contoso.com", None),
        ("sip:contoso.com:5061;lr?subject=x", "sip", None, "contoso.com", 5061),
        ("sip:contoso.com?to=x", "sip", None, "contoso.com", None),
        ("sip:[::1]:5061", "sip", None, "[::1]", 5061),
        ("sip:192.0.2.1", "sip", None, "192.0.2.1", None),
    ],
)
def test_a_sip_uri_is_taken_apart(
    text: str, scheme: str, user: str | None, host: str, port: int | None
) -> None:
    assert SIPURI.match(text) == SIPURI(scheme, user, host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "contoso.com",
        "sip",
        "sip contoso.com",
        " sip:contoso.com",
        "tel:+1555",
        "http://contoso.com",
        "xsip:contoso.com",
        "sipss:contoso.com",
        "\u017fip:contoso.com",  # a long s is an s where case is folded carelessly
        "sip:@contoso.com",
        "sip:a@b@contoso.com",
        "sip:contoso.com;x=a@b@c",
        "sip:contoso.com:",
        "sip:contoso.com:0",
        "sip:contoso.com:00000",
        "sip:contoso.com:65536",
        "sip:contoso.com:99999",
        "sip:contoso.com:123456",
        "sip:contoso.com:-1",
        "sip:contoso.com:+5061",
        "sip:contoso.com: 5061",
        "sip:contoso.com:５０６１",  # noqa: RUF001
        "sip:contoso.com:5061:5061",
        "sip:contoso.com:5061.evil.example",
        "sip:::1",
        "sip:[::1",
        "sip:[::1].evil.example",
        "sip:::1]",
    ],
)
def test_what_is_no_sip_uri_is_none(text: str) -> None:
    assert SIPURI.match(text) is None


@given(anything)
def test_any_text_is_a_sip_uri_or_none(text: str) -> None:
    for candidate in (text, f"sip:{text}"):
        uri = SIPURI.match(candidate)
        if uri is not None:
            assert uri.scheme in ("sip", "sips")
            assert "@" not in uri.host
            assert uri.host in candidate
            assert uri.user != ""
            assert uri.port is None or 0 < uri.port < 65536


# ---------------------------------------------------------------- the expected name


@pytest.mark.parametrize(
    ("target", "domain"),
    [
        ("contoso.com", "contoso.com"),
        ("Contoso.COM", "contoso.com"),
        ("bücher.example", A_LABEL),
        ("sip:contoso.com", "contoso.com"),
        ("SIPS:Contoso.com", "contoso.com"),
        ("sip:bücher.example", A_LABEL),
        ("sip:contoso.com:5061", "contoso.com"),
        ("sip:evil.example@contoso.com", "contoso.com"),
        ("sip:contoso.com@evil.example", "evil.example"),
        ("sips:alice@contoso.com;transport=tls?x=y", "contoso.com"),
    ],
)
def test_the_expected_name_is_the_host_of_what_was_asked_for(target: str, domain: str) -> None:
    assert ReferenceIdentity.parse(target) == ReferenceIdentity(domain)


users = st.from_regex(r"[A-Za-z0-9.!~*'()&=+$,;?/-]{1,12}", fullmatch=True)
ports = st.integers(1, 65535)
parameters = st.from_regex(r"[a-z]{1,6}(=[a-z0-9.]{1,8})?", fullmatch=True)


@given(domain_names, users, ports, parameters, st.sampled_from(["sip", "sips", "SIP"]))
def test_user_port_and_parameters_do_not_change_whom_we_expect(
    domain: str, user: str, port: int, parameter: str, scheme: str
) -> None:
    expected = ReferenceIdentity.parse(domain)
    for target in (
        f"{scheme}:{domain}",
        f"{scheme}:{user}@{domain}",
        f"{scheme}:{domain}:{port}",
        f"{scheme}:{user}@{domain.upper()}:{port};{parameter}",
        f"{scheme}:{user}@{domain};{parameter}?{parameter}",
    ):
        assert ReferenceIdentity.parse(target) == expected


@pytest.mark.parametrize(
    "target",
    [
        *NO_DOMAIN_ANYWHERE[:26],
        "sip:",
        "sips:",
        "sip:@contoso.com",
        "sip:a@b@contoso.com",
        "sip:contoso.com:0",
        "sip:contoso.com\0",
        "sip:contoso.com\0.evil.example",
        "sip:%63ontoso.com",
        "sip:evil%40contoso.com",
        "sip://contoso.com",
        "sip:*.contoso.com",
        "sip:contoso.com.",
        "sip:192.0.2.1",
        "sip:alice@192.0.2.1:5061",
        "sip:127.1",
        "sip: contoso.com",
        "sip:contoso.com\n",
        "tel:+1555",
        "alice@contoso.com",
        "contoso.com:5061",
        None,
        7,
        b"sip:contoso.com",
    ],
)
def test_what_names_no_domain_cannot_be_expected(target: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ReferenceIdentity.parse(target)
    assert str(caught.value).isprintable()


def test_an_ipv6_address_is_told_where_it_belongs() -> None:
    with pytest.raises(ConfigurationError, match="write the domain, and pass host="):
        ReferenceIdentity.parse("sip:alice@[2001:db8::1]:5061")


def test_a_host_may_be_expected_beside_the_domain() -> None:
    expected = ReferenceIdentity.parse("sip:contoso.com", host="SIP.Contoso.com")
    assert expected == ReferenceIdentity("contoso.com", "sip.contoso.com")
    assert str(expected) == "contoso.com (or its host sip.contoso.com)"
    assert str(ReferenceIdentity.parse("contoso.com")) == "contoso.com"


@pytest.mark.parametrize("host", ["", "192.0.2.1", "*.contoso.com", "sip:contoso.com"])
@pytest.mark.parametrize("target", ["contoso.com", ReferenceIdentity("contoso.com")])
def test_an_expected_host_is_a_domain_name(target: str | ReferenceIdentity, host: str) -> None:
    with pytest.raises(ConfigurationError):
        ReferenceIdentity.parse(target, host=host)


def test_an_identity_that_was_parsed_is_taken_as_it_is() -> None:
    expected = ReferenceIdentity("contoso.com", "sip.contoso.com")
    assert ReferenceIdentity.parse(expected) is expected
    again = ReferenceIdentity.parse(expected, host="Edge.contoso.com")
    assert again == ReferenceIdentity("contoso.com", "edge.contoso.com")


@pytest.mark.parametrize(
    ("address", "canonical"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::0001", "2001:db8::1"),
    ],
)
def test_an_address_may_be_expected_instead_of_a_domain(address: str, canonical: str) -> None:
    expected = ReferenceIdentity.for_address(address)
    assert (expected.domain, expected.host, expected.address) == ("", None, canonical)
    assert expected.names == frozenset()
    assert str(expected) == f"the address {canonical}"
    assert ReferenceIdentity.parse(expected) is expected


@given(st.ip_addresses())
def test_any_address_may_be_expected_and_has_one_form(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    expected = ReferenceIdentity.for_address(str(address))
    assert ReferenceIdentity.for_address(address.exploded) == expected
    assert expected.address == str(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "contoso.com",
        "sip:192.0.2.1",
        "192.0.2.1:5061",
        "192.0.2.0/24",
        "127.1",
        "0177.0.0.1",
        "2130706433",
        "[::1]",
        "192.0.2.1\n",
        "\u0661.1.1.1",
        None,
        7,  # 0.0.0.7, for who is careless
        b"abcd",  # 97.98.99.100
    ],
)
def test_what_is_no_address_cannot_be_expected_as_one(address: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no IP address") as caught:
        ReferenceIdentity.for_address(address)
    assert str(caught.value).isprintable()


def test_either_a_domain_is_expected_or_an_address() -> None:
    address = ReferenceIdentity.for_address("192.0.2.1")
    for wrong in (
        lambda: ReferenceIdentity(""),
        lambda: ReferenceIdentity("contoso.com", address="192.0.2.1"),
        lambda: ReferenceIdentity.parse(address, host="sip.contoso.com"),
    ):
        with pytest.raises(ConfigurationError, match="either a domain is expected or an address"):
            wrong()


@pytest.mark.parametrize(
    ("host", "names"),
    [
        (None, {"contoso.com"}),
        ("sip.contoso.com", {"contoso.com", "sip.contoso.com"}),
        ("contoso.com", {"contoso.com"}),
    ],
)
def test_any_of_the_expected_names_will_do(host: str | None, names: set[str]) -> None:
    assert ReferenceIdentity.parse("contoso.com", host=host).names == names


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        (None, "a target is a SIP URI or a domain, such as 'sip:example.com', not None"),
        ("x" * 500, "is no domain"),
        ("sip:", "it is empty"),
        ("sip:@contoso.com", "is no SIP URI; write it as 'sip:example.com'"),
        ("sips:a@b@contoso.com", "is no SIP URI; write it as 'sip:example.com'"),
        ("contoso.com:5061", "is neither a SIP URI nor a domain: write 'sip:example.com'"),
        ("tel:+1555", "is neither a SIP URI nor a domain: write 'sip:example.com'"),
        ("2001:db8::1", "is neither a SIP URI nor a domain: write 'sip:example.com'"),
        ("sip:[2001:db8::1]", "and trust is given to names: write the domain, and pass host="),
        ("192.0.2.1", "an IP address is not a name, and trust is given to names: pass the domain"),
    ],
)
def test_the_message_about_a_target_says_what_to_write_instead(target: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ReferenceIdentity.parse(target)
    assert advice in str(caught.value)
    assert len(str(caught.value)) < 300
