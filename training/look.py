"""Train the language model further: captions wrong in one thing, judged pairs of all domains.

    python training/look.py --cache CACHE --start MODEL --out RUN --minutes 60

Starts from a trained `pairsift-tiny` (`train.py`) and reads the image grids of all pictures of
`pictures.py`. The expected meaning of a picture's captions comes from a ridge regression that was
not fitted to it (five folds), so that the model learns how reliable that is on new pictures; the
tuned tower replaces it afterwards. A pack holds true captions, the one with one thing wrong, judged
captions, swapped and broken ones, one with an order to the judge, and some of other pictures. `itm`
learns from the judge, from pairs of right and wrong captions, and from orders; `odf`, `ctq` and
`su` are kept near the start model's. The learning rate falls with the time left; a run that was
killed continues from RUN/look.last.pt. Writes the folder RUN/look: the moving average of the
weights.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.lite import FEATURE_WIDTHS
from pairsift.scorers.mlm.tiny.captions import Packed, pack
from pairsift.scorers.mlm.tiny.config import GRID_SIDE, POOLED_WIDTH
from pairsift.scorers.mlm.tiny.inputs import (
    SENTENCE_TOKENIZER_FILE,
    TOKENIZER_FILE,
    CaptionTokenizer,
)
from pairsift.scorers.mlm.tiny.model import TinyModel, distribution
from pairsift.teach import edits
from pairsift.teach.lexicon import SWAPS
from pairsift.teach.lexicon import words as words_of
from scipy.stats import kendalltau
from torch import Tensor
from torch.nn import functional as F

from data import sentence_meanings
from losses import EDIT_SCALE, RANK_SCALE, normal_labels, order_loss
from tower import DRAWN, Table
from train import optimizer

ITM, ODF, CTQ, SU = range(len(METRICS))
CAPTIONS = 14
OWN = 2
TRUE, OTHER = 92.0, 3.0
"""`itm` of a true caption that nobody judged, and of one of another picture."""
LOSS_WEIGHTS = {
    "score": 1.0,
    "rank": 1.0,
    "wrong": 1.0,
    "order": 0.75,
    "kept": 1.0,
    "beyond": 0.1,
}
FOLDS = 5
PENALTY = 10_000.0


def held_out(table: Table, features: np.ndarray) -> np.ndarray:
    """(N, 384) expected meaning by folds without the picture; dev: the mean of all."""
    train = np.flatnonzero(~table.dev)
    target = np.stack([table.vectors[torch.from_numpy(r)].mean(0).numpy() for r in table.own])
    x = features.astype(np.float32)
    x = (x - x[train].mean(0)) / (x[train].std(0) + 1e-6)
    center = target[train].mean(0)
    fold = np.full(len(x), -1)
    fold[train] = np.random.default_rng(3).permutation(len(train)) % FOLDS
    out = np.zeros_like(target)
    for number in range(-1, FOLDS):
        some = (fold >= 0) & (fold != number)
        gram = x[some].T @ x[some] + PENALTY * np.eye(x.shape[1], dtype=x.dtype)
        weights = np.linalg.solve(gram, x[some].T @ (target[some] - center))
        out[fold == number] = x[fold == number] @ weights + center
    return out


@dataclass
class Seen:
    """The encoder's output for each picture; see `TinyModel.assemble`."""

    grid: np.ndarray
    words: Tensor
    chances: Tensor
    meaning: Tensor

    @classmethod
    @torch.no_grad()
    def load(cls, cache: Path, model: TinyModel, table: Table) -> Seen:
        features = np.load(cache / "pooled.npy")
        kept = cache / "held_out.npy"
        if not kept.exists():
            np.save(kept, held_out(table, features))
        pooled = torch.from_numpy(features[:, :POOLED_WIDTH]).float()
        chances = model.encoder.classifier(pooled[:, : FEATURE_WIDTHS[-1]]).softmax(-1)
        return cls(
            np.load(cache / "grid.npy", mmap_mode="r"),
            model.word_scores(pooled),
            chances,
            torch.from_numpy(np.load(kept)).float(),
        )

    def encode(self, model: TinyModel, rows: np.ndarray, mirror: np.ndarray) -> Tensor:
        grid = self.grid[rows].astype(np.float32)
        square = grid.reshape(len(rows), GRID_SIDE, GRID_SIDE, -1)[:, :, ::-1]
        grid = np.where(mirror[:, None, None], square.reshape(grid.shape), grid)
        at = torch.from_numpy(rows)
        return model.assemble(
            torch.from_numpy(grid), self.words[at], self.chances[at], self.meaning[at]
        )


@dataclass
class Batch:
    """B packs of C captions. `target`: `itm`, NaN where unknown. `worse_than`: place of the true
    caption that a wrong one is to stay below, or -1. `ordered`: place of the same caption without
    its order. `beyond`: place of the alt text that a figure's caption goes beyond."""

    rows: np.ndarray
    texts: list[list[str]]
    target: Tensor
    worse_than: Tensor
    ordered: Tensor
    beyond: Tensor


class Packs:
    """Draws packs of captions, every picture in turn."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table, self.rng = table, np.random.default_rng(seed)
        self.train = np.flatnonzero(~table.dev)
        chance = np.array([DRAWN.get(d, 1.0) for d in table.domain[self.train]])
        self.chance = chance / chance.sum()
        image = table.pairs["image"]
        order = np.argsort(image, kind="stable")
        self.pairs_of = np.split(order, np.searchsorted(image[order], range(1, len(table.own))))
        self.of_domain = {d: self.train[table.domain[self.train] == d] for d in set(table.domain)}

    def draw(self, count: int) -> Batch:
        rows = self.rng.choice(self.train, count, replace=False, p=self.chance)
        made = [self._pack(int(row)) for row in rows]
        texts, target, worse, ordered, beyond = zip(*made, strict=True)
        return Batch(
            rows, list(texts), torch.tensor(target), *map(torch.tensor, (worse, ordered, beyond))
        )

    def _pack(self, row: int):
        table, rng = self.table, self.rng
        pairs = self.pairs_of[row]
        judged = dict(zip(table.pairs["text"][pairs], table.pairs["score"][pairs], strict=True))
        texts: list[str] = []
        target, worse, beyond = [], [], []

        def add(text: str, score: float, below: int = -1, past: int = -1) -> None:
            texts.append(text)
            target.append(float(score))
            worse.append(below)
            beyond.append(past)

        own = rng.permutation(table.own[row])[:OWN]
        for text in own:
            add(table.texts[text], judged.get(text, TRUE))
        if table.wrong[row] >= 0:
            wrong = table.wrong[row]
            add(table.texts[wrong], judged.get(wrong, math.nan), below=int(rng.integers(len(own))))
        if len(table.beyond[row]):
            add(table.texts[table.beyond[row][0]], math.nan, past=0)
        mentioned = {word for text in table.own[row] for word in words_of(table.texts[text])}
        for kind in rng.permutation(list(SWAPS))[:3]:
            source = int(rng.integers(len(own)))
            text = edits.swap(texts[source], str(kind), mentioned, rng)
            if text is not None:
                add(text, math.nan, below=source)
                break
        kind = str(rng.choice(list(edits.CORRUPTIONS)))
        add(edits.corrupt(texts[int(rng.integers(len(own)))], kind, rng)[0], math.nan)
        rest = [text for text in rng.permutation(list(judged)) if text not in own]
        for text in rest[: CAPTIONS - 2 - len(texts)]:
            add(table.texts[text], judged[text])
        others = self.of_domain[table.domain[row]]
        while len(texts) < CAPTIONS - 1:
            other = int(rng.choice(others if rng.random() < 0.7 else self.train))
            text = table.texts[rng.choice(table.own[other])]
            add(text, OTHER if text not in texts and other != row else math.nan)
        plain = int(rng.integers(len(texts)))
        add(edits.with_order(texts[plain], rng), target[plain])
        return texts, target, worse, [-1] * (CAPTIONS - 1) + [plain], beyond


def losses_of(logits: Tensor, before: Tensor, batch: Batch) -> dict[str, Tensor]:
    """All losses, from logits (B, C, M, 101) of the model and of the start model."""
    chances = logits.log_softmax(-1)
    known = ~batch.target.isnan()
    target = batch.target.nan_to_num()
    expected = distribution(logits)[0]
    itm = expected[..., ITM]
    score = -(normal_labels(target) * chances[..., ITM, :]).sum(-1)[known].mean()
    gap = target[:, :, None] - target[:, None, :]
    weight = ((gap - 4) / 20).clamp(0, 1) * known[:, :, None] * known[:, None, :]
    lead = itm[:, :, None] - itm[:, None, :]
    rank = (weight * F.softplus(-lead / RANK_SCALE)).sum() / weight.sum()
    felt = batch.worse_than >= 0
    ahead = itm.gather(1, batch.worse_than.clamp_min(0)) - itm
    wrong = F.softplus(-ahead / EDIT_SCALE)[felt].mean()
    held = [ODF, CTQ, SU]
    kept = (
        F.kl_div(chances[..., held, :], before[..., held, :].softmax(-1), reduction="none")
        .sum(-1)
        .mean()
    )
    past = batch.beyond >= 0
    beyond = itm.sum() * 0
    if past.any():
        base = expected.gather(1, batch.beyond.clamp_min(0)[..., None].expand_as(expected))
        fuller = (base - expected)[past]
        beyond = (
            F.softplus(-fuller[:, ODF] / RANK_SCALE) + F.softplus(fuller[:, SU] / RANK_SCALE)
        ).mean()
    order = order_loss(expected, batch.ordered)
    return {
        "score": score,
        "rank": rank,
        "wrong": wrong,
        "order": order,
        "kept": kept,
        "beyond": beyond,
    }


@torch.inference_mode()
def glimpse(
    model: TinyModel, seen: Seen, table: Table, tokenizer: CaptionTokenizer, pictures: int = 150
) -> dict[str, float]:
    """Dev pictures that came with judgments: tau-b with them, true above wrong (both %)."""
    image, score = table.pairs["image"], table.pairs["score"]
    rng = np.random.default_rng(1)
    dev = rng.permutation(np.unique(image[table.dev[image]]))[:pictures]
    told, true, won = [], [], []
    model.eval()
    for row in dev:
        mine = np.flatnonzero(image == row)[:12]
        texts = list(table.pairs["text"][mine])
        if table.wrong[row] >= 0:
            texts += [*table.own[row], table.wrong[row]]
        embeds = seen.encode(model, np.array([row]), np.array([False]))
        tokens = [[tokenizer(table.texts[text]) for text in texts]]
        with torch.autocast("cpu", torch.bfloat16):
            meaning = table.raw[texts] - model.meaning_center
            logits, _ = model.score_packed(embeds, pack(tokens), meaning[None])
        itm = distribution(logits.float())[0][0, :, ITM].numpy()
        told += list(itm[: len(mine)])
        true += list(score[mine])
        if len(texts) > len(mine):
            won += list(itm[-4:-1] > itm[-1])
    model.train()
    model.sentence.eval()
    tau = float(kendalltau(told, true).statistic)
    return {"tau": round(100 * tau, 1), "true above wrong": round(100 * float(np.mean(won)), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("cache", "start", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--images", type=int, default=8, help="packs a step")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--new-lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    table = Table.load(args.cache, np.load(args.cache / "center.npy"))
    model, old = (TinyModel.from_pretrained(args.start) for _ in range(2))
    with torch.no_grad():  # the judge's tilt is fitted again afterwards (`judge.py`)
        model.judge_head.zero_()
    old.requires_grad_(False)
    seen = Seen.load(args.cache, model, table)
    tokenizer = CaptionTokenizer(args.start, model.config.max_caption_tokens)
    packs = Packs(table, args.seed)
    optim = optimizer(model, args.lr, args.new_lr)
    trained = [p for group in optim.param_groups for p in group["params"]]
    average = [p.detach().clone() for p in trained]
    state_file, log, step, spent = args.out / "look.last.pt", args.out / "look.log.jsonl", 0, 0.0
    if state_file.exists():
        state = torch.load(state_file, weights_only=False)
        for mine, stored in zip(trained, state["trained"], strict=True):
            mine.data.copy_(stored)
        average, step, spent = state["average"], state["step"], state["spent"]
        optim.load_state_dict(state["optim"])
        packs.rng = np.random.default_rng((args.seed, step))
    began, saved, totals = time.monotonic() - spent, time.monotonic(), {}
    model.train()
    model.sentence.eval()

    def tell(line: dict[str, object]) -> None:
        print(json.dumps(line), flush=True)
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def averaged() -> dict[str, float]:
        now = [p.detach().clone() for p in trained]
        for p, mean in zip(trained, average, strict=True):
            p.data.copy_(mean)
        found = glimpse(model, seen, table, tokenizer)
        model.save_pretrained(args.out / "look", version="float", quantize=False)
        for file in (TOKENIZER_FILE, SENTENCE_TOKENIZER_FILE):
            shutil.copyfile(args.start / file, args.out / "look" / file)
        for p, value in zip(trained, now, strict=True):
            p.data.copy_(value)
        return found

    if step == 0:
        tell({"step": 0, **averaged()})
    while True:
        progress = min(1.0, (time.monotonic() - began) / 60 / args.minutes)
        rate = min(1.0, (step + 1) / 30) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optim.param_groups:
            group["lr"] = rate * group["peak"]
        batch = packs.draw(args.images)
        tokens = [[tokenizer(text) for text in texts] for texts in batch.texts]
        packed: Packed = pack(tokens)
        flat = [caption for captions in tokens for caption in captions]
        with torch.autocast("cpu", torch.bfloat16):
            meaning = sentence_meanings(model, tokens).float()
        mirror = packs.rng.random(args.images) < 0.5
        with torch.autocast("cpu", torch.bfloat16):
            logits, _ = model.score_packed(seen.encode(model, batch.rows, mirror), packed, meaning)
            with torch.no_grad():
                before, _ = old.score_packed(seen.encode(old, batch.rows, mirror), packed, meaning)
        losses = losses_of(logits.float(), before.float(), batch)
        loss = sum(LOSS_WEIGHTS[name] * value for name, value in losses.items())
        optim.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optim.step()
        step += 1
        keep = min(0.99, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in trained], 1 - keep)
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + float(value.detach())
        spent = time.monotonic() - began
        if step % 10 == 0:
            line = {"step": step, "minutes": round(spent / 60, 2), "captions": len(flat)}
            tell(line | {name: round(value / 10, 4) for name, value in totals.items()})
            totals = {}
        last = progress >= 1
        if step % 100 == 0 or last:
            tell({"step": step, **averaged()})
        if time.monotonic() - saved > 180 or last:
            saved = time.monotonic()
            state = {"trained": [p.detach() for p in trained], "average": average, "step": step}
            state |= {"optim": optim.state_dict(), "spent": spent}
            torch.save(state, state_file.with_suffix(".part"))
            state_file.with_suffix(".part").replace(state_file)
        if last:
            break


if __name__ == "__main__":
    main()
