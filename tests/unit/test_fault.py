"""Fault: a reason taken apart; and how a certificate is named."""

from __future__ import annotations

import hashlib
import string
import subprocess
import sys
import warnings
from collections.abc import Iterable

import pytest
from certificates import INTEGER, NOW, SEQUENCE, VERSION_3, YEAR, element, make, make_ca
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from hypothesis import given
from hypothesis import strategies as st

from siptls import Code, Fault
from siptls.trust.fault import describe, serial_number


def test_the_sentence_is_made_of_the_parts() -> None:
    fault = Fault(Code.PATH_WEAK_KEY, "CN=a", "has a short key", "a long one", "RFC 9325")
    assert fault.reason == "CN=a has a short key; expected a long one"


def test_a_certificate_is_described_by_subject_serial_and_digest() -> None:
    root = make_ca("Contoso CA").certificate
    digest = hashlib.sha256(root.public_bytes(Encoding.DER)).hexdigest()[:16]
    serial = f"{root.serial_number:x}"[:8]
    assert describe(root) == f"CN=Contoso CA (serial {serial}…, sha256 {digest}…)"
    assert describe(make("").certificate).startswith("(empty subject) (serial ")


@pytest.mark.parametrize(
    ("number", "shown"), [(255, "ff"), (0x12345678, "12345678"), (0x123456789, "12345678…")]
)
def test_a_short_serial_number_is_shown_whole(number: int, shown: str) -> None:
    assert f" (serial {shown}, " in describe(with_serial(number))


def test_a_subject_that_cannot_be_decoded_is_described_as_such() -> None:
    der = make("leaf").certificate.public_bytes(Encoding.DER)
    broken = x509.load_der_x509_certificate(der.replace(b"leaf", b"\xff\xfe\xfd\xfc"))
    assert describe(broken).startswith("(subject that cannot be decoded) (serial ")


@pytest.mark.parametrize("subject", ["a\nb", "a\x1b[2Jb", "a\u202eb", "x" * 64])
def test_a_description_is_one_printable_line(subject: str) -> None:
    """The subject is a stranger's: it may hold what a terminal obeys."""
    described = describe(make(subject).certificate)
    assert described.isprintable()
    assert described.startswith("CN=")


LONG_NAMES = """
import sys
from cryptography import x509
from siptls import Evidence, Role
from datetime import datetime, UTC
from siptls.trust.fault import describe
certificate = x509.load_der_x509_certificate(sys.stdin.buffer.read())
print(describe(certificate))
print(Evidence([certificate], Role.CLIENT, now=datetime.now(UTC)).fault)
"""


@pytest.mark.parametrize("warned", ["default", "always", "error"])
def test_names_of_any_length_write_nothing_on_our_standard_error(warned: str) -> None:
    """Nor are they refused where warnings are errors. pytest has filters: hence the process."""
    ended = subprocess.run(
        [sys.executable, "-W", warned, "-c", LONG_NAMES],
        input=with_long_names(range(65, 75)).public_bytes(Encoding.DER),
        capture_output=True,
        timeout=60,
        check=False,
    )
    described, fault = ended.stdout.decode().splitlines()
    assert (described[:6], fault, ended.stderr) == ("CN=xxx", "None", b"")


def with_long_names(lengths: Iterable[int]) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        name = x509.Name(
            x509.NameAttribute(kind, "x" * length, _validate=False)
            for length in lengths
            for kind in (x509.NameOID.COUNTRY_NAME, x509.NameOID.COMMON_NAME)
        )
    san = x509.SubjectAlternativeName([x509.DirectoryName(name)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW - YEAR).not_valid_after(NOW + YEAR)
    return builder.add_extension(san, critical=False).sign(key, hashes.SHA256())


# ---------------------------------------------------------------- serial numbers


def with_serial(number: int, subject: str = "leaf") -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(number)
    builder = builder.not_valid_before(NOW - YEAR).not_valid_after(NOW + YEAR)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize("number", [1, 127, 128, 255, 256, 2**63, 2**159 - 1])
def test_a_serial_number_is_read_as_it_is(number: int) -> None:
    assert serial_number(with_serial(number)) == number


@given(
    st.integers(0, 2**159 - 1) | st.integers(-(2**2400), 2**2400),
    st.text(string.ascii_letters, min_size=1, max_size=64),
    st.booleans(),
)
def test_any_serial_number_is_read_as_it_is(number: int, subject: str, old: bool) -> None:
    """Negative, or of hundreds of bytes: what ``cryptography`` reads is what we read."""
    certificate = rebuilt(with_serial(1, subject), number, old=old)
    assert certificate.version is (x509.Version.v1 if old else x509.Version.v3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        expected = certificate.serial_number
    assert expected == number
    with warnings.catch_warnings():
        # The library warns whoever looks at one that is not positive: a stranger would write on
        # our standard error.
        warnings.simplefilter("error")
        assert serial_number(certificate) == number


def rebuilt(certificate: x509.Certificate, number: int, *, old: bool) -> x509.Certificate:
    """Put another number into a certificate with the number 1; its signature becomes void.

    Without an explicit version the serial number is the first field (RFC 5280 §4.1).
    """
    tbs = certificate.tbs_certificate_bytes
    rest = certificate.public_bytes(Encoding.DER).split(tbs)[1]
    version, fields = tbs.split(VERSION_3 + b"\x02\x01\x01")
    assert version[0] == SEQUENCE
    shortest = number.to_bytes((number + (number < 0)).bit_length() // 8 + 1, "big", signed=True)
    fields = element(INTEGER, shortest) + fields
    if not old:
        fields = VERSION_3 + fields
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return x509.load_der_x509_certificate(element(SEQUENCE, element(SEQUENCE, fields) + rest))
