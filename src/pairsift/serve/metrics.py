"""Metrics for Prometheus, in a separate registry so that servers do not share counts."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_PAIRS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServeMetrics:
    """Counters of one server."""

    def __init__(self, queued: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "pairsift_serve_requests",
            "Requests answered, by path and HTTP status.",
            ["path", "code"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "pairsift_serve_request_seconds",
            "Seconds from the request line to the end of the answer, POST /score only.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._pairs = Counter(
            "pairsift_serve_pairs",
            "Pairs answered, by status of their row.",
            ["status"],
            registry=self.registry,
        )
        self._batch_pairs = Histogram(
            "pairsift_serve_batch_pairs",
            "Pairs per batch.",
            buckets=_PAIRS,
            registry=self.registry,
        )
        self._batch_seconds = Histogram(
            "pairsift_serve_batch_seconds",
            "Seconds of forward per batch.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        gauge = Gauge(
            "pairsift_serve_queued_pairs",
            "Pairs accepted and not yet answered.",
            registry=self.registry,
        )
        gauge.set_function(queued)
        ProcessCollector(registry=self.registry)

    def request(self, path: str, code: int, seconds: float) -> None:
        """Count an answered request; `path` must come from a closed list."""
        self._requests.labels(path, str(code)).inc()
        if path == "/score":
            self._request_seconds.observe(seconds)

    def pair(self, status: str) -> None:
        """Count an answered pair."""
        self._pairs.labels(status).inc()

    def batch(self, pairs: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_pairs.observe(pairs)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
