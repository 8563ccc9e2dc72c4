"""`pairsift prompts new` and `check`, and the packs that come along."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pairsift.cli import app
from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.load import load_mlm_scorer
from pairsift.scorers.mlm.prompt_files import load_prompts, packaged_packs
from tests.scorers.mlm.checkpoints import make_pairs, save_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("model"), "qwen2_5_vl")


def run(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("name", packaged_packs())
def test_a_pack_that_comes_along_is_asked(folder, name):
    scorer = load_mlm_scorer(folder, prompts=name)
    assert scorer.metrics == (("vqascore",) if name == "vqascore" else tuple(METRICS))
    [row] = scorer.score(make_pairs(1)).to_pylist()
    assert row["status"] == "ok"
    for metric in scorer.metrics:
        scale = scorer.pack.metrics[metric].scale
        assert scale.low <= row[metric] <= scale.high
        assert 0 < row[f"{metric}_validity"] <= 1
    assert run("prompts", "show", name).startswith(f'name = "{name}"')


def test_packs_that_come_along():
    assert packaged_packs() == ("pairsift", "compact", "vqascore")
    scale = load_prompts("vqascore").metrics["vqascore"].scale
    assert {text: answer.value for answer in scale.answers for text in answer.spellings} == {
        "Yes": 1, "yes": 1, " Yes": 1, " yes": 1, "No": 0, "no": 0, " No": 0, " no": 0,
    }  # fmt: skip


def test_vqascore_is_named(folder):
    table = load_mlm_scorer(folder, prompts="vqascore").score(make_pairs(3)).to_pydict()
    for row in range(3):
        yes_against_no, answered = table["vqascore"][row], table["vqascore_validity"][row]
        assert table["vqascore_p"][row] == pytest.approx(yes_against_no * answered, rel=1e-5)


def test_a_new_pack_is_an_example_that_works(folder, tmp_path):
    path = tmp_path / "mine.toml"
    assert "prompts check" in run("prompts", "new", path)
    pack = load_prompts(path)
    assert list(pack.metrics) == ["useful", "readable_text", "sharpness", "alignment"]
    with pytest.raises(PairsiftError, match="exists"):
        run("prompts", "new", path)
    said = run("prompts", "check", path, "--model", folder, "--device", "cpu")
    assert "'blurred' = 0: 'b' " in said
    assert "a whole number from 1 to 5; read at 1 positions behind" in said
    assert "ask for them more clearly" in said  # random weights rarely give an answer
    found = json.loads(run("prompts", "check", path, "--model", folder, "--json"))
    useful = found["metrics"][0]
    assert useful["tokens"]["3"] == [3, ["3"]]
    assert 1 <= useful["score"] <= 5
    assert "".join(found["metrics"][2]["tokens"]["sharp"][1]) == "sharp"


def test_check_takes_an_example_of_the_user(folder, tmp_path):
    [pair] = make_pairs(1)
    (tmp_path / "a.png").write_bytes(pair.image)
    command = ("prompts", "check", "compact", "--model", folder, "--metrics", "su", "--json")
    found = json.loads(run(*command, "--image", tmp_path / "a.png", "--caption", pair.caption))
    [row] = load_mlm_scorer(folder, prompts="compact", metrics="su").score([pair]).to_pylist()
    assert found["metrics"][0]["score"] == pytest.approx(row["su"], abs=1e-4)
    with pytest.raises(PairsiftError, match="together"):
        run(*command, "--caption", "a dog")
