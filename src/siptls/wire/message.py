"""Message: one whole SIP message, as it crosses the connection.

siptls is no SIP stack. A `Message` keeps the bytes as they came, and reads from them only what a
transport and its user need in order to choose what to do: the start line and header fields by
name. Nothing is parsed before it is asked for.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property

from attrs import field, frozen

from siptls.arguments import kind_of
from siptls.errors import ConfigurationError, FramingError
from siptls.trust.decision import Decision
from siptls.trust.names import printable

__all__ = ["Message"]

# RFC 3261 §7.3.3 and the registry of compact forms that grew from it.
_COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
# Possessive, so that a peer's thousands of spaces, quotes or brackets are looked at once.
_FOLD = re.compile(r"(?:(?<![ \t])[ \t]++)?(?:\r\n[ \t]++)++")
_QUOTED_OR_URI = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|<[^>]*+(?:>|\Z)', re.DOTALL)
_TAG = re.compile(r";\s*+tag\s*+=", re.IGNORECASE)
_ECHOED = ("Via", "From", "To", "Call-ID", "CSeq")  # RFC 3261 §8.2.6.2
_TRYING, _LAST_STATUS = 100, 699
_FORBIDDEN = 403
_CODE = re.compile(r"[a-z0-9.-]+")
_REASON = re.compile(r"[^\r\n\0]*")
_LINE_ENDS = re.compile(r"[\r\n\0]")
_HEADER_LINES = re.compile(r"(?:[^\s:][^:\r\n\0]*:[^\r\n\0]*(?:\r\n[ \t][^\r\n\0]*)*\r\n)*")
_CONTENT_LENGTH = re.compile(r"^(?:content-length|l)[ \t]*:", re.IGNORECASE | re.MULTILINE)


def _as_bytes(data: bytes | bytearray | memoryview) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):  # a str, mostly
        raise ConfigurationError(f"a message is made of bytes, not of {kind_of(data)}: encode() it")
    return bytes(data)


@frozen
class Message:
    """A SIP request or response.

    Attributes:
        data: All of it, as bytes on the wire.
        decision: Whether its peer may speak in the name of its sender, where a transport was told
            to ``authorize``; else None. It is no part of equality.

    Raises:
        FramingError: There is no empty line after the header.
    """

    data: bytes = field(converter=_as_bytes)
    decision: Decision | None = field(default=None, kw_only=True, eq=False, repr=False)
    _end: int = field(init=False, repr=False, eq=False)

    @_end.default
    def _find_end(self) -> int:
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            raise FramingError(
                "a SIP message has an empty line after its header (CRLF CRLF), and this has none"
            )
        return end

    @classmethod
    def framed(cls, data: bytes, end: int) -> Message:
        """Give the message of bytes that are known to be one. The framer calls it, for speed.

        Args:
            data: All of it.
            end: Where the empty line begins.
        """
        message = cls.__new__(cls)
        _set_data(message, data)
        _set_decision(message, None)
        _set_end(message, end)
        return message

    @property
    def head(self) -> bytes:
        """Start line and header, without the empty line."""
        return self.data[: self._end]

    @property
    def body(self) -> bytes:
        """What follows the empty line."""
        return self.data[self._end + 4 :]

    @cached_property
    def start_line(self) -> str:
        """The first line."""
        return _text(self.data[: self.data.index(b"\r\n")])

    @property
    def is_request(self) -> bool:
        """Whether it is a request; otherwise it is a response."""
        return self.data[:4].upper() != b"SIP/"

    @property
    def expects_reply(self) -> bool:
        """Whether it is a request, and no ACK, which nothing answers (RFC 3261 §17)."""
        return self.is_request and not self.data.startswith(b"ACK ")

    @property
    def method(self) -> str:
        """The method: of a request, or of the request that a response answers (from CSeq)."""
        if self.is_request:
            return self.start_line.split(" ", 1)[0]
        sequence = (self.header("CSeq") or "").split()
        return sequence[1] if len(sequence) > 1 else ""

    @property
    def uri(self) -> str:
        """The Request-URI as written; empty for a response."""
        words = self.start_line.split(" ", 2) if self.is_request else ()
        return words[1] if len(words) > 1 else ""

    @property
    def status(self) -> int | None:
        """The status code of a response, 100 to 699; None for a request or a broken line."""
        words = self.start_line.split(" ", 2)
        if self.is_request or len(words) < 2 or not re.fullmatch("[1-6][0-9][0-9]", words[1]):  # noqa: PLR2004
            return None
        return int(words[1])

    @cached_property
    def _fields(self) -> dict[str, tuple[str, ...]]:
        """Header fields by their long name in lower case, in order, unfolded."""
        _, _, text = _text(self.head).partition("\r\n")
        fields: dict[str, list[str]] = {}
        if "\r\n " in text or "\r\n\t" in text:
            text = _FOLD.sub(" ", text)
        for line in text.split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                key = _field_name(name)
                fields.setdefault(key, []).append(value.strip(" \t"))
        return {key: tuple(values) for key, values in fields.items()}

    def header(self, name: str) -> str | None:
        """The first value of a header field, or None if there is none.

        Args:
            name: In any case, long or compact: ``"Call-ID"``, ``"i"``.

        Returns:
            The value with folded lines joined by one space. Octets that are not UTF-8 are kept
            as surrogates (``errors="surrogateescape"``).
        """
        values = self._fields.get(_field_name(name), ())
        return values[0] if values else None

    def headers(self, name: str) -> tuple[str, ...]:
        """The values of all header fields of a name, in order; values with commas are not split."""
        return self._fields.get(_field_name(name), ())

    def reply(self, status: int, reason: str, *, header: str = "", body: bytes = b"") -> Message:
        """Build the response that a stateless server gives (RFC 3261 §8.2.6, §8.2.7).

        Args:
            status: 100 to 699.
            reason: The reason phrase.
            header: More header lines, each ending with CRLF.
            body: The body; its Content-Length is added.

        Returns:
            A response with the request's Via, From, To, Call-ID and CSeq. A To without tag gets
            one, which is the same whenever the same request is answered. A CR, LF or NUL within a
            line, which no framer lets through, is repeated as a space.

        Raises:
            ConfigurationError: It would be no response, or more than one; or nothing answers
                this message: see `expects_reply`.
        """
        self._check_reply(status, reason, header, body)
        lines = [f"SIP/2.0 {status} {reason}"]
        for name in _ECHOED:
            for written in self.headers(name):
                # Of what no framer has seen, the rest of a line might else become a line.
                value = _LINE_ENDS.sub(" ", written)
                if name == "To" and status > _TRYING and not _has_tag(value):
                    value += f";tag={self._tag}"
                lines.append(f"{name}: {value}")
        head = "\r\n".join(lines) + f"\r\n{header}Content-Length: {len(body)}\r\n\r\n"
        return Message(head.encode("utf-8", "surrogateescape") + body)

    def forbid(self, decision: Decision | None = None) -> Message | None:
        """Build the 403 for a request that a decision has refused (RFC 3261 §26.3.2.2).

        Args:
            decision: Why; by default the one that the message has. Its code, and no more of it, is
                told in a Warning header field (RFC 3261 §20.43).

        Returns:
            The response. None for an ACK and for a response, which nothing answers.
        """
        if not self.expects_reply:
            return None
        why = self.decision if decision is None else decision
        code = "" if why is None else str(why.code)
        told = code if _CODE.fullmatch(code) else ""
        warning = f'Warning: 399 siptls "{told}"\r\n' if told else ""
        return self.reply(_FORBIDDEN, "Forbidden", header=warning)

    def _check_reply(self, status: object, reason: str, header: object, body: object) -> None:
        if not self.expects_reply:
            raise ConfigurationError(
                f"nothing answers {printable(self.start_line)!r}: look at message.expects_reply"
                " before you reply"
            )
        if not isinstance(status, int) or not _TRYING <= status <= _LAST_STATUS:
            raise ConfigurationError(f"a status is a number from 100 to 699, not {status!r}")
        if not _REASON.fullmatch(reason):
            raise ConfigurationError(f"a reason phrase is one line, not {reason!r}")
        if not isinstance(body, bytes):
            raise ConfigurationError(f"a body is bytes, not {kind_of(body)}: encode() it")
        if header == "":
            return
        if not isinstance(header, str) or not _HEADER_LINES.fullmatch(header):
            raise ConfigurationError(
                f"header= is lines of 'Name: value', each ending with CRLF, not {header!r}"
            )
        if _CONTENT_LENGTH.search(header):
            raise ConfigurationError("header= has a Content-Length: it is made from the body")

    @property
    def _tag(self) -> str:
        via = self.header("Via") or ""
        identity = f"{via}|{self.header('Call-ID')}|{self.header('CSeq')}"
        return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]


# What the generated __init__ of a frozen class does, without a look-up for each field.
_set_data, _set_decision, _set_end = (
    getattr(Message, name).__set__ for name in ("data", "decision", "_end")
)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _field_name(name: str) -> str:
    stripped = name.strip(" \t")
    lowered = stripped.lower() if stripped.isascii() else stripped  # U+212A would become a k
    return _COMPACT.get(lowered, lowered)


def _has_tag(address: str) -> bool:
    """Whether a To value has a tag parameter: outside of quotes and angle brackets."""
    if ";" not in address:
        return False
    return _TAG.search(_QUOTED_OR_URI.sub("", address)) is not None
