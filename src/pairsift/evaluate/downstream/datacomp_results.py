"""Read results on DataComp's 38 data sets, average them, and compare them with published ones.

Two published forms are read: `eval_results.jsonl` of DataComp's `evaluate.py` (one line per data
set, with its main metric), and open_clip's table of zero-shot results (one row per model, one
column per data set).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.evaluate.output import markdown_page, markdown_table, write_evaluation
from pairsift.sources.tables import read_rows
from pairsift.sources.text_files import read_text

IMAGENET = "ImageNet 1k"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "ImageNet": (IMAGENET,),
    "shifts": (
        "ImageNet Sketch",
        "ImageNet v2",
        "ImageNet-A",
        "ImageNet-O",
        "ImageNet-R",
        "ObjectNet",
    ),
    "VTAB": (
        "Caltech-101",
        "CIFAR-100",
        "CLEVR Counts",
        "CLEVR Distance",
        "Describable Textures",
        "EuroSAT",
        "KITTI Vehicle Distance",
        "Oxford Flowers-102",
        "Oxford-IIIT Pet",
        "PatchCamelyon",
        "RESISC45",
        "SVHN",
        "SUN397",
    ),
    "retrieval": ("Flickr", "MSCOCO", "WinoGAViL"),
}
"""The groups of DataComp's `aggregate_scores.py`."""

AVERAGE = "average"
OTHERS = (
    "CIFAR-10",
    "Country211",
    "FGVC Aircraft",
    "Food-101",
    "GTSRB",
    "MNIST",
    "Pascal VOC 2007",
    "Rendered SST2",
    "Stanford Cars",
    "STL-10",
    "iWildCam",
    "Camelyon17",
    "FMoW",
    "Dollar Street",
    "GeoDE",
)
DATASETS = frozenset(name for group in GROUPS.values() for name in group) | frozenset(OTHERS)
"""The 38 data sets of the average."""
_WITHOUT_SCORE = ("FairFace", "UTKFace")
"""Data sets that are evaluated too, but have no main metric."""
MEASURED = "this run"


@dataclass(frozen=True, slots=True)
class DatacompRow:
    """One model on the benchmark.

    Attributes:
        scores: percent by group; a published source may know only some groups.
        source: where the row comes from.
        missing: data sets without a result; groups that need them have no score.
    """

    name: str
    scores: Mapping[str, float]
    source: str = MEASURED
    missing: tuple[str, ...] = ()


_PAPER = "MLM-Filter (arXiv 2403.02677), author's page"
_COLUMNS = (*GROUPS, AVERAGE)


def _published(name: str, *values: float, source: str = _PAPER) -> DatacompRow:
    return DatacompRow(name, dict(zip(_COLUMNS, values, strict=True)), source)


PUBLISHED: Mapping[str, tuple[DatacompRow, ...]] = {
    "small": (DatacompRow("EcoDatum", {AVERAGE: 18.2}, "arXiv 2502.08211, abstract"),),
    "medium": (
        _published("no filter", 17.6, 15.2, 25.9, 21.9, 25.8),
        _published("basic filter", 22.6, 19.3, 28.4, 25.1, 28.5),
        _published("LAION filter", 23.0, 19.8, 30.7, 23.3, 29.2),
        _published("CLIPScore", 27.3, 23.0, 33.8, 25.1, 32.8),
        _published("MLM-Filter GPT-4 ITM", 28.6, 23.7, 34.4, 30.0, 33.4),
        _published("MLM-Filter GPT-4 ODF", 29.0, 24.5, 35.0, 29.3, 34.2),
        _published("MLM-Filter GPT-4 CTQ", 25.2, 20.9, 32.1, 26.4, 30.9),
        _published("MLM-Filter GPT-4 SU", 20.3, 16.1, 28.4, 20.2, 27.0),
        _published("MLM-Filter GPT-4V ITM", 29.4, 24.4, 36.1, 29.7, 34.2),
        _published("MLM-Filter GPT-4V ODF", 30.5, 25.3, 33.4, 28.0, 33.7),
        _published("MLM-Filter GPT-4V CTQ", 24.3, 20.4, 32.3, 24.5, 30.9),
        _published("MLM-Filter GPT-4V SU", 16.2, 13.9, 23.3, 18.7, 24.0),
        _published("MLM-Filter GPT-4V ITM AND ODF", 30.3, 25.6, 36.0, 29.0, 34.5),
        _published("MLM-Filter GPT-4V ITM OR ODF", 28.9, 24.5, 35.2, 29.0, 33.9),
        DatacompRow(
            "M-FLYT + SCS", {"ImageNet": 40.1, AVERAGE: 37.7}, "arXiv 2503.08805, abstract"
        ),
    ),
    "large": (
        _published("no filter", 45.9, 37.8, 42.6, 41.9, 43.7),
        _published("basic filter", 51.6, 42.3, 44.6, 48.0, 45.8),
        _published("LAION filter", 55.3, 45.3, 51.0, 49.5, 50.1),
        _published("CLIPScore", 57.8, 47.4, 53.8, 46.6, 52.9),
        _published("MLM-Filter GPT-4 ODF", 58.9, 48.9, 57.4, 52.5, 54.2),
    ),
    "xlarge": (),
}
"""Published results of each scale, as far as a primary source was available."""


def read_results(path: str, name: str | None = None) -> list[DatacompRow]:
    """Read a results file of either form.

    Args:
        name: name of the model in a `.jsonl`; by default the name of its folder.

    Raises:
        PairsiftError: the file has another form, or a result is not between 0 and 1.
    """
    if path.lower().endswith((".jsonl", ".json")):
        folder = path.rstrip("/").split("/")
        return [_row(name or (folder[-2] if len(folder) > 1 else path), read_jsonl(path))]
    rows = read_rows(path, ("name", IMAGENET))
    found = []
    for line, row in enumerate(rows, start=2):
        label = f"{row['name']} {row.get('pretrained') or ''}".strip()
        values = {key: row[key] for key in row if key in DATASETS and row[key] not in (None, "")}
        shares = {key: _share(value, path, f"line {line}, {key}") for key, value in values.items()}
        found.append(_row(label, shares, path.rstrip("/").rsplit("/", 1)[-1]))
    return found


def read_jsonl(path: str) -> dict[str, float]:
    """Read the main metric of each data set, 0..1, from an `eval_results.jsonl`.

    A resumed evaluation may have a data set twice: the later line counts.

    Raises:
        PairsiftError: a line is not what `evaluate.py` writes.
    """
    found: dict[str, float] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            dataset, metric = entry["dataset"], entry["metrics"]["main_metric"]
        except (ValueError, KeyError, TypeError) as error:
            raise PairsiftError(
                f"{path}, line {number}: expected a result of DataComp's evaluate.py, with "
                f'"dataset" and "metrics" / "main_metric" ({type(error).__name__}: {error})'
            ) from error
        if dataset in DATASETS and metric is not None:
            found[dataset] = _share(metric, path, f"line {number}")
        elif dataset not in DATASETS and dataset not in _WITHOUT_SCORE:
            raise PairsiftError(
                f"{path}, line {number}: {dataset!r} is not one of DataComp's data sets"
            )
    if not found:
        raise PairsiftError(f"{path} holds no result")
    return found


def _share(value: object, path: str, where: str) -> float:
    try:
        share = float(str(value))
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise PairsiftError(f"{path}, {where}: {value!r} is not a number between 0 and 1")
    return share


def _row(name: str, shares: Mapping[str, float], source: str = MEASURED) -> DatacompRow:
    absent = tuple(sorted(DATASETS - shares.keys()))
    scores = {}
    for group, members in (*GROUPS.items(), (AVERAGE, tuple(sorted(DATASETS)))):
        if not set(members) & set(absent):
            scores[group] = 100 * sum(shares[member] for member in members) / len(members)
    return DatacompRow(name, scores, source, absent)


def table(rows: Sequence[DatacompRow], scale: str | None) -> tuple[list[str], list[list[str]]]:
    """Return the measured rows, then the published ones of a scale, as text; percent."""
    published = PUBLISHED.get(scale, ()) if scale else ()
    header = ["filter or model", "ImageNet", "shifts", "VTAB", "retrieval", "average of 38", "from"]
    lines = [
        [
            row.name,
            *(f"{row.scores[g]:.1f}" if g in row.scores else "-" for g in _COLUMNS),
            row.source or "measured",
        ]
        for row in (*rows, *published)
    ]
    return header, lines


def notes(rows: Sequence[DatacompRow], scale: str | None) -> list[str]:
    """Return the notes below the table."""
    lines = [
        f"{row.name}: {len(row.missing)} of {len(DATASETS)} data sets have no result yet "
        f"({', '.join(row.missing[:5])}{', ...' if len(row.missing) > 5 else ''})."
        for row in rows
        if row.missing
    ]
    if scale is not None and not PUBLISHED[scale]:
        lines.append(f"This version of Pairsift holds no published figures for scale {scale}.")
    return lines


def write(rows: Sequence[DatacompRow], scale: str | None, out: str) -> list[str]:
    """Write datacomp.md and datacomp.json into a folder; return their names."""
    title = "DataComp" + (f", scale {scale}" if scale else "")
    page = markdown_page(title, markdown_table(table(rows, scale)), notes(rows, scale))
    names = ("datacomp.json", "datacomp.md")
    return write_evaluation(out, to_json(rows, scale), page, names=names)


def to_json(rows: Sequence[DatacompRow], scale: str | None) -> dict[str, Any]:
    """Return plain values, percent."""
    return {
        "scale": scale,
        "measured": [asdict(row) for row in rows],
        "published": [asdict(row) for row in (PUBLISHED[scale] if scale else ())],
    }
