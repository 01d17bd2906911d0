"""Senders: in whose name a message claims to be sent.

A server answers 403 to what a peer says in the name of another domain (RFC 3261 §26.3.2.2). So it
must know what is claimed; and it must not read one sender where the next server, or the phone that
shows the caller, reads another. What stands here is a claim only: nothing of it is proven.

How it thinks. One pattern reads one address of a header field by the grammar of RFC 3261 §25.1,
from its first character to its last, or to the comma before the next address; a second one reads
the URI in it; the host is judged by `presented_domain` and `ipaddress`. Nothing is searched for,
skipped or mended: where a pattern does not fit, there is no sender, and a `Fault` says so. Thus
the answer is the right domain or none, and never another.

Where the grammar has one reading, and careless parsers have others, it is narrowed:

* parameters of a header field hold no ``<``, ``>`` or ``@``, in quotes neither: whoever does not
  see the quotes would find a second address there;
* a user does not begin with ``//``, after which a parser of web addresses sees a host;
* a user is no dotted domain up to its first ``;`` or ``?``: in ``sip:a.example;x@b.example``,
  whoever looks for parameters first finds the host a.example (RFC 4475 §3.1.1.9).

And where the world is wider than the grammar, and all readings agree, it is widened: names may
have octets that are not ASCII without being quoted, ``#`` may stand in a dialled number, and
parameters may follow an address in P-Asserted-Identity.

Every repetition in the patterns is possessive, and where two alternatives begin alike, there are
two of them: a peer's 64 KiB of quotes, brackets or spaces are looked at a few times at most.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Protocol

from attrs import frozen

from siptls.trust.codes import Code
from siptls.trust.fault import Fault
from siptls.trust.names import presented_domain, printable

__all__ = ["Claims", "HasHeaders", "Sender"]

_ANONYMOUS = "anonymous.invalid"  # RFC 3323 §4.1.1.3
_MAX_PORT = 65535
# RFC 3325 §9.1: one SIP or SIPS URI, one tel URI, or one of each.
_MAX_ASSERTED = 2
# Of a user in a log: E.164 numbers have 15 digits, and names are seldom longer than this.
_MAX_SHOWN = 64


class HasHeaders(Protocol):
    """What is read from a message; `Message` has it."""

    @property
    def is_request(self) -> bool:
        """Whether it is a request; otherwise it is a response."""
        ...

    @property
    def head(self) -> bytes:
        """Start line and header."""
        ...

    def headers(self, name: str) -> tuple[str, ...]:
        """Give the unfolded values of all header fields of a name, long or compact, in order."""
        ...


# ---------------------------------------------------------------- the head

# What some take for white space or the end of a line, and SIP does not; or a line that is no header
# field and continues none. Our framer lets no lone CR or LF through; but not every head is its.
_STRAY_LINE = re.compile(
    rb"[\x0b\x0c\x1c-\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9]|(?<!\r)\n"
    rb"|\r(?!\n(?:[ \t]|[A-Za-z0-9.!%*_+`'~-]++[ \t]*+:))"
)
# The first line continued, in which others find a header field.
_FOLDED_START = re.compile(rb"[^\r]*+\r\n[ \t]")
_STATUS_LINE = re.compile(rb"SIP/2\.0 [1-6][0-9][0-9](?: |\r\n|\Z)", re.IGNORECASE)

# ---------------------------------------------------------------- an address in a header field

_WS = r"[ \t]*+"
_WORD = r"A-Za-z0-9.!%*_+`'~\-"
_NON_ASCII = r"\xa0-\u2027\u202a-\U0010ffff"  # without the controls and line ends among them
_CONTROL = r"\x00-\x08\x0a-\x1f\x7f"
_QUOTED = rf'"(?:[^"\\{_CONTROL}]++|\\[^\r\n])*+"'
_QUOTED_VALUE = rf'"(?:[^"\\<>@{_CONTROL}]++|\\[^\r\n<>@])*+"'
_PARAMETER = (
    rf";{_WS}[{_WORD}]++{_WS}"
    rf"(?:={_WS}(?:[{_WORD}]++|\[[0-9A-Fa-f:.]++\]|{_QUOTED_VALUE}){_WS})?+"
)
_ADDRESS = re.compile(
    rf"{_WS}"
    rf"(?:(?:{_QUOTED}{_WS}|[{_WORD}{_NON_ASCII} \t]*+)<(?P<inner>[^<>]*+)>"
    rf'|(?P<bare>[^\s;,?<>"]++))'  # without brackets, the URI ends here (RFC 3261 §20)
    rf"{_WS}(?:{_PARAMETER})*+(?:(?P<comma>,)|\Z)"
)

# ---------------------------------------------------------------- the URI in it

_ESCAPED = r"%[0-9A-F]{2}"
_UNRESERVED = r"A-Z0-9_.!~*'()\-"
_SIP = re.compile(
    rf"(?P<scheme>sips?):"
    rf"(?:(?!//)(?P<user>(?:[{_UNRESERVED}&=+$,;?/]++|{_ESCAPED})++|[0-9*#+]++)"
    rf"(?::(?:[{_UNRESERVED}&=+$,]++|{_ESCAPED})*+)?+@)?+"
    rf"(?P<host>\[[0-9A-F:.]++\]|[A-Z0-9.\-]++)(?::(?P<port>[0-9]{{1,5}}+))?+"
    rf"(?:[;?](?:[{_UNRESERVED}\[\]/?:&+$=;]++|{_ESCAPED})*+)?+",
    re.IGNORECASE | re.ASCII,
)
# RFC 3966 §3. A telephone number has a digit, and a local one may be all * and #.
_TEL = re.compile(
    rf"tel:(?P<number>\+[.()\-]*+[0-9][0-9.()\-]*+|[.()\-]*+[0-9A-F*#][0-9A-F*#.()\-]*+)"
    rf"(?:;[A-Z0-9\-]++(?:=(?:[{_UNRESERVED}\[\]/:&+$]++|{_ESCAPED})++)?+)*+",
    re.IGNORECASE | re.ASCII,
)


@frozen
class Sender:
    """Whom an address in a message names. It is a claim, and proves nothing.

    Attributes:
        scheme: ``sip``, ``sips`` or ``tel``.
        domain: A-labels, lower case, no trailing dot; None if the URI has none.
        address: The IP address that stands in place of a domain, in canonical form; or None.
        user: The user, or the telephone number, as written: percent escapes and all, without a
            password. None if there is none.
    """

    scheme: str
    domain: str | None
    address: str | None
    user: str | None

    @property
    def hidden(self) -> bool:
        """Whether nobody's domain is claimed: anonymously (RFC 3323), or by telephone number."""
        return self.domain == _ANONYMOUS or self.scheme == "tel"

    def __str__(self) -> str:
        user = "" if self.user is None else printable(self.user, _MAX_SHOWN)
        host = self.domain or self.address
        if host is None:
            return f"{self.scheme}:{user}"
        place = f"[{host}]" if ":" in host else host
        return f"{self.scheme}:{user}@{place}" if user else f"{self.scheme}:{place}"


@frozen
class Claims:
    """In whose name a message claims to be sent.

    Attributes:
        sender: From of a request. None for a response: its From is that of the request which it
            answers (RFC 3261 §8.2.6.2).
        asserted: P-Asserted-Identity (RFC 3325 §9.1): at most one SIP or SIPS address, and at most
            one telephone number.
        fault: What cannot be read with certainty; then there is no ``sender`` and no ``asserted``.
    """

    sender: Sender | None
    asserted: tuple[Sender, ...]
    fault: Fault | None

    @classmethod
    def of(cls, message: HasHeaders) -> Claims:
        """Read the claims of a request or a response. Whatever its header holds, none is raised."""
        sender = None
        if (found := _head_fault(message)) is not None:
            expected = "a head in which every parser finds the same header fields"
            fault = Fault(Code.SENDER_MALFORMED, "the message", found, expected, "RFC 3261 §25.1")
            return cls(None, (), fault)
        if message.is_request:
            values = message.headers("From")
            senders = _read(values, 1)
            if not senders:
                return cls._malformed("From", values, "one SIP address", "RFC 3261 §20.20")
            (sender,) = senders
        values = message.headers("P-Asserted-Identity")
        asserted = _read(values, _MAX_ASSERTED)
        if asserted is None or len({one.scheme == "tel" for one in asserted}) < len(asserted):
            expected = "one SIP address, one telephone number, or one of each"
            return cls._malformed("P-Asserted-Identity", values, expected, "RFC 3325 §9.1")
        return cls(sender, asserted, None)

    @classmethod
    def _malformed(cls, name: str, values: tuple[str, ...], expected: str, rule: str) -> Claims:
        found = f"has no {name}"
        if values:
            found = f"has {name} {printable(values[0])!r}"
        if len(values) > 1:
            found += f" and {len(values) - 1} more"
        return cls(None, (), Fault(Code.SENDER_MALFORMED, "the message", found, expected, rule))

    @property
    def domains(self) -> frozenset[str]:
        """The domains that are claimed, in From or as asserted; anonymous.invalid is none."""
        named = (self.sender, *self.asserted)
        return frozenset(one.domain for one in named if one and one.domain and not one.hidden)


def _head_fault(message: HasHeaders) -> str | None:
    """Say what in a head could hide a header field from us, or from whoever reads it after us."""
    head = message.head
    stray = _FOLDED_START.match(head) or _STRAY_LINE.search(head)
    if stray is not None:
        place = head[max(0, stray.start() - 8) : stray.end() + 24]
        return f"has in its head {printable(place.decode('latin-1'))!r}"
    if not message.is_request and _STATUS_LINE.match(head) is None:
        start = head.partition(b"\r\n")[0]
        return f"begins with {printable(start.decode('latin-1'))!r}, no request and no response"
    return None


def _read(values: tuple[str, ...], most: int) -> tuple[Sender, ...] | None:
    """Read all addresses of some header fields; None if one is malformed, or one too many."""
    senders: list[Sender] = []
    for value in values:
        place, more = 0, True
        while more:
            found = _ADDRESS.match(value, place)
            sender = _sender(found["inner"] or found["bare"] or "") if found else None
            if found is None or sender is None or len(senders) == most:
                return None
            senders.append(sender)
            place, more = found.end(), found["comma"] is not None
    return tuple(senders)


def _sender(uri: str) -> Sender | None:
    """Read a URI; None if it is none of ours, or malformed."""
    if tel := _TEL.fullmatch(uri):
        return Sender("tel", None, None, tel["number"])
    found = _SIP.fullmatch(uri)
    if found is None or not 0 < int(found["port"] or 1) <= _MAX_PORT:
        return None
    if found["user"] and _like_a_host(found["user"]):
        return None
    address = _address(found["host"])
    domain = None if address else presented_domain(found["host"].removesuffix("."))
    if address is None and domain is None:
        return None
    return Sender(found["scheme"].lower(), domain, address, found["user"])


def _like_a_host(user: str) -> bool:
    """Whether a user reads like a host with what may follow one."""
    head = re.split("[;?]", user, maxsplit=1)[0]
    return head != user and "." in head and presented_domain(head.removesuffix(".")) is not None


def _address(host: str) -> str | None:
    try:
        if host.startswith("["):
            return str(ipaddress.IPv6Address(host[1:-1]))
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        return None
