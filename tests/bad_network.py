"""A bad network: what is between two machines loses, delays, swaps and doubles packets.

The machines are network namespaces, each with a TUN device. A thread of the test holds both devices
and carries packets from one to the other, as badly as a seeded random says. ``tc netem`` would do
the same, but many kernels are built without it, and none lets a test see what was done.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_OURS, _PEERS = "198.18.0.1", "198.18.0.2"
_PACKET = 65536
_numbers = itertools.count()


@frozen(kw_only=True)
class Weather:
    """How bad it is.

    Attributes:
        loss: The part of packets that are lost.
        doubled: The part that come twice.
        swapped: The part that come later than those after them.
        delay: Seconds that each takes.
        late: Seconds that one takes besides if it is swapped.
    """

    loss: float = 0.0
    doubled: float = 0.0
    swapped: float = 0.0
    delay: float = 0.0
    late: float = 0.02


class BadNetwork:
    """Two machines, and what is between them.

    Attributes:
        weather: How bad it is; it may change.
        done: What was done to packets.
        cut_off: Released for each that came while the link was down.
    """

    def __init__(self, ours: str, peers: str, devices: tuple[int, int], seed: int) -> None:
        self.weather = Weather()
        self.done: Counter[str] = Counter()
        self.cut_off = threading.Semaphore(0)
        self._names = {"ours": ours, "peers": peers}
        self._devices = devices
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, int, bytes]] = []  # when, number, to whom, what
        self._is_up = True
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def close(self) -> None:
        """Carry no more."""
        self._end.close()
        self._thread.join()
        self._ended.close()

    def cut(self) -> None:
        """Have the link go down: all packets are lost, and nobody is told."""
        self._is_up = False

    def mend(self) -> None:
        """Have it come back."""
        self._is_up = True

    def listen(self, port: int = 0) -> socket.socket:
        """Listen on the peer's machine."""
        return within(self._names["peers"], lambda: socket.create_server((_PEERS, port)))

    def connect(self, listener: socket.socket) -> socket.socket:
        """Connect from our machine to the peer's."""
        name = listener.getsockname()
        return within(self._names["ours"], lambda: socket.create_connection(name, timeout=20))

    def run(self, work: Callable[[], Any]) -> Any:
        """Do something on our machine: whatever sockets it makes are there."""
        return within(self._names["ours"], work)

    # ------------------------------------------------------------ the thread that carries

    def _carry(self) -> None:
        poll = select.poll()
        for one in (*self._devices, self._ended.fileno()):
            poll.register(one, select.POLLIN)
        while True:
            until = self._waiting[0][0] - time.monotonic() if self._waiting else None
            ready = poll.poll(None if until is None else max(0.0, until * 1000))
            for number, _ in ready:
                if number == self._ended.fileno():
                    return
                self._take(os.read(number, _PACKET), to=self._other(number))
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                _, _, to, packet = heapq.heappop(self._waiting)
                if self._is_up:
                    os.write(to, packet)

    def _other(self, number: int) -> int:
        return self._devices[self._devices[0] == number]

    def _take(self, packet: bytes, *, to: int) -> None:
        """Decide what becomes of a packet."""
        weather, chance = self.weather, self._random.random
        if packet[0] >> 4 != 4:  # IPv6 looks for neighbours
            return
        if not self._is_up:
            self.cut_off.release()
            return
        if chance() < weather.loss:
            self.done["lost"] += 1
            return
        self.done["carried"] += 1
        due = time.monotonic() + weather.delay
        if chance() < weather.swapped:
            self.done["swapped"] += 1
            due += weather.late
        times = 1
        if chance() < weather.doubled:
            self.done["doubled"] += 1
            times = 2
        for _ in range(times):
            heapq.heappush(self._waiting, (due, next(self._numbers), to, packet))


# ---------------------------------------------------------------- making one


@contextmanager
def bad_network(seed: int = 1) -> Iterator[BadNetwork]:
    """Make two machines with a link between them; skip where it is not allowed."""
    if shutil.which("ip") is None:
        pytest.skip("there is no program ip (iproute2)")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("no /dev/net/tun that may be opened: there is no bad network without it")
    number = f"{os.getpid()}-{next(_numbers)}"
    names = (f"siptls-bad-{number}-a", f"siptls-bad-{number}-b")
    with ExitStack() as made:
        devices = []
        for name, address in zip(names, (_OURS, _PEERS), strict=True):
            try:
                _ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no network namespaces without CAP_NET_ADMIN: {error.stderr.strip()}")
            made.callback(_ip, "netns", "del", name)
            try:
                device = within(name, _tun)
            except OSError as error:
                pytest.skip(f"no TUN device can be made: {error}")
            made.callback(os.close, device)
            devices.append(device)
            _ip("-n", name, "address", "add", f"{address}/30", "dev", "bad")
            _ip("-n", name, "link", "set", "bad", "up")
        network = BadNetwork(*names, (devices[0], devices[1]), seed)
        made.callback(network.close)
        yield network


def _tun() -> int:
    """Make a TUN device in this thread's namespace; give what its packets go through."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"bad", _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(device)
        raise
    return device


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=20)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def within(namespace: str, make: Callable[[], Any]) -> Any:
    """Make a socket in a namespace, where it stays. The thread that goes there ends with it."""
    made: list[Any] = []
    failed: list[BaseException] = []

    def go() -> None:
        try:
            with Path("/run/netns", namespace).open("rb") as there:
                _enter(there.fileno())
            made.append(make())
        except BaseException as error:  # noqa: BLE001  it is raised where it is asked for
            failed.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
