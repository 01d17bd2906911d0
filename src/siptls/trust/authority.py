"""Authority: trust anchors, and the proof that they vouch for a certificate.

How it thinks. ``cryptography``'s path builder (`ClientVerifier`) does the search, the signatures,
the dates, basicConstraints with path lengths, and the name constraints of the kinds that it
knows. It serves for both roles, because its server twin knows no ``sip:`` names and matches
wildcards. It is told to leave extensions to us, for its web rules are not those of SIP; what that
drops is put back here, in two places:

* what a *CA* certificate must satisfy is checked inside the search (`_ca_rules`), so that a
  second path is found where the first one fails; name constraints on SIP names are among it;
* what the *leaf* must satisfy is checked on the path that was found (`_leaf_fault`): it is the
  same on every path.

When no path is found, `_Diagnosis` walks the certificates by issuer and names the first fault.
It decides nothing: the answer is a refusal already. The verifier's own error texts are not read,
because they change.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from datetime import datetime

import certifi
from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification

from siptls import pem
from siptls.errors import ConfigurationError
from siptls.trust.codes import Code
from siptls.trust.decision import Decision
from siptls.trust.evidence import Evidence, Role, describe, extension
from siptls.trust.names import MAX_DOMAIN, NameKind, PresentedName, parents, printable
from siptls.trust.purposes import KeyPurposes

__all__ = ["Authority", "ProvenPath"]

# RFC 9325 §4.5 asks for these at least.
_MIN_RSA = 2048
_MIN_CURVE = 256

# ---------------------------------------------------------------- the authority


@frozen
class ProvenPath:
    """A path that an authority has proven; nothing else makes one.

    Attributes:
        chain: Leaf first, trust anchor last.
        authority: Who proved it.
        expires: The earliest notAfter on the path; aware.
    """

    chain: tuple[x509.Certificate, ...]
    authority: Authority
    expires: datetime


def _as_anchors(value: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Take the anchors, each once. All must be CAs before a store is made of them."""
    anchors = tuple(dict.fromkeys(value))
    if not anchors:
        raise ConfigurationError(
            "an authority without a trust anchor could trust nobody: pass the root certificate of"
            " its CA"
        )
    faults = [
        f"{_named(anchor)}: {fault}" for anchor in anchors if (fault := _anchor_fault(anchor))
    ]
    if faults:
        raise ConfigurationError(
            "anchors that are no CA certificate; pass the CA's own certificate instead."
            f" {'; '.join(faults)}"
        )
    return anchors


@frozen(eq=False)
class Authority:
    """A CA that may vouch for others: a name for people, its trust anchors, its key purposes.

    Each authority searches among its own anchors only. There is no merged store: in one, a
    partner's CA could vouch for our own names.

    Attributes:
        name: Shown in explanations and in `BelievedName.authority`.
        anchors: CA certificates, self-signed or not; at least one.
        purposes: Which extended key usages are asked for.

    Raises:
        ConfigurationError: No anchor, or one that is no CA certificate.
    """

    name: str
    anchors: tuple[x509.Certificate, ...] = field(converter=_as_anchors)
    purposes: KeyPurposes = field(default=KeyPurposes.SIP, kw_only=True)
    _store: verification.Store = field(init=False, repr=False)
    _subjects: dict[x509.Name, tuple[x509.Certificate, ...]] = field(init=False, repr=False)

    @_store.default
    def _make_store(self) -> verification.Store:
        return verification.Store(list(self.anchors))

    @_subjects.default
    def _index(self) -> dict[x509.Name, tuple[x509.Certificate, ...]]:
        subjects: dict[x509.Name, tuple[x509.Certificate, ...]] = {}
        for anchor in self.anchors:
            subjects[anchor.subject] = (*subjects.get(anchor.subject, ()), anchor)
        return subjects

    @classmethod
    def from_pem(
        cls, name: str, *sources: pem.Source, purposes: KeyPurposes = KeyPurposes.SIP
    ) -> Authority:
        """Read the anchors from PEM files, or from PEM text given as bytes.

        Raises:
            ConfigurationError: A file cannot be read, has no certificate, or one of no CA.
            CertificateError: A certificate cannot be decoded.
        """
        anchors: list[x509.Certificate] = []
        for source in sources:
            origin, data = pem.read(source)
            found = pem.certificates(origin, data)
            if not found:
                raise ConfigurationError(
                    f"{origin} has no certificate: the CA's certificate in PEM form is wanted"
                )
            anchors += found
        return cls(name, anchors, purposes=purposes)

    @classmethod
    def public(cls, *, purposes: KeyPurposes = KeyPurposes.SIP) -> Authority:
        """Give the public CAs that Mozilla trusts, as packaged by ``certifi``."""
        with warnings.catch_warnings():
            # A root of Mozilla's list has the serial number 0, which cryptography warns of. An
            # anchor is trusted for its key and its name; its serial number is never used.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return cls.from_pem("public CAs", certifi.where(), purposes=purposes)

    @property
    def subjects(self) -> frozenset[x509.Name]:
        """The subjects of the anchors: what `Federation` finds an issuer by."""
        return frozenset(self._subjects)

    def verify(self, evidence: Evidence) -> ProvenPath | Decision:
        """Prove a path from the evidence to one of the anchors, at ``evidence.now``.

        Returns:
            The path, or a refusal whose code begins with ``certificate.``, ``path.`` or
            ``purpose.``. Names are no matter here.
        """
        fault = evidence.fault
        if fault is None and self._subjects.keys().isdisjoint(_issuers(evidence.chain)):
            # None of the anchors has issued any of it: no signature needs to be looked at.
            fault = Code.PATH_UNKNOWN_CA, self._unknown(evidence.chain[-1])
        if fault is None:
            path = self._build(evidence)
            if path is not None:
                fault = _leaf_fault(path[0], self.purposes, evidence.role)
                if fault is None:
                    expires = min(certificate.not_valid_after_utc for certificate in path)
                    return ProvenPath(path, self, expires)
            else:
                fault = _Diagnosis(self, evidence).fault()
        code, reason = fault
        return Decision.refuse(code, reason, by=f"authority {self.name}", evidence=evidence)

    def _build(self, evidence: Evidence) -> tuple[x509.Certificate, ...] | None:
        verifier = (
            verification.PolicyBuilder()
            .store(self._store)
            .time(evidence.now)
            .max_chain_depth(evidence.max_certificates)
            .extension_policies(
                ca_policy=_ca_rules(self.purposes, evidence),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
            .build_client_verifier()
        )
        try:
            verified = verifier.verify(evidence.chain[0], list(evidence.chain[1:]))
        except verification.VerificationError:
            return None
        return tuple(verified.chain)

    def _unknown(self, last: x509.Certificate) -> str:
        issuer = printable(last.issuer.rfc4514_string())
        return f"no path to an anchor of {self.name}: it does not know the issuer {issuer!r}"


# ---------------------------------------------------------------- the rules

_Fault = tuple[Code, str]


def _issuers(chain: Iterable[x509.Certificate]) -> Iterator[x509.Name]:
    return (certificate.issuer for certificate in chain)


def _named(anchor: object) -> str:
    return describe(anchor) if isinstance(anchor, x509.Certificate) else repr(anchor)


def _anchor_fault(certificate: object) -> str:
    if not isinstance(certificate, x509.Certificate):
        return "it is no cryptography.x509.Certificate; Authority.from_pem reads files"
    try:
        constraints = extension(certificate, x509.BasicConstraints)
    except ValueError as error:
        return f"it cannot be decoded ({error})"
    return "" if constraints is not None and constraints.ca else "it has no basicConstraints cA"


def _ca_rules(purposes: KeyPurposes, evidence: Evidence) -> verification.ExtensionPolicy:
    """What ``cryptography`` asks of each CA on a path, ours put back on top of its own."""
    held = _constrained_hosts(evidence)

    def key_usage(
        _: verification.Policy, __: x509.Certificate, usage: x509.KeyUsage | None
    ) -> None:
        if usage is not None and not usage.key_cert_sign:
            raise ValueError("keyUsage without keyCertSign")

    def name_constraints(
        _: verification.Policy, ca: x509.Certificate, constraints: x509.NameConstraints | None
    ) -> None:
        if constraints is not None and (fault := _outside(constraints, held, ca)):
            raise ValueError(fault)

    def extended_key_usage(
        _: verification.Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None
    ) -> None:
        # A CA without EKU is not limited by it, whatever is asked of the leaf.
        if usage is not None and (fault := purposes.fault(certificate, evidence.role)):
            raise ValueError(fault)

    any_criticality = verification.Criticality.AGNOSTIC
    return (
        verification.ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, any_criticality, None)
        .may_be_present(x509.KeyUsage, any_criticality, key_usage)
        .may_be_present(x509.NameConstraints, any_criticality, name_constraints)
        .may_be_present(x509.ExtendedKeyUsage, any_criticality, extended_key_usage)
    )


def _leaf_fault(leaf: x509.Certificate, purposes: KeyPurposes, role: Role) -> _Fault | None:
    """What a leaf must satisfy beyond a path, in the order in which an operator would ask."""
    if fault := _key_fault(leaf):
        return Code.PATH_WEAK_KEY, f"{describe(leaf)} has {fault}"
    if fault := _not_an_end_entity(leaf):
        return Code.PATH_CONSTRAINT, f"{describe(leaf)} {fault}"
    if fault := purposes.fault(leaf, role):
        return Code.PURPOSE_UNACCEPTABLE, f"{describe(leaf)} has {fault}"
    return None


def _key_fault(certificate: x509.Certificate) -> str:
    """The verifier looks at the keys of CAs, never at the leaf's own (RFC 9325 §4.5)."""
    key = certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            if key.key_size >= _MIN_RSA:
                return ""
            return f"an RSA key of {key.key_size} bits; at least {_MIN_RSA} are asked for"
        case ec.EllipticCurvePublicKey():
            if key.curve.key_size >= _MIN_CURVE:
                return ""
            return f"a key on the curve {key.curve.name}; at least {_MIN_CURVE} bits are asked for"
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return ""
        case _:
            kind = type(key).__name__.removesuffix("PublicKey").lstrip("_")
            return f"a key of the kind {kind}; RSA, EC or EdDSA is asked for"


def _ca_key_fault(certificate: x509.Certificate) -> str:
    """The path builder knows fewer kinds of key in a CA than we take in a leaf."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
            return ""
        return f"a key on the curve {key.curve.name}; in a CA P-256, P-384 or P-521 is asked for"
    return "a key that is neither RSA nor EC, which a CA's must be"


def _not_an_end_entity(leaf: x509.Certificate) -> str:
    """What must not stand in a leaf (RFC 5280 §4.2.1.3, §4.2.1.6, §4.2.1.9, §4.2.1.10)."""
    constraints = extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        return "is a CA certificate: a CA is no peer"
    usage = extension(leaf, x509.KeyUsage)
    if usage is not None and usage.key_cert_sign:
        return "may sign certificates (keyCertSign): a CA is no peer"
    if extension(leaf, x509.NameConstraints) is not None:
        return "has nameConstraints, which belong in CA certificates only"
    if not list(leaf.subject):
        try:
            san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return "has neither a subject nor a subjectAltName"
        if not san.critical:
            return "has an empty subject and a subjectAltName that is not critical"
    return ""


_HeldNames = tuple[tuple[PresentedName, str], ...]


def _constrained_hosts(evidence: Evidence) -> _HeldNames:
    """Names that dNSName constraints hold for, and that the verifier does not apply them to.

    They are the hosts of SIP URIs, and a common name without SAN. Without this, a CA limited to
    ``example.com`` could still issue ``URI:sip:evil.example``.
    """
    presented = evidence.presented
    hosts = (
        (
            name,
            name.host
            if name.kind is not NameKind.CN
            else None
            if presented.has_san
            else name.domain,
        )
        for name in presented.names
    )
    return tuple((name, host) for name, host in hosts if host)


def _outside(constraints: x509.NameConstraints, held: _HeldNames, ca: x509.Certificate) -> str:
    """Say which name a CA's constraints forbid; empty if none (RFC 5280 §4.2.1.10)."""
    permitted = _dns_subtrees(constraints.permitted_subtrees)
    excluded = _dns_subtrees(constraints.excluded_subtrees)
    for name, host in held:
        if permitted and not _within(host, permitted):
            return f"presents {name}, outside what {describe(ca)} may vouch for"
        if _within(host, excluded):
            return f"presents {name}, which {describe(ca)} must not vouch for"
    return ""


def _dns_subtrees(subtrees: Iterable[x509.GeneralName] | None) -> frozenset[str]:
    return frozenset(t.value.lower() for t in subtrees or () if isinstance(t, x509.DNSName))


def _within(host: str, subtrees: frozenset[str]) -> bool:
    """RFC 5280 §4.2.1.10; a leading dot, which many CAs write, leaves the domain itself out.

    It looks each parent up, since a stranger may send a thousand names and as many subtrees.
    """
    if "" in subtrees:
        return True
    return len(host) <= MAX_DOMAIN and any(
        parent in subtrees or (parent != host and f".{parent}" in subtrees)
        for parent in parents(host)
    )


# ---------------------------------------------------------------- why no path was found


@frozen
class _Diagnosis:
    """Walk up from the leaf by issuer names, and tell the first fault on the way to an anchor."""

    authority: Authority
    evidence: Evidence

    def fault(self) -> _Fault:
        """Give the code and the reason why there is no path."""
        leaf = current = self.evidence.chain[0]
        left = list(self.evidence.chain[1:])
        first: _Fault | None = None
        walked: list[x509.Certificate] = []
        while True:
            first = first or self._own_fault(current, is_leaf=current is leaf)
            anchors = self.authority._subjects.get(current.issuer, ())  # noqa: SLF001  same module
            issuers = [c for c in left if c.subject == current.issuer]
            if current in self.authority.anchors:
                break
            if not anchors and not issuers:
                return Code.PATH_UNKNOWN_CA, self.authority._unknown(current)  # noqa: SLF001
            issuer = next((c for c in (*anchors, *issuers) if _signed(current, c)), None)
            if issuer is None:
                claimed = describe((*anchors, *issuers)[0])
                return Code.PATH_SIGNATURE, f"{describe(current)} is not signed by {claimed}"
            walked.append(issuer)
            if issuer in anchors:
                first = first or self._own_fault(issuer, is_leaf=False)
                break
            left.remove(issuer)
            current = issuer
        return (
            first
            or self._constraint_fault(walked)
            or (
                Code.PATH_CONSTRAINT,
                f"the path of {describe(leaf)} breaks a rule of one of its CAs: its length, its"
                " name constraints, or a critical extension that is not understood",
            )
        )

    def _constraint_fault(self, cas: Iterable[x509.Certificate]) -> _Fault | None:
        """Say which name the constraints of a path forbid, once its signatures are known good."""
        held = _constrained_hosts(self.evidence)
        for ca in cas:
            constraints = extension(ca, x509.NameConstraints)
            if constraints is not None and (fault := _outside(constraints, held, ca)):
                return Code.PATH_CONSTRAINT, f"{describe(self.evidence.chain[0])} {fault}"
        return None

    def _own_fault(self, certificate: x509.Certificate, *, is_leaf: bool) -> _Fault | None:
        now, what = self.evidence.now, describe(certificate)
        if now > certificate.not_valid_after_utc:
            ended = certificate.not_valid_after_utc.isoformat()
            return Code.PATH_EXPIRED, f"{what} expired at {ended}"
        if now < certificate.not_valid_before_utc:
            begins = certificate.not_valid_before_utc.isoformat()
            return Code.PATH_NOT_YET_VALID, f"{what} is not valid before {begins}"
        if fault := _key_fault(certificate):
            return Code.PATH_WEAK_KEY, f"{what} has {fault}"
        if is_leaf:
            return None
        if fault := _ca_key_fault(certificate):
            return Code.PATH_WEAK_KEY, f"{what} has {fault}"
        constraints = extension(certificate, x509.BasicConstraints)
        if constraints is None or not constraints.ca:
            return Code.PATH_CONSTRAINT, f"{what} issued a certificate but is no CA"
        usage = extension(certificate, x509.KeyUsage)
        if usage is not None and not usage.key_cert_sign:
            return Code.PATH_CONSTRAINT, f"{what} issued a certificate without keyCertSign"
        if extension(certificate, x509.ExtendedKeyUsage) is not None and (
            fault := self.authority.purposes.fault(certificate, self.evidence.role)
        ):
            return Code.PURPOSE_UNACCEPTABLE, f"{what} has {fault}"
        return None


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True
