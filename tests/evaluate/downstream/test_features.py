"""Features of images, computed once for each distinct image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.features import WIDTH, FeatureCache, Part, Sample, join_parts
from tests.evaluate.downstream.conftest import World


@pytest.mark.slow
def test_features_are_cached_and_bad_images_passed_over(world: World, tmp_path: Path) -> None:
    cache = FeatureCache(str(tmp_path))
    image = next(world.images.iterdir()).read_bytes()

    def samples() -> Iterator[Sample]:
        yield Sample("a", "one", image)
        yield Sample("b", "two", b"no image")
        yield Sample("c", "three", None)
        yield Sample("d", "four", image)

    part = cache.part("p", samples)
    assert part.image.tolist() == [0, -1, -1, 0]
    assert part.features.shape == (1, 1280)
    again = cache.part("p", lambda: pytest.fail("asked for again"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.features, part.features)
    assert (again.keys, again.texts, again.digests) == (part.keys, part.texts, part.digests)
    both = join_parts([part, again])
    assert both.image.tolist() == [0, -1, -1, 0] * 2
    assert len(both.features) == 1


def test_a_damaged_file_of_features_is_named(tmp_path: Path) -> None:
    cache = FeatureCache(str(tmp_path))
    part = cache.part("p", list)
    assert (part.keys, part.features.shape, part.image.shape) == ([], (0, WIDTH), (0,))
    (path,) = tmp_path.rglob("p.npz")
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(PairsiftError, match="p.npz cannot be read .*remove it and run again"):
            cache.part("p", list)
    path.unlink()
    assert cache.part("p", list).keys == []


def _part(*images: str) -> Part:
    """A row for each image of this digest, "-" for one that cannot be read; features tell it."""
    digests = list(dict.fromkeys(image for image in images if image != "-"))
    features = np.array([[ord(digest)] * WIDTH for digest in digests], np.float16)
    rows = np.array([digests.index(i) if i != "-" else -1 for i in images], np.int32)
    names = [f"{image}{row}" for row, image in enumerate(images)]
    return Part(names, names, rows, features.reshape(-1, WIDTH), digests)


@pytest.mark.parametrize(
    ("parts", "rows", "digests"),
    [
        ([], [], ""),
        (["-"], [-1], ""),
        (["ab", "ba"], [0, 1, 1, 0], "ab"),
        (["aab-", "", "cb"], [0, 0, 1, -1, 2, 1], "abc"),
    ],
)
def test_an_image_of_several_parts_counts_once(
    parts: list[str], rows: list[int], digests: str
) -> None:
    found = join_parts(_part(*images) for images in parts)
    assert found.image.tolist() == rows
    assert found.digests == list(digests)
    assert found.features[:, 0].tolist() == [ord(digest) for digest in digests]
    assert [key[0] for key in found.keys] == list("".join(parts))
