"""Any bytes in any cut, into the framer."""

from __future__ import annotations

from itertools import cycle

from fuzz.second import second_framer
from siptls import FramingError, Limits, Message, MessageFramer
from siptls.wire.framing import Framed

LENGTH = 400
SMALL, LARGE = Limits(max_head=120, max_header_lines=5, max_body=60), Limits(max_head=4096)
_SIZES = 4
_PIECES = 16  # each costs a call: what is left comes in one


def target(data: bytes) -> None:
    """The first byte says how many pongs are owed and which limits hold, the next four the cuts."""
    if len(data) <= _SIZES:
        return
    flags, sizes, stream = data[0], data[1 : 1 + _SIZES], data[1 + _SIZES :]
    check(stream, sizes, pongs=flags & 3, limits=SMALL if flags & 4 else LARGE)


def check(stream: bytes, sizes: bytes, *, pongs: int, limits: Limits) -> None:
    """Assert all laws for a stream that comes in pieces of these sizes, over and over."""
    whole, broken, rest = _feed([stream], pongs, limits)
    assert _feed(_cut(stream, sizes), pongs, limits) == (whole, broken, rest)
    _account_for(stream, whole, None if broken is not None else rest)
    second, refused = second_framer(stream, pongs=pongs, limits=limits)
    told = [item.data if isinstance(item, Message) else item.value for item in whole]
    assert told == second
    assert (broken is not None) is refused


def _cut(stream: bytes, sizes: bytes) -> list[bytes]:
    pieces, start, repeated = [], 0, cycle(sizes)
    while start < len(stream) and len(pieces) < _PIECES:
        end = start + max(1, next(repeated))
        pieces.append(stream[start:end])
        start = end
    return [*pieces, stream[start:]]


def _feed(
    pieces: list[bytes], pongs: int, limits: Limits
) -> tuple[list[Framed], str | None, bytes]:
    """Feed a framer. Only a FramingError is raised, little is kept, and what broke stays broken."""
    framer = MessageFramer(limits)
    for _ in range(pongs):
        framer.expect_pong()
    got: list[Framed] = []
    for piece in pieces:
        was, told = framer.broken, None
        try:
            got += framer.feed(piece)
        except FramingError as error:
            told = str(error)
        assert told in (None, framer.broken)
        assert was in (None, told)
        kept = len(framer._buffer)
        assert kept <= limits.max_head + 4 + limits.max_body
        assert framer.broken is None or kept == 0
        assert framer.partial or kept < 4
    return got, framer.broken, bytes(framer._buffer)


def _account_for(stream: bytes, events: list[Framed], rest: bytes | None) -> None:
    """Find each byte of the stream in an event or in what is kept; but for CRLFs between."""
    place = 0
    for item in events:
        if isinstance(item, Message):
            while stream.startswith(b"\r\n", place):
                place += 2
            data = item.data
            assert item.head + b"\r\n\r\n" + item.body == data
        else:
            data = {"ping": b"\r\n\r\n", "pong": b"\r\n"}[item.value]
        assert stream.startswith(data, place)
        place += len(data)
    if rest is not None:
        assert stream[place:] in (rest, b"\r\n" + rest)
