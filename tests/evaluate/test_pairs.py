"""Right captions against wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.pairs import read_pairs

pytest.importorskip("scipy")


def _table(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    return str(path)


@pytest.mark.parametrize(
    "header",
    [
        "image,right,wrong,category",
        "filename,caption,negative_caption,category",
        "Image_File,positive,negative,CATEGORY",
    ],
)
def test_a_table_of_any_of_its_headers_is_read(tmp_path: Path, header: str) -> None:
    path = _table(tmp_path / "p.csv", f"{header}\na.jpg,ein Hund,eine Katze,swap\nb.jpg,,,\n")
    found = read_pairs(path)
    assert found.images == ["a.jpg", "b.jpg"]
    assert (found.first, found.second) == (["ein Hund", ""], ["eine Katze", ""])
    assert found.categories == ["swap", "all"]
    assert found.preferred.tolist() == [1, 1]


def test_a_table_without_categories_has_one(tmp_path: Path) -> None:
    path = _table(tmp_path / "p.csv", "image;right;wrong\na.jpg;a dog, brown;a cat\n")
    found = read_pairs(path)
    assert (found.first, found.categories) == (["a dog, brown"], ["all"])


def test_wrong_captions_are_drawn_from_the_rows_own_slice(tmp_path: Path) -> None:
    rows = ["image,caption,language,domain"]
    rows += [f"{n}.jpg,{of} {n},{of},{n % 2}" for n in range(6) for of in ("en", "de")]
    path = _table(tmp_path / "c.csv", "\n".join([*rows, "9.jpg,fr 9,fr,0"]))
    found = read_pairs(path, by=["language", "domain"], draw=True, seed=3)
    assert found.left_out == {"no other caption in the slice": 1}
    for image, right, wrong in zip(found.images, found.first, found.second, strict=True):
        assert wrong != right
        assert wrong[:2] == right[:2]  # the language
        assert int(wrong[3:]) % 2 == int(image[0]) % 2  # the domain
    assert found.labels["language"] == ["en", "de"] * 6
    assert read_pairs(path, draw=True, seed=3).second != found.second  # of any slice


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,right,wrong\n", "holds no pairs"),
        ("right,wrong\na,b\n", "no image column"),
        ("image,wrong\na,b\n", "no right caption column"),
        ("image,right\na,b\n", "no wrong caption column such as wrong"),
        ("image,right,wrong\na,b\n", "line 2"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        read_pairs(_table(tmp_path / "p.csv", text))
