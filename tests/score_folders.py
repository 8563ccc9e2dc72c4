"""Score folders and tars for tests, made by the package's own means."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pairsift.pair import Status
from pairsift.scores import ScoreFolder, score_schema, status_array

FINGERPRINT = {"scorer": "test", "version": "1"}


def uid_of(number: int) -> str:
    """A uid with digits in both halves."""
    return f"{(number * 0x9E3779B97F4A7C15) % 2**64:016x}{number:016x}"


def score_table(
    shard: str,
    keys: Sequence[str],
    scores: Mapping[str, Sequence[Any]],
    *,
    uids: Sequence[str | None] | None = None,
    statuses: Sequence[Status] | None = None,
) -> pa.Table:
    """A score table; columns of floats are float32, others text; scores of failures are null."""
    statuses = statuses or [Status.OK] * len(keys)
    good = [status is Status.OK for status in statuses]
    columns, fields = [], []
    for name, values in scores.items():
        is_text = any(isinstance(value, str) for value in values)
        kind = pa.string() if is_text else pa.float32()
        kept = [value if ok else None for value, ok in zip(values, good, strict=True)]
        columns.append(pa.array(kept, kind))
        fields.append(pa.field(name, kind))
    return pa.Table.from_arrays(
        [
            pa.array([shard] * len(keys), pa.string()),
            pa.array(list(keys), pa.string()),
            pa.array(list(uids or [None] * len(keys)), pa.string()),
            status_array(statuses),
            pa.array([None if ok else "broken" for ok in good], pa.string()),
            pa.array([640] * len(keys), pa.int32()),
            pa.array([480] * len(keys), pa.int32()),
            pa.array([20] * len(keys), pa.int32()),
            *columns,
        ],
        schema=score_schema(fields),
    )


def score_folder(
    path: Path,
    tables: Mapping[str, pa.Table],
    *,
    root: Path | str = "/data",
    fingerprint: Mapping[str, str] = FINGERPRINT,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Commit tables; by default their sources are tars below `root`."""
    folder = ScoreFolder(str(path), fingerprint, str(root))
    for name, table in tables.items():
        source = Path(root) / f"{name}.tar"
        own = {
            "source": str(source),
            "source_kind": "webdataset",
            "source_size": source.stat().st_size if source.exists() else None,
            "source_options": {},
        }
        folder.commit(name, table, {**own, **(facts or {}).get(name, {})})
    return str(path)


def random_scores(
    path: Path, rng: np.random.Generator, shards: int = 3, rows: int = 40, **options: Any
) -> tuple[str, pa.Table]:
    """A folder of random scores with failures and ties, and all its rows as one table."""
    statuses = list(Status)
    tables = {}
    for shard in range(shards):
        name = f"{shard:05d}"
        keys = [f"{shard:05d}{row:04d}" for row in range(rows)]
        tables[name] = score_table(
            name,
            keys,
            {
                "itm": rng.integers(0, 12, rows) / 4 + 60,
                "odf": rng.random(rows) * 100,
                "language": [("en", "de", "fr")[place] for place in rng.integers(0, 3, rows)],
            },
            uids=[uid_of(shard * rows + row) for row in range(rows)],
            statuses=[
                statuses[rng.integers(1, len(statuses))] if rng.random() < 0.1 else Status.OK
                for _ in range(rows)
            ],
        )
    return score_folder(path, tables, **options), pa.concat_tables(tables.values())


def write_tar(path: Path, members: Sequence[tuple[str, bytes]], **options: Any) -> None:
    """A tar of regular files with owners and times of their own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for place, (name, content) in enumerate(members):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            header.mtime = 1_600_000_000 + place
            header.uname = "curator"
            tar.addfile(header, io.BytesIO(content))


def sample_members(key: str, rng: np.random.Generator) -> list[tuple[str, bytes]]:
    """Image, caption and json of a made-up sample; writers do not decode the image."""
    image = b"\xff\xd8\xff" + rng.bytes(int(rng.integers(1, 3000)))
    return [
        (f"{key}.jpg", image),
        (f"{key}.txt", f"caption of {key}".encode()),
        (f"{key}.json", json.dumps({"key": key, "url": "https://example.org"}).encode()),
    ]


def read_tar(path: Path) -> list[tuple[str, bytes]]:
    """Names and contents of a tar's files, in order."""
    with tarfile.open(path) as tar:
        return [(member.name, _content(tar, member)) for member in tar]


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()
