"""A pack of five metrics on five scales, and what plain passes say about them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from PIL import Image

from pairsift.scorers.mlm.prompt_files import parse_pack
from tests.scorers.mlm.plain import PlainModel

PACK_TEXT = """
name = "mixed"
instruction = "caption {caption}, {criteria} {answers}"
answer_tail = ""

[metrics.match]
title = "Match"
asks = "How well does the caption match?"
criteria = "a photo of the image, score"
answers = { low = 0, high = 100 }

[metrics.useful]
title = "Usefulness"
criteria = "worst to best score"
answers = { low = 1, high = 5 }

[metrics.text]
title = "Readable text"
criteria = "people and number"
better = "neither"
answers = [
  { value = 1, spellings = ["yes", "Yes", " YES"] },
  { value = 0, spellings = ["no", "No"] },
]

[metrics.grade]
title = "Grade"
criteria = "the whole scale"
answers = [
  { value = 0, spellings = ["poor"] },
  { value = 50, spellings = ["fair"] },
  { value = 100, spellings = ["good", "good enough"] },
]

[metrics.errors]
title = "Errors"
criteria = "one big number"
better = "lower"
answers = { low = 0, high = 3 }
"""

PACK = parse_pack(PACK_TEXT, "mixed")
SPELLED = {
    "match": [[str(number)] for number in range(101)],
    "useful": [[str(number)] for number in range(1, 6)],
    "text": [["no", "No"], ["yes", "Yes", " YES"]],
    "grade": [["poor"], ["fair"], ["good", "good enough"]],
    "errors": [[str(number)] for number in range(4)],
}
VALUES = {
    "match": np.arange(101), "useful": np.arange(1, 6), "text": np.array([0, 1]),
    "grade": np.array([0, 50, 100]), "errors": np.arange(4),
}  # fmt: skip


def brute_force(plain: PlainModel, image: Image.Image, caption: str, metric: str) -> np.ndarray:
    """P(answer), not renormalised: every spelling as a continuation, with whole passes only.

    The rule in words: an answer's tokens, one after another, and then none of the tokens that
    would make it a longer answer; a 0 where digits can follow a 1 is followed by no digit.
    """
    prompt = f"USER: IMAGE\n{PACK.user_turn(metric, caption)} ASSISTANT:"

    def ids(text: str) -> tuple[int, ...]:
        return tuple(plain.tokenizer(text, add_special_tokens=False)["input_ids"])

    begin = len(ids(prompt))
    paths = [[ids(prompt + text)[begin:] for text in one] for one in SPELLED[metric]]
    every = list(itertools.chain(*paths))
    digits = {ids(str(digit))[0] for digit in range(10)}
    masses = []
    for answer, spelled in zip(SPELLED[metric], paths, strict=True):
        mass = 0.0
        for text, path in zip(answer, spelled, strict=True):
            assert ids(prompt + text)[:begin] == ids(prompt)  # the answer does not join the prompt
            logits = torch.from_numpy(plain.next_logits(image, prompt, path)).double()
            p = logits.softmax(-1).numpy()
            longer = {
                other[len(path)]
                for other in every
                if len(other) > len(path) and other[: len(path)] == path
            }
            if text == "0" and any(len(other) == 2 for other in every):
                longer |= digits
            going_on = sum(p[len(path), token] for token in longer)
            mass += math.prod(p[step, token] for step, token in enumerate(path)) * (1 - going_on)
        masses.append(mass)
    return np.array(masses)
