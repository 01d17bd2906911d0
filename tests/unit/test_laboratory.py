"""A laboratory: what is good in it is accepted, and each fault refused as its page says."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest
from cryptography import x509

from siptls import (
    CertificateError,
    Code,
    ConfigurationError,
    Credential,
    Role,
    TrustPolicy,
    load_policy,
)
from siptls.cli.folder import write_folder
from siptls.cli.laboratory import MARK, Laboratory, issue, make_laboratory, read_ca
from siptls.testing import CertificateAuthority, assert_accepts, assert_refuses, evidence, pem

NOW = dt.datetime(2031, 5, 1, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
MADE: Laboratory = make_laboratory("contoso.com", "fabrikam.com", now=NOW, days=30)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "lab"
    write_folder(folder, MADE.documents)
    return folder


def credential(lab: Path, name: str) -> Credential:
    return Credential.from_pem(lab / f"{name}.pem")


def policy(lab: Path, name: str = "policy") -> TrustPolicy:
    return load_policy(lab / f"{name}.toml")


# ---------------------------------------------------------------- what is good


@pytest.mark.parametrize("which", ["policy", "partner-policy"])
@pytest.mark.parametrize(
    ("name", "domain"), [("server", "contoso.com"), ("partner", "fabrikam.com")]
)
def test_both_companies_believe_both_servers(lab: Path, which: str, name: str, domain: str) -> None:
    expected = {"role": "server", "reference": f"sip:{domain}", "now": NOW}
    assert_accepts(policy(lab, which), credential(lab, name), domains=[domain], **expected)
    assert_accepts(policy(lab, which), credential(lab, name), role="client", now=NOW)


def test_the_client_is_believed_for_its_own_name(lab: Path) -> None:
    assert_accepts(policy(lab), credential(lab, "client"), domains=["pc.contoso.com"], now=NOW)


def test_all_of_it_ends_together(lab: Path) -> None:
    assert MADE.ends == NOW + 30 * DAY
    assert_accepts(policy(lab), credential(lab, "client"), now=MADE.ends - DAY / 24)
    assert_refuses(policy(lab), credential(lab, "client"), "path.expired", now=MADE.ends + DAY)


def test_other_tls_programs_find_what_they_look_for(lab: Path) -> None:
    """RFC 5280 §4.2.1: keyUsage and both key identifiers, of a CA also its path length."""
    anchor = x509.load_pem_x509_certificate((lab / "enterprise-ca.pem").read_bytes())
    leaf = credential(lab, "server").chain[0]
    of_ca, of_leaf = anchor.extensions, leaf.extensions
    assert of_ca.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert of_ca.get_extension_for_class(x509.KeyUsage).value.crl_sign
    usage = of_leaf.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    above = of_ca.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer = of_leaf.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == above.digest
    own = of_leaf.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert own == x509.SubjectKeyIdentifier.from_public_key(leaf.public_key())


# ---------------------------------------------------------------- what is refused

README = next(one.content.decode() for one in MADE.documents if one.name == "README.md")
FAULTS = re.findall(
    r"^\| `impostors/(\S+)\.pem` \| .+ \| `(\S+)` \| `(\S+)` \|$", README, re.MULTILINE
)


def test_each_fault_is_in_the_readme_and_in_the_folder(lab: Path) -> None:
    there = {path.stem for path in (lab / "impostors").iterdir()}
    assert {name for name, _, _ in FAULTS} == there
    assert len(there) == 7


@pytest.mark.parametrize(("name", "as_server", "as_client"), FAULTS)
def test_each_fault_is_judged_as_the_readme_says(
    lab: Path, name: str, as_server: str, as_client: str
) -> None:
    shown = credential(lab, f"impostors/{name}")
    server = evidence(shown, Role.SERVER, "sip:contoso.com", NOW)
    assert policy(lab).evaluate(server).code == as_server
    assert policy(lab).evaluate(evidence(shown, Role.CLIENT, now=NOW)).code == as_client


def test_one_way_is_refused_where_both_are_asked_for(lab: Path, tmp_path: Path) -> None:
    text = (
        (lab / "policy.toml").read_text().replace("[[partner]]", 'purposes = "ROLE"\n[[partner]]')
    )
    for name in ("enterprise-ca.pem", "partner-ca.pem", "enterprise.crl"):
        (tmp_path / name).write_bytes((lab / name).read_bytes())
    (tmp_path / "policy.toml").write_text(text)
    shown = credential(lab, "impostors/server-auth-only")
    assert_refuses(policy(tmp_path), shown, "purpose.unacceptable", role="client", now=NOW)


# ---------------------------------------------------------------- marked, and complete


def test_it_says_that_it_is_for_a_lab(lab: Path) -> None:
    for name in ("enterprise-ca.pem", "partner-ca.pem"):
        anchor = x509.load_pem_x509_certificate((lab / name).read_bytes())
        assert anchor.subject.rfc4514_string().startswith(f"CN={MARK} ")
        assert anchor.not_valid_after_utc == MADE.ends
    assert f"# {MARK}" in README
    assert "Do not use it in production" in README
    for name in ("policy.toml", "partner-policy.toml"):
        assert MARK in (lab / name).read_text()


def test_the_mark_is_there_however_long_the_name() -> None:
    """A common name has at most 64 characters: what is more is cut off at its end."""
    made = make_laboratory("a." * 100 + "example", "fabrikam.com", now=NOW, days=1)
    content = next(one.content for one in made.documents if one.name == "enterprise-ca.pem")
    assert MARK in x509.load_pem_x509_certificate(content).subject.rfc4514_string()


def test_whatever_has_a_key_is_secret() -> None:
    assert all(one.is_secret == (b"PRIVATE KEY" in one.content) for one in MADE.documents)


def test_each_file_is_told_of() -> None:
    names = [one.name for one in MADE.documents if one.name != "README.md"]
    assert all(f"| `{name}` |" in README for name in names)
    assert all(one.about for one in MADE.documents)


@pytest.mark.parametrize(
    ("domain", "partner"),
    [("a.example", "a.example"), ("A.example", "b.a.example"), ("b.a.example", "a.example")],
)
def test_two_companies_are_not_one(domain: str, partner: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no partner of .* --domain and --partner"):
        make_laboratory(domain, partner, now=NOW, days=1)


def test_a_domain_is_one() -> None:
    with pytest.raises(ConfigurationError, match=r"'192\.0\.2\.1' is no domain"):
        make_laboratory("192.0.2.1", "fabrikam.com", now=NOW, days=1)


def test_a_domain_of_another_script_is_written_as_certificates_have_it() -> None:
    made = make_laboratory("bücher.example", "fabrikam.com", now=NOW, days=1)
    assert made.domain == "xn--bcher-kva.example"


# ---------------------------------------------------------------- more of them


def test_more_is_issued_and_believed(lab: Path) -> None:
    ca = read_ca(lab, "enterprise", now=NOW)
    more = issue(ca, ["sip:phone.contoso.com"], begin=NOW - DAY, ends=NOW + 100 * DAY)
    assert_accepts(policy(lab), more, domains=["phone.contoso.com"], now=NOW)
    assert more.chain[0].not_valid_after_utc == MADE.ends  # it ends with its CA


@pytest.mark.parametrize("name", ["", "a b", "bücher.example", "a\x1b[2J"])
def test_a_name_is_one(lab: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no name for a certificate") as caught:
        issue(read_ca(lab, "partner", now=NOW), [name], begin=NOW, ends=MADE.ends)
    assert str(caught.value).isprintable()


def test_a_lab_that_has_ended_issues_nothing(lab: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has ended, at 2031-05-31.*make a new lab"):
        read_ca(lab, "enterprise", now=MADE.ends)


def test_a_ca_of_the_world_outside_issues_nothing_here(tmp_path: Path) -> None:
    ca = CertificateAuthority("Contoso CA")
    (tmp_path / "enterprise-ca.pem").write_bytes(ca.pem)
    key = pem(Credential([ca.certificate], ca.key)).split(b"-----BEGIN CERT")[0]
    (tmp_path / "enterprise-ca.key").write_bytes(key)
    with pytest.raises(ConfigurationError, match="'Contoso CA', and no lab's"):
        read_ca(tmp_path, "enterprise", now=NOW)
    with pytest.raises(ConfigurationError, match=r"cannot read .*partner-ca.pem"):
        read_ca(tmp_path, "partner", now=NOW)


def test_the_key_must_be_that_of_the_ca(lab: Path, tmp_path: Path) -> None:
    (tmp_path / "enterprise-ca.pem").write_bytes((lab / "enterprise-ca.pem").read_bytes())
    (tmp_path / "enterprise-ca.key").write_bytes((lab / "partner-ca.key").read_bytes())
    with pytest.raises(CertificateError):
        read_ca(tmp_path, "enterprise", now=NOW)


def test_the_codes_are_those_of_siptls() -> None:
    assert {code for _, *codes in FAULTS for code in codes} <= {str(code) for code in Code}


def test_the_page_has_the_files_and_the_codes_of_the_lab() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "command-line.md").read_text(
        encoding="utf-8"
    )
    row = re.compile(r"^\| `(\S+)\.pem` \| `?([\w.-]+)`? \| `?([\w.-]+)`?.* \|$", re.MULTILINE)
    assert [tuple(one.rstrip(":;") for one in found) for found in row.findall(page)] == FAULTS
    assert all(f"  {one.name} " in page for one in MADE.documents)
