"""The local engine: order, resume, refusal, and the guard against broken data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.engines.base import part_of
from pairsift.engines.local import RunSummary, score_shards
from pairsift.scores import FACTS_KEY, ScoreFolder
from pairsift.sources import ShardSet, find_shards
from tests.engines.conftest import tables
from tests.samples import CAPTION, jpeg, write_tar


def _score(pool: Path, out: Path, **options: object) -> RunSummary:
    shards = find_shards([str(pool)])
    return score_shards(shards, load_scorer("heuristics"), str(out), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 2])
def test_one_row_per_sample_in_order(pool: Path, tmp_path: Path, workers: int) -> None:
    summary = _score(pool, tmp_path / "out", workers=workers, batch_size=3)
    assert (summary.shards, summary.skipped, summary.rows) == (4, 0, 80)
    assert summary.statuses == {"ok": 76, "image_missing": 4}
    for shard in range(4):
        table = pq.read_table(tmp_path / "out" / f"{shard:05d}.parquet")
        assert table["key"].to_pylist() == [f"{shard:02d}{index:03d}" for index in range(20)]
        assert set(table["shard"].to_pylist()) == {f"{shard:05d}"}
        assert table["width"].to_pylist() == [300, 301, None, *range(303, 320)]


def test_facts_tell_where_the_rows_came_from(pool: Path, tmp_path: Path) -> None:
    _score(pool, tmp_path / "out")
    metadata = pq.read_schema(tmp_path / "out" / "00001.parquet").metadata
    facts = json.loads(metadata[FACTS_KEY])
    assert facts["source"] == str(pool / "00001.tar")
    assert facts["source_kind"] == "webdataset"
    assert facts["source_size"] == os.path.getsize(pool / "00001.tar")
    assert facts["rows"] == 20
    assert facts["statuses"] == {"ok": 19, "image_missing": 1}
    assert facts["source_error"] is None


def test_finished_shards_are_not_scored_again(pool: Path, tmp_path: Path) -> None:
    _score(pool, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "00002.parquet").unlink()
    again = _score(pool, tmp_path / "out", batch_size=7)
    assert (again.skipped, again.rows) == (3, 20)
    for path, modified in before.items():
        assert (path.stat().st_mtime_ns == modified) == (path.name != "00002.parquet")


def test_parts_make_the_whole(pool: Path, tmp_path: Path) -> None:
    _score(pool, tmp_path / "whole")
    for index in (1, 2, 3):
        _score(pool, tmp_path / "parts", part=(index, 3))
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")


def test_part_outside_the_count_is_refused() -> None:
    with pytest.raises(PairsiftError, match="--part 4/3"):
        part_of((), (4, 3))


def test_another_scorer_is_refused(pool: Path, tmp_path: Path) -> None:
    _score(pool, tmp_path / "out")
    scorer = load_scorer("heuristics")
    scorer.__class__ = type(
        "Other", (type(scorer),), {"fingerprint": {"scorer": "other"}, "name": "other"}
    )
    with pytest.raises(PairsiftError, match="scorer is 'heuristics' there and 'other' now"):
        score_shards(find_shards([str(pool)]), scorer, str(tmp_path / "out"))


@pytest.fixture
def broken_pool(tmp_path: Path) -> Path:
    """A good shard of 900 pairs, then 400 pairs of which every other has no image."""
    folder = tmp_path / "broken"
    folder.mkdir()
    image = jpeg(16, 16)
    write_tar(folder / "0.tar", {f"a{i}": {"jpg": image, "txt": CAPTION} for i in range(900)})
    write_tar(
        folder / "1.tar",
        {f"b{i}": {"txt": CAPTION} | ({"jpg": image} if i % 2 else {}) for i in range(400)},
    )
    return folder


def test_too_many_failures_stop_the_run_and_keep_what_is_finished(
    broken_pool: Path, tmp_path: Path
) -> None:
    with pytest.raises(PairsiftError, match=r"image_missing; first: 1/b0: image_missing") as stop:
        _score(broken_pool, tmp_path / "out")
    assert "--max-failure-rate 0.05" in str(stop.value)
    assert set(tables(tmp_path / "out")) == {"0.parquet"}
    summary = _score(broken_pool, tmp_path / "out", max_failure_rate=0.5)
    assert (summary.skipped, summary.rows, summary.failures) == (1, 400, 200)


def test_unreadable_shard_is_told_and_tried_again(pool: Path, tmp_path: Path) -> None:
    good = (pool / "00002.tar").read_bytes()
    (pool / "00002.tar").write_bytes(b"this is not a tar" * 100)
    out = tmp_path / "out"
    summary = _score(pool, out)
    assert set(tables(out)) == {"00000.parquet", "00001.parquet", "00003.parquet"}
    assert list(summary.unreadable) == ["00002"]
    assert (summary.scored, summary.rows) == (3, 60)
    note = json.loads((out / "00002.unreadable.json").read_text())
    assert note["source"] == str(pool / "00002.tar")
    assert "is not a tar" in note["source_error"]
    (pool / "00002.tar").write_bytes(good)
    again = _score(pool, out)
    assert (again.skipped, again.rows, again.unreadable) == (3, 20, {})
    assert not list(out.glob("*.unreadable.json"))


def test_too_many_unreadable_shards_stop_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for index in range(20):
        (folder / f"{index:02d}.tar").write_bytes(b"this is not a tar" * 100)
    with pytest.raises(PairsiftError, match="5 of the first 5 shards could not be read.*00: "):
        _score(folder, tmp_path / "out")


def test_nothing_to_do(tmp_path: Path) -> None:
    summary = score_shards(ShardSet("/none", ()), load_scorer("heuristics"), str(tmp_path / "out"))
    assert (summary.rows, summary.pairs_per_second) == (0, 0.0)


@pytest.mark.slow
def test_goes_on_with_another_batch_size_and_other_workers(pool: Path, tmp_path: Path) -> None:
    _score(pool, tmp_path / "calm")
    _score(pool, tmp_path / "out", part=(1, 4), batch_size=3, workers=0)
    _score(pool, tmp_path / "out", part=(2, 4), batch_size=7, workers=1)
    summary = _score(pool, tmp_path / "out", batch_size=1)
    assert (summary.skipped, summary.scored) == (2, 2)
    assert tables(tmp_path / "out") == tables(tmp_path / "calm")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": "itm"}, "metrics is 'itm,odf' there and 'itm' now"),
        (
            {"metrics": "itm,odf", "dtype": "bfloat16"},
            "dtype is 'float32' there and 'bfloat16' now",
        ),
    ],
    ids=["metrics", "dtype"],
)
def test_other_options_of_the_model_are_refused_and_named(
    pool: Path, tmp_path: Path, options: dict[str, str], words: str
) -> None:
    shards = find_shards(str(pool / "00000.tar"))
    begun = load_scorer("pairsift-tiny", metrics="itm,odf")
    ScoreFolder(str(tmp_path / "out"), begun.fingerprint, shards.root).claim()
    with pytest.raises(PairsiftError, match=words) as refusal:
        score_shards(shards, load_scorer("pairsift-tiny", **options), str(tmp_path / "out"))
    assert "Choose another --out, or continue with the scorer and options" in str(refusal.value)


@pytest.mark.slow
@pytest.mark.parametrize("field", ["checkpoint", "prompts"])
def test_another_checkpoint_or_prompt_is_refused_and_named(
    pool: Path, tmp_path: Path, field: str
) -> None:
    shards = find_shards(str(pool / "00000.tar"))
    scorer = load_scorer("pairsift-tiny", metrics="itm")
    theirs = dict(scorer.fingerprint) | {field: "sha256:another"}
    ScoreFolder(str(tmp_path / "out"), theirs, shards.root).claim()
    with pytest.raises(PairsiftError, match=f"{field} is 'sha256:another' there and"):
        score_shards(shards, scorer, str(tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*.parquet"))
