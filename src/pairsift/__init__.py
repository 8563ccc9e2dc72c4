"""Pairsift selects the image-text pairs that are worth training on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pairsift import moved
from pairsift.errors import PairsiftError
from pairsift.pair import Fault, Pair, Status

if TYPE_CHECKING:
    from pairsift.scorers.registry import load_scorer

__version__ = "0.1.0"
__all__ = ["Fault", "Pair", "PairsiftError", "Status", "__version__", "load_scorer"]

moved.install()


def __getattr__(name: str) -> Any:
    # Scorers import pyarrow and numpy, so they are imported on first use.
    if name == "load_scorer":
        from pairsift.scorers.registry import load_scorer

        return load_scorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
