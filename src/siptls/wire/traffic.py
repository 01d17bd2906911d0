"""Traffic: the accounts of all certificates, and the meters by which connections write into them.

A certificate is its issuer and its serial number (RFC 5280 §4.1.2.2), as in Open Communications
Server's watch list. Its account is shared by all connections in which it was shown, in whatever
thread each is: there is one lock, which is held for a few instructions.

Nobody wins a new account by leaving: those of connections that are alive are kept in any case, and
there are no more of them than a server holds connections. Of the others, and of those who were
refused, only so many are remembered, for a stranger may have as many certificates as he likes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import Lock

from attrs import evolve
from cryptography import x509

from siptls.arguments import check_count
from siptls.trust.account import Account, TrafficLimits
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer
from siptls.trust.fault import Fault, serial_number
from siptls.trust.names import MAX_DOMAIN, printable
from siptls.wire.report import CertificateName, FederationReport, PeerReport, RefusedReport

__all__ = ["Meter", "Traffic"]

# Believed names of a peer that a report shows: a certificate may hold a thousand.
_MAX_NAMES = 64


class _Entry:
    """An account, and what is told of whose it is."""

    __slots__ = ("account", "certificate", "connections", "key", "more_names", "names", "trust")

    def __init__(self, key: bytes, certificate: CertificateName) -> None:
        self.key = key
        self.certificate = certificate
        self.account = Account()
        self.connections = 0

    def follow(self, peer: Peer) -> None:
        """Take what was judged last; the peer itself is not kept, for it may be large."""
        names = sorted({name.name for name in peer.names})
        self.names = tuple(printable(name, MAX_DOMAIN) for name in names[:_MAX_NAMES])
        self.more_names = len(names) - len(self.names)
        self.trust = str(peer.trust)
        self.account.limits = peer.limits

    def report(self, now: float) -> PeerReport:
        account = self.account
        return PeerReport(
            self.certificate,
            trust=self.trust,
            names=self.names,
            more_names=self.more_names,
            domains=tuple(account.domains),
            more_domains=account.more_domains,
            connections=self.connections,
            messages=account.messages,
            messages_per_second=round(account.rate(now), 3),
            uris=account.uris,
            succeeded=account.succeeded,
            failed=account.failed,
            state=account.state,
            refusals=dict(account.refusals),
            limits=account.limits,
        )


def _key(certificate: x509.Certificate) -> bytes:
    """What a certificate is known by: issuer and serial number, which a stranger makes long."""
    serial = b"%x" % serial_number(certificate)
    try:
        issuer = certificate.issuer.public_bytes()
    except Exception:  # noqa: BLE001  it cannot be decoded, so that it is what stands there
        issuer = certificate.tbs_certificate_bytes
    return hashlib.sha256(serial + b" " + issuer).digest()


def _key_of_peer(peer: Peer) -> bytes:
    if peer.chain:
        return _key(peer.chain[0])
    # A user's policy may believe without a path; then the names are what there is.
    return hashlib.sha256(repr(sorted({name.name for name in peer.names})).encode()).digest()


class Meter:
    """One connection's part in an account: what it holds from its acceptance to its end.

    The methods are those of `Account`, and may be called from any thread.
    """

    __slots__ = ("_account", "_entry", "_lock", "_traffic")

    def __init__(self, traffic: Traffic, entry: _Entry, lock: Lock) -> None:
        self._traffic: Traffic | None = traffic
        self._entry = entry
        self._account = entry.account
        self._lock = lock

    @property
    def limited(self) -> bool:
        """Whether anything may be held back."""
        return self._account.limits is not None

    def due(self, now: float, *, answer: bool = False) -> float:
        """Give the time at which the next message may be delivered; see `Account.due`."""
        with self._lock:
            return self._account.due(now, answer=answer)

    def take(self, now: float, *, answer: bool = False) -> None:
        """Count a message that is delivered."""
        with self._lock:
            self._account.take(now, answer=answer)

    def uri_fault(self, uri: str) -> Fault | None:
        """Say why a request-URI is one too many; None if it is not."""
        with self._lock:
            return self._account.uri_fault(uri)

    def asked(self) -> None:
        """Count a request of ours."""
        with self._lock:
            self._account.asked()

    def answered(self, status: int, now: float) -> None:
        """Count a response of ours to a request of the peer."""
        with self._lock:
            self._account.answered(status, now)

    def spoke_for(self, domain: str) -> None:
        """Remember a domain in whose name the peer spoke."""
        with self._lock:
            self._account.spoke_for(domain)

    def refused(self, code: str) -> None:
        """Count that something was refused, and why."""
        with self._lock:
            self._account.refused(code)

    def follow(self, peer: Peer) -> None:
        """Take names and limits of the same peer, which was judged again."""
        with self._lock:
            self._entry.follow(peer)

    def leave(self) -> None:
        """The connection is over. Once is enough; more often does no harm."""
        with self._lock:
            traffic, self._traffic = self._traffic, None
            if traffic is not None:
                traffic._left(self._entry)  # noqa: SLF001  the two are one


class Traffic:
    """The accounts of all certificates, for the connections of a transport, or of several.

    All methods may be called from any thread.

    Args:
        accepted: Accounts that are kept of certificates without a connection.
        refused: Refused certificates that are remembered.

    Raises:
        ConfigurationError: A number that is none.
    """

    # Lync's MaxAcceptedCertificatesStored and MaxRejectedCertificatesStored: 1000 and 500.
    def __init__(self, *, accepted: int = 1000, refused: int = 500) -> None:
        check_count("accepted", accepted)
        check_count("refused", refused)
        self._max_idle = accepted
        self._max_refused = refused
        self._lock = Lock()
        # Each in the order of use, the latest last.
        self._live: OrderedDict[bytes, _Entry] = OrderedDict()
        self._idle: OrderedDict[bytes, _Entry] = OrderedDict()
        self._refused: OrderedDict[bytes, RefusedReport] = OrderedDict()

    def enter(self, peer: Peer, now: float) -> Meter | Fault:
        """Begin a connection of a peer: give its meter, or say why it may not have one more.

        Args:
            peer: Who it is.
            now: The time, of the clock of the accounts.
        """
        key = _key_of_peer(peer)
        with self._lock:
            entry = self._live.get(key) or self._idle.get(key)
        if entry is None:
            # It takes as long as a handshake's smallest part: not while others wait.
            entry = _Entry(key, CertificateName.of(peer.chain[0] if peer.chain else None))
        with self._lock:
            # Another thread may have been faster.
            entry = self._live.get(key) or self._idle.get(key) or entry
            entry.follow(peer)
            limits = entry.account.limits
            if limits is not None and entry.connections >= limits.connections:
                entry.account.refused(Code.PARTNER_LIMIT)
                return _connections_fault(entry, limits)
            # Each connection may have been faster than another by one. More is what was waiting
            # when a connection ended: whoever cut it on purpose gets none before that is made up.
            if limits is not None and entry.account.owed(now) > limits.connections:
                entry.account.refused(Code.PARTNER_LIMIT)
                return _debt_fault(entry, limits, now)
            self._idle.pop(key, None)
            self._live[key] = entry
            self._live.move_to_end(key)
            entry.connections += 1
            return Meter(self, entry, self._lock)

    def _left(self, entry: _Entry) -> None:
        """A connection is over; the lock is held."""
        entry.connections -= 1
        if not entry.connections:
            del self._live[entry.key]
            self._idle[entry.key] = entry
            if len(self._idle) > self._max_idle:
                self._idle.popitem(last=False)

    def refuse(self, decision: Decision) -> None:
        """Remember the certificate that a decision has refused; nothing if none was shown."""
        evidence = decision.evidence
        if decision.accepted or evidence is None or evidence.leaf is None:
            return
        key = _key(evidence.leaf)
        made = RefusedReport(
            CertificateName.of(evidence.leaf),
            code=str(decision.code),
            reason=decision.reason,
            address=evidence.address,
            when=evidence.now,
            times=1,
        )
        with self._lock:
            before = self._refused.pop(key, None)
            self._refused[key] = made if before is None else evolve(made, times=before.times + 1)
            if len(self._refused) > self._max_refused:
                self._refused.popitem(last=False)

    def pardon(self, certificate: x509.Certificate) -> bool:
        """Think nothing bad any more of who shows a certificate; False if there is no account."""
        key = _key(certificate)
        with self._lock:
            entry = self._live.get(key) or self._idle.get(key)
            if entry is not None:
                entry.account.pardon()
        return entry is not None

    def report(self, now: float) -> FederationReport:
        """Tell what all have done.

        Args:
            now: The time, of the clock of the accounts.
        """
        with self._lock:
            entries = [*reversed(self._live.values()), *reversed(self._idle.values())]
            refused = tuple(reversed(self._refused.values()))
        peers = []
        for entry in entries:
            with self._lock:  # anew for each: nobody waits for all of them
                peers.append(entry.report(now))
        return FederationReport(tuple(peers), refused)


def _debt_fault(entry: _Entry, limits: TrafficLimits, now: float) -> Fault:
    return Fault(
        Code.PARTNER_LIMIT,
        entry.certificate.description,
        f"has sent {entry.account.owed(now):.0f} messages more than it may",
        f"a pause until {limits.messages_per_second:g} a second have been enough for them",
        "TrafficLimits.messages_per_second",
    )


def _connections_fault(entry: _Entry, limits: TrafficLimits) -> Fault:
    found = f"has {entry.connections} connections already"
    expected = f"at most {limits.connections}"
    about = entry.certificate.description
    return Fault(Code.PARTNER_LIMIT, about, found, expected, "TrafficLimits.connections")
