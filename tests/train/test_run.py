"""Training teaches: loss falls, agreement on unseen images rises, and the result is a scorer."""

from __future__ import annotations

import fcntl
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from pairsift import Pair
from pairsift.cli import app
from pairsift.errors import PairsiftError
from pairsift.progress import MessageListener, NullListener
from pairsift.scorers.mlm.load import load_mlm_scorer
from pairsift.scorers.registry import load_scorer
from pairsift.train.run import Summary, describe, train
from pairsift.train.settings import Lora, Settings, parse_stages
from tests.samples import tar_bytes
from tests.scorers.mlm.checkpoints import save_checkpoint
from tests.train.toy import COLOURS, FALSE, TEMPLATES, TRUE, png, write_toy

for module in ("accelerate", "peft", "scipy"):
    pytest.importorskip(module)

# Two scores and twelve images a score: what tau-b comes to when every pair is in order.
PERFECT = 0.722


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "data", why=True)


def _settings(toy: Path, base: Path, out: Path, **changes: Any) -> Settings:
    stages = changes.pop("stages", "projector,all")
    steps, rates = changes.pop("steps", "10,90"), changes.pop("rates", "3e-3")
    return Settings(
        **{
            "data": (str(toy),),
            "model": str(base),
            "out": str(out),
            "stages": parse_stages(stages, steps=steps, learning_rates=rates),
            "prompts": "compact",
            "batch_size": 16,
            "accumulate": 1,
            "save_every": 50,
            "log_every": 5,
            "dev_fraction": 0.25,
            **changes,
        }
    )


def _rows(out: Path) -> list[dict[str, Any]]:
    lines = (out / "training" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _unseen() -> list[tuple[Pair, float]]:
    pairs = []
    for number in range(8):
        colour = list(COLOURS)[number % 2]
        for named in COLOURS:
            caption = TEMPLATES[number % 4].format(named)
            pair = Pair(key=f"{number}", image=png(colour, 1000 + number), caption=caption)
            pairs.append((pair, TRUE if named == colour else FALSE))
    return pairs


def _check_learned(summary: Summary, out: Path, off: float) -> None:
    losses = [row["loss"] for row in _rows(out) if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]
    assert summary.before["tau_itm"] < 0.4
    assert summary.dev["tau_itm"] == pytest.approx(PERFECT, abs=0.01)
    assert summary.dev["mae_itm"] < off < summary.before["mae_itm"]


def _check_scorer(out: Path, summary: Summary) -> None:
    """The folder scores by itself, with its own prompts, what it was measured to score."""
    scorer = load_scorer(out)
    assert scorer.pack.name == "compact"
    unseen = _unseen()
    table = scorer.score([pair for pair, _ in unseen])
    scores = table["itm"].to_numpy()
    right = np.array([score for _, score in unseen])
    assert scores[right == TRUE].min() > scores[right == FALSE].max()
    measured = [row for row in _rows(out) if "dev_tau_itm" in row]
    best = max(measured, key=lambda row: (round(row["dev_tau_itm"], 6), -row["dev_mae_itm"]))
    assert summary.best.split("-")[0] == str(best["stage"])
    assert summary.best.endswith(f"checkpoint-{best['step']}")
    for name in ("tau_itm", "mae_itm", "std_itm"):  # the trainer saw what the scorer gives
        assert summary.dev[name] == pytest.approx(best[f"dev_{name}"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llava", "smolvlm"])
def test_distributions_are_learned(architecture: str, toy: Path, tmp_path: Path) -> None:
    base, out = save_checkpoint(tmp_path / "base", architecture), tmp_path / "out"
    summary = train(_settings(toy, base, out, rates="3e-3,6e-3"))
    _check_learned(summary, out, off=25)
    _check_scorer(out, summary)
    assert not (out / "training" / "stages").exists()


@pytest.mark.slow
def test_words_are_learned_and_written(llava: Path, toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = train(_settings(toy, llava, out, objective="words", steps="10,120"))
    _check_learned(summary, out, off=10)
    _check_scorer(out, summary)
    scorer = load_scorer(out, metrics="itm")
    for pair, score in _unseen()[:4]:
        colour = list(COLOURS)[int(pair.key) % 2]
        assert scorer.answers(pair) == [f"{score:.0f}\nthe image is {colour}"]


@pytest.mark.slow
def test_an_adapter_is_learned_and_found_with_its_base(
    llava: Path, toy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    lora = Lora(8, 16, 0.0)
    settings = _settings(toy, llava, out, lora=lora, rates="1e-2,2e-2", steps="10,120")
    summary = train(settings)
    assert not (out / "config.json").exists()
    assert (out / "adapter_config.json").is_file()
    _check_learned(summary, out, off=40)
    _check_scorer(out, summary)
    pairs = [pair for pair, _ in _unseen()]
    alone = load_scorer(out).distributions(pairs)
    given = load_mlm_scorer(llava, adapter=out).distributions(pairs)
    np.testing.assert_array_equal(alone, given)
    assert (
        np.abs(alone - load_mlm_scorer(llava, prompts="compact").distributions(pairs)).max() > 0.1
    )


@pytest.mark.slow
def test_stages_freeze_what_is_not_theirs(llava: Path, toy: Path, tmp_path: Path) -> None:
    before = load_file(llava / "model.safetensors")
    moved = {}
    for stage in ("projector", "language", "all"):
        out = tmp_path / stage
        train(_settings(toy, llava, out, stages=stage, steps="3", dev_fraction=0.0))
        after = load_file(out / "model.safetensors")
        assert after.keys() == before.keys()
        changed = {name for name in before if not np.array_equal(before[name], after[name])}
        moved[stage] = {
            part
            for part in ("multi_modal_projector", "vision_tower", "language_model")
            if any(part in name for name in changed)
        }
    assert moved["projector"] == {"multi_modal_projector"}
    assert moved["language"] == {"multi_modal_projector", "language_model"}
    assert moved["all"] == {"multi_modal_projector", "language_model", "vision_tower"}


@pytest.mark.slow
def test_low_rank_stages_freeze_too(llava: Path, toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = _settings(toy, llava, out, lora=Lora(4, 8, 0.0), steps="3,3", keep_checkpoints=True)
    train(settings)
    stages = out / "training" / "stages"
    first = load_file(stages / "1-projector" / "checkpoint-3" / "adapter_model.safetensors")
    second = load_file(stages / "2-all" / "checkpoint-3" / "adapter_model.safetensors")
    ups = [name for name in first if "lora_B" in name]
    assert ups
    assert any("vision_tower" in name for name in ups)
    assert any("language_model" in name for name in ups)
    assert all(not first[name].any() for name in ups)  # where they start
    assert any(second[name].any() for name in ups)
    [weight] = [name for name in first if name.endswith("multi_modal_projector.linear_1.weight")]
    base = load_file(llava / "model.safetensors")
    assert not np.array_equal(first[weight], base["multi_modal_projector.linear_1.weight"])


@pytest.mark.slow
def test_all_options_together(llava: Path, tmp_path: Path) -> None:
    """Ranking, four metrics, instructions, accumulation, workers and recomputed activations."""
    toy = write_toy(tmp_path / "toy", 24)
    more = write_toy(tmp_path / "more", 24, metric="ctq")
    entries = json.loads((toy / "llava.json").read_text())
    turns = [{"from": "human", "value": "<image>\nwhat is it"}, {"from": "gpt", "value": "a house"}]
    mix = [{"id": "m", "image": e["image"], "conversations": turns} for e in entries]
    (tmp_path / "mix.json").write_text(json.dumps(mix))
    said: list[str] = []
    out = tmp_path / "out"
    settings = _settings(
        toy, llava, out,
        data=(str(toy), str(more)), images=(str(toy),), stages="all", steps="40",
        ranking=0.5, mix=str(tmp_path / "mix.json"), mix_ratio=0.5, batch_size=4, accumulate=2,
        workers=1, gradient_checkpointing=True, best_by="mean", weight_decay=0.01, save_every=20,
        prompts=None,
    )  # fmt: skip
    summary = train(settings, MessageListener(said.append))
    text = "\n".join(said)
    assert "train: 72 pairs on 36 images" in text
    assert "mixed in: 36 general instructions" in text
    assert "prompts: pairsift" in text
    assert {"tau_itm", "tau_ctq", "tau", "mae"} <= summary.dev.keys()
    losses = [row["loss"] for row in _rows(out) if "loss" in row]
    assert losses[-1] < losses[0]
    assert load_scorer(out).pack.name == "pairsift"


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, Lora(8, 16, 0.0)], ids=["full", "lora"])
def test_bfloat16_multiplies_but_does_not_round_what_is_trained(
    lora: Lora | None, llava: Path, toy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    # Steps of 1e-5 would vanish in bfloat16 weights of about 1.
    settings = _settings(
        toy, llava, out, lora=lora, dtype="bfloat16", stages="all", steps="4", rates="1e-5",
        keep_checkpoints=True,
    )  # fmt: skip
    summary = train(settings)
    name = "model.safetensors" if lora is None else "adapter_model.safetensors"
    checkpoint = out / "training" / "stages" / "1-all" / "checkpoint-4" / name
    trained = load_file(checkpoint)
    before = load_file(llava / "model.safetensors")
    weight = next(n for n in trained if n.endswith("multi_modal_projector.linear_1.weight"))
    start = before["multi_modal_projector.linear_1.weight"]
    if lora is not None:  # what is not trained, and what training starts from, is bfloat16
        start = torch.from_numpy(start).bfloat16().float().numpy()
    change = np.abs(trained[weight] - start)
    assert trained[weight].dtype == np.float32
    assert 1e-6 < change.max() < 1e-4
    if lora is not None:
        np.testing.assert_array_equal(load_file(out / name)[weight], trained[weight])
    measured = [row for row in _rows(out) if row["step"] == 4 and "dev_mae_itm" in row]
    # Measured in bfloat16 products there, in float32 here.
    assert summary.dev["mae_itm"] == pytest.approx(measured[0]["dev_mae_itm"], abs=1.0)


@pytest.mark.slow
def test_the_same_settings_give_the_same_weights(llava: Path, toy: Path, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(_settings(toy, llava, tmp_path / name, seed=seed, stages="all", steps="4"))
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.slow
def test_a_finished_run_is_left_alone_and_another_refused(
    llava: Path, toy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    settings = _settings(toy, llava, out, stages="projector", steps="2")
    first = train(settings)
    weights = (out / "model.safetensors").stat().st_mtime_ns
    assert train(settings).to_json() == first.to_json()
    assert (out / "model.safetensors").stat().st_mtime_ns == weights
    with pytest.raises(PairsiftError, match="another batch_size"):
        train(_settings(toy, llava, out, stages="projector", steps="2", batch_size=8))
    with (out / "training" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PairsiftError, match="another process"):
            train(settings)
    with pytest.raises(PairsiftError, match="not an empty folder"):
        train(_settings(toy, llava, llava, stages="projector", steps="2"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": "letters"}, "--objective"),
        ({"objective": "words", "ranking": 1.0}, "--ranking"),
        ({"best_by": "su"}, "--best-by"),
        ({"metrics": ("su",)}, "for su"),
        ({"dev_fraction": 0.001}, "no dev pair"),
        ({"out": "s3://bucket/out"}, "local disk"),
        ({"lora": Lora(4, 8, 0.0), "stages": "projector", "steps": "2"}, "--lora"),
        ({"model": "/nowhere"}, "/nowhere"),
        ({"dtype": "float16"}, "float32 or bfloat16"),
        ({"prompts": "/nowhere.toml"}, "nowhere.toml"),
    ],
)
def test_bad_settings_are_refused_in_words(
    llava: Path, toy: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    out = changes.pop("out", tmp_path / "out")
    settings = _settings(toy, llava, out, **{"device": "cpu", **changes})
    with pytest.raises(PairsiftError, match=words):
        train(settings)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_what_cannot_be_trained_is_said(llava: Path, toy: Path, tmp_path: Path) -> None:
    legacy = tmp_path / "legacy"
    legacy.mkdir()
    (legacy / "config.json").write_text('{"model_type": "llava", "mm_vision_tower": "x"}')
    with pytest.raises(PairsiftError, match="legacy LLaVA"):
        train(_settings(toy, legacy, tmp_path / "out"))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(PairsiftError, match="LoRA adapter"):
        train(_settings(toy, tmp_path / "adapter", tmp_path / "out"))


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run(llava: Path, toy: Path, tmp_path: Path) -> None:
    settings = _settings(toy, llava, tmp_path / "out", stages="all", steps="30", rates="1e20")
    with pytest.raises(PairsiftError, match="finite|--learning-rate"):
        train(settings)


@pytest.mark.slow
def test_the_command_says_what_it_would_do_then_does_it(
    llava: Path, toy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["train", str(toy), "--model", str(llava), "--out", str(out), "--json"]
    command += ["--stages", "projector,language", "--steps", "2,3", "--batch-size", "8"]
    dry = CliRunner().invoke(app, [*command, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    plan = json.loads(dry.stdout)
    assert not out.exists()
    assert plan["stages"]["1-projector"] == {"steps": 2, "projector": 1600}
    assert plan["stages"]["2-language"]["language"] > plan["stages"]["2-language"]["projector"]
    assert plan["train"] + plan["dev"] == 96
    assert "trains 1,600 of" in dry.stderr
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["out"] == str(out)
    assert math.isfinite(result["dev"]["mae_itm"])
    shard = tmp_path / "00000.tar"
    shard.write_bytes(tar_bytes([("a.png", png("red", 1)), ("a.txt", b"a red house")]))
    scored = CliRunner().invoke(
        app, ["score", str(shard), "--scorer", str(out), "--out", str(tmp_path / "scores")]
    )
    assert scored.exit_code == 0, scored.output
    [row] = pq.read_table(tmp_path / "scores" / "00000.parquet").to_pylist()
    assert row["status"] == "ok"
    assert 0 <= row["itm"] <= 100


def test_epochs_become_steps(llava: Path, toy: Path, tmp_path: Path) -> None:
    settings = _settings(toy, llava, tmp_path / "out", dev_fraction=0.0, accumulate=2)
    stages = parse_stages("projector,all", epochs="1,2.5")
    plan = describe(type(settings)(**{**_fields(settings), "stages": stages}), NullListener())
    # 96 pairs in passes of 16, two passes a step.
    assert [stage["steps"] for stage in plan["stages"].values()] == [3, 8]


def _fields(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in Settings.__dataclass_fields__}


@pytest.mark.slow
def test_of_two_runs_that_begin_at_once_one_has_the_folder(
    llava: Path, toy: Path, tmp_path: Path
) -> None:
    """The lock is taken first: whoever waits for nothing must not write what the other is by."""
    out = tmp_path / "out"
    (out / "training").mkdir(parents=True)
    settings = _settings(toy, llava, out, stages="projector", steps="2")
    with (out / "training" / "lock").open("w") as lock:  # begun, and nothing more than that
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PairsiftError, match="another process"):
            train(settings)
        assert not (out / "training" / "run.json").exists()
    assert train(settings).train > 0  # a lock that nobody holds is no run


@pytest.mark.parametrize("there", ["a.txt", "training/images/0.jpg", "training/notes.txt"])
def test_a_folder_of_something_else_is_left_alone(
    llava: Path, toy: Path, tmp_path: Path, there: str
) -> None:
    out = tmp_path / "out"
    (out / there).parent.mkdir(parents=True)
    (out / there).write_text("mine")
    with pytest.raises(PairsiftError, match="not an empty folder"):
        train(_settings(toy, llava, out, stages="projector", steps="2"))
    assert [path for path in out.rglob("*") if path.is_file()] == [out / there]


@pytest.mark.slow
def test_another_precision_is_another_run(llava: Path, toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options: dict[str, Any] = {"stages": "projector", "steps": "2", "device": "cpu"}
    train(_settings(toy, llava, out, **options))
    for same in ("auto", "float32"):  # on a CPU, auto is float32
        train(_settings(toy, llava, out, **options, dtype=same))
    with pytest.raises(PairsiftError, match=r"another precision \('float32', now 'bfloat16'\)"):
        train(_settings(toy, llava, out, **options, dtype="bfloat16"))
    # Runs of before do not tell theirs, and go on.
    file = out / "training" / "run.json"
    known = json.loads(file.read_text())
    del known["precision"]
    file.write_text(json.dumps(known))
    train(_settings(toy, llava, out, **options, dtype="bfloat16"))
