"""Revocation on live connections: in the handshake, by a staple, and when a new list has come."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from attrs import evolve
from network import until
from sip import request

from siptls import (
    AnyDomain,
    Code,
    Connection,
    ConnectionClosedError,
    Credential,
    MTLSServerTransport,
    PeerRefusedError,
    RefusedByPeerError,
    Revocation,
    RevocationMode,
    TLSClientTransport,
    TrustLostError,
    sync,
)
from siptls.testing import CertificateAuthority

CA = CertificateAuthority("Revoking CA", seed="revoked")
OURS, FABRIKAM, NORTHWIND = (
    CA.issue(f"sip:{name}.example") for name in ("us", "fabrikam", "northwind")
)


def policy(*revoked: Credential, **options: Any) -> AnyDomain:
    revocation = Revocation([CA.crl(list(revoked))], **options)
    return AnyDomain(CA.authority(revocation=revocation))


async def answer(connection: Connection) -> None:
    async for message in connection:
        await connection.send(message.reply(200, "OK"))


async def connected(client: TLSClientTransport, server: MTLSServerTransport) -> Connection:
    host, port = server.addresses[0]
    connection = await client.connect("us.example", host=host, port=port)
    await connection.ping()
    return connection


async def test_a_new_list_ends_the_connection_of_the_one_who_is_on_it() -> None:
    server = MTLSServerTransport(OURS, policy(), answer)
    fabrikam = TLSClientTransport(policy(), credential=FABRIKAM)
    northwind = TLSClientTransport(policy(), credential=NORTHWIND)
    async with server, fabrikam, northwind:
        await server.listen("127.0.0.1", 0)
        stays, goes = await connected(fabrikam, server), await connected(northwind, server)
        server.update(policy=policy(NORTHWIND))
        with pytest.raises(ConnectionClosedError):
            await goes.receive()
        await stays.send(request())
        assert (await stays.receive()).status == 200
        with pytest.raises((ConnectionClosedError, RefusedByPeerError)):
            await connected(northwind, server)
        fabrikam.update(policy=policy(OURS))
        with pytest.raises(TrustLostError) as caught:
            await stays.receive()
        assert caught.value.decision.code == Code.PATH_REVOKED


async def test_a_list_that_ends_ends_the_trust_that_rests_on_it() -> None:
    """Under REQUIRE: what is known of the peer is known until then."""
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    revocation = Revocation([CA.crl(next_update=soon)])
    server = MTLSServerTransport(OURS, AnyDomain(CA.authority(revocation=revocation)), answer)
    async with server, TLSClientTransport(policy(), credential=FABRIKAM) as client:
        await server.listen("127.0.0.1", 0)
        await connected(client, server)
        await until(server.peers)
        (peer,) = server.peers()
        assert abs(peer.expires - soon) < dt.timedelta(seconds=2)


@pytest.mark.parametrize("mode", [RevocationMode.REQUIRE, RevocationMode.SOFT])
@pytest.mark.parametrize(
    ("status", "codes"),
    [
        ("good", {}),
        ("revoked", {"require": Code.PATH_REVOKED, "soft": Code.PATH_REVOKED}),
        ("unknown", {"require": Code.PATH_REVOCATION_UNKNOWN}),
        (None, {"require": Code.PATH_REVOCATION_UNKNOWN}),
    ],
)
async def test_a_staple_is_what_it_rests_on(
    tls_version: str, mode: RevocationMode, status: str | None, codes: dict[str, Code]
) -> None:
    """There is no list: of the leaf, the staple says what is known."""
    revocation = Revocation(mode=mode)
    judging = AnyDomain(CA.authority(revocation=revocation))
    staple = None if status is None else CA.ocsp(OURS, status=status)
    server = MTLSServerTransport(evolve(OURS, staple=staple), policy(), answer)
    async with server, TLSClientTransport(judging, credential=FABRIKAM) as client:
        await server.listen("127.0.0.1", 0)
        if code := codes.get(str(mode)):
            with pytest.raises(PeerRefusedError) as caught:
                await connected(client, server)
            assert caught.value.decision.code == code
        else:
            assert (await connected(client, server)).peer is not None


@pytest.mark.parametrize("stapled", [True, False])
async def test_who_must_staple_must_staple(tls_version: str, stapled: bool) -> None:
    credential = CA.issue("sip:us.example", must_staple=True)
    if stapled:
        credential = evolve(credential, staple=CA.ocsp(credential, status="good"))
    judging = AnyDomain(CA.authority(revocation=Revocation(mode=RevocationMode.SOFT)))
    server = MTLSServerTransport(credential, policy(), answer)
    async with server, TLSClientTransport(judging, credential=FABRIKAM) as client:
        await server.listen("127.0.0.1", 0)
        if stapled:
            assert (await connected(client, server)).peer is not None
            return
        with pytest.raises(PeerRefusedError) as caught:
            await connected(client, server)
        assert caught.value.decision.code == Code.PATH_REVOCATION_UNKNOWN


async def test_another_staple_is_given_without_a_restart() -> None:
    judging = AnyDomain(CA.authority(revocation=Revocation()))
    server = MTLSServerTransport(OURS, policy(), answer)
    async with server, TLSClientTransport(judging, credential=FABRIKAM) as client:
        await server.listen("127.0.0.1", 0)
        with pytest.raises(PeerRefusedError):
            await connected(client, server)
        server.update(credential=evolve(OURS, staple=CA.ocsp(OURS, status="good")))
        assert (await connected(client, server)).peer is not None


def test_threads_judge_in_the_same_way() -> None:
    with sync.MTLSServerTransport(OURS, policy(), sync.Connection.wait_closed) as server:
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        with sync.TLSClientTransport(policy(), credential=FABRIKAM) as client:
            connection = client.connect("us.example", host=host, port=port)
            connection.ping(timeout=20)
            client.update(policy=policy(OURS))
            with pytest.raises(TrustLostError):
                connection.receive(timeout=20)
