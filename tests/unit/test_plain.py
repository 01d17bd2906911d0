"""Plain data: what a certificate, a fault and evidence are as text, numbers, lists and dicts."""

from __future__ import annotations

import hashlib
import json

import pytest
from certificates import NOW, make, make_ca, make_leaf, raw, show
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from siptls.trust.codes import Code
from siptls.trust.evidence import Evidence, Role
from siptls.trust.fault import Fault, describe
from siptls.trust.names import ReferenceIdentity
from siptls.trust.plain import as_line, certificate_dict, evidence_dict, fault_dict, shown_names

CA = make_ca("Contoso CA")
LEAF = make_leaf(CA, "sip:contoso.com", "sip.contoso.com", subject="")
UNREADABLE = make("leaf", CA, raw("2.5.29.17", b"\x30\x03bad", critical=False))


@given(st.text(max_size=40))
def test_a_line_is_one_and_printable(text: str) -> None:
    """It may hold what a peer sent."""
    assert as_line(text).isprintable()
    assert as_line(text) == text or not text.isprintable()


@pytest.mark.parametrize(("size", "told"), [(2000, 2000), (2001, 2001), (100_000, 2001)])
def test_a_line_has_an_end(size: int, told: int) -> None:
    """The last character tells that there was more."""
    line = as_line("x" * size)
    assert len(line) == told
    assert line.endswith("…") is (size > 2000)


def test_a_fault_is_four_lines() -> None:
    fault = Fault(Code.NAME_MISMATCH, "a\nb", "found\x1b", "expected", "RFC 5922 §7.2")
    assert fault_dict(fault) == {
        "about": "a\\u000ab",
        "rule": "RFC 5922 §7.2",
        "found": "found\\u001b",
        "expected": "expected",
    }


def test_names_are_shown_as_they_are_presented() -> None:
    """Also if there are none, and if they are broken: nothing is raised."""
    assert shown_names(show(LEAF)) == ["sip:contoso.com", "DNS:sip.contoso.com"]
    assert shown_names(show()) == []
    (broken,) = shown_names(show(UNREADABLE))
    assert broken.startswith("names that cannot be decoded (")
    assert broken.isprintable()


def test_a_certificate_is_told_from_others() -> None:
    der = LEAF.certificate.public_bytes(Encoding.DER)
    assert certificate_dict(LEAF.certificate) == {
        "description": describe(LEAF.certificate),
        "serial": f"{LEAF.certificate.serial_number:x}",
        "sha256": hashlib.sha256(der).hexdigest(),
        "not_before": "2029-06-01T12:00:00+00:00",
        "not_after": "2031-06-01T12:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (None, None),
        (
            ReferenceIdentity("contoso.com", "sip.contoso.com"),
            {"domain": "contoso.com", "host": "sip.contoso.com", "address": None},
        ),
        (
            ReferenceIdentity.for_address("192.0.2.1"),
            {"domain": None, "host": None, "address": "192.0.2.1"},
        ),
    ],
)
@pytest.mark.parametrize("address", [None, ("192.0.2.7", 5061)])
def test_evidence_is_who_when_and_what(
    reference: ReferenceIdentity | None,
    expected: dict[str, str | None] | None,
    address: tuple[str, int] | None,
) -> None:
    evidence = Evidence(
        [LEAF.certificate, CA.certificate],
        Role.SERVER,
        now=NOW,
        reference=reference,
        address=address,
    )
    data = evidence_dict(evidence)
    assert data == {
        "role": "server",
        "now": "2030-06-01T12:00:00+00:00",
        "address": None if address is None else ["192.0.2.7", 5061],
        "expected": expected,
        "presented": ["sip:contoso.com", "DNS:sip.contoso.com"],
        "chain": [certificate_dict(one.certificate) for one in (LEAF, CA)],
    }
    assert json.loads(json.dumps(data)) == data
