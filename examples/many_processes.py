"""One port, many processes, as a program that you can run: ``python examples/many_processes.py``.

A process with one event loop uses one core. Here one process per core (two at least) listens on the
same port, with ``reuse_port=True``, the same certificate and the same policy, and the kernel gives
each its share of the connections. Then clients connect, and each sends a request. The answer names
the process that has given it.

A child says through a pipe that it listens, and serves until the pipe ends: when the parent closes
it, and also when the parent is no more. So no process is left over, whatever happens.

It exits with 1 if an answer is missing, if one process has done all the work, or if one has not
ended in order.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess

from attrs import frozen

from siptls import (
    Authority,
    Connection,
    Credential,
    Enterprise,
    Message,
    MTLSServerTransport,
    TLSClientTransport,
)
from siptls.testing import CertificateAuthority, pem

HOST = "127.0.0.1"
CONNECTIONS = 60
AT_ONCE = 10
START_TIMEOUT = 30.0  # seconds for a process to listen
END_TIMEOUT = 10.0  # and to end in order

OPTIONS = (
    b"OPTIONS sip:contoso.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS client.contoso.com;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@contoso.com>;tag=1\r\nTo: <sip:contoso.com>\r\n"
    b"Call-ID: 1@client.contoso.com\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


# ---------------------------------------------------------------- a child: one server


@frozen
class Setup:
    """What all servers have in common. It goes through a pipe, so that it is plain data."""

    port: int
    anchor: bytes
    credential: bytes

    def policy(self) -> Enterprise:
        """Whom every server believes, and every client."""
        return Enterprise(["contoso.com"], Authority.from_pem("Contoso CA", self.anchor))


def run_server(name: str, setup: Setup, parent: Pipe) -> None:
    """Be one of the processes."""
    # Ctrl-C is for the parent: it closes the pipe, and we end in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve(name, setup, parent))


async def serve(name: str, setup: Setup, parent: Pipe) -> None:
    """Listen, say so, and serve until the pipe ends."""

    def answer(connection: Connection, message: Message) -> None:
        if message.expects_reply:
            connection.send_nowait(message.reply(200, "OK", header=f"Server: {name}\r\n"))

    ended = asyncio.Event()
    ours = Credential.from_pem(setup.credential)
    async with MTLSServerTransport(ours, setup.policy(), on_message=answer) as server:
        await server.listen(HOST, setup.port, reuse_port=True)
        asyncio.get_running_loop().add_reader(parent.fileno(), ended.set)
        parent.send("listening")
        await ended.wait()
        asyncio.get_running_loop().remove_reader(parent.fileno())


# ---------------------------------------------------------------- the parent: all of them


@contextmanager
def reserved() -> Iterator[int]:
    """Give a free port that nobody else gets, unless he is of our user and shares it.

    The socket is bound, and never listens: the kernel gives it no connection.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((HOST, 0))
        yield sock.getsockname()[1]


class Servers:
    """The processes, from the first one's start to the last one's end."""

    def __init__(self) -> None:
        self._children: list[tuple[SpawnProcess, Pipe]] = []

    def start(self, names: list[str], setup: Setup) -> None:
        """Start them all at once, and wait until each has said that it listens."""
        # A new interpreter for each: none has a copy of another's pipe, as forked ones have.
        spawn = multiprocessing.get_context("spawn")
        for name in names:
            ours, theirs = spawn.Pipe()
            child = spawn.Process(target=run_server, args=(name, setup, theirs), name=name)
            child.start()
            theirs.close()  # else the pipe would not end with the child
            self._children.append((child, ours))
        for child, pipe in self._children:
            try:
                assert pipe.poll(START_TIMEOUT), f"{child.name} does not listen"
                pipe.recv()
            except EOFError:
                raise SystemExit(f"{child.name} has ended before it listened") from None

    def end(self) -> bool:
        """End them all; tell whether each has ended in order."""
        for _, pipe in self._children:
            pipe.close()
        for child, _ in self._children:
            child.join(END_TIMEOUT)
            if child.is_alive():
                child.kill()
                child.join()
        return all(child.exitcode == 0 for child, _ in self._children)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ---------------------------------------------------------------- the clients


async def ask(transport: TLSClientTransport, port: int, turn: asyncio.Semaphore) -> str | None:
    """Open a connection and send a request; give who has answered it."""
    async with (
        turn,
        await transport.connect("sip:contoso.com", host=HOST, port=port, reuse=False) as connection,
    ):
        await connection.send(OPTIONS)
        return (await connection.receive()).header("Server")


async def ask_often(setup: Setup, ours: Credential) -> Counter[str | None]:
    """Count who has answered how many connections."""
    turn = asyncio.Semaphore(AT_ONCE)
    async with TLSClientTransport(setup.policy(), credential=ours) as transport:
        asking = [ask(transport, setup.port, turn) for _ in range(CONNECTIONS)]
        return Counter(await asyncio.gather(*asking))


def main() -> int:
    """Show it; give the number of things that were not as they must be."""
    contoso = CertificateAuthority("Contoso CA")
    names = [f"process {number}" for number in range(1, max(2, cores()) + 1)]
    servers = Servers()
    with reserved() as port:
        setup = Setup(port, contoso.pem, pem(contoso.issue("sip:contoso.com", "sip.contoso.com")))
        try:
            servers.start(names, setup)
            print(f"{len(names)} processes listen on {HOST} port {port}")
            ours = contoso.issue("sip:contoso.com", "client.contoso.com")
            answers = asyncio.run(ask_often(setup, ours))
        finally:
            in_order = servers.end()
    for name in names:
        print(f"  {name} has answered {answers[name]} of {CONNECTIONS} connections")
    verdicts = {
        "every connection was answered": sum(answers[name] for name in names) == CONNECTIONS,
        "they have shared the work": max(answers.values()) < CONNECTIONS,
        "every process has ended in order": in_order,
    }
    for what, holds in verdicts.items():
        print(f"{'ok   ' if holds else 'WRONG'} {what}")
    return sum(not holds for holds in verdicts.values())


if __name__ == "__main__":
    sys.exit(min(1, main()))
