"""Prompt packs: the questions to a model. A prompt is part of a model, like its tokenizer."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pairsift.errors import PairsiftError

FIELDS = ("caption", "criteria", "aspect")


@dataclass(frozen=True, slots=True)
class MetricPrompt:
    """The question about one metric.

    Attributes:
        aspect: the quality in two or three words.
        criteria: what a high score requires.
    """

    aspect: str
    criteria: str


@dataclass(frozen=True)
class PromptPack:
    """The texts of one way to ask for scores.

    Attributes:
        name: for messages and for the fingerprint.
        instruction: the user message, with ``{caption}``, ``{criteria}`` and ``{aspect}`` as in
            :meth:`str.format`.
        metrics: by metric name; a pack may leave metrics out.
        chat: a name of :data:`pairsift.scorers.mlm.chat.CHAT_FORMATS`, ``tokenizer`` for the
            checkpoint's own template, or ``auto`` for what the checkpoint was trained with.
        answer_tail: text between the prompt and the first digit of the answer.
    """

    name: str
    instruction: str
    metrics: Mapping[str, MetricPrompt] = field(default_factory=dict)
    chat: str = "auto"
    answer_tail: str = " "

    def __post_init__(self) -> None:
        try:
            parts = list(string.Formatter().parse(self.instruction))
        except ValueError as error:
            raise PairsiftError(f"prompt pack {self.name!r}: instruction: {error}") from None
        fields = [name for _, name, _, _ in parts if name is not None]
        wrong = [name for name in fields if name not in FIELDS]
        if wrong or fields.count("caption") != 1:
            what = (
                f"unknown field {{{wrong[0]}}}" if wrong else "{caption} must be there exactly once"
            )
            raise PairsiftError(
                f"prompt pack {self.name!r}: instruction: {what}; fields are "
                + ", ".join(f"{{{name}}}" for name in FIELDS)
            )

    def user_turn(self, metric: str, caption: str) -> str:
        """Return the user message beside the image.

        Raises:
            PairsiftError: the pack has no text for ``metric``.
        """
        if metric not in self.metrics:
            raise PairsiftError(
                f"prompt pack {self.name!r} has no text for metric {metric!r}; "
                f"it has {', '.join(self.metrics)}"
            )
        prompt = self.metrics[metric]
        return self.instruction.format(
            caption=caption, criteria=prompt.criteria, aspect=prompt.aspect
        )

    @property
    def digest(self) -> str:
        """Return the sha256 of the pack without its name; 64 hexadecimal digits."""
        facts = self.as_dict()
        del facts["name"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return the pack as in its TOML file."""
        return {
            "name": self.name,
            "chat": self.chat,
            "answer_tail": self.answer_tail,
            "instruction": self.instruction,
            "metrics": {
                name: {"aspect": prompt.aspect, "criteria": prompt.criteria}
                for name, prompt in self.metrics.items()
            },
        }
