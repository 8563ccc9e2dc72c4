"""Facts of a pair, and DataComp's basic filter."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from pairsift import Pair, load_scorer
from pairsift.scorers.heuristics import identify_language


def _pair(width: int, height: int, caption: str) -> Pair:
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return Pair("k", buffer.getvalue(), caption)


ENGLISH = "a brown dog runs along the beach with a ball"


@pytest.mark.parametrize(
    ("width", "height", "caption", "kept"),
    [
        (300, 400, ENGLISH, True),
        (200, 400, ENGLISH, False),  # smaller side must be above 200
        (201, 400, ENGLISH, True),
        (300, 900, ENGLISH, False),  # aspect ratio must be below 3
        (300, 899, ENGLISH, True),
        (300, 400, "the dog", False),  # more than two words
        (300, 400, "ein brauner Hund läuft mit einem Ball am Strand", False),
    ],
)
def test_datacomp_basic_filter(width: int, height: int, caption: str, kept: bool) -> None:
    table = load_scorer("heuristics").score([_pair(width, height, caption)])
    assert table["datacomp_basic"].to_pylist() == [kept]


def test_columns_hold_the_measured_facts() -> None:
    [row] = load_scorer("heuristics").score([_pair(300, 600, ENGLISH)]).to_pylist()
    assert (row["width"], row["height"], row["smaller_side"]) == (300, 600, 300)
    assert row["caption_words"] == 10
    assert row["caption_characters"] == len(ENGLISH)
    assert row["aspect_ratio"] == pytest.approx(2.0)
    assert row["language"] == "en"
    assert 0.5 < row["language_score"] <= 1.0


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("zwei Kinder spielen im Garten", "de"),
        ("deux enfants jouent dans le jardin", "fr"),
        ("两个孩子在花园里玩耍", "zh"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert identify_language(text)[0] == language


def test_line_breaks_and_length_do_not_hurt_language_identification() -> None:
    assert identify_language("\n".join([ENGLISH] * 5000))[0] == "en"
