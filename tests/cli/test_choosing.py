"""`select`, `write` and `explore` as typed: what they print, what they leave."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.cli import main
from tests.score_folders import (
    random_scores,
    sample_members,
    score_folder,
    score_table,
    write_tar,
)

Command = Callable[..., str]


@pytest.fixture
def pairsift(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command and returns what it printed."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["pairsift", *map(str, arguments)])
        main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def pool(tmp_path: Path) -> str:
    """Two tars of ten pairs with itm 0 to 19."""
    tables = {}
    for shard in range(2):
        keys = [f"{shard:05d}{row:04d}" for row in range(10)]
        rng = np.random.default_rng(shard)
        members = [member for key in keys for member in sample_members(key, rng)]
        write_tar(tmp_path / "data" / f"{shard:05d}.tar", members)
        itm = [shard * 10 + row for row in range(10)]
        tables[f"{shard:05d}"] = score_table(f"{shard:05d}", keys, {"itm": itm})
    return score_folder(tmp_path / "scores", tables, root=tmp_path / "data")


def test_dry_run_tells_counts_thresholds_and_reasons(tmp_path: Path, pairsift: Command) -> None:
    scores, table = random_scores(tmp_path / "scores", np.random.default_rng(0), rows=400)
    rows = [row for row in table.to_pylist() if row["status"] == "ok"]
    itm = sorted(row["itm"] for row in rows)
    p40 = itm[-(-len(itm) * 40 // 100) - 1]
    printed = pairsift(
        "select", scores, "--where", "itm >= p40(itm) and odf >= 20", "--top", 0.5, "--by", "odf",
        "--out", tmp_path / "sel", "--dry-run",
    )  # fmt: skip
    assert not (tmp_path / "sel").exists()
    low_itm = sum(row["itm"] < p40 for row in rows)
    low_odf = sum(row["odf"] < 20 for row in rows)
    passing = sorted(row["odf"] for row in rows if row["itm"] >= p40 and row["odf"] >= 20)
    kept = len(passing) // 2
    lines = [re.sub(" +", " ", line) for line in printed.splitlines()]
    assert lines[0] == f"{len(table):,} rows in the score tables"
    assert f"{low_itm:,} removed: not itm >= p40(itm)" in lines
    both = len(rows) - low_itm - len(passing)
    alone = f"this condition alone would remove {low_odf:,}"
    assert f"{both:,} removed: not odf >= 20 ({alone})" in lines
    assert f"{len(passing) - kept:,} removed: below the cut" in lines
    assert f"{kept:,} kept, {100 * kept / len(table):.2f}% of all rows" in lines
    rounded = re.search(r"^p40\(itm\) is (\d+\.?\d{0,4})$", "\n".join(lines), re.MULTILINE)
    assert rounded is not None
    assert float(rounded[1]) == pytest.approx(p40, abs=5.1e-5)
    (cut,) = [line for line in lines if "rows kept, those with" in line]
    words, shown = cut.split(" >= ")
    assert words == f"{kept} of {len(passing)} rows kept, those with odf"
    assert re.fullmatch(r"\d+\.?\d{0,4}", shown)
    threshold = passing[len(passing) - kept]
    assert float(shown) == pytest.approx(threshold, abs=5.1e-5)
    assert lines[-2] == "thresholds are rounded here; --json prints the exact values"
    assert lines[-1] == "nothing was written"
    # The exact threshold of --json selects these rows when it is typed.
    exact = json.loads(
        pairsift(
            *("select", scores, "--where", "itm >= p40(itm) and odf >= 20"),
            *("--top", 0.5, "--by", "odf", "--json"),
        )
    )
    where = (
        f"itm >= {exact['percentiles']['p40(itm)']!r} and odf >= {exact['cuts'][0]['threshold']!r}"
    )
    again = pairsift("select", scores, "--where", where, "--json")
    assert json.loads(again)["kept"] == kept


def test_groups_are_listed_as_far_as_they_can_be_read(tmp_path: Path, pairsift: Command) -> None:
    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(0))
    printed = pairsift("select", scores, "--top", 0.5, "--by", "itm", "--per", "language")
    found = re.findall(
        r"^language (\w\w): \d+ of \d+ rows kept, those with itm >= [\d.]+", printed, re.MULTILINE
    )
    assert found == ["de", "en", "fr"]
    printed = pairsift("select", scores, "--count", 1, "--by", "odf", "--per", "itm")
    assert "2 more groups are not shown; see --json" in printed


def test_write_everything_at_once(tmp_path: Path, pool: str, pairsift: Command) -> None:
    pairsift("select", pool, "--where", "itm >= 4", "--out", tmp_path / "sel")
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


@pytest.mark.slow
def test_explore_shows_joined_scores(tmp_path: Path, pool: str) -> None:
    keys = [f"00001{row:04d}" for row in range(10)]
    other = score_table("00001", keys, {"clip_score": [row / 10 for row in range(10)]})
    clip = score_folder(tmp_path / "clip", {"00001": other}, fingerprint={"scorer": "clip"})
    server = subprocess.Popen(
        [sys.executable, "-m", "pairsift", "explore", pool, "--join", f"other={clip}",
         "--cache", str(tmp_path / "cache")],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[1]
        query = "api/rows?sort=other.clip_score&order=desc&size=2"
        with urllib.request.urlopen(url + query) as answer:
            rows = json.load(answer)["rows"]
        assert [(row["key"], row["other.clip_score"]) for row in rows] == [
            (keys[9], 0.9),
            (keys[8], 0.8),
        ]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
