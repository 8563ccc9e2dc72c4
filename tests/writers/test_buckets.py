"""Score-bucketed shards: every kept pair in the bucket of its score, and safe to run again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import webdataset

from pairsift.errors import PairsiftError
from pairsift.select import read_selection, select, split_selection
from pairsift.writers import write_buckets
from tests.score_folders import sample_members, score_folder, score_table, write_tar


def _pool(path: Path) -> tuple[str, dict[str, float]]:
    rng = np.random.default_rng(4)
    tables = {}
    scores: dict[str, float] = {}
    for shard in range(3):
        name = f"{shard:05d}"
        keys = [f"{shard:05d}{row:04d}" for row in range(30)]
        content = [member for key in keys for member in sample_members(key, rng)]
        write_tar(path / "data" / f"{name}.tar", content)
        values = (rng.integers(0, 1001, 30) / 10).tolist()  # tenths: many stand on an edge
        values[:3] = [50.1, 66.0, 65.9]
        scores.update(zip(keys, values, strict=True))
        tables[name] = score_table(name, keys, {"itm": values, "language": ["en"] * 30})
    return score_folder(path / "scores", tables, root=path / "data"), scores


def test_every_kept_pair_is_in_the_bucket_of_its_score(tmp_path: Path) -> None:
    scores, by_key = _pool(tmp_path)
    selection = select(scores, where="itm >= 20", out=tmp_path / "sel")
    found = write_buckets(selection, tmp_path / "out", "itm", [50.1, 66], samples_per_shard=9)
    assert [(b.low, b.high) for b in found.buckets] == [(None, 50.1), (50.1, 66), (66, None)]
    seen: list[str] = []
    for bucket in found.buckets:
        tars = sorted(map(str, Path(bucket.folder.path).glob("*.tar")))
        keys = [sample["__key__"] for sample in webdataset.WebDataset(tars, shardshuffle=False)]
        low, high = bucket.low or 20, bucket.high or 101
        # In the order of the pool, by the stored float32: 50.1 itself is in the second bucket.
        assert keys == [key for key, score in by_key.items() if low <= score < high]
        assert bucket.folder.samples == len(keys) > 0
        seen += keys
    assert sorted(seen) == sorted(key for key, score in by_key.items() if score >= 20)
    assert found.samples == selection.kept == len(seen)
    assert found.train_data.count("::") == 2
    assert found.train_data.startswith(f"{tmp_path}/out/00/")
    part = read_selection(tmp_path / "out" / "selections" / "01")
    assert part.record.query["split"] == {"column": "itm", "edges": [50.1, 66], "bucket": 1}
    again = write_buckets(selection, tmp_path / "out", "itm", [50.1, 66], samples_per_shard=9)
    assert [bucket.folder.written for bucket in again.buckets] == [0, 0, 0]


def test_empty_buckets_are_left_out(tmp_path: Path) -> None:
    scores, _ = _pool(tmp_path)
    selection = select(scores, where="itm >= 60", out=tmp_path / "sel")
    found = write_buckets(selection, tmp_path / "out", "itm", [10, 50, 80])
    assert [bucket.low for bucket in found.buckets] == [50, 80]


@pytest.mark.parametrize(
    ("column", "edges", "message"),
    [
        ("itm", [66, 50], "must be in ascending order"),
        ("itm", [], "must be in ascending order"),
        ("clip", [1], "no column 'clip'"),
        ("language", [1], "does not hold numbers"),
    ],
)
def test_mistakes(tmp_path: Path, column: str, edges: list[float], message: str) -> None:
    scores, _ = _pool(tmp_path)
    selection = select(scores, out=tmp_path / "sel")
    with pytest.raises(PairsiftError, match=message):
        split_selection(selection, column, edges, tmp_path / "parts")


def test_rows_without_a_value_are_told(tmp_path: Path) -> None:
    table = score_table("a", ["1", "2"], {"itm": [1.0, 2.0], "odf": [None, 2.0]})
    scores = score_folder(tmp_path / "scores", {"a": table})
    selection = select(scores, out=tmp_path / "sel")
    with pytest.raises(PairsiftError, match="kept rows of a have no odf"):
        split_selection(selection, "odf", [1], tmp_path / "parts")
    selection = select(scores, where="odf is not null", out=tmp_path / "sel2")
    assert [b.selection.kept for b in split_selection(selection, "odf", [2], tmp_path / "p")] == [
        0,
        1,
    ]


def test_another_question_needs_another_folder(tmp_path: Path) -> None:
    scores, _ = _pool(tmp_path)
    selection = select(scores, out=tmp_path / "sel")
    write_buckets(selection, tmp_path / "out", "itm", [50])
    with pytest.raises(PairsiftError, match="begun with another edges"):
        write_buckets(selection, tmp_path / "out", "itm", [60])
