"""siptls.cli: the way in, and what becomes of errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from siptls import ConfigurationError
from siptls.cli.commands import run
from siptls.cli.exits import Exit
from siptls.cli.lint import lint
from siptls.testing import CertificateAuthority

WITHOUT = """
import sys
class Nobody:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nobody())
import siptls.cli
siptls.cli.main()
"""


def without(module: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", WITHOUT, module]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_says_what_to_install(missing: str) -> None:
    ran = without(missing)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"siptls: the command line needs {missing}: pip install 'siptls[cli]'\n"


def test_a_module_that_is_missing_for_another_reason_is_a_fault_of_ours() -> None:
    ran = without("OpenSSL")
    assert ran.returncode == 1
    assert "ModuleNotFoundError" in ran.stderr


def test_the_program_tells_its_commands() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "siptls", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "check" in ran.stdout
    assert "explain" in ran.stdout


def ended(how: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command that ends so, and give the exit status."""

    def end(*_: object, **__: object) -> None:
        raise how

    monkeypatch.setattr(lint, "callback", end)
    monkeypatch.setattr(sys, "argv", ["siptls", "lint", __file__])
    with pytest.raises(SystemExit) as left:
        run()
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize(
    ("how", "status", "told"),
    [
        (KeyboardInterrupt(), Exit.INTERRUPTED, "interrupted"),
        (BrokenPipeError(32, "Broken pipe"), Exit.UNREAD, ""),
        (OSError(28, "No space left"), Exit.USAGE, "Error: cannot go on with standard output: No"),
        (OSError(13, "Not yours", "x\x1b"), Exit.USAGE, r"Error: cannot go on with 'x\x1b': Not"),
        (ConfigurationError("x\x1b[2J\n  y"), Exit.USAGE, "Error: x\\u001b[2J\n  y"),
    ],
)
def test_no_failure_of_the_command_itself_says_that_somebody_is_refused(
    how: BaseException,
    status: Exit,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, err = sys.stdout, sys.stderr
    try:
        assert ended(how, monkeypatch) == status
    finally:
        sys.stdout, sys.stderr = out, err  # click takes them away where a pipe is closed
    assert capsys.readouterr().err.strip().startswith(told)


def test_nobody_reads_and_a_disk_that_is_full() -> None:
    """With a real file, since what is left in a buffer is written once more at the end."""
    command = [sys.executable, "-W", "error", "-m", "siptls", "--version"]
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == Exit.USAGE
    assert ran.stderr.startswith("Error: cannot go on with standard output: ")
    assert "Traceback" not in ran.stderr
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as unread:
        ran = subprocess.run(command, stdout=unread, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (Exit.UNREAD, "")


@pytest.mark.parametrize("command", ["lint", "map"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_show_a_name_is_no_failure(
    command: str, encoding: str, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(CertificateAuthority("Bücher \u2603").pem)
    policy = tmp_path / "policy.toml"
    policy.write_text('[enterprise]\ndomains = ["contoso.com"]\nauthority = "ca.pem"\n', "utf-8")
    arguments = [command, str(policy), *(["--format", "svg"] if command == "map" else [])]
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "siptls", *arguments],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    shown = "\u2603".encode() if command == "map" else b"\\u2603"
    assert shown in ran.stdout
