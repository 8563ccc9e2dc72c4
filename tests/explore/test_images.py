"""Images of rows: read in one pass over their shard, and held for a while."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pairsift.explore import images
from pairsift.explore.images import PIXELS, PictureReader
from pairsift.report.sources import SourceShards
from pairsift.report.table import open_rows
from tests.samples import CAPTION, jpeg, write_tar
from tests.score_folders import score_folder, score_table

SECOND = 1 << 32
KEYS = {"a": list("0123"), "b": list("45")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tars; the image of row 2 is broken, that of row 3 missing, that of row 4 large."""
    images: dict[str, dict[str, bytes | str]] = {
        "0": {"jpg": jpeg(40, 30)},
        "1": {"jpg": jpeg(41, 30)},
        "2": {"jpg": b"no image"},
        "3": {},
        "4": {"jpg": jpeg(2 * PIXELS, 60)},
        "5": {"jpg": jpeg(45, 30)},
    }
    for shard, keys in KEYS.items():
        write_tar(tmp_path / f"{shard}.tar", {key: {**images[key], "txt": CAPTION} for key in keys})
    return tmp_path


@pytest.fixture
def shards(folder: Path) -> Iterator[SourceShards]:
    tables = {
        shard: score_table(shard, keys, {"itm": [1.0] * len(keys)}) for shard, keys in KEYS.items()
    }
    scores = score_folder(folder / "scores", tables, root=folder)
    with open_rows(scores) as rows:
        yield rows.shards


def _size(picture: bytes | str) -> tuple[int, int]:
    assert isinstance(picture, bytes), picture
    return Image.open(io.BytesIO(picture)).size


def test_an_image_comes_as_jpeg_or_with_the_reason_why_not(shards: SourceShards) -> None:
    reader = PictureReader(shards)
    assert _size(reader.get(1)) == (41, 30)
    assert _size(reader.get(SECOND)) == (PIXELS, 30)  # made smaller
    broken, missing = reader.get(2), reader.get(3)
    assert isinstance(broken, str)
    assert "image" in broken
    assert isinstance(missing, str)
    assert reader.get(9) == "there is no such row"
    for pos in (2 * SECOND, -1):
        assert reader.get(pos) == "no such row"


def test_announced_rows_are_read_with_the_first_one(folder: Path, shards: SourceShards) -> None:
    reader = PictureReader(shards)
    reader.expect([0, 1, 2])
    reader.get(1)
    (folder / "a.tar").unlink()
    assert _size(reader.get(0)) == (40, 30)
    assert isinstance(reader.get(2), str)
    late = reader.get(3)  # it was not announced
    assert isinstance(late, str)
    assert "a.tar" in late


def test_a_shard_that_comes_back_is_read_again(folder: Path, shards: SourceShards) -> None:
    reader = PictureReader(shards)
    away = folder / "away.tar"
    (folder / "a.tar").rename(away)
    assert "a.tar" in str(reader.get(0))
    away.rename(folder / "a.tar")
    assert _size(reader.get(0)) == (40, 30)


def test_the_least_recently_shown_images_are_dropped(
    folder: Path, shards: SourceShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "HELD", 2)
    reader = PictureReader(shards)
    for pos in (0, SECOND, 0, SECOND + 1):
        reader.get(pos)
    for name in ("a.tar", "b.tar"):
        (folder / name).unlink()
    assert _size(reader.get(0)) == (40, 30)  # shown again meanwhile
    assert _size(reader.get(SECOND + 1)) == (45, 30)
    assert isinstance(reader.get(SECOND), str)
