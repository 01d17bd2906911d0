"""The openssl program as peer: its s_server staples to our clients, its s_client to our servers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve
from impostors import CONTOSO
from staples import Requires, staple

from siptls import Credential, Enterprise, PeerRefusedError, sync
from siptls.testing import pem

OPENSSL = shutil.which("openssl")


def _knows(command: str, option: str) -> bool:
    if OPENSSL is None:
        return False
    done = subprocess.run([OPENSSL, command, "-help"], capture_output=True, text=True, check=False)
    return f" {option} " in done.stdout + done.stderr


pytestmark = [
    pytest.mark.skipif(
        not _knows("s_server", "-status_file") or not _knows("s_client", "-status"),
        reason="there is no openssl with 's_server -status_file': apt-get install openssl",
    ),
    pytest.mark.timeout(60),
]

VERSIONS = ["-tls1_2", "-tls1_3"]
ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())
BARE = CONTOSO.issue("sip:contoso.com")
GOOD = staple(CONTOSO, BARE)


@contextmanager
def s_server(folder: Path, version: str, response: bytes | None) -> Iterator[int]:
    """Run a server with this response stapled, and give its port."""
    (folder / "chain.pem").write_bytes(pem(BARE))
    (folder / "staple.der").write_bytes(response or b"")
    assert OPENSSL is not None
    process = subprocess.Popen(
        [
            *(OPENSSL, "s_server", version, "-accept", "127.0.0.1:0", "-naccept", "1"),
            *("-cert", str(folder / "chain.pem"), "-key", str(folder / "chain.pem")),
            *(() if response is None else ("-status_file", str(folder / "staple.der"))),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process:
        try:
            for line in process.stdout:
                if found := re.match(r"ACCEPT .*:(\d+)$", line):
                    yield int(found[1])
                    return
            pytest.fail("s_server never listened")
        finally:
            process.kill()


def visit(port: int, policy: Requires) -> None:
    with sync.TLSClientTransport(policy) as transport:
        transport.connect("contoso.com", host="127.0.0.1", port=port)


@pytest.mark.parametrize("version", VERSIONS)
def test_our_client_judges_by_what_s_server_staples(tmp_path: Path, version: str) -> None:
    policy = Requires(ENTERPRISE)
    with s_server(tmp_path, version, GOOD) as port:
        visit(port, policy)
    assert policy.seen == [None, GOOD]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("response", "code"),
    [
        (staple(CONTOSO, BARE, revoked=True), "path.revoked"),
        (staple(CONTOSO, CONTOSO.issue("sip:contoso.com")), "path.revocation-unknown"),
        (None, "path.revocation-unknown"),
    ],
    ids=["revoked", "of-another", "none"],
)
def test_our_client_refuses_what_s_server_staples(
    tmp_path: Path, version: str, response: bytes | None, code: str
) -> None:
    with (
        s_server(tmp_path, version, response) as port,
        pytest.raises(PeerRefusedError) as refused,
    ):
        visit(port, Requires(ENTERPRISE))
    assert refused.value.decision.code == code


def s_client(credential: Credential, version: str, *options: str) -> str:
    """Let s_client visit our server, and give what it prints."""
    assert OPENSSL is not None
    with sync.TLSServerTransport(credential, on_message=print) as server:
        server.listen("127.0.0.1", 0)
        ((host, port),) = server.addresses
        done = subprocess.run(
            [OPENSSL, "s_client", version, "-connect", f"{host}:{port}", *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    return done.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_s_client_gets_the_staple_if_it_asks(version: str) -> None:
    stapled = evolve(BARE, staple=GOOD)
    shown = s_client(stapled, version, "-status")
    assert "OCSP Response Status: successful" in shown
    assert "Cert Status: good" in shown
    assert f"{BARE.chain[0].serial_number:X}" in shown
    assert "OCSP response: no response sent" in s_client(BARE, version, "-status")
    assert "OCSP" not in s_client(stapled, version)
