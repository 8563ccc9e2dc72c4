"""The scorer of `pairsift-tiny`, the filter inside the package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS, parse_metrics
from pairsift.pair import Pair
from pairsift.scorers.base import Columns, DeviceScorer, Preparer
from pairsift.scorers.heap import HeapTrimmer
from pairsift.scorers.mlm.columns import metric_columns, score_columns
from pairsift.scorers.mlm.tiny.captions import pack, share_images
from pairsift.scorers.mlm.tiny.config import TinyConfig
from pairsift.scorers.mlm.tiny.encoded import CaptionsRead, EncodedImages, order_by_image
from pairsift.scorers.mlm.tiny.inputs import (
    SENTENCE_TOKENIZER_FILE,
    TOKENIZER_FILE,
    TinyInputs,
    TinyTransform,
)
from pairsift.scorers.mlm.tiny.model import TinyModel
from pairsift.scorers.mlm.trie import answer_values, summarise
from pairsift.scorers.placement import check_bfloat16, pick_device
from pairsift.scorers.scope import Scope
from pairsift.scorers.transfer import to_device, to_host

ASSET = Path(__file__).parents[3] / "assets" / "pairsift-tiny"
FILES = ("config.json", TOKENIZER_FILE, SENTENCE_TOKENIZER_FILE, "model.safetensors")
SCOPE = Scope(
    languages=("en",),
    trained_on="photographs of many kinds, textbook figures and some clip art, with captions in "
    "English",
    not_trained_on="captions in other languages, screenshots and text in images",
    novelty_limit=0.54,
)
"""The limit marks 2 % of photographs kept aside (`training/novelty.json`)."""
CPU_BATCH = 12
"""Pairs in a batch on a CPU. Larger ones are hardly faster there, and the pixels of eleven
batches wait."""
CPU_PACKS = 12
"""Sequences that the language model reads at a time on a CPU. More are hardly faster, and what its
layers compute would take up to 100 MiB."""
GIVE_BACK = 12
"""Pairs after which a CPU's freed memory is given back."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class PixelsAndTokens(DeviceScorer):
    """A scorer of :class:`TinyInputs` that encodes each image of a batch once.

    On a CPU batches are small, and freed memory is given back.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._trimmer = None
        if device.type == "cpu":
            self.batch_size = CPU_BATCH
            self._trimmer = HeapTrimmer(every=GIVE_BACK)

    def fetcher(self, found: Sequence[torch.Tensor]) -> Callable[[], list[np.ndarray]]:
        """Count a batch, give freed memory back on a CPU, and begin to copy as `to_host` does."""
        if self._trimmer is not None:
            self._trimmer.count(len(found[0]))
        return to_host(found)

    def cost(self, inputs: TinyInputs) -> int:
        return len(inputs[1].sentence_ids)

    def order(self, inputs: Sequence[TinyInputs]) -> list[int]:
        return order_by_image([pixels for pixels, _ in inputs], list(map(self.cost, inputs)))


class TinyScorer(PixelsAndTokens):
    """The embedded filter; its columns are :func:`pairsift.scorers.mlm.columns.score_columns`."""

    name: ClassVar[str] = "pairsift-tiny"
    batch_size = 32

    def __init__(
        self,
        model: TinyModel,
        folder: Path,
        *,
        metrics: Iterable[str],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(device)
        self.metrics = tuple(metrics)
        self.model = model.to(device)
        self.model.compute_in(dtype)
        self.dtype, self.folder = dtype, folder
        self.preparer = Preparer(tiny_transform(folder, model.config))
        self.columns = score_columns()
        # Another checkpoint of this architecture may have been trained on anything.
        self.scope = SCOPE if folder == ASSET else None
        self.packs = CPU_PACKS if device.type == "cpu" else self.batch_size
        self.images = EncodedImages(self.model.encode_images, device, self.batch_size)
        self.captions = CaptionsRead(self.model.read_caption, device, self.batch_size)
        self._digest = checkpoint_files_digest(folder)
        self._version = str(json.loads((folder / "config.json").read_text()).get("version", ""))

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {
            "scorer": self.name,
            "scorer_version": self._version,
            "checkpoint": self._digest,
            "preprocessing": preprocessing(self.model.config),
            "dtype": str(self.dtype).removeprefix("torch."),
            "metrics": ",".join(self.metrics),
        }

    def cost(self, inputs: TinyInputs) -> int:
        return len(inputs[1].ids)

    def start(self, collated: Sequence[TinyInputs]) -> Callable[[], Columns]:
        truncated = np.array([tokens.truncated for _, tokens in collated])
        values = answer_values([metric.scale for metric in METRICS.values()])
        fetch = self._log_probabilities(collated)
        return lambda: {
            **metric_columns(
                summarise(fetch(), values), tuple(METRICS.values()), asked=self.metrics
            ),
            "caption_truncated": truncated,
        }

    @torch.inference_mode()
    def novelty(self, inputs: Sequence[TinyInputs]) -> np.ndarray | None:
        if not self.model.config.novelty:
            return None
        images = self.images.each([pixels for pixels, _ in inputs])
        novelty: np.ndarray = self.model.image_novelty(images).float().cpu().numpy()
        return novelty

    def distributions(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return (pairs, metrics, 101) probabilities of the scores 0..100.

        Raises:
            PairsiftError: a pair cannot be scored; the error names its key.
        """
        asked = [index for index, name in enumerate(METRICS) if name in self.metrics]
        log_p = self._log_probabilities(self.prepare_all(pairs))()[:, asked]
        probabilities: np.ndarray = np.exp(log_p)
        return probabilities

    @torch.inference_mode()
    def _log_probabilities(self, inputs: Sequence[TinyInputs]) -> Callable[[], np.ndarray]:
        """Begin a batch, all metrics in one pass; its function gives (B, 4, 101) float32."""
        pixels, captions = zip(*inputs, strict=True)
        images, image_of = self.images(pixels)
        read, read_of = self.captions(captions)
        order: list[np.ndarray] = []
        found: list[torch.Tensor] = []
        for size, groups in share_images(image_of).items():
            step = max(1, min(self.packs, self.batch_size // size))
            for start in range(0, len(groups), step):
                rows = np.array(groups[start : start + step])  # (packs, captions)
                packed = pack([[captions[row] for row in group] for group in rows])
                logits, _ = self.model.score_packed(
                    images[to_device(np.array(image_of)[rows[:, 0]], self.device)],
                    packed.to(self.device),
                    read[to_device(np.array(read_of)[rows], self.device)],
                )
                order.append(rows.flatten())
                found.append(logits.log_softmax(-1).flatten(0, 1))
        fetch = self.fetcher([torch.cat(found)])

        def log_p() -> np.ndarray:
            values = fetch()[0][np.argsort(np.concatenate(order))]
            if not np.isfinite(values).all():
                raise FloatingPointError("the model's logits are not finite")
            return values

        return log_p


def tiny_columns(options: Mapping[str, Any]) -> tuple[pa.Field, ...]:
    """The columns, which no option changes."""
    return score_columns()


def load_tiny_scorer(
    model: str | None = None,
    *,
    metrics: str | Iterable[str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> TinyScorer:
    """Load the embedded filter, or another checkpoint of the same architecture.

    Args:
        model: folder with the files named in `FILES`; None for the one in the package.
        device: None takes a GPU if there is one.
        dtype: float32 or bfloat16 (in which encoders and language model compute; scores differ by
            less than 0.1 points); None is float32.

    Raises:
        PairsiftError: a file is missing or does not fit, or an option has an unknown value.
    """
    asked = parse_metrics(metrics)
    folder = Path(model) if model is not None else ASSET
    for file in FILES:
        if not (folder / file).is_file():
            raise PairsiftError(
                f"{folder} has no {file}; a pairsift-tiny checkpoint has {', '.join(FILES)}"
            )
    where = pick_device(device or "auto")
    kind = tiny_dtype(dtype, where)
    return TinyScorer(
        TinyModel.from_pretrained(folder, quantized=where.type == "cpu"),
        folder,
        metrics=asked,
        device=where,
        dtype=kind,
    )


def tiny_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in; None is float32.

    Raises:
        PairsiftError: it is unknown, or the CPU has no instructions for it.
    """
    if dtype is not None and dtype not in DTYPES:
        raise PairsiftError(f"dtype {dtype!r}: choose from {', '.join(DTYPES)}")
    if dtype == "bfloat16":
        check_bfloat16(device)
    return DTYPES[dtype or "float32"]


def tiny_transform(folder: Path, config: TinyConfig) -> TinyTransform:
    """Return the preprocess function of the checkpoint in `folder`."""
    return TinyTransform(folder, config.max_caption_tokens, config.input_side)


def preprocessing(config: TinyConfig) -> str:
    """Return the fingerprint's text about preprocessing."""
    return f"squash {config.input_side}; caption {config.max_caption_tokens}"


def checkpoint_files_digest(folder: Path) -> str:
    """Return a digest of all files of a checkpoint of this architecture."""
    digest = hashlib.sha256()
    for name in FILES:
        with (folder / name).open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()[:16]}"
