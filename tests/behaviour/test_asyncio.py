"""The asyncio transports, over real sockets: who gets in, who does not, and what each is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from typing import Any

import pytest
from impostors import CONTOSO, FABRIKAM, REFUSED, WELCOME, Visitor, name_of, policy
from network import ENTERPRISE, OURS, answer, client, opened, raw_tls, serving, until
from OpenSSL import SSL
from sip import request

from siptls import (
    Connection,
    ConnectionClosedError,
    Credential,
    Decision,
    Enterprise,
    Federation,
    FramingError,
    HandshakeError,
    Limits,
    Message,
    MTLSServerTransport,
    Partner,
    PeerRefusedError,
    RefusedByPeerError,
    SIPTLSError,
    TLSClientTransport,
    TLSServerTransport,
)


async def ask(connection: Connection, number: int = 1) -> Message:
    await connection.send(request(number=number))
    return await connection.receive()


# ---------------------------------------------------------------- who gets in


@pytest.mark.parametrize("visitor", WELCOME, ids=name_of)
async def test_a_welcome_client_is_served(visitor: Visitor, tls_version: str) -> None:
    async with serving() as server, client(credential=visitor.make()) as transport:
        connection = await transport.connect("sip:contoso.com", **server.place)
        reply = await ask(connection)
        assert reply.status == 200
        (accepted,) = server.connections
        assert accepted.peer is not None
        assert accepted.peer.domains == visitor.domains
        assert accepted.decision is not None
        assert accepted.decision.accepted
        assert accepted.tls == connection.tls
        assert accepted.tls is not None
        assert accepted.tls.version == tls_version
        assert accepted.remote_address == connection.local_address
        assert server.refusals == []


@pytest.mark.parametrize("visitor", REFUSED, ids=name_of)
async def test_a_refused_client_is_told_and_no_handler_sees_it(
    visitor: Visitor, tls_version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets a TLS alert; the application gets the decision, and the log a warning."""
    async with serving() as server, client(credential=visitor.make()) as transport:
        with pytest.raises(RefusedByPeerError) as caught:
            await ask(await transport.connect("contoso.com", **server.place))
        assert caught.value.alert.code == visitor.alert
        decision = await server.refused.get()
        assert decision.code == visitor.code
        assert decision.evidence is not None
        assert decision.evidence.address is not None
        assert server.connections == []
    (record,) = [r for r in caplog.records if r.getMessage().startswith("refused")]
    assert record.name == "siptls"
    assert record.levelno == logging.WARNING
    assert visitor.code in record.getMessage()


@pytest.mark.parametrize("visitor", REFUSED, ids=name_of)
async def test_a_client_refuses_a_server_that_is_an_impostor(
    visitor: Visitor, tls_version: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[Decision, object]] = []
    seen: list[Connection] = []

    async def handler(connection: Connection) -> None:
        seen.append(connection)

    server = TLSServerTransport(visitor.make(), handler)
    async with server, client(policy(), None, on_refused=lambda *a: told.append(a)) as transport:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        with pytest.raises(PeerRefusedError) as caught:
            await transport.connect("contoso.com", host=host, port=port)
        assert told == [(caught.value.decision, (host, port))]
        (attempt,) = caught.value.attempts
        assert attempt.address == (host, port)
        assert attempt.error is caught.value
    assert seen == []
    assert any(r.getMessage().startswith("refused") for r in caplog.records)


async def test_a_client_without_a_certificate_is_refused_as_such(tls_version: str) -> None:
    async with serving() as server, client(credential=None) as transport:
        with pytest.raises(RefusedByPeerError, match="credential"):
            await ask(await transport.connect("contoso.com", **server.place))
        decision = await server.refused.get()
        assert decision.code == "certificate.missing"
        assert server.connections == []


async def test_a_partner_is_believed_for_its_own_domain_only_inbound_and_outbound(
    tls_version: str,
) -> None:
    """The heart of it: a CA that we know may not vouch for whom it likes."""
    ours = Enterprise(["contoso.com"], CONTOSO.authority())
    trust = ours | Federation([Partner(["fabrikam.com"], FABRIKAM.authority())])
    both = FABRIKAM.issue("sip:fabrikam.com", "sip:contoso.com")
    false = FABRIKAM.issue("sip:contoso.com")
    async with serving(policy=trust) as server:
        async with client(credential=both) as transport:
            await ask(await transport.connect("contoso.com", **server.place))
        peer = server.connections[0].peer
        assert peer is not None
        assert peer.domains == {"fabrikam.com"}
        assert not peer.speaks_for("contoso.com").accepted
        async with client(credential=false) as transport:
            with pytest.raises(RefusedByPeerError):
                await ask(await transport.connect("contoso.com", **server.place))
        assert (await server.refused.get()).code == "name.out-of-scope"
    for credential in (both, false):
        async with serving(credential=credential) as server, client(trust) as transport:
            with pytest.raises(PeerRefusedError) as caught:
                await transport.connect("contoso.com", **server.place)
            assert caught.value.decision.code == "name.out-of-scope"
    async with serving(credential=both) as server, client(trust) as transport:
        connection = await transport.connect("fabrikam.com", **server.place)
        assert connection.peer is not None
        assert connection.peer.domains == {"fabrikam.com"}


async def test_a_client_is_served_over_tls_without_a_certificate(tls_version: str) -> None:
    server = TLSServerTransport(OURS, answer)
    async with server, client(credential=None) as transport:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        connection = await transport.connect("sip:alice@contoso.com", host=host, port=port)
        assert (await ask(connection)).status == 200
        assert connection.peer is not None
        assert connection.peer.domains == {"contoso.com"}


# ---------------------------------------------------------------- bad input


async def closes(reader: asyncio.StreamReader) -> bytes:
    """Read until the server closes, which it must do by itself."""
    async with asyncio.timeout(20):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize(
    "data",
    [
        request(),
        b"\x16\x03\x01\x02\x00" + b"\x00" * 512,
        bytes(range(256)) * 300,
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"GET / HTTP/1.1\r\nHost: sip\r\n\r\n",
    ],
    ids=["plain-SIP", "garbage-like-TLS", "garbage", "an-alert", "HTTP"],
)
async def test_what_is_no_handshake_is_closed_and_logged(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as server:
        reader, writer = await opened(server.place)
        writer.write(data)
        assert request() not in await closes(reader)
        writer.close()
        assert server.connections == []
        async with client() as transport:
            assert (await ask(await transport.connect("contoso.com", **server.place))).status
    assert [r for r in caplog.records if r.levelno == logging.WARNING]
    assert not [r for r in caplog.records if r.levelno > logging.WARNING]


async def test_a_peer_that_says_nothing_is_closed_in_time(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(limits=Limits(handshake_timeout=0.05, close_timeout=0.05)) as server:
        reader, writer = await opened(server.place)
        assert await closes(reader) == b""
        writer.close()
    assert "the TLS handshake took more than 0.05 s" in caplog.text


async def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        limits = Limits(handshake_timeout=0.05, close_timeout=0.05)
        async with client(limits=limits) as transport:
            with pytest.raises(TimeoutError, match="speaking TLS at all") as caught:
                await transport.connect("contoso.com", host=host, port=port)
            assert isinstance(caught.value, HandshakeError)


async def test_a_thousand_intermediates_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    """OpenSSL itself takes no more than 100 KiB of certificates; the server lives on."""
    many = [CONTOSO.intermediate(f"CA {number}").certificate for number in range(1000)]
    credential = Credential([OURS.chain[0], *many], OURS.key)
    async with serving() as server:
        peer = raw_tls(server.place, credential)

        def knock() -> None:
            try:
                peer.do_handshake()
                peer.recv(1)
            except Exception:  # noqa: BLE001  whatever it sees, it is refused
                pass
            finally:
                peer.close()

        await asyncio.to_thread(knock)
        assert server.connections == []
        async with client() as transport:
            assert (await ask(await transport.connect("contoso.com", **server.place))).status
    assert "excessive message size" in caplog.text


async def test_a_stream_that_is_no_sip_is_told_to_the_handler(tls_version: str) -> None:
    told: asyncio.Queue[SIPTLSError] = asyncio.Queue()

    async def handler(connection: Connection) -> None:
        try:
            async for _ in connection:
                pass
        except SIPTLSError as error:
            told.put_nowait(error)

    async with serving(handler) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        await connection.send(b"OPTIONS sip:contoso.com SIP/2.0\r\nCall-ID: 1\r\n\r\n")
        error = await told.get()
        assert isinstance(error, FramingError)
        with pytest.raises(ConnectionClosedError):
            await connection.receive()


# ---------------------------------------------------------------- closing


async def test_messages_sent_before_a_close_arrive(tls_version: str) -> None:
    """No reset may overtake them, although the server never reads what the client sends on."""
    count = 200

    async def handler(connection: Connection) -> None:
        for number in range(count):
            await connection.send(request(number=number, body=b"x" * 1000))

    async with serving(handler) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        for number in range(50):
            await connection.send(request(number=number))
        got = [message.header("CSeq") async for message in connection]
        assert got == [f"{number} OPTIONS" for number in range(count)]
        assert isinstance(connection.closed, ConnectionClosedError)
        assert connection.closed.orderly


async def test_closing_a_server_ends_its_handlers_and_its_clients(tls_version: str) -> None:
    ended = asyncio.Event()

    async def handler(connection: Connection) -> None:
        async for message in connection:
            await connection.send(message.reply(200, "OK"))
        ended.set()

    async with client() as transport:
        async with serving(handler) as server:
            connection = await transport.connect("contoso.com", **server.place)
            await ask(connection)
        assert ended.is_set()
        with pytest.raises(ConnectionClosedError) as caught:
            await connection.receive()
        assert caught.value.orderly


async def test_closing_a_transport_closes_its_connections(tls_version: str) -> None:
    async with serving() as server:
        async with client() as transport:
            connection = await transport.connect("contoso.com", **server.place)
            await ask(connection)
        with pytest.raises(ConnectionClosedError):
            await connection.send(request())
        with pytest.raises(ConnectionClosedError, match="transport is closed"):
            await transport.connect("contoso.com", **server.place)


async def test_a_handler_that_ignores_the_end_is_cancelled() -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def stubborn(connection: Connection) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with client() as transport:
        async with serving(stubborn, limits=Limits(close_timeout=0.05)) as server:
            await transport.connect("contoso.com", **server.place)
            await started.wait()
        assert cancelled.is_set()


@pytest.mark.parametrize("fails", [True, False])
async def test_a_handler_that_ends_or_fails_closes_its_connection(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(connection: Connection) -> None:
        if fails:
            raise RuntimeError("a fault in the application")

    async with serving(handler) as server, client() as transport:
        connection = await transport.connect("contoso.com", **server.place)
        with pytest.raises(ConnectionClosedError):
            await connection.receive()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == fails
    assert ("a fault in the application" in caplog.text) is fails


async def test_a_client_that_is_cut_off_is_no_fault_of_the_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "siptls")
    seen = asyncio.Event()

    async def handler(connection: Connection) -> None:
        seen.set()
        await connection.receive()

    async with serving(handler) as server:
        peer = await asyncio.to_thread(raw_tls, server.place)
        await asyncio.to_thread(peer.do_handshake)
        await seen.wait()
        peer.sock_shutdown(socket.SHUT_RDWR)
        peer.close()
        await until(lambda: not server.transport._drivers)
    assert "Traceback" not in caplog.text
    assert "cut off" in caplog.text


# ---------------------------------------------------------------- plain errors


async def test_an_unreachable_port_is_one_error_that_tells_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    async with client() as transport:
        with pytest.raises(ConnectionClosedError, match="is the server running there") as caught:
            await transport.connect("contoso.com", host="127.0.0.1", port=port)
        (attempt,) = caught.value.attempts
        assert attempt.address == ("127.0.0.1", port)


@pytest.mark.parametrize("bad", [{"handler": None}, {"on_message": lambda *_: None}])
def test_a_server_takes_a_handler_or_on_message(bad: dict[str, Any]) -> None:
    options: dict[str, Any] = {"handler": answer, **bad}
    with pytest.raises(ValueError, match="either a handler"):
        MTLSServerTransport(OURS, ENTERPRISE, **options)


def test_a_client_takes_a_policy() -> None:
    with pytest.raises(ValueError, match="a TrustPolicy is needed"):
        TLSClientTransport("contoso.com")  # type: ignore[arg-type]


async def test_a_request_that_crosses_a_refusal_does_not_hide_it() -> None:
    """A TLS 1.3 server refuses, and its reset is there, too, before the client has read why."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(OURS.chain[0])
    context.use_privatekey(OURS.key)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: False)

    def refuse(listener: socket.socket) -> None:
        tcp, _ = listener.accept()
        connection = SSL.Connection(context, tcp)
        connection.set_accept_state()
        with pytest.raises(SSL.Error):
            connection.do_handshake()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        tcp.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=refuse, args=[listener])
        server.start()
        async with client() as transport:
            host, port = listener.getsockname()
            connection = await transport.connect("sip:contoso.com", host=host, port=port)
            server.join()  # the loop waits, and cannot read
            with contextlib.suppress(SIPTLSError):
                await connection.send(request())
            with pytest.raises(RefusedByPeerError) as caught:
                await connection.receive()
            assert caught.value.alert.code == 48
