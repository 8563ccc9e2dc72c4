"""Shards, keys and images whose names hold any script or bytes go through every step."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from pairsift.engines.local import score_shards
from pairsift.scorers.registry import load_scorer
from pairsift.select import select
from pairsift.sources import find_shards
from pairsift.status import read_status
from pairsift.writers.webdataset import write_webdataset
from tests.samples import jpeg, tar_bytes

SHARDS = [
    b"caf\xe9", "犬 🐕".encode(), b"100% [a] 'q' \"d\" {b}", b"x1", b"x[1]", b"x*y?", b"xzy_",
    b"semi;colon,", b"per%20cent#h",
]  # fmt: skip
KEYS = ["犬 🐕", "a [1]", 'it\'s "q"', "50%20", "x;y,z|"]


@pytest.mark.parametrize("names", [SHARDS, SHARDS[:1], SHARDS[3:7]])
def test_score_select_write(tmp_path: Path, names: list[bytes]) -> None:
    pool = tmp_path / "po[o]l *"
    pool.mkdir()
    members = [
        member
        for number, key in enumerate(KEYS)
        for member in [(f"{key}.jpg", jpeg(16, 16, number)), (f"{key}.txt", f"a dog {key}")]
    ]
    for name in names:
        (pool / os.fsdecode(name + b".tar")).write_bytes(tar_bytes(members))
    scores = tmp_path / "scores"
    for rows in (len(KEYS) * len(names), 0):  # the second time finds all done
        summary = score_shards(find_shards(str(pool)), load_scorer("heuristics"), str(scores))
        assert (summary.rows, summary.failures) == (rows, 0)
    assert read_status(str(scores)).rows == len(KEYS) * len(names)
    selection = select(str(scores), where="caption_words > 0", out=tmp_path / "kept")
    assert selection.kept == len(KEYS) * len(names)
    assert len({shard.shard for shard in selection.shards()}) == len(names)
    write_webdataset(selection, tmp_path / "out")
    written = sorted((tmp_path / "out").glob("*.tar"))
    assert len(written) == len(names)
    for tar in written:
        with tarfile.open(tar) as file:
            assert file.getnames() == [name for name, _ in members]
