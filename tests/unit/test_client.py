"""siptls.transports.aio.client: where to connect, and which of several errors is told."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
import threading
from typing import Any

import pytest
from impostors import CONTOSO, STRANGER
from network import ENTERPRISE, Addresses, Mute, answer, client, serving, swallowing, until
from sip import request

from siptls import (
    ConfigurationError,
    ConnectionClosedError,
    HandshakeTimeout,
    Limits,
    PeerRefusedError,
    ReferenceIdentity,
    RefusedByPeerError,
    ResolutionError,
    ServerConnection,
    Target,
    TLSClientTransport,
    TLSServerTransport,
    sync,
)


class Places:
    """A resolver that gives what it was given, and remembers what it was asked."""

    def __init__(self, *ports: int) -> None:
        self.ports = ports
        self.asked: list[tuple[str, int | None]] = []

    async def resolve(
        self, reference: ReferenceIdentity, *, service: str | None = None, port: int | None = None
    ) -> list[Target]:
        self.asked.append((reference.domain, port))
        return [Target("127.0.0.1", p, host="h.example", reference=reference) for p in self.ports]


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


async def test_the_resolver_is_asked_for_the_domain_and_the_port_of_the_uri() -> None:
    async with serving() as server:
        places = Places(server.place["port"])
        async with client(resolver=places) as transport:
            await transport.connect("sip:alice@contoso.com:5099;transport=tls")
            await transport.connect("contoso.com", port=5077)
            await transport.connect(ReferenceIdentity("contoso.com"), reuse=False)
        assert places.asked == [("contoso.com", 5099), ("contoso.com", 5077), ("contoso.com", None)]


async def test_a_host_is_where_and_never_whom() -> None:
    """The certificate must prove the domain; that it proves the host dialled is no help."""
    credential = CONTOSO.issue("localhost.contoso.com", "127.0.0.1")
    async with serving(credential=credential) as server, client() as transport:
        with pytest.raises(PeerRefusedError) as caught:
            await transport.connect("contoso.com", **server.place)
        assert caught.value.decision.code == "name.mismatch"


async def test_addresses_that_fail_are_passed_over_and_told() -> None:
    async with serving() as server:
        closed = closed_port()
        async with client(resolver=Places(closed, server.place["port"])) as transport:
            connection = await transport.connect("contoso.com")
            (attempt,) = connection.attempts
            assert attempt.address == ("127.0.0.1", closed)
            assert attempt.host == "h.example"
            assert isinstance(attempt.error, ConnectionClosedError)
            assert await connection.ping() > 0


async def test_an_impostor_among_the_addresses_is_told_even_if_another_is_good() -> None:
    """An untrusted target is not failed over in silence."""
    told = []
    async with serving(credential=STRANGER.issue("sip:contoso.com")) as bad, serving() as good:
        places = Places(bad.place["port"], good.place["port"])
        refused = client(resolver=places, on_refused=lambda *a: told.append(a))
        async with refused as transport:
            connection = await transport.connect("contoso.com")
            (attempt,) = connection.attempts
            assert isinstance(attempt.error, PeerRefusedError)
            assert told == [(attempt.error.decision, ("127.0.0.1", bad.place["port"]))]


async def test_of_several_failures_the_most_telling_is_raised_with_all_of_them() -> None:
    async with serving(credential=STRANGER.issue("sip:contoso.com")) as bad:
        places = Places(closed_port(), bad.place["port"], closed_port())
        async with client(resolver=places) as transport:
            with pytest.raises(PeerRefusedError) as caught:
                await transport.connect("contoso.com")
        kinds = [type(attempt.error) for attempt in caught.value.attempts]
        assert kinds == [ConnectionClosedError, PeerRefusedError, ConnectionClosedError]


async def test_when_no_address_answers_each_is_named() -> None:
    ports = closed_port(), closed_port()
    async with client(resolver=Places(*ports)) as transport:
        with pytest.raises(ConnectionClosedError) as caught:
            await transport.connect("contoso.com")
    for port in ports:
        assert f"port {port}" in str(caught.value)
    assert "contoso.com" in str(caught.value)


async def test_a_resolver_without_an_answer_is_told() -> None:
    async with client(resolver=Places()) as transport:
        with pytest.raises(ResolutionError, match="Places gave no address"):
            await transport.connect("contoso.com")


async def test_a_resolver_that_fails_is_told() -> None:
    class Broken:
        async def resolve(
            self,
            reference: ReferenceIdentity,
            *,
            service: str | None = None,
            port: int | None = None,
        ) -> list[Target]:
            raise KeyError("the zone is gone")

    async with client(resolver=Broken()) as transport:
        with pytest.raises(ResolutionError, match="the zone is gone"):
            await transport.connect("contoso.com")


@pytest.mark.parametrize("where", [{}, {"host": "no-such-host.example"}])
async def test_a_name_without_address_is_a_resolution_error(
    where: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nothing)
    async with client() as transport:
        with pytest.raises(ResolutionError, match="host="):
            await transport.connect("contoso.com", **where)


@pytest.mark.parametrize(
    "target", ["", "192.0.2.1", "sip:[2001:db8::1]", "*.contoso.com", "sip:@", "tel:+1", 5]
)
async def test_what_is_no_domain_is_no_target(target: str) -> None:
    async with client() as transport:
        with pytest.raises(ConfigurationError):
            await transport.connect(target)


async def test_an_address_that_swallows_packets_is_given_up_in_time() -> None:
    """A listener whose backlog is full answers no more: as a firewall that drops."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host, port = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((host, port))
        async with client(limits=Limits(connect_timeout=0.05)) as transport:
            with pytest.raises(ConnectionClosedError, match=r"did not answer within 0\.05 s"):
                await transport.connect("contoso.com", host=host, port=port)
        for filler in fillers:
            filler.close()


# ---------------------------------------------------------------- a socket of the application's


async def test_a_connected_socket_can_be_used() -> None:
    async with serving() as server, client() as transport:
        sock = socket.create_connection((server.place["host"], server.place["port"]))
        connection = await transport.connect("contoso.com", sock=sock)
        await connection.send(request())
        assert (await connection.receive()).status == 200
    assert sock.fileno() == -1


async def test_a_socket_is_closed_if_no_connection_comes_about() -> None:
    impostor = STRANGER.issue("sip:contoso.com")
    async with serving(credential=impostor) as server, client() as transport:
        sock = socket.create_connection((server.place["host"], server.place["port"]))
        with pytest.raises(PeerRefusedError):
            await transport.connect("contoso.com", sock=sock)
    assert sock.fileno() == -1


async def test_a_socket_that_is_not_connected_is_told() -> None:
    async with client() as transport:
        with pytest.raises(ConfigurationError, match="connected stream socket"):
            await transport.connect("contoso.com", sock=socket.socket())
        datagrams = socket.socket(type=socket.SOCK_DGRAM)
        with pytest.raises(ConfigurationError, match="connected stream socket"):
            await transport.connect("contoso.com", sock=datagrams)
        assert datagrams.fileno() == -1


async def test_a_socket_and_a_host_contradict_each_other() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with client() as transport:
            with pytest.raises(ConfigurationError, match="not both"):
                await transport.connect("contoso.com", host="127.0.0.1", sock=ours)


# ---------------------------------------------------------------- giving up


async def test_a_connect_that_is_cancelled_leaves_nothing_behind() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        host, port = silent.getsockname()
        async with client() as transport:
            task = asyncio.create_task(transport.connect("contoso.com", host=host, port=port))
            arrived, _ = await loop.sock_accept(silent)
            hello = await loop.sock_recv(arrived, 5)
            assert hello[0] == 0x16
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not transport._drivers)
            arrived.close()


async def test_closing_the_transport_ends_a_handshake() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        host, port = silent.getsockname()
        transport = TLSClientTransport(ENTERPRISE, limits=Limits(close_timeout=0.05))
        task = asyncio.create_task(transport.connect("contoso.com", host=host, port=port))
        arrived, _ = await loop.sock_accept(silent)
        await loop.sock_recv(arrived, 5)
        await transport.aclose()
        with pytest.raises(ConnectionClosedError, match="closed by us during the handshake"):
            await task
        arrived.close()


async def test_closing_the_transport_while_an_address_is_looked_up_ends_the_connect() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Places):
        async def resolve(
            self,
            reference: ReferenceIdentity,
            *,
            service: str | None = None,
            port: int | None = None,
        ) -> list[Target]:
            asked.set()
            await go_on.wait()
            return await super().resolve(reference, port=port)

    async with serving() as server:
        transport = TLSClientTransport(ENTERPRISE, resolver=Slow(server.place["port"]))
        task = asyncio.create_task(transport.connect("contoso.com"))
        await asked.wait()
        await transport.aclose()
        go_on.set()
        with pytest.raises(ConnectionClosedError, match="closed by us"):
            await task


async def test_a_port_that_is_none_is_told() -> None:
    async with client() as transport:
        with pytest.raises(ConfigurationError, match="99999"):
            await transport.connect("contoso.com", host="127.0.0.1", port=99999)


def test_what_is_no_resolver_is_told() -> None:
    with pytest.raises(ConfigurationError, match="no Resolver"):
        TLSClientTransport(ENTERPRISE, resolver="8.8.8.8")  # type: ignore[arg-type]


async def test_a_refusal_by_the_server_is_raised_by_connect_where_it_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With TLS 1.2 at once; with TLS 1.3 by the first receive."""
    from siptls.wire import tls  # noqa: PLC0415

    monkeypatch.setattr(tls, "_NEWEST", tls.SSL.TLS1_2_VERSION)
    async with serving() as server, client(credential=STRANGER.issue("x.example")) as transport:
        with pytest.raises(RefusedByPeerError) as caught:
            await transport.connect("contoso.com", **server.place)
        assert len(caught.value.attempts) == 1


# ---------------------------------------------------------------- races


async def test_an_address_that_swallows_packets_does_not_hold_up_the_next() -> None:
    async with serving() as server:
        port = server.place["port"]
        with swallowing("127.0.0.2", port):
            places = Addresses(port, "127.0.0.2", "127.0.0.1")
            async with client(resolver=places, limits=Limits(connect_timeout=50)) as transport:
                async with asyncio.timeout(20):
                    connection = await transport.connect("contoso.com")
                assert connection.remote_address == ("127.0.0.1", port)
                assert connection.attempts == ()  # who lost has not failed


async def test_an_address_that_refuses_is_followed_at_once() -> None:
    async with serving() as server:
        places = Addresses(server.place["port"], "127.0.0.3", "127.0.0.1")
        async with client(resolver=places, limits=Limits(attempt_delay=1000)) as transport:
            async with asyncio.timeout(20):
                connection = await transport.connect("contoso.com")
            (attempt,) = connection.attempts
            assert attempt.address[0] == "127.0.0.3"
            assert "Connection refused" in str(attempt.error)


async def test_an_impostor_that_wins_the_race_is_told_and_the_others_are_tried() -> None:
    async with serving() as good:
        port = good.place["port"]
        stranger = STRANGER.issue("sip:contoso.com")
        async with TLSServerTransport(stranger, answer) as bad:
            await bad.listen("127.0.0.2", port)
            places = Addresses(port, "127.0.0.2", "127.0.0.1")
            async with client(resolver=places) as transport:
                connection = await transport.connect("contoso.com")
                (attempt,) = connection.attempts
                assert isinstance(attempt.error, PeerRefusedError)
                assert attempt.address == ("127.0.0.2", port)


async def test_a_connect_that_is_over_tells_what_it_tried() -> None:
    with swallowing("127.0.0.1") as port:
        places = Addresses(port, "127.0.0.1")
        async with client(resolver=places, limits=Limits(reach_timeout=0.05)) as transport:
            with pytest.raises(ConnectionClosedError, match=r"0\.05 s that connect") as caught:
                await transport.connect("contoso.com")
    assert len(caught.value.attempts) == 1


async def test_a_handshake_is_over_when_the_connect_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        async with client(limits=Limits(reach_timeout=0.1)) as transport:
            with pytest.raises(HandshakeTimeout, match=r"0\.1 s that connect") as caught:
                await transport.connect("contoso.com", host=host, port=port)
            assert len(caught.value.attempts) == 1
            sock = socket.create_connection((host, port))
            with pytest.raises(HandshakeTimeout, match=r"0\.1 s that connect"):
                await transport.connect("contoso.com", sock=sock)
            await until(lambda: not transport._drivers)


async def test_a_resolver_that_does_not_answer_is_given_up() -> None:
    async with client(resolver=Mute(), limits=Limits(reach_timeout=0.05)) as transport:
        with pytest.raises(ResolutionError, match=r"did not answer for contoso\.com within"):
            await transport.connect("contoso.com")


@pytest.mark.parametrize("how", ["cancel", "close"])
async def test_a_race_that_is_given_up_leaves_nothing_behind(how: str) -> None:
    """A socket left open would be a ResourceWarning, and a task is found by `run_clean`."""
    with swallowing("127.0.0.1") as port, swallowing("127.0.0.2", port):
        places = Addresses(port, "127.0.0.1", "127.0.0.2")
        transport = TLSClientTransport(
            ENTERPRISE, resolver=places, limits=Limits(attempt_delay=0.001)
        )
        connecting = asyncio.create_task(transport.connect("contoso.com"))
        await until(lambda: any(len(racing._tasks) == 2 for racing in transport._racing))
        if how == "cancel":
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
        await transport.aclose()
        assert asyncio.all_tasks() <= {asyncio.current_task(), connecting}
        if how == "close":
            with pytest.raises(ConnectionClosedError, match="closed by us"):
                await connecting
        assert not transport._racing


@pytest.mark.parametrize("address", ["::1", "::1%1"])
async def test_both_families_are_raced_in_every_event_loop(address: str) -> None:
    """Nobody listens at ::1, or at 127.0.0.1; a scope is understood."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    async with serving() as server:
        await server.transport.listen(sock=listener)
        for resolver, in_vain in (
            (Addresses(listener.getsockname()[1], "127.0.0.1", address), "127.0.0.1"),
            (Addresses(server.place["port"], address, "127.0.0.1"), address),
        ):
            async with client(limits=Limits(attempt_delay=1000), resolver=resolver) as transport:
                connection = await transport.connect("contoso.com")
                assert [a.address[0] for a in connection.attempts] == [in_vain]


def test_a_race_under_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_both_families_are_raced_in_every_event_loop("::1"))
        runner.run(test_an_address_that_swallows_packets_does_not_hold_up_the_next())
        runner.run(test_a_race_that_is_given_up_leaves_nothing_behind("cancel"))
        runner.run(test_a_race_that_is_given_up_leaves_nothing_behind("close"))


async def test_a_peer_that_resets_at_once_leaves_nothing_behind() -> None:
    """Whichever way it comes: before the loop has the socket, while it gives it, or after."""

    def reset() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    listener = socket.create_server(("127.0.0.1", 0))
    resetting = threading.Thread(target=reset)
    resetting.start()
    host, port = listener.getsockname()
    try:
        async with client() as transport:
            for _ in range(200):
                with pytest.raises(ConnectionClosedError):
                    await transport.connect("contoso.com", host=host, port=port)
            await until(lambda: not transport._drivers)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        resetting.join(20)


async def test_an_address_that_many_hosts_are_said_to_have_is_tried_once() -> None:
    class Same:
        async def resolve(self, reference: ReferenceIdentity, **_: object) -> list[Target]:
            return [
                Target("127.0.0.1", port, host=f"h{n}.example", reference=reference, priority=n)
                for n in range(32)
            ]

    async with serving(credential=STRANGER.issue("sip:contoso.com")) as server:
        port = server.place["port"]
        async with client(resolver=Same()) as transport:
            with pytest.raises(PeerRefusedError) as caught:
                await transport.connect("contoso.com")
            assert len(caught.value.attempts) == 1


@pytest.mark.parametrize("wrong", [{"port": 5061}, {"host": "127.0.0.1"}, {"service": "_a._b"}])
async def test_a_socket_that_is_passed_in_vain_is_closed(wrong: dict[str, Any]) -> None:
    for of_sync in (False, True):
        one, other = socket.socketpair()
        with other:
            if of_sync:
                with sync.TLSClientTransport(ENTERPRISE) as blocking:
                    with pytest.raises(ConfigurationError, match="not both"):
                        blocking.connect("contoso.com", sock=one, **wrong)
            else:
                async with client() as transport:
                    with pytest.raises(ConfigurationError, match="not both"):
                        await transport.connect("contoso.com", sock=one, **wrong)
            assert one.fileno() == -1


async def test_a_socket_that_the_loop_has_is_closed_by_the_loop_alone() -> None:
    """Ours is closed after the alert has gone out, and not under the loop's feet."""
    one, other = socket.socketpair()

    def serve() -> None:
        core = ServerConnection(STRANGER.issue("sip:contoso.com"), ENTERPRISE, mutual=False)
        core.receive_data(other.recv(65536))
        other.sendall(core.data_to_send())

    with other:
        serving_one = threading.Thread(target=serve)
        serving_one.start()
        async with client(limits=Limits(close_timeout=20)) as transport:
            with pytest.raises(PeerRefusedError):
                await transport.connect("contoso.com", sock=one)
            assert one.fileno() != -1, "it waits for the peer's part in the end"
            serving_one.join(20)
            assert other.recv(65536), "the alert"
            other.shutdown(socket.SHUT_RDWR)
            await until(lambda: one.fileno() == -1)


UVLOOP = """
import asyncio, random, sys
import uvloop
from siptls import Enterprise, TLSClientTransport, TLSServerTransport
from siptls.testing import CertificateAuthority

ca = CertificateAuthority("CA")
policy = Enterprise(["contoso.com"], ca.authority())

async def handler(connection):
    await connection.wait_closed()

async def main():
    async with TLSServerTransport(ca.issue("sip:contoso.com"), handler) as server:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        for number in range(400):
            transport = TLSClientTransport(policy)
            task = asyncio.create_task(transport.connect("contoso.com", host=host, port=port))
            for _ in range(number % 20):
                await asyncio.sleep(0)
            if number % 3:
                task.cancel()
            await asyncio.wait_for(transport.aclose(), 10)
            await asyncio.wait([task])
            assert not transport._drivers
            if not task.cancelled():
                task.exception()

uvloop.run(main())
print("done")
"""


def test_under_uvloop_a_connect_is_ended_at_any_point() -> None:
    """In a process of its own, since libuv would end ours if anything were wrong."""
    pytest.importorskip("uvloop")
    ended = subprocess.run(
        [sys.executable, "-c", UVLOOP], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr[-2000:]
