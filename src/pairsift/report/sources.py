"""Find the source shards of score tables, and read samples from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from pairsift.errors import PairsiftError
from pairsift.pair import Pair
from pairsift.provenance import Provenance, find_source, read_provenance
from pairsift.scores import telling_damage
from pairsift.select.tables import ScoreTables
from pairsift.sources import files
from pairsift.sources.score_rows import KIND as SCORES
from pairsift.storage import Folder


class ShardChange(NamedTuple):
    """A shard that has changed since it was scored, and how, in words."""

    shard: str
    how: str


class SourceShards:
    """The source shards of score tables, by the tables' number.

    Args:
        tables: the score tables.
        facts: what each table records about its shard.
        roots: where the shards are now, if they were moved: one for all score folders, or one for
            each in order. Empty if they were not moved.

    Raises:
        PairsiftError: there are more or fewer roots than folders.
    """

    def __init__(
        self, tables: ScoreTables, facts: Sequence[Mapping[str, Any]], roots: Sequence[str] = ()
    ) -> None:
        if len(roots) > 1 and len(roots) != len(tables.folders):
            raise PairsiftError(
                f"--root is given {len(roots)} times for {len(tables.folders)} score folders; give "
                "it once for all of them, or once for each in their order"
            )
        self.tables = tables
        self.facts = facts
        self._roots = list(roots) * (len(tables.folders) if len(roots) == 1 else 1)

    @property
    def has_samples(self) -> bool:
        """Whether any table is of a pool, and not of scores that were imported without theirs."""
        return any(one.get("source_kind") != SCORES for one in self.facts)

    def __len__(self) -> int:
        return len(self.tables.tables)

    def changes(self) -> list[ShardChange]:
        """Return local shards that are missing, or have another size or time."""
        found = []
        for number, table in enumerate(self.tables.tables):
            try:
                shard = find_source(table.shard, self.facts[number], *self._moved(number))
                if files.is_url(shard.url):
                    continue
                how = Provenance(shard).look()
            except PairsiftError as error:
                how = str(error)
            if how is not None:
                found.append(ShardChange(table.shard, how))
        return found

    def rows(self, number: int, places: Iterable[int] | None = None) -> Iterator[tuple[int, Pair]]:
        """Yield the samples of rows of a score table, each checked to be the one that was scored.

        Args:
            number: number of the score table.
            places: row numbers, ascending, all if None; numbers that the table does not have are
                left out.

        Raises (while iterating):
            PairsiftError: the shard is gone, cannot be read or has changed.
        """
        table = self.tables.tables[number]
        folder = Folder(self.tables.folders[table.folder])
        path = folder.file(f"{table.shard}.parquet")
        with folder.fs.open(path, "rb") as file, telling_damage(path):
            keys = pq.ParquetFile(file).read(["key"]).column("key")
        wanted = range(len(keys)) if places is None else [p for p in places if p < len(keys)]
        origin = read_provenance(folder, table.shard, *self._moved(number))
        origin.look()  # if it is missing, the error says what to do
        yield from zip(
            wanted, origin.rows(wanted, (keys[place].as_py() for place in wanted)), strict=True
        )

    def _moved(self, number: int) -> tuple[str | None, str | None]:
        """Return where a table's shards are now, if they were moved, and where they were."""
        folder = self.tables.tables[number].folder
        return self._roots[folder] if self._roots else None, self.tables.roots[folder]
