"""Crowd: connections are counted by where they come from."""

from __future__ import annotations

import pytest

from siptls.transports.crowd import Crowd


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::1", "192.0.2.1", False),
        ("c000:201::", "192.0.2.1", False),  # the same first bytes
    ],
)
def test_where_two_connections_come_from_the_same_place(
    one: str, other: str, *, together: bool
) -> None:
    crowd = Crowd(1)
    assert crowd.enter((one, 5061))
    assert crowd.enter((other, 40_000)) is not together


def test_so_many_come_in_and_whoever_leaves_makes_room() -> None:
    crowd, place = Crowd(2), ("192.0.2.1", 1)
    assert [crowd.enter(place) for _ in range(4)] == [True, True, False, False]
    crowd.leave(place)
    assert [crowd.enter(place) for _ in range(2)] == [True, False]
    assert crowd.enter(("192.0.2.2", 1))


def test_nothing_is_kept_of_whoever_has_left() -> None:
    """A hundred thousand strangers, one after the other, cost no memory."""
    crowd = Crowd(2)
    for number in range(100_000):
        place = (f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1", 5061)
        assert crowd.enter(place)
        crowd.leave(place)
    assert crowd._counts == {}


def test_a_unix_socket_comes_from_nowhere_and_no_limit_counts_nobody() -> None:
    for crowd, place in ((Crowd(1), None), (Crowd(None), ("192.0.2.1", 1))):
        assert all(crowd.enter(place) for _ in range(3))
        crowd.leave(place)
        assert crowd._counts == {}
