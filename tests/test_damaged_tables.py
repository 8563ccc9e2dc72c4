"""Score tables with broken bytes anywhere: one sentence from every reader, never another error."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.engines.local import score_shards
from pairsift.report import write_report
from pairsift.select import read_selection, select
from pairsift.sources import find_shards
from pairsift.status import read_status
from pairsift.writers import write_webdataset
from tests.samples import good_samples, write_tar


def _score(path: Path) -> object:
    shards = find_shards(str(path / "pool"))
    return score_shards(shards, load_scorer("heuristics"), str(path / "scores"), workers=0)


READERS: list[Callable[[Path], object]] = [
    _score,
    lambda path: select(str(path / "scores"), where="caption_length > 0", out=path / "again"),
    lambda path: write_webdataset(
        read_selection(str(path / "sel")), path / "out", scores=["caption_length", "language"]
    ),
    lambda path: write_report(str(path / "scores"), None, str(path / "report.html")),
    lambda path: read_status(str(path / "scores"), sample=None),
]


@pytest.mark.slow
def test_broken_bytes_are_told(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool" / "0.tar", good_samples(4))
    _score(tmp_path)
    select(str(tmp_path / "scores"), where="caption_length > 0", out=tmp_path / "sel")
    table = tmp_path / "scores" / "0.parquet"
    whole, draw = table.read_bytes(), random.Random(0)
    told: list[str] = []
    for place in range(4, len(whole) - 8, len(whole) // 24):
        for width in (1, 40):
            broken = bytearray(whole)
            broken[place : place + width] = draw.randbytes(len(broken[place : place + width]))
            table.write_bytes(broken)
            for read in READERS:
                try:
                    read(tmp_path)
                except PairsiftError as error:
                    told.append(str(error))
    assert len(told) > 50
    # Broken bytes of a selection may read as another selection.
    told = [words for words in told if "another selection" not in words]
    assert all("0.parquet" in words or "table" in words for words in told)


@pytest.mark.parametrize("read", READERS)
def test_a_whole_table_is_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool" / "0.tar", good_samples(4))
    _score(tmp_path)
    select(str(tmp_path / "scores"), where="caption_length > 0", out=tmp_path / "sel")
    read(tmp_path)
