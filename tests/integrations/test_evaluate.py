"""The `evaluate`-style callable."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairsift.errors import PairsiftError
from pairsift.integrations.evaluate import PairsiftMetric
from tests.integrations.hurt import samples, statuses

PAIRS = samples()


def test_means_counts_and_scores() -> None:
    metric = PairsiftMetric("heuristics", columns=["caption_words", "smaller_side"], batch_size=4)
    images, captions = [image for _, image, _ in PAIRS], [caption for _, _, caption in PAIRS]
    whole = metric.compute(predictions=captions, references=images, return_scores=True)
    good = [status == "ok" for status in statuses()]
    words = [
        len(caption.split()) if ok else None for caption, ok in zip(captions, good, strict=True)
    ]
    assert whole["scores"]["caption_words"] == words
    assert whole["caption_words"] == pytest.approx(np.mean([n for n in words if n is not None]))
    assert whole["pairs"] == 20
    assert whole["failures"] == {"image_corrupt": 2, "caption_empty": 1}
    # The same, bit by bit; compute() began anew.
    metric.add_batch(predictions=captions[:7], references=images[:7])
    for caption, image in zip(captions[7:], images[7:], strict=True):
        metric.add(prediction=caption, reference=image)
    del whole["scores"]
    assert metric.compute() == whole


@pytest.mark.slow
def test_any_form_of_image_is_the_same_image(tmp_path: Path) -> None:
    _, png, caption = PAIRS[4]
    picture = Image.open(io.BytesIO(png))
    (tmp_path / "a.png").write_bytes(png)
    forms = [
        png, tmp_path / "a.png", str(tmp_path / "a.png"), {"bytes": png, "path": "a.png"},
        {"bytes": None, "path": str(tmp_path / "a.png")}, picture, np.asarray(picture),
        picture.convert("CMYK").convert("RGB"), picture.convert("RGBA"),
    ]  # fmt: skip
    metric = PairsiftMetric("pairsift-tiny", metrics="itm,ctq")
    assert metric.columns == ("itm", "odf", "ctq", "su")
    found = metric.compute(predictions=[caption] * len(forms), references=forms, return_scores=True)
    scores = found["scores"]["itm"]
    assert found["failures"] == {}
    assert scores == pytest.approx([scores[0]] * len(forms), abs=1e-3)
    assert np.isnan(found["su"])


def test_what_is_no_image_is_a_failure() -> None:
    metric = PairsiftMetric("heuristics")
    found = metric.compute(
        predictions=["a dog"] * 5 + [3],  # type: ignore[list-item]
        references=[
            "/nowhere.jpg",
            7,
            np.zeros((4, 4, 3)),
            None,
            Image.new("F", (9, 9)),
            b"\x89PN",
        ],
    )
    assert found["failures"] == {
        "image_missing": 2, "image_corrupt": 2, "caption_invalid": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: PairsiftMetric("heuristics", columns="itm"), "no column of numbers 'itm'"),
        (lambda: PairsiftMetric("heuristics").compute(), "no pairs"),
        (lambda: PairsiftMetric("heuristics").compute(predictions=["a"]), "together"),
        (
            lambda: PairsiftMetric("heuristics").compute(predictions=["a"], references=[]),
            "1 predictions and 0 references",
        ),
    ],
)
def test_mistakes_are_named(call, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PairsiftError, match=says):
        call()
