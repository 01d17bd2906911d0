"""PolicySSLContext: a real `ssl.SSLContext` whose judge is a policy."""

from __future__ import annotations

import datetime as dt
import errno
import logging
import socket
import ssl
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from siptls import (
    AnyDomain,
    Authority,
    Blocked,
    Combinable,
    ConfigurationError,
    Credential,
    Decision,
    Enterprise,
    Evidence,
    Federation,
    HandshakeError,
    KeyPurposes,
    Partner,
    PeerRefusedError,
    Pinned,
    PolicySSLContext,
    TrustedServers,
)
from siptls.errors import CertificateError
from siptls.testing import CertificateAuthority
from siptls.trust.policy import authorities_of
from siptls.wire.sslcontext import _load
from siptls.wire.sslobjects import PolicySSLObject, PolicySSLSocket

SEED = "sslcontext"
CA = CertificateAuthority("Contoso CA", seed=SEED)
STRANGER = CertificateAuthority("Stranger CA", seed=SEED)
OURS = CA.issue("sip:contoso.com")
POLICY = Enterprise(["contoso.com"], CA.authority(purposes=KeyPurposes.ROLE))
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(params=VERSIONS.values(), ids=VERSIONS)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return request.param  # type: ignore[no-any-return]


def client(version: ssl.TLSVersion | None = None, **options: Any) -> PolicySSLContext:
    options.setdefault("credential", OURS)
    context = PolicySSLContext.client(options.pop("policy", POLICY), **options)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def server(**options: Any) -> PolicySSLContext:
    credential = options.pop("credential", OURS)
    return PolicySSLContext.server(credential, options.pop("policy", POLICY), **options)


class Memory:
    """A client's object and a server's, and the memory between them."""

    def __init__(
        self, one: PolicySSLContext, other: PolicySSLContext, name: str = "contoso.com"
    ) -> None:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = one.wrap_bio(down, up, server_hostname=name)
        self.server = other.wrap_bio(up, down, server_side=True)

    def handshake(self) -> list[ssl.SSLError | None]:
        """Let both do their handshake; give the error of each, the client's first."""
        errors: list[ssl.SSLError | None] = [None, None]
        done = [False, False]
        for _ in range(10):
            for number, side in enumerate((self.client, self.server)):
                if done[number]:
                    continue
                try:
                    side.do_handshake()
                    done[number] = True
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:
                    errors[number], done[number] = error, True
        return errors


# ---------------------------------------------------------------- the verdict


def test_both_sides_are_judged(version: ssl.TLSVersion) -> None:
    pair = Memory(client(version), server())
    assert pair.handshake() == [None, None]
    for side in (pair.client, pair.server):
        assert isinstance(side, PolicySSLObject)
        assert side.decision is not None
        assert side.decision.accepted
        assert side.peer is not None
        assert side.peer.domains == {"contoso.com"}
    pair.client.write(b"hello")
    assert pair.server.read() == b"hello"


def test_the_name_that_is_expected_is_the_server_hostname(version: ssl.TLSVersion) -> None:
    (error, _) = Memory(client(version), server(), "eu.contoso.com").handshake()
    assert isinstance(error, PeerRefusedError)
    assert error.decision.code == "name.mismatch"
    assert isinstance(error, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("name", ["sip:contoso.com", "sip:alice@CONTOSO.com:5061", "contoso.com"])
def test_a_sip_uri_is_taken_for_its_domain(name: str) -> None:
    pair = Memory(client(), server(), name)
    assert pair.handshake() == [None, None]
    assert pair.client.server_hostname == "contoso.com"


@pytest.mark.parametrize(
    ("credential", "code"),
    [
        (None, "certificate.missing"),
        (STRANGER.issue("sip:contoso.com"), "path.unknown-ca"),
        (CertificateAuthority("Contoso CA").issue("sip:contoso.com"), "path.unknown-ca"),
        (CA.issue("sip:fabrikam.com"), "name.out-of-scope"),
        (CA.issue("*.contoso.com"), "name.none"),
        (CA.issue("sip:contoso.com", purposes=["serverAuth"]), "purpose.unacceptable"),
        (
            CA.issue("sip:contoso.com", not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
            "path.expired",
        ),
        (
            CA.issue("sip:contoso.com", not_before=dt.datetime.now(dt.UTC) + dt.timedelta(1)),
            "path.not-yet-valid",
        ),
        (
            CA.intermediate("Lab CA", permitted=["lab.contoso.com"]).issue("sip:contoso.com"),
            "path.constraint",
        ),
    ],
)
def test_a_server_refuses_a_client_with_a_code(
    credential: Credential | None, code: str, version: ssl.TLSVersion
) -> None:
    """Whether OpenSSL refuses before the policy is asked, or the policy does."""
    told: list[Decision] = []
    pair = Memory(
        client(version, credential=credential),
        server(on_refused=lambda decision, _: told.append(decision)),
    )
    _, error = pair.handshake()
    assert isinstance(error, PeerRefusedError)
    assert error.decision.code == code
    assert pair.server.decision is error.decision
    assert pair.server.peer is None
    assert told == [error.decision]


def test_a_certificate_below_an_intermediate_anchor_is_good(version: ssl.TLSVersion) -> None:
    """An anchor need be no root (X509_V_FLAG_PARTIAL_CHAIN)."""
    lower = CA.intermediate("Issuing CA")
    policy = Enterprise(["contoso.com"], lower.authority(purposes=KeyPurposes.ROLE))
    credential = lower.issue("sip:contoso.com")
    pair = Memory(client(version, credential=credential), server(policy=policy))
    assert pair.handshake() == [None, None]


def test_a_server_that_asks_for_no_certificate_judges_nobody(version: ssl.TLSVersion) -> None:
    quiet = PolicySSLContext.server(OURS, mutual=False)
    assert (quiet.judges, quiet.verify_mode) == (False, ssl.CERT_NONE)
    pair = Memory(client(version, credential=None), quiet)
    assert pair.handshake() == [None, None]
    assert (pair.server.decision, pair.server.peer) == (None, None)
    pair.client.write(b"hello")
    assert pair.server.read() == b"hello"


def test_the_time_is_that_of_the_clock() -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=4000)
    (error, _) = Memory(client(clock=lambda: later), server()).handshake()
    assert isinstance(error, PeerRefusedError)
    assert error.decision.code == "path.expired"


def test_a_refusal_is_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    def fails(decision: Decision, address: object) -> None:
        raise RuntimeError("a fault in the application")

    caplog.set_level(logging.WARNING, logger="siptls")
    (error, _) = Memory(client(on_refused=fails), server(), "eu.contoso.com").handshake()
    assert isinstance(error, PeerRefusedError)
    assert "refused an unknown address: name.mismatch" in caplog.text
    assert "on_refused failed; the peer is refused all the same" in caplog.text


def test_a_policy_that_raises_refuses() -> None:
    class Raises(Combinable):
        def evaluate(self, evidence: Evidence, /) -> Decision:
            raise LookupError

    (error, _) = Memory(client(policy=Raises()), server()).handshake()
    assert isinstance(error, PeerRefusedError)
    assert error.decision.code == "policy.error"


def test_a_handshake_that_fails_for_another_reason_is_no_refusal(version: ssl.TLSVersion) -> None:
    pair = Memory(client(version), server())
    pair.server._sslobj  # noqa: B018  it is there before the handshake
    incoming = ssl.MemoryBIO()
    incoming.write(b"GET / HTTP/1.1\r\n\r\n")
    lonely = server().wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ssl.SSLError) as caught:
        lonely.do_handshake()
    assert not isinstance(caught.value, PeerRefusedError)
    assert lonely.decision is None


# ---------------------------------------------------------------- the guards


def test_no_data_passes_an_object_before_the_verdict(version: ssl.TLSVersion) -> None:
    pair = Memory(client(version), server())
    for side in (pair.client, pair.server):
        for act in (side.read, lambda s=side: s.write(b"x"), side.unwrap):
            with pytest.raises(HandshakeError, match=r"call do_handshake\(\) first"):
                act()
    assert pair.handshake() == [None, None]


def test_no_data_passes_a_refused_object(version: ssl.TLSVersion) -> None:
    """Nor does the handshake succeed when it is tried again."""
    pair = Memory(client(version), server(), "eu.contoso.com")
    pair.handshake()
    side = pair.client
    for act in (side.read, lambda: side.write(b"x"), side.unwrap, side.do_handshake):
        with pytest.raises(PeerRefusedError):
            act()


def test_data_that_came_with_the_handshake_waits_for_the_verdict() -> None:
    """The client's first bytes may come in the same flight as its certificate."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client(credential=CA.issue("sip:fabrikam.com")).wrap_bio(
        down, up, server_hostname="contoso.com"
    )
    other = server().wrap_bio(up, down, server_side=True)
    for side in (one, other, one):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    one.write(b"too early")
    with pytest.raises(PeerRefusedError):
        other.do_handshake()
    with pytest.raises(PeerRefusedError):
        other.read()


GUARDED: list[tuple[str, Callable[[PolicySSLSocket], object]]] = [
    ("read", lambda s: s.read()),
    ("write", lambda s: s.write(b"x")),
    ("recv", lambda s: s.recv(1)),
    ("recv_into", lambda s: s.recv_into(bytearray(1))),
    ("recvfrom", lambda s: s.recvfrom(1)),
    ("recvfrom_into", lambda s: s.recvfrom_into(bytearray(1))),
    ("send", lambda s: s.send(b"x")),
    ("sendall", lambda s: s.sendall(b"x")),
    ("recvmsg", lambda s: s.recvmsg(1)),
    ("recvmsg_into", lambda s: s.recvmsg_into([bytearray(1)])),
    ("sendmsg", lambda s: s.sendmsg([b"x"])),
    ("sendto", lambda s: s.sendto(b"x", ("127.0.0.1", 5061))),
    ("makefile", lambda s: s.makefile()),
    ("unwrap", lambda s: s.unwrap()),
]
every_guard = pytest.mark.parametrize(("name", "act"), GUARDED, ids=[name for name, _ in GUARDED])


@contextmanager
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@every_guard
def test_no_data_passes_a_socket_before_the_verdict(
    name: str, act: Callable[[PolicySSLSocket], object], version: ssl.TLSVersion
) -> None:
    """OpenSSL would do the handshake inside of these, and our verdict would be passed by."""
    with sockets() as (one, other):
        wrapped = client(version).wrap_socket(
            one, server_hostname="contoso.com", do_handshake_on_connect=False
        )
        with wrapped, pytest.raises(HandshakeError, match=r"call do_handshake\(\) first"):
            act(wrapped)
        other.setblocking(False)
        assert not other.recv(65536)  # nothing was sent, not even a first flight


def test_no_file_passes_a_socket_before_the_verdict(tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with sockets() as (one, _), (tmp_path / "file").open("rb") as file:
        wrapped = client().wrap_socket(
            one, server_hostname="contoso.com", do_handshake_on_connect=False
        )
        with wrapped, pytest.raises(HandshakeError):
            wrapped.sendfile(file)


@contextmanager
def tcp() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), timeout=10)
        other, _ = listener.accept()
        with one, other:
            yield one, other


def reset(sock: socket.socket) -> None:
    """Close a connection with RST, after which the other side has no peer's name."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextmanager
def joined(one: socket.socket, other: socket.socket, name: str = "contoso.com") -> Iterator[Any]:
    """A client of ours that has done its handshake, and a server that believes everything."""
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    plain.num_tickets = 0
    _load(plain, OURS)  # type: ignore[arg-type]  it takes any context
    theirs: list[ssl.SSLSocket] = []
    thread = threading.Thread(
        target=lambda: theirs.append(plain.wrap_socket(other, server_side=True))
    )
    thread.start()
    ours = client().wrap_socket(one, server_hostname=name, do_handshake_on_connect=False)
    with ours:
        with suppress(PeerRefusedError):
            ours.do_handshake()
        thread.join()
        with theirs[0]:
            yield ours, theirs[0]


@every_guard
def test_no_data_passes_a_socket_whose_connect_has_failed(
    name: str, act: Callable[[PolicySSLSocket], object]
) -> None:
    """The system goes on connecting, and would send plain bytes as soon as it is through."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # the listener takes no more
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        wrapped = stack.enter_context(
            client().wrap_socket(socket.socket(), server_hostname="contoso.com")
        )
        wrapped.settimeout(0.01)
        with pytest.raises(TimeoutError):
            wrapped.connect(listener.getsockname())
        with pytest.raises(HandshakeError, match=r"call do_handshake\(\) first"):
            act(wrapped)


@every_guard
def test_no_data_passes_a_refused_socket_that_is_shut_down(
    name: str, act: Callable[[PolicySSLSocket], object]
) -> None:
    with tcp() as (one, other), joined(one, other, "eu.contoso.com") as (ours, theirs):
        ours.shutdown(socket.SHUT_RD)
        with pytest.raises(PeerRefusedError):
            act(ours)
        ours.close()
        raw = socket.socket(fileno=theirs.detach())
        with raw:
            assert raw.recv(100) == b""


def test_no_plain_data_comes_from_a_refused_peer_that_has_gone() -> None:
    with tcp() as (one, other), joined(one, other, "eu.contoso.com") as (ours, theirs):
        raw = socket.socket(fileno=theirs.detach())
        raw.sendall(b"plain")
        reset(raw)
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)
        with pytest.raises(PeerRefusedError):
            ours.recv(100)


def test_after_shutdown_what_still_passes_is_encrypted() -> None:
    with sockets() as (one, other), joined(one, other) as (ours, theirs):
        ours.shutdown(socket.SHUT_RD)
        ours.sendall(b"hello")
        assert theirs.recv(5) == b"hello"
        ssl.SSLSocket.shutdown(ours, socket.SHUT_RD)  # which takes TLS away
        for act in (lambda: ours.sendall(b"x"), lambda: ours.recv(1), ours.makefile):
            with pytest.raises(HandshakeError, match="TLS has ended on this socket"):
                act()


def test_after_unwrap_the_socket_is_plain_as_in_ssl() -> None:
    with sockets() as (one, other), joined(one, other) as (ours, theirs):
        thread = threading.Thread(target=theirs.unwrap)
        thread.start()
        plain = ours.unwrap()
        thread.join()
        plain.sendall(b"plain")
        assert theirs.recv(5) == b"plain"
        ours.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            ours.recv(1)


def test_a_socket_has_one_connection() -> None:
    """Else the verdict about the first peer would hold for the second."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as one:
        wrapped = client().wrap_socket(one, server_hostname="contoso.com")
        wrapped.settimeout(10)
        wrapped.do_handshake_on_connect = False
        wrapped.connect(listener.getsockname())
        other, _ = listener.accept()
        other.close()
        with wrapped:
            with pytest.raises(OSError):  # the peer has gone
                wrapped.do_handshake()
            for connect in (wrapped.connect, wrapped.connect_ex):
                with pytest.raises(ConfigurationError, match="another socket"):
                    connect(listener.getsockname())


def test_a_socket_that_was_never_connected_is_as_in_ssl() -> None:
    """One that listens accepts; one that has no peer is told so by the system's own error."""
    with socket.create_server(("127.0.0.1", 0)) as plain:
        address = plain.getsockname()
        with server().wrap_socket(plain, server_side=True) as listener:
            for act in (lambda: listener.recv(1), lambda: listener.send(b"x")):
                with pytest.raises(OSError) as caught:
                    act()
                assert caught.value.errno == errno.ENOTCONN
            got: list[bytes] = []

            def serve() -> None:
                accepted, _ = listener.accept()
                with accepted:
                    got.append(accepted.recv(5))

            thread = threading.Thread(target=serve)
            thread.start()
            with client().wrap_socket(socket.socket(), server_hostname="contoso.com") as wrapped:
                wrapped.settimeout(10)
                wrapped.connect(address)
                wrapped.sendall(b"hello")
                thread.join()
            assert got == [b"hello"]


def test_plain_data_from_before_the_wrapping_is_found_by_ssl() -> None:
    """It reads once itself while it makes the socket: no guard hides from it what is there."""
    with tcp() as (one, other):
        other.sendall(b"plain")
        reset(other)
        with pytest.raises(OSError):  # its kind differs between systems
            client().wrap_socket(one, server_hostname="contoso.com")


def test_a_certificate_after_the_handshake_is_not_asked_for() -> None:
    pair = Memory(client(), server())
    pair.handshake()
    with pytest.raises(ConfigurationError, match="behind the policy's back"):
        pair.server.verify_client_post_handshake()
    with sockets() as (one, _):
        wrapped = server().wrap_socket(one, server_side=True, do_handshake_on_connect=False)
        with wrapped, pytest.raises(ConfigurationError, match="behind the policy's back"):
            wrapped.verify_client_post_handshake()


def swap_to(context: ssl.SSLContext) -> Callable[[Any, str | None, ssl.SSLContext], None]:
    """A callback for SNI that puts another context in place."""

    def swap(sslobj: Any, name: str | None, first: ssl.SSLContext) -> None:
        sslobj.context = context

    return swap


def test_a_plain_context_that_is_put_in_its_place_judges_nothing(version: ssl.TLSVersion) -> None:
    """A callback for SNI may change the context; the policy is that of the first one."""
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(lax, OURS)  # type: ignore[arg-type]  it takes any context
    for anchor in CA.authority().anchors + STRANGER.authority().anchors:
        lax.load_verify_locations(cadata=anchor.public_bytes(Encoding.DER))
    ours = server()
    ours.sni_callback = swap_to(lax)
    for credential, code in (
        (CA.issue("sip:fabrikam.com"), "name.out-of-scope"),
        (STRANGER.issue("sip:contoso.com"), "path.unknown-ca"),
        (None, "certificate.missing"),
    ):
        pair = Memory(client(version, credential=credential), ours)
        _, error = pair.handshake()
        assert isinstance(error, PeerRefusedError)
        assert error.decision.code == code
    pair = Memory(client(version), ours)
    assert pair.handshake() == [None, None]
    assert pair.server.context is lax
    assert pair.server.peer is not None


SWAPS: list[tuple[PolicySSLContext, PolicySSLContext]] = [
    (server(mutual=False), server()),
    (server(), server(mutual=False)),
    (server(), server(policy=POLICY & TrustedServers(["sip.contoso.com"]))),
]


@pytest.mark.parametrize(("first", "other"), SWAPS, ids=["mutual", "not mutual", "policy"])
def test_a_context_with_another_judge_that_is_put_in_its_place_refuses(
    first: PolicySSLContext, other: PolicySSLContext, version: ssl.TLSVersion
) -> None:
    """OpenSSL goes by the first one, so that the other's policy could not be kept."""
    first.sni_callback = swap_to(other)
    pair = Memory(client(version), first)
    _, error = pair.handshake()
    assert isinstance(error, PeerRefusedError)
    assert error.decision.code == "policy.error"
    assert "one policy object in all contexts" in str(error)
    assert pair.server.peer is None
    with pytest.raises(PeerRefusedError):
        pair.server.read()


def test_a_context_with_the_same_judge_may_be_put_in_its_place(version: ssl.TLSVersion) -> None:
    for options in ({}, {"mutual": False}):
        first, other = server(**options), server(**options)
        first.sni_callback = swap_to(other)
        pair = Memory(client(version), first)
        assert pair.handshake() == [None, None]
        assert pair.server.context is other
    stranger = Memory(client(version, credential=CA.issue("sip:fabrikam.com")), server())
    stranger.server.context.sni_callback = swap_to(server())
    _, error = stranger.handshake()
    assert isinstance(error, PeerRefusedError)
    assert error.decision.code == "name.out-of-scope"


# ---------------------------------------------------------------- sessions


def test_a_resumed_session_is_judged_again() -> None:
    """TLS 1.2 resumes by session id, whatever the options. Its chain is remembered."""
    now = [dt.datetime.now(dt.UTC)]
    context = server(clock=lambda: now[0])
    plain = plain_client(ssl.TLSVersion.TLSv1_2)

    def connect(session: ssl.SSLSession | None) -> tuple[Any, Any]:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        one = plain.wrap_bio(down, up, session=session)
        other = context.wrap_bio(up, down, server_side=True)
        error = None
        for _ in range(4):
            for side in (one, other):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                except PeerRefusedError as refused:
                    error = refused
        return one, error or other

    one, first = connect(None)
    assert first.peer.domains == {"contoso.com"}
    again, second = connect(one.session)
    assert again.session_reused
    assert second.peer.domains == {"contoso.com"}
    now[0] += dt.timedelta(days=4000)
    _, third = connect(one.session)
    assert third.decision.code == "path.expired"
    now[0] -= dt.timedelta(days=4000)
    context._remembered.clear()
    _, fourth = connect(one.session)
    assert fourth.decision.code == "certificate.missing"


def plain_client(version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client of the standard library that believes everything, with our certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    _load(context, OURS)  # type: ignore[arg-type]  it takes any context
    return context


def test_so_many_sessions_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siptls.wire.sslcontext._MAX_SESSIONS", 3)
    context = server()
    for _ in range(5):
        assert Memory(client(ssl.TLSVersion.TLSv1_2), context).handshake() == [None, None]
    assert len(context._remembered) == 3


def test_a_client_takes_no_session() -> None:
    session: Any = object()
    with pytest.raises(ConfigurationError, match="a resumed session has no certificates"):
        client().wrap_bio(
            ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="contoso.com", session=session
        )


# ---------------------------------------------------------------- what stays as it is


@pytest.mark.parametrize("context", [client(), server()])
def test_nothing_loosens_it_from_outside(context: PolicySSLContext) -> None:
    assert isinstance(context, ssl.SSLContext)
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_REQUIRED)
    context.check_hostname = False  # as http.client does
    context.verify_mode = ssl.CERT_REQUIRED
    with pytest.raises(ConfigurationError, match="check_hostname stays off"):
        context.check_hostname = True
    for mode in (ssl.CERT_NONE, ssl.CERT_OPTIONAL):
        with pytest.raises(ConfigurationError, match="the policy decides"):
            context.verify_mode = mode
    for loosen in (
        context.load_verify_locations,
        context.load_default_certs,
        context.set_default_verify_paths,
    ):
        with pytest.raises(ConfigurationError, match="whom to trust is the policy's to say"):
            loosen()


@pytest.mark.parametrize("context", [client(), server()])
def test_tls_is_not_weakened_from_outside(context: PolicySSLContext) -> None:
    for attribute in ("minimum_version", "maximum_version"):
        for old in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.MINIMUM_SUPPORTED):
            with pytest.raises(ConfigurationError, match=r"TLS below 1\.2 is never spoken"):
                setattr(context, attribute, old)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.maximum_version == ssl.TLSVersion.MAXIMUM_SUPPORTED
    with pytest.raises(ConfigurationError, match="options may be added"):
        context.options = 0  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="options may be added"):
        context.options &= ~ssl.OP_NO_RENEGOTIATION
    context.options |= ssl.OP_SINGLE_ECDH_USE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    with pytest.raises(ConfigurationError, match="the ciphers stay ECDHE with AEAD"):
        context.set_ciphers("ALL")


def test_a_context_is_for_one_side() -> None:
    bios = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ConfigurationError, match="a client's context: for a server make one with"):
        client().wrap_bio(*bios, server_side=True)
    with pytest.raises(ConfigurationError, match="a server's context: for a client make one with"):
        server().wrap_bio(*bios, server_hostname="contoso.com")


def test_it_is_built_by_client_or_server_only() -> None:
    for build in (PolicySSLContext, lambda: PolicySSLContext(ssl.PROTOCOL_TLS_CLIENT)):
        with pytest.raises(ConfigurationError, match=r"PolicySSLContext\.client\(policy\)"):
            build()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (None, "a client expects somebody: pass server_hostname="),
        ("", "a client expects somebody"),
        ("127.0.0.1", "an IP address is not a name"),
        ("*.contoso.com", "a wildcard names no domain"),
    ],
)
def test_a_client_expects_a_name(name: str | None, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        client().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
    with sockets() as (one, _), pytest.raises(ConfigurationError, match=why):
        client().wrap_socket(one, server_hostname=name)


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: PolicySSLContext.client("policy"), "a TrustPolicy is needed"),
    (lambda: PolicySSLContext.client(POLICY, credential="me.pem"), "credential is a Credential"),
    (lambda: PolicySSLContext.server(OURS), "a TrustPolicy is needed"),
    (lambda: PolicySSLContext.server("me.pem", POLICY), "credential is a Credential"),
    (lambda: PolicySSLContext.client(POLICY, on_refused=5), "on_refused= is a plain function"),
]


@pytest.mark.parametrize(("build", "why"), WRONG)
def test_what_cannot_be_meant_is_told_when_it_is_built(
    build: Callable[[], object], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        build()


def test_a_server_has_a_credential() -> None:
    with pytest.raises(CertificateError, match="a TLS server needs a credential"):
        PolicySSLContext.server(None, POLICY)  # type: ignore[arg-type]


def test_a_key_passes_through_a_file_encrypted_and_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python's ssl takes keys from files only: see `_load`."""
    seen: list[tuple[Path, bytes, int]] = []
    load = ssl.SSLContext.load_cert_chain

    def spy(context: ssl.SSLContext, path: str, **options: Any) -> None:
        file = Path(path)
        seen.append((file, file.read_bytes(), stat.S_IMODE(file.parent.stat().st_mode)))
        load(context, path, **options)

    monkeypatch.setattr(PolicySSLContext, "load_cert_chain", spy)
    client()
    ((file, text, mode),) = seen
    assert text.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert text.count(b"PRIVATE KEY-----") == 2
    assert mode == 0o700
    assert not file.parent.exists()


def test_a_weak_key_of_ours_is_told() -> None:
    weak = CertificateAuthority("CA").issue("sip:contoso.com", key="RSA-1024")
    with pytest.raises(CertificateError, match="OpenSSL does not take our certificate or key"):
        server(credential=weak)


# ---------------------------------------------------------------- what OpenSSL knows beforehand


class Mine(Combinable):
    """A policy of a user's own, which does not tell its authorities."""

    def evaluate(self, evidence: Evidence, /) -> Decision:
        return POLICY.evaluate(evidence)


class Telling(Mine):
    """One that does."""

    authorities = frozenset({POLICY.authority})


def test_a_policy_of_your_own_tells_its_authorities() -> None:
    for silent in (Mine(), Mine() | POLICY, POLICY | Mine(), Mine() & TrustedServers(["a.com"])):
        assert authorities_of(silent) is None
        with pytest.raises(ConfigurationError, match="give your policy an attribute authorities="):
            server(policy=silent)
    for telling in (Telling(), Telling() | POLICY):
        assert Memory(client(), server(policy=telling)).handshake() == [None, None]


def test_the_policies_of_siptls_tell_their_authorities() -> None:
    other = STRANGER.authority()
    partners = Federation([Partner(["a.com"], other), Partner(["b.com"], other)])
    both = {POLICY.authority, other}
    assert authorities_of(POLICY | partners) == both
    assert authorities_of((POLICY | partners) & Blocked(["c.com"])) == both
    assert authorities_of(partners.partners[0]) == {other}
    assert authorities_of(AnyDomain(other)) == {other}
    assert authorities_of(Pinned({"a.com": ["sha256:" + "00" * 32]})) == frozenset()


def test_a_policy_of_pins_alone_takes_no_client_here() -> None:
    with pytest.raises(ConfigurationError, match="pinned without a CA"):
        server(policy=Pinned({"a.com": ["sha256:" + "00" * 32]}))


def test_a_policy_that_takes_what_openssl_refuses_is_told() -> None:
    lenient = Enterprise(["contoso.com"], CA.authority())
    with pytest.warns(RuntimeWarning, match="serverAuth only from Contoso CA, as all public CAs"):
        server(policy=lenient)
    PolicySSLContext.client(lenient)  # for servers there is no such difference


def test_a_public_authority_is_taken_whole() -> None:
    policy = AnyDomain(Authority.public(purposes=KeyPurposes.ROLE))
    assert server(policy=policy).cert_store_stats()["x509_ca"] == len(policy.authority.anchors)


# ---------------------------------------------------------------- sockets


def test_blocking_sockets_are_judged_on_both_sides(version: ssl.TLSVersion) -> None:
    with sockets() as (one, other):
        context, got = server(), []

        def serve() -> None:
            with context.wrap_socket(other, server_side=True) as wrapped:
                got.append((wrapped.peer, wrapped.recv(5)))
                wrapped.sendall(b"world")

        thread = threading.Thread(target=serve)
        thread.start()
        with client(version).wrap_socket(one, server_hostname="contoso.com") as wrapped:
            assert isinstance(wrapped, PolicySSLSocket)
            wrapped.sendall(b"hello")
            assert wrapped.recv(5) == b"world"
            assert wrapped.peer is not None
        thread.join()
    ((peer, data),) = got
    assert (peer.domains, data) == ({"contoso.com"}, b"hello")


def test_a_refused_socket_is_closed(version: ssl.TLSVersion) -> None:
    with sockets() as (one, other):
        context = server()

        def serve() -> None:
            """The server has accepted: to it the client is one that goes away."""
            try:
                with context.wrap_socket(other, server_side=True) as wrapped:
                    assert wrapped.recv(1) == b""
            except OSError:
                assert other.fileno() == -1

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(PeerRefusedError):
            client(version).wrap_socket(one, server_hostname="eu.contoso.com")
        assert one.fileno() == -1
        thread.join()
