"""The front ends of siptls, each as a client and as a server of contoso.com, with one face."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from sip import request

import siptls
from siptls import (
    KEEPALIVE_PING,
    KEEPALIVE_PONG,
    ClientConnection,
    ConnectionClosed,
    ConnectionClosedError,
    Credential,
    Decision,
    Enterprise,
    Event,
    FramingError,
    KeyPurposes,
    MessageFramer,
    MessageReceived,
    PeerAccepted,
    PeerRefused,
    PeerRefusedError,
    PolicySSLContext,
    RefusedByPeerError,
    ServerConnection,
    SIPTLSError,
    sync,
)
from siptls.testing import CertificateAuthority

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from own_loop import Loop  # an example is no package

CA = CertificateAuthority("Contoso CA", seed="front ends")
OURS = CA.issue("sip:contoso.com")
# As Python's ssl has it: serverAuth for servers, clientAuth for clients. Ours takes more.
POLICY = Enterprise(["contoso.com"], CA.authority(purposes=KeyPurposes.ROLE))


def outcome(error: Exception | None) -> str:
    """Name how a connection ended, in a word that is the same for all front ends."""
    match error:
        case PeerRefusedError(decision=decision):
            return f"we refused: {decision.code}"
        case RefusedByPeerError():
            return "it refused us"
        case FramingError():
            return "no SIP"
        case ConnectionClosedError(orderly=False):
            return "cut off"
        case None | ConnectionClosedError():
            return "closed in order"
        case _:
            raise error


@frozen
class Served:
    """What a server has seen: how each accepted connection ended, and who was refused."""

    ends: queue.Queue[str]
    refusals: queue.Queue[str]

    def refuse(self, decision: Decision, _: object) -> None:
        self.refusals.put(decision.code)


@frozen
class FrontEnd:
    """A front end.

    Attributes:
        client: Expects a name at a port, with a credential; sends a request and gives the start
            line of its answer, or how the connection ended.
        server: Serves at a port, which it gives, until the block ends.
        tells: Whether a client is told of the peer's alert; ssl has no numbers of alerts.
    """

    name: str
    client: Callable[[str, int, Credential | None], str]
    server: Callable[[Served], AbstractContextManager[int]]
    tells: bool = True


# ---------------------------------------------------------------- asyncio


def asyncio_client(expected: str, port: int, credential: Credential | None) -> str:
    async def talk() -> str:
        async with siptls.TLSClientTransport(POLICY, credential=credential) as transport:
            try:
                connection = await transport.connect(expected, host="127.0.0.1", port=port)
                await connection.send(request())
                return (await connection.receive()).start_line
            except SIPTLSError as error:
                return outcome(error)

    return asyncio.run(talk())


async def asyncio_handler(connection: siptls.Connection, served: Served) -> None:
    """Answer each request, and note how the connection has ended."""
    try:
        async for message in connection:
            await connection.send(message.reply(200, "OK"))
    except SIPTLSError as error:
        served.ends.put(outcome(error))
    else:
        served.ends.put(outcome(None))


@contextmanager
def in_loop() -> Iterator[Callable[[Any], Any]]:
    """Run an event loop in a thread; give what runs a coroutine in it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def asyncio_server(served: Served) -> Iterator[int]:
    async def start() -> siptls.MTLSServerTransport:
        server = siptls.MTLSServerTransport(
            OURS, POLICY, lambda c: asyncio_handler(c, served), on_refused=served.refuse
        )
        await server.listen("127.0.0.1", 0)
        return server

    with in_loop() as run:
        server = run(start())
        try:
            yield server.addresses[0][1]
        finally:
            run(server.aclose())


# ---------------------------------------------------------------- blocking


def sync_client(expected: str, port: int, credential: Credential | None) -> str:
    with sync.TLSClientTransport(POLICY, credential=credential) as transport:
        try:
            connection = transport.connect(expected, host="127.0.0.1", port=port)
            connection.send(request(), timeout=20)
            return connection.receive(timeout=20).start_line
        except SIPTLSError as error:
            return outcome(error)


def blocking_handler(connection: sync.Connection, served: Served) -> None:
    """As `asyncio_handler`, with siptls.sync."""
    try:
        for message in connection:
            connection.send(message.reply(200, "OK"), timeout=20)
    except SIPTLSError as error:
        served.ends.put(outcome(error))
    else:
        served.ends.put(outcome(None))


@contextmanager
def sync_server(served: Served) -> Iterator[int]:
    with sync.MTLSServerTransport(
        OURS, POLICY, lambda c: blocking_handler(c, served), on_refused=served.refuse
    ) as server:
        server.listen("127.0.0.1", 0)
        yield server.addresses[0][1]


# ---------------------------------------------------------------- asyncio streams, with ssl


async def _framed(reader: asyncio.StreamReader) -> Any:
    """Give messages from a stream, as whoever has only an `ssl.SSLContext` would."""
    framer = MessageFramer()
    while data := await reader.read(65536):
        for item in framer.feed(data):
            if item not in (KEEPALIVE_PING, KEEPALIVE_PONG):
                yield item
        if framer.broken is not None:
            raise FramingError(framer.broken)
    if framer.partial:
        raise ConnectionClosedError("cut off in a message")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def streams_client(expected: str, port: int, credential: Credential | None) -> str:
    async def talk() -> str:
        context = PolicySSLContext.client(POLICY, credential=credential)
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname=expected
            )
        except PeerRefusedError as error:
            for _ in range(3):  # asyncio closes the socket in its next turns
                await asyncio.sleep(0)
            return outcome(error)
        except OSError:
            return "closed in order"
        try:
            writer.write(request())
            async for message in _framed(reader):
                return str(message.start_line)
        except SIPTLSError as error:
            return outcome(error)
        except OSError:
            return "closed in order"
        finally:
            await _close(writer)
        return "closed in order"

    return asyncio.run(talk())


@contextmanager
def streams_server(served: Served) -> Iterator[int]:
    context = PolicySSLContext.server(OURS, POLICY, on_refused=served.refuse)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for message in _framed(reader):
                writer.write(message.reply(200, "OK").data)
        except (SIPTLSError, OSError) as error:
            served.ends.put(outcome(error) if isinstance(error, SIPTLSError) else "cut off")
        else:
            served.ends.put(outcome(None))
        await _close(writer)

    async def close(server: asyncio.Server) -> None:
        server.close()
        await server.wait_closed()
        for _ in range(10):
            await asyncio.sleep(0)

    with in_loop() as run:
        server = run(asyncio.start_server(handle, "127.0.0.1", 0, ssl=context))
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            run(close(server))


# ---------------------------------------------------------------- your own loop


def own_client(expected: str, port: int, credential: Credential | None) -> str:
    loop, result = Loop(), list[str]()
    core = ClientConnection(POLICY, expected, credential=credential)

    def on_event(_: object, event: Event) -> None:
        match event:
            case PeerAccepted():
                core.send(request())
            case MessageReceived(message=message):
                result.append(message.start_line)
                core.close()
            case ConnectionClosed(reason=reason):
                result.append(outcome(reason))

    sock = socket.create_connection(("127.0.0.1", port))
    loop.add(sock, core, on_event)
    loop.run(lambda: bool(loop.unsent))
    loop.selector.close()
    return result[0]


@contextmanager
def own_server(served: Served) -> Iterator[int]:
    loop, accepted = Loop(), set[int]()
    serving = threading.Event()
    serving.set()

    def on_event(core: Any, event: Event) -> None:
        match event:
            case PeerAccepted():
                accepted.add(id(core))
            case PeerRefused(decision=decision):
                served.refuse(decision, None)
            case MessageReceived(message=message):
                core.send(message.reply(200, "OK"))
            case ConnectionClosed(reason=reason) if id(core) in accepted:
                served.ends.put(outcome(reason))

    def work() -> None:
        loop.run(lambda: serving.is_set() or bool(loop.unsent))
        loop.selector.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        loop.listen(listener, lambda: ServerConnection(OURS, POLICY), on_event)
        thread = threading.Thread(target=work)
        thread.start()
        yield listener.getsockname()[1]
        serving.clear()
        thread.join()


FRONT_ENDS = [
    FrontEnd("asyncio", asyncio_client, asyncio_server),
    FrontEnd("sync", sync_client, sync_server),
    FrontEnd("PolicySSLContext", streams_client, streams_server, tells=False),
    FrontEnd("own-loop", own_client, own_server),
]
