"""A tiny random checkpoint of any image-text-to-text type of transformers, by one general rule.

The type's own configuration is shrunk name by name: every width becomes the same small one, every
stack two or three layers. The tokenizer is a small byte-level one with the special tokens that the
type's processor names in its source. The processor is the type's own, with images made small.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from tests.scorers.mlm.checkpoints import make_tokenizer

TYPES = tuple(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)

WIDTH, HEADS, HEAD = 32, 4, 8
SIDE = 4  # patches along an image

#: Names of whole numbers in a configuration and their small value; the first that matches counts.
_SMALL: tuple[tuple[str, int], ...] = (
    (r"patch_embed_hidden_size|hidden_channels", 10**9),  # as many as a patch has pixels
    (r"position_embedding_size", 1024),
    (r"mm_tokens_per_image|vision_soft_tokens_per_image", SIDE * SIDE // 4),
    (r"num_image_tokens|image_seq_length|num_patches", SIDE * SIDE),
    (r"(.*_)?vocab_size(_.*)?|num_embeddings", -1),  # the tokenizer's
    (r"num_(global_)?key_value_heads|num_kv_heads|.*_key_value_heads", 2),
    (r"(.*_)?(num_)?(attention_)?heads|n_head|num_heads|.*n_heads|.*_num_heads", HEADS),
    (r"linear_num_(key|value)_heads", 2),
    (
        r"(.*_)?(num_)?(hidden_|encoder_|decoder_|global_|local_)*layers|depths?|n_layers?"
        r"|.*_layers|num_blocks",
        2,
    ),
    (r"(.*_)?(lora_)?rank", 16),
    (r"(.*_)?head_dim|attention_head_size|d_kv|kv_channels", HEAD),
    (
        r"(.*_)?(intermediate|ffn|mlp|inner)(_size|_dim|_hidden_size)(_.*)?|d_ff|(.*_)?ffn_dim"
        r"|n_inner",
        48,
    ),
    (
        r"(.*_)?hidden(_(size|dim)(_.*)?)?|d_model|n_embd|(.*_)?embed(ding)?(_proj)?_(dim|size)"
        r"|projection_dim|(.*_)?output_dim|width|dim|feature_size|encoder_dim"
        r"|projector_(input|output)_dim|codebook_dim|adapter_(in|out)_dim|pooler_output_size"
        r"|adapter_input_size",
        WIDTH,
    ),
    (r"n_group|topk_group|num_expert_group|n_groups", 1),
    (r".*experts_per_tok(en)?|.*top_k(_experts)?|moe_k|moe_topk", 2),
    (r"(n|num)_shared_experts|.*shared_expert_num", 1),
    (r"(.*_)?(n|num)_(routed_|local_|total_|zero_)*experts|.*num_experts", 4),
    (r"sliding_window(_size)?|.*_window_size_text", 24),
    (r"index_topk|.*chunk_size", 4096),
)


def classes_of(kind: str) -> tuple[type, type]:
    """The configuration and the model class of a type."""
    config = CONFIG_MAPPING[kind]
    return config, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[config]


def shrink(values: dict[str, Any], vocabulary: int, path: str = "") -> dict[str, Any]:
    """Small values for the numbers of a configuration, level by level."""
    small: dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(name, str):
            small[name] = value
        elif isinstance(value, dict) and name not in (
            "rope_parameters",
            "rope_scaling",
            "id2label",
            "label2id",
        ):
            small[name] = shrink(value, vocabulary, f"{path}{name}.")
        elif name == "head_dim" and value is None and "num_attention_heads" in values:
            small[name] = HEAD
        elif isinstance(value, bool) or not isinstance(value, int):
            small[name] = value
        else:
            for pattern, number in _SMALL:
                if re.fullmatch(pattern, name):
                    if "key_value" in name and value == values.get("num_attention_heads"):
                        number = HEADS
                    small[name] = (
                        vocabulary if number < 0 else (min(value, number) if value > 0 else value)
                    )
                    break
            else:
                small[name] = value
    return small


def special_tokens(kind: str, processor: type | None) -> tuple[list[str], dict[str, str]]:
    """Special tokens that a processor's source names, and those it reads from the tokenizer."""
    source = ""
    for cls in processor.__mro__ if processor else ():
        if cls.__module__.startswith("transformers.models"):
            source += inspect.getsource(importlib.import_module(cls.__module__))
    literal = re.findall(
        r"""["'](<[^<>\s"'{}]{1,40}>|\[[A-Z_]{2,20}\]|\|[A-Z]+\||\]<\][a-z ]+\[>\[)["']""", source
    )
    named = re.findall(
        r"tokenizer, [\"'](\w+_token)(?:_id)?[\"']|tokenizer\.(\w+_token)(?:_id)?\b", source
    )
    names = {first or second for first, second in named}
    names = {
        n
        for n in names
        if not re.search(rf"{n}\s*=\s*AddedToken", source) and not n.startswith("add_")
    }
    names -= {f"{usual}_token" for usual in ("pad", "bos", "eos", "unk", "cls", "sep", "mask")}
    own = {}
    for name in sorted(names):
        quoted = r"""["']([^"'\s{]+)["']"""
        defaults = (
            rf"""tokenizer, ["']{name}["'], {quoted}""",
            rf"""\b{name}\s*=\s*{quoted}""",
            rf"""{name}["'],\s*{quoted}""",
            rf"""{quoted} if not hasattr\(tokenizer, ["']{name}["']""",
        )
        found = next((match for text in defaults if (match := re.search(text, source))), None)
        own[name] = found[1] if found else f"<{name.removesuffix('_token')}>"
    spelled = re.findall(r"<\|?[a-zA-Z][a-zA-Z_]{2,24}\|?>", source)
    rows = (
        [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)] if "row_" in source else []
    )
    return list(dict.fromkeys([*literal, *rows, *own.values(), "<image>", *spelled])), own


def base_tokenizer(specials: list[str], own: dict[str, str]) -> Any:
    """The small tokenizer with more special tokens, some of them under names of their own."""
    tokenizer = make_tokenizer()
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=own,
    )
    wrapped.add_special_tokens(
        {"extra_special_tokens": specials}, replace_extra_special_tokens=False
    )
    return wrapped


def _token_fields(values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Every place of a configuration that names a token: its dictionary, its name, its stem."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _token_fields(value)
        elif isinstance(name, str) and (
            match := re.fullmatch(r"(\w*?)_?(token_id|token_index|token_idx|token)", name)
        ):
            if isinstance(value, bool):
                continue
            if isinstance(value, int) or (value is None and match[2] != "token"):
                yield values, name, match[1]


def _shrink_layers(values: dict[str, Any]) -> None:
    """Keep one layer of each kind where a list names the kind of every layer; at least two."""
    for value in values.values():
        if isinstance(value, dict):
            _shrink_layers(value)
    _shrink_own_layers(values)
    for name, value in values.items():
        ints = isinstance(value, (list, tuple)) and value and all(type(i) is int for i in value)
        if (
            ints
            and len(value) != values.get("num_hidden_layers")
            and re.search(r"index|indices|layers|layer$|blocks", str(name))
            and max(map(abs, value)) >= 2
        ):
            values[name] = [-1, -2][: len(value)] if min(value) < 0 else [0, 1][: len(value)]


def _shrink_own_layers(values: dict[str, Any]) -> None:
    count_name = next(
        (
            n
            for n in ("num_hidden_layers", "depth", "num_layers", "n_layers")
            if isinstance(values.get(n), int)
        ),
        None,
    )
    if count_name is None:
        return
    count = values[count_name]
    kinds = {
        n: v for n, v in values.items() if isinstance(v, list) and len(v) == count and count > 3
    }
    chosen = [0, count - 1]
    if kinds:
        seen: dict[tuple[str, ...], int] = {}
        for index, kind in enumerate(zip(*kinds.values(), strict=True)):
            seen.setdefault(tuple(map(str, kind)), index)
        chosen = sorted(seen.values())[:4]
        if len(chosen) < 2:
            chosen = [0, count - 1]
        for name, value in kinds.items():
            own = value == list(range(count))  # such as which layer's cache each one reads
            values[name] = list(range(len(chosen))) if own else [value[index] for index in chosen]
    for name, value in values.items():  # settings of single layers, by their number
        if isinstance(value, dict) and value and all(str(key).isdigit() for key in value):
            by_number = {int(key): setting for key, setting in value.items()}
            values[name] = {n: by_number[old] for n, old in enumerate(chosen) if old in by_number}
    values[count_name] = len(chosen)


def make_config(
    kind: str, tokenizer: Any, processor: Any, own: dict[str, str], changes: dict[str, Any]
) -> Any:
    cls, _ = classes_of(kind)
    values = cls().to_dict()
    for name, sub in (getattr(cls, "sub_configs", None) or {}).items():
        if values.get(name) is None and name != "audio_config" and hasattr(sub, "model_type"):
            values[name] = sub().to_dict()
    _shrink_layers(values)
    counts = _layer_counts(values)
    values = shrink(values, len(tokenizer))
    for place, name, count in counts:
        _at(values, place)[name] = count
    _images(values)
    for place, name, stem in _token_fields(values):
        for source in (tokenizer, processor):
            found = getattr(source, f"{stem}_token_id", None)
            if isinstance(found, int):
                place[name] = found
                break
        else:
            if isinstance(place[name], int) or "image" in stem:
                place[name] = tokenizer.convert_tokens_to_ids(f"<{stem}>") or 0
                if place[name] in (0, tokenizer.unk_token_id) and "image" in stem:
                    place[name] = tokenizer.convert_tokens_to_ids("<image>")
    for path, value in changes.items():
        *parents, name = path.split(".")
        if isinstance(value, str) and value.startswith("<"):
            value = tokenizer.convert_tokens_to_ids(value)
        if name == "vocabulary_map":
            ids = tokenizer.convert_tokens_to_ids
            value = {n: ids(v) if isinstance(v, str) else v for n, v in value.items()}
        _at(values, tuple(parents))[name] = value
    config = cls(**{n: v for n, v in values.items() if n not in ("transformers_version",)})
    source = inspect.getsource(importlib.import_module(classes_of(kind)[1].__module__))
    kin = type(config.get_text_config(decoder=True)).__module__.replace("configuration", "modeling")
    if "mrope_section" in source + inspect.getsource(importlib.import_module(kin)):
        _rotary(config.get_text_config(decoder=True))
    for name in re.findall(r"config\.(\w+_token_id)\b", source):
        if not hasattr(config, name):  # some real configurations bring more than the class has
            setattr(
                config, name, tokenizer.convert_tokens_to_ids(f"<{name.removesuffix('_token_id')}>")
            )
    return config


def _rotary(config: Any) -> None:
    """Sections of rotary positions that add up to half of what is rotated."""
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict) or any(isinstance(value, dict) for value in rope.values()):
        return
    head = getattr(config, "head_dim", None) or WIDTH // HEADS
    half = (
        int(
            head
            * (
                rope.get("partial_rotary_factor")
                or getattr(config, "partial_rotary_factor", None)
                or 1
            )
        )
        // 2
    )
    count = len(rope.get("mrope_section") or (1, 1, 1))
    share = half // count
    rope["mrope_section"] = [share] * (count - 1) + [half - share * (count - 1)]


#: what no rule finds
CHANGES: dict[str, dict[str, Any]] = {
    "aria": {
        "vision_config.patch_size": 98,
        "vision_config.image_size": 490,
        "projector_patch_to_query_dict": {25: 4, 100: 4},
    },
    "chameleon": {
        "vq_config.num_embeddings": 8,
        "vocabulary_map": {
            "<image>": "<image>",
            **{f"IMGIMG{letter}Z": n for n, letter in enumerate("ABCDEFGH", 60)},
        },
    },
    "cohere_compass": {
        "text_config.rope_parameters": {
            "sliding_attention": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [1, 1, 2],
            },
            "full_attention": None,
        },
    },
    "deepseek_ocr2": {"text_config.mlp_layer_types": ["dense", "sparse"]},
    "gemma3n": {"vision_config.hidden_size": 2048, "vision_soft_tokens_per_image": 256},
    "granite4_vision": {
        "deepstack_layer_map": [[-1, 0]],
        "vision_config.hidden_size": 64,
        "downsample_rate": "1/2",
    },
    "got_ocr2": {"vision_config.image_size": 1024},
    "muse_glimmer": {"out_hidden_size": 4 * WIDTH},
    "muse_spark": {"out_hidden_size": 4 * WIDTH},
    "ovis2": {"image_token_id": "<IMG_ATOM>"},
    "perception_lm": {
        "vision_config.model_args": {
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 4,
            "img_size": [56, 56],
            "global_pool": "",
            "use_post_transformer_norm": False,
            "init_values": 0.1,
            "ref_feat_shape": [4, 4],
        },
    },
    "qwen4_exp": {
        "text_config.indexer_budget": 4096,
        "text_config.indexer_compress_ratio": 4,
        "text_config.indexer_n_heads": 2,
        "text_config.indexer_kv_heads": 1,
        "text_config.indexer_head_dim": 8,
    },
    "step3p7": {"text_config.sliding_window": 24},
    "unlimited_ocr": {},
    "fast_vlm": {"vision_config.hidden_size": 3072},
    "kosmos-2.5": {"latent_query_num": SIDE * SIDE},
    "llama4": {"vision_config.intermediate_size": 4 * WIDTH, "image_token_index": "<|patch|>"},
    "mllama": {
        "text_config.cross_attention_layers": [1],
        "vision_config.vision_output_dim": 3 * WIDTH,
    },
}


def fit_tokens(processor: Any, error: str) -> bool:
    """Set how many tokens stand for an image, from a model's complaint that the number is wrong."""
    match = re.search(r"tokens:? (\d+), features:? (\d+)", error)
    if not match or not int(match[1]):
        return False
    tokens, features = int(match[1]), int(match[2])
    for name in ("image_seq_length", "image_seq_len", "num_image_tokens", "num_image_token"):
        for place in (processor, getattr(processor, "image_processor", None)):
            count = getattr(place, name, None)
            for found in (features, features // WIDTH):
                if (
                    isinstance(count, int)
                    and count * found % tokens == 0
                    and count * found != 0
                    and count * found // tokens != count
                ):
                    setattr(place, name, count * found // tokens)
                    return True
    return False


def _layer_counts(
    values: dict[str, Any], path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], str, int]]:
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _layer_counts(value, (*path, name))
        elif name in ("num_hidden_layers", "depth", "num_layers", "n_layers") and isinstance(
            value, int
        ):
            found.append((path, name, value))
    return found


def _at(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for name in path:
        values = values[name]
    return values


def pinpoints(side: int) -> list[list[int]]:
    """Sizes that an image may be brought to before it is cut into tiles."""
    return [[side, 2 * side], [2 * side, side], [2 * side, 2 * side]]


def _images(values: dict[str, Any], patch: int | None = None) -> None:
    """Small images: a few patches along a side; rotary sections that add up to half a head."""
    patch = values.get("patch_size") if isinstance(values.get("patch_size"), int) else patch
    for value in values.values():
        if isinstance(value, dict):
            _images(value, patch)
            if "mrope_section" in value:
                value["mrope_section"] = [1, 1, 2]
    side = (patch or 8) * SIDE
    for name in ("image_size", "resolution"):
        if isinstance(values.get(name), int):
            values[name] = side
        elif isinstance(values.get(name), (list, tuple)):
            values[name] = [side, side]
    if values.get("image_grid_pinpoints"):
        side = (find(values.get("vision_config", {}), "patch_size") or 8) * SIDE
        values["image_grid_pinpoints"] = pinpoints(side)
    if isinstance(values.get("num_position_embeddings"), int):
        values["num_position_embeddings"] = 64


def find(values: Any, name: str) -> Any:
    """The first value of this name anywhere in a configuration."""
    if isinstance(values, dict):
        if values.get(name) is not None:
            return values[name]
        for value in values.values():
            if (found := find(value, name)) is not None:
                return found
    return None


def make_image_processor(cls: Any, config: Any) -> Any:
    values = config if isinstance(config, dict) else config.to_dict()
    vision = values.get("vision_config") or values
    patch = find(vision, "patch_size")
    patch = patch[0] if isinstance(patch, (list, tuple)) else patch or 8
    side = find(vision, "image_size")
    side = side[0] if isinstance(side, (list, tuple)) else side or patch * SIDE
    merge = find(values, "spatial_merge_size") or 2
    default = cls()
    changes: dict[str, Any] = {}
    for name in (
        "size",
        "crop_size",
        "max_image_size",
        "min_image_size",
        "high_res_size",
        "image_size",
    ):
        value = getattr(default, name, None)
        if value is None:
            continue
        value = dict(value) if not isinstance(value, int) else value
        if isinstance(value, int):
            changes[name] = side
        elif (
            {"shortest_edge", "longest_edge"} <= set(value)
            and value["longest_edge"]
            and value["longest_edge"] > 4000
        ):
            unit = (patch * merge) ** 2
            changes[name] = {"shortest_edge": unit, "longest_edge": 12 * unit}
        elif "longest_edge" in value and name == "size" and "shortest_edge" not in value:
            changes[name] = {"longest_edge": 2 * side}
        else:
            changes[name] = {n: side for n in value if value[n] is not None}
    for name, value in (
        ("patch_size", patch), ("merge_size", merge), ("spatial_merge_size", merge),
        ("min_pixels", (patch * merge) ** 2), ("max_pixels", 12 * (patch * merge) ** 2),
        ("image_grid_pinpoints", pinpoints(side)), ("tile_size", side), ("max_patches", 4),
        ("max_num_tiles", 4), ("max_image_tiles", 4), ("max_dynamic_patch", 4),
    ):  # fmt: skip
        old = getattr(default, name, None)
        if old is None:
            continue
        if isinstance(old, int) or name == "image_grid_pinpoints":
            changes[name] = value
        elif hasattr(old, "keys"):
            changes[name] = dict.fromkeys(old, value)
    return cls(**changes)


def sub_processor(attribute: str, kind: str, torchvision: bool) -> Any:
    from transformers.models.auto import (
        feature_extraction_auto,
        image_processing_auto,
        video_processing_auto,
    )

    kin = processor_class(kind).__module__.split(".")[2]
    for name in (kind, kin, kin.replace("_", "-")):
        if "image" in attribute:
            found = image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES.get(name)
        elif "video" in attribute:
            found = video_processing_auto.VIDEO_PROCESSOR_MAPPING_NAMES.get(name)
        else:
            found = feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING_NAMES.get(name)
        if isinstance(found, dict):
            found = found.get("torchvision" if torchvision else "pil") or next(iter(found.values()))
        if found and ("video" not in attribute or torchvision):
            return getattr(transformers, found)
    return None


def processor_class(kind: str) -> Any:
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    name = PROCESSOR_MAPPING_NAMES.get(kind) or OTHER_PROCESSORS.get(kind)
    return getattr(transformers, name) if name else None


#: processors of types for which transformers' own table names none
OTHER_PROCESSORS = {
    "fast_vlm": "LlavaProcessor",
    "glm_ocr": "Glm46VProcessor",
    "glmga": "Glm46VProcessor",
    "kosmos-2": "Kosmos2Processor",
    "kosmos-2.5": "Kosmos2_5Processor",
    "qwen2_5_omni_thinker": "Qwen2_5OmniProcessor",
    "qwen3_omni_moe_thinker": "Qwen3OmniMoeProcessor",
    "mistral4": "PixtralProcessor",
    "cosmos3_omni": "Qwen3VLProcessor",
}


def make_processor(kind: str, tokenizer: Any, config: dict[str, Any], torchvision: bool) -> Any:
    cls = processor_class(kind)
    parts: dict[str, Any] = {}
    for attribute in cls.get_attributes():
        if attribute == "tokenizer" or attribute.endswith("tokenizer"):
            parts[attribute] = tokenizer
            continue
        part = sub_processor(attribute, kind, torchvision)
        if part is None and "image" in attribute:
            part = getattr(
                transformers, "CLIPImageProcessor" if torchvision else "CLIPImageProcessorPil"
            )
        if part is None and "feature" in attribute:
            part = transformers.WhisperFeatureExtractor
        parts[attribute] = (
            make_image_processor(part, config)
            if part and "feature" not in attribute
            else (part() if part else None)
        )
    for part in parts.values():
        if (
            "ImageProcessor" in type(part).__name__
            and getattr(part, "image_seq_length", None) is None
        ):
            part.image_seq_length = SIDE * SIDE
    vision = config.get("vision_config") or config
    side = find(vision, "image_size")
    known = {
        "patch_size": find(vision, "patch_size") or 64,
        "downsample_rate": find(config, "downsample_rate"),
        "vision_feature_select_strategy": find(config, "vision_feature_select_strategy"),
        "spatial_merge_size": find(config, "spatial_merge_size"),
        "downsample_factor": find(config, "downsample_factor"),
        "num_additional_image_tokens": int(
            "clip" in str(find(vision, "model_type"))
            and "siglip" not in str(find(vision, "model_type"))
        ),
        "img_size": side,
        "image_size": side,
        "num_query_tokens": find(config, "num_query_tokens"),
        "image_seq_length": find(config, "mm_tokens_per_image") or find(config, "image_seq_length"),
        "num_image_tokens": find(config, "num_image_tokens") or SIDE * SIDE,
    }
    if known["vision_feature_select_strategy"] is None:
        known["vision_feature_select_strategy"] = "default"
    for name in inspect.signature(cls.__init__).parameters:
        if name in known and known[name] is not None:
            parts[name] = known[name]
    # Without torchvision there is no video processor, and processors refuse to be without.
    with mock.patch.object(cls, "check_argument_for_proper_class", return_value=None):
        processor = cls(**parts)
    for path, value in PROCESSOR_CHANGES.get(kind, {}).items():
        *parents, name = path.split(".")
        place = processor
        for parent in parents:
            place = getattr(place, parent)
        setattr(place, name, value)
    return processor


PROCESSOR_CHANGES: dict[str, dict[str, Any]] = {
    "aria": {
        "image_processor.max_image_size": 490,
        "image_processor.min_image_size": 336,
        "size_conversion": {490: 4, 980: 4},
    },
    "cohere2_vision": {"patch_size": SIDE // 2, "image_processor.patch_size": SIDE // 2},
    "ernie4_5_vl_moe": {"video_processor.draw_on_frames": False},
    "fast_vlm": {
        "image_processor.size": {"shortest_edge": 128},
        "image_processor.crop_size": {"height": 128, "width": 128},
    },
}


def soften(model: Any, seed: int, gain: float) -> None:
    """Weights of a size that lets image and caption decide, whatever the type's own start is."""
    torch.manual_seed(seed)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.is_floating_point():
                continue
            if id(parameter) in embeddings or "position_emb" in name:
                parameter.normal_(0, 0.5)
            elif parameter.ndim >= 2:
                fan_in = parameter[0].numel() if parameter.ndim != 3 else min(parameter.shape[1:])
                parameter.normal_(0, gain / max(fan_in, 1) ** 0.5)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))


TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ 'IMAGE' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)


def placeholders(processor: Any, own: dict[str, str], specials: list[str]) -> list[str]:
    """Texts that may stand for an image in a prompt of this processor, the likely ones first."""
    tokenizer = getattr(processor, "tokenizer", processor)
    found = [
        "",
        getattr(processor, "boi_token", None),
        getattr(processor, "image_token", None),
        getattr(tokenizer, "image_token", None),
        *own.values(),
        *specials,
    ]
    return list(
        dict.fromkeys(
            text if isinstance(text, str) else getattr(text, "content", None)
            for text in found
            if text is not None
        )
    )


def build(
    kind: str,
    *,
    torchvision: bool,
    seed: int = 0,
    changes: dict[str, Any] | None = None,
    gain: float = 1.6,
) -> tuple[Any, Any, list[str]]:
    """A model, its processor, and texts that may stand for the image."""
    cls = processor_class(kind)
    specials, own = special_tokens(kind, cls)
    config_class, model_class = classes_of(kind)
    stems = {stem for _, _, stem in _token_fields(config_class().to_dict())} - {
        "bos",
        "eos",
        "pad",
        "decoder_start",
        "",
        "sep",
    }
    specials += [f"<{stem}>" for stem in sorted(stems)]
    tokenizer = base_tokenizer(list(dict.fromkeys(specials)), own)
    changes = {**CHANGES.get(kind, {}), **(changes or {})}
    config = make_config(kind, tokenizer, None, own, changes)
    processor = make_processor(kind, tokenizer, config.to_dict(), torchvision) if cls else None
    config = make_config(kind, tokenizer, processor, own, changes)
    torch.manual_seed(seed)
    model = model_class(config).float()
    soften(model, seed, gain)
    return model.eval(), processor, placeholders(processor, own, specials)
