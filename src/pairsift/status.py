"""The progress of a score folder, for people, programs and Prometheus.

One listing gives exact numbers of finished, left and unreadable shards, and the times of the
tables. The number of rows by status is in each table's footer. If there are many tables, an even
sample of footers is read and scaled up, unless all are requested.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.printable import one_line
from pairsift.scores import (
    MANIFEST,
    TABLE_SUFFIX,
    UNREADABLE_SUFFIX,
    read_shard_names,
    read_table,
    read_table_facts,
    without_suffix,
)
from pairsift.storage import Folder

SAMPLE = 500
# A run that has finished no shard for this long is considered to have ended.
WINDOW_S = 3600.0
FIRST_FAILURES = 5
_READERS = 16

Facts = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The state of a score folder.

    Attributes:
        shards: number of shards that runs into this folder were given; None if not recorded.
        done, unreadable: shards with a table; shards without one because they could not be read.
        left: shards without a table, including the unreadable ones; None if `shards` is None.
        tables_read: number of tables behind `rows` and `statuses`, which are scaled up if it is
            below `done`.
        rows, statuses: samples in all tables, in total and by status.
        shards_per_hour, rows_per_second: over the last hour's tables; None with fewer than two.
        seconds_left: at that rate; None if unknown.
        last_finished: seconds since 1970; None if there is no table.
        first_failures: some samples without scores, in words.
        first_unreadable: some shards that could not be read, and why.
        first_problems: some shards that have a table but also a problem, and which.
    """

    folder: str
    fingerprint: Mapping[str, str]
    root: str
    shards: int | None
    done: int
    left: int | None
    unreadable: int
    tables_read: int
    rows: int
    statuses: Mapping[str, int]
    shards_per_hour: float | None
    rows_per_second: float | None
    seconds_left: float | None
    last_finished: float | None
    first_failures: Sequence[str] = field(default_factory=tuple)
    first_unreadable: Sequence[str] = field(default_factory=tuple)
    first_problems: Sequence[str] = field(default_factory=tuple)

    @property
    def estimated(self) -> bool:
        """Whether `rows` and `statuses` are scaled up from a sample."""
        return self.tables_read < self.done

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return asdict(self) | {"estimated": self.estimated}


def read_status(folder: str, *, sample: int | None = SAMPLE, now: float | None = None) -> RunStatus:
    """Read the state of a score folder.

    Args:
        sample: the most tables whose footers are read; None for all.
        now: seconds since 1970, for tests.

    Raises:
        PairsiftError: it is not a score folder, or a table in it is damaged.
    """
    place = Folder(folder)
    manifest = _read_manifest(place)
    times = place.times()
    done = sorted(without_suffix(times, TABLE_SUFFIX))
    unreadable = sorted(without_suffix(times, UNREADABLE_SUFFIX) - set(done))
    expected = read_shard_names(place)
    chosen = _evenly(done, sample)
    facts = _read_facts(place, chosen)
    scale = len(done) / len(chosen) if chosen else 1.0
    statuses: Counter[str] = Counter()
    for _, fact in facts:
        statuses.update(fact["statuses"])
    rows = round(sum(fact["rows"] for _, fact in facts) * scale)
    per_hour, last = _rate(
        [times[name + TABLE_SUFFIX] for name in done], time.time() if now is None else now
    )
    left = len(expected - set(done)) if expected else None
    return RunStatus(
        folder=folder,
        fingerprint=manifest["fingerprint"],
        root=manifest["root"],
        shards=len(expected) if expected else None,
        done=len(done),
        left=left,
        unreadable=len(unreadable),
        tables_read=len(chosen),
        rows=rows,
        statuses={status: round(count * scale) for status, count in statuses.most_common()},
        shards_per_hour=per_hour,
        rows_per_second=per_hour and per_hour / 3600 * rows / max(1, len(done)),
        seconds_left=left / per_hour * 3600 if per_hour and left is not None else None,
        last_finished=last,
        first_failures=_first_failures(place, facts),
        first_problems=[
            f"{name}: {fact['source_error']}" for name, fact in facts if fact.get("source_error")
        ][:FIRST_FAILURES],
        first_unreadable=[
            one_line(f"{name}: {_why_unreadable(place, name)}")
            for name in unreadable[:FIRST_FAILURES]
        ],
    )


def _read_manifest(folder: Folder) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(folder.read(MANIFEST))
        manifest["fingerprint"], manifest["root"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        raise PairsiftError(
            f"{folder.url} is not a score folder (no {MANIFEST} in it that can be read); give "
            "the folder that `pairsift score` writes"
        ) from None
    return manifest


def _evenly(names: Sequence[str], count: int | None) -> list[str]:
    """Return at most `count` names, evenly spread, including the first and the last."""
    if count is None or len(names) <= count:
        return list(names)
    step = (len(names) - 1) / (count - 1) if count > 1 else 0.0
    return [names[round(index * step)] for index in range(count)]


def _read_facts(folder: Folder, names: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    with ThreadPoolExecutor(_READERS) as pool:
        read = pool.map(lambda name: read_table_facts(folder, name), names)
        return list(zip(names, read, strict=True))


def _rate(times: Sequence[float], now: float) -> tuple[float | None, float | None]:
    """Return shards per hour over the last hour's tables, and when the last one was finished."""
    known = [moment for moment in times if not math.isnan(moment)]
    if not known:
        return None, None
    recent = [moment for moment in known if moment > now - WINDOW_S]
    last = max(known)
    # The first of them only marks the start, because the time when it was begun is unknown.
    if len(recent) < 2 or (span := now - min(recent)) <= 0:
        return None, last
    return (len(recent) - 1) / span * 3600, last


def _first_failures(folder: Folder, facts: Facts) -> list[str]:
    found: list[str] = []
    for row in _failed_rows(folder, facts, lambda statuses: True):
        found.append(one_line(f"{row['shard']}/{row['key']}: {row['status']} ({row['error']})"))
        if len(found) == FIRST_FAILURES:
            break
    return found


def _failed_rows(
    folder: Folder, facts: Facts, wanted: Callable[[set[str]], bool]
) -> Iterator[dict[str, Any]]:
    """Return rows without scores, from the tables that have the wanted statuses."""
    for name, fact in facts:
        failed = {status for status, n in fact["statuses"].items() if n} - {Status.OK.value}
        if not failed or not wanted(failed):
            continue
        table, _ = read_table(folder, name)
        for row in table.select(["shard", "key", "status", "error"]).to_pylist():
            if row["status"] != Status.OK.value:
                yield row


@dataclass(frozen=True, slots=True)
class Failures:
    """Samples without scores, by status, the most frequent first.

    Attributes:
        counts: number of samples by status, over all tables.
        first: the first samples of each status, as ``shard``, ``key`` and ``error``.
        unreadable: shards that could not be read, and why.
    """

    folder: str
    counts: Mapping[str, int]
    first: Mapping[str, Sequence[Mapping[str, str]]]
    unreadable: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return asdict(self)

    def text(self) -> str:
        """Text for people."""
        if not self.counts and not self.unreadable:
            return f"{self.folder}: every row has scores"
        lines = []
        for name, count in self.counts.items():
            lines.append(f"{count:,} {name}: {Status(name).meaning}")
            rows = self.first[name]
            lines += [one_line(f"  {r['shard']}/{r['key']}: {r['error']}") for r in rows]
            if count > len(rows):
                lines.append(f"  ... and {count - len(rows):,} more")
        if self.unreadable:
            lines.append(f"{len(self.unreadable):,} shards could not be read:")
            lines += [one_line(f"  {name}: {why}") for name, why in self.unreadable.items()]
        return "\n".join(lines)


def read_failures(folder: str, limit: int = 10) -> Failures:
    """List the samples without scores in a score folder, and why.

    Every table's footer is read, but only as many rows as needed.

    Args:
        limit: the most rows listed for each status.

    Raises:
        PairsiftError: it is not a score folder, or a table in it is damaged.
    """
    place = Folder(folder)
    _read_manifest(place)
    names = place.names()
    done = sorted(without_suffix(names, TABLE_SUFFIX))
    unreadable = sorted(without_suffix(names, UNREADABLE_SUFFIX) - set(done))
    facts = _read_facts(place, done)
    counts: Counter[str] = Counter()
    for _, fact in facts:
        counts.update(fact["statuses"])
    del counts[Status.OK.value]
    first: dict[str, list[dict[str, str]]] = {name: [] for name, n in counts.most_common() if n}

    def short_of(statuses: set[str]) -> bool:
        return any(len(first[status]) < limit for status in statuses)

    for row in _failed_rows(place, facts, short_of):
        if len(first[row["status"]]) < limit:
            first[row["status"]].append({name: row[name] for name in ("shard", "key", "error")})
    return Failures(
        folder,
        {name: counts[name] for name in first},
        first,
        {name: _why_unreadable(place, name) for name in unreadable},
    )


def _why_unreadable(folder: Folder, name: str) -> str:
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        return str(json.loads(folder.read(name + UNREADABLE_SUFFIX))["source_error"])
    return "no reason was recorded"


def to_text(status: RunStatus, now: float | None = None) -> str:
    """Format a status for people."""
    now = time.time() if now is None else now
    of_all = f" of {status.shards:,}" if status.shards is not None else ""
    about = "about " if status.estimated else ""
    lines = [f"{status.folder}: {status.done:,}{of_all} shards done"]
    if status.left:
        lines[0] += f", {status.left:,} left"
    if status.unreadable:
        lines[0] += f", {status.unreadable:,} of them unreadable"
    failed = status.rows - status.statuses.get(Status.OK.value, 0)
    lines.append(f"{about}{status.rows:,} rows, {failed:,} without scores")
    lines += [f"  {count:>12,}  {name}" for name, count in status.statuses.items()]
    if status.estimated:
        lines.append(f"  (from {status.tables_read:,} tables; --all reads every one)")
    if status.shards_per_hour and status.rows_per_second:
        lines.append(
            f"{status.shards_per_hour:,.1f} shards an hour, {status.rows_per_second:,.1f} rows a "
            "second over the last hour's tables"
        )
    if status.left == 0:
        lines.append("all shards are done")
    elif status.seconds_left is not None:
        lines.append(f"{duration(status.seconds_left)} to go at this rate")
    elif status.last_finished is not None and status.left:
        ago = duration(max(0.0, now - status.last_finished))
        lines.append(f"no rate, because the last table was finished {ago} ago")
    lines.append(f"shards below {status.root}")
    lines += [f"  {name}: {value}" for name, value in sorted(status.fingerprint.items())]
    if status.first_failures:
        lines.append("first failures (--failures lists them by reason):")
        lines += [f"  {words}" for words in status.first_failures]
    if status.first_problems:
        lines.append("shards with problems:")
        lines += [f"  {words}" for words in status.first_problems]
    if status.first_unreadable:
        lines.append("unreadable shards:")
        lines += [f"  {words}" for words in status.first_unreadable]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Format a time span in a suitable unit."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def to_prometheus(status: RunStatus) -> str:
    """Format for Prometheus, for example for the text-file collector of its node exporter."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()

    def gauge(
        name: str, what: str, value: float | None, labels: Mapping[str, str] | None = None
    ) -> None:
        if value is not None:
            values = {**(labels or {}), "folder": status.folder}
            Gauge(f"pairsift_{name}", what, values, registry=registry).labels(**values).set(value)

    gauge("shards", "Shards to score, as given to all runs into the folder.", status.shards)
    gauge("shards_done", "Shards that have a score table.", status.done)
    gauge("shards_left", "Shards that have no score table yet.", status.left)
    gauge("shards_unreadable", "Shards that could not be read.", status.unreadable)
    rows = Gauge(
        "pairsift_rows",
        "Rows of all tables by status; estimated if pairsift_tables_read is below shards_done.",
        ["folder", "status"],
        registry=registry,
    )
    for each in Status:
        rows.labels(status.folder, each.value).set(status.statuses.get(each.value, 0))
    gauge("tables_read", "Tables whose footer was read.", status.tables_read)
    gauge("shards_per_hour", "Shards per hour over the last hour's tables.", status.shards_per_hour)
    gauge("rows_per_second", "Rows per second over the last hour's tables.", status.rows_per_second)
    gauge("seconds_left", "Seconds until all shards are done.", status.seconds_left)
    gauge(
        "last_finished_timestamp_seconds",
        "Time when the last table was finished.",
        status.last_finished,
    )
    fingerprint = {
        re.sub(r"\W", "_", name, flags=re.A): v for name, v in status.fingerprint.items()
    }
    gauge("info", "Name and version of the scorer.", 1.0, fingerprint)
    return generate_latest(registry).decode().rstrip("\n")
