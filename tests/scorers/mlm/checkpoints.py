"""Tiny random checkpoints of every supported architecture, saved as their authors save them."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pairsift import Pair

WORDS = [
    "a", "photo", "of", "two", "small", "red", "dogs", "and", "one", "big", "blue",
    "house", "near", "the", "old", "harbour", "in", "Lisbon", "at", "night", "caption",
    "image", "score", "number", "from", "worst", "best", "answer", "whole", "scale",
    "people", "train", "river",
]  # fmt: skip
SPECIAL = [
    "<s>", "</s>", "<unk>", "<image>", "<fake_token_around_image>", "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)),
    "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>",
    "<|im_start|>", "<|im_end|>",
]  # fmt: skip

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ 'IMAGE\n' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)


def make_tokenizer(image_text: str = "<image>", *, whole_numbers: bool = False) -> Any:
    """A byte-level BPE tokenizer: digits one by one, or every number up to three digits a token."""
    tokenizer = Tokenizer(models.BPE())
    digits = Regex(r"\d{1,3}") if whole_numbers else Regex(r"\d")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(digits, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    text = [" ".join(rng.choices(WORDS, k=12)) for _ in range(200)]
    if whole_numbers:
        text += [str(number) for number in range(101)] * 50
    trainer = trainers.BpeTrainer(
        vocab_size=900 if whole_numbers else 500,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    wrapped.chat_template = PLAIN_TEMPLATE.replace("IMAGE", image_text)
    return wrapped


def _text(tokenizer: Any, **changes: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.3,
        **changes,
    }


_VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}


def _llava(tokenizer: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    config = transformers.LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model", **_VISION,
            "image_size": 28, "patch_size": 7, "projection_dim": 16,
        },
        text_config={"model_type": "llama", **_text(tokenizer)},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )  # fmt: skip
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 28},
        "crop_size": {"height": 28, "width": 28},
    }
    return transformers.LlavaForConditionalGeneration(config), processor, {"patch_size": 7}


def _idefics3(tokenizer: Any, kind: str = "Idefics3") -> tuple[Any, dict[str, Any], dict[str, Any]]:
    config = getattr(transformers, f"{kind}Config")(
        vision_config={**_VISION, "image_size": 28, "patch_size": 7},
        text_config={"model_type": "llama", **_text(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    processor = {
        "image_processor_type": f"{kind}ImageProcessor",
        "size": {"longest_edge": 56},
        "max_image_size": {"longest_edge": 28},
    }
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    return model, processor, {"image_seq_len": 4}


def _smolvlm(tokenizer: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    return _idefics3(tokenizer, "SmolVLM")


def _qwen(
    tokenizer: Any, kind: str, vision: dict[str, Any], text: dict[str, Any], patch: int = 7
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    ids = tokenizer.convert_tokens_to_ids
    config = getattr(transformers, f"{kind}Config")(
        vision_config={
            "patch_size": patch, "spatial_merge_size": 2, "temporal_patch_size": 2, **vision
        },
        text_config=_text(
            tokenizer,
            rope_parameters={
                "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]
            },
            **text,
        ),
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": patch,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 14 * 14, "longest_edge": 42 * 42},
    }
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor, {}


def _qwen2_vl(tokenizer: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    vision = {"embed_dim": 16, "hidden_size": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    return _qwen(tokenizer, "Qwen2VL", vision, {})


def _qwen2_5_vl(tokenizer: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    vision = {
        "hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 24, "depth": 2,
        "num_heads": 2, "window_size": 28, "fullatt_block_indexes": [1],
    }  # fmt: skip
    return _qwen(tokenizer, "Qwen2_5_VL", vision, {})


def _qwen3_vl(tokenizer: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    vision = {
        "hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 24, "depth": 3,
        "num_heads": 2, "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    return _qwen(tokenizer, "Qwen3VL", vision, {"head_dim": 8})


ARCHITECTURES = {
    "llava": (_llava, "<image>"),
    "idefics3": (_idefics3, "<image>"),
    "smolvlm": (_smolvlm, "<image>"),
    "qwen2_vl": (_qwen2_vl, "<|vision_start|><|image_pad|><|vision_end|>"),
    "qwen2_5_vl": (_qwen2_5_vl, "<|vision_start|><|image_pad|><|vision_end|>"),
    "qwen3_vl": (_qwen3_vl, "<|vision_start|><|image_pad|><|vision_end|>"),
}


def save_checkpoint(
    folder: Path, architecture: str, *, whole_numbers: bool = False, seed: int = 0
) -> Path:
    """Save a tiny random checkpoint with tokenizer and processor settings."""
    build, image_text = ARCHITECTURES[architecture]
    tokenizer = make_tokenizer(image_text, whole_numbers=whole_numbers)
    torch.manual_seed(seed)
    model, processor, settings = build(tokenizer)
    with torch.no_grad():  # biases and norms of fresh models are 0 and 1: move them too
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    if settings:
        (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


def make_pairs(count: int, *, seed: int = 0, words: Sequence[int] = (1, 60)) -> list[Pair]:
    """Pairs of noise images of mixed sizes and captions of mixed lengths."""
    rng = np.random.default_rng(seed)
    pairs = []
    for index in range(count):
        width, height = rng.integers(16, 90, 2)
        pixels = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((int(width), int(height)))
        stream = io.BytesIO()
        image.save(stream, "PNG")
        caption = " ".join(rng.choice(WORDS, rng.integers(*words)))
        pairs.append(Pair(key=f"{index:04d}", image=stream.getvalue(), caption=caption))
    return pairs
