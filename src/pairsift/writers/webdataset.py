"""New webdataset shards of the kept samples, their bytes as they were.

Which kept rows go into which shard follows from the selection alone, and a shard appears under
its name when it is complete. So a run that was killed is run again: finished shards are passed
over, the rest are written, and all bytes are those of a run that was never stopped.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.image_formats import IMAGE_SUFFIXES
from pairsift.select.record import KeptShard, Selection
from pairsift.sources.base import Shard
from pairsift.storage import Folder
from pairsift.writers.append import Appender
from pairsift.writers.claim import claim
from pairsift.writers.origin import find_source
from pairsift.writers.pairs import member_key, pair_members
from pairsift.writers.rawtar import END, Member, RawTar, member_end, sample_key

SIZES = "sizes.json"
SAMPLES_PER_SHARD = 10_000
# Not worth another thread below this.
_SAMPLES_PER_WORKER = 5_000
# So far ahead of the copying the disk is told what is wanted.
_AHEAD_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class WebdatasetFolder:
    """A written folder of shards.

    Attributes:
        shards: tars in it, 00000000.tar onwards.
        written: of these, the ones this run wrote; the others were there.
        samples: in all shards.
        unannotated: samples whose .json could not take scores, copied as they are.
    """

    path: str
    shards: int
    written: int
    samples: int
    unannotated: int = 0

    @property
    def train_data(self) -> str:
        """What open_clip takes as ``--train-data``."""
        if self.shards == 1:
            return f"{self.path}/{_name(0)}"
        return f"{self.path}/{{{0:08d}..{self.shards - 1:08d}}}.tar"


@dataclass(frozen=True, slots=True)
class Piece:
    """Kept rows `start` to `stop` of one score table."""

    table: int
    start: int
    stop: int


def write_webdataset(
    selection: Selection,
    out: str | os.PathLike[str],
    *,
    samples_per_shard: int = SAMPLES_PER_SHARD,
    scores: Sequence[str] | None = None,
    root: str | None = None,
    workers: int | None = 1,
) -> WebdatasetFolder:
    """Write the kept samples as webdataset shards, ``00000000.tar`` onwards, and ``sizes.json``.

    Members are copied bytes and headers alike; each source tar is read once, forwards. From
    parquet and folder sources, samples become ``.jpg`` (or what the image is), ``.txt`` and
    ``.json``. A shard holds `samples_per_shard` samples, the last one fewer, and one fewer where
    a key would come twice. open_clip and DataComp's tools take the folder as it is.

    Args:
        scores: score columns to add to each sample's ``.json`` (made where there is none).
        root: where the source shards lie now, if they were moved since they were scored.
        workers: threads that write, each a range of the shards; None for as many as there are
            cores and work. The bytes are the same however many there are.

    Raises:
        PairsiftError: the folder holds something else; a source is gone, moved or not the one
            that was scored.
    """
    if samples_per_shard < 1:
        raise PairsiftError(f"--samples-per-shard {samples_per_shard} is not a positive number")
    folder = Folder(out)
    options = {
        "selection": selection.record.digest,
        "samples_per_shard": samples_per_shard,
        "scores": list(scores) if scores else None,
    }
    claim(folder, options)
    plan = plan_shards(selection, samples_per_shard)
    finished = folder.names()
    missing = [index for index in range(len(plan)) if _name(index) not in finished]
    unannotated = _write_all(
        selection, folder.url, plan, missing, tuple(scores or ()), root, workers
    )
    sizes = {
        _name(index): sum(piece.stop - piece.start for piece in pieces)
        for index, pieces in enumerate(plan)
    }
    folder.write(SIZES, (json.dumps(sizes, indent=1) + "\n").encode())
    return WebdatasetFolder(folder.url, len(plan), len(missing), selection.kept, unannotated)


def _name(index: int) -> str:
    return f"{index:08d}.tar"


def plan_shards(selection: Selection, samples_per_shard: int) -> list[list[Piece]]:
    """Deal the kept rows out to shards, in order.

    A key is in a shard once: where source shards reuse keys, a shard ends early.
    """
    plan: list[list[Piece]] = []
    keys: set[str] = set()
    for table, shard in enumerate(selection.shards()):
        start = 0
        if not plan:
            plan.append([])
        names = map(member_key, shard.table(["key"]).column("key").to_pylist())
        for place, key in enumerate(names):
            if len(keys) == samples_per_shard or key in keys:
                if place > start:
                    plan[-1].append(Piece(table, start, place))
                plan.append([])
                keys.clear()
                start = place
            keys.add(key)
        if len(shard.rows) > start:
            plan[-1].append(Piece(table, start, len(shard.rows)))
    return plan


class _StoppedError(Exception):
    """Another thread failed, or the user wants to stop."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A range of the shards to write, and a way to end that early."""

    selection: Selection
    out: str
    shards: dict[int, list[Piece]]
    scores: tuple[str, ...]
    root: str | None
    stop: threading.Event

    def __call__(self) -> int:
        """Write them; returns how many samples could not take scores."""
        folder = Folder(self.out)
        tables = _Tables(self)
        try:
            for index, pieces in self.shards.items():
                with folder.atomic(_name(index)) as file, Appender(file) as target:
                    for piece in pieces:
                        if self.stop.is_set():
                            raise _StoppedError
                        tables.copy(piece, target)
                    target.write(END)
                    target.write(bytes(-target.tell() % tarfile.RECORDSIZE))
        finally:
            tables.close()
        return tables.unannotated


def _write_all(
    selection: Selection,
    out: str,
    plan: list[list[Piece]],
    missing: Sequence[int],
    scores: tuple[str, ...],
    root: str | None,
    workers: int | None,
) -> int:
    sizes = np.array([sum(p.stop - p.start for p in plan[i]) for i in missing], dtype=int)
    if workers is None:
        workers = min(os.cpu_count() or 1, int(sizes.sum()) // _SAMPLES_PER_WORKER)
    workers = max(1, min(workers, len(missing)))
    # Neighbouring shards to one worker, so that next to no source is read by two.
    middles = sizes.cumsum() - sizes / 2
    worker = (middles * workers / max(sizes.sum(), 1)).astype(int)
    parts = [np.array(missing, dtype=int)[worker == number] for number in range(workers)]
    parts = [part for part in parts if len(part)]
    stop = threading.Event()
    jobs = [
        _Job(selection, out, {int(index): plan[index] for index in part}, scores, root, stop)
        for part in parts
    ]
    # Copying is reading and writing, which other threads need not wait for.
    with ThreadPoolExecutor(max(1, len(jobs)), "pairsift-write") as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            return sum(future.result() for future in as_completed(futures))
        except BaseException:
            stop.set()
            raise


class _Tables:
    """Score tables in order, with the source of the current one open."""

    def __init__(self, job: _Job) -> None:
        self.job = job
        self.unannotated = 0
        self._shards = enumerate(job.selection.shards())
        self._index = -1
        self._copier: _TarCopier | _PairCopier | None = None

    def copy(self, piece: Piece, target: Appender) -> None:
        """Copy a piece's samples; pieces come in ascending order."""
        while self._index < piece.table:
            self.close()
            self._index, shard = next(self._shards)
            if self._index == piece.table:
                self._copier = _open(shard, self.job)
        assert self._copier is not None
        self._copier.copy(piece.start, piece.stop, target)

    def close(self) -> None:
        """Close the source."""
        if self._copier is not None:
            self.unannotated += self._copier.unannotated
            self._copier.close()
            self._copier = None


def _open(shard: KeptShard, job: _Job) -> _TarCopier | _PairCopier:
    facts = shard.facts()
    source = find_source(shard, facts, job.selection, job.root)
    table = shard.table(["key", *job.scores])
    keys = table.column("key").to_pylist()
    scores = [
        {name: _plain(value) for name, value in row.items() if value is not None}
        for row in table.select(list(job.scores)).to_pylist()
    ] if job.scores else None  # fmt: skip
    if facts["source_kind"] == "webdataset":
        return _TarCopier(source.url, facts, keys, scores, shard.extents())
    return _PairCopier(source, shard.rows, keys, scores)


def _plain(value: Any) -> Any:
    # The shortest text that reads back as the same float32: 71.3, not 71.30000305175781.
    return float(str(np.float32(value))) if isinstance(value, float) else value


class _TarCopier:
    """Copies kept samples out of one tar."""

    def __init__(
        self,
        url: str,
        facts: Mapping[str, Any],
        keys: list[str],
        scores: list[dict[str, Any]] | None,
        extents: np.ndarray | None,
    ) -> None:
        self.keys = keys
        self.scores = scores
        self.unannotated = 0
        size = facts.get("source_size")
        if size is not None and "://" not in url and os.path.exists(url):
            now = os.path.getsize(url)
            if now != size:
                raise PairsiftError(
                    f"{url} has {now:,} bytes, but had {size:,} when it was scored; score it again"
                )
        self.tar = RawTar(url)
        self.extents = extents
        self._coming = [] if extents is None else _stretches(extents)[::-1]
        if self._coming:
            self.tar.expect_jumps()
        caption = str((facts.get("source_options") or {}).get("caption", "txt")).lstrip(".")
        suffixes = {*IMAGE_SUFFIXES, "json", caption.lower()}
        self._unique = frozenset(suffix.encode() for suffix in suffixes)

    def copy(self, start: int, stop: int, target: Appender) -> None:
        if self.scores is not None:
            for place in range(start, stop):
                self._annotate(self._members(place), self.scores[place], target)
            return
        begin = end = 0
        for place in range(start, stop):
            extent = self._extent(place)
            if extent is not None:
                if extent[0] != end:
                    self.tar.copy(begin, end, target)
                    begin = extent[0]
                end = extent[1]
                continue
            for member in self._members(place):
                if member[1] != end:  # neighbours are copied together
                    self.tar.copy(begin, end, target)
                    begin = member[1]
                end = member_end(member)
        self.tar.copy(begin, end, target)

    def _extent(self, place: int) -> tuple[int, int] | None:
        """Where a kept row's whole sample lies; None if it has to be searched."""
        if self.extents is None:
            return None
        start, end = self.extents[place].tolist()
        while self._coming and self._coming[-1][0] < start + _AHEAD_BYTES:
            self.tar.announce(*self._coming.pop())
        # Long names have headers of their own, which only a search reads.
        if start < 0 or not self.tar.starts_sample(start, self.keys[place]):
            return None
        return start, end

    def _members(self, place: int) -> list[Member]:
        key, extent = self.keys[place], self._extent(place)
        if extent is not None:
            self.tar.seek(extent[0])
        members = self.tar.find(key, self._unique)
        if members is not None:
            return members
        raise PairsiftError(
            f"{self.tar.url} has no sample {key} where it had one when it was scored; "
            "score it again"
        )

    def _annotate(self, sample: list[Member], scores: dict[str, Any], target: Appender) -> None:
        """Copy a sample with scores in its .json, which is added at the end if there is none."""
        done = False
        for member in sample:
            name = member[0].decode("utf-8", "surrogateescape")
            stem = sample_key(name) or ""
            if name[len(stem) :].lower() == ".json" and not done:
                done = True
                content = self._with_scores(member, scores)
                if content is not None:
                    header = self._header(member)
                    header.size = len(content)
                    _add(header, content, target)
                    continue
                self.unannotated += 1
            self.tar.copy(member[1], member_end(member), target)
        if not done:
            header = self._header(sample[0])
            header.name = f"{sample_key(header.name)}.json"
            content = json.dumps(scores).encode()
            header.size = len(content)
            _add(header, content, target)

    def _with_scores(self, member: Member, scores: dict[str, Any]) -> bytes | None:
        _, _, data, size = member
        try:
            content = json.loads(self.tar.read(data, size))
        except ValueError:
            return None
        if not isinstance(content, dict):
            return None
        return json.dumps(content | scores).encode()

    def _header(self, member: Member) -> tarfile.TarInfo:
        """Name, owner and time as in the source."""
        _, start, data, _ = member
        headers = self.tar.read(start, data - start)
        with tarfile.open(fileobj=io.BytesIO(headers), mode="r:") as tar:
            header = tar.next()
        assert isinstance(header, tarfile.TarInfo)
        header.pax_headers = {}
        return header

    def close(self) -> None:
        self.tar.close()


def _stretches(extents: np.ndarray) -> list[tuple[int, int]]:
    """(rows, 2) places of samples, neighbours joined; unknown places (-1) are left out."""
    known = extents[extents[:, 0] >= 0]
    first = np.ones(len(known), dtype=bool)
    first[1:] = known[1:, 0] != known[:-1, 1]
    last = np.roll(first, -1)
    return list(zip(known[first, 0].tolist(), known[last, 1].tolist(), strict=True))


class _PairCopier:
    """Writes kept samples of a source that is not a tar."""

    unannotated = 0  # their .json is made here, and takes anything

    def __init__(
        self,
        source: Shard,
        rows: np.ndarray,
        keys: list[str],
        scores: list[dict[str, Any]] | None,
    ) -> None:
        from pairsift.sources import open_shard

        self.source = source
        self.rows = rows
        self.keys = keys
        self.scores = scores
        self._pairs = enumerate(open_shard(source))

    def copy(self, start: int, stop: int, target: Appender) -> None:
        for place in range(start, stop):
            wanted = int(self.rows[place])
            pair = next((pair for row, pair in self._pairs if row == wanted), None)
            if pair is None or pair.key != self.keys[place]:
                raise PairsiftError(
                    f"{self.source.url} has no sample {self.keys[place]} in row {wanted}, where "
                    "it had one when it was scored; score it again"
                )
            scores = self.scores[place] if self.scores is not None else None
            for name, content in pair_members(pair, scores):
                header = tarfile.TarInfo(name)
                header.size = len(content)
                _add(header, content, target)

    def close(self) -> None:
        close = getattr(self._pairs, "close", None)
        if close is not None:
            close()


def _add(header: tarfile.TarInfo, content: bytes, target: Appender) -> None:
    target.write(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    target.write(content)
    target.write(bytes(-len(content) % tarfile.BLOCKSIZE))
