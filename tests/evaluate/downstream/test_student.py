"""The student learns what is there to learn, the same from the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairsift.evaluate.downstream.features import WIDTH
from pairsift.evaluate.downstream.student import (
    MAX_WORDS,
    Student,
    StudentSettings,
    Vocabulary,
    train_student,
)
from pairsift.evaluate.downstream.zeroshot import (
    CaptionedImages,
    LabelledImages,
    classify,
    retrieve,
)

THINGS = ("dog", "cat", "boat", "tree", "cake", "ball", "road", "hat")


def _world(images: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Features that hold a direction for each thing, and captions that name it."""
    directions = np.random.default_rng(99).normal(size=(len(THINGS), WIDTH))
    rng = np.random.default_rng(seed)
    things = np.arange(images) % len(THINGS)
    features = (directions[things] + rng.normal(size=(images, WIDTH))).astype(np.float16)
    return features, [f"there is a {THINGS[thing]} here" for thing in things]


def _train(texts: list[str], features: np.ndarray, seed: int) -> tuple[Student, Vocabulary]:
    vocabulary = Vocabulary.of(texts)
    settings = StudentSettings(samples_seen=1600, batch_size=32)
    rows = np.arange(len(texts), dtype=np.int32)
    student = train_student(features, rows, vocabulary(texts), len(vocabulary), settings, seed)
    return student, vocabulary


def test_words_become_numbers() -> None:
    vocabulary = Vocabulary.of(["A dog, a DOG!", "the Hündin 狗 dog the", "狗 one"])
    assert vocabulary.words == ("dog", "a", "the", "狗")
    ids = vocabulary(["dog a unicorn", "", "dog " * 100])
    assert ids.shape == (3, MAX_WORDS)
    assert ids[0, :4].tolist() == [2, 3, 1, 0]
    assert ids[1, :2].tolist() == [1, 0]
    assert (ids[2] == 2).all()


@pytest.mark.slow
def test_it_learns_and_right_captions_teach_more_than_wrong_ones() -> None:
    features, texts = _world(160, seed=0)
    unseen, their_texts = _world(40, seed=1)
    images = LabelledImages("things", unseen, np.arange(40) % len(THINGS), THINGS)
    student, vocabulary = _train(texts, features, seed=0)
    right = classify(student, vocabulary, images)
    shuffled = [texts[place] for place in np.random.default_rng(0).permutation(len(texts))]
    wrong = classify(*_train(shuffled, features, seed=0), images)
    assert right > 0.9
    assert wrong < 0.5
    pairs = CaptionedImages(unseen[:8], their_texts[:8], np.arange(8))
    assert retrieve(student, vocabulary, pairs)["text_to_image_r1"] > 0.85


@pytest.mark.slow
def test_the_seed_decides() -> None:
    features, texts = _world(64, seed=0)
    weights = [_train(texts, features, seed)[0].image_head.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.slow
def test_a_text_is_encoded_alike_whatever_its_padding_and_batch() -> None:
    torch.manual_seed(0)
    student = Student(50, torch.zeros(WIDTH), torch.ones(WIDTH)).eval()
    rng = np.random.default_rng(0)
    ids = np.zeros((150, MAX_WORDS), np.int64)
    for row in ids:
        length = int(rng.integers(1, MAX_WORDS + 1))
        row[:length] = rng.integers(1, 50, length)
    together = student.encode_texts(ids)
    alone = torch.cat([student.encode_texts(ids[n : n + 1]) for n in range(150)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_pairs_of_one_image_are_no_negatives() -> None:
    torch.manual_seed(0)
    student = Student(50, torch.zeros(WIDTH), torch.ones(WIDTH))
    features = torch.randn(1, WIDTH).expand(2, -1)
    ids = torch.tensor([[2, 3], [4, 5]])
    same = student.loss(features, ids, torch.tensor([0, 0]))
    other = student.loss(features, ids, torch.tensor([0, 1]))
    assert same.item() == pytest.approx(0, abs=1e-6)
    assert other.item() > 0.1
