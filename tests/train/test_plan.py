"""What is known of a training run before the model is loaded."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pairsift.errors import PairsiftError
from pairsift.progress import NullListener
from pairsift.train.plan import Plan, check_packages, make_plan
from pairsift.train.settings import Lora, Settings, parse_stages
from tests.support.listeners import Recorder
from tests.train.toy import write_toy

pytest.importorskip("accelerate", reason="needs the extra train")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"), 20)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of which only the configuration is read so far."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps({"model_type": "llava"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def planned(toy: Path, model: Path, tmp_path: Path) -> Any:
    def plan(**options: Any) -> Plan:
        given: dict[str, Any] = {
            "data": (str(toy),), "model": str(model), "out": str(tmp_path / "out"),
            "stages": parse_stages("all"),
        }  # fmt: skip
        return make_plan(Settings(**{**given, **options}), NullListener())

    return plan


def test_a_plan_divides_the_pairs_and_counts_them(planned: Any) -> None:
    plan = planned(dev_fraction=0.2)
    assert (len(plan.train), len(plan.dev), plan.metrics, plan.best_by) == (32, 8, ("itm",), "itm")
    train, dev, prompts = plan.lines()
    assert train == "train: 32 pairs on 16 images (itm 32)"
    assert dev == "dev: 8 pairs on 4 images; best by tau of itm"
    assert prompts.startswith("prompts: pairsift")


def test_without_a_dev_set_the_last_checkpoint_is_the_result(planned: Any) -> None:
    plan = planned(dev_fraction=0.0)
    assert len(plan.train) == 40
    assert plan.lines()[1] == "dev: none; the last checkpoint is the result"


def test_the_fingerprint_changes_with_model_data_and_settings(
    planned: Any, toy: Path, model: Path, tmp_path: Path
) -> None:
    first = planned().fingerprint
    assert planned(workers=3, out=str(tmp_path / "elsewhere")).fingerprint == first
    other = write_toy(tmp_path / "other", 21)
    (tmp_path / "model").mkdir()
    for file in model.iterdir():
        (tmp_path / "model" / file.name).write_bytes(file.read_bytes() + b" ")
    changed = {
        "data": {"data": (str(other),)},
        "model": {"model": str(tmp_path / "model")},
        "prompts": {"prompts": "compact"},
        "seed": {"seed": 1},
        "stages": {"stages": parse_stages("all", epochs="2")},
    }
    for field, options in changed.items():
        found = planned(**options).fingerprint
        assert {name for name in first if found[name] != first[name]} == {field}


def test_instructions_are_mixed_in_by_their_ratio(planned: Any, toy: Path, tmp_path: Path) -> None:
    entries = [
        {"image": str(toy / "images/0.png"),
         "conversations": [{"from": "human", "value": f"<image>\n{number}?"},
                           {"from": "gpt", "value": "Yes."}]}
        for number in range(30)
    ]  # fmt: skip
    (tmp_path / "mix.json").write_text(json.dumps(entries))
    plan = planned(
        mix=str(tmp_path / "mix.json"),
        mix_ratio=0.5,
        images=(str(toy / "images"),),
        dev_fraction=0.0,
    )
    assert len(plan.exchanges) == 20
    assert "mixed in: 20 general instructions" in plan.lines()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": ("su",)}, "su"),
        ({"best_by": "odf"}, "--best-by 'odf': choose from itm, mean"),
        ({"dev_fraction": 1e-9}, "no dev pair among 40; raise --dev-fraction"),
        ({"prompts": "nowhere.toml"}, "nowhere.toml"),
        ({"model": "/gone"}, "there is no folder /gone"),
        ({"objective": "magic"}, "--objective 'magic'"),
        ({"log": "paper"}, "paper"),
    ],
)
def test_what_would_fail_later_is_told_first(
    planned: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        planned(**options)


def test_a_dev_set_of_another_metric_is_refused(planned: Any, tmp_path: Path) -> None:
    other = write_toy(tmp_path / "other", 4, metric="odf")
    with pytest.raises(PairsiftError, match="dev pairs have no scores for itm; give other --dev-d"):
        planned(dev_data=str(other))
    same = write_toy(tmp_path / "same", 4)
    plan = planned(dev_data=str(same))
    assert (len(plan.train), len(plan.dev)) == (40, 8)


def test_pairs_that_cannot_be_used_are_counted_or_end_the_plan(
    planned: Any, tmp_path: Path
) -> None:
    data = write_toy(tmp_path / "data", 4)
    (data / "images/0.png").write_bytes(b"no image")
    plan = planned(data=(str(data),), dev_fraction=0.0)
    assert plan.left_out == {"image_corrupt": 2}
    assert "left out: 2 (image_corrupt)" in plan.lines()
    for image in (data / "images").iterdir():
        image.write_bytes(b"no image")
    with pytest.raises(PairsiftError, match="no usable pair is left: .*image_corrupt"):
        planned(data=(str(data),))


def test_ranking_needs_two_captions_of_an_image(planned: Any, tmp_path: Path) -> None:
    data = write_toy(tmp_path / "data", 6)
    entries = json.loads((data / "llava.json").read_text())
    (data / "llava.json").write_text(json.dumps(entries[::2]))
    with pytest.raises(PairsiftError, match="--ranking: no image has two captions"):
        planned(data=(str(data),), ranking=1.0, dev_fraction=0.0)
    planned(ranking=1.0)


def test_one_process_trains(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PairsiftError, match="one process on one device; start it without torchrun"):
        planned()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, planned: Any) -> None:
    settings = planned().settings
    monkeypatch.setitem(sys.modules, "peft", None)
    check_packages(settings)
    with pytest.raises(
        PairsiftError, match=r"training needs peft: pip install 'pairsift\[train\]'"
    ):
        check_packages(replace(settings, lora=Lora(4, 8, 0.0)))


def test_the_data_is_told_before_it_is_read(toy: Path, model: Path, tmp_path: Path) -> None:
    listener = Recorder()
    settings = Settings(
        data=(str(toy),), model=str(model), out=str(tmp_path / "o"), stages=parse_stages("all")
    )
    make_plan(settings, listener)
    assert listener.messages == [f"reading {toy}"]
