"""Teacher records: a candidate caption of an image, its kind, and the teacher's scores."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.arrow import read_parquet
from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS, Metric
from pairsift.scores import metric_field, schema_metrics
from pairsift.sources.labels import is_label
from pairsift.sources.tables import read_rows
from pairsift.sources.text_files import open_unpacked, read_text
from pairsift.storage import Folder, OutputKind, output_file, split

METADATA_KEY = b"pairsift.teacher"
_LONGEST_ROW = 16 << 20

_WHY = "_why"


def record_schema(metrics: Iterable[Metric] = METRICS.values()) -> pa.Schema:
    """Return the columns of records: a score and a rationale for each metric, and who and what."""
    asked = list(metrics)
    return pa.schema(
        [
            pa.field("image", pa.string(), nullable=False),
            pa.field("caption", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("source", pa.int32()),
            *map(metric_field, asked),
            *(pa.field(f"{metric.name}{_WHY}", pa.string()) for metric in asked),
            pa.field("error", pa.string()),
        ]
    )


@dataclass(slots=True)
class Record:
    """One annotated caption.

    Attributes:
        image: file name, or `shard/key`.
        caption: the candidate, as the teacher received it.
        kind: how it was made (:mod:`pairsift.teach.candidates`), or `given`.
        source: which of the image's own captions it was made from; None if none.
        scores: by metric, each on its own scale; a metric that was not asked for is absent.
        why: the teacher's rationale by metric, if it gave one.
        error: why there are no scores; None if there are.
    """

    image: str
    caption: str
    kind: str = "given"
    source: int | None = None
    scores: dict[str, float] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    def to_row(self, metrics: Iterable[str] = METRICS) -> dict[str, Any]:
        """Return a row of :func:`record_schema`."""
        asked = list(metrics)
        row: dict[str, Any] = {"image": self.image, "caption": self.caption, "kind": self.kind}
        row |= {"source": self.source, "error": self.error}
        row |= {metric: self.scores.get(metric) for metric in asked}
        return row | {f"{metric}{_WHY}": self.why.get(metric) for metric in asked}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Record:
        """Make the record from a row of :func:`record_schema`."""
        # Each metric has a rationale beside it, in JSON lines too, which have no metadata.
        metrics = [name.removesuffix(_WHY) for name in row if name.endswith(_WHY)]
        return cls(
            str(row["image"]),
            str(row["caption"]),
            str(row.get("kind") or "given"),
            row.get("source"),
            {m: float(row[m]) for m in metrics if row.get(m) is not None},
            {m: str(row[f"{m}{_WHY}"]) for m in metrics if row.get(f"{m}{_WHY}")},
            row.get("error"),
        )


def _is_table(file: IO[bytes]) -> bool:
    return METADATA_KEY in (pq.read_metadata(file).metadata or {})


def _is_lines(file: IO[bytes]) -> bool:
    row = json.loads(file.readline(_LONGEST_ROW))
    return isinstance(row, dict) and {"image", "caption", "kind", "source"} <= row.keys()


def _kind(path: str) -> OutputKind:
    lines = path.endswith(".jsonl")
    return OutputKind("a file of teacher records", _is_lines if lines else _is_table)


def check_output(path: str) -> None:
    """Check that records can be written to a path; called before the teacher is asked.

    Raises:
        PairsiftError: they cannot be written there.
    """
    folder, name = output_file(path, _kind(path))
    folder.create()
    if folder.is_local and not os.access(folder.path, os.W_OK | os.X_OK):
        raise PairsiftError(f"{folder.url} is not writable; choose another --out")
    folder.exists(name)  # fails now if the storage cannot be reached


def write_records(
    path: str,
    records: Iterable[Record],
    teacher: Mapping[str, Any],
    metrics: Iterable[Metric] = METRICS.values(),
) -> int:
    """Write all records or nothing: parquet, or JSON lines if the name ends in .jsonl.

    Args:
        teacher: the teacher's facts; kept in the parquet's metadata under `pairsift.teacher`.
        metrics: the metrics that there are columns of.

    Returns:
        the number of records.
    """
    folder, name = output_file(path, _kind(path))
    folder.create()
    schema = record_schema(metrics)
    names = list(schema_metrics(schema))
    rows = [record.to_row(names) for record in records]
    if name.endswith(".jsonl"):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        folder.write(name, lines.encode("utf-8", "replace"))
        return len(rows)
    table = pa.Table.from_pylist(rows, schema)
    buffer = io.BytesIO()
    metadata = {METADATA_KEY: json.dumps(dict(teacher), sort_keys=True).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    folder.write(name, buffer.getvalue())
    return len(rows)


def labelled_metric(chosen: Sequence[str] | None, known: Mapping[str, Metric]) -> Metric:
    """Return the metric that labels are scores of: the one that was chosen, else itm."""
    name = chosen[0] if chosen and len(chosen) == 1 else "itm"
    return known.get(name, METRICS["itm"])


def read_records(path: str, labelled: Metric = METRICS["itm"]) -> list[Record]:
    """Read what :func:`write_records` wrote, or the labels of `pairsift explore`.

    Args:
        labelled: the metric that labels are scores of: its highest value for good, its lowest for
            bad. Unsure labels are left out.

    Raises:
        PairsiftError: the file is something else.
    """
    try:
        if path.endswith(".jsonl"):
            if _holds_labels(path):
                return _of_labels(path, labelled)
            rows = [json.loads(line) for line in read_text(path).split("\n") if line.strip()]
        else:
            parent, name = split(path)
            rows = read_parquet(Folder(parent).read(name)).to_pylist()
        return [Record.from_row(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise PairsiftError(
            f"{path} holds no teacher records ({type(error).__name__}: {error}); give a file that "
            "`pairsift teach` wrote"
        ) from error


def _holds_labels(path: str) -> bool:
    with open_unpacked(path) as file:
        line = file.readline(_LONGEST_ROW)
    return bool(line.strip()) and is_label(json.loads(line))


def _of_labels(path: str, metric: Metric) -> list[Record]:
    ends = metric.scale.low, metric.scale.high
    worst, best = ends if metric.better != "lower" else ends[::-1]
    return [
        Record(row["image"], row["caption"], scores={metric.name: best if row["score"] else worst})
        for row in read_rows(path)
        if row["score"] is not None
    ]
