"""The source of a score table's rows, and whether it is still what was scored.

A shard may be written again, or moved, after it was scored. All code that reads samples for rows of
a score table reads them through this module, so that a changed sample is reported and never taken
for the one that was scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pairsift.byte_ranges import decode_byte_ranges, decode_checks
from pairsift.errors import PairsiftError
from pairsift.pair import Pair
from pairsift.scores import TABLE_SUFFIX, read_facts, telling_damage
from pairsift.sources import Shard, files, look_up, open_shard
from pairsift.sources.discover import folder_version
from pairsift.sources.score_rows import KIND as SCORES
from pairsift.storage import Folder

NO_IMAGES = (
    "these scores were imported without their pool, so there are no images; import them again with "
    "--pool to see and to write samples"
)
AGAIN = "score it again with `pairsift score ... --rescore changed`, then select again"


class ChangedShardError(PairsiftError):
    """The shard is not the one that was scored."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The source shard of a score table.

    Attributes:
        shard: where the shard is now; its size and version are those at scoring time.
        checks: a checksum for each row of the table, see :meth:`ShardReader.check`; None in older
            tables.
        byte_ranges: start and end of each row's sample in the tar, (rows, 2); None if not recorded.
    """

    shard: Shard
    checks: np.ndarray | None = None
    byte_ranges: np.ndarray | None = None

    def look(self) -> str | None:
        """Say in words how the shard differs from the one that was scored, judging by its storage's
        listing.

        None if nothing differs, or the storage does not say. A file that was written again is
        reported even if its content is the same; :meth:`is_same` compares the content.

        Raises:
            ChangedShardError: the shard does not exist.
        """
        if self.shard.kind == "folder":
            now = folder_version(self.shard.url)
            if self.shard.version in (None, now):
                return None
            return "files were added, removed or written again"
        entry = self._entry()
        return difference(self.shard, entry.size, entry.version)

    def _entry(self) -> files.FileEntry:
        entry = look_up(self.shard)
        if entry is None:
            raise ChangedShardError(
                f"{self.shard.url} does not exist; if the shards were moved since they were "
                "scored, say where with --root"
            )
        return entry

    def refuse_missing(self) -> None:
        """Check that the shard exists.

        Raises:
            ChangedShardError: it does not.
        """
        self._entry()

    def refuse_other_size(self, size: int | None) -> None:
        """Check the shard's size.

        Raises:
            ChangedShardError: `size` is not the size that it had when scored.
        """
        if None not in (size, self.shard.size) and size != self.shard.size:
            raise self.changed(f"it has {size:,} bytes, and had {self.shard.size:,}")

    def changed(self, how: str) -> ChangedShardError:
        """Return an error that says how the shard has changed, and what to do."""
        try:
            hidden = self.shard.version is not None and self.look() is None
        except PairsiftError:
            hidden = False
        # Scoring compares only the listing, so it would not notice this change: of images that a
        # table elsewhere names, or of a file with its old time.
        table = dict(self.shard.options).get("captions_file")
        what = f"`touch` {table} there" if table else "`touch` it"
        first = f"; its own size and time are still the same, so {what} first" if hidden else ""
        return ChangedShardError(
            f"{self.shard.url} has changed since it was scored: {how}{first}; {AGAIN}"
        )

    def other_bytes(self, pair: Pair) -> ChangedShardError:
        """Return an error that says how a sample differs from the one that was scored."""
        fault = pair.fault if pair.image is None else None
        how = f"now fails: {fault.error}" if fault else "has other bytes"
        return self.changed(f"sample {pair.key} {how}")

    def rows(self, places: Iterable[int], keys: Iterable[str]) -> Iterator[Pair]:
        """Read the samples of some rows, and check that each is the one that was scored, byte for
        byte.

        Args:
            places: row numbers in the table, ascending.
            keys: the keys of these rows in the table.

        Raises (while iterating):
            ChangedShardError: a sample is missing or differs.
            PairsiftError: the shard cannot be read.
        """
        if self.shard.kind == SCORES:
            raise PairsiftError(NO_IMAGES)
        self.refuse_other_size(self._entry().size)
        reader = open_shard(self.shard)
        pairs = enumerate(reader)
        for place, key in zip(places, keys, strict=True):
            pair = next((pair for row, pair in pairs if row == place), None)
            if pair is None:
                raise self.changed(f"it ends before sample {key}, which was in row {place}")
            if pair.key != key:
                raise self.changed(f"row {place} is {pair.key}, and was {key}")
            if self.checks is not None and reader.check(pair) != self.checks[place]:
                raise self.other_bytes(pair)
            yield pair

    def is_same(self, keys: Iterable[str], also: Callable[[int, Pair], bool] | None = None) -> bool:
        """Read the whole shard; return whether it holds exactly what was scored.

        Args:
            keys: the keys of all rows of the table.
            also: whether the sample of a row, by its number, agrees in what no checksum covers.

        Raises:
            PairsiftError, OSError: the shard cannot be read.
        """
        expected = list(keys)
        if self.checks is None or len(self.checks) != len(expected):
            return False
        reader = open_shard(self.shard)
        count = 0
        for count, pair in enumerate(reader, 1):
            if (
                count > len(expected)
                or pair.key != expected[count - 1]
                or reader.check(pair) != self.checks[count - 1]
                or (also is not None and not also(count - 1, pair))
            ):
                return False
        return count == len(expected)


def difference(scored: Shard, size: int | None, version: str | None) -> str | None:
    """Say how a file's listing differs from that of the scored shard; None if it does not."""
    if None not in (size, scored.size) and size != scored.size:
        return f"it has {size:,} bytes, and had {scored.size:,}"
    if None not in (version, scored.version) and version != scored.version:
        return "it was written again"
    return None


def read_provenance(
    scores: Folder, name: str, root: str | None = None, scored_root: str | None = None
) -> Provenance:
    """Read where the rows of a score table came from, from the table's footer.

    Args:
        scores: the score folder.
        name: name of the shard; the table is ``scores/name.parquet``.
        root: where the source shards are now, if they were moved since scoring.
        scored_root: their root at scoring time; needed with `root` for tables that do not record
            it.

    Raises:
        PairsiftError: the table is missing or is not one of Pairsift; or `root` is given, but the
            shard was not below the old root.
    """
    path = scores.file(name + TABLE_SUFFIX)
    try:
        with scores.fs.open(path, "rb") as file, telling_damage(path):
            metadata = pq.read_metadata(file).metadata
    except FileNotFoundError:
        raise PairsiftError(
            f"the score table {path} does not exist any more; restore it, or score and select again"
        ) from None
    facts = read_facts(metadata, path)
    shard = find_source(name, facts, root, scored_root)
    return Provenance(shard, decode_checks(metadata), decode_byte_ranges(metadata))


def find_source(
    name: str,
    facts: Mapping[str, Any],
    root: str | None = None,
    scored_root: str | None = None,
) -> Shard:
    """Return the shard of a score table, with its size and version at scoring time.

    Args:
        facts: the table's facts, see :func:`pairsift.scores.read_facts`.
        root, scored_root: see :func:`read_provenance`.

    Raises:
        PairsiftError: the facts do not name it; or `root` is given, but the shard was not below the
            old root.
    """
    if not facts.get("source") or not facts.get("source_kind"):
        raise PairsiftError(f"the score table of {name} does not say where its source shard is")
    options = tuple(sorted((facts.get("source_options") or {}).items()))
    shard = Shard(
        name,
        str(facts["source"]),
        str(facts["source_kind"]),
        facts.get("source_size"),
        options,
        facts.get("source_version"),
    )
    return shard if root is None else _moved(shard, facts, root, scored_root)


def _moved(shard: Shard, facts: Mapping[str, Any], root: str, scored_root: str | None) -> Shard:
    olds = [str(old).rstrip("/") for old in (facts.get("source_root"), scored_root) if old]
    new = files.normalise(root).rstrip("/")
    for old in olds:
        if not f"{shard.url}/".startswith(f"{old}/"):
            continue
        options = dict(shard.options)
        images = options.get("image_root")
        if images is not None and f"{images}/".startswith(f"{old}/"):
            options["image_root"] = new + images[len(old) :]
        return replace(shard, url=new + shard.url[len(old) :], options=tuple(options.items()))
    raise PairsiftError(
        f"{shard.url} did not lie below {' or '.join(olds) or 'a root that was noted'} when it was "
        "scored, so --root cannot say where it is now"
    )
