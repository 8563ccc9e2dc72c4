"""CLIPScore: the similarity of image and caption by a CLIP or SigLIP model.

``clip_score = w * max(cosine, 0)`` of the two embeddings (Hessel et al., EMNLP 2021). Scores are
published at different scales: w is 1 in DataComp's filters, 2.5 in the CLIPScore paper and 100 in
torchmetrics. The paper also puts "A photo depicts " before every caption; see ``prefix``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoTokenizer, CLIPModel, SiglipModel

from pairsift.embeddings import FORMAT, IMAGE, TEXT, embedding_fields
from pairsift.errors import PairsiftError
from pairsift.images import ImageLimits
from pairsift.printable import first_line
from pairsift.scorers.base import Columns, DeviceScorer, Preparer
from pairsift.scorers.checkpoints import checkpoint_digest, find_checkpoint
from pairsift.scorers.image_recipe import PILLOW, ImageRecipe
from pairsift.scorers.memory import FittingBatches
from pairsift.scorers.normalise import Normaliser
from pairsift.scorers.placement import pick_device, pick_dtype
from pairsift.scorers.transfer import pinned, to_device, to_host
from pairsift.scorers.weights import Weights, fill, uninitialised

_MODELS = {"clip": CLIPModel, "siglip": SiglipModel}
# Longer captions are truncated before tokenizing: the context holds about 300 characters.
_READ_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class ClipInputs:
    """One preprocessed pair.

    Attributes:
        pixels: uint8 (height, width, 3).
        ids: (n,) int64 token ids, with n at most the text encoder's context length.
        truncated: whether the caption was truncated.
    """

    pixels: np.ndarray
    ids: np.ndarray
    truncated: bool


class ClipTransform:
    """Preprocess image and caption to :class:`ClipInputs`. Picklable.

    Args:
        recipe: how the model's images are preprocessed.
        tokenizer: the checkpoint's tokenizer.
        window: context length of the text encoder in tokens, start and end included; longer
            captions are truncated.
        fills_window: whether to pad every caption to the context length, as SigLIP was trained.
        prefix: text before every caption.
    """

    def __init__(
        self, recipe: ImageRecipe, tokenizer: Any, window: int, fills_window: bool, prefix: str = ""
    ) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        if backend := getattr(tokenizer, "backend_tokenizer", None):
            backend.no_truncation()  # files of tokenizers may ask for both
            backend.no_padding()
        self.window = window
        self.fills_window = fills_window
        self.prefix = prefix

    def __call__(self, image: Any, caption: str) -> ClipInputs:
        ids, truncated = self.token_ids(caption)
        return ClipInputs(self.recipe(image), np.array(ids, dtype=np.int64), truncated)

    def token_ids(self, caption: str) -> tuple[list[int], bool]:
        """Return a caption's ids, end token included, and whether the caption was truncated."""
        text = self.prefix + caption[:_READ_CHARACTERS]
        ids, truncated = self._truncated(text)
        if self.fills_window:
            ids = ids + [self.tokenizer.pad_token_id] * (self.window - len(ids))
        return ids, truncated or len(caption) > _READ_CHARACTERS

    def _truncated(self, text: str) -> tuple[list[int], bool]:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:  # one in Python, such as SigLIP's
            whole: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
            if len(whole) <= self.window:
                return whole, False
            found = self.tokenizer(text, truncation=True, max_length=self.window)
            return found["input_ids"], True
        # The same ids as above in a fraction of the time. It changes no setting of the tokenizer,
        # which other threads may use.
        content = backend.encode(text, add_special_tokens=False)
        room = self.window - backend.num_special_tokens_to_add(False)
        truncated = len(content) > room
        if truncated:
            content.truncate(room, direction=self.tokenizer.truncation_side)
        return backend.post_process(content).ids, truncated


class ClipScorer(DeviceScorer):
    """CLIPScore with a CLIP or SigLIP model.

    Columns: ``clip_score`` float32, 0..w; ``image_text_cosine`` float32, -1..1;
    ``caption_truncated`` bool, whether the caption was longer than the text encoder's context (77
    tokens for CLIP, 64 for SigLIP) and was truncated.

    Args:
        model: a ``CLIPModel`` or ``SiglipModel`` in evaluation mode, on its device.
        transform: its preprocess function.
        w: factor of the score.
        fingerprint: what decides the scores besides the options above.
        limits: larger images get the status ``image_too_large``.
    """

    name: ClassVar[str] = "clip"
    columns = (
        pa.field("clip_score", pa.float32()),
        pa.field("image_text_cosine", pa.float32()),
        pa.field("caption_truncated", pa.bool_()),
    )
    batch_size = 64

    def __init__(
        self,
        model: Any,
        transform: ClipTransform,
        *,
        w: float = 1.0,
        fingerprint: Mapping[str, str] | None = None,
        limits: ImageLimits | None = None,
        embeddings: bool = False,
    ) -> None:
        self.model = model
        self.w = float(w)
        if not (np.isfinite(self.w) and self.w > 0):
            raise PairsiftError(f"w is {w}; a positive number is needed, such as 1, 2.5 or 100")
        self.preparer = Preparer(transform, limits)
        self._pad = transform.tokenizer.pad_token_id or 0
        self.normaliser = Normaliser(transform.recipe, model.device)
        self._fitting = FittingBatches()
        self._fingerprint = {
            "scorer": self.name,
            **(fingerprint or {}),
            "preprocessing": transform.recipe.digest,
            "window": str(transform.window),
            "prefix": transform.prefix,
            "w": f"{self.w:g}",
            "dtype": str(model.dtype).removeprefix("torch."),
        }
        self._embeds = embeddings
        if embeddings:
            self.columns = (*self.columns, *embedding_fields(_dimension(model.config)))
            self._fingerprint["embeddings"] = FORMAT

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return dict(self._fingerprint)

    def cost(self, inputs: ClipInputs) -> int:
        """Return the length of the caption in tokens; all images have the same size."""
        return len(inputs.ids)

    def collate(self, inputs: Sequence[ClipInputs]) -> Any:
        return self._fitting.collate(self._collate, inputs)

    def start(self, collated: Any) -> Callable[[], Columns]:
        truncated = np.array([pair.truncated for part, _ in collated for pair in part])
        fetches = self._fitting.start(self._start, collated, self._collate)

        def columns() -> Columns:
            found = np.concatenate([fetch()[0] for fetch in fetches])
            cosine = found[:, 0]
            if not np.isfinite(cosine).all():
                raise FloatingPointError("the model's embeddings are not finite")
            scores = {
                "clip_score": self.w * np.maximum(cosine, 0),
                "image_text_cosine": cosine,
                "caption_truncated": truncated,
            }
            if self._embeds:
                scores[IMAGE], scores[TEXT] = np.split(found[:, 1:], 2, axis=1)
            return scores

        return columns

    def _collate(self, inputs: Sequence[ClipInputs]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixels (B, height, width, 3) and token ids (B, n), pinned."""
        pixels = np.stack([pair.pixels for pair in inputs])
        # CLIP uses the end token's output with causal attention, so padding after it has no effect;
        # SigLIP's captions are all padded to the same length.
        ids = np.full((len(inputs), max(len(pair.ids) for pair in inputs)), self._pad)
        for row, pair in enumerate(inputs):
            ids[row, : len(pair.ids)] = pair.ids
        return pinned(pixels, self.model.device), pinned(ids, self.model.device)

    @torch.inference_mode()
    def _start(self, collated: tuple[torch.Tensor, torch.Tensor]) -> Callable[[], list[np.ndarray]]:
        """Begin to compute the cosines, and both embeddings if wanted.

        The function returned gives one array, (pairs, 1 [+ 2 dimension]) float64.
        """
        device = self.model.device
        pixels, ids = (to_device(values, device) for values in collated)
        with self.normaliser.lent(pixels) as values:
            images = self.model.get_image_features(pixel_values=values.to(self.model.dtype))
        texts = self.model.get_text_features(input_ids=ids)
        seen, read = _pooled(images).double(), _pooled(texts).double()
        found = [torch.cosine_similarity(seen, read)[:, None]]
        if self._embeds:
            found += [functional.normalize(seen, dim=-1), functional.normalize(read, dim=-1)]
        return to_host([torch.cat(found, dim=1)])


def _pooled(features: Any) -> torch.Tensor:
    # transformers before about 5.2 returned the tensor itself.
    pooled: torch.Tensor = getattr(features, "pooler_output", features)
    return pooled


def clip_columns(options: Mapping[str, Any]) -> tuple[pa.Field, ...] | None:
    """The columns from the options of :func:`load_clip_scorer`, without the weights.

    Returns:
        None if the checkpoint's config.json is needed and cannot be read here.
    """
    if not options.get("embeddings"):
        return ClipScorer.columns
    try:
        config = _load_config(find_checkpoint(str(options.get("model")), weights=False))
    except PairsiftError:
        return None
    return (*ClipScorer.columns, *embedding_fields(_dimension(config)))


def load_clip_scorer(
    model: str | Path | None = None,
    *,
    w: float = 1.0,
    prefix: str = "",
    resize: str = PILLOW,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    limits: ImageLimits | None = None,
    embeddings: bool = False,
) -> ClipScorer:
    """Load a CLIP or SigLIP checkpoint as a scorer.

    Args:
        model: folder or hub name, such as ``openai/clip-vit-large-patch14``.
        w: 1 as in DataComp, 2.5 as in the CLIPScore paper, 100 as in torchmetrics.
        prefix: text before every caption; ``"A photo depicts "`` in the CLIPScore paper.
        resize: ``pillow``, as CLIP was trained; ``torch`` is faster, see
            :meth:`~pairsift.scorers.image_recipe.ImageRecipe.resized_by`.
        dtype: ``auto`` is bfloat16 on GPUs that support it, else float32.
        device: ``auto`` is the GPU if there is one.
        limits: larger images get the status ``image_too_large``.
        embeddings: leave the two embeddings, see :mod:`pairsift.embeddings`.

    Raises:
        PairsiftError: no checkpoint is given, or it is of another kind, or cannot be loaded.
    """
    if model is None:
        raise PairsiftError(
            "the scorer `clip` needs a checkpoint: give a folder or a hub name "
            "(--model openai/clip-vit-large-patch14)"
        )
    where = pick_device(device)
    kind = pick_dtype(dtype, where)
    folder = find_checkpoint(str(model), "CLIP or SigLIP checkpoint")
    model_type = _model_type(folder)
    recipe = ImageRecipe.read(folder).resized_by(resize)
    config, tokenizer = _load_config(folder), _load_tokenizer(folder)
    with uninitialised(), torch.device(where):
        loaded: Any = _MODELS[model_type]._from_config(config, dtype=kind)
    fill(Weights(folder), loaded.state_dict(), lambda name: name)
    loaded.eval().requires_grad_(False)
    window = int(config.text_config.max_position_embeddings)
    return ClipScorer(
        loaded,
        ClipTransform(recipe, tokenizer, window, model_type == "siglip", prefix),
        w=w,
        fingerprint={"model_type": model_type, "checkpoint": checkpoint_digest(folder)},
        limits=limits,
        embeddings=embeddings,
    )


def _dimension(config: Any) -> int:
    """Return the width of an embedding: CLIP has one of its own, SigLIP's text encoder another."""
    return int(getattr(config, "projection_dim", None) or config.text_config.projection_size)


def _model_type(folder: Path) -> str:
    path = folder / "config.json"
    try:
        model_type = json.loads(path.read_text("utf-8")).get("model_type")
    except FileNotFoundError:
        raise PairsiftError(f"{folder} has no config.json; give a checkpoint's folder") from None
    except (OSError, ValueError, AttributeError) as error:
        raise PairsiftError(f"{path} is not a readable model configuration: {error}") from None
    if model_type not in _MODELS:
        raise PairsiftError(
            f"{path}: model type {model_type!r} is not supported; CLIPScore takes CLIP and SigLIP "
            "checkpoints with both encoders (SigLIP-2 at a fixed size, not NaFlex)"
        )
    return str(model_type)


def _load_config(folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PairsiftError(f"{folder / 'config.json'}: {first_line(error)}") from None


def _load_tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise PairsiftError(f"{folder} has no readable tokenizer: {first_line(error)}") from None
