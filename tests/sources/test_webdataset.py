"""Webdataset tars: grouping, what counts as image, caption and uid, limits, damage."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import random
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pairsift.captions import MAX_CAPTION_BYTES
from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.sources import ShardReader, find_shards, open_shard
from pairsift.sources.tar_stream import MAX_HEADER_BYTES
from pairsift.sources.webdataset import MAX_JSON_BYTES
from tests.samples import good_samples, jpeg, tar_bytes, write_tar

UID = "0123456789abcdef0123456789abcdef"


def read(data: bytes, folder: Path, name: str = "s.tar", **options: object) -> ShardReader:
    path = folder / name
    path.write_bytes(data)
    (shard,) = find_shards(str(path), **options).shards
    return open_shard(shard)


def pairs_of(
    members: Iterable[tuple[str, bytes | str]], folder: Path, **options: object
) -> list[Pair]:
    return list(read(tar_bytes(members), folder, **options))


def statuses(pairs: Iterable[Pair]) -> list[Status | None]:
    return [pair.fault.status if pair.fault else None for pair in pairs]


class TestGrouping:
    def test_key_ends_at_the_first_dot_of_the_base_name(self, tmp_path: Path) -> None:
        pairs = pairs_of(
            [
                ("a.b/c.jpg", b"1"),
                ("a.b/c.txt", "one"),
                ("d/e.jpg", b"2"),
                ("d/e.seg.png", b"not the image"),
                ("d/e.txt", "two"),
                ("e.txt", "three"),
            ],
            tmp_path,
        )
        assert [(pair.key, pair.image, pair.caption) for pair in pairs] == [
            ("a.b/c", b"1", "one"),
            ("d/e", b"2", "two"),
            ("e", None, "three"),
        ]
        assert {pair.shard for pair in pairs} == {"s"}

    @pytest.mark.slow
    def test_agrees_with_the_webdataset_library(self, tmp_path: Path) -> None:
        wds = pytest.importorskip("webdataset")
        members: list[tuple[str, bytes | str]] = []
        draw = random.Random(0)
        for index in range(60):
            folder = draw.choice(["", "x/", "x.y/", "./", "/abs/", "../up/"])
            suffixes = draw.sample(["jpg", "txt", "json", "seg.png", "CLS", "npz"], 4)
            members += [(f"{folder}{index:03d}.{suffix}", b"{}") for suffix in suffixes]
            members += [(draw.choice(["README", ".hidden", "x/README"]), b"")]
        ours = [pair.key for pair in pairs_of(members, tmp_path)]
        theirs = [
            sample["__key__"] for sample in wds.WebDataset(str(tmp_path / "s.tar"), shardshuffle=0)
        ]
        assert ours == theirs

    def test_names_without_key_are_no_samples(self, tmp_path: Path) -> None:
        members = [("README", "x"), (".hidden", "x"), ("d/.x.jpg", "x"), ("a.jpg", b"1")]
        assert [pair.key for pair in pairs_of(members, tmp_path)] == ["a"]

    def test_suffixes_in_capitals(self, tmp_path: Path) -> None:
        (pair,) = pairs_of([("a.JPG", b"1"), ("a.TXT", "one"), ("a.JSON", "{}")], tmp_path)
        assert (pair.image, pair.caption) == (b"1", "one")

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_preferred_image(self, tmp_path: Path, order: tuple[int, int]) -> None:
        images = [("a.jpg", b"jpg"), ("a.webp", b"webp")]
        (pair,) = pairs_of([*(images[index] for index in order), ("a.txt", "x")], tmp_path)
        assert pair.image == b"jpg"

    def test_duplicate_keys(self, tmp_path: Path) -> None:
        pairs = pairs_of(
            [
                ("a.jpg", b"1"), ("a.txt", "one"),
                ("b.jpg", b"2"), ("b.txt", "two"),
                ("a.jpg", b"3"), ("a.txt", "three"),
                ("c.jpg", b"4"), ("c.txt", "four"), ("c.jpg", b"5"), ("c.txt", "five"),
            ],
            tmp_path,
        )  # fmt: skip
        assert [pair.key for pair in pairs] == ["a", "b", "a", "c", "c"]
        duplicate = Status.DUPLICATE_KEY
        assert statuses(pairs) == [None, None, duplicate, None, duplicate]
        assert pairs[3].caption == "four"

    def test_links_devices_and_hostile_names(self, tmp_path: Path) -> None:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name, kind in [("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.LNKTYPE),
                               ("c.jpg", tarfile.CHRTYPE), ("d.jpg", tarfile.DIRTYPE),
                               ("e.jpg", tarfile.FIFOTYPE)]:  # fmt: skip
                header = tarfile.TarInfo(name)
                header.type, header.linkname = kind, "/etc/passwd"
                tar.addfile(header)
            for name in ("../../up.txt", "/etc/abs.txt", "caf\udce9.txt"):
                header = tarfile.TarInfo(name)
                header.size = 1
                tar.addfile(header, io.BytesIO(b"x"))
        before = set(tmp_path.parent.rglob("*"))
        pairs = list(read(file.getvalue(), tmp_path))
        assert [pair.key for pair in pairs] == ["../../up", "/etc/abs", r"caf\xe9"]
        assert set(tmp_path.parent.rglob("*")) - before == {tmp_path / "s.tar"}


class TestJson:
    def test_uid_metadata_and_caption(self, tmp_path: Path) -> None:
        content = json.dumps({"uid": UID, "caption": "from json", "url": "u"})
        first, second = pairs_of(
            [("a.jpg", b"1"), ("a.json", content), ("b.json", content), ("b.txt", "from txt")],
            tmp_path,
        )
        assert (first.uid, first.caption, first.metadata["url"]) == (UID, "from json", "u")
        assert second.caption == "from txt"

    @pytest.mark.parametrize("uid", ['"123"', "17", "null", f'"{UID}0"', '"' + "g" * 32 + '"'])
    def test_other_uids_are_none(self, tmp_path: Path, uid: str) -> None:
        (pair,) = pairs_of([("a.txt", "x"), ("a.json", f'{{"uid": {uid}}}')], tmp_path)
        assert pair.uid is None

    @pytest.mark.parametrize(
        "content", [b"{", b"", b"[1]", b"\xff", b"[" * 100_000, b"9" * 5000, b'"text"']
    )
    def test_malformed(self, tmp_path: Path, content: bytes) -> None:
        members = [("a.jpg", b"1"), ("a.json", content), ("a.txt", "x"), ("b.json", content)]
        reader = read(tar_bytes(members), tmp_path)
        first, second = reader
        assert (first.fault, first.caption, first.metadata) == (None, "x", {})
        assert second.fault is not None
        assert second.fault.status is Status.CAPTION_MISSING
        assert "json" in second.fault.error
        assert reader.notes == {"json members that could not be used": 2}

    def test_caption_that_is_no_text(self, tmp_path: Path) -> None:
        (pair,) = pairs_of([("a.json", '{"caption": ["x"]}')], tmp_path)
        assert statuses([pair]) == [Status.CAPTION_MISSING]

    def test_caption_option(self, tmp_path: Path) -> None:
        content = '{"caption": "alt", "re": "synthetic"}'
        members = [("a.txt", "alt"), ("a.json", content), ("a.cap", "other"), ("b.json", content)]
        assert [p.caption for p in pairs_of(members, tmp_path)] == ["alt", "alt"]
        assert [p.caption for p in pairs_of(members, tmp_path, caption="cap")] == ["other", None]
        by_field = pairs_of(members, tmp_path, caption="json.re")
        assert [p.caption for p in by_field] == ["synthetic", "synthetic"]


class TestLimits:
    def test_oversized_members_are_skipped(self, tmp_path: Path) -> None:
        pairs = pairs_of(
            [
                ("a.jpg", bytes(2000)), ("a.txt", "x"),
                ("b.jpg", bytes(1000)), ("b.txt", bytes(MAX_CAPTION_BYTES + 1)),
                ("c.txt", "x"), ("c.json", bytes(MAX_JSON_BYTES + 1)),
                ("d.json", bytes(MAX_JSON_BYTES + 1)), ("d.npz", bytes(5_000_000)),
                ("e.jpg", bytes(1000)), ("e.txt", "x"),
            ],
            tmp_path,
            max_image_bytes=1000,
        )  # fmt: skip
        assert statuses(pairs) == [
            Status.IMAGE_TOO_LARGE,
            Status.CAPTION_TOO_LARGE,
            None,
            Status.IMAGE_MISSING,
            None,
        ]
        assert pairs[0].image is None
        assert pairs[0].caption == "x"

    def test_png_takes_the_place_of_nothing_better(self, tmp_path: Path) -> None:
        members = [("a.png", b"small"), ("a.jpg", bytes(2000)), ("a.txt", "x")]
        (pair,) = pairs_of(members, tmp_path, max_image_bytes=1000)
        assert statuses([pair]) == [Status.IMAGE_TOO_LARGE]


def shard_of_five(folder: Path, compression: str = "") -> bytes:
    path = write_tar(folder / ("whole.tar" + compression), good_samples(5))
    return path.read_bytes()


class TestDamage:
    def test_gzip(self, tmp_path: Path) -> None:
        reader = read(shard_of_five(tmp_path, ".gz"), tmp_path, "s.tar.gz")
        assert [pair.fault for pair in reader] == [None] * 5
        assert reader.problem is None

    def test_every_cut(self, tmp_path: Path) -> None:
        """Wherever it is cut: whole samples are given, at most one row is truncated."""
        data = tar_bytes(
            (f"{key}.{suffix}", content)
            for key in "abc"
            for suffix, content in (("jpg", bytes(700)), ("json", "{}"), ("txt", "x"))
        )
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            ends = [m.offset_data + m.size for m in tar if m.name.endswith("txt")]
            starts = [m.offset_data for m in tar if m.name.endswith("jpg")]
        for cut in range(600, len(data), 171):
            reader = read(data[:cut], tmp_path)
            pairs = list(reader)
            whole = [pair for pair in pairs if pair.fault is None]
            assert [pair.key for pair in whole] == list("abc")[: sum(end <= cut for end in ends)]
            truncated = [pair for pair in pairs if pair.fault is not None]
            assert set(statuses(truncated)) <= {Status.SHARD_TRUNCATED}
            assert len(pairs) == sum(start <= cut for start in starts)
            assert (reader.problem is None) == (cut >= ends[-1] + 512 + 512)

    @pytest.mark.parametrize(
        "behind",
        [
            tar_bytes([("b.jpg", b"2"), ("b.txt", "two")]),  # joined with cat
            bytes(200_000) + tar_bytes([("b.jpg", b"2")]),
            b"garbage",
            b"\0" * 700 + b"x",
        ],
    )
    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_what_follows_the_end_is_told(
        self, tmp_path: Path, behind: bytes, pack: Callable[[bytes], bytes]
    ) -> None:
        data = tar_bytes([("a.jpg", b"1"), ("a.txt", "one"), ("c.jpg", b"3")])
        reader = read(pack(data + behind), tmp_path)
        assert [(pair.key, pair.caption, pair.fault) for pair in reader] == [
            ("a", "one", None),
            ("c", None, None),
        ]
        start = len(data + behind) - len((data + behind)[len(data) :].lstrip(b"\0"))
        assert f"follows the end of the archive, from byte {start:,} on" in str(reader.problem)

    @pytest.mark.parametrize("padding", [0, 512, 1_000_001])
    def test_padding_behind_the_end_is_none(self, tmp_path: Path, padding: int) -> None:
        data = tar_bytes([("a.jpg", b"1"), ("a.txt", "one")])
        reader = read(data + bytes(padding), tmp_path)
        assert len(list(reader)) == 1
        assert reader.problem is None

    @pytest.mark.parametrize("share", [0.3, 0.9])
    def test_cut_gzip(self, tmp_path: Path, share: float) -> None:
        data = shard_of_five(tmp_path, ".gz")
        reader = read(data[: int(share * len(data))], tmp_path, "s.tar.gz")
        pairs = list(reader)
        assert len(pairs) >= int(4 * share)
        assert all(pair.fault is None for pair in pairs[:-1])
        assert reader.problem is not None
        assert "gzip" in reader.problem

    def test_garbage_in_the_middle(self, tmp_path: Path) -> None:
        data = bytearray(shard_of_five(tmp_path))
        with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
            header = tar.getmember("good0003.jpg").offset
        data[header : header + 512] = bytes(range(256)) * 2
        reader = read(bytes(data), tmp_path)
        assert [pair.key for pair in reader] == ["good0000", "good0001", "good0002"]
        assert reader.problem == f"no readable header at byte {header:,}: invalid header"

    @pytest.mark.parametrize(
        "data",
        [b"", b"x", b"<html>" * 200, jpeg(), b"PK\3\4" + bytes(1000), gzip.compress(b"x")],
        ids=["empty", "short", "html", "jpeg", "zip", "gzip"],
    )
    def test_not_a_tar(self, tmp_path: Path, data: bytes) -> None:
        with pytest.raises(PairsiftError, match=r"s\.tar is not a tar"):
            list(read(data, tmp_path))

    def test_missing(self, tmp_path: Path) -> None:
        reader = read(shard_of_five(tmp_path), tmp_path)
        (tmp_path / "s.tar").unlink()
        with pytest.raises(PairsiftError, match=r"s\.tar does not exist"):
            list(reader)

    def test_empty_archive_has_no_samples(self, tmp_path: Path) -> None:
        reader = read(tar_bytes([]), tmp_path)
        assert list(reader) == []
        assert reader.problem is None

    def test_storage_errors_are_not_taken_for_damage(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Failing(io.FileIO):
            def readinto(self, buffer: object) -> int:
                if self.tell() > 100_000:
                    raise OSError(5, "Input/output error")
                return super().readinto(buffer)  # type: ignore[arg-type]

        write_tar(tmp_path / "s.tar", good_samples(20))
        reader = read((tmp_path / "s.tar").read_bytes(), tmp_path)
        monkeypatch.setattr("pairsift.sources.webdataset.open_file", lambda url: Failing(url, "rb"))
        with pytest.raises(OSError, match="Input/output error"):
            list(reader)

    def test_can_be_read_again(self, tmp_path: Path) -> None:
        reader = read(shard_of_five(tmp_path)[:30_000], tmp_path)
        assert [pair.key for pair in reader] == [pair.key for pair in reader]


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar header with any size, a negative one included, and a right checksum."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    if 0 <= size < 8**11:
        block[124:136] = b"%011o\0" % size
    else:
        block[124:136] = b"\xff" * 4 + size.to_bytes(8, "big", signed=True) if size < 0 else (
            b"\x80\0\0\0" + size.to_bytes(8, "big")
        )  # fmt: skip
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


class TestHostileHeaders:
    good = tar_bytes([("good.jpg", b"1"), ("good.txt", "x")])[:2048]

    @pytest.mark.parametrize("suffix", ["jpg", "txt", "json", "npz"])
    def test_absurd_size(self, tmp_path: Path, suffix: str) -> None:
        reader = read(self.good + header(f"bad.{suffix}", 2**62) + bytes(4096), tmp_path)
        pairs = list(reader)
        assert (pairs[0].key, pairs[0].fault) == ("good", None)
        assert statuses(pairs[1:]) == [Status.SHARD_TRUNCATED]
        assert "cut off" in str(reader.problem)

    def test_negative_size(self, tmp_path: Path) -> None:
        reader = read(self.good + header("bad.jpg", -1024) + bytes(4096), tmp_path)
        assert [pair.key for pair in reader] == ["good"]
        assert reader.problem is not None

    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
    def test_huge_extended_header(self, tmp_path: Path, kind: bytes) -> None:
        bomb = gzip.compress(self.good + header("x", 200 * MAX_HEADER_BYTES, kind) + bytes(10**7))
        reader = read(bomb, tmp_path, "s.tar.gz")
        assert [pair.key for pair in reader] == ["good"]
        assert f"a header of more than {MAX_HEADER_BYTES:,} bytes" in str(reader.problem)

    def test_chain_of_extended_headers(self, tmp_path: Path) -> None:
        chain = (header("x", 20, tarfile.XHDTYPE) + b"20 comment=xxxxxxxx\n".ljust(512)) * 3000
        reader = read(self.good + chain + self.good, tmp_path)
        assert next(iter(reader)).key == "good"
        assert len(list(reader)) == 1
        assert reader.problem is not None

    def test_sparse_member_of_an_exabyte(self, tmp_path: Path) -> None:
        sparse = bytearray(header("bad.jpg", 0, tarfile.GNUTYPE_SPARSE))
        sparse[257:265] = b"ustar  \0"
        sparse[483:495] = b"\x80\0\0\0" + (2**60).to_bytes(8, "big")
        sparse[148:156] = b" " * 8
        sparse[148:156] = b"%06o\0 " % sum(sparse)
        reader = read(bytes(sparse) + self.good + bytes(1024), tmp_path)
        assert [pair.key for pair in reader] == ["good"]

    @pytest.mark.parametrize(
        "record",
        [b"size=-512", b"size=99999999999999999999", b"GNU.sparse.map=1,x", b"path=\xff\xfe.jpg",
         b"GNU.sparse.major=1\n20 GNU.sparse.minor=0", b"hdrcharset=\xff", b"mtime=nan"],
    )  # fmt: skip
    def test_extended_header_fields(self, tmp_path: Path, record: bytes) -> None:
        body = b"%d %s\n" % (len(record) + 4, record)
        block = header("x", len(body), tarfile.XHDTYPE) + body.ljust(512, b"\0")
        reader = read(self.good + block + header("bad.jpg", 1) + bytes(512 * 20), tmp_path)
        pairs = list(reader)
        assert (pairs[0].key, pairs[0].fault) == ("good", None)
        for pair in pairs:
            pair.key.encode()


def sample_members(count: int, **suffixes: bytes | str) -> list[tuple[str, bytes | str]]:
    """Members of so many samples, dots in their suffixes written as two underscores."""
    return [
        (f"s{index}.{suffix.replace('__', '.')}", content)
        for index in range(count)
        for suffix, content in suffixes.items()
    ]


class TestNamedMembers:
    @pytest.mark.parametrize(
        ("image", "caption", "suffixes"),
        [
            ("input.jpg", "outputs.txt", {"input__jpg": b"1", "outputs__txt": "one"}),
            (".input.jpg", ".outputs.txt", {"INPUT__JPG": b"1", "Outputs__txt": "one"}),
            ("img", "cap", {"cap": "one", "img": b"1"}),
            ("0.jpg", "txt", {"0__jpg": b"1", "1__jpg": b"2", "txt": "one"}),
            ("png", "meta.json.text.en", {"jpg": b"2", "png": b"1",
                                          "meta__json": '{"text": {"en": "one"}}'}),
        ],
    )  # fmt: skip
    def test_by_options(
        self, tmp_path: Path, image: str, caption: str, suffixes: dict[str, bytes | str]
    ) -> None:
        members = sample_members(3, **suffixes)
        reader = read(tar_bytes(members), tmp_path, image=image, caption=caption)
        assert [(pair.image, pair.caption, pair.fault) for pair in reader] == [
            (b"1", "one", None)
        ] * 3
        assert reader.problem is None

    @pytest.mark.parametrize(
        ("path", "content"),
        [
            ("json.a.b", {"a": {"b": "one"}}),
            ("json.captions.0", {"captions": ["one", "two"]}),
            ("json.captions.-1", {"captions": ["two", "one"]}),
            ("json.conversations.1.value", {"conversations": [{"value": "q"}, {"value": "one"}]}),
            ("json.a.b", {"a.b": "one", "a": {"b": "two"}}),
            ('json."a.b".c', {"a.b": {"c": "one"}}),
            ("json.alt text", {"alt text": "one"}),
            ("JSON.Alt", {"alt": "two", "Alt": "one"}),
            (".json.caption", {"caption": "one"}),
        ],
    )
    def test_paths_into_json(self, tmp_path: Path, path: str, content: object) -> None:
        members = sample_members(1, jpg=b"1", txt="other", json=json.dumps(content))
        (pair,) = pairs_of(members, tmp_path, caption=path)
        assert (pair.caption, pair.fault) == ("one", None)

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("json.captoin", "no field 'captoin'; there are caption, list, nested"),
            ("json.nested.x", "no field 'x' in nested; there are de, en"),
            ("json.nested", "nested is an object with the fields de, en; choose one text in it: "
                            "--caption-field json.nested.de"),
            ("json.list", "list is a list of 1; choose one text in it: --caption-field json.list"),
            ("json.list.3", "list is a list of 1, with no item 3"),
            ("json.list.first", "list is a list: give a number"),
            ("json.caption.en", "caption is text, which has no fields"),
        ],
    )  # fmt: skip
    def test_wrong_paths_say_what_is_there(self, tmp_path: Path, path: str, words: str) -> None:
        content = {"caption": "one", "list": ["a"], "nested": {"de": "ein", "en": "a"}}
        reader = read(
            tar_bytes(sample_members(3, jpg=b"1", json=json.dumps(content))),
            tmp_path,
            caption=path,
        )
        pairs = list(reader)
        assert statuses(pairs) == [Status.CAPTION_MISSING] * 3
        assert words in str(pairs[0].fault)
        assert "all 3 samples have no caption" in str(reader.problem)
        assert words in str(reader.problem)

    def test_image_out_of_json_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(PairsiftError, match="a separate member"):
            read(tar_bytes([("a.json", "{}")]), tmp_path, image="json.image")

    def test_json_without_a_field_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(PairsiftError, match="names no field; write for example json.caption"):
            read(tar_bytes([("a.json", "{}")]), tmp_path, caption="json.")


class TestDiagnosis:
    @pytest.mark.parametrize(
        ("suffixes", "words"),
        [
            ({"input__jpg": b"1", "outputs__txt": "x"},
             ["have no image", ".input.jpg (4)", "--image-field input.jpg",
              "have no caption", "--caption-field outputs.txt"]),
            ({"img": b"1", "txt": "x"}, ["have no image", ".img (4)", "--image-field img"]),
            ({"jpg": b"1", "cap": "x"}, ["have no caption", "--caption-field cap"]),
            ({"jpg": b"1", "npy": b"3", "caption": "x"}, ["--caption-field caption"]),
            ({"jpg": b"1", "json": '{"text": "x", "id": 3}'},
             ["have no caption", "no .txt member", "there are text, id",
              "--caption-field json.text"]),
            ({"jpg": b"1", "json": '{"id": "7", "meta": {"Captions": ["x"]}}'},
             ["have no caption", "--caption-field json.meta.Captions.0"]),
        ],
    )  # fmt: skip
    def test_unread_members_are_named(
        self, tmp_path: Path, suffixes: dict[str, bytes | str], words: list[str]
    ) -> None:
        reader = read(tar_bytes(sample_members(4, **suffixes)), tmp_path)
        assert all(pair.fault for pair in reader)
        for part in words:
            assert part in str(reader.problem)

    def test_few_failures_are_no_diagnosis(self, tmp_path: Path) -> None:
        members = [*sample_members(4, jpg=b"1", txt="x"), ("t.img", b"1"), ("t.txt", "x")]
        reader = read(tar_bytes(members), tmp_path)
        assert ".img, .txt" in str(list(reader)[-1].fault)
        assert reader.problem is None

    @pytest.mark.parametrize("seed", range(4))
    def test_members_that_lie_apart(self, tmp_path: Path, seed: int) -> None:
        members = sample_members(6, jpg=b"1", txt="x")
        if seed:
            random.Random(seed).shuffle(members)
        else:
            members.sort(key=lambda member: member[0].rpartition(".")[2])
        reader = read(tar_bytes(members), tmp_path)
        pairs = list(reader)
        names = [name.partition(".")[0] for name, _ in members]
        runs = 1 + sum(one != other for one, other in itertools.pairwise(names))
        assert len(pairs) == runs
        later = [
            pair for pair in pairs if pair.fault and "not next to each other" in pair.fault.error
        ]
        assert len(later) == runs - 6
        assert {pair.fault.status for pair in later if pair.fault} == {Status.DUPLICATE_KEY}
        assert f"{runs - 6} of {runs} samples" in str(reader.problem)
        assert "tar -C unpacked --sort=name -cf sorted.tar ." in str(reader.problem)

    def test_the_advice_sorts_the_tar(self, tmp_path: Path) -> None:
        members = sorted(
            sample_members(6, jpg=b"1", txt="x"), key=lambda member: member[0].rpartition(".")[2]
        )
        reader = read(tar_bytes(members), tmp_path)
        list(reader)
        command = str(reader.problem).partition("Sort it: ")[2]
        subprocess.run(command, shell=True, check=True, cwd=tmp_path)
        (shard,) = find_shards(str(tmp_path / "sorted.tar")).shards
        assert [pair.fault for pair in open_shard(shard)] == [None] * 6

    def test_tar_of_links_or_of_other_names(self, tmp_path: Path) -> None:
        reader = read(tar_bytes([("README", "x"), (".hidden", "x")]), tmp_path)
        assert list(reader) == []
        assert "it has no samples: none of 2 members" in str(reader.problem)
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                header = tarfile.TarInfo("a.jpg")
                header.type, header.linkname = kind, "b.jpg"
                tar.addfile(header)
        reader = read(file.getvalue(), tmp_path)
        assert list(reader) == []
        assert "left out: 2 links" in str(reader.problem)

    def test_what_lies_beside_samples_is_counted(self, tmp_path: Path) -> None:
        members = sample_members(2, jpg=b"1", txt="a")
        others = [("._0.jpg", "x"), ("sub/.x", "x"), ("README", "x")]
        file = io.BytesIO(tar_bytes([*members, *others]))
        with tarfile.open(fileobj=file, mode="a") as tar:
            header = tarfile.TarInfo("9.jpg")
            header.type, header.linkname = tarfile.SYMTYPE, "0.jpg"
            tar.addfile(header)
        reader = read(file.getvalue(), tmp_path)
        assert statuses(list(reader)) == [None, None]
        assert reader.problem == "left out: 2 hidden names, 1 names without a suffix, 1 links"

    @pytest.mark.parametrize("status", ["failed_to_download", "failed_to_resize", "failed"])
    def test_failures_that_the_source_declares(self, tmp_path: Path, status: str) -> None:
        content = json.dumps({"status": status, "error_message": "HTTP 404", "caption": "x"})
        reader = read(tar_bytes(sample_members(3, json=content)), tmp_path)
        pairs = list(reader)
        assert statuses(pairs) == [Status.SOURCE_FAILED] * 3
        assert "HTTP 404" in str(pairs[0].fault)
        assert reader.problem is None
