"""The Daft function, in queries that Daft runs.

Daft wants an older pyarrow than the tests have; `make test-integrations` installs it and runs this.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from tests.integrations.hurt import samples, statuses
from tests.integrations.scored import score_folder_of, selected_keys
from tests.support.pages import run_python

daft = pytest.importorskip("daft", reason="needs Daft: make test-integrations")

from pairsift.integrations.daft import pair_scorer  # noqa: E402

PAIRS = samples()
WHERE = "caption_words >= 4 and smaller_side > 240 and language = 'en'"


def test_a_query_keeps_what_select_keeps(tmp_path: Path) -> None:
    scores = score_folder_of(tmp_path / "ours", PAIRS, "heuristics")
    expected = selected_keys(scores, tmp_path, PAIRS, where=WHERE)
    assert 3 < len(expected) < 12
    keys, images, captions = (list(column) for column in zip(*PAIRS, strict=True))
    frame = daft.from_pydict({"key": keys, "jpg": images, "txt": captions})
    function = pair_scorer("heuristics", where=WHERE, prefix="q_", rows=4)
    scored = frame.select("key", function(frame["jpg"], frame["txt"])).collect()
    found = scored.to_pydict()
    assert found["q_status"] == statuses()
    assert found["q_caption_words"][8] == len(PAIRS[8][2].split())
    assert found["q_smaller_side"][3] is None
    assert scored.where("q_passes").to_pydict()["key"] == expected


def test_files_and_decoded_images(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PAIRS[5][1])
    frame = daft.from_pydict({"path": [str(tmp_path / "a.jpg")], "jpg": [PAIRS[5][1]]})
    frame = frame.with_column("image", frame["jpg"].decode_image())
    frame = frame.with_column("caption", daft.lit("a brown dog"))
    function = pair_scorer("heuristics")
    for column in ("path", "image"):
        (row,) = frame.select(function(frame[column], frame["caption"])).to_pylist()
        assert (row["status"], row["smaller_side"]) == ("ok", 235), row


def test_the_guides_example_runs(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    images = [{"bytes": image, "path": None} for _, image, _ in PAIRS[:8]]
    pairs = pa.table({"image": images, "caption": [caption for *_, caption in PAIRS[:8]]})
    pq.write_table(pairs, tmp_path / "pairs" / "0.parquet")
    run_python("daft.md", tmp_path, {"itm >= 20": "itm >= 0"})  # the pictures are noise
    kept = pq.read_table(tmp_path / "kept")
    assert len(kept) == statuses(8).count("ok") == 6
    assert min(kept["itm"].to_pylist()) >= 0


def test_mistakes_are_named_before_a_query_runs() -> None:
    with pytest.raises(PairsiftError, match="no column 'itmm' .did you mean itm"):
        pair_scorer(where="itmm > 3")
    with pytest.raises(PairsiftError, match="did you mean 'pairsift-tiny'"):
        pair_scorer("pairsift-tinny")
