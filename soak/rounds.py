"""Rounds: how a process of the soak is told to begin, to rest, and to report.

On its standard input come the lines ``go`` with the ports, ``rest``, and the end of the file. After
each rest, when everything is closed, it writes a line of JSON: what it has done, what went wrong,
and what is left of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from remains import measure, settled
from world import Wrong

LIMIT = 1 << 20  # of a line that a child writes


@frozen
class Ports:
    """Where the servers are."""

    handler: int
    on_message: int
    blocking: int


@define
class Report:
    """What a process has done in a round, and what went wrong."""

    done: Counter[str] = field(factory=Counter)
    wrong: Wrong = field(factory=list)


def obey(work: Callable[[Ports, Report], None]) -> None:
    """Do rounds of work as told. The work has to end when standard input is readable."""
    logging.getLogger("siptls").setLevel(logging.CRITICAL)  # it reports what went wrong itself
    before: dict[str, Any] | None = None
    with open(0, "rb", buffering=0, closefd=False) as commands:
        while line := commands.readline():
            _, *ports = line.split()
            report = Report()
            work(Ports(*map(int, ports)), report)
            if not commands.readline():  # "rest", or the soak is gone
                return
            left = measure() if before is None else settled(before)
            before = before or left
            told = {"done": report.done, "wrong": report.wrong[:20], "left": left}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


class Child:
    """A process of the soak, as its parent sees it."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self._process = process

    @classmethod
    async def start(cls, name: str) -> Child:
        """Start it: the program of that name."""
        program = str(Path(__file__).with_name(f"{name}.py"))
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, program],
            stdin=PIPE,
            stdout=PIPE,
            limit=LIMIT,
            start_new_session=True,  # Ctrl-C is for the soak, which tells its children
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        return cls(name, process)

    def go(self, ports: Ports) -> None:
        """Have a round begin."""
        self._say(f"go {ports.handler} {ports.on_message} {ports.blocking}\n")

    async def rest(self) -> dict[str, Any]:
        """Have the round end; give what it tells."""
        self._say("rest\n")
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            code = await self._process.wait()
            raise RuntimeError(f"the process {self.name} has ended with {code}: see above")
        told: dict[str, Any] = json.loads(line)
        return told

    async def end(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 30)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())
