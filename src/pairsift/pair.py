"""The records that flow through Pairsift: a pair, and why a sample has no scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Status(str, Enum):
    """The result of one sample. The list is closed: a score table holds no other value.

    Examples:
        >>> Status("image_corrupt").meaning
        'the image bytes cannot be decoded'
        >>> [status.value for status in Status if status.retryable]
        ['read_error', 'model_error']
    """

    OK = "ok"
    IMAGE_MISSING = "image_missing"
    IMAGE_CORRUPT = "image_corrupt"
    IMAGE_TOO_LARGE = "image_too_large"
    CAPTION_MISSING = "caption_missing"
    CAPTION_EMPTY = "caption_empty"
    CAPTION_INVALID = "caption_invalid"
    CAPTION_TOO_LARGE = "caption_too_large"
    DUPLICATE_KEY = "duplicate_key"
    SHARD_TRUNCATED = "shard_truncated"
    READ_ERROR = "read_error"
    MODEL_ERROR = "model_error"
    # Added later; score tables store the position in this list, so new ones come last.
    IMAGE_UNSUPPORTED = "image_unsupported"
    SOURCE_FAILED = "source_failed"
    ROW_INVALID = "row_invalid"

    @property
    def meaning(self) -> str:
        """The status in a few words, for tables and reports."""
        return _MEANING[self]

    @property
    def retryable(self) -> bool:
        """Whether scoring the same bytes again may help."""
        return self in (Status.READ_ERROR, Status.MODEL_ERROR)

    @property
    def of_caption(self) -> bool:
        """Whether only the caption is at fault; the image can still be decoded."""
        return self.value.startswith("caption_")

    @property
    def declared(self) -> bool:
        """Whether the source itself says that the sample failed, as img2dataset does.

        Such samples are expected: they are counted separately and never stop a run.
        """
        return self is Status.SOURCE_FAILED


_MEANING = {
    Status.OK: "scored",
    Status.IMAGE_MISSING: "the sample has no image",
    Status.IMAGE_CORRUPT: "the image bytes cannot be decoded",
    Status.IMAGE_TOO_LARGE: "the image has more bytes or pixels than allowed",
    Status.CAPTION_MISSING: "the sample has no caption",
    Status.CAPTION_EMPTY: "the caption has only white space",
    Status.CAPTION_INVALID: "the caption is not valid UTF-8",
    Status.CAPTION_TOO_LARGE: "the caption is longer than allowed",
    Status.DUPLICATE_KEY: "an earlier sample of the shard has the same key",
    Status.SHARD_TRUNCATED: "the shard ends in the middle of this sample",
    Status.READ_ERROR: "the sample could not be read from its storage",
    Status.MODEL_ERROR: "the scorer failed on this sample",
    Status.IMAGE_UNSUPPORTED: "the image has a format that the installed packages cannot read",
    Status.SOURCE_FAILED: "the source itself marks the sample as failed",
    Status.ROW_INVALID: "the line of the captions table cannot be read as a row",
}


def counts_in_words(counts: Mapping[str, int]) -> str:
    """Format counts by status or reason: ``2 image_missing (the sample has no image)``."""
    meanings = {status.value: f" ({status.meaning})" for status in Status}
    return ", ".join(f"{count:,} {name}{meanings.get(name, '')}" for name, count in counts.items())


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a sample has no scores."""

    status: Status
    error: str


Texts = tuple[str | Fault | None, ...]
"""Texts of one sample, or why each of them cannot be used."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One image-text pair as a source yields it: the image is not decoded yet.

    Attributes:
        key: webdataset key, or the source's own name for the sample.
        image: encoded image bytes (JPEG, PNG, WebP, ...); None if the sample has none.
        caption: text; None if the sample has none.
        shard: name of the shard the pair came from; empty for a pair made by hand.
        uid: DataComp uid, 32 hexadecimal digits; None if the sample has none.
        metadata: other fields of the sample, unchanged.
        fault: set by a source that could not read the sample. Such a pair is not scored; it
            becomes a row with the status of the fault.
        caption_index: which of the sample's captions this is, from 0; None if only one is read.
        captions: all texts of a list, set by a source that was asked for every one (see
            :mod:`pairsift.sources.several`), which makes a pair of each; else None.

    Examples:
        >>> from pathlib import Path
        >>> from pairsift import load_scorer
        >>> image = Path("pool/a.png").read_bytes()
        >>> pair = Pair("a", image, "a red square on a white wall")
        >>> load_scorer("heuristics").score([pair]).column("caption_words").to_pylist()
        [7]
    """

    key: str
    image: bytes | None
    caption: str | None
    shard: str = ""
    uid: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fault: Fault | None = None
    caption_index: int | None = None
    captions: Texts | None = None
