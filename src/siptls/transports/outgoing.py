"""Outgoing: what a client is given once, and makes each of its connections from."""

from __future__ import annotations

import time

from attrs import evolve, field, frozen

from siptls.arguments import Kind
from siptls.keylog import KeyLog
from siptls.transports.resolution import Resolver, check_resolver
from siptls.transports.reuse import Terms, Wanted
from siptls.trust.dnstrust import IS_DNS_TRUST, DNSTrust
from siptls.trust.names import ReferenceIdentity
from siptls.trust.policy import TrustPolicy, require_policy
from siptls.wire.connection import ClientConnection
from siptls.wire.credential import IS_CREDENTIAL, Credential
from siptls.wire.deadlines import check_keep_alive
from siptls.wire.hello import ALPN, IS_ALPN
from siptls.wire.inforce import InForce
from siptls.wire.limits import Limits
from siptls.wire.link import Timer
from siptls.wire.measures import Measures
from siptls.wire.resumption import Sessions
from siptls.wire.telling import Address
from siptls.wire.traffic import Traffic

__all__ = ["Outgoing"]

_NOBODY = ReferenceIdentity.parse("nobody.invalid")


@frozen
class Outgoing:
    """A client's own certificate, whom it believes, and how it gets there.

    Attributes:
        in_force: The policy that judges each server.
        credential: Our own, for servers that ask for one.
        resolver: Finds the addresses.
        dns_trust: Whether a host that DNS names is expected, too.
        limits: Bounds.
        alpn: Whether ``sip/2`` is agreed on.
        keep_alive: The longest time between two pings of ours; None for none.
        resume: Whether sessions may be resumed.
        traffic: Counts what federated peers send.
        authorize: Whether each message comes with a decision about its sender.
        measures: Where what happens is recorded.
        keylog: Where the keys of connections are written.

    Raises:
        ConfigurationError: One of them is none.
        CertificateError: OpenSSL does not take the credential.
    """

    in_force: InForce
    credential: Credential | None
    resolver: Resolver
    dns_trust: DNSTrust
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
        require_policy(self.in_force.policy)
        check_resolver(self.resolver)
        IS_CREDENTIAL.check("credential", self.credential)
        IS_DNS_TRUST.check("dns_trust", self.dns_trust)
        IS_ALPN.check("alpn", self.alpn)
        check_keep_alive(self.keep_alive)
        self.connection(_NOBODY, None)  # whatever is wrong with the credential is told now

    def connection(
        self,
        reference: ReferenceIdentity,
        address: Address | None,
        timer: Timer = time.monotonic,
    ) -> ClientConnection:
        """Make the core of a new connection, to whoever proves the reference."""
        policy = self.in_force.policy
        assert policy is not None  # noqa: S101  just checked
        core = ClientConnection(
            policy,
            reference,
            credential=self.credential,
            limits=self.limits,
            address=address,
            alpn=self.alpn,
            keep_alive=self.keep_alive,
            timer=timer,
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

    def terms(self, world: object) -> Terms:
        """Give the terms on which a request may be sent now."""
        return Terms(self.in_force, self.credential, world)

    def wanted(
        self,
        target: str | ReferenceIdentity,
        *,
        host: str | None,
        port: int | None,
        service: str | None,
        reuse: bool,
    ) -> Wanted:
        """Give what a connect() is for.

        Raises:
            ConfigurationError: An argument cannot be meant.
        """
        return Wanted.of(target, self.dns_trust, host=host, port=port, service=service, reuse=reuse)

    def renewed(self, credential: Credential | None, policy: TrustPolicy | None) -> Outgoing:
        """Give the same with another credential or policy; None leaves either as it is.

        Raises:
            ConfigurationError: One of them is none.
            CertificateError: OpenSSL does not take the credential.
        """
        if policy is not None:
            require_policy(policy)
        return self if credential is None else evolve(self, credential=credential)
