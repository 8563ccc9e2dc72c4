"""Scores that were made elsewhere become a score folder: `pairsift import`, to the report."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError
from pairsift.engines.imports import ImportSummary, import_scores
from pairsift.errors import NothingScoredError
from pairsift.options import WriteOptions
from pairsift.report import write_report
from pairsift.scores import schema_metrics
from pairsift.select import select
from pairsift.sources import find_shards, open_shard
from pairsift.writers.registry import write_outputs
from tests.samples import jpeg, write_tar
from tests.support.commands import pairsift

COUNT = 20


def uid(number: int) -> str:
    return f"{number:032x}"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    for shard in range(2):
        samples = {
            f"{n:03d}": {
                "jpg": jpeg(60 + n, 60),
                "txt": f"caption {n}",
                "json": json.dumps({"uid": uid(n)}),
            }
            for n in range(shard, COUNT, 2)
        }
        write_tar(folder / f"{shard}.tar", samples)
    return folder


def rows(**columns: Any) -> pa.Table:
    return pa.table(
        {
            "uid": [uid(n) for n in range(COUNT)],
            "clip": [n / COUNT for n in range(COUNT)],
            "domain": [f"{n % 3}.org" for n in range(COUNT)],
        }
        | columns
    )


def write(path: Path, table: pa.Table) -> Path:
    if path.suffix == ".csv":
        lines = [",".join(table.column_names)]
        lines += [
            ",".join("" if v is None else str(v) for v in r.values()) for r in table.to_pylist()
        ]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    else:
        pq.write_table(table, path)
    return path


def imported(table: Path, out: Path, **options: Any) -> tuple[ImportSummary, pa.Table]:
    summary = import_scores(str(table), str(out), **({"columns": ["clip", "domain"]} | options))
    return summary, pq.read_table(sorted(out.glob("*.parquet")))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_rows_of_a_table(tmp_path: Path, suffix: str) -> None:
    table = write(tmp_path / f"t{suffix}", rows())
    summary, found = imported(table, tmp_path / "s", ranges={"clip": "0:1"})
    assert summary.rows == COUNT
    assert summary.columns == {"clip": (COUNT, 0.0, 0.95), "domain": (COUNT, None, None)}
    assert found["uid"].to_pylist() == [uid(n) for n in range(COUNT)]
    assert found["clip"].to_pylist() == [n / COUNT for n in range(COUNT)]
    assert found.schema.field("clip").type == pa.float64()
    assert set(found["status"].to_pylist()) == {"ok"}
    scale = schema_metrics(found.schema)["clip"].scale
    assert (scale.low, scale.high) == (0.0, 1.0)


@pytest.mark.slow
def test_from_a_table_to_the_report(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", rows())
    for command in (
        ("import", "t.parquet", "--uid", "uid", "--columns", "clip,domain", "--out", "scores"),
        ("select", "scores", "--top", 0.5, "--by", "clip", "--per", "domain", "--out", "best"),
        ("write", "best", "--datacomp", "best.npy", "--parquet", "best.parquet"),
        ("report", "scores", "--selection", "best", "--out", "report.html"),
        ("status", "scores"),
    ):
        done = pairsift(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    kept = pq.read_table(tmp_path / "best.parquet")
    assert len(np.load(tmp_path / "best.npy")) == len(kept) == 3 + 3 + 3
    assert "By domain" in (tmp_path / "report.html").read_text()
    for output in ("--webdataset", "--dataset", "--buckets"):
        refused = pairsift("write", "best", output, "new", "--bucket-by", "clip",
                           "--bucket-edges", "0.5", cwd=tmp_path)  # fmt: skip
        assert refused.returncode == 2
        assert "--pool" in refused.stderr
        assert not (tmp_path / "new").exists() or not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize("by", ["uid", "key", "shard"])
def test_for_a_pool_everything_works(tmp_path: Path, pool: Path, by: str) -> None:
    order = [*range(1, COUNT, 2), *range(0, COUNT - 2, 2), 777]  # one is missing, one is unknown
    table = pa.table(
        {
            "uid": [uid(n) for n in order],
            "shard": [str(n % 2) for n in order],
            "key": [f"{n:03d}" for n in order],
            "clip": [n / 1000 for n in order],
        }
    )
    names = {
        "uid": {"uid": "uid"},
        "key": {"key": "key"},
        "shard": {"key": "key", "shard": "shard"},
    }
    path = write(tmp_path / "t.parquet", table if by == "uid" else table.drop_columns("uid"))
    summary, found = imported(
        path, tmp_path / "s", columns=["clip"], pool=find_shards(str(pool)), **names[by]
    )
    assert (summary.rows, summary.matched, summary.table_rows) == (COUNT, COUNT - 1, COUNT)
    expected = [n / 1000 if n != COUNT - 2 else None for s in (0, 1) for n in range(s, COUNT, 2)]
    assert found["clip"].to_pylist() == expected
    best = select(str(tmp_path / "s"), count=5, by="clip", out=tmp_path / "best")
    write_outputs(best, WriteOptions(webdataset=str(tmp_path / "tars")))
    kept = [pair for s in find_shards(str(tmp_path / "tars")).shards for pair in open_shard(s)]
    assert sorted(pair.caption for pair in kept) == [f"caption {n}" for n in (14, 15, 16, 17, 19)]
    report = write_report(str(tmp_path / "s"), str(tmp_path / "best"), str(tmp_path / "r.html"))
    assert report.pictures > 0
    assert report.without_picture == 0


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    clip: list[Any] = [0.5] * COUNT
    clip[1:5] = [None, float("nan"), float("inf"), 7.0]
    uids: list[Any] = [uid(n) for n in range(COUNT)]
    uids[5:9] = [None, "12", uid(9), "x" * 1000]
    table = write(tmp_path / "t.parquet", rows(clip=clip, uid=uids))
    summary, found = imported(table, tmp_path / "s", uid="uid", ranges={"clip": "0:1"})
    assert found["clip"].to_pylist()[:9] == [0.5, None, None, None, None, None, None, 0.5, None]
    statuses = found["status"].to_pylist()
    assert [n for n, status in enumerate(statuses) if status != "ok"] == [4, 5, 6, 8]
    assert found["error"].to_pylist()[4] == "clip is 7, outside 0..1"
    assert "not 32 hexadecimal digits" in found["error"].to_pylist()[6]
    assert all(len(error or "") < 300 for error in found["error"].to_pylist())
    assert found["domain"].to_pylist()[4] == "1.org"
    assert summary.repeated == 1
    assert "clip of 1 rows" in (summary.run.problems["t"])
    assert any("--unique" in line for line in summary.lines())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": ["nothing"]}, r"--columns nothing: none of the first 20 samples has it"),
        ({"uid": "id"}, r"has no column 'id' \(--uid\); its columns are uid, clip, domain"),
        ({"key": "id"}, r"\(--key\)"),
        ({"shard": "domain"}, "give --key too"),
        ({"columns": ["uid"]}, "cannot have a column 'uid'"),
        ({"columns": []}, "name them with --columns"),
        ({"ranges": {"clip": "1:0"}}, "--range clip=1:0: give the lowest and the highest"),
        ({"ranges": {"clip": "x"}}, "give the lowest and the highest"),
        ({"ranges": {"domain": "0:1"}}, "domain is no column of numbers"),
        ({"ranges": {"other": "0:1"}}, "these are: clip"),
    ],
)
def test_refused_before_work(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    table = write(tmp_path / "t.parquet", rows())
    with pytest.raises(PairsiftError, match=words):
        imported(table, tmp_path / "s", **options)
    assert not list(tmp_path.glob("s/*"))


def test_tables_that_do_not_fit_the_pool(tmp_path: Path, pool: Path) -> None:
    shards = find_shards(str(pool))
    twice = write(tmp_path / "a.parquet", pa.concat_tables([rows(), rows()]))
    summary, _ = imported(twice, tmp_path / "a", pool=shards)  # the same values: no contradiction
    assert summary.matched == COUNT
    other = write(tmp_path / "b.parquet", pa.concat_tables([rows(), rows(clip=[0.5] * COUNT)]))
    with pytest.raises(PairsiftError, match="have the same uid 0{32} and different values"):
        imported(other, tmp_path / "b", pool=shards)
    names = {"key": [f"{n:03d}" for n in range(COUNT)]}
    twice = write(tmp_path / "e.parquet", pa.concat_tables([rows(**names), rows(**names)]))
    summary, _ = imported(twice, tmp_path / "e", pool=shards, key="key")
    assert (summary.matched, summary.lost) == (COUNT, 0)
    other = rows(**names, clip=[0.5] * COUNT)
    write(twice, pa.concat_tables([rows(**names), other]))
    with pytest.raises(PairsiftError, match="have the same key and different values"):
        imported(twice, tmp_path / "f", pool=shards, key="key")
    keys = write(tmp_path / "c.csv", rows(key=[f"img{n}" for n in range(COUNT)]))
    with pytest.raises(
        NothingScoredError, match="keys look like 'img0', and those of the pool are like '000'"
    ):
        imported(keys, tmp_path / "c", pool=shards, key="key")
    nameless = write(tmp_path / "d.parquet", rows().drop_columns("uid"))
    with pytest.raises(PairsiftError, match="--uid or --key"):
        imported(nameless, tmp_path / "d", pool=shards)


@pytest.mark.parametrize("kind", [pa.binary(16), pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("named", ["uid", None])
def test_uids_of_other_types(tmp_path: Path, kind: pa.DataType, named: str | None) -> None:
    raw = pa.array([bytes.fromhex(uid(n)) for n in range(COUNT)], kind)
    _, found = imported(write(tmp_path / "t.parquet", rows(uid=raw)), tmp_path / "s", uid=named)
    assert found["uid"].to_pylist() == [uid(n) for n in range(COUNT)]


def test_several_tables_are_resumed(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for name in ("a", "b"):
        write(tmp_path / "t" / f"{name}.csv", rows(uid=[uuid.uuid4().hex for _ in range(COUNT)]))
    summary, first = imported(tmp_path / "t", tmp_path / "s")
    assert (summary.run.scored, summary.rows) == (2, 2 * COUNT)
    (tmp_path / "s" / "b.parquet").unlink()
    summary, again = imported(tmp_path / "t", tmp_path / "s")
    assert (summary.run.scored, summary.run.skipped, summary.rows) == (1, 1, 2 * COUNT)
    assert again == first
    write(tmp_path / "t" / "a.csv", rows())
    with pytest.raises(PairsiftError, match="changed since"):
        imported(tmp_path / "t", tmp_path / "s")
    with pytest.raises(PairsiftError, match="made in another way"):
        imported(tmp_path / "t", tmp_path / "s", columns=["clip"])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("change", [{"clip": [0.5] * COUNT}, {"domain": ["x.org"] * COUNT}])
def test_other_values_of_the_same_samples_are_a_change(
    tmp_path: Path, suffix: str, change: dict[str, Any]
) -> None:
    table = write(tmp_path / f"t{suffix}", rows(more=["a"] * COUNT))
    _, before = imported(table, tmp_path / "s")
    write(table, rows(more=["b"] * COUNT))  # a column that is not imported
    summary, again = imported(table, tmp_path / "s")
    assert (summary.run.skipped, again) == (1, before)
    write(table, rows(**change, more=["b"] * COUNT))
    with pytest.raises(PairsiftError, match="1 shard has changed.*--rescore changed"):
        imported(table, tmp_path / "s")
    done = pairsift("import", table.name, "--columns", "clip,domain", "--out", "s",
                    "--rescore", "changed", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, now = imported(table, tmp_path / "s")
    ((name, values),) = change.items()
    assert now[name].to_pylist() == values


@pytest.mark.parametrize("values", [["0.5", "", "nan"], ["", "0.5", " "], ["nan", "", "0.5"]])
def test_empty_fields_of_a_csv_are_numbers_that_are_missing(
    tmp_path: Path, values: list[str]
) -> None:
    lines = "".join(f"{uid(n)},{value}\n" for n, value in enumerate(values))
    (tmp_path / "t.csv").write_text(f"uid,clip\n{lines}")
    _, found = imported(tmp_path / "t.csv", tmp_path / "s", columns=["clip"])
    assert found["clip"].to_pylist() == [0.5 if "5" in value else None for value in values]


@pytest.mark.parametrize(
    "suffixes", [(".csv", ".parquet"), (".jsonl", ".csv"), (".csv", ".csv"), (".parquet", ".jsonl")]
)
def test_numbers_of_several_formats(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    (tmp_path / "t").mkdir()
    for place, suffix in enumerate(suffixes):
        write(tmp_path / "t" / f"{place}{suffix}", rows())
    summary, found = imported(tmp_path / "t", tmp_path / "s")
    assert found["clip"].type == pa.float64()
    assert summary.columns["clip"] == (2 * COUNT, 0.0, 0.95)


@pytest.mark.parametrize(
    ("suffix", "expected"), [(".parquet", "007"), (".jsonl", "007"), (".csv", 7.0)]
)
def test_text_of_digits_stays_text_where_tables_have_types(
    tmp_path: Path, suffix: str, expected: Any
) -> None:
    table = write(tmp_path / f"t{suffix}", rows(code=["007"] * COUNT))
    _, found = imported(table, tmp_path / "s", columns=["code"])
    assert found["code"].to_pylist() == [expected] * COUNT


@pytest.mark.parametrize("name", ["0_stats.json", "dataset_info.json", "_run.json", "STATS.JSON"])
def test_a_folder_with_json_that_is_no_table(tmp_path: Path, name: str) -> None:
    (tmp_path / "t").mkdir()
    write(tmp_path / "t" / "0.parquet", rows())
    (tmp_path / "t" / name).write_text('{"count": 1}')
    summary, _ = imported(tmp_path / "t", tmp_path / "s")
    assert (summary.rows, summary.run.shards) == (COUNT, 1)


def test_a_folder_of_json_lists(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for part in range(2):
        (tmp_path / "t" / f"{part}.json").write_text(json.dumps(rows().to_pylist()))
    assert imported(tmp_path / "t", tmp_path / "s")[0].rows == 2 * COUNT


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_numbers_that_are_no_floats_are_kept_exactly(tmp_path: Path, suffix: str) -> None:
    number = 2**60 + 1
    table = write(tmp_path / f"t{suffix}", rows(number=[number] * COUNT))
    _, found = imported(table, tmp_path / "s", columns=["number"])
    assert found["number"].to_pylist() == [str(number)] * COUNT


@pytest.mark.parametrize("uids", [list(range(COUNT)), ["x"] * COUNT, [None] * COUNT])
def test_uids_that_cannot_be_used_for_a_pool_are_told(
    tmp_path: Path, pool: Path, uids: list[Any]
) -> None:
    table = write(tmp_path / "t.parquet", rows(uid=uids))
    with pytest.raises(NothingScoredError, match=r"none of their 20 rows can be used; the first"):
        imported(table, tmp_path / "s", pool=find_shards(str(pool)))


def test_misfits_of_a_pool_are_told(tmp_path: Path, pool: Path) -> None:
    clip = ["n/a" if n in (3, 7) else str(n) for n in range(COUNT)]
    table = write(tmp_path / "t.csv", rows(clip=clip))
    summary, _ = imported(
        table, tmp_path / "s", columns=["clip:number"], pool=find_shards(str(pool))
    )
    assert summary.misfits == {"clip": 2}
    assert any("clip of 2 rows" in line for line in summary.lines())


@pytest.mark.parametrize("captions", ["captions.*", "captions.0,captions.1"])
def test_several_captions_of_a_pool_are_told_apart(tmp_path: Path, captions: str) -> None:
    content = {
        "image": [jpeg(seed=n) for n in range(3)],
        "captions": [[f"{n} short", f"{n} a longer one"] for n in range(3)],
        "uid": [uid(n) for n in range(3)],
    }
    (tmp_path / "pool").mkdir()
    pq.write_table(pa.table(content), tmp_path / "pool" / "0.parquet")
    write(tmp_path / "t.csv", rows())
    for command in (
        ("import", "t.csv", "--columns", "clip", "--pool", "pool", "--caption-field", captions,
         "--range", "clip=0:0.06", "--out", "s"),
        ("select", "s", "--best-caption", "--by", "caption_length", "--count", 9, "--out", "best"),
        ("write", "best", "--webdataset", "tars"),
    ):  # fmt: skip
        done = pairsift(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    found = pq.read_table(tmp_path / "s" / "0.parquet")
    assert found["caption_index"].to_pylist() == [0, 1, 0, 1, None, None]  # out of the range
    (shard,) = find_shards(str(tmp_path / "tars")).shards
    assert [pair.caption for pair in open_shard(shard)] == ["0 a longer one", "1 a longer one"]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_keys_that_are_missing(tmp_path: Path, missing: Any) -> None:
    keys = pa.array([missing, 1.0, missing, *(float(n) for n in range(3, COUNT))], pa.float64())
    _, found = imported(write(tmp_path / "t.parquet", rows(key=keys)), tmp_path / "s", key="key")
    assert found["status"].to_pylist()[:4] == ["row_invalid", "ok", "row_invalid", "ok"]
    assert found["key"].to_pylist()[1] == "1"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("repeated", ["clip", "uid", "other"])
def test_two_columns_with_one_name(tmp_path: Path, suffix: str, repeated: str) -> None:
    table = rows(other=["x"] * COUNT)
    table = table.append_column(repeated, table[repeated])
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        columns = (column.to_pylist() for column in table.columns)
        csv = [",".join(map(str, line)) for line in zip(*columns, strict=True)]
        path.write_text("\n".join([",".join(table.column_names), *csv]))
    else:
        pq.write_table(table, path)
    summary = import_scores(str(path), str(tmp_path / "s"), columns=["clip:number"])
    if repeated == "other":
        assert summary.rows == COUNT
    else:
        assert f"2 columns named '{repeated}'" in summary.run.unreadable["t"]


@pytest.mark.parametrize("line", ["{", "[]", "7", '{"uid": 5, "clip": 1}', "\0"])
def test_lines_that_are_no_rows(tmp_path: Path, line: str) -> None:
    good = [json.dumps({"uid": uid(n), "clip": 0.5, "domain": "x"}) for n in (0, 1)]
    (tmp_path / "t.jsonl").write_text(f"\ufeff{good[0]}\r\n\n{line}\n{good[1]}")
    summary, found = imported(tmp_path / "t.jsonl", tmp_path / "s", uid="uid")
    assert found["status"].to_pylist() == ["ok", "row_invalid", "ok"]
    assert summary.run.failures == 1
