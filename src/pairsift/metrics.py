"""The records of metrics: what is asked about a pair, and which answers count how much."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pairsift.errors import PairsiftError

MIN_SCORE = 0
MAX_SCORE = 100
#: Each answer costs a few tokens of a forward pass.
MOST_ANSWERS = 1001
#: Integers of this size are exact in float32, in which scores are stored.
_LARGEST = 2**24

Better = Literal["higher", "lower", "neither"]
BETTER: tuple[Better, ...] = ("higher", "lower", "neither")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a metric's question.

    Attributes:
        value: the score that it stands for.
        spellings: texts that give this answer; the first one is shown to people.
    """

    value: float
    spellings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """The answers of a metric, in ascending order of their values.

    Attributes:
        answers: at least two.
        integers: whether they are all the integers of a range.

    Raises:
        PairsiftError: fewer than two answers, or two that cannot be told apart.

    Examples:
        >>> Scale.range(1, 5).describe()
        'a whole number from 1 to 5'
        >>> Scale.listed({"yes": 1, "no": 0}).describe()
        "'no' or 'yes'"
    """

    answers: tuple[Answer, ...]
    integers: bool = False

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for answer in self.answers:
            if not abs(answer.value) <= _LARGEST:  # also NaN
                raise PairsiftError(f"the value {answer.value} of an answer is out of range")
            if not answer.spellings:
                raise PairsiftError(f"the answer with the value {answer.value:g} has no spelling")
            for spelling in answer.spellings:
                if not spelling.strip():
                    raise PairsiftError(f"the spelling {spelling!r} of an answer has no letter")
                if spelling in seen:
                    raise PairsiftError(f"the spelling {spelling!r} stands there twice")
                seen.add(spelling)
        values = [answer.value for answer in self.answers]
        if len(values) < 2:
            raise PairsiftError(f"there must be two answers or more, not {len(values)}")
        if len(values) > MOST_ANSWERS:
            raise PairsiftError(f"{len(values):,} answers are too many; {MOST_ANSWERS:,} may be")
        repeated = [value for value in values if values.count(value) > 1]
        if repeated:
            raise PairsiftError(
                f"two answers have the value {repeated[0]:g}; "
                "make them two spellings of one answer, or change one value"
            )
        answers = (Answer(float(answer.value), tuple(answer.spellings)) for answer in self.answers)
        ordered = tuple(sorted(answers, key=lambda answer: answer.value))
        object.__setattr__(self, "answers", ordered)

    @classmethod
    def range(cls, low: int, high: int) -> Scale:
        """All integers from `low` to `high`, both included.

        Raises:
            PairsiftError: fewer than two, or too many.
        """
        if not -_LARGEST <= low < high <= _LARGEST:
            raise PairsiftError(f"low = {low} and high = {high}: low must be below high")
        if high - low >= MOST_ANSWERS:
            raise PairsiftError(
                f"low = {low} to high = {high} are {high - low + 1:,} answers; "
                f"there may be {MOST_ANSWERS:,}"
            )
        numbers = range(low, high + 1)
        return cls(tuple(Answer(float(n), (str(n),)) for n in numbers), integers=True)

    @classmethod
    def listed(cls, answers: Mapping[str, float]) -> Scale:
        """Answers with one spelling each, from a mapping of spelling to value."""
        return cls(tuple(Answer(value, (text,)) for text, value in answers.items()))

    @property
    def values(self) -> tuple[float, ...]:
        """The answers' values, ascending."""
        return tuple(answer.value for answer in self.answers)

    @property
    def low(self) -> float:
        """The smallest value."""
        return self.answers[0].value

    @property
    def high(self) -> float:
        """The largest value."""
        return self.answers[-1].value

    @property
    def whole(self) -> bool:
        """Whether every value is an integer."""
        return all(value.is_integer() for value in self.values)

    def points(self, value: float) -> float:
        """Where a value stands on the scale: 0 at its low end, 100 at its high end."""
        return 100.0 * (value - self.low) / (self.high - self.low)

    def nearest(self, value: float) -> int:
        """Index of the answer whose value is nearest; the larger one in a tie."""
        return min(range(len(self.answers)), key=lambda i: (abs(self.values[i] - value), -i))

    def describe(self) -> str:
        """The answers in words, for a prompt or a message."""
        if self.integers:
            return f"a whole number from {self.low:g} to {self.high:g}"
        shown = [repr(answer.spellings[0]) for answer in self.answers]
        return f"{', '.join(shown[:-1])} or {shown[-1]}"

    def to_json(self) -> Any:
        """As in a prompt pack: a table of low and high, or a list of answers."""
        if self.integers:
            return {"low": int(self.low), "high": int(self.high)}
        return [
            {"value": _plain(answer.value), "spellings": list(answer.spellings)}
            for answer in self.answers
        ]

    @classmethod
    def from_json(cls, content: Any) -> Scale:
        """The inverse of :meth:`to_json`.

        Raises:
            PairsiftError: it is something else.
        """
        match content:
            case {"low": int(low), "high": int(high), **rest} if not rest and not (
                isinstance(low, bool) or isinstance(high, bool)
            ):
                return cls.range(low, high)
            case [*entries]:
                return cls(tuple(_read_answer(entry) for entry in entries))
        raise PairsiftError(
            "answers must be a range of whole numbers, { low = 1, high = 5 }, or a list of answers "
            'such as { value = 1, spellings = ["yes", "Yes"] }'
        )


def _read_answer(entry: Any) -> Answer:
    match entry:
        case {"value": int() | float() as value, "spellings": [*texts], **rest} if (
            not rest
            and not isinstance(value, bool)
            and all(isinstance(text, str) for text in texts)
        ):
            return Answer(value, tuple(texts))
    raise PairsiftError(
        f"an answer must have a number as value and a list of texts as spellings, not {entry!r}"
    )


def _plain(value: float) -> float | int:
    return int(value) if value.is_integer() else value


DEFAULT_SCALE = Scale.range(MIN_SCORE, MAX_SCORE)


@dataclass(frozen=True, slots=True)
class Metric:
    """One question about an image-text pair, and what the column of its scores means.

    Attributes:
        name: of the column.
        title: two or three words, for a heading.
        aspect: what is judged, as in "judge the ... of this caption".
        asks: the question in one sentence.
        scale: its answers.
        better: which end of the scale is the good one.
    """

    name: str
    title: str
    aspect: str
    asks: str
    scale: Scale = DEFAULT_SCALE
    better: Better = "higher"

    def to_json(self) -> dict[str, Any]:
        """As it stands in the metadata of score tables."""
        return {
            "title": self.title,
            "aspect": self.aspect,
            "asks": self.asks,
            "low": _plain(self.scale.low),
            "high": _plain(self.scale.high),
            "better": self.better,
            "answers": self.scale.to_json(),
        }

    @classmethod
    def from_json(cls, name: str, content: Mapping[str, Any]) -> Metric:
        """The inverse of :meth:`to_json`.

        Raises:
            PairsiftError: something is missing or cannot be read.
        """
        try:
            return cls(
                name,
                str(content["title"]),
                str(content.get("aspect", "")),
                str(content["asks"]),
                Scale.from_json(content["answers"]),
                next(better for better in BETTER if better == content["better"]),
            )
        except (KeyError, TypeError, StopIteration) as error:
            raise PairsiftError(f"what the column {name} means cannot be read: {error!r}") from None


#: The four metrics of MLM-Filter (arXiv 2403.02677): those of the default prompt pack, of
#: `pairsift-tiny`, and of all score tables that do not say what their columns mean.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "itm",
            "Image-text matching",
            "image text matching",
            "Does the caption name what the image mainly shows?",
        ),
        Metric(
            "odf",
            "Object detail fulfillment",
            "object detail fulfillment",
            "Are numbers, colours, sizes, positions and other details given, and given right?",
        ),
        Metric(
            "ctq",
            "Caption text quality",
            "caption text quality",
            "Is the caption fluent, varied, grammatical language?",
        ),
        Metric(
            "su",
            "Semantic understanding",
            "semantic understanding",
            "Does the caption add knowledge that pixels alone do not show: names, places, roles?",
        ),
    )
}


def parse_metrics(
    names: str | Iterable[str] | None, known: Iterable[str] = tuple(METRICS)
) -> tuple[str, ...]:
    """Return the asked metrics in the order of `known`, without repeats.

    Args:
        names: joined by commas, or as a sequence; None for all.
        known: the metrics that there are; by default the four of the default pack.

    Raises:
        PairsiftError: a name is not one of `known`, or none is given.
    """
    there = tuple(known)
    if names is None:
        return there
    asked = split_names(names)
    unknown = [name for name in asked if name not in there]
    if unknown or not asked:
        what = f"unknown metric {unknown[0]!r}" if unknown else "no metric given"
        raise PairsiftError(f"{what}; choose from {', '.join(there)}, joined by commas")
    return tuple(name for name in there if name in asked)


def split_names(names: str | Iterable[str]) -> list[str]:
    """The names in a text that joins them by commas, or in a sequence."""
    asked = names.split(",") if isinstance(names, str) else list(names)
    return [name.strip() for name in asked if name.strip()]


def known_metric(name: str) -> Metric:
    """The metric of a name: one of the four, or one whose name is all that is known of it."""
    title = re.sub("_+", " ", name).strip().capitalize()
    return METRICS.get(name) or Metric(name, title, title.lower(), "")
