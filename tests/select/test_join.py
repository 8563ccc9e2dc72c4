"""Tables beside the scores: of every form, matched by what their rows are called."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.select import Selection, select
from tests.score_folders import score_folder, score_table, uid_of


def _scores(path: Path, keys: list[str], name: str = "00000") -> str:
    numbers = [float(n) for n in range(len(keys))]
    table = score_table(name, keys, {"itm": numbers}, uids=[uid_of(n) for n in range(len(keys))])
    return score_folder(path, {name: table})


def _kept(selection: Selection) -> list[str]:
    return [
        key
        for shard in selection.shards()
        for key in shard.table(["key"]).column("key").to_pylist()
    ]


def _select(tmp_path: Path, scores: str, join: str, where: str) -> list[str]:
    return _kept(select(scores, where=where, joins=[join], out=tmp_path / "sel"))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["00000", "00001", "00012"], [0, 1, 12]),
        (["000000000", "000000001", "000000012"], ["0", "1", "12"]),
        (["0", "1", "12"], ["000000000", "000000001", "000000012"]),
        (["0", "1", "12"], pa.array([0, 1, 12], pa.uint32())),
        (["00000", "00001", "12345"], [0, 1, 12345]),  # the last one matches as it is
        (["0", "1", "12"], [0.0, 1.0, 12.0]),  # as pandas writes whole numbers beside nulls
        (["00", "a/01", "x"], ["0", "a/01", "x"]),
        (["犬", "caf\\xe9", 'it\'s "q" %s'], ["犬", "caf\\xe9", 'it\'s "q" %s']),
    ],
)
def test_keys_match_across_types_and_leading_zeros(
    tmp_path: Path, ours: list[str], theirs: Any
) -> None:
    scores = _scores(tmp_path / "s", ours)
    pq.write_table(pa.table({"key": theirs, "x": [0, 1, 2]}), tmp_path / "m.parquet")
    assert (
        _select(tmp_path, scores, f"m={tmp_path}/m.parquet@key", "m.x = itm and itm > 0")
        == ours[1:]
    )


def test_leading_zeros_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pairsift.inputs")
    scores = _scores(tmp_path / "s", ["00", "01", "02", "03"])
    pq.write_table(pa.table({"key": [1, 2], "x": [1, 1]}), tmp_path / "m.parquet")
    assert _select(tmp_path, scores, f"m={tmp_path}/m.parquet@key", "m.x = 1") == ["01", "02"]
    assert "2 of 4 keys match if leading zeros are ignored" in caplog.text


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(["01", "1", "x"], ["001", "y"]), (["001", "x"], ["01", "1"]), (["1", "01", "7"], ["0001"])],
)
def test_nothing_is_guessed_between_two(tmp_path: Path, ours: list[str], theirs: list[str]) -> None:
    scores = _scores(tmp_path / "s", ours)
    pq.write_table(pa.table({"key": theirs, "x": [1] * len(theirs)}), tmp_path / "m.parquet")
    with pytest.raises(PairsiftError, match=f"0 of {len(ours)} keys match"):
        _select(tmp_path, scores, f"m={tmp_path}/m.parquet@key", "m.x = 1")


@pytest.mark.parametrize(
    ("on", "columns", "words"),
    [
        ("key", {"key": ["a.jpg", "b.jpg"]}, "In the scores they look like '00000', "
         "in the table like 'a.jpg'"),
        ("shard", {"shard": ["x", "y"], "key": [0, 1]},
         "like '00000/00000', in the table like 'x/0'"),
        ("uid", {"uid": [uid_of(77), "no uid"]},
         "0 of 2 uids match. In the scores they look like '0000"),
        ("key", {"key": pa.array([], pa.string())}, "in the table like nothing: it has no rows"),
    ],
)  # fmt: skip
def test_a_miss_is_told(tmp_path: Path, on: str, columns: dict[str, Any], words: str) -> None:
    scores = _scores(tmp_path / "s", ["00000", "00001"])
    rows = len(next(iter(columns.values())))
    pq.write_table(
        pa.table({**columns, "x": pa.array([1] * rows, pa.int64())}), tmp_path / "m.parquet"
    )
    with pytest.raises(PairsiftError) as caught:
        _select(tmp_path, scores, f"m={tmp_path}/m.parquet@{on}", "m.x = 1")
    assert words in str(caught.value)
    assert "@uid, @key or @shard" in str(caught.value)


def test_rows_without_a_partner_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pairsift.inputs")
    scores = _scores(tmp_path / "s", ["a", "b", "c"])
    (tmp_path / "m.csv").write_text("key,x\nb,1\nz,1\n")
    assert _select(tmp_path, scores, f"m={tmp_path}/m.csv@key", "m.x = 1") == ["b"]
    assert "m.csv: 1 of 3 keys match" in caplog.text
    assert "m.csv: 3 lines, 2 rows" in caplog.text


ROWS = [
    {"key": "00", "n": 0, "share": 0.5, "good": True, "word one": "x"},
    {"key": "01", "n": 1, "share": None, "good": False, "word one": 'y "z"'},
    {"key": "02", "n": -2, "share": 3, "good": True, "word one": "000"},
]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    name = path.name.removesuffix(".gz")
    separator = {"csv": ",", "tsv": "\t", "txt": "|"}.get(name.rsplit(".")[-1])
    if separator is None:
        text = "\n".join(map(json.dumps, rows))
        text = f"[{','.join(map(json.dumps, rows))}]" if name.endswith(".json") else text
    else:

        def cell(value: Any) -> str:
            text = "" if value is None else str(value)
            return text if separator == "\t" else '"' + text.replace('"', '""') + '"'

        lines = [separator.join(rows[0]), *(separator.join(map(cell, r.values())) for r in rows)]
        text = "\n".join(lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.csv.gz", "m.jsonl", "m.jsonl.gz", "m.json"])
def test_text_tables_have_types(tmp_path: Path, name: str) -> None:
    scores = _scores(tmp_path / "s", ["00", "01", "02", "03"])
    _write(tmp_path / name, ROWS)
    for where, kept in {
        "m.n < 1": ["00", "02"],
        "m.share >= 0.5": ["00", "02"],
        "m.share is null and itm < 3": ["01"],
        "m.good": ["00", "02"],
        "\"m.word one\" = '000'": ["02"],
        '"m.word one" = \'y "z"\'': ["01"],
        "m.key = '01'": ["01"],
    }.items():
        assert _select(tmp_path, scores, f"m={tmp_path}/{name}@key", where) == kept, where


def test_patterns_and_folders(tmp_path: Path) -> None:
    scores = _scores(tmp_path / "s", ["00", "01", "02"])
    (tmp_path / "parts").mkdir()
    for number, row in enumerate(ROWS):
        _write(tmp_path / "parts" / f"m{number}.csv", [row])
        pq.write_table(
            pa.table({"key": [row["key"]], "n": [row["n"]]}), tmp_path / f"p{number}.parquet"
        )
    for place in ("parts", "parts/*.csv", "parts/m[012].csv", "p?.parquet"):
        assert _select(tmp_path, scores, f"m={tmp_path}/{place}@key", "m.n < 1") == ["00", "02"]
    (tmp_path / "parts/x.jsonl").write_text('{"key": "1", "n": 1}\n')
    with pytest.raises(PairsiftError, match=r"several kinds \(\.csv, \.jsonl\)"):
        _select(tmp_path, scores, f"m={tmp_path}/parts@key", "m.n < 1")


@pytest.mark.parametrize("name", ["x[1].parquet", "x*y?.parquet", "it's 犬 100%.parquet"])
def test_names_are_no_patterns(tmp_path: Path, name: str) -> None:
    scores = _scores(tmp_path / "s", ["00", "01"])
    for other in ("x1.parquet", "xzy_.parquet"):
        pq.write_table(pa.table({"key": ["00", "01"], "n": [9, 9]}), tmp_path / other)
    pq.write_table(pa.table({"key": ["00", "01"], "n": [0, 1]}), tmp_path / name)
    assert _select(tmp_path, scores, f"m={tmp_path}/{name}@key", "m.n = 1") == ["01"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('key,x\n00,"1\n01,2\n', "m.csv, line 2: a quote is opened"),
        ("key,x\n00,1\n01\n", "m.csv, line 3: too few fields"),
        ("key,x,X\n00,1,2\n", "has the columns 'x' and 'X'"),
        ("", "has no rows"),
        ("key,x\n", "m.csv has no rows, only a header: key, x"),
        ("name,x\n00,1\n", "cannot be joined by key"),
    ],
)
def test_tables_that_cannot_be_joined(tmp_path: Path, text: str, words: str) -> None:
    scores = _scores(tmp_path / "s", ["00", "01"])
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(PairsiftError) as caught:
        _select(tmp_path, scores, f"m={tmp_path}/m.csv@key", "m.x = 1")
    assert words in str(caught.value)


@pytest.mark.parametrize("behind", ["foo", "Key", "uids"])
def test_join_by_an_unknown_column(tmp_path: Path, behind: str) -> None:
    scores = _scores(tmp_path / "s", ["00", "01"])
    (tmp_path / "m.csv").write_text("key,x\n00,1\n")
    with pytest.raises(PairsiftError, match=f"@{behind} is none of @uid, @key and @shard"):
        _select(tmp_path, scores, f"m={tmp_path}/m.csv@{behind}", "m.x = 1")


def test_score_tables_of_any_name_are_read_by_it(tmp_path: Path) -> None:
    names = ["x1", "x[1]", "x*y?", "xzy_", 'it\'s 犬 "q" 100% {b}']
    tables = {
        name: score_table(name, [f"{number}"], {"itm": [float(number)]})
        for number, name in enumerate(names)
    }
    scores = score_folder(tmp_path / "s [x] *", tables)
    selection = select(scores, where="itm >= 0", out=tmp_path / "sel")
    kept = {
        shard.shard: shard.table(["key"]).column("key").to_pylist() for shard in selection.shards()
    }
    assert kept == {name: [str(number)] for number, name in enumerate(names)}
