"""Average the weights of two trained folders, the second of which went on from the first.

    python training/average.py --first RUN3/model --second RUN4/model --share 0.7 --out RUN/model

What was learned late is kept for the most part, and what was forgotten over it comes back ("Robust
fine-tuning of zero-shot models", arXiv 2109.01903).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pairsift.scorers.mlm.tiny import TinyModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=Path, required=True)
    parser.add_argument("--second", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.7, help="of the second")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    model = TinyModel.from_pretrained(args.second)
    first, second = TinyModel.from_pretrained(args.first).state_dict(), model.state_dict()
    model.load_state_dict(
        {
            name: first[name].lerp(value, args.share) if value.is_floating_point() else value
            for name, value in second.items()
        }
    )
    model.save_pretrained(args.out, version="float", quantize=False)


if __name__ == "__main__":
    main()
