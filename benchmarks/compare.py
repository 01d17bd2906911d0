"""siptls beside what one would write otherwise: ``make bench``.

Every server is a process of its own, and so are the clients: this one. What is compared is measured
in turn; a figure is per CPU second of the *server's* process, and the result is the median of the
ratios of neighbours. ``--quick`` runs each part once and small, to see that it runs.
"""

from __future__ import annotations

import importlib.util
import platform
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import OpenSSL
from attrs import frozen
from clients import MESSAGE, Client, context_of, make_certificates, message, storm
from cryptography.x509.verification import PolicyBuilder, Store
from rounds import Ratio, Server, in_turn, serving

from siptls import Authority, Enterprise, Evidence, MessageFramer, Role

QUICK = "--quick" in sys.argv
ROUNDS = 1 if QUICK else 9
BASELINE = "streams"


@frozen
class Row:
    """A line of the table."""

    what: str
    baseline: str
    ours: str
    ratio: str

    def __str__(self) -> str:
        return f"| {self.what} | {self.baseline} | {self.ours} | {self.ratio} |"


def row(what: str, ratio: Ratio, form: str = "{:,.0f}") -> Row:
    """Make a line of what was measured."""
    first, second = statistics.median(ratio.baseline), statistics.median(ratio.ours)
    return Row(what, form.format(first), form.format(second), str(ratio))


def per_cpu_second(server: Server, work: Callable[[], int]) -> float:
    """How much work a server does in a second of its CPU."""
    before = server.ask("cpu")
    done = work()
    return done / (server.ask("cpu") - before)


# ---------------------------------------------------------------- what is measured


def messages(folder: Path, kind: str, window: int, *, against: str = BASELINE) -> Ratio:
    """Echoes per server CPU second."""
    (credential,) = make_certificates(folder)
    count = 200 if QUICK else 20_000 if window > 1 else 4_000
    with serving(against, folder) as first, serving(kind, folder) as second:
        ends = [Client(server.port, context_of(credential)) for server in (first, second)]

        def measure(server: Server, end: int) -> float:
            def work() -> int:
                ends[end].echo(count, window, MESSAGE)
                return count

            return per_cpu_second(server, work)

        measure(first, 0), measure(second, 1)
        ratio = in_turn(lambda: measure(first, 0), lambda: measure(second, 1), ROUNDS)
        for end in ends:
            end.close()
        return ratio


def handshakes(folder: Path, kind: str, *, known: bool, against: str = BASELINE) -> Ratio:
    """Full mutual handshakes per server CPU second, each with an echo."""
    count = 5 if QUICK else 60
    credentials = make_certificates(folder, 1 if known else 2 * count * (ROUNDS + 1))
    contexts = iter([context_of(one) for one in credentials] * (1 if not known else 10_000))
    with serving(against, folder) as first, serving(kind, folder) as second:

        def measure(server: Server) -> float:
            def work() -> int:
                for _ in range(count):
                    client = Client(server.port, next(contexts))
                    client.echo(1, 1, MESSAGE)
                    client.close()
                return count

            return per_cpu_second(server, work)

        measure(first), measure(second)
        return in_turn(lambda: measure(first), lambda: measure(second), ROUNDS)


def memory(folder: Path, kind: str, *, large: bool) -> float:
    """KiB for each idle connection."""
    (credential,) = make_certificates(folder)
    count = 20 if QUICK else 2_000
    context = context_of(credential)
    with serving(kind, folder) as server:
        Client(server.port, context).echo(1, 1, MESSAGE)
        before = server.ask("memory")
        ends = [Client(server.port, context) for _ in range(count)]
        for end in ends:
            end.echo(1, 1, message(16_384) if large else MESSAGE)
        used = (server.ask("memory") - before) / count / 1024
        for end in ends:
            end.close()
    return used


def lateness(folder: Path, kind: str) -> tuple[float, float]:
    """How late the loop is while 200 shake hands at once (ms), and handshakes a second."""
    count = 20 if QUICK else 200
    contexts = [context_of(one) for one in make_certificates(folder, count)]
    late, rates = [], []
    with serving(kind, folder, "late") as server:
        for _ in range(max(3, ROUNDS // 2)):
            server.ask("late")
            begin = time.perf_counter()
            storm(server.port, contexts)
            rates.append(count / (time.perf_counter() - begin))
            late.append(server.ask("late"))
    return statistics.median(late), statistics.median(rates)


# ---------------------------------------------------------------- in this process


def each(work: Callable[[], object], count: int) -> float:
    """CPU microseconds of a piece of work."""
    begin = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - begin) / count * 1e6


def decisions(folder: Path) -> Ratio:
    """A decision about a chain of three, beside cryptography's verifier alone."""
    (credential,) = make_certificates(folder)
    authority = Authority.from_pem("CA", folder / "ca.pem")
    policy = Enterprise(["contoso.com"], authority)
    shown = Evidence(credential.chain, Role.CLIENT, now=credential.chain[0].not_valid_before_utc)
    verifier = PolicyBuilder().store(Store(list(authority.anchors))).time(shown.now)
    leaf, *middle = credential.chain
    count = 5 if QUICK else 200

    def decide() -> object:
        return policy.evaluate(Evidence(shown.chain, Role.CLIENT, now=shown.now))

    def verify() -> object:
        return verifier.build_client_verifier().verify(leaf, middle)

    return in_turn(lambda: each(verify, count), lambda: each(decide, count), ROUNDS)


def framing() -> float:
    """Messages of 600 bytes a second, in memory."""
    count = 100 if QUICK else 20_000
    data = MESSAGE * 100
    times = []
    for _ in range(ROUNDS):
        framer = MessageFramer()
        begin = time.process_time()
        for _ in range(count // 100):
            framer.feed(data)
        times.append(count / (time.process_time() - begin))
    return statistics.median(times)


def import_time() -> float:
    """Milliseconds that siptls takes to import, beyond asyncio and ssl."""

    def took(modules: str) -> float:
        clock = "time.perf_counter()"
        program = f"import time; t = {clock}; import {modules}; print({clock} - t)"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        return float(done.stdout) * 1e3

    pairs = [(took("asyncio, ssl"), took("asyncio, ssl, siptls")) for _ in range(max(3, ROUNDS))]
    return statistics.median(b - a for a, b in pairs)


# ---------------------------------------------------------------- the table


def has_uvloop() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("uvloop") is not None


def main() -> None:
    """Measure, and print the table line by line."""
    print(
        f"Python {platform.python_version()} with {ssl.OPENSSL_VERSION}; pyOpenSSL"
        f" {OpenSSL.__version__}; {ROUNDS} rounds\n"
    )
    print(f"| what | {BASELINE} | siptls | ratio: median [range] |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows: list[Callable[[], Row]] = [
            lambda: row("echo, window 32", messages(folder, "siptls", 32)),
            lambda: row("the same, async for", messages(folder, "siptls, async for", 32)),
            lambda: row("echo, one at a time", messages(folder, "siptls", 1)),
            *([lambda: on_uvloop(folder)] if has_uvloop() else []),
            lambda: row("echo, window 32, beside threads", beside_threads(folder)),
            lambda: row("handshakes, new chains", handshakes(folder, "siptls", known=False)),
            lambda: row("handshakes, known chain", handshakes(folder, "siptls", known=True)),
            lambda: memory_row(folder, large=False),
            lambda: memory_row(folder, large=True),
            lambda: late_row(folder),
            lambda: row("a decision in us, beside the verifier", decisions(folder), "{:.0f}"),
            lambda: Row("framing, messages/s", "", f"{framing():,.0f}", ""),
            lambda: Row("import, ms beyond asyncio and ssl", "", f"{import_time():.0f}", ""),
        ]
        for make in rows:
            print(make(), flush=True)


def on_uvloop(folder: Path) -> Row:
    """The line of both on uvloop."""
    ratio = messages(folder, "siptls, uvloop", 32, against="streams, uvloop")
    return row("echo, window 32, both on uvloop", ratio)


def beside_threads(folder: Path) -> Ratio:
    """The line of the blocking server."""
    return messages(folder, "siptls", 32, against="threads")


def memory_row(folder: Path, *, large: bool) -> Row:
    """The line of memory."""
    what = "KiB for an idle connection" + (", after 16 KiB each way" if large else "")
    first, second = (memory(folder, kind, large=large) for kind in (BASELINE, "siptls"))
    return Row(what, f"{first:.1f}", f"{second:.1f}", f"{second / first:.2f}")


def late_row(folder: Path) -> Row:
    """The line of the storm."""
    (late, rate), (our_late, our_rate) = (lateness(folder, kind) for kind in (BASELINE, "siptls"))
    return Row(
        "p99 lateness in ms (handshakes/s) in a storm",
        f"{late:.1f} ({rate:.0f})",
        f"{our_late:.1f} ({our_rate:.0f})",
        f"rate {our_rate / rate:.2f}",
    )


if __name__ == "__main__":
    main()
