"""The servers that are compared, each a process of its own: ``python benchmarks/servers.py KIND``.

Each echoes SIP messages over mutual TLS, as `Ask` in ``rounds.py`` starts it. It prints its port.
Then it answers lines on its standard input with a line on its standard output:

    cpu       seconds of CPU that it has used so far
    memory    bytes that are its own: the proportional set size
    late      how late a tick of 1 ms was since the last time: the 99th of 100, in milliseconds
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import statistics
import sys
import threading
import time
from pathlib import Path

from siptls import (
    Authority,
    Connection,
    Credential,
    Enterprise,
    Limits,
    Message,
    MTLSServerTransport,
)
from siptls.metrics import Metrics

_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\d+)", re.IGNORECASE)
_TICK = 0.001


# ---------------------------------------------------------------- siptls


def echo_message(connection: Connection, message: Message) -> None:
    """The fast way: a plain function in the read path."""
    connection.send_nowait(message)


async def echo_each(connection: Connection) -> None:
    """The easy way."""
    async for message in connection:
        await connection.send(message)


def answer_message(connection: Connection, message: Message) -> None:
    """What Kamailio does here, too."""
    connection.send_nowait(message.reply(200, "OK"))


async def serve_siptls(folder: Path, kind: str) -> int:
    """Serve with siptls."""
    policy = Enterprise(["contoso.com"], Authority.from_pem("CA", folder / "ca.pem"))
    ours = Credential.from_pem(folder / "server.pem")
    limits = Limits(max_connections=20_000, max_per_address=None)
    if kind == "siptls, async for":
        server = MTLSServerTransport(ours, policy, echo_each, limits=limits)
    else:
        answer = answer_message if kind == "siptls, OPTIONS" else echo_message
        metrics = Metrics() if kind == "siptls, metrics" else None
        server = MTLSServerTransport(
            ours, policy, on_message=answer, limits=limits, metrics=metrics
        )
    await server.listen("127.0.0.1", 0)
    _kept.append(server)
    return server.addresses[0][1]


# ---------------------------------------------------------------- the standard library


def context_of(folder: Path) -> ssl.SSLContext:
    """Ask for a certificate of the CA, as its documentation says."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Frame by hand, line by line, as most would."""
    try:
        while lines := [await reader.readline()]:
            length = 0
            while lines[-1] not in {b"\r\n", b""}:
                name, _, value = lines[-1].partition(b":")
                if name.strip().lower() in {b"content-length", b"l"}:
                    length = int(value)
                lines.append(await reader.readline())
            if not lines[-1]:
                return
            writer.write(b"".join(lines) + await reader.readexactly(length))
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Frame by hand, as fast as streams can."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            writer.write(head + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def serve_streams(folder: Path, kind: str) -> int:
    """Serve with asyncio's streams and ssl."""
    echo = echo_lines if kind == "streams, by lines" else echo_stream
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context_of(folder), backlog=1000)
    _kept.append(server)
    return int(server.sockets[0].getsockname()[1])


def echo_file(context: ssl.SSLContext, sock: socket.socket) -> None:
    """Frame by hand on a blocking socket."""
    try:
        with context.wrap_socket(sock, server_side=True) as tls, tls.makefile("rb") as file:
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = file.readline()
                    if not line:
                        return
                    head += line
                length = _LENGTH.search(head)
                tls.sendall(head + file.read(int(length[1]) if length else 0))
    except OSError:
        return


async def serve_threads(folder: Path, _: str) -> int:
    """Serve with a thread for each connection."""
    context = context_of(folder)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=echo_file, args=[context, sock], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


# ---------------------------------------------------------------- what is asked of it

_kept: list[object] = []
_late: list[float] = []


async def tick() -> None:
    """Measure how late the loop is, each millisecond."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TICK
        await asyncio.sleep(_TICK)
        _late.append((loop.time() - due) * 1e3)


def answer(line: str) -> float:
    """Answer a line."""
    match line:
        case "cpu":
            return time.process_time()
        case "memory":
            rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
            return int(rollup.split("\nPss:")[1].split()[0]) * 1024
        case "late":
            late, _late[:] = [0.0, 0.0, *_late], []
            return statistics.quantiles(late, n=100)[98]
        case _:
            raise ValueError(line)


async def main(kind: str, folder: Path) -> None:
    """Serve until the standard input ends."""
    serve = serve_siptls if kind.startswith("siptls") else serve_streams
    if kind == "threads":
        serve = serve_threads
    port = await serve(folder, kind)
    ticking = asyncio.create_task(tick()) if "late" in sys.argv else None
    print(port, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(answer(line.strip()), flush=True)
    if ticking is not None:
        ticking.cancel()


if __name__ == "__main__":
    if sys.argv[1].endswith("uvloop"):
        import uvloop

        uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
    else:
        asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
