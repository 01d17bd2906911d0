"""What is waited for on a connection, and until when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from siptls import (
    ClientConnection,
    ConfigurationError,
    ConnectionClosedError,
    Enterprise,
    FramingError,
    HandshakeTimeout,
    Limits,
    ServerConnection,
    SIPTLSError,
)
from siptls.testing import CertificateAuthority, connected
from siptls.wire.deadlines import Deadlines, check_keep_alive

START = 1000.0
LIMITS = Limits(
    handshake_timeout=1,
    first_message_timeout=20,
    message_timeout=3,
    pong_timeout=4,
    idle_timeout=50,
    close_timeout=2,
)


def deadlines(
    *,
    accepted: bool = True,
    limits: Limits = LIMITS,
    keep_alive: float | None = None,
    random: Callable[[], float] = lambda: 0.5,
    awaits_message: bool = False,
) -> Deadlines:
    made = Deadlines(
        limits, START, keep_alive=keep_alive, random=random, awaits_message=awaits_message
    )
    if accepted:
        made.accepted(START)
    return made


def over_at(what: Deadlines, after: float) -> SIPTLSError:
    """Give the error of a deadline, which comes then and not before, and is the next."""
    assert what.next == START + after
    assert what.overdue(START + after - 0.001) is None
    error = what.overdue(START + after)
    assert error is not None
    return error


def test_a_handshake_has_its_time() -> None:
    assert isinstance(over_at(deadlines(accepted=False), 1), HandshakeTimeout)


def test_whoever_connects_to_us_has_something_to_say() -> None:
    server = deadlines(awaits_message=True)
    assert "first_message_timeout" in str(over_at(server, 20))
    server.heard(START + 19)
    assert "idle_timeout" in str(over_at(server, 19 + 50))


def test_a_server_need_not_speak_first() -> None:
    assert "nothing has come for 50 s" in str(over_at(deadlines(), 50))


def test_silence_may_be_allowed() -> None:
    patient = Limits(first_message_timeout=None, idle_timeout=None)
    for awaits_message in (False, True):
        quiet = deadlines(limits=patient, awaits_message=awaits_message)
        assert quiet.next is None
        assert quiet.overdue(START + 1e9) is None


def test_a_message_has_its_time_from_its_first_byte() -> None:
    slow = deadlines()
    slow.message_begun(START)
    slow.heard(START + 2)
    assert isinstance(over_at(slow, 3), FramingError)
    slow.message_ended()
    assert slow.next == START + 2 + 50


def test_the_oldest_ping_counts() -> None:
    pinged = deadlines()
    pinged.pinged(START, asked=True)
    pinged.pinged(START + 1, asked=False)
    assert "no pong within 4 s" in str(over_at(pinged, 4))
    assert pinged.ponged()
    assert isinstance(over_at(pinged, 5), ConnectionClosedError)
    assert not pinged.ponged()
    assert pinged.next == START + 50


def test_nothing_but_the_peers_part_is_waited_for_while_we_close() -> None:
    closing = deadlines(keep_alive=1)
    closing.message_begun(START)
    closing.pinged(START, asked=True)
    closing.closing(START)
    assert "did not close its side" in str(over_at(closing, 2))
    assert not closing.is_ping_due(START + 100)
    closing.resumed(START + 1)
    assert closing.next == START + 2


def test_whoever_did_not_read_gives_the_whole_time_again() -> None:
    """What has come while nobody read is not late."""
    paused = deadlines()
    paused.message_begun(START)
    paused.pinged(START, asked=True)
    paused.resumed(START + 100)
    assert paused.overdue(START + 100) is None
    assert isinstance(over_at(paused, 103), FramingError)
    paused.message_ended()
    assert "no pong" in str(over_at(paused, 104))
    assert paused.ponged()
    assert "nothing has come" in str(over_at(paused, 150))


def test_resuming_wins_no_time_for_a_handshake() -> None:
    young = deadlines(accepted=False)
    young.resumed(START + 0.5)
    assert young.next == START + 1


# ---------------------------------------------------------------- keep-alives


@pytest.mark.parametrize(("part", "after"), [(0.0, 96.0), (0.5, 108.0), (1.0, 120.0)])
def test_a_ping_is_due_at_a_random_point_of_the_last_fifth(part: float, after: float) -> None:
    """RFC 5626 §4.4.1: between 80 and 100 percent of the interval."""
    alive = deadlines(keep_alive=120, random=lambda: part, limits=Limits())
    assert alive.next == START + after
    assert not alive.is_ping_due(START + after - 0.001)
    assert alive.is_ping_due(START + after)
    assert not alive.is_ping_due(START + after)
    assert alive.next == START + 2 * after


@pytest.mark.parametrize("seconds", [0, -1, "120", True, float("nan")])
def test_what_is_no_interval_is_told(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="keep_alive= is the longest time between two"):
        check_keep_alive(seconds)


CA = CertificateAuthority("Contoso CA", seed="deadlines")
OURS = CA.issue("sip:contoso.com")
POLICY = Enterprise(["contoso.com"], CA.authority())


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def test_a_connection_pings_by_itself_and_tells_nobody_of_the_pong(tls_version: str) -> None:
    """A pong that the application has not asked for is no answer to one that it will."""
    clock = Clock()
    client, server = connected(
        ClientConnection(
            POLICY, "contoso.com", credential=OURS, timer=clock, keep_alive=10, random=lambda: 1.0
        ),
        ServerConnection(OURS, POLICY, timer=clock),
    )
    client.events()
    server.events()
    assert client.deadline == START + 10
    clock.now += 10
    client.handle_deadline(clock.now)
    server.receive_data(client.data_to_send())
    assert [type(event).__name__ for event in server.events()] == ["Ping"]
    assert client.deadline == START + 20
    client.receive_data(server.data_to_send())
    assert client.events() == []
    assert client.closed is None
    clock.now += 10
    client.handle_deadline(clock.now)
    clock.now += 10
    client.handle_deadline(clock.now)
    assert "no pong within 10 s" in str(client.closed)


def test_no_ping_goes_out_after_the_end() -> None:
    clock = Clock()
    client, _ = connected(
        ClientConnection(POLICY, "contoso.com", credential=OURS, timer=clock, keep_alive=10),
        ServerConnection(OURS, POLICY, timer=clock),
    )
    client.receive_eof()
    client.data_to_send()
    client.handle_deadline(START + 100)
    assert client.data_to_send() == b""
    assert client.deadline is None
