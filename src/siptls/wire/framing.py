"""MessageFramer: where one SIP message ends and the next begins (RFC 3261 §18.3).

How it thinks. Bytes are kept until they are a whole message: a head up to the first empty line,
then as many bytes as its Content-Length says. A mark remembers how far the empty line has been
searched for, so that no byte is searched twice. Both sizes are checked before more is kept.

Whatever another parser could read differently ends the stream: on a connection that carries the
messages of many users, two opinions on where a message ends are an attack. So a stream message
without Content-Length, two different Content-Lengths, a lone CR or LF, or a NUL in the head is a
`FramingError`, after which the framer is of no more use.

CRLFs between messages are keep-alives (RFC 5626 §4.4.1): CRLF CRLF is a ping, and CRLF is the pong
that answers one. A pong can thus look like the first half of a ping. The framer tells them apart
by what is owed: after `expect_pong`, the next CRLF is the pong; otherwise only a whole CRLF CRLF
means anything, and a single CRLF before a message is skipped (RFC 3261 §7.5). So the events depend
on the bytes alone, not on how they were cut.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, TypeAlias

from siptls.errors import FramingError
from siptls.trust.names import printable
from siptls.wire.limits import Limits, as_limits
from siptls.wire.message import Message

__all__ = ["KEEPALIVE_PING", "KEEPALIVE_PONG", "KeepAlive", "MessageFramer"]


class KeepAlive(Enum):
    """What CRLFs between messages mean."""

    PING = "ping"
    PONG = "pong"


KEEPALIVE_PING: Final = KeepAlive.PING
KEEPALIVE_PONG: Final = KeepAlive.PONG

Framed: TypeAlias = Message | KeepAlive

_EMPTY_LINE = b"\r\n\r\n"
_CRLF = b"\r\n"
# A header field's line, folded lines included, whose name is Content-Length or its compact form.
_CONTENT_LENGTH = re.compile(
    rb"\r\n(?:content-length|l)[ \t]*:(?P<value>[^\r]*(?:\r\n[ \t][^\r]*)*)", re.IGNORECASE
)
# What must not stand in a head: NUL, and CR or LF that are not CRLF. A CR that is the last byte
# so far may still become one.
_STRAY = re.compile(rb"\x00|\r(?!\n|\Z)|(?<!\r)\n")
# A line that is folded where no value has begun: `Content-Length CRLF SP : 500`.
_EARLY_FOLD = re.compile(rb"(?:\A[^\r]*|\r\n(?![ \t])[^\r:]*)\r\n[ \t]")
# A Content-Length of more digits than this is over any limit; int() on a megabyte of them is slow.
_MAX_DIGITS = 18
_FIRST_PRINTABLE = 0x21
# All bytes but those that end lines, and NUL.
_NO_MARKS = bytes(byte for byte in range(256) if byte not in b"\r\n\0")
# The lines of a head that decide where its body ends, or may: its Content-Length, of which the
# number is told; a compact form, a folded line, and a Content-Length that is written otherwise.
_TELLING = re.compile(
    rb"\r\n(?:content-length:[ \t]*([0-9]{1,%d})[ \t]*(?=\r|\Z)|[ \tl]|content-length)"
    % _MAX_DIGITS,
    re.IGNORECASE,
)


class MessageFramer:
    """Cuts a stream of bytes into SIP messages and keep-alives.

    Args:
        limits: ``max_head``, ``max_header_lines`` and ``max_body`` are held to.
    """

    __slots__ = ("_broken", "_buffer", "_limits", "_needed", "_pongs", "_searched")

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = as_limits(limits)
        self._buffer = bytearray()
        self._searched = 0  # no empty line begins before this place
        self._needed = 0  # bytes of the message at the front, once its head is read
        self._pongs = 0
        self._broken: str | None = None

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return not self._between_messages

    @property
    def _between_messages(self) -> bool:
        """Whether all that is kept is what may become a keep-alive; or nothing."""
        if not self._buffer:
            return True
        return not self._needed and _EMPTY_LINE.startswith(bytes(self._buffer[:4]))

    def expect_pong(self) -> None:
        """Count a ping that was sent: the next CRLF between messages answers it."""
        self._pongs += 1

    def feed(self, data: bytes | bytearray | memoryview) -> list[Framed]:
        """Take bytes, and give what is now whole, in order.

        Args:
            data: Any number of bytes.

        Raises:
            FramingError: The stream cannot be cut into messages. Everything before the fault was
                or is given: if ``data`` holds whole messages before it, they are given now, and
                the next call raises.
        """
        if self._broken is not None:
            raise FramingError(self._broken)
        framed: list[Framed] = []
        try:
            if self._buffer:  # something has begun before
                self._buffer += data
                if (item := self._next()) is None:
                    return framed
                framed.append(item)
                data = self._buffer
            self._buffer[:] = self._take_plain(bytes(data), framed)
            while self._buffer and (item := self._next()) is not None:
                framed.append(item)
        except FramingError as error:
            self._broken = str(error)
            self._buffer.clear()
            if not framed:
                raise
        return framed

    def _take_plain(self, data: bytes, framed: list[Framed]) -> bytes:
        """Take whole messages off the front that are written as nearly all are; give the rest.

        It decides nothing: what is in any way unusual is left for those who look at it closely.
        """
        start, limits = 0, self._limits
        while True:
            end = data.find(_EMPTY_LINE, start)
            if end < 0 or end - start > limits.max_head or data[start] < _FIRST_PRINTABLE:
                break
            length = _plain_length(data, start, end, limits.max_header_lines)
            stop = end + len(_EMPTY_LINE) + length
            if length < 0 or length > limits.max_body or stop > len(data):
                break
            framed.append(Message.framed(data[start:stop], end - start))
            start = stop
        return data[start:] if start else data

    @property
    def broken(self) -> str | None:
        """Why the stream cannot go on; None while it can."""
        return self._broken

    def _next(self) -> Framed | None:
        if not self._needed:
            keep_alive = self._skip_crlf()
            if keep_alive is not None or self._between_messages:
                return keep_alive
            self._read_head()
        if not self._needed or len(self._buffer) < self._needed:
            return None
        message = Message(self._buffer[: self._needed])
        del self._buffer[: self._needed]
        self._searched = self._needed = 0
        return message

    def _skip_crlf(self) -> KeepAlive | None:
        """Take the CRLFs at the front, up to the first that mean something."""
        while self._buffer.startswith(_CRLF):
            if self._pongs:
                self._pongs -= 1
                del self._buffer[:2]
                return KEEPALIVE_PONG
            if self._buffer.startswith(_EMPTY_LINE):
                del self._buffer[:4]
                return KEEPALIVE_PING
            if self._between_messages:
                return None  # perhaps the first half of a ping
            del self._buffer[:2]
        return None

    def _read_head(self) -> None:
        if self._buffer[0] < _FIRST_PRINTABLE:
            raise FramingError(
                f"a message begins with the byte {self._buffer[0]:#04x}, which no start line does;"
                " is the peer speaking another protocol?"
            )
        end = self._buffer.find(_EMPTY_LINE, self._searched)
        limit = self._limits.max_head
        searched = self._searched
        if end < 0:
            self._searched = max(0, len(self._buffer) - 3)
        # What cannot become a head is told now: its sender may be waiting for an answer. It is told
        # before the limit, which is found out later where the bytes come one by one; and a CR
        # before the empty line is seen with what follows it.
        sought = min(limit + 4, len(self._buffer) if end < 0 else end + 2)
        stray = None
        if not _has_whole_lines(self._buffer[searched:sought]):
            stray = _STRAY.search(self._buffer, searched, sought)
        if stray is not None:
            raise FramingError(
                f"byte {stray.start()} of a message's head is {stray.group()!r}: lines end with"
                " CRLF, and no NUL stands in them"
            )
        if end > limit or (end < 0 and self._searched > limit):
            raise FramingError(
                f"the head of a message has more than {limit} bytes; raise Limits.max_head if the"
                " peer means well"
            )
        if end < 0:
            return
        head = bytes(self._buffer[:end])
        lines = head.count(_CRLF)
        if lines > self._limits.max_header_lines:
            raise FramingError(
                f"the header of a message has {lines} lines, and at most"
                f" {self._limits.max_header_lines} are taken; raise Limits.max_header_lines if the"
                " peer means well"
            )
        folded = b"\r\n " in head or b"\r\n\t" in head
        if folded and (fold := _EARLY_FOLD.search(head)) is not None:
            raise FramingError(
                f"byte {fold.end() - 1} of a message's head continues what is no value of a header"
                " field: two parsers could read the line differently"
            )
        self._needed = end + len(_EMPTY_LINE) + self._content_length(head)

    def _content_length(self, head: bytes) -> int:
        values = {found["value"].strip(b" \t\r\n") for found in _CONTENT_LENGTH.finditer(head)}
        if not values:
            raise FramingError(
                "a message without Content-Length: over TLS it is needed, since nothing else says"
                " where the message ends (RFC 3261 §20.14)"
            )
        lengths = {_number(value) for value in values}
        if len(lengths) > 1:
            raise FramingError("a message with two different Content-Lengths")
        length = lengths.pop()
        if length > self._limits.max_body:
            raise FramingError(
                f"a body of {length} bytes is declared, and at most {self._limits.max_body} are"
                " taken; raise Limits.max_body if the peer means well"
            )
        return length


def _plain_length(data: bytes, start: int, end: int, most_lines: int) -> int:
    """The Content-Length of a head in which nothing is unusual; else -1."""
    marks, lines = len(data[start:end].translate(None, _NO_MARKS)), data.count(_CRLF, start, end)
    if marks != 2 * lines or lines > most_lines:  # a stray CR or LF, a NUL, too many
        return -1
    told = _TELLING.findall(data, start, end)
    return int(told[0]) if len(told) == 1 and told[0] else -1


def _has_whole_lines(piece: bytes | bytearray) -> bool:
    """Whether there is no stray byte for sure: counting costs a tenth of searching."""
    lines = piece.count(_CRLF)
    return piece.count(b"\r") == lines == piece.count(b"\n") and b"\0" not in piece


def _number(value: bytes) -> int:
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        shown = printable(value.decode("latin-1"), 40)
        raise FramingError(f"the Content-Length is {shown!r}, which is no number of bytes")
    return int(value)
