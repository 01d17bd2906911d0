"""Domains, texts that are none, and the names of a certificate that presents them."""

from __future__ import annotations

from certificates import make
from cryptography import x509
from hypothesis import strategies as st

from siptls.trust.presented import PresentedNames, presented_names

LONGEST_LABEL = "a" * 63
LONGEST = ".".join([LONGEST_LABEL] * 3 + ["b" * 61])  # 253 octets
A_LABEL = "xn--bcher-kva.example"

NO_DOMAIN_ANYWHERE = [
    "",
    " ",
    ".",
    "..",
    "contoso.com\0",
    "contoso.com\0.evil.example",
    "\0contoso.com",
    "contoso\0.com",
    "%63ontoso.com",
    "contoso.com%00.evil.example",
    "contoso%2ecom",
    "*.contoso.com",
    "*",
    "sip.*.com",
    "s*p.contoso.com",
    "contoso..com",
    ".contoso.com",
    "contoso.com.",
    "contoso.com..",
    "-contoso.com",
    "contoso-.com",
    "contoso.com-",
    "contoso.-com",
    "-",
    "_sip.contoso.com",
    "con_toso.com",
    "contoso.com\n",
    "contoso.com\r\n",
    "\ncontoso.com",
    "contoso .com",
    "contoso.com ",
    "contoso,com",
    "contoso.com/",
    "contoso.com:5061",
    "sip:contoso.com",
    "sips:contoso.com",
    "sip:",
    "alice@contoso.com",
    "@contoso.com",
    "contoso.com;transport=tls",
    "1.2.3.4",
    "192.0.2.1",
    "127.1",
    "127.0.0.1",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0177.0.0.1",
    "1.2.3.4.",
    "::1",
    "[::1]",
    "[1.2.3.4]",
    "fe80::1%eth0",
    "sip.4",
    "sip.4c",
    "a" * 64 + ".com",
    "a" * 64,
    LONGEST + "b",
    "a." * 127 + "a",
    "xn--.example",
    "xn--a.example",
    "xn--abc.example",
    "xn--abc-.example",
    "xn--zz--.example",
    "xn--bcher-kvb.example",
    "xn--ls8h.example",  # an emoji: no letter of IDNA 2008
    "xn--1ug.example",  # a joiner alone
    "ab--c.example",  # reserved
    "sip.xn--a",
]


label = st.from_regex(r"[a-z](?:[a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
domain_names = st.lists(label, min_size=1, max_size=4).map(".".join)


def present(*names: x509.GeneralName, subject: str = "") -> PresentedNames:
    """Give the names of a certificate that shows these, and a common name."""
    san = [(x509.SubjectAlternativeName(names), False)] if names else []
    return presented_names(make(subject, None, *san).certificate)


def uri(text: str) -> x509.GeneralName:
    """Give a URI as a certificate shows it."""
    return x509.UniformResourceIdentifier(text)
