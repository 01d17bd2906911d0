"""The example must run, and must notice when something gets through."""

from __future__ import annotations

import asyncio
import logging
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "trusted_network.py"


def test_the_trusted_network_runs_and_everything_is_as_it_must_be() -> None:
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", EXAMPLE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    assert "WRONG" not in run.stdout
    for code in (
        "server.not-listed",
        "name.out-of-scope",
        "path.unknown-ca",
        "name.mismatch",
        "path.expired",
        "certificate.missing",
    ):
        assert f"refused: {code}" in run.stdout
    assert "TLSv1.3" in run.stdout
    assert "by Contoso Enterprise CA" in run.stdout


def test_it_exits_with_1_if_an_impostor_gets_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a list that trusts everybody in the domain, the unlisted server is accepted."""
    example = runpy.run_path(str(EXAMPLE))
    monkeypatch.setattr(logging.getLogger("siptls"), "setLevel", lambda _: None)
    monkeypatch.setitem(example["build"].__globals__, "CONTOSO_SERVERS", ["contoso.com"])
    failures = asyncio.run(example["main"]())
    assert failures == 1
    assert (
        "WRONG a server of our own that is not on the trusted server list"
        in capsys.readouterr().out
    )
