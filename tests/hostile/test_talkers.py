"""Peers who have proven their name, and then say what they should not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from hostility import GUEST, Attacked, Victim, read_to_end
from OpenSSL import SSL
from peers import context_of
from sip import request

REQUEST = request()
START = b"OPTIONS sip:contoso.com SIP/2.0\r\n"
LENGTH = b"Content-Length: 0\r\n"


def with_lengths(*lines: str) -> bytes:
    """Give a request with a body of two bytes, and these lines instead of its length."""
    plain = request(body=b"hi").replace(b"Content-Length: 2\r\n", b"")
    return plain.replace(
        b"\r\n\r\n", "".join(f"\r\n{line}" for line in lines).encode() + b"\r\n\r\n"
    )


NO_SIP = {
    "noise": b"\x00\x01\x02\xff" * 100,
    "HTTP": b"GET / HTTP/1.1\r\nHost: contoso.com\r\n\r\n",
    "a length that is missing": with_lengths(),
    "a negative length": with_lengths("Content-Length: -2"),
    "a length with a sign": with_lengths("Content-Length: +2"),
    "a length in hexadecimal": with_lengths("Content-Length: 0x2"),
    "a length with a point": with_lengths("Content-Length: 2.0"),
    "a length with a space in it": with_lengths("Content-Length: 2 2"),
    "a list of lengths": with_lengths("Content-Length: 2, 2"),
    "an empty length": with_lengths("Content-Length:"),
    "a length in words": with_lengths("Content-Length: two"),
    "a length in Arabic digits": with_lengths("Content-Length: \u0662"),
    "two lengths": with_lengths("Content-Length: 2", "Content-Length: 3"),
    "two lengths, one of them short": with_lengths("Content-Length: 2", "l: 0"),
    "two lengths, one of them folded": with_lengths("Content-Length: 2", "l:\r\n 0"),
    "a huge length": with_lengths("Content-Length: 99999999999999999999999"),
    "a length above the limit": with_lengths("Content-Length: 1048577"),
    "a length of a megabyte of digits": with_lengths("Content-Length: " + "9" * 60_000),
    "a NUL": REQUEST.replace(b"Via:", b"V\0a:"),
    "a lone LF": REQUEST.replace(b"\r\nVia", b"\nVia"),
    "a lone CR": REQUEST.replace(b"\r\nVia", b"\rVia"),
    "a fold of the start line": START + b" more\r\n" + LENGTH + b"\r\n",
    "a fold of a name": START + b"Content-Length\r\n : 0\r\n" + LENGTH + b"\r\n",
    "many lines": START + b"a: 1\r\n" * 300 + LENGTH + b"\r\n",
    "many folds": START + b"a: 1\r\n" + b" 2\r\n" * 300 + LENGTH + b"\r\n",
}


@pytest.mark.parametrize("data", NO_SIP.values(), ids=NO_SIP.keys())
def test_what_two_could_read_differently_ends_the_connection(
    victim: Victim, version: str, data: bytes
) -> None:
    """Nothing after it is answered."""
    with victim.proven(version) as tls:
        tls.sendall(REQUEST)
        assert heard(tls, 1).startswith(b"SIP/2.0 200 OK")
        tls.sendall(data + REQUEST)
        assert read_all(tls) == b""
        assert victim.end() == "no SIP"
        victim.serves()
    victim.is_rid_of_them()


@pytest.mark.parametrize(
    "data",
    [
        with_lengths("Content-Length: 2", "Content-Length: 2"),
        with_lengths("Content-Length: 2", "L : 2"),
        with_lengths("content-length   :\t  2   "),
        with_lengths("l:\r\n\t2"),
        with_lengths("Content-Length: 0000002"),
        REQUEST.replace(b"Call-ID: 1", b"Call-ID: \xff\xfe"),
        b"\r\n" + REQUEST,
    ],
)
def test_what_all_read_alike_is_answered(victim: Victim, version: str, data: bytes) -> None:
    with victim.proven(version) as tls:
        tls.sendall(data + REQUEST)
        assert heard(tls, 2).count(b"SIP/2.0 200 OK") == 2
        tls.shutdown()
        assert victim.end() == "closed in order"
    victim.is_rid_of_them()


ENDLESS = {
    "a line": (START + b"Subject: ", b"x" * 65536),
    "lines": (START, b"Subject: x\r\n" * 5000),
    "a folded line": (START + b"Subject: x", b"\r\n x" * 16_000),
    "a start line": (b"OPTIONS ", b"x" * 65536),
    "a name": (START, b"x" * 65536),
}


@pytest.mark.parametrize(("first", "more"), ENDLESS.values(), ids=ENDLESS.keys())
def test_a_head_without_end_is_cut_off_at_its_limit(
    victim: Victim, version: str, first: bytes, more: bytes
) -> None:
    """It would be 100 MiB; what the kernels hold is all that can be sent."""
    with victim.proven(version) as tls:
        sent = send_until_refused(tls, first, more, 1600)
        assert sent < 1600
        assert victim.end() == "no SIP"
        victim.serves()
    victim.is_rid_of_them()


def test_a_million_crlfs_are_half_a_million_pings(victim: Victim, version: str) -> None:
    """Each is answered, to whoever reads the answers."""
    with victim.proven(version) as tls:
        pongs = 0
        for _ in range(100):
            tls.sendall(b"\r\n" * 10_000)
            for _ in range(10_000):
                got = tls.recv(16_384)
                assert got.replace(b"\r\n", b"") == b""
                pongs += len(got) // 2
                if pongs % 5_000 == 0:
                    break
        assert pongs == 500_000
        victim.serves()
        tls.sendall(REQUEST)
        assert heard(tls, 1).startswith(b"SIP/2.0 200 OK")
        tls.shutdown()
        assert victim.end() == "closed in order"
    victim.is_rid_of_them()


@pytest.mark.parametrize("data", [b"\r\n\r\n" * 4096, REQUEST * 40], ids=["pings", "requests"])
def test_who_never_reads_is_let_go(attacked: Attacked, version: str, data: bytes) -> None:
    """What is owed to it is bounded; and it is given up when it takes nothing."""
    with attacked(gone_timeout=1) as victim, victim.proven(version) as tls:
        sent = threading.Event()

        def flood() -> None:
            send_until_refused(tls, b"", data, 10**6)
            sent.set()

        thread = threading.Thread(target=flood)
        thread.start()
        victim.serves()
        assert victim.end() == "cut off"
        victim.serves()
        thread.join()
        victim.is_rid_of_them()


# ---------------------------------------------------------------- the end of the stream


@pytest.mark.parametrize("data", [b"", REQUEST[:1], REQUEST[:-1]], ids=["none", "a byte", "most"])
@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_a_stream_that_ends_without_close_notify_is_cut_off(
    victim: Victim, version: str, how: str, data: bytes
) -> None:
    """Whoever sits between can end it, and nobody takes that for the peer's word."""
    with victim.proven(version) as tls:
        tls.sendall(REQUEST)
        assert heard(tls, 1)
        if data:
            tls.sendall(data)
        if how == "RST":
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            tls.sock_shutdown(socket.SHUT_WR)
    assert victim.end() == "cut off"
    victim.serves()
    victim.is_rid_of_them()


def test_a_close_notify_in_the_middle_of_a_message_is_no_good_end(
    victim: Victim, version: str
) -> None:
    with victim.proven(version) as tls:
        tls.sendall(REQUEST[:-10])
        tls.shutdown()
        assert victim.end() == "cut off"
    victim.is_rid_of_them()


def test_who_closes_its_half_has_closed_the_whole(victim: Victim, version: str) -> None:
    """Its close_notify is answered by ours, and nothing more is waited for."""
    with victim.proven(version) as tls:
        tls.sendall(REQUEST)
        assert heard(tls, 1)
        tls.shutdown()
        tls.sock_shutdown(socket.SHUT_WR)
        assert victim.end() == "closed in order"
        with pytest.raises(SSL.ZeroReturnError):
            tls.recv(1)
    victim.is_rid_of_them()


# ---------------------------------------------------------------- records


class Records:
    """A peer whose records can be taken before they go out."""

    def __init__(self, tcp: socket.socket, version: str) -> None:
        self.tcp = tcp
        self.tls = SSL.Connection(context_of(version, GUEST), None)
        self.tls.set_connect_state()
        while True:
            with contextlib.suppress(SSL.WantReadError):
                self.tls.do_handshake()
                break
            tcp.sendall(self.tls.bio_read(65536))
            self.tls.bio_write(tcp.recv(65536))
        with contextlib.suppress(SSL.WantReadError):  # TLS 1.2 has nothing more to say
            tcp.sendall(self.tls.bio_read(65536))

    def make(self, data: bytes) -> bytes:
        """Give the record that carries some data."""
        self.tls.send(data)
        return self.tls.bio_read(65536)

    def hear(self) -> bytes:
        """Give one answer."""
        got = b""
        while b"\r\n\r\n" not in got:
            self.tls.bio_write(self.tcp.recv(65536))
            with contextlib.suppress(SSL.WantReadError):
                got += self.tls.recv(65536)
        return got


@pytest.fixture
def records(victim: Victim, version: str) -> Iterator[Records]:
    with victim.visited() as tcp:
        yield Records(tcp, version)


def flipped(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


# The answer to the one that is repeated is lost with the connection: both come at once.
TAMPERED: dict[str, Callable[[Records], bytes]] = {
    "repeated": lambda peer: peer.make(REQUEST) * 2,
    "altered": lambda peer: flipped(peer.make(REQUEST)),
    "left out": lambda peer: (peer.make(REQUEST), peer.make(REQUEST))[1],
    "swapped": lambda peer: b"".join([peer.make(REQUEST), peer.make(REQUEST)][::-1]),
    "invented": lambda _: b"\x17\x03\x03\x00\x40" + bytes(64),
    "in the clear": lambda _: REQUEST,
    "a close_notify in the clear": lambda _: b"\x15\x03\x03\x00\x02\x01\x00",
    "empty without end": lambda _: b"\x17\x03\x03\x00\x00" * 100,
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED.keys())
def test_records_that_were_tampered_with_end_the_connection(
    victim: Victim, records: Records, tamper: Callable[[Records], bytes]
) -> None:
    records.tcp.sendall(records.make(REQUEST))
    assert records.hear().startswith(b"SIP/2.0 200 OK")
    records.tcp.sendall(tamper(records))
    read_to_end(records.tcp)
    records.tcp.close()
    assert victim.end() == "cut off"
    victim.serves()
    victim.is_rid_of_them()


def test_a_record_that_is_cut_is_no_good_end(victim: Victim, records: Records) -> None:
    records.tcp.sendall(records.make(REQUEST)[:-1])
    records.tcp.shutdown(socket.SHUT_WR)
    assert victim.end() == "cut off"
    victim.serves()
    victim.is_rid_of_them()


def test_records_may_be_cut_anywhere(victim: Victim, records: Records) -> None:
    records.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in records.make(REQUEST[:200]) + records.make(REQUEST[200:]):
        records.tcp.send(bytes([byte]))
    assert records.hear().startswith(b"SIP/2.0 200 OK")
    victim.serves()


def test_a_handshake_in_the_middle_of_the_talk_is_refused(victim: Victim) -> None:
    """Renegotiation, which TLS 1.3 has no more; the talk goes on, or ends."""
    with victim.proven("TLSv1.2") as tls:
        tls.sendall(REQUEST)
        assert heard(tls, 1)
        assert tls.renegotiate()
        with pytest.raises(SSL.Error, match=r"no renegotiation|handshake failure"):
            tls.do_handshake()
    assert victim.end() == "cut off"
    victim.serves()
    victim.is_rid_of_them()


# ---------------------------------------------------------------- what they share


def heard(tls: SSL.Connection, answers: int) -> bytes:
    """Read so many answers."""
    got = b""
    while got.count(b"\r\n\r\n") < answers:
        got += tls.recv(65536)
    return got


def read_all(tls: SSL.Connection) -> bytes:
    """Read until the end, whatever it is."""
    got = b""
    with contextlib.suppress(SSL.Error):
        while data := tls.recv(65536):
            got += data
    return got


def send_until_refused(tls: SSL.Connection, first: bytes, more: bytes, times: int) -> int:
    """Send until the other side has had enough; give how often."""
    sent = 0
    with contextlib.suppress(SSL.Error, OSError):
        tls.sendall(first or more)
        for sent in range(times):  # noqa: B007  it is given below
            tls.sendall(more)
    return sent
