"""siptls.cli.conclusion: the last line, from what was found."""

from __future__ import annotations

import datetime as dt

import pytest
from certificates import NOW
from examinations import (
    CONTOSO,
    ENTERPRISE,
    OK,
    TLS12,
    TLS13,
    VALID,
    examination,
    judged,
    trusted,
    visit,
)

from siptls import (
    Alert,
    ConnectionClosedError,
    Credential,
    Evidence,
    FramingError,
    HandshakeError,
    HandshakeTimeout,
    PeerRefusedError,
    RefusedByPeerError,
    ResolutionError,
    Role,
    TrustLostError,
)
from siptls.cli.conclusion import BY_PEER, NETWORK, conclude, conclude_judged
from siptls.cli.examination import Step, Visit
from siptls.cli.exits import Exit
from siptls.cli.judged import Judged
from siptls.testing import CertificateAuthority

DAY = dt.timedelta(days=1)
GOOD = judged("sip:contoso.com")
BAD = judged("sip:eu.contoso.com")
SELF = CertificateAuthority("contoso.com", seed="conclusion", **VALID)
OURS = {
    "good": CONTOSO.issue("sip:contoso.com", **VALID),
    "server-only": CONTOSO.issue("sip:contoso.com", purposes=["serverAuth"], **VALID),
    "any-purpose": CONTOSO.issue("sip:contoso.com", purposes=["any"], **VALID),
    "no-eku": CONTOSO.issue("sip:contoso.com", purposes=None, **VALID),
    "expired": CONTOSO.issue("sip:contoso.com", not_before=NOW - 9 * DAY, not_after=NOW - DAY),
    "early": CONTOSO.issue("sip:contoso.com", not_before=NOW + DAY, not_after=NOW + 9 * DAY),
    "self": SELF.issue("sip:contoso.com", common_name="contoso.com", key=SELF.key, **VALID),
}


def refused_with(alert: int, judgement: Judged | None = GOOD, *, missing: bool = False) -> Visit:
    error = RefusedByPeerError(Alert(alert), certificate_missing=missing)
    return visit(error, tls=TLS13, judged=judgement)


@pytest.mark.parametrize(
    ("ours", "alert", "code", "told"),
    [
        ("good", 42, "certificate", "ask the peer's operator"),
        ("good", 43, "purpose", "most likely its EKU lacks clientAuth"),
        ("good", 44, "revoked", "our certificate is revoked"),
        ("good", 45, "expired", "our certificate has expired"),
        ("good", 46, "certificate", "the names in our certificate"),
        ("good", 48, "unknown-ca", "give the peer that CA's root"),
        ("good", 80, "certificate", "without saying why"),
        ("good", 200, "certificate", "ask its operator"),
        ("no-eku", 46, "certificate", "the names in our certificate"),
        ("any-purpose", 46, "certificate", "the names in our certificate"),
        ("server-only", 43, "purpose", "for serverAuth only, and not for clientAuth"),
        ("server-only", 46, "purpose", "for serverAuth only, and not for clientAuth"),
        ("server-only", 40, "purpose", "for serverAuth only, and not for clientAuth"),
        ("server-only", 48, "unknown-ca", "give the peer that CA's root"),
        ("expired", 42, "expired", "has expired on 2030-05-31; renew it"),
        ("expired", 45, "expired", "has expired on 2030-05-31; renew it"),
        ("expired", 44, "revoked", "our certificate is revoked"),
        ("early", 42, "not-yet-valid", "is not valid before 2030-06-02T12:00:00+00:00"),
        ("early", 45, "not-yet-valid", "is not valid before 2030-06-02T12:00:00+00:00"),
        ("self", 48, "self-signed", "is self-signed; get one from a CA that it trusts"),
        ("self", 42, "self-signed", "is self-signed; get one from a CA that it trusts"),
        (None, 116, "certificate-missing", "pass one with --credential"),
        (None, 40, "certificate-missing", "most likely it wants a client certificate"),
        (None, 48, "certificate-missing", "most likely it wants a client certificate"),
        (None, 70, "tls", "the peer has no TLS version of ours"),
    ],
)
def test_what_a_peer_dislikes_follows_from_its_alert_and_our_certificate(
    ours: str | None, alert: int, code: str, told: str
) -> None:
    credential: Credential | None = None if ours is None else OURS[ours]
    found = conclude(examination([refused_with(alert)], credential=credential))
    assert (found.exit, found.code) == (Exit.REFUSED, f"by-peer.{code}")
    assert code in BY_PEER
    assert told in found.line
    assert found.line.startswith(f"refused: by-peer.{code}: 192.0.2.1 port 5061 ")
    assert f"TLS alert {alert} " in found.line


def test_an_intermediate_of_ours_that_has_expired_is_named() -> None:
    issuing = CONTOSO.intermediate("Issuing CA", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    ours = issuing.issue("sip:contoso.com", **VALID)
    found = conclude(examination([refused_with(42)], credential=ours))
    assert found.code == "by-peer.expired"
    assert "CN=Issuing CA" in found.sentence


def test_who_refuses_before_it_has_shown_anything_does_not_mean_our_certificate() -> None:
    for ours in (None, OURS["expired"]):
        found = conclude(examination([refused_with(40, None)], credential=ours))
        assert found.code == "by-peer.tls"
        assert "no common TLS version or cipher" in found.sentence
        assert "credential" not in found.sentence
    assert conclude(examination([refused_with(112, None)])).line.endswith("; check the domain")


def test_who_has_asked_for_a_certificate_and_got_none_wants_one() -> None:
    for alert in (40, 42, 80):
        found = conclude(examination([refused_with(alert, missing=True)]))
        assert found.code == "by-peer.certificate-missing"
        assert "most likely" not in found.sentence


@pytest.mark.parametrize(
    ("ours", "code"),
    [(None, "closed"), ("good", "closed"), ("expired", "expired"), ("server-only", "purpose")],
)
def test_who_closes_without_an_alert_may_have_refused_us(ours: str | None, code: str) -> None:
    credential = None if ours is None else OURS[ours]
    closed = visit(ConnectionClosedError("the peer closed"), tls=TLS13, judged=GOOD)
    found = conclude(examination([closed], credential=credential))
    assert (found.exit, found.code) == (Exit.REFUSED, f"by-peer.{code}")


# ---------------------------------------------------------------- whom we judge


def test_whom_we_refuse_is_told_with_code_reason_and_advice() -> None:
    found = conclude(examination([visit(PeerRefusedError(BAD.decision), judged=BAD)]))
    assert (found.exit, found.code) == (Exit.REFUSED, "name.mismatch")
    assert found.line.startswith(f"refused: name.mismatch: {BAD.decision.reason}; connect to")
    assert found.line.endswith("; --connect chooses where to connect without changing whom")


def test_a_self_signed_certificate_is_called_so() -> None:
    one = judged(shown=OURS["self"])
    assert conclude_judged(one).line.startswith(
        "refused: path.unknown-ca: the certificate is self-signed: "
    )
    assert "intermediate" not in conclude_judged(one).line


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (trusted(), "; it answers OPTIONS with 200"),
        (trusted(tls=TLS12, reply=None), "; no answer to OPTIONS within 5 s"),
        (
            trusted(reply=None),
            "; no answer to OPTIONS within 5 s, and in TLS 1.3 nothing but an answer proves that it"
            " accepts us, too",
        ),
        (
            trusted(tls=TLS12, reply=None, error=ConnectionClosedError("closed")),
            "; it closed the connection without an answer to OPTIONS",
        ),
    ],
)
def test_whom_we_trust_is_told_with_what_it_answers(found: Visit, told: str) -> None:
    conclusion = conclude(examination([found]))
    assert (conclusion.exit, conclusion.code) == (Exit.TRUSTED, "accepted")
    assert conclusion.line == (
        "trusted: contoso.com is believed by the word of Contoso CA (enterprise), 10 days left"
        f"{told}"
    )


def test_who_was_not_asked_is_told_so() -> None:
    found = conclude(examination([trusted(reply=None, tls=TLS12)], asked=False))
    assert found.line.endswith("; OPTIONS was not sent")


@pytest.mark.parametrize(
    ("left", "told"), [(DAY, "1 day left"), (2 * DAY, "2 days left"), (DAY / 2, "less than a day")]
)
def test_the_days_that_are_left_are_told(left: dt.timedelta, told: str) -> None:
    assert told in conclude_judged(judged("sip:contoso.com", not_after=NOW + left)).line


def test_where_nobody_is_expected_all_believed_names_are_told() -> None:
    leaf = CONTOSO.issue("sip:contoso.com", "sip:eu.contoso.com", **VALID)
    seen = Evidence(leaf.chain, Role.CLIENT, now=NOW)
    found = conclude_judged(Judged.by(ENTERPRISE, ENTERPRISE.evaluate(seen), seen))
    assert found.line.startswith("trusted: contoso.com, eu.contoso.com is believed by the word of")


# ---------------------------------------------------------------- who is not reached


def late(text: str = "it did not answer") -> ConnectionClosedError:
    return ConnectionClosedError(text)


def unreachable(text: str = "cannot connect") -> ConnectionClosedError:
    error = ConnectionClosedError(text)
    error.__cause__ = ConnectionRefusedError()
    return error


@pytest.mark.parametrize(
    ("found", "code", "told"),
    [
        (visit(late(), last="connect"), "timeout", "it did not answer"),
        (visit(unreachable(), last="connect"), "unreachable", "cannot connect"),
        (visit(HandshakeTimeout("late"), last="handshake"), "timeout", "plain TCP"),
        (visit(late("gone"), last="handshake"), "closed", "plain TCP"),
        (visit(HandshakeError("bad record"), last="handshake"), "tls", "bad record"),
        (visit(FramingError("no length"), judged=GOOD, tls=TLS13), "not-sip", "no length"),
        (
            visit(HandshakeError("no TLS"), last="handshake", in_clear=b"SIP/2.0 400 \x1b\r\nVia"),
            "not-tls",
            r"it says 'SIP/2.0 400 \u001b'; connect to the port",
        ),
        (
            visit(HandshakeError("no TLS"), last="handshake", in_clear=b"<!DOCTYPE HTML>\n<html>"),
            "not-tls",
            "it says '<!DOCTYPE HTML>'; connect to the port",
        ),
    ],
)
def test_who_is_not_reached_is_told_with_the_kind_of_failure(
    found: Visit, code: str, told: str
) -> None:
    conclusion = conclude(examination([found]))
    assert (conclusion.exit, conclusion.code) == (Exit.NETWORK, code)
    assert code in NETWORK
    assert told in conclusion.line
    assert conclusion.line.startswith(f"network: {code}: ")
    assert conclusion.line.isprintable()


def test_a_name_without_address_is_told() -> None:
    step = Step("resolve", 0.1, error=ResolutionError("DNS has no address", negative=True))
    conclusion = conclude(examination(resolution=step))
    assert conclusion.line == "network: dns: DNS has no address"
    assert conclude(examination()).code == "dns"


def test_of_several_addresses_the_one_that_says_most_counts() -> None:
    """As `connect` would raise it; each is worth more than those after it."""
    order = [
        trusted(),
        visit(PeerRefusedError(BAD.decision), judged=BAD),
        refused_with(48),
        visit(HandshakeError("no TLS"), last="handshake", in_clear=b"SIP/2.0"),
        visit(FramingError("no SIP"), judged=GOOD, tls=TLS13),
        visit(HandshakeError("broken"), last="handshake"),
        visit(late("gone"), last="handshake"),
        visit(late(), last="connect"),
        visit(unreachable(), last="connect"),
    ]
    for place, best in enumerate(order):
        alone = conclude(examination([best]))
        both = conclude(examination([*reversed(order[place + 1 :]), best]))
        assert (both.exit, both.code) == (alone.exit, alone.code)


def test_how_many_others_have_failed_is_told() -> None:
    gone = [visit(unreachable(), last="connect", number=n) for n in (1, 2, 3)]
    assert conclude(examination(gone)).line.endswith("; 2 other addresses failed, too")
    assert conclude(examination(gone[:2])).line.endswith("; 1 other address failed, too")


def test_as_plain_data() -> None:
    assert conclude(examination([trusted(reply=OK)])).to_dict() == {
        "verdict": "trusted",
        "exit": 0,
        "code": "accepted",
        "sentence": "contoso.com is believed by the word of Contoso CA (enterprise), 10 days left;"
        " it answers OPTIONS with 200",
    }


def test_whom_we_trust_no_more_before_it_has_answered_is_refused_by_us() -> None:
    """It is not the peer that has closed."""
    lost = visit(TrustLostError(BAD.decision), tls=TLS13, judged=GOOD)
    found = conclude(examination([lost]))
    assert (found.exit, found.code) == (Exit.REFUSED, "name.mismatch")
    assert BAD.decision.reason in found.line
    assert "closed the connection" not in found.line
