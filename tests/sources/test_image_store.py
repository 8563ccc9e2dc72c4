"""Images are found by name wherever they lie, and never another image in their place."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsift.errors import PairsiftError
from pairsift.sources.image_store import ImageStore, NameIndex, OtherFolderError
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
    packed = tmp_path / "images.tar.xz"
    packed.write_bytes(tar_bytes(FILES.items(), "xz"))
    plain = tmp_path / "plain.parquet"
    table = pa.table({"file_name": list(FILES), "jpg": list(FILES.values())})
    pq.write_table(table, plain, row_group_size=1)
    hub = tmp_path / "hub.parquet"
    structs = [{"bytes": content, "path": name} for name, content in FILES.items()]
    pq.write_table(pa.table({"image": structs, "label": [0, 1]}), hub)
    return {
        "folder": folder,
        "tar": tar,
        "tar.gz": zipped,
        "tar.xz": packed,
        "parquet": plain,
        "hub": hub,
    }


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "tar.xz", "parquet", "hub"])
def test_every_place_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    place = _places(tmp_path)[kind]
    store = ImageStore([str(place)])
    assert len(store) == 2
    for name, content in FILES.items():
        base = Path(name).name
        for spelling in (
            name, base, Path(name).stem, f"./{name}", f"/data/{name}", f"val/../{name}",
            name.replace("/", "\\"), f"C:\\data\\val\\{base}", f"val\\{base}", base.upper(),
            name.title(), Path(name).with_suffix(".webp").name, f"val/{Path(name).stem}",
        ):  # fmt: skip
            assert store.read(spelling) == content, spelling
    assert store.missing(["a.jpg", "c.jpg", "b", "other/a.jpg", "a.c"]) == [
        "c.jpg", "other/a.jpg", "a.c",
    ]  # fmt: skip
    with pytest.raises(PairsiftError, match=r"image c\.jpg not found"):
        store.read("c.jpg")


def test_two_places_are_one(tmp_path: Path) -> None:
    for place, (name, content) in zip("xy", FILES.items(), strict=True):
        (tmp_path / f"{place}.tar").write_bytes(tar_bytes([(name, content)]))
    store = ImageStore([str(tmp_path / "x.tar"), str(tmp_path / "y.tar")])
    assert [store.read(name) for name in FILES] == list(FILES.values())


def test_a_folder_of_shards_is_all_its_shards(tmp_path: Path) -> None:
    for shard in ("00000", "00001"):
        content = tar_bytes([("0.jpg", shard.encode()), (f"{shard}-1.jpg", b"own"), ("0.txt", b"")])
        (tmp_path / f"{shard}.tar").write_bytes(content)
    store = ImageStore([str(tmp_path)])
    assert [store.read("00000/0"), store.read("00001/0")] == [b"00000", b"00001"]
    assert store.read("00001-1.jpg") == b"own"
    with pytest.raises(PairsiftError, match="matches more than one image"):
        store.read("0.jpg")
    (tmp_path / "0.jpg").write_bytes(b"unpacked")  # of images beside tars, the images are taken
    assert ImageStore([str(tmp_path)]).read("0.jpg") == b"unpacked"


def test_a_name_that_fits_twice_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    members = [("1/a.jpg", b"one"), ("2/a.jpg", b"two"), ("b.jpg", b"top"), ("3/b.jpg", b"deep")]
    path.write_bytes(tar_bytes(members))
    store = ImageStore([str(path)])
    assert store.read("2/a.jpg") == b"two"
    assert store.read("b.jpg") == b"top"
    with pytest.raises(
        PairsiftError, match=r"'a\.jpg' matches more than one .*1/a\.jpg .*2/a\.jpg"
    ):
        store.read("a.jpg")


def _found(stored: list[str], asked: str, above: str = "/data/images") -> str | None:
    index: NameIndex[str] = NameIndex()
    for path in stored:
        index.add(path, path, above)
    return index.find(asked)


@pytest.mark.parametrize(
    ("stored", "asked", "expected"),
    [
        (["train2017/3.jpg", "val2017/3.jpg"], "val2017/3.jpg", "val2017/3.jpg"),
        (["coco/val2017/3.jpg", "3.jpg"], "val2017/3.jpg", "coco/val2017/3.jpg"),
        (["a/x/3.jpg", "b/x/3.jpg"], "data/b/x/3.jpg", "b/x/3.jpg"),
        (["3.jpg"], "val2017/3.jpg", "3.jpg"),  # the place may be that folder
        (["3.jpg", "train2017/3.jpg"], "val2017/3.jpg", "3.jpg"),
        (["3.jpg", "3.png"], "3.png", "3.png"),
        (["3.jpg"], "3.webp", "3.jpg"),
        (["a.v1.jpg"], "a.v1", "a.v1.jpg"),
        (["a.jpg"], "a.v1", None),
        (["A.JPG", "a.jpg"], "a.jpg", "a.jpg"),
        (["Val/A.JPG"], "val/a.jpg", "Val/A.JPG"),
        (["cafe\u0301.jpg"], "caf\u00e9.jpg", "cafe\u0301.jpg"),
        (["100% [x] {y}.jpg"], "100% [x] {y}.jpg", "100% [x] {y}.jpg"),
        (["图/犬 🐕.jpg"], "图/犬 🐕.jpg", "图/犬 🐕.jpg"),
        (["caf\udce9.jpg"], "caf\\xe9.jpg", "caf\udce9.jpg"),
        (["caf\udce9.jpg"], "caf\udce9.jpg", "caf\udce9.jpg"),
    ],
)
def test_the_longest_common_path_decides(
    stored: list[str], asked: str, expected: str | None
) -> None:
    assert _found(stored, asked) == expected


@pytest.mark.parametrize(
    ("stored", "asked", "above"),
    [
        (["train2017/3.jpg"], "val2017/3.jpg", "/img"),
        (["train2017/3.jpg"], "coco/val2017/3.jpg", "/img"),
        (["b/c/3.jpg"], "a/c/3.jpg", "/img"),
        (["images/3.jpg"], "vg/VG_100K/3.jpg", "/img"),
        (["train/3.png"], "val/3.jpg", "/img"),
        (["3.jpg"], "val2017/3.jpg", "/coco/train2017"),  # the place itself is another split
        (["3.jpg"], "Test/3.jpg", "s3://bucket/Train"),
    ],
)
def test_another_folder_is_an_error_that_names_both(
    stored: list[str], asked: str, above: str
) -> None:
    with pytest.raises(OtherFolderError) as caught:
        _found(stored, asked, above)
    assert asked in str(caught.value)
    assert stored[0] in str(caught.value)


def test_the_place_helps_to_tell_two_apart(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "3.jpg").write_bytes(split.encode())
    (tmp_path / "test2017.tar").write_bytes(tar_bytes([("3.jpg", b"test2017")]))
    places = [str(tmp_path / name) for name in ("train2017", "val2017", "test2017.tar")]
    store = ImageStore(places)
    for split in ("train2017", "val2017", "test2017"):
        assert store.read(f"{split}/3.jpg") == split.encode()
        assert store.read(str(tmp_path / split / "3.jpg")) == split.encode()
    with pytest.raises(PairsiftError, match="matches more than one image"):
        store.read("3.jpg")


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), min_size=1, max_size=6),
       st.lists(st.sampled_from("abc"), min_size=1, max_size=3))  # fmt: skip
def test_what_is_found_never_contradicts_the_name(
    stored: list[list[str]], asked: list[str]
) -> None:
    paths = list(dict.fromkeys("/".join(parts) + ".jpg" for parts in stored))
    name = "/".join(asked) + ".jpg"
    fitting = [p for p in paths if f"/{p}".endswith(f"/{name}") or f"/{name}".endswith(f"/{p}")]
    try:
        found = _found(paths, name, "/")
    except OtherFolderError:
        assert not fitting
        assert any(p.rsplit("/")[-1] == name.rsplit("/")[-1] for p in paths)
    except PairsiftError:
        assert len(fitting) > 1
    else:
        assert found is None if not fitting else found in fitting


def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = [b"caf\xe9.jpg", "犬 🐕.jpg".encode(), b"100% [a] {b} 'c' \"d\".jpg", b"x;y,z|.jpg"]
    for number, name in enumerate(names):
        (tmp_path / os.fsdecode(name)).write_bytes(b"%d" % number)
    store = ImageStore([str(tmp_path)])
    for number, name in enumerate(names):
        assert store.read(os.fsdecode(name)) == b"%d" % number
    with pytest.raises(PairsiftError) as caught:
        store.read("no\udce9.jpg")
    str(caught.value).encode()  # can be printed


@pytest.mark.parametrize("column", [None, "key"])
def test_parquet_images_without_names_go_by_their_row(tmp_path: Path, column: str | None) -> None:
    images = list(FILES.values())
    table = {"image": [{"bytes": image, "path": None} for image in images]}
    if column:
        table[column] = [7, 8]  # type: ignore[list-item]
    pq.write_table(pa.table(table), tmp_path / "x.parquet", row_group_size=1)
    store = ImageStore([str(tmp_path / "x.parquet")])
    names = ["7", "8"] if column else ["000000000", "000000001"]
    assert [store.read(f"x/{name}") for name in names] == images


@pytest.mark.parametrize("name", ["nowhere.tar", "nowhere", "broken.tar", "words.parquet"])
def test_a_place_without_images_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.tar").write_bytes(b"not a tar at all" * 40)
    pq.write_table(pa.table({"a": ["b"]}), tmp_path / "words.parquet")
    with pytest.raises(PairsiftError, match=name):
        ImageStore([str(tmp_path / name)])


@pytest.mark.parametrize(
    ("old", "name"),
    [("images", "ImageStore"), ("tables", "read_rows"), ("captions", "read_captions")],
)
def test_old_places_of_the_readers_still_work(old: str, name: str) -> None:
    sys.modules.pop(f"pairsift.evaluate.{old}", None)
    with pytest.warns(DeprecationWarning, match=r"is now pairsift\.sources\.\w+;"):
        module = importlib.import_module(f"pairsift.evaluate.{old}")
    assert callable(getattr(module, name))
