"""Findings: what is odd about a policy, or will be, as values.

A policy that loads may still believe nobody: its CA has expired, its CRL is another CA's. And it
may believe more than was meant. Each such thing is a `Finding` with a code; the rules that find
them are in ``upkeep.py``, ``overlaps.py`` and ``exhibits.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from siptls.trust.plain import as_line

__all__ = ["Finding", "FindingCode", "Severity", "severity_of", "summary_of", "worst_first"]


class Severity(StrEnum):
    """How bad it is.

    Attributes:
        ERROR: It fails already: somebody who is meant to be believed is refused.
        WARNING: It will fail, or more is believed than may be meant.
        NOTE: It is as it should be if it is meant.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


_SEVERITIES = list(Severity)  # the worst first


class FindingCode(StrEnum):
    """What was found. Codes are stable: programs and alarms may be built on them."""

    ANCHOR_EXPIRED = "anchor.expired"
    ANCHOR_NOT_YET_VALID = "anchor.not-yet-valid"
    ANCHOR_ENDS_SOON = "anchor.ends-soon"
    ANCHOR_WEAK_KEY = "anchor.weak-key"
    ANCHOR_UNUSABLE = "anchor.unusable"
    ANCHOR_PURPOSE = "anchor.purpose"
    ANCHOR_NAMES = "anchor.names"
    ANCHOR_REDUNDANT = "anchor.redundant"
    ANCHOR_TWICE = "anchor.twice"
    CA_SERVER_ONLY = "ca.server-only"
    REVOCATION_NOTHING_KNOWN = "revocation.nothing-known"
    REVOCATION_UNUSED = "revocation.unused"
    CRL_ENDED = "crl.ended"
    CRL_ENDS_SOON = "crl.ends-soon"
    CRL_NO_END = "crl.no-end"
    CRL_UNUSABLE = "crl.unusable"
    CRL_UNKNOWN_ISSUER = "crl.unknown-issuer"
    OCSP_ENDED = "ocsp.ended"
    OCSP_ENDS_SOON = "ocsp.ends-soon"
    OCSP_UNKNOWN_ISSUER = "ocsp.unknown-issuer"
    OURS_PUBLIC_CA = "ours.public-ca"
    OURS_ANY_SERVER = "ours.any-server"
    SERVER_BLOCKED = "server.blocked"
    RELAY_UNKNOWN = "relay.unknown"
    PARTNER_OUR_CA = "partner.our-ca"
    PARTNER_PUBLIC_CA = "partner.public-ca"
    PARTNER_SHARED_CA = "partner.shared-ca"
    PARTNER_BELOW = "partner.below"
    PARTNER_BLOCKED = "partner.blocked"
    EDGE_ELSEWHERE = "edge.elsewhere"
    STRANGERS_UNLIMITED = "strangers.unlimited"
    NAMES_WILDCARD = "names.wildcard"
    NAMES_COMMON_NAME = "names.common-name"
    POLICY_UNKNOWN = "policy.unknown"
    CREDENTIAL_ENDED = "credential.ended"
    CREDENTIAL_ENDS_SOON = "credential.ends-soon"
    CREDENTIAL_UNUSABLE = "credential.unusable"
    CREDENTIAL_REFUSED = "credential.refused"
    CREDENTIAL_SERVER_ONLY = "credential.server-only"
    CHAIN_REFUSED = "chain.refused"
    CHAIN_PURPOSE = "chain.purpose"
    CHAIN_ENDS_SOON = "chain.ends-soon"
    CHAIN_SERVER_ONLY = "chain.server-only"
    FILE_PRIVATE_KEY = "file.private-key"
    FILE_UNNAMED = "file.unnamed"

    @property
    def advice(self) -> str:
        """What an operator can do about it, in a sentence."""
        return _ADVICE[self]


_Code = FindingCode
_NEXT_CA = (
    "get the CA's next certificate, over a channel that you trust, and put it beside this one"
)
_ADVICE: dict[FindingCode, str] = {
    _Code.ANCHOR_EXPIRED: f"{_NEXT_CA}; then take this one out",
    _Code.ANCHOR_NOT_YET_VALID: "keep the CA's present certificate beside it until then",
    _Code.ANCHOR_ENDS_SOON: f"{_NEXT_CA}: when it has ended, all for whom it vouches are refused",
    _Code.ANCHOR_WEAK_KEY: "have the CA replaced by one with RSA of 2048 bits or more, or P-256",
    _Code.ANCHOR_UNUSABLE: "ask the CA's operator for a root that keeps to RFC 5280",
    _Code.ANCHOR_PURPOSE: "take another value for purposes, or another CA",
    _Code.ANCHOR_NAMES: "ask the CA's operator for a root that may issue for this domain; or take"
    " the domain out",
    _Code.ANCHOR_REDUNDANT: "leave the root alone in the file, if all that it issues may be"
    " believed; or the intermediate alone, if nothing else of the root may",
    _Code.ANCHOR_TWICE: "leave it there once",
    _Code.CA_SERVER_ONLY: "know that what it issues is refused as a client by whoever asks for"
    ' clientAuth, as purposes = "ROLE" does',
    _Code.REVOCATION_NOTHING_KNOWN: "give the CA's CRL (crls), or fetch it (FetchingSource);"
    " without either every client is refused, and every server that does not staple",
    _Code.REVOCATION_UNUSED: 'set revocation to "require" or "soft", or take the files out',
    _Code.CRL_ENDED: "fetch the CA's next one: an old list does not know what was revoked since",
    _Code.CRL_ENDS_SOON: "fetch the CA's next one before; better have it fetched (FetchingSource)",
    _Code.CRL_NO_END: "ask the CA's operator for CRLs with a nextUpdate: this one is not believed",
    _Code.CRL_UNUSABLE: "fetch the CA's CRL again, from its distribution point",
    _Code.CRL_UNKNOWN_ISSUER: "take the CRL of the CA that issues; if this is an intermediate's,"
    " show a chain with that intermediate (--chain), and nothing is said of it",
    _Code.OCSP_ENDED: "fetch the responder's next one: an old one counts as none",
    _Code.OCSP_ENDS_SOON: "fetch the responder's next one before; better have it fetched"
    " (FetchingSource)",
    _Code.OCSP_UNKNOWN_ISSUER: "take a response about a certificate of this CA; if this is about"
    " an intermediate's, show a chain with that intermediate (--chain)",
    _Code.OURS_PUBLIC_CA: "name trusted_servers, or have a CA of your own: whoever controls a DNS"
    " name below our domains for a minute gets a certificate, and is one of us",
    _Code.OURS_ANY_SERVER: "name trusted_servers, if only servers may come without a challenge",
    _Code.SERVER_BLOCKED: "take one of the two out",
    _Code.RELAY_UNKNOWN: "add the partner, or leave the domain out; nothing is wrong if another"
    " server of ours has the partner, and relays him",
    _Code.PARTNER_OUR_CA: "give the partner the CA that he uses; if it is ours, know that whoever"
    " may issue with it may speak for him",
    _Code.PARTNER_PUBLIC_CA: "ask the partner for the one root that he uses, and give that: else"
    " any of the public CAs may vouch for him, to whoever controls his DNS",
    _Code.PARTNER_SHARED_CA: "nothing, if they do share it: each is believed for his own domains"
    " only, and it is the CA that keeps them apart",
    _Code.PARTNER_BELOW: "if the two are not one company, take the upper domain apart: the upper"
    " partner's CA may vouch for the lower one's domain, too",
    _Code.PARTNER_BLOCKED: "unblock the domain when the partner is to be believed again; or take"
    " the partner out",
    _Code.EDGE_ELSEWHERE: "nothing, if that is his hoster: whoever has a certificate for this host"
    " stands for all of the partner's domains",
    _Code.STRANGERS_UNLIMITED: "leave limits out, for the usual ones: a stranger has proven a name"
    " and nothing else",
    _Code.NAMES_WILDCARD: "nothing, if his certificates need it; a wildcard alone proves no name"
    " where none is expected, as on a server",
    _Code.NAMES_COMMON_NAME: "have certificates with a subjectAltName issued, then set names to"
    " RFC5922 (RFC 9525 §2 forbids common names)",
    _Code.POLICY_UNKNOWN: "look at it yourself: it can be asked about a peer, and tells no more",
    _Code.CREDENTIAL_ENDED: "renew it now: every peer refuses us",
    _Code.CREDENTIAL_ENDS_SOON: "renew it: when it has ended, every peer refuses us",
    _Code.CREDENTIAL_UNUSABLE: "have it issued anew: others will refuse it for the same reason",
    _Code.CREDENTIAL_REFUSED: "nothing, if it is only shown to partners: they judge it by their own"
    " policy; servers of ours with this policy refuse it",
    _Code.CREDENTIAL_SERVER_ONLY: "get one with clientAuth, too, or ask each peer whether he takes"
    " this one from a client; many servers refuse it",
    _Code.CHAIN_REFUSED: "see docs/reference/reason-codes.md for the code",
    _Code.CHAIN_PURPOSE: "set purposes to SIP for this CA, or have the peer get a certificate for"
    " both serverAuth and clientAuth",
    _Code.CHAIN_ENDS_SOON: "ask its operator to renew: then the peer is refused",
    _Code.CHAIN_SERVER_ONLY: 'nothing: purposes = "SIP" takes it from a client, too; ROLE would'
    " not",
    _Code.FILE_PRIVATE_KEY: "take the key out of the file: whoever can read the policy can issue"
    " certificates that it believes, if it is the CA's",
    _Code.FILE_UNNAMED: "name it in the policy, or put it elsewhere: nobody is believed for it",
}


@frozen
class Finding:
    """One thing that was found.

    Attributes:
        severity: How bad it is.
        code: What it is.
        about: Whom it concerns: a CA, a partner, a file.
        found: What was found, as the rest of a sentence.
        expected: What would do, as a thing; empty if that goes without saying.
        when: When it began, or will begin, to fail; aware. None if there is no such date.
        advice: What to do.
    """

    severity: Severity
    code: FindingCode
    about: str = field(converter=as_line)
    found: str = field(converter=as_line)
    expected: str = field(default="", converter=as_line, kw_only=True)
    when: datetime | None = field(default=None, kw_only=True)
    advice: str = field(converter=as_line, kw_only=True)

    @advice.default
    def _usual_advice(self) -> str:
        return self.code.advice

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {
            "severity": str(self.severity),
            "code": str(self.code),
            "about": self.about,
            "found": self.found,
            "expected": self.expected,
            "when": None if self.when is None else self.when.isoformat(),
            "advice": self.advice,
        }

    def __str__(self) -> str:
        expected = f"; expected {self.expected}" if self.expected else ""
        return f"{self.severity} {self.code}: {self.about} {self.found}{expected}; {self.advice}"


_LAST = datetime.max.replace(tzinfo=UTC)


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort by severity, then by date, those without a date last; each once."""
    return tuple(
        sorted(
            dict.fromkeys(findings),
            key=lambda one: (
                _SEVERITIES.index(one.severity),
                one.when or _LAST,
                one.code,
                one.about,
                one.found,
            ),
        )
    )


def severity_of(findings: Iterable[Finding]) -> Severity | None:
    """Give the worst severity; None of no findings."""
    return min((one.severity for one in findings), key=_SEVERITIES.index, default=None)


def summary_of(findings: Iterable[Finding]) -> str:
    """Say in a sentence how it stands."""
    severities = [one.severity for one in findings]
    counts = {one: severities.count(one) for one in Severity}
    told = [
        f"{count} {severity}{'' if count == 1 else 's'}"
        for severity, count in counts.items()
        if count
    ]
    if counts[Severity.ERROR]:
        verdict = "somebody is refused already"
    elif counts[Severity.WARNING]:
        verdict = "nothing fails now"
    else:
        verdict = "all is well"
    return f"{verdict}: {', '.join(told) or 'nothing was found'}"
