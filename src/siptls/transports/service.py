"""Service: what a server is given once, and makes each of its connections from."""

from __future__ import annotations

import time
from collections.abc import Sequence

from attrs import evolve, field, frozen

from siptls.arguments import Kind
from siptls.errors import ConfigurationError
from siptls.keylog import KeyLog
from siptls.transports.reuse import ConnectionPool, Held, Terms
from siptls.trust.decision import Decision
from siptls.trust.policy import TrustPolicy, require_policy
from siptls.wire.connection import ServerConnection
from siptls.wire.credential import Credential, as_credentials
from siptls.wire.hello import ALPN
from siptls.wire.inforce import InForce
from siptls.wire.limits import Limits
from siptls.wire.link import Timer
from siptls.wire.measures import Measures
from siptls.wire.resumption import Sessions
from siptls.wire.telling import Address, OnRefused, Teller
from siptls.wire.traffic import Traffic

__all__ = ["Service", "require_one_handler"]


@frozen
class Service:
    """A server's own certificate, and whom it takes.

    Attributes:
        credential: Our own certificates and keys, the default first.
        in_force: The policy that judges each client; none if it shows no certificate.
        mutual: Whether it must show one.
        limits: Bounds.
        alpn: Whether ``sip/2`` is agreed on.
        keep_alive: The longest time between two pings of ours; None for none.
        resume: Whether sessions may be resumed.
        traffic: Counts what federated peers send.
        authorize: Whether each message comes with a decision about its sender.
        measures: Where what happens is recorded.
        keylog: Where the keys of connections are written.

    Raises:
        ConfigurationError: Mutual without a policy.
        CertificateError: OpenSSL does not take the credential.
    """

    credential: Sequence[Credential] = field(converter=as_credentials)
    in_force: InForce
    mutual: bool
    limits: Limits
    alpn: ALPN
    keep_alive: float | None
    resume: bool = field(validator=Kind(bool, "write resume=True"))
    traffic: Traffic
    authorize: bool
    measures: Measures | None = None
    keylog: KeyLog | None = None
    _sessions: Sessions = field(init=False, factory=Sessions, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.connection(None)  # whatever is wrong with them is told now

    def connection(
        self, address: Address | None, timer: Timer = time.monotonic
    ) -> ServerConnection:
        """Make the core of a new connection."""
        core = ServerConnection(
            self.credential,
            self.in_force.policy,
            mutual=self.mutual,
            limits=self.limits,
            address=address,
            timer=timer,
            alpn=self.alpn,
            keep_alive=self.keep_alive,
            sessions=self._current_sessions(),
            traffic=self.traffic,
            authorize=self.authorize,
            metrics=self.measures,
            keylog=self.keylog,
        )
        core.follow(self.in_force)
        return core

    def _current_sessions(self) -> Sessions | None:
        """Give the sessions that were made under what is in force now."""
        if not self.resume:
            return None
        self._sessions.enter(self.in_force.version, time.monotonic())
        return self._sessions

    def renewed(
        self, credential: Credential | Sequence[Credential] | None, policy: TrustPolicy | None
    ) -> Service:
        """Give the service with another credential or policy; None leaves either as it is.

        Raises:
            ConfigurationError: One of them is none, or the clients are not judged at all.
            CertificateError: OpenSSL does not take the credential.
        """
        if policy is not None:
            require_policy(policy)
            if not self.mutual:
                raise ConfigurationError(
                    "this server asks for no certificates, so that a policy would judge nobody:"
                    " make an MTLSServerTransport"
                )
        return self if credential is None else evolve(self, credential=credential)

    def teller(self, on_refused: OnRefused | None) -> Teller:
        """Have a refused certificate remembered before the application is told of it."""

        def told(decision: Decision, address: Address | None) -> None:
            self.traffic.refuse(decision)
            if on_refused is not None:
                on_refused(decision, address)

        return Teller(told, rate=self.limits.log_rate, measures=self.measures)

    def share(self, connection: Held, pool: ConnectionPool[Held]) -> None:
        """Let requests go back over a connection whose client has proven a name."""
        if self.in_force.policy is not None:
            pool.add(connection, Terms(self.in_force, connection.credential, connection.world))


def require_one_handler(handler: object, on_message: object, kind: str) -> None:
    """Check that a server has either of both.

    Raises:
        ConfigurationError: It has neither, or both.
    """
    if (handler is None) is (on_message is None):
        raise ConfigurationError(
            f"a server has either a handler (a {kind} that gets each connection), or on_message= (a"
            " plain function that gets each message)"
        )
