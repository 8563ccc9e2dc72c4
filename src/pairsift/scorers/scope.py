"""What a scorer was trained for, and whether a pair is outside it.

The score of a caption in a language that the model never saw looks like any other number, although
it means little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pairsift.languages import likely_languages

CERTAINTY = 0.85
"""If languages outside the scope have at least this probability, a caption is out of scope.

Chosen for the scope English, on captions that no evaluation uses (`benchmarks/languages.py`). It is
reached by 4 of 29,995 English captions (Flickr8k, train) and by 116 of 9,733 real alt texts
(LAION); 17 of these are English by a person's reading (names of products). Of captions in other
languages it is reached by: Chinese 99.97 %, German 99.0 %, French 98.4 %, Czech 95.6 % (Flickr8k,
train). Captions of three words are harder: 21 to 99 % of clip art's captions in 24 languages, half
of the languages above 80 %; 9 of 401 in English.
"""
# Further languages are too unlikely to matter.
_LANGUAGES_READ = 5


class Reason(str, Enum):
    """Why a pair is out of scope. The list is closed: a score table holds no other value."""

    LANGUAGE = "language"
    IMAGE = "image"

    @property
    def meaning(self) -> str:
        """One sentence for reports."""
        return _MEANING[self]


_MEANING = {
    Reason.LANGUAGE: "the caption is in a language that the scorer was not trained for",
    Reason.IMAGE: "the image is of a kind for which the score says little",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a scorer was trained for.

    Attributes:
        languages: languages of the captions, as ISO 639 codes.
        trained_on: the training pairs, in words; empty if not known.
        not_trained_on: kinds of pairs that it was not trained on, in words; empty if not known.
        novelty_limit: :meth:`pairsift.scorers.base.Scorer.novelty` above which an image is out of
            scope; None if the scorer cannot tell.

    Examples:
        >>> scope = Scope(("en", "zh"))
        >>> scope.reads("zh-Hant"), scope.reads("de")
        (True, False)
    """

    languages: tuple[str, ...]
    trained_on: str = ""
    not_trained_on: str = ""
    novelty_limit: float | None = None

    def reads(self, language: str) -> bool:
        """Return whether `language` is in scope; ``zh_TW`` and ``zh-Hant`` count as ``zh``."""
        return _primary(language) in map(_primary, self.languages)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "languages": list(self.languages),
            "trained_on": self.trained_on,
            "not_trained_on": self.not_trained_on,
            "novelty_limit": self.novelty_limit,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Scope:
        """Return the scope for the result of :meth:`to_json`."""
        return cls(
            tuple(content["languages"]),
            content["trained_on"],
            content["not_trained_on"],
            content.get("novelty_limit"),  # tables of before 2026-11-29 have none
        )


def _primary(language: str) -> str:
    return language.replace("_", "-").split("-")[0].lower()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The language of a caption, and whether it is in scope.

    Attributes:
        language: the most likely one, as ISO 639 code; None if fastText finds none.
        score: its probability, 0..1.
        reason: why the pair is out of scope; None if it is in scope, or that is not certain.
    """

    language: str | None
    score: float
    reason: Reason | None


def judge_caption(caption: str, scope: Scope) -> Verdict:
    """Detect a caption's language and compare it with the scope."""
    found = likely_languages(caption, _LANGUAGES_READ)
    language, score = found[0] if found else (None, float("nan"))
    # Capitals and names mislead fastText, so a caption must be out of scope in lower case too. This
    # halves the number of English alt texts that are taken for another language.
    sure = _is_outside(found, scope) and _is_outside(
        likely_languages(caption.lower(), _LANGUAGES_READ), scope
    )
    return Verdict(language, score, Reason.LANGUAGE if sure else None)


def _is_outside(languages: list[tuple[str, float]], scope: Scope) -> bool:
    return sum(chance for name, chance in languages if not scope.reads(name)) >= CERTAINTY
