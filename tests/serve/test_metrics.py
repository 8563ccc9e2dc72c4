"""What a server tells Prometheus."""

from __future__ import annotations

import pytest

pytest.importorskip("prometheus_client", reason="needs pairsift[serve]")

from pairsift.serve.metrics import ServeMetrics


def _values(metrics: ServeMetrics) -> dict[str, float]:
    lines = [line for line in metrics.text().decode().splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_requests_pairs_and_batches_are_counted() -> None:
    waiting = [3]
    metrics = ServeMetrics(lambda: waiting[0])
    metrics.request("/score", 200, 0.05)
    metrics.request("/healthz", 200, 9.0)
    metrics.request("/score", 429, 0.001)
    metrics.pair("ok")
    metrics.batch(5, 0.2)
    found = _values(metrics)
    assert found['pairsift_serve_requests_total{code="200",path="/score"}'] == 1
    assert found['pairsift_serve_requests_total{code="429",path="/score"}'] == 1
    assert found["pairsift_serve_request_seconds_count"] == 2  # /score alone
    assert found['pairsift_serve_pairs_total{status="ok"}'] == 1
    assert found['pairsift_serve_batch_pairs_bucket{le="4.0"}'] == 0
    assert found['pairsift_serve_batch_pairs_bucket{le="8.0"}'] == 1
    assert found["pairsift_serve_queued_pairs"] == 3
    waiting[0] = 0
    assert _values(metrics)["pairsift_serve_queued_pairs"] == 0


def test_two_servers_of_one_process_do_not_share_counts() -> None:
    first, second = ServeMetrics(lambda: 0), ServeMetrics(lambda: 0)
    first.pair("ok")
    assert 'status="ok"' not in second.text().decode()
