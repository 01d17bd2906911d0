"""Evidence: everything that a policy may look at when it judges a peer.

It holds the time, too. A policy reads no clock, opens no socket and no file, so that the same
evidence gives the same decision, today and in a test.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.arguments import Kind, check_list
from siptls.errors import ConfigurationError
from siptls.trust.codes import Code
from siptls.trust.fault import Fault, describe, describe_all
from siptls.trust.names import ReferenceIdentity, printable
from siptls.trust.presented import PresentedNames, presented_names

__all__ = [
    "MAX_CERTIFICATES",
    "MAX_CHAIN",
    "MAX_NAMES",
    "MAX_SEARCHES",
    "MAX_STAPLE",
    "Evidence",
    "Role",
    "extension",
    "key_limit_fault",
]

# Limits that hold before any work is done on what a stranger sent.
# The leaf and seven intermediates. The public web's longest usual path has three certificates
# below its root; OpenSSL's default depth is 100, which is what an attacker would use.
MAX_CERTIFICATES = 8
# Bytes of all certificates together. OpenSSL takes a Certificate message of 100 KiB; a chain of
# four with ML-DSA keys is about 30 KiB.
MAX_CHAIN = 65536
# Names in the leaf. Public CAs stop at 100 or 250; a hoster's edge has one for each SIP domain.
MAX_NAMES = 1000
# Bits of an RSA key: above this, verifying costs more than it gives. RFC 9325 asks for 2048.
MAX_RSA = 8192
# Bits of an RSA key's public exponent. It is 65537 wherever one is made; one as long as the modulus
# makes each signature cost a hundred times as much. Windows takes at most 32 bits.
MAX_EXPONENT = 33
# Searches for a path that one handshake may cost, each about 10 ms at worst: so many sets of
# anchors of one and the same subject may be asked. "CN=Root CA" is a popular name.
MAX_SEARCHES = 16
# Bytes of a stapled OCSP response. In TLS 1.2 OpenSSL takes no longer one: a message of 16 KiB, 4
# bytes of which are no part of it. Those of public CAs have 500 to 2000.
MAX_STAPLE = 16384 - 4


class Role(StrEnum):
    """What the peer is on this connection: who accepted it, or who opened it."""

    SERVER = "server"
    CLIENT = "client"


def _as_chain(value: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    check_list("the certificates of a chain", value)
    chain = tuple(value)
    for certificate in chain:
        if not isinstance(certificate, x509.Certificate):
            raise ConfigurationError(
                "a chain holds cryptography.x509.Certificate objects, not"
                f" {type(certificate).__name__}"
            )
    return chain


def _as_role(value: Role | str) -> Role:
    try:
        return Role(value)
    except ValueError as error:
        raise ConfigurationError(f"a role is 'server' or 'client', not {value!r}") from error


@frozen
class Evidence:
    """What a peer showed, and when.

    Attributes:
        chain: The certificates as presented, leaf first. Empty if the peer showed none.
        role: What the peer is.
        now: The time of judgement, aware.
        reference: The name that we expect. None where we expect nobody in particular: a server
            that takes any client which the policy knows.
        address: ``(host, port)`` of the peer if known. Never a proof of anything.
        staple: The OCSP response that the peer sent for its own certificate (RFC 6066 §8), DER.
        max_certificates: More certificates than this are refused before they are looked at.
        max_chain: The same for the bytes of all of them.
    """

    chain: tuple[x509.Certificate, ...] = field(converter=_as_chain, repr=describe_all)
    role: Role = field(converter=_as_role)
    now: datetime = field(kw_only=True)
    reference: ReferenceIdentity | None = field(
        default=None,
        kw_only=True,
        validator=Kind(ReferenceIdentity, "ReferenceIdentity.parse reads one", optional=True),
    )
    address: tuple[str, int] | None = field(default=None, kw_only=True)
    staple: bytes | None = field(default=None, kw_only=True, repr=False)
    max_certificates: int = field(default=MAX_CERTIFICATES, kw_only=True, repr=False)
    max_chain: int = field(default=MAX_CHAIN, kw_only=True, repr=False)
    memo: dict[object, Any] = field(factory=dict, init=False, eq=False, repr=False)
    """What was concluded from this evidence already: thousands of partners may share an authority,
    and each asks it. Only `Authority` and `NameRules` write here, each below keys of its own."""

    @now.validator
    def _is_aware(self, _: object, value: object) -> None:
        if not isinstance(value, datetime) or value.utcoffset() is None:
            raise ConfigurationError(
                f"now= is an aware datetime such as datetime.now(UTC), not {value!r}"
            )

    @property
    def leaf(self) -> x509.Certificate | None:
        """The peer's own certificate, or None if it showed none."""
        return self.chain[0] if self.chain else None

    @cached_property
    def size(self) -> int:
        """Bytes of all certificates together, as DER."""
        return sum(len(certificate.public_bytes(Encoding.DER)) for certificate in self.chain)

    @cached_property
    def presented(self) -> PresentedNames:
        """The names in the leaf; none if there is no leaf.

        Raises:
            ValueError: The leaf's names cannot be decoded.
        """
        return presented_names(self.chain[0]) if self.chain else PresentedNames((), has_san=False)

    @cached_property
    def fault(self) -> Fault | None:
        """What forbids any further work on the certificates; None if nothing does.

        Either there are none, or they are too many or too large, or they cannot be decoded.
        """
        who = f"the {self.role}"
        if not self.chain:
            return Fault(
                Code.CERTIFICATE_MISSING, who, "showed no certificate", "one that is its own"
            )
        if len(self.chain) > self.max_certificates:
            found = f"presents {len(self.chain)} certificates"
            return _limit(who, found, self.max_certificates, "Limits.max_certificates")
        if self.size > self.max_chain:
            found = f"presents certificates of {self.size} bytes"
            return _limit(who, found, self.max_chain, "Limits.max_chain")
        try:
            return self._decode_fault()
        except Exception as error:  # noqa: BLE001  cryptography raises at least five kinds
            found = f"presents a certificate that cannot be decoded: {printable(str(error))}"
            expected = "the encoding of RFC 5280"
            return Fault(Code.CERTIFICATE_MALFORMED, who, found, expected, "RFC 5280 §4.1")

    def _decode_fault(self) -> Fault | None:
        for certificate in self.chain:
            # Each of these decodes, and raises ValueError where the encoding is broken.
            certificate.extensions  # noqa: B018
            certificate.subject  # noqa: B018
            certificate.issuer  # noqa: B018
            certificate.not_valid_before_utc  # noqa: B018  a year 0 is none
            certificate.not_valid_after_utc  # noqa: B018
            if fault := key_limit_fault(certificate):
                return fault
        count = len(self.presented.names)
        if count > MAX_NAMES:
            return _limit(describe(self.chain[0]), f"has {count} names", MAX_NAMES, "siptls")
        return None


def key_limit_fault(certificate: x509.Certificate) -> Fault | None:
    """Say that verifying with a certificate's key would cost too much; None if it would not."""
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        return None
    if key.key_size > MAX_RSA:
        found = f"has an RSA key of {key.key_size} bits"
        return _limit(describe(certificate), found, MAX_RSA, "siptls")
    exponent = key.public_numbers().e.bit_length()
    if exponent > MAX_EXPONENT:
        found = f"has an RSA key whose public exponent has {exponent} bits"
        return _limit(describe(certificate), found, MAX_EXPONENT, "siptls")
    return None


def _limit(about: str, found: str, most: int, rule: str) -> Fault:
    return Fault(Code.PATH_LIMIT, about, found, f"at most {most}", rule)


_E = TypeVar("_E", bound=x509.ExtensionType)


def extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    """Give the value of a certificate's extension; None if it has none of the kind."""
    for found in certificate.extensions:  # isinstance() would ask an abstract class, which is slow
        if type(found.value) is kind:
            return found.value
    return None
