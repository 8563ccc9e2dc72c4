"""Score pairs with a cache, so that each distinct pair is scored only once.

The cache is a normal score folder (`OUT/scores/NAME-DIGEST/`), one per fingerprint. Its keys are
digests of image bytes and caption. A run may be killed and repeated, and the cache may be deleted.
A changed scorer gets another folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pairsift import __version__
from pairsift.arrow import read_parquet
from pairsift.pair import Pair, Status
from pairsift.progress import Listener, NullListener
from pairsift.scorers.base import Scorer
from pairsift.scorers.scope import Scope
from pairsift.scores import ScoreFolder
from pairsift.sources.image_store import Images

Floats = NDArray[np.float64]
ImageCaption = tuple[str, str]
"""An image's file name and a caption."""

CHUNK = 512
# The standard deviation of a score says how sure the model is, not how good the pair is.
_NOT_SCORES = ("_std", "_validity")


@dataclass(frozen=True, slots=True)
class PairScores:
    """The scores of some pairs by one scorer.

    Attributes:
        name: name of the scorer, as the user gave it.
        fingerprint: everything that decided the scores.
        columns: for each score column, the values of the distinct pairs; NaN for a failed pair.
        rows: position of each distinct pair in `columns`.
        failures: distinct pairs without scores, by status.
        scored: number of pairs that were scored now; the others are cache hits.
        seconds: time that this took.
        scope: what the scorer was trained for, if it declares it.
    """

    name: str
    fingerprint: dict[str, str]
    columns: dict[str, Floats]
    rows: dict[ImageCaption, int]
    failures: dict[str, int]
    scored: int
    seconds: float
    scope: Scope | None = None

    def of(self, column: str, images: Sequence[str], captions: Sequence[str]) -> Floats:
        """Return the scores of a column for pairs in any order, shape (n,)."""
        values = self.columns[column]
        return values[[self.rows[pair] for pair in zip(images, captions, strict=True)]]


def score_columns(schema: Iterable[pa.Field]) -> list[str]:
    """Return the names of numeric columns that rank pairs (no deviations, no validities)."""
    return [
        field.name
        for field in schema
        if (pa.types.is_integer(field.type) or pa.types.is_floating(field.type))
        and not field.name.endswith(_NOT_SCORES)
    ]


def score_pairs(
    name: str,
    scorer: Scorer,
    pairs: Iterable[ImageCaption],
    images: Images,
    out: str,
    *,
    batch_size: int | None = None,
    listener: Listener | None = None,
) -> PairScores:
    """Score every distinct pair, or read its scores from the cache under `out`.

    Raises:
        PairsiftError: an image is missing, or the cache cannot be written.
    """
    listener = listener or NullListener()
    distinct = sorted(set(pairs))
    keys = _keys(distinct, images)
    cache = ScoreFolder(_cache_folder(out, name, scorer.fingerprint), scorer.fingerprint, "")
    known = _read(cache)
    todo = {key: pair for pair, key in zip(distinct, keys, strict=True) if key not in known}
    begin, done = time.perf_counter(), 0
    # Sorted by image: a scorer may reuse what it computed for the previous pair's image.
    waiting = list(todo.items())
    for start in range(0, len(waiting), CHUNK):
        chunk = waiting[start : start + CHUNK]
        table = _score_chunk(scorer, chunk, images, batch_size, cache)
        known.update((row["key"], row) for row in table.to_pylist())
        done += len(chunk)
        listener.progress(name, done, len(waiting), unit="pairs")
    rows = [known[key] for key in keys]
    failures: dict[str, int] = {}
    for row in rows:
        if row["status"] != Status.OK.value:
            failures[row["status"]] = failures.get(row["status"], 0) + 1
    columns = {
        column: np.array([_or_nan(row[column]) for row in rows], dtype=np.float64)
        for column in score_columns(scorer.columns)
    }
    return PairScores(
        name,
        dict(scorer.fingerprint),
        columns,
        {pair: index for index, pair in enumerate(distinct)},
        failures,
        len(waiting),
        time.perf_counter() - begin,
        scorer.scope,
    )


def _keys(pairs: Sequence[ImageCaption], images: Images) -> list[str]:
    """Return a digest of image bytes and caption of each pair; images are read once, in order."""
    keys, last, digest = [], None, b""
    for image, caption in pairs:
        if image != last:
            last, digest = image, hashlib.sha256(images.read(image)).digest()
        keys.append(hashlib.sha256(digest + caption.encode("utf-8", "replace")).hexdigest()[:32])
    return keys


def _cache_folder(out: str, name: str, fingerprint: Any) -> str:
    digest = hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name.rstrip("/").rsplit("/", 1)[-1])
    return f"{out.rstrip('/')}/scores/{readable}-{digest}"


def _read(cache: ScoreFolder) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    for name in sorted(cache.finished()):
        content = cache.folder.read(f"{name}.parquet")
        for row in read_parquet(content).to_pylist():
            # Do not cache failures that a retry may fix.
            if not Status(row["status"]).retryable:
                known[row["key"]] = row
    return known


def _score_chunk(
    scorer: Scorer,
    chunk: Sequence[tuple[str, ImageCaption]],
    images: Images,
    batch_size: int | None,
    cache: ScoreFolder,
) -> pa.Table:
    begin = time.perf_counter()
    pairs = (
        Pair(key, images.read(image), caption, shard="evaluate", metadata={"image": image})
        for key, (image, caption) in chunk
    )
    table = scorer.score(pairs, batch_size)
    name = "pairs-" + hashlib.sha256("".join(key for key, _ in chunk).encode()).hexdigest()[:16]
    statuses = table["status"].value_counts().to_pylist()
    facts = {
        "source": ", ".join(images.places),
        "source_kind": "evaluate",
        "source_size": None,
        "source_error": None,
        "rows": table.num_rows,
        "statuses": {entry["values"]: entry["counts"] for entry in statuses},
        "seconds": round(time.perf_counter() - begin, 3),
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "pairsift_version": __version__,
    }
    cache.commit(name, table, facts)
    return table


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)
