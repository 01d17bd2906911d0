"""CRLs and OCSP responses that somebody has altered, or that the CA has signed in some odd way."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.x509 import ocsp

from fuzz.pki import CONTOSO, NOW, VALID, content, signed
from siptls import ConfigurationError, Evidence, Revocation, Role
from siptls.testing.statements import _element, _signed
from siptls.trust.ocsp import MAX_AGE, TOLERANCE, StatusResponse
from siptls.trust.revocation import RevocationScope, Standing

LENGTH = 1200
_DAY = dt.timedelta(days=1)
_FRESH = {"this_update": NOW - _DAY, "next_update": NOW + _DAY}
_SEQUENCE = 0x30

LEAF = CONTOSO.issue("sip:contoso.com", **VALID)
OTHER = CONTOSO.issue("sip:eu.contoso.com", **VALID)
RESPONDER = CONTOSO.issue(common_name="Responder", purposes=["1.3.6.1.5.5.7.3.9"], **VALID)
PATH = (LEAF.chain[0], CONTOSO.certificate)
CRLS = {
    "good": CONTOSO.crl([OTHER], **_FRESH),
    "empty": CONTOSO.crl([], **_FRESH),
    "revoked": CONTOSO.crl([LEAF, OTHER], reason=x509.ReasonFlags.key_compromise, **_FRESH),
    "removed": CONTOSO.crl([LEAF], reason=x509.ReasonFlags.remove_from_crl, **_FRESH),
    "elsewhere": CONTOSO.crl([OTHER], issuer="Fabrikam CA", **_FRESH),
    "stale": CONTOSO.crl([OTHER], this_update=NOW - 9 * _DAY, next_update=NOW - _DAY),
    "future": CONTOSO.crl([OTHER], this_update=NOW + _DAY, next_update=NOW + 9 * _DAY),
}
RESPONSES = {
    "good": CONTOSO.ocsp(LEAF, **_FRESH),
    "sha-256": CONTOSO.ocsp(LEAF, hash="SHA-256", by_name=True, **_FRESH),
    "revoked": CONTOSO.ocsp(LEAF, status="revoked", reason=x509.ReasonFlags.superseded, **_FRESH),
    "unknown": CONTOSO.ocsp(LEAF, status="unknown", **_FRESH),
    "later": CONTOSO.ocsp(LEAF, status="tryLater"),
    "delegated": CONTOSO.ocsp(LEAF, responder=RESPONDER, **_FRESH),
    "other": CONTOSO.ocsp(OTHER, **_FRESH),
    "endless": CONTOSO.ocsp(LEAF, this_update=NOW - _DAY / 2, next_update="absent"),
}


def crl_fields(der: bytes) -> bytes:
    """Give what is signed of a CRL, without what holds it together."""
    return content(x509.load_der_x509_crl(der).tbs_certlist_bytes)


def response_fields(der: bytes) -> bytes:
    """Give what is signed of a response, without what holds it together."""
    return content(ocsp.load_der_ocsp_response(der).tbs_response_bytes)


_SIGNED = {crl_fields(der) for der in CRLS.values()}
_SIGNED |= {response_fields(der) for name, der in RESPONSES.items() if name != "later"}


def target(data: bytes) -> None:
    """The first byte says what it is: a CRL or a response, as it is or for the CA to sign."""
    if len(data) < 2:
        return
    kind, given = data[0] & 3, data[1:]
    match kind:
        case 0:
            check_crl(given, is_forged=False)
        case 1:
            check_response(given, is_forged=False)
        case 2:
            check_crl(signed(given, CONTOSO), is_forged=True)
        case _:
            fields = _element(_SEQUENCE, given)
            check_response(_signed(fields, [], CONTOSO.key), is_forged=True)


def _is_good(revocation: Revocation, staple: bytes | None = None) -> bool:
    """Whether the leaf is known not to be revoked. It raises nothing."""
    evidence = Evidence(PATH[:1], Role.SERVER, now=NOW, staple=staple)
    return isinstance(revocation.check(PATH, evidence), Standing)


def check_crl(data: bytes, *, is_forged: bool) -> None:
    """Assert that a CRL makes a certificate good only if it was signed so, and says so."""
    try:
        revocation = Revocation(data, scope=RevocationScope.LEAF)
    except ConfigurationError:
        return
    good = _is_good(revocation)
    assert len(revocation.crls) >= 1
    for crl in revocation.crls:
        assert crl.issuer.isprintable()
        assert crl.name.isprintable()
        assert crl.this_update
        assert crl.next_update is None or crl.next_update.tzinfo
        read = x509.load_der_x509_crl(crl.der)
        if not good or len(revocation.crls) > 1:
            continue
        assert is_forged or content(read.tbs_certlist_bytes) in _SIGNED
        assert read.issuer == CONTOSO.certificate.subject
        assert read.last_update_utc <= NOW <= (read.next_update_utc or NOW - _DAY)
        entries = [entry for entry in read if entry.serial_number == PATH[0].serial_number]
        assert not entries or all(_is_removed(entry) for entry in entries[-1:])


def _is_removed(entry: x509.RevokedCertificate) -> bool:
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    return reason is x509.ReasonFlags.remove_from_crl


def check_response(data: bytes, *, is_forged: bool) -> None:
    """Assert that a response makes a certificate good only if it was signed so, and says so."""
    good = _is_good(Revocation(scope=RevocationScope.LEAF), staple=data)
    try:
        response = StatusResponse.read(data)
    except ValueError:
        assert not good
        return
    assert response.name.isprintable()
    assert response.next_update is None or response.next_update.tzinfo
    assert _is_good(Revocation(ocsp=data, scope=RevocationScope.LEAF)) is good
    if not good:
        return
    read = ocsp.load_der_ocsp_response(data)
    assert is_forged or content(read.tbs_response_bytes) in _SIGNED
    (single,) = read.responses
    assert single.serial_number == PATH[0].serial_number
    assert single.certificate_status is ocsp.OCSPCertStatus.GOOD
    until = single.next_update_utc or single.this_update_utc + MAX_AGE
    assert single.this_update_utc - TOLERANCE <= NOW <= until + TOLERANCE
