"""siptls.cli.printout: what is printed, and that nothing of a stranger's is printed as it came."""

from __future__ import annotations

import io
import json
import sys

import pytest
from examinations import CONTOSO, TLS13, VALID, examination, judged, trusted, visit

from siptls import PeerRefusedError
from siptls.cli.conclusion import Conclusion, conclude
from siptls.cli.examination import Reply
from siptls.cli.exits import Exit
from siptls.cli.printout import Printout, print_json, waiting
from siptls.testing import CertificateAuthority

EVIL = "[red]x[/red]\x1b[2J\x07\r\ntrusted: y\u202e"


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_each_step_is_told_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    Printout().examination(examination([trusted()]))
    lines = printed(capsys).splitlines()
    assert lines[:6] == [
        "check sip:contoso.com",
        "  expected    contoso.com",
        "  policy      policy.toml",
        "  we show     no certificate",
        "  addresses   by the test",
        "  resolve         3.0 ms  1 address",
    ]
    assert "192.0.2.1 port 5061 (sip1.contoso.com)" in lines
    assert "  connect         1.0 ms  done" in lines


def test_our_certificate_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    ours = CONTOSO.issue("sip:contoso.com", **VALID)
    Printout().examination(examination([], credential=ours))
    assert "  we show     CN=contoso.com (serial " in printed(capsys)


def test_the_last_line_is_the_conclusion(capsys: pytest.CaptureFixture[str]) -> None:
    conclusion = Conclusion(Exit.REFUSED, "name.mismatch", f"no {EVIL}")
    Printout().conclusion(conclusion)
    *_, last = printed(capsys).split("\n")[:-1]
    assert last.startswith("refused: name.mismatch: no [red]x[/red]\\u001b[2J\\u0007\\u000d")
    assert last.isprintable()


def test_what_a_stranger_sends_is_text_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evil = judged("sip:eu.contoso.com", common_name=EVIL)
    told = [
        visit(PeerRefusedError(evil.decision), last="handshake", judged=evil),
        trusted(reply=Reply(200, f"SIP/2.0 200 {EVIL}")),
    ]
    found = examination(told, target=f"sip:{EVIL}")
    Printout().examination(found)
    Printout().conclusion(conclude(found))
    output = printed(capsys)
    assert "[red]x[/red]" in output
    assert all(line.isprintable() for line in output.split("\n"))
    assert not any(line.startswith("trusted: y") for line in output.split("\n"))


def test_lines_are_as_long_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    one = judged("sip:contoso.com")
    Printout().judged(one)
    assert f"    the peer's {one.chain[0].description}\n" in printed(capsys)


def test_of_many_names_and_certificates_some_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Printout().judged(judged("sip:contoso.com", *[f"n{n}.contoso.com" for n in range(99)]))
    output = printed(capsys)
    assert "DNS:n62.contoso.com: counts as host" in output
    assert "    and 37 more, in --json\n" in output
    assert "    DNS:n63.contoso.com: counts as host" not in output
    ca = CertificateAuthority("Root", seed="printout", **VALID)
    for number in range(20):
        ca = ca.intermediate(f"CA {number}", **VALID)
    Printout().judged(judged(shown=ca.issue("sip:contoso.com", **VALID)))
    assert printed(capsys).count("    sent along ") == 15


def test_where_colours_are_wanted_the_verdict_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Printout().conclusion(Conclusion(Exit.TRUSTED, "accepted", "all is well"))
    assert "\x1b[1;32mtrusted:\x1b[0m all is well" in terminal.getvalue()


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    Printout().conclusion(Conclusion(Exit.TRUSTED, "accepted", "all is well"))
    assert "32m" not in terminal.getvalue()


def test_json_is_ascii_and_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    data = examination([trusted(tls=TLS13)], target=f"sip:bücher{EVIL}").to_dict()
    print_json(data)
    output = printed(capsys)
    assert output.isascii()
    assert not set(output) & {"\x1b", "\x07", "\r"}
    assert json.loads(output) == data


def test_nothing_turns_where_nobody_sees_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with waiting() as tell:
        tell("connecting")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")


def test_on_a_terminal_it_says_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with waiting() as tell:
        tell("connecting to [bold]x")
    assert "connecting to [bold]x" in terminal.getvalue()
