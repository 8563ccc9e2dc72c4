"""Zero-shot tests of a student."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairsift.evaluate.downstream.features import WIDTH
from pairsift.evaluate.downstream.student import (
    Student,
    Vocabulary,
)
from pairsift.evaluate.downstream.zeroshot import (
    CaptionedImages,
    retrieve,
)


def test_recalls_are_those_of_known_ranks() -> None:
    class Fixed(Student):
        def __init__(self, images: torch.Tensor, texts: torch.Tensor) -> None:
            super().__init__(5, torch.zeros(WIDTH), torch.ones(WIDTH))
            self.images, self.texts = images, texts

        def encode_images(self, features: object) -> torch.Tensor:
            return self.images

        def encode_texts(self, ids: object) -> torch.Tensor:
            return self.texts

    images = torch.eye(2)
    # Captions 0, 1 are of image 0; caption 2 of image 1 is nearer to image 0 than to its own.
    texts = torch.tensor([[0.6, 0.1], [0.9, 0.2], [0.95, 0.3]])
    pairs = CaptionedImages(np.zeros((2, WIDTH), np.float16), ["a", "b", "c"], np.array([0, 0, 1]))
    found = retrieve(Fixed(images, texts), Vocabulary([]), pairs)
    assert found == {
        "image_to_text_r1": 0.5,
        "image_to_text_r5": 1.0,
        "text_to_image_r1": pytest.approx(2 / 3),
        "text_to_image_r5": 1.0,
    }
