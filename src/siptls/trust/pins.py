"""Pinned: a certificate, or a key, that is known beforehand speaks for a name; no CA does."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from siptls.arguments import kind_of
from siptls.errors import ConfigurationError
from siptls.trust.authority import Authority
from siptls.trust.believed import BelievedName, Trust
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer
from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault, describe
from siptls.trust.names import listed, parse_domain, printable
from siptls.trust.policy import Combinable
from siptls.trust.presented import NameKind
from siptls.trust.profile import pinned_fault

__all__ = ["Pinned"]

_PREFIX = "sha256:"
_LENGTH = hashlib.sha256().digest_size


def _as_digest(pin: object) -> bytes:
    """Read ``sha256:`` and a digest in hexadecimal (colons allowed) or base64."""
    if isinstance(pin, bytes) and len(pin) == _LENGTH:
        return pin  # as `attrs.evolve` gives it back
    text = pin.removeprefix(_PREFIX) if isinstance(pin, str) else ""
    digest = b""
    if text and text != pin:
        try:
            digest = bytes.fromhex(text.replace(":", ""))
        except ValueError:
            try:
                digest = base64.b64decode(text, validate=True)
            except ValueError:
                digest = b""
    if len(digest) != _LENGTH:
        raise ConfigurationError(
            f"a pin is 'sha256:' and 64 hexadecimal digits, or base64, not {printable(str(pin))!r}:"
            " the SHA-256 of a certificate, or of its public key (SPKI), in DER"
        )
    return digest


def _as_pins(value: object) -> Mapping[str, frozenset[bytes]]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f'pins are a mapping: {{"sip.example.com": ["sha256:..."]}}, not {type(value).__name__}'
        )
    pins: dict[str, frozenset[bytes]] = {}
    for name, some in value.items():
        if isinstance(some, str | bytes):
            raise ConfigurationError(f"the pins of {name!r} are a list: write [{some!r}]")
        if not isinstance(some, Iterable):
            raise ConfigurationError(f"the pins of {name!r} are a list, not {kind_of(some)}")
        digests = frozenset(_as_digest(one) for one in some)
        if not digests:
            raise ConfigurationError(f"{name!r} has no pin: give one, or leave the name out")
        domain = parse_domain(name)
        pins[domain] = pins.get(domain, frozenset()) | digests
    if not pins:
        raise ConfigurationError("Pinned without a pin could believe nobody: give it one")
    return MappingProxyType(pins)


@frozen
class Pinned(Combinable):
    """Believes a name if the peer shows exactly the certificate, or the key, that is pinned to it.

    No CA is asked, and no name in the certificate: that it speaks for the name is what the pin
    says (RFC 6125 §6.6.2). The certificate must still be one that can be used: within its dates,
    with a strong key. The name need not stand in it, so that a device with a self-signed
    certificate can be trusted for what it is.

    It is also a condition: ``enterprise & Pinned(...)`` believes what the enterprise's CA vouches
    for only if, besides, the certificate is pinned to one of the names that are believed, and if
    one is expected, to that.

    Args:
        pins: For each name one or more SHA-256, of a certificate or of its SubjectPublicKeyInfo:
            ``{"sip.example.com": ["sha256:5f3c…"]}``. A name may have a second pin for the
            certificate that is to come. `certificate_pin` and `key_pin` make them.

    Raises:
        ConfigurationError: No pin, or something that is none.
    """

    pins: Mapping[str, frozenset[bytes]] = field(converter=_as_pins)

    @staticmethod
    def certificate_pin(certificate: x509.Certificate) -> str:
        """Give the pin of a certificate: it ends when the certificate is replaced."""
        return _PREFIX + hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()

    @staticmethod
    def key_pin(certificate: x509.Certificate) -> str:
        """Give the pin of a certificate's public key: it outlives a renewal with the same key."""
        spki = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return _PREFIX + hashlib.sha256(spki).hexdigest()

    @property
    def authorities(self) -> frozenset[Authority]:
        """Who vouches: nobody, a pin needs no CA."""
        return frozenset()

    @property
    def remembered_under(self) -> Hashable | None:
        """Under what its decisions may be remembered: see `TrustPolicy`."""
        return ()

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide about a peer: is its certificate pinned to the expected name, or to any?"""
        fault = evidence.fault or self._fault(evidence)
        if fault is not None:
            concerned = self._is_concerned(evidence)
            return Decision.refuse_for(fault, by="Pinned", concerned=concerned, evidence=evidence)
        leaf = evidence.chain[0]
        names = self._names_of(leaf)
        believed = [
            BelievedName(name, NameKind.PIN, host=True, authority="pin", trust=Trust.PINNED)
            for name in names
        ]
        peer = Peer(believed, [leaf], leaf.not_valid_after_utc)
        reason = f"its certificate is pinned to {listed(sorted(names))}"
        return Decision.accept(peer, reason, by="Pinned", evidence=evidence)

    def check(self, peer: Peer, evidence: Evidence, /) -> Decision:
        """Decide whether the peer's certificate is pinned to a name that is believed of it."""
        if evidence.fault is not None:
            return Decision.refuse_for(evidence.fault, by="Pinned", evidence=evidence)
        names = self._names_of(evidence.chain[0]) & (peer.domains | peer.hosts)
        if not _are_enough(names, evidence):
            return Decision.refuse_for(self._mismatch(evidence), by="Pinned", evidence=evidence)
        reason = f"its certificate is pinned to {listed(sorted(names))}"
        return Decision.accept(peer, reason, by="Pinned", evidence=evidence)

    def __hash__(self) -> int:
        return hash(frozenset(self.pins.items()))

    def _fault(self, evidence: Evidence) -> Fault | None:
        leaf = evidence.chain[0]
        if not _are_enough(self._names_of(leaf), evidence):
            return self._mismatch(evidence)
        return pinned_fault(leaf, evidence.now)

    def _names_of(self, leaf: x509.Certificate) -> frozenset[str]:
        digests = {_as_digest(self.certificate_pin(leaf)), _as_digest(self.key_pin(leaf))}
        return frozenset(name for name, pins in self.pins.items() if not pins.isdisjoint(digests))

    def _is_concerned(self, evidence: Evidence) -> bool:
        names = set(evidence.presented.domains) if evidence.fault is None else set()
        if evidence.reference is not None:
            names |= evidence.reference.names
        return evidence.fault is not None or not names.isdisjoint(self.pins)

    def _mismatch(self, evidence: Evidence) -> Fault:
        leaf = evidence.chain[0]
        found = f"has {self.certificate_pin(leaf)}, and its key {self.key_pin(leaf)}"
        expected = evidence.reference
        known = sorted(self.pins if expected is None else expected.names & self.pins.keys())
        wanted = f"what is pinned to {listed(known)}" if known else f"a pin for {expected}"
        return Fault(Code.PIN_MISMATCH, describe(leaf), found, wanted, "Pinned")


def _are_enough(names: frozenset[str], evidence: Evidence) -> bool:
    """Whether pinned names are the expected one, or any at all where none is expected."""
    expected = evidence.reference
    return bool(names) and (expected is None or not names.isdisjoint(expected.names))
