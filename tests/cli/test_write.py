"""`write` as typed: what it prints, what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pairsift.cli import app
from tests.cli.conftest import Command
from tests.score_folders import (
    sample_members,
    write_tar,
)


def test_write_everything_at_once(tmp_path: Path, scored_pool: str, pairsift: Command) -> None:
    pairsift("select", scored_pool, "--where", "itm >= 4", "--out", tmp_path / "sel")
    printed = pairsift(
        "write", tmp_path / "sel", "--webdataset", tmp_path / "w", "--add-scores", "itm",
        "--buckets", tmp_path / "b", "--bucket-edges", "8,16", "--dataset", tmp_path / "d",
        "--parquet", tmp_path / "kept.parquet", "--samples-per-shard", 5,
    )  # fmt: skip
    assert f"16 samples in {tmp_path}/w/{{00000000..00000003}}.tar" in printed
    assert f"4 samples with itm < 8 in {tmp_path}/b/00\n" in printed
    assert f"8 samples with 8 <= itm < 16 in {tmp_path}/b/01\n" in printed
    assert (
        f"--train-data '{tmp_path}/b/00/00000000.tar::"
        f"{tmp_path}/b/01/{{00000000..00000001}}.tar::{tmp_path}/b/02/00000000.tar'" in printed
    )
    assert f"16 rows in {tmp_path}/d" in printed
    sizes = json.loads((tmp_path / "w" / "sizes.json").read_text())
    assert sizes == {f"{n:08d}.tar": size for n, size in enumerate((5, 5, 5, 1))}
    assert pq.read_table(tmp_path / "kept.parquet").num_rows == 16


@pytest.mark.slow
def test_nothing_is_written_into_an_img2dataset_folder(tmp_path: Path, pairsift: Command) -> None:
    """Scored, joined, written and reported: its own tools must find the folder as they left it."""
    folder = tmp_path / "laion"
    keys = [f"{row:09d}" for row in range(8)]
    rng = np.random.default_rng(1)
    from tests.report.conftest import photo

    members = []
    for row in range(0, 8, 2):  # the others failed
        members += sample_members(keys[row], rng)
        members[-3] = (f"{keys[row]}.jpg", photo(row))
    write_tar(folder / "00000.tar", members)
    order = rng.permutation(8)  # as downloads ended
    columns = {
        "key": [keys[row] for row in order],
        "status": ["failed_to_download" if row % 2 else "success" for row in order],
        "original_width": pa.array([100 * int(row) for row in order], pa.int64()),
    }
    pq.write_table(pa.table(columns), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text(json.dumps({"count": 8, "successes": 4}))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    scores, kept = tmp_path / "scores", tmp_path / "kept"
    pairsift("score", folder / "00000.tar", "--scorer", "heuristics", "--out", scores)
    pairsift(
        "select", scores, "--join", f"meta={folder}", "--where", "meta.original_width >= 400",
        "--out", kept,
    )  # fmt: skip
    pairsift("write", kept, "--webdataset", tmp_path / "out", "--parquet", tmp_path / "l.parquet")
    pairsift("report", scores, "--selection", kept, "--out", tmp_path / "report.html")
    assert pq.read_table(tmp_path / "l.parquet")["key"].to_pylist() == [keys[4], keys[6]]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_scores_are_added_to_shards_alone(
    tmp_path: Path, scored_pool: str, pairsift: Command
) -> None:
    pairsift("select", scored_pool, "--where", "itm >= 4", "--out", tmp_path / "sel")
    command = [
        "write",
        tmp_path / "sel",
        "--parquet",
        tmp_path / "l.parquet",
        "--add-scores",
        "itm",
    ]
    found = CliRunner().invoke(app, [str(argument) for argument in command])
    assert "--add-scores is for --webdataset and --buckets" in str(found.exception)
    assert not (tmp_path / "l.parquet").exists()
