"""Programs of others that a test runs: heard while they run, and ended with all they started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from namespaces import Namespace

TIMEOUT = 20  # seconds for what takes far less on an idle machine
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


def needs(program: str, package: str) -> pytest.MarkDecorator:
    """Skip where there is no such program, and tell the packages of Debian that have it."""
    absent = shutil.which(program, path=_PATH) is None
    return pytest.mark.skipif(absent, reason=f"no {program}: apt-get install {package}")


class Program:
    """A program that runs, and all that it has printed."""

    def __init__(
        self, process: asyncio.subprocess.Process, connect: Callable[[str, int], socket.socket]
    ) -> None:
        self._process = process
        self._connect = connect
        self._printed = b""
        self._more = asyncio.Event()
        self._silent = asyncio.create_task(self._listen())

    @property
    def output(self) -> str:
        return self._printed.decode(errors="replace")

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(65536):
            self._printed += data
            self._more.set()
        self._more.set()

    async def prints(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed what matches; lines are told apart."""
        try:
            async with asyncio.timeout(TIMEOUT):
                while not (found := re.search(pattern, self.output, re.MULTILINE)):
                    assert not self._silent.done(), f"ended without {pattern!r}:\n{self.output}"
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            pytest.fail(f"it never printed {pattern!r}, but:\n{self.output}")
        return found

    async def listens(self, port: int, host: str = "127.0.0.1") -> None:
        """Wait until one can connect to it: most have no other way to say that they are ready."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                assert not self._silent.done(), self.output
                try:
                    self._connect(host, port).close()
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
                else:
                    return

    def tell(self, text: bytes | memoryview | str) -> None:
        """Type something."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() if isinstance(text, str) else text)

    def tell_no_more(self) -> None:
        """Let it see the end of what is typed."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def ends(self) -> int:
        """Wait until it ends by itself; give its exit code."""
        async with asyncio.timeout(TIMEOUT):
            await self._silent
            return await self._process.wait()

    async def _stop(self, *signals: signal.Signals) -> None:
        """End its group, all of which is ours: it is silent when nobody of it is left."""
        for number in signals:
            if not self._silent.done():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
            await asyncio.wait([self._silent], timeout=5)
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        with contextlib.suppress(OSError):
            await self._process.stdin.wait_closed()


@asynccontextmanager
async def running(
    *command: str,
    folder: Path,
    namespace: Namespace | None = None,
    lingers: bool = False,
    **environment: str,
) -> AsyncIterator[Program]:
    """Run a program until the block ends.

    Args:
        command: The program, with its arguments.
        folder: Where it runs, and what it takes for its user's home.
        namespace: Where its addresses are; by default those of this machine.
        lingers: It does not end soon when it is asked to, and has nothing to put in order.
        environment: More variables for it.
    """
    path = shutil.which(command[0], path=_PATH)
    assert path is not None
    there = () if namespace is None else ("ip", "netns", "exec", namespace.name)
    process = await asyncio.create_subprocess_exec(
        *(*there, path, *command[1:]),
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "LC_ALL": "C", **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    program = Program(process, _connected if namespace is None else namespace.connected)
    try:
        yield program
    finally:
        await program._stop(*(() if lingers else (signal.SIGTERM,)), signal.SIGKILL)


def _connected(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=10)
