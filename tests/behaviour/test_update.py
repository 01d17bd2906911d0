"""Trust over time: what is in force may change while connections live, and so may the time."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from network import until
from sip import request

from siptls import (
    AnyDomain,
    CertificateError,
    ClientConnection,
    Code,
    ConfigurationError,
    Connection,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionPool,
    Credential,
    Decision,
    Federation,
    Limits,
    MessageReceived,
    MTLSServerTransport,
    Partner,
    PeerAccepted,
    PeerRefused,
    PeerRefusedError,
    ReferenceIdentity,
    RefusedByPeerError,
    ServerConnection,
    StaticResolver,
    TLSClientTransport,
    TLSServerTransport,
    TrustLostError,
    TrustPolicy,
    sync,
)
from siptls.testing import CertificateAuthority, connected
from siptls.wire.inforce import InForce

CA = CertificateAuthority("Update CA", seed="update")
OURS, OTHER = CA.issue("sip:us.example"), CA.issue("sip:us.example")
FABRIKAM, NORTHWIND = CA.issue("sip:fabrikam.example"), CA.issue("sip:northwind.example")
EVERYBODY = AnyDomain(CA.authority())
BOTH = Federation(
    [Partner([f"{name}.example"], CA.authority()) for name in ("fabrikam", "northwind")]
)
ONE = Federation([Partner(["fabrikam.example"], CA.authority())])


class Server:
    """A server of ours, what it has heard, and whom it has refused."""

    def __init__(self, **options: Any) -> None:
        self.heard: list[str] = []
        self.refused: list[Decision] = []
        self.transport = MTLSServerTransport(
            OURS,
            BOTH,
            self.handle,
            on_refused=lambda decision, _: self.refused.append(decision),
            **options,
        )

    async def handle(self, connection: Connection) -> None:
        async for message in connection:
            assert connection.peer is not None
            self.heard += connection.peer.domains
            await connection.send(message.reply(200, "OK"))


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Server]:
    server = Server(**options)
    async with server.transport:
        await server.transport.listen("127.0.0.1", 0)
        yield server


@asynccontextmanager
async def visiting(server: Server, credential: Credential) -> AsyncIterator[Connection]:
    host, port = server.transport.addresses[0]
    async with TLSClientTransport(EVERYBODY, credential=credential) as transport:
        connection = await transport.connect("us.example", host=host, port=port)
        await connection.ping()
        yield connection


async def status(connection: Connection) -> int | None:
    await connection.send(request())
    return (await connection.receive()).status


# ---------------------------------------------------------------- a server


async def test_who_is_trusted_no_more_is_let_go_and_the_others_notice_nothing(
    tls_version: str,
) -> None:
    async with serving() as server:
        async with visiting(server, FABRIKAM) as stays, visiting(server, NORTHWIND) as goes:
            assert len(server.transport.peers()) == 2
            server.transport.update(policy=ONE)
            with pytest.raises(ConnectionClosedError) as caught:
                await goes.receive()
            assert caught.value.orderly
            assert await status(stays) == 200
            await until(lambda: len(server.transport.peers()) == 1)
        assert server.heard == ["fabrikam.example"]
        (decision,) = server.refused
        assert decision.code == Code.NAME_OUT_OF_SCOPE


async def test_who_is_trusted_no_more_is_logged_however_many_strangers_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They use up what may be logged of those who have proven nothing; he had proven something."""
    async with serving(limits=Limits(log_rate=0.001)) as server:
        async with visiting(server, NORTHWIND) as goes:
            await _is_refused(server.transport.addresses[0])
            server.transport.update(policy=ONE)
            with pytest.raises(ConnectionClosedError):
                await goes.receive()
            assert "name.out-of-scope: CN=northwind.example" in caplog.text


async def test_and_so_with_threads(caplog: pytest.LogCaptureFixture) -> None:
    def handler(connection: sync.Connection) -> None:
        with suppress(ConnectionClosedError):
            connection.receive()

    limits = Limits(log_rate=0.001)
    with sync.MTLSServerTransport(OURS, BOTH, handler, limits=limits) as server:
        await asyncio.to_thread(server.listen, "127.0.0.1", 0)
        async with TLSClientTransport(EVERYBODY, credential=NORTHWIND) as transport:
            host, port = server.addresses[0]
            goes = await transport.connect("us.example", host=host, port=port)
            await goes.ping()
            await _is_refused((host, port))
            await asyncio.to_thread(server.update, policy=ONE)
            with pytest.raises(ConnectionClosedError):
                await goes.receive()
    assert "name.out-of-scope: CN=northwind.example" in caplog.text


async def _is_refused(place: tuple[str, int]) -> None:
    """Some are, with a line for one of them."""
    stranger = CertificateAuthority("Stranger").issue("sip:northwind.example")
    async with TLSClientTransport(EVERYBODY, credential=stranger) as transport:
        for _ in range(2):
            with suppress(RefusedByPeerError, ConnectionClosedError):
                connection = await transport.connect("us.example", host=place[0], port=place[1])
                await connection.receive()


async def test_what_comes_after_the_update_is_not_delivered() -> None:
    """Not even before its turn to be judged: who sends is judged first."""
    async with serving() as server, visiting(server, NORTHWIND) as goes:
        server.transport._judging.begin = lambda: None  # type: ignore[method-assign]
        server.transport.update(policy=ONE)
        with suppress(ConnectionClosedError):
            await status(goes)
        await until(lambda: goes.closed)
        assert server.heard == []


async def test_a_handler_learns_why() -> None:
    ended: asyncio.Queue[TrustLostError] = asyncio.Queue()

    async def handler(connection: Connection) -> None:
        with pytest.raises(TrustLostError) as caught:
            await connection.receive()
        with pytest.raises(ConnectionClosedError):
            await connection.send(request())
        await ended.put(caught.value)

    async with MTLSServerTransport(OURS, BOTH, handler) as transport:
        await transport.listen("127.0.0.1", 0)
        server: Any = type("", (), {"transport": transport})
        async with visiting(server, NORTHWIND):
            transport.update(policy=ONE)
            error = await ended.get()
            assert error.decision.code == Code.NAME_OUT_OF_SCOPE
            assert "trusted no more" in str(error)
            assert not error.orderly


async def test_what_waits_to_be_received_is_dropped() -> None:
    """It was delivered to nobody yet, and comes from somebody whom we trust no more."""
    go, ended = asyncio.Event(), asyncio.Event()

    async def handler(connection: Connection) -> None:
        await go.wait()
        with pytest.raises(TrustLostError):
            await connection.receive()
        ended.set()

    async with MTLSServerTransport(OURS, BOTH, handler) as transport:
        await transport.listen("127.0.0.1", 0)
        server: Any = type("", (), {"transport": transport})
        async with visiting(server, NORTHWIND) as goes:
            await goes.send(request())
            await goes.ping()
            transport.update(policy=ONE)
            await until(lambda: goes.closed)
            go.set()
            await ended.wait()


async def test_another_credential_is_shown_to_whoever_comes_next() -> None:
    async with serving() as server:
        async with visiting(server, FABRIKAM) as before:
            server.transport.update(credential=OTHER)
            async with visiting(server, FABRIKAM) as after:
                assert before.peer is not None
                assert after.peer is not None
                assert before.peer.chain[0] == OURS.chain[0]
                assert after.peer.chain[0] == OTHER.chain[0]
                assert await status(before) == 200


async def test_what_cannot_be_used_changes_nothing() -> None:
    async with serving() as server:
        for wrong in ({"credential": "x.pem"}, {"policy": "x.toml"}, {"policy": Federation}):
            options: Any = {"credential": OTHER, "policy": ONE, **wrong}
            with pytest.raises((ConfigurationError, CertificateError)):
                server.transport.update(**options)
        async with visiting(server, NORTHWIND) as connection:
            assert connection.peer is not None
            assert connection.peer.chain[0] == OURS.chain[0]
            assert await status(connection) == 200


async def test_a_server_that_judges_nobody_takes_no_policy() -> None:
    async with TLSServerTransport(OURS, print) as server:
        with pytest.raises(ConfigurationError, match="make an MTLSServerTransport"):
            server.update(policy=ONE)
        server.update(credential=OTHER)
        server.update()


async def test_it_may_be_called_from_any_thread() -> None:
    async with serving() as server, visiting(server, NORTHWIND) as goes:
        await asyncio.to_thread(server.transport.update, policy=ONE)
        with pytest.raises(ConnectionClosedError):
            await goes.receive()


async def test_a_policy_that_says_another_thing_today_is_asked_again() -> None:
    """As one whose list of revoked certificates has grown."""

    class Moody:
        answers: TrustPolicy = BOTH

        def evaluate(self, evidence: Any, /) -> Decision:
            return Moody.answers.evaluate(evidence)

    async with serving() as server, visiting(server, NORTHWIND) as goes:
        server.transport.update(policy=Moody())
        assert await status(goes) == 200
        Moody.answers = ONE
        server.transport.update()
        with pytest.raises(ConnectionClosedError):
            await goes.receive()


async def test_many_updates_lose_and_repeat_nothing_of_those_who_stay() -> None:
    """`benchmarks/updates.py` does it with a thousand connections."""
    over = threading.Event()

    def update_on() -> int:
        count = 0
        while not over.wait(0.005):
            server.transport.update(policy=BOTH)
            count += 1
        return count

    async def talk(connection: Connection) -> list[str | None]:
        answers = []
        for number in range(50):
            await connection.send(request().replace(b"CSeq: 1 ", b"CSeq: %d " % number))
            answers.append((await connection.receive()).header("CSeq"))
        return answers

    async with serving() as server, AsyncExitStack() as stack:
        visits = [
            await stack.enter_async_context(visiting(server, credential))
            for credential in [FABRIKAM, NORTHWIND] * 5
        ]
        updating = asyncio.create_task(asyncio.to_thread(update_on))
        try:
            heard = await asyncio.gather(*map(talk, visits))
        finally:
            over.set()
        assert await updating > 1
        for answers in heard:
            assert [int((answer or "").split()[0]) for answer in answers] == list(range(50))
        assert len(server.heard) == 500
        server.transport.update(policy=ONE)
        await until(lambda: len(server.transport.peers()) == 5)


# ---------------------------------------------------------------- a client


@asynccontextmanager
async def client_of(server: Server, **options: Any) -> AsyncIterator[TLSClientTransport]:
    resolver = StaticResolver({"us.example": [server.transport.addresses[0]]})
    async with TLSClientTransport(
        EVERYBODY, credential=FABRIKAM, resolver=resolver, **options
    ) as transport:
        yield transport


async def test_a_client_judges_its_servers_again() -> None:
    async with serving() as server, client_of(server) as transport:
        connection = await transport.connect("us.example")
        assert [peer.domains for peer in transport.peers()] == [{"us.example"}]
        transport.update(policy=ONE)
        with pytest.raises(TrustLostError):
            await connection.receive()
        await until(lambda: not len(transport.pool))
        with pytest.raises(PeerRefusedError):
            await transport.connect("us.example")
        transport.update(policy=EVERYBODY)
        assert await status(await transport.connect("us.example")) == 200


async def test_a_client_shows_its_other_credential_on_another_connection() -> None:
    async with serving() as server, client_of(server) as transport:
        first = await transport.connect("us.example")
        transport.update(credential=NORTHWIND)
        second = await transport.connect("us.example")
        assert second is not first
        assert await status(first) == await status(second) == 200
        assert server.heard == ["fabrikam.example", "northwind.example"]


async def test_a_shared_pool_gives_nobody_whom_one_side_trusts_no_more() -> None:
    pool: ConnectionPool[Connection] = ConnectionPool()
    async with serving(pool=pool) as server, visiting(server, NORTHWIND):
        async with TLSClientTransport(
            BOTH,
            credential=OURS,
            resolver=StaticResolver({"northwind.example": [("127.0.0.1", 9)]}),
            pool=pool,
        ) as transport:
            assert await transport.connect("northwind.example")
            server.transport._judging.begin = lambda: None  # type: ignore[method-assign]
            server.transport.update(policy=ONE)
            transport.update(policy=ONE)
            with pytest.raises(ConnectionClosedError, match="cannot connect"):
                await transport.connect("northwind.example")


async def test_a_connection_that_is_kept_is_tried_again_when_the_policy_changes() -> None:
    async with serving() as server, client_of(server) as transport:
        transport.update(policy=ONE)
        kept = transport.keep("us.example")
        await until(lambda: str(kept.state) == "refused")
        transport.update(policy=EVERYBODY)
        assert await status(await kept.connected()) == 200


# ---------------------------------------------------------------- time


class Clock:
    """The time for certificates, and the timer for deadlines, of the same clock."""

    def __init__(self) -> None:
        self.start = self.now = dt.datetime.now(dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now

    def timer(self) -> float:
        return (self.now - self.start).total_seconds()


def pair(
    clock: Clock, credential: Credential = FABRIKAM
) -> tuple[ClientConnection, ServerConnection]:
    client = ClientConnection(EVERYBODY, "us.example", credential=credential)
    silent = Limits(first_message_timeout=None, idle_timeout=None)
    server = ServerConnection(OURS, BOTH, clock=clock, timer=clock.timer, limits=silent)
    connected(client, server)
    server.events()
    return client, server


def test_trust_ends_when_the_first_certificate_of_the_path_does(tls_version: str) -> None:
    clock = Clock()
    brief = CA.issue("sip:fabrikam.example", not_after=clock.now + dt.timedelta(minutes=10))
    client, server = pair(clock, brief)
    assert server.deadline == pytest.approx(600, abs=1)
    clock.now += dt.timedelta(seconds=599)
    server.handle_deadline(clock.timer())
    assert server.established
    clock.now += dt.timedelta(seconds=2)
    server.handle_deadline(clock.timer())
    assert isinstance(server.closed, TrustLostError)
    assert server.closed.decision.code == Code.PATH_EXPIRED
    assert [type(event) for event in server.events()] == [PeerRefused, ConnectionClosed]
    client.receive_data(server.data_to_send())
    assert isinstance(client.closed, ConnectionClosedError)
    assert client.closed.orderly


def test_a_clock_that_is_set_is_looked_at_again() -> None:
    """The timer goes on; the date jumps by years, as on a machine without a battery."""
    clock = Clock()
    _, server = pair(clock)
    clock.now += dt.timedelta(seconds=7200)
    clock.start += dt.timedelta(days=36500)
    clock.now += dt.timedelta(days=36500)
    server.handle_deadline(clock.timer())
    assert isinstance(server.closed, TrustLostError)


def test_a_policy_that_accepts_what_has_ended_is_not_asked_without_a_pause() -> None:
    class Stubborn:
        asked = 0

        def evaluate(self, evidence: Any, /) -> Decision:
            Stubborn.asked += 1
            return Decision.accept(first.peer, "as before") if Stubborn.asked > 1 else first

    clock = Clock()
    brief = CA.issue("sip:fabrikam.example", not_after=clock.now + dt.timedelta(minutes=10))
    _, server = pair(clock, brief)
    first: Any = server.decision
    server.update(Stubborn())
    clock.now += dt.timedelta(minutes=11)
    for _ in range(100):
        server.handle_deadline(clock.timer())
    assert server.established
    assert Stubborn.asked == 2


def test_the_sans_io_connection_is_updated_too() -> None:
    clock = Clock()
    client, server = pair(clock)
    client.send(request())
    data = client.data_to_send()
    server.update(BOTH)
    server.receive_data(data)
    assert [type(event) for event in server.events()] == [MessageReceived]
    client.send(request())
    server.receive_data(client.data_to_send())
    server.update(Federation([Partner(["northwind.example"], CA.authority())]))
    assert [type(event) for event in server.events()] == [PeerRefused, ConnectionClosed]
    server.update(BOTH)
    assert server.closed is not None
    with pytest.raises(ConfigurationError):
        server.update(None)  # type: ignore[arg-type]


def test_a_handshake_that_is_under_way_is_judged_by_the_newest() -> None:
    client = ClientConnection(EVERYBODY, "us.example", credential=NORTHWIND)
    server = ServerConnection(OURS, BOTH)
    server.receive_data(client.data_to_send())
    server.update(ONE)
    connected(client, server)
    assert isinstance(server.closed, PeerRefusedError)


@pytest.mark.parametrize("role", ["server", "client"])
def test_whoever_was_asked_in_the_handshake_is_asked_again_at_its_end(
    tls_version: str, role: str
) -> None:
    """The policy has accepted already, and the peer waits with the rest until it has changed."""
    client = ClientConnection(EVERYBODY, "us.example", credential=NORTHWIND)
    server = ServerConnection(OURS, BOTH)
    judging, other = (server, client) if role == "server" else (client, server)
    for _ in range(10):
        data = other.data_to_send()
        for at in range(len(data)):
            judging.receive_data(data[at : at + 1])
            if judging.decision is not None and not judging.established:
                judging.update(ONE)
        other.receive_data(judging.data_to_send())
    assert isinstance(judging.closed, PeerRefusedError)
    assert not any(isinstance(event, PeerAccepted) for event in judging.events())


async def test_messages_that_wait_are_not_given_after_the_update() -> None:
    """Whether or not its turn to be judged has come."""
    go: asyncio.Event = asyncio.Event()
    results: list[object] = []

    async def handler(connection: Connection) -> None:
        await go.wait()
        try:
            results.append(await connection.receive())
        except TrustLostError as error:
            results.append(error.decision.code)

    async with MTLSServerTransport(OURS, BOTH, handler) as transport:
        await transport.listen("127.0.0.1", 0)
        server: Any = type("", (), {"transport": transport})
        async with visiting(server, NORTHWIND) as goes:
            for _ in range(3):
                await goes.send(request())
            await goes.ping()
            transport._judging.begin = lambda: None  # type: ignore[method-assign]
            transport.update(policy=ONE)
            go.set()
            await until(lambda: results)
    assert results == [Code.NAME_OUT_OF_SCOPE]


async def test_an_update_inside_on_message_stops_the_rest_of_the_read() -> None:
    heard: list[int] = []

    def on_message(connection: Connection, message: Any) -> None:
        heard.append(len(heard))
        transport.update(policy=ONE)

    transport = MTLSServerTransport(OURS, BOTH, on_message=on_message)
    async with transport:
        await transport.listen("127.0.0.1", 0)
        server: Any = type("", (), {"transport": transport})
        async with visiting(server, NORTHWIND) as goes:
            await goes.send(request() * 20)
            await until(lambda: goes.closed)
    assert heard == [0]


@pytest.mark.parametrize("what", ["receive", "send", "usable"])
async def test_trust_that_has_ended_is_noticed_by_whoever_uses_the_connection(what: str) -> None:
    """The timer has not come yet, or cannot: nobody reads."""
    async with serving() as server, client_of(server) as transport:
        connection = await transport.connect("us.example")
        core = connection.core
        core._trusted_until = -100.0  # long ago
        core._engine._judgement.clock = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=36500)
        if what == "usable":
            assert not connection.usable
        elif what == "send":
            with pytest.raises(ConnectionClosedError):
                await connection.send(request())
        else:
            with pytest.raises(TrustLostError):
                await connection.receive()
        assert isinstance(connection.closed, TrustLostError)


def test_what_comes_is_judged_before_it_is_delivered() -> None:
    """Another connection's transport has put another policy in force; nobody called this one."""
    in_force = InForce(BOTH)
    client = ClientConnection(EVERYBODY, "us.example", credential=NORTHWIND)
    server = ServerConnection(OURS, BOTH)
    server.follow(in_force)
    connected(client, server)
    server.events()
    client.send(request())
    in_force.replace(ONE)
    server.receive_data(client.data_to_send())
    assert [type(event) for event in server.events()] == [PeerRefused, ConnectionClosed]


def test_an_answer_about_the_policy_before_is_not_remembered_for_the_next() -> None:
    """A thread asks the old policy while another one replaces it."""

    class OnlyUs:
        def evaluate(self, evidence: Any, /) -> Decision:
            if evidence.reference.domain == "us.example":
                return EVERYBODY.evaluate(evidence)
            return Decision.refuse(Code.NAME_MISMATCH, "another")

    class Slow:
        def evaluate(self, evidence: Any, /) -> Decision:
            if Slow.replacing:
                client.update(policy=OnlyUs())
            return EVERYBODY.evaluate(evidence)

        replacing = False

    credential = CA.issue("sip:us.example", "sip:northwind.example")
    with sync.MTLSServerTransport(credential, BOTH, sync.Connection.wait_closed) as server:
        server.listen("127.0.0.1", 0)
        place = server.addresses[0]
        resolver = StaticResolver({"us.example": [place], "northwind.example": [place]})
        with sync.TLSClientTransport(Slow(), credential=FABRIKAM, resolver=resolver) as client:
            connection = client.connect("us.example")
            Slow.replacing = True
            terms = client._ours.terms(None)
            assert client.pool.find(ReferenceIdentity.parse("northwind.example"), terms) is None
            assert connection.usable
            assert client.connect("us.example") is connection
            with pytest.raises(PeerRefusedError):
                client.connect("northwind.example")


def test_what_waits_for_a_thread_is_dropped() -> None:
    results: list[object] = []

    def handler(connection: sync.Connection) -> None:
        connection.wait_closed(timeout=20)  # what comes is read meanwhile
        try:
            results.append(connection.receive(timeout=20))
        except TrustLostError as error:
            results.append(error.decision.code)

    with sync.MTLSServerTransport(OURS, BOTH, handler) as server:
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        with sync.TLSClientTransport(EVERYBODY, credential=NORTHWIND) as client:
            connection = client.connect("us.example", host=host, port=port)
            connection.send(request())
            (ours,) = waited(lambda: server._connections)
            waited(lambda: ours._stored)
            server.update(policy=ONE)
            waited(lambda: results)
    assert results == [Code.NAME_OUT_OF_SCOPE]


def waited(condition: Callable[[], Any]) -> Any:
    """Wait for another thread to bring something about; give it."""
    end = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < end
    return found


def test_threads_notice_it_too() -> None:
    with sync.MTLSServerTransport(OURS, BOTH, sync.Connection.wait_closed) as server:
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        for what in ("receive", "send", "usable"):
            with sync.TLSClientTransport(EVERYBODY, credential=FABRIKAM) as transport:
                connection = transport.connect("us.example", host=host, port=port)
                core = connection.core
                core._trusted_until = -100.0
                late = dt.datetime.now(dt.UTC) + dt.timedelta(days=36500)
                core._engine._judgement.clock = lambda late=late: late
                if what == "usable":
                    assert not connection.usable
                elif what == "send":
                    with pytest.raises(ConnectionClosedError):
                        connection.send(request())
                else:
                    with pytest.raises(TrustLostError):
                        connection.receive(timeout=20)
                assert isinstance(connection.closed, TrustLostError)


def test_a_server_that_judges_nobody_takes_no_policy_in_silence() -> None:
    with pytest.raises(ConfigurationError, match="nobody is judged"):
        ServerConnection(OURS, None, mutual=False).update(BOTH)


# ---------------------------------------------------------------- on blocking sockets


def test_threads_are_told_in_the_same_way() -> None:
    heard: list[str] = []
    ends: list[BaseException] = []
    gone = threading.Event()

    def handler(connection: sync.Connection) -> None:
        assert connection.peer is not None
        try:
            for message in connection:
                heard.extend(connection.peer.domains)
                connection.send(message.reply(200, "OK"))
        except TrustLostError as error:
            ends.append(error)
            gone.set()

    with sync.MTLSServerTransport(OURS, BOTH, handler) as server:
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        with (
            sync.TLSClientTransport(EVERYBODY, credential=FABRIKAM) as fabrikam,
            sync.TLSClientTransport(EVERYBODY, credential=NORTHWIND) as northwind,
        ):
            stays = fabrikam.connect("us.example", host=host, port=port)
            goes = northwind.connect("us.example", host=host, port=port)
            for connection in (stays, goes):
                connection.ping(timeout=20)
            server.update(policy=ONE)
            assert gone.wait(20)
            with pytest.raises(ConnectionClosedError) as caught:
                goes.receive(timeout=20)
            assert caught.value.orderly
            stays.send(request())
            assert stays.receive(timeout=20).status == 200
            assert len(server.peers()) == len(fabrikam.peers()) == 1
            fabrikam.update(policy=ONE)
            with pytest.raises(TrustLostError):
                stays.receive(timeout=20)
            assert fabrikam.peers() == []
    assert heard == ["fabrikam.example"]
    assert len(ends) == 1


async def test_what_is_closed_takes_nothing_new() -> None:
    """A watch is told, and whoever forgot to detach it."""
    server, client = MTLSServerTransport(OURS, BOTH, print), TLSClientTransport(EVERYBODY)
    await server.aclose()
    await client.aclose()
    blocking = sync.MTLSServerTransport(OURS, BOTH, print), sync.TLSClientTransport(EVERYBODY)
    for transport in blocking:
        transport.close()
    for closed in (server, client, *blocking):
        with pytest.raises(ConnectionClosedError, match="is closed: make a new one"):
            closed.update(policy=ONE)


def test_resume_is_yes_or_no() -> None:
    for make in (TLSClientTransport, sync.TLSClientTransport):
        with pytest.raises(ConfigurationError, match="resume is a bool, not a str"):
            make(EVERYBODY, resume="yes")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="resume is a bool, not a str"):
        sync.TLSServerTransport(OURS, print, resume="yes")  # type: ignore[arg-type]
