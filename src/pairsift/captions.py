"""Which captions can be scored."""

from __future__ import annotations

from pairsift.pair import Fault, Status

MAX_CAPTION_CHARACTERS = 1_000_000
# A source reads at most this much; no caption of allowed length needs more bytes in UTF-8.
MAX_CAPTION_BYTES = 4 * MAX_CAPTION_CHARACTERS


def check_caption(caption: str | None) -> str | Fault:
    """Return the caption as scorers get it, or why it cannot be scored.

    NUL characters, which no tokenizer was trained on, are replaced by spaces. Captions longer than
    a model's context are not refused here: each scorer truncates them.
    """
    if caption is None:
        return Fault(Status.CAPTION_MISSING, "the sample has no caption")
    if len(caption) > MAX_CAPTION_CHARACTERS:
        return Fault(
            Status.CAPTION_TOO_LARGE,
            f"{len(caption):,} characters; the limit is {MAX_CAPTION_CHARACTERS:,}",
        )
    readable = caption.replace("\0", " ")
    if not readable.strip():
        return Fault(Status.CAPTION_EMPTY, f"{len(caption)} characters, all white space")
    try:
        readable.encode()
    except UnicodeEncodeError as error:  # for example \ud83d in JSON without the second half
        return Fault(Status.CAPTION_INVALID, f"half of a surrogate pair at {error.start}")
    return readable


def decode_caption(data: bytes) -> str | Fault:
    """Decode a caption that a source holds as bytes; a byte order mark is removed."""
    if len(data) > MAX_CAPTION_BYTES:
        return oversized_caption(len(data))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Fault(
            Status.CAPTION_INVALID, f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}"
        )


def oversized_caption(size: int) -> Fault:
    """Return the fault of a caption of `size` bytes, without reading it."""
    return Fault(Status.CAPTION_TOO_LARGE, f"{size:,} bytes; the limit is {MAX_CAPTION_BYTES:,}")
