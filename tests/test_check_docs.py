"""The docs of `siptls check` and `siptls explain` hold what the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from examinations import CONTOSO, TLS13, VALID, examination, judged, trusted, visit

from siptls import Alert, RefusedByPeerError, TLSInfo
from siptls.cli.check import check
from siptls.cli.conclusion import BY_PEER, NETWORK, conclude
from siptls.cli.exits import Exit
from siptls.cli.explain import explain

DOCS = Path(__file__).parent.parent / "docs" / "reference"
SCHEMA = (DOCS / "check-schema.md").read_text(encoding="utf-8")
PAGE = (DOCS / "command-line.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    """Give what stands below a heading of the command line's page."""
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def keys(after: str) -> list[str]:
    """Give the keys of the first table after a text."""
    rest = SCHEMA.split(after, 1)[1].split("\n\n**", 1)[0]
    return re.findall(r"(?m)^\| `(\w+)` \|", rest)


def test_the_objects_have_the_documented_keys_and_no_others() -> None:
    """Programs are built on them."""
    ours = CONTOSO.issue("sip:contoso.com", **VALID)
    found = examination([trusted()], credential=ours)
    told = found.to_dict()
    assert list(conclude(found).to_dict()) == keys("Of both commands:")
    assert list(told) == keys("**`check`** has besides:")
    assert list(told["resolution"]) == keys("**A step**:")
    [one] = told["visits"]
    assert list(one) == keys("**A visit**:")
    assert list(one["judged"]) == keys("**Judged**:")
    assert list(one["judged"]["names"][0]) == keys("**A name**:")
    for certificate in (told["credential"][0], one["judged"]["chain"][0], one["judged"]["anchor"]):
        assert list(certificate) == keys("**A certificate**:")


def test_the_objects_within_have_the_documented_keys() -> None:
    refused = visit(
        RefusedByPeerError(Alert(116)), tls=TLS13, judged=judged("sip:contoso.com")
    ).to_dict()
    for key in ("tls", "alert"):
        row = re.search(rf"(?m)^\| `{key}` \| .*$", SCHEMA)
        assert row is not None
        assert re.findall(r"`(\w+)`", row.group())[1:] == list(refused[key])
    assert {field.name for field in TLSInfo.__attrs_attrs__} == set(refused["tls"])


def test_every_code_is_listed() -> None:
    listed = re.findall(r"(?m)^\| `([\w.-]+)` \|", section("check"))
    codes = [code for code in listed if not code.startswith("--")]
    assert codes == [*(f"by-peer.{code}" for code in BY_PEER), *NETWORK]


@pytest.mark.parametrize("command", [check, explain])
def test_every_option_is_listed(command: Any) -> None:
    listed = re.findall(r"(?m)^\| `(--[\w-]+)", section(command.name))
    assert listed == [name for one in command.params for name in one.opts if name.startswith("--")]


def test_every_exit_status_of_these_commands_is_listed() -> None:
    head = PAGE.split("\n## ")[0]
    listed = {int(number): word for number, word in re.findall(r"(?m)^\| (\d) \| (\w+):", head)}
    for status in (Exit.TRUSTED, Exit.REFUSED, Exit.USAGE, Exit.NETWORK):
        assert listed[status] == status.name.capitalize()
