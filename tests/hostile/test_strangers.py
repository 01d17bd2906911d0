"""Strangers who never come as far as a handshake: they cost a bounded time, and nobody waits."""

from __future__ import annotations

import contextlib
import random
import select
import socket

import pytest
from front_ends import OURS
from hostility import Attacked, Victim, read_to_end, wait_for
from OpenSSL import SSL
from peers import context_of
from sip import request

SHORT = 0.5
"""Seconds for a handshake, where a test waits for their end."""


def record(kind: int, data: bytes, version: bytes = b"\x03\x01") -> bytes:
    return bytes([kind]) + version + len(data).to_bytes(2, "big") + data


def hello(version: str) -> bytes:
    """Give a ClientHello, as a record."""
    tls = SSL.Connection(context_of(version, OURS), None)
    tls.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        tls.do_handshake()
    return tls.bio_read(65536)


def old_hello(version: bytes) -> bytes:
    """Give a ClientHello of an old version, with a suite that it had."""
    body = version + bytes(32) + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
    return record(22, b"\x01" + len(body).to_bytes(3, "big") + body)


HELLO = hello("TLSv1.3")
FIRST = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: contoso.com\r\n\r\n",
    "SIP without TLS": request(),
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "noise": random.Random(1).randbytes(5000),
    "CRLFs": b"\r\n" * 2500,
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40),
    "SSL 3": old_hello(b"\x03\x00"),
    "TLS 1.0": old_hello(b"\x03\x01"),
    "TLS 1.1": old_hello(b"\x03\x02"),
    "an unknown kind of record": record(99, b"hello"),
    "a record that is too large": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "a record of another version": record(22, HELLO[5:], b"\x09\x09"),
    "an alert": record(21, b"\x02\x28"),
    "warnings without end": record(21, b"\x01\x5a") * 100,
    "data before the handshake": record(23, request()),
    "a cipher change before the handshake": record(20, b"\x01") * 100,
    "empty records": record(22, b"") * 100,
    "a ServerHello": record(22, b"\x02" + HELLO[6:]),
    "a Finished": record(22, b"\x14\x00\x00\x20" + bytes(32)),
    "a handshake message of 16 MiB": record(22, b"\x01\xff\xff\xff" + bytes(10_000)) * 100,
    "two ClientHellos": HELLO + HELLO,
    "a ClientHello that ends early": record(22, b"\x01\x00\x00\x10" + HELLO[9:25]),
    "a ClientHello with a tail": record(22, HELLO[5:] + b"\x01"),
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST.keys())
def test_what_is_no_handshake_is_let_go_at_once(victim: Victim, first: bytes) -> None:
    with victim.visited() as tcp:
        with contextlib.suppress(ConnectionError):
            tcp.sendall(first)
        read_to_end(tcp)
        victim.says("is over")
        victim.serves()
    victim.is_rid_of_them()


PARTS = {"nothing": b"", "a byte": HELLO[:1], "a half": HELLO[:100], "a ClientHello": HELLO}


@pytest.mark.parametrize("first", PARTS.values(), ids=PARTS.keys())
def test_who_says_nothing_more_is_let_go_in_time(attacked: Attacked, first: bytes) -> None:
    with attacked(handshake_timeout=SHORT) as victim, victim.visited() as tcp:
        tcp.sendall(first)
        victim.serves()
        read_to_end(tcp)
        victim.says("handshake")
        victim.is_rid_of_them()


def test_bytes_that_drip_gain_no_time(attacked: Attacked) -> None:
    with attacked(handshake_timeout=SHORT) as victim, victim.visited() as tcp:
        sent = 0
        with contextlib.suppress(ConnectionError):
            for byte in HELLO:
                if select.select([tcp], [], [], SHORT / 20)[0]:
                    break  # there is an answer: it has had enough
                tcp.send(bytes([byte]))
                sent += 1
                if sent == 3:
                    victim.serves()
        assert 3 < sent < len(HELLO)
        read_to_end(tcp)
        victim.says("handshake")
        victim.is_rid_of_them()


@pytest.mark.parametrize("first", PARTS.values(), ids=PARTS.keys())
@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_who_is_gone_again_leaves_nothing(victim: Victim, how: str, first: bytes) -> None:
    with victim.visited() as tcp:
        tcp.sendall(first)
        wait_for(victim.held)
        if how == "RST":
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            tcp.shutdown(socket.SHUT_WR)
            read_to_end(tcp)
    victim.serves()
    victim.is_rid_of_them()


def test_bytes_that_come_one_by_one_are_a_handshake_all_the_same(
    victim: Victim, version: str
) -> None:
    with victim.visited() as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = SSL.Connection(context_of(version, OURS), None)
        tls.set_connect_state()
        tls_done = False
        while not tls_done:
            with contextlib.suppress(SSL.WantReadError):
                tls.do_handshake()
                tls_done = True
            with contextlib.suppress(SSL.WantReadError):
                for byte in tls.bio_read(65536):
                    tcp.send(bytes([byte]))
            if not tls_done:
                tls.bio_write(tcp.recv(1))
        tls.send(request())
        for byte in tls.bio_read(65536):
            tcp.send(bytes([byte]))
        reply = b""
        while b"\r\n\r\n" not in reply:
            tls.bio_write(tcp.recv(1))
            with contextlib.suppress(SSL.WantReadError):
                reply += tls.recv(65536)
        assert reply.startswith(b"SIP/2.0 200 OK\r\n")
    assert victim.end() == "cut off"
    victim.is_rid_of_them()


def test_a_crowd_that_says_nothing_keeps_nobody_waiting(attacked: Attacked) -> None:
    with attacked(max_per_address=110) as victim:
        with contextlib.ExitStack() as crowd:
            silent = [crowd.enter_context(victim.visited()) for _ in range(100)]
            wait_for(lambda: victim.held() == 100)
            victim.serves()
            for tcp in silent[::2]:
                tcp.sendall(HELLO)
            victim.serves()
            wait_for(lambda: victim.held() == 100)
        victim.serves()
        victim.is_rid_of_them()


def test_a_crowd_from_one_address_is_turned_away(attacked: Attacked) -> None:
    with attacked(max_per_address=3) as victim, contextlib.ExitStack() as crowd:
        for _ in range(3):
            crowd.enter_context(victim.visited())
        wait_for(lambda: victim.held() == 3)
        for _ in range(20):
            with contextlib.suppress(ConnectionResetError), victim.visited() as tcp:
                assert read_to_end(tcp) == b""
        victim.says("there are 3 from there already")
        assert victim.held() == 3
