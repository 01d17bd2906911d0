"""Resumption: a short handshake, and the whole judgement."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import evolve
from network import until
from sip import request

from siptls import (
    AnyDomain,
    ClientConnection,
    Code,
    Connection,
    ConnectionClosedError,
    Credential,
    Federation,
    MTLSServerTransport,
    Partner,
    PeerRefusedError,
    RefusedByPeerError,
    Revocation,
    ServerConnection,
    TLSClientTransport,
    TLSServerTransport,
    sync,
)
from siptls.testing import CertificateAuthority, connected
from siptls.wire import tls
from siptls.wire.inforce import InForce
from siptls.wire.resumption import LIFETIME, Remembered, Sessions

CA = CertificateAuthority("Resumption CA", seed="resumption")
OURS, FABRIKAM = CA.issue("sip:us.example"), CA.issue("sip:fabrikam.example")
EVERYBODY = AnyDomain(CA.authority())
NOBODY = Federation([Partner(["northwind.example"], CA.authority())])


async def answer(connection: Connection) -> None:
    async for message in connection:
        await connection.send(message.reply(200, "OK"))


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[MTLSServerTransport]:
    options = {"resume": True, **options}
    async with MTLSServerTransport(OURS, EVERYBODY, answer, **options) as server:
        await server.listen("127.0.0.1", 0)
        yield server


async def visit(client: TLSClientTransport, server: Any) -> Connection:
    """Connect, and be answered; leave in order."""
    host, port = server.addresses[0]
    connection = await client.connect("us.example", host=host, port=port)
    await connection.send(request())
    assert (await connection.receive()).status == 200
    await connection.aclose()
    return connection


def resumed(connection: Connection) -> bool:
    assert connection.tls is not None
    return connection.tls.resumed


async def test_who_was_here_before_is_resumed_and_judged() -> None:
    seen: list[Connection] = []

    async def handler(connection: Connection) -> None:
        seen.append(connection)
        await answer(connection)

    async with MTLSServerTransport(OURS, EVERYBODY, handler, resume=True) as server:
        await server.listen("127.0.0.1", 0)
        async with TLSClientTransport(EVERYBODY, credential=FABRIKAM, resume=True) as client:
            first, *others = [await visit(client, server) for _ in range(4)]
    assert not resumed(first)
    assert all(map(resumed, others)), "each leaves a session for the next"
    for connection in others:
        assert connection.peer == first.peer
    assert [resumed(connection) for connection in seen] == [False, True, True, True]
    assert {frozenset(c.peer.domains) for c in seen if c.peer} == {frozenset({"fabrikam.example"})}


@pytest.mark.parametrize("side", ["client", "server"])
async def test_both_sides_have_to_want_it(side: str) -> None:
    async with serving(resume=side == "server") as server:
        async with TLSClientTransport(
            EVERYBODY, credential=FABRIKAM, resume=side == "client"
        ) as client:
            assert not any([resumed(await visit(client, server)) for _ in range(3)])


async def test_tls_1_2_is_never_resumed_by_our_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_NEWEST", tls._OLDEST)
    async with serving() as server:
        async with TLSClientTransport(EVERYBODY, credential=FABRIKAM, resume=True) as client:
            visits = [await visit(client, server) for _ in range(2)]
    assert {c.tls and c.tls.version for c in visits} == {"TLSv1.2"}


async def test_another_policy_resumes_nothing_that_is_older() -> None:
    for update_client in (True, False):
        async with serving() as server:
            async with TLSClientTransport(EVERYBODY, credential=FABRIKAM, resume=True) as client:
                await visit(client, server)
                (client if update_client else server).update(policy=AnyDomain(CA.authority()))
                assert not resumed(await visit(client, server))
                assert resumed(await visit(client, server))


async def test_another_credential_is_another_session() -> None:
    async with serving() as server:
        async with TLSClientTransport(EVERYBODY, credential=FABRIKAM, resume=True) as client:
            await visit(client, server)
            client.update(credential=CA.issue("sip:northwind.example"))
            assert not resumed(await visit(client, server))


async def test_without_client_certificates_the_client_judges_all_the_same() -> None:
    async with TLSServerTransport(OURS, answer, resume=True) as server:
        await server.listen("127.0.0.1", 0)
        async with TLSClientTransport(EVERYBODY, resume=True) as client:
            assert [resumed(await visit(client, server)) for _ in range(3)] == [False, True, True]


# ---------------------------------------------------------------- judged again, without sockets


class Pair:
    """Clients and servers that share their sessions, and a clock."""

    def __init__(self, ours: Any = EVERYBODY, theirs: Any = EVERYBODY) -> None:
        self.now = dt.datetime.now(dt.UTC)
        self.ours, self.theirs = InForce(ours), InForce(theirs)
        self.sessions = Sessions(), Sessions()

    def connect(self, credential: Any = FABRIKAM) -> tuple[ClientConnection, ServerConnection]:
        mine, others = self.sessions
        client = ClientConnection(
            EVERYBODY, "us.example", credential=credential, clock=lambda: self.now, sessions=mine
        )
        client.follow(self.ours)
        server = ServerConnection(OURS, EVERYBODY, clock=lambda: self.now, sessions=others)
        server.follow(self.theirs)
        connected(client, server)
        if client.established:
            client.ping()
            server.receive_data(client.data_to_send())
            client.receive_data(server.data_to_send())
            client.close()
            server.receive_data(client.data_to_send())
            client.receive_data(server.data_to_send())
        return client, server


def test_what_the_policy_says_no_more_is_refused_though_the_session_is_good() -> None:
    """As if the version had not told: the judgement is the second wall."""
    pair = Pair()
    pair.connect()
    client, server = pair.connect()
    assert client.tls is not None
    assert client.tls.resumed
    assert server.tls is not None
    assert server.tls.resumed
    pair.theirs.replace(NOBODY)
    _, server = pair.connect()
    assert isinstance(server.closed, PeerRefusedError)
    pair.theirs.replace(EVERYBODY)
    pair.connect()
    pair.ours.replace(NOBODY)
    client, _ = pair.connect()
    assert isinstance(client.closed, PeerRefusedError)


def test_who_has_expired_since_is_refused() -> None:
    pair = Pair()
    brief = CA.issue("sip:fabrikam.example", not_after=pair.now + dt.timedelta(minutes=10))
    pair.connect(brief)
    _, server = pair.connect(brief)
    assert server.tls is not None
    assert server.tls.resumed
    pair.now += dt.timedelta(minutes=11)
    _, server = pair.connect(brief)
    assert isinstance(server.closed, PeerRefusedError)
    assert server.closed.decision.code == Code.PATH_EXPIRED


def test_a_session_whose_peer_is_not_the_remembered_one_is_refused() -> None:
    """It cannot be; and if it could, nobody would be believed."""
    pair = Pair()
    pair.connect()
    mine, _ = pair.sessions
    ((key, remembered),) = mine._remembered.items()
    another = CA.issue("sip:us.example", "edge.us.example")
    evidence = evolve(remembered.evidence, chain=another.chain)
    mine.keep(key, Remembered(remembered.context, remembered.session, evidence))
    client, _ = pair.connect()
    assert isinstance(client.closed, PeerRefusedError)
    assert client.closed.decision.code == Code.POLICY_ERROR


def test_who_would_be_refused_for_what_he_showed_is_asked_to_show_something_new() -> None:
    """His certificate has been renewed since; a session made with the old one is not offered."""
    pair = Pair()
    pair.connect()
    mine, _ = pair.sessions
    ((key, remembered),) = mine._remembered.items()
    expired = CA.issue("sip:us.example", not_after=pair.now - dt.timedelta(days=1))
    evidence = evolve(remembered.evidence, chain=expired.chain)
    mine.keep(key, Remembered(remembered.context, remembered.session, evidence))
    client, _ = pair.connect()
    assert client.tls is not None
    assert not client.tls.resumed
    assert client.peer is not None or isinstance(client.closed, ConnectionClosedError)


@pytest.mark.parametrize("with_client_certificate", [True, False])
async def test_a_policy_that_looks_at_revocation_resumes_as_well(
    tls_version: str, with_client_certificate: bool
) -> None:
    """It asks for a staple, and OpenSSL calls back without one when a session is resumed."""
    judging = AnyDomain(CA.authority(revocation=Revocation([CA.crl()])))
    credential = FABRIKAM if with_client_certificate else None
    server = (
        MTLSServerTransport(OURS, judging, answer, resume=True)
        if with_client_certificate
        else TLSServerTransport(OURS, answer, resume=True)
    )
    async with server, TLSClientTransport(judging, credential=credential, resume=True) as client:
        await server.listen("127.0.0.1", 0)
        seen = [resumed(await visit(client, server)) for _ in range(3)]
    assert seen == ([False, True, True] if tls_version == "TLSv1.3" else [False] * 3)


def test_nobody_goes_from_session_to_session_for_ever() -> None:
    sessions = Sessions()
    made: Any = object()
    sessions.enter(1, 0.0)
    assert sessions.context("key", lambda: made) is made
    sessions.enter(1, LIFETIME - 1.0)
    assert sessions.context("key", object) is made  # type: ignore[arg-type]
    sessions.enter(1, float(LIFETIME))
    assert sessions.context("key", object) is not made  # type: ignore[arg-type]


async def test_a_client_that_sends_more_than_may_be_judged_is_refused_at_once() -> None:
    """Its session would hold all of it; and what is refused later is refused now."""
    junk = [CA.issue(f"sip:n{number}.example").chain[0] for number in range(9)]
    chatty = Credential([*FABRIKAM.chain, *junk], FABRIKAM.key)
    async with serving() as server:
        async with TLSClientTransport(EVERYBODY, credential=chatty) as client:
            host, port = server.addresses[0]
            with pytest.raises((ConnectionClosedError, RefusedByPeerError)):
                await (await client.connect("us.example", host=host, port=port)).ping()


def test_a_session_is_used_once_and_only_so_many_are_kept() -> None:
    sessions = Sessions()
    made: Any = object()
    assert sessions.context("key", lambda: made) is made
    kept: Any = [Remembered(made, None, None) for _ in range(300)]  # type: ignore[arg-type]
    for number, one in enumerate(kept):
        sessions.keep(number, one)
    assert sessions.take(0, made) is None, "it was the oldest"
    assert sessions.take(299, made) is kept[299]
    assert sessions.take(299, made) is None
    other: Any = object()
    assert sessions.take(298, other) is None
    sessions.enter(1, 0.0)
    assert sessions.take(297, made) is None
    assert sessions.context("key", lambda: other) is other
    sessions.enter(1, 0.0)
    assert sessions.context("key", lambda: made) is other


# ---------------------------------------------------------------- on blocking sockets


def test_threads_resume_as_well() -> None:
    def handler(connection: sync.Connection) -> None:
        for message in connection:
            connection.send(message.reply(200, "OK"))

    with sync.MTLSServerTransport(OURS, EVERYBODY, handler, resume=True) as server:
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        with sync.TLSClientTransport(EVERYBODY, credential=FABRIKAM, resume=True) as client:
            seen = []
            for _ in range(3):
                with client.connect("us.example", host=host, port=port) as connection:
                    connection.send(request())
                    assert connection.receive(timeout=20).status == 200
                    seen.append(connection.tls and connection.tls.resumed)
    assert seen == [False, True, True]


async def test_resumed_connections_are_judged_when_the_policy_changes() -> None:
    async with serving() as server:
        async with TLSClientTransport(EVERYBODY, credential=FABRIKAM, resume=True) as client:
            await visit(client, server)
            host, port = server.addresses[0]
            connection = await client.connect("us.example", host=host, port=port)
            await connection.ping()
            assert resumed(connection)
            server.update(policy=NOBODY)
            await until(lambda: connection.closed)
