"""Pairs for the integrations' tests: good ones, and one of every common kind of hurt."""

from __future__ import annotations

from pathlib import Path

from pairsift.pair import Status
from tests.samples import jpeg, png, write_tar

Sample = tuple[str, bytes, str]  # key, image, caption

_TEXT = "a brown dog and two children run along a sunny beach with a red ball in the morning"

HURT: dict[int, tuple[Status, bytes, str]] = {
    3: (Status.IMAGE_CORRUPT, b"\xff\xd8\xff\xe0 this is no JPEG", "a brown dog on a beach"),
    7: (Status.IMAGE_CORRUPT, jpeg()[:700], "a brown dog on a beach"),
    12: (Status.CAPTION_EMPTY, jpeg(), "  \n"),
}
"""Place among the samples → what it is, image, caption."""


def samples(count: int = 20) -> list[Sample]:
    """Pairs that differ in their number of words and in their size; hurt ones where `HURT` says."""
    found = []
    for place in range(count):
        if place in HURT:
            _, image, caption = HURT[place]
        else:
            encode = png if place % 4 == 0 else jpeg
            image = encode(210 + 5 * place, 260, place)
            caption = " ".join(_TEXT.split()[: 2 + place % 14])
        found.append((f"k{place:04d}", image, caption))
    return found


def statuses(count: int = 20) -> list[str]:
    """The status that each sample should get."""
    return [(HURT[place][0] if place in HURT else Status.OK).value for place in range(count)]


def write_shard(path: Path, pairs: list[Sample]) -> Path:
    """The same pairs as a webdataset shard."""
    return write_tar(
        path,
        [
            (key, {"png" if image.startswith(b"\x89PNG") else "jpg": image, "txt": caption})
            for key, image, caption in pairs
        ],
    )
