"""Readers of other packages: found by entry point, refused where they would hide another."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pairsift import Pair, PairsiftError
from pairsift.sources import Shard, find_shards, open_shard, registry
from pairsift.sources.base import ShardReader


class LineReader(ShardReader):
    """A pair a line: the caption alone."""

    kind = "lines"
    extensions = (".lines", ".tar.lines")
    options = frozenset({"caption"})

    def __iter__(self) -> Iterator[Pair]:
        for number, line in enumerate(Path(self.shard.url).read_text().splitlines()):
            yield Pair(str(number), None, line, shard=self.shard.name)


class TarThief(LineReader):
    extensions = (".tar",)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    def add(name: str, reader: str) -> None:
        plugin = EntryPoint(name, f"{__name__}:{reader}", registry.PLUGIN_GROUP)
        monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.attr])
        monkeypatch.setattr(registry, "entry_points", lambda group: [plugin])

    for function in (registry.readers, registry.extensions):
        function.cache_clear()
    yield add
    for function in (registry.readers, registry.extensions):
        function.cache_clear()


def test_a_reader_is_found_by_its_extension_and_read(install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("lines", "LineReader")
    (tmp_path / "a.tar.lines").write_text("one\ntwo\n")
    (tmp_path / "b.lines").write_text("three\n")
    found = find_shards(str(tmp_path))
    assert [(shard.name, shard.kind) for shard in found.shards] == [("a", "lines"), ("b", "lines")]
    assert [pair.caption for shard in found.shards for pair in open_shard(shard)] == [
        "one", "two", "three",
    ]  # fmt: skip
    with pytest.raises(
        PairsiftError, match=r"'image' cannot be used with a lines source; its options are: caption"
    ):
        find_shards(str(tmp_path), image="jpg")


@pytest.mark.parametrize(
    ("name", "reader", "words"),
    [
        ("parquet", "LineReader", "uses the kind 'parquet', which another source already uses"),
        ("thief", "TarThief", "uses the extension .tar, which another source already uses"),
    ],
)
def test_what_is_taken_stays_with_who_has_it(install, name: str, reader: str, words: str) -> None:  # type: ignore[no-untyped-def]
    install(name, reader)
    with pytest.raises(PairsiftError, match=words):
        registry.readers()


def test_a_kind_that_nothing_reads_any_more_is_told() -> None:
    with pytest.raises(PairsiftError, match="of kind 'lines', which no installed package can read"):
        open_shard(Shard("a", "a.lines", "lines"))
