"""A server of contoso.com in a process of its own, which a test may starve, stop or kill.

As a program it serves, and does what lines on its standard input say:

    starve NPROC 1    lowers a resource limit of the system to that
    starve NOFILE +3  lowers one to what is used now, and three more
    feed NPROC        gives it back
    fail logs         lets each log record raise an error, as on a full disk
    cpu               prints the seconds of CPU that the process has used

Its log, and its answers, are lines on its standard output. It ends when its input does.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from front_ends import OURS, POLICY, in_loop
from sip import request

import siptls
from siptls import Limits, sync

# An account that nobody has: the system limits the threads of root by no means.
NOBODY = 64999

# ---------------------------------------------------------------- as a program


async def _answer(connection: siptls.Connection) -> None:
    async for message in connection:
        await connection.send(message.reply(200, "OK"))


def _answer_blocking(connection: sync.Connection) -> None:
    for message in connection:
        connection.send(message.reply(200, "OK"))


@contextmanager
def _asyncio(limits: Limits) -> Iterator[int]:
    async def start() -> siptls.MTLSServerTransport:
        server = siptls.MTLSServerTransport(OURS, POLICY, _answer, limits=limits)
        await server.listen("127.0.0.1", 0)
        return server

    with in_loop() as run:
        server = run(start())
        yield server.addresses[0][1]
        run(server.aclose())


@contextmanager
def _sync(limits: Limits) -> Iterator[int]:
    with sync.MTLSServerTransport(OURS, POLICY, _answer_blocking, limits=limits) as server:
        server.listen("127.0.0.1", 0)
        yield server.addresses[0][1]


KINDS: dict[str, tuple[Callable[[Limits], AbstractContextManager[int]], Limits]] = {
    "asyncio": (_asyncio, Limits(close_timeout=0.2)),
    "asyncio-workers": (_asyncio, Limits(close_timeout=0.2, handshake_workers=2)),
    "sync": (_sync, Limits(close_timeout=0.2)),
}


def _tell(*words: object) -> None:
    """Print a line, in one piece: the log comes from other threads."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class _Failing(logging.Handler):
    """A handler that raises."""

    def emit(self, record: logging.LogRecord) -> None:
        _tell("a log has failed")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _files() -> int:
    """File descriptors that are open, but for the one that looks."""
    return len(list(Path("/proc/self/fd").iterdir())) - 1


def _obey(line: str) -> None:
    match line.split():
        case ["starve", name, number]:
            which = getattr(resource, f"RLIMIT_{name}")
            if name == "NPROC" and os.geteuid() == 0:
                os.setuid(NOBODY)
            used = _files() if number.startswith("+") else 0
            resource.setrlimit(which, (used + int(number), resource.getrlimit(which)[1]))
            _tell("starved")
        case ["feed", name]:
            which = getattr(resource, f"RLIMIT_{name}")
            most = resource.getrlimit(which)[1]
            resource.setrlimit(which, (most, most))
            _tell("fed")
        case ["fail", "logs"]:
            logging.getLogger("siptls").addHandler(_Failing())
            _tell("failing")
        case ["cpu"]:
            used = resource.getrusage(resource.RUSAGE_SELF)
            _tell("cpu", used.ru_utime + used.ru_stime)


def main(kind: str) -> None:
    logging.basicConfig(stream=sys.stdout, format="log %(message)s", level=logging.INFO)
    logging.getLogger("siptls").setLevel(logging.DEBUG)  # who sends nothing is told of there
    serve, limits = KINDS[kind]
    with serve(limits) as port:
        _tell("port", port)
        for line in sys.stdin:
            _obey(line)
    _tell("closed")


# ---------------------------------------------------------------- for a test


class ServerProcess:
    """That process.

    Attributes:
        place: Where to connect.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.log: list[str] = []
        port = int(self.wait_for("port").split()[1])
        self.place: dict[str, Any] = {"host": "127.0.0.1", "port": port}

    def wait_for(self, *starts: str) -> str:
        """Wait for a line that begins so, or so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line)
            if line.startswith(starts):
                return line
        raise AssertionError("".join(self.log))

    def wait_for_all(self, number: int, *starts: str) -> None:
        """Wait until there were so many lines that begin so, or so, since it began."""
        while sum(line.startswith(starts) for line in self.log) < number:
            self.wait_for(*starts)

    def say(self, line: str, answer: str) -> str:
        """Have it do something; give the line that answers it."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.wait_for(answer)

    def files(self) -> int:
        """How many file descriptors it has open. To look itself, it would need one more."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        return float(self.say("cpu", "cpu").split()[1])

    def signal(self, number: signal.Signals) -> None:
        """Stop it, let it go on, or kill it."""
        self._process.send_signal(number)
        if number is signal.SIGSTOP:  # it is stopped when this says so
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def end(self) -> None:
        """Let it end in order; it may have been killed before."""
        if self._process.poll() is not None:
            return
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)  # it may be stopped
        self._process.stdin.close()
        self.wait_for("closed")
        assert self._process.wait(20) == 0


@contextmanager
def server_process(kind: str) -> Iterator[ServerProcess]:
    """Run a server of a kind until the block ends; it has to end in order if it was not killed."""
    with subprocess.Popen(
        [sys.executable, __file__, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parent,
    ) as process:
        try:
            server = ServerProcess(process)
            yield server
            server.end()
        finally:
            if process.poll() is None:
                process.kill()  # whatever state it is in


def visit(place: dict[str, Any]) -> None:
    """Be a good client: connect, ask, and be answered."""
    with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
        connection = transport.connect("contoso.com", **place, timeout=20)
        connection.send(request(), timeout=20)
        assert connection.receive(timeout=20).status == 200


if __name__ == "__main__":
    main(sys.argv[1])
