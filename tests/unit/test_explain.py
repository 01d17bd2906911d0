"""siptls.cli.explain: what a policy makes of a certificate, and what cannot be meant."""

from __future__ import annotations

import base64
import datetime as dt
import json
from pathlib import Path

import pytest
from commandline import Ran, siptls
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.cli.exits import Exit
from siptls.testing import CertificateAuthority, pem

CONTOSO = CertificateAuthority("Contoso CA", seed="explain")
ISSUING = CONTOSO.intermediate("Contoso Issuing CA")
FABRIKAM = CertificateAuthority("Fabrikam CA", seed="explain")
LEAF = CONTOSO.issue("sip:contoso.com", "sip.contoso.com")
BELOW = ISSUING.issue("sip:contoso.com")
WILDCARD = CONTOSO.issue("*.contoso.com")
LATE = CONTOSO.issue("sip:contoso.com", not_after=dt.datetime(9999, 1, 1, tzinfo=dt.UTC))
YEAR_0 = LATE.chain[0].public_bytes(Encoding.DER).replace(b"99990101", b"00000101")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_bytes(CONTOSO.pem)
    (tmp_path / "fabrikam.pem").write_bytes(FABRIKAM.pem)
    for name, one in (("leaf", LEAF), ("below", BELOW), ("wildcard", WILDCARD)):
        der = [certificate.public_bytes(Encoding.PEM) for certificate in one.chain]
        (tmp_path / f"{name}.pem").write_bytes(b"".join(der))
    (tmp_path / "alone.pem").write_bytes(BELOW.chain[0].public_bytes(Encoding.PEM))
    (tmp_path / "leaf.der").write_bytes(LEAF.chain[0].public_bytes(Encoding.DER))
    (tmp_path / "me.pem").write_bytes(pem(LEAF))
    (tmp_path / "key.pem").write_bytes(pem(LEAF).split(b"-----BEGIN CERT")[0])
    (tmp_path / "cut.pem").write_bytes((tmp_path / "leaf.pem").read_bytes()[:300])
    (tmp_path / "noise").write_bytes(b"\x00\x1b[2J no certificate")
    (tmp_path / "year-0.der").write_bytes(YEAR_0)
    year_0 = base64.encodebytes(YEAR_0).decode()
    text = f"-----BEGIN CERTIFICATE-----\n{year_0}-----END CERTIFICATE-----\n"
    (tmp_path / "year-0.pem").write_text(text, "utf-8")
    (tmp_path / "bad.toml").write_text("[enterprise]\n", "utf-8")
    enterprise = '[enterprise]\ndomains = ["contoso.com"]\nauthority = "ca.pem"\n'
    partner = '[[partner]]\ndomains = ["fabrikam.com"]\nauthority = "fabrikam.pem"\n'
    (tmp_path / "policy.toml").write_text(enterprise, "utf-8")
    (tmp_path / "two.toml").write_text(f'{enterprise}{partner}names = "RFC9525"\n', "utf-8")
    return tmp_path


@pytest.fixture
def explain(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> object:
    def run(*arguments: str) -> Ran:
        return siptls(monkeypatch, capsys, "explain", *arguments)

    return run


USUAL = ("--policy", "policy.toml", "--as", "server")


@pytest.mark.parametrize("file", ["leaf.pem", "leaf.der", "me.pem", "below.pem"])
def test_who_is_trusted_is_told_with_whose_word_and_for_how_long(
    file: str, explain: object
) -> None:
    ran = explain(file, *USUAL, "--expect", "sip:contoso.com")  # type: ignore[operator]
    assert ran.status == Exit.TRUSTED
    assert ran.errors == ""
    assert ran.last.startswith("trusted: contoso.com is believed by the word of Contoso CA ")
    assert ran.last.endswith(" days left")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["leaf.pem", *USUAL, "--expect", "fabrikam.com"], "name.mismatch"),
        (["leaf.pem", *USUAL, "--at", "2090-01-01"], "path.expired"),
        (["leaf.pem", *USUAL, "--at", "1990-01-01T12:00+02:00"], "path.not-yet-valid"),
        (["alone.pem", *USUAL], "path.unknown-ca"),
        (["wildcard.pem", *USUAL], "name.none"),
        (["fabrikam.pem", *USUAL], "path.unknown-ca"),
    ],
)
def test_who_is_refused_is_told_with_the_code(
    arguments: list[str], code: str, explain: object
) -> None:
    ran = explain(*arguments)  # type: ignore[operator]
    assert ran.status == Exit.REFUSED
    assert ran.last.startswith(f"refused: {code}: ")


def test_everything_is_shown_piece_by_piece(explain: object) -> None:
    ran = explain("below.pem", *USUAL)  # type: ignore[operator]
    assert "  expected    nobody in particular\n" in ran.output
    assert "    the peer's CN=contoso.com" in ran.output
    assert "    sent along CN=Contoso Issuing CA" in ran.output
    assert "    anchor     CN=Contoso CA" in ran.output
    assert "issued by itself\n" in ran.output
    assert "; for serverAuth, clientAuth\n" in ran.output
    assert "    sip:contoso.com: counts as domain contoso.com: a sip: URI\n" in ran.output
    assert "    CN:contoso.com: does not count: a common name beside a" in ran.output
    assert "Enterprise contoso.com: accepted" in ran.output


def test_of_several_rules_each_says_what_it_makes_of_a_name(explain: object) -> None:
    arguments = ["--policy", "two.toml", "--as", "server", "--expect", "sip.contoso.com"]
    ran = explain("wildcard.pem", *arguments)  # type: ignore[operator]
    assert "    DNS:*.contoso.com: does not count, by RFC5922: a wildcard identifies" in ran.output
    told = "    DNS:*.contoso.com: counts as domain sip.contoso.com, by RFC9525: "
    assert told in ran.output
    assert "; it is not believed\n" in ran.output


def test_json_is_all_that_is_printed(explain: object) -> None:
    ran = explain("leaf.pem", *USUAL, "--json", "--at", "2090-01-01")  # type: ignore[operator]
    told = json.loads(ran.output)
    assert (told["verdict"], told["exit"], told["code"]) == ("refused", 1, "path.expired")
    assert (told["file"], told["policy"], told["role"]) == ("leaf.pem", "policy.toml", "server")
    assert told["days"] == told["chain"][0]["days"] < 0
    assert ran.status == Exit.REFUSED


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["absent.pem", *USUAL], "does not exist"),
        (["key.pem", *USUAL], "has no certificate"),
        (["cut.pem", *USUAL], "has a certificate that cannot be read"),
        (["noise", *USUAL], "is no certificate, neither in PEM form nor in DER"),
        (["leaf.pem", "--policy", "bad.toml", "--as", "server"], "bad.toml has"),
        (["leaf.pem", "--as", "server"], "Missing option '--policy'"),
        (["leaf.pem", "--policy", "policy.toml"], "Missing option '--as'"),
        (["leaf.pem", "--policy", "policy.toml", "--as", "proxy"], "'proxy' is not one of"),
        (["leaf.pem", *USUAL, "--expect", "192.0.2.1"], "an IP address is not a name"),
        (["leaf.pem", *USUAL, "--at", "tomorrow"], "is no date such as"),
        (["leaf.pem", *USUAL, "--at", "0001-01-01T00:00+23:59"], "is no date such as"),
        (["leaf.pem", *USUAL, "--at", "9999-12-31T23:59-23:59"], "is no date such as"),
        (["year-0.pem", *USUAL], "has a certificate that cannot be read"),
        (["year-0.der", *USUAL], "has a certificate whose dates cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(
    arguments: list[str], told: str, explain: object
) -> None:
    ran = explain(*arguments)  # type: ignore[operator]
    assert (ran.status, ran.output) == (Exit.USAGE, "")
    lines = [line for line in ran.errors.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert told in ran.errors
    assert "Traceback" not in ran.errors
