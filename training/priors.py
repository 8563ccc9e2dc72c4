"""Closed-form parts of the model: from pooled image features to words and to caption meaning.

    python training/priors.py --data ../shared/data --weights WEIGHTS --cache CACHE

Ridge regressions from the pooled encoder features to (a) the share of an image's captions that
mention each of 1000 words and (b) the mean sentence embedding of its captions. While the language
model is trained, every train image gets the predictions of a fit that has not seen it (five
folds), so that it learns how far they can be trusted on new images; the shipped model carries the
fit on all train images. (b) alone is also the baseline that the whole model has to beat.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from candidates import read_captions
from edits import STOPWORDS, words
from teacher import stem
from weights import SentenceEncoder, imagenet_class_names

PENALTY = 10_000.0
FOLDS = 5
WORDS = 1000


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights (features, targets) and bias (targets,) on raw features; standardised inside."""
    mean, scale = x.mean(0), x.std(0) + 1e-6
    z = (x - mean) / scale
    center = y.mean(0)
    gram = z.T @ z + penalty * np.eye(z.shape[1], dtype=z.dtype)
    weights = np.linalg.solve(gram, z.T @ (y - center)) / scale[:, None]
    return weights, center - mean @ weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    cache: Path = args.cache

    names = (cache / "train.names.txt").read_text().split()
    own = read_captions(args.data, "train", names)
    vectors = np.load(cache / "texts.npy")
    center = vectors[: 5 * len(own)].mean(0)
    meaning = (vectors[: 5 * len(own)].reshape(len(own), 5, -1) - center).mean(1)

    # One surface form per stem: the most frequent one.
    counts = Counter(w for five in own for text in five for w in set(words(text)))
    best: dict[str, str] = {}
    for word, _ in counts.most_common():
        if word not in STOPWORDS and len(word) > 2:
            best.setdefault(stem(word), word)
    chosen = list(best.items())[:WORDS]
    place = {s: column for column, (s, _) in enumerate(chosen)}
    said = np.zeros((len(own), WORDS), np.float32)
    for row, five in enumerate(own):
        for text in five:
            for column in {place[s] for s in map(stem, words(text)) if s in place}:
                said[row, column] += 0.2

    pooled = np.load(cache / "train.pooled.npy").astype(np.float32)
    dev = np.load(cache / "dev.pooled.npy").astype(np.float32)
    targets = np.concatenate([meaning, said], axis=1)
    fold = np.random.default_rng(args.seed).permutation(len(own)) % FOLDS
    held_out = np.zeros_like(targets)
    for number in range(FOLDS):
        weights, bias = ridge(pooled[fold != number], targets[fold != number], PENALTY)
        held_out[fold == number] = pooled[fold == number] @ weights + bias
        print(f"fold {number} done", flush=True)
    weights, bias = ridge(pooled, targets, PENALTY)
    on_dev = dev @ weights + bias
    size = meaning.shape[1]
    cosine = [
        float(np.mean(np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)))
        for a, b in ((held_out[:, :size], meaning), ((pooled @ weights + bias)[:, :size], meaning))
    ]
    print(f"cosine with the captions' meaning: held out {cosine[0]:.3f}, fitted {cosine[1]:.3f}")

    classes = imagenet_class_names(args.weights)
    class_meaning = SentenceEncoder(args.weights)([f"a photo of a {c}" for c in classes]) - center
    np.savez(
        cache / "priors.npz",
        weights=weights,
        bias=bias,
        center=center,
        word_prior=said.mean(0),
        class_meaning=class_meaning,
        train_meaning=held_out[:, :size],
        train_words=held_out[:, size:],
        dev_meaning=on_dev[:, :size],
        dev_words=on_dev[:, size:],
    )
    (cache / "words.json").write_text(json.dumps([word for _, word in chosen]) + "\n")


if __name__ == "__main__":
    main()
