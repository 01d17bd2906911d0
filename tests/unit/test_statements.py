"""CRLs and OCSP responses of the test PKI: what they state is what was asked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from siptls import Code, ConfigurationError, Decision, Revocation, Role
from siptls.testing import CertificateAuthority, evidence

YEAR = dt.timedelta(days=365)
WHEN = dt.datetime(2030, 6, 1, tzinfo=dt.UTC)
PERIOD: dict[str, Any] = {"this_update": WHEN, "next_update": WHEN + dt.timedelta(days=7)}


def test_a_crl_and_a_response_are_good_from_now_on(contoso: CertificateAuthority) -> None:
    """In a line each, for certificates that are made in a line, too."""
    own, other = contoso.issue("sip:contoso.com"), contoso.issue("sip:eu.contoso.com")
    for given, expected in (
        (Revocation(contoso.crl()), "accepted"),
        (Revocation(contoso.crl([other])), "accepted"),
        (Revocation(contoso.crl([other, own.chain[0]])), Code.PATH_REVOKED),
        (Revocation(ocsp=contoso.ocsp(own)), "accepted"),
        (Revocation(ocsp=contoso.ocsp(own.chain[0], status="revoked")), Code.PATH_REVOKED),
        (Revocation(contoso.crl(issuer="Fabrikam CA")), Code.PATH_REVOCATION_UNKNOWN),
        (Revocation(ocsp=contoso.ocsp(own, next_update="absent")), "accepted"),
    ):
        result = contoso.authority(revocation=given).verify(evidence(own))
        assert getattr(result, "code", "accepted") == expected


def test_a_staple_is_shown(contoso: CertificateAuthority) -> None:
    own = contoso.issue("sip:contoso.com", must_staple=True)
    staple = contoso.ocsp(own)
    authority = contoso.authority(revocation=Revocation())
    assert not isinstance(authority.verify(evidence(own, Role.SERVER, staple=staple)), Decision)
    assert isinstance(authority.verify(evidence(own, Role.SERVER)), Decision)


@pytest.mark.parametrize("options", [{}, {"status": "revoked", "hash": "SHA-256", "by_name": True}])
def test_a_seeded_ca_makes_the_same_crls_and_responses(options: dict[str, Any]) -> None:
    """Not even the time at which they are made is in them."""
    dates: dict[str, Any] = {"not_before": WHEN, "not_after": WHEN + YEAR}
    made = []
    for _ in range(2):
        ca = CertificateAuthority("CA", seed="x", **dates)
        own = ca.issue("sip:a.com", **dates)
        made.append((ca.crl([own], **PERIOD), ca.ocsp(own, **PERIOD, **options)))
    assert made[0] == made[1]
    response = ocsp.load_der_ocsp_response(made[0][1])
    assert response.produced_at_utc == WHEN


@pytest.mark.parametrize(
    ("this", "following", "expected"),
    [
        (None, None, (-1, 7 * 24)),
        (None, -48, (-49, -48)),
        (48, None, (48, 9 * 24)),
        (-5, 5, (-5, 5)),
    ],
)
def test_the_updates_fit_together(
    contoso: CertificateAuthority,
    this: int | None,
    following: int | None,
    expected: tuple[int, int],
) -> None:
    """In hours from now: whoever says one of them need not think of the other."""
    now = dt.datetime.now(dt.UTC)

    def at(hours: int | None) -> dt.datetime | None:
        return None if hours is None else now + dt.timedelta(hours=hours)

    crl = x509.load_der_x509_crl(contoso.crl(this_update=at(this), next_update=at(following)))
    for found, hours in zip((crl.last_update_utc, crl.next_update_utc), expected, strict=True):
        assert found is not None
        assert abs(found - now - dt.timedelta(hours=hours)) < dt.timedelta(minutes=1)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda ca: ca.crl(ca.issue("sip:a.com")), r"write crl\(\[credential\]\)"),
        (lambda ca: ca.crl(this_update=dt.datetime(2030, 1, 1)), "are aware, unlike"),  # noqa: DTZ001
        (lambda ca: ca.ocsp(ca.certificate, status="fine"), "'fine' is none of good, revoked"),
        (lambda ca: ca.ocsp(ca.certificate, hash="MD5"), "'MD5' is none of SHA-1, SHA-256"),
    ],
)
def test_what_cannot_be_stated_is_said(
    contoso: CertificateAuthority, make: Callable[[CertificateAuthority], bytes], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        make(contoso)


@pytest.mark.parametrize("key", ["P-384", "RSA-2048"])
def test_other_keys_sign_as_well(key: Any) -> None:
    ca = CertificateAuthority("CA", key=key)
    own = ca.issue("sip:a.com")
    responder = ca.issue(common_name="Responder", purposes=["1.3.6.1.5.5.7.3.9"], key="RSA-2048")
    for given in (
        Revocation(ca.crl()),
        Revocation(ocsp=ca.ocsp(own)),
        Revocation(ocsp=ca.ocsp(own, responder=responder)),
    ):
        assert not isinstance(ca.authority(revocation=given).verify(evidence(own)), Decision)


def test_a_responder_that_has_no_answer_says_so(contoso: CertificateAuthority) -> None:
    response = ocsp.load_der_ocsp_response(contoso.ocsp(contoso.certificate, status="tryLater"))
    assert response.response_status is ocsp.OCSPResponseStatus.TRY_LATER


def test_extensions_are_added_on_request(contoso: CertificateAuthority) -> None:
    nonce, when = (
        x509.OCSPNonce(b"0123456789abcdef"),
        x509.InvalidityDate(WHEN.replace(tzinfo=None)),
    )
    response = contoso.ocsp(contoso.certificate, extensions=[(nonce, False)], **PERIOD)
    assert [one.value for one in ocsp.load_der_ocsp_response(response).extensions] == [nonce]
    alone = {"number": None, "extensions": [(x509.CRLNumber(7), True)]}
    data = contoso.crl([contoso.certificate], entry_extensions=[(when, False)], **alone, **PERIOD)
    crl = x509.load_der_x509_crl(data)
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).critical
    (entry,) = crl
    assert [one.value for one in entry.extensions] == [when]
