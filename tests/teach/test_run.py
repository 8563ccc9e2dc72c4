"""From images and captions to a file of records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairsift.errors import PairsiftError
from pairsift.teach.candidates import (
    DEFAULT_PLAN,
    GIVEN_PLAN,
)
from pairsift.teach.embed import HashingVectorizer
from pairsift.teach.items import read_items, read_shards
from pairsift.teach.records import Record, read_records
from pairsift.teach.run import (
    candidate_records,
    caption_means,
    finish,
    teach_by_reference,
)
from tests.samples import jpeg, tar_bytes
from tests.teach.scenes import ITEMS


def test_given_pairs_are_judged_as_they_are(tmp_path: Path) -> None:
    members = []
    for number in range(3):
        members += [
            (f"{number:09d}.jpg", jpeg(20, 20, number)),
            (f"{number:09d}.txt", f"a {number}"),
        ]
    members += [("000000009.txt", "no image")]
    (tmp_path / "00000.tar").write_bytes(tar_bytes(members))
    items, images = read_shards([str(tmp_path / "00000.tar")])
    assert [item.captions[0] for item in items] == ["a 0", "a 1", "a 2"]
    assert items[2].image == "00000/000000002"
    assert images.read(items[2].image) == jpeg(20, 20, 2)
    records = candidate_records(items, GIVEN_PLAN)
    assert [(record.caption, record.kind) for record in records] == [
        ("a 0", "own"),
        ("a 1", "own"),
        ("a 2", "own"),
    ]


def test_from_captions_to_records(tmp_path: Path) -> None:
    rows = [f"{item.image},{text}" for item in ITEMS for text in item.captions]
    captions = tmp_path / "captions.csv"
    captions.write_text("\n".join(["image,caption", *rows]) + "\n")
    out = str(tmp_path / "teacher.parquet")
    summary = teach_by_reference(
        read_items(str(captions), None), out, DEFAULT_PLAN, embedder="words"
    )
    records = read_records(out)
    assert len(records) == summary.records > 60
    assert summary.failed == 0
    assert set(summary.means) == {"itm", "odf", "ctq", "su"}
    assert {record.image for record in records} == {item.image for item in ITEMS}


def record(caption: str, error: str | None = None, **scores: float) -> Record:
    return Record("a.jpg", caption, "own", 0, dict(scores), error=error)


def test_a_summary_counts_kinds_failures_and_means(tmp_path: Path) -> None:
    records = [record("x", itm=10, su=0.25), record("y", itm=21), record("z", "refused: no")]
    out = str(tmp_path / "teacher.jsonl")
    summary = finish(out, records, {"teacher": "t"}, images=1, bill={"cost": 3})
    assert summary.to_json() == {
        "out": out, "images": 1, "records": 3, "failed": 1, "kinds": {"own": 3},
        "means": {"itm": 15.5, "su": 0.25}, "first_errors": ["a.jpg: refused: no"],
        "bill": {"cost": 3},
    }  # fmt: skip
    first, kinds, failed = summary.text().splitlines()
    assert first.endswith("mean itm 15.5, su 0.25")
    assert kinds == "kinds: own 3"
    assert failed == "1 without scores, first: a.jpg: refused: no"
    assert read_records(out) == records


def test_where_nothing_was_scored_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="scored nothing; first: a.jpg: refused"):
        finish(str(tmp_path / "t.jsonl"), [record("x", "refused")], {}, images=1)
    assert list(tmp_path.iterdir()) == []
    empty = finish(str(tmp_path / "t.jsonl"), [], {}, images=0)
    assert empty.text().startswith("0 records of 0 images")
    assert empty.text().splitlines()[0].endswith("mean -")


def test_means_of_captions_are_unit_vectors() -> None:
    found = caption_means(ITEMS, HashingVectorizer())
    assert found.shape == (len(ITEMS), 1024)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(ITEMS)), abs=1e-5)
    apart = HashingVectorizer()(ITEMS[0].captions).mean(axis=0)
    assert found[0] == pytest.approx(apart / np.linalg.norm(apart), abs=1e-5)


def test_embeddings_are_made_only_for_near_candidates() -> None:
    assert len(candidate_records(ITEMS, {"own": 1}, embedder="no embedder")) == len(ITEMS)
    with pytest.raises(PairsiftError, match="no embedder 'nope'"):
        candidate_records(ITEMS, {"near": 1}, embedder="nope")
