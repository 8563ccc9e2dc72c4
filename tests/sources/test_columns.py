"""How a column is found by its name."""

from __future__ import annotations

import pytest

from pairsift.errors import PairsiftError
from pairsift.sources.columns import CAPTION_COLUMNS, IMAGE_NAME_COLUMNS, find_column, match_column


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["image", "caption"], "caption"),
        (["text", "caption"], "caption"),  # the list's order, not the table's
        (["Caption ", "url"], "Caption "),
        (["TEXT"], "TEXT"),
        (["Caption", "caption"], "caption"),  # the very spelling comes first
        (["captionist"], None),
        ([], None),
    ],
)
def test_the_first_usual_name_is_taken(columns: list[str], found: str | None) -> None:
    assert match_column(columns, CAPTION_COLUMNS, "t.csv") == found


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(PairsiftError, match="t.csv has 2 columns named 'caption'; rename"):
        match_column(["Caption", "CAPTION"], CAPTION_COLUMNS, "t.csv")


def test_the_column_that_the_user_named_is_the_only_one_tried() -> None:
    assert find_column(["caption", "Alt"], CAPTION_COLUMNS, "t.csv", "caption", "alt") == "Alt"
    with pytest.raises(PairsiftError) as raised:
        find_column(["caption"], CAPTION_COLUMNS, "t.csv", "caption", "alt", "--caption-field")
    assert str(raised.value) == (
        "t.csv has no caption column 'alt'; its columns are: caption; name the right one with "
        "--caption-field"
    )


def test_a_first_line_that_is_a_row_is_told() -> None:
    with pytest.raises(PairsiftError, match="this one looks like a row"):
        find_column(["dog.jpg", "a dog"], IMAGE_NAME_COLUMNS, "t.csv", "image", option="--image")
