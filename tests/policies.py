"""Policies of many sizes, to be drawn."""

from __future__ import annotations

import datetime as dt

from siptls import (
    Authority,
    Blocked,
    Enterprise,
    Federation,
    Partner,
    Pinned,
    TrafficLimits,
    TrustedServers,
    TrustPolicy,
    Verification,
)
from siptls.testing import CertificateAuthority

END = dt.datetime(2036, 1, 1, tzinfo=dt.UTC)


def ca(name: str) -> CertificateAuthority:
    """Make a CA that is the same in each run."""
    begin = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    return CertificateAuthority(name, seed="policies", not_before=begin, not_after=END)


CONTOSO, FABRIKAM, SHARED = ca("Contoso CA"), ca("Fabrikam CA"), ca("Shared CA")
SERVERS = TrustedServers(
    ["edge.contoso.com", "pool.contoso.com"],
    relays={"edge.contoso.com": ["fabrikam.com", "litware.com"]},
)
OURS = Enterprise(["contoso.com", "contoso.net"], CONTOSO.authority()) & SERVERS


def with_partners(count: int, *, long: bool = False, shared: bool = False) -> TrustPolicy:
    """Give our enterprise, and so many partners, a few of which have the same CA."""
    middle = ".manufacturing-and-logistics.of-a-company-with-a-long-name" if long else ""
    partners = []
    for number in range(count):
        domain = f"partner{number:02}{middle}.example"
        is_shared = shared or number % 5 == 4
        authority = SHARED.authority() if is_shared else ca(f"Partner {number} CA").authority()
        domains = [domain, f"second{number}.example"] if number % 4 == 1 else [domain]
        edge = f"edge.{domain}" if number % 3 == 0 else None
        partners.append(Partner(domains, authority, edge=edge))
    return OURS | Federation(partners) if partners else OURS


def named(name: str) -> TrustPolicy:
    """Give a policy whose CAs have a name."""
    return Enterprise(["contoso.com"], _authority(name)) | Federation(
        [Partner(["fabrikam.com"], _authority(f"{name}2"))]
    )


def _authority(name: str) -> Authority:
    return Authority(name, [ca(str(len(name))).certificate])


ALL: dict[str, TrustPolicy] = {
    **{f"{count} partners": with_partners(count) for count in (0, 1, 3, 12, 60)},
    "long names": with_partners(6, long=True),
    "one CA for all": with_partners(60, shared=True),
    "open": Federation.open(SHARED.authority(), own=["contoso.com"], blocked=["evil.example"]),
    "discovering": OURS
    | Federation.discovering(
        [
            Partner(
                ["fabrikam.com"],
                FABRIKAM.authority(),
                verification=Verification.USE_SOURCE,
                limits=TrafficLimits(),
            )
        ],
        SHARED.authority(),
        own=["contoso.com"],
    ),
    "blocked": with_partners(3)
    & Blocked(["partner01.example", *(f"evil{number}.example" for number in range(30))]),
    "our CA again": OURS | Federation([Partner(["fabrikam.com"], CONTOSO.authority())]),
    "partners only": Federation([Partner(["fabrikam.com"], FABRIKAM.authority())]),
    "pins": OURS | Pinned({"trunk.example": ["sha256:" + "00" * 32]}),
    "wide names": named("大きな会社の認証局" * 9),
    "strange names": named('"]<b>&#x1b;\x1b[31m\u202e `--> 認証局' * 4),
}
