"""Train the students for every filter, fraction and seed; one result file each.

A killed run leaves the files of its finished students; the next run trains the others. A file's
name holds a digest of everything that decides its content, so that a result is never reused for
other scores, data or settings.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairsift.engines.pool import follow_parent, kill_workers
from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.data import Pool
from pairsift.evaluate.downstream.filters import Filter, quality
from pairsift.evaluate.downstream.student import StudentSettings, Vocabulary, train_student
from pairsift.evaluate.downstream.zeroshot import (
    RANKS,
    TEMPLATES,
    CaptionedImages,
    LabelledImages,
    classify,
    retrieve,
)
from pairsift.progress import Listener, NullListener
from pairsift.storage import Folder, join

RUNS = "runs"
PROTOCOL = 1
"""Raise this number when you change how students are built, trained or tested."""

CLASSIFICATION, RETRIEVAL = "classification", "retrieval"


@dataclass(frozen=True)
class Bench:
    """Everything that a student is trained and tested with, except its subset."""

    pool: Pool
    classes: Sequence[LabelledImages]
    captioned: CaptionedImages | None
    settings: StudentSettings

    def digest(self) -> str:
        """Return a digest of everything in it that decides a result."""
        digest = hashlib.sha256()
        digest.update(json.dumps([PROTOCOL, asdict(self.settings), TEMPLATES, RANKS]).encode())
        part = self.pool.part
        digest.update(json.dumps([part.keys, part.texts, part.digests]).encode())
        for arrays in (part.image, part.features, *(s.features for s in self.classes)):
            digest.update(np.ascontiguousarray(arrays).tobytes())
        for images in self.classes:
            digest.update(json.dumps([images.name, list(images.classes)]).encode())
            digest.update(images.labels.tobytes())
        if self.captioned is not None:
            digest.update(json.dumps(list(self.captioned.captions)).encode())
            digest.update(self.captioned.features.tobytes() + self.captioned.image.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Task:
    """One student to train.

    Attributes:
        file: name of its result file.
    """

    filter: str
    fraction: float
    seed: int
    rows: NDArray[np.int64]
    file: str


def plan(
    bench: Bench, filters: Iterable[Filter], fractions: Sequence[float], seeds: int
) -> list[Task]:
    """Return every student of the comparison; a filter that keeps all has only one fraction."""
    common = bench.digest()
    readable = bench.pool.part.image >= 0
    tasks = []
    for seed in range(seeds):  # seed by seed, so that an interrupted run has compared all filters
        for candidate in filters:
            for fraction in fractions if candidate.scores is not None else [1.0]:
                rows = candidate.keep(fraction, len(bench.pool), seed)
                rows = rows[readable[rows]]
                if len(rows) < 2:
                    raise PairsiftError(
                        f"{candidate.name} keeps {len(rows)} readable pairs of {len(bench.pool):,} "
                        f"at --keep {fraction:g}: too few to train on"
                    )
                digest = hashlib.sha256(f"{common} {seed} ".encode() + rows.tobytes())
                slug = re.sub(r"[^A-Za-z0-9._]+", "-", candidate.name).strip("-")
                file = f"{slug}-{fraction:g}-{seed}-{digest.hexdigest()[:12]}.json"
                tasks.append(Task(candidate.name, fraction, seed, rows, file))
    return tasks


def train_all(
    bench: Bench,
    tasks: Sequence[Task],
    out: str,
    jobs: int = 1,
    listener: Listener | None = None,
) -> list[dict[str, Any]]:
    """Return the results of all tasks, in order; those on disk are not trained again.

    Args:
        jobs: number of processes, with one thread each. Results do not depend on it.
        listener: receives the number of trained students and of all to train.
    """
    folder = Folder(join(out, RUNS))
    folder.create()
    folder.remove_leftovers()
    there = folder.names()
    # Two filters may keep the same pairs; their students are then trained twice, under two names.
    todo = [task for task in tasks if task.file not in there]
    listener = listener or NullListener()
    listener.progress("training", 0, len(todo), unit="students")
    if todo:
        vocabulary = Vocabulary.of(bench.pool.part.texts)
        ids = vocabulary(bench.pool.part.texts)
        for done, (task, result) in enumerate(_results(bench, vocabulary, ids, todo, jobs), 1):
            folder.write(task.file, (json.dumps(result, indent=1) + "\n").encode())
            listener.progress("training", done, len(todo), unit="students")
    return [json.loads(folder.read(task.file)) for task in tasks]


def _results(
    bench: Bench,
    vocabulary: Vocabulary,
    ids: NDArray[np.int64],
    todo: Sequence[Task],
    jobs: int,
) -> Iterator[tuple[Task, dict[str, Any]]]:
    if jobs <= 1 or len(todo) == 1:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for task in todo:
                yield task, run_task(bench, vocabulary, ids, task)
        finally:
            torch.set_num_threads(threads)
        return
    executor = ProcessPoolExecutor(
        min(jobs, len(todo)),
        multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(bench, vocabulary, ids),
    )
    try:
        waiting: dict[Future[dict[str, Any]], Task] = {
            executor.submit(_run_in_worker, task): task for task in todo
        }
        while waiting:
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                yield waiting.pop(future), future.result()
    except BaseException:
        # A half-trained student is useless, and its process must not outlive this one.
        kill_workers(executor)
        raise
    executor.shutdown()


_worker: tuple[Bench, Vocabulary, NDArray[np.int64]] | None = None


def _start_worker(bench: Bench, vocabulary: Vocabulary, ids: NDArray[np.int64]) -> None:
    global _worker
    import torch

    # Ctrl-C goes to the whole process group; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=follow_parent, daemon=True).start()
    torch.set_num_threads(1)
    _worker = bench, vocabulary, ids


def _run_in_worker(task: Task) -> dict[str, Any]:
    assert _worker is not None
    return run_task(*_worker, task)


def run_task(
    bench: Bench, vocabulary: Vocabulary, ids: NDArray[np.int64], task: Task
) -> dict[str, Any]:
    """Train one student and test it; return plain values, fractions 0..1."""
    begin = time.perf_counter()
    part = bench.pool.part
    student = train_student(
        part.features,
        part.image[task.rows],
        ids[task.rows],
        len(vocabulary),
        bench.settings,
        task.seed,
    )
    classes = {images.name: classify(student, vocabulary, images) for images in bench.classes}
    recalls = retrieve(student, vocabulary, bench.captioned) if bench.captioned else {}
    scores: dict[str, float] = {}
    if recalls:
        scores[RETRIEVAL] = float(np.mean(list(recalls.values())))
    if classes:
        scores[CLASSIFICATION] = float(np.mean(list(classes.values())))
    kept = quality(bench.pool, task.rows)
    return {
        "filter": task.filter,
        "keep": task.fraction,
        "seed": task.seed,
        "pairs": len(task.rows),
        "scores": {**scores, **recalls, **classes},
        "quality": asdict(kept) if kept else None,
        "seconds": round(time.perf_counter() - begin, 2),
    }
