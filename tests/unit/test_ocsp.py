"""OCSP responses: which count, and what they say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from certificates import NOW, SECOND, key_usage
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from statements import (
    CONTOSO,
    DAY,
    FABRIKAM,
    FRESH,
    FUTURE,
    LEAF,
    NAMESAKE,
    OCSP_SIGNING,
    OTHER,
    STALE,
    VALID,
    certificate,
    critical,
    responder,
    with_answers,
)

from siptls.testing import CertificateAuthority
from siptls.testing import statements as made
from siptls.trust.ocsp import MAX_AGE, MAX_RESPONSE, TOLERANCE, StatusResponse
from siptls.trust.status import Answer, Status

OWN = certificate(LEAF)
SHA224, SHA256 = hashes.SHA224(), hashes.SHA256()
LOWER = CONTOSO.intermediate("Lower CA", **VALID)


def find(data: bytes, now: dt.datetime = NOW) -> Answer | None:
    return StatusResponse.read(data).answer(OWN, CONTOSO.certificate, now)


def ask(data: bytes, now: dt.datetime = NOW) -> Answer:
    answer = find(data, now)
    assert answer is not None
    return answer


# ---------------------------------------------------------------- what is said


@pytest.mark.parametrize("algorithm", ["SHA-1", "SHA-256"])
@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("delegated", [True, False])
def test_who_may_sign_says_that_it_is_good(algorithm: Any, by_name: bool, delegated: bool) -> None:
    signer = responder() if delegated else None
    data = CONTOSO.ocsp(LEAF, hash=algorithm, by_name=by_name, responder=signer, **FRESH)
    answer = ask(data)
    assert (answer.status, answer.until) == (Status.GOOD, NOW + DAY)
    assert answer.told == "the OCSP response of 2030-05-31T12:00:00+00:00"


def test_what_is_revoked_is_told_with_time_and_reason() -> None:
    reason = x509.ReasonFlags.key_compromise
    answer = ask(CONTOSO.ocsp(LEAF, status="revoked", reason=reason, **FRESH))
    assert answer.status is Status.REVOKED
    assert "was revoked at 2030-05-31T12:00:00+00:00 (keyCompromise)" in answer.told


def test_a_revocation_does_not_lapse() -> None:
    assert ask(CONTOSO.ocsp(LEAF, status="revoked", **STALE)).status is Status.REVOKED
    hold = x509.ReasonFlags.certificate_hold
    answer = ask(CONTOSO.ocsp(LEAF, status="revoked", reason=hold, **STALE))
    assert answer.status is Status.UNKNOWN


def test_a_certificate_that_the_issuer_does_not_know_is_not_good() -> None:
    answer = ask(CONTOSO.ocsp(LEAF, status="unknown", **FRESH))
    assert answer.status is Status.UNKNOWN
    assert "unknown to its issuer" in answer.told


def by_sha512() -> bytes:
    builder = ocsp.OCSPResponseBuilder().add_response(
        OWN,
        CONTOSO.certificate,
        hashes.SHA512(),
        ocsp.OCSPCertStatus.GOOD,
        NOW - DAY,
        NOW + DAY,
        None,
        None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, CONTOSO.certificate)
    return builder.sign(CONTOSO.key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CONTOSO.ocsp(OTHER, **FRESH),
        lambda: FABRIKAM.ocsp(LEAF, **FRESH),
        lambda: NAMESAKE.ocsp(LEAF, **FRESH),
        by_sha512,
    ],
)
def test_a_response_with_another_cert_id_says_nothing(make: Callable[[], bytes]) -> None:
    """By serial number, by issuer name, by issuer key, or by a hash that is not looked at."""
    assert find(make()) is None


def test_a_nonce_is_ignored() -> None:
    """Nothing was asked: there is no nonce to compare."""
    nonce = x509.OCSPNonce(b"0123456789abcdef")
    for is_critical in (False, True):
        data = CONTOSO.ocsp(LEAF, extensions=[(nonce, is_critical)], **FRESH)
        assert ask(data).status is Status.GOOD


# ---------------------------------------------------------------- when


@pytest.mark.parametrize(
    ("now", "status", "until"),
    [
        (NOW - DAY - TOLERANCE - SECOND, Status.UNKNOWN, None),
        (NOW - DAY - TOLERANCE, Status.GOOD, NOW + DAY),
        (NOW + DAY, Status.GOOD, NOW + DAY),
        (NOW + DAY + SECOND, Status.GOOD, NOW + DAY + TOLERANCE),
        (NOW + DAY + TOLERANCE, Status.GOOD, NOW + DAY + TOLERANCE),
        (NOW + DAY + TOLERANCE + SECOND, Status.UNKNOWN, None),
    ],
)
def test_the_responders_clock_may_differ_a_little(
    now: dt.datetime, status: Status, until: dt.datetime | None
) -> None:
    answer = ask(CONTOSO.ocsp(LEAF, **FRESH), now)
    assert (answer.status, answer.until) == (status, until)


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (MAX_AGE, Status.GOOD),
        (MAX_AGE + TOLERANCE, Status.GOOD),
        (MAX_AGE + TOLERANCE + SECOND, Status.UNKNOWN),
    ],
)
def test_without_next_update_it_is_good_for_a_day(age: dt.timedelta, status: Status) -> None:
    data = CONTOSO.ocsp(LEAF, this_update=NOW - age, next_update="absent")
    answer = ask(data)
    assert answer.status is status
    if status is Status.UNKNOWN:
        assert answer.told.endswith("without nextUpdate")


@pytest.mark.parametrize(
    ("when", "told"),
    [
        (STALE, "is stale: its nextUpdate was at 2030-05-31"),
        (FUTURE, "is not yet valid: it begins at 2030-06-02"),
    ],
)
def test_what_is_stale_or_not_yet_valid_says_so(when: dict[str, Any], told: str) -> None:
    answer = ask(CONTOSO.ocsp(LEAF, **when))
    assert answer.status is Status.UNKNOWN
    assert told in answer.told


# ---------------------------------------------------------------- who


def broken_responder() -> bytes:
    """One that is named, and whose signature is of a key that is not its own."""
    return CONTOSO.ocsp(LEAF, responder=responder(), key=FABRIKAM.key, **FRESH)


def by(**options: Any) -> Callable[[], bytes]:
    return lambda: CONTOSO.ocsp(LEAF, responder=responder(**options), **FRESH)


OLD = {"not_before": NOW - 9 * DAY, "not_after": NOW - SECOND}
USAGE = key_usage(key_cert_sign=False)
SIGNING = key_usage(key_cert_sign=False, digital_signature=True)

NOBODY: dict[str, tuple[Callable[[], bytes], str]] = {
    "not brought": (
        lambda: CONTOSO.ocsp(LEAF, responder=responder(), brought=[], **FRESH),
        "is not signed by the issuer, and brings no certificate",
    ),
    "another one brought": (
        lambda: CONTOSO.ocsp(LEAF, responder=responder(), brought=[OWN], **FRESH),
        "is not signed by the issuer, and brings no certificate",
    ),
    "bad signature": (
        lambda: CONTOSO.ocsp(LEAF, key=FABRIKAM.key, **FRESH),
        "has a bad signature",
    ),
    "bad signature of a responder": (broken_responder, "has a bad signature"),
    "without the EKU": (by(purposes=["serverAuth"]), "its extended key usage has no OCSPSigning"),
    "any EKU": (by(purposes=["any"]), "its extended key usage has no OCSPSigning"),
    "no EKU": (by(purposes=None), "its extended key usage has no OCSPSigning"),
    "of another CA": (by(ca=FABRIKAM), "the issuer of the certificate has not issued itself"),
    "of a CA below": (by(ca=LOWER), "the issuer of the certificate has not issued itself"),
    "of a namesake": (by(ca=NAMESAKE), "the issuer of the certificate has not issued itself"),
    "expired": (by(**OLD), "which expired at 2030-06-01T11:59:59"),
    "weak": (by(key="RSA-1024"), "which has an RSA key of 1024 bits"),
    "key usage": (by(extensions=[USAGE]), "its keyUsage has no digitalSignature"),
    "critical": (by(extensions=[critical()]), "has a critical extension that is not understood"),
}
RSA_CA = CertificateAuthority("RSA CA", key="RSA-2048", **VALID)


@pytest.mark.parametrize("name", NOBODY)
def test_who_may_not_sign_is_not_believed(name: str) -> None:
    if name == "weak":  # an RSA key comes from no seed
        ca = CertificateAuthority("CA", **VALID)
        data = ca.ocsp(LEAF, responder=responder(ca, key="RSA-1024"), **FRESH)
        answer = StatusResponse.read(data).answer(OWN, ca.certificate, NOW)
        assert answer is not None
    else:
        answer = ask(NOBODY[name][0]())
    assert answer.status is Status.UNKNOWN
    assert NOBODY[name][1] in answer.told


@pytest.mark.parametrize(
    "options",
    [
        {"extensions": [SIGNING]},
        {"extensions": [(x509.OCSPNoCheck(), False)]},
        {"purposes": ["serverAuth", OCSP_SIGNING]},
        {"key": "P-384"},
    ],
)
def test_who_may_sign_is(options: dict[str, Any]) -> None:
    assert ask(by(**options)()).status is Status.GOOD


P256 = ec.generate_private_key(ec.SECP256R1())


def test_a_responder_may_have_the_name_of_its_issuer() -> None:
    """The name fits the issuer, too, and its key does not."""
    signer = responder(common_name="Contoso CA")
    data = CONTOSO.ocsp(LEAF, responder=signer, by_name=True, **FRESH)
    assert ask(data).status is Status.GOOD


def test_an_rsa_issuer_signs_as_well() -> None:
    leaf = RSA_CA.issue("sip:a.example", key="RSA-2048", **VALID)
    for data, status in (
        (RSA_CA.ocsp(leaf, **FRESH), Status.GOOD),
        (RSA_CA.ocsp(leaf, key=leaf.key, **FRESH), Status.UNKNOWN),
    ):
        answer = StatusResponse.read(data).answer(certificate(leaf), RSA_CA.certificate, NOW)
        assert answer is not None
        assert answer.status is status


def signed_by(
    key: Any, algorithm: Any, *, name: str = "Responder", issued_with: Any = SHA256
) -> bytes:
    """Give a response of a delegated responder with any key and any hash at all."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(CONTOSO.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(OCSP_SIGNING)]), critical=False)
    )
    signer = builder.sign(CONTOSO.key, issued_with)
    response = ocsp.OCSPResponseBuilder().add_response(
        OWN,
        CONTOSO.certificate,
        hashes.SHA1(),
        ocsp.OCSPCertStatus.GOOD,
        NOW - DAY,
        NOW + DAY,
        None,
        None,
    )
    response = response.responder_id(ocsp.OCSPResponderEncoding.NAME, signer).certificates([signer])
    return response.sign(key, algorithm).public_bytes(Encoding.DER)


@pytest.mark.parametrize("name", ["Responder", "Contoso CA"])
def test_a_responder_may_have_an_eddsa_key(name: str) -> None:
    """Be it one of its issuer's name, whose own key is of another kind."""
    key = ed25519.Ed25519PrivateKey.generate()
    assert ask(signed_by(key, None, name=name)).status is Status.GOOD


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: signed_by(ec.generate_private_key(ec.SECP192R1()), SHA256), "secp192r1"),
        (lambda: signed_by(dsa.generate_private_key(2048), SHA256), "of the kind DSA"),
        (lambda: signed_by(P256, SHA224), "is signed with a hash that is weak"),
        (lambda: signed_by(P256, SHA256, issued_with=SHA224), "which is signed with a weak hash"),
    ],
)
def test_a_weak_responder_is_not_believed(make: Callable[[], bytes], told: str) -> None:
    answer = ask(make())
    assert answer.status is Status.UNKNOWN
    assert told in answer.told


# ---------------------------------------------------------------- what does not count at all


def test_an_error_is_no_answer() -> None:
    answer = ask(CONTOSO.ocsp(LEAF, status="tryLater"))
    assert answer.status is Status.UNKNOWN
    assert answer.told == "the OCSP response holds no answer but the error 'try later'"


def test_a_critical_extension_makes_it_useless() -> None:
    answer = ask(CONTOSO.ocsp(LEAF, extensions=[critical()], **FRESH))
    assert answer.status is Status.UNKNOWN
    assert "has a critical extension that is not understood: 1.2.3.4" in answer.told


@pytest.mark.parametrize("count", [0, 2])
def test_it_holds_one_answer(count: int) -> None:
    answer = ask(with_answers(CONTOSO.ocsp(LEAF, **FRESH), count, CONTOSO.key))
    assert answer.status is Status.UNKNOWN
    assert f"holds {count} answers: one is wanted" in answer.told
    assert ask(with_answers(CONTOSO.ocsp(LEAF, **FRESH), 1, CONTOSO.key)).status is Status.GOOD


def test_many_certificates_are_not_looked_at() -> None:
    brought = [OWN] * 5
    answer = ask(CONTOSO.ocsp(LEAF, brought=brought, **FRESH))
    assert answer.status is Status.UNKNOWN
    assert "brings 5 certificates: at most 4" in answer.told
    assert ask(CONTOSO.ocsp(LEAF, brought=brought[:4], **FRESH)).status is Status.GOOD


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: b"", "error parsing asn1"),
        (lambda: CONTOSO.crl(**FRESH), "error parsing asn1"),
        (lambda: CONTOSO.ocsp(LEAF, **FRESH)[:-1], "error parsing asn1"),
        (lambda: bytes(MAX_RESPONSE + 1), "it has 65537 bytes; at most 65536 are read"),
    ],
)
def test_what_is_no_response_is_not_read(make: Callable[[], bytes], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        StatusResponse.read(make())


def test_responses_are_equal_by_their_bytes() -> None:
    data = CONTOSO.ocsp(LEAF, **FRESH)
    assert StatusResponse.read(data) == StatusResponse.read(data)
    assert len({StatusResponse.read(data), StatusResponse.read(data)}) == 1
    assert StatusResponse.read(data) != StatusResponse.read(CONTOSO.ocsp(OTHER, **FRESH))
    assert repr(StatusResponse.read(data)) == (
        "StatusResponse(name='the OCSP response of 2030-05-31T12:00:00+00:00')"
    )


@pytest.mark.parametrize("reason", [7, 11, 99])
def test_a_reason_that_nobody_knows_revokes_all_the_same(reason: int) -> None:
    """SOFT would accept a peer whose response cannot be read."""
    known = CONTOSO.ocsp(LEAF, status="revoked", reason=x509.ReasonFlags.key_compromise, **FRESH)
    signed = ocsp.load_der_ocsp_response(known).tbs_response_bytes
    assert signed.count(bytes.fromhex("a0030a0101")) == 1
    odd = signed.replace(bytes.fromhex("a0030a0101"), bytes([0xA0, 3, 0x0A, 1, reason]))
    assert ask(made._signed(odd, [], CONTOSO.key)).status is Status.REVOKED


@pytest.mark.parametrize(
    ("make", "is_of"),
    [
        (lambda: CONTOSO.ocsp(LEAF, **FRESH), True),
        (lambda: CONTOSO.ocsp(LEAF, **FRESH, hash="SHA-256"), True),
        (lambda: FABRIKAM.ocsp(LEAF, **FRESH), False),
        (lambda: CONTOSO.ocsp(LEAF, status="tryLater"), False),
        (by_sha512, False),
    ],
)
def test_whose_certificate_it_is_about_is_told(make: Callable[[], bytes], is_of: bool) -> None:
    assert StatusResponse.read(make()).is_of(CONTOSO.certificate) is is_of
