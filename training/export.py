"""Write the folder to ship from a trained one: quantised weights, configuration, tokenizer.

Convolutions that autocast rounds to bfloat16 are rounded here, so that they are the same in both
dtypes.

    python training/export.py --model RUN/model --cache CACHE --pictures CACHE --out ASSET

Prints the size of each file and, for judged dev pairs (of `pictures.py`'s folder), the difference
between quantised and float scores.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.inputs import SENTENCE_TOKENIZER_FILE, TOKENIZER_FILE
from pairsift.scorers.mlm.tiny.model import TinyModel

from dev import encode, read
from tower import Table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder with the tokenizers")
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", default="0.11.1")
    parser.add_argument("--images", type=int, default=100, help="dev images compared")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    model = TinyModel.from_pretrained(args.model)
    model.compute_in(torch.bfloat16)
    model.float().save_pretrained(args.out, version=args.version, quantize=True)
    for name in (TOKENIZER_FILE, SENTENCE_TOKENIZER_FILE):
        shutil.copyfile(args.cache / name, args.out / name)

    table = Table.load(args.pictures, np.load(args.pictures / "center.npy"))
    image, text = table.pairs["image"], table.pairs["text"]
    judged = np.flatnonzero(table.dev[image] & (table.domain[image] == "flickr8k"))
    judged = judged[np.isin(image[judged], np.unique(image[judged])[: args.images])]

    def scores(folder: Path) -> np.ndarray:
        model = TinyModel.from_pretrained(folder)
        rows = np.unique(image[judged])
        embeds = dict(zip(rows, encode(model, table, rows)[0], strict=True))
        return read(model, args.out, table, embeds)(image[judged], text[judged])

    gap = np.abs(scores(args.model) - scores(args.out))
    result = {
        "megabytes": {f.name: round(f.stat().st_size / 1e6, 2) for f in sorted(args.out.iterdir())},
        "pairs": len(gap),
        "mean_gap": dict(zip(METRICS, gap.mean(0).round(3).tolist(), strict=True)),
        "99th_percentile_gap": dict(
            zip(METRICS, np.percentile(gap, 99, axis=0).round(3).tolist(), strict=True)
        ),
    }
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
