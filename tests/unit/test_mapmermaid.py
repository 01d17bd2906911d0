"""The trust map as Mermaid text."""

from __future__ import annotations

import re

import pytest
from policies import ALL, named, with_partners

from siptls import TrustPolicy
from siptls.cli.mapmermaid import mermaid
from siptls.trust.trustmap import TrustMap

LABEL = r'"[A-Za-z#][A-Za-z0-9 .\-_,:()/+•…#;<>]*"'
LINES = [
    "flowchart LR",
    rf"  \w+\(\[{LABEL}\]\):::ca",
    rf"  \w+\[{LABEL}\]:::(ours|partner|strangers|blocked)",
    r"  (our)?ca\d+ -->\|vouches for\| (ours|party)\d+",
    r"  ours1 (---|-\. blocked \.-) party\d+",
    r"  classDef \w+ [a-z0-9:,# \-]+",
]


def draw(policy: TrustPolicy) -> str:
    return mermaid(TrustMap.of(policy))


@pytest.mark.parametrize("name", ALL)
def test_each_line_is_of_a_known_form(name: str) -> None:
    """Nothing that stands in a certificate makes a line of its own, or ends a label."""
    text = draw(ALL[name])
    assert text.endswith("\n")
    for line in text.splitlines():
        assert any(re.fullmatch(form, line) for form in LINES), line
    for label in re.findall(r'"(.*)"', text):
        assert set(re.findall(r"<[^>]*>", label)) <= {"<br/>"}


def test_who_vouches_for_whom_is_drawn() -> None:
    lines = draw(with_partners(1)).splitlines()
    assert lines[1:8] == [
        '  ourca1(["Contoso CA<br/>until 2036-01-01"]):::ca',
        '  ours1["contoso.com<br/>contoso.net<br/>trusted servers:<br/>#8226; edge.contoso.com<br/>'
        'relays fabrikam.com, litware.com<br/>#8226; pool.contoso.com"]:::ours',
        "  ourca1 -->|vouches for| ours1",
        '  ca1(["Partner 0 CA<br/>until 2036-01-01"]):::ca',
        '  party1["partner00.example<br/>edge edge.partner00.example"]:::partner',
        "  ca1 -->|vouches for| party1",
        "  ours1 --- party1",
    ]


def test_who_is_blocked_is_drawn_so() -> None:
    text = draw(ALL["blocked"])
    assert "  ours1 -. blocked .- party2\n" in text
    assert '"blocked<br/>evil0.example<br/>' in text


def test_what_would_begin_a_list_or_end_a_label_is_written_as_numbers() -> None:
    text = draw(named('1. "]; click `x`'))
    assert '(["#49;. #34;#93;#59; click #96;x#96;<br/>' in text


def test_the_text_is_the_same_each_time() -> None:
    assert len({draw(with_partners(12)) for _ in range(3)}) == 1
