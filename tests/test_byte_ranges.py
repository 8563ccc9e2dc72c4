"""Places of samples in their tar, from the reader to the score table and back."""

from __future__ import annotations

import io
import tarfile
from array import array
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairsift.byte_ranges import BYTE_RANGES_KEY, decode_byte_ranges, encode_byte_ranges
from pairsift.engines.local import score_shards
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.select import Selection, select
from pairsift.sources import find_shards
from pairsift.writers import write_webdataset
from pairsift.writers.rawtar import RawTar
from tests.score_folders import read_tar, write_tar


def test_places_come_back() -> None:
    places = array("q", [0, 2048, 2048, 5120, -1, -1, 9216, 2**40])
    metadata = {BYTE_RANGES_KEY: encode_byte_ranges(places)}
    byte_ranges = decode_byte_ranges(metadata)
    assert byte_ranges is not None
    assert byte_ranges.tolist() == np.array(places).reshape(-1, 2).tolist()


def test_what_is_absent_or_damaged_is_none() -> None:
    assert decode_byte_ranges(None) is None
    assert decode_byte_ranges({}) is None
    assert decode_byte_ranges({BYTE_RANGES_KEY: b"rubbish"}) is None
    odd = encode_byte_ranges([1, 2, 3])
    assert decode_byte_ranges({BYTE_RANGES_KEY: odd}) is None


def _members(key: str, seed: int) -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(stream, "PNG")
    return [(f"{key}.png", stream.getvalue()), (f"{key}.txt", b"a picture of noise, made here")]


def _scored(tmp_path: Path, members: list[tuple[str, bytes]]) -> Selection:
    write_tar(tmp_path / "pool" / "00000.tar", members)
    score_shards(
        find_shards([str(tmp_path / "pool")]), HeuristicsScorer(), str(tmp_path / "scores")
    )
    return select(str(tmp_path / "scores"), where="caption_length > 3", out=tmp_path / "selection")


def test_scored_samples_are_copied_without_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [member for n in range(20) for member in _members(f"{n:09d}", n)]
    selection = _scored(tmp_path, members)

    def no_search(*_: object) -> None:
        raise AssertionError("the tar was searched")

    monkeypatch.setattr(RawTar, "find", no_search)
    write_webdataset(selection, tmp_path / "out")
    assert read_tar(tmp_path / "out" / "00000000.tar") == members


def test_entries_between_members_and_long_names_are_searched_for(tmp_path: Path) -> None:
    long = "x" * 150 + "/000000002"
    apart, named, plain = _members("000000001", 1), _members(long, 2), _members("000000003", 3)
    between = ("no-sample", b"not a sample's")
    selection = _scored(tmp_path, [apart[0], between, apart[1], *named, *plain])
    shard = next(selection.shards())
    byte_ranges = shard.byte_ranges()
    assert byte_ranges is not None
    assert byte_ranges[0].tolist() == [-1, -1]
    assert (byte_ranges[1:] >= 0).all()
    write_webdataset(selection, tmp_path / "out")
    assert read_tar(tmp_path / "out" / "00000000.tar") == [*apart, *named, *plain]


def test_another_tar_of_the_same_size_is_not_copied_blindly(tmp_path: Path) -> None:
    first, second = _members("000000001", 1), _members("000000002", 1)
    selection = _scored(tmp_path, [*first, *second])
    write_tar(tmp_path / "pool" / "00000.tar", [*second, *first])
    with tarfile.open(tmp_path / "pool" / "00000.tar") as tar:
        assert tar.getnames()[0] == "000000002.png"
    with pytest.raises(Exception, match="sample 000000001 has other bytes"):
        write_webdataset(selection, tmp_path / "out")
