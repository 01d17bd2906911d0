"""A port on loopback that is free, for a program that must be told its port before it starts."""

from __future__ import annotations

import itertools
import os
import socket

# Below the ports that the kernel gives to those that ask for any (from 32768 on Linux): else
# a connection of another test may take the port before the program has it.
FIRST, LAST = 20_000, 32_000

_next = itertools.count(os.getpid() * 7)


def free_port() -> int:
    """Give a port that is free for TCP and for UDP, another each time."""
    for number in _next:
        port = FIRST + number % (LAST - FIRST)
        try:
            with (
                socket.create_server(("127.0.0.1", port)),
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            ):
                datagrams.bind(("127.0.0.1", port))
                return port
        except OSError:
            continue
    raise AssertionError
