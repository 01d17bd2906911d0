"""Account: what one certificate may do, and that no order of events gets it more than that."""

from __future__ import annotations

import copy
import inspect
import math
from fractions import Fraction
from typing import Any

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from siptls import Code, ConfigurationError
from siptls.trust.account import Account, AccountState, TrafficLimits

LIMITS = TrafficLimits()
DEFAULTS = {
    "messages_per_second": 20.0,
    "burst": 20,
    "distinct_uris": 1000,
    "suspicious_rate": 1.0,
    "suspicious_share": 0.5,
    "suspicious_after": 20,
    "period": 3600.0,
    "connections": 4,
}
START = 1000.0


def pass_all(account: Account, now: float, most: int = 1000) -> int:
    """Take what is due, and give how many messages that were."""
    for count in range(most):
        if account.due(now) > now:
            return count
        account.take(now)
    return most


def fail(account: Account, now: float, count: int = 20) -> None:
    for _ in range(count):
        account.answered(404, now)


# ---------------------------------------------------------------- limits


def test_the_defaults() -> None:
    assert attrs.asdict(LIMITS) == DEFAULTS


def test_every_limit_is_documented() -> None:
    for name in DEFAULTS:
        assert f"\n    {name}: " in inspect.cleandoc(TrafficLimits.__doc__ or "")


@pytest.mark.parametrize("name", ["messages_per_second", "suspicious_rate"])
def test_a_rate_is_a_number_of_messages_per_second(name: str) -> None:
    for good in (0.001, 1, 20, 1e6):
        assert getattr(TrafficLimits(**{name: good}), name) == good
    for bad in (0, -1, 0.0009, 1e7, math.inf, math.nan, True, "20", None):
        with pytest.raises(
            ConfigurationError, match=rf"^TrafficLimits\.{name} is a number of messages per second"
        ):
            TrafficLimits(**{name: bad})


def test_a_share_is_above_0_and_at_most_1() -> None:
    for good in (5e-324, 0.5, 1):
        assert TrafficLimits(suspicious_share=good).suspicious_share == good
    for bad in (0, -0.5, 1.001, math.inf, math.nan, True, "0.5"):
        with pytest.raises(ConfigurationError, match=r"suspicious_share is a share: a number abo"):
            TrafficLimits(suspicious_share=bad)  # type: ignore[arg-type]


def test_a_period_is_a_number_of_seconds() -> None:
    for bad in (0, 0.5, -1, math.inf, math.nan, True, "60"):
        with pytest.raises(ConfigurationError, match=r"period is a number of seconds, from 1 to"):
            TrafficLimits(period=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["burst", "distinct_uris", "suspicious_after", "connections"])
@pytest.mark.parametrize("bad", [0, -1, 1.5, True, math.nan, "1", None])
def test_a_count_is_a_positive_whole_number(name: str, bad: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^TrafficLimits\.{name} is a positive whole number"
    ):
        TrafficLimits(**{name: bad})


def test_what_are_no_limits_is_told() -> None:
    with pytest.raises(ConfigurationError, match="limits is a TrafficLimits, not an int: write"):
        Account(20)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the bucket


def test_a_burst_passes_at_once_and_then_one_for_each_interval() -> None:
    account = Account(LIMITS)
    assert pass_all(account, START) == 20
    assert account.due(START) == pytest.approx(START + 0.05, abs=1e-9)
    assert pass_all(account, START + 0.04999) == 0
    assert pass_all(account, START + 0.0501) == 1
    assert pass_all(account, START + 1.001) == 19
    assert pass_all(account, START + 1e6) == 20
    assert account.messages == 60


def test_whoever_waits_until_it_is_due_need_not_wait_again() -> None:
    """Over a million seconds it does not drift: the rate is met, and not passed."""
    account = Account(evolve(LIMITS, messages_per_second=1 / 3, burst=1))
    now = START
    for _ in range(10_000):
        account.take(now)
        now = account.due(now)
        assert account.due(now) == now
    assert 0 <= now - START - 30_000 < 1e-6


def test_who_takes_before_it_is_due_delays_what_follows() -> None:
    """As connections do that race for the last message of a burst."""
    account = Account(LIMITS)
    for _ in range(24):
        account.take(START)
    assert account.due(START) == pytest.approx(START + 0.25, abs=1e-9)


def test_without_limits_nothing_is_held_back() -> None:
    account = Account()
    assert pass_all(account, START, most=5000) == 5000
    assert account.messages == 5000
    fail(account, START)
    assert account.state is AccountState.NORMAL
    assert account.failed == 20


def test_limits_may_be_set_and_taken_away() -> None:
    account = Account(LIMITS)
    pass_all(account, START)
    account.limits = None
    assert account.due(START) == START
    account.limits = evolve(LIMITS, burst=25)
    assert pass_all(account, START) == 5
    account.limits = LIMITS
    account.limits = LIMITS
    assert account.limits == LIMITS
    assert account.due(START) == pytest.approx(START + 0.3, abs=1e-9)


def test_a_far_clock_holds_nobody_longer_than_it_must() -> None:
    """Where floats are coarse, a time is rounded up, and not down to one that is too early."""
    account = Account(evolve(LIMITS, messages_per_second=1e6, burst=1))
    far = 2.0**52
    account.take(far)
    assert account.due(far) == far + 1
    assert account.due(far + 1) == far + 1


SPANS = st.floats(0, 3, allow_nan=False) | st.sampled_from([0.0, 0.05, 1.0, 10.0])
RATES = st.sampled_from([0.3, 1.0, 3, 19.7, 20.0, 1000.0])
MANY = st.builds(
    TrafficLimits,
    messages_per_second=RATES,
    burst=st.integers(1, 30),
    suspicious_rate=RATES,
    suspicious_after=st.just(1),
    period=st.sampled_from([1.0, 2.5, 10.0]),
)
STEPS = st.lists(
    st.tuples(st.just("wait"), SPANS)
    | st.tuples(st.just("back"), SPANS)
    | st.tuples(st.just("until due"), st.none())
    | st.tuples(st.sampled_from(["fail", "pardon", "look"]), st.none())
    | st.tuples(st.just("limits"), MANY | st.none()),
    max_size=30,
)


@given(MANY, STEPS, st.sampled_from([-5.0, 0.0, START, 1.7e9]))
def test_no_order_of_events_passes_more_than_burst_and_rate(
    limits: TrafficLimits, steps: list[tuple[str, Any]], now: float
) -> None:
    """In each window, of all windows there are; and whoever waits until it is due may go on."""
    account = Account(limits)
    burst, rate = limits.burst, limits.messages_per_second
    taken: list[float] = []
    for step, value in [*steps, ("wait", 0.1)]:
        match step:
            case "wait":
                now += value
            case "back":
                now -= value
            case "until due":
                now = max(now, account.due(now))
            case "fail":
                account.answered(500, now)
            case "pardon":
                account.pardon()
            case "limits":
                account.limits = value
                if value is not None:
                    burst, rate = max(burst, value.burst), max(rate, value.messages_per_second)
        if account.limits is not None and step != "look":
            taken += [now] * pass_all(account, now, most=40)
        due = account.due(now)
        assert copy.deepcopy(account).due(due) <= due
    assert_held(sorted(taken), burst, rate)


def assert_held(taken: list[float], burst: int, rate: float) -> None:
    """Assert that each window holds at most burst + rate * its length; exactly."""
    times, exact = [Fraction(one) for one in taken], Fraction(rate)
    # The window from message i to message k holds k - i + 1: the worst i of each k is kept.
    worst: Fraction | float = -math.inf
    for count, time in enumerate(times):
        worst = max(worst, time * exact - count)
        assert count + 1 + worst - time * exact <= burst


@given(MANY, st.lists(SPANS, max_size=40))
def test_who_is_suspicious_passes_no_more_than_the_slower_rate(
    limits: TrafficLimits, spans: list[float]
) -> None:
    """What was missing in the bucket before is missing still."""
    account = Account(evolve(limits, period=1e6))
    now = START
    taken = [now] * pass_all(account, now)
    account.answered(500, now)
    for span in spans:
        now += span
        taken += [now] * pass_all(account, now, most=100)
    slow = min(limits.suspicious_rate, limits.messages_per_second)
    assert account.state is AccountState.SUSPICIOUS
    assert_held(taken, limits.burst, slow)


@given(MANY, st.integers(1, 40), st.floats(0, 0.9))
def test_no_change_of_the_rate_and_back_wins_anything(
    limits: TrafficLimits, count: int, when: float
) -> None:
    """Not even a tick, 2**-40 seconds, by rounding."""
    account = Account(limits)
    for _ in range(count):
        account.take(0.0)
    before = account._bucket.full_at
    account.answered(500, when)
    account.pardon()
    assert account._bucket.full_at >= before


def test_a_clock_that_is_set_back_wins_nothing_by_a_change_of_the_rate() -> None:
    """Found by the test of all orders: the bucket had been filled until a time that comes again."""
    account = Account(evolve(LIMITS, messages_per_second=3, burst=2))
    account.due(START)
    assert pass_all(account, START - 1) == 2
    fail(account, START - 1)
    assert account.state is AccountState.SUSPICIOUS
    assert account.due(START - 1) == START
    assert pass_all(account, START - 0.001) == 0
    assert pass_all(account, START) > 0


# ---------------------------------------------------------------- answers to what we asked


def test_answers_to_our_requests_are_not_held_back() -> None:
    account = Account(LIMITS)
    pass_all(account, START)
    assert account.due(START, answer=True) > START
    account.asked()
    for _ in range(8):
        assert account.due(START, answer=True) == START
        account.take(START, answer=True)
    assert account.due(START, answer=True) > START
    assert account.due(START) == pytest.approx(START + 0.05, abs=1e-9)
    account.take(START, answer=True)
    assert account.due(START) == pytest.approx(START + 0.1, abs=1e-9)
    assert account.messages == 29


def test_requests_of_the_peer_use_no_credit() -> None:
    account = Account(LIMITS)
    account.asked()
    pass_all(account, START)
    assert account.due(START) > START
    assert account.due(START, answer=True) == START


def test_credit_has_an_end() -> None:
    account = Account(LIMITS)
    for _ in range(2000):
        account.asked()
    pass_all(account, START)
    count = 0
    while account.due(START, answer=True) <= START:
        account.take(START, answer=True)
        count += 1
    assert count == 8000


# ---------------------------------------------------------------- request-URIs


def test_whoever_asks_for_too_many_uris_is_watched() -> None:
    account = Account(evolve(LIMITS, distinct_uris=3))
    uris = [f"sip:{user}@contoso.com" for user in ("alice", "bob", "carol")]
    assert [account.uri_fault(uri) for uri in uris] == [None] * 3
    assert account.state is AccountState.NORMAL
    fault = account.uri_fault("sip:dan\n@contoso.com")
    assert fault is not None
    assert fault.code is Code.PARTNER_LIMIT
    assert fault.reason == (
        r"the peer asks for yet another URI: sip:dan\u000a@contoso.com;"
        " expected at most 3 different ones"
    )
    assert fault.rule == "TrafficLimits.distinct_uris"
    assert account.state is AccountState.WATCHED
    assert [account.uri_fault(uri) for uri in uris] == [None] * 3
    assert account.uri_fault("sip:dan\n@contoso.com") is not None
    assert account.uris == 3


URI = st.text(st.characters() | st.sampled_from("\udcff\ud800"), max_size=8)


@given(st.lists(URI, max_size=60), st.integers(1, 20))
def test_each_uri_counts_once(uris: list[str], most: int) -> None:
    """Lone surrogates, too: bytes that are no UTF-8 come as such."""
    account = Account(evolve(LIMITS, distinct_uris=most))
    known: set[str] = set()
    for uri in uris:
        if uri in known or len(known) < most:
            known.add(uri)
            assert account.uri_fault(uri) is None
        else:
            assert account.uri_fault(uri) is not None
    assert account.uris == len(known)


def test_a_uri_may_hold_bytes_that_are_no_text() -> None:
    account = Account(evolve(LIMITS, distinct_uris=1))
    assert account.uri_fault("sip:\udcff@contoso.com") is None
    fault = account.uri_fault("sip:\udcfe@contoso.com")
    assert fault is not None
    assert fault.reason.isprintable()


def test_without_limits_uris_are_counted_as_far_as_they_are_remembered() -> None:
    account = Account()
    for number in range(1500):
        assert account.uri_fault(f"sip:{number}@contoso.com") is None
    assert account.uris == 1000
    account.limits = LIMITS
    assert account.uri_fault("sip:999@contoso.com") is None
    assert account.uri_fault("sip:1000@contoso.com") is not None


def test_a_uri_costs_8_bytes() -> None:
    account = Account()
    for number in range(1000):
        account.uri_fault(f"sip:{number}@contoso.com")
    assert account._uris.itemsize == 8
    assert list(account._uris) == sorted(account._uris)


# ---------------------------------------------------------------- answers to what they asked


def test_too_many_failures_slow_a_peer_down_until_the_period_ends() -> None:
    account = Account(LIMITS)
    account.answered(200, START)
    fail(account, START + 1, 18)
    assert account.state is AccountState.NORMAL
    fail(account, START + 2, 1)
    assert account.state is AccountState.SUSPICIOUS
    assert pass_all(account, START + 2) == 20
    assert account.due(START + 2) == pytest.approx(START + 3, abs=1e-9)
    for _ in range(100):
        account.answered(200, START + 3)
    assert account.state is AccountState.SUSPICIOUS
    account.due(START + 3599.9)
    assert account.state is AccountState.SUSPICIOUS
    account.due(START + 3600)
    assert account.state is AccountState.NORMAL
    assert (account.succeeded, account.failed) == (101, 19)
    assert pass_all(account, START + 3600) == 20
    assert account.due(START + 3600) == pytest.approx(START + 3600.05, abs=1e-9)
    fail(account, START + 3600, 19)
    assert account.state is AccountState.NORMAL


def test_the_first_message_after_the_period_does_not_wait_for_the_slower_rate() -> None:
    account = Account(evolve(LIMITS, suspicious_rate=0.01, period=10))
    fail(account, START)
    assert pass_all(account, START) == 20
    due = account.due(START)
    # A tenth of a message was filled in 10 s; 0.9 of one take 45 ms.
    assert due == pytest.approx(START + 10.045, abs=1e-6)
    assert account.due(due) == due
    assert account.state is AccountState.NORMAL


def test_the_period_may_end_by_an_answer() -> None:
    account = Account(evolve(LIMITS, period=10))
    fail(account, START, 19)
    fail(account, START + 10, 1)
    assert account.state is AccountState.NORMAL
    fail(account, START + 10, 19)
    assert account.state is AccountState.SUSPICIOUS


def test_the_share_counts_from_exactly_its_value_on() -> None:
    account = Account(evolve(LIMITS, suspicious_share=0.55))
    for _ in range(9):
        account.answered(302, START)
    fail(account, START, 10)
    assert account.state is AccountState.NORMAL
    fail(account, START, 1)
    assert account.state is AccountState.SUSPICIOUS


@pytest.mark.parametrize("status", [100, 180, 199, 401, 407, 487])
def test_some_responses_say_nothing(status: int) -> None:
    account = Account(LIMITS)
    for _ in range(100):
        account.answered(status, START)
    assert account.state is AccountState.NORMAL
    assert (account.succeeded, account.failed) == (0, 0)


@pytest.mark.parametrize(
    ("status", "counts"),
    [(200, (1, 0)), (302, (1, 0)), (399, (1, 0)), (400, (0, 1)), (503, (0, 1)), (699, (0, 1))],
)
def test_the_others_succeed_or_fail(status: int, counts: tuple[int, int]) -> None:
    account = Account(LIMITS)
    account.answered(status, START)
    assert (account.succeeded, account.failed) == counts


def test_the_slower_rate_is_never_the_faster_one() -> None:
    account = Account(evolve(LIMITS, messages_per_second=0.5, burst=1))
    fail(account, START)
    account.take(START)
    assert account.due(START) == pytest.approx(START + 2, abs=1e-9)


def test_suspicious_says_more_than_watched() -> None:
    account = Account(evolve(LIMITS, distinct_uris=1))
    account.uri_fault("sip:a@contoso.com")
    account.uri_fault("sip:b@contoso.com")
    fail(account, START)
    assert account.state is AccountState.SUSPICIOUS
    assert account.uri_fault("sip:b@contoso.com") is not None
    account.due(START + 3600)
    assert account.state is AccountState.WATCHED


def test_limits_that_come_and_go_clear_nobody() -> None:
    account = Account(LIMITS)
    fail(account, START)
    account.limits = None
    assert account.state is AccountState.NORMAL
    account.limits = LIMITS
    assert account.state is AccountState.SUSPICIOUS


def test_pardon() -> None:
    account = Account(evolve(LIMITS, distinct_uris=1))
    account.uri_fault("sip:a@contoso.com")
    account.uri_fault("sip:b@contoso.com")
    fail(account, START)
    account.pardon()
    assert account.state is AccountState.NORMAL
    assert account.uris == 0
    assert account.uri_fault("sip:b@contoso.com") is None
    fail(account, START, 19)
    assert account.state is AccountState.NORMAL
    assert account.failed == 39
    pass_all(account, START)
    assert account.due(START) == pytest.approx(START + 0.05, abs=1e-9)


def test_pardon_before_anything() -> None:
    account = Account()
    account.pardon()
    assert account.state is AccountState.NORMAL


# ---------------------------------------------------------------- what is told


def test_domains_are_remembered_once_and_not_for_ever() -> None:
    account = Account()
    for number in (1, 0, *range(70), 69):
        account.spoke_for(f"{number}.example")
    assert account.domains[:3] == ["1.example", "0.example", "2.example"]
    assert len(account.domains) == 64
    assert account.more_domains == 7


def test_refusals_are_counted_by_code_and_there_are_not_too_many_codes() -> None:
    account = Account()
    account.refused(Code.SENDER_NOT_AUTHORIZED)
    for number in (*range(20), 0, 19):
        account.refused(f"my.code-{number}")
    assert account.refusals["sender.not-authorized"] == 1
    assert account.refusals["my.code-0"] == 2
    assert account.refusals["other"] == 6
    assert len(account.refusals) == 17


def test_texts_of_the_peer_are_printable_and_bounded() -> None:
    account = Account()
    account.spoke_for("a\n" + "b" * 10_000)
    account.refused("c\x1b" + "d" * 10_000)
    for text in (*account.domains, *account.refusals):
        assert text.isprintable()
        assert len(text) < 300


def test_the_rate_is_that_of_about_a_minute() -> None:
    account = Account()
    assert account.rate(60.0) == 0
    for second in range(60, 120):
        account.take(float(second))
        account.take(float(second))
    assert account.rate(90.0) == 2.0
    assert account.rate(120.0) == 2.0
    assert account.rate(150.0) == 1.0
    for second in range(120, 150):
        account.take(float(second))
    assert account.rate(150.0) == 1.5
    assert account.rate(100.0) == 2.5  # the clock was set back: both minutes, whole
    assert account.rate(240.0) == 0
    account.take(400.0)
    assert account.rate(419.0) == pytest.approx(1 / 60)
    account.take(10.0)
    assert account.rate(419.0) == pytest.approx(2 / 60)


def test_what_is_owed_is_what_passed_before_its_time() -> None:
    account = Account(TrafficLimits(messages_per_second=10, burst=3))
    for taken in range(1, 8):
        account.take(START)
        assert account.owed(START) == pytest.approx(max(0, taken - 3))
    assert account.owed(START + 0.2) == pytest.approx(2)
    assert account.owed(START + 5) == 0
    account.limits = None
    assert account.owed(START) == 0


def test_limits_are_told_in_a_line() -> None:
    text = "20 messages/s, 20 at once, to 1000 URIs, over 4 connections"
    assert str(TrafficLimits()) == text
