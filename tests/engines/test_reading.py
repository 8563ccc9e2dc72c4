"""Shards are read again where storage failed, and refused if they change meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from pairsift import load_scorer
from pairsift.engines import reading
from pairsift.engines.local import score_shards
from pairsift.engines.reading import PatientReader, SelectedRows, UnreadableShardError
from pairsift.pair import Pair
from pairsift.retry import Backoff
from pairsift.sources import Shard as ShardType
from pairsift.sources import ShardReader, files, find_shards, open_shard
from tests.engines.conftest import tables
from tests.samples import good_samples, write_tar

QUICK = Backoff(attempts=3, first=0.001)


class _Flaky(ShardReader):
    """A shard's own reader, whose storage fails after some pairs each time it is opened."""

    def __init__(self, shard: ShardType, limits: Iterator[int | None]) -> None:
        super().__init__(shard)
        self._limit = next(limits)

    def __iter__(self) -> Iterator[Pair]:
        inner = open_shard(self.shard)
        for index, pair in enumerate(inner):
            if index == self._limit:
                raise OSError(5, "Input/output error")
            self._inner = inner
            yield pair
        self.problem = inner.problem

    def check(self, pair: Pair) -> int:
        return self._inner.check(pair)


def _break(monkeypatch: pytest.MonkeyPatch, limits: Sequence[int | None]) -> None:
    left = iter(limits)
    monkeypatch.setattr(reading, "open_shard", lambda shard: _Flaky(shard, left))
    monkeypatch.setattr(reading, "BACKOFF", QUICK)


def test_reading_goes_on_behind_the_last_pair(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = find_shards(str(pool)).shards[0]
    _break(monkeypatch, [0, 7, 7, 12, None])
    waits: list[float] = []
    keys = [pair.key for pair in PatientReader(shard, waits.append)]
    assert keys == [f"00{index:03d}" for index in range(20)]
    assert len(waits) == 4


def test_storage_that_keeps_failing_makes_the_shard_unreadable(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = find_shards(str(pool)).shards[0]
    _break(monkeypatch, [5] * 4)
    with pytest.raises(
        UnreadableShardError, match="failed 3 times, the last time after 5 samples: OSErr"
    ):
        list(PatientReader(shard))


def test_a_run_over_flaky_storage_has_the_same_tables(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = find_shards(str(pool))
    score_shards(shards, load_scorer("heuristics"), str(tmp_path / "calm"))
    _break(monkeypatch, [3, None, None, 1, 19, None, 5, 5, 5])
    summary = score_shards(shards, load_scorer("heuristics"), str(tmp_path / "out"))
    assert list(summary.unreadable) == ["00003"]
    calm = tables(tmp_path / "calm")
    del calm["00003.parquet"]
    assert tables(tmp_path / "out") == calm


def test_a_shard_that_changes_while_it_is_read_is_refused(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = find_shards(str(pool)).shards[0]
    _break(monkeypatch, [4, None])
    reader = iter(PatientReader(shard, lambda _: (pool / "00001.tar").replace(pool / "00000.tar")))
    with pytest.raises(UnreadableShardError, match="changed while it was being read"):
        list(reader)


def _same_size(path: Path, samples: int) -> None:
    """Write the shard again with so many samples, the rest of its bytes a member of no sample."""
    size = path.stat().st_size
    write_tar(path, good_samples(samples))
    if path.stat().st_size < size:
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))


@pytest.mark.parametrize(
    ("samples", "storage_tells"),
    [(0, True), (3, True), (19, True), (21, True), (0, False), (3, False), (7, False)],
)
def test_a_shard_with_fewer_or_other_samples_on_the_second_attempt_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: int, storage_tells: bool
) -> None:
    path = write_tar(tmp_path / "0.tar", good_samples(20))
    shard = find_shards(str(path)).shards[0]
    if not storage_tells:
        monkeypatch.setattr(files, "look_up", lambda url: None)
    _break(monkeypatch, [8, None])
    reader = PatientReader(shard, lambda _: _same_size(path, samples))
    with pytest.raises(UnreadableShardError, match="changed while it was being read"):
        list(reader)
    assert len(reader.checks) == 8


def test_samples_that_an_earlier_attempt_yielded_must_have_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "0.tar", good_samples(20))
    monkeypatch.setattr(files, "look_up", lambda url: None)
    _break(monkeypatch, [8, None])
    samples = good_samples(20)
    samples["good0002"]["txt"] = str(samples["good0002"]["txt"])[::-1]
    shard = find_shards(str(path)).shards[0]
    with pytest.raises(UnreadableShardError, match="changed while it was being read"):
        list(PatientReader(shard, lambda _: write_tar(path, samples)))


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("place", [0, 10, 19])
def test_a_shard_written_again_while_it_is_read_is_refused_without_any_error_of_storage(
    tmp_path: Path, in_place: bool, place: int
) -> None:
    path = write_tar(tmp_path / "0.tar", good_samples(20))
    other = write_tar(tmp_path / "other", good_samples(20))
    shard = find_shards(str(path)).shards[0]

    def read() -> None:
        for index, _ in enumerate(PatientReader(shard)):
            if index == place:
                if in_place:
                    path.write_bytes(other.read_bytes())
                else:
                    other.replace(path)

    with pytest.raises(UnreadableShardError, match="changed while it was being read"):
        read()


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A shard of six samples, and the checksums that it had when it was scored."""
    path = write_tar(tmp_path / "0.tar", good_samples(6))
    reader = PatientReader(find_shards(str(path)).shards[0])
    list(reader)
    return path, np.array(reader.checks, np.uint32)


def _selected(path: Path, rows: Mapping[int, str], checks: np.ndarray | None) -> list[str]:
    shard = find_shards(str(path)).shards[0]
    return [pair.key for pair in SelectedRows(PatientReader(shard), rows, checks)]


def test_selected_rows_of_an_unchanged_shard_are_read(scored: tuple[Path, np.ndarray]) -> None:
    path, checks = scored
    for known in (checks, None):
        wanted = {4: "good0004", 1: "good0001"}
        assert _selected(path, wanted, known) == ["good0001", "good0004"]
        assert _selected(path, {}, known) == []


@pytest.mark.parametrize(
    ("change", "without_checks"),
    [("another key", False), ("another row", True), ("one less", True), ("one more", True)],
)
def test_rows_of_a_shard_that_is_another_now_are_refused(
    scored: tuple[Path, np.ndarray], change: str, without_checks: bool
) -> None:
    path, checks = scored
    samples = good_samples(7 if change == "one more" else 5 if change == "one less" else 6)
    if change == "another row":
        samples["good0003"]["txt"] = "other words"
    if change == "another key":
        samples = {("x" if key == "good0001" else key): members for key, members in samples.items()}
    write_tar(path, samples)
    wanted = {1: "good0001"}
    with pytest.raises(UnreadableShardError, match="has changed since it was scored; score all"):
        _selected(path, wanted, checks)
    # Tables of before there were checksums know the keys of their own rows alone.
    if without_checks:
        assert _selected(path, wanted, None) == ["good0001"]
    else:
        with pytest.raises(UnreadableShardError, match="has changed since it was scored"):
            _selected(path, wanted, None)
