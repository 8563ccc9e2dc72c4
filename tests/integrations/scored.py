"""What `pairsift score` and `pairsift select` make of the integrations' sample pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairsift.engines.local import score_shards
from pairsift.scorers.registry import load_scorer
from pairsift.select import select
from pairsift.sources import find_shards
from tests.integrations.hurt import Sample, write_shard


def score_folder_of(path: Path, pairs: list[Sample], scorer: str, **options: Any) -> str:
    """Score folder of the pairs, by way of a webdataset shard."""
    path.mkdir(parents=True, exist_ok=True)
    shard = str(write_shard(path / "0.tar", pairs))
    out = str(path / "scores")
    score_shards(
        find_shards([shard]), load_scorer(scorer, **options), out, workers=0, max_failure_rate=1
    )
    return out


def selected_keys(scores: str, path: Path, pairs: list[Sample], **query: Any) -> list[str]:
    """Keys of the pairs that `pairsift select` keeps."""
    selection = select(scores, out=path / "kept", **query)
    return [pairs[row][0] for shard in selection.shards() for row in shard.rows]
