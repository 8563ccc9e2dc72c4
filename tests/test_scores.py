"""Schema, fingerprint and commit of the score table."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.scores import (
    FACTS_KEY,
    MANIFEST,
    ScoreFolder,
    read_fingerprint,
    score_schema,
    status_array,
)

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
