"""One test per kind of bad input, from a real tar through the source and a real scorer.

Each bad sample must end as one row with its status, in its place, and its neighbours be scored.
"""

from __future__ import annotations

import struct
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from pairsift import load_scorer
from pairsift.captions import MAX_CAPTION_BYTES, MAX_CAPTION_CHARACTERS
from pairsift.scorers.base import Scorer
from pairsift.sources import find_shards, open_shard
from tests.samples import CAPTION, encode, good_samples, jpeg, picture, png, write_tar

Sample = tuple[str, Mapping[str, bytes | str]]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return load_scorer("heuristics")


def score(path: Path, scorer: Scorer) -> tuple[pa.Table, str | None]:
    (shard,) = find_shards([str(path)]).shards
    reader = open_shard(shard)
    table = scorer.score(reader, batch_size=2)
    return table, reader.problem


def outcome(folder: Path, scorer: Scorer, bad: Sequence[Sample]) -> list[dict[str, object]]:
    """Score bad samples between two good ones; check those, and return the rows of the bad."""
    before, after = good_samples(2).items()
    path = write_tar(folder / "shard.tar", [before, *bad, after])
    table, problem = score(path, scorer)
    assert problem is None
    rows = table.to_pylist()
    assert [row["key"] for row in rows] == [before[0], *(key for key, _ in bad), after[0]]
    for row in (rows[0], rows[-1]):
        assert row["status"] == "ok"
        assert row["error"] is None
        assert (row["width"], row["height"], row["smaller_side"]) == (320, 240, 240)
        assert row["caption_words"] == 12
        assert row["uid"] is not None
    for row in rows[1:-1]:
        assert (row["status"] == "ok") == (row["caption_words"] is not None)
        assert (row["status"] == "ok") == (row["error"] is None)
    return rows[1:-1]


def outcome_of_image(folder: Path, scorer: Scorer, image: bytes, suffix: str) -> dict[str, object]:
    (row,) = outcome(folder, scorer, [("bad", {suffix: image, "txt": CAPTION})])
    assert row["caption_length"] == len(CAPTION)
    return row


def test_zero_byte_image(tmp_path: Path, scorer: Scorer) -> None:
    row = outcome_of_image(tmp_path, scorer, b"", "jpg")
    assert (row["status"], row["error"]) == ("image_corrupt", "the image is empty (0 bytes)")


def test_corrupt_image(tmp_path: Path, scorer: Scorer) -> None:
    row = outcome_of_image(tmp_path, scorer, b"<html>404 Not Found</html>", "jpg")
    assert row["status"] == "image_corrupt"
    assert "<html>404" in str(row["error"])


def test_truncated_jpeg(tmp_path: Path, scorer: Scorer) -> None:
    row = outcome_of_image(tmp_path, scorer, jpeg()[:-3000], "jpg")
    assert row["status"] == "image_corrupt"
    assert (row["width"], row["height"]) == (320, 240)


def test_decompression_bomb(tmp_path: Path, scorer: Scorer) -> None:
    header = struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = png()[:8] + struct.pack(">I", 13) + b"IHDR" + header + checksum + png()[33:]
    row = outcome_of_image(tmp_path, scorer, bomb, "png")
    assert row["status"] == "image_too_large"
    assert (row["width"], row["height"]) == (60_000, 60_000)


def test_image_of_too_many_bytes(tmp_path: Path, scorer: Scorer) -> None:
    row = outcome_of_image(tmp_path, scorer, jpeg() + bytes(32 * 2**20), "jpg")
    assert row["status"] == "image_too_large"


def test_exif_nonsense(tmp_path: Path, scorer: Scorer) -> None:
    entries = struct.pack("<HHII", 0x011A, 5, 1, 38) + struct.pack("<HHII", 0x010E, 2, 9, 46)
    block = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + entries + bytes(4)
    block += struct.pack("<II", 1, 0) + b"\xff\xfe\xc3\x28\xa0\xa1\xe2\x28\0"  # 1/0, not UTF-8
    row = outcome_of_image(tmp_path, scorer, encode(picture(), "JPEG", exif=block), "jpg")
    assert row["status"] == "ok"


def test_cmyk(tmp_path: Path, scorer: Scorer) -> None:
    row = outcome_of_image(tmp_path, scorer, encode(picture().convert("CMYK"), "JPEG"), "jpg")
    assert row["status"] == "ok"


@pytest.mark.parametrize("options", [{}, {"transparency": 3}, {"transparency": bytes(range(16))}])
def test_palette(tmp_path: Path, scorer: Scorer, options: dict[str, object]) -> None:
    image = encode(picture().quantize(16), "PNG", **options)
    assert outcome_of_image(tmp_path, scorer, image, "png")["status"] == "ok"


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_animation(tmp_path: Path, scorer: Scorer, format: str) -> None:
    frames = [picture(seed=seed) for seed in range(3)]
    image = encode(frames[0], format, save_all=True, append_images=frames[1:])
    row = outcome_of_image(tmp_path, scorer, image, format.lower())
    assert (row["status"], row["width"], row["height"]) == ("ok", 320, 240)


def test_16_bit_png(tmp_path: Path, scorer: Scorer) -> None:
    image = encode(Image.new("I;16", (300, 200), 40_000), "PNG")
    assert outcome_of_image(tmp_path, scorer, image, "png")["status"] == "ok"


def test_huge_captions(tmp_path: Path, scorer: Scorer) -> None:
    rows = outcome(
        tmp_path,
        scorer,
        [
            ("long", {"jpg": jpeg(), "txt": "word " * (MAX_CAPTION_CHARACTERS // 5)}),
            ("longer", {"jpg": jpeg(), "txt": "word " * (MAX_CAPTION_CHARACTERS // 5 + 1)}),
            ("absurd", {"jpg": jpeg(), "txt": bytes(MAX_CAPTION_BYTES + 1)}),
        ],
    )
    assert [row["status"] for row in rows] == ["ok", "caption_too_large", "caption_too_large"]
    assert rows[0]["caption_length"] == MAX_CAPTION_CHARACTERS


def test_nul_bytes(tmp_path: Path, scorer: Scorer) -> None:
    (row,) = outcome(tmp_path, scorer, [("nul", {"jpg": jpeg(), "txt": b"a brown\0dog\0 runs"})])
    assert (row["status"], row["caption_words"], row["caption_length"]) == ("ok", 4, 17)


def test_invalid_utf8(tmp_path: Path, scorer: Scorer) -> None:
    rows = outcome(
        tmp_path,
        scorer,
        [
            ("latin1", {"jpg": jpeg(), "txt": "café".encode("latin-1")}),
            ("surrogate", {"jpg": jpeg(), "json": r'{"caption": "half \ud83d of an emoji"}'}),
        ],
    )
    assert [row["status"] for row in rows] == ["caption_invalid", "caption_invalid"]


def test_duplicate_keys(tmp_path: Path, scorer: Scorer) -> None:
    good = {"jpg": jpeg(), "txt": CAPTION}
    rows = outcome(tmp_path, scorer, [("twice", good), ("other", good), ("twice", good)])
    assert [row["status"] for row in rows] == ["ok", "ok", "duplicate_key"]


def test_missing_image(tmp_path: Path, scorer: Scorer) -> None:
    (row,) = outcome(tmp_path, scorer, [("bad", {"txt": CAPTION})])
    assert row["status"] == "image_missing"


def test_missing_caption(tmp_path: Path, scorer: Scorer) -> None:
    (row,) = outcome(tmp_path, scorer, [("bad", {"jpg": jpeg()})])
    assert (row["status"], row["caption_length"]) == ("caption_missing", None)
    assert (row["width"], row["height"]) == (320, 240)


def test_what_is_there_is_told_of_samples_with_members_that_are_not_read(
    tmp_path: Path, scorer: Scorer
) -> None:
    rows = outcome(
        tmp_path,
        scorer,
        [
            ("no-caption", {"jpg": jpeg(), "cap": CAPTION}),
            ("empty-json", {"jpg": jpeg(), "json": "{}", "cls": "1"}),
            ("bad-json", {"jpg": jpeg(), "json": "{"}),
            ("latin1", {"jpg": jpeg(), "txt": "café".encode("latin-1"), "cls": "1"}),
            ("no-image", {"img": jpeg(), "txt": CAPTION}),
            ("text-alone", {"npy": b"x", "txt": CAPTION, "cls": "1"}),
            ("corrupt", {"jpg": jpeg()[:100], "cap": CAPTION}),
        ],
    )
    assert [(row["status"], row["width"], row["height"]) for row in rows] == [
        ("caption_missing", 320, 240),
        ("caption_missing", 320, 240),
        ("caption_missing", 320, 240),
        ("caption_invalid", 320, 240),
        ("image_missing", None, None),
        ("image_missing", None, None),
        ("caption_missing", None, None),
    ]
    lengths = [row["caption_length"] for row in rows]
    assert lengths == [None, None, None, None, len(CAPTION), len(CAPTION), None]


def test_empty_caption(tmp_path: Path, scorer: Scorer) -> None:
    rows = outcome(
        tmp_path,
        scorer,
        [("none", {"jpg": jpeg(), "txt": ""}), ("blank", {"jpg": jpeg(), "txt": " \n\t "})],
    )
    assert [row["status"] for row in rows] == ["caption_empty", "caption_empty"]
    assert [row["caption_length"] for row in rows] == [0, 4]


def test_truncated_tar(tmp_path: Path, scorer: Scorer) -> None:
    path = write_tar(tmp_path / "shard.tar", good_samples(5))
    with tarfile.open(path) as tar:
        cut = tar.getmember("good0003.jpg").offset_data + 100
    path.write_bytes(path.read_bytes()[:cut])
    table, problem = score(path, scorer)
    assert table["key"].to_pylist() == [f"good{index:04d}" for index in range(4)]
    assert table["status"].to_pylist() == ["ok", "ok", "ok", "shard_truncated"]
    assert problem == f"cut off at byte {cut:,}, inside 'good0003.jpg'"
