"""The example must run, and must notice when something gets through."""

from __future__ import annotations

import asyncio
import logging
import re
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from siptls import (
    ClientConnection,
    ConnectionClosed,
    ConnectionClosedError,
    Decision,
    Enterprise,
    RefusedByPeerError,
)
from siptls.testing import CertificateAuthority

EXAMPLE = Path(__file__).parent.parent / "examples" / "trusted_network.py"


def test_the_trusted_network_runs_and_everything_is_as_it_must_be() -> None:
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", EXAMPLE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    assert "WRONG" not in run.stdout
    for code in (
        "server.not-listed",
        "name.out-of-scope",
        "path.unknown-ca",
        "name.mismatch",
        "path.expired",
        "certificate.missing",
    ):
        assert f"refused: {code}" in run.stdout
    assert "TLSv1.3" in run.stdout
    assert "by Contoso Enterprise CA" in run.stdout


def test_it_exits_with_1_if_an_impostor_gets_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a list that trusts everybody in the domain, the unlisted server is accepted."""
    example = runpy.run_path(str(EXAMPLE))
    monkeypatch.setattr(logging.getLogger("siptls"), "setLevel", lambda _: None)
    monkeypatch.setitem(example["build"].__globals__, "CONTOSO_SERVERS", ["contoso.com"])
    failures = asyncio.run(example["main"]())
    assert failures == 1
    assert (
        "WRONG a server of our own that is not on the trusted server list"
        in capsys.readouterr().out
    )


FEDERATION = EXAMPLE.parent / "federation.py"


def test_the_federation_runs_and_everything_is_as_it_must_be() -> None:
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", FEDERATION, "2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    assert "WRONG" not in run.stdout
    assert run.stdout.splitlines()[-1] == "everything is as it must be"
    for code in ("sender.not-authorized", "partner.blocked", "partner.undiscovered"):
        assert code in run.stdout


def test_the_federation_notices_what_gets_through(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an edge that may relay anybody, the home server takes a stranger's identity."""
    example = runpy.run_path(str(FEDERATION))
    monkeypatch.setattr(logging.getLogger("siptls"), "setLevel", lambda _: None)
    names = example["main"].__globals__
    monkeypatch.setitem(names, "FEDERATION", evolve(example["FEDERATION"], blocked=()))
    monkeypatch.setitem(names, "EdgeDiscovery", lambda _: lambda peer: Decision.accept(peer, "x"))
    assert asyncio.run(example["main"](2.0)) == 3
    found = capsys.readouterr().out
    assert "hidden.org says: From anna@hidden.org" in found
    assert "3 WRONG" in found


def test_the_loop_of_your_own_runs() -> None:
    example = EXAMPLE.parent / "own_loop.py"
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", example],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[-1] == "the client got SIP/2.0 200 OK"


def test_the_loop_of_your_own_is_short() -> None:
    """It is there to be read, and copied."""
    text = (EXAMPLE.parent / "own_loop.py").read_text(encoding="utf-8")
    assert len(text.split("class Loop")[1].split("if __name__")[0].splitlines()) < 80


def test_the_loop_of_your_own_tells_of_an_end_that_it_finds_while_writing() -> None:
    example = runpy.run_path(str(EXAMPLE.parent / "own_loop.py"))
    ours, theirs = socket.socketpair()
    theirs.close()
    events: list[object] = []
    loop = example["Loop"]()
    core = ClientConnection(POLICY, "contoso.com")
    loop.add(ours, core, lambda _, event: events.append(event))
    loop.selector.close()
    assert [type(event) for event in events] == [ConnectionClosed]
    assert ours.fileno() == -1


MANY_PROCESSES = EXAMPLE.parent / "many_processes.py"


def test_many_processes_share_a_port_and_end_in_order() -> None:
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", MANY_PROCESSES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    first, *rest = run.stdout.splitlines()
    counts = [int(count) for count in re.findall(r"has answered (\d+) of 60", run.stdout)]
    assert first.startswith(f"{len(counts)} processes listen on 127.0.0.1 port ")
    assert len(counts) >= 2
    assert sum(counts) == 60
    assert [line[:6] for line in rest[len(counts) :]] == ["ok    "] * 3


def test_the_processes_end_when_their_parent_is_killed() -> None:
    """They hold its output open: when that ends, they have ended, too."""
    command = [sys.executable, "-u", MANY_PROCESSES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert b"processes listen on" in parent.stdout.readline()
        parent.kill()
        _, errors = parent.communicate(timeout=30)
    assert parent.returncode == -signal.SIGKILL
    assert b"Traceback" not in errors


# ------------------------------------------------------------ a stack that knows no TLS

CA, STRANGER = CertificateAuthority("Contoso CA"), CertificateAuthority("Contoso CA")
POLICY = Enterprise(["contoso.com"], CA.authority())
ANYWHERE = ("127.0.0.1", 0)


@pytest.fixture(name="aio")
def with_aiosipua() -> SimpleNamespace:
    """The example's names, and aiosipua's."""
    pytest.importorskip("aiosipua", reason="aiosipua is in the dependency group frameworks")
    return SimpleNamespace(**runpy.run_path(str(EXAMPLE.parent / "with_aiosipua.py")))


class Told(asyncio.Queue[Any]):
    """A callback: what it is told waits to be got."""

    def __call__(self, *what: object) -> None:
        self.put_nowait(what)

    async def soon(self) -> Any:
        async with asyncio.timeout(10):
            return await self.get()


@pytest.mark.usefixtures("aio")
def test_a_stack_that_knows_no_tls_registers_and_calls_over_mtls() -> None:
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", EXAMPLE.parent / "with_aiosipua.py"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "the phones: connected with the proven contoso.com",
        "the server: got a registration, from the proven pbx.contoso.com",
        "the server: sip:lobby@pbx.contoso.com calls, from the proven pbx.contoso.com",
        "the phones: answered by the proven contoso.com",
        "the server: sip:lobby@pbx.contoso.com hangs up",
    ]


def test_the_transport_for_it_is_short() -> None:
    text = (EXAMPLE.parent / "with_aiosipua.py").read_text(encoding="utf-8")
    assert len(text.split("class MTLSSipTransport")[1].split("\nclass ")[0].splitlines()) < 100


def test_the_stack_hears_nothing_of_a_stranger(aio: SimpleNamespace) -> None:
    async def main() -> None:
        heard: list[object] = []
        refused, lost = Told(), Told()
        server = aio.MTLSSipTransport(
            CA.issue("sip:contoso.com"),
            POLICY,
            ANYWHERE,
            on_refused=refused,
        )
        server.on_message = lambda message, _: heard.append(message)
        await server.start()
        stranger = aio.MTLSSipTransport(
            STRANGER.issue("sip:pbx.contoso.com"),
            POLICY,
            ANYWHERE,
            on_lost=lost,
        )
        addr = await stranger.connect("sip:contoso.com", server.local_addr)
        aio.SipUAC(stranger).send_invite("sip:lobby@pbx.contoso.com", "sip:a@contoso.com", addr)
        _, reason = await lost.soon()
        assert isinstance(reason, RefusedByPeerError)
        decision, _ = await refused.soon()
        assert decision.code == "path.signature"  # of our CA's name, and not of its key
        assert heard == []
        with pytest.raises(ConnectionClosedError, match="no connection with"):
            stranger.peer_of(addr)
        await stranger.stop()
        await server.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize("who", ["sip:lobby@contoso.com", "sip:lobby@fabrikam.com", "sip:@"])
def test_who_speaks_for_a_domain_that_it_has_not_proven_is_forbidden(
    aio: SimpleNamespace, who: str
) -> None:
    async def main() -> None:
        server = aio.Server(aio.MTLSSipTransport(CA.issue("sip:contoso.com"), POLICY, ANYWHERE))
        transport = aio.MTLSSipTransport(CA.issue("sip:pbx.contoso.com"), POLICY, ANYWHERE)
        uac = aio.SipUAC(transport)
        phones = aio.SipUAS(transport, uac=uac)
        await server.start()
        await phones.start()
        addr = await transport.connect("sip:contoso.com", server.transport.local_addr)
        call = uac.send_invite(who, "sip:alice@contoso.com", addr)
        with pytest.raises(RuntimeError, match="403"):
            await call.wait_answered(10)
        failed = Told()
        registration = aio.Registration(uac, who, addr, registrar_uri="sip:contoso.com")
        registration.on_failed = failed
        registration.register()
        _, status, _ = await failed.soon()
        assert status == 403
        await phones.stop()
        await server.stop()

    asyncio.run(main())


def test_a_response_goes_to_whoever_asked_whatever_the_via_says(aio: SimpleNamespace) -> None:
    """By its Via a peer could otherwise have another peer get the response."""

    async def main() -> None:
        server = aio.Server(aio.MTLSSipTransport(CA.issue("sip:contoso.com"), POLICY, ANYWHERE))
        await server.start()
        got = [Told(), Told()]
        clients = []
        for told in got:
            client = aio.MTLSSipTransport(CA.issue("sip:pbx.contoso.com"), POLICY, ANYWHERE)
            client.on_message = told
            addr = await client.connect("sip:contoso.com", server.transport.local_addr)
            clients.append(client)
            await client._connections[addr].ping()  # so that the server has entered it
        assert len(server.transport._connections) == 2
        asking = clients[0]._connections[addr]
        other = clients[1]._connections[addr].local_address
        via = f"127.0.0.1;branch=z9hG4bK1;received=127.0.0.1;rport={other[1]}"
        await asking.send(
            f"OPTIONS sip:contoso.com SIP/2.0\r\nVia: SIP/2.0/TLS {via}\r\n"
            "From: <sip:pbx.contoso.com>;tag=1\r\nTo: <sip:contoso.com>\r\nCall-ID: 1\r\n"
            "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode()
        )
        await got[0].soon()
        await clients[1]._connections[addr].ping()  # what was sent there before has come
        assert [told.qsize() for told in got] == [0, 0]
        for each in (*clients, server):
            await each.stop()

    asyncio.run(main())


def test_a_connection_that_is_over_is_gone_and_what_is_sent_there_raises(
    aio: SimpleNamespace,
) -> None:
    async def main() -> None:
        server = aio.MTLSSipTransport(CA.issue("sip:contoso.com"), POLICY, ANYWHERE)
        lost = Told()
        ours = CA.issue("sip:pbx.contoso.com")
        client = aio.MTLSSipTransport(ours, POLICY, ANYWHERE, on_lost=lost)
        await server.start()
        addr = await client.connect("sip:contoso.com", server.local_addr)
        assert client.peer_of(addr).domains == {"contoso.com"}
        first = client._connections[addr]
        with pytest.raises(ConnectionClosedError, match="there is another"):
            await client.connect("sip:contoso.com", server.local_addr)
        assert client._connections == {addr: first}
        await server.stop()
        assert (await lost.soon())[0] == addr
        assert client._connections == {}
        with pytest.raises(ConnectionClosedError, match="no connection with"):
            aio.SipUAC(client).send_invite("sip:pbx.contoso.com", "sip:contoso.com", addr)
        await client.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
