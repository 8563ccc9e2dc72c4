"""What a cascade does, as a file: which scorers, and between which values each leaves open."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.storage import Folder, output_file, split

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Stage:
    """A scorer of a cascade, and the number that it is asked for.

    Attributes:
        scorer, options: as of :func:`pairsift.load_scorer`.
        by: expression over its columns and those of the stages before.
        fingerprint: of the scorer that the plan was made with.
    """

    scorer: str
    by: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How a cheap stage's value decides.

    Attributes:
        low, high: a pair is given up below `low` and taken from `high` on; open in between. None
            where no pair is settled on that side.
        values, estimates: what the full scorer's value most likely is: its median, as a rising
            function through these points.
    """

    low: float | None
    high: float | None
    values: tuple[float, ...] = ()
    estimates: tuple[float, ...] = ()

    def given_up(self, value: np.ndarray) -> np.ndarray:
        """Whether a pair is settled as not to be kept; never where there is no value (NaN)."""
        below: np.ndarray = value < (np.nan if self.low is None else self.low)
        return below

    def taken(self, value: np.ndarray) -> np.ndarray:
        """Whether a pair is settled as to be kept; never where there is no value (NaN)."""
        above: np.ndarray = value >= (np.nan if self.high is None else self.high)
        return above

    def estimate(self, value: np.ndarray, threshold: float) -> np.ndarray:
        """What settled pairs rank by, float32: the estimate, on the decision's side of the cut."""
        if not len(value):
            return np.empty(0, np.float32)
        edge = np.float32(threshold)
        found = np.interp(value, self.values, self.estimates).astype(np.float32)
        below = np.nextafter(edge, np.float32(-np.inf))
        low, high = np.minimum(found, below), np.maximum(found, edge)
        settled: np.ndarray = np.where(self.given_up(value), low, high)
        return settled


@dataclass(frozen=True)
class Plan:
    """A cascade, made by :func:`pairsift.cascade.planning.make_plan`.

    Attributes:
        stages: cheap scorers and their thresholds, in order.
        full: the scorer that has the last word; its `by` is what the cut is made on.
        keep, at: the cut: the best share by `full.by`, or all from this value on; one of them.
        threshold: the value of `full.by` at the cut.
        agreement: share of the selection that is to be the same as by full scoring.
        audit: share of all pairs that is always fully scored.
        seed: of the draws.
        learned: what the plan was made from and what it promises, for people; decides nothing.
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
        """Of all that decides a score."""
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
        """Share of pairs that the full scorer reads if a share `left` stays open."""
        return left + self.audit * (1 - left)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"cascade": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], name: str) -> Plan:
        """The inverse of :meth:`to_json`.

        Raises:
            PairsiftError: it is no plan of this version; `name` says which.
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
                f"{name} is not a cascade's plan of this version of Pairsift ({error}); "
                "make one with `pairsift cascade`"
            ) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan from a local path or fsspec URL.

        Raises:
            PairsiftError: there is none.
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
        """Write the plan to a local path or fsspec URL."""
        place, file = output_file(path)
        place.create()
        place.write(file, (json.dumps(self.to_json(), indent=1) + "\n").encode())


def _with_tuples(thresholds: Mapping[str, Any]) -> dict[str, Any]:
    return {**thresholds, **{name: tuple(thresholds[name]) for name in ("values", "estimates")}}


def describe_fingerprint(stages: Sequence[Stage]) -> dict[str, str]:
    """Fingerprints of a cascade's scorers as one, each field with its scorer's name before it."""
    return {
        f"{stage.scorer}.{name}": value
        for stage in stages
        for name, value in stage.fingerprint.items()
        if name != "scorer"
    }
