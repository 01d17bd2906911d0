"""Authority: who is vouched for. Each refusal stands beside a twin that is accepted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import certifi
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
    named,
    purposes,
    raw,
    show,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from siptls import Authority, Code, ConfigurationError, Decision, Evidence, KeyPurposes, Role
from siptls.errors import CertificateError
from siptls.testing import CertificateAuthority
from siptls.trust.authority import ProvenPath

NAME = "sip:contoso.com"
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SIP_DOMAIN = ObjectIdentifier("1.3.6.1.5.5.7.3.20")
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
UNRELATED = ExtendedKeyUsageOID.CODE_SIGNING


@pytest.fixture(scope="module")
def root() -> Made:
    """A trust anchor as bare as RFC 5280 allows: no key identifiers, no keyUsage."""
    return make_ca("Root")


def trusting(*anchors: Made, **options: Any) -> Authority:
    return Authority("Contoso", [anchor.certificate for anchor in anchors], **options)


def path(authority: Authority, *chain: Made, **options: Any) -> list[x509.Certificate]:
    """Give the path that the authority proves; fail if it proves none."""
    result = authority.verify(show(*chain, **options))
    assert isinstance(result, ProvenPath), result
    return list(result.chain)


def refusal(authority: Authority, *chain: Made, **options: Any) -> tuple[Code, str]:
    """Give code and reason of the refusal; fail if there is none."""
    result = authority.verify(show(*chain, **options))
    assert isinstance(result, Decision), result
    assert not result.accepted
    assert result.by == f"authority {authority.name}"
    return Code(result.code), result.reason


def certificates(*made: Made) -> list[x509.Certificate]:
    return [each.certificate for each in made]


# ---------------------------------------------------------------- who issued it


def test_a_leaf_of_an_anchor_is_proven(root: Made) -> None:
    """The result holds the path from leaf to anchor, who proved it, and until when."""
    authority = trusting(root)
    leaf = make_leaf(root, NAME)
    proven = authority.verify(show(leaf))
    assert isinstance(proven, ProvenPath)
    assert proven.chain == (leaf.certificate, root.certificate)
    assert proven.authority is authority
    assert proven.expires == NOW + YEAR


@pytest.mark.parametrize("first", ["leaf", "intermediate", "root"])
def test_a_path_expires_with_the_first_of_its_certificates(first: str) -> None:
    """`expires` is the earliest notAfter, wherever on the path it stands."""
    ends = dict.fromkeys(("leaf", "intermediate", "root"), NOW + YEAR)
    ends[first] = NOW + SECOND
    root = make_ca("Root", not_after=ends["root"])
    intermediate = make_ca("I", root, not_after=ends["intermediate"])
    leaf = make_leaf(intermediate, NAME, not_after=ends["leaf"])
    proven = trusting(root).verify(show(leaf, intermediate))
    assert isinstance(proven, ProvenPath)
    assert proven.expires == NOW + SECOND


def test_an_unknown_ca_is_refused_and_named(root: Made) -> None:
    """The explanation says whose certificate would be needed."""
    other = make_ca("Other CA")
    code, reason = refusal(trusting(root), make_leaf(other, NAME))
    assert code is Code.PATH_UNKNOWN_CA
    assert "'CN=Other CA'" in reason
    assert "Contoso" in reason


def test_a_stranger_costs_no_signature(root: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no anchor has issued any of it, no path is searched: strangers come in numbers."""
    searches: list[Evidence] = []
    build = Authority._build

    def counted(self: Authority, evidence: Evidence) -> Any:
        searches.append(evidence)
        return build(self, evidence)

    monkeypatch.setattr(Authority, "_build", counted)
    stranger = make_ca("Stranger CA")
    refusal(trusting(root), make_leaf(stranger, NAME), stranger)
    assert searches == []
    path(trusting(root), make_leaf(root, NAME))
    assert len(searches) == 1


def test_the_unknown_ca_is_the_one_above_what_was_sent(root: Made) -> None:
    """Where the peer sent a whole foreign path, its end is named."""
    other = make_ca("Other CA")
    intermediate = make_ca("Other Issuing CA", other)
    leaf = make_leaf(intermediate, NAME)
    code, reason = refusal(trusting(root), leaf, intermediate)
    assert code is Code.PATH_UNKNOWN_CA
    assert "'CN=Other CA'" in reason


def test_the_issuer_in_a_refusal_is_printable(root: Made) -> None:
    """What a stranger wrote into a certificate does not break a line of the log."""
    other = make_ca("Evil\x1b[2J CA")
    _, reason = refusal(trusting(root), make_leaf(other, NAME))
    assert reason.isprintable()


def test_a_self_signed_leaf_is_refused(root: Made) -> None:
    """The man in the middle of the textbook."""
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(NAME)])
    assert refusal(trusting(root), make("leaf", None, (san, False)))[0] is Code.PATH_UNKNOWN_CA


def test_a_missing_intermediate_is_an_unknown_ca(root: Made) -> None:
    """A peer that sends no intermediates is told of as such; with them it is proven."""
    upper = make_ca("Upper", root)
    lower = make_ca("Lower", upper)
    leaf = make_leaf(lower, NAME)
    code, reason = refusal(trusting(root), leaf)
    assert (code, "'CN=Lower'" in reason) == (Code.PATH_UNKNOWN_CA, True)
    # An unrelated certificate of the known root: the anchor has issued something, so the quick
    # answer does not apply.
    code, reason = refusal(trusting(root), leaf, make_ca("Unrelated", root))
    assert (code, "'CN=Lower'" in reason) == (Code.PATH_UNKNOWN_CA, True)
    assert path(trusting(root), leaf, lower, upper) == certificates(leaf, lower, upper, root)


def test_a_forged_signature_is_told_from_an_unknown_ca(root: Made) -> None:
    """The issuer has the anchor's name, but another key."""
    forger = make_ca("Root")
    leaf = make_leaf(forger, NAME)
    code, reason = refusal(trusting(root), leaf)
    assert code is Code.PATH_SIGNATURE
    assert "CN=leaf" in reason
    assert "is not signed by CN=Root" in reason
    assert refusal(trusting(root), leaf, forger)[0] is Code.PATH_SIGNATURE
    assert path(trusting(forger), leaf) == certificates(leaf, forger)


def test_a_forged_intermediate_is_refused(root: Made) -> None:
    """One who has any certificate of the CA cannot put himself in the place of an intermediate."""
    real = make_ca("I", root)
    forged = make_ca("I", root)
    leaf = make_leaf(forged, NAME)
    assert refusal(trusting(root), leaf, real)[0] is Code.PATH_SIGNATURE
    assert path(trusting(root), leaf, forged) == certificates(leaf, forged, root)


def test_a_signature_by_a_key_of_another_kind_is_refused(root: Made) -> None:
    """An EC signature is held against an anchor with an RSA key, and against one with Ed25519."""
    leaf = make_leaf(root, NAME)
    for key in (
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ed25519.Ed25519PrivateKey.generate(),
    ):
        assert refusal(trusting(make_ca("Root", key=key)), leaf)[0] is Code.PATH_SIGNATURE


def test_certificates_that_issue_each_other_end(root: Made) -> None:
    """A circle is walked once, and leads to no anchor."""
    a_key = ec.generate_private_key(ec.SECP256R1())
    a = make_ca("A", None, key=a_key)
    b = make_ca("B", a)
    a_by_b = make_ca("A", b, key=a_key)
    leaf = make_leaf(a, NAME)
    stray = make_ca("stray", root)
    assert refusal(trusting(root), leaf, a_by_b, b, stray)[0] is Code.PATH_UNKNOWN_CA


# ---------------------------------------------------------------- which path


def test_intermediates_may_come_in_any_order_and_twice(root: Made) -> None:
    """TLS 1.3 allows any order; servers send the anchor along, and strays."""
    upper = make_ca("Upper", root)
    lower = make_ca("Lower", upper)
    leaf = make_leaf(lower, NAME)
    expected = certificates(leaf, lower, upper, root)
    authority = trusting(root)
    assert path(authority, leaf, lower, upper) == expected
    assert path(authority, leaf, upper, lower) == expected
    assert path(authority, leaf, lower, lower, upper, upper) == expected
    assert path(authority, leaf, lower, upper, root) == expected
    assert path(authority, leaf, make_ca("Stray"), root, upper, lower) == expected


def test_an_anchor_may_be_an_intermediate(root: Made) -> None:
    """The path ends at the anchor; the root above it is not needed, and not trusted."""
    anchor = make_ca("I", root)
    leaf = make_leaf(anchor, NAME)
    assert path(trusting(anchor), leaf) == certificates(leaf, anchor)
    assert path(trusting(anchor), leaf, anchor, root) == certificates(leaf, anchor)
    assert refusal(trusting(anchor), make_leaf(root, NAME))[0] is Code.PATH_UNKNOWN_CA


BAD_CROSS_CERTIFICATES = {
    "expired": ((), {"not_after": NOW - SECOND}),
    "without keyCertSign": ((key_usage(key_cert_sign=False),), {}),
    "with an unrelated EKU": ((purposes(UNRELATED),), {}),
}


@pytest.mark.parametrize("why", BAD_CROSS_CERTIFICATES)
@pytest.mark.parametrize("bad_first", [True, False])
def test_a_bad_cross_certificate_does_not_hide_a_good_path(
    root: Made, why: str, bad_first: bool
) -> None:
    """Two intermediates of one name and key: one is bad, the other carries the path."""
    extensions, options = BAD_CROSS_CERTIFICATES[why]
    good = make_ca("I", root)
    bad = make_ca("I", root, *extensions, key=good.key, **options)
    leaf = make_leaf(good, NAME)
    sent = (bad, good) if bad_first else (good, bad)
    assert path(trusting(root), leaf, *sent) == certificates(leaf, good, root)
    assert refusal(trusting(root), leaf, bad)[0] is not Code.PATH_UNKNOWN_CA


def test_an_impostor_of_an_intermediate_does_not_hide_a_good_path(root: Made) -> None:
    """Two intermediates of one name and two keys."""
    good, impostor = make_ca("I", root), make_ca("I", root)
    leaf = make_leaf(good, NAME)
    assert path(trusting(root), leaf, impostor, good) == certificates(leaf, good, root)


@pytest.mark.parametrize(
    "constrained_first",
    [False, True],
)
def test_a_constrained_cross_certificate_does_not_hide_a_good_path(
    root: Made, constrained_first: bool
) -> None:
    """Name constraints belong to a path, not to the leaf: another path may be free of them."""
    good = make_ca("I", root)
    constrained = make_ca("I", root, constraints(permitted=["other.example"]), key=good.key)
    leaf = make_leaf(good, NAME)
    sent = (constrained, good) if constrained_first else (good, constrained)
    assert path(trusting(root), leaf, *sent) == certificates(leaf, good, root)


def test_of_two_anchors_of_one_name_the_right_one_is_found(root: Made) -> None:
    """A CA that renewed its root, with another key or with the same one."""
    other_key = make_ca("Root")
    expired = make_ca("Root", key=root.key, not_after=NOW - SECOND)
    leaf = make_leaf(root, NAME)
    assert path(trusting(other_key, root), leaf) == certificates(leaf, root)
    assert path(trusting(expired, root), leaf) == certificates(leaf, root)
    assert refusal(trusting(other_key), leaf)[0] is Code.PATH_SIGNATURE
    assert refusal(trusting(expired), leaf)[0] is Code.PATH_EXPIRED


# ---------------------------------------------------------------- when

POSITIONS = ["leaf", "intermediate", "root"]


def dated(position: str, **dates: dt.datetime) -> tuple[Authority, list[Made]]:
    root = make_ca("Root", **(dates if position == "root" else {}))
    intermediate = make_ca("I", root, **(dates if position == "intermediate" else {}))
    leaf = make_leaf(intermediate, NAME, **(dates if position == "leaf" else {}))
    return trusting(root), [leaf, intermediate]


@pytest.mark.parametrize("position", POSITIONS)
def test_an_expired_certificate_is_refused_wherever_it_stands(position: str) -> None:
    """NotAfter itself is still good (RFC 5280 §4.1.2.5), the second after it is not."""
    authority, chain = dated(position, not_after=NOW)
    assert len(path(authority, *chain, now=NOW)) == 3
    code, reason = refusal(authority, *chain, now=NOW + SECOND)
    assert code is Code.PATH_EXPIRED
    subject = {"leaf": "CN=leaf", "intermediate": "CN=I", "root": "CN=Root"}[position]
    assert reason.startswith(f"{subject} ")
    assert reason.endswith(f"expired at {NOW.isoformat()}")


@pytest.mark.parametrize("position", POSITIONS)
def test_a_certificate_of_the_future_is_refused_wherever_it_stands(position: str) -> None:
    """NotBefore itself is good, the second before it is not."""
    authority, chain = dated(position, not_before=NOW)
    assert len(path(authority, *chain, now=NOW)) == 3
    code, reason = refusal(authority, *chain, now=NOW - SECOND)
    assert code is Code.PATH_NOT_YET_VALID
    assert reason.endswith(f"is not valid before {NOW.isoformat()}")


@pytest.mark.parametrize("hours", [-12, 12])
def test_the_time_of_judgement_may_be_in_any_time_zone(hours: int) -> None:
    """The instant counts, not the digits of its clock."""
    authority, chain = dated("leaf", not_before=NOW, not_after=NOW + SECOND)
    zone = dt.timezone(dt.timedelta(hours=hours))
    assert path(authority, *chain, now=NOW.astimezone(zone))
    after, before = NOW + 2 * SECOND, NOW - SECOND
    assert refusal(authority, *chain, now=after.astimezone(zone))[0] is Code.PATH_EXPIRED
    assert refusal(authority, *chain, now=before.astimezone(zone))[0] is Code.PATH_NOT_YET_VALID


# ---------------------------------------------------------------- what a CA must be

GOOD_CAS: dict[str, Sequence[Extension]] = {
    "bare": [(CA, True)],
    "basicConstraints not critical": [(CA, False)],
    "with keyCertSign": [(CA, True), key_usage(key_cert_sign=True)],
    "EKU that suffices": [(CA, True), purposes(UNRELATED, SERVER)],
    "EKU any": [(CA, True), purposes(ANY)],
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
        [(CA, True), purposes(UNRELATED)],
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
        (Code.PURPOSE_UNACCEPTABLE, purposes(UNRELATED)),
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
    assert refusal(trusting(root), root)[0] is Code.PATH_CONSTRAINT
    code, reason = refusal(trusting(root), root, now=NOW + 2 * YEAR)
    assert code is Code.PATH_EXPIRED
    assert reason.startswith("CN=Root ")


def test_a_leaf_that_cannot_be_decoded_is_malformed(root: Made) -> None:
    broken = make_leaf(root, NAME, more=[raw("2.5.29.37", b"\x05\x00", critical=False)])
    assert refusal(trusting(root), broken)[0] is Code.CERTIFICATE_MALFORMED


# ---------------------------------------------------------------- keys


def rsa_key(bits: int) -> rsa.RSAPublicKey:
    """Give a public key of that size; nobody has the private one."""
    return rsa.RSAPublicNumbers(65537, (1 << bits) - 1).public_key()


def dsa_key() -> dsa.DSAPublicKey:
    parameters = dsa.DSAParameterNumbers((1 << 2048) - 1, (1 << 256) - 1, 2)
    return dsa.DSAPublicNumbers(3, parameters).public_key()


GOOD_KEYS = {
    "RSA-2048": lambda: rsa_key(2048),
    "RSA-8192": lambda: rsa_key(8192),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()).public_key(),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()).public_key(),
    "Ed25519": lambda: ed25519.Ed25519PrivateKey.generate().public_key(),
    "Ed448": lambda: ed448.Ed448PrivateKey.generate().public_key(),
}
WEAK_KEYS = {
    "RSA-1024": ("1024 bits", lambda: rsa_key(1024)),
    "RSA-2047": ("2047 bits", lambda: rsa_key(2047)),
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
    ],
    ids=["RSA-1024", "P-224", "RSA-2048", "P-384"],
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


# ---------------------------------------------------------------- name constraints

CONTOSO_ONLY = constraints(permitted=["contoso.com"])
BELOW_CONTOSO = constraints(permitted=[".contoso.com"])
NOT_CONTOSO = constraints(excluded=["contoso.com"])
NOT_BELOW_CONTOSO = constraints(excluded=[".contoso.com"])

CONSTRAINED: list[tuple[Extension, str, bool]] = [
    (CONTOSO_ONLY, "sip:contoso.com", True),
    (CONTOSO_ONLY, "sip:CONTOSO.com", True),
    (CONTOSO_ONLY, "sip:eu.contoso.com", True),
    (CONTOSO_ONLY, "sips:contoso.com", True),
    (CONTOSO_ONLY, "sip:alice@contoso.com", True),
    (CONTOSO_ONLY, "contoso.com", True),
    (CONTOSO_ONLY, "eu.contoso.com", True),
    (CONTOSO_ONLY, "sip:evilcontoso.com", False),
    (CONTOSO_ONLY, "sip:evil.example", False),
    (CONTOSO_ONLY, "sips:evil.example", False),
    (CONTOSO_ONLY, "sip:alice@evil.example", False),
    (CONTOSO_ONLY, "sip:192.0.2.1", False),
    (CONTOSO_ONLY, "sip:com", False),
    (CONTOSO_ONLY, "evil.example", False),
    (constraints(permitted=["CONTOSO.com"]), "sip:contoso.com", True),
    (constraints(permitted=["a.example", "contoso.com"]), "sip:contoso.com", True),
    (constraints(permitted=[""]), "sip:contoso.com", True),
    # A leading dot leaves the domain itself out.
    (BELOW_CONTOSO, "sip:eu.contoso.com", True),
    (BELOW_CONTOSO, "sip:contoso.com", False),
    (BELOW_CONTOSO, "sip:evilcontoso.com", False),
    (NOT_BELOW_CONTOSO, "sip:contoso.com", True),
    (NOT_BELOW_CONTOSO, "sip:eu.contoso.com", False),
    (NOT_CONTOSO, "sip:fabrikam.com", True),
    (NOT_CONTOSO, "sip:evilcontoso.com", True),
    (NOT_CONTOSO, "fabrikam.com", True),
    (NOT_CONTOSO, "sip:contoso.com", False),
    (NOT_CONTOSO, "sip:eu.contoso.com", False),
    (NOT_CONTOSO, "sip:alice@contoso.com", False),
    (NOT_CONTOSO, "eu.contoso.com", False),
    (constraints(excluded=[""]), "sip:contoso.com", False),
    (constraints(permitted=["contoso.com"], excluded=["eu.contoso.com"]), "sip:contoso.com", True),
    (
        constraints(permitted=["contoso.com"], excluded=["eu.contoso.com"]),
        "sip:a.eu.contoso.com",
        False,
    ),
    # Constraints on mail addresses say nothing about domains.
    (
        (x509.NameConstraints([x509.RFC822Name("contoso.com")], None), True),
        "sip:fabrikam.com",
        True,
    ),
]


@pytest.mark.parametrize(("extension", "name", "good"), CONSTRAINED)
@pytest.mark.parametrize("where", ["root", "intermediate"])
def test_dns_constraints_hold_for_the_hosts_of_uris(
    extension: Extension, name: str, good: bool, where: str
) -> None:
    """A CA that is limited to contoso.com may not issue ``sip:evil.example`` either."""
    root = make_ca("Root", None, *([extension] if where == "root" else []))
    intermediate = make_ca("I", root, *([extension] if where == "intermediate" else []))
    chain = make_leaf(intermediate, name), intermediate
    if good:
        assert len(path(trusting(root), *chain)) == 3
    else:
        assert refusal(trusting(root), *chain)[0] is Code.PATH_CONSTRAINT


def test_one_name_outside_the_constraints_spoils_the_certificate(root: Made) -> None:
    """The explanation names it, and the CA whose limit it breaks."""
    limited = make_ca("I", root, CONTOSO_ONLY)
    assert path(trusting(root), make_leaf(limited, NAME, "sip:eu.contoso.com"), limited)
    leaf = make_leaf(limited, NAME, "sip:evil.example")
    code, reason = refusal(trusting(root), leaf, limited)
    assert code is Code.PATH_CONSTRAINT
    assert "presents sip:evil.example, outside what CN=I " in reason


def test_an_excluded_name_is_told_as_such(root: Made) -> None:
    limited = make_ca("I", root, NOT_CONTOSO)
    _, reason = refusal(trusting(root), make_leaf(limited, NAME), limited)
    assert "presents sip:contoso.com, which CN=I " in reason
    assert reason.endswith("must not vouch for")


@pytest.mark.parametrize(
    ("names", "common_name", "good"),
    [
        ([], "sip.contoso.com", True),
        ([], "sip.evil.example", False),
        # No domain: it can never be believed, so there is nothing to constrain.
        ([], "Contoso Server", True),
        # Beside a SAN a common name never counts.
        ([NAME], "sip.evil.example", True),
    ],
)
def test_dns_constraints_hold_for_a_common_name_without_san(
    root: Made, names: list[str], common_name: str, good: bool
) -> None:
    """`NameRules.OCS` believes such a common name, so it is constrained like a dNSName."""
    limited = make_ca("I", root, CONTOSO_ONLY)
    chain = make_leaf(limited, *names, subject=common_name), limited
    if good:
        assert len(path(trusting(root), *chain)) == 3
    else:
        assert refusal(trusting(root), *chain)[0] is Code.PATH_CONSTRAINT


def test_each_ca_on_the_path_keeps_its_constraints(root: Made) -> None:
    """The CA below cannot widen what the CA above was limited to."""
    upper = make_ca("Upper", root, constraints(permitted=["contoso.com"]))
    lower = make_ca("Lower", upper, constraints(permitted=["contoso.com", "evil.example"]))
    assert path(trusting(root), make_leaf(lower, NAME), lower, upper)
    code, reason = refusal(trusting(root), make_leaf(lower, "sip:evil.example"), lower, upper)
    assert code is Code.PATH_CONSTRAINT
    assert "CN=Upper" in reason


@pytest.mark.parametrize("permitted", [".contoso.com", ""])
def test_a_dns_name_under_a_constraint_with_a_leading_dot_is_refused(
    root: Made, permitted: str
) -> None:
    """Such constraints are no DNS names (RFC 5280 §4.2.1.10), and ``cryptography`` takes none."""
    limited = make_ca("I", root, constraints(permitted=[permitted]))
    leaf = make_leaf(limited, "sip:eu.contoso.com", "eu.contoso.com")
    assert refusal(trusting(root), leaf, limited)[0] is Code.PATH_CONSTRAINT


# ---------------------------------------------------------------- purposes


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("usages", "good"),
    [
        (None, True),
        ((SERVER,), True),
        ((CLIENT,), True),
        ((SIP_DOMAIN,), True),
        ((ANY,), True),
        ((UNRELATED, SERVER), True),
        ((UNRELATED,), False),
        ((UNRELATED, ExtendedKeyUsageOID.EMAIL_PROTECTION), False),
    ],
)
@pytest.mark.parametrize("where", ["leaf", "intermediate"])
def test_the_purposes_of_sip(
    root: Made,
    role: Role,
    usages: tuple[ObjectIdentifier, ...] | None,
    good: bool,
    where: str,
) -> None:
    """A certificate with serverAuth only is good for a client: public CAs issue no other."""
    usage = [] if usages is None else [purposes(*usages)]
    intermediate = make_ca("I", root, *(usage if where == "intermediate" else []))
    leaf = make_leaf(intermediate, NAME, more=usage if where == "leaf" else [])
    if good:
        assert len(path(trusting(root), leaf, intermediate, role=role)) == 3
    else:
        code, reason = refusal(trusting(root), leaf, intermediate, role=role)
        assert code is Code.PURPOSE_UNACCEPTABLE
        assert reason.startswith("CN=leaf " if where == "leaf" else "CN=I ")
        assert f"for a {role} SIP asks for one of: any, clientAuth, serverAuth, sipDomain" in reason


STRICT = KeyPurposes("STRICT", server=[SERVER], client=[CLIENT], absent=False)


@pytest.mark.parametrize(
    ("role", "usages", "why"),
    [
        (Role.SERVER, (SERVER,), None),
        (Role.CLIENT, (CLIENT,), None),
        (Role.SERVER, (CLIENT,), "EKU clientAuth, but for a server STRICT asks for"),
        (Role.CLIENT, (SERVER,), "EKU serverAuth, but for a client STRICT asks for"),
        (Role.CLIENT, (UNRELATED,), f"EKU {UNRELATED.dotted_string}, but"),
        (Role.CLIENT, None, "no EKU at all, but for a client STRICT asks for"),
    ],
)
def test_purposes_of_your_own(
    root: Made, role: Role, usages: tuple[ObjectIdentifier, ...] | None, why: str | None
) -> None:
    """Each role has its own; `absent` says whether a leaf without EKU is good. A CA without is."""
    intermediate = make_ca("I", root)
    usage = [] if usages is None else [purposes(*usages)]
    chain = make_leaf(intermediate, NAME, more=usage), intermediate
    authority = trusting(root, purposes=STRICT)
    if why is None:
        assert len(path(authority, *chain, role=role)) == 3
    else:
        code, reason = refusal(authority, *chain, role=role)
        assert code is Code.PURPOSE_UNACCEPTABLE
        assert why in reason


def test_the_purposes_of_an_intermediate_follow_the_role(root: Made) -> None:
    intermediate = make_ca("I", root, purposes(SERVER))
    chain = make_leaf(intermediate, NAME, more=[purposes(SERVER, CLIENT)]), intermediate
    authority = trusting(root, purposes=STRICT)
    assert len(path(authority, *chain, role=Role.SERVER)) == 3
    assert refusal(authority, *chain, role=Role.CLIENT)[0] is Code.PURPOSE_UNACCEPTABLE


# ---------------------------------------------------------------- limits


def test_no_certificate_at_all(root: Made) -> None:
    assert refusal(trusting(root))[0] is Code.CERTIFICATE_MISSING


def test_more_certificates_than_are_taken(root: Made) -> None:
    """Eight by default, and the path may use all of them; not one more."""
    cas = [root]
    for number in range(7):
        cas.append(make_ca(f"I{number}", cas[-1]))
    chain = [make_leaf(cas[-1], NAME), *reversed(cas[1:])]
    assert path(trusting(root), *chain) == certificates(*chain, root)
    code, reason = refusal(trusting(root), *chain, root)
    assert code is Code.PATH_LIMIT
    assert reason == "9 certificates were presented; at most 8 are taken"
    assert len(path(trusting(root), *chain, root, max_certificates=9)) == 9
    assert refusal(trusting(root), *chain, max_certificates=7)[0] is Code.PATH_LIMIT


def test_more_bytes_than_are_taken(root: Made) -> None:
    leaf = make_leaf(root, NAME)
    size = len(leaf.certificate.public_bytes(Encoding.DER))
    assert path(trusting(root), leaf, max_chain=size)
    assert refusal(trusting(root), leaf, max_chain=size - 1)[0] is Code.PATH_LIMIT


def test_an_rsa_key_above_the_limit_is_not_worked_with(root: Made) -> None:
    """In a leaf and in an intermediate; 8192 bits are good, see above."""
    huge = rsa_key(8193)
    assert refusal(trusting(root), make_leaf(root, NAME, public_key=huge))[0] is Code.PATH_LIMIT
    intermediate = make_ca("I", root, public_key=huge)
    leaf = make_leaf(root, NAME)
    assert refusal(trusting(root), leaf, intermediate)[0] is Code.PATH_LIMIT


def test_more_names_than_are_taken(root: Made) -> None:
    """999 dNSNames and a common name are 1000 names; one more is too many."""
    names = [f"h{number}.contoso.com" for number in range(999)]
    assert path(trusting(root), make_leaf(root, *names))
    code, reason = refusal(trusting(root), make_leaf(root, *names, NAME))
    assert code is Code.PATH_LIMIT
    assert "1001 names" in reason


# ---------------------------------------------------------------- building an authority


def test_an_authority_has_an_anchor() -> None:
    with pytest.raises(ConfigurationError, match="without a trust anchor"):
        Authority("Contoso", [])


def test_anchors_from_no_pem_at_all() -> None:
    with pytest.raises(ConfigurationError, match="without a trust anchor"):
        Authority.from_pem("CA")


def test_an_anchor_is_a_certificate() -> None:
    """A path where a certificate is wanted: `Authority.from_pem` was meant."""
    with pytest.raises(ConfigurationError):
        Authority("Contoso", ["contoso-ca.pem"])  # type: ignore[list-item]


@pytest.mark.parametrize("extensions", [[], [(END_ENTITY, True)]])
def test_an_anchor_is_a_ca(root: Made, extensions: list[Extension]) -> None:
    """A server's own certificate given as its CA is a frequent mistake: each is named."""
    leaf = make("sip.contoso.com", root, *extensions)
    with pytest.raises(ConfigurationError, match=r"CN=sip\.contoso\.com .*no basicConstraints cA"):
        Authority("Contoso", [root.certificate, leaf.certificate])


def test_an_anchor_that_cannot_be_decoded_is_refused() -> None:
    broken = make_ca("Broken", None, raw("2.5.29.37", b"\x05\x00", critical=False))
    with pytest.raises(ConfigurationError, match=r"CN=Broken .*it cannot be decoded"):
        trusting(broken)


def test_an_authority_is_a_value_with_an_identity(root: Made) -> None:
    """Anchors come from any iterable, each once; two authorities are never equal by accident."""
    anchors = iter([root.certificate, root.certificate])
    authority = Authority("Contoso", anchors)
    assert authority.anchors == (root.certificate,)
    assert authority.subjects == {named("Root")}
    assert authority.purposes is KeyPurposes.SIP
    assert authority != Authority("Contoso", [root.certificate])
    assert "Contoso" in repr(authority)


def test_authorities_share_no_anchors(root: Made) -> None:
    """What one authority knows, another does not."""
    other = make_ca("Other")
    leaf = make_leaf(other, NAME)
    first, second = trusting(root), trusting(other)
    assert len(path(second, leaf)) == 2
    assert refusal(first, leaf)[0] is Code.PATH_UNKNOWN_CA


def test_anchors_from_pem(tmp_path: Path, contoso: CertificateAuthority) -> None:
    """From a path, a string that is a path, and bytes; a file may hold several."""
    fabrikam = make_ca("Fabrikam")
    fabrikam_pem = fabrikam.certificate.public_bytes(Encoding.PEM)
    file = tmp_path / "ca.pem"
    file.write_bytes(contoso.pem + fabrikam_pem)
    both = (contoso.certificate, fabrikam.certificate)
    assert Authority.from_pem("CA", file).anchors == both
    assert Authority.from_pem("CA", str(file)).anchors == both
    assert Authority.from_pem("CA", contoso.pem, fabrikam_pem).anchors == both
    assert Authority.from_pem("CA", file, contoso.pem).anchors == both
    assert Authority.from_pem("CA", contoso.pem, purposes=STRICT).purposes is STRICT


def test_anchors_from_pem_that_hold_none(tmp_path: Path) -> None:
    """Every mistake has its own sentence."""
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent\.pem"):
        Authority.from_pem("CA", tmp_path / "absent.pem")
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"empty\.pem has no certificate"):
        Authority.from_pem("CA", empty)
    with pytest.raises(ConfigurationError, match="the PEM text given has no certificate"):
        Authority.from_pem("CA", b"no PEM here")


def test_one_good_source_does_not_excuse_an_empty_one(contoso: CertificateAuthority) -> None:
    with pytest.raises(ConfigurationError, match="has no certificate"):
        Authority.from_pem("CA", contoso.pem, b"")


def test_pem_text_as_str_is_not_taken_for_a_path(contoso: CertificateAuthority) -> None:
    with pytest.raises(ConfigurationError, match="pass it as bytes"):
        Authority.from_pem("CA", contoso.pem.decode())


def test_anchors_from_pem_of_no_ca(contoso: CertificateAuthority) -> None:
    leaf = contoso.issue("sip:contoso.com").chain[0]
    with pytest.raises(ConfigurationError, match="no CA certificate"):
        Authority.from_pem("CA", leaf.public_bytes(Encoding.PEM))


def test_anchors_from_pem_that_is_cut_off(contoso: CertificateAuthority) -> None:
    lines = contoso.pem.splitlines(keepends=True)
    with pytest.raises(CertificateError, match="cannot be read"):
        Authority.from_pem("CA", b"".join([*lines[:3], lines[-1]]))


def test_the_public_authority() -> None:
    """It has the roots that `certifi` has, and knows none of ours."""
    public = Authority.public(purposes=STRICT)
    assert public.name == "public CAs"
    assert public.purposes is STRICT
    count = Path(certifi.where()).read_bytes().count(b"-----BEGIN CERTIFICATE-----")
    assert len(public.anchors) == count > 50
    assert refusal(public, make_leaf(make_ca("Root"), NAME))[0] is Code.PATH_UNKNOWN_CA


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
