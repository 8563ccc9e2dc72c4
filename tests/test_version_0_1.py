"""What version 0.1 wrote goes on: score folders, selections, prompt packs, and scripts.

``tests/fixtures/version_0_1`` was written by the commit 2a75e9e: a pool of two tars, a random
checkpoint, a prompt pack, three score folders and a selection, all made in ``/tmp/v01``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pairsift import Pair, load_scorer
from pairsift.cli import app
from pairsift.errors import PairsiftError
from pairsift.report.table import open_rows
from pairsift.scorers.mlm.columns import score_columns
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack
from pairsift.scores import schema_metrics

FIXTURE = Path(__file__).parent / "fixtures" / "version_0_1"
FOUR = ["itm", "odf", "ctq", "su"]


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the fixture; the selection names its score folder by its path."""
    folder = tmp_path / "v01"
    shutil.copytree(FIXTURE, folder)
    record = folder / "kept" / "selection.json"
    record.write_text(record.read_text().replace("/tmp/v01", str(folder)))
    path = folder / "kept" / "kept.parquet"
    facts = {
        name: value.replace(b"/tmp/v01", str(folder).encode())
        for name, value in pq.read_metadata(path).metadata.items()
        if name.startswith(b"pairsift")
    }
    rows = pq.read_table(path)
    with pq.ParquetWriter(path, rows.schema) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata(facts)
    return folder


def test_tables_are_read_as_the_four_metrics(old: Path) -> None:
    for name in ("scores", "scores-pack", "scores-tiny"):
        schema = pq.read_schema(old / name / "00000.parquet")
        assert list(schema_metrics(schema)) == FOUR
        with open_rows(str(old / name)) as rows:
            shown = {column.name: (column.low, column.high) for column in rows.columns}
            assert set(shown.values()) == {(0, 100)}
            assert list(shown) == (["itm", "su"] if name == "scores-pack" else FOUR)


@pytest.mark.slow
def test_they_are_selected_written_and_reported(old: Path) -> None:
    run("select", old / "scores", "--top", 0.5, "--by", "itm", "--out", old / "again")
    run("write", old / "again", "--datacomp", old / "s.npy", "--root", old / "pool")
    assert len(np.load(old / "s.npy")) == 4
    run("write", old / "kept", "--parquet", old / "kept.parquet")  # the selection of version 0.1
    again = pq.read_table(old / "kept.parquet")
    assert again.num_rows == 4
    run("report", old / "scores-tiny", "--root", old / "pool", "--out", old / "page.html")
    assert "Image-text matching" in (old / "page.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "options"),
    [("scores", ()), ("scores-pack", ("--prompts", "pack.toml", "--metrics", "itm,su"))],
)
def test_a_run_goes_on_in_an_old_folder(
    old: Path, monkeypatch: pytest.MonkeyPatch, folder: str, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(old)
    _move(old)
    before = {name: pq.read_table(f"{folder}/{name}.parquet") for name in ("00000", "00001")}
    Path(folder, "00001.parquet").unlink()
    said = run(
        "score", "pool/00000.tar", "pool/00001.tar", "--scorer", "mlm", "--model", "model",
        "--device", "cpu", "--workers", 0, "--out", folder, *options,
    )  # fmt: skip
    assert "1 shards scored, 1 finished before" in said
    after = pq.read_table(f"{folder}/00001.parquet")
    # Columns that came since stand beside those of then; these are the same.
    assert set(before["00001"].column_names) <= set(after.column_names)
    for name in before["00001"].column_names:
        was, now = before["00001"][name].to_pylist(), after[name].to_pylist()
        if name == "error":  # its words may change
            assert [error is None for error in now] == [error is None for error in was]
        elif isinstance(was[0], float):
            assert now == pytest.approx(was, abs=1e-3, nan_ok=True)
        else:
            assert now == was
    run("select", folder, "--top", 0.5, "--by", "itm")  # old and new tables together


def test_another_question_is_refused_in_an_old_folder(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old)
    _move(old)
    Path("other.toml").write_text(
        Path("pack.toml").read_text() + "answers = { low = 0, high = 10 }\n"
    )
    with pytest.raises(PairsiftError, match="made in another way: prompts is"):
        run(
            "score", "pool/00000.tar", "pool/00001.tar", "--scorer", "mlm", "--model", "model",
            "--device", "cpu", "--out", "scores-pack", "--prompts", "other.toml",
            "--metrics", "itm,su",
        )  # fmt: skip


def test_a_script_of_then_runs(old: Path) -> None:
    pack = PromptPack(
        "mine", "caption {caption}, {criteria} {aspect}", {"itm": MetricPrompt("match", "a photo")}
    )
    scorer: Any = load_scorer("mlm", model=str(old / "model"), prompts=pack, metrics="itm")
    assert scorer.columns == score_columns()
    pair = Pair("a", b"no image", "a dog")
    assert scorer.score([pair])["status"].to_pylist() == ["image_corrupt"]
    good = Pair("b", _image(old), "two small dogs")
    assert scorer.distributions([good]).shape == (1, 1, 101)
    json.dumps(scorer.score([good]).to_pylist())


def _move(old: Path) -> None:
    """Say where the pool is now, as the message about moved data advises."""
    for manifest in old.glob("scores*/_run.json"):
        manifest.write_text(manifest.read_text().replace("/tmp/v01", str(old)))


def _image(old: Path) -> bytes:
    import tarfile

    with tarfile.open(old / "pool" / "00000.tar") as tar:
        file = tar.extractfile(tar.getmembers()[0])
        assert file is not None
        return file.read()
