"""Contoso's federation: a partner, and strangers whom it discovers."""

from __future__ import annotations

from collections.abc import Callable

from siptls import (
    ClientConnection,
    Credential,
    Discovery,
    Enterprise,
    Federation,
    Message,
    MessageReceived,
    Partner,
    ServerConnection,
    Traffic,
    TrafficLimits,
    TrustPolicy,
)
from siptls.testing import CertificateAuthority, connected

CONTOSO = CertificateAuthority("Contoso CA", seed="federated contoso")
FABRIKAM = CertificateAuthority("Fabrikam CA", seed="federated fabrikam")
PUBLIC = CertificateAuthority("Public CA", seed="federated public")
OURS = CONTOSO.issue("sip:contoso.com")
PARTNER = FABRIKAM.issue("sip:fabrikam.com")
STRANGER, OTHER = PUBLIC.issue("sip:stranger.example"), PUBLIC.issue("sip:other.example")
FEW = TrafficLimits(messages_per_second=10, burst=2, distinct_uris=3, suspicious_after=4)


def policy(limits: TrafficLimits | None = FEW) -> TrustPolicy:
    """What contoso's edge believes."""
    return Enterprise(["contoso.com"], CONTOSO.authority()) | Federation(
        [Partner(["fabrikam.com"], FABRIKAM.authority())],
        discovery=Discovery(PUBLIC.authority(), own=["contoso.com"], limits=limits),
    )


_policy = policy
HOME = Enterprise(["contoso.com"], CONTOSO.authority())


def asked(
    number: int, sender: str = "stranger.example", *, uri: str = "sip:bob@contoso.com"
) -> bytes:
    """Give a request of a user of some domain; ``number`` tells it from others."""
    return (
        f"OPTIONS {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/TLS client.example;branch=z9hG4bK{number}\r\n"
        f"From: <sip:anna@{sender}>;tag=a\r\nTo: <{uri}>\r\n"
        f"Call-ID: {number}\r\nCSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


class Pair:
    """A client of somebody's and our edge, in memory, with a time that stands still.

    Attributes:
        client: The somebody's connection.
        edge: Ours.
        now: The time of both, in seconds.
    """

    def __init__(
        self,
        credential: Credential = STRANGER,
        *,
        traffic: Traffic | None = None,
        authorize: bool = False,
        limits: TrafficLimits | None = FEW,
        policy: TrustPolicy | None = None,
        now: float = 0.0,
    ) -> None:
        self.now = now
        self.client = ClientConnection(HOME, "contoso.com", credential=credential, timer=self.time)
        self.edge = ServerConnection(
            OURS,
            _policy(limits) if policy is None else policy,
            timer=self.time,
            traffic=traffic,
            authorize=authorize,
        )
        connected(self.client, self.edge)

    def time(self) -> float:
        return self.now

    def say(self, *messages: bytes) -> None:
        """Have the client send something."""
        for message in messages:
            self.client.send(message)
        self.edge.receive_data(self.client.data_to_send())

    def heard(self) -> list[Message]:
        """What our edge was given since the last time."""
        events = self.edge.events()
        return [event.message for event in events if isinstance(event, MessageReceived)]

    def numbers(self) -> list[int]:
        return [int(message.header("Call-ID") or 0) for message in self.heard()]

    def wait(self) -> None:
        """Let time pass until the edge wants to look again."""
        deadline = self.edge.deadline
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.edge.handle_deadline(self.now)

    def answer(self, make: Callable[[Message], Message | None]) -> None:
        """Answer all that the edge was given."""
        for message in self.heard():
            if (answer := make(message)) is not None:
                self.edge.send(answer)
