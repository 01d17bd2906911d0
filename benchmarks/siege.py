"""What a good client notices of a siege: 2 000 connections that say nothing and 100 that drip.

The server, the besiegers and the good client are three processes on loopback. The besiegers come
from addresses of their own, and come back as soon as they are let go. Measured is how long the good
client takes from its first packet to the answer to its first request, before the siege, during it,
and after it; and what memory the server has.

``python benchmarks/siege.py``
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clients import Client, context_of, make_certificates, message
from OpenSSL import SSL
from rounds import Server, serving

SILENT, SLOW = 2_000, 100
IDLE, SIEGE = 5.0, 25.0
"""Seconds of each; those who are let go after ten come back together, twice."""
DRIP = 0.1
"""Seconds between two bytes of a slow handshake."""
PER_ADDRESS = 150
"""Below ``Limits.max_per_address``."""
PAUSE = 0.02
"""Seconds between two visits."""


def hello() -> bytes:
    """Give a ClientHello."""
    tls = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    tls.set_connect_state()
    with suppress(SSL.WantReadError):
        tls.do_handshake()
    return tls.bio_read(65536)


async def besiege(port: int, number: int, begun: asyncio.Semaphore) -> None:
    """Connect, and say nothing, or very little; for ever."""
    data = hello()
    where = (f"127.0.1.{number // PER_ADDRESS + 1}", 0)
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=where)
            begun.release()
            if number >= SILENT:
                for byte in data:
                    if reader.at_eof():
                        break
                    writer.write(bytes([byte]))
                    await asyncio.sleep(DRIP)
            await reader.read()
            writer.close()


async def attack(port: int) -> None:
    """Besiege a server until the standard input ends; say when all are there."""
    begun = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(besiege(port, number, begun)) for number in range(SILENT + SLOW)]
    for _ in tasks:
        await begun.acquire()
    print("there", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def besieged(port: int) -> Iterator[None]:
    """Besiege a server until the block ends."""
    command = [sys.executable, __file__, "attack", str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        yield
        process.communicate()


def visits(port: int, context: SSL.Context, seconds: float) -> list[float]:
    """Visit the server; give the milliseconds until the first answer, of each visit."""
    times = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        client = Client(port, context)
        client.answer_size(message(500))
        times.append((time.perf_counter() - begin) * 1e3)
        client.close()
        time.sleep(PAUSE)
    return times


def phase(what: str, server: Server, context: SSL.Context, seconds: float) -> tuple[float, float]:
    """Measure a phase, and print it."""
    times = visits(server.port, context, seconds)
    memory = server.ask("memory") / 2**20
    median, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"| {what} | {median:.1f} | {p99:.1f} | {max(times):.1f} | {memory:.0f} |", flush=True)
    return median, memory


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (credential,) = make_certificates(folder)
        context = context_of(credential)
        with serving("siptls, OPTIONS", folder) as server:
            visits(server.port, context, IDLE / 5)  # warm
            print("| | median ms | 99th of 100 | longest | server's MiB |")
            print("|---|---|---|---|---|")
            before, idle = phase("idle", server, context, IDLE)
            with besieged(server.port):
                during, much = phase(f"{SILENT} silent, {SLOW} slow", server, context, SIEGE)
            after, _ = phase("idle again", server, context, IDLE)
    quiet = statistics.mean([before, after])
    print(f"\nthe siege makes a visit {during / quiet:.2f} times as long,", end=" ")
    print(f"and the server {much - idle:.0f} MiB larger")


if __name__ == "__main__":
    if sys.argv[1:2] == ["attack"]:
        asyncio.run(attack(int(sys.argv[2])))
    else:
        main()
