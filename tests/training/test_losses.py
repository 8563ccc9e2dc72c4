"""What the losses of `training/` reward, on scores made up here."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

LOSSES = runpy.run_path(str(Path(__file__).parents[2] / "training" / "losses.py"))
NOTHING = torch.full((1, 3), -1)


def test_a_soft_label_is_centred_on_the_target_and_adds_up() -> None:
    labels = LOSSES["normal_labels"](torch.tensor([[0.0, 50.0], [73.0, 100.0]]))
    assert labels.shape == (2, 2, 101)
    torch.testing.assert_close(labels.sum(-1), torch.ones(2, 2))
    assert labels.argmax(-1).tolist() == [[0, 50], [73, 100]]
    points = torch.arange(101.0)
    spread = (labels[0, 1] * (points - 50) ** 2).sum().sqrt()
    assert spread == pytest.approx(LOSSES["SPREAD"], abs=0.01)


def test_ranking_asks_for_the_teachers_order_only_where_it_is_clear() -> None:
    loss = LOSSES["weighted_ranking_loss"]
    targets = torch.tensor([[80.0, 40.0, 10.0]])
    assert loss(targets, targets) < 0.1 < 2 < loss(-targets, targets)
    near = torch.tensor([[50.0, 48.0, 47.0]])  # less than four points apart says nothing
    assert loss(-10 * near, near) == 0


def test_every_edit_counts_alike_however_far_it_should_move() -> None:
    made_from = torch.tensor([[-1, 0, 0]])
    targets = torch.tensor([[90.0, 20.0, 86.0]])
    neither = LOSSES["edit_loss"](torch.full((1, 3), 60.0), targets, made_from)
    far = LOSSES["edit_loss"](torch.tensor([[60.0, 50.0, 60.0]]), targets, made_from)
    slight = LOSSES["edit_loss"](torch.tensor([[60.0, 60.0, 50.0]]), targets, made_from)
    torch.testing.assert_close(far, slight)
    assert far < neither
    wrong_way = LOSSES["edit_loss"](torch.tensor([[60.0, 70.0, 60.0]]), targets, made_from)
    assert wrong_way > neither


def test_an_edit_the_teacher_does_not_feel_teaches_nothing() -> None:
    loss = LOSSES["edit_loss"]
    targets, scores = torch.tensor([[90.0, 89.0, 20.0]]), torch.tensor([[10.0, 95.0, 0.0]])
    assert loss(scores, targets, torch.tensor([[-1, 0, -1]])) == 0
    assert loss(scores, targets, NOTHING) == 0


def test_an_edit_may_be_better_than_its_source() -> None:
    made_from, targets = torch.tensor([[-1, 0, -1]]), torch.tensor([[40.0, 60.0, 0.0]])
    better, worse = torch.tensor([[50.0, 60.0, 0.0]]), torch.tensor([[50.0, 40.0, 0.0]])
    loss = LOSSES["edit_loss"]
    assert loss(better, targets, made_from) < loss(worse, targets, made_from)


def test_orders_are_held_to_the_plain_caption_in_all_but_text_quality() -> None:
    loss, ordered = LOSSES["order_loss"], torch.tensor([[-1, -1, 1]])
    scores = torch.tensor([[[10.0, 10, 90, 10], [40.0, 30, 90, 20], [40.0, 30, 25, 20]]])
    assert loss(scores, ordered) == 0  # only `ctq` moved
    for metric, moved in enumerate((True, True, False, True)):
        shifted = scores.clone()
        shifted[0, 2, metric] += 8
        assert bool(loss(shifted, ordered) > 0) is moved


def test_both_the_order_and_the_plain_caption_learn() -> None:
    scores = torch.tensor([[[10.0] * 4, [40.0] * 4, [30.0] * 4]], requires_grad=True)
    LOSSES["order_loss"](scores, torch.tensor([[-1, -1, 1]])).backward()
    itm = scores.grad[0, :, 0]
    assert itm[0] == 0
    assert itm[1] > 0 > itm[2]
    torch.testing.assert_close(itm[1], -itm[2])
