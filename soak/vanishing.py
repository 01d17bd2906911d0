"""Peers of the soak that vanish: cut off in order or not, killed, or silent for ever.

``python vanishing.py PORT`` is one that is to be killed: it talks until then.
"""

from __future__ import annotations

import asyncio
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from rounds import Ports, Report, obey
from world import OURS, PARTNERS, believes_us, credential_of, request

from siptls import ClientConnection, TLSClientTransport

NAME = "p8.example"
DOOMED_EACH = 5  # connections of a process that is killed
KILL_EVERY, VANISH_EVERY = 5.0, 0.15
SHOWN = credential_of(NAME)
MOST_SILENT = 40


class Peer:
    """A connection on a socket of its own: nothing closes it in order."""

    def __init__(self, port: int) -> None:
        self.core = ClientConnection(believes_us(), OURS, credential=SHOWN)
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        while not self.core.established:
            self.push()
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("no handshake")
            self.core.receive_data(data)
        self.push()

    def push(self) -> None:
        """Write what is to be written."""
        self.sock.sendall(self.core.data_to_send())

    def say(self, messages: int) -> None:
        """Send some messages."""
        for number in range(messages):
            self.core.send(request(number, 100))
        self.push()

    def close(self) -> None:
        """End with a FIN, or with a reset if something is unread; without a close_notify."""
        self.sock.close()

    def reset(self) -> None:
        """End with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()


class Vanishing:
    """Everything that one round does."""

    def __init__(self, ports: Ports, report: Report) -> None:
        self._ports = ports
        self._done, self._wrong = report.done, report.wrong
        self._silent: list[Peer] = []
        self._doomed: subprocess.Popen[bytes] | None = None
        self._kill_at = 0.0

    def run(self) -> None:
        """Work until standard input is readable."""
        ways: dict[str, Callable[[int], None]] = {
            "vanished: closed without close_notify": self._cut_off,
            "vanished: reset": self._reset,
            "vanished: in the middle of a message": self._half,
            "vanished: in the handshake": self._early,
            "vanished: silent": self._be_silent,
        }
        try:
            while not select.select([0], [], [], random.expovariate(1 / VANISH_EVERY))[0]:
                what = random.choice(list(ways))  # noqa: S311  no secret
                port = random.choice(  # noqa: S311  no secret
                    (self._ports.handler, self._ports.on_message, self._ports.blocking)
                )
                try:
                    ways[what](port)
                except OSError as error:
                    self._wrong.append(f"{what}: no connection: {error!r}")
                self._done[what] += 1
                self._look_at_doomed()
        finally:
            for peer in self._silent:
                peer.close()
            if self._doomed is not None:
                self._kill()

    # ------------------------------------------------------------ the ways

    def _cut_off(self, port: int) -> None:
        peer = Peer(port)
        peer.say(3)
        peer.close()

    def _reset(self, port: int) -> None:
        peer = Peer(port)
        peer.say(3)
        peer.reset()

    def _half(self, port: int) -> None:
        peer = Peer(port)
        peer.core.send(request(0, 100)[:-20])
        peer.push()
        peer.close()

    def _early(self, port: int) -> None:
        core = ClientConnection(believes_us(), OURS, credential=SHOWN)
        with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
            sock.sendall(core.data_to_send()[: random.randrange(1, 200)])  # noqa: S311

    def _be_silent(self, port: int) -> None:
        self._silent.append(Peer(port))
        for peer in self._silent[:-MOST_SILENT]:
            peer.close()
        del self._silent[:-MOST_SILENT]

    def _look_at_doomed(self) -> None:
        """Kill the process that talks, and start another one."""
        now = time.monotonic()
        if self._doomed is not None and now > self._kill_at:
            self._kill()
            self._done["vanished: connections of killed processes"] += DOOMED_EACH
        if self._doomed is None:
            self._doomed = subprocess.Popen(
                [sys.executable, __file__, str(self._ports.handler)], stdin=subprocess.DEVNULL
            )
            self._kill_at = now + KILL_EVERY

    def _kill(self) -> None:
        assert self._doomed is not None
        self._doomed.kill()
        self._doomed.wait()
        self._doomed = None


async def be_doomed(port: int) -> None:
    """Talk over some connections, for ever."""
    name = next(iter(PARTNERS))

    async def talk(transport: TLSClientTransport) -> None:
        connection = await transport.connect(OURS, host="127.0.0.1", port=port, reuse=False)
        number = 0
        while True:
            await connection.send(request(number, 1000))
            await connection.receive()
            number += 1
            await asyncio.sleep(0.05)

    async with TLSClientTransport(believes_us(), credential=credential_of(name)) as transport:
        await asyncio.gather(*(talk(transport) for _ in range(DOOMED_EACH)))


def work(ports: Ports, report: Report) -> None:
    """Do one round."""
    Vanishing(ports, report).run()


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(be_doomed(int(sys.argv[1])))
    else:
        obey(work)
