"""Compute the distribution over 0..100 from what a server says about the next token.

A server returns only the most likely tokens, and only after the text that it has written. So
numbers are explored step by step: after the prompt, after the digits that the model itself writes,
and after other beginnings of a number that have enough probability to be worth a request.
Unexplored beginnings and tokens below the most likely ones are missing from the distribution's
mass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pairsift.metrics import MAX_SCORE, MIN_SCORE

#: Digits that a next token may stand for → their probability.
Digits = Mapping[str, float]

_MOST_DIGITS = len(str(MAX_SCORE))


@dataclass(frozen=True, slots=True)
class Step:
    """One written token, and its alternatives.

    Attributes:
        token: its text.
        alternatives: text and log probability of the most likely tokens at this position, including
            the written one.
    """

    token: str
    alternatives: Sequence[tuple[str, float]]

    def digits(self, spaces: bool) -> dict[str, float]:
        """Return the digits that may follow here; with `spaces`, also those after spaces."""
        found: dict[str, float] = {}
        for text, log_p in self.alternatives:
            text = text.lstrip() if spaces else text
            if text.isascii() and text.isdecimal():
                found[text] = found.get(text, 0.0) + math.exp(log_p)
        return found


@dataclass(slots=True)
class NumberWalk:
    """What is known about the number that a model would answer.

    Attributes:
        lead: white space that the model writes before the number.
        lead_p: its probability.
        known: beginnings of a number, including "", and what may follow each.
        whole: whether the tokenizer has tokens for whole numbers, so that no digits follow digits.
    """

    lead: str = ""
    lead_p: float = 1.0
    known: dict[str, Digits] = field(default_factory=dict)
    whole: bool = False

    @classmethod
    def along(cls, steps: Sequence[Step]) -> NumberWalk:
        """Begin with the answer that the model wrote by itself, always the most likely token."""
        walk = cls()
        waiting = list(steps)
        while waiting and not waiting[0].token.strip():
            blank = waiting.pop(0)
            walk.lead += blank.token
            walk.lead_p *= math.exp(dict(blank.alternatives).get(blank.token, -math.inf))
        written = ""
        for step in waiting:
            walk.learn(written, step)
            text = step.token if written else step.token.lstrip()
            if not (text.isascii() and text.isdecimal()):
                break
            written += text
        return walk

    def learn(self, beginning: str, step: Step) -> None:
        """Record what may follow the beginning of a number."""
        self.known[beginning] = step.digits(spaces=not beginning)
        if not beginning:
            self.whole = any(len(digits) > 1 for digits in self.known[""])

    def distribution(self) -> tuple[np.ndarray, dict[str, float]]:
        """Return the probabilities of 0..100, and of the unexplored beginnings.

        Returns:
            (101,) float64 that sums to at most 1, and beginning → probability.
        """
        p = np.zeros(MAX_SCORE - MIN_SCORE + 1)
        open_: dict[str, float] = {}
        waiting = [("", self.lead_p)]
        while waiting:
            beginning, mass = waiting.pop()
            if beginning and (self.whole or not _may_go_on(beginning)):
                p[int(beginning)] += mass
            elif beginning not in self.known:
                open_[beginning] = open_.get(beginning, 0.0) + mass
            else:
                behind = self.known[beginning]
                if beginning:
                    p[int(beginning)] += mass * max(0.0, 1.0 - sum(behind.values()))
                waiting += [
                    (beginning + digits, mass * probability)
                    for digits, probability in behind.items()
                    if _is_number(beginning + digits)
                ]
        return p, open_

    def finish(self, look: Callable[[str], Step], tolerance: float) -> np.ndarray:
        """Explore until at most the fraction `tolerance` of the probability is unexplored.

        Args:
            look: returns the step after the text that it is given, `lead` and digits.

        Returns:
            the first result of :meth:`distribution`.
        """
        while True:
            p, open_ = self.distribution()
            missing = sum(open_.values())
            if missing <= tolerance * (missing + p.sum()):
                return p
            beginning = max(open_, key=lambda key: open_[key])
            self.learn(beginning, look(self.lead + beginning))


def _is_number(digits: str) -> bool:
    return (
        len(digits) <= _MOST_DIGITS
        and int(digits) <= MAX_SCORE
        and (len(digits) == 1 or digits[0] != "0")
    )


def _may_go_on(digits: str) -> bool:
    # 0 followed by digits is not a number of the scale, and is not 0 either.
    return digits == "0" or _is_number(digits + "0")
