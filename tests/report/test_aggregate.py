"""Counts of the report against select and against numpy on the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.report import aggregate
from pairsift.report.table import open_rows
from pairsift.select import Join, read_selection, select
from tests.report.conftest import Scored
from tests.score_folders import score_folder, score_table


@pytest.fixture(scope="module")
def cube(scored: Scored) -> aggregate.Cube:
    with open_rows(scored.scores) as rows:
        return aggregate.build_cube(rows)


def test_joint_counts_equal_selects_at_the_edges(scored: Scored, cube: aggregate.Cube) -> None:
    assert [c.name for c in cube.columns] == ["itm", "odf", "clip_score"]
    assert cube.split == 5  # few rows: the finest steps
    for steps in ((1, 1, 1), (30, 17, 7), (61, 50, 35), (100, 3, 20)):
        thresholds = dict(zip((c.name for c in cube.columns), steps, strict=True))
        where = " and ".join(
            f"{c.name} >= {c.edge(thresholds[c.name], cube.split)!r}" for c in cube.columns
        )
        assert cube.count(thresholds) == select(scored.scores, where=where).kept, where


@pytest.mark.parametrize("name", ["itm", "clip_score"])
def test_every_edge_of_a_column(scored: Scored, cube: aggregate.Cube, name: str) -> None:
    """As float32, which is how `select` compares; hundredths are no binary fractions."""
    tables = [pq.read_table(path) for path in sorted(Path(scored.scores).glob("*.parquet"))]
    values = np.concatenate([t[name].to_numpy() for t in tables])
    assert values.dtype == np.float32
    column = next(c for c in cube.columns if c.name == name)
    for step in range(1, column.bars * cube.split + 1):
        edge = column.edge(step, cube.split)
        assert cube.count({name: step}) == int((values >= np.float32(edge)).sum()), edge


def test_coarser_steps_where_cells_get_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    values = {m: (rng.random(4000) * 100).tolist() for m in ("itm", "odf", "ctq")}
    keys = [f"{n:06d}" for n in range(4000)]
    scores = score_folder(tmp_path / "s", {"a": score_table("a", keys, values)})
    monkeypatch.setattr(aggregate, "CUBE_CELLS", 3600)
    with open_rows(scores) as rows:
        cube = aggregate.build_cube(rows)
        pairs = aggregate.count_pairs(rows, cube)
    assert len(cube.columns) == 3
    assert cube.split == 1
    assert cube.count({"itm": 4, "ctq": 10}) == select(scores, where="itm>=20 and ctq>=50").kept
    # Two sliders at a time are exact to the point all the same.
    assert pairs is not None
    for steps in ({}, {"odf": 33}, {"itm": 17, "ctq": 51}, {"odf": 100}, {"itm": 99, "odf": 1}):
        where = " and ".join(f"{name} >= {step}" for name, step in steps.items()) or None
        assert pairs.count(steps) == select(scores, where=where).kept, where
    monkeypatch.setattr(aggregate, "CUBE_CELLS", 500)
    with open_rows(scores) as rows:
        assert [c.name for c in aggregate.build_cube(rows).columns] == ["itm", "odf"]


def test_histogram_splits_kept_and_dropped(scored: Scored, tmp_path: Path) -> None:
    select(scored.scores, where="itm >= 40", out=tmp_path / "kept")
    with open_rows(scored.scores, read_selection(tmp_path / "kept")) as rows:
        histogram = aggregate.build_cube(rows).histogram(0)
        tally = aggregate.count_rows(rows)
    values = np.array(list(scored.itm.values()))
    expected, _ = np.histogram(values, bins=np.arange(0, 101, 5))
    assert (histogram.kept + histogram.dropped).tolist() == expected.tolist()
    assert not histogram.kept[:8].any()
    assert not histogram.dropped[8:].any()
    assert (tally.kept, tally.dropped, tally.failed) == (
        int((values >= 40).sum()),
        int((values < 40).sum()),
        9,
    )


def test_null_scores_reach_no_threshold(tmp_path: Path) -> None:
    table = score_table("a", ["1", "2", "3"], {"itm": [0.0, 100.0, None], "odf": [1.0, None, 3.0]})
    scores = score_folder(tmp_path / "s", {"a": table})
    with open_rows(scores) as rows:
        cube = aggregate.build_cube(rows)
    assert cube.count({}) == 3
    assert cube.count({"itm": 1}) == 1
    assert cube.count({"itm": cube.columns[0].bars * cube.split}) == 1  # the very top, 100
    assert cube.histogram(0).null == 1
    kept, dropped = cube.joint(0, 1)
    assert kept.sum() + dropped.sum() == 1


def test_failures_by_reason_with_examples(scored: Scored) -> None:
    with open_rows(scored.scores) as rows:
        (failure,) = aggregate.count_failures(rows)
    assert (failure.status.value, failure.count) == ("image_corrupt", 9)
    assert len(failure.examples) == 5
    assert all(row.key.endswith("9") and row.error == "broken" for row in failure.examples)


def test_slices(scored: Scored, tmp_path: Path) -> None:
    select(scored.scores, where='language == "en"', out=tmp_path / "kept")
    with open_rows(scored.scores, read_selection(tmp_path / "kept")) as rows:
        values = {v.value: v for v in aggregate.count_slices(rows, "language")}
    assert values["en"].kept == values["en"].rows > 0
    assert values["fr"].kept == 0
    assert sum(v.rows for v in values.values()) == 81


def test_two_selections_side_by_side(scored: Scored, tmp_path: Path) -> None:
    first = select(scored.scores, where="itm >= 40", out=tmp_path / "a")
    second = select(scored.scores, where="itm < 60", out=tmp_path / "b")
    both = select(scored.scores, where="itm >= 40 and itm < 60").kept
    with open_rows(scored.scores, first, second) as rows:
        found = aggregate.compare_selections(rows, "A", "B")
    assert (found.both, found.only_first, found.only_second) == (
        both,
        first.kept - both,
        second.kept - both,
    )
    column, a, b = found.histograms[0]
    assert column.name == "itm"
    assert (int(a.sum()), int(b.sum())) == (first.kept, second.kept)
    assert not a[:8].any()
    assert not b[12:].any()
    values = np.array(list(scored.itm.values()))
    assert found.means[0] == pytest.approx(
        (values[values >= 40].mean(), values[values < 60].mean())
    )
    assert found.jaccard == pytest.approx(both / 81)


def test_joined_scores_are_columns_too(scored: Scored, tmp_path: Path) -> None:
    tables = {
        path.stem: pq.read_table(path).select(["key", "itm"])
        for path in sorted(Path(scored.scores).glob("*.parquet"))
    }
    other = {
        name: score_table(
            name, t["key"].to_pylist(), {"clip_score": [i / 100 for i in range(len(t))]}
        )
        for name, t in tables.items()
    }
    path = score_folder(tmp_path / "clip", other, fingerprint={"scorer": "clip"})
    with open_rows(scored.scores, joins=[Join("other", path)]) as rows:
        cube = aggregate.build_cube(rows)
        assert [c.name for c in rows.columns][-1] == "other.clip_score"
        assert aggregate.count_rows(rows).rows == 90
    where = "other.clip_score >= 0.08 and itm >= 10"
    expected = select(scored.scores, where=where, joins=[f"other={path}"]).kept
    column = cube.columns[-1]
    step = round(0.08 / column.width * cube.split)
    assert column.edge(step, cube.split) == 0.08
    assert cube.count({"other.clip_score": step, "itm": 2 * cube.split}) == expected


@pytest.mark.slow
def test_published_scores_in_double_are_columns_and_sizes_are_not(
    scored: Scored, tmp_path: Path
) -> None:
    """DataComp's and img2dataset's metadata hold doubles, and whole numbers of other meaning."""
    keys = [key for path in sorted(Path(scored.scores).glob("*.parquet"))
            for key in pq.read_table(path)["key"].to_pylist()]  # fmt: skip
    published = {
        "key": keys,
        "clip_l14_similarity_score": pa.array([n % 41 / 100 for n in range(len(keys))]),
        "original_width": pa.array(range(len(keys))),
    }
    pq.write_table(pa.table(published), tmp_path / "meta.parquet")
    join = Join("meta", str(tmp_path / "meta.parquet"), "key")
    name = "meta.clip_l14_similarity_score"
    with open_rows(scored.scores, joins=[join]) as rows:
        cube = aggregate.build_cube(rows)
        assert [c.name for c in rows.columns][-1] == name
    column = cube.columns[-1]
    for step in range(1, column.bars * cube.split + 1):
        where = f"{name} >= {column.edge(step, cube.split)!r}"
        if step % 7 == 0:
            assert cube.count({name: step}) == select(scored.scores, where=where, joins=[join]).kept
