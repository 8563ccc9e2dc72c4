"""Names of a sample's members, and that readers find them."""

from __future__ import annotations

from pathlib import Path

import pytest
import webdataset as wds

from pairsift.pair import Pair
from pairsift.sources import find_shards, open_shard
from pairsift.writers.pairs import pair_members
from tests.samples import jpeg, tar_bytes

KEYS = ["a", "a.b", "", ".", "..", "a/", "a/.", "/abs", "a.b/c.d", "//", "x y", "\u65e5\u672c", "-"]


@pytest.mark.parametrize("key", KEYS)
def test_a_sample_of_any_key_is_read_back(tmp_path: Path, key: str) -> None:
    members = pair_members(Pair(key, jpeg(), "a dog", shard="s"))
    path = tmp_path / "s.tar"
    path.write_bytes(tar_bytes(members))
    (shard,) = find_shards(str(path)).shards
    (pair,) = open_shard(shard)
    assert (pair.caption, pair.metadata["key"], pair.fault) == ("a dog", key, None)
    (sample,) = wds.WebDataset(str(path), shardshuffle=False)
    assert sample["txt"] == b"a dog"
