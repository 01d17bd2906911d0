"""PolicySSLContext: the same trust for code that insists on an `ssl.SSLContext`.

How it thinks. Python's `ssl` calls nobody back during a handshake, so that the verdict falls at
its end: in `do_handshake`, after OpenSSL has finished and before any byte of the application has
passed, since every method that moves data asks whether the peer was accepted. A refusal raises
`PeerRefusedError`, which is an `ssl.SSLCertVerificationError`, so that whoever called the handshake
closes the connection as it would for a faulty certificate. No alert can be sent by then.

A *client* lets OpenSSL verify nothing, and judges the chain that the server has shown. A *server*
cannot do so: OpenSSL asks a client for its certificate only if it also verifies it. So it is given
the anchors of the policy's authorities, and the policy judges what OpenSSL has let through. What
OpenSSL refuses in the role of a client (a certificate for serverAuth only, above all) the policy
never sees; `PolicySSLContext.server` says so when it is built, and `MTLSServerTransport` has no
such limit.

A resumed session has no chain. A server remembers the chains of the sessions that it has accepted
and judges them again, at the present time; a client takes no session.
"""

from __future__ import annotations

import os
import secrets
import ssl
import tempfile
import warnings
from collections import OrderedDict
from typing import Any, Never, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from siptls.arguments import check_callback
from siptls.errors import CertificateError, ConfigurationError
from siptls.keylog import open_keylog
from siptls.trust.codes import Code
from siptls.trust.decision import Decision
from siptls.trust.evidence import Evidence, Role
from siptls.trust.fault import Fault
from siptls.trust.names import ReferenceIdentity
from siptls.trust.policy import TrustPolicy, authorities_of, require_policy
from siptls.trust.purposes import purpose
from siptls.wire.credential import IS_CREDENTIAL, Credential
from siptls.wire.limits import Limits
from siptls.wire.memory import Memory
from siptls.wire.sslobjects import Judged, PolicySSLObject, PolicySSLSocket
from siptls.wire.telling import Address, OnRefused, Teller
from siptls.wire.tls import CIPHERS, utc_now
from siptls.wire.verdict import Clock

__all__ = ["PolicySSLContext"]

# What OpenSSL's verdict on a client's certificate means in our codes: X509_V_ERR_*, by number.
_VERDICTS = {
    2: Code.PATH_UNKNOWN_CA,
    7: Code.PATH_SIGNATURE,
    9: Code.PATH_NOT_YET_VALID,
    10: Code.PATH_EXPIRED,
    18: Code.PATH_UNKNOWN_CA,
    19: Code.PATH_UNKNOWN_CA,
    20: Code.PATH_UNKNOWN_CA,
    21: Code.PATH_UNKNOWN_CA,
    26: Code.PURPOSE_UNACCEPTABLE,
    66: Code.PATH_WEAK_KEY,
}
_NO_CERTIFICATE = "PEER_DID_NOT_RETURN_A_CERTIFICATE"  # OpenSSL's symbol, which does not change
# Purposes that are good for a client of ours, and that OpenSSL refuses in that role.
_REFUSED_PURPOSES = frozenset({purpose("serverAuth"), purpose("sipDomain")})
_OPTIONS = ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
# TLS 1.2 sessions whose chains a server remembers. OpenSSL itself keeps 20 480; 5 KiB each.
# Who resumes one that is forgotten here is refused once; OpenSSL then forgets it too.
_MAX_SESSIONS = 1024


# ---------------------------------------------------------------- the context


class PolicySSLContext(ssl.SSLContext):
    """An `ssl.SSLContext` in which a `TrustPolicy` is the judge.

    Build one with `client` or `server`, and pass it wherever an `ssl.SSLContext` is taken: asyncio
    streams, uvloop, trio, anyio, ``http.client``, ``socketserver``. What they call
    ``server_hostname`` is the name that is expected. The verdict stands on the SSL object or socket
    as ``.decision`` and ``.peer``; in asyncio that is ``writer.get_extra_info("ssl_object")``.

    A peer that the policy refuses sees the connection end without an alert: Python's ssl lets no
    verdict of ours into the handshake, and sends no alert after it.

    There are no staples (RFC 6066 §8), which Python's ssl does not know: a client asks for none, so
    that a policy never sees one, and a server does not send that of its credential.

    An ``sni_callback`` may put another context in place, for another certificate of ours. The first
    context judges; if the other is a `PolicySSLContext` with another policy object, or another
    ``mutual``, every peer that it is meant for is refused (``policy.error``), since OpenSSL has
    already been told what to ask for. Give all of them one policy that is right for all names.

    What would loosen it from outside raises `ConfigurationError`: ``check_hostname``, a lower
    ``verify_mode``, ``load_verify_locations``, weaker versions, options and ciphers.
    """

    sslobject_class = PolicySSLObject
    sslsocket_class = PolicySSLSocket

    _memory: Memory | None  # the policy, and whom it has accepted lately
    _role: Role
    _clock: Clock
    _teller: Teller
    _remembered: OrderedDict[bytes, tuple[x509.Certificate, ...]]

    def __new__(cls, *_: object, **__: object) -> Self:
        """Not so: `client` and `server` make one."""
        raise ConfigurationError(
            "write PolicySSLContext.client(policy) or PolicySSLContext.server(credential, policy)"
        )

    @classmethod
    def client(
        cls,
        policy: TrustPolicy,
        *,
        credential: Credential | None = None,
        on_refused: OnRefused | None = None,
        clock: Clock = utc_now,
        keylog: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Make a context for clients.

        Args:
            policy: Judges each server.
            credential: Our own certificate and key, for servers that ask for one.
            on_refused: Called with the decision, and the address if it is known, on each refusal.
            clock: Gives the time at which certificates are judged, as an aware datetime.
            keylog: A file to which the keys of all connections are appended, as for the transports.

        Raises:
            ConfigurationError: The policy is none.
            CertificateError: OpenSSL does not take the credential.
        """
        require_policy(policy)
        context = cls._new(ssl.PROTOCOL_TLS_CLIENT, policy, Role.SERVER, on_refused, clock)
        _set(context, "check_hostname", False)
        _set(context, "verify_mode", ssl.CERT_NONE)  # OpenSSL judges nobody
        IS_CREDENTIAL.check("credential", credential)
        if credential is not None:
            _load(context, credential)
        _log_keys(context, keylog)
        return context

    @classmethod
    def server(  # noqa: PLR0913  a server's whole configuration
        cls,
        credential: Credential,
        policy: TrustPolicy | None = None,
        *,
        mutual: bool = True,
        on_refused: OnRefused | None = None,
        clock: Clock = utc_now,
        keylog: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Make a context for servers.

        OpenSSL verifies a client's certificate before the policy sees it, below the anchors of the
        policy's authorities, and refuses one whose EKU has no clientAuth. `MTLSServerTransport` and
        ``siptls.sync`` have no such limit.

        Args:
            credential: Our own certificate and key.
            policy: Judges each client. It, or each of its parts, tells its ``authorities``, as
                those of siptls do. May be None only if not ``mutual``.
            mutual: Whether a client must show a certificate. If not, nobody is judged, by whatever
                policy, and ``.peer`` is None.
            on_refused: Called with the decision, and the address if it is known, on each refusal.
            clock: Gives the time at which certificates are judged, as an aware datetime.
            keylog: A file to which the keys of all connections are appended, as for the transports.

        Raises:
            ConfigurationError: Mutual without a policy, or with one that does not tell its
                authorities.
            CertificateError: OpenSSL does not take the credential.

        Warns:
            RuntimeWarning: The policy would accept certificates that OpenSSL refuses.
        """
        IS_CREDENTIAL.check("credential", credential)
        if credential is None:
            raise CertificateError("a TLS server needs a credential: pass its certificate and key")
        if mutual:
            require_policy(policy)
        judge = policy if mutual else None
        context = cls._new(ssl.PROTOCOL_TLS_SERVER, judge, Role.CLIENT, on_refused, clock)
        context.num_tickets = 0
        if judge is not None:
            _set(context, "verify_mode", ssl.CERT_REQUIRED)
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an anchor need be no root
            ssl.SSLContext.load_verify_locations(context, cadata=_anchors(judge))
        _load(context, credential)
        _log_keys(context, keylog)
        return context

    @classmethod
    def _new(
        cls,
        protocol: int,
        policy: TrustPolicy | None,
        role: Role,
        on_refused: OnRefused | None,
        clock: Clock,
    ) -> Self:
        check_callback("on_refused", on_refused)
        context = super().__new__(cls, protocol)
        context._memory = None if policy is None else Memory(policy)
        context._role = role
        context._clock = clock
        context._teller = Teller(on_refused, rate=Limits().log_rate)
        context._remembered = OrderedDict()
        _set(context, "minimum_version", ssl.TLSVersion.TLSv1_2)
        ssl.SSLContext.set_ciphers(context, CIPHERS.decode("ascii"))
        _set(context, "options", _OPTIONS | ssl.SSLContext(protocol).options)
        return context

    # ------------------------------------------------------------ what stays as it is

    @property
    def judges(self) -> bool:
        """Whether a policy judges the peer; not so on a server that asks for no certificate."""
        return self._memory is not None

    @property
    def check_hostname(self) -> bool:
        """Always False: OpenSSL's rules for names are the web's; the policy has its own."""
        return False

    @check_hostname.setter
    def check_hostname(self, value: bool) -> None:
        if value:
            raise ConfigurationError(
                "check_hostname stays off: names are matched by the policy, whose rules are those"
                " of SIP; server_hostname is the name that is expected"
            )

    @property  # type: ignore[override]  # the class in C has int
    def verify_mode(self) -> ssl.VerifyMode:
        """``CERT_REQUIRED`` where the policy judges, else ``CERT_NONE``."""
        return ssl.CERT_REQUIRED if self.judges else ssl.CERT_NONE

    @verify_mode.setter
    def verify_mode(self, value: ssl.VerifyMode) -> None:
        if value != self.verify_mode:
            raise ConfigurationError(
                f"verify_mode stays {self.verify_mode!r}: the policy decides; for another answer,"
                " pass another policy"
            )

    @property  # type: ignore[override]  # it may be set to what is not weaker
    def minimum_version(self) -> ssl.TLSVersion:
        """TLS 1.2 or above (RFC 9325 §3.1.1)."""
        return super().minimum_version

    @minimum_version.setter
    def minimum_version(self, value: ssl.TLSVersion) -> None:
        _set(self, "minimum_version", _strong(value))

    @property  # type: ignore[override]  # it may be set to what is not weaker
    def maximum_version(self) -> ssl.TLSVersion:
        """TLS 1.2 or above."""
        return super().maximum_version

    @maximum_version.setter
    def maximum_version(self, value: ssl.TLSVersion) -> None:
        _set(self, "maximum_version", _strong(value))

    @property  # type: ignore[override]  # it may be set to what is not weaker
    def options(self) -> ssl.Options:
        """They may be added to; without those that are set here, TLS would be weaker."""
        return super().options

    @options.setter
    def options(self, value: ssl.Options) -> None:
        if value & _OPTIONS != _OPTIONS:
            raise ConfigurationError(
                "options may be added, and those that forbid compression, tickets and renegotiation"
                " stay: write context.options |= ..."
            )
        _set(self, "options", value)

    @property  # type: ignore[override]  # it is set here alone
    def keylog_filename(self) -> str | None:
        """Where the keys of connections are written; None for nowhere."""
        return super().keylog_filename

    @keylog_filename.setter
    def keylog_filename(self, value: object) -> None:
        if value != self.keylog_filename:
            raise ConfigurationError(
                "keys are written only where PolicySSLContext.client or .server was given keylog=,"
                " for whoever has them can read all that passes"
            )

    def set_ciphers(self, *_: object) -> Never:
        """Not possible: with TLS 1.2 only ECDHE and AEAD are strong enough (RFC 9325 §4.2)."""
        raise ConfigurationError(
            "the ciphers stay ECDHE with AEAD, which every peer with TLS 1.2 has (RFC 9325 §4.2)"
        )

    def load_verify_locations(self, *_: object, **__: object) -> Never:
        """Not possible: the anchors are those of the policy's authorities."""
        raise _policy_rules("load_verify_locations")

    def load_default_certs(self, *_: object, **__: object) -> Never:
        """Not possible: the anchors are those of the policy's authorities."""
        raise _policy_rules("load_default_certs")

    def set_default_verify_paths(self) -> Never:
        """Not possible: the anchors are those of the policy's authorities."""
        raise _policy_rules("set_default_verify_paths")

    # ------------------------------------------------------------ wrapping

    def wrap_socket(  # noqa: PLR0913, PLR0917  as in ssl
        self,
        sock: Any,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> PolicySSLSocket:
        """As `ssl.SSLContext.wrap_socket`; a client passes ``server_hostname``.

        Raises:
            ConfigurationError: A client without a ``server_hostname``, or one that is no domain;
                a session to resume.
            PeerRefusedError: The policy refused, if the handshake is done here.
        """
        wrapped = super().wrap_socket(
            sock,
            server_side=server_side,
            do_handshake_on_connect=do_handshake_on_connect,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=self._expected(server_hostname, session, server_side),
        )
        assert isinstance(wrapped, PolicySSLSocket)  # noqa: S101  sslsocket_class says so
        return wrapped

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> PolicySSLObject:
        """As `ssl.SSLContext.wrap_bio`; a client passes ``server_hostname``.

        Raises:
            ConfigurationError: As in `wrap_socket`.
        """
        wrapped = super().wrap_bio(
            incoming,
            outgoing,
            server_side=server_side,
            server_hostname=self._expected(server_hostname, session, server_side),
        )
        assert isinstance(wrapped, PolicySSLObject)  # noqa: S101  sslobject_class says so
        return wrapped

    def _expected(self, name: str | bytes | None, session: object, server_side: bool) -> str | None:
        """Check what the framework passes; give the name to be sent as SNI."""
        if server_side is not (self._role is Role.CLIENT):
            mine, other = (
                ("client", "server") if self._role is Role.SERVER else ("server", "client")
            )
            raise ConfigurationError(
                f"this is a {mine}'s context: for a {other} make one with PolicySSLContext.{other}"
            )
        if session is not None:
            raise ConfigurationError(
                "a resumed session has no certificates to judge: pass no session"
            )
        if self._role is Role.CLIENT:
            return None if name is None else str(name)  # ssl itself refuses one
        if not name:
            raise ConfigurationError(
                "a client expects somebody: pass server_hostname=, the domain of the SIP URI"
            )
        text = (
            name.decode("ascii", "replace") if isinstance(name, bytes) else name
        )  # as trio has it
        return ReferenceIdentity.parse(text).domain

    # ------------------------------------------------------------ judging

    def judge(self, connection: Judged) -> Decision:
        """Judge the peer of a connection whose handshake OpenSSL has finished."""
        address = connection.address()
        try:
            chain = self._chain_of(connection)
        except Exception as error:  # noqa: BLE001  what OpenSSL can read, cryptography may not
            return self._refusal(
                Fault(
                    Code.CERTIFICATE_MALFORMED,
                    f"the {self._role}",
                    f"presents a certificate that cannot be decoded: {error}",
                    "the encoding of RFC 5280",
                ),
                address,
            )
        reference = None
        if self._role is Role.SERVER and connection.server_hostname is not None:
            reference = ReferenceIdentity.parse(connection.server_hostname)
        assert self._memory is not None  # noqa: S101  else it does not judge
        evidence = Evidence(
            chain, self._role, now=self._clock(), reference=reference, address=address
        )
        return self._memory.judge(evidence)

    def _chain_of(self, connection: Judged) -> tuple[x509.Certificate, ...]:
        session = connection.session_id()
        if connection.is_resumed():
            return self._remembered.get(session or b"", ())
        chain = tuple(connection.chain())
        if self._role is Role.CLIENT and session:
            self._remembered[session] = chain
            while len(self._remembered) > _MAX_SESSIONS:
                self._remembered.popitem(last=False)
        return chain

    def openssl_refusal(self, error: ssl.SSLError, address: Address | None) -> Decision | None:
        """Make a decision of OpenSSL's own refusal of a client; None if it is something else."""
        if not self.judges or self._role is Role.SERVER:
            return None
        if error.reason == _NO_CERTIFICATE:
            found, expected = "showed no certificate", "one that is its own"
            return self._refusal(
                Fault(Code.CERTIFICATE_MISSING, "the client", found, expected), address
            )
        if not isinstance(error, ssl.SSLCertVerificationError):
            return None
        code = _VERDICTS.get(error.verify_code, Code.PATH_CONSTRAINT)
        found = f"shows a certificate that OpenSSL refuses: {error.verify_message}"
        expected = "one that OpenSSL takes from a client, before the policy is asked"
        return self._refusal(Fault(code, "the client", found, expected, "Python's ssl"), address)

    @property
    def _policy(self) -> TrustPolicy | None:
        return None if self._memory is None else self._memory.policy

    def swap_refusal(self, context: object, address: Address | None) -> Decision | None:
        """Refuse if a callback for SNI has put a context with another judge in its place.

        OpenSSL asks for a certificate, and verifies it, as the first context says, so that the
        other's policy could not be kept.
        """
        if not isinstance(context, PolicySSLContext):
            return None
        if context._policy is self._policy:  # noqa: SLF001  one of ours
            return None
        found = "is to be judged by another policy, or mutual=, than the context it came to"
        expected = "one policy object in all contexts that sni_callback puts in place"
        fault = Fault(Code.POLICY_ERROR, f"the {self._role}", found, expected, "sni_callback")
        return self._refusal(fault, address)

    def _refusal(self, fault: Fault, address: Address | None) -> Decision:
        evidence = Evidence((), self._role, now=self._clock(), address=address)
        return Decision.refuse_for(fault, by="TLS", evidence=evidence)

    def tell_refused(self, decision: Decision, address: Address | None) -> None:
        """Tell of a refusal, in the log and to the application."""
        self._teller.refused(decision, address)


def _strong(version: ssl.TLSVersion) -> ssl.TLSVersion:
    if version not in (
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.TLSv1_3,
        ssl.TLSVersion.MAXIMUM_SUPPORTED,
    ):
        raise ConfigurationError(f"TLS below 1.2 is never spoken: not {version!r}")
    return version


def _set(context: PolicySSLContext, attribute: str, value: object) -> None:
    """Set what `PolicySSLContext` lets nobody set from outside."""
    getattr(ssl.SSLContext, attribute).__set__(context, value)


def _policy_rules(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what} has no place here: whom to trust is the policy's to say; give it an Authority"
    )


def _anchors(policy: TrustPolicy) -> bytes:
    """The anchors of all authorities of a policy, for OpenSSL; warn of what it will refuse."""
    authorities = authorities_of(policy)
    if authorities is None:
        raise ConfigurationError(
            "Python's ssl verifies a client's certificate before the policy can: give your policy"
            " an attribute authorities=, the Authority objects that it asks, or use"
            " MTLSServerTransport or siptls.sync, which need none"
        )
    lenient = sorted(
        authority.name
        for authority in authorities
        if not _REFUSED_PURPOSES.isdisjoint(authority.purposes.client)
    )
    if lenient:
        warnings.warn(
            f"the policy takes certificates for serverAuth only from {', '.join(lenient[:8])}, as"
            " all public CAs issue them, and Python's ssl refuses them in a client: use"
            " MTLSServerTransport or siptls.sync, or say that you ask for clientAuth, with"
            ' KeyPurposes.ROLE (in a policy file: purposes = "ROLE")',
            RuntimeWarning,
            stacklevel=3,
        )
    anchors = dict.fromkeys(anchor for authority in authorities for anchor in authority.anchors)
    if not anchors:
        raise ConfigurationError(
            "Python's ssl takes no client whose certificate is pinned without a CA: use"
            " MTLSServerTransport or siptls.sync"
        )
    return b"".join(anchor.public_bytes(Encoding.DER) for anchor in anchors)


def _log_keys(context: PolicySSLContext, path: str | os.PathLike[str] | None) -> None:
    """Have Python's ssl write the keys, into a file that is as it must be."""
    keylog = open_keylog(path)
    if keylog is not None:
        _set(context, "keylog_filename", keylog.path)


def _load(context: PolicySSLContext, credential: Credential) -> None:
    """Give OpenSSL our certificate and key, which Python's ssl takes from files only.

    The file lives for a moment, in a folder of ours, and the key in it is encrypted.
    """
    password = secrets.token_bytes(32).hex()
    key = credential.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode("ascii"))
    )
    chain = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in credential.chain)
    with tempfile.TemporaryDirectory(prefix="siptls-") as folder:
        path = os.path.join(folder, "credential.pem")  # noqa: PTH118  no pathlib in this wing
        with open(path, "xb") as file:  # noqa: PTH123
            file.write(key + chain)
        try:
            context.load_cert_chain(path, password=password)
        except ssl.SSLError as error:
            raise CertificateError(
                f"OpenSSL does not take our certificate or key ({error.reason}); is the key too"
                " small?"
            ) from None
