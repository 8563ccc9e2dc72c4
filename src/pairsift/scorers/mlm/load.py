"""Load a scorer from a checkpoint folder or hub name. Code in a checkpoint is never run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from pairsift.errors import PairsiftError
from pairsift.images import ImageLimits
from pairsift.scorers.checkpoints import checkpoint_digest, find_checkpoint
from pairsift.scorers.mlm.backbone import Backbone
from pairsift.scorers.mlm.hub import WAYS, check_type, hub_backbones
from pairsift.scorers.mlm.legacy.config import is_legacy
from pairsift.scorers.mlm.packing import Layout
from pairsift.scorers.mlm.prompt_files import load_prompts, recorded_prompts
from pairsift.scorers.mlm.prompts import PromptPack, pack_metrics
from pairsift.scorers.mlm.scorer import DEFAULT_LAYOUT, MLMScorer
from pairsift.scorers.mlm.ways import quickest
from pairsift.scorers.placement import pick_device, pick_dtype

ADAPTER_CONFIG = "adapter_config.json"


def load_mlm_scorer(
    model: str | Path,
    *,
    metrics: str | Iterable[str] | None = None,
    prompts: PromptPack | str | Path | None = None,
    vision_tower: str | Path | None = None,
    adapter: str | Path | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    reference_quirks: bool = False,
    layout: Layout = DEFAULT_LAYOUT,
    way: str | None = None,
    compile: bool | str = False,
    limits: ImageLimits | None = None,
) -> MLMScorer:
    """Load a multimodal language model as a scorer.

    Args:
        model: checkpoint folder or hub name, also NAME@REVISION: an
            ``AutoModelForImageTextToText`` checkpoint, a legacy LLaVA one such as the published
            MLM-Filters, or a LoRA adapter that names its base model, such as
            ``pairsift train --lora`` writes.
        metrics: names, joined by commas or as a sequence; None for all of the prompt pack.
        prompts: a prompt pack, its TOML file, the name of one that comes along, or None for the
            one recorded beside the checkpoint, or else Pairsift's own.
        vision_tower: folder or hub name of the tower, for legacy checkpoints without one.
        adapter: folder or hub name of a LoRA adapter (``peft``) to merge into the model.
        dtype: ``auto`` is bfloat16 on GPUs that support it, else float32.
        device: ``auto`` is the GPU if there is one.
        reference_quirks: use the model as its published inference code does, quirks included.
        layout: whether the metrics' suffixes share a forward pass.
        way: how the model reads a prompt: ``tree``, ``cache``, ``prompt`` or ``whole``, the
            quickest first; None takes the quickest that holds for the model.
        compile: compile the language model with PyTorch before the first batch; in the way
            ``tree`` only. It takes minutes, and changes scores as another dtype's rounding would.
        limits: images above them are refused as too large.

    Raises:
        PairsiftError: the checkpoint cannot be read, is of an unsupported kind, or its tensors do
            not match its architecture; these are listed.
    """
    where = pick_device(device)
    kind = pick_dtype(dtype, where)
    folder = find_checkpoint(str(model), check=_check_before_weights)
    trained = folder
    if adapter is not None:
        adapter = trained = find_checkpoint(str(adapter), "LoRA adapter")
    elif is_adapter(folder):
        adapter, folder = folder, find_checkpoint(adapter_base(folder), "adapter's base model")
    pack = recorded_prompts(trained) if prompts is None else None
    pack = pack or load_prompts(prompts)
    asked = pack_metrics(pack, metrics)
    compiles = _is_true("compile", compile)
    backbones, facts = _load_backbones(
        folder, vision_tower, adapter, kind, where, reference_quirks, way
    )

    def scorer(backbone: Backbone) -> MLMScorer:
        if reference_quirks and backbone.quirks is None:
            raise PairsiftError(
                f"{model}: no published code is known for this kind of checkpoint "
                f"({backbone.kind}); leave out --reference-quirks"
            )
        return MLMScorer(
            backbone,
            pack,
            asked,
            layout=layout,
            quirks=backbone.quirks if reference_quirks else None,
            fingerprint={
                "model_type": backbone.kind,
                **facts,
                **({"compiled": f"torch {torch.__version__}"} if compiles else {}),
            },
            limits=limits,
        )

    found = quickest(map(scorer, backbones))
    if compiles:
        found.backbone.compile()
    return found


def _is_true(name: str, value: bool | str) -> bool:
    """Read an option that may come from the command line."""
    if str(value).lower() not in ("true", "false"):
        raise PairsiftError(f"scorer option {name} is {value!r}; give true or false")
    return str(value).lower() == "true"


def _load_backbones(
    folder: Path,
    vision_tower: str | Path | None,
    adapter: Path | None,
    dtype: torch.dtype,
    device: torch.device,
    reference_quirks: bool,
    way: str | None,
) -> tuple[Iterator[Backbone], dict[str, str]]:
    """Return the model, in the ways it may be read, and its files' digests for the fingerprint."""
    if way is not None and way not in WAYS:
        raise PairsiftError(f"unknown way {way!r}; choose {', '.join(WAYS)}")
    if is_legacy(folder):
        from pairsift.scorers.mlm.legacy.backbone import legacy_digest, load_legacy_backbone

        if adapter is not None:
            raise PairsiftError(
                f"{folder} is a legacy LLaVA checkpoint, which takes no --adapter; "
                "adapters go onto the models of transformers"
            )
        legacy = load_legacy_backbone(
            folder,
            vision_tower=None if vision_tower is None else str(vision_tower),
            dtype=dtype,
            device=device,
            reference_quirks=reference_quirks,
        )
        if way not in (None, legacy.way):
            raise PairsiftError(f"{folder} is a legacy LLaVA checkpoint, read as {legacy.way!r}")
        return iter([legacy]), {"checkpoint": legacy_digest(legacy.model)}
    if vision_tower is not None:
        raise PairsiftError(f"{folder} has its own vision tower; leave out --vision-tower")
    facts = {"checkpoint": checkpoint_digest(folder)}
    if adapter is not None:
        facts["adapter"] = checkpoint_digest(adapter)
    backbones = hub_backbones(
        folder, read_config(folder), adapter=adapter, dtype=dtype, device=device, way=way
    )
    return backbones, facts


def _check_before_weights(folder: Path) -> None:
    """Refuse a model that cannot be used before its weights are fetched."""
    if not is_adapter(folder) and not is_legacy(folder):
        check_type(folder, read_config(folder))


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds a LoRA adapter without a model."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").exists()


def adapter_base(folder: Path) -> str:
    """Return the folder or hub name of the model for which an adapter was made.

    Raises:
        PairsiftError: the adapter does not name one.
    """
    path = folder / ADAPTER_CONFIG
    try:
        base = json.loads(path.read_text("utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise PairsiftError(
            f"{path} names no base model; give it as the model, and {folder} as the adapter"
        )
    return base


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of config.json.

    Raises:
        PairsiftError: it is missing or broken.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise PairsiftError(f"{folder} has no config.json; is it a checkpoint folder?") from None
    except (OSError, ValueError) as error:
        raise PairsiftError(f"cannot read {path}: {error}") from None
    if not isinstance(config, dict):
        raise PairsiftError(f"{path} is not a JSON object")
    return config
