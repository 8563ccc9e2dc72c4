"""`evaluate human`, from files to tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pairsift.cli import evaluate as command
from pairsift.errors import PairsiftError
from pairsift.evaluate.human import evaluate_human
from pairsift.evaluate.protocols import Request, read_judgments
from pairsift.evaluate.run import Options
from tests.samples import jpeg, tar_bytes
from tests.support.judged import judged_images, write_judgments

pytest.importorskip("scipy")

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
TIFA = SHARED / "reference_results" / "tifa_800_human_scores_and_metric_scores.csv"


def _app() -> typer.Typer:
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    return app


def test_the_plot_names_every_column(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    text = "image,caption,score,good,bad,$flat$\n" + "".join(
        f"{i},c,{i % 4},{i % 4 + i / 100},{-i},1\n" for i in range(40)
    )
    (tmp_path / "x.csv").write_text(text)
    request = Request(str(tmp_path / "x.csv"), given=["good", "bad", "$flat$"])
    evaluation = evaluate_human("csv", request, str(tmp_path), Options((), (), resamples=20))
    svg = (tmp_path / "plot.svg").read_text()
    assert svg.startswith("<?xml")
    assert [column.column for column in evaluation.columns] == ["good", "bad", "$flat$"]
    difference = evaluation.columns[1].difference
    assert difference is not None
    assert difference.interval is not None
    assert difference.value < difference.interval.high < 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options((), ()), "nothing to compare"),
        (Options(("heuristics",), ()), "--images"),
        (Options(("heuristics",), ("IMAGES",), columns=("nope",)), "no column nope"),
        (Options(("nope",), ("IMAGES",)), "no scorer 'nope'"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, options: Options, says: str) -> None:
    images = [judged_images(tmp_path) for _ in options.images]
    options = Options(options.scorers, images, columns=options.columns)
    with pytest.raises(PairsiftError, match=says):
        evaluate_human("csv", Request(write_judgments(tmp_path)), str(tmp_path / "out"), options)


def test_missing_images_stop_unless_they_may_be_skipped(tmp_path: Path) -> None:
    request, images = Request(write_judgments(tmp_path)), [judged_images(tmp_path, count=10)]
    options = Options(("heuristics",), images, resamples=0)
    with pytest.raises(PairsiftError, match=r"2 of 12 judged images.*10\.jpg"):
        evaluate_human("csv", request, str(tmp_path / "out"), options)
    options = Options(("heuristics",), images, resamples=0, skip_missing=True)
    found = evaluate_human("csv", request, str(tmp_path / "out"), options)
    assert found.judgments == 50
    assert found.left_out == {"image missing": 10}


def test_preferences_by_category(tmp_path: Path) -> None:
    lines = ["image,caption_a,caption_b,votes_a,votes_b,category"]
    lines += [f"{i}.jpg,a dog on grass,a dog,40,8,HC" for i in range(5)]
    lines += [f"{i}.jpg,a dog on grass,a dog,24,24,MM" for i in range(5)]
    (tmp_path / "pascal.csv").write_text("\n".join(lines) + "\n")
    options = Options(
        ("heuristics",), (judged_images(tmp_path),), columns=("caption_words",), resamples=0
    )
    request = Request(str(tmp_path / "pascal.csv"))
    found = evaluate_human("pascal-50s", request, str(tmp_path / "out"), options)
    (column,) = found.columns
    assert {name: estimate.value for name, estimate in column.statistics.items()} == {
        "accuracy": 0.75,
        "accuracy/HC": 1.0,
        "accuracy/MM": 0.5,
    }


@pytest.mark.skipif(not TIFA.exists(), reason="needs ../shared/data")
def test_known_values_of_tifa(tmp_path: Path) -> None:
    """TIFA (Hu et al. 2023) reports 0.60 and Kendall 0.47 for its mPLUG score, above CLIPScore."""
    out = tmp_path / "out"
    arguments = [
        *("evaluate", "human", "--protocol", "csv", "--judgments", str(TIFA)),
        *("--image-column", "image_path", "--caption-column", "text"),
        *("--score-column", "human_avg", "--given", "tifa_mplug-large,clipscore_vitb32,spice"),
        *("--out", str(out), "--resamples", "200", "--json"),
    ]
    result = CliRunner().invoke(_app(), arguments, catch_exceptions=False)
    found = {entry["column"]: entry for entry in json.loads(result.stdout)["columns"]}
    mplug, clip = found["tifa_mplug-large"], found["clipscore_vitb32"]
    assert mplug["n"] == 800
    assert mplug["tau_b"]["value"] == pytest.approx(0.47, abs=0.005)
    assert mplug["pearson"]["value"] == pytest.approx(0.60, abs=0.005)
    assert clip["difference_from_first"]["high"] < 0

    rows = list(csv.DictReader(TIFA.open()))
    human = np.array([float(row["human_avg"]) for row in rows])
    score = np.array([float(row["clipscore_vitb32"]) for row in rows])
    above = np.sign(score[:, None] - score) * np.sign(human[:, None] - human)
    untied = [(values[:, None] != values).sum() for values in (score, human)]
    assert clip["tau_b"]["value"] == pytest.approx(above.sum() / np.sqrt(untied[0] * untied[1]))


def test_images_of_another_folder_are_not_judged(tmp_path: Path) -> None:
    (tmp_path / "train2017").mkdir()
    for number in range(12):
        (tmp_path / f"train2017/{number}.jpg").write_bytes(jpeg(24, 16, number))
    text = Path(write_judgments(tmp_path)).read_text().splitlines()
    table = tmp_path / "other.csv"
    table.write_text("\n".join([text[0], *(f"val2017/{line}" for line in text[1:])]))
    options = Options(("heuristics",), [str(tmp_path)], resamples=0)
    with pytest.raises(PairsiftError) as caught:
        evaluate_human("csv", Request(str(table)), str(tmp_path / "out"), options)
    assert "12 of 12 judged images" in str(caught.value)
    assert "'val2017/0.jpg'" in str(caught.value)
    assert "train2017/0.jpg" in str(caught.value)


@pytest.mark.parametrize(
    "line", ["0.jpg,a dog", "0.jpg,a dog,3,4", '0.jpg,"a dog,3', "0.jpg,a dog,x"]
)
def test_a_line_that_is_no_judgment_is_named(tmp_path: Path, line: str) -> None:
    path = Path(write_judgments(tmp_path))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(PairsiftError, match=r"judgments\.csv, (line 62|row 61)"):
        read_judgments("csv", Request(str(path)))


@pytest.mark.parametrize(("header", "separator", "encoding"), [
    ("file_name;text;rating", ";", "utf-8"), ("IMAGE|Caption|Score", "|", "utf-16"),
    ("image\tcaption\tscore", "\t", "utf-8-sig"),
])  # fmt: skip
def test_judgments_of_every_form(
    tmp_path: Path, header: str, separator: str, encoding: str
) -> None:
    lines = Path(write_judgments(tmp_path)).read_text().splitlines()[1:]
    text = "\n".join([header, *(line.replace(",", separator) for line in lines)])
    (tmp_path / "other.csv").write_bytes(text.encode(encoding))
    _, judgments = read_judgments("csv", Request(str(tmp_path / "other.csv")))
    assert len(judgments) == 60


def test_failures_are_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    some = [(f"{i}.jpg", jpeg(24, 16, i) if i > 1 else b"\xff\xd8\xff broken") for i in range(12)]
    path.write_bytes(tar_bytes(some))
    request = Request(write_judgments(tmp_path))
    options = Options(("heuristics",), [str(path)], resamples=0)
    told = "".join(evaluate_human("csv", request, str(tmp_path / "out"), options).notes())
    assert "10 image_corrupt (the image bytes cannot be decoded)" in told
    path.write_bytes(tar_bytes((f"{i}.jpg", b"\xff\xd8\xff broken") for i in range(12)))
    with pytest.raises(PairsiftError) as refused:
        evaluate_human("csv", request, str(tmp_path / "none"), options)
    assert "none of the pairs: 60 image_corrupt (the image bytes cannot" in str(refused.value)
    assert "{" not in str(refused.value)
