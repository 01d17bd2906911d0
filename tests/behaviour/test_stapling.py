"""Staples: a client judges by the server's OCSP response, and a server sends its own."""

from __future__ import annotations

import datetime as dt
import gc
import logging
import weakref
from contextlib import suppress

import pytest
from attrs import evolve
from impostors import CONTOSO, FABRIKAM
from OpenSSL import SSL
from sip import request
from staples import DAY, Requires, responder_error, staple

from siptls import (
    ClientConnection,
    ConnectionClosedError,
    Credential,
    Decision,
    Enterprise,
    Evidence,
    HandshakeError,
    MessageReceived,
    MTLSServerTransport,
    PeerRefusedError,
    Pinned,
    RefusedByPeerError,
    ServerConnection,
    TLSClientTransport,
    sync,
)
from siptls.testing import connected, exchange
from siptls.trust.evidence import MAX_STAPLE
from siptls.wire import hello, verdict

ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())
OURS = CONTOSO.issue("sip:contoso.com")
BARE = CONTOSO.issue("sip:contoso.com")
GOOD = evolve(BARE, staple=staple(CONTOSO, BARE))
REVOKED = evolve(BARE, staple=staple(CONTOSO, BARE, revoked=True))
HELPERS = ("_verify_helper", "_ocsp_helper")


def client(policy: Requires) -> ClientConnection:
    return ClientConnection(policy, "contoso.com", credential=OURS)


def server(credential: Credential) -> ServerConnection:
    return ServerConnection(credential, ENTERPRISE)


def refusal(connection: ClientConnection) -> Decision:
    assert isinstance(connection.closed, PeerRefusedError)
    assert not connection.established
    assert connection.peer is None
    return connection.closed.decision


def check_told(connection: ServerConnection) -> None:
    """The server was told why, and has not even seen the client's certificate."""
    assert isinstance(connection.closed, RefusedByPeerError)
    assert connection.closed.alert.code == 113
    assert connection.decision is None


class RawServer:
    """OpenSSL itself, which staples whatever it is given."""

    def __init__(self, credential: Credential, response: bytes) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate(credential.chain[0])
        context.use_privatekey(credential.key)
        context.set_ocsp_server_callback(self._give)
        context.set_info_callback(self._note)
        self.response = response
        self.asked = 0
        self.alerts: list[int] = []
        self.connection = SSL.Connection(context, None)
        self.connection.set_accept_state()

    def _give(self, *_: object) -> bytes:
        self.asked += 1
        return self.response

    def _note(self, _: object, where: int, value: int) -> None:
        if where & SSL.SSL_CB_ALERT and where & SSL.SSL_CB_READ:
            self.alerts.append(value & 0xFF)

    def flight(self, data: bytes) -> bytes:
        """Take a flight, and give the answer."""
        if data:
            self.connection.bio_write(data)
        with suppress(SSL.Error):
            self.connection.do_handshake()
        try:
            return self.connection.bio_read(1 << 20)
        except SSL.Error:
            return b""

    def meet(self, visitor: ClientConnection) -> None:
        """Carry bytes until both are silent."""
        while flight := visitor.data_to_send():
            visitor.receive_data(self.flight(flight))


# ---------------------------------------------------------------- the client


def test_a_staple_is_why_a_server_is_accepted(tls_version: str) -> None:
    policy = Requires(ENTERPRISE)
    us, peer = connected(client(policy), server(GOOD))
    assert policy.seen == [None, GOOD.staple]
    assert us.established
    assert us.peer is not None
    assert us.peer.domains == {"contoso.com"}
    assert us.decision is not None
    assert us.decision.evidence is not None
    assert us.decision.evidence.staple == GOOD.staple
    assert peer.established


@pytest.mark.parametrize("soft", [False, True])
def test_a_staple_is_why_a_server_is_refused(tls_version: str, soft: bool) -> None:
    """Even where the policy would have accepted without it."""
    us, peer = connected(client(Requires(ENTERPRISE, soft=soft)), server(REVOKED))
    assert refusal(us).code == "path.revoked"
    check_told(peer)


def test_openssl_itself_is_told_113(tls_version: str) -> None:
    assert REVOKED.staple is not None
    raw = RawServer(BARE, REVOKED.staple)
    us = client(Requires(ENTERPRISE, soft=True))
    raw.meet(us)
    assert refusal(us).code == "path.revoked"
    assert raw.alerts == [113]


def test_without_a_staple_the_first_answer_stands(tls_version: str) -> None:
    policy = Requires(ENTERPRISE)
    us, peer = connected(client(policy), server(BARE))
    assert refusal(us).code == "path.revocation-unknown"
    assert policy.seen == [None]
    check_told(peer)
    soft = Requires(ENTERPRISE, soft=True)
    us, peer = connected(client(soft), server(BARE))
    assert us.established
    assert peer.established
    assert soft.seen == [None]


@pytest.mark.parametrize(
    "response",
    [b"", b"\x30", b"no DER at all", staple(CONTOSO, OURS)],
    ids=["empty", "cut-off", "garbage", "of-another"],
)
def test_what_openssl_does_not_even_send_is_none(tls_version: str, response: bytes) -> None:
    raw = RawServer(BARE, response)
    policy = Requires(ENTERPRISE)
    us = client(policy)
    raw.meet(us)
    assert raw.asked == 1
    assert policy.seen == [None]
    assert refusal(us).code == "path.revocation-unknown"
    assert raw.alerts == [113]


def test_what_tells_nothing_is_shown_to_the_policy_once(tls_version: str) -> None:
    raw = RawServer(BARE, responder_error())
    policy = Requires(ENTERPRISE)
    us = client(policy)
    raw.meet(us)
    assert policy.seen == [None, responder_error()]
    assert refusal(us).code == "path.revocation-unknown"
    assert raw.alerts == [113]


def test_a_server_waits_for_no_staple(tls_version: str) -> None:
    """A client has no way to send one, so that the first answer is the last."""
    policy = Requires(ENTERPRISE)
    us, peer = connected(
        ClientConnection(ENTERPRISE, "contoso.com", credential=GOOD), ServerConnection(OURS, policy)
    )
    assert policy.seen == [None]
    assert isinstance(peer.closed, PeerRefusedError)
    assert peer.closed.decision.code == "path.revocation-unknown"
    assert isinstance(us.closed, RefusedByPeerError)
    assert us.closed.alert.code == 42


def test_a_staple_that_is_too_long_counts_as_none(tls_version: str) -> None:
    """In TLS 1.2 OpenSSL itself takes no longer one."""
    short = staple(CONTOSO, BARE)
    room = MAX_STAPLE - len(short)
    longest = staple(CONTOSO, BARE, nonce=bytes(room - 64))
    assert MAX_STAPLE - 64 < len(longest) <= MAX_STAPLE
    policy = Requires(ENTERPRISE)
    us = client(policy)
    RawServer(BARE, longest).meet(us)
    assert us.established, us.closed
    policy.seen.clear()
    us = client(policy)
    RawServer(BARE, staple(CONTOSO, BARE, nonce=bytes(room + 64))).meet(us)
    assert policy.seen == [None]
    if tls_version == "TLSv1.3":
        assert refusal(us).code == "path.revocation-unknown"
    else:
        assert isinstance(us.closed, HandshakeError)
        assert not us.established


def test_a_policy_that_fails_when_asked_again_refuses(tls_version: str) -> None:
    for soft in (False, True):
        us, peer = connected(client(Requires(ENTERPRISE, soft=soft, fails=True)), server(GOOD))
        assert refusal(us).code == "policy.error"
        assert "no more" in refusal(us).reason
        check_told(peer)


def test_a_fault_when_asked_again_refuses_here_and_nowhere_else(
    tls_version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a callback raises, pyOpenSSL would raise in another connection of the context."""
    old = connected(client(Requires(ENTERPRISE)), server(GOOD))
    new = client(Requires(ENTERPRISE)), server(GOOD)
    ask = verdict._ask

    def broken(*arguments: object) -> None:
        if len(arguments) > 2:
            raise MemoryError("out of it")
        ask(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(verdict, "_ask", broken)
        us, peer = connected(client(Requires(ENTERPRISE, soft=True)), server(GOOD))
    assert refusal(us).code == "policy.error"
    assert "out of it" in refusal(us).reason
    assert caplog.records[0].levelno == logging.ERROR
    check_told(peer)
    context = old[0]._engine._connection.get_context()
    assert us._engine._connection.get_context() is context
    assert all(getattr(context, helper)._problems == [] for helper in HELPERS)
    connected(*new)
    for one, other in (old, new):
        assert one.established
        other.send(request())
        exchange(one, other)
        assert isinstance(one.events()[-1], MessageReceived)


def test_a_fault_while_a_staple_is_waited_for_is_the_last_word(
    tls_version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No staple turns it into an acceptance."""
    look = verdict._look

    def broken(judgement: verdict.Judgement, *more: object) -> None:
        if judgement.undecided:
            raise MemoryError("no more")
        look(judgement, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(verdict, "_look", broken)
    policy = Requires(ENTERPRISE)
    us, peer = connected(client(policy), ServerConnection(GOOD, None, mutual=False))
    assert refusal(us).code == "policy.error"
    assert policy.seen == [None]
    assert isinstance(peer.closed, RefusedByPeerError)
    assert peer.closed.alert.code in (42, 46)
    assert caplog.records


class Untellable(Exception):  # noqa: N818  not only itself
    """An error whose words are an error."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("breaks", [1, 2], ids=["first", "again"])
@pytest.mark.parametrize("error", [MemoryError("no time"), Untellable()], ids=["told", "untold"])
def test_a_clock_that_fails_raises_nothing_that_another_could_pick_up(
    tls_version: str, caplog: pytest.LogCaptureFixture, breaks: int, error: Exception
) -> None:
    """Nor does what is needed to record the refusal."""
    caplog.set_level(logging.CRITICAL, "siptls")
    looked = 0

    def clock() -> dt.datetime:
        nonlocal looked
        looked += 1
        if looked >= breaks:
            raise error
        return dt.datetime.now(dt.UTC)

    us = ClientConnection(Requires(ENTERPRISE), "contoso.com", credential=OURS, clock=clock)
    connected(us, server(GOOD))
    assert looked >= breaks
    assert refusal(us).code == "policy.error"
    assert ("no time" in refusal(us).reason) is isinstance(error, MemoryError)
    context = us._engine._connection.get_context()
    assert all(getattr(context, helper)._problems == [] for helper in HELPERS)


class Interrupted(Requires):
    """Ctrl-C, while it is asked again."""

    def evaluate(self, evidence: Evidence, /) -> Decision:
        if evidence.staple is not None:
            raise KeyboardInterrupt
        return self.policy.evaluate(evidence)


@pytest.mark.filterwarnings("ignore:Exception ignored from cffi callback")
def test_what_is_no_exception_is_no_acceptance_either(tls_version: str) -> None:
    us = client(Interrupted(ENTERPRISE))
    connected(us, server(GOOD))
    assert not us.established
    assert us.decision is None
    assert isinstance(us.closed, HandshakeError)


class Closed:
    """Refuses everybody, for a reason that counts as the most telling."""

    def evaluate(self, evidence: Evidence, /) -> Decision:
        return Decision.refuse("zone.closed", "nobody may come", evidence=evidence)


def test_the_refusal_of_a_part_that_lacks_a_status_waits_for_it(tls_version: str) -> None:
    """Beside it, another part's refusal tells more, and would end the handshake at once."""
    pins = Pinned({"contoso.com": ["sha256:" + "00" * 32]})
    policy = pins | Closed() | Requires(ENTERPRISE)
    us = ClientConnection(policy, "contoso.com")
    connected(us, ServerConnection(GOOD, None, mutual=False))
    assert us.established, us.closed
    us = ClientConnection(policy, "contoso.com")
    peer = ServerConnection(BARE, None, mutual=False)
    connected(us, peer)
    assert refusal(us).code == "zone.closed"
    assert isinstance(peer.closed, RefusedByPeerError)
    assert peer.closed.alert.code == 113


def test_other_refusals_end_the_handshake_as_they_always_did(tls_version: str) -> None:
    """A staple could not help, and the alert says what is wrong."""
    shown = FABRIKAM.issue("sip:contoso.com")
    policy = Requires(ENTERPRISE, soft=True)
    us, peer = connected(client(policy), server(evolve(shown, staple=staple(FABRIKAM, shown))))
    assert refusal(us).code == "path.unknown-ca"
    assert policy.seen == [None]
    assert isinstance(peer.closed, RefusedByPeerError)
    assert peer.closed.alert.code == 48


def test_an_acceptance_counts_only_after_the_staples_callback(
    tls_version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the path on which OpenSSL would skip it."""
    monkeypatch.setattr(verdict, "take_staple", lambda *_: True)
    for soft in (False, True):
        us = client(Requires(ENTERPRISE, soft=soft))
        connected(us, server(GOOD))
        assert refusal(us).code == "policy.error"


def test_a_handshake_that_fails_before_the_staple_is_no_verdict(tls_version: str) -> None:
    """The policy has not had its last word; nor has the peer been believed."""
    us = client(Requires(ENTERPRISE))
    peer = server(GOOD)
    peer.receive_data(us.data_to_send())
    us.receive_data(peer.data_to_send()[:-1])
    us.receive_eof()
    assert isinstance(us.closed, ConnectionClosedError)
    assert not us.established
    assert us.decision is not None
    assert us.decision.code == "path.revocation-unknown"


def test_a_connection_that_was_judged_twice_is_freed_at_once(tls_version: str) -> None:
    """Without the garbage collector: no reference goes in a circle."""
    gc.collect()
    gc.disable()
    try:
        us, peer = connected(client(Requires(ENTERPRISE)), server(GOOD))
        assert us.established
        assert peer.established
        engines = [weakref.ref(side._engine._connection) for side in (us, peer)]
        del us, peer
        assert [engine() for engine in engines] == [None, None]
    finally:
        gc.enable()


# ---------------------------------------------------------------- whether to ask


class Vouching:
    """An authority, as far as asking goes."""

    def __init__(self, revocation: object) -> None:
        self.revocation = revocation


class Telling(Requires):
    """A policy that tells its authorities."""

    authorities = frozenset({Vouching(None), Vouching("a way to know")})


@pytest.mark.parametrize(
    ("policy", "asks"),
    [
        (ENTERPRISE, False),
        (Telling(ENTERPRISE, soft=True), True),
        (Requires(ENTERPRISE, soft=True), True),
        (ENTERPRISE | Requires(ENTERPRISE, soft=True), True),
    ],
    ids=["no-revocation", "revocation", "untold", "one-part-untold"],
)
def test_a_client_asks_if_its_policy_could_use_the_answer(
    tls_version: str, policy: Requires, asks: bool
) -> None:
    raw = RawServer(BARE, b"")
    us = client(policy)
    raw.meet(us)
    assert us.established
    assert raw.asked == asks


# ---------------------------------------------------------------- the server


def shown_to_openssl(
    peer: ServerConnection, name: str | None = None, *, asks: bool = True
) -> list[bytes]:
    """Let OpenSSL itself connect, and give the staples that it was told of."""
    told: list[bytes] = []
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(OURS.chain[0])
    context.use_privatekey(OURS.key)

    def take(_: object, response: bytes, __: object) -> bool:
        told.append(response)
        return True

    context.set_ocsp_client_callback(take)
    raw = SSL.Connection(context, None)
    raw.set_connect_state()
    if name is not None:
        raw.set_tlsext_host_name(name.encode())
    if asks:
        raw.request_ocsp()
    for _ in range(4):
        with suppress(SSL.Error):
            raw.do_handshake()
        with suppress(SSL.Error):
            peer.receive_data(raw.bio_read(1 << 20))
        if answer := peer.data_to_send():
            raw.bio_write(answer)
    assert peer.established, peer.closed
    return told


def test_a_server_sends_its_staple_to_whoever_asks(tls_version: str) -> None:
    assert shown_to_openssl(server(GOOD)) == [GOOD.staple]
    assert shown_to_openssl(server(GOOD), asks=False) == []
    assert shown_to_openssl(server(BARE)) == [b""]


def test_each_credential_has_its_own_staple(tls_version: str) -> None:
    other = CONTOSO.issue("sip:other.example")
    second = evolve(other, staple=staple(CONTOSO, other))
    third = CONTOSO.issue("sip:third.example")
    for credentials in ([GOOD, second, third], [third, GOOD, second]):
        for name, shown in (("contoso.com", GOOD), ("other.example", second)):
            peer = ServerConnection(credentials, ENTERPRISE)
            assert shown_to_openssl(peer, name) == [shown.staple]
        assert shown_to_openssl(ServerConnection(credentials, ENTERPRISE), "third.example") == [b""]
        peer = ServerConnection(credentials, ENTERPRISE)
        assert shown_to_openssl(peer) == [credentials[0].staple or b""]


def test_a_staple_out_of_date_is_not_sent_which_is_told_once(
    tls_version: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    stale = evolve(BARE, staple=staple(CONTOSO, BARE, until=now + DAY))
    assert stale.staple is not None

    def at(time: dt.datetime) -> list[bytes]:
        return shown_to_openssl(ServerConnection(stale, ENTERPRISE, clock=lambda: time))

    assert at(now + DAY - dt.timedelta(seconds=1)) == [stale.staple]
    assert caplog.records == []
    assert at(now + DAY) == [b""]
    assert at(now + DAY) == [b""]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "contoso.com" in record.getMessage()
    assert (now + DAY).isoformat() in record.getMessage()


def test_a_staple_without_an_end_is_always_sent(tls_version: str) -> None:
    credential = evolve(BARE, staple=staple(CONTOSO, BARE, without_end=True))
    later = dt.datetime.now(dt.UTC) + 100 * DAY
    peer = ServerConnection(credential, ENTERPRISE, clock=lambda: later)
    assert shown_to_openssl(peer) == [credential.staple]


def test_a_fault_of_the_server_costs_the_staple_and_nothing_else(
    tls_version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bytes:
        raise MemoryError("no more")

    us, other = connected(client(Requires(ENTERPRISE)), server(GOOD))
    with monkeypatch.context() as patch:
        patch.setattr(hello, "staple_at", broken)
        peer = server(GOOD)
        assert shown_to_openssl(peer) == [b""]
    assert "no more" in str(caplog.records[0].exc_info)
    context = other._engine._connection.get_context()
    assert peer._engine._connection.get_context() is context
    assert all(getattr(context, helper)._problems == [] for helper in HELPERS)
    us.send(request())
    exchange(us, other)
    assert isinstance(other.events()[-1], MessageReceived)
    assert shown_to_openssl(server(GOOD)) == [GOOD.staple]


# ---------------------------------------------------------------- over sockets


async def test_the_asyncio_transports_staple_and_judge() -> None:
    named = CONTOSO.issue("sip:contoso.com", "sip:lab.contoso.com")
    named = evolve(named, staple=staple(CONTOSO, named))
    policy = Requires(ENTERPRISE)
    async with (
        MTLSServerTransport(named, ENTERPRISE, on_message=print) as home,
        MTLSServerTransport(BARE, ENTERPRISE, on_message=print) as bare,
        TLSClientTransport(policy, credential=OURS) as transport,
    ):
        await home.listen("127.0.0.1", 0)
        await bare.listen("127.0.0.1", 0)
        ((host, port),) = home.addresses
        connection = await transport.connect("contoso.com", host=host, port=port)
        await connection.ping()
        # For another name the same evidence is judged again, staple and all.
        assert await transport.connect("lab.contoso.com") is connection
        assert policy.seen == [None, named.staple, named.staple]
        ((host, port),) = bare.addresses
        with pytest.raises(PeerRefusedError, match=r"path\.revocation-unknown"):
            await transport.connect("contoso.com", host=host, port=port)


def test_the_blocking_transports_staple_and_judge() -> None:
    with (
        sync.MTLSServerTransport(GOOD, ENTERPRISE, on_message=print) as home,
        sync.MTLSServerTransport(BARE, ENTERPRISE, on_message=print) as bare,
        sync.TLSClientTransport(Requires(ENTERPRISE), credential=OURS) as transport,
    ):
        home.listen("127.0.0.1", 0)
        bare.listen("127.0.0.1", 0)
        ((host, port),) = home.addresses
        transport.connect("contoso.com", host=host, port=port).ping()
        ((host, port),) = bare.addresses
        with pytest.raises(PeerRefusedError, match=r"path\.revocation-unknown"):
            transport.connect("contoso.com", host=host, port=port)
