"""KeyPurposes: what a certificate must be meant for (extended key usage, RFC 5280 §4.2.1.12)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from attrs import field, frozen
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from siptls.arguments import check_list
from siptls.errors import ConfigurationError
from siptls.trust.codes import Code
from siptls.trust.evidence import Role, extension
from siptls.trust.fault import Fault, describe
from siptls.trust.names import listed, printable

__all__ = ["KeyPurposes", "is_server_only", "purpose", "purposes_of"]

_SIP_DOMAIN = ObjectIdentifier("1.3.6.1.5.5.7.3.20")  # id-kp-sipDomain, RFC 5924
_ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
_PURPOSE_NAMES = {
    _SERVER: "serverAuth",
    _CLIENT: "clientAuth",
    _SIP_DOMAIN: "sipDomain",
    _ANY: "any",
}


def purpose(value: str | ObjectIdentifier) -> ObjectIdentifier:
    """Read a purpose: ``"serverAuth"``, ``"clientAuth"``, ``"sipDomain"``, ``"any"``, or an OID.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(value, ObjectIdentifier):
        return value
    for oid, name in _PURPOSE_NAMES.items():
        if value == name:
            return oid
    try:
        return ObjectIdentifier(value)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{value!r} is no purpose: write {', '.join(_PURPOSE_NAMES.values())}, or an object"
            " identifier"
        ) from error


def purposes_of(certificate: x509.Certificate) -> tuple[str, ...] | None:
    """Name the purposes in a certificate's EKU; None if it has none, and so may serve any.

    Returns:
        ``"serverAuth"``, ``"clientAuth"``, ``"sipDomain"``, ``"any"``, or object identifiers, in
        the certificate's order.

    Raises:
        ValueError: Its extensions cannot be decoded.
    """
    usage = extension(certificate, x509.ExtendedKeyUsage)
    return None if usage is None else tuple(_purpose_name(oid) for oid in usage)


def is_server_only(certificate: x509.Certificate) -> bool:
    """Whether its EKU is serverAuth and nothing else, as public CAs issue it since 2026.

    Returns:
        False, too, if its extensions cannot be decoded: then others refuse it.
    """
    try:
        return purposes_of(certificate) == (_PURPOSE_NAMES[_SERVER],)
    except Exception:  # noqa: BLE001  cryptography raises at least five kinds
        return False


def _as_purposes(value: Iterable[str | ObjectIdentifier]) -> frozenset[ObjectIdentifier]:
    if isinstance(value, str):
        raise ConfigurationError(f"purposes are a list: write [{value!r}], not {value!r}")
    check_list("purposes", value)
    purposes = frozenset(purpose(one) for one in value)
    if not purposes:
        raise ConfigurationError("KeyPurposes without any purpose would be good for nobody")
    return purposes


def _listed(purposes: Iterable[ObjectIdentifier]) -> str:
    return repr(sorted(_purpose_name(oid) for oid in purposes))


@frozen
class KeyPurposes:
    """Which extended key usages (EKU) make a certificate good for a server, and for a client.

    Take a preset (``KeyPurposes.SIP`` is the default), or build your own from names and object
    identifiers: ``KeyPurposes("mine", server=["serverAuth"], client=["1.3.6.1.4.1.99999.1"])``.

    Attributes:
        name: Shown in explanations and policy files.
        server: The purposes of which a server's certificate needs one: ``"serverAuth"``,
            ``"clientAuth"``, ``"sipDomain"``, ``"any"``, or object identifiers.
        client: The same for a client's.
        absent: Whether a certificate without the extension is good for everything
            (RFC 5280 §4.2.1.12 says so).
    """

    name: str
    server: frozenset[ObjectIdentifier] = field(kw_only=True, converter=_as_purposes, repr=_listed)
    client: frozenset[ObjectIdentifier] = field(kw_only=True, converter=_as_purposes, repr=_listed)
    absent: bool = field(default=True, kw_only=True)

    SIP: ClassVar[KeyPurposes]
    """No EKU, or any of serverAuth, clientAuth, sipDomain, any; in both roles. A certificate with
    serverAuth only is good for a client: public CAs issue no other since 2026."""
    ROLE: ClassVar[KeyPurposes]
    """No EKU, or serverAuth for a server and clientAuth for a client, or any: as TLS libraries
    ask for it."""
    RFC5924: ClassVar[KeyPurposes]
    """No EKU, sipDomain or any: a certificate that was meant for SIP, or for everything."""

    def wanted(self, role: Role) -> frozenset[ObjectIdentifier]:
        """The purposes of which a certificate in this role needs one."""
        return self.server if role is Role.SERVER else self.client

    def fault(
        self, certificate: x509.Certificate, role: Role, *, is_ca: bool = False
    ) -> Fault | None:
        """Say what is wrong with a certificate's purposes; None if they are good.

        Args:
            certificate: A peer's, or a CA's.
            role: What the peer is.
            is_ca: A CA without the extension is not limited by it, whatever is asked of the peer.
        """
        wanted = self.wanted(role)
        usage = extension(certificate, x509.ExtendedKeyUsage)
        if usage is None:
            if self.absent or is_ca:
                return None
            found = "has no EKU at all"
        elif wanted.isdisjoint(usage):
            found = f"has EKU {listed(_purpose_name(oid) for oid in usage)} only"
        else:
            return None
        names = ", ".join(sorted(_purpose_name(oid) for oid in wanted))
        absent = ", or none" if self.absent else ""
        expected = f"EKU with one of {names}{absent}: {self.name} asks for it of a {role}"
        rule = f"RFC 5280 §4.2.1.12, KeyPurposes {self.name}"
        return Fault(Code.PURPOSE_UNACCEPTABLE, describe(certificate), found, expected, rule)


KeyPurposes.SIP = KeyPurposes(
    "SIP",
    server=frozenset({_SERVER, _CLIENT, _SIP_DOMAIN, _ANY}),
    client=frozenset({_SERVER, _CLIENT, _SIP_DOMAIN, _ANY}),
)
KeyPurposes.ROLE = KeyPurposes(
    "ROLE", server=frozenset({_SERVER, _ANY}), client=frozenset({_CLIENT, _ANY})
)
KeyPurposes.RFC5924 = KeyPurposes(
    "RFC5924",
    server=frozenset({_SIP_DOMAIN, _ANY}),
    client=frozenset({_SIP_DOMAIN, _ANY}),
)


def _purpose_name(oid: ObjectIdentifier) -> str:
    return _PURPOSE_NAMES.get(oid) or printable(oid.dotted_string)
