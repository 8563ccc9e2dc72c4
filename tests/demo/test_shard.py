"""The demo's shard."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

pytest.importorskip("skimage", reason="the demo's photographs come with scikit-image")
pytest.importorskip("sklearn", reason="the demo's photographs come with scikit-learn")
from pairsift.demo.photos import PHOTOS
from pairsift.demo.shard import write_demo_shard


def test_shard_is_the_same_every_time(tmp_path: Path) -> None:
    first = write_demo_shard(tmp_path / "a").read_bytes()
    assert write_demo_shard(tmp_path / "b").read_bytes() == first
    with tarfile.open(tmp_path / "a" / "00000.tar") as tar:
        assert len(tar.getnames()) == 3 * (4 * len(PHOTOS) + 2)
