"""The file of `pairsift run`: a section for each step, TOML or YAML; unknown keys are refused.

The keys of a section are the fields of the step's options, see :mod:`pairsift.options`.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pairsift.errors import PairsiftError
from pairsift.options import (
    Commas,
    DedupOptions,
    NegClipLossOptions,
    NormSimOptions,
    ReportOptions,
    ScoreOptions,
    SelectOptions,
    SemanticDuplicatesOptions,
    WriteOptions,
)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a run. Everything is written below `out`.

    Attributes:
        write: options of the step; the paths of its outputs are below `out`.
    """

    out: str
    score: ScoreOptions
    # By name only, because they are newer than the others.
    dedup: DedupOptions | None = field(default=None, kw_only=True)
    normsim: NormSimOptions | None = field(default=None, kw_only=True)
    neg_clip_loss: NegClipLossOptions | None = field(default=None, kw_only=True)
    semantic_duplicates: SemanticDuplicatesOptions | None = field(default=None, kw_only=True)
    select: SelectOptions | None = None
    write: WriteOptions | None = None
    report: ReportOptions | None = None


def read_config(path: str | Path) -> Config:
    """Read a run's configuration.

    Raises:
        PairsiftError: the file does not exist, is not TOML or YAML, or has an unknown section, an
            unknown key, a value of a wrong type, or lacks a required key.
    """
    path = Path(path)
    config = _build(Config, _parse(path), str(path))
    if config.write is not None and config.select is None:
        raise PairsiftError(f"{path}: [write] needs a [select] that says what to write")
    return config


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PairsiftError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise PairsiftError(f"{path} is not UTF-8: {error}") from None
    if path.suffix in (".yaml", ".yml"):
        import yaml

        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise PairsiftError(f"{path} is not valid YAML: {error}") from None
    elif path.suffix == ".toml":
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib

        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise PairsiftError(f"{path} is not valid TOML: {error}") from None
    else:
        raise PairsiftError(f"{path}: the file's name must end in .toml, .yaml or .yml")
    if not isinstance(content, Mapping):
        raise PairsiftError(f"{path}: the file must have sections with keys, not a single value")
    return content


def _outputs(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Replace true by a path below the run's `out` for each output of ``[write]``."""
    from pairsift.writers.registry import BUILT_IN

    named = dict(values)
    for entry in BUILT_IN:
        value = named.get(entry.name)
        if isinstance(value, str):
            raise PairsiftError(
                f"{where}: {entry.name} = {value!r}: give true; it is written to "
                f"{entry.file} below `out`"
            )
        if isinstance(value, bool):
            named[entry.name] = entry.file if value else None
    return named


def _scorer_options(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Move ``[score.options]``, which older files have, into ``[score]``."""
    given = dict(values)
    old = given.pop("options", None) or {}
    if not isinstance(old, Mapping):
        raise PairsiftError(f"{where}: options: a section with keys is needed, not {old!r}")
    own = {field.name for field in dataclasses.fields(ScoreOptions)}
    others = {name: value for name, value in old.items() if name not in own}
    if others:
        given["scorer_option"] = {**others, **(given.get("scorer_option") or {})}
    return {name: value for name, value in old.items() if name in own} | given


_PREPARE = {WriteOptions: _outputs, ScoreOptions: _scorer_options}
Section = TypeVar("Section")


def _build(section: type[Section], values: Any, where: str) -> Section:
    """Make a dataclass from a mapping; check names and types."""
    if not isinstance(values, Mapping):
        raise PairsiftError(f"{where}: a section with keys is needed, not {values!r}")
    if section in _PREPARE:
        values = _PREPARE[section](values, where)
    hints = get_type_hints(section, include_extras=True)
    for key in values:
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise PairsiftError(f"{where}: unknown key {key!r}; {hint}known: {', '.join(hints)}")
    for item in dataclasses.fields(section):  # type: ignore[arg-type]
        is_needed = dataclasses.MISSING is item.default is item.default_factory
        if is_needed and item.name not in values:
            raise PairsiftError(f"{where}: {item.name!r} is missing")
    return section(
        **{key: _convert(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    )


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Convert a value to a field's type and check its limits."""
    from pydantic import TypeAdapter, ValidationError

    sections = [kind for kind in (hint, *get_args(hint)) if _is_section(kind)]
    if sections:
        section: Any = sections[0]
        is_left_out = value is None and section is not hint
        return None if is_left_out else _build(section, value, where)
    kind = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    if get_origin(kind) is tuple:  # a single text stands for a list, as on the command line
        if isinstance(value, str):
            notes = getattr(hint, "__metadata__", ())
            several = any(isinstance(note, Commas) for note in notes)
            value = [part.strip() for part in value.split(",")] if several else [value]
        value = tuple(value or ())
    try:
        return TypeAdapter(hint).validate_python(value, strict=True)
    except (ValidationError, TypeError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise PairsiftError(f"{where} = {value!r}: {told[:1].lower()}{told[1:]}") from None
