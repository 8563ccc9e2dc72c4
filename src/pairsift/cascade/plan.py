"""The plan of a cascade, as a file: its scorers and their thresholds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Any

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.storage import Folder, OutputKind, output_file, split

FORMAT = 1
_LARGEST_PLAN = 64 << 20


def _is_plan(file: IO[bytes]) -> bool:
    content = json.loads(file.read(_LARGEST_PLAN))
    return isinstance(content, dict) and "cascade" in content


PLAN = OutputKind("the plan of a cascade", _is_plan)


@dataclass(frozen=True, slots=True)
class Stage:
    """A scorer of a cascade, and the value by which it decides.

    Attributes:
        scorer, options: as for :func:`pairsift.load_scorer`; no options by default.
        by: a column of the scorer, or an expression over its columns and those of earlier stages.
        fingerprint: fingerprint of the scorer that the plan was made with; filled in by
            :func:`~pairsift.cascade.planning.make_plan`.

    Examples:
        >>> Stage("pairsift-tiny", "0.5*itm + 0.5*odf", {"metrics": "itm,odf"}).by
        '0.5*itm + 0.5*odf'
    """

    scorer: str
    by: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of a cheap scorer. The next scorer decides the pairs between them.

    Attributes:
        low: a pair below it is dropped; None if no pair is.
        high: a pair at or above it is kept; None if no pair is.
        values, estimates: points of a rising function from the cheap scorer's value to the median
            of the full scorer's value; without any, pairs rank by the side they are on alone.

    Examples:
        >>> import numpy as np
        >>> thresholds = Thresholds(20.0, 70.0, values=(0.0, 100.0), estimates=(10.0, 90.0))
        >>> value = np.array([5.0, 50.0, 90.0])
        >>> thresholds.given_up(value).tolist(), thresholds.taken(value).tolist()
        ([True, False, False], [False, False, True])
    """

    low: float | None
    high: float | None
    values: tuple[float, ...] = ()
    estimates: tuple[float, ...] = ()

    def given_up(self, value: np.ndarray) -> np.ndarray:
        """Whether each pair is below `low`; False where there is no value (NaN)."""
        below: np.ndarray = value < (np.nan if self.low is None else self.low)
        return below

    def taken(self, value: np.ndarray) -> np.ndarray:
        """Whether each pair is at or above `high`; False where there is no value (NaN)."""
        above: np.ndarray = value >= (np.nan if self.high is None else self.high)
        return above

    def estimate(self, value: np.ndarray, threshold: float) -> np.ndarray:
        """The value that pairs decided by this scorer rank by, float32.

        Args:
            value: values of this scorer.
            threshold: the full scorer's value at the cut; dropped pairs stay below it.
        """
        if not len(value):
            return np.empty(0, np.float32)
        edge = np.float32(threshold)
        points = (self.values, self.estimates) if self.values else ((0.0,), (threshold,))
        found = np.interp(value, *points).astype(np.float32)
        below = np.nextafter(edge, np.float32(-np.inf))
        low, high = np.minimum(found, below), np.maximum(found, edge)
        settled: np.ndarray = np.where(self.given_up(value), low, high)
        return settled


@dataclass(frozen=True)
class Plan:
    """The plan of a cascade, made by :func:`pairsift.cascade.planning.make_plan`.

    Attributes:
        stages: cheap scorers and their thresholds, in order.
        full: the full scorer; the selection ranks by its `by`.
        keep, at: the cut: the best fraction by `full.by`, or all from this value on; the other one
            is None.
        threshold: the value of `full.by` at the cut.
        agreement: fraction of the selection that must be the same as with full scoring.
        audit: fraction of all pairs that the full scorer always scores.
        seed: seed of the random draws.
        learned: what was measured on the sample, for people to read; it changes no score.

    Examples:
        >>> from pairsift.cascade.plan import Stage, Thresholds
        >>> cheap = Stage("tiny-glance", "glance"), Thresholds(20.0, 70.0, (0.0, 99.0), (0.0, 99.0))
        >>> plan = Plan((cheap,), Stage("pairsift-tiny", "itm"), 0.3, None, 58.5, 0.98, 0.02, 0)
        >>> plan.write("plan.json")
        >>> Plan.load("plan.json") == plan
        True
        >>> plan.cut
        'the best 30 % by itm'
    """

    stages: tuple[tuple[Stage, Thresholds], ...]
    full: Stage
    keep: float | None
    at: float | None
    threshold: float
    agreement: float
    audit: float
    seed: int
    learned: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A hash of everything in the plan that decides a score."""
        deciding = self.to_json()
        del deciding["learned"]
        text = json.dumps(deciding, sort_keys=True)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def cut(self) -> str:
        """The cut in words."""
        if self.keep is not None:
            return f"the best {100 * self.keep:g} % by {self.full.by}"
        return f"{self.full.by} >= {self.at:g}"

    def read(self, left: float) -> float:
        """Fraction of pairs that the full scorer scores if the fraction `left` is undecided."""
        return left + self.audit * (1 - left)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"cascade": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], name: str) -> Plan:
        """The inverse of :meth:`to_json`.

        Raises:
            PairsiftError: it is not a plan of this version; the error contains `name`.
        """
        try:
            values = dict(content)
            if values.pop("cascade") != FORMAT:
                raise ValueError("of another version")
            values["stages"] = tuple(
                (Stage(**stage), Thresholds(**_with_tuples(thresholds)))
                for stage, thresholds in content["stages"]
            )
            values["full"] = Stage(**content["full"])
            return cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PairsiftError(
                f"{name} is not a cascade plan of this version of Pairsift ({error}); "
                "make one with `pairsift cascade`"
            ) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan from a local path or fsspec URL.

        Raises:
            PairsiftError: there is no plan, or it is of another version.
        """
        name = os.fspath(path)
        folder, file = split(name)
        if not file:
            raise PairsiftError(f"{name} is a folder; a plan is a file, for example plan.json")
        try:
            content = json.loads(Folder(folder).read(file))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise PairsiftError(
                f"there is no plan {name}; make one with `pairsift cascade SHARDS --out {name}`"
            ) from error
        except ValueError as error:
            raise PairsiftError(f"{name} is not readable JSON: {error}") from error
        return cls.from_json(content, name)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a local path or fsspec URL.

        Raises:
            PairsiftError: a local file with that name is not a plan.
        """
        place, file = output_file(path, PLAN)
        place.create()
        place.write(file, (json.dumps(self.to_json(), indent=1) + "\n").encode())


def _with_tuples(thresholds: Mapping[str, Any]) -> dict[str, Any]:
    return {**thresholds, **{name: tuple(thresholds[name]) for name in ("values", "estimates")}}


def describe_fingerprint(stages: Sequence[Stage]) -> dict[str, str]:
    """Merge the fingerprints of a cascade's scorers; each field gets its scorer's name in front."""
    return {
        f"{stage.scorer}.{name}": value
        for stage in stages
        for name, value in stage.fingerprint.items()
        if name != "scorer"
    }
