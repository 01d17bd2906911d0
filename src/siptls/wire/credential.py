"""Credential: who we are. Our own certificate, its chain, and its private key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeAlias
from weakref import WeakSet

from attrs import Factory, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from siptls import pem
from siptls.arguments import Kind, kind_of
from siptls.errors import CertificateError, ConfigurationError
from siptls.journal import log as _log
from siptls.trust.evidence import MAX_STAPLE
from siptls.trust.fault import describe, describe_all, serial_number
from siptls.trust.names import presented_domain
from siptls.trust.presented import NameKind, PresentedNames, presented_names

__all__ = ["IS_CREDENTIAL", "Credential", "as_credentials", "select", "staple_at"]


PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def _as_chain(value: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    return tuple(value)


def _public_bytes(item: x509.Certificate | PrivateKey) -> bytes | None:
    """Give the public key; None if it cannot be read, and so is not that of our private key."""
    try:
        key = item.public_key()
    except Exception:  # noqa: BLE001  cryptography raises at least five kinds
        return None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@frozen(eq=False)
class Credential:
    """Our own certificate with its chain, and the private key that belongs to it.

    Two credentials are equal only if they are the same object.

    Attributes:
        chain: Our certificate first, then the intermediate certificates to send along.
        key: RSA, or EC on P-256, P-384 or P-521; never shown by ``repr``.
        staple: An OCSP response for our certificate, DER. A server sends it to each client that
            asks for one (RFC 6066 §8), until its nextUpdate; a client sends none.

    Raises:
        CertificateError: The key does not belong to the first certificate, or is of another kind;
            or the staple does not belong to it, or cannot be read.
    """

    chain: tuple[x509.Certificate, ...] = field(converter=_as_chain, repr=describe_all)
    key: PrivateKey = field(repr=False)
    staple: bytes | None = field(default=None, repr=False)
    # What `select` looks for, read once: the names themselves, and those above a wildcard.
    _served: tuple[frozenset[str], frozenset[str]] = field(
        init=False, repr=False, default=Factory(lambda self: _served(self.chain), takes_self=True)
    )

    @chain.validator
    def _not_empty(self, _: object, value: tuple[x509.Certificate, ...]) -> None:
        if not value:
            raise CertificateError("a credential has a certificate: none was given")

    @key.validator
    def _fits(self, _: object, key: PrivateKeyTypes) -> None:
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise CertificateError(
                f"the private key is a {type(key).__name__.lstrip('_')}; RSA or EC is wanted"
            )
        if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, _CURVES):
            raise CertificateError(
                f"the private key is on the curve {key.curve.name}; P-256, P-384 or P-521 is wanted"
            )
        if _public_bytes(key) != _public_bytes(self.chain[0]):
            raise CertificateError(
                f"the private key does not belong to {describe(self.chain[0])}: was one of them"
                " renewed without the other?"
            )

    @staple.validator
    def _is_ours(self, _: object, staple: bytes | None) -> None:
        if staple is None:
            return
        if not isinstance(staple, bytes):
            raise ConfigurationError(
                f"a staple is DER as bytes, not {kind_of(staple)}: Credential.from_pem(...,"
                " staple=path) reads a file"
            )
        if len(staple) > MAX_STAPLE:
            raise CertificateError(
                f"the staple has {len(staple)} bytes, and clients take at most {MAX_STAPLE}: ask"
                " the responder for this certificate only"
            )
        _status(staple, self.chain[0])

    @classmethod
    def from_pem(
        cls,
        *sources: pem.Source,
        password: str | bytes | None = None,
        staple: pem.Source | None = None,
    ) -> Credential:
        """Read certificate, chain and key from PEM files, or from PEM text given as bytes.

        The certificate that the key belongs to is ours, wherever it stands; the others are sent
        along in their order.

        Args:
            sources: One file with all, or one for each: in any order.
            password: Opens the key if it is encrypted.
            staple: An OCSP response for our certificate: a file of DER, or the DER as bytes.

        Raises:
            ConfigurationError: A file cannot be read, or there is none.
            CertificateError: There is no key or more than one, no certificate for it, or one of
                them cannot be decoded; or the staple is not for this certificate.
        """
        if not sources:
            raise ConfigurationError("Credential.from_pem was given no file: pass a path or bytes")
        secret = password.encode() if isinstance(password, str) else password
        certificates: list[x509.Certificate] = []
        keys: list[PrivateKeyTypes] = []
        origins = []
        for source in sources:
            origin, data = pem.read(source)
            origins.append(origin)
            certificates += pem.certificates(origin, data)
            keys += pem.private_keys(origin, data, secret)
        where = " and ".join(origins)
        if len(keys) != 1:
            found = "no private key" if not keys else f"{len(keys)} private keys"
            raise CertificateError(f"{where} has {found}; one is wanted, in PEM form")
        if not certificates:
            raise CertificateError(f"{where} has no certificate; the key's own is wanted")
        key = keys[0]
        response = None if staple is None else pem.read(staple)[1]
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            return cls(certificates, key)  # type: ignore[arg-type]  # the validator says what is wrong
        ours = [c for c in certificates if _public_bytes(c) == _public_bytes(key)]
        first = ours[0] if ours else certificates[0]
        # Each once: the file of the chain often has ours as well.
        others = dict.fromkeys(c for c in certificates if c != first)
        return cls((first, *others), key, response)

    @property
    def names(self) -> PresentedNames:
        """The names that we present.

        Raises:
            ValueError: They cannot be decoded.
        """
        return presented_names(self.chain[0])

    @property
    def expires(self) -> datetime:
        """The earliest notAfter of the chain; aware."""
        return min(certificate.not_valid_after_utc for certificate in self.chain)


# ---------------------------------------------------------------- its staple

# Those whose staple is out of date, and of which that was told.
_told: WeakSet[Credential] = WeakSet()


def staple_at(credential: Credential | None, now: datetime) -> bytes:
    """Give the OCSP response to send at a time; empty if there is none, or if it is out of date.

    That it is out of date is told once: clients refuse such a response, and some refuse without.
    """
    if credential is None or credential.staple is None:
        return b""
    until = _status(credential.staple, credential.chain[0]).next_update_utc
    if until is None or now < until:
        return credential.staple
    if credential not in _told:
        _told.add(credential)
        _log.warning(
            "the staple for %s is out of date since %s, so that none is sent: fetch a new one, and"
            " make a new Credential with it",
            describe(credential.chain[0]),
            until.isoformat(timespec="seconds"),
        )
    return b""


def _status(staple: bytes, certificate: x509.Certificate) -> ocsp.OCSPSingleResponse:
    """Give what a response says of a certificate.

    Raises:
        CertificateError: It cannot be read, or says nothing of it.
    """
    try:
        response = ocsp.load_der_ocsp_response(staple)
    except ValueError as error:
        raise CertificateError(
            f"the staple cannot be read ({error}): it is an OCSP response in DER form, as"
            " 'openssl ocsp -respout FILE' writes it"
        ) from error
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise CertificateError(
            f"the staple is the responder's error {response.response_status.name}, and no status:"
            " fetch it again"
        )
    for status in response.responses:
        if status.serial_number == serial_number(certificate):
            return status
    raise CertificateError(
        f"the staple is not for {describe(certificate)}: after each renewal, fetch one for the new"
        " certificate"
    )


_HOW = "Credential.from_pem(path) reads one from certificate and key"
IS_CREDENTIAL = Kind(Credential, _HOW, optional=True)
_IS_ONE_OF_THEM = Kind(Credential, _HOW)


# ---------------------------------------------------------------- several of them


def as_credentials(
    value: Credential | Sequence[Credential] | None,
) -> tuple[Credential, ...]:
    """Take a server's credential, or several of them, the default first.

    Raises:
        ConfigurationError: There is something else among them.
        CertificateError: There is none.
    """
    if value is None:
        raise CertificateError("a TLS server needs a credential: pass its certificate and key")
    if isinstance(value, Credential):
        return (value,)
    if not isinstance(value, list | tuple):
        IS_CREDENTIAL.check("credential", value)
    if not value:
        raise CertificateError(
            "the list of credentials is empty: a TLS server needs one at least, the first of which"
            " is shown to whoever asks for no name"
        )
    for place, one in enumerate(value):
        _IS_ONE_OF_THEM.check(f"credential[{place}]", one)
    return tuple(value)


def select(credentials: Sequence[Credential], server_name: str | None) -> Credential:
    """Choose what a server shows to a client that asks for a name (RFC 5922 §7.8, RFC 6066 §3).

    First counts a ``sip:`` URI or a dNSName that is the name, then a dNSName with a wildcard for
    its whole left-most label. Case does not matter (RFC 6066 §3). Whether the client takes what it
    is shown is for the client to say.

    Args:
        credentials: Those there are, the default first; of two for the same name the first counts.
        server_name: What the client asks for, be it well-formed or not; None if it asks for none.

    Returns:
        The default if nobody has the name, or if it is no domain.
    """
    name = None if server_name is None else presented_domain(server_name)
    if name is None:
        return credentials[0]
    above = name.partition(".")[2]
    for place, wanted in enumerate((name, above)):
        for credential in credentials:
            if wanted in credential._served[place]:  # noqa: SLF001  its own module
                return credential
    return credentials[0]


def _served(chain: Sequence[x509.Certificate]) -> tuple[frozenset[str], frozenset[str]]:
    try:
        names = [name for one in chain[:1] for name in presented_names(one).names]
    except ValueError:  # names that cannot be decoded are asked for by nobody
        names = []
    asked = [name for name in names if name.kind in (NameKind.URI, NameKind.DNS)]
    return (
        frozenset(name.domain for name in asked if name.domain is not None),
        frozenset(name.wildcard for name in asked if name.wildcard is not None),
    )
