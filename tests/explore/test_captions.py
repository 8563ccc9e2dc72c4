"""The caption index over real tars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
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
        made = CaptionIndex(rows.shards, str(tmp_path / "cache"))
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


def _read(scores: str, cache: Path, *roots: str) -> tuple[tuple[int, int], list[str], int]:
    """One server's reading: shards read and in all, problems, and captions found."""
    with open_rows(scores, roots=roots) as rows:
        index = CaptionIndex(rows.shards, str(cache))
        index.start()
        assert index.wait(60)
        index.stop()
        return index.progress(), list(index.problems.values()), len(index.search("caption"))


@pytest.fixture
def two(tmp_path: Path) -> str:
    """Scores of two tars, of one caption each, below `pool`."""
    tables = {}
    for name in ("a", "b"):
        write_tar(tmp_path / "pool" / f"{name}.tar", [("1.txt", f"caption {name}".encode())])
        tables[name] = score_table(name, ["1"], {"itm": [1.0]})
    return score_folder(tmp_path / "scores", tables, root=tmp_path / "pool")


def _gone(tar: Path) -> None:
    tar.rename(tar.with_suffix(".away"))


def _another(tar: Path) -> None:
    _gone(tar)
    write_tar(tar, [("2.txt", b"caption of another")])


def _no_tar(tar: Path) -> None:
    _gone(tar)
    tar.write_bytes(b"no tar" * 200)


def _back(tar: Path) -> None:
    tar.unlink(missing_ok=True)
    tar.with_suffix(".away").rename(tar)


@pytest.mark.parametrize("hurt", [_gone, _another, _no_tar], ids=["gone", "another", "no tar"])
def test_a_shard_that_could_not_be_read_is_tried_again(
    tmp_path: Path, two: str, hurt: Callable[[Path], None]
) -> None:
    tar = tmp_path / "pool" / "b.tar"
    hurt(tar)
    progress, problems, found = _read(two, tmp_path / "cache")
    # It does not stop the others, and does not count as read.
    assert (progress, len(problems), found) == ((1, 2), 1, 1)
    _back(tar)
    assert _read(two, tmp_path / "cache") == ((2, 2), [], 2)


def test_what_was_read_once_is_not_read_again(tmp_path: Path, two: str) -> None:
    assert _read(two, tmp_path / "cache") == ((2, 2), [], 2)
    (tmp_path / "pool").rename(tmp_path / "elsewhere")
    assert _read(two, tmp_path / "cache") == ((2, 2), [], 2)


def test_moved_shards_are_read_below_a_root(tmp_path: Path, two: str) -> None:
    (tmp_path / "pool").rename(tmp_path / "elsewhere")
    progress, problems, _ = _read(two, tmp_path / "cache")
    assert progress == (0, 2)
    assert all("--root" in problem for problem in problems)
    assert _read(two, tmp_path / "cache", str(tmp_path / "elsewhere")) == ((2, 2), [], 2)


@pytest.mark.parametrize("what", ["file", "no database"])
def test_cache_that_cannot_be_used_is_told(tmp_path: Path, two: str, what: str) -> None:
    cache = tmp_path / "cache"
    if what == "file":
        cache.write_text("x")
    else:
        _read(two, cache)
        for index in cache.iterdir():
            index.write_bytes(b"no database" * 1000)
    with pytest.raises(PairsiftError, match="--cache"):
        _read(two, cache)
