"""The Ray engine: distribute shards to a pool of actors, on one machine or a cluster.

Ray Data sends only shard names to the actors and results back. Images and scores never pass
through its object store, and an actor needs as much memory for a shard as the local engine does.
Each actor commits its tables itself. If an actor dies, Ray starts another one and gives it the
same shards again; shards that have a table are skipped.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pairsift.engines.base import (
    FailureLimit,
    RunSummary,
    ShardResult,
    StatusUpdate,
)
from pairsift.engines.plan import Plan, plan_run
from pairsift.engines.progress import run_progress
from pairsift.engines.ray_actors import (
    UPDATE_EVERY_S,
    Board,
    ShardActor,
    claim_folder,
    job_to_json,
)
from pairsift.engines.settings import ScorerSpec, WorkerSettings
from pairsift.errors import PairsiftError
from pairsift.progress import Listener
from pairsift.scores import ScoreFolder, source_identity
from pairsift.sources import ShardSet
from pairsift.storage import Folder

__all__ = ["RayOptions", "ScorerSpec", "score_shards"]

# Shards that an actor takes at a time. More: it can read ahead across shards. Fewer: all actors
# have work at the end of a run.
_MAX_SHARDS_A_TASK = 8
_TASKS_AN_ACTOR = 16
_STOP_PATIENCE_S = 15.0
_OWN_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Options of the Ray engine.

    Attributes:
        address: address of a running cluster; ``auto`` for the cluster of this machine; None for
            ``$RAY_ADDRESS`` or, if that is not set, a new cluster on this machine.
        actors: number of scorers, or the minimum and maximum of a pool that grows with the work;
            None for as many as the cluster has resources for at the start.
        gpus: per actor, may be a fraction; None for 1 if the cluster has GPUs, else 0.
        cpus: per actor. All but the first are used for processes that preprocess.
    """

    address: str | None = None
    actors: int | tuple[int, int] | None = None
    gpus: float | None = None
    cpus: int = 1


def score_shards(
    shard_set: ShardSet,
    scorer: ScorerSpec,
    out: str,
    *,
    ray_options: RayOptions | None = None,
    batch_size: int | None = None,
    max_failure_rate: float = 0.05,
    part: tuple[int, int] | None = None,
    retry_failed: bool = False,
    rescore_changed: bool = False,
    listener: Listener | None = None,
) -> RunSummary:
    """Score every shard that has no table in `out` yet, as :func:`pairsift.engines.local
    .score_shards` does; each engine can resume a run of the other.

    Args:
        out: a folder that has the same name on all machines of the cluster.

    Raises:
        PairsiftError: as the local engine; or Ray is not installed, cannot be reached, or ends.
    """
    _import_ray()
    options = ray_options or RayOptions()
    progress = run_progress(listener)
    out = out if not Folder(out).is_local else os.path.abspath(out)
    scores = ScoreFolder(out, None, shard_set.root)
    plan = plan_run(shard_set, scores, part, retry_failed, rescore_changed)
    progress.started(plan.shards, plan.skipped)
    limit = FailureLimit(max_failure_rate)
    summary = RunSummary(out, plan.shards, plan.skipped, first_failures=limit.first_failures)
    with _session(options.address) as owned:
        run = _Run(plan, scorer, out, shard_set, batch_size, options)
        begin = time.perf_counter()
        try:
            for item in run.results():
                if item is None:  # a scorer has created or checked the folder
                    scores.expect(shard.name for shard in shard_set.shards)
                    continue
                if isinstance(item, StatusUpdate):
                    limit.add(item)
                    progress.rows(item.statuses)
                    continue
                summary.add(item, time.perf_counter() - begin)
                progress.shard_done(item)
                limit.add_shard(item)
        except BaseException:
            # A cluster of our own ends with this process, but if Ray is shut down while a thread
            # still uses it, it may end the process itself, with an exit code of its own.
            run.stop(_OWN_PATIENCE_S if owned else _STOP_PATIENCE_S)
            raise
    return summary


def _import_ray() -> Any:
    # Importing ray.data replaces our handler of SIGTERM, which tells how to resume.
    try:
        with _own_signals():
            import ray
            import ray.data
    except ImportError as error:
        raise PairsiftError(
            f"--engine ray needs Ray Data ({error}): pip install 'pairsift[ray]'"
        ) from error
    return ray


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _session(address: str | None) -> Iterator[bool]:
    """Connect to a cluster or start one, and disconnect at the end unless the caller connected."""
    ray = _import_ray()
    if ray.is_initialized():
        yield False
        return
    # Without "local", Ray looks for the cluster that was last started on this machine.
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        with _own_signals():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="error",
                include_dashboard=False if address == "local" else None,
            )
    except (
        Exception
    ) as error:  # Ray raises a plain Exception if its own processes do not start in time
        raise PairsiftError(
            f"Ray cannot be reached at {address}: {error}. Start a "
            "cluster with `ray start --head`, or leave the address out for this machine alone"
        ) from error
    try:
        yield True
    finally:
        with _own_signals():
            ray.shutdown()


class _Run:
    """One execution of a plan on a connected cluster."""

    def __init__(
        self,
        plan: Plan,
        scorer: ScorerSpec,
        out: str,
        shard_set: ShardSet,
        batch_size: int | None,
        options: RayOptions,
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        self._plan = plan
        # On the driver's machine, because worker machines may be preempted. Ray may still put it on
        # another one, which has just joined; then it starts again, with nothing but less progress.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._board = (
            ray.remote(Board)
            .options(num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=-1)
            .remote()
        )
        self._options = options
        self._resources = {"num_cpus": options.cpus, "num_gpus": self._gpus()}
        self._settings = WorkerSettings(
            scorer,
            out,
            shard_set.root,
            batch_size,
            max(0, options.cpus - 1),
            uuid.uuid4().hex,
            source_identity(shard_set),
        )
        self._begun = False
        self._stopping = threading.Event()
        self._rows: queue.Queue[str | BaseException | None] = queue.Queue()
        self._thread = threading.Thread(target=self._execute, name="pairsift-ray", daemon=True)

    def results(self) -> Iterator[ShardResult | StatusUpdate | None]:
        """Yield results of finished shards, and about every second the progress.

        The first item is None, once a scorer has created or checked the folder.

        Raises:
            PairsiftError: the folder holds other scores, a table cannot be committed, Ray ends.
        """
        if not self._plan.jobs:
            self._claim()
            yield None
            return
        self._thread.start()
        next_update = time.monotonic() + UPDATE_EVERY_S
        while True:
            # By time: with small shards there may never be a second without a result.
            if (wait := next_update - time.monotonic()) <= 0:
                yield from self._updates()
                next_update = time.monotonic() + UPDATE_EVERY_S
                continue
            try:
                item = self._rows.get(timeout=wait)
            except queue.Empty:
                continue
            if item is None:
                yield from self._updates()
                return
            if isinstance(item, BaseException):
                if isinstance(item, self._ray.exceptions.RayError):
                    raise PairsiftError(
                        f"the Ray run ended: {_last_line(item)}. Finished shards are kept: run the "
                        "same command again to continue"
                    ) from item
                raise item
            row = json.loads(item)
            if "refused" in row:
                raise PairsiftError(row["refused"])
            if not self._begun:
                self._begun = True
                yield None
            yield ShardResult(**row)

    def stop(self, patience: float) -> None:
        """Ask the actors to stop, and wait some seconds until they have."""
        self._stopping.set()
        with contextlib.suppress(Exception):
            self._ray.get(self._board.stop.remote(), timeout=1)
        if self._thread.is_alive():
            self._thread.join(patience)

    def _gpus(self) -> float:
        if self._options.gpus is not None:
            return self._options.gpus
        return 1.0 if self._ray.cluster_resources().get("GPU", 0) else 0.0

    def _pool_size(self) -> tuple[int, int]:
        if isinstance(self._options.actors, int):
            return self._options.actors, self._options.actors
        if self._options.actors is not None:
            return self._options.actors
        there = self._ray.cluster_resources()
        room = there.get("CPU", 1) / self._resources["num_cpus"]
        if self._resources["num_gpus"]:
            room = min(room, there.get("GPU", 0) / self._resources["num_gpus"])
        count = max(1, min(int(room), len(self._plan.jobs)))
        return count, count

    def _execute(self) -> None:
        try:
            for row in self._dataset().iter_rows():
                if self._stopping.is_set():
                    return
                self._rows.put(row["result"])
            self._rows.put(None)
        except BaseException as error:
            self._rows.put(error)

    def _dataset(self) -> Any:
        from ray.data import ActorPoolStrategy, DataContext, from_items

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        least, most = self._pool_size()
        jobs = self._plan.jobs
        a_task = max(1, min(_MAX_SHARDS_A_TASK, len(jobs) // (most * _TASKS_AN_ACTOR)))
        items = [{"job": job_to_json(job)} for job in jobs]
        # Ray Data replaces dead actors and repeats their tasks without limit.
        return from_items(items, override_num_blocks=-(-len(jobs) // a_task)).map_batches(
            ShardActor,
            fn_constructor_args=(self._settings, self._board),
            batch_size=a_task,
            batch_format="numpy",
            compute=ActorPoolStrategy(min_size=least, max_size=most),
            **self._resources,
        )

    def _updates(self) -> Iterator[StatusUpdate | None]:
        with contextlib.suppress(
            self._ray.exceptions.RayError
        ):  # a lost message must not stop the run
            begun, statuses, failures = self._ray.get(self._board.drain.remote(), timeout=10)
            if begun and not self._begun:
                self._begun = True
                yield None
            if statuses:
                yield StatusUpdate(statuses, failures)

    def _claim(self) -> None:
        """Refuse a folder of other scores even if no shard is left, if the scorer can load."""
        task = self._ray.remote(max_retries=-1, **self._resources)(claim_folder)
        if (refused := self._ray.get(task.remote(self._settings))) is not None:
            raise PairsiftError(refused)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
