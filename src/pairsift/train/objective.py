"""The training loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pairsift.scorers.mlm.backbone import EmbedsBackbone
from pairsift.scorers.mlm.trie import NUMBERS, ScoreTrie
from pairsift.train.items import Batch, Part

_RANKED_APART = 5.0
"""Least difference of two captions' teacher scores, in points, for their order to be learned."""
_RANK_SCALE = 10.0
"""Difference of two expected scores, in points, that counts as clearly ordered."""


class Objective(nn.Module):
    """The model with its loss, in the form that the Trainer expects.

    - *distribution*: cross-entropy between the soft label and the distribution over 0..100 that
      the scorer reads. It is not renormalised, so the model also learns to answer with a number.
    - *words*: cross-entropy of an answer's tokens, averaged over each answer, so that a long
      rationale has no more weight than a short one.
    - *ranking*: softplus of how far the scores of two captions of an image are in the wrong order.

    Args:
        model: the model whose parameters are trained; ``backbone`` runs it.
        ranking: weight of the ranking loss.
    """

    def __init__(
        self, model: nn.Module, backbone: EmbedsBackbone, trie: ScoreTrie, ranking: float
    ) -> None:
        super().__init__()
        self.model = model
        self.backbone = backbone
        self.trie = trie
        self.ranking = ranking

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean loss over the distributions and answers of a batch, a scalar."""
        total = torch.zeros((), device=self.backbone.device)
        if (
            not batch.targets
        ):  # no row fits into the model, but the Trainer still needs a loss to differentiate
            return {"loss": total.requires_grad_()}
        ranking = torch.zeros_like(total)
        if batch.scored is not None:
            log_p = self.log_probabilities(batch.scored)
            labels = self.backbone.to_device(batch.labels)
            total = total - (labels * log_p).sum()
            if self.ranking:
                ranking = ranking_loss(expected_scores(log_p), batch)
        if batch.worded is not None:
            logits = self.backbone.logits(self._hidden(batch.worded))
            losses = nn.functional.cross_entropy(
                logits, self.backbone.to_device(batch.written), reduction="none"
            )
            total = total + (losses * self.backbone.to_device(batch.weights)).sum()
        return {"loss": total / batch.targets + self.ranking * ranking}

    def log_probabilities(self, part: Part) -> Tensor:
        """Return the scores' float32 log probabilities, (targets, 101)."""
        hidden = self._hidden(part)  # (targets, nodes, D)
        logits = self.backbone.logits(hidden.flatten(0, 1))
        columns = torch.tensor(self.trie.columns, device=logits.device)
        log_p = logits[:, columns] - logits.logsumexp(-1, keepdim=True)
        return self.trie.log_probabilities(log_p.view(*hidden.shape[:2], -1))

    def _hidden(self, part: Part) -> Tensor:
        hidden = self.backbone.read(part.images, part.prefixes, part.block)
        row = self.backbone.to_device(part.row)
        at = self.backbone.to_device(part.at)
        return hidden[row[:, None] if at.ndim == 2 else row, at]


def expected_scores(log_p: Tensor) -> Tensor:
    """Return the mean of each distribution, renormalised; (..., 101) to (...), 0..100."""
    numbers = torch.tensor(NUMBERS, dtype=log_p.dtype, device=log_p.device)
    return log_p.softmax(-1) @ numbers


def ranking_loss(expected: Tensor, batch: Batch) -> Tensor:
    """Return the mean softplus over pairs of captions of one image whose teacher scores differ; 0
    if none do.

    Args:
        expected: (targets,) 0..100.
    """
    alike = (batch.groups[:, None] == batch.groups) & (batch.metrics[:, None] == batch.metrics)
    better, worse = np.nonzero(alike & (batch.scores[:, None] - batch.scores >= _RANKED_APART))
    if not len(better):
        return expected.sum() * 0.0
    device = expected.device
    behind = (
        expected[torch.from_numpy(worse).to(device)] - expected[torch.from_numpy(better).to(device)]
    )
    return nn.functional.softplus(behind / _RANK_SCALE).mean()
