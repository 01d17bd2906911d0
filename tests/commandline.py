"""The command line as it is run: with its arguments, and all that comes out."""

from __future__ import annotations

import sys

import pytest
from attrs import frozen

from siptls.cli.commands import run

__all__ = ["Ran", "siptls"]


@frozen
class Ran:
    """What a command has printed, and its exit status."""

    status: int
    output: str
    errors: str

    @property
    def last(self) -> str:
        """The last line of its output."""
        return self.output.splitlines()[-1]


def siptls(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> Ran:
    """Run a command in this process."""
    monkeypatch.setattr(sys, "argv", ["siptls", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    told = capsys.readouterr()
    return Ran(int(ended.value.code or 0), told.out, told.err)
