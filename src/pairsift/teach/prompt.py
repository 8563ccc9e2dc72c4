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
from pairsift.metrics import METRICS, Metric
from pairsift.scorers.mlm.prompt_files import load_prompts, packaged_packs
from pairsift.scorers.mlm.prompts import PromptPack

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
        metrics: what is asked, by name.
    """

    name: str
    system: str
    instruction: str
    criteria: Mapping[str, str]
    metrics: Mapping[str, Metric]

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


def load_teacher_prompt(prompts: str | None = None) -> TeacherPrompt:
    """Read a teacher prompt, or make one of a prompt pack.

    Args:
        prompts: TOML file of a teacher prompt or of a prompt pack, or the name of a pack that comes
            along; None for the built-in teacher prompt.

    Raises:
        PairsiftError: the file cannot be read, or has another form.
    """
    if prompts in packaged_packs():
        return of_pack(load_prompts(prompts))
    source = prompts or "teacher.toml"
    raw = _read_toml(prompts)
    if "system" not in raw and prompts is not None:
        return of_pack(load_prompts(prompts))
    try:
        prompt = TeacherPrompt(
            str(raw["name"]),
            str(raw["system"]).strip(),
            str(raw["instruction"]).strip(),
            {name: str(entry["criteria"]) for name, entry in raw["metrics"].items()},
            METRICS,
        )
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
            f"teacher prompt {source}: unknown metric {unknown[0]!r}; there are "
            f"{', '.join(METRICS)}. For metrics of your own give a prompt pack"
        )
    return prompt


def of_pack(pack: PromptPack) -> TeacherPrompt:
    """Make a teacher prompt of a prompt pack: the same questions, answered in JSON."""
    raw = _read_toml(None)
    metrics = {metric.name: metric for metric in pack.in_tables() if metric.name in pack.metrics}
    return TeacherPrompt(
        pack.name,
        str(raw["system"]).strip(),
        str(raw["pack_instruction"]).strip(),
        {
            name: f"{name}, {metric.title}: {metric.asks}\n{pack.metrics[name].criteria.strip()}\n"
            f"Answer with {metric.scale.describe()}."
            for name, metric in metrics.items()
        },
        metrics,
    )


def _read_toml(path: str | None) -> dict[str, Any]:
    """Read a file, or the built-in teacher prompt."""
    try:
        if path is None:
            text = resources.files("pairsift.teach").joinpath("teacher.toml").read_text("utf-8")
        else:
            text = Path(path).read_text("utf-8")
        return tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        source = path or "teacher.toml"
        raise PairsiftError(f"cannot read teacher prompt {source}: {error}") from error


def answer_schema(metrics: Sequence[str], known: Mapping[str, Metric] = METRICS) -> dict[str, Any]:
    """Return the JSON schema of an answer. Models write keys in this order, so the score comes
    first.
    """
    return {
        "type": "object",
        "properties": {name: _one_schema(known[name]) for name in metrics},
        "required": list(metrics),
        "additionalProperties": False,
    }


def _one_schema(metric: Metric) -> dict[str, Any]:
    score: dict[str, Any] = {"type": "integer"}
    if not metric.scale.integers:
        texts = [answer.spellings[0].strip() for answer in metric.scale.answers]
        score = {"type": "string", "enum": texts}
    return {
        "type": "object",
        "properties": {"score": score, "rationale": {"type": "string"}},
        "required": ["score", "rationale"],
        "additionalProperties": False,
    }
