"""Train `pairsift-tiny` on the graded captions: one loop, five losses.

    python training/train.py --data DATA --weights WEIGHTS --cache CACHE --out RUN --steps 700

Each step takes a few images and, for each, a pack of its captions after one copy of its image
tokens. Losses (`losses.py`): cross-entropy between the score distribution and a soft label around
the teacher's score; a pairwise ranking loss on the expected scores within the pack; the same
between a caption and its edits, all with the same weight; a loss that keeps the score of a caption
the same with and without an instruction to the model; captioning (next token) on the image's own
captions, which connects the projector to the language model. The image encoder, the sentence
encoder and the token embeddings are frozen. Writes RUN/log.jsonl, RUN/last.pt (for resuming) and
RUN/model.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from pairsift.scorers.mlm.tiny.config import TinyConfig
from pairsift.scorers.mlm.tiny.inputs import TOKENIZER_FILE
from pairsift.scorers.mlm.tiny.model import TinyModel, distribution
from torch import Tensor

from batches import Batches
from data import ImageParts, Split, caption_tokenizer, sentence_meanings
from domains import stamp_phrases
from evaluate_dev import evaluate
from losses import caption_loss, edit_loss, normal_labels, order_loss, weighted_ranking_loss
from named_things import NamedThings
from weights import (
    SentenceEncoder,
    imagenet_class_names,
    load_lite2,
    sentence_encoder_folder,
    smollm2_files,
)

LOSS_WEIGHTS = {"score": 1.0, "rank": 1.0, "edit": 1.0, "order": 0.75, "caption": 0.15}
WIDE_SHARE = 0.1  # of the learning rate: Adam moves each of their 770 inputs' weights alike
METRIC_WEIGHTS = (2.0, 1.0, 1.0, 0.7)
EDIT_METRIC_WEIGHTS = (
    2.0,
    3.0,
    1.0,
    0.7,
)  # a false detail makes a caption longer but not more detailed


def build(weights: Path, cache: Path, layers: int) -> TinyModel:
    """Build the untrained model: pretrained encoders and language model."""
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    tokenizer = Tokenizer.from_file(str(cache / TOKENIZER_FILE))
    model = TinyModel(TinyConfig(layers=layers))
    model.encoder = load_lite2(weights)
    gguf = smollm2_files(weights)
    whole = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name).model.float()
    model.lm.embed_tokens.load_state_dict(whole.embed_tokens.state_dict())
    for mine, theirs in zip(model.lm.layers, whole.layers, strict=False):
        mine.load_state_dict(theirs.state_dict())
    model.lm.norm.load_state_dict(whole.norm.state_dict())

    def embed(names: list[str]) -> Tensor:
        table = model.lm.embed_tokens.weight
        return torch.stack([table[tokenizer.encode(" " + name).ids].mean(0) for name in names])

    with torch.no_grad():
        model.word_embeddings.copy_(embed(json.loads((cache / "words.json").read_text())))
        model.class_embeddings.copy_(embed(imagenet_class_names(weights)))
        sample = torch.from_numpy(
            np.load(cache / "train.grid.npy", mmap_mode="r")[::20].astype(np.float32)
        ).flatten(0, 1)
        model.grid_mean.copy_(sample.mean(0))
        model.grid_scale.copy_(1 / (sample.std(0) + 1e-3))
        typical = model.lm.embed_tokens.weight[:20000].std()
        model.grid_gain.fill_(float(typical))
        model.queries.copy_(torch.randn_like(model.queries) * typical)
        for head in (model.score_head, model.agreement_head):
            head.normal_(0, 1e-3)
        # Start from "agreement raises itm and odf": the first cosine falls as the score rises.
        model.agreement_head[:2, 0, :2] = -0.3
    return model


def set_priors(model: TinyModel, weights: Path, cache: Path) -> None:
    """Set what is not trained here: the fits of `priors.py` and `meaning.py`, and MiniLM."""
    from safetensors.torch import load_file
    from transformers import AutoModel

    priors = np.load(cache / "priors.npz")
    of_words = slice(model.config.meaning, None)
    model.word_scores.weight.data = torch.from_numpy(
        priors["weights"][:, of_words].T.copy()
    ).float()
    model.word_scores.bias.data = torch.from_numpy(priors["bias"][of_words]).float()
    tuned = load_file(cache / "meaning.safetensors")
    assert not model.load_state_dict(tuned, strict=False).unexpected_keys
    model.word_prior.copy_(torch.from_numpy(priors["word_prior"]))
    model.class_meaning.copy_(torch.from_numpy(priors["class_meaning"]))
    model.meaning_center.copy_(torch.from_numpy(priors["center"]))
    sentence = AutoModel.from_pretrained(sentence_encoder_folder(weights), add_pooling_layer=False)
    model.sentence.load_state_dict(sentence.state_dict())


def frozen(model: TinyModel) -> list[torch.nn.Module]:
    return [
        model.encoder,
        model.lm.embed_tokens,
        model.word_scores,
        model.meaning_end,
        model.image_meaning,
        model.sentence,
    ]


def optimizer(model: TinyModel, lr: float, new_lr: float) -> torch.optim.Optimizer:
    for module in frozen(model):
        module.requires_grad_(False)
    body = list(model.lm.layers.parameters()) + list(model.lm.norm.parameters())
    wide = [model.agreement_head, model.query_agreement]
    inside = {id(p) for p in (*body, *wide)}
    new = [p for p in model.parameters() if p.requires_grad and id(p) not in inside]
    groups = [
        {"params": [p for p in body if p.ndim > 1], "peak": lr, "weight_decay": 0.01},
        {"params": [p for p in body if p.ndim < 2], "peak": lr, "weight_decay": 0.0},
        {"params": new, "peak": new_lr, "weight_decay": 0.0},
        {"params": wide, "peak": new_lr * WIDE_SHARE, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="model folder to go on from")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--minutes", type=float, help="end by the clock if that comes first")
    parser.add_argument("--images", type=int, default=8, help="images a step")
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--new-lr", type=float, default=1.5e-3)
    parser.add_argument("--evaluate-every", type=int, default=150)
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    if args.start:
        model = TinyModel.from_pretrained(args.start)
    else:
        model = build(args.weights, args.cache, args.layers)
        set_priors(model, args.weights, args.cache)
    model.computes_in = torch.bfloat16  # weights, heads and losses stay float32
    model.train()
    model.sentence.eval()  # it is frozen, so without dropout
    tokenizer = caption_tokenizer(args.cache, model)
    train, dev, coco = (Split.load(args.cache, n, model) for n in ("train", "dev", "coco"))
    own_rows = np.flatnonzero(train.kind == "own")
    borrowed = [train.captions[row] for row in own_rows]
    encoder = SentenceEncoder(args.weights)
    phrases = stamp_phrases(args.data)
    stamps = [phrases[name] for name in (args.cache / "stamps.names.txt").read_text().split()]
    classes = [
        f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
        for name in imagenet_class_names(args.weights)
    ]
    class_meaning = np.load(args.cache / "priors.npz")["class_meaning"]
    batches = Batches(
        train,
        coco,
        (
            ImageParts.load(args.cache, "stamps", model),
            NamedThings(stamps, encoder(stamps), borrowed),
        ),
        (class_meaning, NamedThings(classes, class_meaning, borrowed)),
        tokenizer,
        rng,
    )

    used = sorted({i for text in borrowed for i in tokenizer(text).ids})
    column = torch.full((model.config.vocabulary,), -1)
    column[used] = torch.arange(len(used))
    table = model.lm.embed_tokens.weight.detach()[used].clone()
    scale = torch.nn.Parameter(torch.tensor(0.3))

    optim = optimizer(model, args.lr, args.new_lr)
    optim.add_param_group({"params": [scale], "peak": args.new_lr, "weight_decay": 0.0})
    args.out.mkdir(parents=True, exist_ok=True)
    state_file, log = args.out / "last.pt", (args.out / "log.jsonl").open("a")
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=False)
        model.load_state_dict(state["model"])
        optim.load_state_dict(state["optim"])
        scale.data = state["scale"]
        first, rng.bit_generator.state = state["step"], state["rng"]
    weight = torch.tensor(METRIC_WEIGHTS) / sum(METRIC_WEIGHTS)
    edit_weight = torch.tensor(EDIT_METRIC_WEIGHTS) / sum(METRIC_WEIGHTS)
    started, totals, pairs = time.monotonic(), {}, 0

    for step in range(first, args.steps):
        progress = step / args.steps
        if args.minutes:
            progress = max(progress, (time.monotonic() - started) / 60 / args.minutes)
        warm = min(1.0, (step + 1) / 30)
        rate = warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
        for group in optim.param_groups:
            group["lr"] = rate * group["peak"]
        batch = batches.draw(args.images)
        embeds = batch.images.encode(model)
        meaning = sentence_meanings(model, batch.tokens)
        logits, hidden = model.score_packed(embeds, batch.packed, meaning)

        log_chances = logits.log_softmax(-1)
        per_metric = -(normal_labels(batch.targets) * log_chances).sum(-1).mean((0, 1))
        expected, _, _ = distribution(logits)
        losses = {
            "score": (per_metric * weight).sum(),
            "rank": sum(
                w * weighted_ranking_loss(expected[..., m], batch.targets[..., m])
                for m, w in enumerate(weight)
            ),
            "edit": sum(
                w * edit_loss(expected[..., m], batch.targets[..., m], batch.made_from)
                for m, w in enumerate(edit_weight)
            ),
            "order": order_loss(expected, batch.ordered),
            "caption": caption_loss(hidden, batch.packed, batch.own, table, column, scale),
        }
        loss = sum(LOSS_WEIGHTS[name] * value for name, value in losses.items())
        optim.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in optim.param_groups for p in g["params"]], 1.0)
        optim.step()

        pairs += batch.own.numel()
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + float(value.detach())
        if (step + 1) % 10 == 0:
            line = {"step": step + 1, "seconds": round(time.monotonic() - started, 1)}
            line |= {"pairs": pairs, **{k: round(v / 10, 4) for k, v in totals.items()}}
            print(json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")
            log.flush()
            totals = {}
        last = step + 1 == args.steps or progress >= 1.0
        if (step + 1) % args.evaluate_every == 0 or last:
            model.eval()
            result = evaluate(model, dev, tokenizer, images=120)
            model.train()
            model.sentence.eval()
            line = {"step": step + 1, "dev": result}
            print(json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")
            log.flush()
        if (step + 1) % 50 == 0 or last:
            state = {"model": model.state_dict(), "optim": optim.state_dict(), "step": step + 1}
            state |= {"scale": scale.data, "rng": rng.bit_generator.state}
            torch.save(state, state_file.with_suffix(".part"))
            state_file.with_suffix(".part").replace(state_file)
        if last:
            break
    model.save_pretrained(args.out / "model", version="float", quantize=False)


if __name__ == "__main__":
    main()
