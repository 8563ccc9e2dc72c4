"""Shards by ranges of a score, for soft filtering: good pairs are seen more often, poor ones less.

open_clip trains on several sets of shards at once and samples each by its upsampling factor. Each
bucket is a separate folder of shards, so the factors can be changed without writing again.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.select import Selection, split_selection
from pairsift.select.split import check_split
from pairsift.storage import Folder, join
from pairsift.writers.job import at_once
from pairsift.writers.manifest import MANIFEST, OutputManifest
from pairsift.writers.webdataset import SAMPLES_PER_SHARD, WebdatasetFolder, write_webdataset

_SELECTIONS = "selections"


@dataclass(frozen=True, slots=True)
class WrittenBucket:
    """Shards of the pairs with `low` <= score < `high`; None if there is no such limit."""

    low: float | None
    high: float | None
    folder: WebdatasetFolder

    def range_of(self, column: str) -> str:
        """Return the bucket's range as a condition, e.g. ``50 <= itm < 66``."""
        low = "" if self.low is None else f"{self.low:g} <= "
        high = "" if self.high is None else f" < {self.high:g}"
        return f"{low}{column}{high}"


@dataclass(frozen=True, slots=True)
class BucketFolder:
    """Buckets in order of their scores; empty ones are left out."""

    path: str
    column: str
    buckets: tuple[WrittenBucket, ...]

    def lines(self) -> list[str]:
        """What was written, for people."""
        if not self.buckets:
            return [f"the selection keeps nothing: no bucket in {self.path}"]
        found = [
            f"{bucket.folder.samples:,} samples with {bucket.range_of(self.column)} in "
            f"{bucket.folder.path}"
            for bucket in self.buckets
        ]
        return [*found, f"--train-data '{self.train_data}'"]

    @property
    def samples(self) -> int:
        """The number of samples in all buckets."""
        return sum(bucket.folder.samples for bucket in self.buckets)

    @property
    def train_data(self) -> str:
        """The value for open_clip's ``--train-data``; it needs one upsampling factor per bucket."""
        return "::".join(bucket.folder.train_data for bucket in self.buckets)


@dataclass(frozen=True, slots=True)
class BucketJob:
    """Buckets ready to be written; all options are checked."""

    selection: Selection
    manifest: OutputManifest
    column: str
    edges: tuple[float, ...]
    options: Mapping[str, Any]

    def write(self) -> BucketFolder:
        """Write the buckets; see :func:`write_buckets`."""
        folder = self.manifest.folder
        written = []
        with self.manifest.filling():
            self.manifest.take()
            buckets = split_selection(
                self.selection, self.column, self.edges, join(folder.url, _SELECTIONS)
            )
            try:
                for place, bucket in enumerate(buckets):
                    if not bucket.selection.kept:
                        continue
                    shards = write_webdataset(
                        bucket.selection, join(folder.url, f"{place:02d}"), **self.options
                    )
                    low, high = _finite(bucket.low), _finite(bucket.high)
                    written.append(WrittenBucket(low, high, shards))
            except BaseException:
                self._take_back()
                raise
        return BucketFolder(folder.url, self.column, tuple(written))

    def _take_back(self) -> None:
        """Remove the folder if it holds nothing but the buckets' selections."""
        folder = self.manifest.folder
        if folder.is_local and folder.names() == {_SELECTIONS, MANIFEST}:
            shutil.rmtree(folder.file(_SELECTIONS))


def prepare_buckets(
    selection: Selection,
    out: str | os.PathLike[str],
    column: str,
    edges: Sequence[float],
    *,
    samples_per_shard: int = SAMPLES_PER_SHARD,
    scores: Sequence[str] | None = None,
    root: str | None = None,
    workers: int | None = 1,
) -> BucketJob:
    """Prepare to write the kept samples as webdataset shards, one folder for each range of a score.

    Everything that can be wrong is checked before a source is read, and nothing is written.
    :func:`write_buckets` prepares and writes.

    Each bucket is written by :func:`write_webdataset`, which reads the headers of the source tars
    and the samples of that bucket. A killed run can be resumed.

    Args:
        column: a score column of the score tables.
        edges: ascending; ``[50, 66]`` makes buckets below 50, from 50 to 66, and from 66 on.
        samples_per_shard, scores, root, workers: as for :func:`write_webdataset`.

    Raises:
        PairsiftError: as :func:`~pairsift.select.split_selection` and
            :func:`write_webdataset` raise it.
    """
    (column,) = selection.check_columns([column], "--bucket-by")
    check_split(selection, column, edges)
    if samples_per_shard < 1:
        raise PairsiftError(f"--samples-per-shard {samples_per_shard} is not a positive number")
    columns = selection.check_columns(scores or (), "--add-scores")
    identity = {
        "by": column,
        "edges": list(map(float, edges)),
        "samples_per_shard": samples_per_shard,
        "scores": columns,
    }
    manifest = OutputManifest(
        Folder(out), selection, [*columns, column], identity, [f"{_SELECTIONS}/*"]
    )
    options = {
        "samples_per_shard": samples_per_shard,
        "scores": columns,
        "root": root,
        "workers": workers,
    }
    return BucketJob(selection, manifest, column, tuple(edges), options)


write_buckets = at_once(prepare_buckets)


def _finite(edge: float) -> float | None:
    return edge if math.isfinite(edge) else None
