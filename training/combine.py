"""Put a tower (`tower.py`) and a novelty (`novelty.py`) into a trained model, `judge.py`'s.

    python training/combine.py --weights WEIGHTS --pictures CACHE --start MODEL \
        --tower RUN/tower.pt --out RUN/final

The tower's last stages become the stages that predict meaning; images are read at 256 pixels. The
language model does not change, but its part of `itm` counts less (`SHARE`). The judge's map is
replaced by the tower's own cosine and its evidence for the caption's words, because the tower was
trained on the judge's scores. `TRUST` is the weight of the evidence beside the cosine, `GAIN` and
`OFFSET` say how far both adjust `itm`; all four were chosen on dev pictures (EXPERIMENTS.md, 0.9).
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

from tower import FROZEN, READ_SIDE, Table, word_targets
from weights import sentence_encoder_folder

ITM = list(METRICS).index("itm")
TRUST, GAIN, OFFSET, SHARE = 0.15, 12.0, 5.4, 0.15


@torch.no_grad()
def combine(
    start: TinyModel,
    tower: dict[str, torch.Tensor],
    pieces: torch.Tensor,
    prior: torch.Tensor,
    novelty: dict[str, np.ndarray],
) -> TinyModel:
    """`pieces` (W,) are the ids of the tower's words, `prior` (W,) how often captions say them."""
    config = dataclasses.replace(
        start.config, input_side=READ_SIDE, tuned_behind=8, said=len(pieces), novelty=True
    )
    model = TinyModel(config)
    kept = {n: t for n, t in start.state_dict().items() if not n.startswith("meaning_end.")}
    weight = tower["linear.weight"] * tower["scale"]
    kept["image_meaning.weight"] = weight
    kept["image_meaning.bias"] = tower["linear.bias"] - weight @ tower["mean"]
    weight = tower["words.weight"] * tower["scale"]
    usual = tower["words.bias"] - weight @ tower["mean"] - torch.logit(prior, 1e-4)
    kept["evidence.weight"], kept["evidence.bias"] = TRUST * weight, TRUST * usual
    kept["said_pieces"] = pieces
    kept["novelty.weight"] = torch.from_numpy(novelty["weight"])[None]
    kept["novelty.bias"] = torch.from_numpy(novelty["bias"])[None]
    for name, tensor in tower.items():
        part, _, rest = name.removeprefix("encoder.").partition(".")
        if part == "head":
            kept[f"meaning_end.head.{rest}"] = tensor
        elif part == "blocks" and int(rest.split(".")[0]) >= FROZEN:
            number, _, leaf = rest.partition(".")
            kept[f"meaning_end.blocks.{int(number) - FROZEN}.{leaf}"] = tensor
    model.load_state_dict(kept)
    model.judge_map.weight.copy_(torch.eye(config.meaning))
    model.judge_map.bias.zero_()
    model.judge_taste.zero_()
    model.judge_head.zero_()
    model.judge_head[ITM, 0] = -GAIN
    for part in (model.score_head, model.agreement_head, model.score_bias):
        part[ITM] *= SHARE
    model.score_bias[ITM, 0] += OFFSET
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weights", "pictures", "start", "tower", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    tower = torch.load(args.tower, weights_only=True)
    table = Table.load(args.pictures, np.load(args.pictures / "center.npy"))
    tokenizer = sentence_encoder_folder(args.weights) / "tokenizer.json"
    pieces, _, prior, _ = word_targets(table, tokenizer)
    with np.load(args.pictures / "novelty.npz") as novelty:
        start = TinyModel.from_pretrained(args.start)
        model = combine(start, tower, pieces, prior, dict(novelty))
    model.save_pretrained(args.out, version="float", quantize=False)
    for name in (TOKENIZER_FILE, SENTENCE_TOKENIZER_FILE):
        shutil.copyfile(args.start / name, args.out / name)


if __name__ == "__main__":
    main()
