"""Score shards with one scorer; used by all engines."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairsift import __version__
from pairsift.byte_ranges import decode_checks
from pairsift.engines.base import Job, Outcome, ShardResult, StatusUpdate
from pairsift.engines.prefetch import Prefetcher, PreparedShard
from pairsift.engines.reading import PatientReader, Reader, SelectedRows, UnreadableShardError
from pairsift.pair import Status
from pairsift.retry import Backoff
from pairsift.scorers.base import Prepared, Scorer
from pairsift.scorers.batches import score_prepared
from pairsift.scores import ScoreFolder, read_table_facts

Tell = Callable[[StatusUpdate], None]

_RETRYABLE = pa.array([status.value for status in Status if status.retryable])


class ShardWorker:
    """A scorer, its worker processes and the folder for its tables.

    Args:
        batch_size: number of pairs in one forward pass; None for the scorer's default.
        workers: number of processes that preprocess; 0 preprocesses in a thread.
        run_id: identifies the tables of this run; all workers of a run share it.
    """

    def __init__(
        self,
        scorer: Scorer,
        scores: ScoreFolder,
        batch_size: int | None,
        workers: int,
        run_id: str,
    ) -> None:
        self.scorer = scorer
        self.scores = scores
        self.run_id = run_id
        self.batch_size = batch_size or scorer.batch_size
        self._prefetcher = Prefetcher(scorer.preparer, workers)
        self._reader: PatientReader | None = None  # the last shard
        self._storage_works = False

    def __enter__(self) -> ShardWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        self._prefetcher.__exit__(None, None, None)

    def run(self, jobs: Iterable[Job], tell: Tell) -> Generator[ShardResult, None, None]:
        """Do the jobs in order and yield a result for each. Reading is ahead of scoring.

        Args:
            jobs: the next one is asked for, in another thread, when the last one is read.
            tell: called with rows whose status is final; may raise to stop the run.

        Raises:
            PairsiftError: a table cannot be committed.
        """
        with contextlib.closing(self._prefetcher.jobs(jobs, self._open)) as streams:
            for job, rows in streams:
                begin = time.perf_counter()
                try:
                    yield self._do(job, rows, tell, begin)
                except UnreadableShardError as error:
                    yield self.give_up(job, str(error), time.perf_counter() - begin)

    def give_up(self, job: Job, why: str, seconds: float = 0.0) -> ShardResult:
        """Record that a shard is unreadable and has no table."""
        result = ShardResult(job.shard.name, "unreadable", seconds=seconds, problem=why)
        if not (job.retry or job.rescore):
            self.scores.record_unreadable(job.shard.name, self._facts(job, result))
        return result

    def _open(self, job: Job, wait: Callable[[float], object]) -> Reader | None:
        reader = self._reader = PatientReader(job.shard, wait, self._patience())
        if job.retry:
            table, _ = self.scores.read(job.shard.name)
            return SelectedRows(
                reader, _retryable_rows(table), decode_checks(table.schema.metadata)
            )
        if job.rescore:
            return reader
        return None if self.scores.is_finished(job.shard.name) else reader

    def _patience(self) -> Backoff | None:
        """Return how often to try: once, if no sample was ever read and the last shard failed.

        Otherwise a run would wait for an unreachable storage at every shard.
        """
        if self._reader is not None:
            self._storage_works |= self._reader.has_read
            if self._reader.gave_up and not self._storage_works:
                return Backoff(attempts=1)
        return None

    def _do(self, job: Job, rows: PreparedShard, tell: Tell, begin: float) -> ShardResult:
        if rows.reader is None:
            return self._found_finished(job)

        def watch(prepared: Sequence[Prepared]) -> None:
            tell(StatusUpdate.of(prepared))

        misfits: Counter[str] = Counter()
        table = score_prepared(self.scorer, _counted(rows, misfits), self.batch_size, watch)
        statuses = count_statuses(table)
        outcome: Outcome = "scored"
        count = table.num_rows
        extra: dict[str, Any] = {}
        if isinstance(rows.reader, SelectedRows):
            outcome = "retried"
            old, extra = self.scores.read(job.shard.name)
            table = _replace_rows(old.select(table.schema.names), table, rows.reader.rows)
        result = ShardResult(
            job.shard.name,
            outcome,
            count,
            statuses,
            time.perf_counter() - begin,
            "; ".join(filter(None, (rows.problem, describe_misfits(misfits)))) or None,
        )
        facts = self._facts(replace(job, shard=rows.reader.shard), result) | {
            "rows": table.num_rows,
            "statuses": count_statuses(table),
        }
        if outcome == "retried":
            facts |= {"seconds": extra.get("seconds"), "retried_rows": count}
        self.scores.commit(
            job.shard.name, table, facts, rows.reader.byte_ranges, rows.reader.checks
        )
        if job.noted:
            self.scores.forget_unreadable(job.shard.name)
        return result

    def _found_finished(self, job: Job) -> ShardResult:
        """The result, if a worker of this run committed the table but died before it reported."""
        facts = read_table_facts(self.scores.folder, job.shard.name)
        if facts.get("run") != self.run_id:
            return ShardResult(job.shard.name, "finished")
        return ShardResult(
            job.shard.name,
            "scored",
            facts["rows"],
            facts["statuses"],
            facts["seconds"],
            facts["source_error"],
        )

    def _facts(self, job: Job, result: ShardResult) -> dict[str, Any]:
        return {
            "source": job.shard.url,
            "source_kind": job.shard.kind,
            "source_root": self.scores.root,
            "source_size": job.shard.size,
            "source_version": job.shard.version,
            "source_options": dict(job.shard.options),
            "source_error": result.problem,
            "rows": result.rows,
            "statuses": dict(result.statuses),
            "seconds": round(result.seconds, 3),
            "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "run": self.run_id,
            "scope": self.scorer.scope.to_json() if self.scorer.scope else None,
            "pairsift_version": __version__,
        }


def _counted(rows: Iterable[Prepared], misfits: Counter[str]) -> Iterator[Prepared]:
    for row in rows:
        misfits.update(row.misfits)
        yield row


def describe_misfits(misfits: Mapping[str, int]) -> str:
    """Say of how many rows the value of a column is lost; empty if of none."""
    if not misfits:
        return ""
    told = ", ".join(f"{name} of {count:,} rows" for name, count in sorted(misfits.items()))
    return (
        f"values of another type, or too long, are null: {told}; as {min(misfits)}:text, into "
        "another --out, all that are not too long are kept"
    )


def _retryable_rows(table: pa.Table) -> dict[int, str]:
    """Positions and keys of the rows that may succeed in a retry."""
    statuses = table["status"].cast(pa.string())
    places = pc.indices_nonzero(pc.is_in(statuses, value_set=_RETRYABLE))
    return dict(zip(places.to_pylist(), table["key"].take(places).to_pylist(), strict=True))


def _replace_rows(old: pa.Table, new: pa.Table, places: Mapping[int, str]) -> pa.Table:
    """Replace the rows at these positions of the old table by those of the new one."""
    order = list(range(old.num_rows))
    for row, place in enumerate(sorted(places)):
        order[place] = old.num_rows + row
    # Arrow before 20 reads a dictionary's indices as int32, whatever they were written as.
    tables = [old.replace_schema_metadata(None), new.replace_schema_metadata(None)]
    both = pa.concat_tables([table.cast(tables[1].schema) for table in tables])
    return both.unify_dictionaries().take(pa.array(order, pa.int64())).combine_chunks()


def count_statuses(table: pa.Table) -> dict[str, int]:
    """Count rows by status."""
    counts = table["status"].value_counts().to_pylist()
    return dict(Counter({entry["values"]: entry["counts"] for entry in counts}))
