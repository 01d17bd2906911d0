"""Exhibits: chains that are held against a policy before a peer shows them.

Ours (`Ownership.OURS`) are judged as other servers of ours with the same policy would judge them;
those of peers as we would, if they came now. Both are judged in both roles, and no name is
expected: what a wildcard is worth is not seen so.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any

from attrs import evolve, field, frozen
from cryptography import x509

from siptls.trust.codes import Code
from siptls.trust.decision import Decision
from siptls.trust.endings import EndingKind, Reminder, endings_of_chain
from siptls.trust.evidence import Evidence, Role
from siptls.trust.fault import describe
from siptls.trust.findings import Finding, FindingCode, Severity
from siptls.trust.names import listed
from siptls.trust.plain import as_line, certificate_dict, shown_names
from siptls.trust.policy import TrustPolicy, judge
from siptls.trust.purposes import is_server_only
from siptls.trust.upkeep import thresholds

__all__ = ["Exhibit", "JudgedExhibit", "Ownership", "exhibit_findings", "judge_exhibit"]

# Refusals that no other policy would turn into an acceptance: the certificate itself is at fault.
_ANYWHERE = {
    Code.CERTIFICATE_MALFORMED,
    Code.PATH_LIMIT,
    Code.PATH_SIGNATURE,
    Code.PATH_CONSTRAINT,
    Code.PATH_NOT_YET_VALID,
    Code.PATH_EXPIRED,
    Code.PATH_WEAK_KEY,
    Code.PATH_REVOKED,
}


class Ownership(StrEnum):
    """Whose chain it is.

    Attributes:
        OURS: What we show to others: a credential.
        PEER: What a peer shows to us.
    """

    OURS = "ours"
    PEER = "peer"


@frozen
class Exhibit:
    """A chain, and where it was found.

    Attributes:
        name: Of the file, to be shown.
        ownership: Whose it is.
        chain: The leaf first; at least one certificate.
    """

    name: str
    ownership: Ownership
    chain: tuple[x509.Certificate, ...] = field(repr=False)

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """The CAs that are sent along."""
        return self.chain[1:]


@frozen
class JudgedExhibit:
    """What a policy says of an exhibit.

    Attributes:
        exhibit: Which.
        decisions: For each role, if a peer in this role showed it.
    """

    exhibit: Exhibit
    decisions: dict[Role, Decision]

    @property
    def until(self) -> datetime | None:
        """When it is refused from on; aware. None if it is refused already, in each role."""
        peers = [one.peer for one in self.decisions.values() if one.peer is not None]
        return min((peer.expires for peer in peers), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data; ``docs/reference/lint.md`` has the form."""
        shown = next(iter(self.decisions.values())).evidence
        until = self.until
        return {
            "file": as_line(self.exhibit.name),
            "whose": str(self.exhibit.ownership),
            "certificate": certificate_dict(self.exhibit.chain[0]),
            "presented": [] if shown is None else shown_names(shown),
            "as": {
                str(role): {
                    "accepted": decision.accepted,
                    "code": str(decision.code),
                    "reason": as_line(decision.reason),
                }
                for role, decision in self.decisions.items()
            },
            "until": None if until is None else until.isoformat(),
        }


def judge_exhibit(policy: TrustPolicy, exhibit: Exhibit, now: datetime) -> JudgedExhibit:
    """Ask a policy about an exhibit, in each role, at a time."""
    evidences = {role: Evidence(exhibit.chain, role, now=now) for role in Role}
    decisions = {role: judge(policy, evidence) for role, evidence in evidences.items()}
    return JudgedExhibit(exhibit, decisions)


def exhibit_findings(judged: JudgedExhibit, now: datetime, days: float) -> Iterator[Finding]:
    """Find what is wrong, or soon will be, with an exhibit.

    Args:
        judged: What the policy says of it.
        now: The time; aware.
        days: How long before an end it is told.
    """
    exhibit = judged.exhibit
    about = f"{as_line(exhibit.name)}: {describe(exhibit.chain[0])}"
    if exhibit.ownership is Ownership.OURS:
        yield from _of_ours(about, judged, now, days)
    else:
        yield from _of_peer(about, judged, now, days)
    for ca in exhibit.intermediates:
        if is_server_only(ca):
            found = "has EKU serverAuth only"
            which = f"{as_line(exhibit.name)}: {describe(ca)}"
            yield Finding(Severity.NOTE, FindingCode.CA_SERVER_ONLY, which, found)


def _of_ours(about: str, judged: JudgedExhibit, now: datetime, days: float) -> Iterator[Finding]:
    chain = judged.exhibit.chain
    has_ended = False
    for notice in Reminder(thresholds(days)).due(now, endings_of_chain(chain)):
        has_ended |= notice.has_ended
        code, severity = FindingCode.CREDENTIAL_ENDS_SOON, Severity.WARNING
        if notice.has_ended:
            code, severity = FindingCode.CREDENTIAL_ENDED, Severity.ERROR
        found = notice.found
        if notice.ending.kind is EndingKind.INTERMEDIATE:
            found = f"sends {notice.ending.name} along, which {found}"
        yield Finding(severity, code, about, found, when=notice.ending.when)
    for decision, told, expected in _refusals(judged):
        if decision.code == Code.PATH_EXPIRED and has_ended:
            continue  # that is what was told
        severity, code = Severity.WARNING, FindingCode.CREDENTIAL_REFUSED
        if decision.code in _ANYWHERE:
            severity, code = Severity.ERROR, FindingCode.CREDENTIAL_UNUSABLE
        yield Finding(severity, code, about, told, expected=expected)
    if is_server_only(chain[0]):
        found = "has EKU serverAuth only"
        yield Finding(Severity.WARNING, FindingCode.CREDENTIAL_SERVER_ONLY, about, found)


def _of_peer(about: str, judged: JudgedExhibit, now: datetime, days: float) -> Iterator[Finding]:
    leaf = judged.exhibit.chain[0]
    dates = {
        Code.PATH_EXPIRED: leaf.not_valid_after_utc,
        Code.PATH_NOT_YET_VALID: leaf.not_valid_before_utc,
    }
    for decision, told, expected in _refusals(judged):
        code, advice = FindingCode.CHAIN_REFUSED, decision.advice
        if decision.code == Code.PURPOSE_UNACCEPTABLE:
            code, advice = FindingCode.CHAIN_PURPOSE, FindingCode.CHAIN_PURPOSE.advice
        when = next((at for one, at in dates.items() if one == decision.code), None)
        advice = advice or code.advice  # a policy of your own may have none
        yield Finding(
            Severity.ERROR, code, about, told, expected=expected, when=when, advice=advice
        )
    until = judged.until
    if until is None:
        return
    # What it rests on may end before the leaf does: a CA, or a status.
    (ending,) = endings_of_chain(judged.exhibit.chain[:1])
    for _ in Reminder(thresholds(days)).due(now, [evolve(ending, when=until)]):
        found = f"is believed no more from {until.isoformat(timespec='seconds')} on"
        yield Finding(Severity.WARNING, FindingCode.CHAIN_ENDS_SOON, about, found, when=until)
    if is_server_only(leaf) and all(one.accepted for one in judged.decisions.values()):
        found = "has EKU serverAuth only"
        yield Finding(Severity.NOTE, FindingCode.CHAIN_SERVER_ONLY, about, found)


def _refusals(judged: JudgedExhibit) -> Iterator[tuple[Decision, str, str]]:
    """Give each refusal, how it is told, and what was expected; one in both roles once."""
    by_code: dict[str, list[Role]] = {}
    for role, decision in judged.decisions.items():
        if not decision.accepted:
            by_code.setdefault(decision.code, []).append(role)
    for code, roles in by_code.items():
        who = "in either role" if len(roles) == len(Role) else f"as a {listed(roles)}"
        decision = judged.decisions[roles[0]]
        fault = decision.fault
        reason, expected = decision.reason, ""
        if fault is not None:
            is_leaf = fault.about == describe(judged.exhibit.chain[0])
            reason = f"{'it' if is_leaf else fault.about} {fault.found}"
            expected = fault.expected
        yield decision, f"is refused {who} with {code}: {reason}", expected
