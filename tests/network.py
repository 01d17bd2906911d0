"""Servers and clients on loopback for tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from impostors import CONTOSO, policy
from OpenSSL import SSL

from siptls import (
    Connection,
    Credential,
    Decision,
    Enterprise,
    MTLSServerTransport,
    ReferenceIdentity,
    Target,
    TLSClientTransport,
    TrustPolicy,
)

OURS = CONTOSO.issue("sip:contoso.com")
ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())


async def answer(connection: Connection) -> None:
    """A handler that answers each request with 200."""
    async for message in connection:
        await connection.send(message.reply(200, "OK"))


class Server:
    """A server of contoso.com, and what it has seen."""

    def __init__(self, handler: Callable[[Connection], Any], **options: Any) -> None:
        self.connections: list[Connection] = []
        self.refusals: list[Decision] = []
        self.refused: asyncio.Queue[Decision] = asyncio.Queue()
        self._handler = handler
        options.setdefault("credential", OURS)
        options.setdefault("policy", policy())
        self.transport = MTLSServerTransport(
            options.pop("credential"),
            options.pop("policy"),
            None if "on_message" in options else self.handle,
            on_refused=self.refuse,
            **options,
        )

    async def handle(self, connection: Connection) -> None:
        self.connections.append(connection)
        await self._handler(connection)

    def refuse(self, decision: Decision, address: object) -> None:
        self.refusals.append(decision)
        self.refused.put_nowait(decision)

    @property
    def place(self) -> dict[str, Any]:
        """Where to connect."""
        host, port = self.transport.addresses[0]
        return {"host": host, "port": port}


@asynccontextmanager
async def serving(
    handler: Callable[[Connection], Any] = answer,
    *,
    send_buffer: int | None = None,
    listener: socket.socket | None = None,
    **options: Any,
) -> AsyncIterator[Server]:
    """Run a server on a free port of 127.0.0.1, or with a listener that was made elsewhere.

    ``send_buffer`` is what its kernel keeps.
    """
    server = Server(handler, **options)
    async with server.transport:
        sock = listener or socket.create_server(("127.0.0.1", 0))
        if send_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        await server.transport.listen(sock=sock)
        yield server


@asynccontextmanager
async def client(
    policy: TrustPolicy = ENTERPRISE, credential: Credential | None = OURS, **options: Any
) -> AsyncIterator[TLSClientTransport]:
    """Give a client of contoso.com."""
    async with TLSClientTransport(policy, credential=credential, **options) as transport:
        yield transport


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop work until something holds. No time is waited for."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what is tested sets no event
            await asyncio.sleep(0)


async def opened(place: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a plain TCP connection."""
    return await asyncio.open_connection(place["host"], place["port"])


def raw_tls(
    place: dict[str, Any],
    credential: Credential | None = OURS,
    *,
    receive_buffer: int | None = None,
) -> SSL.Connection:
    """Connect with OpenSSL itself on a blocking socket: a peer that does what a test wants."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    if credential is not None:
        context.use_certificate(credential.chain[0])
        for certificate in credential.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(credential.key)
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect((place["host"], place["port"]))
    connection = SSL.Connection(context, sock)
    connection.set_connect_state()
    return connection


@contextmanager
def swallowing(host: str, port: int = 0) -> Iterator[int]:
    """Give a port that answers no more, as behind a firewall that drops: its backlog is full."""
    with ExitStack() as open_sockets:
        full = open_sockets.enter_context(socket.socket())
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind((host, port))
        full.listen(0)
        for _ in range(4):
            filler = open_sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield int(full.getsockname()[1])


class Addresses:
    """A resolver that gives addresses of one host at one port."""

    def __init__(self, port: int, *addresses: str) -> None:
        self.port = port
        self.addresses: Sequence[str] = addresses

    async def resolve(
        self, reference: ReferenceIdentity, *, service: str | None = None, port: int | None = None
    ) -> list[Target]:
        del service, port
        where: dict[str, Any] = {"host": "h.example", "reference": reference}
        return [Target(address, self.port, **where) for address in self.addresses]


class Mute(Addresses):
    """A resolver that never answers."""

    def __init__(self) -> None:
        super().__init__(0)

    async def resolve(
        self, reference: ReferenceIdentity, *, service: str | None = None, port: int | None = None
    ) -> list[Target]:
        await asyncio.Event().wait()
        return await super().resolve(reference, service=service, port=port)
