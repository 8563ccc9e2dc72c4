"""The file of `pairsift run`: one section a step, TOML or YAML, nothing unknown let through."""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pairsift.errors import PairsiftError


@dataclass(frozen=True, slots=True)
class ScoreSection:
    """Options of `pairsift score`; `options` go to the scorer as they are."""

    shards: list[str]
    scorer: str = "pairsift-tiny"
    kind: str | None = None
    caption_field: str | None = None
    image_field: str | None = None
    captions_file: str | None = None
    separator: str | None = None
    encoding: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    max_failure_rate: float = 0.05
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SelectSection:
    """Options of `pairsift select`."""

    where: str | None = None
    top: float | None = None
    count: int | None = None
    by: str | None = None
    per: str | None = None
    seed: int = 0
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class WriteSection:
    """Which of the writers run; see `pairsift write`."""

    datacomp: bool = False
    webdataset: bool = False
    samples_per_shard: int = 10_000
    add_scores: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ReportSection:
    """Options of `pairsift report`."""

    title: str = ""
    gallery_size: int = 12


@dataclass(frozen=True, slots=True)
class Config:
    """A whole run. Everything is written below `out`."""

    out: str
    score: ScoreSection
    select: SelectSection | None = None
    write: WriteSection | None = None
    report: ReportSection | None = None


def read_config(path: str | Path) -> Config:
    """Read a run's configuration.

    Raises:
        PairsiftError: the file is not there, is not TOML or YAML, or has an unknown section, an
            unknown key, a value of the wrong type, or lacks one that is needed.
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
        raise PairsiftError(f"{path}: sections and keys are needed, not a bare value")
    return content


Section = TypeVar("Section")


def _build(section: type[Section], values: Mapping[str, Any], where: str) -> Section:
    """Make a dataclass from a mapping, checking names and types."""
    if not isinstance(values, Mapping):
        raise PairsiftError(f"{where}: a section with keys is needed, not {values!r}")
    hints = get_type_hints(section)
    for key in values:
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise PairsiftError(f"{where}: unknown key {key!r}; {hint}known: {', '.join(hints)}")
    fields = dataclasses.fields(section)  # type: ignore[arg-type]
    needed = {
        item.name
        for item in fields
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    }
    if missing := sorted(needed - values.keys()):
        raise PairsiftError(f"{where}: {missing[0]!r} is missing")
    return section(
        **{key: _convert(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    )


def _convert(hint: Any, value: Any, where: str) -> Any:
    options = [option for option in get_args(hint) if option is not type(None)]
    is_union = get_origin(hint) is Union or type(hint).__name__ == "UnionType"
    if is_union:
        if value is None:
            return None
        hint = options[0]
    if dataclasses.is_dataclass(hint):
        return _build(hint, value if value is not None else {}, where)  # type: ignore[arg-type]
    if get_origin(hint) is list:
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        raise PairsiftError(f"{where} must be a text or a list of texts, not {value!r}")
    expected = get_origin(hint) or hint
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise PairsiftError(f"{where} must be of type {expected.__name__}, not {value!r}")
    return value
