"""``siptls pki``: what it prints, what it writes, and how it exits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from siptls import Credential, load_policy
from siptls.cli.commands import run
from siptls.testing import assert_accepts

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture(name="siptls")
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line; give its exit status, and what it said on both streams."""

    def ran(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["siptls", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            run()
        said = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, said.out, said.err

    return ran


@pytest.fixture
def lab(siptls: Run, tmp_path: Path) -> Path:
    assert siptls("pki", "init", tmp_path / "lab")[0] == 0
    return tmp_path / "lab"


def test_it_says_what_it_made_and_what_to_type_next(siptls: Run, tmp_path: Path) -> None:
    folder = tmp_path / "a lab"
    status, said, complaint = siptls("pki", "init", folder)
    assert (status, complaint) == (0, "")
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert set(re.findall(r"^  ([\w/.-]+)  +\S", said, re.MULTILINE)) == there
    assert "LAB ONLY" in said.splitlines()[0]
    assert f"siptls check sip:contoso.com --policy '{folder}'/policy.toml" in said
    load_policy(folder / "policy.toml")


def test_domains_and_days_are_as_asked_for(siptls: Run, tmp_path: Path) -> None:
    options = ("--domain", "a.example", "--partner", "b.example", "--days", "7")
    status, said, _ = siptls("pki", "init", tmp_path / "lab", *options)
    assert status == 0
    assert "check sip:a.example" in said
    partner = Credential.from_pem(tmp_path / "lab" / "partner.pem")
    peer = assert_accepts(load_policy(tmp_path / "lab" / "policy.toml"), partner)
    assert peer.domains == {"b.example"}
    leaf = partner.chain[0]
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 8


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "has something in it"),
        (("--domain", "*.example"), "a wildcard names no domain"),
        (("--partner", "eu.contoso.com"), "is no partner of contoso.com"),
        (("--days", "0"), "0 is not in the range"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    siptls: Run, lab: Path, options: tuple[str, ...], complaint: str
) -> None:
    folder = lab if not options else lab.parent / "new"
    status, said, told = siptls("pki", "init", folder, *options)
    assert (status, said) == (2, "")
    assert complaint in told.splitlines()[-1]
    assert "Traceback" not in told
    assert not (lab.parent / "new").exists()


def test_one_more_is_issued(siptls: Run, lab: Path) -> None:
    status, said, _ = siptls("pki", "issue", lab, "sip:phone.contoso.com", "phone.contoso.com")
    assert status == 0
    file = lab / "phone.contoso.com.pem"
    assert said.startswith(f"{file}: sip:phone.contoso.com, phone.contoso.com, of 'LAB ONLY ")
    assert file.stat().st_mode & 0o777 == 0o600
    issued = Credential.from_pem(file)
    peer = assert_accepts(load_policy(lab / "policy.toml"), issued)
    assert peer.domains == {"phone.contoso.com"}
    status, _, told = siptls("pki", "issue", lab, "sip:phone.contoso.com")
    assert (status, told.count("\n")) == (2, 1)
    assert "is there already, and is left as it is: say another file with --out" in told


def test_it_is_issued_as_asked_for(siptls: Run, lab: Path) -> None:
    out = lab / "other.pem"
    options = ("--ca", "partner", "--out", out, "--purposes", "clientAuth", "--days", "3")
    assert siptls("pki", "issue", lab, "sip:eu.fabrikam.com", *options)[0] == 0
    issued = Credential.from_pem(out).chain[0]
    usage = issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert (issued.not_valid_after_utc - issued.not_valid_before_utc).days == 4
    assert "partner CA" in issued.issuer.rfc4514_string()
    bare = lab / "bare.pem"
    command = ("pki", "issue", lab, "sip:eu.fabrikam.com", "--out", bare, "--purposes", "none")
    assert siptls(*command)[0] == 0
    with pytest.raises(x509.ExtensionNotFound):
        Credential.from_pem(bare).chain[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["../up"], "makes no good file name: say which file with --out"),
        (["sip:alice bob"], "makes no good file name"),
        (["a b", "--out", "new.pem"], "is no name for a certificate"),
        (["a.example", "--purposes", "everything"], "everything"),
        (["a.example", "--ca", "other"], "'other' is not one of 'enterprise', 'partner'"),
        (["a.example", "--out", "not/there.pem"], "No such file or directory"),
    ],
)
def test_what_cannot_be_issued_is_one_line(
    siptls: Run,
    lab: Path,
    arguments: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(lab.parent)
    before = sorted(lab.rglob("*"))
    status, said, told = siptls("pki", "issue", lab, *arguments)
    assert (status, said) == (2, "")
    assert complaint in told.splitlines()[-1]
    assert sorted(lab.rglob("*")) == before


def test_there_must_be_a_lab(siptls: Run, tmp_path: Path) -> None:
    status, _, told = siptls("pki", "issue", tmp_path, "sip:contoso.com")
    assert status == 2
    assert "cannot read" in told
    assert told.count("\n") == 1
