"""Name constraints hold for SIP names, too."""

from __future__ import annotations

import pytest
from certificates import Extension, Made, constraints, make_ca, make_leaf, show
from cryptography import x509
from paths import NAME, path, refusal, trusting

from siptls import AnyDomain, Code, NameRules
from siptls.trust.names import MAX_DOMAIN


@pytest.fixture(scope="module")
def root() -> Made:
    """A trust anchor as bare as RFC 5280 allows: no key identifiers, no keyUsage."""
    return make_ca("Root")


CONTOSO_ONLY = constraints(permitted=["contoso.com"])
BELOW_CONTOSO = constraints(permitted=[".contoso.com"])
NOT_CONTOSO = constraints(excluded=["contoso.com"])
NOT_BELOW_CONTOSO = constraints(excluded=[".contoso.com"])

CONSTRAINED: list[tuple[Extension, str, bool]] = [
    (CONTOSO_ONLY, "sip:contoso.com", True),
    (CONTOSO_ONLY, "sip:CONTOSO.com", True),
    (CONTOSO_ONLY, "sip:eu.contoso.com", True),
    (CONTOSO_ONLY, "sips:contoso.com", True),
    (CONTOSO_ONLY, "sip:alice@contoso.com", True),
    (CONTOSO_ONLY, "contoso.com", True),
    (CONTOSO_ONLY, "eu.contoso.com", True),
    (CONTOSO_ONLY, "sip:evilcontoso.com", False),
    (CONTOSO_ONLY, "sip:evil.example", False),
    (CONTOSO_ONLY, "sips:evil.example", False),
    (CONTOSO_ONLY, "sip:alice@evil.example", False),
    (CONTOSO_ONLY, "sip:192.0.2.1", False),
    (CONTOSO_ONLY, "sip:com", False),
    (CONTOSO_ONLY, "evil.example", False),
    (constraints(permitted=["CONTOSO.com"]), "sip:contoso.com", True),
    (constraints(permitted=["a.example", "contoso.com"]), "sip:contoso.com", True),
    (constraints(permitted=[""]), "sip:contoso.com", True),
    # A leading dot leaves the domain itself out.
    (BELOW_CONTOSO, "sip:eu.contoso.com", True),
    (BELOW_CONTOSO, "sip:contoso.com", False),
    (BELOW_CONTOSO, "sip:evilcontoso.com", False),
    (NOT_BELOW_CONTOSO, "sip:contoso.com", True),
    (NOT_BELOW_CONTOSO, "sip:eu.contoso.com", False),
    (NOT_CONTOSO, "sip:fabrikam.com", True),
    (NOT_CONTOSO, "sip:evilcontoso.com", True),
    (NOT_CONTOSO, "fabrikam.com", True),
    (NOT_CONTOSO, "sip:contoso.com", False),
    (NOT_CONTOSO, "sip:eu.contoso.com", False),
    (NOT_CONTOSO, "sip:alice@contoso.com", False),
    (NOT_CONTOSO, "eu.contoso.com", False),
    (constraints(excluded=[""]), "sip:contoso.com", False),
    (constraints(permitted=["contoso.com"], excluded=["eu.contoso.com"]), "sip:contoso.com", True),
    (
        constraints(permitted=["contoso.com"], excluded=["eu.contoso.com"]),
        "sip:a.eu.contoso.com",
        False,
    ),
    # Constraints on mail addresses say nothing about domains.
    (
        (x509.NameConstraints([x509.RFC822Name("contoso.com")], None), True),
        "sip:fabrikam.com",
        True,
    ),
]


@pytest.mark.parametrize(("extension", "name", "good"), CONSTRAINED)
@pytest.mark.parametrize("where", ["root", "intermediate"])
def test_dns_constraints_hold_for_the_hosts_of_uris(
    extension: Extension, name: str, good: bool, where: str
) -> None:
    """A CA that is limited to contoso.com may not issue ``sip:evil.example`` either."""
    root = make_ca("Root", None, *([extension] if where == "root" else []))
    intermediate = make_ca("I", root, *([extension] if where == "intermediate" else []))
    chain = make_leaf(intermediate, name), intermediate
    if good:
        assert len(path(trusting(root), *chain)) == 3
    else:
        assert refusal(trusting(root), *chain)[0] is Code.PATH_CONSTRAINT


def test_one_name_outside_the_constraints_spoils_the_certificate(root: Made) -> None:
    """The explanation names it, and the CA whose limit it breaks."""
    limited = make_ca("I", root, CONTOSO_ONLY)
    assert path(trusting(root), make_leaf(limited, NAME, "sip:eu.contoso.com"), limited)
    leaf = make_leaf(limited, NAME, "sip:evil.example")
    code, reason = refusal(trusting(root), leaf, limited)
    assert code is Code.PATH_CONSTRAINT
    assert "presents sip:evil.example; expected a name for which CN=I " in reason


@pytest.mark.parametrize(
    ("extension", "good"),
    [
        (CONTOSO_ONLY, True),
        (constraints(permitted=["sip.contoso.com"]), False),
        (constraints(permitted=["fabrikam.com"]), False),
        (NOT_CONTOSO, False),
        (constraints(excluded=["sip.contoso.com"]), False),
        (constraints(excluded=[".sip.contoso.com"]), False),
    ],
)
def test_a_wildcard_does_not_lead_around_the_constraints(
    root: Made, extension: Extension, good: bool
) -> None:
    """``*.contoso.com`` is not within ``sip.contoso.com``, and yet stands for it."""
    limited = make_ca("I", root, extension)
    policy = AnyDomain(trusting(root), names=NameRules.RFC9525)
    leaf = make_leaf(limited, "*.contoso.com")
    decision = policy.evaluate(show(leaf, limited, role="server", reference="sip.contoso.com"))
    assert decision.code == (Code.ACCEPTED if good else Code.PATH_CONSTRAINT)


def test_an_excluded_name_is_told_as_such(root: Made) -> None:
    limited = make_ca("I", root, NOT_CONTOSO)
    _, reason = refusal(trusting(root), make_leaf(limited, NAME), limited)
    assert "presents sip:contoso.com; expected no name that is excluded for CN=I " in reason


@pytest.mark.parametrize("tree", ["contoso.com.", "sip:contoso.com", "a..b", "."])
@pytest.mark.parametrize("side", ["permitted", "excluded"])
def test_a_constraint_on_what_is_no_domain_refuses(root: Made, tree: str, side: str) -> None:
    """Whoever wrote it meant something: to take it for nothing would let everything pass."""
    limited = make_ca("I", root, constraints(**{side: [tree]}))
    code, reason = refusal(trusting(root), make_leaf(limited, NAME), limited)
    assert code is Code.PATH_CONSTRAINT
    assert f"has nameConstraints on {tree!r}; expected a domain" in reason


def test_a_constraint_on_what_is_no_domain_forbids_nothing_to_who_has_no_domain(root: Made) -> None:
    """A certificate that is pinned or known by a user's name may have none."""
    limited = make_ca("I", root, constraints(permitted=["sip:contoso.com"]))
    assert path(trusting(root), make_leaf(limited, subject="Contoso Server"), limited)


def test_a_host_too_long_for_a_domain_is_within_nothing(root: Made) -> None:
    """Its parents are not even looked up: a stranger may send a thousand of them."""
    limited = make_ca("I", root, CONTOSO_ONLY)
    longest = f"{'a.' * 121}contoso.com"
    assert len(longest) == MAX_DOMAIN
    assert path(trusting(root), make_leaf(limited, f"sip:{longest}"), limited)
    chain = make_leaf(limited, f"sip:a{longest}"), limited
    assert refusal(trusting(root), *chain)[0] is Code.PATH_CONSTRAINT


def test_dns_constraints_hold_for_services(root: Made) -> None:
    """An SRV name is not known to the path builder either (RFC 4985)."""
    limited = make_ca("I", root, CONTOSO_ONLY)
    for service, good in (("_sips.contoso.com", True), ("_sips.evil.example", False)):
        text = service.encode()
        name = x509.OtherName(
            x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), bytes([0x16, len(text)]) + text
        )
        san = x509.SubjectAlternativeName([name]), False
        leaf = make_leaf(limited, more=[san])
        if good:
            assert path(trusting(root), leaf, limited)
        else:
            assert refusal(trusting(root), leaf, limited)[0] is Code.PATH_CONSTRAINT


@pytest.mark.parametrize(
    ("names", "common_name", "good"),
    [
        ([], "sip.contoso.com", True),
        ([], "sip.evil.example", False),
        # No domain: it can never be believed, so there is nothing to constrain.
        ([], "Contoso Server", True),
        # Beside a SAN a common name never counts.
        ([NAME], "sip.evil.example", True),
    ],
)
def test_dns_constraints_hold_for_a_common_name_without_san(
    root: Made, names: list[str], common_name: str, good: bool
) -> None:
    """`NameRules.OCS` believes such a common name, so it is constrained like a dNSName."""
    limited = make_ca("I", root, CONTOSO_ONLY)
    chain = make_leaf(limited, *names, subject=common_name), limited
    if good:
        assert len(path(trusting(root), *chain)) == 3
    else:
        assert refusal(trusting(root), *chain)[0] is Code.PATH_CONSTRAINT


def test_each_ca_on_the_path_keeps_its_constraints(root: Made) -> None:
    """The CA below cannot widen what the CA above was limited to."""
    upper = make_ca("Upper", root, constraints(permitted=["contoso.com"]))
    lower = make_ca("Lower", upper, constraints(permitted=["contoso.com", "evil.example"]))
    assert path(trusting(root), make_leaf(lower, NAME), lower, upper)
    code, reason = refusal(trusting(root), make_leaf(lower, "sip:evil.example"), lower, upper)
    assert code is Code.PATH_CONSTRAINT
    assert "CN=Upper" in reason


@pytest.mark.parametrize("permitted", [".contoso.com", ""])
def test_a_dns_name_under_a_constraint_with_a_leading_dot_is_refused(
    root: Made, permitted: str
) -> None:
    """Such constraints are no DNS names (RFC 5280 §4.2.1.10), and ``cryptography`` takes none."""
    limited = make_ca("I", root, constraints(permitted=[permitted]))
    leaf = make_leaf(limited, "sip:eu.contoso.com", "eu.contoso.com")
    assert refusal(trusting(root), leaf, limited)[0] is Code.PATH_CONSTRAINT
