"""siptls beside what one would write otherwise: ``make bench``.

Every server is a process of its own, and so are the clients: this one. What is compared is measured
in turn; a figure is per CPU second of the *server's* process, and the result is the median of the
ratios of neighbours. ``--quick`` runs each part once and small, to see that it runs; and
``--plot FILE`` draws the ratios as SVG.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import OpenSSL.SSL
from attrs import frozen
from clients import MESSAGE, OPTIONS, Client, context_of, make_certificates, message, storm
from cryptography.x509.verification import PolicyBuilder, Store
from rounds import KAMAILIO, Kamailio, Ratio, Server, in_turn, kamailio, serving

from siptls import Authority, Enterprise, Evidence, MessageFramer, Role
from siptls.wire.memory import Memory

QUICK = "--quick" in sys.argv
ROUNDS = 1 if QUICK else 9
BASELINE = "streams"


@frozen
class Row:
    """A line of the table."""

    what: str
    baseline: str
    ours: str
    ratio: Ratio | str = ""

    def __str__(self) -> str:
        return f"| {self.what} | {self.baseline} | {self.ours} | {self.ratio} |"


def row(what: str, ratio: Ratio, form: str = "{:,.0f}") -> Row:
    """Make a line of what was measured."""
    first, second = statistics.median(ratio.baseline), statistics.median(ratio.ours)
    return Row(what, form.format(first), form.format(second), ratio)


def per_cpu_second(server: Server | Kamailio, work: Callable[[], int]) -> float:
    """How much work a server does in a second of its CPU."""
    before = server.ask("cpu")
    done = work()
    return done / (server.ask("cpu") - before or 0.01)  # Kamailio's is counted in hundredths


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


def options(folder: Path, window: int) -> Ratio:
    """Answers to OPTIONS per server CPU second, beside Kamailio."""
    (credential,) = make_certificates(folder)
    count = 200 if QUICK else 20_000
    with kamailio(folder) as first, serving("siptls, OPTIONS", folder) as second:
        ends = {one: Client(one.port, context_of(credential)) for one in (first, second)}
        sizes = {one: end.answer_size(OPTIONS) for one, end in ends.items()}

        def measure(server: Server | Kamailio) -> float:
            def work() -> int:
                ends[server].echo(count, window, OPTIONS, sizes[server])
                return count

            return per_cpu_second(server, work)

        ratio = in_turn(lambda: measure(first), lambda: measure(second), ROUNDS)
        for end in ends.values():
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
    (credential,) = make_certificates(folder, intermediate=False)
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


def lateness(folder: Path) -> tuple[list[float], list[float], Ratio]:
    """How late each loop is while 200 shake hands at once (ms), and the handshakes a second."""
    count = 20 if QUICK else 200
    contexts = [context_of(one) for one in make_certificates(folder, count)]
    late: dict[Server, list[float]] = {}

    def measure(server: Server) -> float:
        server.ask("late")
        begin = time.perf_counter()
        storm(server.port, contexts)
        rate = count / (time.perf_counter() - begin)
        late.setdefault(server, []).append(server.ask("late"))
        return rate

    with serving(BASELINE, folder, "late") as first, serving("siptls", folder, "late") as second:
        ratio = in_turn(lambda: measure(first), lambda: measure(second), ROUNDS)
        return late[first], late[second], ratio


# ---------------------------------------------------------------- in this process


def each(work: Callable[[], object], count: int) -> float:
    """CPU microseconds of a piece of work."""
    begin = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - begin) / count * 1e6


def decisions(folder: Path, *, known: bool) -> Ratio:
    """A decision about a chain of three, in us, beside cryptography's verifier alone."""
    (credential,) = make_certificates(folder)
    authority = Authority.from_pem("CA", folder / "ca.pem")
    policy = Enterprise(["contoso.com"], authority)
    shown = Evidence(credential.chain, Role.CLIENT, now=credential.chain[0].not_valid_before_utc)
    verifier = PolicyBuilder().store(Store(list(authority.anchors))).time(shown.now)
    leaf, *middle = credential.chain
    count = 5 if QUICK else 200
    judge = Memory(policy).judge if known else policy.evaluate

    def decide() -> object:
        return judge(Evidence(shown.chain, Role.CLIENT, now=shown.now))

    decide()  # now it is known, if it is to be

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


def import_time(statement: str) -> float:
    """Milliseconds that an import takes, beyond asyncio and ssl."""
    clock = "time.perf_counter()"
    program = f"import asyncio, ssl, time; t = {clock}; {statement}; print({clock} - t)"
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(max(3, ROUNDS))
    ]
    return statistics.median(times) * 1e3


# ---------------------------------------------------------------- the table


def has_uvloop() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("uvloop") is not None


def main() -> None:
    """Measure, and print the table line by line."""
    print(
        f"Python {platform.python_version()} with {ssl.OPENSSL_VERSION}; pyOpenSSL"
        f" {OpenSSL.__version__} with {openssl_version()}; {os.cpu_count()} cores, {ROUNDS} rounds"
        "\n"
    )
    if QUICK:
        print("Each part once and small: these figures say nothing about speed.\n")
    print("| what | beside | siptls | ratio: median [range] |\n|---|---|---|---|")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for make in parts(Path(name)):
            rows.append(make())
            print(rows[-1], flush=True)
    if "--plot" in sys.argv:
        from plot import plot  # noqa: PLC0415  matplotlib is needed only here

        ratios = [(one.what, one.ratio) for one in rows if isinstance(one.ratio, Ratio)]
        plot(Path(sys.argv[sys.argv.index("--plot") + 1]), "higher is better", ratios)


def parts(folder: Path) -> list[Callable[[], Row]]:
    """All lines, each to be measured when it is called."""
    server = "from siptls import Authority, Credential, Enterprise, MTLSServerTransport"
    return [
        lambda: row("echo, window 32, beside streams by lines", by_lines(folder, "siptls", 32)),
        lambda: row("the same, async for", by_lines(folder, "siptls, async for", 32)),
        lambda: row("echo, one at a time, beside streams by lines", by_lines(folder, "siptls", 1)),
        lambda: row("echo, window 32", messages(folder, "siptls", 32)),
        lambda: row("echo, one at a time", messages(folder, "siptls", 1)),
        lambda: row("echo, window 32, metrics beside none", with_metrics(folder, 32)),
        *([lambda: on_uvloop(folder)] if has_uvloop() else []),
        lambda: row("echo, window 32, beside threads", beside_threads(folder)),
        *(
            [lambda: row("OPTIONS, window 32, beside Kamailio", options(folder, 32))]
            * has_kamailio()
        ),
        lambda: row("handshakes, new chains", handshakes(folder, "siptls", known=False)),
        lambda: row("handshakes, known chain", handshakes(folder, "siptls", known=True)),
        lambda: memory_row(folder, large=False),
        lambda: memory_row(folder, large=True),
        lambda: late_row(folder),
        lambda: decision_row(folder, known=False),
        lambda: decision_row(folder, known=True),
        lambda: Row("framing, messages/s", "", f"{framing():,.0f}"),
        lambda: Row("import siptls, ms", "", f"{import_time('import siptls'):.0f}"),
        lambda: Row("import of what a server needs, ms", "", f"{import_time(server):.0f}"),
    ]


def has_kamailio() -> bool:
    """Whether it is installed."""
    return KAMAILIO is not None


def by_lines(folder: Path, kind: str, window: int) -> Ratio:
    """Beside the streams that most would write."""
    return messages(folder, kind, window, against="streams, by lines")


def with_metrics(folder: Path, window: int) -> Ratio:
    """Of siptls with `Metrics` beside siptls without."""
    return messages(folder, "siptls, metrics", window, against="siptls")


def on_uvloop(folder: Path) -> Row:
    """The line of both on uvloop."""
    ratio = messages(folder, "siptls, uvloop", 32, against="streams, uvloop")
    return row("echo, window 32, both on uvloop", ratio)


def beside_threads(folder: Path) -> Ratio:
    """The line of the blocking server."""
    return messages(folder, "siptls", 32, against="threads")


def decision_row(folder: Path, *, known: bool) -> Row:
    """The line of a decision: what is compared is the verifier, and less is better."""
    ratio = decisions(folder, known=known)
    first, second = statistics.median(ratio.baseline), statistics.median(ratio.ours)
    what = f"a decision in us, {'known' if known else 'new'} chain, beside the verifier"
    return Row(what, f"{first:.0f}", f"{second:.0f}", f"{ratio} (less is better)")


def memory_row(folder: Path, *, large: bool) -> Row:
    """The line of memory."""
    what = "KiB for an idle connection" + (", after 16 KiB each way" if large else "")
    first, second = (memory(folder, kind, large=large) for kind in (BASELINE, "siptls"))
    return Row(what, f"{first:.1f}", f"{second:.1f}", f"{second / first:.2f} (less is better)")


def late_row(folder: Path) -> Row:
    """The line of the storm."""
    late, ours, ratio = lateness(folder)
    figures = [
        f"{statistics.median(rates):.0f} ({statistics.median(ms):.1f} ms late)"
        for rates, ms in ((ratio.baseline, late), (ratio.ours, ours))
    ]
    return Row("handshakes/s in a storm (p99 lateness of the loop)", *figures, ratio)


def openssl_version() -> str:
    """OpenSSL as pyOpenSSL has it."""
    return OpenSSL.SSL.OpenSSL_version(OpenSSL.SSL.OPENSSL_VERSION).decode()


if __name__ == "__main__":
    main()
