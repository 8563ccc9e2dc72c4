"""Webdataset tars: consecutive members with one base name make a sample."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

from pairsift.captions import MAX_CAPTION_BYTES, decode_caption, oversized_caption
from pairsift.errors import PairsiftError
from pairsift.image_formats import IMAGE_SUFFIXES
from pairsift.images import ImageLimits
from pairsift.pair import Fault, Pair, Status, Texts
from pairsift.sources.base import (
    LISTS,
    MOSTLY,
    Shard,
    ShardReader,
    any_text,
    declared_failure,
    printable,
    valid_uid,
)
from pairsift.sources.fields import EVERY, NoFieldError, describe, join_steps, leaves, values_at
from pairsift.sources.files import open_file
from pairsift.sources.member_names import split_member
from pairsift.sources.packing import MissingPackageError
from pairsift.sources.tar_stream import BehindEndError, DamagedTarError, Member, iterate_tar

MAX_JSON_BYTES = 4 * 2**20
_MOST_SUFFIXES = 50
_SHOWN_SUFFIXES = 8

_CAPTION = re.compile("capt|text|alt|desc", re.IGNORECASE)

_JSON_FIELD = re.compile(r"(\.json\.)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which members of a sample are read, by their suffixes in lower case.

    Attributes:
        images: image suffixes with their rank; the lowest rank is preferred.
        caption: suffix; None if only the json has the caption.
        json: suffix of the member with the metadata.
        field: path to the caption in the json; None if the caption is not there.
    """

    images: Mapping[str, int]
    caption: str | None
    json: str
    field: str | None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Layout:
        """Make the layout from the options of the source.

        Raises:
            PairsiftError: the option `image` names no member.
        """
        image = options.get("image")
        if image is not None and ".json." in f".{str(image).lower()}":
            raise PairsiftError(
                f"--image-field {image}: an image must be a separate member, not a field "
                "of a json; give the member's suffix, for example jpg or input.jpg"
            )
        suffixes = IMAGE_SUFFIXES if image is None else (_suffix(image),)
        images = {suffix: rank for rank, suffix in enumerate(suffixes)}
        caption = str(options.get("caption") or "txt").lstrip(".")
        before, json, path = [*_JSON_FIELD.split(f".{caption}", maxsplit=1), "", ""][:3]
        if json and not path:
            raise PairsiftError(
                f"--caption-field {caption} names no field; write for example json.caption"
            )
        if json:
            return cls(images, None, f"{before}.json".lstrip(".").lower(), path)
        # If the user names a suffix, no other suffix is used instead.
        return cls(images, _suffix(caption), "json", "caption" if caption == "txt" else None)

    @property
    def suffixes(self) -> frozenset[str]:
        """The suffixes of all members that are read; a repeated one begins another sample."""
        return frozenset({*self.images, self.json} | ({self.caption} if self.caption else set()))


def _suffix(text: object) -> str:
    return str(text).lstrip(".").lower()


@dataclass(slots=True)
class _Sample:
    """Members of one key as they arrive; of the images only the preferred one is kept."""

    key: str
    start: int
    end: int
    suffixes: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    image: bytes | None = None
    image_rank: int = len(IMAGE_SUFFIXES)
    caption: bytes | None = None
    json: bytes | None = None
    image_fault: Fault | None = None
    caption_fault: Fault | None = None
    json_fault: str | None = None
    last: Member | None = None


class WebdatasetReader(ShardReader):
    """Reads one tar, plain or compressed, from start to end.

    - Image: the member with the suffix of option `image`, else the first of `IMAGE_SUFFIXES` that
      the sample has. Caption: the member with the suffix of option `caption` (default ``txt``),
      else the json's ``caption``; or only a field of the json with ``caption="json.PATH"`` (see
      :mod:`pairsift.sources.fields`). Suffixes may have several parts (``input.jpg``) and are
      compared in lower case.
    - uid: the json's ``uid`` if it is 32 hexadecimal digits; metadata: the json's fields.
    - A key that the shard had before, or a suffix that the sample had before, begins a sample that
    is
      a ``duplicate_key``. So are members of a sample that do not follow the others, because
      webdataset takes them for another sample.
    - A sample with neither image nor caption whose json says that it failed is ``source_failed``.
    - If most samples fail in the same way, `problem` says what was found and which option helps.
    - If the tar is truncated, its last sample is ``shard_truncated``, unless image and caption are
      complete.
    - Members larger than their limit are skipped. Nothing is ever written by name, so
      absolute names and ``..`` are just names; links, devices, hidden names and
      names without a suffix are not samples, and are counted in `problem`.
    """

    kind: ClassVar[str] = "webdataset"
    extensions: ClassVar[tuple[str, ...]] = (
        ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst",
        ".tzst",
    )  # fmt: skip
    options: ClassVar[frozenset[str]] = frozenset({"caption", "image", "max_image_bytes"})

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        options = dict(shard.options)
        self._layout = Layout.of(options)
        self._max_image_bytes = int(options.get("max_image_bytes", ImageLimits().max_bytes))
        self._lists = bool(options.get(LISTS))
        self._check = 0

    def __iter__(self) -> Iterator[Pair]:
        self.problem = None
        self.notes.clear()
        self.byte_ranges = array("q")
        self._findings = Findings(self._layout)
        left_out: Counter[str] = Counter()
        seen: dict[str, frozenset[str]] = {}
        members = 0
        sample: _Sample | None = None
        with open_file(self.shard.url) as file:
            try:
                for member in iterate_tar(file, left_out):
                    members += 1
                    parts = split_member(member.name)
                    if parts is None:
                        hidden = member.name.rpartition("/")[2].startswith(".")
                        left_out["hidden names" if hidden else "names without a suffix"] += 1
                        continue
                    key, suffix = printable(parts[0]), parts[1].lower()
                    if sample and (sample.key != key or suffix in sample.suffixes):
                        yield self._pair(sample, seen)
                        sample = None
                    sample = sample or _Sample(key, member.start, member.start)
                    # No extent if other entries are between its members, because they would be
                    # copied too.
                    sample.end = member.end if member.start == sample.end else -1
                    member.follow(sample.last.check if sample.last else 0)
                    sample.last = member
                    self._take(sample, suffix, member)
            except MissingPackageError as error:
                raise PairsiftError(f"{self.shard.url} {error}") from error
            except DamagedTarError as damage:
                if damage.position == 0:
                    raise PairsiftError(
                        f"{self.shard.url} is not a tar ({damage}); remove it, or download it again"
                    ) from damage
                self.problem = str(damage)
                cut = not isinstance(damage, BehindEndError)
                if sample and cut and (damage.in_member or not (sample.image and sample.caption)):
                    yield self._truncated(sample, damage)
                    sample = None
        if sample:
            yield self._pair(sample, seen)
        told = [self.problem, *self._findings.problems(self.shard.url, members, left_out)]
        self.problem = "; ".join(part for part in told if part) or None

    def _take(self, sample: _Sample, suffix: str, member: Member) -> None:
        layout = self._layout
        rank = layout.images.get(suffix)
        if rank is not None:
            sample.suffixes.add(suffix)
            if rank > sample.image_rank:
                return
            sample.image_rank, sample.image, sample.image_fault = rank, None, None
            if member.size > self._max_image_bytes:
                sample.image_fault = Fault(
                    Status.IMAGE_TOO_LARGE,
                    f"{member.size:,} bytes; the limit is {self._max_image_bytes:,}",
                )
                return
            sample.image = member.read()
        elif suffix == layout.caption:
            sample.suffixes.add(suffix)
            if member.size > MAX_CAPTION_BYTES:
                sample.caption_fault = oversized_caption(member.size)
                return
            sample.caption = member.read()
        elif suffix == layout.json:
            sample.suffixes.add(suffix)
            if member.size > MAX_JSON_BYTES:
                sample.json_fault = f"has {member.size:,} bytes; the limit is {MAX_JSON_BYTES:,}"
                return
            sample.json = member.read()
        elif len(sample.others) < _MOST_SUFFIXES:
            sample.others.add(suffix)

    def _pair(self, sample: _Sample, seen: dict[str, frozenset[str]]) -> Pair:
        metadata = self._metadata(sample)
        caption = self._caption(sample, metadata)
        fault = self._image_fault(sample, metadata)
        fault = fault or (caption if isinstance(caption, Fault) else None)
        suffixes = frozenset(sample.suffixes | sample.others)
        earlier = seen.get(sample.key)
        if earlier is not None:
            apart = suffixes.isdisjoint(earlier)
            fault = Fault(Status.DUPLICATE_KEY, _why_duplicate(suffixes, earlier, apart))
            self._findings.apart += apart
        # Samples of a shard have the same suffixes, so one set is shared by all of them.
        seen[sample.key] = self._findings.shared(suffixes | (earlier or frozenset()))
        one = any_text(caption) if isinstance(caption, tuple) else caption
        self._findings.add(sample, metadata, one, repeated=earlier is not None)
        self._note_extent(sample)
        return Pair(
            key=sample.key,
            image=sample.image,
            caption=caption if isinstance(caption, str) else None,
            shard=self.shard.name,
            uid=valid_uid(metadata.get("uid")),
            metadata=metadata,
            fault=fault,
            captions=caption if isinstance(caption, tuple) else None,
        )

    def _image_fault(self, sample: _Sample, metadata: Mapping[str, Any]) -> Fault | None:
        if sample.image is not None or sample.image_fault:
            return sample.image_fault
        declared = declared_failure(metadata)
        if declared is not None:
            return declared
        if not sample.others:
            return None  # the decoder's error says enough
        return Fault(
            Status.IMAGE_MISSING,
            f"no image member; the sample has {_dotted(sample.suffixes | sample.others)}",
        )

    def _metadata(self, sample: _Sample) -> dict[str, Any]:
        if sample.json is not None:
            try:
                content = json.loads(sample.json)
            except (ValueError, RecursionError) as error:
                sample.json_fault = f"is malformed: {error}"
            else:
                if isinstance(content, dict):
                    return content
                sample.json_fault = f"holds a {type(content).__name__}, not an object"
        if sample.json_fault:
            self.notes["json members that could not be used"] += 1
        return {}

    def _text(self, value: Any, path: str, metadata: Mapping[str, Any]) -> str | Fault:
        """Return what the json has as a caption, or why it is none."""
        if isinstance(value, str):
            return value
        layout = self._layout
        missing = f"no .{layout.caption} member; " if layout.caption else ""
        if isinstance(value, NoFieldError):
            words = f"{missing}in the .{layout.json} member {value}"
            if likely := _likely_caption(metadata):
                option = f"--caption-field {layout.json}.{likely}"
                words += f"; name the right one, for example {option}"
        else:
            words = f"{missing}in the .{layout.json} member {path} is {describe(value)}"
            inside = next(_texts(value), None) if isinstance(value, Mapping | list) else None
            if inside is not None:
                field = f"{layout.json}.{path}"
                words += f"; choose one text in it: --caption-field {field}.{inside}"
                if isinstance(value, list):
                    words += f", or a row of each: --caption-field '{field}.{EVERY}{inside[1:]}'"
        return Fault(Status.CAPTION_MISSING, printable(words))

    def _caption(self, sample: _Sample, metadata: dict[str, Any]) -> str | Fault | Texts | None:
        if sample.caption_fault:
            return sample.caption_fault
        if sample.caption is not None:
            return decode_caption(sample.caption)
        layout = self._layout
        missing = f"no .{layout.caption} member; " if layout.caption else ""
        words = None
        if layout.field is not None and sample.json_fault:
            words = f"{missing}the .{layout.json} member {sample.json_fault}"
        elif layout.field is not None and sample.json is not None:
            texts = [
                self._text(value, join_steps(steps), metadata)
                for steps, value in values_at(metadata, layout.field, self._lists)
            ]
            return tuple(texts) if len(texts) > 1 else texts[0]
        elif layout.caption is None:
            words = f"no .{layout.json} member with {layout.field}"
        elif sample.others:
            words = f"{missing}the sample has {_dotted(sample.suffixes | sample.others)}"
        return Fault(Status.CAPTION_MISSING, printable(words)) if words else None

    def _truncated(self, sample: _Sample, damage: DamagedTarError) -> Pair:
        fault = Fault(Status.SHARD_TRUNCATED, printable(str(damage)))
        self._note_extent(sample)
        return Pair(sample.key, None, None, shard=self.shard.name, fault=fault)

    def check(self, pair: Pair) -> int:
        """Return the CRC-32 of the sample's members in the tar, headers included, in order."""
        return self._check

    def _note_extent(self, sample: _Sample) -> None:
        assert self.byte_ranges is not None
        assert sample.last is not None
        self._check = sample.last.check
        together = 0 <= sample.end < 2**63  # headers may name any size
        self.byte_ranges.extend((sample.start, sample.end) if together else (-1, -1))


class Findings:
    """What the samples of a tar have in common, to explain why they fail; bounded in memory."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.samples = self.apart = self.without_image = self.without_caption = 0
        self.others: Counter[str] = Counter()
        self.first_caption_fault: str | None = None
        self._sets: dict[frozenset[str], frozenset[str]] = {}

    def shared(self, suffixes: frozenset[str]) -> frozenset[str]:
        """Return an equal set, always the same object."""
        if len(self._sets) >= 1000:
            return suffixes
        return self._sets.setdefault(suffixes, suffixes)

    def add(
        self,
        sample: _Sample,
        metadata: Mapping[str, Any],
        caption: str | Fault | None,
        repeated: bool,
    ) -> None:
        """Count a sample."""
        self.samples += 1
        if repeated:
            return
        for suffix in sample.others:
            if suffix in self.others or len(self.others) < _MOST_SUFFIXES:
                self.others[suffix] += 1
        if declared_failure(metadata):
            return
        self.without_image += sample.image is None and sample.image_fault is None
        fault = caption if isinstance(caption, Fault) else None
        if caption is None or (fault and fault.status is Status.CAPTION_MISSING):
            self.without_caption += 1
            if fault and self.first_caption_fault is None:
                self.first_caption_fault = fault.error

    def problems(self, url: str, members: int, left_out: Counter[str]) -> Iterator[str]:
        """Return sentences: what was found, what was expected, and what helps."""
        told = [f"{count:,} {what}" for what, count in left_out.items()]
        found = f"left out: {', '.join(told)}"
        if not self.samples:
            if members or left_out:
                yield (
                    f"it has no samples: none of {members:,} members is named KEY.SUFFIX, such as "
                    "00001.jpg and 00001.txt"
                )
        elif self.apart:
            name = url.rsplit("/", 1)[-1]
            yield (
                f"{self.apart:,} of {self.samples:,} samples have members that do not follow "
                "each other; all members of a sample must be next to each other in a tar. Sort "
                f"it: mkdir unpacked; tar -xf {name} -C unpacked; "
                f"tar -C unpacked --sort=name -cf sorted.tar ."
            )
        else:
            yield from self._lacking(bool(left_out))
        if left_out:
            yield found

    def _lacking(self, left_out: bool) -> Iterator[str]:
        # If nothing else was found, the statuses of the rows say enough.
        if self.without_image > MOSTLY * self.samples and (self.others or left_out):
            usual = f"looked for: {_dotted(self.layout.images)}"
            advice = self._advice("--image-field", IMAGE_SUFFIXES)
            yield f"{self._share(self.without_image)} have no image ({usual}){advice}"
        told_more = self.others or self.first_caption_fault
        if self.without_caption > MOSTLY * self.samples and told_more:
            why = self.first_caption_fault or f"no .{self.layout.caption} member"
            advice = self._advice("--caption-field", ("txt", "text", "cap", "caption"))
            yield f"{self._share(self.without_caption)} have no caption ({why}){advice}"

    def _share(self, count: int) -> str:
        return f"{'all' if count == self.samples else f'{count:,} of'} {self.samples:,} samples"

    def _advice(self, option: str, likely: Iterable[str]) -> str:
        """Name the members that are not read, and the option with the most likely one."""
        if not self.others:
            return ""
        ends = set(likely)
        common = [suffix for suffix, _ in self.others.most_common()]
        best = next((each for each in common if ends & set(each.split("."))), common[0])
        counts = ", ".join(f".{each} ({self.others[each]:,})" for each in common[:_SHOWN_SUFFIXES])
        return (
            f"; other members are {counts}; if one is right, give it, for example {option} {best}"
        )


def _why_duplicate(here: frozenset[str], earlier: frozenset[str], apart: bool) -> str:
    if not apart:
        return "an earlier sample of the shard has this key"
    return (
        f"the members of this key are not next to each other: {_dotted(here)} here, "
        f"{_dotted(earlier)} earlier in "
        "the shard"
    )


def _dotted(suffixes: Iterable[str]) -> str:
    listed = list(suffixes) if isinstance(suffixes, Mapping) else sorted(suffixes)
    more = ", ..." if len(listed) > _SHOWN_SUFFIXES else ""
    return printable(", ".join(f".{suffix}" for suffix in listed[:_SHOWN_SUFFIXES]) + more)


def _likely_caption(metadata: Mapping[str, Any]) -> str | None:
    """Return the path to the text in a json that is most likely the caption."""
    paths = list(islice(_texts(metadata), _MOST_SUFFIXES))
    return next((path for path in paths if _CAPTION.search(path)), paths[0] if paths else None)


def _texts(value: Any) -> Iterator[str]:
    return (path for path, leaf in leaves(value) if isinstance(leaf, str))
