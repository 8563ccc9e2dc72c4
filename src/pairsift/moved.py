"""Old names of modules and of their content, which keep working with a warning for one version."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Old module: its new place, and its old names with their new ones.
MOVED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "pairsift.evaluate.captions": ("pairsift.sources.caption_files", {}),
    "pairsift.evaluate.images": ("pairsift.sources.image_store", {}),
    "pairsift.evaluate.scoring": ("pairsift.engines.named_pairs", {}),
    "pairsift.evaluate.tables": ("pairsift.sources.tables", {}),
    "pairsift.extents": (
        "pairsift.byte_ranges",
        {
            "EXTENTS_KEY": "BYTE_RANGES_KEY",
            "decode_extents": "decode_byte_ranges",
            "encode_extents": "encode_byte_ranges",
        },
    ),
    "pairsift.scorers.cascade": ("pairsift.cascade", {}),
    "pairsift.scorers.cascade.calibrate": ("pairsift.cascade.calibrate", {}),
    "pairsift.scorers.cascade.columns": ("pairsift.cascade.columns", {}),
    "pairsift.scorers.cascade.draw": ("pairsift.cascade.sampling", {}),
    "pairsift.scorers.cascade.making": ("pairsift.cascade.planning", {"Wish": "PlanRequest"}),
    "pairsift.scorers.cascade.plan": (
        "pairsift.cascade.plan",
        {"Reading": "Stage", "Rule": "Thresholds"},
    ),
    "pairsift.scorers.cascade.scorer": (
        "pairsift.cascade.scorer",
        {"load_reading": "load_stage"},
    ),
    "pairsift.scorers.mlm.tiny_captions": ("pairsift.scorers.mlm.tiny.captions", {}),
    "pairsift.scorers.mlm.tiny_glance": ("pairsift.scorers.mlm.tiny.glance", {}),
    "pairsift.scorers.mlm.tiny_images": ("pairsift.scorers.mlm.tiny.encoded", {}),
    "pairsift.scorers.mlm.tiny_inputs": ("pairsift.scorers.mlm.tiny.inputs", {}),
    "pairsift.scorers.mlm.tiny_preprocess": ("pairsift.scorers.mlm.tiny.preprocess", {}),
    "pairsift.scorers.mlm.tiny_scorer": ("pairsift.scorers.mlm.tiny.scorer", {}),
    "pairsift.scorers.mlm.tiny_weights": ("pairsift.scorers.mlm.tiny.weights", {}),
    "pairsift.select.expression": ("pairsift.expressions.compiler", {}),
    "pairsift.select.rows": ("pairsift.expressions.rows", {}),
    "pairsift.teach.words": ("pairsift.teach.lexicon", {}),
    "pairsift.train.parts": ("pairsift.train.param_groups", {}),
    "pairsift.writers.claim": ("pairsift.writers.manifest", {"Claim": "OutputManifest"}),
    "pairsift.writers.origin": ("pairsift.provenance", {}),
    "pairsift.select.beside": ("pairsift.cascade.report", {}),
}


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` (PEP 562) that knows the old names of what it holds.

    Args:
        module: its ``__name__``.
        names: old name to new, the latter with its module.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        now = names[name]
        warnings.warn(
            f"{module}.{name} is now {now}; the old name goes with the next version",
            DeprecationWarning,
            stacklevel=2,
        )
        home, _, new = now.rpartition(".")
        return getattr(importlib.import_module(home), new)

    return find


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MOVED:
            return None
        is_package = any(name.startswith(f"{fullname}.") for name in MOVED)
        return ModuleSpec(fullname, self, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        home, renamed = MOVED[module.__name__]
        warnings.warn(
            f"{module.__name__} is now {home}; the next version removes the old name",
            DeprecationWarning,
            stacklevel=2,
        )

        def find(name: str) -> Any:
            return getattr(importlib.import_module(home), renamed.get(name, name))

        vars(module)["__getattr__"] = find


def install() -> None:
    """Make old names importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        # Before the other finders, which would take a left-over folder (__pycache__) for a package.
        sys.meta_path.insert(0, _Finder())
