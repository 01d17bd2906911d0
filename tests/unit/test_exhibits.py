"""Chains that are held against a policy before a peer shows them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from typing import Any

import pytest

from siptls import Credential, Decision, Enterprise, Federation, KeyPurposes, Partner
from siptls.testing import CertificateAuthority
from siptls.trust.exhibits import Exhibit, Ownership, exhibit_findings, judge_exhibit
from siptls.trust.findings import Finding

NOW = dt.datetime(2030, 6, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def authority(name: str, **options: Any) -> CertificateAuthority:
    options = {"not_before": NOW - 1000 * DAY, "not_after": NOW + 1000 * DAY, **options}
    return CertificateAuthority(name, seed="exhibits", **options)


CONTOSO, FABRIKAM, STRANGE = (
    authority("Contoso CA"),
    authority("Fabrikam CA"),
    authority("Strange CA"),
)
ENDING = authority("Ending CA", not_after=NOW + 10 * DAY)
LIMITED = FABRIKAM.intermediate(
    "Web CA", purposes=["serverAuth"], not_before=NOW - DAY, not_after=NOW + 900 * DAY
)
SHORT = CONTOSO.intermediate("Short CA", not_before=NOW - 99 * DAY, not_after=NOW + 9 * DAY)


def issue(ca: CertificateAuthority, *names: str, left: int = 300, **options: Any) -> Credential:
    begin = options.pop("not_before", NOW - 100 * DAY)
    return ca.issue(*names, not_before=begin, not_after=NOW + left * DAY, **options)


def policy(purposes: KeyPurposes = KeyPurposes.SIP) -> Any:
    return Enterprise(["contoso.com"], CONTOSO.authority(purposes=purposes)) | Federation(
        [
            Partner(["fabrikam.com"], FABRIKAM.authority(purposes=purposes)),
            Partner(["ending.example"], ENDING.authority()),
        ]
    )


def findings(
    ownership: str, shown: Credential, purposes: KeyPurposes = KeyPurposes.SIP, days: float = 30
) -> list[Finding]:
    exhibit = Exhibit("chain.pem", Ownership(ownership), shown.chain)
    return list(exhibit_findings(judge_exhibit(policy(purposes), exhibit, NOW), NOW, days))


def told(found: Iterable[Finding]) -> list[str]:
    return [f"{one.severity} {one.code}" for one in found]


OURS, THEIRS = ("sip:contoso.com",), ("sip:fabrikam.com",)
WEB = ["serverAuth"]
ROLE, RFC5924 = KeyPurposes.ROLE, KeyPurposes.RFC5924


@pytest.mark.parametrize(
    ("shown", "purposes", "expected"),
    [
        pytest.param(issue(CONTOSO, *OURS), KeyPurposes.SIP, [], id="good"),
        pytest.param(
            issue(CONTOSO, *OURS, left=-1), KeyPurposes.SIP, ["error credential.ended"], id="ended"
        ),
        pytest.param(
            issue(CONTOSO, *OURS, left=29),
            KeyPurposes.SIP,
            ["warning credential.ends-soon"],
            id="soon",
        ),
        pytest.param(
            issue(SHORT, *OURS), KeyPurposes.SIP, ["warning credential.ends-soon"], id="its-ca-soon"
        ),
        pytest.param(
            issue(CONTOSO, *OURS, not_before=NOW + DAY),
            KeyPurposes.SIP,
            ["error credential.unusable"],
            id="early",
        ),
        pytest.param(
            issue(CONTOSO, *OURS, is_ca=True),
            KeyPurposes.SIP,
            ["error credential.unusable"],
            id="unusable",
        ),
        pytest.param(
            issue(STRANGE, *OURS),
            KeyPurposes.SIP,
            ["warning credential.refused"],
            id="of-another-ca",
        ),
        pytest.param(
            issue(CONTOSO, *OURS, purposes=WEB),
            KeyPurposes.SIP,
            ["warning credential.server-only"],
            id="server-only",
        ),
        pytest.param(
            issue(CONTOSO, *OURS, purposes=WEB),
            ROLE,
            ["warning credential.refused", "warning credential.server-only"],
            id="server-only-and-role",
        ),
    ],
)
def test_ours_is_told(shown: Credential, purposes: KeyPurposes, expected: list[str]) -> None:
    assert told(findings("ours", shown, purposes)) == expected


@pytest.mark.parametrize(
    ("shown", "purposes", "expected"),
    [
        pytest.param(issue(FABRIKAM, *THEIRS), KeyPurposes.SIP, [], id="good"),
        pytest.param(
            issue(FABRIKAM, *THEIRS, left=-1), KeyPurposes.SIP, ["error chain.refused"], id="ended"
        ),
        pytest.param(
            issue(FABRIKAM, *OURS), KeyPurposes.SIP, ["error chain.refused"], id="out-of-scope"
        ),
        pytest.param(
            issue(FABRIKAM, *THEIRS, left=29),
            KeyPurposes.SIP,
            ["warning chain.ends-soon"],
            id="soon",
        ),
        pytest.param(
            issue(ENDING, "sip:ending.example"),
            KeyPurposes.SIP,
            ["warning chain.ends-soon"],
            id="its-ca-soon",
        ),
        pytest.param(
            issue(FABRIKAM, *THEIRS, purposes=WEB),
            KeyPurposes.SIP,
            ["note chain.server-only"],
            id="server-only",
        ),
        pytest.param(
            issue(FABRIKAM, *THEIRS, purposes=WEB), ROLE, ["error chain.purpose"], id="role"
        ),
        pytest.param(
            issue(FABRIKAM, *THEIRS, purposes=WEB), RFC5924, ["error chain.purpose"], id="rfc5924"
        ),
        pytest.param(issue(LIMITED, *THEIRS), KeyPurposes.SIP, ["note ca.server-only"], id="ca"),
    ],
)
def test_a_peers_is_told(shown: Credential, purposes: KeyPurposes, expected: list[str]) -> None:
    assert told(findings("peer", shown, purposes)) == expected


def test_what_is_refused_is_told_with_code_role_and_what_was_expected() -> None:
    (found,) = findings("peer", issue(FABRIKAM, *THEIRS, purposes=WEB), ROLE)
    assert found.found == (
        "is refused as a client with purpose.unacceptable: it has EKU serverAuth only"
    )
    assert found.expected.startswith("EKU with one of any, clientAuth")
    (found,) = findings("peer", issue(FABRIKAM, *OURS))
    assert found.found.startswith("is refused in either role with name.out-of-scope: it vouches")
    assert "impostor" in found.advice


@pytest.mark.parametrize(
    ("shown", "when"),
    [
        (issue(FABRIKAM, *THEIRS, left=-1), NOW - DAY),
        (issue(FABRIKAM, *THEIRS, not_before=NOW + DAY), NOW + DAY),
        (issue(ENDING, "sip:ending.example"), NOW + 10 * DAY),
        (issue(FABRIKAM, *OURS), None),
    ],
)
def test_it_is_told_from_when_on_it_fails(shown: Credential, when: dt.datetime | None) -> None:
    assert [one.when for one in findings("peer", shown)] == [when]


def test_how_long_before_is_chosen() -> None:
    assert told(findings("peer", issue(FABRIKAM, *THEIRS, left=40), days=41)) == [
        "warning chain.ends-soon"
    ]
    assert told(findings("ours", issue(CONTOSO, *OURS, left=40), days=41)) == [
        "warning credential.ends-soon"
    ]


def test_a_policy_of_your_own_that_raises_has_refused_and_has_no_advice() -> None:
    class Own:
        def evaluate(self, evidence: Any, /) -> Any:
            raise LookupError("a\nb")

    exhibit = Exhibit("chain.pem", Ownership.PEER, issue(FABRIKAM, *THEIRS).chain)
    judged = judge_exhibit(Own(), exhibit, NOW)
    (found,) = exhibit_findings(judged, NOW, 30)
    assert "policy.error" in found.found
    assert "\n" not in found.found
    assert found.advice


def test_a_policy_of_your_own_may_give_a_reason_and_nothing_else() -> None:
    class Own:
        def evaluate(self, evidence: Any, /) -> Any:
            return Decision.refuse("mine.alone", "it is Monday")

    exhibit = Exhibit("chain.pem", Ownership.PEER, issue(FABRIKAM, *THEIRS).chain)
    (found,) = exhibit_findings(judge_exhibit(Own(), exhibit, NOW), NOW, 30)
    assert found.found == "is refused in either role with mine.alone: it is Monday"
    assert found.advice == found.code.advice


def test_what_is_said_of_a_chain_is_plain_data() -> None:
    shown = issue(FABRIKAM, *THEIRS, purposes=WEB)
    exhibit = Exhibit("a\nb.pem", Ownership.PEER, shown.chain)
    found = judge_exhibit(policy(ROLE), exhibit, NOW).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert (found["file"], found["whose"]) == ("a\\u000ab.pem", "peer")
    assert found["presented"] == ["sip:fabrikam.com", "CN:fabrikam.com"]
    assert found["until"] == (NOW + 300 * DAY).isoformat()
    assert {role: one["code"] for role, one in found["as"].items()} == {
        "server": "accepted",
        "client": "purpose.unacceptable",
    }
