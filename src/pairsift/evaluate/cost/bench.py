"""One scorer measured: what runs in the process that is its own."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pairsift.errors import PairsiftError
from pairsift.evaluate.cost.memory import peak_device_mib, peak_resident_mib
from pairsift.evaluate.cost.subjects import Subject
from pairsift.pair import Pair, Status
from pairsift.scorers.base import WINDOW_BATCHES, score_prepared


@dataclass(frozen=True, slots=True)
class Loaded:
    """A scorer that is ready.

    Attributes:
        dtype: of its weights; None where it has none here.
        batch_size: pairs on the device at a time.
        seconds: from the start of loading.
    """

    fingerprint: dict[str, str]
    dtype: str | None
    batch_size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that pairs took.

    Attributes:
        prepare: of preprocess: decode and resize the image, tokenize the caption.
        score: of forward.
        processor: of all cores together, on this process.
    """

    prepare: float
    score: float
    processor: float

    @property
    def total(self) -> float:
        """One half after the other."""
        return self.prepare + self.score


@dataclass(frozen=True, slots=True)
class Memory:
    """Peaks in MiB: of the process, loading included, and of tensors on a GPU (None without)."""

    process: float
    device: float | None


class Bench:
    """A loaded scorer and its stopwatch.

    Args:
        threads: of PyTorch.
        batch_size: None for the scorer's own.

    Raises:
        PairsiftError: the scorer cannot be loaded.
    """

    def __init__(self, subject: Subject, threads: int, batch_size: int | None) -> None:
        begin = time.perf_counter()
        self.name = subject.name
        self.scorer = subject.load()
        # A scorer without a model does not import torch, and its memory is to show that.
        self.torch = sys.modules.get("torch")
        if self.torch is not None:
            self.torch.set_num_threads(threads)
        fingerprint = dict(self.scorer.fingerprint)
        self.batch_size = batch_size or self.scorer.batch_size
        self.loaded = Loaded(
            fingerprint,
            fingerprint.get("dtype"),
            self.batch_size,
            time.perf_counter() - begin,
        )

    def warm_up(self, pairs: Sequence[Pair]) -> int:
        """Score pairs untimed; return the FLOPs of matrix products they took.

        Raises:
            PairsiftError: a pair could not be scored.
        """
        if self.torch is None:
            self.time(pairs)
            return 0
        from pairsift.evaluate.cost.flops import count_flops

        return count_flops(lambda: self.time(pairs))

    def time(self, pairs: Sequence[Pair]) -> Timing:
        """Score pairs, the halves one after the other.

        Raises:
            PairsiftError: a pair could not be scored.
        """
        gc.collect()
        prepare = score = 0.0
        processor = time.process_time()
        window = WINDOW_BATCHES * self.batch_size
        for start in range(0, len(pairs), window):
            begin = time.perf_counter()
            rows = [self.scorer.preparer(pair) for pair in pairs[start : start + window]]
            middle = time.perf_counter()
            table = score_prepared(self.scorer, rows, self.batch_size)
            score += time.perf_counter() - middle
            prepare += middle - begin
            for row in table.select(["key", "status", "error"]).to_pylist():
                if row["status"] != Status.OK.value:
                    raise PairsiftError(
                        f"{self.name} cannot score {row['key']}: {row['status']}: {row['error']}"
                    )
        return Timing(prepare, score, time.process_time() - processor)

    def memory(self) -> Memory:
        """Peaks so far."""
        return Memory(peak_resident_mib(), peak_device_mib())
