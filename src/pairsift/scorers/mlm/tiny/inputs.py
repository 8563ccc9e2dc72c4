"""Preprocess for `pairsift-tiny`: an image to pixels, a caption to tokens. Needs no torch.

A caption is tokenized twice: for the language model and for the sentence encoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairsift.scorers.mlm.tiny.preprocess import preprocess

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
SENTENCE_TOKENIZER_FILE = "sentence_tokenizer.json"

# More characters per token than any text has; longer text would be truncated anyway.
_CHARACTERS_A_TOKEN = 20


class CaptionTokens(NamedTuple):
    """One caption's token ids in the two vocabularies, and whether it was truncated."""

    ids: list[int]
    sentence_ids: list[int]
    truncated: bool


class CaptionTokenizer:
    """Both tokenizers of a checkpoint folder. Picklable; each process reads the files itself."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self.folder, self.max_tokens = folder, max_tokens
        self._tokenizers: tuple[Tokenizer, Tokenizer] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tokenizers": None}

    def __call__(self, caption: str) -> CaptionTokens:
        if self._tokenizers is None:
            from tokenizers import Tokenizer

            language = Tokenizer.from_file(str(self.folder / TOKENIZER_FILE))
            sentence = Tokenizer.from_file(str(self.folder / SENTENCE_TOKENIZER_FILE))
            sentence.no_padding()
            sentence.enable_truncation(self.max_tokens)
            self._tokenizers = language, sentence
        language, sentence = self._tokenizers
        text = caption[: _CHARACTERS_A_TOKEN * self.max_tokens].strip()
        ids = language.encode(text, add_special_tokens=False).ids
        sentence_ids = sentence.encode(text).ids
        return CaptionTokens(ids[: self.max_tokens], sentence_ids, len(ids) > self.max_tokens)


TinyInputs = tuple["np.ndarray", CaptionTokens]
"""One pair's inputs: uint8 pixels (S, S, 3) and the caption."""


class TinyTransform:
    """Turns one pair's image and caption into the scorer's inputs."""

    def __init__(self, folder: Path, max_tokens: int, side: int) -> None:
        self.tokenize, self.side = CaptionTokenizer(folder, max_tokens), side

    def __call__(self, image: Image.Image, caption: str) -> TinyInputs:
        return preprocess(image, self.side), self.tokenize(caption)
