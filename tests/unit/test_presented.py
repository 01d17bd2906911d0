"""What a certificate presents: every name is read, and nothing is believed."""

from __future__ import annotations

import ipaddress

import pytest
from certificates import general_names, make, make_ca, raw
from cryptography import x509
from domains import A_LABEL, LONGEST, NO_DOMAIN_ANYWHERE, domain_names, present, uri
from hypothesis import example, given
from hypothesis import strategies as st

from siptls.trust.names import ReferenceIdentity, parents, printable
from siptls.trust.presented import NameKind, PresentedNames, _ia5_string, presented_names


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("sip:contoso.com", "contoso.com"),
        ("SIP:Contoso.COM", "contoso.com"),
        ("sip:contoso.com:5061", "contoso.com"),
        ("sip:contoso.com;transport=tls", "contoso.com"),
        (f"sip:{A_LABEL}", A_LABEL),
        (f"sip:{LONGEST}", LONGEST),
    ],
)
def test_a_sip_uri_without_user_identifies_its_host(text: str, domain: str) -> None:
    """RFC 5922 §7.1."""
    (name,) = present(uri(text)).names
    assert (name.kind, name.domain, name.host) == (NameKind.URI, domain, domain)
    assert (name.user, name.fault) == (None, "")
    assert str(name) == printable(text)


@pytest.mark.parametrize(
    ("text", "user", "host"),
    [
        ("sip:alice@contoso.com", "alice@contoso.com", "contoso.com"),
        ("sip:evil.example@Contoso.com", "evil.example@contoso.com", "contoso.com"),
        ("sip:contoso.com@evil.example", "contoso.com@evil.example", "evil.example"),
        ("sip:contoso.com;x@evil.example", "contoso.com;x@evil.example", "evil.example"),
    ],
)
def test_a_sip_uri_with_a_user_identifies_no_domain(text: str, user: str, host: str) -> None:
    (name,) = present(uri(text)).names
    assert (name.domain, name.user, name.host) == (None, user, host)
    assert "a user, not a domain" in name.fault


@pytest.mark.parametrize(
    ("text", "host", "fault"),
    [
        ("sips:contoso.com", "contoso.com", "its scheme is not sip"),
        ("sips:alice@contoso.com", "contoso.com", "its scheme is not sip"),
        ("http://contoso.com", None, "its scheme is not sip"),
        ("xsip:contoso.com", None, "its scheme is not sip"),
        ("contoso.com", None, "its scheme is not sip"),
        ("sip:@contoso.com", None, "no well-formed SIP URI"),
        ("SIP:contoso.com:0", None, "no well-formed SIP URI"),
        ("sips:a@b@contoso.com", None, "no well-formed SIP URI"),
        ("sip:", "", "its host is no domain"),
        ("sips:", "", "its host is no domain"),
        ("sip:*.contoso.com", "*.contoso.com", "its host is no domain"),
        ("sip:contoso.com.", "contoso.com.", "its host is no domain"),
        ("sip:contoso.com\0", None, "no well-formed SIP URI"),
        ("sip:contoso.com\0.evil.example", None, "no well-formed SIP URI"),
        ("sip:%63ontoso.com", "%63ontoso.com", "its host is no domain"),
        ("sip:evil%40contoso.com", "evil%40contoso.com", "its host is no domain"),
        ("sip:192.0.2.1", "192.0.2.1", "its host is no domain"),
        ("sip:127.1", "127.1", "its host is no domain"),
        ("sip:[::1]", "[::1]", "its host is no domain"),
        ("sip:xn--a.example", "xn--a.example", "its host is no domain"),
        ("sip://contoso.com", "//contoso.com", "its host is no domain"),
    ],
)
def test_any_other_uri_identifies_nobody(text: str, host: str | None, fault: str) -> None:
    """Its host is kept where it can be read: name constraints of a CA hold for it."""
    (name,) = present(uri(text)).names
    assert (name.kind, name.domain, name.user, name.host) == (NameKind.URI, None, None, host)
    assert fault in name.fault
    assert str(name).isprintable()


@pytest.mark.parametrize("text", ["contoso.com", "Contoso.COM", A_LABEL, "4.3.2.1.example"])
def test_a_dns_name_identifies_its_domain(text: str) -> None:
    (name,) = present(x509.DNSName(text)).names
    assert (name.kind, name.domain, name.fault) == (NameKind.DNS, text.lower(), "")
    assert (name.user, name.host) == (None, None)
    assert str(name) == f"DNS:{text}"


@pytest.mark.parametrize("text", [text for text in NO_DOMAIN_ANYWHERE if text.isascii()])
def test_a_dns_name_that_is_no_domain_identifies_nobody(text: str) -> None:
    (name,) = present(x509.DNSName(text)).names
    assert name.domain is None
    assert ("wildcard" in name.fault) is text.startswith("*.")
    assert name.fault
    assert str(name).isprintable()


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("sip:alice@contoso.com", "alice@contoso.com"),
        ("SIP:Alice@Contoso.com:5061;transport=tls", "Alice@contoso.com"),
        ("sip:+1-555(0)*'!~_.&=$,;?/@contoso.com", "+1-555(0)*'!~_.&=$,;?/@contoso.com"),
        ("sip:alice:secret@contoso.com", None),
        ("sip:al%69ce@contoso.com", None),
        ("sip:bob%40evil.example@contoso.com", None),
        ("sip:al#ice@contoso.com", None),
        ("sips:alice@contoso.com", None),
        ("sip:alice@192.0.2.1", None),
    ],
)
def test_a_user_is_given_only_in_the_one_spelling_there_is(text: str, user: str | None) -> None:
    """An escape would be another spelling of somebody, and a password is nobody's name."""
    (name,) = present(uri(text)).names
    assert (name.domain, name.user) == (None, user)
    assert name.fault


@pytest.mark.parametrize(
    ("text", "above"),
    [
        ("*.contoso.com", "contoso.com"),
        ("*.Contoso.COM", "contoso.com"),
        ("*.eu.contoso.com", "eu.contoso.com"),
        (f"*.{A_LABEL}", A_LABEL),
        ("*.com", None),
        ("*.*.com", None),
        ("*.192.0.2.1", None),
        ("*.contoso.com.", None),
        ("*.xn--a.example", None),
        ("*.", None),
        ("*", None),
        ("s*.contoso.com", None),
        ("sip.*.com", None),
    ],
)
def test_a_wildcard_stands_above_a_domain_that_is_more_than_one_label(
    text: str, above: str | None
) -> None:
    (name,) = present(x509.DNSName(text)).names
    assert (name.kind, name.domain, name.wildcard) == (NameKind.DNS, None, above)
    assert ("a wildcard identifies no domain" in name.fault) is text.startswith("*.")


def test_a_wildcard_is_one_in_a_dns_name_only() -> None:
    for presented in (present(uri("sip:*.contoso.com")), present(subject="*.contoso.com")):
        (name,) = presented.names
        assert (name.domain, name.wildcard) == (None, None)
        assert not name.covers("sip.contoso.com")


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("sip.contoso.com", True),
        ("eu.contoso.com", True),
        ("contoso.com", False),
        ("sip.eu.contoso.com", False),
        ("sipcontoso.com", False),
        ("sip.contoso.com.evil.example", False),
        ("com", False),
        ("", False),
    ],
)
def test_a_wildcard_covers_exactly_one_label(name: str, covered: bool) -> None:
    """RFC 9525 §6.3."""
    wildcard, plain = present(*general_names(["*.contoso.com", "contoso.com"])).names
    assert wildcard.covers(name) is covered
    assert not plain.covers(name)


@given(domain_names, domain_names)
def test_a_wildcard_covers_nothing_but_what_one_label_stands_before(above: str, name: str) -> None:
    (wildcard,) = present(x509.DNSName(f"*.{above}")).names
    assert wildcard.covers(f"x.{above}") is ("." in above)
    assert not wildcard.covers(f"x.y.{above}")
    assert wildcard.covers(name) is ("." in above and name.split(".", 1)[1:] == [above])


# ---------------------------------------------------------------- services

SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")


def ia5(text: str) -> bytes:
    """Give an IA5String in DER."""
    length = len(text)
    size = bytes([length]) if length < 128 else b"\x81" + bytes([length]) if length < 256 else b""
    return b"\x16" + (size or b"\x82" + length.to_bytes(2, "big")) + text.encode("latin-1")


LONG = ".".join(["a" * 60] * 3 + ["example"])


@pytest.mark.parametrize(
    ("text", "service", "domain"),
    [
        ("_sips.contoso.com", "_sips", "contoso.com"),
        ("_SIPS.Contoso.COM", "_sips", "contoso.com"),
        ("_sip.contoso.com", "_sip", "contoso.com"),
        ("_sipfederationtls.contoso.com", "_sipfederationtls", "contoso.com"),
        ("_xmpp-server.contoso.com", "_xmpp-server", "contoso.com"),
        ("_sips.localhost", "_sips", "localhost"),
        (f"_sips.{A_LABEL}", "_sips", A_LABEL),
        (f"_sips.{LONG}", "_sips", LONG),
        *((f"_sips.{LONG}"[:n] + "z", "_sips", f"{LONG}"[: n - 6] + "z") for n in (126, 127, 128)),
    ],
)
def test_a_service_is_that_of_a_domain(text: str, service: str, domain: str) -> None:
    """RFC 4985: an IA5String, whose length takes a second byte from 128 on."""
    (name,) = present(x509.OtherName(SRV_NAME, ia5(text))).names
    assert (name.kind, name.service, name.domain) == (NameKind.SRV, service, domain)
    assert (name.host, name.user, name.wildcard, name.fault) == (domain, None, None, "")
    assert str(name) == f"SRV:{printable(text)}"


@pytest.mark.parametrize(
    "der",
    [
        *map(
            ia5,
            [
                "",
                "_sips",
                "_sips.",
                "_.contoso.com",
                "._sips.contoso.com",
                "sips.contoso.com",
                "contoso.com",
                "__sips.contoso.com",
                "_sips-.contoso.com",
                "_si_ps.contoso.com",
                "_" + "a" * 64 + ".contoso.com",
                "_sips._tcp.contoso.com",
                "_sips.*.contoso.com",
                "_sips.192.0.2.1",
                "_sips.contoso.com.",
                "_sips.contoso.com\0",
                "_sips.contoso.com\n",
                "_sips\n.contoso.com",
                "_sips.b\xfccher.example",
                f"_sips.{LONGEST}",  # 259 bytes: more than any name
            ],
        ),
        b"\x0c" + ia5("_sips.contoso.com")[1:],  # an UTF8String
        b"\x30" + bytes([19]) + ia5("_sips.contoso.com"),  # wrapped once more
        b"\x05\x00",
    ],
)
def test_what_is_no_service_of_a_domain_identifies_nobody(der: bytes) -> None:
    (name,) = present(x509.OtherName(SRV_NAME, der)).names
    assert (name.kind, name.domain, name.service, name.host) == (NameKind.SRV, None, None, None)
    assert name.fault == "it is no service of a domain"
    assert str(name).isprintable()


@pytest.mark.parametrize(
    ("der", "shown"),
    [
        (ia5("_sips"), "SRV:_sips"),
        (ia5("_sips.a\nb"), "SRV:_sips.a\\u000ab"),
        (b"\x05\x00", "SRV:b'\\x05\\x00'"),
    ],
)
def test_what_is_no_service_is_shown_as_it_stands(der: bytes, shown: str) -> None:
    """Where it is no text, its bytes are."""
    (name,) = present(x509.OtherName(SRV_NAME, der)).names
    assert str(name) == shown


@given(st.text(st.characters(max_codepoint=127), max_size=255))
@example("a" * 255)
def test_an_ia5_string_is_read_as_it_is(text: str) -> None:
    assert _ia5_string(ia5(text)) == text


@given(st.binary(max_size=6) | st.binary(max_size=300).map(lambda tail: b"\x16\x81" + tail))
@example(b"")
@example(b"\x16")
@example(b"\x16\x00")
@example(b"\x16\x01")
@example(b"\x16\x02a")
@example(b"\x16\x01ab")
@example(b"\x16\x80a\x00\x00")
@example(b"\x16\x81\x01a")  # a longer form than is needed
@example(b"\x16\x82\x00\x01a")
@example(b"\x16\x01\xfc")
@example(b"\x16\x82\x01\x00" + b"a" * 256)
def test_of_any_bytes_only_a_whole_ia5_string_is_text(der: bytes) -> None:
    text = _ia5_string(der)
    assert text is None or (text.isascii() and ia5(text) == der)


# ---------------------------------------------------------------- other kinds


@pytest.mark.parametrize(
    ("name", "kind", "shown", "fault"),
    [
        (
            x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
            NameKind.IP,
            "IP:192.0.2.1",
            "an IP address identifies no domain",
        ),
        (
            x509.IPAddress(ipaddress.ip_network("192.0.2.1/32")),
            NameKind.IP,
            "IP:192.0.2.1/32",
            "an IP address identifies no domain",
        ),
        (
            x509.RFC822Name("alice@contoso.com"),
            NameKind.OTHER,
            "other:'alice@contoso.com'",
            "a RFC822Name identifies no SIP domain",
        ),
        (
            x509.DirectoryName(make_ca("contoso.com").certificate.subject),
            NameKind.OTHER,
            "other:<Name(CN=contoso.com)>",
            "a DirectoryName identifies no SIP domain",
        ),
        (
            x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x0bcontoso.com"),
            NameKind.OTHER,
            "other:b'\\x0c\\x0bcontoso.com'",
            "a OtherName identifies no SIP domain",
        ),
        (
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
            NameKind.OTHER,
            "other:<ObjectIdentifier(oid=1.2.3, name=Unknown OID)>",
            "a RegisteredID identifies no SIP domain",
        ),
    ],
)
def test_a_name_of_another_kind_identifies_nobody(
    name: x509.GeneralName, kind: NameKind, shown: str, fault: str
) -> None:
    (presented,) = present(name).names
    assert (presented.kind, presented.domain, presented.fault) == (kind, None, fault)
    assert str(presented) == shown


def test_names_stand_in_their_order_and_common_names_last() -> None:
    presented = present(
        *general_names(["b.contoso.com", "sip:contoso.com", "a.contoso.com"]), subject="CN.example"
    )
    assert [str(name) for name in presented.names] == [
        "DNS:b.contoso.com",
        "sip:contoso.com",
        "DNS:a.contoso.com",
        "CN:CN.example",
    ]
    assert presented.has_san
    assert str(presented) == "DNS:b.contoso.com, sip:contoso.com, DNS:a.contoso.com, CN:CN.example"


def test_a_common_name_is_among_the_domains_only_without_subject_alternative_name() -> None:
    """It could be believed under some rules; beside a subjectAltName it never can."""
    alone = present(subject="SIP.contoso.com")
    assert (alone.domains, alone.has_san) == ({"sip.contoso.com"}, False)
    beside = present(uri("sip:contoso.com"), subject="sip.contoso.com")
    assert (beside.domains, beside.has_san) == ({"contoso.com"}, True)
    useless = present(uri("sips:contoso.com"), subject="sip.contoso.com")
    assert useless.domains == frozenset()


def test_a_certificate_without_names_says_so() -> None:
    presented = present()
    assert presented == PresentedNames((), has_san=False)
    assert str(presented) == "no name at all"


# ---------------------------------------------------------------- what they could mean


@pytest.mark.parametrize(
    ("names", "provable"),
    [
        (["sip:contoso.com"], {"contoso.com"}),
        (["*.contoso.com"], {"sip.contoso.com"}),
        (["*.contoso.com", "contoso.com"], {"contoso.com", "sip.contoso.com"}),
        (["*.contoso.com", "*.example.net"], {"sip.contoso.com", "edge.example.net"}),
        (["*.eu.contoso.com", "*.com"], set()),
        (["sip:alice@contoso.com", "sips:contoso.com", "sip:*.contoso.com"], set()),
    ],
)
def test_the_expected_names_under_wildcards_could_be_proven(
    names: list[str], provable: set[str]
) -> None:
    presented = present(*general_names(names))
    expected = ReferenceIdentity("sip.contoso.com", "edge.example.net")
    assert presented.provable(expected) == provable
    assert presented.provable(None) == presented.domains
    assert presented.provable(ReferenceIdentity.for_address("192.0.2.1")) == presented.domains


@pytest.mark.parametrize(
    "name",
    [
        uri("sip:evil.example"),
        uri("SIPS:Evil.Example"),
        uri("sip:evil.example:5061;transport=tls"),
        uri("sip:evil.example."),
        uri("sip:*.evil.example"),
        uri("sip:alice@evil.example"),
        uri("sips:alice:secret@Evil.Example."),
        uri("sip:al%69ce@*.evil.example"),
        x509.DNSName("EVIL.example"),
        x509.DNSName("evil.example."),
        x509.DNSName("*.evil.example"),
        x509.DNSName("*.evil.example."),
        x509.OtherName(SRV_NAME, ia5("_sips.evil.example")),
        x509.OtherName(SRV_NAME, ia5("_xmpp-server.Evil.example")),
    ],
    ids=lambda name: repr(name.value),
)
def test_a_domain_is_mentioned_in_whatever_form(name: x509.GeneralName) -> None:
    assert present(name).mentioned == {"evil.example"}


@pytest.mark.parametrize("subject", ["Evil.example", "evil.example.", "*.evil.example"])
def test_a_domain_is_mentioned_in_a_common_name_even_one_that_counts_for_nothing(
    subject: str,
) -> None:
    assert present(subject=subject).mentioned == {"evil.example"}
    beside = present(uri("sip:contoso.com"), subject=subject)
    assert beside.mentioned == {"contoso.com", "evil.example"}
    assert beside.domains == {"contoso.com"}


@pytest.mark.parametrize(
    "name",
    [
        uri("http://evil.example"),
        uri("sip:evil%2eexample"),
        uri("sip:192.0.2.1"),
        x509.DNSName("evil..example"),
        x509.DNSName("192.0.2.1"),
        x509.RFC822Name("alice@evil.example"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.OtherName(SRV_NAME, b"\x05\x00"),
    ],
    ids=lambda name: repr(name.value),
)
def test_what_is_no_name_of_sip_or_dns_mentions_nobody(name: x509.GeneralName) -> None:
    assert present(name).mentioned == frozenset()


@given(st.lists(domain_names, min_size=1, max_size=4), domain_names)
def test_what_could_be_believed_is_mentioned(domains: list[str], expected: str) -> None:
    """And a name under a wildcard is below one that is mentioned: blocking cannot be evaded."""
    forms = ["sip:{}", "{}", "*.{}", "sip:bob@{}"]
    presented = present(
        *general_names(form.format(d) for form, d in zip(forms, domains, strict=False))
    )
    assert presented.domains <= presented.mentioned <= set(domains)
    for name in presented.provable(ReferenceIdentity(expected)):
        assert not presented.mentioned.isdisjoint(parents(name))


def test_names_that_cannot_be_decoded_are_a_value_error() -> None:
    broken = make("x", None, raw("2.5.29.17", b"\x05\x00", critical=False)).certificate
    with pytest.raises(ValueError, match="names that cannot be decoded: "):
        presented_names(broken)
