"""Facts: what stands in one certificate, for whoever looks at it. Nothing is judged here."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from attrs import frozen
from cryptography import x509

from siptls.trust.fault import describe, validity
from siptls.trust.names import printable
from siptls.trust.plain import certificate_dict
from siptls.trust.purposes import purposes_of

__all__ = ["Facts", "days_until"]

_DAY = timedelta(days=1)


@frozen
class Facts:
    """What stands in one certificate.

    Attributes:
        certificate: It.
        now: The time of the look; aware.
    """

    certificate: x509.Certificate
    now: datetime

    @property
    def description(self) -> str:
        """The certificate in a line: subject, and the starts of serial number and SHA-256."""
        return describe(self.certificate)

    @property
    def issuer(self) -> str:
        """The name of who has issued it, made printable."""
        try:
            return printable(self.certificate.issuer.rfc4514_string()) or "(empty name)"
        except Exception:  # noqa: BLE001  it is for people, and cryptography raises many kinds
            return "(name that cannot be decoded)"

    @property
    def is_self_signed(self) -> bool:
        """Whether it names itself as its issuer."""
        try:
            return self.certificate.issuer == self.certificate.subject
        except Exception:  # noqa: BLE001  as above
            return False

    @property
    def purposes(self) -> tuple[str, ...] | None:
        """The purposes in its EKU; None if it has none, or if they cannot be decoded."""
        try:
            return purposes_of(self.certificate)
        except Exception:  # noqa: BLE001  as above
            return None

    @property
    def validity(self) -> tuple[datetime, datetime] | None:
        """Its notBefore and notAfter; None if they cannot be decoded."""
        return validity(self.certificate)

    @property
    def days(self) -> int | None:
        """Whole days from now until its notAfter; negative once that has passed; None without."""
        return None if self.validity is None else days_until(self.validity[1], self.now)

    @property
    def has_ended(self) -> bool:
        """Whether its notAfter has passed."""
        return self.validity is not None and self.validity[1] < self.now

    @property
    def has_begun(self) -> bool:
        """Whether its notBefore has come."""
        return self.validity is None or self.validity[0] <= self.now

    def to_dict(self) -> dict[str, Any]:
        """Give them as plain data; see ``docs/reference/check-schema.md``."""
        return {
            **certificate_dict(self.certificate),
            "issuer": self.issuer,
            "self_signed": self.is_self_signed,
            "purposes": None if self.purposes is None else list(self.purposes),
            "days": self.days,
        }


def days_until(when: datetime, now: datetime) -> int:
    """Give whole days from one time to another; negative if that has passed."""
    return (when - now) // _DAY
