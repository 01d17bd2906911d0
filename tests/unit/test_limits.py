"""Limits: each is a positive number, and has the value that its documentation gives reasons for."""

from __future__ import annotations

import inspect
import math
from typing import Any

import attrs
import pytest

from siptls import ConfigurationError, Limits

DEFAULTS = {
    "connect_timeout": 5.0,
    "attempt_delay": 0.25,
    "reach_timeout": 32.0,
    "handshake_timeout": 10.0,
    "first_message_timeout": 180.0,
    "idle_timeout": 3900.0,
    "gone_timeout": 90.0,
    "message_timeout": 30.0,
    "pong_timeout": 10.0,
    "close_timeout": 2.0,
    "max_head": 65536,
    "max_header_lines": 256,
    "max_body": 1048576,
    "max_certificates": 8,
    "max_chain": 65536,
    "max_handshakes": 4_000,
    "handshake_workers": None,
    "max_threads": 400,
    "max_connections": 10_000,
    "max_per_address": 200,
    "write_buffer": 65536,
    "read_buffer": 65536,
    "log_rate": 10.0,
}


def test_the_defaults() -> None:
    assert attrs.asdict(Limits()) == DEFAULTS


def test_every_limit_is_documented() -> None:
    for name in DEFAULTS:
        assert f"\n    {name}: " in inspect.cleandoc(Limits.__doc__ or "")


DURATIONS = [name for name in DEFAULTS if name.endswith(("timeout", "delay"))]


@pytest.mark.parametrize("name", DURATIONS)
def test_a_duration_is_a_positive_number(name: str) -> None:
    """Neither 0 nor a negative number means that there is none; not even infinity is needed."""
    for good in (1, 0.001, 10**12, math.inf):
        assert getattr(Limits(**{name: good}), name) == good
    for bad in (0, 0.0, -1, -0.5, -math.inf, math.nan, True, "5"):
        with pytest.raises(ConfigurationError, match=rf"^Limits\.{name} is a positive number of s"):
            Limits(**{name: bad})


@pytest.mark.parametrize("name", sorted(DEFAULTS.keys() - {*DURATIONS, "log_rate"}))
def test_a_count_is_a_positive_whole_number(name: str) -> None:
    """A semaphore of 1.5 would let everybody in."""
    for good in (1, 10**12):
        assert getattr(Limits(**{name: good}), name) == good
    for bad in (0, -1, 1.5, 2.0, math.inf, math.nan, True, "5"):
        with pytest.raises(ConfigurationError, match=rf"^Limits\.{name} is a positive whole"):
            Limits(**{name: bad})


def test_a_rate_is_a_positive_number() -> None:
    for good in (1, 0.1, None):
        assert Limits(log_rate=good).log_rate == good
    for bad in (0, -1.0, math.nan, True, "5"):
        with pytest.raises(
            ConfigurationError, match=r"^Limits\.log_rate is a positive number of l"
        ):
            Limits(log_rate=bad)  # type: ignore[arg-type]


def test_limits_are_a_value_given_by_name() -> None:
    assert Limits(max_head=5) == Limits(max_head=5) != Limits()
    assert len({Limits(), Limits(), Limits(max_body=1)}) == 2
    anything: Any = Limits
    with pytest.raises(TypeError):
        anything(5)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Limits().max_head = 5  # type: ignore[misc]
