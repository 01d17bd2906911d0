"""Message: what a transport reads from a SIP message, and the reply of a stateless server."""

from __future__ import annotations

import re
from typing import Any

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from sip import request

from siptls import ConfigurationError, Decision, FramingError, Message, MessageFramer

REQUEST = (
    b"INVITE sip:bob@contoso.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS one.example;branch=z9hG4bK1, SIP/2.0/TLS two.example\r\n"
    b"v: SIP/2.0/TLS three.example\r\n"
    b"f: <sip:alice@fabrikam.com>;tag=a\r\n"
    b"t: <sip:bob@contoso.com>\r\n"
    b"i: 7@one.example\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"VIA: SIP/2.0/TLS four.example\r\n"
    b"l: 4\r\n\r\nbody"
)


def to(value: str | bytes) -> Message:
    """Give a request with this To."""
    octets = value.encode() if isinstance(value, str) else value
    return Message(REQUEST.replace(b"<sip:bob@contoso.com>\r\n", octets + b"\r\n"))


def response(line: str, cseq: str = "1 BYE") -> Message:
    return Message(f"{line}\r\nCSeq: {cseq}\r\nl: 0\r\n\r\n".encode())


# ---------------------------------------------------------------- its parts


def test_a_message_is_head_empty_line_and_body() -> None:
    message = Message(REQUEST)
    assert message.head + b"\r\n\r\n" + message.body == REQUEST
    assert message.body == b"body"
    assert message.start_line == "INVITE sip:bob@contoso.com SIP/2.0"
    assert Message(b"A\r\n\r\nb\r\n\r\nc").body == b"b\r\n\r\nc"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_message_is_a_value_made_of_any_bytes(kind: Any) -> None:
    """It keeps a copy, and is equal to, and hashed like, the same bytes' other messages."""
    data = bytearray(REQUEST)
    message = Message(kind(data))
    data[:] = b"x" * len(data)
    assert message.data == REQUEST
    assert isinstance(message.data, bytes)
    assert {message} == {Message(REQUEST)}
    assert message != Message(REQUEST + b"x")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        message.data = b""  # type: ignore[misc]


@pytest.mark.parametrize("data", [b"", b"x", b"A\r\n", b"A\r\nB: c\r\n", b"A\n\nb", b"A\r\n\n\r\n"])
def test_a_message_has_an_empty_line(data: bytes) -> None:
    with pytest.raises(FramingError, match="empty line after its header"):
        Message(data)


# ---------------------------------------------------------------- header fields


@pytest.mark.parametrize(
    ("compact", "long"),
    [
        ("a", "Accept-Contact"),
        ("b", "Referred-By"),
        ("c", "Content-Type"),
        ("d", "Request-Disposition"),
        ("e", "Content-Encoding"),
        ("f", "From"),
        ("i", "Call-ID"),
        ("j", "Reject-Contact"),
        ("k", "Supported"),
        ("l", "Content-Length"),
        ("m", "Contact"),
        ("n", "Identity-Info"),
        ("o", "Event"),
        ("r", "Refer-To"),
        ("s", "Subject"),
        ("t", "To"),
        ("u", "Allow-Events"),
        ("v", "Via"),
        ("x", "Session-Expires"),
        ("y", "Identity"),
    ],
)
def test_a_field_is_found_by_its_long_and_its_compact_name(compact: str, long: str) -> None:
    """In any case (the registry of IANA); each form finds the other."""
    for written in (compact, compact.upper(), long, long.lower(), f"{long} \t"):
        message = Message(f"A\r\n{written}: 1\r\n\r\n".encode())
        for asked in (compact, compact.upper(), long, long.upper(), f" {long} "):
            assert message.header(asked) == "1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("S:", ""),
        ("S:x", "x"),
        ("S \t:\t x \t", "x"),
        ("S: a: b", "a: b"),
        ("S: a\r\n b", "a b"),
        ("S: a \t\r\n\t  b\r\n c", "a b c"),
        ("S:\r\n a", "a"),
        ("S: a\r\n ", "a"),
        ("S: a\r\n \r\n s: b", "a s: b"),
        ("S: a\r\n s: b", "a s: b"),
        ("S: a  b", "a  b"),
        ("S: \u00e4\u2028\x85\x0b", "\u00e4\u2028\x85\x0b"),  # no line ends of SIP
        ("no field\r\nS: x", "x"),
    ],
)
def test_the_value_of_a_field(field: str, value: str) -> None:
    message = Message(f"A\r\n{field}\r\nX: y\r\n\r\nS: of the body".encode())
    assert message.headers("Subject") == (value,)
    assert message.header("X") == "y"


def test_fields_of_one_name_are_given_in_order_and_not_split() -> None:
    message = Message(REQUEST)
    assert message.headers("Via") == (
        "SIP/2.0/TLS one.example;branch=z9hG4bK1, SIP/2.0/TLS two.example",
        "SIP/2.0/TLS three.example",
        "SIP/2.0/TLS four.example",
    )
    assert message.header("v") == message.headers("Via")[0]


def test_a_field_that_is_not_there() -> None:
    message = Message(b"A: b\r\n\r\nC: d")
    for name in ("A", "C", "", "Via"):
        assert message.header(name) is None
        assert message.headers(name) == ()


def test_octets_that_are_no_utf_8_are_kept() -> None:
    message = Message(b"A\xff\r\nS: \xff\xe4 \xc3\xa4\r\n\r\n\xff")
    assert message.start_line == "A\udcff"
    assert message.header("s") == "\udcff\udce4 ä"
    assert message.body == b"\xff"


# ---------------------------------------------------------------- requests and responses


@pytest.mark.parametrize(
    ("line", "method"),
    [
        ("OPTIONS sip:a SIP/2.0", "OPTIONS"),
        ("options sip:a SIP/2.0", "options"),
        ("SIPPING sip:a SIP/2.0", "SIPPING"),
        ("NOTIFY", "NOTIFY"),
    ],
)
def test_a_request_has_the_method_of_its_line_and_no_status(line: str, method: str) -> None:
    message = response(line)
    assert (message.is_request, message.method, message.status) == (True, method, None)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("SIP/2.0 200 OK", 200),
        ("sip/2.0 100 Trying", 100),
        ("SIP/2.0 699 \u00e4 200", 699),
        ("SIP/2.0 200 ", 200),
        ("SIP/2.0 200", 200),
        ("SIP/2.0", None),
        ("SIP/2.0  200 OK", None),
        ("SIP/2.0 099 x", None),
        ("SIP/2.0 700 x", None),
        ("SIP/2.0 20 x", None),
        ("SIP/2.0 2000 x", None),
        ("SIP/2.0 4294967496 x", None),
        ("SIP/2.0 -200 x", None),
        ("SIP/2.0 2\u06600 x", None),  # digits of another script
        ("SIP/2.0 OK 200", None),
    ],
)
def test_a_response_has_a_status(line: str, status: int | None) -> None:
    message = response(line)
    assert (message.is_request, message.status) == (False, status)


@pytest.mark.parametrize(
    ("cseq", "method"),
    [("1 BYE", "BYE"), ("1\t\r\n  BYE", "BYE"), ("1", ""), ("", ""), ("BYE", "")],
)
def test_a_response_has_the_method_of_its_cseq(cseq: str, method: str) -> None:
    assert response("SIP/2.0 200 OK", cseq).method == method
    assert Message(b"SIP/2.0 200 OK\r\n\r\n").method == ""


# ---------------------------------------------------------------- reply


def test_a_reply_has_what_a_response_must_repeat() -> None:
    """RFC 3261 §8.2.6.2: every Via, in order, then From, To, Call-ID and CSeq; no more."""
    reply = Message(REQUEST).reply(180, "Ringing")
    tag = re.search(rb";tag=([0-9a-f]{16})\r\n", reply.data)
    assert tag is not None
    assert reply.data == (
        b"SIP/2.0 180 Ringing\r\n"
        b"Via: SIP/2.0/TLS one.example;branch=z9hG4bK1, SIP/2.0/TLS two.example\r\n"
        b"Via: SIP/2.0/TLS three.example\r\n"
        b"Via: SIP/2.0/TLS four.example\r\n"
        b"From: <sip:alice@fabrikam.com>;tag=a\r\n"
        b"To: <sip:bob@contoso.com>;tag=" + tag[1] + b"\r\n"
        b"Call-ID: 7@one.example\r\n"
        b"CSeq: 7 INVITE\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    assert (reply.status, reply.method, reply.is_request) == (180, "INVITE", False)


def test_a_reply_has_the_header_and_body_it_is_given() -> None:
    reply = Message(REQUEST).reply(200, "OK", header="Server: x\r\nY: 1\r\n", body=b"\xff\r\n\r\n")
    assert reply.head.endswith(b"CSeq: 7 INVITE\r\nServer: x\r\nY: 1\r\nContent-Length: 5")
    assert reply.body == b"\xff\r\n\r\n"


def test_the_tag_is_the_same_for_the_same_request_and_another_for_another() -> None:
    """A server without state answers a retransmission as it answered the original."""

    def tag(data: bytes, status: int = 200) -> str:
        return (Message(data).reply(status, "x").header("To") or "").rpartition("tag=")[2]

    tags = [tag(REQUEST), tag(REQUEST, 500), tag(REQUEST.replace(b"body", b"BODY"))]
    assert len(set(tags)) == 1
    others = [(b"bK1", b"bK2"), (b"7@one", b"8@one"), (b"7 INVITE", b"8 INVITE")]
    assert len({*tags, *(tag(REQUEST.replace(*other)) for other in others)}) == 4


def test_trying_has_no_tag_of_its_own() -> None:
    """RFC 3261 §8.2.6.2; but one that is there is repeated."""
    assert Message(REQUEST).reply(100, "Trying").header("To") == "<sip:bob@contoso.com>"
    assert to("<sip:b@c.example>;tag=1").reply(100, "x").header("To") == "<sip:b@c.example>;tag=1"
    assert ";tag=" in (Message(REQUEST).reply(101, "x").header("To") or "")


@pytest.mark.parametrize(
    "value",
    [
        "<sip:b@c.example>;tag=1",
        "<sip:b@c.example> ; TAG = 1",
        "<sip:b@c.example>;x=y;tag=1;z",
        "sip:b@c.example;tag=1",
        '"Bob" <sip:b@c.example>;tag=1',
        '"B \\" < \\\\" <sip:b@c.example>;tag=1',
        '"<" <sip:b@c.example>;x=">";tag=1',
    ],
)
def test_a_tag_that_is_there_is_left_alone(value: str) -> None:
    assert to(value).reply(200, "OK").header("To") == value


@pytest.mark.parametrize(
    "value",
    [
        "<sip:b@c.example>",
        "sip:b@c.example",
        "sip:tag=1@c.example",
        "<sip:b@c.example;tag=1>",
        "<sip:b@c.example>;xtag=1",
        "<sip:b@c.example>;tagx=1",
        "<sip:b@c.example>;tag",
        '"a;tag=1" <sip:b@c.example>',
        '"a\\";tag=1" <sip:b@c.example>',
        '"a\\\\" <sip:b@c.example>;x=";tag=1"',
        '"<" <sip:b@c.example;tag=1>',
        "",
    ],
)
def test_what_only_looks_like_a_tag_is_none(value: str) -> None:
    reply = to(value).reply(200, "OK").header("To") or ""
    assert re.fullmatch(re.escape(value) + ";tag=[0-9a-f]{16}", reply)


def test_octets_that_are_no_utf_8_are_repeated_as_they_came() -> None:
    reply = to(b'"\xff\xe4 \xc3\xa4" <sip:b@c.example>;tag=\xfe').reply(200, "OK")
    assert b'\r\nTo: "\xff\xe4 \xc3\xa4" <sip:b@c.example>;tag=\xfe\r\n' in reply.data
    odd = Message(REQUEST.replace(b"7@one", b"\xff@one")).reply(200, "OK")  # the tag is made of it
    assert b"\r\nCall-ID: \xff@one.example\r\n" in odd.data


@pytest.mark.parametrize("end", ["\r", "\n", "\0", "\n\r"])
def test_a_line_end_of_another_world_ends_no_line_of_a_reply(end: str) -> None:
    """No framer lets it through; but a message can be made of bytes that none has seen."""
    asked = f"OPTIONS sip:a SIP/2.0\r\nTo: a;tag=1{end}Evil: 1\r\nCall-ID: {end}{end}l: 9\r\n\r\n"
    reply = Message(asked.encode()).reply(200, "OK")
    assert MessageFramer().feed(reply.data) == [reply]
    assert reply.header("Evil") is None
    assert reply.header("To") == "a;tag=1" + " " * len(end) + "Evil: 1"
    assert reply.headers("Content-Length") == ("0",)


def test_a_reply_to_a_request_without_fields_is_still_a_message() -> None:
    assert Message(b"A\r\n\r\n").reply(400, "Bad").data == (
        b"SIP/2.0 400 Bad\r\nContent-Length: 0\r\n\r\n"
    )


@given(st.binary(max_size=60))
def test_whatever_stands_in_a_message_can_be_read_and_answered(octets: bytes) -> None:
    reply = Message(b"X" + octets + b"\r\nTo: " + octets + b"\r\n\r\n").reply(400, "Bad")
    assert reply.status == 400


@pytest.mark.parametrize(
    ("start", "options", "why"),
    [
        (b"SIP/2.0 200 OK", {}, "nothing answers 'SIP/2.0 200 OK'"),
        (b"ACK sip:a SIP/2.0", {}, "nothing answers 'ACK sip:a SIP/2.0'"),
        (b"OPTIONS sip:a SIP/2.0", {"status": 99}, "a status is a number from 100 to 699, not 99"),
        (b"OPTIONS sip:a SIP/2.0", {"status": 700}, "not 700"),
        (b"OPTIONS sip:a SIP/2.0", {"status": "200"}, "not '200'"),
        (b"OPTIONS sip:a SIP/2.0", {"reason": "OK\r\nX: y"}, "a reason phrase is one line"),
        (b"OPTIONS sip:a SIP/2.0", {"header": "X: y"}, "each ending with CRLF"),
        (b"OPTIONS sip:a SIP/2.0", {"header": "X: y\r\n\r\n"}, "each ending with CRLF"),
        (b"OPTIONS sip:a SIP/2.0", {"header": "X: y\n"}, "each ending with CRLF"),
        (b"OPTIONS sip:a SIP/2.0", {"header": " X: y\r\n"}, "each ending with CRLF"),
        (b"OPTIONS sip:a SIP/2.0", {"header": {"X": "y"}}, "each ending with CRLF"),
        (b"OPTIONS sip:a SIP/2.0", {"header": "L : 5\r\n"}, "it is made from the body"),
        (
            b"OPTIONS sip:a SIP/2.0",
            {"header": "X: y\r\nContent-Length: 5\r\n"},
            "it is made from the body",
        ),
        (b"OPTIONS sip:a SIP/2.0", {"body": "text"}, "a body is bytes, not a str: encode() it"),
    ],
)
def test_a_reply_that_would_be_none_is_not_built(
    start: bytes, options: dict[str, Any], why: str
) -> None:
    arguments = {"status": 200, "reason": "OK", **options}
    with pytest.raises(ConfigurationError, match=re.escape(why)):
        Message(start + b"\r\nCSeq: 1 OPTIONS\r\n\r\n").reply(**arguments)


def test_a_reply_takes_more_lines_of_header() -> None:
    header = "Allow: OPTIONS\r\nServer: a\r\n folded: b\r\nX-Empty:\r\n"
    reply = Message(request()).reply(200, "", header=header, body=b"x")
    assert (reply.header("Allow"), reply.header("Server")) == ("OPTIONS", "a folded: b")
    assert (reply.header("X-Empty"), reply.header("Content-Length")) == ("", "1")
    assert reply.start_line == "SIP/2.0 200 "


# ---------------------------------------------------------------- cost
#
# Half a megabyte is far above any head; in quadratic time each of these would take minutes, and
# the run's time limit would end them.

MANY = 500_000


def test_a_long_run_of_spaces_is_read_in_linear_time() -> None:
    message = Message(b"A\r\nS: a" + b" " * MANY + b"b\r\nX: y\r\n\r\n")
    assert message.header("X") == "y"


def test_a_thousand_folds_are_read_in_linear_time() -> None:
    message = Message(b"A\r\nS: a" + b" \r\n " * (MANY // 4) + b"b\r\nX: y\r\n\r\n")
    assert message.header("S") == "a b"


def test_many_fields_of_one_name_are_read_in_linear_time() -> None:
    assert len(Message(b"A\r\n" + b"S:\r\n" * MANY + b"\r\n").headers("s")) == MANY


@pytest.mark.parametrize("hostile", ["<", '"', '\\"', '"\\', '<"', ";", "; tag", ' "<'])
def test_a_to_of_open_brackets_and_quotes_is_read_in_linear_time(hostile: str) -> None:
    for value in (hostile * MANY, '"' + hostile * MANY, '"' + hostile * MANY + "\\"):
        assert to(value).reply(200, "OK").status == 200


def test_the_request_of_our_tests_is_one() -> None:
    message = Message(request("MESSAGE", number=3, body=b"x"))
    assert (message.method, message.header("Call-ID")) == ("MESSAGE", "3@client.example")


# ---------------------------------------------------------------- the decision about its sender


def test_a_403_tells_the_code_and_nothing_else() -> None:
    refusal = Decision.refuse("sender.not-authorized", "a secret of ours")
    asked = evolve(Message(request()), decision=refusal)
    answer = asked.forbid()
    assert answer is not None
    assert answer.start_line == "SIP/2.0 403 Forbidden"
    assert answer.headers("Warning") == ('399 siptls "sender.not-authorized"',)
    assert answer.header("Call-ID") == asked.header("Call-ID")
    assert b"secret" not in answer.data
    assert Message(request()).forbid(refusal) == answer


@pytest.mark.parametrize("code", ['app"\r\nEvil: 1', "Ä", ""])
def test_a_403_without_a_code_that_may_stand_there(code: str) -> None:
    answer = Message(request()).forbid(Decision.refuse(code, "no"))
    assert answer is not None
    assert answer.headers("Warning") == ()
    assert Message(request()).forbid() == answer


@pytest.mark.parametrize("data", [request("ACK"), Message(request()).reply(200, "OK").data])
def test_nothing_forbids_an_ack_or_a_response(data: bytes) -> None:
    assert Message(data).forbid() is None


def test_a_decision_is_no_part_of_equality() -> None:
    judged = evolve(Message(request()), decision=Decision.refuse("a.b", "no"))
    assert judged == Message(request())
    assert judged.decision is not None
    assert Message(request()).decision is None


@pytest.mark.parametrize(
    ("start", "uri"),
    [
        ("OPTIONS sip:bob@contoso.com SIP/2.0", "sip:bob@contoso.com"),
        ("OPTIONS  SIP/2.0", ""),
        ("OPTIONS", ""),
        ("SIP/2.0 200 OK", ""),
    ],
)
def test_the_request_uri(start: str, uri: str) -> None:
    assert Message(f"{start}\r\n\r\n".encode()).uri == uri
