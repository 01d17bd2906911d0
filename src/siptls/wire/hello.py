"""The client's hello: the name (SNI), the protocol (ALPN) and the status (OCSP) that it asks for.

How it thinks. A server may have several credentials, and each has its own OpenSSL context. Which of
them the name means is said by `select`; the callback puts that context in place. All contexts of a
server are made alike, so that whoever is judged under one is judged under the other; and OpenSSL
goes on to call the verify callback of the first, which is why the first is kept.

pyOpenSSL keeps an exception of a callback in the *context*, and raises it in whatever connection of
that context reads next, in place of what that has read. A stranger's hello would cost others their
messages. So nothing is ever raised here: a callback notes the fault, and the engine ends the
handshake and sends the alert itself.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from attrs import define, field
from OpenSSL import SSL

from siptls.arguments import Kind
from siptls.errors import Alert
from siptls.journal import about
from siptls.journal import log as _log
from siptls.trust.names import listed, printable
from siptls.wire.credential import Credential, select, staple_at

__all__ = [
    "ALPN",
    "IS_ALPN",
    "PROTOCOL",
    "Hello",
    "answer_name",
    "answer_protocols",
    "answer_status",
    "server_name",
]


PROTOCOL = b"sip/2"  # IANA, TLS ALPN Protocol IDs
_INTERNAL_ERROR, _NO_APPLICATION_PROTOCOL = 80, 120
# OpenSSL takes a server name of 255 bytes (RFC 1035 §3.1), each of which is shown as up to four.
_MAX_SHOWN = 4 * 255


class ALPN(StrEnum):
    """Whether ``sip/2`` is agreed on as the application protocol (RFC 7301)."""

    OFFER = "offer"
    """A client offers it, a server takes it if offered; without it the connection goes on."""
    REQUIRE = "require"
    """As OFFER, and without it there is no connection."""
    OFF = "off"
    """It is neither offered nor taken."""


IS_ALPN = Kind(ALPN, "write ALPN.OFFER, ALPN.REQUIRE or ALPN.OFF")


@define
class Hello:
    """What one connection's callbacks know of the hello. It has no reference to the connection.

    Attributes:
        alpn: Whether a protocol is agreed on.
        contexts: Our credentials, the default first, each with its context.
        credential: The one that is shown; a server shows the default if no other is asked for.
        fault: Why the handshake must end; empty if it may go on.
        alert: What a client is told then (RFC 8446 §6.2); None once it is too late.
    """

    alpn: ALPN
    contexts: dict[Credential | None, SSL.Context]
    credential: Credential | None = field(init=False)
    fault: str = ""
    alert: Alert | None = None

    def __attrs_post_init__(self) -> None:
        self.credential = next(iter(self.contexts))

    def check_protocol(self, agreed: bytes) -> None:
        """Look whether what was agreed on will do; if not, `fault` tells."""
        if agreed == PROTOCOL or self.fault:
            return
        if agreed:
            self.fault = (
                f"the peer chose the ALPN protocol {_shown([agreed])}, which was not offered; it is"
                " no SIP server"
            )
        elif self.alpn is ALPN.REQUIRE:
            self.fault = (
                "the peer agreed on no ALPN protocol, and 'sip/2' is required; let it take part in"
                " ALPN, or pass alpn=ALPN.OFFER here"
            )


def server_name(connection: SSL.Connection) -> str | None:
    """The name in the SNI extension, as text that can be shown."""
    name = connection.get_servername()
    return None if name is None else printable(name.decode("ascii", "backslashreplace"), _MAX_SHOWN)


def answer_name(connection: SSL.Connection) -> None:
    """Show the credential for the name that the client asks for (RFC 6066 §3, RFC 5922 §7.8)."""
    hello: Hello = connection.get_app_data().hello
    try:
        ours = [credential for credential in hello.contexts if credential is not None]
        hello.credential = select(ours, server_name(connection))
        context = hello.contexts[hello.credential]
        if connection.get_context() is not context:
            connection.set_context(context)
    except Exception as error:  # noqa: BLE001  whatever it is, this connection ends, and no other
        _log.exception(
            "choosing a credential failed, so the connection is refused",
            extra=_about_client(connection, "credential_failed"),
        )
        hello.fault = f"no credential could be chosen for the server name: {error}; see the log"
        hello.alert = Alert(_INTERNAL_ERROR)


def answer_protocols(
    connection: SSL.Connection, offered: list[bytes]
) -> Any:  # pyOpenSSL keeps the type of NO_OVERLAPPING_PROTOCOLS to itself
    """Take ``sip/2`` if it is offered (RFC 7301 §3.2)."""
    if PROTOCOL in offered:
        return PROTOCOL
    hello: Hello = connection.get_app_data().hello
    if hello.alpn is ALPN.REQUIRE:
        hello.fault = (
            f"the client offers the ALPN protocols {_shown(offered)}, and 'sip/2' is required; let"
            " it offer 'sip/2', or pass alpn=ALPN.OFFER here"
        )
        hello.alert = Alert(_NO_APPLICATION_PROTOCOL)
    return SSL.NO_OVERLAPPING_PROTOCOLS


def answer_status(connection: SSL.Connection, _: object) -> bytes:
    """Give the OCSP response for the credential that is shown (RFC 6066 §8); empty for none.

    OpenSSL asks after the name is answered, and only if the client wants one.
    """
    try:
        state = connection.get_app_data()
        return staple_at(state.hello.credential, state.clock())
    except Exception:  # noqa: BLE001  a client that needs one refuses; nobody else has to
        _log.exception(
            "no OCSP response could be given to a client, so it gets none",
            extra=_about_client(connection, "staple_failed"),
        )
        return b""


def _about_client(connection: SSL.Connection, event: str) -> dict[str, object]:
    """The attributes of a record about a client; raising here would fail in OpenSSL."""
    address = getattr(connection.get_app_data(), "address", None)
    return about(event, address=address, role="client")


def _shown(protocols: list[bytes]) -> str:
    return listed(printable(repr(one.decode("ascii", "backslashreplace"))) for one in protocols)
