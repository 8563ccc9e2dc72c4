"""Several captions of each sample: a row each, the best one chosen, and that one written."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError, load_scorer, steps
from pairsift.config import read_config
from pairsift.dedup import dedup
from pairsift.options import ScoreOptions, WriteOptions
from pairsift.pipeline import run_pipeline
from pairsift.report import write_report
from pairsift.select import read_selection, select
from pairsift.sources import find_shards, open_shard
from pairsift.sources.several import MOST
from pairsift.writers.registry import write_outputs
from tests.samples import jpeg, write_tar

ALTS = ["a dog", "click here", "one two three four", "img 3"]
RECAPS = ["a brown dog runs on the beach", "a cat", "five", None]


def write_pool(folder: Path) -> Path:
    """Four samples with an alt text as .txt and, but for the last, another caption in the .json."""
    folder.mkdir()
    samples: list[Any] = []
    for place, (alt, recap) in enumerate(zip(ALTS, RECAPS, strict=True)):
        fields = f'{{"uid": "{place:032x}"' + (f', "recap": "{recap}"}}' if recap else "}")
        samples.append((f"s{place}", {"jpg": jpeg(seed=place), "txt": alt, "json": fields}))
    write_tar(folder / "a.tar", samples)
    return folder


def score(pool: Path, out: Path, fields: str = "txt,json.recap", **options: Any) -> str:
    asked = ScoreOptions(
        shards=(str(pool),), scorer="heuristics", caption_field=fields, workers=0,
        max_failure_rate=1, **options,
    )  # fmt: skip
    steps.score(asked, steps.find_input(asked.shards, asked), str(out))
    return str(out)


def test_rows_of_a_tar(tmp_path: Path) -> None:
    table = pq.read_table(Path(score(write_pool(tmp_path / "pool"), tmp_path / "s")) / "a.parquet")
    assert table["key"].to_pylist() == [f"s{place}" for place in range(4) for _ in range(2)]
    assert table["caption_index"].to_pylist() == [0, 1, 0, 1, 0, 1, 0, None]
    assert table["caption_words"].to_pylist() == [2, 7, 2, 2, 4, 1, 2, None]
    assert table["status"].to_pylist()[-1] == "caption_missing"
    assert table.schema.names.index("caption_index") == 8


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_other_formats(tmp_path: Path, kind: str) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    if kind == "parquet":
        images = [jpeg(seed=place) for place in range(3)]
        lists = [["one", "two"], ["three", "four"], ["five", "six"]]
        table = pa.table({"image": images, "alt": ALTS[:3], "captions": lists})
        pq.write_table(table, pool / "a.parquet")
        fields = "alt,captions.0,captions.1"
        expected = ["a dog", "one", "two", "click here", "three", "four", ALTS[2], "five", "six"]
    else:
        for place in range(2):
            (pool / f"{place}.jpg").write_bytes(jpeg(seed=place))
        (pool / "captions.csv").write_text("image,alt,long\n0.jpg,dog,a dog\n1.jpg,cat,a cat\n")
        fields, expected = "alt,long", ["dog", "a dog", "cat", "a cat"]
    (shard,) = find_shards(str(pool), caption=fields).shards
    pairs = list(open_shard(shard))
    assert [pair.caption for pair in pairs] == expected
    count = fields.count(",") + 1
    assert [pair.caption_index for pair in pairs] == list(range(count)) * (len(pairs) // count)
    assert len({pair.key for pair in pairs}) == len(pairs) // count


def texts_of(folder: Path) -> dict[str, str]:
    with tarfile.open(folder / "00000000.tar") as tar:
        return {
            member.name: tar.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in tar
            if member.name.endswith(".txt")
        }


def test_the_best_is_chosen_and_written(tmp_path: Path) -> None:
    scores = score(write_pool(tmp_path / "pool"), tmp_path / "s")
    made = select(scores, best_caption=True, by="caption_words", out=str(tmp_path / "best"))
    assert made.kept == 4
    (shard,) = read_selection(str(tmp_path / "best")).shards()
    assert shard.rows.tolist() == [1, 2, 4, 6]  # of equal ones the first
    reasons = {drop.reason: drop.rows for drop in made.record.dropped}
    assert reasons["another caption of the sample is better"] == 3
    assert sum(reasons.values()) + sum(made.record.failed.values()) + 4 == 8
    written = write_outputs(
        made, WriteOptions(webdataset=str(tmp_path / "w"), datacomp=str(tmp_path / "d.npy"))
    )
    assert texts_of(tmp_path / "w") == {
        "s0.txt": RECAPS[0], "s1.txt": "click here", "s2.txt": ALTS[2], "s3.txt": "img 3",
    }  # fmt: skip
    assert len(written["datacomp"].lines()) == 1
    assert len(np.load(tmp_path / "d.npy")) == 4
    page = tmp_path / "r.html"
    write_report(scores, str(tmp_path / "best"), str(page))
    text = page.read_text("utf-8")
    assert "a brown dog runs on the beach" in text
    assert "Caption index" not in text
    # The cut is made among the chosen ones.
    assert select(scores, best_caption=True, by="caption_words", top=0.5).kept == 2


def test_new_shards_hold_each_sample_once(tmp_path: Path) -> None:
    scores = score(write_pool(tmp_path / "pool"), tmp_path / "s")
    made = select(scores, out=str(tmp_path / "all"))
    assert made.kept == 7
    with pytest.raises(PairsiftError, match=r"select one \(--best-caption\)"):
        write_outputs(made, WriteOptions(webdataset=str(tmp_path / "w")))
    one = select(scores, where="caption_index = 1", out=str(tmp_path / "one"))
    write_outputs(one, WriteOptions(webdataset=str(tmp_path / "w")))
    assert list(texts_of(tmp_path / "w").values()) == RECAPS[:3]


def test_a_dataset_has_the_chosen_caption(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs pairsift[datasets]")
    scores = score(write_pool(tmp_path / "pool"), tmp_path / "s")
    made = select(scores, best_caption=True, by="caption_words", out=str(tmp_path / "best"))
    write_outputs(made, WriteOptions(dataset=str(tmp_path / "d")))
    rows = datasets.load_dataset(str(tmp_path / "d"), split="train", cache_dir=str(tmp_path / "c"))
    assert rows["caption"][:2] == [RECAPS[0], "click here"]


def test_copies_by_image_keep_one_caption_of_one_copy(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    write_tar(pool / "b.tar", [("copy", {"jpg": jpeg(seed=1), "txt": "the very same image again",
                                         "json": '{"recap": "x"}'})])  # fmt: skip
    scores = score(pool, tmp_path / "s", hashes=True)
    copies = str(tmp_path / "copies")
    with pytest.raises(PairsiftError, match="give --on image"):
        dedup(scores, copies, on="both")
    dedup(scores, copies, exact=True)
    made = select(scores, groups=copies, per_group=1, best_caption=True, by="caption_words",
                  out=str(tmp_path / "o"))  # fmt: skip
    kept = {(s.shard, row) for s in read_selection(made.path or "").shards() for row in s.rows}
    assert kept == {("a", 1), ("a", 4), ("a", 6), ("b", 0)}


def test_killed_and_gone_on_with(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    scores = score(pool, tmp_path / "s")
    first = (tmp_path / "s/a.parquet").read_bytes()
    score(pool, tmp_path / "s")  # nothing is left to do
    assert (tmp_path / "s/a.parquet").read_bytes() == first
    (pool / "a.tar").touch()
    score(pool, tmp_path / "s")  # compared by its checksums, caption by caption
    with pytest.raises(PairsiftError, match="caption_field"):
        score(pool, tmp_path / "s", "txt")
    assert select(scores, where="caption_index = 1").kept == 3


def test_mistakes(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    one = score(pool, tmp_path / "one", "txt")
    with pytest.raises(PairsiftError, match="one caption of each sample"):
        select(one, best_caption=True, by="caption_words")
    with pytest.raises(PairsiftError, match="--best-caption needs --by"):
        select(one, best_caption=True)
    assert "caption_index" not in pq.read_schema(tmp_path / "one/a.parquet").names


def test_from_a_runs_file(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    (tmp_path / "run.toml").write_text(
        f'out = "{tmp_path}/out"\n[score]\nshards = ["{pool}"]\nscorer = "heuristics"\n'
        'caption_field = "txt,json.recap"\nworkers = 0\nmax_failure_rate = 1.0\n'
        '[select]\nbest_caption = true\nby = "caption_words"\n[write]\nwebdataset = true\n'
    )
    result = run_pipeline(read_config(tmp_path / "run.toml"))
    assert result.selection is not None
    assert result.selection.kept == 4
    (written,) = (path for path in (tmp_path / "out").iterdir() if (path / "00000000.tar").exists())
    assert texts_of(written)["s0.txt"] == RECAPS[0]
    assert load_scorer("heuristics", caption_index=True).columns[0].name == "caption_index"


# Lists

LISTS: Any = [["one", "two", "three"], [], ["four", None], None, ["five"]]
"""of five samples; each becomes as many rows as it has texts, but at least one"""
TEXTS = ["one", "two", "three", None, "four", None, None, "five"]
COUNTS = [3, 1, 2, 1, 1]


def write_lists(pool: Path, kind: str) -> None:
    """Five samples with a list of captions and an alt text, in one shard."""
    pool.mkdir()
    images = [jpeg(seed=place) for place in range(5)]
    alts = [f"alt {place}" for place in range(5)]
    if kind == "tar":
        samples: Any = [
            (f"s{place}", {"jpg": images[place], "txt": alts[place],
                           "json": json.dumps({"captions": LISTS[place]})})
            for place in range(5)
        ]  # fmt: skip
        write_tar(pool / "a.tar", samples)
    elif kind == "jsonl":
        for place, image in enumerate(images):
            (pool / f"{place}.jpg").write_bytes(image)
        lines = [
            json.dumps({"image": f"{place}.jpg", "alt": alts[place], "captions": LISTS[place]})
            for place in range(5)
        ]
        (pool / "captions.jsonl").write_text("\n".join(lines))
    else:
        column: Any = pa.array(LISTS, {"list": pa.list_, "large_list": pa.large_list}.get(
            kind, pa.list_)(pa.string()))  # fmt: skip
        if kind == "struct":
            column = pa.StructArray.from_arrays([column], ["captions"])
        if kind == "objects":
            objects = [
                None if texts is None else [{"text": text} for text in texts] for texts in LISTS
            ]
            column = pa.array(objects)
        table = {"image": images, "alt": alts, "nested" if kind == "struct" else "captions": column}
        pq.write_table(pa.table(table), pool / "a.parquet")


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("tar", "json.captions.*"),
        ("jsonl", "captions.*"),
        ("list", "captions.*"),
        ("large_list", "captions.*"),
        ("struct", "nested.captions.*"),
        ("objects", "captions.*.text"),
    ],
)
def test_every_text_of_a_list(tmp_path: Path, kind: str, field: str) -> None:
    write_lists(tmp_path / "pool", kind)
    (shard,) = find_shards(str(tmp_path / "pool"), caption=field).shards
    pairs = list(open_shard(shard))
    assert [pair.caption for pair in pairs] == TEXTS
    assert [pair.caption_index for pair in pairs] == [i for count in COUNTS for i in range(count)]
    keys = list(dict.fromkeys(pair.key for pair in pairs))
    assert [pair.key for pair in pairs] == [
        key for key, count in zip(keys, COUNTS, strict=True) for _ in range(count)
    ]
    why = [pair.fault and (pair.fault.status.value, pair.fault.error) for pair in pairs]
    missing = [place for place, caption in enumerate(TEXTS) if caption is None]
    assert [place for place, fault in enumerate(why) if fault] == missing
    assert {why[place][0] for place in missing} == {"caption_missing"}  # type: ignore[index]
    assert "is an empty list" in why[3][1]  # type: ignore[index]
    assert ".1" in why[5][1]  # type: ignore[index]
    assert "is null" in why[6][1]  # type: ignore[index]


@pytest.mark.parametrize("kind", ["tar", "jsonl", "list"])
def test_a_list_beside_other_captions(tmp_path: Path, kind: str) -> None:
    write_lists(tmp_path / "pool", kind)
    alt, whole = ("txt", "json.captions") if kind == "tar" else ("alt", "captions")
    for field in (f"{alt},{whole}", f"{alt},{whole}.*"):
        (shard,) = find_shards(str(tmp_path / "pool"), caption=field).shards
        pairs = list(open_shard(shard))
        assert len(pairs) == 5 + len(TEXTS)
        assert [p.caption for p in pairs if p.caption_index == 0] == [f"alt {n}" for n in range(5)]
        assert [p.caption for p in pairs if p.caption_index] == TEXTS


def test_lists_are_scored_chosen_and_written(tmp_path: Path) -> None:
    write_lists(tmp_path / "pool", "tar")
    scores = score(tmp_path / "pool", tmp_path / "s", "json.captions.*")
    table = pq.read_table(Path(scores) / "a.parquet")
    assert table["caption_index"].to_pylist() == [0, 1, 2, None, 0, None, None, 0]
    made = select(scores, best_caption=True, by="caption_characters", out=str(tmp_path / "best"))
    write_outputs(made, WriteOptions(webdataset=str(tmp_path / "w")))
    assert texts_of(tmp_path / "w") == {"s0.txt": "three", "s2.txt": "four", "s4.txt": "five"}
    first = (tmp_path / "s/a.parquet").read_bytes()
    score(tmp_path / "pool", tmp_path / "s", "json.captions.*")  # nothing is left to do
    (tmp_path / "pool/a.tar").touch()
    score(tmp_path / "pool", tmp_path / "s", "json.captions.*")  # the same, row by row
    assert pq.read_table(Path(scores) / "a.parquet")["key"].equals(table["key"])
    assert len(first) > 0


def test_too_many_captions_are_one_row(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    lists = [["a"] * (MOST + 1), ["b"] * MOST]
    table = pa.table({"image": [jpeg(seed=0), jpeg(seed=1)], "captions": lists})
    pq.write_table(table, tmp_path / "pool/a.parquet")
    (shard,) = find_shards(str(tmp_path / "pool"), caption="captions.*").shards
    first, *others = open_shard(shard)
    assert first.fault is not None
    assert "the sample has 1,001 captions; the limit is 1,000" in first.fault.error
    assert [pair.caption_index for pair in others] == list(range(MOST))


@pytest.mark.parametrize(
    ("kind", "field", "words"),
    [
        ("list", "captions", r"or 'captions\.\*' for a row of each"),
        ("list", "alt.*", "alt is .*string, which has no fields"),
        ("list", "captions.*.text", "has no fields"),
        ("objects", "captions.*", "text is at captions.0.text"),
        ("tar", "json.captions", r"--caption-field 'json\.captions\.\*'"),
        ("jsonl", "captions", r"'captions\.\*' makes a row of each"),
    ],
)
def test_mistakes_with_lists(tmp_path: Path, kind: str, field: str, words: str) -> None:
    write_lists(tmp_path / "pool", kind)
    (shard,) = find_shards(str(tmp_path / "pool"), caption=field).shards
    try:
        found = next(pair.fault.error for pair in open_shard(shard) if pair.fault)
    except PairsiftError as error:
        found = str(error)
    assert re.search(words, found)


@pytest.mark.parametrize("field", ["txt,txt", "txt, json.recap ,txt", "captions.*,captions.*"])
def test_a_name_that_stands_there_twice(tmp_path: Path, field: str) -> None:
    shards = find_shards(str(write_pool(tmp_path / "pool")))
    with pytest.raises(PairsiftError, match="stands there twice"):
        steps.score(ScoreOptions(shards=(), caption_field=field), shards, str(tmp_path / "s"))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("field", ["txt,,json.recap", "txt,", ",txt"])
def test_a_name_that_is_missing(tmp_path: Path, field: str) -> None:
    with pytest.raises(PairsiftError, match="a name is missing before or after a comma"):
        score(write_pool(tmp_path / "pool"), tmp_path / "s", field)
