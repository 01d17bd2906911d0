"""Presented names: what stands in a certificate, true or not.

Every name is read, those that identify nobody included, so that an explanation can say of each why
it does not count. Nothing is believed here, and no rule is applied: that is `NameRules`.
"""

from __future__ import annotations

import re
from enum import StrEnum

from attrs import field, frozen
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from siptls.trust.names import (
    MAX_DOMAIN,
    SIPURI,
    ReferenceIdentity,
    listed,
    presented_domain,
    printable,
)

__all__ = ["NameKind", "PresentedName", "PresentedNames", "presented_names", "written_hosts"]


class NameKind(StrEnum):
    """Where in a certificate a name stands; or that a pin put it beside the certificate."""

    URI = "URI"
    DNS = "DNS"
    SRV = "SRV"
    IP = "IP"
    CN = "CN"
    OTHER = "other"
    PIN = "pin"


@frozen
class PresentedName:
    """One name as a certificate shows it.

    Attributes:
        kind: Where it stands.
        text: As presented, made printable.
        domain: The domain that it identifies, canonical; None if it identifies no domain.
        user: ``user@domain`` for a ``sip:`` URI with userinfo, else None: a user is no domain.
        host: The host of a ``sip:`` or ``sips:`` URI, or of a service, whether it identifies a
            domain or not. CA name constraints hold for it in any case.
        wildcard: ``example.com`` for the dNSName ``*.example.com``, else None.
        service: ``_sips`` for the SRV name ``_sips.example.com`` (RFC 4985), else None.
        fault: Why it identifies no domain; empty if it does.
    """

    kind: NameKind
    text: str
    domain: str | None = None
    user: str | None = None
    host: str | None = None
    wildcard: str | None = None
    service: str | None = None
    fault: str = ""

    def covers(self, name: str) -> bool:
        """Whether this is a wildcard for a name: one label, the left-most (RFC 9525 §6.3)."""
        return self.wildcard is not None and name.partition(".")[2] == self.wildcard

    def __str__(self) -> str:
        return f"{self.kind}:{self.text}" if self.kind is not NameKind.URI else self.text


@frozen
class PresentedNames:
    """All the names in a certificate: the subjectAltName in its order, then common names.

    Attributes:
        names: Every one of them, those that identify nothing included.
        has_san: Whether there is a subjectAltName extension.
    """

    names: tuple[PresentedName, ...]
    has_san: bool
    # Each name of SIP, of DNS, and each common name: its kind, and its text uncut.
    _written: tuple[tuple[NameKind, str], ...] = field(default=(), eq=False, repr=False)

    @property
    def domains(self) -> frozenset[str]:
        """Every domain that a name identifies under some rules, whoever is expected."""
        return frozenset(
            name.domain
            for name in self.names
            if name.domain is not None and not (name.kind is NameKind.CN and self.has_san)
        )

    @property
    def mentioned(self) -> frozenset[str]:
        """Every domain that stands in a name of SIP, of DNS, or in a common name.

        Be it a user's, a wildcard's wherever one stands, in a ``sips:`` URI, with a dot at its end,
        or a common name that counts for nothing.
        """
        texts = (
            text.removeprefix("*.").removesuffix(".")
            for name in self.names
            for text in (name.domain, name.host, name.wildcard, name.text)
            if text
        )
        return frozenset(d for text in texts if (d := presented_domain(text)))

    @property
    def written(self) -> frozenset[str]:
        """Whatever stands where `mentioned` looks for a domain, be it well-formed or not."""
        return frozenset(
            host
            for kind, text in self._written
            if kind is not NameKind.URI or not _OTHER_SCHEME.match(text.lstrip())
            for host in written_hosts(text)
        )

    def provable(self, expected: ReferenceIdentity | None) -> frozenset[str]:
        """All that could ever be believed: the domains, and the expected names under wildcards."""
        wanted = frozenset() if expected is None else expected.names
        return self.domains | {w for w in wanted if any(name.covers(w) for name in self.names)}

    def __str__(self) -> str:
        return listed(self.names) or "no name at all"


def presented_names(certificate: x509.Certificate) -> PresentedNames:
    """Read the names of a certificate (RFC 5280 §4.2.1.6).

    Raises:
        ValueError: The certificate's extensions or its subject cannot be decoded.
    """
    try:
        extensions = certificate.extensions
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except Exception as error:
        # cryptography raises ValueError, TypeError, DuplicateExtension, UnsupportedGeneralNameType
        raise ValueError(f"names that cannot be decoded: {error}") from error
    names: list[PresentedName] = []
    written: list[tuple[NameKind, str]] = []
    try:
        san = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        san = None
    if san is not None:
        names.extend(_from_general_name(name) for name in san)
        written.extend((_KINDS[type(n)], n.value) for n in san if type(n) in _KINDS)
        services = (n for n in san if isinstance(n, x509.OtherName) and n.type_id == _SRV_NAME)
        written.extend((NameKind.SRV, name.value.decode("latin-1")) for name in services)
    for attribute in common:
        # It is text: with a BIT STRING for a common name the subject does not decode.
        text = str(attribute.value)
        names.append(_from_dns(NameKind.CN, text))
        written.append((NameKind.CN, text))
    return PresentedNames(tuple(names), san is not None, tuple(written))


def written_hosts(text: str) -> frozenset[str]:
    """Take hosts out of a text that may be malformed, to compare the ends of them.

    Scheme, user, port, spaces, a wildcard and final dots are taken off, and of what is longer than
    a domain can be its end is given.
    """
    rest = text.strip().lower().removeprefix("sips:").removeprefix("sip:")
    user, at, after = rest.partition("@")
    words = _WORD.findall(after if at else user)
    hosts = (word.rstrip(".").removeprefix("*.")[-MAX_DOMAIN - 1 :] for word in words)
    return frozenset(host for host in hosts if host)


# ---------------------------------------------------------------- one name of each kind

_KINDS: dict[type, NameKind] = {
    x509.UniformResourceIdentifier: NameKind.URI,
    x509.DNSName: NameKind.DNS,
}
# A host and its port (sip.example.com:5061) are no scheme.
_OTHER_SCHEME = re.compile(r"(?!sips?:)[a-z][a-z0-9+-]*:", re.IGNORECASE | re.ASCII)
_WORD = re.compile(r"""[^\s\x00-\x20\x7f:;,/?#@\\\[\]<>()"']+""")
_SRV_NAME = ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # id-on-dnsSRV, RFC 4985 §2
_SERVICE = re.compile(r"_[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_IA5_STRING, _LONG_FORM = 0x16, 0x80
# RFC 3261 §25.1: what a user may be without escapes. With one, it would have two spellings.
_PLAIN_USER = re.compile(r"[A-Za-z0-9\-_.!~*'()&=+$,;?/]+", re.ASCII)


def _from_general_name(name: x509.GeneralName) -> PresentedName:
    match name:
        case x509.UniformResourceIdentifier():
            return _from_uri(name.value)
        case x509.DNSName():
            return _from_dns(NameKind.DNS, name.value)
        case x509.IPAddress():
            return PresentedName(
                NameKind.IP, str(name.value), fault="an IP address identifies no domain"
            )
        case x509.OtherName(type_id=type_id) if type_id == _SRV_NAME:
            return _from_service(name.value)
        case _:
            return PresentedName(
                NameKind.OTHER,
                printable(repr(name.value)),
                fault=f"a {type(name).__name__} identifies no SIP domain",
            )


def _from_uri(text: str) -> PresentedName:
    shown = printable(text)
    uri = SIPURI.match(text)
    if uri is None:
        scheme = text.split(":", 1)[0].lower()
        fault = (
            "it is no well-formed SIP URI"
            if scheme in ("sip", "sips")
            else "its scheme is not sip (RFC 5922 §7.1)"
        )
        return PresentedName(NameKind.URI, shown, fault=fault)
    host = presented_domain(uri.host)
    if host is None:
        return PresentedName(NameKind.URI, shown, host=uri.host, fault="its host is no domain")
    if uri.scheme != "sip":
        return PresentedName(
            NameKind.URI, shown, host=host, fault="its scheme is not sip (RFC 5922 §7.1)"
        )
    if uri.user is not None:
        return PresentedName(
            NameKind.URI,
            shown,
            user=f"{uri.user}@{host}" if _PLAIN_USER.fullmatch(uri.user) else None,
            host=host,
            fault="it identifies a user, not a domain (RFC 5922 §7.1)",
        )
    return PresentedName(NameKind.URI, shown, domain=host, host=host)


def _from_dns(kind: NameKind, text: str) -> PresentedName:
    shown = printable(text)
    domain = presented_domain(text)
    if domain is not None:
        return PresentedName(kind, shown, domain=domain)
    if not text.startswith("*."):
        return PresentedName(kind, shown, fault="it is no domain")
    above = presented_domain(text[2:])
    if kind is NameKind.CN or above is None or "." not in above:
        above = None  # *.com would be a wildcard for everybody
    fault = "a wildcard identifies no domain (RFC 5922 §7.2)"
    return PresentedName(kind, shown, wildcard=above, fault=fault)


def _from_service(der: bytes) -> PresentedName:
    """Read a service's name: the IA5String ``_sips.example.com``."""
    text = _ia5_string(der)
    service, _, rest = (text or "").lower().partition(".")
    domain = presented_domain(rest)
    if text is None or domain is None or not _SERVICE.fullmatch(service):
        shown = repr(der) if text is None else text
        return PresentedName(NameKind.SRV, printable(shown), fault="it is no service of a domain")
    return PresentedName(NameKind.SRV, printable(text), domain=domain, host=domain, service=service)


def _ia5_string(der: bytes) -> str | None:
    """Decode a DER IA5String of up to 255 bytes, which no domain exceeds; None if it is none."""
    header = 2 if len(der) < 2 or der[1] < _LONG_FORM else 3  # noqa: PLR2004  tag and length
    content = der[header:]
    length = bytes([len(content)]) if len(content) < _LONG_FORM else None
    if length is None and len(content) <= 0xFF:  # noqa: PLR2004  one more byte of length
        length = bytes([_LONG_FORM | 1, len(content)])
    if length is None or der[:header] != bytes([_IA5_STRING]) + length or not content.isascii():
        return None
    return content.decode("ascii")
