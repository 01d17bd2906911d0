"""The world of the soak: who is there, whom the servers believe, and what is said and checked.

All processes make the same certification authorities from a seed, so that none has to pass keys.

What is said. A client sends numbered requests, each with a checksum of its body; the server answers
each, and says something of its own, numbered as well, after each third. So either side sees at once
what is lost, doubled, out of order or damaged. The last request is marked: whoever has seen its
answer, and all that the server had to say, has lost nothing.
"""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter

from siptls import (
    Authority,
    Credential,
    Enterprise,
    Federation,
    Message,
    Partner,
    TrustPolicy,
)
from siptls.testing import CertificateAuthority

OURS, EDGE = "contoso.com", CertificateAuthority("Contoso CA", seed="soak")
STRANGER = CertificateAuthority("Stranger CA", seed="soak")
PARTNERS = {
    f"p{number}.example": CertificateAuthority(f"Partner CA {number}", seed="soak")
    for number in range(10)
}
FICKLE = "p9.example"  # the partner that the updates remove, and bring back
BLOCKED = "evil.p0.example"
EACH_THIRD = 3

Wrong = list[str]


def policy(*, with_fickle: bool = True) -> TrustPolicy:
    """Give what the servers believe: another object each time."""
    partners = [
        Partner([name], ca.authority())
        for name, ca in PARTNERS.items()
        if with_fickle or name != FICKLE
    ]
    return Enterprise([OURS], EDGE.authority()) | Federation(partners, blocked=[BLOCKED])


def our_credential() -> Credential:
    """Give what the servers show: another certificate each time."""
    return _renewed(EDGE, "sip:contoso.com")


def credential_of(partner: str) -> Credential:
    """Give what a partner shows."""
    return _renewed(PARTNERS[partner], f"sip:{partner}")


def _renewed(ca: CertificateAuthority, name: str) -> Credential:
    """Issue a certificate that was never there before: its common name differs."""
    return ca.issue(name, common_name=f"{random.getrandbits(40):x}")


def believes_us() -> TrustPolicy:
    """Give what every client believes: another object each time."""
    return Enterprise([OURS], Authority("Contoso CA", [EDGE.certificate]))


# ---------------------------------------------------------------- what is said


def request(number: int, size: int, *, last: bool = False) -> bytes:
    """Give a numbered request with a body, and the checksum of it."""
    body = os.urandom(size)
    head = (
        f"MESSAGE sip:{OURS} SIP/2.0\r\nVia: SIP/2.0/TLS c.example;branch=z9hG4bK{number}\r\n"
        f"From: <sip:a@c.example>;tag=a\r\nTo: <sip:{OURS}>\r\nCall-ID: {number}\r\n"
        f"CSeq: {number} MESSAGE\r\nX-Sum: {zlib.crc32(body)}\r\nX-Last: {int(last)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def is_last(message: Message) -> bool:
    """Whether a request is the last of its connection."""
    return message.header("X-Last") == "1"


def answer(message: Message) -> Message:
    """Give the answer, which has a body and a checksum of its own."""
    body = message.body[::-1]
    return message.reply(200, "OK", header=f"X-Sum: {zlib.crc32(body)}\r\n", body=body)


class Heard:
    """What has come over one connection: each message is to be the one after that before."""

    def __init__(self, whose: str, wrong: Wrong) -> None:
        self.requests = 0
        self.answers = 0
        self._whose = whose
        self._wrong = wrong

    def check(self, message: Message) -> int:
        """Look at a message; give its number."""
        expected = self.requests if message.is_request else self.answers
        number = int((message.header("CSeq") or "-1").split()[0])
        if number != expected:
            kind = "request" if message.is_request else "answer"
            self._wrong.append(f"{self._whose}: {kind} {number} came, and {expected} was due")
        if message.header("X-Sum") != str(zlib.crc32(message.body)):
            self._wrong.append(f"{self._whose}: the body of {number} is damaged")
        if message.is_request:
            self.requests = number + 1
        else:
            self.answers = number + 1
        return number


class Served:
    """The server's side of one connection, whatever kind of server it is."""

    def __init__(self, done: Counter[str], wrong: Wrong) -> None:
        self._heard = Heard("a server", wrong)
        self._done = done
        self._said = 0

    def replies(self, message: Message) -> bytes:
        """Take a request; give all that is to be sent now."""
        number = self._heard.check(message)
        self._done["messages received by servers"] += 1
        data = bytes(answer(message).data)
        if number % EACH_THIRD == 0:
            data += request(self._said, 40)
            self._said += 1
        if is_last(message):
            self._done["conversations finished, as servers saw it"] += 1
        return data


class Said:
    """The client's side of one connection: what it says, and when all is heard."""

    def __init__(self, whose: str, wrong: Wrong, *, messages: int) -> None:
        self.heard = Heard(whose, wrong)
        self.sent = 0
        self._messages = messages

    def next(self, *, hurry: bool) -> bytes | None:
        """Give what is said next, the last of it if time is up; None if all is said."""
        if self.sent >= self._messages:
            return None
        if hurry:
            self._messages = self.sent + 1
        size = random.choice((0, 40, 400, 4000))  # noqa: S311  no secret
        data = request(self.sent, size, last=self.sent + 1 == self._messages)
        self.sent += 1
        return data

    @property
    def is_whole(self) -> bool:
        """Whether everything was said, and everything that it leads to was heard."""
        said = -(-self.sent // EACH_THIRD)
        heard = self.heard
        return self.sent == self._messages and heard.answers == self.sent and heard.requests == said
