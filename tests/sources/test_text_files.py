"""Text files that are compressed, and whose compression is damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from pairsift import PairsiftError
from pairsift.sources import find_shards, open_shard
from pairsift.sources.caption_files import read_captions
from pairsift.sources.tables import read_rows
from pairsift.sources.text_files import read_text, table_extension

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
}  # fmt: skip
TABLE = b"image,caption\n" + b"".join(b"%d.jpg,a dog\n" % row for row in range(9))


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_text_is_read_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    for name in (f"captions.csv{suffix}", "captions.csv"):
        (tmp_path / name).write_bytes(PACK[suffix](TABLE))
        assert read_text(str(tmp_path / name)).encode() == TABLE
        assert table_extension(name) == ".csv"


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("cut", [6, 20])
def test_compression_that_ends_early_is_one_sentence(tmp_path: Path, suffix: str, cut: int) -> None:
    for name, read in (
        ("captions.csv", lambda path: list(open_shard(find_shards(str(path)).shards[0]))),
        ("captions.txt", lambda path: read_captions(str(path))),
        ("rows.csv", lambda path: list(read_rows(str(path)))),
    ):
        (tmp_path / name).write_bytes(PACK[suffix](TABLE)[:cut])
        with pytest.raises(PairsiftError, match=name):
            read(tmp_path / name)
