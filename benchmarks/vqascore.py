"""VQAScore by Pairsift and by the `t2v_metrics` package, on one and the same checkpoint.

    pip install --no-deps t2v_metrics qwen-vl-utils decord     # beside torch and torchvision
    python benchmarks/vqascore.py

Both score the same images and captions with the paper's question (arXiv 2404.01291), in one process
and in turns, in float32. The checkpoint is random, of the Qwen2.5-VL or Qwen3-VL architecture, and
made on the spot: what is compared is the probability of "Yes", and the time.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import io
import itertools
import json
import platform
import random
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pairsift import Pair
from pairsift.metrics import Answer, Scale
from pairsift.scorers.mlm.load import load_mlm_scorer
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
PACK = PromptPack(
    "vqascore-paper",
    QUESTION.format("{caption}"),
    {
        "vqascore": MetricPrompt(
            "", "", Scale((Answer(1, ("Yes",)), Answer(0, ("No",)))), "VQAScore"
        )
    },
    answer_tail="",
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
SENTENCE = (
    "a photo of two small red dogs and one big blue house near the old harbour in Lisbon at night "
    "Does this figure show Please answer yes or no Yes No people train river"
)
WORDS = SENTENCE.split()
#: A multiple of what a token of either architecture covers, so that nobody resizes.
SIDE = 448


def make_tokenizer() -> Any:
    """A byte-level BPE tokenizer for which "Yes" and "No" are one token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    text = [" ".join(rng.choices(WORDS, k=12)) for _ in range(300)] + ["Yes", "No"] * 300
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
    )  # fmt: skip


def save_checkpoint(folder: Path, kind: str, hidden: int, layers: int) -> None:
    """Save a random checkpoint with its whole processor."""
    import transformers

    tokenizer = make_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    patch = 14 if kind == "Qwen2_5_VL" else 16
    vision: dict[str, Any] = {
        "patch_size": patch, "spatial_merge_size": 2, "temporal_patch_size": 2,
        "hidden_size": hidden // 2, "out_hidden_size": hidden, "intermediate_size": hidden,
        "depth": layers, "num_heads": 4,
    }  # fmt: skip
    vision |= (
        {"window_size": 112, "fullatt_block_indexes": [layers - 1]}
        if kind == "Qwen2_5_VL"
        else {"num_position_embeddings": 2304, "deepstack_visual_indexes": [0, 1]}
    )
    config = getattr(transformers, f"{kind}Config")(
        vision_config=vision,
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": hidden, "intermediate_size": 3 * hidden,
            "num_hidden_layers": layers, "num_attention_heads": 8, "num_key_value_heads": 4,
            "head_dim": hidden // 8, "max_position_embeddings": 8192, "initializer_range": 0.06,
            "bos_token_id": None, "eos_token_id": ids("<|im_end|>"),
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e6,
                "mrope_section": [hidden // 64, hidden // 64, hidden // 32],
            },
        },
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.lm_head.weight.mul_(2)  # answers that differ from pair to pair
    model.save_pretrained(folder)
    pixels = {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280},
              "patch_size": patch, "merge_size": 2, "temporal_patch_size": 2}  # fmt: skip
    processor = "Qwen2_5_VLProcessor" if kind == "Qwen2_5_VL" else "Qwen3VLProcessor"
    video = "Qwen2VLVideoProcessor" if kind == "Qwen2_5_VL" else "Qwen3VLVideoProcessor"
    getattr(transformers, processor)(
        image_processor=transformers.Qwen2VLImageProcessor(**pixels),
        tokenizer=tokenizer,
        video_processor=getattr(transformers, video)(**pixels),
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    described = {"image_processor_type": "Qwen2VLImageProcessor", **pixels}
    (folder / "preprocessor_config.json").write_text(json.dumps(described))


def theirs(folder: Path, kind: str) -> Callable[[Sequence[str], Sequence[str]], np.ndarray]:
    """The package's own model class; its imports of other models' packages are passed over.

    It has no class for Qwen3-VL: that of Qwen2.5-VL loads it, all else stays as it is.
    """
    try:
        place = Path(str(importlib.metadata.distribution("t2v_metrics").locate_file("")))
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("t2v_metrics is not installed: see the top of this file") from None
    for name in ("t2v_metrics", "t2v_metrics.models", "t2v_metrics.models.vqascore_models"):
        package = types.ModuleType(name)
        package.__path__ = [str(place / name.replace(".", "/"))]
        sys.modules[name] = package
    module = importlib.import_module("t2v_metrics.models.vqascore_models.qwen2vl_model")
    if kind == "Qwen3VL":
        import transformers

        module.Qwen2_5_VLForConditionalGeneration = transformers.Qwen3VLForConditionalGeneration
    module.QWEN2_VL_MODELS["qwen2.5-here"] = {
        "tokenizer": {"path": str(folder)},
        "model": {
            "path": str(folder), "torch_dtype": torch.float32, "attn_implementation": "sdpa",
        },
    }  # fmt: skip
    model = module.Qwen2VLModel("qwen2.5-here", device="cpu")

    def score(paths: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        found = model.forward(
            list(paths), list(texts), question_template=QUESTION, answer_template="Yes"
        )
        return np.asarray(found.numpy(), np.float64)

    return score


def ours(folder: Path) -> Callable[[Sequence[str], Sequence[str]], np.ndarray]:
    """Pairsift's scorer."""
    scorer = load_mlm_scorer(folder, prompts=PACK, device="cpu", dtype="float32")

    def score(paths: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        pairs = [
            Pair(f"{row}", Path(path).read_bytes(), text)
            for row, (path, text) in enumerate(zip(paths, texts, strict=True))
        ]
        return np.asarray(scorer.score(pairs)["vqascore_p"].to_numpy(), np.float64)

    return score


def make_images(folder: Path, count: int) -> list[str]:
    """Noise of some size, as PNG files."""
    rng = np.random.default_rng(0)
    paths = []
    for index in range(count):
        noise = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).resize((SIDE, SIDE)).save(stream, "PNG")
        path = folder / f"{index}.png"
        path.write_bytes(stream.getvalue())
        paths.append(str(path))
    return paths


def measure(kind: str, options: argparse.Namespace) -> None:
    """Print a table of one architecture."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_checkpoint(folder, kind, options.hidden, options.layers)
        scorers = {"t2v_metrics": theirs(folder, kind), "pairsift": ours(folder)}
        images = make_images(folder, options.images)
        print(f"\n{kind}: hidden {options.hidden}, {options.layers} layers, {SIDE} pixels\n")
        print("| captions an image | t2v_metrics pairs/s | pairsift pairs/s | times faster "
              "| largest difference of P(Yes) | P(Yes) |")  # fmt: skip
        print("|---|---|---|---|---|---|")
        for captions in options.captions:
            texts = [" ".join(rng.choices(WORDS[:19], k=12)) for _ in range(captions)]
            pairs = list(itertools.product(images, texts))
            paths, said = [path for path, _ in pairs], [text for _, text in pairs]
            seconds: dict[str, list[float]] = {name: [] for name in scorers}
            found = {}
            for _ in range(options.rounds + 1):  # the first one warms up
                for name, score in scorers.items():
                    begin = time.perf_counter()
                    found[name] = score(paths, said)
                    seconds[name].append(time.perf_counter() - begin)
            rates = {name: len(pairs) / statistics.median(t[1:]) for name, t in seconds.items()}
            gap = np.abs(found["pairsift"] - found["t2v_metrics"]).max()
            low, high = found["pairsift"].min(), found["pairsift"].max()
            print(
                f"| {captions} | {rates['t2v_metrics']:.2f} | {rates['pairsift']:.2f} "
                f"| {rates['pairsift'] / rates['t2v_metrics']:.1f} | {gap:.1e} "
                f"| {low:.4f} to {high:.4f} |",
                flush=True,
            )
            if gap > 1e-4:
                raise SystemExit(f"the probabilities differ by {gap:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=["Qwen2_5_VL", "Qwen3VL"])
    parser.add_argument("--captions", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    options = parser.parse_args()
    version = importlib.metadata.version
    print(", ".join(f"{name} {version(name)}" for name in
                    ("t2v_metrics", "torch", "torchvision", "transformers")))  # fmt: skip
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, float32")
    for kind in options.kinds:
        measure(kind, options)


if __name__ == "__main__":
    main()
