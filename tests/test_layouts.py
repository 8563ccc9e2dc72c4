"""Whatever the layout: input samples = rows of the score table = ok + told failures.

Random pools of every kind of source, with broken samples among the good ones, go through score,
select, write and back: every sample is a row with the status it deserves, and every good one comes
out with the bytes and the caption that went in.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairsift import load_scorer
from pairsift.engines.local import score_shards
from pairsift.scorers.base import Scorer
from pairsift.select import select
from pairsift.sources import find_shards, open_shard
from pairsift.sources.member_names import member_key
from pairsift.writers import write_dataset, write_webdataset
from tests.samples import damage, jpeg, tar_bytes

# What becomes of a sample with this flaw; which of two names for it depends on the layout.
STATUSES = {
    "good": {"ok"},
    "no image": {"image_missing"},
    "empty image": {"image_corrupt", "image_missing"},
    "broken image": {"image_corrupt"},
    "web page": {"image_corrupt"},
    "drawing": {"image_unsupported"},
    "no caption": {"caption_missing", "caption_empty"},
    "blank caption": {"caption_empty"},
    "invalid caption": {"caption_invalid"},
    "repeated": {"duplicate_key"},
    "bad line": {"row_invalid"},
    "declared": {"source_failed"},
    "damaged": {"read_error"},
}
IMAGES = {
    "no image": None,
    "empty image": b"",
    "broken image": jpeg(20, 20)[:200],
    "web page": b"<!doctype html><title>404</title>",
    "drawing": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "declared": None,
}
CAPTIONS = {"no caption": None, "blank caption": b" \t ", "invalid caption": b"a \xff dog"}


@dataclass(frozen=True)
class Sample:
    """A sample as it goes in, and what is wrong with it."""

    key: str
    flaw: str
    image: bytes | None
    caption: bytes | None

    @property
    def text(self) -> str:
        return (self.caption or b"").decode("utf-8", "surrogateescape")


@dataclass
class Pool:
    """What lies in a folder, and how it is to be read."""

    samples: list[Sample]
    options: dict[str, Any] = field(default_factory=dict)
    written_options: dict[str, Any] = field(default_factory=dict)


Draw = Callable[[st.SearchStrategy[Any]], Any]
KEYS = st.text("ab0_-é日'%&( ", min_size=1, max_size=6).map(lambda key: f"k{key}z")
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1, max_size=40
).filter(lambda text: bool(text.strip()))


def draw_samples(draw: Draw, flaws: set[str], one_line: bool = False) -> list[Sample]:
    """Some samples with keys of their own, a good one at least."""
    samples = []
    allowed = ["good", *sorted(flaws - {"repeated", "bad line"})]
    for number, key in enumerate(draw(st.lists(KEYS, min_size=1, max_size=6, unique=True))):
        flaw = draw(st.sampled_from(allowed)) if number else "good"
        caption = CAPTIONS.get(flaw, draw(TEXTS).encode())
        if one_line and caption is not None and flaw != "invalid caption":
            caption = b" " if flaw == "blank caption" else b"x" + b" ".join(caption.split())
        image = IMAGES.get(flaw, jpeg(20 + number, 20))
        samples.append(Sample(key, flaw, image, caption))
    return samples


COMMON = set(STATUSES) - {"repeated", "bad line", "declared", "damaged"}


def tar_pool(draw: Draw, folder: Path) -> Pool:
    """Tars of several suffixes and packings, with repeated keys and members that lie apart."""
    image, caption, options = draw(
        st.sampled_from(
            [
                ("jpg", "txt", {}),
                ("JPEG", "TXT", {}),
                ("avif", "txt", {}),  # the content decides
                ("input.jpg", "outputs.txt", {"image": "input.jpg", "caption": "outputs.txt"}),
                ("img", "cap", {"image": "img", "caption": ".cap"}),
                ("png", "json", {"caption": "json.captions.0"}),
                ("jpg", "meta.json", {"caption": 'meta.json."alt.text"'}),
            ]
        )
    )
    in_json = caption.endswith("json")
    flaws = COMMON | {"declared"}
    samples = draw_samples(draw, flaws - {"invalid caption"} if in_json else flaws)
    if draw(st.booleans()):
        samples.append(replace(samples[0], flaw="repeated"))
    prefix = draw(st.sampled_from(["", "a/", "./", "b.c/"]))
    samples = [replace(sample, key=prefix + sample.key) for sample in samples]
    members: list[tuple[str, bytes | str]] = []
    for number, sample in enumerate(samples):
        parts: list[tuple[str, bytes]] = [("id", str(number).encode())]
        if sample.image is not None:
            parts.append((image, sample.image))
        if sample.flaw == "declared":
            status = {"status": "failed_to_download", "error_message": "404"}
            parts.append(("meta.json" if caption == "meta.json" else "json",
                          json.dumps(status).encode()))  # fmt: skip
        elif sample.caption is not None and in_json:
            content = {"captions": [sample.text], "alt.text": sample.text}
            parts.append((caption, json.dumps(content).encode()))
        elif sample.caption is not None:
            parts.append((caption, sample.caption))
        parts = draw(st.permutations(parts))
        members += [(f"{sample.key}.{suffix}", content) for suffix, content in parts]
    if draw(st.booleans()):  # a member that lies apart is another sample to webdataset
        members += [("between.id", b""), (f"{samples[0].key}.extra", b"")]
        samples.append(Sample("between", "no image", None, None))
        samples.append(replace(samples[0], flaw="repeated"))
    mode = draw(st.sampled_from(["", "gz", "xz", "bz2"]))
    name = draw(st.sampled_from(["0.tar", f"0.tar.{mode}" if mode else "0.tar"]))
    (folder / name).write_bytes(tar_bytes(members, mode))
    return Pool(samples, options, options)


def parquet_pool(draw: Draw, folder: Path) -> Pool:
    """Parquet of every form of image and caption, with keys or without, and damaged row groups."""
    samples = draw_samples(draw, COMMON)
    with_keys = draw(st.booleans())
    if with_keys and draw(st.booleans()):
        samples.append(replace(samples[0], flaw="repeated"))
    if not with_keys:
        samples = [replace(sample, key=f"{row:09}") for row, sample in enumerate(samples)]
    images = [sample.image for sample in samples]
    structs = [{"bytes": image, "path": "x.jpg"} for image in images]
    captions = pa.array([sample.caption for sample in samples], pa.binary()).cast(
        pa.string(), safe=False
    )
    options = {}
    columns: dict[str, Any] = {}
    match draw(st.sampled_from(["plain", "struct", "list", "nested", "large", "base64"])):
        case "plain":
            columns["jpg"] = pa.array(images, pa.binary())
        case "struct":
            columns["image"] = structs
        case "list":
            columns["images"] = [[each] for each in structs]
            options["image"] = "images.0"
        case "nested":
            columns["sample"] = [{"photo": each, "n": 1} for each in structs]
            options["image"] = "sample.photo"
        case "large":
            columns["jpg"] = pa.array(images, pa.large_binary())
        case "base64":
            columns["jpg"] = [
                None if image is None else base64.b64encode(image).decode() for image in images
            ]
            options["image"] = "jpg"
    if draw(st.booleans()):
        columns["caption"] = captions
    else:
        ends = pa.array(range(len(samples) + 1), pa.int32())
        columns["captions"] = pa.ListArray.from_arrays(ends, captions)
        options["caption"] = "captions.0"
    if with_keys:
        columns["key"] = [sample.key for sample in samples]
    rows = draw(st.integers(1, 4))
    path = folder / "p.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    lost = draw(st.sets(st.integers(1, max(1, (len(samples) - 1) // rows))))
    for group in sorted(lost & set(range(-(-len(samples) // rows)))):
        damaged = draw(st.sets(st.sampled_from(sorted(columns)), min_size=1))
        damage(path, group, *damaged)
        for row in range(group * rows, min((group + 1) * rows, len(samples))):
            key = f"{row:09}" if "key" in damaged else samples[row].key
            samples[row] = replace(samples[row], key=key, flaw="damaged")
    return Pool(samples, options)


def table_pool(draw: Draw, folder: Path) -> Pool:
    """A folder of images that a CSV, TSV or JSONL lists."""
    kind = draw(st.sampled_from(["csv", "tsv", "jsonl"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    flaws = COMMON - {"invalid caption"} if kind == "jsonl" or encoding == "utf-16" else COMMON
    samples = draw_samples(draw, flaws, one_line=kind != "jsonl")
    image, caption = draw(st.sampled_from([("file_name", "text"), ("image", "caption")]))
    lines = [] if kind == "jsonl" else [[image, caption]]
    for sample in samples:
        path = f"{sample.key}.jpg"
        if sample.image is not None:
            (folder / path).write_bytes(sample.image)
        lines.append([path, sample.text])
    if kind == "jsonl":
        text = "".join(
            json.dumps({image: path} | ({caption: line} if sample.caption is not None else {}))
            + "\n"
            for (path, line), sample in zip(lines, samples, strict=True)
        )
    elif kind == "tsv":
        text = "".join("\t".join(line) + "\n" for line in lines)
    else:
        file = io.StringIO(newline="")
        csv.writer(file).writerows(lines)
        text = file.getvalue()
    if draw(st.booleans()):
        text += "{\n" if kind == "jsonl" else "one\ttwo\tthree\n" if kind == "tsv" else "1,2,3\n"
        samples.append(Sample(f"line-{text.count(chr(10))}", "bad line", None, None))
    (folder / f"metadata.{kind}").write_bytes(text.encode(encoding, "surrogateescape"))
    return Pool(samples)


def text_pool(draw: Draw, folder: Path) -> Pool:
    """A folder of images with a text file beside each."""
    samples = draw_samples(draw, COMMON - {"no image"})
    suffix = draw(st.sampled_from(["jpg", "JPG", "jfif", "png", "webp"]))
    for sample in samples:
        (folder / f"{sample.key}.{suffix}").write_bytes(sample.image or b"")
        if sample.caption is not None:
            (folder / f"{sample.key}.txt").write_bytes(sample.caption)
    return Pool(samples)


POOLS = {"tar": tar_pool, "parquet": parquet_pool, "table": table_pool, "text": text_pool}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return load_scorer("heuristics")


@pytest.mark.slow
@pytest.mark.parametrize("kind", POOLS)
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_no_sample_is_lost_or_mixed(kind: str, scorer: Scorer, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        (base / "pool").mkdir()
        pool = POOLS[kind](data.draw, base / "pool")
        shards = find_shards(str(base / "pool"), **pool.options)
        summary = score_shards(
            shards, scorer, str(base / "scores"), workers=0, max_failure_rate=1.0
        )
        assert not summary.unreadable
        check_rows(pool.samples, base / "scores")
        good = {member_key(each.key): each for each in pool.samples if each.flaw == "good"}
        selection = select(str(base / "scores"), where="caption_length >= 0", out=base / "chosen")
        assert selection.kept == len(good)
        written = write_webdataset(selection, base / "tars", samples_per_shard=3)
        assert written.samples == len(good)
        back = [
            pair
            for shard in find_shards(str(base / "tars" / "*.tar"), **pool.written_options).shards
            for pair in open_shard(shard)
        ]
        check_copies(good, [(member_key(pair.key), pair.image, pair.caption) for pair in back])
        write_dataset(selection, base / "dataset")
        rows = [
            row
            for file in sorted((base / "dataset").rglob("*.parquet"))
            for row in pq.read_table(file).to_pylist()
        ]
        check_copies(
            good,
            [(member_key(row["key"]), row["image"]["bytes"], row["caption"]) for row in rows],
        )


def check_rows(samples: list[Sample], scores: Path) -> None:
    """Every sample is one row, with the status its flaw deserves, and every failure says why."""
    rows = [
        row
        for file in sorted(scores.glob("*.parquet"))
        for row in pq.read_table(file, columns=["key", "status", "error"]).to_pylist()
    ]
    assert len(rows) == len(samples)
    assert Counter(row["key"] for row in rows) == Counter(sample.key for sample in samples)
    left = list(samples)
    for row in rows:  # of equal keys in order
        sample = next(each for each in left if each.key == row["key"])
        left.remove(sample)
        assert row["status"] in STATUSES[sample.flaw], (sample, row)
        assert (row["status"] == "ok") == (row["error"] is None)


def check_copies(good: dict[str, Sample], copies: list[tuple[str, Any, Any]]) -> None:
    """Every good sample came out once, as it went in."""
    assert sorted(key for key, *_ in copies) == sorted(good)
    for key, image, caption in copies:
        assert image == good[key].image
        assert caption == good[key].text
