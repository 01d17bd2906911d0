"""Clients of the soak on blocking sockets: as many threads as there are conversations at once."""

from __future__ import annotations

import random
import select
import threading

from rounds import Ports, Report, obey
from world import OURS, PARTNERS, Said, believes_us, credential_of

from siptls import Limits, SIPTLSError, sync

THREADS = 30
MOST_MESSAGES, PAUSE = 30, 0.2
LIMITS = Limits(handshake_timeout=60, connect_timeout=60, reach_timeout=120, close_timeout=30)
TIMEOUT = 120.0
UPDATED = 0.2  # of the conversations, after how many the client is updated
NAMES = [name for name in PARTNERS if name != "p9.example"]


class Clients:
    """Everything that one round does."""

    def __init__(self, ports: Ports, report: Report) -> None:
        self._port = ports.blocking
        self._done, self._wrong = report.done, report.wrong
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self) -> None:
        """Work until standard input is readable."""
        threads = [threading.Thread(target=self._slot, args=[n]) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        select.select([0], [], [])
        self._stop.set()
        for thread in threads:
            thread.join()

    def _count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self._done[what] += number

    def _slot(self, number: int) -> None:
        name = NAMES[number % len(NAMES)]
        with sync.TLSClientTransport(
            believes_us(),
            credential=credential_of(name),
            limits=LIMITS,
            resume=number % 2 == 0,
            keep_alive=2.0 if number % 3 == 0 else None,
        ) as transport:
            while not self._stop.is_set():
                try:
                    connection = transport.connect(
                        OURS, host="127.0.0.1", port=self._port, reuse=False
                    )
                    self._count("blocking: connections")
                    assert connection.tls is not None
                    self._count("blocking: sessions resumed", int(connection.tls.resumed))
                    with connection:
                        self._talk(name, connection)
                    if random.random() < UPDATED:  # noqa: S311  no secret
                        transport.update(policy=believes_us(), credential=credential_of(name))
                        self._count("blocking: updates of clients")
                except SIPTLSError as error:
                    self._wrong.append(f"{name}: a healthy blocking connection ended: {error!r}")

    def _talk(self, name: str, connection: sync.Connection) -> None:
        said = Said(name, self._wrong, messages=random.randrange(1, MOST_MESSAGES))  # noqa: S311
        speaking = threading.Thread(target=self._speak, args=[connection, said])
        speaking.start()
        try:
            while not said.is_whole:
                said.heard.check(connection.receive(timeout=TIMEOUT))
            self._count("blocking: conversations finished")
            self._count("blocking: messages sent", said.sent)
        finally:
            speaking.join()

    def _speak(self, connection: sync.Connection, said: Said) -> None:
        while (message := said.next(hurry=self._stop.is_set())) is not None:
            try:
                connection.send(message, timeout=TIMEOUT)
            except SIPTLSError:
                return  # whoever receives is told, too
            self._stop.wait(random.expovariate(1 / PAUSE))


def work(ports: Ports, report: Report) -> None:
    """Do one round."""
    Clients(ports, report).run()


if __name__ == "__main__":
    obey(work)
