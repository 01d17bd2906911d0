"""What a CA for tests states about its certificates: CRLs and OCSP responses, faulty on request."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from siptls.errors import ConfigurationError
from siptls.wire.credential import PrivateKey

__all__ = ["Extension", "Hash", "StatusName", "make_crl", "make_ocsp", "period"]

Extension: TypeAlias = tuple[x509.ExtensionType, bool]
"""An extension, and whether it is critical."""

StatusName: TypeAlias = Literal["good", "revoked", "unknown", "tryLater"]
"""tryLater is no status, but the error that a responder gives in place of one."""

Hash: TypeAlias = Literal["SHA-1", "SHA-256"]

_STATUSES = {
    "good": ocsp.OCSPCertStatus.GOOD,
    "revoked": ocsp.OCSPCertStatus.REVOKED,
    "unknown": ocsp.OCSPCertStatus.UNKNOWN,
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA-1": hashes.SHA1(),  # noqa: S303  a look-up, as most responders have it
    "SHA-256": hashes.SHA256(),
}
_HOUR, _WEEK = dt.timedelta(hours=1), dt.timedelta(days=7)


def period(
    this_update: dt.datetime | None, next_update: dt.datetime | None
) -> tuple[dt.datetime, dt.datetime]:
    """Give thisUpdate and nextUpdate: from an hour ago, for a week, unless told otherwise."""
    now = dt.datetime.now(dt.UTC)
    for given in (this_update, next_update):
        if given is not None and given.utcoffset() is None:
            raise ConfigurationError(f"this_update and next_update are aware, unlike {given!r}")
    end = max(now, this_update or now) + _WEEK if next_update is None else next_update
    return (min(now, end) - _HOUR if this_update is None else this_update), end


def make_crl(  # noqa: PLR0913  a CRL has as many fields
    *,
    issuer: x509.Name,
    revoked: Iterable[x509.Certificate],
    validity: tuple[dt.datetime, dt.datetime],
    extensions: Iterable[Extension],
    entry_extensions: Iterable[Extension],
    key: PrivateKey,
    is_seeded: bool | None,
) -> bytes:
    """Make a CRL in DER form; each of the revoked since thisUpdate."""
    begin, end = validity
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer)
        .last_update(begin)
        .next_update(end)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    added = tuple(entry_extensions)
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
        entry = entry.revocation_date(begin)
        for extension, critical in added:
            entry = entry.add_extension(extension, critical=critical)
        builder = builder.add_revoked_certificate(entry.build())
    signed = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=is_seeded)
    return signed.public_bytes(Encoding.DER)


def make_ocsp(  # noqa: PLR0913  a response has as many fields
    *,
    about: tuple[x509.Certificate, x509.Certificate],
    status: StatusName,
    algorithm: Hash,
    validity: tuple[dt.datetime, dt.datetime | None],
    reason: x509.ReasonFlags | None,
    responder: tuple[x509.Certificate, PrivateKey],
    extensions: Iterable[Extension],
    certificates: list[x509.Certificate],
    key: PrivateKey,
    by_name: bool,
) -> bytes:
    """Make an OCSP response in DER form, about a certificate and its issuer."""
    if status == "tryLater":
        failure = ocsp.OCSPResponseStatus.TRY_LATER
        return ocsp.OCSPResponseBuilder.build_unsuccessful(failure).public_bytes(Encoding.DER)
    for value, known in ((status, _STATUSES), (algorithm, _HASHES)):
        if value not in known:
            raise ConfigurationError(f"{value!r} is none of {', '.join(known)}")
    encoding = ocsp.OCSPResponderEncoding
    begin, end = validity
    is_revoked = status == "revoked"
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            *about,
            _HASHES[algorithm],
            _STATUSES[status],
            begin,
            end,
            begin if is_revoked else None,
            reason if is_revoked else None,
        )
        .responder_id(encoding.NAME if by_name else encoding.HASH, responder[0])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    made = builder.sign(responder[1], hashes.SHA256())
    # `cryptography` writes the present time as producedAt, and signs with a random number.
    tbs = made.tbs_response_bytes
    tbs = tbs.replace(_time(made.produced_at_utc), _time(begin.astimezone(dt.UTC)), 1)
    return _signed(tbs, certificates, key)


def _time(when: dt.datetime) -> bytes:
    return _element(_GENERALIZED_TIME, when.strftime("%Y%m%d%H%M%SZ").encode())


# ---------------------------------------------------------------- DER

_ENUMERATED, _BIT_STRING, _OCTETS, _SEQUENCE, _EXPLICIT = 0x0A, 0x03, 0x04, 0x30, 0xA0
_GENERALIZED_TIME, _LONG_FORM = 0x18, 0x80
_BASIC = bytes.fromhex("06092b0601050507300101")  # id-pkix-ocsp-basic
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")


def _signed(tbs: bytes, certificates: list[x509.Certificate], key: PrivateKey) -> bytes:
    """Give the response around what is signed (RFC 6960 §4.2.1)."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        named = _ECDSA_SHA256
        signature = key.sign(tbs, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    else:
        named = _RSA_SHA256
        signature = key.sign(tbs, padding.PKCS1v15(), hashes.SHA256())
    basic = tbs + named + _element(_BIT_STRING, b"\x00" + signature)
    if certificates:
        ders = b"".join(c.public_bytes(Encoding.DER) for c in certificates)
        basic += _element(_EXPLICIT, _element(_SEQUENCE, ders))
    octets = _element(_OCTETS, _element(_SEQUENCE, basic))
    inside = _element(_EXPLICIT, _element(_SEQUENCE, _BASIC + octets))
    return _element(_SEQUENCE, _element(_ENUMERATED, b"\x00") + inside)


def _element(tag: int, content: bytes) -> bytes:
    """Give a DER element, its length in as few bytes as it needs."""
    if len(content) < _LONG_FORM:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, _LONG_FORM | len(length)]) + length + content
