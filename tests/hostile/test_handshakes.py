"""Clients that break the handshake: with another implementation of TLS, message by message."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from certificates import make
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from front_ends import CA
from hostility import GUEST, Attacked, Victim, read_to_end
from OpenSSL import SSL
from sip import request

from siptls import Credential
from siptls.testing import CertificateAuthority

with warnings.catch_warnings():  # it imports asyncore, which 3.12 has no more
    warnings.simplefilter("ignore", DeprecationWarning)
    from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
    from tlslite.errors import BaseTLSException
    from tlslite.messages import Message
    from tlslite.x509 import X509

REQUEST = request()
HANDSHAKE, ALERT, CIPHER_CHANGE, DATA = 22, 21, 20, 23
HELLO, CERTIFICATE, KEY_EXCHANGE, PROOF, FINISHED, KEY_UPDATE = 1, 11, 16, 15, 20, 24

Twist = Callable[[Message], list[Message]]


class Broken(TLSConnection):  # type: ignore[misc]  tlslite-ng has no types
    """A client whose messages are twisted before they go out."""

    def __init__(self, tcp: socket.socket, twist: Twist) -> None:
        super().__init__(tcp)
        self._twist = twist

    def _sendMsg(  # noqa: N802  its name there
        self,
        msg: Any,
        randomizeFirstBlock: bool = True,  # noqa: N803
        update_hashes: bool = True,
    ) -> Iterator[Any]:
        for one in self._twist(Message(msg.contentType, bytearray(msg.write()))):
            yield from super()._sendMsg(one, randomizeFirstBlock, update_hashes)


def chain_of(credential: Credential) -> X509CertChain:
    certificates = []
    for certificate in credential.chain:
        one = X509()
        one.parseBinary(bytearray(certificate.public_bytes(Encoding.DER)))
        certificates.append(one)
    return X509CertChain(certificates)


def key_of(credential: Credential) -> Any:
    return parsePEMKey(
        credential.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        private=True,
    )


def shake(
    tcp: socket.socket,
    version: str,
    twist: Twist,
    chain: Credential = GUEST,
    key: Credential | None = None,
) -> str:
    """Shake hands, and ask; give what came of it."""
    tls = Broken(tcp, twist)
    settings = HandshakeSettings()
    settings.minVersion = settings.maxVersion = (3, 3) if version == "TLSv1.2" else (3, 4)
    try:
        tls.handshakeClientCert(chain_of(chain), key_of(key or chain), settings=settings)
        tls.sendall(REQUEST)
        reply = b""
        while b"\r\n\r\n" not in reply:
            data = tls.recv(65536)
            if not data:
                return "nothing"
            reply += data
        return reply.split(b"\r\n")[0].decode()
    except (BaseTLSException, OSError, ValueError):  # the last: it is closed
        return "nothing"


def plain(message: Message) -> list[Message]:
    return [message]


def each(kind: int, twist: Callable[[bytearray], list[Message]]) -> Twist:
    """Twist the handshake messages of one kind."""

    def twisted(message: Message) -> list[Message]:
        if message.contentType == HANDSHAKE and message.data[0] == kind:
            return twist(message.data)
        return [message]

    return twisted


def handshake(data: bytes | bytearray) -> Message:
    return Message(HANDSHAKE, bytearray(data))


def flipped(data: bytearray) -> list[Message]:
    return [handshake(data[:-1] + bytes([data[-1] ^ 1]))]


def before(kind: int, *messages: Message) -> Twist:
    return each(kind, lambda data: [*messages, handshake(data)])


def nothing(_: bytearray) -> list[Message]:
    return []


def of(kind: int, data: bytes) -> Message:
    return handshake(bytes([kind]) + len(data).to_bytes(3, "big") + data)


TWISTS: dict[str, Twist] = {
    "the proof of the key altered": each(PROOF, flipped),
    "the proof of the key left out": each(PROOF, nothing),
    "the proof of the key empty": each(PROOF, lambda _: [of(PROOF, b"")]),
    "the proof of the key twice": each(PROOF, lambda data: [handshake(data)] * 2),
    "the certificate left out, the proof sent": each(CERTIFICATE, nothing),
    "the certificate twice": each(CERTIFICATE, lambda data: [handshake(data)] * 2),
    "the certificate cut short": each(
        CERTIFICATE, lambda data: [of(CERTIFICATE, bytes(data[4:-30]))]
    ),
    "the certificate altered": each(CERTIFICATE, flipped),
    "a certificate of 16 MiB": each(CERTIFICATE, lambda _: [handshake(b"\x0b\xff\xff\xff")]),
    "a certificate of noise": each(
        CERTIFICATE, lambda data: [handshake(data[:20] + bytes(len(data) - 20))]
    ),
    "the end altered": each(FINISHED, flipped),
    "the end empty": each(FINISHED, lambda _: [of(FINISHED, b"")]),
    "the end too long": each(FINISHED, lambda data: [of(FINISHED, bytes(data[4:]) + b"x")]),
    "data before the end": before(FINISHED, Message(DATA, bytearray(REQUEST))),
    "data before the proof": before(PROOF, Message(DATA, bytearray(REQUEST))),
    "data instead of the end": each(FINISHED, lambda _: [Message(DATA, bytearray(REQUEST))]),
    "an unknown message": before(CERTIFICATE, of(99, b"hello")),
    "a second ClientHello": before(CERTIFICATE, of(HELLO, bytes(60))),
    "a message of the server's": before(CERTIFICATE, of(2, bytes(60))),
    "an unknown kind of record": before(CERTIFICATE, Message(99, bytearray(b"hello"))),
    "a heartbeat": before(CERTIFICATE, Message(24, bytearray(b"\x01\xff\xffx"))),
    "a fatal alert": before(CERTIFICATE, Message(ALERT, bytearray(b"\x02\x28"))),
    "warnings without end": before(CERTIFICATE, *[Message(ALERT, bytearray(b"\x01\x5a"))] * 50),
    "empty records": before(CERTIFICATE, *[handshake(b"")] * 100),
    "a ClientHello without suites": each(
        HELLO, lambda data: [of(HELLO, bytes(data[4:38]) + b"\x00\x00\x00\x01\x00")]
    ),
}


@pytest.mark.parametrize("twist", TWISTS.values(), ids=TWISTS.keys())
def test_a_handshake_that_is_broken_gives_nothing(
    victim: Victim, version: str, twist: Twist
) -> None:
    """No handler sees it, and a good client is served as before."""
    with victim.visited() as tcp:
        assert shake(tcp, version, twist) == "nothing"
        victim.serves()
        with contextlib.suppress(OSError):
            tcp.shutdown(socket.SHUT_WR)
            read_to_end(tcp)
        victim.says("is over")
    assert victim.ends.empty()
    victim.refusals.queue.clear()  # some of them were judged before it broke
    victim.is_rid_of_them()


def test_the_same_client_is_served_when_nothing_is_twisted(victim: Victim, version: str) -> None:
    """Else the tests above would prove nothing."""
    with victim.visited() as tcp:
        assert shake(tcp, version, plain) == "SIP/2.0 200 OK"
    assert victim.end() in {"cut off", "closed in order"}
    victim.is_rid_of_them()


def test_whoever_shows_a_certificate_whose_key_he_has_not_is_nobody(
    victim: Victim, version: str
) -> None:
    """Certificates are public: what proves a name is the key."""
    thief = CertificateAuthority("Thief").issue("sip:thief.example")
    with victim.visited() as tcp:
        assert shake(tcp, version, plain, GUEST, thief) == "nothing"
        victim.serves()
    assert victim.ends.empty()
    victim.refusals.queue.clear()
    victim.is_rid_of_them()


def test_keys_may_be_updated_and_not_without_end(victim: Victim) -> None:
    """TLS 1.3 lets a peer ask for new keys: each costs us an answer, which it has to read."""
    with victim.visited() as tcp:
        tls = Broken(tcp, plain)
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = (3, 4)
        tls.handshakeClientCert(chain_of(GUEST), key_of(GUEST), settings=settings)
        for _ in range(5):
            for _ in tls.send_keyupdate_request(1):
                pass
            tls.sendall(REQUEST)
            assert tls.recv(65536).startswith(b"SIP/2.0 200 OK")
        with contextlib.suppress(BaseTLSException, OSError):
            for _ in range(2_000):
                for _ in tls.send_keyupdate_request(1):
                    pass
        victim.serves()
    assert victim.end() == "cut off"
    victim.is_rid_of_them()


# ---------------------------------------------------------------- certificates


def signed(key: Any, *extensions: x509.ExtensionType, subject: str = "giant") -> x509.Certificate:
    """Give a certificate of our CA that holds what we choose."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(CA.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(CA.key, GUEST.chain[0].signature_hash_algorithm)


def with_names(number: int) -> Credential:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(f"sip{one}.contoso.com") for one in range(number)]
    good = x509.UniformResourceIdentifier("sip:contoso.com")
    return Credential([signed(key, x509.SubjectAlternativeName([good, *names]))], key)


def with_bytes(number: int) -> Credential:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("sip:contoso.com")])
    filling = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.1"), bytes(number))
    return Credential([signed(key, name, filling)], key)


def with_intermediates(number: int) -> Credential:
    """Give a chain in which every CA has the same key and the same name: each could sign each."""
    key = ec.generate_private_key(ec.SECP256R1())
    is_ca = (x509.BasicConstraints(ca=True, path_length=None), True)
    now = dt.datetime.now(dt.UTC)
    dates = {"not_before": now - dt.timedelta(days=1), "not_after": now + dt.timedelta(days=1)}
    same = [make("Same CA", None, is_ca, key=key, **dates) for _ in range(number)]
    name = (x509.SubjectAlternativeName([x509.UniformResourceIdentifier("sip:contoso.com")]), False)
    leaf = make("leaf", same[0], name, **dates)
    return Credential([leaf.certificate, *(one.certificate for one in same)], leaf.key)


GIANTS: dict[str, Callable[[], Credential]] = {
    "64 KiB": lambda: with_bytes(65_536),
    "90 KiB": lambda: with_bytes(90_000),
    "a megabyte": lambda: with_bytes(1_000_000),
    "a thousand names": lambda: with_names(1_000),
    "five thousand names": lambda: with_names(5_000),
    "100 intermediates of one key": lambda: with_intermediates(100),
    "500 intermediates of one key": lambda: with_intermediates(500),
}


@pytest.fixture(scope="module", params=GIANTS.values(), ids=GIANTS.keys())
def giant(request: pytest.FixtureRequest) -> Credential:
    made: Credential = request.param()
    return made


@contextmanager
def showing(victim: Victim, version: str, credential: Credential) -> Iterator[None]:
    with contextlib.suppress(SSL.Error, OSError), victim.proven(version, credential) as tls:
        tls.sendall(REQUEST)
        with contextlib.suppress(SSL.Error):
            assert tls.recv(65536) == b""  # a client of TLS 1.3 is refused after its part
        yield
        return
    yield


def test_certificates_that_are_too_much_are_refused(
    victim: Victim, version: str, giant: Credential
) -> None:
    with showing(victim, version, giant):
        victim.serves()
    victim.says(": path." if victim.refusals.qsize() else "excessive message size")
    victim.refusals.queue.clear()
    victim.serves()
    victim.is_rid_of_them()


def test_what_is_just_below_the_limits_is_accepted(victim: Victim, version: str) -> None:
    with victim.proven(version, with_names(90)) as tls:
        tls.sendall(REQUEST)
        assert tls.recv(65536).startswith(b"SIP/2.0 200 OK")
    assert victim.end() == "cut off"
    with victim.proven(version, with_bytes(50_000)) as tls:
        tls.sendall(REQUEST)
        assert tls.recv(65536).startswith(b"SIP/2.0 200 OK")
    assert victim.end() == "cut off"
    victim.is_rid_of_them()


def test_many_who_are_refused_flood_no_log(attacked: Attacked, version: str) -> None:
    """The application is told of each; see tests/unit/test_telling.py for what the log says."""
    stranger = CertificateAuthority("Stranger").issue("sip:contoso.com")
    with attacked(log_rate=0.5) as victim:
        for _ in range(20):
            with showing(victim, version, stranger):
                assert victim.refusal() == "path.unknown-ca"
        victim.serves()
        victim.is_rid_of_them()
        assert sum("refused 127.0.0.1" in line for line in victim.log) <= 6
