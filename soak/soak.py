"""A soak: servers of contoso.com under all that can come, and whether anything is left of it.

``make soak``, or ``python soak/soak.py [SECONDS]``; 600 by default. In this process are three
servers over mutual TLS: two in asyncio, with ``handler`` and with ``on_message``, and one of
``siptls.sync``. In processes of their own are 500 connections of ten partners that come and go
(``partners.py``), 30 on blocking sockets (``threads.py``), and peers that vanish in every way
(``vanishing.py``); among them peers that are refused. Meanwhile credentials and policies are
updated on all sides, and one partner is removed and brought back.

First all of it runs for a while, so that everything is loaded that is loaded once, and is closed.
What is there then is the measure: after the soak there may be no more of it, in any process. It
exits with 1 if there is, or if a message was lost, doubled, damaged or out of order on a healthy
connection. Ctrl-C ends it early, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakKeyDictionary

from attrs import define, field
from remains import differences, measure, resident, settled
from rounds import Child, Ports
from world import FICKLE, Served, Wrong, is_last, our_credential, policy

from siptls import (
    Connection,
    Decision,
    Limits,
    Message,
    MTLSServerTransport,
    SIPTLSError,
    sync,
)

SECONDS = 600.0
WARM_UP = 20.0  # seconds; less of a short soak
CHILDREN = ("partners", "threads", "vanishing")
UPDATE_EVERY = 1.5
REMOVE_EACH = 10  # of the updates, one removes a partner
SAMPLE_EVERY = 1.0
# Who says nothing is gone within seconds; who is slow because this machine is busy has time.
LIMITS = Limits(
    max_per_address=None,  # all come from here
    first_message_timeout=5,
    handshake_timeout=30,
    close_timeout=30,
    message_timeout=30,
    pong_timeout=30,
    max_threads=128,
)
KEEP_ALIVE = 10.0


@define
class Round:
    """What the servers have seen in a round."""

    done: Counter[str] = field(factory=Counter)
    wrong: Wrong = field(factory=list)
    most_memory: int = 0
    most_connections: int = 0


class Servers:
    """The three servers, and what is counted in them."""

    def __init__(self, seen: Round) -> None:
        self._seen = seen
        self._lock = threading.Lock()
        self._served: WeakKeyDictionary[Connection, Served] = WeakKeyDictionary()
        ours = our_credential()
        options: dict[str, Any] = {
            "on_refused": self._refused,
            "limits": LIMITS,
            "keep_alive": KEEP_ALIVE,
            "resume": True,
        }
        self.handler = MTLSServerTransport(ours, policy(), self._handle, **options)
        self.on_message = MTLSServerTransport(ours, policy(), on_message=self._take, **options)
        self.blocking = sync.MTLSServerTransport(ours, policy(), self._handle_blocking, **options)

    async def listen(self) -> Ports:
        """Begin."""
        for server in (self.handler, self.on_message):
            await server.listen("127.0.0.1", 0)
        self.blocking.listen("127.0.0.1", 0)
        every = (self.handler, self.on_message, self.blocking)
        return Ports(*(server.addresses[0][1] for server in every))

    async def aclose(self) -> None:
        """Close all of them."""
        await self.handler.aclose()
        await self.on_message.aclose()
        await asyncio.to_thread(self.blocking.close)

    async def update(self, **what: Any) -> None:
        """Update all of them."""
        self.handler.update(**what)
        self.on_message.update(**what)
        await asyncio.to_thread(self.blocking.update, **what)

    def live(self) -> int:
        """How many peers are connected."""
        every = (self.handler, self.on_message, self.blocking)
        return sum(len(server.peers()) for server in every)

    # ------------------------------------------------------------ serving

    async def _handle(self, connection: Connection) -> None:
        served = Served(self._seen.done, self._seen.wrong)
        try:
            async for message in connection:
                await connection.send(served.replies(message))
        except SIPTLSError as error:
            self._seen.done[f"ends seen by a server: {type(error).__name__}"] += 1
            raise

    def _take(self, connection: Connection, message: Message) -> None:
        served = self._served.get(connection)
        if served is None:
            served = self._served[connection] = Served(self._seen.done, self._seen.wrong)
        connection.send_nowait(served.replies(message))

    def _handle_blocking(self, connection: sync.Connection) -> None:
        counted = Counter[str]()  # threads do not count in common
        served = Served(counted, self._seen.wrong)
        for message in connection:
            connection.send(served.replies(message), timeout=120)
            if is_last(message):
                break
        with self._lock:
            self._seen.done.update(counted)

    def _refused(self, decision: Decision, _: object) -> None:
        self._seen.done[f"refused by a server: {decision.code}"] += 1


# ---------------------------------------------------------------- a round


async def _updates(servers: Servers, seen: Round, stop: asyncio.Event) -> None:
    """Update the servers; now and then a partner is removed, and brought back by the next one."""
    count = 0
    while not await _passes(UPDATE_EVERY * 2 * random.random(), stop):  # noqa: S311  no secret
        count += 1
        if count % REMOVE_EACH == 0:
            await servers.update(policy=policy(with_fickle=False))
            seen.done[f"updates of servers that remove {FICKLE}"] += 1
        elif count % 2 and count % REMOVE_EACH != 1:
            await servers.update(credential=our_credential())
            seen.done["updates of servers: credential"] += 1
        else:
            await servers.update(policy=policy())
            seen.done["updates of servers: policy"] += 1


async def _samples(servers: Servers, seen: Round, stop: asyncio.Event) -> None:
    while not await _passes(SAMPLE_EVERY, stop):
        seen.most_memory = max(seen.most_memory, resident())
        seen.most_connections = max(seen.most_connections, servers.live())


async def _passes(seconds: float, stop: asyncio.Event) -> bool:
    """Wait; whether it was stopped meanwhile."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()


async def round_of(
    seconds: float, children: list[Child], stopped: asyncio.Event
) -> tuple[Round, dict[str, Any]]:
    """Run it all for a while, and close it; give what was seen, and what each process tells."""
    seen, servers, over = Round(), None, asyncio.Event()
    servers = Servers(seen)
    ports = await servers.listen()
    for child in children:
        child.go(ports)
    besides = [asyncio.create_task(work(servers, seen, over)) for work in (_updates, _samples)]
    try:
        await _passes(seconds, stopped)
        over.set()
        await asyncio.gather(*besides)
        told = {child.name: await child.rest() for child in children}
    finally:
        for task in besides:
            task.cancel()
        await servers.aclose()
    for name, one in told.items():
        seen.wrong += [f"{name}: {sentence}" for sentence in one["wrong"]]
        seen.done.update(one["done"])
    return seen, told


# ---------------------------------------------------------------- judging


def compared(done: Counter[str]) -> Wrong:
    """Say where the two sides do not tell the same."""
    wrong = []
    finished = done["conversations finished"] + done["blocking: conversations finished"]
    served = done["conversations finished, as servers saw it"]
    # One that the policy ended may have been finished for the server, and not for the client.
    if not finished <= served <= finished + done["ended by an update of the policy"]:
        wrong.append(f"{finished} conversations were finished by clients, and {served} by servers")
    for what, times in done.items():
        before, _, code = what.partition("refused: ")
        told = done[f"refused by a server: {code}"]
        if before == "" and code and told < times:
            wrong.append(f"{times} peers were refused for {code}, and the servers tell of {told}")
    wrong += [
        f"nothing was done of this: {what}"
        for what in ("conversations finished", "blocking: conversations finished")
        if not done[what]
    ]
    return wrong


def show(
    seen: Round, seconds: float, rows: list[tuple[str, dict[str, Any], dict[str, Any]]]
) -> None:
    """Print what was done, and what is left."""
    print(f"\nwhat was done in {seconds:.0f} s")
    for what, times in sorted(seen.done.items()):
        print(f"  {what:<58} {times:>9}")
    print(f"  {'most peers connected at once':<58} {seen.most_connections:>9}")
    print(f"  {'most memory of the servers, MiB':<58} {seen.most_memory / 2**20:>9.1f}")
    print("\nwhat is left: after the warm-up, and in the end")
    print(f"  {'process':<12}{'memory, MiB':>18}{'files':>12}{'threads':>12}{'tasks':>10}")
    for name, before, after in rows:
        memory = " ".join(f"{one['memory'] / 2**20:.1f}" for one in (before, after))
        pairs = [f"{before[what]} {after[what]}" for what in ("files", "threads", "tasks")]
        print(f"  {name:<12}{memory:>18}{pairs[0]:>12}{pairs[1]:>12}{pairs[2]:>10}")


@contextlib.asynccontextmanager
async def _children() -> AsyncIterator[list[Child]]:
    children = [await Child.start(name) for name in CHILDREN]
    try:
        yield children
    finally:
        for child in children:
            await child.end()


def _tasks() -> int:
    return len(asyncio.all_tasks())


async def main(seconds: float) -> int:
    """Run the soak; give how many things are wrong."""
    logging.getLogger("siptls").setLevel(logging.CRITICAL)  # refusals and ends by the thousand
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with _children() as children:
        warm_up = min(WARM_UP, max(10.0, seconds / 4))
        print(f"warming up for {warm_up:.0f} s", flush=True)
        first, told = await round_of(warm_up, children, stopped)
        wrong = first.wrong
        before = {"servers": measure(_tasks())} | {name: one["left"] for name, one in told.items()}
        if stopped.is_set():
            print("ended before the soak began")
            return len(wrong)
        print(f"soaking for {seconds:.0f} s", flush=True)
        begun = time.monotonic()
        seen, told = await round_of(seconds, children, stopped)
        took = time.monotonic() - begun
        after = {"servers": settled(before["servers"], _tasks())}
        after |= {name: one["left"] for name, one in told.items()}
    wrong += seen.wrong + compared(seen.done)
    for name in before:
        wrong += differences(name, before[name], after[name])
    show(seen, took, [(name, before[name], after[name]) for name in before])
    print()
    for sentence in wrong[:40]:
        print(f"WRONG: {sentence}")
    if wrong:
        print(f"{len(wrong)} WRONG: something was lost, or is left behind")
    else:
        print("nothing was lost, and nothing is left behind")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main(*map(float, sys.argv[1:2] or [SECONDS]))) else 0)
