"""From patterns to shards: names, roots, kinds, and errors that say what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from pairsift.errors import PairsiftError
from pairsift.sources import ShardSet, discover, files, find_shards, open_shard
from tests.samples import good_samples, jpeg, tar_bytes, write_tar


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    def touch(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return tmp_path

    return touch


def names(shards: ShardSet) -> list[str]:
    return [shard.name for shard in shards.shards]


def complaint(patterns: object, kind: str | None = None, **options: object) -> str:
    with pytest.raises(PairsiftError) as caught:
        find_shards(patterns, kind, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_single_file(touch: Callable[..., Path]) -> None:
    root = touch("a/00000.tar")
    found = find_shards(str(root / "a" / "00000.tar"))
    assert found.root == str(root / "a")
    (shard,) = found.shards
    assert (shard.name, shard.kind, shard.size) == ("00000", "webdataset", 1)
    assert shard.url == str(root / "a" / "00000.tar")


@pytest.mark.parametrize(
    "pattern",
    ["pool/{00000..00002}.tar", "pool/*.tar", "pool", "pool/", "pool/0000[0-2].tar", "./pool",
     "pool/{00000,00001,00002}.tar", "pool/0000{0..1}.tar pool/00002.tar pool/00001.tar"],
)  # fmt: skip
def test_patterns_agree(
    touch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    root = touch(*(f"pool/{index:05d}.tar" for index in range(3)), "pool/sizes.json")
    monkeypatch.chdir(root)
    found = find_shards(pattern.split())
    assert names(found) == ["00000", "00001", "00002"]
    assert found.root == str(root / "pool"), "the root must not depend on which shards exist"


def test_names_below_the_root(touch: Callable[..., Path]) -> None:
    root = touch("en/a.tar", "de/x/a.tar.gz", "de/10.tgz", "de/9.tar", ".cache/no.tar", "de/.b.tar")
    found = find_shards(str(root))
    assert found.root == str(root)
    assert names(found) == ["de__9", "de__10", "de__x__a", "en__a"]
    assert found.root == find_shards([str(root / "de"), str(root / "en")]).root


def test_folder_above_patterns_is_the_root(touch: Callable[..., Path]) -> None:
    root = touch("p/en/1.tar", "p/de/1.tar")
    found = find_shards(str(root / "p" / "{en,de}" / "*.tar"))
    assert (found.root, names(found)) == (str(root / "p"), ["de__1", "en__1"])


def test_img2dataset_metadata_is_left_out(touch: Callable[..., Path]) -> None:
    root = touch("00000.tar", "00000.parquet", "00000_stats.json", "00001.tar", "00001.parquet")
    assert {shard.kind for shard in find_shards(str(root)).shards} == {"webdataset"}
    assert {shard.kind for shard in find_shards(str(root), "parquet").shards} == {"parquet"}


def test_img2dataset_files_are_one_folder(touch: Callable[..., Path]) -> None:
    root = touch("00000/0001.jpg", "00000/0001.txt", "00000.parquet", "00000_stats.json")
    assert {shard.kind for shard in find_shards(str(root)).shards} == {"folder"}
    (root / "00000_stats.json").unlink()  # another table, which may hold the pairs
    assert "more than one kind" in complaint(str(root))


def test_tfrecord_is_refused(touch: Callable[..., Path]) -> None:
    root = touch("00000.tfrecord", "00000.parquet", "00000_stats.json")
    for given in (root, root / "00000.tfrecord"):
        assert "TFRecord files cannot be read" in complaint(str(given))


def test_kind_can_be_given(touch: Callable[..., Path]) -> None:
    root = touch("part-0.snappy")
    assert "does not identify the format" in complaint(str(root / "part-0.snappy"))
    (shard,) = find_shards(str(root / "part-0.snappy"), "parquet").shards
    assert (shard.name, shard.kind) == ("part-0", "parquet")


def test_literal_names_win_over_wildcards(touch: Callable[..., Path]) -> None:
    root = touch("odd [1] {a,b}.tar")
    (shard,) = find_shards(str(root / "odd [1] {a,b}.tar")).shards
    assert shard.name == "odd [1] {a,b}"


def test_folder_of_images_is_one_shard(touch: Callable[..., Path]) -> None:
    root = touch("photos/a.jpg", "photos/a.txt", "photos/sub/b.PNG")
    found = find_shards(str(root / "photos"))
    assert (found.root, names(found)) == (str(root), ["photos"])
    assert found.shards[0].kind == "folder"


def test_captions_file_stands_for_its_folder(touch: Callable[..., Path]) -> None:
    root = touch("photos/test.csv", "photos/dev.csv", "photos/a.jpg")
    found = find_shards([str(root / "photos" / "test.csv"), str(root / "photos" / "dev.csv")])
    assert found.root == str(root)
    assert names(found) == ["photos__dev", "photos__test"]
    assert dict(found.shards[0].options) == {"captions_file": "dev.csv"}


class TestComplaints:
    def test_nothing_there(self, tmp_path: Path) -> None:
        assert "does not exist" in complaint(str(tmp_path / "missing.tar"))
        assert "no file matches" in complaint(str(tmp_path / "*.tar"))
        assert "is empty" in complaint(str(tmp_path))
        assert "no shards given" in complaint([])

    def test_brace_list_with_gaps(self, touch: Callable[..., Path]) -> None:
        root = touch("0.tar", "2.tar")
        message = complaint(str(root / "{0..4}.tar"))
        assert f"{root}/1.tar and 2 more does not exist" in message

    def test_folder_of_other_things(self, touch: Callable[..., Path]) -> None:
        assert "2 files, none of them" in complaint(str(touch("a.json", "b.zip")))

    def test_mixed_kinds(self, touch: Callable[..., Path]) -> None:
        root = touch("a.tar", "b.parquet")
        assert "more than one kind" in complaint(str(root))
        message = complaint([str(root / "a.tar"), str(root / "b.parquet")])
        assert "more than one kind" in message
        assert "parquet, webdataset" in message

    def test_same_name_twice(self, touch: Callable[..., Path]) -> None:
        root = touch("a.tar", "a.tar.gz", "b/c.tar", "b__c.tar")
        assert "would both be named 'a'" in complaint([str(root / "a.tar"), str(root / "a.tar.gz")])
        assert "would both be named" in complaint([str(root / "b"), str(root / "b__c.tar")])

    def test_unknown_kind_and_option(self, touch: Callable[..., Path]) -> None:
        root = str(touch("a.tar"))
        assert "choose from webdataset, parquet, arrow, lance, folder" in complaint(root, "tars")
        assert "'captoin' cannot be used with a webdataset source" in complaint(root, captoin="txt")

    def test_bad_brace_list(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "not a valid brace list" in complaint(str(tmp_path / "{0..3.tar"))
        assert "more than 10,000,000" in complaint(str(tmp_path / "{0..99999999999}.tar"))
        monkeypatch.setattr(discover, "MAX_EXPANSION", 1000)
        assert "more than 1,000 names" in complaint(str(tmp_path / "{0..99}{0..99}.tar"))

    def test_unknown_protocol(self) -> None:
        assert "cannot open nosuch://bucket" in complaint("nosuch://bucket/a.tar")

    def test_nothing_in_common(self, touch: Callable[..., Path]) -> None:
        root = touch("a.tar")
        fsspec.filesystem("memory").pipe_file("/mem/b.tar", b"x")
        message = complaint([str(root / "a.tar"), "memory://mem/b.tar"])
        assert "not in a common folder" in message


class TestRemote:
    @pytest.fixture(autouse=True)
    def _pool(self) -> None:
        memory = fsspec.filesystem("memory")
        if memory.exists("/pool"):
            memory.rm("/pool", recursive=True)
        for index in range(12):
            samples = good_samples(2, f"s{index}-")
            members = [
                (f"{key}.{s}", c) for key, parts in samples.items() for s, c in parts.items()
            ]
            memory.pipe_file(f"/pool/sub/{index}.tar", tar_bytes(members))

    @pytest.mark.parametrize(
        "pattern",
        ["memory://pool/sub", "memory://pool/sub/", "memory://pool/sub/*.tar",
         "memory://pool/sub/{0..11}.tar"],
    )  # fmt: skip
    def test_patterns_agree(self, pattern: str) -> None:
        found = find_shards(pattern)
        assert found.root == "memory:///pool/sub"
        assert names(found) == [str(index) for index in range(12)]
        assert found.shards[10].url == "memory:///pool/sub/10.tar"
        pairs = list(open_shard(found.shards[10]))
        assert [pair.key for pair in pairs] == ["s10-0000", "s10-0001"]
        assert all(pair.fault is None for pair in pairs)

    def test_missing(self) -> None:
        assert "memory:///pool/sub/12.tar does not exist" in complaint(
            "memory://pool/sub/{0..12}.tar"
        )
        assert "no file matches" in complaint("memory://pool/*.tar")

    def test_one_listing_for_a_brace_list(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[str] = []
        listing = files.list_folder
        monkeypatch.setattr(files, "list_folder", lambda url: calls.append(url) or listing(url))
        memory = type(fsspec.filesystem("memory"))
        monkeypatch.setattr(memory, "info", lambda *_: pytest.fail("a call for a single file"))
        assert len(find_shards("memory://pool/sub/{0..11}.tar").shards) == 12
        assert calls == ["memory:///pool/sub"]


def test_dangling_link_is_told_when_opened(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"k": {"jpg": jpeg(8, 8), "txt": "x"}})
    os.symlink(tmp_path / "gone.tar", tmp_path / "b.tar")
    _, dangling = find_shards(str(tmp_path)).shards
    with pytest.raises(PairsiftError, match=r"b\.tar does not exist"):
        list(open_shard(dangling))


def test_import_is_light() -> None:
    code = "import sys, pairsift.sources; print({'pyarrow', 'torch', 'PIL'} & sys.modules.keys())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def only_version(pattern: str) -> str:
    (shard,) = find_shards(pattern).shards
    assert shard.version is not None
    return shard.version


def test_version_changes_when_a_shard_is_written_again_however_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pool" / "0.tar"
    path.parent.mkdir()
    write_tar(path, good_samples(2))
    patterns = [
        str(path),
        str(path.parent),
        f"{path.parent}/*.tar",
        f"{path.parent}/{{0..0}}.tar",
        f"file://{path}",
    ]
    before = {only_version(pattern) for pattern in patterns}
    assert len(before) == 1
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[::-1])
    after = {only_version(pattern) for pattern in patterns}
    assert len(after) == 1
    assert path.stat().st_size == size
    assert before != after


@pytest.mark.parametrize("name", ["b.jpg", "b.txt", "captions.csv", "sub/c.PNG"])
def test_version_of_a_folder_changes_with_what_its_pairs_are_made_of(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "images"
    for made in ("a.jpg", "b.jpg", "b.txt", "captions.csv", "sub/c.PNG"):
        (folder / made).parent.mkdir(parents=True, exist_ok=True)
        (folder / made).write_bytes(jpeg())
    before = {pattern: only_version(pattern) for pattern in (str(folder), f"{folder}/captions.csv")}
    (folder / "README.md").write_text("this is no pair")
    (folder / "scores").mkdir()
    (folder / "scores" / "_run.json").write_text("neither is this")
    assert {pattern: only_version(pattern) for pattern in before} == before
    (folder / name).write_bytes(jpeg() + b"!")
    after = {pattern: only_version(pattern) for pattern in before}
    assert all(after[pattern] != before[pattern] for pattern in before)


def test_version_behind_a_url_is_what_the_store_tells(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    try:
        memory.pipe_file("/versions/0.tar", tar_bytes([("a.txt", "x")]))
        before = only_version("memory://versions/0.tar")
        assert (
            before == only_version("memory://versions/*.tar") == only_version("memory://versions")
        )
        memory.pipe_file("/versions/0.tar", tar_bytes([("a.txt", "x")]))
        assert only_version("memory://versions/0.tar") != before
    finally:
        memory.rm("/versions", recursive=True)


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"ETag": '"abc"', "LastModified": "today"}, "ETag abc"),  # S3
        ({"etag": "x", "generation": 5}, "etag x"),  # Google's
        ({"mtime": 12.5, "created": 3}, "mtime 12.5"),  # a file system behind a network
        ({"ETag": None, "LastModified": "today"}, "LastModified today"),
        ({"size": 4}, None),  # HTTP
    ],
)
def test_the_surest_thing_a_listing_tells_is_the_version(
    info: dict[str, object], version: str | None
) -> None:
    assert files.remote_entry("s3://b/x", info).version == version


def test_look_up_tells_what_is_there_now(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    assert files.look_up(str(path)) is None
    path.write_bytes(b"abc")
    entry = files.look_up(str(path))
    assert entry is not None
    assert (entry.size, entry.is_folder) == (3, False)
    assert entry.version == f"mtime {path.stat().st_mtime_ns}"
    folder = files.look_up(str(tmp_path))
    assert folder is not None
    assert folder.is_folder
    assert files.look_up("memory://no/such.tar") is None
