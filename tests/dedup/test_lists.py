"""Hash lists: what they hold of a set of images, and which files are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pairsift import PairsiftError
from pairsift.dedup.lists import LIST_KEY, SCHEMA, read_hashes, write_hash_list
from pairsift.hashing import VERSION, hash_bytes, perceptual_hash
from pairsift.progress import NullListener
from tests.samples import encode, write_tar
from tests.test_hashing import scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, one of one colour, one that is broken; and a text, which is no image."""
    made = tmp_path / "test set"
    made.mkdir()
    for seed in range(2):
        scene(seed, (64, 48)).save(made / f"{seed}.png")
    Image.new("RGB", (40, 40), "white").save(made / "weiß.png")
    (made / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (made / "notes.txt").write_text("a caption")
    return made


def test_a_list_has_a_row_for_each_image(folder: Path, tmp_path: Path) -> None:
    made = write_hash_list([str(folder)], tmp_path / "list.parquet")
    assert (made.path, made.images, made.without_phash) == (str(tmp_path / "list.parquet"), 4, 2)
    table = pq.read_table(tmp_path / "list.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.schema.metadata[LIST_KEY] == VERSION.encode()
    rows = {row.pop("name"): row for row in table.to_pylist()}
    assert rows["1.png"] == {
        "set": "test set",
        "image_sha256": hash_bytes((folder / "1.png").read_bytes()),
        "image_phash": perceptual_hash(scene(1, (64, 48))),
    }
    assert rows["weiß.png"]["image_phash"] is rows["broken.jpg"]["image_phash"] is None
    assert rows["broken.jpg"]["image_sha256"] == hash_bytes(b"\xff\xd8\xff no image")


def test_each_place_is_a_set_of_its_own_unless_one_name_is_given(
    folder: Path, tmp_path: Path
) -> None:
    tar = write_tar(tmp_path / "other.tar", {"a": {"png": encode(scene(5, (64, 48)), "PNG")}})
    told: list[int] = []

    class Told(NullListener):
        def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
            told.append(done)

    places, out = [f"{folder}/", str(tar)], tmp_path / "list.parquet"
    write_hash_list(places, out, listener=Told())
    assert pq.read_table(out)["set"].to_pylist() == ["test set"] * 4 + ["other.tar"]
    assert told == [5]
    write_hash_list(places, out, "mine")
    assert set(pq.read_table(out)["set"].to_pylist()) == {"mine"}


def test_a_list_and_its_images_are_read_alike(folder: Path, tmp_path: Path) -> None:
    write_hash_list([str(folder)], tmp_path / "list.parquet")
    listed, hashed = read_hashes(str(tmp_path / "list.parquet")), read_hashes(str(folder))
    assert listed.equals(hashed)
    images = pa.table({"image": [(folder / "1.png").read_bytes()], "caption": ["c"]})
    pq.write_table(images, tmp_path / "images.parquet")  # no list: its images are hashed
    of_table = read_hashes(str(tmp_path / "images.parquet"))
    assert of_table["image_sha256"].to_pylist() == [hash_bytes((folder / "1.png").read_bytes())]


def test_tars_of_a_folder_are_read_before_its_tables_and_loose_images_are_too(
    tmp_path: Path,
) -> None:
    images = [encode(scene(seed, (64, 48)), "PNG") for seed in range(4)]
    folder = tmp_path / "set"
    folder.mkdir()
    write_tar(folder / "a.tar", [(f"a{place}", {"png": images[place]}) for place in range(2)])
    write_tar(folder / "b.tar", [("b0", {"png": images[2], "txt": "a caption"})])
    pq.write_table(pa.table({"key": ["m"], "caption": ["beside the tar"]}), folder / "a.parquet")

    def names() -> list[str]:
        return [str(name) for name in read_hashes(str(folder))["name"].to_pylist()]

    assert names() == ["a.tar/a0.png", "a.tar/a1.png", "b.tar/b0.png"]
    (folder / "loose.png").write_bytes(images[3])
    assert len(names()) == 4


def test_a_set_without_a_readable_image_is_refused_and_leaves_no_list(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.zip").write_bytes(b"PK no image")
    out = tmp_path / "list.parquet"
    with pytest.raises(PairsiftError, match=r"no file of .*bad can be read as an image \(a.zip: "):
        write_hash_list([str(tmp_path / "bad")], out)
    (tmp_path / "none").mkdir()
    with pytest.raises(PairsiftError, match="none"):
        write_hash_list([str(tmp_path / "none")], out)
    with pytest.raises(PairsiftError, match="nowhere"):
        write_hash_list([str(tmp_path / "nowhere")], out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "none"]


def test_a_list_of_other_hashes_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    write_hash_list([str(folder)], path)
    table = pq.read_table(path).replace_schema_metadata({LIST_KEY: "older"})
    pq.write_table(table, path)
    with pytest.raises(PairsiftError, match=r"other hashes \(older\).*make the list again"):
        read_hashes(str(path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no file .*list.parquet; give a hash list that `pairsift hashes`"),
        (b"", "list.parquet is not a readable parquet file"),
        (b"PAR1 no table PAR1", "list.parquet is not a readable parquet file"),
    ],
)
def test_a_file_that_is_no_list_is_told(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "list.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PairsiftError, match=words):
        read_hashes(str(path))


def test_a_list_replaces_no_other_table(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(PairsiftError, match="a hash list of Pairsift"):
        write_hash_list([str(folder)], path)
    assert pq.read_table(path)["x"].to_pylist() == [1]
