"""Clients of the soak: 500 connections of ten partners that come and go, and who is refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from rounds import Ports, Report, obey
from world import (
    BLOCKED,
    FICKLE,
    OURS,
    PARTNERS,
    STRANGER,
    Said,
    believes_us,
    credential_of,
)

from siptls import (
    Backoff,
    Connection,
    ConnectionClosedError,
    Credential,
    Limits,
    RefusedByPeerError,
    SIPTLSError,
    TLSClientTransport,
)

SLOTS = 500
MOST_MESSAGES, PAUSE = 40, 0.3  # of a conversation; seconds between two of its messages
UPDATE_EVERY, REFUSED_EVERY = 0.7, 0.1
LIMITS = Limits(handshake_timeout=60, connect_timeout=60, reach_timeout=120, close_timeout=30)
QUICK = Backoff(base=0.2, longest=1)

# Whoever is refused, with the code that the servers have to give.
REFUSED: dict[str, Callable[[], Credential | None]] = {
    "partner.unknown": lambda: STRANGER.issue("sip:nobody.example"),
    "name.out-of-scope": lambda: PARTNERS["p1.example"].issue("sip:p2.example", "sip:p3.example"),
    "partner.blocked": lambda: PARTNERS["p0.example"].issue(f"sip:{BLOCKED}"),
    "certificate.missing": lambda: None,
}


class Clients:
    """Everything that one round does."""

    def __init__(self, ports: Ports, report: Report) -> None:
        self._ports = ports
        self._done, self._wrong = report.done, report.wrong
        self._stop = asyncio.Event()
        self._transports = {
            name: TLSClientTransport(
                believes_us(),
                credential=credential_of(name),
                limits=LIMITS,
                resume=number % 2 == 0,
                keep_alive=2.0 if number % 3 == 0 else None,
            )
            for number, name in enumerate(PARTNERS)
        }

    async def run(self) -> None:
        """Work until standard input is readable."""
        asyncio.get_running_loop().add_reader(0, self._end)
        works: list[Coroutine[Any, Any, None]] = [self._slot(number) for number in range(SLOTS)]
        works += [self._kept(name) for name in ("p0.example", FICKLE)]
        works += [self._updates(), self._refused()]
        try:
            async with asyncio.TaskGroup() as group:
                for work in works:
                    group.create_task(work)
        finally:
            for transport in self._transports.values():
                await transport.aclose()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            self._wrong.append(f"a client: tasks are left: {left}")

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(0)
        self._stop.set()

    async def _pause(self, mean: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), random.expovariate(1 / mean))
        except TimeoutError:
            return

    # ------------------------------------------------------------ conversations

    async def _slot(self, number: int) -> None:
        """Have one conversation after the other."""
        name = list(PARTNERS)[number % len(PARTNERS)]
        port = self._ports.handler if number // len(PARTNERS) % 2 else self._ports.on_message
        await self._pause(PAUSE * MOST_MESSAGES / 4)
        while not self._stop.is_set():
            try:
                connection = await self._transports[name].connect(
                    OURS, host="127.0.0.1", port=port, reuse=False
                )
                self._done["connections"] += 1
                assert connection.tls is not None
                self._done["sessions resumed"] += connection.tls.resumed
                await self._talk(name, connection)
            except (ConnectionClosedError, RefusedByPeerError) as error:
                if name != FICKLE:
                    self._wrong.append(f"{name}: a healthy connection ended: {error!r}")
                self._done["ended by an update of the policy"] += 1
                await self._pause(1)
            except SIPTLSError as error:
                self._wrong.append(f"{name}: {error!r}")

    async def _talk(self, name: str, connection: Connection) -> None:
        said = Said(name, self._wrong, messages=random.randrange(1, MOST_MESSAGES))  # noqa: S311
        speaking = asyncio.create_task(self._speak(connection, said))
        try:
            while not said.is_whole:
                said.heard.check(await connection.receive())
            self._done["conversations finished"] += 1
            self._done["messages sent"] += said.sent
        finally:
            speaking.cancel()
            await asyncio.wait([speaking])
            await connection.aclose()

    async def _speak(self, connection: Connection, said: Said) -> None:
        while (message := said.next(hurry=self._stop.is_set())) is not None:
            try:
                await connection.send(message)
            except SIPTLSError:
                return  # whoever receives is told, too
            await self._pause(PAUSE)

    async def _kept(self, name: str) -> None:
        """Keep a connection, and ping over it."""
        transport = self._transports[name]
        kept = transport.keep(OURS, host="127.0.0.1", port=self._ports.handler, backoff=QUICK)
        while not self._stop.is_set():
            try:
                connection = await asyncio.wait_for(kept.connected(), 1)
                await connection.ping()
                self._done["pings over kept connections"] += 1
            except TimeoutError:
                continue
            except SIPTLSError as error:
                if name != FICKLE:
                    self._wrong.append(f"{name}: a kept connection ended: {error!r}")
            await self._pause(PAUSE)
        await kept.aclose()

    # ------------------------------------------------------------ what happens besides

    async def _updates(self) -> None:
        """Renew the credentials and the policies of the clients."""
        while not self._stop.is_set():
            name = random.choice(list(PARTNERS))  # noqa: S311  no secret
            if random.random() < 0.5:  # noqa: S311, PLR2004
                self._transports[name].update(credential=credential_of(name))
            else:
                self._transports[name].update(policy=believes_us())
            self._done["updates of clients"] += 1
            await self._pause(UPDATE_EVERY)

    async def _refused(self) -> None:
        """Come as somebody who is to be refused, again and again."""
        shown = {code: make() for code, make in REFUSED.items()}
        while not self._stop.is_set():
            code = random.choice(list(REFUSED))  # noqa: S311  no secret
            port = random.choice((self._ports.handler, self._ports.blocking))  # noqa: S311
            async with TLSClientTransport(
                believes_us(), credential=shown[code], limits=LIMITS
            ) as transport:
                try:
                    connection = await transport.connect(OURS, host="127.0.0.1", port=port)
                    await connection.receive()
                    self._wrong.append(f"{code}: was let in")
                except RefusedByPeerError:
                    self._done[f"refused: {code}"] += 1
                except SIPTLSError as error:
                    self._wrong.append(f"{code}: was not refused, but {error!r}")
            await self._pause(REFUSED_EVERY)


def work(ports: Ports, report: Report) -> None:
    """Do one round."""
    asyncio.run(_run(ports, report))


async def _run(ports: Ports, report: Report) -> None:
    await Clients(ports, report).run()


if __name__ == "__main__":
    obey(work)
