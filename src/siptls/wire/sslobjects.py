"""PolicySSLObject and PolicySSLSocket: no data before the verdict.

OpenSSL completes a handshake inside its read and write functions, past whoever has overridden
``do_handshake``. So every method that moves data is guarded, and works only once the peer has been
accepted.

An `ssl.SSLSocket` without its TLS object is a plain socket, and loses that object whenever a
connection fails. So what the system thinks of a socket never opens a guard: the peer is accepted
and TLS is there, or the method raises. Only ``unwrap`` gives the plain socket back.
"""

from __future__ import annotations

import _ssl
import errno
import functools
import os
import ssl
from collections.abc import Callable
from typing import Any, Concatenate, Never, ParamSpec, Protocol, TypeVar

from cryptography import x509

from siptls.errors import ConfigurationError, HandshakeError
from siptls.trust.decision import Decision, Peer
from siptls.trust.refusal import PeerRefusedError
from siptls.wire.telling import Address, address_of

__all__ = ["Judge", "Judged", "PolicySSLObject", "PolicySSLSocket"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Judge(Protocol):
    """What the objects ask: `PolicySSLContext`."""

    @property
    def judges(self) -> bool:
        """Whether the peer is judged at all."""
        ...

    def judge(self, connection: Judged) -> Decision:
        """Judge the peer of a connection whose handshake OpenSSL has finished."""
        ...

    def openssl_refusal(self, error: ssl.SSLError, address: Address | None) -> Decision | None:
        """Make a decision of OpenSSL's own refusal; None if it is something else."""
        ...

    def swap_refusal(self, context: object, address: Address | None) -> Decision | None:
        """Refuse if a callback for SNI has put a context with another judge in its place."""
        ...

    def tell_refused(self, decision: Decision, address: Address | None) -> None:
        """Tell of a refusal."""
        ...


def _guard(
    method: Callable[Concatenate[Any, _P], _R],
) -> Callable[Concatenate[Any, _P], _R]:
    """Let a method of `ssl` work only once the peer is accepted.

    OpenSSL completes a handshake inside its read and write functions, past our verdict.
    """

    @functools.wraps(method)
    def guarded(self: Judged, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        self._require_accepted()
        return method(self, *args, **kwargs)

    return guarded


class Judged:
    """What the object and the socket have in common: a verdict at the end of the handshake."""

    # Provided by ssl.SSLObject and ssl.SSLSocket.
    _sslobj: Any
    context: Any
    server_hostname: str | None

    _origin: Judge | None = None
    _accepted: bool = False
    _decision: Decision | None = None

    @property
    def decision(self) -> Decision | None:
        """What the policy decided; None before the handshake is done, or if nobody is judged."""
        return self._decision

    @property
    def peer(self) -> Peer | None:
        """Who the peer has proven to be; None before, or if nobody is judged."""
        return None if self._decision is None else self._decision.peer

    def _handshake(self, step: Callable[[], None]) -> None:
        """Take a step of OpenSSL's handshake; when it is done, judge."""
        if self._accepted:
            return
        if self._decision is not None:
            raise PeerRefusedError(self._decision)
        if self._origin is None:  # a callback for SNI may put another context in its place
            self._origin = self.context
        origin: Judge = self._origin
        try:
            step()
        except ssl.SSLError as error:
            decision = origin.openssl_refusal(error, self.address())
            if decision is None:
                raise
            swapped = origin.swap_refusal(self.context, self.address())
            self._refuse(origin, decision if swapped is None else swapped)
        swapped = origin.swap_refusal(self.context, self.address())
        if swapped is not None:
            self._refuse(origin, swapped)
        if not origin.judges:
            self._accepted = True
            return
        decision = origin.judge(self)
        if not decision.accepted:
            self._refuse(origin, decision)
        self._decision = decision
        self._accepted = True

    def _refuse(self, origin: Judge, decision: Decision) -> Never:
        self._decision = decision
        origin.tell_refused(decision, self.address())
        raise PeerRefusedError(decision) from None

    def _require_accepted(self) -> None:
        if self._accepted:
            return
        if self._decision is not None:
            raise PeerRefusedError(self._decision)
        raise HandshakeError(
            "no data passes before the peer is accepted: call do_handshake() first, or leave"
            " do_handshake_on_connect on"
        )

    def address(self) -> Address | None:
        """The peer's, if it is known."""
        return None

    def is_resumed(self) -> bool:
        """Whether OpenSSL has resumed a session, of which there are no certificates."""
        return bool(self._sslobj.session_reused)

    def session_id(self) -> bytes | None:
        """The session's name, if there is one."""
        session = self._sslobj.session
        return None if session is None else bytes(session.id)

    def chain(self) -> list[x509.Certificate]:
        """The certificates that the peer has shown, its own first; none on a resumed session."""
        leaf = self._sslobj.getpeercert(True)
        if leaf is None:
            return []
        shown = self._sslobj.get_unverified_chain() or []
        ders = [c if isinstance(c, bytes) else c.public_bytes(_ssl.ENCODING_DER) for c in shown]
        if ders[:1] != [leaf]:
            ders.insert(0, leaf)
        return [x509.load_der_x509_certificate(der) for der in ders]


class PolicySSLObject(Judged, ssl.SSLObject):
    """An `ssl.SSLObject` whose peer a policy has judged; `PolicySSLContext.wrap_bio` makes it."""

    read = _guard(ssl.SSLObject.read)
    write = _guard(ssl.SSLObject.write)
    unwrap = _guard(ssl.SSLObject.unwrap)

    def do_handshake(self) -> None:
        """Do the handshake, and have the policy judge.

        Raises:
            PeerRefusedError: The policy refused; it is an `ssl.SSLCertVerificationError`.
        """
        self._handshake(super().do_handshake)

    def verify_client_post_handshake(self) -> None:
        """Not possible: who the peer is, is judged once."""
        raise _judged_once()


class PolicySSLSocket(Judged, ssl.SSLSocket):
    """An `ssl.SSLSocket` whose peer a policy has judged: `PolicySSLContext.wrap_socket`.

    No plain byte passes it, either way, except after ``unwrap``: that ends TLS with an accepted
    peer and gives the plain socket back, as in `ssl`. After ``shutdown`` TLS stays; so what a half
    closed connection still carries is encrypted. In `ssl` it would be plain.
    ``recvmsg``, ``recvmsg_into`` and ``sendmsg`` never work on an `ssl.SSLSocket`, and ``sendto``,
    ``recvfrom`` and ``recvfrom_into`` only after ``unwrap``.
    """

    _tried = False  # whether a connect was tried
    _unwrapped = False

    read = _guard(ssl.SSLSocket.read)
    write = _guard(ssl.SSLSocket.write)
    recv_into = _guard(ssl.SSLSocket.recv_into)
    recvfrom = _guard(ssl.SSLSocket.recvfrom)
    recvfrom_into = _guard(ssl.SSLSocket.recvfrom_into)
    send = _guard(ssl.SSLSocket.send)
    sendall = _guard(ssl.SSLSocket.sendall)
    sendfile = _guard(ssl.SSLSocket.sendfile)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As `ssl.SSLSocket.recv`, once the peer is accepted."""
        # ssl itself, while it makes the socket, looks for plain bytes, and raises if there are any.
        if "_connected" in self.__dict__:
            self._require_accepted()
        return super().recv(buflen, flags)

    def recvmsg(self, *_: object, **__: object) -> Never:
        """Not possible, as in `ssl`."""
        self._no_messages("recvmsg")

    def recvmsg_into(self, *_: object, **__: object) -> Never:
        """Not possible, as in `ssl`."""
        self._no_messages("recvmsg_into")

    def sendmsg(self, *_: object, **__: object) -> Never:
        """Not possible, as in `ssl`."""
        self._no_messages("sendmsg")

    def sendto(self, *args: Any) -> int:
        """As `ssl.SSLSocket.sendto`: only after ``unwrap``."""
        self._require_accepted()
        return super().sendto(*args)

    def _no_messages(self, name: str) -> Never:
        self._require_accepted()
        raise NotImplementedError(f"{name} is not possible on {type(self).__name__}")

    def unwrap(self) -> Any:
        """End TLS with the accepted peer, and give the plain socket back."""
        self._require_accepted()
        plain = super().unwrap()
        self._unwrapped = True
        return plain

    def shutdown(self, how: int) -> None:
        """Close one direction or both; TLS stays for what still passes."""
        super(ssl.SSLSocket, self).shutdown(how)  # past that of ssl, which drops the TLS object

    def connect(self, addr: Any) -> None:
        """As `ssl.SSLSocket.connect`, once: a verdict is about one connection."""
        self._try_once()
        super().connect(addr)

    def connect_ex(self, addr: Any) -> int:
        """As `ssl.SSLSocket.connect_ex`, once: a verdict is about one connection."""
        self._try_once()
        return super().connect_ex(addr)

    def _try_once(self) -> None:
        if self._origin is not None:
            raise ConfigurationError(
                "this socket has had its handshake, and the verdict is about that peer: make"
                " another socket for another connection"
            )
        self._tried = True

    def makefile(self, *args: Any, **kwargs: Any) -> Any:
        """As `socket.socket.makefile`, once the peer is accepted."""
        self._require_accepted()
        return super().makefile(*args, **kwargs)

    def do_handshake(self, block: bool = False) -> None:
        """Do the handshake, and have the policy judge.

        Args:
            block: As in `ssl.SSLSocket.do_handshake`.

        Raises:
            PeerRefusedError: The policy refused; it is an `ssl.SSLCertVerificationError`.
        """
        self._handshake(functools.partial(super().do_handshake, block))

    def verify_client_post_handshake(self) -> None:
        """Not possible: who the peer is, is judged once."""
        raise _judged_once()

    def _require_accepted(self) -> None:
        if self._sslobj is None and not self._unwrapped:
            if self.fileno() == -1:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            if self._accepted:
                raise HandshakeError("TLS has ended on this socket, and nothing passes it plain")
            if self._origin is None and not self._tried:  # a new socket, or one that listens
                raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        super()._require_accepted()

    def _is_connected(self) -> bool:
        try:
            self.getpeername()
        except OSError:
            return False
        return True

    def address(self) -> Address | None:
        """The peer's, if it is known."""
        return address_of(self.getpeername()) if self._is_connected() else None


def _judged_once() -> ConfigurationError:
    return ConfigurationError(
        "a certificate after the handshake would change the peer behind the policy's back: ask for"
        " it in the handshake, with PolicySSLContext.server"
    )
