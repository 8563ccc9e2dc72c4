"""The source shards of score tables: found, compared with then, read row by row."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.report.pictures import fetch_pictures
from pairsift.select.tables import ROW_BITS
from tests.report.scored import SECOND, Samples, open_shards, score_pool
from tests.samples import good_samples, write_tar

MOVES = {
    "another folder": "elsewhere/pool",
    "deeper": "a/b/c",
    "odd name": "näme with space",
}


@pytest.mark.parametrize("where", MOVES.values(), ids=list(MOVES))
def test_moved_shards_are_found_below_a_root(pool: Path, tmp_path: Path, where: str) -> None:
    scores = score_pool(pool, tmp_path / "s")
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    pool.rename(tmp_path / where)
    with open_shards(scores) as shards:
        picture = fetch_pictures([0], shards)[0]
        assert (picture.thumbnail, picture.caption) == (None, None)
        assert "does not exist" in (picture.problem or "")
        assert "--root" in (picture.problem or "")
        assert [change.shard for change in shards.changes()] == ["0", "1"]
    with open_shards(scores, tmp_path / where) as shards:
        pictures = fetch_pictures([0, 2, SECOND + 2], shards)
        assert all(picture.thumbnail for picture in pictures.values())
        assert shards.changes() == []


def test_several_folders_have_a_root_each_or_one_for_all(pool: Path, tmp_path: Path) -> None:
    first = score_pool(pool, tmp_path / "s1")
    other = tmp_path / "other"
    shutil.copytree(pool, other)
    second = score_pool(other, tmp_path / "s2")
    pool.rename(tmp_path / "new1")
    other.rename(tmp_path / "new2")
    last = 3 << ROW_BITS
    with open_shards([first, second], tmp_path / "new1", tmp_path / "new2") as shards:
        assert all(p.thumbnail for p in fetch_pictures([0, last], shards).values())
    with open_shards([first, second], tmp_path / "new1") as shards:  # the same shards
        assert all(p.thumbnail for p in fetch_pictures([0, last], shards).values())
    with (
        pytest.raises(PairsiftError, match="--root is given 3 times for 2 score folders"),
        open_shards([first, second], "a", "b", "c"),
    ):
        pass


def _other_caption(samples: Samples) -> None:
    samples["s0-0002"]["txt"] = samples["s0-0002"]["txt"].replace("brown", "green")


def _other_order(samples: Samples) -> None:
    for key in ("s0-0000", "s0-0001"):
        samples[key] = samples.pop(key)


def _one_less(samples: Samples) -> None:
    del samples["s0-0002"]


CHANGES = {"a caption": _other_caption, "the order": _other_order, "fewer samples": _one_less}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_changed_shards_give_no_wrong_picture(
    pool: Path, tmp_path: Path, change: Callable[[Samples], None]
) -> None:
    scores = score_pool(pool, tmp_path / "s")
    samples: Samples = good_samples(3, "s0-")
    samples["s0-0001"]["jpg"] = b"no image"
    change(samples)
    write_tar(pool / "0.tar", samples)
    os.utime(pool / "0.tar", (1, 1))
    with open_shards(scores) as shards:
        pictures = fetch_pictures([0, 2, SECOND], shards)
        assert [change.shard for change in shards.changes()] == ["0"]
    assert pictures[2].thumbnail is None
    assert "has changed since it was scored" in (pictures[2].problem or "")
    assert pictures[SECOND].thumbnail


def test_rows_are_read_in_order_and_missing_ones_left_out(pool: Path, tmp_path: Path) -> None:
    with open_shards(score_pool(pool, tmp_path / "s")) as shards:
        assert len(shards) == 2
        assert [(place, pair.key) for place, pair in shards.rows(1)] == [
            (0, "s1-0000"), (1, "s1-0001"), (2, "s1-0002"),
        ]  # fmt: skip
        assert [(place, pair.key) for place, pair in shards.rows(0, [0, 2, 7])] == [
            (0, "s0-0000"), (2, "s0-0002"),
        ]  # fmt: skip
        assert list(shards.rows(0, [])) == []


def test_a_shard_that_is_gone_is_a_change_and_an_error_of_its_rows(
    pool: Path, tmp_path: Path
) -> None:
    scores = score_pool(pool, tmp_path / "s")
    (pool / "1.tar").unlink()
    with open_shards(scores) as shards:
        (change,) = shards.changes()
        assert change.shard == "1"
        assert "1.tar" in change.how
        with pytest.raises(PairsiftError, match=r"1\.tar .*--root"):
            list(shards.rows(1))
        assert len(list(shards.rows(0))) == 3
