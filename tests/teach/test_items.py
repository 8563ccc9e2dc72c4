"""What is taught about: every kind of shard that is scored, and captions with their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Pair
from pairsift.sources import find_shards, open_shard
from pairsift.teach.items import read_items, read_shards
from pairsift.teach.records import Record, read_records, write_records
from tests.samples import encode, jpeg, picture, png, tar_bytes

IMAGES = [jpeg(32, 24, seed) for seed in range(3)]
BITMAP = encode(picture(32, 24, 5), "BMP")


def _pool(folder: Path) -> dict[str, Path]:
    tars: dict[str, tuple[list[tuple[str, bytes | str]], str]] = {
        "dirs.tar": (
            [m for d in "ab" for i in range(2)
             for m in [(f"{d}/{i}.jpg", IMAGES[i]), (f"{d}/{i}.txt", f"{d}{i}")]], "",
        ),
        "capitals.tar": ([("0.JPG", IMAGES[0]), ("0.txt", "x")], ""),
        "packed.tar.gz": ([("0.jpg", IMAGES[0]), ("0.txt", "x"), ("1.jpg", b"")], "gz"),
        "bmp.tar": ([("./0.bmp", BITMAP), ("./0.txt", "x")], ""),
        "two.tar": ([("0.png", png(8, 8)), ("0.jpg", IMAGES[2]), ("0.txt", "x")], ""),
        "any [script] 犬%20.tar": ([("犬 🐕.jpg", IMAGES[1]), ("犬 🐕.txt", "x")], ""),
    }  # fmt: skip
    for name, (members, compression) in tars.items():
        (folder / name).write_bytes(tar_bytes(members, compression))
    tables: dict[str, dict[str, Any]] = {
        "nokey.parquet": {"jpg": IMAGES[:2], "txt": ["x", "y"]},
        "intkey.parquet": {
            "key": [1, 2],
            "image": [{"bytes": image, "path": None} for image in IMAGES[:2]],
            "text": ["x", "y"],
        },
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / name, row_group_size=1)
    (folder / "fold").mkdir()
    (folder / "fold/x.jpg").write_bytes(IMAGES[0])
    (folder / "fold/y.png").write_bytes(png(8, 8))
    (folder / "fold/captions.csv").write_text("image,caption\nx.jpg,1\nx.jpg,2\ny.png,3\nbad\n")
    names = [*tars, *tables, "fold", "fold/captions.csv"]
    return {name: folder / name for name in names}


def _scored(path: Path) -> dict[str, Pair]:
    return {
        f"{shard.name}/{pair.key}": pair
        for shard in find_shards(str(path)).shards
        for pair in open_shard(shard)
        if pair.fault is None and pair.image and pair.caption
    }


@pytest.mark.parametrize("name", [
    "dirs.tar", "capitals.tar", "packed.tar.gz", "bmp.tar", "two.tar", "any [script] 犬%20.tar",
    "nokey.parquet", "intkey.parquet", "fold", "fold/captions.csv",
])  # fmt: skip
def test_all_that_is_scored_is_taught_about(tmp_path: Path, name: str) -> None:
    path = _pool(tmp_path)[name]
    expected = _scored(path)
    assert expected
    items, images = read_shards([str(path)])
    assert {item.image: item.captions for item in items} == {
        name: (pair.caption,) for name, pair in expected.items()
    }
    # In any order, and more than once.
    for item in [*reversed(items), *items]:
        assert images.read(item.image) == expected[item.image].image
    with pytest.raises(PairsiftError, match="no pair 'gone'"):
        images.read("gone")
    assert len(read_shards([str(path)], limit=1)[0]) == 1


def test_options_of_the_source_and_what_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pairsift.inputs")
    path = _pool(tmp_path)["fold"]
    (path / "other.csv").write_text("pic;words\nx.jpg;good\ny.png; \nz.jpg;gone\n")
    items, _ = read_shards([str(path)], captions_file="other.csv", caption="words", image="pic")
    assert [item.captions for item in items] == [("good",)]
    assert "1 pairs read, left out: 1 caption_empty, 1 image_missing" in caplog.text
    (path / "other.csv").write_text("image,caption\nz.jpg,gone\n")
    with pytest.raises(PairsiftError, match="no readable pair .*1 image_missing"):
        read_shards([str(path)], captions_file="other.csv")


def test_captions_of_other_splits_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from pairsift.sources.image_store import ImageStore

    caplog.set_level("INFO", "pairsift.inputs")
    (tmp_path / "img/train2017").mkdir(parents=True)
    for number in range(2):
        (tmp_path / f"img/train2017/{number}.jpg").write_bytes(IMAGES[number])
    store = ImageStore([str(tmp_path / "img")])
    table = tmp_path / "captions.csv"
    rows = [f"{split}/{n}.jpg,{split} {n}" for split in ("train2017", "val2017") for n in range(2)]
    table.write_text("\n".join(["image,caption", *rows]))
    items = read_items(str(table), store)
    assert [item.captions for item in items] == [("train2017 0",), ("train2017 1",)]
    assert "2 of 4 images are left out" in caplog.text
    assert "train2017/0.jpg has the same file name but is in another folder" in caplog.text
    table.write_text("\n".join(["image,caption", *rows[2:]]))
    with pytest.raises(PairsiftError, match=r"none of the 2 .*'val2017/0\.jpg'.*train2017/0\.jpg"):
        read_items(str(table), store)


@pytest.mark.parametrize("text", [
    "image,caption\na.jpg,x\na.jpg,y\n",
    "a.jpg#0\tx\na.jpg#1\ty\n",
    "image_name| comment_number| comment\na.jpg| 0|x\na.jpg| 1|y\n",
    "IMAGE;Caption\na.jpg;x\na.jpg;y\n",
    '{"file_name": "a.jpg", "text": "x"}\n{"file_name": "a.jpg", "text": "y"}\n',
    '{"file_name": "a.jpg", "captions": ["x", "y"]}\n',
])  # fmt: skip
def test_forms_of_captions(tmp_path: Path, text: str) -> None:
    path = tmp_path / ("c.jsonl" if text.startswith("{") else "c.txt")
    path.write_text(text)
    [item] = read_items(str(path), None)
    assert (item.image, item.captions) == ("a.jpg", ("x", "y"))


@pytest.mark.parametrize("name", ["pairsift-test.jsonl", "pairsift-test.parquet"])
def test_records_in_the_root_folder(name: str) -> None:
    path = Path("/") / name
    try:
        assert write_records(str(path), [Record("a.jpg", "x")], {}) == 1
        assert path.exists()
        assert read_records(str(path)) == [Record("a.jpg", "x")]
    except PermissionError:
        pytest.skip("only root may write there")
    finally:
        path.unlink(missing_ok=True)
        assert not Path(name).exists()
