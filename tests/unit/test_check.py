"""siptls.cli.check: its arguments, and who resolves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from commandline import siptls
from impostors import CONTOSO
from network import OURS

from siptls import ConfigurationError, DNSResolver, SystemResolver
from siptls.cli import check
from siptls.testing import pem


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(CONTOSO.pem)
    (tmp_path / "me.pem").write_bytes(pem(OURS))
    (tmp_path / "locked.pem").write_bytes(pem(OURS, password="secret"))
    (tmp_path / "cut.pem").write_bytes(pem(OURS)[:100])
    (tmp_path / "bad.toml").write_text('[enterprise]\nauthority = "ca.pem"\nx = 1\n', "utf-8")
    (tmp_path / "no.toml").write_text("no toml\x1b[2J", "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sip:contoso.com", "--policy", "bad.toml"], "bad.toml has 2 faults:"),
        (["sip:contoso.com", "--policy", "no.toml"], "no.toml is no TOML file"),
        (["sip:contoso.com", "--policy", "absent.toml"], "does not exist"),
        (["sip:contoso.com", "--credential", "absent.pem"], "does not exist"),
        (["sip:contoso.com", "--credential", "ca.pem"], "has no private key"),
        (["sip:contoso.com", "--credential", "cut.pem"], "has no end"),
        (["sip:contoso.com", "--credential", "locked.pem"], "is encrypted"),
        (["sip:"], "is no domain"),
        (["sip:192.0.2.1"], "an IP address is not a name"),
        (["http://contoso.com"], "is neither a SIP URI nor a domain"),
        (["sip:contoso.com\x1b[2J"], r"'sip:contoso.com\\u001b[2J' is no SIP URI"),
        ([], "Missing argument 'URI'"),
        (["sip:contoso.com", "--connect", "2001:db8::1"], "is no place such as 192.0.2.1:5061"),
        (["sip:contoso.com", "--connect", "host:"], "is no place such as 192.0.2.1:5061"),
        (["sip:contoso.com", "--connect", "host:0"], "a port is a number from 1 to 65535"),
        (["sip:contoso.com", "--connect", "host:99999"], "a port is a number from 1 to 65535"),
        (["sip:contoso.com", "--connect", "[::g]:5061"], "is a host name or an IP address alone"),
        (["sip:contoso.com", "--connect", "a/b"], "is a host name or an IP address alone"),
        (["sip:contoso.com", "--timeout", "0"], "not in the range"),
        (["sip:contoso.com", "--timeout", "nan"], "is no time"),
        (["sip:contoso.com", "--timeout", "soon"], "not a valid float"),
    ],
)
def test_what_cannot_be_meant_is_told(
    arguments: list[str],
    told: str,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one line; of a file in one for each fault."""
    monkeypatch.chdir(files)
    ran = siptls(monkeypatch, capsys, "check", *arguments)
    assert (ran.status, ran.output) == (2, "")
    usage, error, words = ran.errors.partition("Error: ")
    assert told in words
    assert error
    assert not usage or usage.startswith("Usage: siptls check")
    first, *faults = words.splitlines()
    assert all(fault.startswith("  ") for fault in faults)
    assert len(faults) == (2 if first.endswith("has 2 faults:") else 0)
    assert "\x1b" not in ran.errors


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("192.0.2.1", ("192.0.2.1", None)),
        ("192.0.2.1:5071", ("192.0.2.1", 5071)),
        ("sip1.contoso.com:5061", ("sip1.contoso.com", 5061)),
        ("[2001:db8::1]", ("2001:db8::1", None)),
        ("[2001:db8::1]:5061", ("2001:db8::1", 5061)),
    ],
)
def test_a_place_is_a_host_or_an_address_with_or_without_a_port(
    text: str, place: tuple[str, int | None]
) -> None:
    assert check._as_place(None, None, text) == place  # type: ignore[arg-type]


def test_dns_is_asked_where_it_can_be() -> None:
    pytest.importorskip("dns.resolver")
    resolver, told = check.resolver_for(3.0)
    if isinstance(resolver, DNSResolver):  # else this machine names no nameserver
        assert resolver.timeout == 3.0
        assert told.startswith("by DNS")


def test_without_dnspython_the_system_is_asked_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "dns.asyncresolver", None)
    resolver, told = check.resolver_for(3.0)
    assert resolver == SystemResolver()
    assert told.startswith("by this system, which knows no NAPTR and no SRV: ")
    assert "pip install 'siptls[dns]'" in told


def test_without_a_nameserver_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> DNSResolver:
        raise ConfigurationError("this system names no nameserver to ask")

    monkeypatch.setattr(check, "DNSResolver", fail)
    resolver, told = check.resolver_for(3.0)
    assert resolver == SystemResolver()
    assert "names no nameserver" in told
