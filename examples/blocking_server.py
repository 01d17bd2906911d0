"""A server with a thread for each connection: ``python examples/blocking_server.py lab``.

``siptls pki init lab`` has made the folder. The handler is a plain function that runs for as long
as its connection: a loop over messages, which ends when the peer has closed. Ctrl-C or SIGTERM ends
the server in order.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
from pathlib import Path

from siptls import Credential, Decision, SIPTLSError, load_policy
from siptls.sync import Connection, MTLSServerTransport

HOST = "127.0.0.1"


def handler(connection: Connection) -> None:
    """Answer the requests of one peer; he has proven who he is."""
    assert connection.peer is not None
    proven = ", ".join(sorted(connection.peer.domains))
    for message in connection:
        print(message.method, "from", proven, f"({connection.peer.trust})", flush=True)
        if message.expects_reply:
            connection.send(message.reply(200, "OK"), timeout=5)


def tell(decision: Decision, address: tuple[str, int] | None) -> None:
    """Say who was refused, and why."""
    print(f"from {address}:", decision.explain(), flush=True)


def end(*_: object) -> None:
    """Leave `serve_forever`: the server is closed on the way out."""
    raise KeyboardInterrupt


def serve(lab: Path, port: int, shown: Path) -> None:
    """Serve until a signal comes."""
    policy, ours = load_policy(lab / "policy.toml"), Credential.from_pem(shown)
    with MTLSServerTransport(ours, policy, handler, on_refused=tell) as server:
        server.listen(HOST, port)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        print(f"listening on {HOST}:{server.addresses[0][1]} as", *ours.names.names, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
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
        serve(given.lab, given.port, given.show or given.lab / "server.pem")
    except SIPTLSError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
