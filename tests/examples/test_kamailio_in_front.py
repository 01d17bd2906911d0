"""The example with a real Kamailio, by the commands that stand in its head."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from ports import free_port
from programs import needs, running

EXAMPLE = Path(__file__).parents[2] / "examples" / "kamailio_in_front"
HAS_TLS = any(Path("/usr/lib").glob("*/kamailio/modules/tls.so"))

pytestmark = [
    needs("kamailio", "kamailio kamailio-tls-modules"),
    pytest.mark.skipif(not HAS_TLS, reason="no TLS: apt-get install kamailio-tls-modules"),
]

HEAD = (EXAMPLE / "server.py").read_text(encoding="utf-8").split("::\n\n")[1].split("\n\n")[0]
COMMANDS = [shlex.split(line) for line in HEAD.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "examples").symlink_to(EXAMPLE.parent, target_is_directory=True)
    return tmp_path


async def done(*command: str, folder: Path) -> str:
    async with running(*command, folder=folder) as program:
        await program.ends()
        return program.output


async def test_what_kamailio_passes_on_is_answered_and_nobody_else_is(folder: Path) -> None:
    init, issue, front, behind = COMMANDS
    python, port, hidden = sys.executable, str(free_port()), str(free_port())
    for command in (init, issue):
        assert "LAB ONLY" in await done(python, "-m", *command, folder=folder)
    front = [str(folder) if word == "$PWD" else word for word in front]
    to_us = f'BEHIND="sip:127.0.0.1:{hidden};transport=tls"'
    front += ["-m", "64", "-M", "8", "-Y", str(folder), "-A", f"PORT={port}", "-A", to_us]
    client = (python, "examples/client.py", "lab", "--port")
    async with (
        running(python, *behind[1:], "--port", hidden, folder=folder) as server,
        running(*front, folder=folder) as kamailio,
    ):
        await server.prints(r"^listening on .* for proxy\.contoso\.com$")
        await kamailio.listens(int(port))
        said = await done(*client, port, folder=folder)
        assert said.splitlines()[-1] == "SIP/2.0 200 OK", kamailio.output
        await server.prints(r"^OPTIONS of .*pc\.contoso\.com.* through proxy\.contoso\.com$")
        for impostor in ("revoked", "out-of-scope"):  # Kamailio refuses them
            shown = f"lab/impostors/{impostor}.pem"
            said = await done(*client, port, "--show", shown, folder=folder)
            assert "the peer refused the handshake" in said
        said = await done(*client, hidden, folder=folder)  # past Kamailio: our server does
        assert "the peer refused the handshake" in said
        await server.prints(r"^refused: server\.not-listed$")
