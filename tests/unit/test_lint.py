"""``siptls lint``: what it prints, and how it exits."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from trust_map import write

pytest.importorskip("rich", reason="the command line needs the extra cli")
pytest.importorskip("click", reason="the command line needs the extra cli")
from siptls.cli import main
from siptls.testing import CertificateAuthority


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    return Path(write(tmp_path).name)


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["siptls", "lint", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_nothing_is_cut_where_the_page_is_narrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "An Enterprise CA whose name is as long as the standard allows it"
    (tmp_path / "ca.pem").write_bytes(CertificateAuthority(name).pem)
    policy = tmp_path / "policy.toml"
    policy.write_text('[enterprise]\ndomains = ["contoso.com"]\nauthority = "ca.pem"\n')
    monkeypatch.setenv("COLUMNS", "40")
    run(str(policy), "--at", "2027-01-01", monkeypatch=monkeypatch)
    line = next(line for line in capsys.readouterr().out.splitlines() if name in line)
    assert line.startswith(f"└── {name} (until ")
    assert line.endswith(") may vouch for")


@pytest.mark.parametrize(
    ("at", "status"), [("2026-12-01", 0), ("2027-03-01", 4), ("2027-04-01T12:00", 1)]
)
def test_the_exit_says_how_bad_it_is(
    at: str,
    status: int,
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(str(policy), "--at", at, monkeypatch=monkeypatch) == status
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[-1].startswith("policy.toml: ")
    assert run(str(policy), "--at", at, "--json", monkeypatch=monkeypatch) == status
    found = json.loads(capsys.readouterr().out)
    assert found["summary"]["text"] == said.out.splitlines()[-1]


def test_the_map_stands_first_then_chains_then_findings(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(policy), "--at", "2027-02-25", "--chain", "fabrikam-edge.pem"]
    run(*arguments, "--credential", "edge.pem", monkeypatch=monkeypatch)
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[:5] == [
        "policy.toml at 2027-02-25T00:00:00+00:00",
        "├── Contoso CA (until 2036-01-01) may vouch for",
        "│   └── we: contoso.com",
        "│       trusted servers:",
        "│       • edge.contoso.com",
    ]
    place = lines.index(
        "edge.pem: as a server accepted, as a client accepted, until 2027-06-01T00:00:00+00:00"
    )
    assert lines[place + 1] == (
        "fabrikam-edge.pem: as a server accepted, as a client purpose.unacceptable,"
        " until 2027-03-20T00:00:00+00:00"
    )
    assert lines[place + 3] == "error chain.purpose"
    assert "warning anchor.ends-soon (2027-03-20)" in lines
    assert "\x1b" not in said  # it is no terminal


def test_a_policy_that_blocks_nobody_and_has_no_ca_of_ours_is_shown_too(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.write_text('[discovery]\nauthority = "public"\nown = ["contoso.com"]\n')
    assert run(str(policy), "--at", "2026-12-01", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.splitlines()[1:5] == [
        "├── no CA",
        "│   └── we: contoso.com",
        "│       no CA of ours in this policy",
        "└── public CAs (they issue to anybody) may vouch for",
    ]


def test_it_prints_the_same_each_time(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = set()
    for _ in range(3):
        run(str(policy), "--at", "2027-04-01", "--json", monkeypatch=monkeypatch)
        said.add(capsys.readouterr().out)
    assert len(said) == 1


def test_how_long_before_is_chosen(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(policy), "--at", "2027-01-01", monkeypatch=monkeypatch) == 0
    arguments = [str(policy), "--at", "2027-01-01", "--days", "90"]
    assert run(*arguments, monkeypatch=monkeypatch) == 4
    assert "anchor.ends-soon" in capsys.readouterr().out


def test_a_faulty_file_is_a_line_for_each_fault(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.write_text('blocked = 7\n[[partner]]\ndomains = ["a.example"]\n')
    for form in ([], ["--json"]):
        assert run(str(policy), *form, monkeypatch=monkeypatch) == 2
        said = capsys.readouterr()
        assert said.out == ""
        first, *faults = said.err.splitlines()
        assert first == "Error: policy.toml has 2 faults:"
        assert [line.split(":")[0] for line in faults] == ["  blocked", "  partner[0].authority"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.toml"], "'nowhere.toml' does not exist"),
        (["policy.toml", "--at", "soon"], "'soon' is no date"),
        (["policy.toml", "--days", "0"], "0 is not in the range"),
        (["policy.toml", "--chain", "policy.toml"], "is no certificate"),
        (["edge.pem"], "is no TOML file"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_be_meant_is_one_error(
    arguments: list[str],
    said: str,
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*arguments, monkeypatch=monkeypatch) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert said in error
    assert "Traceback" not in error


def test_what_a_certificate_says_is_no_markup_and_reaches_no_terminal(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = CertificateAuthority("[bold]x[/bold] :smile: \x1b]0;title\x07 \u202e", seed="lint")
    Path("fabrikam-ca.pem").write_bytes(evil.pem)
    monkeypatch.setenv("FORCE_COLOR", "1")
    run(str(policy), monkeypatch=monkeypatch)
    said = capsys.readouterr().out
    assert "[bold]x[/bold] :smile: \\u001b]0;title\\u0007 \\u202e" in said
    assert "\x1b]0" not in said
    assert "\x07" not in said
    assert "\u202e" not in said


def test_what_the_output_cannot_hold_is_written_with_escapes(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ``LC_ALL=C`` into a file: the map has bullets, and a CA may be called anything."""
    Path("fabrikam-ca.pem").write_bytes(CertificateAuthority("Bücher…", seed="lint").pem)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    run(str(policy), monkeypatch=monkeypatch)
    sys.stdout.flush()
    assert rb"B\xfccher\u2026" in raw.getvalue()
