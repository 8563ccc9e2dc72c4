"""Semantic duplicates are the near pairs of a cluster; a stopped run goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.dedup import dedup, write_hash_list
from pairsift.engines.local import score_shards
from pairsift.progress import NullListener
from pairsift.select import select
from pairsift.similarity import semantic
from pairsift.similarity.semantic import k_means, semantic_duplicates
from pairsift.sources import find_shards
from pairsift.storage import Folder
from tests.dedup.test_components import components
from tests.samples import jpeg, write_tar
from tests.similarity.made import make


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


@pytest.mark.slow
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


def test_a_file_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    make(tmp_path / "s", 30, 0)
    (tmp_path / "g").mkdir()
    pq.write_table(pa.table({"mine": [1]}), tmp_path / "g/groups.parquet")
    with pytest.raises(PairsiftError, match="not a table of `pairsift dedup`"):
        semantic_duplicates(str(tmp_path / "s"), str(tmp_path / "g"))


@pytest.mark.slow
def test_groups_of_copies_and_semantic_groups_do_not_replace_each_other(tmp_path: Path) -> None:
    make(tmp_path / "s", 30, 0)
    members = {f"{n}": {"jpg": jpeg(seed=n), "txt": "a red square"} for n in range(3)}
    write_tar(tmp_path / "0.tar", members)
    shards = find_shards(str(tmp_path / "0.tar"))
    score_shards(shards, load_scorer("hashes"), str(tmp_path / "h"), workers=0)
    commands: dict[str, Any] = {
        "semantic-duplicates": lambda out: semantic_duplicates(str(tmp_path / "s"), out),
        "dedup": lambda out: dedup(str(tmp_path / "h"), out),
    }
    for name, other in zip(commands, reversed(commands), strict=True):
        out = str(tmp_path / name)
        commands[name](out)
        before = Folder(out).read("groups.parquet")
        with pytest.raises(
            PairsiftError,
            match=rf"{name} holds the groups of `pairsift {name}`, which `pairsift {other}`",
        ):
            commands[other](out)
        assert Folder(out).read("groups.parquet") == before
        commands[name](out)  # the same command replaces its own
    listed = str(tmp_path / "h.parquet")
    write_hash_list([str(tmp_path / "0.tar")], listed)
    out = str(tmp_path / "semantic-duplicates")  # marks alone are another file
    dedup(str(tmp_path / "h"), out, on="none", against=[listed])
    assert sorted(Folder(out).names()) == ["groups.parquet", "marks.parquet"]
