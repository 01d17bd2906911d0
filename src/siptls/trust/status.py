"""Status: what one CRL, or one OCSP response, says about one certificate."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

__all__ = ["UNREADABLE", "Answer", "Status", "is_strong", "revoked"]

# What ``cryptography`` raises about what it cannot read.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    KeyError,  # cryptography 49, of a name that is no string
)

# What the path builder takes in certificates, too. SHA-1 has collisions.
_STRONG = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class Status(StrEnum):
    """Whether a certificate is revoked."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@frozen
class Answer:
    """What is said about a certificate, and by whom.

    Attributes:
        status: The status.
        told: For an operator: who says so, or why it is not known.
        until: When a good status ends; aware. None for the others.
    """

    status: Status
    told: str
    until: datetime | None = None


def revoked(by: str, when: datetime, reason: x509.ReasonFlags | None, *, stale: bool) -> Answer:
    """Say that a certificate is revoked.

    A revocation does not lapse: that who says so is stale changes nothing. But a hold may have been
    lifted since (RFC 5280 §5.3.1).
    """
    if stale and reason is x509.ReasonFlags.certificate_hold:
        return Answer(Status.UNKNOWN, f"{by} is stale, and tells of a hold that may be over")
    why = "no reason is told" if reason is None else reason.value
    return Answer(Status.REVOKED, f"was revoked at {when.isoformat()} ({why}), says {by}")


def is_strong(algorithm: hashes.HashAlgorithm | None) -> bool:
    """Whether a signature over this hash proves anything."""
    return isinstance(algorithm, _STRONG)
