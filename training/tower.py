"""Tune the image encoder from pixels, on all pictures at once, to predict what captions mean.

    python training/tower.py --weights WEIGHTS --cache CACHE --start MODEL --out RUN --steps 2600

Reads the files of `pictures.py`. The first stages of Lite2 are frozen; the stages after the
stride-8 map and the linear map into MiniLM's space are trained from augmented pixels. They start
from the tuned stages of a trained model (`meaning.py`). Several tasks at once, all with graded
targets:

- `meaning`: cosine with the mean embedding of the picture's true captions;
- `alike`: over thousands of captions, the softened similarity of each to that mean;
- `judged`: the scores of a model that saw the picture, by one logistic curve of the cosine;
- `order`: of two judged captions of a picture, the better one above the worse;
- `wrong`: a true caption above the one with a single error (small weight);
- `words`: which word pieces the captions have, and which pairs of neighbours; how much more likely
  than usual those of a caption are counts beside the cosine in `judged`, `order` and `wrong`;
- `classes`: the ImageNet classes that the encoder predicted before, so that nothing is forgotten.

The learning rate falls with the steps, so the machine does not decide the result. If it is killed
and started again, it resumes from RUN/tower.last.pt. Writes RUN/tower.pt: the moving average of
the weights.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from pairsift.scorers.mlm.lite import FEATURE_WIDTHS, Block, Lite2, normalize
from pairsift.scorers.mlm.tiny.config import POOLED_WIDTH, UNSURE
from pairsift.scorers.mlm.tiny.features import pool
from pairsift.scorers.mlm.tiny.model import TinyModel
from torch import Tensor, nn
from torch.nn import functional as F

from weights import load_lite2, sentence_encoder_folder

FROZEN = 7
"""Blocks that stay as they were: up to the stride-8 map."""
TRAIN_SIDE = 192
"""Crops are enlarged less than whole pictures: things look as large as in a 224-pixel whole one."""
SKIPPED = frozenset(
    "a an the is are was be been being of and or with his her its their it he she they that which "
    "who while as to by at from for very this some".split()
)
"""Word pieces that no pair contains, like punctuation. They may stand between its two pieces."""
PAIRS = 3000
"""At most; each is in the captions of 20 train pictures or more."""
READ_SIDE = 256
"""What the finished model reads: somewhat larger than in training is better (EXPERIMENTS.md)."""
TEMPERATURE = 0.1
BANK = 4096
NAMED = 8
"""Pictures of a batch that the untuned encoder names too, for `classes`."""
WEIGHTS = {
    "meaning": 2.0,
    "alike": 1.0,
    "judged": 1.0,
    "order": 0.5,
    "wrong": 0.3,
    "words": 0.05,
    "classes": 0.3,
}
DRAWN = {"stamps": 2.0, "diagram": 1.5, "photograph": 1.5}
"""How often a picture of a domain is drawn; else 1."""


@dataclass
class Table:
    """`pictures.py`'s files in memory.

    Attributes:
        raw: (texts, 384) as MiniLM gives them; `vectors`: less `center`, of unit length.
    """

    domain: np.ndarray
    dev: np.ndarray
    own: list[np.ndarray]
    beyond: list[np.ndarray]
    wrong: np.ndarray
    wrong_kind: np.ndarray
    texts: list[str]
    center: np.ndarray
    raw: Tensor
    vectors: Tensor
    pixels: np.ndarray
    pairs: dict[str, np.ndarray]

    @classmethod
    def load(cls, cache: Path, center: np.ndarray) -> Table:
        columns = pq.read_table(cache / "pictures.parquet").to_pydict()
        raw = torch.from_numpy(np.load(cache / "texts.vectors.npy").astype(np.float32))
        pairs = pq.read_table(cache / "pairs.parquet")
        return cls(
            domain=np.array(columns["domain"]),
            dev=np.array(columns["dev"]),
            own=[np.array(rows) for rows in columns["own"]],
            beyond=[np.array(rows, dtype=int) for rows in columns["beyond"]],
            wrong=np.array(columns["wrong"]),
            wrong_kind=np.array(columns["wrong_kind"]),
            texts=pq.read_table(cache / "texts.parquet")["text"].to_pylist(),
            center=center,
            raw=raw,
            vectors=F.normalize(raw - torch.from_numpy(center), dim=-1),
            pixels=np.load(cache / "pictures.pixels.npy", mmap_mode="r"),
            pairs={name: pairs[name].to_numpy() for name in pairs.column_names},
        )

    def references(self) -> Tensor:
        """(N, 384) mean embedding of each picture's true captions, unit length."""
        means = torch.stack([self.vectors[torch.from_numpy(rows)].mean(0) for rows in self.own])
        return F.normalize(means, dim=-1)


class FixedDepthwise(torch.autograd.Function):
    """A depthwise convolution whose weights stay as they are.

    It has its own backward pass, because on CPUs the library's takes most of a training step.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.stride, ctx.padding, ctx.side = stride, padding, x.shape[-1]
        return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        if ctx.stride > 1:
            side = (grad.shape[-1] - 1) * ctx.stride + 1
            spread = torch.empty(
                *grad.shape[:2], side, side, dtype=grad.dtype, memory_format=torch.channels_last
            ).zero_()
            spread[:, :, :: ctx.stride, :: ctx.stride] = grad
            grad = spread
        padding = weight.shape[-1] - 1 - ctx.padding
        back = F.conv2d(grad, weight.flip(2, 3), None, 1, padding, groups=len(weight))
        rest = ctx.side - back.shape[-1]  # pixels at the edge that the stride did not use
        return F.pad(back, (0, rest, 0, rest)) if rest else back, None, None, None, None


def run_block(block: Block, x: Tensor) -> Tensor:
    """Run `Block.forward` with a fixed depthwise convolution."""
    y = F.relu6(block.expand(x))
    conv = block.depthwise
    kernel, padding = conv.weight.shape[-1], conv.weight.shape[-1] // 2
    if conv.stride > 1:
        left = max((-(-y.shape[-1] // conv.stride) - 1) * conv.stride + kernel - y.shape[-1], 0)
        y, padding = F.pad(y, (left // 2, left - left // 2) * 2), 0
    weight, bias = conv.weight.to(y.dtype), conv.bias.to(y.dtype)
    y = block.project(F.relu6(FixedDepthwise.apply(y, weight, bias, conv.stride, padding)))
    return x + y if block.residual else y


def run_end(blocks: Iterable[nn.Module], head: nn.Module, x: Tensor) -> Tensor:
    """Return the pooled features (B, 2560) of the last blocks, by `run_block`, and the head."""
    for block in blocks:
        x = run_block(block, x)
    return pool(F.relu6(head(x)).float())


class Tower(nn.Module):
    """Pixels to the meaning of captions (B, 384), unit length, and to word pieces."""

    def __init__(self, encoder: Lite2, meaning: int, words: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.linear = nn.Linear(POOLED_WIDTH, meaning)
        self.words = nn.Linear(POOLED_WIDTH, words)
        nn.init.zeros_(self.words.weight)
        self.dropout = nn.Dropout(0.2)
        self.gain = nn.Parameter(torch.tensor(8.0))
        self.offset = nn.Parameter(torch.tensor(3.0))
        self.trust = nn.Parameter(torch.tensor([0.1, 0.05]))
        # Adam's steps are of one size: on standardised features they fit every feature.
        self.register_buffer("mean", torch.zeros(POOLED_WIDTH))
        self.register_buffer("scale", torch.ones(POOLED_WIDTH))

    @torch.no_grad()
    def start(self, model: TinyModel, pixels: np.ndarray) -> None:
        """Copy the tuned stages of `model`; `pixels` are a sample to standardise the features."""
        end, own = model.meaning_end, self.encoder
        behind = own.blocks[len(own.blocks) - len(end.blocks) :]
        for mine, theirs in zip((*behind, own.head), (*end.blocks, end.head), strict=True):
            mine.load_state_dict(theirs.state_dict())
        pooled = torch.from_numpy(embed(self, pixels)[1])
        self.mean.copy_(pooled.mean(0))
        self.scale.copy_(1 / (pooled.std(0) + 1e-6))
        weight = model.image_meaning.weight
        self.linear.weight.copy_(weight / self.scale)
        self.linear.bias.copy_(model.image_meaning.bias + weight @ self.mean)

    def pooled(self, pixels: Tensor) -> Tensor:
        """Return (B, 2560) of normalised pixels (B, 3, S, S)."""
        encoder = self.encoder
        with torch.no_grad():
            x = encoder.map_at(8, pixels)
        return run_end(encoder.blocks[FROZEN:], encoder.head, x)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dropout((pooled - self.mean) * self.scale)
        return F.normalize(self.linear(x), dim=-1), self.words(x)


@torch.inference_mode()
def embed(tower: Tower, pixels: np.ndarray, batch: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Return unit embeddings (N, 384) and pooled features (N, 2560) of uint8 pictures."""
    tower.eval()
    units, features = [], []
    for start in range(0, len(pixels), batch):
        x = normalize(torch.from_numpy(np.array(pixels[start : start + batch])))
        with torch.autocast("cpu", torch.bfloat16):
            pooled = tower.pooled(x)
        units.append(tower(pooled)[0])
        features.append(pooled)
    return torch.cat(units).numpy(), torch.cat(features).numpy()


def augment(pixels: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Return crops of 60-100 % of the area, slightly stretched, half of them mirrored,
    recoloured.
    """
    count = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    area, stretch = uniform(0.6, 1.0), uniform(-0.22, 0.22).exp()
    wide, high = ((area * s).sqrt().clamp_max(1) for s in (stretch, 1 / stretch))
    mirror = 1 - 2 * (uniform(0, 1) < 0.5).float()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = wide * mirror, high
    theta[:, 0, 2] = (1 - wide) * uniform(-1, 1)
    theta[:, 1, 2] = (1 - high) * uniform(-1, 1)
    grid = F.affine_grid(theta, [count, 3, side, side], align_corners=False)
    x = F.grid_sample(normalize(pixels), grid, padding_mode="border", align_corners=False)
    bright, contrast, colour = (
        uniform(*r)[:, None, None, None] for r in ((-0.15, 0.15), (0.85, 1.15), (0.8, 1.2))
    )
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * colour
    return (x * contrast + bright).clamp(-1, 1)


@dataclass
class Words:
    """What captions say: W word pieces and then P pairs of them.

    Attributes:
        pieces: (W,) ids of MiniLM's word pieces that neither few nor most pictures' captions have.
        pairs: (P, 2) ids of the most frequent neighbours, if `skipped` pieces (V,) are left out, in
            ascending order.
        share: (N, W + P) float16, the share of a picture's captions that have each.
        prior: (W + P,) its mean over train pictures.
        of: each text's words, as places among the W and, less W, among the P.
    """

    pieces: Tensor
    pairs: Tensor
    skipped: Tensor
    share: Tensor
    prior: Tensor
    of: list[tuple[list[int], list[int]]]


def word_targets(table: Table, tokenizer_file: Path) -> Words:
    """Find the words in the table's captions."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(64)
    encoded = tokenizer.encode_batch(table.texts, add_special_tokens=False)
    size = tokenizer.get_vocab_size()
    skipped = torch.zeros(size, dtype=torch.bool)
    for piece, number in tokenizer.get_vocab().items():
        skipped[number] = piece in SKIPPED or not any(c.isalnum() for c in piece)
    ids = [sorted(set(e.ids)) for e in encoded]
    rest = [[i for i in e.ids if not skipped[i]] for e in encoded]
    keys = [sorted({a * size + b for a, b in pairwise(some)}) for some in rest]

    seen = ~table.dev

    def pictures_with(found: list[list[int]]) -> Counter[int]:
        """Number of train pictures whose captions have each of what is `found` in texts."""
        rows = np.flatnonzero(seen)
        return Counter(
            item for row in rows for item in {i for t in table.own[row] for i in found[t]}
        )

    often = pictures_with(keys)
    common = sorted(often.items(), key=lambda item: (-item[1], item[0]))[:PAIRS]
    pair_keys = np.array(sorted(key for key, count in common if count >= 20), np.int64)
    place_of = {key: place for place, key in enumerate(pair_keys)}
    pairs_of = [[place_of[key] for key in some if key in place_of] for some in keys]

    count = pictures_with(ids)
    kept = np.array(sorted(p for p, n in count.items() if 20 <= n < 0.3 * seen.sum()), np.int64)
    place = np.full(size, -1)
    place[kept] = np.arange(len(kept))
    of = [
        ([p for p in place[some] if p >= 0], pairs)
        for some, pairs in zip(ids, pairs_of, strict=True)
    ]
    share = np.zeros((len(table.own), len(kept) + len(pair_keys)), np.float16)
    for picture, rows in enumerate(table.own):
        for row in rows:
            pieces, pairs = of[row]
            share[picture, pieces] += 1 / len(rows)
            share[picture, len(kept) + np.array(pairs, np.int64)] += 1 / len(rows)
    found = torch.from_numpy(share)
    return Words(
        pieces=torch.from_numpy(kept),
        pairs=torch.from_numpy(np.stack([pair_keys // size, pair_keys % size], 1)),
        skipped=skipped,
        share=found,
        prior=found[torch.from_numpy(seen)].float().mean(0),
        of=of,
    )


class Tasks:
    """Draws pictures with all their targets, and returns the losses."""

    def __init__(
        self,
        table: Table,
        untuned: Lite2,
        words: Words,
        seed: int,
    ) -> None:
        self.table, self.untuned, self.words = table, untuned, words
        self.prior = torch.logit(words.prior, 1e-4)
        self.reference = table.references()
        self.train = np.flatnonzero(~table.dev)
        chance = np.array([DRAWN.get(d, 1.0) for d in table.domain[self.train]])
        self.chance = chance / chance.sum()
        self.bank = np.concatenate([table.own[row] for row in self.train])
        image = table.pairs["image"]
        order = np.argsort(image, kind="stable")
        self.pairs_of = np.split(order, np.searchsorted(image[order], range(1, len(table.own))))
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> tuple[np.ndarray, Tensor]:
        rows = np.sort(self.rng.choice(self.train, count, replace=False, p=self.chance))
        pixels = torch.from_numpy(self.table.pixels[rows])
        return rows, augment(pixels, TRAIN_SIDE, self.generator)

    def evidence(self, words: Tensor, at: np.ndarray, texts: np.ndarray) -> Tensor:
        """(P, 2) mean evidence for the pieces and the pairs of texts in the pictures `at` of the
        batch.
        """
        means = []
        for kind, first in enumerate((0, len(self.words.pieces))):
            own = [self.words.of[text][kind] for text in texts]
            count = np.array([len(places) for places in own])
            row = torch.from_numpy(np.repeat(np.arange(len(own)), count))
            place = first + torch.tensor([p for places in own for p in places], dtype=torch.long)
            said = (words - self.prior)[torch.from_numpy(np.asarray(at))[row], place]
            total = torch.zeros(len(own)).index_add(0, row, said)
            means.append(total / torch.from_numpy(count + UNSURE))
        return torch.stack(means, 1)

    def losses(self, tower: Tower, rows: np.ndarray, x: Tensor) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            pooled = tower.pooled(x)
        unit, words = tower(pooled)
        reference, vectors = self.reference[rows], self.table.vectors
        own = np.concatenate([self.table.own[row] for row in rows])
        bank = vectors[np.concatenate([own, self.rng.choice(self.bank, BANK)])]
        target = (reference @ bank.T / TEMPERATURE).softmax(-1)
        told = (unit @ bank.T / TEMPERATURE).log_softmax(-1)
        some = torch.randperm(len(rows))[:NAMED]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            final = self.untuned(x[some])[2]
            before = self.untuned.classifier(final.mean(dim=(2, 3))).float()
        named = self.untuned.classifier(pooled[some, : FEATURE_WIDTHS[-1]])
        losses = {
            "meaning": 1 - (unit * reference).sum(-1).mean(),
            "alike": F.kl_div(told, target, reduction="batchmean"),
            "words": F.binary_cross_entropy_with_logits(
                words, self.words.share[rows].float(), reduction="none"
            )
            .sum(-1)
            .mean(),
            "classes": F.kl_div(named.log_softmax(-1), before.softmax(-1), reduction="batchmean"),
        }
        chosen = np.concatenate([self.pairs_of[row] for row in rows])
        at = np.repeat(np.arange(len(rows)), [len(self.pairs_of[row]) for row in rows])
        score = torch.from_numpy(self.table.pairs["score"][chosen]).float() / 100
        cosine = (unit[at] * vectors[self.table.pairs["text"][chosen]]).sum(-1)
        told = cosine + self.evidence(words, at, self.table.pairs["text"][chosen]) @ tower.trust
        logit = tower.gain * told - tower.offset
        losses["judged"] = F.binary_cross_entropy_with_logits(logit, score)
        ahead = score[:, None] - score
        same = torch.from_numpy(at[:, None] == at) & (ahead >= 0.1)
        apart = (told[:, None] - told)[same]
        losses["order"] = (ahead[same] * F.softplus(-10 * apart)).sum() / ahead[same].sum()
        told_wrong = np.flatnonzero(self.table.wrong[rows] >= 0)
        right = np.array([self.rng.choice(self.table.own[row]) for row in rows[told_wrong]])
        wrong = self.table.wrong[rows[told_wrong]]
        gap = (unit[told_wrong] * (vectors[right] - vectors[wrong])).sum(-1)
        said = self.evidence(words, told_wrong, right) - self.evidence(words, told_wrong, wrong)
        gap = gap + said @ tower.trust
        losses["wrong"] = F.softplus(-10 * gap).mean()
        return losses


def pointwise(blocks: list[nn.Module]) -> list[nn.Parameter]:
    """Return all weights except the depthwise convolutions', which are not trained."""
    named = (item for block in blocks for item in block.named_parameters())
    return [parameter for name, parameter in named if not name.startswith("depthwise")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weights", "cache", "start", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--go-on", type=Path, help="a tower.pt of the same words to start from")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1.5e-4, help="of the encoder's last stages")
    parser.add_argument("--linear-lr", type=float, default=3e-4)
    parser.add_argument("--words-lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)

    center = np.load(args.cache / "center.npy")
    table = Table.load(args.cache, center)
    tokenizer = sentence_encoder_folder(args.weights) / "tokenizer.json"
    words = word_targets(table, tokenizer)
    untuned, encoder = load_lite2(args.weights), load_lite2(args.weights)
    tasks = Tasks(table, untuned.requires_grad_(False), words, args.seed)
    tower = Tower(encoder, len(center), len(words.prior))
    if args.go_on:
        tower.load_state_dict(torch.load(args.go_on, weights_only=True), strict=False)
    else:
        tower.start(TinyModel.from_pretrained(args.start), table.pixels[tasks.train[::60]])
        tower.words.bias.data = torch.logit(words.prior, 1e-4)

    encoder.requires_grad_(False)
    ends = [*encoder.blocks[15:], encoder.head]
    middle = [*encoder.blocks[FROZEN:15]]
    groups = [
        (pointwise(middle), args.lr / 2, 1e-4),
        (pointwise(ends), args.lr, 1e-4),
        (list(tower.linear.parameters()), args.linear_lr, 0.1),
        (list(tower.words.parameters()), args.words_lr, 0.01),
        ([tower.gain, tower.offset], 0.01, 0.0),
        ([tower.trust], 1e-3, 0.0),
    ]
    for parameters, _, _ in groups:
        for parameter in parameters:
            parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [{"params": p, "peak": lr, "weight_decay": decay} for p, lr, decay in groups]
    )
    average = torch.optim.swa_utils.AveragedModel(
        tower, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    state_file, step, spent = args.out / "tower.last.pt", 0, 0.0
    if state_file.exists():
        state = torch.load(state_file, weights_only=False)
        tower.load_state_dict(state["tower"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
        tasks.rng = np.random.default_rng((args.seed, step))
        tasks.generator.manual_seed(args.seed + step)
    log = (args.out / "tower.log.jsonl").open("a")
    began, saved, totals = time.monotonic() - spent, time.monotonic(), {}
    while step < args.steps:
        progress = step / args.steps
        rate = min(1.0, (step + 1) / 40) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["peak"]
        tower.train()
        losses = tasks.losses(tower, *tasks.draw(args.batch_size))
        loss = sum(WEIGHTS[name] * value for name, value in losses.items())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p, *_ in groups for p in p], 1.0)
        optimizer.step()
        average.update_parameters(tower)
        step += 1
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + float(value.detach())
        spent = time.monotonic() - began
        if step % 20 == 0:
            line = {"step": step, "minutes": round(spent / 60, 2), "rate": round(rate, 3)}
            line |= {name: round(value / 20, 4) for name, value in totals.items()}
            print(json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")
            log.flush()
            totals = {}
        if time.monotonic() - saved > 180 or step == args.steps:
            saved = time.monotonic()
            state = {"tower": tower.state_dict(), "average": average.state_dict()}
            state |= {"optimizer": optimizer.state_dict(), "step": step, "spent": spent}
            for file, content in (
                (state_file, state),
                (args.out / "tower.pt", average.module.state_dict()),
            ):
                torch.save(content, file.with_suffix(".part"))
                file.with_suffix(".part").replace(file)


if __name__ == "__main__":
    main()
