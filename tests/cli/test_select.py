"""`select` as typed: what it prints."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairsift.cli.select import describe
from pairsift.select import Cut, Drop, Selection
from pairsift.select.record import Record
from tests.cli.conftest import Command
from tests.score_folders import (
    random_scores,
)


def test_dry_run_tells_counts_thresholds_and_reasons(tmp_path: Path, pairsift: Command) -> None:
    scores, table = random_scores(tmp_path / "scores", np.random.default_rng(0), rows=400)
    rows = [row for row in table.to_pylist() if row["status"] == "ok"]
    itm = sorted(row["itm"] for row in rows)
    p40 = itm[-(-len(itm) * 40 // 100) - 1]
    printed = pairsift(
        "select", scores, "--where", "itm >= p40(itm) and odf >= 20", "--top", 0.5, "--by", "odf",
        "--out", tmp_path / "sel", "--dry-run",
    )  # fmt: skip
    assert not (tmp_path / "sel").exists()
    low_itm = sum(row["itm"] < p40 for row in rows)
    low_odf = sum(row["odf"] < 20 for row in rows)
    passing = sorted(row["odf"] for row in rows if row["itm"] >= p40 and row["odf"] >= 20)
    kept = len(passing) // 2
    lines = [re.sub(" +", " ", line) for line in printed.splitlines()]
    assert lines[0] == f"{len(table):,} rows in the score tables"
    assert f"{low_itm:,} removed: not itm >= p40(itm)" in lines
    both = len(rows) - low_itm - len(passing)
    alone = f"this condition alone would remove {low_odf:,}"
    assert f"{both:,} removed: not odf >= 20 ({alone})" in lines
    assert f"{len(passing) - kept:,} removed: below the cut" in lines
    assert f"{kept:,} kept, {100 * kept / len(table):.2f}% of all rows" in lines
    rounded = re.search(r"^p40\(itm\) is (\d+\.?\d{0,4})$", "\n".join(lines), re.MULTILINE)
    assert rounded is not None
    assert float(rounded[1]) == pytest.approx(p40, abs=5.1e-5)
    (cut,) = [line for line in lines if "rows kept, those with" in line]
    words, shown = cut.split(" >= ")
    assert words == f"{kept} of {len(passing)} rows kept, those with odf"
    assert re.fullmatch(r"\d+\.?\d{0,4}", shown)
    threshold = passing[len(passing) - kept]
    assert float(shown) == pytest.approx(threshold, abs=5.1e-5)
    assert lines[-2] == "thresholds are rounded here; --json prints the exact values"
    assert lines[-1] == "nothing was written"
    # The exact threshold of --json selects these rows when it is typed.
    exact = json.loads(
        pairsift(
            *("select", scores, "--where", "itm >= p40(itm) and odf >= 20"),
            *("--top", 0.5, "--by", "odf", "--json"),
        )
    )
    where = (
        f"itm >= {exact['percentiles']['p40(itm)']!r} and odf >= {exact['cuts'][0]['threshold']!r}"
    )
    again = pairsift("select", scores, "--where", where, "--json")
    assert json.loads(again)["kept"] == kept


def test_at_most_ten_groups_are_listed(tmp_path: Path, pairsift: Command) -> None:
    scores, _ = random_scores(tmp_path / "scores", np.random.default_rng(0))
    printed = pairsift("select", scores, "--top", 0.5, "--by", "itm", "--per", "language")
    found = re.findall(
        r"^language (\w\w): \d+ of \d+ rows kept, those with itm >= [\d.]+", printed, re.MULTILINE
    )
    assert found == ["de", "en", "fr"]
    printed = pairsift("select", scores, "--count", 1, "--by", "odf", "--per", "itm")
    assert "2 more groups are not shown; see --json" in printed


def _selection(**facts: Any) -> Selection:
    query = {"by": "itm", "per": None, **facts.pop("query", {})}
    record = {"rows": 10, "failed": {}, "dropped": [], "cuts": [], "kept": 10} | facts
    return Selection(Record(query, [], {}, **record))


@pytest.mark.parametrize(
    ("selection", "line"),
    [
        (_selection(rows=0, kept=0), "0  kept"),
        (_selection(kept=5), "5   kept, 50.00% of all rows"),
        (_selection(failed={"image_corrupt": 2}), "2   removed: failed with status image_corrupt"),
        (_selection(dropped=[Drop("below the cut", 3)]), "3   removed: below the cut"),
        (_selection(dropped=[Drop("itm > 3", 3, 3)]), "3   removed: not itm > 3"),
        (
            _selection(dropped=[Drop("itm > 3", 3, 1200)]),
            "3   removed: not itm > 3 (this condition alone would remove 1,200)",
        ),
        (_selection(kept=12, repeats=4), "8   different rows; the others repeat them"),
        (_selection(percentiles={"p40(itm)": 0.000123456}), "p40(itm) is 0.0001235"),
        (_selection(percentiles={"p40(itm)": 60.0}), "p40(itm) is 60"),
        (_selection(cuts=[Cut(None, 10, 0)]), "none of 10 rows kept"),
        (
            _selection(cuts=[Cut(None, 10, 4, 66.123456, 3, 1)]),
            "4 of 10 rows kept, those with itm >= 66.1235 "
            "(3 rows have exactly this value; 1 of them are kept)",
        ),
        (
            _selection(cuts=[Cut("de", 10, 4, 66.0, 3, 3)], query={"per": "language"}),
            "language de: 4 of 10 rows kept, those with itm >= 66",
        ),
    ],
)
def test_each_fact_of_a_selection_is_a_line(selection: Selection, line: str) -> None:
    lines = describe(selection).splitlines()
    assert line in lines
    assert lines[-1] == "nothing was written"


def test_a_written_selection_is_told_with_its_folder() -> None:
    lines = describe(replace(_selection(), path="out/kept")).splitlines()
    assert lines[-1] == "written to out/kept"
    assert lines[0] == "10  rows in the score tables"
