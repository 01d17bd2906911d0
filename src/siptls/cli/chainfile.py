"""A chain in a file, as a peer would show it: what `explain` and `lint` are given."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from siptls import pem
from siptls.errors import CertificateError
from siptls.trust.fault import validity

__all__ = ["read_chain"]


def read_chain(file: Path) -> tuple[x509.Certificate, ...]:
    """Read certificates from PEM, in their order; or one from DER.

    Of a private key beside them nothing is read.

    Raises:
        ConfigurationError: The file cannot be read.
        CertificateError: It has no certificate, or one that cannot be decoded.
    """
    name, data = pem.read(file)
    if b"-----BEGIN" in data:
        chain = tuple(pem.certificates(name, data))
        if not chain:
            raise CertificateError(f"{name} has no certificate; give the peer's own first")
        return chain
    try:
        certificate = x509.load_der_x509_certificate(data)
    except Exception as error:  # cryptography raises at least five kinds
        raise CertificateError(
            f"{name} is no certificate, neither in PEM form nor in DER"
        ) from error
    if validity(certificate) is None:
        raise CertificateError(f"{name} has a certificate whose dates cannot be read")
    return (certificate,)
