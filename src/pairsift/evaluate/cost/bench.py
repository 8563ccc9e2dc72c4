"""Measure one scorer, inside its own process."""

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
from pairsift.scorers.batches import WINDOW_BATCHES, score_prepared


@dataclass(frozen=True, slots=True)
class Loaded:
    """A scorer that is ready.

    Attributes:
        dtype: of its weights; None if it has no weights in this process.
        batch_size: pairs per forward pass.
        seconds: how long loading took.
    """

    fingerprint: dict[str, str]
    dtype: str | None
    batch_size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that some pairs took.

    Attributes:
        prepare: preprocess: decode and resize the image, tokenize the caption.
        score: forward.
        processor: processor time of this process on all cores together.
    """

    prepare: float
    score: float
    processor: float

    @property
    def total(self) -> float:
        """Preprocess and forward, one after the other."""
        return self.prepare + self.score


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory in MiB: of the process, and of tensors on a GPU (None without one)."""

    process: float
    device: float | None


class Bench:
    """A loaded scorer, with methods to time it.

    Args:
        threads: number of PyTorch threads.
        batch_size: None for the scorer's default.

    Raises:
        PairsiftError: the scorer cannot be loaded.
    """

    def __init__(self, subject: Subject, threads: int, batch_size: int | None) -> None:
        begin = time.perf_counter()
        self.name = subject.name
        self.scorer = subject.load()
        # A scorer without a model does not import torch, and its memory must show that.
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
        """Score pairs untimed; return the FLOPs of their matrix products.

        Raises:
            PairsiftError: a pair cannot be scored.
        """
        if self.torch is None:
            self.time(pairs)
            return 0
        from pairsift.evaluate.cost.flops import count_flops

        return count_flops(lambda: self.time(pairs))

    def time(self, pairs: Sequence[Pair]) -> Timing:
        """Time preprocess and forward of some pairs, one after the other.

        Raises:
            PairsiftError: a pair cannot be scored.
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
        """Return the peaks so far."""
        return Memory(peak_resident_mib(), peak_device_mib())
