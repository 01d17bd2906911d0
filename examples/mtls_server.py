"""A server of contoso.com over mutual TLS: ``python examples/mtls_server.py lab``.

``siptls pki init lab`` has made the folder: the server's certificate, and the policy that says whom
it believes. It answers each request with 200, and says of whoever is refused why. Renewed files are
used from then on. Ctrl-C or SIGTERM ends it in order: the connections are closed, none is cut off.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from siptls import Connection, Decision, Message, MTLSServerTransport, SIPTLSError, watch

HOST = "127.0.0.1"


def answer(connection: Connection, message: Message) -> None:
    """Answer a request; whoever sent it has proven who he is."""
    assert connection.peer is not None
    proven = ", ".join(sorted(connection.peer.domains))
    print(message.method, "from", proven, f"({connection.peer.trust})", flush=True)
    if message.expects_reply:
        connection.send_nowait(message.reply(200, "OK"))


def tell(decision: Decision, address: tuple[str, int] | None) -> None:
    """Say who was refused, and why."""
    print(f"from {address}:", decision.explain(), flush=True)


async def serve(lab: Path, port: int, shown: Path) -> None:
    """Serve until a signal comes."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    with watch(credential=shown, policy=lab / "policy.toml") as files:
        assert files.credential is not None
        assert files.policy is not None
        server = MTLSServerTransport(
            files.credential, files.policy, on_message=answer, on_refused=tell
        )
        async with server:
            files.attach(server)
            await server.listen(HOST, port)
            port = server.addresses[0][1]
            print(f"listening on {HOST}:{port} as", *files.credential.names.names)
            print("look at it from another terminal:")
            print(
                f"  siptls check sip:contoso.com --policy {lab}/policy.toml"
                f" --credential {lab}/client.pem --connect {HOST}:{port}",
                flush=True,
            )
            await ended.wait()
    print("ended in order")


def main() -> None:
    """Read the arguments, and serve."""
    # siptls logs it as a warning when one side refuses the other; here it is printed instead.
    logging.getLogger("siptls").addHandler(logging.NullHandler())
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lab", type=Path, help="a folder that `siptls pki init` has made")
    parser.add_argument("--port", type=int, default=5061, help="5061; 0 for one that is free")
    parser.add_argument("--show", type=Path, help="another certificate, such as an impostor's")
    given = parser.parse_args()
    try:
        asyncio.run(serve(given.lab, given.port, given.show or given.lab / "server.pem"))
    except SIPTLSError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
