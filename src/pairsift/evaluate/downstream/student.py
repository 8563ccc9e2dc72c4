"""The student: a small dual encoder, the same for every filter.

    frozen image features ── standardised ── linear ───────────────────┐
                                                                       ├─ cosine, InfoNCE
    caption ── words ── 2-layer transformer from scratch ── linear ────┘

It is trained on a fixed number of samples, independent of how many pairs a filter keeps: a smaller
subset is repeated more often, as in DataComp. It runs on one thread, so that equal seeds give equal
students.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pairsift.evaluate.downstream.features import WIDTH as IMAGE_WIDTH

MAX_WORDS = 24
_PADDING, _UNKNOWN = 0, 1
_WORD = re.compile(r"\w+")
_DIMENSIONS = 128
_LAYERS = 2
_HEADS = 4
_MAX_SCALE = 100.0
_TEXTS_AT_A_TIME = 64


@dataclass(frozen=True)
class StudentSettings:
    """How students are trained.

    Attributes:
        samples_seen: total number of pairs in training, repeats included.
        learning_rate: peak of a cosine schedule with a linear warm-up over the first tenth.
    """

    samples_seen: int
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.1


class Vocabulary:
    """The most frequent words of the pool's captions; all others become one unknown word.

    It is made from the whole pool, not from a filter's subset, so that students differ only in
    their training data.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._ids = {word: number for number, word in enumerate(words, start=_UNKNOWN + 1)}

    @classmethod
    def of(cls, texts: Iterable[str], size: int = 10_000, least: int = 2) -> Vocabulary:
        """Make a vocabulary of the `size` most frequent words that occur at least `least` times."""
        counts = Counter(word for text in texts for word in split_words(text))
        ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return cls([word for word, count in ranked[:size] if count >= least])

    def __len__(self) -> int:
        return len(self.words) + _UNKNOWN + 1

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return word numbers, shape (texts, MAX_WORDS), padded with 0 or truncated."""
        ids = np.full((len(texts), MAX_WORDS), _PADDING, np.int64)
        for row, text in enumerate(texts):
            numbers = [self._ids.get(word, _UNKNOWN) for word in split_words(text)[:MAX_WORDS]]
            ids[row, : max(1, len(numbers))] = numbers or [_UNKNOWN]
        return ids


def split_words(text: str) -> list[str]:
    """Return the words and numbers of any script, in lower case."""
    return _WORD.findall(text.lower())


class Student(nn.Module):
    """The dual encoder; `mean` and `scale` (1280,) standardise the image features."""

    mean: Tensor
    scale: Tensor

    def __init__(self, words: int, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.image_head = nn.Linear(IMAGE_WIDTH, _DIMENSIONS)
        self.embed = nn.Embedding(words, _DIMENSIONS, padding_idx=_PADDING)
        self.position = nn.Parameter(torch.randn(MAX_WORDS, _DIMENSIONS) * 0.02)
        layer = nn.TransformerEncoderLayer(
            _DIMENSIONS,
            _HEADS,
            2 * _DIMENSIONS,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, _LAYERS, nn.LayerNorm(_DIMENSIONS), enable_nested_tensor=False
        )
        self.text_head = nn.Linear(_DIMENSIONS, _DIMENSIONS)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        nn.init.normal_(self.embed.weight, std=0.05)

    def image(self, features: Tensor) -> Tensor:
        """Encode features (B, 1280) as unit vectors (B, 128)."""
        return F.normalize(self.image_head((features - self.mean) * self.scale), dim=-1)

    def text(self, ids: Tensor) -> Tensor:
        """Encode word numbers (B, W) as unit vectors (B, 128)."""
        # Captions of similar length together; otherwise padding would take half of the time.
        order = (ids != _PADDING).sum(1).argsort()
        starts = range(0, len(ids), _TEXTS_AT_A_TIME)
        vectors = [self._read(ids[order[start : start + _TEXTS_AT_A_TIME]]) for start in starts]
        return F.normalize(torch.cat(vectors), dim=-1)[order.argsort()]

    def _read(self, ids: Tensor) -> Tensor:
        there = ids != _PADDING
        width = int(there.sum(1).max())  # columns that are padding in all rows are not computed
        ids, there = ids[:, :width], there[:, :width]
        states = self.layers(self.embed(ids) + self.position[:width], src_key_padding_mask=~there)
        weight = there[..., None].to(states.dtype)
        vectors: Tensor = self.text_head((states * weight).sum(1) / weight.sum(1))
        return vectors

    def loss(self, features: Tensor, ids: Tensor, image: Tensor) -> Tensor:
        """Return InfoNCE in both directions; pairs with the same image are not negatives of each
        other.

        features (B, 1280), ids (B, W), image (B,) number of each pair's image.
        """
        logits = self.image(features) @ self.text(ids).T
        logits = logits * self.log_scale.exp().clamp(max=_MAX_SCALE)
        same = (image[:, None] == image) & ~torch.eye(len(image), dtype=torch.bool)
        logits = logits.masked_fill(same, float("-inf"))
        target = torch.arange(len(image))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    @torch.inference_mode()
    def encode_images(self, features: NDArray[np.float16]) -> Tensor:
        """Encode features (n, 1280) as unit vectors (n, 128)."""
        return self.image(torch.from_numpy(features.astype(np.float32)))

    @torch.inference_mode()
    def encode_texts(self, ids: NDArray[np.int64]) -> Tensor:
        """Encode word numbers (n, MAX_WORDS) as unit vectors (n, 128)."""
        return self.text(torch.from_numpy(ids))


def train_student(
    features: NDArray[np.float16],
    image: NDArray[np.int32],
    ids: NDArray[np.int64],
    words: int,
    settings: StudentSettings,
    seed: int,
) -> Student:
    """Train a student on the pairs of a subset.

    Args:
        features: of the pool's distinct images, shape (images, 1280); they also decide the
            standardisation.
        image: index of each pair's image, shape (pairs,).
        ids: word numbers of each pair's caption, shape (pairs, MAX_WORDS).
        words: size of the vocabulary.
        seed: of the initial weights and the order of the pairs.
    """
    all_features = torch.from_numpy(features.astype(np.float32))
    images, texts = torch.from_numpy(image.astype(np.int64)), torch.from_numpy(ids)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, deviation = all_features.mean(0), all_features.std(0, unbiased=False)
        student = Student(words, mean, 1 / deviation.clamp_min(1e-3))
    decayed = [weight for weight in student.parameters() if weight.ndim > 1]
    others = [weight for weight in student.parameters() if weight.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    batch = min(settings.batch_size, len(image))
    steps = max(1, settings.samples_seen // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        settings.learning_rate,
        total_steps=steps + 1,
        pct_start=0.1,
        cycle_momentum=False,
    )
    for rows in _batches(len(image), batch, steps, seed):
        of = images[rows]
        loss = student.loss(all_features[of], texts[rows], of)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return student.eval()


def _batches(pairs: int, batch: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Yield the row numbers of each step: all pairs in random order, again and again."""
    rng = np.random.default_rng(seed)
    waiting = np.zeros(0, np.int64)
    for _ in range(steps):
        while len(waiting) < batch:
            waiting = np.concatenate([waiting, rng.permutation(pairs)])
        yield torch.from_numpy(waiting[:batch])
        waiting = waiting[batch:]
