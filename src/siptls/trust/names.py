"""SIP domains: the names that we expect, and the names that a certificate presents.

Three kinds of name are kept apart throughout siptls, and never share a word:

* *expected*: the reference identity, which the application asked for (`ReferenceIdentity`);
* *presented*: what stands in a certificate, true or not (`PresentedName`);
* *believed*: what a policy takes as proven (`BelievedName`, in ``decision.py``).

A domain is held in one form only: A-labels, lower case, no trailing dot. Then comparing two of
them is ``==``. `parse_domain` makes that form from what an application writes and may map
(capitals, U-labels); `presented_domain` takes what a certificate shows and maps nothing but
ASCII case, for a certificate that needs mending proves nothing.

`NameRules` says which presented names count, and as what. RFC 5922 §7.1 is the default.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

import idna
from attrs import field, frozen
from cryptography import x509
from cryptography.x509.oid import NameOID

from siptls.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "MAX_DOMAIN",
    "SIPURI",
    "CountedName",
    "NameKind",
    "NameRules",
    "PresentedName",
    "PresentedNames",
    "ReferenceIdentity",
    "listed",
    "parents",
    "parse_domain",
    "presented_domain",
    "presented_names",
    "printable",
]

# ---------------------------------------------------------------- domains

# RFC 1035 §2.3.4.
MAX_DOMAIN = 253

# RFC 3261 §25.1: hostname = *( domainlabel "." ) toplabel; a toplabel begins with a letter, which
# is also what keeps 192.0.2.1, 127.1 and 0x7f.1 out.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*(?=[a-z]){_LABEL}", re.ASCII)


def presented_domain(text: str) -> str | None:
    """Give the domain that a certificate's text names, or None if it names none.

    Only ASCII case is folded. A wildcard, an IP literal, an empty label, a trailing dot, a
    percent escape, a NUL, an underscore, or an ``xn--`` label that IDNA 2008 does not know makes
    it no domain (RFC 5922 §7.1, RFC 5280 §7.2).
    """
    if not text.isascii():
        return None
    domain = text.lower()
    if len(domain) > MAX_DOMAIN or not _DOMAIN.fullmatch(domain):
        return None
    for label in domain.split("."):
        # A label with hyphens in places 3 and 4 is an A-label or reserved (RFC 5890 §2.3.1).
        if label[2:4] == "--":
            try:
                idna.ulabel(label)
            except idna.IDNAError:
                return None
    return domain


def parse_domain(text: str) -> str:
    """Give the canonical form of a domain that the application wrote.

    Args:
        text: A DNS name; capitals and U-labels (``bücher.example``) are mapped by UTS 46.

    Raises:
        ConfigurationError: It is no DNS name: empty, an IP address, a wildcard, a URI, ...
    """
    if not isinstance(text, str):  # typed callers cannot; the others deserve a sentence
        raise ConfigurationError(f"a domain is a str such as 'example.com', not {text!r}")
    domain = text
    if not text.isascii():
        try:
            domain = idna.encode(text, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise ConfigurationError(
                f"{printable(text)!r} is no internationalised domain name: {error}"
            ) from error
    canonical = presented_domain(domain)
    if canonical is None:
        raise ConfigurationError(f"{printable(text)!r} is no domain: {_domain_fault(text)}")
    return canonical


def _domain_fault(text: str) -> str:
    """Say what is wrong with a text that is no domain, and what to write instead."""
    if not text:
        return "it is empty"
    if ":" in text or "/" in text or "@" in text:
        return "write the bare name, such as 'example.com', without scheme, user, port or path"
    if text.endswith((".", "。")):
        return "write it without the dot at its end"
    if "*" in text:
        return "a wildcard names no domain (RFC 5922 §7.2)"
    if text.rsplit(".", 1)[-1].isdigit():
        return "an IP address is not a name; trust is given to names"
    return "labels of letters, digits and hyphens are wanted, the last beginning with a letter"


def parents(domain: str) -> Iterator[str]:
    """Give a canonical domain and each domain above it, label by label, longest first."""
    yield domain
    while "." in domain:
        domain = domain.split(".", 1)[1]
        yield domain


def printable(text: str, limit: int = 128) -> str:
    """Make text from a peer safe for one line of a log: no control or bidi characters, bounded."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut)


def listed(names: Iterable[object], limit: int = 8) -> str:
    """Give names for one line of a log: a stranger's certificate may have a thousand."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more


# ---------------------------------------------------------------- SIP URIs

_SIP_URI = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@]*)@)?(?P<host>\[[^\]@]*\]|[^@:;?\[\]]*)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<rest>[;?][^@]*)?",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_MAX_PORT = 65535


@frozen
class SIPURI:
    """The parts of a SIP or SIPS URI that say whom it means (RFC 3261 §19.1.1).

    Attributes:
        scheme: ``sip`` or ``sips``.
        user: The userinfo as written (percent escapes and all), or None if there is none.
        host: The host as written, not checked: a name, an IPv4 address, or ``[IPv6]``.
        port: 1 to 65535, or None.
    """

    scheme: str
    user: str | None
    host: str
    port: int | None

    @classmethod
    def match(cls, text: str) -> SIPURI | None:
        """Take a URI apart; None if it is no SIP or SIPS URI."""
        if not text.isprintable() or " " in text:
            return None
        found = _SIP_URI.fullmatch(text)
        if found is None or found["user"] == "":
            return None
        port = int(found["port"]) if found["port"] else None
        if port is not None and not 0 < port <= _MAX_PORT:
            return None
        return cls(found["scheme"].lower(), found["user"], found["host"], port)


@frozen
class ReferenceIdentity:
    """The name that the application expects of its peer (RFC 5922 §7.3, RFC 9525 §6.1).

    It is what the user asked for, before any DNS: never an address or an SRV target.

    Attributes:
        domain: The SIP domain: A-labels, lower case.
        host: A server's DNS name that is also expected, or None. It is set only where DNS is
            trusted to name it (`DNSTrust`), or by hand.
    """

    domain: str
    host: str | None = None

    @classmethod
    def parse(
        cls, target: str | ReferenceIdentity, *, host: str | None = None
    ) -> ReferenceIdentity:
        """Read the expected name from a SIP URI or a bare domain.

        Args:
            target: ``"sip:alice@example.com:5061"``, ``"sips:example.com"`` or ``"example.com"``;
                user, port and parameters say nothing about whom we expect. An identity that was
                parsed already is taken as it is.
            host: A server's DNS name that is expected beside the domain.

        Raises:
            ConfigurationError: No name can be read, or it is an IP address.
        """
        if isinstance(target, ReferenceIdentity):
            return target if host is None else cls(target.domain, parse_domain(host))
        text = target
        if str(target)[:5].lower().startswith(("sip:", "sips:")):
            uri = SIPURI.match(target)
            if uri is None:
                raise ConfigurationError(
                    f"{printable(target)!r} is no SIP URI; write it as 'sip:example.com'"
                )
            text = uri.host
            if text.startswith("["):
                raise ConfigurationError(
                    f"{printable(target)!r} names an IP address, and trust is given to names:"
                    " write the domain, and pass host= to say where it is"
                )
        return cls(parse_domain(text), None if host is None else parse_domain(host))

    def __str__(self) -> str:
        return self.domain if self.host is None else f"{self.domain} (or its host {self.host})"


# ---------------------------------------------------------------- presented names


class NameKind(StrEnum):
    """Where in a certificate a name stands."""

    URI = "URI"
    DNS = "DNS"
    IP = "IP"
    CN = "CN"
    OTHER = "other"


@frozen
class PresentedName:
    """One name as a certificate shows it.

    Attributes:
        kind: Where it stands.
        text: As presented, made printable.
        domain: The domain that it identifies, canonical; None if it identifies no domain.
        user: ``user@domain`` for a ``sip:`` URI with userinfo, else None: a user is no domain.
        host: The host of a ``sip:`` or ``sips:`` URI, whether it identifies a domain or not. CA
            name constraints hold for it in any case.
        fault: Why it identifies no domain; empty if it does.
    """

    kind: NameKind
    text: str
    domain: str | None = None
    user: str | None = None
    host: str | None = None
    fault: str = ""

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

    @property
    def domains(self) -> frozenset[str]:
        """Every domain that a name identifies under some rules: all that could ever be believed."""
        return frozenset(
            name.domain
            for name in self.names
            if name.domain is not None and not (name.kind is NameKind.CN and self.has_san)
        )

    @property
    def mentioned(self) -> frozenset[str]:
        """Every domain that stands in a name at all, as a user's or in a ``sips:`` URI, too."""
        hosts = (presented_domain(name.host) for name in self.names if name.host)
        return self.domains | frozenset(host for host in hosts if host)

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
    try:
        san = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        san = None
    if san is not None:
        names.extend(_from_general_name(name) for name in san)
    for attribute in common:
        text = attribute.value if isinstance(attribute.value, str) else repr(attribute.value)
        names.append(_from_dns(NameKind.CN, text))
    return PresentedNames(tuple(names), san is not None)


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
            user=f"{uri.user}@{host}",
            host=host,
            fault="it identifies a user, not a domain (RFC 5922 §7.1)",
        )
    return PresentedName(NameKind.URI, shown, domain=host, host=host)


def _from_dns(kind: NameKind, text: str) -> PresentedName:
    domain = presented_domain(text)
    fault = "" if domain else "it is no domain"
    if domain is None and text.startswith("*."):
        fault = "a wildcard identifies no domain (RFC 5922 §7.2)"
    return PresentedName(kind, printable(text), domain=domain, fault=fault)


# ---------------------------------------------------------------- rules


@frozen
class CountedName:
    """What `NameRules` make of a presented name.

    Attributes:
        presented: The name.
        domain: It identifies a SIP domain.
        host: It names the machine: what a list of trusted servers is held against.
        why: Why it counts, or why not.
    """

    presented: PresentedName
    domain: bool
    host: bool
    why: str

    @property
    def name(self) -> str:
        """The canonical name; empty if it does not count."""
        return (self.presented.domain or "") if self.domain or self.host else ""


@frozen
class NameRules:
    """Which presented names count, and as what.

    Build your own, or take a preset: ``NameRules.RFC5922`` (the default everywhere) and
    ``NameRules.OCS``.

    Attributes:
        name: Shown in explanations and policy files.
        dns_beside_uri: A dNSName beside a ``sip:`` URI also answers for an expected *host*
            (`ReferenceIdentity.host`). Without it such a dNSName names the machine, for
            `TrustedServers`, and is never the identity that was asked for (RFC 5922 §7.1).
        common_name: A common name counts as a dNSName if the certificate has no subjectAltName
            at all. RFC 9525 §6.2 forbids it; old enterprise CAs still need it.
    """

    name: str = field(default="custom")
    dns_beside_uri: bool = field(default=False, kw_only=True)
    common_name: bool = field(default=False, kw_only=True)

    RFC5922: ClassVar[NameRules]
    """URI ``sip:`` first; dNSName only if there is no such URI; no wildcard, no common name."""
    OCS: ClassVar[NameRules]
    """As Office Communications Server has it, for DNS that is trusted: a server's FQDN may be
    matched by a dNSName beside a URI, or by the common name of a certificate without SAN."""

    def count(self, presented: PresentedNames) -> tuple[CountedName, ...]:
        """Say of each presented name what it counts as, and why (RFC 5922 §7.1)."""
        has_uri = any(n.kind is NameKind.URI and n.domain for n in presented.names)
        return tuple(self._count(name, has_uri, presented.has_san) for name in presented.names)

    def _count(self, name: PresentedName, has_uri: bool, has_san: bool) -> CountedName:
        if name.domain is None:
            return CountedName(name, domain=False, host=False, why=name.fault)
        if name.kind is NameKind.URI:
            return CountedName(name, domain=True, host=False, why="a sip: URI")
        if name.kind is NameKind.CN and has_san:
            why = "a common name beside a subjectAltName never counts (RFC 5922 §7.1)"
            return CountedName(name, domain=False, host=False, why=why)
        if name.kind is NameKind.CN and not self.common_name:
            why = f"a common name does not count under {self.name} (RFC 9525 §6.2)"
            return CountedName(name, domain=False, host=False, why=why)
        if has_uri:
            why = "names the machine only: a sip: URI stands beside it (RFC 5922 §7.1)"
            return CountedName(name, domain=False, host=True, why=why)
        return CountedName(name, domain=True, host=True, why=f"a {name.kind} name without sip: URI")

    def answers(
        self, expected: ReferenceIdentity, domains: Iterable[str], hosts: Iterable[str]
    ) -> bool:
        """Whether names that count satisfy the expected one (RFC 5922 §7.2: equality)."""
        known = frozenset(domains)
        if expected.domain in known:
            return True
        if expected.host is None:
            return False
        return expected.host in known or (self.dns_beside_uri and expected.host in frozenset(hosts))


NameRules.RFC5922 = NameRules("RFC5922")
NameRules.OCS = NameRules("OCS", dns_beside_uri=True, common_name=True)
