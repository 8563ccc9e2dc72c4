"""The whole way through fsspec's memory:// file system."""

from __future__ import annotations

from pathlib import Path

import fsspec

from pairsift import load_scorer
from pairsift.engines.local import score_shards
from pairsift.select import read_selection, select
from pairsift.sources import find_shards
from pairsift.status import read_status
from pairsift.writers import write_webdataset
from tests.samples import good_samples, write_tar


def test_score_resume_select_and_write_in_memory(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for shard in range(3):
        path = write_tar(tmp_path / f"{shard}.tar", good_samples(10, f"{shard}-"))
        memory.pipe_file(f"/way/pool/{shard}.tar", path.read_bytes())
    shards = find_shards("memory://way/pool")
    scorer = load_scorer("heuristics")
    score_shards(shards, scorer, "memory://way/scores", part=(1, 2))
    summary = score_shards(shards, scorer, "memory://way/scores")
    assert (summary.skipped, summary.rows) == (2, 10)
    assert read_status("memory://way/scores").statuses == {"ok": 30}
    select("memory://way/scores", top=0.5, by="smaller_side", out="memory://way/kept")
    written = write_webdataset(read_selection("memory://way/kept"), "memory://way/written")
    assert written.samples == 15
    assert memory.exists("/way/written/00000000.tar")
