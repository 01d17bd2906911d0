"""Kamailio as peer: it requires and verifies client certificates, and is client of ours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from attrs import frozen
from impostors import CONTOSO, FABRIKAM, STRANGER
from ports import free_port
from programs import Program, needs, running
from sip import request

from siptls import (
    Backoff,
    Connection,
    ConnectionPool,
    Credential,
    Decision,
    Enterprise,
    Federation,
    KeepChange,
    KeepState,
    Message,
    MTLSServerTransport,
    Partner,
    PeerRefusedError,
    RefusedByPeerError,
    SIPTLSError,
    StaticResolver,
    TLSClientTransport,
    TrustedServers,
)
from siptls.testing import pem

HAS_TLS = any(Path("/usr/lib").glob("*/kamailio/modules/tls.so"))

pytestmark = [
    needs("kamailio", "kamailio kamailio-tls-modules"),
    pytest.mark.skipif(not HAS_TLS, reason="no TLS: apt-get install kamailio-tls-modules"),
    pytest.mark.timeout(90),
]

# Kamailio is a server of contoso.com, and we are either a client there, or the partner fabrikam.
ITS = CONTOSO.issue("sip:contoso.com", "sip.contoso.com", key="RSA-2048")
OURS = FABRIKAM.issue("sip:fabrikam.com", "sip.fabrikam.com")
BELIEVE_IT = Enterprise(["contoso.com"], CONTOSO.authority())


@frozen
class Kamailio:
    """A running Kamailio."""

    port: int
    program: Program

    @property
    def log(self) -> str:
        return self.program.output


@asynccontextmanager
async def kamailio(
    folder: Path, *, version: str, credential: Credential = ITS, port: int | None = None
) -> AsyncIterator[Kamailio]:
    """Run Kamailio until the block ends. ``version`` is its `method` of TLS."""
    files = {
        "chain.pem": pem(credential),
        "ca.pem": CONTOSO.pem + FABRIKAM.pem,
        "tls.cfg": "".join(
            f"[{side}:default]\nmethod = {version}\nverify_certificate = yes\n"
            f"require_certificate = yes\nprivate_key = {folder}/chain.pem\n"
            f"certificate = {folder}/chain.pem\nca_list = {folder}/ca.pem\n"
            for side in ("server", "client")
        ).encode(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    port = port or free_port()
    defines = (f"TLS_PORT={port}", f'TLS_CFG="{folder}/tls.cfg"')
    config = Path(__file__).with_name("kamailio.cfg")
    async with configured(config, folder, port, *defines) as peer:
        yield peer


@asynccontextmanager
async def configured(
    config: Path, folder: Path, port: int, *defines: str
) -> AsyncIterator[Kamailio]:
    """Run it with a configuration, from when it listens until the block ends."""
    command = (
        *("kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-f", str(config)),
        *("-Y", str(folder), "-P", str(folder / "pid"), "-w", str(folder)),
        *(word for define in defines for word in ("-A", define)),
    )
    async with running(*command, folder=folder) as program:
        await program.listens(port)
        yield Kamailio(port, program)


async def ask(transport: TLSClientTransport, peer: Kamailio) -> Message:
    """Send OPTIONS to Kamailio over a new connection."""
    connection = await transport.connect("sip:contoso.com", host="127.0.0.1", port=peer.port)
    await connection.send(request())
    return await connection.receive()


VERSIONS = {"TLSv1.2": "TLSv1.2", "TLSv1.3": "TLSv1.2+"}


async def test_our_client_asks_kamailio(tls_version: str, tmp_path: Path) -> None:
    async with (
        kamailio(tmp_path, version=VERSIONS[tls_version]) as peer,
        TLSClientTransport(BELIEVE_IT, credential=OURS) as transport,
    ):
        connection = await transport.connect("sip:contoso.com", host="127.0.0.1", port=peer.port)
        await connection.send(request())
        reply = await connection.receive()
        assert reply.status == 200, peer.log
        assert "Kamailio is alive" in reply.start_line
        assert connection.tls is not None
        assert connection.tls.version == tls_version
        assert connection.peer is not None
        assert connection.peer.domains == {"contoso.com"}
        assert await connection.ping() > 0


async def test_kamailio_relays_to_our_server_and_brings_our_answer_back(
    tls_version: str, tmp_path: Path
) -> None:
    """Kamailio is the client of our MTLS server, with its certificate."""
    served: list[Connection] = []

    async def answer(connection: Connection) -> None:
        served.append(connection)
        async for message in connection:
            await connection.send(message.reply(200, "Fabrikam answers"))

    federation = Federation([Partner(["contoso.com"], CONTOSO.authority())])
    async with (
        kamailio(tmp_path, version=VERSIONS[tls_version]) as peer,
        MTLSServerTransport(OURS, federation, answer) as server,
        TLSClientTransport(BELIEVE_IT, credential=OURS) as transport,
    ):
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        connection = await transport.connect("sip:contoso.com", host="127.0.0.1", port=peer.port)
        relay = f"X-Relay: sip:{host}:{port};transport=tls\r\n"
        await connection.send(request("MESSAGE", "sip:bob@fabrikam.com", header=relay, body=b"Hi"))
        reply = await connection.receive()
        while reply.status == 100:
            reply = await connection.receive()
        assert "Fabrikam answers" in reply.start_line, peer.log
        (its,) = served
        assert its.peer is not None
        assert its.peer.domains == {"contoso.com"}
        assert its.tls is not None
        assert its.tls.version == tls_version


async def test_kamailio_minds_no_name_in_our_certificate(tmp_path: Path) -> None:
    """It looks for fabrikam.com, and takes whoever one of its CAs has issued a certificate."""
    federation = Federation([Partner(["contoso.com"], CONTOSO.authority())])

    async def answer(connection: Connection) -> None:
        async for message in connection:
            await connection.send(message.reply(200, "Somebody answers"))

    another = FABRIKAM.issue("sip:northwind.com", "northwind.com")
    async with (
        kamailio(tmp_path, version="TLSv1.2+") as peer,
        MTLSServerTransport(another, federation, answer) as server,
        TLSClientTransport(BELIEVE_IT, credential=OURS) as transport,
    ):
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        connection = await transport.connect("sip:contoso.com", host="127.0.0.1", port=peer.port)
        relay = f"X-Relay: sip:{host}:{port};transport=tls\r\n"
        await connection.send(request("MESSAGE", "sip:bob@fabrikam.com", header=relay, body=b"Hi"))
        reply = await connection.receive()
        while reply.status == 100:
            reply = await connection.receive()
        assert "Somebody answers" in reply.start_line, peer.log


async def test_our_server_refuses_kamailio_if_it_is_no_partner(
    tls_version: str, tmp_path: Path
) -> None:
    refused: asyncio.Queue[Decision] = asyncio.Queue()

    async def never(connection: Connection) -> None:
        raise AssertionError(connection)

    server = MTLSServerTransport(
        OURS,
        Federation([Partner(["northwind.com"], STRANGER.authority())]),
        never,
        on_refused=lambda decision, _: refused.put_nowait(decision),
    )
    async with (
        kamailio(tmp_path, version=VERSIONS[tls_version]) as peer,
        server,
        TLSClientTransport(BELIEVE_IT, credential=OURS) as transport,
    ):
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        connection = await transport.connect("sip:contoso.com", host="127.0.0.1", port=peer.port)
        relay = f"X-Relay: sip:{host}:{port};transport=tls\r\n"
        await connection.send(request("MESSAGE", "sip:bob@fabrikam.com", header=relay))
        assert (await refused.get()).code == "partner.unknown"


async def test_kamailio_refuses_us_without_a_certificate_that_it_knows(
    tls_version: str, tmp_path: Path
) -> None:
    async with kamailio(tmp_path, version=VERSIONS[tls_version]) as peer:
        for credential in (None, STRANGER.issue("sip:fabrikam.com")):
            async with TLSClientTransport(BELIEVE_IT, credential=credential) as transport:
                with pytest.raises(SIPTLSError, match=r"alert|refused"):
                    await ask(transport, peer)


async def test_kamailio_takes_an_impostor_and_no_certificate_for_servers_only(
    tls_version: str, tmp_path: Path
) -> None:
    """What the how-to about a proxy in front builds on: the purpose counts, the name does not."""
    impostor = FABRIKAM.issue("sip:contoso.com")
    for_servers = FABRIKAM.issue("sip:fabrikam.com", purposes=["serverAuth"])
    async with kamailio(tmp_path, version=VERSIONS[tls_version]) as peer:
        async with TLSClientTransport(BELIEVE_IT, credential=impostor) as transport:
            assert (await ask(transport, peer)).status == 200
        async with TLSClientTransport(BELIEVE_IT, credential=for_servers) as transport:
            with pytest.raises(RefusedByPeerError) as caught:
                await ask(transport, peer)
        assert caught.value.alert.name == "unsupported_certificate"


async def test_we_refuse_kamailio_if_it_proves_another_name(
    tls_version: str, tmp_path: Path
) -> None:
    other = CONTOSO.issue("sip:sales.contoso.com", key="RSA-2048")
    async with (
        kamailio(tmp_path, version=VERSIONS[tls_version], credential=other) as peer,
        TLSClientTransport(BELIEVE_IT, credential=OURS) as transport,
    ):
        with pytest.raises(PeerRefusedError) as caught:
            await transport.connect("sip:contoso.com", host="127.0.0.1", port=peer.port)
        assert caught.value.decision.code == "name.mismatch"


async def test_a_kept_connection_is_back_when_kamailio_is(tmp_path: Path) -> None:
    """Stopped and started again; and while it is away, we do not knock without pause."""
    seen: list[KeepChange] = []
    async with TLSClientTransport(BELIEVE_IT, credential=OURS, keep_alive=5) as transport:
        async with kamailio(tmp_path, version="TLSv1.2+") as peer:
            kept = transport.keep(
                "sip:contoso.com",
                host="127.0.0.1",
                port=peer.port,
                backoff=Backoff(base=0.05, longest=0.2),
                on_change=seen.append,
            )
            first = await kept.connected()
            assert await first.ping() >= 0
        async with asyncio.timeout(20):
            await first.wait_closed()
            while sum(change.error is not None for change in seen) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0)
        waits = [change.retry_in for change in seen if change.error is not None]
        assert all(waits[1:]), "only the loss of one that had lived is followed by a try at once"
        async with kamailio(tmp_path, version="TLSv1.2+", port=peer.port):
            second = await kept.connected()
            await second.send(request())
            assert (await second.receive()).status == 200
    assert seen[-1].state is KeepState.CLOSED


async def test_kamailios_own_connection_carries_a_request_back_to_it(tmp_path: Path) -> None:
    """It has shown a certificate for contoso.com, and so a request for contoso.com may go there."""
    pool: ConnectionPool[Connection] = ConnectionPool()
    answers: asyncio.Queue[Message] = asyncio.Queue()

    async def handler(connection: Connection) -> None:
        async for message in connection:
            if message.is_request:
                await connection.send(message.reply(200, "OK"))
            else:
                answers.put_nowait(message)

    nowhere = StaticResolver({"contoso.com": [("127.0.0.1", free_port())]})
    server = MTLSServerTransport(OURS, BELIEVE_IT, handler, pool=pool)
    back = TLSClientTransport(BELIEVE_IT, credential=OURS, resolver=nowhere, pool=pool)
    there = TLSClientTransport(BELIEVE_IT, credential=OURS)
    async with kamailio(tmp_path, version="TLSv1.2+") as peer, server, back, there:
        await server.listen("127.0.0.1", 0)
        to_us = f"sip:127.0.0.1:{server.addresses[0][1]};transport=tls"
        connection = await there.connect("sip:contoso.com", host="127.0.0.1", port=peer.port)
        await connection.send(request("MESSAGE", header=f"X-Relay: {to_us}\r\n"))
        assert (await connection.receive()).status == 200
        assert len(pool) == 1
        its_own = await back.connect("sip:contoso.com")
        await its_own.send(request())
        async with asyncio.timeout(20):
            answered = await answers.get()
        assert (answered.status, answered.start_line) == (200, "SIP/2.0 200 Kamailio is alive")
        assert len(pool) == 1


# ---------------------------------------------------------------- in front of several of ours

SCALE_OUT = Path(__file__).parents[2] / "docs" / "how-to" / "scale-out.md"
PROXY = CONTOSO.issue("sip:contoso.com", "proxy.contoso.com", key="RSA-2048")


@asynccontextmanager
async def dispatching(folder: Path, ports: list[int]) -> AsyncIterator[Kamailio]:
    """Run Kamailio with the files in the how-to, on loopback and before servers of ours."""
    port = free_port()
    page = SCALE_OUT.read_text(encoding="utf-8")
    for name, text in re.findall(r"```text\n# /etc/kamailio/(\S+)\n(.*?)```", page, re.DOTALL):
        here = text.replace("/etc/kamailio", str(folder))
        here = here.replace("tls:192.0.2.10:5061", f"tls:127.0.0.1:{port}")
        (folder / name).write_text(here, encoding="utf-8")
    places = "".join(f"1 sip:127.0.0.1:{port};transport=tls\n" for port in ports)
    (folder / "dispatcher.list").write_text(places, encoding="utf-8")
    (folder / "proxy.pem").write_bytes(pem(PROXY))
    (folder / "contoso-ca.pem").write_bytes(CONTOSO.pem)
    async with configured(folder / "kamailio.cfg", folder, port) as peer:
        yield peer


async def test_kamailio_in_front_is_set_up_as_in_the_how_to(tmp_path: Path) -> None:
    """It spreads the calls, and a server may end; a partner's CA lets nobody in through it."""
    seen: list[tuple[int, str]] = []
    async with AsyncExitStack() as stack:
        servers: list[MTLSServerTransport] = []
        for number in (1, 2):

            def answer(connection: Connection, message: Message, number: int = number) -> None:
                assert connection.peer is not None
                assert connection.peer.trusted_server
                seen.append((number, message.method))
                connection.send_nowait(message.reply(200, "OK"))

            policy = BELIEVE_IT & TrustedServers(["proxy.contoso.com"])
            ours = CONTOSO.issue("sip:contoso.com", f"sip{number}.contoso.com")
            server = MTLSServerTransport(ours, policy, on_message=answer)
            await stack.enter_async_context(server)
            await server.listen("127.0.0.1", 0)
            servers.append(server)
        ports = [server.addresses[0][1] for server in servers]
        peer = await stack.enter_async_context(dispatching(tmp_path, ports))
        client = TLSClientTransport(BELIEVE_IT, credential=CONTOSO.issue("sip:pbx.contoso.com"))
        await stack.enter_async_context(client)
        connection = await client.connect("sip:contoso.com", host="127.0.0.1", port=peer.port)
        for number in range(30):
            await connection.send(request("MESSAGE", number=number))
            assert (await connection.receive()).status == 200, peer.log
        assert {number for number, method in seen if method == "MESSAGE"} == {1, 2}
        await servers[0].aclose()
        answers = []
        for number in range(30, 60):
            await connection.send(request("MESSAGE", number=number))
            answers.append((await connection.receive()).status)
        assert answers.count(200) >= 29, answers  # one may fail before it is known
        liar = FABRIKAM.issue("sip:contoso.com", "proxy.contoso.com")
        async with TLSClientTransport(BELIEVE_IT, credential=liar) as transport:
            with pytest.raises(SIPTLSError):
                await ask(transport, peer)
