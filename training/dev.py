"""Dev figures of any score of how well a caption fits a picture; for choosing, never for the tests.

    python training/dev.py --cache CACHE --images EMBEDDINGS.npy
    python training/dev.py --cache CACHE --model FOLDER

`measure` accepts any score of (picture rows, text rows) of `pictures.py`'s tables. The command
measures the cosine of image embeddings (N, 384, zeros if not a dev picture) with the captions',
or the scores of a `pairsift-tiny`: `itm`, the cosine of its own encoders, and by how much `itm` is
above that cosine.
All figures are in per cent (tau-b times 100).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.captions import pack, pad
from pairsift.scorers.mlm.tiny.inputs import CaptionTokenizer
from pairsift.scorers.mlm.tiny.model import TinyModel, distribution
from PIL import Image
from scipy.stats import kendalltau
from torch import Tensor

from pictures import KINDS
from tower import Table

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Picture rows (P,) and text rows (P,) of the tables to scores (P,)."""

OTHERS = 4
"""Other captions of its domain that a picture's own is compared with."""
MOST = 150
"""Pictures of a domain that are compared so."""
ITM = tuple(METRICS).index("itm")
DRAWS = 1000
"""Resamples of the pictures that a 95 % interval is taken from."""
JUDGED = ("flickr8k", "coco", "web", "photograph", "diagram")
PHOTOGRAPHS = JUDGED[:4]


def _tau(told: np.ndarray, score: np.ndarray) -> float:
    return round(100 * float(kendalltau(told, score).statistic), 1)


def measure(table: Table, score: Score, teacher: bool = True) -> dict[str, float]:
    """Return figures by name.

    `flickr8k judged`, `<domain> near`: tau-b with the judge's scores of dev pictures; `near`: the
    mean over domains. `wrong <kind>`: how often the plain, the other and the detailed caption score
    above the one with a single error. `<domain> own`: own caption above another picture's of the
    domain. `<domain> median own, other`: the scores themselves. `flickr8k teacher`: tau-b with
    MiniLM's similarity to the five captions, over captions of all ranks.
    """
    result: dict[str, float] = {}
    pairs = table.pairs
    judged = np.flatnonzero(table.dev[pairs["image"]])
    image, text, true = (pairs[name][judged] for name in ("image", "text", "score"))
    told = score(image, text)
    domain = table.domain[image]
    taus = []
    for name in JUDGED:
        some = domain == name
        key = "flickr8k judged" if name == "flickr8k" else f"{name} near"
        result[key] = _tau(told[some], true[some])
        taus.append(result[key])
    result["judged mean"] = round(float(np.mean(taus)), 1)
    flickr = domain == "flickr8k"
    result["flickr8k yes"] = _tau(told[flickr], true[flickr] >= 70)

    rows, won = _found_wrong(table, score)
    for kind in KINDS:
        result[f"wrong {kind}"] = round(100 * float(won[table.wrong_kind[rows] == kind].mean()), 1)
    result["wrong"] = round(100 * float(won.mean()), 1)

    rng = np.random.default_rng(0)
    for name in dict.fromkeys(table.domain):
        rows = np.flatnonzero(table.dev & (table.domain == name))
        rows = rng.permutation(rows)[:MOST]
        own = np.array([table.own[row][0] for row in rows])
        count = min(OTHERS, len(rows) - 1)
        shift = np.stack([rng.choice(np.arange(1, len(rows)), count, False) for _ in rows])
        other = own[(np.arange(len(rows))[:, None] + shift) % len(rows)]
        mine = score(rows, own)
        theirs = score(np.repeat(rows, count), other.ravel()).reshape(other.shape)
        ahead = (mine[:, None] > theirs) + 0.5 * (other == own[:, None])
        result[f"{name} own"] = round(100 * float(ahead.mean()), 1)
        result[f"{name} median own"] = round(float(np.median(mine)), 3)
        result[f"{name} median other"] = round(float(np.median(theirs)), 3)

    if teacher:
        rows = np.flatnonzero(table.dev & (table.domain == "flickr8k"))
        texts = np.concatenate([table.own[row] for row in rows])
        image = np.repeat(rows, 20)
        text = rng.choice(texts, len(image))
        text[::4] = [rng.choice(table.own[row]) for row in image[::4]]
        alike = np.empty(len(image))
        for at, (row, caption) in enumerate(zip(image, text, strict=True)):
            own = table.own[row][table.own[row] != caption]
            cosine = table.vectors[own] @ table.vectors[caption]
            alike[at] = float(cosine.mean() + cosine.max())
        result["flickr8k teacher"] = _tau(score(image, text), alike)
    return result


def _found_wrong(table: Table, score: Score) -> tuple[np.ndarray, np.ndarray]:
    """Return dev pictures (R,) and the share (R,) of three right captions above the wrong one."""
    rows = np.flatnonzero(table.dev & (table.wrong >= 0))
    right = np.stack([table.own[row] for row in rows])  # plain, other, detailed
    wrong = score(rows, table.wrong[rows])
    return rows, np.mean([score(rows, right[:, k]) > wrong for k in range(3)], axis=0)


def ahead(table: Table, score: Score, baseline: Score) -> dict[str, list[float]]:
    """Return `score`'s figures minus those of `baseline`: [difference, low, high] by name.

    low and high bound the middle 95 % of differences over resamples of the pictures, the same
    ones for both. `photographs judged` is the mean of tau-b over the domains of photographs.
    """
    rng = np.random.default_rng(0)
    result: dict[str, list[float]] = {}
    judged = np.flatnonzero(table.dev[table.pairs["image"]])
    image, text, true = (table.pairs[name][judged] for name in ("image", "text", "score"))
    pair = score(image, text), baseline(image, text)
    means = np.zeros(DRAWS + 1)
    for name in JUDGED:
        some = np.flatnonzero(table.domain[image] == name)
        pictures = [some[image[some] == row] for row in np.unique(image[some])]
        differences = np.empty(DRAWS + 1)
        for draw in range(DRAWS + 1):  # the first is of all pictures, once each
            drawn = (
                rng.integers(len(pictures), size=len(pictures)) if draw else range(len(pictures))
            )
            rows = np.concatenate([pictures[k] for k in drawn])
            new, old = (100 * kendalltau(told[rows], true[rows]).statistic for told in pair)
            differences[draw] = new - old
        result["flickr8k judged" if name == "flickr8k" else f"{name} near"] = _interval(differences)
        if name in PHOTOGRAPHS:
            means += differences / len(PHOTOGRAPHS)
    result["photographs judged"] = _interval(means)

    rows, new = _found_wrong(table, score)
    _, old = _found_wrong(table, baseline)
    gain = 100 * (new - old)
    for kind in (*KINDS, ""):
        some = gain[table.wrong_kind[rows] == kind] if kind else gain
        drawn = some[rng.integers(len(some), size=(DRAWS, len(some)))].mean(axis=1)
        result[f"wrong {kind}".strip()] = _interval(np.concatenate([[some.mean()], drawn]))
    return result


def _interval(values: np.ndarray) -> list[float]:
    return [
        round(float(value), 1) for value in (values[0], *np.quantile(values[1:], (0.025, 0.975)))
    ]


def cosine(table: Table, images: np.ndarray) -> Score:
    """Return the cosine of image embeddings, one row per picture, with the captions' embeddings."""
    unit = images / np.maximum(np.linalg.norm(images, axis=1, keepdims=True), 1e-9)
    vectors = table.vectors.numpy()

    def score(image: np.ndarray, text: np.ndarray) -> np.ndarray:
        return np.einsum("nd,nd->n", unit[image], vectors[text])

    return score


@torch.inference_mode()
def encode(model: TinyModel, table: Table, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return encoded images (R, n, d) and predicted meanings (R, 384) of some pictures."""
    embeds, meanings = [], []
    for at in range(0, len(rows), 8):
        images = [Image.fromarray(table.pixels[row]) for row in rows[at : at + 8]]
        pixels = torch.from_numpy(np.stack([model.preprocess(image) for image in images]))
        with torch.autocast("cpu", torch.bfloat16):
            encoded = model.encode_images(pixels).float()
        embeds.append(encoded)
        meanings.append(encoded[:, model.config.image_tokens, : model.config.meaning])
    return torch.cat(embeds), torch.cat(meanings)


@torch.inference_mode()
def read(
    model: TinyModel, folder: Path, table: Table, embeds: dict[int, Tensor]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the language model's expected scores (P, 4) of encoded pictures `embeds` by row."""
    tokenizer = CaptionTokenizer(folder, model.config.max_caption_tokens)
    center = torch.from_numpy(table.center)

    @torch.inference_mode()
    def scores(image: np.ndarray, text: np.ndarray) -> np.ndarray:
        out = np.zeros((len(image), len(METRICS)), np.float32)
        order = np.argsort(image, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(image[order])) + 1):
            for at in range(0, len(rows), 16):
                some = rows[at : at + 16]
                tokens = [[tokenizer(table.texts[t]) for t in text[some]]]
                ids, mask = pad([caption.sentence_ids for caption in tokens[0]])
                meaning = table.raw[text[some]] - center
                read = model.read_meaning(meaning, ids, mask)
                with torch.autocast("cpu", torch.bfloat16):
                    logits, _ = model.score_packed(
                        embeds[image[some[0]]][None], pack(tokens), read[None]
                    )
                out[some] = distribution(logits.float())[0][0].numpy()
        return out

    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = Table.load(args.cache, np.load(args.cache / "center.npy"))
    if args.images:
        result = {"cosine": measure(table, cosine(table, np.load(args.images)))}
    else:
        model = TinyModel.from_pretrained(args.model)
        rows = np.flatnonzero(table.dev)
        embeds, meanings = encode(model, table, rows)
        images = np.zeros((len(table.dev), meanings.shape[1]), np.float32)
        images[rows] = meanings
        result = {"cosine": measure(table, cosine(table, images))}
        print(json.dumps(result, indent=1), flush=True)
        scores = read(model, args.model, table, dict(zip(rows, embeds, strict=True)))

        def itm(image: np.ndarray, text: np.ndarray) -> np.ndarray:
            return scores(image, text)[:, ITM]

        result["itm"] = measure(table, itm, teacher=False)
        result["itm ahead of cosine"] = ahead(table, itm, cosine(table, images))
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
