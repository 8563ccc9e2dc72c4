"""Plan a run: its part of the shards, without those that are finished."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pairsift.engines.base import Job, part_of
from pairsift.engines.changed import READERS, find_changed, refuse_gone
from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.scores import ScoreFolder, read_table_facts
from pairsift.sources import ShardSet

_NAMED = 3


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
    rescore_changed: bool = False,
) -> Plan:
    """List the jobs of a run. Nothing is written if the run does not fit the folder.

    Args:
        retry_failed: also score failed rows again whose status may change.
        rescore_changed: score changed shards again.

    Raises:
        PairsiftError: `part` is out of range; shards have changed since they were scored; tables
            were made from other captions or images of the shards, or from fragments that a Lance
            dataset has no more.
    """
    mine = part_of(shard_set.shards, part)
    listing = scores.listing()
    refuse_gone(scores, shard_set.shards, listing.finished)
    finished = [shard for shard in mine if shard.name in listing.finished]
    changed = find_changed(scores, finished)
    if changed and not rescore_changed:
        raise PairsiftError(_told(changed, scores))
    again: set[str] = set()
    if retry_failed:
        again = _with_retryable_rows(
            scores, [shard.name for shard in finished if shard.name not in changed]
        )
    jobs = tuple(
        Job(
            shard,
            retry=shard.name in again,
            rescore=shard.name in changed,
            noted=shard.name in listing.unreadable,
        )
        for shard in mine
        if shard.name not in listing.finished or shard.name in again or shard.name in changed
    )
    return Plan(jobs, len(mine))


def _told(changed: dict[str, str], scores: ScoreFolder) -> str:
    named = "; ".join(f"{name}: {how}" for name, how in list(changed.items())[:_NAMED])
    more = "; ..." if len(changed) > _NAMED else ""
    count = "1 shard has" if len(changed) == 1 else f"{len(changed)} shards have"
    return (
        f"{count} changed since being scored into {scores.folder.url} ({named}{more}). Score "
        "them again with --rescore changed, or choose another --out"
    )


def _with_retryable_rows(scores: ScoreFolder, names: list[str]) -> set[str]:
    def has_some(name: str) -> bool:
        statuses = read_table_facts(scores.folder, name)["statuses"]
        return any(Status(status).retryable and count for status, count in statuses.items())

    with ThreadPoolExecutor(READERS) as pool:
        return {name for name, found in zip(names, pool.map(has_some, names), strict=True) if found}
