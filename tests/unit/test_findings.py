"""Findings as values: their order, their sentence, their summary."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from siptls.trust.findings import (
    Finding,
    FindingCode,
    Severity,
    severity_of,
    summary_of,
    worst_first,
)

DAY, LATER = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 2, tzinfo=UTC)


def finding(severity: str, about: str = "it", when: datetime | None = None) -> Finding:
    return Finding(Severity(severity), FindingCode.ANCHOR_EXPIRED, about, "ended", when=when)


def test_the_worst_is_first_then_the_soonest_and_each_is_told_once() -> None:
    expected = [
        finding("error", when=DAY),
        finding("error", when=LATER),
        finding("error", "a"),
        finding("error", "b"),
        finding("warning", when=DAY),
        finding("note", when=DAY),
    ]
    assert worst_first([*reversed(expected), *expected]) == tuple(expected)


@pytest.mark.parametrize("code", FindingCode)
def test_each_code_has_an_advice(code: FindingCode) -> None:
    assert Finding(Severity.NOTE, code, "it", "is odd").advice == code.advice != ""


@pytest.mark.parametrize(
    ("severities", "worst", "said"),
    [
        ([], None, "all is well: nothing was found"),
        (["note"], "note", "all is well: 1 note"),
        (["note", "warning", "note"], "warning", "nothing fails now: 1 warning, 2 notes"),
        (["warning", "error"], "error", "somebody is refused already: 1 error, 1 warning"),
    ],
)
def test_the_summary_counts(severities: list[str], worst: str | None, said: str) -> None:
    found = [finding(one) for one in severities]
    assert (severity_of(found), summary_of(found)) == (worst, said)


def test_what_a_stranger_wrote_stays_on_one_line() -> None:
    found = Finding(Severity.NOTE, FindingCode.FILE_UNNAMED, "a\nb", "c\x1b", expected="d\u202e")
    assert str(found).startswith(
        "note file.unnamed: a\\u000ab c\\u001b; expected d\\u202e; name it"
    )
    assert found.to_dict()["about"] == "a\\u000ab"
    assert found.to_dict()["when"] is None
