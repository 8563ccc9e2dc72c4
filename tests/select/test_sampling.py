"""Draws by weight: as many as asked, distributed as one draw after the other, the same again."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairsift import PairsiftError
from pairsift.config import read_config
from pairsift.options import WriteOptions
from pairsift.pipeline import run_pipeline
from pairsift.select import read_selection, select
from pairsift.select.sampling import Sampler
from pairsift.writers.registry import write_outputs
from tests.dedup.conftest import Write, write_scores  # noqa: F401 - a fixture
from tests.samples import good_samples, write_tar


def sampler(weights: np.ndarray, count: int, penalty: float, seed: int, batch: int = 7) -> Sampler:
    rng = np.random.default_rng(seed)
    names = rng.integers(0, 2**64, len(weights), dtype=np.uint64)

    def scan() -> Any:
        for begin in range(0, len(weights), batch):
            part = slice(begin, begin + batch)
            yield np.arange(len(weights))[part], names[part], weights[part]

    return Sampler(scan, count, penalty)


def drawn(weights: np.ndarray, count: int, penalty: float, seed: int, batch: int = 7) -> np.ndarray:
    made = sampler(weights, count, penalty, seed, batch)
    places = list(made.positions(made.draw()))
    counts = np.bincount(np.concatenate(places), minlength=len(weights)) if places else (
        np.zeros(len(weights), int))  # fmt: skip
    return np.asarray(counts)


def one_after_the_other(
    weights: np.ndarray, count: int, penalty: float, rng: np.random.Generator
) -> np.ndarray:
    """The definition, draw by draw."""
    counts = np.zeros(len(weights), int)
    for _ in range(count):
        now = weights * np.exp(-penalty * counts) if penalty < math.inf else weights * (counts == 0)
        counts[rng.choice(len(weights), p=now / now.sum())] += 1
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.0, 0.15, 1.0, math.inf])
def test_counts_are_distributed_as_of_draws_one_by_one(penalty: float) -> None:
    weights = np.array([1.0, 2.0, 4.0, 8.0, 0.5])
    count = 4 if penalty == math.inf else 12
    rng = np.random.default_rng(0)
    rounds = 500
    ours = np.array([drawn(weights, count, penalty, seed) for seed in range(rounds)])
    theirs = np.array([one_after_the_other(weights, count, penalty, rng) for _ in range(rounds)])
    assert (ours.sum(axis=1) == count).all()
    error = np.sqrt((ours.var(0) + theirs.var(0)) / rounds) + 1e-9
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4.5 * error).all()
    assert np.allclose(ours.std(0), theirs.std(0), atol=0.12)


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 20_000])
@pytest.mark.parametrize("penalty", [0.0, 0.15, 3.0])
def test_as_many_as_asked(count: int, penalty: float) -> None:
    weights = np.exp(np.random.default_rng(1).normal(0, 3, 1000))
    assert drawn(weights, count, penalty, 5, batch=256).sum() == count


@pytest.mark.slow
def test_draws_that_would_make_all_weights_0_are_refused() -> None:
    weights = np.array([1.0, 2.0, 4.0])
    assert drawn(weights, 10_000, 0.15, seed=0).sum() == 10_000  # 500 / 0.15 of each row
    with pytest.raises(PairsiftError, match="3 rows cannot be drawn more than 10,000 times"):
        sampler(weights, 10_001, 0.15, seed=0).draw()
    assert drawn(weights, 10_001, 0.0, seed=0).sum() == 10_001


def test_batches_do_not_matter_and_a_larger_sample_holds_the_smaller() -> None:
    weights = np.exp(np.random.default_rng(1).normal(0, 2, 500))
    small, same, large = (drawn(weights, n, 0.15, 3, b) for n, b in ((300, 7), (300, 64), (900, 7)))
    assert (small == same).all()
    assert (large >= small).all()


def test_rows_of_equal_identity_do_not_add_a_draw() -> None:
    weights = np.ones(6)

    def scan() -> Any:
        yield np.arange(6), np.array([1, 1, 1, 2, 2, 2], np.uint64), weights

    for count in range(1, 12):
        made = Sampler(scan, count, 0.5)
        assert sum(len(part) for part in made.positions(made.draw())) == count


# The option


def rows(count: int) -> list[Any]:
    return [(place, f"f{place}", f"c{place}", float(place % 100)) for place in range(count)]


def kept(selection: Any) -> list[tuple[str, int]]:
    shards = read_selection(selection.path).shards()
    return [(shard.shard, row) for shard in shards for row in shard.rows.tolist()]


def test_a_sample_of_score_tables(write_scores: Write, tmp_path: Path) -> None:  # noqa: F811
    scores = write_scores({"a": rows(400), "b": rows(300)}, uids=True)
    out = str(tmp_path / "out")
    made = select(scores, sample=1500, weights="exp(itm/20)", out=out)
    found = kept(made)
    assert len(found) == made.kept == 1500
    assert made.record.repeats == 1500 - len(set(found)) > 500
    assert sum(drop.rows for drop in made.record.dropped) == 700 - len(set(found))
    value = np.mean([place % 100 for _, place in found])
    assert value > 60
    assert kept(select(scores, sample=1500, weights="exp(itm/20)", out=out, threads=1)) == found
    assert kept(select(scores, sample=1500, weights="exp(itm/20)", out=out, seed=1)) != found
    once = select(
        scores, sample=200, weights="itm", repeat_penalty=math.inf, where="itm >= 50", out=out
    )
    assert once.record.repeats == 0
    assert len(set(kept(once))) == 200
    assert {d.reason: d.rows for d in once.record.dropped}["not drawn"] == 150


def test_the_order_of_folders_does_not_matter(write_scores: Write, tmp_path: Path) -> None:  # noqa: F811
    folders = [write_scores({name: rows(200)}, f"s{name}") for name in ("a", "b")]
    found = [
        sorted(kept(select(order, sample=100, weights="itm", out=str(tmp_path / f"o{n}"))))
        for n, order in enumerate((folders, folders[::-1]))
    ]
    assert found[0] == found[1]


def test_writers_of_repeats(write_scores: Write, tmp_path: Path) -> None:  # noqa: F811
    scores = write_scores({"a": rows(50)}, uids=True)
    made = select(scores, sample=300, weights="itm", out=str(tmp_path / "out"))
    subset = str(tmp_path / "subset.npy")
    written = write_outputs(
        made, WriteOptions(datacomp=subset, parquet=str(tmp_path / "k.parquet"))
    )
    assert (len(np.load(subset)), written["parquet"].rows) == (300, 300)  # type: ignore[attr-defined]
    most = max(len(list(same)) for _, same in itertools.groupby(np.load(subset).tolist()))
    assert most > 5
    with pytest.raises(PairsiftError, match="--webdataset writes each sample once"):
        write_outputs(made, WriteOptions(webdataset=str(tmp_path / "new")))


def test_a_runs_file_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool/a.tar", good_samples(3))
    text = (
        f'out = "{tmp_path}/out"\n[score]\nshards = ["{tmp_path}/pool"]\nworkers = 0\n'
        'scorer = "heuristics"\n[select]\nsample = 2\nweights = "caption_words"\n'
        "repeat_penalty = {penalty}\n[write]\nwebdataset = true\n"
    )
    path = tmp_path / "run.toml"
    path.write_text(text.replace("{penalty}", "0.15"))
    with pytest.raises(PairsiftError, match=r"\[write\] --webdataset writes each sample once"):
        run_pipeline(read_config(path))
    assert not (tmp_path / "out/scores").exists()
    path.write_text(text.replace("{penalty}", "inf"))
    result = run_pipeline(read_config(path))
    assert result.selection is not None
    assert result.selection.kept == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample": 5}, "belong together"),
        ({"weights": "itm"}, "belong together"),
        ({"sample": 5, "weights": "itm", "top": 0.5, "by": "itm"}, "give one of them"),
        ({"sample": -1, "weights": "itm"}, "negative"),
        ({"sample": 1, "weights": "itm", "repeat_penalty": -0.1}, "--repeat-penalty"),
        ({"sample": 1, "weights": "itm - 50"}, r"negative \(-50\)"),
        ({"sample": 1, "weights": "exp(itm * 100)"}, "infinite"),
        ({"sample": 1, "weights": "itm > 5"}, "a number is needed"),
        ({"sample": 1, "weights": "itm * 0"}, "only 0 rows"),
        ({"sample": 60, "weights": "itm", "repeat_penalty": math.inf}, "only 49 rows"),
    ],
)
def test_mistakes(write_scores: Write, options: Any, words: str) -> None:  # noqa: F811
    with pytest.raises(PairsiftError, match=words):
        select(write_scores({"a": rows(50)}), **options)
