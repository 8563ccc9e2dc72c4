"""Take the tokenizer out of the language model's GGUF file.

python training/tokenizer.py --weights WEIGHTS --cache CACHE
"""

from __future__ import annotations

import argparse
from pathlib import Path

from weights import smollm2_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    args = parser.parse_args()

    from transformers import AutoTokenizer

    gguf = smollm2_files(args.weights)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.backend_tokenizer.save(str(args.cache / "tokenizer.json"))


if __name__ == "__main__":
    main()
