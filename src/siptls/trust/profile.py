"""The certificate profile (RFC 5280 §4): what a CA's certificate, and a peer's, must be like.

The path builder of ``cryptography`` is told to leave extensions to us, for its own rules are the
web's. What SIP needs of them stands here: `ca_fault` for each CA on a path, `leaf_fault` for the
certificate of the peer itself. Names are no matter here.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtensionOID

from siptls.trust.codes import Code
from siptls.trust.evidence import Role, extension
from siptls.trust.fault import Fault, describe, serial_number
from siptls.trust.purposes import KeyPurposes

__all__ = ["ca_fault", "date_fault", "key_fault", "leaf_fault", "pinned_fault"]

# RFC 9325 §4.5 asks for these at least.
_MIN_RSA = 2048
_MIN_CURVE = 256
_OCTET = 8
# The same few CAs issue what is judged all day long, and the answer about one never changes.
_MAX_CAS = 128

# RFC 5280 §4.2: which extensions must be critical, and which must not. One that says otherwise
# comes from a CA that does not know what it signs.
_MUST_BE_CRITICAL = {
    ExtensionOID.NAME_CONSTRAINTS: "nameConstraints",
    ExtensionOID.POLICY_CONSTRAINTS: "policyConstraints",
    ExtensionOID.INHIBIT_ANY_POLICY: "inhibitAnyPolicy",
}
_MUST_NOT_BE_CRITICAL = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER: "authorityKeyIdentifier",
    ExtensionOID.SUBJECT_KEY_IDENTIFIER: "subjectKeyIdentifier",
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS: "authorityInfoAccess",
    ExtensionOID.SUBJECT_INFORMATION_ACCESS: "subjectInfoAccess",
    ExtensionOID.FRESHEST_CRL: "freshestCRL",
    ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES: "subjectDirectoryAttributes",
}


@lru_cache(maxsize=_MAX_CAS)
def ca_fault(
    certificate: x509.Certificate, purposes: KeyPurposes, role: Role, *, is_anchor: bool
) -> Fault | None:
    """Say what keeps a CA's certificate from issuing others; None if nothing does.

    Args:
        certificate: A CA's, on the path of a peer.
        purposes: A CA without EKU is not limited by it, whatever is asked of the peer.
        role: What the peer is.
        is_anchor: It is trusted for its key and its name: its serial number is never used.
    """
    return (
        key_fault(certificate)
        or _ca_key_fault(certificate)
        or _issuing_fault(certificate)
        or _criticality_fault(certificate)
        or (None if is_anchor else _serial_fault(certificate))
        or purposes.fault(certificate, role, is_ca=True)
    )


def leaf_fault(certificate: x509.Certificate, purposes: KeyPurposes, role: Role) -> Fault | None:
    """Say what keeps a certificate from being a peer's; None if nothing does.

    It is asked once there is a path, and in the order in which an operator would ask.
    """
    return (
        key_fault(certificate)
        or _end_entity_fault(certificate)
        or _criticality_fault(certificate)
        or _serial_fault(certificate)
        or purposes.fault(certificate, role, is_ca=False)
    )


def pinned_fault(certificate: x509.Certificate, now: datetime) -> Fault | None:
    """Say what makes a certificate useless even if it is pinned; None if nothing does."""
    return date_fault(certificate, now) or key_fault(certificate)


def date_fault(certificate: x509.Certificate, now: datetime) -> Fault | None:
    """Say that a certificate is not valid at a time; None if it is."""
    if now > certificate.not_valid_after_utc:
        code, found = Code.PATH_EXPIRED, f"expired at {certificate.not_valid_after_utc.isoformat()}"
    elif now < certificate.not_valid_before_utc:
        begins = certificate.not_valid_before_utc.isoformat()
        code, found = Code.PATH_NOT_YET_VALID, f"is not valid before {begins}"
    else:
        return None
    expected = f"one that is valid at {now.isoformat(timespec='seconds')}"
    return Fault(code, describe(certificate), found, expected, "RFC 5280 §4.1.2.5")


# ---------------------------------------------------------------- keys


def key_fault(certificate: x509.Certificate) -> Fault | None:
    """Say what makes a key weak; None if nothing does.

    The verifier looks at the keys of CAs, never at the leaf's own.
    """
    key = certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            found = f"has an RSA key of {key.key_size} bits"
            if key.key_size < _MIN_RSA:
                return _weak(certificate, found, f"at least {_MIN_RSA} bits")
            if key.key_size % _OCTET:  # what no key generator does by itself
                return _weak(certificate, found, "a multiple of 8")
        case ec.EllipticCurvePublicKey():
            if key.curve.key_size < _MIN_CURVE:
                found = f"has a key on the curve {key.curve.name}"
                return _weak(certificate, found, f"a curve of at least {_MIN_CURVE} bits")
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            pass
        case _:
            kind = type(key).__name__.removesuffix("PublicKey").lstrip("_")
            return _weak(certificate, f"has a key of the kind {kind}", "RSA, EC or EdDSA")
    return None


def _ca_key_fault(certificate: x509.Certificate) -> Fault | None:
    """The path builder knows fewer kinds of key in a CA than we take in a leaf."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return _weak(certificate, "has a key that is neither RSA nor EC", "RSA or EC in a CA")
    if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
        found = f"has a key on the curve {key.curve.name}"
        return _weak(certificate, found, "P-256, P-384 or P-521 in a CA")
    return None


def _weak(certificate: x509.Certificate, found: str, expected: str) -> Fault:
    return Fault(Code.PATH_WEAK_KEY, describe(certificate), found, expected, "RFC 9325 §4.5")


# ---------------------------------------------------------------- extensions


def _issuing_fault(certificate: x509.Certificate) -> Fault | None:
    constraints = extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        found, expected = "issued a certificate but is no CA", "basicConstraints with cA"
        return _broken(certificate, found, expected, "§4.2.1.9")
    usage = extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        found = "issued a certificate without keyCertSign"
        return _broken(certificate, found, "keyUsage with keyCertSign, or none", "§4.2.1.3")
    return None


def _end_entity_fault(leaf: x509.Certificate) -> Fault | None:
    """What must not stand in a leaf."""
    constraints = extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        return _broken(leaf, "is a CA certificate", "a peer's own: a CA is no peer", "§4.2.1.9")
    usage = extension(leaf, x509.KeyUsage)
    if usage is not None and usage.key_cert_sign:
        found = "may sign certificates (keyCertSign)"
        return _broken(leaf, found, "a peer's own: a CA is no peer", "§4.2.1.3")
    if extension(leaf, x509.NameConstraints) is not None:
        return _broken(leaf, "has nameConstraints", "them in CA certificates only", "§4.2.1.10")
    if not list(leaf.subject):
        try:
            san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            found = "has neither a subject nor a subjectAltName"
            return _broken(leaf, found, "one of them at least", "§4.1.2.6")
        if not san.critical:
            found = "has an empty subject and a subjectAltName that is not critical"
            return _broken(leaf, found, "a critical one", "§4.2.1.6")
    return None


def _criticality_fault(certificate: x509.Certificate) -> Fault | None:
    for found in certificate.extensions:
        wrong, expected = (
            (_MUST_NOT_BE_CRITICAL, "one that is not")
            if found.critical
            else (_MUST_BE_CRITICAL, "one that is")
        )
        if name := wrong.get(found.oid):
            state = "a critical" if found.critical else "a non-critical"
            return _broken(certificate, f"has {state} {name}", expected, "§4.2")
    return None


def _serial_fault(certificate: x509.Certificate) -> Fault | None:
    serial = serial_number(certificate)
    if serial > 0:
        return None
    found = f"has the serial number {serial}"
    return _broken(certificate, found, "a positive one", "§4.1.2.2")


def _broken(certificate: x509.Certificate, found: str, expected: str, section: str) -> Fault:
    rule = f"RFC 5280 {section}"
    return Fault(Code.PATH_CONSTRAINT, describe(certificate), found, expected, rule)
