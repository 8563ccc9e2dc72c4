"""Guarded decoding: every kind of image has a defined outcome, every kind of rubbish a status."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, features

from pairsift.images import ImageFaultError, ImageLimits, decode_image
from pairsift.pair import Status
from tests.samples import encode, jpeg, picture, png

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
ORIENTATION = 0x0112


def fault_of(data: bytes | None, limits: ImageLimits | None = None) -> ImageFaultError:
    with pytest.raises(ImageFaultError) as caught:
        decode_image(data, limits)
    return caught.value


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds hardly anything."""
    chunks = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def exif_block(entries: list[tuple[int, int, int, int]], tail: bytes = b"") -> bytes:
    """An EXIF block with the given (tag, type, count, value or offset) entries."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    header = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return b"Exif\0\0" + header + directory + bytes(4) + tail


class TestFormats:
    @pytest.mark.parametrize("format", FORMATS)
    def test_pixels_and_size(self, format: str) -> None:
        original = picture(60, 40)
        image, size = decode_image(encode(original, format))
        assert (image.mode, image.size, size) == ("RGB", (60, 40), (60, 40))
        assert type(image) is Image.Image, "free of the file"
        assert image.info == {}
        difference = np.abs(np.asarray(image, int) - np.asarray(original, int)).mean()
        assert difference < (12 if format in ("GIF", "JPEG", "WEBP") else 0.001)

    def test_cmyk_is_converted(self) -> None:
        image, _ = decode_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
        assert image.getpixel((4, 4)) == pytest.approx((255, 0, 0), abs=4)

    def test_palette_is_resolved(self) -> None:
        paletted = picture(32, 32).quantize(16)
        image, _ = decode_image(encode(paletted, "PNG"))
        assert np.array_equal(np.asarray(image), np.asarray(paletted.convert("RGB")))

    @pytest.mark.parametrize("format", ["PNG", "GIF"])
    def test_transparent_palette_lies_over_white(self, format: str) -> None:
        paletted = Image.new("P", (8, 8), 0)
        paletted.putpalette([10, 20, 30, 200, 0, 0])
        paletted.putpixel((0, 0), 1)
        image, _ = decode_image(encode(paletted, format, transparency=0))
        assert image.getpixel((5, 5)) == (255, 255, 255)
        assert image.getpixel((0, 0)) == (200, 0, 0)

    @pytest.mark.parametrize(
        ("mode", "colour", "expected"),
        [
            ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
            ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
            ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
            ("LA", (0, 0), (255, 255, 255)),
            ("LA", (90, 255), (90, 90, 90)),
            ("1", 1, (255, 255, 255)),
            ("L", 77, (77, 77, 77)),
        ],
    )
    def test_modes_of_png(
        self, mode: str, colour: tuple[int, ...], expected: tuple[int, ...]
    ) -> None:
        image, _ = decode_image(encode(Image.new(mode, (4, 4), colour), "PNG"))
        assert image.getpixel((1, 1)) == expected

    @pytest.mark.parametrize("format", ["PNG", "TIFF"])
    def test_16_bit_grey_is_scaled_not_clipped(self, format: str) -> None:
        values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
        image, _ = decode_image(encode(Image.fromarray(values), format))
        assert np.array_equal(np.asarray(image)[..., 0], values >> 8)

    @pytest.mark.parametrize("kind", [np.int32, np.float32])
    def test_wide_grey_is_stretched(self, kind: type) -> None:
        values = np.linspace(-7, 1e6, 256).astype(kind).reshape(16, 16)
        image, _ = decode_image(encode(Image.fromarray(values), "TIFF"))
        pixels = np.asarray(image)
        assert (pixels.min(), pixels.max()) == (0, 255)
        assert np.all(np.diff(pixels[..., 0].ravel().astype(int)) >= 0)

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_first_frame_of_an_animation(self, format: str) -> None:
        red, blue = (Image.new("RGB", (20, 10), colour) for colour in ("red", "blue"))
        options = {"lossless": True} if format == "WEBP" else {}
        data = encode(red, format, save_all=True, append_images=[blue], **options)
        image, size = decode_image(data)
        assert (image.getpixel((5, 5)), size) == ((255, 0, 0), (20, 10))

    @pytest.mark.parametrize("format", ["ICO", "PDF", "EPS", "DDS"])
    def test_known_formats_that_are_not_read_are_named(self, format: str) -> None:
        fault = fault_of(encode(picture(16, 16), format))
        assert fault.status is Status.IMAGE_UNSUPPORTED
        assert "convert it to PNG or JPEG" in str(fault)

    @pytest.mark.parametrize(
        "data",
        [
            b'<svg xmlns="http://www.w3.org/2000/svg"/>',
            b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n<svg width="9">',
            b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x.dtd">\n<svg>',
        ],
    )
    def test_svg_is_named(self, data: bytes) -> None:
        fault = fault_of(data)
        assert fault.status is Status.IMAGE_UNSUPPORTED
        assert "SVG" in str(fault)

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"<!DOCTYPE html><html>404</html>", "an HTML page"),
            (b"\n <HTML><body>", "an HTML page"),
            (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
            (b'{"error": "not found"}', "a JSON document"),
            (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
            (b"Not found", "text"),
            (b"\0\0\0\x20ftypisom" + bytes(90), "a video"),
            (b"PK\x03\x04" + bytes(90), "an archive"),
            (bytes(90), "unknown data"),
        ],
    )
    def test_what_is_no_image_is_told(self, data: bytes, words: str) -> None:
        fault = fault_of(data)
        assert fault.status is Status.IMAGE_CORRUPT
        assert words in str(fault)
        assert "begins with" in str(fault)


def heif_bytes(image: Image.Image, **options: object) -> bytes:
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(image).save(file, **options)
    return file.getvalue()


def jxl_bytes(image: Image.Image, **options: object) -> bytes:
    pytest.importorskip("pillow_jxl")
    return encode(image, "JXL", **options)


def avif_bytes(image: Image.Image, **options: object) -> bytes:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    return encode(image, "AVIF", **options)


def jp2_bytes(image: Image.Image, **options: object) -> bytes:
    return encode(image, "JPEG2000", **options)


WRITERS = [heif_bytes, jxl_bytes, avif_bytes, jp2_bytes]


class TestPluginFormats:
    @pytest.mark.parametrize("write", WRITERS)
    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
    def test_is_decoded(self, write: Callable[..., bytes], mode: str) -> None:
        original = picture(64, 48).convert(mode)
        image, size = decode_image(write(original))
        assert (image.mode, image.size, size) == ("RGB", (64, 48), (64, 48))
        gap = np.abs(np.asarray(image).astype(int) - np.asarray(original.convert("RGB")))
        assert np.median(gap) < 16

    def test_mpo_and_pnm(self) -> None:
        mpo = encode(picture(64, 48), "MPO", save_all=True, append_images=[picture(8, 8)])
        assert decode_image(mpo)[1] == (64, 48)
        for mode in ("RGB", "L", "1"):
            assert decode_image(encode(picture(64, 48).convert(mode), "PPM"))[1] == (64, 48)

    def test_bare_jpeg_2000_codestream(self) -> None:
        assert decode_image(jp2_bytes(picture(20, 10), no_jp2=True))[1] == (20, 10)

    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_jpeg_packed_in_jpeg_xl(self, tmp_path: Path, orientation: int) -> None:
        """The JPEG comes out again, and is turned as its EXIF data say."""
        plugin = pytest.importorskip("pillow_jxl")
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        jpeg = encode(picture(64, 48), "JPEG", exif=exif)
        path = tmp_path / "a.jpg"
        path.write_bytes(jpeg)
        with Image.open(path) as image:  # the plug-in packs JPEGs that are files alone
            packed = encode(image, "JXL", lossless_jpeg=True)
        assert plugin.Decoder(num_threads=0)(packed)[0], "no JPEG is packed in it"
        image, size = decode_image(packed)
        wanted, _ = decode_image(jpeg)
        assert size == (64, 48)
        assert image.size == ((48, 64) if orientation in (6, 8) else (64, 48))
        assert np.array_equal(np.asarray(image), np.asarray(wanted))

    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_jpeg_xl_is_turned_by_its_own_header_alone(self, orientation: int) -> None:
        """EXIF data do not turn it (ISO/IEC 18181-2); the decoder has done what the header says."""
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        image, size = decode_image(jxl_bytes(picture(64, 48), exif=exif.tobytes(), lossless=True))
        assert (image.size, size) == ((64, 48), (64, 48))
        assert np.array_equal(np.asarray(image), np.asarray(picture(64, 48)))

    @pytest.mark.parametrize("write", [heif_bytes, avif_bytes])
    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_orientation(self, write: Callable[..., bytes], orientation: int) -> None:
        upright = picture(64, 32)
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored = upright
        back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90,
                8: Image.Transpose.ROTATE_270}  # fmt: skip
        if orientation in back:
            stored = upright.transpose(back[orientation])
        image, _ = decode_image(write(stored, exif=exif.tobytes()))
        assert image.size == (64, 32)
        gap = np.abs(np.asarray(image).astype(int) - np.asarray(upright))
        assert np.median(gap) < 16

    @pytest.mark.parametrize("write", WRITERS)
    def test_size_is_checked_before_pixels_are(self, write: Callable[..., bytes]) -> None:
        fault = fault_of(write(picture(64, 48)), ImageLimits(max_pixels=1000))
        assert fault.status is Status.IMAGE_TOO_LARGE

    def test_jpeg_2000_whose_box_lies(self) -> None:
        data = jp2_bytes(picture(64, 48))
        start = data.index(b"\xff\x4f\xff\x51")
        lying = data[: start + 8] + struct.pack(">2I", 60_000, 60_000) + data[start + 16 :]
        assert fault_of(lying).status is Status.IMAGE_TOO_LARGE

    @pytest.mark.parametrize("write", WRITERS)
    def test_damage_is_told(self, write: Callable[..., bytes]) -> None:
        data = write(picture(64, 48))
        dice = random.Random(0)
        fault = fault_of(data[:20])
        assert fault.status is Status.IMAGE_CORRUPT
        for _ in range(60):
            broken = bytearray(data)
            for _ in range(3):
                broken[dice.randrange(12, len(data))] = dice.randrange(256)
            with contextlib.suppress(ImageFaultError):
                decode_image(bytes(broken[: dice.randrange(len(data) // 2, len(data))]))

    @pytest.mark.parametrize(
        ("package", "write", "cure"),
        [
            ("pillow_heif", heif_bytes, "install pillow-heif"),
            ("pillow_jxl", jxl_bytes, "install pillow-jxl-plugin"),
            ("PIL.AvifImagePlugin", avif_bytes, "install 'pillow>=11.3'"),
        ],
    )
    def test_without_the_plug_in(
        self,
        monkeypatch: pytest.MonkeyPatch,
        package: str,
        write: Callable[..., bytes],
        cure: str,
    ) -> None:
        data = write(picture(64, 48))
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
        fault = fault_of(data)
        assert fault.status is Status.IMAGE_UNSUPPORTED
        assert cure in str(fault)


class TestOrientation:
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_is_applied(self, format: str, orientation: int) -> None:
        upright = picture(32, 16)
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        lossless = {"lossless": True} if format == "WEBP" else {}
        image, size = decode_image(encode(upright, format, exif=exif, **lossless))
        assert size == (32, 16), "the size is told as stored"
        turn = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_270,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_90,
        }.get(orientation)
        expected = upright.transpose(turn) if turn is not None else upright
        assert image.size == expected.size
        difference = np.abs(np.asarray(image, int) - np.asarray(expected, int)).mean()
        assert difference < (12 if format == "JPEG" else 0.001)

    @pytest.mark.parametrize(
        "exif",
        [
            b"Exif\0\0",
            b"Exif\0\0II*\0\xff\xff\xff\x7f",
            b"Exif\0\0MM\0*" + bytes(3),
            b"\xff" * 300,
            exif_block([(ORIENTATION, 3, 1, 99)]),
            exif_block([(ORIENTATION, 99, 2**32 - 1, 2**32 - 1)]),
            exif_block([(0x011A, 5, 1, 26)], struct.pack("<II", 1, 0)),  # resolution 1/0
            exif_block([(0x010E, 2, 8, 26)], b"\xff\xfe\xc3\x28\xa0\xa1\0\0"),  # not UTF-8
            exif_block([(0x8769, 4, 1, 8)]),  # a directory that contains itself
            exif_block([(0x0100 + i, 7, 60_000, 8) for i in range(5000)], bytes(500)),  # a bomb
        ],
        ids=lambda exif: f"{len(exif)} bytes",
    )
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
    def test_hostile_exif_is_ignored(self, format: str, exif: bytes) -> None:
        begin = time.process_time()
        image, _ = decode_image(encode(picture(32, 16), format, exif=exif))
        assert image.size == (32, 16)
        assert time.process_time() - begin < 1


class TestFaults:
    def test_missing(self) -> None:
        assert fault_of(None).status is Status.IMAGE_MISSING

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0",
            b"<html><body>404</body></html>",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\0\0\0\0WEBP",
            b"GIF89a",
            b"BM",
            b"II*\0",
        ],
    )
    def test_rubbish(self, data: bytes) -> None:
        fault = fault_of(data)
        assert fault.status is Status.IMAGE_CORRUPT
        assert str(fault)

    @pytest.mark.parametrize("format", FORMATS)
    def test_cut_off(self, format: str) -> None:
        data = encode(picture(200, 150), format)
        assert fault_of(data[: len(data) // 2]).status is Status.IMAGE_CORRUPT

    def test_cut_off_jpeg_still_tells_its_size(self) -> None:
        fault = fault_of(jpeg(200, 150)[:-2000])
        assert (fault.status, fault.size) == (Status.IMAGE_CORRUPT, (200, 150))
        assert "truncated" in str(fault)

    @pytest.mark.slow
    def test_cut_off_where_another_library_wants_the_rest_grey(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        cut = [encode(picture(400, 300, seed), format)[:-2000]
               for seed in range(10) for format in ("JPEG", "PNG", "GIF", "BMP")]  # fmt: skip
        with ThreadPoolExecutor(4) as threads:
            faults = list(threads.map(fault_of, cut))
        assert {fault.status for fault in faults} == {Status.IMAGE_CORRUPT}
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True
        decode_image(jpeg())
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True

    def test_too_many_bytes(self) -> None:
        fault = fault_of(png(), ImageLimits(max_bytes=100))
        assert fault.status is Status.IMAGE_TOO_LARGE
        assert "the limit is 100" in str(fault)

    def test_too_many_pixels(self) -> None:
        fault = fault_of(png(100, 50), ImageLimits(max_pixels=4999))
        assert (fault.status, fault.size) == (Status.IMAGE_TOO_LARGE, (100, 50))
        decode_image(png(100, 50), ImageLimits(max_pixels=5000))

    def test_survives_pickling(self) -> None:
        fault = pickle.loads(pickle.dumps(fault_of(png(100, 50), ImageLimits(max_pixels=1))))
        assert (fault.status, fault.size) == (Status.IMAGE_TOO_LARGE, (100, 50))
        assert "100 x 50" in str(fault)


def webp_canvas(width: int, height: int) -> bytes:
    data = bytearray(encode(picture(16, 16), "WEBP", exif=exif_block([(ORIENTATION, 3, 1, 1)])))
    assert data[12:16] == b"VP8X"
    data[24:27] = (width - 1).to_bytes(3, "little")
    data[27:30] = (height - 1).to_bytes(3, "little")
    return bytes(data)


def tiff_with(tag: int, kind: int, count: int, value: int) -> bytes:
    data = encode(picture(16, 16), "TIFF")
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    directory = bytearray(data[start + 2 : start + 2 + 12 * entries])
    directory += struct.pack("<HHII", tag, kind, count, value)
    moved = struct.pack("<I", len(data))
    return data[:4] + moved + data[8:] + struct.pack("<H", entries + 1) + directory + bytes(4)


class TestBombs:
    """A few hundred bytes that ask for gigabytes are refused before pixels are allocated."""

    @pytest.mark.parametrize(
        "data",
        [
            png_header(50_000, 50_000),
            png_header(2**31 - 1, 2**31 - 1),
            b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\1\0\1\0\0",
            b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
            + b"," + struct.pack("<4HB", 0, 0, 65535, 65535, 0) + b"\2\0;",
            webp_canvas(16383, 16383),
            webp_canvas(2**24, 2**8),
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0,
                                0, 0),
        ],
        ids=["png", "png-max", "gif-screen", "gif-frame", "webp", "webp-max", "bmp"],
    )  # fmt: skip
    def test_declared_size(self, data: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow's own bomb warning must not leak either
            begin = time.process_time()
            fault = fault_of(data)
        assert fault.status is Status.IMAGE_TOO_LARGE
        assert time.process_time() - begin < 1

    def test_process_wide_limit_plays_no_part(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decode_image(png(64, 48))
            decode_image(jpeg(64, 48))

    def test_tiff_tile_larger_than_the_image(self) -> None:
        tile = tiff_with(0x0142, 4, 1, 60_000)
        fault = fault_of(_append_tag(tile, 0x0143, 4, 1, 60_000))
        assert fault.status is Status.IMAGE_CORRUPT
        assert "tile" in str(fault)

    def test_tiff_tags_that_claim_the_same_bytes(self) -> None:
        fault = fault_of(tiff_with(0x9000, 7, 2**31, 8))
        assert "claim" in str(fault)

    def test_gif_with_a_megabyte_of_comments(self) -> None:
        comment = b"\x21\xfe" + b"\xff" + b"x" * 255
        data = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + (comment + b"\0") * 9000
        assert "extensions" in str(fault_of(data))

    def test_jpeg_with_a_hundred_thousand_scans(self) -> None:
        data = encode(picture(64, 64), "JPEG", progressive=True)
        last_scan = data.rindex(b"\xff\xda")
        fault = fault_of(data[:-2] + data[last_scan:-2] * 5000 + b"\xff\xd9")
        assert fault.status is Status.IMAGE_CORRUPT
        assert "scans" in str(fault)

    def test_scans_of_what_follows_the_image_do_not_count(self) -> None:
        motion_photo = encode(picture(64, 64), "JPEG", progressive=True) + b"\xff\xda" * 100_000
        assert decode_image(motion_photo)[1] == (64, 64)

    def test_png_with_text_that_inflates(self) -> None:
        text = b"k\0\0" + zlib.compress(bytes(5_000_000))
        chunk = struct.pack(">I", len(text)) + b"zTXt" + text
        chunk += struct.pack(">I", zlib.crc32(b"zTXt" + text))
        data = png(16, 16)
        fault = fault_of(data[:33] + chunk + data[33:])
        assert fault.status is Status.IMAGE_CORRUPT


def _append_tag(tiff: bytes, tag: int, kind: int, count: int, value: int) -> bytes:
    (start,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, start)
    directory = tiff[start + 2 : start + 2 + 12 * entries]
    directory += struct.pack("<HHII", tag, kind, count, value)
    return (
        tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:]
        + struct.pack("<H", entries + 1) + directory + bytes(4)
    )  # fmt: skip


def test_threads_do_not_disturb_each_other() -> None:
    files = [jpeg(40, 30, seed) for seed in range(8)] + [png_header(50_000, 50_000), b"x"]

    def outcome(data: bytes) -> bytes | Status:
        try:
            return decode_image(data)[0].tobytes()
        except ImageFaultError as fault:
            return fault.status

    before = (Image.MAX_IMAGE_PIXELS, warnings.filters[:], sys.getrecursionlimit())
    alone = [outcome(data) for data in files] * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files * 20)) == alone
    assert (Image.MAX_IMAGE_PIXELS, warnings.filters[:], sys.getrecursionlimit()) == before


SEEDS = [encode(picture(24, 16), format) for format in FORMATS]
SEEDS += [
    encode(picture(24, 16), "JPEG", progressive=True),
    encode(picture(24, 16), "TIFF", compression="tiff_lzw"),
    encode(picture(24, 16), "TIFF", compression="jpeg"),
    encode(picture(24, 16), "GIF", save_all=True, append_images=[picture(24, 16, 1)]),
    encode(picture(24, 16), "WEBP", save_all=True, append_images=[picture(24, 16, 1)]),
    webp_canvas(64, 64),
    tiff_with(ORIENTATION, 3, 1, 6),
]


@st.composite
def damaged_images(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        position = draw(st.integers(0, len(data) - 1))
        data[position : position + draw(st.integers(0, 4))] = draw(st.binary(max_size=6))
        if not data:
            break
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(damaged_images() | st.binary(max_size=200))
@example(b"II*\0\x08\0\0\0\0\0")
def test_whatever_the_bytes_there_is_an_image_or_a_fault(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = attempt(data)
    if isinstance(outcome, ImageFaultError):
        assert outcome.status in (
            Status.IMAGE_CORRUPT,
            Status.IMAGE_TOO_LARGE,
            Status.IMAGE_UNSUPPORTED,
        )
        str(outcome).encode()
    else:
        image, size = outcome
        assert image.mode == "RGB"
        assert sorted(image.size) == sorted(size)


def attempt(data: bytes) -> tuple[Image.Image, tuple[int, int]] | ImageFaultError:
    try:
        return decode_image(data, ImageLimits(max_pixels=1_000_000))
    except ImageFaultError as fault:
        return fault
