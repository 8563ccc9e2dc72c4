"""The whole command: what it writes is what trainers read."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from pairsift.balance.run import Options, balance_records
from pairsift.balance.sample import balance
from pairsift.cli import balance as command
from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.prompt_files import load_prompts
from pairsift.teach.records import Record, write_records
from tests.balance.conftest import teacher_records
from tests.samples import jpeg, tar_bytes


def _run(tmp_path: Path, **options: object) -> Path:
    records = teacher_records()
    records[0].caption = "<image> a dog\nIgnore this"
    records[0].scores = {"itm": 33.0}
    write_records(str(tmp_path / "teacher.parquet"), records, {})
    members = [(f"{i}.jpg", jpeg(30, 20, i)) for i in range(20)]
    (tmp_path / "images.tar").write_bytes(tar_bytes(members))
    out = tmp_path / "balanced"
    chosen = Options(**{"per_metric": 40, "embedder": "words", "clusters": 4, **options})  # type: ignore[arg-type]
    balance_records(
        [str(tmp_path / "teacher.parquet")], [str(tmp_path / "images.tar")], str(out), chosen
    )
    return out


@pytest.mark.slow
def test_llava_json_is_what_its_trainer_reads(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    general = [{"id": str(i), "conversations": [{"from": "human", "value": "?"}]} for i in range(9)]
    (tmp_path / "general.json").write_text(json.dumps(general))
    path = str(tmp_path / "general.json")
    out = _run(tmp_path, general=path, general_count=4, messages=False)
    entries = json.loads((out / "llava.json").read_text())
    ours = [entry for entry in entries if "metric" in entry]
    assert (len(entries), len(ours)) == (84, 80)
    assert not (out / "messages.parquet").exists()
    prompts = load_prompts()
    for entry in ours:
        human, model = entry["conversations"]
        assert human["from"] == "human"
        assert human["value"].startswith("<image>\n")
        assert human["value"].count("<image>") == 1
        assert prompts.metrics[entry["metric"]].aspect in human["value"]
        assert model["from"] == "gpt"
        first, *rest = model["value"].split("\n")
        assert int(first) == round(entry["score"])
        assert not rest or rest[0].startswith("because")
        image = (out / entry["image"]).read_bytes()
        assert image == jpeg(30, 20, int(Path(entry["image"]).stem))
    summary = json.loads((out / "balance.json").read_text())
    assert summary["entries"] == 84
    assert sum(summary["histograms"]["itm"]["after"]) == 40


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("datasets"), reason="needs pairsift[balance]")
def test_the_messages_are_a_dataset_of_hugging_face(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from datasets import load_dataset

    out = _run(tmp_path)
    file = str(out / "messages.parquet")
    dataset = load_dataset("parquet", data_files=file, cache_dir=str(tmp_path / "c"))["train"]
    assert dataset.num_rows == 80
    row = dataset[0]
    assert row["images"][0].size == (30, 20)
    user, assistant = row["messages"]
    assert [part["type"] for part in user["content"]] == ["image", "text"]
    assert row["caption"].replace("<image>", "image") in user["content"][1]["text"]
    assert assistant["content"][0]["text"].split("\n")[0] == f"{row['score']:.0f}"
    # And readable without the datasets package.
    assert pq.read_table(file).num_rows == 80


def test_the_command_prints_histograms(tmp_path: Path) -> None:
    write_records(str(tmp_path / "teacher.jsonl"), teacher_records(), {})
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    arguments = ["balance", str(tmp_path / "teacher.jsonl"), "--out", str(tmp_path / "out")]
    arguments += ["--clusters", "1", "--per-metric", "30", "--metrics", "ctq"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "90-100" in result.stdout
    assert "images, from 400 records; 30 entries in" in result.stdout
    # Without images the entries name them as the records do.
    entries = json.loads((tmp_path / "out" / "llava.json").read_text())
    assert {entry["metric"] for entry in entries} == {"ctq"}
    assert entries[0]["image"].endswith(".jpg")


def test_what_cannot_be_balanced_is_said(tmp_path: Path) -> None:
    path = str(tmp_path / "teacher.parquet")
    write_records(path, [Record("a.jpg", "x", error="refused")], {})
    with pytest.raises(PairsiftError, match="no record with a score"):
        balance_records([path], [], str(tmp_path / "out"), Options())
    with pytest.raises(PairsiftError, match="no record has a score for su"):
        balance(teacher_records(), np.zeros(400, np.intp), ["su"], 10)
    write_records(path, teacher_records(), {})
    (tmp_path / "images.tar").write_bytes(tar_bytes([("0.jpg", jpeg(9, 9))]))
    options = Options(clusters=1, per_metric=100)
    with pytest.raises(PairsiftError, match="19 of 20 chosen images are not in"):
        balance_records([path], [str(tmp_path / "images.tar")], str(tmp_path / "out"), options)
