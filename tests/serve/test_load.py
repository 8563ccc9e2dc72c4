"""The command under load, and told to stop. `benchmarks/serve.py` does the same at length."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("skimage", reason="the demo's photographs come with scikit-image")

from tests.support.serve_load import (
    MAX_BODY_MIB,
    Memory,
    ask,
    good_requests,
    mean_batch,
    mixed,
    read_metrics,
    running_command,
)


@pytest.mark.slow
def test_no_answer_is_lost_wrong_or_an_error_of_the_server() -> None:
    good = good_requests(most=8)
    requests = mixed(48, 0.2, good)
    with running_command("--max-body-mib", str(MAX_BODY_MIB)) as (url, process):
        ask(url, good[:2], 1)
        before = read_metrics(url)
        with Memory(process.pid) as memory:
            start = memory.peak
            outcome = ask(url, requests, 16)
        batch = mean_batch(before, read_metrics(url))
    assert not outcome.wrong
    assert not [code for code in outcome.codes if code.startswith("5")]
    assert sum(outcome.codes.values()) == len(requests)
    assert batch > 4
    assert memory.peak - start < 256 * 2**20


@pytest.mark.slow
def test_sigterm_finishes_what_is_in_hand() -> None:
    requests = good_requests(most=4) * 3
    with (
        running_command("--batch-size", "2", "--workers", "0") as (url, process),
        ThreadPoolExecutor(1) as threads,
    ):
        asking = threads.submit(ask, url, requests, len(requests))
        while read_metrics(url)["pairsift_serve_queued_pairs"] < len(requests):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        outcome = asking.result(60)
        assert not outcome.wrong
        assert outcome.codes == {"200": len(requests)}
        assert process.wait(30) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "0.0.0.0"), "--api-key-file"),
        (("--scorer", "no-such-scorer"), "no scorer"),
        (("--max-queue", "3"), "--max-queue"),
    ],
)
def test_mistakes_are_one_line(options: tuple[str, ...], words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "pairsift", "serve", "--port", "0", *options],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
