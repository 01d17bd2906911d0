"""Plain data: what a certificate, a fault and evidence are as str, int, bool, None, list and dict.

The forms are stable, and documented in ``docs/reference/decision-schema.md``.
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.trust.evidence import Evidence
from siptls.trust.fault import Fault, describe, serial_number, validity
from siptls.trust.names import printable

__all__ = ["as_line", "certificate_dict", "evidence_dict", "fault_dict", "shown_names"]

# Characters of a reason or a note. Ours are shorter; a user's policy may say more.
_MAX_LINE = 2000


def as_line(text: str) -> str:
    """Take text for logs: an exception's words may hold what a peer sent."""
    return printable(str(text), _MAX_LINE)


def fault_dict(fault: Fault) -> dict[str, str]:
    """Give a fault."""
    return {
        "about": as_line(fault.about),
        "rule": as_line(fault.rule),
        "found": as_line(fault.found),
        "expected": as_line(fault.expected),
    }


def shown_names(evidence: Evidence) -> list[str]:
    """Give the names that the leaf presents, as text; what stands there if they are broken."""
    try:
        return [str(name) for name in evidence.presented.names]
    except ValueError as error:
        return [f"names that cannot be decoded ({printable(str(error))})"]


def certificate_dict(certificate: x509.Certificate) -> dict[str, Any]:
    """Give a certificate: what tells it from others, not all of it."""
    begin, end = validity(certificate) or (None, None)
    return {
        "description": describe(certificate),
        "serial": f"{serial_number(certificate):x}",
        "sha256": hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        "not_before": None if begin is None else begin.isoformat(),
        "not_after": None if end is None else end.isoformat(),
    }


def evidence_dict(evidence: Evidence) -> dict[str, Any]:
    """Give evidence as plain data."""
    reference = evidence.reference
    return {
        "role": str(evidence.role),
        "now": evidence.now.isoformat(),
        "address": None if evidence.address is None else list(evidence.address),
        "expected": None
        if reference is None
        else {
            "domain": reference.domain or None,
            "host": reference.host,
            "address": reference.address,
        },
        "presented": shown_names(evidence),
        "chain": [certificate_dict(certificate) for certificate in evidence.chain],
    }
