"""What a student can do that it was never shown: naming classes, and finding captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairsift.evaluate.downstream.student import Student, Vocabulary

TEMPLATES = ("a photo of a {}.", "a {}.", "a picture of one {}.", "a close up of a {}.")
RANKS = (1, 5)


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """A classification set.

    Attributes:
        name: of the set.
        features: shape (images, 1280).
        labels: index of the class of every image, shape (images,).
        classes: names of the classes.
    """

    name: str
    features: NDArray[np.float16]
    labels: NDArray[np.int64]
    classes: Sequence[str]


@dataclass(frozen=True, slots=True)
class CaptionedImages:
    """A retrieval set.

    Attributes:
        features: shape (images, 1280).
        captions: of all images.
        image: index of the image of every caption, shape (captions,).
    """

    features: NDArray[np.float16]
    captions: Sequence[str]
    image: NDArray[np.int64]


def classify(student: Student, vocabulary: Vocabulary, images: LabelledImages) -> float:
    """Share of the images whose nearest class, as the mean of the templates, is theirs."""
    texts = [form.format(name) for name in images.classes for form in TEMPLATES]
    vectors = student.encode_texts(vocabulary(texts))
    classes = vectors.view(len(images.classes), len(TEMPLATES), -1).mean(1)
    classes = classes / classes.norm(dim=-1, keepdim=True)
    nearest = (student.encode_images(images.features) @ classes.T).argmax(1).numpy()
    return float((nearest == images.labels).mean())


def retrieve(student: Student, vocabulary: Vocabulary, pairs: CaptionedImages) -> dict[str, float]:
    """Recall at 1 and 5: captions of an image (any of its own counts), image of a caption.

    Returns:
        `image_to_text_r1`, `..._r5`, `text_to_image_r1`, `..._r5`, each 0..1.
    """
    captions = student.encode_texts(vocabulary(pairs.captions))
    cosine = (student.encode_images(pairs.features) @ captions.T).numpy()
    own = pairs.image == np.arange(len(pairs.features))[:, None]  # (images, captions)
    # Rank of the best own caption: how many others are nearer.
    best = np.where(own, cosine, -np.inf).max(1, keepdims=True)
    to_text = ((cosine > best) & ~own).sum(1)
    of_caption = cosine[pairs.image, np.arange(len(pairs.captions))]
    to_image = (cosine > of_caption).sum(0)
    return {
        f"{direction}_r{rank}": float((ranks < rank).mean())
        for direction, ranks in (("image_to_text", to_text), ("text_to_image", to_image))
        for rank in RANKS
    }
