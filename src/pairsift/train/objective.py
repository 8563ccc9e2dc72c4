"""The training loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pairsift.metrics import Scale
from pairsift.scorers.mlm.backbone import EmbedsBackbone
from pairsift.scorers.mlm.trie import NEVER, AnswerTries, answer_points
from pairsift.train.items import Batch, Part

_RANKED_APART = 5.0
"""Least difference of two captions' teacher scores, in points, for their order to be learned."""
_RANK_SCALE = 10.0
"""Difference of two expected scores, in points, that counts as clearly ordered."""


class Objective(nn.Module):
    """The model with its loss, in the form that the Trainer expects.

    - *distribution*: cross-entropy between the soft label and the distribution over a metric's
      answers that the scorer reads. It is not renormalised, so the model also learns to give one
      of the answers.
    - *words*: cross-entropy of an answer's tokens, averaged over each answer, so that a long
      rationale has no more weight than a short one.
    - *ranking*: softplus of how far the scores of two captions of an image are in the wrong order.

    Args:
        model: the model whose parameters are trained; ``backbone`` runs it.
        tries, scales: the metrics' answers.
        ranking: weight of the ranking loss.
    """

    def __init__(
        self,
        model: nn.Module,
        backbone: EmbedsBackbone,
        tries: AnswerTries,
        scales: Sequence[Scale],
        ranking: float,
    ) -> None:
        super().__init__()
        self.model = model
        self.backbone = backbone
        self.tries = tries
        self.points = answer_points(scales)
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
            log_p = self.log_probabilities(batch.scored, batch.metrics)
            labels = self.backbone.to_device(batch.labels)
            total = total - (labels * log_p).sum()
            if self.ranking:
                points = torch.from_numpy(self.points[batch.metrics]).to(log_p)
                ranking = ranking_loss(expected_points(log_p, points), batch)
        if batch.worded is not None:
            logits = self.backbone.logits(self._hidden(batch.worded))
            losses = nn.functional.cross_entropy(
                logits, self.backbone.to_device(batch.written), reduction="none"
            )
            total = total + (losses * self.backbone.to_device(batch.weights)).sum()
        return {"loss": total / batch.targets + self.ranking * ranking}

    def log_probabilities(self, part: Part, metrics: np.ndarray) -> Tensor:
        """(targets, answers) float32 log probabilities of the answers, as the scorer reads them.

        Args:
            metrics: (targets,) which metric each one is of; the part's places are those of their
                nodes, one target behind another.
        """
        logits = self.backbone.logits(self._hidden(part))
        columns = torch.tensor(self.tries.columns, device=logits.device)
        log_p = logits[:, columns] - logits.logsumexp(-1, keepdim=True)
        starts = np.cumsum([0, *(self.tries[metric].nodes for metric in metrics[:-1])])
        found = log_p.new_full((len(metrics), self.tries.answers), NEVER)
        for metric in np.unique(metrics).tolist():
            targets = np.flatnonzero(metrics == metric)
            nodes = starts[targets][:, None] + np.arange(self.tries[metric].nodes)
            read = self.tries.of_metric(metric, log_p[torch.from_numpy(nodes).to(log_p.device)])
            found = found.index_copy(0, torch.from_numpy(targets).to(log_p.device), read)
        return found

    def _hidden(self, part: Part) -> Tensor:
        hidden = self.backbone.read(part.images, part.prefixes, part.block)
        return hidden[self.backbone.to_device(part.row), self.backbone.to_device(part.at)]


def expected_points(log_p: Tensor, points: Tensor) -> Tensor:
    """Mean of each distribution, renormalised; (..., answers) to (...), 0..100."""
    return (log_p.softmax(-1) * points).sum(-1)


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
