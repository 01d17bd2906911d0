"""siptls.sync under load: nothing is lost, nothing overtakes, nothing is left behind."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from front_ends import OURS, POLICY
from sip import request

from siptls import Limits, sync

CLIENTS, MESSAGES = 200, 50


@pytest.mark.timeout(180)
def test_two_hundred_threads_exchange_ten_thousand_messages() -> None:
    threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    wrong: list[object] = []

    def handler(connection: sync.Connection) -> None:
        for message in connection:
            connection.send(message.reply(200, "OK"), timeout=120)

    def talk(transport: sync.TLSClientTransport, port: int) -> None:
        connection = transport.connect("contoso.com", host="127.0.0.1", port=port)

        def receive() -> None:
            for number in range(MESSAGES):
                got = connection.receive(timeout=120).header("CSeq")
                if got != f"{number} OPTIONS":
                    wrong.append((number, got))

        receiver = threading.Thread(target=receive)
        receiver.start()
        for number in range(MESSAGES):
            connection.send(request(number=number), timeout=120)
        receiver.join()
        connection.close()

    # A storm of handshakes on one machine: the last of them waits for all others.
    limits = Limits(max_threads=CLIENTS, handshake_timeout=120, connect_timeout=60)
    with (
        sync.MTLSServerTransport(OURS, POLICY, handler, limits=limits) as server,
        sync.TLSClientTransport(POLICY, credential=OURS, limits=limits) as transport,
    ):
        server.listen("127.0.0.1", 0)
        port = server.addresses[0][1]
        clients = [threading.Thread(target=talk, args=[transport, port]) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert wrong == []
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == files
