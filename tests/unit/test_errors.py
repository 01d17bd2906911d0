"""The tree of errors, the names of TLS alerts, and what an operator reads of them."""

from __future__ import annotations

import copy
import pickle
import ssl
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import siptls
from siptls import errors
from siptls.errors import (
    Alert,
    Attempt,
    CertificateError,
    ConfigurationError,
    ConnectionClosedError,
    FramingError,
    HandshakeError,
    HandshakeTimeout,
    LimitError,
    OperationTimeout,
    RefusedByPeerError,
    ResolutionError,
    SIPTLSError,
)
from siptls.trust.refusal import PeerRefusedError, TrustLostError

# ---------------------------------------------------------------- the tree

TREE = [
    (SIPTLSError, (Exception,)),
    (ConfigurationError, (SIPTLSError, ValueError)),
    (CertificateError, (SIPTLSError,)),
    (FramingError, (SIPTLSError,)),
    (HandshakeError, (SIPTLSError,)),
    (PeerRefusedError, (HandshakeError, ssl.SSLCertVerificationError)),
    (TrustLostError, (ConnectionClosedError,)),
    (RefusedByPeerError, (HandshakeError,)),
    (HandshakeTimeout, (HandshakeError, TimeoutError)),
    (ResolutionError, (SIPTLSError,)),
    (ConnectionClosedError, (SIPTLSError, ConnectionError)),
    (LimitError, (SIPTLSError,)),
    (OperationTimeout, (SIPTLSError, TimeoutError)),
]


@pytest.mark.parametrize(("error", "bases"), TREE)
def test_each_error_stands_in_its_place(
    error: type[Exception], bases: tuple[type[Exception], ...]
) -> None:
    assert error.__bases__ == bases


def test_every_public_error_is_in_the_tree() -> None:
    """Whoever catches SIPTLSError catches all that siptls raises on purpose."""
    public = {getattr(siptls, name) for name in siptls.__all__}
    raised = {c for c in public if isinstance(c, type) and issubclass(c, BaseException)}
    assert raised == {error for error, _ in TREE}


@pytest.mark.parametrize("error", [error for error, _ in TREE])
def test_the_module_tells_of_every_error(error: type[Exception]) -> None:
    assert errors.__doc__ is not None
    assert error.__name__ in errors.__doc__


@pytest.mark.parametrize(
    ("error", "others"),
    [
        (CertificateError, (ValueError, OSError)),
        (FramingError, (ValueError, OSError)),
        (RefusedByPeerError, (OSError,)),
        (ConnectionClosedError, (TimeoutError, HandshakeError)),
        (HandshakeTimeout, (ConnectionError,)),
    ],
)
def test_no_error_is_what_it_is_not(
    error: type[Exception], others: tuple[type[Exception], ...]
) -> None:
    """An ``except`` for another kind of trouble must not swallow it."""
    assert not issubclass(error, others)


# ---------------------------------------------------------------- attempts


def test_an_error_has_no_attempts_unless_it_was_given_some() -> None:
    """What one error is given, no other has."""
    tried = Attempt(("192.0.2.1", 5061), "sip.contoso.com", TimeoutError("late"))
    error = HandshakeError("no address answered")
    error.attempts = [tried]
    assert list(error.attempts) == [tried]
    assert list(HandshakeError("another").attempts) == []
    assert list(SIPTLSError.attempts) == []


def test_an_attempt_is_a_value() -> None:
    error = TimeoutError("late")
    attempt = Attempt(("192.0.2.1", 5061), None, error)
    assert attempt == Attempt(("192.0.2.1", 5061), None, error)
    assert attempt != Attempt(("192.0.2.1", 5060), None, error)
    with pytest.raises(AttributeError):
        attempt.host = "contoso.com"  # type: ignore[misc]


# ---------------------------------------------------------------- a connection that is closed


@pytest.mark.parametrize("orderly", [True, False])
def test_a_closed_connection_tells_whether_it_was_orderly(orderly: bool) -> None:
    error = ConnectionClosedError("the peer closed", orderly=orderly)
    assert error.orderly is orderly
    assert str(error) == "the peer closed"


def test_a_closed_connection_was_cut_off_unless_told_otherwise() -> None:
    assert ConnectionClosedError("gone").orderly is False


def test_a_handshake_timeout_is_caught_as_a_timeout() -> None:
    with pytest.raises(TimeoutError, match=r"^no answer in 10 s$"):
        raise HandshakeTimeout("no answer in 10 s")


# ---------------------------------------------------------------- alerts

KNOWN = [  # RFC 8446 §6 and, where TLS 1.3 has dropped one, RFC 5246 §7.2
    (0, "close_notify"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (40, "handshake_failure"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (44, "certificate_revoked"),
    (45, "certificate_expired"),
    (46, "certificate_unknown"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (90, "user_canceled"),
    (100, "no_renegotiation"),
    (109, "missing_extension"),
    (110, "unsupported_extension"),
    (112, "unrecognized_name"),
    (113, "bad_certificate_status_response"),
    (115, "unknown_psk_identity"),
    (116, "certificate_required"),
    (120, "no_application_protocol"),
]


@pytest.mark.parametrize(("code", "name"), KNOWN)
def test_an_alert_has_the_name_that_the_rfc_gives_it(code: int, name: str) -> None:
    assert Alert(code).name == name
    assert str(Alert(code)) == f"{code} {name}"


@given(st.integers(0, 255))
def test_every_alert_has_a_name_and_can_be_told(code: int) -> None:
    """A number that no RFC knows still makes a sentence, with the number in it."""
    alert = Alert(code)
    assert alert.name
    assert str(alert).startswith(f"{code} ")
    assert str(alert) in str(RefusedByPeerError(alert))


@pytest.mark.parametrize("code", [1, 99, 200, 255])
def test_an_alert_that_no_rfc_knows_is_called_unknown(code: int) -> None:
    assert Alert(code).name == "unknown alert"
    assert Alert(code).advice == ""


def test_the_alerts_about_our_certificate_tell_what_to_do() -> None:
    """These an operator can mend, so each says how."""
    for code in (40, 42, 43, 44, 45, 46, 48, 49, 116):
        assert Alert(code).advice, code
    assert "root" in Alert(48).advice
    assert "EKU lacks clientAuth" in Alert(43).advice
    assert "expired" in Alert(45).advice
    assert "credential" in Alert(116).advice


# ---------------------------------------------------------------- refused by the peer


@given(st.integers(0, 255))
def test_the_text_of_a_refusal_ends_with_its_advice(code: int) -> None:
    alert = Alert(code)
    text = str(RefusedByPeerError(alert))
    told = f"the peer refused the handshake with TLS alert {alert}"
    assert text == (f"{told}: {alert.advice}" if alert.advice else told)
    assert text.isprintable()


@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
def test_a_refusal_by_the_peer_is_copied_and_pickled_whole(
    again: Callable[[RefusedByPeerError], RefusedByPeerError],
) -> None:
    error = RefusedByPeerError(Alert(48), certificate_missing=True)
    error.attempts = (Attempt(("192.0.2.1", 5061), "sip.contoso.com", OSError()),)
    twin = again(error)
    assert type(twin) is RefusedByPeerError
    assert twin is not error
    assert twin.alert == Alert(48)
    assert twin.certificate_missing
    assert str(twin) == str(error)
    assert [attempt.host for attempt in twin.attempts] == ["sip.contoso.com"]


@pytest.mark.parametrize("orderly", [True, False])
def test_a_closed_connection_is_copied_and_pickled_whole(orderly: bool) -> None:
    error = ConnectionClosedError("gone", orderly=orderly)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.orderly) == ("gone", orderly)
