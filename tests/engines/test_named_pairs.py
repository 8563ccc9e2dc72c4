"""Distinct pairs are scored once; the others come from the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pairsift.engines.named_pairs import score_columns, score_pairs
from pairsift.progress import NullListener
from pairsift.scorers.base import Preparer, Scorer
from pairsift.sources.image_store import ImageStore
from tests.samples import jpeg, tar_bytes

pytest.importorskip("scipy")


def _prepare(image: Image.Image, caption: str) -> tuple[int, int]:
    if caption == "refuse":
        raise ValueError("no")
    return len(caption.split()), image.size[0]


class WordCounter(Scorer):
    """Counts words; remembers what it was asked."""

    name: ClassVar[str] = "words"
    batch_size = 8

    def __init__(self, version: str = "1") -> None:
        self.columns = (
            pa.field("words", pa.float32()),
            pa.field("words_top", pa.int16()),
            pa.field("words_std", pa.float32()),
            pa.field("words_validity", pa.float32()),
            pa.field("language", pa.string()),
            pa.field("flag", pa.bool_()),
        )
        self.preparer = Preparer(_prepare)
        self.version = version
        self.scored = 0

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name, "version": self.version}

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        self.scored += len(inputs)
        words = np.array([count for count, _ in inputs], float)
        text = np.full(len(inputs), None, object)
        return {
            "words": words + 0.25,
            "words_top": words // 2,
            "words_std": words,
            "words_validity": words,
            "language": text,
            "flag": np.full(len(inputs), np.nan),
        }


def _images(tmp_path: Path, count: int = 12) -> str:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes((f"{i}.jpg", jpeg(24, 16, i)) for i in range(count)))
    return str(path)


def test_every_pair_is_scored_once_and_a_rerun_scores_none(tmp_path: Path) -> None:
    store, out = ImageStore([_images(tmp_path)]), str(tmp_path / "out")
    pairs = [(f"{i % 12}.jpg", f"word {i % 5}") for i in range(120)] + [("0.jpg", "refuse")]
    scorer = WordCounter()
    first = score_pairs("words", scorer, pairs, store, out)
    assert scorer.scored == 60 == first.scored - 1
    assert first.failures == {"model_error": 1}
    assert list(first.columns) == ["words", "words_top"] == score_columns(scorer.columns)
    assert first.of("words", ["3.jpg", "0.jpg"], ["word 1", "refuse"]) == pytest.approx(
        [2.25, np.nan], nan_ok=True
    )
    again = WordCounter()
    second = score_pairs("words", again, [*reversed(pairs), ("1.jpg", "one more")], store, out)
    # What failed in the model may fare better now, so it is tried again.
    assert second.scored == 2
    assert again.scored == 1
    assert second.of("words", ["3.jpg"], ["word 1"]) == 2.25
    changed = WordCounter(version="2")
    assert score_pairs("words", changed, pairs, store, out).scored == 61


def test_a_changed_image_is_scored_again(tmp_path: Path) -> None:
    folder, out = tmp_path / "images", str(tmp_path / "out")
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(24, 16, 1))
    pairs = [("a.jpg", "a dog")]
    assert score_pairs("w", WordCounter(), pairs, ImageStore([str(folder)]), out).scored == 1
    (folder / "a.jpg").write_bytes(jpeg(48, 16, 1))
    assert score_pairs("w", WordCounter(), pairs, ImageStore([str(folder)]), out).scored == 1


def test_a_stopped_run_keeps_its_finished_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairsift.engines.named_pairs.CHUNK", 10)
    store, out = ImageStore([_images(tmp_path)]), str(tmp_path / "out")
    pairs = [(f"{i}.jpg", f"word {j}") for i in range(12) for j in range(3)]

    class Stop(NullListener):
        def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
            if done >= 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_pairs("w", WordCounter(), pairs, store, out, listener=Stop())
    scorer = WordCounter()
    assert score_pairs("w", scorer, pairs, store, out).scored == scorer.scored == 16
