"""The course of a connect(): which address is tried, when, and what is told of each.

How it thinks. The addresses of one host are not tried one after the other, for one that swallows
our packets would hold up the good one beside it. They are raced (RFC 8305, "Happy Eyeballs"): one
begins, the next follows a little later, and the first that connects is taken. Then TLS decides. If
it fails, the rest of the addresses race again, and then those of the next host.

Nothing here touches a socket or reads a clock, so that both worlds follow the same rules; only
`dial` opens a socket, and connects it nowhere.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, zip_longest
from typing import Any

from siptls.errors import Attempt, HandshakeTimeout, ResolutionError, SIPTLSError
from siptls.transports.attempts import closed_by_us, cut_short, failure, no_answer
from siptls.transports.resolution import Target, check_port
from siptls.trust.names import ReferenceIdentity
from siptls.wire.limits import Limits
from siptls.wire.measures import Measures

__all__ = ["Race", "Reach", "dial", "groups", "no_handshake"]


def groups(targets: Sequence[Target]) -> list[list[Target]]:
    """Give what is raced together, in the order in which the addresses begin.

    Consecutive targets of one host, port and priority are one group. Its address families take
    turns, beginning with that of the first target (RFC 8305 §4); within a family the order stays.
    A target without a host name has no others beside it: whoever lists addresses chose their order.
    An address that is named twice in a group is tried once.
    """
    found = []
    for _, group in groupby(enumerate(targets), _place):
        found.append(_alternating(list(dict.fromkeys(target for _, target in group))))
    return found


def _place(numbered: tuple[int, Target]) -> tuple[object, ...]:
    number, target = numbered
    if target.host is None:
        return (number,)
    return target.host.lower(), target.port, target.priority


def _alternating(group: list[Target]) -> list[Target]:
    first = _is_ipv6(group[0])
    ours = [target for target in group if _is_ipv6(target) is first]
    others = [target for target in group if _is_ipv6(target) is not first]
    turns = zip_longest(ours, others)
    return [target for turn in turns for target in turn if target is not None]


def _is_ipv6(target: Target) -> bool:
    return ":" in target.address


def dial(target: Target) -> tuple[socket.socket, Any]:
    """Make a socket that does not block, and give the address that it may be connected to.

    The system reads the address, for the sake of scopes such as ``fe80::1%eth0`` (RFC 4007 §11).

    Raises:
        OSError: It is no address, or the system has no such family, or no socket left.
        ConfigurationError: The port is none.
    """
    flags = socket.AI_NUMERICHOST
    found = socket.getaddrinfo(target.address, None, type=socket.SOCK_STREAM, flags=flags)
    family, kind, protocol, _, address = found[0]
    port = check_port(target.port)
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    return sock, (address[0], port, *address[2:])


def no_handshake(seconds: float) -> HandshakeTimeout:
    """On a socket of the application's, all of the time was over before the handshake ended."""
    return HandshakeTimeout(
        f"the handshake did not end within the {seconds:g} s that connect() has; is it a TLS server"
        " that the socket is connected to?"
    )


class Race:
    """One race: who begins when, and who is given up.

    Args:
        targets: In the order in which they begin.
        limits: ``attempt_delay`` and ``connect_timeout`` are what counts here.
        attempts: Where the failed ones are told.
        measures: Where those that did not connect are recorded.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        limits: Limits,
        attempts: list[Attempt],
        measures: Measures | None = None,
    ) -> None:
        self._targets = list(targets)
        self._limits = limits
        self._attempts = attempts
        self._measures = measures
        self._waiting = deque(targets)
        self._running: dict[Target, float] = {}  # when each is given up
        self._newest: Target | None = None
        self._turn = -math.inf  # when the next one begins
        self._winner: Target | None = None

    @property
    def over(self) -> bool:
        """Whether all have failed."""
        return not self._waiting and not self._running

    @property
    def rest(self) -> list[Target]:
        """All that have not failed, in their order."""
        return list(self._targets)

    @property
    def wakes(self) -> float:
        """When `begin` or `late` is to be asked again; infinity for never."""
        turn = self._turn if self._waiting else math.inf
        return min([turn, *self._running.values()])

    @property
    def winner(self) -> Target:
        """Who connected first."""
        assert self._winner is not None  # noqa: S101  asked for only after `win`
        return self._winner

    def begin(self, now: float) -> Target | None:
        """Give the address to which to begin a connection now, or None.

        The next one's turn comes ``Limits.attempt_delay`` after the one before, or as soon as that
        has failed (RFC 8305 §5).
        """
        if not self._waiting or now < self._turn:
            return None
        target = self._waiting.popleft()
        self._newest = target
        self._running[target] = now + self._limits.connect_timeout
        self._turn = now + self._limits.attempt_delay
        return target

    def fail(self, target: Target, error: SIPTLSError) -> None:
        """An address has failed: it did not connect, or the handshake with it came to nothing."""
        self._running.pop(target)
        self._targets.remove(target)
        self._attempts.append(Attempt((target.address, target.port), target.host, error))
        if self._measures is not None and target is not self._winner:  # its handshake is counted
            self._measures.not_connected(error)
        if target is self._newest:
            self._turn = -math.inf

    def late(self, now: float) -> list[Target]:
        """Fail those that have not answered within ``Limits.connect_timeout``, and give them."""
        late = [target for target, end in self._running.items() if now >= end]
        for target in late:
            self.fail(target, no_answer(target, self._limits.connect_timeout))
        return late

    def win(self, target: Target) -> None:
        """An address has connected; the others are closed, and that is no fault of theirs."""
        self._winner = target
        self._running = {target: math.inf}
        self._waiting.clear()

    def stopped(self) -> SIPTLSError:
        """Give the error for a race that we have ended."""
        return closed_by_us(self._attempts)

    def cut_short(self, seconds: float) -> None:
        """All of the time is over: fail those that are being tried."""
        for target in list(self._running):
            connected = target is self._winner
            self.fail(target, cut_short(target, seconds, connected=connected))


class Reach:
    """All of the races of one connect(), and what came of them.

    Attributes:
        attempts: One for each address that has failed.
    """

    def __init__(
        self, reference: ReferenceIdentity, limits: Limits, measures: Measures | None = None
    ) -> None:
        self._measures = measures
        self._is_resolving = False
        self.attempts: list[Attempt] = []
        self._reference = reference
        self._limits = limits
        self._race: Race | None = None

    @contextmanager
    def resolving(self) -> Iterator[None]:
        """While a resolver is asked: what it fails with is recorded."""
        self._is_resolving = True
        try:
            yield
        except ResolutionError as error:
            self._not_resolved(error)
            raise
        self._is_resolving = False

    def _not_resolved(self, error: ResolutionError) -> None:
        if self._measures is not None and self._is_resolving:
            self._measures.not_connected(error)
        self._is_resolving = False

    def races(self, targets: Sequence[Target]) -> Iterator[Race]:
        """Give one race after the other. Each must fail one address at least, or be the last."""
        for group in groups(targets):
            rest = group
            while rest:
                self._race = Race(rest, self._limits, self.attempts, self._measures)
                yield self._race
                rest = self._race.rest

    def failure(self) -> SIPTLSError:
        """Give the error when every address has failed."""
        return failure(self._reference, self.attempts)

    def cut_short(self, seconds: float) -> SIPTLSError:
        """Give the error when all of the time is over; it has the addresses being tried, too."""
        if self._race is not None:
            self._race.cut_short(seconds)
        if self.attempts:
            return self.failure()
        error = ResolutionError(
            f"the resolver did not answer for {self._reference} within the {seconds:g} s that"
            " connect() has; check this machine's DNS, or pass the peer's address as host="
        )
        self._not_resolved(error)
        return error
