"""Every image-text-to-text type of transformers: a tiny checkpoint, scored, against brute force.

    python -m tests.models.sweep [TYPE ...] [--out FILE.json]

Brute force is the model's own forward without a cache, on what its own processor makes of the whole
prompt, once for every answer.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pairsift import Pair
from pairsift.metrics import Scale
from pairsift.scorers.mlm.families import FAMILIES
from pairsift.scorers.mlm.load import load_mlm_scorer
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack
from tests.models.reasons import REASONS
from tests.models.tiny import TEMPLATE, TYPES, build, fit_tokens

#: Answers of one token and of several, none of them the beginning of another one.
PACK = PromptPack(
    name="sweep",
    instruction="Caption: {caption}\n{criteria} Answer:",
    metrics={
        "fits": MetricPrompt("", "Is it of the image?", Scale.listed({"yes": 1, "no": 0})),
        "grade": MetricPrompt(
            "", "How old is the house?", Scale.listed({"small": 0, "big": 1, "the whole river": 2})
        ),
    },
)
TOLERANCE = 1e-4
#: How much image and caption must change a probability for the comparison to mean something.
TELLING = 1e-3
INSENSITIVE = "too insensitive to tell"
#: How large weights are; larger ones are tried where image or caption change too little.
GAINS = (1.6, 3.0, 6.0, 0.8)


@dataclass
class Result:
    """What became of one type."""

    type: str
    way: str = ""
    difference: float | None = None
    image: float | None = None
    caption: float | None = None
    answers: float | None = None
    seconds: float = 0.0
    problem: str = ""

    @property
    def holds(self) -> bool:
        return not self.problem


def noise(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size)


def pair(key: str, image: Image.Image, caption: str) -> Pair:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return Pair(key=key, image=stream.getvalue(), caption=caption)


def pairs() -> list[Pair]:
    """Mixed sizes; the second differs from the first in its image, the third in its caption."""
    one, other = noise(0, (104, 80)), noise(1, (70, 120))
    caption = "two small dogs near the old harbour"
    return [
        pair("a", one, caption),
        pair("b", other, caption),
        pair("c", one, "one big blue train at night in Lisbon"),
    ]


def save(
    kind: str,
    folder: Path,
    *,
    torchvision: bool,
    gain: float = GAINS[0],
    changes: dict[str, Any] | None = None,
) -> tuple[Any, Any, str]:
    """Save a tiny checkpoint; return its model, its processor, and what stands for an image."""
    model, processor, texts = build(kind, torchvision=torchvision, gain=gain, changes=changes)
    image = noise(0, (104, 80))
    first: Exception | None = None
    for written in texts:
        for _ in range(3):
            try:
                batch = process(processor, model, f"USER: {written}a ASSISTANT:", image)
            except Exception as error:
                first = first or error
                break
            try:
                with torch.no_grad():
                    spread = forward(model, batch, []).std()
                    head = model.get_output_embeddings()
                    if isinstance(head, torch.nn.Linear):  # so that no answer is certain
                        head.weight.mul_(1 / spread)
            except Exception as error:
                first = error if first is None or "features" not in str(first) else first
                if fit_tokens(processor, str(error)):
                    continue
                break
            tokenizer = processor.tokenizer
            template = TEMPLATE.replace("IMAGE", written.replace("'", "\\'"))
            tokenizer.chat_template = processor.chat_template = template
            model.save_pretrained(folder)
            if None in (getattr(processor, part) for part in processor.get_attributes()):
                processor.image_processor.save_pretrained(folder)
            else:
                processor.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            return model, processor, written
    raise first or ValueError("no text stands for an image")


def process(processor: Any, model: Any, text: str, image: Image.Image) -> dict[str, Any]:
    import inspect

    options = {}
    if "mm_token_type_ids" in inspect.signature(model.forward).parameters:
        options["return_mm_token_type_ids"] = True
    batch = processor(text=text, images=image, return_tensors="pt", **options)
    return {
        name: value.float() if getattr(value, "dtype", None) == torch.bfloat16 else value
        for name, value in batch.items()
        if name != "labels"
    }


def forward(model: Any, batch: dict[str, Any], path: Sequence[int]) -> torch.Tensor:
    """(1 + path, vocabulary) logits: one pass over a prompt and one answer, without a cache."""
    batch = dict(batch)
    if model.config.is_encoder_decoder:
        start = model.generation_config.decoder_start_token_id
        if start is None:
            start = model.config.get_text_config(decoder=True).bos_token_id
        batch["decoder_input_ids"] = torch.tensor([[start, *path]])
    else:
        length = batch["input_ids"].shape[1]
        for name, value in list(batch.items()):
            if isinstance(value, torch.Tensor) and value.shape[:2] == (1, length):
                if name == "input_ids":
                    more = torch.tensor([list(path)], dtype=value.dtype)
                else:
                    more = value[:, -1:].expand(1, len(path), *value.shape[2:])
                    if name == "token_type_ids" and model.config.model_type == "paligemma":
                        more = torch.ones_like(more)  # what its own generate() puts there
                batch[name] = torch.cat([value, more.reshape(1, len(path), *value.shape[2:])], 1)
        batch["use_cache"] = False
    return model(**batch).logits[0, -1 - len(path) :].float()


def prompts(written: str, caption: str) -> dict[str, str]:
    """The prompts of the pack in the checkpoints' chat template, up to the answer."""
    return {
        name: f"USER: {written}{PACK.user_turn(name, caption)} ASSISTANT:" + " "
        for name in PACK.metrics
    }


def try_type(kind: str, *, torchvision: bool, way: str | None = None) -> Result:
    """Make a tiny checkpoint of a type, score it, and compare with brute force."""
    began = time.time()
    result = Result(kind)
    try:
        if kind in REASONS:
            raise NotImplementedError(REASONS[kind])
        for gain in GAINS:
            result.problem = ""
            with tempfile.TemporaryDirectory() as folder:
                own = torchvision and kind not in FAMILIES
                model, processor, written = save(kind, Path(folder), torchvision=own, gain=gain)
                scorer = load_mlm_scorer(folder, prompts=PACK, way=way, device="cpu")
                compare(result, scorer, model, processor, written)
            if not result.problem.startswith(INSENSITIVE):
                break
    except Exception as error:
        result.problem = describe(error)
    result.seconds = round(time.time() - began, 1)
    return result


def compare(result: Result, scorer: Any, model: Any, processor: Any, written: str) -> None:
    result.way = scorer.backbone.way
    asked = pairs()
    found = scorer.distributions(asked)
    expected = []
    for one in asked:
        image = Image.open(io.BytesIO(one.image)).convert("RGB")
        texts = prompts(written, one.caption)
        rows = np.zeros(found.shape[1:])
        with torch.no_grad():
            for row, (name, trie) in enumerate(zip(scorer.metrics, scorer.tries, strict=True)):
                text, tail = texts[name], PACK.answer_tail
                # A tokenizer may join the last space to the answer: it is then the answer's own.
                text = text if trie_keeps(scorer, trie) else text[: -len(tail)]
                batch = process(processor, model, text, image)
                logs = []
                for [path] in trie.paths:
                    log_p = forward(model, batch, path).log_softmax(-1)
                    logs.append(sum(float(log_p[i, token]) for i, token in enumerate(path)))
                rows[row, : len(logs)] = np.exp(logs) / np.exp(logs).sum()
        expected.append(rows)
    want = np.stack(expected)
    result.difference = float(np.abs(found - want).max())
    result.image = float(np.abs(want[0] - want[1]).max())
    result.caption = float(np.abs(want[0] - want[2]).max())
    result.answers = float(np.abs(want[:, 0, 0] - want[:, 0, 1]).max())
    if result.difference > TOLERANCE:
        result.problem = f"differs by {result.difference:.1g} from brute force"
    elif min(result.image, result.caption, result.answers) < TELLING:
        result.problem = (
            f"{INSENSITIVE}: image {result.image:.1g}, caption {result.caption:.1g}, "
            f"answers {result.answers:.1g}"
        )


def trie_keeps(scorer: Any, trie: Any) -> bool:
    """Whether the tail's space stands before the answer's tokens, not in their first one."""
    text = scorer.backbone.tokenizer.decode(list(trie.paths[0][0]))
    return not text.startswith(" ")


def describe(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = (
        ""
        if isinstance(error, NotImplementedError)
        else f" ({Path(where.filename).name}:{where.lineno})"
    )
    return f"{text[:220]}{place}"


def line(result: Result) -> str:
    difference = "" if result.difference is None else f"{result.difference:.1e}"
    return (
        f"{result.type:24} {result.way:7} {difference:8} {result.seconds:6.1f} s  {result.problem}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("types", nargs="*", default=TYPES)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--way")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    try:
        import torchvision
    except ImportError:
        torchvision = None
    results = []
    for kind in options.types:
        result = try_type(kind, torchvision=torchvision is not None, way=options.way)
        results.append(result)
        print(line(result), flush=True)
    held = sum(result.holds for result in results)
    print(f"{held} of {len(results)} types hold")
    if options.out:
        facts = {
            "date": time.strftime("%Y-%m-%d"),
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "torchvision": getattr(torchvision, "__version__", None),
            "types": [asdict(result) for result in results],
        }
        options.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
