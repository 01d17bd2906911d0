"""What of a trust map has to be renewed, or is of no use."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from certificates import CA, make
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from statements import without_next_update

from siptls import (
    AnyDomain,
    Authority,
    Enterprise,
    Federation,
    KeyPurposes,
    Partner,
    Pinned,
    Revocation,
)
from siptls.testing import CertificateAuthority
from siptls.trust.findings import Finding
from siptls.trust.trustmap import TrustMap
from siptls.trust.upkeep import thresholds, upkeep_findings

NOW = dt.datetime(2030, 6, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def ca(name: str = "Fabrikam CA", **options: Any) -> CertificateAuthority:
    options = {"not_before": NOW - 1000 * DAY, "not_after": NOW + 1000 * DAY, **options}
    return CertificateAuthority(name, seed="upkeep", **options)


GOOD = ca()
INTERMEDIATE = GOOD.intermediate("Issuing CA", not_before=NOW - DAY, not_after=NOW + 900 * DAY)
OTHER = ca("Other CA")
LEAF = GOOD.issue("sip:fabrikam.com", not_before=NOW - DAY, not_after=NOW + DAY)


def findings(
    authority: Authority, days: float = 30, *, cas: Any = (), public: Any = (), edge: Any = None
) -> list[Finding]:
    partner = Partner(["fabrikam.com"], authority, edge=edge)
    trust_map = TrustMap.of(Federation([partner]), public=public)
    return list(upkeep_findings(trust_map, NOW, days, cas))


def told(authority: Authority, days: float = 30, **options: Any) -> list[str]:
    return [f"{one.severity} {one.code}" for one in findings(authority, days, **options)]


def anchors(*some: CertificateAuthority, **options: Any) -> Authority:
    return Authority("Fabrikam", [one.certificate for one in some], **options)


def revoking(*crls: bytes, **options: Any) -> Authority:
    return anchors(GOOD, revocation=Revocation(crls, **options))


def crl(of: CertificateAuthority = GOOD, age: int = 1, left: int = 6, **options: Any) -> bytes:
    return of.crl(this_update=NOW - age * DAY, next_update=NOW + left * DAY, **options)


def response(left: int = 6, of: CertificateAuthority = GOOD) -> bytes:
    begin, end = NOW - DAY * (7 - left), NOW + left * DAY
    return of.ocsp(LEAF, this_update=begin, next_update=end)


EXPIRED, EARLY = ca(not_after=NOW - DAY), ca(not_before=NOW + DAY, not_after=NOW + 2000 * DAY)
SOON = ca(not_after=NOW + 20 * DAY)
CLIENT_ONLY, SERVER_ONLY = ca(purposes=["clientAuth"]), ca(purposes=["serverAuth"])


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        pytest.param(anchors(GOOD), [], id="good"),
        pytest.param(anchors(EXPIRED), ["error anchor.expired"], id="expired"),
        pytest.param(anchors(EXPIRED, GOOD), ["warning anchor.expired"], id="expired-and-valid"),
        pytest.param(anchors(EARLY), ["error anchor.not-yet-valid"], id="early"),
        pytest.param(anchors(EARLY, GOOD), ["note anchor.not-yet-valid"], id="early-and-valid"),
        pytest.param(anchors(SOON), ["warning anchor.ends-soon"], id="soon"),
        pytest.param(
            anchors(CLIENT_ONLY, purposes=KeyPurposes.RFC5924),
            ["error anchor.purpose"],
            id="purpose-of-none",
        ),
        pytest.param(
            anchors(SERVER_ONLY, purposes=KeyPurposes.ROLE),
            ["warning anchor.purpose"],
            id="purpose-of-servers-only",
        ),
        pytest.param(anchors(SERVER_ONLY), ["note ca.server-only"], id="server-only"),
        pytest.param(anchors(CLIENT_ONLY), [], id="client-only"),
        pytest.param(anchors(GOOD, INTERMEDIATE), ["note anchor.redundant"], id="redundant"),
        pytest.param(anchors(INTERMEDIATE), [], id="intermediate-alone"),
        pytest.param(
            anchors(ca(permitted=["litware.com"])), ["error anchor.names"], id="other-names"
        ),
        pytest.param(anchors(ca(excluded=["fabrikam.com"])), ["error anchor.names"], id="excluded"),
        pytest.param(anchors(ca(permitted=["fabrikam.com"])), [], id="its-names"),
        pytest.param(anchors(ca(permitted=["litware.com"]), GOOD), [], id="another-anchor-may"),
        pytest.param(
            anchors(ca(permitted=["sip.fabrikam.com"])), ["warning anchor.names"], id="names-below"
        ),
        pytest.param(revoking(crl()), [], id="crl"),
        pytest.param(revoking(crl(age=9, left=-2)), ["error crl.ended"], id="crl-ended"),
        pytest.param(
            revoking(crl(age=9, left=-2), mode="soft"), ["warning crl.ended"], id="crl-ended-soft"
        ),
        pytest.param(revoking(crl(age=90, left=20)), ["warning crl.ends-soon"], id="crl-soon"),
        pytest.param(revoking(crl(number=None)), ["error crl.unusable"], id="crl-unusable"),
        pytest.param(revoking(crl(key=OTHER.key)), ["error crl.unusable"], id="crl-forged"),
        pytest.param(
            revoking(crl(key=OTHER.key), mode="soft"), ["warning crl.unusable"], id="forged-soft"
        ),
        pytest.param(
            revoking(crl(OTHER)),
            ["warning crl.unknown-issuer", "warning revocation.nothing-known"],
            id="crl-of-another",
        ),
        pytest.param(
            revoking(crl(), crl(OTHER)), ["warning crl.unknown-issuer"], id="crl-of-another-too"
        ),
        pytest.param(revoking(), ["warning revocation.nothing-known"], id="nothing-known"),
        pytest.param(revoking(mode="soft"), ["warning revocation.nothing-known"], id="soft"),
        pytest.param(revoking(mode="off"), [], id="off"),
        pytest.param(revoking(crl(), mode="off"), ["note revocation.unused"], id="unused"),
        pytest.param(revoking(ocsp=response()), [], id="ocsp"),
        pytest.param(revoking(ocsp=response(-1)), ["error ocsp.ended"], id="ocsp-ended"),
        pytest.param(revoking(ocsp=response(1)), ["warning ocsp.ends-soon"], id="ocsp-soon"),
        pytest.param(
            revoking(crl(), ocsp=response(of=OTHER)),
            ["warning ocsp.unknown-issuer"],
            id="ocsp-of-another",
        ),
    ],
)
def test_each_finding_and_nothing_beside_it(authority: Authority, expected: list[str]) -> None:
    assert told(authority) == expected


def test_a_weak_anchor_is_told_with_what_would_do() -> None:
    weak = CertificateAuthority("Weak", key="RSA-1024", not_after=NOW + 1000 * DAY)
    (found,) = findings(anchors(weak))
    assert (found.severity, found.code) == ("error", "anchor.weak-key")
    assert "1024 bits" in found.found
    assert found.expected == "at least 2048 bits"


def test_an_anchor_against_the_profile_is_unusable() -> None:
    usage = x509.KeyUsage(*[True, *[False] * 8])
    made = make("Fabrikam CA", None, (CA, True), (usage, True))
    (found,) = findings(Authority("Fabrikam", [made.certificate]))
    assert (found.severity, found.code) == ("error", "anchor.unusable")
    assert "keyCertSign" in found.found


def test_an_anchor_with_a_key_that_nobody_knows_is_told_and_nothing_is_raised() -> None:
    known, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030106")
    der = GOOD.certificate.public_bytes(Encoding.DER).replace(known, unknown)
    strange = x509.load_der_x509_certificate(der)
    crls = Revocation(crl(), ocsp=response())
    found = findings(Authority("Fabrikam", [strange], revocation=crls))
    assert "error anchor.unusable" in {f"{one.severity} {one.code}" for one in found}


def test_a_crl_without_an_end_is_told() -> None:
    authority = revoking(without_next_update(crl(), GOOD.key))
    assert told(authority) == ["error crl.no-end"]


def test_how_long_before_is_chosen() -> None:
    assert told(anchors(SOON), 10) == []
    assert told(anchors(SOON), 20) == ["warning anchor.ends-soon"]
    assert (thresholds(30), thresholds(7), thresholds(1)) == ((30, 7.0, 1.0), (7, 1.0), (1,))


def test_an_edge_is_the_name_that_must_be_issued() -> None:
    limited = anchors(ca(permitted=["hoster.example"]))
    assert told(limited, edge="sip.hoster.example") == []
    assert told(limited, edge="sip.litware.com") == ["error anchor.names"]


def test_the_crl_and_the_response_of_an_intermediate_that_is_shown_are_in_order() -> None:
    leaf = INTERMEDIATE.issue("sip:fabrikam.com", not_before=NOW - DAY, not_after=NOW + DAY)
    ocsp = INTERMEDIATE.ocsp(leaf, this_update=NOW - DAY, next_update=NOW + 6 * DAY)
    authority = revoking(crl(), crl(INTERMEDIATE), ocsp=ocsp)
    assert told(authority) == ["warning crl.unknown-issuer", "warning ocsp.unknown-issuer"]
    assert told(authority, cas=[INTERMEDIATE.certificate]) == []


def test_the_public_cas_are_not_taken_apart_unless_all_have_expired() -> None:
    assert told(anchors(EXPIRED, GOOD), public=[EXPIRED.certificate, GOOD.certificate]) == []
    assert told(anchors(SOON), public=[SOON.certificate]) == []
    assert told(anchors(EXPIRED), public=[EXPIRED.certificate]) == ["error anchor.expired"]


def test_an_authority_is_told_once_with_those_who_rest_on_it() -> None:
    authority = anchors(EXPIRED)
    policy = Enterprise(["contoso.com"], authority) | Federation(
        [Partner(["fabrikam.com"], authority), Partner(["litware.com"], authority)]
    )
    (found,) = upkeep_findings(TrustMap.of(policy), NOW, 30)
    assert found.about.startswith(
        "Fabrikam (our domains contoso.com, partner fabrikam.com, partner litware.com): anchor CN="
    )
    assert found.when == NOW - DAY


def test_a_pin_has_nothing_to_renew() -> None:
    pinned = Pinned({"trunk.example": ["sha256:" + "00" * 32]})
    assert list(upkeep_findings(TrustMap.of(pinned), NOW, 30)) == []


def test_who_may_vouch_for_anybody_need_not_vouch_for_us() -> None:
    strangers = Federation.open(anchors(ca(permitted=["litware.com"])), own=["contoso.com"])
    anybody = AnyDomain(anchors(ca(permitted=["litware.com"])))
    assert list(upkeep_findings(TrustMap.of(strangers | anybody), NOW, 30)) == []
