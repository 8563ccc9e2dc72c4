"""The server's process: its socket, its first scores, its end."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairsift.errors import PairsiftError
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.serve import ServeSettings, running_server, serve


def test_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(PairsiftError, match=f"port {port}"),
            running_server(HeuristicsScorer(), ServeSettings(port=port)),
        ):
            pass


class Broken(HeuristicsScorer):
    """Fails with every batch."""

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        raise RuntimeError("out of memory")


def test_a_scorer_that_does_not_work_is_told_and_frees_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = ServeSettings(port=port, workers=0)
    for _ in range(2):
        with (
            pytest.raises(PairsiftError, match="the scorer does not work: .*out of memory"),
            running_server(Broken(), settings),
        ):
            pass


@pytest.mark.parametrize(
    ("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 70_000), ("127.0.0.1", -1)]
)
def test_an_address_that_cannot_be_used_is_told(host: str, port: int) -> None:
    settings = ServeSettings(host=host, port=port, open_to_all=True)
    with (
        pytest.raises(
            PairsiftError, match=f"cannot listen on {host} port {port} .*--host or --port"
        ),
        running_server(HeuristicsScorer(), settings),
    ):
        pass


@pytest.mark.parametrize(
    ("host", "start"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")]
)
def test_the_address_is_that_of_the_socket_also_in_ipv6(host: str, start: str) -> None:
    if host == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with running_server(HeuristicsScorer(), ServeSettings(host, 0, workers=0)) as url:
        assert url.startswith(start)
        with urllib.request.urlopen(f"{url}/healthz", timeout=30) as answer:
            assert json.loads(answer.read()) == {"status": "ok"}


def test_a_server_that_serves_until_ctrl_c_ends_its_requests_and_returns() -> None:
    def stop(url: str) -> None:
        seen.append(url)
        raise KeyboardInterrupt

    seen: list[str] = []
    serve(HeuristicsScorer(), ServeSettings(port=0, workers=0), ready=stop)
    (url,) = seen
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/healthz", timeout=5)
