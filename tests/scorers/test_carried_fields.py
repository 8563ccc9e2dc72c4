"""Fields of samples as columns: their names, their types, their values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pairsift import Pair, PairsiftError, load_scorer
from pairsift.scorers.carried_fields import CarriedField, find_carried, parse_carried, read_values
from pairsift.scorers.carrier import Carrier
from pairsift.sources import find_shards
from tests.samples import jpeg


def test_fields_are_written_with_a_name_and_a_type() -> None:
    texts = ["url", "site=meta.domain", "og:title", "clip-score:number", "t=a.0:integer"]
    fields = [CarriedField.parse(text) for text in texts]
    assert [(field.name, field.path, field.type) for field in fields] == [
        ("url", "url", ""), ("site", "meta.domain", ""), ("og_title", "og:title", ""),
        ("clip_score", "clip-score", "number"), ("t", "a.0", "integer"),
    ]  # fmt: skip
    assert [CarriedField.parse(str(field)) for field in fields] == fields


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("text", "a\ud800b\0", "a\\ud800b\0"),
        ("text", 1.5, "1.5"),
        ("text", True, "true"),
        ("text", {"a": [None]}, '{"a": [null]}'),
        ("text", float("nan"), None),
        ("number", 3, 3.0),
        ("number", " 1e3 ", 1000.0),
        ("number", "", None),
        ("number", "nan", None),
        ("integer", 3.0, 3),
        ("integer", "12", 12),
        ("integer", "12.0", 12),
        ("integer", "1e3", 1000),
        ("number", "1_000", "misfit"),
        ("number", "٣", "misfit"),
        ("number", "0x10", "misfit"),
        ("number", "inf", "misfit"),
        ("integer", "1.5", "misfit"),
        ("integer", "1e400", "misfit"),
        ("bool", "TRUE", True),
        ("text", "x" * 65_537, "misfit"),
        ("number", "n/a", "misfit"),
        ("number", True, "misfit"),
        ("number", [1], "misfit"),
        ("number", 10**400, "misfit"),
        ("integer", 2**63, "misfit"),
        ("integer", 1.5, "misfit"),
        ("integer", float("inf"), "misfit"),
        ("bool", 1, "misfit"),
        ("bool", "yes", "misfit"),
    ],
)
def test_values_are_converted_or_do_not_fit(kind: str, value: Any, expected: Any) -> None:
    scorer = Carrier(load_scorer("heuristics"), [f"x:{kind}"])
    row = scorer.preparer(Pair("a", jpeg(), "a dog", metadata={"x": value}))
    assert row.inputs is not None
    assert row.carried is not None
    if expected == "misfit":
        assert row.misfits == ("x",)
        assert row.carried.get("x") is None
    else:
        assert (row.carried["x"], row.misfits) == (expected, ())


def test_types_need_a_sample_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(b"no tar" * 1000)
    shards = find_shards(str(tmp_path))
    with pytest.raises(PairsiftError, match=re.escape("0.tar is not a tar")):
        find_carried(["url"], shards)
    assert find_carried(["url:text"], shards) == ("url:text",)


@pytest.mark.parametrize("name", ["score", "itm", "url", "caption_length_2", "Domain"])
def test_a_field_becomes_the_column_of_its_name(name: str) -> None:
    field = CarriedField.parse(name)
    assert (field.name, field.path, field.type, str(field)) == (name, name, "", name)


@pytest.mark.parametrize(
    "text", ["key", "UID", "status=x", "pos", "caption_index", "step3", "and", "null=x", "image"]
)
def test_names_that_mean_something_else_are_refused_with_another(text: str) -> None:
    with pytest.raises(PairsiftError, match=r"cannot have a column .*; give another name.*own_"):
        CarriedField.parse(text)


def test_two_fields_of_one_name_are_refused_whatever_their_case() -> None:
    with pytest.raises(PairsiftError, match="two fields would become the column"):
        parse_carried(["url", "URL"])
    assert [field.name for field in parse_carried(["url", "other=url"])] == ["url", "other"]
    assert parse_carried([]) == ()


def test_a_value_that_does_not_fit_is_named_and_the_others_are_kept() -> None:
    fields = parse_carried(["a:integer", "b:number", "c.d:text", "e:bool"])
    values, misfits = read_values(
        fields, {"a": 1.5, "b": "0.5", "c": {"d": "\ud83d"}, "c.d": None, "e": "FALSE"}
    )
    assert values == {"b": 0.5, "c_d": None, "e": False}
    assert misfits == ("a",)
    assert read_values(fields, {})[0] == dict.fromkeys(("a", "b", "c_d", "e"))
