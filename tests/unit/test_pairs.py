"""Two connections and the network between them: bytes both ways, until both are silent."""

from __future__ import annotations

import pytest
from impostors import STRANGER
from network import ENTERPRISE, OURS
from sip import request

from siptls import (
    ClientConnection,
    ConnectionClosed,
    Credential,
    Message,
    MessageReceived,
    PeerAccepted,
    PeerRefusedError,
    Ping,
    Pong,
    RefusedByPeerError,
    ServerConnection,
)
from siptls.testing import connected, exchange


def new(credential: Credential = OURS) -> tuple[ClientConnection, ServerConnection]:
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=credential)
    return client, ServerConnection(OURS, ENTERPRISE)


def test_two_that_trust_each_other_are_connected(tls_version: str) -> None:
    """And silent: nothing is left to be carried, and nobody is told that it is over."""
    pair = new()
    assert connected(*pair) == pair
    for connection in pair:
        assert connection.established
        assert connection.closed is None
        assert [type(event) for event in connection.events()] == [PeerAccepted]
        assert connection.data_to_send() == b""


def test_a_refusal_is_told_by_the_connections_and_not_raised(tls_version: str) -> None:
    client, server = connected(*new(STRANGER.issue("sip:contoso.com")))
    assert isinstance(server.closed, PeerRefusedError)
    assert isinstance(client.closed, RefusedByPeerError)


def test_what_both_have_to_say_is_carried_at_once(tls_version: str) -> None:
    """Answers to it, too: the pong comes in the same exchange."""
    client, server = connected(*new())
    client.events()
    server.events()
    to_server, to_client = request(body=b"x" * 100_000), request(number=2)
    client.send(to_server)
    client.ping()
    server.send(to_client)
    exchange(client, server)
    assert server.events() == [MessageReceived(Message(to_server)), Ping()]
    assert client.events() == [MessageReceived(Message(to_client)), Pong()]
    exchange(client, server)
    assert client.events() == server.events() == []


@pytest.mark.parametrize("who", ["client", "server"])
def test_who_closes_in_order_is_answered_in_order(who: str, tls_version: str) -> None:
    client, server = connected(*new())
    (client if who == "client" else server).close()
    exchange(client, server)
    for connection in (client, server):
        assert connection.closed is not None
        assert isinstance(connection.events()[-1], ConnectionClosed)


@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("before", ["the handshake", "the end"])
def test_who_is_gone_without_a_word_closes_the_network(who: str, before: str) -> None:
    """The other side learns it as the end of its stream."""
    client, server = new() if before == "the handshake" else connected(*new())
    first, second = (client, server) if who == "client" else (server, client)
    first.data_to_send()
    first.receive_eof()
    first.data_to_send()
    exchange(client, server)
    assert first.closed is not None
    assert second.closed is not None
    assert not second.established
