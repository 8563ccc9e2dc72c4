"""`tiny-glance`: an estimate of `pairsift-tiny`'s score before its language model.

Image and caption are encoded as in `pairsift-tiny`, and the same score head uses their similarity.
In one process with a `pairsift-tiny` it shares the model and the encoded images and captions, so
both together cost no more than `pairsift-tiny` alone. It is a first stage for cascades.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional as F

from pairsift.embeddings import FORMAT, IMAGE, TEXT, embedding_fields
from pairsift.metrics import METRICS
from pairsift.scorers.base import Columns, Scorer
from pairsift.scorers.mlm.tiny.inputs import TinyInputs
from pairsift.scorers.mlm.tiny.model import distribution
from pairsift.scorers.mlm.tiny.scorer import PixelsAndTokens, TinyScorer, load_tiny_scorer

_ITM = tuple(METRICS).index("itm")


class TinyGlance(PixelsAndTokens):
    """Column: ``glance`` float32, 0..100, an estimate of the ``itm`` of `pairsift-tiny`."""

    name: ClassVar[str] = "tiny-glance"
    columns = (pa.field("glance", pa.float32()),)
    batch_size = 64

    def __init__(self, tiny: TinyScorer, embeddings: bool = False) -> None:
        super().__init__(tiny.device)
        self.tiny = tiny
        self._embeds = embeddings
        if embeddings:
            self.columns = (*self.columns, *embedding_fields(tiny.model.config.meaning))
        self.preparer = tiny.preparer
        self.scope = tiny.scope

    @property
    def fingerprint(self) -> Mapping[str, str]:
        shared = {name: value for name, value in self.tiny.fingerprint.items() if name != "metrics"}
        own = {"scorer": self.name} | ({"embeddings": FORMAT} if self._embeds else {})
        return shared | own

    def novelty(self, inputs: Sequence[TinyInputs]) -> np.ndarray | None:
        return self.tiny.novelty(inputs)

    @torch.inference_mode()
    def start(self, collated: Sequence[TinyInputs]) -> Callable[[], Columns]:
        pixels, captions = zip(*collated, strict=True)
        images, read = self.tiny.images.each(pixels), self.tiny.captions.each(captions)
        logits = self.tiny.model.glance_logits(images, read[:, None])
        expected, _, _ = distribution(logits[:, 0, _ITM])
        found = {"glance": expected}
        if self._embeds:
            # The first of an encoded image's meaning rows, and what it is compared with.
            config = self.tiny.model.config
            found[IMAGE] = images[:, config.image_tokens, : config.meaning].float()
            found[TEXT] = F.normalize(read[:, : config.meaning].float(), dim=-1)
        fetch = self.fetcher(list(found.values()))
        return lambda: dict(zip(found, fetch(), strict=True))


def load_tiny_glance(
    model: str | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    beside: Scorer | None = None,
    embeddings: bool = False,
) -> TinyGlance:
    """Load the first half of the embedded filter, or of another checkpoint of the same
    architecture.

    Args:
        model, device, dtype: as for :func:`~pairsift.scorers.mlm.tiny.scorer.load_tiny_scorer`.
        beside: a scorer in the same process. If it is a `pairsift-tiny`, its first half is used,
            unless `model` or `dtype` differ.
        embeddings: leave the two embeddings, see :mod:`pairsift.embeddings`.

    Raises:
        PairsiftError: as :func:`~pairsift.scorers.mlm.tiny.scorer.load_tiny_scorer`.
    """
    if isinstance(beside, TinyScorer) and model is None and dtype is None:
        return TinyGlance(beside, embeddings)
    return TinyGlance(load_tiny_scorer(model, device=device, dtype=dtype), embeddings)
