"""Train the `dual-encoder` baseline: what CLIPScore is, from the parts and data of `pairsift-tiny`.

    python training/dual_encoder.py --data ../shared/data --weights WEIGHTS --cache CACHE \\
        --model MODEL --out model.safetensors

Frozen Lite2 and MiniLM, a linear map and an MLP behind each, InfoNCE over whole batches of images
with one of their captions. It starts as the ridge regression of `priors.py`; the epoch that agrees
best with the teacher on the dev images is kept, the start included, so that it is the better of the
two. MODEL is a `pairsift-tiny` folder, for its encoders.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path

import numpy as np
import torch
from pairsift.scorers.dual_encoder import DualHeads
from pairsift.scorers.mlm.tiny import TinyModel
from pairsift.scorers.mlm.tiny_weights import read_tensors, write_tensors
from torch import Tensor
from torch.nn import functional as F

import domains
from data import Split, caption_tokenizer, sentence_meanings
from evaluate_dev import GRADED, against_source, agreement_with_teacher
from weights import SentenceEncoder


class Training:
    """Pooled features of every view of every image, and its captions' centred embeddings."""

    def __init__(self, data: Path, weights: Path, cache: Path, center: np.ndarray) -> None:
        views, texts, offset = [], [], 0
        self.rows: list[tuple[np.ndarray, np.ndarray]] = []  # per image: views, captions
        count = len((cache / "train.names.txt").read_text().split())
        own = np.load(cache / "texts.npy")[: 5 * count].astype(np.float32)
        sets = [("train", list(own.reshape(count, 5, -1)))]
        encoder = SentenceEncoder(weights)
        phrases = domains.stamp_phrases(data)
        for domain in domains.TARS:
            names = (cache / f"{domain}.names.txt").read_text().split()
            if domain == "coco":
                captions = domains.coco_captions(data, names)
            else:
                captions = [[phrases[name]] for name in names]
            sets.append((domain, [encoder(found) for found in captions]))
        placed = 0
        for name, captions in sets:
            features = np.load(cache / f"{name}.pooled.npy").astype(np.float32)
            images = len(captions)
            for image, vectors in enumerate(captions):
                at = np.arange(image, len(features), images) + placed
                self.rows.append((at, np.arange(len(vectors)) + offset))
                offset += len(vectors)
            texts += captions
            views.append(features)
            placed += len(features)
        self.views = torch.from_numpy(np.concatenate(views))
        self.texts = torch.from_numpy(np.concatenate(texts) - center)

    def epoch(self, size: int, rng: np.random.Generator):
        """Batches of pooled features and caption embeddings, (B, ...) each."""
        order = rng.permutation(len(self.rows))
        for start in range(0, len(order) - size + 1, size):
            pairs = [self.rows[image] for image in order[start : start + size]]
            at = [rng.choice(views) for views, _ in pairs]
            said = [rng.choice(texts) for _, texts in pairs]
            yield self.views[at], self.texts[said]


class Dev:
    """The graded captions of dev images, embedded once."""

    def __init__(self, cache: Path, model: TinyModel, images: int) -> None:
        self.split = Split.load(cache, "dev", model)
        tokenizer = caption_tokenizer(cache, model)
        kinds = self.split.kind
        wanted = np.isin(kinds, GRADED) | np.char.startswith(kinds, "swap_")
        self.rows = np.concatenate([rows[wanted[rows]] for rows in self.split.rows_of[:images]])
        tokens = [[tokenizer(self.split.captions[row]) for row in self.rows]]
        self.texts = sentence_meanings(model, tokens)[0]
        pooled = np.load(cache / "dev.pooled.npy")[: len(self.split.rows_of)]
        self.pooled = torch.from_numpy(pooled.astype(np.float32))

    @torch.no_grad()
    def measure(self, heads: DualHeads) -> dict[str, float]:
        heads.eval()
        images, texts = heads.image(self.pooled), heads.text(self.texts)
        scores = np.full(len(self.split.captions), np.nan, np.float32)
        scores[self.rows] = (images[self.split.image[self.rows]] * texts).sum(-1).numpy()
        found = agreement_with_teacher(scores, self.split, self.rows)
        swapped = against_source(scores, self.split, self.split.source, "swap_")
        return {name: round(value, 4) for name, value in found.items()} | {
            "true_above_swapped": round(swapped, 4)
        }


def contrast(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of (B, 384) unit vectors."""
    logits = images @ texts.T * log_scale.exp().clamp(max=100)
    labels = torch.arange(len(logits))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def start(cache: Path, model: TinyModel) -> DualHeads:
    """The ridge regression that the model carries, on standardised features."""
    heads = DualHeads()
    pooled = np.load(cache / "train.pooled.npy").astype(np.float32)
    mean, scale = torch.from_numpy(pooled.mean(0)), torch.from_numpy(pooled.std(0) + 1e-6)
    weight, bias = model.image_meaning.weight.data, model.image_meaning.bias.data
    heads.feature_mean.copy_(mean)
    heads.feature_gain.copy_(1 / scale)
    heads.linear.weight.data.copy_(weight * scale)
    heads.linear.bias.data.copy_(bias + weight @ mean)
    return heads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "weights", "cache", "model", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--decay", type=float, default=0.1)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--temperature", type=float, default=0.07)
    parser.add_argument("--dev-images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the dev figures there")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)

    model = TinyModel.from_pretrained(args.model)
    dev = Dev(args.cache, model, args.dev_images)
    data = Training(args.data, args.weights, args.cache, model.meaning_center.numpy())
    heads = start(args.cache, model)
    heads.dropout.p = args.dropout
    log_scale = torch.nn.Parameter(torch.tensor(1 / args.temperature).log())
    optimizer = torch.optim.AdamW(
        [*heads.parameters(), log_scale], lr=args.lr, weight_decay=args.decay
    )
    steps = args.epochs * (len(data.rows) // args.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps)
    first = best = dev.measure(heads)
    best_epoch, kept = 0, copy.deepcopy(heads.state_dict())
    print("ridge", first, flush=True)
    for epoch in range(1, args.epochs + 1):
        heads.train()
        for pooled, texts in data.epoch(args.batch_size, rng):
            loss = contrast(heads.image(pooled), heads.text(texts), log_scale)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        found = dev.measure(heads)
        print(f"epoch {epoch}: loss {loss.item():.3f} {found}", flush=True)
        if found["itm_tau"] > best["itm_tau"]:
            best, best_epoch, kept = found, epoch, copy.deepcopy(heads.state_dict())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(args.out, kept, quantize=True)
    shipped = DualHeads()
    shipped.load_state_dict(read_tensors(args.out))
    result = {
        "dev_images": args.dev_images,
        "ridge": first,
        "best": best,
        "best_epoch": best_epoch,
        "shipped": dev.measure(shipped),
    }
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
