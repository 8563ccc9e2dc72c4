"""The parquet list of kept rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.select import select
from pairsift.writers import write_parquet
from tests.score_folders import random_scores


def test_list_is_the_kept_rows_of_the_tables(tmp_path: Path) -> None:
    scores, table = random_scores(tmp_path / "scores", np.random.default_rng(0))
    selection = select(scores, where="odf >= 50", out=tmp_path / "sel")
    written = write_parquet(selection, tmp_path / "kept.parquet")
    found = pq.read_table(tmp_path / "kept.parquet")
    # Older pyarrow reads the codes of `status` as wider integers.
    assert found.schema.names == table.schema.names
    assert found.cast(table.schema).to_pylist() == found.to_pylist()
    expected = [row for row in table.to_pylist() if row["odf"] is not None and row["odf"] >= 50]
    assert found.to_pylist() == expected
    assert written.rows == len(expected) > 0
    write_parquet(selection, tmp_path / "few.parquet", ["key", "itm"])
    assert pq.read_schema(tmp_path / "few.parquet").names == ["key", "itm"]


def test_nothing_kept_is_a_list_without_rows(tmp_path: Path) -> None:
    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(0))
    selection = select(scores, where="odf > 100", out=tmp_path / "sel")
    assert write_parquet(selection, tmp_path / "kept.parquet").rows == 0
    found = pq.read_table(tmp_path / "kept.parquet")
    assert (found.num_rows, found.column_names) == (0, list(selection.schema().names))
    write_parquet(selection, tmp_path / "few.parquet", [" key", "itm "])
    assert pq.read_schema(tmp_path / "few.parquet").names == ["key", "itm"]
    with pytest.raises(PairsiftError, match="no column 'imt'; they have shard, key"):
        write_parquet(selection, tmp_path / "none.parquet", ["imt"])
    assert not (tmp_path / "none.parquet").exists()
