"""Schema, fingerprint and commit of the score table."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.engines.local import score_shards
from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.scorers.registry import load_scorer
from pairsift.scores import (
    FACTS_KEY,
    MANIFEST,
    ScoreFolder,
    read_fingerprint,
    score_schema,
    status_array,
)
from pairsift.sources import find_shards
from pairsift.storage import Folder
from tests.samples import good_samples, write_tar

SCHEMA = score_schema([pa.field("itm", pa.float32())])
FINGERPRINT = {"scorer": "test", "checkpoint": "abc"}


def _table(keys: list[str], statuses: list[Status]) -> pa.Table:
    count = len(keys)
    return pa.Table.from_arrays(
        [
            pa.array(["s"] * count),
            pa.array(keys),
            pa.nulls(count, pa.string()),
            status_array(statuses),
            pa.nulls(count, pa.string()),
            *[pa.nulls(count, pa.int32()) for _ in range(3)],
            pa.nulls(count, pa.float32()),
        ],
        schema=SCHEMA,
    )


def test_committed_table_keeps_schema_fingerprint_and_facts(tmp_path: Path) -> None:
    folder = ScoreFolder(str(tmp_path), FINGERPRINT, "/data")
    folder.commit("s", _table(["a", "b"], [Status.OK, Status.IMAGE_CORRUPT]), {"rows": 2})
    found = pq.read_table(tmp_path / "s.parquet")
    assert found.schema.equals(SCHEMA)
    assert found["status"].to_pylist() == ["ok", "image_corrupt"]
    assert read_fingerprint(found.schema.metadata, "s") == FINGERPRINT
    assert json.loads(found.schema.metadata[FACTS_KEY]) == {"rows": 2}
    assert folder.finished() == {"s"}


def test_columns_that_are_all_null_do_not_change_the_schema(tmp_path: Path) -> None:
    folder = ScoreFolder(str(tmp_path), FINGERPRINT, "/data")
    folder.commit("nulls", _table(["a"], [Status.CAPTION_MISSING]), {})
    folder.commit("empty", SCHEMA.empty_table(), {})
    schemas = [pq.read_schema(tmp_path / f"{name}.parquet") for name in ("nulls", "empty")]
    assert all(schema.equals(SCHEMA) for schema in schemas)


def test_every_file_has_the_whole_status_dictionary() -> None:
    assert status_array([Status.OK]).dictionary.to_pylist() == [s.value for s in Status]


def test_mixed_fingerprints_are_refused_by_field(tmp_path: Path) -> None:
    ScoreFolder(str(tmp_path), FINGERPRINT, "/data").claim()
    ScoreFolder(str(tmp_path), FINGERPRINT, "/data").claim()  # the same again is welcome
    with pytest.raises(PairsiftError, match="checkpoint is 'abc' there and 'xyz' now"):
        ScoreFolder(str(tmp_path), FINGERPRINT | {"checkpoint": "xyz"}, "/data")
    with pytest.raises(PairsiftError, match="prompts is None there and 'p' now"):
        ScoreFolder(str(tmp_path), FINGERPRINT | {"prompts": "p"}, "/data")


def test_shards_from_another_root_are_refused(tmp_path: Path) -> None:
    ScoreFolder(str(tmp_path), FINGERPRINT, "/data/a").claim()
    with pytest.raises(PairsiftError, match="shards below /data/a, .* below /data/b"):
        ScoreFolder(str(tmp_path), FINGERPRINT, "/data/b")


def test_broken_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(PairsiftError, match="_run.json is not readable JSON"):
        ScoreFolder(str(tmp_path), FINGERPRINT, "/data")


def test_a_foreign_parquet_is_no_score_table() -> None:
    with pytest.raises(PairsiftError, match=r"x\.parquet is not a score table"):
        read_fingerprint({b"other": b"1"}, "x.parquet")


def _foreign(path: Path) -> None:
    pq.write_table(pa.table({"url": ["a"]}), path)


def _selection_rows(path: Path) -> None:
    table = pa.table({"row": [1]}).replace_schema_metadata({"pairsift.selection": "{}"})
    pq.write_table(table, path)


OTHERS: dict[str, Callable[[Path], None]] = {
    "foreign table": _foreign,
    "selection's rows": _selection_rows,
    "no parquet": lambda path: path.write_bytes(b"not a parquet"),
    "empty file": lambda path: path.touch(),
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_folder_of_other_tables_is_refused_before_work(tmp_path: Path, what: str) -> None:
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool" / "0.tar", good_samples(2))
    shards, out = find_shards(str(tmp_path / "pool")), tmp_path / "out"
    score_shards(shards, load_scorer("heuristics"), str(tmp_path / "scores"), workers=0)
    out.mkdir()
    (out / "a.parquet").write_bytes((tmp_path / "scores" / "0.parquet").read_bytes())
    OTHERS[what](out / "b.parquet")
    with pytest.raises(PairsiftError, match=r"out/b\.parquet is "):
        score_shards(shards, load_scorer("heuristics"), str(out), workers=0)
    assert sorted(os.listdir(out)) == ["a.parquet", "b.parquet"]


def test_other_tables_behind_a_url_are_refused_too(tmp_path: Path) -> None:
    folder = Folder(f"memory://{tmp_path.name}")
    buffer = io.BytesIO()
    pq.write_table(pa.table({"url": ["a"]}), buffer)
    folder.write("x.parquet", buffer.getvalue())
    with pytest.raises(PairsiftError, match=r"x\.parquet is not a score table"):
        ScoreFolder(folder.url, {"scorer": "x"}, "")


def test_tables_of_before_there_was_a_manifest_are_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool" / "0.tar", good_samples(2))
    shards, out = find_shards(str(tmp_path / "pool")), tmp_path / "out"
    score_shards(shards, load_scorer("heuristics"), str(out), workers=0)
    (out / "_run.json").unlink()
    assert score_shards(shards, load_scorer("heuristics"), str(out), workers=0).skipped == 1
