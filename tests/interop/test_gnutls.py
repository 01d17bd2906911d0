"""GnuTLS as peer: its client shows certificates to our server, its server demands one of ours."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from impostors import CONTOSO, FABRIKAM, REFUSED, STRANGER, WELCOME, Visitor, name_of
from namespaces import Namespace, namespaces
from network import Server, client, serving, until
from programs import Program, needs, running
from sip import request

from siptls import (
    Connection,
    Credential,
    PeerRefusedError,
    RefusedByPeerError,
    TLSClientTransport,
)
from siptls.testing import CertificateAuthority, pem

pytestmark = [
    needs("gnutls-cli", "gnutls-bin"),
    needs("gnutls-serv", "gnutls-bin"),
    pytest.mark.timeout(60, method="signal"),
]

VERSIONS = pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
PARTNER = FABRIKAM.issue("sip:fabrikam.com")
# SIP counts the URI, GnuTLS the DNS name: it needs both.
OURS = CONTOSO.issue("sip:contoso.com", "contoso.com")


def options(
    folder: Path, version: str, shows: Credential | None, ca: CertificateAuthority
) -> list[str]:
    """Give what both programs are told: one version, whom they believe, and what they show."""
    (folder / "ca.pem").write_bytes(ca.pem)
    words = [
        *("--priority", f"NORMAL:-VERS-ALL:+VERS-{version.replace('v', '')}"),
        *("--x509cafile", f"{folder}/ca.pem"),
    ]
    if shows is not None:
        chain = folder / "chain.pem"
        chain.write_bytes(pem(shows))
        words += ["--x509certfile", str(chain), "--x509keyfile", str(chain)]
    return words


# ---------------------------------------------------------------- its client, our server


@asynccontextmanager
async def gnutls_cli(
    folder: Path,
    server: Server,
    version: str,
    shows: Credential | None,
    *,
    believes: CertificateAuthority = CONTOSO,
    expects: str = "contoso.com",
) -> AsyncIterator[Program]:
    place = server.place
    command = (
        *("gnutls-cli", *options(folder, version, shows, believes)),
        *("--sni-hostname", "contoso.com", "--verify-hostname", expects),
        *("--port", str(place["port"]), place["host"]),
    )
    async with running(*command, folder=folder) as program:
        yield program


@VERSIONS
@pytest.mark.parametrize("visitor", WELCOME, ids=name_of)
async def test_its_client_is_believed(tmp_path: Path, version: str, visitor: Visitor) -> None:
    async with serving(credential=OURS) as server:
        async with gnutls_cli(tmp_path, server, version, visitor.make()) as program:
            program.tell(request())
            await program.prints("^SIP/2.0 200 OK")
        (connection,) = server.connections
        assert connection.peer is not None
        assert connection.peer.domains == visitor.domains
        assert connection.tls is not None
        assert connection.tls.version == version
        assert connection.tls.server_name == "contoso.com"


@VERSIONS
@pytest.mark.parametrize("visitor", REFUSED, ids=name_of)
async def test_its_client_is_refused_and_told(
    tmp_path: Path, version: str, visitor: Visitor
) -> None:
    async with serving(credential=OURS) as server:
        async with gnutls_cli(tmp_path, server, version, visitor.make()) as program:
            told = await program.prints(r"Received alert \[(\d+)\]")
            assert await program.ends() == 1
        assert int(told[1]) == visitor.alert
        assert (await server.refused.get()).code == visitor.code
        assert server.connections == []


@VERSIONS
async def test_its_client_is_refused_without_a_certificate(tmp_path: Path, version: str) -> None:
    async with serving(credential=OURS) as server:
        async with gnutls_cli(tmp_path, server, version, None) as program:
            told = await program.prints(r"Received alert \[(\d+)\]")
        assert int(told[1]) == {"TLSv1.2": 40, "TLSv1.3": 116}[version]
        assert (await server.refused.get()).code == "certificate.missing"


BAD_CERTIFICATE = "the peer refused the handshake with TLS alert 42 bad_certificate"


@VERSIONS
@pytest.mark.parametrize(
    ("shows", "believes", "expects", "why"),
    [
        (
            CONTOSO.issue("contoso.com"),
            STRANGER,
            "contoso.com",
            "The certificate issuer is unknown",
        ),
        (CONTOSO.issue("contoso.com"), CONTOSO, "northwind.com", "does not match the expected"),
        # It reads no URI, and no common name beside one.
        (CONTOSO.issue("sip:contoso.com"), CONTOSO, "contoso.com", "does not match the expected"),
        (
            CONTOSO.issue("contoso.com", not_after=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
            CONTOSO,
            "contoso.com",
            "The certificate chain uses expired certificate",
        ),
    ],
    ids=["unknown-CA", "another-name", "URI-only", "expired"],
)
async def test_its_client_refuses_us(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    version: str,
    shows: Credential,
    believes: CertificateAuthority,
    expects: str,
    why: str,
) -> None:
    async with serving(credential=shows) as server:
        visit = gnutls_cli(tmp_path, server, version, PARTNER, believes=believes, expects=expects)
        async with visit as program:
            await program.prints(why)
            assert await program.ends() == 1
            await until(lambda: BAD_CERTIFICATE in caplog.text)
        assert server.connections == []
        assert server.refusals == []


# ---------------------------------------------------------------- its server, our client

PORT = 5061  # in a namespace of its own


@asynccontextmanager
async def gnutls_serv(
    folder: Path, version: str, shows: Credential
) -> AsyncIterator[tuple[Program, Namespace]]:
    """Run its echo server, which demands a certificate, where it may listen on all addresses."""
    command = (
        *("gnutls-serv", "--echo", "--crlf", "--port", str(PORT)),
        *("--require-client-cert", "--verify-client-cert"),
        *options(folder, version, shows, FABRIKAM),
    )
    with namespaces(1) as (there,):
        async with running(*command, folder=folder, namespace=there) as program:
            await program.prints(r"IPv4 0.0.0.0 port \d+...done")
            yield program, there


async def reach(transport: TLSClientTransport, there: Namespace) -> Connection:
    sock = there.connected("127.0.0.1", PORT)
    return await transport.connect("sip:contoso.com", sock=sock)


@VERSIONS
async def test_our_client_asks_its_server(tmp_path: Path, version: str) -> None:
    async with (
        gnutls_serv(tmp_path, version, OURS) as (_, there),
        client(credential=PARTNER) as transport,
    ):
        connection = await reach(transport, there)
        await connection.send(request())
        assert (await connection.receive()).data == request()  # it gives back what it gets
        assert connection.peer is not None
        assert connection.peer.domains == {"contoso.com"}
        assert connection.tls is not None
        assert connection.tls.version == version


@VERSIONS
@pytest.mark.parametrize(
    ("shows", "alerts"),
    [
        (None, {"TLSv1.2": 50, "TLSv1.3": 116}),
        (STRANGER.issue("sip:fabrikam.com"), {"TLSv1.2": 49, "TLSv1.3": 49}),
    ],
    ids=["no-certificate", "unknown-CA"],
)
async def test_its_server_refuses_us(
    tmp_path: Path, version: str, shows: Credential | None, alerts: dict[str, int]
) -> None:
    """Its alerts are others than those of RFC 8446, but for the missing certificate in TLS 1.3."""
    async with (
        gnutls_serv(tmp_path, version, OURS) as (_, there),
        client(credential=shows) as transport,
    ):
        with pytest.raises(RefusedByPeerError) as caught:
            await (await reach(transport, there)).receive()
        assert caught.value.alert.code == alerts[version]


@VERSIONS
async def test_we_refuse_its_server_if_it_proves_another_name(tmp_path: Path, version: str) -> None:
    other = CONTOSO.issue("sip:sales.contoso.com", "contoso.com")
    async with (
        gnutls_serv(tmp_path, version, other) as (program, there),
        client(credential=PARTNER) as transport,
    ):
        with pytest.raises(PeerRefusedError) as caught:
            await reach(transport, there)
        assert caught.value.decision.code == "name.mismatch"
        await program.prints("^Error in handshake")
