"""Evidence: what a policy is shown, and what forbids any work on it."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from attrs import evolve
from certificates import (
    CA,
    NOW,
    P256_OID,
    UNKNOWN_CURVE,
    Made,
    altered,
    make,
    make_ca,
    make_leaf,
    raw,
    show,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.errors import ConfigurationError
from siptls.testing import CertificateAuthority
from siptls.trust.codes import Code
from siptls.trust.decision import Decision
from siptls.trust.evidence import (
    MAX_CERTIFICATES,
    MAX_CHAIN,
    MAX_NAMES,
    MAX_RSA,
    Evidence,
    Role,
    extension,
)
from siptls.trust.fault import Fault, describe
from siptls.trust.names import ReferenceIdentity
from siptls.trust.presented import PresentedNames

BROKEN_SAN = raw("2.5.29.17", b"\x30\x03bad", critical=False)
TWO = [raw(oid, b"\x05\x00", critical=False) for oid in ("1.2.3.4", "1.2.3.5")]


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Contoso CA")


@pytest.fixture(scope="module")
def leaf(root: Made) -> Made:
    return make_leaf(root, "sip:contoso.com", "sip.contoso.com", subject="")


# ---------------------------------------------------------------- values


def test_evidence_holds_what_was_shown(leaf: Made, root: Made) -> None:
    evidence = Evidence(
        iter([leaf.certificate, root.certificate]),
        "server",
        now=NOW,
        reference=ReferenceIdentity("contoso.com"),
        address=("192.0.2.1", 5061),
    )
    assert evidence.chain == (leaf.certificate, root.certificate)
    assert evidence.leaf == leaf.certificate
    assert evidence.role is Role.SERVER
    assert evidence.now == NOW
    assert evidence.reference == ReferenceIdentity("contoso.com")
    assert evidence.address == ("192.0.2.1", 5061)
    assert (evidence.max_certificates, evidence.max_chain) == (MAX_CERTIFICATES, MAX_CHAIN)
    assert evidence.fault is None


def test_evidence_of_a_credential_is_sound(contoso: CertificateAuthority) -> None:
    chain = contoso.intermediate("Contoso Issuing CA").issue("sip:contoso.com").chain
    evidence = Evidence(chain, Role.CLIENT, now=NOW)
    assert len(evidence.chain) == 2
    assert evidence.fault is None


def test_evidence_is_a_value_that_nothing_changes(leaf: Made) -> None:
    evidence = show(leaf)
    assert evidence == show(leaf)
    assert evidence != evolve(evidence, role=Role.SERVER)
    assert evidence != evolve(evidence, now=NOW + dt.timedelta(seconds=1))
    with pytest.raises(AttributeError):
        evidence.now = NOW  # type: ignore[misc]


def test_nobody_in_particular_is_expected_unless_told() -> None:
    evidence = Evidence([], Role.CLIENT, now=NOW)
    assert evidence.reference is None
    assert evidence.address is None


@pytest.mark.parametrize("wrong", ["contoso.com", "sip:contoso.com", 7])
def test_the_expected_name_was_parsed(wrong: Any) -> None:
    """A bare text would be found out only while a peer is judged."""
    with pytest.raises(ConfigurationError, match=r"ReferenceIdentity\.parse"):
        Evidence([], Role.SERVER, now=NOW, reference=wrong)


@pytest.mark.parametrize("what", [None, "a certificate", b"\x30\x00"])
def test_a_chain_holds_certificates_only(leaf: Made, what: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"not {type(what).__name__}$"):
        Evidence([leaf.certificate, what], Role.CLIENT, now=NOW)


@pytest.mark.parametrize(
    "now", [NOW.replace(tzinfo=None), None, 0, "2030-06-01T00:00:00Z", dt.date(2030, 6, 1)]
)
def test_the_time_is_aware(now: Any) -> None:
    """A naive time would shift with the machine's zone."""
    with pytest.raises(ConfigurationError, match="an aware datetime"):
        Evidence([], Role.CLIENT, now=now)


def test_the_time_may_be_in_any_zone() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    assert Evidence([], Role.CLIENT, now=NOW.astimezone(zone)) == Evidence([], "client", now=NOW)


def test_names_are_those_of_the_leaf(leaf: Made, root: Made) -> None:
    """Those of a CA in the chain prove nothing about the peer."""
    evidence = show(leaf, root)
    assert str(evidence.presented) == "sip:contoso.com, DNS:sip.contoso.com"
    assert evidence.presented is evidence.presented


def test_an_extension_is_given_by_its_kind(root: Made, leaf: Made) -> None:
    assert extension(root.certificate, x509.BasicConstraints) == CA
    assert extension(leaf.certificate, x509.BasicConstraints) is None


def test_what_was_concluded_is_no_part_of_the_value(leaf: Made) -> None:
    """And other evidence does not inherit it: it was concluded at another time."""
    evidence = show(leaf)
    evidence.memo["a"] = "conclusion"
    assert evidence == show(leaf)
    assert "conclusion" not in repr(evidence)
    assert evolve(evidence, now=NOW + dt.timedelta(seconds=1)).memo == {}


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("role", list(Role))
def test_a_peer_without_certificate_has_shown_nothing(role: Role) -> None:
    evidence = show(role=role)
    assert evidence.leaf is None
    assert evidence.presented == PresentedNames((), has_san=False)
    assert evidence.fault is not None
    assert evidence.fault.code is Code.CERTIFICATE_MISSING
    assert evidence.fault.reason.startswith(f"the {role} showed no certificate; expected one")


@pytest.mark.parametrize("limit", [1, 3, MAX_CERTIFICATES])
def test_a_chain_may_have_so_many_certificates_and_no_more(leaf: Made, limit: int) -> None:
    assert show(*[leaf] * limit, max_certificates=limit).fault is None
    fault = show(*[leaf] * (limit + 1), max_certificates=limit).fault
    found, expected = f"presents {limit + 1} certificates", f"at most {limit}"
    assert fault == Fault(Code.PATH_LIMIT, "the client", found, expected, "Limits.max_certificates")


def test_a_chain_may_have_so_many_bytes_and_no_more(leaf: Made, root: Made) -> None:
    size = sum(len(made.certificate.public_bytes(Encoding.DER)) for made in (leaf, root))
    assert show(leaf, root, max_chain=size).fault is None
    fault = show(leaf, root, max_chain=size - 1).fault
    found, expected = f"presents certificates of {size} bytes", f"at most {size - 1}"
    assert fault == Fault(Code.PATH_LIMIT, "the client", found, expected, "Limits.max_chain")


def test_a_leaf_may_have_so_many_names_and_no_more(root: Made) -> None:
    names = [f"sip{number}.contoso.com" for number in range(MAX_NAMES + 1)]
    assert show(make_leaf(root, *names[:-1], subject="")).fault is None
    fault = show(make_leaf(root, *names, subject=""), root).fault
    assert fault is not None
    assert fault.code is Code.PATH_LIMIT
    assert fault.reason.startswith("(empty subject) ")
    assert fault.reason.endswith(f"has {MAX_NAMES + 1} names; expected at most {MAX_NAMES}")


def test_common_names_count_among_the_names(root: Made) -> None:
    names = [f"sip{number}.contoso.com" for number in range(MAX_NAMES)]
    fault = show(make_leaf(root, *names, subject="one more")).fault
    assert fault is not None
    assert fault.code is Code.PATH_LIMIT


def with_rsa(root: Made, bits: int) -> Made:
    """Give a certificate for a public key of so many bits, of which there is no private half."""
    numbers = rsa.RSAPublicNumbers(e=65537, n=(1 << (bits - 1)) + 1)
    return make("giant", root, public_key=numbers.public_key())


def test_an_rsa_key_may_have_so_many_bits_and_no_more(root: Made) -> None:
    """Verifying with a giant key is what would exhaust this machine."""
    assert show(with_rsa(root, MAX_RSA)).fault is None
    fault = show(with_rsa(root, MAX_RSA + 1)).fault
    assert fault is not None
    assert fault.code is Code.PATH_LIMIT
    assert fault.reason.startswith("CN=giant (serial ")
    assert fault.reason.endswith("has an RSA key of 8193 bits; expected at most 8192")


@pytest.mark.parametrize(
    ("exponent", "good"), [(3, True), (65537, True), (2**33 - 1, True), (2**33 + 1, False)]
)
def test_an_rsa_exponent_may_have_so_many_bits_and_no_more(
    root: Made, exponent: int, good: bool
) -> None:
    """A long one makes each signature cost a hundred times as much."""
    key = rsa.RSAPublicNumbers(e=exponent, n=(1 << 2047) + 1).public_key()
    fault = show(make("slow", root, public_key=key)).fault
    assert (fault is None) is good
    if fault is not None:
        assert fault.code is Code.PATH_LIMIT
        assert "public exponent has 34 bits; expected at most 33" in fault.reason


def test_a_giant_key_is_found_anywhere_in_the_chain(leaf: Made, root: Made) -> None:
    fault = show(leaf, with_rsa(root, MAX_RSA + 1)).fault
    assert fault is not None
    assert fault.code is Code.PATH_LIMIT


def malformed(root: Made) -> dict[str, x509.Certificate]:
    return {
        "extension": make("leaf", root, BROKEN_SAN).certificate,
        "subject": altered(make("leaf", root), b"leaf", b"\xff\xfe\xfd\xfc"),
        "issuer": altered(make("leaf", issued_by="above"), b"above", b"\xff\xfe\xfd\xfc\xfb"),
        "curve": altered(make("leaf", root), P256_OID, UNKNOWN_CURVE),
        # Those below are neither ValueError nor UnsupportedAlgorithm in cryptography.
        "kind of name": make(
            "leaf", root, raw("2.5.29.17", b"\x30\x04\xa3\x02\x05\x00", critical=False)
        ).certificate,
        "twice": altered(
            make("leaf", root, *TWO), b"\x06\x03\x2a\x03\x05", b"\x06\x03\x2a\x03\x04"
        ),
        "bits": altered(make("leaf", root), b"\x0c\x04leaf", b"\x03\x04leaf"),
        "date": altered(
            make("leaf", root, not_after=dt.datetime(9999, 1, 1, tzinfo=dt.UTC)),
            b"99990101000000Z",
            b"00000101000000Z",
        ),
    }


@pytest.mark.parametrize(
    "what", ["extension", "subject", "issuer", "curve", "kind of name", "twice", "bits", "date"]
)
@pytest.mark.parametrize("position", [0, 1])
def test_a_certificate_that_cannot_be_decoded_is_malformed(
    root: Made, leaf: Made, what: str, position: int
) -> None:
    """In any place of the chain; and nothing is raised into a policy."""
    chain: list[Made | x509.Certificate] = [leaf, leaf]
    chain[position] = malformed(root)[what]
    fault = show(*chain).fault
    assert fault is not None
    assert fault.code is Code.CERTIFICATE_MALFORMED
    assert fault.found.startswith("presents a certificate that cannot be decoded: ")
    assert fault.reason.isprintable()


def test_limits_hold_before_anything_is_decoded(root: Made) -> None:
    broken = malformed(root)["extension"]
    for limits in ({"max_certificates": 1}, {"max_chain": 100}):
        fault = show(broken, broken, **limits).fault
        assert fault is not None
        assert fault.code is Code.PATH_LIMIT


def test_names_that_cannot_be_decoded_are_a_value_error(root: Made) -> None:
    with pytest.raises(ValueError, match="subject_alternative_name"):
        _ = show(malformed(root)["extension"]).presented


@pytest.mark.parametrize("what", ["extension", "subject", "kind of name", "twice", "bits"])
def test_what_cannot_be_decoded_can_be_explained(root: Made, what: str) -> None:
    evidence = show(malformed(root)[what])
    assert describe(evidence.chain[0]) in repr(evidence)
    decision = Decision.refuse(Code.PATH_LIMIT, "too long", evidence=evidence)
    assert "cannot be decoded" in decision.explain()
    assert json.loads(json.dumps(decision.to_dict()))["evidence"]["presented"]


def test_a_role_is_client_or_server() -> None:
    with pytest.raises(ConfigurationError, match="'server' or 'client'"):
        Evidence([], "proxy", now=NOW)


def test_a_date_that_cannot_be_decoded_is_none(root: Made) -> None:
    """There is no year 0, and X.690 lets one be written."""
    decision = Decision.refuse(Code.PATH_LIMIT, "x", evidence=show(malformed(root)["date"]))
    [shown] = decision.to_dict()["evidence"]["chain"]
    assert (shown["not_before"], shown["not_after"]) == (None, None)
