"""Prompt packs: the questions to a model. A prompt is part of a model, like its tokenizer."""

from __future__ import annotations

import hashlib
import json
import keyword
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.metrics import (
    DEFAULT_SCALE,
    METRICS,
    Better,
    Metric,
    Scale,
    known_metric,
    parse_metrics,
)
from pairsift.scores import COMPANIONS, IDENTITY_FIELDS

FIELDS = ("caption", "criteria", "aspect", "answers")

_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: What a table with scores may hold beside them: of score tables, and of a teacher's records.
_RESERVED = frozenset(
    {
        *(column.name for column in IDENTITY_FIELDS),
        *("caption_truncated", "language", "language_score", "out_of_scope"),
        *("cascade", "cascade_unaudited", "cascade_stage", "cascade_audit"),
        *("image_sha256", "image_phash", "caption_hash", "caption_index", "image_novelty"),
        *("image", "caption", "kind", "source", "metadata", "pos", "file_row_number"),
    }
)
_WORDS = frozenset({*keyword.kwlist, "null", "true", "false"})
_ENDINGS = (*COMPANIONS, "_p", "_why")


def check_metric_name(name: str) -> None:
    """Make sure that a metric's scores can stand in a column of its name.

    Raises:
        PairsiftError: they cannot; says why.
    """
    if not _NAME.fullmatch(name):
        raise PairsiftError(
            f"metric {name!r}: a name is made of a-z, 0-9 and _, and begins with a letter"
        )
    if name in _RESERVED:
        raise PairsiftError(
            f"metric {name!r}: tables with scores have another column of this name; "
            "choose another name"
        )
    if name in _WORDS:
        raise PairsiftError(
            f"metric {name!r}: the word has a meaning in --where and --by; choose another name"
        )
    if name.endswith(_ENDINGS):
        raise PairsiftError(
            f"metric {name!r}: {', '.join(_ENDINGS)} at the end name further columns of a metric; "
            "choose another name"
        )


@dataclass(frozen=True, slots=True)
class MetricPrompt:
    """The question about one metric.

    Attributes:
        aspect: the quality in two or three words; may be empty.
        criteria: what a high score asks for.
        scale: the answers.
        title, asks: for people: a heading, and the question in one sentence. Empty for those of
            the four metrics of the default pack, or else what name and criteria give.
        better: which end of the scale is the good one.
        instruction: the user's words for this metric; None for those of the pack.
    """

    aspect: str
    criteria: str
    scale: Scale = DEFAULT_SCALE
    title: str = ""
    asks: str = ""
    better: Better = "higher"
    instruction: str | None = None

    def metric(self, name: str) -> Metric:
        """The metric that is asked about, as readers of its scores want to know it."""
        known = known_metric(name)
        return Metric(
            name,
            self.title or known.title,
            self.aspect or known.aspect,
            self.asks or known.asks or " ".join(self.criteria.split()) or known.title,
            self.scale,
            self.better,
        )


@dataclass(frozen=True)
class PromptPack:
    """The texts of one way to ask for scores.

    Attributes:
        name: for people and for the fingerprint.
        instruction: the user's words, with ``{caption}``, ``{criteria}``, ``{aspect}`` and
            ``{answers}`` as in :meth:`str.format`; empty where every metric has its own.
        metrics: by metric name; at least one.
        chat: a name of :data:`pairsift.scorers.mlm.chat.CHAT_FORMATS`, ``tokenizer`` for the
            checkpoint's own template, or ``auto`` for what the checkpoint was trained with.
        answer_tail: text between the prompt and the first character of the answer.

    Raises:
        PairsiftError: the texts are not those of a pack; says why.
    """

    name: str
    instruction: str
    metrics: Mapping[str, MetricPrompt] = field(default_factory=dict)
    chat: str = "auto"
    answer_tail: str = " "

    def __post_init__(self) -> None:
        if self.instruction or not self.metrics:
            self._check_instruction(self.instruction, "instruction")
        if not self.metrics:
            raise PairsiftError(
                f"prompt pack {self.name!r} asks nothing; give it a metric, [metrics.NAME]"
            )
        for name, prompt in self.metrics.items():
            try:
                check_metric_name(name)
            except PairsiftError as error:
                raise PairsiftError(f"prompt pack {self.name!r}: {error}") from None
            if prompt.instruction is not None:
                self._check_instruction(prompt.instruction, f"instruction of {name}")
            elif not self.instruction:
                raise PairsiftError(
                    f"prompt pack {self.name!r}: neither the pack nor metric {name!r} has an "
                    "instruction"
                )

    def _check_instruction(self, instruction: str, where: str) -> None:
        try:
            parts = list(string.Formatter().parse(instruction))
        except ValueError as error:
            raise PairsiftError(f"prompt pack {self.name!r}: {where}: {error}") from None
        fields = [name for _, name, _, _ in parts if name is not None]
        wrong = [name for name in fields if name not in FIELDS]
        if wrong or fields.count("caption") != 1:
            what = (
                f"unknown field {{{wrong[0]}}}" if wrong else "{caption} must be there exactly once"
            )
            raise PairsiftError(
                f"prompt pack {self.name!r}: {where}: {what}; fields are "
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
        instruction = self.instruction if prompt.instruction is None else prompt.instruction
        return instruction.format(
            caption=caption,
            criteria=prompt.criteria,
            aspect=prompt.aspect,
            answers=prompt.scale.describe(),
        )

    def metric(self, name: str) -> Metric:
        """One of the pack's metrics, as readers of its scores want to know it."""
        return self.metrics[name].metric(name)

    def in_tables(self) -> tuple[Metric, ...]:
        """The metrics that score tables have columns of, asked or not, in order.

        Those of the pack. But tables of some of the four metrics of the default pack have always
        had columns of all four, and a folder that was begun so goes on so.
        """
        names = tuple(METRICS) if set(self.metrics) <= set(METRICS) else tuple(self.metrics)
        return tuple(self.metric(name) if name in self.metrics else METRICS[name] for name in names)

    @property
    def digest(self) -> str:
        """sha256 of all that the pack says to a model; 64 hexadecimal digits."""
        facts = self.as_dict()
        del facts["name"]
        for entry in facts["metrics"].values():
            for for_people in ("title", "asks", "better"):
                entry.pop(for_people, None)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return the pack as it stands in its TOML file; what is as by default is left out."""
        return {
            "name": self.name,
            "chat": self.chat,
            "answer_tail": self.answer_tail,
            "instruction": self.instruction,
            "metrics": {name: _as_dict(prompt) for name, prompt in self.metrics.items()},
        }


def pack_metrics(pack: PromptPack, names: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the asked metrics of a pack in the order of its columns; None asks for all.

    Raises:
        PairsiftError: the pack has no text for one of them, or none is given.
    """
    there = [metric.name for metric in pack.in_tables() if metric.name in pack.metrics]
    try:
        return parse_metrics(names, there)
    except PairsiftError as error:
        raise PairsiftError(f"prompt pack {pack.name!r}: {error}") from None


def _as_dict(prompt: MetricPrompt) -> dict[str, Any]:
    entry: dict[str, Any] = {"aspect": prompt.aspect, "criteria": prompt.criteria}
    if prompt.title:
        entry["title"] = prompt.title
    if prompt.asks:
        entry["asks"] = prompt.asks
    if prompt.better != "higher":
        entry["better"] = prompt.better
    if prompt.instruction is not None:
        entry["instruction"] = prompt.instruction
    if prompt.scale != DEFAULT_SCALE:
        entry["answers"] = prompt.scale.to_json()
    return entry
