"""The code of a scorer process of the node engine, and what it tells its parent.

A process asks for a job when it has read the shard of its last one, so that reading is ahead of
scoring also across shards.
"""

from __future__ import annotations

import logging
import pickle
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any

from pairsift.engines.base import Job
from pairsift.engines.pool import leave_signals_to_parent
from pairsift.engines.settings import MAX_STARTS, WorkerSettings, deadly
from pairsift.engines.worker import ShardWorker

# What readers tell about their inputs; the command line shows it.
_INPUTS = logging.getLogger("pairsift.inputs")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The scorer is loaded; it waits until the parent has begun the score folder."""

    fingerprint: dict[str, str]


@dataclass(frozen=True, slots=True)
class Ask:
    """The process can take a job."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The process ends with an error; `trace` says where it was raised."""

    error: BaseException
    trace: str


@dataclass(frozen=True, slots=True)
class Handed:
    """A job, the answer to :class:`Ask`, and how often a process died that had it."""

    job: Job
    deaths: int


class Channel:
    """The connection to the parent; two threads send, one receives."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, item: Any) -> None:
        """Send a result, a status update or one of this module's messages."""
        with self._lock:
            self._connection.send(item)

    put_nowait = send  # so that a QueueHandler can send log records

    def receive(self) -> Any:
        """Return what the parent sends next: leave to begin, or the answer to :class:`Ask`."""
        return self._connection.recv()

    def jobs(self, worker: ShardWorker) -> Iterator[Job]:
        """Yield jobs as the parent hands them out, without those that kill every process."""
        while True:
            self.send(Ask())
            if (next_one := self.receive()) is None:
                return
            job, deaths = next_one.job, next_one.deaths
            if deaths < MAX_STARTS or worker.scores.is_finished(job.shard.name):
                yield job
            else:
                self.send(worker.give_up(job, deadly(deaths)))


def score_handed_jobs(settings: WorkerSettings, connection: Connection) -> None:
    """Load the scorer and score shards until the parent has no more; the target of a process."""
    leave_signals_to_parent()
    channel = Channel(connection)
    _INPUTS.addHandler(QueueHandler(channel))  # type: ignore[arg-type]
    _INPUTS.setLevel(logging.INFO)
    try:
        scorer = settings.scorer.load()
        channel.send(Loaded(dict(scorer.fingerprint)))
        channel.receive()
        with settings.worker(scorer, settings.folder(scorer)) as worker:
            for result in worker.run(channel.jobs(worker), channel.send):
                channel.send(result)
    except BaseException as error:
        channel.send(_failed(error))


def _failed(error: BaseException) -> Failed:
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an error of a library, with arguments of its own
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Failed(error, trace)
