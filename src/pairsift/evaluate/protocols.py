"""Protocols of published benchmarks: which judgments count, and the main statistic.

================  ==========================================================  ==================
name              judgments                                                   headline
================  ==========================================================  ==================
flickr8k-expert   each of the three experts' 1..4 is a row of its own; pairs  Kendall tau-c
                  whose caption is the image's own are dropped (5,664 x 3)
flickr8k-cf       every pair; the share of "yes" votes                        Kendall tau-b
composite         every pair with a rating; 1..5                              Kendall tau-c
pascal-50s        4,000 choices between two captions, categories HC, HI, HM,  accuracy
                  MM; 48 votes each
csv               columns image, caption, score; or labels of `explore`       Kendall tau-b
================  ==========================================================  ==================

Sources: Hodosh et al. 2013 (Flickr8k), Aditya et al. 2015 (Composite), Vedantam et al. 2015
(PASCAL-50S). The rows are chosen as in CLIPScore (Hessel et al. 2021) and later work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.evaluate.judgments import Judgments, Labels, Preferences, Ratings
from pairsift.evaluate.pascal import read_pascal_folder
from pairsift.evaluate.slices import read_labels
from pairsift.evaluate.statistics import ACCURACY
from pairsift.sources.caption_files import Captions, read_captions
from pairsift.sources.columns import CAPTION_COLUMNS, IMAGE_NAME_COLUMNS
from pairsift.sources.labels import SCORED_BY
from pairsift.sources.rows import Fields
from pairsift.sources.tables import is_table, number, read_fields, read_rows
from pairsift.sources.text_files import read_json, table_extension

_USUAL = {
    "image": IMAGE_NAME_COLUMNS,
    "image_file": IMAGE_NAME_COLUMNS,
    "caption": CAPTION_COLUMNS,
    "score": ("rating", "human_score", "human_judgement", "human_judgment", "judgement"),
}
NO_RATING = "no rating"
OWN_CAPTION = "the image's own caption"


@dataclass(frozen=True, slots=True)
class Request:
    """The input files of a protocol.

    Attributes:
        path: the file of judgments.
        captions: the file of captions, for judgments that name captions by number.
        given: columns of the judgments that hold scores (csv protocol).
        columns: the csv protocol's names for image, caption and score.
        by: columns of the judgments to slice by.
        separator, encoding: of the tables; detected if None.
    """

    path: str
    captions: str | None = None
    given: Sequence[str] = ()
    columns: tuple[str, str, str] = ("image", "caption", "score")
    by: Sequence[str] = ()
    separator: str | None = None
    encoding: str | None = None

    def read_rows(self, needed: Sequence[str]) -> list[Fields]:
        """Read the table of judgments, with the needed columns."""
        return read_rows(
            self.path, needed, usual=_USUAL, separator=self.separator, encoding=self.encoding
        )

    def read_captions(self) -> Captions:
        if self.captions is None:
            raise PairsiftError(
                f"{self.path} names captions by number: give the file that holds them with "
                "--captions (Flickr8k.token.txt, or a CSV or parquet with image and caption)"
            )
        return read_captions(self.captions, separator=self.separator, encoding=self.encoding)


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to measure agreement with people."""

    name: str
    headline: str
    read: Callable[[Request], Judgments]


def _flickr8k_expert(request: Request) -> Ratings:
    if table_extension(request.path) == ".json":
        return _rated_json(request.path)
    captions = request.read_captions()
    images, texts, ratings, own = [], [], [], 0
    for line, fields in read_fields(request.path, request.encoding):
        if len(fields) != 5:
            raise PairsiftError(
                f"{request.path}, line {line}: expected image, caption id and three scores, "
                "separated by tabs"
            )
        image, caption, *scores = fields
        source, text = _look_up(captions, caption, request, line)
        if source == image:
            own += 1
            continue
        for score in scores:
            images.append(image)
            texts.append(text)
            ratings.append(number(score, request.path, f"line {line}"))
    return _ratings(images, texts, ratings, left_out={OWN_CAPTION: 3 * own} if own else {})


def _flickr8k_cf(request: Request) -> Ratings:
    if table_extension(request.path) == ".json":
        return _rated_json(request.path)
    if is_table(request.path):
        rows = request.read_rows(("image_file", "caption", "yes_fraction"))
        return _from_rows(rows, request, ("image_file", "caption", "yes_fraction"))
    captions = request.read_captions()
    images, texts, ratings = [], [], []
    for line, fields in read_fields(request.path, request.encoding):
        if len(fields) != 5:
            raise PairsiftError(
                f"{request.path}, line {line}: expected image, caption id, share of yes, yes votes "
                "and no votes, separated by tabs"
            )
        images.append(fields[0])
        texts.append(_look_up(captions, fields[1], request, line)[1])
        ratings.append(number(fields[2], request.path, f"line {line}"))
    return _ratings(images, texts, ratings)


def _composite(request: Request) -> Ratings:
    if table_extension(request.path) == ".json":
        return _rated_json(request.path)
    return _csv(request)


def _csv(request: Request) -> Ratings:
    rows = request.read_rows((*request.columns, *request.given))
    if request.given and len(scorers := {row.get(SCORED_BY) for row in rows}) > 1:
        raise PairsiftError(
            f"{request.path}: the labels stand beside scores of {len(scorers)} scorers, which "
            "--given would mix; measure with --scorer, or label beside one score folder"
        )
    return _from_rows(rows, request, request.columns)


def _pascal_50s(request: Request) -> Preferences:
    """Read a CSV (image, caption_a, caption_b, votes_a, votes_b, category) or the .mat folder."""
    if not is_table(request.path):
        return read_pascal_folder(request.path)
    columns = ("image", "caption_a", "caption_b", "votes_a", "votes_b", "category")
    rows = request.read_rows(columns)
    votes = [
        [number(row[c], request.path, f"row {n}") for c in ("votes_a", "votes_b")]
        for n, row in enumerate(rows, start=1)
    ]
    found = Preferences(
        [str(row["image"]) for row in rows],
        [str(row["caption_a"]) for row in rows],
        [str(row["caption_b"]) for row in rows],
        np.array([0.5 + 0.5 * np.sign(a - b) for a, b in votes], dtype=np.float64),
        [str(row["category"]) for row in rows],
        labels=read_labels(rows, request.by, request.path),
    )
    return found.keep(np.isfinite(found.preferred), NO_RATING)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("flickr8k-expert", "tau_c", _flickr8k_expert),
        Protocol("flickr8k-cf", "tau_b", _flickr8k_cf),
        Protocol("composite", "tau_c", _composite),
        Protocol("pascal-50s", ACCURACY, _pascal_50s),
        Protocol("csv", "tau_b", _csv),
    )
}


def read_judgments(protocol: str, request: Request) -> tuple[Protocol, Judgments]:
    """Read judgments by the rules of `protocol`.

    Raises:
        PairsiftError: there is no such protocol, or the file has another form.
    """
    if protocol not in PROTOCOLS:
        raise PairsiftError(f"no protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}")
    chosen = PROTOCOLS[protocol]
    if request.given and chosen.read is not _csv:
        raise PairsiftError("--given needs --protocol csv")
    judgments = chosen.read(request)
    if request.by and not judgments.labels:
        raise PairsiftError(
            f"{request.path} has no columns for slices (--by {','.join(request.by)}): "
            "give the judgments as CSV or parquet, for example with --protocol csv"
        )
    if not len(judgments):
        raise PairsiftError(f"{request.path} holds no judgment that {protocol} counts")
    return chosen, judgments


def _look_up(captions: Captions, name: str, request: Request, line: int) -> tuple[str, str]:
    image, mark, index = name.rpartition("#")
    if not mark or not index.isdigit():
        raise PairsiftError(
            f"{request.path}, line {line}: caption id {name!r} is not of the form image.jpg#0"
        )
    text = captions.get((image, int(index)))
    if text is None:
        raise PairsiftError(f"{request.path}, line {line}: {request.captions} has no {name}")
    return image, text


def _rated_json(path: str) -> Ratings:
    """`{id: {"image_path", "human_judgement": [{"caption", "rating"}, ...]}}`, as CLIPScore's."""
    images, texts, ratings = [], [], []
    document = read_json(path)
    try:
        for entry in document.values():
            for judgment in entry["human_judgement"]:
                images.append(str(judgment.get("image_path") or entry["image_path"]))
                texts.append(" ".join(judgment["caption"].split()))
                ratings.append(number(judgment["rating"], path, f"caption {texts[-1]!r}"))
    except (AttributeError, KeyError, TypeError) as error:
        raise PairsiftError(
            f"{path}: expected an object of entries with image_path and human_judgement, each "
            f"judgment with caption and rating ({type(error).__name__}: {error})"
        ) from error
    return _ratings(images, texts, ratings)


def _from_rows(rows: Sequence[Fields], request: Request, columns: tuple[str, str, str]) -> Ratings:
    def numbers(column: str) -> list[float]:
        return [
            number(row[column], request.path, f"row {n}") for n, row in enumerate(rows, start=1)
        ]

    def texts(column: str) -> list[str]:
        return [str(_or_empty(row[column])) for row in rows]

    scores = {name: np.array(numbers(name), dtype=np.float64) for name in request.given}
    labels = read_labels(rows, request.by, request.path)
    return _ratings(texts(columns[0]), texts(columns[1]), numbers(columns[2]), scores, labels)


def _or_empty(value: Any) -> Any:
    return "" if value is None else value


def _ratings(
    images: list[str],
    captions: list[str],
    ratings: list[float],
    given: dict[str, Any] | None = None,
    labels: Labels | None = None,
    left_out: dict[str, int] | None = None,
) -> Ratings:
    numbers = np.array(ratings, np.float64)
    found = Ratings(images, captions, numbers, given or {}, left_out or {}, labels or {})
    return found.keep(np.array([math.isfinite(rating) for rating in ratings], bool), NO_RATING)
