"""A thousand malformed samples of many kinds, the same ones every time.

Images that lie, burst or pretend; captions that are no text; archives that point elsewhere. Each
sample knows what may become of it: the statuses its row may have.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.samples import CAPTION, encode, picture

OK = "ok"
CORRUPT = "image_corrupt"
LARGE = "image_too_large"
UNSUPPORTED = "image_unsupported"


@dataclass(frozen=True)
class Hostile:
    """One sample.

    Attributes:
        members: suffix → content; a :class:`tarfile.TarInfo` stands for a member without content.
        statuses: what its row may say.
        key: in place of one made of kind and number.
    """

    members: Mapping[str, bytes | tarfile.TarInfo]
    statuses: frozenset[str]
    key: str | None = None


Kind = Callable[[random.Random], Hostile]
_KINDS: dict[str, tuple[int, Kind]] = {}


def _kind(count: int = 16) -> Callable[[Kind], Kind]:
    def enter(make: Kind) -> Kind:
        _KINDS[make.__name__.strip("_")] = count, make
        return make

    return enter


def _image(data: bytes, *statuses: str, suffix: str = "jpg") -> Hostile:
    return Hostile({suffix: data, "txt": CAPTION.encode()}, frozenset(statuses))


def _caption(status: str, **members: bytes) -> Hostile:
    return Hostile({"jpg": _small("JPEG")} | members, frozenset({status}))


def _small(format: str, seed: int = 0, **options: object) -> bytes:
    return encode(picture(40, 30, seed), format, **options)


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(1, int(0.9 * len(data)))]


def _patched(data: bytes, position: int, new: bytes) -> bytes:
    return data[:position] + new + data[position + len(new) :]


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def _png(width: int, height: int, pixels: bytes, *extra: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    chunks = (header, *extra, _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _exif(entries: list[tuple[int, int, int, int]], tail: bytes = b"") -> bytes:
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        b"Exif\0\0" + struct.pack("<2sHIH", b"II", 42, 8, len(entries))
        + directory + bytes(4) + tail
    )  # fmt: skip


# Images


@_kind(110)
def _jpeg_cut_off(dice: random.Random) -> Hostile:
    return _image(_cut(_small("JPEG", progressive=dice.random() < 0.5), dice), CORRUPT)


@_kind(120)
def _jpeg_with_wrong_bytes(dice: random.Random) -> Hostile:
    data = bytearray(_small("JPEG", dice.randrange(9)))
    for _ in range(dice.randrange(1, 20)):
        data[dice.randrange(2, len(data))] = dice.randrange(256)
    return _image(bytes(data), OK, CORRUPT, LARGE)


@_kind()
def _jpeg_without_beginning(dice: random.Random) -> Hostile:
    return _image(_small("JPEG")[dice.randrange(1, 200) :], CORRUPT)


@_kind()
def _jpeg_that_declares_gigapixels(dice: random.Random) -> Hostile:
    data = _small("JPEG")
    size = struct.pack(">HH", dice.randrange(60_000, 65_536), dice.randrange(60_000, 65_536))
    return _image(_patched(data, data.index(b"\xff\xc0") + 5, size), LARGE)


@_kind()
def _jpeg_of_no_size(dice: random.Random) -> Hostile:
    data = _small("JPEG")
    side = dice.choice([struct.pack(">HH", 0, 40), struct.pack(">HH", 30, 0), bytes(4)])
    return _image(_patched(data, data.index(b"\xff\xc0") + 5, side), CORRUPT)


@_kind(8)
def _jpeg_of_endless_scans(dice: random.Random) -> Hostile:
    data = _small("JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return _image(data[:-2] + scan * dice.randrange(2000, 20_000) + b"\xff\xd9", CORRUPT)


@_kind()
def _jpeg_cmyk(dice: random.Random) -> Hostile:
    return _image(encode(picture(40, 30, dice.randrange(9)).convert("CMYK"), "JPEG"), OK)


@_kind()
def _jpeg_with_exif_bomb(dice: random.Random) -> Hostile:
    exif = dice.choice(
        [
            _exif([(0x0100 + i, 7, 60_000, 8) for i in range(5000)], bytes(500)),
            _exif([(0x8769, 4, 1, 8)]),  # a directory that contains itself
            _exif([(0x0112, 99, 2**32 - 1, 2**32 - 1)]),
            _exif([(0x0112, 3, 1, 200)]),
            _exif([(0x011A, 5, 1, 26)], struct.pack("<II", 1, 0)),  # a resolution of 1/0
            b"Exif\0\0" + dice.randbytes(300),
        ]
    )
    return _image(_small("JPEG", exif=exif), OK)


@_kind()
def _jpeg_with_broken_profile(dice: random.Random) -> Hostile:
    return _image(_small("JPEG", icc_profile=dice.randbytes(5000)), OK)


@_kind()
def _png_cut_off(dice: random.Random) -> Hostile:
    return _image(_cut(_small("PNG"), dice), CORRUPT, suffix="png")


@_kind()
def _png_with_wrong_checksum(dice: random.Random) -> Hostile:
    data = _small("PNG")
    return _image(_patched(data, 29, dice.randbytes(4)), CORRUPT, suffix="png")


@_kind()
def _png_that_declares_gigapixels(dice: random.Random) -> Hostile:
    sides = [dice.choice([9_000, 50_000, 2**20, 2**31 - 1]) for _ in range(2)]
    return _image(_png(sides[0], sides[1], zlib.compress(bytes(1000))), LARGE, suffix="png")


@_kind(2)
def _png_whose_pixels_inflate(dice: random.Random) -> Hostile:
    pixels = zlib.compress(bytes(100 * 2**20), 1)
    return _image(_png(20, dice.randrange(1, 20), pixels), OK, CORRUPT, suffix="png")


@_kind(8)
def _png_whose_text_inflates(dice: random.Random) -> Hostile:
    text = b"k\0\0" + zlib.compress(bytes(dice.randrange(10, 40) * 2**20), 1)
    return _image(_png(4, 4, zlib.compress(bytes(52)), _chunk(b"zTXt", text)), CORRUPT)


@_kind()
def _png_of_16_bits(dice: random.Random) -> Hostile:
    return _image(encode(Image.new("I;16", (40, 30), dice.randrange(2**16)), "PNG"), OK)


@_kind()
def _png_with_palette_and_transparency(dice: random.Random) -> Hostile:
    image = picture(40, 30, dice.randrange(9)).quantize(16)
    return _image(encode(image, "PNG", transparency=dice.choice([3, bytes(range(16))])), OK)


@_kind()
def _animation(dice: random.Random) -> Hostile:
    frames = [picture(40, 30, seed) for seed in range(dice.randrange(2, 6))]
    format = dice.choice(["GIF", "WEBP", "PNG"])
    data = encode(frames[0], format, save_all=True, append_images=frames[1:])
    return _image(data, OK, suffix=format.lower())


@_kind()
def _gif_cut_off(dice: random.Random) -> Hostile:
    return _image(_cut(_small("GIF"), dice), CORRUPT, suffix="gif")


@_kind()
def _gif_with_giant_screen(dice: random.Random) -> Hostile:
    frame = b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    width = dice.randrange(60_000, 65_536)
    return _image(b"GIF89a" + struct.pack("<HHBBB", width, 65535, 0, 0, 0) + frame, LARGE)


@_kind(8)
def _gif_of_comments(dice: random.Random) -> Hostile:
    comment = b"\x21\xfe\xff" + b"x" * 255 + b"\0"
    data = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    return _image(data + comment * dice.randrange(9000, 20_000), CORRUPT)


@_kind()
def _webp_cut_off(dice: random.Random) -> Hostile:
    return _image(_cut(_small("WEBP"), dice), CORRUPT, suffix="webp")


@_kind()
def _webp_with_giant_canvas(dice: random.Random) -> Hostile:
    data = _small("WEBP", exif=_exif([(0x0112, 3, 1, 1)]))
    side = dice.randrange(10_000, 16_384).to_bytes(3, "little")
    return _image(_patched(data, 24, side + side), LARGE, suffix="webp")


@_kind()
def _bmp_that_lies(dice: random.Random) -> Hostile:
    side = dice.choice([60_000, -60_000, 2**31 - 1, 0])
    header = struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return _image(b"BM" + header, LARGE, CORRUPT, suffix="bmp")


@_kind(40)
def _tiff_with_wrong_bytes(dice: random.Random) -> Hostile:
    data = bytearray(_small("TIFF", compression=dice.choice([None, "tiff_lzw", "jpeg"])))
    for _ in range(dice.randrange(1, 30)):
        data[dice.randrange(4, len(data))] = dice.randrange(256)
    return _image(bytes(data), OK, CORRUPT, LARGE, suffix="tif")


@_kind()
def _tiff_whose_tags_claim_gigabytes(dice: random.Random) -> Hostile:
    data = _small("TIFF")
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    directory = data[start + 2 : start + 2 + 12 * entries]
    directory += struct.pack("<HHII", 0x9000, 7, dice.randrange(2**28, 2**32), 8)
    data = _patched(data, 4, struct.pack("<I", len(data)))
    data += struct.pack("<H", entries + 1) + directory + bytes(4)
    return _image(data, CORRUPT, suffix="tif")


@_kind()
def _wide_grey(dice: random.Random) -> Hostile:
    image = Image.new(dice.choice(["F", "I"]), (40, 30), dice.randrange(10**6))
    return _image(encode(image, "TIFF"), OK, suffix="tiff")


@_kind()
def _polyglot(dice: random.Random) -> Hostile:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("inner"))
    tail = dice.choice([archive.getvalue(), b"<script>alert(1)</script>", b"PK\3\4" + bytes(90)])
    return _image(_small("JPEG") + tail, OK)


@_kind()
def _another_format(dice: random.Random) -> Hostile:
    jpeg = _small("JPEG")
    laughs = b'<!ENTITY a "' + b"&b;" * 20 + b'">'
    data = [
        b"%PDF-1.7\n" + jpeg,
        b"<html>404</html>" + jpeg,
        b'<?xml version="1.0"?><!DOCTYPE svg [' + laughs + b"]><svg>&a;</svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run showpage\n",
        pickle.dumps(print),
        b"\x7fELF" + bytes(200),
        b"P6 60000 60000 255\n" + bytes(100),
        encode(picture(16, 16), "ICO"),
    ]
    return _image(dice.choice(data), CORRUPT, UNSUPPORTED, LARGE)


@_kind(60)
def _rubbish(dice: random.Random) -> Hostile:
    return _image(dice.randbytes(dice.choice([1, 2, 3, 50, 5000])), CORRUPT)


@_kind(4)
def _empty_image(dice: random.Random) -> Hostile:
    return _image(b"", CORRUPT)


@_kind(3)
def _image_of_too_many_bytes(dice: random.Random) -> Hostile:
    return _image(_small("JPEG") + bytes(2**25 + dice.randrange(2**20)), LARGE)


@_kind(8)
def _sliver(dice: random.Random) -> Hostile:
    sides = dice.choice([(1, 60_000), (60_000, 1), (1, 1)])
    return _image(encode(Image.new("RGB", sides), "PNG"), OK, suffix="png")


@_kind(2)
def _image_of_just_allowed_size(dice: random.Random) -> Hostile:
    mode = dice.choice(["RGB", "L"])
    return _image(encode(Image.new(mode, (8000, 8000), 9), "PNG", compress_level=1), OK)


# Captions and metadata


@_kind(24)
def _caption_not_utf8(dice: random.Random) -> Hostile:
    texts = ["café".encode("latin-1"), "a dog".encode("utf-16"), b"a \xed\xa0\xbd dog", b"\xc0\xaf"]
    return _caption("caption_invalid", txt=dice.choice(texts))


@_kind()
def _caption_of_white_space(dice: random.Random) -> Hostile:
    return _caption("caption_empty", txt=dice.choice(["", " \n\t", "\u3000\u2003", "\0"]).encode())


@_kind(2)
def _caption_of_100_mb(dice: random.Random) -> Hostile:
    return _caption("caption_too_large", txt=b"word " * (20 * 2**20 + dice.randrange(99)))


@_kind(4)
def _caption_of_just_allowed_length(dice: random.Random) -> Hostile:
    return _caption(OK, txt=dice.choice(["word ", "a" * 5, "狗" * 5, "é̂́ß"]).encode() * 200_000)


@_kind()
def _caption_of_control_characters(dice: random.Random) -> Hostile:
    texts = ["a\0dog\0runs", "\u202egod a", "a\x1b[2Jdog", "z\u0301\u0302\u0303" * 50, "\ufeffdog"]
    return _caption(OK, txt=dice.choice(texts).encode())


@_kind(8)
def _json_with_half_a_surrogate_pair(dice: random.Random) -> Hostile:
    return _caption("caption_invalid", json=rb'{"caption": "half \ud83d"}')


@_kind()
def _json_caption_of_another_type(dice: random.Random) -> Hostile:
    value = dice.choice([["a dog"], {"a": 1}, 3, True, None, 1e308])
    return _caption("caption_missing", json=json.dumps({"caption": value}).encode())


@_kind()
def _json_malformed(dice: random.Random) -> Hostile:
    texts = [
        b"{" * 50_000, b"[" * 200_000 + b"]" * 200_000, b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"caption": "cut', b"\xff\xfe{}", b"", b"NaN", b'"a dog"', b"{} {}",
    ]  # fmt: skip
    return _caption("caption_missing", json=dice.choice(texts))


@_kind(3)
def _json_of_many_megabytes(dice: random.Random) -> Hostile:
    return _caption("caption_missing", json=b'{"caption": "' + b"x" * (5 * 2**20) + b'"}')


@_kind()
def _uid_that_is_none(dice: random.Random) -> Hostile:
    uid = dice.choice(["", "g" * 32, "0" * 31, 17, None, ["a"], "'; DROP TABLE rows; --"])
    return _caption(OK, txt=b"a dog", json=json.dumps({"uid": uid}).encode())


# Archives


@_kind()
def _no_image(dice: random.Random) -> Hostile:
    suffix = dice.choice(["txt", "pdf", "mp4"])
    return Hostile({"txt": b"a dog", suffix: b"a dog"}, frozenset({"image_missing"}))


@_kind()
def _no_caption(dice: random.Random) -> Hostile:
    return Hostile({"jpg": _small("JPEG")}, frozenset({"caption_missing"}))


@_kind(20)
def _name_that_leads_elsewhere(dice: random.Random) -> Hostile:
    prefix = dice.choice(["../../../../tmp/", "/etc/cron.d/", "a/../../", "C:\\", "//host/share/"])
    key = f"{prefix}pairsift-{dice.getrandbits(60):x}"
    return Hostile(_caption(OK, txt=b"a dog").members, frozenset({OK}), key)


@_kind()
def _name_of_odd_characters(dice: random.Random) -> Hostile:
    odd = dice.choice(["\n", "\x1b[2J", "\udcff\udcfe", "\u202e", "%s%n", "é" * 100, "d/" * 150])
    key = f"odd{dice.getrandbits(60):x}{odd}x"
    return Hostile(_caption(OK, txt=b"a dog").members, frozenset({OK}), key)


@_kind(32)
def _link_or_device(dice: random.Random) -> Hostile:
    header = tarfile.TarInfo()
    header.type = dice.choice(
        [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
    )
    header.linkname = dice.choice(["/etc/passwd", "../../../../etc/passwd", "good-00000.jpg"])
    return Hostile({"jpg": header, "txt": b"a dog"}, frozenset({"image_missing"}))


@dataclass(frozen=True)
class Pool:
    """What was written.

    Attributes:
        expected: (shard, place in the shard) → kind and statuses its row may have; the rows of
            all other places are good samples and must be ok.
        kinds: how many there are.
    """

    expected: Mapping[tuple[str, int], tuple[str, frozenset[str]]]
    kinds: int


def write_pool(folder: Path, only_one: bool = False) -> Pool:
    """Write shards in which malformed samples and good ones take turns.

    Args:
        only_one: of each kind, and fewer good ones.
    """
    folder.mkdir(parents=True)
    expected = {
        ("mixed", place): found for place, found in _write_mixed(folder / "mixed.tar.gz", only_one)
    }
    kinds = len(_KINDS)
    for name, count, write in (
        ("cut", 24, _cut_off_tar), ("absurd", 16, _absurd_size), ("gz", 8, _broken_gzip),
    ):  # fmt: skip
        kinds += 1
        for number in range(1 if only_one else count):
            shard = f"{name}-{number:02d}"
            path = folder / f"{shard}.tar"
            path.write_bytes(write(random.Random(shard)))
            expected[shard, 2] = name, frozenset({"shard_truncated"})
    rows, data = _parquet_rows()
    pq.write_table(data, folder / "rows.parquet", row_group_size=8)
    kinds += 1
    return Pool(expected | rows, kinds)


def _write_mixed(path: Path, only_one: bool) -> Iterator[tuple[int, tuple[str, frozenset[str]]]]:
    with tarfile.open(path, "w:gz", compresslevel=1, encoding="utf-8") as tar:
        place = 0

        def add_good() -> None:
            nonlocal place
            _add(tar, f"good-{place:05d}", {"jpg": _small("JPEG", place), "txt": b"a good dog"})
            place += 1

        add_good()
        for kind, (count, make) in _KINDS.items():
            for number in range(1 if only_one else count):
                hostile = make(random.Random(f"{kind} {number}"))
                _add(tar, hostile.key or f"{kind}-{number:03d}", hostile.members)
                yield place, (kind, hostile.statuses)
                place += 1
                if not only_one or place % 8 == 0:
                    add_good()
        for _ in range(1 if only_one else 16):
            _add(tar, "good-00000", {"jpg": _small("JPEG"), "txt": b"a dog"})
            yield place, ("duplicate_key", frozenset({"duplicate_key"}))
            place += 1
            add_good()


def _add(tar: tarfile.TarFile, key: str, members: Mapping[str, bytes | tarfile.TarInfo]) -> None:
    for suffix, content in members.items():
        if isinstance(content, tarfile.TarInfo):
            content.name = f"{key}.{suffix}"
            tar.addfile(content)
            continue
        header = tarfile.TarInfo(f"{key}.{suffix}")
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))


def _three() -> tuple[bytes, int, int]:
    """A tar of three samples; where the third one's image header and content begin."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for index in range(3):
            _add(tar, f"s{index}", {"txt": b"a dog runs", "jpg": _small("JPEG")})
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        last = tar.getmember("s2.jpg")
    return file.getvalue(), last.offset, last.offset_data


def _cut_off_tar(dice: random.Random) -> bytes:
    data, _, content = _three()
    return data[: content + dice.randrange(1, len(_small("JPEG")) - 1)]


def _absurd_size(dice: random.Random) -> bytes:
    data, header, _ = _three()
    info = tarfile.TarInfo("s2.jpg")
    info.size = dice.choice([2**40, 2**62, 2**33 + 7, 5 * 2**25])
    return data[:header] + info.tobuf(tarfile.GNU_FORMAT) + data[header + 512 : header + 900]


def _broken_gzip(dice: random.Random) -> bytes:
    data, _, content = _three()
    packed = gzip.compress(data[: content + 512], 0, mtime=0)
    return packed[: len(packed) - dice.randrange(20, 500)]


def _parquet_rows() -> tuple[dict[tuple[str, int], tuple[str, frozenset[str]]], pa.Table]:
    good = _small("JPEG")
    rows: list[tuple[bytes | None, bytes | None, str]] = [
        (good, b"a dog", OK),
        (None, b"a dog", "image_missing"),
        (good, None, "caption_missing"),
        (b"", b"a dog", CORRUPT),
        (good[:300], b"a dog", CORRUPT),
        (good, b"\xff\xfe", "caption_invalid"),
        (good, b"x" * 5_000_000, "caption_too_large"),
        (good, b" ", "caption_empty"),
    ] * 3
    images, captions, statuses = zip(*rows, strict=True)
    text = pa.array(captions, pa.binary()).view(pa.string())  # which does not look at the bytes
    table = pa.table({"jpg": pa.array(images, pa.binary()), "txt": text})
    expected = {
        ("rows", place): ("parquet_row", frozenset({status}))
        for place, status in enumerate(statuses)
        if status != OK
    }
    return expected, table
