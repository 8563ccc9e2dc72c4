"""Tables of judgments as people keep them."""

from __future__ import annotations

import csv
from pathlib import Path

from pairsift.evaluate.tables import read_rows


def test_long_fields_are_read_and_the_process_keeps_its_limit(tmp_path: Path) -> None:
    usual = csv.field_size_limit()
    path = tmp_path / "rows.csv"
    path.write_text(f"image,caption\na.jpg,{'x' * 2 * usual}\n", "utf-8")
    [row] = read_rows(str(path), ("caption",))
    assert len(row["caption"]) == 2 * usual
    assert csv.field_size_limit() == usual
