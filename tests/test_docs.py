"""The docs hold what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from siptls import Alert, Code
from siptls.wire.verdict import alert_for

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]


def test_every_reason_code_is_listed_with_its_alert_in_order_of_rank() -> None:
    text = (ROOT / "docs" / "reference" / "reason-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\S+)` \| .+ \| (.+) \|$", text, re.MULTILINE)
    assert [code for code, _ in rows] == [str(code) for code in Code]
    special = {Code.ACCEPTED, Code.CERTIFICATE_MISSING}
    for code, told in rows:
        if code not in special:
            assert told == str(Alert(alert_for(code)))


def test_every_link_leads_somewhere() -> None:
    for page in DOCS:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?://)([^)#]+)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
