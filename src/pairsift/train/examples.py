"""Training data: annotated captions that `pairsift balance` wrote, records of a teacher, labels of
people, and general instructions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pairsift.balance.export import IMAGE_FOLDER, LLAVA_FILE, MESSAGES_FILE
from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS, Metric
from pairsift.sources.image_store import ImageStore
from pairsift.sources.parquet_column import ParquetColumn
from pairsift.sources.text_files import read_json
from pairsift.teach.records import labelled_metric, read_records

_IMAGE_TOKEN = "<image>"


@dataclass(frozen=True, slots=True)
class Example:
    """An annotated caption.

    Attributes:
        place: number of the image source that has the image.
        image: the image's name in that source.
        scores: the teacher's scores by metric, each on its own scale; at least one.
        why: the teacher's rationale by metric, if it gave one.
    """

    place: int
    image: str
    caption: str
    scores: Mapping[str, float]
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A general instruction about an image and its answer."""

    place: int
    image: str
    question: str
    answer: str


class Source(Protocol):
    """Images by name. Picklable; works in a process and in its forks."""

    def read(self, name: str) -> bytes:
        """Return the encoded bytes of an image."""

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return which of `names` the source does not have."""


class StoredImages:
    """Images in folders, tars and parquet files, opened separately in every process.

    Args:
        groups: places that are searched together; an image in an earlier group hides one of the
            same name in a later group.
    """

    def __init__(self, *groups: Sequence[str]) -> None:
        self.groups = [tuple(places) for places in groups if places]
        self._opened: tuple[int, list[ImageStore]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"groups": self.groups, "_opened": None}

    def _stores(self) -> list[ImageStore]:
        # Processes that share an open file also share its position.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), [ImageStore(places) for places in self.groups])
        return self._opened[1]

    def read(self, name: str) -> bytes:
        stores = self._stores()
        return next((store for store in stores if store.has(name)), stores[0]).read(name)

    def missing(self, names: Iterable[str]) -> list[str]:
        left = list(names)
        for store in self._stores():
            left = store.missing(left)
        return left

    def why_missing(self, name: str) -> str:
        """Return a sentence on why none of the places has an image."""
        return "; ".join(dict.fromkeys(store.why_missing(name) for store in self._stores()))


class MessageImages:
    """Images inside the dataset of `pairsift balance`, by the record's image name."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._images = ParquetColumn(path, "images")
        self._rows: dict[str, tuple[int, int]] = {}
        file = self._images.file
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, columns=["image"])["image"].to_pylist()
            for row, name in enumerate(names):
                self._rows.setdefault(name, (group, row))

    def read(self, name: str) -> bytes:
        images = self._images[self._rows[name]]
        return (images[0].get("bytes") if images else None) or b""

    def missing(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in self._rows]


@dataclass
class TrainingData:
    """All data that was read.

    Attributes:
        sources: image sources; an example's ``place`` is an index of this list.
        examples: distinct pairs, in the order of their first occurrence.
        exchanges: general instructions.
        left_out: how many entries cannot be used, by reason.
        digests: sha256 of every file, the first 16 hex digits.
    """

    sources: list[Source] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, count: int = 1) -> None:
        if count:
            self.left_out[reason] = self.left_out.get(reason, 0) + count


def read_data(
    paths: Sequence[str],
    images: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    sources: list[Source] | None = None,
    known: Mapping[str, Metric] = METRICS,
) -> TrainingData:
    """Read folders that `pairsift balance` wrote, the files in them, or JSON lines of records and
    labels (:func:`pairsift.teach.records.read_records`).

    A pair that was selected for several metrics becomes one example with several scores.

    Args:
        images: more places to search for images.
        metrics: scores of other metrics are ignored.
        sources: image sources of other data; the sources of this data are added to them.
        known: the metrics that data may have, by name.

    Raises:
        PairsiftError: a file has another form, an image is missing, or nothing is left.
    """
    data = TrainingData([] if sources is None else sources)
    for path in paths:
        file = _file_of(path)
        data.digests.append(_digest(file))
        if file.suffix == ".jsonl":
            _read_records(file, images, data, labelled_metric(metrics, known), known)
        elif file.suffix == ".parquet":
            _read_messages(file, data, known)
        else:
            _read_llava(file, images, data, known)
    data.examples = _merge(data.examples, metrics)
    if not data.examples:
        asked = f" for {', '.join(metrics)}" if metrics else ""
        raise PairsiftError(f"{', '.join(paths)}: no annotated caption{asked} to learn from")
    return data


def read_mix(path: str, images: Sequence[str], count: int, seed: int, data: TrainingData) -> None:
    """Add randomly drawn general instructions to `data`: the first exchange of each entry.

    Entries without an image, or whose image is missing, are left out and counted.

    Raises:
        PairsiftError: the file is not LLaVA's JSON, or no entry can be used.
    """
    file = Path(path)
    entries = _llava_entries(file)
    data.digests.append(_digest(file))
    place, source = _add_images(file, images, data)
    found = [
        exchange for entry in entries if (exchange := _exchange(entry, place, data)) is not None
    ]
    found = _with_image(found, source, data)
    if not found:
        named = next((e.get("image") for e in entries if isinstance(e.get("image"), str)), None)
        why = f" ({source.why_missing(named)})" if named else ""
        raise PairsiftError(
            f"{path}: no instruction has an image that exists{why}; give the images' folder with "
            "--images"
        )
    order = np.random.default_rng(seed).permutation(len(found))
    data.exchanges += [found[index] for index in sorted(order[:count])]


def split_dev(
    examples: Sequence[Example], fraction: float, most: int, seed: int
) -> tuple[list[Example], list[Example]]:
    """Set a fraction of the images apart for dev, with all their captions.

    The split depends only on the image names and the seed.

    Args:
        most: the most dev pairs. Pairs beyond it are not used at all, so that no dev image is
            trained on.

    Returns:
        the examples to train on, and those to measure on.
    """
    images = dict.fromkeys((example.place, example.image) for example in examples)
    shuffled = sorted(images, key=lambda image: _drawn(f"{image[0]}/{image[1]}", seed))
    apart = set(shuffled[: round(fraction * len(shuffled))])
    train = [example for example in examples if (example.place, example.image) not in apart]
    dev = [example for example in examples if (example.place, example.image) in apart]
    return train, fewest(dev, most, seed)


def fewest(examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    """Return at most this many examples, drawn by a hash of their names, in their order."""
    if len(examples) <= most:
        return list(examples)
    draws = [_drawn(f"{e.place}/{e.image}/{e.caption}", seed) for e in examples]
    kept = sorted(np.argsort(draws, kind="stable")[:most])
    return [examples[index] for index in kept]


def _drawn(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}/{name}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _file_of(path: str) -> Path:
    place = Path(path)
    if place.is_dir():
        for name in (LLAVA_FILE, MESSAGES_FILE):
            if (place / name).is_file():
                return place / name
        raise PairsiftError(
            f"{path} holds neither {LLAVA_FILE} nor {MESSAGES_FILE}; give a folder that "
            "`pairsift balance` wrote"
        )
    if not place.is_file() or place.suffix not in (".json", ".jsonl", ".parquet"):
        raise PairsiftError(
            f"{path} is not training data; give a folder that `pairsift balance` wrote, its "
            f"{LLAVA_FILE} or {MESSAGES_FILE}, or a .jsonl file of `pairsift teach` or of labels"
        )
    return place


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise PairsiftError(f"cannot read {file}: {error}") from None
    return digest.hexdigest()[:16]


def _llava_entries(file: Path) -> list[dict[str, Any]]:
    entries = read_json(str(file))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PairsiftError(f"{file} is not LLaVA's JSON: a list of entries with conversations")
    return entries


def _add_images(file: Path, images: Sequence[str], data: TrainingData) -> tuple[int, StoredImages]:
    beside = file.parent / IMAGE_FOLDER
    source = StoredImages([str(file.parent)] if beside.is_dir() else [], images)
    if not source.groups:
        raise PairsiftError(f"{file}: there is no folder {beside}; give --images")
    data.sources.append(source)
    return len(data.sources) - 1, source


def _read_llava(
    file: Path, images: Sequence[str], data: TrainingData, known: Mapping[str, Metric]
) -> None:
    entries = _llava_entries(file)
    place, source = _add_images(file, images, data)
    examples, exchanges = [], []
    for number, entry in enumerate(entries):
        if "metric" in entry or "score" in entry:
            said = entry.get("conversations") or [{}]
            answer = said[-1].get("value") if isinstance(said[-1], dict) else None
            where = f"{file}, entry {number}"
            examples.append(_example(entry, entry.get("image"), answer, place, where, known))
        elif (exchange := _exchange(entry, place, data)) is not None:
            exchanges.append(exchange)
    _refuse_missing(file, examples, source)
    data.examples += examples
    data.exchanges += _with_image(exchanges, source, data)


def _refuse_missing(file: Path, examples: Sequence[Example], source: StoredImages) -> None:
    missing = source.missing(dict.fromkeys(example.image for example in examples))
    if missing:
        raise PairsiftError(
            f"{file}: {len(missing):,} images are missing, for example: "
            f"{source.why_missing(missing[0])}. Give their places with --images"
        )


def _read_records(
    file: Path,
    images: Sequence[str],
    data: TrainingData,
    labelled: Metric,
    known: Mapping[str, Metric],
) -> None:
    records = [record for record in read_records(str(file), labelled) if record.scores]
    if not images:
        raise PairsiftError(f"{file} holds no images; give their places with --images")
    place = len(data.sources)
    source = StoredImages(images)
    examples = []
    for number, record in enumerate(records):
        where = f"{file}, record {number}"
        for metric, score in record.scores.items():
            entry = {"metric": metric, "score": score, "caption": record.caption}
            said = f"\n{record.why.get(metric, '')}"
            examples.append(_example(entry, record.image, said, place, where, known))
    _refuse_missing(file, examples, source)
    data.sources.append(source)
    data.examples += examples


def _read_messages(file: Path, data: TrainingData, known: Mapping[str, Metric]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["messages", "metric", "score", "image", "caption"]
    try:
        rows = pq.read_table(file, columns=columns).to_pylist()
        source = MessageImages(str(file))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise PairsiftError(
            f"{file} is not a dataset that `pairsift balance` wrote ({error})"
        ) from None
    place = len(data.sources)
    data.sources.append(source)
    for number, row in enumerate(rows):
        try:
            answer = row["messages"][-1]["content"][0]["text"]
        except (KeyError, IndexError, TypeError):
            answer = None
        where = f"{file}, row {number}"
        data.examples.append(_example(row, row["image"], answer, place, where, known))


def _example(
    entry: Mapping[str, Any],
    image: Any,
    answer: Any,
    place: int,
    where: str,
    known: Mapping[str, Metric],
) -> Example:
    metric, score, caption = entry.get("metric"), entry.get("score"), entry.get("caption")
    if not isinstance(metric, str) or metric not in known:
        raise PairsiftError(
            f"{where}: metric {metric!r} is not one of {', '.join(known)}; give the prompt pack "
            "that asks about it (--prompts)"
        )
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise PairsiftError(f"{where}: score {score!r} is not a number")
    scale = known[metric].scale
    if not scale.low <= score <= scale.high:
        raise PairsiftError(f"{where}: score {score} is not in {scale.low:g}..{scale.high:g}")
    if not isinstance(caption, str) or not isinstance(image, str):
        raise PairsiftError(
            f"{where}: caption or image is missing; write the data with this version's "
            "`pairsift balance`"
        )
    _, _, why = answer.partition("\n") if isinstance(answer, str) else ("", "", "")
    return Example(
        place, image, caption, {metric: float(score)}, {metric: why.strip()} if why.strip() else {}
    )


def _exchange(entry: Mapping[str, Any], place: int, data: TrainingData) -> Exchange | None:
    image, turns = entry.get("image"), entry.get("conversations")
    if not isinstance(image, str):
        data.leave_out("instruction without an image")
        return None
    try:
        asked, said = turns[0], turns[1]  # type: ignore[index]
        if asked["from"] != "human" or said["from"] != "gpt":
            raise ValueError
        question = str(asked["value"]).replace(_IMAGE_TOKEN, "").strip()
        answer = str(said["value"]).strip()
    except (TypeError, IndexError, KeyError, ValueError):
        data.leave_out("instruction that does not begin with a human turn and a gpt turn")
        return None
    if not question or not answer:
        data.leave_out("instruction without text")
        return None
    return Exchange(place, image, question, answer)


def _with_image(
    exchanges: Sequence[Exchange], source: Source, data: TrainingData
) -> list[Exchange]:
    missing = set(source.missing(dict.fromkeys(exchange.image for exchange in exchanges)))
    kept = [exchange for exchange in exchanges if exchange.image not in missing]
    data.leave_out("instruction whose image is missing", len(exchanges) - len(kept))
    return kept


def _merge(examples: Sequence[Example], metrics: Sequence[str] | None) -> list[Example]:
    merged: dict[tuple[int, str, str], Example] = {}
    for example in examples:
        scores = {m: s for m, s in example.scores.items() if metrics is None or m in metrics}
        if not scores:
            continue
        key = (example.place, example.image, example.caption)
        known = merged.get(key, Example(*key, {}, {}))
        merged[key] = Example(*key, {**scores, **known.scores}, {**example.why, **known.why})
    return list(merged.values())
