"""What must not cost more than its size: counted in operations, so that no clock judges it.

Two counts. Calls, of Python and of C functions, by the interpreter itself; and of the framer, which
hands much work to few calls, the bytes that it looks at in its buffer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from certificates import make_ca, make_leaf, show
from sip import request

from siptls import (
    Authority,
    ConnectionPool,
    Federation,
    FramingError,
    Limits,
    MessageFramer,
    Partner,
    ReferenceIdentity,
)
from siptls.testing import CertificateAuthority
from siptls.transports.reuse import Terms
from siptls.wire.inforce import InForce


def calls(work: Callable[[], object]) -> int:
    """Count the calls that a piece of work makes."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


# ---------------------------------------------------------------- the framer


class Counting(bytearray):
    """A buffer that counts the bytes that are looked at, copied or moved."""

    count = 0

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        found = super().find(sub, start, len(self) if end is None else end)
        self.count += (len(self) if found < 0 else found) - start
        return found

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.count += len(found) if isinstance(key, slice) else 1
        return found

    def __delitem__(self, key: Any) -> None:
        self.count += 1  # from the front: bytearray only moves its beginning
        super().__delitem__(key)


def work_of(pieces: Iterator[bytes]) -> int:
    """Frame what comes in pieces; count calls and bytes."""
    framer = MessageFramer(Limits(max_head=1 << 22, max_body=1 << 22))
    framer._buffer = buffer = Counting()

    def feed() -> None:
        try:
            for piece in pieces:
                framer.feed(piece)
        except FramingError:
            pass

    count = calls(feed)
    assert framer._buffer is buffer
    return count + buffer.count


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Cut into pieces."""
    return (data[start : start + size] for start in range(0, len(data), size))


HEAD = b"INVITE sip:a@b SIP/2.0\r\n"
INPUTS: dict[str, Callable[[int], bytes]] = {
    "whole messages": lambda n: request() * n,
    "a head without end": lambda n: HEAD + b"X: y\r\n" * 20 * n,
    "a line without end": lambda n: HEAD + b"X: " + b"y" * 100 * n,
    "folded lines": lambda n: HEAD + b"X: y\r\n z\r\n" * 20 * n,
    "a long body": lambda n: request(body=b"x" * 100 * n),
    "empty lines in a body": lambda n: request(body=b"\r\n\r\n" * 25 * n),
    "pings": lambda n: b"\r\n\r\n" * 25 * n,
    "single CRLFs": lambda n: b"\r\n" * 50 * n + request(),
    "carriage returns": lambda n: HEAD + b"\r" * 100 * n,
    "Content-Lengths": lambda n: HEAD + b"Content-Length: 0\r\n" * 5 * n + b"\r\n",
    "no SIP at all": lambda n: b"\x00" * 100 * n,
    "messages and pings": lambda n: (request() + b"\r\n\r\n") * n,
}


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS.keys())
def test_twice_the_input_is_at_most_twice_the_work(make: Callable[[int], bytes], size: int) -> None:
    once, twice = (work_of(cut(make(n), size)) for n in (60, 120))
    assert twice <= 2.1 * once + 200


def test_the_counter_sees_what_is_quadratic() -> None:
    """Else the test above would say nothing."""

    class Naive(MessageFramer):
        __slots__ = ()

        def feed(self, data: Any) -> list[Any]:
            self._buffer += data
            self._buffer.find(b"\r\n\r\n")
            return []

    def work(count: int) -> int:
        framer = Naive()
        framer._buffer = buffer = Counting()
        for _ in range(count):
            framer.feed(b"x")
        return buffer.count

    assert work(300) > 3.5 * work(150)


# ---------------------------------------------------------------- the look-ups


def federation(count: int) -> Federation:
    """So many partners, each with a CA of its own; one of them is fabrikam.com."""
    others = [
        Partner([f"partner{number}.example"], CertificateAuthority(f"CA {number}").authority())
        for number in range(count)
    ]
    return Federation([*others, Partner(["fabrikam.com"], FABRIKAM)])


ROOT = make_ca("Fabrikam CA")
FABRIKAM = Authority("Fabrikam CA", [ROOT.certificate])


def test_a_peer_is_found_among_many_partners_as_among_few() -> None:
    leaf = make_leaf(ROOT, "sip:fabrikam.com")
    stranger = make_leaf(make_ca("Stranger"), "sip:fabrikam.com")
    for peer, is_partner in ((leaf, True), (stranger, False)):
        counts = []
        for partners in (federation(3), federation(60)):
            assert bool(partners.evaluate(show(peer))) is is_partner
            counts.append(calls(lambda partners=partners, peer=peer: partners.evaluate(show(peer))))
        assert counts[1] <= counts[0] + 5


def test_a_partner_is_found_by_its_domain_alike() -> None:
    few, many = federation(3), federation(60)
    assert many.partner("sip.fabrikam.com") is not None
    counts = [calls(lambda one=one: one.partner("sip.fabrikam.com")) for one in (few, many)]
    assert counts[0] == counts[1]


class Core:
    """The core of a connection whose peer was judged."""

    is_judged = True


class Live:
    """A connection of a pool."""

    def __init__(self, decision: Any) -> None:
        self.core = Core()
        self.core.evidence = decision.evidence  # type: ignore[attr-defined]
        self.decision = decision
        self.peer = decision.peer
        self.usable = True
        self.remote_address = ("127.0.0.1", 5061)


def test_a_connection_is_found_among_many_as_among_few() -> None:
    policy = Federation([Partner([f"p{n}.example" for n in range(60)], FABRIKAM)])
    terms = Terms(InForce(policy), None, None)
    decisions = [
        policy.evaluate(
            show(make_leaf(ROOT, f"sip:p{n}.example"), role="server", reference=f"p{n}.example")
        )
        for n in range(60)
    ]
    expected = ReferenceIdentity("p59.example")
    counts = []
    for some in (decisions[-3:], decisions):
        pool: ConnectionPool[Any] = ConnectionPool(clock=lambda: decisions[0].evidence.now)  # type: ignore[union-attr]
        for decision in some:
            pool.add(Live(decision), terms)
        assert pool.find(expected, terms) is not None
        counts.append(calls(lambda pool=pool: pool.find(expected, terms)))
    assert counts[0] == counts[1]
