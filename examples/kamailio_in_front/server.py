"""A server behind Kamailio, both over mutual TLS: the last of four commands, in two terminals.

::

    siptls pki init lab
    siptls pki issue lab sip:contoso.com proxy.contoso.com --out lab/proxy.pem
    kamailio -DD -E -w "$PWD" -f examples/kamailio_in_front/kamailio.cfg
    python examples/kamailio_in_front/server.py lab

They are typed in a clone of siptls. Kamailio listens on port 5061, ends the TLS of the clients and
asks for their certificates, and passes each request on to this server, on port 5071, with a
certificate of its own. Then ``python examples/client.py lab`` gets its answer from here.

What this server sees is Kamailio's certificate, and not the client's. So Kamailio is the one server
on its list, and whoever else comes with a certificate of our own CA is refused. And Kamailio checks
the chain only, not which CA may vouch for which name: give it your own CA and no partner's, as
``tls.cfg`` does. More on this stands in docs/how-to/scale-out.md.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from siptls import (
    Connection,
    Credential,
    Decision,
    Message,
    MTLSServerTransport,
    SIPTLSError,
    TrustedServers,
    load_policy,
)

HOST, PROXY = "127.0.0.1", "proxy.contoso.com"


def answer(connection: Connection, message: Message) -> None:
    """Answer a request that Kamailio has passed on."""
    assert connection.peer is not None
    assert connection.peer.trusted_server  # as proven: no challenge is due
    print(message.method, "of", message.header("From"), "through", PROXY, flush=True)
    if message.expects_reply:
        connection.send_nowait(message.reply(200, "OK", header="Server: behind-the-proxy\r\n"))


def tell(decision: Decision, _: tuple[str, int] | None) -> None:
    """Say who was refused, and why."""
    print(decision.explain(), flush=True)


async def serve(lab: Path, port: int) -> None:
    """Serve until a signal comes."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    ours = Credential.from_pem(lab / "server.pem")
    policy = load_policy(lab / "policy.toml") & TrustedServers([PROXY])
    async with MTLSServerTransport(ours, policy, on_message=answer, on_refused=tell) as server:
        await server.listen(HOST, port)
        print(f"listening on {HOST}:{server.addresses[0][1]} for {PROXY}", flush=True)
        await ended.wait()
    print("ended in order")


def main() -> None:
    """Read the arguments, and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lab", type=Path, help="a folder that `siptls pki init` has made")
    parser.add_argument("--port", type=int, default=5071, help="5071, as in kamailio.cfg")
    given = parser.parse_args()
    try:
        asyncio.run(serve(given.lab, given.port))
    except SIPTLSError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
