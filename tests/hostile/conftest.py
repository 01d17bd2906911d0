"""What the hostile tests get: a server that is attacked, and the attacker's version of TLS."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

import pytest
from hostility import Attacked, Victim, in_asyncio, in_threads
from peers import VERSIONS


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
        if record.levelno >= logging.ERROR:
            self.errors.append(self.lines[-1])


@pytest.fixture(params=[in_asyncio, in_threads], ids=["asyncio", "threads"])
def attacked(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    """Give what serves with some limits until a block ends. Nobody makes it log an error."""
    lines, logger = _Lines(), logging.getLogger("siptls")
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        yield partial(request.param, lines.lines)
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before)
    assert lines.errors == []


@pytest.fixture
def victim(attacked: Attacked) -> Iterator[Victim]:
    """A server with the limits that are the default."""
    with attacked() as victim:
        yield victim


@pytest.fixture(params=sorted(VERSIONS))
def version(request: pytest.FixtureRequest) -> str:
    """The attacker's version of TLS."""
    return str(request.param)
