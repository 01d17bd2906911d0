"""Every kind of peer that comes to a server of contoso.com: who is refused, and how."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from attrs import frozen

from siptls import Credential, Enterprise, Federation, Partner, TrustedServers, TrustPolicy
from siptls.testing import CertificateAuthority

# One set of CAs serves all tests: they hold no state, and keys take time to make.
CONTOSO = CertificateAuthority("Contoso Enterprise CA")
FABRIKAM = CertificateAuthority("Fabrikam CA")
STRANGER = CertificateAuthority("Stranger CA")
SELF_SIGNED = CertificateAuthority("contoso.com")


def policy() -> TrustPolicy:
    """Contoso's own, and one partner."""
    ours = Enterprise(["contoso.com"], CONTOSO.authority())
    partners = [Partner(["fabrikam.com"], FABRIKAM.authority())]
    return ours & TrustedServers(["contoso.com", "home.contoso.com"]) | Federation(
        partners, blocked=["evil.fabrikam.com"]
    )


def _forged() -> Credential:
    """A certificate that names our CA as its issuer, signed by another key."""
    forger = CertificateAuthority(CONTOSO.name)
    return forger.issue("sip:contoso.com")


def _days(number: int) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=number)


@frozen
class Visitor:
    """A peer that shows a certificate.

    Attributes:
        what: For the test's name.
        make: Gives what it shows.
        code: What our decision must say.
        alert: What the peer must be told; None if it is accepted.
        domains: What must be believed of it.
    """

    what: str
    make: Callable[[], Credential]
    code: str
    alert: int | None = None
    domains: frozenset[str] = frozenset()


def _accepted(what: str, make: Callable[[], Credential], *domains: str) -> Visitor:
    return Visitor(what, make, "accepted", None, frozenset(domains))


WELCOME = [
    _accepted("ours", lambda: CONTOSO.issue("sip:contoso.com"), "contoso.com"),
    _accepted("ours-dns", lambda: CONTOSO.issue("home.contoso.com"), "home.contoso.com"),
    _accepted(
        "ours-below-an-intermediate",
        lambda: CONTOSO.intermediate("Issuing CA").issue("sip:contoso.com"),
        "contoso.com",
    ),
    _accepted(
        "serverAuth-only",
        lambda: CONTOSO.issue("sip:contoso.com", purposes=["serverAuth"]),
        "contoso.com",
    ),
    _accepted(
        "sipDomain-only",
        lambda: CONTOSO.issue("sip:contoso.com", purposes=["sipDomain"]),
        "contoso.com",
    ),
    _accepted("no-EKU", lambda: CONTOSO.issue("sip:contoso.com", purposes=None), "contoso.com"),
    _accepted("RSA", lambda: CONTOSO.issue("sip:contoso.com", key="RSA-2048"), "contoso.com"),
    _accepted("a-partner", lambda: FABRIKAM.issue("sip:fabrikam.com"), "fabrikam.com"),
    _accepted(
        "a-partner-that-claims-our-name-too",
        lambda: FABRIKAM.issue("sip:fabrikam.com", "sip:contoso.com"),
        "fabrikam.com",
    ),
]

REFUSED = [
    Visitor("unknown-CA", lambda: STRANGER.issue("sip:contoso.com"), "path.unknown-ca", 48),
    Visitor("nobody", lambda: STRANGER.issue("sip:nobody.example"), "partner.unknown", 48),
    Visitor(
        "self-signed",
        lambda: SELF_SIGNED.issue(
            "sip:contoso.com", common_name="contoso.com", key=SELF_SIGNED.key
        ),
        "path.unknown-ca",
        48,
    ),
    Visitor("forged", _forged, "path.signature", 42),
    Visitor(
        "expired",
        lambda: CONTOSO.issue("sip:contoso.com", not_after=_days(-1)),
        "path.expired",
        42,
    ),
    Visitor(
        "not-yet-valid",
        lambda: CONTOSO.issue("sip:contoso.com", not_before=_days(1)),
        "path.not-yet-valid",
        42,
    ),
    Visitor(
        "wrong-purpose",
        lambda: CONTOSO.issue("sip:contoso.com", purposes=["1.3.6.1.5.5.7.3.4"]),
        "purpose.unacceptable",
        46,
    ),
    Visitor(
        "a-CA-as-peer",
        lambda: Credential([CONTOSO.certificate], CONTOSO.key),
        "path.constraint",
        42,
    ),
    Visitor(
        "a-partner's-CA-vouches-for-us",
        lambda: FABRIKAM.issue("sip:contoso.com"),
        "name.out-of-scope",
        46,
    ),
    Visitor("no-SIP-name", lambda: CONTOSO.issue("192.0.2.1"), "name.none", 46),
    Visitor(
        "not-listed",
        lambda: CONTOSO.issue("test.contoso.com"),
        "server.not-listed",
        46,
    ),
    Visitor("blocked", lambda: FABRIKAM.issue("sip:evil.fabrikam.com"), "partner.blocked", 46),
]

VISITORS = [*WELCOME, *REFUSED]


def name_of(visitor: Visitor) -> str:
    """Give the name for pytest's ids."""
    return visitor.what
