"""Any bytes from the network, before and while a peer proves who it is."""

from __future__ import annotations

from fuzz.pki import CONTOSO, NOW, VALID
from siptls import (
    ClientConnection,
    ConnectionClosed,
    Enterprise,
    Event,
    MessageReceived,
    PeerAccepted,
    PeerRefused,
    RefusedByPeer,
    ServerConnection,
    SIPTLSError,
)
from siptls.testing import CertificateAuthority

LENGTH = 2000
OURS = CONTOSO.issue("sip:contoso.com", "sip.contoso.com", **VALID)
# The name is right, and so is that of the CA. Who is anybody?
STRANGER = CertificateAuthority("Contoso CA", seed="a stranger", **VALID).issue(
    "sip:contoso.com", **VALID
)
_POLICY = Enterprise(["contoso.com"], CONTOSO.authority())
_SENT = [
    f"MESSAGE sip:contoso.com SIP/2.0\r\nCall-ID: {number}\r\nl: 2\r\n\r\nhi".encode()
    for number in range(2)
]
_FLIGHTS = 8


def target(data: bytes) -> None:
    """The first byte says who gets what: bytes as they are, or flights that somebody alters."""
    if len(data) < 2:
        return
    match data[0] % 4:
        case 0:
            feed(server(), data[1:])
        case 1:
            connection = client()
            connection.data_to_send()
            feed(connection, data[1:])
        case 2:
            alter(client(stranger=True), data[1:], is_proven=False)
        case _:
            alter(client(), data[1:], is_proven=True)


def server() -> ServerConnection:
    """Give a server that takes our own clients, and no other."""
    return ServerConnection(OURS, _POLICY, clock=lambda: NOW, timer=lambda: 0.0)


def client(*, stranger: bool = False) -> ClientConnection:
    """Give a client of ours, or somebody else's that only seems to be."""
    shown = STRANGER if stranger else OURS
    return ClientConnection(
        _POLICY, "contoso.com", credential=shown, clock=lambda: NOW, timer=lambda: 0.0
    )


def feed(connection: ServerConnection | ClientConnection, data: bytes) -> None:
    """Give bytes of one who proves nothing, in two pieces, and then the end."""
    half = len(data) // 2
    for piece in (data[:half], data[half:]):
        connection.receive_data(piece)
        connection.data_to_send()
    connection.receive_eof()
    events = connection.events()
    check(events)
    assert not any(isinstance(one, PeerAccepted | MessageReceived) for one in events)
    assert connection.peer is None
    assert not connection.established
    assert isinstance(events[-1], ConnectionClosed)


def check(events: list[Event]) -> None:
    """Assert that what has happened is told in order, and as errors of ours."""
    refusals = [one for one in events if isinstance(one, PeerRefused | RefusedByPeer)]
    assert len(refusals) <= 1
    for place, one in enumerate(events):
        if isinstance(one, ConnectionClosed):
            assert isinstance(one.reason, SIPTLSError)
            assert str(one.reason)
            assert place == len(events) - 1
        if isinstance(one, MessageReceived):
            assert any(isinstance(before, PeerAccepted) for before in events[:place])
        if isinstance(one, PeerRefused):
            assert not one.decision.accepted


def alter(ours: ClientConnection, changes: bytes, *, is_proven: bool) -> None:
    """Let a client and a server speak, while somebody between them alters what the client says.

    Each change is of three bytes: of which flight, where, and how.
    """
    theirs = server()
    got: list[Event] = []
    sent = 0
    by_flight: dict[int, list[bytes]] = {}
    for start in range(0, min(len(changes), 24) - 2, 3):
        by_flight.setdefault(changes[start] % _FLIGHTS, []).append(changes[start : start + 3])
    for number in range(_FLIGHTS):
        if ours.established and sent < len(_SENT):
            ours.send(_SENT[sent])
            sent += 1
        flight = ours.data_to_send()
        for change in by_flight.get(number, []):
            flight = _altered(flight, change)
        theirs.receive_data(flight)
        got += theirs.events()
        ours.receive_data(theirs.data_to_send())
    theirs.receive_eof()
    ours.receive_eof()
    got += theirs.events()
    check(got)
    check(ours.events())
    received = [one.message.data for one in got if isinstance(one, MessageReceived)]
    assert received == _SENT[: len(received)]  # nothing is added, altered, or left out
    if not is_proven:
        assert not received
        assert not any(isinstance(one, PeerAccepted) for one in got)
    elif not by_flight:
        assert received == _SENT


def _altered(flight: bytes, change: bytes) -> bytes:
    if not flight:
        return flight
    place, how = (change[1] << 3 | change[2] >> 5) % len(flight), change[2] & 31
    match how:
        case 0:
            return flight[:place]
        case 1:
            return flight[:place] + flight[place + 1 :]
        case 2:
            return flight + flight
        case 3:
            return flight[place:] + flight[:place]
        case _:
            return flight[:place] + bytes([flight[place] ^ how]) + flight[place + 1 :]
