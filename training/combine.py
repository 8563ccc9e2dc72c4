"""Put a tower (`tower.py`) into a trained model (`judge.py`'s or a shipped folder), as 0.8.

    python training/combine.py --start MODEL --tower RUN/tower.pt --out RUN/final

The tower's last stages become the stages that predict meaning; images are read at 224 pixels. The
language model does not change. The judge's map is replaced by the tower's own cosine, because the
tower was trained on the judge's scores. `GAIN` and `OFFSET` say how far it adjusts `itm`; they were
chosen on dev pictures (EXPERIMENTS.md, 0.8).
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from pathlib import Path

import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.inputs import SENTENCE_TOKENIZER_FILE, TOKENIZER_FILE
from pairsift.scorers.mlm.tiny.model import TinyModel
from pairsift.scorers.mlm.tiny.preprocess import TRAINING_SIDE

from tower import FROZEN

ITM = list(METRICS).index("itm")
GAIN, OFFSET = 8.0, 2.5


@torch.no_grad()
def combine(start: TinyModel, tower: dict[str, torch.Tensor]) -> TinyModel:
    config = dataclasses.replace(start.config, input_side=TRAINING_SIDE, tuned_behind=8)
    model = TinyModel(config)
    kept = {n: t for n, t in start.state_dict().items() if not n.startswith("meaning_end.")}
    weight = tower["linear.weight"] * tower["scale"]
    kept["image_meaning.weight"] = weight
    kept["image_meaning.bias"] = tower["linear.bias"] - weight @ tower["mean"]
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
    model.score_bias[ITM, 0] += OFFSET
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("start", "tower", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    tower = torch.load(args.tower, weights_only=True)
    model = combine(TinyModel.from_pretrained(args.start), tower)
    model.save_pretrained(args.out, version="float", quantize=False)
    for name in (TOKENIZER_FILE, SENTENCE_TOKENIZER_FILE):
        shutil.copyfile(args.start / name, args.out / name)


if __name__ == "__main__":
    main()
