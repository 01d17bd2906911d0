"""siptls.wire.measures: each handshake is counted once, and what went up comes down."""

from __future__ import annotations

import errno
import gc
from collections.abc import Mapping
from typing import Any

import federated
import pytest
from impostors import CONTOSO, FABRIKAM, STRANGER
from sip import request

from siptls import (
    Alert,
    ClientConnection,
    Combinable,
    ConnectionClosedError,
    Decision,
    Enterprise,
    Evidence,
    Federation,
    Limits,
    Partner,
    ResolutionError,
    ServerConnection,
    TrafficLimits,
)
from siptls.metrics import Failure, How, Metrics, Outcome
from siptls.testing import connected, exchange
from siptls.wire.measures import Measures, as_measures

OURS = CONTOSO.issue("sip:contoso.com")
THEIRS = FABRIKAM.issue("sip:fabrikam.com")
ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())
POLICY = ENTERPRISE | Federation([Partner(["fabrikam.com"], FABRIKAM.authority())])
HANDSHAKES = "siptls_handshakes_total"
OPEN, ENDED = "siptls_connections", "siptls_connections_ended_total"
MESSAGES = "siptls_messages_total"


class Pair:
    """A client and a server, in memory, each with its metrics; their time stands still."""

    def __init__(self, credential: Any = OURS, **options: Any) -> None:
        self.now = 1000.0
        self.ours, self.theirs = Metrics(), Metrics()
        mutual = options.pop("mutual", True)
        expected = options.pop("expected", "contoso.com")
        self.client = ClientConnection(
            POLICY, expected, credential=credential, timer=self.time, metrics=self.theirs, **options
        )
        self.server = ServerConnection(
            OURS, POLICY, mutual=mutual, timer=self.time, metrics=self.ours, **options
        )

    def time(self) -> float:
        return self.now

    def connect(self) -> Pair:
        connected(self.client, self.server)
        return self

    def exchange(self) -> None:
        exchange(self.client, self.server)


def handshakes(metrics: Metrics) -> list[dict[str, str]]:
    """All that were counted, as labels; each was counted once."""
    samples = [one for one in metrics.snapshot() if one.metric.name == HANDSHAKES]
    assert [one.value for one in samples] == [1] * len(samples)
    assert metrics.total("siptls_handshake_duration_seconds") == len(samples)
    return [dict(one.labels) for one in samples]


def ends(metrics: Metrics) -> list[tuple[str, str, str, str]]:
    return [
        (*one.labels.values(),)  # type: ignore[misc]  # there are four
        for one in metrics.snapshot()
        if one.metric.name == ENDED
    ]


def is_balanced(metrics: Metrics) -> bool:
    accepted = metrics.total(HANDSHAKES, outcome="accepted")
    return accepted == metrics.total(ENDED) + metrics.total(OPEN)


# ---------------------------------------------------------------- handshakes


@pytest.mark.usefixtures("tls_version")
@pytest.mark.parametrize(("credential", "trust"), [(OURS, "enterprise"), (THEIRS, "federated")])
def test_an_accepted_peer_is_counted_on_both_sides(credential: Any, trust: str) -> None:
    pair = Pair(credential).connect()
    assert handshakes(pair.ours) == [
        {
            "outcome": "accepted",
            "code": "accepted",
            "role": "client",
            "trust": trust,
            "resumed": "no",
        }
    ]
    assert handshakes(pair.theirs) == [
        {
            "outcome": "accepted",
            "code": "accepted",
            "role": "server",
            "trust": "enterprise",
            "resumed": "no",
        }
    ]
    for metrics in (pair.ours, pair.theirs):
        assert metrics.total(OPEN) == 1
        assert metrics.total(ENDED) == 0


def test_a_client_that_nobody_judges_has_no_trust() -> None:
    pair = Pair(None, mutual=False).connect()
    assert pair.ours.total(HANDSHAKES, outcome="accepted", trust="none") == 1
    assert pair.ours.total(OPEN, trust="none") == 1


def test_a_refused_client_is_counted_with_its_code(tls_version: str) -> None:
    """With TLS 1.3 it learns after its own handshake that it is refused: that is an end."""
    pair = Pair(STRANGER.issue("sip:contoso.com")).connect()
    assert handshakes(pair.ours) == [
        {
            "outcome": "refused",
            "code": "path.unknown-ca",
            "role": "client",
            "trust": "none",
            "resumed": "no",
        }
    ]
    assert pair.ours.total(OPEN) == pair.ours.total(ENDED) == 0
    (mine,) = handshakes(pair.theirs)
    if tls_version == "TLSv1.2":
        assert (mine["outcome"], mine["code"]) == ("refused_by_peer", "unknown_ca")
        assert ends(pair.theirs) == []
    else:
        assert mine["outcome"] == "accepted"
        assert ends(pair.theirs) == [("refused_by_peer", "unknown_ca", "server", "enterprise")]
    assert is_balanced(pair.theirs)


@pytest.mark.usefixtures("tls_version")
def test_a_refused_server_is_counted_with_its_code() -> None:
    pair = Pair(expected="fabrikam.com").connect()
    (mine,) = handshakes(pair.theirs)
    assert (mine["outcome"], mine["code"], mine["role"]) == ("refused", "name.mismatch", "server")
    (its,) = handshakes(pair.ours)
    assert (its["outcome"], its["code"]) == ("refused_by_peer", "certificate_unknown")


def test_a_handshake_that_takes_too_long_is_a_timeout() -> None:
    pair = Pair(limits=Limits(handshake_timeout=4))
    pair.now += 4
    for side, metrics in ((pair.client, pair.theirs), (pair.server, pair.ours)):
        side.handle_deadline(pair.now)
        side.receive_eof()
        (one,) = handshakes(metrics)
        assert (one["outcome"], one["code"]) == ("timeout", "none")
    (sample,) = (
        one for one in pair.ours.snapshot() if one.metric.name.endswith("duration_seconds")
    )
    assert getattr(sample.value, "sum", None) == 4


def test_a_handshake_that_the_peer_breaks_off_is_closed_by_it() -> None:
    pair = Pair()
    pair.server.receive_eof()
    pair.server.receive_eof(OSError(errno.ECONNRESET, "reset"))
    assert handshakes(pair.ours)[0]["code"] == "by_peer"
    assert pair.ours.total(HANDSHAKES, outcome="closed") == 1


def test_a_handshake_that_we_break_off_is_closed_by_us() -> None:
    pair = Pair()
    pair.server.close()
    pair.server.receive_eof()
    assert pair.ours.total(HANDSHAKES, outcome="closed", code="by_us") == 1
    assert len(handshakes(pair.ours)) == 1


def test_what_is_no_tls_has_failed() -> None:
    pair = Pair()
    pair.server.receive_data(request())
    (one,) = handshakes(pair.ours)
    assert (one["outcome"], one["code"]) == ("failed", "not_tls")


def test_what_has_no_tls_of_ours_has_failed_with_the_alert_that_was_sent() -> None:
    pair = Pair()
    pair.server.receive_data(bytes.fromhex("1603010005010000010000"))
    (one,) = handshakes(pair.ours)
    assert one["outcome"] == "failed"
    record = pair.server.data_to_send()
    assert one["code"] == Alert(record[6]).name


def test_a_connection_that_never_began_is_not_counted() -> None:
    """Transports make one to see whether it can be made."""
    pair = Pair()
    del pair.client, pair.server
    gc.collect()
    assert pair.ours.snapshot() == pair.theirs.snapshot() == ()


# ---------------------------------------------------------------- ends


@pytest.mark.usefixtures("tls_version")
def test_an_end_in_order_says_who_has_closed() -> None:
    pair = Pair(THEIRS).connect()
    pair.client.close()
    pair.exchange()
    assert ends(pair.ours) == [("orderly", "by_peer", "client", "federated")]
    assert ends(pair.theirs) == [("orderly", "by_us", "server", "enterprise")]
    assert pair.ours.total(OPEN) == pair.theirs.total(OPEN) == 0


def test_a_peer_that_does_not_do_its_part_changes_nothing_in_that() -> None:
    pair = Pair().connect()
    pair.server.close()
    pair.now += 100
    pair.server.handle_deadline(pair.now)
    assert ends(pair.ours) == [("orderly", "by_us", "client", "enterprise")]


def test_an_end_without_close_notify_is_broken() -> None:
    pair = Pair().connect()
    pair.server.receive_eof()
    assert ends(pair.ours) == [("broken", "none", "client", "enterprise")]


def test_what_is_no_sip_is_framing() -> None:
    pair = Pair().connect()
    pair.client.send(b"GET / HTTP/1.1\r\n\r\n")
    pair.exchange()
    assert ends(pair.ours) == [("framing", "none", "client", "enterprise")]


@pytest.mark.parametrize("data", [b"", b"OPTIONS sip:contoso.com SIP/2.0\r\n"])
def test_silence_and_a_message_that_does_not_end_are_timeouts(data: bytes) -> None:
    pair = Pair(limits=Limits(first_message_timeout=20, message_timeout=20)).connect()
    if data:
        pair.client.send(data)
        pair.exchange()
    pair.now += 20
    pair.server.handle_deadline(pair.now)
    assert ends(pair.ours) == [("timeout", "none", "client", "enterprise")]


def test_a_peer_that_is_believed_no_more_is_counted_with_its_code() -> None:
    pair = Pair(THEIRS).connect()
    pair.server.update(ENTERPRISE)
    assert ends(pair.ours) == [("trust_lost", "path.unknown-ca", "client", "federated")]
    assert pair.ours.total(OPEN) == 0


def test_a_peer_that_is_not_admitted_is_refused_after_its_handshake() -> None:
    pair = Pair(THEIRS).connect()
    pair.server.refuse(Decision.refuse("partner.undiscovered", "DNS names no edge"))
    assert ends(pair.ours) == [("refused", "partner.undiscovered", "client", "federated")]
    assert is_balanced(pair.ours)


def test_a_peer_with_too_many_connections_is_a_refused_handshake() -> None:
    """It is refused before it is accepted, though its certificate was believed."""
    metrics = Metrics()
    limits = TrafficLimits(connections=1)
    traffic = federated.Traffic()
    for _ in range(2):
        client = ClientConnection(federated.HOME, "contoso.com", credential=federated.STRANGER)
        edge = ServerConnection(
            federated.OURS, federated.policy(limits), traffic=traffic, metrics=metrics
        )
        connected(client, edge)
    assert metrics.total(HANDSHAKES, outcome="accepted", trust="discovered") == 1
    assert metrics.total(HANDSHAKES, outcome="refused", code="partner.limit") == 1
    assert metrics.total(OPEN) == 1


# ---------------------------------------------------------------- messages


def test_messages_are_told_a_second_after_the_first_of_them() -> None:
    pair = Pair().connect()
    for number in range(3):
        pair.client.send(request(number=number))
    pair.exchange()
    assert pair.ours.total(MESSAGES) == 0
    assert pair.server.deadline == 1001.0
    pair.now = 1000.5
    pair.server.handle_deadline(pair.now)
    assert pair.ours.total(MESSAGES) == 0
    pair.now = 1001.0
    pair.server.handle_deadline(pair.now)
    pair.client.handle_deadline(pair.now)
    assert pair.ours.total(MESSAGES, direction="received", trust="enterprise") == 3
    assert pair.theirs.total(MESSAGES, direction="sent", role="server") == 3
    assert pair.server.deadline is not None
    assert pair.server.deadline > 1002


def test_or_with_the_next_one_if_nobody_looks_at_the_deadline() -> None:
    pair = Pair().connect()
    pair.client.send(request())
    pair.exchange()
    pair.now += 5
    pair.client.send(request(number=2))
    pair.exchange()
    assert pair.ours.total(MESSAGES, direction="received") == 2
    assert pair.theirs.total(MESSAGES, direction="sent") == 2


def test_or_when_the_connection_ends_and_pings_are_none() -> None:
    pair = Pair().connect()
    pair.client.send(request())
    pair.client.ping()
    pair.exchange()
    pair.client.close()
    pair.exchange()
    assert pair.ours.total(MESSAGES, direction="received") == 1
    assert pair.ours.total(MESSAGES, direction="sent") == 0


def test_what_is_held_back_is_counted() -> None:
    """Two at once, then ten each second."""
    metrics = Metrics()
    pair = federated.Pair()
    pair.edge = ServerConnection(
        federated.OURS, federated.policy(), timer=pair.time, metrics=metrics
    )
    pair.client = ClientConnection(
        federated.HOME, "contoso.com", credential=federated.STRANGER, timer=pair.time
    )
    connected(pair.client, pair.edge)
    pair.say(*map(federated.asked, range(6)))
    assert pair.numbers() == [0, 1]
    while pair.edge.holding:
        pair.wait()
    pair.edge.close()
    pair.edge.receive_eof()
    assert metrics.total("siptls_messages_held_back_total", trust="discovered") == 4
    assert metrics.total(MESSAGES, direction="received") == 6


def test_without_metrics_the_deadline_is_that_of_before() -> None:
    client = ClientConnection(POLICY, "contoso.com", credential=OURS, timer=lambda: 0.0)
    server = ServerConnection(OURS, POLICY, timer=lambda: 0.0)
    connected(client, server)
    client.send(request())
    exchange(client, server)
    assert client.deadline is not None
    assert client.deadline > 60


# ---------------------------------------------------------------- labels


class Inventive(Combinable):
    """A policy that makes a code of its own for each peer."""

    def __init__(self) -> None:
        self.asked = 0

    def evaluate(self, evidence: Evidence, /) -> Decision:
        self.asked += 1
        return Decision.refuse(f"no.{self.asked}", "for no reason")


def test_only_so_many_codes_of_the_applications_own_are_labels() -> None:
    metrics, policy = Metrics(), Inventive()
    shared = as_measures(metrics)  # as a transport holds it
    for _ in range(40):
        server = ServerConnection(OURS, policy, metrics=shared)
        connected(ClientConnection(POLICY, "contoso.com", credential=OURS), server)
    codes = {
        one["code"] for one in (sample.labels for sample in metrics.snapshot()) if "code" in one
    }
    assert codes == {*(f"no.{number}" for number in range(1, 33)), "other"}
    assert metrics.total(HANDSHAKES, outcome="refused") == 40
    assert Measures(metrics).code("x" * 65) == "other"
    assert Measures(metrics).code("path.expired") == "path.expired"


def test_whoever_has_the_same_recorder_shares_its_measures() -> None:
    metrics = Metrics()
    first = as_measures(metrics)
    assert as_measures(metrics) is first
    assert as_measures(first) is first
    assert as_measures(Metrics()) is not first
    assert as_measures(None) is None


def test_no_name_and_no_address_is_a_label() -> None:
    pair = Pair(STRANGER.issue("sip:contoso.com", "sip:evil.example")).connect()
    values = {value for one in pair.ours.snapshot() for value in one.labels.values()}
    known = {str(one) for one in (*Outcome, *How, *Failure)}
    assert values <= known | {"path.unknown-ca", "client", "none", "no"}


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.EMFILE, "other"),
        (None, "timeout"),
    ],
)
def test_an_address_that_does_not_connect_is_counted_by_why(
    number: int | None, reason: str
) -> None:
    metrics = Metrics()
    error = ConnectionClosedError("cannot connect")
    error.__cause__ = None if number is None else OSError(number, "no")
    Measures(metrics).not_connected(error)
    assert metrics.total("siptls_connect_failures_total", reason=reason) == 1


def test_so_is_a_name_without_an_address() -> None:
    metrics = Metrics()
    Measures(metrics).not_connected(ResolutionError("no such domain", negative=True))
    assert metrics.total("siptls_connect_failures_total", reason="resolution") == 1


# ---------------------------------------------------------------- what the application raises


class Broken:
    def count(self, name: str, amount: int, labels: Mapping[str, str]) -> None:
        raise RuntimeError("a full disk")

    change = observe = count


@pytest.mark.usefixtures("tls_version")
def test_a_recorder_that_fails_is_told_once_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Broken()
    mine = as_measures(recorder)  # as a transport holds it
    for _ in range(3):
        client = ClientConnection(POLICY, "contoso.com", credential=OURS, metrics=recorder)
        server = ServerConnection(OURS, POLICY, metrics=recorder)
        connected(client, server)
        client.send(request())
        exchange(client, server)
        assert len(server.events()) == 2
        client.close()
        exchange(client, server)
        assert server.closed is not None
    assert mine is not None
    told = [record for record in caplog.records if "metrics= failed" in record.message]
    assert len(told) == 1
    assert told[0].siptls_event == "callback_failed"  # type: ignore[attr-defined]
