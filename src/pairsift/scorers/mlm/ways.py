"""Which way a model is read: the quickest that gives what reading the whole prompt gives."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.scorers.mlm.families.features import FeaturesBackbone
from pairsift.scorers.mlm.families.generic import GenericBackbone, WholeBackbone

if TYPE_CHECKING:
    from pairsift.scorers.mlm.scorer import MLMInputs, MLMScorer

#: How far next-token probabilities may be apart, as total variation: by rounding, never by more.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
_ROUGH = 0.05


def quickest(scorers: Iterable[MLMScorer]) -> MLMScorer:
    """Return the first scorer whose way holds for its model, tried with one pair.

    Args:
        scorers: of one and the same model, the quickest way first.

    Raises:
        PairsiftError: the model cannot be read in any way; says why.
    """
    why: Exception | None = None
    way = ""
    for scorer in scorers:
        if not isinstance(scorer.backbone, (GenericBackbone, FeaturesBackbone)):
            return scorer
        way = scorer.backbone.way
        try:
            if holds(scorer):
                return scorer
        except Exception as error:  # a model's forward raises what it likes
            why = error
    if why is None:
        raise PairsiftError(
            f"read in the way {way!r}, this model gives other numbers than for the whole prompt; "
            "leave out --scorer-option way"
        )
    text = str(why).strip().splitlines()[0] if str(why).strip() else type(why).__name__
    raise PairsiftError(
        f"this model does not take an image and a text as expected: {text}"
    ) from why


def holds(scorer: MLMScorer) -> bool:
    """Whether a model gives the same, read in a scorer's way and as a whole, for one pair."""
    backbone: Any = scorer.backbone
    row = scorer.preparer(_pair())
    if row.status is not Status.OK:
        raise PairsiftError(row.error or row.status.value)
    tolerance = _TOLERANCE.get(backbone.dtype, _ROUGH)
    found = _probabilities(scorer, backbone, row.inputs)
    if isinstance(backbone, WholeBackbone):
        return True
    expected = _probabilities(scorer, WholeBackbone(*backbone.parts), row.inputs)
    return bool(((found - expected).abs().sum(-1) / 2).max() <= tolerance)


@torch.inference_mode()
def _probabilities(scorer: MLMScorer, backbone: GenericBackbone, inputs: MLMInputs) -> torch.Tensor:
    """(nodes, vocabulary) next-token probabilities along the longest answer of the first metric."""
    longest = max(scorer.tries[0].beginnings, key=len)
    path = (longest, tuple(range(len(longest))))
    state = backbone.prefill(backbone.collate([inputs.image], [inputs.prefix]))
    [logits] = backbone.follow(state, [inputs.suffixes[:1]], [path], "looped")
    probabilities: torch.Tensor = backbone.logits(logits[0]).softmax(-1)
    if not probabilities.isfinite().all():
        raise FloatingPointError("the model's logits are not finite")
    return probabilities


@cache
def _pair() -> Pair:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((320, 240)).save(stream, "PNG")
    return Pair(key="trial", image=stream.getvalue(), caption="two dogs near a house by the sea")
