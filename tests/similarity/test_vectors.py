"""The embeddings of score folders: kept beside their tables, and only of one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import Pair, PairsiftError, load_scorer
from pairsift.embeddings import FORMAT, IMAGE, NAMES, TEXT, from_table
from pairsift.engines.local import score_shards
from pairsift.scorers.hashes import HashMarker
from pairsift.scores import ScoreFolder
from pairsift.select import select
from pairsift.similarity.normsim import normsim
from pairsift.similarity.vectors import embedded_tables
from pairsift.sources import find_shards
from pairsift.storage import Folder
from tests.samples import good_samples, jpeg, write_tar
from tests.similarity.made import DIMENSION, Given, make, unit


def test_numbers_that_are_not_finite_are_no_embeddings(tmp_path: Path) -> None:
    make(tmp_path / "s", 300, 6, tables=1)
    table = embedded_tables(str(tmp_path / "s"))[0]
    vectors = table.read().vectors[IMAGE].copy()
    vectors[5], vectors[7, 3] = np.inf, np.nan
    whole = Folder(str(tmp_path / "s/embeddings"))
    stored = pa.ipc.open_file(pa.memory_map(str(tmp_path / "s/embeddings/t0.arrow"))).read_all()
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIMENSION)
    found = from_table(stored.set_column(0, IMAGE, flat))
    assert whole.names()
    assert np.flatnonzero(~found.ok).tolist() == [1, 5, 7]


def test_embeddings_of_two_models_are_not_compared(tmp_path: Path) -> None:
    make(tmp_path / "s", 30, 0)
    make(tmp_path / "t", 30, 0, model="another")
    with pytest.raises(PairsiftError, match="another model: checkpoint is 'another' there"):
        normsim(str(tmp_path / "s"), str(tmp_path / "t"), tmp_path / "n.parquet")


def test_embeddings_are_kept_beside_the_table_and_numpy_reads_them(tmp_path: Path) -> None:
    samples: Any = list(good_samples(5).items())
    samples.insert(2, ("bad", {"jpg": b"no image", "txt": "a caption"}))
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool/a.tar", samples)
    out = tmp_path / "scores"
    score_shards(
        find_shards(str(tmp_path / "pool")), HashMarker(Given()), str(out), workers=0,
        max_failure_rate=1,
    )  # fmt: skip
    table = pq.read_table(out / "a.parquet")
    assert not set(NAMES) & set(table.schema.names)
    assert "image_phash" in table.schema.names
    with pa.memory_map(str(out / "embeddings/a.arrow")) as file:
        stored = pa.ipc.open_file(file).read_all()
        assert json.loads(stored.schema.metadata[b"pairsift.model"])["scorer"] == "given"
        assert stored.schema.field(IMAGE).type == pa.list_(pa.float16(), 4)
        image = stored[IMAGE].chunk(0)
        assert image.is_valid().to_pylist() == [True, True, False, True, True, True]
        vectors = image.values.to_numpy(zero_copy_only=True).reshape(-1, 4)
    length = table["length"].to_pylist()
    for row, value in enumerate(length):
        if value is not None:
            expected = unit(np.array([[value, 1, -value, value**2]]))[0]
            assert np.abs(vectors[row] - expected).max() < 1e-3
    assert select(str(out), where="length > 0").kept == 5


def test_a_table_that_is_committed_again_keeps_its_embeddings(tmp_path: Path) -> None:
    make(tmp_path / "s", 12, 5, tables=1)
    folder = ScoreFolder(str(tmp_path / "s"), None, "/pool")
    table, facts = folder.read("t0")
    assert set(NAMES) <= set(table.schema.names)
    made = json.loads((tmp_path / "s/_run.json").read_text())["fingerprint"]
    again = ScoreFolder(str(tmp_path / "s"), made, "/pool")
    again.commit("t0", table, facts)
    assert folder.read("t0")[0].equals(table)


def test_embeddings_of_another_run_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "s", 12, 5, tables=1)
    make(tmp_path / "o", 12, 6, tables=1)
    (tmp_path / "s/embeddings/t0.arrow").write_bytes(
        (tmp_path / "o/embeddings/t0.arrow").read_bytes()
    )
    with pytest.raises(PairsiftError, match="not what the score table t0 was written with"):
        embedded_tables(str(tmp_path / "s"))[0].read()
    (tmp_path / "s/embeddings/t0.arrow").unlink()
    with pytest.raises(PairsiftError, match="--embeddings into a new folder"):
        normsim(str(tmp_path / "s"), str(tmp_path / "s"), tmp_path / "n.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dual-encoder", "tiny-glance"])
def test_scorers_with_embeddings_give_unit_vectors(name: str) -> None:
    pairs = [Pair(f"{seed}", jpeg(seed=seed), caption)
             for seed, caption in enumerate(["a dog on a beach", "a red square"])]  # fmt: skip
    plain, scorer = load_scorer(name), load_scorer(name, embeddings=True)
    assert scorer.fingerprint["embeddings"] == FORMAT
    table = scorer.score(pairs)
    assert table.drop_columns(list(NAMES)).equals(plain.score(pairs))
    vectors = {column: np.array(table[column].to_pylist(), dtype=np.float64) for column in NAMES}
    assert np.allclose(np.linalg.norm(vectors[IMAGE], axis=1), 1, atol=2e-3)
    assert np.allclose(np.linalg.norm(vectors[TEXT], axis=1), 1, atol=2e-3)
    if name == "dual-encoder":
        cosine = (vectors[IMAGE] * vectors[TEXT]).sum(axis=1)
        assert np.allclose(100 * cosine, table["dual_encoder"].to_numpy(), atol=0.2)


def test_scorers_without_embeddings_say_so() -> None:
    with pytest.raises(PairsiftError, match="takes no option 'embeddings'"):
        load_scorer("heuristics", embeddings=True)
