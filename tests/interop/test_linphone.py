"""linphone as peer: belle-sip on mbedTLS, which speaks TLS 1.2 only; a client, and no server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from impostors import CONTOSO, FABRIKAM, STRANGER
from namespaces import Namespace, machine
from network import Server, client, serving, until
from programs import Program, needs, running
from sip import request

from siptls import Connection, ConnectionClosedError, Credential, Message
from siptls.testing import CertificateAuthority

pytestmark = [
    needs("linphone-daemon", "linphone-cli"),
    pytest.mark.timeout(60, method="signal"),
]

TLS_PORT = 5071
PARTNER = FABRIKAM.issue("sip:fabrikam.com")
# SIP counts the URI, mbedTLS the DNS name: it needs both.
OURS = CONTOSO.issue("sip:contoso.com", "contoso.com")
# It answers over the same connection only if the Via has rport, and the name that it connected to.
OPTIONS = request(uri="sip:bob@fabrikam.com").replace(
    b"client.example;branch", b"contoso.com;rport;branch"
)


@pytest.fixture
def there() -> Iterator[Namespace]:
    """A machine of its own: it looks for networks, and listens on all of them."""
    with machine("198.18.0.1") as made:
        yield made


@asynccontextmanager
async def linphone(
    folder: Path,
    there: Namespace,
    server: Server,
    shows: Credential | None,
    *,
    believes: CertificateAuthority = CONTOSO,
) -> AsyncIterator[Program]:
    """Run it, and have it register with a server of ours."""
    (folder / ".local/share/linphone").mkdir(parents=True)  # without it, it never starts
    (folder / "ca.pem").write_bytes(believes.pem)
    settings = (
        f"[sip]\nsip_port=0\nsip_tcp_port=0\nsip_tls_port={TLS_PORT}\n"
        f"root_ca={folder}/ca.pem\nverify_server_certs=1\nverify_server_cn=1\n"
    )
    if shows is not None:
        key = shows.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "key.pem").write_bytes(key)
        chain = [certificate.public_bytes(Encoding.PEM) for certificate in shows.chain]
        (folder / "chain.pem").write_bytes(b"".join(chain))
        settings += f"client_cert_chain={folder}/chain.pem\nclient_cert_key={folder}/key.pem\n"
    settings += "[net]\ndns_srv_enabled=0\n"
    (folder / "rc").write_text(settings, encoding="utf-8")
    command = ("linphone-daemon", "--config", str(folder / "rc"), "--log", "/dev/stdout")
    async with running(*command, folder=folder, namespace=there, lingers=True) as program:
        proxy = "sip:contoso.com:{port};maddr={host};transport=tls".format_map(server.place)
        program.tell(f"register sip:bob@fabrikam.com {proxy}\n")
        yield program


async def test_it_registers_and_is_asked_over_its_connection(
    tmp_path: Path, there: Namespace
) -> None:
    """It accepts no connection over TLS, but requests over its own."""
    seen: asyncio.Queue[Message] = asyncio.Queue()

    async def handler(connection: Connection) -> None:
        async for message in connection:
            seen.put_nowait(message)
            if message.is_request:
                await connection.send(message.reply(200, "OK"))
                await connection.send(OPTIONS)

    async with serving(handler, credential=OURS, listener=there.listener()) as server:
        async with linphone(tmp_path, there, server, PARTNER) as program:
            register, answer = [await seen.get(), await seen.get()]
            assert register.method == "REGISTER"
            assert answer.header("CSeq") == "1 OPTIONS"
            assert answer.status == 200
            await program.prints("moving from .* to .LinphoneRegistrationOk.")
        (connection,) = server.connections
        assert connection.peer is not None
        assert connection.peer.domains == {"fabrikam.com"}
        assert connection.peer.authorize(register).accepted
        assert connection.tls is not None
        assert connection.tls.version == "TLSv1.2"
        assert connection.tls.server_name == "contoso.com"


@pytest.mark.parametrize(
    ("shows", "code"),
    [
        (None, "certificate.missing"),
        (STRANGER.issue("sip:fabrikam.com"), "path.unknown-ca"),
        (FABRIKAM.issue("sip:contoso.com"), "name.out-of-scope"),
    ],
    ids=["no-certificate", "unknown-CA", "impostor"],
)
async def test_it_is_refused_and_told(
    tmp_path: Path, there: Namespace, shows: Credential | None, code: str
) -> None:
    async with serving(credential=OURS, listener=there.listener()) as server:
        async with linphone(tmp_path, there, server, shows) as program:
            assert (await server.refused.get()).code == code
            await program.prints("A fatal alert message was received from our peer")
        assert server.connections == []


@pytest.mark.parametrize(
    ("shows", "believes", "alert"),
    [(OURS, STRANGER, 48), (CONTOSO.issue("sip:contoso.com"), CONTOSO, 42)],
    ids=["unknown-CA", "URI-only"],
)
async def test_it_refuses_us(
    tmp_path: Path,
    there: Namespace,
    caplog: pytest.LogCaptureFixture,
    *,
    shows: Credential,
    believes: CertificateAuthority,
    alert: int,
) -> None:
    async with serving(credential=shows, listener=there.listener()) as server:
        async with linphone(tmp_path, there, server, PARTNER, believes=believes):
            await until(lambda: f"refused the handshake with TLS alert {alert} " in caplog.text)
        assert server.connections == []
        assert server.refusals == []


async def test_it_is_no_server(tmp_path: Path, there: Namespace) -> None:
    async with serving(credential=OURS, listener=there.listener()) as server:
        async with linphone(tmp_path, there, server, PARTNER) as program, client() as transport:
            await program.listens(TLS_PORT)
            sock = there.connected("127.0.0.1", TLS_PORT)
            with pytest.raises(ConnectionClosedError, match="during the TLS handshake"):
                await transport.connect("sip:contoso.com", sock=sock)
