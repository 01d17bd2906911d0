"""Look for known vulnerabilities of what siptls needs, with its extras; exits 1 if there are any.

Where the advisories cannot be read, it says that nothing was audited, and does not fail for it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path


def needed(name: str, found: set[str]) -> set[str]:
    """Add what a package needs, and all that this needs."""
    for requirement in requires(name) or []:
        needs = re.split(r"[^\w.-]", requirement)[0]
        if needs in found or ("extra ==" in requirement and name != "siptls"):
            continue
        try:
            version(needs)
        except PackageNotFoundError:  # of another system or Python
            continue
        needed(needs, found | {needs})
        found |= {needs} | needed(needs, found | {needs})
    return found


def main() -> int:
    """Audit, and say what was found."""
    pins = sorted(f"{name}=={version(name)}" for name in needed("siptls", set()))
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "needed.txt"
        pinned.write_text("\n".join(pins), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip"]
        command += ["--requirement", str(pinned), "--format", "json", "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        audited = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(f"NOT AUDITED: pip-audit says: {done.stderr.strip()}")
        return 0
    skipped = [one["name"] for one in audited if "skip_reason" in one]
    for one in audited:
        for found in one.get("vulns", []):
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            print(f"{one['name']} {one['version']}: {found['id']}, mended in {fixed}")
    for one in audited:
        if "skip_reason" in one:
            print(f"NOT AUDITED: {one['skip_reason']}")
    print(f"audited: {len(audited) - len(skipped)} of {len(pins)}")
    return int(any(one.get("vulns") for one in audited))


if __name__ == "__main__":
    sys.exit(main())
