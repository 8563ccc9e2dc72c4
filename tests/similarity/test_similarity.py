"""Embeddings are kept beside their tables; what is computed of them is as by brute force."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import Pair, PairsiftError, load_scorer
from pairsift.config import read_config
from pairsift.embeddings import FORMAT, IMAGE, NAMES, TEXT, embedding_fields, from_table, to_arrow
from pairsift.engines.local import score_shards
from pairsift.images import ImageLimits
from pairsift.pair import Status
from pairsift.pipeline import run_pipeline
from pairsift.progress import NullListener
from pairsift.scorers.base import Preparer, Scorer
from pairsift.scorers.caption_index import CaptionIndexer
from pairsift.scorers.hashes import HashMarker
from pairsift.scores import ScoreFolder, score_schema, status_array
from pairsift.select import read_selection, select
from pairsift.similarity import semantic
from pairsift.similarity.negclip import neg_clip_loss, of_batch
from pairsift.similarity.normsim import normsim
from pairsift.similarity.semantic import k_means, semantic_duplicates
from pairsift.similarity.vectors import embedded_tables
from pairsift.sources import find_shards
from pairsift.storage import Folder
from tests.dedup.test_components import components
from tests.samples import good_samples, jpeg, write_tar

DIMENSION = 24


def unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def make(folder: Path, rows: int, seed: int, tables: int = 3, model: str = "m") -> np.ndarray:
    """Score tables with embeddings of given numbers; returns these, (2, rows, dimension), as kept.

    Row 1 of each table is a failure.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(rows, DIMENSION))
    image, text = unit(base), unit(base + rng.normal(size=base.shape))
    columns = (pa.field("clip_score", pa.float32()), *embedding_fields(DIMENSION))
    fingerprint = {"scorer": "given", "checkpoint": model, "embeddings": FORMAT}
    scores = ScoreFolder(str(folder), fingerprint, "/pool")
    for number, part in enumerate(np.array_split(np.arange(rows), tables)):
        image[part[1]] = text[part[1]] = np.nan
        statuses = [Status.OK] * len(part)
        statuses[1] = Status.IMAGE_CORRUPT
        count = len(part)
        arrays = [
            pa.array([f"t{number}"] * count), pa.array([f"k{row}" for row in part]),
            pa.nulls(count, pa.string()), status_array(statuses), pa.nulls(count, pa.string()),
            *[pa.nulls(count, pa.int32())] * 3, pa.array(np.arange(count, dtype=np.float32) + seed),
        ]  # fmt: skip
        table = pa.Table.from_arrays(arrays, schema=score_schema(columns[:1]))
        for field, vectors in zip(columns[1:], (image, text), strict=True):
            table = table.append_column(field, to_arrow(vectors[part]))
        scores.commit(f"t{number}", table, {"rows": count})
    kept = np.stack([image, text]).astype(np.float16).astype(np.float64)
    lengths = np.linalg.norm(kept, axis=2, keepdims=True)
    return np.asarray(kept / lengths)


def column(path: Path, name: str) -> np.ndarray:
    table = pq.read_table(path)
    assert table.schema.names[:3] == ["shard", "key", "uid"]
    return np.array([np.nan if value is None else value for value in table[name].to_pylist()])


def same(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert (np.isnan(found) == np.isnan(expected)).all()
    assert np.nanmax(np.abs(found - expected)) < tolerance


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_normsim_is_brute_force(tmp_path: Path, norm: str) -> None:
    (image, _), (target, _) = make(tmp_path / "s", 5000, 0), make(tmp_path / "t", 700, 1)
    made = normsim(str(tmp_path / "s"), str(tmp_path / "t"), tmp_path / "n.parquet", norm=norm)
    ok = ~np.isnan(target).any(axis=1)
    products = np.abs(image @ target[ok].T)
    expected = np.sqrt((products**2).sum(axis=1)) if norm == "2" else products.max(axis=1)
    same(column(tmp_path / "n.parquet", "normsim"), expected)
    assert made.rows == 5000
    # A selection joins it with the scores.
    kept = select(
        str(tmp_path / "s"), joins=[f"ns={tmp_path}/n.parquet@shard"], top=0.1,
        by="clip_score + ns.normsim",
    )  # fmt: skip
    assert kept.kept == 499


@pytest.mark.slow
def test_neg_clip_loss_is_brute_force(tmp_path: Path) -> None:
    image, text = make(tmp_path / "s", 5000, 2)
    out = tmp_path / "n.parquet"
    neg_clip_loss(str(tmp_path / "s"), out, batch=10_000, rounds=2, temperature=0.05)
    ok = ~np.isnan(image).any(axis=1)
    cosines = image[ok] @ text[ok].T / 0.05
    expected = np.full(5000, np.nan)
    expected[ok] = 0.05 * (
        np.diag(cosines)
        - (np.log(np.exp(cosines).sum(axis=0)) + np.log(np.exp(cosines).sum(axis=1))) / 2
    )
    same(column(out, "neg_clip_loss"), expected)


def test_neg_clip_loss_in_batches_of_chunks(tmp_path: Path) -> None:
    image, _ = make(tmp_path / "s", 900, 3, tables=6)
    options: Any = {"batch": 100, "rounds": 3, "chunk": 250}
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        neg_clip_loss(str(tmp_path / "s"), tmp_path / name, seed=seed, **options)
        found.append(column(tmp_path / name, "neg_clip_loss"))
    assert np.array_equal(found[0], found[1], equal_nan=True)
    assert not np.array_equal(found[0], found[2], equal_nan=True)
    assert np.isnan(found[0]).sum() == np.isnan(image).any(axis=1).sum() == 6


def test_one_batch_by_hand() -> None:
    image = unit(np.array([[1.0, 0.0], [0.0, 1.0]]))
    text = unit(np.array([[1.0, 1.0], [0.0, 1.0]]))
    half = np.sqrt(0.5)
    rows = np.array([np.log(np.exp(half) + 1), np.log(np.exp(half) + np.e)])
    columns = np.array([np.log(2 * np.exp(half)), np.log(1 + np.e)])
    expected = np.array([half, 1.0]) - (rows + columns) / 2
    assert np.allclose(of_batch(image, text, 1.0), expected)


def test_semantic_duplicates_are_all_near_pairs_of_a_cluster(tmp_path: Path) -> None:
    scores = str(tmp_path / "s")
    image, _ = make(tmp_path / "s", 2000, 4)
    a, b = np.nonzero(np.tril(image @ image.T, -1) > 0.6)
    expected: dict[int, set[str]] = {}
    for row, root in components(list(zip(a.tolist(), b.tolist(), strict=True))).items():
        expected.setdefault(root, set()).add(f"k{row}")

    def found(clusters: int) -> tuple[Any, set[frozenset[str]]]:
        made = semantic_duplicates(scores, str(tmp_path / "g"), epsilon=0.4, clusters=clusters)
        groups: dict[str, set[str]] = {}
        for row in pq.read_table(tmp_path / "g/groups.parquet").to_pylist():
            groups.setdefault(row["group"], set()).add(row["key"])
            assert row["size"] > 1
        return made, {frozenset(group) for group in groups.values()}

    one, of_one = found(1)
    assert of_one == {frozenset(group) for group in expected.values()}
    assert (one.pairs, one.grouped) == (len(a), sum(map(len, expected.values())))
    kept = select(scores, groups=str(tmp_path / "g"), per_group=1, by="clip_score")
    assert kept.kept == 1997 - one.grouped + one.groups


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [2, 9, 60])
def test_semantic_duplicates_in_clusters_are_brute_force(tmp_path: Path, clusters: int) -> None:
    """All pairs of rows that have the same nearest centre and a cosine above the threshold."""
    image, _ = make(tmp_path / "s", 3000, 4)
    ok = np.flatnonzero(~np.isnan(image).any(axis=1))
    centres = k_means(image[ok].astype(np.float32), clusters, 0, NullListener())
    cosines = image @ centres.T.astype(np.float64)
    cluster = np.full(len(image), -1)
    cluster[ok] = cosines[ok].argmax(axis=1)
    assert len(set(cluster[ok])) == clusters
    same_cluster = cluster[:, None] == cluster[None, :]
    a, b = np.nonzero(np.tril(image @ image.T, -1) * same_cluster > 0.6)
    expected: dict[int, set[str]] = {}
    for row, root in components(list(zip(a.tolist(), b.tolist(), strict=True))).items():
        expected.setdefault(root, set()).add(f"k{row}")
    made = semantic_duplicates(
        str(tmp_path / "s"), str(tmp_path / "g"), epsilon=0.4, clusters=clusters
    )
    table = pq.read_table(tmp_path / "g/groups.parquet")
    groups: dict[str, set[str]] = {}
    for row in table.to_pylist():
        groups.setdefault(row["group"], set()).add(row["key"])
    assert {frozenset(group) for group in groups.values()} == {
        frozenset(group) for group in expected.values()
    }
    assert len(expected) > 20
    assert (made.pairs, made.groups, made.grouped) == (len(a), len(groups), len(table))
    sizes = {name: len(keys) for name, keys in groups.items()}
    assert all(row["size"] == sizes[row["group"]] for row in table.to_pylist())
    assert made.largest == max(sizes.values())
    # Once more, it is the same file.
    semantic_duplicates(str(tmp_path / "s"), str(tmp_path / "h"), epsilon=0.4, clusters=clusters)
    again = (tmp_path / "h/groups.parquet").read_bytes()
    assert again == (tmp_path / "g/groups.parquet").read_bytes()


@pytest.mark.slow
def test_semantic_duplicates_killed_at_any_time_go_on(tmp_path: Path) -> None:
    make(tmp_path / "s", 2000, 4, tables=4)
    asked = ["--epsilon", "0.4", "--clusters", "12"]

    def command(out: str) -> list[str]:
        given = [str(tmp_path / "s"), "--out", str(tmp_path / out), *asked]
        return [sys.executable, "-m", "pairsift", "semantic-duplicates", *given]

    subprocess.run(command("whole"), check=True, capture_output=True)
    expected = (tmp_path / "whole/groups.parquet").read_bytes()
    killed, most = 0, 0
    while True:
        with subprocess.Popen(command("cut"), stderr=subprocess.PIPE) as run:
            # Killed as soon as it has finished something more than the last one.
            while run.poll() is None and len(stages_of(tmp_path / "cut")) < most + 5:
                time.sleep(0.001)
            run.kill()
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
        found = len(stages_of(tmp_path / "cut"))
        assert found >= most
        killed, most = killed + 1, found
    assert killed >= 2
    assert (tmp_path / "cut/groups.parquet").read_bytes() == expected
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["groups.parquet"]


def test_only_parts_of_the_same_embeddings_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise RuntimeError("stopped")

    def find(out: str) -> bytes:
        semantic_duplicates(str(tmp_path / "s"), str(tmp_path / out), epsilon=0.4, clusters=4)
        return (tmp_path / out / "groups.parquet").read_bytes()

    def find_and_stop() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(semantic, "connect", stop)
            with pytest.raises(RuntimeError, match="stopped"):
                find("g")

    make(tmp_path / "s", 400, 4)
    find_and_stop()
    assert len(stages_of(tmp_path / "g")) == 1 + 3 + 4
    with monkeypatch.context() as patch:  # nothing is compared twice
        patch.setattr(semantic, "near_pairs", stop)
        first = find("g")
    find_and_stop()
    shutil.rmtree(tmp_path / "s")
    make(tmp_path / "s", 400, 5)
    with pytest.raises(PairsiftError, match="changed since; run `pairsift semantic-duplicates`"):
        select(str(tmp_path / "s"), groups=str(tmp_path / "g"), per_group=1, by="clip_score")
    assert find("g") == find("whole") != first
    assert select(str(tmp_path / "s"), groups=str(tmp_path / "g"), per_group=1, by="clip_score")


def stages_of(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("_stage-*")]


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


@pytest.mark.parametrize("rows", [2, 3])
def test_a_pool_of_hardly_a_row(tmp_path: Path, rows: int) -> None:
    """Row 1 of the table has failed."""
    make(tmp_path / "s", rows, 0, tables=1)
    s = str(tmp_path / "s")
    made = semantic_duplicates(s, str(tmp_path / "g"))
    assert (made.rows, made.groups, made.grouped, made.largest) == (rows - 1, 0, 0, 0)
    assert normsim(s, s, tmp_path / "n.parquet").rows == rows
    assert neg_clip_loss(s, tmp_path / "l.parquet").rows == rows


def test_what_others_wrote_is_not_replaced(tmp_path: Path) -> None:
    make(tmp_path / "s", 30, 0)
    (tmp_path / "g").mkdir()
    pq.write_table(pa.table({"mine": [1]}), tmp_path / "g/groups.parquet")
    with pytest.raises(PairsiftError, match="not a table of `pairsift dedup`"):
        semantic_duplicates(str(tmp_path / "s"), str(tmp_path / "g"))


def test_other_models_are_not_compared(tmp_path: Path) -> None:
    make(tmp_path / "s", 30, 0)
    make(tmp_path / "t", 30, 0, model="another")
    with pytest.raises(PairsiftError, match="another model: checkpoint is 'another' there"):
        normsim(str(tmp_path / "s"), str(tmp_path / "t"), tmp_path / "n.parquet")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, o: normsim(s, s, o, norm="3"), "choose 2 or inf"),
        (lambda s, o: neg_clip_loss(s, o, temperature=0), "above 0"),
        (lambda s, o: semantic_duplicates(s, o, epsilon=2), "from 0 to 1"),
        (lambda s, o: semantic_duplicates(s, o, clusters=0), "at least 1"),
        (lambda s, o: semantic_duplicates(s, o, seed=-1), "--seed -1"),
        (lambda s, o: neg_clip_loss(s, o, seed=-1), "--seed -1"),
        (lambda s, o: neg_clip_loss(s, o, temperature=float("nan")), "above 0"),
        (lambda s, o: semantic_duplicates(s, s), "folder of scores"),
        (lambda s, o: normsim(s, "nowhere", o), "no score tables"),
    ],
)
def test_mistakes(tmp_path: Path, call: Any, words: str) -> None:
    make(tmp_path / "s", 30, 0)
    with pytest.raises(PairsiftError, match=words):
        call(str(tmp_path / "s"), str(tmp_path / "o"))


# Kept by scorers


class Given(Scorer):
    """Embeddings made of the caption's length, by a real run."""

    name: ClassVar[str] = "given"
    columns = (pa.field("length", pa.float32()), *embedding_fields(4))

    def __init__(self) -> None:
        self.preparer = Preparer(lambda image, caption: len(caption), ImageLimits())

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name, "embeddings": FORMAT}

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        length = np.array(inputs, float)
        vectors = unit(np.stack([length, 1 + 0 * length, -length, length**2], axis=1))
        return {"length": length, IMAGE: vectors, TEXT: -vectors}


def test_they_lie_beside_the_table_and_numpy_reads_them(tmp_path: Path) -> None:
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


def test_a_retry_keeps_the_others(tmp_path: Path) -> None:
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
def test_of_the_embedded_scorers(name: str) -> None:
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


def test_values_of_several_captions_are_joined_caption_by_caption(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    lists = [["a", "a long caption"], ["one two three"], ["x y", "z", "a b c d e"]]
    images = [jpeg(seed=place) for place in range(3)]
    table = pa.table({"image": images, "captions": lists})
    pq.write_table(table, tmp_path / "pool/a.parquet")
    shards = find_shards(str(tmp_path / "pool"), caption="captions.*")
    scores = str(tmp_path / "s")
    score_shards(shards, CaptionIndexer(Given()), scores, workers=0)
    neg_clip_loss(scores, tmp_path / "l.parquet", batch=10, rounds=1)
    made = pq.read_table(tmp_path / "l.parquet")
    assert made["caption_index"].to_pylist() == [0, 1, 0, 0, 1, 2]
    assert made["key"].to_pylist() == pq.read_table(tmp_path / "s/a.parquet")["key"].to_pylist()
    values = made["neg_clip_loss"].to_pylist()
    kept = select(
        scores, joins=[f"l={tmp_path}/l.parquet@shard"], out=str(tmp_path / "best"),
        best_caption=True, by="l.neg_clip_loss",
    )  # fmt: skip
    (shard,) = read_selection(kept.path or "").shards()
    best = [max(rows, key=lambda row: values[row]) for rows in ((0, 1), (2,), (3, 4, 5))]
    assert shard.rows.tolist() == best


@pytest.mark.slow
def test_from_a_runs_file(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    good = good_samples(4)
    write_tar(tmp_path / "pool/a.tar", {**good, "again": next(iter(good.values()))})
    start = (
        f'[score]\nshards = ["{tmp_path}/pool"]\nworkers = 0\n'
        'scorer = "dual-encoder"\nembeddings = true\n'
    )
    (tmp_path / "target.toml").write_text(f'out = "{tmp_path}/target"\n{start}')
    run_pipeline(read_config(tmp_path / "target.toml"))
    (tmp_path / "run.toml").write_text(
        f'out = "{tmp_path}/out"\n{start}'
        f'[normsim]\ntarget = "{tmp_path}/target/scores"\nnorm = "inf"\n'
        "[neg_clip_loss]\nbatch = 3\nrounds = 2\n"
        "[semantic_duplicates]\nepsilon = 0.01\nclusters = 1\n"
        '[select]\nper_group = 1\ntop = 0.5\nwhere = "normsim.normsim > 0.99"\n'
        'by = "dual_encoder + neg_clip_loss.neg_clip_loss"\n[report]\n'
    )
    result = run_pipeline(read_config(tmp_path / "run.toml"))
    (table,) = embedded_tables(f"{tmp_path}/out/scores")
    assert table.read().vectors[IMAGE].shape == (5, 384)
    assert result.normsim is not None
    assert result.normsim.mean == pytest.approx(1, abs=1e-3)  # the target set is the pool
    assert result.semantic_duplicates is not None
    assert result.semantic_duplicates.grouped == 2
    assert result.selection is not None
    assert result.selection.kept == 2
    dropped = {drop.reason: drop.rows for drop in result.selection.record.dropped}
    assert sum(rows for reason, rows in dropped.items() if "copy" in reason) == 1
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert "neg_clip_loss.neg_clip_loss" in page
    assert "normsim.normsim" in page
    assert json.loads(json.dumps(result.to_json()))["neg_clip_loss"]["rows"] == 5
    assert len(result.text().splitlines()) == 6
    # Once more, nothing is written again.
    before = (tmp_path / "out/selection").stat().st_ino
    again = run_pipeline(read_config(tmp_path / "run.toml"))
    assert again.selection is not None
    assert again.selection.kept == 2
    assert (tmp_path / "out/selection").stat().st_ino == before


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ("[neg_clip_loss]\n", r"\[neg_clip_loss\] needs embeddings; write embeddings = true"),
        ("[normsim]\n", "'target' is missing"),
        ("[normsim]\ntarget = 'nowhere'\n", r"\[normsim\] nowhere holds no score tables"),
        ("[normsim]\ntarget = 'nowhere'\nnorm = '3'\n", r"\[normsim\] --norm '3': choose 2 or"),
        ("[neg_clip_loss]\ntemperature = 0.0\n", r"\[neg_clip_loss\] .* must be above 0"),
        ("[neg-clip-loss]\n", "did you mean 'neg_clip_loss'"),
        ("[semantic_duplicates]\nepsilon = 2.0\n", "less than or equal to 1"),
        (
            "[dedup]\n[semantic_duplicates]\n[select]\nper_group = 1\nby = 'itm'\n",
            r"both \[dedup\] and \[semantic_duplicates\] find groups; write groups = ",
        ),
    ],
)
def test_mistakes_in_a_runs_file(tmp_path: Path, sections: str, words: str) -> None:
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool/a.tar", good_samples(2))
    (tmp_path / "run.toml").write_text(
        f'out = "{tmp_path}/out"\n[score]\nshards = ["{tmp_path}/pool"]\n'
        f'scorer = "heuristics"\nworkers = 0\n{sections}'
    )
    with pytest.raises(PairsiftError, match=words):
        run_pipeline(read_config(tmp_path / "run.toml"))
    assert not (tmp_path / "out/scores").exists()
