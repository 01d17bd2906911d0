"""siptls: trusted SIP transport. TLS and mutual TLS with a trust policy that explains itself.

It decides whom to believe, speaks TLS, and hands over whole SIP messages. Everything public stands
here, except ``siptls.testing``. Three wings, each of which imports only from those before it:

* ``siptls.trust``: whom do we believe? Pure functions.
* ``siptls.wire``: what crosses the connection? Bytes in, events out.
* ``siptls.transports``: sockets and event loops.

A name is loaded when it is first used: a program that only judges certificates loads no event loop.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siptls.errors import (
        Alert,
        Attempt,
        CertificateError,
        ConfigurationError,
        ConnectionClosedError,
        FramingError,
        HandshakeError,
        HandshakeTimeout,
        LimitError,
        OperationTimeout,
        RefusedByPeerError,
        ResolutionError,
        SIPTLSError,
    )
    from siptls.fetching import FetchingSource
    from siptls.policyfile import dump_policy, load_policy
    from siptls.transports.aio.client import TLSClientTransport
    from siptls.transports.aio.connection import Connection
    from siptls.transports.aio.keeping import Kept
    from siptls.transports.aio.server import MTLSServerTransport, TLSServerTransport
    from siptls.transports.dns import DNSResolver
    from siptls.transports.federating import EdgeDiscovery, FederationResolver
    from siptls.transports.resolution import Resolver, StaticResolver, SystemResolver, Target
    from siptls.transports.reuse import ConnectionPool
    from siptls.transports.supervision import Backoff, KeepChange, KeepState
    from siptls.trust.account import AccountState, TrafficLimits
    from siptls.trust.authority import Authority
    from siptls.trust.believed import BelievedName, Trust, Verification
    from siptls.trust.blocked import Blocked
    from siptls.trust.codes import Code
    from siptls.trust.comparison import Comparison, Difference, DifferenceKind, compare
    from siptls.trust.decision import Decision, Peer
    from siptls.trust.discovery import Discovery
    from siptls.trust.dnstrust import DNSTrust
    from siptls.trust.endings import Ending, EndingKind, EndingNotice, Reminder
    from siptls.trust.enterprise import Enterprise, TrustedServers
    from siptls.trust.evidence import Evidence, Role
    from siptls.trust.fault import Fault
    from siptls.trust.federation import Federation, Partner
    from siptls.trust.names import ReferenceIdentity
    from siptls.trust.pins import Pinned
    from siptls.trust.policy import Combinable, CombinableCondition, Condition, TrustPolicy
    from siptls.trust.presented import NameKind
    from siptls.trust.public import AnyDomain
    from siptls.trust.purposes import KeyPurposes
    from siptls.trust.refusal import PeerRefusedError, TrustLostError
    from siptls.trust.revocation import (
        Revocation,
        RevocationMode,
        RevocationScope,
        RevocationSource,
    )
    from siptls.trust.rules import NameRules
    from siptls.trust.shadow import Shadow
    from siptls.watched import WatchEvent
    from siptls.watching import Watch, watch
    from siptls.wire.connection import ClientConnection, ServerConnection
    from siptls.wire.credential import Credential
    from siptls.wire.events import (
        ConnectionClosed,
        Event,
        MessageReceived,
        PeerAccepted,
        PeerRefused,
        Ping,
        Pong,
        RefusedByPeer,
    )
    from siptls.wire.framing import KEEPALIVE_PING, KEEPALIVE_PONG, MessageFramer
    from siptls.wire.hello import ALPN
    from siptls.wire.limits import Limits
    from siptls.wire.message import Message
    from siptls.wire.report import FederationReport, PeerReport, RefusedReport
    from siptls.wire.sslcontext import PolicySSLContext
    from siptls.wire.tls import TLSInfo
    from siptls.wire.traffic import Traffic

__all__ = [
    "ALPN",
    "KEEPALIVE_PING",
    "KEEPALIVE_PONG",
    "AccountState",
    "Alert",
    "AnyDomain",
    "Attempt",
    "Authority",
    "Backoff",
    "BelievedName",
    "Blocked",
    "CertificateError",
    "ClientConnection",
    "Code",
    "Combinable",
    "CombinableCondition",
    "Comparison",
    "Condition",
    "ConfigurationError",
    "Connection",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionPool",
    "Credential",
    "DNSResolver",
    "DNSTrust",
    "Decision",
    "Difference",
    "DifferenceKind",
    "Discovery",
    "EdgeDiscovery",
    "Ending",
    "EndingKind",
    "EndingNotice",
    "Enterprise",
    "Event",
    "Evidence",
    "Fault",
    "Federation",
    "FederationReport",
    "FederationResolver",
    "FetchingSource",
    "FramingError",
    "HandshakeError",
    "HandshakeTimeout",
    "KeepChange",
    "KeepState",
    "Kept",
    "KeyPurposes",
    "LimitError",
    "Limits",
    "MTLSServerTransport",
    "Message",
    "MessageFramer",
    "MessageReceived",
    "NameKind",
    "NameRules",
    "OperationTimeout",
    "Partner",
    "Peer",
    "PeerAccepted",
    "PeerRefused",
    "PeerRefusedError",
    "PeerReport",
    "Ping",
    "Pinned",
    "PolicySSLContext",
    "Pong",
    "ReferenceIdentity",
    "RefusedByPeer",
    "RefusedByPeerError",
    "RefusedReport",
    "Reminder",
    "ResolutionError",
    "Resolver",
    "Revocation",
    "RevocationMode",
    "RevocationScope",
    "RevocationSource",
    "Role",
    "SIPTLSError",
    "ServerConnection",
    "Shadow",
    "StaticResolver",
    "SystemResolver",
    "TLSClientTransport",
    "TLSInfo",
    "TLSServerTransport",
    "Target",
    "Traffic",
    "TrafficLimits",
    "Trust",
    "TrustLostError",
    "TrustPolicy",
    "TrustedServers",
    "Verification",
    "Watch",
    "WatchEvent",
    "__version__",
    "compare",
    "dump_policy",
    "load_policy",
    "watch",
]

__version__ = "0.1.0"
"""The version of siptls, as in its metadata."""

# The same as above, for Python itself.
_NAMES = {
    "siptls.errors": (
        "Alert",
        "Attempt",
        "CertificateError",
        "ConfigurationError",
        "ConnectionClosedError",
        "FramingError",
        "HandshakeError",
        "HandshakeTimeout",
        "LimitError",
        "OperationTimeout",
        "RefusedByPeerError",
        "ResolutionError",
        "SIPTLSError",
    ),
    "siptls.fetching": ("FetchingSource",),
    "siptls.policyfile": ("dump_policy", "load_policy"),
    "siptls.transports.aio.client": ("TLSClientTransport",),
    "siptls.transports.aio.connection": ("Connection",),
    "siptls.transports.aio.keeping": ("Kept",),
    "siptls.transports.aio.server": ("MTLSServerTransport", "TLSServerTransport"),
    "siptls.transports.dns": ("DNSResolver",),
    "siptls.transports.federating": ("EdgeDiscovery", "FederationResolver"),
    "siptls.transports.resolution": ("Resolver", "StaticResolver", "SystemResolver", "Target"),
    "siptls.transports.reuse": ("ConnectionPool",),
    "siptls.transports.supervision": ("Backoff", "KeepChange", "KeepState"),
    "siptls.trust.account": ("AccountState", "TrafficLimits"),
    "siptls.trust.authority": ("Authority",),
    "siptls.trust.believed": ("BelievedName", "Trust", "Verification"),
    "siptls.trust.blocked": ("Blocked",),
    "siptls.trust.codes": ("Code",),
    "siptls.trust.comparison": ("Comparison", "Difference", "DifferenceKind", "compare"),
    "siptls.trust.decision": ("Decision", "Peer"),
    "siptls.trust.discovery": ("Discovery",),
    "siptls.trust.dnstrust": ("DNSTrust",),
    "siptls.trust.endings": ("Ending", "EndingKind", "EndingNotice", "Reminder"),
    "siptls.trust.enterprise": ("Enterprise", "TrustedServers"),
    "siptls.trust.evidence": ("Evidence", "Role"),
    "siptls.trust.fault": ("Fault",),
    "siptls.trust.federation": ("Federation", "Partner"),
    "siptls.trust.names": ("ReferenceIdentity",),
    "siptls.trust.pins": ("Pinned",),
    "siptls.trust.policy": ("Combinable", "CombinableCondition", "Condition", "TrustPolicy"),
    "siptls.trust.presented": ("NameKind",),
    "siptls.trust.public": ("AnyDomain",),
    "siptls.trust.purposes": ("KeyPurposes",),
    "siptls.trust.refusal": ("PeerRefusedError", "TrustLostError"),
    "siptls.trust.revocation": (
        "Revocation",
        "RevocationMode",
        "RevocationScope",
        "RevocationSource",
    ),
    "siptls.trust.rules": ("NameRules",),
    "siptls.trust.shadow": ("Shadow",),
    "siptls.watched": ("WatchEvent",),
    "siptls.watching": ("Watch", "watch"),
    "siptls.wire.connection": ("ClientConnection", "ServerConnection"),
    "siptls.wire.credential": ("Credential",),
    "siptls.wire.events": (
        "ConnectionClosed",
        "Event",
        "MessageReceived",
        "PeerAccepted",
        "PeerRefused",
        "Ping",
        "Pong",
        "RefusedByPeer",
    ),
    "siptls.wire.framing": ("KEEPALIVE_PING", "KEEPALIVE_PONG", "MessageFramer"),
    "siptls.wire.hello": ("ALPN",),
    "siptls.wire.limits": ("Limits",),
    "siptls.wire.message": ("Message",),
    "siptls.wire.report": ("FederationReport", "PeerReport", "RefusedReport"),
    "siptls.wire.sslcontext": ("PolicySSLContext",),
    "siptls.wire.tls": ("TLSInfo",),
    "siptls.wire.traffic": ("Traffic",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
