"""Quality classifiers: a multimodal language model with a score head, such as UniFilter.

Their input is not a conversation but ``<s>``, the image, a line break, the caption, and the end
token; the head computes the score from the end token's hidden state. UniFilter's single output was
trained by regression on four levels of quality, 0 (worst) to 3 (best). Heads with several outputs
are classifiers over levels 0, 1, ....
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch

from pairsift.errors import PairsiftError
from pairsift.images import ImageLimits
from pairsift.pair import Pair
from pairsift.scorers.base import Columns, DeviceScorer, Preparer
from pairsift.scorers.checkpoints import find_checkpoint
from pairsift.scorers.memory import FittingBatches
from pairsift.scorers.mlm.backbone import Arrays, linear_float32
from pairsift.scorers.mlm.legacy.backbone import (
    IMAGE_MARKER,
    IMAGE_TEXT,
    LegacyBackbone,
    LegacyEncode,
    LegacyImages,
    legacy_digest,
    trained_bos,
)
from pairsift.scorers.mlm.legacy.model import load_legacy_model
from pairsift.scorers.placement import pick_device, pick_dtype
from pairsift.scorers.transfer import to_host

_PUBLISHED_LENGTH = 75


def classifier_columns(labels: int) -> tuple[pa.Field, ...]:
    """Return a classifier's columns.

    One label: ``quality`` float32, the unchanged output of the head, about 0..3 for UniFilter.
    Several: ``quality`` float32, the expected level 0..labels-1 (of two, the probability of the
    better one); ``quality_class`` int16, the most likely level; ``quality_p0``, ... float32, their
    probabilities. ``caption_truncated`` bool in both.
    """
    fields = [pa.field("quality", pa.float32())]
    if labels > 1:
        fields.append(pa.field("quality_class", pa.int16()))
        fields += [pa.field(f"quality_p{level}", pa.float32()) for level in range(labels)]
    return (*fields, pa.field("caption_truncated", pa.bool_()))


@dataclass(frozen=True, slots=True)
class ClassifierInputs:
    """One preprocessed pair.

    Attributes:
        image: uint8 pixels.
        ids: (n,) int64 token ids, including the image's markers.
        truncated: whether the caption was truncated.
    """

    image: Arrays
    ids: np.ndarray
    truncated: bool


class ClassifierTransform:
    """Preprocess image and caption to :class:`ClassifierInputs`. Picklable.

    Args:
        images: preprocess function for images.
        encode: turns text into ids.
        eos: id that ends every sequence.
        pad: id that the published code masks out at every position; None if there is none.
        max_length: context length in tokens, image included. Captions are truncated before the end
            token.
        max_ids: truncate to this many ids instead, with the image as one id and possibly without
            the end token (``reference_quirks``).
    """

    def __init__(
        self,
        images: LegacyImages,
        encode: LegacyEncode,
        *,
        eos: int,
        pad: int | None,
        max_length: int,
        max_ids: int | None = None,
    ) -> None:
        self.images = images
        self.encode = encode
        self.eos = eos
        self.pad = pad
        self.max_length = max_length
        self.max_ids = max_ids

    def __call__(self, image: Any, caption: str) -> ClassifierInputs:
        ids, truncated = self.token_ids(caption)
        prepared = self.images(image)
        at = ids.index(IMAGE_MARKER)
        expanded = np.concatenate([ids[:at], prepared.ids, ids[at + 1 :]]).astype(np.int64)
        return ClassifierInputs(prepared.arrays, expanded, truncated)

    def token_ids(self, caption: str) -> tuple[list[int], bool]:
        """Return a caption's ids with the image's marker, and if truncated."""
        caption = caption.replace(IMAGE_TEXT, "image")
        ids = self.encode(f"{IMAGE_TEXT}\n{caption}")
        if self.max_ids is not None:
            ids = ids if ids[-1] == self.eos else [*ids, self.eos]
            kept = ids[: self.max_ids]
            return self._unpadded(kept), len(kept) < len(ids)
        room = self.max_length - self.images.tokens + 1
        kept = ids[: room - 1]
        ending = [] if kept[-1] == self.eos else [self.eos]
        return self._unpadded([*kept, *ending]), len(kept) < len(ids)

    def _unpadded(self, ids: list[int]) -> list[int]:
        return [token for token in ids if token != self.pad]


class ClassifierScorer(DeviceScorer):
    """A legacy LLaVA checkpoint with a score head.

    Args:
        backbone: the checkpoint.
        reference_quirks: truncate to 75 ids, as the published code does, instead of the model's
            context length.
        fingerprint: what decides the scores besides preprocessing and dtype.
        limits: larger images get the status ``image_too_large``.

    Raises:
        PairsiftError: the tokenizer lacks the start or end token of the input format.
    """

    name: ClassVar[str] = "classifier"

    def __init__(
        self,
        backbone: LegacyBackbone,
        *,
        reference_quirks: bool = False,
        fingerprint: Mapping[str, str] | None = None,
        limits: ImageLimits | None = None,
    ) -> None:
        self.backbone = backbone
        self.labels = int(backbone.head.weight.shape[0])
        self.columns = classifier_columns(self.labels)
        tokenizer, folder = backbone.tokenizer, backbone.model.config.folder
        bos = trained_bos(backbone.model)
        if bos is None or tokenizer.eos_token_id is None:
            raise PairsiftError(
                f"{folder}: the tokenizer has no <s> or no end token, which a classifier's "
                "input needs; are its tokenizer files those of the model?"
            )
        self.transform = ClassifierTransform(
            backbone.images,
            LegacyEncode(tokenizer, bos),
            eos=int(tokenizer.eos_token_id),
            pad=tokenizer.pad_token_id,
            max_length=backbone.max_length,
            max_ids=_PUBLISHED_LENGTH if reference_quirks else None,
        )
        self.preparer = Preparer(self.transform, limits)
        self._fitting = FittingBatches()
        self._fingerprint = {
            "scorer": self.name,
            "model_type": backbone.kind,
            **(fingerprint or {}),
            "preprocessing": backbone.image_transform.describe(),
            "dtype": str(backbone.dtype).removeprefix("torch."),
            "reference_quirks": str(reference_quirks).lower(),
        }

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return dict(self._fingerprint)

    def cost(self, inputs: ClassifierInputs) -> int:
        """Return the length of the sequence in tokens."""
        return len(inputs.ids)

    def collate(self, inputs: Sequence[ClassifierInputs]) -> Any:
        return self._fitting.collate(self._collate, inputs)

    def start(self, collated: Any) -> Callable[[], Columns]:
        truncated = np.array([pair.truncated for part, _ in collated for pair in part])
        fetch = self._start(collated)
        return lambda: {**self._scores(fetch().astype(np.float64)), "caption_truncated": truncated}

    def _scores(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        if not np.isfinite(logits).all():
            raise FloatingPointError("the model's output is not finite")
        if self.labels == 1:
            return {"quality": logits[:, 0]}
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        probability = odds / odds.sum(axis=1, keepdims=True)
        columns = {
            "quality": probability @ np.arange(self.labels),
            "quality_class": logits.argmax(axis=1),
        }
        for level in range(self.labels):
            columns[f"quality_p{level}"] = probability[:, level]
        return columns

    def answer_logits(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return (pairs, 1, labels) float32 outputs of the head.

        Raises:
            PairsiftError: a pair cannot be scored; the error names its key.
        """
        inputs = self.prepare_all(pairs)
        if not inputs:
            return np.zeros((0, 1, self.labels), dtype=np.float32)
        return self._start(self.collate(inputs))()[:, None]

    def _collate(self, inputs: Sequence[ClassifierInputs]) -> Any:
        return self.backbone.collate([pair.image for pair in inputs], [pair.ids for pair in inputs])

    def _start(self, collated: Any) -> Callable[[], np.ndarray]:
        """Begin a batch; the function returned gives (pairs, labels) float32 outputs."""
        fetches = self._fitting.start(self._start_part, collated, self._collate)
        return lambda: np.concatenate([fetch()[0] for fetch in fetches])

    @torch.inference_mode()
    def _start_part(self, collated: Any) -> Callable[[], list[np.ndarray]]:
        state = self.backbone.prefill(collated)
        return to_host([linear_float32(state.last_hidden, self.backbone.head)])


def load_classifier(
    model: str | Path,
    *,
    vision_tower: str | Path | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    reference_quirks: bool = False,
    limits: ImageLimits | None = None,
) -> ClassifierScorer:
    """Load a classifier checkpoint as a scorer.

    Args:
        model: folder or hub name of a legacy LLaVA checkpoint with a score head.
        vision_tower: folder or hub name of the tower, for checkpoints without one.
        dtype: ``auto`` is bfloat16 on GPUs that support it, else float32.
        device: ``auto`` is the GPU if there is one.
        reference_quirks: use the model as the published code does: no square padding, captions
            truncated to 75 ids including the end token.
        limits: larger images get the status ``image_too_large``.

    Raises:
        PairsiftError: it cannot be loaded, or has no score head.
    """
    where = pick_device(device)
    folder = find_checkpoint(str(model))
    loaded = load_legacy_model(
        folder,
        vision_tower=None if vision_tower is None else str(vision_tower),
        dtype=pick_dtype(dtype, where),
        device=where,
    )
    if not loaded.is_classifier:
        raise PairsiftError(f"{folder} has no score head; use it as a multimodal scorer (mlm)")
    return ClassifierScorer(
        LegacyBackbone(loaded, reference_quirks),
        reference_quirks=reference_quirks,
        fingerprint={"checkpoint": legacy_digest(loaded)},
        limits=limits,
    )
