"""Certificates that no decent CA issues: what `siptls.testing.CertificateAuthority` cannot make.

Each has fixed dates around `NOW`, so that no test depends on the day on which it runs.
"""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from siptls.trust.evidence import Evidence, Role
from siptls.trust.names import ReferenceIdentity

NOW = dt.datetime(2030, 6, 1, 12, tzinfo=dt.UTC)
YEAR = dt.timedelta(days=365)
SECOND = dt.timedelta(seconds=1)

CA = x509.BasicConstraints(ca=True, path_length=None)
END_ENTITY = x509.BasicConstraints(ca=False, path_length=None)

Extension = tuple[x509.ExtensionType, bool]


@frozen
class Made:
    """A certificate and its private key (None if only the public key was given)."""

    certificate: x509.Certificate
    key: Any


def named(common_name: str) -> x509.Name:
    """Give a subject; the empty one for an empty name."""
    if not common_name:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def make(
    subject: str,
    issuer: Made | None = None,
    *extensions: Extension,
    key: Any = None,
    public_key: Any = None,
    not_before: dt.datetime = NOW - YEAR,
    not_after: dt.datetime = NOW + YEAR,
    issued_by: str | None = None,
) -> Made:
    """Make a certificate with these extensions and no others, signed by the issuer or by itself.

    ``public_key`` is for keys of which there is no private half; ``issued_by`` claims another
    issuer's name than that of who signs.
    """
    private = ec.generate_private_key(ec.SECP256R1()) if key is None else key
    above = named(subject) if issuer is None else issuer.certificate.subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(above if issued_by is None else named(issued_by))
        .public_key(private.public_key() if public_key is None else public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = private if issuer is None else issuer.key
    algorithm = None if "Ed" in type(signer).__name__ else hashes.SHA256()
    certificate = builder.sign(signer, algorithm)
    return Made(certificate, None if public_key is not None else private)


def make_ca(subject: str, issuer: Made | None = None, *more: Extension, **options: Any) -> Made:
    """Make a CA that is as bare as it may be: basicConstraints with cA, and what is asked for."""
    return make(subject, issuer, (CA, True), *more, **options)


def make_leaf(
    issuer: Made,
    *names: str,
    more: Sequence[Extension] = (),
    subject: str = "leaf",
    critical: bool = False,
    **options: Any,
) -> Made:
    """Make a leaf with a subjectAltName of these names (none: no extension), and what is added."""
    san = [(x509.SubjectAlternativeName(general_names(names)), critical)] if names else []
    return make(subject, issuer, *san, *more, **options)


def general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Give URIs for what has a scheme, and dNSNames for what has none."""
    return [
        x509.UniformResourceIdentifier(name) if ":" in name else x509.DNSName(name)
        for name in names
    ]


def key_usage(*, key_cert_sign: bool, digital_signature: bool = False) -> Extension:
    """Give a critical keyUsage."""
    usage = x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return usage, True


def constraints(
    *, permitted: Sequence[str] | None = None, excluded: Sequence[str] | None = None
) -> Extension:
    """Give critical nameConstraints of dNSNames."""
    trees = [
        None if names is None else [x509.DNSName(name) for name in names]
        for names in (permitted, excluded)
    ]
    return x509.NameConstraints(*trees), True


def purposes(*oids: x509.ObjectIdentifier) -> Extension:
    """Give an extended key usage."""
    return x509.ExtendedKeyUsage(oids), False


def raw(oid: str, der: bytes, *, critical: bool) -> Extension:
    """Give an extension of any bytes at all, decodable or not."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), der), critical


def show(
    *chain: Made | x509.Certificate,
    role: Role | str = Role.CLIENT,
    reference: str | ReferenceIdentity | None = None,
    now: dt.datetime = NOW,
    **limits: int,
) -> Evidence:
    """Give the evidence of a peer that shows these certificates, at `NOW`."""
    certificates = [made.certificate if isinstance(made, Made) else made for made in chain]
    expected = None if reference is None else ReferenceIdentity.parse(reference)
    return Evidence(certificates, Role(role), now=now, reference=expected, **limits)


P256_OID = bytes.fromhex("06082a8648ce3d030107")
UNKNOWN_CURVE = bytes.fromhex("06082a8648ce3d030102")


def altered(made: Made, old: bytes, new: bytes) -> x509.Certificate:
    """Give a certificate with other bytes in it; its signature does not matter here."""
    der = made.certificate.public_bytes(Encoding.DER)
    assert old in der
    assert len(old) == len(new)
    return x509.load_der_x509_certificate(der.replace(old, new))


def with_serial(made: Made, number: int, issuer: Made) -> Made:
    """Give the same certificate with any serial number, negative ones too, signed by its issuer."""
    tbs = made.certificate.tbs_certificate_bytes
    fields = tbs[2 + (tbs[1] & 0x7F if tbs[1] & 0x80 else 0) :]
    old = _integer(made.certificate.serial_number)
    assert fields.startswith(VERSION_3 + old)
    new = element(SEQUENCE, fields.replace(old, _integer(number), 1))
    signature = issuer.key.sign(new, ec.ECDSA(hashes.SHA256()))
    der = element(SEQUENCE, new + ECDSA_SHA256 + element(BIT_STRING, b"\x00" + signature))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # of numbers below 1
        return Made(x509.load_der_x509_certificate(der), made.key)


def with_sha1(made: Made, issuer: Made) -> Made:
    """Give the same certificate, signed by its issuer with SHA-1, as no library does now."""
    tbs = made.certificate.tbs_certificate_bytes
    changed = tbs[2 + (tbs[1] & 0x7F if tbs[1] & 0x80 else 0) :].replace(
        ECDSA_SHA256, ECDSA_SHA1, 1
    )
    new = element(SEQUENCE, changed)
    signature = issuer.key.sign(new, ec.ECDSA(hashes.SHA1()))
    der = element(SEQUENCE, new + ECDSA_SHA1 + element(BIT_STRING, b"\x00" + signature))
    return Made(x509.load_der_x509_certificate(der), made.key)


INTEGER, BIT_STRING, SEQUENCE = 0x02, 0x03, 0x30
VERSION_3 = bytes.fromhex("a003020102")
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")


def element(tag: int, content: bytes) -> bytes:
    """Give a DER element, its length in as few bytes as it needs."""
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _integer(number: int) -> bytes:
    size = (number + (number < 0)).bit_length() // 8 + 1
    return element(INTEGER, number.to_bytes(size, "big", signed=True))
