"""Credential: our certificate, its chain and its key, wherever in which files they stand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import attrs
import pytest
from certificates import (
    NOW,
    P256_OID,
    SECOND,
    UNKNOWN_CURVE,
    YEAR,
    Made,
    altered,
    make,
    make_ca,
    make_leaf,
)
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from domains import NO_DOMAIN_ANYWHERE
from hypothesis import given
from hypothesis import strategies as st
from staples import DAY, responder_error, staple, together

from siptls import CertificateError, ConfigurationError, Credential
from siptls.testing import CertificateAuthority, pem
from siptls.trust.evidence import MAX_STAPLE
from siptls.wire.credential import as_credentials, select, staple_at

P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ROOT = make_ca("Root")
INTERMEDIATE = make_ca("Intermediate", ROOT)
LEAF = make_leaf(INTERMEDIATE, "sip:contoso.com", "sip.contoso.com", key=P256)
CHAIN = (LEAF.certificate, INTERMEDIATE.certificate)
SECOND_LEAF = make_leaf(INTERMEDIATE, "sip:contoso.com")


def cert(made: Made) -> bytes:
    return made.certificate.public_bytes(Encoding.PEM)


def key(private: Any, password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


KEY = key(P256)
ENCRYPTED = key(P256, "gr\u00f6\u00dfe".encode())


# ---------------------------------------------------------------- from PEM


@pytest.mark.parametrize("kind", [str, Path, Path.read_bytes])
def test_one_file_may_hold_all(tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    file = tmp_path / "all.pem"
    file.write_bytes(b"# ours\n" + cert(LEAF) + KEY + cert(INTERMEDIATE))
    credential = Credential.from_pem(kind(file))
    assert credential.chain == CHAIN
    assert key(credential.key) == KEY


@pytest.mark.parametrize("order", [*permutations([cert(LEAF), cert(INTERMEDIATE), KEY])])
def test_the_leaf_is_first_wherever_it_stands(tmp_path: Path, order: tuple[bytes, ...]) -> None:
    """In one file, and in a file for each."""
    files = [tmp_path / str(number) for number in range(3)]
    for file, data in zip(files, order, strict=True):
        file.write_bytes(data)
    assert Credential.from_pem(b"".join(order)).chain == CHAIN
    assert Credential.from_pem(*files).chain == CHAIN
    assert Credential.from_pem(str(files[0]), *order[1:]).chain == CHAIN


def test_the_others_are_sent_along_in_their_order() -> None:
    for others in ((INTERMEDIATE, ROOT), (ROOT, INTERMEDIATE)):
        data = cert(others[0]) + cert(LEAF) + cert(others[1]) + KEY
        expected = (LEAF.certificate, *(other.certificate for other in others))
        assert Credential.from_pem(data).chain == expected


def test_our_certificate_is_not_sent_twice() -> None:
    """Its own file and a file with the whole chain are often given together."""
    both = cert(LEAF) + cert(INTERMEDIATE)
    assert Credential.from_pem(cert(LEAF), both, KEY).chain == CHAIN


def test_of_two_certificates_for_one_key_the_first_is_ours() -> None:
    """A renewal that keeps the key leaves both in one file, the new one on top as a rule."""
    renewed = make_leaf(INTERMEDIATE, "sip:contoso.com", key=P256)
    assert Credential.from_pem(cert(renewed) + cert(LEAF) + KEY).chain[0] == renewed.certificate
    assert Credential.from_pem(cert(LEAF) + cert(renewed) + KEY).chain[0] == LEAF.certificate


def test_a_certificate_that_is_given_twice_is_sent_once() -> None:
    """Whoever names the file of the chain and that of the intermediate names one twice."""
    twice = Credential.from_pem(cert(LEAF) + cert(INTERMEDIATE), cert(INTERMEDIATE) + KEY)
    assert twice.chain == (LEAF.certificate, INTERMEDIATE.certificate)


def test_an_rsa_key_and_its_certificate_belong_together() -> None:
    leaf = make("leaf", ROOT, key=RSA)
    assert Credential.from_pem(cert(ROOT) + cert(leaf) + key(RSA)).chain == (
        leaf.certificate,
        ROOT.certificate,
    )


@pytest.mark.parametrize("password", ["gr\u00f6\u00dfe".encode(), "gr\u00f6\u00dfe"])
def test_an_encrypted_key_is_opened_by_its_password(password: str | bytes) -> None:
    credential = Credential.from_pem(cert(LEAF), ENCRYPTED, password=password)
    assert key(credential.key) == KEY


@pytest.mark.parametrize(
    ("password", "match"),
    [(None, "is encrypted: pass password="), ("wr\u00f6ng", "is the password right"), (b"", ".")],
)
def test_an_encrypted_key_is_opened_by_nothing_else(
    password: str | bytes | None, match: str
) -> None:
    with pytest.raises(CertificateError, match=match) as caught:
        Credential.from_pem(cert(LEAF), ENCRYPTED, password=password)
    assert "wr" not in str(caught.value)


def test_a_password_that_nothing_needs_does_no_harm() -> None:
    assert Credential.from_pem(cert(LEAF), KEY, password="any").chain == CHAIN[:1]


# ---------------------------------------------------------------- what is no credential


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (cert(LEAF), "has no private key; one is wanted"),
        (b"", "has no private key; one is wanted"),
        (cert(LEAF) + KEY + KEY, "has 2 private keys; one is wanted"),
        (cert(LEAF) + KEY + key(RSA) + KEY, "has 3 private keys; one is wanted"),
        (KEY, "has no certificate; the key's own is wanted"),
    ],
)
def test_a_credential_has_one_key_and_a_certificate(data: bytes, found: str) -> None:
    with pytest.raises(CertificateError, match=f"^the PEM text given {found}"):
        Credential.from_pem(data)


def test_a_key_of_another_certificate_is_refused_and_the_certificate_named() -> None:
    with pytest.raises(CertificateError, match=r"does not belong to CN=Intermediate .*renewed"):
        Credential.from_pem(cert(INTERMEDIATE), cert(LEAF), key(RSA))
    with pytest.raises(CertificateError, match=r"does not belong to CN=leaf"):
        Credential(CHAIN, RSA)
    with pytest.raises(CertificateError, match=r"does not belong to CN=Intermediate"):
        Credential(CHAIN[::-1], P256)


def test_a_certificate_whose_key_cannot_be_read_is_not_that_of_our_key() -> None:
    """What stands beside ours is sent along, whatever its key is; what is ours must fit."""
    odd = altered(SECOND_LEAF, P256_OID, UNKNOWN_CURVE)
    text = odd.public_bytes(Encoding.PEM)
    with pytest.raises(CertificateError, match="does not belong to CN=leaf"):
        Credential.from_pem(text, KEY)
    assert Credential.from_pem(text, cert(LEAF), KEY).chain == (LEAF.certificate, odd)


def test_a_credential_whose_subject_cannot_be_decoded_is_shown_all_the_same() -> None:
    odd = altered(LEAF, b"leaf", b"\xff\xfe\xfd\xfc")
    assert "(subject that cannot be decoded)" in repr(Credential([odd], P256))


def test_a_chain_is_not_empty() -> None:
    with pytest.raises(CertificateError, match="none was given"):
        Credential((), P256)


def _dsa() -> dsa.DSAPrivateKey:
    return dsa.generate_private_key(1024)


@pytest.mark.parametrize(
    ("make_key", "kind"),
    [
        (_dsa, "DSAPrivateKey"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519PrivateKey"),
        (ed448.Ed448PrivateKey.generate, "Ed448PrivateKey"),
        (x25519.X25519PrivateKey.generate, "X25519PrivateKey"),
    ],
    ids=["DSA", "Ed25519", "Ed448", "X25519"],
)
def test_a_key_of_another_kind_is_refused_by_name(make_key: Callable[[], Any], kind: str) -> None:
    """Even with the certificate that it belongs to."""
    private = make_key()
    ours = make("leaf", ROOT, public_key=private.public_key())
    with pytest.raises(CertificateError, match=f"is a {kind}; RSA or EC is wanted"):
        Credential.from_pem(cert(ours) + key(private))
    with pytest.raises(CertificateError, match=f"is a {kind}; RSA or EC is wanted"):
        Credential([ours.certificate], private)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_curves_of_tls_are_good(curve: ec.EllipticCurve) -> None:
    leaf = make("leaf", key=ec.generate_private_key(curve))
    assert Credential([leaf.certificate], leaf.key).key is leaf.key


@pytest.mark.parametrize("curve", [ec.SECP224R1(), ec.SECP256K1()])
def test_another_curve_is_refused_before_any_handshake(curve: ec.EllipticCurve) -> None:
    """TLS makes no signature with one: each handshake would fail, with "no shared cipher"."""
    leaf = make("leaf", key=ec.generate_private_key(curve))
    with pytest.raises(CertificateError, match=curve.name):
        Credential([leaf.certificate], leaf.key)


def test_from_no_file_at_all() -> None:
    with pytest.raises(ConfigurationError, match="was given no file"):
        Credential.from_pem()


def test_a_source_that_is_none_is_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.pem"
    anything: Any = None
    for source in (missing, str(missing), tmp_path, anything):
        with pytest.raises(ConfigurationError):
            Credential.from_pem(cert(LEAF) + KEY, source)


def test_every_source_is_named_in_a_refusal(tmp_path: Path) -> None:
    first, second = tmp_path / "cert.pem", tmp_path / "key.pem"
    first.write_bytes(cert(LEAF))
    second.write_bytes(b"")
    with pytest.raises(CertificateError) as caught:
        Credential.from_pem(first, second)
    assert str(caught.value).startswith(f"{first} and {second} has no private key")


# ---------------------------------------------------------------- what it is


def test_a_credential_never_shows_its_key() -> None:
    """Neither its digits nor its object; and no refusal does."""
    private = P256.private_numbers().private_value
    secrets = {str(private), f"{private:x}", "key", *KEY.decode().splitlines()[1:-1]}
    credential = Credential(CHAIN, P256)
    shown = f"{credential!r} {credential}"
    assert "CN=leaf" in shown
    assert [secret for secret in secrets if secret in shown] == []
    with pytest.raises(CertificateError) as caught:
        Credential.from_pem(cert(ROOT) + KEY)
    assert [line for line in KEY.decode().splitlines() if line in str(caught.value)] == []


def test_a_credential_is_equal_to_itself_only_and_cannot_change() -> None:
    """Contexts are cached by it."""
    one, other = Credential(CHAIN, P256), Credential(list(CHAIN), P256)
    assert one.chain == other.chain
    assert one != other
    assert len({one, one, other}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.chain = ()  # type: ignore[misc]


def test_the_names_are_those_of_the_leaf() -> None:
    presented = Credential(CHAIN, P256).names
    assert [name.text for name in presented.names] == [
        "sip:contoso.com",
        "sip.contoso.com",
        "leaf",  # the common name, last
    ]


@pytest.mark.parametrize("first", ["leaf", "intermediate"])
def test_a_credential_expires_with_the_first_of_its_chain(first: str) -> None:
    ends = dict.fromkeys(("leaf", "intermediate"), NOW + YEAR) | {first: NOW + SECOND}
    intermediate = make_ca("I", ROOT, not_after=ends["intermediate"])
    leaf = make_leaf(intermediate, "a.example", not_after=ends["leaf"])
    credential = Credential([leaf.certificate, intermediate.certificate], leaf.key)
    assert credential.expires == NOW + SECOND
    assert credential.expires.tzinfo is dt.UTC


# ---------------------------------------------------------------- one of several

CA = CertificateAuthority("Contoso CA", seed="several")
DEFAULT = CA.issue("sip:default.example", "pbx.default.example", common_name="cn.example")
CONTOSO = CA.issue("sip:contoso.com", "sip.contoso.com")
WILD = CA.issue("*.contoso.com")
SEVERAL = (DEFAULT, WILD, CONTOSO)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (None, DEFAULT),
        ("contoso.com", CONTOSO),
        ("CONTOSO.com", CONTOSO),
        ("sip.contoso.com", CONTOSO),  # itself comes before a wildcard
        ("www.contoso.com", WILD),
        ("a.www.contoso.com", DEFAULT),
        ("pbx.default.example", DEFAULT),
        ("cn.example", DEFAULT),
        ("nobody.example", DEFAULT),
        *((text, DEFAULT) for text in NO_DOMAIN_ANYWHERE),
    ],
)
def test_the_name_that_is_asked_for_selects_a_credential(
    asked: str | None, chosen: Credential
) -> None:
    assert select(SEVERAL, asked) is chosen


def test_of_two_for_the_same_name_the_first_counts() -> None:
    again = CA.issue("sip:contoso.com")
    assert select((DEFAULT, again, CONTOSO), "contoso.com") is again


def test_a_common_name_selects_nothing() -> None:
    common = CA.issue(common_name="common.example")
    assert select((DEFAULT, common), "common.example") is DEFAULT


@given(st.text())
def test_whatever_is_asked_for_somebody_is_chosen(asked: str) -> None:
    assert select(SEVERAL, asked) in SEVERAL


def test_an_empty_list_of_credentials_is_told() -> None:
    with pytest.raises(CertificateError, match="list of credentials is empty"):
        as_credentials([])


@pytest.mark.parametrize("wrong", ["me.pem", {DEFAULT}, 5])
def test_what_is_no_list_of_credentials_is_told(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="credential is a Credential, not a"):
        as_credentials(wrong)


@pytest.mark.parametrize("wrong", ["me.pem", None])
def test_what_is_no_credential_among_several_is_told(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"credential\[1\] is a Credential, not"):
        as_credentials([DEFAULT, wrong])


# ---------------------------------------------------------------- its staple

CONTOSO = CertificateAuthority("Contoso CA")
PLAIN = CONTOSO.issue("sip:contoso.com")
OTHER = CONTOSO.issue("sip:contoso.com")
STAPLE = staple(CONTOSO, PLAIN)


@pytest.mark.parametrize("kind", [str, Path, Path.read_bytes])
def test_a_staple_is_read_from_a_file_of_der(tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    file = tmp_path / "staple.der"
    file.write_bytes(STAPLE)
    assert Credential.from_pem(pem(PLAIN), staple=kind(file)).staple == STAPLE
    assert Credential.from_pem(pem(PLAIN)).staple is None


def test_a_staple_is_given_as_bytes() -> None:
    credential = Credential(PLAIN.chain, PLAIN.key, STAPLE)
    assert credential.staple == STAPLE
    assert attrs.evolve(PLAIN, staple=STAPLE).staple == STAPLE
    assert "staple" not in repr(credential)


@pytest.mark.parametrize("order", list(permutations((PLAIN, OTHER))), ids=["first", "last"])
def test_a_response_may_have_the_status_of_others_too(order: tuple[Credential, ...]) -> None:
    assert staple_at(attrs.evolve(PLAIN, staple=together(CONTOSO, *order)), dt.datetime.now(dt.UTC))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (staple(CONTOSO, OTHER), "not for .*after each renewal"),
        (b"", "cannot be read.*openssl ocsp"),
        (b"no DER", "cannot be read.*openssl ocsp"),
        (STAPLE[:-1], "cannot be read"),
        (STAPLE + b"\x00", "cannot be read"),
        (responder_error(), "TRY_LATER.*fetch it again"),
        (staple(CONTOSO, PLAIN, nonce=bytes(MAX_STAPLE)), f"at most {MAX_STAPLE}"),
    ],
    ids=["of-another", "empty", "garbage", "cut-off", "more", "try-later", "too-long"],
)
def test_what_is_no_staple_for_the_certificate_is_told(wrong: bytes, told: str) -> None:
    with pytest.raises(CertificateError, match=told):
        Credential.from_pem(pem(PLAIN), staple=wrong)
    with pytest.raises(CertificateError, match=told):
        Credential(PLAIN.chain, PLAIN.key, wrong)


def test_a_staple_of_another_type_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"DER as bytes, not a str: .*from_pem"):
        Credential(PLAIN.chain, PLAIN.key, "staple.der")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="cannot read"):
        Credential.from_pem(pem(PLAIN), staple=tmp_path / "none.der")


def test_there_is_a_staple_until_its_next_update() -> None:
    now = dt.datetime(2030, 6, 1, tzinfo=dt.UTC)
    credential = attrs.evolve(PLAIN, staple=staple(CONTOSO, PLAIN, until=now))
    assert staple_at(None, now) == b""
    assert staple_at(PLAIN, now) == b""
    assert staple_at(credential, now - SECOND) == credential.staple
    assert staple_at(credential, now) == b""
    endless = attrs.evolve(PLAIN, staple=staple(CONTOSO, PLAIN, without_end=True))
    assert staple_at(endless, now + 1000 * DAY) == endless.staple
