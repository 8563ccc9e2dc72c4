"""Only the very same work goes on in a folder, and a run that wrote nothing claims none."""

from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.engines.local import score_shards
from pairsift.manifest import Manifest, changes, in_words
from pairsift.scores import MANIFEST, SHARD_NAMES, ScoreFolder, input_options, source_identity
from pairsift.sources import find_shards
from pairsift.storage import Folder
from tests.samples import good_samples, jpeg, write_tar

NAME = "_work"


def manifest(url: str | Path, identity: dict[str, Any], **options: Any) -> Manifest:
    return Manifest(
        Folder(url), NAME, identity, lambda _, found: f"no: {in_words(found)}", **options
    )


@pytest.mark.parametrize("place", ["local", "memory"])
def test_the_same_work_goes_on_and_another_is_refused_by_field(tmp_path: Path, place: str) -> None:
    url = str(tmp_path / "out") if place == "local" else f"memory://{tmp_path.name}/out"
    work = {"size": 3, "of": {"roots": ["/a"], "kind": "x"}}
    assert not manifest(url, work).check()
    assert manifest(url, work).take()
    assert not manifest(url, work).take()
    assert manifest(url, work).check()
    with pytest.raises(PairsiftError, match=r"no: roots is \['/a'\] there and \['/b'\] now$"):
        manifest(url, {"size": 3, "of": {"roots": ["/b"], "kind": "x"}}).take()
    with pytest.raises(PairsiftError, match="more is None there and 1 now"):
        manifest(url, work | {"more": 1}).check()
    assert manifest(url, work | {"more": 1}, optional=frozenset({"more"})).check()


def test_checking_leaves_no_trace(tmp_path: Path) -> None:
    assert not manifest(tmp_path / "out", {"a": 1}).check()
    assert not (tmp_path / "out").exists()


def test_release_takes_back_only_what_this_run_began(tmp_path: Path) -> None:
    first, second = manifest(tmp_path, {"a": 1}), manifest(tmp_path, {"a": 1})
    first.take()
    second.take()
    assert not second.release()
    assert (tmp_path / NAME).exists()
    assert first.release()
    assert list(tmp_path.iterdir()) == []
    assert manifest(tmp_path, {"a": 2}).take()


@pytest.mark.parametrize("content", ["{", "[1]", '"x"', ""])
def test_a_broken_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    with pytest.raises(PairsiftError, match=f"{tmp_path}/{NAME}"):
        manifest(tmp_path, {"a": 1}).check()


def test_what_differs_is_told_field_by_field() -> None:
    assert changes({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}) == ""
    assert changes({"a": 1}, {"b": 1}) == (
        "a is 1 there and None now; b is None there and 1 now"
    )  # fmt: skip
    assert changes({"b": {"c": 2, "d": 1}}, {"b": {"c": 3, "d": 1}}) == "c is 2 there and 3 now"
    assert changes({"b": {"c": 2}}, {"b": 1}) == "b is {'c': 2} there and 1 now"


def _begin(url: str, number: int, start: Any, results: Any) -> None:
    mine = manifest(url, {"number": number})
    start.wait()
    try:
        mine.take()
        results.put(number)
    except PairsiftError:
        results.put(None)


@pytest.mark.slow
def test_of_runs_that_begin_at_once_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(20):
        url = str(tmp_path / str(attempt))
        start, results = context.Barrier(4), context.Queue()
        runs = [
            context.Process(target=_begin, args=(url, number, start, results))
            for number in range(4)
        ]
        for run in runs:
            run.start()
        winners = [found for found in (results.get(timeout=60) for _ in runs) if found is not None]
        for run in runs:
            run.join()
        assert len(winners) == 1
        (file,) = Path(url).iterdir()
        assert json.loads(file.read_text()) == {"number": winners[0]}


def test_of_threads_on_a_store_one_wins(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/race"
    won: list[int] = []

    def begin(number: int) -> None:
        try:
            manifest(url, {"number": number}).take()
            won.append(number)
        except PairsiftError:
            pass

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = fsspec.filesystem("memory").cat_file(f"/{tmp_path.name}/race/{NAME}")
    assert [json.loads(content)["number"]] == won


# Score folders


def pool(tmp_path: Path, shards: int = 2) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    for shard in range(shards):
        samples = good_samples(3, f"{shard}-")
        for sample in samples.values():
            sample["json"] = json.dumps({"recaption": "another caption", "alt": "x"})
        write_tar(folder / f"{shard:05d}.tar", samples)
    return folder


def score(patterns: object, out: Path, scorer: str = "heuristics", **options: Any) -> Any:
    found = find_shards(patterns, **options)  # type: ignore[arg-type]
    return score_shards(found, load_scorer(scorer), str(out), workers=0)


def test_another_caption_field_is_refused_whatever_is_finished(tmp_path: Path) -> None:
    shards, out = pool(tmp_path), tmp_path / "out"
    score(str(shards / "00000.tar"), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for field in ("json.recaption", "json.alt", "json"):
        with pytest.raises(PairsiftError, match=f"caption_field is None there and '{field}' now"):
            score(str(shards), out, caption=field)
    with pytest.raises(PairsiftError, match="max_image_bytes is None there and 9 now"):
        score(str(shards), out, max_image_bytes=9)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("caption", ["txt", ".txt", "TXT", None])
def test_the_default_written_out_is_the_same_input(tmp_path: Path, caption: str | None) -> None:
    shards, out = pool(tmp_path), tmp_path / "out"
    score(str(shards / "00000.tar"), out)
    assert source_identity(find_shards(str(shards), caption=caption)) == {"kind": "webdataset"}
    assert score(str(shards), out, caption=caption).rows == 3


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("JSON", "json", True),
        (".cap.TXT", "cap.txt", True),
        ("json.alt", "json.Alt", False),
        ("meta.json.alt", "meta.json.Alt", False),
        ("json.a.b", "json.a", False),
    ],
)
def test_suffixes_are_compared_in_lower_case_and_fields_as_they_are(
    one: str, other: str, same: bool
) -> None:
    found = [input_options("webdataset", [("caption", value)]) for value in (one, other)]
    assert (found[0] == found[1]) == same


def test_another_kind_is_refused(tmp_path: Path) -> None:
    shards, out = pool(tmp_path), tmp_path / "out"
    score(str(shards), out)
    images = shards / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(jpeg())
    (images / "a.txt").write_text("a caption")
    with pytest.raises(PairsiftError, match="kind is 'webdataset' there and 'folder' now"):
        score(str(images), out)


def test_another_captions_file_is_refused(tmp_path: Path) -> None:
    images, out = tmp_path / "pool" / "images", tmp_path / "out"
    images.mkdir(parents=True)
    (images / "a.jpg").write_bytes(jpeg())
    for name in ("one", "two"):
        (images / f"{name}.csv").write_text(f"file_name,caption\na.jpg,caption {name}\n")
    score(str(images), out, captions_file="one.csv")
    with pytest.raises(PairsiftError, match="captions_file is 'one.csv' there and 'two.csv' now"):
        score(str(images), out, captions_file="two.csv")
    with pytest.raises(PairsiftError, match="captions_file is 'one.csv' there and None now"):
        score(str(images), out)


def test_folders_of_before_the_input_was_noted_go_by_their_tables(tmp_path: Path) -> None:
    shards, out = pool(tmp_path), tmp_path / "out"
    score(str(shards / "00000.tar"), out)
    old = json.loads((out / MANIFEST).read_text())
    del old["source"]
    (out / MANIFEST).write_text(json.dumps(old))
    with pytest.raises(
        PairsiftError, match="images of 00000: caption_field is None there and 'json.alt' now"
    ):
        score(str(shards), out, caption="json.alt")
    assert score(str(shards), out).rows == 3


@pytest.mark.parametrize("part", [(0, 2), (3, 2)])
def test_a_part_that_is_none_claims_nothing(tmp_path: Path, part: tuple[int, int]) -> None:
    shards, out = pool(tmp_path), tmp_path / "out"
    with pytest.raises(PairsiftError, match="--part"):
        score_shards(find_shards(str(shards)), load_scorer("heuristics"), str(out), part=part)
    assert list(out.iterdir()) == []


def test_a_refused_run_leaves_no_names_of_its_shards(tmp_path: Path) -> None:
    shards, out = pool(tmp_path), tmp_path / "out"
    score(str(shards / "00000.tar"), out)
    names = (out / SHARD_NAMES).read_bytes()
    write_tar(shards / "00000.tar", good_samples(9))
    with pytest.raises(PairsiftError, match="--rescore changed"):
        score(str(shards), out)
    with pytest.raises(PairsiftError, match="scorer is"):
        score(str(shards), out, scorer="pairsift-tiny")
    assert (out / SHARD_NAMES).read_bytes() == names


def test_a_run_that_is_stopped_before_its_first_table_leaves_the_folder_free(
    tmp_path: Path,
) -> None:
    folder, out = tmp_path / "pool", tmp_path / "out"
    folder.mkdir()
    write_tar(folder / "0.tar", {f"k{i}": {"jpg": b"x", "txt": "a caption"} for i in range(1100)})
    with pytest.raises(PairsiftError, match="--max-failure-rate"):
        score(str(folder), out)
    assert list(out.iterdir()) == []
    score(str(pool(tmp_path / "good") if (tmp_path / "good").mkdir() is None else ""), out)
    assert len(list(out.glob("*.parquet"))) == 2


def test_score_folder_commits_only_below_its_own_claim(tmp_path: Path) -> None:
    import pyarrow as pa

    first = ScoreFolder(str(tmp_path), {"scorer": "a"}, "/data")
    second = ScoreFolder(str(tmp_path), {"scorer": "b"}, "/data")  # both see an empty folder
    table = pa.table({"key": ["x"]})
    first.commit("one", table, {})
    with pytest.raises(PairsiftError, match="scorer is 'a' there and 'b' now"):
        second.commit("two", table, {})
    assert not (tmp_path / "two.parquet").exists()
