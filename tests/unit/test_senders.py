"""Senders: the right domain or malformed, and never another domain."""

from __future__ import annotations

import ipaddress
import re
import string
from urllib.parse import urlsplit

import pytest
from attrs import frozen
from conformance.rfc4475 import INVALID, VALID
from domains import A_LABEL, LONGEST, NO_DOMAIN_ANYWHERE, domain_names
from hypothesis import example, given
from hypothesis import strategies as st

from siptls import Code, Message
from siptls.trust.names import presented_domain
from siptls.trust.senders import Claims, HasHeaders, Sender

KELVIN = "\u212a"


@frozen
class Header:
    """A message of nothing but what is asked for."""

    sent: tuple[str, ...] = ("<sip:alice@contoso.com>",)
    asserted: tuple[str, ...] = ()
    is_request: bool = True

    @property
    def head(self) -> bytes:
        return b"OPTIONS sip:a SIP/2.0" if self.is_request else b"SIP/2.0 200 OK"

    def headers(self, name: str) -> tuple[str, ...]:
        return {"From": self.sent, "P-Asserted-Identity": self.asserted}[name]


def message(*lines: str, start: str = "OPTIONS sip:fabrikam.com SIP/2.0") -> Message:
    text = "\r\n".join([start, *lines]) + "\r\n\r\n"
    return Message(text.encode("utf-8", "surrogateescape"))


def sender(value: str) -> Sender | None:
    """Read a From; and see that there is a sender or a fault, and not both."""
    claims = Claims.of(Header((value,)))
    assert (claims.sender is None) is (claims.fault is not None)
    return claims.sender


# ---------------------------------------------------------------- one address

READ = [
    # with and without brackets, display names, spaces
    ("<sip:alice@contoso.com>", "sip:alice@contoso.com"),
    ("<sip:contoso.com>", "sip:contoso.com"),
    ("sip:alice@contoso.com", "sip:alice@contoso.com"),
    ("sip:contoso.com", "sip:contoso.com"),
    ("sip:contoso.com:5061;tag=1", "sip:contoso.com"),
    ("sip:alice:5061", "sip:alice"),  # a host, as the grammar has it
    (" \t<sip:alice@contoso.com>\t ", "sip:alice@contoso.com"),
    ("sip:alice@contoso.com \t;\ttag = 1 ; lone ", "sip:alice@contoso.com"),
    ("Alice<sip:alice@contoso.com>;tag=1", "sip:alice@contoso.com"),
    ("A. G. Bell-2 `x' ~!%*_+ \t<sip:alice@contoso.com>", "sip:alice@contoso.com"),
    ("example.com <sip:alice@contoso.com>", "sip:alice@contoso.com"),
    ("愛 é\u00a0\udcff\udc80 <sip:alice@contoso.com>", "sip:alice@contoso.com"),
    ('"" <sip:alice@contoso.com>', "sip:alice@contoso.com"),
    ('"Bell, A."<sip:alice@contoso.com>', "sip:alice@contoso.com"),
    ('"<sip:eve@evil.example>" <sip:alice@contoso.com>', "sip:alice@contoso.com"),
    ('"<sip:eve@evil.example>;x=," \t <sip:alice@contoso.com>', "sip:alice@contoso.com"),
    (r'"\"" <sip:alice@contoso.com>', "sip:alice@contoso.com"),
    (r'"J \\\"" <sip:alice@contoso.com>', "sip:alice@contoso.com"),
    (r'"\\" <sip:alice@contoso.com>', "sip:alice@contoso.com"),
    (r'"\" <sip:eve@evil.example> \"" <sip:alice@contoso.com>', "sip:alice@contoso.com"),
    ('"BEL:\\\x07 NUL:\\\0 DEL:\\\x7f" <sip:alice@contoso.com>', "sip:alice@contoso.com"),
    ('"tab\t愛\udcff\x85\u2028" <sip:alice@contoso.com>', "sip:alice@contoso.com"),
    # parameters of the header field
    ("<sip:alice@contoso.com>;tag=1;x;y=contoso.com;z=[2001:db8::1]", "sip:alice@contoso.com"),
    ('<sip:alice@contoso.com> ; x = "a, ;\\" é \udcff" ;y', "sip:alice@contoso.com"),
    ('sip:alice@contoso.com;x=";y=contoso.org"', "sip:alice@contoso.com"),
    # scheme, port, parameters and headers of the URI
    ("<SIP:alice@Contoso.COM>", "sip:alice@contoso.com"),
    ("<sIpS:alice@contoso.com.>", "sips:alice@contoso.com"),
    ("<sip:alice@contoso.com.:5061>", "sip:alice@contoso.com"),
    ("<sip:alice@contoso.com:1>", "sip:alice@contoso.com"),
    ("<sip:alice@contoso.com:65535;lr>", "sip:alice@contoso.com"),
    ("<sip:alice@contoso.com;transport=tls;x=[a]/:&+$%41;lr=>", "sip:alice@contoso.com"),
    ("<sip:alice@contoso.com;x?subject=%20a&y=b?>", "sip:alice@contoso.com"),
    ("<sip:contoso.com;maddr=evil.example>", "sip:contoso.com"),
    # users
    ("<sip:+1-(201)555.0123;ext=5@contoso.com>", "sip:+1-(201)555.0123;ext=5@contoso.com"),
    ("<sip:user;par=u%40example.net@contoso.com>", "sip:user;par=u%40example.net@contoso.com"),
    ("<sip:a,b?c/d&e=f$g'(h)*~!@contoso.com>", "sip:a,b?c/d&e=f$g'(h)*~!@contoso.com"),
    ("<sip:null-%00-null@contoso.com>", "sip:null-%00-null@contoso.com"),
    ("<sip:*21#@contoso.com>", "sip:*21#@contoso.com"),
    ("sip:#31#15550123@contoso.com;tag=1", "sip:#31#15550123@contoso.com"),
    ("<sip:john.doe@contoso.com>", "sip:john.doe@contoso.com"),
    ("<sip:evil.example@contoso.com>", "sip:evil.example@contoso.com"),
    ("<sip:alice:secret,&=+$@contoso.com>", "sip:alice@contoso.com"),  # never logged
    ("<sip:alice:@contoso.com>", "sip:alice@contoso.com"),
    # hosts
    ("<sip:alice@localhost>", "sip:alice@localhost"),
    (f"<sip:alice@{A_LABEL.upper()}>", f"sip:alice@{A_LABEL}"),
    (f"<sip:alice@{LONGEST}.>", f"sip:alice@{LONGEST}"),
    ("<sip:alice@192.0.2.1>", "sip:alice@192.0.2.1"),
    ("sip:192.0.2.1:5060;tag=1", "sip:192.0.2.1"),
    ("<sip:alice@[2001:DB8:0::1]:5061;lr>", "sip:alice@[2001:db8::1]"),
    ("sip:[::1]", "sip:[::1]"),
    ("Anonymous <sip:anonymous@Anonymous.Invalid>;tag=1", "sip:anonymous@anonymous.invalid"),
    # telephone numbers
    ("<tel:+1-201-555-0123>;tag=1", "tel:+1-201-555-0123"),
    ("TEL:+1(201)555.0123", "tel:+1(201)555.0123"),
    ("tel:*21#;tag=1", "tel:*21#"),
    ("<tel:-0a-F>", "tel:-0a-F"),
    ("<tel:7042;phone-context=contoso.com;x=[a]%41:/>", "tel:7042"),
    ("Bob <tel:911;isub>", "tel:911"),
]

MALFORMED = [
    "",
    " ",
    "<>",
    "Alice",
    "*",
    "alice@contoso.com",
    "<contoso.com>",
    "sip:",
    "<sip:>",
    "<sip:@contoso.com>",
    "<sip:alice@>",
    "<sip::secret@contoso.com>",
    # schemes that are not ours, or hardly any
    "<mailto:alice@contoso.com>",
    "<http://contoso.com>",
    "<im:alice@contoso.com>",
    "<sip2:alice@contoso.com>",
    "<sip :alice@contoso.com>",
    "<\u017fip:alice@contoso.com>",
    # two addresses, or something that looks like another
    "<sip:eve@evil.example@contoso.com>",
    "sip:eve@evil.example@contoso.com",
    "<sip:eve%40evil.example@@contoso.com>",
    "<sip:alice@contoso.com>, <sip:eve@evil.example>",
    "sip:alice@contoso.com, sip:eve@evil.example",
    "sip:alice,sip:eve@evil.example",
    "<sip:alice@contoso.com> <sip:eve@evil.example>",
    "<sip:alice@contoso.com><sip:eve@evil.example>",
    "<<sip:alice@contoso.com>>",
    "<sip:alice@contoso.com>>",
    "<sip:alice@contoso.com",
    "sip:alice@contoso.com>",
    "sip:eve@evil.example <sip:alice@contoso.com>",
    "Alice <sip:eve@evil.example> <sip:alice@contoso.com>",
    "<Alice> <sip:alice@contoso.com>",
    "Alice sip:alice@contoso.com",
    '"Alice" sip:alice@contoso.com',
    "<sip:alice@contoso.com>,",
    ",<sip:alice@contoso.com>",
    "<sip:alice@contoso.com;x=y@evil.example>",
    "<sip:alice@contoso.com?x=y@evil.example>",
    "sip:user;par@contoso.com",
    "sip:evil.example;x=y@contoso.com",
    "sip:alice?x@contoso.com",
    "sip:alice@contoso.com?x=y",
    "<sip:evil.example;x=y@contoso.com>",
    "<sip:evil.example.;x=y@contoso.com>",
    "<sip:evil.example?x=y@contoso.com>",
    "<sip:evil.example:5060;x=y@contoso.com>",
    "<sip://evil.example/x@contoso.com>",
    "<sip://contoso.com>",
    '<sip:alice@contoso.com>;x="<sip:eve@evil.example>"',
    'sip:contoso.com;x="eve@evil.example"',
    'sip:contoso.com;x="\\<sip:evil.example\\>"',
    # quotes and brackets
    '"Alice <sip:alice@contoso.com>',
    'Alice" <sip:alice@contoso.com>',
    '"Alice\\" <sip:alice@contoso.com>',
    '"Alice" "Bob" <sip:alice@contoso.com>',
    '"Alice" Bob <sip:alice@contoso.com>',
    'Bob "Alice" <sip:alice@contoso.com>',
    '"Alice"; <sip:alice@contoso.com>',
    "'Bell, Alice' <sip:alice@contoso.com>",
    "Alice (home) <sip:alice@contoso.com>",
    "alice@contoso.com <sip:alice@contoso.com>",
    "Alice\\ <sip:alice@contoso.com>",
    '<sip:alice@contoso.com>;x="',
    '<sip:alice@contoso.com>;x="\\"',
    '<sip:"alice"@contoso.com>',
    # after the address
    "<sip:alice@contoso.com>x",
    "<sip:alice@contoso.com>;",
    "<sip:alice@contoso.com>;;tag=1",
    "<sip:alice@contoso.com>;tag=",
    "<sip:alice@contoso.com>;=1",
    "<sip:alice@contoso.com>;tag=1 2",
    "<sip:alice@contoso.com>;x=[",
    "<sip:alice@contoso.com>;x=\u00e9",
    "<sip:alice@contoso.com>?x=y",
    # spaces, controls, ends of lines
    "< sip:alice@contoso.com >",
    "<sip:alice@ contoso.com>",
    "<sip: alice@contoso.com>",
    "sip:alice @contoso.com",
    "Alice\x07 <sip:alice@contoso.com>",
    "Alice\0<sip:alice@contoso.com>",
    "Alice\x85<sip:alice@contoso.com>",
    "Alice\u2028<sip:alice@contoso.com>",
    "<sip:alice@contoso.com\0.evil.example>",
    "<sip:alice\x7f@contoso.com>",
    "sip:alice@contoso.com\x0b;tag=1",
    "<sip:alice@contoso.com>\0",
    "<sip:alice@contoso.com>\n",
    "<sip:alice@contoso.com>;tag=1\n",
    "sip:alice@contoso.com\n",
    "<sip:alice@contoso.com\n>",
    "\r\n<sip:alice@contoso.com>",
    "<sip:alice@contoso.com>\r\nFrom: <sip:eve@evil.example>",
    '"a\nb" <sip:alice@contoso.com>',
    '"a\\\nb" <sip:alice@contoso.com>',
    '"a\\\rb" <sip:alice@contoso.com>',
    '"a\x07b" <sip:alice@contoso.com>',
    '<sip:alice@contoso.com>;x="a\nb"',
    '<sip:alice@contoso.com>;x="a\\\nb"',
    # users
    "<sip:al ice@contoso.com>",
    "<sip:al\\ice@contoso.com>",
    "<sip:al%ice@contoso.com>",
    "<sip:al%4@contoso.com>",
    "<sip:al%4g@contoso.com>",
    "<sip:al#ice@contoso.com>",
    "<sip:evil.example#@contoso.com>",
    "<sip:al[ice@contoso.com>",
    "<sip:al|ice@contoso.com>",
    "<sip:al^ice@contoso.com>",
    "<sip:al{ice}@contoso.com>",
    "<sip:alice:a:b@contoso.com>",
    "<sip:alice:a;b@contoso.com>",
    "<sip:\u00e9@contoso.com>",
    "<sip:\udcff@contoso.com>",
    # hosts
    "<sip:alice@contoso.com..>",
    "<sip:alice@.>",
    "<sip:alice@evil.example\\@contoso.com>",
    "<sip:alice@evil.example\\contoso.com>",
    "<sip:alice@contoso.com/evil.example>",
    "<sip:alice@contoso.com#evil.example>",
    "<sip:alice@b\u00fccher.example>",
    "<sip:alice@contoso\u3002com>",
    f"<sip:alice@contoso.com{KELVIN}>",
    "<sip:alice@contoso.com:>",
    "<sip:alice@contoso.com:0>",
    "<sip:alice@contoso.com:65536>",
    "<sip:alice@contoso.com:100000>",
    "<sip:alice@contoso.com:+5060>",
    "<sip:alice@contoso.com:\uff11>",
    "<sip:alice@contoso.com:5060:5061>",
    "<sip:alice@contoso.com;x=%4>",
    "<sip:alice@contoso.com;x=,>",
    "<sip:alice@192.0.2.1.>",
    "<sip:alice@192.0.2.01>",
    "<sip:alice@192.0.2.256>",
    "<sip:alice@192.0.2>",
    "<sip:alice@2001:db8::1>",
    "<sip:alice@[2001:db8::1>",
    "<sip:alice@[]>",
    "<sip:alice@[fe80::1%eth0]>",
    "<sip:alice@[fe80::1%25eth0]>",
    "<sip:alice@[192.0.2.1]>",
    "<sip:alice@[contoso.com]>",
    "<sip:alice@[::1]contoso.com>",
    "<sip:alice@[::1].>",
    # telephone numbers
    "tel:",
    "<tel:+>",
    "<tel:+()>",
    "<tel:+1a>",
    "<tel:+*1>",
    "<tel:alice>",
    "<tel:contoso.com>",
    "<tel:+1@contoso.com>",
    "<tel:+1;phone-context=a@contoso.com>",
    "<tel:+1?x=y>",
    "<tel:+1;>",
    "<tel:+1;x=>",
    "<tel:+1;x_y=1>",
    "<tel:+1 2>",
    "<tel:\uff11>",
]


@pytest.mark.parametrize(("value", "text"), READ)
def test_an_address_is_read_by_the_grammar(value: str, text: str) -> None:
    claims = Claims.of(Header((value,)))
    assert claims.fault is None
    assert str(claims.sender) == text


@pytest.mark.parametrize("value", MALFORMED)
def test_what_has_two_readings_or_none_is_malformed(value: str) -> None:
    claims = Claims.of(Header((value,), ("<sip:bob@contoso.com>",)))
    assert (claims.sender, claims.asserted, claims.domains) == (None, (), frozenset())
    assert claims.fault is not None
    assert claims.fault.code is Code.SENDER_MALFORMED
    assert claims.fault.reason.startswith(("the message has From '", 'the message has From "'))
    assert claims.fault.reason.endswith("; expected one SIP address")
    assert claims.fault.reason.isprintable()
    assert claims.fault.rule == "RFC 3261 §20.20"


@pytest.mark.parametrize("host", NO_DOMAIN_ANYWHERE)
def test_a_host_that_is_no_domain_names_none(host: str) -> None:
    for text in (f"<sip:{host}>", f"<sip:alice@{host}>", f"<sip:{host}:1>"):
        found = sender(text)
        if found is not None and found.domain is not None:
            # Of the list, these are domains with what may stand around them in a URI.
            assert found.domain == "contoso.com"
            assert re.fullmatch(r"alice@.*|.*\.|.*:5061|.*;transport=tls", host)


def test_a_sender_is_taken_apart() -> None:
    assert sender("<SIP:Al%69ce:pw@Contoso.com.:5061>") == Sender(
        "sip", "contoso.com", None, "Al%69ce"
    )
    assert sender("<sips:contoso.com>") == Sender("sips", "contoso.com", None, None)
    assert sender("<sip:a@[2001:DB8::0:1]>") == Sender("sip", None, "2001:db8::1", "a")
    assert sender("<sip:192.0.2.1>") == Sender("sip", None, "192.0.2.1", None)
    assert sender("<tel:+1;phone-context=contoso.com>") == Sender("tel", None, None, "+1")


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ("<sip:anonymous@anonymous.invalid>", True),
        ("<sip:anonymous@ANONYMOUS.invalid.>", True),
        ("<sip:anonymous@sip.anonymous.invalid>", False),
        ("<sip:anonymous@contoso.com>", False),
        ("<sip:anonymous@192.0.2.1>", False),
        ("<tel:+1>", True),
    ],
)
def test_who_is_anonymous_or_a_number_is_hidden(value: str, hidden: bool) -> None:
    found = sender(value)
    assert found is not None
    assert found.hidden is hidden


def test_the_text_of_a_sender_is_short_and_printable() -> None:
    long = sender(f"<sip:{'a' * 60_000}@{LONGEST}>")
    assert str(long) == f"sip:{'a' * 64}…@{LONGEST}"
    assert str(Sender("sip", "contoso.com", None, "a\x1b\n")) == "sip:a\\u001b\\u000a@contoso.com"


# ---------------------------------------------------------------- a message


def test_a_message_is_read_however_its_from_is_written() -> None:
    """Compact, with a space before the colon, in capitals, folded, and with octets of Latin-1."""
    for line in (
        "f:<sip:alice@contoso.com>",
        "FROM \t: Alice <sip:alice@contoso.com>;tag=1",
        'From:\r\n "Alice\r\n\tBell"\r\n <sip:alice@contoso.com>\r\n ;\r\n tag=1',
        'F: "Ren\udce9" <sip:alice@contoso.com>',
        "from: Ren\udce9 <sip:alice@contoso.com>",
    ):
        read: HasHeaders = message(line)
        claims = Claims.of(read)
        assert claims == Claims(Sender("sip", "contoso.com", None, "alice"), (), None)
        assert claims.domains == {"contoso.com"}


@pytest.mark.parametrize("second", ["From: ", "f: ", "FROM : ", "F\t:"])
def test_a_second_from_is_malformed_even_if_it_is_the_same(second: str) -> None:
    line = "<sip:alice@contoso.com>;tag=1"
    claims = Claims.of(message(f"From: {line}", f"{second}{line}"))
    assert claims.fault is not None
    assert claims.fault.reason == (
        "the message has From '<sip:alice@contoso.com>;tag=1' and 1 more; expected one SIP address"
    )


def test_a_request_without_from_is_malformed() -> None:
    claims = Claims.of(message("To: <sip:alice@contoso.com>", "X-From: <sip:alice@contoso.com>"))
    assert claims.fault is not None
    assert claims.fault.reason == "the message has no From; expected one SIP address"
    assert claims.sender is None


@pytest.mark.parametrize("line", ["From: <sip:alice@contoso.com>", "From: nonsense <", "X: y"])
def test_from_of_a_response_names_whoever_asked(line: str) -> None:
    """RFC 3261 §8.2.6.2. Who answers may be asserted, all the same."""
    asserted = "P-Asserted-Identity: <sip:bob@fabrikam.com>"
    claims = Claims.of(message(line, asserted, start="SIP/2.0 200 OK"))
    assert (claims.sender, claims.fault) == (None, None)
    assert [str(one) for one in claims.asserted] == ["sip:bob@fabrikam.com"]
    assert claims.domains == {"fabrikam.com"}


BOB, CAROL, NUMBER = "<sip:bob@fabrikam.com>", "<sips:carol@contoso.org>", "<tel:+1>"
QUOTED = f'"a, {CAROL}" {BOB}'


@pytest.mark.parametrize(
    ("values", "asserted"),
    [
        ([], []),
        ([BOB], ["sip:bob@fabrikam.com"]),
        ([NUMBER], ["tel:+1"]),
        ([BOB, NUMBER], ["sip:bob@fabrikam.com", "tel:+1"]),
        ([f"{NUMBER} \t,\t{CAROL}"], ["tel:+1", "sips:carol@contoso.org"]),
        (["tel:+1,sip:bob@fabrikam.com"], ["tel:+1", "sip:bob@fabrikam.com"]),
        ([f"{BOB};x=y,{NUMBER};z"], ["sip:bob@fabrikam.com", "tel:+1"]),
        (["sip:bob@fabrikam.com;user=phone"], ["sip:bob@fabrikam.com"]),
        ([f"{QUOTED},{NUMBER}"], ["sip:bob@fabrikam.com", "tel:+1"]),
    ],
)
def test_who_is_asserted_is_read_from_lists_and_lines(
    values: list[str], asserted: list[str]
) -> None:
    claims = Claims.of(Header(asserted=tuple(values)))
    assert claims.fault is None
    assert [str(one) for one in claims.asserted] == asserted


@pytest.mark.parametrize(
    "values",
    [
        [""],
        [BOB, ""],
        [BOB, BOB],
        [BOB, CAROL],
        [f"{BOB},{CAROL}"],
        [NUMBER, NUMBER],
        [BOB, NUMBER, CAROL],
        [f"{BOB},{NUMBER},{CAROL}"],
        [f"{BOB},{NUMBER}", NUMBER],
        [f"{BOB},"],
        [f",{BOB}"],
        [f"{BOB},,{NUMBER}"],
        [f"{BOB}{NUMBER}"],
        [f"{BOB};{NUMBER}"],
        ["sip:a,b@fabrikam.com"],
        ["sip:a@evil.example,b@fabrikam.com"],
        [f"{NUMBER}, <mailto:bob@fabrikam.com>"],
        [f"{NUMBER}\r\n,{BOB}"],
        [BOB] * 1000,
    ],
)
def test_who_is_asserted_twice_or_unreadably_is_malformed(values: list[str]) -> None:
    claims = Claims.of(Header(asserted=tuple(values)))
    assert (claims.sender, claims.asserted, claims.domains) == (None, (), frozenset())
    assert claims.fault is not None
    assert claims.fault.code is Code.SENDER_MALFORMED
    assert claims.fault.found.startswith("has P-Asserted-Identity '")
    assert claims.fault.expected == "one SIP address, one telephone number, or one of each"
    assert claims.fault.rule == "RFC 3325 §9.1"


def test_the_domains_are_those_of_from_and_of_who_is_asserted() -> None:
    """Behind an anonymous From stands whoever is asserted (RFC 3325 §7)."""
    anonymous = "<sip:anonymous@anonymous.invalid>"
    assert Claims.of(Header(asserted=(BOB, NUMBER))).domains == {"contoso.com", "fabrikam.com"}
    assert Claims.of(Header((anonymous,), (BOB,))).domains == {"fabrikam.com"}
    assert Claims.of(Header((anonymous,), (NUMBER,))).domains == frozenset()
    assert Claims.of(Header(("sip:192.0.2.1",))).domains == frozenset()


@pytest.mark.parametrize("text", ["\x1b[2J", "\n", "\u202e", "\udcff", "x" * 60_000, "\0" * 9999])
def test_a_fault_is_one_bounded_line(text: str) -> None:
    for fault in (Claims.of(Header((text,))).fault, Claims.of(Header(asserted=(text,))).fault):
        assert fault is not None
        assert fault.reason.isprintable()
        assert len(fault.reason) < 2000


# ---------------------------------------------------------------- RFC 4475

TORTURE: dict[str, str | None] = {
    "wsinv": "example.com",
    "intmeth": "example.com",
    "esc01": "example.net",
    "escnull": "example.com",
    "esc02": "example.com",
    "lwsdisp": "example.com",
    "longreq": "example.net",
    "dblreq": "example.com",
    "semiuri": "example.org",
    "transports": "example.com",
    "mpart01": "example.com",
    "unreason": None,  # a response
    "noreason": None,  # a response
    # What is wrong with these stands elsewhere than in From; except in baddn.
    "badinv01": "example.net",
    "clerr": "example.net",
    "ncl": "example.net",
    "quotbal": "example.net",
    "ltgtruri": "example.net",
    "lwsruri": "example.net",
    "lwsstart": "example.net",
    "trws": "example.com",
    "escruri": "example.net",
    "baddate": "example.net",
    "regbadct": "example.com",
    "badaspec": "example.com",
    "baddn": "malformed",
    "badvers": "example.com",
    "mismatch01": "example.net",
    "mismatch02": "example.net",
    "bigcode": "malformed",  # a response
}


def test_the_table_has_each_message_of_the_rfc() -> None:
    assert set(TORTURE) == set(VALID | INVALID)


@pytest.mark.parametrize(("name", "domain"), TORTURE.items())
def test_a_torture_message_has_the_sender_that_the_rfc_gives_it(
    name: str, domain: str | None
) -> None:
    claims = Claims.of(Message((VALID | INVALID)[name]))
    if domain == "malformed":
        assert claims.fault is not None
    else:
        assert claims.fault is None
        assert claims.domains == ({domain} if domain else frozenset())


@pytest.mark.parametrize(
    ("name", "field", "domain"),
    [
        ("wsinv", "To", "chair-dnrc.example.com"),
        ("wsinv", "Contact", "example.com"),
        ("intmeth", "To", "example.com"),
        ("esc01", "To", "example.com"),
        ("esc01", "Contact", "host5.example.net"),
        ("escnull", "Contact", "host5.example.com"),
        ("esc02", "Contact", "host1.example.com"),
        ("longreq", "To", "example.com"),
        ("longreq", "Contact", "host5.example.net"),
        ("mpart01", "Contact", None),  # an address
        ("badinv01", "Contact", "malformed"),
        ("quotbal", "To", "malformed"),
        ("regbadct", "Contact", "malformed"),
        ("badaspec", "To", "malformed"),
        ("baddn", "To", "malformed"),
        ("badvers", "To", "example.org"),
    ],
)
def test_what_tortures_in_another_address_does_so_in_from(
    name: str, field: str, domain: str | None
) -> None:
    """Most of the RFC's hard addresses stand in To and Contact."""
    value = Message((VALID | INVALID)[name]).header(field)
    assert value is not None
    found = sender(value)
    assert (found.domain if found else "malformed") == domain


# ---------------------------------------------------------------- laws


def second_reading(value: str) -> tuple[str, str]:
    """Read URI and host of an address naively, character by character, and believe all of it."""
    plain, quoted, escaped = "", False, False
    for character in value:
        if quoted and (escaped or character == "\\"):
            escaped = not escaped
        elif character == '"':
            quoted = not quoted
        elif not quoted:
            plain += character
    uri = plain.split("<", 1)[1].split(">", 1)[0] if "<" in plain else plain.split(";", 1)[0]
    rest = uri.strip().split(":", 1)[1].rpartition("@")[2]
    host = rest.partition("]")[0] + "]" if rest.startswith("[") else re.split("[:;?]", rest)[0]
    return uri.strip(), host.lower().removesuffix(".")


def check_readings(value: str) -> None:
    """See that a sender is read from a text as another reads it, or not at all."""
    found = sender(value)
    if found is None:
        return
    uri, host = second_reading(value)
    assert uri.lower().startswith(f"{found.scheme}:")
    if found.scheme == "tel":
        assert "@" not in uri
        assert (found.domain, found.address) == (None, None)
        return
    if found.domain is None:
        assert found.address == str(ipaddress.ip_address(host.strip("[]")))
    else:
        assert found.address is None
        assert found.domain == host == presented_domain(host)
    # Whoever takes the first @, or the last, or reads a web address, or splits parameters off
    # before he looks for the host, finds no other domain.
    assert uri.count("@") <= 1
    assert urlsplit(uri).hostname is None
    careless = re.split("[;?]", uri.split(":", 1)[1])[0].rpartition("@")[2].split(":")[0]
    named = presented_domain(careless.removesuffix("."))
    assert "@" in careless or named in (None, found.domain) or "." not in named


HOSTILE = [
    *'"\\<>@;:,?=#%/[]().& \t\r\n\0\x07\x7f\x85é\u2028',
    *("sip:", "sips:", "tel:", "+1", "//", "%40", "%00", "\udcff", KELVIN, "tag=", "x=", '\\"'),
    *("evil.example", "contoso.com", "192.0.2.1", "[::1]", ":5060", "@evil.example", "<sip:"),
    *("<sip:eve@evil.example>", "sip:evil.example;", '"<sip:evil.example>"', ';x="', ">;tag=1,"),
    *("eve", "Eve ", "\r\nFrom: ", "xn--a."),
]
hostile = st.lists(st.sampled_from(HOSTILE), max_size=12).map("".join)
mixed = st.one_of(st.text(), hostile)
chosen = st.sampled_from
white = chosen(["", "", " ", "\t", " \t "])
words = st.text("abcXYZ0189-.!%*_+`'~", min_size=1, max_size=8)
in_quotes = st.lists(
    chosen(["a", " ,", "<sip:eve@evil.example>", "@", ";", '\\"', "\\\\", "\\\x07", "é", "\udcff"])
).map(lambda parts: '"' + "".join(parts) + '"')
values_in_quotes = st.lists(chosen(["a", " ", ",", ";", '\\"', "\\\\", "é", "\udcff"])).map(
    lambda parts: '"' + "".join(parts) + '"'
)
display_names = st.one_of(
    st.just(""),
    in_quotes,
    st.lists(words, min_size=1, max_size=3).map(" ".join),
    st.lists(words, min_size=1, max_size=3).map(lambda parts: "\t ".join(parts) + " "),
)
plain_users = st.lists(
    chosen(["a", "Z", "0", "%40", "%00", "-_", ".", "!", "~", "*", "'", "(", ")", "&", "=", "+"])
).map(lambda parts: "u" + "".join(parts))
odd_users = st.lists(chosen(["a", "0", "%3B", ";", "?", ",", "/", "$", "=", "&"])).map(
    lambda parts: "u" + "".join(parts)
)
passwords = st.one_of(st.just(""), st.text("ab1$,&=+", max_size=5).map(":".__add__))
ports = st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format))
tails = st.lists(
    chosen([";lr", ";transport=tls", ";x=%41[]/:&+$", ";maddr=evil.example", "?a=b", "?a=&c=d"]),
    max_size=3,
).map("".join)
parameters = st.lists(
    st.builds(
        "{0};{1}{2}{3}".format,
        white,
        white,
        words,
        st.one_of(
            st.just(""),
            st.builds("{0}={1}{2}".format, white, white, st.one_of(words, values_in_quotes)),
        ),
    ),
    max_size=3,
).map("".join)


@st.composite
def addresses(draw: st.DrawFn) -> tuple[str, str, str]:
    """Give an address in three parts: up to the host, the host in some spelling, and the rest."""
    host = draw(domain_names)
    flips = draw(st.lists(st.booleans(), min_size=len(host), max_size=len(host)))
    spelled = "".join(c.upper() if up else c for c, up in zip(host, flips, strict=True))
    spelled += draw(chosen(["", "."]))
    scheme = draw(chosen(["sip:", "sips:", "SIP:", "SiPs:"]))
    if draw(st.booleans()):
        user = draw(st.one_of(plain_users, odd_users)) + draw(passwords)
        before = draw(white) + draw(display_names) + draw(white) + "<" + scheme + user + "@"
        after = draw(ports) + draw(tails) + ">"
    else:
        before = draw(white) + scheme + draw(plain_users) + draw(passwords).replace(",", "") + "@"
        after = draw(ports)
    return before, spelled, after + draw(parameters) + draw(white)


@given(addresses())
def test_an_address_that_is_built_by_the_grammar_is_read(parts: tuple[str, str, str]) -> None:
    found = sender("".join(parts))
    assert found is not None
    assert found.domain == parts[1].lower().removesuffix(".")
    assert f"{found.scheme}:{found.user}" in parts[0].replace("SIP", "sip").replace("SiPs", "sips")
    check_readings("".join(parts))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.data())
def test_an_ip_address_is_read_and_is_no_domain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, data: st.DataObject
) -> None:
    spellings = [str(address), address.exploded.upper()]
    host = data.draw(chosen(spellings))
    found = sender(f"<sip:alice@{host}>" if address.version == 4 else f"<sip:alice@[{host}]:5061>")
    assert found == Sender("sip", None, str(address), "alice")


@given(addresses(), mixed, st.data())
@example(("<sip:alice@", "contoso.com", '>;x="q"'), '<sip:eve@evil.example>;x="', 0)
@example(("sip:alice@", "contoso.com", ';x="q"'), 'sip:evil.example;x="', 0)
@example(("sip:alice@", "contoso.com", ';x="'), 'sip:evil.example;x="', 0)
@example(("<sip:alice@", "contoso.com", '>;x="'), '<sip:eve@evil.example>;x="', 0)
@example(('"A" <sip:alice@', "contoso.com", ">"), '" <sip:eve@evil.example>;x="', 1)
@example(("<sip:alice@", "contoso.com", ">"), "<sip:eve@evil.example>,", 0)
@example(("<sip:alice@", "contoso.com", ">"), "@evil.example;", 10)
@example(("<sip:alice@", "contoso.com", ">"), ",<sip:eve@evil.example>", 23)
@example(("<sip:alice@", "contoso.com", ";x>"), "@evil.example", 24)
def test_no_text_around_the_host_makes_another_domain(
    parts: tuple[str, str, str], text: str, where: st.DataObject | int
) -> None:
    """Whatever an attacker gets into display name, user or parameters, he speaks for no other."""
    before, host, after = parts
    if isinstance(where, int):
        at = where
    else:
        left = st.integers(0, len(before) - 1)
        right = st.integers(len(before + host) + 1, len(before + host + after))
        at = where.draw(st.one_of(left, right) if after else left)
    whole = before + host + after
    value = whole[:at] + text + whole[at:]
    found = sender(value)
    assert found is None or found.domain == host.lower().removesuffix(".")
    check_readings(value)


@given(addresses(), mixed, st.data())
def test_whatever_is_put_in_place_of_a_part_has_one_reading(
    parts: tuple[str, str, str], text: str, data: st.DataObject
) -> None:
    """In the host, too; and with some characters taken out."""
    whole = "".join(parts)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 12)))
    check_readings(whole[:start] + text + whole[end:])


@given(mixed)
@example("")
@example("<sip:evil.example;x@contoso.com>")
@example("<sip://evil.example/@contoso.com>")
@example("<sip:evil.example?@contoso.com>")
def test_any_text_is_an_address_of_one_reading_or_malformed(text: str) -> None:
    for value in (text, f"<{text}>", f"<sip:{text}>", f"sip:{text}@contoso.com", f"{text}<sip:a>"):
        check_readings(value)


@given(st.lists(mixed, max_size=3), st.lists(mixed, max_size=3), st.booleans())
def test_nothing_is_raised_whatever_a_header_holds(
    sent: list[str], asserted: list[str], is_request: bool
) -> None:
    claims = Claims.of(Header(tuple(sent), tuple(asserted), is_request))
    if claims.fault is not None:
        assert (claims.sender, claims.asserted) == (None, ())
        assert claims.fault.reason.isprintable()
    elif is_request:
        assert len(sent) == 1
    assert all(domain == presented_domain(domain) for domain in claims.domains)


@given(mixed, st.sampled_from(string.ascii_letters), st.sampled_from("\r\n"))
def test_no_end_of_line_is_ever_in_an_address(text: str, letter: str, end: str) -> None:
    for value in (f"{text}{end}{letter}", f"{letter}{end}{text}", f'"{text}{end}" <sip:a>'):
        assert sender(value) is None


LADEN = [  # a beginning, what is repeated, an end
    ("", '"', ""),
    ("", "<", ""),
    ("", " ", "x"),
    ("", "\t", "<"),
    ("", "a ", "x"),
    ("", "愛 ", "x"),
    ("", ",", ""),
    ("", "sip:a,", ""),
    ('"', "\\", ""),
    ('"', "\\a", ""),
    ('"', '" "', ""),
    ('"', "a", ""),
    ("<sip:", "a", ">x"),
    ("<sip:", "a", "@"),
    ("<sip:", "%41", ">"),
    ("<sip:", "a;", "@contoso.com>"),
    ("<sip:", "a.", "b;@contoso.com>"),
    ("<sip:", "1#", "x@contoso.com>"),
    ("<sip:a:", "%41", "@"),
    ("<sip:a@", "a.", "a>"),
    ("<sip:a@", "1.", "1>"),
    ("<sip:a@", "xn--a.", "a>"),
    ("<sip:a@[", ":", "]>"),
    ("<sip:a@b:", "9", ">"),
    ("<sip:a@b", ";a=%41", "@>"),
    ("<sip:a@b>", " ; a = b", "@"),
    ("<sip:a@b>", ';a="\\""', "@"),
    ('<sip:a@b>;x="', "a\\", ""),
    ("sip:a@b", ";", ""),
    ("sip:", "a", ""),
    ("tel:", "1", "x"),
    ("tel:", "(", ""),
    ("<tel:+", "()", "1a>"),
    ("<tel:1", ";a=%41", "@>"),
]


@pytest.mark.parametrize(("start", "repeated", "end"), LADEN)
def test_a_long_value_is_read_to_its_end(start: str, repeated: str, end: str) -> None:
    """It doubles ten times up to 64 KiB: with two ways to share it out, it would never end."""
    for size in (64 << power for power in range(11)):
        value = start + repeated * (size // len(repeated)) + end
        claims = Claims.of(Header((value,), (value,)))
        assert claims.fault is None or claims.fault.reason.isprintable()


# ---------------------------------------------------------------- a head with two readings


FROM = b"OPTIONS sip:a SIP/2.0\r\nFrom: <sip:anna@fabrikam.com>\r\n"
HIDDEN = b"<sip:eve@contoso.com>"


@pytest.mark.parametrize(
    "line",
    [
        b"P-Asserted-Identity\x0b: " + HIDDEN,
        b"\x0bP-Asserted-Identity: " + HIDDEN,
        b"P-Asserted-Identity\xa0: " + HIDDEN,
        b"P-Asserted-Identity\xc2\xa0: " + HIDDEN,
        b"From\x0c: " + HIDDEN,
        b"Subject: a\x0bP-Asserted-Identity: " + HIDDEN,
        b"Subject: a\x1eP-Asserted-Identity: " + HIDDEN,
        b"Subject: a\xc2\x85P-Asserted-Identity: " + HIDDEN,
        b"Subject: a\xe2\x80\xa8P-Asserted-Identity: " + HIDDEN,
        b"Subject: a\nP-Asserted-Identity: " + HIDDEN,
        b"Subject: a\rP-Asserted-Identity: " + HIDDEN,
        b"Subject: a\n\nP-Asserted-Identity: " + HIDDEN,
        b"Subject: a\r\r\nP-Asserted-Identity: " + HIDDEN,
        b"P-Asserted-Identity " + HIDDEN,
        b": " + HIDDEN,
        b"P Asserted-Identity: " + HIDDEN,
    ],
)
def test_a_header_that_others_could_read_is_malformed(line: bytes) -> None:
    """Else a server behind us would find an identity that we have not looked at."""
    claims = Claims.of(Message(FROM + line + b"\r\n\r\n"))
    assert claims.fault is not None
    assert claims.fault.code is Code.SENDER_MALFORMED
    assert claims.fault.reason.isprintable()


@pytest.mark.parametrize(
    "start",
    [
        b"OPTIONS sip:a SIP/2.0\r\n ",
        b"OPTIONS\r\n\t",
        b"OPTIONS sip:a SIP/2.0\n",
        b"SIP/2.0 200\r\n ",
    ],
)
def test_a_start_line_that_others_could_read_is_malformed(start: bytes) -> None:
    """A header field that continues it is found by some, and by others not."""
    claims = Claims.of(Message(start + b"From: <sip:anna@fabrikam.com>\r\nTo: <sip:a>\r\n\r\n"))
    assert claims.fault is not None
    assert claims.fault.reason.isprintable()


@pytest.mark.parametrize("name", [b"X-A.b!%*_+`'~1", b"Subject \t", b"s"])
def test_any_token_names_a_header_field(name: bytes) -> None:
    line = name + b": \xc3\x85sa \x07 \xff\r\n folded\r\n"
    assert Claims.of(Message(FROM + line + b"\r\n")).domains == {"fabrikam.com"}


@pytest.mark.parametrize(
    "start",
    [
        b"SIP/2.0 INVITE sip:b SIP/2.0",
        b"SIP/2.0INVITE sip:b SIP/2.0",
        b"SIP/2.0",
        b"SIP/3.0 200 OK",
    ],
)
def test_what_is_neither_a_request_nor_a_response_is_malformed(start: bytes) -> None:
    """As a response, its From would not be looked at."""
    claims = Claims.of(Message(start + b"\r\nFrom: <sip:eve@contoso.com>\r\n\r\n"))
    assert claims.fault is not None


@pytest.mark.parametrize("start", [b"SIP/2.0 200 OK", b"SIP/2.0 180", b"sip/2.0 699 "])
def test_a_response_claims_no_sender(start: bytes) -> None:
    claims = Claims.of(Message(start + b"\r\nFrom: <sip:eve@contoso.com>\r\n\r\n"))
    assert (claims.fault, claims.sender) == (None, None)
