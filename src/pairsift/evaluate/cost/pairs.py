"""The pairs to measure: real ones, with other images in every round."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError, ImageLimits, decode_image
from pairsift.pair import Pair
from pairsift.sources import find_shards, open_shard

Rounds = list[list[Pair]]
_SMALLEST_CROP = 0.7
_QUALITY = 90

# Scorers may cache encoded images, and servers prompts, so a repeated image would be cheaper than
# at scale. So no two rounds share an image.


def demo_rounds(rounds: int, pairs: int, captions_per_image: int = 1) -> Rounds:
    """Make pairs of the demo's photographs and their right captions.

    Images are crops, 70 to 100 % of either side, drawn with fixed seeds and stored as JPEG, as
    most images of the web are. Captions are the same in every round.

    Raises:
        PairsiftError: the packages with the photographs are not installed.
    """
    from pairsift.demo.photos import PHOTOS

    photos = [(Image.open(io.BytesIO(photo.read())).convert("RGB"), photo) for photo in PHOTOS]
    images = -(-pairs // captions_per_image)
    crops_a_round = -(-images // len(photos))

    def crop(number: int, image: int) -> Pair:
        picture, photo = photos[image % len(photos)]
        seed = number * crops_a_round + image // len(photos)
        return Pair(f"{photo.name}-{seed}", _crop(picture, seed), photo.right, shard="demo")

    return [
        _with_captions([crop(number, image) for image in range(images)], pairs, captions_per_image)
        for number in range(rounds)
    ]


def _crop(picture: Image.Image, seed: int) -> bytes:
    shares = np.random.default_rng(seed).uniform((_SMALLEST_CROP,) * 2 + (0, 0), 1)
    width, height = (round(a * b) for a, b in zip(shares[:2], picture.size, strict=True))
    left = round(shares[2] * (picture.width - width))
    top = round(shares[3] * (picture.height - height))
    stream = io.BytesIO()
    cut = picture.crop((left, top, left + width, top + height))
    cut.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def shard_rounds(
    shards: Sequence[str], rounds: int, pairs: int, captions_per_image: int = 1
) -> Rounds:
    """Take the first good pairs of the user's shards, each with a new image.

    Raises:
        PairsiftError: there are no such shards, or they have too few good pairs.
    """
    images = -(-pairs // captions_per_image)
    found: list[Pair] = []
    seen: set[bytes] = set()
    for pair in _read(shards):
        digest = hashlib.sha256(pair.image or b"").digest()
        if digest not in seen and _good(pair):
            seen.add(digest)
            found.append(pair)
        if len(found) == rounds * images:
            break
    else:
        raise PairsiftError(
            f"{', '.join(shards)}: {rounds * images:,} good pairs with different images are "
            f"needed, {images:,} for each of {rounds - 1} rounds and the warm-up; there are "
            f"{len(found):,}. Give more shards, or fewer --pairs or --rounds"
        )
    return [
        _with_captions(found[start : start + images], pairs, captions_per_image)
        for start in range(0, len(found), images)
    ]


def _read(shards: Sequence[str]) -> Iterator[Pair]:
    for shard in find_shards(list(shards)).shards:
        yield from open_shard(shard)


def _good(pair: Pair) -> bool:
    if pair.fault is not None or not (pair.caption or "").strip():
        return False
    try:
        decode_image(pair.image, ImageLimits())
    except ImageFaultError:
        return False
    return True


def _with_captions(images: Sequence[Pair], pairs: int, each: int) -> list[Pair]:
    """Pair each image with its own caption and those of the next images."""
    captioned = [
        Pair(f"{pair.key}-{number}", pair.image, images[(place + number) % len(images)].caption)
        for place, pair in enumerate(images)
        for number in range(each)
    ]
    return captioned[:pairs]


def digest(rounds: Rounds) -> str:
    """Return a digest by which two runs can tell whether they measured the same pairs."""
    found = hashlib.sha256()
    for pair in (pair for each in rounds for pair in each):
        found.update(hashlib.sha256(pair.image or b"").digest())
        found.update((pair.caption or "").encode("utf-8", "replace"))
    return f"sha256:{found.hexdigest()[:16]}"


def mean_of(pairs: Sequence[Pair], size: Callable[[Pair], int]) -> float:
    """Return the mean size of the images and length of the captions."""
    return sum(map(size, pairs)) / len(pairs)
