"""Zero-shot tests of a student whose vectors are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairsift.evaluate.downstream.features import WIDTH
from pairsift.evaluate.downstream.student import Student, Vocabulary
from pairsift.evaluate.downstream.zeroshot import (
    TEMPLATES,
    CaptionedImages,
    LabelledImages,
    classify,
    retrieve,
)


class Fixed(Student):
    """Gives these vectors, whatever it is shown."""

    def __init__(self, images: torch.Tensor, texts: torch.Tensor) -> None:
        super().__init__(5, torch.zeros(WIDTH), torch.ones(WIDTH))
        self.images, self.texts = images, texts

    def encode_images(self, features: object) -> torch.Tensor:
        return self.images

    def encode_texts(self, ids: object) -> torch.Tensor:
        return self.texts


def _features(count: int) -> np.ndarray:
    return np.zeros((count, WIDTH), np.float16)


def test_recalls_are_those_of_known_ranks() -> None:
    images = torch.eye(2)
    # Captions 0, 1 are of image 0; caption 2 of image 1 is nearer to image 0 than to its own.
    texts = torch.tensor([[0.6, 0.1], [0.9, 0.2], [0.95, 0.3]])
    pairs = CaptionedImages(_features(2), ["a", "b", "c"], np.array([0, 0, 1]))
    found = retrieve(Fixed(images, texts), Vocabulary([]), pairs)
    assert found == {
        "image_to_text_r1": 0.5,
        "image_to_text_r5": 1.0,
        "text_to_image_r1": pytest.approx(2 / 3),
        "text_to_image_r5": 1.0,
    }


def test_a_student_that_tells_nothing_apart_has_every_tie_in_its_favour() -> None:
    pairs = CaptionedImages(_features(3), list("abcdef"), np.arange(6) % 3)
    found = retrieve(Fixed(torch.ones(3, 2), torch.ones(6, 2)), Vocabulary([]), pairs)
    assert set(found.values()) == {1.0}


def test_ranks_beyond_the_fifth_do_not_count() -> None:
    # Each of seven captions is nearest to the image of the next one; image 0 has caption 0 last.
    images = torch.eye(7)
    texts = torch.eye(7).roll(1, dims=0)
    pairs = CaptionedImages(_features(7), list("abcdefg"), np.arange(7))
    found = retrieve(Fixed(images, texts), Vocabulary([]), pairs)
    assert found["image_to_text_r1"] == found["text_to_image_r1"] == 0
    assert found["image_to_text_r5"] == 1


def test_the_nearest_class_is_that_of_the_mean_of_its_templates() -> None:
    count = len(TEMPLATES)
    # One template of class 1 points at class 0, which its mean does not.
    texts = torch.tensor([[1.0, 0.0]] * count + [[1.0, 0.0]] + [[0.0, 1.0]] * (count - 1))
    images = torch.tensor([[1.0, 0.0], [0.1, 1.0], [0.0, 1.0], [0.9, 0.1]])
    labelled = LabelledImages("things", _features(4), np.array([0, 1, 1, 1]), ["a", "b"])
    assert classify(Fixed(images, texts), Vocabulary([]), labelled) == 0.75
