"""The docs hold what the code has."""

from __future__ import annotations

import asyncio
import pkgutil
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import asdict

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
from siptls.testing import CertificateAuthority, evidence, pem
from siptls.wire.verdict import alert_for

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]


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
    for page in DOCS:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?://)([^)#]+)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


HOW_TO = (ROOT / "docs" / "how-to").glob("*.md")
TESTS = {
    name: text
    for page in HOW_TO
    for name, text in re.findall(
        r"```python\n# (test_\S+\.py)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
    )
}


@pytest.mark.parametrize("name", sorted(TESTS))
def test_the_tests_in_the_how_tos_pass(name: str, tmp_path: Path) -> None:
    """With the plugin's fixtures, as a user has them: in a process and a folder of their own."""
    (tmp_path / name).write_text(TESTS[name], encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", name]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout
    assert f"{TESTS[name].count('def test_')} passed" in done.stdout


PROGRAMS = {
    name: text
    for page in (ROOT / "docs" / "how-to").glob("*.md")
    for name, text in re.findall(
        r"```python\n# (?!test_)(\S+\.py)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
    )
}
SAID = {
    "streams.py": ["to ['contoso.com']", "from ['contoso.com'] b'hello\\n'"],
    "threads.py": ["SIP/2.0 200 OK"],
    # Those that are followed by what they print:
    **{
        name: said.splitlines()
        for page in (ROOT / "docs" / "how-to").glob("*.md")
        for name, said in re.findall(
            r"```python\n# (?!test_)(\S+\.py)\n(?:(?!```).)*```\n\n```text\n(.*?)```",
            page.read_text(encoding="utf-8"),
            re.DOTALL,
        )
    },
}
DNS: dict[str, list[str] | str | None] = {
    "_sips._tcp.contoso.com SRV": [
        "20 0 5071 sip2.hosting.example.",
        "10 0 5061 sip1.hosting.example.",
    ],
    "sip1.hosting.example AAAA": ["2001:db8::1"],
    "sip1.hosting.example A": ["192.0.2.1"],
    "sip2.hosting.example A": ["192.0.2.2"],
}


def run(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", name]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )


async def run_with_dns(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Its nameserver is at another port here, which is free."""
    from dns_server import saying  # noqa: PLC0415  skips without dnspython

    async with saying(DNS) as (server, _):
        text = PROGRAMS[name].replace("5353", str(server.port))
        (folder / name).write_text(text, encoding="utf-8")
        return await asyncio.to_thread(run, folder, name)


def without_digests(lines: list[str]) -> list[str]:
    return sorted(re.sub(r"\b[0-9a-f]+…", "…", line) for line in lines)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_the_programs_in_the_how_tos_run(name: str, tmp_path: Path) -> None:
    contoso = CertificateAuthority("Contoso CA", seed="docs")
    (tmp_path / "contoso-ca.pem").write_bytes(contoso.pem)
    (tmp_path / "contoso.pem").write_bytes(pem(contoso.issue("sip:contoso.com")))
    (tmp_path / name).write_text(PROGRAMS[name], encoding="utf-8")
    if "DNSResolver" in PROGRAMS[name]:
        done = asyncio.run(run_with_dns(tmp_path, name))
    else:
        done = run(tmp_path, name)
    assert (done.returncode, done.stderr) == (0, "")
    assert without_digests(done.stdout.splitlines()) == without_digests(SAID[name])


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
