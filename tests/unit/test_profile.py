"""The certificate profile: what a CA and a peer must be like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from certificates import (
    CA,
    END_ENTITY,
    NOW,
    SECOND,
    YEAR,
    Extension,
    Made,
    constraints,
    key_usage,
    make,
    make_ca,
    make_leaf,
    purposes,
    raw,
    with_serial,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    SubjectInformationAccessOID,
)
from paths import NAME, certificates, path, refusal, rsa_key, trusting

from siptls import Code
from siptls.trust.profile import date_fault, pinned_fault


@pytest.fixture(scope="module")
def root() -> Made:
    """A trust anchor as bare as RFC 5280 allows: no key identifiers, no keyUsage."""
    return make_ca("Root")


# ---------------------------------------------------------------- what a CA must be

GOOD_CAS: dict[str, Sequence[Extension]] = {
    "bare": [(CA, True)],
    "basicConstraints not critical": [(CA, False)],
    "with keyCertSign": [(CA, True), key_usage(key_cert_sign=True)],
    "EKU that suffices": [
        (CA, True),
        purposes(ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.SERVER_AUTH),
    ],
    "EKU any": [(CA, True), purposes(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)],
    "unknown extension, not critical": [(CA, True), raw("1.2.3.4", b"\x05\x00", critical=False)],
}
BAD_CAS: dict[str, tuple[Code, str, Sequence[Extension]]] = {
    "no basicConstraints": (Code.PATH_CONSTRAINT, "is no CA", []),
    "cA false": (Code.PATH_CONSTRAINT, "is no CA", [(END_ENTITY, True)]),
    "no keyCertSign": (
        Code.PATH_CONSTRAINT,
        "without keyCertSign",
        [(CA, True), key_usage(key_cert_sign=False, digital_signature=True)],
    ),
    "unrelated EKU": (
        Code.PURPOSE_UNACCEPTABLE,
        "CN=I ",
        [(CA, True), purposes(ExtendedKeyUsageOID.CODE_SIGNING)],
    ),
    "unknown critical extension": (
        Code.PATH_CONSTRAINT,
        "breaks a rule of one of its CAs",
        [(CA, True), raw("1.2.3.4", b"\x05\x00", critical=True)],
    ),
    "empty nameConstraints": (
        Code.CERTIFICATE_MALFORMED,
        "cannot be decoded",
        [(CA, True), raw("2.5.29.30", b"\x30\x00", critical=True)],
    ),
    "broken extension": (
        Code.CERTIFICATE_MALFORMED,
        "cannot be decoded",
        [(CA, True), raw("2.5.29.37", b"\x05\x00", critical=False)],
    ),
}


@pytest.mark.parametrize("extensions", GOOD_CAS.values(), ids=GOOD_CAS)
def test_private_cas_as_enterprises_run_them_are_good(
    root: Made, extensions: Sequence[Extension]
) -> None:
    """None of them has key identifiers; few would pass the rules of the web. As root, too."""
    intermediate = make("I", root, *extensions)
    leaf = make_leaf(intermediate, NAME)
    assert path(trusting(root), leaf, intermediate) == certificates(leaf, intermediate, root)
    anchor = make("R", None, *extensions)
    assert len(path(trusting(anchor), make_leaf(anchor, NAME))) == 2


@pytest.mark.parametrize(("code", "why", "extensions"), BAD_CAS.values(), ids=BAD_CAS)
def test_what_is_no_ca_issues_nothing(
    root: Made, code: Code, why: str, extensions: Sequence[Extension]
) -> None:
    """Above all: the certificate of a server cannot issue another."""
    intermediate = make("I", root, *extensions)
    found, reason = refusal(trusting(root), make_leaf(intermediate, NAME), intermediate)
    assert found is code
    assert why in reason


@pytest.mark.parametrize(
    ("code", "extension"),
    [
        (Code.PATH_CONSTRAINT, key_usage(key_cert_sign=False)),
        (Code.PURPOSE_UNACCEPTABLE, purposes(ExtendedKeyUsageOID.CODE_SIGNING)),
    ],
)
def test_the_rules_for_cas_hold_for_an_anchor(code: Code, extension: Extension) -> None:
    """An anchor says itself what it is for."""
    anchor = make_ca("R", None, extension)
    assert refusal(trusting(anchor), make_leaf(anchor, NAME))[0] is code


def test_the_path_length_is_kept() -> None:
    """RFC 5280 §4.2.1.9: how many CAs may stand below."""
    root = make("Root", None, (x509.BasicConstraints(ca=True, path_length=1), True))
    upper = make_ca("Upper", root)
    lower = make_ca("Lower", upper)
    assert len(path(trusting(root), make_leaf(upper, NAME), upper)) == 3
    code, reason = refusal(trusting(root), make_leaf(lower, NAME), lower, upper)
    assert code is Code.PATH_CONSTRAINT
    assert "its length" in reason


# ---------------------------------------------------------------- what a leaf must be

GOOD_LEAVES: dict[str, dict[str, Any]] = {
    "bare": {},
    "basicConstraints": {"more": [(END_ENTITY, True)]},
    "digitalSignature": {"more": [key_usage(key_cert_sign=False, digital_signature=True)]},
    "critical SAN beside a subject": {"critical": True},
    "empty subject, critical SAN": {"subject": "", "critical": True},
    "unknown extension, not critical": {"more": [raw("1.2.3.4", b"\x05\x00", critical=False)]},
}
BAD_LEAVES: dict[str, tuple[str, dict[str, Any]]] = {
    "a CA": ("is a CA certificate", {"more": [(CA, True)]}),
    "keyCertSign": ("(keyCertSign)", {"more": [key_usage(key_cert_sign=True)]}),
    "nameConstraints": ("has nameConstraints", {"more": [constraints(permitted=["contoso.com"])]}),
    "empty subject, SAN not critical": ("is not critical", {"subject": ""}),
    "unknown critical extension": (
        "critical extension",
        {"more": [raw("1.2.3.4", b"\x05\x00", critical=True)]},
    ),
}


@pytest.mark.parametrize("options", GOOD_LEAVES.values(), ids=GOOD_LEAVES)
def test_good_leaves(root: Made, options: dict[str, Any]) -> None:
    leaf = make_leaf(root, NAME, **options)
    assert path(trusting(root), leaf) == certificates(leaf, root)


@pytest.mark.parametrize(("why", "options"), BAD_LEAVES.values(), ids=BAD_LEAVES)
def test_bad_leaves(root: Made, why: str, options: dict[str, Any]) -> None:
    """RFC 5280 §4.2.1.3, §4.2.1.6, §4.2.1.9 and §4.2.1.10."""
    code, reason = refusal(trusting(root), make_leaf(root, NAME, **options))
    assert code is Code.PATH_CONSTRAINT
    assert why in reason


def test_a_leaf_has_a_subject_or_a_subject_alternative_name(root: Made) -> None:
    """With neither it is nobody's."""
    assert path(trusting(root), make_leaf(root))
    code, reason = refusal(trusting(root), make_leaf(root, subject=""))
    assert code is Code.PATH_CONSTRAINT
    assert "neither a subject nor a subjectAltName" in reason


def test_an_anchor_is_no_peer(root: Made) -> None:
    """Who shows the CA's own certificate is refused, while it is valid and when it is not."""
    code, reason = refusal(trusting(root), root)
    assert code is Code.PATH_CONSTRAINT
    assert " is a CA certificate; expected a peer's own" in reason
    code, reason = refusal(trusting(root), root, now=NOW + 2 * YEAR)
    assert code is Code.PATH_EXPIRED
    assert reason.startswith("CN=Root ")


def test_a_leaf_that_cannot_be_decoded_is_malformed(root: Made) -> None:
    broken = make_leaf(root, NAME, more=[raw("2.5.29.37", b"\x05\x00", critical=False)])
    assert refusal(trusting(root), broken)[0] is Code.CERTIFICATE_MALFORMED


# ---------------------------------------------------------------- keys


def dsa_key() -> dsa.DSAPublicKey:
    parameters = dsa.DSAParameterNumbers((1 << 2048) - 1, (1 << 256) - 1, 2)
    return dsa.DSAPublicNumbers(3, parameters).public_key()


GOOD_KEYS = {
    "RSA-2048": lambda: rsa_key(2048),
    "RSA-2056": lambda: rsa_key(2056),
    "RSA-8192": lambda: rsa_key(8192),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()).public_key(),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()).public_key(),
    "Ed25519": lambda: ed25519.Ed25519PrivateKey.generate().public_key(),
    "Ed448": lambda: ed448.Ed448PrivateKey.generate().public_key(),
}
WEAK_KEYS = {
    "RSA-1024": ("1024 bits", lambda: rsa_key(1024)),
    "RSA-2047": ("2047 bits; expected at least 2048", lambda: rsa_key(2047)),
    # No key generator makes one by itself; the web forbids it.
    "RSA-2052": ("2052 bits; expected a multiple of 8", lambda: rsa_key(2052)),
    "P-192": ("secp192r1", lambda: ec.generate_private_key(ec.SECP192R1()).public_key()),
    "P-224": ("secp224r1", lambda: ec.generate_private_key(ec.SECP224R1()).public_key()),
    "DSA": ("DSA", dsa_key),
}


@pytest.mark.parametrize("key", GOOD_KEYS.values(), ids=GOOD_KEYS)
def test_strong_keys_are_good(root: Made, key: Any) -> None:
    leaf = make_leaf(root, NAME, public_key=key())
    assert path(trusting(root), leaf) == certificates(leaf, root)


@pytest.mark.parametrize(("why", "key"), WEAK_KEYS.values(), ids=WEAK_KEYS)
def test_weak_keys_are_refused(root: Made, why: str, key: Any) -> None:
    """RFC 9325 §4.5; the verifier of `cryptography` looks at the keys of CAs only."""
    code, reason = refusal(trusting(root), make_leaf(root, NAME, public_key=key()))
    assert code is Code.PATH_WEAK_KEY
    assert why in reason


@pytest.mark.parametrize(
    ("key", "weak"),
    [
        (lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024), True),
        (lambda: ec.generate_private_key(ec.SECP224R1()), True),
        (lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048), False),
        (lambda: ec.generate_private_key(ec.SECP384R1()), False),
        (lambda: ec.generate_private_key(ec.SECP521R1()), False),
    ],
    ids=["RSA-1024", "P-224", "RSA-2048", "P-384", "P-521"],
)
def test_the_key_of_an_intermediate_is_strong(root: Made, key: Any, weak: bool) -> None:
    intermediate = make_ca("I", root, key=key())
    chain = make_leaf(intermediate, NAME), intermediate
    if weak:
        code, reason = refusal(trusting(root), *chain)
        assert code is Code.PATH_WEAK_KEY
        assert reason.startswith("CN=I ")
    else:
        assert len(path(trusting(root), *chain)) == 3


def test_a_strong_rsa_key_is_not_blamed_for_another_fault(root: Made) -> None:
    """Where a path is refused, the keys of its CAs are looked at before the rest."""
    strong = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    intermediate = make("I", root, (END_ENTITY, True), key=strong)
    code, reason = refusal(trusting(root), make_leaf(intermediate, NAME), intermediate)
    assert code is Code.PATH_CONSTRAINT
    assert reason.startswith("CN=I ")
    assert " issued a certificate but is no CA" in reason


def test_a_ca_whose_key_the_path_builder_does_not_take_is_told_as_such() -> None:
    """Not as a broken rule of a path."""
    for key, said in (
        (ed25519.Ed25519PrivateKey.generate(), "neither RSA nor EC"),
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
    ):
        odd = make_ca("Odd CA", key=key)
        code, reason = refusal(trusting(odd), make_leaf(odd, NAME))
        assert code is Code.PATH_WEAK_KEY
        assert said in reason


# ---------------------------------------------------------------- what RFC 5280 asks of each

OCSP = x509.AccessDescription(
    AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://ocsp.example")
)
REPOSITORY = x509.AccessDescription(
    SubjectInformationAccessOID.CA_REPOSITORY, x509.UniformResourceIdentifier("http://ca.example")
)
CRL = x509.DistributionPoint(
    [x509.UniformResourceIdentifier("http://crl.example")], None, None, None
)
DIRECTORY = raw("2.5.29.9", b"\x30\x00", critical=True)[0]
CRITICALITY: dict[str, tuple[x509.ExtensionType, bool]] = {
    "subjectKeyIdentifier": (x509.SubjectKeyIdentifier(b"1"), False),
    "authorityKeyIdentifier": (x509.AuthorityKeyIdentifier(b"1", None, None), False),
    "authorityInfoAccess": (x509.AuthorityInformationAccess([OCSP]), False),
    "subjectInfoAccess": (x509.SubjectInformationAccess([REPOSITORY]), False),
    "freshestCRL": (x509.FreshestCRL([CRL]), False),
    "subjectDirectoryAttributes": (DIRECTORY, False),
    "policyConstraints": (x509.PolicyConstraints(0, None), True),
    "inhibitAnyPolicy": (x509.InhibitAnyPolicy(0), True),
    "nameConstraints": (constraints(permitted=["contoso.com"])[0], True),
}


@pytest.mark.parametrize("name", CRITICALITY)
@pytest.mark.parametrize("where", ["leaf", "intermediate", "anchor"])
def test_an_extension_is_critical_where_it_must_be_and_only_there(
    root: Made, name: str, where: str
) -> None:
    """RFC 5280 §4.2. A leaf has no nameConstraints at all, and that is told first."""
    extension, right = CRITICALITY[name]
    wrong = [(extension, not right)]
    anchor = make_ca("Root", None, *wrong) if where == "anchor" else root
    intermediate = make_ca("I", anchor, *(wrong if where == "intermediate" else []))
    leaf = make_leaf(intermediate, NAME, more=wrong if where == "leaf" else [])
    code, reason = refusal(trusting(anchor), leaf, intermediate)
    assert code is Code.PATH_CONSTRAINT
    if (name, where) == ("nameConstraints", "leaf"):
        assert reason.endswith("has nameConstraints; expected them in CA certificates only")
    else:
        state, expected = ("a non-critical", "is") if right else ("a critical", "is not")
        assert reason.endswith(f" has {state} {name}; expected one that {expected}")


@pytest.mark.parametrize("name", CRITICALITY)
def test_an_extension_of_the_right_criticality_is_good_if_it_is_understood(
    root: Made, name: str
) -> None:
    """The path builder reads no policies: a CA that insists on them is refused."""
    intermediate = make_ca("I", root, CRITICALITY[name])
    chain = make_leaf(intermediate, NAME), intermediate
    if name in ("policyConstraints", "inhibitAnyPolicy"):
        code, reason = refusal(trusting(root), *chain)
        assert code is Code.PATH_CONSTRAINT
        assert "a critical extension that is not understood" in reason
    else:
        assert len(path(trusting(root), *chain)) == 3


@pytest.mark.parametrize("number", [0, -1, -(2**64)])
def test_a_serial_number_is_positive_but_in_an_anchor(root: Made, number: int) -> None:
    """An anchor is trusted for its key and its name: Mozilla's list has one with the number 0.

    A negative one the path builder takes nowhere.
    """
    for subject, chain in {
        "CN=leaf ": [with_serial(make_leaf(root, NAME), number, root)],
        "CN=I ": [make_leaf(lower := make_ca("I", root), NAME), with_serial(lower, number, root)],
    }.items():
        code, reason = refusal(trusting(root), *chain)
        assert code is Code.PATH_CONSTRAINT
        assert reason.startswith(subject)
        assert reason.endswith(f" has the serial number {number}; expected a positive one")
    anchor = with_serial(root, number, root)
    leaf = with_serial(make_leaf(root, NAME), 1, root)
    if number == 0:
        assert path(trusting(anchor), leaf) == certificates(leaf, anchor)
    else:
        assert refusal(trusting(anchor), leaf)[0] is Code.PATH_CONSTRAINT


# ---------------------------------------------------------------- what is pinned


def test_a_pinned_certificate_is_valid_and_has_a_strong_key(root: Made) -> None:
    """Who it is for, and who issued it, does not matter where it is pinned."""
    good = make_leaf(root, NAME, more=[(CA, True)]).certificate
    assert pinned_fault(good, NOW) is None
    weak = make_leaf(root, NAME, public_key=rsa_key(1024)).certificate
    for certificate, when, code in (
        (good, NOW + YEAR + SECOND, Code.PATH_EXPIRED),
        (good, NOW - YEAR - SECOND, Code.PATH_NOT_YET_VALID),
        (weak, NOW, Code.PATH_WEAK_KEY),
        (weak, NOW + YEAR + SECOND, Code.PATH_EXPIRED),
    ):
        fault = pinned_fault(certificate, when)
        assert fault is not None
        assert fault.code is code


def test_a_certificate_is_valid_from_its_first_second_to_its_last(root: Made) -> None:
    certificate = make_leaf(root, not_before=NOW - SECOND, not_after=NOW + SECOND).certificate
    assert [date_fault(certificate, NOW + n * SECOND) for n in (-1, 0, 1)] == [None] * 3
    late = date_fault(certificate, NOW + 2 * SECOND)
    assert late is not None
    assert late.reason.endswith(
        " expired at 2030-06-01T12:00:01+00:00; expected one that is valid at"
        " 2030-06-01T12:00:02+00:00"
    )
    early = date_fault(certificate, NOW - 2 * SECOND)
    assert early is not None
    assert " is not valid before 2030-06-01T11:59:59+00:00; expected one " in early.reason
