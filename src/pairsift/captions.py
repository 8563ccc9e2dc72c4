"""What makes a caption fit to be scored."""

from __future__ import annotations

from pairsift.pair import Fault, Status

MAX_CAPTION_CHARACTERS = 1_000_000
# What a source reads at most: no caption of allowed length takes more in UTF-8.
MAX_CAPTION_BYTES = 4 * MAX_CAPTION_CHARACTERS


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
    try:
        readable.encode()
    except UnicodeEncodeError as error:  # JSON's \ud83d without its other half, for example
        return Fault(Status.CAPTION_INVALID, f"half of a surrogate pair at {error.start}")
    return readable


def decode_caption(data: bytes) -> str | Fault:
    """Decode a caption that a source holds as bytes; a byte order mark is not part of it."""
    if len(data) > MAX_CAPTION_BYTES:
        return oversized_caption(len(data))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Fault(
            Status.CAPTION_INVALID, f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}"
        )


def oversized_caption(size: int) -> Fault:
    """Fault of a caption of `size` bytes, which need not be read to be refused."""
    return Fault(
        Status.CAPTION_TOO_LARGE, f"{size:,} bytes; at most {MAX_CAPTION_BYTES:,} are read"
    )
