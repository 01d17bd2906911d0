"""A second framer, written from the rules in another way, to hold against the first.

It has the whole stream at once, splits it into lines, looks at one after the other, and cares about
nothing but to be obviously right. The rules are RFC 3261 §7.3, §7.5, §18.3 and §20.14, RFC 5626
§4.4.1, and where siptls is stricter, the text at the head of ``framing.py``.
"""

from __future__ import annotations

from siptls import Limits

__all__ = ["second_framer"]

CRLF = b"\r\n"


class _Refused(Exception):  # noqa: N818  it is no error here, but an answer
    """The stream is no stream of SIP messages."""


def second_framer(stream: bytes, *, pongs: int, limits: Limits) -> tuple[list[bytes | str], bool]:
    """Cut a stream.

    Args:
        stream: All of it.
        pongs: How many pings were sent before.
        limits: Of heads, their lines, and bodies.

    Returns:
        Messages as bytes, and "ping" or "pong" where one came; and whether the rest is refused.
    """
    events: list[bytes | str] = []
    rest = stream
    while True:
        # Between messages.
        if rest[:2] == CRLF and pongs:
            events.append("pong")
            pongs -= 1
            rest = rest[2:]
        elif rest in (b"", b"\r", b"\r\n", b"\r\n\r"):
            return events, False
        elif rest[:4] == CRLF + CRLF:
            events.append("ping")
            rest = rest[4:]
        elif rest[:2] == CRLF:
            rest = rest[2:]
        else:
            try:
                size = _message_size(rest, limits)
            except _Refused:
                return events, True
            if size is None or size > len(rest):
                return events, False
            events.append(rest[:size])
            rest = rest[size:]


def _message_size(rest: bytes, limits: Limits) -> int | None:
    """Give how many bytes the message at the front has; None if it has no whole head yet."""
    if rest[0] <= ord(" "):
        raise _Refused("no start line")
    lines = _head_lines(rest, limits.max_head)
    if lines is None:
        return None
    if len(lines) - 1 > limits.max_header_lines:  # the start line is none
        raise _Refused("too many lines")
    head_size = sum(len(line) + 2 for line in lines)  # each with its CRLF
    length = _declared_length(lines)
    if length > limits.max_body:
        raise _Refused("too large a body")
    return head_size + 2 + length


def _head_lines(rest: bytes, max_head: int) -> list[bytes] | None:
    """Read lines up to the empty one; None if it has not come yet."""
    lines = rest.split(CRLF)
    unfinished = lines.pop().removesuffix(b"\r")  # a CR at the end may be half of a CRLF
    for number, line in enumerate(lines):
        if line == b"":
            if sum(len(one) + 2 for one in lines[:number]) - 2 > max_head:
                raise _Refused("too large a head")
            return lines[:number]
        _check_marks(line)
    _check_marks(unfinished)
    # No empty line has come. If even one that begins with the next byte is too late, say so now.
    if len(rest) >= max_head + 4:
        raise _Refused("too large a head")
    return None


def _check_marks(line: bytes) -> None:
    if b"\0" in line or b"\r" in line or b"\n" in line:
        raise _Refused("a NUL, a CR that is no CRLF, or an LF that is none")


def _declared_length(lines: list[bytes]) -> int:
    """Find the one number that all Content-Lengths tell."""
    fields: list[bytes] = []
    for number, line in enumerate(lines):
        if line[:1] not in (b" ", b"\t"):
            fields.append(line)  # the start line is none, and is not looked at below
        elif number <= 1 or b":" not in fields[-1]:
            raise _Refused("a line that continues no value")
        else:
            fields[-1] += b" " + line
    numbers: set[int] = set()
    for field in fields[1:]:
        name, colon, value = field.partition(b":")
        if colon and name.rstrip(b" \t").lower() in (b"content-length", b"l"):
            digits = value.strip(b" \t")
            if not 1 <= len(digits) <= 18 or digits.strip(b"0123456789"):
                raise _Refused("a Content-Length that is no number")
            numbers.add(int(digits))
    if len(numbers) != 1:
        raise _Refused("no Content-Length, or two that differ")
    return numbers.pop()
