"""The caption index over real tars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pairsift.explore.captions import CaptionIndex, match_query
from pairsift.report.table import open_rows, split_position
from tests.score_folders import score_folder, score_table, write_tar

CAPTIONS = (
    ("A brown dog on the beach", "Two dogs and a red ball", "ball of red wool"),
    ("Ein Café in Köln", "草地上奔跑的狗", "100% cotton _shirt_", "NUL \0 here \u202e"),
)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[CaptionIndex]:
    tables = {}
    for number, captions in enumerate(CAPTIONS):
        name = f"{number:05d}"
        keys = [f"{number}{row:03d}" for row in range(len(captions))]
        members = [(f"{k}.txt", c.encode()) for k, c in zip(keys, captions, strict=True)]
        write_tar(tmp_path / f"{name}.tar", members)
        tables[name] = score_table(name, keys, {"itm": [1.0] * len(keys)})
    scores = score_folder(tmp_path / "scores", tables, root=tmp_path)
    with open_rows(scores) as rows:
        made = CaptionIndex(rows.tables, rows.facts, str(tmp_path / "cache"))
        made.start()
        assert made.wait(60)
        yield made
        made.stop()


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("dog", [(0, 0)]),
        ("dog*", [(0, 0), (0, 1)]),
        ("RED ball", [(0, 1), (0, 2)]),
        ('"red ball"', [(0, 1)]),
        ("cafe koln", [(1, 0)]),
        ("奔跑", [(1, 1)]),
        ("100%", [(1, 2)]),
        ("here", [(1, 3)]),
        ("dog OR wool", []),
        ('un"balanced AND NOT (', []),
        ("***", []),
        ("zebra", []),
    ],
)
def test_search(index: CaptionIndex, text: str, places: list[tuple[int, int]]) -> None:
    assert [split_position(pos) for pos in sorted(index.search(text))] == places


def test_captions_by_place(index: CaptionIndex) -> None:
    (pos,) = index.search("beach")
    assert index.captions([pos, pos + 99]) == {pos: CAPTIONS[0][0]}


def test_match_query_keeps_the_words_apart_from_the_syntax() -> None:
    assert match_query('dog* "red ball" NEAR(a b) -x col:y') == (
        '"dog"* "red ball" "NEAR(a" "b)" "-x" "col:y"'
    )


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    tables = {}
    for name in ("a", "b"):
        write_tar(tmp_path / f"{name}.tar", [("1.txt", f"caption {name}".encode())])
        tables[name] = score_table(name, ["1"], {"itm": [1.0]})
    scores = score_folder(tmp_path / "scores", tables, root=tmp_path)
    (tmp_path / "b.tar").rename(tmp_path / "elsewhere")
    with open_rows(scores) as rows:
        first = CaptionIndex(rows.tables, rows.facts, str(tmp_path / "cache"))
        first.start()
        assert first.wait(60)  # a shard that is gone does not stop the others
        assert len(first.search("caption")) == 1
        (tmp_path / "a.tar").unlink()
        again = CaptionIndex(rows.tables, rows.facts, str(tmp_path / "cache"))
        again.start()
        assert again.wait(60)
        assert len(again.search("caption")) == 1
