"""Scores that were made elsewhere, looked up by uid or key, and checked against their ranges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Fault, Pair, Status
from pairsift.scorers.carried_fields import parse_carried
from pairsift.scorers.imported import ImportedScores, ScoreIndex, parse_ranges
from pairsift.scores import schema_metrics
from pairsift.sources import find_shards

FIELDS = parse_carried(["clip:number", "words:integer", "domain:text"])


def uid(number: int) -> str:
    return f"{number:032x}"


def index(tmp_path: Path, by_uid: bool = True, options: Any = None, **columns: Any) -> ScoreIndex:
    """The index of a table with these columns; the others are null."""
    count = len(next(iter(columns.values())))
    empty = {"clip": [None] * count, "words": [None] * count, "domain": [None] * count}
    pq.write_table(pa.table(empty | columns), tmp_path / "t.parquet")
    given = options or ({"uid": "uid"} if by_uid else {"key": "key"})
    shards = find_shards(str(tmp_path / "t.parquet"), kind="scores", **given)
    return ScoreIndex(shards, FIELDS, by_uid)


def test_samples_are_found_by_uid_however_it_is_written(tmp_path: Path) -> None:
    names = [uid(n * 2**60) for n in range(50)]
    found = index(tmp_path, uid=[name.upper() for name in names], clip=[n / 50 for n in range(50)])
    assert (found.rows, found.lost) == (50, 0)
    for number, name in enumerate(names):
        values = found.find(Pair("k", None, None, uid=name))
        assert values == {"clip": number / 50, "words": None, "domain": None}
    assert found.find(Pair("k", None, None, uid=uid(51))) is None
    assert found.find(Pair("k", None, None)) is None
    assert found.matched == 50


@pytest.mark.parametrize("with_shard", [False, True])
def test_samples_are_found_by_key(tmp_path: Path, with_shard: bool) -> None:
    options = {"key": "key", "shard": "s"} if with_shard else {"key": "key"}
    found = index(
        tmp_path, False, options, key=["a", "\u72ac", "c"], s=["x", "x", "y"], words=[1, 2, 3]
    )
    pair = Pair("\u72ac", None, None, "x")
    assert (found.find(pair) or {})["words"] == 2
    assert (found.find(Pair("\u72ac", None, None, "y")) is None) is with_shard
    assert found.find(Pair("d", None, None, "x")) is None


def test_a_table_without_rows_finds_nothing(tmp_path: Path) -> None:
    found = index(tmp_path, uid=pa.array([], pa.string()))
    assert found.rows == 0
    assert found.find(Pair("k", None, None, uid=uid(1))) is None


def test_rows_that_cannot_be_used_are_counted_and_the_first_is_told(tmp_path: Path) -> None:
    found = index(tmp_path, uid=[uid(1), "no uid", None], clip=[0.1, 0.2, 0.3])
    assert (found.rows, found.lost) == (3, 2)
    assert "'no uid' is not 32 hexadecimal digits" in (found.first_lost or "")


def test_rows_of_one_sample_may_repeat_but_not_contradict(tmp_path: Path) -> None:
    same = index(tmp_path, uid=[uid(7), uid(5), uid(7)], clip=[float("nan"), 1, None])
    assert (same.find(Pair("k", None, None, uid=uid(7))) or {})["clip"] is None
    with pytest.raises(PairsiftError, match=f"same uid {uid(7)} and different values, .*0.5"):
        index(tmp_path, uid=[uid(7), uid(5), uid(7)], clip=[0.5, 1, 0.6])


def test_the_digest_changes_with_names_and_values(tmp_path: Path) -> None:
    given: list[dict[str, Any]] = [
        {"uid": [uid(1), uid(2)], "clip": [0.1, 0.2]},
        {"uid": [uid(1), uid(3)], "clip": [0.1, 0.2]},
        {"uid": [uid(1), uid(2)], "clip": [0.1, 0.3]},
        {"uid": [uid(2), uid(1)], "clip": [0.1, 0.2]},
    ]
    assert len({index(tmp_path, **columns).digest for columns in given}) == 4
    assert index(tmp_path, **given[0]).digest == index(tmp_path, **given[0]).digest


def imported(index: ScoreIndex | None = None, **ranges: tuple[float, float]) -> ImportedScores:
    return ImportedScores(FIELDS, ranges, index)


def test_rows_of_tables_are_scored_from_their_own_fields() -> None:
    rows = [
        Pair("a", None, None, metadata={"clip": "0.5", "words": 3, "domain": "x.org"}),
        Pair("b", None, None, metadata={"clip": 2.0, "domain": "y.org"}),
        Pair("c", None, None, metadata={"clip": "high", "words": 1}),
        Pair("d", None, None, fault=Fault(Status.ROW_INVALID, "line 4: too few fields")),
    ]
    found = imported(clip=(0, 1)).score(rows)
    assert found["status"].to_pylist() == ["ok", "row_invalid", "ok", "row_invalid"]
    assert found["error"].to_pylist() == [
        None, "clip is 2, outside 0..1", None, "line 4: too few fields",
    ]  # fmt: skip
    assert found["clip"].to_pylist() == [0.5, None, None, None]
    assert found["words"].to_pylist() == [3, None, 1, None]
    assert found["domain"].to_pylist() == ["x.org", "y.org", None, None]  # texts are kept


def test_ends_of_a_range_are_inside() -> None:
    rows = [Pair(str(n), None, None, metadata={"clip": n}) for n in (0, 1)]
    assert imported(clip=(0, 1)).score(rows)["status"].to_pylist() == ["ok", "ok"]


def test_samples_of_a_pool_get_the_values_of_their_uid(tmp_path: Path) -> None:
    scorer = imported(index(tmp_path, uid=[uid(1), uid(2)], clip=[0.25, 0.75]))
    pairs = [Pair("a", b"x", "a dog", uid=uid(2)), Pair("b", b"x", "a cat", uid=uid(9))]
    found = scorer.score(pairs)
    assert found["clip"].to_pylist() == [0.75, None]
    assert found["caption_length"].to_pylist() == [5, 5]
    assert found["status"].to_pylist() == ["ok", "ok"]


def test_a_column_with_a_range_says_its_scale() -> None:
    scorer = imported(clip=(0, 1), words=(1, 20))
    metrics = schema_metrics(pa.schema(scorer.columns))
    assert {name: (m.scale.low, m.scale.high) for name, m in metrics.items()} == {
        "clip": (0, 1), "words": (1, 20),
    }  # fmt: skip
    assert [field.type for field in scorer.columns] == [pa.float64(), pa.int64(), pa.string()]


def test_the_fingerprint_tells_what_was_imported_and_how(tmp_path: Path) -> None:
    plain = imported().fingerprint
    assert json.loads(plain["carry"]) == ["clip:number", "words:integer", "domain:text"]
    assert imported(clip=(0, 1)).fingerprint["ranges"] == '{"clip": [0, 1]}'
    of_pool = imported(index(tmp_path, uid=[uid(1)])).fingerprint
    assert plain["samples"] != of_pool["samples"]
    assert "tables" in of_pool


@pytest.mark.parametrize("name", ["domain", "nothing"])
def test_a_range_of_no_number_is_refused(name: str) -> None:
    with pytest.raises(PairsiftError, match=f"--range {name}: .* these are: clip, words"):
        imported(**{name: (0, 1)})


@pytest.mark.parametrize(
    ("text", "ends"),
    [("0:1", (0, 1)), ("-1.5:2e3", (-1.5, 2000)), (" 0 : 1 ", (0, 1))],
)
def test_a_range_is_two_numbers(text: str, ends: tuple[float, float]) -> None:
    assert parse_ranges({"clip": text}) == {"clip": ends}


@pytest.mark.parametrize(
    "text", ["", "1", "1:", ":1", "1:1", "2:1", "a:b", "0:inf", "nan:1", "0:1:2"]
)
def test_other_texts_are_no_range(text: str) -> None:
    with pytest.raises(PairsiftError, match="give the lowest and the highest value, for example"):
        parse_ranges({"clip": text})
