"""A client of contoso.com: ``python examples/client.py lab``, while ``mtls_server.py lab`` runs.

Whom it expects is ``sip:contoso.com``, and only a server that proves this name is spoken to; host
and port say merely where that is. It shows its own certificate, asks with OPTIONS, and prints the
answer. It exits with 1, and the reason in words, if one of the two refuses the other.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import sys
from pathlib import Path

from siptls import Credential, PeerRefusedError, SIPTLSError, TLSClientTransport, load_policy

REQUEST = """\
OPTIONS sip:contoso.com SIP/2.0
Via: SIP/2.0/TLS pc.contoso.com;branch=z9hG4bK{branch}
Max-Forwards: 70
From: <sip:pc.contoso.com>;tag={branch}
To: <sip:contoso.com>
Call-ID: {branch}@pc.contoso.com
CSeq: 1 OPTIONS
Content-Length: 0

""".replace("\n", "\r\n")


async def ask(lab: Path, port: int, shown: Path) -> None:
    """Connect, ask, and say what came back."""
    policy, ours = load_policy(lab / "policy.toml"), Credential.from_pem(shown)
    async with (
        TLSClientTransport(policy, credential=ours) as transport,
        await transport.connect("sip:contoso.com", host="127.0.0.1", port=port) as connection,
    ):
        assert connection.peer is not None
        assert connection.tls is not None
        proven = ", ".join(sorted(connection.peer.domains))
        print(f"connected with the proven {proven} over {connection.tls.version}")
        await connection.send(REQUEST.format(branch=secrets.token_hex(8)).encode())
        # In TLS 1.3 a server judges us after the handshake: only an answer says that it accepts.
        print((await connection.receive()).start_line)


def main() -> None:
    """Read the arguments, and ask."""
    # siptls logs it as a warning when one side refuses the other; here it is printed instead.
    logging.getLogger("siptls").addHandler(logging.NullHandler())
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lab", type=Path, help="a folder that `siptls pki init` has made")
    parser.add_argument("--port", type=int, default=5061, help="of the server on this machine")
    parser.add_argument("--show", type=Path, help="another certificate, such as an impostor's")
    given = parser.parse_args()
    try:
        asyncio.run(ask(given.lab, given.port, given.show or given.lab / "client.pem"))
    except PeerRefusedError as error:
        sys.exit(error.decision.explain())
    except SIPTLSError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
