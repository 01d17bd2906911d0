"""Writes the inputs to begin with, ``fuzz/corpus/`` and ``fuzz/dictionaries/``.

``python -m fuzz.seeds`` writes the same files again, byte for byte.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fuzz import chains, pemfiles, pki, statuses
from siptls.testing import pem

FOLDER = Path(__file__).parent

# ---------------------------------------------------------------- SIP
#
# What is torn and twisted in the spirit of RFC 4475, and what SIP servers have been split by.

REQUEST = (
    b"INVITE sip:bob@contoso.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS edge.fabrikam.com;branch=z9hG4bK1\r\n"
    b"From: Alice <sip:alice@fabrikam.com>;tag=a\r\n"
    b"To: <sip:bob@contoso.com>\r\n"
    b"Call-ID: 1@edge\r\nCSeq: 1 INVITE\r\n"
)
RESPONSE = (
    b"SIP/2.0 180 Ringing\r\nv: SIP/2.0/TLS a;branch=z9hG4bK1\r\n"
    b"f: <sip:alice@fabrikam.com>;tag=a\r\nt: <sip:bob@contoso.com>;tag=b\r\n"
    b"i: 1@edge\r\nCSeq: 1 INVITE\r\nl: 0\r\n\r\n"
)
_START = b"OPTIONS sip:contoso.com SIP/2.0\r\n"

STREAMS: dict[str, bytes] = {
    "request": REQUEST + b"Content-Length: 4\r\n\r\nv=0\n",
    "response": RESPONSE,
    "two": RESPONSE + REQUEST + b"l: 0\r\n\r\n",
    "ping": b"\r\n\r\n" + RESPONSE + b"\r\n\r\n",
    "half-a-ping": b"\r\n" + RESPONSE + b"\r\n",
    "five-crlfs": b"\r\n\r\n\r\n\r\n\r\n" + _START + b"l:0\r\n\r\n",
    "cr-alone": b"\r\n\rX",
    "folded-length": _START + b"Content-Length\t:\r\n  3\r\n\t\r\n\r\nabc",
    "split-length": _START + b"Content-Length: 1\r\n 2\r\n\r\nabcdefghijkl",
    "early-fold": _START + b"Content-Length\r\n : 5\r\n\r\nabcde",
    "folded-start": b"OPTIONS\r\n sip:contoso.com SIP/2.0\r\nl: 0\r\n\r\n",
    "fold-before-any-field": _START + b" l: 0\r\nl: 5\r\n\r\nabcde",
    "same-length-twice": _START + b"l: 5\r\nContent-Length: 05\r\n\r\nabcde",
    "two-lengths": _START + b"l: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "no-length": _START + b"Max-Forwards: 70\r\n\r\n",
    "negative-length": _START + b"Content-Length: -999\r\n\r\n",
    "huge-length": _START + b"Content-Length: 18446744073709551616\r\n\r\n",
    "octal-length": _START + b"Content-Length: 0x5\r\n\r\nabcde",
    "foreign-digits": _START + "Content-Length: \u0665\r\n\r\nabcde".encode(),
    "length-in-a-value": _START + b"Subject: x\r\n Content-Length: 9\r\nl: 1\r\n\r\nx",
    "length-like": _START + b"X-Content-Length: 9\r\nll: 7\r\nl: 1\r\n\r\nx",
    "length-in-the-body": _START + b"l: 21\r\n\r\nContent-Length: 0\r\n\r\n",
    "lf-alone": _START + b"X: y\nl: 0\r\n\r\n",
    "cr-in-a-line": _START + b"X: y\rz\r\nl: 0\r\n\r\n",
    "nul": _START + b"X: y\0z\r\nl: 0\r\n\r\n",
    "lf-lf": b"OPTIONS sip:contoso.com SIP/2.0\nl: 0\n\n",
    "no-colon": _START + b"nothing\r\n folded\r\nl: 0\r\n\r\n",
    "empty-name": _START + b": x\r\nl: 0\r\n\r\n",
    "unfinished": REQUEST + b"Content-Length: 10\r\n\r\nabc",
    "unfinished-head": REQUEST,
    "over-limit": _START + b"l: 0\r\nX: " + b"x" * 100 + b"\r\n\r\n",
    "body-over-limit": _START + b"l: 61\r\n\r\n" + b"x" * 61,
    "http": b"GET / HTTP/1.1\r\nHost: contoso.com\r\nContent-Length: 5\r\n\r\nhello",
    "hello": bytes.fromhex("160301020001000001fc0303") + b"\0" * 20,
    "tortuous": (
        b"INVITE sip:vivekg@example.com;unknownparam SIP/2.0\r\n"
        b"TO :\r\n sip:vivekg@example.com ;   tag    = 1918181833n\r\n"
        b'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98\r\n'
        b"Call-ID: wsinv.ndaksdj@192.0.2.1\r\nContent-Length   : 3\r\n"
        b"cseq: 0009\r\n  INVITE\r\nVia  : SIP  /   2.0\r\n /TLS\r\n    192.0.2.2;branch=3\r\n"
        b"Unknown: ;;,,;;,;\r\n\r\nv=0"
    ),
}


def _framer() -> Iterable[tuple[str, bytes]]:
    """Five bytes before each stream: pongs that are owed and limits, then the cuts."""
    for number, (name, stream) in enumerate(STREAMS.items()):
        yield name, bytes([number % 8, 1 + number % 7, 2, 64, 1]) + stream


FROMS: dict[str, bytes] = {
    "bare": b"From: sip:alice@fabrikam.com;tag=a",
    "no-user": b"From: sips:fabrikam.com",
    "compact": b"f: <sip:alice@fabrikam.com:5061;lr?x=y>;tag=a",
    "quoted": b'From: "A <sip:eve@x.example> \\" B" <sip:alice@fabrikam.com>;tag=a',
    "two-ats": b"From: <sip:alice@fabrikam.com@x.example>;tag=a",
    "parameters-first": b"From: <sip:a.example;x@fabrikam.com>;tag=a",
    "web": b"From: <sip://x.example@fabrikam.com>;tag=a",
    "escaped": b"From: <sip:%61lice%40x.example@fabrikam.com>;tag=a",
    "password": b"From: <sip:alice:secret@fabrikam.com>;tag=a",
    "tel": b"From: <tel:+358-555-1234567;postd=pp22>;tag=a",
    "anonymous": b'From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=a',
    "address": b"From: <sip:alice@[2001:db8::1]:5061>;tag=a",
    "address4": b"From: <sip:alice@192.0.2.1>;tag=a",
    "dotted": b"From: <sip:alice@FABRIKAM.com.>;tag=a",
    "two-froms": b"From: <sip:a@fabrikam.com>\r\nf: <sip:a@x.example>",
    "two-addresses": b"From: <sip:a@fabrikam.com>, <sip:a@x.example>",
    "folded": b"From: Alice\r\n\t<sip:alice@fabrikam.com>\r\n ;tag=a",
    "asserted": (
        b"From: <sip:a@fabrikam.com>\r\nP-Asserted-Identity: <sip:a@fabrikam.com>, <tel:+123>"
    ),
    "quoted-parameter": b'From: <sip:a@fabrikam.com>;x="y;z\\"";tag=a',
    "open-quote": b'From: "Alice <sip:alice@fabrikam.com>;tag=a',
    "utf-8": "From: J\u00f6rg \u2028 <sip:j@fabrikam.com>".encode(),
    "no-utf-8": b"From: \xff\xfe <sip:j@fabrikam.com>",
    "vertical-tab": b"From: x\x0bFrom: <sip:j@fabrikam.com>",
    "a-label": b"From: <sip:j@xn--bcher-kva.example>",
    "bad-a-label": b"From: <sip:j@xn--a.example>",
}


def _message() -> Iterable[tuple[str, bytes]]:
    """One byte before each: an even one for bytes that no framer has seen; then what is replied."""
    for name, stream in STREAMS.items():
        yield f"stream-{name}", b"\0\2OK" + stream
    for name, line in FROMS.items():
        yield (
            f"from-{name}",
            b"\1\2OK"
            + REQUEST.replace(b"From: Alice <sip:alice@fabrikam.com>;tag=a", line)
            + b"Content-Length: 0\r\n\r\n",
        )
    for number in range(8):  # what a reply is to have in its header, and a 403
        flags = bytes([1 | number << 2 | 3 << 5])
        yield f"reply-{number}", flags + b"\2OK" + STREAMS["request"]
    yield "forbidden", b"\3\2OK" + STREAMS["request"]
    for number, status in enumerate((b"999", b"099", b"2000", b"+20", b"4294967496")):
        yield f"status-{number}", b"\1\0" + RESPONSE.replace(b"180", status)
    yield "kelvin", b"\1\0" + _START + "\u212a: x\r\nk: y\r\nl: 0\r\n\r\n".encode()
    yield "reason", b"\1\4OK\r\n" + RESPONSE.replace(b"SIP/2.0 180 Ringing", b"BYE sip:a SIP/2.0")


SIP_WORDS = [
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\r\n ",
        b"\r\n\t",
        b"\r",
        b"\n",
        b" :",
        b"SIP/2.0",
        b"SIP/2.0 200 OK",
    ),
    *(b"Content-Length:", b"\r\nContent-Length: 0\r\n\r\n", b"\r\nl:0\r\n\r\n", b"l:", b"ACK "),
    *(b"\r\nFrom: ", b"\r\nf:", b"\r\nTo: ", b"\r\nVia: ", b"\r\nCall-ID: ", b"\r\nCSeq: "),
    *(b"\r\nP-Asserted-Identity: ", b";tag=", b"<sip:", b"<sips:", b"sip:", b"tel:+1", b">"),
    *(b"fabrikam.com", b"contoso.com", b"x.example", b"@", b'"', b"\\", b"<", b"%40", b"[::1]"),
    *(b"xn--", b"\xc2\x85", b"\xe2\x80\xa8", b"\x0b", b"\x1c", b"\xff", b"//", b".", b",", b";"),
]


# ---------------------------------------------------------------- names

DOMAINS = [
    *(
        "contoso.com",
        "CONTOSO.COM",
        "b\u00fccher.example",
        "xn--bcher-kva.example",
        "a.b.c.d.example",
    ),
    *("contoso.com.", "*.contoso.com", "192.0.2.1", "127.1", "0x7f.1", "a_b.example", "", "."),
    *(
        "a..b",
        "-a.b",
        "a-.b",
        "xn--a.example",
        "\uff43ontoso.com",
        "contoso\u3002com",
        "\u212aa.de",
    ),
    *("x" * 63 + ".example", "a%2eb", "a\0.b", "contoso.com:5061", "[::1]", "fa\u00df.de"),
    *(".".join(["x" * 49] * 5) + ".com", ".".join(["x" * 49] * 5) + ".comm"),
    *("sip:contoso.com;x", "<sip:alice@contoso.com:5061>, *.contoso.com.", "\u202econtoso.com"),
]
URIS = [
    *("sip:contoso.com", "sips:contoso.com:5061;transport=tls?x=y", "SIP:alice@Contoso.COM"),
    *("sip:alice:secret@contoso.com", "sip:[2001:db8::1]:5061", "sip:192.0.2.1", "sip:a@b@c.de"),
    *("sip:contoso.com:0", "sip:contoso.com:99999", "sip:@contoso.com", "sip:", "contoso.com"),
    *("2001:db8::1", "192.0.2.1", "::ffff:192.0.2.1", "fe80::1%eth0", "1", "sip:contoso.com\n"),
    *("tel:+1", "sip:b\u00fccher.example", "sip:contoso.com;x=@y", "sip: contoso.com"),
]
MATCHES = [
    ("contoso.com", "sip:contoso.com", "sip.contoso.com"),
    ("contoso.com sip.contoso.com", "sip:contoso.com", "sip.contoso.com"),
    ("contoso.com sip.contoso.com", "sip:x.example", "SIP.contoso.com", "CN=contoso.com"),
    ("contoso.com", "CN=contoso.com"),
    ("contoso.com", "CN=contoso.com", "x.example"),
    ("a.contoso.com", "*.contoso.com"),
    ("a.contoso.com", "*.contoso.com", "sip:x.example", "CN=*.contoso.com"),
    ("contoso.com", "*.com", "*", "*.*.contoso.com", "c*.contoso.com"),
    ("a.b.contoso.com", "*.contoso.com", "sip:*.b.contoso.com"),
    ("192.0.2.1", "192.0.2.1", "sip:192.0.2.1", "CN=192.0.2.1"),
    ("2001:db8::1", "2001:db8:0::1"),
    ("contoso.com", "SRV=_sips.contoso.com", "SRV=_http.contoso.com"),
    ("contoso.com", "sip:alice@contoso.com", "sips:contoso.com", "sip:contoso.com;lr"),
    ("contoso.com", "contoso.com.", " contoso.com", "contoso.com\0.x.example", "contoso%2ecom"),
    ("contoso.com", "sip:CONTOSO.com:5061", "http:contoso.com", "urn:x"),
]


def _names() -> Iterable[tuple[str, bytes]]:
    for number, text in enumerate(DOMAINS):
        yield f"domain-{number:02}", b"\0" + text.encode()
    for number, text in enumerate(URIS):
        yield f"uri-{number:02}", b"\1" + text.encode()
    for number, lines in enumerate(MATCHES):
        first = bytes([2 + 4 * (number % 6)])
        yield f"match-{number:02}", first + "\n".join(lines).encode()


NAME_WORDS = [
    *(b"sip:", b"sips:", b"CN=", b"SRV=_sips.", b"\x02_sip.", b"*.", b"contoso.com", b"\n", b"@"),
    *(b"xn--", b".example", b"192.0.2.1", b"::1", b":5061", b";", b"?", b"%2e", b"[", b"]", b"\0"),
    *(b"\xc3\xbc", b"\xe2\x84\xaa", b"\xe3\x80\x82", b"\xff", b" sip.contoso.com", b"\xc3\x9f"),
]


# ---------------------------------------------------------------- certificates


def _chains() -> Iterable[tuple[str, bytes]]:
    for number, (name, leaf) in enumerate(chains.LEAVES.items()):
        whole = b"".join(pki.der(one) for one in leaf.chain)
        yield f"chain-{name}", bytes([number % 4 << 2]) + whole
        yield f"expected-{name}", bytes([number % 4 << 4 | 0x44]) + whole
        for policy in (0, 1, 2):
            yield f"leaf-{name}-{policy}", bytes([2 | policy << 2]) + chains.fields(leaf.chain[0])
    above = chains.fields(chains.BELOW.certificate)
    yield "intermediate", bytes([3]) + above
    yield "intermediate-expected", bytes([3 | 0x54]) + above
    yield "no-certificate", bytes([0]) + b"\x30\x03\x02\x01\x00"


def _statuses() -> Iterable[tuple[str, bytes]]:
    for name, der in statuses.CRLS.items():
        yield f"crl-{name}", b"\0" + der
        yield f"crl-fields-{name}", b"\2" + statuses.crl_fields(der)
    for name, der in statuses.RESPONSES.items():
        yield f"response-{name}", b"\1" + der
        if name != "later":
            yield f"response-fields-{name}", b"\3" + statuses.response_fields(der)
    crl = x509.load_der_x509_crl(statuses.CRLS["good"]).public_bytes(Encoding.PEM)
    yield "crl-pem", b"\0" + crl
    yield "crl-pem-twice", b"\0" + crl + crl


def _pemfiles() -> Iterable[tuple[str, bytes]]:
    ours, ca = pem(pemfiles.OURS), pki.CONTOSO.pem
    yield "authority", b"\0" + ca
    yield "authority-twice", b"\0some words\r\n" + ca + ca.replace(b"\n", b"\r\n")
    yield "authority-of-a-leaf", b"\0" + ours
    yield "credential", b"\1" + ours
    yield "credential-backwards", b"\1" + ca + ours
    yield "certificates-alone", b"\1" + ours[ours.index(b"-----BEGIN CERT") :]
    yield "key-alone", b"\1" + ours[: ours.index(b"-----BEGIN CERT")]
    yield "two-keys", b"\2" + ours
    yield "cut-off", b"\1" + ours[:150]
    yield "no-end", b"\0" + ca[:-20]
    yield "staple", b"\3" + pemfiles.STAPLE
    yield "staple-of-another", b"\3" + statuses.RESPONSES["good"]
    yield "empty", b"\0"
    yield "der", b"\0" + pki.der(pki.CONTOSO.certificate)
    other = b"\n".join(
        [b"-----BEGIN RSA PRIVATE KEY-----", b"AAAA", b"-----END RSA PRIVATE KEY-----"]
    )
    yield "bad-key", b"\2" + other
    encrypted = other.replace(b"RSA", b"ENCRYPTED")
    yield "encrypted", b"\2" + encrypted


# What DER is made of: the names and extensions that certificates of SIP are judged by.
DER_WORDS = [
    *(
        b"\x86\x0fsip:contoso.com",
        b"\x82\x0bcontoso.com",
        b"\x82\x0e*.fabrikam.com",
        b"\x87\x04\xc0\0\2\1",
    ),
    *(bytes.fromhex(oid) for oid in ("0603551d11", "0603551d13", "0603551d0f", "0603551d1e")),
    *(bytes.fromhex(oid) for oid in ("0603551d25", "0603551d1f", "0603551d23", "0603551d0e")),
    *(bytes.fromhex(oid) for oid in ("0603551d14", "0603551d1c", "0603551d15", "0603551d1b")),
    *(
        b"\x01\x01\xff",
        b"\x30\x03\x01\x01\xff",
        b"\x05\x00",
        b"\xa0\x03\x02\x01\x02",
        b"\x0c",
        b"\x13",
    ),
    *(b"260101000000Z", b"20260101000000Z", b"99991231235959Z", b"contoso.com", b"fabrikam.com"),
    bytes.fromhex("06082b06010505070301"),
    bytes.fromhex("06082b06010505070302"),
    bytes.fromhex("06082b06010505070309"),
    bytes.fromhex("06082b06010505070807"),
]
PEM_WORDS = [
    *(
        f"-----{edge} {kind}-----".encode()
        for edge in ("BEGIN", "END")
        for kind in (
            "CERTIFICATE",
            "PRIVATE KEY",
            "RSA PRIVATE KEY",
            "EC PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
            "X509 CRL",
        )
    ),
    *(b"\n", b"\r\n", b"AAAA", b"=", b"Proc-Type: 4,ENCRYPTED\n"),
]


# ---------------------------------------------------------------- policy files

_CA = 'domains = ["contoso.com"]\nauthority = "ca.pem"\n'
_PARTNER = '[[partner]]\ndomains = ["fabrikam.com"]\nauthority = "partner.pem"\n'
POLICIES = {
    "enterprise": f"[enterprise]\n{_CA}",
    "partner": _PARTNER,
    "both": f'blocked = ["evil.example"]\n[enterprise]\n{_CA}names = "OCS"\n{_PARTNER}',
    "servers": f'[enterprise]\n{_CA}trusted_servers = ["edge.contoso.com"]\n',
    "relays": (
        f'[enterprise]\n{_CA}trusted_servers = ["edge.contoso.com"]\n'
        '[enterprise.relays]\n"edge.contoso.com" = ["fabrikam.com", "*"]\n'
    ),
    "discovery": f'[enterprise]\n{_CA}[discovery]\nauthority = "ca.pem"\nlimits = false\n',
    "discovery-alone": '[discovery]\nauthority = ["ca.pem"]\nown = ["contoso.com"]\n',
    "limits": f"{_PARTNER}[partner.limits]\nmessages_per_second = 5.5\nburst = 7\n",
    "edge": f'{_PARTNER}edge = "edge.hoster.example"\nverification = "use-source"\n',
    "revocation": (
        f'[enterprise]\n{_CA}revocation = "soft"\nrevocation_scope = "leaf"\n'
        'crls = ["crl.der"]\nocsp = ["ocsp.der"]\n'
    ),
    "purposes": f'[enterprise]\n{_CA}purposes = "ROLE"\nauthority_name = "Ours \\u202e"\n',
    "no-ca": '[enterprise]\ndomains = ["contoso.com"]\nauthority = "leaf.pem"\n',
    "broken-ca": '[enterprise]\ndomains = ["contoso.com"]\nauthority = "broken.pem"\n',
    "no-file": '[enterprise]\ndomains = ["contoso.com"]\nauthority = "absent.pem"\n',
    "overlap": f"{_PARTNER}{_PARTNER}[enterprise]\n{_CA}",
    "misspelt": f'[enterprize]\n{_CA}[enterprise]\n{_CA}nmaes = "OCS"\n',
    "kinds": "blocked = 1\nenterprise = []\n[[partner]]\ndomains = [1]\nlimits = true\n",
    "empty": "",
    "no-toml": "enterprise = [",
    "large": "x = 99999999999999999999999999\ny = 1979-05-27T07:32:00Z\nz = nan\n",
    "names": (
        '[[partner]]\nauthority = "partner.pem"\ndomains = ["*.x", "B\u00dcCHER.example", ""]\n'
    ),
}


def _policyfile() -> Iterable[tuple[str, bytes]]:
    for name, text in POLICIES.items():
        yield name, text.encode()
    inline = pki.CONTOSO.pem.decode()
    yield (
        "inline",
        f'[enterprise]\ndomains = ["contoso.com"]\nauthority = """{inline}"""\n'.encode(),
    )
    yield "no-utf-8", b"\xff\xfe[enterprise]"
    yield "bom", b"\xef\xbb\xbf" + POLICIES["enterprise"].encode()


_KEYS = """
    blocked enterprise partner discovery domains authority authority_name names purposes revocation
    revocation_scope crls ocsp trusted_servers relays edge verification limits own
    messages_per_second burst distinct_uris period connections suspicious_share
""".split()  # noqa: SIM905  a list of words, to be read
_VALUES = """
    ca.pem partner.pem leaf.pem crl.der ocsp.der contoso.com fabrikam.com RFC5922 OCS RFC9525 TEAMS
    SIP ROLE RFC5924 require soft off chain leaf always-verifiable use-source *
""".split()  # noqa: SIM905  a list of words, to be read
TOML_WORDS = [
    *(f"\n{key} = ".encode() for key in _KEYS),
    *(f'"{value}"'.encode() for value in _VALUES),
    *(b"\n[enterprise]\n", b"\n[[partner]]\n", b"\n[discovery]\n", b"\n[partner.limits]\n"),
    *(b"[", b"]", b", ", b'"', b'"""', b"true", b"false", b"nan", b"inf", b"1e400", b"-1", b"{}"),
]

# ---------------------------------------------------------------- TLS


def _hello(versions: bytes, ciphers: bytes, name: bytes = b"sip.contoso.com") -> bytes:
    """Give a ClientHello (RFC 8446 §4.1.2) of one who has no random numbers."""

    def sized(data: bytes, size: int = 2) -> bytes:
        return len(data).to_bytes(size, "big") + data

    def extension(number: int, data: bytes) -> bytes:
        return number.to_bytes(2, "big") + sized(data)

    extensions = (
        extension(0, sized(b"\0" + sized(name)))  # server_name
        + extension(5, b"\1\0\0\0\0")  # status_request
        + extension(10, sized(b"\0\x1d\0\x17"))  # supported_groups: x25519, P-256
        + extension(13, sized(b"\4\3\x08\4"))  # signature_algorithms: ECDSA, RSA-PSS
        + extension(16, sized(sized(b"sip/2", 1)))  # application_layer_protocol_negotiation
        + extension(43, sized(versions, 1))  # supported_versions
        + extension(45, b"\1\1")  # psk_key_exchange_modes
        + extension(51, sized(b"\0\x1d" + sized(b"\x09" * 32)))  # key_share
    )
    body = b"\3\3" + b"r" * 32 + sized(b"", 1) + sized(ciphers) + b"\1\0" + sized(extensions)
    return b"\x16\3\1" + sized(b"\1" + sized(body, 3))


def _connection() -> Iterable[tuple[str, bytes]]:
    newer = _hello(b"\3\4\3\3", b"\x13\1\xc0\x2b")
    older = _hello(b"\3\3", b"\xc0\x2b")
    for name, data in {
        "tls-1.3": newer,
        "tls-1.2": older,
        "tls-1.0": _hello(b"\3\1", b"\xc0\x09"),
    }.items():
        yield f"server-{name}", b"\0" + data
    yield "server-no-name", b"\0" + _hello(b"\3\4", b"\x13\1", b"")
    yield "server-odd-name", b"\0" + _hello(b"\3\4", b"\x13\1", b"\xff.\0*")
    yield "server-twice", b"\0" + newer + newer
    yield "server-certificate", b"\0" + newer + b"\x16\3\3\0\x08\x0b\0\0\4\0\0\0\0"
    yield "server-data-at-once", b"\0" + b"\x17\3\3\0\5hello"
    yield "server-data-after", b"\0" + newer + b"\x14\3\3\0\1\1\x17\3\3\0\5hello"
    yield "server-plain-sip", b"\0" + STREAMS["request"]
    yield "server-alert", b"\0\x15\3\3\0\2\2\x28"
    yield "server-heartbeat", b"\0\x18\3\3\0\3\1\x40\0"
    yield "client-alert", b"\1\x15\3\3\0\2\2\x46"
    yield "client-close", b"\1\x15\3\3\0\2\1\0"
    hello = b"\2\0\0\x2c\3\3" + b"r" * 32 + b"\0\xc0\x2b\0\0\4\xff\1\0\0"
    yield "client-hello", b"\1\x16\3\3\0\x30" + hello
    yield "client-plain-sip", b"\1" + RESPONSE
    for number, change in enumerate((b"\x08\0\0", b"\1\1\x23", b"\2\5\2", b"\3\0\x24", b"\3\1\1")):
        yield f"stranger-{number}", b"\2" + change
        yield f"altered-{number}", b"\3" + change
    yield "unaltered", b"\3\0"


# ---------------------------------------------------------------- writing

CORPUS = {
    "framer": _framer,
    "message": _message,
    "names": _names,
    "chains": _chains,
    "statuses": _statuses,
    "pemfiles": _pemfiles,
    "policyfile": _policyfile,
    "connection": _connection,
}
WORDS = {
    "framer": SIP_WORDS,
    "message": SIP_WORDS,
    "names": NAME_WORDS,
    "chains": DER_WORDS,
    "statuses": DER_WORDS,
    "pemfiles": PEM_WORDS,
    "policyfile": TOML_WORDS,
}


def main() -> None:
    """Write all of them anew."""
    for target, make in CORPUS.items():
        folder = FOLDER / "corpus" / target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data in make():
            (folder / name).write_bytes(data)
    (FOLDER / "dictionaries").mkdir(exist_ok=True)
    for target, words in WORDS.items():
        lines = ["".join(f"\\x{byte:02x}" for byte in word) for word in words]
        text = "".join(f'"{line}"\n' for line in lines)
        (FOLDER / "dictionaries" / f"{target}.dict").write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
