"""The local engine on several devices: a scorer process for each, one list of shards for all.

The parent owns the list and hands out one shard at a time. A process commits its tables itself. If
it dies, its shards go back to the list and another process is started.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from logging import LogRecord
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any

from pairsift.engines.base import FailureLimit, Job, RunSummary, ShardResult, StatusUpdate
from pairsift.engines.devices import Device, find_devices
from pairsift.engines.local import default_workers
from pairsift.engines.node_process import Ask, Failed, Handed, Loaded, score_handed_jobs
from pairsift.engines.plan import plan_run
from pairsift.engines.progress import RunProgress
from pairsift.engines.settings import MAX_STARTS, ScorerSpec, WorkerSettings
from pairsift.errors import PairsiftError
from pairsift.manifest import changes
from pairsift.progress import Listener, NullListener
from pairsift.scores import ScoreFolder, source_identity
from pairsift.sources import ShardSet

__all__ = ["ScorerSpec", "score_shards"]

_END_PATIENCE_S = 10.0
_SIGNALS = {signal.SIGINT, signal.SIGTERM}
# What a killed process leaves is removed by the process that multiprocessing starts for it.
_QUIET = "ignore::UserWarning:multiprocessing.resource_tracker"


def score_shards(
    shard_set: ShardSet,
    scorer: ScorerSpec,
    out: str,
    *,
    devices: str = "all",
    batch_size: int | None = None,
    workers: int | None = None,
    max_failure_rate: float = 0.05,
    part: tuple[int, int] | None = None,
    retry_failed: bool = False,
    rescore_changed: bool = False,
    listener: Listener | None = None,
) -> RunSummary:
    """Score every shard that has no table in `out` yet, on several devices of this machine.

    As :func:`pairsift.engines.local.score_shards`, which has the other arguments; each engine can
    resume a run of the other.

    Args:
        scorer: name and options; every process loads it.
        devices: ``all``, or GPU numbers and ``cpu:N``, separated by commas.
        workers: processes that decode images, for each device; None divides the cores.

    Raises:
        PairsiftError: as the local engine; there is no such device, or its process cannot start.

    Examples:
        >>> from pairsift.engines.node import ScorerSpec
        >>> from pairsift.sources import find_shards
        >>> spec = ScorerSpec("heuristics")
        >>> summary = score_shards(find_shards("pool"), spec, "cpu_scores", devices="cpu:1")
        >>> summary.shards, summary.statuses
        (1, {'ok': 4})
    """
    found = find_devices(devices)
    progress = RunProgress(listener)
    plan = plan_run(
        shard_set, ScoreFolder(out, None, shard_set.root), part, retry_failed, rescore_changed
    )
    progress.started(plan.shards, plan.skipped)
    limit = FailureLimit(max_failure_rate)
    summary = RunSummary(out, plan.shards, plan.skipped, first_failures=limit.first_failures)
    each = default_workers(len(found)) if workers is None else workers
    identity = source_identity(shard_set)
    settings = WorkerSettings(
        scorer, out, shard_set.root, batch_size, each, uuid.uuid4().hex, identity
    )
    scores: ScoreFolder | None = None
    begin = time.perf_counter()
    run = _Run(found, settings, plan.jobs, listener or NullListener())
    try:
        for item in run.results():
            if isinstance(item, StatusUpdate):
                limit.add(item)
                progress.rows(item.statuses)
            elif isinstance(item, ShardResult):
                summary.add(item, time.perf_counter() - begin)
                progress.shard_done(item)
                limit.add_shard(item)
            else:
                scores = ScoreFolder(out, item, shard_set.root, identity)
                scores.claim()
                scores.expect(shard.name for shard in shard_set.shards)
                begin = time.perf_counter()
    except BaseException:
        run.close(0.0)
        if scores is not None:
            scores.folder.remove_leftovers()
            scores.release()
        raise
    run.close(_END_PATIENCE_S)
    if scores is not None and run.buried:
        scores.folder.remove_leftovers()  # of a process that died while it wrote
    return summary


@dataclass(slots=True, eq=False)
class _Child:
    """A scorer process.

    Attributes:
        held: jobs handed to it that have no result yet; the first one is being scored.
        told: the samples of the first one that it has reported, by status.
        asks: it waits for a job.
    """

    device: Device
    process: SpawnProcess
    connection: Connection
    loaded: bool = False
    asks: bool = False
    held: list[Job] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)


class _Run:
    """Scorer processes and the jobs that they have not done yet."""

    def __init__(
        self,
        devices: Sequence[Device],
        settings: WorkerSettings,
        jobs: Sequence[Job],
        listener: Listener,
    ) -> None:
        # Without a job, one process still checks that the folder is of this scorer.
        self._idle = list(devices[: max(1, len(jobs))])
        self._several = len(self._idle) > 1
        self._settings = settings
        self._todo = deque(jobs)
        self._listener = listener
        self._children: list[_Child] = []
        self._fingerprint: dict[str, str] | None = None
        self.buried = 0  # processes that died
        self._deaths: defaultdict[str, list[str]] = defaultdict(list)  # devices, by shard
        self._in_a_row: Counter[str] = Counter()  # by device, without a result in between

    def results(self) -> Iterator[ShardResult | StatusUpdate | dict[str, str]]:
        """Yield what the processes report. The first item is the scorer's fingerprint.

        Raises:
            PairsiftError: a process has refused the work, or died too often.
        """
        while self._todo or any(child.held for child in self._children) or not self._fingerprint:
            self._start_missing()
            ready = wait(
                [child.connection for child in self._children]
                + [child.process.sentinel for child in self._children]
            )
            for child in list(self._children):
                if child.connection in ready or child.process.sentinel in ready:
                    yield from self._hear(child)
            self._hand_out()

    def close(self, patience: float) -> None:
        """End the processes, and kill those that have not ended after some seconds."""
        for child in self._children:
            if patience and child.loaded:
                _send(child, None)
            elif child.process.pid is not None:
                child.process.kill()
        deadline = time.monotonic() + patience
        for child in self._children:
            if child.process.pid is not None:
                child.process.join(max(0.0, deadline - time.monotonic()))
                child.process.kill()
                child.process.join()
            child.connection.close()

    def _start_missing(self) -> None:
        """Start processes while there are more jobs than processes without one."""
        context = multiprocessing.get_context("spawn")
        while self._idle and (self._todo or not self._fingerprint):
            device = self._idle.pop(0)
            ours, theirs = context.Pipe()
            process = context.Process(
                target=score_handed_jobs, args=(self._settings, theirs), name=device.name
            )
            self._children.append(_Child(device, process, ours))
            with _inheriting(device.environment):
                process.start()
            theirs.close()

    def _hear(self, child: _Child) -> Iterator[ShardResult | StatusUpdate | dict[str, str]]:
        try:
            item = child.connection.recv() if child.connection.poll() else None
        except (EOFError, OSError):
            item = None
        if isinstance(item, Loaded):
            if self._fingerprint is None:
                self._fingerprint = item.fingerprint
                yield item.fingerprint
            self._check_alike(child.device, item.fingerprint)
            child.loaded = True
            _send(child, None)
        elif isinstance(item, Ask):
            child.asks = True
        elif isinstance(item, StatusUpdate):
            child.told.update(item.statuses)
            yield item
        elif isinstance(item, ShardResult):
            child.held = [job for job in child.held if job.shard.name != item.name]
            self._in_a_row[child.device.name] = 0
            if item.outcome != "unreadable":
                yield from _correction(child, item.statuses)
            child.told.clear()
            yield item
        elif isinstance(item, Failed):
            raise item.error from _RemoteError(item.trace)
        elif isinstance(item, LogRecord):
            logging.getLogger(item.name).handle(item)
        else:
            yield from self._bury(child)

    def _hand_out(self) -> None:
        """Give jobs to those who ask, first to those who have none."""
        for child in sorted(self._children, key=lambda child: len(child.held)):
            job = next((job for job in self._todo if self._suits(job, child)), None)
            if child.asks and job is not None:
                self._todo.remove(job)
                child.held.append(job)
                child.asks = False
                _send(child, Handed(job, len(self._deaths[job.shard.name])))

    def _suits(self, job: Job, child: _Child) -> bool:
        """Return whether to give the job to this process now.

        A shard with which a process died is scored alone, so that no other shard is blamed, and
        on another device, so that it is not blamed for a broken one.
        """
        deaths = self._deaths[job.shard.name]
        if child.held and (deaths or any(self._deaths[held.shard.name] for held in child.held)):
            return False
        return not (deaths and self._several and deaths[-1] == child.device.name)

    def _bury(self, child: _Child) -> Iterator[StatusUpdate]:
        """Take the jobs of a dead process back.

        Raises:
            PairsiftError: the device's processes die again and again.
        """
        child.process.join()
        self.buried += 1
        code, name = child.process.exitcode or 0, child.device.name
        self._children.remove(child)
        child.connection.close()
        yield from _correction(child, {})
        self._todo.extendleft(reversed(child.held))
        for job in child.held:
            self._deaths[job.shard.name].append(name)
        self._in_a_row[name] += 1
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        what = f"scored {child.held[0].shard.name}" if child.held else "started"
        told = f"the scorer process on {name} {how} while it {what}"
        # Such a shard is given up next. Without one, the device is to blame.
        hopeless = any(len(self._deaths[job.shard.name]) >= MAX_STARTS for job in child.held)
        times = self._in_a_row[name]
        if (code > 0 and not child.loaded) or (times >= MAX_STARTS and not hopeless):
            often = f", for the {times}th time in a row" if times > 3 else ""
            raise PairsiftError(
                f"{told}{often}. Finished shards are kept: run the "
                "same command again to continue, without this device in --devices if it is broken"
            )
        if child.held or self._todo:
            self._listener.message(f"{told}; it is started again")
        self._idle.append(child.device)

    def _check_alike(self, device: Device, fingerprint: Mapping[str, str]) -> None:
        if found := changes(self._fingerprint or {}, fingerprint):
            raise PairsiftError(
                f"--devices: the scorer on {device.name} would give other scores than the first "
                f"one: {found}. Give --dtype, or devices of one kind"
            )


class _RemoteError(Exception):
    """The traceback in another process, as the cause of its error here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _correction(child: _Child, final: Mapping[str, int]) -> Iterator[StatusUpdate]:
    """Replace what was reported of a shard's samples by their final number."""
    change = Counter(final)
    change.subtract(child.told)
    child.told.clear()
    if any(change.values()):
        yield StatusUpdate({status: count for status, count in change.items() if count})


def _send(child: _Child, item: Any) -> None:
    with contextlib.suppress(OSError):  # it is dead, which is noticed when its end is heard
        child.connection.send(item)


@contextlib.contextmanager
def _inheriting(environment: Mapping[str, str]) -> Iterator[None]:
    """Give a process that is started inside the block these variables, and no signals.

    The variables must be there before it imports PyTorch. Ctrl-C reaches the whole group, and only
    the parent handles it. The process does not import the script that runs, which would run it
    again if it has no ``if __name__ == "__main__":``.
    """
    script = sys.modules["__main__"]
    before = dict(os.environ)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    os.environ.update(environment)
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before.get("PYTHONWARNINGS"), _QUIET)))
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        os.environ.clear()
        os.environ.update(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
