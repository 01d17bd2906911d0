"""RFC 4475, the torture tests: what our framer takes whole, and what it makes of the rest."""

from __future__ import annotations

import pytest
from conformance.rfc4475 import INVALID, VALID
from sip import request

from siptls import FramingError, Message, MessageFramer

NEXT = request()

# Valid, and yet not taken whole.
EXCEPTIONS = {
    "intmeth": "it has an escaped NUL in a quoted string, and we take no NUL in a head",
    "dblreq": "it is about octets that a datagram has too many: in a stream, a message of its own",
}
# Invalid, and for the framer to see.
FRAMING = {
    "clerr": "its Content-Length is larger than what is there: the rest is waited for",
    "ncl": "its Content-Length is negative: an error",
}
WHOLE = {name: data for name, data in VALID.items() if name not in EXCEPTIONS}
# Their faults are no business of a transport: whoever receives them answers 400.
PASSED_ON = {name: data for name, data in INVALID.items() if name not in FRAMING}


def message(data: bytes) -> Message:
    (only,) = MessageFramer().feed(data)
    assert isinstance(only, Message)
    return only


@pytest.mark.parametrize("name", [*WHOLE, *PASSED_ON])
def test_a_message_is_taken_whole(name: str) -> None:
    """At once, byte by byte, and with another message behind it."""
    data = (WHOLE | PASSED_ON)[name]
    assert message(data).data == data
    assert MessageFramer().feed(data + NEXT) == [Message(data), Message(NEXT)]
    framer = MessageFramer()
    for byte in data[:-1]:
        assert framer.feed(bytes([byte])) == []
    assert framer.feed(data[-1:]) == [Message(data)]
    assert framer.partial is False


def test_the_exceptions_are_messages_of_the_rfc() -> None:
    assert set(EXCEPTIONS) <= set(VALID)
    assert set(FRAMING) <= set(INVALID)


def test_a_nul_is_refused_even_where_the_grammar_has_one() -> None:
    """intmeth: many parsers end a line at NUL. Nothing else in it is refused."""
    with pytest.raises(FramingError, match=r"is b'\\x00'"):
        MessageFramer().feed(VALID["intmeth"])
    other = VALID["intmeth"].replace(b"\0", b"\1")
    assert message(other).data == other


def test_octets_after_a_message_begin_the_next() -> None:
    """dblreq: the INVITE itself has three octets more than it declares."""
    data = VALID["dblreq"]
    framer = MessageFramer()
    first, second = framer.feed(data)
    assert isinstance(first, Message)
    assert isinstance(second, Message)
    assert (first.method, second.method) == ("REGISTER", "INVITE")
    assert first.data + second.data == data[:-3]
    assert len(second.body) == 150
    assert framer.partial is True


def test_a_message_shorter_than_declared_is_waited_for() -> None:
    """clerr: what comes next belongs to it, until 9999 octets of body are there."""
    data = INVALID["clerr"]
    framer = MessageFramer()
    assert framer.feed(data) == []
    assert framer.partial is True
    missing = 9999 - len(Message(data).body)
    assert framer.feed(b"x" * (missing - 1)) == []
    assert framer.feed(b"x" + NEXT) == [Message(data + b"x" * missing), Message(NEXT)]


def test_a_negative_length_is_an_error() -> None:
    """Ncl."""
    with pytest.raises(FramingError, match="'-999', which is no number of bytes"):
        MessageFramer().feed(INVALID["ncl"])


# ---------------------------------------------------------------- what is read from them


@pytest.mark.parametrize(
    ("name", "method", "status"),
    [
        ("wsinv", "INVITE", None),
        ("esc02", "RE%47IST%45R", None),
        ("unreason", "INVITE", 200),
        ("noreason", "INVITE", 100),
        ("bigcode", "INVITE", None),
        ("mismatch01", "OPTIONS", None),
        ("mismatch02", "NEWMETHOD", None),
        ("lwsstart", "INVITE", None),
        ("trws", "OPTIONS", None),
    ],
)
def test_method_and_status(name: str, method: str, status: int | None) -> None:
    read = message((VALID | INVALID)[name])
    assert (read.method, read.status) == (method, status)


def test_a_short_tortuous_invite() -> None:
    read = message(VALID["wsinv"])
    assert read.header("CSeq") == "0009 INVITE"
    assert read.header("Max-Forwards") == "0068"
    assert read.header("Subject") == ""
    assert read.header("NewFangledHeader") == "newfangled value continued newfangled value"
    assert [via.split()[0] for via in read.headers("Via")] == ["SIP", "SIP"]
    assert len(read.body) == 150
    assert b"tag=" not in read.reply(486, "Busy Here").head.split(b"To: ")[1].split(b"\r\n")[0]


def test_long_values_and_many_vias() -> None:
    read = message(VALID["longreq"])
    vias = read.headers("Via")
    assert len(vias) == 34
    assert vias[0] == "SIP/2.0/TCP sip33.example.com"
    assert vias[-1].endswith(f"branch=very{'long' * 50}branchvalue")
    assert read.reply(100, "Trying").headers("v") == vias
