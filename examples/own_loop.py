"""Your own loop: TLS, the policy and the framing of siptls, driven by `selectors`.

A `ClientConnection` or a `ServerConnection` does no input or output. Whoever owns the sockets does
four things: pass on what has come, write what is to be sent, look at the events, and mind the
deadline. Run it to see a server and a client of contoso.com talk to each other in one thread.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable

from siptls import ClientConnection, ConnectionClosed, Enterprise, Event, MessageReceived
from siptls import ServerConnection as Server
from siptls.testing import CertificateAuthority

Core = ClientConnection | Server
OnEvent = Callable[[Core, Event], None]


class Loop:
    """Any number of connections on one selector."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.unsent: dict[socket.socket, bytearray] = {}

    def listen(self, sock: socket.socket, accept: Callable[[], Core], on_event: OnEvent) -> None:
        """Accept connections; ``accept`` gives a new core for each."""
        sock.setblocking(False)
        self.selector.register(sock, selectors.EVENT_READ, (accept, on_event))

    def add(self, sock: socket.socket, core: Core, on_event: OnEvent) -> None:
        """Drive a connection on a connected socket."""
        sock.setblocking(False)
        self.unsent[sock] = bytearray()
        self.selector.register(sock, selectors.EVENT_READ, (core, on_event))
        self.after(sock, core, on_event)

    def run(self, while_: Callable[[], bool]) -> None:
        """Work for as long as something holds."""
        while while_():
            cores = [key.data[0] for key in self.selector.get_map().values()]
            deadlines = [d for core in cores if (d := getattr(core, "deadline", None)) is not None]
            left = min(deadlines, default=time.monotonic() + 1) - time.monotonic()
            for key, ready in self.selector.select(max(0, min(left, 1))):
                self.ready(key.fileobj, ready, *key.data)  # type: ignore[arg-type]  # a socket
            for key in list(self.selector.get_map().values()):
                if isinstance(key.data[0], Core):
                    key.data[0].handle_deadline(time.monotonic())
                    self.after(key.fileobj, *key.data)  # type: ignore[arg-type]  # a socket

    def ready(
        self, sock: socket.socket, ready: int, what: Core | Callable[[], Core], on_event: OnEvent
    ) -> None:
        """Accept, or pass on what has come."""
        if not isinstance(what, Core):
            self.add(sock.accept()[0], what(), on_event)
            return
        if ready & selectors.EVENT_READ:
            try:
                data = sock.recv(65536)
            except OSError:
                data = b""  # a reset: the core says that it was no orderly end
            what.receive_data(data) if data else what.receive_eof()

    def after(self, sock: socket.socket, core: Core, on_event: OnEvent) -> None:
        """Handle the events, write what is to be sent, and close what is over."""
        for event in core.events():
            on_event(core, event)
        unsent = self.unsent[sock]
        unsent += core.data_to_send()
        try:
            del unsent[: sock.send(unsent) if unsent else 0]
        except BlockingIOError:
            pass
        except OSError:
            unsent.clear()
            core.receive_eof()
            for event in core.events():
                on_event(core, event)
        want = selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0)
        self.selector.modify(sock, want, (core, on_event))
        if core.closed is not None and not unsent:
            self.selector.unregister(sock)
            sock.close()
            del self.unsent[sock]


if __name__ == "__main__":
    ca = CertificateAuthority("Contoso CA")
    policy, ours = Enterprise(["contoso.com"], ca.authority()), ca.issue("sip:contoso.com")
    loop = Loop()
    over: list[Exception] = []

    def tell(core: Core, event: Event) -> None:
        """Answer requests; close when the answer is there."""
        match event:
            case MessageReceived(message=message) if message.expects_reply:
                print("the server got", message.start_line, "from", core.peer and core.peer.domains)
                core.send(message.reply(200, "OK"))
            case MessageReceived(message=message):
                print("the client got", message.start_line)
                core.close()
            case ConnectionClosed(reason=reason):
                over.append(reason)

    listener = socket.create_server(("127.0.0.1", 0))
    loop.listen(listener, lambda: Server(ours, policy), tell)
    client = ClientConnection(policy, "sip:contoso.com", credential=ours)

    def begin(core: Core, event: Event) -> None:
        """Send a request as soon as the server is accepted."""
        if type(event).__name__ == "PeerAccepted":
            core.send(b"OPTIONS sip:contoso.com SIP/2.0\r\nCSeq: 1 OPTIONS\r\nl: 0\r\n\r\n")
        tell(core, event)

    loop.add(socket.create_connection(listener.getsockname()), client, begin)
    loop.run(lambda: len(over) < len([client, listener]))
    listener.close()
