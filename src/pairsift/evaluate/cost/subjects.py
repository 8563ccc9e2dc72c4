"""What is measured: scorers by name, and CLIPScore in the shape of a published model."""

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
    """Something to measure; picklable, and light until it is loaded."""

    @property
    def name(self) -> str:
        """For tables."""

    @property
    def random_weights(self) -> bool:
        """Whether only the cost means something."""

    def load(self) -> Scorer:
        """Make the scorer, in the process that measures it.

        Raises:
            PairsiftError: it cannot be loaded.
        """


@dataclass(frozen=True)
class NamedScorer:
    """A scorer by its name, or the folder of a checkpoint.

    Attributes:
        options: passed on where the scorer takes them.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    random_weights = False

    def load(self) -> Scorer:
        taken = {k: v for k, v in self.options.items() if takes_option(self.name, k)}
        return load_scorer(self.name, **taken)


@dataclass(frozen=True)
class RandomClip:
    """CLIPScore of a shape, with random weights."""

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
    """Scorers that need nothing but their name, and why the others are left out."""
    found: list[str] = []
    left_out: dict[str, str] = {}
    for name in entries():
        try:
            check_scorer(name)
        except (PairsiftError, ImportError) as error:  # a plug-in may lack what it imports
            left_out[name] = str(error)
        else:
            found.append(name)
    return found, left_out


def check_names(subjects: Sequence[Subject]) -> None:
    """Refuse what a table cannot tell apart.

    Raises:
        PairsiftError: nothing is to be measured, or something twice.
    """
    names = [subject.name for subject in subjects]
    if not names:
        raise PairsiftError("nothing to measure: give --scorer or --clip-shape")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PairsiftError(f"{twice} is given twice")
