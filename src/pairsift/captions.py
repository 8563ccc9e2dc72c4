"""What makes a caption fit to be scored."""

from __future__ import annotations

from pairsift.pair import Fault, Status

MAX_CAPTION_CHARACTERS = 1_000_000


def check_caption(caption: str | None) -> str | Fault:
    """Return the caption as a scorer sees it, or why there is none.

    NUL characters, which no tokenizer was trained on, count as spaces. Captions longer than a
    model's window are not refused here: each scorer cuts the caption and says where.
    """
    if caption is None:
        return Fault(Status.CAPTION_MISSING, "the sample has no caption")
    if len(caption) > MAX_CAPTION_CHARACTERS:
        return Fault(
            Status.CAPTION_TOO_LARGE,
            f"{len(caption):,} characters; at most {MAX_CAPTION_CHARACTERS:,} are read",
        )
    readable = caption.replace("\0", " ")
    if not readable.strip():
        return Fault(Status.CAPTION_EMPTY, f"{len(caption)} characters, all white space")
    return readable
