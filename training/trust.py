"""Give a trained `pairsift-tiny` a larger weight for the tuned stages of `meaning.py`.

    python training/trust.py --model RUN/model --cache CACHE --out RUN/final

The language model was trained with held-out predictions of the ridge (five folds), and weights the
similarity of caption and predicted meaning accordingly. The tuned stages predict better. So the
logits of `itm` are moved towards high scores by `--tilt` times the cosine with their prediction,
relative to the mean cosine of the dev captions. The head already has both parameters:
the first curve falls from 1 at score 0 to -1 at score 100.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.config import COSINE_GAIN
from pairsift.scorers.mlm.tiny.model import TinyModel
from torch.nn import functional as F

from data import Split, caption_tokenizer, sentence_meanings


@torch.no_grad()
def mean_cosine(model: TinyModel, split: Split, cache: Path, images: int) -> float:
    """Return the mean cosine of the captions of the first `images` images with the predictions for
    them.
    """
    tokenizer = caption_tokenizer(cache, model)
    rows = np.concatenate(split.rows_of[:images])
    captions = sentence_meanings(model, [[tokenizer(split.captions[row]) for row in rows]])[0]
    expected = split.images.meaning[split.image[rows]]
    return float(F.cosine_similarity(captions, expected, dim=-1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tilt", type=float, default=6.0)
    parser.add_argument("--images", type=int, default=500, help="dev images the mean is taken of")
    args = parser.parse_args()

    model = TinyModel.from_pretrained(args.model)
    dev = Split.load(args.cache, "dev", model)
    mean, itm = mean_cosine(model, dev, args.cache, args.images), list(METRICS).index("itm")
    with torch.no_grad():
        model.agreement_head[itm, 0, 0] -= args.tilt / COSINE_GAIN
        model.score_bias[itm, 0] += args.tilt * mean
    model.save_pretrained(args.out, version="float", quantize=False)


if __name__ == "__main__":
    main()
