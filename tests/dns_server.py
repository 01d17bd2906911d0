"""DNS servers on loopback for tests: dnsmasq, and one that says what a test wants it to say."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from ports import free_port

from siptls import DNSResolver

dns_message = pytest.importorskip("dns.message", reason="dnspython is not installed")
dns_flags = pytest.importorskip("dns.flags")
dns_query = pytest.importorskip("dns.query")
dns_rcode = pytest.importorskip("dns.rcode")
dns_rrset = pytest.importorskip("dns.rrset")

DNSMASQ = shutil.which("dnsmasq", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def dnsmasq(*records: str) -> Iterator[int]:
    """Run dnsmasq for the names below ``test``, with records as its options; give its port.

    Every other name is refused, for it has nobody to ask.
    """
    if DNSMASQ is None:
        pytest.skip("dnsmasq is not installed: apt-get install dnsmasq-base")
    port = free_port()
    command = [DNSMASQ, "--conf-file=/dev/null", "--keep-in-foreground", "--no-hosts"]
    command += ["--no-resolv", "--bind-interfaces", "--listen-address=127.0.0.1", f"--port={port}"]
    command += ["--pid-file=", "--log-facility=-", "--local=/test/", "--local-ttl=60"]
    if os.getuid() == 0:
        command.append("--user=root")
    process = subprocess.Popen([*command, *records], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for _ in range(100):  # each waits for an answer, or for a tenth of a second
            assert process.poll() is None, f"dnsmasq did not start: {process.stderr.read()}"
            query = dns_message.make_query("ready.test", "A")
            try:
                dns_query.udp(query, "127.0.0.1", timeout=0.1, port=port)
                break
            except Exception:  # noqa: BLE001
                continue
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=10)


class Says(asyncio.DatagramProtocol):
    """Answers each question with what a test has written down, and counts the questions.

    Args:
        answers: By name and type, such as ``"a.test A"``: records as text; the name of an rcode,
            such as ``"SERVFAIL"``; or None, to say nothing. A name that is in none
            is NXDOMAIN.
        ad: Set the AD bit if the question asks for it, except for the questions in ``bare``.
    """

    def __init__(
        self,
        answers: dict[str, list[str] | str | None],
        *,
        ad: bool = False,
        bare: tuple[str, ...] = (),
        ttl: int = 60,
    ) -> None:
        self.answers = answers
        self.ad, self.bare, self.ttl = ad, bare, ttl
        self.asked: Counter[str] = Counter()
        self.first = asyncio.Event()
        self.port = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns_message.from_wire(data)
        [question] = query.question
        kind = question.to_text().split()[-1]
        key = f"{question.name.to_text(omit_final_dot=True)} {kind}"
        self.asked[key] += 1
        self.first.set()
        exists = any(known.split()[0] == key.split(maxsplit=1)[0] for known in self.answers)
        said = self.answers.get(key, [] if exists else "NXDOMAIN")
        if said is None:
            return
        reply = dns_message.make_response(query, recursion_available=True)
        if self.ad and query.flags & dns_flags.AD and query.edns == 0 and key not in self.bare:
            reply.flags |= dns_flags.AD
        if isinstance(said, str):
            reply.set_rcode(dns_rcode.from_text(said))
        elif said:
            reply.answer = [dns_rrset.from_text(question.name, self.ttl, "IN", kind, *said)]
        self._transport.sendto(reply.to_wire(max_size=65535), addr)


@asynccontextmanager
async def saying(
    answers: dict[str, list[str] | str | None], **options: Any
) -> AsyncIterator[tuple[Says, DNSResolver]]:
    """Run such a server, and give it with a resolver that asks it."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: Says(answers, **{k: options.pop(k) for k in ("ad", "bare", "ttl") if k in options}),
        local_addr=("127.0.0.1", 0),
    )
    options.setdefault("timeout", 2.0)
    try:
        yield server, DNSResolver(nameservers=["127.0.0.1"], port=server.port, **options)
    finally:
        transport.close()
