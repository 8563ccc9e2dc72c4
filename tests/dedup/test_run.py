"""Groups of copies across shards: complete, the same however they are found, also after a kill."""

from __future__ import annotations

import json
import os
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
from PIL import Image

from pairsift import PairsiftError, load_scorer
from pairsift.config import read_config
from pairsift.dedup import dedup, write_hash_list
from pairsift.dedup import run as dedup_run
from pairsift.engines.local import score_shards
from pairsift.explore.rows import MORE_COLUMNS, Filter, RowFinder
from pairsift.pipeline import run_pipeline
from pairsift.progress import NullListener
from pairsift.report.table import open_rows
from pairsift.select import read_selection, select
from pairsift.sources import find_shards
from tests.dedup.conftest import Write
from tests.dedup.test_components import components
from tests.dedup.test_near import crowd, near_pairs
from tests.samples import encode, jpeg, write_tar
from tests.test_hashing import scene

FAR = 0xFFFF0000FFFF0000


def groups_of(folder: str | Path) -> dict[str, set[str]]:
    """Rows by the name of their group, as shard/key."""
    found: dict[str, set[str]] = {}
    for row in pq.read_table(Path(folder) / "groups.parquet").to_pylist():
        found.setdefault(row["group"], set()).add(f"{row['shard']}/{row['key']}")
        assert row["size"] > 1
    assert all(len(rows) > 1 for rows in found.values())
    return found


def as_sets(folder: str | Path) -> set[frozenset[str]]:
    return {frozenset(rows) for rows in groups_of(folder).values()}


@pytest.mark.slow
def test_images_captions_and_both(write_scores: Write, tmp_path: Path) -> None:
    scores = write_scores(
        {
            "a": [(0, "f0", "a dog", 1), (FAR, "f1", "a cat", 2), (None, "flat", "x", 3)],
            "b": [(0b1111, "f2", "A dog!", 4), (0b111111, "f3", "a dog", 5),
                  (None, "flat", "x", 6), (None, "other flat", "y", 7),
                  (FAR ^ 0b11, "f1", "another", 8)],
        }
    )  # fmt: skip
    out = str(tmp_path / "out")

    def found(**options: Any) -> set[frozenset[str]]:
        dedup(scores, out, **options)
        return as_sets(out)

    flat = frozenset({"a/k2", "b/k2"})
    chain = frozenset({"a/k0", "b/k0", "b/k1"})  # k0 and k1 are six bits apart, by way of b/k0
    cats = frozenset({"a/k1", "b/k4"})
    assert found() == {flat, chain, cats}
    assert found(distance=2) == {flat, frozenset({"b/k0", "b/k1"}), cats}
    assert found(distance=1) == {flat}
    assert found(distance=0) == {flat}
    assert found(exact=True) == {flat, cats}
    assert found(on="caption") == {chain, flat}
    assert found(on="both") == {chain, flat}
    assert sorted(os.listdir(out)) == ["groups.parquet"]


def test_the_summary_counts(write_scores: Write, tmp_path: Path) -> None:
    rows: list[Any] = [(0, "f", "a", 1), (0, "f", "b", 1), (3, "g", "c", 1), (0xFF00, "h", "d", 1)]
    summary = dedup(write_scores({"a": rows}), str(tmp_path / "out"))
    assert (summary.rows, summary.groups, summary.grouped, summary.largest) == (4, 1, 3, 3)
    assert (summary.repeated, summary.same_bytes, summary.pairs) == (2, 1, 1)
    assert list(groups_of(tmp_path / "out")) == ["0" * 16]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 4])
def test_groups_equal_those_found_by_brute_force(
    write_scores: Write, tmp_path: Path, threads: int
) -> None:
    hashes = np.random.default_rng(threads).permutation(np.repeat(crowd(3), 2))
    rows = [(int(value), f"f{place}", f"c{place}", 1.0) for place, value in enumerate(hashes)]
    scores = write_scores({"a": rows[:900], "b": rows[900:]})
    dedup(scores, str(tmp_path / "out"), threads=threads)
    least = components([pair for pair in near_pairs(hashes, hashes, 4) if pair[0] > pair[1]])
    expected: dict[str, set[str]] = {}
    for place, value in enumerate(hashes.tolist()):
        row = f"a/k{place}" if place < 900 else f"b/k{place - 900}"
        expected.setdefault(f"{least.get(value, value):016x}", set()).add(row)
    assert groups_of(tmp_path / "out") == expected


@pytest.mark.slow
def test_a_stopped_run_continues(
    write_scores: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = crowd(9)
    rows = [(int(value), f"f{place}", "c", 1.0) for place, value in enumerate(hashes)]
    scores = write_scores({"a": rows})
    dedup(scores, str(tmp_path / "whole"))
    done = []

    class Stop(NullListener):
        def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
            if task == "comparing hashes" and done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dedup(scores, str(tmp_path / "out"), listener=Stop())
    assert len([name for name in os.listdir(tmp_path / "out") if "pairs" in name]) == 3
    keep = dedup_run.Stages.keep

    def note(self: Any, connection: Any, name: str, sql: str) -> None:
        done.append(name)
        keep(self, connection, name, sql)

    monkeypatch.setattr(dedup_run.Stages, "keep", note)
    dedup(scores, str(tmp_path / "out"))
    assert done
    assert not any(name.endswith(("0000", "0001", "0002", "hashes")) for name in done)
    whole, resumed = (pq.read_table(tmp_path / n / "groups.parquet") for n in ("whole", "out"))
    assert whole.equals(resumed)
    # Other scores, or another distance, do not go on with what was left.
    with pytest.raises(KeyboardInterrupt):
        dedup(scores, str(tmp_path / "out"), listener=Stop())
    done.clear()
    dedup(scores, str(tmp_path / "out"), distance=2)
    assert "hashes" in done


@pytest.mark.slow
def test_killed_and_resumed_by_the_command(write_scores: Write, tmp_path: Path) -> None:
    rows = [(int(value), f"f{place}", "c", 1.0) for place, value in enumerate(crowd(4, 20_000))]
    scores = write_scores({"a": rows})
    command = [sys.executable, "-m", "pairsift", "dedup", scores, "--json", "--out"]
    expected = json.loads(subprocess.check_output([*command, str(tmp_path / "whole")]))
    out = tmp_path / "out"
    process = subprocess.Popen([*command, str(out)], stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if out.is_dir() and any("pairs" in name for name in os.listdir(out)):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = json.loads(subprocess.check_output([*command, str(out)]))
    assert found | {"path": ""} == expected | {"path": ""}
    assert as_sets(out) == as_sets(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"on": "pixels"}, "choose image, caption, both, none"),
        ({"on": "none"}, "give --against"),
        ({"distance": 13}, "from 0 to 12"),
        ({"against": ["nowhere.parquet"]}, "there is no file"),
    ],
)
def test_wrong_options_are_refused(
    write_scores: Write, tmp_path: Path, options: Any, words: str
) -> None:
    scores = write_scores({"a": [(0, "f", "c", 1)]})
    with pytest.raises(PairsiftError, match=words):
        dedup(scores, str(tmp_path / "out"), **options)


def test_scores_that_cannot_be_compared(write_scores: Write, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    other = write_scores({"a": [(0, "f", "c", 1)]}, "other", version="phash 0")
    with pytest.raises(PairsiftError, match=r"other hashes \(phash 0\)"):
        dedup(other, out)
    scores = write_scores({"a": [(0, "f", "c", 1)]})
    with pytest.raises(PairsiftError, match="folder of scores"):
        dedup(scores, scores)
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool/a.tar", [("x", {"jpg": jpeg(), "txt": "a dog runs"})])
    plain = str(tmp_path / "plain")
    score_shards(find_shards(str(tmp_path / "pool")), load_scorer("heuristics"), plain, workers=0)
    with pytest.raises(PairsiftError, match="score with --hashes"):
        dedup(plain, out)


def test_no_rows_and_no_copies(write_scores: Write, tmp_path: Path) -> None:
    for name, rows in (("none", []), ("one", [(5, "f", "c", 1.0)])):
        summary = dedup(write_scores({"a": rows}, name), str(tmp_path / f"out {name}"))
        assert (summary.rows, summary.groups, summary.largest) == (len(rows), 0, 0)
        assert select(
            str(tmp_path / name), groups=str(tmp_path / f"out {name}"), per_group=1
        ).kept == len(rows)


# Selecting


def kept_rows(selection: Any) -> list[str]:
    return [f"{s.shard}/k{row}" for s in read_selection(selection.path).shards() for row in s.rows]


@pytest.mark.slow
def test_the_best_of_each_group(write_scores: Write, tmp_path: Path) -> None:
    nan = float("nan")
    scores = write_scores(
        {
            "a": [(0, "f0", "a", 10), (0, "f1", "b", 30), (0xFF, "f2", "c", 5), (0, "f", "d", 30)],
            "b": [(3, "f3", "e", 20), (0xFFFF00, "f4", "f", 1), (0xFFFF03, "f5", "g", nan)],
        }
    )
    copies = str(tmp_path / "copies")
    dedup(scores, copies)
    out = str(tmp_path / "kept")
    thin = {"groups": copies, "per_group": 1}
    best = select(scores, by="itm", out=out, **thin)  # type: ignore[arg-type]
    rows = kept_rows(best)
    assert len(set(rows) & {"a/k1", "a/k3"}) == 1  # equal: by the seeded hash
    assert set(rows) - {"a/k1", "a/k3"} == {"a/k2", "b/k1"}  # nan is worse than any number
    assert [d.rows for d in best.record.dropped if d.reason == "copy of a better row"] == [4]
    others = {tuple(kept_rows(select(scores, by="itm", seed=s, out=out, **thin)))  # type: ignore[arg-type]
              for s in range(8)}  # fmt: skip
    assert len(others) == 2
    # The cut is made among what is left; a condition comes before.
    assert select(scores, by="itm", top=0.5, **thin).kept == 1  # type: ignore[arg-type]
    worst = select(scores, where="itm < 25", by="itm", out=out, **thin)  # type: ignore[arg-type]
    assert kept_rows(worst) == ["a/k2", "b/k0", "b/k1"]
    assert select(scores, by="itm", groups=copies, per_group=2).kept == 5
    assert select(scores, **thin).kept == 3  # type: ignore[arg-type]


def test_groups_hold_for_scores_of_another_scorer(write_scores: Write, tmp_path: Path) -> None:
    rows: list[Any] = [(0, "f", "a", 1), (0, "f", "b", 2)]
    copies = str(tmp_path / "copies")
    dedup(write_scores({"a": rows}, "hashes"), copies)
    kept = select(write_scores({"a": rows}, "itm"), groups=copies, per_group=1).kept
    assert kept == 1
    with pytest.raises(PairsiftError, match=r"of other scores: its rows look like 'a/k0'"):
        select(write_scores({"z": rows}, "elsewhere"), groups=copies, per_group=1)


def test_groups_of_other_pools_and_other_files_are_refused(
    write_scores: Write, tmp_path: Path
) -> None:
    rows: list[Any] = [(0, "f", "a", 1), (0, "f", "b", 2)]
    scores = write_scores({"a": rows}, uids=True)
    copies = tmp_path / "copies"
    dedup(scores, str(copies))
    assert select(scores, groups=str(copies), per_group=1).kept == 1
    found = pq.read_table(copies / "groups.parquet")
    other = found.set_column(2, "uid", pa.array(["f" * 32] * 2))
    pq.write_table(other, copies / "groups.parquet")
    with pytest.raises(PairsiftError, match="'a/k0' has another uid there|'a/k1' has another uid"):
        select(scores, groups=str(copies), per_group=1)
    pq.write_table(found.replace_schema_metadata(None), copies / "groups.parquet")
    with pytest.raises(PairsiftError, match="is not what `pairsift dedup` wrote, or damaged"):
        select(scores, groups=str(copies), per_group=1)
    with pytest.raises(PairsiftError, match="not a table of `pairsift dedup`"):
        dedup(scores, str(copies))
    (copies / "groups.parquet").write_bytes(b"PAR1")
    with pytest.raises(PairsiftError, match="or damaged; give its folder"):
        select(scores, groups=str(copies), per_group=1)
    with pytest.raises(PairsiftError, match="there are no marks in this folder"):
        select(scores, exclude=[str(copies)])


def test_groups_and_marks_of_scores_that_changed_are_refused(
    write_scores: Write, tmp_path: Path
) -> None:
    rows: list[Any] = [(0, "f", "a", 1), (0, "f", "b", 2)]
    scores = write_scores({"a": rows})
    other = write_scores({"a": rows}, "other")
    (tmp_path / "set").mkdir()
    scene(1).save(tmp_path / "set/1.png")
    copies = str(tmp_path / "copies")
    dedup(scores, copies, against=[str(tmp_path / "set")])
    write_scores({"a": [*rows, (7, "g", "c", 3)]})  # scored again
    for asked in ({"groups": copies, "per_group": 1}, {"exclude": [copies]}):
        with pytest.raises(PairsiftError, match="have changed since; run `pairsift dedup` again"):
            select(scores, **asked)  # type: ignore[arg-type]
    # Tables of another scorer are not those that were compared.
    assert select(other, groups=copies, per_group=1).kept == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"groups": "copies"}, "belong together"),
        ({"per_group": 1}, "belong together"),
        ({"groups": "copies", "per_group": 0}, "at least 1"),
        ({"groups": "copies", "per_group": 1}, "no groups.parquet"),
        ({"by": "itm"}, "needs one of them"),
        ({"per": "itm", "groups": "copies", "per_group": 1}, "--per applies --top"),
    ],
)
def test_options_that_do_not_go_together(
    write_scores: Write, tmp_path: Path, options: Any, words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        select(write_scores({"a": [(0, "f", "c", 1)]}), **options)


def test_unique_tells_rows_without_a_uid_apart_by_their_image_file(write_scores: Write) -> None:
    rows: list[Any] = [(0, "f", "a", 1), (9, "f", "b", 2), (7, "g", "c", 3)]
    one = select(write_scores({"a": rows, "b": rows}), unique=True)
    assert one.kept == 2
    assert one.record.dropped[0].reason == "same image file as a better row (there is no uid)"
    # With uids, these decide: k0 to k2 of both shards have the same.
    two = select(write_scores({"a": rows, "b": rows}, "uids", uids=True), unique=True)
    assert (two.kept, two.record.dropped[0].reason) == (3, "same uid as a better row")
    # The best of each, without a cut.
    best = select(write_scores({"a": rows, "b": rows}, "best"), unique=True, by="itm")
    assert best.kept == 2


# Evaluation sets


def write_pool(tmp_path: Path) -> tuple[Path, Path]:
    """A pool with re-encoded copies of six of the eight images of a set, and the set's folder."""
    evaluation = tmp_path / "testset"
    evaluation.mkdir()
    for seed in range(8):
        scene(100 + seed).save(evaluation / f"{seed}.png")
    Image.new("RGB", (40, 40), "white").save(evaluation / "white.png")
    samples = [(f"s{seed}", {"jpg": encode(scene(seed), "JPEG"), "txt": "a scene"})
               for seed in range(20)]  # fmt: skip
    samples += [
        (f"t{seed}", {"jpg": encode(scene(100 + seed).resize((200, 150)), "JPEG", quality=40),
                      "txt": "a scene"})
        for seed in range(6)
    ]  # fmt: skip
    samples.append(("white", {"png": (evaluation / "white.png").read_bytes(), "txt": "a page"}))
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool/a.tar", samples)
    return tmp_path / "pool", evaluation


@pytest.mark.slow
def test_images_of_an_evaluation_set_are_marked_and_left_out(tmp_path: Path) -> None:
    pool, evaluation = write_pool(tmp_path)
    scores, out = str(tmp_path / "scores"), str(tmp_path / "marks")
    score_shards(find_shards(str(pool)), load_scorer("hashes"), scores, workers=0)
    made = write_hash_list([str(evaluation)], tmp_path / "set.parquet", "my test")
    assert (made.images, made.without_phash) == (9, 1)
    summary = dedup(scores, out, on="none", against=[str(tmp_path / "set.parquet")])
    assert summary.sets == (
        {"set": "my test", "images": 9, "found": 7, "rows": 7, "without_phash": 1},
    )
    assert "1 of the images, of one colour or not readable" in summary.lines()[-1]
    assert summary.marked == 7
    marks = pq.read_table(Path(out) / "marks.parquet").to_pylist()
    assert {row["key"]: row["name"] for row in marks} == {
        "white": "white.png", **{f"t{seed}": f"{seed}.png" for seed in range(6)},
    }  # fmt: skip
    assert all(row["distance"] <= 8 for row in marks)
    without = select(scores, exclude=[out])
    assert without.kept == 20
    # The same of the images themselves, in a folder, a tar or parquet.
    again = dedup(scores, out, on="none", against=[str(evaluation)])
    assert again.sets[0]["found"] == 7
    assert again.sets[0]["set"] == "testset"


def test_nothing_marked_excludes_nothing(write_scores: Write, tmp_path: Path) -> None:
    scores = write_scores({"a": [(0, "f", "c", 1)]})
    (tmp_path / "set").mkdir()
    scene(1).save(tmp_path / "set/1.png")
    summary = dedup(scores, str(tmp_path / "m"), on="none", against=[str(tmp_path / "set")])
    assert (summary.marked, summary.sets[0]["found"]) == (0, 0)
    assert select(scores, exclude=[str(tmp_path / "m")]).kept == 1


@pytest.mark.slow
def test_from_a_runs_file(tmp_path: Path) -> None:
    pool, evaluation = write_pool(tmp_path)
    write_tar(pool / "b.tar", [("copy", {"jpg": encode(scene(3).resize((90, 70)), "JPEG"),
                                         "txt": "a scene of some other words"})])  # fmt: skip
    text = (
        f'out = "{tmp_path}/out"\n[score]\nshards = ["{pool}"]\nscorer = "heuristics"\n'
        "workers = 0\n{hashes}\n"
        f'[dedup]\nagainst = "{evaluation}"\n'
        '[select]\nper_group = 1\nby = "caption_words"\n[report]\n'
    )
    path = tmp_path / "run.toml"
    path.write_text(text.replace("{hashes}", ""))
    with pytest.raises(PairsiftError, match="hashes = true"):
        run_pipeline(read_config(path))
    path.write_text(text.replace("{hashes}", "hashes = true"))
    result = run_pipeline(read_config(path))
    assert result.selection is not None
    assert result.dedup is not None
    assert result.dedup.marked == 7
    assert result.selection.kept == 20
    kept = kept_rows(result.selection)
    assert "b/k0" in kept  # of two copies the one with more words
    assert "a/k3" not in kept
    assert "groups of copies" in result.text()
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert "Groups of copies: the largest" in page
    assert "2 copies, 1 kept" in page
    assert ">Copies</" in page


def test_explore_shows_the_copies_of_a_pair(write_scores: Write, tmp_path: Path) -> None:
    scores = write_scores({"a": [(0, "f", "a", 1), (3, "g", "b", 2), (FAR, "h", "c", 3)]})
    copies = str(tmp_path / "copies")
    dedup(scores, copies)
    with open_rows(scores, more=MORE_COLUMNS, groups=copies) as rows:
        finder = RowFinder(rows)
        assert {"copy_group", "copies"} <= set(finder.expression_columns)
        page = finder.find(Filter(where="copies >= 2"))
        assert [(row["key"], row["copies"]) for row in page.rows] == [("k0", 2), ("k1", 2)]
        group = page.rows[0]["copy_group"]
        assert finder.find(Filter(where=f'copy_group = "{group}"')).total == 2
        assert [row["copies"] for row in finder.find(Filter()).rows] == [2, 2, None]
    selection = select(scores, groups=copies, per_group=1, out=str(tmp_path / "kept"))
    with open_rows(scores, selection, more=MORE_COLUMNS) as rows:  # the selection's own groups
        assert rows.grouped
