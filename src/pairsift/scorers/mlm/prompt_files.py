"""Prompt packs on disk: TOML files, the built-in packs, and import of published prompts."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.metrics import BETTER, METRICS, Scale, known_metric
from pairsift.scorers.checkpoints import find_checkpoint
from pairsift.scorers.mlm.columns import score_columns
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PACK = "pairsift"
#: File beside a checkpoint or training data with the pack that belongs to it.
PACK_FILE = "pairsift-prompts.toml"
_KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str, "chat": str, "answer_tail": str, "instruction": str, "metrics": dict,
}  # fmt: skip
_METRIC_KEYS: dict[str, type | tuple[type, ...]] = {
    "aspect": str, "criteria": str, "title": str, "asks": str, "better": str,
    "instruction": str, "answers": (dict, list),
}  # fmt: skip

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
    if name in packaged_packs():
        packaged = resources.files("pairsift").joinpath("prompts", f"{name}.toml")
        return parse_pack(packaged.read_text("utf-8"), name)
    try:
        text = Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PairsiftError(
            f"cannot read prompt pack {name}: {error}; give a .toml file, or one of the packs "
            f"that come along: {', '.join(packaged_packs())}"
        ) from None
    return parse_pack(text, name)


def packaged_packs() -> tuple[str, ...]:
    """Names of the packs that come along, the default one first."""
    files = resources.files("pairsift").joinpath("prompts").iterdir()
    names = sorted(file.name[:-5] for file in files if file.name.endswith(".toml"))
    return tuple(sorted(names, key=lambda name: name != DEFAULT_PACK))


def recorded_prompts(folder: str | Path) -> PromptPack | None:
    """Return the pack beside a checkpoint or training data; None if there is none.

    Raises:
        PairsiftError: the file is not a pack.
    """
    path = Path(folder) / PACK_FILE
    return load_prompts(path) if path.is_file() else None


def pack_columns(options: Mapping[str, Any]) -> tuple[pa.Field, ...] | None:
    """The columns of the scorer ``mlm`` from its options, without its weights.

    A checkpoint may have a pack beside it: of one on the hub, the small files are downloaded.

    Returns:
        None if the checkpoint cannot be read here; loading it tells why.
    """
    pack = options.get("prompts")
    if pack is None:
        trained = options.get("adapter") or options.get("model")
        if trained is None:
            return None
        try:
            folder = find_checkpoint(str(trained), weights=False)
        except PairsiftError:
            return None
        pack = recorded_prompts(folder)
    return score_columns(load_prompts(pack).in_tables())


def parse_pack(text: str, source: str) -> PromptPack:
    """Read a pack from TOML text; ``source`` names it in errors.

    Raises:
        PairsiftError: it is not TOML, has an unknown or missing key, or an unknown metric.
    """
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PairsiftError(f"prompt pack {source} is not TOML: {error}") from None
    asked = raw.get("metrics")
    alone = (
        isinstance(asked, dict) and asked and all("instruction" in one for one in asked.values())
    )
    shared = () if alone else ("instruction",)
    _check(raw, _KEYS, source, required=("name", *shared, "metrics"))
    metrics = {metric: _read_metric(metric, raw["metrics"][metric], source)
               for metric in raw["metrics"]}  # fmt: skip
    try:
        return PromptPack(**{"instruction": "", **raw, "metrics": metrics})
    except PairsiftError as error:
        where = "" if source == raw["name"] else f"{source}: "
        raise PairsiftError(f"{where}{error}") from None


def _read_metric(metric: str, entry: Any, source: str) -> MetricPrompt:
    where = f"{source}: [metrics.{metric}]"
    if not isinstance(entry, dict):
        raise PairsiftError(f"prompt pack {where} must be a table of criteria, answers and so on")
    _check(entry, _METRIC_KEYS, where, required=("criteria",))
    values = {"aspect": known_metric(metric).aspect, **entry}
    if values.get("better", "higher") not in BETTER:
        raise PairsiftError(
            f"prompt pack {where}: better is {values['better']!r}; it may be {', '.join(BETTER)}"
        )
    if "answers" in values:
        try:
            values["scale"] = Scale.from_json(values.pop("answers"))
        except PairsiftError as error:
            raise PairsiftError(f"prompt pack {where}: answers: {error}") from None
    return MetricPrompt(**values)


def _check(
    raw: Mapping[str, Any],
    keys: Mapping[str, type | tuple[type, ...]],
    where: str,
    required: tuple[str, ...],
) -> None:
    for key, value in raw.items():
        if key not in keys:
            raise PairsiftError(
                f"prompt pack {where}: unknown key {key!r}; known keys: {', '.join(keys)}"
            )
        if not isinstance(value, keys[key]):
            raise PairsiftError(f"prompt pack {where}: {key} must be {_TYPES[keys[key]]}")
    missing = [key for key in required if key not in raw]
    if missing:
        raise PairsiftError(f"prompt pack {where}: {missing[0]} is missing")


_TYPES = {str: "a text", dict: "a table", (dict, list): "a table or a list"}


def dump_pack(pack: PromptPack) -> str:
    """Return the TOML text of a pack; :func:`parse_pack` gives the same pack back."""
    lines = [
        f"name = {_toml(pack.name)}",
        f"chat = {_toml(pack.chat)}",
        f"answer_tail = {_toml(pack.answer_tail)}",
        f"instruction = {_toml(pack.instruction)}",
    ]
    for metric, entry in pack.as_dict()["metrics"].items():
        lines += ["", f"[metrics.{metric}]"]
        lines += [f"{key} = {_toml_value(value)}" for key, value in entry.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    """A text, a number, or what :meth:`Scale.to_json` gives."""
    match value:
        case str():
            return _toml(value)
        case dict():
            inner = ", ".join(f"{key} = {_toml_value(entry)}" for key, entry in value.items())
            return f"{{ {inner} }}"
        case [{}, *_]:
            return "[\n" + "".join(f"  {_toml_value(entry)},\n" for entry in value) + "]"
        case list():
            return "[" + ", ".join(map(_one_line, value)) + "]"
    return json.dumps(value)


def _one_line(text: str) -> str:
    """A text on one line of TOML. JSON's escapes are TOML's, but DEL, which JSON leaves bare."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _toml(text: str) -> str:
    """A text in TOML."""
    quoted = _one_line(text)
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
