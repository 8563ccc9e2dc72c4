"""`--by`: the same measurement by language and domain, and what it says of the blind."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pairsift.cli import main
from pairsift.errors import PairsiftError
from pairsift.evaluate.human import evaluate_human
from pairsift.evaluate.pairs import evaluate_pairs, read_pairs
from pairsift.evaluate.protocols import Request, read_judgments
from pairsift.evaluate.run import Options
from pairsift.scorers.base import Preparer, Scorer
from pairsift.scorers.scope import Scope
from tests.samples import jpeg, tar_bytes

pytest.importorskip("scipy")

IMAGES = 24


def _sees(image: Image.Image, caption: str) -> float:
    """The image's number if the caption names it in English; noise from the text otherwise."""
    number = round(image.size[0] / 8)
    words = caption.split()
    if words[0] == "number":
        return -abs(number - int(words[1]))
    return float(sum(map(ord, caption)) * 7919 % 101)


class Reader(Scorer):
    """Reads captions such as ``number 7``, and nothing else."""

    name: ClassVar[str] = "reader"
    columns = (pa.field("match", pa.float32()),)
    scope = Scope(("en",), "numbers", "words")

    def __init__(self) -> None:
        self.preparer = Preparer(_sees)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name}

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        return {"match": np.array(inputs, float)}


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of that scorer, as a package would add it."""
    from pairsift.scorers import registry

    entry = registry.Entry("reader", "reads numbers", f"{__name__}:Reader")
    monkeypatch.setattr(registry.Entry, "load", lambda self: Reader)
    monkeypatch.setattr(registry, "entries", lambda: {"reader": entry})
    return "reader"


@pytest.fixture
def images(tmp_path: Path) -> str:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes((f"{i}.jpg", jpeg(8 * (i + 1), 16)) for i in range(IMAGES)))
    return str(path)


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def _captions() -> list[dict[str, object]]:
    """Right captions in a language that the reader knows and in one that it does not."""
    rows: list[dict[str, object]] = []
    for i in range(IMAGES):
        domain = "even" if i % 2 == 0 else "odd"
        for language, word in (("en", "number"), ("de", "Nummer")):
            rows.append(
                {"image": f"{i}.jpg", "caption": f"{word} {i + 1}", "language": language}
                | {"domain": domain}
            )
    return [*rows, rows[0] | {"language": "fr", "caption": "numéro 1"}]


def test_pairs_by_language_and_domain(tmp_path: Path, images: str, reader: str) -> None:
    table = _write(tmp_path / "captions.csv", _captions())
    found = evaluate_pairs(
        table,
        str(tmp_path / "out"),
        Options([reader], [images], resamples=200),
        by=["domain", "domain+language"],
        draw=True,
    )
    assert found.judgments == 2 * IMAGES  # the French caption has no other to be held against
    assert found.left_out == {"no other caption in the slice": 1}
    by = {(part.by, part.value): part for part in found.slices}
    assert list(by) == [
        ("domain", "even"), ("domain", "odd"),
        ("domain+language", "even / de"), ("domain+language", "even / en"),
        ("domain+language", "odd / de"), ("domain+language", "odd / en"),
    ]  # fmt: skip
    english, german = by["domain+language", "even / en"], by["domain+language", "odd / de"]
    [column] = english.columns
    assert (english.judgments, english.images, column.n) == (12, 12, 12)
    assert column.statistics["accuracy"].value == 1.0
    assert english.note(column, "accuracy") == ""
    [column] = german.columns
    assert german.outside == {"reader": 1.0}
    assert german.note(column, "accuracy") == "outside scope, blind"
    mixed = by["domain", "odd"]
    assert mixed.note(mixed.columns[0], "accuracy") == "50 % outside scope"

    page = (tmp_path / "out" / "table.md").read_text()
    assert "## By domain and language" in page
    assert "| odd / de | reader match | 12 |" in page
    content = json.loads((tmp_path / "out" / "result.json").read_text())
    parts = {entry["value"]: entry for entry in content["slices"] if "+" in entry["by"]}
    assert parts["odd / de"]["outside_scope"] == {"reader": 1.0}
    assert [entry["columns"][0]["blind"] for entry in parts.values()] == [True, False, True, False]
    assert content["scorers"]["reader"]["scope"]["languages"] == ["en"]
    pytest.importorskip("matplotlib")
    for name in ("plot-by-domain.svg", "plot-by-domain-language.svg"):
        assert (tmp_path / "out" / name).read_text().startswith("<?xml")


def test_ratings_by_language(tmp_path: Path, images: str, reader: str) -> None:
    rng = np.random.default_rng(2)
    rows: list[dict[str, object]] = []
    for i in range(IMAGES):
        for shown in rng.integers(1, IMAGES, 5):
            score = -abs(int(shown) - i - 1)
            for language, word in (("en", "number"), ("de-AT", "Nummer")):
                rows.append(
                    {"image": f"{i}.jpg", "caption": f"{word} {shown}", "score": score}
                    | {"language": language}
                )
    rows.append(rows[0] | {"language": ""})
    request = Request(_write(tmp_path / "j.csv", rows), by=["language"])
    options = Options([reader], [images], resamples=100)
    found = evaluate_human("csv", request, str(tmp_path / "out"), options)
    german, english, rare = found.slices
    assert (german.value, english.value, rare.value) == ("de-AT", "en", "(empty)")
    assert english.columns[0].statistics["tau_b"].value == pytest.approx(1.0)
    assert not english.is_blind(english.columns[0], "tau_b")
    assert german.outside == {"reader": 1.0}
    assert german.is_blind(german.columns[0], "tau_b")
    assert rare.columns == []
    assert ["(empty)", "", "1", "-", "", "too few"] in found.slice_tables()["By language"][1]
    # The whole is neither the one nor the other.
    whole = found.columns[0].statistics["tau_b"].value
    assert german.columns[0].statistics["tau_b"].value < whole < 1.0


def test_from_the_command_line(
    tmp_path: Path, images: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("pairs", "--pairs", _write(tmp_path / "c.csv", _captions()), "--images", images),
        *("--scorer", "heuristics", "--columns", "caption_characters", "--draw-wrong"),
        *("--by", "language", "--resamples", "20", "--out", str(tmp_path / "out")),
    ]
    monkeypatch.setattr("sys.argv", ["pairsift", "evaluate", *arguments])
    main()
    shown = capsys.readouterr().out
    assert "By language" in shown
    assert "blind: the interval contains the chance level" in shown
    # It was trained for nothing: no language is outside its scope.
    assert "outside scope" not in shown.split("outside scope:")[0]


def test_without_intervals_no_scorer_is_called_blind(
    tmp_path: Path, images: str, reader: str
) -> None:
    table = _write(tmp_path / "captions.csv", _captions())
    options = Options([reader], [images], resamples=0)
    found = evaluate_pairs(table, str(tmp_path / "o"), options, by=["language"], draw=True)
    notes = {part.value: part.note(part.columns[0], "accuracy") for part in found.slices}
    assert notes == {"de": "outside scope", "en": ""}


def test_what_cannot_be_sliced_is_said(tmp_path: Path) -> None:
    table = _write(tmp_path / "c.csv", _captions())
    with pytest.raises(PairsiftError, match="no column 'place' to make slices by; there are image"):
        read_pairs(table, by=["domain+place"], draw=True)
    with pytest.raises(PairsiftError, match="no wrong caption column such as wrong, wrong_caption"):
        read_pairs(table, by=["domain"])
    (tmp_path / "cf.txt").write_text("a.jpg\ta.jpg#0\t0.5\t1\t1\n")
    (tmp_path / "tokens.txt").write_text("a.jpg#0\tA dog .\n")
    request = Request(str(tmp_path / "cf.txt"), str(tmp_path / "tokens.txt"), by=["language"])
    with pytest.raises(PairsiftError, match="no columns for slices"):
        read_judgments("flickr8k-cf", request)


def test_a_column_of_too_many_values_is_refused(tmp_path: Path, images: str, reader: str) -> None:
    rows = [{"image": f"{i % IMAGES}.jpg", "right": "number 1", "wrong": "number 2", "id": i}
            for i in range(201)]  # fmt: skip
    with pytest.raises(PairsiftError, match="--by id makes 201 slices"):
        evaluate_pairs(
            _write(tmp_path / "p.csv", rows), str(tmp_path), Options([reader], [images]), by=["id"]
        )
