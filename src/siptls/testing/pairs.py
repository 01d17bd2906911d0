"""Two connections and the network between them, in memory."""

from __future__ import annotations

from siptls.wire.connection import ClientConnection, ServerConnection

__all__ = ["connected", "exchange"]


def connected(
    client: ClientConnection, server: ServerConnection
) -> tuple[ClientConnection, ServerConnection]:
    """Let two connections do their handshake, as far as it goes.

    It raises nothing if one refuses the other: ``events()`` of both, and ``closed``, tell.

    Returns:
        The two that were given.
    """
    exchange(client, server)
    return client, server


def exchange(client: ClientConnection, server: ServerConnection) -> None:
    """Carry bytes both ways until both are silent. Whoever has closed, closes the network."""
    while True:
        flight = client.data_to_send()
        answer = server.data_to_send()
        server.receive_data(flight)
        client.receive_data(answer)
        if flight or answer:
            continue
        if client.closed is None and server.closed is not None:
            client.receive_eof()
        elif server.closed is None and client.closed is not None:
            server.receive_eof()
        else:
            return
