"""Network namespaces: machines of a test's own, with addresses that nothing else can reach."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from attrs import frozen

_T = TypeVar("_T")
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=20)


@frozen
class Namespace:
    """A network namespace. A socket that was made in it stays there."""

    name: str

    def ip(self, *arguments: str) -> None:
        """Have the program ip do something there."""
        ip("-n", self.name, *arguments)

    def within(self, make: Callable[[], _T]) -> _T:
        """Make a socket there. The thread that goes there ends with it."""

        def go() -> _T:
            with Path("/run/netns", self.name).open("rb") as there:
                if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return make()

        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(go).result()

    def listener(self, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
        return self.within(lambda: socket.create_server((host, port)))

    def connected(self, host: str, port: int) -> socket.socket:
        return self.within(lambda: socket.create_connection((host, port), timeout=10))


@contextmanager
def namespaces(number: int) -> Iterator[list[Namespace]]:
    """Make so many, and remove them; skip the test where that is not allowed."""
    if shutil.which("ip") is None:
        pytest.skip("there is no program ip: apt-get install iproute2")
    with ExitStack() as made:
        found = []
        for _ in range(number):
            here = Namespace(f"siptls-{os.getpid()}-{next(_numbers)}")
            try:
                ip("netns", "add", here.name)
                made.callback(ip, "netns", "del", here.name)
                here.ip("link", "set", "lo", "up")
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no network namespaces without CAP_NET_ADMIN: {error.stderr.strip()}")
            found.append(here)
        yield found


@contextmanager
def machine(address: str) -> Iterator[Namespace]:
    """Make one with an address besides loopback, and a default route, for programs that want a net.

    The cable ends in the same machine: nothing leaves it.
    """
    with namespaces(1) as (here,):
        here.ip("link", "add", "one", "type", "veth", "peer", "name", "other")
        here.ip("address", "add", f"{address}/30", "dev", "one")
        for name in ("one", "other"):
            here.ip("link", "set", name, "up")
        here.ip("route", "add", "default", "dev", "one")
        yield here
