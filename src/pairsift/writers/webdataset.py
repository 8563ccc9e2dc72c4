"""New webdataset shards of the kept samples, with unchanged bytes.

The selection alone decides which kept rows go into which shard, and a shard gets its name only when
it is complete. So a killed run can be started again: complete shards are skipped, the others are
written, and all bytes are the same as without the interruption.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.pair import Pair
from pairsift.provenance import Provenance
from pairsift.select.record import KeptShard, Selection
from pairsift.sources.member_names import member_key, split_member
from pairsift.sources.several import caption_names
from pairsift.sources.webdataset import Layout
from pairsift.storage import Folder, join
from pairsift.writers.append import Appender
from pairsift.writers.job import at_once
from pairsift.writers.manifest import OutputManifest
from pairsift.writers.pairs import pair_members
from pairsift.writers.rawtar import END, Member, RawTar, member_end

SIZES = "sizes.json"
SAMPLES_PER_SHARD = 10_000
# Fewer samples per thread are not worth another thread.
_SAMPLES_PER_WORKER = 5_000
# How far ahead of the copying the disk is asked to read.
_AHEAD_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class WebdatasetFolder:
    """A written folder of shards.

    Attributes:
        shards: number of tars, 00000000.tar onwards.
        written: how many of them this run wrote; the others existed.
        samples: number of samples in all shards.
        unannotated: samples copied without scores, because their .json is not an object.
    """

    path: str
    shards: int
    written: int
    samples: int
    unannotated: int = 0

    def lines(self) -> list[str]:
        """What was written, for people."""
        if not self.shards:
            return [f"the selection keeps nothing: no shard in {self.path}"]
        return [f"{self.samples:,} samples in {self.train_data}"]

    @property
    def train_data(self) -> str:
        """The value for open_clip's ``--train-data``; empty if there is no shard."""
        if not self.shards:
            return ""
        if self.shards == 1:
            return join(self.path, _name(0))
        return join(self.path, f"{{{0:08d}..{self.shards - 1:08d}}}.tar")


@dataclass(frozen=True, slots=True)
class Piece:
    """Kept rows `start` to `stop` of one score table."""

    table: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class WebdatasetJob:
    """Shards ready to be written; all options are checked."""

    selection: Selection
    manifest: OutputManifest
    samples_per_shard: int
    scores: tuple[str, ...]
    root: str | None
    workers: int | None

    def write(self) -> WebdatasetFolder:
        """Write the shards; see :func:`write_webdataset`."""
        folder, selection = self.manifest.folder, self.selection
        plan = plan_shards(selection, self.samples_per_shard)
        with self.manifest.filling():
            finished = folder.names()
            missing = [index for index in range(len(plan)) if _name(index) not in finished]
            unannotated = _write_all(self, plan, missing)
            sizes = {
                _name(index): sum(piece.stop - piece.start for piece in pieces)
                for index, pieces in enumerate(plan)
            }
            self.manifest.take()
            folder.write(SIZES, (json.dumps(sizes, indent=1) + "\n").encode())
        return WebdatasetFolder(folder.url, len(plan), len(missing), selection.kept, unannotated)


def prepare_webdataset(
    selection: Selection,
    out: str | os.PathLike[str],
    *,
    samples_per_shard: int = SAMPLES_PER_SHARD,
    scores: Sequence[str] | None = None,
    root: str | None = None,
    workers: int | None = 1,
    within: OutputManifest | None = None,
) -> WebdatasetJob:
    """Prepare to write the kept samples as webdataset shards.

    Everything that can be wrong is checked before a source is read, and nothing is written.
    :func:`write_webdataset` prepares and writes ``00000000.tar`` onwards, and ``sizes.json``.

    Members are copied with unchanged bytes and headers; each source tar is read once, forwards.
    Samples of parquet and folder sources become ``.jpg`` (or the image's own format), ``.txt`` and
    ``.json``. A shard holds `samples_per_shard` samples. The last one may hold fewer, and a shard
    ends early before a key that it already has. open_clip and DataComp's tools read the folder as
    it is. If nothing is kept, there is no shard, and ``sizes.json`` is empty.

    A checksum of every sample is compared with that of the scored sample. For score tables older
    than checksums, key and position are compared.

    Args:
        scores: score columns to add to each sample's ``.json`` (created if there is none).
        root: where the source shards are now, if they were moved since scoring.
        workers: threads that write, each a range of the shards; None chooses by the number of cores
            and samples. The bytes do not depend on it.
        within: of the folder that this one is part of.

    Raises:
        PairsiftError: an option is wrong; the folder holds something else; a source is missing, was
            moved, or is not the one that was scored.
    """
    if samples_per_shard < 1:
        raise PairsiftError(f"--samples-per-shard {samples_per_shard} is not a positive number")
    columns = selection.check_columns(scores or (), "--add-scores")
    options = {"samples_per_shard": samples_per_shard, "scores": columns}
    manifest = OutputManifest(Folder(out), selection, columns, options, [SIZES], within)
    return WebdatasetJob(selection, manifest, samples_per_shard, tuple(columns), root, workers)


write_webdataset = at_once(prepare_webdataset)


def _name(index: int) -> str:
    return f"{index:08d}.tar"


def plan_shards(selection: Selection, samples_per_shard: int) -> list[list[Piece]]:
    """Divide the kept rows into shards, in order.

    A shard holds each key only once: where source shards reuse keys, a shard ends early.
    """
    plan: list[list[Piece]] = []
    keys: set[str] = set()
    for table, shard in enumerate(selection.shards()):
        start = 0
        if not plan:
            plan.append([])
        stored = shard.table(["key"]).column("key").to_pylist()
        if len(set(stored)) < len(stored):
            raise PairsiftError(
                f"the selection keeps samples of {shard.shard} more than once, and new shards hold "
                "each once: of several captions select one (--best-caption), and draw a sample by "
                "weight with --repeat-penalty inf"
            )
        for place, key in enumerate(map(member_key, stored)):
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
    """Another thread failed, or the user interrupted the run."""


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of the shards to write, which can be stopped early."""

    job: WebdatasetJob
    shards: dict[int, list[Piece]]
    stop: threading.Event

    def __call__(self) -> int:
        """Write them; return how many samples could not get scores."""
        folder = Folder(self.job.manifest.folder.url)
        tables = _Tables(self.job)
        try:
            for index, pieces in self.shards.items():
                with folder.atomic(_name(index)) as file:
                    with Appender(file) as target:
                        for piece in pieces:
                            if self.stop.is_set():
                                raise _StoppedError
                            tables.copy(piece, target)
                        target.write(END)
                        target.write(bytes(-target.tell() % tarfile.RECORDSIZE))
                    self.job.manifest.take()
        finally:
            tables.close()
        return tables.unannotated


def _write_all(job: WebdatasetJob, plan: list[list[Piece]], missing: Sequence[int]) -> int:
    sizes = np.array([sum(p.stop - p.start for p in plan[i]) for i in missing], dtype=int)
    workers = job.workers
    if workers is None:
        workers = min(os.cpu_count() or 1, int(sizes.sum()) // _SAMPLES_PER_WORKER)
    workers = max(1, min(workers, len(missing)))
    # A worker gets neighbouring shards, so that hardly any source is read by two workers.
    middles = sizes.cumsum() - sizes / 2
    worker = (middles * workers / max(sizes.sum(), 1)).astype(int)
    parts = [np.array(missing, dtype=int)[worker == number] for number in range(workers)]
    parts = [part for part in parts if len(part)]
    stop = threading.Event()
    ranges = [_Range(job, {int(index): plan[index] for index in part}, stop) for part in parts]
    # Copying releases the interpreter's lock, so threads run in parallel.
    with ThreadPoolExecutor(max(1, len(ranges)), "pairsift-write") as pool:
        futures = [pool.submit(each) for each in ranges]
        try:
            return sum(future.result() for future in as_completed(futures))
        except BaseException:
            stop.set()
            raise


class _Tables:
    """Score tables in order, with the source of the current one open."""

    def __init__(self, job: WebdatasetJob) -> None:
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


def _open(shard: KeptShard, job: WebdatasetJob) -> _TarCopier | _PairCopier:
    origin = job.selection.provenance(shard, job.root)
    table = shard.table(["key", *job.scores])
    keys = table.column("key").to_pylist()
    single = {field.name for field in table.schema if pa.types.is_float32(field.type)}
    scores = [
        {name: _plain(value) if name in single else value
         for name, value in row.items() if value is not None}
        for row in table.select(list(job.scores)).to_pylist()
    ] if job.scores else None  # fmt: skip
    several = caption_names(origin.shard.options)  # of which the tar's .txt is only one
    copier = _TarCopier if origin.shard.kind == "webdataset" and not several else _PairCopier
    return copier(origin, shard.rows, keys, scores)


def _plain(value: Any) -> Any:
    # The shortest text of the same float32: 71.3, not 71.30000305175781.
    return float(str(np.float32(value))) if isinstance(value, float) else value


class _TarCopier:
    """Copies kept samples out of one tar and compares each with its checksum."""

    def __init__(
        self,
        origin: Provenance,
        rows: np.ndarray,
        keys: list[str],
        scores: list[dict[str, Any]] | None,
    ) -> None:
        self.origin = origin
        self.keys = keys
        self.scores = scores
        self.unannotated = 0
        self.checks = None if origin.checks is None else origin.checks[rows]
        self.byte_ranges = None if origin.byte_ranges is None else origin.byte_ranges[rows]
        origin.refuse_missing()
        self.tar = RawTar(origin.shard.url)
        origin.refuse_other_size(self.tar.size)
        self._coming = [] if self.byte_ranges is None else _stretches(self.byte_ranges)[::-1]
        if self._coming:
            self.tar.expect_jumps()
        layout = Layout.of(dict(origin.shard.options))
        self._unique = frozenset(
            suffix.encode("utf-8", "surrogateescape") for suffix in layout.suffixes
        )

    def copy(self, start: int, stop: int, target: Appender) -> None:
        for place in range(start, stop):
            extent = self._extent(place)
            if self.scores is not None:
                members = self._members(place, extent)
                check = self._annotate(members, self.scores[place], target)
            elif extent is not None and self.checks is not None:
                check = self.tar.copy(*extent, target)
            else:
                check = 0
                for member in self._members(place, extent):
                    check = self.tar.copy(member[1], member_end(member), target, check)
            if self.checks is not None and check != self.checks[place]:
                raise self.origin.changed(f"sample {self.keys[place]} has other bytes")
        if self.tar.was_written:
            raise self.origin.changed("it was modified while samples were copied from it")

    def _extent(self, place: int) -> tuple[int, int] | None:
        """Return the byte range of a kept row's sample; None if it has to be searched."""
        if self.byte_ranges is None:
            return None
        start, end = self.byte_ranges[place].tolist()
        while self._coming and self._coming[-1][0] < start + _AHEAD_BYTES:
            self.tar.announce(*self._coming.pop())
        return None if start < 0 else (start, end)

    def _members(self, place: int, extent: tuple[int, int] | None) -> list[Member]:
        """Return a kept row's members, at the positions where they were when scored."""
        key = self.keys[place]
        if extent is not None:
            self.tar.seek(extent[0])
        members = self.tar.find(key, self._unique)
        if members is None:
            raise self.origin.changed(f"it no longer has sample {key} at its position")
        if extent is not None and (members[0][1], member_end(members[-1])) != extent:
            raise self.origin.changed(f"sample {key} is at another position")
        return members

    def _annotate(self, sample: list[Member], scores: dict[str, Any], target: Appender) -> int:
        """Copy a sample with scores in its .json, which is added at the end if there is none.

        Returns:
            the CRC-32 of the members as they are in the source.
        """
        done = False
        check = 0
        for member in sample:
            name = member[0].decode("utf-8", "surrogateescape")
            _, suffix = split_member(name) or (name, "")
            if suffix.lower() == "json" and not done:
                done = True
                raw = self.tar.read(member[1], member_end(member) - member[1])
                content = _with_scores(raw[member[2] - member[1] :][: member[3]], scores)
                if content is not None:
                    check = zlib.crc32(raw, check)
                    header = self._header(member)
                    header.size = len(content)
                    _add(header, content, target)
                    continue
                self.unannotated += 1
            check = self.tar.copy(member[1], member_end(member), target, check)
        if not done:
            header = self._header(sample[0])
            key, _ = split_member(header.name) or (header.name, "")
            header.name = f"{key}.json"
            content = json.dumps(scores).encode()
            header.size = len(content)
            _add(header, content, target)
        return check

    def _header(self, member: Member) -> tarfile.TarInfo:
        """Make a header with name, owner and time of the source."""
        _, start, data, _ = member
        headers = self.tar.read(start, data - start)
        with tarfile.open(fileobj=io.BytesIO(headers), mode="r:") as tar:
            header = tar.next()
        assert isinstance(header, tarfile.TarInfo)
        header.pax_headers = {}
        return header

    def close(self) -> None:
        self.tar.close()


def _with_scores(data: bytes, scores: dict[str, Any]) -> bytes | None:
    """Return a .json with scores added; None if it is not an object."""
    try:
        content = json.loads(data)
    except ValueError:
        return None
    return json.dumps(content | scores).encode() if isinstance(content, dict) else None


def _stretches(byte_ranges: np.ndarray) -> list[tuple[int, int]]:
    """Return the byte ranges (rows, 2) of samples, neighbours joined, unknown ones (-1) omitted."""
    known = byte_ranges[byte_ranges[:, 0] >= 0]
    first = np.ones(len(known), dtype=bool)
    first[1:] = known[1:, 0] != known[:-1, 1]
    last = np.roll(first, -1)
    return list(zip(known[first, 0].tolist(), known[last, 1].tolist(), strict=True))


class _PairCopier:
    """Writes kept samples of a source that is not a tar and compares each with its checksum."""

    unannotated = 0  # their .json is made here, so scores can always be added

    def __init__(
        self,
        origin: Provenance,
        rows: np.ndarray,
        keys: list[str],
        scores: list[dict[str, Any]] | None,
    ) -> None:
        self.origin = origin
        self.rows = rows
        self.keys = keys
        self.scores = scores
        self._pairs: Iterator[tuple[int, Pair]] | None = None

    def copy(self, start: int, stop: int, target: Appender) -> None:
        if self._pairs is None:
            pairs = self.origin.rows(self.rows[start:].tolist(), self.keys[start:])
            self._pairs = enumerate(pairs, start)
        for place, pair in self._pairs:
            if place >= start:
                scores = self.scores[place] if self.scores is not None else None
                for name, content in pair_members(pair, scores):
                    header = tarfile.TarInfo(name)
                    header.size = len(content)
                    _add(header, content, target)
            if place == stop - 1:
                return

    def close(self) -> None:
        self._pairs = None


def _add(header: tarfile.TarInfo, content: bytes, target: Appender) -> None:
    target.write(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    target.write(content)
    target.write(bytes(-len(content) % tarfile.BLOCKSIZE))
