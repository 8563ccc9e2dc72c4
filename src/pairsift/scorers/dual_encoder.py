"""`dual-encoder`: image and caption embedded apart and compared, on the parts of `pairsift-tiny`.

What CLIPScore is, made from the encoders and the data that `pairsift-tiny` was made from: the fair
baseline where no CLIP weights are to be had, and a scorer that costs no language model.

    pixels ── Lite2, pooled ── linear + MLP ──┐
                                              ├─ cosine
    caption ── MiniLM ── MLP ─────────────────┘

Rebuilt by ``training/dual_encoder.py``, which says how it was trained and chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pairsift.errors import PairsiftError
from pairsift.scorers.base import Preparer, Scorer
from pairsift.scorers.mlm.tiny import POOLED_WIDTH, TinyModel, image_features
from pairsift.scorers.mlm.tiny_captions import collate
from pairsift.scorers.mlm.tiny_images import EncodedImages, order_by_image
from pairsift.scorers.mlm.tiny_inputs import TinyInputs, TinyTransform
from pairsift.scorers.mlm.tiny_preprocess import INPUT_SIDE
from pairsift.scorers.mlm.tiny_scorer import ASSET as TINY
from pairsift.scorers.mlm.tiny_scorer import SCOPE, checkpoint_files_digest
from pairsift.scorers.mlm.tiny_weights import read_tensors
from pairsift.scorers.placement import pick_device

ASSET = Path(__file__).parents[1] / "assets" / "dual-encoder" / "model.safetensors"
WIDTH = 384
HIDDEN = 512


class DualHeads(nn.Module):
    """What contrastive training adds to the frozen encoders.

    `image` takes pooled features (B, `POOLED_WIDTH`), `text` centred MiniLM embeddings (B, 384);
    both give unit vectors (B, 384). Untrained, with the ridge regression's weights, they are the
    ridge baseline.
    """

    feature_mean: Tensor
    feature_gain: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(POOLED_WIDTH))
        self.register_buffer("feature_gain", torch.ones(POOLED_WIDTH))
        self.linear = nn.Linear(POOLED_WIDTH, WIDTH)
        self.image_mlp = _mlp(POOLED_WIDTH)
        self.text_mlp = _mlp(WIDTH)
        self.dropout = nn.Dropout(0.0)

    def image(self, pooled: Tensor) -> Tensor:
        x = self.dropout((pooled - self.feature_mean) * self.feature_gain)
        return F.normalize(self.linear(x) + self.image_mlp(x), dim=-1)

    def text(self, meaning: Tensor) -> Tensor:
        return F.normalize(meaning + self.text_mlp(meaning), dim=-1)


def _mlp(inputs: int) -> nn.Sequential:
    last = nn.Linear(HIDDEN, WIDTH)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.GELU(), last)


class DualEncoderScorer(Scorer):
    """Cosine of image and caption embedding.

    Column: ``dual_encoder`` float32, 100 * cosine, -100..100. Only its order means something.
    """

    name: ClassVar[str] = "dual-encoder"
    columns = (pa.field("dual_encoder", pa.float32()),)
    batch_size = 32
    scope = SCOPE

    def __init__(self, tiny: TinyModel, heads: DualHeads, device: torch.device) -> None:
        self.tiny, self.heads, self.device = tiny.to(device), heads.to(device), device
        self.preparer = Preparer(TinyTransform(TINY, tiny.config.max_caption_tokens))
        self._images = EncodedImages(self._encode, device)
        self._fingerprint = {
            "scorer": self.name,
            "checkpoint": f"sha256:{hashlib.sha256(ASSET.read_bytes()).hexdigest()[:16]}",
            "encoders": checkpoint_files_digest(TINY),
            "preprocessing": f"squash {INPUT_SIDE}; caption {tiny.config.max_caption_tokens}",
            "dtype": "float32",
        }

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return self._fingerprint

    def cost(self, inputs: TinyInputs) -> int:
        return len(inputs[1].sentence_ids)

    def order(self, inputs: Sequence[TinyInputs]) -> list[int]:
        return order_by_image([pixels for pixels, _ in inputs], list(map(self.cost, inputs)))

    @torch.inference_mode()
    def score_batch(self, inputs: Sequence[TinyInputs]) -> Mapping[str, np.ndarray]:
        pixels, captions = zip(*inputs, strict=True)
        images, image_of = self._images(pixels)
        tokens = collate(captions)
        meaning = self.tiny.caption_meaning(
            tokens.sentence_ids.to(self.device), tokens.sentence_mask.to(self.device)
        )
        cosine = (images[image_of] * self.heads.text(meaning)).sum(-1)
        return {"dual_encoder": (100 * cosine).cpu().numpy()}

    def _encode(self, pixels: Tensor) -> Tensor:
        return self.heads.image(image_features(self.tiny.encoder, pixels)[1])


def load_dual_encoder(*, device: str | None = None) -> DualEncoderScorer:
    """Load the baseline in the package.

    Args:
        device: None takes a GPU where there is one.

    Raises:
        PairsiftError: its file is missing or does not fit.
    """
    if not ASSET.is_file():
        raise PairsiftError(f"{ASSET} is missing; install pairsift again")
    heads = DualHeads()
    heads.load_state_dict(read_tensors(ASSET))
    tiny = TinyModel.from_pretrained(TINY)
    return DualEncoderScorer(tiny, heads.eval(), pick_device(device or "auto"))
