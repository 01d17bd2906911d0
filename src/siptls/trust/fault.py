"""Fault: one reason for which a peer is not believed, taken apart into what an operator asks.

Which rule? About which certificate? What was found, and what was expected? Every rule of siptls
answers with a `Fault`, or with None if it holds; the sentence is made from the parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.trust.codes import Code
from siptls.trust.names import printable

_SHORT = 8  # hexadecimal digits of a serial number, which may have 40

__all__ = ["Fault", "describe", "describe_all", "serial_number", "validity"]


@frozen
class Fault:
    """What forbids believing a peer.

    Attributes:
        code: The reason code.
        about: What the rule was applied to: mostly a certificate, with its
            subject, serial number and the start of its SHA-256.
        found: What was found, as the rest of a sentence: ``"has an RSA key of 1024 bits"``.
        expected: What was expected, as a thing: ``"at least 2048 bits"``.
        rule: Where the rule stands: an RFC with its section, or a policy; empty for a matter of
            course.
    """

    code: Code
    about: str
    found: str
    expected: str
    rule: str = ""

    @property
    def reason(self) -> str:
        """The sentence."""
        return f"{self.about} {self.found}; expected {self.expected}"


def describe(certificate: x509.Certificate) -> str:
    """Name a certificate in a line: subject, and the starts of its serial number and SHA-256."""
    try:
        subject = printable(certificate.subject.rfc4514_string()) or "(empty subject)"
    except Exception:  # noqa: BLE001  it is for a message, which must not fail
        subject = "(subject that cannot be decoded)"
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    serial = f"{serial_number(certificate):x}"
    short = serial if len(serial) <= _SHORT else f"{serial[:_SHORT]}…"
    return f"{subject} (serial {short}, sha256 {digest[:16]}…)"


def describe_all(chain: Iterable[x509.Certificate]) -> str:
    """Name certificates for a repr: their own fails where one of them cannot be decoded."""
    return f"[{', '.join(describe(certificate) for certificate in chain)}]"


def validity(certificate: x509.Certificate) -> tuple[datetime, datetime] | None:
    """Give notBefore and notAfter; None if they cannot be decoded, as a year 0 cannot."""
    try:
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except ValueError:
        return None


def serial_number(certificate: x509.Certificate) -> int:
    """Give a certificate's serial number, whatever it is.

    It is read from the encoding, since ``cryptography`` warns whoever looks at one that is not
    positive: a stranger would write on our standard error.
    """
    tbs = certificate.tbs_certificate_bytes
    start = _content(tbs, 0)[0]
    if tbs[start] == _VERSION:
        start = _content(tbs, start)[1]
    return int.from_bytes(tbs[slice(*_content(tbs, start))], "big", signed=True)


_VERSION, _LONG_FORM, _LENGTH = 0xA0, 0x80, 0x7F


def _content(der: bytes, start: int) -> tuple[int, int]:
    """Where the content of a DER element begins and ends; the element is known to be sound."""
    begin, length = start + 2, der[start + 1]
    if length >= _LONG_FORM:
        begin += length & _LENGTH
        length = int.from_bytes(der[start + 2 : begin], "big")
    return begin, begin + length
