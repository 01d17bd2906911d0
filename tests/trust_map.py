"""The three companies of ``docs/reference/lint.md``: their policy, and their certificates."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from siptls.testing import CertificateAuthority, pem

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


def day(year: int, month: int, date: int) -> dt.datetime:
    """Give the beginning of a day."""
    return dt.datetime(year, month, date, tzinfo=dt.UTC)


def write(folder: Path) -> Path:
    """Write the policy, and all that lies beside it; give the policy's path."""
    contoso, fabrikam = (
        CertificateAuthority(name, seed="docs", not_before=day(2024, 1, 1), not_after=end)
        for name, end in (("Contoso CA", day(2036, 1, 1)), ("Fabrikam CA", day(2027, 3, 20)))
    )
    (folder / "contoso-ca.pem").write_bytes(contoso.pem)
    (folder / "fabrikam-ca.pem").write_bytes(fabrikam.pem)
    ours = contoso.issue(
        "sip:contoso.com",
        "edge.contoso.com",
        purposes=["serverAuth"],
        not_before=day(2026, 6, 1),
        not_after=day(2027, 6, 1),
    )
    (folder / "edge.pem").write_bytes(pem(ours))
    theirs = fabrikam.issue(
        "sip:fabrikam.com",
        "sip.fabrikam.com",
        purposes=["serverAuth"],
        not_before=day(2026, 4, 1),
        not_after=day(2027, 4, 1),
    )
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in theirs.chain)
    (folder / "fabrikam-edge.pem").write_bytes(chain)
    text = (REFERENCE / "lint.md").read_text(encoding="utf-8")
    policy = folder / "policy.toml"
    policy.write_text(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0], encoding="utf-8")
    return policy
