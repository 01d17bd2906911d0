"""Diagnosis: why there is no path.

It decides nothing: the answer is a refusal already. It walks the certificates by issuer, up from
the leaf, and names the first fault on the way to an anchor. The path builder's own error texts are
not read, because they change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from siptls.trust.codes import Code
from siptls.trust.constraints import held_names, outside
from siptls.trust.evidence import Evidence, extension
from siptls.trust.fault import Fault, describe
from siptls.trust.names import printable
from siptls.trust.profile import ca_fault, date_fault, leaf_fault
from siptls.trust.purposes import KeyPurposes
from siptls.trust.status import is_strong

__all__ = ["Diagnosis", "anchor_of", "top_of", "unknown_issuer"]


def unknown_issuer(certificate: x509.Certificate, authority: str) -> Fault:
    """Say that nobody among an authority's anchors has issued a certificate."""
    issuer = printable(certificate.issuer.rfc4514_string())
    itself = ", which is itself" if certificate.issuer == certificate.subject else ""
    return Fault(
        Code.PATH_UNKNOWN_CA,
        describe(certificate),
        f"is issued by {issuer!r}{itself}",
        anchor_of(authority),
        "RFC 5280 §6.1",
    )


def top_of(chain: Sequence[x509.Certificate]) -> x509.Certificate:
    """Give the certificate whose issuer is missing, going by names alone.

    A root that was sent along is no news: what it has issued is.
    """
    top, left = chain[0], list(chain[1:])
    while True:
        above = next((c for c in left if c.subject == top.issuer), None)
        if above is None or above.issuer == above.subject:
            return top
        left.remove(above)
        top = above


def anchor_of(authority: str) -> str:
    """What was expected of an issuer."""
    return f"a path to an anchor of {authority}"


@frozen
class Diagnosis:
    """What is needed to find the reason.

    Attributes:
        authority: The authority's name.
        anchors: Its anchors, by subject.
        purposes: What it asks for.
        evidence: What was shown.
    """

    authority: str
    anchors: Mapping[x509.Name, tuple[x509.Certificate, ...]]
    purposes: KeyPurposes
    evidence: Evidence

    def fault(self) -> Fault:
        """Say why there is no path."""
        leaf = current = self.evidence.chain[0]
        left = list(self.evidence.chain[1:])
        first: Fault | None = None
        walked: list[x509.Certificate] = []
        while True:
            first = first or self._own_fault(current, is_leaf=current is leaf)
            if self._is_anchor(current):
                break
            anchors = self.anchors.get(current.issuer, ())
            issuers = [c for c in left if c.subject == current.issuer]
            if not anchors and not issuers:
                return unknown_issuer(current, self.authority)
            if fault := _hash_fault(current):
                return fault
            issuer = next((c for c in (*anchors, *issuers) if _signed(current, c)), None)
            if issuer is None:
                claimed = describe((*anchors, *issuers)[0])
                return Fault(
                    Code.PATH_SIGNATURE,
                    describe(current),
                    f"is not signed by {claimed}",
                    "the signature of its issuer",
                    "RFC 5280 §6.1.3",
                )
            walked.append(issuer)
            if issuer in anchors:
                first = first or self._own_fault(issuer, is_leaf=False)
                break
            left.remove(issuer)
            current = issuer
        return (
            first
            or self._constraint_fault(walked)
            or leaf_fault(leaf, self.purposes, self.evidence.role)
            or self._unnamed_fault()
        )

    def _unnamed_fault(self) -> Fault:
        return Fault(
            Code.PATH_CONSTRAINT,
            f"the path of {describe(self.evidence.chain[0])}",
            "breaks a rule of one of its CAs: its length, its name constraints, or a critical"
            " extension that is not understood",
            "a path that keeps to them",
            "RFC 5280 §6.1",
        )

    def _constraint_fault(self, cas: Iterable[x509.Certificate]) -> Fault | None:
        """Say which name the constraints of a path forbid, once its signatures are known good."""
        held = held_names(self.evidence)
        for ca in cas:
            constraints = extension(ca, x509.NameConstraints)
            if constraints is not None and (fault := outside(constraints, held, ca)):
                return fault
        return None

    def _own_fault(self, certificate: x509.Certificate, *, is_leaf: bool) -> Fault | None:
        if fault := date_fault(certificate, self.evidence.now):
            return fault
        if is_leaf:
            return None  # asked after all the CAs: see `leaf_fault`
        return ca_fault(
            certificate,
            self.purposes,
            self.evidence.role,
            is_anchor=self._is_anchor(certificate),
        )

    def _is_anchor(self, certificate: x509.Certificate) -> bool:
        return certificate in self.anchors.get(certificate.subject, ())


def _hash_fault(certificate: x509.Certificate) -> Fault | None:
    """Say that a signature proves nothing, whoever made it: the path builder takes none like it."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None  # then it is not signed, as far as anybody here can tell
    if algorithm is None or is_strong(algorithm):  # none is that of EdDSA
        return None
    found = f"is signed with {algorithm.name.upper()}, which proves nothing"
    expected = "a signature with SHA-256 or better"
    return Fault(Code.PATH_SIGNATURE, describe(certificate), found, expected, "RFC 9325 §4.5")


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True
