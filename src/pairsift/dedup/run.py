"""Find the groups of copies in score tables, and the rows near an evaluation set.

1. distinct perceptual hashes of the rows
2. pairs of these within the distance, one join of the index at a time (:mod:`pairsift.dedup.near`)
3. connected components of the pairs (:mod:`pairsift.dedup.components`)
4. rows whose component has at least two, by name

Finished parts of 1 and 2 are kept in the output folder until the end, so that a killed run can be
resumed. The result depends neither on the order of files nor on threads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import pairsift
from pairsift.dedup.components import STARS, connect
from pairsift.dedup.lists import read_hashes
from pairsift.dedup.near import MAX_DISTANCE, Index
from pairsift.dedup.rows import HASHED, number, open_hashed
from pairsift.dedup.stages import Stages, materialise
from pairsift.errors import PairsiftError
from pairsift.expressions.database import arrow_reader, open_database, run_sql
from pairsift.hashing import PHASH, SHA, VERSION
from pairsift.progress import Listener, NullListener
from pairsift.scores import MANIFEST
from pairsift.select.groups import (
    GROUPS,
    GROUPS_FILE,
    MARKS,
    RECORD_KEY,
    check_groups_output,
    made_of,
)
from pairsift.select.tables import ScoreTables
from pairsift.storage import Folder

DISTANCE = 4
"""Bits by which copies in a pool may differ, if the caller gives no number."""
AGAINST_DISTANCE = 8
"""The same for images of an evaluation set: one that is missed costs more than one too many."""

KINDS = ("image", "caption", "both", "none")
_STEP = 1 << 17


@dataclass(frozen=True, slots=True)
class DedupSummary:
    """What was found.

    Attributes:
        path: folder of ``groups.parquet`` and ``marks.parquet``.
        rows: rows of the score tables that are ok.
        on: what copies have in common.
        groups, grouped: number of groups, and of rows in them.
        largest: number of rows of the largest group.
        repeated: rows in groups except the first of each, which `select --per-group 1` leaves out.
        same_bytes: how many of these have an identical file in their group.
        pairs: pairs of different perceptual hashes within the distance.
        marked: rows near an image of an evaluation set.
        sets: for each set: its images, how many were found in the pool, rows marked for it, and
            how many images have no perceptual hash.
    """

    path: str
    rows: int
    on: str = "image"
    groups: int = 0
    grouped: int = 0
    largest: int = 0
    repeated: int = 0
    same_bytes: int = 0
    pairs: int = 0
    marked: int = 0
    sets: tuple[dict[str, Any], ...] = ()

    def lines(self) -> list[str]:
        """What was found, for people."""
        lines = [
            f"{self.grouped:,} of {self.rows:,} rows are in {self.groups:,} groups of copies, the "
            f"largest of {self.largest:,}; {self.repeated:,} rows are copies of others, "
            f"{self.same_bytes:,} of them byte for byte"
        ]
        return lines * bool(self.on != "none") + [
            f"{found['set']}: {found['found']:,} of {found['images']:,} images are in the pool, "
            f"{found['rows']:,} rows are nearest to one of them"
            + (
                f"; {found['without_phash']:,} of the images, of one colour or not readable, are "
                "found only as the very same file"
            )
            * bool(found["without_phash"])
            for found in self.sets
        ]


def dedup(
    scores: str | Sequence[str],
    out: str | os.PathLike[str],
    *,
    on: str = "image",
    distance: int | None = None,
    exact: bool = False,
    against: Sequence[str] = (),
    memory_limit: str = "2GB",
    threads: int | None = None,
    listener: Listener | None = None,
) -> DedupSummary:
    """Find groups of copies, and rows near the images of evaluation sets.

    Two rows are in the same group if a chain of copies connects them. Images are copies if
    their perceptual hashes differ in at most `distance` bits: all such pairs are found. An image of
    nearly one colour has no perceptual hash; only an identical file is its copy.

    Args:
        scores: one score folder or several, scored with ``--hashes`` or by the scorer ``hashes``.
        out: folder for ``groups.parquet`` (shard, key, uid, group, size), and with `against` for
            ``marks.parquet`` (shard, key, uid, set, name, distance).
        on: what copies have in common: ``image``; ``caption`` (except case, punctuation and
            spaces); ``both``: the same caption, and images of the same group; or ``none``, for
            `against` alone.
        distance: bits, 0 to 12; None for 4, and for 8 with `against`. Distances are even.
        exact: images are copies only if their files are the same, byte for byte.
        against: evaluation sets: hash lists that `pairsift hashes` wrote, or folders, tars or
            parquet files of images.
        memory_limit: memory for the query; larger data goes to a temporary folder.
        threads: None for one per core.
        listener: receives the progress; None for nobody.

    Returns:
        what was found.

    Raises:
        PairsiftError: the scores have no hashes; an option has an invalid value; `out` is a score
            folder, or has the groups of `pairsift semantic-duplicates`.

    Examples:
        >>> from pairsift import load_scorer
        >>> from pairsift.engines.local import score_shards
        >>> from pairsift.sources import find_shards
        >>> _ = score_shards(find_shards("pool"), load_scorer("hashes"), "hashes", workers=0)
        >>> dedup("hashes", "copies").groups
        0
    """
    check_dedup(on, distance, against)
    near = 0 if exact else DISTANCE if distance is None else distance
    folder = Folder(out)
    if folder.exists(MANIFEST):
        raise PairsiftError(f"{folder.url} is a folder of scores; choose another --out")
    check_groups_output(folder, on)
    folder.check_output(MARKS, GROUPS_FILE)
    sets = [read_hashes(place) for place in against]
    with open_database(memory_limit, threads) as connection:
        run_sql(connection, "SET preserve_insertion_order = false")
        tables = open_hashed(connection, scores, on)
        identity = {
            "inputs": sorted(
                f"{tables.folders[table.folder]} {table.shard} {table.identity}"
                for table in tables.tables
            ),
            "hashes": VERSION,
            "distance": near,
            "version": pairsift.__version__,
        }
        run = _Run(connection, tables, Stages(folder, identity), folder, listener)
        record = {
            "on": on, "distance": near, "exact": exact, "scores": list(tables.folders),
            "tables": made_of(tables),
        }  # fmt: skip
        summary: dict[str, Any] = {"path": folder.url, "rows": run.count_rows(), "on": on}
        if on != "none":
            summary |= run.find_groups(on, near, exact, record)
        if sets:
            wide = 0 if exact else AGAINST_DISTANCE if distance is None else distance
            asked = record | {"distance": wide, "against": list(against)}
            summary |= run.find_marks(pa.concat_tables(sets), wide, asked)
        run.stages.clear()
        return DedupSummary(**summary)


def check_dedup(on: str, distance: int | None, against: Sequence[str]) -> None:
    """Check the arguments of :func:`dedup` before the score tables exist.

    Raises:
        PairsiftError: as :func:`dedup` would.
    """
    if on not in KINDS:
        raise PairsiftError(f"--on {on!r}: choose {', '.join(KINDS)}")
    if on == "none" and not against:
        raise PairsiftError("--on none finds nothing; give --against as well, or another --on")
    if distance is not None and not 0 <= distance <= MAX_DISTANCE:
        raise PairsiftError(
            f"--distance {distance}: give a number of bits from 0 to {MAX_DISTANCE}"
        )


class _Run:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        tables: ScoreTables,
        stages: Stages,
        folder: Folder,
        listener: Listener | None,
    ) -> None:
        self.connection = connection
        self.tables = tables
        self.stages = stages
        self.folder = folder
        self.listener = listener or NullListener()

    def count_rows(self) -> int:
        return int(self._one("SELECT count(*) FROM scored WHERE status = 'ok'")[0])

    def find_groups(
        self, on: str, distance: int, exact: bool, record: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the groups, and count them."""
        pairs = 0
        if on != "caption" and not exact:
            pairs = self._connect(distance)
        image = ["sha_high", "sha_low"] if exact else ["image_high", "image_low"]
        caption = ["caption_high", "caption_low"]
        names = {"image": image, "caption": caption, "both": image + caption}[on]
        self.listener.progress("grouping the rows", 0, 1)
        relation = HASHED if exact or on == "caption" else self._with_component()
        labels = ", ".join(names)
        # Integers instead of strings, because all rows are grouped.
        materialise(
            self.connection,
            "sizes",
            f"SELECT {labels}, count(*) AS size FROM {relation} GROUP BY ALL HAVING count(*) > 1",
        )
        grouped = materialise(
            self.connection,
            "grouped",
            f"SELECT pos, {_name_sql(names)} AS name, size, sha_high, sha_low "
            f"FROM {relation} JOIN sizes USING ({labels})",
        )
        groups, largest = self._one("SELECT count(*), max(size) FROM sizes")
        files = self._one(
            "SELECT count(*) FROM (SELECT DISTINCT name, sha_high, sha_low FROM grouped)"
        )[0]
        found = {
            "groups": int(groups),
            "grouped": grouped,
            "largest": int(largest or 0),
            "repeated": grouped - int(groups),
            "same_bytes": grouped - int(files),
            "pairs": pairs,
        }
        self._write(
            GROUPS,
            'SELECT shard, key, uid, grouped.name AS "group", grouped.size '
            "FROM scored JOIN grouped USING (pos) ORDER BY pos",
            record | found,
        )
        self.listener.progress("grouping the rows", 1, 1)
        return found

    def _distinct(self) -> str:
        """Return the distinct perceptual hashes, as a relation with the column ``h``."""
        if not self.stages.has("hashes"):
            self.listener.progress("reading hashes", 0, 1)
            self.stages.keep(
                self.connection,
                "hashes",
                f"SELECT DISTINCT phash AS h FROM {HASHED} WHERE phash IS NOT NULL",
            )
        return self.stages.relation(self.connection, "hashes")

    def _connect(self, distance: int) -> int:
        """Find near pairs and their components; return the number of pairs."""
        hashes = materialise(self.connection, "hashes", f"FROM {self._distinct()}")
        index = Index.plan(hashes, hashes, distance)
        joins = list(index.joins("hashes", "hashes", self_join=True))
        if distance == 0:
            joins = []
        names = [f"pairs-{index.agreeing}-{place:04}" for place in range(len(joins))]
        for place, (name, sql) in enumerate(zip(names, joins, strict=True)):
            self.listener.progress("comparing hashes", place, len(joins))
            if not self.stages.has(name):
                self.stages.keep(self.connection, name, sql)
        self.listener.progress("connecting copies", 0, 1)
        none = "(SELECT NULL::UBIGINT AS a, NULL::UBIGINT AS b WHERE false)"
        pairs = self.stages.relation(self.connection, *names) if names else none
        run_sql(self.connection, "DROP TABLE hashes")
        connect(self.connection, pairs)
        return int(self._one(f"SELECT count(*) FROM {pairs}")[0])

    def _with_component(self) -> str:
        """Return rows with their image's component, or with their file's if there is no phash."""
        return (
            "(SELECT * REPLACE (coalesce(image_low, sha_low) AS image_low) FROM "
            f"(SELECT * EXCLUDE (a, b), CASE WHEN phash IS NULL THEN sha_high ELSE 0 END "
            f"AS image_high, coalesce(b, phash) AS image_low FROM {HASHED} "
            f"LEFT JOIN {STARS} ON phash = a))"
        )

    def find_marks(self, images: pa.Table, distance: int, record: dict[str, Any]) -> dict[str, Any]:
        """Write which rows are near which image of a set, and count them."""
        self.connection.register("listed", images)
        materialise(
            self.connection,
            "images",
            f"SELECT set, name, {number(PHASH)} AS phash, {number(SHA)} AS sha_high, "
            f"{number(SHA, 17)} AS sha_low FROM listed",
        )
        self.connection.unregister("listed")
        wanted = materialise(
            self.connection,
            "wanted",
            "SELECT DISTINCT phash AS h FROM images WHERE phash IS NOT NULL",
        )
        hashes = materialise(self.connection, "hashes", f"FROM {self._distinct()}")
        index = Index.plan(hashes, wanted, distance)
        joins = list(index.joins("hashes", "wanted", self_join=False))
        run_sql(self.connection, "CREATE OR REPLACE TEMP TABLE near (a UBIGINT, b UBIGINT)")
        for place, sql in enumerate(joins):
            self.listener.progress("comparing with the sets", place, len(joins))
            run_sql(self.connection, f"INSERT INTO near {sql}")
        # The nearest image; of equally near ones, the first by set and name.
        materialise(
            self.connection,
            "nearest",
            "SELECT phash, min({'distance': distance, 'set': set, 'name': name}) AS best "
            "FROM (SELECT a AS phash, bit_count(xor(a, b))::INT AS distance, set, name "
            "FROM near JOIN images ON b = images.phash) GROUP BY phash",
        )
        materialise(
            self.connection,
            "files",
            "SELECT sha_high, sha_low, min({'distance': 0::INT, 'set': set, 'name': name}) "
            "AS best FROM images GROUP BY ALL",
        )
        marked = materialise(
            self.connection,
            "marks",
            "SELECT pos, best FROM (SELECT pos, coalesce(files.best, nearest.best) AS best "
            f"FROM {HASHED} LEFT JOIN files USING (sha_high, sha_low) "
            "LEFT JOIN nearest USING (phash)) WHERE best IS NOT NULL",
        )
        found = {"marked": marked, "sets": self._sets()}
        self._write(
            MARKS,
            "SELECT shard, key, uid, marks.best.set AS set, marks.best.name AS name, "
            "marks.best.distance AS distance FROM scored JOIN marks USING (pos) ORDER BY pos",
            record | found,
        )
        return found

    def _sets(self) -> tuple[dict[str, Any], ...]:
        rows = run_sql(
            self.connection,
            "SELECT set, count(*), count_if(phash IN (SELECT b FROM near) OR (sha_high, sha_low) "
            f"IN (SELECT (sha_high, sha_low) FROM {HASHED} SEMI JOIN images "
            "USING (sha_high, sha_low))), any_value(rows), count_if(phash IS NULL) "
            "FROM images LEFT JOIN "
            "(SELECT best.set AS set, count(*) AS rows FROM marks GROUP BY ALL) USING (set) "
            "GROUP BY set ORDER BY set",
        ).fetchall()
        names = ("set", "images", "found", "rows", "without_phash")
        return tuple(dict(zip(names, (*row[:3], row[3] or 0, row[4]), strict=True)) for row in rows)

    def _write(self, name: str, sql: str, record: dict[str, Any]) -> None:
        metadata = {RECORD_KEY: json.dumps(record).encode()}
        reader = arrow_reader(self.connection, sql, _STEP)
        schema = reader.schema.with_metadata(metadata)
        with (
            self.folder.atomic(name) as file,
            pq.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            for batch in reader:
                writer.write_batch(batch.replace_schema_metadata(metadata))

    def _one(self, sql: str) -> tuple[Any, ...]:
        (found,) = run_sql(self.connection, sql).fetchall()
        row: tuple[Any, ...] = found
        return row


def _name_sql(labels: Sequence[str]) -> str:
    """SQL of a group's name, of hexadecimal digits, such as the least hash of its component."""
    digits = [f"format('{{:016x}}', {label})" for label in labels]
    if labels[0] == "image_high":
        digits[:2] = [
            f"CASE WHEN image_high = 0 THEN {digits[1]} ELSE {digits[0]} || {digits[1]} END"
        ]
    return " || ".join(digits)
