"""SIPp as peer, which speaks TCP, behind stunnel, which makes it TLS with a client certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from impostors import CONTOSO, FABRIKAM, STRANGER
from network import Server, client, serving, until
from ports import free_port
from programs import Program, needs, running
from sip import request

from siptls import Connection, Credential, PeerRefusedError, RefusedByPeerError
from siptls.testing import CertificateAuthority, pem

pytestmark = [
    needs("sipp", "sip-tester"),
    needs("stunnel4", "stunnel4"),
    pytest.mark.timeout(90, method="signal"),
]

VERSIONS = pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
PARTNER = FABRIKAM.issue("sip:fabrikam.com")
OURS = CONTOSO.issue("sip:contoso.com", "contoso.com")
HERE = Path(__file__).parent
REQUESTS = 3000


@asynccontextmanager
async def stunnel(
    folder: Path,
    version: str,
    shows: Credential | None,
    believes: CertificateAuthority,
    **settings: object,
) -> AsyncIterator[Program]:
    """Run it with one service, from when it listens."""
    settings |= {
        "CAfile": folder / "ca.pem",
        "verifyChain": "yes",
        "sslVersion": version,
        "TIMEOUTclose": 0,
    }
    (folder / "ca.pem").write_bytes(believes.pem)
    if shows is not None:
        (folder / "chain.pem").write_bytes(pem(shows))
        settings["cert"] = folder / "chain.pem"
    lines = ["foreground = yes", "pid =", "syslog = no", "debug = debug", "[sip]"]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    (folder / "stunnel.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    async with running("stunnel4", str(folder / "stunnel.conf"), folder=folder) as program:
        await program.prints(r"Service \[sip\] .*bound to")
        yield program


def sipp(scenario: str, *options: str) -> tuple[str, ...]:
    return (
        "sipp",
        "-sf",
        str(HERE / scenario),
        "-t",
        "t1",
        "-i",
        "127.0.0.1",
        "-nostdin",
        *options,
    )


# ---------------------------------------------------------------- SIPp asks our server


@asynccontextmanager
async def calling(
    folder: Path,
    server: Server,
    version: str,
    shows: Credential | None,
    *,
    believes: CertificateAuthority = CONTOSO,
    requests: int = 1,
) -> AsyncIterator[tuple[Program, Program]]:
    """Run SIPp, which sends requests, and the stunnel through which it reaches a server."""
    place, port = "{host}:{port}".format_map(server.place), free_port()
    through = stunnel(
        *(folder, version, shows, believes),
        client="yes",
        accept=f"127.0.0.1:{port}",
        connect=place,
        sni="contoso.com",
        checkHost="contoso.com",
    )
    much = ("-m", str(requests), "-r", "2000", "-l", "500")
    async with through as tunnel:
        command = sipp("sipp_client.xml", *much, f"127.0.0.1:{port}")
        async with running(*command, folder=folder, TERM="dumb") as program:
            yield program, tunnel


@VERSIONS
async def test_thousands_of_requests_over_one_connection_are_answered(
    tmp_path: Path, version: str
) -> None:
    answered = 0

    async def answer(connection: Connection) -> None:
        nonlocal answered
        async for message in connection:
            await connection.send(message.reply(200, "OK"))
            answered += 1

    async with serving(answer, credential=OURS) as server:
        visit = calling(tmp_path, server, version, PARTNER, requests=REQUESTS)
        async with visit as (program, _):
            assert await program.ends() == 0, program.output  # each call has had its 200
        assert answered == REQUESTS
        (connection,) = server.connections
        assert connection.peer is not None
        assert connection.peer.domains == {"fabrikam.com"}
        assert connection.tls is not None
        assert connection.tls.version == version


@VERSIONS
@pytest.mark.parametrize(
    ("shows", "code", "alert"),
    [
        (None, "certificate.missing", "handshake failure|certificate required"),
        (STRANGER.issue("sip:fabrikam.com"), "path.unknown-ca", "unknown ca"),
        (FABRIKAM.issue("sip:contoso.com"), "name.out-of-scope", "certificate unknown"),
    ],
    ids=["no-certificate", "unknown-CA", "impostor"],
)
async def test_its_requests_do_not_come_in(
    tmp_path: Path,
    *,
    version: str,
    shows: Credential | None,
    code: str,
    alert: str,
) -> None:
    async with serving(credential=OURS) as server:
        async with calling(tmp_path, server, version, shows) as (program, tunnel):
            assert (await server.refused.get()).code == code
            await tunnel.prints(rf"routines::\w+ alert ({alert})$")
            assert await program.ends() != 0
        assert server.connections == []


@VERSIONS
@pytest.mark.parametrize(
    ("shows", "believes", "alert"),
    [
        (OURS, STRANGER, 48),
        # Where there is a dNSName, it reads neither the URI nor the common name.
        (CONTOSO.issue("sip:contoso.com", "sip.contoso.com"), CONTOSO, 80),
    ],
    ids=["unknown-CA", "URI-only"],
)
async def test_it_sends_us_nothing_if_stunnel_does_not_believe_us(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    version: str,
    shows: Credential,
    believes: CertificateAuthority,
    alert: int,
) -> None:
    async with serving(credential=shows) as server:
        async with calling(tmp_path, server, version, PARTNER, believes=believes) as (program, _):
            await until(
                lambda: f"the peer refused the handshake with TLS alert {alert} " in caplog.text
            )
            assert await program.ends() != 0
        assert server.connections == []
        assert server.refusals == []


# ---------------------------------------------------------------- our client asks SIPp


@asynccontextmanager
async def answering(
    folder: Path, version: str, shows: Credential = OURS
) -> AsyncIterator[tuple[Program, int]]:
    """Run SIPp, which answers OPTIONS, behind a stunnel that demands a certificate."""
    inner, outer = free_port(), free_port()
    command = sipp("sipp_server.xml", "-p", str(inner))
    async with running(*command, folder=folder, TERM="dumb") as program:
        await program.listens(inner)
        front = stunnel(
            *(folder, version, shows, FABRIKAM),
            accept=f"127.0.0.1:{outer}",
            connect=f"127.0.0.1:{inner}",
            requireCert="yes",
        )
        async with front as tunnel:
            yield tunnel, outer


@VERSIONS
async def test_our_client_asks_sipp(tmp_path: Path, version: str) -> None:
    async with (
        answering(tmp_path, version) as (_, port),
        client(credential=PARTNER) as transport,
    ):
        connection = await transport.connect("sip:contoso.com", host="127.0.0.1", port=port)
        for number in range(1, 101):
            await connection.send(request(number=number))
            reply = await connection.receive()
            assert reply.start_line == "SIP/2.0 200 SIPp is alive"
            assert reply.header("Call-ID") == f"{number}@client.example"
        assert connection.peer is not None
        assert connection.peer.domains == {"contoso.com"}
        assert connection.tls is not None
        assert connection.tls.version == version


@VERSIONS
@pytest.mark.parametrize(
    ("shows", "alerts"),
    [
        (None, {"TLSv1.2": 40, "TLSv1.3": 116}),
        (STRANGER.issue("sip:fabrikam.com"), {"TLSv1.2": 48, "TLSv1.3": 48}),
    ],
    ids=["no-certificate", "unknown-CA"],
)
async def test_stunnel_refuses_us(
    tmp_path: Path, version: str, shows: Credential | None, alerts: dict[str, int]
) -> None:
    async with (
        answering(tmp_path, version) as (_, port),
        client(credential=shows) as transport,
    ):
        with pytest.raises(RefusedByPeerError) as caught:
            await (await transport.connect("contoso.com", host="127.0.0.1", port=port)).receive()
        assert caught.value.alert.code == alerts[version]


@VERSIONS
async def test_we_refuse_stunnel_if_it_proves_another_name(tmp_path: Path, version: str) -> None:
    other = CONTOSO.issue("sip:sales.contoso.com", "contoso.com")
    async with (
        answering(tmp_path, version, other) as (tunnel, port),
        client(credential=PARTNER) as transport,
    ):
        with pytest.raises(PeerRefusedError) as caught:
            await transport.connect("contoso.com", host="127.0.0.1", port=port)
        assert caught.value.decision.code == "name.mismatch"
        await tunnel.prints(r"routines::\w+ alert certificate unknown$")
