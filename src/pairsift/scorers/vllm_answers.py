"""The distribution over a metric's answers, computed from the server's next-token probabilities.

A server shows only the likeliest tokens, and only at positions after text that it was given. So the
answers are walked as texts: after the prompt, after what the model itself writes, and after other
beginnings of an answer as long as these have enough probability to be worth a request. What is not
walked, and what is below the likeliest tokens, is missing from the distribution's mass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.metrics import Metric

#: Texts that a next token may have → their probability.
Options = Mapping[str, float]

# White space and the digits of a number; what follows is not read.
_NUMBER_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One written token, and what could have been written in its place.

    Attributes:
        token: its text.
        alternatives: text and log probability of the likeliest tokens there, itself included.
    """

    token: str
    alternatives: Sequence[tuple[str, float]]


class Spellings:
    """A metric's answers as a server writes them: texts, without white space before them.

    Raises:
        PairsiftError: two answers differ only in white space before them.
    """

    def __init__(self, metric: Metric) -> None:
        scale = metric.scale
        self.integers = scale.integers
        self.count = len(scale.answers)
        self.answer_of: dict[str, int] = {}
        for index, answer in enumerate(scale.answers):
            for text in answer.spellings:
                if self.answer_of.setdefault(text.lstrip(), index) != index:
                    raise PairsiftError(
                        f"metric {metric.name!r}: two answers are {text.lstrip()!r} but for white "
                        "space, which the scorer `vllm` does not see"
                    )
        self._beginnings = {
            text[:length] for text in self.answer_of for length in range(1, len(text) + 1)
        }
        self._longer = {text[:length] for text in self.answer_of for length in range(1, len(text))}
        if self.integers and any(len(text) > 1 for text in self.answer_of):
            # Digits behind a 0 make no number of the scale, but are no 0 either.
            self._longer.add("0")

    @property
    def tokens(self) -> int:
        """How many tokens the server shall write."""
        if self.integers:
            return _NUMBER_TOKENS
        return min(24, 1 + max(map(len, self.answer_of)))

    def begins(self, text: str) -> bool:
        """Whether an answer begins with this text."""
        return text in self._beginnings

    def may_go_on(self, text: str) -> bool:
        """Whether what follows this text decides if it is an answer, or which."""
        return text in self._longer

    def options(self, step: Step, beginning: str) -> dict[str, float]:
        """Token texts that matter behind a beginning of an answer, and their probabilities."""
        found: dict[str, float] = {}
        for text, log_p in step.alternatives:
            text = text if beginning else text.lstrip()
            digits = self.integers and text.isascii() and text.isdecimal()
            if digits or (text and self.begins(beginning + text)):
                found[text] = found.get(text, 0.0) + math.exp(log_p)
        return found


@dataclass(slots=True)
class AnswerWalk:
    """What is known about the model's answer.

    Attributes:
        spellings: the answers.
        lead: white space that the model writes before its answer.
        lead_p: its probability.
        known: beginnings of an answer, "" among them, and what may follow each.
        whole: whether the tokenizer has tokens for whole numbers, so that no digits follow digits.
    """

    spellings: Spellings
    lead: str = ""
    lead_p: float = 1.0
    known: dict[str, Options] = field(default_factory=dict)
    whole: bool = False

    @classmethod
    def along(cls, steps: Sequence[Step], spellings: Spellings) -> AnswerWalk:
        """Begin with the answer that the model wrote by itself, the likeliest token each time."""
        walk = cls(spellings)
        waiting = list(steps)
        while waiting and not waiting[0].token.strip():
            blank = waiting.pop(0)
            walk.lead += blank.token
            walk.lead_p *= math.exp(dict(blank.alternatives).get(blank.token, -math.inf))
        written = ""
        for step in waiting:
            walk.learn(written, step)
            written += step.token if written else step.token.lstrip()
            if not spellings.begins(written):
                break
        return walk

    def learn(self, beginning: str, step: Step) -> None:
        """Note what may follow the beginning of an answer."""
        self.known[beginning] = self.spellings.options(step, beginning)
        if not beginning and self.spellings.integers:
            self.whole = any(text.isdecimal() and len(text) > 1 for text in self.known[""])

    def distribution(self) -> tuple[np.ndarray, dict[str, float]]:
        """Return the answers' probabilities, and the beginnings behind which nothing is known yet.

        Returns:
            (answers,) float64 that sums to at most 1, and beginning → probability.
        """
        spellings = self.spellings
        p = np.zeros(spellings.count)
        open_: dict[str, float] = {}
        waiting = [("", self.lead_p)]
        while waiting:
            beginning, mass = waiting.pop()
            answer = spellings.answer_of.get(beginning)
            whole = self.whole and answer is not None
            if beginning and (whole or not spellings.may_go_on(beginning)):
                if answer is not None:
                    p[answer] += mass
            elif beginning not in self.known:
                open_[beginning] = open_.get(beginning, 0.0) + mass
            else:
                behind = self.known[beginning]
                if answer is not None:
                    p[answer] += mass * max(0.0, 1.0 - sum(behind.values()))
                waiting += [
                    (beginning + text, mass * probability)
                    for text, probability in behind.items()
                    if spellings.begins(beginning + text)
                ]
        return p, open_

    def finish(self, look: Callable[[str], Step], tolerance: float) -> np.ndarray:
        """Walk on until at most the fraction `tolerance` of the probability is unknown.

        Args:
            look: the step behind the text that it is given, `lead` and a beginning.

        Returns:
            as the first of :meth:`distribution`.
        """
        while True:
            p, open_ = self.distribution()
            missing = sum(open_.values())
            if missing <= tolerance * (missing + p.sum()):
                return p
            beginning = max(open_, key=lambda key: open_[key])
            self.learn(beginning, look(self.lead + beginning))
