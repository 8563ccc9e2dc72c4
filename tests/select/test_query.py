"""Selecting rows of real score tables."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsift import load_scorer
from pairsift.engines.local import score_shards
from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.select import Selection, read_selection, select
from pairsift.select.tables import find_score_tables
from pairsift.sources import find_shards
from pairsift.writers import write_webdataset
from tests.samples import good_samples, write_tar
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


def test_shards_of_any_names_are_selected_together(tmp_path: Path) -> None:
    names = [b"\xff\xfe", b"\\x", b"a\\b", b"[red]", b"q?", b"a*", b"{1..3}", b"new\nline", b"'q'"]
    for name in names:
        path = os.path.join(os.fsencode(tmp_path), b"pool", name + b".tar")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_tar(Path(os.fsdecode(path)), good_samples(2))
    shards = find_shards(str(tmp_path / "pool"))
    score_shards(shards, load_scorer("heuristics"), str(tmp_path / "scores"), workers=0)
    selection = select(str(tmp_path / "scores"), where="caption_length > 0", out=tmp_path / "sel")
    assert selection.kept == 2 * len(names)
    assert write_webdataset(selection, tmp_path / "out").samples == 2 * len(names)


@pytest.mark.parametrize("other", [False, True])
def test_a_selection_is_never_put_among_scores(tmp_path: Path, other: bool) -> None:
    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(0))
    out = score_folder(tmp_path / "more", {"kept": score_table("kept", ["a"], {"itm": [1]})})
    before = (Path(out) / "kept.parquet").read_bytes()
    with pytest.raises(PairsiftError, match="is a folder of scores; choose another folder"):
        select(scores if other else out, where="itm >= 0", out=out)
    assert (Path(out) / "kept.parquet").read_bytes() == before
    assert select(out, where="itm >= 0").kept == 1


@pytest.mark.slow
def test_of_several_selections_into_one_folder_the_last_one_stays_whole(tmp_path: Path) -> None:
    table = score_table("0", [f"{n}" for n in range(500)], {"itm": [float(n) for n in range(500)]})
    scores = score_folder(tmp_path / "s", {"0": table})
    out = str(tmp_path / "sel")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda low: select(scores, where=f"itm >= {low}", out=out), range(24)))
    found = read_selection(out)
    assert found.to_json() in [selection.to_json() for selection in made]
    assert len(_kept(found)) == found.kept


def test_where_keeps_what_numpy_keeps_in_order(tmp_path: Path) -> None:
    scores, table = random_scores(tmp_path / "scores", np.random.default_rng(0))
    selection = select(scores, where="itm >= 61.5 and odf >= 20", out=tmp_path / "sel")
    with np.errstate(invalid="ignore"):
        mask = (_numbers(table, "itm") >= 61.5) & (_numbers(table, "odf") >= 20)
    expected = list(zip(table["shard"].to_pylist(), table["key"].to_pylist(), strict=True))
    assert _kept(selection) == [pair for pair, keep in zip(expected, mask, strict=True) if keep]
    assert 0 < selection.kept < len(table)


@pytest.mark.slow
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


def test_failed_rows_are_not_counted_as_passing_a_condition(tmp_path: Path) -> None:
    statuses = [Status.OK, Status.OK, Status.CAPTION_MISSING, Status.CAPTION_MISSING]
    table = score_table("s", list("abcd"), {"itm": [90, 10, 0, 0]}, statuses=statuses)
    scores = score_folder(tmp_path / "s", {"s": table})
    # The width of an image is known although its caption is missing.
    record = select(scores, where="itm > 50 and width > 1").record
    assert [(drop.reason, drop.rows, drop.alone) for drop in record.dropped] == [
        ("itm > 50", 1, 1),
        ("width > 1", 0, 0),
    ]
    assert (record.kept, record.failed) == (1, {"caption_missing": 2})


def test_counts_agree_with_and_without_writing(tmp_path: Path) -> None:
    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(1))
    trial = select(scores, where="odf > 50", top=0.5, by="itm")
    made = select(scores, where="odf > 50", top=0.5, by="itm", out=tmp_path / "sel")
    assert trial.path is None
    assert trial.kept == made.kept == len(_kept(made))
    with pytest.raises(PairsiftError, match="only counted rows"):
        list(trial.shards())


@pytest.mark.parametrize(
    "where",
    [
        "odf > 50",
        "itm > 20 and odf > 50 and width > 1",
        " and ".join(f"itm > {value}" for value in range(3, 33, 3)),
    ],
)
def test_conditions_alone_are_recorded_as_without_writing(tmp_path: Path, where: str) -> None:
    """Without a cut, the rows are counted by the scan that writes them."""
    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(1))
    trial = select(scores, where=where).record
    made = select(scores, where=where, out=tmp_path / "sel")
    assert replace(made.record, digest="") == trial
    assert 0 < made.kept == len(_kept(made)) < made.record.rows
    assert len(made.record.dropped) == where.count(">")
    unlike = select(scores, where=where, unique=True, out=tmp_path / "unique")
    assert unlike.record.digest == made.record.digest  # no uid is there twice


@pytest.mark.parametrize("options", [{"where": "itm > 20"}, {"top": 0.5, "by": "itm"}])
def test_tables_that_change_while_they_are_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict
) -> None:
    scores, table = random_scores(tmp_path / "scores", np.random.default_rng(1))
    name = min(Path(scores).glob("*.parquet"))

    def found(*given: object) -> object:
        tables = find_score_tables(*given)  # type: ignore[arg-type]
        pq.write_table(pq.read_table(name).slice(1), name)
        return tables

    monkeypatch.setattr("pairsift.select.query.find_score_tables", found)
    with pytest.raises(PairsiftError, match=f"tables changed while .*of {len(table)} rows, "):
        select(scores, **options, out=tmp_path / "sel")
    assert not (tmp_path / "sel").exists()


@pytest.mark.parametrize("made_before", [False, True])
def test_damage_that_is_found_while_rows_are_written_is_told(
    tmp_path: Path, made_before: bool
) -> None:
    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(1))
    if made_before:
        (tmp_path / "sel").mkdir()
    damaged = max(Path(scores).glob("*.parquet"))
    column = next(
        column
        for column in map(pq.read_metadata(damaged).row_group(0).column, range(20))
        if column.path_in_schema == "itm"
    )
    content = bytearray(damaged.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start + 8 : start + 40] = bytes(32)
    damaged.write_bytes(content)
    with pytest.raises(PairsiftError, match="a table cannot be read: .*score again"):
        select(scores, where="itm > 20", out=tmp_path / "sel")
    assert (tmp_path / "sel").exists() == made_before


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
        ({"top": 0.3}, "needs --by"),
        ({"by": "itm"}, "needs --by"),
        ({"top": 30, "by": "itm"}, "not a fraction"),
        ({"top": 0.3, "count": 3, "by": "itm"}, "cannot be used together"),
        ({"count": -1, "by": "itm"}, "negative"),
        ({"per": "language"}, "applies --top to each group"),
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
    with pytest.raises(PairsiftError, match="is not a selection"):
        read_selection(tmp_path)
    pq.write_table(pa.table({"row": [1]}), tmp_path / "kept.parquet")
    with pytest.raises(PairsiftError, match="not written by this version"):
        read_selection(tmp_path)


GROUPS = {
    "NaN": pa.array([1.5, math.nan, None, math.nan, 1.5, math.inf, -math.inf, 2.0], pa.float32()),
    "double": pa.array([0.1, math.nan, None, math.nan, 0.1, math.inf, -math.inf, 2.0]),
    "truth": pa.array([True, False, None, True, False, None, True, False]),
    "date": pa.array([dt.date(2024, 1, 1 + row % 3) if row else None for row in range(8)]),
    "time": pa.array([dt.datetime(2024, 1, 1, row % 3) for row in range(8)], pa.timestamp("us")),
    "decimal": pa.array([Decimal("1.10"), Decimal("2.2"), None, Decimal("1.10")] * 2),
    "text": pa.array(["it's", 'say "hi"', "'; DROP TABLE x; --", None, "", "NULL", "üñ", "it's"]),
    "coded": pa.array(["a", "b", None, "a"] * 2).dictionary_encode(),
    "whole": pa.array([2**53 - 1, -1, None, 0] * 2, pa.int64()),
}


def _odd_groups(path: Path, values: pa.Array) -> str:
    """Scores of eight rows with a column `group value` of any type."""
    table = score_table("a", [f"k{row}" for row in range(8)], {"itm": [float(r) for r in range(8)]})
    table = table.append_column("group value", values)
    return score_folder(path / "scores", {"a": table})


@pytest.mark.parametrize("kind", GROUPS)
def test_groups_of_any_value(tmp_path: Path, kind: str) -> None:
    groups = [None if v != v else v for v in GROUPS[kind].to_pylist()]
    scores = _odd_groups(tmp_path, GROUPS[kind])
    selection = select(scores, count=1, by="itm", per='"group value"', out=tmp_path / "sel")
    best = {group: f"k{row}" for row, group in enumerate(groups)}  # itm ascends
    assert {key for _, key in _kept(selection)} == set(best.values())
    assert len(selection.record.cuts) == len(best)
    assert read_selection(tmp_path / "sel").record.kept == len(best)
    trial = select(scores, top=0.5, by="itm", per='"group value"')
    assert trial.kept == sum(groups.count(group) // 2 for group in best)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([["a"], [], None, ["b"]] * 2),
        pa.array([{"x": 1}, None, {"x": 2}, {"x": 1}] * 2),
        pa.array([b"a", b"b", None, b"\xff"] * 2),
    ],
    ids=["list", "struct", "bytes"],
)
def test_groups_that_are_no_values_are_refused(tmp_path: Path, values: pa.Array) -> None:
    scores = _odd_groups(tmp_path, values)
    with pytest.raises(PairsiftError, match=r'"group value".*group by another column'):
        select(scores, count=1, by="itm", per='"group value"')
    assert select(scores, where='"group value" is not null').kept == 6


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("far", [math.nan, math.inf, -math.inf])
def test_ranking_by_odd_numbers(tmp_path: Path, far: float, count: int) -> None:
    by = [1.0, far, 2.0, far, 3.0, far, 4.0, 5.0]
    table = score_table("a", [f"k{row}" for row in range(8)], {"itm": by})
    scores = score_folder(tmp_path / "scores", {"a": table})
    selection = select(scores, count=count, by="itm", out=tmp_path / "sel")
    numbers = sorted((value for value in by if value == value), reverse=True)
    kept = [by[int(key[1:])] for _, key in _kept(selection)]
    assert sorted(kept, reverse=True) == numbers[:count]
    assert select(scores, where="itm >= 4").kept == sum(value >= 4 for value in by)
    assert select(scores, where="not itm < 4").kept == sum(value >= 4 for value in by)
    strict_json(selection.to_json())
    assert read_selection(tmp_path / "sel").record.cuts == selection.record.cuts


def strict_json(content: object) -> None:
    """Raises ValueError for NaN and infinities, which JSON has not."""
    json.dumps(content, allow_nan=False)


EMPTY = {
    "no row": [],
    "one row": [Status.OK],
    "one failed": [Status.IMAGE_CORRUPT],
    "all failed": [Status.IMAGE_MISSING, Status.CAPTION_EMPTY, Status.IMAGE_MISSING],
}


@pytest.mark.parametrize("statuses", EMPTY.values(), ids=list(EMPTY))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"where": "itm >= 1 and caption_length > 3"},
        {"top": 1.0, "by": "itm"},
        {"count": 5, "by": "itm", "per": "language", "unique": True},
        {"where": "itm >= p70(itm)"},
        {"top": 0.3, "by": "itm / percentile(itm, 50)"},
    ],
    ids=["all", "where", "top", "per", "percentile", "by percentile"],
)
def test_few_or_no_rows_are_selected_like_many(
    tmp_path: Path, statuses: list[Status], options: dict
) -> None:
    keys = [str(row) for row in range(len(statuses))]
    columns = {"itm": [50.0] * len(keys), "language": ["en"] * len(keys)}
    table = score_table("a", keys, columns, statuses=statuses)
    if not keys:  # a text column has its type without a text too
        table = random_scores(tmp_path / "other", np.random.default_rng(0))[1].slice(0, 0)
    scores = score_folder(tmp_path / "scores", {"a": table})
    selection = select(scores, **options, out=tmp_path / "sel")
    # floor(0.3 * 1) rows are none
    kept = 0 if options.get("top") == 0.3 else statuses.count(Status.OK)
    assert (selection.kept, len(_kept(selection))) == (kept, kept)
    assert selection.record.rows == len(keys)
    assert sum(selection.record.failed.values()) == len(keys) - statuses.count(Status.OK)
    assert read_selection(tmp_path / "sel").kept == select(scores, **options).kept == kept
    strict_json(selection.to_json())
