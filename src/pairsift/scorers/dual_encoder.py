"""`dual-encoder`: the cosine of separate image and caption embeddings, from parts of
`pairsift-tiny`.

It works like CLIPScore but is trained on the same data as `pairsift-tiny`. It is the fair baseline
if no CLIP weights are available, and a scorer without the cost of a language model.

    pixels ── Lite2, its end tuned ── linear ──┐
                                               ├─ cosine
    caption ── MiniLM, centred ────────────────┘

The language model of `pairsift-tiny` gets the same similarity as an input; ``training/tower.py``
says how it was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from pairsift.embeddings import FORMAT, IMAGE, TEXT, embedding_fields
from pairsift.scorers.base import Columns, Preparer
from pairsift.scorers.mlm.tiny.captions import collate
from pairsift.scorers.mlm.tiny.encoded import EncodedImages
from pairsift.scorers.mlm.tiny.inputs import TinyInputs
from pairsift.scorers.mlm.tiny.model import TinyModel
from pairsift.scorers.mlm.tiny.scorer import (
    ASSET,
    SCOPE,
    PixelsAndTokens,
    checkpoint_files_digest,
    preprocessing,
    tiny_dtype,
    tiny_transform,
)
from pairsift.scorers.placement import pick_device


class DualEncoderScorer(PixelsAndTokens):
    """Cosine of image and caption embedding.

    Column: ``dual_encoder`` float32, 100 * cosine, -100..100. Use it only to rank pairs.
    """

    name: ClassVar[str] = "dual-encoder"
    columns = (pa.field("dual_encoder", pa.float32()),)
    batch_size = 32
    scope = replace(SCOPE, novelty_limit=None)

    def __init__(
        self,
        tiny: TinyModel,
        device: torch.device,
        embeddings: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(device)
        self.tiny = tiny.to(device)
        self.tiny.compute_in(dtype)
        self.preparer = Preparer(tiny_transform(ASSET, tiny.config))
        self.images = EncodedImages(self._encode, device, self.batch_size)
        self._fingerprint = {
            "scorer": self.name,
            "checkpoint": checkpoint_files_digest(ASSET),
            "preprocessing": preprocessing(tiny.config),
            "dtype": str(dtype).removeprefix("torch."),
        }
        self._embeds = embeddings
        if embeddings:
            self.columns = (*self.columns, *embedding_fields(tiny.config.meaning))
            self._fingerprint["embeddings"] = FORMAT

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return self._fingerprint

    @torch.inference_mode()
    def start(self, collated: Sequence[TinyInputs]) -> Callable[[], Columns]:
        pixels, captions = zip(*collated, strict=True)
        images = self.images.each(pixels)
        tokens = collate(captions).to(self.device)
        texts = F.normalize(
            self.tiny.caption_meaning(tokens.sentence_ids, tokens.sentence_mask), dim=-1
        )
        found = {"dual_encoder": 100 * (images * texts).sum(-1)}
        if self._embeds:
            found |= {IMAGE: images, TEXT: texts}
        fetch = self.fetcher(list(found.values()))
        return lambda: dict(zip(found, fetch(), strict=True))

    def _encode(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.tiny.expected_meaning(pixels), dim=-1)


def load_dual_encoder(
    *, device: str | None = None, dtype: str | None = None, embeddings: bool = False
) -> DualEncoderScorer:
    """Load the baseline that is part of the package.

    Args:
        device: None takes a GPU if there is one.
        dtype: float32 or bfloat16, as for `pairsift-tiny`; None is float32.
        embeddings: leave the two embeddings, see :mod:`pairsift.embeddings`.

    Raises:
        PairsiftError: the files of `pairsift-tiny` are missing or do not fit, or the dtype is
            unknown or has no instructions on this CPU.
    """
    where = pick_device(device or "auto")
    kind = tiny_dtype(dtype, where)
    tiny = TinyModel.from_pretrained(ASSET, quantized=where.type == "cpu")
    return DualEncoderScorer(tiny, where, embeddings, kind)
