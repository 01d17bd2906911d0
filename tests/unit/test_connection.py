"""siptls.wire.connection and siptls.wire.link: both sides without I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from impostors import CONTOSO, FABRIKAM, VISITORS, Visitor, name_of, policy
from sip import request

from siptls import (
    CertificateError,
    ClientConnection,
    ConfigurationError,
    ConnectionClosed,
    ConnectionClosedError,
    Credential,
    Decision,
    Enterprise,
    Event,
    FramingError,
    HandshakeError,
    HandshakeTimeout,
    Limits,
    Message,
    MessageReceived,
    PeerAccepted,
    PeerRefused,
    PeerRefusedError,
    Ping,
    Pong,
    ReferenceIdentity,
    RefusedByPeer,
    RefusedByPeerError,
    ServerConnection,
)
from siptls.testing import connected, exchange
from siptls.wire import tls

OURS = CONTOSO.issue("sip:contoso.com")
ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())

Pair = tuple[ClientConnection, ServerConnection]


class Clock:
    """A timer that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pair(
    *,
    client: Credential | None = OURS,
    server: Credential = OURS,
    limits: Limits | None = None,
    timer: Clock | None = None,
) -> Pair:
    """Two of contoso's own, connected; their events up to then are taken."""
    timer = timer or Clock()
    one = ClientConnection(ENTERPRISE, "contoso.com", credential=client, limits=limits, timer=timer)
    other = ServerConnection(server, ENTERPRISE, limits=limits, timer=timer)
    connected(one, other)
    return one, other


def established(**options: object) -> Pair:
    client, server = pair(**options)  # type: ignore[arg-type]
    for connection in (client, server):
        (event,) = connection.events()
        assert isinstance(event, PeerAccepted)
    return client, server


def closed_reason(events: list[Event]) -> Exception:
    """The last event says that it is over, and nothing else does."""
    assert [type(event) for event in events].count(ConnectionClosed) == 1
    last = events[-1]
    assert isinstance(last, ConnectionClosed)
    return last.reason


# ---------------------------------------------------------------- who is accepted


@pytest.mark.parametrize("visitor", VISITORS, ids=name_of)
def test_a_server_judges_its_client_inside_the_handshake(
    visitor: Visitor, tls_version: str
) -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=visitor.make())
    server = ServerConnection(OURS, policy())
    connected(client, server)
    events = server.events()
    assert server.decision is not None
    assert server.decision.code == visitor.code
    if visitor.alert is None:
        assert events == [PeerAccepted(server.peer, server.decision)]
        assert server.peer is not None
        assert server.peer.domains == visitor.domains
        assert server.tls is not None
        assert server.tls.version == tls_version
        return
    assert [type(event) for event in events] == [PeerRefused, ConnectionClosed]
    assert server.peer is None
    assert not server.established
    error = closed_reason(events)
    assert isinstance(error, PeerRefusedError)
    assert error.decision is server.decision
    refused = closed_reason(client.events())
    assert isinstance(refused, RefusedByPeerError)
    assert refused.alert.code == visitor.alert


@pytest.mark.parametrize("visitor", VISITORS, ids=name_of)
def test_a_client_judges_its_server_inside_the_handshake(
    visitor: Visitor, tls_version: str
) -> None:
    """The same certificates, shown by a server; the client expects what it would believe."""
    expected = min(visitor.domains, default="contoso.com")
    client = ClientConnection(policy(), expected, credential=OURS)
    server = ServerConnection(visitor.make(), ENTERPRISE)
    connected(client, server)
    events = client.events()
    assert client.decision is not None
    if visitor.alert is None:
        assert events == [PeerAccepted(client.peer, client.decision)]
        assert client.peer is not None
        assert client.peer.domains == visitor.domains
        return
    # Where the name is out of the CA's reach at all, that says more than that it is another.
    assert client.decision.code in {visitor.code, "name.mismatch"}
    assert [type(event) for event in events] == [PeerRefused, ConnectionClosed]
    assert client.peer is None
    told = closed_reason(server.events())
    assert isinstance(told, RefusedByPeerError)
    assert told.alert.code in {visitor.alert, 46}


def test_a_client_refuses_a_server_of_another_name(tls_version: str) -> None:
    client = ClientConnection(policy(), "fabrikam.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    connected(client, server)
    error = closed_reason(client.events())
    assert isinstance(error, PeerRefusedError)
    assert error.decision.code == "name.mismatch"
    assert "fabrikam.com" in str(error)
    assert "contoso.com" in str(error)


def test_a_client_without_a_certificate_is_refused_and_told_so(tls_version: str) -> None:
    client, server = pair(client=None)
    events = server.events()
    assert isinstance(events[0], PeerRefused)
    assert events[0].decision.code == "certificate.missing"
    refused = closed_reason(client.events())
    assert isinstance(refused, RefusedByPeerError)
    assert refused.alert.code == {"TLSv1.2": 40, "TLSv1.3": 116}[tls_version]
    assert "credential" in str(refused)


def test_a_server_that_asks_for_no_certificate_knows_nobody(tls_version: str) -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com")
    server = ServerConnection(OURS, None, mutual=False)
    connected(client, server)
    assert server.events() == [PeerAccepted(None, None)]
    assert server.peer is None
    assert client.peer is not None


def test_a_tls_1_3_client_looks_accepted_until_it_reads(tls_version: str) -> None:
    """To be connected is not to be accepted: in TLS 1.3 the server judges last."""
    client = ClientConnection(
        ENTERPRISE, "contoso.com", credential=FABRIKAM.issue("sip:contoso.com")
    )
    server = ServerConnection(OURS, ENTERPRISE)
    connected(client, server)
    kinds = [type(event) for event in client.events()]
    late = [PeerAccepted] if tls_version == "TLSv1.3" else []
    assert kinds == [*late, RefusedByPeer, ConnectionClosed]


def test_a_policy_that_raises_refuses(tls_version: str) -> None:
    class Broken:
        def evaluate(self, evidence: object, /) -> Decision:
            raise RuntimeError("the database is gone")

    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, Broken())
    connected(client, server)
    refused = server.events()[0]
    assert isinstance(refused, PeerRefused)
    assert refused.decision.code == "policy.error"
    assert "the database is gone" in refused.decision.reason
    assert closed_reason(client.events())


def test_the_certificates_are_judged_at_the_time_of_the_clock() -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1000)
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE, clock=lambda: later)
    connected(client, server)
    assert server.decision is not None
    assert server.decision.code == "path.expired"
    assert server.decision.evidence is not None
    assert server.decision.evidence.now == later


def test_the_reference_identity_is_sent_as_server_name() -> None:
    """SNI names whom we expect, whatever host was dialled."""
    client = ClientConnection(ENTERPRISE, ReferenceIdentity.parse("sip:bob@contoso.com"))
    assert b"contoso.com" in client.data_to_send()


@pytest.mark.parametrize("mutual", [True, False])
def test_a_server_needs_a_policy_that_is_one(mutual: bool) -> None:
    with pytest.raises(ConfigurationError, match="TrustPolicy"):
        ServerConnection(OURS, "contoso.com", mutual=mutual)  # type: ignore[arg-type]


def test_a_server_needs_a_credential() -> None:
    with pytest.raises(CertificateError, match="credential"):
        ServerConnection(None, ENTERPRISE)  # type: ignore[arg-type]


# ---------------------------------------------------------------- messages


def test_messages_go_both_ways(tls_version: str) -> None:
    client, server = established()
    client.send(request(number=1) + request(number=2))
    exchange(client, server)
    got = server.events()
    assert [e.message.data for e in got if isinstance(e, MessageReceived)] == [
        request(number=1),
        request(number=2),
    ]
    reply = Message(request(number=1)).reply(200, "OK")
    server.send(reply)
    exchange(client, server)
    assert client.events() == [MessageReceived(reply)]


def test_a_message_of_a_megabyte_arrives_whole(tls_version: str) -> None:
    client, server = established()
    data = request(body=bytes(range(256)) * 4096)
    client.send(data)
    exchange(client, server)
    (event,) = server.events()
    assert isinstance(event, MessageReceived)
    assert event.message.data == data


def test_bytes_may_arrive_one_by_one(tls_version: str) -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    sent = False
    while True:
        flights = client.data_to_send(), server.data_to_send()
        if flights == (b"", b""):
            if sent:
                break
            client.send(request())
            sent = True
            continue
        for byte in flights[0]:
            server.receive_data(bytes([byte]))
        for byte in flights[1]:
            client.receive_data(bytes([byte]))
    kinds = [type(event) for event in server.events()]
    assert kinds == [PeerAccepted, MessageReceived]


def test_the_first_message_may_come_with_the_end_of_the_handshake() -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send())
    client.send(request())
    server.receive_data(client.data_to_send())
    assert [type(event) for event in server.events()] == [PeerAccepted, MessageReceived]


def test_nothing_can_be_sent_before_the_peer_is_accepted() -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    with pytest.raises(HandshakeError, match="before the peer is accepted"):
        client.send(request())
    with pytest.raises(HandshakeError):
        client.ping()


def test_a_stream_that_is_no_sip_ends_the_connection(tls_version: str) -> None:
    client, server = established()
    client.send(request() + b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n")
    exchange(client, server)
    events = server.events()
    assert isinstance(events[0], MessageReceived)
    assert isinstance(closed_reason(events), FramingError)
    told = closed_reason(client.events())
    assert isinstance(told, ConnectionClosedError)
    with pytest.raises(ConnectionClosedError, match="Content-Length"):
        server.send(request())


@pytest.mark.parametrize("nothing", ["a text", None, 5, ["a list"]])
def test_only_bytes_and_messages_are_sent(nothing: object) -> None:
    client, server = established()
    with pytest.raises(ConfigurationError, match="what is sent is bytes or a Message, not"):
        client.send(nothing)  # type: ignore[arg-type]
    client.send(request())
    exchange(client, server)
    assert len(server.events()) == 1


def test_a_close_in_answer_to_what_was_sent_tells_where_to_look() -> None:
    client, server = established()
    client.send(b"OPTIONS sip:contoso.com SIP/2.0\r\n\r\n")  # without Content-Length
    exchange(client, server)
    assert isinstance(closed_reason(server.events()), FramingError)
    reason = closed_reason(client.events())
    assert isinstance(reason, ConnectionClosedError)
    assert reason.orderly
    assert "without an answer to what was sent last" in str(reason)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_close_after_our_own_answer_is_no_more_than_that(kind: Callable[[bytes], Any]) -> None:
    client, server = established()
    client.send(request())
    exchange(client, server)
    server.send(kind(Message(request()).reply(200, "OK").data))
    exchange(client, server)
    client.close()
    exchange(client, server)
    assert str(closed_reason(server.events())) == "the peer closed the connection in order"


def test_a_close_after_an_answer_is_no_more_than_that() -> None:
    client, server = established()
    client.send(request())
    exchange(client, server)
    server.send(Message(request()).reply(200, "OK"))
    server.close()
    exchange(client, server)
    assert str(closed_reason(client.events())) == "the peer closed the connection in order"


def test_the_error_of_the_end_holds_no_frames() -> None:
    """Else each connection that ended would be a circle, to be freed by the collector only."""
    client, server = established()
    client.send(b"\x00 no SIP")
    exchange(client, server)
    for ended in (client, server):
        reason = closed_reason(ended.events())
        assert reason.__traceback__ is None
        assert reason.__context__ is None


def test_many_pings_in_one_read_are_answered_in_one_record() -> None:
    client, server = established()
    client.ping()
    exchange(client, server)  # the server's tickets go out with what it sends first
    client.events(), server.events()
    for _ in range(100):
        client.ping()
    server.receive_data(client.data_to_send())
    assert len(server.data_to_send()) < 300  # each record has 22 bytes beside its content
    assert server.events() == [Ping()] * 100


def test_what_comes_after_the_end_is_dropped() -> None:
    client, server = established()
    client.send(request())
    late = client.data_to_send()
    server.receive_data(b"\x17\x03\x03\x00\x05hello")
    assert isinstance(closed_reason(server.events()), ConnectionClosedError)
    server.receive_data(late)
    server.receive_eof()
    server.close()
    assert server.events() == []


# ---------------------------------------------------------------- keep-alive


def test_a_ping_is_answered_and_a_pong_is_told(tls_version: str) -> None:
    client, server = established()
    client.ping()
    exchange(client, server)
    assert server.events() == [Ping()]
    assert client.events() == [Pong()]


def test_without_a_pong_in_time_the_flow_has_failed() -> None:
    timer = Clock()
    client, _ = established(timer=timer)
    client.ping()
    assert client.deadline == timer.now + 10
    client.handle_deadline(timer.now + 9.9)
    assert client.events() == []
    client.handle_deadline(timer.now + 10)
    error = closed_reason(client.events())
    assert isinstance(error, ConnectionClosedError)
    assert "no pong within 10 s" in str(error)


# ---------------------------------------------------------------- deadlines


def test_a_handshake_has_a_deadline() -> None:
    timer = Clock()
    server = ServerConnection(OURS, ENTERPRISE, limits=Limits(handshake_timeout=3), timer=timer)
    assert server.deadline == timer.now + 3
    server.handle_deadline(timer.now + 2.9)
    assert server.events() == []
    server.handle_deadline(timer.now + 3)
    error = closed_reason(server.events())
    assert isinstance(error, HandshakeTimeout)
    assert isinstance(error, TimeoutError)
    assert "3 s" in str(error)
    assert server.deadline is None
    server.handle_deadline(timer.now + 99)
    assert server.events() == []


def test_a_message_has_a_deadline_from_its_first_byte() -> None:
    timer = Clock()
    client, server = established(timer=timer)
    assert server.deadline == timer() + 180
    client.send(b"OPTIONS")
    exchange(client, server)
    begun = timer.now
    assert server.deadline == begun + 30
    timer.now += 20
    client.send(b" sip:contoso.com SIP/2.0\r\n")
    exchange(client, server)
    assert server.deadline == begun + 30, "a trickle of bytes wins no time"
    timer.now += 5
    server.restart_deadline()
    assert server.deadline == timer.now + 30
    server.handle_deadline(timer.now + 30)
    assert isinstance(closed_reason(server.events()), FramingError)


def test_a_message_that_ends_in_time_has_no_deadline_any_more() -> None:
    client, server = established()
    data = request()
    client.send(data[:10])
    exchange(client, server)
    assert server.deadline == 1000 + 30
    server.restart_deadline()
    client.send(data[10:])
    exchange(client, server)
    assert server.deadline == 1000 + 3900, "only silence has one"
    server.restart_deadline()
    assert server.deadline == 1000 + 3900


def test_the_earlier_of_two_deadlines_counts() -> None:
    timer = Clock()
    client, server = established(timer=timer)
    server.send(b"SIP/2.0 ")
    exchange(client, server)
    timer.now += 25
    client.ping()
    assert client.deadline == 1030.0
    client.handle_deadline(1030.0)
    assert isinstance(closed_reason(client.events()), FramingError)


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize("who", ["client", "server"])
def test_an_orderly_close_is_told_as_one_to_both(who: str, tls_version: str) -> None:
    client, server = established()
    closer, other = (client, server) if who == "client" else (server, client)
    closer.close()
    closer.close()
    with pytest.raises(ConnectionClosedError, match="by us"):
        closer.send(request())
    exchange(client, server)
    for connection in (closer, other):
        error = closed_reason(connection.events())
        assert isinstance(error, ConnectionClosedError)
        assert error.orderly
    with pytest.raises(ConnectionClosedError, match="in order"):
        other.send(request())


def test_a_close_that_the_peer_ignores_ends_in_time() -> None:
    timer = Clock()
    client, _ = established(timer=timer)
    client.close()
    assert client.deadline == timer.now + 2
    client.handle_deadline(timer.now + 2)
    error = closed_reason(client.events())
    assert isinstance(error, ConnectionClosedError)
    assert not error.orderly


def test_what_arrives_while_we_close_is_dropped() -> None:
    client, server = established()
    server.send(request())
    late = server.data_to_send()
    client.close()
    client.receive_data(late)
    assert client.events() == []
    client.receive_eof()
    assert [type(event) for event in client.events()] == [ConnectionClosed]


def test_a_close_during_the_handshake_ends_it() -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com")
    client.close()
    assert "during the handshake" in str(closed_reason(client.events()))


def test_a_connection_that_is_cut_off_is_told_as_such(tls_version: str) -> None:
    """Without close_notify, what came last may be missing (RFC 8446 §6.1)."""
    client, server = established()
    client.send(request()[:20])
    server.receive_data(client.data_to_send())
    server.receive_eof()
    error = closed_reason(server.events())
    assert isinstance(error, ConnectionClosedError)
    assert not error.orderly
    assert "cut off" in str(error)
    assert "middle of a message" in str(error)


def test_a_client_that_is_cut_off_before_it_read_anything_gets_a_hint() -> None:
    client, _ = established()
    client.receive_eof()
    assert "perhaps it refused our certificate" in str(closed_reason(client.events()))


def test_the_end_during_the_handshake_is_told_as_such(tls_version: str) -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com")
    assert client.data_to_send()
    client.receive_eof()
    error = closed_reason(client.events())
    assert isinstance(error, ConnectionClosedError)
    assert "during the TLS handshake" in str(error)


def test_a_client_that_vanishes_during_the_handshake_is_told_as_such(tls_version: str) -> None:
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    server.receive_data(client.data_to_send())
    server.receive_eof()
    error = closed_reason(server.events())
    assert isinstance(error, ConnectionClosedError)
    assert "during the TLS handshake" in str(error)


CERTIFICATE_VERIFY = 15


def test_a_certificate_without_its_key_is_worth_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy accepts the certificate, and the signature that must prove its key is wrong."""
    monkeypatch.setattr(tls, "_NEWEST", tls.SSL.TLS1_2_VERSION)
    monkeypatch.setattr(tls, "_contexts", WeakKeyDictionary())
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send())
    flight = bytearray(client.data_to_send())
    place = 0
    while flight[place] != 0x16 or flight[place + 5] != CERTIFICATE_VERIFY:
        place += 5 + int.from_bytes(flight[place + 3 : place + 5], "big")
    flight[place + 30] ^= 1
    server.receive_data(bytes(flight))
    error = closed_reason(server.events())
    assert isinstance(error, HandshakeError)
    assert server.decision is not None
    assert server.decision.accepted
    assert server.peer is None
    assert not server.established
    client.receive_data(server.data_to_send())
    told = closed_reason(client.events())
    assert isinstance(told, RefusedByPeerError)
    assert told.alert.name in {"decrypt_error", "decode_error", "illegal_parameter"}


# ---------------------------------------------------------------- what is no TLS


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (request(), "'O'"),
        (b"GET / HTTP/1.1\r\n\r\n", "'G'"),
        (b"\r\n\r\n", "0x0d"),
        (b"\x80\x2e\x01\x03\x01", "0x80"),
    ],
)
def test_a_peer_that_speaks_no_tls_is_told_from_its_first_byte(data: bytes, shown: str) -> None:
    server = ServerConnection(OURS, ENTERPRISE)
    server.receive_data(data)
    error = closed_reason(server.events())
    assert isinstance(error, HandshakeError)
    assert shown in str(error)
    assert "5060" in str(error)
    assert server.data_to_send() == b""


@pytest.mark.parametrize("first", [0x15, 0x16])
def test_garbage_that_begins_like_tls_is_refused(first: int) -> None:
    server = ServerConnection(OURS, ENTERPRISE)
    server.receive_data(bytes([first, 3, 1, 0, 40]) + b"\x99" * 400)
    assert isinstance(closed_reason(server.events()), HandshakeError)


def test_a_connection_shows_what_it_is() -> None:
    client, server = established()
    assert client.reference == ReferenceIdentity("contoso.com")
    assert server.reference is None
    assert client.established
    assert client.closed is None
    assert client.tls == server.tls
    assert client.tls is not None
    assert client.tls.group is not None
    assert "GCM" in client.tls.cipher


def test_a_first_flight_that_fails_is_told_as_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> bool:
        raise HandshakeError("no ciphers")

    monkeypatch.setattr("siptls.wire.tls.TLSEngine.handshake", fail)
    client = ClientConnection(ENTERPRISE, "contoso.com")
    assert str(closed_reason(client.events())) == "no ciphers"


def test_a_send_that_fails_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = established()

    def fail(*_: object) -> None:
        raise ConnectionClosedError("broken")

    monkeypatch.setattr("siptls.wire.tls.TLSEngine.encrypt", fail)
    with pytest.raises(ConnectionClosedError, match="broken"):
        client.send(request())
    assert str(closed_reason(client.events())) == "broken"


def test_a_pong_that_fails_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = established()
    client.ping()

    def fail(*_: object) -> None:
        raise ConnectionClosedError("broken")

    monkeypatch.setattr("siptls.wire.tls.TLSEngine.encrypt", fail)
    exchange(client, server)
    assert str(closed_reason(server.events())) == "broken"
