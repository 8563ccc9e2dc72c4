"""A resumed write continues the very same work alone, and writes nothing but what was scored."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pairsift import PairsiftError, load_scorer
from pairsift.cli import app
from pairsift.engines.local import score_shards
from pairsift.select import Selection, select
from pairsift.sources import find_shards
from pairsift.writers import write_buckets, write_dataset, write_parquet, write_webdataset
from pairsift.writers.manifest import MANIFEST
from tests.samples import good_samples, write_tar
from tests.score_folders import read_tar
from tests.support.shards import KINDS, strip_facts

Write = Callable[..., Any]


def tars(selection: Selection, out: Path, **options: Any) -> Any:
    return write_webdataset(selection, out, samples_per_shard=4, **options)


def annotated(selection: Selection, out: Path, **options: Any) -> Any:
    return tars(selection, out, scores=["caption_length"], **options)


def dataset(selection: Selection, out: Path, **options: Any) -> Any:
    return write_dataset(selection, out, rows_per_file=4, **options)


def buckets(selection: Selection, out: Path, **options: Any) -> Any:
    return write_buckets(selection, out, "caption_length", [5], samples_per_shard=4, **options)


WRITERS = [tars, annotated, dataset, buckets]
writers = pytest.mark.parametrize("write", WRITERS)


def pool(folder: Path, shards: int = 2, caption: str = "a dog on the beach") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        samples = good_samples(4, f"{shard}-")
        for sample in samples.values():
            sample["txt"] = caption
        write_tar(folder / f"{shard:05d}.tar", samples)
    return folder


def scored(pool: Path | str, name: str, scorer: str = "heuristics") -> Selection:
    base = Path(pool).parent
    out = base / name
    score_shards(find_shards(str(pool)), load_scorer(scorer), str(out / "scores"), workers=0)
    return select(str(out / "scores"), out=out / "selection")


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def undo_last(out: Path) -> None:
    """Leave what a run leaves that was killed before its last file."""
    made = [path for path in sorted(out.rglob("*")) if path.suffix in (".tar", ".parquet")]
    last = [path for path in made if "selections" not in path.parts][-1]
    last.unlink()


@writers
def test_the_same_work_goes_on(tmp_path: Path, write: Write) -> None:
    selection, out = scored(pool(tmp_path / "pool"), "a"), tmp_path / "out"
    write(selection, out)
    before = files(out)
    undo_last(out)
    write(selection, out)
    assert files(out) == before


@pytest.mark.slow
@writers
def test_equal_rows_of_another_scorer_or_pool_are_other_work(tmp_path: Path, write: Write) -> None:
    shards, out = pool(tmp_path / "pool"), tmp_path / "out"
    first = scored(shards, "a")
    other_scorer = scored(shards, "b", "pairsift-tiny")
    other_pool = scored(pool(tmp_path / "else" / "pool", caption="a cat on the roof!"), "c")
    same_bytes = scored(shutil.copytree(shards, tmp_path / "twin" / "pool"), "d")
    write(first, out)
    undo_last(out)
    before = files(out)
    for other, words in (
        (other_scorer, "another .*scorer"),
        (other_pool, "another .*roots"),
        (same_bytes, "another roots"),
    ):
        assert other.record.digest == first.record.digest
        with pytest.raises(PairsiftError, match=words):
            write(other, out)
        assert files(out) == before


@writers
def test_shards_scored_again_are_other_work(tmp_path: Path, write: Write) -> None:
    shards, out = pool(tmp_path / "pool"), tmp_path / "out"
    write(scored(shards, "a"), out)
    undo_last(out)
    pool(shards, caption="a cat on the roof")
    score_shards(
        find_shards(str(shards)), load_scorer("heuristics"), str(tmp_path / "a" / "scores"),
        workers=0, rescore_changed=True,
    )  # fmt: skip
    again = select(str(tmp_path / "a" / "scores"), out=tmp_path / "a" / "selection")
    with pytest.raises(PairsiftError, match="begun with another selection"):
        write(again, out)


@writers
def test_a_moved_pool_goes_on_if_its_bytes_are_the_same(tmp_path: Path, write: Write) -> None:
    selection, out = scored(pool(tmp_path / "pool"), "a"), tmp_path / "out"
    write(selection, out)
    before = files(out)
    undo_last(out)
    shutil.copytree(tmp_path / "pool", tmp_path / "moved", copy_function=shutil.copyfile)
    shutil.rmtree(tmp_path / "pool")
    with pytest.raises(PairsiftError, match="does not exist.*--root"):
        write(selection, out)
    pool(tmp_path / "false", caption="a cat on the beach")
    with pytest.raises(PairsiftError, match="other bytes"):
        write(selection, out, root=str(tmp_path / "false"))
    write(selection, out, root=str(tmp_path / "moved"))
    assert files(out) == before


@writers
def test_a_folder_begun_by_an_older_version_is_refused(tmp_path: Path, write: Write) -> None:
    selection, out = scored(pool(tmp_path / "pool"), "a"), tmp_path / "out"
    out.mkdir()
    old = {"selection": selection.record.digest, "samples_per_shard": 4, "scores": None}
    (out / MANIFEST).write_text(json.dumps(old))
    with pytest.raises(PairsiftError, match="begun by an older version of Pairsift"):
        write(selection, out)


@writers
@pytest.mark.parametrize(("name", "make"), KINDS)
def test_what_changed_since_it_was_scored_is_never_written(
    tmp_path: Path, write: Write, name: str, make: Callable[[Path, str], None]
) -> None:
    path, out = tmp_path / "pool" / name, tmp_path / "out"
    make(path, "a dog on the beach")
    selection = scored(path, "../a")
    write(selection, tmp_path / "good")
    before = path.stat()
    make(path, "a cat on the beach")
    if path.is_file():  # not even with the time stamps of before
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(PairsiftError, match="has changed since it was scored.*--rescore changed"):
        write(selection, out)
    assert not out.exists()


@pytest.mark.parametrize("keep_byte_ranges", [True, False])
def test_tables_of_before_there_were_checksums_go_by_key_and_place(
    tmp_path: Path, keep_byte_ranges: bool
) -> None:
    shards = pool(tmp_path / "pool", shards=1)
    selection = scored(shards, "a")
    write_webdataset(selection, tmp_path / "new")
    table = tmp_path / "a" / "scores" / "00000.parquet"
    metadata = pq.read_schema(table).metadata
    strip_facts(table, "source_version", "source_root")
    if keep_byte_ranges:
        found = pq.read_table(table)
        places = {b"pairsift.extents": metadata[b"pairsift.extents"]}
        pq.write_table(found.replace_schema_metadata({**found.schema.metadata, **places}), table)
    selection = select(str(tmp_path / "a" / "scores"), out=tmp_path / "a" / "selection")
    write_webdataset(selection, tmp_path / "old")
    assert read_tar(tmp_path / "old" / "00000000.tar") == read_tar(tmp_path / "new/00000000.tar")
    samples = good_samples(4, "0-")
    for place, sample in enumerate(samples.values()):
        sample["txt"] = "a dog on the beach" * (100 if place == 0 else 1)
        if place == 0:
            sample["json"] = "{}"
    path = shards / "00000.tar"
    size = path.stat().st_size
    write_tar(path, samples)
    path.write_bytes(path.read_bytes()[:size].ljust(size, b"\0"))
    if keep_byte_ranges:
        with pytest.raises(PairsiftError, match="has changed since it was scored"):
            write_webdataset(selection, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_tar_written_while_it_is_copied_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairsift.writers.append import Appender

    scored(pool(tmp_path / "pool", shards=1), "a")
    strip_facts(tmp_path / "a" / "scores" / "00000.parquet")
    selection = select(str(tmp_path / "a" / "scores"), out=tmp_path / "a" / "selection")
    path = tmp_path / "pool" / "00000.tar"
    content = path.read_bytes()
    write_from = Appender.write_from

    def write_and_change(self: Appender, *places: int) -> int:
        path.write_bytes(content[:-1] + b"x")
        return write_from(self, *places)

    monkeypatch.setattr(Appender, "write_from", write_and_change)
    with pytest.raises(PairsiftError, match="modified while samples were copied"):
        write_webdataset(selection, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tar_put_in_place_of_an_opened_one_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairsift.writers.append import Appender

    selection = scored(pool(tmp_path / "pool", shards=1), "a")
    write_webdataset(selection, tmp_path / "calm")
    other = pool(tmp_path / "other", shards=1, caption="a cat on the beach") / "00000.tar"
    write_from = Appender.write_from

    def write_and_replace(self: Appender, *places: int) -> int:
        if other.exists():
            other.replace(tmp_path / "pool" / "00000.tar")
        return write_from(self, *places)

    monkeypatch.setattr(Appender, "write_from", write_and_replace)
    write_webdataset(selection, tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "calm")


# The command: everything is checked before anything is written or claimed.


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["write", *map(str, arguments)])
    error = result.exception
    return result.exit_code, result.output + (str(error) if error else "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--add-scores", "caption_length,foo"], "no column 'foo'; they have shard, key"),
        (["--add-scores", "itm,,odf"], "no column"),
        (["--add-scores", "caption_length,"], "no column ''"),
        (["--buckets", "{tmp}/b", "--bucket-by", "foo", "--bucket-edges", "8"], "no column 'foo'"),
        (["--buckets", "{tmp}/b", "--bucket-by", "caption_length", "--bucket-edges", "9,8"],
         "must be in ascending order"),
        (["--buckets", "{tmp}/b", "--bucket-by", "caption_length", "--bucket-edges", "8,8"],
         "must be in ascending order"),
        (["--buckets", "{tmp}/b", "--bucket-by", "caption_length", "--bucket-edges", "nan"],
         "must be in ascending order"),
        (["--buckets", "{tmp}/b", "--bucket-by", "key", "--bucket-edges", "8"],
         "does not hold numbers"),
        (["--buckets", "{tmp}/b", "--bucket-by", "caption_length", "--bucket-edges", "a"],
         "give numbers"),
        (["--buckets", "{tmp}/out"], "--webdataset and --buckets are both"),
        (["--dataset", "{tmp}/pool"], "already holds 00000.tar"),
        (["--parquet", "{tmp}/pool"], "is a folder"),
        (["--datacomp", "{tmp}/pool"], "is a folder"),
    ],
)  # fmt: skip
def test_a_wrong_option_of_one_output_leaves_none_begun(
    tmp_path: Path, options: list[str], words: str
) -> None:
    selection = scored(pool(tmp_path / "pool"), "a")
    filled = [option.replace("{tmp}", str(tmp_path)) for option in options]
    before = files(tmp_path)
    code, output = run(selection.path, "--webdataset", tmp_path / "out", *filled)
    assert code != 0
    assert words in output
    assert files(tmp_path) == before
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "b").exists()


def test_columns_of_joined_tables_are_not_written(tmp_path: Path) -> None:
    scored(pool(tmp_path / "pool"), "a")
    (tmp_path / "m.csv").write_text("key,x\n0-0000,1\n")
    scores = str(tmp_path / "a" / "scores")
    select(scores, where="m.x = 1", joins=[f"m={tmp_path}/m.csv"], out=tmp_path / "j")
    code, output = run(tmp_path / "j", "--webdataset", tmp_path / "out", "--add-scores", "m.x")
    assert code != 0
    assert "'m.x' belongs to a table of --join" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("columns", ["caption_length, width", " caption_length ,width ", "width"])
def test_spaces_around_columns_do_not_matter(tmp_path: Path, columns: str) -> None:
    selection = scored(pool(tmp_path / "pool"), "a")
    code, output = run(selection.path, "--webdataset", tmp_path / "out", "--add-scores", columns)
    assert code == 0, output
    added = json.loads(dict(read_tar(tmp_path / "out" / "00000000.tar"))["0-0000.json"])
    assert added["width"] == 320
    # The same columns written otherwise are the same work.
    code, output = run(
        selection.path, "--webdataset", tmp_path / "out", "--add-scores", columns.replace(" ", "")
    )
    assert code == 0, output


def test_nothing_kept_is_the_same_clear_outcome_in_every_writer(tmp_path: Path) -> None:
    scored(pool(tmp_path / "pool"), "a")
    none = select(str(tmp_path / "a" / "scores"), where="width < 0", out=tmp_path / "none")
    code, output = run(
        none.path, "--webdataset", tmp_path / "w", "--dataset", tmp_path / "d",
        "--parquet", tmp_path / "p.parquet", "--datacomp", tmp_path / "n.npy",
        "--buckets", tmp_path / "b", "--bucket-by", "caption_length",
    )  # fmt: skip
    assert code == 0, output
    assert "the selection keeps nothing: no shard" in output
    assert "the selection keeps nothing: no bucket" in output
    assert ".." not in output.replace("../", "")
    assert json.loads((tmp_path / "w" / "sizes.json").read_text()) == {}
    assert list(tmp_path.glob("[wb]/**/*.tar")) == []
    assert pq.read_table(tmp_path / "p.parquet").num_rows == 0
    assert len(np.load(tmp_path / "n.npy")) == 0
    assert write_webdataset(none, tmp_path / "w").train_data == ""
    assert write_parquet(none, tmp_path / "q.parquet").rows == 0


@writers
def test_what_nothing_was_written_to_is_free_for_another_selection(
    tmp_path: Path, write: Write
) -> None:
    some = scored(pool(tmp_path / "pool"), "a")
    scores = str(tmp_path / "a" / "scores")
    none = select(scores, where="width < 0", out=tmp_path / "none")
    few = select(scores, count=2, by="caption_length", out=tmp_path / "few")
    for number, selection in enumerate((few, some)):
        out, plain = tmp_path / f"out{number}", tmp_path / f"plain{number}"
        for _ in range(2):
            write(none, out)
        assert (out / MANIFEST).exists()
        write(selection, out)
        write(selection, plain)
        assert files(out) == files(plain)
        with pytest.raises(PairsiftError, match="another selection"):
            write(none, out)
        assert files(out) == files(plain)


@pytest.mark.slow
@writers
def test_nothing_of_another_scorer_or_options_is_free_too(tmp_path: Path, write: Write) -> None:
    shards, out = pool(tmp_path / "pool"), tmp_path / "out"
    for name, scorer in (("a", "heuristics"), ("b", "pairsift-tiny")):
        scored(shards, name, scorer)
        write(select(str(tmp_path / name / "scores"), where="width < 0", out=tmp_path / name), out)
    some = scored(shards, "c")
    write(some, out)
    write(some, tmp_path / "plain")
    assert files(out) == files(tmp_path / "plain")


@writers
@pytest.mark.parametrize("name", ["00000000.tar", "notes.txt", "data/mine.parquet", "00/1.tar"])
def test_a_file_of_the_user_in_an_empty_output_is_kept(
    tmp_path: Path, write: Write, name: str
) -> None:
    some, out = scored(pool(tmp_path / "pool"), "a"), tmp_path / "out"
    none = select(str(tmp_path / "a" / "scores"), where="width < 0", out=tmp_path / "none")
    write(none, out)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_bytes(b"mine")
    before = files(out)
    with pytest.raises(PairsiftError, match=f"now holds {name}"):
        write(some, out)
    assert files(out) == before


def test_nothing_is_free_behind_a_url_too(tmp_path: Path) -> None:
    some = scored(pool(tmp_path / "pool"), "a")
    none = select(str(tmp_path / "a" / "scores"), where="width < 0", out=tmp_path / "none")
    for write in (write_webdataset, write_dataset):
        out = f"memory://{tmp_path.name}-{write.__name__}"
        write(none, out)
        assert write(some, out).lines()[0].startswith("8 ")
        assert write(some, out).written == 0
