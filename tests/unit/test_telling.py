"""Telling: what strangers can have logged is bounded, and nothing is kept from the application."""

from __future__ import annotations

import json
import logging

import pytest
from impostors import CONTOSO, STRANGER

from siptls import (
    Alert,
    ConnectionClosedError,
    Decision,
    Enterprise,
    FramingError,
    Peer,
    ReferenceIdentity,
    RefusedByPeerError,
    Role,
    Trust,
)
from siptls.metrics import Metrics
from siptls.testing import evidence
from siptls.trust.believed import BelievedName
from siptls.trust.refusal import PeerRefusedError
from siptls.wire.measures import Measures
from siptls.wire.telling import Address, Teller, Whom, is_known

SHOWN = evidence(STRANGER.issue("sip:contoso.com"), role="client")
REFUSAL = Enterprise(["contoso.com"], CONTOSO.authority()).evaluate(SHOWN)
PLACE = ("192.0.2.1", 5061)
TIMEOUT = FramingError("it says nothing")


class Timer:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_ten_seconds_worth_is_logged_at_once_and_then_as_many_as_the_rate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    timer, told = Timer(), []

    def note(decision: Decision, address: Address | None) -> None:
        told.append((decision, address))

    teller = Teller(note, rate=2, timer=timer)
    for _ in range(50):
        teller.refused(REFUSAL, PLACE)
    assert [record.message for record in caplog.records] == [
        f"refused 192.0.2.1 port 5061: path.unknown-ca: {REFUSAL.reason}"
    ] * 20
    assert told == [(REFUSAL, PLACE)] * 50
    caplog.clear()
    timer.now += 1
    for _ in range(5):
        teller.ended(TIMEOUT, PLACE, known=False, accepted=False)
    assert [record.message for record in caplog.records] == [
        "30 lines about strangers were left out: Limits.log_rate is 2 in a second",
        *["the connection with 192.0.2.1 port 5061 is over: it says nothing"] * 2,
    ]
    caplog.clear()
    timer.now += 10**6
    for _ in range(30):
        teller.warn("turned away %s", "somebody")
    assert "3 lines about" in caplog.records[0].message
    assert len(caplog.records) == 21


def test_a_rate_below_one_line_in_ten_seconds_still_logs_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    timer = Timer()
    teller = Teller(rate=0.01, timer=timer)
    for _ in range(3):
        teller.warn("a line")
        timer.now += 60
    assert [record.message for record in caplog.records].count("a line") == 2


def test_whoever_has_proven_a_name_is_told_of_whatever_strangers_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    teller = Teller(rate=0.1, timer=Timer())
    for _ in range(5):
        teller.ended(TIMEOUT, PLACE, known=False, accepted=False)
    caplog.clear()
    teller.ended(TIMEOUT, PLACE, known=True, accepted=False)
    teller.refused(REFUSAL, PLACE, known=True)
    teller.warn("it is cut", known=True)
    assert len(caplog.records) == 3


def test_what_was_left_out_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    teller = Teller(rate=0.1, timer=Timer())
    for _ in range(5):
        teller.error("cannot accept")
    for _ in range(2):
        teller.sum_up()
    assert [record.message for record in caplog.records] == [
        "cannot accept",
        "4 lines about strangers were left out: Limits.log_rate is 0.1 in a second",
    ]


@pytest.mark.parametrize(
    ("trust", "known"),
    [
        (Trust.DISCOVERED, False),
        (Trust.PUBLIC, False),
        (Trust.FEDERATED, True),
        (Trust.ENTERPRISE, True),
    ],
)
def test_whoever_has_only_proven_a_name_is_a_stranger(trust: Trust, *, known: bool) -> None:
    """Anybody has a certificate of a public CA for a name of his own."""
    peer = Peer([BelievedName("contoso.com", trust=trust)], SHOWN.chain, SHOWN.now)
    assert is_known(peer) is known
    assert not is_known(None)


def test_what_is_not_logged_at_its_level_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    teller = Teller(rate=0.1, timer=Timer())
    with caplog.at_level(logging.ERROR, "siptls"):
        for _ in range(5):
            teller.refused(REFUSAL, PLACE)
    teller.refused(REFUSAL, PLACE)
    assert len(caplog.records) == 1


def test_an_ordinary_end_is_told_to_whoever_wants_to_hear_it_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """But not that of a connection that has never been one."""
    end = ConnectionClosedError("the peer has closed it")
    for accepted, lines in ((True, 5), (False, 1)):
        teller = Teller(rate=0.1, timer=Timer())
        with caplog.at_level(logging.INFO, "siptls"):
            for _ in range(5):
                teller.ended(end, PLACE, known=False, accepted=accepted)
        assert len(caplog.records) == lines
        caplog.clear()


def test_a_refusal_is_not_told_twice(caplog: pytest.LogCaptureFixture) -> None:
    Teller().ended(PeerRefusedError(REFUSAL), PLACE, known=False, accepted=False)
    assert not caplog.records


def test_a_callback_that_fails_floods_no_log_either(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("ours")

    teller = Teller(broken, rate=1, timer=Timer())
    for _ in range(50):
        teller.refused(REFUSAL, PLACE)
    assert len(caplog.records) == 10
    assert sum("on_refused failed" in record.message for record in caplog.records) == 5


def test_without_a_rate_all_is_told(caplog: pytest.LogCaptureFixture) -> None:
    teller = Teller(timer=Timer())
    for _ in range(500):
        teller.warn("a line")
    assert len(caplog.records) == 500


# ---------------------------------------------------------------- what a record has beside its text


def fields(record: logging.LogRecord) -> dict[str, object]:
    """Those that say something."""
    found = {name: value for name, value in vars(record).items() if name.startswith("siptls_")}
    return {name.removeprefix("siptls_"): value for name, value in found.items() if value}


def test_a_refusal_has_the_code_and_what_was_presented(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "siptls"):
        Teller().refused(REFUSAL, PLACE)
    brief, whole = map(fields, caplog.records)
    assert brief == {
        "event": "peer_refused",
        "address": "192.0.2.1",
        "port": 5061,
        "role": "client",
        "presented": ["sip:contoso.com", "CN:contoso.com"],
        "code": "path.unknown-ca",
        "reason": REFUSAL.reason,
    }
    assert whole == {**brief, "decision": REFUSAL.to_dict()}
    assert json.loads(json.dumps(whole)) == whole


def test_a_refusal_of_a_peer_that_was_trusted_is_another_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Teller().refused(Decision.refuse("policy.error", "no evidence"), None, known=True)
    assert fields(caplog.records[0]) == {
        "event": "trust_lost",
        "code": "policy.error",
        "reason": "no evidence",
    }


def test_an_end_has_whom_it_was_with(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer(
        [BelievedName("contoso.com", host=True, trust=Trust.ENTERPRISE)], SHOWN.chain, SHOWN.now
    )
    whom = Whom(PLACE, Role.SERVER, peer, ReferenceIdentity.parse("sip:contoso.com"))
    Teller().ended(TIMEOUT, PLACE, known=True, accepted=True, whom=whom)
    assert fields(caplog.records[0]) == {
        "event": "connection_ended",
        "address": "192.0.2.1",
        "port": 5061,
        "role": "server",
        "expected": "contoso.com",
        "trust": "enterprise",
        "names": ["contoso.com"],
        "error": "FramingError",
    }


def test_a_handshake_that_fails_is_another_event(caplog: pytest.LogCaptureFixture) -> None:
    Teller().ended(RefusedByPeerError(Alert(48)), PLACE, known=False, accepted=False)
    found = fields(caplog.records[0])
    assert (found["event"], found["code"]) == ("handshake_failed", "unknown_ca")


def test_other_lines_have_an_event_too(caplog: pytest.LogCaptureFixture) -> None:
    teller = Teller(rate=0.1, timer=Timer())
    teller.warn("it is cut", known=True, event="connection_cut", whom=Whom(PLACE, Role.CLIENT))
    Teller().lost("lost a connection from %s: %s", PLACE, OSError("no"))
    Teller().error("no thread for %s", "it", address=PLACE)
    teller.refused(REFUSAL, PLACE)
    teller.refused(REFUSAL, PLACE)
    teller.sum_up()
    events = [record.siptls_event for record in caplog.records]  # type: ignore[attr-defined]
    assert events == [
        "connection_cut",
        "connection_lost",
        "accept_failed",
        "peer_refused",
        "lines_left_out",
    ]
    assert fields(caplog.records[-1])["left_out"] == 1
    assert all(record.siptls_address == "192.0.2.1" for record in caplog.records[:4])  # type: ignore[attr-defined]


def test_a_limit_is_counted_each_time_and_told_as_often_as_may_be(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    teller = Teller(rate=0.1, timer=Timer(), measures=Measures(metrics))
    for _ in range(5):
        teller.limit_reached("%s is full", "it", limit="max_per_address", address=PLACE)
    assert metrics.total("siptls_limits_reached_total", limit="max_per_address") == 5
    (record,) = caplog.records
    assert fields(record)["limit"] == "max_per_address"
    assert record.message == "it is full"


# ---------------------------------------------------------------- health checks


def test_a_client_that_has_sent_nothing_is_told_to_whoever_debugs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A load balancer opens and closes a connection every few seconds."""
    end = ConnectionClosedError("the peer closed the connection during the TLS handshake")
    with caplog.at_level(logging.DEBUG, "siptls"):
        Teller().ended(end, PLACE, known=False, accepted=False, silent=True)
        Teller().ended(end, PLACE, known=False, accepted=False)
        Teller().ended(TIMEOUT, PLACE, known=False, accepted=False, silent=True)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["DEBUG", "INFO", "WARNING"]
