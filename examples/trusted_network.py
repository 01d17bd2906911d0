"""The network of trusted servers, as a program that you can run: ``make demo``.

Two companies, each with a CA of its own. Every box below is a real listener on 127.0.0.1. Clients
reach their home server over TLS; servers reach each other over MTLS; the edges of the two
companies federate. Messages go from one end to the other and back. Then impostors of every kind
try to get in, and each is refused with an explanation.

It exits with 1 if anyone gets in who must not, or if anyone is refused who must not be.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import itertools
import logging
import re
import sys

from attrs import define, field

from siptls import (
    Alert,
    Connection,
    Credential,
    Decision,
    Enterprise,
    Federation,
    Message,
    MTLSServerTransport,
    Partner,
    PeerRefusedError,
    ReferenceIdentity,
    RefusedByPeerError,
    ResolutionError,
    SIPTLSError,
    Target,
    TLSClientTransport,
    TLSServerTransport,
    Trust,
    TrustedServers,
    TrustPolicy,
)
from siptls.testing import CertificateAuthority

MAP = """
        contoso.com (Contoso Enterprise CA)         :        fabrikam.com (Fabrikam CA)
                                                    :
  alice ---TLS--- home1 ---MTLS---+                 :
                    |             |                 :
                   MTLS          edge ====MTLS======:======= edge ---MTLS--- home ---TLS--- bob
                    |             |            federation
  carol ---TLS--- home2 ---MTLS---+                 :
"""

# ---------------------------------------------------------------- where things are


class Directory:
    """Says where each server listens. It stands for DNS: it says where, never who."""

    def __init__(self) -> None:
        self.places: dict[str, tuple[str, int]] = {}

    async def resolve(
        self, reference: ReferenceIdentity, *, service: str | None = None, port: int | None = None
    ) -> list[Target]:
        """Give the place of a name: see `siptls.Resolver`."""
        del service
        try:
            address, known_port = self.places[reference.domain]
        except KeyError:
            raise ResolutionError(f"the directory has no {reference.domain}") from None
        return [Target(address, port or known_port, host=None, reference=reference)]


# ---------------------------------------------------------------- what is said

_URI = re.compile(r"sips?:(?P<user>[^@;>]+)@(?P<domain>[^:;>\s]+)")


def uri_of(text: str | None) -> tuple[str, str]:
    """Give user and domain of the SIP URI in a text."""
    found = _URI.search(text or "")
    return (found["user"], found["domain"]) if found else ("", "")


def push_via(message: Message, server: str, branch: int) -> bytes:
    """Add our Via on top, so that the response finds its way back to us."""
    via = f"\r\nVia: SIP/2.0/TLS {server};branch=z9hG4bK{branch}\r\n".encode()
    return message.data.replace(b"\r\n", via, 1)


def pop_via(message: Message) -> tuple[int, bytes]:
    """Take our Via off a response: give its branch, and the bytes without it."""
    branch = int((message.header("Via") or "").rsplit("z9hG4bK", 1)[-1])
    return branch, re.sub(rb"\r\nVia: [^\r]*", b"", message.data, count=1)


def digest(user: str, password: str, nonce: str) -> str:
    """A password's proof (in the spirit of RFC 8760, SHA-256)."""
    return hashlib.sha256(f"{user}:{password}:{nonce}".encode()).hexdigest()


class Log:
    """What happened in the network, for the show."""

    def __init__(self) -> None:
        self.hops: list[tuple[str, str, Connection]] = []  # caller, called, the caller's end
        self.challenges: list[str] = []

    def print(self, accepted: list[Connection]) -> None:
        """Print every hop: who was proven, by which CA, under which TLS."""
        ends = {connection.remote_address: connection for connection in accepted}
        for caller, called, outbound in self.hops:
            tls = outbound.tls
            assert tls is not None
            print(f"  {caller} -> {called}   {tls.version}, {tls.cipher}, {tls.group}")
            print(f"      the server proved {proven(outbound)}")
            print(f"      the client proved {proven(ends[outbound.local_address])}")


def proven(connection: Connection) -> str:
    """Say who a connection's other end is, and who says so."""
    peer = connection.peer
    if peer is None:
        return "nothing by certificate; it answers one password challenge, here at the first hop"
    names = ", ".join(sorted(peer.domains))
    return f"{names}   ({peer.trust} trust, by {peer.names[0].authority})"


# ---------------------------------------------------------------- a server


class Server:
    """A small SIP proxy. Whom it trusts is a policy; all that it knows of TLS is in these lines."""

    def __init__(  # noqa: PLR0913  a server's whole configuration
        self,
        name: str,
        domain: str,
        credential: Credential,
        policy: TrustPolicy,
        *,
        directory: Directory,
        log: Log,
        homes: dict[str, str],
        edge: str,
    ) -> None:
        self.name, self.domain, self.log, self.homes, self.edge = name, domain, log, homes, edge
        self.directory = directory
        self.refusals: list[Decision] = []
        self.accepted: list[Connection] = []
        self.users: dict[str, Connection] = {}
        self.passwords: dict[str, str] = {}
        self.links: dict[str, Connection] = {}
        self.readers: set[asyncio.Task[None]] = set()
        self.waiting: dict[int, Connection] = {}
        self.branches = itertools.count(1)
        self.for_clients = TLSServerTransport(credential, self.serve_client)
        self.for_servers = MTLSServerTransport(
            credential,
            policy,
            self.serve_server,
            on_refused=lambda decision, _: self.refusals.append(decision),
        )
        self.outbound = TLSClientTransport(policy, credential=credential, resolver=directory)

    async def start(self) -> None:
        """Listen, for clients and for servers."""
        await self.for_clients.listen("127.0.0.1", 0)
        await self.for_servers.listen("127.0.0.1", 0)
        self.directory.places[self.name] = self.for_servers.addresses[0]

    async def stop(self) -> None:
        """Close everything."""
        await asyncio.gather(
            self.outbound.aclose(), self.for_servers.aclose(), self.for_clients.aclose()
        )
        await asyncio.gather(*self.readers)

    # ------------------------------------------------------------ what comes in

    async def serve_client(self, connection: Connection) -> None:
        """Challenge a client once. From then on its connection is trusted for its user."""
        self.accepted.append(connection)
        trusted_user = ""
        async for message in connection:
            sender, domain = uri_of(message.header("From"))
            if message.method == "REGISTER" and domain == self.domain:
                trusted_user = await self.register(connection, message, sender) or trusted_user
            elif not message.is_request:
                await self.respond(message)
            elif sender and sender == trusted_user and domain == self.domain:
                await self.forward(connection, message)
            else:
                await connection.send(message.reply(403, "That Is Not Who You Are"))

    async def register(self, connection: Connection, message: Message, user: str) -> str:
        """Ask for the password; give the user if it was right."""
        nonce = hashlib.sha256(f"{self.name}{message.header('Call-ID')}".encode()).hexdigest()
        answer = message.header("Authorization")
        if answer is None:
            self.log.challenges.append(f"{self.name} challenged {user}@{self.domain}")
            challenge = f"WWW-Authenticate: {nonce}\r\n"
            await connection.send(message.reply(401, "Unauthorized", header=challenge))
            return ""
        if answer != digest(user, self.passwords[user], nonce):
            await connection.send(message.reply(403, "Forbidden"))
            return ""
        self.users[user] = connection
        await connection.send(message.reply(200, "OK"))
        return user

    async def serve_server(self, connection: Connection) -> None:
        """Take messages of a server that has proven itself: nobody is challenged again."""
        self.accepted.append(connection)
        await self.read_server(connection)

    async def read_server(self, connection: Connection) -> None:
        """Take messages from a server: a partner may speak for the domains that it has proven."""
        async for message in connection:
            if not message.is_request:
                await self.respond(message)
                continue
            peer = connection.peer
            assert peer is not None
            _, domain = uri_of(message.header("From"))
            if peer.trust is Trust.FEDERATED and not (decision := peer.speaks_for(domain)):
                self.refusals.append(decision)
                await connection.send(message.reply(403, "Not Your Domain"))
            else:
                await self.forward(connection, message)

    # ------------------------------------------------------------ what goes out

    async def forward(self, came_from: Connection, message: Message) -> None:
        """Send a request on: to its user, to the user's home server, or to the edge."""
        user, domain = uri_of(message.start_line)
        try:
            if domain == self.domain and user in self.users:
                next_hop = self.users[user]
            elif domain == self.domain:
                next_hop = await self.link(self.homes[user])
            elif self.name == self.edge:
                next_hop = await self.link(domain)
            else:
                next_hop = await self.link(self.edge)
        except (SIPTLSError, KeyError):
            await came_from.send(message.reply(404, "Not Found"))
            return
        branch = next(self.branches)
        self.waiting[branch] = came_from
        await next_hop.send(push_via(message, self.name, branch))

    async def respond(self, message: Message) -> None:
        """Send a response back to where its request came from."""
        branch, data = pop_via(message)
        await self.waiting.pop(branch).send(data)

    async def link(self, name: str) -> Connection:
        """Give our connection to a server, or to a partner's edge; open it if there is none."""
        if name not in self.links:
            connection = await self.outbound.connect(name)
            self.log.hops.append((self.name, name, connection))
            self.links[name] = connection
            self.readers.add(asyncio.create_task(self.read_server(connection)))
        return self.links[name]


# ---------------------------------------------------------------- a client


@define
class Phone:
    """A client: it knows its domain, its password, and the policy that says whom to believe."""

    user: str
    domain: str
    transport: TLSClientTransport
    log: Log
    inbox: list[bytes] = field(factory=list)
    numbers: itertools.count[int] = field(factory=lambda: itertools.count(1))
    answers: asyncio.Queue[Message] = field(factory=asyncio.Queue)
    connection: Connection | None = None
    reader: asyncio.Task[None] | None = None

    async def sign_in(self, server: Server, password: str) -> None:
        """Connect to the home server: it must prove our *domain*, wherever it is."""
        host, port = server.for_clients.addresses[0]
        connection = await self.transport.connect(f"sip:{self.domain}", host=host, port=port)
        self.log.hops.append((f"{self.user}@{self.domain}", server.name, connection))
        self.begin(connection)
        answer = await self.ask("REGISTER", f"sip:{self.domain}")
        nonce = answer.header("WWW-Authenticate") or ""
        proof = f"Authorization: {digest(self.user, password, nonce)}\r\n"
        answer = await self.ask("REGISTER", f"sip:{self.domain}", header=proof)
        assert answer.status == 200, answer.start_line  # noqa: PLR2004

    def begin(self, connection: Connection) -> None:
        """Take what comes over a connection, in the background."""
        self.connection = connection
        self.reader = asyncio.create_task(self.read(connection))

    async def ask(self, method: str, uri: str, body: bytes = b"", header: str = "") -> Message:
        """Send a request, and give the final response."""
        assert self.connection is not None
        me = f"<sip:{self.user}@{self.domain}>"
        number = next(self.numbers)
        head = (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/TLS phone.invalid;branch=z9hG4bK0\r\n"
            f"From: {me};tag={self.user}\r\nTo: <{uri}>\r\n"
            f"Call-ID: {self.user}@phone.invalid\r\nCSeq: {number} {method}\r\n"
            f"Max-Forwards: 70\r\n{header}Content-Length: {len(body)}\r\n\r\n"
        )
        await self.connection.send(head.encode() + body)
        return await asyncio.wait_for(self.answers.get(), 10)

    async def read(self, connection: Connection) -> None:
        """Answer requests, and sort out responses."""
        async for message in connection:
            if message.is_request:
                self.inbox.append(message.body)
                await connection.send(message.reply(200, "OK"))
            else:
                await self.answers.put(message)

    async def leave(self) -> None:
        """Close, and wait until the background is done."""
        await self.transport.aclose()
        if self.reader is not None:
            await self.reader


# ---------------------------------------------------------------- the two companies


@define
class Network:
    """The whole figure."""

    cas: dict[str, CertificateAuthority]
    directory: Directory
    log: Log
    servers: dict[str, Server]
    phones: dict[str, Phone]

    async def stop(self) -> None:
        """Close everything."""
        for phone in self.phones.values():
            await phone.leave()
        for server in self.servers.values():
            await server.stop()


CONTOSO_SERVERS = ["home1.contoso.com", "home2.contoso.com", "edge.contoso.com"]
FABRIKAM_SERVERS = ["home.fabrikam.com", "edge.fabrikam.com"]
PASSWORDS = {"alice": "wonderland", "carol": "christmas", "bob": "builder"}


async def build() -> Network:
    """Put the figure up: CAs, policies, servers, clients."""
    contoso = CertificateAuthority("Contoso Enterprise CA")
    fabrikam = CertificateAuthority("Fabrikam CA")
    directory, log = Directory(), Log()
    servers: dict[str, Server] = {}

    # Whom each company believes. This is all of it.
    of_contoso = Enterprise(["contoso.com"], contoso.authority())
    of_fabrikam = Enterprise(["fabrikam.com"], fabrikam.authority())
    in_contoso = of_contoso & TrustedServers(CONTOSO_SERVERS)
    in_fabrikam = of_fabrikam & TrustedServers(FABRIKAM_SERVERS)
    at_contoso_edge = in_contoso | Federation([Partner(["fabrikam.com"], fabrikam.authority())])
    at_fabrikam_edge = in_fabrikam | Federation([Partner(["contoso.com"], contoso.authority())])

    async def add(
        name: str, ca: CertificateAuthority, policy: TrustPolicy, homes: dict[str, str]
    ) -> None:
        domain = name.split(".", 1)[1]
        # Each server proves its company's SIP domain, and its own name.
        credential = ca.issue(f"sip:{domain}", f"sip:{name}", name)
        servers[name] = Server(
            name,
            domain,
            credential,
            policy,
            directory=directory,
            log=log,
            homes=homes,
            edge=f"edge.{domain}",
        )
        await servers[name].start()

    users = {"alice": "home1.contoso.com", "carol": "home2.contoso.com"}
    await add("home1.contoso.com", contoso, in_contoso, users)
    await add("home2.contoso.com", contoso, in_contoso, users)
    await add("edge.contoso.com", contoso, at_contoso_edge, users)
    await add("home.fabrikam.com", fabrikam, in_fabrikam, {"bob": "home.fabrikam.com"})
    await add("edge.fabrikam.com", fabrikam, at_fabrikam_edge, {"bob": "home.fabrikam.com"})
    # The public knows only the edges, under the names of the domains.
    directory.places["contoso.com"] = directory.places["edge.contoso.com"]
    directory.places["fabrikam.com"] = directory.places["edge.fabrikam.com"]

    phones: dict[str, Phone] = {}
    for user, domain, home, policy in (
        ("alice", "contoso.com", "home1.contoso.com", of_contoso),
        ("carol", "contoso.com", "home2.contoso.com", of_contoso),
        ("bob", "fabrikam.com", "home.fabrikam.com", of_fabrikam),
    ):
        servers[home].passwords[user] = PASSWORDS[user]
        phones[user] = Phone(user, domain, TLSClientTransport(policy), log)
        await phones[user].sign_in(servers[home], PASSWORDS[user])
    cas = {"contoso.com": contoso, "fabrikam.com": fabrikam}
    return Network(cas, directory, log, servers, phones)


# ---------------------------------------------------------------- the impostors


class Verdicts:
    """Prints what must hold, and counts what does not."""

    def __init__(self) -> None:
        self.failures = 0

    def expect(self, what: str, holds: bool) -> None:
        """Print a fact that must hold."""
        self.failures += not holds
        print(f"  {'ok   ' if holds else 'WRONG'} {what}")

    def expect_code(
        self, what: str, code: str, decision: Decision | None, told: Alert | None = None
    ) -> None:
        """Print a decision that must have a code, its explanation, and what the peer was told."""
        found = "no decision at all" if decision is None else decision.code
        self.expect(
            what if found == code else f"{what}: {code} expected, {found} found", found == code
        )
        if told is not None:
            print(f"        (it saw TLS alert {told})")
        if decision is not None:
            print("".join(f"        {line}\n" for line in decision.explain().splitlines()))


async def knock(
    network: Network, server: Server, credential: Credential | None
) -> tuple[Decision | None, Alert | None]:
    """Try to get in where servers meet; give the server's decision, and the alert that we saw."""
    believes_it = Enterprise([server.domain], network.cas[server.domain].authority())
    host, port = server.for_servers.addresses[0]
    accepted, refused = len(server.accepted), len(server.refusals)
    alert = None
    async with TLSClientTransport(believes_it, credential=credential) as transport:
        try:
            connection = await transport.connect(server.domain, host=host, port=port)
            # With TLS 1.3 a client learns from its first read that it is refused.
            await connection.ping()
        except RefusedByPeerError as error:
            alert = error.alert
    if len(server.accepted) > accepted:
        return server.accepted[-1].decision, alert
    return (server.refusals[-1] if len(server.refusals) > refused else None), alert


async def lure(policy: TrustPolicy, target: str, fake: Credential) -> Decision | None:
    """Lead a client to a false server, as a forged DNS answer would; give the client's decision."""
    visitors: list[Connection] = []

    async def serve(connection: Connection) -> None:
        visitors.append(connection)

    async with TLSServerTransport(fake, serve) as server, TLSClientTransport(policy) as transport:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        try:
            connection = await transport.connect(target, host=host, port=port)
        except PeerRefusedError as error:
            return None if visitors else error.decision
        return connection.decision


async def try_impostors(network: Network, verdicts: Verdicts) -> None:
    """Every kind of impostor, and beside them what must not be refused."""
    contoso, fabrikam = network.cas["contoso.com"], network.cas["fabrikam.com"]
    nobody = CertificateAuthority("contoso.com")
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    home, edge = network.servers["home1.contoso.com"], network.servers["edge.contoso.com"]
    of_contoso = Enterprise(["contoso.com"], contoso.authority())
    at_edge = of_contoso | Federation([Partner(["fabrikam.com"], fabrikam.authority())])

    async def inbound(what: str, code: str, server: Server, credential: Credential | None) -> None:
        verdicts.expect_code(what, code, *await knock(network, server, credential))

    async def outbound(
        what: str, code: str, policy: TrustPolicy, to: str, fake: Credential
    ) -> None:
        verdicts.expect_code(what, code, await lure(policy, to, fake))

    await inbound(
        "a server of our own that is not on the trusted server list",
        "server.not-listed",
        home,
        contoso.issue("sip:contoso.com", "sip:test.contoso.com"),
    )
    await inbound(
        "a partner's CA that vouches for our name, at our edge",
        "name.out-of-scope",
        edge,
        fabrikam.issue("sip:contoso.com", "sip:home1.contoso.com"),
    )
    await outbound(
        "a partner's CA that vouches for our name, when we connect",
        "name.out-of-scope",
        at_edge,
        "contoso.com",
        fabrikam.issue("sip:contoso.com"),
    )
    await outbound(
        "a man in the middle with a self-signed certificate",
        "path.unknown-ca",
        of_contoso,
        "contoso.com",
        nobody.issue("sip:contoso.com", common_name="contoso.com", key=nobody.key),
    )
    await outbound(
        "a certificate of our own CA, for another host",
        "name.mismatch",
        of_contoso,
        "home2.contoso.com",
        contoso.issue("sip:home1.contoso.com"),
    )
    await inbound(
        "a partner whose certificate has expired",
        "path.expired",
        edge,
        fabrikam.issue("sip:fabrikam.com", not_after=yesterday),
    )
    await inbound("a peer that shows no certificate", "certificate.missing", edge, None)
    await inbound(
        "NOT an impostor: a partner whose public CA wrote serverAuth only (all do since 2026)",
        "accepted",
        edge,
        fabrikam.issue("sip:fabrikam.com", purposes=["serverAuth"]),
    )


async def try_false_sender(network: Network, verdicts: Verdicts) -> None:
    """A true partner who sends a message in our name: proven, but for another domain."""
    edge = network.servers["edge.contoso.com"]
    transport = TLSClientTransport(
        Enterprise(["contoso.com"], network.cas["contoso.com"].authority()),
        credential=network.cas["fabrikam.com"].issue("sip:fabrikam.com"),
        resolver=network.directory,
    )
    liar = Phone("ceo", "contoso.com", transport, network.log)
    async with transport:
        liar.begin(await transport.connect("contoso.com"))
        answer = await liar.ask("MESSAGE", "sip:alice@contoso.com", b"Please wire 1000000.")
    await liar.leave()
    decision = edge.refusals[-1] if answer.status == 403 else None  # noqa: PLR2004  SIP's Forbidden
    verdicts.expect_code("a true partner that speaks in our name", "name.mismatch", decision)
    inbox = network.phones["alice"].inbox
    verdicts.expect("alice never saw that message", b"Please wire 1000000." not in inbox)


# ---------------------------------------------------------------- the show


async def exchange_messages(network: Network, verdicts: Verdicts) -> None:
    """Two messages within contoso, two across the federation."""
    alice, bob, carol = (network.phones[name] for name in ("alice", "bob", "carol"))
    for sender, receiver, text in (
        (alice, carol, b"Lunch?"),
        (alice, bob, b"Hello Fabrikam"),
        (bob, alice, b"Hello Contoso"),
    ):
        uri = f"sip:{receiver.user}@{receiver.domain}"
        options = await sender.ask("OPTIONS", uri)
        message = await sender.ask("MESSAGE", uri, text)
        print(f"  {sender.user} -> {uri}: OPTIONS {options.status}, MESSAGE {message.status}")
        arrived = receiver.inbox == [*receiver.inbox[:-1], text] and message.status == 200  # noqa: PLR2004
        verdicts.expect(f'{receiver.user} reads "{receiver.inbox[-1].decode()}"', arrived)


async def main() -> int:
    """Show it all; give the number of things that were not as they must be."""
    logging.getLogger("siptls").setLevel(logging.CRITICAL)  # the refusals are printed here instead
    verdicts = Verdicts()
    network = await build()
    try:
        print(f"THE NETWORK OF TRUSTED SERVERS\n{MAP}\nMESSAGES\n")
        await exchange_messages(network, verdicts)
        print("\nHOPS\n")
        network.log.print([c for server in network.servers.values() for c in server.accepted])
        print("\nCHALLENGES\n")
        for challenge in network.log.challenges:
            print(f"  {challenge}")
        once_each = len(network.log.challenges) == len(network.phones)
        verdicts.expect("nobody was challenged but each client, once", once_each)
        print("\nIMPOSTORS\n")
        await try_impostors(network, verdicts)
        await try_false_sender(network, verdicts)
    finally:
        await network.stop()
    print(f"\n{'everything is as it must be' if not verdicts.failures else 'SOMETHING IS WRONG'}")
    return verdicts.failures


if __name__ == "__main__":
    sys.exit(min(1, asyncio.run(main())))
