"""siptls.journal: nothing depends on what is logged, and the log says who has logged."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import pickle
import sys
from collections.abc import Iterator

import pytest

from siptls.journal import about, log


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


# ---------------------------------------------------------------- what a record has beside its text


def test_a_record_has_the_attributes_that_it_is_given(caplog: pytest.LogCaptureFixture) -> None:
    fields = about(
        "peer_refused", address=("192.0.2.1", 5061), role="client", code="path.expired", limit="x"
    )
    log.warning("told", extra=fields)
    (record,) = caplog.records
    shown = {name: value for name, value in vars(record).items() if name.startswith("siptls_")}
    assert shown == fields
    assert shown == {
        "siptls_event": "peer_refused",
        "siptls_address": "192.0.2.1",
        "siptls_port": 5061,
        "siptls_role": "client",
        "siptls_expected": None,
        "siptls_trust": None,
        "siptls_names": [],
        "siptls_presented": [],
        "siptls_code": "path.expired",
        "siptls_error": None,
        "siptls_limit": "x",
    }
    assert record.funcName == "test_a_record_has_the_attributes_that_it_is_given"


def test_every_record_has_an_event(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("told")
    assert caplog.records[0].siptls_event is None  # type: ignore[attr-defined]


def test_of_many_names_a_record_has_some() -> None:
    names = [f"{number:04}.example" for number in range(1000)]
    fields = about("peer_refused", names=set(names), presented=names)
    assert fields["siptls_names"] == fields["siptls_presented"] == names[:16]


def test_a_record_can_be_sent_to_another_process(caplog: pytest.LogCaptureFixture) -> None:
    """Handlers of the standard library pickle it; JSON has no more kinds of data than these."""
    log.error("told", extra=about("callback_failed", role="server", error=OSError("no")))
    attributes = vars(caplog.records[0])
    assert pickle.loads(pickle.dumps(attributes)) == attributes
    assert json.loads(json.dumps(about("peer_refused"))) == about("peer_refused")
