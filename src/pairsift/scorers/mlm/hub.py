"""Checkpoints in the layout of transformers: `AutoModelForImageTextToText`, by architecture."""

from __future__ import annotations

import contextlib
import json
import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pairsift.errors import PairsiftError
from pairsift.printable import first_line
from pairsift.scorers.mlm.backbone import Backbone
from pairsift.scorers.mlm.families import FAMILIES, PROCESSORS
from pairsift.scorers.mlm.families.features import MODEL_TYPES, FeaturesBackbone, PaliGemmaBackbone
from pairsift.scorers.mlm.families.generic import GENERIC, keep_float32
from pairsift.scorers.mlm.families.processor import find_placeholder, load_processor

#: How a model may read a prompt, the quickest first.
WAYS = ("tree", *GENERIC)
_LISTED = 8
_BROKEN = (OSError, ValueError, RuntimeError, KeyError, SafetensorError, pickle.UnpicklingError)


def load_hub_backbone(
    folder: Path,
    config: Mapping[str, Any],
    *,
    adapter: Path | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Backbone:
    """Load a checkpoint folder as its quickest way alone; see :func:`hub_backbones`."""
    return next(hub_backbones(folder, config, adapter=adapter, dtype=dtype, device=device))


def hub_backbones(
    folder: Path,
    config: Mapping[str, Any],
    *,
    adapter: Path | None,
    dtype: torch.dtype,
    device: torch.device,
    way: str | None = None,
) -> Iterator[Backbone]:
    """Load a checkpoint folder, tokenizer and processor included, and read it in several ways.

    Args:
        way: one of :data:`WAYS`; None for all that may hold, the quickest first. All of them are
            of one and the same model.

    Raises:
        PairsiftError: a type that transformers does not list, a checkpoint that wants to run code
            of its own, a damaged or unsafe weight file, or tensors that do not match the
            architecture, which are listed.
    """
    kind = check_type(folder, config)
    pixtral = (config.get("vision_config") or {}).get("model_type") == "pixtral"
    family = None if pixtral else FAMILIES.get(kind)
    plain = kind in MODEL_TYPES or (kind == "llava" and pixtral)
    if way == "tree" and family is None and not plain:
        raise PairsiftError(
            f"{folder}: models of type {kind!r} are not read in the way 'tree'; leave out --way, "
            f"or choose {', '.join(GENERIC)}"
        )
    model = _load_model(folder, dtype)
    if adapter is not None:
        model = merge_adapter(model, adapter)
    model = model.to(device).eval().requires_grad_(False)
    tokenizer = load_tokenizer(folder)
    settings = read_settings(folder)
    if family is not None and way in (None, "tree"):
        yield family(model, tokenizer, _load_processor(folder, kind, settings), settings)
        return
    processor = load_processor(folder, tokenizer, lambda: _load_processor(folder, kind, settings))
    tokenizer = getattr(processor, "tokenizer", tokenizer)
    tokenizer.chat_template = tokenizer.chat_template or getattr(processor, "chat_template", None)
    encode = find_placeholder(processor, tokenizer, model)
    keep_float32(model)
    if plain and way in (None, "tree"):
        with contextlib.suppress(AttributeError):  # a model that is put together in another way
            tree = PaliGemmaBackbone if kind == "paligemma" else FeaturesBackbone
            yield tree(model, processor, tokenizer, encode)
    ways = list(GENERIC) if way is None else [way]
    if model.config.is_encoder_decoder and way is None:
        ways = ["whole"]
    for name in ways:
        if name in GENERIC:
            yield GENERIC[name](model, processor, tokenizer, encode)


def check_type(folder: Path, config: Mapping[str, Any]) -> str:
    """Return the model type, one of those that transformers lists as image-text-to-text.

    Raises:
        PairsiftError: it is none of them, or the checkpoint wants to run code of its own.
    """
    import transformers
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as LISTED,
    )

    kind = config.get("model_type")
    if kind in LISTED:
        return str(kind)
    if config.get("auto_map"):
        raise PairsiftError(
            f"{folder}: this checkpoint wants to run Python code of its own (auto_map in its "
            f"config.json), which Pairsift never does; transformers {transformers.__version__} "
            f"has no model type {kind!r} itself. Look for a version of it in the layout of "
            "transformers"
        )
    raise PairsiftError(
        f"{folder} holds a model of type {kind!r}, which transformers "
        f"{transformers.__version__} does not list as reading image and text; models that may be "
        "used are in docs/reference/models.md"
    )


def _load_model(folder: Path, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForImageTextToText

    try:
        with quiet():
            model, report = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below with the others
                trust_remote_code=False,
                local_files_only=True,
            )
    except pickle.UnpicklingError as error:
        raise PairsiftError(
            f"{folder}: a weight file is refused: it is a pickle that holds more than tensors, "
            f"which could run code ({first_line(error)}); if you trust it, make it safetensors"
        ) from None
    except _BROKEN as error:
        raise PairsiftError(f"cannot load {folder}: {first_line(error)}") from error
    check_tensors(
        folder,
        missing=report["missing_keys"],
        left_over=report["unexpected_keys"],
        misshapen=[entry[0] for entry in report["mismatched_keys"]],
    )
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars and reports of transformers; our errors say what is wrong."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def check_tensors(folder: Path, *, missing: Any, left_over: Any, misshapen: Any = ()) -> None:
    """Refuse a checkpoint whose tensors are not those of its architecture.

    Raises:
        PairsiftError: some do not match; the error lists them by name.
    """
    problems = [
        f"{what}: {_listed(names)}"
        for what, names in (
            ("missing", sorted(missing)),
            ("left over", sorted(left_over)),
            ("of another shape", sorted(misshapen)),
        )
        if names
    ]
    if problems:
        raise PairsiftError(
            f"{folder}: the tensors do not match the architecture in config.json; "
            + "; ".join(problems)
        )


def _listed(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def merge_adapter(model: Any, adapter: Path) -> Any:
    """Add a LoRA adapter to a model's own weights, so that scoring needs no extra time.

    Raises:
        PairsiftError: peft is not installed, or the adapter does not fit the model.
    """
    try:
        from peft import PeftModel
    except ImportError:
        raise PairsiftError("an adapter needs the package peft: pip install peft") from None
    try:
        with quiet(), warnings.catch_warnings():
            # peft only warns about an adapter with missing tensors.
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            warnings.simplefilter("ignore", FutureWarning)  # peft uses a name that is being changed
            wrapped = PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    except (*_BROKEN, UserWarning) as error:
        raise PairsiftError(
            f"cannot put adapter {adapter} on the model: {first_line(error)}"
        ) from error
    return wrapped.merge_and_unload()


def load_tokenizer(folder: Path) -> Any:
    """Return the checkpoint's tokenizer, with the chat template of its processor if it has none.

    Raises:
        PairsiftError: it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        template = folder / "chat_template.json"  # the file of older processors
        if not tokenizer.chat_template and template.is_file():
            tokenizer.chat_template = json.loads(template.read_text("utf-8"))["chat_template"]
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise PairsiftError(
            f"cannot read the tokenizer of {folder}: {first_line(error)}"
        ) from error
    return tokenizer


def _load_processor(folder: Path, kind: str, settings: Mapping[str, Any]) -> Any:
    """Return the image processor; unlike full processors, it does not need torchvision."""
    import transformers

    try:
        raw = settings.get("image_processor")
        if raw is None:
            raw = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
        name = _processor_name(raw.get("image_processor_type"), kind)
        return getattr(transformers, name).from_dict(raw)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise PairsiftError(
            f"cannot read the image processor of {folder} (preprocessor_config.json): "
            f"{first_line(error)}"
        ) from error


def _processor_name(named: str | None, kind: str) -> str:
    """Map ``CLIPImageProcessor`` and ``CLIPImageProcessorFast`` to ``CLIPImageProcessorPil``."""
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    if not named and kind not in PROCESSORS:
        found = IMAGE_PROCESSOR_MAPPING_NAMES.get(kind) or {}
        named = found.get("pil") or found.get("torchvision") or ""
    name = (named or PROCESSORS[kind]).removesuffix("Fast").removesuffix("Pil")
    return f"{name}Pil"


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the contents of ``processor_config.json``; empty if there is none.

    Raises:
        PairsiftError: it is broken.
    """
    path = folder / "processor_config.json"
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PairsiftError(f"cannot read {path}: {error}") from None
    return settings if isinstance(settings, dict) else {}
