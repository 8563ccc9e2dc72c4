"""Rows of a score table are read from the very samples that were scored, or not at all."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.engines.local import score_shards
from pairsift.provenance import ChangedShardError, Provenance, find_source, read_provenance
from pairsift.sources import find_shards
from pairsift.storage import Folder
from tests.samples import good_samples, jpeg, write_tar
from tests.support.shards import KINDS, kinds, tar


def score(path: Path, out: Path) -> Provenance:
    score_shards(find_shards(str(path)), load_scorer("heuristics"), str(out), workers=0)
    (table,) = out.glob("*.parquet")
    return read_provenance(Folder(out), table.stem)


def keys(out: Path) -> list[str]:
    (table,) = out.glob("*.parquet")
    found: list[str] = pq.read_table(table)["key"].to_pylist()
    return found


@kinds
def test_rows_are_those_that_were_scored(
    tmp_path: Path, name: str, make: Callable[[Path, str], None]
) -> None:
    path, out = tmp_path / "pool" / name, tmp_path / "out"
    make(path, "a dog on the beach")
    origin = score(path, out)
    assert origin.look() is None
    pairs = list(origin.rows([1, 3], [keys(out)[1], keys(out)[3]]))
    assert [pair.key for pair in pairs] == [keys(out)[1], keys(out)[3]]
    assert {pair.caption for pair in pairs} == {"a dog on the beach"}
    assert origin.is_same(keys(out))


@kinds
def test_captions_of_the_same_length_written_afterwards_are_told(
    tmp_path: Path, name: str, make: Callable[[Path, str], None]
) -> None:
    path, out = tmp_path / "pool" / name, tmp_path / "out"
    make(path, "a dog on the beach")
    origin = score(path, out)
    make(path, "a cat on the beach")
    assert origin.look() is not None
    with pytest.raises(ChangedShardError, match="has changed since it was scored.*--rescore"):
        list(origin.rows([2], [keys(out)[2]]))
    assert not origin.is_same(keys(out))


@pytest.mark.parametrize(("name", "make"), [KINDS[0], KINDS[2]])
def test_same_size_and_time_do_not_hide_a_change(
    tmp_path: Path, name: str, make: Callable[[Path, str], None]
) -> None:
    path, out = tmp_path / "pool" / name, tmp_path / "out"
    make(path, "a dog on the beach")
    origin, before = score(path, out), path.stat()
    make(path, "a cat on the beach")
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert origin.look() is None
    with pytest.raises(ChangedShardError, match="has other bytes.*`touch` it first.*--rescore"):
        list(origin.rows([0], [keys(out)[0]]))
    path.touch()
    with pytest.raises(ChangedShardError, match="has other bytes; score it again"):
        list(origin.rows([0], [keys(out)[0]]))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_images_elsewhere_that_changed_are_told(tmp_path: Path, suffix: str, change: str) -> None:
    images, lists, out = (tmp_path / name for name in ("images", "lists", "out"))
    images.mkdir()
    lists.mkdir()
    rows = [{"image": f"{n}.jpg", "caption": "a dog"} for n in range(4)]
    for n in range(4):
        (images / f"{n}.jpg").write_bytes(jpeg(seed=n))
    table = lists / f"0{suffix}"
    if suffix == ".jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), table)

    def run(**options: Any) -> Provenance:
        found = find_shards(str(table), image_root=str(images))
        score_shards(found, load_scorer("heuristics"), str(out), workers=0, **options)
        (written,) = out.glob("*.parquet")
        return read_provenance(Folder(out), written.stem)

    origin = run()
    if change == "replaced":
        (images / "1.jpg").write_bytes(jpeg(seed=9))
        how = "sample .* has other bytes"
    else:
        (images / "1.jpg").unlink()
        how = "sample .* now fails: .*1.jpg"
    touch = "`touch` 0.jsonl there" if suffix == ".jsonl" else "`touch` it"
    assert [pair.image for pair in origin.rows([0], keys(out)[:1])] == [jpeg(seed=0)]
    with pytest.raises(ChangedShardError, match=f"{how}.*{touch} first.*--rescore"):
        list(origin.rows([1], keys(out)[1:2]))
    table.touch()
    with pytest.raises(PairsiftError, match="1 shard has changed"):
        run()
    again = list(run(rescore_changed=True).rows([1], keys(out)[1:2]))
    assert [pair.image for pair in again] == [jpeg(seed=9) if change == "replaced" else None]


@kinds
def test_touched_or_copied_shards_are_still_the_same(
    tmp_path: Path, name: str, make: Callable[[Path, str], None]
) -> None:
    path, out = tmp_path / "pool" / name, tmp_path / "out"
    make(path, "a dog on the beach")
    score(path, out)
    shutil.copytree(tmp_path / "pool", tmp_path / "new" / "pool", copy_function=shutil.copyfile)
    shutil.rmtree(tmp_path / "pool")
    (table,) = out.glob("*.parquet")
    gone = read_provenance(Folder(out), table.stem)
    with pytest.raises(PairsiftError):
        list(gone.rows([0], [keys(out)[0]]))
    # The root of a table of captions is the folder above its own.
    root = tmp_path / "new" if name.endswith(".csv") else tmp_path / "new" / "pool"
    moved = read_provenance(Folder(out), table.stem, root=f"{root}/")
    assert moved.look() is not None
    assert moved.is_same(keys(out))
    assert len(list(moved.rows([0], [keys(out)[0]]))) == 1


@pytest.mark.parametrize("change", ["more", "fewer", "order", "other key"])
def test_the_whole_shard_is_compared(tmp_path: Path, change: str) -> None:
    path, out = tmp_path / "pool" / "0.tar", tmp_path / "out"
    tar(path, "a dog")
    origin = score(path, out)
    samples = list(good_samples(5).items())
    for _, sample in samples:
        sample["txt"] = "a dog"
    kept = samples[:4]
    if change == "more":
        kept = samples
    elif change == "fewer":
        kept = samples[:3]
    elif change == "order":
        kept = [kept[1], kept[0], *kept[2:]]
    else:
        kept[3] = ("good9999", kept[3][1])
    write_tar(path, kept)
    assert not origin.is_same(keys(out))


def test_a_member_that_no_scorer_reads_counts_too(tmp_path: Path) -> None:
    path, out = tmp_path / "pool" / "0.tar", tmp_path / "out"
    path.parent.mkdir()
    samples = {"a": {"jpg": jpeg(), "txt": "x", "npy": b"11111111"}}
    write_tar(path, samples)
    origin = score(path, out)
    samples["a"]["npy"] = b"22222222"
    write_tar(path, samples)
    with pytest.raises(ChangedShardError):
        list(origin.rows([0], ["a"]))


def test_checks_do_not_depend_on_how_the_tar_is_packed(tmp_path: Path) -> None:
    tar(tmp_path / "a" / "0.tar", "a dog")
    packed = tmp_path / "b" / "0.tar.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress((tmp_path / "a" / "0.tar").read_bytes()))
    plain, zipped = score(tmp_path / "a", tmp_path / "x"), score(tmp_path / "b", tmp_path / "y")
    assert plain.checks is not None
    assert zipped.checks is not None
    assert plain.checks.tolist() == zipped.checks.tolist()
    assert len(set(plain.checks.tolist())) == 4


def test_tables_of_before_there_were_checksums_go_by_key_and_size(tmp_path: Path) -> None:
    path, out = tmp_path / "pool" / "0.tar", tmp_path / "out"
    tar(path, "a dog")
    origin = score(path, out)
    old = Provenance(origin.shard)
    assert [pair.key for pair in old.rows([1], [keys(out)[1]])] == [keys(out)[1]]
    with pytest.raises(ChangedShardError, match="row 1 is good0001, and was other"):
        list(old.rows([1], ["other"]))
    write_tar(path, good_samples(40))
    with pytest.raises(ChangedShardError, match=r"it has [\d,]+ bytes, and had [\d,]+"):
        list(old.rows([1], [keys(out)[1]]))


@pytest.mark.parametrize(
    ("root", "url"),
    [("/new", "/new/x/0.tar"), ("/new/", "/new/x/0.tar"), ("s3://b/pool", "s3://b/pool/x/0.tar")],
)
def test_root_says_where_the_shards_lie_now(root: str, url: str) -> None:
    facts = {"source": "/old/x/0.tar", "source_kind": "webdataset"}
    assert find_source("x__0", facts, root, "/old").url == url
    assert find_source("x__0", facts | {"source_root": "/old/"}, root).url == url
    assert find_source("x__0", facts).url == "/old/x/0.tar"


@pytest.mark.parametrize("scored_root", ["/ol", "/old/x/0", "/other", None])
def test_a_root_that_does_not_fit_is_refused(scored_root: str | None) -> None:
    facts = {"source": "/old/x/0.tar", "source_kind": "webdataset"}
    with pytest.raises(PairsiftError, match="/old/x/0.tar did not lie below"):
        find_source("x__0", facts, "/new", scored_root)


def test_a_table_that_tells_nothing_is_refused() -> None:
    with pytest.raises(PairsiftError, match="does not say where its source shard is"):
        find_source("a", {})
