"""Selecting rows of real score tables."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.select import Selection, read_selection, select
from tests.score_folders import random_scores, score_folder, score_table, uid_of


def _kept(selection: Selection) -> list[tuple[str, str]]:
    return [
        (shard.shard, key)
        for shard in selection.shards()
        for key in shard.table(["key"]).column("key").to_pylist()
    ]


def _expected(table: pa.Table, value: np.ndarray, fraction: float, seed: int) -> set[str]:
    """The kept keys by sorting everything in memory."""
    good = [
        (-value[row], hashlib.md5(f"{seed}:{uid}".encode()).hexdigest(), key)
        for row, (key, uid) in enumerate(
            zip(table["key"].to_pylist(), table["uid"].to_pylist(), strict=True)
        )
        if not math.isnan(value[row])
    ]
    keep = math.floor(Fraction(str(fraction)) * len(good))
    return {key for _, _, key in sorted(good)[:keep]}


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy().astype(np.float64)


def test_where_keeps_what_numpy_keeps_in_order(tmp_path: Path) -> None:
    scores, table = random_scores(tmp_path / "scores", np.random.default_rng(0))
    selection = select(scores, where="itm >= 61.5 and odf >= 20", out=tmp_path / "sel")
    with np.errstate(invalid="ignore"):
        mask = (_numbers(table, "itm") >= 61.5) & (_numbers(table, "odf") >= 20)
    expected = list(zip(table["shard"].to_pylist(), table["key"].to_pylist(), strict=True))
    assert _kept(selection) == [pair for pair, keep in zip(expected, mask, strict=True) if keep]
    assert 0 < selection.kept < len(table)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    fraction=st.floats(0, 1).map(lambda value: round(value, 3)),
    by=st.sampled_from(["itm", "odf", "0.5*itm + 0.5*odf", "-itm", "itm * 0", "log(itm - 61)"]),
    rows=st.integers(1, 50),
)
def test_top_is_exact(seed: int, fraction: float, by: str, rows: int) -> None:
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        scores, table = random_scores(Path(folder) / "scores", rng, rows=rows)
        selection = select(scores, top=fraction, by=by, seed=seed, out=f"{folder}/sel")
        itm, odf = _numbers(table, "itm"), _numbers(table, "odf")
        with np.errstate(all="ignore"):
            value = {
                "itm": itm, "odf": odf, "0.5*itm + 0.5*odf": 0.5 * itm + 0.5 * odf,
                "-itm": -itm, "itm * 0": itm * 0, "log(itm - 61)": np.log(itm - 61),
            }[by]  # fmt: skip
        value[np.isinf(value)] = np.nan
        assert {key for _, key in _kept(selection)} == _expected(table, value, fraction, seed)


def test_the_choice_depends_on_neither_files_nor_threads(tmp_path: Path) -> None:
    """Ties everywhere; the same rows in three tables and in one, in another order."""
    keys = [f"{number:04d}" for number in range(300)]
    uids = [uid_of(number) for number in range(300)]
    three = {
        name: score_table(name, keys[part::3], {"itm": [50.0] * 100}, uids=uids[part::3])
        for part, name in enumerate("cab")
    }
    back = score_table("x", keys[::-1], {"itm": [50.0] * 300}, uids=uids[::-1])
    split = select(
        score_folder(tmp_path / "three", three), top=0.37, by="itm", out=tmp_path / "a", threads=1
    )
    whole = select(
        score_folder(tmp_path / "one", {"x": back}),
        top=0.37,
        by="itm",
        out=tmp_path / "b",
        threads=3,
    )
    chosen = {key for _, key in _kept(split)}
    assert len(chosen) == 111
    assert {key for _, key in _kept(whole)} == chosen
    other = select(str(tmp_path / "one"), top=0.37, by="itm", seed=1, out=tmp_path / "c")
    assert {key for _, key in _kept(other)} != chosen


def test_ties_without_uid_go_by_shard_and_key(tmp_path: Path) -> None:
    table = score_table("s", list("abcdefgh"), {"itm": [1.0] * 8})
    selection = select(
        score_folder(tmp_path / "s", {"s": table}), count=3, by="itm", out=tmp_path / "sel"
    )
    order = sorted("abcdefgh", key=lambda key: hashlib.md5(f"0:s/{key}".encode()).hexdigest())
    assert {key for _, key in _kept(selection)} == set(order[:3])


def test_each_group_is_cut_on_its_own(tmp_path: Path) -> None:
    scores, table = random_scores(tmp_path / "scores", np.random.default_rng(4), rows=100)
    selection = select(
        scores, where="odf > 10", top=0.3, by="itm", per="language", out=tmp_path / "sel"
    )
    itm = _numbers(table, "itm")
    with np.errstate(invalid="ignore"):
        itm[~(_numbers(table, "odf") > 10)] = np.nan
    languages = np.array(table["language"].to_pylist(), dtype=object)
    expected = set()
    for language in ("en", "de", "fr"):
        value = np.where(languages == language, itm, np.nan)
        expected |= _expected(table, value, 0.3, 0)
    assert {key for _, key in _kept(selection)} == expected
    assert [cut.group for cut in selection.record.cuts] == ["de", "en", "fr"]


def test_rows_without_a_group_are_a_group(tmp_path: Path) -> None:
    table = score_table(
        "s", list("abcdef"), {"itm": [1, 2, 3, 4, 5, 6], "language": ["en", None] * 3}
    )
    selection = select(
        score_folder(tmp_path / "s", {"s": table}),
        count=1, by="itm", per="language", out=tmp_path / "sel",
    )  # fmt: skip
    assert {key for _, key in _kept(selection)} == {"e", "f"}


def test_fraction_is_taken_as_written(tmp_path: Path) -> None:
    table = score_table("s", [str(row) for row in range(100)], {"itm": list(range(100))})
    scores = score_folder(tmp_path / "s", {"s": table})
    assert select(scores, top=0.29, by="itm").kept == 29  # floor(0.29 * 100) is 28 in binary
    assert select(scores, top=1, by="itm").kept == 100
    assert select(scores, top=0, by="itm", out=tmp_path / "none").kept == 0
    assert list(read_selection(tmp_path / "none").shards()) == []


def test_infinite_and_extreme_values_are_ordered(tmp_path: Path) -> None:
    values = [1e-45, 3e38, -3e38, math.inf, -math.inf, 0.0, math.nan, 1.0]
    table = score_table("s", list("abcdefgh"), {"itm": values})
    scores = score_folder(tmp_path / "s", {"s": table})
    for count, best in enumerate(["d", "b", "h", "a", "f", "c", "e"], 1):
        kept = _kept(select(scores, count=count, by="itm", out=tmp_path / f"{count}"))
        assert len(kept) == count
        assert ("s", best) in kept
    assert select(scores, count=9, by="itm").kept == 7


def test_record_tells_what_was_dropped_and_why(tmp_path: Path) -> None:
    statuses = [Status.OK] * 8 + [Status.IMAGE_CORRUPT, Status.IMAGE_CORRUPT]
    table = score_table(
        "s",
        [str(row) for row in range(10)],
        {"itm": [10, 20, 30, 40, 50, 60, 70, None, 0, 0], "odf": [0, 9, 9, 9, 0, 9, 9, 9, 9, 9]},
        statuses=statuses,
    )
    scores = score_folder(tmp_path / "s", {"s": table})
    selection = select(scores, where="odf > 5 and itm > 15", top=0.5, by="itm", out=tmp_path / "o")
    record = selection.record
    assert (record.rows, record.kept, record.failed) == (10, 2, {"image_corrupt": 2})
    assert [(drop.reason, drop.rows, drop.alone) for drop in record.dropped] == [
        ("odf > 5", 2, 2),
        ("itm > 15", 1, 2),
        ("no value to rank by", 0, None),
        ("below the cut", 3, None),
    ]
    (cut,) = record.cuts
    assert (cut.scorable, cut.kept, cut.threshold) == (5, 2, 60.0)
    assert record.rows == record.kept + sum(record.failed.values()) + sum(
        drop.rows for drop in record.dropped
    )
    assert read_selection(tmp_path / "o").record == record
    assert json.loads((tmp_path / "o" / "selection.json").read_text()) == record.to_json()


def test_counts_agree_with_and_without_writing(tmp_path: Path) -> None:
    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(1))
    trial = select(scores, where="odf > 50", top=0.5, by="itm")
    made = select(scores, where="odf > 50", top=0.5, by="itm", out=tmp_path / "sel")
    assert trial.path is None
    assert trial.kept == made.kept == len(_kept(made))
    with pytest.raises(PairsiftError, match="trial"):
        list(trial.shards())


def test_same_query_gives_the_same_bytes(tmp_path: Path) -> None:
    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(1))
    for name in "ab":
        select(scores, top=0.4, by="itm", out=tmp_path / name)
    for file in ("kept.parquet", "selection.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_several_folders_are_one_pool(tmp_path: Path) -> None:
    a = score_folder(tmp_path / "a", {"s": score_table("s", ["1", "2"], {"itm": [10, 90]})})
    b = score_folder(tmp_path / "b", {"s": score_table("s", ["1", "2"], {"itm": [80, 20]})})
    selection = select([a, b], top=0.5, by="itm", out=tmp_path / "sel")
    found = [
        (shard.scores, shard.rows.tolist()) for shard in read_selection(tmp_path / "sel").shards()
    ]
    assert found == [(a, [1]), (b, [0])]
    assert selection.kept == 2


def test_remote_folder(tmp_path: Path) -> None:
    import fsspec

    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(1))
    memory = fsspec.filesystem("memory")
    memory.put(f"{scores}/", "/pool/", recursive=True)
    try:
        there = select("memory://pool", top=0.4, by="itm", out="memory://chosen")
        here = select(scores, top=0.4, by="itm", out=tmp_path / "sel")
        assert there.record.digest == here.record.digest
        assert _kept(read_selection("memory://chosen")) == _kept(here)
    finally:
        memory.rm("/pool", recursive=True)
        memory.rm("/chosen", recursive=True)


def test_mixed_fingerprints_are_refused_by_field(tmp_path: Path) -> None:
    table = score_table("s", ["1"], {"itm": [1.0]})
    a = score_folder(tmp_path / "a", {"s": table}, fingerprint={"scorer": "x", "dtype": "float32"})
    b = score_folder(tmp_path / "b", {"t": table}, fingerprint={"scorer": "x", "dtype": "int8"})
    with pytest.raises(PairsiftError, match="dtype is 'float32' in one and 'int8' in the other"):
        select([a, b], where="itm > 1")
    shutil.copy(tmp_path / "b" / "t.parquet", tmp_path / "a")  # by hand, past the manifest
    with pytest.raises(PairsiftError, match="dtype is"):
        select(a, where="itm > 1")


def test_folders_without_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="no folder"):
        select(str(tmp_path / "nowhere"))
    with pytest.raises(PairsiftError, match="holds no score tables"):
        select(str(tmp_path))
    pq.write_table(pa.table({"itm": [1.0]}), tmp_path / "x.parquet")
    with pytest.raises(PairsiftError, match=r"x\.parquet is not a score table of Pairsift"):
        select(str(tmp_path))
    (tmp_path / "x.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(PairsiftError, match=r"x\.parquet"):
        select(str(tmp_path))
    with pytest.raises(PairsiftError, match="is a file"):
        select(str(tmp_path / "x.parquet"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0.3}, "go together"),
        ({"by": "itm"}, "go together"),
        ({"top": 30, "by": "itm"}, "not a fraction"),
        ({"top": 0.3, "count": 3, "by": "itm"}, "exclude each other"),
        ({"count": -1, "by": "itm"}, "negative"),
        ({"per": "language"}, "give --top and --by"),
        ({"where": "itm"}, "a condition is needed"),
        ({"top": 0.3, "by": "itm > 3"}, "a number is needed"),
        ({"where": "item > 1"}, "no column 'item'"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, options: dict, message: str) -> None:
    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(1), rows=3)
    with pytest.raises(PairsiftError, match=message):
        select(scores, **options)


def test_no_selection_there(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="holds no selection"):
        read_selection(tmp_path)
    pq.write_table(pa.table({"row": [1]}), tmp_path / "kept.parquet")
    with pytest.raises(PairsiftError, match="not a selection of this version"):
        read_selection(tmp_path)
