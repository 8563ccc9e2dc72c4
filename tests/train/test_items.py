"""Examples become rows and batches; what the scorer would refuse is left out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from pairsift.images import ImageLimits
from pairsift.metrics import Scale
from pairsift.train.examples import Example, Exchange, TrainingData, read_data
from pairsift.train.items import Collator, Row, TrainingItems, usable
from tests.train.toy import png, write_toy


def test_what_the_scorer_would_refuse_is_left_out_and_counted(tmp_path: Path) -> None:
    write_toy(tmp_path, 6)
    (tmp_path / "images" / "1.png").write_bytes(b"no image")
    entries = json.loads((tmp_path / "llava.json").read_text())
    entries[0]["caption"] = "  "
    (tmp_path / "llava.json").write_text(json.dumps(entries))
    data = usable(read_data([str(tmp_path)]))
    assert data.left_out == {"caption_empty": 1, "image_corrupt": 2}
    assert len(data.examples) == 9


def test_images_are_checked_once_and_instructions_too(tmp_path: Path) -> None:
    class Counted:
        """Images by name, some of them broken."""

        def __init__(self) -> None:
            self.read_names: list[str] = []

        def read(self, name: str) -> bytes:
            self.read_names.append(name)
            return b"no image" if name == "broken" else png("red", 1)

        def missing(self, names: Iterable[str]) -> list[str]:
            return []

    source = Counted()
    examples = [Example(0, name, "a dog", {"itm": 5.0}) for name in ("a", "a", "broken", "b")]
    exchanges = [Exchange(0, name, "What?", "This.") for name in ("a", "broken")]
    found = usable(TrainingData([source], examples, exchanges, {"other": 2}))
    assert [example.image for example in found.examples] == ["a", "a", "b"]
    assert [exchange.image for exchange in found.exchanges] == ["a"]
    assert found.left_out == {"other": 2, "image_corrupt": 2}
    assert sorted(source.read_names) == ["a", "b", "broken"]
    assert usable(TrainingData([source])).examples == []


def test_a_limit_of_pixels_holds_in_training_too() -> None:
    class One:
        def read(self, name: str) -> bytes:
            return png("red", 1)

        def missing(self, names: Iterable[str]) -> list[str]:
            return []

    data = TrainingData([One()], [Example(0, "a", "a dog", {"itm": 5.0})], [])
    assert usable(data, ImageLimits(max_pixels=10)).left_out == {"image_too_large": 1}


@pytest.mark.parametrize(
    ("ranked", "sizes"), [(1, [1] * 7), (2, [2, 2, 1, 1, 1]), (3, [3, 2, 1, 1]), (9, [5, 1, 1])]
)
def test_captions_of_an_image_are_ranked_together(ranked: int, sizes: list[int]) -> None:
    images = [(0, "a"), (0, "b"), (0, "a"), (0, "a"), (1, "a"), (0, "a"), (0, "a")]
    examples = [
        Example(place, image, f"{number}", {"itm": 1.0})
        for number, (place, image) in enumerate(images)
    ]
    items = TrainingItems(None, examples, [Exchange(0, "a", "?", "!")], ranked)  # type: ignore[arg-type]
    assert len(items) == len(sizes) + 1
    assert [len(group) for group in items.groups] == sizes
    assert sorted(e.caption for group in items.groups for e in group) == list("0123456")
    for group in items.groups:
        assert len({(example.place, example.image) for example in group}) == 1


def row(
    scores: list[float], metrics: list[int], answers: list[list[int]] | None = None, group: int = 0
) -> Row:
    suffixes = tuple(np.array([7, 8]) for _ in scores)
    written = None if answers is None else tuple(np.array(ids) for ids in answers)
    return Row({}, np.arange(3), suffixes, written, np.array(scores), np.array(metrics), group)


SCALES = [Scale.range(0, 3), Scale.listed({"no": 0, "yes": 1})]
TREES = [((1, 2, 3), (0, 0, 0)), ((4,), (0,))]


def test_a_batch_has_targets_of_metrics_of_unequal_scales() -> None:
    batch = Collator(TREES, SCALES, 0.0)([[row([100.0, 0.0], [0, 1], group=4)], [row([50.0], [1])]])
    made = batch["batch"]
    assert made.worded is None
    assert made.targets == 3
    assert made.labels.shape == (3, 4)
    assert made.labels[0].tolist() == [0, 0, 0, 1]
    assert made.labels[1].tolist() == [1, 0, 0, 0]  # padded where the scale is shorter
    assert made.labels[2].tolist() == [0.5, 0.5, 0, 0]
    assert made.metrics.tolist() == [0, 1, 1]
    assert made.groups.tolist() == [4, 4, 0]


def test_the_tokens_of_an_answer_weigh_as_much_as_one_answer() -> None:
    rows = [row([math.nan] * 2, [0, 1], [[5, 6, 9], [5]]), row([math.nan], [0], [[6, 9]])]
    made = Collator(TREES, SCALES, 5.0)([rows])["batch"]
    assert made.scored is None
    assert made.written.tolist() == [5, 6, 9, 5, 6, 9]
    assert made.weights.tolist() == pytest.approx([1 / 3] * 3 + [1, 1 / 2, 1 / 2])
    assert made.targets == 3
    assert made.labels.shape == (0, 4)
    assert made.worded is not None
    assert made.worded.row.tolist() == [0, 0, 0, 0, 1, 1]


def test_an_empty_batch_has_no_targets() -> None:
    made = Collator(TREES, SCALES, 5.0)([[]])["batch"]
    assert (made.scored, made.worded, made.targets) == (None, None, 0)
