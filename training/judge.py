"""Fit a trained `pairsift-tiny` to the scores of a judge that sees the pictures.

    python training/judge.py --data ../shared/data --weights WEIGHTS --cache CACHE \\
        --model RUN/model --out RUN/final

It makes two fits on the pairs of `judged.csv.gz`, for images that `meaning.py --half` left out, so
that their predictions are no better than for new images. First, a linear map of the image's
meaning and a vector for captions in general (`judge_map`, `judge_taste`), whose product with the
caption's embedding predicts the judge's scores best; both stay near their start, the cosine. Then,
how far that product adjusts the language model's `itm` (`judge_head`), and `judge_taste` again, on
pairs that the language model has scored. A caption with an instruction to the model is trained to
have the same product as without it. Dev pairs are not fitted, but the penalties were chosen on
them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.captions import pack
from pairsift.scorers.mlm.tiny.model import TinyModel, distribution
from pairsift.teach import edits
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional as F

from candidates import read_captions
from data import ImageParts, caption_tokenizer, sentence_meanings
from judged import YES, Judged, read_judged
from weights import SentenceEncoder

ITM = list(METRICS).index("itm")
MAP_PENALTY, TASTE_PENALTY = 1e-3, 3e-4
ORDER_WEIGHT = 2.0
ORDERED = 3000
"""Captions that come with an order too."""
READ = 1100
"""Images whose judged captions the language model reads for the second fit."""


class Judge(nn.Module):
    """The judge's vector for an image, and how far it adjusts `itm`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.map = nn.Linear(size, size)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)
        self.taste = nn.Parameter(torch.zeros(size))
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.offset = nn.Parameter(torch.tensor(0.0))

    def asked(self, meaning: Tensor) -> Tensor:
        """Return (N, 384) for unit meanings (N, 384)."""
        return F.normalize(meaning + self.map(meaning), dim=-1) + self.taste

    def penalty(self) -> Tensor:
        biases = self.map.bias.square().sum() + self.taste.square().sum()
        return MAP_PENALTY * self.map.weight.square().sum() + TASTE_PENALTY * biases

    def tilted(self, logits: Tensor, product: Tensor, wave: Tensor) -> Tensor:
        """Return `itm` logits (N, 101), adjusted by the products (N,)."""
        return logits - (self.gain * product - self.offset)[:, None] * wave


def fit(judge: Judge, loss_of, steps: int, rate: float, parameters: list[Tensor]) -> None:
    """Minimise a loss; `loss_of()` draws a batch and returns its loss."""
    scalars = [p for p in parameters if p.ndim == 0]
    rest = [p for p in parameters if p.ndim]
    optimizer = torch.optim.Adam([{"params": rest, "lr": rate}, {"params": scalars, "lr": 0.02}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = loss_of() + judge.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def read(
    model: TinyModel, parts: ImageParts, pairs: list[Judged], own: list[list[str]], cache: Path
) -> Tensor:
    """Return the language model's `itm` logits (pairs, 101)."""
    tokenizer = caption_tokenizer(cache, model)
    of_image: dict[int, list[int]] = {}
    for row, pair in enumerate(pairs):
        of_image.setdefault(pair.image, []).append(row)
    logits = torch.zeros(len(pairs), model.waves.shape[0])
    for image, rows in of_image.items():
        tokens = [[tokenizer(own[pairs[row].of][pairs[row].number]) for row in rows]]
        embeds = parts[np.array([image])].encode(model)
        meaning = sentence_meanings(model, tokens)
        logits[rows] = model.score_packed(embeds, pack(tokens), meaning)[0][0, :, ITM]
    return logits


def agreement(told: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return Kendall's tau-b with the judge's scores, and with whether they mean yes."""
    return {
        "tau_b": round(float(kendalltau(told, scores).statistic), 4),
        "tau_b_yes": round(float(kendalltau(told, scores >= YES).statistic), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "weights", "cache", "model", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    cache: Path = args.cache

    model = TinyModel.from_pretrained(args.model)
    names = {s: (cache / f"{s}.names.txt").read_text().split() for s in ("train", "dev")}
    own = {s: read_captions(args.data, s, names[s]) for s in names}
    stored, center = np.load(cache / "texts.npy"), model.meaning_center.numpy()
    of_train = 5 * len(names["train"])
    vectors = {"train": stored[:of_train], "dev": stored[of_train:]}
    parts = {s: ImageParts.load(cache, s, model) for s in names}
    foretold = np.load(cache / "foretold.npz")
    left_out = foretold["train_rows"]
    parts["train"].meaning[left_out] = torch.from_numpy(foretold["train_meaning"])
    pairs = {s: read_judged(names[s]) for s in names}
    pairs["train"] = [pair for pair in pairs["train"] if pair.image in set(left_out.tolist())]

    def meanings(split: str, some: list[Judged]) -> tuple[Tensor, Tensor, Tensor]:
        """Return unit meanings of images and of captions (N, 384), and the judge's scores (N,), 0
        to 1.
        """
        images = F.normalize(parts[split].meaning[[pair.image for pair in some]], dim=-1)
        captions = torch.from_numpy(vectors[split][[pair.caption for pair in some]] - center)
        scores = torch.tensor([pair.score for pair in some]) / 100
        return images, F.normalize(captions.float(), dim=-1), scores

    image, caption, score = meanings("train", pairs["train"])
    plain = rng.choice(len(pairs["train"]), ORDERED, replace=False)
    texts = [own["train"][pairs["train"][row].of][pairs["train"][row].number] for row in plain]
    ordered = SentenceEncoder(args.weights)([edits.with_order(text, rng) for text in texts])
    change = F.normalize(torch.from_numpy(ordered - center).float(), dim=-1) - caption[plain]

    judge = Judge(model.config.meaning)

    def order_loss() -> Tensor:
        moved = (judge.asked(image[plain]) * change).sum(-1)
        return ORDER_WEIGHT * moved.square().mean()

    def alone() -> Tensor:
        rows = torch.randint(len(score), (4096,))
        product = (judge.asked(image[rows]) * caption[rows]).sum(-1)
        told = judge.gain * product + judge.offset
        return (told - score[rows]).square().mean() + order_loss()

    fit(judge, alone, 500, 2e-3, list(judge.parameters()))

    some = rng.permutation(np.unique([pair.image for pair in pairs["train"]]))[:READ]
    chosen = [pair for pair in pairs["train"] if pair.image in set(some.tolist())]
    seen, said, asked_for = meanings("train", chosen)
    logits = read(model, parts["train"], chosen, own["train"], cache)
    wave = model.waves[:, 0]
    with torch.no_grad():
        judge.gain.fill_(10.0)
        judge.offset.fill_(0.0)
    parameters = [judge.gain, judge.offset, judge.taste, judge.map.bias]

    def together() -> Tensor:
        rows = torch.randint(len(asked_for), (2048,))
        product = (judge.asked(seen[rows]) * said[rows]).sum(-1)
        expected = distribution(judge.tilted(logits[rows], product, wave))[0] / 100
        return (expected - asked_for[rows]).square().mean() + order_loss()

    fit(judge, together, 400, 5e-4, parameters)

    with torch.no_grad():
        seen, said, asked_for = meanings("dev", pairs["dev"])
        dev_logits = read(model, parts["dev"], pairs["dev"], own["dev"], cache)
        product = (judge.asked(seen) * said).sum(-1)
        expected = distribution(judge.tilted(dev_logits, product, wave))[0]
        dev = 100 * asked_for.numpy()
        result = {
            "pairs": {"train": len(score), "read": len(chosen), "dev": len(dev)},
            "gain": round(float(judge.gain), 3),
            "offset": round(float(judge.offset), 3),
            "cosine": agreement((seen * said).sum(-1).numpy(), dev),
            "product": agreement(product.numpy(), dev),
            "itm before": agreement(distribution(dev_logits)[0].numpy(), dev),
            "itm": agreement(expected.numpy(), dev),
            "mean itm": round(float(expected.mean()), 1),
            "mean score": round(float(dev.mean()), 1),
        }
        model.judge_map.weight.copy_(torch.eye(model.config.meaning) + judge.map.weight)
        model.judge_map.bias.copy_(judge.map.bias)
        model.judge_taste.copy_(judge.taste)
        model.judge_head.zero_()
        model.judge_head[ITM, 0] = -judge.gain
        model.score_bias[ITM, 0] += judge.offset
    print(json.dumps(result, indent=2), flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    model.save_pretrained(args.out, version="float", quantize=False)


if __name__ == "__main__":
    main()
