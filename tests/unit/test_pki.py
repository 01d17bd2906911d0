"""The test PKI: what it issues is what was asked for."""

from __future__ import annotations

import datetime as dt
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from siptls import (
    Authority,
    CertificateError,
    Code,
    ConfigurationError,
    Credential,
    Decision,
    KeyPurposes,
    ReferenceIdentity,
    Role,
)
from siptls.testing import CertificateAuthority, evidence, pem
from siptls.testing.pki import KeyType
from siptls.trust.authority import ProvenPath

BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
DAY = dt.timedelta(days=1)
YEAR = 365 * DAY


def common_name(certificate: x509.Certificate) -> str:
    (attribute,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert isinstance(attribute.value, str)
    return attribute.value


def extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    """Give an extension's value, or None."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def leaf(credential: Credential) -> x509.Certificate:
    return credential.chain[0]


def code(ca: CertificateAuthority, credential: Credential, **options: Any) -> str:
    """Give the code with which the CA's own authority refuses, or ``accepted``."""
    result = ca.authority().verify(evidence(credential, **options))
    return result.code if isinstance(result, Decision) else Code.ACCEPTED


# ---------------------------------------------------------------- the CA


def test_a_root_is_self_signed(contoso: CertificateAuthority) -> None:
    certificate = contoso.certificate
    assert contoso.name == common_name(certificate) == "Contoso Enterprise CA"
    assert certificate.issuer == certificate.subject
    certificate.verify_directly_issued_by(certificate)
    assert extension(certificate, x509.BasicConstraints) == x509.BasicConstraints(True, None)
    assert extension(certificate, x509.KeyUsage).key_cert_sign
    assert extension(certificate, x509.NameConstraints) is None
    assert extension(certificate, x509.ExtendedKeyUsage) is None
    assert certificate.public_key() == contoso.key.public_key()


def test_two_cas_of_one_name_are_two(contoso: CertificateAuthority) -> None:
    """So that a test can play the forger."""
    forger = CertificateAuthority(contoso.name)
    assert forger.key.public_key() != contoso.key.public_key()
    assert code(contoso, forger.issue("sip:contoso.com")) == Code.PATH_SIGNATURE
    assert code(contoso, contoso.issue("sip:contoso.com")) == Code.ACCEPTED


def test_a_ca_gives_an_authority(contoso: CertificateAuthority) -> None:
    authority = contoso.authority()
    assert isinstance(authority, Authority)
    assert authority.name == contoso.name
    assert authority.anchors == (contoso.certificate,)
    assert authority.purposes is KeyPurposes.SIP
    custom = KeyPurposes("custom", server=BOTH, client=BOTH)
    other = contoso.authority("our CA", purposes=custom)
    assert (other.name, other.purposes) == ("our CA", custom)


def test_a_ca_gives_its_certificate_as_pem(contoso: CertificateAuthority) -> None:
    assert Authority.from_pem("CA", contoso.pem).anchors == (contoso.certificate,)


def test_an_intermediate_is_sent_along(contoso: CertificateAuthority) -> None:
    """What it issues brings the certificates between along, in order, but not the root."""
    upper = contoso.intermediate("Upper", path_length=1)
    lower = upper.intermediate("Lower")
    credential = lower.issue("sip:contoso.com")
    assert credential.chain == (leaf(credential), lower.certificate, upper.certificate)
    for issued, issuer in [
        (credential.chain[0], lower),
        (lower.certificate, upper),
        (upper.certificate, contoso),
    ]:
        issued.verify_directly_issued_by(issuer.certificate)
    assert extension(upper.certificate, x509.BasicConstraints).path_length == 1
    assert code(contoso, credential) == Code.ACCEPTED
    assert contoso.issue("sip:contoso.com").chain[1:] == ()


def test_a_ca_with_limits(contoso: CertificateAuthority) -> None:
    """Each limit stands in the certificate, and bites."""
    limited = contoso.intermediate(
        "Limited", path_length=0, permitted=["contoso.com"], purposes=["serverAuth"]
    )
    certificate = limited.certificate
    assert extension(certificate, x509.BasicConstraints).path_length == 0
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [x509.DNSName("contoso.com")]
    assert constraints.value.excluded_subtrees is None
    assert list(extension(certificate, x509.ExtendedKeyUsage)) == [BOTH[0]]
    assert code(contoso, limited.issue("sip:contoso.com")) == Code.ACCEPTED
    assert code(contoso, limited.issue("sip:evil.example")) == Code.PATH_CONSTRAINT
    below = limited.intermediate("Below").issue("sip:contoso.com")
    assert code(contoso, below) == Code.PATH_CONSTRAINT
    signing = contoso.intermediate("Signing", purposes=["1.3.6.1.5.5.7.3.3"])
    assert code(contoso, signing.issue("sip:contoso.com")) == Code.PURPOSE_UNACCEPTABLE


# ---------------------------------------------------------------- names


def test_names_become_what_they_look_like(contoso: CertificateAuthority) -> None:
    names = ["sip:contoso.com", "SIPS:contoso.com", "sip.contoso.com", "192.0.2.1", "2001:db8::1"]
    certificate = leaf(contoso.issue(*names))
    assert list(extension(certificate, x509.SubjectAlternativeName)) == [
        x509.UniformResourceIdentifier("sip:contoso.com"),
        x509.UniformResourceIdentifier("SIPS:contoso.com"),
        x509.DNSName("sip.contoso.com"),
        x509.IPAddress(ip_address("192.0.2.1")),
        x509.IPAddress(ip_address("2001:db8::1")),
    ]
    assert common_name(certificate) == "contoso.com"


@pytest.mark.parametrize("name", ["sip.example.com", "sip", "sipx:contoso.com"])
def test_a_name_that_only_begins_like_a_uri_is_a_dns_name(
    contoso: CertificateAuthority, name: str
) -> None:
    san = extension(leaf(contoso.issue(name)), x509.SubjectAlternativeName)
    assert list(san) == [x509.DNSName(name)]


def test_without_names_there_is_no_subject_alternative_name(contoso: CertificateAuthority) -> None:
    nobody = leaf(contoso.issue())
    assert extension(nobody, x509.SubjectAlternativeName) is None
    assert common_name(nobody) == "nobody"
    assert common_name(leaf(contoso.issue(common_name="sip.contoso.com"))) == "sip.contoso.com"
    both = leaf(contoso.issue("sip:contoso.com", common_name="Contoso Server"))
    assert common_name(both) == "Contoso Server"


def test_a_leaf_is_no_ca(contoso: CertificateAuthority) -> None:
    certificate = leaf(contoso.issue("sip:contoso.com"))
    assert not extension(certificate, x509.BasicConstraints).ca


def test_a_long_name_is_issued(contoso: CertificateAuthority) -> None:
    """A domain has up to 253 characters; a common name has 64."""
    name = ".".join(["label-of-twenty-char"] * 4) + ".example"
    san = extension(leaf(contoso.issue(f"sip:{name}")), x509.SubjectAlternativeName)
    assert list(san) == [x509.UniformResourceIdentifier(f"sip:{name}")]


# ---------------------------------------------------------------- purposes


@pytest.mark.parametrize(
    ("purposes", "oids"),
    [
        (("serverAuth",), ["1.3.6.1.5.5.7.3.1"]),
        (("clientAuth",), ["1.3.6.1.5.5.7.3.2"]),
        (("sipDomain",), ["1.3.6.1.5.5.7.3.20"]),
        (("any",), ["2.5.29.37.0"]),
        (("serverAuth", "1.2.3.4"), ["1.3.6.1.5.5.7.3.1", "1.2.3.4"]),
    ],
)
def test_purposes(contoso: CertificateAuthority, purposes: list[str], oids: list[str]) -> None:
    certificate = leaf(contoso.issue("sip:contoso.com", purposes=purposes))
    usage = extension(certificate, x509.ExtendedKeyUsage)
    assert [oid.dotted_string for oid in usage] == oids


def test_purposes_by_default_and_none(contoso: CertificateAuthority) -> None:
    usage = extension(leaf(contoso.issue("sip:contoso.com")), x509.ExtendedKeyUsage)
    assert list(usage) == BOTH
    bare = leaf(contoso.issue("sip:contoso.com", purposes=None))
    assert extension(bare, x509.ExtendedKeyUsage) is None


@pytest.mark.parametrize("purpose", ["serverauth", "", "1.2.x"])
def test_a_purpose_that_is_none(contoso: CertificateAuthority, purpose: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no purpose: write serverAuth, clientAuth"):
        contoso.issue("sip:contoso.com", purposes=[purpose])


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize("key", ["P-256", "RSA-2048"])
def test_key_types(key: KeyType) -> None:
    """Of a CA and of a leaf, and in any mixture of the two."""
    ca = CertificateAuthority("CA", key=key)
    credential = ca.issue("sip:contoso.com", key=key)
    for private in (ca.key, credential.key):
        if key == "P-256":
            assert isinstance(private, ec.EllipticCurvePrivateKey)
            assert isinstance(private.curve, ec.SECP256R1)
        else:
            assert isinstance(private, rsa.RSAPrivateKey)
            assert private.key_size == 2048
    assert code(ca, credential) == code(ca, ca.issue("sip:contoso.com")) == Code.ACCEPTED


def test_a_key_of_your_own(contoso: CertificateAuthority) -> None:
    """The same key twice: that is how a CA is cross-signed, and a certificate renewed."""
    key = ec.generate_private_key(ec.SECP384R1())
    credential = contoso.issue("sip:contoso.com", key=key)
    assert credential.key is key
    assert leaf(credential).public_key() == key.public_key()
    assert CertificateAuthority("CA", key=key).key is key


@pytest.mark.parametrize("key", ["RSA-512", "p-256", ""])
def test_a_key_type_that_is_none(contoso: CertificateAuthority, key: Any) -> None:
    with pytest.raises(
        ConfigurationError, match="a key type is one of P-256, P-384, RSA-2048, RSA-1024"
    ):
        contoso.issue("sip:contoso.com", key=key)
    with pytest.raises(
        ConfigurationError, match="a key type is one of P-256, P-384, RSA-2048, RSA-1024"
    ):
        CertificateAuthority("CA", key=key)


# ---------------------------------------------------------------- dates

SUMMER = dt.datetime(2030, 7, 1, tzinfo=dt.UTC)


def test_dates_are_those_that_were_asked_for() -> None:
    """A whole PKI at a time of its own: nothing in it depends on today."""
    dates = {"not_before": SUMMER - YEAR, "not_after": SUMMER + YEAR}
    ca = CertificateAuthority("CA", **dates)
    credential = ca.issue("sip:contoso.com", not_before=SUMMER, not_after=SUMMER + DAY)
    assert ca.certificate.not_valid_before_utc == SUMMER - YEAR
    assert ca.certificate.not_valid_after_utc == SUMMER + YEAR
    assert leaf(credential).not_valid_before_utc == SUMMER
    assert leaf(credential).not_valid_after_utc == SUMMER + DAY
    assert code(ca, credential, now=SUMMER) == Code.ACCEPTED
    assert code(ca, credential, now=SUMMER - DAY) == Code.PATH_NOT_YET_VALID
    assert code(ca, credential, now=SUMMER + 2 * DAY) == Code.PATH_EXPIRED


def test_dates_by_default(contoso: CertificateAuthority) -> None:
    """A leaf from yesterday on for a year and a day; a CA for ten years to both sides."""
    certificate = leaf(contoso.issue("sip:contoso.com"))
    length = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert length == YEAR + DAY
    ca = CertificateAuthority("CA").certificate
    assert ca.not_valid_after_utc - ca.not_valid_before_utc == 20 * YEAR
    assert ca.not_valid_before_utc < certificate.not_valid_before_utc
    assert code(contoso, contoso.issue("sip:contoso.com")) == Code.ACCEPTED


def test_an_end_in_the_past_moves_the_beginning() -> None:
    """To make an expired certificate is one argument."""
    end = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    ca = CertificateAuthority("CA", not_after=end)
    assert ca.certificate.not_valid_before_utc == end - 10 * YEAR
    certificate = leaf(ca.issue("sip:contoso.com", not_after=end))
    assert certificate.not_valid_before_utc == end - DAY
    assert certificate.not_valid_after_utc == end


@pytest.mark.parametrize("which", ["not_before", "not_after"])
def test_dates_are_aware(contoso: CertificateAuthority, which: str) -> None:
    """A naive date means another instant in each time zone."""
    naive: Any = {which: SUMMER.replace(tzinfo=None)}
    with pytest.raises(ConfigurationError, match="not_before and not_after are aware"):
        contoso.issue("sip:contoso.com", **naive)
    with pytest.raises(ConfigurationError, match="not_before and not_after are aware"):
        CertificateAuthority("CA", **naive)


# ---------------------------------------------------------------- files, and evidence


def test_a_credential_as_pem_is_read_again(contoso: CertificateAuthority) -> None:
    credential = contoso.intermediate("Issuing").issue("sip:contoso.com")
    text = pem(credential)
    again = Credential.from_pem(text)
    assert again.chain == credential.chain
    assert again.key.private_numbers() == credential.key.private_numbers()
    assert x509.load_pem_x509_certificates(text) == list(credential.chain)


def test_a_credential_as_pem_with_a_password(contoso: CertificateAuthority) -> None:
    credential = contoso.issue("sip:contoso.com")
    text = pem(credential, password="secret")
    assert Credential.from_pem(text, password="secret").chain == credential.chain
    with pytest.raises(TypeError):
        load_pem_private_key(text, None)
    with pytest.raises(ValueError):
        load_pem_private_key(text, b"wrong")


def test_evidence_of_a_credential(contoso: CertificateAuthority) -> None:
    credential = contoso.intermediate("Issuing").issue("sip:contoso.com")
    shown = evidence(credential, "server", "sip:alice@Contoso.com", SUMMER)
    assert shown.chain == credential.chain
    assert shown.role is Role.SERVER
    assert shown.reference == ReferenceIdentity("contoso.com")
    assert shown.now == SUMMER


def test_evidence_by_default(contoso: CertificateAuthority) -> None:
    """A client, nobody in particular, now."""
    before = dt.datetime.now(dt.UTC)
    shown = evidence(contoso.issue("sip:contoso.com"))
    assert before <= shown.now <= dt.datetime.now(dt.UTC)
    assert shown.role is Role.CLIENT
    assert shown.reference is None
    assert isinstance(contoso.authority().verify(shown), ProvenPath)


def test_evidence_with_a_reference_that_was_parsed(contoso: CertificateAuthority) -> None:
    """An expected host is kept."""
    expected = ReferenceIdentity.parse("contoso.com", host="sip.contoso.com")
    shown = evidence(contoso.issue("sip:contoso.com"), Role.SERVER, expected)
    assert shown.reference == expected


def test_evidence_of_a_role_that_is_none(contoso: CertificateAuthority) -> None:
    with pytest.raises(ConfigurationError, match="a role is 'server' or 'client', not 'peer'"):
        evidence(contoso.issue("sip:contoso.com"), "peer")


# ---------------------------------------------------------------- what tests of policies need


def test_a_seed_gives_the_same_keys_and_certificates_in_each_run() -> None:
    dates = {"not_before": SUMMER, "not_after": SUMMER + YEAR}
    first, second = (CertificateAuthority("CA", seed="x", **dates) for _ in range(2))
    assert first.certificate == second.certificate
    assert first.issue("sip:a.com", **dates).chain == second.issue("sip:a.com", **dates).chain
    lower = [
        ca.intermediate("Lower", **dates).issue("sip:a.com", **dates) for ca in (first, second)
    ]
    assert lower[0].chain == lower[1].chain
    assert first.certificate != CertificateAuthority("CA", seed="y", **dates).certificate


def test_what_a_seeded_ca_issues_has_keys_and_serial_numbers_of_its_own() -> None:
    ca = CertificateAuthority("CA", seed="x")
    leaves = [
        leaf(credential)
        for credential in (
            ca.issue("sip:a.com"),
            ca.issue("sip:b.com"),
            ca.issue("sip:a.com", purposes=None),
            ca.issue("sip:a.com", key="P-384"),
            ca.intermediate("Lower").issue("sip:a.com"),
        )
    ]
    assert len({one.serial_number for one in (*leaves, ca.certificate)}) == len(leaves) + 1
    assert len({repr(one.public_key().public_numbers()) for one in leaves}) == len(leaves)  # type: ignore[union-attr]


def test_a_seeded_certificate_is_good(contoso: CertificateAuthority) -> None:
    ca = CertificateAuthority("CA", seed="x")
    assert code(ca, ca.intermediate("Lower").issue("sip:a.com")) == Code.ACCEPTED


def test_an_rsa_key_comes_from_no_seed() -> None:
    with pytest.raises(ConfigurationError, match="cannot be made from a seed: take P-256"):
        CertificateAuthority("CA", seed="x").issue("sip:a.com", key="RSA-2048")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"key": "RSA-1024"}, Code.PATH_WEAK_KEY),
        ({"key": "P-384"}, Code.ACCEPTED),
        ({"is_ca": True}, Code.PATH_CONSTRAINT),
        ({"critical_san": True}, Code.ACCEPTED),
        ({"extensions": [(x509.OCSPNoCheck(), False)]}, Code.ACCEPTED),
        ({"extensions": [(x509.OCSPNoCheck(), True)]}, Code.PATH_CONSTRAINT),
        ({"purposes": ["1.3.6.1.5.5.7.3.4"]}, Code.PURPOSE_UNACCEPTABLE),
    ],
)
def test_faulty_certificates_are_issued_on_request(
    contoso: CertificateAuthority, options: dict[str, Any], expected: str
) -> None:
    assert code(contoso, contoso.issue("sip:contoso.com", **options)) == expected


def test_a_subject_alternative_name_is_critical_on_request(contoso: CertificateAuthority) -> None:
    certificate = leaf(contoso.issue("sip:contoso.com", critical_san=True))
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_a_name_with_an_underscore_is_a_service(contoso: CertificateAuthority) -> None:
    first, *_ = contoso.issue("_sips.contoso.com").names.names
    assert (str(first), first.domain) == ("SRV:_sips.contoso.com", "contoso.com")
    with pytest.raises(ConfigurationError, match="at most 127 bytes"):
        contoso.issue("_sips." + "a" * 122)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"permitted": ["lab.contoso.com"]}, Code.PATH_CONSTRAINT),
        ({"permitted": ["contoso.com"]}, Code.ACCEPTED),
        ({"excluded": ["contoso.com"]}, Code.PATH_CONSTRAINT),
        ({"excluded": ["lab.contoso.com"]}, Code.ACCEPTED),
    ],
)
def test_a_ca_may_be_constrained(
    contoso: CertificateAuthority, limits: dict[str, Any], expected: str
) -> None:
    limited = contoso.intermediate("Limited CA", **limits)
    assert code(contoso, limited.issue("sip:sip.contoso.com")) == expected


@pytest.mark.parametrize("which", ["permitted", "excluded"])
def test_one_name_is_no_list_of_names(which: str) -> None:
    """It would be taken for one name for each of its letters."""
    with pytest.raises(
        ConfigurationError, match=f"{which}= is a list: write \\['lab.a.example'\\]"
    ):
        CertificateAuthority("CA", **{which: "lab.a.example"})  # type: ignore[arg-type]


# ---------------------------------------------------------------- a CA that was written before


def written(ca: CertificateAuthority, *above: CertificateAuthority) -> bytes:
    return pem(Credential([ca.certificate, *(one.certificate for one in above)], ca.key))


def test_a_ca_is_read_and_goes_on_issuing() -> None:
    root = CertificateAuthority("Contoso CA")
    read = CertificateAuthority.from_pem(written(root))
    assert (read.name, read.certificate) == ("Contoso CA", root.certificate)
    issued = read.issue("sip:contoso.com")
    assert code(root, issued) == "accepted"
    assert len(issued.chain) == 1
    assert issued.chain[0] != read.issue("sip:contoso.com").chain[0]  # it has no seed


def test_an_intermediate_that_is_read_brings_what_is_between_along() -> None:
    root = CertificateAuthority("Contoso CA")
    middle = root.intermediate("Middle CA")
    low = middle.intermediate("Low CA")
    read = CertificateAuthority.from_pem(written(low, middle, root))
    issued = read.issue("sip:contoso.com")
    assert issued.chain[1:] == (low.certificate, middle.certificate)
    assert code(root, issued) == "accepted"


def test_what_is_read_must_be_a_ca() -> None:
    with pytest.raises(CertificateError, match="is no CA's certificate: its basicConstraints lack"):
        CertificateAuthority.from_pem(pem(CertificateAuthority("Contoso CA").issue("contoso.com")))
    with pytest.raises(ConfigurationError, match="no file"):
        CertificateAuthority.from_pem()


def test_a_certificate_without_basic_constraints_is_no_cas() -> None:
    ca = CertificateAuthority("Contoso CA")
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Contoso")])
    bare = x509.CertificateBuilder(name, name, ca.key.public_key(), 1, now - DAY, now + DAY)
    signed = bare.sign(ca.key, hashes.SHA256())
    with pytest.raises(CertificateError, match="is no CA's certificate"):
        CertificateAuthority.from_pem(pem(Credential([signed], ca.key)))


def test_a_ca_without_a_common_name_is_called_after_its_subject() -> None:
    ca = CertificateAuthority("Contoso CA")
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Contoso")])
    bare = x509.CertificateBuilder(name, name, ca.key.public_key(), 1, now - DAY, now + DAY)
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    signed = bare.add_extension(constraints, critical=True).sign(ca.key, hashes.SHA256())
    assert "O=Contoso" in CertificateAuthority.from_pem(pem(Credential([signed], ca.key))).name
