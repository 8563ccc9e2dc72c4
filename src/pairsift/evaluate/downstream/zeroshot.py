"""Zero-shot tests of a student: classify images, and retrieve captions and images."""

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
        labels: for every image, the index of its class, shape (images,).
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
        image: for every caption, the index of its image, shape (captions,).
    """

    features: NDArray[np.float16]
    captions: Sequence[str]
    image: NDArray[np.int64]


def classify(student: Student, vocabulary: Vocabulary, images: LabelledImages) -> float:
    """Return the fraction of images whose nearest class (the mean of its templates) is right."""
    texts = [form.format(name) for name in images.classes for form in TEMPLATES]
    vectors = student.encode_texts(vocabulary(texts))
    classes = vectors.view(len(images.classes), len(TEMPLATES), -1).mean(1)
    classes = classes / classes.norm(dim=-1, keepdim=True)
    nearest = (student.encode_images(images.features) @ classes.T).argmax(1).numpy()
    return float((nearest == images.labels).mean())


def retrieve(student: Student, vocabulary: Vocabulary, pairs: CaptionedImages) -> dict[str, float]:
    """Return recall at 1 and 5: from an image to any of its captions, and from a caption to its
    image.

    Returns:
        `image_to_text_r1`, `..._r5`, `text_to_image_r1`, `..._r5`, each 0..1.
    """
    captions = student.encode_texts(vocabulary(pairs.captions))
    cosine = (student.encode_images(pairs.features) @ captions.T).numpy()
    own = pairs.image == np.arange(len(pairs.features))[:, None]  # (images, captions)
    # Rank of the best own caption: the number of other captions that are nearer.
    best = np.where(own, cosine, -np.inf).max(1, keepdims=True)
    to_text = ((cosine > best) & ~own).sum(1)
    of_caption = cosine[pairs.image, np.arange(len(pairs.captions))]
    to_image = (cosine > of_caption).sum(0)
    return {
        f"{direction}_r{rank}": float((ranks < rank).mean())
        for direction, ranks in (("image_to_text", to_text), ("text_to_image", to_image))
        for rank in RANKS
    }
