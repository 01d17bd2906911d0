"""CRLs: which are read, which count, and what they say."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from certificates import NOW, SECOND, Made, key_usage, make_ca, make_leaf
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from statements import (
    CONTOSO,
    DAY,
    FABRIKAM,
    FRESH,
    FUTURE,
    LEAF,
    NAMESAKE,
    OTHER,
    STALE,
    VALID,
    certificate,
    critical,
    with_sha1,
    without_next_update,
)

from siptls import ConfigurationError, Revocation
from siptls.testing import CertificateAuthority
from siptls.trust import crl as module
from siptls.trust.crl import Crl
from siptls.trust.status import Answer, Status

Flag = x509.ReasonFlags
OWN = certificate(LEAF)
HERE = x509.UniformResourceIdentifier("http://crl.example/1")
THERE = x509.UniformResourceIdentifier("http://crl.example/2")


def issuing_point(**options: Any) -> tuple[x509.ExtensionType, bool]:
    """Give an issuingDistributionPoint, critical as it should be."""
    values: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**values, **options}), True


def ask(
    data: bytes,
    about: x509.Certificate = OWN,
    issuer: x509.Certificate = CONTOSO.certificate,
) -> Answer:
    answer = Crl.read(data).answer(about, issuer, NOW)
    assert answer is not None
    return answer


# ---------------------------------------------------------------- what is said


def test_what_is_not_listed_is_good_until_the_next_update() -> None:
    answer = ask(CONTOSO.crl([OTHER], **FRESH))
    assert (answer.status, answer.until) == (Status.GOOD, NOW + DAY)


@pytest.mark.parametrize("reason", [None, *(flag for flag in Flag if flag is not Flag.unspecified)])
def test_what_is_listed_is_revoked_unless_it_is_taken_off(reason: Flag | None) -> None:
    """A hold is a revocation; removeFromCRL is none."""
    answer = ask(CONTOSO.crl([OTHER, LEAF], reason=reason, **FRESH))
    if reason is Flag.remove_from_crl:
        assert answer.status is Status.GOOD
    else:
        assert answer.status is Status.REVOKED
        assert (reason.value if reason else "no reason") in answer.told
        assert "the CRL of 'CN=Contoso CA' of 2030-05-31" in answer.told


def test_the_crl_of_another_issuer_says_nothing() -> None:
    crl = Crl.read(FABRIKAM.crl([LEAF], **FRESH))
    assert crl.answer(certificate(LEAF), CONTOSO.certificate, NOW) is None


def test_it_is_read_from_pem_as_from_der() -> None:
    der = CONTOSO.crl(**FRESH)
    pem = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
    assert Crl.read_all(pem) == Crl.read_all(der) == [Crl.read(der)]
    assert hash(Crl.read_all(pem)[0]) == hash(Crl.read(der))
    assert Crl.read(der) != Crl.read(CONTOSO.crl([LEAF], **FRESH))


def test_pem_text_may_hold_several() -> None:
    """As operators put those of all their CAs into one file; none of them is dropped in silence."""
    ders = [CONTOSO.crl(**FRESH), FABRIKAM.crl(**FRESH)]
    pems = [x509.load_der_x509_crl(der).public_bytes(Encoding.PEM) for der in ders]
    text = CONTOSO.pem + b"the first\n" + pems[0] + b"and the second\n" + pems[1]
    assert [crl.der for crl in Crl.read_all(text)] == ders
    with pytest.raises(ValueError, match="PEM"):
        Crl.read_all(pems[0] + pems[1].replace(b"\nM", b"\n!"))


def test_its_repr_names_issuer_and_time() -> None:
    name = "the CRL of 'CN=Contoso CA' of 2030-05-31T12:00:00+00:00"
    assert repr(Crl.read(CONTOSO.crl(**FRESH))) == f'Crl(name="{name}")'


# ---------------------------------------------------------------- what does not count


def aki(key_identifier: bytes) -> tuple[x509.ExtensionType, bool]:
    return x509.AuthorityKeyIdentifier(key_identifier, None, None), False


ATTRIBUTES = issuing_point(only_contains_attribute_certs=True)
SUPERSEDED = issuing_point(only_some_reasons=frozenset({Flag.superseded}))

UNUSABLE: dict[str, tuple[Callable[[], bytes], str]] = {
    "stale": (lambda: CONTOSO.crl(**STALE), "is stale: its nextUpdate was at 2030-05-31"),
    "future": (lambda: CONTOSO.crl(**FUTURE), "is not yet valid: it begins at 2030-06-02"),
    "signature": (lambda: CONTOSO.crl(key=FABRIKAM.key, **FRESH), "has a bad signature"),
    "namesake": (lambda: NAMESAKE.crl(**FRESH), "another key than that of its issuer"),
    "sha1": (lambda: with_sha1(CONTOSO.crl(**FRESH), CONTOSO.key), "a hash that is weak"),
    "no number": (lambda: CONTOSO.crl(number=None, **FRESH), "has no cRLNumber"),
    "critical number": (
        lambda: CONTOSO.crl(number=None, extensions=[(x509.CRLNumber(1), True)], **FRESH),
        "has a critical cRLNumber",
    ),
    "critical extension": (
        lambda: CONTOSO.crl(extensions=[critical()], **FRESH),
        "has a critical extension that is not understood: 1.2.3.4",
    ),
    "critical entry": (
        lambda: CONTOSO.crl([OTHER], entry_extensions=[critical()], **FRESH),
        "has an entry with a critical extension that is not understood: 1.2.3.4",
    ),
    "no nextUpdate": (
        lambda: without_next_update(CONTOSO.crl(**FRESH), CONTOSO.key),
        "it has no nextUpdate",
    ),
    "reasons": (
        lambda: CONTOSO.crl(extensions=[SUPERSEDED], **FRESH),
        "is not complete: it is about some reasons only",
    ),
    "attributes": (
        lambda: CONTOSO.crl(
            extensions=[issuing_point(only_contains_attribute_certs=True)], **FRESH
        ),
        "is about attribute certificates only",
    ),
    "CAs": (
        lambda: CONTOSO.crl(extensions=[issuing_point(only_contains_ca_certs=True)], **FRESH),
        "it is about CAs only",
    ),
    "point": (
        lambda: CONTOSO.crl(extensions=[issuing_point(full_name=[HERE])], **FRESH),
        "its distribution point is none of the certificate's",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_does_not_count_says_why(name: str) -> None:
    make, told = UNUSABLE[name]
    answer = ask(make())
    assert (answer.status, answer.until) == (Status.UNKNOWN, None)
    assert told in answer.told
    assert answer.told.startswith("the CRL of 'CN=")


def test_it_holds_at_the_first_and_at_the_last_instant() -> None:
    crl = Crl.read(CONTOSO.crl(**FRESH))
    for now, status in (
        (NOW - DAY - SECOND, Status.UNKNOWN),
        (NOW - DAY, Status.GOOD),
        (NOW + DAY, Status.GOOD),
        (NOW + DAY + SECOND, Status.UNKNOWN),
    ):
        answer = crl.answer(certificate(LEAF), CONTOSO.certificate, now)
        assert answer is not None
        assert answer.status is status


@pytest.mark.parametrize(
    "make",
    [
        lambda: CONTOSO.crl([LEAF], **STALE),
        lambda: without_next_update(CONTOSO.crl([LEAF], **FRESH), CONTOSO.key),
        lambda: CONTOSO.crl(
            [LEAF],
            extensions=[issuing_point(only_some_reasons=frozenset({Flag.superseded}))],
            **FRESH,
        ),
    ],
)
def test_what_is_stale_or_incomplete_still_revokes(make: Callable[[], bytes]) -> None:
    """Else a revocation would end on the day on which CRLs are no longer delivered."""
    assert ask(make()).status is Status.REVOKED


def test_a_stale_hold_may_have_been_lifted() -> None:
    answer = ask(CONTOSO.crl([LEAF], reason=Flag.certificate_hold, **STALE))
    assert answer.status is Status.UNKNOWN


# ---------------------------------------------------------------- the issuer


def crl_of(ca: Made) -> bytes:
    """Give a CRL with no authorityKeyIdentifier."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(NOW - DAY)
        .next_update(NOW + DAY)
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_an_issuer_without_key_usage_and_key_identifier_may_sign_crls() -> None:
    bare = make_ca("Bare")
    leaf = make_leaf(bare, "sip:a.example").certificate
    assert ask(crl_of(bare), leaf, bare.certificate).status is Status.GOOD


def test_an_issuer_whose_key_usage_has_no_crl_sign_may_not() -> None:
    limited = make_ca("Limited", None, key_usage(key_cert_sign=True))
    leaf = make_leaf(limited, "sip:a.example").certificate
    answer = ask(crl_of(limited), leaf, limited.certificate)
    assert answer.status is Status.UNKNOWN
    assert "its keyUsage has no cRLSign" in answer.told


def test_a_key_identifier_is_compared_where_both_have_one() -> None:
    bare = make_ca("Bare")
    leaf = make_leaf(bare, "sip:a.example").certificate
    ca = CertificateAuthority("Bare", key=bare.key)
    assert ask(ca.crl(**FRESH), leaf, bare.certificate).status is Status.GOOD
    assert ask(crl_of(Made(ca.certificate, ca.key)), leaf, ca.certificate).status is Status.GOOD


def test_a_signature_is_verified_once_for_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CRL may have megabytes; of the keys that were tried only a few are remembered."""
    monkeypatch.setattr(module, "_MAX_KEYS", 2)
    crl = Crl.read(CONTOSO.crl(**FRESH))
    cas = [make_ca("Contoso CA") for _ in range(3)]
    for issuer in (CONTOSO, CONTOSO, *cas, CONTOSO):
        answer = crl.answer(certificate(LEAF), issuer.certificate, NOW)
        assert answer is not None
        assert (answer.status is Status.GOOD) is (issuer is CONTOSO)
        assert len(crl._signed) <= 2


# ---------------------------------------------------------------- the distribution point


def point(**options: Any) -> x509.DistributionPoint:
    values: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "reasons": None,
        "crl_issuer": None,
    }
    return x509.DistributionPoint(**{**values, **options})


RELATIVE = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "1")])
ELSEWHERE = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "2")])
ISSUER = [x509.DirectoryName(CONTOSO.certificate.subject)]


@pytest.mark.parametrize(
    ("own", "of_crl", "covers"),
    [
        ([point(full_name=[HERE])], {"full_name": [HERE]}, True),
        ([point(full_name=[THERE, HERE])], {"full_name": [HERE]}, True),
        ([point(full_name=[THERE]), point(full_name=[HERE])], {"full_name": [HERE]}, True),
        ([point(full_name=[THERE])], {"full_name": [HERE]}, False),
        ([point(relative_name=RELATIVE)], {"full_name": [HERE]}, False),
        ([point(relative_name=RELATIVE)], {"relative_name": RELATIVE}, True),
        ([point(relative_name=ELSEWHERE)], {"relative_name": RELATIVE}, False),
        ([point(full_name=[HERE], crl_issuer=ISSUER)], {"full_name": [HERE]}, False),
        ([point(full_name=[THERE])], {"only_contains_user_certs": True}, True),
    ],
)
def test_a_crl_of_a_distribution_point_covers_who_names_it(
    own: list[x509.DistributionPoint], of_crl: dict[str, Any], covers: bool
) -> None:
    points = x509.CRLDistributionPoints(own)
    leaf = CONTOSO.issue("sip:contoso.com", extensions=[(points, False)], **VALID)
    answer = ask(CONTOSO.crl(extensions=[issuing_point(**of_crl)], **FRESH), certificate(leaf))
    assert answer.status is (Status.GOOD if covers else Status.UNKNOWN)


@pytest.mark.parametrize(
    ("only", "of_leaf", "of_ca"),
    [
        ("only_contains_user_certs", Status.GOOD, Status.UNKNOWN),
        ("only_contains_ca_certs", Status.UNKNOWN, Status.GOOD),
    ],
)
def test_a_crl_may_be_about_cas_or_about_end_entities(
    only: str, of_leaf: Status, of_ca: Status
) -> None:
    data = CONTOSO.crl(extensions=[issuing_point(**{only: True})], **FRESH)
    lower = CONTOSO.intermediate("Lower", **VALID).certificate
    assert ask(data).status is of_leaf
    assert ask(data, lower).status is of_ca


# ---------------------------------------------------------------- what is not read

BROKEN = x509.UnrecognizedExtension(x509.ExtensionOID.ISSUING_DISTRIBUTION_POINT, b"\x05")
ELSE = x509.CertificateIssuer([x509.DirectoryName(FABRIKAM.certificate.subject)])


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: b"", "error parsing asn1"),
        (lambda: b"-----BEGIN X509 CRL-----", "error parsing asn1"),
        (lambda: CONTOSO.crl()[:-1], "error parsing asn1"),
        (lambda: CONTOSO.crl(extensions=[(BROKEN, False)]), "error parsing asn1"),
        (
            lambda: CONTOSO.crl(extensions=[(x509.DeltaCRLIndicator(1), True)], **FRESH),
            "is a delta CRL \\(deltaCRLIndicator\\), which tells changes only: pass the complete",
        ),
        (
            lambda: CONTOSO.crl(extensions=[issuing_point(indirect_crl=True)], **FRESH),
            "is an indirect CRL \\(indirectCRL\\), .* pass the one that the CA itself has signed",
        ),
        (
            lambda: CONTOSO.crl([LEAF], entry_extensions=[(ELSE, True)], **FRESH),
            "is an indirect CRL \\(certificateIssuer in an entry\\)",
        ),
    ],
)
def test_what_is_no_complete_crl_of_its_issuer_is_not_read(
    make: Callable[[], bytes], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Crl.read(make())


def test_a_crl_of_a_version_that_nobody_knows_is_not_read_in_any_form() -> None:
    """What cryptography raises of it is no ValueError."""
    good = CONTOSO.crl([OTHER], **FRESH)
    start = good.index(bytes.fromhex("020101300a06082a"))
    der = good[: start + 2] + b"\x41" + good[start + 3 :]
    pem = b"-----BEGIN X509 CRL-----\n" + b64encode(der) + b"\n-----END X509 CRL-----\n"
    for data in (der, pem):
        with pytest.raises(ValueError, match="65 is not a valid CRL version"):
            Crl.read_all(data)
        with pytest.raises(ConfigurationError, match="65 is not a valid CRL version"):
            Revocation(data)


def test_a_reason_that_nobody_knows_revokes_all_the_same() -> None:
    """SOFT would accept a peer whose CRL cannot be read."""
    odd = x509.UnrecognizedExtension(x509.oid.CRLEntryExtensionOID.CRL_REASON, b"\x0a\x01\x63")
    data = CONTOSO.crl([LEAF], entry_extensions=[(odd, False)], **FRESH)
    assert ask(data).status is Status.REVOKED


def test_whose_it_is_and_what_is_wrong_with_it_is_told_without_a_certificate() -> None:
    ours, theirs = CONTOSO.certificate, FABRIKAM.certificate
    crl = Crl.read(CONTOSO.crl(**FRESH))
    assert (crl.is_of(ours), crl.is_of(theirs)) == (True, False)
    assert crl.fault(ours) == ""
    assert "cRLNumber" in Crl.read(CONTOSO.crl(**FRESH, number=None)).fault(ours)
    assert "bad signature" in Crl.read(CONTOSO.crl(**FRESH, key=FABRIKAM.key)).fault(ours)
