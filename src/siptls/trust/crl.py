"""Certificate revocation lists (RFC 5280 §5 and §6.3).

A CRL is read once, and then asked. What makes it useless to everybody (no number, a critical
extension that nobody here knows) is found when it is read; what depends on the certificate, on its
issuer and on the time is asked each time. Delta CRLs and indirect CRLs are not read at all: what
they leave out would look like a good status.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TypeVar

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from siptls.trust.evidence import extension
from siptls.trust.names import printable
from siptls.trust.status import UNREADABLE, Answer, Status, is_strong, revoked

__all__ = ["Crl"]

# Of a critical extension that is not among these nobody knows what it changes.
_UNDERSTOOD = {ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.ISSUING_DISTRIBUTION_POINT}
_UNDERSTOOD_OF_ENTRIES = {CRLEntryExtensionOID.CRL_REASON, CRLEntryExtensionOID.INVALIDITY_DATE}
# Keys whose signatures are remembered. A CA has one, and a few while it changes it.
_MAX_KEYS = 16
_MAX_LINE = 400  # characters of what is told about a CRL that is not read
_PEM = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)

_E = TypeVar("_E", bound=x509.ExtensionType)
_Entry = tuple[datetime, x509.ReasonFlags | None]


@frozen(cache_hash=True)
class Crl:
    """A CRL that has been read. `read` makes one.

    Attributes:
        name: Its issuer and its thisUpdate, for messages.
        der: Its encoding.
    """

    name: str = field(eq=False)
    der: bytes = field(repr=False)
    _list: x509.CertificateRevocationList = field(repr=False, eq=False)
    _fault: str = field(repr=False, eq=False)
    _entries: dict[int, _Entry] = field(repr=False, eq=False)
    _signed: dict[bytes, bool] = field(factory=dict, init=False, repr=False, eq=False)

    @classmethod
    def read_all(cls, data: bytes) -> list[Crl]:
        """Read one CRL in DER form, or all that stand in PEM text.

        Raises:
            ValueError: As `read`.
        """
        texts = _PEM.findall(data)
        return [cls.read(der) for der in map(_der, texts)] if texts else [cls.read(data)]

    @classmethod
    def read(cls, der: bytes) -> Crl:
        """Read DER.

        Raises:
            ValueError: It is no CRL, or one of a kind that is not read; the text says which.
        """
        try:
            found = x509.load_der_x509_crl(der)
            issuer = printable(found.issuer.rfc4514_string())
            name = f"the CRL of {issuer!r} of {found.last_update_utc.isoformat()}"
            _refuse_other_kinds(name, found)
            entries: dict[int, _Entry] = {}
            strange = ""
            for entry in found:
                extensions = _extensions(entry)
                if any(one.oid == CRLEntryExtensionOID.CERTIFICATE_ISSUER for one in extensions):
                    raise _indirect(name, "certificateIssuer in an entry")
                strange = strange or _strange(extensions, _UNDERSTOOD_OF_ENTRIES)
                reason = _reason(extensions)
                if reason is not x509.ReasonFlags.remove_from_crl:
                    entries[entry.serial_number] = (entry.revocation_date_utc, reason)
        except UNREADABLE as error:
            raise ValueError(printable(str(error), _MAX_LINE)) from error
        fault = f"has an entry with {strange}" if strange else _fault_of_all(found)
        return cls(name, found.public_bytes(Encoding.DER), found, fault, entries)

    @property
    def issuer(self) -> str:
        """The name of who has made it, to be shown."""
        return printable(self._list.issuer.rfc4514_string())

    @property
    def next_update(self) -> datetime | None:
        """When the next one is due; aware. None if it does not tell."""
        return self._list.next_update_utc

    @property
    def this_update(self) -> datetime:
        """When it was made; aware."""
        return self._list.last_update_utc

    def answer(
        self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime
    ) -> Answer | None:
        """Say what the CRL tells about a certificate; None if it is that of another issuer."""
        crl, point = self._list, self._value(x509.IssuingDistributionPoint)
        if crl.issuer != certificate.issuer:
            return None
        fault = self.fault(issuer) or _scope_fault(point, certificate)
        if not fault and now < crl.last_update_utc:
            fault = f"is not yet valid: it begins at {crl.last_update_utc.isoformat()}"
        if fault:
            return Answer(Status.UNKNOWN, f"{self.name} {fault}")
        until = crl.next_update_utc
        stale = until is None or now > until
        if entry := self._entries.get(certificate.serial_number):
            return revoked(self.name, *entry, stale=stale)
        if until is None:
            fault = "is of no use: it has no nextUpdate, and so may be of any age"
        elif stale:
            fault = f"is stale: its nextUpdate was at {until.isoformat()}"
        elif point is not None and point.only_some_reasons is not None:
            fault = "is not complete: it is about some reasons only (onlySomeReasons)"
        if fault:
            return Answer(Status.UNKNOWN, f"{self.name} {fault}")
        return Answer(Status.GOOD, self.name, until)

    def is_of(self, issuer: x509.Certificate) -> bool:
        """Whether it claims to be a CA's: it has its name."""
        return self._list.issuer == issuer.subject

    def fault(self, issuer: x509.Certificate) -> str:
        """Say what makes it useless for whatever a CA has issued; empty if nothing does."""
        return self._fault or self._issuer_fault(issuer)

    def _issuer_fault(self, issuer: x509.Certificate) -> str:
        usage = extension(issuer, x509.KeyUsage)
        if usage is not None and not usage.crl_sign:
            return "is from a CA that may sign none: its keyUsage has no cRLSign"
        named = self._value(x509.AuthorityKeyIdentifier)
        own = extension(issuer, x509.SubjectKeyIdentifier)
        if named is not None and own is not None and named.key_identifier not in (None, own.digest):
            return "is signed with another key than that of its issuer (authorityKeyIdentifier)"
        if not self._is_signed_by(issuer):
            return "has a bad signature: the issuer of the certificate has not made it"
        return ""

    def _is_signed_by(self, issuer: x509.Certificate) -> bool:
        """Whether the issuer has signed it. A long CRL takes long: each key is tried once."""
        key = issuer.public_key()
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if der not in self._signed:
            if len(self._signed) >= _MAX_KEYS:
                self._signed.clear()
            self._signed[der] = self._list.is_signature_valid(key)  # type: ignore[arg-type]  # a CA's
        return self._signed[der]

    def _value(self, kind: type[_E]) -> _E | None:
        return _value(self._list, kind)


def _der(pem: bytes) -> bytes:
    try:
        return x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)
    except UNREADABLE as error:
        raise ValueError(printable(str(error), _MAX_LINE)) from error


def _value(crl: x509.CertificateRevocationList, kind: type[_E]) -> _E | None:
    try:
        return crl.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _refuse_other_kinds(name: str, crl: x509.CertificateRevocationList) -> None:
    if _value(crl, x509.DeltaCRLIndicator) is not None:
        raise ValueError(
            f"{name} is a delta CRL (deltaCRLIndicator), which tells changes only: pass the"
            " complete one"
        )
    point = _value(crl, x509.IssuingDistributionPoint)
    if point is not None and point.indirect_crl:
        raise _indirect(name, "indirectCRL")


def _indirect(name: str, what: str) -> ValueError:
    return ValueError(
        f"{name} is an indirect CRL ({what}), which is about the certificates of other CAs: pass"
        " the one that the CA itself has signed"
    )


def _fault_of_all(crl: x509.CertificateRevocationList) -> str:
    """Say what makes a CRL useless, whatever it is asked; empty if nothing does."""
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber)
    except x509.ExtensionNotFound:
        return "has no cRLNumber (RFC 5280 §5.2.3)"
    if number.critical:
        return "has a critical cRLNumber (RFC 5280 §5.2.3)"
    if not is_strong(crl.signature_hash_algorithm):
        return "is signed with a hash that is weak: SHA-256 or better is wanted"
    strange = _strange(crl.extensions, _UNDERSTOOD)
    return f"has {strange}" if strange else ""


def _strange(extensions: x509.Extensions, understood: set[x509.ObjectIdentifier]) -> str:
    for one in extensions:
        if one.critical and one.oid not in understood:
            return f"a critical extension that is not understood: {one.oid.dotted_string}"
    return ""


def _extensions(entry: x509.RevokedCertificate) -> x509.Extensions:
    """Read an entry's extensions; of what cannot be read, such as a new reason, it has none.

    It is an entry all the same: whoever stands in the list is revoked.
    """
    try:
        return entry.extensions
    except UNREADABLE:
        return x509.Extensions([])


def _reason(extensions: x509.Extensions) -> x509.ReasonFlags | None:
    try:
        return extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return None


def _scope_fault(point: x509.IssuingDistributionPoint | None, certificate: x509.Certificate) -> str:
    """Say why the CRL does not cover a certificate (RFC 5280 §6.3.3 b 2); empty if it does."""
    if point is None:
        return ""
    constraints = extension(certificate, x509.BasicConstraints)
    is_ca = constraints is not None and constraints.ca
    if point.only_contains_attribute_certs:
        return "is about attribute certificates only"
    if is_ca and point.only_contains_user_certs:
        return "does not cover it: it is about end entities only (onlyContainsUserCerts)"
    if not is_ca and point.only_contains_ca_certs:
        return "does not cover it: it is about CAs only (onlyContainsCACerts)"
    if _is_distributed_for(point, certificate):
        return ""
    return "does not cover it: its distribution point is none of the certificate's"


def _is_distributed_for(
    point: x509.IssuingDistributionPoint, certificate: x509.Certificate
) -> bool:
    if point.full_name is None and point.relative_name is None:
        return True
    for own in extension(certificate, x509.CRLDistributionPoints) or ():
        if own.crl_issuer is None:  # else another CA than the issuer signs the CRL there
            if point.full_name and not set(point.full_name).isdisjoint(own.full_name or ()):
                return True
            if point.relative_name is not None and point.relative_name == own.relative_name:
                return True
    return False
