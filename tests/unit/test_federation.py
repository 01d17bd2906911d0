"""Federation: each partner is believed for its own domains, and for no others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import pytest
from attrs import evolve
from certificates import NOW, YEAR, Made, make_ca, make_leaf, raw, show
from hypothesis import given
from hypothesis import strategies as st

from siptls import (
    Authority,
    Code,
    ConfigurationError,
    Decision,
    Enterprise,
    Evidence,
    Federation,
    NameRules,
    Partner,
    ReferenceIdentity,
    Role,
    Trust,
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
