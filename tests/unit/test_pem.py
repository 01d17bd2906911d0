"""Reading PEM: from paths and from bytes, and what is said when it cannot be read."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from certificates import make, make_ca
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from siptls import pem
from siptls.errors import CertificateError, ConfigurationError

NAME = "the file"


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def two() -> list[bytes]:
    """Two certificates."""
    return [
        made.certificate.public_bytes(Encoding.PEM) for made in (make_ca("First"), make_ca("Next"))
    ]


def write(
    key: Any, password: bytes | None = None, form: PrivateFormat = PrivateFormat.PKCS8
) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return bytes(key.private_bytes(Encoding.PEM, form, encryption))


def public(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_read_and_named(tmp_path: Path, kind: type[str | Path]) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(b"what it holds\r\n\xff")
    assert pem.read(kind(path)) == (str(path), b"what it holds\r\n\xff")


def test_what_is_read_is_noted(tmp_path: Path) -> None:
    """With what it held: the first time, if it is read twice. Outside nothing is noted."""
    path, gone = tmp_path / "ca.pem", tmp_path / "gone.pem"
    path.write_bytes(b"first")
    with pem.noted() as notes:
        pem.read(path)
        pem.read(b"no path")
        first = pem.content(str(path))
        path.write_bytes(b"second")
        pem.read(str(path))
        for wrong in (gone, tmp_path):
            with pytest.raises(ConfigurationError, match="cannot read"):
                pem.read(wrong)
    pem.read(path)
    assert notes == {
        str(path): first,
        str(gone): "No such file or directory",
        str(tmp_path): "Is a directory",
    }
    assert pem.content(str(gone)) == notes[str(gone)]
    assert pem.content(str(path)) not in {first, notes[str(gone)]}
    assert pem.content("a\0b") == "embedded null byte"


def test_bytes_are_the_pem_text_itself() -> None:
    """They are never taken for a path, whatever they look like."""
    assert pem.read(b"/etc/hostname") == ("the PEM text given", b"/etc/hostname")
    assert pem.read(b"") == ("the PEM text given", b"")


@pytest.mark.parametrize("before", ["", "\n", "  \r\n\t"])
@pytest.mark.parametrize("kind", ["CERTIFICATE", "PRIVATE KEY", "RSA PRIVATE KEY"])
def test_pem_text_as_str_is_told_from_a_path(before: str, kind: str) -> None:
    """The text may be a private key, so none of it may stand in the message."""
    text = f"{before}-----BEGIN {kind}-----\nc2VjcmV0\n-----END {kind}-----\n"
    with pytest.raises(ConfigurationError, match="pass it as bytes") as caught:
        pem.read(text)
    assert "c2VjcmV0" not in str(caught.value)


def test_binary_data_is_told_from_a_file_without_certificates() -> None:
    """A CA of Windows exports DER unless it is told not to."""
    der = make_ca("First").certificate.public_bytes(Encoding.DER)
    with pytest.raises(CertificateError, match=r"ca\.cer is in binary form .*-inform DER"):
        pem.certificates("ca.cer", der)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere.pem")
    with pytest.raises(ConfigurationError) as caught:
        pem.read(path)
    assert f"cannot read {path!r}: " in str(caught.value)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_directory_is_no_pem_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        pem.read(tmp_path)


@pytest.mark.parametrize("path", ["ca\0.pem", "\0", "", "a" * 5000])
def test_a_path_that_can_be_none_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        pem.read(path)


@pytest.mark.parametrize(
    ("source", "kind"),
    [(None, "NoneType"), (7, "int"), (bytearray(b"x"), "bytearray"), (["ca.pem"], "list")],
)
def test_anything_else_is_no_source(source: Any, kind: str) -> None:
    """In particular no integer, which open() would take for a file descriptor."""
    with pytest.raises(ConfigurationError, match=f"not {kind}$"):
        pem.read(source)


# ---------------------------------------------------------------- certificates


def test_certificates_are_read_in_their_order(two: list[bytes]) -> None:
    for order in (two, two[::-1]):
        found = pem.certificates(NAME, b"".join(order))
        assert [c.public_bytes(Encoding.PEM) for c in found] == order


def test_what_stands_around_certificates_does_no_harm(
    two: list[bytes], key: ec.EllipticCurvePrivateKey
) -> None:
    """A bundle has comments, and a server's file has its key."""
    data = b"# subject=First\n" + two[0] + b"\n\n" + write(key) + b"friendlyName: x\n" + two[1]
    found = pem.certificates(NAME, data)
    assert [c.public_bytes(Encoding.PEM) for c in found] == two


def test_lines_may_end_as_windows_ends_them(two: list[bytes]) -> None:
    found = pem.certificates(NAME, two[0].replace(b"\n", b"\r\n"))
    assert [c.public_bytes(Encoding.PEM) for c in found] == two[:1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no PEM at all",
        b"\0\xff\xfe",
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
    ],
)
def test_no_certificate_is_no_error_here(data: bytes) -> None:
    assert pem.certificates(NAME, data) == []


def broken(certificate: bytes) -> list[bytes]:
    lines = certificate.splitlines(keepends=True)
    return [
        b"".join(lines[:3]),  # cut off
        lines[0] + lines[-1],  # empty
        lines[0] + b"".join(lines[2:]),  # a line is missing
        lines[0] + b"!!!!\n" + lines[-1],  # no base64
        lines[0] + b"aGVsbG8=\n" + lines[-1],  # no certificate
    ]


@pytest.mark.parametrize("which", range(5))
def test_a_broken_certificate_is_an_error(two: list[bytes], which: int) -> None:
    with pytest.raises(CertificateError, match=r"^the file has a certificate that"):
        pem.certificates(NAME, broken(two[0])[which])


def test_a_certificate_of_a_version_that_nobody_knows_is_an_error() -> None:
    """What cryptography raises of it is no ValueError."""
    der = make("leaf").certificate.public_bytes(Encoding.DER)
    odd = der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020142"), 1)
    text = b"-----BEGIN CERTIFICATE-----\n" + b64encode(odd) + b"\n-----END CERTIFICATE-----\n"
    with pytest.raises(CertificateError, match=r"that cannot be read \(66 is not a valid X509"):
        pem.certificates(NAME, text)


def test_a_broken_certificate_beside_a_sound_one_is_an_error(two: list[bytes]) -> None:
    """An anchor that is silently missing would be found out in the middle of the night."""
    with pytest.raises(CertificateError, match="cut off or edited"):
        pem.certificates(NAME, two[0] + broken(two[1])[2])


# ---------------------------------------------------------------- private keys


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("password", [None, b"needless"])
def test_a_plain_key_is_read_with_and_without_a_password(
    key: ec.EllipticCurvePrivateKey, form: PrivateFormat, password: bytes | None
) -> None:
    """A password that nothing needs is none of our business."""
    (found,) = pem.private_keys(NAME, write(key, form=form), password)
    assert public(found) == public(key)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_opens_with_its_password_only(
    key: ec.EllipticCurvePrivateKey, form: PrivateFormat
) -> None:
    data = write(key, b"right", form)
    (found,) = pem.private_keys(NAME, data, b"right")
    assert public(found) == public(key)
    with pytest.raises(CertificateError, match="is the password right") as caught:
        pem.private_keys(NAME, data, b"wrong")
    assert "wrong" not in str(caught.value)
    with pytest.raises(CertificateError, match="the file is encrypted: pass password="):
        pem.private_keys(NAME, data, None)


def test_an_empty_password_opens_no_encrypted_key(key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(CertificateError, match="the private key in the file"):
        pem.private_keys(NAME, write(key, b"right"), b"")


def test_two_keys_are_both_read_in_their_order(key: ec.EllipticCurvePrivateKey) -> None:
    """Which of them is meant is not decided here; each may be of its own kind and form."""
    other = ed25519.Ed25519PrivateKey.generate()
    plain = write(key, form=PrivateFormat.TraditionalOpenSSL)
    found = pem.private_keys(NAME, plain + write(other, b"right"), b"right")
    assert [public(one) for one in found] == [public(key), public(other)]
    swapped = pem.private_keys(NAME, write(other) + b"and\n" + plain, None)
    assert [public(one) for one in swapped] == [public(other), public(key)]


def test_what_stands_around_a_key_does_no_harm(
    two: list[bytes], key: ec.EllipticCurvePrivateKey
) -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    data = b"Bag Attributes\n" + parameters + write(key) + two[0]
    (found,) = pem.private_keys(NAME, data, None)
    assert public(found) == public(key)


@pytest.mark.parametrize("data", [b"", b"no PEM at all", b"\0\xff\xfe"])
def test_no_key_is_no_error_here(data: bytes) -> None:
    assert pem.private_keys(NAME, data, None) == []


def test_a_certificate_and_a_public_key_are_no_private_keys(two: list[bytes]) -> None:
    made = make("leaf")
    key = made.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert pem.private_keys(NAME, two[0] + key, None) == []


@pytest.mark.parametrize("kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"])
@pytest.mark.parametrize("body", ["aGVsbG8=", "!!!!"])
def test_a_broken_key_is_an_error_that_does_not_show_it(kind: str, body: str) -> None:
    data = f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n".encode()
    with pytest.raises(CertificateError, match="cannot read the private key in the file") as caught:
        pem.private_keys(NAME, data, None)
    assert "cut off or edited" in str(caught.value)
    assert body not in str(caught.value)


def test_a_broken_encrypted_key_is_an_error() -> None:
    data = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----"
    with pytest.raises(CertificateError, match="is the password right"):
        pem.private_keys(NAME, data, b"any")


def test_a_key_in_a_form_that_we_do_not_read_is_an_error(key: ec.EllipticCurvePrivateKey) -> None:
    """OpenSSH's own form is no PKIX: better refused with a word than passed over."""
    with pytest.raises(CertificateError, match="cannot read the private key"):
        pem.private_keys(NAME, write(key, form=PrivateFormat.OpenSSH), None)


def test_a_key_that_is_cut_off_is_an_error() -> None:
    with pytest.raises(CertificateError, match="cut off"):
        pem.private_keys("f", b"-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n", None)


def test_pem_text_that_is_taken_for_a_path_is_not_shown() -> None:
    """It may hold a private key, wherever in the text it stands."""
    text = "Bag Attributes\n-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"
    with pytest.raises(ConfigurationError, match="as bytes") as caught:
        pem.read(text)
    assert "SECRET" not in str(caught.value)


def test_a_pipe_is_no_file_that_is_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.pem"
    os.mkfifo(pipe)
    with pytest.raises(ConfigurationError, match="no regular file"):
        pem.read(pipe)
    assert pem.content(str(pipe)) == "it is no regular file"


def test_a_device_that_never_ends_is_not_read() -> None:
    with pytest.raises(ConfigurationError, match="no regular file"):
        pem.read("/dev/zero")


def test_a_file_of_any_size_is_not_read_whole(tmp_path: Path) -> None:
    large = tmp_path / "large.pem"
    with large.open("wb") as file:
        file.truncate((1 << 27) + 1)  # it takes no room on the disk
    with pytest.raises(ConfigurationError, match="134217728 are the most"):
        pem.read(large)


def test_what_becomes_a_pipe_while_it_is_looked_at_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a log of the kernel, which is a regular file, and gives nothing."""
    pipe, file = tmp_path / "pipe.pem", tmp_path / "file.pem"
    os.mkfifo(pipe)
    file.touch()
    found = file.stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: found)
    writer = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        with pytest.raises(ConfigurationError, match="nothing to read"):
            pem.read(pipe)
    finally:
        os.close(writer)


def test_a_file_whose_size_is_told_as_less_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.pem"
    file.write_bytes(bytes(20))
    monkeypatch.setattr(pem, "_PIECE", 8)
    assert pem.read(file)[1] == bytes(20)
    found = file.stat()
    monkeypatch.setattr(pem, "_MAX_FILE", 20)
    file.write_bytes(bytes(21))
    monkeypatch.setattr(Path, "stat", lambda *_, **__: found)
    with pytest.raises(ConfigurationError, match="more than 20 bytes"):
        pem.read(file)
