"""The errors that carry a decision: what they are, what they tell, and that they can be sent."""

from __future__ import annotations

import copy
import pickle
import ssl

import pytest

from siptls.errors import ConnectionClosedError, HandshakeError
from siptls.trust.codes import Code
from siptls.trust.decision import Decision
from siptls.trust.refusal import PeerRefusedError, TrustLostError


def test_the_error_carries_the_decision_and_is_what_ssl_users_expect() -> None:
    decision = Decision.refuse(Code.NAME_MISMATCH, "expected contoso.com")
    error = PeerRefusedError(decision)
    assert error.decision is decision
    assert isinstance(error, HandshakeError)
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert str(error) == f"name.mismatch: expected contoso.com; {Code.NAME_MISMATCH.advice}"


def test_the_error_of_a_users_own_code_has_no_advice() -> None:
    assert str(PeerRefusedError(Decision.refuse("mine", "closed"))) == "mine: closed"


def test_the_error_can_be_copied_and_sent_to_another_process() -> None:
    error = PeerRefusedError(Decision.refuse(Code.PATH_LIMIT, "too long"))
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert twin.decision == error.decision
        assert str(twin) == str(error)


def test_a_lost_trust_is_told_with_its_decision() -> None:
    decision = Decision.refuse(Code.PATH_EXPIRED, "it is over")
    error = TrustLostError(decision)
    assert "trusted no more" in str(error)
    assert str(error).endswith("path.expired: it is over")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is TrustLostError
        assert twin.decision == decision
        assert str(twin) == str(error)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.ACCEPTED])
def test_the_text_of_our_own_refusal_ends_with_its_advice(code: Code) -> None:
    error = PeerRefusedError(Decision.refuse(code, "so it is"))
    assert str(error) == f"{code}: so it is; {code.advice}"


def test_our_own_refusal_is_caught_as_a_failed_verification() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"path\.expired: it is over"):
        raise PeerRefusedError(Decision.refuse(Code.PATH_EXPIRED, "it is over"))


def test_a_lost_trust_is_a_connection_that_was_closed_and_no_handshake() -> None:
    error = TrustLostError(Decision.refuse(Code.PATH_REVOKED, "taken back"))
    assert isinstance(error, ConnectionClosedError)
    assert not isinstance(error, HandshakeError)
    assert error.orderly is False
    assert error.decision.code == Code.PATH_REVOKED
