"""siptls.cli.visiting: steps, addresses and sockets.

What needs a peer with a fault stands in ``tests/behaviour/test_check.py``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from network import ENTERPRISE, OURS, Addresses, Mute, answer, serving, until

from siptls import (
    ConfigurationError,
    ConnectionClosedError,
    Enterprise,
    Evidence,
    FramingError,
    ResolutionError,
    SystemResolver,
)
from siptls.cli.visiting import Enquiry, examine
from siptls.trust.decision import Decision


def enquiry(**more: Any) -> Enquiry:
    values: dict[str, Any] = {
        "target": "sip:contoso.com",
        "policy": ENTERPRISE,
        "policy_name": "the test's",
        "credential": OURS,
        "resolver": SystemResolver(),
        "resolver_name": "by the test",
    }
    return Enquiry(**{**values, **more})


async def test_it_tells_what_it_waits_for_and_how_long_each_step_took() -> None:
    told: list[str] = []
    async with serving() as server:
        place = (server.place["host"], server.place["port"])
        found = await examine(enquiry(place=place), told.append)
    where = f"127.0.0.1 port {place[1]}"
    assert told == [
        "looking for contoso.com",
        f"connecting to {where}",
        f"handshake with {where}",
        f"asking {where} for its OPTIONS",
    ]
    [visit] = found.visits
    assert [step.name for step in visit.steps] == ["connect", "handshake", "options"]
    assert all(step.seconds >= 0 for step in (found.resolution, *visit.steps))
    assert visit.steps[1].text.startswith("TLSv1.3, TLS_AES_256_GCM_SHA384, group X25519")
    assert visit.steps[1].text.endswith(", ALPN sip/2")
    assert visit.error is None
    assert visit.is_trusted


async def test_the_connection_is_closed_in_order() -> None:
    async with serving() as server:
        await examine(enquiry(place=(server.place["host"], server.place["port"])))
        [connection] = server.connections
        await until(lambda: connection.closed)
        with pytest.raises(ConnectionClosedError) as closed:
            await connection.receive()
    assert closed.value.orderly


async def test_the_port_of_the_uri_counts_unless_the_place_has_one() -> None:
    async with serving() as server:
        port = server.place["port"]
        for target, place in (
            (f"sip:contoso.com:{port}", ("127.0.0.1", None)),
            ("sip:contoso.com:9", ("127.0.0.1", port)),
        ):
            found = await examine(enquiry(target=target, place=place))
            assert found.visits[0].target.port == port
            assert found.visits[0].is_trusted


async def test_the_next_address_is_tried_unless_one_was_trusted() -> None:
    async with serving() as server:
        port = server.place["port"]
        resolver = Addresses(port, "127.0.0.2", "127.0.0.1", "127.0.0.3")
        found = await examine(enquiry(resolver=resolver))
    tried = [visit.target.address for visit in found.visits]
    assert tried == ["127.0.0.2", "127.0.0.1"]
    assert found.resolution.text == "3 addresses"


async def test_a_name_with_any_number_of_addresses_costs_as_much_as_one_with_16() -> None:
    hosts = (f"127.0.1.{number}" for number in range(1, 21))
    found = await examine(enquiry(resolver=Addresses(9, *hosts)))
    assert len(found.visits) == 16
    assert found.resolution.text == "20 addresses, of which 16 are tried"


async def test_a_resolver_that_never_answers_is_given_up() -> None:
    found = await examine(enquiry(resolver=Mute(), timeout=0.01))
    assert isinstance(found.resolution.error, ResolutionError)
    assert "no answer for contoso.com within 0.04 s" in found.resolution.text
    assert found.visits == ()


async def test_what_is_no_host_name_is_an_argument_that_cannot_be_meant() -> None:
    with pytest.raises(ConfigurationError, match="is no host name"):
        await examine(enquiry(place=("x" * 70 + ".example", None)))


async def test_an_address_that_the_system_cannot_have_is_one_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", fail)
    found = await examine(enquiry(resolver=Addresses(5061, "127.0.0.1")))
    [visit] = found.visits
    assert [step.name for step in visit.steps] == ["connect"]
    assert "Address family not supported" in str(visit.error)


class Own:
    """A policy that siptls does not know, and that counts how often it is asked."""

    def __init__(self, policy: Enterprise) -> None:
        self.asked = 0
        self._policy = policy

    def evaluate(self, evidence: Evidence, /) -> Decision:
        self.asked += 1
        return self._policy.evaluate(evidence)


async def test_a_policy_of_ones_own_is_asked_as_any() -> None:
    policy = Own(ENTERPRISE)
    async with serving() as server:
        place = (server.place["host"], server.place["port"])
        found = await examine(enquiry(place=place, policy=policy))
    assert policy.asked >= 1
    assert found.visits[0].is_trusted


@pytest.mark.parametrize("stage", ["connecting", "handshake", "asking"])
async def test_who_is_cancelled_leaves_no_socket_behind(stage: str) -> None:
    """What is left would be a ResourceWarning, which fails the test."""
    reached = asyncio.Event()

    def tell(what: str) -> None:
        if what.startswith(stage):
            reached.set()

    async def keep_silent(connection: Any) -> None:
        await connection.wait_closed()

    handler: Callable[[Any], Any] = keep_silent if stage == "asking" else answer
    async with serving(handler) as server:
        place = (server.place["host"], server.place["port"])
        task = asyncio.create_task(examine(enquiry(place=place, timeout=60.0), tell))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_over_ipv6_it_goes_as_well() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with serving(listener=listener) as server:
        found = await examine(enquiry(place=("::1", server.transport.addresses[0][1])))
    assert found.visits[0].is_trusted
    assert found.visits[0].where.startswith("::1 port ")


async def test_who_only_tries_has_not_answered() -> None:
    """What comes after a provisional response may still be the end of all trust."""

    async def try_and_break(connection: Any) -> None:
        request = await connection.receive()
        await connection.send(request.reply(100, "Trying"))
        await connection.send(b"OPTIONS sip:contoso.com SIP/2.0\r\nContent-Length: x\r\n\r\n")
        await connection.wait_closed()

    async with serving(try_and_break) as server:
        found = await examine(enquiry(place=(server.place["host"], server.place["port"])))
    [visit] = found.visits
    assert visit.reply is not None
    assert visit.reply.status == 100
    assert isinstance(visit.error, FramingError)
    assert not visit.is_trusted


async def test_who_never_stops_sending_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there at once is read without a turn of the loop, and so no time would end."""
    loop = asyncio.get_running_loop()
    too_late = asyncio.Event()
    receive = loop.sock_recv

    async def flood(sock: socket.socket, size: int) -> bytes:
        if not leaving:
            return await receive(sock, size)
        if loop.time() > leaving[0] + 5:
            too_late.set()
            return b""
        return b"x"

    leaving: list[float] = []
    shut = socket.socket.shutdown

    def leave(sock: socket.socket, how: int) -> None:
        leaving.append(loop.time())
        shut(sock, how)

    async with serving() as server:
        monkeypatch.setattr(loop, "sock_recv", flood)
        monkeypatch.setattr(socket.socket, "shutdown", leave)
        place = (server.place["host"], server.place["port"])
        found = await examine(enquiry(place=place, timeout=0.2))
        monkeypatch.undo()
    assert leaving
    assert not too_late.is_set()
    assert found.visits[0].is_trusted
