"""Extract the language model's tokenizer from its GGUF file, and the sentence encoder's.

python training/tokenizer.py --weights WEIGHTS --cache CACHE
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from pairsift.scorers.mlm.tiny.inputs import SENTENCE_TOKENIZER_FILE, TOKENIZER_FILE

from weights import sentence_encoder_folder, smollm2_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    args = parser.parse_args()

    from transformers import AutoTokenizer

    gguf = smollm2_files(args.weights)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.backend_tokenizer.save(str(args.cache / TOKENIZER_FILE))
    minilm = sentence_encoder_folder(args.weights) / "tokenizer.json"
    shutil.copyfile(minilm, args.cache / SENTENCE_TOKENIZER_FILE)


if __name__ == "__main__":
    main()
