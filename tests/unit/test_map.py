"""``siptls map``: a picture in a file, or text on standard output."""

from __future__ import annotations

from pathlib import Path

import pytest
from trust_map import REFERENCE, write

pytest.importorskip("rich", reason="the command line needs the extra cli")
pytest.importorskip("click", reason="the command line needs the extra cli")
from siptls.cli import main


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(write(tmp_path).name)


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["siptls", "map", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_picture_in_the_docs_is_that_of_the_policy_there(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If it is not, draw it anew, and look at it."""
    assert run(str(policy), "-o", "map.svg", monkeypatch=monkeypatch) == 0
    drawn = Path("map.svg").read_text(encoding="utf-8")
    assert drawn == (REFERENCE / "trust-map.svg").read_text(encoding="utf-8")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        ([], "flowchart LR\n"),
        (["--format", "mermaid"], "flowchart LR\n"),
        (["--format", "svg"], "<svg "),
        (["-o", "-"], "flowchart LR\n"),
        (["-o", "-", "--format", "svg"], "<svg "),
    ],
)
def test_without_a_file_it_is_printed(
    arguments: list[str],
    begin: str,
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(str(policy), *arguments, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert said.out.startswith(begin)
    assert said.err == ""
    assert not Path("-").exists()


@pytest.mark.parametrize(
    ("file", "form", "begin"),
    [
        ("map.SVG", [], "<svg "),
        ("map.mmd", [], "flowchart LR\n"),
        ("map.mermaid", [], "flowchart LR\n"),
        ("map.txt", ["--format", "svg"], "<svg "),
        ("map.svg", ["--format", "mermaid"], "flowchart LR\n"),
    ],
)
def test_the_suffix_says_which_unless_it_is_said(
    file: str, form: list[str], begin: str, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(str(policy), "-o", file, *form, monkeypatch=monkeypatch) == 0
    assert Path(file).read_text(encoding="utf-8").startswith(begin)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["policy.toml", "-o", "map.png"], "the suffix of 'map.png' is none of .svg, .mmd"),
        (["policy.toml", "-o", "no/map.svg"], "cannot write 'no/map.svg': No such file"),
        (["policy.toml", "--format", "png"], "'png' is not one of"),
        (["contoso-ca.pem"], "is no TOML file"),
        (["nowhere.toml"], "does not exist"),
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
