"""Closed-form parts of the model: from pooled image features to words and to caption meaning.

    python training/priors.py --data ../shared/data --weights WEIGHTS --cache CACHE

Ridge regressions, over Flickr8k and the other domains, from the pooled encoder features to (a) the
share of an image's captions that mention each of 1000 words and (b) the mean sentence embedding of
its captions. While the language model is trained, every image gets the predictions of a fit without
it (five folds), so that the model learns how reliable they are on new images. The shipped model
contains (a) fitted on all images; (b) is the start of `meaning.py`, and a baseline for the whole
model.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
from pairsift.teach.lexicon import STOPWORDS, stem, words

import domains
from candidates import read_captions
from weights import SentenceEncoder, imagenet_class_names

PENALTY = 10_000.0
FOLDS = 5
WORDS = 1000


def ridge(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (features, targets) and bias (targets,) for raw features; standardised
    inside.
    """
    mean, scale = x.mean(0), x.std(0) + 1e-6
    root = np.sqrt(weight)[:, None]
    z = (x - mean) / scale * root
    center = (y * weight[:, None]).sum(0) / weight.sum()
    gram = z.T @ z + penalty * np.eye(z.shape[1], dtype=z.dtype)
    weights = np.linalg.solve(gram, z.T @ ((y - center) * root)) / scale[:, None]
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

    # One form per stem: the most frequent one.
    counts = Counter(w for five in own for text in five for w in sorted(set(words(text))))
    best: dict[str, str] = {}
    for word, _ in counts.most_common():
        if word not in STOPWORDS and len(word) > 2:
            best.setdefault(stem(word), word)
    chosen = list(best.items())[:WORDS]
    place = {s: column for column, (s, _) in enumerate(chosen)}

    def mentions(texts_of: list[list[str]]) -> np.ndarray:
        said = np.zeros((len(texts_of), WORDS), np.float32)
        for row, texts in enumerate(texts_of):
            for text in texts:
                for column in {place[s] for s in map(stem, words(text)) if s in place}:
                    said[row, column] += 1 / len(texts)
        return said

    said = mentions(own)
    sets = {"train": (own, np.concatenate([meaning, said], axis=1), 1.0)}
    encoder = SentenceEncoder(args.weights)
    phrases = domains.stamp_phrases(args.data)
    for domain in domains.TARS:
        pictures = (cache / f"{domain}.names.txt").read_text().split()
        if domain == "coco":
            texts = domains.coco_captions(args.data, pictures)
        else:
            texts = [[phrases[name]] for name in pictures]
        vectors = np.stack([encoder(t).mean(0) for t in texts]) - center
        sets[domain] = texts, np.concatenate([vectors, mentions(texts)], axis=1), domains.WEIGHT

    rng = np.random.default_rng(args.seed)
    pooled, targets, weight, fold, bounds = [], [], [], [], {}
    for name, (texts, target, importance) in sets.items():
        features = np.load(cache / f"{name}.pooled.npy").astype(np.float32)
        views = len(features) // len(texts)
        start = sum(map(len, pooled))
        bounds[name] = slice(start, start + len(features))
        pooled.append(features)
        targets.append(np.tile(target, (views, 1)))
        weight.append(np.full(len(features), importance / views, np.float32))
        fold.append(np.tile(rng.permutation(len(texts)) % FOLDS, views))
    x, y, w, f = (np.concatenate(part) for part in (pooled, targets, weight, fold))
    held_out = np.zeros_like(y)
    for number in range(FOLDS):
        some = f != number
        weights, bias = ridge(x[some], y[some], w[some], PENALTY)
        held_out[~some] = x[~some] @ weights + bias
        print(f"fold {number} done", flush=True)
    weights, bias = ridge(x, y, w, PENALTY)
    dev = np.load(cache / "dev.pooled.npy").astype(np.float32)
    size = meaning.shape[1]
    predicted = {name: held_out[where] for name, where in bounds.items()}
    for name, where in bounds.items():
        a, b = predicted[name][:, :size], y[where][:, :size]
        cosine = np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        print(f"{name}: cosine with the captions' meaning, held out: {cosine.mean():.3f}")
    predicted["dev"] = dev @ weights + bias

    classes = imagenet_class_names(args.weights)
    class_meaning = encoder([f"a photo of a {c}" for c in classes]) - center
    np.savez(
        cache / "priors.npz",
        weights=weights,
        bias=bias,
        center=center,
        word_prior=said.mean(0),
        class_meaning=class_meaning,
        **{f"{name}_meaning": values[:, :size] for name, values in predicted.items()},
        **{f"{name}_words": values[:, size:] for name, values in predicted.items()},
    )
    (cache / "words.json").write_text(json.dumps([word for _, word in chosen]) + "\n")


if __name__ == "__main__":
    main()
