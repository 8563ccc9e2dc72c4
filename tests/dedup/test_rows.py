"""The rows of score tables by their hashes, as whole numbers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import pytest

from pairsift import PairsiftError
from pairsift.dedup.rows import HASHED, number, open_hashed
from pairsift.hashing import CAPTION, PHASH, SHA, VERSION, hash_caption
from pairsift.pair import Status
from tests.dedup.conftest import Write
from tests.score_folders import score_folder, score_table


def test_hashes_are_numbers_of_their_first_digits(
    connection: duckdb.DuckDBPyConnection, write_scores: Write
) -> None:
    largest = 2**64 - 1
    scores = write_scores({"a": [(0, "f0", "a dog", 1), (largest, "f1", "a cat", 2)],
                           "b": [(None, "f2", "", 3)]})  # fmt: skip
    tables = open_hashed(connection, scores, "image")
    assert [table.shard for table in tables.tables] == ["a", "b"]
    found = connection.execute(f"SELECT * FROM {HASHED} ORDER BY pos").fetchall()
    assert [row[:2] for row in found] == [(0, 0), (1, largest), (1 << 32, None)]
    for row, name, caption in zip(found, ("f0", "f1", "f2"), ("a dog", "a cat", ""), strict=True):
        digests = hashlib.sha256(name.encode()).hexdigest(), hash_caption(caption)
        for high, low, digest in zip(row[2::2], row[3::2], digests, strict=True):
            assert (high, low) == (int(digest[:16], 16), int(digest[16:32], 16))


def test_failed_rows_are_left_out(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    hashes = {name: ["0" * 64] * 2 for name in (SHA, CAPTION)} | {PHASH: ["0" * 16] * 2}
    statuses = [Status.CAPTION_EMPTY, Status.OK]
    table = score_table("a", ["1", "2"], hashes, statuses=statuses)
    scores = score_folder(tmp_path / "s", {"a": table}, fingerprint={"hashes": VERSION})
    open_hashed(connection, scores, "both")
    assert connection.execute(f"SELECT pos FROM {HASHED}").fetchall() == [(1,)]


@pytest.mark.parametrize("digits", ["0" * 16, "f" * 16, "0123456789abcdef"])
def test_sixteen_digits_are_one_number(connection: duckdb.DuckDBPyConnection, digits: str) -> None:
    sql = f"SELECT {number('h')}, {number('h', 17)} FROM (SELECT '{digits}{digits[::-1]}' AS h)"
    expected = int(digits, 16), int(digits[::-1], 16)
    assert connection.execute(sql).fetchall() == [expected]


def test_scores_of_other_hashes_are_refused(
    connection: duckdb.DuckDBPyConnection, write_scores: Write
) -> None:
    older = write_scores({"a": [(0, "f", "c", 1)]}, version="phash 0")
    with pytest.raises(PairsiftError, match=r"other hashes \(phash 0\) than this version"):
        open_hashed(connection, older, "image")


def test_scores_without_hashes_are_told_how_to_get_them(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    plain = score_folder(tmp_path / "plain", {"a": score_table("a", ["1"], {"itm": [1.0]})})
    with pytest.raises(PairsiftError, match="score with --hashes, or beside these scores"):
        open_hashed(connection, plain, "image")


@pytest.mark.parametrize("on", ["caption", "both"])
def test_several_captions_of_a_sample_are_grouped_by_image_alone(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, on: str
) -> None:
    hashes = {SHA: ["0"], PHASH: ["0"], CAPTION: ["0"]}
    table = score_table("a", ["1"], {"caption_index": [0], **hashes})
    folder = score_folder(tmp_path / "several", {"a": table}, fingerprint={"hashes": "x"})
    with pytest.raises(PairsiftError, match="several captions of each sample.*give --on image"):
        open_hashed(connection, folder, on)
