"""Reading PEM: the one place where siptls opens a certificate or key file.

Files are read when an `Authority` or a `Credential` is built, never while a peer is judged. Whoever
watches files has them noted while something is built (`noted`): so he knows all that were read,
the faulty ones included, and is sure that what he compares is what was read.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from siptls.errors import CertificateError, ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

__all__ = ["Source", "certificates", "content", "noted", "private_keys", "read"]

Source: TypeAlias = "str | os.PathLike[str] | bytes"
"""A path, or PEM text itself as bytes."""

_KEY = re.compile(
    rb"-----BEGIN (?P<kind>(?:[A-Z]+ )?PRIVATE KEY)-----.+?-----END (?P=kind)-----", re.DOTALL
)
# A SEQUENCE of 128 bytes or more (X.690 §8.1.3), as every certificate is.
_DER = (b"\x30\x81", b"\x30\x82", b"\x30\x83")
# Bytes: a CRL of a large CA has some millions.
_MAX_FILE = 1 << 27
_PIECE = 1 << 20
_BEGIN_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")


def read(source: Source) -> tuple[str, bytes]:
    """Give a source's name, for messages, and its bytes.

    Raises:
        ConfigurationError: It is neither a path nor bytes, or the file cannot be read.
    """
    if isinstance(source, bytes):
        return "the PEM text given", source
    if not isinstance(source, str | os.PathLike):
        raise ConfigurationError(
            f"a PEM source is a path, or PEM text as bytes, not {type(source).__name__}"
        )
    path = os.fsdecode(source)
    if "-----BEGIN" in path or "\n" in path:
        # Its text is not repeated: it may hold a key.
        raise ConfigurationError("PEM text was given as str, which means a path: pass it as bytes")
    notes = _notes.get()
    try:
        data = _read(path)
    except (OSError, ValueError) as error:
        why = _why(error)
        if notes is not None:
            notes.setdefault(path, why)
        raise ConfigurationError(f"cannot read {path!r}: {why}; is the path right?") from error
    if notes is not None:
        notes.setdefault(path, _digest(data))
    return path, data


_notes: ContextVar[dict[str, str] | None] = ContextVar("notes", default=None)


@contextmanager
def noted() -> Iterator[dict[str, str]]:
    """Note each path that `read` is asked for meanwhile, in this thread, and its `content`.

    Of a file that is read twice, the first content counts.
    """
    notes: dict[str, str] = {}
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def content(path: str) -> str:
    """Give what stands for the content of a file: its SHA-256, or why it cannot be read."""
    try:
        return _digest(_read(path))
    except (OSError, ValueError) as error:
        return _why(error)


def _read(path: str) -> bytes:
    """Read a regular file of a bearable size: a pipe would wait for ever, a device never end."""
    if "\0" in path:
        raise ValueError("embedded null byte")  # each version of Python says it otherwise
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise ValueError("it is no regular file")
    if found.st_size > _MAX_FILE:
        raise ValueError(f"it has {found.st_size} bytes, and {_MAX_FILE} are the most")
    data = bytearray()
    # Unbuffered: what has nothing to give, such as a log of the kernel, says so with None.
    with open(path, "rb", buffering=0, opener=_without_waiting) as file:
        while piece := file.read(_PIECE):
            data += piece
            if len(data) > _MAX_FILE:  # its size may be told as 0
                raise ValueError(f"it has more than {_MAX_FILE} bytes")
    if piece is None:
        raise ValueError("it has nothing to read, and may never have")
    return bytes(data)


def _without_waiting(path: str, flags: int) -> int:
    """Open what may have become a pipe meanwhile."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _why(error: OSError | ValueError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)


def certificates(name: str, data: bytes) -> list[x509.Certificate]:
    """Read every certificate in PEM data, in its order; none is no error here.

    Raises:
        CertificateError: A certificate block cannot be decoded, or the data is no PEM.
    """
    if data.startswith(_DER):
        raise CertificateError(
            f"{name} is in binary form (DER or PKCS #12), and PEM is wanted; convert it: openssl"
            " x509 -inform DER -in ca.cer -out ca.pem, or openssl pkcs12 -in ours.pfx -out ours.pem"
            " -nodes"
        )
    if b"-----BEGIN CERTIFICATE-----" not in data:
        return []
    try:
        return [_dated(one) for one in x509.load_pem_x509_certificates(data)]
    except Exception as error:  # cryptography raises at least five kinds
        raise CertificateError(
            f"{name} has a certificate that cannot be read ({error}); is the file cut off or"
            " edited?"
        ) from error


def _dated(certificate: x509.Certificate) -> x509.Certificate:
    """Give a certificate back if its dates can be decoded: a year 0, or 29 February, may not be."""
    certificate.not_valid_before_utc  # noqa: B018
    certificate.not_valid_after_utc  # noqa: B018
    return certificate


def private_keys(name: str, data: bytes, password: bytes | None) -> list[PrivateKeyTypes]:
    """Read every private key in PEM data, in its order; none is no error here.

    Raises:
        CertificateError: A key cannot be decoded, or it is encrypted and the password does not
            open it.
    """
    blocks = [found.group() for found in _KEY.finditer(data)]
    if len(blocks) != len(_BEGIN_KEY.findall(data)):
        raise CertificateError(
            f"a private key in {name} has no end; is the file cut off or edited?"
        )
    return [_private_key(name, block, password) for block in blocks]


def _private_key(name: str, block: bytes, password: bytes | None) -> PrivateKeyTypes:
    encrypted = b"ENCRYPTED" in block
    if encrypted and password is None:
        raise CertificateError(f"the private key in {name} is encrypted: pass password=")
    try:
        return load_pem_private_key(block, password if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = "is the password right?" if encrypted else "is the file cut off or edited?"
        raise CertificateError(f"cannot read the private key in {name} ({error}); {why}") from error
