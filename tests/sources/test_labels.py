"""A file of labels is a table for every command: the last label of a pair counts."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.protocols import Request, read_judgments
from pairsift.sources.tables import read_rows
from pairsift.teach.items import read_items
from pairsift.teach.records import Record, read_records
from pairsift.train.examples import read_data
from tests.samples import jpeg, tar_bytes


def label(key: str, given: str | None, **more: Any) -> dict[str, Any]:
    return {
        "shard": "part__00000", "key": key, "caption_index": 0, "label": given,
        "caption": f"caption {key}", "scores": {"itm": 12.5}, "scored_by": "one",
        "by": "anna", "at": "2026-11-29T12:00:00+00:00", **more,
    }  # fmt: skip


def write(path: Path, *labels: dict[str, Any], tail: str = "") -> str:
    path.write_text("".join(json.dumps(one) + "\n" for one in labels) + tail, "utf-8")
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Good: 1 and 3; bad: 2; unsure: 4; taken back: 5."""
    return write(
        tmp_path / "labels.jsonl",
        label("1", "bad"), label("2", "bad"), label("3", "good", scores={"itm": 80.0, "odf": 9.0}),
        label("4", "unsure"), label("1", "good", by="ben"), label("5", "good"),
        label("5", None, undoes=6),
    )  # fmt: skip


def test_the_last_label_of_each_pair(file: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pairsift.inputs"):
        rows = {row["key"]: row for row in read_rows(file, ("image", "caption", "score"))}
    assert {key: row["score"] for key, row in rows.items()} == {"2": 0, "3": 1, "4": None, "1": 1}
    assert rows["1"]["by"] == "ben"
    assert rows["3"]["image"] == "part/00000/3"
    assert (rows["3"]["itm"], rows["3"]["odf"], rows["2"]["odf"]) == (80.0, 9.0, None)
    assert "2 pairs were labelled more than once; the last label counts" in caplog.text


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.jsonl", label("1", "good"), tail='{"shard": "pa')
    assert [row["key"] for row in read_rows(path)] == ["1"]
    path = write(tmp_path / "b.jsonl", label("1", "good"), {"shard": 1}, label("2", "bad"))
    with pytest.raises(PairsiftError, match="line 2: not a label: it lacks"):
        read_rows(path)
    path = write(tmp_path / "c.jsonl", label("1", "good"), label("2", "fine"))
    with pytest.raises(PairsiftError, match="line 2: the label 'fine' is not one of good"):
        read_rows(path)


@pytest.mark.parametrize("wrong", [{"shard": None}, {"key": 5}, {"key": ["1"]}])
def test_pairs_without_a_name_are_told(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = write(tmp_path / "labels.jsonl", label("1", "good"), label("2", "bad") | wrong)
    with pytest.raises(PairsiftError, match="line 2: not a label: shard and key must be text"):
        read_rows(path)


@pytest.mark.parametrize("labels", [[], [label("1", None)], [label("1", "bad"), label("1", None)]])
def test_no_label_is_told(tmp_path: Path, labels: list[dict[str, Any]]) -> None:
    path = write(tmp_path / "labels.jsonl", *labels)
    with pytest.raises(PairsiftError, match="holds no rows; it needs image, caption"):
        read_rows(path, ("image", "caption"))


@pytest.mark.parametrize("given", [["good"], {"good": 1}, 1, True, ""])
def test_labels_of_other_types_are_told(tmp_path: Path, given: Any) -> None:
    path = write(tmp_path / "labels.jsonl", label("1", "good"), label("2", given))
    with pytest.raises(PairsiftError, match="line 2: the label .* is not one of good"):
        read_rows(path)


def test_evaluate_leaves_unsure_out_and_says_so(file: str) -> None:
    _, judgments = read_judgments("csv", Request(file, given=["itm"]))
    assert list(judgments.images) == ["part/00000/2", "part/00000/3", "part/00000/1"]
    assert judgments.left_out == {"no rating": 1}


def test_scores_of_two_scorers_are_not_mixed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "labels.jsonl", label("1", "good"), label("2", "bad", scored_by="another")
    )
    with pytest.raises(PairsiftError, match="2 scorers"):
        read_judgments("csv", Request(path, given=["itm"]))
    assert len(read_judgments("csv", Request(path))[1]) == 2


def test_teach_takes_good_captions(file: str) -> None:
    assert [(item.image, item.captions) for item in read_items(file, None)] == [
        ("part/00000/3", ("caption 3",)),
        ("part/00000/1", ("caption 1",)),
    ]


def test_records_have_the_ends_of_the_scale(file: str) -> None:
    assert read_records(file) == [
        Record("part/00000/2", "caption 2", scores={"itm": 0.0}),
        Record("part/00000/3", "caption 3", scores={"itm": 100.0}),
        Record("part/00000/1", "caption 1", scores={"itm": 100.0}),
    ]


def test_train_reads_labels_with_their_images(file: str, tmp_path: Path) -> None:
    tar = tmp_path / "pool" / "part" / "00000.tar"
    tar.parent.mkdir(parents=True)
    tar.write_bytes(tar_bytes((f"{key}.jpg", jpeg(40, 30, key)) for key in range(1, 6)))
    data = read_data([file], [str(tar)])
    found = {example.caption: example for example in data.examples}
    assert {text: dict(e.scores) for text, e in found.items()} == {
        "caption 1": {"itm": 100.0}, "caption 2": {"itm": 0.0}, "caption 3": {"itm": 100.0},
    }  # fmt: skip
    example = found["caption 2"]
    assert data.sources[example.place].read(example.image) == jpeg(40, 30, 2)
    assert read_data([file], [str(tar)], metrics=["odf"]).examples[0].scores.keys() == {"odf"}
    with pytest.raises(PairsiftError, match="--images"):
        read_data([file])
    tar.write_bytes(tar_bytes([("1.jpg", jpeg(40, 30, 1))]))
    with pytest.raises(PairsiftError, match="2 images are missing"):
        read_data([file], [str(tar)])
