"""The laws of the fuzz targets, over their inputs and over what Hypothesis makes; without atheris.

Each input that once broke a law stands in ``fuzz/found``, and is tried here for ever.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import chains, connection, framer, message, names, pemfiles, pki, policyfile, statuses
from fuzz.harness import FOLDER, TARGETS, load, replay
from siptls import Limits, Message

# Of a serial number below 1, and of a name's length, cryptography warns.
pytestmark = [
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning"),
]
# Cheap ones, and more than there are elsewhere: the laws are many.
many = settings(max_examples=max(300, settings().max_examples))
INPUTS = [(name, file) for name in TARGETS for file in replay(name)]


@pytest.mark.parametrize(
    ("name", "file"), INPUTS, ids=[f"{name}-{file.name}" for name, file in INPUTS]
)
def test_an_input_breaks_no_law(name: str, file: Path) -> None:
    load(name)(file.read_bytes())


def test_each_target_has_inputs_and_each_folder_a_target() -> None:
    for name in TARGETS:
        assert 10 <= len(list((FOLDER / "corpus" / name).iterdir())) <= 90
    for folder in ("corpus", "found", "dictionaries"):
        assert {one.stem for one in (FOLDER / folder).iterdir()} <= set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_whatever_is_too_short(name: str) -> None:
    target = load(name)
    for first in range(256):
        target(bytes([first]))
    target(b"")


# ---------------------------------------------------------------- the framers

LINES = st.sampled_from(
    [
        *(
            b"OPTIONS sip:a SIP/2.0\r\n",
            b"SIP/2.0 200 OK\r\n",
            b"X: y\r\n",
            b"nothing\r\n",
            b":\r\n",
        ),
        *(
            b"l: 0\r\n",
            b"L : 3\r\n",
            b"Content-Length: 03\r\n",
            b"Content-Length\t:\r\n",
            b"l:\r\n",
        ),
        *(
            b" 3\r\n",
            b"\t\r\n",
            b" l: 9\r\n",
            b"l: 3 \r\n",
            b"l: +3\r\n",
            b"l: 3\r\n 0\r\n",
            b"l: 61\r\n",
        ),
        *(
            b"\r\n",
            b"\r",
            b"\n",
            b"\0",
            b"abc",
            b" ",
            b"x" * 60 + b"\r\n",
            b"l: 0\r\n\r\n",
            b"\r\n\r\n",
        ),
    ]
)
STREAMS = st.lists(LINES, max_size=12).map(b"".join) | st.binary(max_size=60)
START = b"A sip:a SIP/2.0\r\n"


@many
@given(
    stream=STREAMS | STREAMS.map(lambda rest: START + rest),
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=4).map(bytes),
    pongs=st.integers(0, 3),
    head=st.integers(1, 90),
    body=st.integers(1, 9),
)
def test_two_framers_find_the_same(
    stream: bytes, sizes: bytes, pongs: int, head: int, body: int
) -> None:
    framer.check(stream, sizes, pongs=pongs, limits=Limits(max_head=head, max_body=body))


@pytest.mark.parametrize("size", range(12, 30))
@pytest.mark.parametrize("end", [b"", b"\r", b"\r\n", b"\r\n\r", b"\r\n\r\n"])
def test_two_framers_have_the_same_limit_to_the_byte(size: int, end: bytes) -> None:
    stream = (b"A\r\nl: 0\r\nS: " + b"x" * 20)[:size] + end
    framer.check(stream, b"\1", pongs=0, limits=Limits(max_head=20, max_body=1))


# ---------------------------------------------------------------- messages and names

FIELDS = st.sampled_from(
    [
        *("From: ", "f:", "To: ", "t :", "Via: ", "Call-ID: ", "CSeq: ", "P-Asserted-Identity: "),
        *(
            '"',
            "\\",
            "<",
            ">",
            "<sip:",
            "sip:",
            "sips:",
            "tel:+1",
            "@",
            ";",
            ",",
            ":",
            "?",
            "%40",
            "//",
        ),
        *("fabrikam.com", "x.example", "alice", "192.0.2.1", "[::1]", ";tag=a", " ", "\t", "\r\n "),
        *("\r\n", "\r\n", "\r\n", "\n", "\r", "\0", "\u2028", "\x0b", "\xe4", "."),
    ]
)


@many
@given(
    first=st.sampled_from([b"INVITE sip:a SIP/2.0", b"SIP/2.0 200 OK", b"ACK sip:a SIP/2.0", b"A"]),
    text=st.lists(FIELDS, max_size=24).map("".join),
    flags=st.integers(0, 255),
    reason=st.text(st.sampled_from("OK \r\n\0"), max_size=4),
)
def test_whatever_a_message_holds_it_is_read_and_answered(
    first: bytes, text: str, flags: int, reason: str
) -> None:
    data = first + b"\r\n" + text.encode() + b"\r\nl: 0\r\n\r\n"
    message.check(Message(data), flags=flags, reason=reason)


PARTS = st.sampled_from(
    [
        *(
            "contoso",
            "com",
            "xn--",
            "bcher-kva",
            "sip",
            "a",
            "*",
            ".",
            ".",
            "..",
            "-",
            "_",
            "@",
            ":",
        ),
        *(
            "sip:",
            "sips:",
            "SIP:",
            "[::1]",
            "192.0.2.1",
            "5061",
            ";x",
            "?y",
            "\u00fc",
            "\u212a",
            "\u3002",
        ),
        *("%2e", "\0", " ", "x" * 63, "contoso.com", "fabrikam.com", "\u202e", "\u00df", "\ud800"),
    ]
)


@many
@given(st.lists(PARTS, max_size=8).map("".join))
def test_a_name_is_read_again_as_itself(text: str) -> None:
    names.check_domain(text)
    names.check_uri(text)


PRESENTED = st.sampled_from(
    [
        *(
            "contoso.com",
            "CONTOSO.com",
            "sip.contoso.com",
            "*.contoso.com",
            "*.com",
            "contoso.com.",
        ),
        *("sip:contoso.com", "sip:Contoso.com:5061;x", "sip:a@contoso.com", "sips:contoso.com"),
        *("CN=contoso.com", "CN=*.contoso.com", "SRV=_sips.contoso.com", "SRV=_http.contoso.com"),
        *("192.0.2.1", "CN=192.0.2.1", "sip:192.0.2.1", "sip:*.contoso.com", "x.example", "CN="),
        *("sip:x.example", "contoso.com\0", "contosocom", "a.b.contoso.com", "contoso.comx"),
    ]
)


@many
@given(
    expected=st.sampled_from(
        ["contoso.com", "sip.contoso.com", "contoso.com sip.contoso.com", "192.0.2.1", "com"]
    ),
    presented=st.lists(PRESENTED, max_size=5),
    rules=st.sampled_from(names._RULES),
)
def test_nobody_is_taken_for_another(expected: str, presented: list[str], rules: object) -> None:
    names.check_match(expected, presented, rules)  # type: ignore[arg-type]  # each is NameRules


# ---------------------------------------------------------------- certificates and statuses


@many
@given(leaf=st.sampled_from(sorted(chains.LEAVES)), flags=st.integers(0, 255), place=st.integers(0))
def test_a_certificate_of_which_one_bit_is_another_is_believed_by_nobody(
    leaf: str, flags: int, place: int
) -> None:
    genuine = pki.der(chains.LEAVES[leaf].chain[0])
    chains.target(bytes([flags & 0xFC]) + _flipped(genuine, place))
    chains.target(bytes([flags | 2]) + _flipped(chains.fields(chains.LEAVES[leaf].chain[0]), place))


@many
@given(name=st.sampled_from(sorted(statuses.RESPONSES)), place=st.integers(0))
def test_a_response_of_which_one_bit_is_another_makes_nothing_good(name: str, place: int) -> None:
    statuses.target(b"\1" + _flipped(statuses.RESPONSES[name], place))


@many
@given(name=st.sampled_from(sorted(statuses.CRLS)), place=st.integers(0))
def test_a_crl_of_which_one_bit_is_another_makes_nothing_good(name: str, place: int) -> None:
    statuses.target(b"\0" + _flipped(statuses.CRLS[name], place))


def _flipped(data: bytes, place: int) -> bytes:
    at, bit = divmod(place % (len(data) * 8), 8)
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def test_what_nobody_has_altered_is_believed() -> None:
    """Else the laws about what is accepted would hold of nothing."""
    ours, theirs = chains.LEAVES["ours"].chain, chains.LEAVES["theirs"].chain
    assert _accepts(0, *ours)
    assert _accepts(0, *theirs)
    assert not _accepts(3, *theirs)
    assert _accepts(1, *chains.LEAVES["below"].chain)
    assert statuses._is_good(statuses.Revocation(statuses.CRLS["good"]))
    assert statuses._is_good(statuses.Revocation(ocsp=statuses.RESPONSES["delegated"]))
    assert pemfiles.Credential.from_pem(pemfiles._CERTIFICATE)
    policyfile._POLICY.write_text('[[partner]]\ndomains = ["a"]\nauthority = "ca.pem"\n')
    assert policyfile.load_policy(policyfile._POLICY).authorities


def _accepts(policy: int, *chain: object) -> bool:
    evidence = chains.Evidence(chain, "client", now=pki.NOW)  # type: ignore[arg-type]
    return chains.POLICIES[policy].evaluate(evidence).accepted


@given(place=st.integers(0), how=st.integers(0, 31), flight=st.integers(0, 3))
def test_a_flight_that_somebody_alters_makes_no_message(place: int, how: int, flight: int) -> None:
    change = bytes([flight, place % 256, how | place % 8 << 5])
    connection.target(b"\2" + change)
    connection.target(b"\3" + change)
