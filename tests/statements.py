"""CRLs and OCSP responses that no decent CA makes, and the CA whose they are, all around `NOW`."""

from __future__ import annotations

import datetime as dt
from typing import Any

from certificates import (
    BIT_STRING,
    ECDSA_SHA1,
    ECDSA_SHA256,
    NOW,
    SEQUENCE,
    YEAR,
    element,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

from siptls.testing import CertificateAuthority
from siptls.testing.statements import _signed
from siptls.wire.credential import Credential

DAY = dt.timedelta(days=1)
VALID: dict[str, Any] = {"not_before": NOW - YEAR, "not_after": NOW + YEAR}
FRESH: dict[str, Any] = {"this_update": NOW - DAY, "next_update": NOW + DAY}
STALE: dict[str, Any] = {"this_update": NOW - 9 * DAY, "next_update": NOW - DAY}
FUTURE: dict[str, Any] = {"this_update": NOW + DAY, "next_update": NOW + 9 * DAY}
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
UTC_TIME = 0x17

CONTOSO = CertificateAuthority("Contoso CA", seed="revocation", **VALID)
FABRIKAM = CertificateAuthority("Fabrikam CA", seed="revocation", **VALID)
NAMESAKE = CertificateAuthority("Contoso CA", seed="another", **VALID)
LEAF = CONTOSO.issue("sip:contoso.com", **VALID)
OTHER = CONTOSO.issue("sip:eu.contoso.com", **VALID)


def certificate(credential: Credential) -> x509.Certificate:
    return credential.chain[0]


def responder(ca: CertificateAuthority = CONTOSO, **options: Any) -> Credential:
    """Give a certificate that may sign the OCSP responses of the CA, unless told otherwise."""
    defaults = {"common_name": "Responder", "purposes": [OCSP_SIGNING], **VALID}
    return ca.issue(**{**defaults, **options})


def critical(oid: str = "1.2.3.4") -> tuple[x509.ExtensionType, bool]:
    """Give a critical extension that nobody knows."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x05\x00"), True


def _content(der: bytes) -> bytes:
    return der[2 + (der[1] & 0x7F if der[1] & 0x80 else 0) :]


def _sign(fields: bytes, algorithm: bytes, digest: hashes.HashAlgorithm, key: Any) -> bytes:
    tbs = element(SEQUENCE, fields)
    signature = key.sign(tbs, ec.ECDSA(digest))
    return element(SEQUENCE, tbs + algorithm + element(BIT_STRING, b"\x00" + signature))


def without_next_update(crl: bytes, key: Any) -> bytes:
    """Give the CRL without its nextUpdate, signed anew."""
    read = x509.load_der_x509_crl(crl)
    assert read.next_update_utc is not None
    end = element(UTC_TIME, read.next_update_utc.strftime("%y%m%d%H%M%SZ").encode())
    fields = _content(read.tbs_certlist_bytes)
    assert fields.count(end) == 1
    return _sign(fields.replace(end, b""), ECDSA_SHA256, hashes.SHA256(), key)


def with_sha1(crl: bytes, key: Any) -> bytes:
    """Give the CRL signed with SHA-1."""
    fields = _content(x509.load_der_x509_crl(crl).tbs_certlist_bytes)
    changed = fields.replace(ECDSA_SHA256, ECDSA_SHA1, 1)
    return _sign(changed, ECDSA_SHA1, hashes.SHA1(), key)


def with_answers(data: bytes, count: int, key: Any) -> bytes:
    """Give the OCSP response with its answer so many times, signed anew."""
    fields = _content(ocsp.load_der_ocsp_response(data).tbs_response_bytes)
    produced_at = fields.index(b"\x18\x0f")
    before, answers = fields[: produced_at + 17], fields[produced_at + 17 :]
    again = element(SEQUENCE, _content(answers) * count)
    return _signed(element(SEQUENCE, before + again), [], key)
