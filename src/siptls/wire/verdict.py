"""The verdict: the policy's answer, inside the handshake, as a TLS alert that fits.

How it thinks. OpenSSL checks no certificate here: it has no anchors, and whatever it objects to,
the verify callback overrides. Its objections serve as places at which to stop. The policy is asked
at the callback that completes the path; it answers yes or no, and a no is carried to the
callback whose error OpenSSL turns into the alert that fits (RFC 8446 §6.2):

=====================  ===========================================================================
48 unknown_ca          ``path.unknown-ca``, ``partner.unknown``: we know nobody who vouches. The
                       place: error 20 (or 18, 19, 21), which comes because there are no anchors,
                       and error 3, because the CRL flags are set and there is no CRL.
46 certificate_unknown a sound certificate that is not accepted: its names, its purpose, the lists.
                       The place: error 74, because the OCSP flags are set.
42 bad_certificate     the certificate itself: expired, forged, weak, malformed. The place: error 9,
                       because OpenSSL is told that it is 1990, before any certificate was valid.
=====================  ===========================================================================

The fake date is OpenSSL's alone; the policy gets the true one. Where an OpenSSL does not know the
OCSP flag, or a self-signed leaf leaves no place for it, 46 becomes 42. Where there is no place at
all, the last callback refuses with 80 internal_error. Never is the answer changed, only its number.

A *client* may need to know whether the server's certificate was revoked, and the server may staple
the answer to it (RFC 6066 §8). OpenSSL shows the staple only after all verify callbacks, and after
the server has proven that it has the key. So the policy is asked twice. A refusal for want of a
status is kept, and the handshake goes on; with the staple the policy is asked again, and its answer
counts. An acceptance is asked again as well: the staple may tell of a revocation. A refusal then is
alert 113 bad_certificate_status_response, the only one that OpenSSL sends from there. If no staple
comes, the first answer stands. No acceptance counts before that callback has come.

On the server OpenSSL shows the path that it built, on the client all certificates as presented.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from attrs import define, evolve, field
from cryptography import x509
from OpenSSL import SSL, crypto

from siptls.errors import Alert, HandshakeError
from siptls.journal import about
from siptls.journal import log as _log
from siptls.trust.codes import Code
from siptls.trust.decision import Decision
from siptls.trust.evidence import MAX_STAPLE, Evidence, Role
from siptls.trust.names import ReferenceIdentity, printable
from siptls.trust.policy import TrustPolicy, authorities_of
from siptls.wire.limits import Limits
from siptls.wire.memory import Memory

__all__ = [
    "Clock",
    "Judgement",
    "alert_for",
    "arm",
    "arm_staple",
    "needs_staple",
    "record_alert",
    "record_request",
]


Clock = Callable[[], dt.datetime]

# X509_V_ERR_*: OpenSSL's objections, from its x509_vfy.h.
_UNABLE_TO_GET_CRL = 3
_NOT_YET_VALID = 9
_SELF_SIGNED_LEAF, _SELF_SIGNED_IN_CHAIN, _NO_LOCAL_ISSUER, _NO_ISSUER = 18, 19, 20, 21
_CHAIN_TOO_LONG = 22
_OCSP_NEEDED = 74
_TOP_OF_PATH = frozenset({_SELF_SIGNED_LEAF, _SELF_SIGNED_IN_CHAIN, _NO_LOCAL_ISSUER})

_UNKNOWN_CA, _CERTIFICATE_UNKNOWN, _BAD_CERTIFICATE = 48, 46, 42
_FATAL = 2  # the level of an alert

# At which objections a refusal gives which alert.
_PLACES = {
    _UNKNOWN_CA: _TOP_OF_PATH | {_NO_ISSUER, _UNABLE_TO_GET_CRL, _CHAIN_TOO_LONG},
    _CERTIFICATE_UNKNOWN: frozenset({_OCSP_NEEDED}),
    _BAD_CERTIFICATE: frozenset({_NOT_YET_VALID}),
}


def alert_for(code: str) -> int:
    """Give the number of the alert for a refusal with this code."""
    if code in (Code.PATH_UNKNOWN_CA, Code.PARTNER_UNKNOWN):
        return _UNKNOWN_CA
    if code.startswith(("path.", "certificate.")):
        return _BAD_CERTIFICATE
    return _CERTIFICATE_UNKNOWN


def _lacks_status(decision: Decision) -> bool:
    """Whether a refusal, or that of any part, is for want of a status.

    A combination tells the most telling of its parts' refusals, and a status may turn another.
    """
    if decision.accepted:
        return False
    return decision.code == Code.PATH_REVOCATION_UNKNOWN or any(map(_lacks_status, decision.parts))


def needs_staple(policy: TrustPolicy) -> bool:
    """Whether a policy could use a staple; one that does not tell its authorities might."""
    authorities = authorities_of(policy)
    return authorities is None or any(
        getattr(authority, "revocation", None) is not None for authority in authorities
    )


@define
class Judgement:
    """What one connection's verify callbacks know. It has no reference back to the connection.

    Attributes:
        memory: The policy, and whom it has accepted lately.
        version: Which one of what is in force that is.
        decided: By which version the decision was made.
        staple_due: A staple was asked for, and its callback was not there yet.
        undecided: The policy has refused for want of a status, which that staple may give.
        received: The first fatal alert of the peer.
        certificate_missing: The peer has asked for a certificate, and we had none to show.
        sent: Our first fatal alert.
    """

    memory: Memory | None
    role: Role
    clock: Clock
    reference: ReferenceIdentity | None
    address: tuple[str, int] | None
    limits: Limits
    certificates: dict[int, crypto.X509] = field(factory=dict)
    length: int = 0
    decision: Decision | None = None
    evidence: Evidence | None = None
    version: int = 0
    decided: int | None = None
    staple_due: bool = False
    undecided: bool = False
    received: Alert | None = None
    certificate_missing: bool = False
    sent: Alert | None = None

    @property
    def accepted(self) -> bool:
        """Whether the policy has accepted, and nothing may change that any more."""
        return self.decision is not None and self.decision.accepted and not self.staple_due

    @property
    def refused(self) -> bool:
        """Whether somebody has refused, and nothing may change that any more."""
        return self.decision is not None and not self.decision.accepted and not self.undecided

    def decide(self, chain: list[x509.Certificate], staple: bytes | None = None) -> None:
        """Ask the policy, once the limits are kept."""
        self.decision = None  # while it is asked, nothing is known
        evidence = self.evidence = self._evidence(chain, staple)
        if self.memory is None:
            self.refuse(Code.POLICY_ERROR, "there is no policy to judge a certificate by")
        else:
            version = self.version
            decision = self.memory.judge(evidence)
            if decision.evidence == evidence:  # then certificates that are kept already are shared
                self.evidence = decision.evidence
            self.undecided = self.staple_due and _lacks_status(decision)
            self.decision, self.decided = decision, version

    def decide_again(self) -> Decision | None:
        """Ask the policy about what was shown before, at the time that it is now.

        Returns:
            The decision; None if nothing was ever shown.
        """
        if self.evidence is None or self.memory is None:
            return None
        version = self.version
        self.evidence = evolve(self.evidence, now=self.clock())
        self.decision = self.memory.judge(self.evidence)
        self.decided = version
        return self.decision

    def refuse(self, code: Code, reason: str) -> Decision:
        """Record a refusal that no policy has made."""
        self.undecided = False
        try:
            evidence = self._evidence([])
        except Exception:  # noqa: BLE001  the application's clock; the refusal stands without
            evidence = None
        self.decision = Decision.refuse(code, reason, by="TLS", evidence=evidence)
        return self.decision

    def fail(self, fault: Exception) -> None:
        """Refuse because judging itself has failed. It raises nothing, as `hello` explains."""
        fields = about(
            "judging_failed", address=self.address, role=self.role, expected=self.reference
        )
        _log.exception("judging a certificate failed, so the peer is refused", extra=fields)
        try:
            words = str(fault)
        except Exception:  # noqa: BLE001  an error that cannot even be told
            words = type(fault).__name__
        self.refuse(Code.POLICY_ERROR, f"judging failed: {words}")

    def _evidence(self, chain: list[x509.Certificate], staple: bytes | None = None) -> Evidence:
        return Evidence(
            chain,
            self.role,
            now=self.clock(),
            reference=self.reference,
            address=self.address,
            staple=staple,
            max_certificates=self.limits.max_certificates,
            max_chain=self.limits.max_chain,
        )


def verify(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    """Answer OpenSSL about one certificate; False ends the handshake with the error's alert."""
    judgement: Judgement = connection.get_app_data()
    try:
        _look(judgement, connection, certificate, error, depth)
    except Exception as fault:  # noqa: BLE001  whatever it is, it is a refusal
        judgement.fail(fault)
    return _goes_on(judgement, error, depth, ok=bool(ok))


def _look(
    judgement: Judgement,
    connection: SSL.Connection,
    certificate: crypto.X509,
    error: int,
    depth: int,
) -> None:
    """Remember the certificate, and ask the policy once the path is complete."""
    judgement.certificates.setdefault(depth, certificate)
    if not judgement.length and error in _TOP_OF_PATH | {_CHAIN_TOO_LONG}:
        judgement.length = depth + 1
    if judgement.decision is None and len(judgement.certificates) == judgement.length:
        _ask(judgement, connection)


def _ask(judgement: Judgement, connection: SSL.Connection, staple: bytes | None = None) -> None:
    try:
        chain = _presented(judgement, connection)
    except Exception as fault:  # noqa: BLE001  what OpenSSL can read, cryptography may not
        why = printable(str(fault))
        judgement.refuse(Code.CERTIFICATE_MALFORMED, f"a certificate cannot be decoded: {why}")
    else:
        judgement.decide(chain, staple)


def _goes_on(judgement: Judgement, error: int, depth: int, *, ok: bool) -> bool:
    """Whether OpenSSL shall go on, given the decision so far."""
    decision = judgement.decision
    if ok:
        # The certificate at this depth is done; the leaf is the last.
        return depth > 0 or (decision is not None and not judgement.refused)
    if decision is None or not judgement.refused:
        return True
    if error in _PLACES[alert_for(decision.code)]:
        return False
    # The last objection of all: whoever comes this far gets 42.
    return not (error == _NOT_YET_VALID and depth == 0)


def _presented(judgement: Judgement, connection: SSL.Connection) -> list[x509.Certificate]:
    if judgement.role is Role.SERVER:
        return connection.get_peer_cert_chain(as_cryptography=True) or []
    # During the callback a server has none yet, but the path that was built.
    path = judgement.certificates
    return [path[depth].to_cryptography() for depth in range(judgement.length)]


def take_staple(connection: SSL.Connection, staple: bytes, _: object) -> bool:
    """Answer OpenSSL about the staple, empty if none came; False ends the handshake with 113."""
    judgement: Judgement = connection.get_app_data()
    try:
        judgement.staple_due = judgement.undecided = False
        if judgement.decision is None:  # a session is resumed: the engine judges at the end
            return True
        if 0 < len(staple) <= MAX_STAPLE:
            _ask(judgement, connection, staple)
    except Exception as fault:  # noqa: BLE001  whatever it is, it is a refusal
        judgement.fail(fault)
    return judgement.accepted


def record_alert(connection: SSL.Connection, where: int, value: int) -> None:
    """Keep the first fatal alert in each direction; the numbers are right where texts are not."""
    if not where & SSL.SSL_CB_ALERT or value >> 8 != _FATAL:
        return
    judgement: Judgement = connection.get_app_data()
    if where & SSL.SSL_CB_READ:
        judgement.received = judgement.received or Alert(value & 0xFF)
    else:
        judgement.sent = judgement.sent or Alert(value & 0xFF)


def record_request(connection: SSL.Connection, where: int, value: int) -> None:
    """As `record_alert`, where we have no certificate; keep besides that one was asked for.

    OpenSSL tells that by the name of its state only. What comes of it is a hint in an error.
    """
    record_alert(connection, where, value)
    if where & SSL.SSL_CB_LOOP and connection.get_state_string() == _ANSWERS_REQUEST:
        connection.get_app_data().certificate_missing = True


# ---------------------------------------------------------------- OpenSSL's side of it

# A client is in this state only if the server has sent a CertificateRequest (RFC 8446 §4.4.2).
_ANSWERS_REQUEST = b"SSLv3/TLS write client certificate"

# X509_V_FLAG_OCSP_RESP_CHECK(_ALL): pyOpenSSL has no name for them.
_OCSP_CHECKS = 0xC00000
_BEFORE_ALL = dt.datetime(1990, 1, 1, tzinfo=dt.UTC)
# OpenSSL looks no further up than this, so that no stranger makes it call back for hundreds of
# certificates. The limit that is told is `Limits.max_certificates`, which is lower.
_MAX_DEPTH = 32


def arm(context: SSL.Context) -> None:
    """Have the verify callback called, with an objection of each kind to stop at."""
    store = context.get_cert_store()
    if store is None:  # pragma: no cover  every context has one
        raise HandshakeError("OpenSSL gave no certificate store; pyOpenSSL is broken")
    flags = crypto.X509StoreFlags
    store.set_flags(flags.CRL_CHECK | flags.CRL_CHECK_ALL | _OCSP_CHECKS)
    store.set_time(_BEFORE_ALL)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
    context.set_verify_depth(_MAX_DEPTH)


def arm_staple(context: SSL.Context) -> None:
    """Have `take_staple` called in each handshake of a client that asks for a staple."""
    context.set_ocsp_client_callback(take_staple)
