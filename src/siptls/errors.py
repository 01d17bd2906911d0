"""The errors of siptls, all in one tree.

::

    SIPTLSError
    ├── ConfigurationError (ValueError)      what the application passed in cannot be meant
    ├── CertificateError                     a certificate or key that cannot be read or used
    ├── FramingError                         bytes that are no SIP message stream; final
    ├── HandshakeError                       no trusted connection came about
    │   ├── PeerRefusedError                 our policy refused the peer; .decision says why
    │   │     (ssl.SSLCertVerificationError)   (defined in trust/decision.py, beside Decision)
    │   ├── RefusedByPeerError               the peer refused us; .alert is its TLS alert
    │   └── HandshakeTimeout (TimeoutError)  the handshake did not end in time
    ├── ResolutionError                      no address for a name
    ├── ConnectionClosedError                the connection is gone, or never came about
    │   │ (ConnectionError)
    │   └── TrustLostError                   we accepted the peer, and trust it no more; .decision
    │                                          says why (defined in trust/decision.py)
    ├── LimitError                           one of our own limits was reached
    └── OperationTimeout (TimeoutError)      a wait did not end in its timeout=

Each error carries values, and its text ends with what an operator can do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Alert",
    "Attempt",
    "CertificateError",
    "ConfigurationError",
    "ConnectionClosedError",
    "FramingError",
    "HandshakeError",
    "HandshakeTimeout",
    "LimitError",
    "OperationTimeout",
    "RefusedByPeerError",
    "ResolutionError",
    "SIPTLSError",
]


@frozen
class Attempt:
    """One address that was tried, and how it ended.

    Attributes:
        address: ``(host, port)`` as given to the socket.
        host: The host name that led to the address, or None if it was given as an address.
        error: Why this attempt failed.
    """

    address: tuple[str, int]
    host: str | None
    error: Exception


class SIPTLSError(Exception):
    """Whatever siptls raises on purpose is one of these."""

    attempts: Sequence[Attempt] = ()
    """Filled where several addresses were tried: one entry for each."""


class ConfigurationError(SIPTLSError, ValueError):
    """An argument, or a file, that cannot be meant as it stands."""

    faults: Sequence[str] = ()
    """Of a file, every fault with its key."""


class CertificateError(SIPTLSError):
    """A certificate or a private key that cannot be read, or that does not fit the other."""


class FramingError(SIPTLSError):
    """The bytes are no stream of SIP messages (RFC 3261 §18.3). The connection cannot go on."""


class LimitError(SIPTLSError):
    """One of our own limits was reached."""


class OperationTimeout(SIPTLSError, TimeoutError):  # noqa: N818  named like HandshakeTimeout
    """A call did not come to its end within the ``timeout`` that it was given, or that it has."""


class HandshakeError(SIPTLSError):
    """No trusted connection came about."""


class HandshakeTimeout(HandshakeError, TimeoutError):  # noqa: N818  the contract's name
    """The handshake did not end within ``Limits.handshake_timeout``."""


class ResolutionError(SIPTLSError):
    """A name has no address, or could not be looked up.

    Attributes:
        negative: True if the answer is that there is none; False if no answer could be had.
    """

    def __init__(self, message: str, *, negative: bool = False) -> None:
        super().__init__(message)
        self.negative = negative


class ConnectionClosedError(SIPTLSError, ConnectionError):
    """The connection has ended, or could not be made.

    Attributes:
        orderly: True if both sides closed in order (TLS close_notify) and nothing was cut off.
        unacknowledged: Of a connection that broke, how many bytes of ours, as they go over the
            network, the peer's machine had not acknowledged: what was sent last may be lost. None
            if it did not break, or if the system does not tell.
    """

    def __init__(self, message: str, *, orderly: bool = False) -> None:
        super().__init__(message)
        self.orderly = orderly
        self.unacknowledged: int | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if not self.unacknowledged:
            return text
        return (
            f"{text}; of what we sent, the last {self.unacknowledged} bytes were not acknowledged"
        )


@frozen
class Alert:
    """A TLS alert (RFC 8446 §6).

    Attributes:
        code: The number on the wire, 0 to 255.
    """

    code: int

    @property
    def name(self) -> str:
        """The alert's name in RFC 8446, such as ``unknown_ca``."""
        return _ALERTS.get(self.code, ("unknown alert", ""))[0]

    @property
    def advice(self) -> str:
        """What the peer most likely disliked, in one sentence; may be empty."""
        return _ALERTS.get(self.code, ("", ""))[1]

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


class RefusedByPeerError(HandshakeError):
    """The peer ended the handshake with an alert.

    With TLS 1.3 a client learns this only when it first reads, after its own handshake looked
    finished: the server judges the client's certificate last.

    Attributes:
        alert: What it said.
        certificate_missing: True if it has asked for a certificate, and we had none to show: that
            is most likely why.
    """

    def __init__(self, alert: Alert, *, certificate_missing: bool = False) -> None:
        super().__init__(alert)
        self.alert = alert
        self.certificate_missing = certificate_missing

    def __str__(self) -> str:
        text = f"the peer refused the handshake with TLS alert {self.alert}"
        if self.certificate_missing:
            return f"{text}: it asked for a client certificate and got none; pass a credential"
        return f"{text}: {self.alert.advice}" if self.alert.advice else text


_OURS = "; ask the peer's operator what its log says about our certificate"
_ALERTS: dict[int, tuple[str, str]] = {
    0: ("close_notify", ""),
    10: ("unexpected_message", "the peer speaks another protocol, or another version of TLS"),
    20: ("bad_record_mac", "the bytes were damaged or altered on their way"),
    22: ("record_overflow", "the bytes were damaged or altered on their way"),
    40: (
        "handshake_failure",
        "no common TLS version or cipher, or it wants a client certificate and got none"
        " (TLS 1.2); pass a credential if it is a server that asks for one",
    ),
    42: (
        "bad_certificate",
        "it finds our certificate faulty, most likely expired, revoked or malformed" + _OURS,
    ),
    43: (
        "unsupported_certificate",
        "our certificate is not meant for this use, most likely its EKU lacks clientAuth"
        " (or serverAuth); get one for both, or have the peer accept it",
    ),
    44: ("certificate_revoked", "our certificate is revoked; replace it"),
    45: ("certificate_expired", "our certificate has expired; replace it"),
    46: (
        "certificate_unknown",
        "most likely it does not accept the names in our certificate" + _OURS,
    ),
    47: ("illegal_parameter", "the peer found a handshake message out of bounds"),
    48: (
        "unknown_ca",
        "it does not trust the CA of our certificate; give the peer that CA's root, and send"
        " our intermediate certificates",
    ),
    49: ("access_denied", "our certificate is valid but not on the peer's list"),
    50: ("decode_error", "the peer could not read a handshake message"),
    51: ("decrypt_error", "a signature in the handshake did not verify"),
    70: (
        "protocol_version",
        "the peer has no TLS version of ours (1.2 and 1.3); have one of them turned on there",
    ),
    71: ("insufficient_security", "the peer wants stronger ciphers or keys"),
    80: ("internal_error", "the peer refused without saying why"),
    86: ("inappropriate_fallback", "something between us and the peer lowers the TLS version"),
    90: ("user_canceled", ""),
    100: ("no_renegotiation", ""),
    109: ("missing_extension", "the peer misses a TLS extension"),
    110: ("unsupported_extension", "the peer does not know a TLS extension that was sent"),
    112: ("unrecognized_name", "the peer serves no such name; check the domain"),
    113: (
        "bad_certificate_status_response",
        "the stapled OCSP response is missing, out of date, bad, or tells of a revocation; pass a"
        " fresh one as Credential(staple=)",
    ),
    115: ("unknown_psk_identity", ""),
    116: ("certificate_required", "it wants a client certificate; pass a credential"),
    120: ("no_application_protocol", "the peer does not speak the offered ALPN protocol"),
}
