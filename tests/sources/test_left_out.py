"""What lies among the shards and is not read is counted and named once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift import load_scorer
from pairsift.engines.local import score_shards
from pairsift.errors import PairsiftError
from pairsift.select import select
from pairsift.sources import find_shards, open_shard
from pairsift.writers import write_webdataset
from tests.samples import good_samples, jpeg, tar_bytes, write_tar


def notes(folder: Path, **options: str) -> str:
    return "\n".join(find_shards(str(folder), **options).notes)


def folder_of_images(folder: Path) -> Path:
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(jpeg(16, 16))
        (folder / f"{number}.txt").write_text("a dog")
    return folder


def test_nothing_to_tell(tmp_path: Path) -> None:
    assert notes(folder_of_images(tmp_path / "images")) == ""
    write_tar(tmp_path / "0.tar", good_samples(1))
    assert notes(tmp_path / "0.tar") == ""


def test_files_beside_images(tmp_path: Path) -> None:
    folder = folder_of_images(tmp_path / "images")
    for name in ("a.mp4", "b.mp4", "c.ZIP", "README", "d.npz", ".hidden"):
        (folder / name).write_bytes(b"x")
    told = notes(folder)
    for words in ("2 .mp4", "1 .zip", "1 without a suffix", "1 .npz", "1 hidden names",
                  "unpack archives that are not tars"):  # fmt: skip
        assert words in told
    assert told.count("\n") == 0


def test_a_pattern_of_any_depth_counts_each_file_once(tmp_path: Path) -> None:
    for folder in ("a", "a/b", "a/b/c"):
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "0.tar", good_samples(1))
        (tmp_path / folder / "x.zip").write_bytes(b"x")
        (tmp_path / folder / ".hidden").write_bytes(b"x")
    (told,) = find_shards(f"{tmp_path}/a/**").notes
    assert "3 .zip" in told
    assert "3 hidden names" in told


def test_formats_that_are_not_read_are_rows(tmp_path: Path) -> None:
    folder = folder_of_images(tmp_path / "images")
    (folder / "logo.svg").write_bytes(b"<svg/>")
    (folder / "photo.HEIC").write_bytes(b"x")
    (shard,) = find_shards(str(folder)).shards
    assert [pair.key for pair in open_shard(shard)] == ["0", "1", "2", "logo", "photo"]
    assert notes(folder) == ""


@pytest.mark.parametrize("target", ["..", ".", "elsewhere"])
def test_linked_folders(tmp_path: Path, target: str) -> None:
    folder = folder_of_images(tmp_path / "images")
    folder_of_images(folder / "elsewhere")
    (folder / "link").symlink_to(target)
    (shard,) = find_shards(str(folder)).shards
    assert len(list(open_shard(shard))) == 6
    assert f"1 links to folders ({folder}/link); linked folders are read where" in notes(folder)


def test_a_dangling_link_is_a_row(tmp_path: Path) -> None:
    folder = folder_of_images(tmp_path / "images")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (shard,) = find_shards(str(folder)).shards
    faults = {pair.key: pair.fault for pair in open_shard(shard)}
    assert str(faults["gone"]).count("image_missing") == 1


def test_beside_tars(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for number in range(2):
        write_tar(pool / f"0000{number}.tar", good_samples(1, f"k{number}"))
        (pool / f"0000{number}.parquet").write_bytes(b"x")
        (pool / f"0000{number}_stats.json").write_text("{}")
    assert notes(pool) == ""
    (pool / "a.zip").write_bytes(b"x")
    (pool / "sub").mkdir()
    (pool / "sub" / "b.jpg").write_bytes(jpeg(16, 16))
    assert "1 .zip" in notes(pool, kind="webdataset")
    assert "1 .jpg" in notes(pool, kind="webdataset")
    (pool / "notes.json").write_text("{}")
    assert "3 .json" in "".join(find_shards(f"{pool}/*[rn]").notes)  # .tar and .json


def test_archives_alone_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"x")
    with pytest.raises(PairsiftError, match="1 files, none of them .* unpack archives"):
        find_shards(str(tmp_path))


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("tar.xz", "xz"), ("txz", "xz"), ("tar.bz2", "bz2"), ("tbz2", "bz2"), ("tar", "xz"),
     ("tar", "bz2"), ("tar", "gz"), ("tar.gz", "bz2"), ("tar.zst", "zst"), ("tar", "zst")],
)  # fmt: skip
def test_packed_tars(tmp_path: Path, suffix: str, mode: str) -> None:
    members = [
        (f"{key}.{end}", content)
        for key, parts in good_samples(3).items()
        for end, content in parts.items()
    ]
    if mode == "zst":
        zstandard = pytest.importorskip("zstandard")
        data = zstandard.ZstdCompressor().compress(tar_bytes(members))
    else:
        data = tar_bytes(members, mode)
    path = tmp_path / f"pack.{suffix}"
    path.write_bytes(data)
    (shard,) = find_shards(str(tmp_path)).shards
    assert shard.name == "pack"
    pairs = list(open_shard(shard))
    assert [pair.fault for pair in pairs] == [None] * 3
    # Damage is told.
    path.write_bytes(data[: len(data) * 2 // 3])
    assert trouble_of(path)


def trouble_of(path: Path) -> str | None:
    reader = open_shard(find_shards(str(path)).shards[0])
    try:
        assert len(list(reader)) <= 3
    except PairsiftError as error:
        return str(error)
    return reader.problem


@pytest.mark.parametrize("pattern", ["", "/*"])
def test_our_own_files_beside_the_output_that_is_named(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool" / "0.tar", good_samples(2))
    score_shards(
        find_shards(str(tmp_path / "pool")), load_scorer("heuristics"), str(tmp_path / "scores"),
        workers=0,
    )  # fmt: skip
    out = tmp_path / "out"
    write_webdataset(select(str(tmp_path / "scores"), out=tmp_path / "kept"), out)
    assert {path.name for path in out.iterdir()} == {
        "00000000.tar", "sizes.json", "_pairsift.manifest",
    }  # fmt: skip
    assert notes(Path(f"{out}{pattern}")) == ""
    (out / "other.json").write_text("{}")
    assert "1 .json" in notes(Path(f"{out}{pattern}"))
