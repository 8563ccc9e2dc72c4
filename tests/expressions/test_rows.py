"""A condition on rows in hand keeps what `select` keeps of a folder."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pairsift.errors import PairsiftError
from pairsift.expressions.rows import RowFilter, RowValue, columns_used
from pairsift.select import select
from tests.score_folders import random_scores


@pytest.mark.parametrize(
    "where",
    [
        "itm >= 61.25",
        "itm >= 61.25 and odf < 50",
        "not (itm > 62) or language in ('en', 'fr')",
        "itm is not null",
        "0.5*itm + 0.5*odf > 55 and startswith(language, 'e')",
    ],
)
def test_it_keeps_what_select_keeps(tmp_path: Path, where: str) -> None:
    scores, table = random_scores(tmp_path / "scores", np.random.default_rng(1))
    selection = select(scores, where=where, out=tmp_path / "kept")
    kept = [(shard.shard, int(row)) for shard in selection.shards() for row in shard.rows]
    assert 0 < len(kept) < table.num_rows
    passes = pickle.loads(pickle.dumps(RowFilter(where, table.schema)))
    mask = passes(table)
    rows = [(shard, place % 40) for place, shard in enumerate(table["shard"].to_pylist())]
    assert [row for row, passed in zip(rows, mask, strict=True) if passed] == kept
    with ThreadPoolExecutor(4) as threads:
        for again in threads.map(passes, [table] * 8):
            assert np.array_equal(again, mask)


def test_nothing_unknown_passes() -> None:
    values = pa.array([70.0, float("nan"), None, 70.0], pa.float32())
    table = pa.table({"s": ["ok", "ok", "ok", "model_error"], "itm": values})
    assert RowFilter("itm > 3", table.schema, status="s")(table).tolist() == [
        True, False, False, False
    ]  # fmt: skip
    assert RowFilter("itm is null", table.schema, status="s")(table).tolist() == [
        False, True, True, False
    ]  # fmt: skip
    assert RowFilter("itm > 3", table.schema, status="s")(table.slice(0, 0)).tolist() == []


def test_a_forked_process_has_a_database_of_its_own() -> None:
    table = pa.table({"status": ["ok"] * 50, "itm": pa.array(range(50), pa.float32())})
    passes = RowFilter("itm >= 20", table.schema)
    assert passes(table).sum() == 30
    child = os.fork()
    if not child:
        os._exit(int(passes(table).sum()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 30


def test_columns_of_expressions() -> None:
    schema = pa.schema({"status": pa.string(), "itm": pa.float32(), "odf": pa.float32()})
    assert columns_used(["itm > p30(odf)", "itm"], schema) == {"itm", "odf"}
    assert RowFilter("itm > 3", schema).schema.names == ["itm", "status"]


@pytest.mark.parametrize(
    ("where", "status", "says"),
    [
        ("itmm > 3", "status", "did you mean itm"),
        ("itm", "status", "a condition is needed"),
        ("itm > p70(itm)", "status", "cannot be used here"),
        ("itm > 3", "state", "no column 'state'"),
    ],
)
def test_mistakes_are_named(where: str, status: str, says: str) -> None:
    schema = pa.schema({"status": pa.string(), "itm": pa.float32()})
    with pytest.raises(PairsiftError, match=says):
        RowFilter(where, schema, status=status)


def test_a_rows_value_is_nan_where_there_is_none() -> None:
    itm = pa.array([70.0, float("nan"), None], pa.float32())
    table = pa.table({"itm": itm, "width": [4, None, 6], "other": ["a", "b", "c"]})
    by = pickle.loads(pickle.dumps(RowValue("itm / width", table.schema)))
    assert np.array_equal(by(table), [17.5, np.nan, np.nan], equal_nan=True)
    assert by(table.slice(0, 0)).shape == (0,)
    whole = RowValue("coalesce(width, 0)", table.schema)(table)
    assert (whole.dtype, whole.tolist()) == (np.float64, [4.0, 0.0, 6.0])


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ("other", "is text; a number is needed"),
        ("itm > 3", "is a condition; a number is needed"),
        ("p50(itm)", "cannot be used here"),
        ("1 + 1", "names no column"),
    ],
)
def test_what_ranks_no_rows_is_refused(by: str, says: str) -> None:
    table = pa.table({"itm": pa.array([1.0], pa.float32()), "other": ["a"]})
    with pytest.raises(PairsiftError, match=says):
        RowValue(by, table.schema)(table)
