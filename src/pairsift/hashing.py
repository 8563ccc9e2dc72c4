"""Hashes that find copies: of an image's bytes, of what it shows, and of a caption.

- ``image_sha256``: SHA-256 of the encoded image. Equal only for identical files.
- ``image_phash``: the perceptual hash *pHash* (C. Zauner, "Implementation and Benchmarking of
  Perceptual Image Hash Functions", 2010), 64 bits. The image is scaled to 32 x 32 grey pixels; for
  each of the 8 x 8 lowest frequencies of its discrete cosine transform, a bit says whether it is
  above their median. Re-encoded, resized and grey copies differ in few bits; unrelated images in
  about 32. Exactly half of the bits are set, so distances are even. Except for the scaling, it is
  the hash of ``imagehash.phash``, computed in whole numbers so that it does not depend on the
  machine.
- ``caption_hash``: of the caption in Unicode's NFKC form, in lower case, without punctuation, with
  single spaces.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

import numpy as np
import pyarrow as pa
from PIL import Image

SHA, PHASH, CAPTION = "image_sha256", "image_phash", "caption_hash"
HASH_FIELDS: tuple[pa.Field, ...] = (
    pa.field(SHA, pa.string()),
    pa.field(PHASH, pa.string()),
    pa.field(CAPTION, pa.string()),
)
HASH_COLUMNS = tuple(field.name for field in HASH_FIELDS)
VERSION = "sha256, phash 64 bits 1, caption 1"
BITS = 64
"""of a perceptual hash"""

_SIDE, _KEPT = 32, 8
# With fewer grey levels between the darkest and the brightest point, the bits are noise.
_MIN_CONTRAST = 8
_COSINES = np.rint(
    2**14 * np.cos(np.pi * np.outer(np.arange(_KEPT), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))
).astype(np.int64)
_NO_WORD = re.compile(r"[\W_]+")


def hash_bytes(image: bytes) -> str:
    """Return the SHA-256 of the encoded image, 64 hexadecimal digits."""
    return hashlib.sha256(image).hexdigest()


def perceptual_hash(image: Image.Image) -> str | None:
    """Return the image's pHash.

    Args:
        image: decoded, of any size.

    Returns:
        16 hexadecimal digits, the lowest frequency first; None for an image of nearly one colour,
        whose bits would say nothing.

    Examples:
        >>> from PIL import Image
        >>> from pairsift.hashing import distance
        >>> image = Image.radial_gradient("L").crop((0, 0, 200, 150)).convert("RGB")
        >>> small = image.resize((100, 75))
        >>> distance(perceptual_hash(image), perceptual_hash(small)) <= 4
        True
        >>> perceptual_hash(Image.new("RGB", (64, 64), "white")) is None
        True
    """
    # Reducing to about twice the size first is three times as fast.
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    grey = np.asarray(small, dtype=np.int64)
    if grey.max() - grey.min() < _MIN_CONTRAST:
        return None
    waves = (_COSINES @ grey @ _COSINES.T).ravel()
    middle = np.partition(waves, (BITS // 2 - 1, BITS // 2))[BITS // 2 - 1 : BITS // 2 + 1]
    return np.packbits(2 * waves > middle.sum()).tobytes().hex()


def distance(one: str | None, other: str | None) -> int:
    """Return the number of bits in which two perceptual hashes differ, 0 to 64.

    Raises:
        ValueError: one of them is None.
    """
    if one is None or other is None:
        raise ValueError("an image of nearly one colour has no perceptual hash")
    return (int(one, 16) ^ int(other, 16)).bit_count()


def hash_caption(caption: str) -> str:
    """Return a hash of the caption without case, punctuation and spaces, 32 hexadecimal digits.

    Examples:
        >>> hash_caption("A dog,  running!") == hash_caption("a dog running")
        True
    """
    folded = unicodedata.normalize("NFKC", caption).casefold()
    # A caption with only punctuation is hashed unchanged.
    words = _NO_WORD.sub(" ", folded).strip() or folded.strip()
    return hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=16).hexdigest()
