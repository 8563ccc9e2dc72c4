"""The prompt of the OpenAI-style teacher, and the schema of its answer."""

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
from pairsift.metrics import METRICS

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
        instruction: the user message; holds `{caption}` and `{criteria}` once each.
        criteria: by metric name.
    """

    name: str
    system: str
    instruction: str
    criteria: Mapping[str, str]

    def user_text(self, caption: str, metrics: Sequence[str]) -> str:
        """Return the user message about one caption."""
        criteria = "\n\n".join(self.criteria[metric].strip() for metric in metrics)
        # The caption is put in last, so that a caption with braces cannot fill another field.
        return self.instruction.replace("{criteria}", criteria).replace("{caption}", caption, 1)

    def digest(self, metrics: Sequence[str]) -> str:
        """Return the sha256 of everything that is asked, 64 hexadecimal digits."""
        said = [self.system, self.instruction, [self.criteria[metric] for metric in metrics]]
        asked = json.dumps([said, list(metrics)], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()


def load_teacher_prompt(path: str | None = None) -> TeacherPrompt:
    """Read a teacher prompt from a file; the built-in one if no path is given.

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
    """Return the JSON schema of an answer; scores come first, in the order of writing."""
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
