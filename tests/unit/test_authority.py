"""Authority: who is vouched for, on which path."""

from __future__ import annotations

from pathlib import Path

import certifi
import pytest
from attrs import evolve
from certificates import (
    CA,
    END_ENTITY,
    NOW,
    SECOND,
    YEAR,
    Extension,
    Made,
    constraints,
    key_usage,
    make,
    make_ca,
    make_leaf,
    named,
    purposes,
    raw,
    show,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from paths import NAME, certificates, path, refusal, rsa_key, trusting

from siptls import Authority, Code, ConfigurationError, Decision, Evidence, KeyPurposes
from siptls.errors import CertificateError
from siptls.testing import CertificateAuthority
from siptls.trust.authority import ProvenPath
from siptls.trust.evidence import MAX_SEARCHES


@pytest.fixture(scope="module")
def root() -> Made:
    """A trust anchor as bare as RFC 5280 allows: no key identifiers, no keyUsage."""
    return make_ca("Root")


# ---------------------------------------------------------------- which path


def test_a_leaf_of_an_anchor_is_proven(root: Made) -> None:
    """The result holds the path from leaf to anchor, who proved it, and until when."""
    authority = trusting(root)
    leaf = make_leaf(root, NAME)
    proven = authority.verify(show(leaf))
    assert isinstance(proven, ProvenPath)
    assert proven.chain == (leaf.certificate, root.certificate)
    assert proven.authority is authority
    assert proven.expires == NOW + YEAR


@pytest.mark.parametrize("first", ["leaf", "intermediate", "root"])
def test_a_path_expires_with_the_first_of_its_certificates(first: str) -> None:
    """`expires` is the earliest notAfter, wherever on the path it stands."""
    ends = dict.fromkeys(("leaf", "intermediate", "root"), NOW + YEAR)
    ends[first] = NOW + SECOND
    root = make_ca("Root", not_after=ends["root"])
    intermediate = make_ca("I", root, not_after=ends["intermediate"])
    leaf = make_leaf(intermediate, NAME, not_after=ends["leaf"])
    proven = trusting(root).verify(show(leaf, intermediate))
    assert isinstance(proven, ProvenPath)
    assert proven.expires == NOW + SECOND


def test_intermediates_may_come_in_any_order_and_twice(root: Made) -> None:
    """TLS 1.3 allows any order; servers send the anchor along, and strays."""
    upper = make_ca("Upper", root)
    lower = make_ca("Lower", upper)
    leaf = make_leaf(lower, NAME)
    expected = certificates(leaf, lower, upper, root)
    authority = trusting(root)
    assert path(authority, leaf, lower, upper) == expected
    assert path(authority, leaf, upper, lower) == expected
    assert path(authority, leaf, lower, lower, upper, upper) == expected
    assert path(authority, leaf, lower, upper, root) == expected
    assert path(authority, leaf, make_ca("Stray"), root, upper, lower) == expected


def test_an_anchor_may_be_an_intermediate(root: Made) -> None:
    """The path ends at the anchor; the root above it is not needed, and not trusted."""
    anchor = make_ca("I", root)
    leaf = make_leaf(anchor, NAME)
    assert path(trusting(anchor), leaf) == certificates(leaf, anchor)
    assert path(trusting(anchor), leaf, anchor, root) == certificates(leaf, anchor)
    assert refusal(trusting(anchor), make_leaf(root, NAME))[0] is Code.PATH_UNKNOWN_CA


BAD_CROSS_CERTIFICATES = {
    "expired": ((), {"not_after": NOW - SECOND}),
    "without keyCertSign": ((key_usage(key_cert_sign=False),), {}),
    "with an unrelated EKU": ((purposes(ExtendedKeyUsageOID.CODE_SIGNING),), {}),
}


@pytest.mark.parametrize("why", BAD_CROSS_CERTIFICATES)
@pytest.mark.parametrize("bad_first", [True, False])
def test_a_bad_cross_certificate_does_not_hide_a_good_path(
    root: Made, why: str, bad_first: bool
) -> None:
    """Two intermediates of one name and key: one is bad, the other carries the path."""
    extensions, options = BAD_CROSS_CERTIFICATES[why]
    good = make_ca("I", root)
    bad = make_ca("I", root, *extensions, key=good.key, **options)
    leaf = make_leaf(good, NAME)
    sent = (bad, good) if bad_first else (good, bad)
    assert path(trusting(root), leaf, *sent) == certificates(leaf, good, root)
    assert refusal(trusting(root), leaf, bad)[0] is not Code.PATH_UNKNOWN_CA


def test_an_impostor_of_an_intermediate_does_not_hide_a_good_path(root: Made) -> None:
    """Two intermediates of one name and two keys."""
    good, impostor = make_ca("I", root), make_ca("I", root)
    leaf = make_leaf(good, NAME)
    assert path(trusting(root), leaf, impostor, good) == certificates(leaf, good, root)


@pytest.mark.parametrize(
    "constrained_first",
    [False, True],
)
def test_a_constrained_cross_certificate_does_not_hide_a_good_path(
    root: Made, constrained_first: bool
) -> None:
    """Name constraints belong to a path, not to the leaf: another path may be free of them."""
    good = make_ca("I", root)
    constrained = make_ca("I", root, constraints(permitted=["other.example"]), key=good.key)
    leaf = make_leaf(good, NAME)
    sent = (constrained, good) if constrained_first else (good, constrained)
    assert path(trusting(root), leaf, *sent) == certificates(leaf, good, root)


def test_of_two_anchors_of_one_name_the_right_one_is_found(root: Made) -> None:
    """A CA that renewed its root, with another key or with the same one."""
    other_key = make_ca("Root")
    expired = make_ca("Root", key=root.key, not_after=NOW - SECOND)
    leaf = make_leaf(root, NAME)
    assert path(trusting(other_key, root), leaf) == certificates(leaf, root)
    assert path(trusting(expired, root), leaf) == certificates(leaf, root)
    assert refusal(trusting(other_key), leaf)[0] is Code.PATH_SIGNATURE
    assert refusal(trusting(expired), leaf)[0] is Code.PATH_EXPIRED


# ---------------------------------------------------------------- limits


def test_no_certificate_at_all(root: Made) -> None:
    assert refusal(trusting(root))[0] is Code.CERTIFICATE_MISSING


def test_more_certificates_than_are_taken(root: Made) -> None:
    """Eight by default, and the path may use all of them; not one more."""
    cas = [root]
    for number in range(7):
        cas.append(make_ca(f"I{number}", cas[-1]))
    chain = [make_leaf(cas[-1], NAME), *reversed(cas[1:])]
    assert path(trusting(root), *chain) == certificates(*chain, root)
    code, reason = refusal(trusting(root), *chain, root)
    assert code is Code.PATH_LIMIT
    assert reason == "the client presents 9 certificates; expected at most 8"
    assert len(path(trusting(root), *chain, root, max_certificates=9)) == 9
    assert refusal(trusting(root), *chain, max_certificates=7)[0] is Code.PATH_LIMIT


def test_more_bytes_than_are_taken(root: Made) -> None:
    leaf = make_leaf(root, NAME)
    size = len(leaf.certificate.public_bytes(Encoding.DER))
    assert path(trusting(root), leaf, max_chain=size)
    assert refusal(trusting(root), leaf, max_chain=size - 1)[0] is Code.PATH_LIMIT


def test_an_rsa_key_above_the_limit_is_not_worked_with(root: Made) -> None:
    """In a leaf and in an intermediate; 8192 bits are good, see above."""
    huge = rsa_key(8193)
    assert refusal(trusting(root), make_leaf(root, NAME, public_key=huge))[0] is Code.PATH_LIMIT
    intermediate = make_ca("I", root, public_key=huge)
    leaf = make_leaf(root, NAME)
    assert refusal(trusting(root), leaf, intermediate)[0] is Code.PATH_LIMIT


def test_more_names_than_are_taken(root: Made) -> None:
    """999 dNSNames and a common name are 1000 names; one more is too many."""
    names = [f"h{number}.contoso.com" for number in range(999)]
    assert path(trusting(root), make_leaf(root, *names))
    code, reason = refusal(trusting(root), make_leaf(root, *names, NAME))
    assert code is Code.PATH_LIMIT
    assert "1001 names" in reason


# ---------------------------------------------------------------- one search for each evidence


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the authorities that search, each time that one does."""
    names: list[str] = []
    build = Authority._build

    def watch(authority: Authority, evidence: Evidence) -> object:
        names.append(authority.name)
        return build(authority, evidence)

    monkeypatch.setattr(Authority, "_build", watch)
    return names


def test_a_stranger_costs_no_signature(root: Made, searched: list[str]) -> None:
    """Where no anchor has issued any of it, no path is searched: strangers come in numbers."""
    stranger = make_ca("Stranger CA")
    assert refusal(trusting(root), make_leaf(stranger, NAME), stranger)[0] is Code.PATH_UNKNOWN_CA
    assert searched == []
    path(trusting(root), make_leaf(root, NAME))
    assert len(searched) == 1


def test_authorities_with_the_same_anchors_search_once(root: Made, searched: list[str]) -> None:
    """A thousand partners may share a CA, and a stranger may claim to be each of them."""
    first = Authority("First", [root.certificate])
    second = Authority("Second", [root.certificate])
    good = show(make_leaf(root, NAME))
    for authority in (first, first, second):
        proven = authority.verify(good)
        assert isinstance(proven, ProvenPath)
        assert proven.authority is authority
    assert searched == ["First"]


def test_a_refusal_that_is_remembered_is_told_by_the_right_name(
    root: Made, searched: list[str]
) -> None:
    middle = make_ca("M", make_ca("Root"), key=None)
    bad = show(make_leaf(make_ca("Gone", middle), NAME), make("X", root, (CA, True)), root)
    for name in ("First", "Second"):
        decision = Authority(name, [root.certificate]).verify(bad)
        assert isinstance(decision, Decision)
        assert decision.code == Code.PATH_UNKNOWN_CA
        assert f"a path to an anchor of {name}" in decision.reason
        assert decision.by == f"authority {name}"
    assert searched == ["First"]


def test_only_an_unknown_ca_is_told_by_the_name_of_the_authority(root: Made) -> None:
    """What else was expected does not depend on who asked."""
    evidence = show(make_leaf(make_ca("Root"), NAME))
    faults = []
    for name in ("First", "Second"):
        decision = Authority(name, [root.certificate]).verify(evidence)
        assert isinstance(decision, Decision)
        faults.append(decision.fault)
        assert decision.reason.endswith("; expected the signature of its issuer")
    assert faults[0] == faults[1]


def test_other_purposes_are_another_search(root: Made, searched: list[str]) -> None:
    evidence = show(make_leaf(root, NAME, more=[purposes(ExtendedKeyUsageOID.SERVER_AUTH)]))
    assert isinstance(trusting(root).verify(evidence), ProvenPath)
    assert isinstance(trusting(root, purposes=KeyPurposes.ROLE).verify(evidence), Decision)
    assert len(searched) == 2


def test_other_evidence_is_another_search(root: Made, searched: list[str]) -> None:
    authority, leaf = trusting(root), make_leaf(root, NAME)
    authority.verify(show(leaf))
    authority.verify(show(leaf))
    assert len(searched) == 2


def test_what_was_found_once_is_not_believed_later(root: Made, searched: list[str]) -> None:
    """Evidence that was evolved is other evidence: it has forgotten all that was found."""
    authority, evidence = trusting(root), show(make_leaf(root, NAME, not_after=NOW))
    assert isinstance(authority.verify(evidence), ProvenPath)
    later = authority.verify(evolve(evidence, now=NOW + SECOND))
    assert isinstance(later, Decision)
    assert later.code == Code.PATH_EXPIRED
    assert len(searched) == 2


def test_a_stranger_costs_so_many_searches_and_no_more(searched: list[str]) -> None:
    """CAs of one and the same subject: who claims to be issued by it has all of them search."""
    roots = [make_ca("Root CA") for _ in range(MAX_SEARCHES + 1)]
    evidence = show(make_leaf(make_ca("Root CA"), NAME))
    codes = []
    for number, one in enumerate(roots):
        decision = Authority(f"CA {number}", [one.certificate]).verify(evidence)
        assert isinstance(decision, Decision)
        codes.append(decision.code)
    assert codes == [Code.PATH_SIGNATURE] * MAX_SEARCHES + [Code.PATH_LIMIT]
    assert len(searched) == MAX_SEARCHES


# ---------------------------------------------------------------- building an authority


def test_an_authority_has_an_anchor() -> None:
    with pytest.raises(ConfigurationError, match="without a trust anchor"):
        Authority("Contoso", [])


def test_one_certificate_is_no_list_of_anchors(root: Made) -> None:
    """It is what everybody writes once."""
    with pytest.raises(ConfigurationError, match=r"write Authority\(name, \[certificate\]\)"):
        Authority("Contoso", root.certificate)  # type: ignore[arg-type]


def test_anchors_from_no_pem_at_all() -> None:
    """The path is taken for the name; it is what everybody writes once."""
    with pytest.raises(ConfigurationError, match=r"has a name, and then its files: from_pem\("):
        Authority.from_pem("CA")


def test_an_anchor_is_a_certificate() -> None:
    """A path where a certificate is wanted: `Authority.from_pem` was meant."""
    with pytest.raises(
        ConfigurationError, match=r"'contoso-ca\.pem': .* Authority\.from_pem reads"
    ):
        Authority("Contoso", ["contoso-ca.pem"])  # type: ignore[list-item]


@pytest.mark.parametrize("extensions", [[], [(END_ENTITY, True)]])
def test_an_anchor_is_a_ca(root: Made, extensions: list[Extension]) -> None:
    """A server's own certificate given as its CA is a frequent mistake: each is named."""
    leaf = make("sip.contoso.com", root, *extensions)
    with pytest.raises(ConfigurationError, match=r"CN=sip\.contoso\.com .*no basicConstraints cA"):
        Authority("Contoso", [root.certificate, leaf.certificate])


def altered(made: Made, old: bytes, new: bytes) -> Made:
    """Give a certificate with other bytes in it; its signature does not matter here."""
    der = made.certificate.public_bytes(Encoding.DER)
    assert len(old) == len(new)
    assert old in der
    return Made(x509.load_der_x509_certificate(der.replace(old, new)), made.key)


UNDECODABLE = {
    "ValueError": make_ca("Odd", None, raw("2.5.29.37", b"\x05\x00", critical=False)),
    "TypeError: an address without a mask": make_ca(
        "Odd",
        None,
        raw("2.5.29.30", b"\x30\x0a\xa0\x08\x30\x06\x87\x04\x0a\x00\x00\x01", critical=True),
    ),
    "DuplicateExtension": altered(
        make_ca("Odd", None, *[raw(f"1.2.3.{n}", b"\x05\x00", critical=False) for n in (4, 5)]),
        b"\x06\x03\x2a\x03\x05",
        b"\x06\x03\x2a\x03\x04",
    ),
    "ValueError: a subject": altered(make_ca("Odd"), b"Odd", b"\xff\xfe\xfd"),
    "TypeError: a subject": altered(make_ca("Odd"), b"\x0c\x03Odd", b"\x03\x03Odd"),
}


@pytest.mark.parametrize("anchor", UNDECODABLE.values(), ids=UNDECODABLE)
def test_whatever_an_anchor_cannot_be_decoded_for_it_is_refused(root: Made, anchor: Made) -> None:
    """The decoder raises errors of many kinds; a good anchor beside it does not help."""
    with pytest.raises(ConfigurationError, match=r"\(serial .*\): it cannot be decoded \(") as told:
        trusting(root, anchor)
    assert "CN=Root" not in str(told.value)


def test_an_authority_is_a_value(root: Made) -> None:
    """Anchors come from any iterable, each once; authorities are equal if all they hold is."""
    anchors = iter([root.certificate, root.certificate])
    authority = Authority("Contoso", anchors)
    assert authority.anchors == (root.certificate,)
    assert authority.subjects == {named("Root")}
    assert authority.purposes is KeyPurposes.SIP
    twin = Authority("Contoso", [root.certificate])
    assert authority == twin
    assert hash(authority) == hash(twin)
    assert authority != Authority("Fabrikam", [root.certificate])
    assert authority != Authority("Contoso", [root.certificate, make_ca("Other").certificate])
    assert authority != Authority("Contoso", [root.certificate], purposes=KeyPurposes.ROLE)
    assert "Contoso" in repr(authority)


def test_authorities_share_no_anchors(root: Made) -> None:
    """What one authority knows, another does not."""
    other = make_ca("Other")
    leaf = make_leaf(other, NAME)
    first, second = trusting(root), trusting(other)
    assert len(path(second, leaf)) == 2
    assert refusal(first, leaf)[0] is Code.PATH_UNKNOWN_CA


def test_anchors_from_pem(tmp_path: Path, contoso: CertificateAuthority) -> None:
    """From a path, a string that is a path, and bytes; a file may hold several."""
    fabrikam = make_ca("Fabrikam")
    fabrikam_pem = fabrikam.certificate.public_bytes(Encoding.PEM)
    file = tmp_path / "ca.pem"
    file.write_bytes(contoso.pem + fabrikam_pem)
    both = (contoso.certificate, fabrikam.certificate)
    assert Authority.from_pem("CA", file).anchors == both
    assert Authority.from_pem("CA", str(file)).anchors == both
    assert Authority.from_pem("CA", contoso.pem, fabrikam_pem).anchors == both
    assert Authority.from_pem("CA", file, contoso.pem).anchors == both
    assert (
        Authority.from_pem("CA", contoso.pem, purposes=KeyPurposes.ROLE).purposes
        is KeyPurposes.ROLE
    )


def test_anchors_from_pem_that_hold_none(tmp_path: Path) -> None:
    """Every mistake has its own sentence."""
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent\.pem"):
        Authority.from_pem("CA", tmp_path / "absent.pem")
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"empty\.pem has no certificate"):
        Authority.from_pem("CA", empty)
    with pytest.raises(ConfigurationError, match="the PEM text given has no certificate"):
        Authority.from_pem("CA", b"no PEM here")


def test_one_good_source_does_not_excuse_an_empty_one(contoso: CertificateAuthority) -> None:
    with pytest.raises(ConfigurationError, match="has no certificate"):
        Authority.from_pem("CA", contoso.pem, b"")


def test_pem_text_as_str_is_not_taken_for_a_path(contoso: CertificateAuthority) -> None:
    with pytest.raises(ConfigurationError, match="pass it as bytes"):
        Authority.from_pem("CA", contoso.pem.decode())


def test_anchors_from_pem_of_no_ca(contoso: CertificateAuthority) -> None:
    leaf = contoso.issue("sip:contoso.com").chain[0]
    with pytest.raises(ConfigurationError, match="no CA certificate"):
        Authority.from_pem("CA", leaf.public_bytes(Encoding.PEM))


def test_anchors_from_pem_that_is_cut_off(contoso: CertificateAuthority) -> None:
    lines = contoso.pem.splitlines(keepends=True)
    with pytest.raises(CertificateError, match="cannot be read"):
        Authority.from_pem("CA", b"".join([*lines[:3], lines[-1]]))


def test_the_public_authority() -> None:
    """It has the roots that `certifi` has, and knows none of ours."""
    public = Authority.public(purposes=KeyPurposes.ROLE)
    assert public.name == "public CAs"
    assert public.purposes is KeyPurposes.ROLE
    count = Path(certifi.where()).read_bytes().count(b"-----BEGIN CERTIFICATE-----")
    assert len(public.anchors) == count > 50
    assert refusal(public, make_leaf(make_ca("Root"), NAME))[0] is Code.PATH_UNKNOWN_CA
