"""The datatrove filter, in pipelines that datatrove runs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pairsift.errors import PairsiftError
from tests.integrations.hurt import samples
from tests.integrations.scored import score_folder_of, selected_keys

pytest.importorskip("datatrove", reason="needs the extra datatrove")

from datatrove.data import Document, Media, MediaType
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.writers.jsonl import JsonlWriter

from pairsift.integrations.datatrove import PairsiftFilter

PAIRS = samples()
WHERE = "caption_words >= 4 and smaller_side > 240 and language = 'en'"


def _documents() -> list[Document]:
    return [
        Document(caption, key, [Media(key, MediaType.IMAGE, url="", media_bytes=image)])
        for key, image, caption in PAIRS
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_a_pipeline_keeps_what_select_keeps(tmp_path: Path) -> None:
    scores = score_folder_of(tmp_path / "ours", PAIRS, "heuristics")
    expected = selected_keys(scores, tmp_path, PAIRS, where=WHERE)
    assert 3 < len(expected) < 12
    dropped = JsonlWriter(str(tmp_path / "dropped"))
    filter_ = PairsiftFilter(WHERE, "heuristics", batch_size=4, exclusion_writer=dropped)
    pipeline = [_documents(), filter_, JsonlWriter(str(tmp_path / "kept"))]
    stats = LocalPipelineExecutor(pipeline, logging_dir=str(tmp_path / "logs")).run()
    kept = _rows(tmp_path / "kept" / "00000.jsonl.gz")
    assert [row["id"] for row in kept] == expected
    assert kept[0]["metadata"]["pairsift_caption_words"] == len(PAIRS[8][2].split())
    reasons = {row["id"]: row["metadata"]["filter_reason"]
               for row in _rows(tmp_path / "dropped" / "00000.jsonl.gz")}  # fmt: skip
    assert set(reasons) | set(expected) == {key for key, _, _ in PAIRS}
    assert reasons["k0003"] == reasons["k0007"] == "image_corrupt"
    assert reasons["k0012"] == "caption_empty"
    assert reasons["k0000"] == "caption_words >= 4"  # 2 words and 210 pixels: the first one
    assert reasons["k0004"] == "smaller_side > 240"
    (step,) = (step for step in stats.stats if "Pairsift" in step.name)
    counted = {name: stat.total for name, stat in step.stats.items()}
    assert counted["forwarded"] == len(expected)
    assert counted["dropped_image_corrupt"] == 2
    assert counted["dropped"] == len(reasons) == sum(
        total for name, total in counted.items() if name.startswith("dropped_")
    )  # fmt: skip


def test_documents_that_are_no_pairs(tmp_path: Path) -> None:
    _, image, caption = PAIRS[8]
    (tmp_path / "a.jpg").write_bytes(image)

    def media(kind: int = MediaType.IMAGE, **where: Any) -> Media:
        return Media("m", kind, url="http://127.0.0.1:9/never-fetched", **where)

    documents = [
        Document(caption, "file", [media(path=str(tmp_path / "a.jpg"))]),
        Document(caption, "sound too", [media(MediaType.AUDIO), media(media_bytes=image)]),
        Document(caption, "nothing", []),
        Document(caption, "a URL alone", [media()]),
        Document(caption, "two", [media(media_bytes=image)] * 2),
        Document(caption, "gone", [media(path=str(tmp_path / "b.jpg"))]),
    ]
    filter_ = PairsiftFilter("caption_words > 2", "heuristics")
    assert filter_.filter_batch(documents) == [
        True, True, (False, "image_missing"), (False, "image_missing"), (False, "model_error"),
        (False, "image_missing"),
    ]  # fmt: skip
    assert "2 images" in documents[4].metadata["pairsift_error"]
    assert filter_.filter(documents[0]) is True


def test_mistakes_are_named_before_a_pipeline_runs() -> None:
    with pytest.raises(PairsiftError, match="no column 'itmm' .did you mean itm"):
        PairsiftFilter("itmm > 3")
    with pytest.raises(PairsiftError, match="did you mean 'pairsift-tiny'"):
        PairsiftFilter(scorer="pairsift-tinny")
    with pytest.raises(PairsiftError, match="takes no option 'metric'"):
        PairsiftFilter(scorer_options={"metric": "itm"})
