"""What a run has to do: its part of the shards, less what is finished."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pairsift.engines.base import Job, part_of
from pairsift.pair import Status
from pairsift.scores import ScoreFolder, read_table_facts
from pairsift.sources import ShardSet

# Reading the end of a file is waiting, above all behind a network.
_READERS = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs in order; `shards` in this run's part, `skipped` of them with nothing to do."""

    jobs: tuple[Job, ...]
    shards: int

    @property
    def skipped(self) -> int:
        return self.shards - len(self.jobs)


def plan_run(
    shard_set: ShardSet,
    scores: ScoreFolder,
    part: tuple[int, int] | None = None,
    retry_failed: bool = False,
) -> Plan:
    """List a run's jobs, and write down in the score folder which shards there are.

    Args:
        retry_failed: look into every finished table for rows that may fare better now.

    Raises:
        PairsiftError: `part` names no part.
    """
    mine = part_of(shard_set.shards, part)
    listing = scores.listing()
    finished = listing.finished
    scores.expect(shard.name for shard in shard_set.shards)
    again: set[str] = set()
    if retry_failed:
        again = _with_retryable_rows(scores, sorted(finished & {shard.name for shard in mine}))
    jobs = tuple(
        Job(shard, retry=shard.name in again, noted=shard.name in listing.unreadable)
        for shard in mine
        if shard.name not in finished or shard.name in again
    )
    return Plan(jobs, len(mine))


def _with_retryable_rows(scores: ScoreFolder, names: list[str]) -> set[str]:
    def has_some(name: str) -> bool:
        statuses = read_table_facts(scores.folder, name)["statuses"]
        return any(Status(status).retryable and count for status, count in statuses.items())

    with ThreadPoolExecutor(_READERS) as pool:
        return {name for name, found in zip(names, pool.map(has_some, names), strict=True) if found}
