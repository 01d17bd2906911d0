"""Metrics of a server, as Prometheus reads them, and as OpenTelemetry does.

A server of contoso.com records into a registry of ``prometheus_client``, which an HTTP server on
loopback shows. It accepts two clients and refuses one with a forged certificate and one without
any; then the page is fetched, as Prometheus would, and what siptls has counted is printed. With
``--opentelemetry`` the same goes into a meter of OpenTelemetry, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import urllib.request
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from siptls import Connection, Enterprise, MTLSServerTransport, SIPTLSError, TLSClientTransport
from siptls.metrics import METRICS, Metric, MetricKind, Recorder
from siptls.testing import CertificateAuthority

REQUEST = b"OPTIONS sip:contoso.com SIP/2.0\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"


class PrometheusRecorder:
    """Writes into a registry of prometheus_client; each may have one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            about = metric.name, metric.help, metric.labels
            match metric.kind:
                case MetricKind.COUNTER:
                    self._counters[metric.name] = Counter(*about, registry=registry)
                case MetricKind.GAUGE:
                    self._gauges[metric.name] = Gauge(*about, registry=registry)
                case MetricKind.HISTOGRAM:
                    self._histograms[metric.name] = Histogram(
                        *about, registry=registry, buckets=metric.buckets
                    )

    def count(self, name: str, amount: int, labels: Mapping[str, str]) -> None:
        """Add to a counter."""
        self._counters[name].labels(**labels).inc(amount)

    def change(self, name: str, amount: int, labels: Mapping[str, str]) -> None:
        """Add to a gauge."""
        self._gauges[name].labels(**labels).inc(amount)

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Take a value of a distribution."""
        self._histograms[name].labels(**labels).observe(value)


class Several:
    """Records into several recorders."""

    def __init__(self, *recorders: Recorder) -> None:
        self._recorders = recorders

    def count(self, name: str, amount: int, labels: Mapping[str, str]) -> None:
        """Add to a counter."""
        for recorder in self._recorders:
            recorder.count(name, amount, labels)

    def change(self, name: str, amount: int, labels: Mapping[str, str]) -> None:
        """Add to a gauge."""
        for recorder in self._recorders:
            recorder.change(name, amount, labels)

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Take a value of a distribution."""
        for recorder in self._recorders:
            recorder.observe(name, value, labels)


# ---------------------------------------------------------------- who comes

OURS, FORGER = CertificateAuthority("Contoso CA"), CertificateAuthority("Contoso CA")
POLICY = Enterprise(["contoso.com"], OURS.authority())


async def answer(connection: Connection) -> None:
    """Answer each request."""
    async for message in connection:
        if message.expects_reply:
            await connection.send(message.reply(200, "OK"))


async def serve(recorder: Recorder) -> None:
    """Let two clients in, and two not."""
    ours = OURS.issue("sip:contoso.com")
    visitors = [ours, ours, FORGER.issue("sip:contoso.com"), None]
    async with MTLSServerTransport(ours, POLICY, answer, metrics=recorder) as server:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        for credential in visitors:
            async with TLSClientTransport(POLICY, credential=credential) as client:
                with contextlib.suppress(SIPTLSError):  # who is refused learns it here
                    connection = await client.connect("contoso.com", host=host, port=port)
                    await connection.send(REQUEST)
                    await connection.receive()


def fetch(port: int) -> list[str]:
    """Read the page as Prometheus does; give what siptls has counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return [line for line in lines if line.startswith("siptls_") and "_created" not in line]


# ---------------------------------------------------------------- OpenTelemetry


def with_opentelemetry(registry_recorder: Recorder) -> None:
    """Do the same with a meter beside the registry, and print what it has."""
    from opentelemetry.metrics import Counter as Sum  # noqa: PLC0415
    from opentelemetry.metrics import Histogram as Distribution  # noqa: PLC0415  it is optional
    from opentelemetry.metrics import Meter, UpDownCounter  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415

    class OpenTelemetryRecorder:
        """Writes into the instruments of a meter."""

        def __init__(self, meter: Meter) -> None:
            self._sums = {
                one.name: self._sum(meter, one)
                for one in METRICS
                if one.kind is not MetricKind.HISTOGRAM
            }
            self._distributions: dict[str, Distribution] = {
                one.name: meter.create_histogram(
                    one.name.removesuffix("_seconds"),
                    unit="s",
                    description=one.help,
                    explicit_bucket_boundaries_advisory=one.buckets,
                )
                for one in METRICS
                if one.kind is MetricKind.HISTOGRAM
            }

        @staticmethod
        def _sum(meter: Meter, metric: Metric) -> Sum | UpDownCounter:
            name = metric.name.removesuffix("_total")  # exporters for Prometheus add it again
            if metric.kind is MetricKind.COUNTER:
                return meter.create_counter(name, description=metric.help)
            return meter.create_up_down_counter(name, description=metric.help)

        def count(self, name: str, amount: int, labels: Mapping[str, str]) -> None:
            """Add to a counter, or to one that goes up and down."""
            self._sums[name].add(amount, dict(labels))

        change = count

        def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
            """Take a value of a distribution."""
            self._distributions[name].record(value, dict(labels))

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    recorder = OpenTelemetryRecorder(provider.get_meter("siptls"))
    asyncio.run(serve(Several(registry_recorder, recorder)))
    data = reader.get_metrics_data()
    assert data is not None
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        print("OpenTelemetry has", metric.name, "with", len(metric.data.data_points), "points")
    provider.shutdown()


if __name__ == "__main__":
    logging.getLogger("siptls").setLevel(logging.ERROR)  # the refusals are on purpose
    registry = CollectorRegistry()
    prometheus = PrometheusRecorder(registry)
    page, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    if "--opentelemetry" in sys.argv:
        with_opentelemetry(prometheus)
    else:
        asyncio.run(serve(prometheus))
    print("\n".join(fetch(page.server_port)))
    page.shutdown()
    page.server_close()
    thread.join()
