"""A pack of five questions on five scales, through every step that reads scores."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pairsift import Pair, load_scorer
from pairsift.cli import app
from pairsift.report.table import open_rows
from pairsift.scorers.mlm.prompt_files import dump_pack
from pairsift.scores import schema_metrics
from pairsift.serve import ServeSettings, running_server
from pairsift.teach.records import read_records
from tests.samples import tar_bytes
from tests.scorers.mlm.checkpoints import save_checkpoint
from tests.scorers.mlm.mixed_pack import PACK
from tests.serve.conftest import detail, post
from tests.train.toy import COLOURS, TEMPLATES, png

NAMES = ["match", "useful", "text", "grade", "errors"]
RANGES = {
    "match": (0, 100), "useful": (1, 5), "text": (0, 1), "grade": (0, 100), "errors": (0, 3),
}  # fmt: skip
IMAGES = 8


def run(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout[done.stdout.index("{") :])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool with two captions an image, a model, the pack, and the pool's scores."""
    folder = tmp_path_factory.mktemp("any")
    (folder / "pool").mkdir()
    rows = [
        (number, TEMPLATES[number // 2 % 4].format(named))
        for number in range(IMAGES)
        for named in COLOURS
    ]
    (folder / "pool" / "00000.tar").write_bytes(
        tar_bytes(
            member
            for row, (number, caption) in enumerate(rows)
            for member in (
                (f"{row:05d}.png", png(list(COLOURS)[number % 2], number)),
                (f"{row:05d}.txt", caption.encode()),
                (f"{row:05d}.json", json.dumps({"uid": f"{row:032x}"}).encode()),
            )
        )
    )
    save_checkpoint(folder / "model", "qwen2_5_vl")
    (folder / "pack.toml").write_text(dump_pack(PACK))
    run(
        "score", folder / "pool", "--scorer", "mlm", "--model", folder / "model", "--prompts",
        folder / "pack.toml", "--device", "cpu", "--workers", 0, "--out", folder / "scores",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def table(home: Path) -> Any:
    return pq.read_table(home / "scores" / "00000.parquet")


def test_the_table_says_what_its_columns_mean(table: Any) -> None:
    metrics = schema_metrics(table.schema)
    assert list(metrics) == NAMES
    for name, metric in metrics.items():
        assert (metric.scale.low, metric.scale.high) == RANGES[name]
        assert metric == PACK.metric(name)
        values = table[name].to_numpy()
        assert np.all((values >= metric.scale.low) & (values <= metric.scale.high))
        assert np.std(values) > 0
    stored = json.loads(table.schema.metadata[b"pairsift.columns"])
    assert stored["errors"]["better"] == "lower"
    assert stored["grade"]["answers"][2] == {"value": 100, "spellings": ["good", "good enough"]}
    np.testing.assert_allclose(
        table["text_p"].to_numpy(), table["text"].to_numpy() * table["text_validity"].to_numpy(),
        rtol=1e-5,
    )  # fmt: skip


def test_rows_are_selected_and_written_by_any_metric(home: Path, table: Any) -> None:
    middle = float(np.median(table["useful"].to_numpy()))
    kept = run(
        "select", home / "scores", "--where", f"useful >= {middle}", "--top", 0.5,
        "--by", "-errors", "--out", home / "kept",
    )  # fmt: skip
    good = table.filter(table["useful"].to_numpy() >= middle)
    best = np.sort(good["errors"].to_numpy())[: len(good) // 2]
    assert kept["kept"] == len(best) > 0
    run("write", home / "kept", "--parquet", home / "kept.parquet")
    written = pq.read_table(home / "kept.parquet").to_pylist()
    assert sorted(row["errors"] for row in written) == pytest.approx(best.tolist())


def test_a_cut_at_the_wrong_end_is_told(home: Path) -> None:
    command = ("select", str(home / "scores"), "--top", "0.5", "--by")
    for by, told in (("errors", True), ("-errors", False), ("useful", False)):
        done = CliRunner().invoke(app, [*command, by], catch_exceptions=False)
        assert ("lower is better for errors" in done.stderr) is told


def test_the_report_has_each_scale_on_its_axes(home: Path) -> None:
    with open_rows(str(home / "scores")) as rows:
        columns = {column.name: column for column in rows.columns}
        assert list(columns) == [*NAMES, "text_p"]
        for name, (low, high) in RANGES.items():
            assert (columns[name].low, columns[name].high) == (low, pytest.approx(high))
            assert columns[name].metric
        assert columns["errors"].lower_is_better
    run("report", home / "scores", "--out", home / "report.html")
    page = (home / "report.html").read_text()
    for name in NAMES:
        assert PACK.metric(name).title in page
    assert "(lower is better)" in page


def test_the_best_of_a_metric_whose_low_end_is_good_are_the_lowest(home: Path, table: Any) -> None:
    from pairsift.report.galleries import pick_galleries

    with open_rows(str(home / "scores")) as rows:
        best = next(each for each in pick_galleries(rows, 3) if each.name == "best")
        panels = {panel.label: panel.picks for panel in best.panels}
    found = [pick.scores["errors"] for pick in panels["Errors"]]
    assert found == sorted(table["errors"].to_pylist())[:3]
    found = [pick.scores["useful"] for pick in panels["Usefulness"]]
    assert found == sorted(table["useful"].to_pylist(), reverse=True)[:3]


@pytest.mark.slow
def test_any_metric_is_served_and_described(home: Path, table: Any) -> None:
    scorer = load_scorer("mlm", model=str(home / "model"), prompts=PACK, device="cpu")
    image = png("red", 0)
    with (
        running_server(scorer, ServeSettings(port=0, workers=0)) as url,
        httpx2.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        facts = client.get("/scorer").json()
        assert facts["metrics"] == NAMES
        assert facts["meanings"]["useful"]["answers"] == {"low": 1, "high": 5}
        assert facts["meanings"]["errors"]["better"] == "lower"
        document = client.get("/openapi.json").json()
        assert "`grade`, 0 to 100: the whole scale" in json.dumps(document)
        answer = post(client, image, ["two red dogs near the river"], metrics="grade,useful")
        scores = answer.json()["rows"][0]["scores"]
        assert {"grade", "grade_top", "grade_std", "grade_validity", "useful"} <= set(scores)
        assert not {"match", "text", "text_p", "errors"} & set(scores)
        said = detail(post(client, image, metrics="itm"), 422)
        assert "does not score itm; it scores match, useful" in said
    [row] = scorer.score([Pair("a", image, "two red dogs near the river")]).to_pylist()
    assert scores["grade"] == pytest.approx(row["grade"], abs=1e-3)


@pytest.mark.slow
def test_a_pair_is_explained_answer_by_answer(home: Path) -> None:
    (home / "image.png").write_bytes(png("blue", 1))
    command = (
        "explain", home / "image.png", "a blue house", "--scorer", "mlm", "--model",
        home / "model", "--prompts", home / "pack.toml", "--no-rationale",
    )  # fmt: skip
    found = {metric["metric"]: metric for metric in run(*command)["metrics"]}
    assert found["grade"]["answers"] == ["poor", "fair", "good"]
    assert found["grade"]["values"] == [0, 50, 100]
    assert sum(found["text"]["probabilities"]) == pytest.approx(1)
    text = CliRunner().invoke(app, list(map(str, command))).stdout
    assert re.search(r" fair +\d+\.\d%", text)
    assert "(lower is better)" in text


@pytest.mark.slow
def test_a_pack_is_taught_balanced_trained_and_evaluated(home: Path) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("sklearn")
    records = home / "records.parquet"
    taught = run(
        "teach", "local", home / "pool", "--model", home / "model", "--prompts",
        home / "pack.toml", "--device", "cpu", "--out", records,
    )  # fmt: skip
    assert set(taught["means"]) == set(NAMES)
    assert list(schema_metrics(pq.read_schema(records))) == NAMES
    found = read_records(str(records))
    assert set(found[0].scores) == set(NAMES)
    balanced = run(
        "balance", records, "--images", home / "pool" / "00000.tar", "--out", home / "data",
        "--prompts", home / "pack.toml", "--clusters", 1, "--no-messages", "--per-metric", 16,
    )  # fmt: skip
    assert set(balanced["histograms"]) == set(NAMES)
    entries = json.loads((home / "data" / "llava.json").read_text())
    said = {entry["conversations"][1]["value"] for entry in entries if entry["metric"] == "grade"}
    assert said <= {"poor", "fair", "good"}
    trained = home / "filter"
    result = run(
        "train", home / "data", "--model", home / "model", "--out", trained, "--stages", "all",
        "--steps", 2, "--batch-size", 4, "--accumulate", 1, "--save-every", 2,
        "--dev-fraction", 0.25,
    )  # fmt: skip
    assert {f"mae_{name}" for name in NAMES} <= set(result["dev"])
    with (home / "people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption", "score"])
        writer.writerows((record.image, record.caption, i % 5) for i, record in enumerate(found))
    evaluation = run(
        "evaluate", "human", "--protocol", "csv", "--judgments", home / "people.csv",
        "--images", home / "pool" / "00000.tar", "--scorer", trained, "--resamples", 10,
        "--out", home / "evaluation",
    )  # fmt: skip
    assert set(NAMES) <= {column["column"] for column in evaluation["columns"]}


def test_torchmetrics_takes_bounds_and_direction_from_the_pack(home: Path) -> None:
    pytest.importorskip("torchmetrics")
    import torch

    from pairsift.integrations.torchmetrics import PairsiftScore

    options = {"model": str(home / "model"), "prompts": str(home / "pack.toml"), "device": "cpu"}
    metric = PairsiftScore("mlm", metrics="errors", scorer_options=options)
    assert (metric.plot_lower_bound, metric.plot_upper_bound) == (0, 3)
    assert metric.higher_is_better is False
    metric.update(torch.zeros(3, 40, 40, dtype=torch.uint8), "a photo of a house")
    assert 0 <= float(metric.compute()) <= 3
    both = PairsiftScore("mlm", metrics=["errors", "match"], scorer_options=options)
    assert (both.plot_upper_bound, both.higher_is_better) == (None, None)


def test_a_dataset_gets_the_columns_of_the_pack(home: Path) -> None:
    datasets = pytest.importorskip("datasets")

    from pairsift.integrations.datasets import filter_dataset, score_dataset

    pairs = {
        "image": [{"bytes": png("red", number), "path": None} for number in range(3)],
        "caption": ["two red dogs near the river"] * 3,
    }
    asked = datasets.Dataset.from_dict(pairs).cast_column("image", datasets.Image())
    options = {"model": str(home / "model"), "prompts": str(home / "pack.toml"), "device": "cpu"}
    scored = score_dataset(asked, "mlm", **options)
    assert all(1 <= row["useful"] <= 5 for row in scored)
    assert len(filter_dataset(scored, "useful >= 1 and errors <= 3")) == 3


def test_a_cascade_keeps_what_the_full_scorers_columns_mean(home: Path) -> None:
    from pairsift.cascade.plan import Plan, Stage, Thresholds
    from pairsift.cascade.scorer import CascadeScorer

    full = load_scorer("mlm", model=str(home / "model"), prompts=PACK, device="cpu")
    cheap = Stage("heuristics", "caption_words"), Thresholds(2, 5, (1, 7), (1, 5))
    plan = Plan((cheap,), Stage("mlm", "useful"), 0.5, None, 3, 0.9, 1e-9, 0)
    cascade = CascadeScorer(plan, [load_scorer("heuristics")], full)
    assert list(cascade.described) == NAMES
    assert cascade.described["useful"] == PACK.metric("useful")
    captions = ["house", "one big red house", "two red dogs near the old river"]
    table = cascade.score([Pair(str(i), png("red", i), text) for i, text in enumerate(captions)])
    assert table["cascade_stage"].to_pylist() == ["heuristics", "mlm", "heuristics"]
    assert [value is None for value in table["useful"].to_pylist()] == [True, False, True]
