"""The reason codes of decisions, and what an operator can do about each."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Code"]


class Code(StrEnum):
    """The reason codes. They are stable: programs and alarms may be built on them.

    They stand here from the vaguest to the most telling: of several refusals, a combination
    reports the one that stands last.
    """

    CERTIFICATE_MISSING = "certificate.missing"
    CERTIFICATE_MALFORMED = "certificate.malformed"
    PATH_LIMIT = "path.limit"
    PARTNER_UNKNOWN = "partner.unknown"
    PARTNER_UNDISCOVERED = "partner.undiscovered"
    PIN_MISMATCH = "pin.mismatch"
    PATH_UNKNOWN_CA = "path.unknown-ca"
    PATH_SIGNATURE = "path.signature"
    PATH_CONSTRAINT = "path.constraint"
    PATH_NOT_YET_VALID = "path.not-yet-valid"
    PATH_EXPIRED = "path.expired"
    PATH_WEAK_KEY = "path.weak-key"
    PURPOSE_UNACCEPTABLE = "purpose.unacceptable"
    PATH_REVOCATION_UNKNOWN = "path.revocation-unknown"
    NAME_NONE = "name.none"
    NAME_OUT_OF_SCOPE = "name.out-of-scope"
    NAME_MISMATCH = "name.mismatch"
    SENDER_UNVERIFIABLE = "sender.unverifiable"
    SENDER_NOT_AUTHORIZED = "sender.not-authorized"
    SENDER_MALFORMED = "sender.malformed"
    SERVER_NOT_LISTED = "server.not-listed"
    PARTNER_LIMIT = "partner.limit"
    PATH_REVOKED = "path.revoked"
    PARTNER_BLOCKED = "partner.blocked"
    POLICY_ERROR = "policy.error"
    ACCEPTED = "accepted"

    @property
    def advice(self) -> str:
        """What an operator can do about it, in a sentence; empty for `ACCEPTED`."""
        return _ADVICE[self]

    @property
    def rank(self) -> int:
        """How telling the code is, from 0."""
        return _RANK[self]


_ADVICE: dict[Code, str] = {
    Code.CERTIFICATE_MISSING: (
        "have the peer send its certificate: every peer that is judged must show one"
    ),
    Code.CERTIFICATE_MALFORMED: "have the certificate issued anew; its encoding is broken",
    Code.PATH_LIMIT: (
        "have the peer send its own certificate and its intermediates only; if it does, someone"
        " is trying to exhaust this machine"
    ),
    Code.PATH_UNKNOWN_CA: (
        "check that the peer sends its intermediate certificates; if it is meant to be trusted,"
        " add the root of its CA to the policy that should know it"
    ),
    Code.PARTNER_UNKNOWN: (
        "if this is meant to be a partner, add a Partner with its domains and its CA"
    ),
    Code.PARTNER_UNDISCOVERED: (
        "have the partner publish an SRV record _sipfederationtls._tcp.DOMAIN that names its edge;"
        " or add it as a Partner, who needs none"
    ),
    Code.PIN_MISMATCH: (
        "if the peer has a new certificate, learn its SHA-256 over a channel that you trust, and"
        " pin that, too; otherwise this is an impostor"
    ),
    Code.PATH_SIGNATURE: (
        "the certificate is forged, or its CA changed its key under the same name: get the CA's"
        " current certificate over a channel that you trust; one that is signed with a weak hash"
        " has to be issued anew"
    ),
    Code.PATH_CONSTRAINT: "have the CA issue a certificate that keeps to its own rules (RFC 5280)",
    Code.PATH_NOT_YET_VALID: "check the clocks of both machines; else wait until it is valid",
    Code.PATH_EXPIRED: "renew the certificate that is named here; check this machine's clock, too",
    Code.PATH_WEAK_KEY: "have the certificate issued for a key of RSA 2048 bits, or EC P-256",
    Code.PURPOSE_UNACCEPTABLE: (
        "either have the certificate issued for one of the purposes that are asked for, or give"
        " this authority KeyPurposes that take what it has: KeyPurposes.SIP takes serverAuth alone,"
        " which is all that public CAs issue"
    ),
    Code.PATH_REVOCATION_UNKNOWN: (
        "give the authority a current CRL of the CA that has issued it (crls), or an OCSP response,"
        " or a source that may fetch them; or have the server staple one"
    ),
    Code.PARTNER_LIMIT: (
        "if this peer is to do more, list it as a Partner, or give it other TrafficLimits; what it"
        " has done stands in the FederationReport"
    ),
    Code.PATH_REVOKED: (
        "the CA has taken this certificate back: do not trust its key, and have the peer get a new"
        " one"
    ),
    Code.NAME_NONE: (
        "have the certificate issued with the SIP domain in its subjectAltName: URI sip:DOMAIN, or"
        " DNS DOMAIN"
    ),
    Code.NAME_OUT_OF_SCOPE: (
        "if this CA may vouch for that domain, add the domain to its Enterprise or Partner;"
        " otherwise this is an impostor, or a mistake of that CA: ask its operator"
    ),
    Code.NAME_MISMATCH: (
        "connect to a name that the certificate presents, or have the certificate issued for the"
        " name that is expected; host= and port= choose where to connect without changing whom"
    ),
    Code.SENDER_UNVERIFIABLE: (
        "nobody has vouched for this user: treat the message as a stranger's, or answer 403; if the"
        " partner's server is to be believed, change its Verification"
    ),
    Code.SENDER_NOT_AUTHORIZED: (
        "answer 403 to what a peer says in the name of another domain (RFC 3261 §26.3.2.2); if it"
        " is a server of ours that may relay that domain, add it to relays= of TrustedServers"
    ),
    Code.SENDER_MALFORMED: (
        "answer 400 or 403: the header field cannot be read with certainty, so that two servers"
        " could read two senders; have the peer's software mended"
    ),
    Code.SERVER_NOT_LISTED: "if this server is meant to be trusted, add its FQDN to TrustedServers",
    Code.PARTNER_BLOCKED: "the domain is blocked on purpose; take it off the list if that is over",
    Code.POLICY_ERROR: "a policy failed, so it refused; this is a fault in its code: see the log",
    Code.ACCEPTED: "",
}

_RANK = {code: rank for rank, code in enumerate(Code)}
