"""What a scorer was trained for, and how a pair outside it is told.

A score of a caption in a language that the model never saw is a number like any other, and nothing
in it says that it means little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pairsift.languages import likely_languages

CERTAINTY = 0.85
"""Probability of languages outside the scope from which a caption is out of it.

Chosen on captions that nothing is measured on, for the scope English (`benchmarks/languages.py`).
Of English captions, 4 of 29,995 (Flickr8k, train) reach it, and 116 of 9,733 real alt texts
(LAION), of which 17 are English by a person's reading: names of products. Of others: Chinese
99.97 %, German 99.0 %, French 98.4 %, Czech 95.6 % (Flickr8k, train). Captions of three words are
harder: clip art's in 24 languages, 21 to 99 %, half of them above 80 %; 9 of 401 in English.
"""
# What lies beyond is too unlikely to add up to anything.
_LANGUAGES_READ = 5


class Reason(str, Enum):
    """Why a pair is out of scope. The list is closed: a score table holds no other value."""

    LANGUAGE = "language"

    @property
    def meaning(self) -> str:
        """One sentence for reports."""
        return _MEANING[self]


_MEANING = {Reason.LANGUAGE: "the caption is in a language that the scorer was not trained for"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a scorer was trained for.

    Attributes:
        languages: languages of the captions, as ISO 639 codes.
        trained_on: the pairs that it was trained on, in words; empty if not told.
        not_trained_on: what it was not trained on, in words; empty if not told.

    Examples:
        >>> scope = Scope(("en", "zh"))
        >>> scope.reads("zh-Hant"), scope.reads("de")
        (True, False)
    """

    languages: tuple[str, ...]
    trained_on: str = ""
    not_trained_on: str = ""

    def reads(self, language: str) -> bool:
        """Whether captions in `language` are in scope; ``zh_TW`` and ``zh-Hant`` are ``zh``."""
        return _primary(language) in map(_primary, self.languages)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "languages": list(self.languages),
            "trained_on": self.trained_on,
            "not_trained_on": self.not_trained_on,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Scope:
        """The inverse of :meth:`to_json`."""
        return cls(tuple(content["languages"]), content["trained_on"], content["not_trained_on"])


def _primary(language: str) -> str:
    return language.replace("_", "-").split("-")[0].lower()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a caption's language says of a pair.

    Attributes:
        language: the likeliest, as ISO 639 code; None if fastText names none.
        score: how likely, 0..1.
        reason: why the pair is out of scope; None where it is in scope, or that is not sure.
    """

    language: str | None
    score: float
    reason: Reason | None


def judge_caption(caption: str, scope: Scope) -> Verdict:
    """Look at a caption's language."""
    found = likely_languages(caption, _LANGUAGES_READ)
    language, score = found[0] if found else (None, float("nan"))
    # Capitals and names lead fastText astray: a caption is out of scope only if it is in lower
    # case too. That halves the English alt texts that are taken for something else.
    sure = _is_outside(found, scope) and _is_outside(
        likely_languages(caption.lower(), _LANGUAGES_READ), scope
    )
    return Verdict(language, score, Reason.LANGUAGE if sure else None)


def _is_outside(languages: list[tuple[str, float]], scope: Scope) -> bool:
    return sum(chance for name, chance in languages if not scope.reads(name)) >= CERTAINTY
