"""Balanced data is even over scores, diverse over captions, and what trainers read."""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from pairsift.balance.clusters import cluster_captions
from pairsift.balance.export import file_name
from pairsift.balance.histogram import histograms
from pairsift.balance.run import Options, balance_records
from pairsift.balance.sample import balance, bucket_of, even_quotas
from pairsift.cli import balance as command
from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.prompt_files import load_prompts
from pairsift.teach.embed import HashingVectorizer
from pairsift.teach.records import Record, write_records
from tests.samples import jpeg, png, tar_bytes

THINGS = ("dog", "guitar", "bicycle", "mountain")


def _records(count: int = 400, images: int = 20) -> list[Record]:
    """Scores as teachers give them: most near 90, some near 5, hardly any between."""
    rng = np.random.default_rng(0)
    records = []
    for row in range(count):
        scores = {}
        for metric in ("itm", "ctq"):
            centre = rng.choice([90, 5, 50], p=[0.75, 0.2, 0.05])
            scores[metric] = float(np.clip(rng.normal(centre, 6), 0, 100))
        caption = f"a {THINGS[row % 4]} seen {row} times by the {THINGS[row % 4]}"
        why = {"itm": f"because {row}"} if row % 2 else {}
        records.append(Record(f"{row % images}.jpg", caption, "own", 0, scores, why))
    return records


@pytest.mark.parametrize("seed", range(50))
def test_quotas_are_as_even_as_what_is_there_allows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    available = rng.integers(0, 31, rng.integers(1, 13)).tolist()
    wanted = int(rng.integers(0, 200))
    taken = even_quotas(available, wanted)
    assert sum(taken) == min(wanted, sum(available))
    assert all(0 <= t <= a for t, a in zip(taken, available, strict=True))
    # Whoever got less than another by more than one had no more to give.
    for t, a in zip(taken, available, strict=True):
        if t < max(taken) - 1:
            assert t == a


def test_scores_fall_into_buckets() -> None:
    assert [bucket_of(s, 10) for s in (0, 9.99, 10, 99, 100)] == [0, 0, 1, 9, 9]


def test_scores_are_drawn_evenly() -> None:
    records = _records()
    chosen = balance(records, np.zeros(400, np.intp), ["itm", "ctq"], per_metric=60, buckets=10)
    assert Counter(choice.metric for choice in chosen) == {"itm": 60, "ctq": 60}
    found = histograms(records, chosen, ["itm"], 10)["itm"]
    assert sum(found.before) == 400
    assert max(found.before) > 5 * np.median(found.before)
    for before, after in zip(found.before, found.after, strict=True):
        assert after <= before
        if after < max(found.after) - 1:
            assert after == before
    pairs = [(c.metric, c.record.image, c.record.caption) for c in chosen]
    assert len(set(pairs)) == 120
    assert [c.metric for c in chosen] != sorted(c.metric for c in chosen)


def test_a_rare_topic_is_not_crowded_out() -> None:
    records = [Record(f"{i}.jpg", f"dog {i}", scores={"itm": 95.0}) for i in range(95)]
    records += [Record(f"{i}.jpg", f"violin {i}", scores={"itm": 95.0}) for i in range(5)]
    clusters = np.array([0] * 95 + [1] * 5)
    chosen = balance(records, clusters, ["itm"], per_metric=10)
    assert sum("violin" in choice.record.caption for choice in chosen) == 5


def test_images_are_used_evenly() -> None:
    records = [Record(f"{i % 4}.jpg", f"dog {i}", scores={"itm": 95.0}) for i in range(80)]
    chosen = balance(records, np.zeros(80, np.intp), ["itm"], per_metric=8)
    assert set(Counter(choice.record.image for choice in chosen).values()) == {2}


def test_a_pair_that_was_judged_twice_counts_once() -> None:
    records = [Record("a.jpg", "dog", scores={"itm": 95.0})] * 9
    assert len(balance(records, np.zeros(9, np.intp), ["itm"], per_metric=5)) == 1


def test_the_seed_decides() -> None:
    records, clusters = _records(), np.arange(400) % 7
    one, two, three = (
        [(c.record.caption, c.metric) for c in balance(records, clusters, ["itm"], 50, seed=seed)]
        for seed in (1, 1, 2)
    )
    assert one == two != three


def test_captions_about_one_thing_share_a_cluster() -> None:
    pytest.importorskip("sklearn")
    captions = [record.caption for record in _records(200)] + ["", "..."]
    clusters = cluster_captions(captions, HashingVectorizer(), 5)
    assert clusters.shape == (202,)
    pure = sum(
        Counter(
            text.split()[1]
            for c, text in zip(clusters, captions, strict=True)
            if c == cluster and text.startswith("a ")
        ).most_common(1)[0][1]
        for cluster in set(clusters[:200].tolist())
    )
    assert pure >= 180  # most clusters are about one thing
    assert set(cluster_captions(["one", "one"], HashingVectorizer(), 64)) == {0}


def _run(tmp_path: Path, **options: object) -> Path:
    records = _records()
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
    write_records(str(tmp_path / "teacher.jsonl"), _records(), {})
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
        balance(_records(), np.zeros(400, np.intp), ["su"], 10)
    write_records(path, _records(), {})
    (tmp_path / "images.tar").write_bytes(tar_bytes([("0.jpg", jpeg(9, 9))]))
    options = Options(clusters=1, per_metric=100)
    with pytest.raises(PairsiftError, match="19 of 20 chosen images are not in"):
        balance_records([path], [str(tmp_path / "images.tar")], str(tmp_path / "out"), options)


def test_file_names_stay_in_their_folder() -> None:
    assert file_name("../../etc/passwd", jpeg(4, 4)) == "_.._etc_passwd.jpg"
    assert file_name("00000/000000012", png(4, 4)) == "00000_000000012.png"
    assert file_name("a b.jpg", None) == "a_b.jpg"
