"""What the next developer reads holds: the targets of make, the paths, and the links."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PHONY = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
assert PHONY is not None
TARGETS = set(PHONY[1].replace("\\", " ").split())
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_help_tells_of_each_target_and_of_no_other() -> None:
    ran = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.findall(r"^make (\S+) +\S", ran.stdout, re.MULTILINE) == list(
        dict.fromkeys(re.findall(r"^# make (\S+)", MAKEFILE, re.MULTILINE))
    )
    assert set(re.findall(r"^make (\S+) +\S", ran.stdout, re.MULTILINE)) == TARGETS


def test_each_target_is_one() -> None:
    assert set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE)) == TARGETS


PAGES = ["CONTRIBUTING.md", "SECURITY.md", "README.md", "examples/README.md"]
PAGES += [".github/pull_request_template.md", ".ci/run"]


@pytest.mark.parametrize("name", PAGES)
def test_each_target_that_a_page_names_is_one(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^\$ |^ *)make ([a-z-]+)", text, re.MULTILINE))
    assert named <= TARGETS


@pytest.mark.parametrize("name", [page for page in PAGES if page.endswith(".md")])
def test_each_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    for link in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_each_file_that_a_developer_is_sent_to_is_there() -> None:
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:md|toml))`", CONTRIBUTING)
    assert len(named) > 20
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []
    for name in re.findall(r"`(\w+\.py)`", CONTRIBUTING):
        assert list((ROOT / "src").rglob(name)) or "tests/" in name, name


def test_a_refused_peer_is_reported_with_its_explanation_and_without_a_key() -> None:
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / "refused-peer.yml").read_text(encoding="utf-8")
    assert "decision.explain()" in text
    assert "**Never a private key.**" in text
    assert re.search(r"label: There is no private key.*\n +required: true", text)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.name))
def test_a_form_has_the_keys_that_a_form_has(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert "\t" not in text
    if template.name == "config.yml":
        return
    assert re.findall(r"^(\w+):", text, re.MULTILINE) == ["name", "description", "labels", "body"]
    blocks = re.split(r"^  - type: ", text, flags=re.MULTILINE)[1:]
    assert len(blocks) > 2
    for block in blocks:
        kind = block.split("\n")[0]
        assert kind in {"markdown", "textarea", "input", "checkboxes", "dropdown"}
        assert kind == "markdown" or re.search(r"^    id: [\w-]+$", block, re.MULTILINE)
    ids = re.findall(r"^    id: (\S+)$", text, re.MULTILINE)
    assert len(ids) == len(set(ids))


def test_the_sdist_has_what_the_release_check_asks_for() -> None:
    check = (ROOT / ".ci" / "release_check.py").read_text(encoding="utf-8")
    needed = re.search(r'^NEEDED = """(.*?)"""', check, re.MULTILINE | re.DOTALL)
    assert needed is not None
    assert all((ROOT / name).exists() for name in needed[1].split())
