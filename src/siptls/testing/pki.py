"""A public key infrastructure in memory: CAs and certificates for tests, in a line each."""

from __future__ import annotations

import datetime as dt
import hashlib
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
    PublicFormat,
)
from cryptography.x509.oid import NameOID, ObjectIdentifier

from siptls.errors import CertificateError, ConfigurationError
from siptls.pem import Source
from siptls.testing.statements import Extension, Hash, StatusName, make_crl, make_ocsp, period
from siptls.trust.authority import Authority
from siptls.trust.evidence import Evidence, Role, extension
from siptls.trust.fault import describe
from siptls.trust.names import ReferenceIdentity
from siptls.trust.purposes import KeyPurposes, purpose
from siptls.trust.revocation import Revocation
from siptls.wire.credential import Credential, PrivateKey

__all__ = ["CertificateAuthority", "KeyType", "evidence", "pem"]

KeyType: TypeAlias = Literal["P-256", "P-384", "RSA-2048", "RSA-1024"]
"""RSA-1024 is weak on purpose: to be refused."""

_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
_RSA_BITS = {"RSA-2048": 2048, "RSA-1024": 1024}
_BOTH = ("serverAuth", "clientAuth")
_SRV_NAME = ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # id-on-dnsSRV, RFC 4985
_IA5_STRING, _LONG_FORM = 0x16, 0x80
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
        seed: Makes its key, and those of all that it issues, from this text: the same in each run,
            and faster. EC keys only.
        path_length: How many CAs may stand below it; None for any number.
        permitted: DNS names that its nameConstraints permit; empty for no such constraint.
        excluded: DNS names that its nameConstraints exclude.
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
        seed: str | None = None,
        path_length: int | None = None,
        permitted: Sequence[str] = (),
        excluded: Sequence[str] = (),
        purposes: Iterable[str] | None = None,
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> None:
        self.name = name
        self._seed: str | None = seed or (None if issuer is None else issuer._seed)  # noqa: SLF001  its own kind
        self.key = _make_key(key, self._grain("CA", name, key, not_before, not_after))
        signer = self if issuer is None else issuer
        subject = _subject(name)
        above = subject if issuer is None else issuer.certificate.subject
        validity = _validity(10 * _YEAR, not_before, not_after)
        builder = (
            _builder(subject, above, self.key, validity, self._serial(self.key))
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_CA_USAGE, critical=True)
            .add_extension(_key_identifier(self.key), critical=False)
        )
        for given, value in (("permitted", permitted), ("excluded", excluded)):
            if isinstance(value, str):
                raise ConfigurationError(f"{given}= is a list: write [{value!r}], not {value!r}")
        if permitted or excluded:
            trees = x509.NameConstraints(_subtrees(permitted), _subtrees(excluded))
            builder = builder.add_extension(trees, critical=True)
        self.certificate: x509.Certificate = signer._sign(builder, purposes)  # noqa: SLF001  its own kind
        self._sent_along: tuple[x509.Certificate, ...] = ()
        if issuer is not None:
            self._sent_along = (self.certificate, *issuer._sent_along)  # noqa: SLF001  its own kind

    @classmethod
    def from_pem(
        cls, *sources: Source, password: str | bytes | None = None
    ) -> CertificateAuthority:
        """Read a CA that was written before: its certificate, its key, and the CAs above it.

        Args:
            sources: Paths of PEM files, or PEM text as bytes: one with all, or one for each.
            password: Opens the key if it is encrypted.

        Raises:
            ConfigurationError: A file cannot be read, or there is none.
            CertificateError: There is no key, or no certificate for it, or that is no CA's (RFC
                5280 §4.2.1.9).
        """
        read = Credential.from_pem(*sources, password=password)
        own = read.chain[0]
        if not _is_ca(own):
            raise CertificateError(
                f"{describe(own)} is no CA's certificate: its basicConstraints lack cA; was the"
                " file of a server or client given?"
            )
        ca = cls.__new__(cls)
        names = own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ca.name = str(names[0].value) if names else describe(own)
        ca._seed = None  # noqa: SLF001  its own kind
        ca.key = read.key
        ca.certificate = own
        # A root is not sent along: whoever trusts it has it.
        ca._sent_along = tuple(  # noqa: SLF001  its own kind
            one for one in read.chain if one.subject != one.issuer
        )
        return ca

    def intermediate(self, name: str, **options: Any) -> CertificateAuthority:
        """Make a CA below this one. What it issues brings the certificates between along.

        Args:
            name: The common name.
            options: The keyword arguments of `CertificateAuthority`.
        """
        return CertificateAuthority(name, issuer=self, **options)

    def issue(  # noqa: PLR0913  a certificate has as many fields
        self,
        *names: str,
        common_name: str | None = None,
        purposes: Iterable[str] | None = _BOTH,
        key: KeyType | PrivateKey = "P-256",
        is_ca: bool = False,
        critical_san: bool = False,
        must_staple: bool = False,
        extensions: Iterable[Extension] = (),
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> Credential:
        """Issue a certificate, and give it with its key and the CAs between.

        Args:
            names: The subjectAltName: ``"sip:contoso.com"`` becomes a URI, ``"192.0.2.1"`` an IP
                address, ``"_sips.contoso.com"`` an SRV name (RFC 4985), and anything else a DNS
                name. Without any there is no subjectAltName.
            common_name: The subject; by default the first name, without its ``sip:``.
            purposes: The EKU: ``"serverAuth"``, ``"clientAuth"``, ``"sipDomain"``, ``"any"`` or
                object identifiers. None for no EKU extension.
            key: The type of its key, or a private key of your own.
            is_ca: Write cA into its basicConstraints, as no peer's certificate should have.
            critical_san: Mark the subjectAltName as critical.
            must_staple: Promise a stapled OCSP response (RFC 7633).
            extensions: More extensions, each with its criticality.
            not_before: Aware; yesterday by default.
            not_after: Aware; in a year by default.

        Raises:
            ConfigurationError: A purpose that is none; a date that is not aware.
        """
        dates = (not_before, not_after)
        extensions = tuple(extensions)
        # What differs has another key and serial number; what does not is the same.
        more = [repr(one) for one in (must_staple or None, *extensions) if one is not None]
        grain = self._grain("leaf", names, common_name, purposes, key, *dates, *more)
        private = _make_key(key, grain)
        first = names[0].removeprefix("sip:") if names else "nobody"
        common = first if common_name is None else common_name
        validity = _validity(_YEAR, not_before, not_after, back=dt.timedelta(days=1))
        subject, above = _subject(common), self.certificate.subject
        builder = _builder(subject, above, private, validity, self._serial(private))
        builder = builder.add_extension(
            x509.BasicConstraints(ca=is_ca, path_length=None), critical=True
        )
        if names:
            san = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(san, critical=critical_san)
        if must_staple:
            promise = x509.TLSFeature([x509.TLSFeatureType.status_request])
            builder = builder.add_extension(promise, critical=False)
        for one, critical in extensions:
            builder = builder.add_extension(one, critical=critical)
        return Credential((self._sign(builder, purposes), *self._sent_along), private)

    def crl(  # noqa: PLR0913  a CRL has as many fields
        self,
        revoked: Iterable[x509.Certificate | Credential] = (),
        *,
        this_update: dt.datetime | None = None,
        next_update: dt.datetime | None = None,
        reason: x509.ReasonFlags | None = None,
        number: int | None = 1,
        issuer: str | None = None,
        key: PrivateKey | None = None,
        extensions: Iterable[Extension] = (),
        entry_extensions: Iterable[Extension] = (),
    ) -> bytes:
        """Make a CRL in DER form.

        Args:
            revoked: Certificates, or credentials of which the first certificate is meant. They
                are revoked since ``this_update``, whoever has issued them.
            this_update: Aware; an hour ago by default.
            next_update: Aware; in a week by default.
            reason: Why all of them are revoked; None to tell none.
            number: Its cRLNumber; None for a CRL without.
            issuer: Claim to be the CRL of another CA, by its common name.
            key: Sign with another key than that of this CA.
            extensions: More extensions, each with its criticality.
            entry_extensions: More extensions of each entry.

        Raises:
            ConfigurationError: One certificate in place of a list; a date that is not aware.
        """
        if isinstance(revoked, x509.Certificate | Credential):
            raise ConfigurationError("revoked= is a list: write crl([credential])")
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        more: list[Extension] = [(own, False)]
        more += [] if number is None else [(x509.CRLNumber(number), False)]
        of_entries: list[Extension] = [] if reason is None else [(x509.CRLReason(reason), False)]
        return make_crl(
            issuer=self.certificate.subject if issuer is None else _subject(issuer),
            revoked=[_certificate(one) for one in revoked],
            validity=period(this_update, next_update),
            extensions=[*more, *extensions],
            entry_extensions=[*of_entries, *entry_extensions],
            key=self.key if key is None else key,
            is_seeded=self._is_seeded,
        )

    def ocsp(  # noqa: PLR0913  a response has as many fields
        self,
        about: x509.Certificate | Credential,
        *,
        status: StatusName = "good",
        hash: Hash = "SHA-1",  # noqa: A002  the word of RFC 6960
        this_update: dt.datetime | None = None,
        next_update: dt.datetime | Literal["absent"] | None = None,
        reason: x509.ReasonFlags | None = None,
        responder: Credential | None = None,
        brought: Iterable[x509.Certificate] | None = None,
        by_name: bool = False,
        key: PrivateKey | None = None,
        extensions: Iterable[Extension] = (),
    ) -> bytes:
        """Make an OCSP response in DER form, as a certificate that this CA has issued has it.

        Args:
            about: A certificate, or a credential of which the first certificate is meant.
            status: ``"good"``, ``"revoked"`` or ``"unknown"``; ``"tryLater"`` for a responder that
                gives none.
            hash: By which the certificate is named: ``"SHA-1"``, as is usual, or ``"SHA-256"``.
            this_update: Aware; an hour ago by default.
            next_update: Aware; in a week by default; ``"absent"`` for none.
            reason: Why it is revoked; None to tell none.
            responder: Who signs in place of this CA: often
                ``ca.issue(purposes=["1.3.6.1.5.5.7.3.9"])``, whose EKU is OCSPSigning.
            brought: The certificates that the response brings; by default that of the responder.
            by_name: Name who signs by the subject, not by the key.
            key: Sign with another key than that of who is named.
            extensions: More extensions, each with its criticality.

        Raises:
            ConfigurationError: A status or hash that is none; a date that is not aware.
        """
        signer = (self.certificate, self.key)
        if responder is not None:
            signer = (responder.chain[0], responder.key)
        if brought is None:
            brought = [] if responder is None else [responder.chain[0]]
        begin, end = period(this_update, None if next_update == "absent" else next_update)
        return make_ocsp(
            about=(_certificate(about), self.certificate),
            status=status,
            algorithm=hash,
            validity=(begin, None if next_update == "absent" else end),
            reason=reason,
            responder=signer,
            extensions=extensions,
            certificates=list(brought),
            key=signer[1] if key is None else key,
            by_name=by_name,
        )

    def authority(
        self,
        name: str | None = None,
        *,
        purposes: KeyPurposes = KeyPurposes.SIP,
        revocation: Revocation | None = None,
    ) -> Authority:
        """Give the `Authority` whose one anchor is this CA."""
        return Authority(
            name or self.name, [self.certificate], purposes=purposes, revocation=revocation
        )

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
            usage = x509.ExtendedKeyUsage([purpose(one) for one in purposes])
            builder = builder.add_extension(usage, critical=False)
        # With a seed not even the signature is random.
        return builder.sign(self.key, hashes.SHA256(), ecdsa_deterministic=self._is_seeded)

    @property
    def _is_seeded(self) -> bool | None:
        return None if self._seed is None else True

    def _serial(self, key: PrivateKey) -> int:
        if self._seed is None:
            return x509.random_serial_number()
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return int.from_bytes(hashlib.sha256(public).digest()[:16], "big")

    def _grain(self, *what: object) -> bytes | None:
        """What a key is made from; None for a random one."""
        return None if self._seed is None else repr((self._seed, self.name, *what)).encode()


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


def _certificate(one: x509.Certificate | Credential) -> x509.Certificate:
    return one.chain[0] if isinstance(one, Credential) else one


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
    shown: Credential | Iterable[x509.Certificate],
    role: Role | str = Role.CLIENT,
    reference: str | ReferenceIdentity | None = None,
    now: dt.datetime | None = None,
    staple: bytes | None = None,
) -> Evidence:
    """Give what a policy sees when a peer shows this.

    Args:
        shown: The peer's credential, or its certificates alone, its own first.
        role: What the peer is.
        reference: Whom we expect: a SIP URI or a domain; None for nobody in particular.
        now: When; aware. By default the present time.
        staple: The OCSP response that the peer sent for its own certificate, as DER.
    """
    expected = None if reference is None else ReferenceIdentity.parse(reference)
    when = dt.datetime.now(dt.UTC) if now is None else now
    chain = shown.chain if isinstance(shown, Credential) else shown
    return Evidence(chain, role, now=when, reference=expected, staple=staple)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        constraints = extension(certificate, x509.BasicConstraints)
    except ValueError:  # its extensions cannot be decoded
        return False
    return constraints is not None and constraints.ca


def _make_key(key: KeyType | PrivateKey, grain: bytes | None = None) -> PrivateKey:
    if not isinstance(key, str):
        return key
    if key in _CURVES:
        curve = _CURVES[key]
        if grain is None:
            return ec.generate_private_key(curve)
        # 256 bits are below the order of both curves but for one in 2^32, and never 0.
        number = int.from_bytes(hashlib.sha256(grain).digest()[:31], "big") + 1
        return ec.derive_private_key(number, curve)
    if key not in _RSA_BITS:
        known = ", ".join((*_CURVES, *_RSA_BITS))
        raise ConfigurationError(f"a key type is one of {known}, not {key!r}")
    if grain is not None:
        raise ConfigurationError("an RSA key cannot be made from a seed: take P-256")
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS[key])


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
    serial: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )


def _key_identifier(key: PrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _general_name(name: str) -> x509.GeneralName:
    if name[:4].lower() == "sip:" or name[:5].lower() == "sips:":
        return x509.UniformResourceIdentifier(name)
    if name.startswith("_"):
        return _service(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _service(name: str) -> x509.OtherName:
    """An SRV name: the IA5String ``_sips.contoso.com``, in DER."""
    text = name.encode("ascii")
    if len(text) >= _LONG_FORM:
        raise ConfigurationError(f"an SRV name for tests has at most 127 bytes, unlike {name!r}")
    return x509.OtherName(_SRV_NAME, bytes([_IA5_STRING, len(text)]) + text)


def _subtrees(names: Sequence[str]) -> list[x509.DNSName] | None:
    return [x509.DNSName(name) for name in names] or None
