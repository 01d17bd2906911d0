"""Federation: each partner is believed for its own domains, and for no others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import pytest
from attrs import evolve, frozen
from certificates import NOW, YEAR, Made, make_ca, make_leaf, raw, show
from hypothesis import given
from hypothesis import strategies as st

from siptls import (
    Authority,
    Code,
    ConfigurationError,
    Decision,
    Discovery,
    Enterprise,
    Evidence,
    Federation,
    NameRules,
    Partner,
    ReferenceIdentity,
    Role,
    TrafficLimits,
    Trust,
    Verification,
)
from siptls.trust.policy import judge


@pytest.fixture(scope="module")
def contoso() -> Made:
    """Our own CA; with dates of its own, unlike the fixture of that name for all tests."""
    return make_ca("Contoso CA")


@pytest.fixture(scope="module")
def fabrikam() -> Made:
    return make_ca("Fabrikam CA")


@pytest.fixture(scope="module")
def northwind() -> Made:
    return make_ca("Northwind CA")


def authority(made: Made) -> Authority:
    return Authority(
        made.certificate.subject.rfc4514_string().removeprefix("CN="), [made.certificate]
    )


@pytest.fixture(scope="module")
def federation(fabrikam: Made, northwind: Made) -> Federation:
    return Federation(
        [
            Partner(["fabrikam.com", "fabrikam.net"], authority(fabrikam)),
            Partner(["northwind.example"], authority(northwind)),
        ]
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each authority that is asked for a path, in order."""
    names: list[str] = []
    verify = Authority.verify

    def counted(self: Authority, evidence: Evidence) -> Any:
        names.append(self.name)
        return verify(self, evidence)

    monkeypatch.setattr(Authority, "verify", counted)
    return names


def domains(decision: Decision) -> frozenset[str]:
    return frozenset() if decision.peer is None else decision.peer.domains


# ---------------------------------------------------------------- Partner


def test_a_partner_is_believed_for_its_domains(fabrikam: Made) -> None:
    partner = Partner(["fabrikam.com"], authority(fabrikam))
    decision = partner.evaluate(show(make_leaf(fabrikam, "sip:eu.fabrikam.com")))
    assert decision.peer is not None
    assert decision.peer.domains == {"eu.fabrikam.com"}
    assert decision.peer.trust is Trust.FEDERATED
    assert decision.by == "Partner fabrikam.com"
    for name in ("sip:contoso.com", "sip:evilfabrikam.com", "com"):
        refused = partner.evaluate(show(make_leaf(fabrikam, name)))
        assert refused.code == Code.NAME_OUT_OF_SCOPE


def test_a_partner_has_its_own_name_rules(fabrikam: Made) -> None:
    leaf = show(make_leaf(fabrikam, subject="sip.fabrikam.com"))
    strict = Partner(["fabrikam.com"], authority(fabrikam))
    lenient = Partner(["fabrikam.com"], authority(fabrikam), names=NameRules.OCS)
    assert strict.evaluate(leaf).code == Code.NAME_NONE
    assert lenient.evaluate(leaf).accepted
    assert Federation([lenient]).evaluate(leaf).accepted


@pytest.mark.parametrize("faulty", [[], "fabrikam.com", ["192.0.2.1"]])
def test_a_partner_has_domains(fabrikam: Made, faulty: Any) -> None:
    with pytest.raises(ConfigurationError):
        Partner(faulty, authority(fabrikam))


# ---------------------------------------------------------------- who is believed


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    "names",
    [
        ["sip:fabrikam.com"],
        ["sip:a.b.fabrikam.net"],
        ["sip.fabrikam.com"],
        ["sip:fabrikam.com", "sip:fabrikam.net"],
    ],
)
def test_a_partner_of_the_federation_is_believed(
    federation: Federation, fabrikam: Made, names: list[str], role: Role
) -> None:
    decision = federation.evaluate(show(make_leaf(fabrikam, *names), role=role))
    assert domains(decision) == {name.removeprefix("sip:") for name in names}
    assert decision.by == "Federation"
    assert [part.by for part in decision.parts] == ["Partner fabrikam.com, fabrikam.net"]


def test_outbound_the_expected_partner_is_believed(federation: Federation, fabrikam: Made) -> None:
    """One partner does not answer for another, nor one of its domains for the other."""
    leaf = make_leaf(fabrikam, "sip:fabrikam.com")
    for expected, code in [
        ("fabrikam.com", Code.ACCEPTED),
        ("fabrikam.net", Code.NAME_MISMATCH),
        ("northwind.example", Code.NAME_MISMATCH),
        ("contoso.com", Code.NAME_MISMATCH),
    ]:
        evidence = show(leaf, role="server", reference=expected)
        assert federation.evaluate(evidence).code == code


@pytest.mark.parametrize(("role", "reference"), [("client", None), ("server", "contoso.com")])
def test_a_partner_cannot_speak_for_us(
    federation: Federation, contoso: Made, fabrikam: Made, role: str, reference: str | None
) -> None:
    """THE attack: Fabrikam's CA, which we know, vouches for a name of ours."""
    policy = Enterprise(["contoso.com"], authority(contoso)) | federation
    evidence = show(make_leaf(fabrikam, "sip:contoso.com"), role=role, reference=reference)
    for asked in (federation, policy):
        decision = judge(asked, evidence)
        assert decision.code == Code.NAME_OUT_OF_SCOPE
        assert decision.reason.endswith(
            " vouches for contoso.com; expected fabrikam.com, fabrikam.net or what is below:"
            " Fabrikam CA may vouch for nothing else"
        )
    # The twin: our own CA says so.
    ours = show(make_leaf(contoso, "sip:contoso.com"), role=role, reference=reference)
    assert domains(judge(policy, ours)) == {"contoso.com"}


def test_a_partner_cannot_speak_for_another(
    federation: Federation, fabrikam: Made, northwind: Made
) -> None:
    decision = federation.evaluate(show(make_leaf(northwind, "sip:fabrikam.com")))
    assert decision.code == Code.NAME_OUT_OF_SCOPE
    assert "Northwind CA may vouch for nothing else" in decision.reason
    # The partner that was meant is in the explanation, too.
    assert {part.code for part in decision.parts} == {Code.PATH_UNKNOWN_CA, Code.NAME_OUT_OF_SCOPE}
    assert federation.evaluate(show(make_leaf(fabrikam, "sip:fabrikam.com"))).accepted


def test_of_a_partners_name_and_ours_only_the_partners_is_believed(
    federation: Federation, contoso: Made, fabrikam: Made
) -> None:
    """Inbound it is Fabrikam and no more; whoever asked for us gets nobody."""
    policy = Enterprise(["contoso.com"], authority(contoso)) | federation
    leaf = make_leaf(fabrikam, "sip:fabrikam.com", "sip:contoso.com", "sip:northwind.example")
    decision = judge(policy, show(leaf))
    assert domains(decision) == {"fabrikam.com"}
    assert "sip:contoso.com: dropped" in decision.explain()
    outbound = judge(policy, show(leaf, role="server", reference="contoso.com"))
    assert outbound.code == Code.NAME_OUT_OF_SCOPE
    assert judge(policy, show(leaf, role="server", reference="fabrikam.com")).accepted


def test_a_user_of_a_partner_is_no_partner(federation: Federation, fabrikam: Made) -> None:
    """No domain is presented; the CA is the partner's, so the partner's answer is told."""
    decision = federation.evaluate(show(make_leaf(fabrikam, "sip:alice@fabrikam.com")))
    assert decision.code == Code.NAME_NONE
    assert [part.by for part in decision.parts] == ["Partner fabrikam.com, fabrikam.net"]


# ---------------------------------------------------------------- who is not


def test_a_partners_ca_with_a_name_that_nobody_listed(
    federation: Federation, fabrikam: Made
) -> None:
    """The CA is known, so the code is not ``partner.unknown``."""
    decision = federation.evaluate(show(make_leaf(fabrikam, "sip:unlisted.example")))
    assert decision.code == Code.NAME_OUT_OF_SCOPE


def test_a_partners_ca_is_found_above_its_intermediates(
    federation: Federation, fabrikam: Made
) -> None:
    intermediate = make_ca("Fabrikam Issuing CA", fabrikam)
    leaf = make_leaf(intermediate, "sip:unlisted.example")
    assert federation.evaluate(show(leaf, intermediate)).code == Code.NAME_OUT_OF_SCOPE
    # Nothing leads to the partner if it is not sent along.
    assert federation.evaluate(show(leaf)).code == Code.PARTNER_UNKNOWN


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["sip:unlisted.example"], "sip:unlisted.example, CN:leaf"),
        (["sip:alice@a.example"], "sip:alice@a.example, CN:leaf"),
    ],
)
def test_a_stranger_is_no_partner(federation: Federation, names: list[str], shown: str) -> None:
    """Neither the name nor the CA is a partner's."""
    decision = federation.evaluate(show(make_leaf(make_ca("Stranger CA"), *names)))
    assert decision.code == Code.PARTNER_UNKNOWN
    assert decision.reason == (
        f"the peer presents {shown}, and no partner's CA issued its certificate;"
        " expected a partner, of whom there are 2"
    )
    assert decision.parts == ()


def test_a_stranger_with_a_partners_name(federation: Federation) -> None:
    decision = federation.evaluate(show(make_leaf(make_ca("Stranger CA"), "sip:fabrikam.com")))
    assert decision.code == Code.PATH_UNKNOWN_CA
    assert "Fabrikam CA" in decision.reason


def test_a_forger_of_a_partners_ca(federation: Federation) -> None:
    """Under the partner's name, and under another: told as forged in both."""
    forger = make_ca("Fabrikam CA")
    for name in ("sip:fabrikam.com", "sip:unlisted.example"):
        decision = federation.evaluate(show(make_leaf(forger, name)))
        assert decision.code == Code.PATH_SIGNATURE


def test_a_partners_expired_certificate(federation: Federation, fabrikam: Made) -> None:
    leaf = make_leaf(fabrikam, "sip:fabrikam.com")
    assert federation.evaluate(show(leaf, now=NOW + 2 * YEAR)).code == Code.PATH_EXPIRED


def test_no_certificate_and_a_broken_one(federation: Federation, fabrikam: Made) -> None:
    assert federation.evaluate(show()).code == Code.CERTIFICATE_MISSING
    broken = make_leaf(
        fabrikam, "sip:fabrikam.com", more=[raw("2.5.29.37", b"\x05\x00", critical=False)]
    )
    for policy in (federation, Federation(federation.partners, blocked=["evil.example"])):
        assert policy.evaluate(show(broken)).code == Code.CERTIFICATE_MALFORMED


@pytest.mark.parametrize("name", ["sip:fabrikam.com", "sip:evil.example"])
@pytest.mark.parametrize("ca", ["partner", "stranger"])
def test_a_decision_holds_what_was_judged(
    federation: Federation, fabrikam: Made, name: str, ca: str
) -> None:
    issuer = fabrikam if ca == "partner" else make_ca("Stranger CA")
    evidence = show(make_leaf(issuer, name))
    for policy in (federation, Federation(federation.partners, blocked=["evil.example"])):
        assert policy.evaluate(evidence).evidence is evidence


# ---------------------------------------------------------------- blocked


@pytest.fixture(scope="module")
def blocking(federation: Federation) -> Federation:
    return Federation(federation.partners, blocked=["eu.fabrikam.com", "Evil.example"])


@pytest.mark.parametrize(
    ("names", "blocked"),
    [
        (["sip:eu.fabrikam.com"], "eu.fabrikam.com"),
        (["sip:a.eu.fabrikam.com"], "a.eu.fabrikam.com"),
        # One blocked name spoils the certificate, in whatever form it is presented.
        (["sip:fabrikam.com", "sip:evil.example"], "evil.example"),
        (["sip:fabrikam.com", "evil.example"], "evil.example"),
        (["sip:fabrikam.com", "sip:bob@evil.example"], "evil.example"),
        (["sip:fabrikam.com", "sips:evil.example"], "evil.example"),
        (["sip:fabrikam.com"], ""),
        (["sip:neu.fabrikam.com"], ""),
    ],
)
def test_who_presents_a_blocked_name_is_refused(
    blocking: Federation, fabrikam: Made, names: list[str], blocked: str
) -> None:
    decision = blocking.evaluate(show(make_leaf(fabrikam, *names)))
    if blocked:
        assert decision.code == Code.PARTNER_BLOCKED
        assert decision.reason == (
            f"the peer has to do with {blocked}; expected no name of a blocked domain"
        )
    else:
        assert decision.accepted


def test_a_blocked_name_is_not_connected_to(blocking: Federation, fabrikam: Made) -> None:
    """Whatever the peer presents."""
    leaf = make_leaf(fabrikam, "sip:fabrikam.com")
    blocked = show(leaf, role="server", reference="a.evil.example")
    assert blocking.evaluate(blocked).code == Code.PARTNER_BLOCKED
    host = ReferenceIdentity("fabrikam.com", "sip.evil.example")
    blocked = show(leaf, role="server", reference=host)
    assert blocking.evaluate(blocked).code == Code.PARTNER_BLOCKED
    assert blocking.evaluate(show(leaf, role="server", reference="fabrikam.com")).accepted


def test_blocking_costs_no_path(blocking: Federation, fabrikam: Made, asked: list[str]) -> None:
    """The certificate need not be proven to be refused."""
    blocking.evaluate(show(make_leaf(fabrikam, "sip:eu.fabrikam.com")))
    assert asked == []


def test_nothing_is_blocked_by_default(federation: Federation) -> None:
    assert federation.blocked is None
    assert Federation(federation.partners, blocked=[]) == federation


def test_a_faulty_block_list_is_refused(federation: Federation) -> None:
    """A typing error in it must not leave a domain open."""
    with pytest.raises(ConfigurationError):
        Federation(federation.partners, blocked=["*.evil.example"])


def test_one_blocked_domain_as_a_string_is_refused(federation: Federation) -> None:
    """Its letters are never taken for domains."""
    with pytest.raises(ConfigurationError, match="a list"):
        Federation(federation.partners, blocked="evil.example")


# ---------------------------------------------------------------- several partners


def test_partners_that_share_a_ca_are_told_apart(fabrikam: Made) -> None:
    """A hosting provider's CA for two customers: each proves its own names only."""
    shared = authority(fabrikam)
    federation = Federation([Partner(["a.example"], shared), Partner(["b.example"], shared)])
    for name in ("a.example", "b.example"):
        decision = federation.evaluate(show(make_leaf(fabrikam, f"sip:{name}")))
        assert domains(decision) == {name}
    both = federation.evaluate(show(make_leaf(fabrikam, "sip:a.example", "sip:b.example")))
    assert domains(both) == {"a.example", "b.example"}
    other = federation.evaluate(show(make_leaf(fabrikam, "sip:c.example")))
    assert other.code == Code.NAME_OUT_OF_SCOPE


def test_a_shared_ca_is_asked_once_on_the_way_to_a_refusal(
    fabrikam: Made, asked: list[str]
) -> None:
    """A thousand customers of one provider are one authority."""
    shared = authority(fabrikam)
    federation = Federation([Partner([f"p{n}.example"], shared) for n in range(1000)])
    decision = federation.evaluate(show(make_leaf(fabrikam, "sip:unlisted.example")))
    assert decision.code == Code.NAME_OUT_OF_SCOPE
    assert asked == ["Fabrikam CA"]
    # The first partner that has it answers for it: the explanation does not change from run to run.
    assert [part.by for part in decision.parts] == ["Partner p0.example"]


def test_two_partners_cannot_claim_one_domain(fabrikam: Made, northwind: Made) -> None:
    """Which of the two CAs speaks for it is not for us to guess; each such domain is named."""
    first = Partner(["a.example", "b.example", "c.example"], authority(fabrikam))
    second = Partner(["B.example", "c.example", "d.example"], authority(northwind))
    with pytest.raises(
        ConfigurationError, match=r"claimed by two partners: b\.example, c\.example;"
    ):
        Federation([first, second])
    assert Federation([first, first]).partners == (first, first)


def test_a_partner_below_another(fabrikam: Made, northwind: Made) -> None:
    """A subsidiary with a CA of its own: each CA counts for what stands beside it."""
    parent = Partner(["fabrikam.com"], authority(fabrikam))
    subsidiary = Partner(["eu.fabrikam.com"], authority(northwind))
    federation = Federation([parent, subsidiary])
    assert federation.evaluate(show(make_leaf(northwind, "sip:a.eu.fabrikam.com"))).accepted
    up = federation.evaluate(show(make_leaf(northwind, "sip:fabrikam.com")))
    assert up.code == Code.NAME_OUT_OF_SCOPE


def test_each_name_is_held_against_its_own_partner(
    federation: Federation, fabrikam: Made, northwind: Made
) -> None:
    """Whoever has partners' names in his certificate needs each one's CA for each."""
    leaf = make_leaf(fabrikam, "sip:fabrikam.com", "sip:northwind.example")
    decision = federation.evaluate(show(leaf))
    assert domains(decision) == {"fabrikam.com"}
    assert {part.by: part.code for part in decision.parts} == {
        "Partner fabrikam.com, fabrikam.net": Code.ACCEPTED,
        "Partner northwind.example": Code.PATH_UNKNOWN_CA,
    }


NAMES = ["fabrikam.com", "eu.fabrikam.com", "northwind.example", "contoso.com", "evil.example"]


@given(st.sets(st.sampled_from(NAMES), min_size=1), st.sampled_from(["fabrikam", "northwind"]))
def test_a_federation_believes_what_its_partners_believe(
    federation: Federation, fabrikam: Made, northwind: Made, names: Iterable[str], issuer: str
) -> None:
    """The look-up by names is a short cut: it gives what asking every partner gives."""
    made = {"fabrikam": fabrikam, "northwind": northwind}[issuer]
    evidence = show(make_leaf(made, *(f"sip:{name}" for name in sorted(names)), key=made.key))
    each = [domains(partner.evaluate(evidence)) for partner in federation.partners]
    assert domains(federation.evaluate(evidence)) == frozenset().union(*each)


# ---------------------------------------------------------------- what it costs


def crowd(partner: Partner, size: int) -> Federation:
    """Give a federation of that many partners, of which this is one."""
    ca = make_ca("Crowd CA")
    others = [Partner([f"p{n}.example"], authority(ca)) for n in range(size - 1)]
    return Federation([*others, partner])


@pytest.mark.parametrize("size", [2, 2000])
def test_the_cost_does_not_grow_with_the_partners(
    fabrikam: Made, asked: list[str], size: int
) -> None:
    """One path for a partner, one for an impostor's claim, none for a stranger."""
    federation = crowd(Partner(["fabrikam.com"], authority(fabrikam)), size)
    stranger = make_ca("Stranger CA")
    for leaf, expected in [
        (make_leaf(fabrikam, "sip:fabrikam.com"), ["Fabrikam CA"]),
        (make_leaf(fabrikam, "sip:unlisted.example"), ["Fabrikam CA"]),
        (make_leaf(stranger, "sip:fabrikam.com"), ["Fabrikam CA"]),
        (make_leaf(stranger, "sip:unlisted.example"), []),
    ]:
        asked.clear()
        federation.evaluate(show(leaf))
        assert asked == expected


def test_many_cas_of_one_name_cost_a_few_signatures_only(asked: list[str]) -> None:
    """CN=Root CA is a popular name: a stranger must not have us ask a thousand of that name."""
    roots = [make_ca("Root CA") for _ in range(12)]
    federation = Federation(
        [Partner([f"p{n}.example"], authority(root)) for n, root in enumerate(roots)]
    )
    decision = federation.evaluate(show(make_leaf(make_ca("Root CA"), "sip:unlisted.example")))
    assert decision.code == Code.PATH_SIGNATURE
    assert len(asked) == 8
    # A partner that is meant is asked, wherever it stands.
    assert federation.evaluate(show(make_leaf(roots[11], "sip:p11.example"))).accepted


def test_a_partner_that_was_meant_is_not_asked_again(
    federation: Federation, fabrikam: Made, asked: list[str]
) -> None:
    """Its refusal stands in the explanation once."""
    evidence = show(make_leaf(fabrikam, "sip:fabrikam.com"), role="server", reference="a.example")
    decision = federation.evaluate(evidence)
    assert decision.code == Code.NAME_MISMATCH
    assert asked == ["Fabrikam CA"]
    assert len(decision.parts) == 1


# ---------------------------------------------------------------- building


def test_a_federation_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Federation without partners"):
        Federation([])


def test_a_policy_that_is_no_partner_is_refused(contoso: Made, federation: Federation) -> None:
    ours = Enterprise(["contoso.com"], authority(contoso))
    with pytest.raises(ConfigurationError, match=r"no Partner; combine policies with \|"):
        Federation([*federation.partners, ours])  # type: ignore[list-item]


def test_something_else_that_is_no_partner_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Federation(["fabrikam.com"])  # type: ignore[list-item]


def test_only_an_empty_list_blocks_nothing(federation: Federation) -> None:
    """An empty text was meant to be a list, and whoever fills it later is refused anyway."""
    for nothing in ([], (), None):
        assert Federation(federation.partners, blocked=nothing).blocked is None
    with pytest.raises(ConfigurationError, match="domains are a list"):
        Federation(federation.partners, blocked="")


def test_a_block_list_that_is_no_list_is_refused(federation: Federation) -> None:
    with pytest.raises(ConfigurationError, match="blocked domains are a list, not an int"):
        Federation(federation.partners, blocked=5)  # type: ignore[arg-type]


def test_a_federation_blocks_names_that_are_no_domains(
    blocking: Federation, fabrikam: Made
) -> None:
    assert blocking.blocked is not None
    (domain, *_) = sorted(blocking.blocked.domains)
    evidence = show(make_leaf(fabrikam, "sip:fabrikam.com", f"x_y.{domain}"))
    assert evolve(blocking, blocked=None).evaluate(evidence).accepted
    assert blocking.evaluate(evidence).code == Code.PARTNER_BLOCKED


def test_a_federation_is_a_value(federation: Federation) -> None:
    assert federation == Federation(iter(federation.partners))
    assert federation != Federation(federation.partners[:1])
    assert federation.partners[0].domains.covers("fabrikam.net")


def test_a_federation_and_a_partner_evolve(blocking: Federation) -> None:
    """To add a partner to a federation that blocks somebody, or to change a partner's rules."""
    assert evolve(blocking).blocked == blocking.blocked
    assert evolve(blocking.partners[0], names=NameRules.OCS).names is NameRules.OCS


def test_a_partner_under_a_wildcard_is_found_by_the_expected_name(fabrikam: Made) -> None:
    partner = Partner(["fabrikam.com"], authority(fabrikam), names=NameRules.TEAMS)
    federation = Federation([partner])
    evidence = show(
        make_leaf(fabrikam, "*.fabrikam.com"), role="server", reference="sip.fabrikam.com"
    )
    assert domains(federation.evaluate(evidence)) == {"sip.fabrikam.com"}
    inbound = show(make_leaf(fabrikam, "*.fabrikam.com"))
    assert federation.evaluate(inbound).code == Code.NAME_NONE


def test_a_partner_alone_is_no_list_of_partners(fabrikam: Made) -> None:
    with pytest.raises(ConfigurationError, match="partners are a list: write Federation"):
        Federation(Partner(["fabrikam.com"], authority(fabrikam)))  # type: ignore[arg-type]


def test_a_federation_tells_whom_it_asks(fabrikam: Made, northwind: Made) -> None:
    partners = [
        Partner(["a.example"], authority(fabrikam)),
        Partner(["b.example"], authority(northwind)),
    ]
    assert Federation(partners).authorities == {one.authority for one in partners}
    assert partners[0].authorities == {partners[0].authority}


def test_a_thousand_partners_behind_one_ca_cost_one_search(
    fabrikam: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's certificate may claim to be all of them at once."""
    searches: list[object] = []
    build = Authority._build

    def watch(one: Authority, evidence: Evidence) -> object:
        searches.append(one)
        return build(one, evidence)

    monkeypatch.setattr(Authority, "_build", watch)
    shared = authority(fabrikam)
    names = [f"p{number}.example" for number in range(900)]
    federation = Federation([Partner([name], shared) for name in names])
    forged = show(make_leaf(make_ca("Fabrikam CA"), *names))
    assert federation.evaluate(forged).code == Code.PATH_SIGNATURE
    assert len(searches) == 1
    accepted = federation.evaluate(show(make_leaf(fabrikam, *names)))
    assert domains(accepted) == set(names)
    assert len(searches) == 2


def test_an_issuer_that_is_named_only_makes_nobody_a_partner(
    federation: Federation, fabrikam: Made
) -> None:
    """A certificate of the partner's beside a stranger's: its CA is asked, and knows nothing."""
    stray = make_leaf(fabrikam, "sip:fabrikam.com")
    decision = federation.evaluate(show(make_leaf(make_ca("Stranger CA"), "sip:a.example"), stray))
    assert [part.code for part in decision.parts] == [Code.PATH_UNKNOWN_CA]
    assert decision.code == Code.PATH_UNKNOWN_CA
    assert not decision.concerned


@pytest.mark.parametrize(
    ("presented", "expected", "code"),
    [
        ("*.fabrikam.com", "sip.fabrikam.com", Code.ACCEPTED),
        ("*.fabrikam.com", "fabrikam.com", Code.NAME_MISMATCH),
        ("*.northwind.example", "sip.northwind.example", Code.NAME_OUT_OF_SCOPE),
        ("*.fabrikam.com", "sip.contoso.com", Code.NAME_MISMATCH),
    ],
)
def test_a_partners_wildcard_is_found_by_the_expected_name(
    fabrikam: Made, northwind: Made, presented: str, expected: str, code: Code
) -> None:
    """It stands for no name by itself: the one that we ask for says which partner is meant."""
    web = {"names": NameRules.RFC9525}
    partner = Partner(["fabrikam.com"], authority(fabrikam), **web)
    federation = Federation([partner, Partner(["northwind.example"], authority(northwind), **web)])
    leaf = make_leaf(fabrikam, presented)
    decision = federation.evaluate(show(leaf, role="server", reference=expected))
    assert decision.code == code
    assert domains(decision) == ({expected} if code is Code.ACCEPTED else set())
    # Nobody expected: it is the partner's CA, and no name.
    assert federation.evaluate(show(leaf)).code == Code.NAME_NONE


def test_a_wildcard_is_no_name_of_a_partner_under_the_rules_of_sip(
    federation: Federation, fabrikam: Made
) -> None:
    leaf = make_leaf(fabrikam, "*.fabrikam.com")
    decision = federation.evaluate(show(leaf, role="server", reference="sip.fabrikam.com"))
    assert decision.code == Code.NAME_NONE
    assert [part.by for part in decision.parts] == ["Partner fabrikam.com, fabrikam.net"]


def calls(work: Callable[[], object]) -> int:
    """Count the calls of functions in a piece of work: what it costs, on any machine."""
    count = 0

    def counted(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("issued_by", ["Fabrikam CA", "Stranger CA"])
@pytest.mark.parametrize("what", ["sip:p{}.example", "p{}.example", "sip:alice@p{}.example"])
def test_the_cost_of_a_thousand_names_of_a_thousand_partners_is_that_of_a_list(
    fabrikam: Made, issued_by: str, what: str
) -> None:
    """A hoster's edge has a name for each customer. Ten times as many cost ten times as much."""
    shared = authority(fabrikam)
    issuer = fabrikam if issued_by == "Fabrikam CA" else make_ca(issued_by)
    costs = []
    for size in (100, 1000):
        federation = Federation([Partner([f"p{n}.example"], shared) for n in range(size)])
        names = [what.format(n) for n in range(size - 1)]  # and the common name
        evidence = show(make_leaf(issuer, *names))
        assert evidence.fault is None
        costs.append(calls(lambda: judge(federation, evidence)))  # noqa: B023  called at once
    assert costs[1] < 12 * costs[0]


@pytest.mark.parametrize("meant", [[], ["p7.example"], ["p7.example", "a.p9.example"]])
def test_a_thousand_names_are_looked_up_and_no_other_partner_is_looked_at(
    fabrikam: Made, monkeypatch: pytest.MonkeyPatch, meant: list[str]
) -> None:
    shared = authority(fabrikam)
    federation = Federation([Partner([f"p{n}.example"], shared) for n in range(1000)])
    looked_at: set[str] = set()
    domains_of = Partner.domains.__get__

    def counted(self: Partner) -> Any:
        scope = domains_of(self, Partner)
        looked_at.add(str(scope))
        return scope

    monkeypatch.setattr(Partner, "domains", property(counted))
    names = [f"sip:x{n}.unlisted" for n in range(900)] + [f"sip:{name}" for name in meant]
    federation.evaluate(show(make_leaf(make_ca("Stranger CA"), *names)))
    assert looked_at == {name.removeprefix("a.") for name in meant}


def test_a_thousand_partners_that_share_a_ca_cost_one_path(
    fabrikam: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are meant, and believed; the search is made once."""
    searches: list[str] = []
    build = Authority._build

    def counted(self: Authority, evidence: Evidence) -> Any:
        searches.append(self.name)
        return build(self, evidence)

    monkeypatch.setattr(Authority, "_build", counted)
    shared = authority(fabrikam)
    names = [f"p{n}.example" for n in range(999)]
    federation = Federation([Partner([name], shared) for name in names])
    decision = federation.evaluate(show(make_leaf(fabrikam, *(f"sip:{name}" for name in names))))
    assert domains(decision) == set(names)
    assert searches == ["Fabrikam CA"]
    assert len(decision.explain()) < 50_000


def test_one_partner_is_written_as_a_list(federation: Federation) -> None:
    with pytest.raises(ConfigurationError, match=r"write Federation\(\[Partner\(\.\.\.\)\]\)"):
        Federation(federation.partners[0])  # type: ignore[arg-type]


def test_a_federation_asks_the_authorities_of_its_partners(
    federation: Federation, fabrikam: Made, northwind: Made
) -> None:
    """Partners that share one have it once."""
    both = {authority(fabrikam), authority(northwind)}
    assert federation.authorities == both
    assert Federation(federation.partners[:1]).authorities == {authority(fabrikam)}
    assert federation.partners[1].authorities == {authority(northwind)}


# ---------------------------------------------------------------- the three modes

CAS = {
    name: make_ca(f"{name.title()} CA")
    for name in ("fabrikam", "northwind", "hoster", "cloud", "public", "shared", "unknown")
}
STRANGERS = TrafficLimits(messages_per_second=5)
TIGHT = TrafficLimits(messages_per_second=1)


def of(ca: str) -> Authority:
    return Authority(CAS[ca].certificate.subject.rfc4514_string(), [CAS[ca].certificate])


PARTNERS = [
    Partner(["fabrikam.com", "fabrikam.net"], of("fabrikam")),
    Partner(["northwind.example"], of("northwind"), limits=TIGHT),
    Partner(["tailspin.example"], of("shared")),  # a CA that vouches for strangers, too
    Partner(["eu.proseware.example"], of("northwind")),
    # A fixed edge: one of his own, a hoster's that two of them share, and one below a wildcard.
    Partner(["litware.example"], of("northwind"), edge="edge.litware.example"),
    Partner(["adatum.example"], of("hoster"), edge="edge.hoster.example"),
    Partner(["adventure.example"], of("hoster"), edge="edge.hoster.example", limits=TIGHT),
    Partner(["fourth.example"], of("cloud"), edge="sip.cloud.example", names=NameRules.TEAMS),
    Partner(["city.example"], of("shared"), edge="edge.shared.example"),
]
EVERYBODY = [of("public"), of("shared")]
OTHERS: dict[str, Any] = {"own": ["contoso.com"], "limits": STRANGERS, "blocked": ["evil.example"]}
MODES = {
    "closed": Federation.closed(PARTNERS, blocked=["evil.example"]),
    "discovering": Federation.discovering(PARTNERS, EVERYBODY, **OTHERS),
    "open": Federation.open(EVERYBODY, **OTHERS),
}


@frozen
class Is:
    """Believed: for these domains, on this ground, within these limits."""

    domains: frozenset[str]
    trust: Trust
    limits: TrafficLimits | None


def listed_as(*names: str, limits: TrafficLimits | None = None) -> Is:
    return Is(frozenset(names), Trust.FEDERATED, limits)


def found_as(*names: str) -> Is:
    return Is(frozenset(names), Trust.DISCOVERED, STRANGERS)


OUT, MISMATCH, BLOCKED = Code.NAME_OUT_OF_SCOPE, Code.NAME_MISMATCH, Code.PARTNER_BLOCKED
NO_CA, NOBODY = Code.PATH_UNKNOWN_CA, Code.PARTNER_UNKNOWN
FABRIKAM, STRANGER = "sip:fabrikam.com", "sip:woodgrove.example"
LITWARE_EDGE, HOSTER_EDGE = "edge.litware.example", "edge.hoster.example"
LITWARE = listed_as(LITWARE_EDGE, "litware.example")
HOSTED = listed_as("adatum.example", "adventure.example", limits=TIGHT)
BOTH = found_as("woodgrove.example", "fabrikam.com")
FOURTH, CITY = listed_as("fourth.example"), listed_as("city.example")
ADATUM, ADVENTURE = listed_as("adatum.example"), listed_as("adventure.example", limits=TIGHT)

# What the peer shows, and what a closed, a discovering and an open federation make of it.
INBOUND: list[tuple[str, list[str], Is | Code, Is | Code, Is | Code]] = [
    # A partner, and one with limits; nobody of them is known where nobody is listed.
    ("fabrikam", [FABRIKAM], listed_as("fabrikam.com"), listed_as("fabrikam.com"), NO_CA),
    (
        "northwind",
        ["sip:northwind.example"],
        listed_as("northwind.example", limits=TIGHT),
        listed_as("northwind.example", limits=TIGHT),
        NO_CA,
    ),
    # A stranger.
    ("public", [STRANGER], NOBODY, found_as("woodgrove.example"), found_as("woodgrove.example")),
    ("unknown", [STRANGER], NOBODY, NO_CA, NO_CA),
    # A blocked one, alone and beside others.
    ("public", ["sip:evil.example"], BLOCKED, BLOCKED, BLOCKED),
    ("public", [STRANGER, "x.evil.example"], BLOCKED, BLOCKED, BLOCKED),
    ("fabrikam", [FABRIKAM, "sip:bob@evil.example"], BLOCKED, BLOCKED, BLOCKED),
    # An impostor: the right name and a wrong CA.
    ("public", [FABRIKAM], NO_CA, OUT, found_as("fabrikam.com")),
    ("public", ["sip:eu.fabrikam.com"], NO_CA, OUT, found_as("eu.fabrikam.com")),
    ("northwind", [FABRIKAM], OUT, OUT, NO_CA),
    ("unknown", [FABRIKAM], NO_CA, NO_CA, NO_CA),
    ("public", ["sip:contoso.com"], NOBODY, OUT, OUT),
    ("public", ["sip.eu.contoso.com"], NOBODY, OUT, OUT),
    ("fabrikam", ["sip:contoso.com"], OUT, OUT, NO_CA),
    ("unknown", ["sip:contoso.com"], NOBODY, NO_CA, NO_CA),
    # The right CA and a wrong name.
    ("fabrikam", [STRANGER], OUT, OUT, NO_CA),
    ("fabrikam", ["sip:com"], OUT, OUT, NO_CA),
    # A stranger's name and a listed one.
    (
        "public",
        [STRANGER, FABRIKAM],
        NO_CA,
        found_as("woodgrove.example"),
        found_as("woodgrove.example", "fabrikam.com"),
    ),
    ("fabrikam", [STRANGER, FABRIKAM], *[listed_as("fabrikam.com")] * 2, NO_CA),
    (
        "shared",
        [STRANGER, "sip:tailspin.example"],
        listed_as("tailspin.example"),
        listed_as("tailspin.example", "woodgrove.example"),
        found_as("tailspin.example", "woodgrove.example"),
    ),
    # A name above a listed one is nobody's.
    ("public", ["sip:proseware.example"], NOBODY, *[found_as("proseware.example")] * 2),
    # A fixed edge, with and without the domain for which it stands.
    (
        "northwind",
        ["edge.litware.example"],
        LITWARE,
        LITWARE,
        NO_CA,
    ),
    (
        "northwind",
        ["sip:litware.example", "edge.litware.example"],
        *[listed_as("litware.example")] * 2,
        NO_CA,
    ),
    ("northwind", ["sip:litware.example"], MISMATCH, MISMATCH, NO_CA),
    ("northwind", ["edge2.litware.example"], MISMATCH, MISMATCH, NO_CA),
    ("fabrikam", ["edge.litware.example"], OUT, OUT, NO_CA),
    # A hoster's edge stands for both of those who share it, and is no domain itself.
    (
        "hoster",
        ["edge.hoster.example"],
        HOSTED,
        HOSTED,
        NO_CA,
    ),
    ("hoster", ["edge2.hoster.example"], OUT, OUT, NO_CA),
    (
        "hoster",
        [f"sip:{HOSTER_EDGE}", "sip:contoso.com", FABRIKAM],
        HOSTED,
        HOSTED,
        NO_CA,
    ),
    ("public", ["edge.hoster.example"], NO_CA, OUT, found_as("edge.hoster.example")),
    ("cloud", ["edge.hoster.example"], OUT, OUT, NO_CA),
    (
        "shared",
        ["edge.shared.example"],
        CITY,
        CITY,
        found_as("edge.shared.example"),
    ),
    # A wildcard is the edge below it, under rules that know wildcards.
    ("cloud", ["*.cloud.example"], FOURTH, FOURTH, NO_CA),
    ("cloud", ["*.example"], Code.NAME_NONE, Code.NAME_NONE, NO_CA),
    ("hoster", ["*.hoster.example"], Code.NAME_NONE, Code.NAME_NONE, NO_CA),
]


def told(decision: Decision) -> Is | str:
    peer = decision.peer
    return decision.code if peer is None else Is(peer.domains, peer.trust, peer.limits)


@pytest.mark.parametrize(("ca", "names", "closed", "discovering", "open_"), INBOUND)
def test_who_is_believed_inbound(
    ca: str, names: list[str], closed: Is | Code, discovering: Is | Code, open_: Is | Code
) -> None:
    evidence = show(make_leaf(CAS[ca], *names))
    answers = {mode: told(judge(federation, evidence)) for mode, federation in MODES.items()}
    assert answers == {"closed": closed, "discovering": discovering, "open": open_}


# Whom we ask for, beside what he shows.
OUTBOUND: list[tuple[str, str, list[str], Is | Code, Is | Code, Is | Code]] = [
    ("fabrikam.com", "fabrikam", [FABRIKAM], *[listed_as("fabrikam.com")] * 2, NO_CA),
    ("fabrikam.net", "fabrikam", [FABRIKAM], MISMATCH, MISMATCH, NO_CA),
    ("woodgrove.example", "fabrikam", [FABRIKAM], MISMATCH, MISMATCH, NO_CA),
    ("woodgrove.example", "public", [STRANGER], NOBODY, *[found_as("woodgrove.example")] * 2),
    ("sip.woodgrove.example", "public", [STRANGER], NOBODY, MISMATCH, MISMATCH),
    ("evil.example", "public", [STRANGER], BLOCKED, BLOCKED, BLOCKED),
    ("a.evil.example", "fabrikam", [FABRIKAM], BLOCKED, BLOCKED, BLOCKED),
    # An impostor: the right name and a wrong CA.
    ("fabrikam.com", "public", [FABRIKAM], NO_CA, OUT, found_as("fabrikam.com")),
    ("fabrikam.com", "northwind", [FABRIKAM], OUT, OUT, NO_CA),
    ("fabrikam.com", "unknown", [FABRIKAM], NO_CA, NO_CA, NO_CA),
    ("contoso.com", "public", ["sip:contoso.com"], NOBODY, OUT, OUT),
    ("contoso.com", "fabrikam", ["sip:contoso.com"], OUT, OUT, NO_CA),
    # The right CA and a wrong name.
    ("fabrikam.com", "fabrikam", [STRANGER], OUT, OUT, NO_CA),
    # A stranger's name and a listed one.
    ("fabrikam.com", "public", [STRANGER, FABRIKAM], NO_CA, OUT, BOTH),
    ("woodgrove.example", "fabrikam", [STRANGER, FABRIKAM], OUT, OUT, NO_CA),
    # A fixed edge stands for the domain that we ask for, and is none.
    ("litware.example", "northwind", ["edge.litware.example"], LITWARE, LITWARE, NO_CA),
    ("litware.example", "northwind", ["sip:litware.example"], MISMATCH, MISMATCH, NO_CA),
    ("litware.example", "hoster", ["edge.hoster.example"], MISMATCH, MISMATCH, NO_CA),
    ("adatum.example", "hoster", ["edge.hoster.example"], ADATUM, ADATUM, NO_CA),
    ("adventure.example", "hoster", ["edge.hoster.example"], ADVENTURE, ADVENTURE, NO_CA),
    ("eu.adatum.example", "hoster", ["edge.hoster.example"], MISMATCH, MISMATCH, NO_CA),
    ("edge.hoster.example", "hoster", ["edge.hoster.example"], MISMATCH, MISMATCH, NO_CA),
    ("adatum.example", "public", ["edge.hoster.example"], NO_CA, OUT, MISMATCH),
    ("fourth.example", "cloud", ["*.cloud.example"], FOURTH, FOURTH, NO_CA),
    ("sip.cloud.example", "cloud", ["*.cloud.example"], MISMATCH, MISMATCH, NO_CA),
    ("city.example", "shared", ["edge.shared.example"], CITY, CITY, MISMATCH),
]


@pytest.mark.parametrize(("reference", "ca", "names", "closed", "discovering", "open_"), OUTBOUND)
def test_who_is_believed_outbound(  # noqa: PLR0917  a column each
    reference: str,
    ca: str,
    names: list[str],
    closed: Is | Code,
    discovering: Is | Code,
    open_: Is | Code,
) -> None:
    evidence = show(make_leaf(CAS[ca], *names), role="server", reference=reference)
    answers = {mode: told(judge(federation, evidence)) for mode, federation in MODES.items()}
    assert answers == {"closed": closed, "discovering": discovering, "open": open_}


@pytest.mark.parametrize(
    ("domain", "host", "ca", "code"),
    [
        ("fabrikam.com", "sip.woodgrove.example", "public", MISMATCH),
        ("eu.fabrikam.com", "sip.woodgrove.example", "public", MISMATCH),
        ("contoso.com", "sip.woodgrove.example", "public", MISMATCH),
        ("fabrikam.com", "sip.northwind.example", "northwind", MISMATCH),
        ("fabrikam.com", "edge.hoster.example", "hoster", MISMATCH),
        ("northwind.example", "edge.hoster.example", "hoster", MISMATCH),
        # The twins: his own machine, by his own CA; and a domain that is nobody's.
        ("fabrikam.com", "sip.fabrikam.com", "fabrikam", Code.ACCEPTED),
        ("eu.fabrikam.com", "sip.fabrikam.net", "fabrikam", Code.ACCEPTED),
        ("adatum.example", "edge.hoster.example", "hoster", Code.ACCEPTED),
        ("alpine.example", "sip.woodgrove.example", "public", Code.ACCEPTED),
    ],
)
def test_a_host_that_dns_names_does_not_replace_a_partners_ca(
    domain: str, host: str, ca: str, code: Code
) -> None:
    """Where DNS is trusted to name the machine, its own CA would vouch for it, and for a lie."""
    reference = ReferenceIdentity(domain, host)
    evidence = show(make_leaf(CAS[ca], host), role="server", reference=reference)
    assert judge(MODES["discovering"], evidence).code == code


def test_a_listed_domain_that_another_answers_for_is_told() -> None:
    reference = ReferenceIdentity("fabrikam.com", "sip.northwind.example")
    leaf = make_leaf(CAS["northwind"], "sip.northwind.example")
    decision = MODES["closed"].evaluate(show(leaf, role="server", reference=reference))
    assert decision.reason == (
        "the peer has proven sip.northwind.example;"
        " expected the partner of fabrikam.com (or its host sip.northwind.example)"
    )
    assert [part.accepted for part in decision.parts] == [True]


def test_a_listed_domain_is_not_answered_for_by_who_merely_presents_it() -> None:
    """Northwind's CA vouches for its own machine, and beside it for Fabrikam, who is asked."""
    reference = ReferenceIdentity("fabrikam.com", "sip.northwind.example")
    leaf = make_leaf(CAS["northwind"], "fabrikam.com", "sip.northwind.example")
    decision = MODES["closed"].evaluate(show(leaf, role="server", reference=reference))
    assert decision.code == MISMATCH
    assert [part.accepted for part in decision.parts] == [False, True]


def test_an_address_is_nobodys_partner() -> None:
    reference = ReferenceIdentity.for_address("192.0.2.1")
    evidence = show(make_leaf(CAS["fabrikam"], FABRIKAM), role="server", reference=reference)
    assert judge(MODES["closed"], evidence).code == MISMATCH


@pytest.mark.parametrize("blocked", ["adatum.example", "edge.hoster.example", "hoster.example"])
def test_what_an_edge_stands_for_may_be_blocked(blocked: str) -> None:
    """The certificate does not mention it; nor does a wildcard mention the edge below it."""
    evidence = show(make_leaf(CAS["hoster"], "edge.hoster.example"))
    decision = Federation(PARTNERS, blocked=[blocked]).evaluate(evidence)
    assert decision.code == BLOCKED
    wildcard = show(make_leaf(CAS["cloud"], "*.cloud.example"))
    assert Federation(PARTNERS, blocked=["sip.cloud.example"]).evaluate(wildcard).code == BLOCKED
    assert Federation(PARTNERS, blocked=["x.cloud.example"]).evaluate(wildcard).accepted


def test_an_edge_is_a_host_and_its_domains_tell_of_it() -> None:
    decision = MODES["closed"].evaluate(show(make_leaf(CAS["hoster"], "edge.hoster.example")))
    assert decision.peer is not None
    assert decision.peer.hosts == {"edge.hoster.example"}
    assert {(one.name, one.via) for one in decision.peer.names} == {
        ("edge.hoster.example", ""),
        ("adatum.example", "edge.hoster.example"),
        ("adventure.example", "edge.hoster.example"),
    }


def test_the_verification_of_a_partner_stands_at_its_names() -> None:
    partner = Partner(
        ["fabrikam.com"],
        of("fabrikam"),
        edge="edge.fabrikam.net",
        verification=Verification.USE_SOURCE,
    )
    peer = partner.evaluate(show(make_leaf(CAS["fabrikam"], "edge.fabrikam.net"))).peer
    assert peer is not None
    assert {(one.name, one.verification) for one in peer.names} == {
        ("fabrikam.com", Verification.USE_SOURCE),
        ("edge.fabrikam.net", Verification.USE_SOURCE),
    }


NAMES_OF_ALL = st.sampled_from(
    [
        *("fabrikam.com", "northwind.example", "tailspin.example", "proseware.example"),
        *("edge.litware.example", "litware.example", "edge.hoster.example", "*.hoster.example"),
        *("*.cloud.example", "sip.cloud.example", "edge.shared.example", "contoso.com"),
        *("woodgrove.example", "sip.contoso.com", "eu.proseware.example"),
    ]
)


@given(
    names=st.sets(NAMES_OF_ALL, min_size=1, max_size=5),
    uri=st.booleans(),
    ca=st.sampled_from(sorted(CAS)),
    reference=st.none() | NAMES_OF_ALL.filter(lambda name: "*" not in name),
    mode=st.sampled_from(["closed", "discovering"]),
)
def test_the_look_up_of_names_and_edges_is_a_short_cut(
    names: set[str], uri: bool, ca: str, reference: str | None, mode: str
) -> None:
    """It gives what asking each partner gives; of a listed name, or edge, no more than that."""
    sans = [
        f"sip:{n}" if uri and "*" not in n and not n.startswith(("edge", "sip")) else n
        for n in sorted(names)
    ]
    role = "client" if reference is None else "server"
    evidence = show(make_leaf(CAS[ca], *sans), role=role, reference=reference)
    each = [judge(partner, evidence).peer for partner in PARTNERS]
    believed = frozenset().union(*(peer.names for peer in each if peer is not None))
    peer = judge(MODES[mode], evidence).peer
    got = frozenset() if peer is None else frozenset(peer.names)
    assert {one for one in got if one.trust is Trust.FEDERATED} == believed
    strange = {one.name for one in got if one.trust is not Trust.FEDERATED}
    assert strange <= {"woodgrove.example", "proseware.example"}
    assert not strange or (ca in ("public", "shared") and mode == "discovering")


@pytest.mark.parametrize(
    ("domain", "of_domain"),
    [
        ("fabrikam.com", 0),
        ("a.b.Fabrikam.NET", 0),
        ("sip:bob@northwind.example:5061", 1),
        ("eu.proseware.example", 3),
        ("proseware.example", None),
        ("edge.hoster.example", None),
        ("com", None),
    ],
)
def test_the_partner_of_a_domain_is_found(domain: str, of_domain: int | None) -> None:
    found = MODES["closed"].partner(domain)
    assert found is (None if of_domain is None else PARTNERS[of_domain])
    with pytest.raises(ConfigurationError):
        MODES["closed"].partner("192.0.2.1")


def test_the_modes_are_federations() -> None:
    assert MODES["closed"] == Federation(PARTNERS, blocked=["evil.example"])
    assert MODES["closed"].discovery is None
    assert MODES["open"].partners == ()
    for mode in ("discovering", "open"):
        discovery = MODES[mode].discovery
        assert discovery == Discovery(EVERYBODY, own=["contoso.com"], limits=STRANGERS)
    assert MODES["open"].authorities == set(EVERYBODY)
    known = {partner.authority for partner in PARTNERS}
    assert MODES["discovering"].authorities == known | set(EVERYBODY)
    free = Federation.open(of("public"), own=["contoso.com"])
    assert free.blocked is None
    assert free.discovery is not None
    assert free.discovery.limits == TrafficLimits()


def test_a_federation_puts_what_is_blocked_on_whom_it_believes() -> None:
    for mode, federation in MODES.items():
        ca, name = ("public", STRANGER) if mode == "open" else ("fabrikam", FABRIKAM)
        peer = federation.evaluate(show(make_leaf(CAS[ca], name))).peer
        assert peer is not None
        assert peer.blocked == {"evil.example"}
    peer = Federation(PARTNERS).evaluate(show(make_leaf(CAS["fabrikam"], FABRIKAM))).peer
    assert peer is not None
    assert peer.blocked == frozenset()


def test_a_ca_that_vouches_for_everybody_is_no_partners(asked: list[str]) -> None:
    """A stranger's certificate of the public CA is not traced to the partner that uses it, too."""
    decision = MODES["discovering"].evaluate(show(make_leaf(CAS["shared"], "sip:contoso.com")))
    assert decision.code == OUT
    assert [part.by for part in decision.parts] == ["any of"]
    assert asked == ["CN=Public CA", "CN=Shared CA"]


@pytest.mark.parametrize("wrong", ["", "*.example", "192.0.2.1", "sip:edge.example"])
def test_an_edge_is_one_host(wrong: str) -> None:
    with pytest.raises(ConfigurationError):
        Partner(["fabrikam.com"], of("fabrikam"), edge=wrong)


@pytest.mark.parametrize("wrong", [{"limits": 20}, {"verification": "use-source"}])
def test_the_options_of_a_partner_have_their_kinds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Partner(["fabrikam.com"], of("fabrikam"), **wrong)


def test_a_discovery_is_one() -> None:
    with pytest.raises(ConfigurationError, match="Discovery"):
        Federation(PARTNERS, discovery=of("public"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("domains", "edge"),
    [
        (["contoso.com"], None),
        (["eu.contoso.com", "fabrikam.com"], None),
        (["com"], None),
        (["fabrikam.com"], "edge.contoso.com"),
    ],
)
def test_no_partner_has_a_domain_of_ours(domains: list[str], edge: str | None) -> None:
    """His CA would vouch for us; a typing error must not do that."""
    partner = Partner(domains, of("fabrikam"), edge=edge)
    with pytest.raises(ConfigurationError, match="would vouch for us"):
        Federation.discovering([partner], of("public"), own=["contoso.com"])
    assert Federation([partner]).partners == (partner,)  # which does not know what is ours
