"""Which rows a filter keeps, and how what it kept is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.data import Pool
from pairsift.evaluate.downstream.features import WIDTH, Part
from pairsift.evaluate.downstream.filters import (
    Filter,
    baselines,
    filters_of,
    percentile_ranks,
    quality,
    read_scores,
)
from pairsift.pair import Status
from pairsift.scores import ScoreFolder, score_schema, status_array

NAN = float("nan")


def _pool(kinds: list[str]) -> Pool:
    count = len(kinds)
    keys = [str(n) for n in range(count)]
    features = np.zeros((count, WIDTH), np.float16)
    part = Part(keys, keys, np.arange(count, dtype=np.int32), features, keys)
    names = np.array(kinds, dtype=object)
    return Pool([("s", key) for key in keys], part, names, names == "own")


def test_the_best_are_kept_and_failures_go_first() -> None:
    scores = np.array([5.0, NAN, 9.0, 1.0, 7.0])
    assert Filter("f", scores).keep(0.4, 5, seed=0).tolist() == [2, 4]
    assert Filter("f", scores).keep(0.8, 5, seed=0).tolist() == [0, 2, 3, 4]
    assert Filter("none", None).keep(0.1, 5, seed=0).tolist() == [0, 1, 2, 3, 4]


def test_ties_are_broken_by_the_seed() -> None:
    scores = np.array([1.0] * 50 + [0.0] * 50)
    kept = [Filter("f", scores).keep(0.25, 100, seed).tolist() for seed in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]
    assert max(kept[0] + kept[2]) < 50


def test_metrics_make_their_intersection_and_union() -> None:
    itm = np.array([90.0, 80.0, 10.0, 50.0])
    odf = np.array([10.0, 70.0, 90.0, 50.0])
    found = {f.name: f for f in filters_of("a/tiny", {"itm": itm, "odf": odf})}
    assert list(found) == ["tiny itm", "tiny odf", "tiny itm AND odf", "tiny itm OR odf"]
    # Ranks: itm 4 3 1 2, odf 1 3 4 2; the smaller: 1 3 1 2, the larger: 4 3 4 2.
    assert found["tiny itm AND odf"].keep(0.5, 4, 0).tolist() == [1, 3]
    assert found["tiny itm OR odf"].keep(0.5, 4, 0).tolist() == [0, 2]


def test_other_columns_are_filters_of_their_own() -> None:
    column = np.array([1.0, 2.0])
    assert [f.name for f in filters_of("clip", {"clip_score": column})] == ["clip"]
    assert [f.name for f in filters_of("two", {"a": column, "b": column})] == ["two a", "two b"]
    assert [f.name for f in filters_of("heuristics", {"datacomp_basic": column})] == ["heuristics"]


def test_ranks_share_ties() -> None:
    ranks = percentile_ranks(np.array([3.0, 1.0, 3.0, NAN]))
    assert ranks.tolist() == [0.75, 0.375, 0.75, 0.125]


def test_quality_counts_kinds() -> None:
    pool = _pool(["own", "own", "alt_text", "edited", "edited"])
    found = quality(pool, np.array([0, 1, 3]))
    assert found is not None
    assert found.precision == pytest.approx(2 / 3)
    assert found.noise_dropped == pytest.approx(2 / 3)
    assert found.clean_kept == 1
    assert found.kept_of_kind == {"own": 1.0, "alt_text": 0.0, "edited": 0.5}


def test_the_oracle_keeps_clean_pairs_first() -> None:
    pool = _pool(["edited", "own", "alt_text", "own"])
    oracle = next(f for f in baselines(pool) if f.name == "labels")
    assert oracle.keep(0.5, 4, seed=3).tolist() == [1, 3]
    unlabelled = Pool(pool.places, pool.part)
    assert [f.name for f in baselines(unlabelled)] == ["none", "random"]


def test_scores_come_in_the_order_of_the_pool(tmp_path: Path) -> None:
    columns = (pa.field("itm", pa.float32()), pa.field("itm_top", pa.int16()))
    rows = {"key": ["b", "a", "a"], "itm": [1.0, 2.0, None], "itm_top": [1, 2, None]}
    statuses = [Status.OK, Status.OK, Status.DUPLICATE_KEY]
    none = [None] * 3
    values = {"shard": ["s"] * 3, "uid": none, "error": none, "status": status_array(statuses)}
    values |= dict.fromkeys(("width", "height", "caption_length"), [10] * 3)
    schema = score_schema(columns)
    table = pa.table([pa.array((values | rows)[f.name], f.type) for f in schema], schema=schema)
    ScoreFolder(str(tmp_path), {"scorer": "x"}, "/root").commit("s", table, {})
    found = read_scores(str(tmp_path), [("s", "a"), ("s", "b"), ("s", "c")])
    assert list(found) == ["itm"]
    np.testing.assert_array_equal(found["itm"], [2.0, 1.0, NAN])
    with pytest.raises(PairsiftError, match="no scores of shard t"):
        read_scores(str(tmp_path), [("s", "a"), ("t", "a")])
