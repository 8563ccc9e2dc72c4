"""Prompt packs on disk: TOML files, the built-in packs, and import of published prompts."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PACK = "pairsift"
#: File beside a checkpoint or training data with the pack that belongs to it.
PACK_FILE = "pairsift-prompts.toml"
_KEYS = {"name": str, "chat": str, "answer_tail": str, "instruction": str, "metrics": dict}

# The older published script has "cation" in one of the names.
_REFERENCE_TEMPLATE = "LLAVA_INSTRUCTION_TEMPLATE"
_REFERENCE_CRITERIA = {
    "itm": ("criteria_image_text_matching",),
    "odf": ("criteria_object_detail_fulfillment",),
    "ctq": ("criteria_caption_text_quality", "criteria_cation_text_quality"),
    "su": ("criteria_semantic_understanding",),
}


def load_prompts(prompts: PromptPack | str | Path | None = None) -> PromptPack:
    """Return a prompt pack: as given, from a TOML file, or a built-in one by its name.

    Raises:
        PairsiftError: there is no such pack, or the file is not one.
    """
    if isinstance(prompts, PromptPack):
        return prompts
    name = str(prompts) if prompts is not None else DEFAULT_PACK
    packaged = resources.files("pairsift").joinpath("prompts", f"{name}.toml")
    if "/" not in name and packaged.is_file():
        return parse_pack(packaged.read_text("utf-8"), name)
    try:
        text = Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PairsiftError(
            f"cannot read prompt pack {name}: {error}; give a .toml file, "
            f"{DEFAULT_PACK!r} or 'compact'"
        ) from None
    return parse_pack(text, name)


def recorded_prompts(folder: str | Path) -> PromptPack | None:
    """Return the pack beside a checkpoint or training data; None if there is none.

    Raises:
        PairsiftError: the file is not a pack.
    """
    path = Path(folder) / PACK_FILE
    return load_prompts(path) if path.is_file() else None


def parse_pack(text: str, source: str) -> PromptPack:
    """Read a pack from TOML text; ``source`` names it in errors.

    Raises:
        PairsiftError: it is not TOML, has an unknown or missing key, or an unknown metric.
    """
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PairsiftError(f"prompt pack {source} is not TOML: {error}") from None
    _check(raw, _KEYS, source, required=("name", "instruction", "metrics"))
    metrics = {}
    for metric, entry in raw["metrics"].items():
        if metric not in METRICS:
            raise PairsiftError(
                f"prompt pack {source}: unknown metric {metric!r}; there are {', '.join(METRICS)}"
            )
        where = f"{source}: [metrics.{metric}]"
        if not isinstance(entry, dict):
            raise PairsiftError(f"prompt pack {where} must be a table of aspect and criteria")
        _check(entry, {"aspect": str, "criteria": str}, where, required=("criteria",))
        metrics[metric] = MetricPrompt(
            entry.get("aspect", METRICS[metric].aspect), entry["criteria"]
        )
    return PromptPack(**{**raw, "metrics": metrics})


def _check(
    raw: Mapping[str, Any], keys: Mapping[str, type], where: str, required: tuple[str, ...]
) -> None:
    for key, value in raw.items():
        if key not in keys:
            raise PairsiftError(
                f"prompt pack {where}: unknown key {key!r}; known keys: {', '.join(keys)}"
            )
        if not isinstance(value, keys[key]):
            raise PairsiftError(f"prompt pack {where}: {key} must be {keys[key].__name__}")
    missing = [key for key in required if key not in raw]
    if missing:
        raise PairsiftError(f"prompt pack {where}: {missing[0]} is missing")


def dump_pack(pack: PromptPack) -> str:
    """Return the TOML text of a pack; :func:`parse_pack` gives the same pack back."""
    lines = [
        f"name = {_toml(pack.name)}",
        f"chat = {_toml(pack.chat)}",
        f"answer_tail = {_toml(pack.answer_tail)}",
        f"instruction = {_toml(pack.instruction)}",
    ]
    for metric, prompt in pack.metrics.items():
        lines += [
            "",
            f"[metrics.{metric}]",
            f"aspect = {_toml(prompt.aspect)}",
            f"criteria = {_toml(prompt.criteria)}",
        ]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """Quote text for TOML. JSON's escapes are TOML's, except DEL, which JSON does not escape."""
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
    if "\n" not in text:
        return quoted
    # A multi-line string keeps line breaks readable; TOML ignores the first one after """.
    body = quoted[1:-1].replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\\\")
    return f'"""\n{body}"""'


def import_reference_prompts(path: str | Path, name: str | None = None) -> PromptPack:
    """Read the prompt constants from a published MLM-Filter inference script.

    The script is parsed but never executed: only assignments of plain string constants at module
    level are used.

    Raises:
        PairsiftError: the file is not Python, or a constant is missing.
    """
    path = Path(path)
    try:
        tree = ast.parse(path.read_text("utf-8"), filename=str(path))
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError) as error:
        raise PairsiftError(f"cannot read prompts from {path}: {error}") from None
    constants: dict[str, str] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Constant(value=str(text))):
                constants[target] = text
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.Constant(value=str(text))):
                constants[target] = text
    if _REFERENCE_TEMPLATE not in constants:
        raise PairsiftError(
            f"{path} holds no string constant {_REFERENCE_TEMPLATE} at module level; give a "
            "published MLM-Filter inference script (…_scoring_…_inference….py)"
        )
    metrics = {}
    for metric, spellings in _REFERENCE_CRITERIA.items():
        found = [constants[spelling] for spelling in spellings if spelling in constants]
        if not found:
            raise PairsiftError(f"{path} holds no string constant {spellings[0]} at module level")
        metrics[metric] = MetricPrompt(METRICS[metric].aspect, found[0])
    return PromptPack(
        name=name or path.stem, instruction=constants[_REFERENCE_TEMPLATE], metrics=metrics
    )
