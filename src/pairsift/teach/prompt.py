"""What the OpenAI-style teacher is asked, and the form its answer must have."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.metrics import MAX_SCORE, METRICS, MIN_SCORE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FIELDS = ("{caption}", "{criteria}")


@dataclass(frozen=True, slots=True)
class TeacherPrompt:
    """The texts of a teacher prompt.

    Attributes:
        system: the system message.
        instruction: the user's words; holds `{caption}` and `{criteria}` once each.
        criteria: by metric name.
    """

    name: str
    system: str
    instruction: str
    criteria: Mapping[str, str]

    def user_text(self, caption: str, metrics: Sequence[str]) -> str:
        """The user's words about one caption."""
        criteria = "\n\n".join(self.criteria[metric].strip() for metric in metrics)
        # The caption goes in last: whatever it holds, it cannot stand for another field.
        return self.instruction.replace("{criteria}", criteria).replace("{caption}", caption, 1)

    def digest(self, metrics: Sequence[str]) -> str:
        """sha256 over everything that is asked; 64 hexadecimal digits."""
        said = [self.system, self.instruction, [self.criteria[metric] for metric in metrics]]
        asked = json.dumps([said, list(metrics)], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()


def load_teacher_prompt(path: str | None = None) -> TeacherPrompt:
    """Read a teacher prompt; ours if no path is given.

    Raises:
        PairsiftError: the file cannot be read, or has another form.
    """
    source = path or "teacher.toml"
    try:
        if path is None:
            text = resources.files("pairsift.teach").joinpath("teacher.toml").read_text("utf-8")
        else:
            text = Path(path).read_text("utf-8")
        raw = tomllib.loads(text)
        prompt = TeacherPrompt(
            str(raw["name"]),
            str(raw["system"]).strip(),
            str(raw["instruction"]).strip(),
            {name: str(entry["criteria"]) for name, entry in raw["metrics"].items()},
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PairsiftError(f"cannot read teacher prompt {source}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise PairsiftError(
            f"teacher prompt {source}: needs name, system, instruction and "
            f"[metrics.NAME] criteria ({error} is missing or has another form)"
        ) from error
    wrong = [mark for mark in _FIELDS if prompt.instruction.count(mark) != 1]
    if wrong:
        raise PairsiftError(f"teacher prompt {source}: {wrong[0]} must stand once in instruction")
    unknown = [name for name in prompt.criteria if name not in METRICS]
    if unknown:
        raise PairsiftError(
            f"teacher prompt {source}: unknown metric {unknown[0]!r}; "
            f"there are {', '.join(METRICS)}"
        )
    return prompt


def answer_schema(metrics: Sequence[str]) -> dict[str, Any]:
    """JSON schema of an answer. Models write keys in this order: the score comes first."""
    one = {
        "type": "object",
        "properties": {"score": {"type": "integer"}, "rationale": {"type": "string"}},
        "required": ["score", "rationale"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": dict.fromkeys(metrics, one),
        "required": list(metrics),
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """Scores 0..100 and rationales by metric."""

    scores: dict[str, float]
    why: dict[str, str]


class MalformedAnswerError(ValueError):
    """The reply is not the JSON that was asked for; `str()` says why."""


def parse_answer(text: str | None, metrics: Sequence[str]) -> Answer:
    """Read a reply. Text around the JSON object, such as a code fence, is passed over.

    Raises:
        MalformedAnswerError: no object, a metric is missing, or a score is not in 0..100.
    """
    start, end = (text or "").find("{"), (text or "").rfind("}")
    if text is None or start < 0 or end < start:
        raise MalformedAnswerError(f"no JSON object in {_quote(text)}")
    try:
        found = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        raise MalformedAnswerError(f"broken JSON in {_quote(text)}") from None
    scores, why = {}, {}
    for metric in metrics:
        entry = found.get(metric)
        score = entry.get("score") if isinstance(entry, dict) else entry
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            raise MalformedAnswerError(f"no score for {metric} in {_quote(text)}")
        if not MIN_SCORE <= score <= MAX_SCORE:
            raise MalformedAnswerError(f"{metric} is {score}, not in {MIN_SCORE}..{MAX_SCORE}")
        scores[metric] = float(score)
        rationale = entry.get("rationale") if isinstance(entry, dict) else None
        if isinstance(rationale, str) and rationale.strip():
            why[metric] = rationale.strip()
    return Answer(scores, why)


def _quote(text: str | None) -> str:
    return repr(text if text is None or len(text) <= 120 else text[:117] + "...")
