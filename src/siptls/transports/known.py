"""What is known of a connection, in each world of input and output."""

from __future__ import annotations

from siptls.errors import SIPTLSError
from siptls.trust.decision import Decision, Peer
from siptls.trust.evidence import Role
from siptls.trust.names import ReferenceIdentity
from siptls.wire.connection import ClientConnection, ServerConnection
from siptls.wire.credential import Credential
from siptls.wire.telling import Address, Whom, shown
from siptls.wire.tls import TLSInfo

__all__ = ["Core", "Known", "whom"]

Core = ClientConnection | ServerConnection


class Known:
    """Gives a connection what its sans-I/O core knows."""

    @property
    def _known(self) -> Core:
        """The sans-I/O connection."""
        raise NotImplementedError

    @property
    def remote_address(self) -> Address | None:
        """The peer's ``(address, port)``; None if the socket has no such thing."""
        raise NotImplementedError

    @property
    def closed(self) -> SIPTLSError | None:
        """Why the connection is over; None while it is not, as far as anybody has looked."""
        raise NotImplementedError

    @property
    def core(self) -> Core:
        """The sans-I/O connection, by which a connection is known to its transport."""
        return self._known

    @property
    def world(self) -> object:
        """Where it can be used: its event loop, or None for threads."""
        raise NotImplementedError

    @property
    def usable(self) -> bool:
        """Whether something can be sent, as far as can be told without sending it."""
        return self._known.established

    @property
    def peer(self) -> Peer | None:
        """Who the peer has proven to be; None for a client of a server that asks for nothing."""
        return self._known.peer

    @property
    def decision(self) -> Decision | None:
        """The policy's decision about the peer; None in the same case."""
        return self._known.decision

    @property
    def reference(self) -> ReferenceIdentity | None:
        """Whom we asked for; None on a server."""
        return self._known.reference

    @property
    def credential(self) -> Credential | None:
        """Our own that this connection uses; None on a client that has none."""
        return self._known.credential

    @property
    def tls(self) -> TLSInfo | None:
        """What was negotiated."""
        return self._known.tls

    def __repr__(self) -> str:
        who = "a client" if self.reference is None else str(self.reference)
        if self.peer is not None:
            who = ", ".join(sorted(self.peer.domains | self.peer.hosts))
        state = "" if self.closed is None else ", closed"
        return f"<Connection with {who} at {shown(self.remote_address)}{state}>"


def whom(connection: Known) -> Whom:
    """Give whom a line of the log about a connection is about."""
    role = Role.CLIENT if connection.reference is None else Role.SERVER
    return Whom(connection.remote_address, role, connection.peer, connection.reference)
