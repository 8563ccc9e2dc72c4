"""The code that runs on a Ray cluster: actors that score, and the board to which they report."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pairsift.engines.base import FIRST_FAILURES, Job, StatusUpdate
from pairsift.engines.settings import MAX_STARTS, WorkerSettings, deadly
from pairsift.errors import PairsiftError
from pairsift.sources import Shard

UPDATE_EVERY_S = 1.0


def claim_folder(settings: WorkerSettings) -> str | None:
    try:
        settings.folder(settings.scorer.load()).claim()
    except PairsiftError as error:
        return str(error)
    return None


class _StoppedError(Exception):
    """The driver has stopped the run."""


class ShardActor:
    """One scorer of the pool; its model is loaded once. Ray Data calls it with names of shards."""

    def __init__(self, settings: WorkerSettings, board: Any) -> None:
        # An error raised here would become a Ray error; report it with the first job instead.
        self._refused: str | None = None
        self._board = board
        try:
            scorer = settings.scorer.load()
            scores = settings.folder(scorer)
            scores.claim()
            board.begun.remote()
            self._worker = settings.worker(scorer, scores)
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

        messenger = _Messenger(self._board)
        starts = ray.get(self._board.starts.remote([job.shard.name for job in jobs]))
        left = []
        try:
            for job, count in zip(jobs, starts, strict=True):
                if count < MAX_STARTS or self._worker.scores.is_finished(job.shard.name):
                    left.append(job)
                    continue
                yield self._worker.give_up(job, deadly(count)).to_json()
            with contextlib.closing(self._worker.run(left, messenger.tell)) as results:
                for job in left:
                    self._board.begin.remote(job.shard.name)
                    yield next(results).to_json()
            messenger.send()
        except PairsiftError as error:
            yield {"refused": str(error)}
        except _StoppedError:
            return


class _Messenger:
    """Sends the progress of an actor to the board, about once a second."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._statuses: Counter[str] = Counter()
        self._failures: list[str] = []
        self._sent = time.monotonic()

    def tell(self, update: StatusUpdate) -> None:
        self._statuses.update(update.statuses)
        self._failures += update.failures[: FIRST_FAILURES - len(self._failures)]
        if time.monotonic() - self._sent >= UPDATE_EVERY_S:
            self.send()

    def send(self) -> None:
        """Send the collected progress.

        Raises:
            _StoppedError: the driver has stopped the run.
        """
        import ray

        told = self._board.tell.remote(self._statuses, self._failures)
        self._statuses, self._failures = Counter(), []
        self._sent = time.monotonic()
        try:
            go_on = ray.get(told, timeout=30)
        except (
            ray.exceptions.RayError
        ):  # the board cannot be reached; the tables are committed anyway
            return
        if not go_on:
            raise _StoppedError


class Board:
    """An actor that collects the progress of all scorers for the driver."""

    def __init__(self) -> None:
        self._starts: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._failures: list[str] = []
        self._stopped = False
        self._begun = False

    def begun(self) -> None:
        """Record that a scorer has created or checked the score folder."""
        self._begun = True

    def begin(self, name: str) -> None:
        """Record that a scorer starts a shard."""
        self._starts[name] += 1

    def starts(self, names: Sequence[str]) -> list[int]:
        """Return how often each of these shards was started."""
        return [self._starts[name] for name in names]

    def tell(self, statuses: Mapping[str, int], failures: Sequence[str]) -> bool:
        """Add progress; return whether to continue."""
        self._statuses.update(statuses)
        self._failures += failures[: FIRST_FAILURES - len(self._failures)]
        return not self._stopped

    def drain(self) -> tuple[bool, dict[str, int], list[str]]:
        """Return whether the folder is ready, and the progress since the last call."""
        progress = self._begun, dict(self._statuses), self._failures
        self._statuses, self._failures = Counter(), []
        return progress

    def stop(self) -> None:
        """Make :meth:`tell` return False from now on."""
        self._stopped = True


def job_to_json(job: Job) -> str:
    return json.dumps(asdict(job))


def _job_from_json(text: str) -> Job:
    values = json.loads(text)
    shard = values.pop("shard")
    options = tuple((name, value) for name, value in shard.pop("options"))
    return Job(Shard(options=options, **shard), **values)
