"""Fields carried into the score table: `--carry`, from score to report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError, load_scorer, steps
from pairsift.config import read_config
from pairsift.dedup import dedup
from pairsift.options import ScoreOptions, WriteOptions
from pairsift.pipeline import run_pipeline
from pairsift.report import write_report
from pairsift.scorers.registry import known_columns
from pairsift.select import select
from pairsift.writers.registry import write_outputs
from tests.samples import jpeg, write_tar
from tests.support.commands import pairsift

DOMAINS = ("a.org", "b.org", "c.org")


def write_pool(folder: Path, count: int = 12, **more: Any) -> Path:
    folder.mkdir()
    samples = {}
    for n in range(count):
        fields = {
            "uid": f"{n:032x}",
            "url": f"http://{DOMAINS[n % 3]}/{n}.jpg",
            "domain": DOMAINS[n % 3],
            "similarity": n / 100,
            "pages": n,
            "clean": n % 2 == 0,
            "meta": {"license": "CC-BY" if n % 2 else None, "tags": ["x", n]},
        } | more
        samples[f"s{n:03d}"] = {
            "jpg": jpeg(64 + n, 64) if n != 5 else b"no image",
            "txt": "word " * (n + 1),
            "json": json.dumps(fields),
        }
    half = count // 2
    write_tar(folder / "0.tar", dict(list(samples.items())[:half]))
    write_tar(folder / "1.tar", dict(list(samples.items())[half:]))
    return folder


def score(pool: Path, out: Path, *carry: str, **options: Any) -> pa.Table:
    defaults = {"scorer": "heuristics", "workers": 0, "max_failure_rate": 1}
    asked = ScoreOptions(shards=(str(pool),), carry=carry, **(defaults | options))
    steps.score(asked, steps.find_input(asked.shards, asked), str(out))
    return pq.read_table(sorted(out.glob("*.parquet")))


def test_columns_and_types(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    carry = ("url", "similarity", "pages", "clean", "json.meta.license", "tags=meta.tags")
    table = score(pool, tmp_path / "s", *carry)
    assert [(f.name, f.type) for f in table.schema][-6:] == [
        ("url", pa.string()), ("similarity", pa.float64()), ("pages", pa.float64()),
        ("clean", pa.bool_()), ("meta_license", pa.string()), ("tags", pa.string()),
    ]  # fmt: skip
    rows = table.to_pylist()
    assert [row["similarity"] for row in rows] == [n / 100 for n in range(12)]
    assert [row["clean"] for row in rows] == [True, False] * 6
    assert [row["meta_license"] for row in rows] == [None, "CC-BY"] * 6
    assert json.loads(rows[3]["tags"]) == ["x", 3]
    assert rows[5]["status"] == "image_corrupt"
    assert rows[5]["url"] == "http://c.org/5.jpg"  # a failure has its fields too
    plain = score(pool, tmp_path / "plain")
    assert table.select(plain.schema.names) == plain


@pytest.mark.slow
def test_from_score_to_report(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", 60)
    carry = "url,domain,license=meta.license,similarity"
    condition = "license is null and similarity < 0.5"
    for command in (
        ("score", pool, "--scorer", "heuristics", "--workers", 0, "--carry", carry,
         "--out", "scores"),
        ("select", "scores", "--count", 2, "--by", "caption_words", "--per", "domain",
         "--where", condition, "--out", "best"),
    ):  # fmt: skip
        done = pairsift(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    best = select(str(tmp_path / "scores"), count=2, by="caption_words", per="domain",
                  where=condition, out=tmp_path / "best2")  # fmt: skip
    assert {cut.group: cut.kept for cut in best.record.cuts} == dict.fromkeys(DOMAINS, 2)
    kept = tmp_path / "kept.parquet"
    write_outputs(best, WriteOptions(parquet=str(kept), webdataset=str(tmp_path / "tars"),
                                     add_scores=("domain",)))  # fmt: skip
    assert sorted(pq.read_table(kept)["domain"].to_pylist()) == sorted([*DOMAINS, *DOMAINS])
    write_report(str(tmp_path / "scores"), str(tmp_path / "best"), str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text()
    assert "By domain" in page
    assert "By url" not in page  # each value occurs once


def test_the_run_is_resumed_with_its_types_only(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    score(pool, tmp_path / "s", "pages", part="1/2")
    # Another first shard, in which the field is text: the types of the run stay.
    write_tar(pool / "00.tar", {"x": {"jpg": jpeg(), "txt": "x", "json": '{"pages": "many"}'}})
    table = score(pool, tmp_path / "s", "pages")
    assert table["pages"].type == pa.float64()
    assert table["pages"].to_pylist()[:2] == [0, 1]
    facts = json.loads(pq.read_metadata(tmp_path / "s" / "00.parquet").metadata[b"pairsift.shard"])
    assert "pages of 1 rows" in facts["source_error"]
    for carry in ((), ("pages:text",), ("pages", "url")):
        with pytest.raises(PairsiftError, match="scored in another way|made in another way"):
            score(pool, tmp_path / "s", *carry)


@pytest.mark.slow
@pytest.mark.parametrize("engine", [{"workers": 2}, {"devices": "cpu:2", "workers": None}])
def test_other_engines_write_the_same(tmp_path: Path, engine: dict[str, Any]) -> None:
    pool = write_pool(tmp_path / "pool")
    carry = ("url", "similarity")
    assert score(pool, tmp_path / "a", *carry) == score(pool, tmp_path / "b", *carry, **engine)


def test_in_a_runs_file(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool")
    (tmp_path / "run.toml").write_text(
        f'out = "{tmp_path}/out"\n[score]\nshards = ["{tmp_path}/pool"]\nscorer = "heuristics"\n'
        'carry = ["domain"]\nworkers = 0\nmax_failure_rate = 1.0\n'
        '[select]\ncount = 1\nby = "caption_words"\nper = "domain"\n'
        "[write]\nparquet = true\n"
    )
    result = run_pipeline(read_config(tmp_path / "run.toml"))
    assert result.selection is not None
    assert result.selection.kept == 3


def test_other_sources(tmp_path: Path) -> None:
    pictures = [jpeg(seed=n) for n in range(3)]
    table = pa.table({
        "jpg": pictures, "caption": ["x"] * 3, "pages": pa.array([1, None, 2**60]),
        "day": pa.array([0, 1, None], pa.date32()), "raw": [b"\xff", b"a", None],
        "site": [{"name": "x"}, None, {"name": "y"}],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "0.parquet")
    carry = ("pages", "day", "raw", "site", "name=site.name")
    found = score(tmp_path / "0.parquet", tmp_path / "s", *carry)
    assert [f.type for f in found.schema][-5:] == [pa.int64(), *[pa.string()] * 4]
    rows = [tuple(row[name] for name in found.schema.names[-5:]) for row in found.to_pylist()]
    assert rows == [
        (1, "1970-01-01", "\\xff", '{"name": "x"}', "x"),
        (None, "1970-01-02", "a", None, None),
        (2**60, None, None, '{"name": "y"}', "y"),
    ]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.jpg").write_bytes(pictures[0])
    (tmp_path / "folder" / "t.csv").write_text("image,caption,pages\na.jpg,x,7\na.jpg,y,\n")
    found = score(tmp_path / "folder", tmp_path / "f", "pages:number")
    assert found["pages"].to_pylist() == [7.0, None]


@pytest.mark.parametrize(
    ("carry", "words"),
    [
        (("licence",), r"none of the first 12 samples has it: there is no field 'licence'.*:text"),
        (("meta.nothing",), "none of the first 12 samples"),
        (("width",), "cannot have a column 'width'.*own_width=width"),
        (("key",), "cannot have a column 'key'"),
        (("x=url", "X=domain"), "two fields would become the column"),
        (("caption_words:number",), "has a column caption_words already"),
        (("",), "give names of fields"),
        (("pos=url",), "cannot have a column 'pos'"),
        (("and=url",), "cannot have a column 'and'"),
        (("url", "url"), "two fields would become"),
    ],
)
def test_refused_before_anything_is_scored(
    tmp_path: Path, carry: tuple[str, ...], words: str
) -> None:
    pool = write_pool(tmp_path / "pool")
    with pytest.raises(PairsiftError, match=words):
        score(pool, tmp_path / "s", *carry)
    assert not list(tmp_path.glob("s/*.parquet"))


def test_integers_that_a_number_cannot_hold_are_text(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "p", tweet=2**53 + 1, views=2**53)
    table = score(pool, tmp_path / "s", "tweet", "views")
    assert set(table["tweet"].to_pylist()) == {str(2**53 + 1)}
    assert set(table["views"].to_pylist()) == {float(2**53)}


def test_beside_other_columns(tmp_path: Path) -> None:
    options: dict[str, Any] = {"hashes": True, "mark_out_of_scope": True, "languages": "en",
                               "carry": ["domain:text"]}  # fmt: skip
    scorer = load_scorer("pairsift-tiny", **options)
    assert scorer.columns == known_columns("pairsift-tiny", **options)
    assert scorer.columns[-1] == pa.field("domain", pa.string())
    assert json.loads(scorer.fingerprint["carry"]) == ["domain:text"]
    with pytest.raises(PairsiftError, match="give its type"):
        load_scorer("heuristics", carry=["domain"])


# What queries call their own columns and tables; a pool's fields may have the same names.
OWN_NAMES = (
    "best", "cell", "distance", "files", "found", "grp", "hashes", "identity", "images", "l", "m",
    "n", "name", "near", "nth", "number", "own", "place", "places", "pool", "q", "r", "rows",
    "scored", "set", "size", "step", "u", "v", "val", "value", "wanted", "weight", "without",
)  # fmt: skip


def test_columns_named_like_those_of_the_queries(tmp_path: Path) -> None:
    named = {name: n % 3 if n % 2 else f"v{n % 3}" for n, name in enumerate(OWN_NAMES)}
    pool = write_pool(tmp_path / "pool", **named)
    scores = tmp_path / "scores"
    score(pool, scores, *OWN_NAMES, "domain", hashes=True)
    groups = tmp_path / "groups"
    dedup(str(scores), groups, on="both", against=[str(pool / "0.tar")])
    grouped = pq.read_table(groups / "groups.parquet").column_names
    assert grouped == ["shard", "key", "uid", "group", "size"]
    marks = pq.read_table(groups / "marks.parquet").to_pylist()
    assert {mark["set"] for mark in marks} == {"0.tar"}
    for name in OWN_NAMES:
        chosen = select(
            str(scores), where=f"{name} = {name}", by="smaller_side", per=name, count=8,
            unique=True, groups=str(groups), per_group=1,
        )  # fmt: skip
        assert chosen.kept == 8, name
    selection = tmp_path / "selection"
    select(str(scores), by="smaller_side", count=4, out=selection)
    page = tmp_path / "page.html"
    write_report(str(scores), str(selection), str(page), groups=str(groups))
    assert "c.org" in page.read_text()
