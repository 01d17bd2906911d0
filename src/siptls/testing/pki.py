"""A public key infrastructure in memory: CAs and certificates for tests, in a line each."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from siptls.errors import ConfigurationError
from siptls.trust.authority import Authority
from siptls.trust.evidence import Evidence, Role
from siptls.trust.names import ReferenceIdentity
from siptls.trust.purposes import KeyPurposes
from siptls.wire.credential import Credential, PrivateKey

__all__ = ["CertificateAuthority", "KeyType", "evidence", "pem"]

KeyType: TypeAlias = Literal["P-256", "RSA-2048"]

_PURPOSES = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "sipDomain": ObjectIdentifier("1.3.6.1.5.5.7.3.20"),
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}
_BOTH = ("serverAuth", "clientAuth")
_YEAR = dt.timedelta(days=365)
_MAX_COMMON_NAME = 64  # RFC 5280, appendix A.1: ub-common-name


class CertificateAuthority:
    """A CA for tests, with its private key. Never trust one outside of them.

    Attributes:
        name: The common name of its certificate.
        certificate: Its own certificate: self-signed, or signed by its issuer.
        key: Its private key.

    Args:
        name: The common name.
        issuer: The CA above it; None for a root.
        key: The type of its key, or a private key of your own.
        path_length: How many CAs may stand below it; None for any number.
        permitted: DNS names that its nameConstraints permit; empty for no constraints.
        purposes: Its EKU, as in `issue`; None for a CA that no EKU limits.
        not_before: Aware; ten years ago by default.
        not_after: Aware; in ten years by default.
    """

    def __init__(  # noqa: PLR0913  a certificate has as many fields
        self,
        name: str,
        *,
        issuer: CertificateAuthority | None = None,
        key: KeyType | PrivateKey = "P-256",
        path_length: int | None = None,
        permitted: Sequence[str] = (),
        purposes: Iterable[str] | None = None,
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> None:
        self.name = name
        self.key = _make_key(key)
        signer = self if issuer is None else issuer
        subject = _subject(name)
        above = subject if issuer is None else issuer.certificate.subject
        validity = _validity(10 * _YEAR, not_before, not_after)
        builder = (
            _builder(subject, above, self.key, validity)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_CA_USAGE, critical=True)
            .add_extension(_key_identifier(self.key), critical=False)
        )
        if permitted:
            trees = [x509.DNSName(tree) for tree in permitted]
            builder = builder.add_extension(x509.NameConstraints(trees, None), critical=True)
        self.certificate: x509.Certificate = signer._sign(builder, purposes)  # noqa: SLF001  its own kind
        self._sent_along: tuple[x509.Certificate, ...] = ()
        if issuer is not None:
            self._sent_along = (self.certificate, *issuer._sent_along)  # noqa: SLF001

    def intermediate(self, name: str, **options: Any) -> CertificateAuthority:
        """Make a CA below this one. What it issues brings the certificates between along.

        Args:
            name: The common name.
            options: The keyword arguments of `CertificateAuthority`.
        """
        return CertificateAuthority(name, issuer=self, **options)

    def issue(
        self,
        *names: str,
        common_name: str | None = None,
        purposes: Iterable[str] | None = _BOTH,
        key: KeyType | PrivateKey = "P-256",
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> Credential:
        """Issue a certificate, and give it with its key and the CAs between.

        Args:
            names: The subjectAltName: ``"sip:contoso.com"`` becomes a URI, ``"192.0.2.1"`` an IP
                address, and anything else a DNS name. Without any there is no subjectAltName.
            common_name: The subject; by default the first name, without its ``sip:``.
            purposes: The EKU: ``"serverAuth"``, ``"clientAuth"``, ``"sipDomain"``, ``"any"`` or
                object identifiers. None for no EKU extension.
            key: The type of its key, or a private key of your own.
            not_before: Aware; yesterday by default.
            not_after: Aware; in a year by default.

        Raises:
            ConfigurationError: A purpose that is none; a date that is not aware.
        """
        private = _make_key(key)
        first = names[0].removeprefix("sip:") if names else "nobody"
        common = first if common_name is None else common_name
        validity = _validity(_YEAR, not_before, not_after, back=dt.timedelta(days=1))
        builder = _builder(_subject(common), self.certificate.subject, private, validity)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        )
        if names:
            san = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(san, critical=False)
        return Credential((self._sign(builder, purposes), *self._sent_along), private)

    def authority(
        self, name: str | None = None, *, purposes: KeyPurposes = KeyPurposes.SIP
    ) -> Authority:
        """Give the `Authority` whose one anchor is this CA."""
        return Authority(name or self.name, [self.certificate], purposes=purposes)

    @property
    def pem(self) -> bytes:
        """The CA's certificate in PEM form: what ``Authority.from_pem`` reads."""
        return self.certificate.public_bytes(Encoding.PEM)

    def _sign(
        self, builder: x509.CertificateBuilder, purposes: Iterable[str] | None
    ) -> x509.Certificate:
        public = self.key.public_key()
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False
        )
        if purposes is not None:
            usage = x509.ExtendedKeyUsage([_purpose(purpose) for purpose in purposes])
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(self.key, hashes.SHA256())


# As Microsoft's CA sets it.
_CA_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def pem(credential: Credential, *, password: str | None = None) -> bytes:
    """Give a credential in PEM form: its key, then its chain. ``Credential.from_pem`` reads it.

    Args:
        credential: What to write.
        password: Encrypts the key.
    """
    encryption: KeySerializationEncryption = NoEncryption()
    if password is not None:
        encryption = BestAvailableEncryption(password.encode())
    key = credential.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return key + b"".join(c.public_bytes(Encoding.PEM) for c in credential.chain)


def evidence(
    credential: Credential,
    role: Role | str = Role.CLIENT,
    reference: str | ReferenceIdentity | None = None,
    now: dt.datetime | None = None,
) -> Evidence:
    """Give what a policy sees when a peer shows this credential.

    Args:
        credential: The peer's.
        role: What the peer is.
        reference: Whom we expect: a SIP URI or a domain; None for nobody in particular.
        now: When; aware. By default the present time.
    """
    expected = None if reference is None else ReferenceIdentity.parse(reference)
    when = dt.datetime.now(dt.UTC) if now is None else now
    return Evidence(credential.chain, Role(role), now=when, reference=expected)


def _make_key(key: KeyType | PrivateKey) -> PrivateKey:
    match key:
        case "P-256":
            return ec.generate_private_key(ec.SECP256R1())
        case "RSA-2048":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case str():
            raise ConfigurationError(f"a key type is 'P-256' or 'RSA-2048', not {key!r}")
        case _:
            return key


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_MAX_COMMON_NAME])])


def _validity(
    length: dt.timedelta,
    not_before: dt.datetime | None,
    not_after: dt.datetime | None,
    *,
    back: dt.timedelta | None = None,
) -> tuple[dt.datetime, dt.datetime]:
    now = dt.datetime.now(dt.UTC)
    for given in (not_before, not_after):
        if given is not None and given.utcoffset() is None:
            raise ConfigurationError(f"not_before and not_after are aware, unlike {given!r}")
    end = now + length if not_after is None else not_after
    start = min(now, end) - (length if back is None else back)
    return (start if not_before is None else not_before), end


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    validity: tuple[dt.datetime, dt.datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )


def _key_identifier(key: PrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _general_name(name: str) -> x509.GeneralName:
    if name[:4].lower() == "sip:" or name[:5].lower() == "sips:":
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _purpose(purpose: str) -> ObjectIdentifier:
    try:
        return _PURPOSES.get(purpose) or ObjectIdentifier(purpose)
    except ValueError as error:
        raise ConfigurationError(
            f"{purpose!r} is no purpose: {', '.join(_PURPOSES)}, or an object identifier"
        ) from error
