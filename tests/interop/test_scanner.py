"""sslscan, as an auditor runs it: what versions and suites a server of ours takes."""

from __future__ import annotations

import shutil
import subprocess
from xml.etree import ElementTree as ET

import pytest
from network import OURS

from siptls import sync

SSLSCAN = shutil.which("sslscan")

pytestmark = pytest.mark.skipif(
    SSLSCAN is None, reason="sslscan is not installed: apt-get install sslscan"
)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> ET.Element:
    """What it finds of a server that asks for no certificate: it has none to show."""
    assert SSLSCAN is not None
    report = tmp_path_factory.mktemp("scan") / "scan.xml"
    with sync.TLSServerTransport(OURS, lambda _: None) as server:
        server.listen("127.0.0.1", 0)
        place = f"127.0.0.1:{server.addresses[0][1]}"
        command = [SSLSCAN, "--show-ciphers", f"--xml={report}", place]
        subprocess.run(command, check=True, capture_output=True, timeout=50)
    found = ET.parse(report).getroot().find("ssltest")
    assert found is not None
    return found


def test_tls_1_2_and_1_3_and_nothing_else(scan: ET.Element) -> None:
    enabled = {
        f"{one.get('type')} {one.get('version')}"
        for one in scan.iter("protocol")
        if one.get("enabled") == "1"
    }
    assert enabled == {"tls 1.2", "tls 1.3"}


def test_every_suite_has_aead_and_forward_secrecy(scan: ET.Element) -> None:
    suites = [(one.get("sslversion"), str(one.get("cipher"))) for one in scan.iter("cipher")]
    assert {version for version, _ in suites} == {"TLSv1.2", "TLSv1.3"}
    for version, suite in suites:
        assert any(mode in suite for mode in ("GCM", "CCM", "CHACHA20")), suite
        assert version == "TLSv1.3" or suite.startswith(("ECDHE-", "DHE-")), suite


def test_no_renegotiation_no_compression_no_heartbleed(scan: ET.Element) -> None:
    assert all(one.get("supported") == "0" for one in scan.iter("renegotiation"))
    assert all(one.get("supported", "0") == "0" for one in scan.iter("compression"))
    assert all(one.get("vulnerable") == "0" for one in scan.iter("heartbleed"))
