"""Load for `pairsift serve`: good and malformed requests from several clients, answers checked.

`benchmarks/serve.py` applies it at length, the tests in small.
"""

from __future__ import annotations

import http.client
import json
import queue
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil

from pairsift import Pair, load_scorer
from pairsift.demo.photos import captions
from pairsift.metrics import METRICS

MAX_BODY_MIB = 2
# float32 sums depend on what else is in the batch.
TOLERANCE = 0.05
MEMORY_MIB = 256  # that load may add to a server that has answered one request

_BOUNDARY = "pairsift-benchmark"
_FORM = f"multipart/form-data; boundary={_BOUNDARY}"


@dataclass(frozen=True)
class Request:
    """A request and what must come of it.

    Attributes:
        expected: scores by column, a row's status, or an HTTP status.
    """

    kind: str
    content_type: str
    body: bytes
    expected: dict[str, float] | str | int


@dataclass
class Outcome:
    """What came of all requests."""

    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def form(image: bytes | None, caption: str | None) -> bytes:
    """A multipart body."""
    parts = []
    if image is not None:
        parts.append(b'name="image"; filename="image"\r\n\r\n' + image)
    if caption is not None:
        parts.append(b'name="caption"\r\n\r\n' + caption.encode())
    head = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; ".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{_BOUNDARY}--\r\n".encode()


def good_requests(scorer_name: str = "pairsift-tiny", most: int = 48) -> list[Request]:
    """The demo's pairs, with the scores they have without a server."""
    pairs = [Pair(str(n), p.read(), text) for n, (p, _, text) in enumerate(captions())][:most]
    rows = load_scorer(scorer_name).score(pairs).to_pylist()
    found = []
    for pair, row in zip(pairs, rows, strict=True):
        expected = {name: row[name] for name in METRICS}
        found.append(Request("good", _FORM, form(pair.image, pair.caption), expected))
    return found


def malformed_requests() -> list[Request]:
    """One of each kind of mistake."""
    photo, _, caption = next(captions())
    image = photo.read()
    return [
        Request("cut image", _FORM, form(image[: len(image) // 2], caption), "image_corrupt"),
        Request("a PDF for an image", _FORM, form(b"%PDF-1.7", caption), "image_unsupported"),
        Request("blank caption", _FORM, form(image, "  "), "caption_empty"),
        Request("no caption", _FORM, form(image, None), 422),
        Request("no image field", _FORM, form(None, caption), 422),
        Request("broken form", _FORM, b"--nonsense\r\n" + image[:1000], 400),
        Request("another type", "text/plain", caption.encode(), 415),
        Request("too large", _FORM, form(bytes((MAX_BODY_MIB + 1) * 2**20), caption), 413),
        Request("URLs", "application/json", b'{"pairs": []}', 403),
    ]


def mixed(requests: int, malformed: float, good: Sequence[Request]) -> list[Request]:
    """So many requests in random order, the same every time."""
    dice = random.Random(0)
    bad = malformed_requests()
    count = round(requests * malformed)
    chosen = [bad[index % len(bad)] for index in range(count)]
    chosen += [good[index % len(good)] for index in range(requests - count)]
    dice.shuffle(chosen)
    return chosen


def ask(url: str, requests: Sequence[Request], clients: int) -> Outcome:
    """Send all requests from so many clients, each with a connection that it keeps."""
    todo: queue.SimpleQueue[Request] = queue.SimpleQueue()
    for request in requests:
        todo.put(request)
    outcome = Outcome()
    threads = [threading.Thread(target=_client, args=(url, todo, outcome)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def _client(url: str, todo: queue.SimpleQueue[Request], outcome: Outcome) -> None:
    address = urlsplit(url).netloc
    connection = http.client.HTTPConnection(address, timeout=300)
    while True:
        try:
            request = todo.get_nowait()
        except queue.Empty:
            connection.close()
            return
        begin = time.perf_counter()
        try:
            connection.request(
                "POST", "/score", request.body, {"Content-Type": request.content_type}
            )
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            outcome.codes["none"] += 1
            outcome.wrong.append(f"{request.kind}: lost: {type(error).__name__}: {error}")
            connection.close()
            continue
        outcome.seconds.append(time.perf_counter() - begin)
        outcome.codes[str(response.status)] += 1
        if problem := _check(request, response.status, content):
            outcome.wrong.append(f"{request.kind}: {problem}")


def _check(request: Request, code: int, content: bytes) -> str | None:
    answer = json.loads(content)
    if isinstance(request.expected, int):
        fine = code == request.expected and isinstance(answer["detail"], str)
        return None if fine else f"{code}: {content[:200]!r}"
    if code != 200:
        return f"{code}: {content[:200]!r}"
    (row,) = answer["rows"]
    if isinstance(request.expected, str):
        return None if row["status"] == request.expected else f"status {row['status']}"
    far = {
        name: (row["scores"][name], value)
        for name, value in request.expected.items()
        if row["scores"][name] is None or abs(row["scores"][name] - value) > TOLERANCE
    }
    return f"scores of another pair? {far}" if far else None


@contextmanager
def running_command(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`pairsift serve` on a free port; yields its address and the process."""
    command = [sys.executable, "-m", "pairsift", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            raise RuntimeError(f"pairsift serve did not start: {line!r}")
        yield found[0], process
    finally:
        process.terminate()
        process.wait(60)


def read_metrics(url: str) -> dict[str, float]:
    """The server's Prometheus metrics, by name and labels."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }


def mean_batch(before: dict[str, float], after: dict[str, float]) -> float:
    """Pairs a batch between two readings."""
    name = "pairsift_serve_batch_pairs"
    batches = after[f"{name}_count"] - before[f"{name}_count"]
    return (after[f"{name}_sum"] - before[f"{name}_sum"]) / max(batches, 1)


class Memory:
    """Peak of the resident memory of a process and its children, in bytes, sampled."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._process = psutil.Process(pid)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self.peak = self.now()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def now(self) -> int:
        """Of this moment."""
        total = 0
        for process in [self._process, *self._process.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def _watch(self) -> None:
        while not self._stopped.wait(0.2):
            self.peak = max(self.peak, self.now())
