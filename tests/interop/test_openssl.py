"""The openssl program as peer: its s_server and s_client, with certificates and with staples."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import evolve
from impostors import CONTOSO, FABRIKAM, REFUSED, STRANGER, WELCOME, Visitor, name_of
from network import ENTERPRISE, OURS, Server, client, serving, until
from programs import Program, running
from sip import request
from staples import Requires, staple

from siptls import (
    Credential,
    Message,
    PeerRefusedError,
    RefusedByPeerError,
    TLSServerTransport,
)
from siptls.testing import CertificateAuthority, pem

OPENSSL = shutil.which("openssl")


def _knows(command: str, option: str) -> bool:
    if OPENSSL is None:
        return False
    done = subprocess.run([OPENSSL, command, "-help"], capture_output=True, text=True, check=False)
    return f" {option} " in done.stdout + done.stderr


pytestmark = [
    pytest.mark.skipif(
        not _knows("s_server", "-status_file") or not _knows("s_client", "-status"),
        reason="there is no openssl with 's_server -status_file': apt-get install openssl",
    ),
    pytest.mark.timeout(60, method="signal"),
]

VERSIONS = pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
FLAGS = {"TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}
PARTNER = FABRIKAM.issue("sip:fabrikam.com")
GOOD = staple(CONTOSO, OURS)


def shown(folder: Path, credential: Credential) -> tuple[str, ...]:
    """Give the options by which it shows a certificate, with those between."""
    chain = str(folder / "chain.pem")
    Path(chain).write_bytes(pem(credential))
    return ("-cert", chain, "-key", chain, "-cert_chain", chain)


# ---------------------------------------------------------------- its server, our client


@asynccontextmanager
async def s_server(
    folder: Path, version: str, *options: str, credential: Credential = OURS
) -> AsyncIterator[tuple[Program, int]]:
    """Run a server for one connection, and give its port."""
    command = (
        *("openssl", "s_server", FLAGS[version], "-accept", "127.0.0.1:0", "-naccept", "1"),
        *(*shown(folder, credential), *options),
    )
    async with running(*command, folder=folder) as program:
        yield program, int((await program.prints(r"^ACCEPT .*:(\d+)$"))[1])


def demanding(folder: Path) -> tuple[str, ...]:
    """Give the options by which it demands a certificate of the partner's CA."""
    (folder / "ca.pem").write_bytes(FABRIKAM.pem)
    return ("-Verify", "5", "-verify_return_error", "-CAfile", str(folder / "ca.pem"))


@VERSIONS
async def test_our_client_asks_s_server_and_shows_its_certificate(
    tmp_path: Path, version: str
) -> None:
    async with (
        s_server(tmp_path, version, *demanding(tmp_path)) as (program, port),
        client(credential=PARTNER) as transport,
    ):
        connection = await transport.connect("sip:contoso.com", host="127.0.0.1", port=port)
        await connection.send(request())
        await program.prints("^Content-Length: 0")
        program.tell(Message(request()).reply(200, "Typed by hand").data)
        assert (await connection.receive()).start_line == "SIP/2.0 200 Typed by hand"
        assert connection.peer is not None
        assert connection.peer.domains == {"contoso.com"}
        assert connection.tls is not None
        assert connection.tls.version == version
        assert "CN = fabrikam.com" in program.output


@VERSIONS
@pytest.mark.parametrize(
    ("shows", "alerts"),
    [
        (None, {"TLSv1.2": 40, "TLSv1.3": 116}),
        (STRANGER.issue("sip:fabrikam.com"), {"TLSv1.2": 48, "TLSv1.3": 48}),
    ],
    ids=["no-certificate", "unknown-CA"],
)
async def test_s_server_refuses_us(
    tmp_path: Path, version: str, shows: Credential | None, alerts: dict[str, int]
) -> None:
    async with (
        s_server(tmp_path, version, *demanding(tmp_path)) as (_, port),
        client(credential=shows) as transport,
    ):
        with pytest.raises(RefusedByPeerError) as caught:
            await (await transport.connect("contoso.com", host="127.0.0.1", port=port)).receive()
        assert caught.value.alert.code == alerts[version]


@VERSIONS
async def test_we_refuse_s_server_if_it_proves_another_name(tmp_path: Path, version: str) -> None:
    other = CONTOSO.issue("sip:sales.contoso.com", "contoso.com")
    async with (
        s_server(tmp_path, version, credential=other) as (program, port),
        client() as transport,
    ):
        with pytest.raises(PeerRefusedError) as caught:
            await transport.connect("contoso.com", host="127.0.0.1", port=port)
        assert caught.value.decision.code == "name.mismatch"
        await program.prints("alert certificate unknown.*SSL alert number 46")


async def visit(port: int, policy: Requires) -> None:
    async with client(policy) as transport:
        await transport.connect("contoso.com", host="127.0.0.1", port=port)


def stapling(folder: Path, response: bytes | None) -> tuple[str, ...]:
    if response is None:
        return ()
    (folder / "staple.der").write_bytes(response)
    return ("-status_file", str(folder / "staple.der"))


@VERSIONS
async def test_our_client_judges_by_what_s_server_staples(tmp_path: Path, version: str) -> None:
    policy = Requires(ENTERPRISE)
    async with s_server(tmp_path, version, *stapling(tmp_path, GOOD)) as (_, port):
        await visit(port, policy)
    assert policy.seen == [None, GOOD]


@VERSIONS
@pytest.mark.parametrize(
    ("response", "code"),
    [
        (staple(CONTOSO, OURS, revoked=True), "path.revoked"),
        (staple(CONTOSO, CONTOSO.issue("sip:contoso.com")), "path.revocation-unknown"),
        (None, "path.revocation-unknown"),
    ],
    ids=["revoked", "of-another", "none"],
)
async def test_our_client_refuses_what_s_server_staples(
    tmp_path: Path, version: str, response: bytes | None, code: str
) -> None:
    async with s_server(tmp_path, version, *stapling(tmp_path, response)) as (_, port):
        with pytest.raises(PeerRefusedError) as refused:
            await visit(port, Requires(ENTERPRISE))
    assert refused.value.decision.code == code


# ---------------------------------------------------------------- its client, our server


@asynccontextmanager
async def s_client(
    folder: Path, server: Server, version: str, *options: str
) -> AsyncIterator[Program]:
    command = (*("openssl", "s_client", FLAGS[version]), *options)
    command += ("-connect", "{host}:{port}".format_map(server.place))
    async with running(*command, folder=folder) as program:
        yield program


@VERSIONS
@pytest.mark.parametrize("visitor", WELCOME, ids=name_of)
async def test_s_client_is_believed(tmp_path: Path, version: str, visitor: Visitor) -> None:
    options = shown(tmp_path, visitor.make())
    async with serving() as server:
        async with s_client(tmp_path, server, version, *options) as program:
            program.tell(request())
            await program.prints("^SIP/2.0 200 OK")
        (connection,) = server.connections
        assert connection.peer is not None
        assert connection.peer.domains == visitor.domains
        assert connection.tls is not None
        assert connection.tls.version == version


@VERSIONS
@pytest.mark.parametrize("visitor", REFUSED, ids=name_of)
async def test_s_client_is_refused_and_told(tmp_path: Path, version: str, visitor: Visitor) -> None:
    options = shown(tmp_path, visitor.make())
    async with serving() as server:
        async with s_client(tmp_path, server, version, *options) as program:
            told = await program.prints(r"SSL alert number (\d+)")
        assert int(told[1]) == visitor.alert
        assert (await server.refused.get()).code == visitor.code
        assert server.connections == []


@VERSIONS
async def test_s_client_is_refused_without_a_certificate(tmp_path: Path, version: str) -> None:
    async with serving() as server:
        async with s_client(tmp_path, server, version) as program:
            told = await program.prints(r"SSL alert number (\d+)")
        assert int(told[1]) == {"TLSv1.2": 40, "TLSv1.3": 116}[version]
        assert (await server.refused.get()).code == "certificate.missing"


@VERSIONS
@pytest.mark.parametrize(
    ("ca", "expects", "alert"),
    [(STRANGER, "contoso.com", 48), (CONTOSO, "northwind.com", 42)],
    ids=["unknown-CA", "another-name"],
)
async def test_s_client_refuses_us(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    version: str,
    ca: CertificateAuthority,
    expects: str,
    alert: int,
) -> None:
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    checks = ("-CAfile", "ca.pem", "-verify_hostname", expects, "-verify_return_error")
    options = (*shown(tmp_path, PARTNER), *checks)
    async with serving() as server:
        async with s_client(tmp_path, server, version, *options) as program:
            await program.ends()
            await until(lambda: f"TLS alert {alert} " in caplog.text)
        assert server.connections == []
        assert server.refusals == []


@VERSIONS
async def test_s_client_gets_the_staple_if_it_asks(tmp_path: Path, version: str) -> None:
    stapled = evolve(OURS, staple=GOOD)
    told = await status(tmp_path, stapled, version, "-status")
    assert "OCSP Response Status: successful" in told
    assert "Cert Status: good" in told
    assert f"{OURS.chain[0].serial_number:X}" in told
    assert "OCSP response: no response sent" in await status(tmp_path, OURS, version, "-status")
    assert "OCSP" not in await status(tmp_path, stapled, version)


async def status(folder: Path, credential: Credential, version: str, *options: str) -> str:
    """Let s_client visit a server of ours that asks for no certificate; give what it prints."""
    async with TLSServerTransport(credential, on_message=print) as server:
        await server.listen("127.0.0.1", 0)
        ((host, port),) = server.addresses
        command = ("openssl", "s_client", FLAGS[version], "-connect", f"{host}:{port}", *options)
        async with running(*command, folder=folder) as program:
            program.tell_no_more()
            await program.ends()
            return program.output
