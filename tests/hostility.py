"""A server of contoso.com that is attacked, in both worlds, and a good client that asks it."""

from __future__ import annotations

import asyncio
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any

from front_ends import CA, OURS, POLICY, Served, asyncio_handler, blocking_handler, in_loop
from OpenSSL import SSL
from peers import context_of
from sip import request

import siptls
from siptls import Credential, Limits, sync

TIMEOUT = 20
"""Seconds after which a test has failed; never waited for by one that passes."""

SHORT = {"close_timeout": 0.2}
"""Those who attack do not close in order, and nobody has to wait for them."""

GUEST = CA.issue("sip:guest.contoso.com")


class Victim:
    """A server, and what has become of those who came.

    Attributes:
        port: Where it listens.
        heard: How each accepted connection ended, in a word; see `front_ends.outcome`.
        refused: The codes of the refusals.
        held: Gives how many connections it holds.
        log: The lines of the log.
    """

    def __init__(self, port: int, served: Served, held: Callable[[], int], log: list[str]) -> None:
        self.port = port
        self.ends = served.ends
        self.refusals = served.refusals
        self.held = held
        self.log = log

    def serves(self) -> None:
        """See that a good client gets its answer; nothing of it stays behind."""
        with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
            connection = transport.connect("contoso.com", host="127.0.0.1", port=self.port)
            connection.send(request())
            assert connection.receive(timeout=TIMEOUT).status == 200
        assert self.end() == "closed in order"

    def end(self) -> str:
        """Wait until an accepted connection has ended, and give how."""
        return self.ends.get(timeout=TIMEOUT)

    def refusal(self) -> str:
        """Wait until somebody was refused, and give the code."""
        return self.refusals.get(timeout=TIMEOUT)

    def says(self, text: str) -> None:
        """Wait until the log holds a text."""
        wait_for(lambda: any(text in line for line in self.log))

    def is_rid_of_them(self) -> None:
        """Wait until no connection is held; and nobody else has been there."""
        wait_for(lambda: self.held() == 0)
        assert self.ends.empty()
        assert self.refusals.empty()

    @contextmanager
    def visited(self) -> Iterator[socket.socket]:
        """Connect over TCP."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT) as tcp:
            yield tcp

    @contextmanager
    def proven(
        self, version: str, credential: Credential | None = GUEST
    ) -> Iterator[SSL.Connection]:
        """Connect over TLS as a peer who is trusted, and does what a test wants."""
        with self.visited() as tcp:
            tcp.settimeout(None)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", TIMEOUT, 0))
            tls = SSL.Connection(context_of(version, credential), tcp)
            tls.set_connect_state()
            tls.do_handshake()
            yield tls


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until what another thread brings about is so."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)  # the other one has to run


def read_to_end(tcp: socket.socket) -> bytes:
    """Read until the other side has closed, or reset; give what came."""
    got = b""
    with suppress(ConnectionError):
        while data := tcp.recv(65536):
            got += data
    return got


@contextmanager
def in_asyncio(log: list[str], **limits: Any) -> Iterator[Victim]:
    """Serve with asyncio."""
    served = Served(queue.Queue(), queue.Queue())

    async def start() -> siptls.MTLSServerTransport:
        server = siptls.MTLSServerTransport(
            OURS,
            POLICY,
            partial(asyncio_handler, served=served),
            on_refused=served.refuse,
            limits=Limits(**SHORT | limits),
        )
        await server.listen("127.0.0.1", 0)
        return server

    async def left() -> int:
        return len(asyncio.all_tasks()) - 1

    with in_loop() as run:
        server = run(start())
        try:
            yield Victim(server.addresses[0][1], served, lambda: len(server._drivers), log)
        finally:
            run(server.aclose())
            assert run(left()) == 0


@contextmanager
def in_threads(log: list[str], **limits: Any) -> Iterator[Victim]:
    """Serve with siptls.sync."""
    served = Served(queue.Queue(), queue.Queue())
    threads = threading.active_count()
    with sync.MTLSServerTransport(
        OURS,
        POLICY,
        partial(blocking_handler, served=served),
        on_refused=served.refuse,
        limits=Limits(**SHORT | limits),
    ) as server:
        server.listen("127.0.0.1", 0)
        yield Victim(server.addresses[0][1], served, lambda: len(server._connections), log)
    assert threading.active_count() <= threads


Attacked = Callable[..., AbstractContextManager[Victim]]
