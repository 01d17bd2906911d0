"""SIP domains, SIP URIs, and the name that we expect of a peer.

Three kinds of name are kept apart throughout siptls, and never share a word:

* *expected*: the reference identity, which the application asked for (`ReferenceIdentity`);
* *presented*: what stands in a certificate, true or not (`PresentedName`, in ``presented.py``);
* *believed*: what a policy takes as proven (`BelievedName`, in ``decision.py``).

A domain is held in one form only: A-labels, lower case, no trailing dot. Then comparing two of
them is ``==``. `parse_domain` makes that form from what an application writes and may map
(capitals, U-labels); `presented_domain` takes what a certificate shows and maps nothing but
ASCII case, for a certificate that needs mending proves nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator

import idna
from attrs import frozen

from siptls.errors import ConfigurationError

__all__ = [
    "MAX_DOMAIN",
    "SIPURI",
    "ReferenceIdentity",
    "listed",
    "parents",
    "parse_domain",
    "presented_domain",
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
        return (
            "an IP address is not a name, and trust is given to names: pass the domain, and say"
            " separately where it is"
        )
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
    if cut.isprintable():  # as nearly all is
        return cut
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

    It is what the user asked for, before any DNS: never an SRV target, and an IP address only if
    the application says so with `for_address`.

    Attributes:
        domain: The SIP domain: A-labels, lower case. Empty if an address is expected.
        host: A server's DNS name that is also expected, or None. It is set only where DNS is
            trusted to name it (`DNSTrust`), or by hand.
        address: The IP address that is expected instead of a domain, or None.
    """

    domain: str
    host: str | None = None
    address: str | None = None

    def __attrs_post_init__(self) -> None:
        if bool(self.domain) is (self.address is not None):
            raise ConfigurationError("either a domain is expected or an address: parse one of them")

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
        if not isinstance(target, str | ReferenceIdentity):
            raise ConfigurationError(
                f"a target is a SIP URI or a domain, such as 'sip:example.com', not {target!r:.80}"
            )
        if isinstance(target, ReferenceIdentity):
            return target if host is None else cls(target.domain, parse_domain(host))
        text = target
        if target[:5].lower().startswith(("sip:", "sips:")):
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
        elif ":" in text:
            raise ConfigurationError(
                f"{printable(text)!r} is neither a SIP URI nor a domain: write 'sip:example.com'"
            )
        return cls(parse_domain(text), None if host is None else parse_domain(host))

    @classmethod
    def for_address(cls, address: str) -> ReferenceIdentity:
        """Expect an IP address, which only an iPAddress in the certificate proves.

        SIP knows no such identity (RFC 5922 §7.1). It is for a trunk that has no name, under rules
        that count addresses (`NameRules.RFC9525`) and an authority that may vouch for anybody.

        Args:
            address: ``"192.0.2.1"`` or ``"2001:db8::1"``.

        Raises:
            ConfigurationError: It is no IP address.
        """
        try:
            # A number, or bytes, would be an address, too, and hardly the one that was meant.
            return cls("", address=str(ipaddress.ip_address(str(address))))
        except ValueError as error:
            raise ConfigurationError(f"{printable(str(address))!r} is no IP address") from error

    @property
    def names(self) -> frozenset[str]:
        """The expected domain and host: any of them will do."""
        return frozenset(name for name in (self.domain, self.host) if name)

    def __str__(self) -> str:
        if self.address is not None:
            return f"the address {self.address}"
        return self.domain if self.host is None else f"{self.domain} (or its host {self.host})"
