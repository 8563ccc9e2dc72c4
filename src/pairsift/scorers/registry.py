"""Find scorers and load them by name or from a checkpoint folder."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairsift.errors import PairsiftError

if TYPE_CHECKING:
    import pyarrow as pa

    from pairsift.scorers.base import Scorer
    from pairsift.select.agreement import Audit

PLUGIN_GROUP = "pairsift.scorers"


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered scorer. Its module is imported only when it is used.

    Attributes:
        factory: "module:callable" that makes the scorer from its options.
        columns: "module:callable" that gives its columns from its options, without the model; it
            gives None if these do not tell.
        audit: "module:callable" that makes a :class:`pairsift.select.agreement.Audit` from the
            fingerprint of its score tables, if some rows are scored differently.
    """

    name: str
    summary: str
    factory: str
    columns: str | None = None
    audit: str | None = None

    def load(self) -> Callable[..., Scorer]:
        """Import the factory."""
        factory: Callable[..., Scorer] = _import(self.factory)
        return factory


def _import(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


_PACK_COLUMNS = "pairsift.scorers.mlm.prompt_files:pack_columns"


_BUILT_IN = (
    Entry(
        "pairsift-tiny",
        "the embedded filter: itm, odf, ctq, su (default)",
        "pairsift.scorers.mlm.tiny.scorer:load_tiny_scorer",
        "pairsift.scorers.mlm.tiny.scorer:tiny_columns",
    ),
    Entry(
        "mlm",
        "any image-text-to-text model of the hub, or a published MLM-Filter (--model NAME)",
        "pairsift.scorers.mlm.load:load_mlm_scorer",
        _PACK_COLUMNS,
    ),
    Entry(
        "vllm",
        "a multimodal model on a vLLM server (--model URL#NAME)",
        "pairsift.scorers.vllm:load_vllm_scorer",
        "pairsift.scorers.vllm:served_columns",
    ),
    Entry(
        "classifier",
        "legacy LLaVA with a score head, such as UniFilter (--model)",
        "pairsift.scorers.mlm.classifier:load_classifier",
    ),
    Entry(
        "clip",
        "CLIPScore of a CLIP or SigLIP checkpoint (--model)",
        "pairsift.scorers.clip:load_clip_scorer",
        "pairsift.scorers.clip:clip_columns",
    ),
    Entry(
        "dual-encoder",
        "cosine of image and caption by the embedded filter's encoders, as a baseline",
        "pairsift.scorers.dual_encoder:load_dual_encoder",
    ),
    Entry(
        "tiny-glance",
        "pairsift-tiny before its language model: a guess at itm, to put before it in a cascade",
        "pairsift.scorers.mlm.tiny.glance:load_tiny_glance",
    ),
    Entry(
        "cascade",
        "cheap scorers first, the full one only for pairs that they cannot decide (--plan)",
        "pairsift.cascade.scorer:load_cascade",
        audit="pairsift.cascade.audit:CascadeAudit",
    ),
    Entry(
        "heuristics",
        "caption length, image size, aspect ratio, language; DataComp's basic filter",
        "pairsift.scorers.heuristics:HeuristicsScorer",
    ),
    Entry(
        "hashes",
        "hashes of image and caption, by which `pairsift dedup` finds copies",
        "pairsift.scorers.hashes:HashesScorer",
    ),
)

_SCORER_OF_MODEL_TYPE = {"pairsift-tiny": "pairsift-tiny", "clip": "clip", "siglip": "clip"}


def entries() -> dict[str, Entry]:
    """Return built-in scorers, and those of `pairsift.scorers` entry points."""
    found = {
        plugin.name: Entry(plugin.name, f"from {plugin.value}", plugin.value)
        for plugin in entry_points(group=PLUGIN_GROUP)
    }
    return found | {entry.name: entry for entry in _BUILT_IN}


def check_scorer(
    name_or_path: str | os.PathLike[str],
    *,
    mark_out_of_scope: bool = False,
    languages: str | Iterable[str] | None = None,
    hashes: bool = False,
    caption_index: bool = False,
    carry: Iterable[str] = (),
    **options: Any,
) -> None:
    """Check name and options without loading a model, for a scorer that is loaded later.

    Raises:
        PairsiftError: there is no such scorer, or an option is unknown.
    """
    given = os.fspath(name_or_path)
    name = _resolve(given)
    if name != given:
        options["model"] = given
    _check_marking(mark_out_of_scope, languages)
    if carry:
        _import("pairsift.scorers.carried_fields:parse_carried")(carry)
    _check_options(name, entries()[name].load(), options)


def takes_option(name_or_path: str | os.PathLike[str], option: str) -> bool:
    """Return whether a scorer has an option with this name.

    Raises:
        PairsiftError: there is no such scorer.
    """
    factory = entries()[_resolve(os.fspath(name_or_path))].load()
    return option in inspect.signature(factory).parameters


def known_columns(
    name_or_path: str | os.PathLike[str],
    *,
    mark_out_of_scope: bool = False,
    hashes: bool = False,
    caption_index: bool = False,
    carry: Iterable[str] = (),
    **options: Any,
) -> tuple[pa.Field, ...] | None:
    """Return a scorer's columns without loading its model; None if that is not possible.

    Takes the options of :func:`load_scorer`: a prompt pack has columns of its own.

    Raises:
        PairsiftError: there is no such scorer.
    """
    given = os.fspath(name_or_path)
    name = _resolve(given)
    entry = entries()[name]
    if entry.columns is None:
        return None
    if name != given:
        options["model"] = given
    columns: tuple[pa.Field, ...] | None = _import(entry.columns)(options)
    if columns is None:
        return None
    if hashes:
        columns += _import("pairsift.hashing:HASH_FIELDS")
    if caption_index:
        columns = (*_import("pairsift.scorers.caption_index:COLUMNS"), *columns)
    if mark_out_of_scope:
        columns += _import("pairsift.scorers.marking:COLUMNS")
    if carry:
        fields = _import("pairsift.scorers.carried_fields:parse_carried")(carry)
        columns += _import("pairsift.scorers.carrier:carried_columns")(fields)
    return columns


def find_audit(fingerprint: Mapping[str, str]) -> Audit | None:
    """Return the audit of score tables with this fingerprint; None if all rows are scored alike."""
    entry = entries().get(fingerprint.get("scorer", ""))
    if entry is None or entry.audit is None:
        return None
    audit: Audit = _import(entry.audit)(fingerprint)
    return audit


def load_scorer(
    name_or_path: str | os.PathLike[str] = "pairsift-tiny",
    *,
    mark_out_of_scope: bool = False,
    languages: str | Iterable[str] | None = None,
    hashes: bool = False,
    caption_index: bool = False,
    carry: Iterable[str] = (),
    **options: Any,
) -> Scorer:
    """Load a scorer by name, or from the folder of a checkpoint.

    Args:
        name_or_path: name of a scorer, as `pairsift score --scorer` takes it, or a folder that
            holds a checkpoint; by default the embedded filter.
        mark_out_of_scope: add the columns of :class:`pairsift.scorers.marking.ScopeMarker`, which
            mark captions in languages, and images of kinds, that the scorer was not trained for.
        languages: for `mark_out_of_scope`, the ISO 639 codes of the languages that the scorer
            reads, as a sequence or joined by commas; None takes those that it declares.
        hashes: add the columns of :class:`pairsift.scorers.hashes.HashMarker`, by which copies are
            found.
        caption_index: add the column of :class:`pairsift.scorers.caption_index.CaptionIndexer`, for
            pairs that are several captions of one sample.
        carry: fields of the samples to add as columns, with their types: ``url:text``; see
            :class:`pairsift.scorers.carrier.Carrier`.
        options: passed to the scorer: `model`, `metrics`, `prompts`, `vision_tower`, `dtype`,
            `device`, `reference_quirks`, ...; None and False mean the scorer's default.

    Returns:
        the scorer, ready to score.

    Raises:
        PairsiftError: there is no such scorer, it does not take an option, or the checkpoint
            cannot be read.

    Examples:
        >>> scorer = load_scorer("heuristics")
        >>> [field.name for field in scorer.columns][:3]
        ['caption_words', 'caption_characters', 'smaller_side']
    """
    given = os.fspath(name_or_path)
    # Compared by identity, because 0 is a value.
    options = {
        key: value for key, value in options.items() if value is not None and value is not False
    }
    name = _resolve(given)
    if name != given:
        options["model"] = given
    named = _check_marking(mark_out_of_scope, languages)
    factory = entries()[name].load()
    _check_options(name, factory, options)
    scorer = factory(**options)
    if hashes:
        from pairsift.scorers.hashes import HashMarker

        scorer = HashMarker(scorer)
    if caption_index:
        from pairsift.scorers.caption_index import CaptionIndexer

        scorer = CaptionIndexer(scorer)
    if mark_out_of_scope:
        from pairsift.scorers.marking import ScopeMarker

        scorer = ScopeMarker(scorer, named)
    if carry:  # last, because it also fills the rows of pairs that fail
        from pairsift.scorers.carrier import Carrier

        scorer = Carrier(scorer, carry)
    return scorer


def _check_marking(marked: bool, languages: str | Iterable[str] | None) -> list[str]:
    """Return the languages as a list."""
    given = languages.split(",") if isinstance(languages, str) else languages or ()
    named = [name.strip().lower() for name in given]
    if named and not marked:
        raise PairsiftError(
            "languages are only used with --mark-out-of-scope; give that option too"
        )
    for name in named:
        if not re.fullmatch("[a-z]{2,3}", name):
            raise PairsiftError(f"{name!r} is not an ISO 639 code such as en, de, zh")
    return named


def _resolve(name: str) -> str:
    """Return the name of the scorer for a name or a checkpoint folder."""
    known = entries()
    if name not in known and Path(name).is_dir():
        return _scorer_for_checkpoint(Path(name))
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise PairsiftError(
            f"no scorer {name!r}: {hint}choose from {', '.join(known)}, "
            "or give the folder of a checkpoint"
        )
    return name


def _check_options(name: str, factory: Callable[..., Any], options: dict[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            takes = ", ".join(parameters) or "none"
            raise PairsiftError(f"scorer {name!r} takes no option {option!r}; it takes: {takes}")
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise PairsiftError(f"scorer {name!r} needs the option {option!r} (--{option})")


def _scorer_for_checkpoint(folder: Path) -> str:
    """Return the name of the scorer that reads a checkpoint, from its files."""
    config = folder / "config.json"
    try:
        model_type = json.loads(config.read_text("utf-8")).get("model_type")
    except FileNotFoundError:
        if (folder / "adapter_config.json").is_file():
            return "mlm"
        raise PairsiftError(
            f"{folder} has no config.json; give the folder of a checkpoint"
        ) from None
    except (ValueError, AttributeError, OSError) as error:
        raise PairsiftError(f"{config} is not a readable model configuration: {error}") from None
    if model_type in _SCORER_OF_MODEL_TYPE:
        return _SCORER_OF_MODEL_TYPE[model_type]
    from pairsift.scorers.mlm.legacy.config import is_legacy
    from pairsift.scorers.weights import Weights

    if is_legacy(folder) and "score.weight" in Weights(folder):
        return "classifier"
    return "mlm"
