"""Write a selection as a dataset.

A DataComp subset file, webdataset shards (in one folder, or one folder per range of a score), a
parquet list, or a Hugging Face dataset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pairsift.lazy import importer

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

# Imported lazily, because a process that only copies samples needs no query engine.
__getattr__ = importer(
    __name__,
    {
        "buckets": ("BucketFolder", "write_buckets"),
        "datacomp": ("DatacompFile", "write_datacomp"),
        "dataset": ("DatasetFolder", "write_dataset"),
        "parquet": ("ParquetList", "write_parquet"),
        "webdataset": ("WebdatasetFolder", "write_webdataset"),
    },
)
