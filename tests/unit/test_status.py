"""Status: what is said about a certificate, and how long that holds."""

from __future__ import annotations

import pytest
from certificates import NOW
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from siptls.trust.status import Answer, Status, is_strong, revoked

HOLD = x509.ReasonFlags.certificate_hold
STOLEN = x509.ReasonFlags.key_compromise


@pytest.mark.parametrize(
    ("reason", "stale", "status", "told"),
    [
        (None, False, Status.REVOKED, "(no reason is told), says a CRL"),
        (STOLEN, False, Status.REVOKED, "(keyCompromise), says a CRL"),
        (STOLEN, True, Status.REVOKED, "(keyCompromise), says a CRL"),
        (None, True, Status.REVOKED, "(no reason is told), says a CRL"),
        (HOLD, False, Status.REVOKED, "(certificateHold), says a CRL"),
        (HOLD, True, Status.UNKNOWN, "a CRL is stale, and tells of a hold that may be over"),
    ],
)
def test_a_revocation_does_not_lapse_unless_it_is_a_hold(
    reason: x509.ReasonFlags | None, stale: bool, status: Status, told: str
) -> None:
    answer = revoked("a CRL", NOW, reason, stale=stale)
    assert answer == Answer(status, answer.told)
    assert told in answer.told
    if status is Status.REVOKED:
        assert answer.told.startswith(f"was revoked at {NOW.isoformat()}")


@pytest.mark.parametrize(
    ("algorithm", "strong"),
    [
        (hashes.SHA256(), True),
        (hashes.SHA384(), True),
        (hashes.SHA512(), True),
        (hashes.SHA1(), False),
        (hashes.MD5(), False),
        (None, False),
    ],
)
def test_which_hashes_prove_anything(algorithm: hashes.HashAlgorithm | None, strong: bool) -> None:
    assert is_strong(algorithm) is strong
