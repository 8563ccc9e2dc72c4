"""Nothing, one pair, failures alone: what transforms says 0, what measures or trains refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.select import read_selection
from pairsift.teach.records import write_records
from tests.samples import good_samples, jpeg, write_tar
from tests.support.commands import Done, pairsift

POOLS = ("empty tar", "header only", "empty parquet", "all failed", "one", "empty beside one")


def _pool(kind: str, folder: Path) -> str:
    folder.mkdir()
    if kind in ("empty tar", "empty beside one"):
        write_tar(folder / "0.tar", {})
    if kind == "header only":
        (folder / "captions.csv").write_text("file_name,caption\n")
    if kind == "empty parquet":
        columns = {"jpg": pa.array([], pa.binary()), "txt": pa.array([], pa.string())}
        pq.write_table(pa.table(columns), folder / "0.parquet")
    if kind == "all failed":
        write_tar(folder / "0.tar", {"a": {"jpg": b"x", "txt": "a dog"}})
    if kind in ("one", "empty beside one"):
        write_tar(folder / "1.tar", good_samples(1))
    return str(folder)


def _pairsift(*arguments: object, cwd: Path) -> Done:
    done = pairsift(*arguments, cwd=cwd)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("kind", POOLS)
def test_every_step_from_scores_to_report(tmp_path: Path, kind: str) -> None:
    def run(*arguments: object) -> Done:
        return _pairsift(*arguments, cwd=tmp_path)

    pool = _pool(kind, tmp_path / "pool")
    rows = {"all failed": 1, "one": 1, "empty beside one": 1}.get(kind, 0)
    ok = rows if kind != "all failed" else 0
    scored = run("score", pool, "--scorer", "heuristics", "--out", "s", "--json")
    assert scored.returncode == (4 if kind == "all failed" else 0)
    assert json.loads(scored.stdout)["rows"] == rows
    assert run("status", "s").returncode == 0
    for out, asked in {
        "all": [],
        "where": ["--where", "caption_words > 1"],
        "top": ["--top", 1, "--by", "caption_words"],
        "per": ["--count", 1, "--by", "caption_words", "--per", "language"],
    }.items():
        chosen = run("select", "s", *asked, "--out", out)
        assert chosen.returncode == 0, chosen.stderr
        assert read_selection(tmp_path / out).kept == ok
    assert run("select", "s", "--top", 0.5, "--by", "caption_words", "--dry-run").returncode == 0
    for page, extra in {"r.html": [], "k.html": ["--selection", "top", "--compare", "per"]}.items():
        done = run("report", "s", *extra, "--out", page)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{rows:,}" in (tmp_path / page).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["empty tar", "all failed", "one"])
def test_run_says_the_same_each_time(tmp_path: Path, kind: str) -> None:
    pool = _pool(kind, tmp_path / "pool")
    (tmp_path / "run.toml").write_text(
        f'out = "out"\n[score]\nshards = "{pool}"\nscorer = "heuristics"\n[select]\n'
        'where = "caption_words > 1"\n[write]\nwebdataset = true\n[report]\n'
    )
    for _ in range(2):
        done = _pairsift("run", "run.toml", cwd=tmp_path)
        assert done.returncode == (4 if kind == "all failed" else 0), done.stderr
    if kind == "all failed":
        assert "image_corrupt" in done.stderr
        assert not (tmp_path / "out" / "shards").exists()
    else:
        words = "1 samples in" if kind == "one" else "keeps nothing: no shard in"
        assert f"{words} out/shards" in done.stdout


def _judgments(folder: Path) -> list[object]:
    (folder / "j.csv").write_text("image,caption,score\n")
    return ["evaluate", "human", "--protocol", "csv", "--judgments", "j.csv", "--images", "images"]


def _choices(folder: Path) -> list[object]:
    (folder / "p.csv").write_text("image,caption,negative\n")
    return ["evaluate", "pairs", "--pairs", "p.csv", "--images", "images"]


def _cost(folder: Path) -> list[object]:
    return ["evaluate", "cost", "--shards", _pool("empty tar", folder / "pool")]


def _plan(folder: Path) -> list[object]:
    pool = _pool("empty tar", folder / "pool")
    return ["cascade", pool, "--full", "heuristics", "--by", "caption_words", "--cheap",
            "heuristics", "--cheap-by", "caption_words"]  # fmt: skip


def _records(folder: Path) -> list[object]:
    write_records(str(folder / "r.parquet"), [], {})
    return ["balance", "r.parquet"]


def _captions(folder: Path) -> list[object]:
    (folder / "c.csv").write_text("image,caption\n")
    return ["teach", "reference", "--captions", "c.csv", "--images", "images"]


def _shards(folder: Path) -> list[object]:
    return ["teach", "local", _pool("empty tar", folder / "pool"), "--model", "none"]


MEASURES = (_judgments, _choices, _cost, _plan, _records, _captions, _shards)


@pytest.mark.slow
@pytest.mark.parametrize("make", MEASURES)
def test_what_measures_or_trains_names_what_is_empty(
    tmp_path: Path, make: Callable[[Path], list[object]]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(jpeg())
    asked = make(tmp_path)
    scorer = ["--scorer", "heuristics"] if asked[0] == "evaluate" else []
    done = _pairsift(*asked, *scorer, "--out", "out.parquet", cwd=tmp_path)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("pairsift: ")
    assert any(word in last for word in (" no ", "none of 0", "there are 0")), last
    assert not (tmp_path / "out.parquet").is_file()
