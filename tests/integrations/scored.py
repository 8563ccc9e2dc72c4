"""What `pairsift score` and `pairsift select` make of the integrations' sample pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

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


def between(scores: str, column: str, kept: int) -> float:
    """A threshold that so many rows pass, between two scores: the last digit of one may depend on
    the batch it was in."""
    values = sorted(pq.read_table(f"{scores}/0.parquet")[column].drop_null().to_pylist())
    return float(values[-kept] + values[-kept - 1]) / 2


def own_pack(folder: Path) -> Path:
    """A tiny random checkpoint with a prompt pack of its own metrics beside it."""
    from pairsift.scorers.mlm.prompt_files import PACK_FILE, dump_pack
    from tests.scorers.mlm.checkpoints import save_checkpoint
    from tests.scorers.mlm.mixed_pack import PACK

    save_checkpoint(folder, "llava", whole_numbers=True)
    (folder / PACK_FILE).write_text(dump_pack(PACK))
    return folder
