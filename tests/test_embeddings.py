"""Embeddings are kept beside their table, and only read with the table they were written for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pairsift import embeddings
from pairsift.embeddings import IMAGE, NAMES, TEXT, embedding_fields, from_table, to_arrow
from pairsift.errors import PairsiftError
from pairsift.storage import Folder

NAN = float("nan")
VECTORS = np.array([[0.6, 0.8], [NAN, NAN], [1.0, 0.0]])


def _table(*vectors: np.ndarray) -> pa.Table:
    """A table whose columns have one chunk for each array."""
    schema = pa.schema(embedding_fields(2))
    column = pa.chunked_array([to_arrow(part) for part in vectors], schema.types[0])
    return pa.Table.from_arrays([column] * 2, schema=schema)


def _write(folder: Folder, name: str, *vectors: np.ndarray) -> bytes:
    """Write as a commit does; returns the digest."""
    _, split = embeddings.split(_table(*vectors))
    assert split is not None
    return embeddings.write(folder, name, split, {"scorer": "clip"})


def test_a_row_without_a_vector_is_null_and_not_ok() -> None:
    found = from_table(_table(VECTORS))
    assert found.ok.tolist() == [True, False, True]
    for name in NAMES:
        assert found.vectors[name].dtype == np.float16
        np.testing.assert_array_equal(
            found.vectors[name], np.array([[0.6, 0.8], [0, 0], [1, 0]], np.float16)
        )


def test_a_vector_that_float16_cannot_hold_is_not_ok() -> None:
    with np.errstate(over="ignore"):
        found = from_table(_table(np.array([[1e9, 0.0], [1.0, 0.0]])))
    assert found.ok.tolist() == [False, True]


def test_chunks_slices_and_tables_without_rows_are_read_alike() -> None:
    whole = from_table(_table(VECTORS))
    parts = from_table(_table(VECTORS[:1], VECTORS[1:]))
    np.testing.assert_array_equal(parts.vectors[TEXT], whole.vectors[TEXT])
    end = from_table(_table(VECTORS).slice(1))
    np.testing.assert_array_equal(end.vectors[IMAGE], whole.vectors[IMAGE][1:])
    assert end.ok.tolist() == [False, True]
    for empty in (_table(VECTORS).slice(3), _table(np.zeros((0, 2))), _table()):
        found = from_table(empty)
        assert (found.vectors[IMAGE].shape, found.ok.tolist()) == ((0, 2), [])


def test_a_table_is_split_into_scores_and_embeddings() -> None:
    both = _table(VECTORS).add_column(0, "clip_score", pa.array([1.0, None, 2.0]))
    table, vectors = embeddings.split(both)
    assert table.column_names == ["clip_score"]
    assert vectors is not None
    assert vectors.column_names == list(NAMES)
    assert embeddings.split(table) == (table, None)
    fields = embeddings.without_embeddings(both.schema)
    assert [field.name for field in fields] == ["clip_score"]


@pytest.mark.parametrize("place", ["local", "memory"])
def test_what_is_written_is_read_back_with_the_model(tmp_path: Path, place: str) -> None:
    folder = Folder(str(tmp_path) if place == "local" else f"memory://{tmp_path.name}")
    digest = _write(folder, "00000", VECTORS[:2], VECTORS[2:])
    found = embeddings.read(folder, "00000", digest)
    assert found.model == {"scorer": "clip"}
    assert found.ok.tolist() == [True, False, True]
    np.testing.assert_array_equal(found.vectors[IMAGE][0], np.array([0.6, 0.8], np.float16))
    assert len(embeddings.read_table(folder, "00000", digest).to_batches()) == 1


def test_equal_embeddings_have_equal_digests(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    whole = _write(folder, "a", VECTORS)
    assert _write(folder, "b", VECTORS[:1], VECTORS[1:]) == whole
    assert _write(folder, "c", VECTORS[::-1]) != whole


def test_embeddings_that_are_not_those_of_the_table_are_refused(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    digest = _write(folder, "00000", VECTORS)
    for name, known in (("00001", digest), ("00000", None)):
        with pytest.raises(PairsiftError, match=f"no embeddings of {name}; score with --embed"):
            embeddings.read(folder, name, known)
    _write(folder, "00000", VECTORS[:2])
    with pytest.raises(PairsiftError, match="00000.arrow is not what the score table 00000 was"):
        embeddings.read(folder, "00000", digest)
    (tmp_path / "embeddings" / "00000.arrow").write_bytes(b"")
    with pytest.raises(PairsiftError, match="remove the table and run `pairsift score` again"):
        embeddings.read(folder, "00000", digest)
