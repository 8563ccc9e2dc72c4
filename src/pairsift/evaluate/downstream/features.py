"""Frozen image features, computed once for every image and cached on disk.

The student's image encoder is the EfficientNet-Lite2 of `pairsift-tiny`, averaged over the image:
1,280 numbers that do not depend on any filter. Every part (a shard of the pool, a test set) is one
file that is written whole or not at all, so that a killed run can be resumed.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError, ImageLimits, decode_image
from pairsift.scorers.mlm.tiny.preprocess import preprocess
from pairsift.storage import Folder, join

if TYPE_CHECKING:
    from pairsift.scorers.mlm.lite import Lite2

FOLDER = "features"
WIDTH = 1280
_BATCH = 4  # a larger batch does not fit into a CPU's cache
_NO_IMAGE = -1


class Sample(NamedTuple):
    """One row of a part: a caption or a class name, and encoded image bytes."""

    key: str
    text: str
    image: bytes | None


@dataclass(frozen=True, slots=True)
class Part:
    """Features and texts of some rows.

    Attributes:
        keys, texts: one per row.
        image: for every row, the index of its image in `features`, shape (rows,); -1 if the image
            cannot be read.
        features: float16, shape (distinct images, 1280).
        digests: of the distinct images' bytes.
    """

    keys: list[str]
    texts: list[str]
    image: NDArray[np.int32]
    features: NDArray[np.float16]
    digests: list[str]


class FeatureCache:
    """Features in `out`/features, in one folder per version of the encoder."""

    def __init__(self, out: str) -> None:
        self._folder = Folder(join(join(out, FOLDER), f"lite2-{self._encoder_digest}"))
        self._folder.create()
        self._folder.remove_leftovers()

    @cached_property
    def _encoder(self) -> Lite2:
        from pairsift.scorers.mlm.tiny.model import TinyModel
        from pairsift.scorers.mlm.tiny.scorer import ASSET

        return TinyModel.from_pretrained(ASSET).encoder

    @cached_property
    def _encoder_digest(self) -> str:
        """Digest of the encoder's weights, which another release of the filter may not change."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._encoder.state_dict().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def part(self, name: str, samples: Callable[[], Iterable[Sample]]) -> Part:
        """Return the part of that name; `samples` is called only if it is not on disk."""
        file = f"{name}.npz"
        try:
            return _load(self._folder.read(file))
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise PairsiftError(
                f"{self._folder.file(file)} cannot be read ({error}); remove it and run again"
            ) from error
        part = self._encode(samples())
        self._folder.write(file, _dump(part))
        return part

    def _encode(self, samples: Iterable[Sample]) -> Part:
        import torch

        from pairsift.scorers.mlm.lite import normalize

        keys: list[str] = []
        texts: list[str] = []
        image: list[int] = []
        places: dict[str, int] = {}  # index of distinct images, by digest
        blocks: list[NDArray[np.float16]] = []
        waiting: list[NDArray[np.uint8]] = []
        readable = 0
        limits = ImageLimits()

        def flush() -> None:
            if not waiting:
                return
            with torch.inference_mode():
                final = self._encoder(normalize(torch.from_numpy(np.stack(waiting))))[2]
                blocks.append(final.mean(dim=(2, 3)).to(torch.float16).numpy())
            waiting.clear()

        for sample in samples:
            keys.append(sample.key)
            texts.append(sample.text)
            digest = hashlib.sha256(sample.image or b"").hexdigest()[:32]
            if digest not in places:
                try:
                    pixels = preprocess(decode_image(sample.image, limits)[0])
                except ImageFaultError:
                    places[digest] = _NO_IMAGE
                else:
                    places[digest] = readable
                    readable += 1
                    waiting.append(pixels)
                    if len(waiting) == _BATCH:
                        flush()
            image.append(places[digest])
        flush()
        return Part(
            keys,
            texts,
            np.array(image, np.int32),
            np.concatenate(blocks) if blocks else np.zeros((0, WIDTH), np.float16),
            [digest for digest, place in places.items() if place != _NO_IMAGE],
        )


def join_parts(parts: Iterable[Part]) -> Part:
    """Join several parts; an image that is in several of them counts once."""
    keys: list[str] = []
    texts: list[str] = []
    image: list[NDArray[np.int32]] = []
    features: list[NDArray[np.float16]] = []
    places: dict[str, int] = {}
    for part in parts:
        keys += part.keys
        texts += part.texts
        moved = np.full(len(part.digests) + 1, _NO_IMAGE, np.int32)  # the last entry is for -1
        for index, digest in enumerate(part.digests):
            if digest not in places:
                places[digest] = len(places)
                features.append(part.features[index])
            moved[index] = places[digest]
        image.append(moved[part.image])
    return Part(
        keys,
        texts,
        np.concatenate(image) if image else np.zeros(0, np.int32),
        np.stack(features) if features else np.zeros((0, WIDTH), np.float16),
        list(places),
    )


def _dump(part: Part) -> bytes:
    words = {"keys": part.keys, "texts": part.texts, "digests": part.digests}
    buffer = io.BytesIO()
    np.savez(
        buffer,
        image=part.image,
        features=part.features,
        words=np.frombuffer(json.dumps(words).encode(), np.uint8),
    )
    return buffer.getvalue()


def _load(content: bytes) -> Part:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        words = json.loads(stored["words"].tobytes())
        return Part(
            words["keys"], words["texts"], stored["image"], stored["features"], words["digests"]
        )
