"""Report: plain data, printable and bounded, whatever a certificate holds."""

from __future__ import annotations

import hashlib
import json
import warnings
from typing import Any

import pytest
from attrs import evolve
from certificates import NOW, Made, make, make_ca, with_serial
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.trust.account import AccountState, TrafficLimits
from siptls.trust.fault import describe
from siptls.wire.report import CertificateName, FederationReport, PeerReport, RefusedReport

NAME = CertificateName("CN=contoso.com", "CN=Contoso CA", "1f", "ab" * 32)
PEER = PeerReport(
    NAME,
    trust="federated",
    names=("contoso.com",),
    more_names=0,
    domains=("contoso.com", "sales.contoso.com"),
    more_domains=3,
    connections=2,
    messages=120,
    messages_per_second=1.25,
    uris=7,
    succeeded=5,
    failed=1,
    state=AccountState.WATCHED,
    refusals={"partner.limit": 4},
    limits=TrafficLimits(burst=5),
)
REFUSED = RefusedReport(
    NAME,
    code="path.unknown-ca",
    reason="the peer's certificate has no path",
    address=("192.0.2.1", 5061),
    when=NOW,
    times=3,
)
IDENTITY = {
    "description": "CN=contoso.com",
    "issuer": "CN=Contoso CA",
    "serial": "1f",
    "sha256": "ab" * 32,
}


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Contoso CA")


def test_a_peer_is_told_as_plain_data() -> None:
    assert PEER.to_dict() == {
        **IDENTITY,
        "trust": "federated",
        "names": ["contoso.com"],
        "more_names": 0,
        "domains": ["contoso.com", "sales.contoso.com"],
        "more_domains": 3,
        "connections": 2,
        "messages": 120,
        "messages_per_second": 1.25,
        "uris": 7,
        "succeeded": 5,
        "failed": 1,
        "state": "watched",
        "refusals": {"partner.limit": 4},
        "limits": {
            "messages_per_second": 20.0,
            "burst": 5,
            "distinct_uris": 1000,
            "suspicious_rate": 1.0,
            "suspicious_share": 0.5,
            "suspicious_after": 20,
            "period": 3600.0,
            "connections": 4,
        },
    }
    assert evolve(PEER, limits=None).to_dict()["limits"] is None


def test_a_refused_certificate_is_told_as_plain_data() -> None:
    assert REFUSED.to_dict() == {
        **IDENTITY,
        "code": "path.unknown-ca",
        "reason": "the peer's certificate has no path",
        "address": ["192.0.2.1", 5061],
        "when": "2030-06-01T12:00:00+00:00",
        "times": 3,
    }
    assert evolve(REFUSED, address=None).to_dict()["address"] is None


def kinds(value: Any) -> set[type]:
    """Every type that occurs in plain data."""
    inner: list[Any] = []
    if type(value) is dict:
        inner = [*value.keys(), *value.values()]
    elif type(value) is list:
        inner = value
    return {type(value)}.union(*(kinds(one) for one in inner))


def test_the_report_is_json() -> None:
    report = FederationReport((PEER,), (REFUSED,))
    plain = report.to_dict()
    assert kinds(plain) <= {dict, list, str, int, float, type(None)}
    assert json.loads(report.to_json()) == plain
    assert json.loads(report.to_json(indent=2)) == plain
    assert "\n" not in report.to_json()
    assert report.to_json(indent=2).startswith('{\n  "peers"')


def test_a_certificate_is_named(root: Made) -> None:
    certificate = make("contoso.com", root).certificate
    assert CertificateName.of(certificate) == CertificateName(
        describe(certificate),
        "CN=Contoso CA",
        f"{certificate.serial_number:x}",
        hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
    )


def test_no_certificate_has_a_name_too() -> None:
    assert CertificateName.of(None) == CertificateName("(no certificate)", "", "", "")


@pytest.mark.parametrize("number", [0, -1, -(2**2400), 2**2400], ids=["0", "-1", "low", "high"])
def test_any_serial_number_is_shown(root: Made, number: int) -> None:
    """And nothing is written on standard error, where ``cryptography`` warns."""
    certificate = with_serial(make("contoso.com", root), number, root).certificate
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        name = CertificateName.of(certificate)
    assert name.serial.startswith(f"{number:x}"[:40])
    assert len(name.serial) <= 81


@pytest.mark.parametrize("issuer", ["a\nb", "a\x1b[2Jb", "a\u202eb", "x" * 64])
def test_an_issuer_is_printable(issuer: str) -> None:
    shown = CertificateName.of(make("contoso.com", issued_by=issuer).certificate).issuer
    assert shown.isprintable()
    assert shown.startswith("CN=")


def test_an_issuer_is_bounded_and_may_be_empty_or_broken() -> None:
    assert CertificateName.of(make("", issued_by="").certificate).issuer == "(empty issuer)"
    der = make("leaf", issued_by="above").certificate.public_bytes(Encoding.DER)
    broken = x509.load_der_x509_certificate(der.replace(b"above", b"\xff\xfe\xfd\xfc\xfb"))
    assert CertificateName.of(broken).issuer == "(issuer that cannot be decoded)"
