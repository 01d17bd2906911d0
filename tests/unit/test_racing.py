"""siptls.transports.racing: the order of addresses, and whose turn it is. No clock is read."""

from __future__ import annotations

import pytest

from siptls import (
    Attempt,
    ConfigurationError,
    ConnectionClosedError,
    HandshakeTimeout,
    Limits,
    ReferenceIdentity,
    ResolutionError,
    Target,
)
from siptls.transports.racing import Race, Reach, dial, groups

CONTOSO = ReferenceIdentity("contoso.com")
LIMITS = Limits(attempt_delay=1, connect_timeout=10)
FAULT = ConnectionClosedError("refused")


def target(
    address: str, host: str | None = "h.example", port: int = 5061, priority: int = 0
) -> Target:
    return Target(address, port, host=host, reference=CONTOSO, priority=priority)


def grouped(*targets: Target) -> list[list[str]]:
    return [[one.address for one in group] for group in groups(targets)]


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ("::1 ::2 ::3 1 2", "::1 1 ::2 2 ::3"),
        ("1 2 3 ::1", "1 ::1 2 3"),
        ("1 2", "1 2"),
        ("::1", "::1"),
        ("1 1 ::1 1", "1 ::1"),
    ],
)
def test_families_take_turns_and_the_first_one_begins(given: str, order: str) -> None:
    """RFC 8305 §4."""
    assert grouped(*map(target, given.split())) == [order.split()]


def test_only_what_is_of_one_host_port_and_priority_races() -> None:
    assert grouped() == []
    assert grouped(
        target("1"), target("2", "H.example"), target("3", "i.example"), target("4")
    ) == [["1", "2"], ["3"], ["4"]]
    assert grouped(target("1"), target("2", port=5062)) == [["1"], ["2"]]
    assert grouped(target("1"), target("2", priority=1)) == [["1"], ["2"]]
    assert grouped(target("1", None), target("2", None)) == [["1"], ["2"]]


ONE, TWO, THREE = target("1"), target("2"), target("3")


def race(attempts: list[Attempt]) -> Race:
    return Race([ONE, TWO, THREE], LIMITS, attempts)


def test_the_next_begins_after_the_delay_or_when_the_one_before_has_failed() -> None:
    attempts: list[Attempt] = []
    it = race(attempts)
    assert it.begin(100) is ONE
    assert it.begin(100.9) is None
    assert it.wakes == 101
    assert it.begin(101) is TWO
    it.fail(ONE, FAULT)  # not the one before
    assert it.begin(101.5) is None
    it.fail(TWO, FAULT)
    assert it.begin(101.5) is THREE
    assert it.wakes == 111.5
    assert it.late(111.4) == []
    assert it.late(111.5) == [THREE]
    assert it.over
    assert it.rest == []
    assert [a.address for a in attempts] == [("1", 5061), ("2", 5061), ("3", 5061)]
    assert "did not answer within 10 s" in str(attempts[2].error)


def test_who_lost_a_race_has_not_failed() -> None:
    reach = Reach(CONTOSO, LIMITS)
    races = reach.races([ONE, TWO, THREE])
    first = next(races)
    first.begin(0)
    first.begin(1)
    first.win(TWO)
    first.fail(TWO, FAULT)
    second = next(races)
    assert second.rest == [ONE, THREE]
    assert [a.address for a in reach.attempts] == [("2", 5061)]


def test_what_was_tried_when_the_time_was_over_is_told() -> None:
    reach = Reach(CONTOSO, LIMITS)
    it = next(reach.races([ONE, TWO, THREE]))
    it.begin(0)
    it.begin(1)
    error = reach.cut_short(5)
    assert isinstance(error, ConnectionClosedError)
    assert len(error.attempts) == 2
    it = next(reach.races([THREE]))
    it.begin(2)
    it.win(THREE)
    assert isinstance(reach.cut_short(5), HandshakeTimeout)
    with pytest.raises(ResolutionError, match=r"did not answer for contoso\.com within the 5 s"):
        raise Reach(CONTOSO, LIMITS).cut_short(5)


def test_the_scope_of_an_address_is_kept() -> None:
    """RFC 4007 §11."""
    try:
        sock, address = dial(target("fe80::1%1"))
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with sock:
        assert address == ("fe80::1", 5061, 0, 1)


def test_what_is_no_address_or_no_port_is_no_target() -> None:
    with pytest.raises(ConfigurationError, match=r"h\.example"):
        target("h.example")
    with pytest.raises(ConfigurationError, match="99999"):
        target("127.0.0.1", port=99999)
