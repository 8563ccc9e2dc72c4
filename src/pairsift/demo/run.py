"""Run the demo and summarise it."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pairsift.config import Config
from pairsift.demo.photos import PHOTOS
from pairsift.demo.shard import KEY_SEPARATOR, write_demo_shard
from pairsift.errors import PairsiftError
from pairsift.options import ReportOptions, ScoreOptions, SelectOptions, WriteOptions
from pairsift.pipeline import REPORT, SCORES, run_pipeline

MARKER = ".pairsift-demo"
KEPT = 0.25
MAX_FAILURE_RATE = 1.0  # the demo has two faulty samples on purpose


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """The results of the demo.

    Attributes:
        right_beats_wrong: photos whose right caption has a higher `itm` than the wrong one.
        right_is_best: photos whose right caption has the highest `itm` of all four.
        kept_right: kept pairs with the right caption.
    """

    pairs: int
    failed: int
    pairs_per_second: float
    photos: int
    right_beats_wrong: int
    right_is_best: int
    kept: int
    kept_right: int
    report: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return asdict(self)

    def text(self) -> str:
        """A few lines for people."""
        return "\n".join(
            (
                f"{self.pairs} pairs at {self.pairs_per_second:.1f} pairs/s, "
                f"{self.failed} of them faulty on purpose",
                f"the right caption scores above the wrong one for {self.right_beats_wrong} of "
                f"{self.photos} photos, and all three others for {self.right_is_best}",
                f"of the {self.kept} pairs kept, {self.kept_right} have the right caption",
                f"look at {self.report}",
            )
        )


def run_demo(out: str, scorer: str = "pairsift-tiny") -> DemoSummary:
    """Write the demo's shard below `out`, then score, select, write and report it.

    Raises:
        PairsiftError: the packages with the photographs are not installed, or `out` holds something
            that the demo did not write.
    """
    folder = Path(out)
    _make_room(folder)
    tar = write_demo_shard(folder / "pool")
    result = run_pipeline(
        Config(
            out=out,
            score=ScoreOptions(
                shards=(str(tar),), scorer=scorer, max_failure_rate=MAX_FAILURE_RATE
            ),
            select=SelectOptions(top=KEPT, by="itm"),
            write=WriteOptions(datacomp="subset.npy", webdataset="shards"),
            report=ReportOptions(title="Pairsift demo"),
        )
    )
    scores = folder / SCORES / "00000.parquet"
    itm = _itm_by_photo(scores)
    assert result.selection is not None
    kept = [
        key
        for shard in result.selection.shards()
        for key in shard.table(["key"])["key"].to_pylist()
    ]
    return DemoSummary(
        pairs=result.score.rows,
        failed=result.score.failures,
        pairs_per_second=round(result.score.pairs_per_second, 1),
        photos=len(PHOTOS),
        right_beats_wrong=sum(photo["right"] > photo["wrong"] for photo in itm.values()),
        right_is_best=sum(max(photo, key=photo.__getitem__) == "right" for photo in itm.values()),
        kept=len(kept),
        kept_right=sum(key.endswith(f"{KEY_SEPARATOR}right") for key in kept),
        report=str(folder / REPORT),
    )


def _make_room(folder: Path) -> None:
    """Delete what an earlier demo left, and nothing else."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise PairsiftError(f"{folder} is not empty; give the demo its own folder (--out)")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


def _itm_by_photo(scores: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {photo.name: {} for photo in PHOTOS}
    for row in pq.read_table(scores, columns=["key", "status", "itm"]).to_pylist():
        name, _, kind = row["key"].rpartition(KEY_SEPARATOR)
        if row["status"] == "ok" and name in found:
            found[name][kind] = row["itm"]
    return found
