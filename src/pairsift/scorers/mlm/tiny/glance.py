"""`tiny-glance`: what `pairsift-tiny` would say of a pair before its language model has read it.

Image and caption are encoded as there and their agreement is read by the same score head. Beside a
`pairsift-tiny` in one process it uses that one's model, and what one has encoded serves the other,
so that together they cost no more than `pairsift-tiny` alone: a first stage for cascades.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch

from pairsift.metrics import METRICS
from pairsift.scorers.base import Scorer
from pairsift.scorers.mlm.tiny.encoded import order_by_image
from pairsift.scorers.mlm.tiny.inputs import TinyInputs
from pairsift.scorers.mlm.tiny.model import distribution
from pairsift.scorers.mlm.tiny.scorer import TinyScorer, load_tiny_scorer

_ITM = tuple(METRICS).index("itm")


class TinyGlance(Scorer):
    """Column: ``glance`` float32, 0..100, a guess at the ``itm`` that `pairsift-tiny` gives."""

    name: ClassVar[str] = "tiny-glance"
    columns = (pa.field("glance", pa.float32()),)
    batch_size = 64

    def __init__(self, tiny: TinyScorer) -> None:
        self._tiny = tiny
        self.preparer = tiny.preparer
        self.scope = tiny.scope

    @property
    def fingerprint(self) -> Mapping[str, str]:
        shared = {
            name: value for name, value in self._tiny.fingerprint.items() if name != "metrics"
        }
        return shared | {"scorer": self.name}

    def cost(self, inputs: TinyInputs) -> int:
        return len(inputs[1].sentence_ids)

    def order(self, inputs: Sequence[TinyInputs]) -> list[int]:
        return order_by_image([pixels for pixels, _ in inputs], list(map(self.cost, inputs)))

    @torch.inference_mode()
    def score_batch(self, inputs: Sequence[TinyInputs]) -> Mapping[str, np.ndarray]:
        pixels, captions = zip(*inputs, strict=True)
        images, image_of = self._tiny.images(pixels)
        meanings, meaning_of = self._tiny.meanings(captions)
        logits = self._tiny.model.glance_logits(images[image_of], meanings[meaning_of][:, None])
        expected, _, _ = distribution(logits[:, 0, _ITM])
        return {"glance": expected.cpu().numpy()}


def load_tiny_glance(
    model: str | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    beside: Scorer | None = None,
) -> TinyGlance:
    """Load the first half of the embedded filter, or of another checkpoint of the same make.

    Args:
        model, device, dtype: as of :func:`~pairsift.scorers.mlm.tiny.scorer.load_tiny_scorer`.
        beside: a scorer in the same process; if it is a `pairsift-tiny`, its first half is meant,
            and used, unless `model` or `dtype` ask for another.

    Raises:
        PairsiftError: as :func:`~pairsift.scorers.mlm.tiny.scorer.load_tiny_scorer`.
    """
    if isinstance(beside, TinyScorer) and model is None and dtype is None:
        return TinyGlance(beside)
    return TinyGlance(load_tiny_scorer(model, device=device, dtype=dtype))
