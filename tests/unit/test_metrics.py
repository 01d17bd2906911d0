"""siptls.metrics: what is recorded, and the recorder that keeps it in memory."""

from __future__ import annotations

import re
import threading

import pytest

from siptls import ClientConnection, ConfigurationError, Enterprise, sync
from siptls.metrics import METRICS, Distribution, MetricKind, Metrics, Recorder
from siptls.testing import CertificateAuthority

POLICY = Enterprise(["contoso.com"], CertificateAuthority("Contoso CA", seed="metrics").authority())
ENDED = {"how": "broken", "code": "none", "role": "client", "trust": "federated"}
DURATION = {"outcome": "accepted", "role": "server", "resumed": "no"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_names_keep_the_conventions_of_openmetrics(metric: object) -> None:
    """A counter ends in _total, what has a unit ends in it, and no label is one of Prometheus's."""
    (found,) = (one for one in METRICS if one is metric)
    assert re.fullmatch(r"siptls_[a-z_]+", found.name)
    assert found.name.endswith("_total") is (found.kind is MetricKind.COUNTER)
    assert found.name.endswith("_seconds") is (found.unit == "seconds")
    assert bool(found.buckets) is (found.kind is MetricKind.HISTOGRAM)
    assert sorted(found.buckets) == list(found.buckets)
    assert {"le", "quantile", "job", "instance"}.isdisjoint(found.labels)
    assert found.help.endswith(".")


def test_it_keeps_numbers_by_their_labels() -> None:
    metrics = Metrics()
    metrics.count("siptls_connections_ended_total", 1, ENDED)
    metrics.count("siptls_connections_ended_total", 2, dict(reversed(ENDED.items())))
    metrics.count("siptls_connections_ended_total", 4, {**ENDED, "how": "orderly"})
    metrics.change("siptls_connections", 3, {"role": "client", "trust": "public"})
    metrics.change("siptls_connections", -1, {"role": "client", "trust": "public"})
    shown = [(one.metric.name, dict(one.labels), one.value) for one in metrics.snapshot()]
    assert shown == [
        ("siptls_connections", {"role": "client", "trust": "public"}, 2),
        ("siptls_connections_ended_total", ENDED, 3),
        ("siptls_connections_ended_total", {**ENDED, "how": "orderly"}, 4),
    ]
    assert metrics.total("siptls_connections_ended_total") == 7
    assert metrics.total("siptls_connections_ended_total", how="broken", role="client") == 3
    assert metrics.total("siptls_connections_ended_total", how="framing") == 0
    assert metrics.total("siptls_handshakes_total") == 0


def test_it_keeps_a_distribution() -> None:
    """A value at a bound is not above it, as in Prometheus."""
    metrics = Metrics()
    for value in (0.001, 0.005, 0.3, 99.0):
        metrics.observe("siptls_handshake_duration_seconds", value, DURATION)
    (sample,) = metrics.snapshot()
    assert isinstance(sample.value, Distribution)
    assert sample.value.count == 4
    assert sample.value.sum == pytest.approx(99.306)
    assert sample.value.buckets[0.005] == 2
    assert sample.value.buckets[0.25] == 2
    assert sample.value.buckets[0.5] == 3
    assert sample.value.buckets[30.0] == 3
    assert sample.value.buckets[float("inf")] == 4
    assert metrics.total("siptls_handshake_duration_seconds", outcome="accepted") == 4


def test_what_is_not_recorded_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigurationError, match=r"there is no 'siptls_calls_total' with \[\]"):
        Metrics().total("siptls_calls_total")
    with pytest.raises(ConfigurationError, match=r"\['peer'\]: there are siptls_handshakes_total"):
        Metrics().total("siptls_handshakes_total", peer="contoso.com")


def test_nothing_is_lost_between_threads() -> None:
    metrics = Metrics()

    def work() -> None:
        for _ in range(2000):
            metrics.count("siptls_connections_ended_total", 1, ENDED)
            metrics.observe("siptls_handshake_duration_seconds", 0.1, DURATION)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.total("siptls_connections_ended_total") == 8000
    assert metrics.total("siptls_handshake_duration_seconds") == 8000


@pytest.mark.parametrize("wrong", [object(), "metrics", Metrics, print])
def test_what_cannot_record_is_refused_at_once(wrong: object) -> None:
    for take in (
        lambda: ClientConnection(POLICY, "contoso.com", metrics=wrong),  # type: ignore[arg-type]
        lambda: sync.TLSClientTransport(POLICY, metrics=wrong),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigurationError, match=r"metrics= is a siptls\.metrics\.Recorder"):
            take()


def test_whatever_has_the_methods_is_a_recorder() -> None:
    assert isinstance(Metrics(), Recorder)
