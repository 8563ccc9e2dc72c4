"""Pages of rows: filters, order, and one row in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from pairsift.errors import PairsiftError
from pairsift.explore.rows import MAX_PAGE_ROWS, MORE_COLUMNS, Filter, RowFinder
from pairsift.pair import Status
from pairsift.report.table import open_rows
from pairsift.select import select
from tests.score_folders import score_folder, score_table

NAN = float("nan")
SECOND = 1 << 32
"""position of the first row of the second table"""


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RowFinder]:
    """Two tables: itm 0, 0.1, NaN, null, failed; and 3, 4. From 3 on they are kept."""
    path = tmp_path_factory.mktemp("rows")
    statuses = [Status.OK] * 4 + [Status.IMAGE_CORRUPT]
    first = score_table(
        "a", list("klmno"), {"itm": [0.0, 0.1, NAN, None, 9.0], "clip-score": [5, 4, 3, 2, 1]},
        statuses=statuses,
    )  # fmt: skip
    second = score_table("b", ["p", "犬"], {"itm": [3.0, 4.0], "clip-score": [0.1, 123456.78]})
    scores = score_folder(path / "scores", {"a": first, "b": second})
    kept = select(scores, where="itm >= 3", out=path / "kept")
    with open_rows(scores, kept, more=MORE_COLUMNS) as rows:
        yield RowFinder(rows)


def _keys(finder: RowFinder, **asked: Any) -> str:
    return "".join(row["key"] for row in finder.find(Filter(**asked)).rows)


@pytest.mark.parametrize(
    ("fate", "keys"),
    [
        ("all", "klmnop犬"),
        ("ok", "klmnp犬"),
        ("kept", "p犬"),
        ("dropped", "klmn"),
        ("failed", "o"),
        ("image_corrupt", "o"),
        ("image_missing", ""),
    ],
)
def test_rows_of_each_fate(finder: RowFinder, fate: str, keys: str) -> None:
    assert _keys(finder, fate=fate) == keys
    assert finder.find(Filter(fate=fate)).total == len(keys)


@pytest.mark.parametrize(
    ("where", "keys"),
    [
        ("itm >= 0.1", "lp犬"),  # neither NaN nor null
        ("itm is null", "mno"),
        ('"clip-score" > 4.5', "k犬"),
        ("  ", "klmnop犬"),
        ("width = 640 and itm < 1", "kl"),
    ],
)
def test_rows_of_a_condition(finder: RowFinder, where: str, keys: str) -> None:
    assert _keys(finder, where=where) == keys


def test_the_order_is_by_a_column_and_rows_without_a_number_come_last(finder: RowFinder) -> None:
    assert _keys(finder, sort="itm", fate="ok") == "klp犬mn"
    assert _keys(finder, sort="itm", descending=True, fate="ok") == "犬plkmn"
    assert _keys(finder, sort="place", descending=True) == "犬ponmlk"
    assert _keys(finder, sort="width") == "klmnop犬"  # equal: in the order of the shards
    assert _keys(finder, sort="clip-score") == "pnmlk犬o"  # that of a failure is null


def test_pages_and_their_limits(finder: RowFinder) -> None:
    assert _keys(finder, size=3) == "klm"
    assert _keys(finder, size=3, page=2) == "犬"
    assert _keys(finder, size=3, page=3) == ""
    assert _keys(finder, size=3, page=-1) == "klm"
    assert _keys(finder, size=0) == "k"
    assert _keys(finder, size=10**9) == "klmnop犬"
    assert finder.find(Filter(size=3, page=3)).total == 7
    assert MAX_PAGE_ROWS == 200


def test_rows_are_chosen_and_left_out_by_their_position(finder: RowFinder) -> None:
    def keys(*positions: Any) -> str:
        return "".join(row["key"] for row in finder.find(Filter(), *positions).rows)

    assert keys([SECOND + 1, 0, 77]) == "k犬"
    assert keys(None, [0, 1]) == "mnop犬"
    assert keys([0, 1], [1]) == "k"
    assert keys([]) == ""
    assert keys() == "klmnop犬"


def test_a_row_of_a_page_is_of_plain_values(finder: RowFinder) -> None:
    rows = finder.find(Filter()).rows
    assert rows[2]["itm"] is rows[3]["itm"] is None  # JSON knows no NaN
    assert rows[6]["clip-score"] == 123457.0  # six digits
    assert (rows[6]["pos"], rows[6]["shard"], rows[6]["key"]) == (SECOND + 1, "b", "犬")
    assert (rows[4]["status"], rows[4]["error"], rows[4]["kept"]) == (
        "image_corrupt", "broken", False,
    )  # fmt: skip
    assert (rows[0]["width"], rows[0]["height"], rows[0]["caption_length"]) == (640, 480, 20)


def test_the_scores_of_one_row_are_exact(finder: RowFinder) -> None:
    single = float(f"{pa.scalar(123456.78, pa.float32()).as_py():.9g}")
    assert finder.scores(SECOND + 1) == {"itm": 4.0, "clip-score": single}
    assert finder.scores(2)["itm"] is None
    for pos in (4, 99, -1):  # a failure, and no rows
        with pytest.raises(KeyError):
            finder.scores(pos)


def test_one_row_in_full(finder: RowFinder) -> None:
    row = finder.whole_row(SECOND + 1)
    assert (row["shard"], row["key"], row["uid"], row["itm"]) == ("b", "犬", None, 4.0)
    assert "file_row_number" not in row
    for pos in (5, SECOND + 2, 2 * SECOND, -1):
        with pytest.raises(KeyError):
            finder.whole_row(pos)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"where": "itm"}, '"itm" is not a condition'),
        ({"where": "step0 = 1"}, "no column 'step0'"),  # a column of our own
        ({"where": "itm > p50(itm)"}, "cannot be used here"),
        ({"sort": "key"}, "cannot sort by 'key'; choose itm, clip-score"),
        ({"fate": "good"}, "'good' is not a status; choose all, ok, kept"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    finder: RowFinder, asked: dict[str, str], words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        finder.find(Filter(**asked))  # type: ignore[arg-type]
    assert finder.find(Filter()).total == 7


def test_expressions_may_name_scores_sizes_and_the_status(finder: RowFinder) -> None:
    assert {"itm", "clip-score", "status", "kept", *MORE_COLUMNS} <= {*finder.expression_columns}
    assert not {"pos", "compared", "step0"} & {*finder.expression_columns}
