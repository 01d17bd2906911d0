"""ClientConnection and ServerConnection: SIP over TLS without any I/O.

Bytes of the network go in with `receive_data`; what they mean comes out of `events`; bytes for the
network come out of `data_to_send`. Whoever owns the socket calls them in this order::

    send the bytes of data_to_send()          # a client begins the handshake
    loop:
        receive_data(bytes from the socket)   # or receive_eof()
        handle each of events()
        send the bytes of data_to_send()

Nothing here raises because of what a peer does: it becomes a `ConnectionClosed` event, whose reason
is an error of the tree. Until `PeerAccepted` no byte of the peer's is given out, and none of ours
is taken in. All front ends (asyncio, blocking sockets, your own loop) drive these two classes.
"""

from __future__ import annotations

import random as randomness
import time
from collections.abc import Callable, Sequence

from siptls.metrics import Recorder
from siptls.trust.evidence import Role
from siptls.trust.names import ReferenceIdentity
from siptls.trust.policy import TrustPolicy, require_policy
from siptls.wire.credential import Credential
from siptls.wire.hello import ALPN
from siptls.wire.limits import Limits, as_limits
from siptls.wire.link import Link, Random, Timer
from siptls.wire.measures import Measures, as_measures
from siptls.wire.resumption import Sessions
from siptls.wire.tls import TLSEngine, utc_now
from siptls.wire.traffic import Traffic
from siptls.wire.verdict import Clock

__all__ = ["ClientConnection", "ServerConnection"]


class ClientConnection(Link):
    """The client's side: it expects a name, and asks the policy whether the server has proven it.

    The loop is yours. Send what `data_to_send` gives, before the first read and after every call;
    pass what comes to `receive_data`, and the end to `receive_eof`; look at `events` after each;
    call `handle_deadline` when `deadline` is reached.

    Args:
        policy: Judges the server.
        target: Whom we expect: a SIP URI, a domain, or a `ReferenceIdentity`.
        credential: Our own certificate, for a server that asks for one (MTLS).
        host: A server's name that is expected beside the domain; see `ReferenceIdentity`.
        limits: Bounds.
        address: The server's, for the explanation of a decision.
        keep_alive: Sends a ping each time that so many seconds, less a random fifth, have passed
            (RFC 5626 §4.4.1); `handle_deadline` does it. None sends none.
        random: Gives numbers from 0 to 1.
        clock: Gives the time at which certificates are judged, as an aware datetime.
        timer: Gives seconds for deadlines; monotonic.
        alpn: Whether ``sip/2`` is agreed on as the application protocol; see `ALPN`.
        sessions: Those that may be resumed. Transports pass them.
        traffic: Counts what federated peers send, and holds those with limits to them: share one
            among the connections of one application. While `holding`, read nothing.
        authorize: Whether each message comes with a decision about its sender; see
            ``Message.decision`` and `Peer.authorize`.
        metrics: Records what happens, such as ``siptls.metrics.Metrics()``. A connection counts as
            open until `closed` is set.
        keylog: Gets each line of a key log (the SSLKEYLOGFILE format), as bytes without their end.
            Whoever has these lines can read all that passes.

    Raises:
        ConfigurationError: The target is no name, or the policy is none.
        CertificateError: OpenSSL does not take the credential.
    """

    __slots__ = ("reference",)

    def __init__(  # noqa: PLR0913  a connection's whole configuration
        self,
        policy: TrustPolicy,
        target: str | ReferenceIdentity,
        *,
        credential: Credential | None = None,
        host: str | None = None,
        limits: Limits | None = None,
        address: tuple[str, int] | None = None,
        clock: Clock = utc_now,
        timer: Timer = time.monotonic,
        keep_alive: float | None = None,
        random: Random = randomness.random,
        alpn: ALPN = ALPN.OFFER,
        sessions: Sessions | None = None,
        traffic: Traffic | None = None,
        authorize: bool = False,
        metrics: Recorder | Measures | None = None,
        keylog: Callable[[bytes], object] | None = None,
    ) -> None:
        require_policy(policy)
        self.reference = ReferenceIdentity.parse(target, host=host)
        """Whom we expect."""
        engine = TLSEngine(
            Role.SERVER,
            credential,
            policy,
            reference=self.reference,
            limits=limits,
            clock=clock,
            address=address,
            alpn=alpn,
            sessions=sessions,
            keylog=keylog,
        )
        super().__init__(
            engine,
            policy,
            as_limits(limits),
            timer,
            keep_alive=keep_alive,
            random=random,
            awaits_message=False,
            traffic=traffic,
            authorize=authorize,
            measures=as_measures(metrics),
        )


class ServerConnection(Link):
    """The server's side: it shows its certificate and, if mutual, judges the client's.

    The loop is yours: see `ClientConnection`.

    Args:
        credential: Our own certificate and key; or several of them, of which the client's SNI
            selects one. The first is for clients that ask for no name, or for one nobody has.
        policy: Judges the client. May be None only if not ``mutual``.
        mutual: Whether the client must show a certificate (MTLS).
        limits: Bounds.
        address: The client's, for the explanation of a decision.
        keep_alive: Sends a ping each time that so many seconds, less a random fifth, have passed
            (RFC 5626 §4.4.1); `handle_deadline` does it. None sends none.
        random: Gives numbers from 0 to 1.
        clock: Gives the time at which certificates are judged, as an aware datetime.
        timer: Gives seconds for deadlines; monotonic.
        alpn: Whether ``sip/2`` is agreed on as the application protocol; see `ALPN`.
        sessions: Those that may be resumed. Transports pass them.
        traffic: Counts what federated peers send, and holds those with limits to them: share one
            among the connections of one application. While `holding`, read nothing.
        authorize: Whether each message comes with a decision about its sender; see
            ``Message.decision`` and `Peer.authorize`.
        metrics: Records what happens, such as ``siptls.metrics.Metrics()``. A connection counts as
            open until `closed` is set.
        keylog: Gets each line of a key log (the SSLKEYLOGFILE format), as bytes without their end.
            Whoever has these lines can read all that passes.

    Raises:
        ConfigurationError: Mutual without a policy.
        CertificateError: OpenSSL does not take the credential.
    """

    __slots__ = ()

    reference: None = None
    """A server expects nobody in particular."""

    def __init__(  # noqa: PLR0913  a connection's whole configuration
        self,
        credential: Credential | Sequence[Credential],
        policy: TrustPolicy | None,
        *,
        mutual: bool = True,
        limits: Limits | None = None,
        address: tuple[str, int] | None = None,
        clock: Clock = utc_now,
        timer: Timer = time.monotonic,
        keep_alive: float | None = None,
        random: Random = randomness.random,
        alpn: ALPN = ALPN.OFFER,
        sessions: Sessions | None = None,
        traffic: Traffic | None = None,
        authorize: bool = False,
        metrics: Recorder | Measures | None = None,
        keylog: Callable[[bytes], object] | None = None,
    ) -> None:
        if mutual or policy is not None:
            require_policy(policy)
        engine = TLSEngine(
            Role.CLIENT,
            credential,
            policy,
            mutual=mutual,
            limits=limits,
            clock=clock,
            address=address,
            alpn=alpn,
            sessions=sessions,
            keylog=keylog,
        )
        super().__init__(
            engine,
            policy,
            as_limits(limits),
            timer,
            keep_alive=keep_alive,
            random=random,
            awaits_message=True,
            traffic=traffic,
            authorize=authorize,
            measures=as_measures(metrics),
        )
