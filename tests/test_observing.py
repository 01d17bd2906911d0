"""What is written about metrics, log records and the key log is what there is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import siptls
from siptls import Role, Trust
from siptls.journal import about
from siptls.metrics import METRICS, Failure, How, Metrics, Outcome
from siptls.trust.codes import Code
from siptls.wire.measures import Measures

ROOT = Path(__file__).parent.parent
SOURCE = Path(siptls.__file__).parent
REFERENCE = (ROOT / "docs" / "reference" / "observability.md").read_text(encoding="utf-8")
HOW_TO = (ROOT / "docs" / "how-to" / "observe.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in REFERENCE.splitlines()
    if line.startswith("| `")
]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_metric_is_listed_with_its_kind_and_labels() -> None:
    listed = [
        (words(name)[0], kind, tuple(words(labels)))
        for name, kind, labels, _ in (row for row in ROWS if len(row) == 4)
    ]
    assert listed == [(metric.name, str(metric.kind), metric.labels) for metric in METRICS]


LABELS = {
    "outcome": {str(one) for one in Outcome},
    "how": {str(one) for one in How},
    "role": {str(one) for one in Role},
    "trust": {*map(str, Trust), "none"},
    "resumed": {"yes", "no"},
    "direction": {"received", "sent"},
    "reason": {str(one) for one in Failure},
    "limit": {"max_per_address", "max_connections", "max_handshakes", "max_threads"},
}


def test_every_label_is_listed_with_its_values() -> None:
    listed = {words(row[0])[0]: set(words(row[1])) for row in ROWS if words(row[0])[0] in LABELS}
    assert listed == LABELS
    assert {*LABELS, "code"} == {label for metric in METRICS for label in metric.labels}


def test_a_code_of_ours_is_never_lost_among_those_of_the_application() -> None:
    measures = Measures(Metrics())
    for number in range(100):
        measures.code(f"mine.{number}")
    assert [measures.code(code) for code in Code] == [str(code) for code in Code]


# ---------------------------------------------------------------- log records


def calls() -> list[ast.Call]:
    return [
        node
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def constants(node: ast.AST) -> set[str]:
    """The texts that an expression may be; of a condition, those that it chooses from."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp(body=one, orelse=other):
            return constants(one) | constants(other)
        case ast.JoinedStr(values=[ast.Constant(value="keep_"), _]):
            return {"keep_waiting", "keep_refused"}  # the states that are told
    return set()


def events() -> set[str]:
    found: set[str] = set()
    for call in calls():
        name = (
            call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        )
        if name in {"about", "_about_client"}:
            found |= set().union(*map(constants, call.args))
        for keyword in call.keywords:
            if keyword.arg == "event":
                found |= constants(keyword.value)
    for path in SOURCE.rglob("*.py"):
        for text in re.findall(r"event = (\".*)", path.read_text(encoding="utf-8")):
            found |= constants(ast.parse(text, mode="eval").body)
    return found


def test_every_event_is_listed_and_no_other() -> None:
    levels = {"DEBUG", "INFO", "WARNING", "ERROR"}
    listed = {words(row[0])[0] for row in ROWS if set(row[1].split(", ")) <= levels}
    assert listed == events()
    assert len(listed) > 15


def test_every_attribute_is_listed_and_no_other() -> None:
    listed = {word for row in ROWS for word in words(row[0]) if re.match(r"siptls_\w+$", word)}
    listed -= {metric.name for metric in METRICS}
    known = set(about.__kwdefaults__ or {})
    more = {
        f"siptls_{keyword.arg}"
        for call in calls()
        if isinstance(call.func, ast.Name) and call.func.id == "about"
        for keyword in call.keywords
        if keyword.arg is not None and keyword.arg not in known
    }
    assert listed == {*about("x"), *more, "siptls_decision"}


# ---------------------------------------------------------------- the alerts


def test_the_alerts_ask_for_what_there_is() -> None:
    table = HOW_TO.split("## Alerts")[1].split("\n## ")[0].replace("\\|", "|")
    metrics = {metric.name: metric for metric in METRICS}
    asked = re.findall(r"(siptls_\w+?)(?:_bucket)?(?:\{(.*?)\})?[)\[]", table)
    assert len(asked) > 12
    for name, matchers in asked:
        metric = metrics[name]
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            assert label in metric.labels, f"{name} has no {label}"
            known = LABELS.get(label, set(Code))
            assert set(values.split("|")) <= {str(one) for one in known}
    for labels in re.findall(r"sum by \((\w+)\)", table):
        assert labels in {"le", *(label for metric in METRICS for label in metric.labels)}


# ---------------------------------------------------------------- the example


@pytest.mark.parametrize("option", [[], ["--opentelemetry"]])
def test_the_example_shows_what_has_happened(option: list[str]) -> None:
    for library in ["prometheus_client", *(["opentelemetry.sdk"] if option else [])]:
        pytest.importorskip(library)
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", ROOT / "examples" / "metrics.py", *option],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    shown = dict(line.rsplit(" ", 1) for line in run.stdout.splitlines())
    of = 'resumed="no",role="client",trust="{}"}}'
    handshakes = "siptls_handshakes_total{code="
    assert shown[handshakes + '"accepted",outcome="accepted",' + of.format("enterprise")] == "2.0"
    for code in ("path.signature", "certificate.missing"):
        assert shown[f'{handshakes}"{code}",outcome="refused",' + of.format("none")] == "1.0"
    assert shown['siptls_connections{role="client",trust="enterprise"}'] == "0.0"
    assert ("OpenTelemetry has siptls_handshakes" in run.stdout) is bool(option)
