"""MessageFramer: the events depend on the bytes alone, and nothing is kept that is not wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sip import request

from siptls import KEEPALIVE_PING, KEEPALIVE_PONG, FramingError, Limits, Message, MessageFramer
from siptls.wire.framing import Framed

PING, PONG = KEEPALIVE_PING, KEEPALIVE_PONG
ONE, TWO = request(number=1), request("MESSAGE", number=2, body=b"Hello")
START = b"OPTIONS sip:contoso.com SIP/2.0\r\n"


def framed(*data: bytes) -> list[Framed]:
    return [Message(each) for each in data]


def fed(
    pieces: Sequence[bytes], *, pongs: int = 0, limits: Limits | None = None
) -> tuple[list[Framed], str | None, bool]:
    """Feed one framer; give its events, why it broke, and whether a message has begun."""
    framer = MessageFramer(limits)
    for _ in range(pongs):
        framer.expect_pong()
    got: list[Framed] = []
    for piece in pieces:
        with contextlib.suppress(FramingError):
            got += framer.feed(piece)
    return got, framer.broken, framer.partial


def single(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def head(size: int) -> bytes:
    """Give a head of exactly that size, which declares no body; without its empty line."""
    bare = START + b"l:0\r\nS: "
    return bare + b"x" * (size - len(bare))


def wait(framer: MessageFramer, pieces: Sequence[bytes]) -> None:
    """Feed pieces of which none ends a message."""
    for piece in pieces:
        assert framer.feed(piece) == []


def refused(stream: bytes, match: str, *, limits: Limits | None = None) -> None:
    """Check that a stream is refused for that reason, whole and byte by byte, and for good."""
    for pieces in ([stream], single(stream)):
        framer = MessageFramer(limits)
        with pytest.raises(FramingError, match=match) as caught:
            wait(framer, pieces)
        assert framer.broken == str(caught.value)
        assert framer._buffer == b""
        with pytest.raises(FramingError, match=match):
            framer.feed(ONE)


# ---------------------------------------------------------------- any split, the same events

BODIES = st.sampled_from([b"", b"\r\n", b"\r\n\r\n", b"x", b"l: 9\r\n\r\n", b"\x00\r\n\xff", ONE])
ITEMS = st.one_of(
    st.builds(lambda body: request("MESSAGE", body=body), BODIES),
    st.just(START + b"L\t:\r\n 2\r\n\r\n\r\n"),
    st.sampled_from([b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n"]),
)
TAILS = st.sampled_from(
    [
        *(b"", b"\r", b"\r\n\r", b"\rX", b"\n", b"\r\n\rX", b" ", ONE[:30], TWO[:-1]),
        *(START + end for end in (b"\r\n", b"l: -1\r\n\r\n", b"\nl: 0\r\n\r\n", b"x" * 400)),
        START + b"\n" + b"x" * 400 + b"\r\n\r\n",
    ]
)


@given(
    items=st.lists(ITEMS, max_size=6),
    tail=TAILS,
    pongs=st.integers(0, 3),
    cuts=st.sets(st.integers(0, 1500)),
)
def test_the_same_bytes_give_the_same_events_however_they_are_cut(
    items: list[bytes], tail: bytes, pongs: int, cuts: set[int]
) -> None:
    """Faults included: nobody gains a thing by cutting."""
    stream = b"".join(items) + tail
    limits = Limits(max_head=300, max_body=300)
    whole = fed([stream], pongs=pongs, limits=limits)
    places = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    assert fed([stream[a:b] for a, b in pairwise(places)], pongs=pongs, limits=limits) == whole
    assert fed(single(stream), pongs=pongs, limits=limits) == whole
    messages = [item.data for item in whole[0] if isinstance(item, Message)]
    assert messages == [item for item in items if item.strip(b"\r\n")]


@pytest.mark.parametrize(
    ("stream", "pongs", "events"),
    [
        (b"", 0, []),
        (ONE, 0, framed(ONE)),
        (ONE + TWO + ONE, 0, framed(ONE, TWO, ONE)),
        (b"\r\n" + ONE, 0, framed(ONE)),
        (b"\r\n\r\n" + ONE, 0, [PING, *framed(ONE)]),
        (b"\r\n" * 5 + ONE, 0, [PING, PING, *framed(ONE)]),
        (ONE + b"\r\n" + TWO, 0, framed(ONE, TWO)),
        (ONE + b"\r\n" + TWO, 1, [*framed(ONE), PONG, *framed(TWO)]),
        (b"\r\n", 0, []),
        (b"\r\n", 1, [PONG]),
        (b"\r\n\r\n", 1, [PONG]),
        (b"\r\n\r\n", 2, [PONG, PONG]),
        (b"\r\n" * 3, 1, [PONG, PING]),
        (b"\r\n" * 3 + ONE, 1, [PONG, PING, *framed(ONE)]),
        (TWO, 1, framed(TWO)),
    ],
)
def test_what_crlfs_between_messages_mean(stream: bytes, pongs: int, events: list[Framed]) -> None:
    assert fed([stream], pongs=pongs) == (events, None, False)
    assert fed(single(stream), pongs=pongs) == (events, None, False)


def test_a_pong_is_owed_for_each_ping_and_no_more() -> None:
    framer = MessageFramer()
    framer.expect_pong()
    assert framer.feed(ONE) == framed(ONE)
    assert framer.feed(b"\r\n") == [PONG]
    assert framer.feed(b"\r\n") == []
    framer.expect_pong()
    assert framer.feed(b"\r\n") == [PONG]
    assert framer.feed(b"\r\n" + TWO) == [PING, *framed(TWO)]


def test_any_kind_of_bytes_is_taken_and_copied() -> None:
    data = bytearray(ONE)
    framer = MessageFramer()
    got = framer.feed(data) + framer.feed(memoryview(data))
    data[:] = b"x" * len(data)
    assert got == framed(ONE, ONE)


def test_a_message_has_begun_until_it_has_ended() -> None:
    """What may become a keep-alive is no message: the deadline of a message is not for it."""
    framer = MessageFramer()
    for piece, partial in [
        (b"", False),
        (b"\r\n\r", False),
        (b"\n", False),
        (TWO[:1], True),
        (TWO[1:-5], True),
        (TWO[-5:-1], True),
        (TWO[-1:], False),
    ]:
        framer.feed(piece)
        assert framer.partial is partial


# ---------------------------------------------------------------- Content-Length


@pytest.mark.parametrize(
    "field",
    [
        "Content-Length: 5",
        "content-length:5",
        "CONTENT-LENGTH :\t5",
        "l: 5",
        "L:5",
        "l \t : \t5\t ",
        "Content-Length:\r\n 5",
        "l: \r\n\t \r\n  5",
        "l: 5\r\n ",
        "l: 0005",
        "l: " + "0" * 17 + "5",
        "l: 5\r\nl: 5",
        "l: 5\r\nX: y\r\nContent-Length: 05",
        "l: 5\r\nS: l: 6",
        "l: 5\r\nS: Content-Length: 6",
        "l: 5\r\nS: folded\r\n Content-Length: 6\r\n l: 7",
        "l: 5\r\nX-Content-Length: 6\r\nContent-Length-X: 7\r\nll: 8",
        "S: x\r\n y\r\nl: 5\r\nX: z",
    ],
)
def test_a_length_may_be_written_so(field: str) -> None:
    """Folded, compact, twice the same; and what only looks like one does not count."""
    data = START + field.encode() + b"\r\n\r\nHello"
    assert fed([data + TWO]) == (framed(data, TWO), None, False)


@pytest.mark.parametrize("body", [b"l: 9\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n", ONE])
def test_a_length_in_a_body_is_none(body: bytes) -> None:
    data = request("MESSAGE", body=body)
    assert fed([data + TWO]) == (framed(data, TWO), None, False)


@pytest.mark.parametrize(
    ("field", "match"),
    [
        ("X: y", "without Content-Length"),
        ("S: l: 5", "without Content-Length"),
        ("S: folded\r\n l: 5", "without Content-Length"),
        ("l: 5\r\nl: 6", "two different"),
        ("l: 0\r\nX: y\r\nContent-Length: 5", "two different"),
        ("l: 0\r\nContent-Length:\r\n 5", "two different"),
        ("l: 5\r\nl: x", "'x', which is no number"),
        ("l: -5", "'-5', which is no number"),
        ("l: +5", "no number"),
        ("l:", "'', which is no number"),
        ("l: 5, 5", "no number"),
        ("l: 5;x", "no number"),
        ("l: 5 5", "no number"),
        ("l: 5\r\n 5", "no number"),
        ("l: 0x5", "no number"),
        ("l: 5.0", "no number"),
        ("l: 1_0", "no number"),
        ("l: five", "no number"),
        ("l: \u0665", "no number"),  # a digit of another script
        ("l: \u00b2", "no number"),
        ("l: " + "0" * 18 + "5", "no number"),
        ("l: " + "9" * 4000, "no number"),
        ("l: " + "9" * 18, "a body of 999999999999999999 bytes is declared"),
    ],
)
def test_a_length_that_two_could_read_differently_ends_the_stream(field: str, match: str) -> None:
    refused(START + field.encode() + b"\r\n\r\nHello", match)


def test_a_length_whose_name_is_folded_is_not_passed_over() -> None:
    """Who unfolds first reads 5, who does not reads 0: a request could be hidden in the body."""
    refused(START + b"Content-Length\r\n : 5\r\nl: 0\r\n\r\n", "head|different")


def test_a_length_that_folds_into_the_start_line_is_not_passed_over() -> None:
    """Some take the line for a header field, some for a part of the start line."""
    refused(START + b" l: 5\r\nl: 0\r\n\r\n", "head|different|start line")


@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    "l",
                    "Content-Length",
                    ":",
                    " ",
                    "\t",
                    "\r\n",
                    "\r\n ",
                    "0",
                    "5",
                    "\r\nl: 0",
                    "\r\nS",
                ),
                *("\r", "\n", "\0", "\r\nContent-Length: 5", "\nContent-Length: 5"),
            ]
        ),
        max_size=12,
    )
)
@example(["\r\nS: a\rContent-Length: 5", "\n", "X: y", "\r\nContent-Length: 0"])
@example(["\r\nS: a", "\r", "\n", "\r\nContent-Length: 0"])
@example(["\r\nContent-Length", "\r\n ", ":", "5", "\r\nl: 0"])
@example(["\r\n ", "l", ":", "5", "\r\nl: 0"])
@example(["\r\nS", ":", "\r\n ", "\r\n ", "l", ":", "5", "\r\nl: 0"])
def test_framer_and_message_read_the_same_length(fragments: list[str]) -> None:
    """Two opinions on where a message ends are an attack: least of all may both be ours."""
    stream = START[:-2] + "".join(fragments).encode() + b"\r\n\r\n" + b"x" * 60
    got, *_ = fed([stream])
    assert fed(single(stream)) == fed([stream])  # what is whole at once is looked at another way
    if got:
        assert isinstance(got[0], Message)
        assert {int(each) for each in got[0].headers("l")} == {len(got[0].body)}


# ---------------------------------------------------------------- what no head has


@pytest.mark.parametrize(
    ("stray", "shown"), [(b"\r", r"\\r"), (b"\n", r"\\n"), (b"\0", r"\\x00"), (b"\n\r", r"\\n")]
)
@pytest.mark.parametrize("place", ["start line", "field", "before a line", "at the end"])
def test_a_stray_byte_in_a_head_ends_the_stream(stray: bytes, shown: str, place: str) -> None:
    parts = {
        "start line": (b"OPTIONS", b" sip:contoso.com SIP/2.0\r\nl: 0\r\n\r\n"),
        "field": (START + b"l: 0\r\nS: ", b"x\r\n\r\n"),
        "before a line": (START + b"S: x", b"l: 0\r\nl: 0\r\n\r\n"),
        "at the end": (START + b"l: 0\r\nS: x", b"\r\n\r\n"),
    }
    before, after = parts[place]
    refused(before + stray + after, f"byte {len(before)} of a message's head is b'{shown}'")


def test_a_body_may_hold_any_byte() -> None:
    data = request("MESSAGE", body=bytes(range(256)) * 2 + b"\r\n\r\n\r\r\n\n\0")
    assert fed(single(data + ONE))[0] == framed(data, ONE)


@pytest.mark.parametrize("first", [*range(0x0D), *range(0x0E, 0x21)])
def test_a_message_begins_with_a_printable_byte(first: int) -> None:
    """0x16 is TLS within TLS; a peer that speaks something else is found out at once."""
    refused(bytes([first]), f"begins with the byte {first:#04x}")
    got, broken, _ = fed([ONE + b"\r\n" + bytes([first])])
    assert got == framed(ONE)
    assert broken is not None


@pytest.mark.parametrize("stream", [b"\r\r", b"\rX", b"\r\n\rX", b"\r\n\r\r\n"])
def test_a_cr_without_lf_begins_no_message(stream: bytes) -> None:
    refused(stream, "begins with the byte 0x0d")


# ---------------------------------------------------------------- a fault is final


def test_whole_messages_before_a_fault_are_given_first() -> None:
    framer = MessageFramer()
    assert framer.feed(ONE + b"\r\n\r\n" + TWO + b"\0" + ONE) == [*framed(ONE), PING, *framed(TWO)]
    assert framer.broken is not None
    assert framer._buffer == b""
    assert framer.partial is False
    for data in (ONE, b"", b"\r\n\r\n"):
        with pytest.raises(FramingError) as caught:
            framer.feed(data)
        assert str(caught.value) == framer.broken
        assert framer._buffer == b""


def test_a_stream_without_fault_is_not_broken() -> None:
    framer = MessageFramer()
    framer.feed(ONE + TWO[:20])
    assert framer.broken is None


# ---------------------------------------------------------------- limits


def test_a_head_may_have_the_limit_and_no_more() -> None:
    """The empty line after it does not count."""
    limits = Limits(max_head=100)
    good = head(100) + b"\r\n\r\n"
    for pieces in ([good + good], single(good + good)):
        assert fed(pieces, limits=limits) == (framed(good, good), None, False)
    refused(head(101) + b"\r\n\r\n", "more than 100 bytes", limits=limits)


def test_of_a_head_without_end_no_more_than_the_limit_is_kept() -> None:
    limits = Limits(max_head=100)
    framer = MessageFramer(limits)
    wait(framer, single(head(100 + 3)))  # three bytes may begin the empty line
    with pytest.raises(FramingError, match=r"more than 100 bytes; raise Limits\.max_head"):
        framer.feed(b"x")
    assert framer._buffer == b""
    refused(head(1000), "more than 100 bytes", limits=limits)


def test_a_header_may_have_so_many_lines_and_no_more() -> None:
    """A folded line counts as one, for it is one to look at."""
    limits = Limits(max_header_lines=5)
    good = START + b"a: 1\r\n" * 2 + b"b: 1\r\n 2\r\nl: 0\r\n\r\n"
    assert fed(single(good + good), limits=limits) == (framed(good, good), None, False)
    plain = START + b"a: 1\r\n" * 4 + b"Content-Length: 0\r\n\r\n"
    assert fed([plain + plain], limits=limits) == (framed(plain, plain), None, False)
    for one in (good, plain):
        much = one.replace(b"a: 1", b"a: 1\r\na: 2", 1)
        refused(much, "has 6 lines, and at most 5.*max_header_lines", limits=limits)
        assert fed([plain + much], limits=limits)[0] == framed(plain)


def test_a_body_may_have_the_limit_and_no_more() -> None:
    limits = Limits(max_body=10)
    good = request("MESSAGE", body=b"x" * 10)
    assert fed(single(good + good), limits=limits) == (framed(good, good), None, False)
    refused(request("MESSAGE", body=b"x" * 11), "a body of 11 bytes.*at most 10", limits=limits)


def test_a_body_above_the_limit_is_refused_before_its_first_byte() -> None:
    framer = MessageFramer(Limits(max_body=10))
    with pytest.raises(FramingError, match=r"raise Limits\.max_body"):
        framer.feed(START + b"l: 11\r\n\r\n")


def test_the_limits_are_those_of_limits_by_default() -> None:
    size = Limits().max_head
    assert fed([head(size) + b"\r\n\r\n"])[1] is None
    assert fed([head(size + 1) + b"\r\n\r\n"])[1] is not None


# ---------------------------------------------------------------- cost


def test_a_million_crlfs_leave_nothing_behind() -> None:
    framer = MessageFramer()
    assert framer.feed(b"\r\n" * 1_000_001) == [PING] * 500_000
    assert framer._buffer == b"\r\n"
    assert framer.feed(ONE) == framed(ONE)
    for _ in range(1000):
        assert framer.feed(b"\r\n") == []
        assert framer.feed(b"\r\n") == [PING]
    assert framer._buffer == b""


class Searched(bytearray):
    """A buffer that counts the bytes it is searched for."""

    bytes_searched = 0

    def find(self, sub: bytes, start: int) -> int:  # type: ignore[override]
        self.bytes_searched += len(self) - start
        return super().find(sub, start)


def test_no_byte_is_searched_twice() -> None:
    """But for the last three, which may begin the empty line; and none of a body."""
    framer = MessageFramer()
    framer._buffer = buffer = Searched()
    for piece in single(head(5000)):
        framer.feed(piece)
    assert buffer.bytes_searched <= 4 * 5000
    assert framer.feed(b"\r\n\r\n") == framed(head(5000) + b"\r\n\r\n")
    buffer.bytes_searched = 0
    long = request("MESSAGE", body=b"x" * 5000)
    for piece in (long[:-4000], *single(long[-4000:])):
        framer.feed(piece)
    assert buffer.bytes_searched == 1000 + len(request("MESSAGE", body=b"")) + len("000")
