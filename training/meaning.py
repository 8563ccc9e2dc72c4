"""Tune a copy of the image encoder's last stages to predict what the captions of an image mean.

    python training/meaning.py --data ../shared/data --weights WEIGHTS --cache CACHE \\
        --out CACHE/meaning.safetensors

The stages up to the stride-16 map are frozen; their output is cached. After them, a copy of the
encoder's last stages and a linear map, which starts as the ridge regression of `priors.py`, are
trained so that an image's embedding finds its own captions' MiniLM embeddings among thousands. The
loss is half InfoNCE and half the teacher's similarities as soft labels, so that other captions that
fit are not pushed away. A third term keeps the ImageNet classes that the encoder predicted before,
so that things that Flickr8k never shows are not forgotten. MiniLM itself is not changed.

Writes the tensors `meaning_end.*` and `image_meaning.*` of `TinyModel`. With `--half` it tunes
on one half of the images and writes its predictions for the other half instead: predictions for
images that it was tuned on are too good, so `judge.py` is fitted on predictions for others.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pairsift.scorers.mlm.lite import FEATURE_WIDTHS, Lite2, SecondEnd
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import domains
from candidates import read_captions
from priors import PENALTY, ridge
from tower import pointwise, run_end
from weights import SentenceEncoder, load_lite2

TEACHER_TEMPERATURE = 0.07
BANK = 4096
"""Captions of other images that a batch of images is compared with."""
SOURCES = ("train", *domains.TARS)
"""What is tuned on."""


@dataclass
class Pictures:
    """Images of one source: stride-16 maps of every view, and centred caption embeddings.

    Attributes:
        middle: (views * images, 120, 17, 17) float16, all first views first.
        captions: one (captions, 384) array an image.
    """

    middle: np.ndarray
    captions: list[np.ndarray]

    @property
    def views(self) -> int:
        return len(self.middle) // len(self.captions)


def read_pictures(
    data: Path, cache: Path, center: np.ndarray, encoder: SentenceEncoder
) -> dict[str, Pictures]:
    """Every source by name: what is trained on, `dev`, and the domains' held-out images."""
    found: dict[str, Pictures] = {}
    stored = np.load(cache / "texts.npy")
    of_train = 5 * len((cache / "train.names.txt").read_text().split())
    captioned = {"train": stored, "dev": stored[of_train:]}
    phrases = domains.stamp_phrases(data)

    def add(name: str, texts: list[list[str]]) -> None:
        ends = np.cumsum([len(own) for own in texts])
        if name in captioned:
            vectors = captioned[name][: ends[-1]] - center
        else:
            vectors = encoder([text for own in texts for text in own]) - center
        found[name] = Pictures(np.load(cache / f"{name}.middle.npy"), np.split(vectors, ends[:-1]))

    for split in ("train", "dev"):
        names = (cache / f"{split}.names.txt").read_text().split()
        add(split, read_captions(data, split, names))
    for domain in domains.TARS:
        for name in (domain, f"{domain}_held"):
            pictures = (cache / f"{name}.names.txt").read_text().split()
            if domain == "coco":
                add(name, domains.coco_captions(data, pictures))
            else:
                add(name, [[phrases[picture]] for picture in pictures])
    return found


class Foreteller(nn.Module):
    """Stride-16 maps (B, 120, h, w) to the predicted meaning of the captions (B, 384), unit
    length.
    """

    def __init__(self, encoder: Lite2, weights: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self.end = SecondEnd.of(encoder).to(memory_format=torch.channels_last)
        self.linear = nn.Linear(*weights.shape)
        self.linear.weight.data = torch.from_numpy(weights.T.copy()).float()
        self.linear.bias.data = torch.from_numpy(bias).float()
        self.dropout = nn.Dropout(0.2)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        # Adam's steps have the same size for all weights, so features are standardised.
        self.register_buffer("mean", torch.zeros(weights.shape[0]))
        self.register_buffer("gain", torch.ones(weights.shape[0]))

    def standardise(self, features: Tensor) -> None:
        """Make the linear map accept standardised features, without changing its result."""
        scale = features.std(0) + 1e-6
        self.mean.copy_(features.mean(0))
        self.gain.copy_(1 / scale)
        self.linear.bias.data += self.linear.weight.data @ self.mean
        self.linear.weight.data *= scale

    def forward(self, middle: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unit embeddings, and the pooled features behind them."""
        x = middle.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            pooled = run_end(self.end.blocks, self.end.head, x)
        x = self.dropout((pooled - self.mean) * self.gain)
        return F.normalize(self.linear(x), dim=-1), pooled

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors with the names of `TinyModel`, for raw features."""
        weight = self.linear.weight.detach() * self.gain
        out = {f"meaning_end.{name}": t.contiguous() for name, t in self.end.state_dict().items()}
        out["image_meaning.weight"] = weight
        out["image_meaning.bias"] = self.linear.bias.detach() - weight @ self.mean
        return out


@torch.inference_mode()
def foretell(model: Foreteller, middle: np.ndarray) -> Tensor:
    model.eval()
    parts = [
        model(torch.from_numpy(middle[at : at + 50]).float()) for at in range(0, len(middle), 50)
    ]
    return torch.cat([unit for unit, _ in parts])


def measure(model: Foreteller, pictures: Pictures) -> dict[str, float]:
    """Measure retrieval from captions to images.

    Returns how often the own image is among the first k, and what fraction of other images it
    beats.
    """
    images = foretell(model, pictures.middle[: len(pictures.captions)]).numpy()
    owner = np.repeat(np.arange(len(images)), [len(own) for own in pictures.captions])
    captions = np.concatenate(pictures.captions)
    cosine = images @ (captions / np.linalg.norm(captions, axis=1, keepdims=True)).T
    own = cosine[owner, np.arange(len(owner))]
    ahead = (cosine > own).sum(0)
    result = {f"recall@{k}": round(float((ahead < k).mean()), 4) for k in (1, 5, 10)}
    return result | {"beaten": round(1 - float(ahead.mean()) / (len(images) - 1), 4)}


def halves(pictures: dict[str, Pictures]) -> list[np.ndarray]:
    """One half of the images of each of `SOURCES`, drawn at random: (images,) bool a source."""
    rng = np.random.default_rng(5)
    return [rng.permutation(len(pictures[name].captions)) % 2 != 0 for name in SOURCES]


def start(
    cache: Path, pictures: dict[str, Pictures], keep: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ridge regression of `priors.py`, fitted only on the images of `keep`."""
    x, y, weight = [], [], []
    for name, kept in zip(SOURCES, keep, strict=True):
        views = pictures[name].views
        means = np.stack([own.mean(0) for own in pictures[name].captions])
        features = np.load(cache / f"{name}.pooled.npy").astype(np.float32)
        x.append(features[np.tile(kept, views)])
        y.append(np.tile(means[kept], (views, 1)))
        importance = 1.0 if name == "train" else domains.WEIGHT
        weight.append(np.full(len(x[-1]), importance / views, np.float32))
    return ridge(np.concatenate(x), np.concatenate(y), np.concatenate(weight), PENALTY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "weights", "cache", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=370)
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--lr", type=float, default=1e-4, help="of the end")
    parser.add_argument("--linear-lr", type=float, default=3e-4)
    parser.add_argument("--keep-classes", type=float, default=0.3, help="weight of the third term")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--half", action="store_true", help="write what is foretold of the rest")
    parser.add_argument("--json", type=Path, help="write the dev figures there")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)

    priors = np.load(args.cache / "priors.npz")
    pictures = read_pictures(args.data, args.cache, priors["center"], SentenceEncoder(args.weights))
    encoder = load_lite2(args.weights)
    size = priors["center"].shape[0]
    keep = halves(pictures)
    if not args.half:
        keep = [np.ones_like(some) for some in keep]
    model = Foreteller(encoder, *start(args.cache, pictures, keep))
    model.standardise(torch.from_numpy(np.load(args.cache / "train.pooled.npy")).float())
    held = {name: p for name, p in pictures.items() if name == "dev" or name.endswith("_held")}

    seen = [pictures[name] for name in SOURCES]
    weight = [1.0] + [domains.WEIGHT] * len(domains.TARS)
    source, place = np.concatenate(
        [[(s, i) for i in np.flatnonzero(kept)] for s, kept in enumerate(keep)]
    ).T
    chance = np.array(weight)[source]
    chance /= chance.sum()
    tuned_on = [seen[s].captions[i] for s, i in zip(source, place, strict=True)]
    captions = torch.from_numpy(np.concatenate(tuned_on)).float()
    counts = np.array([len(own) for own in tuned_on])
    first = np.cumsum(counts) - counts
    owner = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    reference = torch.zeros(len(counts), size).index_add_(0, owner, captions)
    reference, captions = F.normalize(reference, dim=-1), F.normalize(captions, dim=-1)

    tuned = pointwise([*model.end.blocks, model.end.head])
    optimizer = torch.optim.AdamW(
        [
            {"params": tuned, "lr": args.lr, "weight_decay": 1e-4},
            {
                "params": [*model.linear.parameters(), model.log_scale],
                "lr": args.linear_lr,
                "weight_decay": 0.1,
            },
        ]
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [args.lr, args.linear_lr], total_steps=args.steps, pct_start=0.15
    )
    classes = encoder.classifier.requires_grad_(False)
    pooled = [
        torch.from_numpy(np.load(args.cache / f"{name}.pooled.npy")).float() for name in SOURCES
    ]
    result = {"before": {name: measure(model, p) for name, p in held.items()}}
    print(json.dumps(result), flush=True)
    begin, losses = time.monotonic(), []
    for step in range(1, args.steps + 1):
        model.train()
        rows = rng.choice(len(counts), args.batch_size, replace=False, p=chance)
        at = [
            place[row] + len(seen[source[row]].captions) * rng.integers(seen[source[row]].views)
            for row in rows
        ]
        middle = torch.from_numpy(
            np.stack([seen[source[row]].middle[a] for row, a in zip(rows, at, strict=True)])
        ).float()
        mirror = torch.from_numpy(rng.random(len(rows)) < 0.5)
        middle[mirror] = middle[mirror].flip(-1)
        unit, features = model(middle)

        own = first[rows] + rng.integers(0, counts[rows])
        bank = np.concatenate([own, rng.integers(0, len(captions), BANK)])
        scale = model.log_scale.exp().clamp(max=100)
        logits = unit @ captions[bank].T * scale
        labels = torch.arange(len(rows))
        too = owner[bank] == torch.from_numpy(rows)[:, None]  # other captions of the same image
        too[labels, labels] = False
        contrast = (
            F.cross_entropy(logits.masked_fill(too, -1e4), labels)
            + F.cross_entropy(logits[:, : len(rows)].T, labels)
        ) / 2
        similar = (reference[rows] @ captions[bank].T / TEACHER_TEMPERATURE).softmax(-1)
        taught = F.cross_entropy(logits, similar)
        before = torch.stack([pooled[source[row]][a] for row, a in zip(rows, at, strict=True)])
        kept = F.kl_div(
            classes(features[:, : FEATURE_WIDTHS[-1]]).log_softmax(-1),
            classes(before[:, : FEATURE_WIDTHS[-1]]).softmax(-1),
            reduction="batchmean",
        )
        loss = (contrast + taught) / 2 + args.keep_classes * kept
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tuned, 1.0)
        optimizer.step()
        schedule.step()
        losses.append([contrast.item(), taught.item(), kept.item()])
        if step % 20 == 0 or step == args.steps:
            pace = (time.monotonic() - begin) / step
            mean = np.mean(losses[-20:], axis=0).round(3).tolist()
            print(f"step {step} of {args.steps}: {mean}, {pace:.1f} s a step", flush=True)
        if step % 90 == 0 or step == args.steps:
            result["after"] = {name: measure(model, p) for name, p in held.items()}
            print(json.dumps(result["after"]), flush=True)
            if not args.half:
                save_file(model.tensors(), str(args.out))
    if args.half:
        foretold = {}
        for name, kept in zip(SOURCES, keep, strict=True):
            rows = np.flatnonzero(np.tile(~kept, pictures[name].views))
            foretold[f"{name}_rows"] = rows
            foretold[f"{name}_meaning"] = foretell(model, pictures[name].middle[rows]).numpy()
        np.savez(args.out, **foretold)
    if args.json:
        args.json.write_text(json.dumps({"steps": args.steps, **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
