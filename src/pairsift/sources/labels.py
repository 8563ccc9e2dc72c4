"""Labels that people gave to pairs in `pairsift explore`: a table of JSON lines that only grows.

Each line has the pair (`shard`, `key`, `caption_index`), its `caption`, the `label` (good, bad,
unsure, or null for a label that was taken back), who gave it (`by`) and when (`at`, UTC), and the
`scores` of the pair with the scorer that gave them (`scored_by`). The last line of a pair counts.
Readers of tables add the columns that follow from these: `image` (the shard's path and the key),
`score` (1 for good, 0 for bad, none for unsure), and one for each of the scores.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from pairsift.sources.base import printable
from pairsift.sources.rows import Fields, Lost, Row

LABELS: Mapping[str, float | None] = {"good": 1.0, "bad": 0.0, "unsure": None}
"""The labels, and the score that each stands for."""

FIELDS = frozenset({"shard", "key", "caption_index", "caption", "label", "by", "at", "scores"})

SCORED_BY = "scored_by"

LabelledPair = tuple[str, str, int]
"""Shard, key and caption index of a pair."""

_log = logging.getLogger("pairsift.inputs")


def is_label(fields: Any) -> bool:
    """Return whether a JSON line, or a row that was made of it, is a label."""
    return isinstance(fields, dict) and fields.keys() >= FIELDS


def labelled_pair(fields: Fields) -> LabelledPair:
    """Return the pair that a label is of."""
    return str(fields["shard"]), str(fields["key"]), int(fields["caption_index"] or 0)


def last_labels(entries: Iterable[Row | Lost], url: str) -> list[Row | Lost]:
    """Return the last label of each pair; what was replaced is logged.

    A last line that is cut off is left out: the label was not acknowledged.

    Args:
        entries: the lines of the file.
        url: the file, for the log.
    """
    last: dict[LabelledPair, Row] = {}
    lost: list[Lost] = []
    again, end = set(), 0
    for entry in entries:
        end = entry.line
        if isinstance(entry, Lost):
            lost.append(entry)
        elif (why := _fault(entry.fields)) is not None:
            lost.append(Lost(entry.line, why))
        else:
            pair = labelled_pair(entry.fields)
            if last.pop(pair, None) is not None:
                again.add(pair)
            last[pair] = entry
    if lost and lost[-1].line == end and lost[-1].why.startswith("not JSON"):
        lost.pop()
        _log.info("%s: the last line is cut off and is left out", printable(url))
    if again:
        _log.info(
            "%s: %s pairs were labelled more than once; the last label counts",
            printable(url),
            f"{len(again):,}",
        )
    found = [entry for entry in last.values() if entry.fields["label"] is not None]
    return [*lost, *(Row(entry.line, _with_columns(entry.fields)) for entry in found)]


def only_good(rows: list[Fields], url: str) -> list[Fields]:
    """Return the rows of captions that are known to be good: of labels, those labelled good."""
    if not rows or not is_label(rows[0]):
        return rows
    good = [row for row in rows if row["label"] == "good"]
    _log.info(
        "%s: %s captions are labelled good; the other %s labels are left out",
        printable(url),
        f"{len(good):,}",
        f"{len(rows) - len(good):,}",
    )
    return good


def _fault(fields: Fields) -> str | None:
    if not is_label(fields):
        return f"not a label: it lacks {', '.join(sorted(FIELDS - fields.keys()))}"
    if fields["label"] is not None and fields["label"] not in tuple(LABELS):
        return f"the label {fields['label']!r} is not one of {', '.join(LABELS)}"
    if not isinstance(fields["shard"], str) or not isinstance(fields["key"], str):
        return "not a label: shard and key must be text"
    if not isinstance(fields["caption_index"], int) or not isinstance(fields["scores"], dict):
        return "not a label: caption_index must be a number, and scores an object"
    return None


def _with_columns(fields: Fields) -> Fields:
    shard, key, _ = labelled_pair(fields)
    own = {name: value for name, value in fields.items() if name != "scores"}
    path = shard.replace("__", "/")  # as images are found by, see `Shard.name`
    derived = {"image": f"{path}/{key}", "score": LABELS[fields["label"]], "scores": None}
    return {**fields["scores"], **own, **derived}
