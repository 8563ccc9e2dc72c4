"""What a selection becomes.

A DataComp subset file, webdataset shards (in one folder, or one for each range of a score), a
parquet list, a Hugging Face dataset.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairsift.writers.buckets import BucketFolder, write_buckets
    from pairsift.writers.datacomp import DatacompFile, write_datacomp
    from pairsift.writers.dataset import DatasetFolder, write_dataset
    from pairsift.writers.parquet import ParquetList, write_parquet
    from pairsift.writers.webdataset import WebdatasetFolder, write_webdataset

__all__ = [
    "BucketFolder", "DatacompFile", "DatasetFolder", "ParquetList", "WebdatasetFolder",
    "write_buckets", "write_datacomp", "write_dataset", "write_parquet", "write_webdataset",
]  # fmt: skip

# Imported when asked for: a process that only copies samples needs no query engine.
_HOMES = {
    "BucketFolder": "pairsift.writers.buckets",
    "DatacompFile": "pairsift.writers.datacomp",
    "DatasetFolder": "pairsift.writers.dataset",
    "ParquetList": "pairsift.writers.parquet",
    "WebdatasetFolder": "pairsift.writers.webdataset",
    "write_buckets": "pairsift.writers.buckets",
    "write_datacomp": "pairsift.writers.datacomp",
    "write_dataset": "pairsift.writers.dataset",
    "write_parquet": "pairsift.writers.parquet",
    "write_webdataset": "pairsift.writers.webdataset",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
