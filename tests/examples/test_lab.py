"""The examples that take a lab: each client with each server, and each kind of impostor."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PYTHON = (sys.executable, "-X", "dev", "-W", "error")
SERVERS = ["mtls_server.py", "blocking_server.py"]
CLIENTS = ["client.py", "blocking_client.py"]


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYTHON, *command], cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lab in it, as the command line has made it."""
    here = tmp_path_factory.mktemp("examples")
    made = run("-m", "siptls", "pki", "init", "lab", folder=here)
    assert (made.returncode, made.stderr) == (0, "")
    return here


class Serving:
    """A server that runs: its port, and all that it has printed once it has ended."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._lines = process.stdout
        first = self._lines.readline()
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", first)
        assert found is not None, first
        self.port = found[1]
        self.said = first
        self.status: int | None = None

    def more(self, lines: int) -> str:
        """Read so many lines more, and give all that it has said."""
        self.said += "".join(self._lines.readline() for _ in range(lines))
        return self.said


@contextmanager
def serving(
    name: str, *options: str, folder: Path, by: signal.Signals = signal.SIGTERM
) -> Iterator[Serving]:
    command = [*PYTHON, EXAMPLES / name, "lab", "--port", "0", *options]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            server = Serving(process)
            yield server
        finally:
            process.send_signal(by)
            said, _ = process.communicate(timeout=30)
        server.said += said
        server.status = process.returncode


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", SERVERS)
def test_each_client_gets_its_answer_from_each_server(
    server: str, client: str, folder: Path
) -> None:
    with serving(server, folder=folder) as served:
        asked = run(EXAMPLES / client, "lab", "--port", served.port, folder=folder)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout == "connected with the proven contoso.com over TLSv1.3\nSIP/2.0 200 OK\n"
    assert "OPTIONS from pc.contoso.com (enterprise)\n" in served.said
    assert served.said.endswith("ended in order\n")
    assert served.status == 0


@pytest.mark.parametrize("server", SERVERS)
def test_a_partner_is_a_partner_and_impostors_are_refused(server: str, folder: Path) -> None:
    with serving(server, folder=folder, by=signal.SIGINT) as served:
        ask = (EXAMPLES / "client.py", "lab", "--port", served.port, "--show")
        assert run(*ask, "lab/partner.pem", folder=folder).returncode == 0
        for name in ("expired", "out-of-scope", "revoked", "self-signed", "unknown-ca"):
            asked = run(*ask, f"lab/impostors/{name}.pem", folder=folder)
            assert asked.returncode == 1
            assert "the peer refused the handshake" in asked.stderr
            assert "Traceback" not in asked.stderr
    assert "OPTIONS from fabrikam.com (federated)" in served.said
    codes = re.findall(r"from \(.*\): refused: (\S+)", served.said)
    wanted = "path.expired name.out-of-scope path.revoked path.unknown-ca path.unknown-ca"
    assert codes == wanted.split()
    assert served.said.endswith("ended in order\n")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_is_another_is_not_spoken_to(client: str, folder: Path) -> None:
    show = ("--show", "lab/impostors/wrong-name.pem")
    with serving("mtls_server.py", *show, folder=folder) as served:
        asked = run(EXAMPLES / client, "lab", "--port", served.port, folder=folder)
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "refused: name.mismatch" in asked.stderr
    assert "OPTIONS" not in served.said


def typed(said: str, start: str) -> list[str]:
    """The one line that begins so, as one types it, but with the Python that runs the tests."""
    (line,) = re.findall(rf"^  ({start} .*)$", said, re.MULTILINE)
    return ["-m", *shlex.split(line)]


def test_what_is_printed_leads_from_nothing_to_a_peer_that_is_trusted(folder: Path) -> None:
    """`siptls pki init`, the example, and `siptls check`: each says what to type next."""
    with serving("mtls_server.py", folder=folder) as served:
        said = served.more(2)
        looked = run(*typed(said, "siptls check"), folder=folder)
    assert (looked.returncode, looked.stderr) == (0, "")
    assert looked.stdout.splitlines()[-1].startswith("trusted: contoso.com is believed")


def test_the_impostor_that_the_lab_tells_of_is_refused(folder: Path) -> None:
    said = run("-m", "siptls", "pki", "init", "other", folder=folder).stdout
    as_client, as_impostor = re.findall(r"^  siptls (check .*)$", said, re.MULTILINE)
    assert "client.pem" in as_client
    with serving("mtls_server.py", folder=folder) as served:
        here = as_impostor.replace("5061", served.port).replace("other/", "lab/")
        looked = run("-m", "siptls", *shlex.split(here), folder=folder)
    assert looked.returncode == 1
    assert looked.stdout.splitlines()[-1].startswith("refused: by-peer.expired")


@pytest.mark.parametrize("name", [*SERVERS, *CLIENTS, "kamailio_in_front/server.py"])
def test_a_lab_that_is_not_there_is_one_line(name: str, folder: Path) -> None:
    ran = run(EXAMPLES / name, "nowhere", folder=folder)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "nowhere/" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("name", [*SERVERS, *CLIENTS, "kamailio_in_front/server.py"])
def test_they_are_short(name: str) -> None:
    """They are there to be read, and copied."""
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) < 85


def test_the_tests_of_a_policy_pass() -> None:
    plain = ("-q", "-p", "no:cacheprovider")
    ran = run("-m", "pytest", *plain, "examples/test_policies.py", folder=EXAMPLES.parent)
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"\b7 passed", ran.stdout)


def test_each_example_is_in_the_table_and_nothing_else_is() -> None:
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"^\| \[`\S+`\]\((\S+)\) \|", table, re.MULTILINE))
    there = {path.name for path in EXAMPLES.glob("*.py")}
    there |= {f"{path.parent.name}/" for path in EXAMPLES.glob("*/server.py")}
    assert linked == there
