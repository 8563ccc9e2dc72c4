"""What Pairsift wrote into a pool is no input of the next run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pairsift.balance.run
import pairsift.evaluate.downstream.pool
from pairsift.config import Config
from pairsift.engines.changed import KNOWN
from pairsift.engines.local import score_shards
from pairsift.errors import PairsiftError
from pairsift.options import ReportOptions, ScoreOptions, SelectOptions, WriteOptions
from pairsift.pipeline import run_pipeline
from pairsift.report import write_report
from pairsift.scorers.registry import load_scorer
from pairsift.scores import MANIFEST
from pairsift.select import read_selection, select
from pairsift.select.record import RECORD
from pairsift.sources import find_shards
from pairsift.sources.outputs import MARKERS
from pairsift.teach.records import Record, write_records
from pairsift.writers import manifest, write_parquet, write_webdataset
from pairsift.writers.buckets import write_buckets
from tests.samples import good_samples, jpeg, write_tar


def _score(pool: str, out: Path) -> None:
    score_shards(find_shards(pool), load_scorer("heuristics"), str(out))


def _fill(pool: Path) -> None:
    """Everything that the steps write, into the pool itself."""
    _score(str(pool), pool / "scores")
    chosen = select(str(pool / "scores"), where="caption_length > 5", out=pool / "deep" / "best")
    write_webdataset(chosen, str(pool / "kept"))
    write_parquet(chosen, str(pool / "kept.parquet"))
    write_report(str(pool / "scores"), str(pool / "deep" / "best"), str(pool / "report.html"))
    write_records(
        str(pool / "taught.parquet"), [Record("a.jpg", "a dog", "own", None, {"itm": 9.0})], {}
    )
    write_buckets(chosen, str(pool / "buckets"), "caption_length", [20.0])


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pool = tmp_path_factory.mktemp("pool")
    (pool / "en").mkdir()
    write_tar(pool / "00000.tar", good_samples(2, "a"))
    write_tar(pool / "en" / "00001.tar", good_samples(2, "b"))
    _fill(pool)
    return pool


@pytest.mark.parametrize("pattern", ["", "**/*.tar", "**", "{en,kept,deep,.}/*.tar"])
def test_tars_are_found_without_what_was_made_of_them(tars: Path, pattern: str) -> None:
    found = find_shards(os.path.join(str(tars), pattern) if pattern else str(tars))
    assert {shard.url for shard in found.shards} <= {
        f"{tars}/00000.tar", f"{tars}/./00000.tar", f"{tars}/en/00001.tar",
    }  # fmt: skip
    assert len(found.shards) == 2
    (note,) = [note for note in found.notes if "Pairsift wrote" in note]
    assert "kept" in note
    assert "to read one, name it" in note


def test_second_score_goes_on_with_the_same_shards(tars: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    shutil.copytree(tars, pool)
    shutil.rmtree(pool / "scores")
    _score(str(pool), pool / "scores")
    before = sorted(os.listdir(pool / "scores"))
    summary = score_shards(find_shards(str(pool)), load_scorer("heuristics"), str(pool / "scores"))
    assert (summary.skipped, summary.rows) == (2, 0)
    assert sorted(set(os.listdir(pool / "scores")) - {KNOWN}) == before


@pytest.mark.parametrize("named", ["kept", "kept/*.tar", "kept/{00000000..00000000}.tar"])
def test_named_output_is_read(tars: Path, named: str) -> None:
    found = find_shards(str(tars / named))
    assert [shard.url for shard in found.shards] == [f"{tars}/kept/00000000.tar"]
    assert not [note for note in found.notes if "Pairsift wrote" in note]


def test_pool_that_holds_nothing_else_is_told(tars: Path, tmp_path: Path) -> None:
    shutil.copytree(tars / "kept", tmp_path / "kept")
    for pattern in (tmp_path, tmp_path / "*" / "*.tar"):
        with pytest.raises(PairsiftError, match=r"left out what Pairsift wrote there: .*kept"):
            find_shards(str(pattern))


def test_parquet_pool(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    rows = {"jpg": [jpeg()] * 3, "txt": ["a dog on the beach"] * 3, "key": ["a", "b", "c"]}
    pq.write_table(pa.table(rows), pool / "0.parquet")
    _fill_parquet(pool)
    for pattern in (pool, pool / "*.parquet", pool / "**" / "*.parquet"):
        found = find_shards(str(pattern))
        assert [shard.url for shard in found.shards] == [f"{pool}/0.parquet"]


def _fill_parquet(pool: Path) -> None:
    _score(str(pool), pool / "scores")
    chosen = select(str(pool / "scores"), where="caption_length > 5", out=pool / "best")
    write_parquet(chosen, str(pool / "kept.parquet"))
    write_records(str(pool / "taught.parquet"), [Record("a", "a dog", "own", None)], {})


def test_folder_of_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg())
        (tmp_path / f"{name}.txt").write_text("a dog on the beach")
    _fill_parquet(tmp_path)
    (shard,) = find_shards(str(tmp_path)).shards
    assert (shard.kind, shard.url) == ("folder", str(tmp_path))


@pytest.mark.slow
def test_whole_run_inside_its_pool_is_done_twice(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", good_samples(3))
    config = Config(
        str(tmp_path / "run"),
        ScoreOptions(shards=(str(tmp_path),), scorer="heuristics"),
        SelectOptions(where="caption_length > 5"),
        WriteOptions(datacomp="subset.npy", webdataset="shards"),
        ReportOptions(),
    )
    first = run_pipeline(config)
    again = run_pipeline(config)
    assert (first.score.rows, again.score.rows, again.score.shards) == (3, 0, 1)
    assert read_selection(tmp_path / "run" / "selection").kept == 3


def test_folders_of_others_that_look_alike_are_read(tmp_path: Path) -> None:
    for folder, marker in (("a", "_run.json"), ("b", "pool.json"), ("c", "balance.json")):
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "0.tar", good_samples(1))
        (tmp_path / folder / marker).write_text("{}")
    assert len(find_shards(str(tmp_path)).shards) == 3


def test_behind_a_url(tars: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(tars), "/outputs-pool", recursive=True)
    for name in ("kept.parquet", "taught.parquet"):  # single files are looked at on disks only
        memory.rm(f"/outputs-pool/{name}")
    for pattern in ("memory://outputs-pool", "memory://outputs-pool/**/*.tar"):
        found = find_shards(pattern)
        assert [shard.name for shard in found.shards] == ["00000", "en__00001"]


def test_markers_are_the_names_that_the_steps_write() -> None:
    assert {
        MANIFEST,
        RECORD,
        manifest.MANIFEST,
        pairsift.balance.run.SUMMARY_FILE,
        pairsift.evaluate.downstream.pool.MANIFEST,
    } == set(MARKERS)


def test_a_caption_that_speaks_of_us_is_no_output_of_ours(tmp_path: Path) -> None:
    table = pa.table({"jpg": [b"1"], "caption": ["pairsift.output"]})
    pq.write_table(table, tmp_path / "p.parquet")
    found = find_shards(str(tmp_path))
    assert ([shard.name for shard in found.shards], found.notes) == (["p"], ())
