"""The pool and the test sets as features, captions and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.data import read_classes, read_pool, read_retrieval
from pairsift.evaluate.downstream.features import FeatureCache
from pairsift.sources import ShardSet, find_shards
from tests.samples import jpeg, write_tar

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    """Features of all tests: each names its own files."""
    return FeatureCache(str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def pool(tmp_path: Path) -> ShardSet:
    """Two shards: of the first one pair has no caption, one a broken image, one a key again."""
    (tmp_path / "pool").mkdir()
    write_tar(
        tmp_path / "pool/a.tar",
        [
            ("0", {"jpg": jpeg(32, 24, 0), "txt": "a dog"}),
            ("1", {"jpg": jpeg(32, 24, 1)}),
            ("2", {"jpg": b"no image", "txt": "a cat"}),
            ("0", {"jpg": jpeg(32, 24, 3), "txt": "a second sample of this key"}),
        ],
    )
    write_tar(tmp_path / "pool/b.tar", [("0", {"jpg": jpeg(32, 24, 0), "txt": "ein Hund"})])
    return find_shards([str(tmp_path / "pool")])


def test_a_pool_is_of_all_pairs_and_an_image_of_two_shards_counts_once(
    pool: ShardSet, cache: FeatureCache
) -> None:
    found = read_pool(pool, None, cache)
    assert found.places == [("a", "0"), ("a", "1"), ("a", "2"), ("b", "0")]
    assert found.part.texts == ["a dog", "", "a cat", "ein Hund"]
    assert found.part.image.tolist() == [0, -1, -1, 0]
    assert len(found.part.features) == 1
    assert found.kinds is found.clean is None


def test_labels_may_name_the_shard_and_the_kind(
    pool: ShardSet, cache: FeatureCache, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("shard,key,clean,kind\n,0,yes,\na,1,FALSE,swapped\n,2,0,\nb,0, True ,own\n")
    found = read_pool(pool, str(path), cache)
    assert found.clean is not None
    assert found.clean.tolist() == [True, False, False, True]
    assert found.kinds is not None
    assert found.kinds.tolist() == ["clean", "swapped", "noise", "own"]


def test_a_pair_without_a_label_is_named(
    pool: ShardSet, cache: FeatureCache, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("shard,key,clean\na,0,1\na,1,1\nb,2,1\n")
    with pytest.raises(
        PairsiftError, match="no label for 2 of 4 pairs, for example key 2 of shard a"
    ):
        read_pool(pool, str(path), cache)


def test_a_pool_without_a_pair_is_refused(cache: FeatureCache, tmp_path: Path) -> None:
    schema = pa.schema({"image": pa.binary(), "caption": pa.string()})
    pq.write_table(schema.empty_table(), tmp_path / "none.parquet")
    with pytest.raises(PairsiftError, match="the pool below .* holds no pair"):
        read_pool(find_shards([str(tmp_path / "none.parquet")]), None, cache)


def test_a_retrieval_set_is_of_all_images_that_the_captions_name(
    cache: FeatureCache, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(jpeg(32, 24, number))
    captions = tmp_path / "captions.csv"
    captions.write_text("image,caption\n1.jpg,a dog\n0.jpg,a cat\n1.jpg,ein Hund\n1.jpg, \n")
    found, part = read_retrieval([str(folder)], str(captions), cache)
    assert found.features.shape == (2, 1280)
    texts = [
        (part.keys[image], text) for image, text in zip(found.image, found.captions, strict=True)
    ]
    assert sorted(texts) == [("0.jpg", "a cat"), ("1.jpg", "a dog"), ("1.jpg", "ein Hund")]
    # Another image of that name is another test.
    (folder / "1.jpg").write_bytes(jpeg(48, 24, 7))
    again, _ = read_retrieval([str(folder)], str(captions), cache)
    same = (again.features == found.features).all(axis=1)
    assert [part.keys[row] for row in np.flatnonzero(~same)] == ["1.jpg"]
    (folder / "0.jpg").write_bytes(b"no image")
    with pytest.raises(PairsiftError, match="0.jpg of .*images is not a readable image"):
        read_retrieval([str(folder)], str(captions), cache)


def _classes(path: Path, names: list[str], images: list[bytes | None]) -> str:
    rows = [{"bytes": image, "path": None} for image in images]  # as Hugging Face stores them
    pq.write_table(pa.table({"image": rows, "class_name": names}), path)
    return str(path)


def test_a_classification_set_is_of_its_readable_images(
    cache: FeatureCache, tmp_path: Path
) -> None:
    images = [jpeg(32, 24, 0), b"no image", jpeg(32, 24, 1), jpeg(32, 24, 0), None]
    names = ["tabby_cat", "dog", "dog", "hot_dog ", "tree"]
    found, part = read_classes(_classes(tmp_path / "pets.parquet", names, images), None, 0, cache)
    assert (found.name, found.classes) == ("pets", ["dog", "hot dog", "tabby cat", "tree"])
    assert [found.classes[label] for label in found.labels] == ["tabby cat", "dog", "hot dog"]
    assert found.features.shape == (3, 1280)
    assert part.keys == list("01234")


@pytest.mark.slow
def test_a_limit_draws_the_same_images_each_time(cache: FeatureCache, tmp_path: Path) -> None:
    names = [f"class{n % 3}" for n in range(8)]
    path = _classes(tmp_path / "c.parquet", names, [jpeg(16, 12, n) for n in range(8)])
    images, part = read_classes(path, 5, 0, cache)
    assert [images.classes[label] for label in images.labels] == part.texts
    assert part.keys == sorted(part.keys)
    fresh, again = read_classes(path, 5, 0, FeatureCache(str(tmp_path)))
    assert again.keys == part.keys
    np.testing.assert_array_equal(fresh.labels, images.labels)
    assert read_classes(path, 5, 1, cache)[1].keys != part.keys


def test_a_table_that_was_written_again_is_read_again(cache: FeatureCache, tmp_path: Path) -> None:
    path = _classes(tmp_path / "c.parquet", ["dog", "cat"], [jpeg(16, 12, n) for n in range(2)])
    assert read_classes(path, None, 0, cache)[0].classes == ["cat", "dog"]
    _classes(tmp_path / "c.parquet", ["dog", "owl"], [jpeg(16, 12, n) for n in range(2)])
    assert read_classes(path, None, 0, cache)[0].classes == ["dog", "owl"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"image": pa.array([], pa.binary()), "class": pa.array([], pa.string())},
            "holds no images",
        ),
        ({"image": [b"x"], "species": ["dog"]}, "no class column"),
        ({"picture of": ["x"], "class": ["dog"]}, "no image column"),
    ],
)
def test_a_table_without_images_or_classes_is_refused(
    cache: FeatureCache, tmp_path: Path, columns: dict[str, object], words: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    with pytest.raises(PairsiftError, match=words):
        read_classes(str(tmp_path / "c.parquet"), None, 0, cache)
