"""Scores over HTTP: ``pairsift serve`` beside a bare FastAPI application with the same scorer.

    OMP_NUM_THREADS=1 .venv-outside-peers/bin/python -m benchmarks.serve_peers --rounds 3

The bare application does what one would write first: read the form, score the pair in FastAPI's
thread pool, return the numbers; nothing is batched, checked or limited. Both get the same requests
from the same number of clients; the answers of both must be 200. On a machine with other load, look
at the processor time: sixteen threads get more of a busy machine than three.
"""

from __future__ import annotations

import argparse
import http.client
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

import psutil

from benchmarks.rounds import OURS, run_rounds, versions
from pairsift.demo.photos import captions
from tests.support.serve_load import form, running_command

BARE = "bare FastAPI"
_BOUNDARY_TYPE = "multipart/form-data; boundary=pairsift-benchmark"


def bare(scorer_name: str, port: int) -> None:
    """Serve until killed."""
    import uvicorn
    from fastapi import FastAPI, Form, UploadFile

    from pairsift import Pair, load_scorer

    scorer = load_scorer(scorer_name)
    app = FastAPI()

    def score(image: UploadFile, caption: str = Form()) -> dict[str, object]:
        row: dict[str, object] = scorer.score([Pair("1", image.file.read(), caption)]).to_pylist()[
            0
        ]
        return row

    # The annotations of this module are text, which FastAPI cannot look up in a function.
    score.__annotations__ = {"image": UploadFile, "caption": str}
    app.post("/score")(score)
    uvicorn.run(app, port=port, log_level="warning")


@contextmanager
def running_bare(scorer: str, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the bare application in a process of its own; yields its address and the process."""
    command = [sys.executable, "-m", "benchmarks.serve_peers", "--bare", scorer, str(port)]
    process = subprocess.Popen(command)
    try:
        for _ in range(600):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/docs")
                connection.getresponse().read()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(60)


def ask(url: str, bodies: list[bytes], clients: int) -> int:
    """Send all bodies from so many clients; return how many were answered with 200."""
    todo: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for body in bodies:
        todo.put(body)
    good: list[int] = []

    def client() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)
        while True:
            try:
                body = todo.get_nowait()
            except queue.Empty:
                return
            connection.request("POST", "/score", body, {"Content-Type": _BOUNDARY_TYPE})
            answer = connection.getresponse()
            answer.read()
            good.append(answer.status)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return good.count(200)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scorer", default="pairsift-tiny")
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=8765, help="of the bare application")
    parser.add_argument("--bare", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        bare(given.bare[0], int(given.bare[1]))
        return
    pairs = [form(photo.read(), text) for photo, _, text in captions()]
    bodies = [pairs[index % len(pairs)] for index in range(given.requests)]
    ours = running_command("--scorer", given.scorer)
    with ours as (url, process), running_bare(given.scorer, given.port) as (bare_url, other):
        servers = {OURS: (url, process.pid), BARE: (bare_url, other.pid)}
        used = dict.fromkeys(servers, 0.0)

        def measured(name: str) -> int:
            address, pid = servers[name]
            before = processor_seconds(pid)
            good = ask(address, bodies, given.clients)
            used[name] += processor_seconds(pid) - before
            return good

        ways = {name: partial(measured, name) for name in servers}
        done = run_rounds(ways, given.rounds, given.requests)
    assert set(done.found.values()) == {given.requests}, done.found
    print("\n".join(done.lines()))
    for name, seconds in used.items():
        each = 1000 * seconds / (given.requests * (given.rounds + 1))
        print(f"{name}: {each:.0f} ms of processor a request")
    print(versions("fastapi", "uvicorn", "torch"))


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and its children."""
    parent = psutil.Process(pid)
    times = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
    return sum(time.user + time.system for time in times)


if __name__ == "__main__":
    main()
