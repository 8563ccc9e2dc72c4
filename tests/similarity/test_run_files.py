"""Similarities as sections of a run's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pairsift import PairsiftError
from pairsift.config import read_config
from pairsift.embeddings import IMAGE
from pairsift.pipeline import run_pipeline
from pairsift.similarity.vectors import embedded_tables
from tests.samples import good_samples, write_tar


@pytest.mark.slow
def test_a_run_computes_them_and_selects_by_them(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    good = good_samples(4)
    write_tar(tmp_path / "pool/a.tar", {**good, "again": next(iter(good.values()))})
    start = (
        f'[score]\nshards = ["{tmp_path}/pool"]\nworkers = 0\n'
        'scorer = "dual-encoder"\nembeddings = true\n'
    )
    (tmp_path / "target.toml").write_text(f'out = "{tmp_path}/target"\n{start}')
    run_pipeline(read_config(tmp_path / "target.toml"))
    (tmp_path / "run.toml").write_text(
        f'out = "{tmp_path}/out"\n{start}'
        f'[normsim]\ntarget = "{tmp_path}/target/scores"\nnorm = "inf"\n'
        "[neg_clip_loss]\nbatch = 3\nrounds = 2\n"
        "[semantic_duplicates]\nepsilon = 0.01\nclusters = 1\n"
        '[select]\nper_group = 1\ntop = 0.5\nwhere = "normsim.normsim > 0.99"\n'
        'by = "dual_encoder + neg_clip_loss.neg_clip_loss"\n[report]\n'
    )
    result = run_pipeline(read_config(tmp_path / "run.toml"))
    (table,) = embedded_tables(f"{tmp_path}/out/scores")
    assert table.read().vectors[IMAGE].shape == (5, 384)
    assert result.normsim is not None
    assert result.normsim.mean == pytest.approx(1, abs=1e-3)  # the target set is the pool
    assert result.semantic_duplicates is not None
    assert result.semantic_duplicates.grouped == 2
    assert result.selection is not None
    assert result.selection.kept == 2
    dropped = {drop.reason: drop.rows for drop in result.selection.record.dropped}
    assert sum(rows for reason, rows in dropped.items() if "copy" in reason) == 1
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert "neg_clip_loss.neg_clip_loss" in page
    assert "normsim.normsim" in page
    assert json.loads(json.dumps(result.to_json()))["neg_clip_loss"]["rows"] == 5
    assert len(result.text().splitlines()) == 6
    # Once more, nothing is written again.
    before = (tmp_path / "out/selection").stat().st_ino
    again = run_pipeline(read_config(tmp_path / "run.toml"))
    assert again.selection is not None
    assert again.selection.kept == 2
    assert (tmp_path / "out/selection").stat().st_ino == before


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ("[neg_clip_loss]\n", r"\[neg_clip_loss\] needs embeddings; write embeddings = true"),
        ("[normsim]\n", "'target' is missing"),
        ("[normsim]\ntarget = 'nowhere'\n", r"\[normsim\] nowhere holds no score tables"),
        ("[normsim]\ntarget = 'nowhere'\nnorm = '3'\n", r"\[normsim\] --norm '3': choose 2 or"),
        ("[neg_clip_loss]\ntemperature = 0.0\n", r"\[neg_clip_loss\] .* must be above 0"),
        ("[neg-clip-loss]\n", "did you mean 'neg_clip_loss'"),
        ("[semantic_duplicates]\nepsilon = 2.0\n", "less than or equal to 1"),
        (
            "[dedup]\n[semantic_duplicates]\n[select]\nper_group = 1\nby = 'itm'\n",
            r"both \[dedup\] and \[semantic_duplicates\] find groups; write groups = ",
        ),
    ],
)
def test_mistakes_in_a_runs_file(tmp_path: Path, sections: str, words: str) -> None:
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool/a.tar", good_samples(2))
    (tmp_path / "run.toml").write_text(
        f'out = "{tmp_path}/out"\n[score]\nshards = ["{tmp_path}/pool"]\n'
        f'scorer = "heuristics"\nworkers = 0\n{sections}'
    )
    with pytest.raises(PairsiftError, match=words):
        run_pipeline(read_config(tmp_path / "run.toml"))
    assert not (tmp_path / "out/scores").exists()
