"""The server and the client in the README, together; that each block runs is test_pages.py's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pages import ROOT, read_blocks
from ports import free_port

BLOCKS = read_blocks(ROOT / "README.md")
PROGRAMS = {block.name: block.text for block in BLOCKS if block.language == "python"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the programs, their port replaced by a free one, and with certificates."""
    port = str(free_port())
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text.replace("5061", port), encoding="utf-8")
    run(tmp_path, "certificates.py")
    return tmp_path


def run(folder: Path, name: str) -> str:
    command = [sys.executable, "-W", "error", name]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@contextmanager
def running(folder: Path, name: str) -> Iterator[list[str]]:
    """Run a server until the block ends; the lines that it printed are there after it."""
    command = [sys.executable, "-W", "error", name]
    lines: list[str] = []
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        try:
            yield lines
        finally:
            process.terminate()
            lines += process.stdout.readlines()


def test_there_are_these_programs() -> None:
    assert list(PROGRAMS) == ["certificates.py", "server.py", "client.py", "test_policy.py"]


def test_the_client_and_the_server_work_together(folder: Path) -> None:
    with running(folder, "server.py") as served:
        said = run(folder, "client.py")
    assert said == ("connected with frozenset({'contoso.com'}) over TLSv1.3\nSIP/2.0 200 OK\n")
    assert served == ["accepted frozenset({'fabrikam.com'}) federated\n"]


def test_the_server_explains_whom_it_refuses(folder: Path) -> None:
    """The CA changes under the partner's feet: the server says so."""
    with running(folder, "server.py") as served:
        text = PROGRAMS["certificates.py"].replace('"contoso', '"other-contoso')
        (folder / "others.py").write_text(text, encoding="utf-8")
        run(folder, "others.py")
        with pytest.raises(AssertionError, match=r"unknown_ca|decrypt_error|bad_certificate"):
            run(folder, "client.py")
    assert served[0].startswith("refused: path.")
