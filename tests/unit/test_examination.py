"""siptls.cli.examination: what was found, and when two sides trust each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from examinations import ENTERPRISE, OK, TLS12, TLS13, VALID, examination, judged, trusted, visit

from siptls import (
    Alert,
    ConnectionClosedError,
    FramingError,
    HandshakeTimeout,
    PeerRefusedError,
    RefusedByPeerError,
    SIPTLSError,
    TLSInfo,
    TrustLostError,
)
from siptls.cli.examination import Reply, Step
from siptls.testing import CertificateAuthority

GOOD = judged("sip:contoso.com")
BAD = judged("sip:eu.contoso.com")
CLOSED = ConnectionClosedError("the peer closed", orderly=True)


@pytest.mark.parametrize(
    ("error", "tls", "reply", "is_trusted"),
    [
        (None, TLS13, OK, True),
        (None, TLS12, OK, True),
        (None, TLS12, None, True),
        (None, TLS13, None, True),  # it may not have accepted us, which is said
        (CLOSED, TLS12, None, True),
        (CLOSED, TLS13, None, False),
        (RefusedByPeerError(Alert(48)), TLS13, None, False),
        (RefusedByPeerError(Alert(48)), TLS12, None, False),
        (FramingError("no SIP"), TLS12, None, False),
        (TrustLostError(BAD.decision), TLS12, None, False),
        (HandshakeTimeout("late"), None, None, False),
    ],
)
def test_whom_we_believe_is_trusted_unless_it_may_have_refused_us(
    error: SIPTLSError | None, tls: TLSInfo | None, reply: Reply | None, is_trusted: bool
) -> None:
    assert visit(error, tls=tls, reply=reply, judged=GOOD).is_trusted is is_trusted
    assert not visit(error, tls=tls, reply=reply, judged=BAD).is_trusted
    assert not visit(error, tls=tls, reply=reply, judged=None).is_trusted


def test_only_an_answer_proves_in_tls_1_3_that_the_peer_takes_us() -> None:
    assert trusted().proves_us
    assert not trusted(reply=None).proves_us
    assert trusted(reply=None, tls=TLS12).proves_us
    assert not visit(judged=GOOD).proves_us


def test_the_text_of_a_step_is_bounded_and_in_one_line() -> None:
    assert Step("connect", 1.0, "connected").text == "connected"
    error = ConnectionClosedError("\x1b[2J\r\n" + "x" * 9000)
    assert Step("connect", 1.0, error=error).text.isprintable()
    assert len(Step("connect", 1.0, error=error).text) < 2100
    assert Step("handshake", 1.0, error=PeerRefusedError(BAD.decision)).text == (
        "we refuse it: name.mismatch"
    )
    assert Step("options", 1.0, error=RefusedByPeerError(Alert(116))).text == (
        "it refuses us with TLS alert 116 certificate_required"
    )


def test_where_it_was_is_told_with_the_host() -> None:
    assert visit().where == "192.0.2.1 port 5061 (sip1.contoso.com)"


def test_a_reply_is_one_printable_line() -> None:
    assert str(Reply(200, "SIP/2.0 200 \x1b[2J\udcff")) == r"SIP/2.0 200 \u001b[2J\udcff"
    assert len(str(Reply(200, "SIP/2.0 200 " + "x" * 5000))) < 250


def test_our_certificates_are_told() -> None:
    ours = CertificateAuthority("Fabrikam CA", **VALID).issue("sip:fabrikam.com", **VALID)
    [facts] = examination(credential=ours).ours
    assert facts.certificate == ours.chain[0]
    assert examination().ours == ()


@pytest.mark.parametrize(
    "found",
    [
        trusted(),
        visit(RefusedByPeerError(Alert(116)), tls=TLS13, judged=GOOD),
        visit(PeerRefusedError(BAD.decision), last="handshake", judged=BAD),
        visit(CLOSED, last="connect"),
    ],
)
def test_as_plain_data_it_is_json(found: Any) -> None:
    told = json.loads(json.dumps(examination([found]).to_dict()))
    assert told["visits"][0]["address"] == "192.0.2.1"
    alert = told["visits"][0]["alert"]
    assert alert is None or alert["name"] == "certificate_required"
    assert ENTERPRISE.evaluate(GOOD.evidence).accepted  # type: ignore[arg-type]
