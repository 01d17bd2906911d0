"""Connections that live while the policy changes: 1 000 of them, 20 updates a second, for 30 s.

Ten partners have a hundred connections each, and send numbered messages over all of them. Every
update puts another policy in force, by which they are all judged again. In the end one partner is
removed. Printed is what was lost or repeated, how long the removed partner's connections lasted,
and how long the answers took, without updates and with them.

``python benchmarks/updates.py [connections] [seconds]``
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import resource
import statistics
import sys
import time

from siptls import (
    AnyDomain,
    Connection,
    ConnectionClosedError,
    Federation,
    MTLSServerTransport,
    Partner,
    TLSClientTransport,
)
from siptls.testing import CertificateAuthority

PARTNERS, UPDATES = 10, 20
EACH = 1.0  # seconds from one message of a connection to its next

CAS = [CertificateAuthority(f"CA {n}", seed="bench") for n in range(PARTNERS)]
OURS = CertificateAuthority("Our CA", seed="bench")
HEAD = b"MESSAGE sip:us.example SIP/2.0\r\nCSeq: %d MESSAGE\r\nContent-Length: 0\r\n\r\n"


def policy(partners: int) -> Federation:
    """Give a policy that believes the first of them."""
    return Federation([Partner([f"p{n}.example"], CAS[n].authority()) for n in range(partners)])


class Partners:
    """All connections, seen from the other side."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.faults = 0
        self.ended: dict[int, list[float]] = {}
        self.heard: dict[str, float] = {}

    async def talk(self, connection: Connection, start: float) -> None:
        """Send numbered messages, and look whether each is answered, once and in order."""
        await asyncio.sleep(start)
        try:
            for number in itertools.count():
                sent = time.perf_counter()
                await connection.send(HEAD % number)
                answer = await connection.receive()
                self.waits.append(time.perf_counter() - sent)
                self.faults += (answer.header("CSeq") or "").split()[0] != str(number)
                await asyncio.sleep(EACH)
        except ConnectionClosedError:
            return  # `watch` sees it

    async def watch(self, partner: int, connection: Connection) -> None:
        """Note when a connection ends."""
        await connection.wait_closed()
        self.ended.setdefault(partner, []).append(time.perf_counter())


def update_on(server: MTLSServerTransport, end: float) -> int:
    """Update the server at a steady pace until the end, in a thread of its own; give how often."""
    begun = time.perf_counter()
    for number in itertools.count():
        due = begun + number / UPDATES
        if due >= end:
            return number
        time.sleep(max(0.0, due - time.perf_counter()))
        server.update(policy=policy(PARTNERS))
    raise AssertionError


async def main(connections: int, seconds: float) -> int:
    """Run it; the exit status says whether all was well."""
    partners = Partners()

    async def answer(connection: Connection) -> None:
        async for message in connection:
            assert connection.peer is not None
            (domain,) = connection.peer.domains
            partners.heard[domain] = time.perf_counter()
            await connection.send(message.reply(200, "OK"))

    server = MTLSServerTransport(OURS.issue("sip:us.example"), policy(PARTNERS), answer)
    clients = [
        TLSClientTransport(
            AnyDomain(OURS.authority()), credential=ca.issue(f"sip:p{number}.example")
        )
        for number, ca in enumerate(CAS)
    ]
    async with server:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        tasks = []
        for number in range(connections):
            partner = number % PARTNERS
            connection = await clients[partner].connect("us.example", host=host, port=port)
            start = EACH * number / connections
            tasks.append(asyncio.create_task(partners.talk(connection, start)))
            tasks.append(asyncio.create_task(partners.watch(partner, connection)))
        await asyncio.sleep(max(1.0, seconds / 3))
        quiet, partners.waits = partners.waits, []
        end = time.perf_counter() + seconds
        updates = await asyncio.to_thread(update_on, server, end)
        busy = partners.waits
        lost_too_early = sum(map(len, partners.ended.values()))
        removed = time.perf_counter()
        server.update(policy=policy(PARTNERS - 1))
        await asyncio.sleep(1.5)
        gone = partners.ended.get(PARTNERS - 1, [])
        last = max(gone, default=removed) - removed
        after = partners.heard[f"p{PARTNERS - 1}.example"] - removed
        others = sum(len(ends) for who, ends in partners.ended.items() if who != PARTNERS - 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(client.aclose() for client in clients))
    print(f"{connections} connections, {updates} updates in {seconds:g} s, {len(busy)} messages")
    print(f"lost, repeated or out of order: {partners.faults}; cut off: {lost_too_early + others}")
    print(
        f"the removed partner: {len(gone)} of {connections // PARTNERS} connections closed,"
        f" the last after {last * 1000:.0f} ms; its last message delivered"
        f" {abs(after) * 1000:.0f} ms {'AFTER' if after > 0 else 'before'} the update"
    )
    for what, waits in (("without updates", quiet), ("with updates", busy)):
        waits.sort()
        print(
            f"answers {what}: median {statistics.median(waits) * 1000:.1f} ms,"
            f" 99 % within {waits[int(len(waits) * 0.99)] * 1000:.0f} ms"
        )
    well = not partners.faults and not lost_too_early and not others
    return 0 if well and len(gone) == connections // PARTNERS and last < 1 and after <= 0 else 1


if __name__ == "__main__":
    logging.getLogger("siptls").addHandler(logging.NullHandler())
    logging.getLogger("siptls").propagate = False
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    given = dict(enumerate(sys.argv[1:]))
    sys.exit(asyncio.run(main(int(given.get(0, 1000)), float(given.get(1, 30)))))
