from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError
from pairsift.report.pictures import fetch_pictures, source_shard, thumbnail
from pairsift.report.table import Details
from tests.report.conftest import photo
from tests.score_folders import write_tar


def rows(*keys: tuple[int, str]) -> dict[int, Details]:
    """Rows of the first score file, whose places are their numbers."""
    return {row: Details("a", key, None, 96, 96) for row, key in keys}


def test_captions_and_thumbnails_of_the_wanted_rows(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "a.tar",
        [
            ("k0.jpg", photo(0)), ("k0.txt", b"zero"),
            ("k1.jpg", b"no image"), ("k1.txt", b"one"),
            ("k2.jpg", photo(2)), ("k2.txt", "zw\u00f6lf".encode()),
        ],
    )  # fmt: skip
    facts = [{"source": str(tmp_path / "a.tar"), "source_kind": "webdataset"}]
    pictures = fetch_pictures(rows((2, "k2"), (1, "k1"), (0, "moved")), facts)
    assert pictures[2].caption == "zw\u00f6lf"
    assert (pictures[2].thumbnail or "").startswith("data:image/jpeg;base64,/9j/")
    assert pictures[1].caption == "one"
    assert pictures[1].thumbnail is None
    assert pictures[1].problem
    assert "k0" in (pictures[0].problem or "")


def test_a_moved_shard_costs_pictures_only(tmp_path: Path) -> None:
    facts = [{"source": str(tmp_path / "gone.tar"), "source_kind": "webdataset"}]
    picture = fetch_pictures(rows((0, "k0")), facts)[0]
    assert picture.caption is None
    assert "gone.tar" in (picture.problem or "")


def test_a_shorter_shard(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("k0.jpg", photo(0)), ("k0.txt", b"zero")])
    facts = [{"source": str(tmp_path / "a.tar"), "source_kind": "webdataset"}]
    assert "ends before" in (fetch_pictures(rows((5, "k5")), facts)[5].problem or "")


def test_score_file_without_a_source() -> None:
    with pytest.raises(PairsiftError, match="does not say"):
        source_shard("a", {})


def test_thumbnail_refuses_what_is_no_image() -> None:
    with pytest.raises(ImageFaultError):
        thumbnail(b"GIF89a")
