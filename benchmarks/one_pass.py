"""Compare one pass with the reference code: same model, same pairs, in turns in one run.

    python benchmarks/one_pass.py --sizes base-576,base-144
    python benchmarks/one_pass.py --sizes so400m-qwen2.5-1.5b --dtype bfloat16 --batch-size 64 \\
        --pairs 512 --workers 12 --reference-dtype float16 --reference-pairs 64

The reference is the method of the published scripts, with correct attention masks: one pass over
the pairs per metric, in which the image is decoded and encoded again and two tokens are generated
greedily, with batch size 4. Weights are random; shapes and prompt lengths are real.

On a CPU, times are CPU seconds of this process, which other programs disturb less than wall time;
on a GPU they are wall time.
"""

from __future__ import annotations

import argparse
import copy
import gc
import io
import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

from pairsift import Pair
from pairsift.evaluate.cost.flops import count_flops
from pairsift.evaluate.cost.machine import matmul_peak, seconds_of
from pairsift.evaluate.cost.memory import peak_resident_mib
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.backbone import Arrays, EmbedsBackbone, ImageFeatures, ImageInputs
from pairsift.scorers.mlm.encode import TokenizerEncode
from pairsift.scorers.mlm.packing import Layout
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack
from pairsift.scorers.mlm.scorer import MLMInputs, MLMScorer

# Tokens of the published prompts: shared text around image and caption, then per metric.
SHARED_TOKENS = 20
SUFFIX_TOKENS = {"itm": 180, "odf": 190, "ctq": 185, "su": 380}
CAPTION_WORDS = (4, 40)
NEW_TOKENS = 2
# Pairs for comparing logits and counting operations, outside the timed passes.
LOOKED_INTO = 2


@dataclass(frozen=True)
class Size:
    """Shapes of a model.

    Attributes:
        tower: ``clip`` or ``siglip``, then its width, layers, heads, feed-forward width, image
            side and patch side.
        image_tokens: number of tokens to which the projector pools the patches.
        decoder: ``llama`` or ``qwen2``, then width, layers, heads, key-value heads, feed-forward
            width, vocabulary.
    """

    tower: tuple[str, int, int, int, int, int, int]
    image_tokens: int
    decoder: tuple[str, int, int, int, int, int, int]


SIZES = {
    "tiny": Size(("clip", 32, 2, 2, 64, 56, 14), 16, ("llama", 64, 2, 4, 4, 128, 2000)),
    # A ViT-B tower and a decoder of about 85M: the largest that two cores run in seconds.
    "base-576": Size(
        ("clip", 768, 12, 12, 3072, 336, 14), 576, ("llama", 768, 12, 12, 12, 2048, 32000)
    ),
    "base-144": Size(
        ("siglip", 768, 12, 12, 3072, 378, 14), 144, ("qwen2", 768, 12, 12, 2, 2048, 32000)
    ),
    # Towers that are as small compared with their decoders as those of the published filters.
    "small-576": Size(("clip", 192, 4, 3, 768, 336, 14), 576, ("llama", 384, 6, 6, 6, 1024, 32000)),
    "small-144": Size(
        ("siglip", 192, 4, 3, 768, 378, 14), 144, ("qwen2", 384, 6, 6, 2, 1024, 32000)
    ),
    "so400m-qwen2.5-1.5b": Size(
        ("siglip", 1152, 27, 16, 4304, 378, 14), 144, ("qwen2", 1536, 28, 12, 2, 8960, 151936)
    ),
    "clip-l-7b": Size(
        ("clip", 1024, 24, 16, 4096, 336, 14), 576, ("llama", 4096, 32, 32, 32, 11008, 32000)
    ),
}


class Pixels:
    """RGB image to uint8 pixels of the tower's side; both methods preprocess with it."""

    def __init__(self, side: int, marker: int, tokens: int) -> None:
        self.side, self.marker, self.tokens = side, marker, tokens

    def __call__(self, image: Image.Image) -> ImageInputs:
        resized = image.resize((self.side, self.side), Image.Resampling.BICUBIC)
        pixels = np.asarray(resized).transpose(2, 0, 1).copy()
        return ImageInputs({"pixels": pixels}, np.full(self.tokens, self.marker))

    def describe(self) -> str:
        return f"side {self.side}"


class Model(nn.Module):
    """Tower, pooling two-layer projector, decoder: the architecture of the published filters."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        kind, width, layers, heads, inner, side, patch = size.tower
        vision = {"clip": "CLIPVision", "siglip": "SiglipVision"}[kind]
        self.tower = getattr(transformers, f"{vision}Model")(
            getattr(transformers, f"{vision}Config")(
                hidden_size=width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                intermediate_size=inner,
                image_size=side,
                patch_size=patch,
            )
        )
        self.class_token = kind == "clip"
        self.pooled_side = int(size.image_tokens**0.5)
        kind, hidden, layers, heads, kv_heads, inner, vocabulary = size.decoder
        name = {"llama": "Llama", "qwen2": "Qwen2"}[kind]
        self.language = getattr(transformers, f"{name}ForCausalLM")(
            getattr(transformers, f"{name}Config")(
                hidden_size=hidden,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                num_key_value_heads=kv_heads,
                intermediate_size=inner,
                vocab_size=vocabulary,
                max_position_embeddings=4096,
                tie_word_embeddings=False,
                bos_token_id=None,
                eos_token_id=None,
                pad_token_id=0,
            )
        )
        self.projector = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8 to (B, image tokens, D)."""
        dtype = self.projector[0].weight.dtype
        features = self.tower((pixels.float() / 127.5 - 1).to(dtype)).last_hidden_state
        features = features[:, int(self.class_token) :]
        side = int(features.shape[1] ** 0.5)
        if side != self.pooled_side:
            square = features.transpose(1, 2).unflatten(2, (side, side))
            pooled = nn.functional.adaptive_avg_pool2d(square, self.pooled_side)
            features = pooled.flatten(2).transpose(1, 2)
        return self.projector(features)


class BenchmarkBackbone(EmbedsBackbone):
    """The model with the interface of one-pass scoring."""

    kind = "benchmark"
    image_token = "<image>"

    def __init__(self, model: Model, size: Size, tokenizer: Any) -> None:
        super().__init__(model.language.model, model.language.lm_head)
        self.model = model
        self.tokenizer = tokenizer
        self.encode = TokenizerEncode(tokenizer)
        self.image_marker = tokenizer.convert_tokens_to_ids(self.image_token)
        self.max_length = 4096
        self.image_transform = Pixels(size.tower[5], self.image_marker, size.image_tokens)

    def stack(self, images: Sequence[Arrays]) -> torch.Tensor:
        return self.pinned(np.stack([image["pixels"] for image in images]))

    def encode_images(self, images: torch.Tensor, is_image: torch.Tensor) -> ImageFeatures:
        return ImageFeatures(self.model.encode(self.to_device(images)).flatten(0, 1))


def make_tokenizer() -> Any:
    """One token per word and per digit, so that prompts have exactly the requested lengths."""
    words = [
        "<pad>",
        "<image>",
        *map(str, range(10)),
        *(f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(676)),
        "?",
    ]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="?")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=True)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", additional_special_tokens=["<image>"]
    )


def make_pack() -> PromptPack:
    """Prompts of the published lengths; they differ between metrics from the first word."""
    rng = np.random.default_rng(0)

    def text(words: int) -> str:
        return " ".join(f"w{chr(97 + a)}{chr(97 + b)}" for a, b in rng.integers(0, 26, (words, 2)))

    metrics = {
        metric: MetricPrompt("x", f"w{chr(97 + index)}a {text(tokens - 1)}")
        for index, (metric, tokens) in enumerate(SUFFIX_TOKENS.items())
    }
    instruction = f"{text(SHARED_TOKENS)} {{caption}} {{criteria}}"
    return PromptPack("benchmark", instruction, metrics, chat="plain")


def make_pairs(count: int) -> list[Pair]:
    """Photograph-sized JPEGs and captions of web lengths."""
    rng = np.random.default_rng(1)
    pairs = []
    for index in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(stream, "JPEG")
        caption = " ".join(
            f"w{chr(97 + a)}{chr(97 + b)}"
            for a, b in rng.integers(0, 26, (rng.integers(*CAPTION_WORDS), 2))
        )
        pairs.append(Pair(str(index), stream.getvalue(), caption))
    return pairs


class Reference:
    """Per metric: decode, preprocess, encode, read the whole prompt, generate two tokens."""

    def __init__(self, model: Model, one_metric_scorers: Sequence[MLMScorer]) -> None:
        self.model = model
        self.scorers = one_metric_scorers

    @torch.inference_mode()
    def generate(self, batch: Sequence[MLMInputs], scorer: MLMScorer) -> tuple[Any, torch.Tensor]:
        """Return the generated ids and (B, vocabulary) logits of the first token."""
        device = scorer.backbone.device
        pixels = torch.from_numpy(np.stack([pair.image["pixels"] for pair in batch])).to(device)
        features = self.model.encode(pixels)
        prompts = [np.concatenate([pair.prefix, pair.suffixes[0]]) for pair in batch]
        longest = max(map(len, prompts))
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.from_numpy(prompt)
            mask[row, longest - len(prompt) :] = 1
        ids, mask = ids.to(device), mask.to(device)
        embeds = self.model.language.get_input_embeddings()(ids)
        here = (ids == scorer.backbone.image_marker)[..., None]
        embeds = embeds.masked_scatter(here, features.flatten(0, 1))
        output = self.model.language.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            return_dict_in_generate=True,
            output_logits=True,
        )
        return output.sequences.cpu(), output.logits[0].float()

    def answer_logits(self, pairs: Sequence[Pair]) -> Any:
        """Return (pairs, metrics, vocabulary): one pass per metric, in one batch."""
        passes = [
            self.generate([scorer.preparer(pair).inputs for pair in pairs], scorer)[1]
            for scorer in self.scorers
        ]
        return torch.stack(passes, dim=1).cpu().numpy()

    def score(self, pairs: Sequence[Pair], prepare: Prepare, batch_size: int) -> None:
        for scorer in self.scorers:
            for batch in batched(prepare(scorer, pairs), batch_size):
                tokens, _ = self.generate(batch, scorer)
                scorer.backbone.tokenizer.batch_decode(tokens)


Prepare = Callable[[MLMScorer, Sequence[Pair]], Iterable[MLMInputs]]


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def ours(scorer: MLMScorer, pairs: Sequence[Pair], prepare: Prepare, batch_size: int) -> None:
    """Score as the engine does: length-bucketed batches of preprocessed pairs."""
    for window in batched(prepare(scorer, pairs), 8 * batch_size):
        window.sort(key=scorer.cost)
        for batch in batched(window, batch_size):
            scorer.score_batch(batch)


def make_prepare(workers: int) -> Prepare:
    """Preprocessing, in this process or ahead of the device in worker processes."""
    if not workers:
        return lambda scorer, pairs: (scorer.preparer(pair).inputs for pair in pairs)
    pool = ProcessPoolExecutor(workers, get_context("spawn"))

    def prepare(scorer: MLMScorer, pairs: Sequence[Pair]) -> Iterator[MLMInputs]:
        chunks = pool.map(_prepare_chunk, itertools.repeat(scorer.preparer), batched(pairs, 16))
        return itertools.chain.from_iterable(chunks)

    return prepare


def _prepare_chunk(preparer: Any, pairs: Sequence[Pair]) -> list[MLMInputs]:
    return [preparer(pair).inputs for pair in pairs]


def clock(device: torch.device) -> Callable[[], float]:
    return time.perf_counter if device.type == "cuda" else time.process_time


class PeakMemory:
    """Peak memory of a part of the work: the device's allocations, or this process's
    resident set.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: reset the peak
        return self

    def __exit__(self, *exc: object) -> None:
        if self.device.type == "cuda":
            self.mib = torch.cuda.max_memory_allocated() / 2**20
            return
        self.mib = peak_resident_mib()


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    size, device = SIZES[name], torch.device(options.device)
    dtype = getattr(torch, options.dtype)
    reference_dtype = getattr(torch, options.reference_dtype or options.dtype)
    torch.manual_seed(0)
    with torch.device(device):
        model = Model(size).to(dtype).eval().requires_grad_(False)
    twin = model if reference_dtype == dtype else copy.deepcopy(model).to(reference_dtype)
    if options.compile:
        model.language.model.compile(dynamic=True)
    tokenizer, pack = make_tokenizer(), make_pack()
    backbone = BenchmarkBackbone(model, size, tokenizer)
    reference = Reference(
        twin,
        [MLMScorer(BenchmarkBackbone(twin, size, tokenizer), pack, [metric]) for metric in METRICS],
    )
    scorers = {
        layout: MLMScorer(backbone, pack, list(METRICS), layout=layout)
        for layout in options.layouts
    }
    pairs = make_pairs(max(options.pairs, options.reference_pairs or options.pairs))
    our_pairs = pairs[: options.pairs]
    their_pairs = pairs[: options.reference_pairs or options.pairs]
    prepare = make_prepare(options.workers)
    peak = matmul_peak(device, dtype, clock(device))

    runs: dict[str, Callable[[], None]] = {
        "reference": lambda: reference.score(their_pairs, prepare, options.reference_batch_size)
    }
    for layout, scorer in scorers.items():
        runs[layout] = lambda scorer=scorer: ours(scorer, our_pairs, prepare, options.batch_size)
    counts = {way: len(their_pairs if way == "reference" else our_pairs) for way in runs}

    inline = make_prepare(0)
    few = pairs[:LOOKED_INTO]
    flops, logits = {}, {}
    for way, scorer in scorers.items():  # on a CPU, this is warm-up enough
        flops[way] = count_flops(lambda scorer=scorer: ours(scorer, few, inline, len(few)))
        logits[way] = scorer.answer_logits(few)
    flops["reference"] = count_flops(lambda: logits.update(reference=reference.answer_logits(few)))
    if device.type == "cuda":
        for run in runs.values():
            run()

    memory = dict.fromkeys(runs, 0.0)
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    for _ in range(options.repeats):
        for way, run in runs.items():
            with PeakMemory(device) as used:
                seconds[way].append(seconds_of(run, device, clock(device)) / counts[way])
            memory[way] = max(memory[way], used.mib)
    result: dict[str, Any] = {
        "size": name,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "dtype": options.dtype,
        "reference_dtype": options.reference_dtype or options.dtype,
        "batch_size": options.batch_size,
        "reference_batch_size": options.reference_batch_size,
        "matmul_peak_gflops": peak / 1e9,
        "ways": {},
    }
    for way in runs:
        median = statistics.median(seconds[way])
        ratios = [a / b for a, b in zip(seconds["reference"], seconds[way], strict=True)]
        row = {
            "pairs_per_second": 1 / median,
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "gflop_per_pair": flops[way] / len(few) / 1e9,
            "fraction_of_peak": flops[way] / len(few) / median / peak,
            "peak_memory_mib": memory[way],
        }
        if way != "reference":
            difference = np.abs(logits[way] - logits["reference"])
            row["largest_logit_difference"] = float(difference.max())
        result["ways"][way] = row
    return result


def show(result: dict[str, Any]) -> None:
    print(
        f"\n{result['size']}: {result['device']}, {result['dtype']}, batch {result['batch_size']} "
        f"(reference {result['reference_dtype']}, batch {result['reference_batch_size']}), "
        f"matrix peak {result['matmul_peak_gflops']:,.0f} GFLOP/s"
    )
    print(
        f"{'':10} {'pairs/s':>9} {'ratio':>7} {'(range)':>13} {'GFLOP/pair':>11} {'of peak':>8} "
        f"{'MiB':>8} {'logits':>9}"
    )
    for way, row in result["ways"].items():
        low, high = row["ratio_range"]
        print(
            f"{way:10} {row['pairs_per_second']:9.3f} {row['ratio']:7.2f} "
            f"{f'{low:.2f}-{high:.2f}':>13} {row['gflop_per_pair']:11.1f} "
            f"{row['fraction_of_peak']:8.0%} {row['peak_memory_mib']:8,.0f} "
            f"{row.get('largest_logit_difference', 0):9.1e}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--sizes", default="base-576,base-144", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--device", default=default)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--reference-dtype", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--reference-batch-size", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--reference-pairs", type=int, help="fewer, where the reference is slow")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare pairs")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, on a CPU")
    parser.add_argument("--layouts", default="looped,packed")
    parser.add_argument("--compile", action="store_true", help="torch.compile the decoder")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    options = parser.parse_args(arguments)
    layouts: list[Layout] = options.layouts.split(",")
    options.layouts = layouts
    names = options.sizes.split(",")
    if unknown := [name for name in names if name not in SIZES]:
        parser.error(f"unknown size {unknown[0]}; there are {', '.join(SIZES)}")
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    results = []
    for name in names:
        results.append(measure(name, options))
        show(results[-1])
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
