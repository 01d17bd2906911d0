"""The report on a policy file: its trust map, and what was found.

It reads files and prints nothing. The rules are in ``trust/upkeep.py``, ``trust/overlaps.py`` and
``trust/exhibits.py``; ``cli/policyfolder.py`` looks at the files themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from siptls.cli.chainfile import read_chain
from siptls.cli.policyfolder import folder_findings
from siptls.policyfile import load_policy
from siptls.trust.authority import Authority
from siptls.trust.exhibits import (
    Exhibit,
    JudgedExhibit,
    Ownership,
    exhibit_findings,
    judge_exhibit,
)
from siptls.trust.findings import Finding, Severity, severity_of, summary_of, worst_first
from siptls.trust.overlaps import overlap_findings
from siptls.trust.plain import as_line
from siptls.trust.trustmap import TrustMap
from siptls.trust.upkeep import upkeep_findings

__all__ = ["PolicyReport", "map_of_file", "report_on"]


@frozen
class PolicyReport:
    """What `report_on` gives.

    Attributes:
        policy: The file.
        now: The time for which it holds; aware.
        trust_map: Who may vouch for whom.
        findings: The worst first.
        exhibits: The chains that were asked about, and what the policy says of them.
    """

    policy: str
    now: datetime
    trust_map: TrustMap
    findings: tuple[Finding, ...]
    exhibits: tuple[JudgedExhibit, ...] = ()

    @property
    def severity(self) -> Severity | None:
        """The worst; None if nothing was found."""
        return severity_of(self.findings)

    @property
    def summary(self) -> str:
        """How it stands, in a sentence."""
        return f"{as_line(self.policy)}: {summary_of(self.findings)}"

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data; ``docs/reference/lint.md`` has the form."""
        severities = [one.severity for one in self.findings]
        return {
            "policy": as_line(self.policy),
            "now": self.now.isoformat(),
            "map": self.trust_map.to_dict(),
            "findings": [one.to_dict() for one in self.findings],
            "chains": [one.to_dict() for one in self.exhibits],
            "summary": {
                "severity": None if self.severity is None else str(self.severity),
                "errors": severities.count(Severity.ERROR),
                "warnings": severities.count(Severity.WARNING),
                "notes": severities.count(Severity.NOTE),
                "text": self.summary,
            },
        }


def map_of_file(path: Path) -> TrustMap:
    """Read the trust map off a policy file.

    Raises:
        ConfigurationError: As `load_policy`.
    """
    return TrustMap.of(load_policy(path), public=Authority.public().anchors)


def report_on(
    path: Path,
    now: datetime,
    *,
    days: float = 30,
    credentials: Iterable[Path] = (),
    chains: Iterable[Path] = (),
) -> PolicyReport:
    """Look at a policy file, and at the chains that are to be held against it.

    Args:
        path: The policy file.
        now: As of when; aware.
        days: How long before an end it is told.
        credentials: Files with our own chains.
        chains: Files with the chains of peers.

    Raises:
        ConfigurationError: A file that cannot be read, or a faulty policy: as `load_policy`.
        CertificateError: A chain without a certificate, or with one that cannot be decoded.
    """
    policy = load_policy(path)
    ours, theirs = list(credentials), list(chains)
    exhibits = [
        *(Exhibit(str(one), Ownership.OURS, read_chain(one)) for one in ours),
        *(Exhibit(str(one), Ownership.PEER, read_chain(one)) for one in theirs),
    ]
    trust_map = TrustMap.of(policy, public=Authority.public().anchors)
    judged = [judge_exhibit(policy, one, now) for one in exhibits]
    cas = [ca for one in exhibits for ca in one.intermediates]
    findings = [
        *upkeep_findings(trust_map, now, days, cas),
        *overlap_findings(trust_map),
        *(found for one in judged for found in exhibit_findings(one, now, days)),
        *folder_findings(path, (*ours, *theirs)),
    ]
    return PolicyReport(str(path), now, trust_map, worst_first(findings), tuple(judged))
