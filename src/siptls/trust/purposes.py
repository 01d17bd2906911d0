"""KeyPurposes: what a certificate must be meant for (extended key usage, RFC 5280 §4.2.1.12)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from attrs import field, frozen
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from siptls.trust.evidence import Role, extension
from siptls.trust.names import listed, printable

__all__ = ["KeyPurposes"]

_SIP_DOMAIN = ObjectIdentifier("1.3.6.1.5.5.7.3.20")  # id-kp-sipDomain, RFC 5924
_ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
_PURPOSE_NAMES = {
    _SIP_DOMAIN: "sipDomain",
    _ANY: "any",
    _SERVER: "serverAuth",
    _CLIENT: "clientAuth",
}


def _as_purposes(value: Iterable[ObjectIdentifier]) -> frozenset[ObjectIdentifier]:
    return frozenset(value)


@frozen
class KeyPurposes:
    """Which extended key usages (EKU) make a certificate good for a server, and for a client.

    Build your own, or take a preset: ``KeyPurposes.SIP``, the default.

    Attributes:
        name: Shown in explanations and policy files.
        server: The purposes of which a server's certificate needs one, as object identifiers.
        client: The same for a client's.
        absent: Whether a certificate without the extension is good for everything
            (RFC 5280 §4.2.1.12 says so).
    """

    name: str
    server: frozenset[ObjectIdentifier] = field(kw_only=True, converter=_as_purposes)
    client: frozenset[ObjectIdentifier] = field(kw_only=True, converter=_as_purposes)
    absent: bool = field(default=True, kw_only=True)

    SIP: ClassVar[KeyPurposes]
    """No EKU, or any of serverAuth, clientAuth, sipDomain, any; in both roles. A certificate with
    serverAuth only is good for a client: public CAs issue no other since 2026."""

    def wanted(self, role: Role) -> frozenset[ObjectIdentifier]:
        """The purposes of which a certificate in this role needs one."""
        return self.server if role is Role.SERVER else self.client

    def fault(self, certificate: x509.Certificate, role: Role) -> str:
        """Say what is wrong with a certificate's purposes; empty if they are good."""
        wanted = self.wanted(role)
        usage = extension(certificate, x509.ExtendedKeyUsage)
        if usage is None:
            found = "no EKU at all"
            good = self.absent
        else:
            found = f"EKU {listed(_purpose_name(oid) for oid in usage)}"
            good = not wanted.isdisjoint(usage)
        if good:
            return ""
        names = ", ".join(sorted(_purpose_name(oid) for oid in wanted))
        return f"{found}, but for a {role} {self.name} asks for one of: {names}"


KeyPurposes.SIP = KeyPurposes(
    "SIP",
    server=frozenset({_SERVER, _CLIENT, _SIP_DOMAIN, _ANY}),
    client=frozenset({_SERVER, _CLIENT, _SIP_DOMAIN, _ANY}),
)


def _purpose_name(oid: ObjectIdentifier) -> str:
    return _PURPOSE_NAMES.get(oid) or printable(oid.dotted_string)
