"""Sizes of `pairsift-tiny`, stored as config.json beside the weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pairsift.errors import PairsiftError
from pairsift.metrics import MAX_SCORE, MIN_SCORE
from pairsift.scorers.mlm.lite import FEATURE_WIDTHS
from pairsift.scorers.mlm.tiny.preprocess import INPUT_SIDE

NUM_SCORES = MAX_SCORE - MIN_SCORE + 1

GRID_SIDE = 6
GRID_WIDTH = 6 + sum(FEATURE_WIDTHS)
"""Channels of a grid cell: mean and contrast of its RGB, then the encoder's three maps."""

POOLED_WIDTH = 2 * FEATURE_WIDTHS[-1]
MEANING_ROWS = 2
"""Rows of an encoded image behind its tokens that carry meaning vectors, told to the queries. The
last row, behind them, is what the judge asks of a caption."""
UNSURE = 3
"""Words of a caption that count as saying nothing, so that one word alone decides little."""
NEAREST = 16
"""How many of the known captions nearest to an image, or of the known images nearest to a caption,
say what cosine is usual."""
COSINE_GAIN = 5.0
"""How much larger than it is a cosine is told to query tokens and score head."""


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of the model, stored as config.json beside the weights."""

    layers: int = 6
    width: int = 576
    heads: int = 9
    key_value_heads: int = 3
    feed_forward: int = 1536
    vocabulary: int = 49152
    rope_theta: float = 100000.0
    norm_epsilon: float = 1e-5
    bos_token: int = 1
    max_caption_tokens: int = 64
    """Longer captions are truncated to this many tokens."""
    words: int = 1000
    """Number of caption words that are predicted from the encoder's features."""
    words_kept: int = 8
    classes_kept: int = 3
    meaning: int = 384
    """Width of the sentence encoder, MiniLM-L6."""
    sentence_layers: int = 6
    sentence_heads: int = 12
    sentence_feed_forward: int = 1536
    sentence_vocabulary: int = 30522
    curve: int = 24
    """Number of cosine functions that make up a score distribution's logits."""
    input_side: int = INPUT_SIDE
    """Side in pixels of the encoder's input."""
    tuned_behind: int = 16
    """Stride of the map, 8 or 16, after which the stages that predict meaning are tuned."""
    said: int = 0
    """Word pieces that the tuned stages give evidence for; 0 in models of before 0.9."""
    said_pairs: int = 0
    """Pairs of neighbouring word pieces, likewise; 0 in models of before 0.11."""
    novelty: bool = False
    """Whether the model tells how unlike a photograph an image is."""
    known: int = 0
    """Known captions, and known images, that a pair's cosine is compared with; 0 before 0.11."""

    @property
    def image_tokens(self) -> int:
        """Tokens per image that the language model gets: BOS, grid, words, classes, meaning."""
        return 2 + GRID_SIDE**2 + self.words_kept + self.classes_kept

    @property
    def words_told(self) -> int:
        """Word pieces and pairs of them that the tuned stages give evidence for."""
        return self.said + self.said_pairs

    @property
    def image_rows(self) -> int:
        """Rows of an encoded image (n): tokens, meaning vectors, the judge's vector, and as many
        as hold the evidence for words, the novelty and the usual cosine."""
        values = self.words_told + self.novelty + bool(self.known)
        return self.image_tokens + MEANING_ROWS + 1 + -(-values // self.width)

    @classmethod
    def load(cls, path: Path) -> TinyConfig:
        """Read config.json. Raises PairsiftError if it is missing or has unknown fields."""
        try:
            stored = json.loads(path.read_text("utf-8"))
            if not isinstance(stored, dict):
                raise ValueError("an object is expected")
        except (OSError, ValueError) as error:
            raise PairsiftError(
                f"{path}: cannot read the model's configuration: {error}"
            ) from error
        known = {field.name for field in fields(cls)}
        values = {k: v for k, v in stored.items() if k not in ("model_type", "version")}
        if stored.get("model_type") != "pairsift-tiny" or set(values) - known:
            raise PairsiftError(
                f"{path}: not a pairsift-tiny configuration of this version "
                f"(unknown: {sorted(set(values) - known) or stored.get('model_type')})"
            )
        return cls(**values)

    def save(self, path: Path, version: str) -> None:
        stored = {"model_type": "pairsift-tiny", "version": version, **asdict(self)}
        path.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
