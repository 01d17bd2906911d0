"""No more file descriptors: accepting pauses, is told, costs nothing, and goes on."""

from __future__ import annotations

import socket

import pytest
from front_ends import OURS, POLICY
from server_process import ServerProcess, server_process, visit

from siptls import sync

# Descriptors of a connection: of a blocking one, what wakes whoever waits for it has two.
COSTS = {"asyncio": 1, "asyncio-workers": 1, "sync": 3}
KINDS = list(COSTS)
LEFT = 3
CANNOT = "log cannot accept a connection"
# Accepting that goes round without a pause would use nearly all of the time between so many lines.
LINES, MOST_CPU = 8, 0.6


def fill(server: ServerProcess, kind: str) -> list[socket.socket]:
    """Open connections that say nothing, until the server has no descriptors for more."""
    files = server.files()
    server.say(f"starve NOFILE +{LEFT}", "starved")
    address = (server.place["host"], server.place["port"])
    opened = []
    for number in range(1, LEFT // COSTS[kind] + 1):  # one by one: each gets all that it needs
        opened.append(socket.create_connection(address))
        while server.files() < files + number * COSTS[kind]:
            pass
    opened += [socket.create_connection(address) for _ in range(3)]
    server.wait_for(CANNOT)
    return opened


@pytest.mark.parametrize("kind", KINDS)
def test_accepting_pauses_and_the_others_go_on(kind: str) -> None:
    with server_process(kind) as server:
        with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
            before = transport.connect("contoso.com", **server.place)
            before.ping(timeout=20)
            files, fillers = server.files(), fill(server, kind)
            used = server.cpu()
            for _ in range(LINES):
                server.wait_for(CANNOT)
            assert server.cpu() - used < MOST_CPU
            before.ping(timeout=20)
            for filler in fillers:
                filler.close()
            # Those that waited are accepted now, and found to be gone.
            ends = ("log the connection with", "log lost a connection")
            server.wait_for_all(len(fillers), *ends)
            while server.files() > files:
                pass
            visit(server.place)


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_is_served_when_there_are_descriptors_again(kind: str) -> None:
    with server_process(kind) as server:
        fillers = fill(server, kind)
        waiting = socket.create_connection((server.place["host"], server.place["port"]))
        server.wait_for(CANNOT)
        server.say("feed NOFILE", "fed")
        with sync.wrap_socket(waiting, POLICY, "contoso.com", credential=OURS) as connection:
            connection.ping(timeout=20)
        for filler in fillers:
            filler.close()


def test_a_blocking_connection_that_finds_no_descriptors_of_its_own_is_told() -> None:
    """A descriptor is left for the socket, and none for what wakes whoever waits for it."""
    with server_process("sync") as server:
        server.say("starve NOFILE +1", "starved")
        with socket.create_connection((server.place["host"], server.place["port"])) as lost:
            server.wait_for("log lost a connection from")
            assert lost.recv(1) == b""
        server.say("feed NOFILE", "fed")
        visit(server.place)
