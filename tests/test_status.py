"""What `pairsift status` tells of a score folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pairsift import PairsiftError, load_scorer
from pairsift.engines.local import score_shards
from pairsift.sources import find_shards
from pairsift.status import read_status, to_prometheus, to_text
from tests.samples import good_samples, jpeg, tar_bytes, write_tar

NOW = 1_800_000_000.0


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Ten shards: seven scored, one of them with a failure; one unreadable; two left."""
    pool = tmp_path / "pool"
    pool.mkdir()
    for shard in range(10):
        samples = good_samples(6, f"{shard}-")
        if shard == 4:
            samples["4-0002"]["jpg"] = b"broken"
        write_tar(pool / f"{shard:02d}.tar", samples)
    (pool / "07.tar").write_bytes(b"no tar" * 500)
    shards = find_shards(str(pool))
    out = tmp_path / "scores"
    score_shards(shards, load_scorer("heuristics"), str(out), max_failure_rate=1)
    for name in ("08", "09"):
        (out / f"{name}.parquet").unlink()
    # One table every ten minutes, the last one two minutes ago.
    for place, path in enumerate(sorted(out.glob("*.parquet"), reverse=True)):
        os.utime(path, (NOW - 120 - 600 * place,) * 2)
    return out


def test_counts_rate_and_time_left(scores: Path) -> None:
    status = read_status(str(scores), now=NOW)
    assert (status.shards, status.done, status.left, status.unreadable) == (10, 7, 3, 1)
    assert (status.rows, status.statuses) == (42, {"ok": 41, "image_corrupt": 1})
    # Within the last hour: six tables, the first 52 minutes ago.
    assert status.shards_per_hour == pytest.approx(5 / 52 * 60)
    assert status.rows_per_second == pytest.approx(5 * 6 / (52 * 60))
    assert status.seconds_left == pytest.approx(3 * 52 / 5 * 60)
    assert status.last_finished == NOW - 120
    assert status.fingerprint["scorer"] == "heuristics"
    (failure,) = status.first_failures
    assert failure.startswith("04/4-0002: image_corrupt (")
    (unreadable,) = status.first_unreadable
    assert unreadable.startswith("07: ")
    assert "is not a tar" in unreadable


def test_a_sample_of_footers_is_scaled_up(scores: Path) -> None:
    status = read_status(str(scores), sample=3, now=NOW)
    assert (status.tables_read, status.done, status.rows) == (3, 7, 42)
    assert status.estimated
    assert "about 42 rows" in to_text(status, NOW)
    assert not read_status(str(scores), sample=None, now=NOW).estimated


def test_text_names_what_matters(scores: Path) -> None:
    text = to_text(read_status(str(scores), now=NOW), NOW)
    for words in (
        "7 of 10 shards done, 3 left, 1 of them unreadable",
        "42 rows, 1 without scores",
        "31 min to go at this rate",
        "scorer: heuristics",
        "04/4-0002: image_corrupt",
        "07: ",
    ):
        assert words in text
    late = to_text(read_status(str(scores), now=NOW + 7200), NOW + 7200)
    assert "no rate, because the last table was finished 2.0 h ago" in late


def test_prometheus_text_is_well_formed(scores: Path) -> None:
    text = to_prometheus(read_status(str(scores), now=NOW))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["pairsift_shards_done"].samples[0].value == 7
    rows = {s.labels["status"]: s.value for s in families["pairsift_rows"].samples}
    assert (rows["ok"], rows["image_corrupt"], rows["model_error"]) == (41, 1, 0)
    assert families["pairsift_info"].samples[0].labels["scorer"] == "heuristics"
    assert families["pairsift_rows"].samples[0].labels["folder"] == str(scores)


def test_a_folder_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="is not a score folder"):
        read_status(str(tmp_path))
    with pytest.raises(PairsiftError, match="is not a score folder"):
        read_status(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("names", [["a\nb", "c"], ["\n"], ["a", "a\n", "b\r"], ["a", "b"]])
def test_line_ends_in_names_make_no_more_shards(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "pool").mkdir()
    out = tmp_path / "scores"
    for done, name in enumerate(names, 1):
        write_tar(tmp_path / "pool" / f"{name}.tar", good_samples(1))
        found = find_shards(str(tmp_path / "pool"))
        score_shards(found, load_scorer("heuristics"), str(out), workers=0)
        assert f"{done} of {done} shards done" in to_text(read_status(str(out)))


def test_damaged_table_is_named(scores: Path) -> None:
    (scores / "03.parquet").write_bytes(b"not parquet")
    with pytest.raises(PairsiftError, match=r"03\.parquet is not a readable table"):
        read_status(str(scores))


def test_what_is_wrong_with_a_shard_is_told(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    (pool / "0.tar").write_bytes(
        tar_bytes([("a.jpg", jpeg()), ("b.jpg", jpeg()), ("a.txt", "x"), ("b.txt", "y")])
    )
    out = str(tmp_path / "scores")
    score_shards(find_shards(str(pool)), load_scorer("heuristics"), out)
    status = read_status(out)
    (words,) = status.first_problems
    assert words.startswith("0: 2 of 4 samples have members that do not follow each other")
    assert "tar -C unpacked --sort=name" in to_text(status)
