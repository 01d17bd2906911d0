"""Endings: what ends when, and that each is told in time, and not at each look."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve
from certificates import NOW, YEAR, Made, make_ca, make_leaf
from hypothesis import given
from hypothesis import strategies as st
from statements import CONTOSO, LEAF, without_next_update

from siptls import (
    AnyDomain,
    Authority,
    BelievedName,
    ConfigurationError,
    Enterprise,
    Federation,
    Partner,
    Peer,
    Revocation,
)
from siptls.trust import endings as module
from siptls.trust.endings import (
    Ending,
    EndingKind,
    EndingNotice,
    Reminder,
    endings_of_authority,
    endings_of_chain,
    endings_of_peers,
    endings_of_policy,
    endings_of_staple,
)
from siptls.trust.fault import describe

DAY = dt.timedelta(days=1)
END = Ending(EndingKind.CREDENTIAL, "CN=contoso.com", NOW + YEAR, since=NOW - YEAR)


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Contoso CA", not_after=NOW + 4 * YEAR)


def told(reminder: Reminder, days_left: float, *endings: Ending) -> list[float]:
    """The thresholds that are told of `END`, or of others, so many days before its end."""
    return [one.days for one in reminder.due(END.when - days_left * DAY, endings or [END])]


# ---------------------------------------------------------------- what ends


def test_a_chain_ends_certificate_by_certificate(root: Made) -> None:
    below = make_ca("Issuing CA", root, not_after=NOW + 2 * YEAR)
    leaf = make_leaf(below, "sip:contoso.com")
    ours, above = endings_of_chain([leaf.certificate, below.certificate])
    name = describe(leaf.certificate)
    assert ours == Ending(EndingKind.CREDENTIAL, name, NOW + YEAR, since=NOW - YEAR)
    assert (above.kind, above.when) == (EndingKind.INTERMEDIATE, NOW + 2 * YEAR)
    assert endings_of_chain([]) == []


def test_a_policy_ends_with_its_anchors(root: Made) -> None:
    """An anchor of two authorities is one."""
    other = make_ca("Fabrikam CA")
    ours = Authority("ours", [root.certificate])
    both = Authority("both", [root.certificate, other.certificate])
    policy = Enterprise(["contoso.com"], ours) | Federation([Partner(["fabrikam.com"], both)])
    found = endings_of_policy(policy)
    assert {one.name for one in found} == {describe(o.certificate) for o in (root, other)}
    assert {one.kind for one in found} == {EndingKind.ANCHOR}
    assert len(found) == 2


CA = CONTOSO
NAME = CA.certificate.subject.rfc4514_string()
WEEK: Any = {"this_update": NOW, "next_update": NOW + 7 * DAY}


def revoking(**given: Any) -> AnyDomain:
    return AnyDomain(CA.authority(revocation=Revocation(**given)))


def of(policy: AnyDomain, kind: EndingKind) -> list[Ending]:
    return [ending for ending in endings_of_policy(policy) if ending.kind is kind]


def test_a_revocation_list_ends_with_its_next_update() -> None:
    ending = Ending(EndingKind.CRL, NAME, NOW + 7 * DAY, since=NOW)
    assert of(revoking(crls=[CA.crl(**WEEK)]), EndingKind.CRL) == [ending]
    assert of(revoking(), EndingKind.CRL) == []


def test_a_revocation_list_without_next_update_has_no_ending() -> None:
    """RFC 5280 forbids it; some CAs make it all the same."""
    data = without_next_update(CA.crl(**WEEK), CA.key)
    assert of(revoking(crls=[data]), EndingKind.CRL) == []


def test_a_given_response_and_a_staple_end_with_their_next_update() -> None:
    response = CA.ocsp(LEAF, **WEEK)
    (given,) = of(revoking(ocsp=[response]), EndingKind.OCSP)
    (stapled,) = endings_of_staple(response, "contoso.com")
    assert given.when == stapled.when == NOW + 7 * DAY
    assert given.since == stapled.since == NOW
    assert "we staple, about contoso.com" in stapled.name
    assert endings_of_staple(CA.ocsp(LEAF, status="tryLater"), "contoso.com") == []
    assert endings_of_staple(b"none", "contoso.com") == []


def test_a_policy_that_does_not_tell_has_no_endings() -> None:
    assert endings_of_policy(SimpleNamespace(evaluate=None)) == []  # type: ignore[arg-type]


def test_a_peer_ends_once_however_often_it_is_connected(root: Made) -> None:
    leaf = make_leaf(root, "sip:fabrikam.com").certificate
    names = [BelievedName("fabrikam.com"), BelievedName("edge.fabrikam.com")]
    peer = Peer(names, [leaf, root.certificate], NOW + 3 * DAY)
    bare = evolve(peer, chain=())
    assert endings_of_peers([peer, peer]) == [
        Ending(EndingKind.PEER, "edge.fabrikam.com, fabrikam.com", NOW + 3 * DAY, since=NOW - YEAR)
    ]
    assert [one.since for one in endings_of_peers([bare])] == [None]


@pytest.mark.parametrize("field", ["when", "since"])
def test_times_are_aware(field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Ending.{field} is an aware datetime"):
        evolve(END, **{field: dt.datetime(2026, 1, 1)})  # noqa: DTZ001  it is the fault


# ---------------------------------------------------------------- what is told


def test_each_threshold_is_told_once_and_the_end_too() -> None:
    reminder = Reminder()
    days = [31, 30, 29, 8, 7, 6.9, 1, 0.1, 0, -1, -400]
    assert [told(reminder, left) for left in days] == [
        [], [30], [], [], [7], [], [1], [], [0], [], [],
    ]  # fmt: skip


def test_what_is_near_at_the_first_look_is_told_once() -> None:
    reminder = Reminder()
    assert [told(reminder, 5), told(reminder, 5), told(reminder, 1)] == [[7], [], [1]]


def test_a_clock_that_is_set_back_tells_nothing_twice() -> None:
    reminder = Reminder()
    assert [told(reminder, left) for left in (1, 20, 6, 1, 0)] == [[1], [], [], [], [0]]


def test_what_is_renewed_is_told_anew() -> None:
    reminder = Reminder()
    assert told(reminder, 5) == [7]
    assert told(reminder, 5, evolve(END, when=END.when + YEAR)) == []
    assert told(reminder, 5, evolve(END, when=END.when + DAY)) == [7]


@pytest.mark.parametrize(
    ("life", "left", "days"),
    [
        (90, 30, [30]),
        (59, 29, [7]),
        (6, 5, []),
        (6, 1, [1]),
        (1, 0.5, []),
        (1, 0, [0]),
        (None, 5, [7]),
    ],
)
def test_a_threshold_is_no_longer_than_half_a_life(
    life: int | None, left: float, days: list[float]
) -> None:
    """Or each renewal of what lives for days would be told."""
    since = None if life is None else END.when - life * DAY
    reminder = Reminder()
    if life == 59:
        assert told(reminder, left, evolve(END, since=since)) == []
        left = 7
    assert told(reminder, left, evolve(END, since=since)) == days


def test_without_thresholds_only_the_end_is_told() -> None:
    reminder = Reminder([])
    assert [told(reminder, left) for left in (1, 0, -1)] == [[], [0], []]


def test_the_soonest_is_told_first() -> None:
    later = evolve(END, when=END.when + DAY)
    notices = Reminder().due(END.when - 2 * DAY, [later, END])
    assert [(one.ending, one.left) for one in notices] == [(END, 2 * DAY), (later, 3 * DAY)]


def test_memory_is_bounded_and_what_is_there_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    many = [evolve(END, name=str(number)) for number in range(5)]
    reminder = Reminder()
    assert len(told(reminder, 5, *many)) == 3  # the soonest; more are not looked at
    assert told(reminder, 5, *many) == []
    assert len(told(reminder, 5, *many[3:])) == 2
    assert len(reminder._told) == 3
    assert told(reminder, 5, *many[2:]) == []  # those seen last are the ones remembered
    assert len(told(reminder, 5, many[0])) == 1


@given(st.lists(st.integers(-60, 60), max_size=40), st.sets(st.integers(1, 50), max_size=4))
def test_nothing_is_told_twice(looks: list[int], days: set[int]) -> None:
    reminder = Reminder(days)
    thresholds = [one for left in looks for one in told(reminder, left)]
    assert thresholds == sorted(set(thresholds), reverse=True)


@pytest.mark.parametrize("days", [[0], [-1], [True], ["7"], [None], [float("nan")], [1e12]])
def test_days_are_positive_numbers(days: list[Any]) -> None:
    with pytest.raises(ConfigurationError, match="positive numbers such as"):
        Reminder(days)


def test_days_are_a_list() -> None:
    with pytest.raises(ConfigurationError, match="the days before an end are a list, not an int"):
        Reminder(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (2 * DAY + dt.timedelta(hours=5), "ends in 2 days, at "),
        (DAY, "ends in 1 day, at "),
        (dt.timedelta(hours=5), "ends in 5 hours, at "),
        (dt.timedelta(hours=1), "ends in 1 hour, at "),
        (dt.timedelta(minutes=59), "ends in less than an hour, at "),
        (dt.timedelta(), "has ended, at "),
        (-DAY, "has ended, at "),
    ],
)
def test_a_notice_is_a_sentence(left: dt.timedelta, words: str) -> None:
    notice = EndingNotice(END, 7, left)
    assert f"our certificate CN=contoso.com {words}{END.when.isoformat()}; renew it" in str(notice)
    assert notice.has_ended is (left <= dt.timedelta())


@pytest.mark.parametrize("kind", EndingKind)
def test_every_kind_says_what_to_do(kind: EndingKind) -> None:
    text = str(EndingNotice(evolve(END, kind=kind), 7, DAY))
    assert text.count(";") >= 1
    assert "CN=contoso.com ends in" in text


def test_an_authority_has_the_endings_that_its_policy_has() -> None:
    authority = CA.authority(revocation=Revocation(CA.crl()))
    found = endings_of_authority(authority)
    assert [one.kind for one in found] == [EndingKind.ANCHOR, EndingKind.CRL]
    assert found == endings_of_policy(Enterprise(["contoso.com"], authority))


def test_how_an_ending_stands_is_the_rest_of_a_sentence() -> None:
    assert EndingNotice(END, 7, 5 * DAY).found == f"ends in 5 days, at {END.when.isoformat()}"
    assert EndingNotice(END, 0, -DAY).found == f"has ended, at {END.when.isoformat()}"
