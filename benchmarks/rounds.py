"""Rounds: two things measured in turn (A B A B ...), and the ratio within each pair.

A machine is faster in one minute than in the next. So what is compared is measured in one run, side
by side, and only the ratio of neighbours is looked at; the median of the ratios is the result, and
the range says how far to believe it.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

__all__ = ["KAMAILIO", "Kamailio", "Ratio", "Server", "in_turn", "kamailio", "serving"]

KAMAILIO = shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""Where it is; None if it is not installed."""


@frozen
class Ratio:
    """What came of two things that were measured in turn.

    Attributes:
        baseline: Each figure of the first.
        ours: Each figure of the second.
        ratios: Of each pair, ours / baseline, or the other way round if less is better.
    """

    baseline: list[float]
    ours: list[float]
    ratios: list[float]

    @property
    def median(self) -> float:
        """The result."""
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        return f"{self.median:.2f} [{min(self.ratios):.2f}-{max(self.ratios):.2f}]"


def in_turn(
    baseline: Callable[[], float], ours: Callable[[], float], rounds: int, *, less: bool = False
) -> Ratio:
    """Measure both, so many times.

    Args:
        baseline: Gives a figure.
        ours: Gives another.
        rounds: How often.
        less: Whether less is better.
    """
    pairs = [(baseline(), ours()) for _ in range(rounds)]
    ratios = [(a / b if less else b / a) for a, b in pairs]
    return Ratio([a for a, _ in pairs], [b for _, b in pairs], ratios)


class Server:
    """A server in a process of its own; see ``servers.py``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    def ask(self, what: str) -> float:
        """Ask it for a figure."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: PT018
        stdin.write(what + "\n")
        stdin.flush()
        return float(stdout.readline())


class Kamailio:
    """One that answers OPTIONS; its processes' CPU is that of all of them."""

    def __init__(self, group: int, port: int) -> None:
        self._group = group
        self.port = port

    def ask(self, what: str) -> float:
        """Ask for ``cpu``: seconds; the kernel counts them in hundredths."""
        assert what == "cpu"
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text(encoding="ascii").rpartition(")")[2].split()
                ticks += (int(fields[11]) + int(fields[12])) * (int(fields[2]) == self._group)
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def kamailio(folder: Path) -> Iterator[Kamailio]:
    """Run Kamailio until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    (folder / "tls.cfg").write_text(
        "[server:default]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\n"
        f"private_key = {folder}/server.pem\ncertificate = {folder}/server.pem\n"
        f"ca_list = {folder}/ca.pem\n",
        encoding="ascii",
    )
    config = Path(__file__).with_name("kamailio.cfg")
    defines = (f"TLS_PORT={port}", f'TLS_CFG="{folder}/tls.cfg"')
    command = [KAMAILIO or "", "-DD", "-E", "-m", "64", "-M", "8", "-f", str(config)]
    command += ["-Y", str(folder), "-P", str(folder / "pid"), "-w", str(folder)]
    command += [word for define in defines for word in ("-A", define)]
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
    ) as process:
        try:
            while True:
                assert process.poll() is None, "Kamailio does not start"
                with (
                    suppress(ConnectionRefusedError),
                    socket.create_connection(("127.0.0.1", port)),
                ):
                    break
            yield Kamailio(process.pid, port)
        finally:
            process.terminate()


@contextmanager
def serving(kind: str, folder: Path, *more: str) -> Iterator[Server]:
    """Run a server until the block ends."""
    program = [sys.executable, str(Path(__file__).with_name("servers.py")), kind, str(folder)]
    with subprocess.Popen(
        [*program, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Server(process)
        finally:
            process.terminate()
