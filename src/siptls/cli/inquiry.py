"""Inquiry: the OPTIONS request that asks a peer whether it is there (RFC 3261 §11)."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import siptls
from siptls.trust.names import ReferenceIdentity
from siptls.trust.presented import NameKind
from siptls.wire.credential import Credential
from siptls.wire.message import Message

__all__ = ["answers", "inquiry", "sender"]

_COOKIE = "z9hG4bK"  # RFC 3261 §8.1.1.7
_ANONYMOUS = '"Anonymous" <sip:thisis@anonymous.invalid>'  # RFC 3261 §8.1.1.3


def inquiry(
    expected: ReferenceIdentity,
    credential: Credential | None,
    local: tuple[str, int],
    token: Callable[[], str] = lambda: secrets.token_hex(12),
) -> Message:
    """Give the request, outside of any dialog.

    Args:
        expected: Whom it is for: its domain is the Request-URI.
        credential: Our own; its first name is the sender.
        local: Our address and port on this connection.
        token: Gives another text of letters and digits each time.
    """
    address, port = local
    host = f"[{address}]" if ":" in address else address
    uri = f"sip:{expected.domain}"
    lines = [
        f"OPTIONS {uri} SIP/2.0",
        f"Via: SIP/2.0/TLS {host}:{port};branch={_COOKIE}{token()}",
        f"From: {sender(credential)};tag={token()}",
        f"To: <{uri}>",
        f"Call-ID: {token()}",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
        "Accept: application/sdp",
        f"User-Agent: siptls/{siptls.__version__}",
        "Content-Length: 0",
        "\r\n",
    ]
    return Message("\r\n".join(lines).encode("ascii"))


def sender(credential: Credential | None) -> str:
    """Give in whose name a request is sent: the first ``sip:`` name that we present, or dNSName."""
    try:
        names = () if credential is None else credential.names.names
    except ValueError:  # the peer will say what it thinks of such a certificate
        names = ()
    for kind in (NameKind.URI, NameKind.DNS):
        for name in names:
            if name.kind is kind and name.domain is not None:
                return f"<sip:{name.domain}>"
    return _ANONYMOUS


def answers(message: Message, request: Message) -> bool:
    """Whether a message is a response to a request (RFC 3261 §17.1.3)."""
    return (
        message.status is not None
        and message.header("Call-ID") == request.header("Call-ID")
        and message.header("CSeq") == request.header("CSeq")
    )
