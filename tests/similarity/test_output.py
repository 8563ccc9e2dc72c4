"""Tables of similarities: a row for each of the scores, to be joined to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError
from pairsift.engines.local import score_shards
from pairsift.scorers.caption_index import CaptionIndexer
from pairsift.select import read_selection, select
from pairsift.similarity.negclip import neg_clip_loss
from pairsift.similarity.normsim import normsim
from pairsift.similarity.semantic import semantic_duplicates
from pairsift.sources import find_shards
from tests.samples import jpeg
from tests.similarity.made import Given, make


@pytest.mark.parametrize("rows", [2, 3])
def test_pools_of_one_or_two_rows(tmp_path: Path, rows: int) -> None:
    """Row 1 of the table has failed."""
    make(tmp_path / "s", rows, 0, tables=1)
    s = str(tmp_path / "s")
    made = semantic_duplicates(s, str(tmp_path / "g"))
    assert (made.rows, made.groups, made.grouped, made.largest) == (rows - 1, 0, 0, 0)
    assert normsim(s, s, tmp_path / "n.parquet").rows == rows
    assert neg_clip_loss(s, tmp_path / "l.parquet").rows == rows


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, o: normsim(s, s, o, norm="3"), "choose 2 or inf"),
        (lambda s, o: neg_clip_loss(s, o, temperature=0), "above 0"),
        (lambda s, o: semantic_duplicates(s, o, epsilon=2), "from 0 to 1"),
        (lambda s, o: semantic_duplicates(s, o, clusters=0), "at least 1"),
        (lambda s, o: semantic_duplicates(s, o, seed=-1), "--seed -1"),
        (lambda s, o: neg_clip_loss(s, o, seed=-1), "--seed -1"),
        (lambda s, o: neg_clip_loss(s, o, temperature=float("nan")), "above 0"),
        (lambda s, o: semantic_duplicates(s, s), "folder of scores"),
        (lambda s, o: normsim(s, "nowhere", o), "no score tables"),
    ],
)
def test_wrong_options_are_told(tmp_path: Path, call: Any, words: str) -> None:
    make(tmp_path / "s", 30, 0)
    with pytest.raises(PairsiftError, match=words):
        call(str(tmp_path / "s"), str(tmp_path / "o"))


def test_values_of_several_captions_are_joined_caption_by_caption(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    lists = [["a", "a long caption"], ["one two three"], ["x y", "z", "a b c d e"]]
    images = [jpeg(seed=place) for place in range(3)]
    table = pa.table({"image": images, "captions": lists})
    pq.write_table(table, tmp_path / "pool/a.parquet")
    shards = find_shards(str(tmp_path / "pool"), caption="captions.*")
    scores = str(tmp_path / "s")
    score_shards(shards, CaptionIndexer(Given()), scores, workers=0)
    neg_clip_loss(scores, tmp_path / "l.parquet", batch=10, rounds=1)
    made = pq.read_table(tmp_path / "l.parquet")
    assert made["caption_index"].to_pylist() == [0, 1, 0, 0, 1, 2]
    assert made["key"].to_pylist() == pq.read_table(tmp_path / "s/a.parquet")["key"].to_pylist()
    values = made["neg_clip_loss"].to_pylist()
    kept = select(
        scores, joins=[f"l={tmp_path}/l.parquet@shard"], out=str(tmp_path / "best"),
        best_caption=True, by="l.neg_clip_loss",
    )  # fmt: skip
    (shard,) = read_selection(kept.path or "").shards()
    best = [max(rows, key=lambda row: values[row]) for rows in ((0, 1), (2,), (3, 4, 5))]
    assert shard.rows.tolist() == best
