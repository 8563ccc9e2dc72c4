"""A value that Python cannot have costs neither its row nor the values beside it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from pairsift.sources.arrow_values import plain, rows

BAD = b"caf\xe9"
SHOWN = "caf\udce9"


def text(kind: str = "") -> pa.Array:
    as_bytes = pa.array([b"a", BAD, b"c"], pa.type_for_alias(f"{kind}binary"))
    return as_bytes.view(pa.type_for_alias(f"{kind}string"))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (text(), ["a", SHOWN, "c"]),
        (text("large_"), ["a", SHOWN, "c"]),
        (pa.array([b"a", BAD, b"c"], pa.binary_view()).view(pa.string_view()), ["a", SHOWN, "c"]),
        (pa.DictionaryArray.from_arrays(pa.array([2, 1, None], pa.int8()), text()),
         ["c", SHOWN, None]),
        (pa.ListArray.from_arrays(pa.array([0, 2, 2, 3], pa.int32()), text()),
         [["a", SHOWN], [], ["c"]]),
        (pa.StructArray.from_arrays([text(), pa.array([1, 2, 3])], ["t", "n"]),
         [{"t": "a", "n": 1}, {"t": SHOWN, "n": 2}, {"t": "c", "n": 3}]),
        (pa.array([0, 2**62, None], pa.timestamp("us")), [datetime(1970, 1, 1), None, None]),
        (pa.array([0, 2**62, None], pa.duration("ms")).cast(pa.duration("ms")),
         [pa.scalar(0, pa.duration("ms")).as_py(), None, None]),
        (pa.array([0, 1, None], pa.timestamp("us", tz="Nowhere/Zone")), [None, None, None]),
    ],
)  # fmt: skip
def test_only_the_value_itself_is_replaced(column: pa.Array, expected: list[Any]) -> None:
    assert [plain(value) for value in column] == expected
    batch = pa.RecordBatch.from_arrays([pa.array([1, 2, 3]), column], names=["key", "x"])
    assert list(rows(batch)) == [
        {"key": number, "x": value} for number, value in enumerate(expected, 1)
    ]


def test_of_two_columns_with_one_name_the_first() -> None:
    numbers = [pa.array([number]) for number in (1, 2, 3)]
    batch = pa.RecordBatch.from_arrays(numbers, names=["a", "b", "a"])
    assert list(rows(batch)) == [{"a": 1, "b": 2}]


def test_the_bytes_of_an_image_are_left_out() -> None:
    image = pa.StructArray.from_arrays([pa.array([b"x"] * 3), text()], ["bytes", "path"])
    assert [plain(value, ("bytes",)) for value in image] == [
        {"path": "a"}, {"path": SHOWN}, {"path": "c"},
    ]  # fmt: skip
