"""Diagnosis: why there is no path. Each refusal stands beside a twin that is accepted."""

from __future__ import annotations

import datetime as dt

import pytest
from certificates import (
    ECDSA_SHA256,
    NOW,
    SECOND,
    YEAR,
    Made,
    constraints,
    key_usage,
    make,
    make_ca,
    make_leaf,
    raw,
    with_serial,
    with_sha1,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from paths import NAME, certificates, path, refusal, trusting

from siptls import Authority, Code


@pytest.fixture(scope="module")
def root() -> Made:
    """A trust anchor as bare as RFC 5280 allows: no key identifiers, no keyUsage."""
    return make_ca("Root")


# ---------------------------------------------------------------- who issued it


def test_an_unknown_ca_is_refused_and_named(root: Made) -> None:
    """The explanation says whose certificate would be needed."""
    other = make_ca("Other CA")
    code, reason = refusal(trusting(root), make_leaf(other, NAME))
    assert code is Code.PATH_UNKNOWN_CA
    assert reason.endswith(" is issued by 'CN=Other CA'; expected a path to an anchor of Contoso")


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
    code, reason = refusal(trusting(root), make("leaf", None, (san, False)))
    assert code is Code.PATH_UNKNOWN_CA
    assert " is issued by 'CN=leaf', which is itself; expected a path to an anchor of" in reason


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


def test_a_signature_by_what_nobody_knows_is_refused(root: Made) -> None:
    leaf = make_leaf(root, NAME)
    der = leaf.certificate.public_bytes(Encoding.DER)
    unknown = der.replace(ECDSA_SHA256, ECDSA_SHA256[:-1] + b"\x7f")
    strange = Made(x509.load_der_x509_certificate(unknown), leaf.key)
    assert refusal(trusting(root), strange)[0] is Code.PATH_SIGNATURE


def test_a_signature_with_sha1_proves_nothing_and_is_told_as_such(root: Made) -> None:
    """It is no forgery that an operator has to look for. An anchor's own signature is not used."""
    leaf, intermediate = make_leaf(root, NAME), make_ca("I", root)
    below = make_leaf(intermediate, NAME)
    old = with_sha1(intermediate, root)
    for chain in ([with_sha1(leaf, root)], [below, old]):
        code, reason = refusal(trusting(root), *chain)
        assert code is Code.PATH_SIGNATURE
        assert "is signed with SHA1, which proves nothing; expected a signature with" in reason
    assert ("CN=leaf" in reason, "CN=I" in reason) == (False, True)
    anchor = with_sha1(root, root)
    assert path(trusting(anchor), leaf) == certificates(leaf, anchor)
    assert path(trusting(root), below, intermediate) == certificates(below, intermediate, root)


def test_certificates_that_issue_each_other_end(root: Made) -> None:
    """A circle is walked once, and leads to no anchor."""
    a_key = ec.generate_private_key(ec.SECP256R1())
    a = make_ca("A", None, key=a_key)
    b = make_ca("B", a)
    a_by_b = make_ca("A", b, key=a_key)
    leaf = make_leaf(a, NAME)
    stray = make_ca("stray", root)
    assert refusal(trusting(root), leaf, a_by_b, b, stray)[0] is Code.PATH_UNKNOWN_CA


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
    assert f" expired at {NOW.isoformat()}; expected one that is valid at" in reason


@pytest.mark.parametrize("position", POSITIONS)
def test_a_certificate_of_the_future_is_refused_wherever_it_stands(position: str) -> None:
    """NotBefore itself is good, the second before it is not."""
    authority, chain = dated(position, not_before=NOW)
    assert len(path(authority, *chain, now=NOW)) == 3
    code, reason = refusal(authority, *chain, now=NOW - SECOND)
    assert code is Code.PATH_NOT_YET_VALID
    assert f" is not valid before {NOW.isoformat()}; expected one that" in reason


@pytest.mark.parametrize("hours", [-12, 12])
def test_the_time_of_judgement_may_be_in_any_time_zone(hours: int) -> None:
    """The instant counts, not the digits of its clock."""
    authority, chain = dated("leaf", not_before=NOW, not_after=NOW + SECOND)
    zone = dt.timezone(dt.timedelta(hours=hours))
    assert path(authority, *chain, now=NOW.astimezone(zone))
    after, before = NOW + 2 * SECOND, NOW - SECOND
    assert refusal(authority, *chain, now=after.astimezone(zone))[0] is Code.PATH_EXPIRED
    assert refusal(authority, *chain, now=before.astimezone(zone))[0] is Code.PATH_NOT_YET_VALID


# ---------------------------------------------------------------- which fault is told


def test_the_first_fault_on_the_way_up_is_told(root: Made) -> None:
    """A date of the leaf before the fault of a CA, and that before one of the CA above."""
    old = {"not_after": NOW - SECOND}
    upper = make_ca("Upper", root, **old)
    lower = make_ca("Lower", upper, key_usage(key_cert_sign=False))
    expired, good = make_leaf(lower, NAME, **old), make_leaf(lower, NAME)
    assert refusal(trusting(root), expired, lower, upper)[1].startswith("CN=leaf ")
    code, reason = refusal(trusting(root), good, lower, upper)
    assert code is Code.PATH_CONSTRAINT
    assert reason.startswith("CN=Lower ")
    good_lower = make_ca("Lower", upper, key=lower.key)
    code, reason = refusal(trusting(root), good, good_lower, upper)
    assert code is Code.PATH_EXPIRED
    assert reason.startswith("CN=Upper ")


def test_a_fault_below_a_missing_or_forged_issuer_is_not_told(root: Made) -> None:
    """Whether an expired stranger is expired does not matter to anybody."""
    stray = make_ca("stray", root)
    stranger = make_leaf(make_ca("Other CA"), NAME, not_after=NOW - SECOND)
    assert refusal(trusting(root), stranger, stray)[0] is Code.PATH_UNKNOWN_CA
    forged = make_leaf(make_ca("Root"), NAME, not_after=NOW - SECOND)
    assert refusal(trusting(root), forged)[0] is Code.PATH_SIGNATURE


def test_the_serial_number_of_an_anchor_is_never_blamed() -> None:
    """Mozilla's list has an anchor with the serial number 0: it may expire like any other."""
    root = make_ca("Root", not_after=NOW - SECOND)
    anchor = with_serial(root, 0, root)
    for chain in ([make_leaf(root, NAME)], [make_leaf(root, NAME), anchor], [anchor]):
        assert refusal(trusting(anchor), *chain)[0] is Code.PATH_EXPIRED


def test_an_anchor_that_is_shown_ends_the_way_up(root: Made) -> None:
    """Nobody needs to know who issued it."""
    anchor = make_ca("I", root)
    code, reason = refusal(trusting(anchor), anchor, make_ca("Below", anchor))
    assert code is Code.PATH_CONSTRAINT
    assert reason.startswith("CN=I ")
    assert " is a CA certificate; " in reason


@pytest.mark.parametrize("where", ["anchor", "intermediate"])
def test_a_name_that_a_ca_may_not_vouch_for_is_told(where: str) -> None:
    """Once all that each certificate says of itself is good."""
    limits = {"anchor": [], "intermediate": []} | {where: [constraints(permitted=["a.example"])]}
    root = make_ca("Root", None, *limits["anchor"])
    middle = make_ca("I", root, *limits["intermediate"])
    assert path(trusting(root), make_leaf(middle, "sip:a.example"), middle)
    code, reason = refusal(trusting(root), make_leaf(middle, NAME), middle)
    assert code is Code.PATH_CONSTRAINT
    subject = {"anchor": "CN=Root", "intermediate": "CN=I"}[where]
    assert f"presents {NAME}; expected a name for which {subject} (serial" in reason


def test_a_rule_that_only_the_path_builder_knows_is_told_as_one_of_three(root: Made) -> None:
    """Its own words are not read; the constraints of a CA that holds for the names are not it."""
    rules = constraints(permitted=["contoso.com"]), raw("1.2.3.4", b"\x05\x00", critical=True)
    odd = make_ca("I", root, *rules)
    code, reason = refusal(trusting(root), make_leaf(odd, NAME), odd)
    assert code is Code.PATH_CONSTRAINT
    assert reason.startswith("the path of CN=leaf (serial ")
    assert " breaks a rule of one of its CAs: its length, its name constraints, or " in reason


def test_a_root_that_is_sent_along_is_not_blamed(root: Made) -> None:
    """It is the leaf that our anchors have not issued, or the last CA below that root."""
    other = make_ca("Other")
    middle = make_ca("Middle", other)
    for chain, blamed in (
        ((make_leaf(other, NAME), other), "CN=leaf "),
        ((make_leaf(middle, NAME), other, middle), "CN=Middle "),
        ((make_leaf(middle, NAME), middle), "CN=Middle "),
        ((make_leaf(middle, NAME),), "CN=leaf "),
        ((other,), "CN=Other "),
    ):
        code, reason = refusal(trusting(root), *chain)
        assert code is Code.PATH_UNKNOWN_CA
        assert reason.startswith(blamed)


def test_names_that_go_in_a_circle_come_to_an_end(root: Made) -> None:
    first, second = make_ca("A"), make_ca("B")
    one, other = make_ca("A", second), make_ca("B", first)
    chain = make_leaf(first, NAME), one, other, one
    assert refusal(trusting(root), *chain)[0] is Code.PATH_UNKNOWN_CA


def test_the_serial_number_of_an_anchor_is_never_the_reason() -> None:
    """It is not used; what breaks the path here is its length."""
    bare = make("Root", None, (x509.BasicConstraints(ca=True, path_length=0), True))
    anchor, intermediate = with_serial(bare, 0, bare), make_ca("I", bare)
    code, reason = refusal(trusting(anchor), make_leaf(intermediate, NAME), intermediate)
    assert code is Code.PATH_CONSTRAINT
    assert "its length" in reason


def test_an_anchor_that_is_shown_as_a_peer_needs_no_issuer(root: Made) -> None:
    """An intermediate may be an anchor: that nobody knows its root is not what is wrong."""
    anchor = make_ca("I", root)
    chain = anchor, make_leaf(anchor, NAME)
    code, reason = refusal(trusting(anchor), *chain)
    assert code is Code.PATH_CONSTRAINT
    assert " is a CA certificate; expected a peer's own" in reason
    code, reason = refusal(trusting(anchor), *chain, now=NOW + 2 * YEAR)
    assert code is Code.PATH_EXPIRED
    assert reason.startswith("CN=I ")
