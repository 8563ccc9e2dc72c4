"""Scored pools whose source shards are looked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pairsift.engines.local import score_shards
from pairsift.report.sources import SourceShards
from pairsift.report.table import open_rows
from pairsift.scorers.registry import load_scorer
from pairsift.select.tables import ROW_BITS
from pairsift.sources import find_shards
from tests.samples import good_samples, write_tar

SECOND = 1 << ROW_BITS


Samples = dict[str, dict[str, Any]]


def score_pool(pool: Path, out: Path) -> str:
    score_shards(find_shards(str(pool)), load_scorer("heuristics"), str(out))
    return str(out)


@contextmanager
def open_shards(scores: str | list[str], *roots: str | Path) -> Iterator[SourceShards]:
    with open_rows(scores, roots=list(map(str, roots))) as rows:
        yield rows.shards


def make_pool(folder: Path) -> Path:
    """Write two tars of three pairs; the second pair of the first has no readable image."""
    folder.mkdir()
    for shard in range(2):
        samples = good_samples(3, f"s{shard}-")
        if shard == 0:
            samples["s0-0001"]["jpg"] = b"no image"
        write_tar(folder / f"{shard}.tar", samples)
    return folder
