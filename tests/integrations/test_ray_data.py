"""The class for `map_batches`: on Arrow batches, and in a pipeline of Ray Data."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.integrations.ray_data import PairScorer
from tests.integrations.hurt import samples, statuses
from tests.integrations.scored import score_folder_of, selected_keys
from tests.samples import jpeg

PAIRS = samples()
WHERE = "caption_words >= 4 and smaller_side > 240 and language = 'en'"
BATCH = pa.table(
    {
        "key": [key for key, _, _ in PAIRS],
        "jpg": [image for _, image, _ in PAIRS],
        "txt": [caption for *_, caption in PAIRS],
    }
)


def _scorer(**options: Any) -> PairScorer:
    return PairScorer("heuristics", **({"image": "jpg", "caption": "txt"} | options))


def test_scores_are_those_of_the_command(tmp_path: Path) -> None:
    scores = pq.read_table(Path(score_folder_of(tmp_path, PAIRS, "heuristics")) / "0.parquet")
    found = pickle.loads(pickle.dumps(_scorer()))(BATCH)
    assert found.column_names[:3] == BATCH.column_names
    assert found["status"].to_pylist() == statuses()
    for name in found.column_names[3:]:
        column = scores[name].cast(pa.string()) if name == "status" else scores[name]
        assert found[name].type == column.type
        assert found[name].to_pylist() == column.to_pylist(), name


def test_it_keeps_what_select_keeps(tmp_path: Path) -> None:
    scores = score_folder_of(tmp_path, PAIRS, "heuristics")
    expected = selected_keys(scores, tmp_path, PAIRS, where=WHERE)
    assert 3 < len(expected) < 12
    assert _scorer(where=WHERE)(BATCH)["key"].to_pylist() == expected
    nothing = _scorer(where="caption_words > 99")
    assert nothing(BATCH).schema == nothing(BATCH.slice(0, 0)).schema == _scorer()(BATCH).schema


def test_images_of_several_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(300, 240))
    held = {"bytes": jpeg(300, 240), "path": None}
    for images in (pa.array([str(tmp_path / "a.jpg"), None]), pa.array([held, None])):
        found = _scorer()(pa.table({"jpg": images, "txt": ["a brown dog"] * 2}))
        assert found["status"].to_pylist() == ["ok", "image_missing"]
        assert found["width"].to_pylist() == [300, None]


def test_mistakes_are_named() -> None:
    with pytest.raises(PairsiftError, match="no column 'caption_word' .did you mean"):
        _scorer(where="caption_word > 3")
    with pytest.raises(PairsiftError, match="did you mean 'pairsift-tiny'"):
        PairScorer("pairsift-tinny")
    with pytest.raises(PairsiftError, match="takes no option 'metric'"):
        PairScorer(metric="itm")
    with pytest.raises(PairsiftError, match='batch_format="pyarrow"'):
        _scorer()({"jpg": [], "txt": []})  # type: ignore[arg-type]
    with pytest.raises(PairsiftError, match="no column 'image'; image=... is one of key, jpg, txt"):
        _scorer(image="image")(BATCH)
    taken = BATCH.append_column("width", pa.array([1] * len(BATCH)))
    with pytest.raises(PairsiftError, match="already has a column 'width'; give a prefix"):
        _scorer()(taken)
    assert "q_width" in _scorer(prefix="q_")(taken).column_names


@pytest.fixture
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="needs pairsift[ray]")
    pytest.importorskip("ray.data", reason="needs pairsift[ray]")
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20
    )
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_pipeline_keeps_what_select_keeps(cluster: Any, tmp_path: Path) -> None:
    scores = score_folder_of(tmp_path / "ours", PAIRS, "heuristics")
    (tmp_path / "pool").mkdir()
    for part in range(3):
        pq.write_table(BATCH.slice(7 * part, 7), tmp_path / "pool" / f"{part}.parquet")
    options = {"scorer": "heuristics", "image": "jpg", "caption": "txt", "where": WHERE}
    kept = cluster.data.read_parquet(str(tmp_path / "pool")).map_batches(
        PairScorer, fn_constructor_kwargs=options, batch_format="pyarrow", batch_size=4,
        compute=cluster.data.ActorPoolStrategy(min_size=1, max_size=2),
    )  # fmt: skip
    kept.write_parquet(str(tmp_path / "kept"))
    table = pq.read_table(tmp_path / "kept")
    expected = selected_keys(scores, tmp_path, PAIRS, where=WHERE)
    assert sorted(table["key"].to_pylist()) == expected
    images = {key: image for key, image, _ in PAIRS}
    assert all(images[row["key"]] == row["jpg"] for row in table.to_pylist())
    # Pixels, as Ray's own reader decodes them: tensors of one shape and of several.
    for place in (5, 6, 8):
        (tmp_path / f"{place}.jpg").write_bytes(PAIRS[place][1])
    read = cluster.data.read_images([str(tmp_path / f"{place}.jpg") for place in (5, 6, 8)])
    captioned = read.add_column("caption", lambda rows: pa.array(["a brown dog"] * len(rows)),
                                batch_format="pyarrow")  # fmt: skip
    scored = captioned.map_batches(
        PairScorer, fn_constructor_args=("heuristics",), batch_format="pyarrow",
        compute=cluster.data.ActorPoolStrategy(size=1),
    )  # fmt: skip
    assert sorted(row["width"] for row in scored.take_all()) == [235, 240, 250]
