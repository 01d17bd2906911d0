"""siptls.wire.tls: what OpenSSL is told, and that no way around the policy is left."""

from __future__ import annotations

import gc
import logging
import weakref
from contextlib import suppress

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from domains import LONGEST
from impostors import CONTOSO, STRANGER, policy
from OpenSSL import SSL
from sip import request

from siptls import (
    ALPN,
    CertificateError,
    ClientConnection,
    ConfigurationError,
    Connection,
    ConnectionClosed,
    ConnectionClosedError,
    Credential,
    Decision,
    Enterprise,
    Evidence,
    HandshakeError,
    Limits,
    MessageReceived,
    MTLSServerTransport,
    PeerRefused,
    PeerRefusedError,
    RefusedByPeerError,
    Role,
    ServerConnection,
    SIPTLSError,
    TLSClientTransport,
    TLSServerTransport,
    sync,
)
from siptls.testing import connected
from siptls.wire import hello, tls, verdict

OURS = CONTOSO.issue("sip:contoso.com")
ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())


class Raw:
    """A peer that is OpenSSL itself, with anything we want to ask of it."""

    def __init__(self, context: SSL.Context, *, server: bool = False) -> None:
        self.connection = SSL.Connection(context, None)
        if server:
            self.connection.set_accept_state()
        else:
            self.connection.set_connect_state()

    def step(self, data: bytes) -> bytes:
        """Take a flight, and give the answer."""
        if data:
            self.connection.bio_write(data)
        with suppress(SSL.Error):
            self.connection.do_handshake()
        return self.outgoing()

    def outgoing(self) -> bytes:
        try:
            return self.connection.bio_read(1 << 20)
        except SSL.Error:
            return b""


def raw_context(credential: Credential | None = None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    if credential is not None:
        context.use_certificate(credential.chain[0])
        for certificate in credential.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(credential.key)
    return context


def shake(ours: ClientConnection | ServerConnection, raw: Raw) -> None:
    """Carry bytes until both are silent."""
    data = b""
    for _ in range(20):
        answer = raw.step(data)
        if answer:
            ours.receive_data(answer)
        data = ours.data_to_send()
        if not data and not answer:
            return


def refusal(connection: ClientConnection | ServerConnection) -> Decision:
    assert isinstance(connection.closed, PeerRefusedError)
    return connection.closed.decision


# ---------------------------------------------------------------- versions, ciphers, renegotiation


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_versions_below_1_2_are_refused(version: int) -> None:
    context = raw_context(OURS)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    server = ServerConnection(OURS, ENTERPRISE)
    shake(server, Raw(context))
    assert isinstance(server.closed, HandshakeError)


@pytest.mark.parametrize(
    "cipher", ["AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA384", "DHE-RSA-AES256-GCM-SHA384"]
)
def test_tls_1_2_without_forward_secrecy_or_aead_is_refused(cipher: str) -> None:
    """RFC 9325 §4.2: no RSA key exchange, no CBC; and no finite-field Diffie-Hellman."""
    context = raw_context(OURS)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(cipher.encode())
    server = ServerConnection(CONTOSO.issue("sip:contoso.com", key="RSA-2048"), ENTERPRISE)
    shake(server, Raw(context))
    assert isinstance(server.closed, HandshakeError)


def test_a_client_cannot_renegotiate() -> None:
    context = raw_context(OURS)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    server = ServerConnection(OURS, ENTERPRISE)
    raw = Raw(context)
    shake(server, raw)
    assert server.established
    raw.connection.renegotiate()
    server.receive_data(raw.step(b""))
    raw.connection.bio_write(server.data_to_send())
    with pytest.raises(SSL.Error, match="renegotiation"):
        raw.connection.do_handshake()


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_session_is_never_resumed(version: int) -> None:
    """A resumed handshake would show no certificate, and skip the callback."""
    context = raw_context(OURS)
    context.set_max_proto_version(version)
    context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)
    judged = []

    class Watching:
        def evaluate(self, evidence: Evidence, /) -> Decision:
            judged.append(evidence)
            return ENTERPRISE.evaluate(evidence)

    watching = Watching()
    first = Raw(context)
    shake(ServerConnection(OURS, watching), first)
    session = first.connection.get_session()
    assert session is not None
    second = Raw(context)
    second.connection.set_session(session)
    server = ServerConnection(OURS, watching)
    shake(server, second)
    assert server.established
    assert len(judged) == 2


# ---------------------------------------------------------------- no way around the policy


def test_a_handshake_in_which_openssl_never_asked_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, tls_version: str
) -> None:
    """Whatever the path on which the callback is skipped: no accepted decision, no connection."""
    monkeypatch.setattr(verdict, "verify", lambda *_: True)
    client = ClientConnection(ENTERPRISE, "contoso.com")
    server = ServerConnection(OURS, None, mutual=False)
    connected(client, server)
    assert refusal(client).code == "policy.error"
    assert not client.established


def test_a_callback_that_fails_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tls_version: str
) -> None:
    def broken(*_: object) -> bool:
        raise MemoryError("no more")

    monkeypatch.setattr(verdict, "_look", broken)
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    connected(client, server)
    assert refusal(client).code == "policy.error"
    assert "no more" in refusal(client).reason
    assert caplog.records[0].levelno == logging.ERROR
    assert isinstance(server.closed, RefusedByPeerError)


def test_an_engine_without_a_policy_refuses() -> None:
    engine = tls.TLSEngine(Role.CLIENT, OURS, None, mutual=True)
    raw = Raw(raw_context(OURS))
    list(engine.decrypt(raw.step(b"")))
    finished = raw.step(engine.outgoing())
    with pytest.raises(PeerRefusedError, match="no policy"):
        list(engine.decrypt(finished))


def test_where_openssl_knows_no_ocsp_flag_the_refusal_stands(
    monkeypatch: pytest.MonkeyPatch, tls_version: str
) -> None:
    """Only the number of the alert changes: 42 instead of 46."""
    monkeypatch.setattr(verdict, "_OCSP_CHECKS", 0)
    client = ClientConnection(policy(), "fabrikam.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    connected(client, server)
    assert refusal(client).code == "name.mismatch"
    assert isinstance(server.closed, RefusedByPeerError)
    assert server.closed.alert.code == 42


def test_where_there_is_no_place_to_stop_the_refusal_stands(
    monkeypatch: pytest.MonkeyPatch, tls_version: str
) -> None:
    monkeypatch.setattr(verdict, "_PLACES", dict.fromkeys((42, 46, 48), frozenset()))
    monkeypatch.setattr(verdict, "_NOT_YET_VALID", -1)
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(STRANGER.issue("sip:contoso.com"), ENTERPRISE)
    connected(client, server)
    assert refusal(client).code == "path.unknown-ca"
    assert isinstance(server.closed, RefusedByPeerError)
    assert server.closed.alert.code == 80


# ---------------------------------------------------------------- the engine by itself


def test_an_engine_that_is_not_connected_neither_sends_nor_closes() -> None:
    engine = tls.TLSEngine(Role.SERVER, None, ENTERPRISE)
    with pytest.raises(ConnectionClosedError):
        engine.encrypt(b"too early")
    engine.close()
    assert not engine.established


def test_an_alert_after_messages_have_come_is_the_end_and_no_refusal() -> None:
    """Only before anything was read can an alert mean that we are refused."""
    context = raw_context(OURS)
    raw = Raw(context, server=True)
    client = ClientConnection(ENTERPRISE, "contoso.com")
    shake(client, raw)
    assert client.established
    raw.connection.sendall(b"\r\n\r\n")
    client.receive_data(raw.outgoing())
    raw.connection.bio_write(b"\x17\x03\x03\x00\x20" + b"no record of ours" * 2)
    with pytest.raises(SSL.Error):
        raw.connection.recv(1)
    client.receive_data(raw.outgoing())
    assert isinstance(client.closed, ConnectionClosedError)
    assert "TLS alert 20 bad_record_mac" in str(client.closed)


@pytest.mark.parametrize("error", [SSL.Error(), SSL.Error([]), SSL.Error([("a", "b", "")])])
def test_an_error_without_words_is_told_as_such(error: SSL.Error) -> None:
    assert tls._reason(error) == "no reason given"


# ---------------------------------------------------------------- odd chains


def test_a_client_sees_every_presented_certificate_in_any_order() -> None:
    """Two intermediates, sent the wrong way round and with a stranger between."""
    issuing = CONTOSO.intermediate("Upper CA").intermediate("Lower CA")
    good = issuing.issue("sip:contoso.com")
    leaf, lower, upper = good.chain
    mixed = Credential([leaf, upper, STRANGER.certificate, lower], good.key)
    client = ClientConnection(ENTERPRISE, "contoso.com")
    connected(client, ServerConnection(mixed, None, mutual=False))
    assert client.peer is not None
    assert client.peer.chain == (leaf, lower, upper, CONTOSO.certificate)


def test_a_server_finds_the_path_whatever_the_order(tls_version: str) -> None:
    issuing = CONTOSO.intermediate("Upper CA").intermediate("Lower CA")
    good = issuing.issue("sip:contoso.com")
    leaf, lower, upper = good.chain
    mixed = Credential([leaf, upper, STRANGER.certificate, lower, CONTOSO.certificate], good.key)
    server = ServerConnection(OURS, ENTERPRISE)
    connected(ClientConnection(ENTERPRISE, "contoso.com", credential=mixed), server)
    assert server.established, server.closed
    assert server.peer is not None
    assert server.peer.chain[0] == leaf


@pytest.mark.parametrize("number", [9, 31, 60])
def test_a_chain_that_is_too_long_is_refused_by_both_sides(number: int, tls_version: str) -> None:
    issuer = CONTOSO
    for depth in range(number - 1):
        issuer = issuer.intermediate(f"CA {depth}")
    long = issuer.issue("sip:contoso.com")
    client = ClientConnection(ENTERPRISE, "contoso.com")
    connected(client, ServerConnection(long, None, mutual=False))
    assert refusal(client).code == "path.limit"
    assert str(number) in refusal(client).reason
    server = ServerConnection(OURS, ENTERPRISE)
    connected(ClientConnection(ENTERPRISE, "contoso.com", credential=long), server)
    assert refusal(server).code == "path.limit"


def test_a_chain_that_is_too_large_is_refused() -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com", limits=Limits(max_chain=100))
    connected(client, ServerConnection(OURS, None, mutual=False))
    assert refusal(client).code == "path.limit"
    assert "at most 100" in refusal(client).reason


def with_broken_names() -> Credential:
    """A certificate that OpenSSL takes, and whose subjectAltName cannot be decoded."""
    good = CONTOSO.issue("sip:contoso.com")
    broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x86\x05a")
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.chain[0].subject)
        .issuer_name(CONTOSO.certificate.subject)
        .public_key(good.key.public_key())
        .serial_number(7)
        .not_valid_before(good.chain[0].not_valid_before_utc)
        .not_valid_after(good.chain[0].not_valid_after_utc)
        .add_extension(broken, critical=False)
    )
    return Credential([builder.sign(CONTOSO.key, hashes.SHA256())], good.key)


def test_a_server_refuses_names_that_cannot_be_decoded(tls_version: str) -> None:
    server = ServerConnection(OURS, ENTERPRISE)
    peer = ClientConnection(ENTERPRISE, "contoso.com", credential=with_broken_names())
    connected(peer, server)
    assert refusal(server).code == "certificate.malformed"
    assert isinstance(peer.closed, RefusedByPeerError)
    assert peer.closed.alert.code == 42


def test_a_client_refuses_names_that_cannot_be_decoded() -> None:
    """Only in TLS 1.3: OpenSSL itself would not show such a certificate in 1.2."""
    client = ClientConnection(ENTERPRISE, "contoso.com")
    connected(client, ServerConnection(with_broken_names(), None, mutual=False))
    assert refusal(client).code == "certificate.malformed"


def test_a_certificate_that_only_openssl_can_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tls_version: str
) -> None:
    """``cryptography`` is the stricter of the two; a stranger's mistake is no traceback of ours."""

    def strict(_: object, __: object) -> list[x509.Certificate]:
        raise ValueError("invalid DER at byte 7")

    monkeypatch.setattr(verdict, "_presented", strict)
    client = ClientConnection(ENTERPRISE, "contoso.com")
    server = ServerConnection(OURS, None, mutual=False)
    connected(client, server)
    assert refusal(client).code == "certificate.malformed"
    assert "byte 7" in refusal(client).reason
    assert caplog.records == []
    assert isinstance(server.closed, RefusedByPeerError)
    assert server.closed.alert.code == 42


# ---------------------------------------------------------------- contexts and memory


def test_a_context_is_shared_by_the_connections_of_a_credential() -> None:
    credential = CONTOSO.issue("sip:contoso.com")
    kind = tls._Kind(Role.SERVER, judged=True, alpn=ALPN.OFFER, named=False)
    one = tls._context(credential, kind)
    assert tls._context(credential, kind) is one
    others = (
        attrs.evolve(kind, role=Role.CLIENT),
        attrs.evolve(kind, judged=False),
        attrs.evolve(kind, alpn=ALPN.OFF),
        attrs.evolve(kind, named=True),
    )
    contexts = {tls._context(credential, other) for other in others}
    assert len(contexts) == len(others)
    assert one not in contexts


def test_a_context_goes_with_its_credential() -> None:
    credential = CONTOSO.issue("sip:contoso.com")
    kind = tls._Kind(Role.SERVER, judged=True, alpn=ALPN.OFFER, named=False)
    context = weakref.ref(tls._context(credential, kind))
    del credential
    gc.collect()
    assert context() is None


def test_a_connection_is_freed_without_the_garbage_collector(tls_version: str) -> None:
    """No reference goes in a circle, so ten thousand closed connections do not pile up."""
    gc.collect()
    gc.disable()
    try:
        client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
        server = ServerConnection(OURS, ENTERPRISE)
        connected(client, server)
        engines = [weakref.ref(c._engine._connection) for c in (client, server)]
        del client, server
        assert [engine() for engine in engines] == [None, None]
    finally:
        gc.enable()


def test_a_key_that_openssl_finds_too_small_is_told() -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    credential = CONTOSO.issue("sip:contoso.com", key=small)
    with pytest.raises(CertificateError, match="too small"):
        ServerConnection(credential, ENTERPRISE)


def test_a_large_message_leaves_no_large_buffers_behind() -> None:
    """OpenSSL's memory buffers never shrink: a megabyte goes through them in slices."""
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    connected(client, server)
    engine = client._engine
    engine.encrypt(bytes(1 << 20))
    left = 0
    try:
        while True:
            left += len(engine._connection.bio_read(1 << 20))
    except SSL.WantReadError:
        pass
    assert left < 20_000


@pytest.mark.parametrize("size", [1, 100, 16_384, 16_385, 65_536, 200_000, 1 << 20])
def test_all_that_was_taken_comes_out_at_once(size: int) -> None:
    """In order, in one piece or in many: many in as few records as they need."""
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    connected(client, server)
    client.data_to_send()
    data = bytes(number % 251 for number in range(size))
    many = [data[at : at + 700] for at in range(0, size, 700)]
    for pieces, record in (([data], 4096), (many, 16_384 - 700)):
        for piece in pieces:
            client._engine.encrypt(bytearray(piece))
        sent = client.data_to_send()
        assert client.data_to_send() == b""
        assert b"".join(server._engine.decrypt(sent)) == data
        assert len(sent) - size <= 22 * (size // record + 2)  # header and tag of a record


def test_what_is_taken_may_change_afterwards() -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    connected(client, server)
    data = bytearray(b"first")
    client._engine.encrypt(data)
    data[:] = b"other"
    assert b"".join(server._engine.decrypt(client.data_to_send())) == b"first"


def test_what_was_taken_before_the_close_goes_out_before_it() -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    connected(client, server)
    server.events()
    client.send(request())
    client.close()
    server.receive_data(client.data_to_send())
    message, closed = server.events()
    assert isinstance(message, MessageReceived)
    assert isinstance(closed, ConnectionClosed)


def test_a_write_that_fails_is_told_to_the_next_who_writes() -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    connected(client, ServerConnection(OURS, ENTERPRISE))
    engine = client._engine
    engine._connection.shutdown()
    engine.encrypt(b"into a connection that is shut down")
    engine.outgoing()
    with pytest.raises(SIPTLSError):
        engine.encrypt(b"more")


def test_the_events_of_a_refusal_tell_what_was_judged(tls_version: str) -> None:
    server = ServerConnection(OURS, ENTERPRISE, address=("192.0.2.1", 40000))
    client = ClientConnection(
        ENTERPRISE, "contoso.com", credential=STRANGER.issue("sip:contoso.com")
    )
    connected(client, server)
    refused, closed = server.events()
    assert isinstance(refused, PeerRefused)
    assert isinstance(closed, ConnectionClosed)
    evidence = refused.decision.evidence
    assert evidence is not None
    assert evidence.address == ("192.0.2.1", 40000)
    assert evidence.role is Role.CLIENT
    text = refused.decision.explain()
    assert "192.0.2.1 port 40000" in text
    assert "Stranger CA" in text


# ---------------------------------------------------------------- the name that is asked for

DEFAULT = CONTOSO.issue("sip:default.example")
ISSUED = CONTOSO.intermediate("Issuing CA").issue("sip:contoso.com")


def several(**options: object) -> ServerConnection:
    return ServerConnection([DEFAULT, ISSUED], ENTERPRISE, **options)  # type: ignore[arg-type]


def test_the_server_name_selects_what_is_shown(tls_version: str) -> None:
    """The switched context brings its chain along, and the client is judged as ever."""
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = several()
    assert server.credential is DEFAULT
    connected(client, server)
    assert server.credential is ISSUED
    assert client.credential is OURS
    assert client.peer is not None
    assert client.peer.chain[:2] == ISSUED.chain
    assert server.peer is not None
    assert server.peer.domains == {"contoso.com"}
    for side in (client, server):
        assert side.tls is not None
        assert side.tls.server_name == "contoso.com"
        assert side.tls.alpn == "sip/2"


@pytest.mark.parametrize(
    ("shown", "alert"),
    [
        (STRANGER.issue("sip:contoso.com"), 48),
        (CONTOSO.issue("sip:fabrikam.com"), 46),
        (with_broken_names(), 42),
        (None, None),
    ],
    ids=["unknown-ca", "other-name", "malformed", "no-certificate"],
)
@pytest.mark.parametrize("name", ["contoso.com", "default.example"])
def test_whoever_is_refused_is_refused_under_each_context(
    tls_version: str, shown: Credential | None, alert: int | None, name: str
) -> None:
    client = ClientConnection(Enterprise([name], CONTOSO.authority()), name, credential=shown)
    server = several()
    connected(client, server)
    assert not refusal(server).accepted
    assert not server.established
    assert isinstance(client.closed, RefusedByPeerError)
    wanted = {"TLSv1.2": 40, "TLSv1.3": 116}[tls_version] if alert is None else alert
    assert client.closed.alert.code == wanted
    assert client.closed.certificate_missing is (shown is None)
    assert ("asked for a client certificate" in str(client.closed)) is (shown is None)


def test_who_is_asked_for_no_certificate_misses_none(tls_version: str) -> None:
    """A hint that is wrong leads an operator astray."""
    client = ClientConnection(Enterprise(["contoso.com"], CONTOSO.authority()), "contoso.com")
    server = ServerConnection(CONTOSO.issue("sip:contoso.com"), None, mutual=False)
    connected(client, server)
    assert client.established
    assert not client._engine._judgement.certificate_missing


@pytest.mark.parametrize(
    "asked",
    [b"CONTOSO.COM.", b"contoso.com.", b"\xff\xfe.com", b"a" * 255, b"192.0.2.1", b"*.com", None],
)
def test_a_hostile_server_name_gets_the_default(tls_version: str, asked: bytes | None) -> None:
    raw = Raw(raw_context(OURS))
    if asked is not None:
        raw.connection.set_tlsext_host_name(asked)
    server = several()
    shake(server, raw)
    assert server.established, server.closed
    assert server.credential is DEFAULT
    assert server.tls is not None
    assert (server.tls.server_name is None) is (asked is None)
    assert (server.tls.server_name or "").isascii()


def test_the_longest_name_selects_too() -> None:
    longest = CONTOSO.issue(LONGEST, common_name="long")
    raw = Raw(raw_context(OURS))
    raw.connection.set_tlsext_host_name(LONGEST.encode())
    server = ServerConnection([DEFAULT, longest], ENTERPRISE)
    shake(server, raw)
    assert server.credential is longest


@pytest.mark.parametrize("name", [b"contoso\0com", b""])
def test_a_server_name_that_openssl_refuses_raises_nothing(tls_version: str, name: bytes) -> None:
    """The NUL is put into a hello of OpenSSL's own."""
    raw = Raw(raw_context(OURS))
    raw.connection.set_tlsext_host_name(b"contoso.com")
    wrong = name.ljust(11, b"\0")
    server = several()
    server.receive_data(raw.step(b"").replace(b"contoso.com", wrong))
    assert isinstance(server.closed, HandshakeError)


def test_a_callback_that_fails_ends_its_own_connection_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tls_version: str
) -> None:
    def broken(*_: object) -> Credential:
        raise MemoryError("no more")

    other_client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    other = several()
    with monkeypatch.context() as patch:
        patch.setattr(hello, "select", broken)
        server = several()
        client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
        connected(client, server)
    assert isinstance(server.closed, HandshakeError)
    assert "no more" in str(server.closed)
    assert client.decision is None
    assert caplog.records[0].levelno == logging.ERROR
    connected(other_client, other)
    assert other.established


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_session_is_not_resumed_under_a_switched_context(version: int) -> None:
    context = raw_context(OURS)
    context.set_max_proto_version(version)
    context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)
    first, second = Raw(context), Raw(context)
    first.connection.set_tlsext_host_name(b"contoso.com")
    second.connection.set_tlsext_host_name(b"contoso.com")
    shake(several(), first)
    session = first.connection.get_session()
    assert session is not None
    second.connection.set_session(session)
    server = several()
    shake(server, second)
    assert server.established
    assert server.credential is ISSUED
    assert server.decision is not None


def test_a_switched_connection_outlives_what_its_credentials_leave(tls_version: str) -> None:
    """OpenSSL calls the callbacks of the first context; nobody else may keep it."""
    server = ServerConnection([CONTOSO.issue("a.example"), ISSUED], ENTERPRISE)
    tls._contexts.clear()
    gc.collect()
    connected(ClientConnection(ENTERPRISE, "contoso.com", credential=OURS), server)
    assert server.established


# ---------------------------------------------------------------- the protocol that is agreed on


@pytest.mark.parametrize("theirs", ALPN)
@pytest.mark.parametrize("ours", ALPN)
def test_a_protocol_is_agreed_on_as_both_want_it(
    tls_version: str, ours: ALPN, theirs: ALPN
) -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS, alpn=theirs)
    server = several(alpn=ours)
    connected(client, server)
    events = [type(event) for event in server.events()]
    if ALPN.OFF in (ours, theirs) and ALPN.REQUIRE in (ours, theirs):
        for side, wants in ((client, theirs), (server, ours)):
            if wants is ALPN.REQUIRE:
                assert isinstance(side.closed, HandshakeError)
                assert "pass alpn=ALPN.OFFER here" in str(side.closed)
                assert not side.established
        if ours is ALPN.REQUIRE:
            assert events == [ConnectionClosed]
        return
    for side in (client, server):
        assert side.established
        assert side.tls is not None
        assert side.tls.alpn == (None if ALPN.OFF in (ours, theirs) else "sip/2")


@pytest.mark.parametrize("alpn", ALPN)
def test_a_client_that_offers_other_protocols(tls_version: str, alpn: ALPN) -> None:
    context = raw_context(OURS)
    context.set_alpn_protos([b"h2"])
    alerts = []
    context.set_info_callback(
        lambda _, where, value: alerts.append(value & 0xFF) if where & SSL.SSL_CB_ALERT else None
    )
    server = several(alpn=alpn)
    shake(server, Raw(context))
    if alpn is ALPN.REQUIRE:
        assert isinstance(server.closed, HandshakeError)
        assert "'h2'" in str(server.closed)
        assert alerts == [120]
        assert [type(event) for event in server.events()] == [ConnectionClosed]
    else:
        assert server.tls is not None
        assert server.tls.alpn is None


@pytest.mark.parametrize("alpn", ALPN)
def test_a_server_that_knows_other_protocols_only(tls_version: str, alpn: ALPN) -> None:
    context = raw_context(OURS)
    context.set_alpn_select_callback(lambda *_: SSL.NO_OVERLAPPING_PROTOCOLS)
    client = ClientConnection(ENTERPRISE, "contoso.com", alpn=alpn)
    shake(client, Raw(context, server=True))
    assert client.established is (alpn is not ALPN.REQUIRE)


def test_a_server_that_chooses_what_was_not_offered(tls_version: str) -> None:
    context = raw_context(OURS)
    context.set_alpn_select_callback(lambda *_: b"h2")
    client = ClientConnection(ENTERPRISE, "contoso.com")
    shake(client, Raw(context, server=True))
    assert isinstance(client.closed, HandshakeError)


def test_a_refusal_leaves_nothing_that_another_connection_could_pick_up(tls_version: str) -> None:
    """What a callback has raised, pyOpenSSL raises again in whichever connection reads next."""
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = several(alpn=ALPN.REQUIRE)
    connected(client, server)
    context = raw_context(OURS)
    context.set_alpn_protos([b"h2"])
    refused, raw = several(alpn=ALPN.REQUIRE), Raw(context)
    raw.connection.set_tlsext_host_name(b"contoso.com")
    shake(refused, raw)
    assert isinstance(refused.closed, HandshakeError)
    assert refused._engine._connection.get_context() is server._engine._connection.get_context()
    client.send(request())
    server.receive_data(client.data_to_send())
    assert [type(event) for event in server.events()][-1:] == [MessageReceived]
    for helper in ("_alpn_select_helper", "_verify_helper"):
        ours = getattr(server._engine._connection.get_context(), helper)
        assert ours._problems == []


@pytest.mark.parametrize("wrong", [None, "offer", True])
def test_what_is_no_alpn_is_told(wrong: object) -> None:
    for build in (
        lambda: ClientConnection(ENTERPRISE, "a.com", alpn=wrong),  # type: ignore[arg-type]
        lambda: several(alpn=wrong),
        lambda: TLSClientTransport(ENTERPRISE, alpn=wrong),  # type: ignore[arg-type]
        lambda: sync.TLSClientTransport(ENTERPRISE, alpn=wrong),  # type: ignore[arg-type]
        lambda: TLSServerTransport(OURS, print, alpn=wrong),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigurationError, match=r"alpn is an ALPN, not .*ALPN\.OFFER"):
            build()


# ---------------------------------------------------------------- over sockets


async def test_the_asyncio_transports_select_and_agree() -> None:
    seen = []

    async def handler(connection: Connection) -> None:
        seen.append((connection.credential, connection.tls))
        async for _ in connection:
            pass

    async with (
        MTLSServerTransport([DEFAULT, ISSUED], ENTERPRISE, handler, alpn=ALPN.REQUIRE) as server,
        TLSClientTransport(ENTERPRISE, credential=OURS, alpn=ALPN.REQUIRE) as transport,
        TLSClientTransport(ENTERPRISE, credential=OURS, alpn=ALPN.OFF) as without,
    ):
        await server.listen("127.0.0.1", 0)
        ((host, port),) = server.addresses
        connection = await transport.connect("contoso.com", host=host, port=port)
        await connection.ping()
        assert connection.credential is OURS
        assert connection.tls is not None
        assert connection.tls.alpn == "sip/2"
        with pytest.raises((HandshakeError, ConnectionClosedError)):
            await (await without.connect("contoso.com", host=host, port=port)).receive()
    ((credential, info),) = seen
    assert credential is ISSUED
    assert info is not None
    assert info.server_name == "contoso.com"


def test_the_blocking_transports_select_and_agree() -> None:
    seen = []

    def handler(connection: sync.Connection) -> None:
        seen.append((connection.credential, connection.tls))
        for _ in connection:
            pass

    with (
        sync.MTLSServerTransport(
            [DEFAULT, ISSUED], ENTERPRISE, handler, alpn=ALPN.REQUIRE
        ) as server,
        sync.TLSClientTransport(ENTERPRISE, credential=OURS, alpn=ALPN.REQUIRE) as transport,
        sync.TLSClientTransport(ENTERPRISE, credential=OURS, alpn=ALPN.OFF) as without,
    ):
        server.listen("127.0.0.1", 0)
        ((host, port),) = server.addresses
        connection = transport.connect("contoso.com", host=host, port=port)
        connection.ping()
        assert connection.credential is OURS
        with pytest.raises((HandshakeError, ConnectionClosedError)):
            without.connect("contoso.com", host=host, port=port).receive()
    ((credential, info),) = seen
    assert credential is ISSUED
    assert info is not None
    assert info.alpn == "sip/2"
