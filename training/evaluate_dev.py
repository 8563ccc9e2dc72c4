"""Measure a `pairsift-tiny` folder on the dev images, compared with cosines without a language
model.

    python training/evaluate_dev.py --model FOLDER --cache CACHE --json results.json

All figures are for dev images, which were never trained on. The reference is the teacher's scores
of dev captions, so these figures say how well the model reproduces its teacher without seeing the
reference captions. They are not human judgments.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.captions import pack
from pairsift.scorers.mlm.tiny.inputs import CaptionTokenizer
from pairsift.scorers.mlm.tiny.model import TinyModel, distribution
from scipy.stats import kendalltau, rankdata
from torch import Tensor
from torch.nn import functional as F

from data import Split, caption_tokenizer, sentence_meanings

GRADED = ("own", "near_text", "near_image", "random")
BROKEN = ("ctq_shuffled", "ctq_truncated", "ctq_repeated", "ctq_keywords", "ctq_typos")
JUNK = ("boilerplate", "file_name")


def predict(model: TinyModel, split: Split, tokenizer: CaptionTokenizer, images: int) -> np.ndarray:
    """Return expected scores (rows, 4) of the first `images` images' captions; NaN elsewhere."""
    scores = np.full((len(split.captions), len(METRICS)), np.nan, np.float32)
    with torch.inference_mode():
        for image in range(images):
            rows = split.rows_of[image]
            tokens = [[tokenizer(split.captions[row]) for row in rows]]
            embeds = split.images[np.array([image])].encode(model)
            meaning = sentence_meanings(model, tokens)
            logits, _ = model.score_packed(embeds, pack(tokens), meaning)
            scores[rows] = distribution(logits[0])[0].numpy()
    return scores


def auc(high: np.ndarray, low: np.ndarray) -> float:
    """Return the probability that a random member of `high` exceeds one of `low`; ties
    count half.
    """
    ranks = rankdata(np.concatenate([high, low]))
    return float((ranks[: len(high)].sum() / len(high) - (len(high) + 1) / 2) / len(low))


def agreement_with_teacher(itm: np.ndarray, split: Split, rows: np.ndarray) -> dict[str, float]:
    """Return figures that any matcher can have: tau on real captions, own above random."""
    graded = rows[np.isin(split.kind[rows], GRADED)]
    own = {i: itm[r[split.kind[r] == "own"]] for i, r in _by_image(split, rows).items()}
    chance = {i: itm[r[split.kind[r] == "random"]] for i, r in _by_image(split, rows).items()}
    wins = [(own[i][:, None] > chance[i]).mean() for i in own if len(own[i]) and len(chance[i])]
    return {
        "itm_tau": float(kendalltau(itm[graded], split.targets[graded, 0]).statistic),
        "true_above_random": float(np.mean(wins)),
    }


def _by_image(split: Split, rows: np.ndarray) -> dict[int, np.ndarray]:
    return {int(i): rows[split.image[rows] == i] for i in np.unique(split.image[rows])}


def against_source(
    scores: np.ndarray, split: Split, sources: np.ndarray, prefix: str, up: bool = False
) -> float:
    """Return the fraction of captions of a kind that score below (or above) their source
    caption.
    """
    made = [r for r in np.flatnonzero(np.char.startswith(split.kind, prefix)) if sources[r] >= 0]
    made = [r for r in made if not np.isnan(scores[r])]
    if not made:
        return float("nan")
    base = np.array([split.rows_of[split.image[r]][sources[r]] for r in made])
    below = scores[made] < scores[base]
    return float(1 - below.mean() if up else below.mean())


def evaluate(
    model: TinyModel, split: Split, tokenizer: CaptionTokenizer, images: int
) -> dict[str, float]:
    """Return all dev figures of the model on the split's first `images` images."""
    scores = predict(model, split, tokenizer, images)
    rows = np.flatnonzero(~np.isnan(scores[:, 0]))
    itm, odf, ctq = scores[:, 0], scores[:, 1], scores[:, 2]
    kind = split.kind[rows]
    clean = rows[np.isin(kind, GRADED)]
    result = agreement_with_teacher(itm, split, rows)
    result |= {
        "true_above_swapped": against_source(itm, split, split.source, "swap_"),
        "odf_falls_with_false_detail": against_source(odf, split, split.source, "detail_false"),
        "odf_rises_with_true_detail": against_source(
            odf, split, split.source, "detail_true", up=True
        ),
        "ctq_auc_broken": auc(ctq[clean], ctq[rows[np.isin(kind, BROKEN)]]),
        "ctq_auc_junk": auc(ctq[clean], ctq[rows[np.isin(kind, JUNK)]]),
    }
    for swap in ("object", "person", "attribute", "count", "action", "relation"):
        share = against_source(itm, split, split.source, f"swap_{swap}")
        result[f"true_above_swapped_{swap}"] = share
    for column, metric in enumerate(METRICS):
        pair = scores[rows, column], split.targets[rows, column]
        result[f"{metric}_tau_all"] = float(kendalltau(*pair).statistic)
        result[f"{metric}_mae_all"] = float(np.abs(pair[0] - pair[1]).mean())
    return {name: round(value, 4) for name, value in result.items()}


def baselines(
    model: TinyModel, split: Split, tokenizer: CaptionTokenizer, meanings: dict[str, Tensor]
) -> dict[str, dict[str, float]]:
    """Return the same figures for the cosine of a caption with the prediction for its image.

    meanings: (images, 384) by the name of the baseline.
    """
    images = len(next(iter(meanings.values())))
    rows = np.concatenate(split.rows_of[:images])
    tokens = [[tokenizer(split.captions[row]) for row in rows]]
    captions = F.normalize(sentence_meanings(model, tokens)[0], dim=-1)
    found = {}
    for name, meaning in meanings.items():
        itm = np.full(len(split.captions), np.nan, np.float32)
        itm[rows] = (captions * F.normalize(meaning, dim=-1)[split.image[rows]]).sum(-1).numpy()
        result = agreement_with_teacher(itm, split, rows)
        result["true_above_swapped"] = against_source(itm, split, split.source, "swap_")
        found[name] = {figure: round(value, 4) for figure, value in result.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    model = TinyModel.from_pretrained(args.model)
    tokenizer = caption_tokenizer(args.cache, model)
    dev = Split.load(args.cache, "dev", model)
    ridge = np.load(args.cache / "priors.npz")["dev_meaning"]
    result = {
        "images": args.images,
        "pairsift-tiny": evaluate(model, dev, tokenizer, args.images),
        **baselines(
            model,
            dev,
            tokenizer,
            {
                "dual-encoder": dev.images.meaning[: args.images],
                "ridge": torch.from_numpy(ridge[: args.images]).float(),
            },
        ),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
