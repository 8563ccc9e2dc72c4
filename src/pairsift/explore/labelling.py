"""The labels of the rows that a page shows: which row each label is of, and new ones."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from typing import Any

import pyarrow.parquet as pq

from pairsift.errors import PairsiftError
from pairsift.explore.captions import CaptionIndex
from pairsift.explore.labels import Label, LabelFile
from pairsift.explore.rows import RowFinder
from pairsift.report.table import ScoredRows, split_position
from pairsift.report.text import printable
from pairsift.scorers.caption_index import CAPTION_INDEX
from pairsift.scores import telling_damage
from pairsift.select.tables import ROW_BITS
from pairsift.sources.labels import LABELS, SCORED_BY, LabelledPair
from pairsift.storage import Folder

UNLABELLED, LABELLED = "unlabelled", "labelled"


class Labelling:
    """Labels by the position of their row.

    Args:
        file: where the labels are.
        rows, finder, index: what is shown.
        scored: how many rows have scores and can be labelled.

    Raises:
        PairsiftError: two score folders have a shard of the same name.
    """

    def __init__(
        self,
        file: LabelFile,
        rows: ScoredRows,
        finder: RowFinder,
        index: CaptionIndex,
        scored: int,
    ) -> None:
        self._file, self._rows, self._finder, self._index = file, rows, finder, index
        self._scored = scored
        self._tables: dict[str, int] = {}
        for number, table in enumerate(rows.tables.tables):
            if table.shard in self._tables:
                raise PairsiftError(
                    f"labels name pairs by shard and key, and two score folders have a shard "
                    f"{table.shard}; label them one after the other"
                )
            self._tables[table.shard] = number
        self._positions: dict[int, dict[tuple[str, int], int]] = {}
        self._guard = threading.Lock()
        described = json.dumps(rows.tables.fingerprint, sort_keys=True)
        self._scored_by = hashlib.blake2b(described.encode(), digest_size=8).hexdigest()

    def by_position(self) -> dict[int, Label]:
        """Return the labels of rows that are shown."""
        found = {}
        for (shard, key, index), label in self._file.labels().items():
            if (table := self._tables.get(shard)) is not None:
                pos = self._positions_of(table).get((key, index))
                if pos is not None:
                    found[pos] = label
        return found

    def chosen(self, name: str, labels: dict[int, Label]) -> list[int]:
        """Return the positions of the rows that are labelled, or that have one label.

        Raises:
            PairsiftError: there is no such label.
        """
        if name not in (LABELLED, *LABELS):
            choices = ", ".join((UNLABELLED, LABELLED, *LABELS))
            raise PairsiftError(f"{name!r} is not a label; choose {choices}")
        return [pos for pos, label in labels.items() if name in (LABELLED, label.label)]

    def counts(self, labels: dict[int, Label]) -> dict[str, int]:
        """Return how many rows have each label, and how many could have one (`of`)."""
        return {**Counter(label.label for label in labels.values()), "of": self._scored}

    def label(self, pos: int, label: str) -> dict[str, Any]:
        """Label a row; return its label now, the one before, and the counts.

        Raises:
            PairsiftError: there is no such label, or the file cannot be written.
            KeyError: no row with scores has that position.
        """
        now, before = self._file.add(self._pair(pos), label, self._facts(pos))
        return self._changed(now, before)

    def undo(self, pos: int, number: int) -> dict[str, Any]:
        """Take a label of a row back; return as :meth:`label` does.

        Raises:
            PairsiftError: the label does not count any more, or the file cannot be written.
            KeyError: no row with scores has that position.
        """
        return self._changed(self._file.undo(self._pair(pos), number, self._facts(pos)), None)

    def _changed(self, now: Label | None, before: Label | None) -> dict[str, Any]:
        counts = self.counts(self.by_position())
        return {"label": shown(now), "before": shown(before), "labels": counts}

    def _pair(self, pos: int) -> LabelledPair:
        row = self._finder.whole_row(pos)
        shard = self._rows.tables.tables[split_position(pos)[0]].shard
        return shard, str(row["key"]), int(row.get(CAPTION_INDEX) or 0)

    def _facts(self, pos: int) -> dict[str, Any]:
        scores = self._finder.scores(pos)
        return {"caption": self._caption(pos), "scores": scores, SCORED_BY: self._scored_by}

    def _caption(self, pos: int) -> str:
        caption = self._index.captions([pos]).get(pos)
        if caption is None:  # its shard is not read yet
            table, row = split_position(pos)
            caption = next((pair.caption for _, pair in self._rows.shards.rows(table, [row])), "")
        return caption or ""

    def _positions_of(self, number: int) -> dict[tuple[str, int], int]:
        with self._guard:
            if number not in self._positions:
                table = self._rows.tables.tables[number]
                folder = Folder(self._rows.tables.folders[table.folder])
                path = folder.file(f"{table.shard}.parquet")
                with folder.fs.open(path, "rb") as file, telling_damage(path):
                    opened = pq.ParquetFile(file)
                    several = CAPTION_INDEX in opened.schema_arrow.names
                    names = ["key", *([CAPTION_INDEX] if several else [])]
                    read = opened.read(names).to_pydict()
                indices = read.get(CAPTION_INDEX) or [0] * len(read["key"])
                self._positions[number] = {
                    (key, index or 0): (number << ROW_BITS) | row
                    for row, (key, index) in enumerate(zip(read["key"], indices, strict=True))
                }
            return self._positions[number]


def shown(label: Label | None) -> dict[str, Any] | None:
    """Return a label as the page needs it."""
    if label is None:
        return None
    return {
        "number": label.number,
        "label": label.label,
        "by": printable(label.by, 100),
        "at": printable(label.at, 40),
    }
