"""The docs hold what the code has."""

from __future__ import annotations

import pkgutil
import re
import runpy
from pathlib import Path
from types import ModuleType

import pytest
from attrs import asdict
from pages import all_pages

import siptls
import siptls.metrics
import siptls.sync
import siptls.testing
from siptls import (
    Alert,
    Authority,
    Blocked,
    Code,
    Enterprise,
    Federation,
    Limits,
    NameRules,
    Partner,
    Traffic,
    TrustedServers,
    load_policy,
)
from siptls.testing import CertificateAuthority, evidence
from siptls.wire.verdict import alert_for

ROOT = Path(__file__).parent.parent
API = ROOT / "docs" / "reference" / "api"


def test_every_reason_code_is_listed_with_its_alert_in_order_of_rank() -> None:
    text = (ROOT / "docs" / "reference" / "reason-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\S+)` \| .+ \| (.+) \|$", text, re.MULTILINE)
    assert [code for code, _ in rows] == [str(code) for code in Code]
    special = {Code.ACCEPTED, Code.CERTIFICATE_MISSING}
    after = {Code.PARTNER_UNDISCOVERED, Code.PARTNER_LIMIT}  # the handshake
    for code, told in rows:
        if code.startswith("sender."):
            assert told == "nothing: the application answers"
        elif code in after:
            assert told.startswith("close_notify")
        elif code not in special:
            assert told == str(Alert(alert_for(code)))


def test_the_report_has_the_documented_keys_and_no_others() -> None:
    """Monitoring is built on them."""
    text = (ROOT / "docs" / "reference" / "federation-report.md").read_text(encoding="utf-8")
    peers, refused = (
        re.findall(r"(?m)^\| `(\w+)` \|", part) for part in text.split("**`refused`**")
    )
    ca = CertificateAuthority("Public CA", seed="docs")
    policy = Federation.open(ca.authority(), own=["contoso.com"])
    traffic = Traffic()
    accepted, wrong = (
        policy.evaluate(evidence(ca.issue(f"sip:{name}"), role="client"))
        for name in ("stranger.org", "contoso.com")
    )
    assert accepted.peer is not None
    traffic.enter(accepted.peer, 0)
    traffic.refuse(wrong)
    report = traffic.report(0).to_dict()
    assert list(report) == ["peers", "refused"]
    assert [list(one) for one in report["peers"]] == [peers]
    assert [list(one) for one in report["refused"]] == [refused]


def test_every_limit_is_listed_with_its_default() -> None:
    text = (ROOT / "docs" / "reference" / "limits.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| .+ \|$", text, re.MULTILINE)
    assert sorted(rows) == sorted((name, str(limit)) for name, limit in asdict(Limits()).items())


def test_every_link_leads_somewhere() -> None:
    for page in all_pages():
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?://)([^)#]+)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_policy_file_in_the_docs_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "reference" / "policy-file.md").read_text(encoding="utf-8")
    file = tmp_path / "policy.toml"
    file.write_text(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0], encoding="utf-8")
    contoso = CertificateAuthority("Contoso CA", seed="docs")
    fabrikam = CertificateAuthority("Fabrikam CA", seed="docs")
    (tmp_path / "contoso-ca.pem").write_bytes(contoso.pem)
    (tmp_path / "fabrikam-ca.pem").write_bytes(fabrikam.pem)
    ours = Enterprise(["contoso.com"], contoso.authority()) & TrustedServers(["edge.contoso.com"])
    partners = [
        Partner(["fabrikam.com"], fabrikam.authority()),
        Partner(["woodgrove.example"], Authority.public(), names=NameRules.RFC9525),
    ]
    assert load_policy(file) == (ours | Federation(partners)) & Blocked(["evil.example"])


# ---------------------------------------------------------------- the reference


@pytest.mark.parametrize(
    "module",
    [siptls, siptls.metrics, siptls.sync, siptls.testing],
    ids=lambda module: module.__name__,
)
def test_every_public_name_is_in_the_reference_once_and_no_other(module: ModuleType) -> None:
    directive = r"\.\. (?:currentmodule:: (\S+)|auto(?:class|exception|function|data):: (\w+))"
    told: list[str] = []
    for page in sorted(API.glob("*.md")):
        here = ""
        for current, name in re.findall(directive, page.read_text(encoding="utf-8")):
            here = current or here
            if name and here == module.__name__:
                told.append(name)
    assert sorted(told) == sorted(module.__all__)


@pytest.mark.parametrize("wing", ["trust", "wire"])
def test_the_map_in_the_design_has_every_module_of_a_wing(wing: str) -> None:
    page = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
    rows = re.search(rf"(?m)^  {wing}/ .*\n((?:    .*\n)+)", page)
    assert rows is not None
    told = re.findall(r"(?m)^    (\w+) ", rows[1])
    written = [path.stem for path in (Path(siptls.__file__).parent / wing).glob("[!_]*.py")]
    assert sorted(told) == sorted(written)


# ---------------------------------------------------------------- what is promised is tested


def written_tests() -> set[str]:
    """The names of all tests."""
    written = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")
    )
    return set(re.findall(r"^(?:async )?def (test_\w+)", written, re.MULTILINE))


def test_each_promise_of_the_threat_model_names_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "explanation" / "threat-model.md").read_text(encoding="utf-8")
    promises = re.findall(r"^\| ([A-Z].*?) \| (`test_.*?) \|$", page, re.MULTILINE)
    tests = written_tests()
    assert len(promises) > 15
    for promise, named in promises:
        missing = set(re.findall(r"`(test_\w+)`", named)) - tests
        assert not missing, f"{promise}: {missing}"


SOURCE_DOCUMENT = ROOT / "docs" / "explanation" / "source-document.md"
# How many sentences each of its paragraphs has; the last of the third is of its second edition.
SENTENCES = {1: 4, 2: 5, 3: 7, 4: 6, 5: 1}


def test_each_sentence_of_the_source_document_names_code_and_tests_that_there_are() -> None:
    page = SOURCE_DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| \*\*(\d\.\d)\*\* .+ \| .+ \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert [number for number, _, _ in rows] == [
        f"{paragraph}.{sentence}"
        for paragraph, count in SENTENCES.items()
        for sentence in range(1, count + 1)
    ]
    for number, code, tests in rows:
        names, proofs = re.findall(r"`(siptls\.[\w.]+)`", code), re.findall(r"`(.+?)`", tests)
        assert names, number
        assert proofs, number
        for name in names:
            assert pkgutil.resolve_name(name) is not None, f"{number}: {name}"
        for proof in proofs:
            file, _, test = proof.partition("::")
            text = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert re.search(rf"^(?:async )?def {test}\(", text, re.MULTILINE), f"{number}: {proof}"


def test_each_box_of_the_figure_is_in_the_example() -> None:
    page = SOURCE_DOCUMENT.read_text(encoding="utf-8")
    table = page.partition("| box |")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[1] for line in table.splitlines()[2:]]
    example = runpy.run_path(str(ROOT / "examples" / "trusted_network.py"))
    boxes = [box for row in rows for box in re.findall(r"`(.+?)`", row)]
    servers = [*example["CONTOSO_SERVERS"], *example["FABRIKAM_SERVERS"]]
    assert sorted(boxes) == sorted([*example["PASSWORDS"], *servers])


# Of these the standards page has to say what is done.
STANDARDS = [3261, 3263, 4475, 5280, 5626, 5922, 5923, 5924, 5630, 6960, 8305, 9325, 9525]


def test_each_standard_has_its_section_with_modules_and_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "reference" / "standards.md").read_text(encoding="utf-8")
    headings = re.findall(r"(?m)^## .+$", page)
    for number in STANDARDS:
        assert any(f"RFC {number}" in heading for heading in headings), number
    rows = re.findall(r"(?m)^\| .+ \| .+ \| (.+) \|$", page)
    assert len(rows) > 80
    for module in re.findall(r"`((?:\w+/)*\w+\.py)`", page):
        assert (ROOT / "src" / "siptls" / module).exists() or (ROOT / module).exists(), module
    missing = set(re.findall(r"`(test_\w+)`", page)) - written_tests()
    assert not missing
