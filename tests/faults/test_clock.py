"""A wall clock that jumps by a year: certificates are judged by it, and no deadline is."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
from attrs import define
from front_ends import CA, OURS, POLICY
from network import answer, client, serving
from sip import request

from siptls import (
    ClientConnection,
    Code,
    Connection,
    ConnectionClosedError,
    Limits,
    PeerRefusedError,
    RefusedByPeerError,
    ServerConnection,
    TrustLostError,
    sync,
)
from siptls.testing import connected

YEAR = dt.timedelta(days=366)
JUMPS = {"forward": YEAR, "back": -YEAR}
CODES = {"forward": Code.PATH_EXPIRED, "back": Code.PATH_NOT_YET_VALID}
# Its own certificate is valid whatever the clock says, so that it is the peer's that counts.
LASTING = CA.issue(
    "sip:contoso.com",
    not_before=dt.datetime.now(dt.UTC) - 3 * YEAR,
    not_after=dt.datetime.now(dt.UTC) + 3 * YEAR,
)


@define
class Clock:
    """The present, until it is set."""

    jumped: dt.timedelta = dt.timedelta()

    def __call__(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.jumped


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all connections that transports make: they pass none."""
    made = Clock()
    for kind in (ClientConnection, ServerConnection):
        monkeypatch.setitem(kind.__init__.__kwdefaults__, "clock", made)
    return made


@pytest.fixture(params=JUMPS)
def jump(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---------------------------------------------------------------- deadlines


@define
class Time:
    """The time of a client and a server in memory: a clock that jumps, and a timer."""

    clock: Clock
    now: float = 0.0

    def timer(self) -> float:
        return self.now


def test_no_deadline_moves_with_the_clock(jump: str, tls_version: str) -> None:
    time = Time(Clock())
    limits = Limits(handshake_timeout=10, idle_timeout=100, pong_timeout=5)
    one = ClientConnection(
        POLICY,
        "contoso.com",
        credential=LASTING,
        clock=time.clock,
        timer=time.timer,
        limits=limits,
        keep_alive=50,
        random=lambda: 1.0,
    )
    other = ServerConnection(LASTING, POLICY, clock=time.clock, timer=time.timer)
    assert one.deadline == 10
    time.clock.jumped = JUMPS[jump]
    assert one.deadline == 10
    one.handle_deadline(9.9)
    assert one.closed is None
    connected(one, other)
    assert one.deadline == 50
    time.clock.jumped = -JUMPS[jump]
    one.handle_deadline(49.9)
    assert one.data_to_send() == b""
    time.now = 50
    one.handle_deadline(50)
    assert one.data_to_send() != b""  # the ping
    assert one.deadline == 55
    time.clock.jumped = JUMPS[jump]
    one.handle_deadline(54.9)
    assert one.closed is None
    time.now = 55
    one.handle_deadline(55)
    assert "no pong within 5 s" in str(one.closed)


async def test_live_connections_outlive_a_jump_in_which_their_certificates_are_valid(
    clock: Clock, jump: str
) -> None:
    limits = Limits(idle_timeout=60, pong_timeout=20)
    async with (
        serving(answer, credential=LASTING, policy=POLICY, limits=limits, keep_alive=30) as server,
        client(POLICY, LASTING, limits=limits, keep_alive=30) as transport,
    ):
        connection = await transport.connect("contoso.com", **server.place)
        for jumped in (JUMPS[jump], -JUMPS[jump], dt.timedelta()):
            clock.jumped = jumped
            server.transport.update()  # judged again by the clock as it is now
            await connection.send(request())
            assert (await connection.receive()).status == 200
            await connection.ping()


# ---------------------------------------------------------------- validity


def test_a_clock_that_was_set_forward_is_noticed_though_nothing_happens() -> None:
    """Timers do not notice it: the clock is looked at every two hours."""
    time = Time(Clock())
    one, other = (
        ClientConnection(
            POLICY,
            "contoso.com",
            credential=LASTING,
            clock=time.clock,
            timer=time.timer,
            limits=Limits(idle_timeout=None),
        ),
        ServerConnection(OURS, POLICY, clock=time.clock, timer=time.timer),
    )
    connected(one, other)
    time.clock.jumped = YEAR
    time.now = 7200
    assert one.deadline is not None
    assert one.deadline <= time.now
    one.handle_deadline(time.now)
    assert isinstance(one.closed, TrustLostError)
    assert one.closed.decision.code == Code.PATH_EXPIRED


async def test_who_is_not_valid_at_the_time_of_the_clock_is_refused_until_it_is_set_right(
    clock: Clock, jump: str, tls_version: str
) -> None:
    async with serving(answer, credential=LASTING, policy=POLICY) as server:
        clock.jumped = JUMPS[jump]
        async with client(POLICY, OURS) as transport:
            with pytest.raises(RefusedByPeerError):
                await (await transport.connect("contoso.com", **server.place)).receive()
        decision = await asyncio.wait_for(server.refused.get(), 20)
        assert decision.code == CODES[jump]
        async with client(POLICY, LASTING) as transport:  # a good one, meanwhile
            await ask(await transport.connect("contoso.com", **server.place))
        clock.jumped = dt.timedelta()
        async with client(POLICY, OURS) as transport:
            await ask(await transport.connect("contoso.com", **server.place))


async def test_a_live_peer_is_let_go_when_the_clock_says_that_it_has_ended(
    clock: Clock, jump: str
) -> None:
    async with serving(answer, credential=LASTING, policy=POLICY) as server:
        async with client(POLICY, OURS) as first, client(POLICY, LASTING) as second:
            goes = await first.connect("contoso.com", **server.place)
            stays = await second.connect("contoso.com", **server.place)
            await ask(goes)
            await ask(stays)
            clock.jumped = JUMPS[jump]
            server.transport.update()
            with pytest.raises(ConnectionClosedError):
                await goes.receive()
            (ended,) = [one.closed for one in server.connections if one.closed is not None]
            assert isinstance(ended, TrustLostError)
            assert ended.decision.code == CODES[jump]
            await ask(stays)
            clock.jumped = dt.timedelta()
            await ask(await first.connect("contoso.com", **server.place))


def test_a_blocking_client_refuses_by_the_clock_and_believes_when_it_is_right(
    clock: Clock, jump: str, tls_version: str
) -> None:
    def handler(connection: sync.Connection) -> None:
        for message in connection:
            connection.send(message.reply(200, "OK"))

    with (
        sync.MTLSServerTransport(OURS, POLICY, handler) as server,
        sync.TLSClientTransport(POLICY, credential=LASTING) as transport,
    ):
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        clock.jumped = JUMPS[jump]
        with pytest.raises(PeerRefusedError) as raised:
            transport.connect("contoso.com", host=host, port=port)
        assert raised.value.decision.code == CODES[jump]
        clock.jumped = dt.timedelta()
        connection = transport.connect("contoso.com", host=host, port=port, timeout=20)
        connection.send(request(), timeout=20)
        assert connection.receive(timeout=20).status == 200


async def ask(connection: Connection) -> None:
    await connection.send(request())
    assert (await connection.receive()).status == 200
