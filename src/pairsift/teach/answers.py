"""Parse a teacher's answer: read the scores from the text that a model wrote.

Models are asked for one JSON object but write it in many ways: after their thinking, in a code
fence, inside another object, with other spellings of the names, with scores as text. A form with
only one possible meaning is read. Anything else (another scale, a missing score) is malformed:
nothing is converted or guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pairsift.metrics import MAX_SCORE, METRICS, Metric, Scale

_THINKING = re.compile(
    r"<(think|thinking|thought|reasoning|analysis)\b[^>]*>.*?(?:</\1\s*>|\Z)", re.DOTALL | re.I
)
# Some chat templates open the block themselves, so that the answer has only its end.
_THOUGHT_ENDS = re.compile(r"</(?:think|thinking|thought|reasoning|analysis)\s*>", re.I)
# Outside of strings, remove comments, commas before a bracket, and the units of numbers.
_LOOSE = re.compile(
    r'("(?:\\.|[^"\\])*")|//[^\n]*|,(?=\s*[}\]])|(?<=\d)\s*(?:%|/\s*100(?![\d.]))', re.DOTALL
)
_OPENING = re.compile(r"[{\[]")
_BRACKET = re.compile(r'"(?:\\.|[^"\\])*"|[\[\]{}]', re.DOTALL)
_NUMBER = re.compile(
    r"\s*(\d+(?:\.\d+)?)\s*(?:%|points?|(?:/|out\s+of|of)\s*(\d+(?:\.\d+)?))?\s*\.?\s*", re.I
)
_SCORE_NAMES = ("score", "value", "rating", "points")
_REASON_NAMES = ("rationale", "reason", "reasoning", "explanation", "justification", "why")
_NAME_NAMES = ("metric", "name", "criterion", "aspect")
_DEEPEST = 8
# Characters that may be searched for brackets that are never closed; bounds the time.
_MOST_CHARACTERS = 1_000_000
_SHOWN = 120

# So many answers are enough to tell whether a teacher uses the scale 0..100.
ENOUGH = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """Scores and rationales, by metric."""

    scores: dict[str, float]
    why: dict[str, str]


class MalformedAnswerError(ValueError):
    """The reply is not the JSON that was asked for; the message says why."""


def parse_answer(
    text: str | None, metrics: Sequence[str], known: Mapping[str, Metric] = METRICS
) -> Answer:
    """Read the scores and rationales from a model's reply.

    Thinking (``<think>…</think>``) and text around the JSON are ignored. If there are several
    objects, the last one with all metrics counts, because models repeat the form before they fill
    it in.

    Args:
        metrics: names of those that were asked about.
        known: what they and others are, by name.

    Raises:
        MalformedAnswerError: there is no object, a metric is missing, or a score is no answer
            of its scale.
    """
    if not isinstance(text, str) or not text.strip():
        raise MalformedAnswerError("the answer is empty")
    said = _without_thinking(text)
    if not said.strip():
        raise MalformedAnswerError(f"only thinking, and no answer, in {quote(text)}")
    found = list(_values(said))
    if not found:
        what = "broken JSON" if "{" in said else "no JSON object"
        raise MalformedAnswerError(f"{what} in {quote(said)}")
    problem: MalformedAnswerError | None = None
    # As a last attempt, all objects together: some models write a line or an object per metric.
    for value in [*reversed(found), found]:
        try:
            return _read(_entries(value, metrics, known), metrics, known, said)
        except MalformedAnswerError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def wrong_scale(answers: Iterable[Mapping[str, float]]) -> bool:
    """Return whether the scores look like fractions 0..1: none is above 1, and not all are 0."""
    some = False
    for answer in answers:
        if any(score > 1 for score in answer.values()):
            return False
        some = some or any(answer.values())
    return some


def quote(text: str | None) -> str:
    """Return the beginning of an answer, for messages."""
    text = text if text is None else text.strip()
    return repr(text if text is None or len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


def _without_thinking(text: str) -> str:
    text = _THINKING.sub("", text)
    ends = list(_THOUGHT_ENDS.finditer(text))
    return text[ends[-1].end() :] if ends else text


def _values(text: str) -> Iterator[Any]:
    """Yield all JSON objects and arrays in a text that are not inside another one."""
    place, left = 0, _MOST_CHARACTERS
    decoder = json.JSONDecoder(strict=False)
    while left > 0 and (match := _OPENING.search(text, place)):
        place = match.start()
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = _closing(text, place)
            try:
                loose = _LOOSE.sub(lambda found: found[1] or "", text[place:end])
                value, place = json.loads(loose, strict=False), end
            except (ValueError, RecursionError):
                left -= len(text) - place
                place += 1
                continue
        if isinstance(value, (dict, list)) and value:
            yield value


def _closing(text: str, place: int) -> int:
    """Return where the bracket at `place` is closed, or `place` if it never is."""
    depth = 0
    for match in _BRACKET.finditer(text, place):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return place


def _entries(
    value: Any, metrics: Sequence[str], known: Mapping[str, Metric], depth: int = 0
) -> dict[str, Any]:
    """Find what is said about each metric, at any depth of `value`."""
    if isinstance(value, str) and "{" in value:  # JSON inside a JSON string
        value = list(_values(value))
    if depth > _DEEPEST:
        return {}
    if isinstance(value, list):
        found: dict[str, Any] = {}
        for part in value:
            found |= _entries(part, metrics, known, depth + 1)
        return found
    if not isinstance(value, dict):
        return {}
    own: dict[str, Any] = {}
    for key, entry in value.items():
        metric, of_score = _metric(str(key), known)
        if metric is not None and (of_score or metric not in own):
            own[metric] = entry
    if own:
        return own
    if (named := _pick(value, _NAME_NAMES)) is not None and (
        metric := _metric(str(named), known)[0]
    ):
        return {metric: value}
    if len(metrics) == 1 and _pick(value, _SCORE_NAMES) is not None:
        return {metrics[0]: value}
    return _entries(list(value.values()), metrics, known, depth + 1)


def _read(
    entries: Mapping[str, Any], metrics: Sequence[str], known: Mapping[str, Metric], text: str
) -> Answer:
    scores, why = {}, {}
    for name in metrics:
        scale = known[name].scale
        entry = entries.get(name)
        given = _pick(entry, _SCORE_NAMES) if isinstance(entry, dict) else entry
        score = _number(given, scale.high) if scale.integers else _listed(given, scale)
        if score is None:
            said = f" but {given!r}" if isinstance(given, str) else ""
            raise MalformedAnswerError(f"no score for {name}{said} in {quote(text)}")
        if not scale.low <= score <= scale.high:
            raise MalformedAnswerError(f"{name} is {given}, not in {scale.low:g}..{scale.high:g}")
        scores[name] = score
        rationale = _pick(entry, _REASON_NAMES) if isinstance(entry, dict) else None
        if isinstance(rationale, str) and rationale.strip():
            why[name] = rationale.strip()
    return Answer(scores, why)


def _listed(given: Any, scale: Scale) -> float | None:
    """The value of a listed answer, given by a spelling or as its value; None for all else."""
    if isinstance(given, bool):
        given = "yes" if given else "no"
    if isinstance(given, (int, float)):
        return float(given) if given in scale.values else None
    if not isinstance(given, str):
        return None
    said = given.strip().rstrip(".").casefold()
    found = {
        answer.value
        for answer in scale.answers
        for spelling in answer.spellings
        if spelling.strip().casefold() == said
    }
    return found.pop() if len(found) == 1 else None


def _number(given: Any, high: float = MAX_SCORE) -> float | None:
    """Read a score given as a number or text: 70, "70", "70 %", "70/100"; None for
    anything else.
    """
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return float(given) if abs(given) < 1e9 else None
    match = _NUMBER.fullmatch(given) if isinstance(given, str) else None
    if match is None or (match[2] and float(match[2]) != high):
        return None
    return float(match[1])


def _pick(entry: Mapping[str, Any], names: Sequence[str]) -> Any:
    spelled = {_letters(str(key)): value for key, value in entry.items()}
    return next((spelled[name] for name in names if name in spelled), None)


def _metric(key: str, known: Mapping[str, Metric]) -> tuple[str | None, bool]:
    """The metric that a key names, in whatever spelling, and whether it says that it is a score."""
    letters, spellings = (
        _letters(key),
        _spellings(tuple((name, known[name].title) for name in known)),
    )
    for ending in ("", *_SCORE_NAMES):
        if letters.endswith(ending) and (metric := spellings.get(letters[: -len(ending) or None])):
            return metric, bool(ending)
    return None, False


def _letters(key: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", key.lower())


@lru_cache(maxsize=64)
def _spellings(metrics: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Names and titles of metrics, in letters only, and the metric that each stands for."""
    found = {}
    for metric, heading in metrics:
        name, title = _letters(metric), _letters(heading)
        for spelling in (name, title, name + title, title + name):
            found[spelling] = metric
    return found
