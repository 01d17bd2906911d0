"""Comparing policies: which differences count, and how they are told."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen
from certificates import NOW, make_ca, make_leaf, show

from siptls import (
    Authority,
    BelievedName,
    Code,
    Comparison,
    ConfigurationError,
    Decision,
    Difference,
    DifferenceKind,
    Enterprise,
    Evidence,
    NameKind,
    Peer,
    Trust,
    compare,
)
from siptls.trust.evidence import MAX_SEARCHES
from siptls.trust.policy import AnyOf

SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "difference-schema.md"

ROOT = make_ca("Contoso CA")
OTHER = make_ca("Other CA")
LEAF = make_leaf(ROOT, "sip:contoso.com")
EVIDENCE = show(LEAF)
OURS = Enterprise(["contoso.com"], Authority("Contoso CA", [ROOT.certificate]))
THEIRS = Enterprise(["contoso.com"], Authority("Other CA", [OTHER.certificate]))


def believed(*names: str, days: int = 1, users: Iterable[str] = (), **how: Any) -> Decision:
    """An acceptance of these domains."""
    given = [BelievedName(name, authority="test", **how) for name in names]
    return Decision.accept(Peer(given, (), NOW + dt.timedelta(days=days), users), "believed")


def refused(code: str = Code.PATH_EXPIRED) -> Decision:
    return Decision.refuse(code, "it is late")


def between(current: Decision, candidate: Decision, evidence: Evidence = EVIDENCE) -> Difference:
    return Difference(evidence, current, candidate)


@frozen
class Answers:
    """A policy that always gives this decision."""

    decision: Decision = field()

    def evaluate(self, evidence: Evidence, /) -> Decision:
        return self.decision


# ---------------------------------------------------------------- what counts

SAID = "a client that presents sip:contoso.com, CN:leaf "
CASES = [
    (
        believed("a.example"),
        refused(),
        DifferenceKind.WOULD_REFUSE,
        "is accepted now, and would be refused: path.expired: it is late",
    ),
    (
        refused(),
        believed("a.example"),
        DifferenceKind.WOULD_ACCEPT,
        "is refused now (path.expired), and would be accepted as domain a.example",
    ),
    (
        believed("a.example", "b.example"),
        believed("b.example", "c.example"),
        DifferenceKind.OTHER_NAMES,
        "would gain domain c.example and lose domain a.example",
    ),
    (
        believed("a.example"),
        believed("a.example", "b.example"),
        DifferenceKind.OTHER_NAMES,
        "would gain domain b.example",
    ),
    (
        believed("a.example"),
        believed("a.example", domain=False, host=True),
        DifferenceKind.OTHER_NAMES,
        "would gain host a.example and lose domain a.example",
    ),
    (
        believed("192.0.2.1", domain=False, kind=NameKind.IP),
        believed("192.0.2.2", domain=False, kind=NameKind.IP),
        DifferenceKind.OTHER_NAMES,
        "would gain address 192.0.2.2 and lose address 192.0.2.1",
    ),
    (
        believed("a.example", users=["alice@a.example"]),
        believed("a.example"),
        DifferenceKind.OTHER_NAMES,
        "would lose user alice@a.example",
    ),
    (
        believed("a.example", trust=Trust.ENTERPRISE),
        believed("a.example"),
        DifferenceKind.OTHER_TRUST,
        "is believed as enterprise a.example now, and would be as public a.example",
    ),
    (
        refused(),
        refused("acme.closed"),
        DifferenceKind.OTHER_REASON,
        "is refused now (path.expired), and would be for another reason: acme.closed",
    ),
    (refused(), refused(), DifferenceKind.NONE, "is decided alike: path.expired"),
    (
        believed("a.example"),
        believed("a.example"),
        DifferenceKind.NONE,
        "is decided alike: accepted",
    ),
]


@pytest.mark.parametrize(("current", "candidate", "kind", "change"), CASES)
def test_a_difference_has_a_kind_and_a_sentence(
    current: Decision, candidate: Decision, kind: DifferenceKind, change: str
) -> None:
    difference = between(current, candidate)
    assert difference.kind is kind
    assert bool(difference) is (kind is not DifferenceKind.NONE)
    assert difference.summary == SAID + change


def test_every_kind_has_been_tried() -> None:
    assert {kind for _, _, kind, _ in CASES} == set(DifferenceKind)


def test_who_vouches_when_it_ends_and_the_words_of_a_reason_do_not_count() -> None:
    renamed = Peer([BelievedName("a.example", authority="new")], (), NOW + dt.timedelta(days=9))
    assert not between(believed("a.example"), Decision.accept(renamed, "in other words"))
    assert not between(refused(), Decision.refuse(Code.PATH_EXPIRED, "in other words"))


def test_the_name_that_is_expected_is_told() -> None:
    evidence = show(LEAF, role="server", reference="sip:fabrikam.com")
    difference = between(believed("a.example"), refused(), evidence)
    assert difference.summary.startswith(
        "a server that presents sip:contoso.com, CN:leaf, where fabrikam.com is expected,"
        " is accepted now"
    )
    assert "server sip:contoso.com, CN:leaf as fabrikam.com  accepted" in str(
        Comparison([difference])
    )


def test_a_peer_without_a_certificate_presents_no_name() -> None:
    difference = between(refused(), refused(), Evidence((), "client", now=NOW))
    assert difference.summary == "a client that presents no name is decided alike: path.expired"
    assert "\nclient no name  path.expired" in str(Comparison([difference]))


def test_a_sentence_is_one_bounded_line_whatever_a_policy_says() -> None:
    difference = between(believed("a.example"), Decision.refuse("x", "a\nb" * 500))
    assert difference.summary.isprintable()
    assert len(difference.summary) < 1100


# ---------------------------------------------------------------- how it is told


def test_a_difference_explains_both_decisions() -> None:
    current, candidate = OURS.evaluate(EVIDENCE), believed("b.example")
    text = between(current, candidate).explain()
    assert text.splitlines()[:6] == [
        f"other-names: {SAID}would gain domain b.example and lose domain contoso.com",
        "  gained     domain b.example",
        "  lost       domain contoso.com",
        "  current",
        "    accepted",
        f"      because    {current.reason}",
    ]
    for decision in (current, candidate):
        assert all(f"    {line}" in text.splitlines() for line in decision.explain().splitlines())


def test_what_has_not_changed_is_not_explained() -> None:
    text = between(refused(), refused("acme.closed")).explain()
    assert "gained" not in text
    assert "lost" not in text


def test_a_difference_is_plain_data() -> None:
    difference = between(OURS.evaluate(EVIDENCE), THEIRS.evaluate(EVIDENCE))
    data = json.loads(json.dumps(difference.to_dict()))
    assert data == difference.to_dict()
    assert data["kind"] == "would-refuse"
    assert data["summary"] == difference.summary
    assert (data["gained"], data["lost"]) == ([], ["domain contoso.com"])
    assert data["current"] == difference.current.to_dict()
    assert data["candidate"] == difference.candidate.to_dict()
    assert data["evidence"]["presented"] == ["sip:contoso.com", "CN:leaf"]


def test_plain_data_has_the_documented_keys_and_kinds() -> None:
    page = SCHEMA.read_text(encoding="utf-8")
    data = between(refused(), refused()).to_dict()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(data)
    (kinds,) = re.findall(r"^\| `kind` \| str \| (.+)\. \|$", page, re.MULTILINE)
    assert re.findall(r"`(\S+)`", kinds) == list(DifferenceKind)
    (told,) = re.findall(r"A comparison is an object with (.+?):", page.replace("(int:", "(int,"))
    assert re.findall(r"`(\S+)`", told) == list(Comparison([]).to_dict())


# ---------------------------------------------------------------- comparing


def test_policies_are_compared_by_what_they_decide() -> None:
    foreign = show(make_leaf(OTHER, "sip:contoso.com"))
    stranger = show(make_leaf(make_ca("Stranger CA"), "sip:contoso.com"))
    comparison = compare(OURS, OURS | THEIRS, iter([EVIDENCE, foreign, stranger]))
    assert comparison
    assert [row.kind for row in comparison.rows] == ["none", "would-accept", "none"]
    assert comparison.differences == (comparison.rows[1],)
    assert [row.evidence for row in comparison.rows] == [EVIDENCE, foreign, stranger]
    assert str(comparison).splitlines() == [
        "1 of 3 would be decided otherwise",
        "peer                             current          candidate        change"
        "        gained              lost",
        "client sip:contoso.com, CN:leaf  accepted         accepted",
        "client sip:contoso.com, CN:leaf  path.unknown-ca  accepted         would-accept"
        "  domain contoso.com",
        "client sip:contoso.com, CN:leaf  path.unknown-ca  path.unknown-ca",
    ]
    assert json.loads(json.dumps(comparison.to_dict())) == {
        "differences": 1,
        "rows": [row.to_dict() for row in comparison.rows],
    }


def test_a_policy_does_not_differ_from_itself() -> None:
    assert not compare(OURS, evolve(OURS), [EVIDENCE])


def test_a_policy_that_raises_has_refused() -> None:
    comparison = compare(OURS, Answers("no decision"), [EVIDENCE])  # type: ignore[arg-type]
    assert comparison.rows[0].candidate.code == Code.POLICY_ERROR


def test_what_one_policy_has_searched_is_not_counted_against_the_other() -> None:
    """Nor against those who are asked about the same evidence later."""
    evidence = show(LEAF)
    crowd = [make_ca("Contoso CA").certificate for _ in range(MAX_SEARCHES)]
    greedy = AnyOf(Enterprise(["contoso.com"], Authority("one of many", [one])) for one in crowd)
    assert compare(greedy, OURS, [evidence]).rows[0].kind is DifferenceKind.WOULD_ACCEPT
    assert compare(OURS, greedy, [evidence]).rows[0].kind is DifferenceKind.WOULD_REFUSE
    assert evidence.memo == {}


@pytest.mark.parametrize(
    ("policies", "evidences", "fault"),
    [
        ((Enterprise, OURS), [EVIDENCE], "Enterprise is a class"),
        ((OURS, "policy.toml"), [EVIDENCE], "a TrustPolicy is needed"),
        ((OURS, OURS), EVIDENCE, "policies by are a list, not an Evidence"),
        ((OURS, OURS), [], "nobody: give some evidence"),
        (
            (OURS, OURS),
            [LEAF.certificate, EVIDENCE, None],
            "by Evidence, and number 1 is a Certificate, number 3 is None: siptls.testing.evidence",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(policies: Any, evidences: Any, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        compare(*policies, evidences)


def test_the_rows_of_a_comparison_are_a_list() -> None:
    with pytest.raises(ConfigurationError, match="the rows of a Comparison are a list"):
        Comparison(None)  # type: ignore[arg-type]
