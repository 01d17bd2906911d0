"""baresip as peer: a softphone with a client certificate, on a machine of its own."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from impostors import CONTOSO, FABRIKAM, STRANGER
from namespaces import Namespace, machine
from network import OURS, client, serving
from programs import Program, needs, running
from sip import request

from siptls import Connection, Credential, Message, PeerRefusedError
from siptls.testing import CertificateAuthority, pem

pytestmark = [needs("baresip", "baresip-core"), pytest.mark.timeout(60, method="signal")]

ADDRESS, PORT = "198.18.0.1", 5070
TLS_PORT = PORT + 1  # it does TLS on the port above the one that it is given
PARTNER = FABRIKAM.issue("sip:fabrikam.com", key="RSA-2048")


@pytest.fixture
def there() -> Iterator[Namespace]:
    """A machine with another interface than lo, which baresip does not take."""
    with machine(ADDRESS) as made:
        yield made


@asynccontextmanager
async def baresip(
    folder: Path,
    there: Namespace,
    shows: Credential,
    *,
    account: str,
    does: str = "/about",
    believes: CertificateAuthority = CONTOSO,
) -> AsyncIterator[Program]:
    (folder / "ca.pem").write_bytes(believes.pem)
    (folder / "chain.pem").write_bytes(pem(shows))
    (folder / "accounts").write_text(account + "\n", encoding="ascii")
    (folder / "contacts").touch()
    (folder / "config").write_text(
        f"sip_listen {ADDRESS}:{PORT}\nnet_interface one\nsip_certificate {folder}/chain.pem\n"
        f"sip_cafile {folder}/ca.pem\nmodule_path /usr/lib/baresip/modules\n"
        "module g711.so\nmodule_app account.so\nmodule_app menu.so\n",
        encoding="ascii",
    )
    command = ("baresip", "-4", "-s", "-v", "-f", str(folder), "-e", does)
    async with running(*command, folder=folder, namespace=there, lingers=True) as program:
        yield program


# ---------------------------------------------------------------- it asks our server


def account_at(place: dict[str, Any]) -> str:
    """Give an account of the partner whose requests go to this place."""
    outbound = f"sip:{place['host']}:{place['port']};transport=tls"
    return f'<sip:bob@fabrikam.com>;outbound="{outbound}";auth_pass=none;regint=600'


async def test_it_registers_and_asks(tls_version: str, tmp_path: Path, there: Namespace) -> None:
    seen: list[Message] = []

    async def answer(connection: Connection) -> None:
        async for message in connection:
            seen.append(message)
            await connection.send(message.reply(200, "Contoso answers"))

    async with serving(answer, listener=there.listener(ADDRESS)) as server:
        account = account_at(server.place)
        does = "/options carol"
        async with baresip(tmp_path, there, PARTNER, account=account, does=does) as program:
            await program.prints(r"^bob@fabrikam.com: \{0/TLS/v4\} 200 Contoso answers")
            await program.prints(
                "OPTIONS of sip:carol@fabrikam.com .*\nSIP/2.0 200 Contoso answers"
            )
        (connection,) = server.connections
        assert connection.peer is not None
        assert connection.peer.domains == {"fabrikam.com"}
        assert connection.tls is not None
        assert connection.tls.version == tls_version
        assert [message.method for message in seen] == ["REGISTER", "OPTIONS"]
        assert all(connection.peer.authorize(message).accepted for message in seen)


@pytest.mark.parametrize(
    ("shows", "code"),
    [
        (STRANGER.issue("sip:fabrikam.com"), "path.unknown-ca"),
        (FABRIKAM.issue("sip:contoso.com"), "name.out-of-scope"),
    ],
    ids=["unknown-CA", "impostor"],
)
async def test_it_is_refused(
    tmp_path: Path, there: Namespace, *, tls_version: str, shows: Credential, code: str
) -> None:
    """It does not print the alert: in TLS 1.2 that there was an error, in TLS 1.3 nothing."""
    async with serving(listener=there.listener(ADDRESS)) as server:
        account = account_at(server.place)
        async with baresip(tmp_path, there, shows, account=account) as program:
            assert (await server.refused.get()).code == code
            if tls_version == "TLSv1.2":
                await program.prints("bob@fabrikam.com: Register: Protocol error")
        assert server.connections == []
        assert "SIP/2.0 200" not in program.output


async def test_it_believes_whoever_answers(
    tls_version: str, tmp_path: Path, there: Namespace
) -> None:
    """It minds neither that our certificate is of another CA than it was given, nor its date."""
    credential = CONTOSO.issue("sip:contoso.com", not_after=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    async with serving(credential=credential, listener=there.listener(ADDRESS)) as server:
        visit = baresip(
            *(tmp_path, there, PARTNER), account=account_at(server.place), believes=STRANGER
        )
        async with visit as program:
            await program.prints(r"^bob@fabrikam.com: \{0/TLS/v4\} 200 OK")


# ---------------------------------------------------------------- our client asks it

ACCOUNT = f"<sip:alice@{ADDRESS};transport=tls>;auth_pass=none;regint=0"


@pytest.mark.parametrize(
    "shows",
    [PARTNER, None, STRANGER.issue("sip:fabrikam.com")],
    ids=["a-partner", "no-certificate", "unknown-CA"],
)
async def test_our_client_asks_it(
    tls_version: str, tmp_path: Path, there: Namespace, shows: Credential | None
) -> None:
    """It asks for no certificate, and serves everybody."""
    async with (
        baresip(tmp_path, there, OURS, account=ACCOUNT) as program,
        client(credential=shows) as transport,
    ):
        await program.listens(TLS_PORT, ADDRESS)
        sock = there.connected(ADDRESS, TLS_PORT)
        connection = await transport.connect("sip:contoso.com", sock=sock)
        await connection.send(request(uri=f"sip:alice@{ADDRESS}"))
        assert (await connection.receive()).status == 200
        assert connection.peer is not None
        assert connection.peer.domains == {"contoso.com"}
        assert connection.tls is not None
        assert connection.tls.version == tls_version


async def test_we_refuse_it_if_it_proves_another_name(
    tls_version: str, tmp_path: Path, there: Namespace
) -> None:
    other = CONTOSO.issue("sip:sales.contoso.com")
    async with (
        baresip(tmp_path, there, other, account=ACCOUNT) as program,
        client(credential=PARTNER) as transport,
    ):
        await program.listens(TLS_PORT, ADDRESS)
        sock = there.connected(ADDRESS, TLS_PORT)
        with pytest.raises(PeerRefusedError) as caught:
            await transport.connect("sip:contoso.com", sock=sock)
        assert caught.value.decision.code == "name.mismatch"
        await program.prints("tls: accept error")
