"""The training losses of `pairsift-tiny`, all on the expected scores of packed captions.

B packs, C captions in each, M metrics; scores and targets are points, 0 to 100.
"""

from __future__ import annotations

import torch
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.tiny.captions import Packed
from pairsift.scorers.mlm.tiny.config import NUM_SCORES
from torch import Tensor
from torch.nn import functional as F

SPREAD = 6.0  # standard deviation of the soft label, points
RANK_SCALE = 8.0  # points of difference at which the ranking loss is small
EDIT_SCALE = 4.0  # the same for a caption and its edit
ORDER_SCALE = 4.0  # points that an instruction may change a score before the loss grows linearly
OBEDIENT = ("itm", "odf", "su")  # metrics that an instruction must not change


def normal_labels(targets: Tensor) -> Tensor:
    """Return (..., 101): a normal curve of width `SPREAD` around each target (...)."""
    scores = torch.arange(NUM_SCORES, dtype=torch.float32)
    return (-((scores - targets[..., None]) ** 2) / (2 * SPREAD**2)).softmax(-1)


def weighted_ranking_loss(expected: Tensor, targets: Tensor) -> Tensor:
    """Return the logistic loss on pairs whose teacher scores differ; expected and teacher scores
    are (B, C).
    """
    gap = targets[:, :, None] - targets[:, None, :]
    lead = expected[:, :, None] - expected[:, None, :]
    weight = ((gap - 4) / 20).clamp(0, 1)
    return (weight * F.softplus(-lead / RANK_SCALE)).sum() / weight.sum().clamp_min(1)


def edit_loss(expected: Tensor, targets: Tensor, made_from: Tensor) -> Tensor:
    """Return the logistic loss between each edited caption and its source; scores are (B, C).

    made_from (B, C): the source's position in the pack, or -1. Every edit that the teacher scores
    differently has the same weight; the other losses decide how far its score moves.
    """
    source = made_from.clamp_min(0)
    gap = targets.gather(1, source) - targets
    lead = expected.gather(1, source) - expected
    felt = (made_from >= 0) & (gap.abs() > 2)
    loss = F.softplus(-gap.sign() * lead / EDIT_SCALE)
    return (loss * felt).sum() / felt.sum().clamp_min(1)


def order_loss(expected: Tensor, ordered: Tensor) -> Tensor:
    """Return the Huber loss between a caption with an instruction to the model and without; (B, C,
    M).

    ordered (B, C): the position in the pack of the caption without the instruction, or -1. Both are
    trained: if one is fixed, the shared weights follow it, and all scores diverge.
    """
    columns = [list(METRICS).index(name) for name in OBEDIENT]
    scores = expected[..., columns] / ORDER_SCALE
    plain = scores.gather(1, ordered.clamp_min(0)[..., None].expand_as(scores))
    return F.smooth_l1_loss(scores[ordered >= 0], plain[ordered >= 0])


def caption_loss(
    hidden: Tensor, packed: Packed, own: Tensor, table: Tensor, column: Tensor, scale: Tensor
) -> Tensor:
    """Return the next-token loss within the own captions, over the tokens that training captions
    use.
    """
    inside = packed.segment[:, 1:] == packed.segment[:, :-1]
    text = (packed.query[:, 1:] < 0) & (packed.query[:, :-1] < 0) & inside
    text = text & own.gather(1, packed.segment[:, 1:].clamp_min(0)) & (packed.segment[:, 1:] >= 0)
    labels = column[packed.ids[:, 1:][text]]
    known = labels >= 0
    logits = hidden[:, :-1][text][known] @ table.T * scale
    return F.cross_entropy(logits, labels[known])
