"""When a connection that is to stay is opened again (RFC 5626 §4.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from siptls import (
    Attempt,
    Backoff,
    Code,
    ConfigurationError,
    ConnectionClosedError,
    Decision,
    KeepChange,
    KeepState,
    PeerRefusedError,
    SIPTLSError,
)
from siptls.transports.supervision import Supervision

REFUSAL = PeerRefusedError(Decision.refuse(Code.NAME_MISMATCH, "another name", by="test"))
GONE = ConnectionClosedError("gone")
HERE, THERE = ("192.0.2.1", 5061), ("192.0.2.2", 5061)


def supervision(random: Callable[[], float] = lambda: 1.0, **options: float) -> Supervision:
    return Supervision(Backoff(**options), random)


def failure(error: SIPTLSError, *attempts: Attempt) -> SIPTLSError:
    error.attempts = attempts
    return error


def refused(address: tuple[str, int]) -> Attempt:
    return Attempt(address, None, REFUSAL)


def gone(address: tuple[str, int]) -> Attempt:
    return Attempt(address, None, GONE)


def test_each_failure_doubles_the_time_up_to_the_longest() -> None:
    """The table of RFC 5626, Appendix A, for a set of flows of which none is left."""
    waiting = supervision()
    waits = [waiting.failed(failure(GONE, gone(HERE))).retry_in for _ in range(8)]
    assert waits == [60, 120, 240, 480, 960, 1800, 1800, 1800]


@pytest.mark.parametrize(("random", "wait"), [(0.0, 30.0), (0.5, 45.0), (1.0, 60.0)])
def test_the_time_is_a_random_one_of_the_upper_half(random: float, wait: float) -> None:
    change = supervision(lambda: random).failed(failure(GONE, gone(HERE)))
    assert (change.state, change.retry_in, change.error) == (KeepState.WAITING, wait, GONE)


def test_failures_without_end_are_no_overflow() -> None:
    waiting = supervision()
    for _ in range(5000):
        assert (waiting.failed(failure(GONE)).retry_in or 0) <= 1800


def test_a_connection_that_has_lived_is_opened_again_at_once() -> None:
    watching = supervision()
    watching.failed(failure(GONE))
    assert watching.connected(100.0, []).state is KeepState.UP
    assert watching.lost(130.0, GONE).retry_in == 0
    assert watching.failed(failure(GONE)).retry_in == 60


def test_one_that_ends_as_soon_as_it_is_there_has_failed() -> None:
    """Else a server that accepts and closes would be connected to as fast as can be."""
    watching = supervision()
    for wait in (60, 120, 240):
        watching.connected(100.0, [])
        assert watching.lost(129.9, GONE).retry_in == wait


def test_the_refused_are_remembered_until_something_changes() -> None:
    watching = supervision()
    change = watching.failed(failure(REFUSAL, refused(HERE), refused(THERE)))
    assert change.state is KeepState.REFUSED
    assert set(watching.refused) == {HERE, THERE}
    watching.changed()
    assert not watching.refused
    assert watching.failed(failure(GONE)).retry_in == 60


def test_who_was_not_reached_is_not_refused() -> None:
    watching = supervision()
    change = watching.failed(failure(REFUSAL, refused(HERE), gone(THERE)))
    assert change.state is KeepState.WAITING
    assert set(watching.refused) == {HERE}
    watching.connected(0.0, [refused(THERE)])
    assert set(watching.refused) == {HERE, THERE}


def test_a_dns_that_names_ever_new_addresses_fills_no_memory() -> None:
    watching = supervision()
    for number in range(3000):
        watching.failed(failure(REFUSAL, refused((f"2001:db8::{number:x}", 5061))))
    assert len(watching.refused) == 128
    assert ("2001:db8::bb7", 5061) in watching.refused, "the newest are kept"


def test_while_all_are_refused_they_are_looked_for_in_silence() -> None:
    watching = supervision()
    trying = KeepChange(KeepState.CONNECTING)
    assert watching.state is KeepState.CONNECTING
    assert watching.is_news(trying)
    change = watching.failed(failure(REFUSAL, refused(HERE)))
    assert watching.is_news(change)
    assert not watching.is_news(trying)
    assert not watching.is_news(watching.failed(failure(REFUSAL, refused(HERE))))
    assert watching.state is KeepState.REFUSED
    assert watching.is_news(watching.failed(GONE)), "another reason"
    assert watching.is_news(trying)
    assert watching.is_news(change)
    watching.changed()
    assert watching.is_news(trying), "everybody is connected to again"


def test_the_longest_wait_is_no_shorter_than_the_first() -> None:
    with pytest.raises(ConfigurationError, match="which is 5 s: not 1"):
        Backoff(base=5, longest=1)


@pytest.mark.parametrize("bad", [0, -1, True, "30", float("nan")])
def test_what_is_no_number_of_seconds_is_told(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Backoff\.base is a positive number of seconds"):
        Backoff(base=bad)
