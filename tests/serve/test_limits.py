"""Size, memory, queue and time are bounded, and a refusal says what was too much."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest

from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.serve import ServeSettings, running_server
from tests.samples import CAPTION, jpeg
from tests.serve.conftest import detail, post


class Gated(HeuristicsScorer):
    """Scores when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.sizes: list[int] = []
        self.fails = False

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        self.gate.wait(30)
        if self.fails:
            raise RuntimeError("the device has left")
        self.sizes.append(len(inputs))
        return super().score_batch(inputs)


@contextmanager
def serving(scorer: HeuristicsScorer | None = None, **limits: Any) -> Iterator[httpx2.Client]:
    settings = ServeSettings(port=0, workers=0, **limits)
    with (
        running_server(scorer or Gated(), settings) as url,
        httpx2.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize("chunked", [False, True])
def test_large_bodies_are_refused(client: httpx2.Client, chunked: bool) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + bytes(2**21)
    content = (body[start : start + 65536] for start in range(0, len(body), 65536))
    answer = client.post(
        "/score",
        content=content if chunked else body,
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert "at most 1,048,576 bytes" in detail(answer, 413)
    assert post(client).status_code == 200


@pytest.mark.slow
def test_large_images_are_rows() -> None:
    with serving(max_image=1000, max_pixels=10**6) as client:
        (row,) = post(client).json()["rows"]
        assert row["status"] == "image_too_large"
    with serving(max_pixels=100) as client:
        (row,) = post(client).json()["rows"]
        assert (row["status"], row["width"]) == ("image_too_large", 320)


def test_full_queue_is_told_and_empties() -> None:
    scorer = Gated()
    with serving(scorer, max_queue=4, max_pairs=4) as client, ThreadPoolExecutor(8) as threads:
        scorer.gate.clear()
        first = threads.submit(post, client, captions=[CAPTION] * 4)
        _until(lambda: "pairsift_serve_queued_pairs 4.0" in client.get("/metrics").text)
        refused = post(client)
        assert "4 pairs" in detail(refused, 429)
        assert int(refused.headers["Retry-After"]) >= 1
        scorer.gate.set()
        assert first.result().status_code == 200
        assert post(client).status_code == 200


def test_bytes_in_hand_are_bounded() -> None:
    scorer = Gated()
    image = jpeg(64, 64) + bytes(600_000)  # decoders stop at the end of the JPEG
    limits = {"max_body": 10**6, "max_image": 10**6, "max_bytes": 10**6}
    with serving(scorer, **limits) as client, ThreadPoolExecutor(8) as threads:
        scorer.gate.clear()
        first = threads.submit(post, client, image)
        _until(lambda: "pairsift_serve_queued_pairs 1.0" in client.get("/metrics").text)
        refused = post(client, image)
        assert "bytes" in detail(refused, 503)
        assert "Retry-After" in refused.headers
        scorer.gate.set()
        assert first.result().status_code == 200
        assert post(client, image).status_code == 200


@pytest.mark.slow
def test_scores_that_take_too_long_are_given_up() -> None:
    scorer = Gated()
    with serving(scorer, time_limit=0.3, batch_size=1, max_queue=64) as client:
        scorer.gate.clear()
        assert "no scores within 0.3 s" in detail(post(client, captions=[CAPTION] * 9), 504)
        scorer.gate.set()
        _until(lambda: "pairsift_serve_queued_pairs 0.0" in client.get("/metrics").text)
        assert post(client).status_code == 200
    # Of the nine pairs, the device had one in hand; nobody waited for the others any more.
    assert sum(scorer.sizes) <= 1 + 1 + 1  # warm-up, that one, the last request


@pytest.mark.slow
def test_work_of_clients_that_left_is_dropped() -> None:
    scorer = Gated()
    with serving(scorer, batch_size=1) as client:
        scorer.gate.clear()
        with pytest.raises(httpx2.TimeoutException):
            client.post(
                "/score",
                files=[("image", ("i", jpeg()))] + [("caption", (None, CAPTION))] * 9,
                timeout=0.5,
            )
        _until(lambda: "pairsift_serve_queued_pairs 0.0" in client.get("/metrics").text)
        scorer.gate.set()
        assert post(client).status_code == 200
    assert sum(scorer.sizes) <= 3


@pytest.mark.slow
def test_requests_that_trickle_in_are_ended() -> None:
    with serving(body_time_limit=0.3) as client:
        address = urlsplit(str(client.base_url))
        with socket.create_connection(
            (str(address.hostname), address.port or 80), 20
        ) as connection:
            connection.sendall(
                b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
            assert connection.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.slow
def test_device_that_fails_gives_rows_and_then_ill_health() -> None:
    scorer = Gated()
    with serving(scorer) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        scorer.fails = True
        for _ in range(3):
            (row,) = post(client).json()["rows"]
            assert row["status"] == "model_error"
            assert "the device has left" in row["error"]
        assert "failed on every pair" in detail(client.get("/healthz"), 503)
        assert "failed on every pair" in detail(post(client), 503)


@pytest.mark.slow
def test_requests_share_batches_and_a_lone_one_does_not_wait() -> None:
    scorer = Gated()
    with serving(scorer, max_wait=5.0) as client, ThreadPoolExecutor(8) as threads:
        begin = time.monotonic()
        post(client)
        assert time.monotonic() - begin < 4
        scorer.gate.clear()
        plug = threads.submit(post, client)
        _until(lambda: "pairsift_serve_queued_pairs 1.0" in client.get("/metrics").text)
        others = [threads.submit(post, client) for _ in range(6)]
        _until(lambda: "pairsift_serve_queued_pairs 7.0" in client.get("/metrics").text)
        time.sleep(0.2)  # until they are decoded
        scorer.gate.set()
        assert {task.result().status_code for task in [plug, *others]} == {200}
    assert scorer.sizes == [1, 1, 1, 6]


def _until(holds: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
