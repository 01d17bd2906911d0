"""siptls.wire.gate: who may speak for whom, and how often, on a connection without a network."""

from __future__ import annotations

import math
from typing import Any

import pytest
from federated import CONTOSO, FABRIKAM, FEW, OTHER, PARTNER, PUBLIC, STRANGER, Pair, asked, policy
from hypothesis import given, settings
from hypothesis import strategies as st

from siptls import (
    AccountState,
    AnyDomain,
    Code,
    ConfigurationError,
    ConnectionClosed,
    Decision,
    Enterprise,
    Federation,
    Message,
    PeerRefused,
    ServerConnection,
    Traffic,
    TrafficLimits,
    TrustLostError,
)
from siptls.testing import exchange


def test_what_is_too_much_waits_and_comes_in_order() -> None:
    """Two at once, then ten each second; nothing is read meanwhile, and nothing is lost."""
    pair = Pair()
    pair.say(*map(asked, range(6)))
    assert pair.numbers() == [0, 1]
    assert pair.edge.holding is True
    times = []
    for number in range(2, 6):
        pair.wait()
        assert pair.numbers() == [number]
        times.append(pair.now)
    assert pair.edge.holding is False
    assert times == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_before_its_time_nothing_passes() -> None:
    pair = Pair()
    pair.say(*map(asked, range(3)))
    pair.numbers()
    pair.now = 0.09
    pair.edge.handle_deadline(pair.now)
    assert pair.numbers() == []
    assert pair.edge.deadline == pytest.approx(0.1)


@pytest.mark.parametrize(("credential", "limits"), [(PARTNER, FEW), (STRANGER, None)])
def test_whoever_has_no_limits_waits_for_nothing(credential: Any, limits: Any) -> None:
    pair = Pair(credential, limits=limits, traffic=Traffic())
    pair.say(*map(asked, range(50)))
    assert pair.numbers() == list(range(50))
    assert pair.edge.holding is False


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1)), min_size=1, max_size=8))
def test_no_more_pass_than_may_and_all_do(flights: list[tuple[int, float]]) -> None:
    """Whenever they come: in each second at most the burst and the rate, in the end all of them."""
    pair, sent, passed = Pair(), 0, []
    for count, pause in flights:
        pair.say(*(asked(sent + i) for i in range(count)))
        sent += count
        passed += [(pair.now, number) for number in pair.numbers()]
        until = pair.now + pause
        while pair.edge.holding and pair.edge.deadline is not None and pair.edge.deadline <= until:
            pair.wait()
            passed += [(pair.now, number) for number in pair.numbers()]
        pair.now = until
    while pair.edge.holding:
        pair.wait()
        passed += [(pair.now, number) for number in pair.numbers()]
    assert [number for _, number in passed] == list(range(sent))
    times = [time for time, _ in passed]
    for begin, first in enumerate(times):
        for end in range(begin, len(times)):
            assert (
                end - begin + 1 <= FEW.burst + FEW.messages_per_second * (times[end] - first) + 1e-6
            )


def test_while_messages_wait_nobody_is_too_slow() -> None:
    """It is we who do not read: no deadline but the limit's own runs."""
    pair = Pair(limits=TrafficLimits(messages_per_second=0.001, burst=1))
    pair.say(asked(0), asked(1)[:-4])  # a message that has only begun
    pair.say(asked(1)[-4:], asked(2))
    assert pair.numbers() == [0]
    pair.now = 500.0  # beyond message_timeout and idle_timeout
    pair.edge.handle_deadline(pair.now)
    assert pair.edge.closed is None
    pair.wait()
    assert pair.numbers() == [1]
    pair.wait()
    assert pair.numbers() == [2]
    assert pair.edge.closed is None
    assert pair.edge.deadline == pytest.approx(pair.now + 3900)  # its whole time again


def test_two_connections_of_one_certificate_share_what_they_may() -> None:
    """The other one's certificate is another account, whatever the address."""
    traffic = Traffic()
    first, second, other = (Pair(c, traffic=traffic) for c in (STRANGER, STRANGER, OTHER))
    first.say(asked(0), asked(1))
    second.say(asked(2))
    other.say(asked(3), asked(4))
    assert first.numbers() == [0, 1]
    assert second.numbers() == []
    assert other.numbers() == [3, 4]
    second.wait()
    assert second.numbers() == [2]


def test_who_has_enough_connections_gets_no_more() -> None:
    traffic = Traffic()
    limits = TrafficLimits(connections=2)
    held = [Pair(traffic=traffic, limits=limits) for _ in range(2)]
    late = Pair(traffic=traffic, limits=limits)
    refused, closed = late.edge.events()
    assert isinstance(refused, PeerRefused)
    assert refused.decision.code == Code.PARTNER_LIMIT
    assert isinstance(closed, ConnectionClosed)
    assert late.client.closed is not None
    held[0].client.close()
    exchange(held[0].client, held[0].edge)
    assert Pair(traffic=traffic, limits=limits).edge.established


@pytest.mark.parametrize("ends", ["in order", "cut off", "no SIP"])
def test_the_end_brings_what_waits_and_it_counts(ends: str) -> None:
    """Whoever comes back waits for as long as if he had stayed."""
    traffic = Traffic()
    pair = Pair(traffic=traffic)
    pair.say(*map(asked, range(12)))
    assert pair.numbers() == [0, 1]
    if ends == "in order":
        pair.client.close()
        pair.edge.receive_data(pair.client.data_to_send())
    elif ends == "cut off":
        pair.edge.receive_eof()
    else:
        pair.say(b"\0\r\n\r\n")
    *messages, closed = pair.edge.events()
    assert len(messages) == 10
    assert isinstance(closed, ConnectionClosed)
    refused, _ = Pair(traffic=traffic).edge.events()  # ten more than it may
    assert isinstance(refused, PeerRefused)
    assert refused.decision.code == Code.PARTNER_LIMIT
    again = Pair(traffic=traffic, now=0.7)
    again.say(asked(12))
    assert again.numbers() == []
    again.wait()
    assert again.now == pytest.approx(1.1)


def test_who_is_trusted_no_more_delivers_nothing_that_waits() -> None:
    pair = Pair()
    pair.say(*map(asked, range(6)))
    pair.edge.events()
    pair.edge.update(Enterprise(["contoso.com"], CONTOSO.authority()))
    refused, closed = pair.edge.events()
    assert isinstance(refused, PeerRefused)
    assert isinstance(closed, ConnectionClosed)
    assert isinstance(closed.reason, TrustLostError)
    assert pair.edge.holding is False


def test_after_our_close_nothing_comes() -> None:
    pair = Pair()
    pair.say(*map(asked, range(6)))
    pair.edge.events()
    pair.edge.close()
    assert pair.edge.holding is False
    pair.client.receive_data(pair.edge.data_to_send())
    pair.edge.receive_data(pair.client.data_to_send())
    assert pair.numbers() == []


def test_another_policy_brings_other_limits() -> None:
    pair = Pair()
    pair.say(*map(asked, range(6)))
    assert pair.numbers() == [0, 1]
    pair.edge.update(policy(None))
    assert pair.numbers() == [2, 3, 4, 5]
    assert pair.edge.holding is False


def test_whoever_becomes_a_stranger_gets_limits() -> None:
    """A policy that is put in force later counts from then on."""
    traffic = Traffic()
    for credential, first in ((STRANGER, AnyDomain(PUBLIC.authority())), (PARTNER, None)):
        pair = Pair(credential, traffic=traffic, policy=first)
        pair.say(*map(asked, range(9)))
        assert pair.numbers() == list(range(9))
        strict = Federation.open(
            [PUBLIC.authority(), FABRIKAM.authority()], own=["contoso.com"], limits=FEW
        )
        pair.edge.update(strict)
        pair.say(*map(asked, range(9)))
        assert len(pair.numbers()) <= 2
        assert pair.edge.limited is True
    assert len(traffic.report(0).peers) == 2


def test_whoever_becomes_a_stranger_with_one_connection_too_many_is_let_go() -> None:
    traffic, one = Traffic(), TrafficLimits(connections=1)
    strict = Federation.open(PUBLIC.authority(), own=["contoso.com"], limits=one)
    pairs = [Pair(traffic=traffic, policy=AnyDomain(PUBLIC.authority())) for _ in range(2)]
    for pair in pairs:
        pair.edge.events()
        pair.edge.update(strict)
    assert pairs[0].edge.established
    refused, closed = pairs[1].edge.events()
    assert isinstance(refused, PeerRefused)
    assert isinstance(closed, ConnectionClosed)
    assert isinstance(closed.reason, TrustLostError)
    assert closed.reason.decision.code == Code.PARTNER_LIMIT


def test_a_message_that_was_kept_is_decided_about_again() -> None:
    """Its peer may have proven more when it came."""
    both = PUBLIC.issue("sip:stranger.example", "sip:second.example")
    pair = Pair(both, authorize=True, limits=None)
    pair.say(asked(0, "second.example"), asked(1), asked(2, "contoso.com"))
    second, own, refused = pair.heard()
    assert pair.edge.up_to_date(second) is second
    everybody = Federation.open(
        PUBLIC.authority(), own=["contoso.com", "second.example"], limits=None
    )
    pair.edge.update(everybody)
    codes = [
        message.decision.code
        for message in map(pair.edge.up_to_date, (second, own, refused))
        if message.decision is not None
    ]
    assert codes == [Code.SENDER_NOT_AUTHORIZED, Code.ACCEPTED, Code.SENDER_NOT_AUTHORIZED]


def test_a_refusal_of_the_application_drops_what_waits() -> None:
    pair = Pair()
    pair.say(*map(asked, range(6)))
    pair.edge.events()
    pair.edge.refuse(Decision.refuse("app.no", "no"))
    refused, closed = pair.edge.events()
    assert isinstance(refused, PeerRefused)
    assert isinstance(closed, ConnectionClosed)


def test_little_is_read_at_a_time_of_a_peer_with_limits() -> None:
    assert Pair().edge.limited is True
    assert Pair(PARTNER, traffic=Traffic()).edge.limited is False
    pair = Pair()
    pair.edge.update(policy(None))
    assert pair.edge.limited is False


def test_answers_to_our_requests_do_not_wait() -> None:
    pair = Pair()
    pair.say(*map(asked, range(2)))
    pair.edge.events()
    pair.edge.send(asked(100, "contoso.com"))
    pair.client.receive_data(pair.edge.data_to_send())
    reply = Message(asked(100, "contoso.com")).reply(200, "OK")
    pair.say(bytes(reply.data))
    assert [message.status for message in pair.heard()] == [200]
    for _ in range(8):
        pair.say(bytes(reply.data))  # more than a request brings back
    assert len(pair.heard()) == 7


def test_a_keep_alive_of_ours_is_no_request() -> None:
    """Else each CRLF would give the peer credit."""
    pair = Pair()
    pair.say(*map(asked, range(2)))
    pair.edge.events()
    pair.edge.send(b"\r\n\r\n")
    reply = Message(asked(100)).reply(200, "OK")
    pair.say(bytes(reply.data))
    assert pair.heard() == []


# ---------------------------------------------------------------- with authorize


def test_each_message_has_its_decision() -> None:
    pair = Pair(authorize=True, limits=None)
    pair.say(asked(0), asked(1, "contoso.com"), asked(2).replace(b"@", b"@@"))
    codes = [message.decision.code for message in pair.heard() if message.decision is not None]
    assert codes == [Code.ACCEPTED, Code.SENDER_NOT_AUTHORIZED, Code.SENDER_MALFORMED]


def test_without_authorize_there_is_none() -> None:
    pair = Pair(traffic=Traffic())
    pair.say(asked(0))
    (message,) = pair.heard()
    assert message.decision is None


def test_one_uri_too_many_is_refused_and_the_known_ones_are_not() -> None:
    traffic = Traffic()
    pair = Pair(authorize=True, traffic=traffic, limits=TrafficLimits(distinct_uris=3))
    for number in range(5):
        pair.say(asked(number, uri=f"sip:user{number}@contoso.com"))
    pair.say(asked(5, uri="sip:user1@contoso.com"))
    codes = [message.decision.code for message in pair.heard() if message.decision is not None]
    assert codes == ["accepted"] * 3 + ["partner.limit"] * 2 + ["accepted"]
    (report,) = traffic.report(0).peers
    assert (report.uris, report.state) == (3, AccountState.WATCHED)
    assert report.refusals == {"partner.limit": 2}


def test_without_authorize_uris_are_counted_and_nothing_is_refused() -> None:
    traffic = Traffic()
    pair = Pair(traffic=traffic, limits=TrafficLimits(distinct_uris=3))
    for number in range(5):
        pair.say(asked(number, uri=f"sip:user{number}@contoso.com"))
    assert pair.numbers() == list(range(5))
    assert traffic.report(0).peers[0].state is AccountState.WATCHED


def test_whoever_fails_too_often_is_slowed_down() -> None:
    traffic = Traffic()
    pair = Pair(traffic=traffic, authorize=True)
    for number in range(4):
        pair.now += 10
        pair.say(asked(number, "contoso.com"))
        pair.answer(lambda message: message.forbid())
    (report,) = traffic.report(pair.now).peers
    assert (report.failed, report.state) == (4, AccountState.SUSPICIOUS)
    pair.now += 10
    pair.say(*map(asked, range(4, 8)))
    begin, times = pair.now, []
    while pair.edge.holding:
        pair.wait()
        times.append(pair.now - begin)
    assert times == pytest.approx([1.0, 2.0])  # the burst, then one each second


def test_provisional_answers_and_successes_harm_nobody() -> None:
    traffic = Traffic()
    pair = Pair(traffic=traffic)
    for number in range(8):
        pair.now += 10
        pair.say(asked(number))
        pair.answer(lambda message: message.reply(100, "Trying"))
        pair.edge.send(Message(asked(number)).reply(200, "OK"))
    (report,) = traffic.report(pair.now).peers
    assert (report.succeeded, report.failed, report.state) == (8, 0, AccountState.NORMAL)


def test_the_report_tells_for_whom_a_partner_spoke() -> None:
    traffic = Traffic()
    pair = Pair(PARTNER, traffic=traffic, authorize=True)
    pair.say(asked(0, "fabrikam.com"), asked(1, "contoso.com"))
    pair.edge.events()
    (report,) = traffic.report(0).peers
    assert report.domains == ("fabrikam.com",)
    assert report.refusals == {"sender.not-authorized": 1}
    assert (report.messages, report.limits, report.trust) == (2, None, "federated")


def test_our_own_are_not_counted() -> None:
    traffic = Traffic()
    Pair(CONTOSO.issue("sip:contoso.com"), traffic=traffic).say(asked(0))
    assert traffic.report(0).peers == ()


def test_the_limits_hold_without_a_traffic_to_share() -> None:
    pair = Pair(traffic=None)
    pair.say(*map(asked, range(3)))
    assert pair.numbers() == [0, 1]
    assert pair.edge.deadline != math.inf


@pytest.mark.parametrize("wrong", [{"traffic": 5}, {"traffic": Traffic}, {"authorize": "yes"}])
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    ours = CONTOSO.issue("sip:contoso.com")
    with pytest.raises(ConfigurationError):
        ServerConnection(ours, policy(), **wrong)


def test_another_certificate_is_another_account() -> None:
    """The same name, renewed: what was counted belongs to the old certificate."""
    traffic = Traffic()
    for host in ("sip1.stranger.example", "sip2.stranger.example"):
        pair = Pair(PUBLIC.issue("sip:stranger.example", host), traffic=traffic)
        pair.say(*map(asked, range(3)))
        assert pair.numbers() == [0, 1]
    assert len(traffic.report(0).peers) == 2
