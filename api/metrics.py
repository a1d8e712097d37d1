"""What Prometheus sees: requests as they pass, and the store's own figures at the moment it asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from signals.errors import StoreUnavailable
from signals.store.figures import JOB_BUCKETS_S, Figures, figures_of
from signals.store.session import Store


class Metrics:
    """The registry of one application."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "greensplit_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self._took = Histogram(
            "greensplit_request_seconds",
            "Time to answer",
            ["method", "route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self.registry.register(_OfStore(store))

    def request(self, method: str, route: str, status: int, took_s: float) -> None:
        """One request was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._took.labels(method, route).observe(took_s)

    def text(self) -> bytes:
        """Everything in Prometheus's format."""
        return generate_latest(self.registry)


class _OfStore(Collector):
    """Figures that the store knows: read when asked for, so that they hold for all processes together."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[Metric]:
        """Nothing to be known beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures of now; without a database only that it is gone."""
        up = GaugeMetricFamily("greensplit_store_up", "Whether the database answers")
        try:
            with self._store.reading() as session:
                figures = figures_of(session)
        except StoreUnavailable:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from _families(figures)


def _families(figures: Figures) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("greensplit_jobs", "Jobs by kind and state", labels=["kind", "state"])
    for (kind, state), count in figures.jobs.items():
        jobs.add_metric([kind, state], count)
    yield jobs
    took = HistogramMetricFamily("greensplit_job_seconds", "Time that finished jobs took", labels=["kind"])
    for kind, counts in figures.durations.items():
        buckets = [
            (f"{bound:g}", float(n))
            for bound, n in zip((*JOB_BUCKETS_S, float("inf")), counts.within, strict=True)
        ]
        buckets[-1] = ("+Inf", buckets[-1][1])
        took.add_metric([kind], buckets, counts.total_s)
    yield took
    plans = GaugeMetricFamily("greensplit_plans", "Plans by state", labels=["state"])
    for state, count in figures.plans.items():
        plans.add_metric([state], count)
    yield plans
    error = GaugeMetricFamily(
        "greensplit_forecast_wape_percent",
        "Error of the latest forecast whose counts have come in, by network",
        labels=["network"],
    )
    for network, wape in figures.forecast_wape.items():
        error.add_metric([str(network)], wape)
    yield error
    received = CounterMetricFamily("greensplit_counts_received", "Counts received, those sent again included")
    received.add_metric([], figures.counts_received)
    yield received
    for name, said, value in (
        ("greensplit_events_open", "Events that aren't closed", figures.events_open),
        ("greensplit_events_overdue", "Open events that have missed a deadline", figures.events_overdue),
    ):
        gauge = GaugeMetricFamily(name, said)
        gauge.add_metric([], value)
        yield gauge
