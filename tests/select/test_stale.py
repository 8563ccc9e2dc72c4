"""A selection is of the very tables that it was made from; of others nothing is read by it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.engines.local import score_shards
from pairsift.explore import running_server
from pairsift.report import write_report
from pairsift.scores import IDENTITY_KEY
from pairsift.select import Selection, read_selection, select, split_selection
from pairsift.select.record import RECORD_KEY, TABLES_KEY
from pairsift.sources import find_shards
from pairsift.writers import (
    write_buckets,
    write_datacomp,
    write_dataset,
    write_parquet,
    write_webdataset,
)
from tests.samples import good_samples, write_tar
from tests.score_folders import uid_of
from tests.support.shards import strip_facts

Read = Callable[[Path, Path], Any]


def _pool(folder: Path, prefix: str = "", caption: str = "a dog on the beach") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(3):
        samples = good_samples(4, f"{prefix}{shard}-")
        for place, sample in enumerate(samples.values()):
            sample["txt"] = caption
            sample["json"] = json.dumps({"uid": uid_of(10 * shard + place)})
        write_tar(folder / f"{shard:05d}.tar", samples)
    return folder


def _score(pool: Path, scores: Path, scorer: str = "heuristics", **options: Any) -> None:
    found = find_shards(str(pool))
    score_shards(found, load_scorer(scorer), str(scores), workers=0, **options)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a pool, its scores, and a selection of half of each table."""
    _score(_pool(tmp_path / "pool"), tmp_path / "scores")
    where = "endswith(key, '1') or endswith(key, '3')"
    assert select(str(tmp_path / "scores"), where=where, out=tmp_path / "kept").kept == 6
    return tmp_path


def _explore(place: Path, out: Path) -> None:
    with running_server(str(place / "scores"), str(place / "kept"), cache=str(out)):
        pass


READERS: dict[str, Read] = {
    "datacomp": lambda place, out: write_datacomp(read_selection(place / "kept"), out),
    "parquet": lambda place, out: write_parquet(read_selection(place / "kept"), out),
    "columns": lambda place, out: write_parquet(read_selection(place / "kept"), out, ["key"]),
    "tars": lambda place, out: write_webdataset(read_selection(place / "kept"), out),
    "dataset": lambda place, out: write_dataset(read_selection(place / "kept"), out),
    "buckets": lambda place, out: write_buckets(
        read_selection(place / "kept"), out, "caption_length", [5]
    ),
    "report": lambda place, out: write_report(str(place / "scores"), str(place / "kept"), str(out)),
    "comparison": lambda place, out: write_report(
        str(place / "scores"),
        select(str(place / "scores"), out=place / "all").path,
        str(out),
        compare=str(place / "kept"),
    ),
    "explore": _explore,
}


def _score_changed(place: Path) -> None:
    _pool(place / "pool", caption="a cat on the roof")
    _score(place / "pool", place / "scores", rescore_changed=True)


def _same_captions_other_keys(place: Path) -> None:
    _pool(place / "pool", prefix="new-")
    _score(place / "pool", place / "scores", rescore_changed=True)


def _score_anew(place: Path) -> None:
    shutil.rmtree(place / "scores")
    _score(_pool(place / "pool", caption="a cat on the roof"), place / "scores")


def _other_scorer(place: Path) -> None:
    shutil.rmtree(place / "scores")
    _score(place / "pool", place / "scores", scorer="pairsift-tiny")


def _replace_a_table(place: Path) -> None:
    _score(_pool(place / "else", caption="a cat on the roof"), place / "other")
    shutil.copy(place / "other" / "00001.parquet", place / "scores" / "00001.parquet")


def _change_a_table(place: Path, table: Callable[[pa.Table], pa.Table]) -> None:
    path = place / "scores" / "00002.parquet"
    found = pq.read_table(path)
    changed = table(found).replace_schema_metadata(found.schema.metadata)
    pq.write_table(changed, path, row_group_size=2)


CHANGES: dict[str, Callable[[Path], None]] = {
    "scored what changed": _score_changed,
    "scored other keys": _same_captions_other_keys,
    "scored anew": _score_anew,
    "scored by another": _other_scorer,
    "another table": _replace_a_table,
    "first rows gone": lambda place: _change_a_table(place, lambda table: table.slice(1)),
    "unkept row gone": lambda place: _change_a_table(place, lambda table: table.slice(0, 3)),
    "rows more": lambda place: _change_a_table(place, lambda t: pa.concat_tables([t, t])),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_selection_of_other_tables_is_refused_by_all(place: Path, change: str) -> None:
    for number, read in enumerate(READERS.values()):
        read(place, place / f"before{number}")
    CHANGES[change](place)
    for name, read in READERS.items():
        with pytest.raises(PairsiftError, match=r"(?s)made from.*select again"):
            read(place, place / name)
        assert not (place / name).exists(), name


def test_a_table_without_a_kept_row_counts_in_the_report(place: Path) -> None:
    select(str(place / "scores"), where="startswith(key, '0-')", out=place / "kept")
    _replace_a_table(place)
    with pytest.raises(PairsiftError, match="00001.parquet is not the one.*scored again"):
        READERS["report"](place, place / "page.html")
    write_webdataset(read_selection(place / "kept"), place / "tars")  # none of it is copied


@pytest.mark.parametrize("change", [_score_changed, _replace_a_table])
def test_a_resumed_write_does_not_go_on_with_other_tables(
    place: Path, change: Callable[[Path], None]
) -> None:
    write_webdataset(read_selection(place / "kept"), place / "tars", samples_per_shard=2)
    (place / "tars" / "00000002.tar").unlink()
    (place / "tars" / "sizes.json").unlink()
    before = sorted(path.name for path in (place / "tars").iterdir())
    change(place)
    with pytest.raises(PairsiftError, match="select again"):
        write_webdataset(read_selection(place / "kept"), place / "tars", samples_per_shard=2)
    assert sorted(path.name for path in (place / "tars").iterdir()) == before


def test_a_table_replaced_while_it_is_written_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = Selection.shards

    def slow(self: Selection) -> Any:
        for number, shard in enumerate(shards(self)):
            if number == 2:
                _change_a_table(place, lambda table: table.slice(0, 3))
            yield shard

    selection = read_selection(place / "kept")
    monkeypatch.setattr(Selection, "shards", slow)
    with pytest.raises(PairsiftError, match="00002.parquet.* 3 rows, and had 4; select again"):
        write_parquet(selection, place / "list.parquet")
    assert not (place / "list.parquet").exists()


def test_parts_of_a_selection_know_its_tables(place: Path) -> None:
    bucket, _ = split_selection(
        read_selection(place / "kept"), "caption_length", [1000], place / "parts"
    )
    _replace_a_table(place)
    with pytest.raises(PairsiftError, match="00001.parquet is not the one"):
        write_parquet(read_selection(str(bucket.selection.path)), place / "list.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("change", [None, "touched", "moved", "scored again alike"])
def test_the_same_tables_are_taken(place: Path, change: str | None) -> None:
    if change == "touched":
        (place / "pool" / "00000.tar").touch()  # the run notes the new date in the table
        _score(place / "pool", place / "scores")
    elif change == "moved":
        moved = shutil.copytree(place / "scores", place / "moved", copy_function=shutil.copyfile)
        write_report(str(moved), str(place / "kept"), str(place / "page.html"))
    elif change == "scored again alike":
        shutil.rmtree(place / "scores")
        _score(place / "pool", place / "scores")
    for name, read in READERS.items():
        read(place, place / name)


@pytest.mark.parametrize("rows", ["noted", "not noted"])
def test_older_tables_and_selections_are_checked_by_what_there_is(place: Path, rows: str) -> None:
    for table in (place / "scores").glob("*.parquet"):
        strip_facts(table)
    selection = select(str(place / "scores"), out=place / "kept")
    if rows == "not noted":
        kept = place / "kept" / "kept.parquet"
        metadata = pq.read_metadata(kept).metadata
        assert TABLES_KEY in metadata
        old = {RECORD_KEY: metadata[RECORD_KEY]}
        pq.write_table(pq.read_table(kept).replace_schema_metadata(old), kept)
        selection = read_selection(place / "kept")
        assert not selection.tables
    for name in ("parquet", "tars", "report"):
        READERS[name](place, place / name)
    if rows == "noted":  # by the run that made it
        shutil.rmtree(place / "scores")
        _score(place / "pool", place / "scores")
        for table in (place / "scores").glob("*.parquet"):
            assert IDENTITY_KEY in pq.read_schema(table).metadata
        words = "00000.parquet is not the one.*scored again"
    else:
        _change_a_table(place, lambda table: table.slice(0, 3))
        words = "fewer than when it was selected from"
    with pytest.raises(PairsiftError, match=words):
        write_parquet(selection, place / "list.parquet")
