"""siptls.metrics: what is counted and measured, for whatever monitoring an application has.

Transports and sans-I/O connections take ``metrics=``, a `Recorder`: three methods, which a few
lines make of ``prometheus_client`` or OpenTelemetry (``docs/how-to/observe.md``). `Metrics` is one
that keeps all in memory. `METRICS` says what there is to be recorded, so that an adapter can make
its instruments beforehand; the names keep the conventions of OpenMetrics.

No label ever holds what a peer chooses: neither names nor addresses. So there are only so many
combinations, whoever comes. The codes of an application's own policies are labels, too, but only
the first 32 of them; the others are ``other``.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from attrs import define, field, frozen

from siptls.errors import ConfigurationError

__all__ = [
    "METRICS",
    "Distribution",
    "Failure",
    "How",
    "Metric",
    "MetricKind",
    "Metrics",
    "Outcome",
    "Recorder",
    "Sample",
]


class MetricKind(StrEnum):
    """What may happen to a metric's value."""

    COUNTER = "counter"
    """It grows: `Recorder.count`."""
    GAUGE = "gauge"
    """It goes up and down: `Recorder.change`."""
    HISTOGRAM = "histogram"
    """It is a distribution: `Recorder.observe`."""


class Outcome(StrEnum):
    """How a handshake came to its end."""

    ACCEPTED = "accepted"
    """The policy believes the peer, or nobody is judged. See `How.REFUSED_BY_PEER`."""
    REFUSED = "refused"
    """The policy has refused the peer; ``code`` is the reason code."""
    REFUSED_BY_PEER = "refused_by_peer"
    """The peer has sent an alert; ``code`` is its name."""
    TIMEOUT = "timeout"
    """It took longer than ``Limits.handshake_timeout``."""
    CLOSED = "closed"
    """The connection ended before; ``code`` says by whom."""
    FAILED = "failed"
    """No TLS, or none in common; ``code`` is the alert that was sent, or ``not_tls``."""


class How(StrEnum):
    """How a connection ended that had been accepted."""

    ORDERLY = "orderly"
    """Closed in order; ``code`` says by whom."""
    BROKEN = "broken"
    """Cut off: by the network, by a peer that sent no close_notify, or as it read too slowly."""
    TIMEOUT = "timeout"
    """Something took too long: a message, a pong, or the peer's silence."""
    FRAMING = "framing"
    """What came was no stream of SIP messages."""
    TRUST_LOST = "trust_lost"
    """The policy believes the peer no more; ``code`` is the reason code."""
    REFUSED = "refused"
    """What was asked beside the policy, such as ``admit=``, has refused; ``code`` likewise."""
    REFUSED_BY_PEER = "refused_by_peer"
    """The server has refused us after our handshake, as in TLS 1.3; ``code`` is the alert."""
    FAILED = "failed"
    """Anything else."""


class Failure(StrEnum):
    """Why there was no connection to begin a handshake on."""

    RESOLUTION = "resolution"
    """No address, or none in time."""
    REFUSED = "refused"
    """Nobody listens there."""
    UNREACHABLE = "unreachable"
    """The network says that there is no way."""
    TIMEOUT = "timeout"
    """No answer in time."""
    OTHER = "other"
    """Anything else."""


@frozen
class Metric:
    """Something that is recorded.

    Attributes:
        name: Such as ``siptls_handshakes_total``.
        kind: What may happen to it.
        help: What it is, in a sentence.
        labels: The names of its labels; each record has all of them.
        unit: ``seconds``, or empty.
        buckets: For a histogram: the upper bounds, without infinity.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...]
    unit: str = ""
    buckets: tuple[float, ...] = ()


HANDSHAKES = Metric(
    "siptls_handshakes_total",
    MetricKind.COUNTER,
    "Handshakes that came to their end, each once.",
    ("outcome", "code", "role", "trust", "resumed"),
)
HANDSHAKE_DURATION = Metric(
    "siptls_handshake_duration_seconds",
    MetricKind.HISTOGRAM,
    "From the connection of the socket until the end of the handshake, with all waiting.",
    ("outcome", "role", "resumed"),
    unit="seconds",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
CONNECTIONS = Metric(
    "siptls_connections",
    MetricKind.GAUGE,
    "Connections whose peer was accepted, and that are not over.",
    ("role", "trust"),
)
ENDED = Metric(
    "siptls_connections_ended_total",
    MetricKind.COUNTER,
    "Connections that are over after their peer was accepted.",
    ("how", "code", "role", "trust"),
)
MESSAGES = Metric(
    "siptls_messages_total",
    MetricKind.COUNTER,
    "SIP messages that have come, and calls that sent one or several.",
    ("direction", "role", "trust"),
)
HELD_BACK = Metric(
    "siptls_messages_held_back_total",
    MetricKind.COUNTER,
    "Messages that had to wait, since their peer had sent more than its TrafficLimits let it.",
    ("role", "trust"),
)
NOT_CONNECTED = Metric(
    "siptls_connect_failures_total",
    MetricKind.COUNTER,
    "Names without an address, and addresses that did not connect: there was no handshake.",
    ("reason",),
)
LIMITS_REACHED = Metric(
    "siptls_limits_reached_total",
    MetricKind.COUNTER,
    "Times that a server had no room: whoever came was turned away, or had to wait.",
    ("limit",),
)

METRICS: tuple[Metric, ...] = (
    HANDSHAKES,
    HANDSHAKE_DURATION,
    CONNECTIONS,
    ENDED,
    MESSAGES,
    HELD_BACK,
    NOT_CONNECTED,
    LIMITS_REACHED,
)
"""All that are recorded."""

_BY_NAME = {metric.name: metric for metric in METRICS}


@runtime_checkable
class Recorder(Protocol):
    """What an application has its metrics written by.

    It is called in the event loop, and in the threads of ``siptls.sync`` and of
    ``Limits.handshake_workers``, several at once, in the middle of a handshake or a read: so it
    must not wait for anything, nor call the connection. Whatever it raises is logged once, and
    changes nothing. ``labels`` is another mapping each time, and may be kept.
    """

    def count(self, name: str, amount: int, labels: Mapping[str, str]) -> object:
        """Add to a counter."""
        ...

    def change(self, name: str, amount: int, labels: Mapping[str, str]) -> object:
        """Add to a gauge; ``amount`` may be negative."""
        ...

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> object:
        """Take a value of a distribution, in the metric's unit."""
        ...


# ---------------------------------------------------------------- in memory


@frozen
class Distribution:
    """A histogram as it stands.

    Attributes:
        count: How many values were observed.
        sum: All of them together.
        buckets: For each upper bound, infinity being the last, how many values are not above it.
    """

    count: int
    sum: float
    buckets: Mapping[float, int]


@frozen
class Sample:
    """One value of a metric.

    Attributes:
        metric: Which.
        labels: Of which labels.
        value: A number; of a histogram the `Distribution`.
    """

    metric: Metric
    labels: Mapping[str, str]
    value: int | Distribution


@define
class _Observed:
    """A histogram in the making."""

    counts: list[int]
    sum: float = 0.0


@define(eq=False)
class Metrics:
    """A `Recorder` that keeps all in memory: for tests, and for an exposition of your own.

    ::

        metrics = Metrics()
        async with MTLSServerTransport(credential, policy, handler, metrics=metrics) as server:
            ...
            metrics.total("siptls_handshakes_total", outcome="refused")

    All methods may be called from any thread.
    """

    _lock: threading.Lock = field(init=False, factory=threading.Lock, repr=False)
    _numbers: dict[tuple[str, tuple[str, ...]], int] = field(init=False, factory=dict, repr=False)
    _observed: dict[tuple[str, tuple[str, ...]], _Observed] = field(
        init=False, factory=dict, repr=False
    )

    def count(self, name: str, amount: int, labels: Mapping[str, str]) -> None:
        """Add to a counter."""
        key = _key(name, labels)
        with self._lock:
            self._numbers[key] = self._numbers.get(key, 0) + amount

    def change(self, name: str, amount: int, labels: Mapping[str, str]) -> None:
        """Add to a gauge."""
        self.count(name, amount, labels)

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Take a value of a distribution."""
        buckets = _BY_NAME[name].buckets
        key = _key(name, labels)
        with self._lock:
            observed = self._observed.get(key)
            if observed is None:
                observed = self._observed[key] = _Observed([0] * (len(buckets) + 1))
            observed.counts[bisect_left(buckets, value)] += 1
            observed.sum += value

    def snapshot(self) -> tuple[Sample, ...]:
        """Give every value that was recorded, in the order of `METRICS`, as it is now.

        Messages of connections that are alive may be a second behind.
        """
        return tuple(self._samples())

    def total(self, name: str, **labels: str) -> int:
        """Give the sum over all samples with these labels; of a histogram, how many values.

        Raises:
            ConfigurationError: There is no such metric, or it has no such label.
        """
        metric = _BY_NAME.get(name)
        if metric is None or not set(labels) <= set(metric.labels):
            known = ", ".join(f"{one.name}{{{','.join(one.labels)}}}" for one in METRICS)
            raise ConfigurationError(
                f"there is no {name!r} with {sorted(labels)}: there are {known}"
            )
        found = 0
        for sample in self._samples():
            if sample.metric is metric and labels.items() <= sample.labels.items():
                value = sample.value
                found += value.count if isinstance(value, Distribution) else value
        return found

    def _samples(self) -> Iterator[Sample]:
        with self._lock:
            values: dict[tuple[str, tuple[str, ...]], int | Distribution] = dict(self._numbers)
            for key, observed in self._observed.items():
                values[key] = _distribution(_BY_NAME[key[0]], observed)
        order = {metric.name: place for place, metric in enumerate(METRICS)}
        for (name, given), value in sorted(values.items(), key=lambda one: (order[one[0][0]], one)):
            metric = _BY_NAME[name]
            labels = MappingProxyType(dict(zip(metric.labels, given, strict=True)))
            yield Sample(metric, labels, value)


def _key(name: str, labels: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    return name, tuple(labels[label] for label in _BY_NAME[name].labels)


def _distribution(metric: Metric, observed: _Observed) -> Distribution:
    bounds = (*metric.buckets, float("inf"))
    grown = tuple(accumulate(observed.counts))
    return Distribution(
        grown[-1], observed.sum, MappingProxyType(dict(zip(bounds, grown, strict=True)))
    )


def check_recorder(metrics: Any) -> None:
    """Check what is passed as ``metrics=``; None is no fault.

    Raises:
        ConfigurationError: It has not the methods of a `Recorder`.
    """
    if metrics is None or (isinstance(metrics, Recorder) and not isinstance(metrics, type)):
        return
    raise ConfigurationError(
        "metrics= is a siptls.metrics.Recorder, which has count, change and observe, such as"
        f" siptls.metrics.Metrics(); not {type(metrics).__name__}"
    )
