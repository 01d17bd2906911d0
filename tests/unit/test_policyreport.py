"""The report on a policy file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from trust_map import REFERENCE, day, write

from siptls import ConfigurationError
from siptls.cli.policyreport import map_of_file, report_on
from siptls.trust.findings import FindingCode


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write(tmp_path)


def test_all_that_is_found_is_in_it_the_worst_first(policy: Path) -> None:
    chains = [policy.with_name("fabrikam-edge.pem")]
    report = report_on(
        policy, day(2027, 2, 25), credentials=[policy.with_name("edge.pem")], chains=chains
    )
    assert [f"{one.severity} {one.code}" for one in report.findings] == [
        "error chain.purpose",
        "warning anchor.ends-soon",
        "warning chain.ends-soon",
        "warning credential.server-only",
        "note edge.elsewhere",
        "note partner.public-ca",
    ]
    assert report.summary.endswith(
        "policy.toml: somebody is refused already: 1 error, 3 warnings, 2 notes"
    )
    assert report.trust_map == map_of_file(policy)


def test_at_another_time_it_is_another(policy: Path) -> None:
    codes = {
        at: [str(one.code) for one in report_on(policy, at).findings if one.severity != "note"]
        for at in (day(2026, 12, 1), day(2027, 3, 1), day(2027, 4, 1))
    }
    assert list(codes.values()) == [[], ["anchor.ends-soon"], ["anchor.expired"]]


def test_the_intermediates_of_chains_are_known(policy: Path) -> None:
    """Else their CRLs would be strange; so a chain is read before the policy is looked at."""
    days = report_on(policy, day(2027, 1, 1), days=90)
    assert "anchor.ends-soon" in {str(one.code) for one in days.findings}


def test_a_faulty_policy_is_no_report(policy: Path) -> None:
    policy.write_text("x = 1\n[enterprise]\n")
    with pytest.raises(ConfigurationError) as caught:
        report_on(policy, day(2027, 1, 1))
    assert len(caught.value.faults) == 3


def keys(found: Any, prefix: str = "") -> set[str]:
    """Every key of plain data; of lists all that their items have."""
    if isinstance(found, list):
        return {key for one in found for key in keys(one, prefix)}
    if not isinstance(found, dict) or prefix in {"map.parties.relays", "map.parties.limits"}:
        return set()
    below = {key: f"{prefix}.{key}" if prefix else key for key in found}
    return set(below.values()).union(*(keys(found[key], path) for key, path in below.items()))


def test_the_report_has_the_documented_keys_and_no_others(policy: Path) -> None:
    """Monitoring is built on them."""
    ca = policy.with_name("contoso-ca.pem")
    text = policy.read_text().replace(f'"{ca.name}"', f'"{ca.name}"\nrevocation = "soft"')
    policy.write_text(text)
    chain = policy.with_name("fabrikam-edge.pem")
    found = report_on(policy, day(2027, 2, 25), chains=[chain]).to_dict()
    assert json.loads(json.dumps(found)) == found
    page = (REFERENCE / "lint.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| .+ \|$", page.partition("## JSON")[2], re.MULTILINE)
    assert sorted(rows) == sorted(keys(found))


def test_each_code_is_documented_in_its_order(policy: Path) -> None:
    page = (REFERENCE / "lint.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `([\w.-]+)` \| (.+?) \| .+ \|$", page.partition("## JSON")[0], re.MULTILINE
    )
    assert [code for code, _ in rows] == [str(code) for code in FindingCode]
    severities = {word for _, some in rows for word in some.split(", ")}
    assert severities == {"error", "warning", "note"}
