"""A SIP stack that knows no TLS, over MTLS: a transport for aiosipua, and a call through it.

aiosipua speaks UDP and TCP, and asks its transport for little: `start`, `stop`, `send`, and a call
when a message comes. `MTLSSipTransport` does that on siptls, so that nothing reaches the stack
which a proven peer has not sent, and `peer_of` says who that is. Run it to see a telephone system
register with the server of contoso.com, and call it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiosipua import (
    IncomingCall,
    Registration,
    SipMessage,
    SipRequest,
    SipResponse,
    SipTransport,
    SipUAC,
    SipUAS,
)

from siptls import (
    ConfigurationError,
    Connection,
    ConnectionClosedError,
    Credential,
    Decision,
    Enterprise,
    MTLSServerTransport,
    Peer,
    SIPTLSError,
    TLSClientTransport,
    TrustPolicy,
)
from siptls.testing import CertificateAuthority

Addr = tuple[str, int]
OnRefused = Callable[[Decision, Addr | None], object]
OnLost = Callable[[Addr, SIPTLSError | None], object]


class MTLSSipTransport(SipTransport):
    """MTLS for aiosipua: what others open to us, and what `connect` opens."""

    reliable = True

    def __init__(
        self,
        credential: Credential,
        policy: TrustPolicy,
        local_addr: Addr,
        *,
        on_refused: OnRefused | None = None,
        on_lost: OnLost | None = None,
    ) -> None:
        super().__init__(local_addr=local_addr)
        self._server = MTLSServerTransport(credential, policy, self._serve, on_refused=on_refused)
        self._client = TLSClientTransport(policy, credential=credential, on_refused=on_refused)
        self._on_lost = on_lost
        self._connections: dict[Addr, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; `local_addr` then has the port."""
        await self._server.listen(*self.local_addr)
        self.local_addr = self._server.addresses[0]

    async def connect(self, domain: str, addr: Addr) -> Addr:
        """Connect to whoever proves the domain, and give the address to send to."""
        connection = await self._client.connect(domain, host=addr[0], port=addr[1])
        known = await self._enter(connection)
        task = asyncio.create_task(self._read(connection, known))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return known

    def peer_of(self, addr: Addr) -> Peer:
        """Give who is proven to be there now. Ask in the handler: addresses are used again."""
        peer = self._connection(addr).peer
        assert peer is not None  # over MTLS each side is proven
        return peer

    def send(self, message: SipRequest | SipResponse, addr: Addr) -> None:
        """Send on the connection with that address; raise ConnectionClosedError without one."""
        connection = self._connection(addr)
        if isinstance(message, SipRequest):
            vias = message.via
            vias[0].transport = "TLS"  # aiosipua says UDP, always
            message.via = vias
        contacts = message.contact
        for contact in contacts:
            if (contact.uri.host, contact.uri.port) == self.local_addr:
                contact.uri.params["transport"] = "tls"  # aiosipua names none
                message.contact = contacts
        connection.send_nowait(bytes(message))

    async def stop(self) -> None:
        """Close every connection, and the listener."""
        await asyncio.gather(self._server.aclose(), self._client.aclose())
        await asyncio.gather(*self._tasks)

    def _connection(self, addr: Addr) -> Connection:
        if addr not in self._connections:
            raise ConnectionClosedError(f"no connection with {addr}: await connect(domain, addr)")
        return self._connections[addr]

    async def _enter(self, connection: Connection) -> Addr:
        addr = connection.remote_address
        if addr is None or self._connections.setdefault(addr, connection) is not connection:
            await connection.aclose()  # nobody takes the place of one that is there
            raise ConnectionClosedError(f"there is another connection with {addr}")
        return addr

    async def _serve(self, connection: Connection) -> None:
        await self._read(connection, await self._enter(connection))

    async def _read(self, connection: Connection, addr: Addr) -> None:
        try:
            async for message in connection:
                self._dispatch(message.data, addr)
        except SIPTLSError:
            pass  # siptls has logged it, and on_lost gets it
        finally:
            del self._connections[addr]
            await connection.aclose()
            if self._on_lost is not None:
                self._on_lost(addr, connection.closed)

    def _dispatch(self, data: bytes, addr: Addr) -> None:
        """Hand a message over; its Via says where to respond: here, whatever a peer wrote."""
        try:
            message = SipMessage.parse(data)
            if isinstance(message, SipRequest) and (vias := message.via):
                vias[0].params |= {"received": addr[0], "rport": str(addr[1])}
                message.via = vias
            if self.on_message is not None:
                self.on_message(message, addr)
        except Exception:
            logging.getLogger("aiosipua").exception("a message of %s came to nothing", addr)


class Server(SipUAS):
    """Takes registrations and calls, each only in the name of a domain that the peer has proven."""

    def __init__(self, transport: MTLSSipTransport) -> None:
        super().__init__(transport)
        self.mtls = transport
        self.on_invite = self.answer
        self.on_bye = self.end
        self.over = asyncio.Event()
        self._handlers["REGISTER"] = self.register  # aiosipua has none

    def register(self, request: SipRequest, addr: Addr) -> None:
        """Answer a REGISTER; a registrar would keep the binding."""
        who = request.to_addr
        peer = self.proven(addr, who.uri.host if who else "")
        if peer is None:
            self._send_error(request, 403, "Forbidden")
            return
        print("the server: got a registration, from the proven", *peer.domains)
        granted = {"Contact": request.get_header("contact") or "", "Expires": "300"}
        self._send_error(request, 200, "OK", extra_headers=granted)  # it can do any response

    def answer(self, call: IncomingCall) -> None:
        """Answer a call."""
        peer = self.proven(call.source_addr, call.caller)
        if peer is None:
            call.reject(403)
            return
        print("the server:", call.caller, "calls, from the proven", *peer.domains)
        call.ringing()
        call.accept()

    def end(self, call: IncomingCall, _: SipRequest) -> None:
        """Take notice of a BYE."""
        print("the server:", call.caller, "hangs up")
        self.over.set()

    def proven(self, addr: Addr, domain: str) -> Peer | None:
        """Give the peer, if it has proven the domain; None if it speaks for another."""
        peer = self.mtls.peer_of(addr)
        try:
            return peer if peer.speaks_for(domain).accepted else None
        except ConfigurationError:  # what the peer wrote there is no name
            return None


async def main() -> None:
    """Register, call, and hang up."""
    ca = CertificateAuthority("Contoso CA")
    policy, anywhere = Enterprise(["contoso.com"], ca.authority()), ("127.0.0.1", 0)
    server = Server(MTLSSipTransport(ca.issue("sip:contoso.com"), policy, anywhere))
    transport = MTLSSipTransport(ca.issue("sip:pbx.contoso.com"), policy, anywhere)
    uac = SipUAC(transport)
    phones = SipUAS(transport, uac=uac)
    await server.start()
    await phones.start()
    try:
        async with asyncio.timeout(10):
            addr = await transport.connect("sip:contoso.com", server.transport.local_addr)
            print("the phones: connected with the proven", *transport.peer_of(addr).domains)
            registered = asyncio.Event()
            us = "sip:lobby@pbx.contoso.com"
            registration = Registration(uac, us, addr, registrar_uri="sip:contoso.com")
            registration.on_registered = lambda _: registered.set()
            registration.register()
            await registered.wait()
            call = uac.send_invite(us, "sip:alice@contoso.com", addr)
            await call.wait_answered()
            print("the phones: answered by the proven", *transport.peer_of(addr).domains)
            call.hangup(uac)
            await server.over.wait()
    finally:
        await phones.stop()
        await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
