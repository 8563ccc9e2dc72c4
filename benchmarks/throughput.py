"""How many pairs a device scores, and how long it idles while the host is at work.

    python -m benchmarks.throughput                # a GPU: SigLIP-so400m and Qwen2.5-1.5B, bfloat16
    python -m benchmarks.throughput                # a CPU: a tiny model before a device that sleeps

On a GPU: pairs per second through the local engine, the share of the matrix peak, and the share of
the time without a kernel (by PyTorch's profiler), batch by batch and with a batch ahead; then the
method of the published code (a pass for each metric, batch 4). Weights are random, shapes and
prompt lengths are real.

On a CPU the host is the device, so a stand-in takes its place: a thread that takes a fixed time for
each batch (`--device-ms`), while the host reads, decodes, collates and runs a tiny model, whose
Python costs what that of a large one does.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import queue
import statistics
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.one_pass import (
    SIZES,
    BenchmarkBackbone,
    Model,
    Reference,
    make_pack,
    make_pairs,
    make_prepare,
    make_tokenizer,
)
from pairsift import Pair
from pairsift.engines.local import default_workers, score_shards
from pairsift.evaluate.cost.flops import count_flops
from pairsift.evaluate.cost.machine import device_name, matmul_peak, seconds_of
from pairsift.metrics import METRICS
from pairsift.scorers.base import Columns, DeviceScorer, Scorer
from pairsift.scorers.mlm.scorer import MLMScorer
from pairsift.sources import find_shards


class Around(DeviceScorer):
    """A scorer as it is."""

    name = "around"

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.columns, self.preparer = scorer.columns, scorer.preparer

    @property
    def fingerprint(self) -> dict[str, str]:
        return dict(self.scorer.fingerprint)

    def cost(self, inputs: Any) -> int:
        return self.scorer.cost(inputs)

    def order(self, inputs: Sequence[Any]) -> list[int]:
        return self.scorer.order(inputs)

    def collate(self, inputs: Sequence[Any]) -> Any:
        return self.scorer.collate(inputs)

    def start(self, collated: Any) -> Callable[[], Columns]:
        return self.scorer.start(collated)


class BatchByBatch(Around):
    """Collates a batch when the results of the last one are there, as before version 0.2."""

    def collate(self, inputs: Sequence[Any]) -> Any:
        return inputs

    def start(self, collated: Any) -> Callable[[], Columns]:
        columns = self.scorer.start(self.scorer.collate(collated))()
        return lambda: columns


class SleepingDevice(Around):
    """A scorer whose batches also take a fixed time on a device with a queue of its own."""

    def __init__(self, scorer: Scorer, seconds: float) -> None:
        super().__init__(scorer)
        self.seconds = seconds
        self.busy: list[tuple[float, float]] = []
        self._queue: queue.Queue[threading.Event] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def start(self, collated: Any) -> Callable[[], Columns]:
        fetch, done = self.scorer.start(collated), threading.Event()
        self._queue.put(done)

        def wait() -> Columns:
            done.wait()
            return fetch()

        return wait

    def _run(self) -> None:
        while True:
            done = self._queue.get()
            begin = time.perf_counter()
            time.sleep(self.seconds)
            self.busy.append((begin, time.perf_counter()))
            done.set()


def write_pool(folder: Path, pairs: Sequence[Pair]) -> str:
    """One webdataset shard of the pairs; real ones are larger still."""
    folder.mkdir()
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for pair in pairs:
            for suffix, content in (("jpg", pair.image), ("txt", pair.caption.encode())):
                header = tarfile.TarInfo(f"{pair.key}.{suffix}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    return str(folder)


def idle_share(busy: Sequence[tuple[float, float]]) -> float:
    """The share of the time between the first and the last work in which there was none."""
    spans = sorted(busy)
    worked, end = 0.0, spans[0][0]
    for begin, until in spans:
        worked += max(0.0, until - max(begin, end))
        end = max(end, until)
    return 1 - worked / (end - spans[0][0])


def kernels(run: Callable[[], object]) -> list[tuple[float, float]]:
    """When a GPU computed or copied during a run, by PyTorch's profiler."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        run()
        torch.cuda.synchronize()
    events = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    return [(event.time_range.start, event.time_range.end) for event in events]


def main() -> int:
    """Measure and print JSON."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", default="so400m-qwen2.5-1.5b" if cuda else "tiny", choices=SIZES)
    parser.add_argument("--dtype", default="bfloat16" if cuda else "float32")
    parser.add_argument("--batch-size", type=int, default=64 if cuda else 16)
    parser.add_argument("--pairs", type=int, default=4096 if cuda else 256)
    parser.add_argument("--reference-pairs", type=int, default=64, help="of the reference")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=default_workers())
    parser.add_argument("--device-ms", type=float, default=500, help="of the stand-in, a batch")
    options = parser.parse_args()
    device = torch.device("cuda" if cuda else "cpu")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    size, dtype = SIZES[options.size], getattr(torch, options.dtype)
    with torch.device(device):
        model = Model(size).to(dtype).eval().requires_grad_(False)
    backbone = BenchmarkBackbone(model, size, make_tokenizer())
    scorer = MLMScorer(backbone, make_pack(), list(METRICS))
    pairs = make_pairs(options.pairs)
    inner: Scorer = scorer if cuda else SleepingDevice(scorer, options.device_ms / 1000)
    ways: dict[str, Scorer] = {"batch by batch": BatchByBatch(inner), "a batch ahead": inner}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    idle: dict[str, list[float]] = {way: [] for way in ways}
    report: dict[str, Any] = {
        "device": device_name(device) if cuda else f"asleep {options.device_ms:g} ms a batch",
        "size": options.size, "dtype": options.dtype, "batch_size": options.batch_size,
        "workers": options.workers,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="pairsift-throughput-") as name:
        folder = Path(name)
        shards = find_shards(write_pool(folder / "pool", pairs))
        few = find_shards(write_pool(folder / "few", pairs[: 4 * options.batch_size]))
        outs = iter(range(10**9))

        def run(way: str, pool: Any = shards) -> float:
            summary = score_shards(
                pool, ways[way], str(folder / f"scores {next(outs)}"),
                batch_size=options.batch_size, workers=options.workers,
            )  # fmt: skip
            assert summary.statuses == {"ok": summary.rows}, summary.first_failures
            return summary.pairs_per_second

        for turn in range(options.rounds + 1):  # the first one warms up
            for way in ways:
                if isinstance(inner, SleepingDevice):
                    inner.busy.clear()
                rate = run(way)
                if turn == 0:
                    continue
                rates[way].append(rate)
                if isinstance(inner, SleepingDevice):
                    idle[way].append(idle_share(inner.busy))
                else:
                    idle[way].append(idle_share(kernels(lambda way=way: run(way, few))))
    for way in ways:
        report[way] = {
            "pairs_per_second": round(statistics.median(rates[way]), 2),
            "idle_share": round(statistics.median(idle[way]), 3),
            "idle_shares": [round(share, 3) for share in idle[way]],
        }
    if cuda:
        peak = matmul_peak(device, dtype)
        inputs = scorer.prepare_all(pairs[:8])
        flops = count_flops(lambda: scorer.score_batch(inputs)) / len(inputs)
        for way in ways:
            share = flops * report[way]["pairs_per_second"] / peak
            report[way]["share_of_matrix_peak"] = round(share, 3)
        alone = [MLMScorer(backbone, make_pack(), [metric]) for metric in METRICS]
        reference, prepare = Reference(model, alone), make_prepare(options.workers)
        theirs = pairs[: options.reference_pairs]
        reference.score(theirs[:8], prepare, 4)
        rate = len(theirs) / seconds_of(lambda: reference.score(theirs, prepare, 4), device)
        report["matrix_peak_tflops"] = round(peak / 1e12, 1)
        report["reference"] = {"pairs_per_second": round(rate, 3)}
        report["times_the_reference"] = round(report["a batch ahead"]["pairs_per_second"] / rate, 1)
    report["load_average"] = round(os.getloadavg()[0], 2)
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
