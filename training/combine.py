"""Put a tower (`tower.py`) and a novelty (`novelty.py`) into a trained model, `judge.py`'s.

    python training/combine.py --weights WEIGHTS --pictures CACHE --start MODEL \
        --tower RUN/tower.pt --out RUN/final

The tower's last stages become the stages that predict meaning; images are read at 256 pixels. The
language model does not change, but its part of `itm` counts less (`SHARE`). The judge's map is
replaced by the tower's own cosine and its evidence for the caption's words, because the tower was
trained on the judge's scores. `TRUST` is the weight of the evidence of pieces and of pairs beside
the cosine, `USUAL` how much of the usual cosine of an image and of a caption is taken off; `GAIN`
and `OFFSET` say how far all that adjusts `itm`. All were chosen on dev pictures (EXPERIMENTS.md).
The known captions and images that say what is usual are drawn from the train pictures.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.inputs import SENTENCE_TOKENIZER_FILE, TOKENIZER_FILE
from pairsift.scorers.mlm.tiny.model import TinyModel

from dev import encode
from tower import FROZEN, READ_SIDE, Table, Words, word_targets
from weights import sentence_encoder_folder

ITM = list(METRICS).index("itm")
TRUST = 0.2, 0.05
GAIN, OFFSET, SHARE = 14.0, 2.0, 0.05
USUAL = 0.4, 0.35
"""Of an image, of a caption."""
KNOWN = 2048


@torch.no_grad()
def combine(
    start: TinyModel,
    tower: dict[str, torch.Tensor],
    words: Words,
    novelty: dict[str, np.ndarray],
) -> TinyModel:
    """Return the model; `know` fills in its known captions and images afterwards."""
    config = dataclasses.replace(
        start.config,
        input_side=READ_SIDE,
        tuned_behind=8,
        said=len(words.pieces),
        said_pairs=len(words.pairs),
        novelty=True,
        known=KNOWN,
    )
    model = TinyModel(config)
    kept = {n: t for n, t in start.state_dict().items() if not n.startswith("meaning_end.")}
    weight = tower["linear.weight"] * tower["scale"]
    kept["image_meaning.weight"] = weight
    kept["image_meaning.bias"] = tower["linear.bias"] - weight @ tower["mean"]
    weight = tower["words.weight"] * tower["scale"]
    usual = tower["words.bias"] - weight @ tower["mean"] - torch.logit(words.prior, 1e-4)
    trust = torch.tensor(TRUST).repeat_interleave(
        torch.tensor([len(words.pieces), len(words.pairs)])
    )
    kept["evidence.weight"], kept["evidence.bias"] = trust[:, None] * weight, trust * usual
    kept["said_pieces"], kept["said_pairs"] = words.pieces, words.pairs
    kept["said_skipped"] = words.skipped
    kept["novelty.weight"] = torch.from_numpy(novelty["weight"])[None]
    kept["novelty.bias"] = torch.from_numpy(novelty["bias"])[None]
    for name, tensor in tower.items():
        part, _, rest = name.removeprefix("encoder.").partition(".")
        if part == "head":
            kept[f"meaning_end.head.{rest}"] = tensor
        elif part == "blocks" and int(rest.split(".")[0]) >= FROZEN:
            number, _, leaf = rest.partition(".")
            kept[f"meaning_end.blocks.{int(number) - FROZEN}.{leaf}"] = tensor
    kept |= {n: t for n, t in model.state_dict().items() if n.startswith(("known_", "usual_"))}
    model.load_state_dict(kept)
    model.compute_constants()
    model.judge_map.weight.copy_(torch.eye(config.meaning))
    model.judge_map.bias.zero_()
    model.judge_taste.zero_()
    model.judge_head.zero_()
    model.judge_head[ITM, 0] = -GAIN
    for part in (model.score_head, model.agreement_head, model.score_bias):
        part[ITM] *= SHARE
    model.score_bias[ITM, 0] += OFFSET
    return model.eval()


@torch.no_grad()
def know(model: TinyModel, table: Table) -> None:
    """Give the model the captions and images that it compares a pair with."""
    rng = np.random.default_rng(0)
    rows = rng.choice(np.flatnonzero(~table.dev), KNOWN, replace=False)
    texts = np.array([rng.choice(table.own[row]) for row in rows])
    _, images = encode(model, table, rows)
    model.known_captions.weight.copy_(table.vectors[texts])
    model.known_images.weight.copy_(torch.nn.functional.normalize(images, dim=-1))
    model.usual_of_image.fill_(USUAL[0])
    model.usual_of_caption.fill_(USUAL[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weights", "pictures", "start", "tower", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    tower = torch.load(args.tower, weights_only=True)
    table = Table.load(args.pictures, np.load(args.pictures / "center.npy"))
    tokenizer = sentence_encoder_folder(args.weights) / "tokenizer.json"
    words = word_targets(table, tokenizer)
    with np.load(args.pictures / "novelty.npz") as novelty:
        start = TinyModel.from_pretrained(args.start)
        model = combine(start, tower, words, dict(novelty))
    know(model, table)
    model.save_pretrained(args.out, version="float", quantize=False)
    for name in (TOKENIZER_FILE, SENTENCE_TOKENIZER_FILE):
        shutil.copyfile(args.start / name, args.out / name)


if __name__ == "__main__":
    main()
