"""siptls.cli: the way in, and what becomes of errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
