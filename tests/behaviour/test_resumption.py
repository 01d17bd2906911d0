"""Resumption: a short handshake, and the whole judgement."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from network import until
from sip import request

from siptls import (
    AnyDomain,
    ClientConnection,
    Code,
    Connection,
    Federation,
    MTLSServerTransport,
    Partner,
    PeerRefusedError,
    ServerConnection,
    TLSClientTransport,
    TLSServerTransport,
    sync,
)
from siptls.testing import CertificateAuthority, connected
from siptls.wire import tls
from siptls.wire.inforce import InForce
from siptls.wire.resumption import Remembered, Sessions

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
    pair.theirs.policy = NOBODY
    _, server = pair.connect()
    assert isinstance(server.closed, PeerRefusedError)
    pair.theirs.policy = EVERYBODY
    pair.connect()
    pair.ours.policy = NOBODY
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
    other = Pair()
    other.connect()
    (impostor,) = other.sessions[0]._remembered.values()
    evidence: Any = impostor.evidence
    object.__setattr__(evidence, "chain", FABRIKAM.chain)
    mine.keep(key, Remembered(remembered.context, remembered.session, evidence))
    client, _ = pair.connect()
    assert isinstance(client.closed, PeerRefusedError)
    assert client.closed.decision.code == Code.POLICY_ERROR


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
    sessions.enter(1)
    assert sessions.take(297, made) is None
    assert sessions.context("key", lambda: other) is other
    sessions.enter(1)
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
