"""Which students are trained, and under which name each result is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.data import Pool
from pairsift.evaluate.downstream.features import WIDTH, Part
from pairsift.evaluate.downstream.filters import Filter
from pairsift.evaluate.downstream.student import StudentSettings
from pairsift.evaluate.downstream.training import Bench, Task, plan
from pairsift.evaluate.downstream.zeroshot import CaptionedImages, LabelledImages

PAIRS = 10


def _bench() -> Bench:
    """A bench of ten pairs, of which the image of the last one cannot be read."""
    names = [str(n) for n in range(PAIRS)]
    features = np.arange(PAIRS * WIDTH, dtype=np.float32).reshape(PAIRS, WIDTH).astype(np.float16)
    image = np.array([*range(PAIRS - 1), -1], np.int32)
    pool = Pool([("s", name) for name in names], Part(names, names, image, features, names))
    classes = [LabelledImages("pets", features[:2], np.array([0, 1]), ["cat", "dog"])]
    captioned = CaptionedImages(features[:1], ["a cat"], np.array([0]))
    return Bench(pool, classes, captioned, StudentSettings(samples_seen=100))


BEST = Filter("pairsift-tiny itm", np.arange(PAIRS, dtype=float))


def test_seeds_come_first_and_a_filter_that_keeps_all_is_trained_once_a_seed() -> None:
    tasks = plan(_bench(), [Filter("none", None), BEST], [0.5, 0.3], seeds=2)
    assert [(task.filter, task.fraction, task.seed) for task in tasks] == [
        (name, fraction, seed)
        for seed in (0, 1)
        for name, fraction in (
            ("none", 1.0), ("pairsift-tiny itm", 0.5), ("pairsift-tiny itm", 0.3),
        )
    ]  # fmt: skip
    # A pair whose image cannot be read is kept by the filter, but nothing to train on.
    assert tasks[0].rows.tolist() == list(range(9))
    assert tasks[1].rows.tolist() == [5, 6, 7, 8]
    assert len({task.file for task in tasks}) == len(tasks)
    assert tasks[2].file.startswith("pairsift-tiny-itm-0.3-0-")


def test_too_few_pairs_to_train_on_are_refused() -> None:
    with pytest.raises(PairsiftError, match="itm keeps 1 readable pairs of 10 at --keep 0.2: too"):
        plan(_bench(), [BEST], [0.2], seeds=1)


def _file(bench: Bench, by: Filter = BEST) -> str:
    (task,) = plan(bench, [by], [0.5], seeds=1)
    assert isinstance(task, Task)
    return task.file


def test_equal_benches_give_equal_names() -> None:
    assert _file(_bench()) == _file(_bench())


@pytest.mark.parametrize(
    "change",
    ["captions", "features", "settings", "class names", "class labels", "test captions", "no test"],
)
def test_another_bench_gives_another_name(change: str) -> None:
    bench = _bench()
    part, (pets,), captioned = bench.pool.part, bench.classes, bench.captioned
    assert captioned is not None
    other = {
        "captions": {"pool": replace(bench.pool, part=replace(part, texts=["x"] * PAIRS))},
        "features": {"pool": replace(bench.pool, part=replace(part, features=part.features + 1))},
        "settings": {"settings": replace(bench.settings, samples_seen=101)},
        "class names": {"classes": [replace(pets, classes=["cat", "cow"])]},
        "class labels": {"classes": [replace(pets, labels=np.array([1, 0]))]},
        "test captions": {"captioned": replace(captioned, captions=["a dog"])},
        "no test": {"captioned": None},
    }[change]
    assert _file(replace(bench, **other)) != _file(bench)  # type: ignore[arg-type]


def test_a_filter_that_keeps_other_pairs_has_another_name() -> None:
    worst = Filter(BEST.name, -np.arange(PAIRS, dtype=float))
    assert _file(_bench(), worst) != _file(_bench())


@pytest.mark.parametrize("name", ["../../etc", "a/b c", "名前", "x" * 20])
def test_any_filters_name_makes_a_plain_file_name(name: str) -> None:
    file = _file(_bench(), Filter(name, BEST.scores))
    assert "/" not in file
    assert " " not in file
    assert file.endswith(".json")
