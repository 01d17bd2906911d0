"""The CAs, certificates and statements that certificate targets share: the same in each run."""

from __future__ import annotations

import datetime as dt
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.testing import CertificateAuthority
from siptls.testing.statements import _element

__all__ = ["CONTOSO", "FABRIKAM", "NOW", "VALID", "content", "der", "signed"]

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_YEAR = dt.timedelta(days=365)
VALID: dict[str, Any] = {"not_before": NOW - _YEAR, "not_after": NOW + _YEAR}

CONTOSO = CertificateAuthority("Contoso CA", seed="fuzz", **VALID)
FABRIKAM = CertificateAuthority("Fabrikam CA", seed="fuzz", **VALID)

_BIT_STRING, _SEQUENCE, _LONG_FORM = 0x03, 0x30, 0x80
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_ALGORITHM = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


def der(certificate: x509.Certificate) -> bytes:
    """Give a certificate as DER."""
    return certificate.public_bytes(Encoding.DER)


def content(element: bytes) -> bytes:
    """Give the content of a DER element."""
    return element[2 + (element[1] & 0x7F if element[1] & _LONG_FORM else 0) :]


def signed(fields: bytes, ca: CertificateAuthority) -> bytes:
    """Give a certificate, or a CRL, of any fields, be they sound or not, that a CA has signed."""
    assert isinstance(ca.key, ec.EllipticCurvePrivateKey)
    tbs = _element(_SEQUENCE, fields)
    signature = ca.key.sign(tbs, _ALGORITHM)
    return _element(_SEQUENCE, tbs + _ECDSA_SHA256 + _element(_BIT_STRING, b"\0" + signature))
