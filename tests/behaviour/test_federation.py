"""A federation on real sockets, in both worlds: who comes in, who speaks, and how fast."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import struct
import threading
import time
from typing import Any

import pytest
from federated import (
    HOME,
    OURS,
    PARTNER,
    STRANGER,
    asked,
    policy,
)
from network import raw_tls, until

from siptls import (
    Code,
    Connection,
    ConnectionClosedError,
    Decision,
    EdgeDiscovery,
    FederationResolver,
    Limits,
    Message,
    MTLSServerTransport,
    OperationTimeout,
    Peer,
    PeerRefusedError,
    SIPTLSError,
    StaticResolver,
    TLSClientTransport,
    Traffic,
    TrafficLimits,
    sync,
)

FAST = TrafficLimits(messages_per_second=100, burst=5)
COUNT = 40
DISCOVERABLE = StaticResolver(
    {"_sipfederationtls._tcp.stranger.example": ["127.0.0.1"], "stranger.example": ["127.0.0.1"]}
)
NOWHERE = StaticResolver({"stranger.example": ["127.0.0.1"]})


def answer_to(message: Message) -> Message:
    """Give 403 if the message was refused, else 200."""
    refused = message.decision is not None and not message.decision.accepted
    answer = message.forbid() if refused else message.reply(200, "OK")
    assert answer is not None
    return answer


class Edge:
    """Contoso's edge, and what it was given."""

    def __init__(self, handler: Any = None, **options: Any) -> None:
        self.times: list[float] = []
        self.messages: list[Message] = []
        self.refusals: list[Decision] = []
        self.done = asyncio.Event()
        how = {"on_message": self.take} if handler is None else {"handler": handler}
        options.setdefault("policy", policy(FAST))
        self.transport = MTLSServerTransport(
            OURS, on_refused=lambda decision, _: self.refusals.append(decision), **how, **options
        )

    def take(self, connection: Connection, message: Message) -> None:
        self.messages.append(message)
        self.times.append(time.monotonic())
        connection.send_nowait(answer_to(message))
        if len(self.messages) == COUNT:
            self.done.set()


async def visit(edge: MTLSServerTransport, client: TLSClientTransport) -> Connection:
    host, port = edge.addresses[0]
    return await client.connect("contoso.com", host=host, port=port, reuse=False)


@pytest.mark.parametrize("way", ["on_message", "receive"])
async def test_a_stranger_is_slowed_down_and_loses_nothing(way: str) -> None:
    """The order stays, and every message arrives."""

    async def read(connection: Connection) -> None:
        async for message in connection:
            edge.take(connection, message)

    edge = Edge(read if way == "receive" else None)
    async with edge.transport as server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        connection = await visit(server, client)
        begin = time.monotonic()
        for number in range(COUNT):
            await connection.send(asked(number))
        for number in range(COUNT):
            assert (await connection.receive()).header("Call-ID") == str(number)
        took = edge.times[-1] - begin  # the first one passed no earlier than it was sent
        assert took >= (COUNT - FAST.burst) / FAST.messages_per_second
        assert await connection.ping() > 0


async def test_who_resets_has_no_more_delivered_than_was_read_of_it_before() -> None:
    """What waits in the kernel when our write fails is not taken of whom we read nothing more."""
    slow, many = TrafficLimits(messages_per_second=0.001, burst=1), 300
    seen: list[Message] = []

    async def read(connection: Connection) -> None:
        seen.append(await connection.receive())
        await gone.wait()
        with contextlib.suppress(ConnectionClosedError):
            await connection.send(asked(0, "contoso.com"))
        with contextlib.suppress(ConnectionClosedError):
            while True:
                seen.append(await connection.receive())

    def flood() -> None:
        host, port = edge.transport.addresses[0]
        attacker = raw_tls({"host": host, "port": port}, STRANGER)
        attacker.do_handshake()
        attacker.sendall(asked(0))
        accepted.wait(20)
        for number in range(many):
            attacker.sendall(asked(number))
        attacker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        flooded.wait(20)
        attacker.sock_shutdown(socket.SHUT_WR)
        attacker.close()

    gone, accepted, flooded = asyncio.Event(), threading.Event(), threading.Event()
    edge = Edge(read, policy=policy(slow))
    async with edge.transport as server:
        await server.listen("127.0.0.1", 0)
        flooding = asyncio.create_task(asyncio.to_thread(flood))
        await until(lambda: seen)
        accepted.set()
        await until(lambda: any(driver.core.holding for driver in server._drivers))
        flooded.set()
        await flooding
        gone.set()
        await until(lambda: not server._drivers)
        await until(lambda: not server._handlers)
    assert len(seen) < many // 4


async def test_a_partner_is_not_slowed_down_meanwhile() -> None:
    """Its message passes while those of the stranger wait."""
    slow = TrafficLimits(messages_per_second=0.001, burst=1)
    edge = Edge(policy=policy(slow))
    stranger = TLSClientTransport(HOME, credential=STRANGER)
    partner = TLSClientTransport(HOME, credential=PARTNER)
    async with edge.transport as server, stranger, partner:
        await server.listen("127.0.0.1", 0)
        flood, calm = await visit(server, stranger), await visit(server, partner)
        for number in range(5):
            await flood.send(asked(number))
        assert (await flood.receive()).status == 200
        for number in range(20):
            await calm.send(asked(100 + number, "fabrikam.com"))
            assert (await calm.receive()).status == 200
        seen = {message.header("From") for message in edge.messages}
        assert len(edge.messages) == 21
        assert len(seen) == 2


async def test_messages_come_with_their_decision_and_the_403_goes_back() -> None:
    edge = Edge(authorize=True)
    async with edge.transport as server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        connection = await visit(server, client)
        await connection.send(asked(1, "contoso.com"))
        answer = await connection.receive()
        assert (answer.status, answer.header("Warning")) == (
            403,
            '399 siptls "sender.not-authorized"',
        )
        await connection.send(asked(2))
        assert (await connection.receive()).status == 200
        (report,) = server.traffic.report(0).peers
        assert report.refusals == {"sender.not-authorized": 1}


async def test_a_client_judges_and_counts_what_comes_back_over_its_connection() -> None:
    """A discovered server may send requests over the connection that we have opened to it."""

    async def flood(connection: Connection) -> None:
        for number in range(4):
            await connection.send(
                asked(number, "contoso.com" if number == 3 else "stranger.example")
            )
        await connection.wait_closed()

    server = MTLSServerTransport(STRANGER, HOME, flood)
    traffic = Traffic()
    client = TLSClientTransport(policy(FAST), credential=OURS, authorize=True, traffic=traffic)
    async with server, client:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        connection = await client.connect("stranger.example", host=host, port=port)
        codes = []
        for _ in range(4):
            decision = (await connection.receive()).decision
            assert decision is not None
            codes.append(decision.code)
        assert codes == [Code.ACCEPTED] * 3 + [Code.SENDER_NOT_AUTHORIZED]
        assert client.traffic is traffic
        (report,) = traffic.report(0).peers
        assert (report.messages, report.connections) == (4, 1)
    assert traffic.report(0).peers[0].connections == 0


async def test_the_fifth_connection_is_refused_and_another_one_may_come_when_one_goes() -> None:
    edge = Edge()
    async with edge.transport as server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        held = [await visit(server, client) for _ in range(4)]
        for connection in held:
            await connection.ping()
        late = await visit(server, client)
        with pytest.raises(ConnectionClosedError):
            await late.receive()
        await until(lambda: edge.refusals)
        assert edge.refusals[0].code == Code.PARTNER_LIMIT
        await held[0].aclose()
        await until(lambda: server.traffic.report(0).peers[0].connections == 3)
        assert await (await visit(server, client)).ping() > 0
        assert [one.code for one in server.traffic.report(0).refused] == [Code.PARTNER_LIMIT]


async def test_limits_that_are_lifted_let_pass_what_waits() -> None:
    edge = Edge(policy=policy(TrafficLimits(messages_per_second=0.001, burst=1)))
    async with edge.transport as server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        connection = await visit(server, client)
        for number in range(3):
            await connection.send(asked(number))
        assert (await connection.receive()).header("Call-ID") == "0"
        server.update(policy=policy(None))
        for number in (1, 2):
            assert (await connection.receive()).header("Call-ID") == str(number)


async def test_a_flood_by_reconnecting_is_no_way_around() -> None:
    """What waited at the end is delivered once; then the certificate has to wait."""
    edge = Edge(policy=policy(TrafficLimits(messages_per_second=1, burst=1)))
    async with edge.transport as server:
        await server.listen("127.0.0.1", 0)
        for _ in range(6):
            async with TLSClientTransport(HOME, credential=STRANGER) as client:
                connection = await visit(server, client)
                with contextlib.suppress(SIPTLSError):
                    for number in range(30):
                        await connection.send(asked(number))
            await until(lambda: server.traffic.report(0).peers[0].connections == 0)
        assert len(edge.messages) <= 30  # of the first, and of no other
        assert {decision.code for decision in edge.refusals} == {Code.PARTNER_LIMIT}


def test_uvloop_has_timers_that_do_not_tell_their_time() -> None:
    """One that is due at once is a plain handle there, and messages come out of it."""
    uvloop = pytest.importorskip("uvloop")
    fast = TrafficLimits(messages_per_second=3000, burst=1)
    failures: list[Any] = []

    async def flood() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
        edge = Edge(policy=policy(fast))
        async with edge.transport as server, TLSClientTransport(HOME, credential=STRANGER) as one:
            await server.listen("127.0.0.1", 0)
            connection = await visit(server, one)
            for number in range(300):
                await connection.send(asked(number))
            for number in range(300):
                assert (await connection.receive()).header("Call-ID") == str(number)

    uvloop.run(flood())
    assert failures == []


class Bad(BaseException):
    """No Exception: nobody is to catch it."""


def failing_at(number: str, error: type[BaseException], seen: list[str]) -> Any:
    def fail(_: Connection, message: Message) -> None:
        seen.append(message.header("Call-ID") or "")
        if seen[-1] == number:
            raise error

    return fail


async def test_an_application_that_fails_badly_ends_its_connection() -> None:
    """Also where a message comes out of the timer, and not out of a read."""
    seen: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    server = MTLSServerTransport(OURS, policy(FAST), on_message=failing_at("6", Bad, seen))
    async with server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        connection = await visit(server, client)
        for number in range(10):
            await connection.send(asked(number))
        with pytest.raises(ConnectionClosedError):
            await connection.receive()
        assert seen[:7] == list("0123456")
        await until(lambda: server.traffic.report(0).peers[0].connections == 0)
    loop.set_exception_handler(None)


async def test_what_the_application_waited_for_may_be_cancelled() -> None:
    """``result()`` of a cancelled future raises it: the fault is in one message."""
    seen: list[str] = []
    failing = failing_at("6", asyncio.CancelledError, seen)
    server = MTLSServerTransport(OURS, policy(FAST), on_message=failing)
    async with server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        connection = await visit(server, client)
        for number in range(10):
            await connection.send(asked(number))
        await until(lambda: len(seen) == 10)
        assert await connection.ping() > 0


async def test_a_refused_certificate_is_remembered_before_on_refused_fails() -> None:
    def failing(decision: Decision, _: object) -> None:
        raise LookupError(decision)

    server = MTLSServerTransport(OURS, HOME, on_message=print, on_refused=failing)
    async with server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        with pytest.raises(SIPTLSError):
            await (await visit(server, client)).receive()
        await until(lambda: server.traffic.report(0).refused)
        (refused,) = server.traffic.report(0).refused
        assert refused.code == Code.PATH_UNKNOWN_CA


# ---------------------------------------------------------------- admit=


@pytest.mark.parametrize("way", ["on_message", "receive"])
async def test_nothing_is_delivered_before_the_stranger_is_admitted(way: str) -> None:
    asked_about: list[Peer] = []
    answer = asyncio.Event()

    async def admit(peer: Peer) -> Decision:
        asked_about.append(peer)
        await answer.wait()
        return Decision.accept(peer, "well")

    async def read(connection: Connection) -> None:
        async for message in connection:
            edge.take(connection, message)

    edge = Edge(read if way == "receive" else None, admit=admit)
    async with edge.transport as server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        connection = await visit(server, client)
        for number in range(3):
            await connection.send(asked(number))
        await connection.ping()  # all of it was read
        assert edge.messages == []
        assert len(server.pool) == 0
        answer.set()
        for number in range(3):
            assert (await connection.receive()).header("Call-ID") == str(number)
        assert [sorted(peer.domains) for peer in asked_about] == [["stranger.example"]]
        assert len(server.pool) == 1


async def _never(_: Peer) -> Decision:
    await asyncio.Event().wait()
    raise AssertionError


def _raising(_: Peer) -> Decision:
    raise LookupError("the database is down")


async def _cancelled(_: Peer) -> Decision:
    raise asyncio.CancelledError


def _timing_out(_: Peer) -> Decision:
    raise TimeoutError("no answer of the database")


def _refusing(_: Peer) -> Decision:
    return Decision.refuse("app.no", "we do not know you")


@pytest.mark.parametrize(
    ("admit", "code"),
    [
        (_refusing, "app.no"),
        (_raising, Code.POLICY_ERROR),
        (lambda _: True, Code.POLICY_ERROR),
        (lambda _: None, Code.POLICY_ERROR),
        (_never, Code.POLICY_ERROR),
        (_cancelled, Code.POLICY_ERROR),
        (_timing_out, Code.POLICY_ERROR),
        (EdgeDiscovery(NOWHERE), Code.PARTNER_UNDISCOVERED),
    ],
)
async def test_who_is_not_admitted_is_refused(admit: Any, code: str) -> None:
    """Whatever it is: an exception, another answer, or none in time."""
    edge = Edge(admit=admit, limits=Limits(handshake_timeout=2))
    async with edge.transport as server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        connection = await visit(server, client)
        await connection.send(asked(1))
        with pytest.raises(ConnectionClosedError):
            await connection.receive()
        await until(lambda: edge.refusals)
        assert edge.refusals[0].code == code
        assert edge.messages == []
        assert server.traffic.report(0).refused[0].code == code


async def test_a_timeout_of_what_was_asked_is_told_as_its_own() -> None:
    edge = Edge(admit=_timing_out)
    async with edge.transport as server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        await visit(server, client)
        await until(lambda: edge.refusals)
        assert "no answer of the database" in edge.refusals[0].reason


async def test_a_discovered_stranger_is_admitted_and_a_partner_is_not_looked_for() -> None:
    edge = Edge(admit=EdgeDiscovery(DISCOVERABLE))
    for credential, sender in ((STRANGER, "stranger.example"), (PARTNER, "fabrikam.com")):
        async with TLSClientTransport(HOME, credential=credential) as client:
            if not edge.transport.addresses:
                await edge.transport.listen("127.0.0.1", 0)
            connection = await visit(edge.transport, client)
            await connection.send(asked(1, sender))
            assert (await connection.receive()).status == 200
    await edge.transport.aclose()


async def test_who_has_gone_is_asked_about_no_more() -> None:
    """Else whoever comes and goes would leave a question to DNS behind each time."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def admit(_: Peer) -> Decision:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    edge = Edge(admit=admit)
    async with edge.transport as server, TLSClientTransport(HOME, credential=STRANGER) as client:
        await server.listen("127.0.0.1", 0)
        connection = await visit(server, client)
        await began.wait()
        await connection.aclose()
        async with asyncio.timeout(5):  # before the answer is late
            await ended.wait()
        assert edge.refusals == []


async def test_closing_ends_the_question() -> None:
    edge = Edge(admit=_never)
    async with TLSClientTransport(HOME, credential=STRANGER) as client:
        await edge.transport.listen("127.0.0.1", 0)
        connection = await visit(edge.transport, client)
        await connection.ping()
        await edge.transport.aclose()
        with pytest.raises(ConnectionClosedError):
            await connection.receive()


async def test_outbound_the_edge_of_the_federation_is_found() -> None:
    """DNS says where; the certificate says who."""
    edge = Edge()
    async with MTLSServerTransport(STRANGER, HOME, on_message=edge.take) as server:
        await server.listen("127.0.0.1", 0)
        place = server.addresses[0]
        found = StaticResolver({"_sipfederationtls._tcp.stranger.example": [place]})
        federation = policy().parts[1]  # type: ignore[attr-defined]  # Enterprise | Federation
        resolver = FederationResolver(federation, found)
        async with TLSClientTransport(policy(), credential=OURS, resolver=resolver) as client:
            connection = await client.connect("sip:stranger.example")
            assert connection.peer is not None
            assert connection.peer.domains == {"stranger.example"}
        impostor = StaticResolver({"_sipfederationtls._tcp.other.example": [place]})
        resolver = FederationResolver(federation, impostor)
        async with TLSClientTransport(policy(), credential=OURS, resolver=resolver) as client:
            with pytest.raises(PeerRefusedError) as caught:
                await client.connect("sip:other.example")
            assert caught.value.decision.code == Code.NAME_MISMATCH


# ---------------------------------------------------------------- siptls.sync


class SyncEdge:
    """The same on blocking sockets."""

    def __init__(self, **options: Any) -> None:
        self.times: list[float] = []
        self.refusals: queue.Queue[Decision] = queue.Queue()
        options.setdefault("policy", policy(FAST))
        self.transport = sync.MTLSServerTransport(
            OURS,
            on_message=self.take,
            on_refused=lambda decision, _: self.refusals.put(decision),
            **options,
        )

    def take(self, connection: sync.Connection, message: Message) -> None:
        self.times.append(time.monotonic())
        connection.send(answer_to(message))


def sync_visit(edge: sync.MTLSServerTransport, client: sync.TLSClientTransport) -> sync.Connection:
    host, port = edge.addresses[0]
    return client.connect("contoso.com", host=host, port=port)


def test_threads_slow_a_stranger_down_and_lose_nothing() -> None:
    edge = SyncEdge(authorize=True)
    with edge.transport as server, sync.TLSClientTransport(HOME, credential=STRANGER) as client:
        server.listen("127.0.0.1", 0)
        connection = sync_visit(server, client)
        begin = time.monotonic()
        for number in range(COUNT):
            connection.send(asked(number, "contoso.com" if number == 7 else "stranger.example"))
        for number in range(COUNT):
            answer = connection.receive(timeout=20)
            assert answer.header("Call-ID") == str(number)
            assert answer.status == (403 if number == 7 else 200)
        took = edge.times[-1] - begin  # the first one passed no earlier than it was sent
        assert took >= (COUNT - FAST.burst) / FAST.messages_per_second
        assert connection.ping(timeout=20) > 0


def test_threads_do_not_spin_while_a_reset_peer_is_held_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reset is told by poll() again and again, whatever it is asked for."""
    slow = TrafficLimits(messages_per_second=0.001, burst=1)
    edge = SyncEdge(policy=policy(slow), limits=Limits(close_timeout=0.2))
    polls: list[int] = []
    poll = sync.Connection._poll

    def counting(self: sync.Connection, interest: int, end: float | None) -> bytes | None:
        polls.append(interest)
        return poll(self, interest, end)

    monkeypatch.setattr(sync.Connection, "_poll", counting)
    with edge.transport as server:
        server.listen("127.0.0.1", 0)
        with sync.TLSClientTransport(HOME, credential=STRANGER) as client:
            connection = sync_visit(server, client)
            connection.send(asked(1) + asked(2) + asked(3))
            assert connection.receive(timeout=20).status == 200
            cut = struct.pack("ii", 1, 0)
            connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, cut)
            connection._abort(ConnectionClosedError("cut"))
        polls.clear()
        threading.Event().wait(0.2)  # in which it would be asked ten thousand times
        assert len(polls) < 10


def test_a_connection_that_gave_up_sending_is_counted_no_more() -> None:
    """Else four of them would shut a peer out for ever."""
    flooded = threading.Event()

    def handler(connection: sync.Connection) -> None:
        with contextlib.suppress(SIPTLSError):
            while True:
                connection.send(b"x" * 100_000, timeout=0.1)
        flooded.set()

    server = sync.MTLSServerTransport(OURS, policy(FAST), handler)
    with server, sync.TLSClientTransport(HOME, credential=STRANGER) as client:
        server.listen("127.0.0.1", 0)
        sync_visit(server, client)
        assert flooded.wait(20)
        server.close()  # it waits for the handlers
        assert server.traffic.report(0).peers[0].connections == 0


def test_threads_do_not_wait_for_a_stranger_that_is_held_back() -> None:
    """Whoever receives with a timeout gets it, and closing takes no longer than ever."""

    def thrice(connection: sync.Connection, message: Message) -> None:
        connection.send(message.data * 3)

    slow = TrafficLimits(messages_per_second=0.001, burst=1)
    server = sync.MTLSServerTransport(STRANGER, HOME, on_message=thrice)
    client = sync.TLSClientTransport(
        policy(slow), credential=OURS, limits=Limits(close_timeout=0.2)
    )
    with server, client:
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        connection = client.connect("stranger.example", host=host, port=port)
        connection.send(asked(1))
        assert connection.receive(timeout=20).header("Call-ID") == "1"
        with pytest.raises(OperationTimeout):
            connection.receive(timeout=0.05)
        connection.close()


@pytest.mark.parametrize(
    ("admit", "code"),
    [
        (_refusing, "app.no"),
        (_raising, Code.POLICY_ERROR),
        (lambda _: None, Code.POLICY_ERROR),
        (EdgeDiscovery(NOWHERE), Code.PARTNER_UNDISCOVERED),
    ],
)
def test_threads_refuse_who_is_not_admitted(admit: Any, code: str) -> None:
    edge = SyncEdge(admit=admit)
    with edge.transport as server, sync.TLSClientTransport(HOME, credential=STRANGER) as client:
        server.listen("127.0.0.1", 0)
        connection = sync_visit(server, client)
        with pytest.raises(ConnectionClosedError):
            connection.receive(timeout=20)
        assert edge.refusals.get(timeout=20).code == code
        assert edge.times == []


def test_threads_admit_whom_dns_names() -> None:
    edge = SyncEdge(admit=EdgeDiscovery(DISCOVERABLE))
    with edge.transport as server, sync.TLSClientTransport(HOME, credential=STRANGER) as client:
        server.listen("127.0.0.1", 0)
        connection = sync_visit(server, client)
        connection.send(asked(1))
        assert connection.receive(timeout=20).status == 200


def test_what_admit_cannot_be() -> None:
    for wrong in (5, "yes", EdgeDiscovery):
        with pytest.raises(ValueError, match="admit="):
            MTLSServerTransport(OURS, policy(), on_message=print, admit=wrong)  # type: ignore[arg-type]
