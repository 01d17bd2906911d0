"""Account: what one certificate's connections have done together, and when they may do more.

Office Communications Server's enhanced federation is the precedent: a peer that was found, and that
nobody has listed, is held to limits below its certificate, never below its address, which many
share. Excess messages are held back by not reading, and none is dropped: an account says when the
next one is due.

How messages are held back. A bucket holds ``burst`` messages, and is filled at a rate. All that has
to be known of it is when it will be full again: each message moves that time on by an interval, and
a message is due as soon as the bucket will be full within ``burst - 1`` intervals (it is ITU-T
I.371's virtual scheduling). That time only moves on by messages, so that a clock which stands still
or is set back wins nobody anything. Times are whole numbers of ticks, each 2**-40 seconds: a float
becomes one by moving its point, and nothing is lost by adding. An interval is rounded up, and a
tick longer than that, since a message may have come up to a tick later than its whole number says.

If the rate changes, what is missing in the bucket at that moment is missing still, so that the time
until it is full becomes longer or shorter by the ratio of the intervals. After that nothing is due
at a time before: should the clock be set back, what was filled since would be there twice.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from bisect import bisect_left
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from siptls.arguments import Kind, check_count
from siptls.errors import ConfigurationError
from siptls.trust.codes import Code
from siptls.trust.fault import Fault
from siptls.trust.names import MAX_DOMAIN, printable

__all__ = ["IS_LIMITS", "Account", "AccountState", "TrafficLimits"]

# Messages that a request of ours may bring back without being held back: a few provisional
# answers, and the final one with what repeats it.
_ANSWERS = 8
# The most of them: 1000 requests that wait for their answers.
_MAX_CREDIT = 8000
# Domains of which an account remembers that they were spoken for, and codes of refusals. A
# hoster's edge speaks for many; siptls itself has fewer codes that can be meant.
_MAX_DOMAINS, _MAX_CODES = 64, 16
# RFC 3261 §22: a challenge is no failure, and §9: neither is what the caller has cancelled.
_NEITHER = frozenset({401, 407, 487})
_FINAL, _FAILURE = 200, 400
_MINUTE = 60.0


def _is_count(owner: object, attribute: Any, value: Any) -> None:
    check_count(f"{type(owner).__name__}.{attribute.name}", value)


@frozen
class _Between:
    least: float
    most: float
    what: str

    def __call__(self, _: object, attribute: Any, value: Any) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.least <= value <= self.most:  # NaN is not
            what = self.what
            raise ConfigurationError(f"TrafficLimits.{attribute.name} is {what}, not {value!r}")


_is_rate = _Between(0.001, 1e6, "a number of messages per second, from 0.001 to 1000000")
_is_share = _Between(math.ulp(0.0), 1, "a share: a number above 0, and at most 1")
_is_duration = _Between(1, 1e9, "a number of seconds, from 1 to 1000000000")


@frozen(kw_only=True)
class TrafficLimits:
    """What the peers that show one certificate may do, all their connections together.

    Attributes:
        messages_per_second: Messages that are delivered in the long run.
        burst: Messages that are delivered at once, after a pause.
        distinct_uris: Different request-URIs that may be asked for.
        suspicious_rate: Messages per second of whom too many requests fail; never more than
            ``messages_per_second``.
        suspicious_share: The share of failures among the final answers of a period at which, or
            above which, a peer is suspicious; above 0, at most 1.
        suspicious_after: Final answers in a period before the share is looked at.
        period: Seconds after which answers are counted anew.
        connections: Connections at a time.

    Raises:
        ConfigurationError: A value that cannot be meant.
    """

    # OCS 2007 (and Lync's DiscoveredPartnerStandardRate): 20 messages a second.
    messages_per_second: float = field(default=20.0, validator=_is_rate)
    # A second's worth: a registrar that comes back sends what has waited.
    burst: int = field(default=20, validator=_is_count)
    # OCS 2007 (and Lync's MaxContactsPerDiscoveredPartner): 1000.
    distinct_uris: int = field(default=1000, validator=_is_count)
    # OCS 2007: one message a second while the ratio of failures is bad.
    suspicious_rate: float = field(default=1.0, validator=_is_rate)
    # OCS 2007 does not say where a ratio becomes bad; whoever guesses users misses most.
    suspicious_share: float = field(default=0.5, validator=_is_share)
    # A second's worth of messages: of fewer, a share says little.
    suspicious_after: int = field(default=20, validator=_is_count)
    # Lync's DiscoveredPartnerReportPeriodMinutes: 60.
    period: float = field(default=3600.0, validator=_is_duration)
    # Lync's OutgoingTlsCountForFederatedPartners: 4.
    connections: int = field(default=4, validator=_is_count)

    def __str__(self) -> str:
        return (
            f"{self.messages_per_second:g} messages/s, {self.burst} at once, to"
            f" {self.distinct_uris} URIs, over {self.connections} connections"
        )


IS_LIMITS = Kind(TrafficLimits, "write TrafficLimits(messages_per_second=20)", optional=True)
# What is remembered of whom nothing is held back.
_UNLIMITED_URIS = TrafficLimits().distinct_uris


class AccountState(StrEnum):
    """What is thought of a peer.

    Attributes:
        NORMAL: Nothing against it.
        WATCHED: It asked for more URIs than it may: it gets no further ones.
        SUSPICIOUS: Too many of its requests failed: it is slowed down. It may be watched, too.
    """

    NORMAL = "normal"
    WATCHED = "watched"
    SUSPICIOUS = "suspicious"


_TICKS = 1 << 40  # in a second
_SCALE = float(_TICKS)
_LONG_AGO = -(1 << 200)


def _ticks(seconds: float) -> int:
    return math.floor(seconds * _SCALE)  # a power of 2: the product is exact


def _seconds(ticks: int) -> float:
    """Give a time as a float that is not before it."""
    seconds = ticks / _TICKS
    return seconds if _ticks(seconds) >= ticks else math.nextafter(seconds, math.inf)


def _interval(rate: float) -> int:
    """Ticks from a message to the next one; see the head of this file."""
    numerator, denominator = rate.as_integer_ratio()
    return -(-_TICKS * denominator // numerator) + 1


class _Bucket:
    """Messages that may be delivered at once. All times are in ticks."""

    __slots__ = ("burst", "changed_at", "full_at", "interval")

    def __init__(self) -> None:
        self.full_at = self.changed_at = _LONG_AGO
        self.interval = self.burst = 1

    def take(self, now: int) -> None:
        self.full_at = max(self.full_at, now) + self.interval

    @property
    def due(self) -> int:
        return max(self.full_at - (self.burst - 1) * self.interval, self.changed_at)

    def full_with(self, interval: int, since: int) -> int:
        """When it is full if the interval becomes another one, at a time."""
        missing = self.full_at - since
        if missing <= 0:
            return self.full_at
        return since - (-missing * interval // self.interval)

    def change(self, interval: int, since: int) -> None:
        self.full_at = self.full_with(interval, since)
        self.interval = interval


class Account:
    """One certificate's traffic. Whoever calls from several threads has a lock.

    Each ``now`` is in seconds of one monotonic clock, whichever it is.

    Attributes:
        messages: Messages that were taken.
        succeeded: Requests of the peer that we answered with 2xx or 3xx.
        failed: Those that we answered with 4xx to 6xx, without challenges and cancelled ones.
        domains: Domains that it spoke for, in the order of their first use; at most 64.
        more_domains: How often it spoke for a domain for which there was no more room.
        refusals: How often something was refused, by code. There are at most 16 codes; whatever
            else there was is counted below ``"other"``.

    Args:
        limits: What it may do; None if nothing is held back.

    Raises:
        ConfigurationError: Limits that are none; also when they are set later on.
    """

    __slots__ = (
        "_before", "_bucket", "_credit", "_current", "_ends", "_failures",
        "_is_suspicious", "_is_watched", "_latest", "_limits", "_minute", "_successes", "_uris",
        "domains", "failed", "messages", "more_domains", "refusals", "succeeded",
    )  # fmt: skip

    def __init__(self, limits: TrafficLimits | None = None) -> None:
        self.messages = self.succeeded = self.failed = self.more_domains = 0
        self.refusals: dict[str, int] = {}
        self.domains: list[str] = []
        self._uris = array("Q")  # hashes, sorted: 8 bytes each
        self._bucket = _Bucket()
        self._credit = 0
        self._latest = _LONG_AGO  # the latest time that was seen, in ticks
        self._is_watched = self._is_suspicious = False
        # Of the period: when it ends, in ticks; None until its first answer.
        self._ends: int | None = None
        self._successes = self._failures = 0
        # Messages of the last minute in which there were any, and of that before it.
        self._minute = -math.inf
        self._current = self._before = 0
        self._limits: TrafficLimits | None = None
        self.limits = limits

    @property
    def limits(self) -> TrafficLimits | None:
        """What it may do; None if nothing is held back, but only counted."""
        return self._limits

    @limits.setter
    def limits(self, limits: TrafficLimits | None) -> None:
        if limits == self._limits:
            return
        IS_LIMITS.check("limits", limits)
        self._limits = limits
        self._change_rate(self._latest)

    @property
    def state(self) -> AccountState:
        """What is thought of it, as of the last time that was passed in; normal without limits."""
        if self._limits is None:
            return AccountState.NORMAL
        if self._is_suspicious:
            return AccountState.SUSPICIOUS
        return AccountState.WATCHED if self._is_watched else AccountState.NORMAL

    @property
    def uris(self) -> int:
        """Different request-URIs that were asked for, without those that were refused."""
        return len(self._uris)

    def due(self, now: float, *, answer: bool = False) -> float:
        """Give the time at which the next message may be delivered; not after ``now``: at once.

        If a message is delivered only when it is due, in T seconds there are at most
        ``burst + rate * T``. Whoever waits until the time that this gives need not wait again,
        unless others took messages meanwhile.

        Args:
            now: The time.
            answer: The message is a response; see `asked`.
        """
        limits = self._limits
        if limits is None or (answer and self._credit):
            return now
        ticks = self._look(now)
        due = self._bucket.due
        if due <= ticks:
            return now
        ends = self._ends
        if self._is_suspicious and ends is not None and due >= ends:
            interval = _interval(limits.messages_per_second)
            full = self._bucket.full_with(interval, ends)
            due = max(ends, full - (limits.burst - 1) * interval)
        return _seconds(due)

    def owed(self, now: float) -> float:
        """Give how many messages were delivered before they were due, and are not made up for."""
        if self._limits is None:
            return 0.0
        missing = (self._bucket.full_at - self._look(now)) / self._bucket.interval
        return max(0.0, missing - self._bucket.burst)

    def take(self, now: float, *, answer: bool = False) -> None:
        """Count a message that is delivered. One that is not due yet delays those after it.

        Args:
            now: The time.
            answer: The message is a response; see `asked`.
        """
        self.messages += 1
        minute = now // _MINUTE
        if minute > self._minute:
            self._before = self._current if minute == self._minute + 1 else 0
            self._current = 0
            self._minute = minute
        self._current += 1
        if answer and self._credit:
            self._credit -= 1
        elif self._limits is not None:
            self._bucket.take(self._look(now))

    def asked(self) -> None:
        """Count a request of ours: up to 8 responses are delivered without being held back.

        What is not used remains, up to 8000 responses.
        """
        self._credit = min(self._credit + _ANSWERS, _MAX_CREDIT)

    def rate(self, now: float) -> float:
        """Give messages per second, over about the last minute.

        Minutes are those of the clock. The current one's messages count whole, and of those of the
        one before as large a share as is left of the current one; the sum is divided by 60
        seconds. So it is exact at the end of each minute, and wherever messages come evenly; in
        an account's first minute it is too low.
        """
        minute, passed = divmod(now, _MINUTE)
        current, before = self._current, self._before
        if minute < self._minute:
            passed = 0.0  # the clock was set back
        elif minute > self._minute:
            current, before = 0, current if minute == self._minute + 1 else 0
        return (before * (1 - passed / _MINUTE) + current) / _MINUTE

    def uri_fault(self, uri: str) -> Fault | None:
        """Say why a request-URI is one too many; None if it is not.

        Those that were asked for before are good in any case. Two are the same if their texts
        are.
        """
        data = uri.encode("utf-8", "surrogatepass")
        known = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
        uris = self._uris
        place = bisect_left(uris, known)
        if place < len(uris) and uris[place] == known:
            return None
        limits = self._limits
        if len(uris) < (_UNLIMITED_URIS if limits is None else limits.distinct_uris):
            uris.insert(place, known)
            return None
        if limits is None:
            return None
        self._is_watched = True
        found = f"asks for yet another URI: {printable(uri)}"
        expected = f"at most {limits.distinct_uris} different ones"
        rule = "TrafficLimits.distinct_uris"
        return Fault(Code.PARTNER_LIMIT, "the peer", found, expected, rule)

    def answered(self, status: int, now: float) -> None:
        """Count a final response of ours to a request of the peer.

        Provisional ones, challenges (401, 407) and 487, which the caller has asked for, are
        neither success nor failure.

        Args:
            status: The response's status code.
            now: The time.
        """
        if status < _FINAL or status in _NEITHER:
            return
        has_failed = status >= _FAILURE
        self.failed += has_failed
        self.succeeded += not has_failed
        limits = self._limits
        if limits is None:
            return
        self._look(now)
        if self._ends is None:
            self._ends = self._latest + _ticks(limits.period)
        self._failures += has_failed
        self._successes += not has_failed
        answers = self._failures + self._successes
        is_bad = self._failures / answers >= limits.suspicious_share
        if is_bad and answers >= limits.suspicious_after and not self._is_suspicious:
            self._is_suspicious = True
            self._change_rate(self._latest)

    def spoke_for(self, domain: str) -> None:
        """Remember a domain in whose name the peer spoke."""
        name = printable(domain, MAX_DOMAIN)
        if name in self.domains:
            return
        if len(self.domains) < _MAX_DOMAINS:
            self.domains.append(name)
        else:
            self.more_domains += 1

    def refused(self, code: str) -> None:
        """Count that something was refused, and why."""
        name = printable(str(code))
        if name not in self.refusals and len(self.refusals) >= _MAX_CODES:
            name = "other"
        self.refusals[name] = self.refusals.get(name, 0) + 1

    def pardon(self) -> None:
        """Think nothing bad of it: its URIs, and the answers of a period, are counted anew.

        What it has done in all, such as ``failed``, stays, and so does what it has to wait for.
        """
        self._uris = array("Q")
        self._is_watched = False
        self._end_period(self._latest)

    def _look(self, now: float) -> int:
        """Take notice of the time, and give it in ticks."""
        ticks = _ticks(now)
        if ticks > self._latest:
            self._latest = ticks
            if self._ends is not None and ticks >= self._ends:
                self._end_period(self._ends)
        return ticks

    def _end_period(self, at: int) -> None:
        self._ends = None
        self._successes = self._failures = 0
        self._is_suspicious = False
        self._change_rate(at)

    def _change_rate(self, since: int) -> None:
        """Go by the rate that limits and state give, since a time; that never goes back."""
        limits = self._limits
        if limits is None:
            return
        rate = limits.messages_per_second
        if self._is_suspicious:
            rate = min(rate, limits.suspicious_rate)
        self._bucket.burst = limits.burst
        self._bucket.changed_at = self._latest
        self._bucket.change(_interval(rate), since)
