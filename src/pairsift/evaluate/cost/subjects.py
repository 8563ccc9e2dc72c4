"""What to measure: scorers by name, and CLIPScore in the shape of a published model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pairsift.errors import PairsiftError
from pairsift.evaluate.cost.clip_shapes import ClipShape
from pairsift.scorers.registry import check_scorer, entries, load_scorer, takes_option

if TYPE_CHECKING:
    from pairsift.scorers.base import Scorer


class Subject(Protocol):
    """Something to measure; picklable, and small until it is loaded."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def random_weights(self) -> bool:
        """Whether the weights are random, so that only the cost has a meaning."""

    def load(self) -> Scorer:
        """Load the scorer, in the process that measures it.

        Raises:
            PairsiftError: it cannot be loaded.
        """


@dataclass(frozen=True)
class NamedScorer:
    """A scorer given by its name or by the folder of a checkpoint.

    Attributes:
        options: passed to the scorer if it accepts them.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    random_weights = False

    def load(self) -> Scorer:
        taken = {k: v for k, v in self.options.items() if takes_option(self.name, k)}
        return load_scorer(self.name, **taken)


@dataclass(frozen=True)
class RandomClip:
    """CLIPScore of a shape with random weights."""

    shape: ClipShape
    options: Mapping[str, Any] = field(default_factory=dict)
    random_weights = True

    @property
    def name(self) -> str:
        return f"CLIPScore {self.shape.name}"

    def load(self) -> Scorer:
        from pairsift.evaluate.cost.clip_shapes import random_clip

        return random_clip(self.shape, **self.options)


def installed() -> tuple[list[str], dict[str, str]]:
    """Return the scorers that need no checkpoint, and why others are left out."""
    found: list[str] = []
    left_out: dict[str, str] = {}
    for name in entries():
        try:
            check_scorer(name)
        except (PairsiftError, ImportError) as error:  # a plug-in's dependencies may be missing
            left_out[name] = str(error)
        else:
            found.append(name)
    return found, left_out


def check_names(subjects: Sequence[Subject]) -> None:
    """Check that names are given and unique.

    Raises:
        PairsiftError: there is nothing to measure, or a name is given twice.
    """
    names = [subject.name for subject in subjects]
    if not names:
        raise PairsiftError("nothing to measure: give --scorer or --clip-shape")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PairsiftError(f"{twice} is given twice")
