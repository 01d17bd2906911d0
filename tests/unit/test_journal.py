"""siptls.journal: nothing depends on what is logged, and the log says who has logged."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator

import pytest

from siptls.journal import log


class Full(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def full() -> Iterator[None]:
    """A handler whose disk is full, and which raises."""
    handler = Full()
    logging.getLogger("siptls").addHandler(handler)
    yield
    logging.getLogger("siptls").removeHandler(handler)


@pytest.mark.usefixtures("full")
def test_what_a_handler_raises_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    log.warning("told")
    log.error("told")
    assert capsys.readouterr().err.count("No space left on device") == 2


class FullToo(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("closed", [False, True])
def test_nor_does_anything_depend_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, *, closed: bool
) -> None:
    """It is on the same disk, or closed."""
    with FullToo() as stream:
        if closed:
            stream.close()
        monkeypatch.setattr(sys, "stderr", stream)
        log.warning("told")


@pytest.mark.usefixtures("full")
def test_or_not_if_logging_is_to_be_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.warning("told")
    assert capsys.readouterr().err == ""


def test_a_record_names_whoever_has_logged(caplog: pytest.LogCaptureFixture) -> None:
    try:
        int("no number")
    except ValueError:
        log.exception("it %s", "failed")
    log.log(logging.WARNING, "and so")
    first, second = caplog.records
    assert [one.name for one in caplog.records] == ["siptls"] * 2
    assert {one.funcName for one in caplog.records} == {"test_a_record_names_whoever_has_logged"}
    assert first.getMessage() == "it failed"
    assert first.exc_info is not None
    assert second.levelno == logging.WARNING
