"""Images are found by name wherever they lie."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.images import ImageStore
from tests.samples import jpeg, tar_bytes

FILES = {"val/a.jpg": jpeg(20, 10, 1), "val/b.jpg": jpeg(20, 10, 2)}


def _places(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "folder"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    tar = tmp_path / "images.tar"
    tar.write_bytes(tar_bytes((f"./{name}", content) for name, content in FILES.items()))
    zipped = tmp_path / "images.tar.gz"
    zipped.write_bytes(tar_bytes(FILES.items(), "gz"))
    plain = tmp_path / "plain.parquet"
    table = pa.table({"file_name": list(FILES), "jpg": list(FILES.values())})
    pq.write_table(table, plain, row_group_size=1)
    hub = tmp_path / "hub.parquet"
    structs = [{"bytes": content, "path": name} for name, content in FILES.items()]
    pq.write_table(pa.table({"image": structs, "label": [0, 1]}), hub)
    return {"folder": folder, "tar": tar, "tar.gz": zipped, "parquet": plain, "hub": hub}


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "parquet", "hub"])
def test_every_place_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    store = ImageStore([str(_places(tmp_path)[kind])])
    assert len(store) == 2
    for name, content in FILES.items():
        for spelling in (name, Path(name).name, Path(name).stem, "elsewhere/" + Path(name).name):
            assert store.read(spelling) == content
    assert store.missing(["a.jpg", "c.jpg", "b"]) == ["c.jpg"]
    with pytest.raises(PairsiftError, match=r"no image c\.jpg"):
        store.read("c.jpg")


def test_two_places_are_one(tmp_path: Path) -> None:
    for place, (name, content) in zip("xy", FILES.items(), strict=True):
        (tmp_path / f"{place}.tar").write_bytes(tar_bytes([(name, content)]))
    store = ImageStore([str(tmp_path / "x.tar"), str(tmp_path / "y.tar")])
    assert [store.read(name) for name in FILES] == list(FILES.values())


def test_a_name_that_fits_twice_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    members = [("1/a.jpg", b"one"), ("2/a.jpg", b"two"), ("b.jpg", b"top"), ("3/b.jpg", b"deep")]
    path.write_bytes(tar_bytes(members))
    store = ImageStore([str(path)])
    assert store.read("2/a.jpg") == b"two"
    assert store.read("b.jpg") == b"top"
    with pytest.raises(PairsiftError, match=r"more than one image named a\.jpg"):
        store.read("a.jpg")


@pytest.mark.parametrize("name", ["nowhere.tar", "nowhere", "broken.tar", "words.parquet"])
def test_a_place_without_images_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.tar").write_bytes(b"not a tar at all" * 40)
    pq.write_table(pa.table({"a": ["b"]}), tmp_path / "words.parquet")
    with pytest.raises(PairsiftError, match=name):
        ImageStore([str(tmp_path / name)])
