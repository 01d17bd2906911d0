"""Reuse (RFC 5923): a connection carries what is meant for a name that its peer has proven."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from network import Server, answer, serving, until
from sip import request

from siptls import (
    AnyDomain,
    Connection,
    ConnectionClosedError,
    ConnectionPool,
    Credential,
    DNSTrust,
    KeyPurposes,
    MTLSServerTransport,
    NameRules,
    OperationTimeout,
    PeerRefusedError,
    ReferenceIdentity,
    StaticResolver,
    Target,
    TLSClientTransport,
    TLSServerTransport,
    TrustedServers,
    TrustPolicy,
    sync,
)
from siptls.testing import CertificateAuthority
from siptls.transports.reuse import Terms

CA = CertificateAuthority("Reuse CA", seed="reuse")
OURS = CA.issue("sip:us.example")
VISITOR = CA.issue("sip:visitor.example")
POLICY = AnyDomain(CA.authority())


@asynccontextmanager
async def two_domains(*names: str) -> AsyncIterator[tuple[Server, dict[str, Any]]]:
    """Give a server with these names, and what a client needs to find a and b there."""
    async with serving(credential=CA.issue(*names), policy=POLICY) as server:
        place = server.transport.addresses[0]
        resolver = StaticResolver({"a.example": [place], "b.example": [place]})
        yield server, {"credential": OURS, "resolver": resolver}


async def heard(connection: Connection) -> int | None:
    await connection.send(request())
    return (await connection.receive()).status


async def test_a_live_connection_is_given_again() -> None:
    async with two_domains("sip:a.example") as (server, place):
        async with TLSClientTransport(POLICY, **place) as transport:
            first = await transport.connect("sip:alice@a.example")
            assert await transport.connect("a.example") is first
            assert await transport.connect("sips:bob@A.example") is first
            assert await heard(first) == 200
            assert len(server.connections) == 1
            assert len(transport.pool) == 1


async def test_what_is_meant_for_b_never_goes_to_whom_has_proven_only_a() -> None:
    """Both are at the same address and port. That is no reason at all."""
    async with two_domains("sip:a.example") as (server, place):
        async with TLSClientTransport(POLICY, **place) as transport:
            await transport.connect("a.example")
            with pytest.raises(PeerRefusedError) as caught:
                await transport.connect("b.example")
            assert caught.value.decision.code == "name.mismatch"
            assert len(server.connections) == 1


async def test_virtual_servers_have_a_connection_for_each_domain() -> None:
    """One listener, two certificates: SNI selects, and each connection proves its own domain."""
    credentials = [CA.issue("sip:a.example"), CA.issue("sip:b.example")]
    async with serving(credential=credentials, policy=POLICY) as server:
        place = server.transport.addresses[0]
        resolver = StaticResolver({"a.example": [place], "b.example": [place]})
        transport = TLSClientTransport(POLICY, credential=OURS, resolver=resolver)
        async with transport:
            a = await transport.connect("a.example")
            b = await transport.connect("b.example")
            assert a is not b
            assert a.remote_address == b.remote_address
            assert await heard(b) == 200
            for connection, name in ((a, "a.example"), (b, "b.example")):
                assert connection.peer is not None
                assert connection.peer.domains == {name}
            assert await transport.connect("b.example") is b


async def test_one_connection_serves_all_that_it_has_proven() -> None:
    async with two_domains("sip:a.example", "sip:b.example") as (server, place):
        async with TLSClientTransport(POLICY, **place) as transport:
            a = await transport.connect("a.example")
            assert await transport.connect("b.example") is a
            assert await heard(a) == 200
            assert len(server.connections) == 1


async def test_a_connection_that_is_over_is_not_given() -> None:
    async with two_domains("sip:a.example") as (server, place):
        async with TLSClientTransport(POLICY, **place) as transport:
            first = await transport.connect("a.example")
            await first.aclose()
            second = await transport.connect("a.example")
            assert second is not first
            await until(lambda: len(server.connections) == 2)
            await server.connections[1].aclose()
            await until(lambda: second.closed is not None)
            assert await heard(await transport.connect("a.example")) == 200
        await until(lambda: len(transport.pool) == 0)
        await until(lambda: len(server.transport.pool) == 0)


async def test_one_that_ends_before_it_is_kept_leaves_nothing() -> None:
    """With TLS 1.3 a connection may be refused between its handshake and its place in the pool."""
    async with two_domains("sip:a.example") as (_, place):
        async with TLSClientTransport(POLICY, **place) as transport:
            connection = await transport.connect("a.example", reuse=False)
            await connection.aclose()
            transport.pool.add(connection, Terms(POLICY, OURS, asyncio.get_running_loop()))
            assert len(transport.pool) == 0
            assert not transport.pool._by_name


async def test_a_new_one_is_opened_if_it_is_wanted() -> None:
    async with two_domains("sip:a.example") as (_, place):
        async with TLSClientTransport(POLICY, **place) as transport:
            own = await transport.connect("a.example", reuse=False)
            assert len(transport.pool) == 0
            shared = await transport.connect("a.example")
            assert shared is not own
            assert await transport.connect("a.example", reuse=False) not in (own, shared)


async def test_where_the_application_says_a_new_one_is_opened() -> None:
    async with two_domains("sip:a.example") as (server, place):
        async with TLSClientTransport(POLICY, **place) as transport:
            first = await transport.connect("a.example")
            assert await transport.connect("a.example", **server.place) is not first
            port = server.place["port"]
            assert await transport.connect(f"sip:a.example:{port}") is first
            assert await transport.connect("a.example", port=port) is first


async def test_another_policy_or_credential_has_connections_of_its_own() -> None:
    pool: ConnectionPool[Connection] = ConnectionPool()
    async with two_domains("sip:a.example") as (server, place):
        others = [
            (POLICY, OURS),
            (AnyDomain(CA.authority()), OURS),
            (POLICY, CA.issue("sip:us.example")),
        ]
        transports = [
            TLSClientTransport(policy, **{**place, "credential": own}, pool=pool)
            for policy, own in others
        ]
        given = [await transport.connect("a.example") for transport in transports]
        assert len(set(given)) == 3
        again = [await transport.connect("a.example") for transport in transports]
        assert again == given
        for transport in transports:
            await transport.aclose()
        assert len(server.connections) == 3


async def test_a_host_that_dns_named_serves_as_far_as_dns_is_trusted() -> None:
    """The connection has proven its host, and only where that is expected it is given again."""
    policy = AnyDomain(CA.authority(), names=NameRules.OCS)
    async with serving(credential=CA.issue("sip.a.example"), policy=POLICY) as server:
        target = Target(
            *server.transport.addresses[0],
            host="sip.a.example",
            reference=ReferenceIdentity.parse("x.example"),
        )
        resolver = StaticResolver({"a.example": [target]})
        strict = TLSClientTransport(
            policy, credential=OURS, resolver=resolver, dns_trust=DNSTrust.STRICT
        )
        untrusting = TLSClientTransport(
            policy, credential=OURS, resolver=resolver, pool=strict.pool
        )
        async with strict, untrusting:
            first = await strict.connect("a.example")
            assert await strict.connect("a.example") is first
            with pytest.raises(PeerRefusedError):
                await untrusting.connect("a.example")


# ---------------------------------------------------------------- back over their connections


@asynccontextmanager
async def visited(
    *, policy: TrustPolicy = POLICY, credential: Credential = VISITOR
) -> AsyncIterator[tuple[TLSClientTransport, Connection]]:
    """Give our client, whose pool is our server's, and the visitor's own end of a connection."""
    pool: ConnectionPool[Connection] = ConnectionPool()
    resolver = StaticResolver({"visitor.example": [("127.0.0.1", 9)]})  # where nobody is
    server = MTLSServerTransport(OURS, policy, answer, pool=pool)
    visitor = TLSClientTransport(POLICY, credential=credential)
    client = TLSClientTransport(policy, credential=OURS, resolver=resolver, pool=pool)
    async with server, visitor, client:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        theirs = await visitor.connect("us.example", host=host, port=port)
        await theirs.ping()
        yield client, theirs


async def test_a_request_goes_back_over_the_connection_that_the_peer_has_opened() -> None:
    async with visited() as (client, theirs):
        ours = await client.connect("sip:bob@visitor.example")
        assert ours.remote_address == theirs.local_address
        await ours.send(request("MESSAGE"))
        assert (await theirs.receive()).method == "MESSAGE"


async def test_a_name_that_the_visitor_has_not_proven_is_not_looked_for_there() -> None:
    async with visited() as (client, _):
        with pytest.raises(Exception, match=r"has no other\.example"):
            await client.connect("other.example")


async def test_those_without_a_certificate_are_never_given() -> None:
    pool: ConnectionPool[Connection] = ConnectionPool()
    seen: list[Connection] = []

    async def handler(connection: Connection) -> None:
        seen.append(connection)
        await answer(connection)

    server = TLSServerTransport(OURS, handler)
    async with server, TLSClientTransport(POLICY) as client:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        connection = await client.connect("us.example", host=host, port=port)
        assert await heard(connection) == 200
        assert len(server.pool) == 0
        pool.add(seen[0], Terms(POLICY, OURS, asyncio.get_running_loop()))
        assert len(pool) == 0


# ---------------------------------------------------------------- on blocking sockets


async def test_threads_share_their_connections_in_the_same_way() -> None:
    async with two_domains("sip:a.example") as (server, place):

        def work() -> None:
            with sync.TLSClientTransport(POLICY, **place) as transport:
                first = transport.connect("a.example")
                assert transport.connect("sip:a.example") is first
                assert transport.connect("a.example", reuse=False) is not first
                with pytest.raises(PeerRefusedError):
                    transport.connect("b.example")
                first.close()
                second = transport.connect("a.example")
                assert second is not first
                second.send(request())
                assert second.receive(timeout=20).status == 200
            assert len(transport.pool) == 0

        await asyncio.to_thread(work)
        assert len(server.connections) == 3


async def test_a_blocking_connection_that_the_peer_has_closed_is_not_given() -> None:
    """Nobody has read from it: the end is seen when it is looked for."""
    async with two_domains("sip:a.example") as (server, place):
        with sync.TLSClientTransport(POLICY, **place) as transport:
            first = await asyncio.to_thread(transport.connect, "a.example")
            await until(lambda: server.connections)
            await server.connections[0].aclose()
            second = await asyncio.to_thread(transport.connect, "a.example")
            assert second is not first
            await asyncio.to_thread(transport.close)


async def test_a_connection_is_given_only_where_it_can_be_used() -> None:
    """Neither to another event loop, nor from threads to asyncio, nor back."""
    async with two_domains("sip:a.example") as (_, place):
        pool: Any = ConnectionPool()
        options: Any = {**place, "pool": pool}

        def threads() -> None:
            with sync.TLSClientTransport(POLICY, **options) as transport:
                assert isinstance(transport.connect("a.example"), sync.Connection)
                assert len(pool) == 2

        async def another_loop() -> None:
            async with TLSClientTransport(POLICY, **options) as transport:
                assert await (await transport.connect("a.example")).ping() > 0
                assert len(pool) == 2

        async with TLSClientTransport(POLICY, **options) as transport:
            first = await transport.connect("a.example")
            await asyncio.to_thread(threads)
            await asyncio.to_thread(asyncio.run, another_loop())
            assert await transport.connect("a.example") is first
            assert len(pool) == 1


# ---------------------------------------------------------------- what a new one would be refused
#
# A connection is given for a name only where a new one would be accepted for it: whatever it is
# that the policy refuses, it refuses it here, too.


async def refused(transport: TLSClientTransport, domain: str) -> str:
    """Give the code with which a domain is refused."""
    with pytest.raises(PeerRefusedError) as caught:
        await transport.connect(domain)
    return str(caught.value.decision.code)


async def test_a_host_that_the_name_rules_do_not_count_is_no_reason() -> None:
    """Beside a SIP URI, a dNSName proves nothing (RFC 5922 §7.1), though the peer has it."""
    credential = CA.issue("sip:a.example", "sip.b.example")
    async with serving(credential=credential, policy=POLICY) as server:
        place = server.transport.addresses[0]
        b = Target(*place, host="sip.b.example", reference=ReferenceIdentity.parse("b.example"))
        resolver = StaticResolver({"a.example": [place], "b.example": [b]})
        async with TLSClientTransport(
            POLICY, credential=OURS, resolver=resolver, dns_trust=DNSTrust.STRICT
        ) as transport:
            await transport.connect("a.example")
            assert await refused(transport, "b.example") == "name.mismatch"


async def test_a_name_beside_a_trusted_server_is_no_trusted_server() -> None:
    policy = AnyDomain(CA.authority(), names=NameRules.RFC9525) & TrustedServers(["sip.a.example"])
    async with serving(credential=CA.issue("*.a.example", "b.example"), policy=POLICY) as server:
        place = server.transport.addresses[0]
        resolver = StaticResolver({"sip.a.example": [place], "b.example": [place]})
        async with TLSClientTransport(policy, credential=OURS, resolver=resolver) as transport:
            await transport.connect("sip.a.example")
            assert await refused(transport, "b.example") == "server.not-listed"


async def test_who_has_expired_since_is_given_no_more() -> None:
    now = dt.datetime.now(dt.UTC)
    pool: ConnectionPool[Connection] = ConnectionPool(clock=lambda: now)
    async with two_domains("sip:a.example") as (_, place):
        async with TLSClientTransport(POLICY, **place, pool=pool) as transport:
            first = await transport.connect("a.example")
            assert first.peer is not None
            now = first.peer.expires - dt.timedelta(seconds=1)
            assert await transport.connect("a.example") is first
            now = first.peer.expires
            assert await transport.connect("a.example") is not first


async def test_a_client_that_could_be_no_server_gets_no_requests() -> None:
    policy = AnyDomain(CA.authority(purposes=KeyPurposes.ROLE))
    credential = CA.issue("sip:visitor.example", purposes=("clientAuth",))
    async with visited(policy=policy, credential=credential) as (client, _):
        with pytest.raises(ConnectionClosedError):  # where nobody is
            await client.connect("visitor.example")


async def test_many_names_of_one_peer_fill_no_memory() -> None:
    names = [f"sip:d{number}.example" for number in range(100)]
    async with two_domains(*names) as (server, _):
        place = server.transport.addresses[0]
        places = {name.removeprefix("sip:"): [place] for name in names}
        async with TLSClientTransport(
            POLICY, credential=OURS, resolver=StaticResolver(places)
        ) as transport:
            given = {await transport.connect(name) for name in names}
            assert len(given) == 1
            (entry,) = transport.pool._held.values()
            assert len(entry.judged) <= 64


# ---------------------------------------------------------------- at the same time


async def test_those_who_want_the_same_peer_at_once_get_the_same_connection() -> None:
    async with two_domains("sip:a.example") as (server, place):
        async with TLSClientTransport(POLICY, **place) as transport:
            given = await asyncio.gather(*(transport.connect("a.example") for _ in range(9)))
            assert len(set(given)) == 1
            assert len(server.connections) == 1
            assert await heard(given[0]) == 200


async def test_those_who_want_the_same_peer_at_once_get_the_same_refusal() -> None:
    async with two_domains("sip:a.example") as (server, place):
        async with TLSClientTransport(POLICY, **place) as transport:
            wants = (transport.connect("b.example") for _ in range(9))
            errors = await asyncio.gather(*wants, return_exceptions=True)
            assert {type(error) for error in errors} == {PeerRefusedError}
            assert len(set(map(id, errors))) == 1
            with pytest.raises(PeerRefusedError) as caught:  # and later everybody asks anew
                await transport.connect("b.example")
            assert caught.value is not errors[0]
        await until(lambda: not server.connections)


async def test_who_must_have_one_of_his_own_waits_for_nobody() -> None:
    async with two_domains("sip:a.example") as (server, place):
        async with TLSClientTransport(POLICY, **place) as transport:
            wants = (transport.connect("a.example", reuse=False) for _ in range(3))
            assert len(set(await asyncio.gather(*wants))) == 3
        assert len(server.connections) == 3


class Held:
    """A resolver that answers when it is let go."""

    def __init__(self, place: tuple[str, int]) -> None:
        self.place = place
        self.asked = 0
        self.go = asyncio.Event()

    async def resolve(self, reference: ReferenceIdentity, **_: object) -> list[Target]:
        self.asked += 1
        await self.go.wait()
        return [Target(*self.place, host=None, reference=reference)]


async def test_who_is_cancelled_takes_nobody_with_him() -> None:
    """Neither the one who leads, nor one who waits for him."""
    async with two_domains("sip:a.example") as (server, place):
        held = Held(server.transport.addresses[0])
        async with TLSClientTransport(POLICY, **{**place, "resolver": held}) as transport:
            leader, follower, last = (
                asyncio.create_task(transport.connect("a.example")) for _ in range(3)
            )
            await until(lambda: held.asked == 1)
            follower.cancel()
            with pytest.raises(asyncio.CancelledError):
                await follower
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leader
            await until(lambda: held.asked == 2)
            held.go.set()
            assert await heard(await last) == 200
        assert len(server.connections) == 1


async def test_threads_that_want_the_same_peer_at_once_get_the_same_connection() -> None:
    async with two_domains("sip:a.example") as (server, place):

        class Counting:
            asked = 0

            async def resolve(self, reference: ReferenceIdentity, **_: object) -> list[Target]:
                Counting.asked += 1
                assert started.wait(20)
                where = server.transport.addresses[0]
                return [Target(*where, host=None, reference=reference)]

        started = threading.Event()

        def work() -> None:
            options: Any = {**place, "resolver": Counting()}
            with (
                sync.TLSClientTransport(POLICY, **options) as transport,
                ThreadPoolExecutor(4) as pool,
            ):
                first = pool.submit(transport.connect, "a.example")
                others = [pool.submit(transport.connect, "a.example", timeout=20) for _ in range(2)]
                # One who has less time than the one who leads does not wait for him.
                late = pool.submit(transport.connect, "a.example", timeout=0.05)
                with pytest.raises(OperationTimeout):
                    late.result(20)
                started.set()
                assert {one.result(20) for one in others} == {first.result(20)}

        await asyncio.to_thread(work)
        assert Counting.asked == 1
        assert len(server.connections) == 1


async def test_a_leader_who_has_no_time_left_says_nothing_about_the_peer() -> None:
    async with two_domains("sip:a.example") as (server, place):
        asked = threading.Semaphore(0)

        class Slow:
            first = True

            async def resolve(self, reference: ReferenceIdentity, **_: object) -> list[Target]:
                asked.release()
                if Slow.first:
                    Slow.first = False
                    await asyncio.sleep(30)  # until its leader's time is over
                where = server.transport.addresses[0]
                return [Target(*where, host=None, reference=reference)]

        def work() -> None:
            options: Any = {**place, "resolver": Slow()}
            with (
                sync.TLSClientTransport(POLICY, **options) as transport,
                ThreadPoolExecutor(2) as pool,
            ):
                leader = pool.submit(transport.connect, "a.example", timeout=0.5)
                assert asked.acquire(timeout=20)
                follower = pool.submit(transport.connect, "a.example")
                with pytest.raises(OperationTimeout):
                    leader.result(20)
                assert follower.result(20).usable

        await asyncio.to_thread(work)
