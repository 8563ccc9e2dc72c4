"""What a selection becomes: a DataComp subset file, webdataset shards, a parquet list."""

from pairsift.writers.datacomp import DatacompFile, write_datacomp
from pairsift.writers.parquet import ParquetList, write_parquet
from pairsift.writers.webdataset import WebdatasetFolder, write_webdataset

__all__ = [
    "DatacompFile", "ParquetList", "WebdatasetFolder", "write_datacomp", "write_parquet",
    "write_webdataset",
]  # fmt: skip
