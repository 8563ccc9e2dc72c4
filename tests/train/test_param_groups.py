"""Which parameters a stage trains."""

from __future__ import annotations

import pytest
from torch import nn

from pairsift.errors import PairsiftError
from pairsift.train.param_groups import (
    choose_trainable,
    count_parameters,
    lora_targets,
    part_of,
    projector_modules,
)


class Model(nn.Module):
    """The names of Qwen's parts: its projector lies inside the vision model."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.ModuleDict({"blocks": nn.Linear(2, 3), "merger": nn.Linear(3, 5)})
        self.language_model = nn.ModuleDict({"layer": nn.Linear(5, 7)})
        self.lm_head = nn.Linear(7, 11, bias=False)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.multi_modal_projector.linear_1.weight", "projector"),
        ("model.visual.merger.mlp.0.weight", "projector"),
        ("model.visual.deepstack_merger_list.0.norm.bias", "projector"),
        ("model.vision_tower.encoder.weight", "vision"),
        ("model.text_model.layers.0.weight", "language"),
        ("lm_head.weight", "language"),
    ],
)
def test_names_tell_the_part(name: str, part: str) -> None:
    assert part_of(name) == part


def test_what_lies_inside_a_projector_is_not_listed_again() -> None:
    model = nn.ModuleDict({"multi_modal_projector": nn.Sequential(nn.Linear(1, 1))})
    assert projector_modules(model) == ["multi_modal_projector"]


def test_an_unknown_name_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(PairsiftError, match="audio_tower.weight"):
        part_of("model.audio_tower.weight")
    with pytest.raises(PairsiftError, match="this architecture's projector"):
        projector_modules(nn.ModuleDict({"language_model": nn.Linear(1, 1)}))


@pytest.mark.parametrize(
    ("stage", "counts"),
    [
        ("projector", {"projector": 20}),
        ("language", {"projector": 20, "language": 119}),
        ("all", {"projector": 20, "language": 119, "vision": 9}),
    ],
)
def test_a_stage_trains_its_parts_and_no_others(stage: str, counts: dict[str, int]) -> None:
    model = Model()
    assert choose_trainable(model, stage, is_lora=False) == counts
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == sum(counts.values())
    assert count_parameters(model) == 148


def test_low_rank_updates_go_to_linear_layers_but_the_head() -> None:
    model = Model()
    assert projector_modules(model) == ["visual.merger"]
    assert lora_targets(model, ["language"]) == ["language_model.layer"]
    assert lora_targets(model, ["all"]) == ["visual.blocks", "language_model.layer"]
    with pytest.raises(PairsiftError, match="would train nothing"):
        choose_trainable(model, "all", is_lora=True)
