"""Scope: for which domains an authority may vouch, and what becomes of the other names."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from attrs import evolve
from certificates import NOW, SECOND, YEAR, Made, make_ca, make_leaf, show
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from siptls import (
    Authority,
    Code,
    ConfigurationError,
    Decision,
    NameKind,
    NameRules,
    Role,
    TrafficLimits,
    Trust,
    Verification,
)
from siptls.trust.names import ReferenceIdentity
from siptls.trust.scope import Scope, Voucher, as_scope

# ---------------------------------------------------------------- the scope


@pytest.mark.parametrize(
    ("domain", "covered"),
    [
        ("contoso.com", True),
        ("eu.contoso.com", True),
        ("a.b.eu.contoso.com", True),
        ("evilcontoso.com", False),
        ("contoso.com.evil.example", False),
        ("com", False),
        ("contoso", False),
        ("contoso.co", False),
        ("xcontoso.com", False),
        ("", False),
        (".contoso.com", True),  # no canonical domain; nothing gives one
    ],
)
def test_a_scope_goes_label_by_label(domain: str, covered: bool) -> None:
    assert Scope(["contoso.com"]).covers(domain) is covered


def test_a_scope_of_several() -> None:
    scope = Scope(["contoso.com", "eu.fabrikam.com"])
    assert scope.covers("eu.fabrikam.com")
    assert scope.covers("sip.contoso.com")
    assert not scope.covers("fabrikam.com")
    assert not scope.covers("us.fabrikam.com")


def test_a_scope_is_canonical() -> None:
    """Capitals and U-labels are what an operator writes; equal scopes are equal."""
    scope = Scope(["Contoso.COM", "bücher.example", "contoso.com"])
    assert scope == Scope({"contoso.com", "xn--bcher-kva.example"})
    assert str(scope) == "contoso.com, xn--bcher-kva.example"


labels = st.lists(st.sampled_from(["a", "b", "ab", "com"]), min_size=1, max_size=4)


@given(labels, labels)
def test_a_scope_covers_what_ends_with_its_labels(scope: list[str], domain: list[str]) -> None:
    """The law: a list of labels is covered if the scope's labels are its end."""
    covered = Scope([".".join(scope)]).covers(".".join(domain))
    assert covered is (domain[-len(scope) :] == scope)


def test_a_scope_of_nothing_is_refused() -> None:
    """It would cover nothing; that is never what was meant."""
    with pytest.raises(ConfigurationError, match="no domains"):
        Scope([])


def test_a_bare_string_is_no_list_of_domains() -> None:
    """Its letters would be taken for domains."""
    with pytest.raises(ConfigurationError, match=r"write \['contoso.com'\]"):
        Scope("contoso.com")


@pytest.mark.parametrize("domain", ["", "*.contoso.com", "192.0.2.1", "sip:contoso.com", None])
def test_what_is_no_domain_is_refused(domain: Any) -> None:
    with pytest.raises(ConfigurationError):
        Scope(["contoso.com", domain])


def test_a_scope_is_taken_as_it_is() -> None:
    """``attrs.evolve`` gives a field's value back to its converter."""
    scope = Scope(["contoso.com"])
    assert as_scope(scope) is scope
    assert as_scope(["Contoso.com"]) == scope
    with pytest.raises(ConfigurationError, match="domains are a list"):
        as_scope("contoso.com")


# ---------------------------------------------------------------- vouching


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Contoso CA")


@pytest.fixture(scope="module")
def voucher(root: Made) -> Voucher:
    authority = Authority("Contoso CA", [root.certificate])
    scope = Scope(["contoso.com"])
    return Voucher("Enterprise", authority, scope, NameRules.RFC5922, Trust.ENTERPRISE)


def test_a_name_in_scope_is_believed(root: Made, voucher: Voucher) -> None:
    """The believed name says where it stood, who vouches for it, and on what ground."""
    leaf = make_leaf(root, "sip:contoso.com", "sip.contoso.com", not_after=NOW + SECOND)
    decision = voucher.judge(show(leaf))
    assert decision.accepted
    assert decision.by == "Enterprise"
    assert decision.reason == "Contoso CA vouches for contoso.com, sip.contoso.com"
    peer = decision.peer
    assert peer is not None
    assert peer.domains == {"contoso.com"}
    assert peer.hosts == {"sip.contoso.com"}
    assert peer.trust is Trust.ENTERPRISE
    assert peer.expires == NOW + SECOND
    assert peer.chain == (leaf.certificate, root.certificate)
    by_kind = {name.kind: name for name in peer.names}
    uri, dns = by_kind[NameKind.URI], by_kind[NameKind.DNS]
    assert (uri.name, uri.domain, uri.host) == ("contoso.com", True, False)
    assert (dns.name, dns.domain, dns.host) == ("sip.contoso.com", False, True)
    assert {name.authority for name in peer.names} == {"Contoso CA"}


def test_a_dns_name_without_uri_is_domain_and_host(root: Made, voucher: Voucher) -> None:
    peer = voucher.judge(show(make_leaf(root, "sip.contoso.com"))).peer
    assert peer is not None
    assert peer.domains == peer.hosts == {"sip.contoso.com"}


@pytest.mark.parametrize(
    "name", ["sip:fabrikam.com", "sip:evilcontoso.com", "fabrikam.com", "sip:com"]
)
def test_a_name_out_of_scope_is_refused(root: Made, voucher: Voucher, name: str) -> None:
    """The CA is known, the path is proven: and yet it may not vouch for that."""
    decision = voucher.judge(show(make_leaf(root, name), root))
    assert decision.code == Code.NAME_OUT_OF_SCOPE
    domain = name.removeprefix("sip:")
    assert decision.reason.startswith("CN=leaf (serial ")
    assert decision.reason.endswith(
        f" vouches for {domain}; expected contoso.com or what is below:"
        " Contoso CA may vouch for nothing else"
    )


@pytest.mark.parametrize("expected", [None, "contoso.com"])
def test_of_names_in_and_out_of_scope_those_in_are_believed(
    root: Made, voucher: Voucher, expected: str | None
) -> None:
    """The other is dropped, and the explanation tells of it."""
    leaf = make_leaf(root, "sip:contoso.com", "sip:fabrikam.com", "fabrikam.com")
    decision = voucher.judge(show(leaf, role=Role.SERVER, reference=expected))
    assert decision.peer is not None
    assert decision.peer.domains | decision.peer.hosts == {"contoso.com"}
    inside, uri, dns, common_name = decision.notes
    assert inside.startswith("sip:contoso.com: counts")
    assert uri == "sip:fabrikam.com: dropped, Contoso CA may vouch for contoso.com only"
    assert dns == "DNS:fabrikam.com: dropped, Contoso CA may vouch for contoso.com only"
    assert common_name.startswith("CN:leaf: does not count")


def test_a_name_that_is_expected_but_out_of_scope_is_told_as_such(
    root: Made, voucher: Voucher
) -> None:
    """It stands in the certificate: a mere mismatch would hide an attack."""
    leaf = make_leaf(root, "sip:contoso.com", "sip:fabrikam.com")
    decision = voucher.judge(show(leaf, role=Role.SERVER, reference="fabrikam.com"))
    assert decision.code == Code.NAME_OUT_OF_SCOPE
    assert "vouches for fabrikam.com; expected contoso.com" in decision.reason
    assert "sip:fabrikam.com: dropped" in " ".join(decision.notes)


@pytest.mark.parametrize("expected", ["eu.contoso.com", "com", "evilcontoso.com"])
def test_a_name_that_is_expected_but_not_presented_is_a_mismatch(
    root: Made, voucher: Voucher, expected: str
) -> None:
    """A domain in scope is no proof of another in scope."""
    leaf = make_leaf(root, "sip:contoso.com")
    decision = voucher.judge(show(leaf, role=Role.SERVER, reference=expected))
    assert decision.code == Code.NAME_MISMATCH
    assert decision.reason.endswith(f" proves contoso.com; expected {expected}")


def test_a_mismatch_tells_of_the_name_of_the_machine(root: Made, voucher: Voucher) -> None:
    """The operator sees why the dNSName beside the URI did not help."""
    leaf = make_leaf(root, "sip:contoso.com", "sip.contoso.com")
    decision = voucher.judge(show(leaf, role=Role.SERVER, reference="sip.contoso.com"))
    assert decision.code == Code.NAME_MISMATCH
    assert decision.reason.endswith(
        "proves contoso.com, and sip.contoso.com only as the name of the machine;"
        " expected sip.contoso.com"
    )
    both = voucher.judge(
        show(make_leaf(root, "sip.contoso.com"), role=Role.SERVER, reference="contoso.com")
    )
    assert both.reason.endswith(" proves sip.contoso.com; expected contoso.com")


@pytest.mark.parametrize("name", ["sip:alice@contoso.com", "sips:contoso.com", "*.contoso.com"])
def test_a_certificate_that_identifies_no_domain(root: Made, voucher: Voucher, name: str) -> None:
    decision = voucher.judge(show(make_leaf(root, name)))
    assert decision.code == Code.NAME_NONE
    assert decision.reason.endswith("expected a name that identifies a SIP domain under RFC5922")
    assert len(decision.notes) == 2
    assert all("does not count" in note for note in decision.notes)


def test_a_certificate_without_any_name(root: Made, voucher: Voucher) -> None:
    decision = voucher.judge(show(make_leaf(root, subject="Phone 7")))
    assert decision.code == Code.NAME_NONE


def test_a_host_without_a_domain_is_nobody(root: Made, voucher: Voucher) -> None:
    """The URI is out of scope, what is left names a machine only: no SIP domain is proven."""
    leaf = make_leaf(root, "sip:fabrikam.com", "sip.contoso.com")
    decision = voucher.judge(show(leaf))
    assert decision.code == Code.NAME_OUT_OF_SCOPE
    assert "vouches for fabrikam.com" in decision.reason


def test_without_scope_any_name_is_believed(root: Made, voucher: Voucher) -> None:
    leaf = make_leaf(root, "sip:fabrikam.com", "sip:contoso.com")
    decision = evolve(voucher, scope=None).judge(show(leaf))
    assert decision.peer is not None
    assert decision.peer.domains == {"fabrikam.com", "contoso.com"}
    assert [name.name for name in decision.peer.names] == ["contoso.com", "fabrikam.com"]


# ---------------------------------------------------------------- NameRules.OCS


@pytest.fixture(scope="module")
def ocs(voucher: Voucher) -> Voucher:
    return evolve(voucher, rules=NameRules.OCS)


def expecting(domain: str, host: str | None = None) -> dict[str, Any]:
    return {"role": Role.SERVER, "reference": ReferenceIdentity.parse(domain, host=host)}


def test_ocs_takes_the_dns_name_of_the_machine_for_the_expected_host(
    root: Made, voucher: Voucher, ocs: Voucher
) -> None:
    """DNS is trusted to say that sip.contoso.com serves example.net; RFC 5922 does not."""
    leaf = make_leaf(root, "sip:contoso.com", "sip.contoso.com")
    expected = expecting("eu.contoso.com", "sip.contoso.com")
    assert ocs.judge(show(leaf, **expected)).accepted
    assert voucher.judge(show(leaf, **expected)).code == Code.NAME_MISMATCH
    other = expecting("eu.contoso.com", "sip2.contoso.com")
    assert ocs.judge(show(leaf, **other)).code == Code.NAME_MISMATCH


def test_ocs_does_not_take_the_machine_for_the_domain(root: Made, ocs: Voucher) -> None:
    """A dNSName beside a URI answers for a host only, never for the domain that was asked for."""
    leaf = make_leaf(root, "sip:contoso.com", "sip.contoso.com")
    assert ocs.judge(show(leaf, **expecting("sip.contoso.com"))).code == Code.NAME_MISMATCH


def test_ocs_reads_the_common_name_of_a_certificate_without_san(
    root: Made, voucher: Voucher, ocs: Voucher
) -> None:
    leaf = make_leaf(root, subject="sip.contoso.com")
    peer = ocs.judge(show(leaf, **expecting("sip.contoso.com"))).peer
    assert peer is not None
    assert [name.kind for name in peer.names] == [NameKind.CN]
    assert voucher.judge(show(leaf)).code == Code.NAME_NONE
    with_san = make_leaf(root, "sip:alice@contoso.com", subject="sip.contoso.com")
    assert ocs.judge(show(with_san)).code == Code.NAME_NONE


def test_ocs_keeps_the_scope(root: Made, ocs: Voucher) -> None:
    """Neither a common name nor a machine outside of our domains is believed."""
    by_name = make_leaf(root, subject="sip.fabrikam.com")
    assert ocs.judge(show(by_name)).code == Code.NAME_OUT_OF_SCOPE
    machine = make_leaf(root, "sip:contoso.com", "sip.fabrikam.com")
    expected = expecting("eu.contoso.com", "sip.fabrikam.com")
    assert ocs.judge(show(machine, **expected)).code == Code.NAME_OUT_OF_SCOPE


def test_ocs_knows_a_machine_by_its_host_name_alone(root: Made, ocs: Voucher) -> None:
    """Nothing but the dNSName beside a URI is in scope: the rules let that be enough."""
    leaf = make_leaf(root, "sip:fabrikam.com", "sip.contoso.com")
    peer = ocs.judge(show(leaf, **expecting("contoso.com", "sip.contoso.com"))).peer
    assert peer is not None
    assert (peer.domains, peer.hosts) == (frozenset(), {"sip.contoso.com"})
    decision = ocs.judge(show(leaf, **expecting("contoso.com", "sip2.contoso.com")))
    assert decision.code == Code.NAME_MISMATCH
    assert "proves no domain, and sip.contoso.com only as the name" in decision.reason


# ---------------------------------------------------------------- who is not proven at all


@pytest.mark.parametrize(
    ("name", "concerned"),
    [("sip:contoso.com", True), ("sip:eu.contoso.com", True), ("sip:fabrikam.com", False)],
)
def test_an_unproven_peer_concerns_us_if_it_claims_a_name_of_ours(
    voucher: Voucher, name: str, concerned: bool
) -> None:
    """That our CA did not issue the certificate of a stranger says nothing."""
    decision = voucher.judge(show(make_leaf(make_ca("Other"), name)))
    assert decision.code == Code.PATH_UNKNOWN_CA
    assert decision.concerned is concerned
    assert decision.by == "Enterprise"


def test_an_unproven_peer_concerns_who_has_no_scope_or_sees_no_names(voucher: Voucher) -> None:
    stranger = make_leaf(make_ca("Other"), "sip:fabrikam.com")
    assert evolve(voucher, scope=None).judge(show(stranger)).concerned
    missing = voucher.judge(show())
    assert missing.code == Code.CERTIFICATE_MISSING
    assert missing.concerned


@pytest.mark.parametrize("name", ["sip:contoso.com", "sip:fabrikam.com"])
def test_a_decision_holds_what_was_judged(root: Made, voucher: Voucher, name: str) -> None:
    """Believed or refused, and whether the path is proven or not."""
    for issuer in (root, make_ca("Other")):
        evidence = show(make_leaf(issuer, name))
        assert voucher.judge(evidence).evidence is evidence


def test_the_refusal_of_the_authority_is_told_unchanged(root: Made, voucher: Voucher) -> None:
    """A name in scope does not help a path that is not proven."""
    evidence = show(make_leaf(root, "sip:contoso.com"), now=NOW + 2 * YEAR)
    refused = voucher.authority.verify(evidence)
    decision = voucher.judge(evidence)
    assert (decision.code, decision.reason) == (refused.code, refused.reason)
    assert decision.code == Code.PATH_EXPIRED
    assert decision.peer is None


# ---------------------------------------------------------------- wildcards, addresses, users


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        ("sip.contoso.com", Code.ACCEPTED),
        ("contoso.com", Code.NAME_MISMATCH),
        ("a.sip.contoso.com", Code.NAME_MISMATCH),
        (None, Code.NAME_NONE),
    ],
)
def test_a_wildcard_in_scope_proves_the_expected_name_only(
    root: Made, voucher: Voucher, expected: str | None, code: Code
) -> None:
    lenient = evolve(voucher, rules=NameRules.RFC9525)
    leaf = make_leaf(root, "*.contoso.com", critical=True, subject="")
    decision = lenient.judge(show(leaf, role=Role.SERVER, reference=expected))
    assert decision.code == code
    if decision.peer is not None:
        assert decision.peer.domains == {expected}


def test_a_wildcard_out_of_scope_is_refused_as_such(root: Made, voucher: Voucher) -> None:
    lenient = evolve(voucher, rules=NameRules.RFC9525)
    evidence = show(
        make_leaf(root, "*.fabrikam.com"), role=Role.SERVER, reference="sip.fabrikam.com"
    )
    decision = lenient.judge(evidence)
    assert decision.code == Code.NAME_OUT_OF_SCOPE
    assert decision.concerned


def test_an_address_is_in_no_scope(root: Made, voucher: Voucher) -> None:
    """Domains are the only scope there is: an authority with one vouches for no address."""
    san = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]), False
    evidence = show(
        make_leaf(root, more=[san]),
        role=Role.SERVER,
        reference=ReferenceIdentity.for_address("192.0.2.1"),
    )
    scoped = evolve(voucher, rules=NameRules.RFC9525)
    assert scoped.judge(evidence).code == Code.NAME_OUT_OF_SCOPE
    assert voucher.judge(evidence).code == Code.NAME_NONE
    decision = evolve(scoped, scope=None).judge(evidence)
    assert decision.peer is not None
    assert decision.peer.addresses == {"192.0.2.1"}


def test_users_below_a_believed_domain_are_read(root: Made, voucher: Voucher) -> None:
    names = ["sip:contoso.com", "sip:alice@contoso.com", "sip:bob@eu.contoso.com"]
    leaf = make_leaf(root, *names, "sip:eve@fabrikam.com", "sip:mallory%40@contoso.com")
    decision = voucher.judge(show(leaf))
    assert decision.peer is not None
    assert decision.peer.users == {"alice@contoso.com", "bob@eu.contoso.com"}
    assert decision.peer.domains == {"contoso.com"}


def test_a_user_below_a_machine_is_not_believed(root: Made, voucher: Voucher) -> None:
    leaf = make_leaf(root, "sip:example.net", "sip.contoso.com", "sip:alice@sip.contoso.com")
    peer = evolve(voucher, scope=None).judge(show(leaf)).peer
    assert peer is not None
    assert (peer.domains, peer.hosts) == ({"example.net"}, {"sip.contoso.com"})
    assert peer.users == frozenset()


def test_a_certificate_of_a_user_alone_is_nobodys(root: Made, voucher: Voucher) -> None:
    assert voucher.judge(show(make_leaf(root, "sip:alice@contoso.com"))).code == Code.NAME_NONE


def test_the_notes_of_a_thousand_names_are_few(root: Made, voucher: Voucher) -> None:
    """What is believed is told name by name; of what is not, a part."""
    ours = [f"a{number}.contoso.com" for number in range(20)]
    others = [f"a{number}.example" for number in range(300)]
    useless = [f"*.b{number}.example" for number in range(300)]
    leaf = make_leaf(root, *ours, *others, *useless, subject="", critical=True)
    decision = voucher.judge(show(leaf))
    assert decision.peer is not None
    assert len(decision.peer.domains) == 20
    assert sum(": counts, " in note for note in decision.notes) == 20
    assert sum(": dropped, " in note for note in decision.notes) == 16
    assert sum(": does not count, " in note for note in decision.notes) == 16
    assert decision.notes[-1] == "and 568 names more that are of no use here"


@pytest.mark.parametrize(("value", "kind"), [(None, "None"), (5, "an int"), (True, "a bool")])
def test_what_is_no_list_of_domains_is_told_by_its_kind(value: Any, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"domains are a list of names, not {kind}$"):
        Scope(value)


@pytest.mark.parametrize("scope", ["contoso.com", "eu.contoso.com", None])
@given(
    names=st.lists(
        st.sampled_from(
            [
                "sip:contoso.com",
                "sip:eu.contoso.com",
                "sip:a.example",
                "sip.contoso.com",
                "b.example",
                "sip:alice@contoso.com",
            ]
        ),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_what_is_believed_is_presented_and_in_scope(
    root: Made, voucher: Voucher, scope: str | None, names: list[str]
) -> None:
    """The law; and that of an authority that is not known nothing is ever believed."""
    one = evolve(voucher, scope=None if scope is None else Scope([scope]))
    decision = one.judge(show(make_leaf(root, *names)))
    presented = {name.removeprefix("sip:") for name in names if "@" not in name}
    if decision.peer is not None:
        told = decision.peer.domains | decision.peer.hosts
        assert told == {d for d in presented if one.scope is None or one.scope.covers(d)}
    for stranger in (make_ca("Stranger CA"), make_ca("Contoso CA")):
        assert not one.judge(show(make_leaf(stranger, *names)))


def test_users_are_told_below_a_domain_that_is_believed(root: Made, voucher: Voucher) -> None:
    """Beside the domain; of a domain that is not ours, or not presented, there are none."""
    leaf = make_leaf(
        root,
        "sip:alice@contoso.com",
        "sip:contoso.com",
        "sip:bob@eu.contoso.com",
        "sip:carol@fabrikam.com",
        "sip:fabrikam.com",
        "sip:dave@com",
        "sip:erin@192.0.2.1",
    )
    peer = voucher.judge(show(leaf)).peer
    assert peer is not None
    assert peer.domains == {"contoso.com"}
    assert peer.users == {"alice@contoso.com", "bob@eu.contoso.com"}


def test_the_user_of_a_machine_is_nobody(root: Made, voucher: Voucher) -> None:
    leaf = make_leaf(root, "sip:eu.contoso.com", "sip.contoso.com", "sip:alice@sip.contoso.com")
    peer = voucher.judge(show(leaf)).peer
    assert peer is not None
    assert peer.hosts == {"sip.contoso.com"}
    assert peer.users == frozenset()


def noted(decision: Decision, what: str) -> int:
    return sum(f": {what}, " in note for note in decision.notes)


@pytest.mark.parametrize(
    ("dropped", "useless", "told"),
    [(0, 0, (0, 0, 0)), (16, 16, (16, 16, 0)), (17, 0, (16, 0, 1)), (40, 50, (16, 16, 58))],
)
def test_names_of_no_use_are_told_up_to_a_number(
    root: Made, voucher: Voucher, dropped: int, useless: int, told: tuple[int, int, int]
) -> None:
    """A hoster's certificate has a thousand. Those that count are all told."""
    names = [
        *(f"sip:p{n}.example" for n in range(dropped)),
        *(f"sip:u{n}@contoso.com" for n in range(useless)),
        *(f"sip:x{n}.contoso.com" for n in range(30)),
    ]
    decision = voucher.judge(show(make_leaf(root, *names, subject="", critical=True)))
    assert decision.accepted
    assert noted(decision, "counts") == 30
    *_, left = told
    assert (noted(decision, "dropped"), noted(decision, "does not count"), left) == told
    last = decision.notes[-1]
    if left:
        assert last == f"and {left} names more that are of no use here"
    else:
        assert "names more" not in last


def test_a_refusal_has_the_same_notes(root: Made, voucher: Voucher) -> None:
    names = [f"sip:p{n}.example" for n in range(20)]
    decision = voucher.judge(show(make_leaf(root, *names, subject="", critical=True)))
    assert decision.code == Code.NAME_OUT_OF_SCOPE
    assert noted(decision, "dropped") == 16
    assert decision.notes[-1] == "and 4 names more that are of no use here"
    assert "p0.example" in decision.reason
    assert "and 12 more" in decision.reason


@pytest.fixture(scope="module")
def web(voucher: Voucher) -> Voucher:
    return evolve(voucher, rules=NameRules.RFC9525)


@pytest.mark.parametrize(
    ("presented", "expected", "code"),
    [
        ("*.contoso.com", "sip.contoso.com", Code.ACCEPTED),
        ("*.eu.contoso.com", "sip.eu.contoso.com", Code.ACCEPTED),
        ("*.contoso.com", "contoso.com", Code.NAME_MISMATCH),
        ("*.contoso.com", "a.b.contoso.com", Code.NAME_MISMATCH),
        ("*.contoso.com", "sip.fabrikam.com", Code.NAME_MISMATCH),
        ("*.fabrikam.com", "sip.fabrikam.com", Code.NAME_OUT_OF_SCOPE),
        ("*.fabrikam.com", "sip.contoso.com", Code.NAME_MISMATCH),
        ("*.contoso.com", None, Code.NAME_NONE),
        ("*.com", "contoso.com", Code.NAME_NONE),
    ],
)
def test_a_wildcard_is_believed_for_the_expected_name_in_scope(
    root: Made, web: Voucher, presented: str, expected: str | None, code: Code
) -> None:
    """For that name, and for nothing else below it."""
    leaf = make_leaf(root, presented)
    role = Role.CLIENT if expected is None else Role.SERVER
    decision = web.judge(show(leaf, role=role, reference=expected))
    assert decision.code == code
    if decision.peer is not None:
        assert decision.peer.domains == decision.peer.hosts == {expected}


def test_a_wildcard_above_the_scope_does_not_widen_it(root: Made, web: Voucher) -> None:
    """``*.contoso.com`` for one who may vouch for eu.contoso.com only."""
    narrow = evolve(web, scope=Scope(["eu.contoso.com"]))
    leaf = make_leaf(root, "*.contoso.com")
    assert narrow.judge(show(leaf, **expecting("eu.contoso.com"))).accepted
    other = narrow.judge(show(leaf, **expecting("us.contoso.com")))
    assert other.code == Code.NAME_OUT_OF_SCOPE


def with_address(root: Made, *names: x509.GeneralName) -> Made:
    address = x509.IPAddress(ipaddress.ip_address("192.0.2.1"))
    san = x509.SubjectAlternativeName([address, *names])
    return make_leaf(root, more=[(san, False)])


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        (None, Code.NAME_NONE),
        (ReferenceIdentity.for_address("192.0.2.2"), Code.NAME_MISMATCH),
        (ReferenceIdentity("contoso.com"), Code.NAME_MISMATCH),
    ],
)
def test_an_address_that_is_not_expected_proves_nobody(
    root: Made, web: Voucher, expected: ReferenceIdentity | None, code: Code
) -> None:
    anybody = evolve(web, scope=None)
    assert anybody.judge(show(with_address(root), role="server", reference=expected)).code == code


@pytest.mark.parametrize(
    ("expected", "concerned"),
    [("sip.contoso.com", True), ("sip.fabrikam.com", False), (None, False)],
)
def test_a_wildcard_concerns_us_for_the_expected_name(
    web: Voucher, expected: str | None, concerned: bool
) -> None:
    leaf = make_leaf(make_ca("Other"), "*.contoso.com", "*.fabrikam.com")
    role = Role.CLIENT if expected is None else Role.SERVER
    assert web.judge(show(leaf, role=role, reference=expected)).concerned is concerned


def test_neither_a_user_nor_a_name_above_us_concerns_us(voucher: Voucher) -> None:
    leaf = make_leaf(make_ca("Other"), "sip:alice@contoso.com", "sip:com", "sip:xcontoso.com")
    assert not voucher.judge(show(leaf)).concerned


def test_the_names_are_read_once_for_all_who_are_asked(
    root: Made, voucher: Voucher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand partners may be asked about one certificate; each kind of rules reads it anew."""
    counts: list[NameRules] = []
    count = NameRules.count

    def counted(self: NameRules, *arguments: Any) -> Any:
        counts.append(self)
        return count(self, *arguments)

    monkeypatch.setattr(NameRules, "count", counted)
    evidence = show(make_leaf(root, "sip:contoso.com"))
    for rules in (NameRules.RFC5922, NameRules.OCS):
        for name in ("contoso.com", "fabrikam.com", "a.example"):
            evolve(voucher, scope=Scope([name]), rules=rules).judge(evidence)
    assert counts == [NameRules.RFC5922, NameRules.OCS]


# ---------------------------------------------------------------- what is somebody else's


@pytest.fixture(scope="module")
def anybody(voucher: Voucher) -> Voucher:
    return evolve(voucher, scope=None, trust=Trust.PUBLIC, excluded=Scope(["fabrikam.com"]))


def test_an_excluded_name_is_dropped_and_the_others_are_believed(
    root: Made, anybody: Voucher
) -> None:
    leaf = make_leaf(root, "sip:a.example", "sip:fabrikam.com", "sip.eu.fabrikam.com")
    decision = anybody.judge(show(leaf))
    assert decision.peer is not None
    assert decision.peer.domains | decision.peer.hosts == {"a.example"}
    assert noted(decision, "dropped") == 2
    alone = anybody.judge(show(make_leaf(root, "sip:fabrikam.com")))
    assert alone.code == Code.NAME_OUT_OF_SCOPE
    assert "neither ours nor a listed partner's" in alone.reason


def test_an_excluded_domain_has_no_users(root: Made, anybody: Voucher) -> None:
    """Not even of one who has proven the domain above it."""
    narrow = evolve(anybody, excluded=Scope(["eu.a.example"]))
    leaf = make_leaf(root, "sip:a.example", "sip:bob@a.example", "sip:eve@eu.a.example")
    peer = narrow.judge(show(leaf)).peer
    assert peer is not None
    assert peer.users == {"bob@a.example"}


@pytest.mark.parametrize("expected", ["fabrikam.com", "eu.fabrikam.com"])
def test_nobody_answers_for_an_excluded_domain_by_a_host(
    root: Made, anybody: Voucher, expected: str
) -> None:
    leaf = make_leaf(root, "sip.a.example")
    asked = show(leaf, **expecting(expected, "sip.a.example"))
    assert anybody.judge(asked).code == Code.NAME_MISMATCH
    assert evolve(anybody, excluded=None).judge(asked).accepted


# ---------------------------------------------------------------- a fixed edge

EDGE = "edge.hoster.example"


@pytest.fixture(scope="module")
def edged(voucher: Voucher) -> Voucher:
    scope = Scope(["contoso.com", "contoso.net"])
    return evolve(voucher, by="Partner", trust=Trust.FEDERATED, scope=scope, edge=EDGE)


@pytest.mark.parametrize("names", [[EDGE], ["sip:" + EDGE], ["sip:a.example", EDGE]])
def test_an_edge_stands_for_all_domains_and_is_a_machine(
    root: Made, edged: Voucher, names: list[str]
) -> None:
    """Its own name is no domain of those whose edge it is, in whatever form it is presented."""
    decision = edged.judge(show(make_leaf(root, *names)))
    assert decision.peer is not None
    assert decision.peer.domains == {"contoso.com", "contoso.net"}
    assert decision.peer.hosts == {EDGE}
    assert {one.via for one in decision.peer.names if one.domain} == {EDGE}
    assert decision.reason == f"Contoso CA vouches for {EDGE}"


def test_a_domain_that_stands_in_the_certificate_is_believed_by_itself(
    root: Made, edged: Voucher
) -> None:
    peer = edged.judge(show(make_leaf(root, "sip:contoso.com", EDGE))).peer
    assert peer is not None
    assert {(one.name, one.via) for one in peer.names if one.domain} == {
        ("contoso.com", ""),
        ("contoso.net", EDGE),
    }


def test_an_edge_of_ones_own_domain_is_a_domain_as_well(root: Made, edged: Voucher) -> None:
    own = evolve(edged, edge="edge.contoso.com")
    peer = own.judge(show(make_leaf(root, "edge.contoso.com"))).peer
    assert peer is not None
    assert peer.domains == {"edge.contoso.com", "contoso.com", "contoso.net"}
    assert peer.hosts == {"edge.contoso.com"}


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["sip:contoso.com"], Code.NAME_MISMATCH),
        (["sip:contoso.com", "edge2.hoster.example"], Code.NAME_MISMATCH),
        (["sip:contoso.com", f"x.{EDGE}"], Code.NAME_MISMATCH),
        (["hoster.example"], Code.NAME_OUT_OF_SCOPE),
        (["*.hoster.example"], Code.NAME_NONE),
        ([f"sip:bob@{EDGE}"], Code.NAME_NONE),
    ],
)
def test_who_does_not_prove_the_edge_is_not_the_partner(
    root: Made, edged: Voucher, names: list[str], code: Code
) -> None:
    decision = edged.judge(show(make_leaf(root, *names)))
    assert decision.code == code
    if code is Code.NAME_MISMATCH:
        assert decision.fault is not None
        assert decision.fault.expected == f"the edge {EDGE}"
        assert decision.fault.rule == "edge= of Partner"


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        (("contoso.com", None), Code.ACCEPTED),
        (("contoso.net", None), Code.ACCEPTED),
        (("contoso.com", EDGE), Code.ACCEPTED),
        (("contoso.com", "other.example"), Code.ACCEPTED),
        (("eu.contoso.com", None), Code.NAME_MISMATCH),
        ((EDGE, None), Code.NAME_MISMATCH),
        ((EDGE, EDGE), Code.NAME_MISMATCH),
        (("a.example", None), Code.NAME_MISMATCH),
    ],
)
@pytest.mark.parametrize("presented", [EDGE, "*.hoster.example"])
def test_an_edge_answers_for_its_domains_and_not_for_itself(
    root: Made,
    edged: Voucher,
    presented: str,
    expected: tuple[str, str | None],
    code: Code,
) -> None:
    teams = evolve(edged, rules=NameRules.TEAMS)
    evidence = show(make_leaf(root, presented), **expecting(*expected))
    assert teams.judge(evidence).code == code


def test_an_address_is_expected_of_no_edge(root: Made, edged: Voucher) -> None:
    expected = ReferenceIdentity.for_address("192.0.2.1")
    evidence = show(make_leaf(root, EDGE), role="server", reference=expected)
    for rules in (NameRules.RFC5922, NameRules.RFC9525):
        assert evolve(edged, rules=rules).judge(evidence).code == Code.NAME_MISMATCH


def test_an_impostor_of_the_edge_concerns_us(edged: Voucher) -> None:
    stranger = make_ca("Other")
    for name, concerned in ((EDGE, True), ("sip:contoso.net", True), ("hoster.example", False)):
        assert edged.judge(show(make_leaf(stranger, name))).concerned is concerned


def test_an_edge_of_anybody_stands_for_nobody_else(root: Made, edged: Voucher) -> None:
    """Without a scope there are no domains for which it could stand."""
    peer = evolve(edged, scope=None).judge(show(make_leaf(root, EDGE))).peer
    assert peer is not None
    assert peer.domains == peer.hosts == {EDGE}


def test_what_the_peer_may_is_on_the_peer(root: Made, edged: Voucher) -> None:
    limits = TrafficLimits(messages_per_second=1)
    one = evolve(edged, limits=limits, verification=Verification.USE_SOURCE)
    peer = one.judge(show(make_leaf(root, EDGE))).peer
    assert peer is not None
    assert peer.limits == limits
    assert {name.verification for name in peer.names} == {Verification.USE_SOURCE}
    assert peer.enterprise == frozenset()


def test_only_our_own_authority_makes_one_of_ours(root: Made, voucher: Voucher) -> None:
    evidence = show(make_leaf(root, "sip:eu.contoso.com"))
    for change, ours in (
        ({}, {"contoso.com"}),
        ({"trust": Trust.FEDERATED}, frozenset()),
        ({"scope": None}, frozenset()),
    ):
        peer = evolve(voucher, **change).judge(evidence).peer
        assert peer is not None
        assert peer.enterprise == ours
