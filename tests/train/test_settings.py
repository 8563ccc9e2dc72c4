"""What a training run is asked to do, and what contradicts itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pairsift.errors import PairsiftError
from pairsift.train.settings import Lora, Settings, parse_stages

PLAIN = Settings(data=("data",), model="model", out="out", stages=parse_stages("language"))


def test_one_value_serves_all_stages_or_each_has_its_own() -> None:
    first, second = parse_stages("projector, language", steps="10", learning_rates="1e-3,1e-4")
    assert (first.name, second.name) == ("1-projector", "2-language")
    assert (first.steps, second.steps) == (10, 10)
    assert (first.learning_rate, second.learning_rate) == (1e-3, 1e-4)


def test_usual_rates_depend_on_the_parts_and_on_adapters() -> None:
    rates = [stage.learning_rate for stage in parse_stages("projector,language")]
    adapted = [stage.learning_rate for stage in parse_stages("projector,language", lora=True)]
    assert rates[0] == adapted[0] > adapted[1] > rates[1]
    assert parse_stages("all")[0].epochs == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": "head"}, "--stages 'head': choose from projector, language, all"),
        ({"names": "all", "epochs": "1", "steps": "2"}, "either --epochs or --steps"),
        ({"names": "all", "steps": "1.5"}, "--steps 1.5: give whole numbers"),
        ({"names": "all", "epochs": "x"}, "--epochs 'x': give numbers"),
        ({"names": "all", "epochs": "nan"}, "above 0"),
        ({"names": "all", "learning_rates": "0"}, "above 0"),
        ({"names": "all", "learning_rates": "1,2"}, "--learning-rate"),
    ],
)
def test_lists_that_do_not_fit_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(PairsiftError) as raised:
        parse_stages(**options)  # type: ignore[arg-type]
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objective": "loss"}, "--objective 'loss'"),
        ({"objective": "words", "ranking": 0.5}, "--ranking"),
        ({"ranking": 0.5, "captions_per_image": 1}, "--captions-per-image of at least 2"),
        ({"out": "s3://bucket/x"}, "local disk"),
        ({"stages": ()}, "--stages"),
        ({"stages": parse_stages("projector"), "lora": Lora(8, 16, 0.0)}, "--lora"),
        ({"dtype": "float16"}, "--dtype 'float16'"),
    ],
)
def test_contradictions_are_named(change: dict[str, object], words: str) -> None:
    PLAIN.check()
    with pytest.raises(PairsiftError) as raised:
        replace(PLAIN, **change).check()  # type: ignore[arg-type]
    assert words in str(raised.value)


def test_what_decides_the_result_is_listed() -> None:
    same = replace(PLAIN, device="cpu", workers=4, keep_checkpoints=True, images=("x",))
    assert same.decisive() == PLAIN.decisive()
    for change in ({"seed": 1}, {"batch_size": 2}, {"lora": Lora(8, 16, 0.0)}, {"stages": ()}):
        assert replace(PLAIN, **change).decisive() != PLAIN.decisive()  # type: ignore[arg-type]


def test_stages_are_lists_by_commas() -> None:
    stages = parse_stages("projector,all", epochs="1,2.5", lora=True)
    assert [(s.name, s.epochs, s.learning_rate) for s in stages] == [
        ("1-projector", 1.0, 1e-3), ("2-all", 2.5, 2e-4),
    ]  # fmt: skip
    assert [s.steps for s in parse_stages("language", steps="7")] == [7]
    for wrong in (
        {"names": "head"},
        {"names": "all", "epochs": "1,2"},
        {"names": "all", "epochs": "-1"},
        {"names": "all", "steps": "1.5"},
        {"names": "all", "steps": "many"},
        {"names": "all", "steps": "1", "epochs": "1"},
    ):
        with pytest.raises(PairsiftError, match="--"):
            parse_stages(wrong.pop("names"), **wrong)
