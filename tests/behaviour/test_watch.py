"""Files that are renewed under transports that run."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from sip import request

from siptls import (
    AnyDomain,
    Connection,
    ConnectionClosedError,
    EndingKind,
    MTLSServerTransport,
    PeerRefusedError,
    TLSClientTransport,
    sync,
    watch,
)
from siptls.testing import CertificateAuthority, pem

OURS = CertificateAuthority("Watch CA", seed="watch")
THEIRS = CertificateAuthority("Partner CA", seed="watch")
FIRST, SECOND = OURS.issue("sip:us.example"), OURS.issue("sip:us.example", "edge.us.example")
PARTNER = """
[[partner]]
domains = ["{domain}"]
authority = "partner.pem"
"""


def written(folder: Path) -> dict[str, Any]:
    (folder / "us.pem").write_bytes(pem(FIRST))
    (folder / "partner.pem").write_bytes(THEIRS.certificate.public_bytes(Encoding.PEM))
    (folder / "policy.toml").write_text(PARTNER.format(domain="fabrikam.example"))
    return {"credential": folder / "us.pem", "policy": folder / "policy.toml"}


async def answer(connection: Connection) -> None:
    async for message in connection:
        await connection.send(message.reply(200, "OK"))


async def test_a_server_takes_what_is_renewed_and_keeps_what_it_has(tmp_path: Path) -> None:
    files = watch(**written(tmp_path))
    visitor = TLSClientTransport(
        AnyDomain(OURS.authority()), credential=THEIRS.issue("sip:fabrikam.example")
    )
    async with MTLSServerTransport(files.credential, files.policy, answer) as server, visitor:
        await server.listen("127.0.0.1", 0)
        files.attach(server)
        host, port = server.addresses[0]

        async def visit() -> Connection:
            connection = await visitor.connect("us.example", host=host, port=port)
            await connection.ping()
            return connection

        first = await visit()
        (tmp_path / "us.pem").write_bytes(pem(SECOND))
        (event,) = files.check(settled=True)
        assert event.what == "reloaded"
        second = await visit()
        assert [c.peer and c.peer.chain[0] for c in (first, second)] == [
            FIRST.chain[0],
            SECOND.chain[0],
        ]
        for broken in (b"", pem(FIRST)[:-100], pem(FIRST).replace(b"A", b"B"), b"\xff"):
            (tmp_path / "us.pem").write_bytes(broken)
            assert all(e.what == "failed" for e in files.check(settled=True))
            assert (await visit()).peer == second.peer
        (tmp_path / "policy.toml").write_text("[[partner")
        assert "failed" in [e.what for e in files.check(settled=True)]
        await first.send(request())
        assert (await first.receive()).status == 200
        (tmp_path / "policy.toml").write_text(PARTNER.format(domain="northwind.example"))
        files.check(settled=True)
        for connection in (first, second):
            with pytest.raises(ConnectionClosedError):
                await connection.receive()


def test_on_blocking_sockets_as_well(tmp_path: Path) -> None:
    files = watch(**written(tmp_path))

    def handler(connection: sync.Connection) -> None:
        for message in connection:
            connection.send(message.reply(200, "OK"))

    with sync.MTLSServerTransport(files.credential, files.policy, handler) as server:
        server.listen("127.0.0.1", 0)
        files.attach(server)
        host, port = server.addresses[0]
        with sync.TLSClientTransport(
            AnyDomain(OURS.authority()), credential=THEIRS.issue("sip:fabrikam.example")
        ) as visitor:
            connection = visitor.connect("us.example", host=host, port=port)
            connection.ping(timeout=20)
            (tmp_path / "policy.toml").write_text(PARTNER.format(domain="northwind.example"))
            files.check(settled=True)
            with pytest.raises(ConnectionClosedError):
                connection.receive(timeout=20)


async def test_a_client_too(tmp_path: Path) -> None:
    files = watch(**written(tmp_path))
    theirs = MTLSServerTransport(
        THEIRS.issue("sip:fabrikam.example"), AnyDomain(OURS.authority()), answer
    )
    client = TLSClientTransport(files.policy, credential=files.credential)
    async with theirs, client:
        await theirs.listen("127.0.0.1", 0)
        files.attach(client)
        host, port = theirs.addresses[0]
        await client.connect("fabrikam.example", host=host, port=port)
        (tmp_path / "policy.toml").write_text(PARTNER.format(domain="northwind.example"))
        await asyncio.to_thread(files.check, settled=True)
        with pytest.raises(PeerRefusedError):
            await client.connect("fabrikam.example", host=host, port=port)


def test_what_ends_of_lists_and_staples_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = dt.datetime.now(dt.UTC)
    brief: Any = {
        "this_update": now - dt.timedelta(days=6),
        "next_update": now + dt.timedelta(hours=12),
    }
    options = written(tmp_path)
    (tmp_path / "list.crl").write_bytes(THEIRS.crl(**brief))
    (tmp_path / "us.ocsp").write_bytes(OURS.ocsp(FIRST, **brief))
    with (tmp_path / "policy.toml").open("a") as file:
        file.write('crls = ["list.crl"]\n')
    told: list[EndingKind] = []
    files = watch(
        **options,
        staple=tmp_path / "us.ocsp",
        on_ending=lambda notice: told.append(notice.ending.kind),
    )
    files.check()
    assert set(told) == {EndingKind.CRL, EndingKind.OCSP}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_staple_that_is_out_of_date_does_not_replace_one_that_is_not(tmp_path: Path) -> None:
    options = written(tmp_path)
    path = tmp_path / "us.ocsp"
    path.write_bytes(OURS.ocsp(FIRST))
    files = watch(**options, staple=path)
    first = files.credential
    now = dt.datetime.now(dt.UTC)
    over = {"this_update": now - dt.timedelta(days=9), "next_update": now - dt.timedelta(days=2)}
    path.write_bytes(OURS.ocsp(FIRST, **over))
    (event,) = files.check(settled=True)
    assert event.what == "failed"
    assert "out of date" in str(event)
    assert files.credential is first
