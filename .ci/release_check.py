"""Build what a release uploads, and try it; exits 1, with each fault in a line, if there is one.

It uploads nothing. What is looked at: metadata and version, what is in the wheel and in the sdist,
the README as the index shows it, the tests in the sdist, the wheel in a fresh environment, without
the extra `cli` and with it. With `--unreleased` the changes may still stand under Unreleased,
as they do between releases.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import warnings
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What a packager, and whoever has no clone, needs of the sdist; a / stands for a folder.
NEEDED = """
    CHANGELOG.md CONTRIBUTING.md LICENSE Makefile README.md SECURITY.md constraints.txt
    pyproject.toml src/siptls/py.typed .ci/ .github/ benchmarks/ docs/ examples/ fuzz/ soak/ tests/
""".split()  # noqa: SIM905  a list of words, to be read


class Faults(list[str]):
    """What is wrong, told as it is found."""

    def expect(self, holds: object, what: str) -> None:
        """Note a fault unless something holds."""
        print(f"{'ok   ' if holds else 'WRONG'} {what}", flush=True)
        if not holds:
            self.append(what)


def ran(*command: str | Path, folder: Path = ROOT, **environment: str) -> tuple[int, str]:
    """Run a program; give its exit status, and what it said."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip()


def build(dist: Path, faults: Faults) -> tuple[Path, Path]:
    """Build sdist and wheel, the wheel from the sdist."""
    status, said = ran(sys.executable, "-m", "build", "--outdir", dist)
    sdists, wheels = list(dist.glob("*.tar.gz")), list(dist.glob("*.whl"))
    if status or len(sdists) != 1 or len(wheels) != 1:
        sys.exit(f"nothing was built:\n{said}")
    status, said = ran(sys.executable, "-m", "twine", "check", "--strict", sdists[0], wheels[0])
    faults.expect(status == 0, f"twine takes both{'' if status == 0 else ': ' + said}")
    return sdists[0], wheels[0]


def check_wheel(wheel: Path, version: str, faults: Faults) -> None:
    """Look at what is in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        data = archive.read(next(name for name in names if name.endswith("/METADATA")))
    tops = {name.split("/")[0] for name in names}
    faults.expect(
        tops == {"siptls", f"siptls-{version}.dist-info"}, f"the wheel has the package only: {tops}"
    )
    faults.expect("siptls/py.typed" in names, "the wheel has py.typed")
    licence = f"siptls-{version}.dist-info/licenses/LICENSE"
    faults.expect(licence in names, "the wheel has the licence")
    check_metadata(message_from_bytes(data), version, faults)


def check_metadata(told: Message, version: str, faults: Faults) -> None:
    """Look at what the index shows."""
    faults.expect(told["Name"] == "siptls", "the name is siptls")
    faults.expect(told["Version"] == version, f"the version is that of the package, {version}")
    faults.expect(told["License-Expression"] == "Apache-2.0", "the licence is named")
    extras = set(told.get_all("Provides-Extra", []))
    faults.expect({"cli", "dns", "watch"} <= extras, f"the extras are there: {sorted(extras)}")
    body = str(told.get_payload())
    faults.expect(body.startswith("# siptls"), "the README is the description")
    faults.expect(told["Description-Content-Type"] == "text/markdown", "it is Markdown")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has no Markdown is told below
        from readme_renderer import markdown  # noqa: PLC0415  twine brings it

        rendered = markdown.render(body)
    if rendered is None:
        print("NOT TRIED: how the index renders it; that needs readme_renderer[md]")
    else:
        faults.expect("<h1" in rendered and "<table" in rendered, "the README renders")


def check_changelog(version: str, faults: Faults, *, unreleased: bool) -> None:
    """Look for the version among the changes."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    dated, shown = rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", f"[{version}] - YYYY-MM-DD"
    if unreleased:
        dated, shown = rf"(?:{dated}|\[Unreleased\])", f"{shown}, or [Unreleased]"
    found = re.search(rf"^## {dated}$", text, re.MULTILINE)
    faults.expect(found, f"CHANGELOG.md has a heading for it: ## {shown}")


def check_sdist(sdist: Path, version: str, scratch: Path, faults: Faults) -> None:
    """Look at what is in the sdist, and let pytest find its tests."""
    with tarfile.open(sdist) as archive:
        archive.extractall(scratch, filter="data")
    source = scratch / f"siptls-{version}"
    missing = [name for name in NEEDED if not (source / name).exists()]
    faults.expect(not missing, f"the sdist has what is needed; missing: {missing}")
    plain = ("-q", "--collect-only", "-p", "no:cacheprovider")
    status, said = ran(
        *(sys.executable, "-m", "pytest", *plain), folder=source, PYTHONPATH=str(source / "src")
    )
    last = said.splitlines()[-1] if said else ""
    faults.expect(status == 0, f"the tests of the sdist are found: {last}")


def check_installed(wheel: Path, version: str, scratch: Path, faults: Faults) -> None:
    """Install the wheel in a fresh environment, and use it."""
    venv.create(scratch / "fresh", with_pip=True)
    binaries = scratch / "fresh" / "bin"
    pinned = ("--quiet", "--constraint", ROOT / "constraints.txt")

    def install(what: str) -> None:
        status, said = ran(binaries / "pip", "install", *pinned, what, folder=scratch)
        if status:
            sys.exit(f"{what} cannot be installed:\n{said}")

    def says(expected: str, *command: str | Path, status: int = 0) -> None:
        found, said = ran(*command, folder=scratch)
        shown = " ".join(str(word) for word in command[1:])
        last = said.splitlines()[-1] if said else ""
        told = f"{Path(command[0]).name} {shown}: {last}"
        faults.expect(found == status and expected in said, told)

    install(str(wheel))
    python, command = binaries / "python", binaries / "siptls"
    every = "import siptls; print(len([getattr(siptls, name) for name in siptls.__all__]), 'names')"
    says("names", python, "-W", "error", "-c", every)
    says("names", python, "-c", f"import siptls.sync, siptls.testing; {every}")
    says("pip install 'siptls[cli]'", command, "--help", status=2)
    install(f"{wheel}[cli]")
    says(version, command, "--version")
    says("LAB ONLY", command, "pki", "init", "lab")


def main() -> int:
    """Check all of it; give the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--unreleased", action="store_true", help="no date in the changelog yet")
    given = parser.parse_args()
    text = (ROOT / "src" / "siptls" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found is not None, "src/siptls/__init__.py has no __version__"
    version, faults = found[1], Faults()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        sdist, wheel = build(scratch / "dist", faults)
        check_changelog(version, faults, unreleased=given.unreleased)
        check_wheel(wheel, version, faults)
        check_sdist(sdist, version, scratch, faults)
        check_installed(wheel, version, scratch, faults)
    print(f"{len(faults)} WRONG" if faults else f"siptls {version} can be released")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
