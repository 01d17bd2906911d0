"""Any bytes as a message: what is read from it, and what answers it."""

from __future__ import annotations

import contextlib
import datetime as dt

from fuzz.second import second_framer
from siptls import ConfigurationError, FramingError, Limits, Message, MessageFramer, Peer, Trust
from siptls.trust.believed import BelievedName
from siptls.trust.decision import Decision
from siptls.trust.names import presented_domain
from siptls.trust.presented import NameKind
from siptls.trust.senders import Claims

LENGTH = 500
LIMITS = Limits()
OURS = "fabrikam.com"
PEER = Peer(
    [BelievedName(OURS, NameKind.URI, authority="Fabrikam CA", trust=Trust.FEDERATED)],
    (),
    dt.datetime(2100, 1, 1, tzinfo=dt.UTC),
)
SPACES = " \t"
_ECHOED = ("via", "from", "to", "call-id", "cseq")
_NAMES = ("Via", "v", "FROM", "to", "i", "CSeq", "l", "P-Asserted-Identity", " x ", "k", "\u212a")
_WHY = Decision.refuse("sender.not-authorized", "no")
_HEADERS = (
    "",
    "Server: x\r\n",
    "A: b\r\n c\r\nD:\r\n",
    "X: y\n",
    "l: 5\r\n",
    "X: y\r\n\r\n",
    "x",
    " x\r\n",
)


def target(data: bytes) -> None:
    """The first byte says whether a framer has seen it; the second, of how long a reason it has."""
    if len(data) < 3:
        return
    flags, size = data[0], data[1] % 16
    reason, stream = data[2 : 2 + size].decode("latin-1"), data[2 + size :]
    if flags & 1:
        messages = _framed(stream)
        for message in messages:
            assert b"\r" not in message.head.replace(b"\r\n", b"")
            for name in _NAMES:
                values = second_values(message.head, name)
                assert message.headers(name) == values
                assert all(end not in value for value in values for end in "\r\n\0")
    else:
        try:
            messages = [Message(stream)]
        except FramingError:
            assert b"\r\n\r\n" not in stream
            return
        assert messages[0].data == stream
    for message in messages:
        check(message, flags=flags, reason=reason)


def _framed(stream: bytes) -> list[Message]:
    with contextlib.suppress(FramingError):
        return [item for item in MessageFramer(LIMITS).feed(stream) if isinstance(item, Message)]
    return []


def check(message: Message, *, flags: int, reason: str) -> None:
    """Assert all laws for a message."""
    assert message.head + b"\r\n\r\n" + message.body == message.data
    assert message.is_request or message.status is None or 100 <= message.status < 700
    assert "\r\n" not in message.start_line
    assert isinstance(message.method, str)
    assert not message.uri or message.is_request
    for name in _NAMES:
        values = message.headers(name)
        assert message.header(name) == (values[0] if values else None)
    check_claims(message, explained=flags & 2 == 0)
    if flags & 2:
        told = f'Warning: 399 siptls "{_WHY.code}"\r\n'
        if forbidden := message.forbid(_WHY):
            check_reply(message, forbidden, header=told, body=b"", status=403)
        return
    header, body, status = _HEADERS[(flags >> 2) % 8], message.body[:32], 99 + (flags >> 5) * 100
    with contextlib.suppress(ConfigurationError):
        reply = message.reply(status, reason, header=header, body=body)
        check_reply(message, reply, header=header, body=body, status=status)


def check_reply(asked: Message, reply: Message, *, header: str, body: bytes, status: int) -> None:
    """Assert that an answer is one message for each framer, with the lines that it shall have."""
    framer = MessageFramer(LIMITS)
    assert framer.feed(reply.data) == [reply]
    assert framer.broken is None
    assert not framer.partial
    assert second_framer(reply.data, pongs=0, limits=Limits()) == (
        [reply.data],
        False,
    )
    assert (reply.status, reply.is_request, reply.body) == (status, False, body)
    fields = [
        line.partition(b":")[0].strip(b" \t").lower().decode()
        for line in reply.head.split(b"\r\n")[1:]
        if line[:1] not in (b" ", b"\t")
    ]
    echoed = [name for name in _ECHOED for _ in asked.headers(name)]
    more = [line.partition(":")[0].lower() for line in header.split("\r\n") if line[:1].strip()]
    assert fields == [*echoed, *more, "content-length"]
    for name in _ECHOED:
        before, after = asked.headers(name), reply.headers(name)
        assert len(before) == len(after)


_LONG = {
    "v": "via",
    "i": "call-id",
    "l": "content-length",
    "f": "from",
    "t": "to",
    "k": "supported",
}


def second_values(head: bytes, name: str) -> tuple[str, ...]:
    """Find the values of a header field in the lines of a sound head, one after the other."""
    fields: list[list[str]] = []
    for line in head.decode("utf-8", "surrogateescape").split("\r\n")[1:]:
        if line[0] in " \t":
            fields[-1][1] = f"{fields[-1][1]} {line.strip(SPACES)}".rstrip(SPACES)
        elif ":" in line:
            written, _, value = line.partition(":")
            fields.append([_long(written), value.strip(SPACES)])
        else:
            fields.append(["no field:", ""])
    return tuple(value.strip(SPACES) for written, value in fields if written == _long(name))


def _long(name: str) -> str:
    lowered = "".join(one.lower() if one.isascii() else one for one in name.strip(SPACES))
    return _LONG.get(lowered, lowered)


# ---------------------------------------------------------------- senders


def check_claims(message: Message, *, explained: bool) -> None:
    """Assert that who is claimed is who another reader finds; and that rights are for him only."""
    claims = Claims.of(message)
    claimed = [*claims.asserted, *([claims.sender] if claims.sender else [])]
    assert claims.fault is None or not claimed
    if claims.fault is None:  # whoever reads it finds these lines, and no others
        start, *lines = message.head.split(b"\r\n")
        assert all(b"\r" not in line and b"\n" not in line for line in (start, *lines))
        assert not lines or lines[0][:1] not in (b" ", b"\t")
        for name in ("From", "P-Asserted-Identity"):
            assert message.headers(name) == second_values(message.head, name)
    for sender in claimed:
        assert str(sender).isprintable()
        assert sender.domain is None or presented_domain(sender.domain) == sender.domain
    if claims.sender is not None:
        assert message.is_request
        (value,) = message.headers("From")
        second = second_host(value)
        if claims.sender.scheme == "tel":
            assert second is None
        elif claims.sender.domain is not None:
            assert second == claims.sender.domain
    allowed = PEER.authorize_claims(claims)
    if allowed.accepted:
        assert claims.fault is None
        for sender in claimed:
            assert sender.hidden or sender.domain == OURS
    assert not explained or allowed.explain()


def second_host(value: str) -> str | None:
    """Find the host of an address as RFC 3261 §25.1 has it, character by character."""
    rest = value.strip(" \t")
    if rest.startswith('"'):
        place = 1
        while rest[place] != '"':
            place += 2 if rest[place] == "\\" else 1
        rest = rest[place + 1 :]
    before, bracket, inside = rest.partition("<")
    uri = inside.partition(">")[0] if bracket else before.partition(";")[0].strip(" \t")
    scheme, _, rest = uri.partition(":")
    if scheme.lower() not in ("sip", "sips"):
        return None
    userinfo, at, hostport = rest.partition("@")
    if not at:
        hostport = userinfo
    if hostport.startswith("["):
        return None
    host = ""
    for character in hostport:
        if character in ":;?":
            break
        host += character
    return host.lower().removesuffix(".")
