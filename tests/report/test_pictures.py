from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError
from pairsift.report.galleries import Pick
from pairsift.report.pictures import fetch_pictures, source_shard, thumbnail
from tests.report.conftest import photo
from tests.score_folders import write_tar


def pick(row: int, key: str) -> Pick:
    return Pick(0, row, "a", key, True, 96, 96, {})


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
    pictures = fetch_pictures([pick(2, "k2"), pick(1, "k1"), pick(0, "moved")], facts)
    assert pictures[0, 2].caption == "zw\u00f6lf"
    assert (pictures[0, 2].thumbnail or "").startswith("data:image/jpeg;base64,/9j/")
    assert pictures[0, 1].caption == "one"
    assert pictures[0, 1].thumbnail is None
    assert pictures[0, 1].problem
    assert "k0" in (pictures[0, 0].problem or "")


def test_a_moved_shard_costs_pictures_only(tmp_path: Path) -> None:
    facts = [{"source": str(tmp_path / "gone.tar"), "source_kind": "webdataset"}]
    picture = fetch_pictures([pick(0, "k0")], facts)[0, 0]
    assert picture.caption is None
    assert "gone.tar" in (picture.problem or "")


def test_a_shorter_shard(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("k0.jpg", photo(0)), ("k0.txt", b"zero")])
    facts = [{"source": str(tmp_path / "a.tar"), "source_kind": "webdataset"}]
    assert "ends before" in (fetch_pictures([pick(5, "k5")], facts)[0, 5].problem or "")


def test_score_file_without_a_source() -> None:
    with pytest.raises(PairsiftError, match="does not say"):
        source_shard("a", {})


def test_thumbnail_refuses_what_is_no_image() -> None:
    with pytest.raises(ImageFaultError):
        thumbnail(b"GIF89a")
