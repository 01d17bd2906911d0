"""OCSP responses (RFC 6960): stapled by a peer, given, or from a cache.

A response is read once, and then asked. It holds one answer, as those made for caches do (RFC 5019
§2.2.1): of several, the extensions of each could not be seen. No request has a nonce, so there is
none to compare: one that is present is ignored, and the dates alone say how fresh a
response is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, OCSPExtensionOID

from siptls.trust.evidence import extension, key_limit_fault
from siptls.trust.fault import describe
from siptls.trust.names import printable
from siptls.trust.profile import date_fault, key_fault
from siptls.trust.status import UNREADABLE, Answer, Status, is_strong, revoked

__all__ = ["MAX_AGE", "MAX_RESPONSE", "TOLERANCE", "StatusResponse"]

# How far a responder's clock may be from ours. Windows domains and Kerberos allow five minutes.
TOLERANCE = timedelta(minutes=5)
# How old a response without nextUpdate may be. It claims that newer information can be had at any
# time (RFC 6960 §2.4), and so nothing about its age. A day is how often CAs issue a CRL: by such a
# response a revocation is seen no later than by those.
MAX_AGE = timedelta(days=1)
# Bytes of a response. Usual ones have 500 to 3000; OpenSSL takes whole chains of 100 KiB.
MAX_RESPONSE = 65536
# Certificates that a response may bring: the responder's, and a few that nobody asked for.
_MAX_CERTIFICATES = 4
# Hashes of a certID. SHA-1 is what most responders write; nothing rests on it but the look-up.
_CERT_ID = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}  # noqa: S303  see above
# Of a critical extension that is not among these nobody knows what it changes.
_UNDERSTOOD_OF_RESPONDERS = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.OCSP_NO_CHECK,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
}


@frozen(cache_hash=True)
class StatusResponse:
    """An OCSP response that has been read. `read` makes one.

    Attributes:
        name: What it is, and its thisUpdate, for messages.
        der: Its encoding.
    """

    name: str = field(eq=False)
    der: bytes = field(repr=False)
    _response: ocsp.OCSPResponse = field(repr=False, eq=False)
    _certificates: tuple[x509.Certificate, ...] = field(repr=False, eq=False)
    _fault: str = field(repr=False, eq=False)

    @classmethod
    def read(cls, der: bytes) -> StatusResponse:
        """Read DER.

        Raises:
            ValueError: It is no OCSP response.
        """
        if len(der) > MAX_RESPONSE:
            raise ValueError(f"it has {len(der)} bytes; at most {MAX_RESPONSE} are read")
        name = "the OCSP response"
        certificates: tuple[x509.Certificate, ...] = ()
        try:
            response = ocsp.load_der_ocsp_response(der)
            if response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL:
                certificates = tuple(response.certificates)
                fault = _fault_of_all(response, certificates)
            else:
                status = response.response_status.name.lower().replace("_", " ")
                fault = f"holds no answer but the error {status!r}"
            if not fault:
                name = f"{name} of {response.this_update_utc.isoformat()}"
        except UNREADABLE as error:
            raise ValueError(printable(str(error))) from error
        return cls(name, der, response, certificates, fault)

    @property
    def next_update(self) -> datetime | None:
        """When a newer one is due; aware. None if it holds no answer, or does not tell."""
        return None if self._fault else self._response.next_update_utc

    @property
    def this_update(self) -> datetime:
        """When what it tells was known to be so; aware.

        Raises:
            ValueError: It holds no answer.
        """
        return self._response.this_update_utc

    def answer(
        self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime
    ) -> Answer | None:
        """Say what the response tells about a certificate; None if it is about another one."""
        if self._fault:
            return self._unknown(self._fault)
        single = next(iter(self._response.responses))
        if not _is_about(single, certificate, issuer):
            return None
        fault = self._signature_fault(issuer, now)
        begins, ends = single.this_update_utc, single.next_update_utc
        if not fault and now < begins - TOLERANCE:
            fault = f"is not yet valid: it begins at {begins.isoformat()}"
        if fault:
            return self._unknown(fault)
        until = begins + MAX_AGE if ends is None else ends
        stale = now > until + TOLERANCE
        when = single.revocation_time_utc
        if when is not None:  # if, and only if, it is revoked
            return revoked(self.name, when, _reason(single), stale=stale)
        if stale and ends is None:
            return self._unknown(f"is stale: it is of {begins.isoformat()}, without nextUpdate")
        if stale:
            return self._unknown(f"is stale: its nextUpdate was at {until.isoformat()}")
        if single.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
            return self._unknown("says that the certificate is unknown to its issuer")
        # Within the tolerance it is believed still, and asked again when that is over.
        return Answer(Status.GOOD, self.name, until if now <= until else until + TOLERANCE)

    def is_of(self, issuer: x509.Certificate) -> bool:
        """Whether it is about a certificate that a CA has issued: it names the CA's key."""
        if self._fault:
            return False
        single = next(iter(self._response.responses))
        algorithm = _CERT_ID.get(single.hash_algorithm.name)
        if algorithm is None:
            return False
        asked = ocsp.OCSPRequestBuilder().add_certificate(issuer, issuer, algorithm).build()
        return asked.issuer_key_hash == single.issuer_key_hash

    def _unknown(self, fault: str) -> Answer:
        return Answer(Status.UNKNOWN, f"{self.name} {fault}")

    def _signature_fault(self, issuer: x509.Certificate, now: datetime) -> str:
        """Say why nobody who may has signed it (RFC 6960 §4.2.2.2); empty if somebody has."""
        fault = "is not signed by the issuer, and brings no certificate of who has signed it"
        for signer in (issuer, *self._certificates):
            if self._is_named(signer):
                fault = "" if signer == issuer else _responder_fault(signer, issuer, now)
                if not fault and not self._is_signed_by(signer):
                    fault = "has a bad signature: who is named as its responder has not made it"
                if not fault:
                    return ""
        return fault

    def _is_named(self, signer: x509.Certificate) -> bool:
        """Whether the responderID is this one's: only its signature is tried."""
        if self._response.responder_name is not None:
            return self._response.responder_name == signer.subject
        key = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
        return key.digest == self._response.responder_key_hash

    def _is_signed_by(self, signer: x509.Certificate) -> bool:
        response, key = self._response, signer.public_key()
        signature, signed = response.signature, response.tbs_response_bytes
        algorithm = response.signature_hash_algorithm
        try:
            match key:
                case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
                    key.verify(signature, signed)
                case rsa.RSAPublicKey() if algorithm is not None:
                    key.verify(signature, signed, padding.PKCS1v15(), algorithm)
                case ec.EllipticCurvePublicKey() if algorithm is not None:
                    key.verify(signature, signed, ec.ECDSA(algorithm))
                case _:
                    return False
        except InvalidSignature:
            return False
        return True


def _fault_of_all(response: ocsp.OCSPResponse, certificates: tuple[x509.Certificate, ...]) -> str:
    """Say what makes a response useless, whatever it is asked; empty if nothing does."""
    count = sum(1 for _ in response.responses)
    if count != 1:
        return f"holds {count} answers: one is wanted (RFC 5019 §2.2.1)"
    if len(certificates) > _MAX_CERTIFICATES:
        return f"brings {len(certificates)} certificates: at most {_MAX_CERTIFICATES} are looked at"
    algorithm = response.signature_hash_algorithm
    if algorithm is not None and not is_strong(algorithm):  # EdDSA has none
        return "is signed with a hash that is weak: SHA-256 or better is wanted"
    nonce = {OCSPExtensionOID.NONCE}
    return _strange((*response.extensions, *response.single_extensions), nonce)


def _strange(
    extensions: Iterable[x509.Extension[x509.ExtensionType]],
    understood: set[x509.ObjectIdentifier],
) -> str:
    for one in extensions:
        if one.critical and one.oid not in understood:
            oid = one.oid.dotted_string
            return f"has a critical extension that is not understood: {oid}"
    return ""


def _is_about(
    single: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    """Whether the certID is that of the certificate (RFC 6960 §4.1.1)."""
    algorithm = _CERT_ID.get(single.hash_algorithm.name)
    if algorithm is None:
        return False
    asked = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, algorithm).build()
    return (asked.issuer_name_hash, asked.issuer_key_hash, asked.serial_number) == (
        single.issuer_name_hash,
        single.issuer_key_hash,
        single.serial_number,
    )


def _responder_fault(responder: x509.Certificate, issuer: x509.Certificate, now: datetime) -> str:
    """Say why a responder may not speak for the issuer (RFC 6960 §4.2.2.2); empty if it may.

    Whether the responder itself is revoked is not asked: the issuer names it for a short time.
    """
    told = f"is signed by {describe(responder)}, which"
    try:
        responder.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return f"{told} the issuer of the certificate has not issued itself"
    if not is_strong(responder.signature_hash_algorithm):
        return f"{told} is signed with a weak hash: SHA-256 or better is wanted"
    purposes = extension(responder, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        return f"{told} may not sign it: its extended key usage has no OCSPSigning"
    usage = extension(responder, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        return f"{told} may not sign it: its keyUsage has no digitalSignature"
    if fault := date_fault(responder, now) or key_limit_fault(responder) or key_fault(responder):
        return f"{told} {fault.found}"
    strange = _strange(responder.extensions, _UNDERSTOOD_OF_RESPONDERS)
    return f"{told} {strange}" if strange else ""


def _reason(single: ocsp.OCSPSingleResponse) -> x509.ReasonFlags | None:
    """Give the reason; None for one that nobody here knows, and that revokes all the same."""
    try:
        return single.revocation_reason
    except UNREADABLE:
        return None
