"""What a scorer process and its parent tell each other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from pairsift.engines.base import Job, ShardResult
from pairsift.engines.node_process import Ask, Channel, Failed, Handed, score_handed_jobs
from pairsift.engines.settings import MAX_STARTS, ScorerSpec, WorkerSettings
from pairsift.errors import PairsiftError
from pairsift.scorers.base import Scorer
from pairsift.sources import find_shards


@pytest.fixture
def ends() -> Iterator[tuple[Connection, Channel]]:
    """The parent's end of a pipe, and the channel over the other one."""
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        yield ours, Channel(theirs)


def test_jobs_are_asked_for_one_by_one_and_deadly_ones_given_up(
    ends: tuple[Connection, Channel], pool: Path, tmp_path: Path
) -> None:
    parent, channel = ends
    shards = find_shards(str(pool))
    settings = WorkerSettings(
        ScorerSpec("heuristics"), str(tmp_path / "out"), shards.root, None, 0, "run"
    )
    scorer = settings.scorer.load()
    folder = settings.folder(scorer)
    folder.claim()
    jobs = [Job(shard) for shard in shards.shards]
    for job, deaths in zip(jobs[:3], (0, MAX_STARTS, MAX_STARTS - 1), strict=True):
        parent.send(Handed(job, deaths))
    parent.send(None)
    with settings.worker(scorer, folder) as worker:
        taken = list(channel.jobs(worker))
    assert [job.shard.name for job in taken] == ["00000", "00002"]
    told = [parent.recv() for _ in range(5)]
    assert [type(each) for each in told] == [Ask, Ask, ShardResult, Ask, Ask]
    assert (told[2].name, told[2].outcome) == ("00001", "unreadable")
    assert f"its scorer ended {MAX_STARTS} times" in told[2].problem
    assert not parent.poll()


class _OddError(Exception):
    """Cannot be made again from its arguments, so pickle cannot carry it."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


@dataclass(frozen=True)
class _Broken:
    """Says how to load a scorer; loading fails."""

    options: dict[str, Any] = field(default_factory=dict)

    def load(self) -> Scorer:
        raise _OddError("lost", "device")


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        (ScorerSpec("nosuch"), PairsiftError, "no scorer 'nosuch'"),
        (_Broken(), RuntimeError, "_OddError: lost device"),
    ],
)
def test_an_error_of_the_process_reaches_the_parent(
    tmp_path: Path,
    spec: Any,
    kind: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Signals and the parent's end are a process's own affair.
    monkeypatch.setattr("pairsift.engines.node_process.leave_signals_to_parent", lambda: None)
    ours, theirs = multiprocessing.Pipe()
    score_handed_jobs(WorkerSettings(spec, str(tmp_path), "/pool", None, 0, "run"), theirs)
    found = ours.recv()
    assert isinstance(found, Failed)
    assert type(found.error) is kind
    assert words in str(found.error)
    assert "Traceback" in found.trace
    assert "load" in found.trace
