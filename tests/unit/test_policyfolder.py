"""The folder of a policy file: what lies there, and what of it the policy reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from siptls import load_policy
from siptls.cli.policyfolder import folder_findings
from siptls.testing import CertificateAuthority, pem

CONTOSO = CertificateAuthority("Contoso CA", seed="folder")
FABRIKAM = CertificateAuthority("Fabrikam CA", seed="folder")
LEAF = FABRIKAM.issue("sip:fabrikam.com")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "contoso-ca.pem").write_bytes(CONTOSO.pem)
    file = tmp_path / "policy.toml"
    file.write_text('[enterprise]\ndomains = ["contoso.com"]\nauthority = "contoso-ca.pem"\n')
    return file


def told(policy: Path, *also: Path) -> list[str]:
    load_policy(policy)  # what is looked at has been read before
    return [f"{one.severity} {one.code}: {one.about}" for one in folder_findings(policy, also)]


def add(policy: Path, text: str) -> None:
    with policy.open("a") as file:
        file.write(text)


def test_where_all_is_named_nothing_is_found(policy: Path) -> None:
    (policy.parent / "key.pem").write_bytes(pem(LEAF).partition(b"-----BEGIN CERT")[0])
    (policy.parent / "notes.txt").write_bytes(FABRIKAM.pem)
    (policy.parent / "ours.pem").write_bytes(pem(LEAF))
    (policy.parent / "folder.pem").mkdir()
    (policy.parent / "broken.pem").write_bytes(FABRIKAM.pem.replace(b"MII", b"!!!"))
    assert told(policy) == []


def test_certificates_that_nothing_names_are_told(policy: Path) -> None:
    (policy.parent / "old\x1b.pem").write_bytes(FABRIKAM.pem)
    (policy.parent / "list.crl").write_text("-----BEGIN X509 CRL-----")
    assert told(policy) == ["note file.unnamed: list.crl, old\\u001b.pem"]


def test_what_something_else_names_is_in_order(policy: Path) -> None:
    chain = policy.parent / "edge.pem"
    chain.write_bytes(LEAF.chain[0].public_bytes(Encoding.PEM))
    assert told(policy) == ["note file.unnamed: edge.pem"]
    assert told(policy, chain) == []


def test_files_of_all_tables_are_named(policy: Path) -> None:
    for name in ("partner.pem", "second.pem", "strangers.pem"):
        (policy.parent / name).write_bytes(FABRIKAM.pem)
    (policy.parent / "list.crl").write_bytes(FABRIKAM.crl())
    add(policy, '[[partner]]\ndomains = ["fabrikam.com"]\ncrls = ["list.crl"]\n')
    add(policy, 'authority = "partner.pem"\n')
    add(policy, '[[partner]]\ndomains = ["litware.com"]\nauthority = ["second.pem"]\n')
    add(policy, '[[partner]]\ndomains = ["tailspin.example"]\nauthority = "public"\n')
    add(policy, '[discovery]\nauthority = "strangers.pem"\n')
    assert told(policy) == []


def test_an_anchor_that_stands_there_twice_is_told(policy: Path) -> None:
    (policy.parent / "contoso-ca.pem").write_bytes(CONTOSO.pem + FABRIKAM.pem)
    add(policy, "")
    (policy.parent / "more.pem").write_bytes(CONTOSO.pem)
    text = policy.read_text().replace('"contoso-ca.pem"', '["contoso-ca.pem", "more.pem"]')
    policy.write_text(text)
    (found,) = folder_findings(policy)
    assert (found.severity, found.code, found.found) == (
        "note",
        "anchor.twice",
        "stands there 2 times",
    )
    assert found.about.startswith("enterprise.authority: CN=Contoso CA")


def test_a_private_key_in_an_authority_is_told(policy: Path) -> None:
    (policy.parent / "contoso-ca.pem").write_bytes(CONTOSO.pem + pem(LEAF))
    (policy.parent / "contoso-ca.pem").write_bytes(
        CONTOSO.pem + pem(LEAF).partition(b"-----BEGIN CERT")[0]
    )
    (found,) = told(policy)
    assert found.startswith("warning file.private-key: enterprise.authority: ")


def test_text_in_place_of_a_file_is_looked_at_too(policy: Path) -> None:
    (policy.parent / "contoso-ca.pem").unlink()
    text = f'"""{CONTOSO.pem.decode() * 2}"""'
    policy.write_text(policy.read_text().replace('"contoso-ca.pem"', text))
    (found,) = told(policy)
    assert found.startswith("note anchor.twice: ")


def test_what_may_not_be_looked_at_is_passed_over(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link may lead into a folder that is closed to us, and the folder may not be listed."""
    (policy.parent / "old.pem").write_bytes(FABRIKAM.pem)
    hidden = policy.parent / "hidden.pem"
    hidden.symlink_to("elsewhere.pem")
    (policy.parent / "loop.pem").symlink_to("loop.pem")
    look = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path == hidden:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert told(policy) == ["note file.unnamed: old.pem"]

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert told(policy) == []
