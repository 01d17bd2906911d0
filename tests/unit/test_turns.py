"""siptls.transports.aio.turns: a storm of handshakes, and what must not happen in the middle."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from network import ENTERPRISE, client, opened, serving, until
from sip import request

from siptls import (
    Connection,
    ConnectionClosedError,
    Enterprise,
    Limits,
    MTLSServerTransport,
    PeerRefusedError,
    RefusedByPeerError,
)
from siptls.testing import CertificateAuthority
from siptls.transports.aio.turns import Handshake, Turns

STRANGERS = CertificateAuthority("Strangers CA").issue("sip:contoso.com")
WORKERS = [None, 1, 3]


class Core:
    """A connection that counts the steps that are taken with it."""

    def __init__(self, *, needed: int = 1, fault: Exception | None = None) -> None:
        self.needed = needed
        self.fault = fault
        self.taken: list[bytes] = []
        self.closed = None
        self.threads: set[int] = set()
        self.during: Callable[[], None] = lambda: None

    @property
    def established(self) -> bool:
        return len(self.taken) >= self.needed

    def receive_data(self, data: bytes) -> None:
        self.threads.add(threading.get_ident())
        self.taken.append(data)
        self.during()
        if self.fault is not None:
            raise self.fault


class Made:
    """A handshake with such a core, and what it has called."""

    def __init__(self, turns: Turns, core: Core | None = None, more: bytes = b"") -> None:
        self.core = core or Core()
        self.calls: list[str] = []
        self.errors: list[BaseException | None] = []
        self._more = more
        self.core.during = self._take_more
        self.handshake = Handshake(
            turns,
            self.core,  # type: ignore[arg-type]  # it has what is used
            self._on_step,
            pause=lambda: self.calls.append("pause"),
            resume=lambda: self.calls.append("resume"),
        )

    def _on_step(self, error: BaseException | None) -> None:
        self.errors.append(error)
        self.calls.append("step")

    def _take_more(self) -> None:
        """While a step is taken, more comes."""
        if self._more:
            more, self._more = self._more, b""
            self.take(more)

    def take(self, data: bytes) -> None:
        self.handshake.take(memoryview(data))

    def note(self, what: str) -> Callable[[], None]:
        return lambda: self.calls.append(what)


# ---------------------------------------------------------------- the queue


async def test_each_turn_of_the_loop_takes_one_step() -> None:
    turns = Turns()
    made = [Made(turns) for _ in range(5)]
    for number, one in enumerate(made):
        one.take(b"%d" % number)
    counted = []
    for _ in range(5):
        await asyncio.sleep(0)
        counted.append(sum(len(one.core.taken) for one in made))
    assert counted == [1, 2, 3, 4, 5]
    assert [one.core.taken for one in made] == [[b"%d" % number] for number in range(5)]


async def test_what_else_is_ready_has_its_turn_in_between() -> None:
    turns, order = Turns(), []
    loop = asyncio.get_running_loop()
    made = [Made(turns) for _ in range(3)]
    for one in made:
        one.take(b"x")

    def tick(left: int) -> None:
        order.append(sum(len(one.core.taken) for one in made))
        if left:
            loop.call_soon(tick, left - 1)

    loop.call_soon(tick, 3)
    await until(lambda: len(order) == 4)
    assert order == [1, 2, 3, 3]


async def test_without_any_thread_no_work_is_left_in_a_queue_that_nobody_empties(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a system that never gives one would cost memory by each step of each stranger."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    turns, core, ours = Turns(2), Core(), threading.get_ident()
    with monkeypatch.context() as starved:
        starved.setattr(threading.Thread, "start", fail)
        made = [Made(turns, core) for _ in range(20)]
        for one in made:
            one.take(b"x")
        await until(lambda: all(one.errors for one in made))
        assert turns._threads is None
    assert core.threads == {ours}
    later = Made(turns)
    later.take(b"x")
    await until(lambda: later.errors)
    assert ours not in later.core.threads
    turns.close()


async def test_what_comes_before_its_turn_is_one_step() -> None:
    made = Made(Turns())
    for piece in (b"a", b"b", b"c"):
        made.take(piece)
    assert not made.handshake.over
    await until(lambda: made.errors)
    assert (made.core.taken, made.handshake.over) == ([b"abc"], True)


async def test_what_comes_during_the_last_step_follows_it_at_once() -> None:
    """The application may send from now on: no step is to be taken beside it."""
    made = Made(Turns(), more=b"message")
    made.take(b"finished")
    await until(lambda: made.errors)
    assert made.core.taken == [b"finished", b"message"]
    assert made.calls == ["resume", "step", "step", "resume"]
    assert made.handshake.over


async def test_what_comes_during_a_step_has_a_turn_of_its_own() -> None:
    turns = Turns()
    made, other = Made(turns, Core(needed=3), more=b"second"), Made(turns)
    made.take(b"first")
    other.take(b"x")
    assert made.handshake.defer(made.note("deferred"), behind=True)
    await until(lambda: len(made.errors) == 2)
    assert made.core.taken == [b"first", b"second"]
    assert made.calls == ["resume", "step", "resume", "step", "deferred"]
    assert other.core.taken == [b"x"]


async def test_a_handshake_is_over_when_nothing_of_it_waits() -> None:
    made = Made(Turns(), Core(needed=2))
    made.take(b"hello")
    await until(lambda: made.errors)
    assert not made.handshake.over
    made.take(b"finished")
    assert not made.handshake.over
    await until(lambda: len(made.errors) == 2)
    assert made.handshake.over


async def test_more_than_a_handshake_has_is_left_in_the_kernel() -> None:
    made = Made(Turns())
    made.take(bytes(65536))
    assert made.calls == []
    made.take(b"x")
    assert made.calls == ["pause"]
    await until(lambda: made.errors)
    assert made.calls == ["pause", "resume", "step"]


async def test_only_what_must_not_overtake_waits_for_the_turn() -> None:
    made = Made(Turns())
    assert not made.handshake.defer(made.note("never"), behind=True)
    made.take(b"x")
    assert not made.handshake.defer(made.note("never"))
    assert made.handshake.defer(made.note("eof"), behind=True)
    assert made.handshake.defer(made.note("closed"), next_step=True)
    assert made.handshake.defer(made.note("lost"), behind=True)
    await until(lambda: "lost" in made.calls)
    assert made.calls == ["resume", "step", "eof", "closed", "lost"]


@pytest.mark.parametrize("workers", [0, 2])
async def test_a_step_that_fails_stops_no_other(workers: int) -> None:
    turns = Turns(workers)
    fault = ValueError("no")
    bad, good = Made(turns, Core(fault=fault)), Made(turns)
    bad.take(b"x")
    good.take(b"y")
    await until(lambda: good.errors and bad.errors)
    assert (bad.errors, good.errors) == ([fault], [None])
    turns.close()


async def test_a_call_that_fails_stops_no_other() -> None:
    """Nor does it stop what the transport must learn: that the connection is lost."""
    made = Made(Turns())
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    before = loop._exception_handler  # type: ignore[attr-defined]  # there is no getter before 3.12
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    made.take(b"x")

    def fail() -> None:
        raise ValueError("no")

    assert made.handshake.defer(fail, behind=True)
    assert made.handshake.defer(made.note("lost"), behind=True)
    await until(lambda: complaints)
    loop.set_exception_handler(before)
    assert made.calls == ["resume", "step", "lost"]
    assert str(complaints[0]["exception"]) == "no"


async def test_who_does_not_stop_sending_is_closed_all_the_same() -> None:
    """What must not overtake waits for all that has come; a close does not."""
    made = Made(Turns(), Core(needed=100))

    def endless() -> None:
        if "closed" not in made.calls:
            made.take(b"more")

    made.core.during = endless
    made.take(b"x")
    assert made.handshake.defer(made.note("eof"), behind=True)
    assert made.handshake.defer(made.note("closed"), next_step=True)
    await until(lambda: "eof" in made.calls)
    assert made.calls.index("closed") < made.calls.index("eof")


async def test_after_the_close_steps_are_taken_in_the_loop() -> None:
    turns = Turns(2)
    first = Made(turns)
    first.take(b"x")
    await until(lambda: first.errors)
    turns.close()
    second = Made(turns)
    second.take(b"y")
    await until(lambda: second.errors)
    assert second.core.threads == {threading.get_ident()}
    await until(lambda: not _workers())


# ---------------------------------------------------------------- threads


async def test_workers_take_the_steps_in_threads_one_of_each_handshake() -> None:
    turns = Turns(2)
    gate, entered = threading.Event(), threading.Semaphore(0)

    class Slow(Core):
        def receive_data(self, data: bytes) -> None:
            entered.release()
            assert gate.wait(20)
            super().receive_data(data)

    made = [Made(turns, Slow(needed=2)) for _ in range(3)]
    for one in made:
        one.take(b"x")
    loop = asyncio.get_running_loop()
    for _ in range(2):
        assert await loop.run_in_executor(None, entered.acquire, True, 20)
    made[0].take(b"y")  # while its step is being taken
    assert made[0].handshake.defer(made[0].note("closed"))
    assert not made[2].handshake.defer(made[2].note("never"))
    assert not entered.acquire(blocking=False)
    gate.set()
    await until(lambda: len(made[0].errors) == 2 and all(one.errors for one in made))
    assert made[0].core.taken == [b"x", b"y"]
    assert made[0].calls == ["resume", "step", "closed", "resume", "step"]
    assert threading.get_ident() not in set().union(*(one.core.threads for one in made))
    turns.close()
    await until(lambda: not _workers())


def _workers() -> list[str]:
    names = (thread.name for thread in threading.enumerate())
    return [name for name in names if name.startswith("siptls-handshake")]


@pytest.mark.parametrize("workers", WORKERS)
async def test_peers_are_accepted_and_refused_as_ever(
    workers: int | None, tls_version: str
) -> None:
    limits = Limits(handshake_workers=workers)
    async with serving(limits=limits) as server, client(limits=limits) as ours:
        connections = await asyncio.gather(
            *(ours.connect("contoso.com", reuse=False, **server.place) for _ in range(8))
        )
        for connection in connections:
            await connection.send(request())
        for connection in connections:
            assert (await connection.receive()).status == 200
        async with client(credential=STRANGERS, limits=limits) as theirs:
            refused = (RefusedByPeerError, ConnectionClosedError)
            with pytest.raises(refused):
                await (await theirs.connect("contoso.com", **server.place)).receive()
        with pytest.raises(PeerRefusedError):
            await ours.connect("fabrikam.com", **server.place)
    await until(lambda: not _workers())


@pytest.mark.parametrize("workers", WORKERS)
async def test_who_closes_during_handshakes_waits_for_none(workers: int | None) -> None:
    """Whatever step each of them is in, both ends let go of all."""
    for turns in range(12):
        async with client(limits=Limits(handshake_workers=workers)) as ours:
            server: Any
            async with serving(limits=Limits(handshake_workers=workers)) as server:
                tasks = [
                    asyncio.create_task(ours.connect("contoso.com", reuse=False, **server.place))
                    for _ in range(6)
                ]
                for _ in range(turns):
                    await asyncio.sleep(0)
            await asyncio.wait(tasks)
            for task in tasks:
                task.exception()
            assert not server.transport._drivers
        assert not ours._drivers
    await until(lambda: not _workers())


@pytest.mark.parametrize("workers", WORKERS)
async def test_an_update_during_handshakes_holds_for_all(workers: int | None) -> None:
    """Who was accepted by the policy before is let go, in whatever step it was."""
    nobody = Enterprise(["fabrikam.com"], ENTERPRISE.authority)
    for turns in range(12):
        async with (
            serving(limits=Limits(handshake_workers=workers)) as server,
            client() as ours,
        ):
            assert isinstance(server.transport, MTLSServerTransport)
            tasks = [
                asyncio.create_task(ours.connect("contoso.com", reuse=False, **server.place))
                for _ in range(4)
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            server.transport.update(policy=nobody)
            await asyncio.wait(tasks)
            await until(lambda: not server.transport._drivers)
            for task in tasks:
                task.exception()


# ---------------------------------------------------------------- how many


async def test_so_many_handshakes_at_once_and_the_rest_waits() -> None:
    limits = Limits(max_handshakes=2)
    async with serving(limits=limits) as server, client() as ours:
        silent = [await opened(server.place) for _ in range(2)]
        await until(lambda: len(server.transport._drivers) == 2)
        waiting = asyncio.create_task(ours.connect("contoso.com", **server.place))
        peer = await until_stuck(server.transport, waiting)
        assert peer == 2
        silent[0][1].close()
        connection = await waiting
        await connection.send(request())
        assert (await connection.receive()).status == 200
        second = await ours.connect("contoso.com", reuse=False, **server.place)  # one is over
        assert second.peer is not None
        silent[1][1].close()


async def until_stuck(transport: Any, waiting: asyncio.Task[Connection]) -> int:
    """Let the loop turn until the client has sent its hello; say how many are served."""
    for _ in range(200):
        await asyncio.sleep(0)
    assert not waiting.done()
    return len(transport._drivers)


async def test_a_reset_in_the_queue_is_no_end_of_it() -> None:
    async with serving() as server, client() as ours:
        for _ in range(20):
            reader, writer = await opened(server.place)
            writer.write(b"\x16\x03\x01\x00\x05hello")
            writer.transport.abort()
            del reader
        connection = await ours.connect("contoso.com", **server.place)
        await connection.send(request())
        assert (await connection.receive()).status == 200
        await until(lambda: len(server.transport._drivers) == 1)
        assert not server.transport._shaking
