"""Webdataset tars: consecutive members with one base name make a sample."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pairsift.captions import MAX_CAPTION_BYTES, decode_caption, oversized_caption
from pairsift.errors import PairsiftError
from pairsift.image_formats import IMAGE_SUFFIXES
from pairsift.images import ImageLimits
from pairsift.pair import Fault, Pair, Status
from pairsift.sources.base import Shard, ShardReader, printable, valid_uid
from pairsift.sources.files import open_file
from pairsift.sources.tar_stream import DamagedTarError, Member, iterate_tar

MAX_JSON_BYTES = 4 * 2**20

# webdataset's rule: the key ends at the first dot after the last slash. Names without a dot, or
# whose base begins with one, belong to no sample.
_MEMBER = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)


@dataclass(slots=True)
class _Sample:
    """Members of one key as they come in; of the images only the preferred one is held."""

    key: str
    start: int
    end: int
    suffixes: set[str] = field(default_factory=set)
    image: bytes | None = None
    image_rank: int = len(IMAGE_SUFFIXES)
    caption: bytes | None = None
    json: bytes | None = None
    image_fault: Fault | None = None
    caption_fault: Fault | None = None
    json_fault: str | None = None
    last: Member | None = None


class WebdatasetReader(ShardReader):
    """Reads one tar, plain or gzip, front to back.

    - Image: the first of `IMAGE_SUFFIXES` the sample has. Caption: the member with the suffix of
      option `caption` (default ``txt``), else the json's ``caption``; or only a field of the json
      with ``caption="json.FIELD"``. Suffixes are compared in lower case.
    - uid: the json's ``uid`` if it is 32 hexadecimal digits; metadata: the json's fields.
    - A key met before in the shard, or a suffix met before in the sample, begins a sample that is
      a ``duplicate_key``.
    - Where the tar is cut off, the sample it cuts is ``shard_truncated``; one that has its image
      and caption is not cut.
    - Members larger than their limit are skipped unread. Nothing is ever written by name, so
      absolute names and ``..`` are just names; links and devices are no samples.
    """

    kind: ClassVar[str] = "webdataset"

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        options = dict(shard.options)
        caption = str(options.get("caption", "txt")).lstrip(".")
        self._json_field: str | None = "caption"
        self._caption_suffix: str | None = caption.lower()
        if caption.startswith("json."):
            self._json_field, self._caption_suffix = caption[len("json.") :], None
        elif caption != "txt":
            self._json_field = None  # a suffix asked for by name has no understudy
        self._max_image_bytes = int(options.get("max_image_bytes", ImageLimits().max_bytes))
        self._check = 0

    def __iter__(self) -> Iterator[Pair]:
        self.problem = None
        self.notes.clear()
        self.extents = array("q")
        seen: set[str] = set()
        sample: _Sample | None = None
        with open_file(self.shard.url) as file:
            try:
                for member in iterate_tar(file):
                    match = _MEMBER.fullmatch(member.name)
                    if match is None:
                        continue
                    key, suffix = printable(match[1]), match[2].lower()
                    if sample and (sample.key != key or suffix in sample.suffixes):
                        yield self._pair(sample, seen)
                        sample = None
                    sample = sample or _Sample(key, member.start, member.start)
                    # Other entries between its members would be copied along: no extent then.
                    sample.end = member.end if member.start == sample.end else -1
                    member.follow(sample.last.check if sample.last else 0)
                    sample.last = member
                    self._take(sample, suffix, member)
            except DamagedTarError as damage:
                if damage.position == 0:
                    raise PairsiftError(
                        f"{self.shard.url} is not a tar ({damage}); remove it, or fetch it again"
                    ) from damage
                self.problem = str(damage)
                if sample and (damage.in_member or not (sample.image and sample.caption)):
                    yield self._truncated(sample, damage)
                    return
        if sample:
            yield self._pair(sample, seen)

    def _take(self, sample: _Sample, suffix: str, member: Member) -> None:
        if suffix in IMAGE_SUFFIXES:
            sample.suffixes.add(suffix)
            rank = IMAGE_SUFFIXES.index(suffix)
            if rank > sample.image_rank:
                return
            sample.image_rank, sample.image, sample.image_fault = rank, None, None
            if member.size > self._max_image_bytes:
                sample.image_fault = Fault(
                    Status.IMAGE_TOO_LARGE,
                    f"{member.size:,} bytes; at most {self._max_image_bytes:,} are read",
                )
                return
            sample.image = member.read()
        elif suffix == self._caption_suffix:
            sample.suffixes.add(suffix)
            if member.size > MAX_CAPTION_BYTES:
                sample.caption_fault = oversized_caption(member.size)
                return
            sample.caption = member.read()
        elif suffix == "json":
            sample.suffixes.add(suffix)
            if member.size > MAX_JSON_BYTES:
                sample.json_fault = (
                    f"has {member.size:,} bytes; at most {MAX_JSON_BYTES:,} are read"
                )
                return
            sample.json = member.read()

    def _pair(self, sample: _Sample, seen: set[str]) -> Pair:
        metadata = self._metadata(sample)
        caption = self._caption(sample, metadata)
        fault = sample.image_fault or (caption if isinstance(caption, Fault) else None)
        if sample.key in seen:
            fault = Fault(Status.DUPLICATE_KEY, "an earlier sample of the shard has this key")
        seen.add(sample.key)
        self._note_extent(sample)
        return Pair(
            key=sample.key,
            image=sample.image,
            caption=None if isinstance(caption, Fault) else caption,
            shard=self.shard.name,
            uid=valid_uid(metadata.get("uid")),
            metadata=metadata,
            fault=fault,
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

    def _caption(self, sample: _Sample, metadata: dict[str, Any]) -> str | Fault | None:
        if sample.caption_fault:
            return sample.caption_fault
        if sample.caption is not None:
            return decode_caption(sample.caption)
        if self._json_field is None:
            return None
        if sample.json_fault:
            return Fault(
                Status.CAPTION_MISSING,
                f"no {self._caption_suffix or 'other'} member, and the json {sample.json_fault}",
            )
        value = metadata.get(self._json_field)
        if value is None or isinstance(value, str):
            return value
        return Fault(
            Status.CAPTION_MISSING,
            f"{self._json_field!r} in the json is a {type(value).__name__}, not text",
        )

    def _truncated(self, sample: _Sample, damage: DamagedTarError) -> Pair:
        fault = Fault(Status.SHARD_TRUNCATED, printable(str(damage)))
        self._note_extent(sample)
        return Pair(sample.key, None, None, shard=self.shard.name, fault=fault)

    def check(self, pair: Pair) -> int:
        """CRC-32 of the sample's members in the tar, headers and all, one behind the other."""
        return self._check

    def _note_extent(self, sample: _Sample) -> None:
        assert self.extents is not None
        assert sample.last is not None
        self._check = sample.last.check
        together = 0 <= sample.end < 2**63  # headers may claim any size
        self.extents.extend((sample.start, sample.end) if together else (-1, -1))
