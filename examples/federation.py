"""A federation, as a program that you can run: ``python examples/federation.py [SECONDS]``.

contoso.com federates with two partners, and with whoever can prove a name. Each is a real server on
127.0.0.1 with a certificate of its own:

    fabrikam.com  is listed, with a CA of its own.
    litware.com   is listed; its edge is at a hoster, and the public CA vouches for that.
    stranger.org  is not listed: the public CA vouches for its name, and DNS names its edge.
    forger.org    has a certificate of Fabrikam's CA, which may not vouch for it.
    hidden.org    has proven its name, and DNS knows nothing of it.

Behind contoso's edge is a home server. It takes no messages but from its own trusted servers, and
the edge may speak for partners only. So a partner's user is challenged nowhere after the first hop,
and of the identities that are asserted (RFC 3325) only those of partners cross the edge.

Then the stranger floods the edge, for so many seconds. It exits with 1 if anyone may do what he
must not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence

from siptls import (
    Authority,
    Connection,
    Credential,
    Decision,
    EdgeDiscovery,
    Enterprise,
    Federation,
    Message,
    MTLSServerTransport,
    Partner,
    SIPTLSError,
    StaticResolver,
    TLSClientTransport,
    TrafficLimits,
    Trust,
    TrustedServers,
)
from siptls.testing import CertificateAuthority, pem

CONTOSO_CA = CertificateAuthority("Contoso Enterprise CA")
FABRIKAM_CA = CertificateAuthority("Fabrikam CA")
PUBLIC_CA = CertificateAuthority("Public CA")

OURS = Enterprise(["contoso.com"], CONTOSO_CA.authority())
LIMITS = TrafficLimits(messages_per_second=20, burst=20)  # what OCS 2007 gives a stranger
FEDERATION = Federation.discovering(
    [
        Partner(["fabrikam.com"], FABRIKAM_CA.authority()),
        Partner(["litware.com"], PUBLIC_CA.authority(), edge="edge.hoster.net"),
    ],
    PUBLIC_CA.authority(),
    own=["contoso.com"],
    limits=LIMITS,
    blocked=["evil.example"],
)
SERVERS = TrustedServers(
    ["edge.contoso.com", "home.contoso.com"],
    relays={"edge.contoso.com": ["fabrikam.com", "litware.com"]},
)
# It stands for DNS: it says where an edge is, and never who.
DNS = StaticResolver({"_sipfederationtls._tcp.stranger.org": ["127.0.0.1"]})

# Whoever calls, with what he shows: a domain, and its certificate.
CALLERS: dict[str, Credential] = {
    "fabrikam.com": FABRIKAM_CA.issue("sip:fabrikam.com"),
    "litware.com": PUBLIC_CA.issue("edge.hoster.net"),
    "stranger.org": PUBLIC_CA.issue("sip:stranger.org"),
    "forger.org": FABRIKAM_CA.issue("sip:forger.org"),
    "hidden.org": PUBLIC_CA.issue("sip:hidden.org"),
}
SECONDS = 5.0  # of the flood, and of the quiet before it

_numbers = itertools.count(1)


def options(sender: str, *, asserts: str | None = None) -> bytes:
    """Give a request of a user of a domain, which may assert who the user is (RFC 3325)."""
    number = next(_numbers)
    asserted = f"P-Asserted-Identity: <sip:anna@{asserts}>\r\n" if asserts else ""
    return (
        f"OPTIONS sip:bob@contoso.com SIP/2.0\r\n"
        f"Via: SIP/2.0/TLS {sender};branch=z9hG4bK{number}\r\n"
        f"From: <sip:anna@{sender}>;tag=a\r\nTo: <sip:bob@contoso.com>\r\n{asserted}"
        f"Call-ID: {number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


# ---------------------------------------------------------------- contoso


class Home:
    """A home server of ours: it believes the edge, and what the edge may say."""

    def __init__(self) -> None:
        self.asserted: list[str | None] = []
        self.server = MTLSServerTransport(
            CONTOSO_CA.issue("sip:contoso.com", "home.contoso.com"),
            OURS & SERVERS,
            on_message=self.take,
            authorize=True,
        )

    def take(self, connection: Connection, message: Message) -> None:
        """Answer: whom our edge may speak for is challenged no more."""
        self.asserted.append(message.header("P-Asserted-Identity"))
        connection.send_nowait(answer_to(message))


class Edge:
    """Our edge: it takes those of the federation, and relays partners to the home server."""

    def __init__(self, home: MTLSServerTransport) -> None:
        self.refused: list[Decision] = []
        self.delivered: list[float] = []
        self._turn = asyncio.Lock()
        self._inside = TLSClientTransport(
            OURS,
            credential=CONTOSO_CA.issue("edge.contoso.com"),
            resolver=StaticResolver({"contoso.com": home.addresses}),
        )
        self.server = MTLSServerTransport(
            CONTOSO_CA.issue("sip:contoso.com", "edge.contoso.com"),
            FEDERATION,
            self.handle,
            authorize=True,
            admit=EdgeDiscovery(DNS),
            on_refused=lambda decision, _: self.refused.append(decision),
        )

    async def handle(self, connection: Connection) -> None:
        """Answer what must not be said; relay what partners say, and answer strangers ourselves."""
        assert connection.peer is not None
        async for message in connection:
            if connection.peer.trust is Trust.DISCOVERED:
                self.delivered.append(time.monotonic())
            answer = answer_to(message)
            if answer.status == 200 and connection.peer.trust is Trust.FEDERATED:  # noqa: PLR2004
                answer = await self._relay(message)
            await connection.send(answer)

    async def _relay(self, message: Message) -> Message:
        async with self._turn:  # this example sends one request at a time, so that answers fit
            inside = await self._inside.connect("sip:contoso.com")  # the one that is open, if any
            await inside.send(message)
            return await inside.receive()

    async def aclose(self) -> None:
        """Close both sides."""
        await self.server.aclose()
        await self._inside.aclose()


def answer_to(message: Message) -> Message:
    """Give 403 for a sender that the peer may not speak for, else 200."""
    allowed = message.decision is not None and message.decision.accepted
    answer = message.reply(200, "OK") if allowed else message.forbid()
    assert answer is not None
    return answer


# ---------------------------------------------------------------- who may do what


@contextlib.asynccontextmanager
async def calling(domain: str, server: MTLSServerTransport) -> AsyncIterator[Connection]:
    """Open a connection to a server of ours with the certificate of a caller."""
    host, port = server.addresses[0]
    async with TLSClientTransport(OURS, credential=CALLERS[domain]) as transport:
        yield await transport.connect("sip:contoso.com", host=host, port=port)


async def ask(connection: Connection, request: bytes) -> str:
    """Send a request, and give the start of its answer, or how it ended."""
    try:
        await connection.send(request)
        answer = await connection.receive()
    except SIPTLSError:
        return "no connection"
    _, _, why = (answer.header("Warning") or "").partition("siptls ")
    return f"{answer.status} ({why.strip(chr(34))})" if why else f"{answer.status}"


class Table:
    """What was tried, what came of it, and whether that is as it must be."""

    def __init__(self) -> None:
        self.wrong = 0

    def row(self, what: str, found: str, expected: str) -> None:
        """Print a line."""
        good = found == expected
        self.wrong += not good
        print(f"  {what:<58} {found}{'' if good else f'   WRONG, expected {expected}'}")


async def may(table: Table, edge: Edge, home: Home) -> None:
    """Show who may come in, and in whose name he may speak."""
    not_authorized = "403 (sender.not-authorized)"
    for caller, sender, expected in [
        ("fabrikam.com", "fabrikam.com", "200"),
        ("fabrikam.com", "litware.com", not_authorized),
        ("fabrikam.com", "contoso.com", not_authorized),
        ("litware.com", "litware.com", "200"),
        ("litware.com", "edge.hoster.net", not_authorized),
        ("stranger.org", "stranger.org", "200"),
        ("stranger.org", "fabrikam.com", not_authorized),
        ("stranger.org", "evil.example", "403 (partner.blocked)"),
        ("forger.org", "forger.org", "no connection"),
        ("hidden.org", "hidden.org", "no connection"),
    ]:
        async with calling(caller, edge.server) as connection:
            found = await ask(connection, options(sender))
        table.row(f"{caller} says: From anna@{sender}", found, expected)
    async with calling("fabrikam.com", edge.server) as connection:
        found = await ask(connection, options("fabrikam.com", asserts="fabrikam.com"))
        crossed = home.asserted[-1] == "<sip:anna@fabrikam.com>"
        table.row("fabrikam.com asserts its own user", found, "200" if crossed else "crossed")
        found = await ask(connection, options("fabrikam.com", asserts="contoso.com"))
        table.row("fabrikam.com asserts a user of ours", found, not_authorized)
    codes = sorted(decision.code for decision in edge.refused)
    table.row("refused", ", ".join(codes), "name.out-of-scope, partner.undiscovered")


# ---------------------------------------------------------------- the flood


async def latencies(connection: Connection, seconds: float) -> list[float]:
    """Ask again and again for a while, and give how long each answer took, in milliseconds."""
    taken, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        await ask(connection, options("fabrikam.com"))
        taken.append((time.perf_counter() - begin) * 1e3)
        await asyncio.sleep(0.005)
    return taken


@contextlib.asynccontextmanager
async def pouring(port: int) -> AsyncIterator[None]:
    """Let the stranger flood our edge from a process of his own: it is to cost him, not us."""
    program = [sys.executable, __file__, "--pour", str(port)]
    stranger = await asyncio.create_subprocess_exec(*program, stdin=asyncio.subprocess.PIPE)
    assert stranger.stdin is not None
    stranger.stdin.write(pem(CALLERS["stranger.org"]) + b"\0" + CONTOSO_CA.pem)
    stranger.stdin.close()
    try:
        yield
    finally:
        stranger.terminate()
        await stranger.wait()


async def pour(port: int, shown: bytes, ca: bytes) -> None:
    """Send as fast as the edge reads, and look at no answer."""
    ours = Enterprise(["contoso.com"], Authority.from_pem("Contoso Enterprise CA", ca))
    async with TLSClientTransport(ours, credential=Credential.from_pem(shown)) as transport:
        connection = await transport.connect("sip:contoso.com", host="127.0.0.1", port=port)

        async def drain() -> None:
            async for _ in connection:
                pass

        draining = asyncio.create_task(drain())
        while not draining.done():
            await connection.send(options("stranger.org"))


def p99(values: Sequence[float]) -> float:
    """The value below which 99 of 100 are."""
    return statistics.quantiles(values, n=100)[98]


async def flood(table: Table, edge: Edge, seconds: float) -> None:
    """Let the stranger flood the edge, while a partner goes on."""
    async with calling("fabrikam.com", edge.server) as partner:
        idle = await latencies(partner, seconds)
        edge.delivered.clear()
        begin = time.monotonic()
        async with pouring(edge.server.addresses[0][1]):
            while not edge.delivered:  # noqa: ASYNC110  an event would be one more thing to read
                await asyncio.sleep(0.01)
            busy = await latencies(partner, seconds)
    times = [at - begin for at in edge.delivered]
    first = sum(at < times[0] + 1 for at in times)
    print(f"  the stranger: {first} messages in the first second, and")
    print(f"  {(len(times) - first) / (times[-1] - times[0] - 1):.1f} in each after it")
    most = LIMITS.burst + LIMITS.messages_per_second * times[-1]
    found = "no more than it may" if len(times) <= most else f"{len(times)} in {times[-1]:.2f} s"
    table.row("  in all", found, "no more than it may")
    print(
        f"  the partner's p99: {p99(idle):.2f} ms before, {p99(busy):.2f} ms meanwhile"
        f" (x{p99(busy) / p99(idle):.2f}; {len(idle)} and {len(busy)} messages)"
    )


async def main(seconds: float = SECONDS) -> int:
    """Run it all; give how many things are not as they must be."""
    logging.getLogger("siptls").setLevel(logging.ERROR)  # refusals are shown below
    table, home = Table(), Home()
    async with home.server:
        await home.server.listen("127.0.0.1", 0)
        edge = Edge(home.server)
        try:
            await edge.server.listen("127.0.0.1", 0)
            print("who may do what")
            await may(table, edge, home)
            print(f"\nthe stranger floods the edge for {seconds:g} s")
            await flood(table, edge, seconds)
            print("\nwhat the edge has seen (server.traffic.report)")
            for peer in edge.server.traffic.report(time.monotonic()).peers:
                print(f"  {', '.join(peer.names)}: {peer.trust}, {peer.messages} messages,")
                print(f"      for {', '.join(peer.domains) or 'nobody'}, {peer.state}")
                for code, times in peer.refusals.items():
                    print(f"      refused: {code}, {times} times")
        finally:
            await edge.aclose()
    print("\neverything is as it must be" if not table.wrong else f"\n{table.wrong} WRONG")
    return table.wrong


if __name__ == "__main__":
    if sys.argv[1:2] == ["--pour"]:
        certificate, _, ca = sys.stdin.buffer.read().partition(b"\0")
        asyncio.run(pour(int(sys.argv[2]), certificate, ca))
    sys.exit(1 if asyncio.run(main(*map(float, sys.argv[1:2]))) else 0)
