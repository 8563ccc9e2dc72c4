"""Results on DataComp's 38 data sets, averaged and beside the published ones."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pairsift.cli import main
from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.datacomp_results import (
    DATASETS,
    GROUPS,
    PUBLISHED,
    read_jsonl,
    read_results,
    table,
)

REFERENCE = (
    Path(__file__).parents[4]
    / "shared/data/reference_results/openclip_38_dataset_zero_shot_results.csv"
)


def _lines(shares: dict[str, float]) -> str:
    """As `evaluate.py` writes them: all metrics of a task, and the one that counts."""
    return "".join(
        json.dumps(
            {
                "key": name.lower(),
                "dataset": name,
                "metrics": {"acc1": share, "acc5": 0.9, "main_metric": share},
            }
        )
        + "\n"
        for name, share in shares.items()
    )


def test_there_are_38_data_sets() -> None:
    assert len(DATASETS) == 38
    assert sum(map(len, GROUPS.values())) == 23


def test_results_are_grouped_and_averaged(tmp_path: Path) -> None:
    shares = {name: n / 100 for n, name in enumerate(sorted(DATASETS))}
    folder = tmp_path / "my_filter"
    folder.mkdir()
    fairness = {"key": "fairness/fairface", "dataset": "FairFace", "metrics": {"main_metric": None}}
    text = _lines({"ImageNet 1k": 0.9} | shares) + json.dumps(fairness) + "\n"
    (folder / "eval_results.jsonl").write_text(text)
    (row,) = read_results(str(folder / "eval_results.jsonl"))
    assert row.name == "my_filter"
    assert row.missing == ()
    assert row.scores["average"] == pytest.approx(100 * sum(shares.values()) / 38)
    # The later of two lines counts.
    assert row.scores["ImageNet"] == pytest.approx(100 * shares["ImageNet 1k"])
    trio = [shares[name] for name in ("Flickr", "MSCOCO", "WinoGAViL")]
    assert row.scores["retrieval"] == pytest.approx(100 * sum(trio) / 3)


def test_an_unfinished_evaluation_has_no_average(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(_lines({"ImageNet 1k": 0.3, "Flickr": 0.2}))
    (row,) = read_results(str(tmp_path / "r.jsonl"), "half")
    assert row.scores == {"ImageNet": pytest.approx(30)}
    assert len(row.missing) == 36


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json\n", "line 1: expected a result of DataComp's evaluate.py"),
        ('{"dataset": "Flickr"}\n', "line 1: expected a result"),
        (_lines({"Flickr": 31.5}), "31.5 is not a number between 0 and 1"),
        (_lines({"My own set": 0.5}), "'My own set' is not one of DataComp's"),
        ("\n", "holds no result"),
    ],
)
def test_other_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(PairsiftError, match=words):
        read_jsonl(str(tmp_path / "r.jsonl"))


@pytest.mark.skipif(not REFERENCE.is_file(), reason=f"needs {REFERENCE}")
def test_our_average_is_the_published_one() -> None:
    """Of every model in open_clip's table."""
    with open(REFERENCE, newline="") as file:
        published = [float(row["Average perf. on 38 datasets"]) for row in csv.DictReader(file)]
    rows = read_results(str(REFERENCE))
    assert len(rows) == len(published) > 100
    ours = [row.scores["average"] / 100 for row in rows]
    np.testing.assert_allclose(ours, published, atol=6e-5)  # they print four digits


def test_published_rows_stand_beside_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = dict.fromkeys(DATASETS, 0.5)
    (tmp_path / "eval_results.jsonl").write_text(_lines(shares))
    arguments = f"--out {tmp_path}/out --results {tmp_path}/eval_results.jsonl"
    command = f"pairsift evaluate downstream --datacomp medium {arguments}"
    monkeypatch.setattr(sys, "argv", command.split())
    main()
    shown = capsys.readouterr().out
    assert "MLM-Filter GPT-4V ITM AND ODF" in shown
    written = (tmp_path / "out" / "datacomp.md").read_text()
    assert f"| {tmp_path.name} | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | this run |" in written
    assert "| CLIPScore | 27.3 | 23.0 | 33.8 | 25.1 | 32.8 |" in written
    _, rows = table([], "medium")
    assert len(rows) == len(PUBLISHED["medium"])
