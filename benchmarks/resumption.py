"""What a resumed handshake costs beside a full one, mutual and with the policy asked in both.

Both ends are in this process, over loopback, in turn (A B A B ...). Printed are the median of each,
and the median and range of the ratio within a pair, per CPU second of this process.

``python benchmarks/resumption.py``
"""

from __future__ import annotations

import asyncio
import statistics
import time

from siptls import AnyDomain, Connection, MTLSServerTransport, TLSClientTransport
from siptls.testing import CertificateAuthority

ROUNDS, HANDSHAKES = 21, 25
MESSAGE = b"OPTIONS sip:us.example SIP/2.0\r\nContent-Length: 0\r\n\r\n"


async def answer(connection: Connection) -> None:
    """Answer one message."""
    await connection.send(MESSAGE)
    await connection.wait_closed()


async def seconds(client: TLSClientTransport, server: MTLSServerTransport) -> float:
    """CPU seconds of one connection, message and close."""
    host, port = server.addresses[0]
    start = time.process_time()
    for _ in range(HANDSHAKES):
        connection = await client.connect("us.example", host=host, port=port)
        await connection.receive()
        await connection.aclose()
    return (time.process_time() - start) / HANDSHAKES


async def main() -> None:
    """Run and print."""
    ca = CertificateAuthority("CA", seed="bench")
    policy, ours = AnyDomain(ca.authority()), ca.issue("sip:us.example")
    server = MTLSServerTransport(ours, policy, answer, resume=True)
    full = TLSClientTransport(policy, credential=ours)
    short = TLSClientTransport(policy, credential=ours, resume=True)
    async with server, full, short:
        await server.listen("127.0.0.1", 0)
        for client in (full, short):
            await seconds(client, server)
        pairs = [(await seconds(full, server), await seconds(short, server)) for _ in range(ROUNDS)]
    ratios = sorted(a / b for a, b in pairs)
    for name, times in zip(("full", "resumed"), zip(*pairs, strict=True), strict=True):
        print(f"{name}: {statistics.median(times) * 1e6:.0f} us of CPU on both sides")
    print(f"full / resumed: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    asyncio.run(main())
