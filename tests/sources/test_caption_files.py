"""Captions by image and number."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.sources.caption_files import read_captions


def _file(tmp_path: Path, name: str, text: str) -> str:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def test_the_form_of_flickr8k(tmp_path: Path) -> None:
    path = _file(tmp_path, "token.txt", "a.jpg#0\tA dog .\na.jpg#1\tTwo, dogs\nb#c.jpg#0\tA cat\n")
    assert read_captions(path) == {
        ("a.jpg", 0): "A dog .", ("a.jpg", 1): "Two, dogs", ("b#c.jpg", 0): "A cat",
    }  # fmt: skip


def test_a_table_numbers_captions_by_order_or_by_its_column(tmp_path: Path) -> None:
    plain = _file(tmp_path, "a.csv", "image,caption\na.jpg,one\nb.jpg,other\na.jpg,two\n")
    assert read_captions(plain) == {
        ("a.jpg", 0): "one", ("b.jpg", 0): "other", ("a.jpg", 1): "two",
    }  # fmt: skip
    numbered = _file(tmp_path, "b.csv", "image,caption,caption_number\na.jpg,one,3\na.jpg,two,1\n")
    assert read_captions(numbered) == {("a.jpg", 3): "one", ("a.jpg", 1): "two"}


def test_a_list_of_captions_is_numbered_through(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "a.jsonl",
        '{"file_name": "a.jpg", "captions": ["one", "two"]}\n'
        '{"file_name": "a.jpg", "captions": ["three"]}\n',
    )
    assert read_captions(path) == {("a.jpg", 0): "one", ("a.jpg", 1): "two", ("a.jpg", 2): "three"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "image,caption\n", "holds no captions"),
        ("a.csv", "image,number\na.jpg,1\n", "has no caption column"),
        ("a.csv", "image,caption,caption_number\na.jpg,x,1\na.jpg,y,1\n", "row 2: a.jpg has capt"),
        ("a.csv", "image,caption,caption_number\na.jpg,x,one\n", "'one', not a whole number"),
        ("a.jsonl", '{"image": "a.jpg", "caption": 7}\n', "row 1: 'caption' is a int, not text"),
        ("a.txt", "a.jpg#0\tone\na.jpg two\n", "line 2: expected image.jpg#0<TAB>caption"),
    ],
)
def test_another_form_names_file_and_row(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = _file(tmp_path, name, text)
    with pytest.raises(PairsiftError) as raised:
        read_captions(path)
    assert words in str(raised.value)
    assert path in str(raised.value)
