"""The Ray engine: shards dealt out to a pool of scorers, on one machine or a cluster.

Ray Data moves the names of shards to the actors and their results back, nothing else: pixels and
scores never pass through its object store, and an actor holds no more of a shard than the local
engine does. The table an actor commits is what counts. When one dies, Ray starts another and gives
it the same shards again; those whose table is there are passed over.
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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pairsift.engines.base import (
    FIRST_FAILURES,
    Guard,
    Job,
    Listener,
    News,
    RunSummary,
    ShardResult,
    Silence,
)
from pairsift.engines.plan import Plan, plan_run
from pairsift.engines.worker import ShardWorker
from pairsift.errors import PairsiftError
from pairsift.scorers.base import Scorer
from pairsift.scorers.registry import load_scorer
from pairsift.scores import ScoreFolder, source_identity
from pairsift.sources import Shard, ShardSet
from pairsift.storage import Folder

# A shard whose scorer dies this often, with the process, is left out: not all can be preemption.
MAX_STARTS = 10
# Shards an actor takes at a time: more let it read ahead across shards, fewer keep all busy at
# the end of a run.
_MAX_SHARDS_A_TASK = 8
_TASKS_AN_ACTOR = 16
_NEWS_EVERY_S = 1.0
_STOP_PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """A scorer to be made where it works; arguments as of :func:`pairsift.load_scorer`."""

    name: str = "pairsift-tiny"
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Scorer:
        """Make it."""
        return load_scorer(self.name, **self.options)


@dataclass(frozen=True, slots=True)
class RayOptions:
    """How Ray is used.

    Attributes:
        address: of a running cluster, ``auto`` for the one this machine belongs to; None for
            ``$RAY_ADDRESS`` or, without it, a new one on this machine alone.
        actors: how many scorers, or the least and the most of a pool that grows with the work;
            None for as many as the cluster has room for at the start.
        gpus: per actor, may be a fraction; None for 1 where the cluster has GPUs, else 0.
        cpus: per actor. Beyond the first they become decode processes.
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
    .score_shards` does; either may go on where the other stopped.

    Args:
        out: folder that all machines of the cluster see under this name.

    Raises:
        PairsiftError: as the local engine; or Ray is not installed, cannot be reached, or ends.
    """
    _import_ray()
    options = ray_options or RayOptions()
    listener = listener or Silence()
    out = out if not Folder(out).is_local else os.path.abspath(out)
    scores = ScoreFolder(out, None, shard_set.root)
    plan = plan_run(shard_set, scores, part, retry_failed, rescore_changed)
    listener.started(plan.shards, plan.skipped)
    guard = Guard(max_failure_rate)
    summary = RunSummary(out, plan.shards, plan.skipped, first_failures=guard.first_failures)
    with _session(options.address) as owned:
        run = _Run(plan, scorer, out, shard_set, batch_size, options)
        begin = time.perf_counter()
        try:
            for item in run.results():
                if item is None:  # a scorer has found the folder to be that of its scores
                    scores.expect(shard.name for shard in shard_set.shards)
                    continue
                if isinstance(item, News):
                    guard.add(item)
                    listener.rows(item.statuses)
                    continue
                summary.add(item, time.perf_counter() - begin)
                listener.shard_done(item)
                guard.add_shard(item)
        except BaseException:
            # With a cluster of our own, leaving it ends all at once.
            run.stop(0.0 if owned else _STOP_PATIENCE_S)
            raise
    return summary


def _import_ray() -> Any:
    # Importing ray.data replaces the handler of SIGTERM, which says how to go on.
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
    """Join or start a cluster, and leave it; one the caller has joined is used and kept."""
    ray = _import_ray()
    if ray.is_initialized():
        yield False
        return
    try:
        with _own_signals():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="error",
                include_dashboard=None if address else False,
            )
    except Exception as error:  # a bare one where its own processes do not come up in time
        raise PairsiftError(
            f"Ray cannot be reached{f' at {address}' if address else ''}: {error}. Start a "
            "cluster with `ray start --head`, or leave the address out for this machine alone"
        ) from error
    try:
        yield True
    finally:
        with _own_signals():
            ray.shutdown()


class _Run:
    """One execution of a plan on a cluster that has been joined."""

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
        # Beside the driver, so that it lives as long: worker machines may be taken away.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._board = ray.remote(_Board).options(num_cpus=0, scheduling_strategy=here).remote()
        self._options = options
        self._resources = {"num_cpus": options.cpus, "num_gpus": self._gpus()}
        self._settings = _Settings(
            scorer,
            out,
            shard_set.root,
            batch_size,
            max(0, options.cpus - 1),
            uuid.uuid4().hex,
            source_identity(shard_set),
        )
        self._begun = False
        self._rows: queue.Queue[str | BaseException | None] = queue.Queue()
        self._thread = threading.Thread(target=self._execute, name="pairsift-ray", daemon=True)

    def results(self) -> Iterator[ShardResult | News | None]:
        """Results as shards are done, and about every second what happened on the way.

        None comes once, before all else, when a scorer has begun the folder or gone on in it.

        Raises:
            PairsiftError: the folder holds other scores, a table cannot be committed, Ray ends.
        """
        if not self._plan.jobs:
            self._claim()
            yield None
            return
        self._thread.start()
        next_news = time.monotonic() + _NEWS_EVERY_S
        while True:
            # By the clock, not in the gaps: small shards may be done without a quiet second.
            if (wait := next_news - time.monotonic()) <= 0:
                yield from self._news()
                next_news = time.monotonic() + _NEWS_EVERY_S
                continue
            try:
                item = self._rows.get(timeout=wait)
            except queue.Empty:
                continue
            if item is None:
                yield from self._news()
                return
            if isinstance(item, BaseException):
                if isinstance(item, self._ray.exceptions.RayError):
                    raise PairsiftError(
                        f"the Ray run ended: {_last_line(item)}. Finished shards are kept: run the "
                        "same command again to go on"
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
        """Let the actors drop what they do, and wait some seconds until they have."""
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
        items = [{"job": _job_to_json(job)} for job in jobs]
        # Actors that die are replaced, and their tasks done again, without limit: Ray Data's way.
        return from_items(items, override_num_blocks=-(-len(jobs) // a_task)).map_batches(
            _ShardActor,
            fn_constructor_args=(self._settings, self._board),
            batch_size=a_task,
            batch_format="numpy",
            compute=ActorPoolStrategy(min_size=least, max_size=most),
            **self._resources,
        )

    def _news(self) -> Iterator[News | None]:
        with contextlib.suppress(self._ray.exceptions.RayError):  # no news is no reason to stop
            begun, statuses, failures = self._ray.get(self._board.drain.remote(), timeout=10)
            if begun and not self._begun:
                self._begun = True
                yield None
            if statuses:
                yield News(statuses, failures)

    def _claim(self) -> None:
        """With nothing to score, still refuse a folder of other scores; where a scorer can load."""
        task = self._ray.remote(max_retries=-1, **self._resources)(_claim)
        if (refused := self._ray.get(task.remote(self._settings))) is not None:
            raise PairsiftError(refused)


@dataclass(frozen=True, slots=True)
class _Settings:
    """What an actor needs to begin."""

    scorer: ScorerSpec
    out: str
    root: str
    batch_size: int | None
    workers: int
    run_id: str
    source: dict[str, Any] | None = None

    def begin(self) -> tuple[Scorer, ScoreFolder]:
        """Load the scorer and begin its folder, or find that it is begun.

        Raises:
            PairsiftError: the folder holds other scores; the scorer cannot be loaded.
        """
        scorer = self.scorer.load()
        scores = ScoreFolder(self.out, scorer.fingerprint, self.root, self.source)
        scores.claim()
        return scorer, scores


def _claim(settings: _Settings) -> str | None:
    try:
        settings.begin()
    except PairsiftError as error:
        return str(error)
    return None


class _StoppedError(Exception):
    """The driver has given up the run."""


class _ShardActor:
    """One scorer of the pool; its model is loaded once. Ray Data calls it with names of shards."""

    def __init__(self, settings: _Settings, board: Any) -> None:
        # Raised here, an error would come out as one of Ray's; it is told with the first job.
        self._refused: str | None = None
        self._board = board
        try:
            scorer, scores = settings.begin()
            board.begun.remote()
            self._worker = ShardWorker(
                scorer, scores, settings.batch_size, settings.workers, settings.run_id
            )
        except PairsiftError as error:
            self._refused = str(error)

    def __call__(self, batch: Mapping[str, Sequence[str]]) -> Iterator[dict[str, list[str]]]:
        for result in self._do([_job_from_json(job) for job in batch["job"]]):
            yield {"result": [json.dumps(result)]}

    def _do(self, jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
        if self._refused is not None:
            yield {"refused": self._refused}
            return
        import ray

        news = _Messenger(self._board)
        starts = ray.get(self._board.starts.remote([job.shard.name for job in jobs]))
        left = []
        try:
            for job, count in zip(jobs, starts, strict=True):
                if count < MAX_STARTS or self._worker.scores.is_finished(job.shard.name):
                    left.append(job)
                    continue
                words = f"its scorer ended {count} times, with the process, on this shard"
                yield self._worker.give_up(job, words).to_json()
            with contextlib.closing(self._worker.run(left, news.tell)) as results:
                for job in left:
                    self._board.begin.remote(job.shard.name)
                    yield next(results).to_json()
            news.send()
        except PairsiftError as error:
            yield {"refused": str(error)}
        except _StoppedError:
            return


class _Messenger:
    """An actor's news on their way to the board, about one message a second."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._statuses: Counter[str] = Counter()
        self._failures: list[str] = []
        self._sent = time.monotonic()

    def tell(self, news: News) -> None:
        self._statuses.update(news.statuses)
        self._failures += news.failures[: FIRST_FAILURES - len(self._failures)]
        if time.monotonic() - self._sent >= _NEWS_EVERY_S:
            self.send()

    def send(self) -> None:
        """
        Raises:
            _StoppedError: nobody waits for this run any more.
        """
        import ray

        told = self._board.tell.remote(self._statuses, self._failures)
        self._statuses, self._failures = Counter(), []
        self._sent = time.monotonic()
        try:
            go_on = ray.get(told, timeout=30)
        except ray.exceptions.RayError:  # the board is out of reach; the tables are what counts
            return
        if not go_on:
            raise _StoppedError


class _Board:
    """An actor that the scorers write news on and the driver reads them from."""

    def __init__(self) -> None:
        self._starts: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._failures: list[str] = []
        self._stopped = False
        self._begun = False

    def begun(self) -> None:
        """A scorer has begun the folder, or found it to be that of its scores."""
        self._begun = True

    def begin(self, name: str) -> None:
        """A scorer begins a shard."""
        self._starts[name] += 1

    def starts(self, names: Sequence[str]) -> list[int]:
        """How often each of these shards was begun."""
        return [self._starts[name] for name in names]

    def tell(self, statuses: Mapping[str, int], failures: Sequence[str]) -> bool:
        """Take in news; returns whether to go on."""
        self._statuses.update(statuses)
        self._failures += failures[: FIRST_FAILURES - len(self._failures)]
        return not self._stopped

    def drain(self) -> tuple[bool, dict[str, int], list[str]]:
        """Whether the folder is begun, and news since the last time."""
        news = self._begun, dict(self._statuses), self._failures
        self._statuses, self._failures = Counter(), []
        return news

    def stop(self) -> None:
        """From now on, whoever tells news hears that it is over."""
        self._stopped = True


def _job_to_json(job: Job) -> str:
    return json.dumps(asdict(job))


def _job_from_json(text: str) -> Job:
    values = json.loads(text)
    shard = values.pop("shard")
    options = tuple((name, value) for name, value in shard.pop("options"))
    return Job(Shard(options=options, **shard), **values)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
