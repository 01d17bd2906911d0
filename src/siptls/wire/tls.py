"""The TLS engine: OpenSSL through pyOpenSSL, on memory only.

OpenSSL judges nobody here: ``verdict.py`` tells how the policy is asked during the handshake. After
it, the engine demands an *accepted* decision of its own record. So a path on which OpenSSL does not
call back, such as a resumed session, is no way in. Resumption is off besides.
"""

from __future__ import annotations

import datetime as dt
import errno
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final
from weakref import WeakKeyDictionary

from attrs import define, evolve, field, frozen
from cryptography import x509
from OpenSSL import SSL

from siptls.arguments import check_callback
from siptls.errors import (
    Alert,
    CertificateError,
    ConnectionClosedError,
    HandshakeError,
    RefusedByPeerError,
    SIPTLSError,
)
from siptls.journal import about
from siptls.journal import log as _log
from siptls.trust.codes import Code
from siptls.trust.decision import Decision
from siptls.trust.evidence import Evidence, Role
from siptls.trust.fault import describe
from siptls.trust.names import ReferenceIdentity, printable
from siptls.trust.policy import TrustPolicy
from siptls.trust.refusal import PeerRefusedError
from siptls.wire.credential import IS_CREDENTIAL, Credential, as_credentials
from siptls.wire.hello import (
    ALPN,
    IS_ALPN,
    PROTOCOL,
    Hello,
    answer_name,
    answer_protocols,
    answer_status,
    server_name,
)
from siptls.wire.limits import Limits, as_limits
from siptls.wire.memory import Memory
from siptls.wire.resumption import LIFETIME, Remembered, Sessions
from siptls.wire.verdict import (
    Clock,
    Judgement,
    arm,
    arm_staple,
    needs_staple,
    record_alert,
    record_request,
)

__all__ = ["CIPHERS", "TLSEngine", "TLSInfo", "utc_now"]


def utc_now() -> dt.datetime:
    """The time, for judging certificates."""
    return dt.datetime.now(dt.UTC)


# ---------------------------------------------------------------- contexts

_OLDEST, _NEWEST = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
# TLS 1.2 with forward secrecy and AEAD only (RFC 9325 §4.2); TLS 1.3 has no others.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_NO_RENEGOTIATION = 1 << 30  # SSL_OP_NO_RENEGOTIATION: pyOpenSSL has no name for it


@frozen
class _Kind:
    """What contexts with the same credential differ in.

    Attributes:
        role: The peer's.
        judged: Whether the peer is judged.
        alpn: Whether a protocol is agreed on.
        named: Whether the client's SNI may put another context in place.
        logged: Whether keys are given to a key log.
    """

    role: Role
    judged: bool
    alpn: ALPN
    named: bool
    logged: bool = False


# A Context costs 300 us and holds no state of a connection, so that one serves all connections
# of the same kind with the same credential. It lives as long as the credential.
_contexts: WeakKeyDictionary[object, dict[_Kind, SSL.Context]] = WeakKeyDictionary()


class _NoCredential:
    """The key of those who have no credential."""


_NOBODY = _NoCredential()


def _context(
    credential: Credential | None, kind: _Kind, sessions: Sessions | None = None
) -> SSL.Context:
    """Give the context of this kind."""
    if sessions is not None:
        return sessions.context(
            (credential, kind), lambda: _resuming(_new_context(credential, kind), kind)
        )
    kinds = _contexts.setdefault(credential or _NOBODY, {})
    context = kinds.get(kind)
    if context is None:
        context = kinds[kind] = _new_context(credential, kind)
    return context


def _resuming(context: SSL.Context, kind: _Kind) -> SSL.Context:
    """Let sessions be resumed: those that the server holds, with all that the peer showed."""
    ours = SSL.SESS_CACHE_CLIENT if kind.role is Role.SERVER else SSL.SESS_CACHE_SERVER
    context.set_session_cache_mode(ours)
    context.set_session_id(b"siptls")  # OpenSSL wants one where clients show certificates
    context.set_timeout(LIFETIME)
    return context


def _bare_context(kind: _Kind) -> SSL.Context:
    """Give what all have in common."""
    context = SSL.Context(SSL.TLS_METHOD)
    if kind.logged:
        context.set_keylog_callback(_give_keys)
    context.set_min_proto_version(_OLDEST)
    context.set_max_proto_version(_NEWEST)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET | _NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


def _new_context(credential: Credential | None, kind: _Kind) -> SSL.Context:
    context = _bare_context(kind)
    shows_none = credential is None and kind.role is Role.SERVER
    context.set_info_callback(record_request if shows_none else record_alert)
    if kind.judged:
        arm(context)
    if kind.role is Role.SERVER:
        arm_staple(context)
    elif credential is not None and credential.staple is not None:
        context.set_ocsp_server_callback(answer_status)
    if kind.named:
        context.set_tlsext_servername_callback(answer_name)
    if kind.alpn is not ALPN.OFF:
        if kind.role is Role.SERVER:
            context.set_alpn_protos([PROTOCOL])
        else:
            context.set_alpn_select_callback(answer_protocols)
    if credential is not None:
        try:
            context.use_certificate(credential.chain[0])
            for certificate in credential.chain[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(credential.key)
        except SSL.Error as error:
            raise CertificateError(
                f"OpenSSL does not take {describe(credential.chain[0])} ({error}); is its key too"
                " small?"
            ) from error
    return context


# ---------------------------------------------------------------- the engine


_HANDSHAKE_FAILURE, _CERTIFICATE_REQUIRED = 40, 116
# A record with an alert in it, without protection (RFC 8446 §5.1), and its level.
_ALERT, _FATAL = b"\x15\x03\x03\x00\x02", 2


@frozen
class TLSInfo:
    """What was negotiated.

    Attributes:
        version: ``"TLSv1.2"`` or ``"TLSv1.3"``.
        cipher: OpenSSL's name of the cipher suite.
        group: The key-exchange group, such as ``"X25519MLKEM768"``; None if OpenSSL tells none.
        alpn: The application protocol agreed on (``"sip/2"``), or None.
        server_name: The name in the SNI extension, made printable: what the client asked for; on a
            client what it sent. None if there was none.
        resumed: Whether the peer was judged from what it showed before (RFC 8446 §2.2). A server
            that asks for no certificates cannot tell.
    """

    version: str
    cipher: str
    group: str | None
    alpn: str | None
    server_name: str | None = None
    resumed: bool = False


# OpenSSL's memory buffers grow to the largest amount that they ever held, and never shrink. Bytes
# are passed through them in slices of this size, so that a burst costs little memory afterwards.
# Only of many messages that are sent together larger records are made, up to the largest there are.
_SLICE: Final = 4096
_RECORD: Final = 16384  # RFC 8446 §5.1
_READ: Final = 65536  # more than one record
# After so many bursts without a pause, a connection is worth the memory for larger slices.
_BUSY: Final = 8


@define
class _State(Judgement):
    """What one connection's callbacks know. It has no reference back to the connection."""

    hello: Hello = field(kw_only=True)
    keylog: Callable[[bytes], object] | None = field(kw_only=True, default=None)


def _give_keys(connection: SSL.Connection, line: bytes) -> None:
    """Give a line to the key log of a connection."""
    state: _State | None = connection.get_app_data()
    if state is None or state.keylog is None:
        return
    try:
        state.keylog(line)
    except Exception:  # noqa: BLE001  whatever it is, it is the application's
        state.keylog = None
        _log.exception(
            "keylog= failed, and gets no more lines of this connection",
            extra=about("callback_failed", address=state.address, role=state.role),
        )


def _ours(
    role: Role, credential: Credential | Sequence[Credential] | None
) -> tuple[Credential | None, ...]:
    """Give our credentials, the default first. ``role`` is the peer's."""
    if role is Role.CLIENT:
        return as_credentials(credential)
    IS_CREDENTIAL.check("credential", credential)
    assert credential is None or isinstance(credential, Credential)  # noqa: S101  just checked
    return (credential,)


class TLSEngine:
    """TLS for one connection: bytes of the network on one side, of the application on the other.

    Args:
        role: What the *peer* is.
        credential: Our own; a server needs one, and may have several, the default first.
        policy: Judges the peer's certificate. None only for a server that asks for none.
        mutual: For a server: whether it asks for the client's certificate.
        reference: For a client: whom it expects. It is sent as SNI, too.
        limits: ``max_certificates`` and ``max_chain`` are held to.
        clock: The time at which certificates are judged.
        address: The peer's, for the evidence.
        alpn: Whether ``sip/2`` is agreed on.
        sessions: Those that may be resumed; None for none.
        keylog: Gets the lines of a key log; None for nobody.

    Raises:
        ConfigurationError: What is given as credential or alpn is none.
        CertificateError: OpenSSL does not take the credential.
    """

    __slots__ = (
        "_bursts",
        "_connection",
        "_established",
        "_foreseen",
        "_judged",
        "_judgement",
        "_outgoing",
        "_plain",
        "_plain_size",
        "_read_any",
        "_remembered",
        "_resumed",
        "_sessions",
        "_tickets",
        "_write_failure",
        "_wrote_any",
    )

    def __init__(  # noqa: PLR0913  a connection's whole configuration
        self,
        role: Role,
        credential: Credential | Sequence[Credential] | None,
        policy: TrustPolicy | None,
        *,
        mutual: bool = True,
        reference: ReferenceIdentity | None = None,
        limits: Limits | None = None,
        clock: Clock = utc_now,
        address: tuple[str, int] | None = None,
        alpn: ALPN = ALPN.OFFER,
        sessions: Sessions | None = None,
        keylog: Callable[[bytes], object] | None = None,
    ) -> None:
        IS_ALPN.check("alpn", alpn)
        check_callback("keylog", keylog)
        self._judged = mutual or role is Role.SERVER
        ours = _ours(role, credential)
        kind = _Kind(role, self._judged, alpn, named=len(ours) > 1, logged=keylog is not None)
        hello = Hello(alpn, {one: _context(one, kind, sessions) for one in ours})
        bounds = as_limits(limits)
        memory = None if policy is None else Memory(policy)
        self._judgement = _State(
            memory, role, clock, reference, address, bounds, hello=hello, keylog=keylog
        )
        self._connection = SSL.Connection(hello.contexts[hello.credential], None)
        self._connection.set_app_data(self._judgement)
        self._established = False
        self._bursts = 0
        self._outgoing: list[bytes] = []
        self._tickets: list[bytes] = []
        self._plain: list[bytes] = []  # of the application, for the next record
        self._plain_size = 0
        self._write_failure: SSL.Error | None = None
        self._read_any = False
        self._wrote_any = False
        self._resumed = False
        self._sessions = sessions
        self._remembered: Remembered | None = None
        self._foreseen: Decision | None = None
        if role is Role.SERVER:
            self._connection.set_connect_state()
            if reference is not None and reference.domain:  # RFC 6066 §3 knows no addresses
                self._connection.set_tlsext_host_name(reference.domain.encode("ascii"))
            if policy is not None and needs_staple(policy):
                self._connection.request_ocsp()
                self._judgement.staple_due = True
            if sessions is not None:
                context = hello.contexts[hello.credential]
                self._offer(sessions.take(self._peer_key, context))
        else:
            self._connection.set_accept_state()

    @property
    def role(self) -> Role:
        """What the peer is."""
        return self._judgement.role

    @property
    def alert(self) -> Alert | None:
        """The first fatal alert that we have sent; None if there is none."""
        return self._judgement.sent

    @property
    def established(self) -> bool:
        """Whether the handshake is done on our side, and the policy has accepted."""
        return self._established

    @property
    def credential(self) -> Credential | None:
        """Our own that is in use; on a server the default until the client asks for another."""
        return self._judgement.hello.credential

    @property
    def decision(self) -> Decision | None:
        """What the policy decided; None before it was asked, or if nobody is judged."""
        return self._judgement.decision

    @property
    def evidence(self) -> Evidence | None:
        """What the peer has shown; None before, or if nobody is judged."""
        return self._judgement.evidence

    @property
    def judged(self) -> bool:
        """Whether the peer is judged at all."""
        return self._judged

    @property
    def decided(self) -> int | None:
        """By which version of what is in force the peer was judged."""
        return self._judgement.decided

    def adopt(self, memory: Memory | None, version: int) -> None:
        """Judge by another policy from now on."""
        self._judgement.memory, self._judgement.version = memory, version

    def judge_again(self) -> Decision | None:
        """Ask the policy again, at the time that it is now; None if nobody is judged."""
        return self._judgement.decide_again() if self._judged else None

    def now(self) -> dt.datetime:
        """The time by which certificates are judged."""
        return self._judgement.clock()

    @property
    def info(self) -> TLSInfo:
        """What was negotiated."""
        connection = self._connection
        return TLSInfo(
            version=connection.get_protocol_version_name(),
            cipher=connection.get_cipher_name() or "",
            group=connection.get_group_name(),
            alpn=connection.get_alpn_proto_negotiated().decode("ascii", "replace") or None,
            server_name=server_name(connection),
            resumed=self._resumed,
        )

    def handshake(self) -> bool:
        """Take the next step of the handshake; True once it is done and the policy has accepted.

        Raises:
            PeerRefusedError: The policy refused.
            RefusedByPeerError: The peer did.
            HandshakeError: It failed for another reason.
            ConnectionClosedError: The peer closed before it was done.
        """
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._require_sound_hello()
            return False
        except SSL.Error as error:
            # OpenSSL's own error adds nothing that the sentence does not say.
            raise self._handshake_failure(error) from None
        judgement = self._judgement
        judgement.certificates.clear()
        if self._judged and judgement.decision is None and self._sessions is not None:
            self._judge_resumed()
        if self._judged and not judgement.accepted:
            reason = "OpenSSL finished the handshake without an accepted decision"
            raise PeerRefusedError(judgement.refuse(Code.POLICY_ERROR, reason))
        if self._sessions is not None and judgement.role is Role.CLIENT and not self._resumed:
            self._require_small_session()
        judgement.hello.check_protocol(self._connection.get_alpn_proto_negotiated())
        self._require_sound_hello()
        self._established = True
        self._hold_tickets()
        return True

    def _hold_tickets(self) -> None:
        """Let a server's tickets, which nobody is to use, wait for what is sent next.

        OpenSSL makes them in any case once a handshake of TLS 1.3 is done, and has nothing else to
        send then. To send them by themselves would cost as much as to send a message.
        """
        version = self._connection.get_protocol_version()
        is_client_there = self._judgement.role is Role.CLIENT
        if is_client_there and self._sessions is None and version == SSL.TLS1_3_VERSION:
            self._tickets = self._read_out()

    @property
    def _peer_key(self) -> Hashable:
        """By what a client remembers a session: whom it expected, and as whom it came."""
        return self._judgement.reference, self._judgement.hello.credential

    def _offer(self, remembered: Remembered | None) -> None:
        """Offer to resume a session, if its peer would be accepted for what it showed then.

        Who would not may have something better to show now.
        """
        if remembered is None:
            return
        judgement = self._judgement
        judgement.evidence = remembered.evidence
        decision = judgement.decide_again()
        judgement.decision = None  # nobody is accepted before the session is resumed
        if decision is not None and decision.accepted:
            self._remembered, self._foreseen = remembered, decision
            self._connection.set_session(remembered.session)

    def _judge_resumed(self) -> None:
        """Judge what the peer showed when the session was made; OpenSSL has asked about nothing.

        Raises:
            PeerRefusedError: The policy refuses it now.
        """
        judgement = self._judgement
        shown = self._connection.get_peer_certificate(as_cryptography=True)
        if shown is None:
            return  # nobody has shown anything, so that nobody is accepted
        judgement.staple_due = False  # none comes
        if judgement.role is Role.CLIENT:
            judgement.decide(self._presented(shown))
        elif self._remembered is not None and self._remembered.evidence.leaf == shown:
            judgement.decision = self._foreseen
        if judgement.decision is not None and not judgement.decision.accepted:
            self.close()  # it is too late for another alert
            raise PeerRefusedError(judgement.decision)
        self._resumed = judgement.decision is not None

    def _presented(self, leaf: x509.Certificate) -> list[x509.Certificate]:
        """All that a client has presented; of it the session is made."""
        rest = self._connection.get_peer_cert_chain(as_cryptography=True) or []
        return [leaf, *(certificate for certificate in rest if certificate != leaf)]

    def _require_small_session(self) -> None:
        """Refuse a client that presented more than may be judged: its session would hold it all."""
        shown = self._connection.get_peer_certificate(as_cryptography=True)
        evidence = self._judgement.evidence
        if shown is None or evidence is None:
            return
        fault = evolve(evidence, chain=self._presented(shown)).fault
        if fault is not None:
            raise PeerRefusedError(self._judgement.refuse(Code.PATH_LIMIT, fault.reason))

    def _remember(self) -> None:
        """Keep the session of a server that has answered; its tickets have come before."""
        evidence = self._judgement.evidence
        if self._sessions is None or self._judgement.role is Role.CLIENT or evidence is None:
            return
        if self._connection.get_protocol_version() != SSL.TLS1_3_VERSION:
            return  # only those of TLS 1.3, which are used once and have keys of their own
        session = self._connection.get_session()
        if session is not None:
            context = self._connection.get_context()
            self._sessions.keep(self._peer_key, Remembered(context, session, evidence))

    def _require_sound_hello(self) -> None:
        """End the handshake if the hello does not allow it to go on.

        OpenSSL's flight is dropped, so that the peer's handshake does not end well either, if it
        has not ended yet. A server that has sent nothing sends an alert in the clear, as it
        belongs there (RFC 8446 §6.2).
        """
        hello = self._judgement.hello
        if not hello.fault:
            return
        self.outgoing()
        if hello.alert is not None:
            self._judgement.sent = hello.alert
            self._outgoing = [_ALERT + bytes([_FATAL, hello.alert.code])]
        raise HandshakeError(hello.fault)

    def decrypt(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Take bytes from the network; give those of the application as they become readable.

        During the handshake it gives nothing; call `handshake` in between.

        Raises:
            RefusedByPeerError: The peer refused us after our own handshake looked finished.
            ConnectionClosedError: The peer closed, in order or not.
        """
        size = len(data)
        self._bursts = self._bursts + 1 if size > _SLICE else 0
        step = _SLICE if self._bursts < _BUSY else _RECORD
        for start in range(0, size, step):
            self._connection.bio_write(data[start : start + step])
            if self._established or self.handshake():
                yield from self._readable()

    def _readable(self) -> Iterator[bytes]:
        """Give what can be read now in one piece: what is made of it costs less than by records."""
        pieces: list[bytes] = []
        failure: SSL.Error | None = None
        try:
            while True:
                pieces.append(self._connection.recv(_RECORD))
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            failure = error
        if pieces:
            if not self._read_any:
                self._read_any = True
                self._remember()
            yield pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if failure is not None:
            raise self._failure(failure) from None

    def encrypt(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes of the application; `outgoing` then has those for the network.

        What is taken until then leaves in as few records as it needs.
        """
        if not self._established or self._write_failure is not None:
            raise self._failure(self._write_failure or SSL.Error()) from None
        if self._plain_size + len(data) > _RECORD and self._plain:
            self._seal()
        self._plain.append(bytes(data))  # which copies what may change meanwhile, and bytes not
        self._plain_size += len(data)
        if self._plain_size >= _RECORD:
            self._seal()

    def _seal(self) -> None:
        """Make records of what was taken: one of many messages, and small ones of a large one."""
        is_one = len(self._plain) == 1
        plain = self._plain[0] if is_one else b"".join(self._plain)
        self._plain, self._plain_size = [], 0
        size = _SLICE if is_one else _RECORD
        try:
            if len(plain) <= size:
                self._connection.sendall(plain)
                self._outgoing.append(self._connection.bio_read(_READ))
                return
            view = memoryview(plain)
            for start in range(0, len(view), size):
                self._connection.sendall(view[start : start + size])
                self._outgoing.append(self._connection.bio_read(_READ))
        except SSL.Error as error:  # whoever reads learns it, too
            self._write_failure = error

    def outgoing(self) -> bytes:
        """Give all bytes that are to go to the network."""
        if self._plain and self._write_failure is None:
            self._seal()  # which also takes what OpenSSL had before
        else:
            self._outgoing += self._read_out()
        if not self._outgoing:
            return b""
        self._wrote_any = True
        pieces = self._tickets + self._outgoing if self._tickets else self._outgoing
        self._tickets, self._outgoing = [], []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_out(self) -> list[bytes]:
        """What OpenSSL has for the network."""
        pieces: list[bytes] = []
        try:
            while not pieces or len(pieces[-1]) == _READ:
                pieces.append(self._connection.bio_read(_READ))
        except SSL.Error:  # WantReadError: there is nothing
            pass
        return pieces

    def end(self, error: OSError | None = None) -> SIPTLSError:
        """Say that the network has no more bytes, and learn what that means.

        Args:
            error: What the system said, if it was no end in order.
        """
        why = _network_failure(error)
        self._connection.bio_shutdown()
        failure = self._last()
        if self._established and _is_gone(error) and self._judgement.received is None:
            return ConnectionClosedError(f"{why}; what was sent last may be missing")
        told = self._failure(failure) if self._established else self._handshake_failure(failure)
        if why is None or not isinstance(told, ConnectionClosedError) or told.orderly:
            return told
        return ConnectionClosedError(f"{why}; {told}")

    def _last(self) -> SSL.Error:
        try:
            if self._established:
                self._connection.recv(1)
            else:
                self._connection.do_handshake()
        except SSL.Error as error:
            return error
        return SSL.SysCallError()

    def close(self) -> None:
        """Send close_notify, if the handshake has come so far."""
        if self._plain:
            self._seal()
        try:
            self._connection.shutdown()
        except SSL.Error:
            return  # it failed before, or the handshake is not done: there is nothing to notify

    # ------------------------------------------------------------ failures

    def _handshake_failure(self, error: SSL.Error) -> SIPTLSError:
        judgement = self._judgement
        judgement.certificates.clear()
        if judgement.decision is not None and judgement.refused:
            return PeerRefusedError(judgement.decision)
        if judgement.received is not None:
            return self._refused_by_peer(judgement.received)
        if judgement.hello.fault:
            return HandshakeError(judgement.hello.fault)
        if self._judged and judgement.role is Role.CLIENT and self._is_certificate_missing():
            reason = "the client showed no certificate"
            return PeerRefusedError(judgement.refuse(Code.CERTIFICATE_MISSING, reason))
        if isinstance(error, SSL.SysCallError | SSL.ZeroReturnError):
            return ConnectionClosedError(
                "the peer closed the connection during the TLS handshake, without an alert; its log"
                " may say why"
            )
        return HandshakeError(
            f"the TLS handshake failed: {_reason(error)}; is the peer speaking TLS 1.2 or 1.3, and"
            " nothing altering the bytes in between?"
        )

    def _refused_by_peer(self, alert: Alert) -> RefusedByPeerError:
        missing = self._judgement.certificate_missing
        return RefusedByPeerError(alert, certificate_missing=missing)

    def _is_certificate_missing(self) -> bool:
        """TLS 1.3 has an alert for it. TLS 1.2 has 40, which means it once our flight is out."""
        sent = self._judgement.sent
        if sent is None or self._judgement.decision is not None:
            return False
        if sent.code == _CERTIFICATE_REQUIRED:
            return True
        is_12 = self._connection.get_protocol_version() == SSL.TLS1_2_VERSION
        return sent.code == _HANDSHAKE_FAILURE and is_12 and self._wrote_any

    def _failure(self, error: SSL.Error) -> SIPTLSError:
        if isinstance(error, SSL.ZeroReturnError):
            return ConnectionClosedError("the peer closed the connection in order", orderly=True)
        received = self._judgement.received
        if received is not None:
            # A TLS 1.3 server judges our certificate after our own handshake is done.
            if self._judgement.role is Role.SERVER and not self._read_any:
                return self._refused_by_peer(received)
            return ConnectionClosedError(f"the peer ended the connection with TLS alert {received}")
        if isinstance(error, SSL.SysCallError):
            hint = ""
            if self._judgement.role is Role.SERVER and not self._read_any:
                hint = "; perhaps it refused our certificate, whose alert was lost: see its log"
            return ConnectionClosedError(
                "the connection was cut off: the peer sent no close_notify, so that what it sent"
                f" last may be missing{hint}"
            )
        return ConnectionClosedError(
            f"TLS failed: {_reason(error)}; bytes were damaged or altered on their way"
        )


def _network_failure(error: OSError | None) -> str | None:
    if error is None or error.errno is None:
        return None
    if _is_gone(error):
        return (
            "the peer's machine has acknowledged nothing, or taken too little of what was sent, for"
            " too long, and is held to be gone"
        )
    return f"the network failed ({os.strerror(error.errno)})"


def _is_gone(error: OSError | None) -> bool:
    """Whether the system has given the peer's machine up, so that nothing is known of the peer."""
    return error is not None and error.errno == errno.ETIMEDOUT


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words, for people only: nothing is decided by them."""
    try:
        return printable(str(error.args[0][-1][-1])) or "no reason given"
    except (IndexError, TypeError):
        return "no reason given"
