"""An output replaces only an output of its own kind, never a file of the user."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pairsift import PairsiftError
from pairsift.cascade.plan import Plan, Stage
from pairsift.cli import app
from pairsift.config import read_config
from pairsift.engines.local import score_shards
from pairsift.pipeline import run_pipeline
from pairsift.scorers.registry import load_scorer
from pairsift.select import select
from pairsift.sources import find_shards
from pairsift.teach.records import Record, check_output, write_records
from tests.samples import good_samples, write_tar

Make = Callable[[Path], Any]
PLAN = Plan((), Stage("heuristics", "width"), 0.3, None, 1.0, 0.98, 0.02, 0)


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=True)
    if isinstance(done.exception, PairsiftError):
        return 1, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pool, its scores, a selection of all and one of nothing; the current one."""
    monkeypatch.chdir(tmp_path)
    samples = good_samples(4)
    for number, sample in enumerate(samples.values()):
        sample["json"] = f'{{"uid": "{number:032x}"}}'
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool" / "0.tar", samples)
    score_shards(find_shards("pool"), load_scorer("heuristics"), "scores", workers=0)
    select("scores", out="sel")
    select("scores", where="width < 0", out="none")
    return tmp_path


def _parquet(path: Path, **metadata: str) -> None:
    table = pa.table({"url": ["a"], "caption": ["b"]})
    pq.write_table(table.replace_schema_metadata(metadata or None), path)


USERS: dict[str, Make] = {
    "shard": lambda path: shutil.copy("pool/0.tar", path),
    "parquet": _parquet,
    "table of judgments": lambda path: _parquet(path, **{"pairsift.output": "judgments"}),
    "selection's rows": lambda path: shutil.copy("sel/kept.parquet", path),
    "score table": lambda path: shutil.copy("scores/0.parquet", path),
    "embeddings": lambda path: np.save(path.open("wb"), np.ones((2, 3), "f4")),
    "pickled array": lambda path: np.save(path.open("wb"), np.array([{}]), allow_pickle=True),
    "zip": lambda path: path.write_bytes(b"PK\3\4" + bytes(40)),
    "page": lambda path: path.write_text("<!doctype html>\n<html><title>My notes</title></html>"),
    "captions": lambda path: path.write_text('{"image": "a.jpg", "caption": "a dog"}\n'),
    "list": lambda path: path.write_text('["cascade", "image", "caption", "kind", "source"]\n'),
    "settings": lambda path: path.write_text('{"scorer": "heuristics"}\n'),
    "not text": lambda path: path.write_bytes(b"\xff\xfe\0\0"),
}


def _write(option: str) -> Make:
    return lambda path: run("write", "sel", option, path)


def _of_python(act: Make) -> Make:
    def call(path: Path) -> tuple[int, str]:
        try:
            act(path)
        except PairsiftError as error:
            return 1, str(error)
        return 0, ""

    return call


RECORDS = [Record("a.jpg", "a dog", scores={"itm": 50.0})]
OUTPUTS: dict[str, tuple[str, Make]] = {
    "parquet": ("out.parquet", _write("--parquet")),
    "datacomp": ("out.npy", _write("--datacomp")),
    "report": ("out.html", lambda path: run("report", "scores", "--out", path)),
    "plan": ("plan.json", _of_python(PLAN.write)),
    "records": ("out.jsonl", _of_python(lambda path: write_records(str(path), RECORDS, {}))),
    "record table": ("o.parquet", _of_python(lambda path: write_records(str(path), RECORDS, {}))),
}


@pytest.mark.slow
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_no_file_of_the_user_is_replaced(place: Path, output: str, user: str) -> None:
    name, write = OUTPUTS[output]
    path = place / name
    USERS[user](path)
    before = path.read_bytes()
    code, words = write(path)
    assert code == 1
    assert f"{name} exists and is not " in words.replace("\n", " ")
    assert path.read_bytes() == before
    assert not list(place.glob(".*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_replaces_its_own_kind_and_an_empty_file(place: Path, output: str) -> None:
    name, write = OUTPUTS[output]
    path = place / name
    path.touch()
    for _ in range(2):
        code, words = write(path)
        assert code == 0, words
        assert path.stat().st_size


@pytest.mark.parametrize("output", OUTPUTS)
def test_what_lies_behind_a_link_is_no_less_the_users(place: Path, output: str) -> None:
    name, write = OUTPUTS[output]
    (place / name).symlink_to(place / "pool" / "0.tar")
    before = (place / "pool" / "0.tar").read_bytes()
    assert write(place / name)[0] == 1
    assert (place / "pool" / "0.tar").read_bytes() == before


def test_a_selection_keeps_its_rows(place: Path) -> None:
    before = (place / "sel" / "kept.parquet").read_bytes()
    for selection in ("sel", "none"):
        code, words = run("write", selection, "--parquet", "sel/kept.parquet")
        assert (code, "is not a list of kept rows" in words) == (1, True)
    assert (place / "sel" / "kept.parquet").read_bytes() == before


def test_no_other_output_is_written_before_the_refusal(place: Path) -> None:
    code, _ = run("write", "sel", "--parquet", "new.parquet", "--datacomp", "pool/0.tar")
    assert code == 1
    assert not (place / "new.parquet").exists()


def test_lists_of_nothing_are_replaced(place: Path) -> None:
    for selection in ("none", "sel", "none"):
        code, words = run("write", selection, "--parquet", "p.parquet", "--datacomp", "u.npy")
        assert code == 0, words


@pytest.mark.slow
@pytest.mark.parametrize("name", ["subset.npy", "kept.parquet", "report.html"])
def test_a_run_refuses_before_it_scores(place: Path, name: str) -> None:
    (place / "run.toml").write_text(
        'out = "out"\n[score]\nshards = "pool"\nscorer = "heuristics"\n[select]\n'
        "[write]\ndatacomp = true\nparquet = true\n[report]\n"
    )
    (place / "out").mkdir()
    (place / "out" / name).write_text("mine")
    with pytest.raises(PairsiftError, match=f"{name} exists and is not "):
        run_pipeline(read_config("run.toml"))
    assert (place / "out" / name).read_text() == "mine"
    assert not (place / "out" / "scores").exists()
    (place / "out" / name).unlink()
    for _ in range(2):
        run_pipeline(read_config("run.toml"))


def test_a_teacher_is_not_asked_before_the_refusal(place: Path) -> None:
    for name in ("0.tar", "0.jsonl"):
        shutil.copy("pool/0.tar", name)
        with pytest.raises(PairsiftError, match="is not a file of teacher records"):
            check_output(name)


def test_a_plan_is_not_made_before_the_refusal(place: Path) -> None:
    code, words = run("cascade", "pool", "--full", "pairsift-tiny", "--by", "itm",
                      "--out", "pool/0.tar")  # fmt: skip
    assert (code, "is not the plan of a cascade" in words) == (1, True)
