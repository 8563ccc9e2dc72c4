"""Shards of every kind, which can be written anew with other captions; and old score tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.byte_ranges import BYTE_RANGES_KEY, CHECKS_KEY
from pairsift.scores import FACTS_KEY, IDENTITY_KEY
from tests.samples import good_samples, jpeg, write_tar


def tar(path: Path, captions: str) -> None:
    samples = good_samples(4)
    for sample in samples.values():
        sample["txt"] = captions
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tar(path, samples)


def parquet(path: Path, captions: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [jpeg(seed=index) for index in range(4)]
    table = pa.table({"jpg": images, "caption": [captions] * 4})
    pq.write_table(table, path, compression="none", use_dictionary=False)


def folder(path: Path, captions: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for index in range(4):
        (path / f"{index}.jpg").write_bytes(jpeg(seed=index))
        (path / f"{index}.txt").write_text(captions)


def csv(path: Path, captions: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for index in range(4):
        (path.parent / f"{index}.jpg").write_bytes(jpeg(seed=index))
    rows = "".join(f"{index}.jpg,{captions}\n" for index in range(4))
    path.write_text(f"file_name,caption\n{rows}")


KINDS: list[tuple[str, Callable[[Path, str], None]]] = [
    ("0.tar", tar), ("0.tar.gz", tar), ("0.parquet", parquet), ("0", folder), ("0.csv", csv),
]  # fmt: skip
kinds = pytest.mark.parametrize(("name", "make"), KINDS)


def strip_facts(table: Path, *fields: str) -> None:
    """Make a table one of an older version, without the facts and checksums of now."""
    found = pq.read_table(table)
    metadata = dict(found.schema.metadata)
    for key in (CHECKS_KEY, BYTE_RANGES_KEY, IDENTITY_KEY):
        metadata.pop(key, None)
    noted = json.loads(metadata[FACTS_KEY])
    for field in fields:
        noted.pop(field, None)
    metadata[FACTS_KEY] = json.dumps(noted).encode()
    pq.write_table(found.replace_schema_metadata(metadata), table)
